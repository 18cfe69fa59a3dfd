//! Thousands of short histories over a store that loses requests and replies, each a function of its
//! seed. Coordinators start, are killed, stopped, stand still and come back when others have taken
//! over; agents measure, report twice or late, crash and go silent; a user cancels and continues.
//!
//! What must hold is said three times over. The `model` sees every call that really happened, and
//! says what its answer had to be. `audit` holds the rows against the model and against what agents
//! were told. In the calm at the end of each history one coordinator and one agent have to bring
//! everything to its end.
//!
//! `HISTORIES` says how many are lived, `HISTORY_SEED` from which seed on: that of a failure is lived
//! again, alone, with `HISTORIES=1`.

#![allow(clippy::unwrap_used)]

mod agent;
mod audit;
mod events;
mod history;
mod model;
mod process;
mod sky;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use history::{History, Setting};

use crate::store::audit::Audited;
use crate::store::sqlite::SqliteStore;
use crate::testing::folder;

/// Histories where nothing else is said.
const USUAL: u64 = 1000;

/// Threads that live histories, each over a database of its own.
const THREADS: u64 = 2;

/// What undisturbed searches ask, by their seeds.
type Expected = HashMap<u64, Vec<String>>;

/// Lives histories one after the other, each over the erased store.
async fn live(store: Arc<dyn Audited>, seeds: impl Iterator<Item = u64>) -> Result<(), String> {
    let mut expected = Expected::new();
    for seed in seeds {
        let mut setting = Setting::of(seed);
        let asks = setting.request.seed;
        if !expected.contains_key(&asks) {
            let undisturbed = one(&store, Setting::undisturbed(asks)).await;
            let history = undisturbed.map_err(|told| format!("undisturbed: {told}"))?;
            let model = history.model.lock().unwrap();
            let plans = model
                .candidates
                .values()
                .map(|(plan, _)| plan.clone())
                .collect();
            expected.insert(asks, plans);
        }
        setting.expected_plans = expected.get(&asks).cloned();
        one(&store, setting)
            .await
            .map_err(|told| format!("seed {seed}: {told}"))?;
    }
    Ok(())
}

async fn one(store: &Arc<dyn Audited>, setting: Setting) -> Result<History, String> {
    store.erase().await.map_err(|error| error.to_string())?;
    let mut history = History::new(setting, store.clone());
    match history.run().await {
        Ok(()) => Ok(history),
        Err(broken) => {
            let steps = history.sky.steps().join("\n");
            Err(format!("{broken}, after\n{steps}"))
        }
    }
}

/// Lives histories from a seed on, on several threads: as many as there are usually, unless the
/// variable says otherwise. Says all that went wrong.
pub(crate) fn live_all<F, Fut>(variable: &str, usual: u64, open: F)
where
    F: Fn(u64) -> Fut + Sync,
    Fut: Future<Output = Arc<dyn Audited>>,
{
    let (first, count) = (told("HISTORY_SEED", 0), told(variable, usual));
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
fn told(variable: &str, otherwise: u64) -> u64 {
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
