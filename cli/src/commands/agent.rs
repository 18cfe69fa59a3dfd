//! `bitfront agent`: measures on this machine for a coordinator.

use tokio_util::sync::CancellationToken;

use crate::args::AgentArguments;
use crate::config::Measuring;
use crate::local;
use crate::problem::{ExitStatus, Problem};
use crate::settings::Coordinator;
use crate::signals::interrupted;

use super::session::Session;

/// Serves until it is told to stop.
pub(super) async fn agent(typed: AgentArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let Coordinator::Remote(url) = &session.coordinator else {
        return Err(Problem::usage("an agent needs a coordinator to serve")
            .with_hint("name it with --coordinator http://host:7311; `bitfront serve` runs one")
            .into());
    };
    let measuring = session.config.measuring.clone();
    let measuring = Measuring {
        accelerator: typed.accelerator.accelerator.or(measuring.accelerator),
        cores: typed.cores.or(measuring.cores),
        calm_wait: typed.calm_wait.or(measuring.calm_wait),
        refuse_busy: typed.refuse_busy,
    };
    let mut config = local::agent_config(url, &measuring)?;
    config.name = typed.name;
    let cache = typed.cache.unwrap_or_else(|| session.cache_dir());
    let stop = CancellationToken::new();
    let accelerator = local::accelerator(&measuring)?;
    let life = local::agent(config, cache, accelerator, stop.clone());
    session
        .printer
        .say(format_args!("serving the coordinator at {url}"));
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
