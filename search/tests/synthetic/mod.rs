//! A synthetic mixed-precision problem whose best front is known, for tests and examples.
//!
//! Shaped like a small language model: 44 genes (an embedding, six blocks of seven matrices, a
//! head) and 8 to 12 alleles each, ordered from most to fewest bits.
//!
//! ```text
//! loss    = 1e-5 + Σ sensitivity · 4^-bits · noise, told as its natural logarithm
//! latency = Σ weights · bits · kernel factor · noise + overhead
//! size    = Σ weights · bits
//! ```
//!
//! A gene's sensitivity is a product of what its kind, its depth and chance contribute. Being
//! additive, the problem has a simple oracle: for any weighting of the three sums every gene can
//! be chosen on its own.

use bitfront_search::{
    Believed, Evaluation, Event, Genome, Law, Problem, Space, Strategy, Table, hypervolume,
    non_dominated,
};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// Bits per weight, time per bit, and whether every gene has it; from most to fewest bits.
const PRECISIONS: [(f64, f64, bool); 12] = [
    (16.0, 1.0, true),
    (8.5, 1.0, true),
    (6.5625, 1.25, false),
    (6.0, 1.35, true),
    (5.5, 1.3, true),
    (5.4, 1.4, true),
    (5.0, 1.05, true),
    (4.5, 1.1, false),
    (4.4, 1.0, true),
    (3.4375, 1.6, false),
    (2.9, 1.7, true),
    (2.625, 1.5, false),
];

/// Bits of the presets' matrices, and of those that they hold better.
const PRESETS: [(f64, f64); 6] = [
    (2.625, 3.4375),
    (3.4375, 4.5),
    (3.4375, 5.5),
    (4.5, 5.5),
    (4.5, 6.5625),
    (5.5, 6.5625),
];

const GENES: usize = 44;

/// The loss of a model that nothing was done to.
const FLOOR: f64 = 1e-5;

/// Which problem it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Variant {
    /// Whether 16 bits are among the alleles. They stretch the size axis, which leaves a wide
    /// empty part of the front that a strategy can fill at once.
    pub(crate) has_floats: bool,
    /// Whether the space says which genes are of one kind.
    pub(crate) has_families: bool,
}

/// One instance of the problem.
pub(crate) struct Synthetic {
    /// The search's view of it.
    pub(crate) space: Space,
    /// Loss, latency and size of every allele of every gene.
    costs: Vec<Vec<[f64; 3]>>,
    /// Bits of every allele of every gene.
    bits: Vec<Vec<f64>>,
    /// The plans that every search starts with.
    pub(crate) baselines: Vec<Genome>,
    worst: [f64; 3],
    best: [f64; 3],
    /// How much of the geometric mean of its loss and the next one's every gene adds or takes.
    couplings: Vec<f64>,
}

/// Uniform in 0..1.
fn unit(generator: &mut ChaCha8Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// About normal: the sum of twelve uniform numbers.
fn normal(generator: &mut ChaCha8Rng) -> f64 {
    (0..12).map(|_| unit(generator)).sum::<f64>() - 6.0
}

/// Seven kinds of matrices in a block, then the embedding and the head.
fn kind_of(gene: usize) -> usize {
    match gene {
        0 => 7,
        gene if gene == GENES - 1 => 8,
        gene => (gene - 1) % 7,
    }
}

impl Synthetic {
    /// The instance of that number.
    pub(crate) fn new(instance: u64, variant: Variant) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(instance);
        let kinds: [f64; 9] = std::array::from_fn(|_| (0.7 * normal(&mut generator)).exp());
        let shapes = [1.0, 0.25, 0.25, 1.0, 2.75, 2.75, 2.75, 6.0, 6.0];
        let (mut costs, mut bits_of) = (Vec::new(), Vec::new());
        for gene in 0..GENES {
            let weights: f64 = shapes[kind_of(gene)];
            // The first and the last layers hurt most.
            let depth = gene as f64 / (GENES - 1) as f64;
            let ends = 1.0 + 3.0 * (-8.0 * depth).exp() + 1.5 * (-8.0 * (1.0 - depth)).exp();
            let chance = (0.7 * normal(&mut generator)).exp();
            let sensitivity = kinds[kind_of(gene)] * ends * chance * weights.sqrt();
            let fits = |&&(bits, _, everywhere): &&(f64, f64, bool)| {
                (everywhere || kind_of(gene) != 1) && (variant.has_floats || bits < 16.0)
            };
            let (mut of_gene, mut bits_of_gene) = (Vec::new(), Vec::new());
            for &(bits, factor, _) in PRECISIONS.iter().filter(fits) {
                let mut noise = |deviation: f64| (deviation * normal(&mut generator)).exp();
                let loss = sensitivity * 4.0_f64.powf(-bits) * noise(0.15);
                let latency = weights * bits * factor * noise(0.05) + 0.2;
                of_gene.push([loss, latency, weights * bits]);
                bits_of_gene.push(bits);
            }
            costs.push(of_gene);
            bits_of.push(bits_of_gene);
        }
        let mut space = Space::new(costs.iter().map(Vec::len)).unwrap();
        if variant.has_families {
            space = space.with_families((0..GENES).map(kind_of)).unwrap();
        }
        let mut problem = Self {
            space,
            costs,
            baselines: baselines(&bits_of),
            bits: bits_of,
            worst: [f64::NEG_INFINITY; 3],
            best: [f64::INFINITY; 3],
            couplings: vec![0.0; GENES - 1],
        };
        for genome in problem.baselines.clone() {
            for (axis, value) in problem.objectives(&genome).into_iter().enumerate() {
                problem.worst[axis] = problem.worst[axis].max(value);
                problem.best[axis] = problem.best[axis].min(value);
            }
        }
        // Slightly beyond the worst baseline, so that the ends of the front count.
        for axis in 0..3 {
            problem.worst[axis] += 0.02 * (problem.worst[axis] - problem.best[axis]);
        }
        problem
    }

    /// The same instance with errors of neighbours that amplify or cancel each other, which no sum
    /// over the genes expresses.
    #[allow(dead_code)]
    pub(crate) fn with_interactions(mut self) -> Self {
        let mut generator = ChaCha8Rng::seed_from_u64(1);
        for coupling in &mut self.couplings {
            *coupling = 0.25 + 0.5 * normal(&mut generator);
        }
        self
    }

    /// The problem as a strategy that uses laws sees it, with guesses from the bits alone.
    pub(crate) fn problem(&self) -> Problem {
        let table = |part: &dyn Fn(f64) -> f64| {
            let of_gene = |costs: &Vec<[f64; 3]>| costs.iter().map(|cost| part(cost[2])).collect();
            Table::new(self.costs.iter().map(of_gene))
        };
        let bits = Table::new(self.bits.clone());
        let loss = Table::new(bits.genes().iter().zip(&self.costs).map(|(bits, costs)| {
            let weight = costs[0][2] / bits[0];
            bits.iter()
                .map(|bits| weight.sqrt() * 0.25_f64.powf(*bits))
                .collect()
        }));
        let laws = vec![
            Law::LogSum(loss),
            Law::Time(table(&|size| size)),
            Law::Exact {
                constant: 0.0,
                table: table(&|size| size),
            },
        ];
        Problem::new(self.space.clone(), laws).unwrap()
    }

    /// The natural logarithm of the loss, the latency and the size.
    pub(crate) fn objectives(&self, genome: &Genome) -> [f64; 3] {
        let mut sums = [FLOOR, 0.0, 0.0];
        let loss = |gene: usize| self.costs[gene][usize::from(genome.0[gene])][0];
        for (gene, coupling) in self.couplings.iter().enumerate() {
            sums[0] += coupling * (loss(gene) * loss(gene + 1)).sqrt();
        }
        for (costs, &allele) in self.costs.iter().zip(&genome.0) {
            for (sum, cost) in sums.iter_mut().zip(costs[usize::from(allele)]) {
                *sum += cost;
            }
        }
        [sums[0].ln(), sums[1], sums[2]]
    }

    /// Hypervolume of genomes as a share of the box between the best and the worst baseline.
    pub(crate) fn hypervolume(&self, genomes: &[Genome]) -> f64 {
        let points: Vec<[f64; 3]> = genomes
            .iter()
            .map(|genome| self.objectives(genome))
            .collect();
        self.hypervolume_of(&points)
    }

    /// The same of objectives.
    pub(crate) fn hypervolume_of(&self, points: &[[f64; 3]]) -> f64 {
        let normalised = |values: &[f64; 3]| {
            let shares = (0..3).map(|axis| {
                (values[axis] - self.best[axis]) / (self.worst[axis] - self.best[axis])
            });
            shares.collect()
        };
        let points: Vec<Vec<f64>> = points.iter().map(normalised).collect();
        hypervolume(&points, &[1.0; 3]).unwrap()
    }

    /// The hypervolume that the front of these objectives claims, over the true one of its genomes.
    pub(crate) fn claim(&self, genomes: &[Genome], objectives: &[[f64; 3]]) -> f64 {
        let front = non_dominated(objectives);
        let claimed: Vec<[f64; 3]> = front.iter().map(|&place| objectives[place]).collect();
        let front: Vec<Genome> = front.iter().map(|&place| genomes[place].clone()).collect();
        self.hypervolume_of(&claimed) / self.hypervolume(&front)
    }

    /// The share of genomes whose true figure lies within 1.96 of such deviations of what is
    /// believed.
    pub(crate) fn within(
        &self,
        genomes: &[Genome],
        believed: &[Vec<Believed>],
        figure: usize,
        deviation: fn(&Believed) -> f64,
    ) -> f64 {
        let is_within = |(genome, figures): &(&Genome, &Vec<Believed>)| {
            let error = self.objectives(genome)[figure] - figures[figure].value;
            error.abs() <= 1.96 * deviation(&figures[figure])
        };
        let within = genomes.iter().zip(believed).filter(is_within).count();
        within as f64 / genomes.len() as f64
    }

    /// The best genome for each of many weightings of the three sums: points of the true front.
    pub(crate) fn oracle(&self) -> Vec<Genome> {
        let mut genomes = Vec::new();
        for loss_step in 0..60 {
            for mix in 0..=12 {
                let loss_weight = 10.0_f64.powf(-1.0 + 0.17 * f64::from(loss_step));
                let latency_weight = f64::from(mix) / 12.0;
                let weights = [loss_weight, latency_weight, 1.0 - latency_weight];
                let best = |costs: &Vec<[f64; 3]>| {
                    let weighted = |allele: &usize| -> f64 {
                        let pairs = costs[*allele].iter().zip(weights);
                        pairs.map(|(cost, weight)| cost * weight).sum()
                    };
                    let by_weight =
                        |left: &usize, right: &usize| weighted(left).total_cmp(&weighted(right));
                    (0..costs.len()).min_by(by_weight).unwrap() as u8
                };
                genomes.push(Genome(self.costs.iter().map(best).collect()));
            }
        }
        genomes
    }

    /// Runs a strategy for `evaluations`, baselines included, each told before the next is asked.
    /// Returns the genomes in the order of their evaluation.
    pub(crate) fn run(&self, strategy: &mut dyn Strategy, evaluations: usize) -> Vec<Genome> {
        self.run_with_noise(strategy, evaluations, [0.0; 2]).0
    }

    /// The same with normal noise on the logarithms of loss and latency, of these deviations;
    /// returns what was told as well.
    pub(crate) fn run_with_noise(
        &self,
        strategy: &mut dyn Strategy,
        evaluations: usize,
        noise: [f64; 2],
    ) -> (Vec<Genome>, Vec<[f64; 3]>) {
        let mut generator = ChaCha8Rng::seed_from_u64(evaluations as u64);
        let mut told_objectives = Vec::new();
        let mut genomes: Vec<Genome> = Vec::new();
        while genomes.len() < evaluations {
            let genome = match self.baselines.get(genomes.len()) {
                Some(baseline) => baseline.clone(),
                None => {
                    let ask_number = (genomes.len() - self.baselines.len()) as u64;
                    strategy.ask(ask_number).unwrap()
                }
            };
            let candidate = genomes.len() as u64;
            let [loss, latency, size] = self.objectives(&genome);
            let objectives = [
                loss + noise[0] * normal(&mut generator),
                latency * (noise[1] * normal(&mut generator)).exp(),
                size,
            ];
            told_objectives.push(objectives);
            let evaluation = Evaluation::unlimited(objectives.to_vec());
            genomes.push(genome.clone());
            strategy.tell(&Event::Asked { candidate, genome }).unwrap();
            let told = Event::Told {
                candidate,
                evaluation,
            };
            strategy.tell(&told).unwrap();
        }
        (genomes, told_objectives)
    }
}

/// The uniform plans, and presets that hold the ends and two kinds of matrices better.
fn baselines(bits_of: &[Vec<f64>]) -> Vec<Genome> {
    let nearest = |gene: usize, bits: f64| -> u8 {
        let away = |allele: &usize| (bits_of[gene][*allele] - bits).abs();
        let alleles = 0..bits_of[gene].len();
        let nearest = alleles.min_by(|left, right| away(left).total_cmp(&away(right)));
        nearest.unwrap() as u8
    };
    let uniform = PRECISIONS
        .iter()
        .map(|&(bits, _, _)| (0..GENES).map(|gene| nearest(gene, bits)).collect());
    let preset = PRESETS.iter().map(|&(bits, raised)| {
        let alleles = (0..GENES).map(|gene| match kind_of(gene) {
            7 | 8 => nearest(gene, 6.5625),
            2 | 6 => nearest(gene, raised),
            _ => nearest(gene, bits),
        });
        alleles.collect()
    });
    let mut distinct: Vec<Genome> = Vec::new();
    for genome in uniform.chain(preset).map(Genome) {
        if !distinct.contains(&genome) {
            distinct.push(genome);
        }
    }
    distinct
}

/// Noise, and now and then something that happens to a timing.
#[allow(dead_code)]
pub(crate) struct Dice(ChaCha8Rng);

#[allow(dead_code)]
impl Dice {
    /// The stream of that number.
    pub(crate) fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// About normal.
    pub(crate) fn normal(&mut self) -> f64 {
        normal(&mut self.0)
    }

    /// A timing of what truly takes so long, with normal noise of that deviation on its logarithm.
    /// The share `spikes.0` of all takes `spikes.1` times as long; says whether this one did.
    pub(crate) fn time(&mut self, truth: f64, noise: f64, spikes: (f64, f64)) -> (f64, bool) {
        let is_spike = unit(&mut self.0) < spikes.0;
        let factor = if is_spike { spikes.1 } else { 1.0 };
        (truth * factor * (noise * self.normal()).exp(), is_spike)
    }
}
