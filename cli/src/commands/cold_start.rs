//! `bitfront cold-start`: the process that an agent starts to load one plan and nothing else.

use std::io::{self, IsTerminal as _};

use anyhow::Context as _;
use bitfront_runtime::cold;

use crate::problem::{ExitStatus, Problem};

use super::session::Session;

/// Answers the question on the standard input.
pub(super) fn cold_start(session: &Session) -> anyhow::Result<ExitStatus> {
    let stdin = io::stdin();
    if stdin.is_terminal() {
        return Err(
            Problem::usage("cold-start is started by agents, which tell it what to load")
                .with_hint("`bitfront front --format json` shows what came of it")
                .into(),
        );
    }
    let question = io::read_to_string(stdin).context("cannot read the standard input")?;
    session.printer.data(cold::answer(&question))?;
    Ok(ExitStatus::Success)
}
