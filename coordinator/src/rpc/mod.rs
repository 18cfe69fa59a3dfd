//! The gRPC services: handlers translate and call. Wire types stop here.

mod admission;
mod agents;
mod audit;
mod blobs;
mod connections;
mod counting;
mod limits;
mod permissions;
mod schedules;
pub(crate) mod searches;
mod status;
mod tls;
mod tokens;

use std::sync::Arc;
use std::time::Duration;

use bitfront_proto::MAX_MESSAGE_BYTES;
use bitfront_proto::v1::agents_server::AgentsServer;
use bitfront_proto::v1::audit_server::AuditServer;
use bitfront_proto::v1::blobs_server::BlobsServer;
use bitfront_proto::v1::schedules_server::SchedulesServer;
use bitfront_proto::v1::searches_server::SearchesServer;
use bitfront_proto::v1::tokens_server::TokensServer;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tower::layer::layer_fn;

use crate::RunError;
use crate::driver::Drivers;
use crate::leasing::Leasing;
use crate::world::World;
use admission::Admission;
use connections::connections;
use counting::Counting;
pub(crate) use tls::{Tls, TlsError};

/// How often a silent connection is asked whether it still stands. A dead one then ends within
/// two of these, and with it the long poll that would be handed a task.
const KEEP_ALIVE: Duration = Duration::from_secs(10);

/// How long calls may take to end after the shutdown. Nothing is lost by cutting one short: what
/// was acknowledged is stored, and what was not is sent again.
const LAST_CALLS: Duration = Duration::from_secs(5);

/// Serves all services until the shutdown.
pub(crate) async fn serve(
    world: Arc<World>,
    leasing: Arc<Leasing>,
    drivers: Arc<Drivers>,
    listener: TcpListener,
    tls: Option<Arc<Tls>>,
    shutdown: CancellationToken,
) -> Result<(), RunError> {
    let (gate, counted) = (world.gate.clone(), world.clone());
    let searches = SearchesServer::new(searches::SearchesService {
        world: world.clone(),
        leasing: leasing.clone(),
        drivers,
        shutdown: shutdown.clone(),
    })
    .max_decoding_message_size(limits::MOST_REQUEST_BYTES)
    .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let database = world.store.identity().await?;
    let agents = AgentsServer::new(agents::AgentsService {
        world: world.clone(),
        leasing: leasing.clone(),
        shutdown: shutdown.clone(),
        database: database.clone(),
    })
    .max_decoding_message_size(limits::MOST_REQUEST_BYTES)
    .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let agents = InterceptedService::new(agents, agents::Fence { database });
    let blobs = BlobsServer::new(blobs::BlobsService::new(world.clone(), shutdown.clone()))
        .max_decoding_message_size(limits::MOST_PART_BYTES);
    let audit = AuditServer::new(audit::AuditService {
        world: world.clone(),
    })
    .max_decoding_message_size(limits::MOST_NAME_BYTES)
    .max_encoding_message_size(MAX_MESSAGE_BYTES);
    let tokens = TokensServer::new(tokens::TokensService {
        world: world.clone(),
    })
    .max_decoding_message_size(limits::MOST_NAME_BYTES);
    let bounds = world.config.bounds;
    let call = world.config.lease_time + bounds.call;
    let schedules = SchedulesServer::new(schedules::SchedulesService { world })
        .max_decoding_message_size(limits::MOST_REQUEST_BYTES)
        .max_encoding_message_size(MAX_MESSAGE_BYTES);
    if let Some(tls) = &tls {
        let (tls, shutdown) = (tls.clone(), shutdown.clone());
        tokio::spawn(async move { tls.tend(shutdown).await });
    }
    let incoming = connections(listener, tls, bounds.stranger, shutdown.clone());
    let holding = limits::Holding::new();
    let server = Server::builder()
        .http2_keepalive_interval(Some(KEEP_ALIVE))
        .http2_keepalive_timeout(Some(KEEP_ALIVE))
        .max_concurrent_streams(limits::MOST_STREAMS)
        .http2_max_header_list_size(limits::MOST_HEADER_BYTES)
        .layer(layer_fn(move |inner| Counting::new(inner, counted.clone())))
        .layer(layer_fn(move |inner| {
            Admission::new(inner, gate.clone(), call, holding.clone())
        }))
        .add_service(searches)
        .add_service(schedules)
        .add_service(agents)
        .add_service(blobs)
        .add_service(tokens)
        .add_service(audit)
        .serve_with_incoming_shutdown(incoming, shutdown.cancelled());
    let patience_is_over = async {
        shutdown.cancelled().await;
        tokio::time::sleep(LAST_CALLS).await;
    };
    tokio::select! {
        ended = server => ended.map_err(|error| RunError::Server(error.to_string())),
        () = patience_is_over => Ok(()),
    }
}
