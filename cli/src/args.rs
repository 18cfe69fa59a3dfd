//! What was typed. Nothing here is understood yet; [`crate::settings`] does that.

mod access;
mod asking;
#[cfg(feature = "local")]
mod local;
mod schedule;
mod search;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::ENVIRONMENT;
use crate::problem::{ALL_EXIT_CODES, EXIT_CODES};
pub(crate) use access::*;
pub(crate) use asking::*;
#[cfg(feature = "local")]
pub(crate) use local::*;
pub(crate) use schedule::{AddScheduleArguments, NightsArguments, ScheduleArguments, ScheduleVerb};
pub(crate) use search::*;

/// The heading of what every verb understands.
const EVERYWHERE: &str = "Options of every verb";

/// Finds the per-layer precisions that give the most speed for the least loss, measured on the
/// device in the runtime that will be deployed.
///
/// Every verb talks to the coordinator that --coordinator names. Without one it talks to a
/// coordinator inside this very process, whose database lies in the user's data directory.
#[derive(Debug, Parser)]
#[command(name = "bitfront", version, after_help = after_help(), max_term_width = 100)]
pub(crate) struct Arguments {
    /// URL of the coordinator, such as http://host:7311; the embedded one when not given. An agent
    /// takes several over one database, and talks to one that answers
    #[arg(long, global = true, value_name = "URL", help_heading = EVERYWHERE)]
    pub(crate) coordinator: Vec<String>,

    #[command(flatten, next_help_heading = EVERYWHERE)]
    pub(crate) access: AccessArguments,

    /// Only data on stdout and errors on stderr, no talk
    #[arg(long, short, global = true, help_heading = EVERYWHERE)]
    pub(crate) quiet: bool,

    #[command(subcommand)]
    pub(crate) verb: Verb,
}

fn after_help() -> String {
    format!("{ALL_EXIT_CODES}\n\n{ENVIRONMENT}")
}

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Search the embedded demo model for a bounded time and show what came out
    #[cfg(feature = "demo")]
    Demo(DemoArguments),
    /// Search a model of yours on this machine and show the front
    #[command(after_help = EXIT_CODES)]
    Run(RunArguments),
    /// Start a search and return its number
    #[command(after_help = EXIT_CODES)]
    Submit(SearchArguments),
    /// Follow a search until it ends
    #[command(after_help = EXIT_CODES)]
    Watch(OneSearchArguments),
    /// Go on with a search that was interrupted, or give an ended one more budget
    #[command(after_help = EXIT_CODES)]
    Continue(ContinueArguments),
    /// Stop a search; what it measured stays
    #[command(after_help = EXIT_CODES)]
    Cancel(OneSearchArguments),
    /// List the searches
    #[command(after_help = EXIT_CODES)]
    Searches(ListingArguments),
    /// List the devices that have served, or show how fast one multiplies
    #[command(after_help = EXIT_CODES)]
    Devices(DevicesArguments),
    /// Show what each layer loses alone, which a search is told before its first candidate
    #[command(after_help = EXIT_CODES)]
    Sensitivity(SensitivityArguments),
    /// Show what a search measured: the front, and the baselines beside it
    #[command(after_help = EXIT_CODES)]
    Front(FrontArguments),
    /// Compare two measured plans: what differs beyond the noise, and by how much
    #[command(after_help = EXIT_CODES)]
    Compare(CompareArguments),
    /// Show what moved between two searches on one device, such as those of two nights
    #[command(after_help = EXIT_CODES)]
    Diff(DiffArguments),
    /// End with 5 where something got worse since the search that this one was started from
    #[command(after_help = ALL_EXIT_CODES)]
    Check(CheckArguments),
    /// The plan to ship: the best one of a model within limits, over all searches
    #[command(after_help = EXIT_CODES)]
    Best(BestArguments),
    /// Write a plan as a GGUF file, as a file for llama-quantize, or as a plan file
    #[command(after_help = EXIT_CODES)]
    Export(ExportArguments),
    /// Write a search as a web page that needs nothing else
    #[command(after_help = EXIT_CODES)]
    Report(ReportArguments),
    /// Show a model: layers, shapes, which precisions fit, sizes of presets and uniform plans
    #[command(after_help = EXIT_CODES)]
    Inspect(InspectArguments),
    /// Hand models in to a coordinator, for devices that do not have them
    #[command(after_help = EXIT_CODES)]
    Model(ModelArguments),
    /// Make, list and revoke the access tokens that a coordinator asks for
    #[command(after_help = EXIT_CODES)]
    Token(TokenArguments),
    /// Start searches by themselves: add, list, pause, resume and remove schedules
    #[command(after_help = EXIT_CODES)]
    Schedule(ScheduleArguments),
    /// List what persons did: submitted, cancelled, continued, made and revoked
    #[command(after_help = EXIT_CODES)]
    Audit(AuditArguments),
    /// Run a coordinator
    #[cfg(feature = "local")]
    #[command(after_help = EXIT_CODES)]
    Serve(ServeArguments),
    /// Copy an SQLite database into a file, while it may be served
    #[cfg(feature = "local")]
    #[command(after_help = EXIT_CODES)]
    Backup(CopyArguments),
    /// Copy a backup to where a database is to be
    #[cfg(feature = "local")]
    #[command(after_help = EXIT_CODES)]
    Restore(CopyArguments),
    /// Run an agent: measure on this machine for a coordinator
    #[cfg(feature = "local")]
    #[command(after_help = EXIT_CODES)]
    Agent(AgentArguments),
    /// Answer what an agent asks about the cold start of a plan; agents start this themselves
    #[cfg(feature = "local")]
    #[command(hide = true, after_help = EXIT_CODES)]
    ColdStart,
    /// Measure what an agent asks for; agents start this themselves
    #[cfg(feature = "local")]
    #[command(hide = true, after_help = EXIT_CODES)]
    Worker(WorkerArguments),
}

/// How a listing is written.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct ListingArguments {
    /// How to write it
    #[arg(long, value_name = "FORMAT", default_value = "table")]
    pub(crate) format: Format,
}

/// A form that every listing has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Table,
    /// One array of objects
    Json,
    /// With a header line
    Csv,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        super::Arguments::command().debug_assert();
    }
}
