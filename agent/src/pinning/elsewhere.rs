//! Platforms on which no thread can be held to a core.

use bitfront_runtime::RuntimeIdentity;

use super::Held;
use crate::cores::{CoreChoice, CoresError};

pub(super) fn hold(_: &CoreChoice, _: &RuntimeIdentity) -> Result<Held, CoresError> {
    Err(CoresError::Unsupported {
        reason: format!("{} offers no way to hold a thread", std::env::consts::OS),
    })
}

pub(super) fn placement(_: &CoreChoice, _: &RuntimeIdentity) -> Option<String> {
    None
}

pub(super) fn keep_off(_: &Held) {}

pub(super) fn release(_: &Held) {}
