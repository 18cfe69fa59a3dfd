//! What was typed. Nothing here is understood yet; [`crate::settings`] does that.

mod schedule;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::config::ENVIRONMENT;
#[cfg(feature = "local")]
use crate::config::TypedDatabase;
use crate::problem::{ALL_EXIT_CODES, EXIT_CODES};
pub(crate) use schedule::{AddScheduleArguments, NightsArguments, ScheduleArguments, ScheduleVerb};

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

/// What to search, and how.
#[derive(Debug, Args)]
pub(crate) struct SearchArguments {
    /// A Hugging Face folder (config.json, *.safetensors, tokenizer.json), a GGUF file, a model of the
    /// Hugging Face Hub such as hf://organisation/name@revision, or the URL of such a folder or file,
    /// as in s3://bucket/folder (also gs, az, abfss, http, https)
    pub(crate) model: PathBuf,

    /// Text that quality is measured on: UTF-8, or JSON lines with a `text` field (.jsonl). This and
    /// other files may be given by URL too
    #[arg(long, value_name = "TEXT")]
    pub(crate) data: PathBuf,

    /// Text for activation statistics; the first part of --data is set aside when not given
    #[arg(long, value_name = "TEXT")]
    pub(crate) calibration: Option<PathBuf>,

    /// A tokenizer.json in place of the model's own
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<PathBuf>,

    /// How long to search, such as 10m; 10m when neither this nor --evaluations is given. What was
    /// found is then confirmed, which comes on top
    #[arg(long, value_name = "DURATION")]
    pub(crate) budget: Option<String>,

    /// How many candidates to evaluate, baselines included
    #[arg(long, value_name = "N")]
    pub(crate) evaluations: Option<u64>,

    /// End the search early once N evaluations in a row have grown the front by less than PERCENT,
    /// 1 when not given
    #[arg(long, value_name = "N[:PERCENT]")]
    pub(crate) stop_stalled: Option<String>,

    /// End the search early once a plan keeps all of --max-kld, --max-size, --max-latency and
    /// --min-same-top that are given, and so do the intervals of its figures
    #[arg(long)]
    pub(crate) stop_within_limits: bool,

    /// Measure the front of this search right after the baselines: one over the same layers,
    /// grouped alike, perhaps on another device or text
    #[arg(long, value_name = "SEARCH")]
    pub(crate) start_from: Option<i64>,

    /// What to make small: two or three of kld, decode, prefill, size
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "kld,decode,size"
    )]
    pub(crate) objective: Vec<String>,

    #[command(flatten)]
    pub(crate) limits: LimitArguments,

    /// Precisions to choose from [default: q8_0,q6_k,q5_k,q4_k,q3_k,q2_k; where rows are not a
    /// multiple of 256 also q5_1,q5_0,q4_1,q4_0; where they are not one of 32 also f16]
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) precisions: Option<Vec<String>>,

    /// Which layers share a precision: tensor, block or kind
    #[arg(long, value_name = "NAME", default_value = "tensor")]
    pub(crate) group: String,

    /// How candidates are proposed: surrogate, sms-emoa, nsga2 or random
    #[arg(long, value_name = "NAME", default_value = "surrogate")]
    pub(crate) strategy: String,

    /// What a surrogate first believes that each layer loses: `swaps` measures each alone in every
    /// precision, on two windows, before the search begins; `rounding` goes by rounding errors
    #[arg(long, value_name = "NAME", default_value = "swaps")]
    pub(crate) prior: String,

    /// The seed of everything that is drawn
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,

    /// Importance matrix: `calibration` collects one, `none` goes without, a file is llama.cpp's
    #[arg(long, value_name = "FILE", default_value = "calibration")]
    pub(crate) imatrix: String,

    /// Tokens in a window [default: 512, or the model's context where that is shorter]
    #[arg(long, value_name = "TOKENS")]
    pub(crate) context: Option<u32>,

    /// Windows that quality is measured on, two at least; as many that follow them are held back to
    /// confirm on
    #[arg(long, value_name = "N", default_value_t = 16)]
    pub(crate) windows: u32,

    /// Windows that activation statistics come from
    #[arg(long, value_name = "N", default_value_t = 32)]
    pub(crate) calibration_windows: u32,

    /// Score every candidate on all windows; without this one that is no smaller and no faster than
    /// another is given up as soon as it will not come out better beyond the noise
    #[arg(long)]
    pub(crate) no_stages: bool,

    /// Time every candidate once; without this a time that the search's model contradicts is
    /// measured once more and the second one counts, for one candidate in ten at most
    #[arg(long)]
    pub(crate) no_retimings: bool,

    /// What is timed: one prefill and one decode; with b4 at the end for 4 sequences at once, as
    /// in prefill@128b4,decode@64x16b4 (default: prefill@128,decode@64x16, cut down to the context)
    #[arg(long, value_name = "NAMES", value_delimiter = ',')]
    pub(crate) workloads: Option<Vec<String>>,

    /// The device to search for; the first one that serves when not given. Given several times, a
    /// search is started for each, and each learns from what the others measure. In place of a name
    /// what a device is, such as arch=x86_64,isa=avx512_vnni (also cpu, gpu, cores, threads, class,
    /// profile): one device of each hardware of which that is true, and hardware that comes later
    /// joins while the search runs
    #[arg(long = "device", value_name = "DEVICE")]
    pub(crate) devices: Vec<String>,

    /// Teach the models of other searches over the same model and text nothing, and learn nothing
    /// from them; a divergence that is known is taken over all the same
    #[arg(long)]
    pub(crate) alone: bool,
}

#[derive(Debug, Args)]
pub(crate) struct RunArguments {
    #[command(flatten)]
    pub(crate) search: SearchArguments,

    #[cfg(feature = "local")]
    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArguments,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

/// What is measured on in place of the processor.
#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub(crate) struct AcceleratorArguments {
    /// Measure on this accelerator in place of the processor: cuda, or cuda:1 for a second device;
    /// for programs that were built with it [default: BITFRONT_ACCELERATOR, or none]
    #[arg(long, value_name = "NAME")]
    pub(crate) accelerator: Option<String>,
}

/// What may be shipped.
#[derive(Debug, Default, Args)]
pub(crate) struct LimitArguments {
    /// Largest mean KL divergence to the unquantized model, in nats
    #[arg(long, value_name = "NATS")]
    pub(crate) max_kld: Option<f64>,

    /// Largest size of the weights, such as 1.2GiB
    #[arg(long, value_name = "SIZE")]
    pub(crate) max_size: Option<String>,

    /// Longest median time for one decode step, such as 5ms; of one of several devices that a search
    /// is for, such as board=5ms
    #[arg(long, value_name = "[DEVICE=]DURATION")]
    pub(crate) max_latency: Vec<String>,

    /// Least share of positions at which the plan ranks the same token first as the unquantized
    /// model, such as 95%
    #[arg(long, value_name = "SHARE")]
    pub(crate) min_same_top: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct OneSearchArguments {
    /// The search's number
    pub(crate) search: i64,
}

#[derive(Debug, Args)]
pub(crate) struct ContinueArguments {
    /// The search's number
    pub(crate) search: i64,

    /// Time to add, such as 10m
    #[arg(long, value_name = "DURATION")]
    pub(crate) budget: Option<String>,

    /// Candidates to add
    #[arg(long, value_name = "N")]
    pub(crate) evaluations: Option<u64>,

    #[cfg(feature = "local")]
    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArguments,
}

/// Which devices to list.
#[derive(Debug, Args)]
pub(crate) struct DevicesArguments {
    /// Show the probe of this device: how long it takes for every shape in every precision, and
    /// what is not worth searching for
    pub(crate) name: Option<String>,
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

/// Whose layers to list.
#[derive(Debug, Args)]
pub(crate) struct SensitivityArguments {
    /// The search's number
    pub(crate) search: i64,
    #[command(flatten)]
    pub(crate) listing: ListingArguments,
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

#[derive(Debug, Args)]
pub(crate) struct FrontArguments {
    /// The search's number
    pub(crate) search: i64,

    /// The device whose measurements to show
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,

    /// Every candidate, not only front and baselines
    #[arg(long)]
    pub(crate) all: bool,

    /// Also the plans that cannot be told apart from a smaller one on the front
    #[arg(long)]
    pub(crate) all_classes: bool,

    /// Say of each plan listed why it is on the front or not, and what it beats or is beaten by
    #[arg(long)]
    pub(crate) explain: bool,

    /// Draw a scatter plot below the table
    #[arg(long)]
    pub(crate) plot: bool,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

#[derive(Debug, Args)]
pub(crate) struct CompareArguments {
    /// A candidate's number, as `bitfront front` lists it
    pub(crate) first: i64,

    /// Another one's, of the same search or of one over the same model and text
    pub(crate) second: i64,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

#[derive(Debug, Args)]
pub(crate) struct DiffArguments {
    /// The number of the earlier search
    pub(crate) before: i64,

    /// The number of the later one, over the same model and text on the same device; both have ended
    pub(crate) after: i64,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArguments {
    /// The search's number; it has ended
    pub(crate) search: i64,

    /// The earlier search that it is held against [default: the one that it was started from]
    #[arg(long, value_name = "SEARCH")]
    pub(crate) against: Option<i64>,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

/// Which of the plans within the limits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum By {
    /// Shortest median time for one decode step, which gives every sequence a token
    Decode,
    /// Shortest median time for one pass over the prompt
    Prefill,
    /// Fewest bytes
    Size,
    /// Smallest divergence
    Kld,
}

#[derive(Debug, Args)]
pub(crate) struct BestArguments {
    /// With --predict: the number of the search to learn from
    #[arg(requires = "predict", conflicts_with_all = ["model", "devices", "fleet"])]
    pub(crate) search: Option<i64>,

    /// The model: its name or the first characters of its digest
    #[arg(long, value_name = "MODEL", required_unless_present = "search")]
    pub(crate) model: Option<String>,

    /// The device to ship to; the only one when not given. With --fleet, given several times: the
    /// devices of the fleet; all on which the model was measured when not given
    #[arg(long = "device", value_name = "NAME")]
    pub(crate) devices: Vec<String>,

    /// One plan for several devices: the one whose largest regret is least, that is, which no
    /// device has to pay for much more than for its own best plan
    #[arg(long)]
    pub(crate) fleet: bool,

    /// Say which plan is expected to be best, measured or not, by what one search has measured; or,
    /// with --fleet, by what the latest search of each device has
    #[arg(long)]
    pub(crate) predict: bool,

    /// With --predict or --fleet: write the plan to this file, which `bitfront export` takes
    #[arg(long, value_name = "FILE")]
    pub(crate) plan: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) limits: LimitArguments,

    /// What counts among the plans within the limits
    #[arg(long, value_name = "NAME", default_value = "decode")]
    pub(crate) by: By,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

/// What an export writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportAs {
    /// A model file that llama.cpp runs
    Gguf,
    /// For `llama-quantize --tensor-type-file`
    TensorTypeFile,
    /// The precision of every layer as JSON
    Plan,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArguments {
    /// A search's number, or a plan file (.json)
    pub(crate) source: String,

    /// The file to write; it appears under this name only when it is whole
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,

    /// What to write
    #[arg(long = "as", value_name = "KIND", default_value = "gguf")]
    pub(crate) kind: ExportAs,

    /// The candidate to export [default: the best one within the limits]
    #[arg(long, value_name = "N")]
    pub(crate) candidate: Option<i64>,

    #[command(flatten)]
    pub(crate) limits: LimitArguments,

    /// What counts among the plans within the limits [default: size where --max-kld or
    /// --min-same-top is given, kld with other limits, the knee of the front without any]
    #[arg(long, value_name = "NAME")]
    pub(crate) by: Option<By>,

    /// llama.cpp's name of the pre-tokenizer, where the tokenizer's own regex is not recognised
    #[arg(long, value_name = "NAME")]
    pub(crate) pre: Option<String>,

    /// Where the model lies, if not where the search read it
    #[arg(long, value_name = "MODEL")]
    pub(crate) model: Option<PathBuf>,

    /// A tokenizer.json in place of the model's own
    #[arg(long, value_name = "FILE")]
    pub(crate) tokenizer: Option<PathBuf>,

    /// Importance matrix to quantize with: a file of llama.cpp's, or `none` [default: as measured]
    #[arg(long, value_name = "FILE")]
    pub(crate) imatrix: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ReportArguments {
    /// The search's number
    pub(crate) search: i64,

    /// The device whose measurements to show
    #[arg(long, value_name = "NAME")]
    pub(crate) device: Option<String>,

    /// The page to write
    #[arg(long, value_name = "FILE")]
    pub(crate) to: PathBuf,

    /// The divergence that the page names the best plan under
    #[arg(long, value_name = "NATS", default_value_t = crate::settings::USUAL_MAX_KLD)]
    pub(crate) max_kld: f64,
}

#[derive(Debug, Args)]
pub(crate) struct InspectArguments {
    /// A Hugging Face folder, a GGUF file, a model of the Hugging Face Hub such as
    /// hf://organisation/name@revision, or the URL of such a folder or file
    pub(crate) model: PathBuf,

    /// What to list: layers, or the baselines with their sizes
    #[arg(long, value_name = "WHAT", default_value = "all")]
    pub(crate) show: Show,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
}

#[derive(Debug, Args)]
pub(crate) struct ModelArguments {
    #[command(subcommand)]
    pub(crate) verb: ModelVerb,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ModelVerb {
    /// Hand a model in: what the coordinator lacks of its files, from where it has them
    #[command(after_help = EXIT_CODES)]
    Add(AddArguments),
}

#[derive(Debug, Args)]
pub(crate) struct AddArguments {
    /// A Hugging Face folder, a GGUF file, a model of the Hugging Face Hub such as
    /// hf://organisation/name@revision, or the URL of such a folder or file
    pub(crate) model: PathBuf,

    #[command(flatten)]
    pub(crate) listing: ListingArguments,
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

/// Which listings of a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Show {
    /// Both; one after the other in a table, layers alone in the other forms
    All,
    /// One row a layer
    Layers,
    /// One row a preset or uniform plan
    Baselines,
}

#[cfg(feature = "local")]
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

    /// Refuse clients whose certificate is revoked by these lists (PEM), one of each authority
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

#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub(crate) struct CopyArguments {
    /// The backup
    pub(crate) file: PathBuf,

    /// The SQLite database [default: BITFRONT_DATABASE, or bitfront.sqlite in the user's data
    /// directory]
    #[arg(long, value_name = "FILE")]
    pub(crate) database: Option<TypedDatabase>,
}

#[cfg(feature = "local")]
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

#[cfg(feature = "local")]
#[derive(Debug, Args)]
pub(crate) struct WorkerArguments {
    /// As for `agent`
    #[arg(long, value_name = "FOLDER")]
    pub(crate) cache: PathBuf,

    #[command(flatten)]
    pub(crate) accelerator: AcceleratorArguments,
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_command_line_is_sound() {
        use clap::CommandFactory as _;
        super::Arguments::command().debug_assert();
    }
}
