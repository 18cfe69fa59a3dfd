use std::time::Duration;

use bitfront_model::{
    Assignment, Limits, Objective, Outcome, Plan, Precision, Prediction, SearchRequest,
    StrategyName, TaskKind,
};

use super::super::Standing;
use crate::error::ServiceError;
use crate::evaluation::Figures;
use crate::fixtures;
use crate::query;
use crate::testing::{Bench, folder};

fn request(evaluations: u64, strategy: StrategyName) -> SearchRequest {
    SearchRequest {
        budget: fixtures::evaluations(evaluations),
        strategy,
        ..fixtures::request()
    }
}

fn at_most(bytes: u64) -> Limits {
    Limits {
        max_size_bytes: Some(bytes),
        ..Limits::default()
    }
}

async fn ask(bench: &Bench, search: i64, limits: &Limits) -> Result<Prediction, ServiceError> {
    query::predict(&bench.world, search, limits, "kld").await
}

/// What the scripted device would measure of a plan, by the assignment of another one.
fn true_kld(assignment: &Assignment, plan: &Plan) -> f64 {
    let assignment = Assignment {
        plan: plan.clone(),
        kind: TaskKind::Quality,
        rival: None,
        ..assignment.clone()
    };
    match fixtures::measurement(&fixtures::spec(), &assignment).outcome {
        Outcome::Quality(quality) => quality.kld,
        other => panic!("{other:?}"),
    }
}

/// A measured search, and the assignment that it began with.
async fn searched(bench: &Bench, request: SearchRequest) -> (i64, Assignment) {
    let device = bench.register("one").await;
    let search = bench.submit(request).await;
    let first = bench.lease_one(device).await;
    bench.report(&first).await.unwrap();
    bench.serve(device, search, usize::MAX).await;
    (search, first.assignment)
}

/// Sizes between those of the measured plans, under a strategy that knows no model.
#[tokio::test]
async fn a_plan_for_a_limit_is_found_without_a_measurement_and_is_better_than_what_was_measured() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let (search, assignment) = searched(&bench, request(40, StrategyName::Nsga2)).await;
    let before = bench.status(search).await;
    let spec = fixtures::spec();
    let size = |precision| {
        let plan = Plan::new(&spec, vec![precision; spec.layers.len()]);
        plan.unwrap().size_bytes(&spec)
    };
    let (smallest, largest) = (size(Precision::Q2K), size(Precision::Q8_0));
    let (mut truths, mut measured, mut held) = (0.0, 0.0, 0);
    for step in 1..10 {
        let limits = at_most(smallest + (largest - smallest) * step / 10);
        let prediction = ask(&bench, search, &limits).await.unwrap();
        assert!(prediction.size_bytes <= limits.max_size_bytes.unwrap());
        assert_eq!(prediction.size_bytes, prediction.plan.size_bytes(&spec));
        assert!(prediction.nearest_keeps);
        let kld = prediction.figure(Objective::Kld).unwrap();
        let interval = kld.interval();
        let truth = true_kld(&assignment, &prediction.plan);
        held += usize::from(interval.low <= truth && truth <= interval.high);
        truths += truth.ln();
        measured += true_kld(&assignment, &prediction.nearest.plan).ln();
        let figures = prediction.figures.iter().map(|believed| believed.figure);
        assert_eq!(figures.collect::<Vec<_>>(), Objective::ALL);
    }
    assert!(truths < measured, "{truths} against {measured}");
    assert!(held >= 7, "{held} of 9");
    let after = bench.status(search).await;
    assert_eq!(after, before, "nothing is measured or stored");
    bench.stop().await;
}

/// A measured plan is named as the candidate that it is.
#[tokio::test]
async fn a_measured_plan_that_nothing_beats_is_the_answer() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let (search, _) = searched(&bench, request(20, StrategyName::Surrogate)).await;
    // Without a limit nothing loses less than the largest plan, which is a baseline.
    let prediction = ask(&bench, search, &Limits::default()).await.unwrap();
    let precisions = prediction.plan.precisions();
    assert!(precisions.iter().all(|&it| it == Precision::Q8_0));
    assert_eq!(prediction.candidate, Some(prediction.nearest.candidate));
    bench.stop().await;
}

/// The search's own limits and objectives do not narrow the question.
#[tokio::test]
async fn figures_that_the_search_did_not_look_at_are_answered_for() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut narrow = request(30, StrategyName::Surrogate);
    narrow.objectives = vec![Objective::Kld, Objective::Size];
    narrow.limits = at_most(30_000_000);
    let (search, _) = searched(&bench, narrow).await;
    let free = ask(&bench, search, &Limits::default()).await.unwrap();
    let decode = free.figure(Objective::Decode).unwrap().value;
    let fast = Limits {
        max_decode: Some(Duration::from_nanos((0.7 * decode) as u64)),
        ..Limits::default()
    };
    let faster = ask(&bench, search, &fast).await.unwrap();
    assert!(faster.figure(Objective::Decode).unwrap().value <= 0.7 * decode);
    let quick = query::predict(&bench.world, search, &Limits::default(), "prefill").await;
    assert!(quick.unwrap().size_bytes < free.size_bytes);
    bench.stop().await;
}

#[tokio::test]
async fn a_question_without_an_answer_says_why() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let refused = async |search, limits: &Limits, by| {
        let answer = query::predict(&bench.world, search, limits, by).await;
        answer.unwrap_err().to_string()
    };
    let free = Limits::default();
    assert_eq!(refused(7, &free, "kld").await, "there is no search 7");
    let queued = bench.submit(request(20, StrategyName::Nsga2)).await;
    let unmeasured = format!("no candidate of search {queued} is measured yet");
    assert_eq!(refused(queued, &free, "kld").await, unmeasured);
    let device = bench.register("one").await;
    bench.serve(device, queued, usize::MAX).await;
    let message = refused(queued, &at_most(1), "kld").await;
    let expected = format!(
        "search {queued}: no plan is expected to keep these limits; the nearest to them is \
         expected to have size "
    );
    assert!(message.starts_with(&expected), "{message}");
    let message = refused(queued, &free, "beauty").await;
    assert!(message.contains("beauty"), "{message}");
    bench.stop().await;
}

#[tokio::test]
async fn a_space_that_no_longer_fits_is_said() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let (search, _) = searched(&bench, request(20, StrategyName::Nsga2)).await;
    let mut stored = query::find(&bench.world, search).await.unwrap();
    let standing = query::Standing::of(&bench.world, &stored).await.unwrap();
    stored.request.precisions.remove(0);
    let learned = query::belief::Learned::of(&bench.world, &stored, &standing).await;
    let message = learned.err().unwrap().to_string();
    for part in [
        "search 1 cannot be learned from: its space is no longer the one that candidate ",
        "submit the search again",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    bench.stop().await;
}

/// Fresh figures are of other windows, which differ from the search's by what the text is.
#[tokio::test]
async fn what_is_learned_is_what_the_search_itself_measured() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let (search, _) = searched(&bench, request(14, StrategyName::Surrogate)).await;
    let store = &bench.world.store;
    let stored = store.search(search).await.unwrap().unwrap();
    let scores = store.scores(search, 0).await.unwrap();
    let candidates = store.candidates(search, 0).await.unwrap();
    let own = crate::evaluation::figures(&candidates, &scores);
    let standing = Standing::of(&bench.world, &stored).await.unwrap();
    let kld = |figures: &Figures| figures.point(&[Objective::Kld]);
    let mut replaced = 0;
    for (position, own) in own.iter().enumerate() {
        assert_eq!(kld(standing.searched(position)), kld(own), "{position}");
        replaced += usize::from(kld(&standing.figures[position]) != kld(own));
    }
    assert!(replaced > 0);
}
