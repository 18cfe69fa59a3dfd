use std::time::Duration;

use super::*;

fn figures() -> Figures {
    Figures {
        size_bytes: 1000,
        kld: Some(0.2),
        mismatch: Some(0.1),
        decode_ns: Some(3e6),
        prefill_ns: Some(9e6),
        infeasible: None,
        abandoned: false,
        as_planned: true,
        stopped: false,
    }
}

const OBJECTIVES: [Objective; 3] = [Objective::Size, Objective::Kld, Objective::Prefill];

#[test]
fn objectives_come_in_the_order_of_the_request() {
    let point = figures().point(&OBJECTIVES);
    assert_eq!(point, Some(vec![1000.0, 0.2, 9e6]));
}

#[test]
fn what_is_missing_infeasible_or_something_else_has_no_point() {
    let rows = [
        (
            "no loss",
            Figures {
                kld: None,
                ..figures()
            },
            false,
        ),
        (
            "no time",
            Figures {
                decode_ns: None,
                ..figures()
            },
            false,
        ),
        (
            "infeasible",
            Figures {
                infeasible: Some("no kernel".to_owned()),
                kld: None,
                ..figures()
            },
            true,
        ),
        (
            "other plan",
            Figures {
                as_planned: false,
                ..figures()
            },
            true,
        ),
    ];
    let mut failures = Vec::new();
    for (name, figures, complete) in rows {
        let evaluation = figures.evaluation(&OBJECTIVES, &Limits::default());
        let expected = complete.then_some(Evaluation::Infeasible);
        if figures.point(&OBJECTIVES).is_some() || evaluation != expected {
            failures.push(format!("{name}: {evaluation:?}"));
        }
    }
    assert!(failures.is_empty(), "{failures:?}");
}

#[test]
fn what_was_given_up_is_told_and_enters_no_front() {
    let stopped = Figures {
        stopped: true,
        ..figures()
    };
    assert_eq!(stopped.point(&OBJECTIVES), None);
    let limits = Limits::default();
    let told = stopped.evaluation(&OBJECTIVES, &limits);
    assert_eq!(told, figures().evaluation(&OBJECTIVES, &limits));
    assert!(matches!(told, Some(Evaluation::Measured { .. })));
}

#[test]
fn a_violation_is_the_sum_of_the_shares_beyond_the_limits() {
    let limits = Limits {
        max_kld: Some(0.1),
        max_size_bytes: Some(800),
        max_decode: Some(Duration::from_millis(3)),
        min_same_top: Some(0.95),
    };
    let violation = figures().violation(&limits);
    let expected = 1.0 + 0.25 + 1.0;
    assert!((violation - expected).abs() < 1e-12, "{violation}");
    assert_eq!(figures().violation(&Limits::default()), 0.0);
}

/// A limit on a figure that is no objective is told beside the objectives, on the same scale.
#[test]
fn a_limit_on_the_mismatch_is_told_as_a_figure_of_its_own() {
    let limits = Limits {
        min_same_top: Some(0.95),
        ..Limits::default()
    };
    let limited: Vec<_> = limited(&OBJECTIVES, &limits).collect();
    assert_eq!(limited.len(), 1);
    let (figure, limit) = limited[0];
    assert_eq!(figure, Objective::Mismatch);
    assert!((limit - 0.05).abs() < 1e-12, "{limit}");
    let Some(Evaluation::Measured {
        limited, violation, ..
    }) = figures().evaluation(&OBJECTIVES, &limits)
    else {
        panic!("it is measured");
    };
    assert_eq!(limited, [scaled(Objective::Mismatch, 0.1)]);
    assert!((violation - 1.0).abs() < 1e-9, "{violation}");
}

#[test]
fn what_is_scaled_comes_back() {
    for figure in Objective::ALL {
        let back = unscaled(figure, scaled(figure, 0.02));
        assert!((back - 0.02).abs() < 1e-12, "{figure}: {back}");
    }
    // A step of the told mismatch is twice one of its logarithm.
    let step =
        scaled(Objective::Mismatch, 0.02_f64 * 0.1_f64.exp()) - scaled(Objective::Mismatch, 0.02);
    assert!((unscaled_deviation(Objective::Mismatch, step) - 0.1).abs() < 1e-9);
}
