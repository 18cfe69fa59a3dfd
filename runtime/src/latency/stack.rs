//! Where on the stack a sample is taken.
//!
//! candle's kernels without packed copies write and read buffers on the stack beside activations on
//! the heap. Where the low bits of both addresses meet, a processor takes a read for one of what was
//! just written, and waits: at one place in twenty a plan takes up to twice as long. Where a process
//! stays at one place, all that it times is off by that, and its interval does not say so. So every
//! sample is taken at another place, and the median is of all (T. Mytkowicz et al., Producing Wrong
//! Data Without Doing Anything Obviously Wrong!, ASPLOS 2009; C. Curtsinger and E. D. Berger,
//! STABILIZER, ASPLOS 2013).

use std::hint::black_box;

/// Places that samples are spread over.
const PLACES: usize = 64;

/// Consecutive samples are as far from each other as the golden ratio has it, so that few of them
/// are spread as evenly as many. It shares no factor with [`PLACES`]: all of them come up.
const STEP: usize = 39;

/// Bytes between two places, with what a call needs: no divisor of a page.
const APART: usize = 80;

/// Does `work` at the place of the stack that a sample has by its number.
///
/// That of the calling thread: those of an engine with several threads stay where they are.
pub(super) fn at_place_of<T>(sample: usize, work: &mut dyn FnMut() -> T) -> T {
    deeper(sample.wrapping_mul(STEP) % PLACES, work)
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

    #[test]
    fn samples_are_taken_at_many_lines_of_a_page() {
        let mut place = || {
            let here = 0u8;
            std::ptr::from_ref(black_box(&here)).addr() % PAGE / LINE
        };
        let lines: Vec<_> = (0..PLACES)
            .map(|sample| at_place_of(sample, &mut place))
            .collect();
        let distinct = |lines: &[usize]| lines.iter().collect::<BTreeSet<_>>().len();
        assert!(distinct(&lines) >= 16, "{lines:?}");
        assert!(distinct(&lines[..12]) >= 6, "{lines:?}");
    }
}
