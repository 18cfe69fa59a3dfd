//! What holds for Postgres beyond the contract of every store.

#![allow(clippy::unwrap_used)]

mod concurrency;
mod coordinators;
mod encryption;
mod errors;
mod nights;
mod opening;
mod server;
mod statistics;

use std::sync::{Arc, Mutex};

use bitfront_model::Precision;

use super::*;
use crate::store::audit::Audited;
use crate::store::{Store, conformance};
use crate::{fixtures, histories};
use server::TestDatabase;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keeps_the_contract() {
    let databases = Mutex::new(Vec::new());
    conformance::suite(|| async {
        let database = TestDatabase::new().await;
        let store = open(&database).await;
        databases.lock().unwrap().push(database);
        Arc::new(store) as Arc<dyn Store>
    })
    .await;
}

async fn open(database: &TestDatabase) -> PostgresStore {
    PostgresStore::open(&url(&database.url())).await.unwrap()
}

fn url(text: &str) -> PostgresUrl {
    PostgresUrl::new(text).unwrap()
}

/// Two stores on one new database, as two coordinators have them.
async fn two_stores() -> (TestDatabase, [Arc<dyn Store>; 2]) {
    let database = TestDatabase::new().await;
    let first = open(&database).await;
    let second = open(&database).await;
    (database, [Arc::new(first), Arc::new(second)])
}

/// Numbers of a query that gives one column of them.
async fn numbers(database: &TestDatabase, query: &'static str) -> Vec<i64> {
    let numbers = sqlx::query_scalar(query);
    numbers
        .fetch_all(&mut database.connect().await)
        .await
        .unwrap()
}

/// Precisions of as many candidates.
const PRECISIONS: [Precision; 6] = [
    Precision::Q8_0,
    Precision::Q6K,
    Precision::Q5K,
    Precision::Q4K,
    Precision::Q3K,
    Precision::Q2K,
];

/// Seeded histories, as over SQLite; fewer, since each call goes to the server and back.
#[test]
fn histories_keep_what_was_promised() {
    let databases = Mutex::new(Vec::new());
    let open = async |_| {
        let database = TestDatabase::new().await;
        let store = open(&database).await;
        databases.lock().unwrap().push(database);
        Arc::new(store) as Arc<dyn Audited>
    };
    histories::tests::live_all("HISTORIES_ON_POSTGRES", 40, open);
}
