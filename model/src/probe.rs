//! What a device multiplies how fast: every shape of a model in every precision, in isolation.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{
    Device, Digest, Environment, Interval, Layer, LayerKind, ModelSpec, Precision,
    QuestionStanding, Workload,
};

/// Most weights of a matrix that is timed: 4096 × 4096, which is 64 MiB in `f32`. Of larger ones
/// the first rows are, since every row takes the same work.
const MOST_WEIGHTS: u64 = 1 << 24;

/// Rows of activations of a prefill where a request has none to say how many.
const USUAL_ROWS: u32 = 128;

/// Most rows of activations that a batch of prompts is probed with, unless a single prompt has
/// more: with so many rows each takes as long as in a product of more, which only costs time and
/// memory.
const MOST_BATCH_ROWS: u32 = 1024;

/// The shape of a weight matrix: `rows` outputs, `columns` inputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Shape {
    /// Output features.
    pub rows: u64,
    /// Input features.
    pub columns: u64,
}

impl Shape {
    /// The shape that stands for a layer's product: its own, or as many of its rows as are timed
    /// of a large one. None for a matrix that no product reads, as an embedding of its own.
    pub fn of(layer: &Layer) -> Option<Self> {
        if layer.kind == LayerKind::TokenEmbedding && !layer.tied {
            return None;
        }
        let most_rows = (MOST_WEIGHTS / layer.columns.max(1)).max(1);
        Some(Self {
            rows: layer.rows.min(most_rows),
            columns: layer.columns,
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&format!("{}×{}", self.rows, self.columns))
    }
}

/// What a probe times: the product of every shape in every precision, with few rows of activations
/// (as a decode step has, one for each sequence) and with many (as prompts have).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeQuestion {
    /// Distinct, in order.
    pub shapes: Vec<Shape>,
    /// What the device says that it executes.
    pub precisions: Vec<Precision>,
    /// Rows of activations in the product with few. Questions that were stored without it asked
    /// for one.
    #[serde(default = "one")]
    pub few_rows: u32,
    /// Rows of activations in the product with many.
    pub many_rows: u32,
}

fn one() -> u32 {
    1
}

impl ProbeQuestion {
    /// The question that a model poses to a device: its shapes in all that the device executes,
    /// with as many rows as the decode workload has sequences, and as the prompts of the prefill
    /// workload have tokens together.
    pub fn new(spec: &ModelSpec, executed: &[Precision], workloads: &[Workload]) -> Self {
        let shapes: BTreeSet<_> = spec.layers.iter().filter_map(Shape::of).collect();
        let (decodes, prefills): (Vec<Workload>, Vec<_>) = workloads
            .iter()
            .copied()
            .partition(|workload| workload.is_decode());
        let few_rows = decodes.first().map(|decode| decode.batch());
        let many_rows = prefills.first().map(|prefill| {
            let (tokens, batch) = (prefill.tokens(), prefill.batch());
            tokens.max(tokens.saturating_mul(batch).min(MOST_BATCH_ROWS))
        });
        Self {
            shapes: shapes.into_iter().collect(),
            precisions: Precision::ALL
                .into_iter()
                .filter(|precision| executed.contains(precision))
                .collect(),
            few_rows: few_rows.unwrap_or(1),
            many_rows: many_rows.unwrap_or(USUAL_ROWS),
        }
    }

    /// Every product that is asked for: the precisions that fit each shape, in order.
    pub fn products(&self) -> impl Iterator<Item = (Shape, Precision)> + '_ {
        self.shapes.iter().flat_map(|&shape| {
            let fitting = self.precisions.iter().copied();
            fitting
                .filter(move |precision| precision.fits(shape.columns))
                .map(move |precision| (shape, precision))
        })
    }

    /// The question's name by content.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder().part("probe");
        for shape in &self.shapes {
            digest.add(shape.to_string());
        }
        digest.add("precisions");
        for precision in &self.precisions {
            digest.add(precision.name());
        }
        digest.add(self.many_rows.to_string());
        // One row has no part, as in the names of workloads: answers are stored under names that
        // were made when every question asked for one.
        if self.few_rows != 1 {
            digest.add("few rows");
            digest.add(self.few_rows.to_string());
        }
        digest.finish()
    }
}

/// How long one product takes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProductTime {
    /// The anchor's time in nanoseconds multiplied with [`Self::ratio`].
    pub median_ns: f64,
    /// Interval of that time, in nanoseconds; it holds the errors of both factors.
    pub interval: Interval,
    /// Median over the blocks of its time through the anchor's.
    pub ratio: f64,
    /// Distribution-free interval of that median. Products of one shape are compared by it, since
    /// they share the anchor.
    pub ratio_interval: Interval,
    /// Raw samples in the order in which they were taken, in nanoseconds.
    pub samples_ns: Vec<u64>,
    /// Time spent warming up, in nanoseconds.
    pub warm_up_ns: u64,
    /// The time limit came before the interval of the ratio was as narrow as asked for.
    pub noisy: bool,
}

/// What came of one product.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum ProductResult {
    /// It was timed.
    Timed {
        /// With [`ProbeQuestion::few_rows`] rows of activations; stored as `one_row` where that was
        /// the only possible number.
        #[serde(alias = "one_row")]
        few_rows: ProductTime,
        /// With [`ProbeQuestion::many_rows`] of them.
        many_rows: ProductTime,
    },
    /// The runtime cannot hold or multiply the shape in this precision.
    Infeasible {
        /// Why, for people.
        reason: String,
    },
}

/// One product of a probe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Product {
    /// The matrix.
    pub shape: Shape,
    /// How it was held.
    pub precision: Precision,
    /// What came of it.
    pub result: ProductResult,
}

impl Product {
    /// Its times with few rows and with many, where it was timed.
    pub fn times(&self) -> Option<(&ProductTime, &ProductTime)> {
        match &self.result {
            ProductResult::Timed {
                few_rows,
                many_rows,
            } => Some((few_rows, many_rows)),
            ProductResult::Infeasible { .. } => None,
        }
    }
}

/// The answer to a [`ProbeQuestion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// In the order of [`ProbeQuestion::products`].
    pub products: Vec<Product>,
    /// What the device was like.
    pub environment: Environment,
    /// Time the whole probe took, in nanoseconds.
    pub duration_ns: u64,
}

impl Probe {
    /// One product.
    pub fn product(&self, shape: Shape, precision: Precision) -> Option<&Product> {
        self.products
            .iter()
            .find(|product| product.shape == shape && product.precision == precision)
    }

    /// What keeps it from being the answer to a question, if anything does: products that were not
    /// asked for or are missing, and times that no product can have.
    pub fn problem(&self, question: &ProbeQuestion) -> Option<String> {
        let mut asked = question.products();
        for product in &self.products {
            let name = format!("{} in {}", product.shape, product.precision);
            match asked.next() {
                Some(next) if next == (product.shape, product.precision) => {}
                Some((shape, precision)) => {
                    return Some(format!(
                        "{name} is answered, {shape} in {precision} was asked"
                    ));
                }
                None => return Some(format!("{name} is answered and was not asked")),
            }
            if let ProductResult::Infeasible { reason } = &product.result
                && reason.trim().is_empty()
            {
                return Some(format!("{name} is infeasible without a reason"));
            }
            let times = product.times().into_iter();
            for time in times.flat_map(|(few, many)| [few, many]) {
                if let Some(problem) = time.problem() {
                    return Some(format!("{name}: {problem}"));
                }
            }
        }
        let (shape, precision) = asked.next()?;
        Some(format!(
            "{shape} in {precision} was asked and is not answered"
        ))
    }
}

impl ProductTime {
    fn problem(&self) -> Option<String> {
        let figures = [
            ("time", self.median_ns),
            ("time's lower end", self.interval.low),
            ("time's upper end", self.interval.high),
            ("ratio", self.ratio),
            ("ratio's lower end", self.ratio_interval.low),
            ("ratio's upper end", self.ratio_interval.high),
        ];
        if let Some((what, value)) = figures
            .into_iter()
            .find(|(_, value)| !(value.is_finite() && *value > 0.0))
        {
            return Some(format!("the {what} is {value}, which no product takes"));
        }
        if self.samples_ns.is_empty() || self.samples_ns.contains(&0) {
            return Some("it has no samples, or one that took no time".to_owned());
        }
        None
    }
}

/// A precision that is not worth searching for a shape on a device.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exclusion {
    /// For matrices of this shape.
    pub shape: Shape,
    /// What leaves the space.
    pub precision: Precision,
    /// The precisions that are no larger, no slower and no less accurate; empty where the device
    /// cannot execute it.
    pub by: Vec<Precision>,
    /// Why, for people.
    pub reason: String,
}

/// A probe of a device, with what follows from it for searches over all of its precisions.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceProbe {
    /// Its number.
    pub probe: i64,
    /// What was asked.
    pub question: ProbeQuestion,
    /// How far it has come.
    pub standing: QuestionStanding<Probe>,
    /// What leaves the space.
    pub excluded: Vec<Exclusion>,
}

/// A device and all that is known of its products.
#[derive(Debug, Clone, PartialEq)]
pub struct ProbedDevice {
    /// The device.
    pub device: Device,
    /// Its probes, oldest first; devices with one hardware profile share them.
    pub probes: Vec<DeviceProbe>,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn layer(kind: LayerKind, rows: u64, columns: u64, tied: bool) -> Layer {
        Layer {
            name: kind.name().to_owned(),
            kind,
            block: None,
            rows,
            columns,
            source: Precision::F32,
            tied,
        }
    }

    #[test]
    fn large_matrices_are_timed_in_part_and_looked_up_ones_not_at_all() {
        let shape = |rows, columns| Some(Shape { rows, columns });
        let of = |kind, rows, tied| Shape::of(&layer(kind, rows, 4096, tied));
        assert_eq!(of(LayerKind::FeedForwardUp, 512, false), shape(512, 4096));
        assert_eq!(of(LayerKind::Output, 150_000, false), shape(4096, 4096));
        assert_eq!(of(LayerKind::TokenEmbedding, 512, false), None);
        assert_eq!(of(LayerKind::TokenEmbedding, 512, true), shape(512, 4096));
    }

    fn question() -> ProbeQuestion {
        ProbeQuestion {
            shapes: vec![
                Shape {
                    rows: 8,
                    columns: 32,
                },
                Shape {
                    rows: 8,
                    columns: 256,
                },
            ],
            precisions: vec![Precision::Q8_0, Precision::Q4K],
            few_rows: 1,
            many_rows: 128,
        }
    }

    fn time(median_ns: f64) -> ProductTime {
        let interval = Interval {
            low: median_ns,
            high: median_ns,
            confidence: 0.95,
        };
        ProductTime {
            median_ns,
            interval,
            ratio: 1.0,
            ratio_interval: Interval {
                low: 1.0,
                high: 1.0,
                ..interval
            },
            samples_ns: vec![100],
            warm_up_ns: 5,
            noisy: false,
        }
    }

    fn answer(times: f64) -> Probe {
        let products = question()
            .products()
            .map(|(shape, precision)| Product {
                shape,
                precision,
                result: ProductResult::Timed {
                    few_rows: time(times),
                    many_rows: time(100.0),
                },
            })
            .collect();
        Probe {
            products,
            environment: Environment::default(),
            duration_ns: 7,
        }
    }

    #[test]
    fn only_what_fits_is_asked() {
        assert_eq!(question().products().count(), 3);
    }

    #[test]
    fn an_answer_is_held_against_its_question() {
        assert_eq!(answer(100.0).problem(&question()), None);
        for impossible in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            let problem = answer(impossible).problem(&question()).unwrap();
            assert!(problem.contains("8×32 in q8_0: the time is"), "{problem}");
        }
        let mut short = answer(100.0);
        let last = short.products.pop().unwrap();
        let problem = short.problem(&question()).unwrap();
        assert!(
            problem.contains("8×256 in q4_k was asked and is not"),
            "{problem}"
        );
        let mut long = answer(100.0);
        long.products.push(last.clone());
        let problem = long.problem(&question()).unwrap();
        assert!(problem.contains("was not asked"), "{problem}");
        let mut other = answer(100.0);
        other.products[0] = last;
        let problem = other.problem(&question()).unwrap();
        assert!(problem.contains("8×32 in q8_0 was asked"), "{problem}");
        let mut hollow = answer(100.0);
        hollow.products[0].result = ProductResult::Infeasible {
            reason: " ".to_owned(),
        };
        assert!(
            hollow
                .problem(&question())
                .unwrap()
                .contains("without a reason")
        );
    }

    #[test]
    fn the_rows_are_those_of_the_workloads() {
        let spec = crate::ModelSpec {
            layers: Vec::new(),
            ..crate::spec::tests::spec()
        };
        let rows = |names: &[&str]| {
            let workloads: Vec<_> = names.iter().map(|name| name.parse().unwrap()).collect();
            let question = ProbeQuestion::new(&spec, &[], &workloads);
            (question.few_rows, question.many_rows)
        };
        assert_eq!(rows(&["prefill@64", "decode@8x8"]), (1, 64));
        assert_eq!(rows(&["prefill@64b8", "decode@8x8b4"]), (4, 512));
        assert_eq!(rows(&["decode@8x8b4", "prefill@64b64"]), (4, 1024));
        assert_eq!(rows(&["prefill@2048b2"]), (1, 2048));
        assert_eq!(rows(&[]), (1, 128));
    }

    #[test]
    fn what_was_stored_when_one_row_was_the_only_number_reads_as_such() {
        let mut stored = serde_json::to_value(question()).unwrap();
        stored.as_object_mut().unwrap().remove("few_rows").unwrap();
        let read: ProbeQuestion = serde_json::from_value(stored).unwrap();
        assert_eq!(read, question());

        let stored = serde_json::to_string(&answer(100.0)).unwrap();
        let stored = stored.replace("few_rows", "one_row");
        assert_eq!(
            serde_json::from_str::<Probe>(&stored).unwrap(),
            answer(100.0)
        );
    }

    #[test]
    fn another_question_has_another_digest() {
        let mut other = question();
        other.many_rows = 64;
        assert_ne!(other.digest(), question().digest());
        other = question();
        other.few_rows = 4;
        assert_ne!(other.digest(), question().digest());
        other = question();
        other.shapes.pop();
        assert_ne!(other.digest(), question().digest());
    }
}
