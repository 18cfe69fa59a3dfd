//! `bitfront worker`: the process that an agent starts to measure in.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;

use crate::args::WorkerArguments;
use crate::config::Measuring;
use crate::local;
use crate::problem::{ExitStatus, Problem};

/// Measures what it is asked on the standard input until that ends.
pub(super) fn worker(typed: WorkerArguments) -> anyhow::Result<ExitStatus> {
    if io::stdin().is_terminal() {
        return Err(
            Problem::usage("worker is started by agents, which tell it what to measure")
                .with_hint("`bitfront agent` runs one")
                .into(),
        );
    }
    let accelerator = typed.accelerator.accelerator;
    let accelerator = local::accelerator(&Measuring {
        accelerator,
        ..Measuring::default()
    })?;
    let runtime = move || local::runtime(typed.cache, accelerator);
    bitfront_agent::work(runtime, io::stdin().lock(), io::stdout())
        .context("cannot measure for an agent")?;
    Ok(ExitStatus::Success)
}
