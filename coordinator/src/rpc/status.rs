//! The one place where errors become gRPC statuses.
//!
//! `UNAVAILABLE` may be sent again as it is: every call but one is idempotent, by a key or by
//! nature. The one is `Continue`, which gives what it says from where the search then stands; sent
//! again it also gives back what was used in between.

use bitfront_proto::ConvertError;
use tonic::{Code, Status};

use crate::error::ServiceError;
use crate::schedule::ScheduleError;
use crate::store::StoreError;
use crate::tokens::TokenError;

impl From<ServiceError> for Status {
    fn from(error: ServiceError) -> Self {
        let code = match &error {
            ServiceError::Store(error) => code(error),
            ServiceError::Intake(_)
            | ServiceError::Name(_)
            | ServiceError::SeveralModels { .. }
            | ServiceError::Incomparable { .. }
            | ServiceError::NotOneDevice { .. }
            | ServiceError::SeveralProfiles { .. }
            | ServiceError::FleetOfOne { .. }
            | ServiceError::WrongReport { .. } => Code::InvalidArgument,
            ServiceError::UnknownSearch { .. }
            | ServiceError::UnknownCandidate { .. }
            | ServiceError::NotMeasured { .. }
            | ServiceError::UnknownDevice { .. }
            | ServiceError::UnknownLease { .. }
            | ServiceError::UnknownModel { .. }
            | ServiceError::NothingMeasured { .. }
            | ServiceError::NoSensitivity { .. }
            | ServiceError::NothingToHold { .. }
            | ServiceError::OtherHardware { .. }
            | ServiceError::NothingWithin { .. }
            | ServiceError::NothingWithinThere { .. }
            | ServiceError::NotMeasuredThere { .. }
            | ServiceError::NothingEverywhere { .. }
            | ServiceError::NothingExpected { .. } => Code::NotFound,
            ServiceError::OtherDatabase => Code::Aborted,
            ServiceError::NameTaken { .. } => Code::AlreadyExists,
            ServiceError::NotRegistered { .. }
            | ServiceError::NoBelief { .. }
            | ServiceError::OtherProfile { .. }
            | ServiceError::SearchFailed { .. } => Code::FailedPrecondition,
        };
        if matches!(code, Code::Unavailable | Code::Internal | Code::DataLoss) {
            tracing::error!(%error, "a call failed");
        }
        Self::new(code, error.to_string())
    }
}

fn code(error: &StoreError) -> Code {
    match error {
        StoreError::Failed { .. } => Code::Unavailable,
        StoreError::NotDriven { .. } => Code::Unavailable,
        StoreError::Corrupt { .. } => Code::DataLoss,
        StoreError::Refused { .. } | StoreError::KeyReused { .. } => Code::InvalidArgument,
        StoreError::Open { .. }
        | StoreError::InUse { .. }
        | StoreError::NotOurs { .. }
        | StoreError::Newer { .. } => Code::Internal,
    }
}

impl From<StoreError> for Status {
    fn from(error: StoreError) -> Self {
        ServiceError::Store(error).into()
    }
}

impl From<TokenError> for Status {
    fn from(error: TokenError) -> Self {
        let code = match error {
            TokenError::Store(error) => return ServiceError::Store(error).into(),
            TokenError::Name { .. } => Code::InvalidArgument,
            TokenError::Taken { .. } => Code::AlreadyExists,
            TokenError::Unknown { .. } => Code::NotFound,
            TokenError::NoRandomness => Code::Internal,
        };
        Self::new(code, error.to_string())
    }
}

impl From<ScheduleError> for Status {
    fn from(error: ScheduleError) -> Self {
        let code = match error {
            ScheduleError::Service(error) => return error.into(),
            ScheduleError::Slots(_)
            | ScheduleError::Name { .. }
            | ScheduleError::Grace { .. }
            | ScheduleError::Webhook(_) => Code::InvalidArgument,
            ScheduleError::Taken { .. } => Code::AlreadyExists,
            ScheduleError::Unknown { .. } => Code::NotFound,
        };
        Self::new(code, error.to_string())
    }
}

/// A message that cannot be read, as the caller sees it.
pub(super) fn malformed(error: ConvertError) -> Status {
    Status::invalid_argument(error.to_string())
}
