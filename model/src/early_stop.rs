//! What ends a search before its budget is spent.

use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What ends a search before its budget is spent; by default nothing does.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct EarlyStop {
    /// The front has stopped growing.
    pub stalled: Option<StallRule>,
    /// A plan keeps all the limits, and so do the intervals of its figures.
    pub within_limits: bool,
}

/// How little growth of the front over how many evaluations is a stall.
///
/// As text it is `50:0.5`: fifty evaluations in a row that grow the front by less than 0.5 %.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct StallRule {
    /// Evaluations in a row, baselines not among them.
    pub evaluations: u64,
    /// Growth over them that is none any more, as a share of the hypervolume before them.
    pub least_growth: f64,
}

impl StallRule {
    /// The least growth where none is named.
    pub const USUAL_GROWTH: f64 = 0.01;
}

/// A text is no [`StallRule`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not a number of evaluations, or one and a percentage, such as 50 or 50:0.5")]
pub struct NoStallRule {
    /// What was given.
    pub text: String,
}

impl FromStr for StallRule {
    type Err = NoStallRule;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || NoStallRule {
            text: text.to_owned(),
        };
        let (evaluations, least_growth) = match text.split_once(':') {
            None => (text, Self::USUAL_GROWTH),
            Some((evaluations, percent)) => {
                let percent: f64 = percent.trim().parse().map_err(|_| wrong())?;
                (evaluations, percent / 100.0)
            }
        };
        Ok(Self {
            evaluations: evaluations.trim().parse().map_err(|_| wrong())?,
            least_growth,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_is_a_number_and_a_percentage() {
        let rule = |evaluations, least_growth| {
            Ok(StallRule {
                evaluations,
                least_growth,
            })
        };
        assert_eq!("50".parse(), rule(50, 0.01));
        assert_eq!("50:0.5".parse(), rule(50, 0.005));
        assert_eq!("50:25".parse(), rule(50, 0.25));
        for wrong in ["", "x", "-1", "50:", "50:x", "50:1%", "5:1:1"] {
            assert!(wrong.parse::<StallRule>().is_err(), "{wrong}");
        }
    }
}
