//! What is typed of coordinators, agents and all else that runs here.

use std::path::PathBuf;

use clap::Args;

use crate::config::TypedDatabase;
use crate::problem::EXIT_CODES;

#[cfg(feature = "demo")]
#[derive(Debug, Args)]
#[command(after_help = EXIT_CODES)]
pub(crate) struct DemoArguments {
    /// How long to search, at most; what was found is then confirmed, which comes on top
    #[arg(long, value_name = "DURATION", default_value = "90s")]
    pub(crate) budget: String,

    /// Where everything is kept; running again with the same place continues
    #[arg(long, value_name = "FOLDER", default_value = "bitfront-demo")]
    pub(crate) directory: PathBuf,

    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArguments,
}

/// What is measured on in place of the processor.
#[derive(Debug, Args)]
pub(crate) struct AcceleratorArguments {
    /// Measure on this accelerator in place of the processor: cuda, or cuda:1 for a second device;
    /// for programs that were built with it [default: BITFRONT_ACCELERATOR, or none]
    #[arg(long, value_name = "NAME")]
    pub(crate) accelerator: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeArguments {
    /// Address to listen on
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:7311")]
    pub(crate) listen: String,

    /// Serve /healthz, /readyz and, for Prometheus, /metrics by HTTP at this address, such as
    /// 127.0.0.1:7312; not at all when not given
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) web_listen: Option<String>,

    /// Serve over TLS with this certificate (PEM), followed by those that lead to its authority;
    /// read again when it changes
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub(crate) tls_cert: Option<PathBuf>,

    /// The private key (PEM) of that certificate
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) tls_key: Option<PathBuf>,

    /// Refuse clients without a certificate of one of these authorities (PEM)
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub(crate) client_ca: Option<PathBuf>,

    /// Refuse clients whose certificate is revoked by these lists (PEM): one of each of these
    /// authorities, and of each between them and clients
    #[arg(long, value_name = "FILE", requires = "client_ca")]
    pub(crate) client_crl: Option<PathBuf>,

    /// Refuse callers without an access token (`bitfront token add`) on an address of this machine
    /// too; on any other one they are refused unless --insecure-open lets them in
    #[arg(long)]
    pub(crate) require_tokens: bool,

    /// Listen on an address that other machines reach although something of TLS and access tokens is
    /// missing: whoever reaches it may do everything, or read everything on its way
    #[arg(long)]
    pub(crate) insecure_open: bool,

    /// How many calls a second may be made with one access token; twice as many in a burst
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) calls_per_token: u32,

    /// The database: an SQLite file, or the URL of a Postgres database such as
    /// postgres://user@host/name [default: BITFRONT_DATABASE, or bitfront.sqlite in the user's data
    /// directory]
    #[arg(long, value_name = "FILE|URL")]
    pub(crate) database: Option<TypedDatabase>,

    /// Where files are kept that devices fetch by content (`bitfront model add`) [default: blobs
    /// beside an SQLite database, else blobs in the user's data directory]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) blobs: Option<PathBuf>,

    /// How long an agent may be silent before what it holds is given to another one
    #[arg(long, value_name = "DURATION", default_value = "30s")]
    pub(crate) lease_time: String,

    /// How long another coordinator over the same Postgres database may be silent before its work is
    /// taken over
    #[arg(long, value_name = "DURATION", default_value = "10s")]
    pub(crate) take_over_after: String,
}

#[derive(Debug, Args)]
pub(crate) struct CopyArguments {
    /// The backup
    pub(crate) file: PathBuf,

    /// The SQLite database [default: BITFRONT_DATABASE, or bitfront.sqlite in the user's data
    /// directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) database: Option<TypedDatabase>,
}

#[derive(Debug, Args)]
pub(crate) struct AgentArguments {
    /// The device's name in the fleet [default: the host's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) name: Option<String>,

    /// Where quantized tensors and reference log-probabilities are kept [default: cache in the
    /// user's data directory]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cache: Option<PathBuf>,

    /// Where files are kept that were fetched from the coordinator or by URL; agents of one machine
    /// may share it [default: weights in the user's data directory]
    #[arg(long, value_name = "FOLDER")]
    pub(crate) weights_cache: Option<PathBuf>,

    /// How large these may be together; what was used longest ago then makes room
    #[arg(long, value_name = "SIZE", default_value = "20GB")]
    pub(crate) weights_cache_size: String,

    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArguments,

    /// Cores to measure on, such as 2,3 or 0-3; `any` lets the operating system choose [default:
    /// BITFRONT_CORES, or as many as the engine has threads, physical and fast ones first]
    #[arg(long, value_name = "CORES")]
    pub(crate) cores: Option<String>,

    /// How long a timing waits while others use those cores, before it is taken and marked, such as
    /// 30s [default: BITFRONT_CALM_WAIT, or 5s]
    #[arg(long, value_name = "TIME")]
    pub(crate) calm_wait: Option<String>,

    /// Give a timing back then instead, to be taken later or by another device
    #[arg(long)]
    pub(crate) refuse_busy: bool,

    /// How long a step of a task may take, such as 2h: the process that measures is then ended, and
    /// the task goes back with the reason [default: 1h]
    #[arg(long, value_name = "DURATION")]
    pub(crate) task_limit: Option<String>,

    /// How much memory the process that measures may have, such as 6GiB; beyond it it is ended, and
    /// the task goes back with the reason [default: what there is]
    #[arg(long, value_name = "SIZE")]
    pub(crate) worker_memory: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct WorkerArguments {
    /// As for `agent`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cache: PathBuf,

    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArguments,
}
