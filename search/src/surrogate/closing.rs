//! What local search leaves: few genes differ between a good genome and the best one.
//!
//! With a price on every limit (Lagrange multipliers) each gene can be chosen on its own, and the
//! sum of the least priced parts is a bound that no genome within the limits is below (Everett,
//! "Generalized Lagrange multiplier method", 1963). An allele that costs more beside the cheapest
//! one than lies between the bound and the best genome known is in no better genome, which leaves
//! a small core of choices (Balas and Zemel, "An algorithm for large zero-one knapsack problems",
//! 1980); these are tried in depth first order. What neighbours do to each other only adds to a
//! sum, so the bound holds without it.

use super::exchange::{Wanted, Worth};
use crate::space::Genome;

/// Nodes that one question may visit.
const MOST_VISITED: u64 = 2_000_000;

/// Genes that are added up in the time of a visit.
const GENES_A_VISIT: usize = 16;

/// Genes that may differ from the cheapest alleles.
const DEEPEST: usize = 24;

/// Rounds over the limits, and halvings of the range of one price.
const ROUNDS: usize = 4;
const HALVINGS: usize = 60;

/// The choices that may be better, and the best one so far.
struct Core<'a> {
    wanted: &'a Wanted<'a>,
    /// Every gene with its alleles beside the cheapest, by what they cost beside it; ascending in
    /// both.
    choices: Vec<(usize, Vec<(f64, u8)>)>,
    bound: f64,
    best: Genome,
    worth: Worth,
    visited: u64,
}

/// Replaces the best genome known, which keeps the limits, where there is a better one that differs
/// in few genes from the cheapest alleles. O(m) for a price and m alleles; exponential in the size
/// of the core beyond that, up to a fixed number of visits.
pub(super) fn close(
    wanted: &Wanted<'_>,
    prices: &[f64],
    best: Genome,
    worth: Worth,
) -> (Genome, Worth) {
    let mut cheapest = wanted.cheapest(prices);
    let mut choices = Vec::new();
    let mut bound = wanted.constant(wanted.figure);
    for (gene, &chosen) in cheapest.0.iter().enumerate() {
        let least = wanted.priced(prices, gene, chosen);
        bound += least;
        let alleles = (0..wanted.space.alleles()[gene]).filter(|&allele| allele != chosen);
        let mut beside: Vec<(f64, u8)> = alleles
            .map(|allele| (wanted.priced(prices, gene, allele) - least, allele))
            .collect();
        beside.sort_by(|left, right| left.0.total_cmp(&right.0));
        if let Some(first) = beside.first() {
            choices.push((first.0, gene, beside));
        }
    }
    for (figure, (price, most)) in prices.iter().zip(&wanted.most).enumerate() {
        if *price > 0.0 {
            bound -= price * (most - wanted.constant(figure));
        }
    }
    choices.sort_by(|left, right| left.0.total_cmp(&right.0));
    let choices = choices.into_iter().map(|(_, gene, beside)| (gene, beside));
    let mut core = Core {
        wanted,
        choices: choices.collect(),
        bound,
        best,
        worth,
        visited: 0,
    };
    let sums = wanted.parts(&cheapest);
    core.visit(&mut cheapest, &sums);
    core.deviate(&mut cheapest, &sums, 0, 0.0, DEEPEST);
    (core.best, core.worth)
}

/// The least price of every limit under which the cheapest alleles keep it, each with the prices of
/// the others as they were.
pub(super) fn prices(wanted: &Wanted<'_>) -> Vec<f64> {
    let mut prices = vec![0.0; wanted.most.len()];
    let limited: Vec<usize> = (0..prices.len())
        .filter(|&figure| figure != wanted.figure && wanted.most[figure].is_finite())
        .collect();
    // The price of one limit does not depend on others that are not there.
    let rounds = if limited.len() > 1 { ROUNDS } else { 1 };
    for _ in 0..rounds {
        for &figure in &limited {
            let mut keeps = |price: f64| {
                prices[figure] = price;
                wanted.parts(&wanted.cheapest(&prices))[figure] <= wanted.most[figure]
            };
            if keeps(0.0) {
                continue;
            }
            let (mut low, mut high) = (0.0, 1.0);
            let mut doublings = 0;
            // From below the least difference of any allele to above the greatest.
            while keeps(high) && high > f64::MIN_POSITIVE {
                high *= 0.5_f64.powi(8);
            }
            while !keeps(high) && doublings < 2 * HALVINGS {
                low = high;
                high *= 2.0_f64.powi(8);
                doublings += 1;
            }
            for _ in 0..HALVINGS {
                let middle = 0.5 * (low + high);
                if keeps(middle) {
                    high = middle;
                } else {
                    low = middle;
                }
            }
            prices[figure] = high;
        }
    }
    prices
}

impl Core<'_> {
    /// Tries the genome, whose sums without what neighbours do to each other these are.
    fn visit(&mut self, genome: &mut Genome, sums: &[f64]) {
        self.visited += 1;
        let wanted = self.wanted;
        let mut pairs = sums.iter().zip(&wanted.most);
        if sums[wanted.figure] < self.worth.value && pairs.all(|(sum, most)| sum <= most) {
            // The sums of differences are rounded otherwise. To add all genes up takes as long as
            // many visits in a large space.
            self.visited += (genome.0.len() / GENES_A_VISIT) as u64;
            let worth = wanted.worth(genome);
            if worth < self.worth {
                self.best.clone_from(genome);
                self.worth = worth;
            }
        }
    }

    /// Tries every genome that takes other alleles than this one at genes from `place` on, whose
    /// own ones cost `spent` beside the cheapest, as far as it may be better than the best.
    fn deviate(
        &mut self,
        genome: &mut Genome,
        sums: &[f64],
        place: usize,
        spent: f64,
        depth: usize,
    ) {
        for next in place..self.choices.len() {
            let (gene, alleles) = (self.choices[next].0, self.choices[next].1.len());
            let chosen = genome.0[gene];
            for choice in 0..alleles {
                let (costs, allele) = self.choices[next].1[choice];
                let may_be_better = self.bound + spent + costs < self.worth.value;
                if !may_be_better || self.visited >= MOST_VISITED {
                    if choice == 0 {
                        // Those that follow cost more.
                        return;
                    }
                    break;
                }
                let changed: Vec<f64> = self.wanted.changed(sums, gene, chosen, allele);
                genome.0[gene] = allele;
                self.visit(genome, &changed);
                if depth > 1 {
                    self.deviate(genome, &changed, next + 1, spent + costs, depth - 1);
                }
                genome.0[gene] = chosen;
            }
        }
    }
}
