use std::cmp::Ordering;

use bitfront_model::{Digest, SearchRequest, Workload};

use crate::error::ServiceError;
use crate::fixtures;
use crate::query;
use crate::testing::{Bench, folder};

fn request() -> SearchRequest {
    SearchRequest {
        budget: fixtures::evaluations(3),
        ..fixtures::request()
    }
}

/// A search that is measured to its end; the numbers of its candidates.
async fn measured(bench: &Bench, device: i64, request: SearchRequest) -> Vec<i64> {
    let search = bench.submit(request).await;
    bench.serve(device, search, usize::MAX).await;
    let front = query::front(&bench.world, search, None).await.unwrap();
    let points = front.points.iter();
    let measured = points.filter(|point| point.quality.is_some() && point.latency.is_some());
    measured.map(|point| point.candidate).collect()
}

async fn refused(bench: &Bench, first: i64, second: i64) -> ServiceError {
    let answer = query::compare(&bench.world, first, second).await;
    answer.unwrap_err()
}

#[tokio::test]
async fn two_plans_of_one_search_differ_as_they_were_measured() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let candidates = measured(&bench, device, request()).await;
    let (first, second) = (candidates[0], candidates[2]);
    let compared = query::compare(&bench.world, first, second).await.unwrap();
    assert_eq!(compared.first.candidate, first);
    assert_eq!(compared.second.candidate, second);
    let found = compared.differences;
    let less = compared.first.kld().unwrap() - compared.second.kld().unwrap();
    assert!((found.kld.mean - less).abs() < 1e-12);
    assert_eq!(found.kld.ordering(), less.total_cmp(&0.0));
    let times = compared.first.decode_ns().unwrap() / compared.second.decode_ns().unwrap();
    assert_eq!(found.decode.unwrap().value, times);
    let turned = query::compare(&bench.world, second, first).await.unwrap();
    assert_eq!(turned.differences.kld.mean, -found.kld.mean);
    assert_eq!(turned.differences.size_bytes, -found.size_bytes);
    let itself = query::compare(&bench.world, first, first).await.unwrap();
    assert_eq!(itself.differences.kld.ordering(), Ordering::Equal);
    assert_eq!(itself.differences.size_bytes, 0);
    bench.stop().await;
}

#[tokio::test]
async fn what_cannot_be_compared_is_refused_with_what_differs() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let first = measured(&bench, device, request()).await[0];

    let mut other_text = request();
    other_text.subject.data.evaluation_digest = Digest::of("another text");
    let text = measured(&bench, device, other_text).await[0];
    let mut other_times = request();
    other_times.workloads[0] = Workload::Prefill {
        tokens: 32,
        batch: 1,
    };
    let times = measured(&bench, device, other_times).await[0];
    let mut registration = fixtures::registration("two");
    registration.numerics_class.0 = "scripted/2".to_owned();
    registration.hardware_profile.cpu_model = "Other".to_owned();
    let two = bench.register_as(registration).await.unwrap();
    let mut elsewhere = request();
    elsewhere.device = Some("two".to_owned());
    let class = measured(&bench, two, elsewhere).await[0];

    for (second, said) in [
        (text, "the evaluation text ("),
        (
            times,
            "the workloads (decode@64x16 and prefill@64 and decode@64x16 and prefill@32)",
        ),
        (
            class,
            "the numerics class (scripted/1/cpu/avx2 and scripted/2)",
        ),
    ] {
        let error = refused(&bench, first, second).await;
        let message = error.to_string();
        assert!(matches!(error, ServiceError::Incomparable { .. }));
        let expected =
            format!("candidates {first} and {second} cannot be compared, they differ in ");
        assert!(message.starts_with(&expected), "{message}");
        assert!(message.contains(said), "{message}");
        assert!(!message.contains(';'), "only what differs: {message}");
    }
    let message = refused(&bench, first, 9999).await.to_string();
    assert!(
        message.starts_with("there is no candidate 9999"),
        "{message}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn times_of_other_hardware_are_left_out_and_quality_is_compared() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = bench.register("one").await;
    let first = measured(&bench, one, request()).await;
    let mut registration = fixtures::registration("two");
    registration.hardware_profile.cpu_model = "Other".to_owned();
    let two = bench.register_as(registration).await.unwrap();
    let mut elsewhere = request();
    elsewhere.device = Some("two".to_owned());
    let second = measured(&bench, two, elsewhere).await;
    let compared = query::compare(&bench.world, first[0], second[1])
        .await
        .unwrap();
    assert_eq!(compared.differences.decode, None);
    assert_eq!(compared.differences.prefill, None);
    assert!(compared.differences.kld.mean != 0.0);
    bench.stop().await;
}

#[tokio::test]
async fn what_has_no_figures_of_its_own_says_why() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let device = bench.register("one").await;
    let good = measured(&bench, device, request()).await[0];
    let search = bench.submit(request()).await;
    // Another subject would be refused too, but there is nothing to compare to begin with.
    let hand_out = bench.lease_one(device).await;
    let front = query::front(&bench.world, search, None).await.unwrap();
    let waiting = front.points[0].candidate;
    let message = refused(&bench, good, waiting).await.to_string();
    assert!(
        message.starts_with(&format!("candidate {waiting} cannot be compared: its ")),
        "{message}"
    );
    assert!(message.ends_with("is not measured yet"), "{message}");

    let mut report = fixtures::report(&hand_out.spec, &hand_out.assignment);
    report.measurement = fixtures::infeasible("not enough memory");
    crate::measurements::report(&bench.world, &bench.leasing, &report)
        .await
        .unwrap();
    let message = refused(&bench, waiting, good).await.to_string();
    assert!(
        message.ends_with("it cannot be executed: not enough memory"),
        "{message}"
    );

    let hand_out = bench.lease_one(device).await;
    let mut report = fixtures::report(&hand_out.spec, &hand_out.assignment);
    let executed = &mut report.measurement.evidence.executed;
    executed[0] = bitfront_model::Precision::F32;
    crate::measurements::report(&bench.world, &bench.leasing, &report)
        .await
        .unwrap();
    bench.serve(device, search, usize::MAX).await;
    let front = query::front(&bench.world, search, None).await.unwrap();
    let otherwise = |point: &&bitfront_model::FrontPoint| !point.executed_as_planned;
    let otherwise = front.points.iter().find(otherwise).unwrap().candidate;
    let message = refused(&bench, good, otherwise).await.to_string();
    assert!(
        message.ends_with("another precision than was asked for"),
        "{message}"
    );
    bench.stop().await;
}
