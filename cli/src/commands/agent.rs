//! `bitfront agent`: measures on this machine for a coordinator.

use bitfront_agent::{hardware, spool_folder};
use tokio_util::sync::CancellationToken;

use crate::args::AgentArguments;
use crate::config::Measuring;
use crate::local;
use crate::problem::{ExitStatus, Problem};
use crate::settings::{Coordinator, duration, size};
use crate::signals::interrupted;

use super::session::Session;

/// Serves until it is told to stop.
pub(super) async fn agent(typed: AgentArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let urls = match &session.coordinator {
        Coordinator::Remote(url) => std::slice::from_ref(url),
        Coordinator::OneOf(urls) => urls,
        Coordinator::Embedded => {
            return Err(Problem::usage("an agent needs a coordinator to serve")
                .with_hint("name it with --coordinator http://host:7311; `bitfront serve` runs one")
                .into());
        }
    };
    let measuring = session.config.measuring.clone();
    let measuring = Measuring {
        accelerator: typed.accelerator.accelerator.or(measuring.accelerator),
        cores: typed.cores.or(measuring.cores),
        calm_wait: typed.calm_wait.or(measuring.calm_wait),
        refuse_busy: typed.refuse_busy,
    };
    let mut config = local::agent_config(urls, &measuring)?;
    config.access = session.access.clone();
    let name = typed.name.unwrap_or_else(hardware::host_name);
    config.spool = Some(spool_folder(&session.config.data_dir.join("spool"), &name));
    config.name = Some(name);
    let weights = typed.weights_cache.unwrap_or_else(|| session.weights_dir());
    let most_bytes = size("--weights-cache-size", &typed.weights_cache_size)?;
    config.weights_cache = Some(local::weights_cache(weights, most_bytes)?);
    config.remote = session.config.remote.clone();
    let cache = typed.cache.unwrap_or_else(|| session.cache_dir());
    let accelerator = local::accelerator(&measuring)?;
    let mut program = local::worker(&cache, accelerator, session.printer.is_quiet())?;
    if let Some(limit) = &typed.task_limit {
        program.limit = duration("--task-limit", limit)?;
    }
    if let Some(memory) = &typed.worker_memory {
        program.memory_bytes = Some(size("--worker-memory", memory)?);
    }
    let stop = CancellationToken::new();
    let life = bitfront_agent::supervise(config, program, stop.clone());
    session.printer.say(format_args!(
        "serving the coordinator at {}",
        urls.join(" or ")
    ));
    tokio::pin!(life);
    tokio::select! {
        ended = &mut life => ended?,
        () = interrupted() => {
            session.printer.say("stopping");
            stop.cancel();
            life.await?;
        }
    }
    Ok(ExitStatus::Success)
}
