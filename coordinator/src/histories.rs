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
mod eyes;
mod history;
mod model;
mod process;
mod sky;
pub(crate) mod tests;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use history::{History, Setting};

use crate::store::audit::Audited;

/// What undisturbed searches ask, by their seeds.
type Expected = HashMap<u64, Vec<String>>;

/// Lives histories one after the other, each over the erased store.
async fn live(store: Arc<dyn Audited>, seeds: impl Iterator<Item = u64>) -> Result<(), String> {
    let mut expected = Expected::new();
    for seed in seeds {
        let mut setting = Setting::of(seed);
        let asks = setting.request.seed;
        if let Entry::Vacant(place) = expected.entry(asks) {
            let undisturbed = one(&store, Setting::undisturbed(asks)).await;
            let history = undisturbed.map_err(|told| format!("undisturbed: {told}"))?;
            let model = history.model.lock().unwrap();
            let plans = model
                .candidates
                .values()
                .map(|(plan, _)| plan.clone())
                .collect();
            place.insert(plans);
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
