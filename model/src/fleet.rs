//! One plan for several hardware profiles.

use crate::{HardwareProfile, ModelSpec, Objective, Plan, Subject};

/// Of the plans that keep the limits on all of several hardware profiles, the one whose largest
/// [regret](Regret) is least: nobody in the fleet is left far behind what it could have.
///
/// Minimax regret, after Savage, "The theory of statistical decision", 1951.
#[derive(Debug, Clone, PartialEq)]
pub struct FleetPick {
    /// The figure that regrets are of.
    pub by: Objective,
    /// The plan.
    pub plan: Plan,
    /// Exact bytes of all weights.
    pub size_bytes: u64,
    /// Mean bits per weight over the layers.
    pub bits_per_weight: f64,
    /// Figures are what is believed of plans, measured there or not; otherwise what the searches
    /// measured, of plans that were measured on all the profiles.
    pub is_predicted: bool,
    /// Plans that keep the limits on all the profiles, this one included.
    pub compared: u64,
    /// One a hardware profile, the largest first.
    pub regrets: Vec<Regret>,
    /// The model.
    pub spec: ModelSpec,
    /// What was measured, the same on all the profiles.
    pub subject: Subject,
}

/// What one hardware profile gives up by the plan of the fleet.
#[derive(Debug, Clone, PartialEq)]
pub struct Regret {
    /// The hardware profile.
    pub hardware_profile: HardwareProfile,
    /// The names of its devices.
    pub devices: Vec<String>,
    /// The plan of the fleet there.
    pub fleet: Standing,
    /// The best plan of this profile alone within the same limits.
    pub own: Standing,
}

/// A plan on one hardware profile.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// The search that its figures are of.
    pub search: i64,
    /// The candidate that it is there; none where it was not measured there.
    pub candidate: Option<i64>,
    /// Mean KL divergence in nats.
    pub kld: f64,
    /// Median time of one decode step in nanoseconds.
    pub decode_ns: f64,
    /// Median time of one prefill in nanoseconds.
    pub prefill_ns: f64,
    /// Exact bytes of all weights.
    pub size_bytes: u64,
}

impl Standing {
    /// One figure; none that is no objective.
    pub fn figure(&self, figure: Objective) -> Option<f64> {
        match figure {
            Objective::Kld => Some(self.kld),
            Objective::Decode => Some(self.decode_ns),
            Objective::Prefill => Some(self.prefill_ns),
            Objective::Size => Some(self.size_bytes as f64),
            Objective::Mismatch => None,
        }
    }
}

impl Regret {
    /// By which share of the profile's own best the fleet's plan is worse: 0 where it is the best
    /// itself. Never below 0. Infinite where it has a loss and the best has none.
    pub fn share(&self, by: Objective) -> f64 {
        match (self.fleet.figure(by), self.own.figure(by)) {
            (Some(fleet), Some(own)) => share(fleet, own),
            _ => 0.0,
        }
    }
}

/// By which share a figure exceeds the best one.
pub fn share(figure: f64, best: f64) -> f64 {
    if figure <= best {
        return 0.0;
    }
    // A division by zero is infinite here, which is what it means.
    figure / best - 1.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_regret_is_a_share_of_the_best() {
        assert_eq!(share(1.5, 1.0), 0.5);
        assert_eq!(share(1.0, 1.0), 0.0);
        assert_eq!(share(0.9, 1.0), 0.0);
        assert_eq!(share(0.0, 0.0), 0.0);
        assert_eq!(share(0.1, 0.0), f64::INFINITY);
    }
}
