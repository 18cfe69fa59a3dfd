#![allow(clippy::unwrap_used)]

mod receiver;
pub(crate) mod week;

use bitfront_model::{Joint, NightState, NoticeState, SearchState, TaskKind, Webhook};

use super::notice::Notices;
use super::run::Scheduler;
use super::*;
use crate::testing::{Bench, folder};
use crate::{fixtures, query};
use receiver::Receiver;

const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(86_400);

/// Every night at two, of a request with a budget that leaves room for more than baselines.
fn nightly(name: &str) -> NewSchedule {
    let mut request = fixtures::request();
    request.budget = fixtures::evaluations(60);
    NewSchedule {
        name: name.to_owned(),
        cron: "0 2 * * *".to_owned(),
        time_zone: "UTC".to_owned(),
        grace: HOUR,
        webhook: None,
        request,
    }
}

fn scheduler(bench: &Bench) -> Scheduler {
    Scheduler::new(bench.world.clone(), bench.drivers.clone())
}

/// The nights of a schedule, the first one first.
async fn all_nights(bench: &Bench, name: &str) -> Vec<Night> {
    let mut nights = nights(&bench.world, name, 1000).await.unwrap();
    nights.reverse();
    nights
}

#[tokio::test]
async fn what_cannot_be_scheduled_is_refused_with_what_to_do() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let two_at_night = 86_400_000 + 7_200_000;
    let next = add(&bench.world, &nightly("first")).await.unwrap();
    assert_eq!(next, [0, 1, 2].map(|day| two_at_night + day * 86_400_000));
    type Change = dyn Fn(&mut NewSchedule);
    let said = async |change: &Change| {
        let mut schedule = nightly("second");
        change(&mut schedule);
        add(&bench.world, &schedule).await.unwrap_err().to_string()
    };
    let cases: [(&Change, &str); 10] = [
        (
            &|it| it.name = "first".to_owned(),
            "there is a schedule `first`; remove it first",
        ),
        (
            &|it| it.name = "two words".to_owned(),
            "cannot name a schedule; up to 64 letters",
        ),
        (
            &|it| it.cron = "0 2 30 2 *".to_owned(),
            "cron: `0 2 30 2 *` never comes",
        ),
        (
            &|it| it.time_zone = "Berlin".to_owned(),
            "near to it are Europe/Berlin",
        ),
        (
            &|it| it.grace = Duration::ZERO,
            "grace: is 0ns; 1 minute to a year are possible",
        ),
        (
            &|it| it.webhook = Some(Webhook("ftp://host/secret".to_owned())),
            "webhook: `ftp` is neither http nor https; give it as in https://host/path",
        ),
        (
            &|it| it.request.budget = Default::default(),
            "request.budget: is empty",
        ),
        (
            &|it| it.request.device = Some("nobody".to_owned()),
            "there is no device `nobody`",
        ),
        (
            &|it| it.request.start_from = Some(99),
            "there is no search 99",
        ),
        (
            &|it| {
                it.request.joint = Some(Joint {
                    key: String::new(),
                    selectors: Vec::new(),
                    max_decode: None,
                    profile: None,
                });
            },
            "request.joint: a schedule is for one device",
        ),
    ];
    for (change, expected) in cases {
        let said = said(change).await;
        assert!(said.contains(expected), "{expected}: {said}");
        assert!(!said.contains("secret"), "{said}");
    }
    for unknown in [
        set(&bench.world, "other", ScheduleState::Paused)
            .await
            .map(drop),
        nights(&bench.world, "other", 1).await.map(drop),
    ] {
        let said = unknown.unwrap_err().to_string();
        assert!(said.contains("there is no schedule `other`"), "{said}");
    }
    assert_eq!(list(&bench.world).await.unwrap().len(), 1);
}

#[tokio::test]
async fn a_schedule_is_listed_with_its_next_slots_and_its_latest_night() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let hidden = Webhook("https://user:secret@host/secret".to_owned());
    let new = NewSchedule {
        webhook: Some(hidden),
        ..nightly("first")
    };
    let next_ms = add(&bench.world, &new).await.unwrap();
    let listed = async || list(&bench.world).await.unwrap().remove(0);
    let expected = Schedule {
        name: "first".to_owned(),
        cron: new.cron.clone(),
        time_zone: new.time_zone.clone(),
        state: ScheduleState::Active,
        grace: HOUR,
        webhook: Some("https://host".to_owned()),
        model: new.request.spec.name.clone(),
        device: None,
        budget: new.request.budget,
        created_ms: 86_400_000,
        next_ms: next_ms.clone(),
        problem: None,
        last: None,
    };
    assert_eq!(listed().await, expected);

    bench.clock.advance(5 * HOUR);
    scheduler(&bench).look().await;
    let after = listed().await;
    assert_eq!(after.next_ms[..2], next_ms[1..]);
    let last = after.last.unwrap();
    assert_eq!((last.slot_ms, last.state), (next_ms[0], NightState::Missed));

    // What passes while it is paused is no slot.
    assert!(
        set(&bench.world, "first", ScheduleState::Paused)
            .await
            .unwrap()
    );
    assert_eq!(listed().await.next_ms, [0; 0]);
    bench.clock.advance(3 * DAY);
    scheduler(&bench).look().await;
    assert!(
        set(&bench.world, "first", ScheduleState::Active)
            .await
            .unwrap()
    );
    scheduler(&bench).look().await;
    assert_eq!(all_nights(&bench, "first").await.len(), 1);
    assert_eq!(listed().await.next_ms[0], next_ms[0] + 4 * 86_400_000);

    assert!(
        set(&bench.world, "first", ScheduleState::Removed)
            .await
            .unwrap()
    );
    assert_eq!(list(&bench.world).await.unwrap(), []);
    bench.clock.advance(DAY);
    scheduler(&bench).look().await;
    assert_eq!(all_nights(&bench, "first").await.len(), 1, "they stay");
}

/// Zones are renamed, and a later version of the program may read lines otherwise.
#[tokio::test]
async fn a_schedule_that_this_version_does_not_read_hides_no_other() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let store = &bench.world.store;
    let unread = NewSchedule {
        time_zone: "Mars/Olympus".to_owned(),
        ..nightly("unread")
    };
    assert!(store.add_schedule(&unread, 0).await.unwrap());
    add(&bench.world, &nightly("read")).await.unwrap();
    bench.clock.advance(2 * HOUR);
    scheduler(&bench).look().await;
    let listed = list(&bench.world).await.unwrap();
    let of = |name: &str| listed.iter().find(|it| it.name == name).unwrap();
    assert_eq!(of("unread").next_ms, [0; 0]);
    let problem = of("unread").problem.as_deref().unwrap();
    assert!(problem.contains("`Mars/Olympus`"), "{problem}");
    assert_eq!((of("read").next_ms.len(), &of("read").problem), (3, &None));
    assert!(of("read").last.is_some(), "its night began");
    let removed = set(&bench.world, "unread", ScheduleState::Removed).await;
    assert!(removed.unwrap());
    bench.stop().await;
}

#[tokio::test]
async fn a_night_starts_from_the_latest_front_and_times_it_afresh() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("board").await;
    add(&bench.world, &nightly("first")).await.unwrap();
    let scheduler = scheduler(&bench);
    let store = &bench.world.store;
    let mut searches = Vec::new();
    for night in 0..5 {
        bench.clock.advance(if night == 0 { 2 * HOUR } else { DAY });
        // However often it is looked, it starts once.
        for _ in 0..3 {
            scheduler.look().await;
        }
        let search = all_nights(&bench, "first")
            .await
            .pop()
            .unwrap()
            .search
            .unwrap();
        // A night without a front is passed over by the next one, and so is one that was cut short.
        let served = match night {
            1 => 0,
            3 => 80,
            _ => usize::MAX,
        };
        bench.serve(device, search, served).await;
        if served != usize::MAX {
            store.cancel(search, 0).await.unwrap();
            bench.world.wakeups.search(search);
        }
        searches.push(store.search(search).await.unwrap().unwrap());
    }
    let [first, _, third, short, _] = &searches[..] else {
        panic!("five nights");
    };
    let from: Vec<_> = searches.iter().map(|it| it.request.start_from).collect();
    let [of_first, of_third] = [first, third].map(|it| Some(it.id));
    assert_eq!(from, [None, of_first, of_first, of_third, of_third]);
    let states: Vec<_> = searches.iter().map(|it| it.state).collect();
    let (done, cancelled) = (SearchState::Done, SearchState::Cancelled);
    assert_eq!(states, [done, cancelled, done, cancelled, done]);
    let found = query::starts(&bench.world, &short.request, short.id).await;
    assert!(!found.unwrap().is_empty(), "it has a front");
    let seeds: Vec<_> = searches.iter().map(|it| it.request.seed).collect();
    assert!(seeds.windows(2).all(|pair| pair[0] != pair[1]), "{seeds:?}");

    assert!(!third.starts.is_empty());
    let candidates = store.candidates(third.id, 0).await.unwrap();
    let measured = store.measurements(third.id, None).await.unwrap();
    let began_ms = third.created_at_ms;
    for start in &third.starts {
        let candidate = candidates.iter().find(|it| it.precisions == *start);
        let candidate = candidate.expect("every start is measured").id;
        let of_it = measured.iter().filter(|it| it.candidate == candidate);
        let searched = of_it.filter(|it| it.purpose == bitfront_model::TaskPurpose::Search);
        for measurement in searched {
            let is_fresh = measurement.received_at_ms >= began_ms;
            let kind = match measurement.measurement.outcome {
                bitfront_model::Outcome::Latency { .. } => TaskKind::Latency,
                _ => TaskKind::Quality,
            };
            // A divergence is the same whenever it is measured; a time is not.
            assert_eq!(is_fresh, kind == TaskKind::Latency, "{kind:?}");
        }
    }
    bench.stop().await;
}

#[tokio::test]
async fn what_nobody_served_is_missed_and_what_runs_into_the_next_is_skipped() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    add(&bench.world, &nightly("first")).await.unwrap();
    let scheduler = scheduler(&bench);
    // Three slots that nobody served, and the fourth within its grace: no device is there.
    bench.clock.advance(3 * DAY + 2 * HOUR + HOUR);
    scheduler.look().await;
    bench.clock.advance(DAY);
    scheduler.look().await;
    let nights = all_nights(&bench, "first").await;
    let found: Vec<_> = nights
        .iter()
        .map(|it| (it.state, it.reason.as_str()))
        .collect();
    let missed = (
        NightState::Missed,
        "no coordinator served within 3600s of it",
    );
    let search = nights[3].search.unwrap();
    let skipped = format!("search {search} of an earlier night had not ended");
    let expected = [
        missed,
        missed,
        missed,
        (NightState::Started, "waiting for a device"),
        (NightState::Skipped, skipped.as_str()),
    ];
    assert_eq!(found, expected);
    bench.stop().await;
}

#[tokio::test]
async fn a_request_that_is_refused_is_a_failed_night_and_no_loop() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut refused = nightly("first");
    refused.request.device = Some("nobody".to_owned());
    let store = &bench.world.store;
    // As one that was taken in before its device was called otherwise.
    assert!(store.add_schedule(&refused, 86_400_000).await.unwrap());
    bench.clock.advance(2 * HOUR);
    for _ in 0..3 {
        scheduler(&bench).look().await;
    }
    let nights = all_nights(&bench, "first").await;
    let [night] = &nights[..] else {
        panic!("{nights:?}");
    };
    assert_eq!((night.state, night.search), (NightState::Failed, None));
    assert!(
        night.reason.contains("there is no device `nobody`"),
        "{}",
        night.reason
    );
    assert_eq!(store.searches().await.unwrap(), []);
}

#[tokio::test]
async fn a_night_at_a_time_that_does_not_exist_says_so() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    // From the 2nd of January to the 25th of April 1970; clocks went forward on the 26th.
    bench.clock.advance(113 * DAY);
    let mut schedule = nightly("first");
    schedule.cron = "30 2 * * *".to_owned();
    schedule.time_zone = "America/New_York".to_owned();
    add(&bench.world, &schedule).await.unwrap();
    bench.clock.advance(DAY + 8 * HOUR);
    scheduler(&bench).look().await;
    let night = all_nights(&bench, "first").await.pop().unwrap();
    assert_eq!(night.state, NightState::Started);
    let said = "1970-04-26 02:30 does not exist in America/New_York, where clocks go forward; \
                started at 03:30 instead; waiting for a device";
    assert_eq!(night.reason, said);
    bench.stop().await;
}

#[tokio::test]
async fn a_notice_that_nobody_takes_is_given_up_after_a_day_and_shows_no_secret() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    // Nobody listens there any more.
    let url = Receiver::start(0).await.url.clone();
    let redirecting = Receiver::redirecting().await;
    for (name, url) in [("dead", &url), ("moved", &redirecting.url)] {
        let mut schedule = nightly(name);
        schedule.webhook = Some(Webhook(format!("{url}?key=secret")));
        add(&bench.world, &schedule).await.unwrap();
    }
    bench.clock.advance(5 * HOUR);
    scheduler(&bench).look().await;
    let notices = Notices::new(bench.world.clone());
    for _ in 0..26 {
        notices.look().await;
        bench.clock.advance(HOUR);
    }
    for (name, expected) in [("dead", "onnect"), ("moved", "307 Temporary Redirect")] {
        let notice = all_nights(&bench, name).await.remove(0).notice;
        assert_eq!(notice.state, NoticeState::GivenUp, "{notice:?}");
        assert_eq!(notice.attempts, 25);
        let error = notice.error.unwrap();
        assert!(
            error.contains(expected) && !error.contains("secret"),
            "{error}"
        );
    }
}
