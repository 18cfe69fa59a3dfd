//! The command lines of what is deployed are ones that this program understands.
#![cfg(feature = "local")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::path::Path;

use support::bitfront;

/// The items of the lists under these keys of a YAML file, as they are written in ours.
fn lists(text: &str, key: &str) -> Vec<Vec<String>> {
    let word = |item: &str| item.trim().trim_matches('"').to_owned();
    let mut found = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        let Some(rest) = line.trim().strip_prefix(key) else {
            continue;
        };
        let rest = rest.trim().trim_start_matches('[').trim_end_matches(']');
        if !rest.is_empty() {
            found.push(rest.split(',').map(word).collect());
            continue;
        }
        let mut items = Vec::new();
        while let Some(item) = lines.peek().and_then(|line| line.trim().strip_prefix("- ")) {
            items.push(word(item));
            lines.next();
        }
        found.push(items);
    }
    found
}

/// The command line of a unit, with the variables that it or its comments set.
fn started(text: &str) -> Vec<String> {
    let start = "ExecStart=/usr/local/bin/bitfront ";
    let line = text.lines().find_map(|line| line.strip_prefix(start));
    let mut words = Vec::new();
    for word in line.unwrap().split(' ') {
        match word.strip_prefix('$') {
            None => words.push(word.to_owned()),
            Some(name) => {
                let set = format!("{name}=");
                // The last one is what counts where nobody says anything else.
                let value = text
                    .lines()
                    .filter_map(|line| line.split_once(&set))
                    .next_back();
                let value = value.unwrap_or_else(|| panic!("nothing sets {name}")).1;
                words.extend(value.trim_matches('"').split(' ').map(str::to_owned));
            }
        }
    }
    words
}

#[test]
fn what_is_deployed_is_started_by_command_lines_that_are_understood() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    let mut lines = lists(&read("docker-compose.yml"), "command:");
    assert_eq!(lines.len(), 2, "{lines:?}");
    lines.extend(lists(&read("deploy/kubernetes/bitfront.yaml"), "args:"));
    assert_eq!(lines.len(), 4, "{lines:?}");
    // Variables of a Service of the program's name would be taken for misspelt settings.
    let manifest = read("deploy/kubernetes/bitfront.yaml");
    let pods = manifest
        .matches("\n      enableServiceLinks: false\n")
        .count();
    assert_eq!(pods, manifest.matches("\n    spec:\n").count());
    for unit in ["coordinator", "agent"] {
        lines.push(started(&read(&format!(
            "deploy/systemd/bitfront-{unit}.service"
        ))));
    }
    for line in lines {
        assert!(["serve", "agent"].contains(&line[0].as_str()), "{line:?}");
        let run = bitfront(line.iter().map(String::as_str).chain(["--help"])).finish();
        assert_eq!(run.code, Some(0), "{line:?}: {}", run.stderr);
    }
}
