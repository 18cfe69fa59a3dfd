use std::time::Duration;

use bitfront_model::{Anchor, LeaseToken, Plan, Precision, Receipt, SearchRequest, TaskKind};

use crate::clock::Clock;
use crate::error::ServiceError;
use crate::fixtures;
use crate::leasing::{Caller, HandOut, Handed};
use crate::measurements;
use crate::query;
use crate::store::Requeued;
use crate::testing::{Bench, folder};

#[tokio::test]
async fn a_waiting_agent_is_woken_by_new_work() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    // The clock stands still, so only a wake-up can end the wait.
    let (leasing, shutdown) = (bench.leasing.clone(), bench.shutdown.clone());
    let caller = bench.caller(device);
    let waiting = tokio::spawn(async move {
        let wait = Duration::from_secs(10);
        leasing.lease(device, &caller, wait, &shutdown).await
    });
    tokio::task::yield_now().await;
    let search = bench.submit(fixtures::request()).await;
    let Some(Handed::Task(hand_out)) = waiting.await.unwrap().unwrap() else {
        panic!("a task is handed out");
    };
    let HandOut {
        assignment, spec, ..
    } = *hand_out;
    assert_eq!(assignment.search, search);
    assert_eq!(spec, fixtures::spec());
    assert_eq!(assignment.lease_time, bench.world.config.lease_time);
    bench.stop().await;
}

#[tokio::test]
async fn a_wait_ends_with_its_time_and_with_the_shutdown() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let ask = || {
        let (leasing, shutdown) = (bench.leasing.clone(), bench.shutdown.clone());
        let caller = bench.caller(device);
        tokio::spawn(async move {
            let wait = Duration::from_secs(3600);
            leasing.lease(device, &caller, wait, &shutdown).await
        })
    };
    let mut waiting = ask();
    let clock = &bench.clock;
    let over = async {
        // However long was asked for, the wait stays within the time that counts as serving.
        loop {
            clock.advance(Duration::from_secs(1));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::select! {
        leased = &mut waiting => assert!(leased.unwrap().unwrap().is_none()),
        () = over => unreachable!(),
    }
    assert!(clock.elapsed() < Duration::from_secs(3600));
    let waiting = ask();
    bench.shutdown.cancel();
    assert!(waiting.await.unwrap().unwrap().is_none());
}

#[tokio::test]
async fn who_never_registered_is_told_so() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let error = bench.lease(77).await.err().unwrap();
    assert!(matches!(error, ServiceError::NotRegistered { device: 77 }));
    let error = bench.leasing.heartbeat(77, &[]).await.err().unwrap();
    assert!(matches!(error, ServiceError::NotRegistered { device: 77 }));
}

#[tokio::test]
async fn a_timing_brings_companions_and_one_scale_for_all() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    bench.submit(fixtures::request()).await;
    let first = bench.lease_one(device).await;
    let quality = bench.lease_one(device).await;
    assert_eq!(quality.assignment.kind, TaskKind::Quality);
    assert_eq!(quality.assignment.anchor, None);
    let none = bench.leasing.companions(device, &quality, 3).await;
    assert!(none.is_empty(), "quality has no companions");
    let anchor = first.assignment.anchor.clone().unwrap();
    assert!(anchor.times.is_empty(), "nothing is known yet");
    let none = bench.leasing.companions(device, &first, 0).await;
    assert!(none.is_empty(), "none were wanted");
    let companions = bench.leasing.companions(device, &first, 3).await;
    assert!(!companions.is_empty());
    for companion in &companions {
        assert_eq!(companion.assignment.kind, TaskKind::Latency);
        assert_eq!(companion.assignment.anchor, first.assignment.anchor);
        assert_ne!(companion.assignment.candidate, first.assignment.candidate);
    }
    bench.report(&first).await.unwrap();
    // Each of them is a lease of its own: given back, it is tried again, but then alone.
    for companion in companions {
        let token = companion.assignment.token;
        bench.leasing.give_back(token, "broke", true).await.unwrap();
    }
    let mut again = bench.lease_one(device).await;
    while again.assignment.kind != TaskKind::Latency {
        bench.report(&again).await.unwrap();
        again = bench.lease_one(device).await;
    }
    assert_eq!(again.attempts, 2);
    let none = bench.leasing.companions(device, &again, 3).await;
    assert!(none.is_empty(), "a task that failed is tried alone");
    let known = again.assignment.anchor.unwrap();
    assert_eq!(known.plan, anchor.plan);
    let workloads: Vec<_> = known.times.iter().map(|time| time.workload).collect();
    assert_eq!(workloads, fixtures::request().workloads);
    bench.stop().await;
}

#[tokio::test]
async fn a_search_that_was_begun_beside_a_uniform_plan_stays_beside_it() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    bench.submit(fixtures::request()).await;
    let uniform = Plan::uniform(&fixtures::spec(), Precision::Q4K).unwrap();
    let mut first = bench.lease_one(device).await;
    let mixed = first.assignment.anchor.replace(Anchor {
        plan: uniform.clone(),
        times: Vec::new(),
    });
    assert_eq!(mixed.unwrap().plan.uniform_precision(), None);
    bench.report(&first).await.unwrap();
    let mut next = bench.lease_one(device).await;
    while next.assignment.kind != TaskKind::Latency {
        bench.report(&next).await.unwrap();
        next = bench.lease_one(device).await;
    }
    let kept = next.assignment.anchor.unwrap();
    assert_eq!(kept.plan, uniform);
    assert_eq!(kept.times.len(), fixtures::request().workloads.len());
    bench.stop().await;
}

#[tokio::test]
async fn a_quality_comes_with_the_rival_that_it_must_lose_less_than() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let request = SearchRequest {
        budget: fixtures::evaluations(40),
        ..fixtures::request()
    };
    let search = bench.submit(request).await;
    let mut raced = 0;
    for _ in 0..2 * 40 {
        let hand_out = bench.lease_one(device).await;
        let assignment = &hand_out.assignment;
        let front = query::front(&bench.world, search, None).await.unwrap();
        let of = |candidate| {
            let mut points = front.points.iter();
            points.find(|point| point.candidate == candidate).unwrap()
        };
        if let Some(rival) = &assignment.rival {
            raced += 1;
            assert_eq!(assignment.kind, TaskKind::Quality);
            let (ours, theirs) = (of(assignment.candidate), of(rival.candidate));
            assert_eq!(ours.baseline, None, "baselines are scored whole");
            assert!(theirs.size_bytes <= ours.size_bytes);
            assert!(theirs.decode_ns() <= ours.decode_ns());
            let quality = &theirs.quality.as_ref().unwrap().value;
            assert_eq!(quality.kld_windows, rival.kld_windows);
            assert_eq!(quality.stopped, None);
        }
        bench.report(&hand_out).await.unwrap();
    }
    assert!(raced > 3, "{raced}");
    let front = query::front(&bench.world, search, None).await.unwrap();
    let stopped = front.points.iter().filter(|point| {
        let quality = point.quality.as_ref();
        quality.is_some_and(|quality| quality.value.stopped.is_some())
    });
    for point in stopped {
        assert!(!point.on_front, "{point:?}");
    }
    bench.stop().await;
}

#[tokio::test]
async fn heartbeats_keep_a_lease_and_silence_ends_it() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let (leasing, clock) = (&bench.leasing, &bench.clock);
    let device = bench.register("one").await;
    bench.submit(fixtures::request()).await;
    let hand_out = bench.lease_one(device).await;
    let token = hand_out.assignment.token;
    for _ in 0..10 {
        clock.advance(Duration::from_secs(20));
        assert!(
            leasing
                .heartbeat(device, &[token])
                .await
                .unwrap()
                .is_empty()
        );
        leasing.sweep().await.unwrap();
    }
    let other = bench.register("two").await;
    let lost = leasing.heartbeat(other, &[token]).await.unwrap();
    assert_eq!(lost, [token], "a lease of another device");
    assert_eq!(leasing.until_next_end(), Duration::from_secs(30));
    clock.advance(Duration::from_secs(29));
    leasing.sweep().await.unwrap();
    assert!(
        leasing
            .heartbeat(device, &[token])
            .await
            .unwrap()
            .is_empty()
    );
    clock.advance(Duration::from_secs(30));
    leasing.sweep().await.unwrap();
    assert_eq!(leasing.heartbeat(device, &[token]).await.unwrap(), [token]);
    let again = bench.lease_one(device).await;
    assert_eq!(again.assignment.token.task, token.task);
    assert_eq!(again.assignment.token.epoch, token.epoch + 1);
    // The late result of the first hand-out is kept, and leaves the second one alone.
    assert_eq!(
        bench.report(&hand_out).await.unwrap(),
        Receipt::KeptAsRepeat
    );
    assert_eq!(bench.report(&again).await.unwrap(), Receipt::Recorded);
    bench.stop().await;
}

#[tokio::test]
async fn a_restart_gives_leases_their_full_time_again() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    bench.submit(fixtures::request()).await;
    let hand_out = bench.lease_one(device).await;
    let token = hand_out.assignment.token;
    bench.clock.advance(Duration::from_secs(29));
    // Another coordinator over the same store, as after a crash: it has heard of nobody.
    let after = Bench::over(bench.world.store.clone(), |_| {}).await;
    after.leasing.take_over().await.unwrap();
    after.clock.advance(Duration::from_secs(29));
    after.leasing.sweep().await.unwrap();
    let lost = after.leasing.heartbeat(device, &[token]).await.unwrap();
    assert!(lost.is_empty());
    after.clock.advance(Duration::from_secs(31));
    after.leasing.sweep().await.unwrap();
    let lost = after.leasing.heartbeat(device, &[token]).await.unwrap();
    assert_eq!(lost, [token]);
    bench.stop().await;
}

#[tokio::test]
async fn a_claim_that_nobody_heard_of_is_found_by_the_sweep() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    bench.submit(fixtures::request()).await;
    let token = bench.lease_one(device).await.assignment.token;
    bench.leasing.forget(token);
    bench.leasing.sweep().await.unwrap();
    bench.clock.advance(Duration::from_secs(31));
    bench.leasing.sweep().await.unwrap();
    let again = bench.lease_one(device).await;
    assert_eq!(again.assignment.token.task, token.task);
    assert_eq!(again.attempts, 1, "nobody tried to measure it");
    bench.stop().await;
}

#[tokio::test]
async fn a_caller_that_went_away_holds_nothing() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let search = bench.submit(fixtures::request()).await;
    let first = bench.lease_one(device).await;
    bench.report(&first).await.unwrap();
    // Polled once, the call has sent its claim on the way and is then dropped.
    for _ in 0..5 {
        let mut call = Box::pin(bench.lease(device));
        tokio::select! {
            biased;
            _ = &mut call => panic!("a claim takes longer than one poll"),
            () = std::future::ready(()) => {}
        }
    }
    let mut changes = bench.world.wakeups.on_search(search);
    while !bench.world.store.leased().await.unwrap().is_empty() {
        changes.changed().await.unwrap();
    }
    // Nothing of that counted as an attempt.
    let next = bench.lease_one(device).await;
    assert_eq!(next.assignment.candidate, first.assignment.candidate);
    bench.stop().await;
}

#[tokio::test]
async fn an_agent_that_starts_anew_gives_back_what_it_held() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    bench.submit(fixtures::request()).await;
    for epoch in 1..=3 {
        let token = bench.lease_one(device).await.assignment.token;
        assert_eq!(token.epoch, epoch);
        assert_eq!(bench.register("one").await, device);
    }
    // A candidate that brings its agent down three times is not tried a fourth time.
    let next = bench.lease_one(device).await.assignment;
    assert_eq!(next.token.epoch, 1);
    bench.stop().await;
}

#[tokio::test]
async fn a_registration_after_a_lost_answer_counts_against_no_task() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    bench.submit(fixtures::request()).await;
    let task = bench.lease_one(device).await.assignment.token.task;
    for epoch in 2..=6 {
        let registration = fixtures::registration("one");
        let instance = bench.caller(device).instance;
        let again = bench.leasing.register(registration, &instance, true).await;
        assert_eq!(again.unwrap(), device);
        let token = bench.lease_one(device).await.assignment.token;
        assert_eq!(token, LeaseToken { task, epoch });
    }
    bench.stop().await;
}

#[tokio::test]
async fn of_two_agents_of_one_name_the_first_is_told() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut failures = Vec::new();
    for (what, cpu_model) in [
        ("another profile", "Other 1"),
        ("one profile", "Scripted 9000"),
    ] {
        let device = bench.register("one").await;
        let first = bench.caller(device);
        let mut registration = fixtures::registration("one");
        registration.hardware_profile.cpu_model = cpu_model.to_owned();
        let second = Caller {
            hardware_profile: registration.hardware_profile.digest(),
            instance: "another agent".to_owned(),
        };
        let same = bench
            .leasing
            .register(registration, &second.instance, false)
            .await;
        assert_eq!(same.unwrap(), device);
        // Another coordinator knows of the latest registration from the store alone.
        let after = Bench::over(bench.world.store.clone(), |_| {}).await;
        bench.submit(fixtures::request()).await;
        for (bench, where_) in [(&bench, "here"), (&after, "after a restart")] {
            let (leasing, shutdown) = (&bench.leasing, &bench.shutdown);
            let wait = Duration::ZERO;
            match leasing.lease(device, &first, wait, shutdown).await {
                Err(ServiceError::NameTaken { name }) if name == "one" => {}
                other => failures.push(format!("{what} {where_}: the first got {other:?}")),
            }
            let taken = leasing.lease(device, &second, wait, shutdown).await;
            if taken.is_err() {
                failures.push(format!("{what} {where_}: the second got {taken:?}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    bench.stop().await;
}

#[tokio::test]
async fn reports_are_checked_against_their_task() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let search = bench.submit(fixtures::request()).await;
    let timing = bench.lease_one(device).await.assignment;
    let HandOut {
        assignment, spec, ..
    } = bench.lease_one(device).await;
    let right = fixtures::report(&spec, &assignment);
    let timed = fixtures::report(&spec, &timing);
    let mut rows = Vec::new();
    let mut row = |name, report, expected| rows.push((name, report, expected));
    let mut changed = right.clone();
    changed.plan_digest = bitfront_model::Digest::of("other");
    row("another plan", changed, "was to be");
    let mut changed = right.clone();
    changed.measurement = timed.measurement.clone();
    row("another kind", changed, "quality was to be");
    let mut changed = timed.clone();
    changed.measurement = right.measurement.clone();
    row("the other kind", changed, "latency was to be");
    let mut changed = right.clone();
    changed.measurement.evidence.executed.pop();
    row(
        "too few layers",
        changed,
        "15 executed precisions are given for 16 layers",
    );
    let mut changed = right.clone();
    changed.measurement = fixtures::infeasible(" ");
    row("no reason", changed, "needs a reason");
    let mut changed = right.clone();
    if let bitfront_model::Outcome::Quality(quality) = &mut changed.measurement.outcome {
        quality.kld_windows.clear();
    }
    row("no windows", changed, "no samples");
    let mut changed = right.clone();
    if let bitfront_model::Outcome::Quality(quality) = &mut changed.measurement.outcome {
        quality.kld_windows[3] = -0.5;
    }
    row("below zero", changed, "a divergence is -0.5");
    let mut changed = right.clone();
    if let bitfront_model::Outcome::Quality(quality) = &mut changed.measurement.outcome {
        quality.same_top_rate = 1.5;
    }
    row("more than all", changed, "equal top tokens is 1.5");
    for time in [0.0, -3.0, f64::NAN] {
        let mut changed = timed.clone();
        if let bitfront_model::Outcome::Latency { workloads } = &mut changed.measurement.outcome {
            workloads[1].median_ns = time;
        }
        row("no time", changed, "the time of `decode@64x16` is");
    }
    let mut changed = timed.clone();
    if let bitfront_model::Outcome::Latency { workloads } = &mut changed.measurement.outcome {
        workloads[1].samples_ns.clear();
    }
    row("no samples", changed, "`decode@64x16` has no samples");
    let mut changed = timed.clone();
    if let bitfront_model::Outcome::Latency { workloads } = &mut changed.measurement.outcome {
        workloads.swap(0, 1);
    }
    row("another order", changed, "other workloads");
    let mut changed = right.clone();
    changed.token.epoch += 1;
    row("a future epoch", changed, "never leased under epoch 2");
    let mut changed = right.clone();
    changed.token.epoch = 0;
    row("no epoch", changed, "never leased under epoch 0");
    let mut changed = right.clone();
    changed.token = LeaseToken {
        task: 999,
        epoch: 1,
    };
    row("no task", changed, "task 999 was never leased");
    let mut failures = Vec::new();
    for (name, report, expected) in rows {
        match measurements::report(&bench.world, &bench.leasing, &report).await {
            Err(error) if error.to_string().contains(expected) => {}
            other => failures.push(format!("{name}: {other:?}")),
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(
        bench
            .world
            .store
            .scores(search, 0)
            .await
            .unwrap()
            .is_empty()
    );
    for report in [right, timed] {
        let receipt = measurements::report(&bench.world, &bench.leasing, &report).await;
        assert_eq!(receipt.unwrap(), Receipt::Recorded);
    }
    bench.stop().await;
}

#[tokio::test]
async fn a_task_that_brings_down_whoever_measures_it_twice_is_given_up_with_the_reason() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let search = bench.submit(fixtures::request()).await;
    let first = bench.lease_one(device).await;
    let token = first.assignment.token;
    let crashed = async |token| bench.leasing.crashed(token, "it aborted").await.unwrap();
    assert_eq!(crashed(token).await, Requeued::Queued);
    // Said once more, since no answer was heard, it is the same crash.
    assert_eq!(crashed(token).await, Requeued::NotHeld);

    // Other failures do not count as crashes, and take none back.
    let mut again = bench.lease_one(device).await;
    assert_eq!(again.assignment.token.task, token.task);
    let token = again.assignment.token;
    let given_back = bench.leasing.give_back(token, "busy", false).await;
    assert_eq!(given_back.unwrap(), Requeued::Queued);
    again = bench.lease_one(device).await;
    assert_eq!(again.assignment.token.task, token.task);
    assert_eq!(crashed(again.assignment.token).await, Requeued::Failed);

    // The search goes on with the next candidate.
    let next = bench.lease_one(device).await;
    assert_ne!(next.assignment.candidate, first.assignment.candidate);
    let front = query::front(&bench.world, search, None).await.unwrap();
    let point = (front.points.iter())
        .find(|point| point.candidate == first.assignment.candidate)
        .unwrap();
    let reason = point.infeasible.as_deref().unwrap();
    assert!(
        reason.contains("2 attempts") && reason.contains("it aborted"),
        "{reason}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn one_crash_of_a_task_that_is_measured_at_last_is_forgotten() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    bench.submit(fixtures::request()).await;
    let first = bench.lease_one(device).await;
    let token = first.assignment.token;
    bench.leasing.crashed(token, "it aborted").await.unwrap();
    let again = bench.lease_one(device).await;
    assert_eq!(again.assignment.token.task, token.task);
    bench.report(&again).await.unwrap();
    assert_eq!(*bench.leasing.crashes.lock().unwrap(), [].into());
    bench.stop().await;
}
