//! What a search was told of its model's layers before its first candidate.

use bitfront_model::{Answer, Prior, Question, QuestionStanding, SearchSensitivity, StrategyName};

use super::find;
use crate::error::ServiceError;
use crate::store::StoredSearch;
use crate::world::World;

/// The sensitivity that a search is bound with.
pub(crate) async fn sensitivity(
    world: &World,
    search: i64,
) -> Result<SearchSensitivity, ServiceError> {
    let stored = find(world, search).await?;
    let bound = stored.binding.as_ref().and_then(|it| it.sensitivity);
    let known = match bound {
        Some(question) => world.store.question(question).await?,
        None => None,
    };
    if let Some(known) = known
        && let (Question::Sensitivity(question), QuestionStanding::Done(answer)) =
            (known.question, known.standing)
        && let Answer::Sensitivity(sensitivity) = *answer
    {
        return Ok(SearchSensitivity {
            search,
            question: *question,
            sensitivity,
        });
    }
    Err(ServiceError::NoSensitivity {
        search,
        why: missing(&stored),
    })
}

/// Why a search has none.
fn missing(stored: &StoredSearch) -> String {
    let request = &stored.request;
    if request.prior == Prior::Rounding {
        return "it guesses losses from rounding errors; submit one with `--prior swaps`"
            .to_owned();
    }
    if request.strategy != StrategyName::Surrogate {
        return format!(
            "its strategy `{}` makes no use of guesses; submit one with `--strategy surrogate`",
            request.strategy
        );
    }
    match stored.binding {
        None => format!(
            "it is not bound to a device yet; `bitfront watch {}` says what it waits for",
            stored.id
        ),
        Some(_) => "it was bound without one, since no agent of its device's numerics class could \
                    measure it; start agents of this version of bitfront and submit it again"
            .to_owned(),
    }
}
