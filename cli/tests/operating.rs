//! What whoever runs a coordinator reads: its log as programs do, its pages, and nothing secret.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use serde_json::Value;
use support::background::{Background, logging, message};
use support::{bitfront, demo};

fn get(address: &str, path: &str, secret: Option<&str>) -> String {
    let mut tcp = TcpStream::connect(address).unwrap();
    let shown = secret.map(|secret| format!("Authorization: Bearer {secret}\r\n"));
    let shown = shown.unwrap_or_default();
    write!(tcp, "GET {path} HTTP/1.1\r\nHost: here\r\n{shown}\r\n").unwrap();
    let mut answer = String::new();
    tcp.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn a_run_is_read_in_its_log_and_on_its_pages_and_no_secret_is() {
    let data = tempfile::tempdir().unwrap();
    let data = data.path();
    let add = |role: &str| {
        let run = bitfront(["token", "add", role, "--role", role])
            .in_data_dir(data)
            .env("BITFRONT_DATABASE", data.join("bitfront.sqlite"))
            .finish();
        assert_eq!(run.code, Some(0), "{}", run.stderr);
        run.stdout.trim().to_owned()
    };
    let secrets = ["submit", "agent", "read"].map(add);
    let [submit, agent, read] = &secrets;
    let serve = [
        "serve",
        "--listen=127.0.0.1:0",
        "--web-listen=127.0.0.1:0",
        "--require-tokens",
    ];
    let serve = logging(serve, data).env("BITFRONT_DATABASE", data.join("bitfront.sqlite"));
    let coordinator = Background::start(serve, data.join("coordinator.log"));
    let line = coordinator.line("listening on ");
    let url = message(&line).strip_prefix("listening on ").unwrap();
    let line = coordinator.line("health and metrics at http://");
    let web = message(&line).rsplit('/').next().unwrap().to_owned();

    let (model, text) = (demo().join("model"), demo().join("evaluation.txt"));
    let ask = |arguments: &[&str]| {
        let run = bitfront(arguments)
            .env("BITFRONT_COORDINATOR", url)
            .env("BITFRONT_TOKEN", submit)
            .finish();
        assert_eq!(run.code, Some(0), "{arguments:?}: {}", run.stderr);
        run.stdout.trim().to_owned()
    };
    let search = ask(&[
        "submit",
        model.to_str().unwrap(),
        "--data",
        text.to_str().unwrap(),
        "--evaluations=2",
        "--windows=2",
        "--context=64",
        "--precisions=q8_0,q4_k",
        "--imatrix=none",
    ]);
    let arguments = ["agent", "--name", "bench", "--coordinator", url];
    let of_bench = logging(arguments, &data.join("bench")).env("BITFRONT_TOKEN", agent);
    let bench = Background::start(of_bench, data.join("bench.log"));
    ask(&["watch", &search]);

    // Whoever measured is known by its name, what it measured by the same fields on both sides.
    let search: i64 = search.parse().unwrap();
    let registered = coordinator.line("registered");
    assert_eq!(registered["agent"], "bench");
    let device = registered["device"].as_i64().unwrap();
    let handed_out = coordinator.line("latency of search is handed out");
    assert_eq!(handed_out["search"], search);
    assert_eq!(handed_out["device"], device);
    let (task, epoch) = (&handed_out["task"], &handed_out["epoch"]);
    assert!(task.is_i64() && epoch.is_i64(), "{handed_out}");
    let same = |line: &&Value| line["task"] == *task && line["epoch"] == *epoch;
    let lines = bench.lines();
    let measured: Vec<_> = lines.iter().filter(same).collect();
    let measuring = measured
        .iter()
        .find(|line| message(line) == "measuring latency");
    let measuring = measuring.unwrap_or_else(|| panic!("{measured:#?}"));
    assert_eq!(measuring["search"], search);
    assert_eq!(measuring["candidate"], handed_out["candidate"]);
    assert_eq!(measuring["span"]["agent"], "bench");
    assert!(measured.len() > 1, "its report is told: {measured:#?}");
    let lines = coordinator.lines();
    let reported = lines
        .iter()
        .filter(same)
        .find(|line| message(line) == "report");
    let reported = reported.unwrap_or_else(|| panic!("no report about {task}"));
    assert_eq!(reported["search"], search);
    for words in ["submitted", "bound", "done"] {
        assert_eq!(coordinator.line(words)["search"], search, "{words}");
    }
    for line in lines.iter().chain(&bench.lines()) {
        for field in ["timestamp", "level", "target"] {
            assert!(line[field].is_string(), "no {field} in {line}");
        }
        let is_ours = line["target"].as_str().unwrap().starts_with("bitfront");
        assert!(!is_ours || line["message"].is_string(), "{line}");
    }

    assert!(get(&web, "/healthz", None).starts_with("HTTP/1.1 200 "));
    assert!(get(&web, "/readyz", None).starts_with("HTTP/1.1 200 "));
    assert!(get(&web, "/metrics", None).starts_with("HTTP/1.1 401 "));
    assert!(get(&web, "/metrics", Some(submit)).starts_with("HTTP/1.1 403 "));
    let page = get(&web, "/metrics", Some(read));
    let value = |start: &str| {
        let found = page.lines().find_map(|line| line.strip_prefix(start));
        let found = found.unwrap_or_else(|| panic!("no {start} in\n{page}"));
        found.trim().parse::<f64>().unwrap()
    };
    assert_eq!(value("bitfront_searches{state=\"done\"}"), 1.0);
    assert_eq!(value("bitfront_devices{presence=\"present\"}"), 1.0);
    assert_eq!(
        value("bitfront_calls_refused_total{cause=\"nothing_shown\"}"),
        1.0
    );
    assert_eq!(value("bitfront_calls_refused_total{cause=\"role\"}"), 1.0);
    for kind in ["quality", "latency", "probe"] {
        let seconds =
            |part: &str| value(&format!("bitfront_task_seconds_{part}{{kind=\"{kind}\"}}"));
        assert!(seconds("count") > 0.0 && seconds("sum") > 0.0, "{kind}");
    }
    assert!(value("bitfront_driver_seconds_total") > 0.0);
    let report = "method=\"/bitfront.v1.Agents/Report\"";
    let answered = value(&format!("bitfront_calls_total{{{report},code=\"OK\"}}"));
    assert!(answered <= value("bitfront_commit_reports_sum"));
    assert_eq!(
        answered,
        value(&format!("bitfront_call_seconds_count{{{report}}}"))
    );

    for text in [&coordinator.1, &bench.1].map(|log| fs::read_to_string(log).unwrap()) {
        for secret in &secrets {
            assert!(!text.contains(secret.as_str()), "a secret is logged");
        }
    }
    for secret in &secrets {
        assert!(!page.contains(secret.as_str()), "a secret is shown");
    }
}

#[test]
fn talk_and_failures_are_objects_too_for_programs() {
    let run = bitfront(["searches"])
        .env("BITFRONT_COORDINATOR", "http://127.0.0.1:1")
        .env("BITFRONT_LOG_FORMAT", "json")
        .finish();
    assert_eq!(run.code, Some(4), "{}", run.stderr);
    let last: Value = serde_json::from_str(run.stderr.lines().last().unwrap()).unwrap();
    assert_eq!(last["level"], "ERROR");
    assert!(message(&last).starts_with("error: "), "{last}");
}

#[test]
fn nobody_is_told_of_an_address_that_is_refused() {
    let open = bitfront(["serve", "--listen=127.0.0.1:0", "--web-listen=0.0.0.0:0"]).finish();
    assert_eq!(open.code, Some(1), "{}", open.stderr);
    assert!(open.stderr.contains("--tls-cert"), "{}", open.stderr);
    let open = bitfront(["serve", "--listen=0.0.0.0:0"]).finish();
    assert_eq!(open.code, Some(1), "{}", open.stderr);
    assert!(!open.stderr.contains("listening on"), "{}", open.stderr);
}
