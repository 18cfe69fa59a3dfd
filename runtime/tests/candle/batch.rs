//! Several sequences served at once.

use std::time::Duration;

use bitfront_model::{Anchor, Energy, ImatrixSource, Plan, Precision, TaskPurpose, Workload};
use bitfront_runtime::candle::{Arithmetic, CandleRuntime, Positions};
use bitfront_runtime::latency::LatencySettings;
use bitfront_runtime::{CandleSettings, Runtime as _, RuntimeError};
use tempfile::TempDir;

use crate::support::{demo, platform};

fn quick(directory: &TempDir, root: &TempDir) -> CandleRuntime {
    let settings = CandleSettings {
        latency: LatencySettings {
            warm_up: Duration::from_millis(1),
            most_time: Duration::from_millis(1),
            turn: Duration::from_micros(100),
            ..LatencySettings::default()
        },
        root: root.path().to_owned(),
        ..CandleSettings::new(directory.path().to_owned())
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    let subject = demo(ImatrixSource::None);
    runtime.open(&subject, &mut |_| {}).unwrap();
    runtime
}

fn uniform(runtime: &CandleRuntime, precision: Precision) -> Plan {
    Plan::uniform(runtime.spec().unwrap(), precision).unwrap()
}

fn workload(name: &str) -> Workload {
    name.parse().unwrap()
}

/// The logits after a prompt and two tokens more, of every sequence.
fn decoded(
    runtime: &CandleRuntime,
    matrices: &bitfront_runtime::candle::Matrices,
    sequences: &[&[u32]],
) -> Vec<Vec<f32>> {
    let decoder = runtime.opened().unwrap().decoder();
    let length = sequences[0].len();
    let mut cache = decoder.cache(sequences.len(), length);
    let mut logits = Vec::new();
    for step in [0..length - 2, length - 2..length - 1, length - 1..length] {
        let tokens: Vec<_> = sequences
            .iter()
            .flat_map(|sequence| sequence[step.clone()].iter().copied())
            .collect();
        let read = decoder.forward(
            matrices,
            &tokens,
            &mut cache,
            Positions::Last,
            Arithmetic::Kernels,
        );
        logits = read.unwrap();
    }
    let each = logits.len() / sequences.len();
    logits.chunks_exact(each).map(<[f32]>::to_vec).collect()
}

#[test]
fn a_sequence_gets_in_a_batch_what_it_gets_alone() {
    let (cache, root) = (TempDir::new().unwrap(), platform(&[]));
    let mut runtime = quick(&cache, &root);
    let text = runtime.opened().unwrap().windows().evaluation.concat();
    let (first, second) = (&text[..40], &text[300..340]);
    for precision in Precision::ALL {
        let plan = uniform(&runtime, precision);
        let matrices = runtime.assemble(&plan).unwrap().matrices;
        let alone = decoded(&runtime, &matrices, &[first]).remove(0);
        let other = decoded(&runtime, &matrices, &[second]).remove(0);
        let together = decoded(&runtime, &matrices, &[first, second, first, first]);
        for (row, expected) in together.iter().zip([&alone, &other, &alone, &alone]) {
            let scale = expected.iter().fold(0f32, |most, it| most.max(it.abs()));
            for (value, expected) in row.iter().zip(expected) {
                // Kernels of one row and of several add in another order, and where activations
                // are rounded a last bit may tip one of them.
                let apart = (value - expected).abs() / scale;
                assert!(apart < 0.02, "{precision}: {value} and {expected}");
            }
        }
        // The same sequence gets the same in every place of a batch, to the last bit.
        assert_eq!(together[0], together[2], "{precision}");
        assert_eq!(together[2], together[3], "{precision}");
    }
}

#[test]
fn a_batch_is_timed_by_its_passes_and_its_tokens_are_counted() {
    let zone = |file: &str| format!("sys/class/powercap/intel-rapl:0/{file}");
    let [name, range, count] = ["name", "max_energy_range_uj", "energy_uj"].map(zone);
    let counters = [
        (name.as_str(), "package-0\n"),
        (range.as_str(), "10000000\n"),
        (count.as_str(), "123\n"),
    ];
    let (cache, root) = (TempDir::new().unwrap(), platform(&counters));
    let mut runtime = quick(&cache, &root);
    let anchor = Anchor {
        plan: uniform(&runtime, Precision::Q8_0),
        times: Vec::new(),
    };
    let workloads = ["prefill@32", "prefill@32b4", "decode@16x4b3"].map(workload);
    let timed = runtime
        .latency(&anchor, &[&anchor.plan], &workloads, TaskPurpose::Confirm)
        .unwrap()
        .remove(0)
        .unwrap()
        .value;
    let [alone, four, decode] = &timed.latencies[..] else {
        panic!("{:?}", timed.latencies)
    };
    let timed_as = [alone, four, decode].map(|latency| latency.workload);
    assert_eq!(timed_as, workloads);
    assert!(
        four.median_ns > 2.0 * alone.median_ns,
        "four prompts in a pass: {} ns, one: {} ns",
        four.median_ns,
        alone.median_ns
    );
    let sample = decode.samples_ns[0] as f64;
    assert!(
        decode.percentiles[0].value_ns < sample,
        "four steps in a sample"
    );
    let Some(Energy::Measured { tokens, .. }) = timed.energy else {
        panic!("{:?}", timed.energy)
    };
    assert!(
        tokens > 0 && tokens.is_multiple_of(4 * 3),
        "{tokens} tokens in samples of four steps of three sequences"
    );
}

#[test]
fn a_batch_that_cannot_be_served_is_refused_before_anything_is_loaded() {
    let meminfo = ("proc/meminfo", "MemAvailable: 9000000 kB\n");
    let (cache, root) = (TempDir::new().unwrap(), platform(&[meminfo]));
    let mut runtime = quick(&cache, &root);
    let anchor = Anchor {
        plan: uniform(&runtime, Precision::Q4_0),
        times: Vec::new(),
    };
    let mut refusal = |name: &str, kibibytes: u64| {
        let text = format!("MemAvailable: {kibibytes} kB\n");
        std::fs::write(root.path().join("proc/meminfo"), text).unwrap();
        let workloads = [workload(name)];
        let timed = runtime.latency(&anchor, &[&anchor.plan], &workloads, TaskPurpose::Search);
        timed.unwrap_err()
    };
    // Six blocks of two heads of 64 values, for keys and values in f32, of four times 256
    // positions; and sixteen inputs in rotation.
    let bytes: u64 = 6 * 2 * 64 * 2 * 4 * (4 * 256) * 16;
    for (name, kibibytes, told) in [
        ("prefill@8b257", 9_000_000, vec!["257 sequences", "256"]),
        ("prefill@250b1000", 9_000_000, vec!["1000 sequences"]),
        ("decode@200x100b2", 9_000_000, vec!["300 positions"]),
        (
            "decode@240x16b4",
            bytes / 1024 - 1,
            vec!["caches take 100663296 bytes", "100662272 are available"],
        ),
    ] {
        let error = refusal(name, kibibytes);
        assert!(matches!(error, RuntimeError::Workload { .. }), "{error}");
        let message = error.to_string();
        for told in told.iter().chain([&name]) {
            assert!(message.contains(told), "{name}: {message}");
        }
    }
    // With room for the caches alone, there is none for a plan beside them.
    let error = refusal("decode@240x16b4", bytes / 1024 + 1);
    let message = error.to_string();
    assert!(
        matches!(error, RuntimeError::Anchor { .. }) && message.contains("for the caches"),
        "{message}"
    );
}
