//! What has happened: candidates asked and evaluations told.

use thiserror::Error;

use crate::space::{Genome, GenomeError};

/// One thing that happened in a search. The events of a search, in their stored order, are all
/// that a strategy ever learns.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// A genome became a candidate: a strategy's proposal, or a baseline.
    Asked {
        /// Its name, unique within the search.
        candidate: u64,
        /// What will be evaluated.
        genome: Genome,
    },
    /// A candidate's evaluation came back.
    Told {
        /// An asked candidate.
        candidate: u64,
        /// What was found.
        evaluation: Evaluation,
    },
    /// A told candidate was measured once more, and what was found now counts in place of what was
    /// told. A candidate is retold once at most, so that the order of events decides nothing.
    Retold {
        /// A told candidate.
        candidate: u64,
        /// What counts from now on.
        evaluation: Evaluation,
    },
    /// Another search measured a genome. That makes it no candidate: it may be asked still. A
    /// genome may be told again: a figure that is told later counts in place of an earlier one, and
    /// what is not told stays as it was.
    Shared(Shared),
}

/// What another search measured of a genome.
#[derive(Debug, Clone, PartialEq)]
pub struct Shared {
    /// What was measured.
    pub genome: Genome,
    /// The figures that hold here as well, as they would be told: the objectives and, after them,
    /// the limited figures. None of those that were not measured, or hold elsewhere only.
    pub figures: Vec<Option<f64>>,
    /// Its loss need not be measured again: asking it costs less than asking another genome. True
    /// from the first time on that it is told so.
    pub is_reused: bool,
}

/// What is known of a candidate after its evaluation.
#[derive(Debug, Clone, PartialEq)]
pub enum Evaluation {
    /// It was measured.
    Measured {
        /// All to be minimised, in the same order and number for every candidate of a search. A
        /// value that is not finite makes the candidate infeasible.
        objectives: Vec<f64>,
        /// The figures that bear a limit and are no objectives, in the order of
        /// [`Problem::limited`](crate::Problem::limited); empty where there are none.
        limited: Vec<f64>,
        /// By how much it breaks the limits, summed over the limits in units that make them
        /// comparable; 0 where it keeps all of them. Infinity or NaN makes it infeasible.
        violation: f64,
    },
    /// It cannot be measured.
    Infeasible,
}

impl Evaluation {
    /// A measurement where nothing bears a limit.
    pub fn unlimited(objectives: Vec<f64>) -> Self {
        Self::Measured {
            objectives,
            limited: Vec::new(),
            violation: 0.0,
        }
    }
}

/// An event that contradicts those before it. The strategy is left as it was.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum EventError {
    /// The asked genome is not a member of the space.
    #[error("candidate {candidate} lies outside the space: {source}")]
    Outside {
        /// The event's candidate.
        candidate: u64,
        /// Where it leaves the space.
        source: GenomeError,
    },
    /// A candidate's name is taken.
    #[error("candidate {candidate} was asked before")]
    CandidateAskedTwice {
        /// The event's candidate.
        candidate: u64,
    },
    /// A genome has been asked under another name.
    #[error("candidate {candidate} has the genome of candidate {first}")]
    GenomeAskedTwice {
        /// The event's candidate.
        candidate: u64,
        /// The candidate that the genome belongs to.
        first: u64,
    },
    /// An evaluation of something that was never asked.
    #[error("candidate {candidate} was never asked")]
    UnknownCandidate {
        /// The event's candidate.
        candidate: u64,
    },
    /// A second evaluation of one candidate.
    #[error("candidate {candidate} was told before")]
    ToldTwice {
        /// The event's candidate.
        candidate: u64,
    },
    /// A new evaluation in the place of none.
    #[error("candidate {candidate} was retold before it was told")]
    NeverTold {
        /// The event's candidate.
        candidate: u64,
    },
    /// A third evaluation of one candidate.
    #[error("candidate {candidate} was retold before")]
    RetoldTwice {
        /// The event's candidate.
        candidate: u64,
    },
    /// Objectives that cannot be compared with those of earlier candidates.
    #[error("candidate {candidate} has {found} objectives where {expected} are expected")]
    ObjectiveCount {
        /// The event's candidate.
        candidate: u64,
        /// Objectives of the candidates before it; 1 where it is the first and has none.
        expected: usize,
        /// Objectives of this candidate.
        found: usize,
    },
    /// A genome that another search measured does not fit this one.
    #[error("what another search measured does not belong here: {source}")]
    SharedOutside {
        /// Where it leaves the space.
        source: GenomeError,
    },
    /// What another search measured has other figures than this one's problem, or than what was
    /// told of the same genome before.
    #[error(
        "what another search measured has {found} figures where {expected} are expected, known or \
         not"
    )]
    SharedFigures {
        /// Objectives and limited figures.
        expected: usize,
        /// Figures that were told.
        found: usize,
    },
    /// A violation below zero has no meaning.
    #[error("candidate {candidate} has the violation {violation}; it must not be negative")]
    NegativeViolation {
        /// The event's candidate.
        candidate: u64,
        /// What was told.
        violation: f64,
    },
}
