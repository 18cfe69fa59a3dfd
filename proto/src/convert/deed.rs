//! What persons did.

use bitfront_model::Deed;

use super::{ConvertError, word};
use crate::v1;

impl TryFrom<v1::Deed> for Deed {
    type Error = ConvertError;

    fn try_from(wire: v1::Deed) -> Result<Self, Self::Error> {
        Ok(Self {
            at_ms: wire.at_ms,
            outcome: word("outcome", &wire.outcome)?,
            by: wire.by,
            action: wire.action,
            subject: wire.subject,
        })
    }
}

impl From<&Deed> for v1::Deed {
    fn from(deed: &Deed) -> Self {
        Self {
            at_ms: deed.at_ms,
            by: deed.by.clone(),
            action: deed.action.clone(),
            subject: deed.subject.clone(),
            outcome: deed.outcome.to_string(),
        }
    }
}
