//! The terms of an additive model and what neighbouring terms have in common.
//!
//! A term is one number of the sum: what one allele of one gene adds, the constant, or what a
//! change of the allele between two genes costs. No term is known, but terms are alike: those of
//! one gene, of one family, of one allele. Each such likeness is an *effect*, a factor that all of
//! its terms share, so that a measurement which moves one moves the others with it.

use crate::space::{Genome, Space};

/// Standard deviations of the effects, as natural logarithms of a factor: how far the guess of a
/// table is expected to be off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Deviations {
    /// All alleles of one gene.
    pub(super) gene: f64,
    /// One allele of one gene.
    pub(super) allele: f64,
    /// One allele of all genes that have as many.
    pub(super) level: f64,
    /// All alleles of one family.
    pub(super) family: f64,
    /// One allele of one family.
    pub(super) family_level: f64,
}

/// Terms and effects over one space.
#[derive(Debug)]
pub(super) struct Design {
    /// The first term of every gene; its alleles follow.
    starts: Vec<usize>,
    /// The term of the constant and of the first change; none where the sum is of alleles alone.
    overhead: Option<(usize, usize)>,
    /// The effects of every term.
    effects: Vec<Vec<usize>>,
    /// The standard deviation of every effect.
    deviations: Vec<f64>,
}

/// A constant is guessed only from the order of magnitude of the sum.
const CONSTANT_DEVIATION: f64 = 1.5;

/// So is what a change of the allele costs, wherever it happens.
const CHANGE_DEVIATION: f64 = 1.5;

/// And by how much one place differs from the others.
const PLACE_DEVIATION: f64 = 0.5;

impl Design {
    /// The terms of a sum over the genes, with a constant and changes where it has an overhead.
    pub(super) fn new(space: &Space, deviations: Deviations, has_overhead: bool) -> Self {
        let mut design = Self {
            starts: Vec::with_capacity(space.genes()),
            overhead: None,
            effects: Vec::new(),
            deviations: Vec::new(),
        };
        let families = space.families();
        // Families of one gene each say no more than the genes do.
        let has_families = families.len() < space.genes();
        let mut family_of = vec![0; space.genes()];
        for (family, genes) in families.iter().enumerate() {
            for &gene in genes {
                family_of[gene] = family;
            }
        }
        let mut shared = Shared::default();
        for (gene, &alleles) in space.alleles().iter().enumerate() {
            design.starts.push(design.effects.len());
            let of_gene = design.effect(deviations.gene);
            for allele in 0..alleles {
                let mut effects = vec![of_gene, design.effect(deviations.allele)];
                let level = (alleles, allele, usize::MAX);
                effects.push(shared.get(&mut design, level, deviations.level));
                if has_families {
                    let family = family_of[gene];
                    let all = (0, 0, family);
                    effects.push(shared.get(&mut design, all, deviations.family));
                    let one = (alleles, allele, family);
                    effects.push(shared.get(&mut design, one, deviations.family_level));
                }
                design.effects.push(effects);
            }
        }
        if has_overhead {
            let constant = design.effects.len();
            let of_constant = design.effect(CONSTANT_DEVIATION);
            design.effects.push(vec![of_constant]);
            let of_changes = design.effect(CHANGE_DEVIATION);
            for _ in 1..space.genes() {
                let of_place = design.effect(PLACE_DEVIATION);
                design.effects.push(vec![of_changes, of_place]);
            }
            design.overhead = Some((constant, constant + 1));
        }
        design
    }

    fn effect(&mut self, deviation: f64) -> usize {
        self.deviations.push(deviation);
        self.deviations.len() - 1
    }

    /// Number of terms.
    pub(super) fn terms(&self) -> usize {
        self.effects.len()
    }

    /// The first term of every gene.
    pub(super) fn starts(&self) -> &[usize] {
        &self.starts
    }

    /// The term of the constant and the first of the changes.
    pub(super) fn overhead(&self) -> Option<(usize, usize)> {
        self.overhead
    }

    /// The effects of a term.
    pub(super) fn effects(&self, term: usize) -> &[usize] {
        &self.effects[term]
    }

    /// The standard deviation of every effect.
    pub(super) fn deviations(&self) -> &[f64] {
        &self.deviations
    }

    /// The terms that a genome's sum consists of.
    pub(super) fn active(&self, genome: &Genome) -> Vec<usize> {
        let alleles = &genome.0;
        let mut terms: Vec<usize> = self
            .starts
            .iter()
            .zip(alleles)
            .map(|(start, &allele)| start + usize::from(allele))
            .collect();
        if let Some((constant, first_change)) = self.overhead {
            terms.push(constant);
            let changes = alleles.windows(2).enumerate();
            let changes = changes.filter(|(_, pair)| pair[0] != pair[1]);
            terms.extend(changes.map(|(place, _)| first_change + place));
        }
        terms
    }
}

/// Effects that several genes share, by what they share.
#[derive(Default)]
struct Shared(std::collections::BTreeMap<(u8, u8, usize), usize>);

impl Shared {
    fn get(&mut self, design: &mut Design, key: (u8, u8, usize), deviation: f64) -> usize {
        *self
            .0
            .entry(key)
            .or_insert_with(|| design.effect(deviation))
    }
}
