//! What is typed of a search: what it is over, how it goes about it, and what may be shipped.

use std::path::PathBuf;

use clap::Args;

#[cfg(feature = "local")]
use super::AcceleratorArguments;
use super::ListingArguments;

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
