//! A week of nights in simulated time: coordinators come and go, one night nobody serves, and one is
//! killed amid a search.

use std::sync::Arc;

use bitfront_model::{Outcome, Report, SearchStatus};
use tokio::task::JoinSet;

use super::*;
use crate::leasing::HandOut;
use crate::membership::Membership;
use crate::store::Store;

/// A coordinator without a server.
struct Coordinator {
    bench: Bench,
    membership: Membership,
    scheduler: Arc<Scheduler>,
    notices: Notices,
}

impl Coordinator {
    /// Starts at a time since the start of the week.
    async fn start(store: Arc<dyn Store>, at: Duration) -> Self {
        let bench = Bench::over(store, |_| {}).await;
        bench.clock.advance(at);
        let (leasing, drivers) = (bench.leasing.clone(), bench.drivers.clone());
        let world = bench.world.clone();
        let begun = Membership::begin(world.clone(), leasing, drivers, "here".to_owned());
        Self {
            membership: begun.await.unwrap(),
            scheduler: Arc::new(scheduler(&bench)),
            notices: Notices::new(world),
            bench,
        }
    }

    /// Lets a time pass, beat by beat.
    async fn pass(&mut self, time: Duration) {
        let beat = self.bench.world.config.beat;
        let mut passed = Duration::ZERO;
        while passed < time {
            self.bench.clock.advance(beat);
            passed += beat;
            self.membership.look().await.unwrap();
        }
    }

    /// Ends at once, and says nothing to the others.
    async fn kill(self) {
        self.bench.stop().await;
    }
}

/// When a device becomes slower, and by which factor.
#[derive(Clone, Copy)]
pub(crate) struct Slowdown {
    /// The first night on which it is, from one.
    pub(crate) night: u32,
    pub(crate) factor: f64,
}

impl Slowdown {
    /// What a device measures in a night: of what is timed it takes longer for everything, the anchor
    /// too, so ratios stay what they were.
    fn change(self, night: u32, hand_out: &HandOut, report: &mut Report) {
        let Outcome::Latency { workloads } = &mut report.measurement.outcome else {
            return;
        };
        if night < self.night {
            return;
        }
        let slower = |ns: &mut u64| *ns = (*ns as f64 * self.factor) as u64;
        for latency in workloads {
            latency.samples_ns.iter_mut().for_each(slower);
            latency.median_ns *= self.factor;
            latency.interval.low *= self.factor;
            latency.interval.high *= self.factor;
            let anchor = hand_out.assignment.anchor.as_ref();
            let known = anchor.and_then(|anchor| anchor.time(latency.workload));
            if let Some(paired) = &mut latency.paired {
                paired.anchor_samples_ns.iter_mut().for_each(slower);
                // One that the search knows is on its scale already.
                if known.is_none() {
                    paired.reference.median_ns *= self.factor;
                    paired.reference.interval.low *= self.factor;
                    paired.reference.interval.high *= self.factor;
                }
            }
        }
    }
}

/// What came of the week.
pub(crate) struct Week {
    /// The first one first.
    pub(crate) nights: Vec<Night>,
    /// The statuses of the searches that were started.
    pub(crate) searches: Vec<SearchStatus>,
    /// The times of the plan that each of them times first, in nanoseconds.
    pub(crate) first_ns: Vec<f64>,
    /// What the webhook was told, with whether it took it.
    pub(crate) posted: Vec<(bool, serde_json::Value)>,
}

/// Lives through a week of nights at two. `open` gives the stores of the coordinators that serve in a
/// night, over one database; `close` ends them.
pub(crate) async fn live(
    slowdown: Option<Slowdown>,
    open: impl AsyncFn() -> Vec<Arc<dyn Store>>,
    close: impl AsyncFn(),
) -> Week {
    let receiver = Receiver::start(1).await;
    let mut result = None;
    for night in 1..=7_u32 {
        // The third slot has passed by hours when somebody comes.
        let late = if night == 3 { 5 * HOUR } else { Duration::ZERO };
        let slot = DAY * (night - 1) + 2 * HOUR;
        let before = slot + late - Duration::from_secs(60);
        let mut coordinators = Vec::new();
        for store in open().await {
            coordinators.push(Coordinator::start(store, before).await);
        }
        if night == 1 {
            let mut schedule = nightly("week");
            schedule.webhook = Some(Webhook(receiver.url.clone()));
            add(&coordinators[0].bench.world, &schedule).await.unwrap();
        }
        // Before the slot, at it and after it, all at once.
        for _ in 0..4 {
            let mut looks = JoinSet::new();
            for coordinator in &coordinators {
                let scheduler = coordinator.scheduler.clone();
                looks.spawn(async move { scheduler.look().await });
            }
            looks.join_all().await;
            for coordinator in &mut coordinators {
                coordinator.pass(Duration::from_secs(30)).await;
            }
        }
        let change = |hand_out: &HandOut, report: &mut Report| {
            if let Some(slowdown) = slowdown {
                slowdown.change(night, hand_out, report);
            }
        };
        let world = coordinators[0].bench.world.clone();
        let last = nights(&world, "week", 1).await.unwrap().remove(0);
        if let Some(search) = last.search {
            let mut drives = 0;
            for (place, coordinator) in coordinators.iter().enumerate() {
                if coordinator.bench.drivers.driven().contains(&search) {
                    drives = place;
                }
            }
            if night == 5 {
                // Killed amid the search; whoever is left or comes next goes on with it.
                let killed = coordinators.remove(drives);
                let device = killed.bench.register("board").await;
                let reported = killed.bench.serve_with(device, search, 5, change).await;
                assert_eq!(reported, 5);
                killed.kill().await;
                if coordinators.is_empty() {
                    close().await;
                    let store = open().await.remove(0);
                    coordinators.push(Coordinator::start(store, before + 2 * HOUR / 60).await);
                }
                drives = 0;
                coordinators[0].pass(Duration::from_secs(20)).await;
            }
            let bench = &coordinators[drives].bench;
            let device = bench.register("board").await;
            bench.serve_with(device, search, usize::MAX, change).await;
        }
        // The first attempt of all is refused, and made again when its time has come.
        for _ in 0..3 {
            for coordinator in &mut coordinators {
                coordinator.notices.look().await;
                coordinator.pass(Duration::from_secs(40)).await;
            }
        }
        if night == 7 {
            let world = &coordinators[0].bench.world;
            let nights = all_nights(&coordinators[0].bench, "week").await;
            let (mut searches, mut first_ns) = (Vec::new(), Vec::new());
            for search in nights.iter().filter_map(|night| night.search) {
                searches.push(crate::query::status(world, search).await.unwrap());
                let first = world.store.first_timing(search).await.unwrap().unwrap();
                let Outcome::Latency { workloads } = first.measurement.outcome else {
                    panic!("a timing");
                };
                first_ns.push(workloads[0].median_ns);
            }
            result = Some((nights, searches, first_ns));
        }
        for coordinator in coordinators {
            coordinator.kill().await;
        }
        close().await;
    }
    let (nights, searches, first_ns) = result.unwrap();
    Week {
        nights,
        searches,
        first_ns,
        posted: receiver.posted(),
    }
}

/// Holds a week to what was promised of it.
pub(crate) fn check(week: &Week) {
    let slots: Vec<_> = week.nights.iter().map(|night| night.slot_ms).collect();
    let first = 86_400_000 + 7_200_000;
    let expected: Vec<_> = (0..7).map(|day| first + day * 86_400_000).collect();
    assert_eq!(slots, expected, "every slot once");
    for (place, night) in week.nights.iter().enumerate() {
        let expected = match place {
            2 => (NightState::Missed, None),
            _ => (NightState::Started, Some(SearchState::Done)),
        };
        assert_eq!((night.state, night.search_state), expected, "{night:?}");
        assert_eq!(night.notice.state, NoticeState::Delivered, "{night:?}");
    }
    // Each starts from the one before it.
    let numbers: Vec<_> = week.searches.iter().map(|it| Some(it.search)).collect();
    assert_eq!(numbers.len(), 6);
    let from: Vec<_> = week
        .searches
        .iter()
        .map(|it| it.request.start_from)
        .collect();
    assert_eq!((from[0], &from[1..]), (None, &numbers[..5]));

    let told = week.posted.iter().filter(|(is_taken, _)| *is_taken);
    let told: Vec<_> = told.map(|(_, notice)| notice).collect();
    let day = |day: u32| format!("1970-01-{day:02}T02:00:00Z");
    for (place, notice) in told.iter().enumerate() {
        let night = &week.nights[place];
        let state = if place == 2 { "missed" } else { "done" };
        let expected = serde_json::json!({
            "schedule": "week",
            "slot": day(place as u32 + 2),
            "state": state,
            "search": night.search,
            "reason": night.reason,
        });
        let mut told = (*notice).clone();
        told.as_object_mut().unwrap().remove("since");
        assert_eq!(told, expected);
    }
    assert_eq!(told.len(), 7, "each is told once");
    let refused = week.posted.iter().filter(|(is_taken, _)| !is_taken);
    let refused: Vec<_> = refused.map(|(_, notice)| notice).collect();
    assert_eq!(refused, [told[0]], "and the first one again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_slot_of_a_week_is_decided_once_whoever_serves() {
    let folder = folder();
    let file = folder.path().join("test.sqlite");
    let opened = std::sync::Mutex::new(None);
    let open = async || {
        let store = crate::store::sqlite::SqliteStore::open(&file).await;
        let store = Arc::new(store.unwrap());
        *opened.lock().unwrap() = Some(store.clone());
        vec![store as Arc<dyn Store>]
    };
    let close = async || {
        let store = opened.lock().unwrap().take();
        store.unwrap().close().await;
    };
    let slowdown = Slowdown {
        night: 4,
        factor: 1.06,
    };
    let week = live(Some(slowdown), open, close).await;
    check(&week);
    // Times are each night's own: a device that becomes slower is seen to be from that night on.
    let slower = week
        .first_ns
        .iter()
        .map(|ns| (100.0 * ns / week.first_ns[0]).round());
    assert_eq!(
        slower.collect::<Vec<_>>(),
        [100.0, 100.0, 106.0, 106.0, 106.0, 106.0]
    );
    // It is told in the night in which it happens, and in no other one.
    let told = week.posted.iter().filter(|(is_taken, _)| *is_taken);
    let worse = told.map(|(_, notice)| notice["since"]["worse"].as_bool());
    let (none, same, slower) = (None, Some(false), Some(true));
    let expected = [none, same, none, slower, same, same, same];
    assert_eq!(worse.collect::<Vec<_>>(), expected, "{:#?}", week.posted);
}
