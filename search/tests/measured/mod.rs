//! The table of real measurements under `benches/data`: every plan of a small space over the demo
//! model, so that a strategy can be replayed against the truth. How it was made says its header and
//! `runtime/examples/table.rs`.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use bitfront_search::{Genome, Law, Problem, Space, Table, hypervolume};
use flate2::read::GzDecoder;

/// A coordinator's reference point lies this far beyond the worst baseline.
const MARGIN: f64 = 1.1;

/// A figure of a plan that a search can make small.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Divergence: told as its natural logarithm, as a driver does.
    Kld,
    Size,
    Decode,
    Prefill,
}

/// All that was measured.
pub(crate) struct Measured {
    /// The layers of every gene, as rows and columns.
    pub(crate) genes: Vec<Vec<(u64, u64)>>,
    /// The precision of every allele, the same for all genes.
    pub(crate) alleles: Vec<String>,
    pub(crate) profiles: Vec<String>,
    /// The plans, in the order of their genomes.
    pub(crate) rows: Vec<Row>,
}

/// One plan.
pub(crate) struct Row {
    pub(crate) genome: Genome,
    pub(crate) bytes: u64,
    pub(crate) kld: f64,
    /// By profile.
    pub(crate) times: Vec<Times>,
}

/// How long a plan takes on one hardware profile.
pub(crate) struct Times {
    pub(crate) decode: Time,
    pub(crate) prefill: Time,
}

/// A median over the passes.
pub(crate) struct Time {
    /// Of the ratio to the anchor.
    pub(crate) ratio: f64,
    /// (Largest − smallest) / median over the passes, in thousandths.
    pub(crate) spread: f64,
}

impl Measured {
    /// The table that is shipped.
    pub(crate) fn read() -> Self {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/data/demo_plans.txt.gz");
        let mut text = String::new();
        let file = File::open(&path).unwrap();
        GzDecoder::new(file).read_to_string(&mut text).unwrap();
        let (header, rows): (Vec<&str>, Vec<&str>) =
            text.lines().partition(|line| line.starts_with('#'));
        let of = |key: &str| -> Vec<&str> {
            let lines = header.iter().filter_map(|line| line.strip_prefix("# "));
            lines
                .filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
                .collect()
        };
        let profile = |line: &&str| line.split(':').next().unwrap().to_owned();
        Self {
            genes: of("gene").into_iter().map(shapes).collect(),
            alleles: of("alleles")[0].split(' ').map(ToOwned::to_owned).collect(),
            profiles: of("profile").iter().map(profile).collect(),
            rows: rows.into_iter().map(row).collect(),
        }
    }

    pub(crate) fn space(&self) -> Space {
        Space::new(self.genes.iter().map(|_| self.alleles.len())).unwrap()
    }

    /// The plan of a genome.
    pub(crate) fn row(&self, genome: &Genome) -> &Row {
        let index = genome.0.iter().fold(0, |index, &allele| {
            index * self.alleles.len() + usize::from(allele)
        });
        &self.rows[index]
    }

    /// Every gene in one precision, for all precisions: the baselines.
    pub(crate) fn uniform(&self) -> Vec<Genome> {
        let alleles = 0..self.alleles.len() as u8;
        alleles
            .map(|allele| Genome(vec![allele; self.genes.len()]))
            .collect()
    }

    /// The figure of a plan as a strategy is told it.
    pub(crate) fn told(&self, genome: &Genome, profile: usize, figure: Figure) -> f64 {
        let raw = self.raw(genome, profile, figure);
        if figure == Figure::Kld { raw.ln() } else { raw }
    }

    fn raw(&self, genome: &Genome, profile: usize, figure: Figure) -> f64 {
        let row = self.row(genome);
        let times = &row.times[profile];
        match figure {
            Figure::Kld => row.kld,
            Figure::Size => row.bytes as f64,
            Figure::Decode => times.decode.ratio,
            Figure::Prefill => times.prefill.ratio,
        }
    }

    /// A margin beyond the worst baseline in every figure, as told.
    pub(crate) fn reference(&self, profile: usize, figures: &[Figure]) -> Vec<f64> {
        let uniform = self.uniform();
        let worst = |figure: &Figure| {
            let raw = uniform
                .iter()
                .map(|genome| self.raw(genome, profile, *figure));
            let worst = MARGIN * raw.fold(f64::NEG_INFINITY, f64::max);
            if *figure == Figure::Kld {
                worst.ln()
            } else {
                worst
            }
        };
        figures.iter().map(worst).collect()
    }

    /// The hypervolume of all plans: the most that any search can have.
    pub(crate) fn whole(&self, profile: usize, figures: &[Figure]) -> f64 {
        let point = |row: &Row| -> Vec<f64> {
            let told = figures
                .iter()
                .map(|&figure| self.told(&row.genome, profile, figure));
            told.collect()
        };
        let points: Vec<_> = self.rows.iter().map(point).collect();
        hypervolume(&points, &self.reference(profile, figures)).unwrap()
    }

    /// The problem as a strategy that uses laws sees it. With priors the guesses are those that a
    /// search has before its first candidate: what a gene costs alone, in a plan that is best in
    /// all others. Without, they follow from bits and shapes.
    pub(crate) fn problem(&self, profile: usize, figures: &[Figure], has_priors: bool) -> Problem {
        let law = |&figure: &Figure| match figure {
            Figure::Kld if has_priors => Law::LogSum(self.alone(profile, figure)),
            Figure::Kld => Law::LogSum(self.each(|layers, allele| {
                let of_layer = |&(rows, columns): &(u64, u64)| ((rows * columns) as f64).sqrt();
                layers.iter().map(of_layer).sum::<f64>() * rounding_error(allele)
            })),
            Figure::Size => self.sizes(),
            _ if has_priors => Law::Time(self.alone(profile, figure)),
            _ => Law::Time(self.each(|layers, allele| weights(layers) * bits(allele))),
        };
        Problem::new(self.space(), figures.iter().map(law).collect()).unwrap()
    }

    fn each(&self, value: impl Fn(&[(u64, u64)], &str) -> f64) -> Table {
        let of_gene = |layers: &Vec<_>| self.alleles.iter().map(|it| value(layers, it)).collect();
        Table::new(self.genes.iter().map(of_gene))
    }

    /// What each gene adds to a figure in each precision, from the plans that differ from the first
    /// uniform one in that gene alone. What the first precision itself adds is not in any of them:
    /// its whole is shared out by weights.
    fn alone(&self, profile: usize, figure: Figure) -> Table {
        let first = &self.uniform()[0];
        let whole = self.raw(first, profile, figure);
        let all: f64 = self.genes.iter().map(|layers| weights(layers)).sum();
        Table::new(self.genes.iter().enumerate().map(|(gene, layers)| {
            let share = whole * weights(layers) / all;
            let alleles = 0..self.alleles.len() as u8;
            let alone = alleles.map(|allele| {
                let mut swapped = first.clone();
                swapped.0[gene] = allele;
                let more = self.raw(&swapped, profile, figure) - whole;
                (share + more).max(0.01 * share)
            });
            alone.collect()
        }))
    }

    /// Bytes are a sum, so that the plans that differ from the first in one gene say it all.
    fn sizes(&self) -> Law {
        let first = &self.uniform()[0];
        let of_gene = |gene: usize| {
            let alleles = 0..self.alleles.len() as u8;
            let bytes = alleles.map(|allele| {
                let mut swapped = first.clone();
                swapped.0[gene] = allele;
                self.row(&swapped).bytes as f64
            });
            let bytes: Vec<f64> = bytes.collect();
            let least = bytes.iter().copied().fold(f64::INFINITY, f64::min);
            (
                least,
                bytes.iter().map(|value| value - least).collect::<Vec<_>>(),
            )
        };
        let genes: Vec<_> = (0..self.genes.len()).map(of_gene).collect();
        let saved = genes
            .iter()
            .map(|(least, _)| self.row(first).bytes as f64 - least);
        Law::Exact {
            constant: self.row(first).bytes as f64 - saved.sum::<f64>(),
            table: Table::new(genes.into_iter().map(|(_, bytes)| bytes)),
        }
    }
}

fn weights(layers: &[(u64, u64)]) -> f64 {
    layers
        .iter()
        .map(|&(rows, columns)| (rows * columns) as f64)
        .sum()
}

/// Bits of a weight with its scales, by the layouts of ggml.
pub(crate) fn bits(precision: &str) -> f64 {
    match precision {
        "q8_0" => 8.5,
        "q4_k" => 4.5,
        "q2_k" => 2.625,
        other => panic!("the table has the precision {other}"),
    }
}

/// Mean square of the rounding errors of normally distributed weights, as
/// `Precision::rounding_error` of the model crate has it.
fn rounding_error(precision: &str) -> f64 {
    match precision {
        "q8_0" => 2.85e-5,
        "q4_k" => 5.05e-3,
        "q2_k" => 8.76e-2,
        other => panic!("the table has the precision {other}"),
    }
}

/// `name: layer:ROWSxCOLUMNS …`
fn shapes(line: &str) -> Vec<(u64, u64)> {
    let (_, layers) = line.split_once(": ").unwrap();
    let shape = |layer: &str| {
        let (_, shape) = layer.split_once(':').unwrap();
        let (rows, columns) = shape.split_once('x').unwrap();
        (rows.parse().unwrap(), columns.parse().unwrap())
    };
    layers.split(' ').map(shape).collect()
}

fn row(line: &str) -> Row {
    let mut words = line.split(' ');
    let digits = words.next().unwrap().bytes();
    let genome = Genome(digits.map(|digit| digit - b'0').collect());
    let bytes = words.next().unwrap().parse().unwrap();
    let kld = words.next().unwrap().parse().unwrap();
    let numbers: Vec<f64> = words.map(|word| word.parse().unwrap()).collect();
    let (profiles, rest) = numbers.as_chunks::<4>();
    assert!(rest.is_empty(), "the plan {line:?} is not whole");
    let times = profiles
        .iter()
        .map(|&[decode, decode_spread, prefill, prefill_spread]| Times {
            decode: Time {
                ratio: decode,
                spread: decode_spread,
            },
            prefill: Time {
                ratio: prefill,
                spread: prefill_spread,
            },
        });
    Row {
        genome,
        bytes,
        kld,
        times: times.collect(),
    }
}
