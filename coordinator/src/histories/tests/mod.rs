//! How many histories are lived, from which one on, and where.

use std::sync::Arc;
use std::time::Instant;

use super::history::Setting;
use super::{live, one};
use crate::store::audit::Audited;
use crate::store::sqlite::SqliteStore;
use crate::testing::folder;

/// Histories where nothing else is said.
const USUAL: u64 = 1000;

/// Threads that live histories, each over a database of its own.
const THREADS: u64 = 2;

/// Lives histories from a seed on, on several threads: as many as there are usually, unless the
/// variable says otherwise. Says all that went wrong.
pub(crate) fn live_all<F, Fut>(variable: &str, usual: u64, open: F)
where
    F: Fn(u64) -> Fut + Sync,
    Fut: Future<Output = Arc<dyn Audited>>,
{
    let (first, count) = (given("HISTORY_SEED", 0), given(variable, usual));
    let began = Instant::now();
    let failures: Vec<_> = std::thread::scope(|scope| {
        let live_some = |thread: u64| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build();
            let seeds = (first..first + count).filter(move |seed| seed % THREADS == thread);
            runtime
                .unwrap()
                .block_on(async { live(open(thread).await, seeds).await })
        };
        let threads: Vec<_> = (0..THREADS)
            .map(|thread| scope.spawn(move || live_some(thread)))
            .collect();
        let lived = threads.into_iter().map(|thread| thread.join().unwrap());
        lived.filter_map(Result::err).collect()
    });
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    let seconds = began.elapsed().as_secs_f64();
    println!("{count} histories from seed {first} on in {seconds:.1} s");
}

/// A number that whoever runs the tests may give.
#[allow(
    clippy::disallowed_methods,
    reason = "tests have no other way to be told"
)]
pub(crate) fn given(variable: &str, otherwise: u64) -> u64 {
    match std::env::var(variable) {
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("{variable}: `{text}` is no number")),
        Err(_) => otherwise,
    }
}

#[test]
fn keep_what_was_promised_over_sqlite() {
    let folder = folder();
    let open = async |thread: u64| {
        let path = folder.path().join(format!("{thread}.sqlite"));
        let store = SqliteStore::open_without_waiting(path).await.unwrap();
        Arc::new(store) as Arc<dyn Audited>
    };
    live_all("HISTORIES", USUAL, open);
}

#[tokio::test]
async fn a_history_is_a_function_of_its_seed() {
    let folder = folder();
    let store = SqliteStore::open_without_waiting(folder.path().join("test.sqlite")).await;
    let store: Arc<dyn Audited> = Arc::new(store.unwrap());
    for seed in 0..8 {
        let mut told = Vec::new();
        for _ in 0..2 {
            let history = one(&store, Setting::of(seed)).await;
            told.push(
                history
                    .unwrap_or_else(|broken| panic!("{broken}"))
                    .sky
                    .steps(),
            );
        }
        assert_eq!(told[0], told[1], "seed {seed}");
    }
}
