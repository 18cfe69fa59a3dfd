//! In which order the windows of a text are scored, and after how many a plan that cannot win may
//! be given up: the first few windows stand for all.

/// Fewest windows that anything is concluded from.
const LEAST: usize = 4;

/// Fewest windows of a stage. The weights are read once for a few windows, so that a stage of one
/// would cost more than it saves.
const CLOSEST: usize = 2;

/// The order in which windows are scored: every beginning of it is spread evenly over the text, so
/// that a text which changes on its way is not judged by its first pages.
///
/// It is van der Corput's sequence in base two: halves, quarters, eighths (H. Niederreiter, Random
/// Number Generation and Quasi-Monte Carlo Methods, 1992, section 3.1).
pub fn order(windows: usize) -> Vec<usize> {
    let bits = windows.next_power_of_two().trailing_zeros();
    let mut seen = vec![false; windows];
    (0..1usize << bits)
        .map(|index| {
            let reversed = (0..bits).fold(0, |value, bit| (value << 1) | ((index >> bit) & 1));
            (reversed * windows) >> bits
        })
        .filter(|&window| window < windows && !std::mem::replace(&mut seen[window], true))
        .collect()
}

/// The numbers of windows at which the stages of scoring end, ascending, four to an octave but no
/// closer than two; the last one is all of them. A stage that would save less than a quarter
/// of the windows is none.
pub fn ends(windows: usize) -> Vec<usize> {
    let next = |&end: &usize| {
        let octave = 1 << end.ilog2();
        Some(end + (octave / 4).max(CLOSEST))
    };
    std::iter::successors(Some(LEAST), next)
        .take_while(|end| end * 4 <= windows * 3)
        .chain([windows])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_window_is_scored_once() {
        for windows in 0..200 {
            let mut order = order(windows);
            order.sort_unstable();
            assert!(order.into_iter().eq(0..windows), "{windows}");
        }
    }

    #[test]
    fn every_beginning_is_spread_over_the_text() {
        assert_eq!(order(8), [0, 4, 2, 6, 1, 5, 3, 7]);
        for windows in [20, 40, 77, 80] {
            for end in ends(windows) {
                let mut beginning = order(windows)[..end].to_vec();
                beginning.sort_unstable();
                let gaps = beginning.windows(2).map(|pair| pair[1] - pair[0]);
                let widest = gaps.max().unwrap_or(0);
                assert!(widest <= 2 * windows.div_ceil(end), "{windows} {end}");
            }
        }
    }

    #[test]
    fn stages_grow_and_end_with_the_text() {
        assert_eq!(ends(2), [2]);
        assert_eq!(ends(5), [5]);
        assert_eq!(ends(16), [4, 6, 8, 10, 12, 16]);
        assert_eq!(ends(40), [4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 40]);
        let of_many = [4, 6, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 80];
        assert_eq!(ends(80), of_many);
    }
}
