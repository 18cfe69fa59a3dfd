use bitfront_model::{Best, Digest, Limits, Outcome, SearchRequest, Workload};

use crate::error::ServiceError;
use crate::fixtures;
use crate::query;
use crate::testing::{Bench, folder};

fn request(evaluations: u64) -> SearchRequest {
    SearchRequest {
        budget: fixtures::evaluations(evaluations),
        ..fixtures::request()
    }
}

async fn ask(bench: &Bench, model: &str, device: Option<&str>) -> Result<Best, ServiceError> {
    query::best(&bench.world, model, device, &Limits::default(), "kld").await
}

/// What is wrong with a question.
async fn refused(bench: &Bench, model: &str, device: Option<&str>) -> String {
    ask(bench, model, device).await.unwrap_err().to_string()
}

/// A device with another processor than the fixtures'.
async fn register_other(bench: &Bench, name: &str) -> i64 {
    let mut other = fixtures::registration(name);
    other.hardware_profile.cpu_model = "Other 1".to_owned();
    bench.register_as(other).await.unwrap()
}

#[tokio::test]
async fn times_of_two_hardware_profiles_are_not_compared() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = bench.register("one").await;
    let first = bench.submit(request(3)).await;
    bench.serve(one, first, usize::MAX).await;
    let far = register_other(&bench, "far").await;
    let message = refused(&bench, "tiny", Some("far")).await;
    assert_eq!(
        message,
        "model `tiny` was measured on Scripted 9000, 2 threads, scripted 1, not on `far` \
         (Other 1, 2 threads, scripted 1)"
    );
    let mut there = request(3);
    there.device = Some("far".to_owned());
    let second = bench.submit(there).await;
    bench.serve(far, second, usize::MAX).await;

    let message = refused(&bench, "tiny", None).await;
    for part in [
        "2 hardware profiles",
        "Scripted 9000, 2 threads, scripted 1 (`one`)",
        "Other 1, 2 threads, scripted 1 (`far`)",
        "--device",
    ] {
        assert!(message.contains(part), "{part}: {message}");
    }
    for (device, search) in [("one", first), ("far", second)] {
        let best = ask(&bench, "tiny", Some(device)).await.unwrap();
        assert_eq!(best.point.search, search);
    }
    bench.stop().await;
}

#[tokio::test]
async fn two_models_of_one_name_are_told_apart() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let first = bench.submit(request(2)).await;
    bench.serve(device, first, usize::MAX).await;
    let mut other = request(2);
    other.spec.digest = Digest::of("other weights");
    other.subject.model.digest = other.spec.digest;
    let digest = other.spec.digest;
    let second = bench.submit(other).await;
    bench.serve(device, second, usize::MAX).await;

    let message = refused(&bench, "tiny", None).await;
    assert!(
        message.starts_with("`tiny` names 2 models: tiny ("),
        "{message}"
    );
    assert!(message.contains(&digest.short()), "{message}");
    let best = ask(&bench, &digest.short(), None).await.unwrap();
    assert_eq!(best.point.search, second);
    bench.stop().await;
}

#[tokio::test]
async fn of_texts_and_workloads_the_latest_that_was_measured_counts() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let mut many = request(15);
    many.subject.data.evaluation_digest = Digest::of("an older text");
    let older = bench.submit(many).await;
    bench.serve(device, older, usize::MAX).await;
    let later = bench.submit(request(1)).await;
    bench.serve(device, later, usize::MAX).await;
    // The older search holds plans that lose less, on another text.
    let best = ask(&bench, "tiny", None).await.unwrap();
    assert_eq!(best.point.search, later);
    assert_eq!(best.subject, fixtures::request().subject);

    let mut timed_otherwise = request(1);
    timed_otherwise.workloads[1] = Workload::Decode {
        context: 32,
        tokens: 8,
        batch: 1,
    };
    let latest = bench.submit(timed_otherwise).await;
    // Nothing of it is measured, so the one before it still is the latest.
    let best = ask(&bench, "tiny", None).await.unwrap();
    assert_eq!(best.point.search, later);
    bench.serve(device, latest, usize::MAX).await;
    let best = ask(&bench, "tiny", None).await.unwrap();
    assert_eq!(best.point.search, latest);
    bench.stop().await;
}

#[tokio::test]
async fn a_search_without_a_measurement_is_named() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let message = refused(&bench, "tiny", None).await;
    assert_eq!(message, "nothing is stored for model `tiny`");
    let search = bench.submit(request(2)).await;
    let unmeasured = format!("no candidate of search {search} is measured yet");
    assert_eq!(refused(&bench, "tiny", None).await, unmeasured);
    bench.register("one").await;
    assert_eq!(refused(&bench, "tiny", Some("one")).await, unmeasured);
    let message = refused(&bench, "tiny", Some("two")).await;
    assert!(message.starts_with("there is no device `two`"), "{message}");
    bench.stop().await;
}

#[tokio::test]
async fn a_lead_within_the_noise_is_no_reason_to_ship_more_bytes() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let search = bench.submit(request(3)).await;
    for turn in 0..6 {
        let hand_out = bench.lease_one(device).await;
        let mut report = fixtures::report(&hand_out.spec, &hand_out.assignment);
        let size = hand_out.assignment.plan.size_bytes(&hand_out.spec) as f64;
        match &mut report.measurement.outcome {
            // The largest plan leads, by far less than the error.
            Outcome::Quality(quality) => {
                quality.kld = 0.05 - size * 1e-12;
                // Each plan has its own windows that are hard.
                let window = |index| quality.kld + 0.003 * f64::from((index + turn) % 3 - 1);
                quality.kld_windows = (0..9).map(window).collect();
                quality.kld_standard_error = 0.001;
            }
            Outcome::Latency { workloads } => {
                for latency in workloads {
                    latency.paired = None;
                    latency.median_ns = 1000.0;
                    latency.interval.low = 990.0;
                    latency.interval.high = 1010.0;
                }
            }
            Outcome::Infeasible { .. } => {}
        }
        let reported = crate::measurements::report(&bench.world, &bench.leasing, &report).await;
        reported.unwrap();
    }
    let front = query::front(&bench.world, search, None).await.unwrap();
    let mut sizes: Vec<_> = front.points.iter().map(|point| point.size_bytes).collect();
    sizes.sort_unstable();
    assert_eq!(sizes.len(), 3);
    let best = ask(&bench, "tiny", None).await.unwrap().point;
    assert_eq!(best.size_bytes, sizes[0]);
    assert!(best.on_front && best.placing.class.len() == 2);
    let small = Limits {
        max_kld: Some(0.05 - sizes[1] as f64 * 1e-12),
        ..Limits::default()
    };
    let best = query::best(&bench.world, "tiny", None, &small, "kld").await;
    assert_eq!(
        best.unwrap().point.size_bytes,
        sizes[1],
        "within the limits"
    );
    bench.stop().await;
}
