//! How many agents one coordinator serves: simulated agents over real connections, whose tasks take
//! no time, against a coordinator in a process of its own.
//!
//! ```text
//! cargo bench -p bitfront-coordinator --bench load -- DATABASE [--agents N] [--connections N]
//!     [--searches N] [--pace MS] [--seconds N] [--windows N]
//! ```
//!
//! DATABASE is the path of a new SQLite file, or the URL of an empty Postgres database. A completion
//! is a task that was leased, measured (in no time) and reported, and whose report was acknowledged,
//! which is after its commit. Without `--pace` every agent asks for the next task at once, which
//! shows how many completions there can be; with it an agent begins a task every so many
//! milliseconds, which shows how long calls take under less than that. A row a window of time;
//! `stored` is how many measurements there were at its beginning. Times are from the call to its
//! answer, of leases that brought a task; memory is the coordinator's resident size at the end of
//! the window. Agents beyond the number of connections share them.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods
)]

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use bitfront_model::{Assignment, Budget, SearchRequest, StrategyName};
use bitfront_proto::v1;
use bitfront_proto::v1::agents_client::AgentsClient;
use bitfront_proto::v1::searches_client::SearchesClient;
use tonic::transport::Channel;

#[path = "../src/fixtures.rs"]
#[allow(dead_code, unreachable_pub, missing_docs)]
mod fixtures;
mod support;

use support::Coordinator;

/// What was asked for.
#[derive(Debug, Clone)]
struct Plan {
    database: String,
    agents: usize,
    connections: usize,
    searches: usize,
    pace: Option<Duration>,
    window: Duration,
    windows: usize,
}

impl Plan {
    fn read(arguments: &[String]) -> Self {
        let of = |name: &str, usual: u64| {
            let at = arguments.iter().position(|argument| argument == name);
            at.map_or(usual, |at| arguments[at + 1].parse().unwrap())
        };
        let agents = of("--agents", 1000) as usize;
        Self {
            database: arguments[0].clone(),
            agents,
            connections: (of("--connections", 1000) as usize).min(agents),
            searches: of("--searches", 16) as usize,
            pace: Some(of("--pace", 0))
                .filter(|&pace| pace > 0)
                .map(Duration::from_millis),
            window: Duration::from_secs(of("--seconds", 10)),
            windows: of("--windows", 3) as usize,
        }
    }
}

/// What the agents saw in a window.
#[derive(Default)]
struct Seen {
    leases: Mutex<Vec<f64>>,
    reports: Mutex<Vec<f64>>,
    completions: AtomicU64,
    failures: AtomicU64,
    stop: AtomicBool,
}

fn main() {
    let Some(arguments) = support::arguments() else {
        return;
    };
    if arguments.is_empty() {
        eprintln!("name a database: a new SQLite file, or the URL of an empty Postgres database");
        std::process::exit(2);
    }
    let plan = Plan::read(&arguments);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(measure(plan));
}

async fn measure(plan: Plan) {
    let coordinator = Coordinator::start(&plan.database);
    let mut channels = Vec::new();
    for _ in 0..plan.connections {
        channels.push(coordinator.connect().await);
    }
    let mut searches = SearchesClient::new(channels[0].clone());
    for seed in 0..plan.searches {
        let request = SearchRequest {
            budget: Budget {
                evaluations: None,
                time: Some(Duration::from_secs(86_400)),
            },
            strategy: StrategyName::Random,
            staged: false,
            retimings: false,
            seed: seed as u64,
            ..fixtures::request()
        };
        let submission = v1::SubmitRequest {
            request: Some((&request).into()),
            idempotency_key: String::new(),
        };
        searches.submit(submission).await.unwrap();
    }
    let seen = Arc::new(Seen::default());
    for number in 0..plan.agents {
        let channel = channels[number % channels.len()].clone();
        tokio::spawn(agent(number, channel, plan.pace, seen.clone()));
    }
    let pace = plan
        .pace
        .map_or("none".to_owned(), |pace| format!("{pace:?}"));
    println!(
        "{} agents on {} connections, {} searches, pace {pace}",
        plan.agents, plan.connections, plan.searches
    );
    println!(
        "{:>9} {:>14} {:>10} {:>10} {:>11} {:>11} {:>8} {:>9}",
        "stored",
        "completions/s",
        "lease p50",
        "lease p99",
        "report p50",
        "report p99",
        "failed",
        "MiB"
    );
    let mut stored = 0;
    for window in 0..=plan.windows {
        let begin = Instant::now();
        tokio::time::sleep(plan.window).await;
        let completions = seen.completions.swap(0, Ordering::SeqCst);
        let failures = seen.failures.swap(0, Ordering::SeqCst);
        let mut leases = std::mem::take(&mut *seen.leases.lock().unwrap());
        let mut reports = std::mem::take(&mut *seen.reports.lock().unwrap());
        // All agents register in the first one.
        if window > 0 {
            println!(
                "{stored:>9} {:>14.0} {:>10} {:>10} {:>11} {:>11} {failures:>8} {:>9.0}",
                completions as f64 / begin.elapsed().as_secs_f64(),
                quantile(&mut leases, 0.5),
                quantile(&mut leases, 0.99),
                quantile(&mut reports, 0.5),
                quantile(&mut reports, 0.99),
                coordinator.memory()
            );
        }
        stored += completions;
    }
    seen.stop.store(true, Ordering::SeqCst);
}

/// In milliseconds.
fn quantile(seconds: &mut [f64], share: f64) -> String {
    if seconds.is_empty() {
        return "-".to_owned();
    }
    seconds.sort_by(f64::total_cmp);
    let place = ((seconds.len() - 1) as f64 * share) as usize;
    format!("{:.1} ms", 1e3 * seconds[place])
}

async fn agent(number: usize, channel: Channel, pace: Option<Duration>, seen: Arc<Seen>) {
    let mut client = AgentsClient::new(channel);
    let registration = fixtures::registration(&format!("agent {number}"));
    let instance = format!("instance {number}");
    let spec = fixtures::spec();
    let device = loop {
        let request = v1::RegisterRequest {
            instance: instance.clone(),
            ..(&registration).into()
        };
        match client.register(request).await {
            Ok(answer) => break answer.into_inner().device_id,
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    };
    if let Some(pace) = pace {
        // Not all at the same moment.
        tokio::time::sleep(pace.mul_f64((number % 997) as f64 / 997.0)).await;
    }
    let mut next = Instant::now();
    while !seen.stop.load(Ordering::SeqCst) {
        let begin = Instant::now();
        let leased = client.lease(v1::LeaseRequest {
            device_id: device,
            wait_ms: 20_000,
            hardware_profile_digest: registration.hardware_profile.digest().to_string(),
            instance: instance.clone(),
            most_companions: 0,
        });
        let Ok(leased) = leased.await else {
            seen.failures.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        let Some(wire) = leased.into_inner().assignment else {
            continue;
        };
        seen.leases
            .lock()
            .unwrap()
            .push(begin.elapsed().as_secs_f64());
        let assignment = Assignment::try_from(wire).unwrap();
        let report = fixtures::report(&spec, &assignment);
        let begin = Instant::now();
        match client.report(v1::ReportRequest::from(&report)).await {
            Ok(_) => {
                seen.reports
                    .lock()
                    .unwrap()
                    .push(begin.elapsed().as_secs_f64());
                seen.completions.fetch_add(1, Ordering::SeqCst);
            }
            Err(_) => {
                seen.failures.fetch_add(1, Ordering::SeqCst);
            }
        }
        if let Some(pace) = pace {
            next += pace;
            tokio::time::sleep_until(next.into()).await;
        }
    }
}
