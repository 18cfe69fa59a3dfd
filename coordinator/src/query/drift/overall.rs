//! What all plans say together of one figure.

use bitfront_model::{Change, Interval, Moved, Overall, Ratio, Verdict, Watched};
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, Normal};

use super::figures::{LEAST_SLOWDOWN, Night, verdict};
use super::scale::LEAST_TIMINGS;
use crate::query::rescoring::TOLERANCE;

/// How surely the interval of a median over plans holds it. Nights are many, and each has several
/// figures: with 95 % a device that never changed would raise an alarm in every
/// twentieth or so.
const CONFIDENCE: f64 = 0.98;

/// How often a plan that did not move is found worse, and how often better, at the most.
const BY_CHANCE: f64 = 0.01;

/// How unlikely so many of them must be by chance to count.
const UNLIKELY: f64 = 0.001;

/// What became of a figure over the plans, of two searches with their numbers.
pub(super) fn overall(
    figure: Watched,
    points: &[Moved],
    (before, then, after, now): (i64, &Night, i64, &Night),
) -> Overall {
    let changes = points.iter().flat_map(|point| &point.changes);
    let changes: Vec<_> = changes.filter(|it| it.figure == figure).collect();
    let unknown = |reason: String| Overall {
        figure,
        plans: changes.len() as u64,
        ratio: None,
        worse: 0,
        better: 0,
        verdict: Verdict::Unknown,
        reason,
    };
    let (least, of_scales) = match figure {
        Watched::Kld => (TOLERANCE, 0.0),
        Watched::Time(workload) => match (then.scale(workload), now.scale(workload)) {
            (Err(timings), _) => return unknown(too_few(before, timings)),
            (_, Err(timings)) => return unknown(too_few(after, timings)),
            (Ok(then), Ok(now)) => (LEAST_SLOWDOWN, then.deviation.hypot(now.deviation)),
        },
    };
    let Some(ratio) = median(&changes, of_scales) else {
        return unknown(match (figure, changes.len()) {
            (Watched::Kld, 0) => "no divergence was measured afresh".to_owned(),
            (_, count) => {
                format!("both measured {count} of the same plans, and {LEAST_PLANS} are needed")
            }
        });
    };
    let count = |verdict| changes.iter().filter(|it| it.verdict == verdict).count() as u64;
    let (worse, better) = (count(Verdict::Worse), count(Verdict::Better));
    let beyond_chance = |moved| is_beyond_chance(moved, changes.len() as u64);
    let of_median = verdict(&ratio, least);
    let verdict = match (of_median, beyond_chance(worse), beyond_chance(better)) {
        (Verdict::Worse, ..) | (_, true, _) => Verdict::Worse,
        (Verdict::Better, ..) | (_, _, true) => Verdict::Better,
        (unchanged, ..) => unchanged,
    };
    Overall {
        figure,
        plans: changes.len() as u64,
        ratio: Some(ratio),
        worse,
        better,
        verdict,
        reason: String::new(),
    }
}

fn too_few(search: i64, timings: u64) -> String {
    format!(
        "search {search} has {timings} timings beside its anchor, and {LEAST_TIMINGS} are needed"
    )
}

/// Fewest plans whose outermost ones hold the median as surely as is wanted: the chance that all
/// lie on one side of it is one in 2⁶.
const LEAST_PLANS: usize = 7;

/// The median over the plans, with a distribution-free interval: from the `k`-th smallest to the
/// `k`-th largest ratio, the number of those below the median being binomial (as for timings; see
/// `docs/measuring.md`). What the scales of two searches differ by on a device that never changed
/// is in no plan's favour and adds to it, in squares. None of few plans.
fn median(changes: &[&Change], of_scales: f64) -> Option<Ratio> {
    let mut logarithms: Vec<_> = changes.iter().map(|it| it.ratio.value.ln()).collect();
    logarithms.sort_by(f64::total_cmp);
    let plans = logarithms.len();
    if plans < LEAST_PLANS {
        return None;
    }
    let below = Binomial::new(0.5, plans as u64).ok()?;
    let holds = |rank: &usize| 1.0 - 2.0 * below.cdf(*rank as u64 - 1) >= CONFIDENCE;
    let rank = (1..=plans / 2).take_while(holds).last()?;
    let middle = f64::midpoint(logarithms[(plans - 1) / 2], logarithms[plans / 2]);
    let more = Normal::standard().inverse_cdf(0.5 + CONFIDENCE / 2.0) * of_scales;
    let (low, high) = (logarithms[rank - 1], logarithms[plans - rank]);
    Some(Ratio {
        value: middle.exp(),
        interval: Interval {
            low: (middle - (middle - low).hypot(more)).exp(),
            high: (middle + (high - middle).hypot(more)).exp(),
            confidence: CONFIDENCE,
        },
    })
}

/// More plans moved one way than chance explains: a kernel that some precisions alone execute
/// leaves the median where it was.
fn is_beyond_chance(moved: u64, plans: u64) -> bool {
    let by_chance = Binomial::new(BY_CHANCE, plans);
    moved > 0 && by_chance.is_ok_and(|it| it.sf(moved - 1) <= UNLIKELY)
}
