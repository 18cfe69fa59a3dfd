//! The random numbers of one ask.
//!
//! The stream is part of the interface: a search continued by another machine or another version
//! draws the same numbers. It is that of ChaCha with 8 rounds, block counter and nonce starting at
//! zero, under this 32-byte key:
//!
//! ```text
//! bytes  0..8    search seed, little-endian
//! bytes  8..16   ask number, little-endian
//! bytes 16..32   ASCII "bitfront search1"
//! ```
//!
//! Every draw takes 64-bit words of the stream, low half first, and turns them into integers as
//! [`Generator::below`] says. No floating-point number is drawn.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

const DOMAIN: &[u8; 16] = b"bitfront search1";

/// Draws integers for one ask of one search.
#[derive(Debug)]
pub(crate) struct Generator(ChaCha8Rng);

impl Generator {
    /// The stream of one ask.
    pub(crate) fn new(search_seed: u64, ask_number: u64) -> Self {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&search_seed.to_le_bytes());
        key[8..16].copy_from_slice(&ask_number.to_le_bytes());
        key[16..].copy_from_slice(DOMAIN);
        Self(ChaCha8Rng::from_seed(key))
    }

    /// An integer from 0 to below `bound`, each equally likely; 0 where `bound` is 0 or 1.
    ///
    /// The high word of word × bound, redrawn where the low word falls below 2^64 mod bound
    /// (Lemire, "Fast random integer generation in an interval", 2019).
    pub(crate) fn below(&mut self, bound: usize) -> usize {
        let bound = bound.max(1) as u64;
        let threshold = bound.wrapping_neg() % bound;
        loop {
            let product = u128::from(self.0.next_u64()) * u128::from(bound);
            if product as u64 >= threshold {
                return (product >> 64) as usize;
            }
        }
    }

    /// 64 coins at once.
    pub(crate) fn word(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number from above 0 to 1, each multiple of 2^-53 equally likely.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.below(1 << 53) + 1) as f64 / (1_u64 << 53) as f64
    }

    /// True in `favourable` of `of` cases.
    pub(crate) fn chance(&mut self, favourable: usize, of: usize) -> bool {
        self.below(of) < favourable
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first words for seed 1 and ask 2, computed by an implementation of ChaCha that was
    /// written from its definition and shares no code with this one.
    #[test]
    fn the_stream_is_pinned() {
        let mut generator = Generator::new(1, 2);
        let words: Vec<u64> = (0..3).map(|_| generator.0.next_u64()).collect();
        assert_eq!(
            words,
            [
                6_391_749_536_575_893_126,
                607_070_878_081_060_172,
                2_526_038_841_388_502_962
            ]
        );
    }

    #[test]
    fn draws_differ_between_seeds_and_asks() {
        let draw = |seed, ask| Generator::new(seed, ask).below(usize::MAX);
        assert_ne!(draw(1, 2), draw(2, 1));
        assert_ne!(draw(1, 2), draw(1, 3));
        assert_eq!(draw(1, 2), draw(1, 2));
    }

    #[test]
    fn every_value_below_the_bound_is_drawn_about_equally_often() {
        let mut generator = Generator::new(3, 0);
        let mut counts = [0_u32; 7];
        for _ in 0..7_000 {
            counts[generator.below(7)] += 1;
        }
        assert!(
            counts.iter().all(|count| (880..1120).contains(count)),
            "{counts:?}"
        );
        assert_eq!(generator.below(1), 0);
        assert_eq!(generator.below(0), 0);
    }
}
