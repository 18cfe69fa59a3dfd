//! One file a verb; each returns how the program ends.

#[cfg(feature = "local")]
mod agent;
mod audit;
#[cfg(feature = "local")]
mod backup;
mod best;
mod cancel;
mod check;
#[cfg(feature = "local")]
mod cold_start;
mod compare;
mod r#continue;
#[cfg(feature = "demo")]
mod demo;
mod devices;
mod diff;
mod export;
mod fleet;
mod front;
mod inspect;
mod model;
mod predict;
mod probes;
mod report;
mod run;
mod schedule;
mod searches;
mod sensitivity;
#[cfg(feature = "local")]
mod serve;
mod session;
mod submit;
mod token;
mod watch;
#[cfg(feature = "local")]
mod worker;

use crate::args::{Arguments, Verb};
use crate::config::Config;
use crate::printer::Printer;
use crate::problem::ExitStatus;
use crate::settings::{self, Coordinator};

use session::Session;

/// Runs the verb that was typed.
pub(crate) async fn dispatch(
    arguments: Arguments,
    config: Config,
    printer: Printer,
) -> anyhow::Result<ExitStatus> {
    let coordinator = Coordinator::new(arguments.coordinator, config.coordinator.clone())?;
    let access = settings::access(arguments.access, &config);
    let session = Session::new(coordinator, access, config, printer);
    match arguments.verb {
        #[cfg(feature = "demo")]
        Verb::Demo(arguments) => demo::demo(arguments, session).await,
        Verb::Run(arguments) => run::run(arguments, session).await,
        Verb::Submit(arguments) => submit::submit(arguments, session).await,
        Verb::Watch(arguments) => watch::watch(arguments, session).await,
        Verb::Continue(arguments) => r#continue::r#continue(arguments, session).await,
        Verb::Cancel(arguments) => cancel::cancel(arguments, session).await,
        Verb::Audit(arguments) => audit::audit(arguments, session).await,
        Verb::Schedule(arguments) => schedule::schedule(arguments, session).await,
        Verb::Token(arguments) => token::token(arguments, session).await,
        Verb::Searches(arguments) => searches::searches(arguments, session).await,
        Verb::Devices(arguments) => devices::devices(arguments, session).await,
        Verb::Sensitivity(arguments) => sensitivity::sensitivity(arguments, session).await,
        Verb::Front(arguments) => front::front(arguments, session).await,
        Verb::Compare(arguments) => compare::compare(arguments, session).await,
        Verb::Diff(arguments) => diff::diff(arguments, session).await,
        Verb::Check(arguments) => check::check(arguments, session).await,
        Verb::Best(arguments) => best::best(arguments, session).await,
        Verb::Export(arguments) => export::export(arguments, session).await,
        Verb::Report(arguments) => report::report(arguments, session).await,
        Verb::Inspect(arguments) => inspect::inspect(arguments, session).await,
        Verb::Model(arguments) => model::model(arguments, session).await,
        #[cfg(feature = "local")]
        Verb::Backup(arguments) => backup::backup(arguments, session).await,
        #[cfg(feature = "local")]
        Verb::Restore(arguments) => backup::restore(arguments, session).await,
        #[cfg(feature = "local")]
        Verb::Serve(arguments) => serve::serve(arguments, session).await,
        #[cfg(feature = "local")]
        Verb::Agent(arguments) => agent::agent(arguments, session).await,
        #[cfg(feature = "local")]
        Verb::ColdStart => cold_start::cold_start(&session),
        #[cfg(feature = "local")]
        Verb::Worker(arguments) => worker::worker(arguments),
    }
}
