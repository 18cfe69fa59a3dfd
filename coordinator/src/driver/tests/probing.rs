//! A search is bound once its device is probed.

use super::*;

/// A device whose agent understands probes.
async fn register_probing(bench: &Bench) -> i64 {
    let device = Registration {
        can_probe: true,
        ..fixtures::registration("one")
    };
    bench.register_as(device).await.unwrap()
}

#[tokio::test]
async fn a_search_is_bound_once_its_device_is_probed_to_a_space_that_a_restart_keeps() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let request = SearchRequest {
        precisions: Precision::ALL.to_vec(),
        ..request(60)
    };
    let search = bench.submit(request).await;
    let device = register_probing(&bench).await;
    let assignment = bench.lease_question(device).await;
    until(&bench, search, |stored| {
        stored.reason.contains("the probe of device `one`")
    })
    .await;
    // Neither an answer to another question nor an impossible time is taken.
    let changed = |change: fn(&mut Probe)| {
        let mut report = fixtures::answer(&assignment);
        let Answer::Probe(probe) = &mut report.answer else {
            panic!("{report:?} is no probe");
        };
        change(probe);
        report
    };
    let refused = [
        AnswerReport {
            question_digest: Digest::of("another"),
            ..fixtures::answer(&assignment)
        },
        changed(|probe| drop(probe.products.pop())),
        changed(|probe| {
            if let ProductResult::Timed { few_rows, .. } = &mut probe.products[0].result {
                few_rows.median_ns = 0.0;
            }
        }),
    ];
    for report in refused {
        let refusal = measurements::answer(&bench.world, &bench.leasing, &report).await;
        assert!(refusal.unwrap_err().to_string().contains("is refused"));
    }
    assert_eq!(bench.answer(&assignment).await.unwrap(), Receipt::Recorded);
    until(&bench, search, |stored| stored.binding.is_some()).await;
    let stored = bench.world.store.search(search).await.unwrap().unwrap();
    let excluded: Vec<_> = stored.binding.unwrap().exclusions;
    assert!(excluded.iter().any(|it| it.precision == Precision::Q5_0));

    assert_eq!(bench.serve(device, search, 70).await, 70);
    bench.stop().await;
    let bench = Bench::over(bench.world.store.clone(), |_| {}).await;
    bench.take_over().await;
    let device = register_probing(&bench).await;
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    let candidates = bench.world.store.candidates(search, 0).await.unwrap();
    let proposed = candidates.iter().filter(|it| it.baseline.is_none());
    let mut outside = 0;
    for candidate in candidates.iter().filter(|it| it.baseline.is_some()) {
        outside += usize::from(candidate.genome.is_none());
    }
    assert!(outside > 0, "baselines are measured outside the space too");
    // Of the layers that are multiplied, none is proposed in what left.
    for candidate in proposed {
        let layers = fixtures::spec().layers;
        for (layer, precision) in layers.iter().zip(&candidate.precisions) {
            let left = excluded
                .iter()
                .any(|it| Shape::of(layer) == Some(it.shape) && it.precision == *precision);
            assert!(!left, "{} in {precision}", layer.name);
        }
    }
}

#[tokio::test]
async fn a_second_search_over_the_same_shapes_waits_for_no_probe() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let first = bench.submit(request(10)).await;
    let device = register_probing(&bench).await;
    let assignment = bench.lease_question(device).await;
    bench.answer(&assignment).await.unwrap();
    until(&bench, first, |stored| stored.binding.is_some()).await;
    let second = bench.submit(request(10)).await;
    until(&bench, second, |stored| stored.binding.is_some()).await;
    let device = query::device(&bench.world, "one").await.unwrap();
    assert_eq!(device.probes.len(), 1);
    assert_eq!(
        device.probes[0].standing,
        QuestionStanding::Done(Box::new(fixtures::probe(&fixtures::probe_question())))
    );
    assert!(!device.probes[0].excluded.is_empty());
    let unknown = query::device(&bench.world, "two")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        unknown.contains("`two`") && unknown.contains("known are one"),
        "{unknown}"
    );
    bench.stop().await;
}

#[tokio::test]
async fn a_probe_that_fails_too_often_is_done_without() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(request(5)).await;
    let device = register_probing(&bench).await;
    for _ in 0..bench.world.config.most_attempts {
        let assignment = bench.lease_question(device).await;
        bench
            .leasing
            .give_back(assignment.token, "no memory", true)
            .await
            .unwrap();
    }
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    let stored = bench.world.store.search(search).await.unwrap().unwrap();
    let binding = stored.binding.unwrap();
    assert_eq!((binding.probe, binding.exclusions), (None, Vec::new()));
    let device = query::device(&bench.world, "one").await.unwrap();
    let reason = "no memory".to_owned();
    assert_eq!(
        device.probes[0].standing,
        QuestionStanding::Failed { reason }
    );
}
