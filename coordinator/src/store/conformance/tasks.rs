//! Claims, leases, reports and measurements.

#![allow(clippy::unwrap_used)]

use super::*;

pub(super) async fn a_claim_goes_by_target_candidate_and_kind(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let other_class = Claimant {
        numerics_class: NumericsClass("other".to_owned()),
        ..claimant(device)
    };
    let latency = store.claim(&other_class, NOW).await.unwrap().unwrap();
    assert_eq!(latency.kind, TaskKind::Latency);
    let stranger = Claimant {
        hardware_profile: Digest::of("other"),
        ..other_class
    };
    assert!(store.claim(&stranger, NOW).await.unwrap().is_none());
    let candidates = store.candidates(search, 0).await.unwrap();
    let mut order = Vec::new();
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        assert_eq!(claimed.search, search);
        order.push((claimed.candidate, claimed.kind));
    }
    assert_eq!(latency.candidate, candidates[0].id);
    assert_eq!(
        order,
        [
            (candidates[0].id, TaskKind::Quality),
            (candidates[1].id, TaskKind::Latency),
            (candidates[1].id, TaskKind::Quality),
        ]
    );
}

pub(super) async fn qualities_are_left_to_faster_devices_and_timings_are_not(
    store: Arc<dyn Store>,
) {
    let precisions = [Precision::Q4K, Precision::Q8_0, Precision::Q6K];
    let (device, search) = running(&store, &precisions).await;
    let candidates = store.candidates(search, 0).await.unwrap();
    let leaving = |left_to_faster| Claimant {
        left_to_faster,
        ..claimant(device)
    };
    let mut order = Vec::new();
    let mut next = async |left| {
        let claimed = store.claim(&leaving(left), NOW).await.unwrap();
        claimed.map(|claimed| {
            order.push(claimed.kind);
            candidates.iter().position(|it| it.id == claimed.candidate)
        })
    };
    // However many are left out, timings come in the order of their candidates.
    assert_eq!(next(3).await, Some(Some(0)));
    assert_eq!(
        next(1).await,
        Some(Some(1)),
        "its timing comes before its quality"
    );
    assert_eq!(
        next(1).await,
        Some(Some(1)),
        "the second quality that is queued"
    );
    assert_eq!(next(2).await, Some(Some(2)));
    assert_eq!(next(2).await, None, "no third one is queued any more");
    assert_eq!(next(1).await, Some(Some(2)));
    assert_eq!(next(1).await, None);
    assert_eq!(next(0).await, Some(Some(0)), "alone, it takes what is left");
    assert_eq!(next(0).await, None);
    let (timing, quality) = (TaskKind::Latency, TaskKind::Quality);
    assert_eq!(order, [timing, timing, quality, timing, quality, quality]);
}

pub(super) async fn companions_are_untried_timings_of_one_search(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let other = store.submit(&new_search(), NOW).await.unwrap();
    assert!(store.bind(other, &binding()).await.unwrap());
    let elsewhere = candidate(0, Precision::Q6K);
    let added = store.add_candidate(other, &elsewhere, NOW).await.unwrap();
    assert!(added.is_some());
    let companion_of = |search| Claimant {
        companion_in: Some((search, TaskPurpose::Search)),
        ..claimant(device)
    };
    // One of the two timings has been tried before, and is left for a lease of its own.
    let tried = store.claim(&companion_of(search), NOW).await.unwrap();
    let tried = tried.unwrap();
    assert_eq!((tried.kind, tried.attempts), (TaskKind::Latency, 1));
    store
        .requeue(tried.token, &ending("lost", true), NOW)
        .await
        .unwrap();
    let untried = store.claim(&companion_of(search), NOW).await.unwrap();
    let untried = untried.unwrap();
    assert_eq!((untried.search, untried.kind), (search, TaskKind::Latency));
    assert_ne!(untried.candidate, tried.candidate);
    assert!(
        store
            .claim(&companion_of(search), NOW)
            .await
            .unwrap()
            .is_none()
    );
    let otherwise = Claimant {
        companion_in: Some((other, TaskPurpose::Confirm)),
        ..claimant(device)
    };
    assert!(store.claim(&otherwise, NOW).await.unwrap().is_none());
    let stranger = Claimant {
        hardware_profile: Digest::of("other"),
        ..companion_of(other)
    };
    assert!(store.claim(&stranger, NOW).await.unwrap().is_none());
    let there = store.claim(&companion_of(other), NOW).await.unwrap();
    assert_eq!(there.unwrap().search, other);
}

pub(super) async fn the_first_timing_of_a_search_is_found(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    assert!(store.first_timing(search).await.unwrap().is_none());
    let mut timed = Vec::new();
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        let key = format!("{}", claimed.token.task);
        report(&store, &claimed, &key).await;
        if claimed.kind == TaskKind::Latency {
            timed.push(claimed.candidate);
        }
    }
    let first = store.first_timing(search).await.unwrap().unwrap();
    assert_eq!(first.candidate, timed[0]);
    assert!(matches!(first.measurement.outcome, Outcome::Latency { .. }));
}

pub(super) async fn every_hand_out_has_an_epoch_of_its_own(store: Arc<dyn Store>) {
    let (device, _) = running(&store, &[Precision::Q4K]).await;
    let first = claim(&store, device).await;
    assert_eq!(first.token.epoch, 1);
    assert_eq!(
        store.leased().await.unwrap(),
        [HeldLease {
            token: first.token,
            device
        }]
    );
    let requeued = store
        .requeue(first.token, &ending("lost", true), NOW)
        .await
        .unwrap();
    assert_eq!(requeued, Requeued::Queued);
    assert!(store.leased().await.unwrap().is_empty());
    let second = claim(&store, device).await;
    assert_eq!(second.token.task, first.token.task);
    assert_eq!(second.token.epoch, 2);
    let facts = store.task(first.token.task).await.unwrap().unwrap();
    assert_eq!(facts.epoch, 2);
    assert_eq!(facts.kind, TaskKind::Latency);
    assert_eq!(facts.layers, fixtures::spec().layers.len());
    assert_eq!(facts.workloads, fixtures::request().workloads);
    assert_eq!(store.task(9999).await.unwrap(), None);
}

pub(super) async fn concurrent_claims_never_share_a_task(store: Arc<dyn Store>) {
    let precisions = [
        Precision::Q4K,
        Precision::Q8_0,
        Precision::Q6K,
        Precision::Q2K,
    ];
    let (device, _) = running(&store, &precisions).await;
    let claims: Vec<_> = (0..20)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { store.claim(&claimant(device), NOW).await.unwrap() })
        })
        .collect();
    let mut tasks = Vec::new();
    for one in claims {
        tasks.extend(one.await.unwrap().map(|claimed| claimed.token.task));
    }
    tasks.sort_unstable();
    let handed_out = tasks.len();
    tasks.dedup();
    assert_eq!((handed_out, tasks.len()), (8, 8));
}

pub(super) async fn a_report_counts_once(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    assert_eq!(report(&store, &claimed, "key").await, Receipt::Recorded);
    assert_eq!(
        report(&store, &claimed, "key").await,
        Receipt::AlreadyReported
    );
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
    assert_eq!(store.devices().await.unwrap()[0].measurements, 1);
    assert!(store.leased().await.unwrap().is_empty());
}

pub(super) async fn a_key_of_another_task_is_refused(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let first = claim(&store, device).await;
    let second = claim(&store, device).await;
    report(&store, &first, "key").await;
    let reused = store
        .record(&report_with(&second, "key", None), NOW)
        .await
        .unwrap_err();
    assert!(matches!(reused, StoreError::KeyReused { .. }), "{reused}");
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
    assert_eq!(store.leased().await.unwrap().len(), 1);
}

pub(super) async fn a_stale_report_ends_a_task_that_nobody_holds(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    let lost = ending("lost", true);
    store.requeue(claimed.token, &lost, NOW).await.unwrap();
    assert_eq!(report(&store, &claimed, "late").await, Receipt::Recorded);
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
    assert_eq!(claim(&store, device).await.kind, TaskKind::Quality);
}

pub(super) async fn a_stale_report_never_ends_a_newer_lease(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let stale = claim(&store, device).await;
    let lost = ending("lost", true);
    store.requeue(stale.token, &lost, NOW).await.unwrap();
    let newer = claim(&store, device).await;
    assert_eq!(newer.token.task, stale.token.task);
    assert_eq!(report(&store, &stale, "stale").await, Receipt::KeptAsRepeat);
    assert_eq!(
        report(&store, &stale, "stale").await,
        Receipt::AlreadyReported
    );
    assert_eq!(store.leased().await.unwrap()[0].token, newer.token);
    assert!(store.scores(search, 0).await.unwrap().is_empty());
    assert_eq!(report(&store, &newer, "newer").await, Receipt::Recorded);
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
    assert_eq!(store.devices().await.unwrap()[0].measurements, 2);
}

pub(super) async fn a_report_after_the_end_is_kept_as_a_repeat(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    report(&store, &claimed, "one").await;
    assert_eq!(report(&store, &claimed, "two").await, Receipt::KeptAsRepeat);
    let latency = claim(&store, device).await;
    store.cancel(search, NOW).await.unwrap();
    assert_eq!(
        report(&store, &latency, "three").await,
        Receipt::KeptAsRepeat
    );
    assert_eq!(store.scores(search, 0).await.unwrap().len(), 1);
}

pub(super) async fn a_lease_that_ends_without_a_result_is_queued_again(store: Arc<dyn Store>) {
    let (device, _) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    let stale = LeaseToken {
        epoch: claimed.token.epoch + 1,
        ..claimed.token
    };
    let lost = ending("lost", true);
    let requeue = async |token| store.requeue(token, &lost, NOW).await.unwrap();
    assert_eq!(requeue(stale).await, Requeued::NotHeld);
    assert_eq!(requeue(claimed.token).await, Requeued::Queued);
    assert_eq!(requeue(claimed.token).await, Requeued::NotHeld);
    assert_eq!(claim(&store, device).await.token.epoch, 2);
}

pub(super) async fn too_many_attempts_make_the_candidate_infeasible(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    for attempt in 1..=3 {
        let claimed = claim(&store, device).await;
        let lost = ending("its agent went silent", true);
        let requeued = store.requeue(claimed.token, &lost, NOW).await.unwrap();
        let expected = [Requeued::Queued, Requeued::Queued, Requeued::Failed][attempt - 1];
        assert_eq!(requeued, expected, "attempt {attempt}");
    }
    let scores = store.scores(search, 0).await.unwrap();
    assert_eq!(scores.len(), 1);
    match &scores[0].outcome {
        ScoreOutcome::Infeasible { reason, abandoned } => {
            assert!(*abandoned && reason.contains("3 attempts"), "{reason}");
            assert!(reason.contains("went silent"), "{reason}");
        }
        other => panic!("{other:?}"),
    }
    // Neither the failed task nor the other one of its candidate is handed out any more, and
    // what the coordinator wrote is not the device's.
    assert!(store.claim(&claimant(device), NOW).await.unwrap().is_none());
    assert_eq!(store.devices().await.unwrap()[0].measurements, 0);
}

pub(super) async fn an_attempt_that_does_not_count_is_forgotten(store: Arc<dyn Store>) {
    let (device, _) = running(&store, &[Precision::Q4K]).await;
    for epoch in 1..=9 {
        let claimed = claim(&store, device).await;
        assert_eq!(claimed.token.epoch, epoch);
        let stopped = ending("the agent stops", false);
        let requeued = store.requeue(claimed.token, &stopped, NOW).await.unwrap();
        assert_eq!(requeued, Requeued::Queued);
    }
}

pub(super) async fn an_infeasible_outcome_cancels_the_other_task(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let first = claim(&store, device).await;
    let infeasible = report_with(&first, "key", Some(fixtures::infeasible("no kernel")));
    assert_eq!(
        store.record(&infeasible, NOW).await.unwrap(),
        Receipt::Recorded
    );
    let next = claim(&store, device).await;
    assert!(next.candidate > first.candidate);
    let scores = store.scores(search, 0).await.unwrap();
    let expected = ScoreOutcome::Infeasible {
        reason: "no kernel".to_owned(),
        abandoned: false,
    };
    assert_eq!(scores[0].outcome, expected);
}

pub(super) async fn measurements_read_back_whole_and_in_order(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    let mut reports = Vec::new();
    for key in ["a", "b", "c", "d"] {
        let claimed = claim(&store, device).await;
        reports.push((claimed.candidate, report_with(&claimed, key, None)));
    }
    // Handed in in another order than they were leased.
    for (_, report) in reports.iter().rev() {
        store.record(report, NOW + 9).await.unwrap();
    }
    let stored = store.measurements(search, None).await.unwrap();
    let expected: Vec<_> = reports.iter().rev().collect();
    assert_eq!(stored.len(), 4);
    for (stored, (candidate, report)) in stored.iter().zip(expected) {
        assert_eq!(stored.candidate, *candidate);
        assert_eq!(stored.measurement, report.measurement);
        assert_eq!(
            (stored.device.as_str(), stored.received_at_ms),
            ("one", NOW + 9)
        );
        assert!(stored.executed_as_planned);
    }
    let scores = store.scores(search, 0).await.unwrap();
    let ids: Vec<_> = scores.iter().map(|score| score.measurement).collect();
    assert_eq!(ids, stored.iter().map(|one| one.id).collect::<Vec<_>>());
    assert!(ids.is_sorted());
    assert_eq!(store.scores(search, ids[1]).await.unwrap(), scores[2..]);
    let one = store
        .measurements(search, Some(reports[0].0))
        .await
        .unwrap();
    assert_eq!(one.len(), 2);
    match (&scores[1].outcome, &stored[1].measurement.outcome) {
        (
            ScoreOutcome::Latency {
                decode_ns,
                prefill_ns,
            },
            Outcome::Latency { workloads },
        ) => {
            assert_eq!(*prefill_ns, workloads[0].median_ns);
            assert_eq!(*decode_ns, workloads[1].median_ns);
        }
        other => panic!("{other:?}"),
    }
}

pub(super) async fn an_order_that_was_not_executed_is_noted(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K]).await;
    let claimed = claim(&store, device).await;
    let mut report = report_with(&claimed, "key", None);
    report.measurement.evidence.executed[3] = Precision::F16;
    store.record(&report, NOW).await.unwrap();
    assert!(!store.scores(search, 0).await.unwrap()[0].executed_as_planned);
}

pub(super) async fn a_quality_that_stopped_is_a_score_and_no_other_searchs(store: Arc<dyn Store>) {
    let (device, first) = running(&store, &[Precision::Q4K]).await;
    report(&store, &claim(&store, device).await, "latency").await;
    let quality = claim(&store, device).await;
    assert_eq!(quality.kind, TaskKind::Quality);
    let mut stopped = report_with(&quality, "quality", None);
    if let Outcome::Quality(quality) = &mut stopped.measurement.outcome {
        quality.kld_windows.truncate(4);
        quality.stopped = Some(Stopped {
            windows: 8,
            behind: 1,
        });
    }
    store.record(&stopped, NOW).await.unwrap();
    let scores = store.scores(first, 0).await.unwrap();
    assert!(
        matches!(
            scores[1].outcome,
            ScoreOutcome::Quality { stopped: true, .. }
        ),
        "{scores:?}"
    );
    let second = store.submit(&new_search(), NOW + 1).await.unwrap();
    store.bind(second, &binding()).await.unwrap();
    let added = store
        .add_candidate(second, &candidate(0, Precision::Q4K), NOW)
        .await;
    assert!(added.unwrap().is_some());
    assert!(store.scores(second, 0).await.unwrap().is_empty());
}

pub(super) async fn a_quality_is_measured_once_for_all_searches_over_one_subject(
    store: Arc<dyn Store>,
) {
    let (device, first) = running(&store, &[Precision::Q4K]).await;
    for key in ["latency", "quality"] {
        report(&store, &claim(&store, device).await, key).await;
    }
    let mut other_text = new_search();
    other_text.request.subject.data.evaluation_digest = Digest::of("other text");
    let second = store.submit(&new_search(), NOW + 1).await.unwrap();
    let third = store.submit(&other_text, NOW + 1).await.unwrap();
    for (search, precision) in [
        (second, Precision::Q4K),
        (second, Precision::Q8_0),
        (third, Precision::Q4K),
    ] {
        store.bind(search, &binding()).await.unwrap();
        let ask = u64::from(precision == Precision::Q8_0);
        let added = store
            .add_candidate(search, &candidate(ask, precision), NOW)
            .await;
        assert!(added.unwrap().is_some());
    }
    let known = store.measurements(first, None).await.unwrap();
    let reused = store.measurements(second, None).await.unwrap();
    assert_eq!(reused.len(), 1);
    assert_eq!(reused[0].measurement, known[1].measurement);
    assert_eq!(
        (reused[0].device.as_str(), reused[0].received_at_ms),
        ("one", NOW)
    );
    assert_eq!(store.scores(second, 0).await.unwrap().len(), 1);
    assert!(store.scores(third, 0).await.unwrap().is_empty());
    assert_eq!(store.devices().await.unwrap()[0].measurements, 2);
    let mut left = Vec::new();
    while let Some(claimed) = store.claim(&claimant(device), NOW).await.unwrap() {
        left.push((claimed.search, claimed.kind));
    }
    use TaskKind::{Latency, Quality};
    assert_eq!(
        left,
        [
            (second, Latency),
            (second, Latency),
            (second, Quality),
            (third, Latency),
            (third, Quality)
        ]
    );
}

pub(super) async fn several_claims_at_once_are_claims_in_turn(store: Arc<dyn Store>) {
    let (device, _) = running(&store, &[Precision::Q8_0, Precision::Q4K]).await;
    let other = store
        .register(&fixtures::registration("two"), NOW)
        .await
        .unwrap();
    let claimants = [device, other, device].map(claimant);
    let first = store.claim_each(&claimants, NOW).await.unwrap();
    let kinds: Vec<_> = first.iter().map(|it| (it.candidate, it.kind)).collect();
    let (one, two) = (kinds[0].0, kinds[2].0);
    let (latency, quality) = (TaskKind::Latency, TaskKind::Quality);
    assert_eq!(kinds, [(one, latency), (one, quality), (two, latency)]);
    assert!(two > one);
    let holders: Vec<_> = store.leased().await.unwrap();
    let holder = |claimed: &Claimed| {
        let held = holders.iter().find(|held| held.token == claimed.token);
        held.unwrap().device
    };
    let devices: Vec<_> = first.iter().map(holder).collect();
    assert_eq!(devices, [device, other, device]);
    let rest = store.claim_each(&claimants, NOW).await.unwrap();
    assert_eq!(rest.len(), 1, "until there is none");
    assert_eq!(store.claim_each(&claimants, NOW).await.unwrap(), []);
}

pub(super) async fn what_devices_hold_and_measured_last_is_told(store: Arc<dyn Store>) {
    let (device, search) = running(&store, &[Precision::Q4K, Precision::Q8_0]).await;
    assert_eq!(store.held().await.unwrap(), []);
    assert_eq!(store.latest(&[device], 10).await.unwrap(), []);
    let question = Question::Probe(fixtures::probe_question());
    let profile = binding().hardware_profile.to_string();
    store.ask(&profile, &question, NOW).await.unwrap();
    let timing = claim(&store, device).await;
    let asked = store.claim_question(&claimant(device), NOW + 5).await;
    assert!(asked.unwrap().is_some());
    let held = store.held().await.unwrap();
    assert_eq!(held.len(), 2);
    assert!(held.iter().all(|(by, _)| *by == device));
    assert_eq!(
        held[0].1,
        HeldTask {
            work: Work::Candidate {
                search,
                candidate: timing.candidate,
                kind: TaskKind::Latency,
                purpose: TaskPurpose::Search,
            },
            since_ms: NOW,
        }
    );
    let Work::Question { kind, .. } = held[1].1.work else {
        panic!("{held:?}");
    };
    assert_eq!((kind, held[1].1.since_ms), (QuestionKind::Probe, NOW + 5));
    report(&store, &timing, "first").await;
    let quality = claim(&store, device).await;
    report(&store, &quality, "second").await;
    // A repeat was measured too.
    report(&store, &quality, "third").await;
    let all = store.latest(&[device], 10).await.unwrap();
    let kinds = |all: &[DeviceMeasurement]| -> Vec<bool> {
        let is_quality = |it: &DeviceMeasurement| {
            assert_eq!(it.search, search);
            matches!(it.measurement.outcome, Outcome::Quality(_))
        };
        all.iter().map(is_quality).collect()
    };
    assert_eq!(kinds(&all), [true, true, false], "the newest comes first");
    let latest = store.latest(&[device], 2).await.unwrap();
    assert_eq!(kinds(&latest), [true, true]);
    let second = fixtures::registration("two");
    let second = store.register(&second, NOW).await.unwrap();
    assert_eq!(store.latest(&[second], 10).await.unwrap(), []);
    let next = claim(&store, second).await;
    report(&store, &next, "fourth").await;
    let of_both = store.latest(&[second, 99, device], 2).await.unwrap();
    let of_both: Vec<_> = of_both.iter().map(|it| it.device).collect();
    assert_eq!(of_both, [device, device, second], "by device");
    assert_eq!(store.held().await.unwrap().len(), 1, "the question is left");
}
