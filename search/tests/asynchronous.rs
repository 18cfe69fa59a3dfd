//! Workers of very different speed, kept busy by one search.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
mod fleet;
#[allow(dead_code)]
mod workers;

use fleet::{Fleet, Kinship};
use workers::{Manner, Workers, simulate};

/// As a coordinator bounds what is pending: two candidates for every device. An ask is taken to
/// cost what one with a fit does, though most have none.
#[test]
fn workers_of_a_tenfold_spread_are_busy_and_the_front_grows_as_fast() {
    let fleet = Fleet::new(20, 1, Kinship::Unlike, 1);
    let budget = 120;
    let run = |count, spread, manner| {
        let workers = Workers {
            count,
            spread,
            manner,
            ask: Some(0.05),
        };
        let outcome = simulate(&fleet, workers, budget, 1);
        assert_eq!(outcome.genomes.len(), budget);
        (outcome.busy, fleet.hypervolume(&outcome.genomes, 0))
    };
    let asynchronous = run(8, 10.0, Manner::Pending(2));
    let batches = run(8, 10.0, Manner::Batches);
    let one_by_one = run(1, 1.0, Manner::Pending(1));
    let all = [asynchronous, batches, one_by_one];
    assert!(asynchronous.0 > 0.95, "{all:?}");
    assert!(batches.0 < 0.5, "{all:?}");
    assert!(asynchronous.1 > 0.98 * one_by_one.1, "{all:?}");
}
