//! What is asked of a device outside any candidate.

use std::time::Duration;

use bitfront_model::{Answer, AnswerReport, Question, QuestionAssignment};

use super::{ConvertError, message, milliseconds, present, word};
use crate::v1;
use crate::v1::question_assignment::Question as WireQuestion;
use crate::v1::report_answer_request::Answer as WireAnswer;

impl TryFrom<v1::QuestionAssignment> for QuestionAssignment {
    type Error = ConvertError;

    fn try_from(wire: v1::QuestionAssignment) -> Result<Self, Self::Error> {
        Ok(Self {
            token: present("token", wire.token)?.into(),
            question: match present("question", wire.question)? {
                WireQuestion::Probe(probe) => Question::Probe(message("probe", Some(probe))?),
                WireQuestion::Sensitivity(sensitivity) => {
                    Question::Sensitivity(Box::new(message("sensitivity", Some(sensitivity))?))
                }
            },
            lease_time: Duration::from_millis(wire.lease_ms),
        })
    }
}

impl From<&QuestionAssignment> for v1::QuestionAssignment {
    fn from(assignment: &QuestionAssignment) -> Self {
        Self {
            token: Some(assignment.token.into()),
            question: Some(match &assignment.question {
                Question::Probe(probe) => WireQuestion::Probe(probe.into()),
                Question::Sensitivity(sensitivity) => {
                    WireQuestion::Sensitivity(sensitivity.as_ref().into())
                }
            }),
            lease_ms: milliseconds(assignment.lease_time),
        }
    }
}

impl TryFrom<v1::ReportAnswerRequest> for AnswerReport {
    type Error = ConvertError;

    fn try_from(wire: v1::ReportAnswerRequest) -> Result<Self, Self::Error> {
        if wire.idempotency_key.is_empty() {
            return Err(ConvertError::invalid(
                "idempotency_key",
                "is empty; mint one for every answer",
            ));
        }
        Ok(Self {
            token: present("token", wire.token)?.into(),
            idempotency_key: wire.idempotency_key,
            question_digest: word("question_digest", &wire.question_digest)?,
            answer: match present("answer", wire.answer)? {
                WireAnswer::Probe(probe) => Answer::Probe(message("probe", Some(probe))?),
                WireAnswer::Sensitivity(sensitivity) => {
                    Answer::Sensitivity(message("sensitivity", Some(sensitivity))?)
                }
            },
        })
    }
}

impl From<&AnswerReport> for v1::ReportAnswerRequest {
    fn from(report: &AnswerReport) -> Self {
        Self {
            token: Some(report.token.into()),
            idempotency_key: report.idempotency_key.clone(),
            question_digest: report.question_digest.to_string(),
            answer: Some(match &report.answer {
                Answer::Probe(probe) => WireAnswer::Probe(probe.into()),
                Answer::Sensitivity(sensitivity) => WireAnswer::Sensitivity(sensitivity.into()),
            }),
        }
    }
}
