//! Genomes from nothing.

use crate::generator::Generator;
use crate::space::{Genome, Space};

/// The most levels that are mixed in one genome.
const MOST_LEVELS: usize = 4;

/// Weights are multiples of 1/2^16.
const WHOLE: usize = 1 << 16;

/// A genome whose mix of levels is itself random.
///
/// Drawing each gene uniformly would give nearly the same mix every time, and so nearly the same
/// total cost: by the central limit theorem all genomes would lie in one small region of the size
/// axis. Here one to four levels are drawn first, then their shares, uniformly on the simplex
/// (Dirichlet(1, …, 1), as the gaps between uniform cuts), and then a level for every gene. With
/// all levels in the mix the shares would average out in the same way, hence the few. A level
/// is a position between the first and the last allele, so genes of different widths can share it.
pub(crate) fn mixed_level(space: &Space, generator: &mut Generator) -> Genome {
    let widest = space.alleles().iter().copied().max().map_or(1, usize::from);
    let levels: Vec<usize> = (0..1 + generator.below(MOST_LEVELS))
        .map(|_| generator.below(widest))
        .collect();
    let mut cuts: Vec<usize> = (1..levels.len()).map(|_| generator.below(WHOLE)).collect();
    cuts.sort_unstable();
    let alleles = space
        .alleles()
        .iter()
        .map(|&alleles| {
            let draw = generator.below(WHOLE);
            let level = levels[cuts.partition_point(|&cut| cut <= draw)];
            at_level(level, widest, alleles)
        })
        .collect();
    Genome(alleles)
}

/// The allele of a gene with `alleles` of them that stands where `level` stands among `widest`,
/// rounded to the nearest; the ends map to the ends.
fn at_level(level: usize, widest: usize, alleles: u8) -> u8 {
    let (last, widest_last) = (usize::from(alleles) - 1, (widest - 1).max(1));
    // The quotient is at most `last`, which came from a byte.
    ((level * last + widest_last / 2) / widest_last) as u8
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn levels_map_ends_to_ends() {
        let rows = [
            (0, 12, 8, 0),
            (11, 12, 8, 7),
            (0, 12, 1, 0),
            (11, 12, 1, 0),
            (5, 12, 12, 5),
            (5, 12, 2, 0),
            (6, 12, 2, 1),
            (0, 1, 1, 0),
            (254, 255, 255, 254),
        ];
        let failures: Vec<_> = rows
            .iter()
            .filter(|(level, widest, alleles, expected)| {
                at_level(*level, *widest, *alleles) != *expected
            })
            .collect();
        assert!(failures.is_empty(), "{failures:?}");
    }

    #[test]
    fn costs_spread_over_the_whole_axis() {
        let space = Space::new([12; 44]).unwrap();
        let mut tenths = [0_u32; 10];
        for ask in 0..1_000 {
            let genome = mixed_level(&space, &mut Generator::new(1, ask));
            space.check(&genome).unwrap();
            let cost: usize = genome.0.iter().map(|&allele| usize::from(allele)).sum();
            tenths[(cost * 10 / (44 * 11 + 1)).min(9)] += 1;
        }
        assert!(tenths.iter().all(|&count| count >= 25), "{tenths:?}");
    }
}
