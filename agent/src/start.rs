//! The whole life of an agent, from start to shutdown.

use bitfront_model::Registration;
use bitfront_runtime::{Runtime, RuntimeError};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::backoff::Backoff;
use crate::client::{CallError, Client, Registered};
use crate::cores::list;
use crate::duty::Duty;
use crate::pinning::Pinning;
use crate::worker::Worker;
use crate::{AgentError, Config, hardware, heartbeat};

/// Runs an agent until `shutdown`.
///
/// `runtime` is called once, on the measuring thread, and the runtime never leaves it. At shutdown
/// a measurement that was made is still sent, for as long as [`Patience::shutdown`] allows, and a
/// task that is being measured is given back at once; since no runtime can be interrupted, the
/// measuring thread then ends by itself when its measurement does.
///
/// # Errors
///
/// The runtime cannot start; the cores that were named cannot be had; no coordinator answers within
/// [`Patience::start`], or it refuses this device; or the measuring thread ends. A coordinator that
/// goes away later is waited for.
///
/// [`Patience::shutdown`]: crate::Patience::shutdown
/// [`Patience::start`]: crate::Patience::start
pub async fn run(
    config: Config,
    runtime: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError> + Send + 'static,
    shutdown: CancellationToken,
) -> Result<(), AgentError> {
    // Asked first: afterwards this thread has no more than what is left beside the measuring ones.
    let cores = hardware::cores();
    let worker = Worker::start(runtime, &config).await?;
    let host = hardware::host_name();
    let registration = Registration {
        device: config.name.clone().unwrap_or_else(|| host.clone()),
        hardware_profile: hardware::profile(&worker.identity, cores, worker.pinning.placement()),
        numerics_class: worker.identity.numerics_class.clone(),
        precisions: worker.precisions.clone(),
        agent_version: env!("CARGO_PKG_VERSION").to_owned(),
        can_probe: true,
        can_score_swaps: true,
    };
    let introduced = tokio::select! {
        introduced = introduce(&config, &registration) => introduced?,
        () = shutdown.cancelled() => return Ok(()),
    };
    let (client, registered) = introduced;
    tracing::info!(
        device = registration.device,
        id = registered.device,
        profile = %registration.hardware_profile.digest().short(),
        "serving {} with {}",
        config.coordinator,
        registration.hardware_profile.summary()
    );
    match &worker.pinning {
        Pinning::Held(held) => tracing::info!("measuring on {}", list(&held.cores)),
        Pinning::Free(reason) => tracing::info!("measuring on any core: {reason}"),
    }
    let (held, seen) = watch::channel(None);
    let beats = tokio::spawn(heartbeat::beat(client.clone(), seen));
    let ended = Duty {
        client,
        registered,
        registration,
        host,
        worker,
        held,
        url: config.coordinator,
        patience: config.patience,
        shutdown,
    }
    .serve()
    .await;
    beats.abort();
    ended
}

/// Connects and registers, again and again for as long as a start may take.
async fn introduce(
    config: &Config,
    registration: &Registration,
) -> Result<(Client, Registered), AgentError> {
    let patience = &config.patience;
    let url = &config.coordinator;
    let deadline = Instant::now() + patience.start;
    let mut backoff = Backoff::new(patience.first_retry, patience.last_retry);
    loop {
        let attempt = async {
            let mut client = Client::connect(url, patience)
                .await
                .map_err(CallError::Away)?;
            let registered = client.register(registration, false).await?;
            Ok((client, registered))
        };
        let reason = match tokio::time::timeout_at(deadline, attempt).await {
            Ok(Ok(introduced)) => return Ok(introduced),
            Ok(Err(CallError::Away(reason))) => reason,
            Ok(Err(CallError::Unknown(reason) | CallError::Refused(reason))) => {
                return Err(AgentError::Refused {
                    url: url.clone(),
                    what: "register this device",
                    reason,
                });
            }
            Err(_) => format!("no answer within {:?}", patience.start),
        };
        let pause = backoff.pause();
        if Instant::now() + pause >= deadline {
            return Err(AgentError::Unreachable {
                url: url.clone(),
                reason,
            });
        }
        tracing::debug!("{url} does not answer yet: {reason}");
        sleep(pause).await;
    }
}
