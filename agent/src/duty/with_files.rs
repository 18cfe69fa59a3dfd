//! Measuring once the files of a subject are here.
//!
//! Where a runtime cannot make of them what was submitted, they are held against what they must be,
//! and others are fetched. A fetch ends where all leases are lost: the tasks are another device's then,
//! or nobody's. What came is kept, and gone on with by the next task over the same files.

use bitfront_model::{Assignment, Question, Subject};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::spans;
use crate::weights::Weights;
use crate::worker::{Answered, Crash, Failure, Found, Worker};

/// Most times that other files are looked for: a disk that damages whatever is on it does so again.
const MOST_ROUNDS: u32 = 3;

/// What came of a task that had to wait for files.
pub(super) enum Came<T> {
    Of(T),
    /// All leases were lost before the files were here.
    TooLate,
}

/// Measures with the files of this device; where they are others than were submitted, with fetched
/// ones.
pub(super) async fn measured(
    weights: &mut Weights,
    worker: &mut Worker,
    lost: &CancellationToken,
    assignments: Vec<Assignment>,
) -> Result<Came<Vec<Found>>, Crash> {
    let Some(subject) = assignments.first().map(|first| first.subject.clone()) else {
        return Ok(Came::Of(Vec::new()));
    };
    let mut files = Files::new(weights, &subject, lost);
    loop {
        let local = match files.resolve().await {
            Came::Of(Ok(local)) => local,
            Came::Of(Err(failure)) => return Ok(Came::Of(vec![Err(failure); assignments.len()])),
            Came::TooLate => return Ok(Came::TooLate),
        };
        let here = assignments.iter().map(|assignment| Assignment {
            subject: local.clone(),
            ..assignment.clone()
        });
        let measuring = worker.measure(here.collect());
        let found = measuring.instrument(spans::measure()).await?;
        let failures: Vec<_> = found.iter().filter_map(|one| one.as_ref().err()).collect();
        if !files.others_are_worth_a_try(&failures).await {
            return Ok(Came::Of(found));
        }
    }
}

/// Answers a question, as [`measured`] measures.
pub(super) async fn answered(
    weights: &mut Weights,
    worker: &mut Worker,
    lost: &CancellationToken,
    question: Question,
) -> Result<Came<Answered>, Crash> {
    let Question::Sensitivity(about) = &question else {
        let answering = worker.answer(question).instrument(spans::measure());
        return Ok(Came::Of(answering.await?));
    };
    let mut files = Files::new(weights, &about.subject, lost);
    loop {
        let mut here = about.clone();
        here.subject = match files.resolve().await {
            Came::Of(Ok(local)) => local,
            Came::Of(Err(failure)) => return Ok(Came::Of(Err(failure))),
            Came::TooLate => return Ok(Came::TooLate),
        };
        let answering = worker.answer(Question::Sensitivity(here));
        let answered = answering.instrument(spans::measure()).await?;
        let failures: Vec<_> = answered.as_ref().err().into_iter().collect();
        if !files.others_are_worth_a_try(&failures).await {
            return Ok(Came::Of(answered));
        }
    }
}

/// The files of a subject, for one task.
struct Files<'a> {
    weights: &'a mut Weights,
    subject: &'a Subject,
    lost: &'a CancellationToken,
    rounds: u32,
    /// What was said of those that are passed over.
    others: Option<String>,
}

impl<'a> Files<'a> {
    fn new(weights: &'a mut Weights, subject: &'a Subject, lost: &'a CancellationToken) -> Self {
        Self {
            weights,
            subject,
            lost,
            rounds: 0,
            others: None,
        }
    }

    /// The subject as it is on this device, or why it cannot be there.
    async fn resolve(&mut self) -> Came<Result<Subject, Failure>> {
        let resolved = tokio::select! {
            biased;
            resolved = self.weights.resolve(self.subject) => resolved,
            () = self.lost.cancelled() => {
                tracing::warn!("the files are not fetched any farther: the task is another's now");
                return Came::TooLate;
            }
        };
        Came::Of(resolved.map_err(|error| {
            Failure::Failed(match &self.others {
                Some(others) => format!("{others}; and {error}"),
                None => error.to_string(),
            })
        }))
    }

    /// Whether it is worth trying again with other files; after any failure they are looked for anew.
    async fn others_are_worth_a_try(&mut self, failures: &[&Failure]) -> bool {
        if failures.is_empty() {
            return false;
        }
        let is_about_files = |failure: &&&Failure| matches!(failure, Failure::OtherFiles(_));
        let others = failures.iter().find(is_about_files);
        let Some(others) = others.filter(|_| self.rounds < MOST_ROUNDS) else {
            self.weights.forget();
            return false;
        };
        tracing::warn!("holding the files against what they must be: {others}");
        self.others = Some(others.to_string());
        self.rounds += 1;
        self.weights.pass_over_others().await
    }
}
