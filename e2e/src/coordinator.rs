//! A coordinator that can be killed inside the test's process.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitfront_coordinator::{Clock, Config, RunError, SystemClock};
use bitfront_proto::access::Access;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::searches::Searches;

/// A running coordinator.
///
/// It has an async runtime of its own. Shutting that down drops every task and connection of the
/// coordinator wherever it stands, which is as close to a kill as one process allows.
pub struct Coordinator {
    address: SocketAddr,
    scheme: &'static str,
    shutdown: CancellationToken,
    running: Option<(Runtime, JoinHandle<Result<(), RunError>>)>,
}

impl Coordinator {
    /// Starts on a free port.
    pub async fn start(config: Config) -> Self {
        Self::start_at(config, "127.0.0.1:0".parse().unwrap()).await
    }

    /// Starts on a free port, by another clock than the machine's.
    pub async fn start_by(config: Config, clock: Arc<dyn Clock>) -> Self {
        let coordinator = Self::spawn(config, "127.0.0.1:0".parse().unwrap(), clock);
        let searches = Searches::connect(&coordinator.url()).await;
        searches.list().await.unwrap();
        coordinator
    }

    /// Starts on a free port, and may be come to like this alone.
    pub async fn start_guarded(config: Config, access: &Access, clock: Arc<dyn Clock>) -> Self {
        let coordinator = Self::begin(config, clock);
        let searches = Searches::connect_with(&coordinator.url(), access);
        searches.list().await.unwrap();
        coordinator
    }

    /// Starts at an address. One that was killed just before may not have let go of its database
    /// yet, so a database in use is tried again.
    pub async fn start_at(config: Config, address: SocketAddr) -> Self {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let mut coordinator =
                Self::spawn(config.clone(), address, Arc::new(SystemClock::new()));
            let searches = Searches::connect(&coordinator.url()).await;
            if searches.list().await.is_ok() {
                return coordinator;
            }
            let (runtime, running) = coordinator.running.take().unwrap();
            let ended = running.await.unwrap();
            runtime.shutdown_background();
            let in_use = matches!(ended, Err(RunError::InUse(_)));
            assert!(in_use && Instant::now() < deadline, "{ended:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Starts on a free port and waits for nothing.
    pub fn begin(config: Config, clock: Arc<dyn Clock>) -> Self {
        Self::spawn(config, "127.0.0.1:0".parse().unwrap(), clock)
    }

    fn spawn(config: Config, address: SocketAddr, clock: Arc<dyn Clock>) -> Self {
        let scheme = match config.tls {
            Some(_) => "https",
            None => "http",
        };
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind(address).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let shutdown = CancellationToken::new();
        let ends = shutdown.clone();
        let running = runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            bitfront_coordinator::run(config, listener, clock, ends).await
        });
        Self {
            address,
            scheme,
            shutdown,
            running: Some((runtime, running)),
        }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it listens, as a URL.
    pub fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.address)
    }

    /// A client of it.
    pub async fn searches(&self) -> Searches {
        Searches::connect(&self.url()).await
    }

    /// Ends it as an operator would.
    pub async fn stop(mut self) {
        self.shutdown.cancel();
        let (runtime, running) = self.running.take().unwrap();
        let ended = tokio::time::timeout(Duration::from_secs(20), running).await;
        ended
            .expect("the coordinator does not end")
            .unwrap()
            .unwrap();
        runtime.shutdown_background();
    }

    /// Ends it as a power cut would.
    pub fn kill(self) {
        drop(self);
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        if let Some((runtime, _)) = self.running.take() {
            runtime.shutdown_background();
        }
    }
}
