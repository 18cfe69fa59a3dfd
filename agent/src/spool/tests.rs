use bitfront_model::{
    Answer, Environment, Evidence, Measurement, Outcome, Precision, Probe, Quality,
};

use super::*;

const SOON: Duration = Duration::from_millis(200);

async fn spool(folder: &Path) -> Spool {
    let spool = Spool::open(Some(folder.to_owned()), SOON).await;
    spool.unwrap()
}

/// A measurement whose figures need all of their bits.
fn unsent(key: &str) -> Unsent {
    let third = 1.0 / 3.0;
    let quality = Quality {
        kld: 0.1 + 0.2,
        kld_standard_error: third,
        kld_windows: vec![third, f64::MIN_POSITIVE, 5e-324],
        perplexity: 1e300,
        reference_perplexity: third * 1e-7,
        same_top_rate: 0.9,
        same_top_windows: vec![0.9; 3],
        positions: 12,
        stopped: None,
        rescored: Vec::new(),
    };
    let measurement = Measurement {
        outcome: Outcome::Quality(quality),
        evidence: Evidence {
            executed: vec![Precision::Q4K],
            imatrix_digest: None,
            environment: Environment::default(),
            cold: None,
            energy: None,
            duration_ns: 7,
        },
    };
    Unsent {
        database: "a database".to_owned(),
        report: Finished::Measurement(Box::new(Report {
            token: LeaseToken { task: 3, epoch: 2 },
            idempotency_key: key.to_owned(),
            plan_digest: Digest::of("a plan"),
            measurement,
        })),
    }
}

fn answer(key: &str) -> Unsent {
    Unsent {
        database: "a database".to_owned(),
        report: Finished::Answer(Box::new(AnswerReport {
            token: LeaseToken { task: 4, epoch: 1 },
            idempotency_key: key.to_owned(),
            question_digest: Digest::of("a question"),
            answer: Answer::Probe(Probe {
                products: Vec::new(),
                environment: Environment::default(),
                duration_ns: 1,
            }),
        })),
    }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[tokio::test]
async fn a_report_is_there_to_the_last_bit_until_it_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().join("made/when needed");
    let mut first = spool(&folder).await;
    assert_eq!(first.unsent(), []);
    first.keep(&unsent("b"));
    first.keep(&answer("a"));
    assert!(first.kept(&unsent("b")).is_some());
    drop(first);

    let mut second = spool(&folder).await;
    assert_eq!(second.unsent(), [answer("a"), unsent("b")], "oldest first");
    second.forget(&answer("a"));
    assert_eq!(second.unsent(), [unsent("b")]);
    second.forget(&unsent("b"));
    second.forget(&unsent("b"));
    assert_eq!(names(&folder), ["lock"]);
}

#[tokio::test]
async fn what_cannot_be_read_is_put_aside_with_the_reason_and_keeps_nothing_from_being_sent() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let mut spool = spool(folder).await;
    spool.keep(&unsent("whole"));
    let whole = fs::read_to_string(folder.join("whole.report")).unwrap();
    let of_another_time = r#"{"database":"d","report":{"opinion":1}}"#;
    for (name, content) in [
        ("empty", String::new()),
        ("half", whole[..whole.len() / 2].to_owned()),
        ("first-line", whole[..MAGIC.len() + 10].to_owned()),
        (
            "damaged",
            whole.replace("\"positions\":12", "\"positions\":13"),
        ),
        ("of-another-format", whole.replace(" 1 ", " 2 ")),
        (
            "of-another-version",
            format!("{MAGIC}{}\n{of_another_time}", Digest::of(of_another_time)),
        ),
    ] {
        fs::write(folder.join(format!("{name}.report")), content).unwrap();
    }
    // Whoever wrote it ended meanwhile.
    fs::write(folder.join(".bitfront-abc.partial"), "half").unwrap();
    assert_eq!(spool.unsent(), [unsent("whole")]);
    assert_eq!(names(folder), ["lock", REFUSED, "whole.report"]);
    let aside = folder.join(REFUSED);
    assert_eq!(names(&aside).len(), 12, "{:?}", names(&aside));
    for (name, told) in [
        ("empty", "of another version, or empty"),
        ("half", "it ends early"),
        ("first-line", "it ends early"),
        ("damaged", "damaged"),
        ("of-another-format", "of another version"),
        ("of-another-version", "of another version"),
    ] {
        let reason = fs::read_to_string(aside.join(format!("{name}.reason"))).unwrap();
        assert!(reason.contains(told), "{name}: {reason}");
    }
}

#[tokio::test]
async fn what_is_refused_is_kept_aside_and_the_oldest_leaves_where_there_are_too_many() {
    let folder = tempfile::tempdir().unwrap();
    let aside = folder.path().join(REFUSED);
    let mut spool = spool(folder.path()).await;
    spool.keep(&unsent("key"));
    let path = spool
        .refuse(&unsent("key"), "the plan is another one")
        .unwrap();
    assert_eq!(path, aside.join("key.report"));
    assert_eq!(read(&path).unwrap(), unsent("key"));
    let reason = fs::read_to_string(aside.join("key.reason")).unwrap();
    assert_eq!(reason, "the plan is another one");
    assert_eq!(spool.unsent(), []);

    for number in 0..MOST_REFUSED {
        fs::write(aside.join(format!("a{number:04}.report")), "").unwrap();
    }
    spool.keep(&unsent("last"));
    spool.refuse(&unsent("last"), "no").unwrap();
    assert_eq!(reports(&aside).len(), MOST_REFUSED);
    let left = names(&aside);
    assert!(left.contains(&"last.report".to_owned()));
    assert_eq!(left[0], "a0002.report", "the oldest two are gone");
}

#[tokio::test]
async fn one_agent_at_a_time_uses_a_spool() {
    let folder = tempfile::tempdir().unwrap();
    let first = spool(folder.path()).await;
    let refused = Spool::open(Some(folder.path().to_owned()), SOON).await;
    let message = refused.unwrap_err().to_string();
    let shown = folder.path().display().to_string();
    assert!(
        message.contains(&shown) && message.contains("--name"),
        "{message}"
    );
    // One that is just ending is waited for.
    let ending = tokio::spawn(async move {
        sleep(SOON / 2).await;
        drop(first);
    });
    let patient = SOON * 50;
    Spool::open(Some(folder.path().to_owned()), patient)
        .await
        .unwrap();
    ending.await.unwrap();
}

#[tokio::test]
async fn a_disk_that_takes_nothing_stops_nobody_until_it_takes_something_again() {
    let folder = tempfile::tempdir().unwrap();
    let blocked = folder.path().join("file");
    fs::write(&blocked, "not a folder").unwrap();
    let place = blocked.join("spool");
    let mut spool = spool(&place).await;
    assert!(spool.complained);
    assert_eq!(spool.unsent(), []);
    spool.keep(&unsent("lost"));
    assert_eq!(spool.kept(&unsent("lost")), None);
    spool.forget(&unsent("lost"));
    assert_eq!(spool.refuse(&unsent("lost"), "no"), None);

    fs::remove_file(&blocked).unwrap();
    spool.keep(&unsent("kept"));
    assert!(!spool.complained);
    assert_eq!(spool.unsent(), [unsent("kept")]);
}

#[tokio::test]
async fn without_a_folder_nothing_is_kept() {
    let mut spool = Spool::open(None, SOON).await.unwrap();
    spool.keep(&unsent("key"));
    assert_eq!(
        (spool.kept(&unsent("key")), spool.unsent()),
        (None, Vec::new())
    );
}

#[test]
fn names_of_devices_stay_apart_whatever_they_hold() {
    let spools = Path::new("spools");
    let name = |device: &str| {
        let folder = spool_folder(spools, device);
        assert_eq!(folder.parent(), Some(spools), "{device}");
        folder.file_name().unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(name("rack3-board2"), "device-rack3-board2");
    let long = "x".repeat(300);
    let strange = ["", ".", "..", "a/b", "a.b", "a b", "ä", long.as_str()];
    let names: std::collections::BTreeSet<_> = strange.map(name).into_iter().collect();
    assert_eq!(names.len(), strange.len(), "{names:?}");
    assert!(names.iter().all(|name| name.len() < 100), "{names:?}");
}
