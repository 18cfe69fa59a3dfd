//! The seam between the algorithms and the search that they serve.

use thiserror::Error;

use crate::event::{Event, EventError};
use crate::nsga2::Nsga2;
use crate::problem::Problem;
use crate::random::Random;
use crate::sms_emoa::{MOST_OBJECTIVES, SmsEmoa};
use crate::space::Genome;
use crate::surrogate::{Among, Check, Doubt, Surrogate};

/// Proposes what to evaluate next, knowing only what was asked and told.
///
/// This trait exists so that the driver of a search is the same for every algorithm, and so that
/// no algorithm can reach storage, a clock or another machine. Its contract:
///
/// - The answer of [`ask`](Self::ask) is a function of the space, the seed, the events told so far
///   and the ask number, and of nothing else. Asking changes nothing: the same ask number without
///   an event in between gives the same answer.
/// - An answer becomes a candidate only by telling it back as [`Event::Asked`], after it has been
///   stored. Baselines arrive in the same way. A search is resumed by telling its stored events to
///   a new strategy; past asks are never asked again.
/// - The answer depends on the asked candidates in their order, on the evaluation of each and on
///   what other searches shared, in its order, and not on where these came in between. Which
///   evaluations had come in by the time of an ask does matter: with several pending at once, two
///   runs of one seed give the same asks only if the evaluations arrive at the same points. What
///   was stored decides either way.
/// - An answer lies inside the space, and no candidate, evaluated or pending, had its genome.
pub trait Strategy: Send {
    /// Learns of an event. A contradiction is an error and leaves the strategy as it was.
    fn tell(&mut self, event: &Event) -> Result<(), EventError>;

    /// A genome to evaluate next; none when every genome of the space has been asked. The ask
    /// number counts the strategy's own proposals, so that each draws from a stream of its own.
    fn ask(&mut self, ask_number: u64) -> Option<Genome>;

    /// What predictions of the strategy were worth so far, oldest first; nothing of a strategy that
    /// predicts nothing. A function of what was told, like an answer, and changes none.
    fn trust(&mut self) -> Vec<Check> {
        Vec::new()
    }

    /// The candidates that are worth another timing, in the order of their asks: those of which a
    /// figure that is measured with noise lies far from what the strategy believes of it. None of a
    /// strategy that believes nothing, and none that was retold. A function of what was told, like
    /// an answer, and changes none.
    fn doubtful(&mut self, _among: Among) -> Vec<Doubt> {
        Vec::new()
    }
}

/// The names that [`build`] knows.
pub const NAMES: [&str; 4] = ["random", "nsga2", "sms-emoa", "surrogate"];

/// A strategy that cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BuildError {
    /// None has the name.
    #[error("unknown strategy `{name}`; known are {}", NAMES.join(", "))]
    UnknownName {
        /// What was asked for.
        name: String,
    },
    /// The hypervolume of so many objectives is not computed exactly.
    #[error(
        "the strategy `{name}` takes up to {MOST_OBJECTIVES} objectives; the problem has {found}"
    )]
    TooManyObjectives {
        /// The strategy.
        name: String,
        /// Objectives of the problem.
        found: usize,
    },
    /// It needs to know how the objectives depend on a genome.
    #[error("the strategy `{name}` needs the law of 2 or 3 objectives; the problem has {found}")]
    Objectives {
        /// The strategy.
        name: String,
        /// Objectives of the problem.
        found: usize,
    },
}

/// The strategy of that name, before any event.
pub fn build(
    name: &str,
    problem: impl Into<Problem>,
    seed: u64,
) -> Result<Box<dyn Strategy>, BuildError> {
    let problem = problem.into();
    let space = || problem.space().clone();
    match name {
        "random" => Ok(Box::new(Random::new(space(), seed))),
        "nsga2" => Ok(Box::new(Nsga2::new(space(), seed))),
        "sms-emoa" if problem.objectives().len() > MOST_OBJECTIVES => {
            Err(BuildError::TooManyObjectives {
                name: name.to_owned(),
                found: problem.objectives().len(),
            })
        }
        "sms-emoa" => Ok(Box::new(SmsEmoa::new(space(), seed))),
        "surrogate" if !(2..=3).contains(&problem.objectives().len()) => {
            Err(BuildError::Objectives {
                name: name.to_owned(),
                found: problem.objectives().len(),
            })
        }
        "surrogate" => Ok(Box::new(Surrogate::new(problem, seed))),
        _ => Err(BuildError::UnknownName {
            name: name.to_owned(),
        }),
    }
}
