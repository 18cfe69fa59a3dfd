//! What may be asked: genes, alleles and genomes, without what they mean.

use std::collections::BTreeMap;

use thiserror::Error;

/// Most alleles that one gene may have, so that an allele's number fits a byte.
pub const MOST_ALLELES: usize = 255;

/// The number of alleles of every gene, and which genes are alike.
///
/// Alleles are numbered from 0 and are expected in the order of what they cost (in bitfront: from
/// most to fewest bits), so that a step to the next number is a small change. Nothing breaks when
/// they are not; the steps are then merely no better than a random redraw.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Space {
    alleles: Vec<u8>,
    /// Genes by family, each family's ascending; every gene is in one.
    families: Vec<Vec<usize>>,
}

/// One allele for every gene of a [`Space`].
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Genome(pub Vec<u8>);

/// Numbers of alleles that make no space.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SpaceError {
    /// There is nothing to choose.
    #[error("a space needs at least one gene")]
    NoGenes,
    /// A gene cannot take any value.
    #[error("gene {gene} has no allele; every gene needs at least one")]
    NoAlleles {
        /// Position of the gene.
        gene: usize,
    },
    /// Families were not given for every gene.
    #[error("{found} families were given for {expected} genes; every gene needs one")]
    FamilyCount {
        /// Genes of the space.
        expected: usize,
        /// Families given.
        found: usize,
    },
    /// A gene's alleles cannot be numbered with a byte.
    #[error("gene {gene} has {alleles} alleles; the most is {MOST_ALLELES}")]
    TooManyAlleles {
        /// Position of the gene.
        gene: usize,
        /// How many alleles it was given.
        alleles: usize,
    },
}

/// A genome that lies outside a space.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum GenomeError {
    /// The genome belongs to another space.
    #[error("the genome has {found} genes, the space has {expected}")]
    Length {
        /// Genes of the space.
        expected: usize,
        /// Genes of the genome.
        found: usize,
    },
    /// An allele that its gene does not have.
    #[error("gene {gene} has allele {allele}, but its alleles are 0 to {}", alleles - 1)]
    Allele {
        /// Position of the gene.
        gene: usize,
        /// What the genome holds there.
        allele: u8,
        /// How many alleles the gene has.
        alleles: u8,
    },
}

impl Space {
    /// A space from the number of alleles of every gene, each 1 to [`MOST_ALLELES`]. Every gene
    /// is a family of its own.
    pub fn new(alleles: impl IntoIterator<Item = usize>) -> Result<Self, SpaceError> {
        let alleles = alleles
            .into_iter()
            .enumerate()
            .map(|(gene, alleles)| match u8::try_from(alleles) {
                Ok(0) => Err(SpaceError::NoAlleles { gene }),
                Ok(count) => Ok(count),
                Err(_) => Err(SpaceError::TooManyAlleles { gene, alleles }),
            })
            .collect::<Result<Vec<u8>, _>>()?;
        if alleles.is_empty() {
            return Err(SpaceError::NoGenes);
        }
        let families = (0..alleles.len()).map(|gene| vec![gene]).collect();
        Ok(Self { alleles, families })
    }

    /// The same space with the family of every gene, as any number that its members share.
    ///
    /// Genes of one family are expected to be alike, so that a change which helps one helps the
    /// others: in bitfront, the layers of one kind. It is a hint for the operators, which move
    /// and recombine whole families as well as single genes; a wrong one costs evaluations and
    /// nothing else.
    pub fn with_families(
        mut self,
        families: impl IntoIterator<Item = usize>,
    ) -> Result<Self, SpaceError> {
        let family_of: Vec<usize> = families.into_iter().collect();
        if family_of.len() != self.genes() {
            return Err(SpaceError::FamilyCount {
                expected: self.genes(),
                found: family_of.len(),
            });
        }
        let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (gene, family) in family_of.into_iter().enumerate() {
            members.entry(family).or_default().push(gene);
        }
        self.families = members.into_values().collect();
        Ok(self)
    }

    /// The genes of every family, at least one each, in the order of the families' numbers.
    pub fn families(&self) -> &[Vec<usize>] {
        &self.families
    }

    /// Number of alleles of every gene.
    pub fn alleles(&self) -> &[u8] {
        &self.alleles
    }

    /// Number of genes, at least one.
    pub fn genes(&self) -> usize {
        self.alleles.len()
    }

    /// Number of genomes; `u128::MAX` also stands for anything larger.
    pub fn size(&self) -> u128 {
        self.alleles
            .iter()
            .fold(1, |size: u128, &count| size.saturating_mul(count.into()))
    }

    /// Whether the genome is a member; the error names the gene and the allele that is not.
    pub fn check(&self, genome: &Genome) -> Result<(), GenomeError> {
        if genome.0.len() != self.genes() {
            return Err(GenomeError::Length {
                expected: self.genes(),
                found: genome.0.len(),
            });
        }
        let outside = genome
            .0
            .iter()
            .zip(&self.alleles)
            .position(|(allele, alleles)| allele >= alleles);
        match outside {
            None => Ok(()),
            Some(gene) => Err(GenomeError::Allele {
                gene,
                allele: genome.0[gene],
                alleles: self.alleles[gene],
            }),
        }
    }

    /// The next genome in counting order, the last gene changing fastest; after the last genome
    /// comes the first. The genome must be a member.
    pub(crate) fn advance(&self, genome: &mut Genome) {
        for (allele, &alleles) in genome.0.iter_mut().zip(&self.alleles).rev() {
            *allele += 1;
            if *allele < alleles {
                return;
            }
            *allele = 0;
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_makes_no_space() {
        let cases: [(&[usize], SpaceError); 4] = [
            (&[], SpaceError::NoGenes),
            (&[3, 0], SpaceError::NoAlleles { gene: 1 }),
            (
                &[255, 2, 256],
                SpaceError::TooManyAlleles {
                    gene: 2,
                    alleles: 256,
                },
            ),
            (
                &[usize::MAX],
                SpaceError::TooManyAlleles {
                    gene: 0,
                    alleles: usize::MAX,
                },
            ),
        ];
        let failures: Vec<_> = cases
            .into_iter()
            .filter_map(|(alleles, expected)| {
                let found = Space::new(alleles.iter().copied());
                (found != Err(expected.clone())).then_some((expected, found))
            })
            .collect();
        assert!(failures.is_empty(), "(expected, found): {failures:#?}");
    }

    #[test]
    fn families_gather_their_genes() {
        let space = Space::new([2, 3, 4]).unwrap();
        assert_eq!(space.families(), [vec![0], vec![1], vec![2]]);
        let space = space.with_families([9, 4, 9]).unwrap();
        assert_eq!(space.families(), [vec![1], vec![0, 2]]);
        assert_eq!(
            space.with_families([1, 2]),
            Err(SpaceError::FamilyCount {
                expected: 3,
                found: 2
            })
        );
    }

    #[test]
    fn counts_its_genomes() {
        assert_eq!(Space::new([3, 1, 5]).unwrap().size(), 15);
        assert_eq!(Space::new([255; 16]).unwrap().size(), 255_u128.pow(16));
        assert_eq!(Space::new([255; 17]).unwrap().size(), u128::MAX);
    }

    #[test]
    fn a_stranger_is_named_by_gene_and_allele() {
        let space = Space::new([3, 1, 5]).unwrap();
        assert_eq!(space.check(&Genome(vec![2, 0, 4])), Ok(()));
        let length = space.check(&Genome(vec![2, 0])).unwrap_err();
        assert_eq!(
            length.to_string(),
            "the genome has 2 genes, the space has 3"
        );
        let allele = space.check(&Genome(vec![2, 1, 5])).unwrap_err();
        assert_eq!(
            allele.to_string(),
            "gene 1 has allele 1, but its alleles are 0 to 0"
        );
    }

    #[test]
    fn counting_visits_every_genome_once() {
        let space = Space::new([2, 1, 3]).unwrap();
        let start = Genome(vec![1, 0, 1]);
        let mut genome = start.clone();
        let mut seen = std::collections::BTreeSet::new();
        loop {
            space.check(&genome).unwrap();
            assert!(seen.insert(genome.clone()), "{genome:?} came twice");
            space.advance(&mut genome);
            if genome == start {
                break;
            }
        }
        assert_eq!(seen.len(), 6);
    }
}
