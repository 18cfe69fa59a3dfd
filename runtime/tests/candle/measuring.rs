//! The candle runtime on the demo model: what executes, what it costs in quality, what is kept.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bitfront_model::{
    Anchor, Digest, Energy, ImatrixSource, Layer, Plan, Precision, Rescored, TaskPurpose, Workload,
    stages,
};
use bitfront_runtime::candle::{Arithmetic, CandleRuntime, Positions, float_matrices};
use bitfront_runtime::latency::LatencySettings;
use bitfront_runtime::reference::ScoredPositions;
use bitfront_runtime::tensor_store::StoreCounts;
use bitfront_runtime::{CandleSettings, Runtime, RuntimeError};
use tempfile::TempDir;

use crate::cold_start;
use crate::support::{self, demo, opened, platform, runtime};

fn uniform(runtime: &CandleRuntime, precision: Precision) -> Plan {
    Plan::uniform(runtime.spec().unwrap(), precision).unwrap()
}

fn kld(runtime: &mut CandleRuntime, precision: Precision) -> f64 {
    let plan = uniform(runtime, precision);
    runtime
        .quality(&plan, TaskPurpose::Search, None)
        .unwrap()
        .value
        .kld
}

#[test]
fn fewer_bits_lose_more_and_the_source_loses_nothing() {
    let directory = TempDir::new().unwrap();
    let mut runtime = opened(directory.path(), &demo(ImatrixSource::Calibration));
    let source = Plan::source(runtime.spec().unwrap()).unwrap();
    let quality = runtime
        .quality(&source, TaskPurpose::Search, None)
        .unwrap()
        .value;
    assert!(quality.kld.abs() < 1e-6, "{}", quality.kld);
    assert!(quality.same_top_rate > 0.999);
    assert_eq!(quality.positions, 4 * 127);
    assert_eq!(quality.kld_windows.len(), 4);
    let ratio = quality.perplexity / quality.reference_perplexity;
    assert!((ratio - 1.0).abs() < 1e-5, "{ratio}");

    let ladder = [
        (Precision::F32, 1e-7),
        (Precision::F16, 1e-5),
        (Precision::Q8_0, 1.5e-3),
        (Precision::Q6K, 4e-3),
        (Precision::Q5K, 1e-2),
        (Precision::Q4K, 3e-2),
        (Precision::Q3K, 0.15),
        (Precision::Q2K, 0.6),
    ];
    let found = ladder.map(|(precision, _)| kld(&mut runtime, precision));
    for ((precision, bound), found) in ladder.iter().zip(&found) {
        assert!(found.abs() < *bound, "{precision}: {found}");
    }
    assert!(found[1..].is_sorted(), "{found:?}");
}

#[test]
fn an_imatrix_lowers_the_divergence() {
    let directory = TempDir::new().unwrap();
    let mut with = opened(directory.path(), &demo(ImatrixSource::Calibration));
    let mut without = opened(directory.path(), &demo(ImatrixSource::None));
    assert!(with.imatrix_digest().is_some() && without.imatrix_digest().is_none());
    let files = std::fs::read_dir(directory.path()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let references = names.filter(|name| name.ends_with(".reference"));
    assert_eq!(
        references.count(),
        1,
        "the reference does not depend on the imatrix"
    );
    let mut failures = Vec::new();
    for precision in [Precision::Q2K, Precision::Q3K, Precision::Q4_0] {
        let (better, worse) = (kld(&mut with, precision), kld(&mut without, precision));
        if better >= 0.97 * worse {
            failures.push(format!("{precision}: {better} with, {worse} without"));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn what_executes_is_what_was_asked_for() {
    let directory = TempDir::new().unwrap();
    let mut runtime = opened(directory.path(), &demo(ImatrixSource::None));
    for precision in runtime.precisions() {
        let plan = uniform(&runtime, precision);
        let assembly = runtime.assemble(&plan).unwrap();
        assert_eq!(assembly.executed, plan.precisions(), "{precision}");
    }
    let spec = runtime.spec().unwrap().clone();
    let layers = spec.layers.len();
    let mixed = (0..layers).map(|index| Precision::ALL[index % Precision::ALL.len()]);
    let mixed = Plan::new(&spec, mixed.collect()).unwrap();
    let measured = runtime.quality(&mixed, TaskPurpose::Search, None).unwrap();
    assert_eq!(measured.executed, mixed.precisions());
    assert!(measured.value.kld > 0.0);
    for (index, &precision) in mixed.precisions().iter().enumerate() {
        let bytes = runtime.tensor_bytes(index, precision).unwrap();
        let layer = &spec.layers[index];
        assert_eq!(
            Some(bytes.len() as u64),
            precision.bytes(layer.rows, layer.columns)
        );
    }
}

/// The slow twin: everything in `f64`, one position at a time, from logits of two full passes.
#[test]
fn the_divergence_is_that_of_the_definition() {
    let directory = TempDir::new().unwrap();
    let mut runtime = opened(directory.path(), &demo(ImatrixSource::None));
    let plan = uniform(&runtime, Precision::Q4K);
    let fast = runtime
        .quality(&plan, TaskPurpose::Search, None)
        .unwrap()
        .value;
    let matrices = runtime.assemble(&plan).unwrap().matrices;
    let opened = runtime.opened().unwrap();
    let reference = float_matrices(opened.source()).unwrap();
    let vocabulary = opened.source().spec().vocabulary_size as usize;

    let (mut divergences, mut means) = (Vec::new(), Vec::new());
    let (mut loss, mut same) = (0.0, 0);
    for window in &opened.windows().evaluation {
        let probabilities = |matrices| {
            let mut cache = opened.decoder().cache(1, window.len());
            let (all, kernels) = (Positions::All, Arithmetic::Kernels);
            let logits = opened
                .decoder()
                .forward(matrices, window, &mut cache, all, kernels);
            let logits = logits.unwrap();
            let rows = logits.chunks(vocabulary).map(log_softmax);
            rows.collect::<Vec<_>>()
        };
        let (found, expected) = (probabilities(&matrices), probabilities(&reference));
        let scored = ScoredPositions::of(window.len());
        for position in scored.first..scored.first + scored.count {
            let (found, expected) = (&found[position], &expected[position]);
            let terms = expected.iter().zip(found).map(|(p, q)| p.exp() * (p - q));
            divergences.push(terms.sum::<f64>());
            loss -= found[window[position + 1] as usize];
            same += usize::from(largest(found) == largest(expected));
        }
        let of_window = &divergences[divergences.len() - scored.count..];
        means.push(of_window.iter().sum::<f64>() / scored.count as f64);
    }
    let count = divergences.len() as f64;
    let mean = divergences.iter().sum::<f64>() / count;
    let squares = means
        .iter()
        .map(|value| (value - mean).powi(2))
        .sum::<f64>();
    let windows = means.len() as f64;
    let error = (squares / windows / (windows - 1.0)).sqrt();
    assert_eq!(fast.positions as f64, count);
    let close = |found: f64, expected: f64| (found / expected - 1.0).abs() < 1e-4;
    assert!(close(fast.kld, mean), "{} {mean}", fast.kld);
    // Means of windows are nearly equal: their differences are as exact as the means are.
    assert!(
        (fast.kld_standard_error - error).abs() < 1e-4 * mean,
        "{} {error}",
        fast.kld_standard_error
    );
    assert!(close(fast.perplexity, (loss / count).exp()));
    assert!((fast.same_top_rate - same as f64 / count).abs() < 1e-9);
}

fn log_softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let shifted = logits
        .iter()
        .map(|&logit| f64::from(logit) - f64::from(largest));
    let total = shifted.clone().map(f64::exp).sum::<f64>().ln();
    shifted.map(|logit| logit - total).collect()
}

fn largest(values: &[f64]) -> usize {
    (0..values.len()).fold(0, |best, index| {
        if values[index] > values[best] {
            index
        } else {
            best
        }
    })
}

/// Where candle's kernel is slow, scoring computes the same product in code of its own; rounding
/// differs in the last bit, which later roundings amplify to a share of the divergence.
#[test]
fn scoring_agrees_with_the_kernels() {
    let directory = TempDir::new().unwrap();
    let mut runtime = opened(directory.path(), &demo(ImatrixSource::None));
    let spec = runtime.spec().unwrap().clone();
    let slow = [
        Precision::Q2K,
        Precision::Q3K,
        Precision::Q5K,
        Precision::Q4_0,
        Precision::Q5_1,
    ];
    let layers = 0..spec.layers.len();
    let mixed = layers.map(|layer| slow[layer % slow.len()]).collect();
    let plan = Plan::new(&spec, mixed).unwrap();
    let scored = runtime.score(&plan, Arithmetic::Scoring).unwrap().value;
    let exact = runtime.score(&plan, Arithmetic::Kernels).unwrap().value;
    let bound = 0.02 * exact.kld + exact.kld_standard_error / 2.0;
    let difference = (scored.kld - exact.kld).abs();
    assert!(difference < bound, "{} and {}", scored.kld, exact.kld);
    // Nor is it taken for another arithmetic: the coordinator lets a device's windows be off by 5 %
    // on average and by 25 % each.
    let both = scored.kld_windows.iter().zip(&exact.kld_windows);
    let off: Vec<_> = both.map(|(one, other)| (one / other).ln()).collect();
    let mean = off.iter().sum::<f64>() / off.len() as f64;
    assert!(
        mean.abs() < 0.05 && off.iter().all(|one| one.abs() < 0.2),
        "{off:?}"
    );
}

/// What candle packs is scored with the bits of its own kernels, by whatever code.
#[test]
fn packed_precisions_are_scored_bit_by_bit() {
    let directory = TempDir::new().unwrap();
    let mut runtime = opened(directory.path(), &demo(ImatrixSource::None));
    let spec = runtime.spec().unwrap().clone();
    let packed = [Precision::Q4K, Precision::Q6K, Precision::Q8_0];
    let layers = 0..spec.layers.len();
    let mixed = layers.map(|layer| packed[layer % packed.len()]).collect();
    let plan = Plan::new(&spec, mixed).unwrap();
    let scored = runtime.score(&plan, Arithmetic::Scoring).unwrap().value;
    let exact = runtime.score(&plan, Arithmetic::Kernels).unwrap().value;
    assert_eq!(scored, exact);
}

#[test]
fn a_tensor_is_quantized_once_and_survives_a_restart() {
    let directory = TempDir::new().unwrap();
    let subject = demo(ImatrixSource::None);
    let mut first = opened(directory.path(), &subject);
    let layers = first.spec().unwrap().layers.len() as u64;
    let plan = uniform(&first, Precision::Q4K);
    for _ in 0..3 {
        first.assemble(&plan).unwrap();
    }
    let counts = StoreCounts {
        from_memory: 2 * layers,
        from_disk: 0,
        made: layers,
    };
    assert_eq!(first.store_counts(), counts);

    let mut second = opened(directory.path(), &subject);
    second.assemble(&plan).unwrap();
    assert_eq!(second.store_counts().made, 0);
    assert_eq!(second.store_counts().from_disk, layers);
    let same = (0..layers as usize).all(|layer| {
        let bytes = |runtime: &mut CandleRuntime| runtime.tensor_bytes(layer, Precision::Q4K);
        bytes(&mut first).unwrap() == bytes(&mut second).unwrap()
    });
    assert!(same);
}

#[test]
fn without_memory_tensors_come_from_the_disk_and_damaged_ones_are_made_again() {
    let directory = TempDir::new().unwrap();
    let settings = CandleSettings {
        tensor_budget_bytes: 1 << 20,
        ..CandleSettings::new(directory.path().to_owned())
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    runtime
        .open(&demo(ImatrixSource::None), &mut |_| {})
        .unwrap();
    let plan = uniform(&runtime, Precision::Q8_0);
    runtime.assemble(&plan).unwrap();
    let made = runtime.store_counts().made;
    runtime.assemble(&plan).unwrap();
    assert_eq!(runtime.store_counts().made, made);
    assert!(runtime.store_counts().from_disk > 0);

    let damaged = damage(&directory.path().join("tensors"));
    let mut fresh = opened(directory.path(), &demo(ImatrixSource::None));
    fresh.assemble(&plan).unwrap();
    assert_eq!(fresh.store_counts().made, damaged);
}

#[test]
fn tensors_are_had_without_the_reference() {
    let directory = TempDir::new().unwrap();
    let subject = demo(ImatrixSource::Calibration);
    let mut exporting = runtime(directory.path());
    let mut lines = Vec::new();
    exporting
        .open_for_tensors(&subject, &mut |line| lines.push(line.to_owned()))
        .unwrap();
    assert!(exporting.imatrix_digest().is_some());
    assert!(
        lines.len() == 1 && lines[0].contains("activation"),
        "{lines:?}"
    );
    let is_reference = |file: std::io::Result<std::fs::DirEntry>| {
        let name = file.unwrap().file_name();
        name.to_str().unwrap().ends_with(".reference")
    };
    let mut files = std::fs::read_dir(directory.path()).unwrap();
    assert!(!files.any(is_reference));
    let bytes = exporting.tensor_bytes(1, Precision::Q3K).unwrap();
    let plan = uniform(&exporting, Precision::Q8_0);
    let error = exporting
        .quality(&plan, TaskPurpose::Search, None)
        .unwrap_err();
    assert!(matches!(error, RuntimeError::NoReference), "{error}");

    exporting.open(&subject, &mut |_| {}).unwrap();
    assert!(exporting.quality(&plan, TaskPurpose::Search, None).is_ok());
    assert_eq!(exporting.tensor_bytes(1, Precision::Q3K).unwrap(), bytes);
}

/// Flips a byte in one file and cuts another short.
fn damage(directory: &Path) -> u64 {
    let mut files = std::fs::read_dir(directory)
        .unwrap()
        .map(|file| file.unwrap().path());
    let flipped = files.next().unwrap();
    let mut bytes = std::fs::read(&flipped).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&flipped, bytes).unwrap();
    let cut = files.next().unwrap();
    let bytes = std::fs::read(&cut).unwrap();
    std::fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    2
}

#[test]
fn the_reference_is_announced_kept_and_computed_again_when_damaged() {
    let directory = TempDir::new().unwrap();
    let subject = demo(ImatrixSource::Calibration);
    let open = || {
        let mut lines = Vec::new();
        let mut runtime = runtime(directory.path());
        runtime
            .open(&subject, &mut |line| lines.push(line.to_owned()))
            .unwrap();
        (lines.join("\n"), runtime)
    };
    let (first, mut before) = open();
    assert!(first.contains("4 windows, 4.2 MB"), "{first}");
    assert!(
        first.contains("activation statistics from 8 windows"),
        "{first}"
    );
    let (second, mut after) = open();
    assert_eq!(second, "");
    assert_eq!(before.imatrix_digest(), after.imatrix_digest());
    let plan = uniform(&before, Precision::Q3K);
    assert_eq!(
        before.quality(&plan, TaskPurpose::Search, None).unwrap(),
        after.quality(&plan, TaskPurpose::Search, None).unwrap()
    );

    let reference = std::fs::read_dir(directory.path())
        .unwrap()
        .map(|file| file.unwrap().path())
        .find(|path| {
            path.extension()
                .is_some_and(|extension| extension == "reference")
        })
        .unwrap();
    let sound = std::fs::read(&reference).unwrap();
    for damaged in [
        &sound[..sound.len() - 4],
        &[&sound[..999], &[!sound[999]], &sound[1000..]].concat(),
    ] {
        std::fs::write(&reference, damaged).unwrap();
        let (lines, _) = open();
        assert!(
            lines.contains("damaged") && lines.contains("again"),
            "{lines}"
        );
        assert!(std::fs::read(&reference).unwrap() == sound);
    }
}

#[test]
fn another_model_or_text_than_was_submitted_is_refused() {
    let directory = TempDir::new().unwrap();
    let sound = demo(ImatrixSource::None);
    let refuse = |change: &dyn Fn(&mut bitfront_model::Subject)| {
        let mut subject = sound.clone();
        change(&mut subject);
        runtime(directory.path())
            .open(&subject, &mut |_| {})
            .unwrap_err()
    };
    let other = Digest::of("another");
    let error = refuse(&|subject| subject.model.digest = other);
    assert!(matches!(error, RuntimeError::OtherModel { .. }));
    let message = error.to_string();
    assert!(
        message.contains(&other.to_string()) && message.contains("demo/model"),
        "{message}"
    );
    assert!(message.contains(&sound.model.digest.to_string()));
    let error = refuse(&|subject| subject.data.evaluation_digest = other);
    assert!(matches!(
        error,
        RuntimeError::OtherData {
            part: "evaluation",
            ..
        }
    ));
    let error = refuse(&|subject| subject.data.calibration_windows = 3);
    assert!(matches!(
        error,
        RuntimeError::OtherData {
            part: "calibration",
            ..
        }
    ));
    let imatrix = directory.path().join("some.imatrix");
    std::fs::write(&imatrix, "no imatrix").unwrap();
    let path = imatrix.to_str().unwrap();
    let error = refuse(&|subject| {
        subject.imatrix = ImatrixSource::File {
            path: path.to_owned(),
            digest: other,
        };
    });
    assert!(matches!(error, RuntimeError::OtherImatrix { .. }));

    let mut closed = runtime(directory.path());
    let plan = uniform(&opened(directory.path(), &sound), Precision::Q8_0);
    assert!(matches!(
        closed.quality(&plan, TaskPurpose::Search, None),
        Err(RuntimeError::NotOpen)
    ));
}

#[test]
fn a_model_with_a_tied_head_and_short_rows_is_measured_like_any_other() {
    let directory = TempDir::new().unwrap();
    let windows = support::Windows {
        context: 64,
        evaluation: 4,
        calibration: 4,
    };
    for name in ["qwen2", "llama-linear", "qwen3", "mistral"] {
        let model = support::golden_model(name);
        let subject = support::subject(&model, &windows, ImatrixSource::Calibration);
        let mut runtime = opened(directory.path(), &subject);
        let spec = runtime.spec().unwrap().clone();
        let imatrix = runtime.opened().unwrap().imatrix().unwrap();
        // A tied embedding is multiplied too; an untied one is only looked up.
        assert_eq!(
            imatrix.entries.contains_key("token_embd.weight"),
            spec.is_tied(),
            "{name}"
        );
        assert_eq!(
            imatrix.entries.len(),
            spec.layers.len() - usize::from(!spec.is_tied())
        );
        let coarse = kld(&mut runtime, Precision::Q4_0);
        let fine = kld(&mut runtime, Precision::Q8_0);
        assert!(fine > 0.0 && fine < coarse / 4.0, "{name}: {fine} {coarse}");
    }
}

/// A header may claim any context; what is held is only what is read.
#[test]
fn a_context_that_no_memory_holds_costs_nothing() {
    let directory = TempDir::new().unwrap();
    let model = directory.path().join("model");
    std::fs::create_dir(&model).unwrap();
    for entry in std::fs::read_dir(support::golden_model("qwen2")).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), model.join(entry.file_name())).unwrap();
    }
    let config = model.join("config.json");
    let mut fields: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&config).unwrap()).unwrap();
    fields["max_position_embeddings"] = (1u64 << 31).into();
    std::fs::write(&config, fields.to_string()).unwrap();
    let windows = support::Windows {
        context: 64,
        evaluation: 2,
        calibration: 1,
    };
    let subject = support::subject(&model, &windows, ImatrixSource::None);
    let mut runtime = opened(&directory.path().join("cache"), &subject);
    assert_eq!(runtime.spec().unwrap().context_length, 1 << 31);
    assert!(kld(&mut runtime, Precision::Q8_0) > 0.0);
}

#[test]
fn a_plan_that_breaks_the_model_is_infeasible_and_names_the_layer() {
    let directory = TempDir::new().unwrap();
    let model = support::breaking_in_f16(&directory);
    let windows = support::Windows {
        context: 64,
        evaluation: 3,
        calibration: 1,
    };
    let subject = support::subject(&model, &windows, ImatrixSource::None);
    let mut runtime = opened(&directory.path().join("cache"), &subject);
    let spec = runtime.spec().unwrap().clone();
    let source = Plan::source(&spec).unwrap();
    assert!(runtime.quality(&source, TaskPurpose::Search, None).is_ok());
    let mut precisions = source.precisions().to_vec();
    let is_broken = |layer: &Layer| layer.name == support::BREAKING;
    let broken = spec.layers.iter().position(is_broken);
    precisions[broken.unwrap()] = Precision::F16;
    let plan = Plan::new(&spec, precisions).unwrap();
    // Once with the states of the source's first block, once without.
    for _ in 0..2 {
        let error = runtime
            .quality(&plan, TaskPurpose::Search, None)
            .unwrap_err();
        assert!(matches!(error, RuntimeError::Infeasible { .. }), "{error}");
        let message = error.to_string();
        for part in ["position 0 of window 0", "`blk.1.attn_v` in f16"] {
            assert!(message.contains(part), "{message}");
        }
        runtime = opened(&directory.path().join("cache"), &subject);
    }
}

#[test]
fn latency_keeps_its_raw_samples() {
    let directory = TempDir::new().unwrap();
    let settings = CandleSettings {
        latency: LatencySettings {
            warm_up: Duration::from_millis(1),
            turn: Duration::from_micros(100),
            ..LatencySettings::default()
        },
        ..CandleSettings::new(directory.path().to_owned())
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    runtime
        .open(&demo(ImatrixSource::None), &mut |_| {})
        .unwrap();
    let plan = uniform(&runtime, Precision::Q8_0);
    let workloads = ["prefill@32", "decode@16x4"].map(|name| name.parse::<Workload>().unwrap());
    let anchor = Anchor {
        plan: uniform(&runtime, Precision::Q4K),
        times: Vec::new(),
    };
    // The anchor itself is timed as any other plan: it takes as long as itself.
    let plans = [&plan, &anchor.plan];
    let measured = runtime
        .latency(&anchor, &plans, &workloads, TaskPurpose::Search)
        .unwrap();
    for (plan, measured) in plans.iter().zip(measured) {
        let measured = measured.unwrap();
        assert_eq!(measured.executed, plan.precisions());
        assert_eq!(
            (&measured.value.cold, &measured.value.energy),
            (&None, &None)
        );
        for (latency, workload) in measured.value.latencies.iter().zip(workloads) {
            assert_eq!(latency.workload, workload);
            assert!(latency.warm_up_ns > 0);
            let paired = latency.paired.as_ref().unwrap();
            assert_eq!(paired.anchor, anchor.plan.digest());
            let blocks = latency.samples_ns.len() / paired.samples_per_block as usize;
            let anchored = paired.anchor_samples_ns.len();
            assert_eq!(anchored, blocks * paired.anchor_samples_per_block as usize);
            assert!(blocks >= 6, "{blocks}");
            assert_eq!(latency.median_ns, paired.reference.median_ns * paired.ratio);
            assert!(latency.interval.low <= latency.median_ns);
            assert!(latency.median_ns <= latency.interval.high);
        }
    }
    let mut time = |workload| runtime.latency(&anchor, &[&plan], &[workload], TaskPurpose::Confirm);
    let from_nothing = Workload::Decode {
        context: 0,
        tokens: 2,
        batch: 1,
    };
    assert!(time(from_nothing).unwrap()[0].is_ok());
    let nothing = Workload::Prefill {
        tokens: 0,
        batch: 1,
    };
    let error = time(nothing).unwrap_err();
    assert!(matches!(error, RuntimeError::Workload { .. }), "{error}");
    let too_long = time("prefill@1000".parse().unwrap()).unwrap_err();
    let message = too_long.to_string();
    assert!(
        message.contains("prefill@1000") && message.contains("context of 256"),
        "{message}"
    );
}

/// Bytes of the matrices of a plan, which are all of it but the norms.
fn matrix_bytes(runtime: &CandleRuntime, plan: &Plan) -> u64 {
    let layers = runtime.spec().unwrap().layers.iter();
    let bytes = layers.zip(plan.precisions());
    bytes
        .map(|(layer, precision)| precision.bytes(layer.rows, layer.columns).unwrap())
        .sum()
}

fn opened_on(platform: &TempDir, cache: &TempDir) -> CandleRuntime {
    let settings = CandleSettings {
        latency: LatencySettings {
            warm_up: Duration::from_millis(1),
            most_time: Duration::from_millis(1),
            turn: Duration::from_micros(100),
            ..LatencySettings::default()
        },
        root: platform.path().to_owned(),
        cold_program: Some(cold_start::program()),
        ..CandleSettings::new(cache.path().to_owned())
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    runtime
        .open(&demo(ImatrixSource::None), &mut |_| {})
        .unwrap();
    runtime
}

#[test]
fn what_is_published_has_its_cold_start_and_energy_beside_it() {
    let status = "VmHWM:\t 5120 kB\nVmRSS:\t 4096 kB\n";
    let platform = platform(&[
        ("proc/self/status", status),
        ("proc/self/oom_score_adj", ""),
    ]);
    let cache = TempDir::new().unwrap();
    let mut runtime = opened_on(&platform, &cache);
    let plan = uniform(&runtime, Precision::Q8_0);
    let anchor = Anchor {
        plan: uniform(&runtime, Precision::Q4K),
        times: Vec::new(),
    };
    let workloads = ["decode@16x4", "prefill@32"].map(|name| name.parse::<Workload>().unwrap());
    let timed = runtime
        .latency(&anchor, &[&plan], &workloads, TaskPurpose::Confirm)
        .unwrap();
    let timing = timed.into_iter().next().unwrap().unwrap().value;
    let start = timing.cold.unwrap();
    let cold = start.measured().unwrap();
    assert!(cold.load_ns > 0 && cold.first_token_ns > 0);
    assert_eq!((cold.prompt_tokens, cold.batch), (32, 1));
    assert_eq!(cold.weight_bytes, matrix_bytes(&runtime, &plan));
    assert_eq!(cold.memory_before_bytes, Some(4096 << 10));
    assert_eq!(cold.peak_memory_bytes, Some(5120 << 10));
    let first = std::fs::read_to_string(platform.path().join("proc/self/oom_score_adj"));
    assert_eq!(
        first.unwrap(),
        "1000",
        "the process offers itself to be ended"
    );
    let Some(Energy::NotMeasured { reason }) = timing.energy else {
        panic!("{:?}", timing.energy)
    };
    assert!(reason.contains("no RAPL counter"), "{reason}");
}

#[test]
fn a_plan_that_does_not_fit_into_memory_is_infeasible_with_both_numbers() {
    let platform = platform(&[("proc/meminfo", "MemAvailable: 9000000 kB\n")]);
    let available = |kibibytes: u64| {
        let text = format!("MemAvailable: {kibibytes} kB\n");
        std::fs::write(platform.path().join("proc/meminfo"), text).unwrap();
    };
    let cache = TempDir::new().unwrap();
    let mut runtime = opened_on(&platform, &cache);
    let small = uniform(&runtime, Precision::Q4_0);
    let large = uniform(&runtime, Precision::F32);
    let anchor = Anchor {
        plan: small.clone(),
        times: Vec::new(),
    };
    let bytes = matrix_bytes(&runtime, &large);
    available(bytes / 1024 - 1);
    let error = runtime
        .quality(&large, TaskPurpose::Search, None)
        .unwrap_err();
    assert!(matches!(error, RuntimeError::Infeasible { .. }), "{error}");
    for told in [bytes, (bytes / 1024 - 1) * 1024] {
        assert!(error.to_string().contains(&told.to_string()), "{error}");
    }
    // Nobody else suffers: the smaller one is measured, also in the same timing.
    assert!(runtime.quality(&small, TaskPurpose::Search, None).is_ok());
    let workload = "prefill@8".parse().unwrap();
    let timed = runtime
        .latency(&anchor, &[&large, &small], &[workload], TaskPurpose::Search)
        .unwrap();
    assert!(matches!(timed[0], Err(RuntimeError::Infeasible { .. })));
    assert!(timed[1].is_ok());
    // What is in memory takes no more of it, until another plan needs the room.
    available(bytes / 1024 + 1);
    assert!(runtime.quality(&large, TaskPurpose::Search, None).is_ok());
    available(0);
    assert!(runtime.quality(&large, TaskPurpose::Search, None).is_ok());
    let anchor = Anchor {
        plan: uniform(&runtime, Precision::Q5K),
        times: Vec::new(),
    };
    // Enough for the cache of eight tokens, and for nothing else.
    available(100);
    let timed = runtime.latency(&anchor, &[&large], &[workload], TaskPurpose::Search);
    let error = timed.unwrap_err().to_string();
    assert!(
        error.contains("anchor") && error.contains("102400 are available"),
        "{error}"
    );
    assert!(runtime.quality(&large, TaskPurpose::Search, None).is_err());
}

#[test]
fn what_is_timed_to_be_published_is_loaded_anew() {
    let directory = TempDir::new().unwrap();
    let mut runtime = opened(directory.path(), &demo(ImatrixSource::None));
    let layers = runtime.spec().unwrap().layers.len() as u64;
    let plan = uniform(&runtime, Precision::Q8_0);
    let anchor = Anchor {
        plan: uniform(&runtime, Precision::Q4K),
        times: Vec::new(),
    };
    let workload = "prefill@8".parse().unwrap();
    let mut read_by = |purpose| {
        let before = runtime.store_counts().from_disk;
        let timed = runtime.latency(&anchor, &[&plan], &[workload], purpose);
        assert!(timed.unwrap()[0].is_ok());
        runtime.store_counts().from_disk - before
    };
    assert_eq!(read_by(TaskPurpose::Search), 0);
    assert_eq!(read_by(TaskPurpose::Search), 0);
    assert_eq!(read_by(TaskPurpose::Confirm), 2 * layers);
    assert_eq!(read_by(TaskPurpose::Retime), 0);
}

#[test]
fn an_anchor_that_cannot_be_executed_is_one_error_about_the_anchor() {
    let directory = TempDir::new().unwrap();
    let mut runtime = opened(directory.path(), &demo(ImatrixSource::None));
    let plan = uniform(&runtime, Precision::Q8_0);
    let mut other = runtime.spec().unwrap().clone();
    other.layers.pop();
    let anchor = Anchor {
        plan: Plan::uniform(&other, Precision::Q4K).unwrap(),
        times: Vec::new(),
    };
    let workload = Workload::Prefill {
        tokens: 8,
        batch: 1,
    };
    let error = runtime
        .latency(&anchor, &[&plan], &[workload], TaskPurpose::Search)
        .unwrap_err()
        .to_string();
    let digest = anchor.plan.digest().short();
    assert!(
        error.contains("anchor") && error.contains(&digest) && error.contains("layers"),
        "{error}"
    );
}

#[test]
fn a_confirmation_scores_the_windows_that_follow_and_the_search_never_does() {
    let directory = tempfile::tempdir().unwrap();
    let mut runtime = runtime(directory.path());
    let few = demo(ImatrixSource::None);
    let windows = support::Windows {
        context: 256,
        evaluation: 8,
        calibration: 8,
    };
    let many = support::subject(&support::demo_model(), &windows, ImatrixSource::None);
    assert_ne!(few.digest(), many.digest());
    runtime.open(&few, &mut |_| {}).unwrap();
    let plan = Plan::uniform(runtime.spec().unwrap(), Precision::Q4_0).unwrap();
    let files = || std::fs::read_dir(directory.path()).unwrap().count();
    let searched = runtime
        .quality(&plan, TaskPurpose::Search, None)
        .unwrap()
        .value;
    let (before, hits) = (files(), runtime.prefix_counts().hits);
    let confirmed = runtime
        .quality(&plan, TaskPurpose::Confirm, None)
        .unwrap()
        .value;
    assert_eq!(
        files(),
        before + 1,
        "the reference is made when it is needed"
    );
    let reused = runtime.prefix_counts().hits - hits;
    assert_eq!(reused, 0, "what was kept of a text vouches for itself");
    runtime.open(&many, &mut |_| {}).unwrap();
    let both = runtime
        .quality(&plan, TaskPurpose::Search, None)
        .unwrap()
        .value;
    assert_eq!(both.kld_windows[..4], searched.kld_windows);
    assert_eq!(both.kld_windows[4..], confirmed.kld_windows);
    assert!(searched.rescored.is_empty() && both.rescored.is_empty());
    let rescored = confirmed.rescored.iter();
    let rescored: BTreeMap<_, _> = rescored.map(|it| (it.window, it.kld.to_bits())).collect();
    let windows = searched.kld_windows.iter().map(|kld| kld.to_bits());
    assert_eq!(rescored, (0..).zip(windows).collect());
    // Of a longer text the first stage is scored once more.
    let beginning = runtime
        .quality(&plan, TaskPurpose::Confirm, None)
        .unwrap()
        .value
        .rescored;
    let places = beginning.iter().map(|it| it.window as usize);
    assert_eq!(places.collect::<Vec<_>>(), stages::order(8)[..4]);
    let own = |it: &Rescored| it.kld.to_bits() == both.kld_windows[it.window as usize].to_bits();
    assert!(beginning.iter().all(own), "{beginning:?} {both:?}");

    let mut bare = few.clone();
    bare.data.held_back = None;
    runtime.open(&bare, &mut |_| {}).unwrap();
    let error = runtime
        .quality(&plan, TaskPurpose::Confirm, None)
        .unwrap_err();
    assert!(matches!(error, RuntimeError::NoHeldBack), "{error}");
    let mut other = few;
    other.data.held_back.as_mut().unwrap().digest = Digest::of("another text");
    let error = runtime.open(&other, &mut |_| {}).unwrap_err();
    assert!(error.to_string().contains("held-back windows"), "{error}");
}
