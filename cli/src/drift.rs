//! What moved between two searches, in words.

use std::cmp::Ordering;

use bitfront_model::{Drift, Overall, Ratio, Stale, Verdict, Watched};

use crate::figures::{count, percent, three_digits};

/// Why a front is stale, in one line.
pub(crate) fn stale(stale: &Stale) -> String {
    let mut moved: Vec<_> = stale.moved.iter().map(brief).collect();
    if stale.infeasible > 0 {
        moved.push(infeasible(stale.infeasible));
    }
    format!(
        "stale: measured since by search {}: {}",
        stale.search,
        moved.join(", ")
    )
}

/// What two searches say of the same plans, one line a figure; what changed of the hardware and of
/// the front.
pub(crate) fn conclusion(drift: &Drift) -> String {
    let (before, after) = (drift.before, drift.after);
    let mut text = format!(
        "before: search {before} on {}\nafter: search {after} on {}\n",
        drift.hardware_before, drift.hardware_after
    );
    for change in &drift.profile {
        text += &format!(
            "{} was {}, is {}\n",
            change.field, change.before, change.after
        );
    }
    for overall in &drift.overall {
        text += &format!("{}\n", told(overall));
    }
    for plan in &drift.infeasible {
        text += &format!(
            "#{} of search {before} cannot be executed any more: {}\n",
            plan.before, plan.reason
        );
    }
    text += &front(drift);
    if let Some(volumes) = &drift.hypervolumes {
        text += &format!(
            "hypervolume {} before, {} after, both against the reference point of search {before}\n",
            three_digits(volumes.before),
            three_digits(volumes.after)
        );
    }
    text += &match (drift.is_stale(), drift.says_anything()) {
        (true, _) => format!("the front of search {before} is stale\n"),
        (false, true) => format!("the front of search {before} holds\n"),
        (false, false) => format!("nothing can be said of the front of search {before}\n"),
    };
    text
}

/// What became of the front's plans; nothing where all are on both.
fn front(drift: &Drift) -> String {
    let numbers = |numbers: &[i64]| {
        let numbers: Vec<_> = numbers.iter().map(|it| format!("#{it}")).collect();
        numbers.join(", ")
    };
    let mut parts = Vec::new();
    for (what, plans) in [("entered", &drift.entered), ("left", &drift.left)] {
        if !plans.is_empty() {
            let many = count(plans.len() as u64, "plan");
            parts.push(format!("{many} {what} the front ({})", numbers(plans)));
        }
    }
    if drift.missing > 0 {
        let many = count(drift.missing, "plan");
        parts.push(format!("{many} of it not measured again"));
    }
    match parts.is_empty() {
        true => String::new(),
        false => parts.join(", ") + "\n",
    }
}

/// What became of a figure.
fn told(overall: &Overall) -> String {
    let Some(ratio) = &overall.ratio else {
        return format!("{}: unknown, {}", name(overall.figure), overall.reason);
    };
    let plans = count(overall.plans, "plan");
    let change = match overall.verdict {
        Verdict::Unchanged | Verdict::Unknown => format!("{}: unchanged", name(overall.figure)),
        Verdict::Worse | Verdict::Better => brief(overall),
    };
    let single = match (overall.worse, overall.better) {
        (0, 0) => String::new(),
        (worse, 0) => format!("; {worse} of them worse, each by itself"),
        (0, better) => format!("; {better} of them better, each by itself"),
        (worse, better) => {
            format!("; {worse} of them worse and {better} better, each by itself")
        }
    };
    format!("{change}, median {} over {plans}{single}", interval(ratio))
}

/// A figure that moved: `decode@64x16 6.1 % slower`.
fn brief(overall: &Overall) -> String {
    let (is_worse, moved) = match overall.verdict {
        Verdict::Better => (false, overall.better),
        _ => (true, overall.worse),
    };
    let word = match (overall.figure, is_worse) {
        (Watched::Kld, true) => "greater",
        (Watched::Kld, false) => "smaller",
        (Watched::Time(_), true) => "slower",
        (Watched::Time(_), false) => "faster",
    };
    let figure = name(overall.figure);
    let expected = if is_worse {
        Ordering::Greater
    } else {
        Ordering::Less
    };
    match &overall.ratio {
        Some(ratio) if ratio.ordering() == expected => {
            format!("{figure} {} {word}", percent((ratio.value - 1.0).abs()))
        }
        _ => format!("{figure} {word} in {moved} of {} plans", overall.plans),
    }
}

/// `2 plans cannot be executed any more`.
fn infeasible(plans: u64) -> String {
    format!("{} cannot be executed any more", count(plans, "plan"))
}

/// `+6.1 % [+5.4 %, +6.9 %]`.
pub(crate) fn interval(ratio: &Ratio) -> String {
    format!(
        "{} [{}, {}]",
        signed(ratio.value),
        signed(ratio.interval.low),
        signed(ratio.interval.high)
    )
}

/// A ratio as a change: `+6.1 %`.
pub(crate) fn signed(ratio: f64) -> String {
    format!("{:+.1} %", (ratio - 1.0) * 100.0)
}

/// What a figure is called.
pub(crate) fn name(figure: Watched) -> String {
    match figure {
        Watched::Kld => "KLD".to_owned(),
        Watched::Time(workload) => workload.to_string(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing::drift;

    #[test]
    fn a_stale_front_says_in_one_line_what_moved_and_who_found_it() {
        let mut drift = drift();
        assert_eq!(
            stale(&drift.stale().unwrap()),
            "stale: measured since by search 2: decode@64x16 6.1 % slower, prefill@128 slower in 4 \
             of 24 plans, 1 plan cannot be executed any more"
        );
        drift.overall[0].verdict = Verdict::Better;
        drift.infeasible.clear();
        drift.overall.truncate(1);
        drift.overall[0].ratio = drift.overall[0].ratio.map(|mut ratio| {
            (ratio.value, ratio.interval.low, ratio.interval.high) = (0.9, 0.85, 0.95);
            ratio
        });
        let told = stale(&drift.stale().unwrap());
        assert!(told.ends_with(": KLD 10.0 % smaller"), "{told}");
    }

    #[test]
    fn what_moved_is_told_figure_by_figure() {
        let mut drift = drift();
        insta::assert_snapshot!(conclusion(&drift));
        for overall in &mut drift.overall {
            overall.verdict = Verdict::Unknown;
            overall.ratio = None;
            overall.reason = "both measured 3 of the same plans, and 7 are needed".to_owned();
        }
        drift.infeasible.clear();
        let told = conclusion(&drift);
        assert!(told.contains("KLD: unknown, both measured 3"), "{told}");
        assert!(told.ends_with("nothing can be said of the front of search 1\n"));
    }
}
