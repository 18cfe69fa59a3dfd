use std::time::Duration;

use super::*;

fn figures() -> Figures {
    Figures {
        size_bytes: 1000,
        kld: Some(0.2),
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
    };
    let violation = figures().violation(&limits);
    assert!((violation - (1.0 + 0.25)).abs() < 1e-12, "{violation}");
    assert_eq!(figures().violation(&Limits::default()), 0.0);
}
