//! Spaces, objectives and stores that no search is made for.

use super::*;
use crate::intake;
use crate::space::SearchSpace;

const STRATEGIES: [StrategyName; 4] = [
    StrategyName::Random,
    StrategyName::Nsga2,
    StrategyName::SmsEmoa,
    StrategyName::Surrogate,
];

/// A model of as many layers as asked for, of one kind and one shape.
fn spec_of(layers: u32) -> ModelSpec {
    let mut spec = fixtures::spec();
    let like = spec.layers[1].clone();
    spec.layers = (0..layers)
        .map(|block| Layer {
            name: format!("blk.{block}.{}", like.kind),
            block: Some(block),
            ..like.clone()
        })
        .collect();
    spec.blocks = layers;
    spec
}

async fn ended(request: SearchRequest) -> SearchStatus {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    intake::check(&request, &[]).unwrap();
    let search = bench.submit(request).await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    let status = bench.status(search).await;
    bench.stop().await;
    status
}

#[tokio::test]
async fn one_precision_everywhere_and_one_gene_are_searched_to_their_end() {
    for strategy in STRATEGIES {
        let one_allele = SearchRequest {
            precisions: vec![Precision::Q8_0],
            strategy,
            ..request(1000)
        };
        let one_gene = SearchRequest {
            spec: spec_of(1),
            strategy,
            ..request(1000)
        };
        for request in [one_allele, one_gene] {
            let plans = request.precisions.len() as u64;
            let status = ended(request).await;
            assert_eq!(status.state, SearchState::Done);
            assert_eq!(status.reason, "every plan of the space has been evaluated");
            assert!(status.evaluated >= plans);
            assert_eq!(status.outlook, None, "nothing is left to evaluate");
        }
    }
}

#[tokio::test]
async fn ten_thousand_genes_are_asked_for_like_few() {
    for strategy in STRATEGIES {
        let request = SearchRequest {
            spec: spec_of(10_000),
            precisions: vec![Precision::Q8_0, Precision::Q4K],
            strategy,
            ..request(1000)
        };
        intake::check(&request, &[]).unwrap();
        let mut replay = Replay::new(&request, &binding(), &Known::default()).unwrap();
        for id in 1..=20 {
            let next = replay.next().await.unwrap().unwrap();
            assert_eq!(next.plan.precisions().len(), 10_000);
            let (candidate, scores) = stored(next, id, &request.spec);
            replay.learn(vec![candidate], &scores).unwrap();
        }
        assert_eq!(replay.baselines_left().0, 0, "{strategy} has proposed");
    }
}

/// Serves a search with changed figures until it has ended.
async fn serve_changed(bench: &Bench, device: i64, search: i64, change: impl Fn(&mut Outcome)) {
    while !bench.status(search).await.state.has_ended() {
        let Ok(hand_out) =
            tokio::time::timeout(Duration::from_millis(300), bench.lease_one(device)).await
        else {
            continue;
        };
        let mut report = fixtures::report(&hand_out.spec, &hand_out.assignment);
        change(&mut report.measurement.outcome);
        let taken = measurements::report(&bench.world, &bench.leasing, &report).await;
        taken.unwrap();
    }
}

#[tokio::test]
async fn figures_that_never_change_leave_the_size_to_decide() {
    for strategy in STRATEGIES {
        let folder = folder();
        let bench = Bench::in_folder(folder.path()).await;
        let search = bench
            .submit(SearchRequest {
                strategy,
                early_stop: EarlyStop {
                    stalled: Some(StallRule {
                        evaluations: 12,
                        least_growth: 0.01,
                    }),
                    within_limits: false,
                },
                ..request(40)
            })
            .await;
        let device = bench.register("one").await;
        serve_changed(&bench, device, search, |outcome| match outcome {
            Outcome::Quality(quality) => {
                (quality.kld, quality.kld_standard_error) = (0.0, 0.0);
                quality.kld_windows.fill(0.0);
            }
            Outcome::Latency { workloads } => {
                for latency in workloads {
                    (latency.median_ns, latency.paired) = (1e6, None);
                    (latency.interval.low, latency.interval.high) = (1e6, 1e6);
                }
            }
            Outcome::Infeasible { .. } => {}
        })
        .await;
        let status = bench.status(search).await;
        assert_eq!(status.state, SearchState::Done, "{}", status.reason);
        let front = query::front(&bench.world, search, None).await.unwrap();
        let shown: Vec<_> = front.points.iter().filter(|point| point.on_front).collect();
        let smallest = front.points.iter().map(|point| point.size_bytes).min();
        assert_eq!(shown.len(), 1, "{strategy}");
        assert_eq!(Some(shown[0].size_bytes), smallest);
        bench.stop().await;
    }
}

#[tokio::test]
async fn figures_that_are_no_numbers_are_refused_and_may_be_measured_again() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(request(2)).await;
    let device = bench.register("one").await;
    let mut hand_out = bench.lease_one(device).await;
    for strange in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let mut report = fixtures::report(&hand_out.spec, &hand_out.assignment);
        match &mut report.measurement.outcome {
            Outcome::Quality(quality) => quality.kld = strange,
            Outcome::Latency { workloads } => workloads[0].median_ns = strange,
            Outcome::Infeasible { .. } => {}
        }
        let refused = measurements::report(&bench.world, &bench.leasing, &report).await;
        let message = refused.unwrap_err().to_string();
        assert!(message.contains(&format!("is {strange}")), "{message}");
        if strange.is_nan() {
            assert_eq!(bench.report(&hand_out).await.unwrap(), Receipt::Recorded);
            hand_out = bench.lease_one(device).await;
        }
    }
    bench.report(&hand_out).await.unwrap();
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    bench.stop().await;
}

#[tokio::test]
async fn a_space_that_is_no_longer_the_stored_one_names_the_genes_that_changed() {
    let before = fixtures::request();
    let mut replay = Replay::new(&before, &binding(), &Known::default()).unwrap();
    let mut candidates = Vec::new();
    for id in 1..=30 {
        let next = replay.next().await.unwrap().unwrap();
        let (candidate, scores) = stored(next, id, &before.spec);
        replay.learn(vec![candidate.clone()], &scores).unwrap();
        candidates.push(candidate);
    }
    let refusal = |after: &SearchRequest| {
        let mut replay = Replay::new(after, &binding(), &Known::default()).unwrap();
        replay
            .learn(candidates.clone(), &[])
            .unwrap_err()
            .to_string()
    };
    let narrower = SearchRequest {
        precisions: before.precisions[1..].to_vec(),
        ..before.clone()
    };
    let message = refusal(&narrower);
    for part in [
        "its space is no longer the one that candidate ",
        "`token_embd` was q",
        " and 11 more",
        "submit the search again",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    let coarser = SearchRequest {
        grouping: Grouping::Kind,
        ..before.clone()
    };
    let message = refusal(&coarser);
    assert!(
        message.contains("it had 16 genes, there are 9 now"),
        "{message}"
    );
    let space = SearchSpace::new(&before.spec, &before.precisions, before.grouping).unwrap();
    for candidate in &candidates {
        if let Some(genome) = &candidate.genome {
            assert!(space.misread(genome, &candidate.precisions).is_empty());
        }
    }
}

#[tokio::test]
async fn a_budget_below_the_baselines_says_what_was_left_out() {
    let request = request(3);
    let baselines = Baseline::named(&request.spec, &request.precisions).len();
    let status = ended(request).await;
    assert_eq!(
        status.reason,
        format!(
            "the budget of 3 evaluations is spent before {} of {baselines} baselines are \
             evaluated; more budget goes on with them",
            baselines - 3
        )
    );
    let outlook = status.outlook;
    assert_eq!(
        outlook, None,
        "without a reference point there is no growth"
    );
}
