//! Schedules, and what became of their slots.

use super::*;

fn schedule(name: &str, webhook: Option<&str>) -> NewSchedule {
    NewSchedule {
        name: name.to_owned(),
        cron: "0 2 * * *".to_owned(),
        time_zone: "Europe/Berlin".to_owned(),
        grace: Duration::from_secs(60),
        webhook: webhook.map(|url| Webhook(url.to_owned())),
        request: fixtures::request(),
    }
}

fn night(schedule: i64, slot_ms: i64, decision: Decision) -> NewNight {
    NewNight {
        schedule,
        slot_ms,
        decision,
        reason: "said of it".to_owned(),
    }
}

fn start() -> Decision {
    Decision::Start(Box::new(new_search()))
}

fn missed() -> Decision {
    Decision::Missed
}

pub(super) async fn a_schedule_has_its_name_alone_until_it_is_removed(store: Arc<dyn Store>) {
    assert_eq!(store.schedules().await.unwrap(), []);
    let first = schedule("nightly", Some("http://host/one"));
    assert!(store.add_schedule(&first, NOW).await.unwrap());
    let second = schedule("nightly", None);
    assert!(!store.add_schedule(&second, NOW).await.unwrap());
    let stored = store.schedules().await.unwrap().remove(0);
    let expected = StoredSchedule {
        id: stored.id,
        name: "nightly".to_owned(),
        cron: first.cron.clone(),
        time_zone: first.time_zone.clone(),
        grace: first.grace,
        webhook: first.webhook.clone(),
        created_ms: NOW,
        state: ScheduleState::Active,
        decided_ms: NOW,
    };
    assert_eq!(stored, expected);
    let request = store.scheduled(stored.id).await.unwrap();
    assert_eq!(request, Some(first.request));
    assert_eq!(store.scheduled(stored.id + 1).await.unwrap(), None);

    let set = async |state, at| store.set_schedule("nightly", state, at).await.unwrap();
    use ScheduleState::{Active, Paused, Removed};
    assert_eq!(set(Active, NOW + 1).await, Some(false));
    assert_eq!(set(Paused, NOW + 2).await, Some(true));
    assert_eq!(set(Paused, NOW + 3).await, Some(false));
    assert_eq!(set(Active, NOW + 4).await, Some(true));
    let resumed = store.schedules().await.unwrap().remove(0);
    assert_eq!(
        (resumed.state, resumed.decided_ms),
        (Active, NOW + 4),
        "what passed meanwhile is no slot"
    );
    assert_eq!(set(Removed, NOW + 5).await, Some(true));
    assert_eq!(set(Active, NOW + 6).await, None, "its end is an end");
    assert!(store.add_schedule(&second, NOW + 7).await.unwrap());
    assert_eq!(set(Removed, NOW + 8).await, Some(true));
    let states = store.schedules().await.unwrap().into_iter();
    let states: Vec<_> = states.map(|it| it.state).collect();
    assert_eq!(states, [Removed, Removed]);
}

pub(super) async fn a_slot_is_decided_once(store: Arc<dyn Store>) {
    let new = schedule("nightly", None);
    assert!(store.add_schedule(&new, NOW).await.unwrap());
    let id = store.schedules().await.unwrap()[0].id;
    let begin = async |night: NewNight| store.begin_night(&night, NOW + 9).await.unwrap();

    assert_eq!(
        begin(night(id, NOW + 2, missed())).await,
        Some(Begun::Noted)
    );
    assert_eq!(
        begin(night(id, NOW + 2, start())).await,
        None,
        "it is decided"
    );
    assert_eq!(
        begin(night(id, NOW + 1, start())).await,
        None,
        "so are earlier ones"
    );
    assert_eq!(store.searches().await.unwrap(), []);
    assert_eq!(store.schedules().await.unwrap()[0].decided_ms, NOW + 2);

    // Many at once, as by several coordinators.
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (store, night) = (store.clone(), night(id, NOW + 3, start()));
        calls.spawn(async move { store.begin_night(&night, NOW + 9).await.unwrap() });
    }
    let begun: Vec<_> = calls.join_all().await.into_iter().flatten().collect();
    let [Begun::Started { search }] = begun[..] else {
        panic!("{begun:?}");
    };
    let searches = store.searches().await.unwrap();
    assert_eq!(
        searches.iter().map(|it| it.id).collect::<Vec<_>>(),
        [search]
    );

    let next = begin(night(id, NOW + 4, start())).await;
    assert_eq!(next, Some(Begun::Skipped { running: search }));
    store.cancel(search, NOW + 10).await.unwrap();
    let after = begin(night(id, NOW + 5, start())).await;
    let Some(Begun::Started { search: second }) = after else {
        panic!("{after:?}");
    };
    store
        .set_schedule("nightly", ScheduleState::Paused, NOW)
        .await
        .unwrap();
    assert_eq!(
        begin(night(id, NOW + 6, start())).await,
        None,
        "it is paused"
    );

    let nights = store.nights(id, 10).await.unwrap();
    let told: Vec<_> = nights
        .iter()
        .map(|StoredNight { night, .. }| {
            let of = (night.slot_ms - NOW, night.state, night.search);
            (of, night.search_state, night.reason.as_str())
        })
        .collect();
    let skipped = format!("search {search} of an earlier night had not ended");
    let expected = [
        (
            (5, NightState::Started, Some(second)),
            Some(SearchState::Queued),
            "said of it; waiting for a device",
        ),
        ((4, NightState::Skipped, None), None, skipped.as_str()),
        (
            (3, NightState::Started, Some(search)),
            Some(SearchState::Cancelled),
            "said of it; cancelled",
        ),
        ((2, NightState::Missed, None), None, "said of it"),
    ];
    assert_eq!(told, expected);
    assert!(
        nights
            .iter()
            .all(|it| it.night.notice.state == NoticeState::None)
    );
    assert_eq!(store.nights(id, 1).await.unwrap(), nights[..1]);
    let searches = store.searches_of_nights(id, 10).await.unwrap();
    assert_eq!(searches, [second, search]);
    assert_eq!(store.searches_of_nights(id, 1).await.unwrap(), [second]);
    assert_eq!(store.to_tell(i64::MAX, 10).await.unwrap(), []);
}

pub(super) async fn a_notice_is_sent_by_one_and_until_it_is_taken(store: Arc<dyn Store>) {
    let new = schedule("nightly", Some("http://host/secret"));
    assert!(store.add_schedule(&new, NOW).await.unwrap());
    let id = store.schedules().await.unwrap()[0].id;
    let begun = store
        .begin_night(&night(id, NOW + 1, start()), NOW + 5)
        .await;
    let Some(Begun::Started { search }) = begun.unwrap() else {
        panic!("it starts");
    };
    let due = async |at| store.to_tell(at, 10).await.unwrap();
    assert_eq!(due(NOW + 100).await, [], "the search has not ended");
    store.cancel(search, NOW + 6).await.unwrap();
    let missed = night(id, NOW + 2, missed());
    store.begin_night(&missed, NOW + 7).await.unwrap();

    assert_eq!(due(NOW + 4).await, []);
    let untold = due(NOW + 7).await;
    let slots: Vec<_> = untold.iter().map(|it| it.night.night.slot_ms).collect();
    assert_eq!(slots, [NOW + 1, NOW + 2]);
    assert_eq!(store.to_tell(NOW + 7, 1).await.unwrap(), untold[..1]);
    let first = &untold[0];
    assert_eq!(
        (first.schedule.as_str(), &first.webhook, first.first_ms),
        ("nightly", new.webhook.as_ref().unwrap(), None)
    );

    // One of two who both saw it begins.
    let begin = async |attempts, now, next| {
        let begun = store.begin_notice(first.night.id, attempts, now, next);
        begun.await.unwrap()
    };
    assert!(begin(0, NOW + 8, NOW + 20).await);
    assert!(!begin(0, NOW + 8, NOW + 20).await);
    let conclude = async |state, error| {
        let concluded = store.conclude_notice(first.night.id, state, error, NOW + 9);
        concluded.await.unwrap();
    };
    conclude(NoticeState::Wanted, Some("it answers 500")).await;
    assert_eq!(due(NOW + 19).await.len(), 1, "the other one");
    let again = due(NOW + 20).await;
    let again = again
        .iter()
        .find(|it| it.night.id == first.night.id)
        .unwrap();
    let notice = &again.night.night.notice;
    assert_eq!((again.first_ms, notice.attempts), (Some(NOW + 8), 1));
    assert_eq!(notice.error.as_deref(), Some("it answers 500"));

    assert!(begin(1, NOW + 20, NOW + 40).await);
    conclude(NoticeState::Delivered, None).await;
    conclude(NoticeState::GivenUp, Some("an end is an end")).await;
    assert!(!begin(2, NOW + 50, NOW + 60).await);
    let told = store.nights(id, 10).await.unwrap().pop().unwrap();
    let expected = Notice {
        state: NoticeState::Delivered,
        attempts: 2,
        ended_ms: Some(NOW + 9),
        error: None,
    };
    assert_eq!(told.night.notice, expected);
}
