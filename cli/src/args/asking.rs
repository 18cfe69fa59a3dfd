//! What is typed to ask for what was found, and for what a model is.

use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use super::{LimitArguments, ListingArguments};
use crate::problem::EXIT_CODES;

#[derive(Debug, Args)]
pub(crate) struct OneSearchArguments {
    /// The search's number
    pub(crate) search: i64,
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
