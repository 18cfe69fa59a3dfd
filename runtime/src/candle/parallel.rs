//! Loops over rows on candle's own threads.
//!
//! The quantized kernels run on candle's barrier pool, whose workers spin for a while after each
//! kernel. Another pool would compete with them for the cores, so the loops between the kernels
//! run on the same one.

use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use candle_core::utils::barrier_pool;

/// Below this many values a loop costs less than waking a thread.
const SEQUENTIAL_VALUES: usize = 8192;

/// Shares per thread, so that a thread that finishes early takes work from the others.
const SHARES_PER_THREAD: usize = 8;

/// Threads that the kernels and these loops run on.
pub(crate) fn threads() -> usize {
    barrier_pool().n_workers() + 1
}

/// Calls `work` with the index of every row of `values` and the row itself.
///
/// `width` is the length of a row; the last one may be shorter. Rows are handed out in shares to
/// whichever thread is free.
pub(crate) fn for_rows(values: &mut [f32], width: usize, work: impl Fn(usize, &mut [f32]) + Sync) {
    let cost = values.len();
    for_costly_rows(values, width, cost, work);
}

/// As [`for_rows`], for work whose cost is not the number of values that it writes: `cost` is what
/// is compared with the cost of waking a thread, counted in values.
pub(crate) fn for_costly_rows<T: Send>(
    values: &mut [T],
    width: usize,
    cost: usize,
    work: impl Fn(usize, &mut [T]) + Sync,
) {
    if values.is_empty() || width == 0 {
        return;
    }
    let threads = threads();
    if threads == 1 || cost < SEQUENTIAL_VALUES {
        for (row, values) in values.chunks_mut(width).enumerate() {
            work(row, values);
        }
        return;
    }
    let rows = values.len().div_ceil(width);
    let rows_per_share = rows.div_ceil(threads * SHARES_PER_THREAD);
    let shares = values
        .chunks_mut(rows_per_share * width)
        .map(Mutex::new)
        .collect::<Vec<_>>();
    let next = AtomicUsize::new(0);
    barrier_pool().execute(|_| {
        loop {
            let share = next.fetch_add(1, Ordering::Relaxed);
            // Every share is locked once, by whoever drew its number; a poisoned lock means that
            // another thread panicked, and the pool passes that panic on.
            let Some(Ok(mut values)) = shares.get(share).map(Mutex::lock) else {
                break;
            };
            for (row, values) in values.chunks_mut(width).enumerate() {
                work(share * rows_per_share + row, values);
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_visited_once_with_its_index_and_so_is_a_shorter_last_one() {
        for rows in [1, 7, 100, 5000] {
            let mut values = vec![0.0; rows * 8 - 3];
            for_rows(&mut values, 8, |row, values| {
                for value in values {
                    *value += row as f32 + 1.0;
                }
            });
            for (row, values) in values.chunks(8).enumerate() {
                assert!(
                    values.iter().all(|&value| value == row as f32 + 1.0),
                    "row {row} of {rows}"
                );
            }
        }
    }
}
