//! The cold start of a plan, in a process of its own.

use std::path::{Path, PathBuf};

use bitfront_model::{Cold, ColdStart, ImatrixSource, Plan, Precision};
use bitfront_runtime::candle::CandleRuntime;
use bitfront_runtime::cold::Program;
use bitfront_runtime::{CandleSettings, Runtime as _};
use tempfile::TempDir;

use crate::support::{Windows, demo, golden_model, platform, subject};

/// What is started for the cold start of a plan.
pub(crate) fn program() -> Program {
    let path = env!("CARGO_BIN_EXE_bitfront-cold-start");
    Program::new(PathBuf::from(path), &[])
}

/// The demo model, opened on the real device.
fn opened(cache: &TempDir, program: Option<Program>) -> CandleRuntime {
    opened_with(cache, program, Path::new("/"), ImatrixSource::None)
}

fn opened_with(
    cache: &TempDir,
    program: Option<Program>,
    root: &Path,
    imatrix: ImatrixSource,
) -> CandleRuntime {
    let settings = CandleSettings {
        cold_program: program,
        root: root.to_owned(),
        ..CandleSettings::new(cache.path().to_owned())
    };
    let mut runtime = CandleRuntime::new(settings).unwrap();
    runtime.open(&demo(imatrix), &mut |_| {}).unwrap();
    runtime
}

fn uniform(runtime: &CandleRuntime, precision: Precision) -> Plan {
    Plan::uniform(runtime.spec().unwrap(), precision).unwrap()
}

fn start(runtime: &mut CandleRuntime, plan: &Plan) -> ColdStart {
    let workloads = ["prefill@16b2", "decode@16x4"].map(|name| name.parse().unwrap());
    runtime.cold_start(plan, &workloads).unwrap()
}

fn measured(runtime: &mut CandleRuntime, plan: &Plan) -> Cold {
    let start = start(runtime, plan);
    start
        .measured()
        .cloned()
        .unwrap_or_else(|| panic!("{start:?}"))
}

fn reason(start: ColdStart) -> String {
    start.not_measured().unwrap().to_owned()
}

/// Bytes of a plan's matrices in memory once all of them were multiplied. Only what the engine
/// packs on this processor has a copy, and an embedding of its own is looked up and not multiplied.
fn held_bytes(runtime: &CandleRuntime, plan: &Plan) -> u64 {
    let packs = runtime.identity().numerics_class.0.contains("vnni");
    let layers = runtime.spec().unwrap().layers.iter();
    let held = layers.zip(plan.precisions()).map(|(layer, &precision)| {
        let stored = precision.bytes(layer.rows, layer.columns).unwrap();
        let multiplied = layer.tied || layer.kind != bitfront_model::LayerKind::TokenEmbedding;
        match packs && multiplied && precision == Precision::Q8_0 {
            true => 2 * stored,
            false => stored,
        }
    });
    held.sum()
}

#[cfg(target_os = "linux")]
#[test]
fn a_larger_plan_takes_as_much_more_memory_as_it_is_larger() {
    let cache = TempDir::new().unwrap();
    let mut runtime = opened(&cache, Some(program()));
    let small = uniform(&runtime, Precision::Q2K);
    let large = uniform(&runtime, Precision::Q8_0);
    // The larger one before and after: an earlier plan leaves nothing behind.
    let peaks = [&large, &small, &large].map(|plan| {
        let cold = measured(&mut runtime, plan);
        assert!(cold.load_ns > 0 && cold.first_token_ns > 0);
        assert_eq!((cold.prompt_tokens, cold.batch), (16, 2));
        let (before, peak) = (
            cold.memory_before_bytes.unwrap(),
            cold.peak_memory_bytes.unwrap(),
        );
        assert!(peak - before > cold.weight_bytes, "{cold:?}");
        peak as f64
    });
    let expected = (held_bytes(&runtime, &large) - held_bytes(&runtime, &small)) as f64;
    for larger in [peaks[0], peaks[2]] {
        let found = larger - peaks[1];
        assert!(
            (found - expected).abs() < 0.2 * expected,
            "{found} bytes more, {expected} are expected of {peaks:?}"
        );
    }
}

#[test]
fn what_a_plan_is_quantized_by_is_found_by_the_process() {
    let cache = TempDir::new().unwrap();
    let program = Some(program());
    let root = Path::new("/");
    let mut runtime = opened_with(&cache, program, root, ImatrixSource::Calibration);
    let layers = runtime.spec().unwrap().layers.clone();
    // Every precision that there is, those among them that are read from the model file.
    let precisions = layers.iter().enumerate().map(|(index, layer)| {
        let fitting = Precision::ALL.into_iter();
        let fitting: Vec<_> = fitting.filter(|it| it.fits(layer.columns)).collect();
        fitting[index % fitting.len()]
    });
    let plan = Plan::new(runtime.spec().unwrap(), precisions.collect()).unwrap();
    let cold = measured(&mut runtime, &plan);
    let stored = layers.iter().zip(plan.precisions());
    let stored = stored.map(|(layer, it)| it.bytes(layer.rows, layer.columns).unwrap());
    assert_eq!(cold.weight_bytes, stored.sum::<u64>());
}

#[test]
fn a_model_of_another_kind_of_file_and_a_tied_head_start_as_well() {
    let windows = Windows {
        context: 16,
        evaluation: 2,
        calibration: 1,
    };
    for name in ["qwen3", "mistral"] {
        let cache = TempDir::new().unwrap();
        let settings = CandleSettings {
            cold_program: Some(program()),
            ..CandleSettings::new(cache.path().to_owned())
        };
        let mut runtime = CandleRuntime::new(settings).unwrap();
        let subject = subject(&golden_model(name), &windows, ImatrixSource::None);
        runtime.open(&subject, &mut |_| {}).unwrap();
        let plan = uniform(&runtime, Precision::F16);
        assert!(measured(&mut runtime, &plan).first_token_ns > 0, "{name}");
    }
}

#[test]
fn what_keeps_the_process_from_its_figures_is_told_and_is_no_error() {
    let cache = TempDir::new().unwrap();
    let mut runtime = opened(&cache, None);
    let plan = uniform(&runtime, Precision::Q4_0);
    let told = reason(start(&mut runtime, &plan));
    assert!(told.contains("no program is known"), "{told}");

    let missing = Program::new(PathBuf::from("/nowhere/bitfront"), &[]);
    let mut runtime = opened(&cache, Some(missing));
    let told = reason(start(&mut runtime, &plan));
    assert!(told.contains("cannot start `/nowhere/bitfront`"), "{told}");

    // A plan whose tensors are gone would be quantized there, which takes more than the plan.
    let mut runtime = opened(&cache, Some(program()));
    assert!(start(&mut runtime, &plan).measured().is_some());
    for file in std::fs::read_dir(cache.path().join("tensors")).unwrap() {
        std::fs::write(file.unwrap().path(), "damaged").unwrap();
    }
    let told = reason(start(&mut runtime, &plan));
    assert!(
        told.contains("in q4_0 is not, or not whole, in") && told.contains("token_embd"),
        "{told}"
    );
}

#[test]
fn a_process_that_would_not_fit_beside_this_one_is_not_started() {
    let meminfo = |kibibytes: u64| format!("MemAvailable: {kibibytes} kB\n");
    let root = platform(&[("proc/meminfo", &meminfo(9_000_000))]);
    let cache = TempDir::new().unwrap();
    let program = Some(program());
    let mut runtime = opened_with(&cache, program, root.path(), ImatrixSource::None);
    let plan = uniform(&runtime, Precision::Q4_0);
    // All of it is in memory here; a process of its own needs as much again.
    let held = runtime.assemble(&plan).unwrap();
    std::fs::write(root.path().join("proc/meminfo"), meminfo(1000)).unwrap();
    let told = reason(start(&mut runtime, &plan));
    assert!(
        told.contains("a process of its own takes") && told.contains("1024000 are available"),
        "{told}"
    );
    drop(held);
}
