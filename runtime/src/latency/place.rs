//! Where in memory a sample is taken.
//!
//! candle's kernels write buffers on the stack or the heap and read others. Where the low bits of
//! two such addresses meet, a processor takes a read for one of what was just written, and waits: at
//! one place of the stack in twenty a plan takes up to twice as long, and places of the heap differ by
//! a few hundredths. Where a process stays at one place, all that it times is off by that, and its
//! interval does not say so. So every sample is taken at another place of both, and the median is of
//! all (T. Mytkowicz et al., Producing Wrong Data Without Doing Anything Obviously Wrong!, ASPLOS
//! 2009; C. Curtsinger and E. D. Berger, STABILIZER, ASPLOS 2013).

use std::hint::black_box;

/// Places of the stack that samples are spread over.
const PLACES: usize = 64;

/// Consecutive samples are as far from each other as the golden ratio has it, so that few of them
/// are spread as evenly as many. It shares no factor with [`PLACES`]: all of them come up.
const STEP: usize = 39;

/// Bytes between two places of the stack, with what a call needs: no divisor of a page.
const APART: usize = 80;

/// The smallest blocks of the heap that some are held back of from a sample, which then gets others.
const SMALLEST: usize = 128;

/// Octaves of sizes from there on: from what a token's activations are rounded to, to the
/// activations of a prompt.
const OCTAVES: u32 = 13;

/// Sizes to an octave that blocks come in, as allocators keep them.
const SIZES: usize = 4;

/// Blocks of up to this size are many, and few of them make a page.
const SMALL: usize = 8 << 10;

/// Most blocks of a size that are held, of small ones and of others.
const MOST_HELD: [usize; 2] = [15, 3];

/// Does `work` at the place of the stack and the heap that a sample has by its number.
///
/// Those of the calling thread: the threads of an engine that has several stay where they are.
pub(super) fn at_place_of<T>(sample: usize, work: &mut dyn FnMut() -> T) -> T {
    let held = black_box(held_from(sample));
    let result = deeper(sample.wrapping_mul(STEP) % PLACES, work);
    drop(held);
    result
}

/// Blocks that are not to be had by a sample: of each size a number that is drawn for it, so that
/// places of the heap move against each other too.
fn held_from(sample: usize) -> Vec<Vec<u8>> {
    let mut random = fastrand::Rng::with_seed(sample as u64);
    let octaves = (0..OCTAVES).map(|octave| (SMALLEST << octave) / SIZES);
    let sizes = octaves.flat_map(|part| (SIZES..2 * SIZES).map(move |parts| part * parts));
    let held = sizes.flat_map(|size| {
        let count = random.usize(..=MOST_HELD[usize::from(size > SMALL)]);
        (0..count).map(move |_| Vec::with_capacity(size))
    });
    held.collect()
}

#[inline(never)]
fn deeper<T>(calls: usize, work: &mut dyn FnMut() -> T) -> T {
    let mut between = [0u8; APART];
    // The compiler keeps what it takes to be used, before the work and after it.
    black_box(&mut between);
    let result = match calls {
        0 => work(),
        _ => deeper(calls - 1, work),
    };
    black_box(&between);
    result
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    const LINE: usize = 64;
    const PAGE: usize = 4096;

    fn distinct(values: &[usize]) -> usize {
        values.iter().collect::<BTreeSet<_>>().len()
    }

    #[test]
    fn samples_are_taken_at_many_lines_of_a_page() {
        let mut place = || {
            let here = 0u8;
            std::ptr::from_ref(black_box(&here)).addr() % PAGE / LINE
        };
        let lines: Vec<_> = (0..PLACES)
            .map(|sample| at_place_of(sample, &mut place))
            .collect();
        assert!(distinct(&lines) >= 16, "{lines:?}");
        assert!(distinct(&lines[..12]) >= 6, "{lines:?}");
    }

    #[test]
    fn samples_get_different_blocks_of_the_heap() {
        // Small activations rounded, and those of a prompt.
        for (size, least) in [(584, 8), (64 << 10, 3)] {
            let mut place = || {
                let block = black_box(Vec::<u8>::with_capacity(size));
                block.as_ptr().addr()
            };
            let blocks: Vec<_> = (0..PLACES)
                .map(|sample| at_place_of(sample, &mut place))
                .collect();
            assert!(distinct(&blocks) >= least, "{size}: {blocks:?}");
        }
    }
}
