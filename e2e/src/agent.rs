//! An agent that can be killed inside the test's process.

use std::path::Path;
use std::time::Duration;

use bitfront_agent::{Access, AgentError, Config, CoreChoice, Patience};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::scripted::ScriptedRuntime;

/// A running agent, on an async runtime of its own, see
/// [`Coordinator`](crate::coordinator::Coordinator).
pub struct Agent {
    shutdown: CancellationToken,
    running: Option<(Runtime, JoinHandle<Result<(), AgentError>>)>,
}

impl Agent {
    /// Starts an agent under a name.
    pub fn start(name: &str, coordinator: &str, scripted: ScriptedRuntime) -> Self {
        Self::start_with(Self::config(name, coordinator), scripted)
    }

    /// Starts one that is let in by what it shows.
    pub fn start_guarded(
        name: &str,
        coordinator: &str,
        access: Access,
        scripted: ScriptedRuntime,
    ) -> Self {
        let config = Config {
            access,
            ..Self::config(name, coordinator)
        };
        Self::start_with(config, scripted)
    }

    /// Starts one that fetches files to a folder.
    pub fn start_fetching(
        name: &str,
        coordinator: &str,
        scripted: ScriptedRuntime,
        cache: &Path,
    ) -> Self {
        let config = Config {
            weights_cache: Some((cache.to_owned(), 1 << 30)),
            ..Self::config(name, coordinator)
        };
        Self::start_with(config, scripted)
    }

    fn config(name: &str, coordinator: &str) -> Config {
        Config {
            name: Some(name.to_owned()),
            // A scripted runtime is not timed, and several agents share this process.
            cores: CoreChoice::Any,
            // Nor does it wait for the others.
            root: "/nowhere".into(),
            patience: Patience {
                start: Duration::from_secs(10),
                lease: Duration::from_secs(2),
                first_retry: Duration::from_millis(20),
                last_retry: Duration::from_millis(200),
                failure_pause: Duration::from_millis(50),
                ..Patience::default()
            },
            ..Config::new(vec![coordinator.parse().unwrap()])
        }
    }

    fn start_with(config: Config, scripted: ScriptedRuntime) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let shutdown = CancellationToken::new();
        let running = runtime.spawn(bitfront_agent::run(
            config,
            scripted.factory(),
            shutdown.clone(),
        ));
        Self {
            shutdown,
            running: Some((runtime, running)),
        }
    }

    /// Ends it as an operator would.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let (runtime, running) = self.running.take().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
        ended.expect("the agent does not end").unwrap().unwrap();
        runtime.shutdown_background();
    }

    /// Waits until it ends by itself, and says why.
    pub async fn failure(mut self) -> String {
        let (runtime, running) = self.running.take().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
        let failure = ended.expect("the agent does not end").unwrap().unwrap_err();
        runtime.shutdown_background();
        failure.to_string()
    }

    /// Ends it as a power cut would: no lease is given back and no report goes out any more.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}
