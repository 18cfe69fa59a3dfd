//! How a search ended and what going on would bring, for people.

use bitfront_model::{Outlook, SearchStatus};

use crate::figures::{count, percent};

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
}
