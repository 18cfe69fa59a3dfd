//! What is believed of a plan's figures before anything was measured: the laws of the figures, and
//! guesses of what every layer adds at every precision.
//!
//! Only ratios matter, and a strategy corrects them by what it measures. The loss of a layer is
//! what it loses alone, where that was measured; otherwise it is guessed as the square root of its
//! weights times the mean square of the rounding errors of its precision, which the divergence
//! grows with. The time of a layer is that of its product in the device's probe; without one, the
//! bytes that are read.

use std::collections::HashMap;

use bitfront_model::{
    Answer, Layer, LayerKind, Limits, ModelSpec, Objective, Precision, Probe, ProductTime,
    QuestionStanding, SearchRequest, Sensitivity, Shape,
};
use bitfront_search::problem::{Law, Limited, Problem, ProblemError, Table};

use crate::evaluation::{limit_of, limited, scaled};
use crate::space::SearchSpace;
use crate::store::{Binding, Store, StoreError};

/// The share of its bytes that a looked-up embedding costs a token: a row of it is read.
const LOOKED_UP: f64 = 1e-3;

/// What was asked before a search was bound, as far as there is an answer.
#[derive(Debug, Clone, Default)]
pub(crate) struct Known {
    /// How long products take on its device.
    pub(crate) probe: Option<Probe>,
    /// What its model's layers lose alone.
    pub(crate) sensitivity: Option<Sensitivity>,
}

/// A question that a binding names and that has no answer; what the binding was made with is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it was bound with the answer to question {question}, which has none")]
pub(crate) struct Unanswered {
    question: i64,
}

impl Known {
    /// What a binding was made with.
    pub(crate) async fn of(
        store: &dyn Store,
        binding: &Binding,
    ) -> Result<Result<Self, Unanswered>, StoreError> {
        let mut known = Self::default();
        for question in [binding.probe, binding.sensitivity].into_iter().flatten() {
            let asked = store.question(question).await?;
            match asked.map(|asked| asked.standing) {
                Some(QuestionStanding::Done(answer)) => match *answer {
                    Answer::Probe(probe) => known.probe = Some(probe),
                    Answer::Sensitivity(sensitivity) => known.sensitivity = Some(sensitivity),
                },
                _ => return Ok(Err(Unanswered { question })),
            }
        }
        Ok(Ok(known))
    }
}

/// The problem that a request poses over a space, with what is known of its device and its model.
pub(crate) fn problem(
    space: &SearchSpace,
    request: &SearchRequest,
    known: &Known,
) -> Result<Problem, ProblemError> {
    let SearchRequest {
        spec,
        objectives,
        limits,
        ..
    } = request;
    let worst = objectives.iter().map(|&objective| worst(limits, objective));
    let laws = objectives
        .iter()
        .map(|&objective| law(space, spec, known, objective));
    let limited = limited(objectives, limits).map(|(figure, limit)| Limited {
        law: law(space, spec, known, figure),
        limit: scaled(figure, limit),
    });
    Problem::new(space.as_numbers().clone(), laws.collect())?
        .with_worst(worst.collect())?
        .with_limited(limited.collect())
}

/// The least value of an objective that breaks its limit, as it is told.
fn worst(limits: &Limits, objective: Objective) -> Option<f64> {
    Some(scaled(objective, limit_of(limits, objective)?).next_up())
}

/// How a figure depends on a genome, as it is told.
pub(crate) fn law(space: &SearchSpace, spec: &ModelSpec, known: &Known, figure: Objective) -> Law {
    let time = |of: Figure| {
        let times = Times {
            probe: known.probe.as_ref(),
            of,
        };
        let nanoseconds_per_byte = times.per_byte();
        Law::Time(Table::new(space.sums(spec, |layer, precision| {
            times.guess(layer, precision, nanoseconds_per_byte)
        })))
    };
    match figure {
        // What the rounding of a layer does to the logits is behind both: the square of the
        // mismatch is guessed to be as the divergence, and only ratios matter.
        Objective::Kld | Objective::Mismatch => {
            let losses = Losses::new(spec, known.sensitivity.as_ref());
            Law::LogSum(Table::new(
                space.sums(spec, |layer, precision| losses.guess(layer, precision)),
            ))
        }
        Objective::Decode => time(|(few_rows, _)| few_rows.median_ns),
        Objective::Prefill => time(|(_, many_rows)| many_rows.median_ns),
        Objective::Size => Law::Exact {
            constant: spec.fixed_bytes as f64,
            table: Table::new(space.sums(spec, bytes)),
        },
    }
}

/// Guesses of losses.
struct Losses<'a> {
    /// In nats, by the layer's name and its precision.
    alone: HashMap<(&'a str, Precision), f64>,
    /// Nats for one of [`by_rounding`]; 1 where nothing is known, which makes that the unit.
    scale: f64,
}

impl<'a> Losses<'a> {
    /// A loss that is no more than the rounding of floats in the runtime, and so may come out
    /// negative, is none that is known.
    fn new(spec: &'a ModelSpec, sensitivity: Option<&Sensitivity>) -> Self {
        let swaps = sensitivity.iter().flat_map(|it| &it.swaps);
        let (mut alone, mut ratios) = (HashMap::new(), Vec::new());
        for swap in swaps {
            if let Some(layer) = spec.layers.get(swap.layer)
                && let Some(kld) = swap.kld().filter(|kld| *kld > 0.0)
            {
                alone.insert((layer.name.as_str(), swap.precision), kld);
                ratios.push(kld / by_rounding(layer, swap.precision));
            }
        }
        Self {
            alone,
            scale: median(ratios).unwrap_or(1.0),
        }
    }

    fn guess(&self, layer: &Layer, precision: Precision) -> f64 {
        let alone = self.alone.get(&(layer.name.as_str(), precision));
        let by_rounding = || by_rounding(layer, precision) * self.scale;
        alone.copied().unwrap_or_else(by_rounding)
    }
}

/// The upper one of two middle values.
fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

fn by_rounding(layer: &Layer, precision: Precision) -> f64 {
    let weights = layer.rows as f64 * layer.columns as f64;
    weights.sqrt() * precision.rounding_error()
}

/// One of the two times of a product.
type Figure = fn((&ProductTime, &ProductTime)) -> f64;

/// Guesses of times from a probe.
struct Times<'a> {
    probe: Option<&'a Probe>,
    of: Figure,
}

impl Times<'_> {
    /// Nanoseconds for a byte, over all products of the probe; 1 without one, which makes bytes
    /// the unit.
    fn per_byte(&self) -> f64 {
        let products = self.probe.iter().flat_map(|probe| &probe.products);
        let (mut time, mut read) = (0.0, 0.0);
        for product in products {
            let Some(times) = product.times() else {
                continue;
            };
            let Shape { rows, columns } = product.shape;
            time += (self.of)(times);
            read += product.precision.bytes(rows, columns).unwrap_or(0) as f64;
        }
        if read > 0.0 { time / read } else { 1.0 }
    }

    fn guess(&self, layer: &Layer, precision: Precision, per_byte: f64) -> f64 {
        let by_bytes = bytes(layer, precision) * per_byte;
        if layer.kind == LayerKind::TokenEmbedding && !layer.tied {
            return by_bytes * LOOKED_UP;
        }
        self.probed(layer, precision).unwrap_or(by_bytes)
    }

    /// The time of the layer's product. Where only some of its rows were timed, the others take as
    /// long.
    fn probed(&self, layer: &Layer, precision: Precision) -> Option<f64> {
        let shape = Shape::of(layer)?;
        let times = self.probe?.product(shape, precision)?.times()?;
        Some((self.of)(times) * layer.rows as f64 / shape.rows as f64)
    }
}

fn bytes(layer: &Layer, precision: Precision) -> f64 {
    precision.bytes(layer.rows, layer.columns).unwrap_or(0) as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::SwapResult;

    use super::*;
    use crate::fixtures;

    fn layer(kind: LayerKind, rows: u64) -> Layer {
        Layer {
            kind,
            rows,
            ..fixtures::spec().layers.pop().unwrap()
        }
    }

    fn guess(probe: Option<&Probe>, layer: &Layer, precision: Precision) -> [f64; 2] {
        let figures: [Figure; 2] = [
            |(few_rows, _)| few_rows.median_ns,
            |(_, many_rows)| many_rows.median_ns,
        ];
        figures.map(|of| {
            let times = Times { probe, of };
            times.guess(layer, precision, times.per_byte())
        })
    }

    #[test]
    fn the_guess_of_a_time_follows_the_probe_where_there_is_one() {
        let probe = fixtures::probe(&fixtures::probe_question());
        let output = layer(LayerKind::Output, 320);
        let shape = Shape::of(&output).unwrap();
        for precision in Precision::ALL {
            let product = probe.product(shape, precision).unwrap();
            let (few_rows, many_rows) = product.times().unwrap();
            let expected = [few_rows.median_ns, many_rows.median_ns];
            assert_eq!(guess(Some(&probe), &output, precision), expected);
            // Without it, bytes are all that is known.
            let bytes = bytes(&output, precision);
            assert_eq!(guess(None, &output, precision), [bytes; 2]);
        }
        // The device is slow at q5_0, which its bits do not tell.
        let [slow, _] = guess(Some(&probe), &output, Precision::Q5_0);
        let [fast, _] = guess(Some(&probe), &output, Precision::Q8_0);
        assert!(slow > 5.0 * fast);
    }

    #[test]
    fn what_was_not_probed_is_guessed_by_its_bytes_in_the_same_unit() {
        let probe = fixtures::probe(&fixtures::probe_question());
        let output = layer(LayerKind::Output, 320);
        let other = layer(LayerKind::Output, 321);
        let embedding = layer(LayerKind::TokenEmbedding, 320);
        for precision in [Precision::F32, Precision::Q4K] {
            let [known, _] = guess(Some(&probe), &output, precision);
            let [unknown, _] = guess(Some(&probe), &other, precision);
            let ratio = unknown / known;
            assert!((0.2..5.0).contains(&ratio), "{precision}: {ratio}");
            let [looked_up, _] = guess(Some(&probe), &embedding, precision);
            assert!(looked_up < known / 100.0);
        }
    }

    /// A request over the fixtures' model with what its layers lose alone, changed.
    fn losses(change: impl Fn(&mut bitfront_model::Swap)) -> (ModelSpec, Sensitivity) {
        let question = fixtures::sensitivity_question();
        let mut sensitivity = fixtures::sensitivity(&question);
        sensitivity.swaps.iter_mut().for_each(change);
        (question.spec, sensitivity)
    }

    #[test]
    fn the_guess_of_a_loss_is_what_the_layer_loses_alone_where_that_is_known() {
        let (spec, sensitivity) = losses(|swap| {
            let kld = (1 + swap.layer) as f64;
            swap.result = SwapResult::Scored {
                kld_windows: vec![0.5 * kld, 1.5 * kld],
            };
        });
        let losses = Losses::new(&spec, Some(&sensitivity));
        for swap in &sensitivity.swaps {
            let guess = losses.guess(&spec.layers[swap.layer], swap.precision);
            assert_eq!(guess, (1 + swap.layer) as f64, "the mean over the windows");
        }
        let without = Losses::new(&spec, None);
        let layer = &spec.layers[0];
        let guess = without.guess(layer, Precision::Q4K);
        assert_eq!(guess, by_rounding(layer, Precision::Q4K));
    }

    /// Layers lose a thousand times what their rounding errors tell, one of them ten times that.
    #[test]
    fn what_is_not_known_of_a_layer_is_guessed_in_the_unit_of_the_others() {
        let spec = fixtures::spec();
        let (_, sensitivity) = losses(|swap| {
            let rounding = by_rounding(&spec.layers[swap.layer], swap.precision);
            let kld = match swap.layer {
                0 => 1e4 * rounding,
                _ => 1e3 * rounding,
            };
            let kld_windows = vec![kld; 2];
            swap.result = match (swap.layer, swap.precision) {
                (1, Precision::Q4K) => SwapResult::Infeasible {
                    reason: "not finite".to_owned(),
                },
                (1, Precision::Q8_0) => SwapResult::Scored {
                    kld_windows: vec![-1e-9, 1e-10],
                },
                _ => SwapResult::Scored { kld_windows },
            };
        });
        let losses = Losses::new(&spec, Some(&sensitivity));
        let layer = &spec.layers[1];
        for missing in [Precision::Q4K, Precision::Q8_0, Precision::F32] {
            let ratio = losses.guess(layer, missing) / by_rounding(layer, missing);
            assert!((ratio / 1e3 - 1.0).abs() < 1e-9, "{missing}: {ratio}");
        }
    }

    #[test]
    fn a_large_matrix_takes_as_long_as_all_its_rows() {
        let large = Layer {
            columns: 4096,
            ..layer(LayerKind::Output, 40_960)
        };
        let shape = Shape::of(&large).unwrap();
        let question = bitfront_model::ProbeQuestion {
            shapes: vec![shape],
            ..fixtures::probe_question()
        };
        let probe = fixtures::probe(&question);
        let product = probe.product(shape, Precision::Q4K).unwrap();
        let [time, _] = guess(Some(&probe), &large, Precision::Q4K);
        assert_eq!(time, 10.0 * product.times().unwrap().0.median_ns);
    }
}
