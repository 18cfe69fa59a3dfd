//! The whole life of an agent, from start to shutdown.

use bitfront_model::Registration;
use bitfront_runtime::{Runtime, RuntimeError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;
use tonic::transport::Uri;
use tracing::Instrument as _;

use crate::backoff::Backoff;
use crate::client::{CallError, Client, Registered};
use crate::cores::list;
use crate::delivery::{self, Delivery};
use crate::duty::{Duty, registration};
use crate::pinning::Pinning;
use crate::spool::Spool;
use crate::weights::Weights;
use crate::worker::{Process, Settings, Thread, Worker, WorkerProgram};
use crate::{AgentError, Config, hardware, heartbeat};

/// Runs an agent until `shutdown`, which measures on a thread of this process.
///
/// `runtime` is called once, on the measuring thread, and the runtime never leaves it. At shutdown
/// a measurement that was made is still sent, for as long as [`Patience::shutdown`] allows, and a
/// task that is being measured is given back at once; since no runtime can be interrupted, the
/// measuring thread then ends by itself when its measurement does.
///
/// # Errors
///
/// The runtime cannot start; the cores that were named cannot be had; another agent uses the spool;
/// no coordinator answers within [`Patience::start`], or it refuses this device; or the measuring
/// thread ends. A coordinator that goes away later is waited for.
///
/// [`Patience::shutdown`]: crate::Patience::shutdown
/// [`Patience::start`]: crate::Patience::start
pub async fn run(
    config: Config,
    runtime: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError> + Send + 'static,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let name = name(&config);
    let life = async {
        let spool = Spool::open(config.spool.clone(), config.patience.start).await?;
        let thread = Thread::start(runtime, Settings::from(&config)).await?;
        serve(config, Worker::Thread(Box::new(thread)), spool, shutdown).await
    };
    life.instrument(tracing::info_span!("agent", agent = name))
        .await
}

/// Runs an agent until `shutdown`, as [`run`] does, which measures in a process of its own: the
/// program [`work`](crate::work)s. It is started again where it ends, and ended with the agent.
///
/// # Errors
///
/// As for [`run`], but that the worker may end as often as it likes, once it could be started.
pub async fn supervise(
    config: Config,
    program: WorkerProgram,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let name = name(&config);
    let life = async {
        let spool = Spool::open(config.spool.clone(), config.patience.start).await?;
        let pause = config.patience.failure_pause;
        let backoff = Backoff::new(pause, pause.saturating_mul(30));
        let process = Process::start(program, Settings::from(&config), backoff).await?;
        serve(config, Worker::Process(Box::new(process)), spool, shutdown).await
    };
    life.instrument(tracing::info_span!("agent", agent = name))
        .await
}

/// The device's name in the fleet, by which the log knows its agent.
fn name(config: &Config) -> String {
    config.name.clone().unwrap_or_else(hardware::host_name)
}

async fn serve(
    config: Config,
    worker: Worker,
    mut spool: Spool,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    let registration = registration(&name(&config), worker.facts());
    let introduced = tokio::select! {
        introduced = introduce(&config, &registration, &mut spool) => introduced?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let (client, registered) = introduced;
    tracing::info!(
        device = registered.device,
        profile = %registration.hardware_profile.digest().short(),
        "serving {} with {}",
        client.url(),
        registration.hardware_profile.summary()
    );
    match &worker.facts().pinning {
        Pinning::Held(held) => tracing::info!("measuring on {}", list(&held.cores)),
        Pinning::Free(reason) => tracing::info!("measuring on any core: {reason}"),
    }
    let weights = Weights::new(
        client.clone(),
        config.remote,
        config.patience,
        config.weights_cache,
    );
    let (held, seen) = watch::channel(None);
    let beats = heartbeat::beat(client.clone(), seen).in_current_span();
    let beats = tokio::spawn(beats);
    let ended = Duty {
        delivery: Delivery {
            client,
            spool,
            patience: config.patience,
            shutdown: shutdown.clone(),
        },
        registered,
        registration,
        worker,
        weights,
        held,
        shutdown,
    }
    .serve()
    .await;
    beats.abort();
    ended
}

/// Connects, hands in what is unsent and registers, again and again for as long as a start may take;
/// of several coordinators with the first one that answers.
async fn introduce(
    config: &Config,
    registration: &Registration,
    spool: &mut Spool,
) -> Result<(Client, Registered), AgentError> {
    let patience = &config.patience;
    let urls = &config.coordinators;
    let deadline = Instant::now() + patience.start;
    let mut backoff = Backoff::new(patience.first_retry, patience.last_retry);
    for (tried, first) in (0..urls.len()).cycle().enumerate() {
        let attempt = async {
            let mut client = Client::connect(urls, first, &config.access, patience).await?;
            delivery::flush(&mut client, spool).await?;
            let registered = client.register(registration, false).await?;
            Ok((client, registered))
        };
        // One that is silent leaves some of the time for the others.
        let turn = deadline.min(Instant::now() + patience.start / (urls.len() as u32));
        let reason = match tokio::time::timeout_at(turn, attempt).await {
            Ok(Ok(introduced)) => return Ok(introduced),
            Ok(Err(CallError::Away(reason) | CallError::OtherDatabase(reason))) => reason,
            // Another one may be trusted.
            Ok(Err(CallError::Untrusted(reason))) if tried + 1 < urls.len() => reason,
            Ok(Err(CallError::Untrusted(reason))) => {
                return Err(AgentError::Untrusted {
                    url: urls[first].clone(),
                    reason,
                });
            }
            Ok(Err(CallError::Unknown(reason) | CallError::Refused(reason))) => {
                return Err(AgentError::Refused {
                    url: urls[first].clone(),
                    what: "register this device",
                    reason,
                });
            }
            Err(_) => format!("no answer within {:?}", patience.start),
        };
        let pause = backoff.pause();
        if Instant::now() + pause >= deadline {
            let urls: Vec<_> = urls.iter().map(Uri::to_string).collect();
            return Err(AgentError::Unreachable {
                urls: urls.join(", "),
                reason,
            });
        }
        tracing::debug!("{} does not answer yet: {reason}", urls[first]);
        sleep(pause).await;
    }
    Err(AgentError::NoCoordinator)
}
