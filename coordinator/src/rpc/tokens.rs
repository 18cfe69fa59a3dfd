//! The service that makes and revokes access tokens.

use std::sync::Arc;
use std::time::Duration;

use bitfront_model::AccessRole;
use bitfront_proto::v1::tokens_server::Tokens;
use bitfront_proto::{ConvertError, v1};
use tonic::{Request, Response, Status};

use super::admission::audit;
use super::status::malformed;
use crate::audit::Changed;
use crate::tokens::{self, TokenError};
use crate::world::World;

pub(super) struct TokensService {
    pub(super) world: Arc<World>,
}

#[tonic::async_trait]
impl Tokens for TokensService {
    async fn add(
        &self,
        request: Request<v1::AddTokenRequest>,
    ) -> Result<Response<v1::AddTokenResponse>, Status> {
        let audit = audit(&request, &self.world);
        let request = request.into_inner();
        let role = request.role.parse::<AccessRole>();
        let role = role.map_err(|error| malformed(ConvertError::invalid("role", error)))?;
        let lasts = request.lasts_ms.map(Duration::from_millis);
        let (store, clock) = (&*self.world.store, &*self.world.clock);
        let name = &request.name;
        let adding = tokens::add(store, clock, name, role, lasts);
        let added = audit.noting("add token", name, adding, |_| Changed::It);
        let secret = added.await?;
        self.world.gate.recheck().await;
        Ok(Response::new(v1::AddTokenResponse { secret }))
    }

    async fn list(
        &self,
        _request: Request<v1::ListTokensRequest>,
    ) -> Result<Response<v1::ListTokensResponse>, Status> {
        let tokens = tokens::list(&*self.world.store).await;
        let tokens = tokens.map_err(TokenError::from)?;
        Ok(Response::new(v1::ListTokensResponse {
            tokens: tokens.iter().map(Into::into).collect(),
        }))
    }

    async fn revoke(
        &self,
        request: Request<v1::RevokeTokenRequest>,
    ) -> Result<Response<v1::RevokeTokenResponse>, Status> {
        let audit = audit(&request, &self.world);
        let name = request.into_inner().name;
        let revoking = tokens::revoke(&*self.world.store, &*self.world.clock, &name);
        let revoked = audit.noting("revoke token", &name, revoking, |()| Changed::It);
        revoked.await?;
        self.world.gate.recheck().await;
        Ok(Response::new(v1::RevokeTokenResponse {}))
    }
}
