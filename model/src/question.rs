//! What is asked of a device outside any candidate, once, before a search is bound: a probe of its
//! hardware profile, or the sensitivity of a model's layers in its numerics class.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{
    Digest, LeaseToken, Probe, ProbeQuestion, Sensitivity, SensitivityQuestion, UnknownName,
};

/// What a question is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuestionKind {
    /// How long products take, of a hardware profile.
    Probe,
    /// What layers lose, of a numerics class.
    Sensitivity,
}

impl QuestionKind {
    /// The name used in every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Probe => "probe",
            Self::Sensitivity => "sensitivity",
        }
    }
}

impl fmt::Display for QuestionKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for QuestionKind {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::Probe, Self::Sensitivity]
            .into_iter()
            .find(|kind| kind.name() == text)
            .ok_or_else(|| UnknownName {
                what: "kind of question",
                name: text.to_owned(),
                known: "probe, sensitivity".to_owned(),
            })
    }
}

/// What is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// Time these products.
    Probe(ProbeQuestion),
    /// Score these swaps; boxed, since it holds the model's layers.
    Sensitivity(Box<SensitivityQuestion>),
}

impl Question {
    /// What it is about.
    pub fn kind(&self) -> QuestionKind {
        match self {
            Self::Probe(_) => QuestionKind::Probe,
            Self::Sensitivity(_) => QuestionKind::Sensitivity,
        }
    }

    /// The question's name by content.
    pub fn digest(&self) -> Digest {
        match self {
            Self::Probe(question) => question.digest(),
            Self::Sensitivity(question) => question.digest(),
        }
    }
}

/// What was answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The times of products.
    Probe(Probe),
    /// The losses of swaps.
    Sensitivity(Sensitivity),
}

impl Answer {
    /// What keeps it from being the answer to a question, if anything does.
    pub fn problem(&self, question: &Question) -> Option<String> {
        match (self, question) {
            (Self::Probe(answer), Question::Probe(question)) => answer.problem(question),
            (Self::Sensitivity(answer), Question::Sensitivity(question)) => {
                answer.problem(question)
            }
            (_, question) => Some(format!("a {} was to be answered", question.kind())),
        }
    }
}

/// A leased question: all that an agent needs for it.
#[derive(Debug, Clone, PartialEq)]
pub struct QuestionAssignment {
    /// Proof of the lease.
    pub token: LeaseToken,
    /// What to answer.
    pub question: Question,
    /// How long the lease lasts without a heartbeat.
    pub lease_time: Duration,
}

/// What an agent says of a leased question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AnswerReport {
    /// Proof of the lease.
    pub token: LeaseToken,
    /// Minted by the agent once per answer, so that a report sent twice counts once.
    pub idempotency_key: String,
    /// The question that was answered, to catch a mix-up before it is stored.
    pub question_digest: Digest,
    /// The answer.
    pub answer: Answer,
}

impl AnswerReport {
    /// What keeps it from being the answer to a question, if anything does.
    pub fn problem(&self, question: &Question) -> Option<String> {
        match self.question_digest == question.digest() {
            true => self.answer.problem(question),
            false => Some("another question was answered".to_owned()),
        }
    }
}

/// How far a question has come.
#[derive(Debug, Clone, PartialEq)]
pub enum QuestionStanding<A> {
    /// A device answers it, or will.
    Pending,
    /// It is answered.
    Done(Box<A>),
    /// It was given up after too many attempts; searches go on without an answer.
    Failed {
        /// How the last attempt ended.
        reason: String,
    },
}
