//! A search is bound once it is known what its model's layers lose alone.

use super::*;

/// A device whose agent can score what layers lose alone, and understands no probes.
fn scoring(name: &str) -> Registration {
    Registration {
        can_score_swaps: true,
        ..fixtures::registration(name)
    }
}

/// A request whose strategy makes use of guesses.
fn guessing(evaluations: u64) -> SearchRequest {
    SearchRequest {
        strategy: StrategyName::Surrogate,
        ..request(evaluations)
    }
}

/// What a search is bound with.
async fn bound_with(bench: &Bench, search: i64) -> Option<i64> {
    until(bench, search, |stored| stored.binding.is_some()).await;
    let stored = bench.world.store.search(search).await.unwrap().unwrap();
    stored.binding.unwrap().sensitivity
}

#[tokio::test]
async fn a_search_is_bound_once_its_layers_are_known_and_a_second_one_asks_nothing() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let first = bench.submit(guessing(30)).await;
    // What is asked of the class is answered by whichever of its devices comes first.
    let one = bench.register_as(scoring("one")).await.unwrap();
    let mut of_the_class = scoring("two");
    of_the_class.hardware_profile.cpu_model = "Scripted 9001".to_owned();
    let two = bench.register_as(of_the_class).await.unwrap();
    let assignment = bench.lease_question(two).await;
    until(&bench, first, |stored| {
        stored.reason
            == "waiting for the sensitivity of the model's layers on device `one` or `two`"
    })
    .await;
    let unanswered = query::sensitivity(&bench.world, first).await.unwrap_err();
    let unanswered = unanswered.to_string();
    assert!(
        unanswered.contains("not bound to a device yet"),
        "{unanswered}"
    );

    // Neither an answer to another question nor an impossible loss is taken.
    let changed = |change: fn(&mut AnswerReport)| {
        let mut report = fixtures::answer(&assignment);
        change(&mut report);
        report
    };
    fn swaps(report: &mut AnswerReport) -> &mut Vec<Swap> {
        match &mut report.answer {
            Answer::Sensitivity(sensitivity) => &mut sensitivity.swaps,
            Answer::Probe(_) => panic!("it is a probe"),
        }
    }
    let refused = [
        changed(|report| report.question_digest = Digest::of("another")),
        changed(|report| {
            report.answer = Answer::Probe(fixtures::probe(&fixtures::probe_question()));
        }),
        changed(|report| drop(swaps(report).pop())),
        changed(|report| {
            let kld_windows = vec![f64::NAN; 2];
            swaps(report)[0].result = SwapResult::Scored { kld_windows };
        }),
    ];
    for report in refused {
        let refusal = measurements::answer(&bench.world, &bench.leasing, &report).await;
        let refusal = refusal.unwrap_err().to_string();
        assert!(refusal.contains("is refused"), "{refusal}");
    }
    assert_eq!(bench.answer(&assignment).await.unwrap(), Receipt::Recorded);

    let known = bound_with(&bench, first).await;
    assert!(known.is_some());
    let shown = query::sensitivity(&bench.world, first).await.unwrap();
    assert_eq!(shown.question, fixtures::sensitivity_question());
    assert_eq!(shown.sensitivity, fixtures::sensitivity(&shown.question));
    let second = bench.submit(guessing(30)).await;
    assert_eq!(bound_with(&bench, second).await, known);
    let class = fixtures::registration("one").numerics_class.0;
    assert_eq!(bench.world.store.questions(&class).await.unwrap().len(), 1);
    // What took its time before the first measurement counts towards no budget.
    assert_eq!(bench.status(first).await.active, Duration::ZERO);
    bench.serve(one, first, usize::MAX).await;
    assert_eq!(bench.status(first).await.state, SearchState::Done);
    bench.stop().await;
}

/// Two coordinators after each other over one store: the lease of the first one's question is kept,
/// and its search asks the same candidates as one that was never interrupted.
#[tokio::test]
async fn a_restart_while_layers_are_scored_loses_nothing_and_replays_with_what_came() {
    let one_at_a_time = |config: &mut crate::Config| config.pending_per_device = 1;
    let mut asked = Vec::new();
    for restarts in [false, true] {
        let folder = folder();
        let bench = Bench::in_folder(folder.path()).await;
        let store = bench.world.store.clone();
        let search = bench.submit(guessing(40)).await;
        let device = bench.register_as(scoring("one")).await.unwrap();
        let assignment = bench.lease_question(device).await;
        bench.stop().await;

        let mut bench = Bench::over(store.clone(), one_at_a_time).await;
        bench.take_over().await;
        assert_eq!(bench.answer(&assignment).await.unwrap(), Receipt::Recorded);
        // The same agent goes on; registering anew would give back what it holds.
        let device = bench.register_as(scoring("one")).await.unwrap();
        assert!(bound_with(&bench, search).await.is_some());
        if restarts {
            bench.serve(device, search, 60).await;
            bench.stop().await;
            bench = Bench::over(store.clone(), one_at_a_time).await;
            bench.take_over().await;
            let again = bench.register_as(scoring("one")).await.unwrap();
            assert_eq!(again, device);
        }
        bench.serve(device, search, usize::MAX).await;
        assert_eq!(bench.status(search).await.state, SearchState::Done);
        asked.push(digests(&store, search).await);
        bench.stop().await;
    }
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test]
async fn what_layers_lose_alone_changes_what_is_proposed() {
    let question = fixtures::sensitivity_question();
    let known = Known {
        sensitivity: Some(fixtures::sensitivity(&question)),
        ..Known::default()
    };
    let request = guessing(100);
    let mut proposals = Vec::new();
    for known in [Known::default(), known] {
        let mut replay = Replay::new(&request, &binding(), &known).unwrap();
        let proposal = loop {
            let next = replay.next().await.unwrap().unwrap();
            if next.ask_number.is_some() {
                break next.plan;
            }
            let id = replay.position().0 + 1;
            let (candidate, scores) = stored(next, id, &request.spec);
            replay.learn(vec![candidate], &scores).unwrap();
        };
        proposals.push(proposal);
    }
    assert_ne!(proposals[0], proposals[1]);
}

#[tokio::test]
async fn where_layers_cannot_be_scored_a_search_is_bound_without() {
    // No agent that can, or a request that wants nothing of it.
    let able = scoring("one");
    let old = fixtures::registration("one");
    let rounding = SearchRequest {
        prior: Prior::Rounding,
        ..guessing(5)
    };
    for (request, device, why) in [
        (guessing(5), old, "could measure it"),
        (rounding, able.clone(), "--prior swaps"),
        (request(5), able.clone(), "strategy `nsga2`"),
    ] {
        let folder = folder();
        let bench = Bench::in_folder(folder.path()).await;
        let search = bench.submit(request).await;
        let device = bench.register_as(device).await.unwrap();
        assert_eq!(bound_with(&bench, search).await, None);
        bench.serve(device, search, usize::MAX).await;
        assert_eq!(bench.status(search).await.state, SearchState::Done);
        let missing = query::sensitivity(&bench.world, search).await.unwrap_err();
        assert!(missing.to_string().contains(why), "{missing}");
        bench.stop().await;
    }
    // Every attempt fails.
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(guessing(5)).await;
    let device = bench.register_as(able).await.unwrap();
    for _ in 0..bench.world.config.most_attempts {
        let token = bench.lease_question(device).await.token;
        let given_back = bench.leasing.give_back(token, "no memory", true).await;
        given_back.unwrap();
    }
    assert_eq!(bound_with(&bench, search).await, None);
    let missing = query::sensitivity(&bench.world, search).await.unwrap_err();
    assert!(missing.to_string().contains("no memory"), "{missing}");
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    bench.stop().await;
}
