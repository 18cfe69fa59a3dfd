//! What is typed of who is let in, and what they did.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::ListingArguments;
#[cfg(feature = "local")]
use crate::config::TypedDatabase;
use crate::problem::EXIT_CODES;

/// How a coordinator is come to.
#[derive(Debug, Args)]
pub(crate) struct AccessArguments {
    /// Certificates (PEM) of the authority that vouches for a coordinator at https://host:7311
    /// [default: BITFRONT_CA, or those that this system trusts]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,

    /// Certificate (PEM) of this client, for a coordinator that asks for one
    #[arg(long, global = true, value_name = "FILE", requires = "client_key")]
    pub(crate) client_cert: Option<PathBuf>,

    /// The private key (PEM) of that certificate
    #[arg(long, global = true, value_name = "FILE", requires = "client_cert")]
    pub(crate) client_key: Option<PathBuf>,

    /// File with an access token, for a coordinator that asks for one; nobody but its owner may read
    /// it [default: the token in BITFRONT_TOKEN]
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct TokenArguments {
    #[command(subcommand)]
    pub(crate) verb: TokenVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum TokenVerb {
    /// Make an access token and print its secret, which is told this once
    #[command(after_help = EXIT_CODES)]
    Add(AddTokenArguments),
    /// List the access tokens, revoked ones too
    #[command(after_help = EXIT_CODES)]
    List(ListTokensArguments),
    /// Revoke an access token: whoever shows it is refused within seconds
    #[command(after_help = EXIT_CODES)]
    Revoke(RevokeTokenArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AddTokenArguments {
    /// Its name among those that are not revoked: letters, digits, `-`, `_` and `.`
    pub(crate) name: String,

    /// What its holder may do: `agent` serves as a device, `read` asks, `submit` searches too, `admin`
    /// makes and revokes access tokens too
    #[arg(long, value_name = "ROLE")]
    pub(crate) role: String,

    /// How long it counts, such as 90d [default: until it is revoked]
    #[arg(long, value_name = "DURATION")]
    pub(crate) expires: Option<String>,

    #[command(flatten)]
    pub(crate) place: TokenPlaceArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ListTokensArguments {
    #[command(flatten)]
    pub(crate) place: TokenPlaceArguments,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

#[derive(Debug, Args)]
pub(crate) struct RevokeTokenArguments {
    /// Its name
    pub(crate) name: String,

    #[command(flatten)]
    pub(crate) place: TokenPlaceArguments,
}

#[derive(Debug, Args)]
pub(crate) struct AuditArguments {
    /// Only what was done in this last time, such as 7d [default: the latest 10,000 deeds]
    #[arg(long, value_name = "DURATION")]
    pub(crate) since: Option<String>,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

/// Where access tokens are.
#[derive(Debug, Args)]
pub(crate) struct TokenPlaceArguments {
    /// Straight in this database instead of through a coordinator, as the first token must be: an
    /// SQLite file that none serves, or the URL of a Postgres database [default without a
    /// coordinator: BITFRONT_DATABASE, or bitfront.sqlite in the user's data directory]
    #[cfg(feature = "local")]
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) database: Option<TypedDatabase>,
}
