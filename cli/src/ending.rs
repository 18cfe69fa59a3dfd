//! How a search ended and what going on would bring, for people.

use bitfront_model::shortfall::{Measured, Shortfall};
use bitfront_model::{Front, FrontPoint, Limits, Outlook, SearchStatus};

use crate::figures::{count, percent};
use crate::view::{FrontView as _, usual_order};

/// Why a search ended and what more budget would bring, one a line; nothing while it has not ended.
pub(crate) fn told(status: &SearchStatus) -> String {
    if !status.state.has_ended() {
        return String::new();
    }
    let mut lines = format!("{}: {}\n", status.state, status.reason);
    if let Some(outlook) = &status.outlook {
        lines += &format!("more budget: {}\n", expected(outlook));
    }
    lines
}

/// What more budget would bring.
pub(crate) fn expected(outlook: &Outlook) -> String {
    let evaluations = outlook.evaluations;
    match outlook.expected {
        Some(expected) => format!(
            "{evaluations} evaluations again, as many as came after the baselines, would grow the \
             front by about {}; the latter half of these grew it by {}",
            percent(expected.grows),
            percent(expected.grew)
        ),
        None => format!(
            "{} beside the baselines grew the front too little or in too few steps to say what \
             more would bring",
            count(evaluations, "evaluation")
        ),
    }
}

/// What keeps the limits that the search was given: the best plan, or why there is none. Nothing
/// where it was given none, or where nothing is measured.
pub(crate) enum Kept<'a> {
    /// The smallest that keeps them, or without a limit on the loss the one that loses least.
    Best(&'a FrontPoint),
    /// None does.
    Nothing(Box<Shortfall>),
}

/// Looks for it.
pub(crate) fn kept(front: &Front) -> Option<Kept<'_>> {
    let limits = front.status.request.limits;
    if limits == Limits::default() {
        return None;
    }
    match front.best_within(&limits, usual_order(&limits)) {
        Some(best) => Some(Kept::Best(best)),
        None => {
            let measured: Vec<_> = front.points.iter().filter_map(measured).collect();
            let shortfall = Shortfall::of(&limits, &measured)?;
            Some(Kept::Nothing(Box::new(shortfall)))
        }
    }
}

fn measured(point: &FrontPoint) -> Option<Measured> {
    let is_sound = point.infeasible.is_none() && point.executed_as_planned;
    is_sound.then_some(())?;
    Some(Measured {
        candidate: point.candidate,
        kld: point.kld()?,
        decode_ns: point.decode_ns()?,
        size_bytes: point.size_bytes,
        mismatch: point.mismatch()?,
    })
}

#[cfg(test)]
mod tests {
    use bitfront_model::{Expected, SearchState};

    use super::*;

    #[test]
    fn the_reason_comes_with_what_more_would_bring() {
        let mut status = crate::testing::front().status;
        assert_eq!(told(&status), "done: the time budget is used up\n");
        status.outlook = Some(Outlook {
            evaluations: 96,
            expected: Some(Expected {
                grew: 0.021,
                grows: 0.0082,
            }),
        });
        assert_eq!(
            told(&status),
            "done: the time budget is used up\nmore budget: 96 evaluations again, as many as came \
             after the baselines, would grow the front by about 0.8 %; the latter half of these \
             grew it by 2.1 %\n"
        );
        status.outlook = Some(Outlook {
            evaluations: 1,
            expected: None,
        });
        assert!(told(&status).contains("1 evaluation beside the baselines grew"));
        status.state = SearchState::Running;
        assert_eq!(told(&status), "");
    }

    #[test]
    fn what_the_limits_leave_is_named_or_why_nothing_is_left() {
        let mut front = crate::testing::front();
        assert!(kept(&front).is_none(), "there are no limits");
        let limits = &mut front.status.request.limits;
        limits.max_kld = Some(0.01);
        let best = front.best_within(
            &front.status.request.limits,
            usual_order(&front.status.request.limits),
        );
        let best = best.map(|point| point.candidate);
        assert!(matches!(kept(&front), Some(Kept::Best(point)) if Some(point.candidate) == best));
        front.status.request.limits.max_size_bytes = Some(3_300_000);
        match kept(&front) {
            Some(Kept::Nothing(shortfall)) => insta::assert_snapshot!(shortfall),
            _ => panic!("no plan keeps both"),
        }
        front.points.clear();
        assert!(kept(&front).is_none(), "nothing is measured");
    }
}
