//! What this crate must not contain: its answers depend on what it is told and on nothing else.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// A word that must not occur in the sources, and what it would bring in.
const ABSENT: [(&str, &str); 12] = [
    ("std::fs", "files"),
    ("std::io", "input and output"),
    ("std::net", "the network"),
    ("std::env", "the environment"),
    ("std::process", "processes"),
    ("std::thread", "threads"),
    ("Instant", "a clock"),
    ("SystemTime", "a clock"),
    ("HashMap", "an order drawn from global randomness"),
    ("HashSet", "an order drawn from global randomness"),
    ("async ", "async"),
    ("thread_local", "state outside its values"),
];

/// Functions of floats that the standard library leaves to the platform, so that their last bit
/// differs between machines.
const INEXACT: [&str; 9] = [
    ".powf(",
    ".powi(",
    ".exp(",
    ".ln(",
    ".log10(",
    ".log2(",
    ".sin(",
    ".cos(",
    ".mul_add(",
];

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else {
            found.push(path);
        }
    }
}

#[test]
fn nothing_impure_is_used() {
    let mut files = Vec::new();
    sources(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut files,
    );
    assert!(files.len() > 10, "the sources were found: {files:?}");
    let mut failures = Vec::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        for (number, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("//") {
                continue;
            }
            let impure = ABSENT.iter().filter(|(word, _)| line.contains(word));
            failures.extend(impure.map(|found| (file.clone(), number + 1, found.1)));
            // The surrogate learns: its fit is the same on one machine, and its proposals are
            // stored, so that another machine goes on from them.
            if file
                .components()
                .any(|part| part.as_os_str() == "surrogate")
            {
                continue;
            }
            let inexact = INEXACT.iter().filter(|word| line.contains(**word));
            failures.extend(inexact.map(|_| (file.clone(), number + 1, "a platform's rounding")));
        }
    }
    assert!(
        failures.is_empty(),
        "(file, line, what it brings in): {failures:#?}"
    );
}

#[test]
fn nothing_of_ours_and_no_source_of_randomness_is_depended_on() {
    let manifest = include_str!("../Cargo.toml");
    let (_, after) = manifest.split_once("[dependencies]\n").unwrap();
    let names: Vec<&str> = after
        .lines()
        .take_while(|line| !line.starts_with('['))
        .filter_map(|line| line.split(['.', ' ', '=']).next())
        .filter(|name| !name.is_empty())
        .collect();
    assert_eq!(names, ["faer", "rand_chacha", "thiserror"]);
}
