//! The help texts are part of the interface: a change to them is a decision.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

mod support;

use support::bitfront;

#[test]
fn help_texts_are_pinned() {
    let verbs = [
        "",
        "demo",
        "run",
        "submit",
        "watch",
        "continue",
        "cancel",
        "searches",
        "devices",
        "sensitivity",
        "front",
        "compare",
        "diff",
        "check",
        "best",
        "export",
        "report",
        "inspect",
        "model",
        "model add",
        "token",
        "token add",
        "token list",
        "token revoke",
        "schedule",
        "schedule add",
        "schedule list",
        "schedule nights",
        "schedule pause",
        "schedule resume",
        "schedule remove",
        "audit",
        "serve",
        "agent",
    ];
    for verb in verbs {
        let arguments = verb.split_whitespace().chain(["--help"]);
        let run = bitfront(arguments).finish();
        assert_eq!(run.code, Some(0));
        let name = match verb {
            "" => "bitfront".to_owned(),
            verb => verb.replace(' ', "-"),
        };
        insta::assert_snapshot!(format!("help-{name}"), run.stdout);
    }
}

#[test]
fn every_verb_documents_its_exit_codes() {
    let help = bitfront(["--help"]).finish().stdout;
    assert!(help.contains("Exit codes:"));
    assert!(help.contains("BITFRONT_COORDINATOR"));
    for verb in ["run", "front", "serve", "demo", "check"] {
        let help = bitfront([verb, "--help"]).finish().stdout;
        assert!(help.contains("Exit codes:"), "{verb}");
        assert_eq!(help.contains("something got worse"), verb == "check");
    }
}
