//! `bitfront backup` and `bitfront restore`: copies of an SQLite database.

use bitfront_coordinator::Database;

use crate::args::CopyArguments;
use crate::config::TypedDatabase;
use crate::local::Place;
use crate::problem::ExitStatus;

use super::session::Session;

/// Copies the database into a file, while it may be served.
pub(super) async fn backup(typed: CopyArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let database = named(typed.database, &session);
    bitfront_coordinator::backup(&database, &typed.file).await?;
    let file = typed.file.display();
    session.printer.say(format_args!("wrote {file}"));
    Ok(ExitStatus::Success)
}

/// Copies such a file to where the database is to be.
pub(super) async fn restore(typed: CopyArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let database = named(typed.database, &session);
    bitfront_coordinator::restore(&typed.file, &database).await?;
    if let Database::File(path) = &database {
        let path = path.display();
        session.printer.say(format_args!("wrote {path}"));
    }
    Ok(ExitStatus::Success)
}

fn named(typed: Option<TypedDatabase>, session: &Session) -> Database {
    match typed {
        Some(typed) => Database::named(&typed.0),
        None => Place::new(&session.config).database,
    }
}
