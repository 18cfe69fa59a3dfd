//! What is typed about searches that start by themselves.

use std::convert::Infallible;

use bitfront_model::Webhook;
use clap::{Args, Subcommand};

use super::{ListingArguments, SearchArguments};
use crate::problem::EXIT_CODES;

#[derive(Debug, Args)]
pub(crate) struct ScheduleArguments {
    #[command(subcommand)]
    pub(crate) verb: ScheduleVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleVerb {
    /// Start a search at every time of a cron line, and print the next three
    #[command(after_help = EXIT_CODES)]
    Add(Box<AddScheduleArguments>),
    /// List the schedules that are not removed
    #[command(after_help = EXIT_CODES)]
    List(ListingArguments),
    /// List what became of the times of a schedule, the latest first
    #[command(after_help = EXIT_CODES)]
    Nights(NightsArguments),
    /// Let the times of a schedule pass; a search that runs goes on
    #[command(after_help = EXIT_CODES)]
    Pause(OneScheduleArguments),
    /// Start searches again, from now on
    #[command(after_help = EXIT_CODES)]
    Resume(OneScheduleArguments),
    /// End a schedule; its nights and their searches stay
    #[command(after_help = EXIT_CODES)]
    Remove(OneScheduleArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AddScheduleArguments {
    /// Its name among those that are not removed: letters, digits, `-`, `_` and `.`
    #[arg(long, value_name = "NAME")]
    pub(crate) name: String,

    /// When: minute, hour, day of the month, month and day of the week, as in '0 2 * * *' for every
    /// night at two; @daily and the like too
    #[arg(long, value_name = "LINE")]
    pub(crate) cron: String,

    /// The zone in which the line is read, such as Europe/Berlin
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub(crate) time_zone: String,

    /// How late a search may be started after its time, where no coordinator served then; later the
    /// time counts as missed
    #[arg(long, value_name = "DURATION", default_value = "1h")]
    pub(crate) grace: String,

    /// Post to this http or https URL how every night ended. It is shown to nobody
    #[arg(long, value_name = "URL", value_parser = webhook)]
    pub(crate) webhook: Option<Webhook>,

    #[command(flatten)]
    pub(crate) search: SearchArguments,
}

#[derive(Debug, Args)]
pub(crate) struct NightsArguments {
    /// The name of the schedule
    pub(crate) name: String,

    /// How many at the most
    #[arg(long, value_name = "N", default_value_t = 30)]
    pub(crate) most: u32,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

#[derive(Debug, Args)]
pub(crate) struct OneScheduleArguments {
    /// The name of the schedule
    pub(crate) name: String,
}

fn webhook(typed: &str) -> Result<Webhook, Infallible> {
    Ok(Webhook(typed.to_owned()))
}
