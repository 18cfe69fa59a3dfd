//! What layers lose alone: as scoring each plan by itself says, at about half of the work.

use bitfront_model::{
    ImatrixSource, Precision, Sensitivity, SensitivityQuestion, Swap, SwapResult,
};
use bitfront_runtime::Runtime as _;
use bitfront_runtime::candle::{Arithmetic, CandleRuntime};
use tempfile::TempDir;

use crate::support;

const ALL: [Precision; 13] = Precision::ALL;

fn question(runtime: &CandleRuntime, precisions: &[Precision]) -> SensitivityQuestion {
    let subject = support::demo(ImatrixSource::None);
    SensitivityQuestion::new(&subject, runtime.spec().unwrap(), precisions, &ALL)
}

fn ask(runtime: &mut CandleRuntime, question: &SensitivityQuestion) -> Vec<Swap> {
    let mut lines = Vec::new();
    let heard = &mut |line: &str| lines.push(line.to_owned());
    let swaps = runtime.sensitivity(question, heard).unwrap();
    assert_eq!(lines.len(), 11, "one before, and one for every tenth");
    let count = question.swaps().count();
    assert_eq!(lines[10], format!("scored {count} of {count} swaps"));
    swaps
}

#[test]
fn a_swap_loses_what_its_plan_does_on_the_same_windows_bit_by_bit() {
    let directory = TempDir::new().unwrap();
    let subject = support::demo(ImatrixSource::None);
    let mut runtime = support::opened(directory.path(), &subject);
    let question = question(&runtime, &[Precision::Q4K, Precision::Q2K]);
    assert_eq!(question.places(), [0, 2]);
    let swaps = ask(&mut runtime, &question);
    let answer = Sensitivity {
        swaps: swaps.clone(),
        environment: Default::default(),
        duration_ns: 1,
    };
    assert_eq!(answer.problem(&question), None);

    // Each swap but the first starts where the source's states end.
    let counts = runtime.prefix_counts();
    assert_eq!(counts.stages, swaps.len() as u64);
    let share = counts.reused_parts as f64 / counts.parts as f64;
    assert!(share > 0.4, "{counts:?}");

    for swap in swaps.iter().step_by(13) {
        let plan = question.plan((swap.layer, swap.precision)).unwrap();
        let quality = runtime.score(&plan, Arithmetic::Scoring).unwrap().value;
        let expected = question.places().into_iter();
        let expected = expected.map(|place| quality.kld_windows[place]).collect();
        let result = SwapResult::Scored {
            kld_windows: expected,
        };
        assert_eq!(swap.result, result, "layer {}", swap.layer);
    }
    // Of every layer, fewer bits lose more.
    for pair in swaps.chunks(2) {
        assert!(pair[0].kld() < pair[1].kld(), "{pair:?}");
    }

    let mut restarted = support::opened(directory.path(), &subject);
    assert_eq!(ask(&mut restarted, &question), swaps);
}

/// Of a model whose one layer gives values in `f16` that are not finite, nor does what they are
/// multiplied with next.
#[test]
fn a_swap_that_breaks_the_model_is_infeasible_and_keeps_no_other_from_its_answer() {
    let directory = TempDir::new().unwrap();
    let model = support::breaking_in_f16(&directory);
    let windows = support::Windows {
        context: 64,
        evaluation: 3,
        calibration: 1,
    };
    let subject = support::subject(&model, &windows, ImatrixSource::None);
    let mut runtime = support::opened(&directory.path().join("cache"), &subject);
    let spec = runtime.spec().unwrap().clone();
    let question = SensitivityQuestion::new(&subject, &spec, &[Precision::F16], &ALL);
    let swaps = runtime.sensitivity(&question, &mut |_| {}).unwrap();
    assert_eq!(swaps.len(), spec.layers.len());
    let mut broken = Vec::new();
    for swap in swaps {
        let name = spec.layers[swap.layer].name.as_str();
        match swap.result {
            SwapResult::Infeasible { reason } => {
                assert!(reason.contains(&format!("`{name}` in f16")), "{reason}");
                broken.push(name);
            }
            SwapResult::Scored { kld_windows } => assert_eq!(kld_windows.len(), 2),
        }
    }
    assert_eq!(broken, [support::BREAKING, "blk.1.attn_output"]);
}
