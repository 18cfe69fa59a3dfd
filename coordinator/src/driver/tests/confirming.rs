//! A front is measured afresh before its search ends.

use super::*;

/// The plans of a front's points that were measured afresh.
async fn confirmed(store: &Arc<dyn Store>, search: i64) -> usize {
    let confirmations = store.confirmations(search).await.unwrap();
    confirmations
        .iter()
        .filter(|one| one.score.is_some())
        .count()
}

#[tokio::test]
async fn the_front_is_confirmed_before_the_end_and_no_ask_changes() {
    let mut asked = Vec::new();
    for most in [0, 4] {
        let folder = folder();
        let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
        let store: Arc<dyn Store> = Arc::new(store.unwrap());
        let bench = Bench::over(store.clone(), |config| {
            config.most_confirmed = most;
            config.pending_per_device = 1;
        })
        .await;
        let search = bench.submit(request(30)).await;
        let device = bench.register("one").await;
        bench.serve(device, search, 60).await;
        if most > 0 {
            let status = bench.status(search).await;
            assert_eq!(status.state, SearchState::Running);
            bench.serve(device, search, 1).await;
            let reason = bench.status(search).await.reason;
            assert!(
                reason.contains("confirming the front and the baselines"),
                "{reason}"
            );
            assert!(reason.contains("of the front left out"), "{reason}");
        }
        bench.serve(device, search, usize::MAX).await;
        let status = bench.status(search).await;
        assert_eq!((status.state, status.evaluated), (SearchState::Done, 30));
        let baselines = store.candidates(search, 0).await.unwrap();
        let baselines = baselines
            .iter()
            .filter(|one| one.baseline.is_some())
            .count();
        let expected = if most == 0 { 0 } else { 2 * (baselines + most) };
        assert_eq!(confirmed(&store, search).await, expected);

        // More budget goes on as if nothing had been confirmed, and confirms what is new.
        let resumed = store.resume(search, &fixtures::evaluations(40), 30).await;
        assert!(resumed.unwrap());
        bench.drivers.start(search);
        bench.serve(device, search, usize::MAX).await;
        let status = bench.status(search).await;
        assert_eq!((status.state, status.evaluated), (SearchState::Done, 40));
        assert!(confirmed(&store, search).await >= expected);
        asked.push(digests(&store, search).await);
        bench.stop().await;
    }
    assert_eq!(asked[0], asked[1]);
}

#[tokio::test]
async fn a_restart_while_confirming_goes_on_from_the_store() {
    let folder = folder();
    let store = SqliteStore::open(&folder.path().join("test.sqlite")).await;
    let store: Arc<dyn Store> = Arc::new(store.unwrap());
    let bench = Bench::over(store.clone(), |_| {}).await;
    let search = bench.submit(request(20)).await;
    let device = bench.register("one").await;
    bench.serve(device, search, 45).await;
    bench.stop().await;
    let before = confirmed(&store, search).await;
    assert!(before > 0, "nothing is confirmed yet");
    let active = bench.status(search).await.active;
    let bench = Bench::over(store.clone(), |_| {}).await;
    bench.take_over().await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!((status.state, status.evaluated), (SearchState::Done, 20));
    assert_eq!(status.active, active, "confirming counts towards no budget");
    assert!(confirmed(&store, search).await > before);
    bench.stop().await;
}

#[tokio::test]
async fn a_confirmation_that_nobody_manages_ends_the_search_nevertheless() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let search = bench.submit(request(20)).await;
    let device = bench.register("one").await;
    bench.serve(device, search, 40).await;
    for _ in 0..3 {
        let assignment = bench.lease_one(device).await.assignment;
        assert_eq!(assignment.purpose, TaskPurpose::Confirm);
        let given_back = bench.leasing.give_back(assignment.token, "no", true).await;
        given_back.unwrap();
    }
    bench.serve(device, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!((status.state, status.infeasible), (SearchState::Done, 0));
    bench.stop().await;
}

#[tokio::test]
async fn without_windows_to_confirm_quality_on_times_alone_are_confirmed() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut request = request(20);
    request.subject.data.held_back = None;
    let search = bench.submit(request).await;
    let device = bench.register("one").await;
    bench.serve(device, search, usize::MAX).await;
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    let confirmations = bench.world.store.confirmations(search).await.unwrap();
    assert!(!confirmations.is_empty());
    assert!(
        confirmations
            .iter()
            .all(|one| one.kind == TaskKind::Latency)
    );
    bench.stop().await;
}

/// Two devices of one numerics class share the qualities of a search, but only those of its
/// hardware profile confirm what is published of them.
#[tokio::test]
async fn a_device_of_the_class_alone_measures_quality_and_confirms_none() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = bench.register("one").await;
    let search = bench.submit(request(20)).await;
    let mut of_the_class = fixtures::registration("two");
    of_the_class.hardware_profile.cpu_model = "Scripted 9001".to_owned();
    let first = bench.lease_one(one).await;
    let two = bench.register_as(of_the_class).await.unwrap();
    bench.report(&first).await.unwrap();
    let quality = bench.lease_one(two).await;
    assert_eq!(quality.assignment.kind, TaskKind::Quality);
    bench.report(&quality).await.unwrap();
    tokio::join!(
        bench.serve(one, search, usize::MAX),
        bench.serve(two, search, usize::MAX)
    );
    assert_eq!(bench.status(search).await.state, SearchState::Done);
    let measured = bench.world.store.measurements(search, None).await.unwrap();
    let by = |purpose| {
        let of_purpose = measured.iter().filter(|it| it.purpose == purpose);
        of_purpose
            .map(|it| it.device.as_str())
            .collect::<BTreeSet<_>>()
    };
    assert_eq!(by(TaskPurpose::Search), BTreeSet::from(["one", "two"]));
    assert_eq!(by(TaskPurpose::Confirm), BTreeSet::from(["one"]));
    let front = query::front(&bench.world, search, None).await.unwrap();
    let confirmations = front
        .points
        .iter()
        .filter_map(|it| it.confirmation.as_ref());
    let agreeing = confirmations.map(|it| {
        let rescoring = it.rescoring.unwrap();
        (rescoring.windows, rescoring.ratio, rescoring.deviates)
    });
    assert!(agreeing.clone().count() > 0);
    assert!(agreeing.clone().all(|it| it == (4, 1.0, false)));
    bench.stop().await;
}
