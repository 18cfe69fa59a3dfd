//! Inputs that were tampered with, for whatever reads what others wrote: each test that feeds them
//! to a reader includes this file. A reader may refuse them or take them; it must not panic, take
//! gigabytes, or stand still.
//!
//! Each target has 1,000 inputs in a run of the tests, the same every time. With `FUZZ_SECONDS` it
//! has as many as come in that time, and other ones with every `FUZZ_SEED`:
//!
//! ```text
//! FUZZ_SECONDS=60 FUZZ_SEED=7 cargo nextest run --workspace --no-capture -E 'test(/fuzz/)'
//! ```
//!
//! An input that does harm is shrunk to the fewest edits that still do, and told.

use std::cell::{Cell, RefCell};
use std::time::{Duration, Instant};

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestCaseError, TestRng, TestRunner};

/// Inputs between two looks at the clock.
const BATCH: u32 = 100;

/// Batches of a target when nothing else is asked for.
const USUAL_BATCHES: u64 = 10;

/// How long the worst input may take: readers take microseconds to milliseconds.
const PATIENCE: Duration = Duration::from_secs(10);

/// One change of some bytes. Places and lengths are of whatever is there when it is made.
#[derive(Debug, Clone)]
enum Edit {
    Put {
        at: usize,
        bytes: Vec<u8>,
    },
    Insert {
        at: usize,
        bytes: Vec<u8>,
    },
    Remove {
        at: usize,
        length: usize,
    },
    Repeat {
        at: usize,
        length: usize,
        times: usize,
    },
    Cut {
        at: usize,
    },
}

/// Feeds inputs to a reader, which tells whether it took one. Each sample is taken as it is.
pub(crate) fn fuzz(target: &str, samples: &[Vec<u8>], reads: impl FnMut(&[u8]) -> bool) {
    let (seconds, seed) = (setting("FUZZ_SECONDS"), setting("FUZZ_SEED").unwrap_or(0));
    let reads = RefCell::new(reads);
    for sample in samples {
        let shown = String::from_utf8_lossy(&sample[..sample.len().min(200)]);
        let is_taken = (reads.borrow_mut())(sample);
        assert!(is_taken, "{target}: refused as it is: {shown}");
    }
    let begun = Instant::now();
    let (inputs, taken) = (Cell::new(0_u64), Cell::new(0_u64));
    let strategy = (0..samples.len(), edits());
    for batch in 0_u64.. {
        let is_over = match seconds {
            Some(seconds) => begun.elapsed() >= Duration::from_secs(seconds),
            None => batch == USUAL_BATCHES,
        };
        if is_over {
            break;
        }
        let mut runner = runner(seed, batch);
        let result = runner.run(&strategy, |(sample, edits)| {
            let input = edits.iter().fold(samples[sample].clone(), edited);
            let at = Instant::now();
            inputs.set(inputs.get() + 1);
            if (reads.borrow_mut())(&input) {
                taken.set(taken.get() + 1);
            }
            match at.elapsed() < PATIENCE {
                true => Ok(()),
                false => Err(TestCaseError::fail("it stood still")),
            }
        });
        if let Err(error) = result {
            panic!("{target}, input {} of seed {seed}: {error}", inputs.get());
        }
    }
    println!(
        "{target}: {} inputs in {:.1} s, {} of them taken, none did harm",
        inputs.get(),
        begun.elapsed().as_secs_f64(),
        taken.get()
    );
}

/// Makes a batch of inputs; one that was used makes no more.
fn runner(seed: u64, batch: u64) -> TestRunner {
    let config = Config {
        cases: BATCH,
        failure_persistence: None,
        ..Config::default()
    };
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    bytes[8..16].copy_from_slice(&batch.to_le_bytes());
    TestRunner::new_with_rng(config, TestRng::from_seed(RngAlgorithm::ChaCha, &bytes))
}

/// A number from the environment, which is where a test is told how long to last.
#[allow(clippy::disallowed_methods)]
fn setting(name: &str) -> Option<u64> {
    Some(std::env::var(name).ok()?.parse().unwrap())
}

/// A few changes, most often one or two.
fn edits() -> impl Strategy<Value = Vec<Edit>> {
    let at = || any::<usize>();
    let edit = prop_oneof![
        8 => (at(), piece()).prop_map(|(at, bytes)| Edit::Put { at, bytes }),
        2 => (at(), piece()).prop_map(|(at, bytes)| Edit::Insert { at, bytes }),
        2 => (at(), 1..64_usize).prop_map(|(at, length)| Edit::Remove { at, length }),
        1 => (at(), 1..64_usize, 1..200_usize)
            .prop_map(|(at, length, times)| Edit::Repeat { at, length, times }),
        1 => at().prop_map(|at| Edit::Cut { at }),
    ];
    prop_oneof![3 => prop::collection::vec(edit.clone(), 1..3), 1 => prop::collection::vec(edit, 3..12)]
}

/// A few bytes, often those that numbers, lengths and texts go wrong at.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let number = prop_oneof![
        Just(0),
        Just(1),
        Just(u64::MAX),
        Just(u64::from(u32::MAX)),
        Just(1 << 31),
        Just(1 << 62),
        Just(i64::MAX as u64),
        Just(f64::NAN.to_bits()),
        any::<u64>()
    ];
    let number = (
        number,
        prop_oneof![Just(1_usize), Just(2), Just(4), Just(8)],
    );
    let word = prop_oneof![
        Just("-1"),
        Just("0"),
        Just("1e400"),
        Just("NaN"),
        Just("18446744073709551616"),
        Just("null"),
        Just("[[[["),
        Just("}"),
        Just("../"),
        Just("\u{202e}\u{0}"),
    ];
    prop_oneof![
        3 => any::<u8>().prop_map(|byte| vec![byte]),
        2 => number.prop_map(|(number, length)| number.to_le_bytes()[..length].to_vec()),
        2 => word.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..32),
    ]
}

fn edited(mut input: Vec<u8>, edit: &Edit) -> Vec<u8> {
    let place = |at: usize| at % (input.len() + 1);
    let span = |at: usize, length: usize| place(at)..(place(at) + length).min(input.len());
    match edit {
        Edit::Put { at, bytes } => {
            let span = span(*at, bytes.len());
            input.splice(span, bytes.iter().copied());
        }
        Edit::Insert { at, bytes } => {
            let place = place(*at);
            input.splice(place..place, bytes.iter().copied());
        }
        Edit::Remove { at, length } => {
            let span = span(*at, *length);
            input.drain(span);
        }
        Edit::Repeat { at, length, times } => {
            let span = span(*at, *length);
            let end = span.end;
            let more = input[span].repeat(*times);
            input.splice(end..end, more);
        }
        Edit::Cut { at } => input.truncate(place(*at)),
    }
    input
}
