//! Bad input gets one clear error before work starts.
#![allow(clippy::unwrap_used)]

mod support;

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use support::{bitfront, demo, model_copy};

/// A way to spoil a model or a request, and what must be said about it.
struct Case {
    name: &'static str,
    spoil: fn(&Path),
    arguments: &'static [&'static str],
    code: i32,
    said: &'static [&'static str],
}

fn nothing(_: &Path) {}

/// Replaces a text in the model's configuration.
fn reconfigure(model: &Path, from: &str, to: &str) {
    let path = model.join("config.json");
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains(from), "{from} is not in {text}");
    fs::write(&path, text.replace(from, to)).unwrap();
}

/// Replaces the header of the weights by another of a stated length.
fn reheader(model: &Path, length: u64, header: &str) {
    let path = model.join("model.safetensors");
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    fs::write(path, bytes).unwrap();
}

/// The weights' own header, changed, before their own data.
fn change_header(
    model: &Path,
    change: impl FnOnce(&mut serde_json::Map<String, serde_json::Value>),
) {
    let path = model.join("model.safetensors");
    let bytes = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let mut header: serde_json::Value = serde_json::from_slice(&bytes[8..8 + length]).unwrap();
    change(header.as_object_mut().unwrap());
    let header = serde_json::to_vec(&header).unwrap();
    let mut changed = (header.len() as u64).to_le_bytes().to_vec();
    changed.extend_from_slice(&header);
    changed.extend_from_slice(&bytes[8 + length..]);
    fs::write(&path, changed).unwrap();
}

const CASES: &[Case] = &[
    Case {
        name: "a file cut in the middle of its data",
        spoil: |model| {
            let path = model.join("model.safetensors");
            let bytes = fs::read(&path).unwrap();
            fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
        },
        arguments: &[],
        code: 1,
        said: &["model.safetensors"],
    },
    Case {
        name: "a header longer than the file",
        spoil: |model| reheader(model, u64::MAX / 2, "{}"),
        arguments: &[],
        code: 1,
        said: &["model.safetensors"],
    },
    Case {
        name: "tensors that lie over each other",
        spoil: |model| {
            change_header(model, |header| {
                let names: Vec<String> = header
                    .iter()
                    .filter(|(_, value)| value["shape"] == serde_json::json!([256]))
                    .map(|(name, _)| name.clone())
                    .take(2)
                    .collect();
                let place = header[&names[0]]["data_offsets"].clone();
                header.get_mut(&names[1]).unwrap()["data_offsets"] = place;
            });
        },
        arguments: &[],
        code: 1,
        said: &["model.safetensors"],
    },
    Case {
        name: "a shard that is not there",
        spoil: |model| {
            fs::remove_file(model.join("model.safetensors")).unwrap();
            let index = r#"{"weight_map":{"lm_head.weight":"model-00001-of-00002.safetensors"}}"#;
            fs::write(model.join("model.safetensors.index.json"), index).unwrap();
        },
        arguments: &[],
        code: 1,
        said: &["model-00001-of-00002.safetensors", "missing"],
    },
    Case {
        name: "an architecture that is not known",
        spoil: |model| reconfigure(model, "LlamaForCausalLM", "MambaForCausalLM"),
        arguments: &[],
        code: 1,
        said: &["MambaForCausalLM", "known are"],
    },
    Case {
        name: "a weight that is not a number",
        spoil: |model| {
            let path = model.join("model.safetensors");
            let mut bytes = fs::read(&path).unwrap();
            let end = bytes.len();
            bytes[end - 2..].copy_from_slice(&[0xc0, 0x7f]);
            fs::write(&path, bytes).unwrap();
        },
        arguments: &[],
        code: 1,
        said: &["not finite"],
    },
    Case {
        name: "a tokenizer of another model",
        spoil: |model| {
            let path = model.join("tokenizer.json");
            let mut tokenizer: serde_json::Value =
                serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
            tokenizer["model"]["vocab"]["zzzz"] = 4000.into();
            fs::write(&path, tokenizer.to_string()).unwrap();
        },
        arguments: &[],
        code: 1,
        said: &["tokenizer.json", "4000", "2048"],
    },
    Case {
        name: "no tokenizer",
        spoil: |model| fs::remove_file(model.join("tokenizer.json")).unwrap(),
        arguments: &[],
        code: 1,
        said: &["tokenizer.json", "--tokenizer"],
    },
    Case {
        name: "a text that is too short",
        spoil: |model| fs::write(model.join("short.txt"), "one two three").unwrap(),
        arguments: &["--data=short.txt"],
        code: 1,
        said: &["short.txt", "too short"],
    },
    Case {
        name: "an empty text",
        spoil: |model| fs::write(model.join("empty.txt"), "").unwrap(),
        arguments: &["--data=empty.txt"],
        code: 1,
        said: &["empty.txt", "too short"],
    },
    Case {
        name: "a text that is not there",
        spoil: nothing,
        arguments: &["--data=nowhere.txt"],
        code: 1,
        said: &["nowhere.txt"],
    },
    Case {
        name: "a size that no plan has",
        spoil: nothing,
        arguments: &["--max-size=1MB"],
        code: 2,
        said: &["max_size_bytes", "smallest plan", "bytes"],
    },
    Case {
        name: "a precision that is not known",
        spoil: nothing,
        arguments: &["--precisions=q4_k,q7_k"],
        code: 2,
        said: &["--precisions", "q7_k", "known are", "q6_k"],
    },
    Case {
        name: "a context that the model was not made for",
        spoil: nothing,
        arguments: &["--context=4096"],
        code: 2,
        said: &["--context", "256"],
    },
    Case {
        name: "an imatrix that is none",
        spoil: |model| fs::write(model.join("bad.imatrix"), "what is this?").unwrap(),
        arguments: &["--imatrix=bad.imatrix"],
        code: 1,
        said: &["bad.imatrix"],
    },
    Case {
        name: "an imatrix of another model",
        spoil: |model| {
            let golden = demo().join("../runtime/tests/golden/imatrix/llama.imatrix.gguf");
            fs::copy(golden, model.join("other.imatrix")).unwrap();
        },
        arguments: &["--imatrix=other.imatrix"],
        code: 2,
        said: &[
            "--imatrix",
            "other.imatrix",
            "does not belong to this model",
        ],
    },
    Case {
        name: "a stall rule that is none",
        spoil: nothing,
        arguments: &["--stop-stalled=50:0.5:1"],
        code: 2,
        said: &["--stop-stalled", "`50:0.5:1`", "such as 50 or 50:0.5"],
    },
    Case {
        name: "to stop within limits that are not given",
        spoil: nothing,
        arguments: &["--stop-within-limits"],
        code: 2,
        said: &["--stop-within-limits", "no limit", "--max-kld"],
    },
    Case {
        name: "devices that never registered",
        spoil: nothing,
        arguments: &["--device=one", "--device=two"],
        code: 2,
        said: &["--device: there is no device `one`, `two`", "registered"],
    },
    Case {
        name: "a device named twice",
        spoil: nothing,
        arguments: &["--device=one", "--device=one"],
        code: 2,
        said: &["--device: `one` is given twice"],
    },
    Case {
        name: "two coordinators of a verb that asks one",
        spoil: nothing,
        arguments: &["--coordinator=http://one:1", "--coordinator=http://two:1"],
        code: 2,
        said: &["--coordinator: only an agent takes several"],
    },
    Case {
        name: "a coordinator that is not there",
        spoil: nothing,
        arguments: &["--coordinator=http://127.0.0.1:9"],
        code: 4,
        said: &[
            "cannot reach the coordinator at http://127.0.0.1:9",
            "hint:",
        ],
    },
];

#[test]
fn each_mistake_gets_one_error_that_names_it() {
    let mut wrong = String::new();
    let data = demo().join("evaluation.txt");
    for case in CASES {
        let model = model_copy();
        (case.spoil)(model.path());
        let mut arguments = vec!["submit".to_owned(), model.path().display().to_string()];
        if !case.arguments.iter().any(|it| it.starts_with("--data=")) {
            arguments.push(format!("--data={}", data.display()));
        }
        arguments.extend(case.arguments.iter().map(|argument| {
            // Files of a case lie in its model's folder.
            match argument.split_once('=') {
                Some((flag @ ("--data" | "--imatrix"), file)) => {
                    format!("{flag}={}", model.path().join(file).display())
                }
                _ => (*argument).to_owned(),
            }
        }));
        let run = bitfront(&arguments).finish();
        let errors = run
            .stderr
            .lines()
            .filter(|line| line.starts_with("error: "));
        let is_one = errors.count() == 1 && !run.stderr.contains("panicked");
        let is_said = case.said.iter().all(|said| run.stderr.contains(said));
        if run.code != Some(case.code) || !is_one || !is_said || !run.stdout.is_empty() {
            writeln!(wrong, "{}: {:?}\n{}", case.name, run.code, run.stderr).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn what_cannot_be_meant_of_an_agent_is_refused_before_it_starts() {
    for (flag, said) in [
        ("--cores=2,x", "`x` is neither a number nor a range"),
        ("--cores=1,1", "core 1 is named twice"),
        ("--cores=60000", "core 60000 is not there"),
        ("--calm-wait=soon", "the wait for calm"),
        (
            "--task-limit=soon",
            "--task-limit: `soon` is not a duration",
        ),
        (
            "--worker-memory=much",
            "--worker-memory: `much` is not a size",
        ),
    ] {
        let run = bitfront(["agent", "--coordinator=http://127.0.0.1:9", flag]).finish();
        assert_ne!(run.code, Some(0), "{flag}");
        assert!(run.stderr.contains(said), "{flag}: {}", run.stderr);
    }
}

#[test]
fn an_accelerator_that_cannot_be_meant_is_refused() {
    let there = "--coordinator=http://127.0.0.1:9";
    let run = ["run", "model", "--data=text.txt"];
    for (arguments, code, said) in [
        (
            vec!["agent", there, "--accelerator=gpu"],
            2,
            "`gpu` is no accelerator",
        ),
        (
            [&run[..], &["--accelerator=cuda:x"]].concat(),
            2,
            "`cuda` and `cuda:1` are",
        ),
        (
            [&run[..], &[there, "--accelerator=cuda"]].concat(),
            2,
            "hint: give it to `bitfront agent`",
        ),
    ] {
        let run = bitfront(&arguments).finish();
        assert_eq!(run.code, Some(code), "{arguments:?}: {}", run.stderr);
        assert!(run.stderr.contains(said), "{arguments:?}: {}", run.stderr);
    }
    // As typed, and from the environment.
    #[cfg(not(feature = "cuda"))]
    for run in [
        bitfront(["agent", there, "--accelerator=cuda:0"]),
        bitfront(["agent", there]).env("BITFRONT_ACCELERATOR", "cuda"),
    ] {
        let run = run.finish();
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        for said in ["`cuda:0`", "built without CUDA", "--features cuda"] {
            assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
        }
    }
}

#[test]
fn a_run_without_a_coordinator_has_one_device() {
    let devices = ["--data=text.txt", "--device=one", "--device=two"];
    let run = bitfront(["run", "model"].iter().chain(&devices)).finish();
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    for said in [
        "--device: 2 devices are named",
        "hint: name the coordinator",
    ] {
        assert!(run.stderr.contains(said), "{said}: {}", run.stderr);
    }
}

#[test]
fn an_unknown_variable_of_ours_is_refused() {
    let run = bitfront(["searches"])
        .env("BITFRONT_COORDINATER", "x")
        .finish();
    assert_eq!(run.code, Some(2));
    assert!(
        run.stderr.contains("BITFRONT_COORDINATER"),
        "{}",
        run.stderr
    );
}

#[test]
fn a_database_that_cannot_be_reached_is_named_without_its_password() {
    // Nothing listens on the discard port of this machine.
    let url = "postgres://user:secret@127.0.0.1:9/fleet?password=secret";
    let serve = ["serve", "--listen=127.0.0.1:0"];
    let runs = [
        bitfront(serve.iter().chain(&["--database", url])).finish(),
        bitfront(serve).env("BITFRONT_DATABASE", url).finish(),
        bitfront(["searches"])
            .env("BITFRONT_DATABASE", url)
            .finish(),
    ];
    for run in runs {
        assert_eq!(run.code, Some(1), "{}", run.stderr);
        let named = "cannot open the database postgres://user@127.0.0.1:9/fleet";
        assert!(run.stderr.contains(named), "{}", run.stderr);
        assert!(!run.stderr.contains("secret"), "{}", run.stderr);
    }
}

#[test]
fn a_plan_for_nobody_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let plan = folder.path().join("plan.json");
    fs::write(&plan, "{}").unwrap();
    let to = folder.path().join("out.gguf");
    let run = bitfront([
        "export".as_ref(),
        plan.as_os_str(),
        "--to".as_ref(),
        to.as_os_str(),
    ])
    .finish();
    assert_eq!(run.code, Some(2), "{}", run.stderr);
    assert!(run.stderr.contains("not a plan"), "{}", run.stderr);
    assert!(!to.exists());
}
