//! The least of one figure under limits, by local search on the model alone.
//!
//! A front spread by evolution has gaps, and the best plan for a limit lies close below it. From
//! genomes near there single changes and exchanges, in which two genes get other alleles at once,
//! lead on: the best improvement of all is taken until none is left, or until what a question may
//! cost is spent. The exchange of two items is the classic neighbourhood of knapsack problems with
//! one choice per class (Pisinger, "A minimal algorithm for the multiple-choice knapsack problem",
//! 1995, weighs the same moves); here the figures may be several and not all of them sums.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use super::closing::{close, prices};
use super::model::{Model, Predictor};
use crate::space::{Genome, Space};

/// Changes and exchanges that one question may weigh: about a tenth of a second.
const MOST_WEIGHED: u64 = 8_000_000;

/// An improvement by less than this share is rounding.
const LEAST_IMPROVEMENT: f64 = 1e-12;

/// What is to be made small, and within what.
pub(super) struct Wanted<'a> {
    pub(super) space: &'a Space,
    model: &'a Model,
    pub(super) figure: usize,
    /// The greatest that the sum of each figure may be, infinite where nothing limits it.
    pub(super) most: Vec<f64>,
    /// Genomes that are no answer, whatever is expected of them.
    without: &'a BTreeSet<&'a Genome>,
    /// Changes and exchanges that may still be weighed.
    left: u64,
}

/// What a genome is worth: the less the better, and by how much it breaks the limits before all
/// else.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub(super) struct Worth {
    /// The sum over the limits of the share by which a figure's sum exceeds its limit; infinite for
    /// a genome that is no answer.
    pub(super) excess: f64,
    /// The sum of the figure.
    pub(super) value: f64,
}

impl Worth {
    pub(super) fn order(&self, other: &Self) -> Ordering {
        let by_excess = self.excess.total_cmp(&other.excess);
        by_excess.then_with(|| self.value.total_cmp(&other.value))
    }
}

/// Another allele of a gene, and by how much it changes the sum of every figure.
struct Change {
    gene: usize,
    allele: u8,
    differences: Vec<f64>,
}

/// Two changes at once, and by how much they change the figure; nothing to begin with.
#[derive(Default)]
struct Exchange {
    gain: f64,
    changes: Vec<(usize, u8)>,
}

impl<'a> Wanted<'a> {
    /// The least of `figure` where no figure exceeds `most`, both as they are told, of all genomes
    /// but these.
    pub(super) fn new(
        space: &'a Space,
        model: &'a Model,
        figure: usize,
        most: &[Option<f64>],
        without: &'a BTreeSet<&'a Genome>,
    ) -> Self {
        let limit = |(predictor, most): (&Predictor, &Option<f64>)| {
            most.map_or(f64::INFINITY, |most| predictor.untold(most))
        };
        Self {
            space,
            model,
            figure,
            most: model.predictors.iter().zip(most).map(limit).collect(),
            without,
            left: MOST_WEIGHED,
        }
    }

    /// What a genome is worth.
    pub(super) fn worth(&self, genome: &Genome) -> Worth {
        let mut worth = self.worth_of(self.sums(genome).into_iter());
        if self.without.contains(genome) {
            worth.excess = f64::INFINITY;
        }
        worth
    }

    /// The genome that is worth most of those that the starts lead to, and where one keeps the
    /// limits of those near it. What is cheapest with a price on every limit is a start too: in a
    /// large space it is nearer to the limits than what evolution found.
    pub(super) fn best(&mut self, starts: Vec<Genome>) -> (Genome, Worth) {
        let prices = prices(self);
        let mut best = self.cheapest(&prices);
        let mut worth = self.improve(&mut best);
        for mut genome in starts {
            let reached = self.improve(&mut genome);
            if reached < worth {
                (best, worth) = (genome, reached);
            }
        }
        if worth.excess > 0.0 {
            return (best, worth);
        }
        close(self, &prices, best, worth)
    }

    /// Changes the genome for the better until no change and no exchange improves it. O(m) for
    /// each change and O(m²) for each exchange, for the m alleles of all genes that it does not
    /// have; of pairs only those are weighed whose gain beats the best one found. A genome that
    /// breaks the limits is led towards them by single changes alone.
    fn improve(&mut self, genome: &mut Genome) -> Worth {
        let mut worth = self.worth(genome);
        loop {
            let sums = self.sums(genome);
            let mut changes = self.changes(genome);
            let change = self.best_change(&sums, &changes);
            if self.take(genome, &mut worth, &change) {
                continue;
            }
            if worth.excess > 0.0 {
                return worth;
            }
            let exchange = self.best_exchange(genome, &sums, &mut changes);
            if !self.take(genome, &mut worth, &exchange) {
                return worth;
            }
        }
    }

    /// Makes the changes where they improve the genome, by sums of its own: those of differences
    /// are rounded otherwise.
    fn take(&self, genome: &mut Genome, worth: &mut Worth, changes: &[(usize, u8)]) -> bool {
        let mut changed = genome.clone();
        for &(gene, allele) in changes {
            changed.0[gene] = allele;
        }
        let reached = self.worth(&changed);
        let is_better = reached.excess < worth.excess
            || (reached.excess == worth.excess
                && worth.value - reached.value > LEAST_IMPROVEMENT * worth.value.abs());
        if is_better {
            (*genome, *worth) = (changed, reached);
        }
        is_better
    }

    fn sums(&self, genome: &Genome) -> Vec<f64> {
        let predictors = self.model.predictors.iter();
        predictors.map(|predictor| predictor.sum(genome)).collect()
    }

    fn worth_of(&self, sums: impl Iterator<Item = f64>) -> Worth {
        let mut worth = Worth {
            excess: 0.0,
            value: 0.0,
        };
        for (figure, (sum, &most)) in sums.zip(&self.most).enumerate() {
            if sum > most {
                worth.excess += (sum - most) / most.abs().max(f64::MIN_POSITIVE);
            }
            if figure == self.figure {
                worth.value = sum;
            }
        }
        worth
    }

    /// What every genome has of a figure.
    pub(super) fn constant(&self, figure: usize) -> f64 {
        self.model.predictors[figure].constant()
    }

    /// The sums without what neighbours do to each other.
    pub(super) fn parts(&self, genome: &Genome) -> Vec<f64> {
        let predictors = self.model.predictors.iter();
        predictors
            .map(|predictor| {
                let alleles = genome.0.iter().enumerate();
                let parts = alleles.map(|(gene, &allele)| predictor.part(gene, allele));
                predictor.constant() + parts.sum::<f64>()
            })
            .collect()
    }

    /// The same after one gene has got another allele.
    pub(super) fn changed(&self, parts: &[f64], gene: usize, from: u8, to: u8) -> Vec<f64> {
        let pairs = parts.iter().zip(&self.model.predictors);
        pairs
            .map(|(sum, predictor)| sum + predictor.part(gene, to) - predictor.part(gene, from))
            .collect()
    }

    /// What an allele adds to the figure, and at these prices to the others.
    pub(super) fn priced(&self, prices: &[f64], gene: usize, allele: u8) -> f64 {
        let predictors = &self.model.predictors;
        let mut priced = predictors[self.figure].part(gene, allele);
        for (predictor, &price) in predictors.iter().zip(prices) {
            if price > 0.0 {
                priced += price * predictor.part(gene, allele);
            }
        }
        priced
    }

    /// The allele of every gene that costs least at these prices.
    pub(super) fn cheapest(&self, prices: &[f64]) -> Genome {
        let mut genome = Genome(vec![0; self.space.genes()]);
        for (gene, chosen) in genome.0.iter_mut().enumerate() {
            let mut least = f64::INFINITY;
            for allele in 0..self.space.alleles()[gene] {
                let priced = self.priced(prices, gene, allele);
                if priced < least {
                    (least, *chosen) = (priced, allele);
                }
            }
        }
        genome
    }

    fn changes(&self, genome: &Genome) -> Vec<Change> {
        let mut changes = Vec::new();
        for (gene, &alleles) in self.space.alleles().iter().enumerate() {
            for allele in (0..alleles).filter(|&allele| allele != genome.0[gene]) {
                let predictors = self.model.predictors.iter();
                changes.push(Change {
                    gene,
                    allele,
                    differences: predictors
                        .map(|predictor| predictor.difference(genome, gene, allele))
                        .collect(),
                });
            }
        }
        changes
    }

    /// The change after which the genome is worth most; nothing where there is none to weigh.
    fn best_change(&mut self, sums: &[f64], changes: &[Change]) -> Vec<(usize, u8)> {
        let count = changes.len() as u64;
        if self.left < count {
            // What is left would not do for one more look at all of them.
            self.left = 0;
            return Vec::new();
        }
        self.left -= count;
        let mut best: Option<(Worth, &Change)> = None;
        for change in changes {
            let pairs = sums.iter().zip(&change.differences);
            let worth = self.worth_of(pairs.map(|(sum, difference)| sum + difference));
            if best.is_none_or(|(least, _)| worth < least) {
                best = Some((worth, change));
            }
        }
        best.into_iter()
            .map(|(_, change)| (change.gene, change.allele))
            .collect()
    }

    /// The two changes that together gain most within the limits; nothing where none gain.
    fn best_exchange(
        &mut self,
        genome: &Genome,
        sums: &[f64],
        changes: &mut [Change],
    ) -> Vec<(usize, u8)> {
        let figure = self.figure;
        let mut best = Exchange::default();
        if self.left == 0 {
            return best.changes;
        }
        // Where neighbours do something to each other, a pair may gain what its parts do not.
        if self.model.predictors[figure].has_changes() {
            let genes: Vec<&[Change]> = changes
                .chunk_by(|left, right| left.gene == right.gene)
                .collect();
            for pair in genes.windows(2) {
                for first in pair[0] {
                    for second in pair[1] {
                        self.weigh(genome, sums, [first, second], &mut best);
                    }
                }
            }
        }
        changes
            .sort_by(|left, right| left.differences[figure].total_cmp(&right.differences[figure]));
        for (place, first) in changes.iter().enumerate() {
            for second in &changes[place + 1..] {
                // Those that follow gain less.
                let gain = first.differences[figure] + second.differences[figure];
                if gain >= best.gain || self.left == 0 {
                    break;
                }
                self.weigh(genome, sums, [first, second], &mut best);
            }
        }
        best.changes
    }

    /// Takes the pair for the best where it gains more and keeps the limits.
    fn weigh(&mut self, genome: &Genome, sums: &[f64], pair: [&Change; 2], best: &mut Exchange) {
        let [first, second] = pair;
        if self.left == 0 || first.gene == second.gene {
            return;
        }
        self.left -= 1;
        let together = |figure: usize| self.together(genome, first, second, figure);
        let gain = together(self.figure);
        let keeps = |(figure, &most): (usize, &f64)| sums[figure] + together(figure) <= most;
        if gain < best.gain && self.most.iter().enumerate().all(keeps) {
            *best = Exchange {
                gain,
                changes: pair.map(|change| (change.gene, change.allele)).to_vec(),
            };
        }
    }

    /// By how much two changes change the sum of a figure. Neighbouring genes may share a cost.
    fn together(&self, genome: &Genome, first: &Change, second: &Change, figure: usize) -> f64 {
        let predictor = &self.model.predictors[figure];
        let apart = first.differences[figure] + second.differences[figure];
        if first.gene.abs_diff(second.gene) != 1 || !predictor.has_changes() {
            return apart;
        }
        let (left, right) = if first.gene < second.gene {
            (first, second)
        } else {
            (second, first)
        };
        apart + predictor.coupling(genome, left.gene, left.allele, right.allele)
    }
}
