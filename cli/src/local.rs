//! A coordinator inside this process, and where needed an agent beside it. They speak to each
//! other and to the verbs over loopback as they would over a network, so that everything works
//! the same way on one machine and on many.

use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use bitfront_agent::{AgentError, CoreChoice, CoresError, WorkerProgram, hardware};
use bitfront_coordinator::{Database, InUse, RunError, SystemClock};
use bitfront_runtime::cold;
use bitfront_runtime::{
    Accelerator, AcceleratorDevice, AcceleratorRuntime, CandleRuntime, CandleSettings, Runtime,
    RuntimeError,
};
use bitfront_weights::Remote;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::client::{Access, Client};
use crate::config::{Config, Measuring};
use crate::problem::Problem;

/// How long a coordinator that does not answer may take to say why.
const GRACE: Duration = Duration::from_millis(500);

/// How long an agent of this process may take to register: it looks at its machine first.
const PATIENCE: Duration = Duration::from_secs(60);

/// The verb of this program that takes the cold start of a plan.
const COLD_START: &str = "cold-start";

/// The verb of this program that measures for an agent.
const WORKER: &str = "worker";

/// How much an agent of this process may fetch to the disk: as much as one of its own.
const USUAL_WEIGHTS_BYTES: u64 = 20_000_000_000;

/// Between two looks whether it has.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// Where an embedded coordinator and agent keep their files.
pub(crate) struct Place {
    /// The database.
    pub(crate) database: Database,
    /// Quantized tensors, references and imatrices.
    pub(crate) cache: PathBuf,
    /// What the agent measured and nobody acknowledged yet.
    pub(crate) spool: PathBuf,
    /// What was handed in to a coordinator whose database is no file.
    pub(crate) blobs: PathBuf,
    /// What the agent fetched.
    pub(crate) weights: PathBuf,
    /// Reads files by URL for it.
    pub(crate) remote: Remote,
    /// How the agent measures.
    pub(crate) measuring: Measuring,
}

impl Place {
    /// The place for everything that is not told another one.
    pub(crate) fn new(config: &Config) -> Self {
        let database = match &config.database {
            Some(typed) => Database::named(&typed.0),
            None => Database::File(config.data_dir.join("bitfront.sqlite")),
        };
        Self {
            database,
            cache: config.data_dir.join("cache"),
            spool: config.data_dir.join("spool").join("embedded"),
            blobs: config.data_dir.join("blobs"),
            weights: config.data_dir.join("weights"),
            remote: config.remote.clone(),
            measuring: config.measuring.clone(),
        }
    }
}

/// A coordinator of this process, or of another one on this machine that serves the same database
/// already, and perhaps an agent.
pub(crate) struct Local {
    url: String,
    coordinator: Option<Part>,
    agent: Option<Part>,
}

/// One of the two: how to stop it, and what became of it.
struct Part {
    stop: CancellationToken,
    task: JoinSet<anyhow::Result<()>>,
}

impl Part {
    fn start(
        life: impl Future<Output = anyhow::Result<()>> + Send + 'static,
        stop: CancellationToken,
    ) -> Self {
        let mut task = JoinSet::new();
        task.spawn(life);
        Self { stop, task }
    }

    async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        match self.task.join_next().await {
            Some(ended) => ended?,
            None => Ok(()),
        }
    }

    /// Waits until it ends, which it should not do by itself.
    async fn failure(&mut self, name: &str) -> anyhow::Error {
        match self.task.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Err(error)) => anyhow!(error).context(format!("the {name} broke down")),
            Some(Ok(Ok(()))) | None => anyhow!("the {name} stopped by itself"),
        }
    }
}

impl Local {
    /// Starts a coordinator on a port of its own choice and, where asked for, an agent that
    /// serves it. Where the database is served already, that coordinator is used.
    pub(crate) async fn start(place: &Place, with_agent: bool) -> anyhow::Result<Self> {
        let mut local = match Self::coordinator(place).await {
            Ok(local) => local,
            Err(error) => Self {
                url: served_at(&place.database, &error).ok_or(error)?,
                coordinator: None,
                agent: None,
            },
        };
        let accelerator = accelerator(&place.measuring)?;
        let served = with_agent && local.is_served().await?;
        if let Some(accelerator) = accelerator.filter(|_| served) {
            return Err(Problem::usage(format!(
                "nothing would be measured on {accelerator}: another process on this machine \
                 serves the database, and has an agent already"
            ))
            .with_hint("end that process, or set BITFRONT_DATA_DIR to another folder")
            .into());
        }
        if with_agent && !served {
            let stop = CancellationToken::new();
            let mut config = agent_config(std::slice::from_ref(&local.url), &place.measuring)?;
            config.spool = Some(place.spool.clone());
            config.weights_cache = Some(weights_cache(place.weights.clone(), USUAL_WEIGHTS_BYTES)?);
            config.remote = place.remote.clone();
            let life = agent(config, place.cache.clone(), accelerator, stop.clone());
            local.agent = Some(Part::start(async { Ok(life.await?) }, stop));
            local.wait_until_served().await?;
        }
        Ok(local)
    }

    async fn coordinator(place: &Place) -> anyhow::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
            .await
            .context("cannot listen on the loopback address")?;
        let url = format!("http://{}", listener.local_addr()?);
        let stop = CancellationToken::new();
        let mut config = bitfront_coordinator::Config::new(place.database.clone());
        config.blobs.get_or_insert_with(|| place.blobs.clone());
        let clock = Arc::new(SystemClock::new());
        let life = bitfront_coordinator::run(config, listener, clock, stop.clone());
        let mut part = Part::start(async { Ok(life.await?) }, stop);
        let open = Access::default();
        // A coordinator that cannot open its database ends at once; its own words say more than
        // a broken connection would.
        let answer = tokio::select! {
            failure = part.failure("coordinator") => return Err(failure),
            answer = async { Client::connect(&url, &open).await?.devices().await } => answer,
        };
        if let Err(error) = answer {
            let failure = part.failure("coordinator");
            return Err(tokio::time::timeout(GRACE, failure).await.unwrap_or(error));
        }
        Ok(Self {
            url,
            coordinator: Some(part),
            agent: None,
        })
    }

    /// True where somebody else's coordinator has an agent already: two on one machine would
    /// disturb each other's timings.
    async fn is_served(&self) -> anyhow::Result<bool> {
        if self.coordinator.is_some() {
            return Ok(false);
        }
        let devices = self.client().await?.devices().await?;
        Ok(devices.iter().any(|device| device.serves()))
    }

    /// Waits until the agent has registered, so that a request may name its device.
    async fn wait_until_served(&mut self) -> anyhow::Result<()> {
        let mut client = self.client().await?;
        let registered = async {
            while !client.devices().await?.iter().any(|device| device.serves()) {
                tokio::time::sleep(BETWEEN_LOOKS).await;
            }
            anyhow::Ok(())
        };
        tokio::select! {
            answer = tokio::time::timeout(PATIENCE, registered) => {
                answer.context("the agent does not register with its coordinator")?
            }
            failure = self.failure() => Err(failure),
        }
    }

    /// A connection to it.
    pub(crate) async fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(&self.url, &Access::default()).await?)
    }

    /// Waits until one of the two fails.
    pub(crate) async fn failure(&mut self) -> anyhow::Error {
        let wait = async |part: &mut Option<Part>, name| match part {
            Some(part) => part.failure(name).await,
            None => std::future::pending().await,
        };
        tokio::select! {
            failure = wait(&mut self.coordinator, "coordinator") => failure,
            failure = wait(&mut self.agent, "agent") => failure,
        }
    }

    /// Stops the agent first, so that it can still hand in what it has measured.
    pub(crate) async fn stop(self) -> anyhow::Result<()> {
        for part in [self.agent, self.coordinator].into_iter().flatten() {
            part.stop().await?;
        }
        Ok(())
    }
}

/// Where the coordinator listens that holds the database, if that is why ours could not. Who holds
/// a Postgres database may be on another machine, for which its own address means nothing here.
fn served_at(database: &Database, error: &anyhow::Error) -> Option<String> {
    if let Database::Postgres(_) = database {
        return None;
    }
    match error.downcast_ref()? {
        RunError::InUse(InUse {
            address: Some(address),
            ..
        }) if !address.contains("://") => Some(format!("http://{address}")),
        _ => None,
    }
}

/// What an agent is given that serves the coordinators at `urls`.
pub(crate) fn agent_config(
    urls: &[String],
    measuring: &Measuring,
) -> anyhow::Result<bitfront_agent::Config> {
    let urls = urls.iter().map(|url| {
        let parsed = url.parse();
        parsed.with_context(|| format!("`{url}` is not a URL"))
    });
    let mut config = bitfront_agent::Config::new(urls.collect::<Result<_, _>>()?);
    config.cores = cores(measuring)?;
    if let Some(wait) = &measuring.calm_wait {
        config.calm.wait = humantime::parse_duration(wait).map_err(|error| {
            Problem::usage(format!(
                "the wait for calm: `{wait}` is not a duration such as 5s or 0s: {error}"
            ))
        })?;
    }
    config.calm.refuse = measuring.refuse_busy;
    Ok(config)
}

/// Where an agent keeps what it fetches, and how much at most.
pub(crate) fn weights_cache(folder: PathBuf, most_bytes: u64) -> Result<(PathBuf, u64), Problem> {
    match folder.to_str() {
        Some(_) => Ok((folder, most_bytes)),
        None => Err(Problem::usage(format!(
            "--weights-cache: `{}` is not UTF-8",
            folder.display()
        ))),
    }
}

/// The cores that are to measure.
pub(crate) fn cores(measuring: &Measuring) -> Result<CoreChoice, Problem> {
    let wrong = |error: CoresError| Problem::usage(format!("the measuring cores: {error}"));
    let cores = measuring.cores.as_deref().map(str::parse).transpose();
    Ok(cores.map_err(wrong)?.unwrap_or_default())
}

/// The accelerator that is to be measured on in place of the processor.
pub(crate) fn accelerator(measuring: &Measuring) -> Result<Option<Accelerator>, Problem> {
    let wrong = |error: String| Problem::usage(format!("the accelerator: {error}"));
    let accelerator = measuring.accelerator.as_deref().map(str::parse).transpose();
    accelerator.map_err(wrong)
}

/// The life of an agent that measures with candle on a thread of this process.
pub(crate) fn agent(
    config: bitfront_agent::Config,
    cache: PathBuf,
    accelerator: Option<Accelerator>,
    stop: CancellationToken,
) -> impl Future<Output = Result<(), AgentError>> + Send + use<> {
    let runtime = move || runtime(cache, accelerator);
    bitfront_agent::run(config, runtime, stop)
}

/// The program that measures with candle for an agent in a process of its own.
pub(crate) fn worker(
    cache: &Path,
    accelerator: Option<Accelerator>,
    quiet: bool,
) -> anyhow::Result<WorkerProgram> {
    let this = std::env::current_exe().context("cannot tell which program this is")?;
    let cache = cache
        .to_str()
        .ok_or_else(|| Problem::usage(format!("--cache: `{}` is not UTF-8", cache.display())))?;
    let mut arguments = vec![WORKER.to_owned(), "--cache".to_owned(), cache.to_owned()];
    if let Some(accelerator) = accelerator {
        arguments.extend(["--accelerator".to_owned(), accelerator.to_string()]);
    }
    if quiet {
        arguments.push("--quiet".to_owned());
    }
    Ok(WorkerProgram::new(this, arguments))
}

/// The runtime that an agent of this machine measures with; for the thread that it is to stay on.
pub(crate) fn runtime(
    cache: PathBuf,
    accelerator: Option<Accelerator>,
) -> Result<Box<dyn Runtime>, RuntimeError> {
    let mut settings = CandleSettings::new(cache);
    settings.tensor_budget_bytes = hardware::tensor_budget_bytes(settings.tensor_budget_bytes);
    settings.prefix_budget_bytes = hardware::prefix_budget_bytes(settings.prefix_budget_bytes);
    if let Some(accelerator) = accelerator {
        let found = AcceleratorDevice::open(accelerator, &settings.root)?;
        return Ok(Box::new(AcceleratorRuntime::new(settings, found)?));
    }
    // Where the platform does not tell what runs here, figures say that no program is known.
    let this = std::env::current_exe().ok();
    settings.cold_program = this.map(|this| cold::Program::new(this, &[COLD_START]));
    Ok(Box::new(CandleRuntime::new(settings)?))
}
