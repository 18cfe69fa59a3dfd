//! Access tokens, and what their holders did, at a coordinator.

use std::time::Duration;

use bitfront_model::{AccessRole, AccessToken, Deed};
use bitfront_proto::v1;

use super::Client;

impl Client {
    /// Makes an access token and gives its secret, which is told this once. Not sent again where
    /// the answer is lost: nobody would know that secret.
    pub(crate) async fn add_token(
        &mut self,
        name: &str,
        role: AccessRole,
        lasts: Option<Duration>,
    ) -> anyhow::Result<String> {
        let lasts_ms = lasts.map(|lasts| u64::try_from(lasts.as_millis()).unwrap_or(u64::MAX));
        let request = v1::AddTokenRequest {
            name: name.to_owned(),
            role: role.to_string(),
            lasts_ms,
        };
        let answer = self.tokens.add(request).await;
        Ok(self.answer(answer)?.secret)
    }

    /// Every access token, revoked ones too.
    pub(crate) async fn tokens(&mut self) -> anyhow::Result<Vec<AccessToken>> {
        let answer = self.tokens.list(v1::ListTokensRequest {}).await;
        let tokens = self.answer(answer)?.tokens.into_iter();
        Ok(tokens
            .map(AccessToken::try_from)
            .collect::<Result<_, _>>()?)
    }

    /// What persons did within a time, the latest last.
    pub(crate) async fn deeds(&mut self, within: Option<Duration>) -> anyhow::Result<Vec<Deed>> {
        let within_ms = within.map(|within| u64::try_from(within.as_millis()).unwrap_or(u64::MAX));
        let answer = self.audit.list(v1::ListDeedsRequest { within_ms }).await;
        let deeds = self.answer(answer)?.deeds.into_iter();
        Ok(deeds.map(Deed::try_from).collect::<Result<_, _>>()?)
    }

    /// Revokes an access token.
    pub(crate) async fn revoke_token(&mut self, name: &str) -> anyhow::Result<()> {
        let request = v1::RevokeTokenRequest {
            name: name.to_owned(),
        };
        let answer = self.tokens.revoke(request).await;
        self.answer(answer)?;
        Ok(())
    }
}
