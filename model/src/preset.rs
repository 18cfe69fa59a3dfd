//! The plans that are always in the race: every uniform plan, and llama.cpp's presets.

use std::fmt;

use crate::{ModelSpec, Plan, PlanError, Precision, preset_rules};

/// A mix of precisions that `llama-quantize` offers by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Preset {
    /// `Q2_K`
    Q2K,
    /// `Q3_K_S`
    Q3KS,
    /// `Q3_K_M`
    Q3KM,
    /// `Q4_K_S`
    Q4KS,
    /// `Q4_K_M`
    Q4KM,
    /// `Q5_K_M`
    Q5KM,
    /// `Q6_K`
    Q6K,
    /// `Q8_0`
    Q8_0,
}

impl Preset {
    /// Every preset, from small to large.
    pub const ALL: [Self; 8] = [
        Self::Q2K,
        Self::Q3KS,
        Self::Q3KM,
        Self::Q4KS,
        Self::Q4KM,
        Self::Q5KM,
        Self::Q6K,
        Self::Q8_0,
    ];

    /// llama.cpp's name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Q2K => "Q2_K",
            Self::Q3KS => "Q3_K_S",
            Self::Q3KM => "Q3_K_M",
            Self::Q4KS => "Q4_K_S",
            Self::Q4KM => "Q4_K_M",
            Self::Q5KM => "Q5_K_M",
            Self::Q6K => "Q6_K",
            Self::Q8_0 => "Q8_0",
        }
    }

    /// The plan that `llama-quantize` would make.
    pub fn plan(self, spec: &ModelSpec) -> Result<Plan, PlanError> {
        let precisions = spec
            .layers
            .iter()
            .map(|layer| preset_rules::precision(self, spec, layer))
            .collect();
        Plan::new(spec, precisions)
    }
}

impl fmt::Display for Preset {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

/// A plan that every search measures first, so that its answer is never worse than this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Baseline {
    /// Every layer in one precision.
    Uniform(Precision),
    /// What llama.cpp offers.
    Preset(Preset),
}

impl Baseline {
    /// The plan it stands for.
    pub fn plan(self, spec: &ModelSpec) -> Result<Plan, PlanError> {
        match self {
            Self::Uniform(precision) => Plan::uniform(spec, precision),
            Self::Preset(preset) => preset.plan(spec),
        }
    }

    /// Every baseline that the model's shapes allow with its plan, presets first: uniform plans
    /// over `precisions`, and all presets.
    pub fn all(spec: &ModelSpec, precisions: &[Precision]) -> Vec<(Self, Plan)> {
        let presets = Preset::ALL.into_iter().map(Self::Preset);
        let uniform = precisions.iter().copied().map(Self::Uniform);
        presets
            .chain(uniform)
            .filter_map(|baseline| Some((baseline, baseline.plan(spec).ok()?)))
            .collect()
    }

    /// The different plans among them with all names of each, in order. Several names may stand for
    /// one plan.
    pub fn named(spec: &ModelSpec, precisions: &[Precision]) -> Vec<(String, Plan)> {
        let mut named: Vec<(String, Plan)> = Vec::new();
        for (baseline, plan) in Self::all(spec, precisions) {
            match named.iter_mut().find(|(_, known)| *known == plan) {
                Some((names, _)) => *names = format!("{names}, {baseline}"),
                None => named.push((baseline.to_string(), plan)),
            }
        }
        named
    }
}

impl fmt::Display for Baseline {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uniform(precision) => formatter.pad(&format!("uniform {precision}")),
            Self::Preset(preset) => formatter.pad(preset.name()),
        }
    }
}
