//! The demo: what it writes, and that running it again goes on.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use support::{Run, bitfront};

fn demo(folder: &Path, budget: &str) -> Run {
    bitfront([
        "demo".as_ref(),
        "--budget".as_ref(),
        budget.as_ref(),
        "--directory".as_ref(),
        folder.as_os_str(),
    ])
    .finish()
}

/// Candidates that a finished search says it evaluated.
fn evaluated(stderr: &str) -> u64 {
    let line = stderr.lines().find(|line| line.contains("on the front"));
    let line = line.unwrap_or_else(|| panic!("no ending in {stderr}"));
    let words: Vec<_> = line.split_whitespace().collect();
    let at = words.iter().position(|word| word.starts_with("candidate"));
    words[at.unwrap() - 1].parse().unwrap()
}

#[test]
fn the_demo_writes_its_findings_and_goes_on_when_run_again() {
    let folder = tempfile::tempdir().unwrap();
    // On a slow or busy machine a short budget may be over before anything is measured; then the
    // demo says so, and running it again goes on.
    let mut first = demo(folder.path(), "8s");
    for _ in 0..10 {
        if first.code == Some(0) {
            break;
        }
        assert!(
            first.stderr.contains("nothing was measured"),
            "{}",
            first.stderr
        );
        first = demo(folder.path(), "8s");
    }
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    for shown in ["Q2_K", "size of the weights (MB)", "knee: ", "KLD ≤ 0.01"] {
        assert!(first.stdout.contains(shown), "{shown}: {}", first.stdout);
    }
    assert!(
        !first.stdout.contains('\u{1b}'),
        "no colour where nobody looks"
    );
    for (file, beginning) in [
        ("bitfront.sqlite", &b"SQLite format 3"[..]),
        ("report.html", b"<!doctype html>"),
        ("best.gguf", b"GGUF"),
        ("best.plan.json", b"{"),
    ] {
        let content = fs::read(folder.path().join(file)).unwrap();
        assert!(content.starts_with(beginning), "{file}");
    }

    let second = demo(folder.path(), "2s");
    assert_eq!(second.code, Some(0), "{}", second.stderr);
    assert!(
        second
            .stderr
            .contains("going on with search 1 for another 2s")
    );
    assert!(evaluated(&second.stderr) >= evaluated(&first.stderr));

    let elsewhere = bitfront(["demo", "--coordinator", "http://host:1"]).finish();
    assert_eq!(elsewhere.code, Some(2), "{}", elsewhere.stderr);
}

#[cfg(unix)]
#[test]
fn an_interrupted_demo_goes_on_with_what_was_left() {
    use std::io::{BufRead as _, BufReader};
    use std::process::{Command, Stdio};

    let folder = tempfile::tempdir().unwrap();
    let (mut command, _data) = bitfront([
        "demo".as_ref(),
        "--budget=10m".as_ref(),
        "--directory".as_ref(),
        folder.path().as_os_str(),
    ])
    .command();
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let measured = lines.any(|line| line.unwrap().contains(" · front "));
    assert!(measured, "the demo ended before it measured anything");
    let interrupt = ["-INT".to_owned(), child.id().to_string()];
    assert!(
        Command::new("kill")
            .args(interrupt)
            .status()
            .unwrap()
            .success()
    );
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(130));

    let again = demo(folder.path(), "1s");
    assert_eq!(again.code, Some(0), "{}", again.stderr);
    assert!(
        again.stderr.contains("which was interrupted"),
        "{}",
        again.stderr
    );
}
