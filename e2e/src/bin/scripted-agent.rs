//! An agent whose runtime is scripted, as a process that can be killed and paused.
//!
//! `scripted-agent NAME SPOOL PAUSE_MS COORDINATOR...`

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use bitfront_agent::{Config, CoreChoice, Patience};
use bitfront_e2e::scripted::ScriptedRuntime;
use tokio_util::sync::CancellationToken;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, spool, pause, coordinators @ ..] = arguments.as_slice() else {
        panic!("scripted-agent NAME SPOOL PAUSE_MS COORDINATOR...");
    };
    let coordinators = coordinators.iter().map(|url| url.parse().unwrap());
    let config = Config {
        name: Some(name.clone()),
        spool: Some(spool.into()),
        cores: CoreChoice::Any,
        root: "/nowhere".into(),
        patience: Patience {
            start: Duration::from_secs(600),
            lease: Duration::from_secs(2),
            call: Duration::from_secs(5),
            first_retry: Duration::from_millis(20),
            last_retry: Duration::from_millis(500),
            failure_pause: Duration::from_millis(50),
            ..Patience::default()
        },
        ..Config::new(coordinators.collect())
    };
    let pause = Duration::from_millis(pause.parse().unwrap());
    let runtime = ScriptedRuntime::obliging().pausing(pause).factory();
    let async_runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let ran = async_runtime.block_on(bitfront_agent::run(
        config,
        runtime,
        CancellationToken::new(),
    ));
    ran.unwrap();
}
