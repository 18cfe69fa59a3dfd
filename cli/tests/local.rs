//! The verbs on an embedded coordinator and on one over the network.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use support::{bitfront, demo};

/// A process that ends with the test.
struct Background(Child);

impl Drop for Background {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn text(path: impl AsRef<Path>) -> String {
    path.as_ref().display().to_string()
}

#[test]
fn a_fresh_machine_has_no_searches_and_no_devices() {
    let data = tempfile::tempdir().unwrap();
    for (verb, columns) in [("searches", "search,model"), ("devices", "device,state")] {
        let run = bitfront([verb, "--format", "csv"])
            .in_data_dir(data.path())
            .finish();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        assert!(run.stdout.starts_with(columns), "{}", run.stdout);
        assert_eq!(run.stdout.lines().count(), 1);
    }
    let run = bitfront(["front", "7"]).in_data_dir(data.path()).finish();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    let run = bitfront(["best", "--model", "nobody"])
        .in_data_dir(data.path())
        .finish();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("nobody"), "{}", run.stderr);
}

#[test]
fn a_database_is_copied_and_brought_back() {
    let data = tempfile::tempdir().unwrap();
    let in_data = |arguments: &[&str]| bitfront(arguments).in_data_dir(data.path()).finish();
    let made = in_data(&["searches"]);
    assert_eq!(made.code, Some(0), "{}", made.stderr);
    let copy = text(data.path().join("copy.sqlite"));
    let other = text(data.path().join("other.sqlite"));
    let copied = in_data(&["backup", &copy]);
    assert_eq!(copied.code, Some(0), "{}", copied.stderr);
    assert!(copied.stderr.contains(&copy), "{}", copied.stderr);
    let restored = in_data(&["restore", &copy, "--database", &other]);
    assert_eq!(restored.code, Some(0), "{}", restored.stderr);
    let refused = [
        (in_data(&["restore", &copy]), "it exists"),
        (in_data(&["backup", &copy]), "it exists"),
        (
            in_data(&["backup", "new", "--database", "nothing"]),
            "no such file",
        ),
        (
            in_data(&[
                "backup",
                "new",
                "--database",
                "postgres://me:secret@host/fleet",
            ]),
            "pg_dump",
        ),
    ];
    for (run, part) in refused {
        assert!(
            run.code != Some(0) && run.stderr.contains(part),
            "{}",
            run.stderr
        );
        assert!(!run.stderr.contains("secret"), "{}", run.stderr);
    }
}

/// The agent of the same process has then registered before the request arrives.
#[test]
fn a_fresh_machine_can_be_named_as_the_device() {
    let data = tempfile::tempdir().unwrap();
    let run = bitfront([
        "run".to_owned(),
        text(demo().join("model")),
        format!("--data={}", text(demo().join("evaluation.txt"))),
        format!("--device={}", bitfront_agent::hardware::host_name()),
        "--evaluations=1".into(),
        "--windows=2".into(),
        "--calibration-windows=2".into(),
        "--context=64".into(),
        "--precisions=q8_0,q4_k".into(),
        "--format=csv".into(),
    ])
    .in_data_dir(data.path())
    .finish();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("Q2_K"), "{}", run.stdout);
    let said = ["baselines come first", "--evaluations 1 ends before"];
    assert!(
        said.iter().all(|said| run.stderr.contains(said)),
        "{}",
        run.stderr
    );
}

/// One small search, and every verb that reads from it.
#[test]
fn a_search_goes_from_a_model_to_a_file() {
    let data = tempfile::tempdir().unwrap();
    let out = tempfile::tempdir().unwrap();
    let run = bitfront([
        "run".to_owned(),
        text(demo().join("model")),
        format!("--data={}", text(demo().join("evaluation.txt"))),
        format!("--calibration={}", text(demo().join("calibration.txt"))),
        "--evaluations=14".into(),
        "--windows=6".into(),
        "--calibration-windows=2".into(),
        "--context=64".into(),
        "--precisions=q8_0,q4_k,q2_k".into(),
        "--format=csv".into(),
    ])
    .in_data_dir(data.path())
    .finish();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.contains("Q4_K_M") && run.stdout.contains("uniform q4_k"));

    let ask = |arguments: &[&str]| {
        let run = bitfront(arguments).in_data_dir(data.path()).finish();
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run.stdout
    };
    let searches = ask(&["searches", "--format", "json"]);
    let searches: serde_json::Value = serde_json::from_str(&searches).unwrap();
    assert_eq!(searches[0]["state"], "done");
    assert_eq!(searches[0]["evaluated"], 14);
    assert!(ask(&["devices"]).contains("candle"));
    assert!(ask(&["front", "1", "--all", "--plot"]).contains("size of the weights"));

    let explained = ask(&["front", "1", "--explain", "--format", "json"]);
    let explained: Vec<serde_json::Value> = serde_json::from_str(&explained).unwrap();
    assert!(explained.iter().all(|row| row["why"].is_string()));
    let row_of = |baseline: &str| {
        let named = |row: &&serde_json::Value| {
            let names = row["baseline"].as_str().unwrap_or_default();
            names.split(", ").any(|name| name == baseline)
        };
        explained.iter().find(named).unwrap()
    };
    let of = |baseline: &str| row_of(baseline)["candidate"].as_i64().unwrap().to_string();
    // Each was started in a process of its own, where the larger one takes more.
    let started = |baseline: &str, figure: &str| {
        let row = row_of(baseline);
        let figure = row[figure].as_u64();
        figure.unwrap_or_else(|| panic!("{baseline}: {row}"))
    };
    for baseline in ["uniform q2_k", "uniform q8_0"] {
        for figure in ["load_ns", "first_token_ns", "weight_bytes"] {
            assert!(started(baseline, figure) > 0, "{baseline}: {figure}");
        }
    }
    if cfg!(target_os = "linux") {
        let more = |figure: &str| {
            started("uniform q8_0", figure) as f64 - started("uniform q2_k", figure) as f64
        };
        assert!(more("peak_memory_bytes") > 0.8 * more("weight_bytes"));
        assert!(started("uniform q2_k", "memory_before_bytes") > 0);
    }

    // Of two bits and eight anybody can tell which loses less.
    let (two, eight) = (of("uniform q2_k"), of("uniform q8_0"));
    let compared = ask(&["compare", &two, &eight, "--format", "json"]);
    let compared: serde_json::Value = serde_json::from_str(&compared).unwrap();
    assert_eq!(compared[0]["figure"], "kld");
    assert_eq!(compared[0]["better"], "second");
    assert_eq!(compared[3]["better"], "first", "{}", compared[3]);
    assert!(ask(&["compare", &two, &two]).contains("indistinguishable"));
    let run = bitfront(["compare", &two, "9999"])
        .in_data_dir(data.path())
        .finish();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
    assert!(run.stderr.contains("no candidate 9999"), "{}", run.stderr);

    let best = ask(&[
        "best", "--model", "model", "--by", "size", "--format", "json",
    ]);
    let best: serde_json::Value = serde_json::from_str(&best).unwrap();
    let smallest = best[0]["size_bytes"].as_u64().unwrap();
    assert!(best[0]["quality_measurement"].is_i64());

    let predicted = text(out.path().join("predicted.plan.json"));
    let of_predicted = text(out.path().join("predicted.types.txt"));
    let answer = ask(&[
        "best",
        "1",
        "--predict",
        "--by",
        "kld",
        "--plan",
        &predicted,
        "--format",
        "json",
    ]);
    let answer: serde_json::Value = serde_json::from_str(&answer).unwrap();
    assert!(answer[0]["kld_low"].as_f64() <= answer[0]["kld_high"].as_f64());
    ask(&[
        "export",
        &predicted,
        "--as",
        "tensor-type-file",
        "--to",
        &of_predicted,
    ]);
    assert!(fs::read_to_string(&of_predicted).unwrap().contains("="));

    let plan = text(out.path().join("best.plan.json"));
    let gguf = text(out.path().join("best.gguf"));
    let again = text(out.path().join("again.gguf"));
    let types = text(out.path().join("types.txt"));
    let page = text(out.path().join("report.html"));
    ask(&["export", "1", "--by", "size", "--as", "plan", "--to", &plan]);
    ask(&["export", "1", "--by", "size", "--to", &gguf]);
    ask(&["export", &plan, "--to", &again]);
    ask(&["export", &plan, "--as", "tensor-type-file", "--to", &types]);
    ask(&["report", "1", "--to", &page]);
    let bytes = fs::read(&gguf).unwrap();
    assert!(bytes.starts_with(b"GGUF") && bytes.len() as u64 > smallest);
    assert_eq!(bytes, fs::read(&again).unwrap(), "one plan, one file");
    assert!(fs::read_to_string(&types).unwrap().contains("="));
    assert!(fs::read_to_string(&page).unwrap().contains("Q4_K_M"));

    // What was exported is a model again.
    let inspected = bitfront(["inspect", &gguf]).finish();
    assert_eq!(inspected.code, Some(0), "{}", inspected.stderr);

    let run = bitfront(["export", "1", "--max-kld", "1e-9", "--to", "x.gguf"])
        .in_data_dir(data.path())
        .finish();
    assert_eq!(run.code, Some(3), "{}", run.stderr);
}

/// Two small searches, and what the later one says of the earlier one. What becomes of times is the
/// machine's; a divergence is the same bit by bit.
#[test]
fn two_nights_are_held_against_each_other() {
    let data = tempfile::tempdir().unwrap();
    let in_data = |arguments: &[&str]| bitfront(arguments).in_data_dir(data.path()).finish();
    let model = text(demo().join("model"));
    let evaluation = format!("--data={}", text(demo().join("evaluation.txt")));
    for _ in 0..2 {
        let run = in_data(&[
            "run",
            &model,
            &evaluation,
            "--evaluations=10",
            "--windows=2",
            "--calibration-windows=2",
            "--context=64",
            "--prior=rounding",
            "--format=csv",
        ]);
        assert_eq!(run.code, Some(0), "{}", run.stderr);
    }
    let diff = in_data(&["diff", "1", "2", "--format", "json"]);
    assert_eq!(diff.code, Some(0), "{}", diff.stderr);
    let rows: Vec<serde_json::Value> = serde_json::from_str(&diff.stdout).unwrap();
    assert!(rows.len() >= 8, "{}", diff.stdout);
    for row in &rows {
        assert_eq!(
            (&row["kld_verdict"], &row["kld_ratio"]),
            (&"unchanged".into(), &1.0.into())
        );
    }
    let check = in_data(&["check", "2", "--against", "1", "--format", "json"]);
    assert!(matches!(check.code, Some(0 | 5)), "{}", check.stderr);
    let figures: Vec<serde_json::Value> = serde_json::from_str(&check.stdout).unwrap();
    let verdicts: Vec<_> = figures
        .iter()
        .map(|row| row["verdict"].as_str().unwrap())
        .collect();
    assert_eq!((verdicts.len(), verdicts[0]), (3, "unchanged"));
    assert_eq!(
        check.code == Some(5),
        verdicts.contains(&"worse"),
        "{}",
        check.stdout
    );
    let people = in_data(&["check", "2", "--against", "1"]);
    assert!(
        people.stdout.contains("before: search 1 on "),
        "{}",
        people.stdout
    );

    for (arguments, code, said) in [
        (
            &["check", "2"][..],
            3,
            "search 2 was started from no other one",
        ),
        (&["check", "9"], 3, "there is no search 9"),
        (&["diff", "1", "9"], 3, "there is no search 9"),
        (&["diff", "1", "1"], 2, "it is one search"),
        (&["diff", "1"], 2, "<AFTER>"),
        (&["check", "2", "--against", "yesterday"], 2, "yesterday"),
    ] {
        let run = in_data(arguments);
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{arguments:?}: {}", run.stderr);
        assert!(run.stdout.is_empty(), "{arguments:?}: {}", run.stdout);
    }
}

/// Agents start it; whoever else does is told what is wrong, in its own form.
#[test]
fn the_verb_of_a_cold_start_is_hidden_and_answers_in_one_line() {
    let run = bitfront(["cold-start"]).finish();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    let answer: serde_json::Value = serde_json::from_str(&run.stdout).unwrap();
    assert_eq!(answer["answer"], "failed");
    assert!(!bitfront(["--help"]).finish().stdout.contains("cold-start"));
}

#[test]
fn the_verb_of_a_worker_is_hidden_and_ends_with_its_input() {
    let run = bitfront(["worker", "--cache", "cache"]).finish();
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    assert!(run.stdout.is_empty(), "{}", run.stdout);
    assert!(!bitfront(["--help"]).finish().stdout.contains("worker"));
}

/// A coordinator on a port of its own choice, and its URL.
fn serve() -> (Background, String, tempfile::TempDir) {
    let (mut command, data) = bitfront(["serve", "--listen", "127.0.0.1:0"]).command();
    let child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut child = Background(child);
    let stderr = BufReader::new(child.0.stderr.take().unwrap());
    let line = stderr.lines().next().unwrap().unwrap();
    let url = line.strip_prefix("listening on ").unwrap().to_owned();
    (child, url, data)
}

#[test]
fn a_coordinator_says_where_it_listens_and_is_asked_there() {
    let (_coordinator, url, _data) = serve();
    let run = bitfront(["devices", "--format", "json", "--coordinator", &url]).finish();
    assert_eq!((run.code, run.stdout.trim()), (Some(0), "[]"));
    let run = bitfront(["searches", "--format", "json"])
        .env("BITFRONT_COORDINATOR", &url)
        .finish();
    assert_eq!((run.code, run.stdout.trim()), (Some(0), "[]"));
}

/// Three processes and the verbs between them.
#[test]
fn a_search_runs_over_the_network() {
    let (_coordinator, url, _data) = serve();
    let ask = |arguments: &[&str]| {
        let run = bitfront(arguments)
            .env("BITFRONT_COORDINATOR", &url)
            .finish();
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run
    };
    let (model, text) = (
        text(demo().join("model")),
        text(demo().join("evaluation.txt")),
    );
    let submit = |budget: &str| {
        let arguments = [
            "submit",
            &model,
            "--data",
            &text,
            "--evaluations",
            budget,
            "--windows=2",
            "--context=64",
            "--precisions=q8_0,q4_k",
            "--imatrix=none",
        ];
        ask(&arguments).stdout.trim().to_owned()
    };
    let search = submit("10");
    let (mut command, _agent_data) =
        bitfront(["agent", "--name", "bench", "--coordinator", &url]).command();
    let _agent = Background(command.stderr(Stdio::null()).spawn().unwrap());

    let watched = ask(&["watch", &search]);
    assert!(watched.stderr.contains("is done"), "{}", watched.stderr);
    assert!(ask(&["devices"]).stdout.contains("bench"));
    // The search was bound once its device was probed.
    let probed = ask(&["devices", "bench", "--format", "json"]);
    let products: serde_json::Value = serde_json::from_str(&probed.stdout).unwrap();
    let products = products.as_array().unwrap();
    assert!(products.len() > 13, "{}", probed.stdout);
    let times = products.iter().map(|product| &product["few_rows_ns"]);
    assert!(times.into_iter().all(|time| time.as_f64().unwrap() > 0.0));
    assert!(probed.stderr.contains("probe 1:"), "{}", probed.stderr);
    let unknown = bitfront(["devices", "nobody", "--coordinator", &url]).finish();
    assert_ne!(unknown.code, Some(0));
    assert!(
        unknown.stderr.contains("`nobody`") && unknown.stderr.contains("known are bench"),
        "{}",
        unknown.stderr
    );
    let front = ask(&["front", &search, "--device", "bench", "--format", "csv"]).stdout;
    assert!(
        front.contains("Q4_K_M") && front.contains(",bench,"),
        "{front}"
    );

    let endless = submit("100000");
    ask(&["cancel", &endless]);
    let searches = ask(&["searches", "--format", "json"]).stdout;
    let searches: serde_json::Value = serde_json::from_str(&searches).unwrap();
    assert_eq!(searches[0]["state"], "done");
    assert_eq!(searches[1]["state"], "cancelled");
}

/// A coordinator and two agents whose engines have other numbers of threads, so other hardware
/// profiles.
#[test]
fn several_devices_get_a_search_each_and_are_followed_together() {
    let (_coordinator, url, _data) = serve();
    let agents = ["1", "2"].map(|threads| {
        let agent = bitfront(["agent", "--name", &format!("with-{threads}")])
            .env("BITFRONT_COORDINATOR", &url)
            .env("CANDLE_NUM_THREADS", threads)
            .env("RAYON_NUM_THREADS", threads);
        let (mut command, data) = agent.command();
        (
            Background(command.stderr(Stdio::null()).spawn().unwrap()),
            data,
        )
    });
    let (model, text) = (
        text(demo().join("model")),
        text(demo().join("evaluation.txt")),
    );
    let start = |verb: &str, extra: &[&str]| {
        let arguments = [
            verb,
            &model,
            "--data",
            &text,
            "--evaluations=2",
            "--windows=2",
            "--context=64",
            "--precisions=q8_0,q4_k",
            "--imatrix=none",
        ];
        bitfront(arguments.iter().chain(extra))
            .env("BITFRONT_COORDINATOR", &url)
            .finish()
    };
    let ask = |arguments: &[&str]| {
        let run = bitfront(arguments)
            .env("BITFRONT_COORDINATOR", &url)
            .finish();
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run.stdout
    };
    let mut patience = 0;
    while !["with-1", "with-2"]
        .iter()
        .all(|it| ask(&["devices"]).contains(it))
    {
        patience += 1;
        assert!(patience < 600, "the agents do not register");
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    let refused = start("submit", &["--device=with-1", "--device=nobody"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    let said = "--device: there is no device `nobody`; known are with-";
    assert!(refused.stderr.contains(said), "{}", refused.stderr);
    assert_eq!(ask(&["searches", "--format", "json"]).trim(), "[]");

    let run = start(
        "run",
        &["--device=with-1", "--device=with-2", "--format=json"],
    );
    assert_eq!(run.code, Some(0), "{}", run.stderr);
    for line in [
        "with-1: search 1 started",
        "with-2: search 2 started",
        "with-1: search 1 is done",
        "with-2: search 2 is done",
    ] {
        assert!(run.stderr.contains(line), "{line}: {}", run.stderr);
    }
    let rows: Vec<serde_json::Value> = serde_json::from_str(&run.stdout).unwrap();
    for (search, device) in [(1, "with-1"), (2, "with-2")] {
        let of_search = rows.iter().filter(|row| row["search"] == search);
        let devices: Vec<_> = of_search.map(|row| row["device"].as_str()).collect();
        assert!(devices.len() > 1);
        assert!(devices.iter().all(|it| *it == Some(device)), "{devices:?}");
    }
    let more = start("submit", &["--device=with-2", "--device=with-1"]);
    assert_eq!((more.code, more.stdout.as_str()), (Some(0), "3\n4\n"));
    drop(agents);
}

#[test]
fn an_agent_without_a_coordinator_says_what_it_needs() {
    let run = bitfront(["agent"]).finish();
    assert_eq!(run.code, Some(2));
    assert!(run.stderr.contains("hint: "), "{}", run.stderr);
}

/// A limit on the size of files stands for a full disk: both end a write in the middle.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_no_half_file() {
    let folder = tempfile::tempdir().unwrap();
    let inspect = bitfront([
        "inspect".to_owned(),
        text(demo().join("model")),
        "--format=json".into(),
    ]);
    let layers: serde_json::Value = serde_json::from_str(&inspect.finish().stdout).unwrap();
    let layers: serde_json::Map<_, _> = layers
        .as_array()
        .unwrap()
        .iter()
        .map(|layer| (layer["layer"].as_str().unwrap().to_owned(), "q8_0".into()))
        .collect();
    let digest = {
        let run = bitfront(["inspect".to_owned(), text(demo().join("model"))]).finish();
        let line = run.stdout.lines().nth(1).unwrap().to_owned();
        line.rsplit(' ').next().unwrap().to_owned()
    };
    let plan = folder.path().join("plan.json");
    let file = serde_json::json!({
        "model": "model", "model_digest": digest, "plan_digest": digest, "size_bytes": 0,
        "imatrix_digest": null, "layers": layers,
    });
    fs::write(&plan, file.to_string()).unwrap();
    let to = folder.path().join("out.gguf");
    let script =
        "trap '' XFSZ; ulimit -f 1000; exec \"$0\" export \"$1\" --model \"$2\" --to \"$3\"";
    let output = Command::new("bash")
        .args(["-c", script, env!("CARGO_BIN_EXE_bitfront")])
        .args([&plan, &demo().join("model"), &to])
        .env("BITFRONT_DATA_DIR", folder.path().join("data"))
        .env_remove("BITFRONT_DATABASE")
        .env_remove("BITFRONT_TEST_POSTGRES")
        .output()
        .unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{stderr}");
    assert!(
        stderr.contains("error: cannot write") && stderr.contains("out.gguf"),
        "{stderr}"
    );
    let left: Vec<_> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .filter(|name| name.to_string_lossy().starts_with("out"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
}
