//! What a model of the figures believes of plans, measured or not.

use crate::{
    FrontPoint, HardwareProfile, Interval, ModelSpec, Objective, Plan, SharedPlans, Subject,
};

/// Standard deviations on either side of a value that hold 95 % of a normal distribution.
const WIDTH: f64 = 1.959_964;

/// Deviations beyond which a measured figure is far from what is believed of it.
const FAR: f64 = 3.0;

/// What is believed of one figure of a plan.
///
/// The logarithm of a divergence or of a mismatch is what is modelled, so its deviations are those
/// of the natural logarithm: near a share of the value where they are small. Those of a time are
/// nanoseconds. A size is known exactly.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Believed {
    /// Which figure.
    pub figure: Objective,
    /// Nats, nanoseconds, bytes or a share of positions.
    pub value: f64,
    /// How far what the layers add up to may be off: a standard deviation.
    pub deviation: f64,
    /// How far a single measurement lies from that, in the same way: noise, and what layers do to
    /// each other.
    pub scatter: f64,
    /// What the search measured of it, in the unit of the value; none where it did not.
    pub measured: Option<f64>,
}

impl Believed {
    /// Where a measurement is expected to lie, in 95 of 100 cases.
    pub fn interval(&self) -> Interval {
        let reach = WIDTH * self.spread();
        let (low, high) = match self.figure {
            Objective::Kld | Objective::Mismatch => {
                (self.value * (-reach).exp(), self.value * reach.exp())
            }
            Objective::Decode | Objective::Prefill | Objective::Size => {
                (self.value - reach, self.value + reach)
            }
        };
        Interval {
            low,
            high,
            confidence: 0.95,
        }
    }

    /// The measured figure, where it lies more than three deviations from what is believed of it.
    pub fn far(&self) -> Option<f64> {
        let measured = self.measured?;
        let away = match self.figure {
            Objective::Kld | Objective::Mismatch => (measured / self.value).ln(),
            Objective::Decode | Objective::Prefill | Objective::Size => measured - self.value,
        };
        (away.abs() > FAR * self.spread()).then_some(measured)
    }

    /// One standard deviation of a measurement, in the unit of the deviations.
    pub fn spread(&self) -> f64 {
        self.deviation.hypot(self.scatter)
    }
}

/// What the model's predictions of 16 candidates were worth.
#[derive(Debug, Clone, PartialEq)]
pub struct Check {
    /// Candidates before them, which the model had learned from.
    pub candidates: u64,
    /// For every figure that is modelled.
    pub ranks: Vec<Rank>,
    /// Some figure ranked below 0.5 in these candidates and in those before them, so every second
    /// proposal that follows is a child by plain evolution.
    pub is_distrusted: bool,
}

/// How well predictions of one figure rank.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rank {
    /// Which figure.
    pub figure: Objective,
    /// Kendall's rank correlation between prediction and measurement, from -1 to 1; none where the
    /// figure is known exactly or too few pairs of plans differ beyond the noise.
    pub correlation: Option<f64>,
}

/// The plan that is expected to be best under limits, from what one search measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Prediction {
    /// The search that was learned from.
    pub search: i64,
    /// Its candidates with figures, all learned from.
    pub measured: u64,
    /// What its siblings measured beside, learned from too.
    pub shared: SharedPlans,
    /// The plan.
    pub plan: Plan,
    /// The candidate that it is, where it is measured.
    pub candidate: Option<i64>,
    /// Exact bytes of all weights.
    pub size_bytes: u64,
    /// Mean bits per weight over the layers.
    pub bits_per_weight: f64,
    /// What is believed of its figures: divergence, decode step, prefill, size, mismatch.
    pub figures: Vec<Believed>,
    /// The measured plan of the search that is best under the same limits or, where none keeps
    /// them, exceeds them least by the sum of the shares. Its place on the front is not told.
    pub nearest: FrontPoint,
    /// Whether that one keeps the limits.
    pub nearest_keeps: bool,
    /// The hardware profile that times hold for.
    pub hardware_profile: HardwareProfile,
    /// The model.
    pub spec: ModelSpec,
    /// What was measured.
    pub subject: Subject,
}

impl Prediction {
    /// What is believed of one figure.
    pub fn figure(&self, figure: Objective) -> Option<&Believed> {
        self.figures
            .iter()
            .find(|believed| believed.figure == figure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn believed(figure: Objective) -> Believed {
        Believed {
            figure,
            value: 2.0,
            deviation: 0.3,
            scatter: 0.4,
            measured: None,
        }
    }

    #[test]
    fn the_interval_of_a_divergence_is_a_ratio_and_that_of_a_time_a_difference() {
        let ratio = believed(Objective::Kld).interval();
        assert!((ratio.high / 2.0 - 0.979_982_f64.exp()).abs() < 1e-9);
        assert!((ratio.low * ratio.high - 4.0).abs() < 1e-9);
        let difference = believed(Objective::Decode).interval();
        assert!((difference.high - 2.979_982).abs() < 1e-9);
        assert!((difference.low + difference.high - 4.0).abs() < 1e-9);
    }

    #[test]
    fn a_figure_is_far_beyond_three_deviations() {
        for (figure, near, far) in [
            (Objective::Kld, 2.0 * 1.49_f64.exp(), 2.0 * 1.51_f64.exp()),
            (
                Objective::Kld,
                2.0 * (-1.49_f64).exp(),
                2.0 * (-1.51_f64).exp(),
            ),
            (Objective::Decode, 3.49, 3.51),
            (Objective::Prefill, 0.51, 0.49),
        ] {
            let of = |measured| Believed {
                measured: Some(measured),
                ..believed(figure)
            };
            assert_eq!(of(near).far(), None, "{figure} {near}");
            assert_eq!(of(far).far(), Some(far), "{figure} {far}");
        }
        assert_eq!(believed(Objective::Kld).far(), None, "nothing is measured");
        let exact = Believed {
            deviation: 0.0,
            scatter: 0.0,
            measured: Some(2.0),
            ..believed(Objective::Size)
        };
        assert_eq!(exact.far(), None);
    }
}
