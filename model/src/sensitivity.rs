//! What each layer loses alone: one layer in one precision, all others as in the source.

use serde::{Deserialize, Serialize};

use crate::{
    Digest, Environment, Layer, ModelSpec, Plan, PlanError, Precision, SearchRequest, Subject,
    stages,
};

/// What a sensitivity asks for: the loss of every swap on the first windows of a text.
///
/// A *swap* is the plan that holds one layer in one precision and every other layer as the source
/// does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SensitivityQuestion {
    /// The model, the text and the imatrix.
    pub subject: Subject,
    /// The model's layers, in the order that swaps name them by.
    pub spec: ModelSpec,
    /// What layers are swapped to, where it fits and is not what the source holds.
    pub precisions: Vec<Precision>,
    /// Windows that every swap is scored on: the first ones in the order of scoring.
    pub windows: u32,
}

impl SensitivityQuestion {
    /// Windows that every swap is scored on, where the text has so many. Two order the layers
    /// almost as all do; docs/searching.md has the figures.
    pub const WINDOWS: u32 = 2;

    /// The question that a search poses in a numerics class: its precisions, as far as they are
    /// executed there, on [`Self::WINDOWS`] windows of its text.
    pub fn new(
        subject: &Subject,
        spec: &ModelSpec,
        searched: &[Precision],
        executed: &[Precision],
    ) -> Self {
        Self {
            subject: subject.clone(),
            spec: spec.clone(),
            precisions: Precision::ALL
                .into_iter()
                .filter(|precision| searched.contains(precision) && executed.contains(precision))
                .collect(),
            windows: subject.data.evaluation_windows.min(Self::WINDOWS),
        }
    }

    /// The question that a request poses in a numerics class that executes these precisions.
    pub fn of(request: &SearchRequest, executed: &[Precision]) -> Self {
        Self::new(
            &request.subject,
            &request.spec,
            &request.precisions,
            executed,
        )
    }

    /// Every swap that is asked for, by its layer's position and its precision: layer after layer
    /// in the order of the model, and within one in the order of the precisions.
    pub fn swaps(&self) -> impl DoubleEndedIterator<Item = (usize, Precision)> + '_ {
        self.spec
            .layers
            .iter()
            .enumerate()
            .flat_map(|(index, layer)| {
                let asked = self.precisions.iter().copied();
                asked
                    .filter(|&precision| is_swap(layer, precision))
                    .map(move |precision| (index, precision))
            })
    }

    /// The plan of a swap.
    ///
    /// # Errors
    ///
    /// The precision does not fit the layer.
    pub fn plan(&self, (swapped, precision): (usize, Precision)) -> Result<Plan, PlanError> {
        let layers = self.spec.layers.iter().enumerate();
        let precisions = layers.map(|(index, layer)| match index == swapped {
            true => precision,
            false => layer.source,
        });
        Plan::new(&self.spec, precisions.collect())
    }

    /// The windows that every swap is scored on, by their places in the text.
    pub fn places(&self) -> Vec<usize> {
        let mut places = stages::order(self.subject.data.evaluation_windows as usize);
        places.truncate(self.windows as usize);
        places
    }

    /// The question's name by content: searches over one model, text, imatrix and choice of
    /// precisions share it.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder()
            .part("sensitivity")
            .part(self.subject.digest().to_string())
            .part(self.windows.to_string())
            .part("layers");
        for layer in &self.spec.layers {
            digest.add(&layer.name);
        }
        digest.add("precisions");
        for precision in &self.precisions {
            digest.add(precision.name());
        }
        digest.finish()
    }
}

fn is_swap(layer: &Layer, precision: Precision) -> bool {
    precision != layer.source && precision.fits(layer.columns)
}

/// What came of one swap.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "result")]
pub enum SwapResult {
    /// It was scored.
    Scored {
        /// Mean KL divergence to the unquantized model in nats, for each of
        /// [`SensitivityQuestion::places`].
        kld_windows: Vec<f64>,
    },
    /// The runtime cannot hold the layer in this precision, or gives values with it that are not
    /// finite.
    Infeasible {
        /// Why, for people.
        reason: String,
    },
}

/// One layer in one precision, all others as in the source.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Swap {
    /// The layer's position in the model spec.
    pub layer: usize,
    /// How it was held.
    pub precision: Precision,
    /// What came of it.
    pub result: SwapResult,
}

impl Swap {
    /// Mean KL divergence over the windows in nats, where it was scored. That of a swap that loses
    /// next to nothing may come out negative, by the rounding of the runtime's floats.
    pub fn kld(&self) -> Option<f64> {
        match &self.result {
            SwapResult::Scored { kld_windows } => {
                Some(kld_windows.iter().sum::<f64>() / kld_windows.len() as f64)
            }
            SwapResult::Infeasible { .. } => None,
        }
    }
}

/// The answer to a [`SensitivityQuestion`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sensitivity {
    /// In the order of [`SensitivityQuestion::swaps`].
    pub swaps: Vec<Swap>,
    /// What the device was like.
    pub environment: Environment,
    /// Time that all swaps took together, in nanoseconds.
    pub duration_ns: u64,
}

impl Sensitivity {
    /// What keeps it from being the answer to a question, if anything does: swaps that were not
    /// asked for or are missing, and losses that no swap can have.
    pub fn problem(&self, question: &SensitivityQuestion) -> Option<String> {
        let name = |(layer, precision): (usize, Precision)| match question.spec.layers.get(layer) {
            Some(layer) => format!("`{}` in {precision}", layer.name),
            None => format!("layer {layer} in {precision}"),
        };
        let mut asked = question.swaps();
        for swap in &self.swaps {
            let answered = (swap.layer, swap.precision);
            match asked.next() {
                Some(next) if next == answered => {}
                Some(next) => {
                    return Some(format!(
                        "{} is answered, {} was asked",
                        name(answered),
                        name(next)
                    ));
                }
                None => return Some(format!("{} is answered and was not asked", name(answered))),
            }
            if let Some(problem) = swap.result.problem(question.windows as usize) {
                return Some(format!("{}: {problem}", name(answered)));
            }
        }
        let missing = asked.next()?;
        Some(format!("{} was asked and is not answered", name(missing)))
    }
}

impl SwapResult {
    fn problem(&self, windows: usize) -> Option<String> {
        match self {
            Self::Infeasible { reason } => reason
                .trim()
                .is_empty()
                .then(|| "it is infeasible without a reason".to_owned()),
            Self::Scored { kld_windows } if kld_windows.len() != windows => Some(format!(
                "{} windows were scored, {windows} were to be",
                kld_windows.len()
            )),
            Self::Scored { kld_windows } => kld_windows
                .iter()
                .find(|kld| !kld.is_finite())
                .map(|kld| format!("a divergence is {kld}")),
        }
    }
}

/// The sensitivity that a search takes its guesses from.
#[derive(Debug, Clone, PartialEq)]
pub struct SearchSensitivity {
    /// The search's number.
    pub search: i64,
    /// What was asked.
    pub question: SensitivityQuestion,
    /// What was answered, maybe for an earlier search.
    pub sensitivity: Sensitivity,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::spec::tests::spec;
    use crate::{DataSpec, ImatrixSource, Manifest, ModelSource};

    fn subject() -> Subject {
        Subject {
            model: ModelSource {
                path: "/models/tiny".to_owned(),
                tokenizer_path: None,
                digest: Digest::of("tiny"),
            },
            data: DataSpec {
                evaluation_path: "/texts/evaluation.txt".to_owned(),
                calibration_path: None,
                context: 64,
                evaluation_windows: 8,
                calibration_windows: 0,
                evaluation_digest: Digest::of("evaluation"),
                calibration_digest: Digest::of("calibration"),
                held_back: None,
            },
            imatrix: ImatrixSource::None,
            manifest: Manifest::default(),
        }
    }

    fn question() -> SensitivityQuestion {
        let precisions = [Precision::Q4K, Precision::Q8_0, Precision::F16];
        SensitivityQuestion::new(&subject(), &spec(), &precisions, &Precision::ALL)
    }

    fn answer(kld: f64) -> Sensitivity {
        let question = question();
        let swaps = question.swaps().map(|(layer, precision)| Swap {
            layer,
            precision,
            result: SwapResult::Scored {
                kld_windows: vec![kld; question.windows as usize],
            },
        });
        Sensitivity {
            swaps: swaps.collect(),
            environment: Environment::default(),
            duration_ns: 7,
        }
    }

    #[test]
    fn every_layer_is_swapped_to_what_fits_it_and_is_not_its_source() {
        let question = question();
        let names: Vec<_> = question.precisions.iter().map(|it| it.name()).collect();
        assert_eq!(names, ["f16", "q8_0", "q4_k"]);
        let mut swaps = 0;
        for (index, layer) in question.spec.layers.iter().enumerate() {
            let of_layer = question.swaps().filter(|(swapped, _)| *swapped == index);
            for (_, precision) in of_layer {
                assert!(precision.fits(layer.columns) && precision != layer.source);
                let plan = question.plan((index, precision)).unwrap();
                let unlike = plan.precisions().iter().zip(&question.spec.layers);
                let unlike = unlike.filter(|(precision, layer)| **precision != layer.source);
                assert_eq!(unlike.count(), 1);
                assert_eq!(plan.precisions()[index], precision);
                swaps += 1;
            }
        }
        assert_eq!(swaps, question.swaps().count());
        assert!(swaps > 0);
    }

    #[test]
    fn only_what_is_executed_is_asked_on_the_windows_that_there_are() {
        let mut short = subject();
        let few = SensitivityQuestion::new(&short, &spec(), &Precision::ALL, &[Precision::Q8_0]);
        assert_eq!(few.precisions, [Precision::Q8_0]);
        assert_eq!(few.windows, 2);
        let order = stages::order(short.data.evaluation_windows as usize);
        assert_eq!(few.places(), order[..2]);
        short.data.evaluation_windows = 1;
        let few = SensitivityQuestion::new(&short, &spec(), &Precision::ALL, &Precision::ALL);
        assert_eq!((few.windows, few.places()), (1, vec![0]));
    }

    #[test]
    fn an_answer_is_held_against_its_question() {
        assert_eq!(answer(0.1).problem(&question()), None);
        assert_eq!(answer(-1e-9).problem(&question()), None, "rounding");
        let refused = |change: fn(&mut Sensitivity), expected: &str| {
            let mut answer = answer(0.1);
            change(&mut answer);
            let problem = answer.problem(&question()).unwrap();
            assert!(problem.contains(expected), "{problem}");
        };
        refused(
            |answer| drop(answer.swaps.pop()),
            "was asked and is not answered",
        );
        refused(
            |answer| answer.swaps.push(answer.swaps[0].clone()),
            "is answered and was not asked",
        );
        refused(|answer| drop(answer.swaps.remove(0)), "is answered, `");
        refused(|answer| answer.swaps[0].layer = 99, "layer 99 in");
        fn result(answer: &mut Sensitivity, kld_windows: Vec<f64>) {
            answer.swaps[1].result = SwapResult::Scored { kld_windows };
        }
        refused(
            |answer| result(answer, vec![0.1, f64::NAN]),
            "a divergence is NaN",
        );
        refused(
            |answer| result(answer, vec![0.1]),
            "1 windows were scored, 2 were to be",
        );
        refused(
            |answer| {
                let reason = " ".to_owned();
                answer.swaps[0].result = SwapResult::Infeasible { reason };
            },
            "without a reason",
        );
    }

    #[test]
    fn another_question_has_another_digest_and_a_moved_file_has_not() {
        let changed = |change: fn(&mut SensitivityQuestion)| {
            let mut question = question();
            change(&mut question);
            question.digest()
        };
        let known = question().digest();
        assert_ne!(changed(|it| it.windows = 1), known);
        assert_ne!(changed(|it| it.precisions.truncate(1)), known);
        assert_ne!(changed(|it| drop(it.spec.layers.pop())), known);
        let text = |it: &mut SensitivityQuestion| {
            it.subject.data.evaluation_digest = Digest::of("another text");
        };
        assert_ne!(changed(text), known);
        let moved = |it: &mut SensitivityQuestion| it.subject.model.path = "/elsewhere".to_owned();
        assert_eq!(changed(moved), known);
    }
}
