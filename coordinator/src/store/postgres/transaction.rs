//! One method of the store as one transaction, and how often it is tried.

use std::time::Duration;

use sqlx::{Postgres, Transaction};

use super::super::StoreError;
use super::super::failure::{Failure, said};

/// Most times that one piece of work is tried. Work that collides does so for milliseconds; what
/// collides this often is told to the caller.
const MOST_TRIES: u32 = 8;

/// The pause before the second try; each one after that is preceded by one more of it. Different
/// writers take different times for a try, so they need no dice to get out of each other's way.
const PAUSE: Duration = Duration::from_millis(2);

/// A piece of work that is tried until nobody else's gets in its way.
pub(super) struct Tries {
    doing: &'static str,
    done: u32,
}

impl Tries {
    pub(super) fn of(doing: &'static str) -> Self {
        Self { doing, done: 0 }
    }

    /// Commits what was done, or takes it back. None where it is to be tried again.
    pub(super) async fn conclude<T>(
        &mut self,
        transaction: Transaction<'_, Postgres>,
        work: Result<T, Failure>,
    ) -> Result<Option<T>, StoreError> {
        self.done += 1;
        let failure = match work {
            Ok(value) => match transaction.commit().await {
                Ok(()) => return Ok(Some(value)),
                Err(error) if !is_rolled_back(&error) => {
                    return Err(StoreError::Failed {
                        doing: self.doing,
                        reason: said(&error),
                        may_have_happened: true,
                    });
                }
                Err(error) => Failure::Database(error),
            },
            Err(failure) => {
                // A connection on which this fails is closed, and the server takes the work back.
                if let Err(error) = transaction.rollback().await {
                    tracing::debug!(%error, doing = self.doing, "rolling back");
                }
                failure
            }
        };
        if self.done < MOST_TRIES && is_collision(&failure) {
            tracing::debug!(
                ?failure,
                doing = self.doing,
                tries = self.done,
                "trying again"
            );
            tokio::time::sleep(PAUSE * self.done).await;
            return Ok(None);
        }
        Err(failure.while_asked_to(self.doing))
    }
}

fn code(error: &sqlx::Error) -> Option<String> {
    let error = error.as_database_error()?;
    error.code().map(|code| code.into_owned())
}

/// Whether an error of a commit says for certain that nothing was written: the server found that
/// the transaction collides or breaks a constraint. Of all others, a lost connection among them,
/// the transaction may have been committed before it was said.
fn is_rolled_back(error: &sqlx::Error) -> bool {
    /// The server does not know itself how the statement ended.
    const UNKNOWN: &str = "40003";
    code(error)
        .is_some_and(|code| code != UNKNOWN && (code.starts_with("40") || code.starts_with("23")))
}

/// Whether work failed only because of what somebody else did at the same time.
fn is_collision(failure: &Failure) -> bool {
    const SERIALIZATION_FAILURE: &str = "40001";
    const DEADLOCK: &str = "40P01";
    match failure {
        Failure::Overtaken => true,
        Failure::Store(_) => false,
        Failure::Database(error) => {
            code(error).is_some_and(|code| code == SERIALIZATION_FAILURE || code == DEADLOCK)
        }
    }
}
