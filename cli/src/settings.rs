//! What is meant: typed text understood and checked once. Whatever these types hold can be used
//! without looking at it again.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use bitfront_model::{
    AccessRole, Budget, EarlyStop, Grouping, Limits, Objective, Precision, Prior, StallRule,
    StrategyName, Workload,
};

use crate::args::{AccessArguments, ContinueArguments, LimitArguments, SearchArguments};
use crate::client::{Access, Identity, TokenSource};
use crate::config::Config;
use crate::problem::Problem;

/// The divergence that a plan is commonly shipped under where nobody names one: about that of
/// llama.cpp's Q4_K presets on a small model.
pub(crate) const USUAL_MAX_KLD: f64 = 0.01;

/// How long a search runs where nobody says.
const USUAL_BUDGET: Duration = Duration::from_secs(600);

/// What to search, and how.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct SearchSettings {
    /// A folder or a GGUF file.
    pub(crate) model: PathBuf,
    /// The text that quality is measured on.
    pub(crate) data: PathBuf,
    /// The text for activation statistics.
    pub(crate) calibration: Option<PathBuf>,
    /// A tokenizer that replaces the model's own.
    pub(crate) tokenizer: Option<PathBuf>,
    /// When it ends.
    pub(crate) budget: Budget,
    /// What ends it before.
    pub(crate) early_stop: EarlyStop,
    /// The search whose front it begins with.
    pub(crate) start_from: Option<i64>,
    /// What to make small.
    pub(crate) objectives: Vec<Objective>,
    /// What may be shipped.
    pub(crate) limits: Limits,
    /// What to choose from; none lets the model's shapes decide.
    pub(crate) precisions: Option<Vec<Precision>>,
    /// Which layers share a gene.
    pub(crate) grouping: Grouping,
    /// How candidates are proposed.
    pub(crate) strategy: StrategyName,
    /// The seed of everything that is drawn.
    pub(crate) seed: u64,
    /// Score all windows only of what can still enter the front.
    pub(crate) staged: bool,
    pub(crate) retimings: bool,
    /// Where the first guess of losses comes from.
    pub(crate) prior: Prior,
    /// Where the importance matrix comes from.
    pub(crate) imatrix: ImatrixChoice,
    /// Tokens in a window; none lets the model decide.
    pub(crate) context: Option<u32>,
    /// Windows that are scored.
    pub(crate) windows: u32,
    /// Windows that activation statistics come from.
    pub(crate) calibration_windows: u32,
    /// What is timed; none scales the usual pair to the context.
    pub(crate) workloads: Option<Vec<Workload>>,
    /// The devices to search for, a search each; none takes the first one that serves.
    pub(crate) devices: Vec<String>,
    /// Limits on the time of a decode step that hold for one device only.
    pub(crate) max_decode: BTreeMap<String, Duration>,
    /// Learn from other searches over the same subject, and let them learn from it.
    pub(crate) shares: bool,
}

/// Where the importance matrix comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ImatrixChoice {
    /// Quantize without one.
    None,
    /// Collect it from the calibration windows.
    Calibration,
    /// A file in llama.cpp's format.
    File(PathBuf),
}

impl SearchSettings {
    /// Understands what was typed.
    pub(crate) fn new(typed: SearchArguments) -> Result<Self, Problem> {
        let objectives = parse_list::<Objective>("--objective", &typed.objective)?;
        if objectives.contains(&Objective::Mismatch) {
            return Err(Problem::usage(
                "--objective: `mismatch` bears a limit and is no objective",
            )
            .with_hint("bound it with --min-same-top; `kld` tells plans apart far better"));
        }
        if !(2..=3).contains(&objectives.len()) {
            return Err(Problem::usage(format!(
                "--objective: {} given, but a front is made of two or three",
                objectives.len()
            )));
        }
        let precisions = typed
            .precisions
            .map(|names| parse_list::<Precision>("--precisions", &names))
            .transpose()?;
        let workloads = typed
            .workloads
            .map(|names| parse_list::<Workload>("--workloads", &names))
            .transpose()?;
        if let Some(workloads) = &workloads {
            let decodes = workloads.iter().filter(|load| load.is_decode()).count();
            if (workloads.len(), decodes) != (2, 1) {
                return Err(Problem::usage(
                    "--workloads: one prefill and one decode are expected, such as \
                     prefill@128,decode@64x16",
                ));
            }
        }
        for (flag, value) in [
            ("--windows", Some(typed.windows)),
            ("--context", typed.context),
        ] {
            if value == Some(0) {
                return Err(Problem::usage(format!("{flag}: 0 measures nothing")));
            }
        }
        let devices = parse_list::<String>("--device", &typed.devices)?;
        let (limits, max_decode) = limits_of_devices(&typed.limits)?;
        let mut budget = budget(typed.budget.as_deref(), typed.evaluations)?;
        if budget == Budget::default() {
            budget.time = Some(USUAL_BUDGET);
        }
        Ok(Self {
            model: typed.model,
            data: typed.data,
            calibration: typed.calibration,
            tokenizer: typed.tokenizer,
            budget,
            early_stop: early_stop(
                typed.stop_stalled.as_deref(),
                typed.stop_within_limits,
                &limits,
            )?,
            start_from: typed.start_from,
            objectives,
            limits,
            precisions,
            grouping: parse("--group", &typed.group)?,
            strategy: parse("--strategy", &typed.strategy)?,
            seed: typed.seed,
            staged: !typed.no_stages,
            retimings: !typed.no_retimings,
            prior: parse("--prior", &typed.prior)?,
            imatrix: imatrix(&typed.imatrix),
            context: typed.context,
            windows: typed.windows,
            calibration_windows: typed.calibration_windows,
            workloads,
            devices,
            max_decode,
            shares: !typed.alone,
        })
    }
}

/// Understands where an importance matrix comes from.
pub(crate) fn imatrix(typed: &str) -> ImatrixChoice {
    match typed {
        "none" => ImatrixChoice::None,
        "calibration" => ImatrixChoice::Calibration,
        file => ImatrixChoice::File(PathBuf::from(file)),
    }
}

/// Understands what is added to a budget; nothing added continues with what was left.
pub(crate) fn added_budget(typed: &ContinueArguments) -> Result<Budget, Problem> {
    budget(typed.budget.as_deref(), typed.evaluations)
}

fn budget(time: Option<&str>, evaluations: Option<u64>) -> Result<Budget, Problem> {
    if evaluations == Some(0) {
        return Err(Problem::usage("--evaluations: 0 searches nothing"));
    }
    let time = time.map(|time| duration("--budget", time)).transpose()?;
    Ok(Budget { evaluations, time })
}

fn early_stop(
    stalled: Option<&str>,
    within_limits: bool,
    limits: &Limits,
) -> Result<EarlyStop, Problem> {
    let stalled = stalled
        .map(|typed| parse::<StallRule>("--stop-stalled", typed))
        .transpose()?;
    if let Some(rule) = stalled {
        if rule.evaluations == 0 {
            return Err(Problem::usage(
                "--stop-stalled: no growth over 0 evaluations says nothing",
            ));
        }
        if !(rule.least_growth > 0.0 && rule.least_growth < 1.0) {
            return Err(Problem::usage(format!(
                "--stop-stalled: {} % is not a percentage between 0 and 100",
                rule.least_growth * 100.0
            )));
        }
    }
    if within_limits && *limits == Limits::default() {
        return Err(Problem::usage(
            "--stop-within-limits: no limit is given that a plan could keep",
        )
        .with_hint(
            "give at least one of --max-kld, --max-size, --max-latency and --min-same-top",
        ));
    }
    Ok(EarlyStop {
        stalled,
        within_limits,
    })
}

/// Understands the limits on plans that hold for every device.
pub(crate) fn limits(typed: &LimitArguments) -> Result<Limits, Problem> {
    let (limits, of_devices) = limits_of_devices(typed)?;
    match of_devices.keys().next() {
        None => Ok(limits),
        Some(name) => Err(Problem::usage(format!(
            "--max-latency: a limit of `{name}` alone means nothing here; give the duration only"
        ))),
    }
}

/// The same, and those on the time of a decode step that hold for one device.
fn limits_of_devices(
    typed: &LimitArguments,
) -> Result<(Limits, BTreeMap<String, Duration>), Problem> {
    if let Some(kld) = typed.max_kld
        && !(kld.is_finite() && kld > 0.0)
    {
        return Err(Problem::usage(format!(
            "--max-kld: {kld} is not a positive number of nats"
        )));
    }
    let (mut max_decode, mut of_devices) = (None, BTreeMap::new());
    for text in &typed.max_latency {
        let twice = match text.rsplit_once('=') {
            Some((name, time)) => {
                let time = duration("--max-latency", time)?;
                of_devices.insert(name.to_owned(), time).is_some()
            }
            None => max_decode
                .replace(duration("--max-latency", text)?)
                .is_some(),
        };
        if twice {
            return Err(Problem::usage(format!(
                "--max-latency: `{text}` is the second limit for the same"
            )));
        }
    }
    let limits = Limits {
        max_kld: typed.max_kld,
        max_size_bytes: typed
            .max_size
            .as_deref()
            .map(|typed| size("--max-size", typed))
            .transpose()?,
        max_decode,
        min_same_top: typed.min_same_top.as_deref().map(same_top).transpose()?,
    };
    Ok((limits, of_devices))
}

/// Understands a share such as 95% or 0.95, as one of 1.
fn same_top(typed: &str) -> Result<f64, Problem> {
    let text = typed.trim();
    let share = match text.strip_suffix('%') {
        Some(percent) => percent
            .trim_end()
            .parse::<f64>()
            .map(|percent| percent / 100.0),
        None => text.parse(),
    };
    match share {
        Ok(share) if share > 0.0 && share < 1.0 => Ok(share),
        Ok(1.0) => Err(Problem::usage(format!(
            "--min-same-top: {typed} is kept by the unquantized model alone"
        ))),
        _ => Err(Problem::usage(format!(
            "--min-same-top: `{typed}` is not a share such as 95% or 0.95"
        ))),
    }
}

/// Understands a role.
pub(crate) fn role(typed: &str) -> Result<AccessRole, Problem> {
    parse("--role", typed)
}

/// Understands a time that is longer than nothing.
pub(crate) fn duration(flag: &str, typed: &str) -> Result<Duration, Problem> {
    match humantime::parse_duration(typed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err(Problem::usage(format!("{flag}: `{typed}` is no time"))),
        Err(error) => Err(Problem::usage(format!(
            "{flag}: `{typed}` is not a duration such as 90s, 10m or 5ms: {error}"
        ))),
    }
}

/// Understands a number of bytes that is more than none.
pub(crate) fn size(flag: &str, typed: &str) -> Result<u64, Problem> {
    match bytesize::ByteSize::from_str(typed) {
        Ok(size) if size.0 > 0 => Ok(size.0),
        Ok(_) => Err(Problem::usage(format!("{flag}: `{typed}` is nothing"))),
        Err(_) => Err(Problem::usage(format!(
            "{flag}: `{typed}` is not a size such as 1.2GiB or 800MB"
        ))),
    }
}

fn parse<T: FromStr<Err: std::fmt::Display>>(flag: &str, typed: &str) -> Result<T, Problem> {
    typed
        .parse()
        .map_err(|error| Problem::usage(format!("{flag}: {error}")))
}

fn parse_list<T>(flag: &str, typed: &[String]) -> Result<Vec<T>, Problem>
where
    T: FromStr<Err: std::fmt::Display> + Eq + std::hash::Hash + std::fmt::Display,
{
    let values = typed
        .iter()
        .map(|name| parse::<T>(flag, name))
        .collect::<Result<Vec<_>, _>>()?;
    let mut seen = HashSet::new();
    if let Some(twice) = values.iter().find(|&value| !seen.insert(value)) {
        return Err(Problem::usage(format!("{flag}: `{twice}` is given twice")));
    }
    Ok(values)
}

/// The coordinator that a verb talks to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Coordinator {
    /// At this URL.
    Remote(String),
    /// At one of these URLs, whichever answers.
    OneOf(Vec<String>),
    /// In this process.
    Embedded,
}

impl Coordinator {
    /// Understands where the coordinator is: the flag counts more than the environment.
    pub(crate) fn new(flags: Vec<String>, environment: Option<String>) -> Result<Self, Problem> {
        let urls = flags
            .into_iter()
            .map(|url| Self::url("--coordinator", &url))
            .collect::<Result<Vec<_>, _>>()?;
        match (<[String; 1]>::try_from(urls), environment) {
            (Ok([url]), _) => Ok(Self::Remote(url)),
            (Err(urls), _) if !urls.is_empty() => Ok(Self::OneOf(urls)),
            (_, Some(url)) => Self::url("BITFRONT_COORDINATOR", &url).map(Self::Remote),
            (_, None) => Ok(Self::Embedded),
        }
    }

    fn url(from: &str, url: &str) -> Result<String, Problem> {
        for scheme in ["http://", "https://"] {
            let authority = url.strip_prefix(scheme);
            let authority = authority.map(|rest| rest.trim_end_matches('/'));
            if let Some(authority) = authority
                && !authority.is_empty()
                && !authority.contains('/')
            {
                return Ok(format!("{scheme}{authority}"));
            }
        }
        Err(
            Problem::usage(format!("{from}: `{url}` is not a URL of a coordinator"))
                .with_hint("it looks like http://host:7311, or over TLS like https://host:7311"),
        )
    }
}

/// How a coordinator is come to: the flags count more than the environment.
pub(crate) fn access(typed: AccessArguments, config: &Config) -> Access {
    let identity = typed.client_cert.zip(typed.client_key);
    Access {
        ca: typed.ca.or(config.ca.clone()),
        identity: identity.map(|(certificate, key)| Identity { certificate, key }),
        token: match typed.token_file {
            Some(file) => Some(TokenSource::File(file)),
            None => config.token.clone().map(TokenSource::Told),
        },
    }
}

/// What an export starts from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ExportSource {
    /// A search in the store.
    Search(i64),
    /// A plan file.
    PlanFile(PathBuf),
}

impl ExportSource {
    /// Understands a search's number or the name of a plan file.
    pub(crate) fn new(typed: &str) -> Result<Self, Problem> {
        if let Ok(search) = typed.parse() {
            return Ok(Self::Search(search));
        }
        if Path::new(typed)
            .extension()
            .is_some_and(|end| end == "json")
        {
            return Ok(Self::PlanFile(PathBuf::from(typed)));
        }
        Err(Problem::usage(format!(
            "`{typed}` is neither a search's number nor a plan file (.json)"
        )))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::args::{Arguments, Verb};

    fn settings(extra: &[&str]) -> Result<SearchSettings, Problem> {
        let typed = ["bitfront", "submit", "model", "--data", "text"];
        let typed = typed.iter().chain(extra);
        match Arguments::try_parse_from(typed).unwrap().verb {
            Verb::Submit(arguments) => SearchSettings::new(arguments),
            _ => unreachable!(),
        }
    }

    #[test]
    fn what_is_not_typed_has_a_stated_meaning() {
        let settings = settings(&[]).unwrap();
        assert_eq!(settings.budget.time, Some(Duration::from_secs(600)));
        assert_eq!(
            settings.objectives,
            [Objective::Kld, Objective::Decode, Objective::Size]
        );
        assert_eq!(settings.imatrix, ImatrixChoice::Calibration);
        assert_eq!(settings.precisions, None);
        assert_eq!(settings.early_stop, EarlyStop::default());
        assert_eq!(settings.prior, Prior::Swaps);
        assert_eq!(settings.devices, [] as [&str; 0]);
        assert!(settings.shares);
    }

    #[test]
    fn what_is_typed_is_understood() {
        let settings = settings(&[
            "--evaluations=40",
            "--max-size=1.2GiB",
            "--max-latency=5ms",
            "--min-same-top=97.5%",
            "--max-kld=0.02",
            "--precisions=Q4_K,q6_k",
            "--group=kind",
            "--imatrix=none",
            "--stop-stalled=50:0.5",
            "--stop-within-limits",
            "--workloads=prefill@32,decode@16x8",
            "--device=two",
            "--device=one",
            "--max-latency=two=8ms",
            "--alone",
        ])
        .unwrap();
        assert_eq!(settings.budget.evaluations, Some(40));
        assert_eq!(settings.budget.time, None);
        assert_eq!(settings.limits.max_size_bytes, Some(1_288_490_188));
        assert_eq!(settings.limits.max_decode, Some(Duration::from_millis(5)));
        assert_eq!(settings.limits.min_same_top, Some(0.975));
        assert_eq!(
            settings.precisions,
            Some(vec![Precision::Q4K, Precision::Q6K])
        );
        assert_eq!(settings.grouping, Grouping::Kind);
        let stalled = StallRule {
            evaluations: 50,
            least_growth: 0.005,
        };
        assert_eq!(settings.early_stop.stalled, Some(stalled));
        assert!(settings.early_stop.within_limits);
        assert_eq!(settings.imatrix, ImatrixChoice::None);
        assert_eq!(settings.devices, ["two", "one"]);
        let of_two = BTreeMap::from([("two".to_owned(), Duration::from_millis(8))]);
        assert_eq!(settings.max_decode, of_two);
        assert!(!settings.shares);
    }

    #[test]
    fn each_wrong_value_names_its_flag() {
        let cases = [
            (
                "--precisions=q4_z",
                "--precisions: unknown precision `q4_z`",
            ),
            (
                "--precisions=q4_k,q4_k",
                "--precisions: `q4_k` is given twice",
            ),
            (
                "--device=one --device=two --device=one",
                "--device: `one` is given twice",
            ),
            ("--objective=kld", "--objective: 1 given"),
            (
                "--objective=kld,mismatch",
                "--objective: `mismatch` bears a limit and is no objective",
            ),
            (
                "--objective=kld,speed",
                "--objective: unknown objective `speed`",
            ),
            ("--max-kld=-1", "--max-kld: -1 is not a positive number"),
            ("--max-kld=NaN", "--max-kld: NaN is not a positive number"),
            (
                "--max-latency=5ms --max-latency=6ms",
                "--max-latency: `6ms` is the second limit for the same",
            ),
            ("--max-latency=two=fast", "--max-latency: `fast`"),
            ("--max-size=big", "--max-size: `big` is not a size"),
            ("--max-size=0", "--max-size: `0` is nothing"),
            (
                "--min-same-top=most",
                "--min-same-top: `most` is not a share such as 95% or 0.95",
            ),
            ("--min-same-top=95", "--min-same-top: `95` is not a share"),
            (
                "--min-same-top=100%",
                "--min-same-top: 100% is kept by the unquantized model alone",
            ),
            (
                "--max-latency=fast",
                "--max-latency: `fast` is not a duration",
            ),
            ("--budget=0s", "--budget: `0s` is no time"),
            ("--evaluations=0", "--evaluations: 0 searches nothing"),
            ("--group=layer", "--group: unknown grouping `layer`"),
            ("--strategy=best", "--strategy: unknown strategy `best`"),
            ("--prior=luck", "--prior: unknown prior `luck`"),
            (
                "--workloads=prefill@8",
                "--workloads: one prefill and one decode",
            ),
            ("--context=0", "--context: 0 measures nothing"),
            (
                "--stop-stalled=soon",
                "--stop-stalled: `soon` is not a number of evaluations",
            ),
            (
                "--stop-stalled=0",
                "--stop-stalled: no growth over 0 evaluations",
            ),
            (
                "--stop-stalled=50:0",
                "--stop-stalled: 0 % is not a percentage",
            ),
            (
                "--stop-stalled=50:NaN",
                "--stop-stalled: NaN % is not a percentage",
            ),
            (
                "--stop-within-limits",
                "--stop-within-limits: no limit is given",
            ),
        ];
        let wrong: Vec<_> = cases
            .iter()
            .filter_map(
                |(flag, expected)| match settings(&flag.split(' ').collect::<Vec<_>>()) {
                    Err(problem) if problem.to_string().starts_with(expected) => None,
                    other => Some(format!("{flag}: {other:?}")),
                },
            )
            .collect();
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn a_coordinator_is_a_plain_url() {
        let remote = |url: &str| Coordinator::new(vec![url.to_owned()], Some("nonsense".into()));
        assert_eq!(
            remote("http://host:7311/").unwrap(),
            Coordinator::Remote("http://host:7311".into())
        );
        assert_eq!(
            remote("https://host:7311/").unwrap(),
            Coordinator::Remote("https://host:7311".into())
        );
        let none = Coordinator::new(Vec::new(), None);
        assert_eq!(none.unwrap(), Coordinator::Embedded);
        let variable = Coordinator::new(Vec::new(), Some("http://host:1".to_owned()));
        assert_eq!(
            variable.unwrap(),
            Coordinator::Remote("http://host:1".into())
        );
        let several = ["http://one:1/", "http://two:2"].map(str::to_owned);
        let several = Coordinator::new(several.to_vec(), Some("nonsense".to_owned()));
        let expected = ["http://one:1", "http://two:2"].map(str::to_owned);
        assert_eq!(several.unwrap(), Coordinator::OneOf(expected.to_vec()));
        for wrong in ["host:7311", "ftp://host", "https://", "http://host/path"] {
            assert!(remote(wrong).is_err(), "{wrong}");
        }
    }
}
