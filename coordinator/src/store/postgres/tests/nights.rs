//! Nights that two coordinators look after at once.

use super::*;
use crate::schedule::tests::week;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_slot_of_a_week_is_decided_once_by_one_of_two() {
    let database = TestDatabase::new().await;
    let open = async || {
        let (first, second) = (open(&database).await, open(&database).await);
        vec![Arc::new(first) as Arc<dyn Store>, Arc::new(second)]
    };
    let week = week::live(None, open, async || {}).await;
    week::check(&week);
}
