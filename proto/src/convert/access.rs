//! Access tokens.

use bitfront_model::AccessToken;

use super::{ConvertError, word};
use crate::v1;

impl TryFrom<v1::AccessToken> for AccessToken {
    type Error = ConvertError;

    fn try_from(wire: v1::AccessToken) -> Result<Self, Self::Error> {
        Ok(Self {
            role: word("role", &wire.role)?,
            name: wire.name,
            created_ms: wire.created_at_ms,
            expires_ms: wire.expires_at_ms,
            revoked_ms: wire.revoked_at_ms,
        })
    }
}

impl From<&AccessToken> for v1::AccessToken {
    fn from(token: &AccessToken) -> Self {
        Self {
            name: token.name.clone(),
            role: token.role.to_string(),
            created_at_ms: token.created_ms,
            expires_at_ms: token.expires_ms,
            revoked_at_ms: token.revoked_ms,
        }
    }
}
