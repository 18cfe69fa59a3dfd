//! A coordinator in a process of its own: its memory and time are nobody else's.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitfront_coordinator::{Config, Database, SystemClock};
use tokio_util::sync::CancellationToken;
use tonic::transport::{Channel, Endpoint};

/// The first argument of the process that is the coordinator.
const COORDINATOR: &str = "--is-the-coordinator";

/// What the benchmark was asked for; nothing in the process that is the coordinator, once it has
/// ended.
pub(crate) fn arguments() -> Option<Vec<String>> {
    let arguments = std::env::args().skip(1).filter(|it| it != "--bench");
    let arguments: Vec<_> = arguments.collect();
    if arguments.first().is_some_and(|first| first == COORDINATOR) {
        coordinate(&arguments[1], &arguments[2]);
        return None;
    }
    Some(arguments)
}

/// The coordinator's process; writes its address into a file once it listens.
fn coordinate(database: &str, address: &str) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let bound = listener.local_addr().unwrap().to_string();
        std::fs::write(address, bound).unwrap();
        let config = Config::new(Database::named(OsStr::new(database)));
        let (clock, shutdown) = (Arc::new(SystemClock::new()), CancellationToken::new());
        let ended = bitfront_coordinator::run(config, listener, clock, shutdown).await;
        eprintln!("the coordinator ended: {ended:?}");
    });
}

pub(crate) struct Coordinator {
    process: Child,
    /// Where it listens, as `127.0.0.1:7311`.
    pub(crate) address: String,
}

impl Coordinator {
    pub(crate) fn start(database: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let address = folder.path().join("address");
        let process = Command::new(std::env::current_exe().unwrap())
            .args([COORDINATOR, database])
            .arg(&address)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let deadline = Instant::now() + Duration::from_secs(10);
        let bound = loop {
            match std::fs::read_to_string(&address) {
                Ok(bound) if !bound.is_empty() => break bound,
                _ => assert!(Instant::now() < deadline, "the coordinator does not listen"),
            }
            std::thread::sleep(Duration::from_millis(10));
        };
        Self {
            process,
            address: bound,
        }
    }

    pub(crate) async fn connect(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("http://{}", self.address)).unwrap();
        let endpoint = endpoint.tcp_nodelay(true);
        loop {
            match endpoint.connect().await {
                Ok(channel) => return channel,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    }

    /// Resident size in MiB.
    pub(crate) fn memory(&self) -> f64 {
        let status = Path::new("/proc").join(self.process.id().to_string());
        let status = std::fs::read_to_string(status.join("status")).unwrap_or_default();
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let resident = resident.and_then(|rest| rest.trim().strip_suffix(" kB"));
        resident.map_or(0.0, |kib| kib.parse::<f64>().unwrap() / 1024.0)
    }
}

impl Drop for Coordinator {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
