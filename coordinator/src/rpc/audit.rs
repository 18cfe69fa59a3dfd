//! The service that tells what persons did.

use std::sync::Arc;
use std::time::Duration;

use bitfront_proto::v1;
use bitfront_proto::v1::audit_server::Audit;
use tonic::{Request, Response, Status};

use crate::audit;
use crate::world::World;

pub(super) struct AuditService {
    pub(super) world: Arc<World>,
}

#[tonic::async_trait]
impl Audit for AuditService {
    async fn list(
        &self,
        request: Request<v1::ListDeedsRequest>,
    ) -> Result<Response<v1::ListDeedsResponse>, Status> {
        let within = request.into_inner().within_ms.map(Duration::from_millis);
        let deeds = audit::list(&*self.world.store, &*self.world.clock, within).await;
        let deeds = deeds?;
        Ok(Response::new(v1::ListDeedsResponse {
            deeds: deeds.iter().map(Into::into).collect(),
        }))
    }
}
