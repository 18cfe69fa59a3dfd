//! The `bitfront` command: finds the per-layer precisions of a language model on this machine or
//! on a fleet.
//!
//! In flow order: what was typed ([`args`]) and the environment ([`config`]) become what is meant
//! ([`settings`]); a verb ([`commands`]) talks to a coordinator ([`client`]), somebody else's or
//! one of its own ([`local`]), and hands its result to the one [`printer`].

mod args;
mod beliefs;
mod client;
mod commands;
mod config;
mod confirmation;
mod deviations;
mod disturbances;
mod drift;
mod durable;
mod ending;
mod explain;
mod figures;
mod fleet;
#[cfg(test)]
mod fuzz;
mod listing;
#[cfg(feature = "local")]
mod local;
mod locate;
mod plot;
mod printer;
mod problem;
mod progress;
mod quantized;
mod report;
mod request;
mod selector;
mod settings;
mod siblings;
mod signals;
mod telemetry;
#[cfg(test)]
mod testing;
mod view;

use std::process::ExitCode;

use clap::Parser as _;

use crate::args::Arguments;
use crate::config::Config;
use crate::printer::Printer;
use crate::telemetry::Exporting;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let printer = Printer::new(arguments.quiet);
    let outcome = Config::from_environment().and_then(|config| {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()?;
        let service = telemetry::service(&arguments.verb);
        let exporting = {
            let _within = runtime.enter();
            Exporting::start(&config.telemetry, service)?
        };
        printer.start_log(
            config.log.as_deref(),
            config.log_format,
            exporting.listener(),
        )?;
        exporting.begin();
        let outcome = runtime.block_on(commands::dispatch(arguments, config, printer.clone()));
        exporting.end();
        // A computation that nobody waits for any more must not hold up the end.
        runtime.shutdown_background();
        outcome
    });
    let status = outcome.unwrap_or_else(|error| {
        printer.error(&error);
        problem::status_of(&error)
    });
    ExitCode::from(status)
}
