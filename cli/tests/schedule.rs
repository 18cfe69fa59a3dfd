//! Searches that start by themselves, from the command line.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

mod support;

use support::{bitfront, demo};

#[test]
fn a_schedule_is_added_listed_and_removed() {
    let data = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| bitfront(arguments).in_data_dir(data.path()).finish();
    let (model, text) = (demo().join("model"), demo().join("evaluation.txt"));
    let add = |more: &[&str]| {
        let mut arguments = vec!["schedule", "add", model.to_str().unwrap()];
        arguments.extend(["--data", text.to_str().unwrap(), "--windows=2"]);
        arguments.extend(["--calibration-windows=2", "--evaluations=12"]);
        arguments.extend(more);
        run(&arguments)
    };
    let added = add(&[
        "--name=nightly",
        "--cron=30 2 * * *",
        "--webhook=https://host/secret",
    ]);
    assert_eq!(added.code, Some(0), "{}", added.stderr);
    let times: Vec<_> = added.stdout.lines().collect();
    assert!(times.len() == 3 && times.iter().all(|time| time.ends_with("T02:30:00Z")));
    assert!(
        added.stderr.contains("while `bitfront serve` serves that"),
        "{}",
        added.stderr
    );

    let refused = [
        (
            add(&["--name=nightly", "--cron=0 2 * * *"]),
            1,
            "there is a schedule `nightly`",
        ),
        (
            add(&["--name=other", "--cron=* * * * *"]),
            2,
            "more often than every 5 minutes",
        ),
        (
            add(&["--name=other", "--cron=0 2 30 2 *"]),
            2,
            "never comes",
        ),
        (
            add(&[
                "--name=other",
                "--cron=0 2 * * *",
                "--time-zone=Europe/Berln",
            ]),
            2,
            "Europe/Berlin",
        ),
        (
            add(&["--name=other", "--cron=0 2 * * *", "--webhook=secret"]),
            2,
            "webhook: it is no URL",
        ),
        (
            add(&[
                "--name=other",
                "--cron=0 2 * * *",
                "--device=a",
                "--device=b",
            ]),
            2,
            "a schedule is for one device",
        ),
        (
            add(&["--name=other", "--cron=0 2 * * *", "--grace=soon"]),
            2,
            "--grace",
        ),
        (
            run(&["schedule", "pause", "other"]),
            3,
            "there is no schedule `other`",
        ),
        (
            run(&["schedule", "nights", "other"]),
            3,
            "there is no schedule `other`",
        ),
    ];
    for (run, code, part) in refused {
        assert_eq!(run.code, Some(code), "{}", run.stderr);
        assert!(run.stderr.contains(part), "{part}: {}", run.stderr);
        assert!(!run.stderr.contains("secret"), "{}", run.stderr);
    }

    let listed = run(&["schedule", "list", "--format=json"]).stdout;
    for part in [
        r#""next": "#,
        times[0],
        "nightly",
        r#""webhook": "https://host""#,
    ] {
        assert!(listed.contains(part), "{part}: {listed}");
    }
    assert!(!listed.contains("secret"));
    for (verb, said) in [
        ("pause", "`nightly` is now paused"),
        ("pause", "`nightly` is already paused"),
        ("resume", "`nightly` is now active"),
        ("remove", "`nightly` is now removed"),
    ] {
        let changed = run(&["schedule", verb, "nightly"]);
        assert_eq!(changed.code, Some(0), "{}", changed.stderr);
        assert!(changed.stderr.contains(said), "{}", changed.stderr);
    }
    let nights = run(&["schedule", "nights", "nightly", "--format=json"]);
    assert_eq!((nights.code, nights.stdout.trim()), (Some(0), "[]"));
    let deeds = run(&["audit", "--format=csv"]).stdout;
    assert!(deeds.contains("local,add schedule,nightly,done"), "{deeds}");
}
