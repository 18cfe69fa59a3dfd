//! What is counted while it happens, under the names by which Prometheus reads it.
//!
//! No label is anything that grows with use: there are as many calls, kinds, states and causes as
//! the program has words for, and of targets that work waits for the largest alone are named. Names
//! of access tokens, devices and searches are in the log and in the database.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::prometheus_text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use crate::gate::Gate;
use crate::recorder::Recorder;
use crate::store::Load;

/// A label and its value.
pub(crate) type Label = (&'static str, &'static str);

/// How often something happened, by one label.
pub(crate) type Counts = Family<[Label; 1], Counter>;

/// How long something took, by one label, in seconds.
type Times = Family<[Label; 1], Histogram, fn() -> Histogram>;

/// Targets that work waits for, by which it is told. A fleet of more hardware profiles has the rest of
/// them told together.
const MOST_TARGETS: usize = 64;

/// The target of the rest.
const OTHER_TARGETS: &str = "others";

/// What is counted; see the module's documentation.
pub(crate) struct Metrics {
    registry: Registry,
    calls: Family<[Label; 2], Counter>,
    call_seconds: Times,
    reports: Counts,
    task_seconds: Times,
    driver_seconds: Counter<f64, AtomicU64>,
    blob_bytes: Counts,
    standing: Standing,
}

/// What is looked at when somebody asks, and not counted while it happens.
#[derive(Default)]
struct Standing {
    leases: Gauge,
    devices: Family<[Label; 1], Gauge>,
    database_answers: Gauge,
    searches: Family<[Label; 1], Gauge>,
    queued: Family<[(&'static str, String); 2], Gauge>,
}

/// What this process knows by itself when somebody asks.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Here {
    /// Leases whose time it keeps.
    pub(crate) leases: usize,
    /// Devices whose agents speak to it.
    pub(crate) present: usize,
    /// Devices that it has heard from and does not hear from any more.
    pub(crate) silent: usize,
}

impl Metrics {
    /// Counts from nothing on, and tells what `gate` and `recorder` count of their own.
    pub(crate) fn new(gate: &Gate, recorder: &Recorder) -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("bitfront"),
            calls: Family::default(),
            call_seconds: Family::new_with_constructor(seconds_of_calls),
            reports: Family::default(),
            task_seconds: Family::new_with_constructor(seconds_of_tasks),
            driver_seconds: Counter::default(),
            blob_bytes: Family::default(),
            standing: Standing::default(),
        };
        metrics.registered(gate, recorder)
    }

    fn registered(mut self, gate: &Gate, recorder: &Recorder) -> Self {
        let registry = &mut self.registry;
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The program that tells this", build);
        registry.register(
            "calls",
            "Calls that were answered, by their status as gRPC names it",
            self.calls.clone(),
        );
        registry.register_with_unit(
            "call",
            "Time from a call to its answer, or to the first part of one that is a stream; agents \
             wait in Lease for as long as there is no work",
            Unit::Seconds,
            self.call_seconds.clone(),
        );
        registry.register(
            "calls_refused",
            "Calls that the gate refused, by why",
            gate.refused.clone(),
        );
        registry.register(
            "reports",
            "Reports of agents, by what came of them",
            self.reports.clone(),
        );
        registry.register_with_unit(
            "task",
            "Time from the hand-out of a task, or its takeover, to the report that ended it",
            Unit::Seconds,
            self.task_seconds.clone(),
        );
        registry.register_with_unit(
            "commit",
            "Time that the database takes for the reports of one transaction",
            Unit::Seconds,
            recorder.commit_seconds.clone(),
        );
        registry.register(
            "commit_reports",
            "Reports that were committed in one transaction",
            recorder.commit_reports.clone(),
        );
        registry.register_with_unit(
            "driver",
            "Time that drivers of searches were at work, waits for the database included",
            Unit::Seconds,
            self.driver_seconds.clone(),
        );
        registry.register_with_unit(
            "blob",
            "Bytes of blobs that went to and from clients",
            Unit::Bytes,
            self.blob_bytes.clone(),
        );
        let standing = &self.standing;
        registry.register(
            "leases",
            "Tasks that devices hold, of those whose time this coordinator keeps",
            standing.leases.clone(),
        );
        registry.register(
            "devices",
            "Devices whose agents speak to this coordinator, or did since it started",
            standing.devices.clone(),
        );
        registry.register(
            "database_answers",
            "1 where the database told its part in time, 0 where that is missing here",
            standing.database_answers.clone(),
        );
        registry.register(
            "searches",
            "Searches in the database",
            standing.searches.clone(),
        );
        registry.register(
            "queued_tasks",
            "Tasks in the database that nobody measures yet, by who may: the first characters of a \
             hardware profile's digest, or a numerics class",
            standing.queued.clone(),
        );
        self
    }

    /// A call was answered.
    pub(crate) fn call(&self, method: &'static str, code: &'static str, took: Duration) {
        let labels = [("method", method), ("code", code)];
        self.calls.get_or_create(&labels).inc();
        let times = self.call_seconds.get_or_create(&[("method", method)]);
        times.observe(took.as_secs_f64());
    }

    /// A report came to something.
    pub(crate) fn report(&self, result: &'static str) {
        self.reports.get_or_create(&[("result", result)]).inc();
    }

    /// A task was measured.
    pub(crate) fn task(&self, kind: &'static str, took: Duration) {
        let times = self.task_seconds.get_or_create(&[("kind", kind)]);
        times.observe(took.as_secs_f64());
    }

    /// A driver was at work.
    pub(crate) fn driver(&self, took: Duration) {
        self.driver_seconds.inc_by(took.as_secs_f64());
    }

    /// A part of a blob was sent.
    pub(crate) fn sent(&self, bytes: usize) {
        self.blob("sent", bytes);
    }

    /// A part of a blob was received.
    pub(crate) fn received(&self, bytes: usize) {
        self.blob("received", bytes);
    }

    fn blob(&self, direction: &'static str, bytes: usize) {
        let counter = self.blob_bytes.get_or_create(&[("direction", direction)]);
        counter.inc_by(bytes as u64);
    }

    /// Everything, as Prometheus reads it (the text format 0.0.4). Without what the database tells
    /// where that is not known.
    ///
    /// One caller at a time: what stands is set anew for each.
    pub(crate) fn page(&self, here: Here, load: Option<&Load>) -> String {
        let standing = &self.standing;
        standing.leases.set(gauge(here.leases));
        let device = |presence| {
            standing
                .devices
                .get_or_create_owned(&[("presence", presence)])
        };
        device("present").set(gauge(here.present));
        device("silent").set(gauge(here.silent));
        standing.database_answers.set(load.is_some().into());
        standing.searches.clear();
        standing.queued.clear();
        for &(state, count) in load.iter().flat_map(|load| &load.searches) {
            let searches = standing.searches.get_or_create(&[("state", state.name())]);
            searches.set(count);
        }
        let mut queued: Vec<_> = load.iter().flat_map(|load| &load.queued).collect();
        queued.sort_by_key(|queued| std::cmp::Reverse(queued.count));
        let mut named: Vec<&str> = Vec::new();
        for queued in queued {
            let target = match named.contains(&queued.target.as_str()) {
                true => queued.target.as_str(),
                false if named.len() < MOST_TARGETS => {
                    named.push(&queued.target);
                    &queued.target
                }
                false => OTHER_TARGETS,
            };
            let labels = [("target", target.to_owned()), ("kind", queued.kind.clone())];
            standing.queued.get_or_create(&labels).inc_by(queued.count);
        }
        let mut page = String::new();
        // Nothing else than a full memory keeps anybody from writing into a string.
        let _ = prometheus_text::encode(&mut page, &self.registry);
        page
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// From what a read of memory takes to how long an agent waits for work.
fn seconds_of_calls() -> Histogram {
    Histogram::new([0.001, 0.005, 0.025, 0.1, 0.5, 2.5, 10.0, 30.0])
}

/// From a timing of a small model to the quality of a large one on a slow board.
fn seconds_of_tasks() -> Histogram {
    Histogram::new([0.1, 0.5, 2.5, 10.0, 30.0, 120.0, 600.0, 1800.0, 7200.0])
}

/// From a disk that does not wait to one that others keep busy.
pub(crate) fn seconds_of_commits() -> Histogram {
    Histogram::new([0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5])
}

/// From one report to as many as are ever committed together.
pub(crate) fn reports_of_commits() -> Histogram {
    Histogram::new([1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0])
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::store::QueuedTasks;
    use crate::testing::{Bench, folder};

    #[tokio::test]
    async fn a_fleet_of_many_profiles_has_no_more_labels_than_one_of_some() {
        let folder = folder();
        let bench = Bench::in_folder(folder.path()).await;
        let queued = |profile: usize, kind: &str| QueuedTasks {
            target: format!("profile-{profile}"),
            kind: kind.to_owned(),
            count: 1000 - profile as i64,
        };
        let queued =
            (0..200).flat_map(|profile| ["latency", "probe"].map(|kind| queued(profile, kind)));
        let load = Load {
            searches: Vec::new(),
            queued: queued.collect(),
        };
        let total: i64 = load.queued.iter().map(|queued| queued.count).sum();
        let page = bench.world.metrics.page(Here::default(), Some(&load));
        let rows = page
            .lines()
            .filter(|line| line.starts_with("bitfront_queued_tasks{"));
        let rows: Vec<_> = rows.collect();
        assert_eq!(rows.len(), 2 * (MOST_TARGETS + 1));
        let value = |row: &&str| row.rsplit(' ').next().unwrap().parse::<i64>().unwrap();
        assert_eq!(rows.iter().map(value).sum::<i64>(), total);

        // What is gone is told no more, and what cannot be told is missing and not zero.
        let page = bench.world.metrics.page(Here::default(), None);
        assert!(!page.contains("bitfront_queued_tasks{"), "{page}");
        assert!(page.contains("\nbitfront_database_answers 0\n"), "{page}");
        bench.stop().await;
    }
}
