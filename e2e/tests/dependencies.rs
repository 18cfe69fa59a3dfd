//! What must be absent, by reading the manifests and the sources: edges between members, engines
//! outside their crate, SQL outside the store, clocks, environment and wire types where they have
//! no business.
//!
//! The scans read text and not syntax, so they are easy to defeat on purpose; they are here to
//! notice what happens by accident.

#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Each member with the members that it may depend on.
const EDGES: [(&str, &[&str]); 9] = [
    ("model", &[]),
    ("search", &[]),
    ("proto", &["model"]),
    ("runtime", &["model"]),
    ("weights", &["model"]),
    ("coordinator", &["model", "proto", "search", "weights"]),
    ("agent", &["model", "proto", "runtime", "weights"]),
    (
        "cli",
        &[
            "agent",
            "coordinator",
            "model",
            "proto",
            "runtime",
            "search",
            "weights",
        ],
    ),
    (
        "e2e",
        &[
            "agent",
            "cli",
            "coordinator",
            "model",
            "proto",
            "runtime",
            "search",
            "weights",
        ],
    ),
];

/// Crates that only some members may depend on.
const CONFINED: [(&str, &[&str]); 15] = [
    ("sqlx", &["coordinator"]),
    ("candle-core", &["runtime"]),
    ("candle-nn", &["runtime"]),
    ("ort", &["runtime"]),
    ("tokenizers", &["runtime"]),
    ("hf-hub", &["weights"]),
    ("ureq", &["weights"]),
    ("object_store", &["weights"]),
    ("reqwest", &["weights", "coordinator"]),
    ("prost", &["proto"]),
    ("tonic-prost", &["proto"]),
    ("tonic", &["proto", "coordinator", "agent", "cli", "e2e"]),
    ("anyhow", &["cli"]),
    ("opentelemetry", &["cli"]),
    ("tracing-opentelemetry", &["cli"]),
];

/// All that the pure members may depend on outside their tests.
const PURE: [(&str, &[&str]); 2] = [
    ("model", &["serde", "serde_json", "sha2", "thiserror"]),
    ("search", &["faer", "rand_chacha", "thiserror"]),
];

/// Text that may stand only in some places.
struct Rule {
    name: &'static str,
    /// The folders and files in which it is looked for, from the root; empty for everywhere.
    within: &'static [&'static str],
    /// The folders and files in which it may stand.
    allowed: &'static [&'static str],
    /// Whether tests must follow it too.
    tests_too: bool,
    patterns: &'static [&'static str],
}

/// The patterns are written in parts so that this file does not find itself.
const RULES: [Rule; 11] = [
    Rule {
        name: "SQL stands only in the store and the migrations",
        within: &[],
        allowed: &["coordinator/src/store", "migrations"],
        tests_too: true,
        patterns: &[
            concat!("sqlx", "::"),
            concat!("SELECT", " "),
            concat!("INSERT", " INTO"),
            concat!("DELETE", " FROM"),
            concat!("CREATE", " TABLE"),
            concat!("PRAG", "MA "),
        ],
    },
    Rule {
        name: "SQL never asks the database for the time",
        within: &["coordinator", "migrations"],
        // Times of the day in time zones are made there, of numbers that are given.
        allowed: &["coordinator/src/schedule/slots.rs"],
        tests_too: true,
        patterns: &[
            concat!("CURRENT", "_TIMESTAMP"),
            concat!("datetime", "("),
            concat!("strf", "time("),
            concat!("unix", "epoch("),
            concat!("julian", "day("),
            concat!("now", "()::"),
        ],
    },
    Rule {
        name: "the pure members read no clock, no file, no environment, and start nothing",
        within: &["search/src", "model/src"],
        allowed: &[],
        tests_too: false,
        patterns: &[
            "std::time::Instant",
            "SystemTime",
            "std::fs",
            "std::env",
            "std::net",
            "std::process",
            "std::thread",
            "async fn",
            "thread_rng",
            "rand::rng(",
            "from_os_rng",
            "RandomState",
        ],
    },
    Rule {
        name: "the search iterates over nothing whose order differs from run to run",
        within: &["search/src"],
        allowed: &[],
        tests_too: false,
        patterns: &["HashMap<", "HashMap::"],
    },
    Rule {
        name: "nobody asks a device what time of day it is: its clock may be wrong",
        within: &["agent", "runtime", "proto"],
        // Which file was used last, and whether one was changed, which only this machine is told.
        allowed: &["agent/src/weights/cache.rs", "agent/src/weights/others.rs"],
        tests_too: false,
        patterns: &["SystemTime", "UNIX_EPOCH"],
    },
    Rule {
        name: "the coordinator's time comes from its clock",
        within: &["coordinator/src"],
        allowed: &["coordinator/src/clock.rs"],
        tests_too: false,
        patterns: &["SystemTime::now", "Instant::now"],
    },
    Rule {
        name: "the environment is read where configuration is, and by the runtime for its switches",
        within: &[],
        allowed: &["cli/src/config.rs", "runtime/src/candle/mod.rs"],
        tests_too: false,
        patterns: &["env::var(", "env::var_os(", "env::vars(", "env::vars_os("],
    },
    Rule {
        name: "wire types of the agent stop in its client",
        within: &["agent/src"],
        allowed: &["agent/src/client.rs", "agent/src/client"],
        tests_too: false,
        patterns: &["bitfront_proto", "v1::"],
    },
    Rule {
        name: "wire types of the coordinator stop in rpc",
        within: &["coordinator/src"],
        allowed: &["coordinator/src/rpc"],
        tests_too: false,
        patterns: &["bitfront_proto", "v1::"],
    },
    Rule {
        name: "the agent starts one thread, the measuring one",
        within: &["agent/src"],
        allowed: &["agent/src/worker"],
        tests_too: false,
        patterns: &[
            "thread::spawn",
            "thread::Builder",
            "spawn_blocking",
            "rayon",
        ],
    },
    Rule {
        name: "candle is named in the runtime alone",
        within: &[
            "model",
            "search",
            "proto",
            "coordinator",
            "agent",
            "cli",
            "e2e",
        ],
        allowed: &[],
        tests_too: true,
        patterns: &[concat!("candle", "_core"), concat!("candle", "_nn")],
    },
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .unwrap()
        .to_owned()
}

struct Dependency {
    member: String,
    name: String,
    /// `normal`, `dev` or `build`.
    kind: String,
}

/// What the members' manifests say, for every platform and feature.
fn dependencies() -> Vec<Dependency> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--no-deps", "--offline", "--format-version=1"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |value: &serde_json::Value| value.as_str().unwrap().to_owned();
    let mut dependencies = Vec::new();
    for package in metadata["packages"].as_array().unwrap() {
        for dependency in package["dependencies"].as_array().unwrap() {
            dependencies.push(Dependency {
                member: short(&text(&package["name"])).to_owned(),
                name: text(&dependency["name"]),
                kind: dependency["kind"].as_str().unwrap_or("normal").to_owned(),
            });
        }
    }
    dependencies
}

fn short(package: &str) -> &str {
    package.strip_prefix("bitfront-").unwrap_or(package)
}

#[test]
fn members_depend_on_each_other_as_designed() {
    let allowed: BTreeMap<&str, &[&str]> = EDGES.into();
    let mut wrong = Vec::new();
    for Dependency { member, name, .. } in dependencies() {
        let Some(target) = name.strip_prefix("bitfront-") else {
            continue;
        };
        match allowed.get(member.as_str()) {
            Some(targets) if targets.contains(&target) => {}
            Some(_) => wrong.push(format!("{member} must not depend on {target}")),
            None => wrong.push(format!("the member {member} is not in the design")),
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What `cargo tree` shows, with all features: the edges that are really there.
#[test]
fn the_tree_has_no_other_edges() {
    let members: Vec<&str> = EDGES.iter().map(|&(member, _)| member).collect();
    let mut wrong = Vec::new();
    for (member, targets) in EDGES {
        let output = Command::new(env!("CARGO"))
            .args([
                "tree",
                "--offline",
                "--all-features",
                "--edges=normal,build",
            ])
            .args(["--depth=1", "--prefix=none", "--format={p}"])
            .args(["--package", &format!("bitfront-{member}")])
            .current_dir(root())
            .output()
            .unwrap();
        let tree = String::from_utf8(output.stdout).unwrap();
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "cargo tree: {complaint}");
        let shown: BTreeSet<&str> = tree
            .lines()
            .skip(1)
            .filter_map(|line| line.split(' ').next()?.strip_prefix("bitfront-"))
            .collect();
        for target in shown {
            if !members.contains(&target) || !targets.contains(&target) {
                wrong.push(format!("{member} → {target}"));
            }
        }
    }
    assert!(wrong.is_empty(), "edges that the design lacks: {wrong:#?}");
}

#[test]
fn confined_crates_stay_where_they_belong() {
    let confined: BTreeMap<&str, &[&str]> = CONFINED.into();
    let wrong: Vec<_> = dependencies()
        .iter()
        .filter(|dependency| dependency.kind != "dev")
        .filter(|dependency| {
            confined
                .get(dependency.name.as_str())
                .is_some_and(|members| !members.contains(&dependency.member.as_str()))
        })
        .map(|dependency| format!("{} must not use {}", dependency.member, dependency.name))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn pure_members_use_nothing_that_could_make_them_impure() {
    let pure: BTreeMap<&str, &[&str]> = PURE.into();
    let wrong: Vec<_> = dependencies()
        .iter()
        .filter(|dependency| dependency.kind != "dev")
        .filter(|dependency| {
            pure.get(dependency.member.as_str())
                .is_some_and(|allowed| !allowed.contains(&dependency.name.as_str()))
        })
        .map(|dependency| format!("{} must not use {}", dependency.member, dependency.name))
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn there_is_no_crate_for_leftovers() {
    let members: BTreeSet<&str> = EDGES.iter().map(|&(member, _)| member).collect();
    let crates: BTreeSet<String> = std::fs::read_dir(root())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("Cargo.toml").exists())
        .map(|path| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(
        crates.iter().map(String::as_str).collect::<BTreeSet<_>>(),
        members
    );
}

#[test]
fn what_must_be_absent_is_absent() {
    let sources = sources();
    // Where the layout changes, the scan must not silently look at nothing.
    assert!(sources.len() > 30, "only {} sources found", sources.len());
    let wrong: Vec<_> = RULES
        .iter()
        .flat_map(|rule| {
            sources
                .iter()
                .flat_map(move |source| violations(rule, source))
        })
        .collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_rule_notices_what_it_forbids() {
    let mut silent = Vec::new();
    for rule in &RULES {
        for pattern in rule.patterns {
            let folder = rule.within.first().unwrap_or(&"cli/src");
            let source = Source {
                path: format!("{folder}/made_up.rs"),
                is_test: false,
                text: format!("fn name() {{ {pattern} }}"),
            };
            if violations(rule, &source).len() != 1 {
                silent.push((rule.name, pattern));
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

#[test]
fn only_a_module_of_tests_ends_the_scan_of_a_file() {
    let inline = "a\n#[cfg(test)]\n#[allow(x)]\nmod tests {\n b\n}\n";
    assert_eq!(without_tests(inline), "a\n");
    let elsewhere = "a\n#[cfg(test)]\nmod tests;\nb\n";
    assert_eq!(without_tests(elsewhere), elsewhere);
}

struct Source {
    /// From the root, with `/`.
    path: String,
    /// Under a folder of tests.
    is_test: bool,
    text: String,
}

fn violations(rule: &Rule, source: &Source) -> Vec<String> {
    let under = |places: &[&str]| {
        places.iter().any(|place| {
            source
                .path
                .strip_prefix(place)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        })
    };
    let looked_at = rule.within.is_empty() || under(rule.within);
    if !looked_at || under(rule.allowed) || (source.is_test && !rule.tests_too) {
        return Vec::new();
    }
    let code = if rule.tests_too {
        source.text.as_str()
    } else {
        without_tests(&source.text)
    };
    code.lines()
        .enumerate()
        .filter(|(_, line)| !is_comment(line))
        .filter(|(_, line)| rule.patterns.iter().any(|pattern| line.contains(pattern)))
        .map(|(number, line)| {
            let (path, number) = (&source.path, number + 1);
            format!("{}: {path}:{number}: {}", rule.name, line.trim())
        })
        .collect()
}

fn is_comment(line: &str) -> bool {
    let line = line.trim_start();
    line.starts_with("//") || line.starts_with("--")
}

/// The text up to the tests, which stand last in a file, in a module of their own.
fn without_tests(text: &str) -> &str {
    let mut end = 0;
    let mut lines = text.split_inclusive('\n');
    while let Some(line) = lines.next() {
        if line.trim_end() == "#[cfg(test)]" {
            let mut rest = lines
                .clone()
                .skip_while(|line| line.starts_with("#[") || line.starts_with("//"));
            let next = rest.next().unwrap_or_default().trim_end();
            if next.starts_with("mod ") && next.ends_with('{') {
                return &text[..end];
            }
        }
        end += line.len();
    }
    text
}

/// Every Rust and SQL source of the members and the migrations.
fn sources() -> Vec<Source> {
    let root = root();
    let mut folders: Vec<PathBuf> = EDGES.iter().map(|(member, _)| root.join(member)).collect();
    folders.push(root.join("migrations"));
    let mut sources = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|end| end == "rs" || end == "sql")
            {
                let relative = path.strip_prefix(&root).unwrap().to_str().unwrap();
                let relative = relative.replace('\\', "/");
                sources.push(Source {
                    is_test: relative.contains("/tests/")
                        || relative.contains("/benches/")
                        || relative.ends_with("build.rs")
                        || relative.starts_with("e2e/"),
                    text: std::fs::read_to_string(&path).unwrap(),
                    path: relative,
                });
            }
        }
    }
    sources
}
