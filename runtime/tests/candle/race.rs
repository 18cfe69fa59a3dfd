//! Scoring in stages: what is given up when, and that nothing else changes.

use bitfront_model::{
    ImatrixSource, Plan, Precision, Quality, Rival, Stopped, TaskPurpose, stages,
};
use bitfront_runtime::candle::CandleRuntime;
use bitfront_runtime::{CandleSettings, Runtime as _};
use tempfile::TempDir;

use crate::support;

const WINDOWS: u32 = 12;

fn runtime(directory: &TempDir) -> CandleRuntime {
    let mut runtime = CandleRuntime::new(CandleSettings::new(directory.path().to_owned())).unwrap();
    let windows = support::Windows {
        context: 64,
        evaluation: WINDOWS,
        calibration: 2,
    };
    let subject = support::subject(&support::demo_model(), &windows, ImatrixSource::None);
    runtime.open(&subject, &mut |_| {}).unwrap();
    runtime
}

fn rival(of: &Quality) -> Rival {
    Rival {
        candidate: 31,
        kld_windows: of.kld_windows.clone(),
    }
}

#[test]
fn a_plan_behind_its_rival_is_given_up_and_its_windows_are_those_of_the_whole() {
    let directory = TempDir::new().unwrap();
    let mut runtime = runtime(&directory);
    let spec = runtime.spec().unwrap().clone();
    let mut score = |precision, rival: Option<&Rival>| {
        let plan = Plan::uniform(&spec, precision).unwrap();
        let scored = runtime.quality(&plan, TaskPurpose::Search, rival);
        scored.unwrap().value
    };
    let (two, six) = (score(Precision::Q2K, None), score(Precision::Q6K, None));
    assert_eq!((two.stopped, two.kld_windows.len()), (None, 12));

    let stopped = score(Precision::Q2K, Some(&rival(&six)));
    let expected = Stopped {
        windows: 12,
        behind: 31,
    };
    assert_eq!(stopped.stopped, Some(expected));
    let scored = stopped.kld_windows.len();
    assert!(
        stages::ends(12).contains(&scored) && scored < 12,
        "{scored}"
    );
    let order = stages::order(12);
    let of_whole = order[..scored]
        .iter()
        .map(|&window| two.kld_windows[window]);
    assert!(of_whole.eq(stopped.kld_windows.iter().copied()));
    assert_eq!(stopped.positions, two.positions * scored as u64 / 12);
    let off = (stopped.kld - two.kld).abs();
    assert!(
        off < 4.0 * stopped.kld_standard_error,
        "{stopped:?} {two:?}"
    );

    // Against a rival that loses more, and against itself, a plan is scored as if there were none.
    for rival in [rival(&two), rival(&six)] {
        assert_eq!(score(Precision::Q6K, Some(&rival)), six);
    }
}

#[test]
fn a_rival_that_was_scored_on_another_text_is_refused() {
    let directory = TempDir::new().unwrap();
    let mut runtime = runtime(&directory);
    let plan = Plan::uniform(runtime.spec().unwrap(), Precision::Q4K).unwrap();
    let rival = Rival {
        candidate: 31,
        kld_windows: vec![0.1; 5],
    };
    let error = runtime
        .quality(&plan, TaskPurpose::Search, Some(&rival))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("candidate 31") && error.contains("5 windows"),
        "{error}"
    );
}
