//! The environment, read once. No other file of this program looks at it.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;

use bitfront_weights::{Hub, Remote, remote};
use etcetera::BaseStrategy as _;

use crate::client::Secret;
use crate::problem::Problem;
use crate::telemetry::Telemetry;

/// What the environment says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Config {
    /// `BITFRONT_COORDINATOR`: the coordinator to talk to where `--coordinator` names none.
    pub(crate) coordinator: Option<String>,
    /// `BITFRONT_CA`: the certificates of the authority that vouches for it.
    pub(crate) ca: Option<PathBuf>,
    /// `BITFRONT_TOKEN`: the access token that is shown to it.
    pub(crate) token: Option<Secret>,
    /// `BITFRONT_DATABASE`: the database of a coordinator of this machine.
    pub(crate) database: Option<TypedDatabase>,
    /// `BITFRONT_LOG`: what is logged to stderr.
    pub(crate) log: Option<String>,
    /// `BITFRONT_LOG_FORMAT`: how that and all other talk is written.
    pub(crate) log_format: LogFormat,
    /// `BITFRONT_DATA_DIR`: where the embedded coordinator and agent keep their files; the
    /// platform's own place for user data by default.
    pub(crate) data_dir: PathBuf,
    /// How an agent of this machine measures.
    pub(crate) measuring: Measuring,
    /// `HF_ENDPOINT`, `HF_TOKEN` and `HF_HOME`, as every program of the Hugging Face Hub has them.
    pub(crate) hub: Hub,
    /// `AWS_...`, `AZURE_...` and `GOOGLE_...`, as the programs of object stores have them.
    pub(crate) remote: Remote,
    /// `OTEL_...`, as the programs of OpenTelemetry have them.
    pub(crate) telemetry: Telemetry,
}

/// How lines on stderr are written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum LogFormat {
    /// For eyes.
    #[default]
    Text,
    /// Each an object in JSON, for programs.
    Json,
}

/// How an agent of this machine measures, as it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Measuring {
    /// `BITFRONT_ACCELERATOR`: the accelerator to measure on in place of the processor.
    pub(crate) accelerator: Option<String>,
    /// `BITFRONT_CORES`: the cores that measure.
    pub(crate) cores: Option<String>,
    /// `BITFRONT_CALM_WAIT`: how long a timing waits while others use them.
    pub(crate) calm_wait: Option<String>,
    /// Give a timing back then instead.
    pub(crate) refuse_busy: bool,
}

/// A file or the URL of a Postgres database, as it was written: it may hold a password, and is not
/// shown.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct TypedDatabase(pub(crate) OsString);

impl From<OsString> for TypedDatabase {
    fn from(typed: OsString) -> Self {
        Self(typed)
    }
}

impl fmt::Debug for TypedDatabase {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(not shown)")
    }
}

/// The environment variables, as `--help` shows them.
pub(crate) const ENVIRONMENT: &str = "\
Environment:
  BITFRONT_ACCELERATOR  accelerator to measure on here, as for `agent --accelerator`
  BITFRONT_CA           certificates of a coordinator's authority, as for --ca
  BITFRONT_CALM_WAIT    how long a timing here waits while others use its cores, as for `agent`
  BITFRONT_COORDINATOR  URL of the coordinator where --coordinator is not given
  BITFRONT_CORES        cores to measure on here, as for `agent --cores`
  BITFRONT_DATABASE     database of a coordinator here, as for `serve --database`
  BITFRONT_DATA_DIR     where the embedded coordinator and agent keep their files
  BITFRONT_LOG          what is logged to stderr, such as info or bitfront_agent=debug
  BITFRONT_LOG_FORMAT   text, or json for programs: an object a line, with the ids as fields
  BITFRONT_TOKEN        access token to show to a coordinator where --token-file is not given
  HF_ENDPOINT           where hf:// models come from, in place of https://huggingface.co
  HF_HOME               where they are kept, in `hub` [default: huggingface in the user's cache]
  HF_TOKEN              proves who downloads them, for those that not everybody may have
  AWS_...               who reads s3:// files, and where they are, as for programs of S3
  AZURE_...             the same for az:// and abfss:// files
  GOOGLE_...            the same for gs:// files
  OTEL_...              where spans are sent, in builds with the feature `otel`";

/// What programs of the Hugging Face Hub are told, as far as it is told here too.
const HUB: [&str; 3] = ["HF_ENDPOINT", "HF_HOME", "HF_TOKEN"];

const PREFIX: &str = "BITFRONT_";
const KNOWN: [&str; 10] = [
    "BITFRONT_ACCELERATOR",
    "BITFRONT_CA",
    "BITFRONT_CALM_WAIT",
    "BITFRONT_COORDINATOR",
    "BITFRONT_CORES",
    "BITFRONT_DATABASE",
    "BITFRONT_DATA_DIR",
    "BITFRONT_LOG",
    "BITFRONT_LOG_FORMAT",
    "BITFRONT_TOKEN",
];

impl Config {
    /// Reads the environment of the process.
    pub(crate) fn from_environment() -> anyhow::Result<Self> {
        let base = etcetera::choose_base_strategy().ok();
        let home = base.as_ref().map(|base| base.data_dir().join("bitfront"));
        let hub = base.map(|base| base.cache_dir().join("huggingface"));
        Self::from_variables(std::env::vars_os(), home, hub)
    }

    /// Reads `variables`; the defaults are the platform's own places, where it has some.
    fn from_variables(
        variables: impl IntoIterator<Item = (OsString, OsString)>,
        default_data_dir: Option<PathBuf>,
        default_hub_dir: Option<PathBuf>,
    ) -> anyhow::Result<Self> {
        let mut coordinator = None;
        let mut ca = None;
        let mut secret = None;
        let mut database = None;
        let (mut log, mut log_format) = (None, LogFormat::default());
        let mut data_dir = None;
        let mut measuring = Measuring::default();
        let (mut endpoint, mut token, mut hub_dir) = (None, None, None);
        let (mut stores, mut telemetry) = (Vec::new(), Vec::new());
        let is_stores = |name: &str| remote::VARIABLES.iter().any(|it| name.starts_with(it));
        for (name, value) in variables {
            let ours = |name: &&str| {
                let is_prefixed = name.starts_with(PREFIX) || name.starts_with(Telemetry::PREFIX);
                is_prefixed || HUB.contains(name) || is_stores(name)
            };
            let Some(name) = name.to_str().filter(ours) else {
                continue;
            };
            let text = || {
                value
                    .to_str()
                    .map(str::to_owned)
                    .ok_or_else(|| Problem::usage(format!("{name} is not UTF-8")))
            };
            match name {
                "BITFRONT_ACCELERATOR" => measuring.accelerator = Some(text()?),
                "BITFRONT_COORDINATOR" => coordinator = Some(text()?),
                "BITFRONT_CA" => ca = Some(PathBuf::from(&value)),
                "BITFRONT_CALM_WAIT" => measuring.calm_wait = Some(text()?),
                "BITFRONT_CORES" => measuring.cores = Some(text()?),
                "BITFRONT_DATABASE" => database = Some(TypedDatabase(value.clone())),
                // As whoever unsets it in a file of variables leaves it.
                "BITFRONT_TOKEN" if value.is_empty() => {}
                "BITFRONT_TOKEN" => {
                    let told = Secret::new(&text()?);
                    let told =
                        told.map_err(|error| Problem::usage(format!("{name} holds {error}")));
                    secret = Some(told?);
                }
                "BITFRONT_LOG" => log = Some(text()?),
                "BITFRONT_LOG_FORMAT" => {
                    log_format = match text()?.as_str() {
                        "text" | "" => LogFormat::Text,
                        "json" => LogFormat::Json,
                        other => {
                            return Err(Problem::usage(format!(
                                "BITFRONT_LOG_FORMAT=`{other}` is no format; there are text and json"
                            ))
                            .into());
                        }
                    };
                }
                "BITFRONT_DATA_DIR" => data_dir = Some(PathBuf::from(&value)),
                "HF_ENDPOINT" => endpoint = Some(text()?).filter(|text| !text.is_empty()),
                "HF_TOKEN" => token = Some(text()?).filter(|text| !text.is_empty()),
                "HF_HOME" => hub_dir = Some(PathBuf::from(&value)),
                name if is_stores(name) => stores.push((name.to_owned(), text()?)),
                // Those of other programs are among them, which is why none is refused.
                name if name.starts_with(Telemetry::PREFIX) => {
                    telemetry.push((name.to_owned(), text()?));
                }
                unknown => {
                    return Err(Problem::usage(format!(
                        "unknown environment variable `{unknown}`; known are {}",
                        KNOWN.join(", ")
                    ))
                    .into());
                }
            }
        }
        let data_dir = data_dir.or(default_data_dir).ok_or_else(|| {
            Problem::usage("there is no home directory to keep files under")
                .with_hint("set BITFRONT_DATA_DIR")
        })?;
        let hub_dir = hub_dir.or(default_hub_dir);
        let hub = Hub {
            endpoint: endpoint.unwrap_or_else(|| "https://huggingface.co".to_owned()),
            token,
            cache: hub_dir.unwrap_or_else(|| data_dir.clone()).join("hub"),
        };
        Ok(Self {
            coordinator,
            ca,
            token: secret,
            database,
            log,
            log_format,
            data_dir,
            measuring,
            hub,
            remote: Remote::new(stores),
            telemetry: Telemetry::new(telemetry),
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn read(variables: &[(&str, &str)]) -> anyhow::Result<Config> {
        let variables = variables
            .iter()
            .map(|(name, value)| (OsString::from(name), OsString::from(value)));
        let places = ["/home/user/data", "/home/user/cache"].map(PathBuf::from);
        let [data, cache] = places.map(Some);
        Config::from_variables(variables, data, cache)
    }

    #[test]
    fn known_variables_are_read_and_others_of_the_prefix_refused() {
        let config = read(&[
            ("PATH", "/bin"),
            ("BITFRONT_COORDINATOR", "http://host:1"),
            ("BITFRONT_CA", "/etc/ca.pem"),
            ("BITFRONT_TOKEN", "bitfront_read_secret"),
            ("BITFRONT_DATA_DIR", "/data"),
            ("BITFRONT_ACCELERATOR", "cuda:1"),
            ("BITFRONT_CORES", "2,3"),
            ("HF_ENDPOINT", "http://mirror"),
            ("HF_TOKEN", "secret"),
            ("AWS_SECRET_ACCESS_KEY", "secret"),
            ("AWSOME", "secret"),
            ("GOOGLE_BUCKET", "secret"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "key=secret"),
            ("OTEL_OF_ANOTHER_PROGRAM", "secret"),
            ("BITFRONT_CALM_WAIT", "1s"),
            ("BITFRONT_LOG_FORMAT", "json"),
            ("BITFRONT_DATABASE", "postgres://user:secret@host/fleet"),
        ])
        .unwrap();
        let typed = config.database.clone().unwrap();
        assert_eq!(typed.0, "postgres://user:secret@host/fleet");
        assert!(!format!("{config:?}").contains("secret"));
        assert_eq!(config.coordinator.as_deref(), Some("http://host:1"));
        assert_eq!(config.token, Secret::new("bitfront_read_secret").ok());
        assert_eq!(config.ca, Some(PathBuf::from("/etc/ca.pem")));
        assert_eq!(config.data_dir, PathBuf::from("/data"));
        assert_eq!(config.measuring.accelerator.as_deref(), Some("cuda:1"));
        assert_eq!(config.measuring.cores.as_deref(), Some("2,3"));
        assert_eq!(config.measuring.calm_wait.as_deref(), Some("1s"));
        assert_eq!(config.log_format, LogFormat::Json);
        assert_eq!(config.hub.endpoint, "http://mirror");
        assert_eq!(config.hub.cache, PathBuf::from("/home/user/cache/hub"));
        let names = r#"{"AWS_SECRET_ACCESS_KEY", "GOOGLE_BUCKET"}"#;
        assert_eq!(format!("{:?}", config.remote), names);
        assert_eq!(
            read(&[]).unwrap().data_dir,
            PathBuf::from("/home/user/data")
        );

        let error = read(&[("BITFRONT_TOKEN", "password")]).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("BITFRONT_TOKEN holds no access token")
        );
        assert!(!error.to_string().contains("password"));

        let error = read(&[("BITFRONT_LOG_FORMAT", "yaml")]).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("BITFRONT_LOG_FORMAT=`yaml`"), "{error}");

        let error = read(&[("BITFRONT_COORDINATER", "x")]).unwrap_err();
        assert!(error.to_string().contains("BITFRONT_COORDINATER"));
        assert_eq!(
            crate::problem::status_of(&error),
            crate::problem::ExitStatus::Usage
        );
    }
}
