use bitfront_model::{Rescored, Stopped};

use super::*;

/// Divergences of a text, some of whose windows are ten times as hard as others.
const SEARCHED: [f64; 8] = [0.004, 0.02, 0.01, 0.04, 0.006, 0.03, 0.008, 0.012];

fn searched(kld_windows: &[f64]) -> Quality {
    let kld = kld_windows.iter().sum::<f64>() / kld_windows.len() as f64;
    Quality {
        kld,
        kld_standard_error: kld / 10.0,
        kld_windows: kld_windows.to_vec(),
        perplexity: 10.0,
        reference_perplexity: 10.0,
        same_top_rate: 0.9,
        same_top_windows: Vec::new(),
        positions: 1024,
        stopped: None,
        rescored: Vec::new(),
    }
}

/// A confirmation that scored windows 0, 4, 2 and 6 of that text once more, each off by its factor.
fn confirmed(factors: [f64; 4]) -> Quality {
    let rescored = [0, 4, 2, 6].into_iter().zip(factors);
    Quality {
        rescored: rescored
            .map(|(window, factor)| Rescored {
                window: window as u64,
                kld: SEARCHED[window] * factor,
            })
            .collect(),
        ..searched(&[0.5; 8])
    }
}

#[test]
fn a_device_deviates_where_it_is_off_by_more_than_an_order_of_summing_explains() {
    let rows = [
        ("the same bits", [1.0; 4], false),
        (
            "as far off as another order was",
            [0.97, 0.967, 0.977, 0.994],
            false,
        ),
        ("both ways", [1.08, 0.94, 1.07, 0.93], false),
        (
            "beyond the tolerance, within the interval",
            [1.2, 1.15, 0.95, 0.93],
            false,
        ),
        ("a little more everywhere", [1.08, 1.1, 1.07, 1.09], true),
        ("a little less everywhere", [0.92, 0.9, 0.93, 0.91], true),
        ("packed kernels for others", [2.45, 2.97, 2.75, 3.02], true),
        ("one window", [1.0, 1.0, 1.4, 1.0], true),
        ("nonsense", [2000.0, 1300.0, 800.0, 1000.0], true),
        ("nothing lost at all", [0.0; 4], true),
    ];
    let mut failures = Vec::new();
    for (name, factors, deviates) in rows {
        let found = compare(&confirmed(factors), &searched(&SEARCHED)).unwrap();
        if found.deviates != deviates || found.windows != 4 {
            failures.push(format!("{name}: {found:?}"));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn a_loss_that_is_all_rounding_deviates_from_no_other() {
    let tiny = searched(&[1e-6; 8]);
    let mut other = confirmed([1.0; 4]);
    for (rescored, kld) in other.rescored.iter_mut().zip([-4e-9, 3e-6, 2e-6, 5e-7]) {
        rescored.kld = kld;
    }
    assert!(!compare(&other, &tiny).unwrap().deviates);
    other.rescored[1].kld = 1e-3;
    assert!(compare(&other, &tiny).unwrap().deviates);
}

#[test]
fn only_windows_that_both_scored_are_compared() {
    let order = stages::order(8);
    let behind = Stopped {
        windows: 8,
        behind: 3,
    };
    // Of a plan that was given up the windows are in the order of scoring: 0, 4 and 2.
    let scored: Vec<_> = order[..3].iter().map(|&place| SEARCHED[place]).collect();
    let stopped = Quality {
        stopped: Some(behind),
        ..searched(&scored)
    };
    let found = compare(&confirmed([1.0, 1.0, 1.0, 9.0]), &stopped).unwrap();
    assert_eq!((found.windows, found.ratio), (3, 1.0));
    assert!(!found.deviates);
    let single = searched(&SEARCHED[..1]);
    let found = compare(&confirmed([1.2, 1.0, 1.0, 1.0]), &single).unwrap();
    assert_eq!((found.windows, found.interval), (1, None));
    assert!(
        !found.deviates,
        "one window has no interval to be outside of"
    );
    let made_without = searched(&SEARCHED);
    assert_eq!(compare(&made_without, &made_without), None);
}

#[test]
fn the_interval_is_that_of_the_paired_logarithms() {
    let factors = [1.1, 1.3, 1.2, 1.25];
    let found = compare(&confirmed(factors), &searched(&SEARCHED)).unwrap();
    let interval = found.interval.unwrap();
    // By hand: Student's t of three degrees of freedom is 3.1824.
    let pairs = [0, 4, 2, 6].iter().zip(factors).map(|(&window, factor)| {
        let own: f64 = SEARCHED[window];
        ((own * factor + 1e-4) / (own + 1e-4)).ln()
    });
    let pairs: Vec<f64> = pairs.collect();
    let mean = pairs.iter().sum::<f64>() / 4.0;
    let spread = pairs.iter().map(|pair| (pair - mean).powi(2)).sum::<f64>() / 3.0;
    let half = 3.182_446 * (spread / 4.0).sqrt();
    assert!((found.ratio.ln() - mean).abs() < 1e-12);
    assert!(
        (interval.low.ln() - (mean - half)).abs() < 1e-6,
        "{interval:?}"
    );
    assert!(
        (interval.high.ln() - (mean + half)).abs() < 1e-6,
        "{interval:?}"
    );
}
