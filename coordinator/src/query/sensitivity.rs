//! What a search was told of its model's layers before its first candidate.

use bitfront_model::{
    Answer, Prior, Question, QuestionStanding, SearchSensitivity, SensitivityQuestion, StrategyName,
};

use super::find;
use crate::error::ServiceError;
use crate::store::{StoreError, StoredQuestion, StoredSearch};
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
        why: missing(world, &stored).await?,
    })
}

/// Why a search has none.
async fn missing(world: &World, stored: &StoredSearch) -> Result<String, StoreError> {
    let request = &stored.request;
    if request.prior == Prior::Rounding {
        let why = "it guesses losses from rounding errors; submit one with `--prior swaps`";
        return Ok(why.to_owned());
    }
    if request.strategy != StrategyName::Surrogate {
        return Ok(format!(
            "its strategy `{}` makes no use of guesses; submit one with `--strategy surrogate`",
            request.strategy
        ));
    }
    let Some(binding) = &stored.binding else {
        return Ok(format!(
            "it is not bound to a device yet; `bitfront watch {}` says what it waits for",
            stored.id
        ));
    };
    let question = SensitivityQuestion::of(request, &binding.precisions).digest();
    let asked = world.store.questions(&binding.numerics_class.0).await?;
    let mut asked = asked.into_iter();
    Ok(
        match asked.find(|asked| asked.question.digest() == question) {
            Some(StoredQuestion {
                standing: QuestionStanding::Failed { reason },
                ..
            }) => format!(
                "it was bound without one, since measuring it failed too often, at last with: {reason}; \
             repair that on the devices; a search whose model or text lies at another path asks again"
            ),
            _ => "it was bound without one, since no agent of its device's numerics class could \
              measure it; start agents of this version of bitfront and submit it again"
                .to_owned(),
        },
    )
}
