//! A genome from two.

use crate::generator::Generator;
use crate::space::{Genome, Space};

/// Every gene from either parent with equal chance.
pub(crate) fn uniform(first: &Genome, second: &Genome, generator: &mut Generator) -> Genome {
    let alleles = first
        .0
        .iter()
        .zip(&second.0)
        .map(|(&first, &second)| {
            if generator.chance(1, 2) {
                first
            } else {
                second
            }
        })
        .collect();
    Genome(alleles)
}

/// Every family of genes, as a whole, from either parent with equal chance.
pub(crate) fn by_family(
    space: &Space,
    first: &Genome,
    second: &Genome,
    generator: &mut Generator,
) -> Genome {
    let mut child = first.clone();
    for family in space.families() {
        if generator.chance(1, 2) {
            for &gene in family {
                child.0[gene] = second.0[gene];
            }
        }
    }
    child
}

/// The first parent with one run of genes from the second. The run may wrap around the end, so
/// that every gene is equally likely to be in it. Neighbouring genes stay together, which suits
/// genomes whose neighbours are layers of one block.
pub(crate) fn two_point(first: &Genome, second: &Genome, generator: &mut Generator) -> Genome {
    let genes = first.0.len();
    let start = generator.below(genes);
    let length = 1 + generator.below(genes.saturating_sub(1));
    let mut child = first.clone();
    for offset in 0..length {
        let gene = (start + offset) % genes;
        child.0[gene] = second.0[gene];
    }
    child
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn parents() -> (Genome, Genome) {
        (Genome(vec![0; 12]), Genome(vec![1; 12]))
    }

    #[test]
    fn uniform_takes_genes_from_both() {
        let (first, second) = parents();
        let mut taken = [0_u32; 12];
        for ask in 0..200 {
            let child = uniform(&first, &second, &mut Generator::new(5, ask));
            for (count, allele) in taken.iter_mut().zip(child.0) {
                *count += u32::from(allele);
            }
        }
        assert!(
            taken.iter().all(|count| (60..140).contains(count)),
            "{taken:?}"
        );
    }

    #[test]
    fn a_family_comes_from_one_parent() {
        let (first, second) = parents();
        let families = (0..12).map(|gene| gene % 3);
        let space = Space::new([2; 12]).unwrap();
        let space = space.with_families(families).unwrap();
        let mut reached = std::collections::BTreeSet::new();
        for ask in 0..100 {
            let child = by_family(&space, &first, &second, &mut Generator::new(5, ask));
            for gene in 3..12 {
                assert_eq!(child.0[gene], child.0[gene % 3], "{child:?}");
            }
            reached.insert(child);
        }
        assert_eq!(reached.len(), 8, "every choice of three families");
    }

    #[test]
    fn two_point_takes_one_run_and_leaves_one() {
        let (first, second) = parents();
        let mut taken = [0_u32; 12];
        for ask in 0..300 {
            let child = two_point(&first, &second, &mut Generator::new(5, ask));
            let changes = (0..12)
                .filter(|&gene| child.0[gene] != child.0[(gene + 1) % 12])
                .count();
            assert_eq!(changes, 2, "one run, wrapping: {child:?}");
            for (count, allele) in taken.iter_mut().zip(child.0) {
                *count += u32::from(allele);
            }
        }
        assert!(
            taken.iter().all(|count| (100..200).contains(count)),
            "{taken:?}"
        );
    }

    #[test]
    fn a_single_gene_comes_from_either_parent() {
        let (first, second) = (Genome(vec![3]), Genome(vec![4]));
        let child = two_point(&first, &second, &mut Generator::new(0, 0));
        assert_eq!(child, second);
    }
}
