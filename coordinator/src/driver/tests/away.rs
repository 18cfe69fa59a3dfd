//! A running search whose devices have left.

use super::*;

fn other_hardware(name: &str) -> Registration {
    let mut device = fixtures::registration(name);
    device.hardware_profile.cpu_model = "Scripted 1".to_owned();
    device
}

async fn reason(bench: &Bench, search: i64) -> String {
    bench.status(search).await.reason
}

#[tokio::test]
async fn a_search_says_which_device_it_waits_for_and_goes_on_with_one_like_it() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let one = bench.register("one").await;
    let search = bench.submit(request(25)).await;
    bench.serve(one, search, 7).await;
    assert_eq!(reason(&bench, search).await, "");
    let used = bench.status(search).await.active;
    // The driver looks every second, and so sees when the device is gone.
    for _ in 0..200 {
        if !reason(&bench, search).await.is_empty() {
            break;
        }
        bench.clock.advance(Duration::from_secs(1));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    bench.clock.advance(Duration::from_secs(3600));
    let summary = fixtures::registration("one").hardware_profile.summary();
    let expected = format!(
        "waiting for its device ({summary}): `one`, or another one of this hardware profile"
    );
    assert_eq!(reason(&bench, search).await, expected);
    // A device of other hardware is no help, though it computes the same.
    let stranger = bench.register_as(other_hardware("other")).await.unwrap();
    bench.clock.advance(Duration::from_secs(2));
    bench.leasing.heartbeat(stranger, &[]).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(reason(&bench, search).await, expected);
    let two = bench.register("two").await;
    let goes_on = |stored: &crate::store::StoredSearch| stored.reason.is_empty();
    until(&bench, search, goes_on).await;
    bench.serve(two, search, usize::MAX).await;
    let status = bench.status(search).await;
    assert_eq!(status.state, SearchState::Done, "{}", status.reason);
    assert!(
        status.active < used + Duration::from_secs(300),
        "the hour is not counted"
    );
    bench.stop().await;
}
