//! What a search's model believes, in words: what its predictions were worth, and which measured
//! figures lie far from what it believes of them.

use bitfront_model::{Believed, Check, FrontPoint, Objective};

use crate::confirmation;
use crate::figures::{nanoseconds, percent, three_digits};

/// How well the predictions of one run of candidates ranked: one line.
pub(crate) fn check(check: &Check) -> String {
    let ranks = check.ranks.iter().filter_map(|rank| {
        let correlation = rank.correlation?;
        Some(format!("{} {correlation:.2}", rank.figure))
    });
    let ranks: Vec<_> = ranks.collect();
    let ranks = match ranks.is_empty() {
        true => "nothing that differed beyond the noise".to_owned(),
        false => ranks.join(", "),
    };
    let distrusted = match check.is_distrusted {
        true => "; it is distrusted: every second proposal is by plain evolution",
        false => "",
    };
    format!(
        "check of the model after {} candidates (rank correlation of its predictions): \
         {ranks}{distrusted}",
        check.candidates
    )
}

/// The figures of a point that were measured far from what is believed of them; none where there
/// are none.
pub(crate) fn surprises(point: &FrontPoint) -> Option<String> {
    let far = point.believed.iter().filter_map(|believed| {
        let measured = believed.far()?;
        Some(format!(
            "{}: measured {}, believed {}",
            believed.figure,
            written(believed.figure, measured),
            value(believed)
        ))
    });
    let far: Vec<_> = far.collect();
    (!far.is_empty()).then(|| format!("far from what the model believes: {}", far.join("; ")))
}

/// Both timings of a point whose first one the model contradicted; none where it was timed once.
pub(crate) fn timed_twice(point: &FrontPoint) -> Option<String> {
    let first = point.first_latency.as_ref()?;
    let counts = confirmation::searched_latency(point)?;
    let pairs = first.value.iter().zip(&counts.value);
    let times = pairs.map(|(first, second)| {
        format!(
            "{} {}, then {}",
            first.workload,
            nanoseconds(first.median_ns),
            nanoseconds(second.median_ns)
        )
    });
    let times: Vec<_> = times.collect();
    Some(format!(
        "timed twice, since the model doubted the first time; the second counts: {}",
        times.join("; ")
    ))
}

/// What is believed of one figure, and one standard deviation of a measurement of it.
pub(crate) fn value(believed: &Believed) -> String {
    let spread = match believed.figure {
        // A deviation of the logarithm is a share of the value.
        Objective::Kld | Objective::Mismatch => believed.value * believed.spread(),
        Objective::Decode | Objective::Prefill | Objective::Size => believed.spread(),
    };
    format!(
        "{} ± {}",
        written(believed.figure, believed.value),
        written(believed.figure, spread)
    )
}

/// A figure in its own unit.
pub(crate) fn written(figure: Objective, value: f64) -> String {
    match figure {
        Objective::Kld => three_digits(value),
        Objective::Decode | Objective::Prefill => nanoseconds(value),
        Objective::Size => format!("{value:.0} bytes"),
        Objective::Mismatch => percent(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitfront_model::Rank;

    #[test]
    fn a_check_is_one_line_and_says_what_follows() {
        let mut one = Check {
            candidates: 48,
            ranks: vec![
                Rank {
                    figure: Objective::Kld,
                    correlation: Some(0.341),
                },
                Rank {
                    figure: Objective::Decode,
                    correlation: Some(0.9),
                },
                Rank {
                    figure: Objective::Size,
                    correlation: None,
                },
            ],
            is_distrusted: true,
        };
        assert_eq!(
            check(&one),
            "check of the model after 48 candidates (rank correlation of its predictions): kld \
             0.34, decode 0.90; it is distrusted: every second proposal is by plain evolution"
        );
        one.ranks.clear();
        one.is_distrusted = false;
        assert!(check(&one).ends_with("): nothing that differed beyond the noise"));
    }

    #[test]
    fn both_timings_are_told_and_which_one_counts() {
        let mut point = crate::testing::front().points.remove(0);
        assert_eq!(timed_twice(&point), None);
        let mut first = point.latency.clone().unwrap();
        for (latency, median_ns) in first.value.iter_mut().zip([9e6, 2.6e6]) {
            latency.median_ns = median_ns;
        }
        point.first_latency = Some(first);
        for (latency, median_ns) in point
            .latency
            .iter_mut()
            .flat_map(|it| &mut it.value)
            .zip([8e6, 2e6])
        {
            latency.median_ns = median_ns;
        }
        assert_eq!(
            timed_twice(&point).as_deref(),
            Some(
                "timed twice, since the model doubted the first time; the second counts: \
                 prefill@128 9.00 ms, then 8.00 ms; decode@64x16 2.60 ms, then 2.00 ms"
            )
        );
    }

    #[test]
    fn only_what_is_far_is_a_surprise() {
        let believed = |figure, value, measured| Believed {
            figure,
            value,
            deviation: 0.03 * if figure == Objective::Kld { 1.0 } else { value },
            scatter: 0.04 * if figure == Objective::Kld { 1.0 } else { value },
            measured: Some(measured),
        };
        let mut point = crate::testing::front().points.remove(0);
        assert_eq!(surprises(&point), None, "nothing is believed");
        point.believed = vec![
            believed(Objective::Kld, 0.02, 0.03),
            believed(Objective::Decode, 2e6, 2.1e6),
            believed(Objective::Prefill, 9e6, 4e6),
        ];
        assert_eq!(
            surprises(&point).as_deref(),
            Some(
                "far from what the model believes: kld: measured 0.0300, believed 0.0200 ± \
                 0.00100; prefill: measured 4.00 ms, believed 9.00 ms ± 450 µs"
            )
        );
    }
}
