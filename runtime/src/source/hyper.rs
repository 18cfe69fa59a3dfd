//! What the forward pass needs beside the weights.

use serde::Serialize;

/// What the forward pass needs beside the weights and beside the sizes in the model spec.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct HyperParameters {
    /// The epsilon of every RMS norm.
    pub norm_epsilon: f64,
    /// The base of the rotary position embedding's frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are changed for longer contexts.
    pub rope_scaling: RopeScaling,
    /// Width of one head; all of it is rotated.
    pub head_size: usize,
    /// Query heads.
    pub attention_heads: usize,
    /// Key and value heads.
    pub key_value_heads: usize,
    /// True where `attn_q.bias`, `attn_k.bias` and `attn_v.bias` exist.
    pub query_key_value_bias: bool,
    /// True where `attn_output.bias` exists.
    pub attention_output_bias: bool,
    /// True where every query and key head is normalised (`attn_q_norm`, `attn_k_norm`).
    pub query_key_norm: bool,
    /// True where the output head shares the embedding's weights.
    pub tied: bool,
    /// The token that begins a text, where the model names one.
    pub bos_token: Option<u32>,
    /// The tokens that end a text.
    pub eos_tokens: Vec<u32>,
}

/// How the rotary frequencies `theta^(-2i/head_size)` are changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "type")]
pub enum RopeScaling {
    /// Not at all.
    Default,
    /// Positions are divided by the factor.
    Linear {
        /// The divisor.
        factor: f64,
    },
    /// Llama 3.1's: low frequencies are divided by `factor`, high ones are kept, those between
    /// are interpolated.
    Llama3 {
        /// The divisor of the lowest frequencies.
        factor: f64,
        /// Wavelengths above `original_context / low_frequency_factor` are scaled.
        low_frequency_factor: f64,
        /// Wavelengths below `original_context / high_frequency_factor` are kept.
        high_frequency_factor: f64,
        /// The context of the first training.
        original_context: u64,
    },
    /// Each frequency is divided by its own factor (GGUF's `rope_freqs.weight`); `head_size / 2`
    /// factors.
    Factors {
        /// One divisor for every rotated pair.
        factors: Vec<f32>,
    },
}

impl RopeScaling {
    /// The rotary frequencies, `head_size / 2` of them, in radians per position.
    ///
    /// `Llama3` follows `_compute_llama3_parameters` of Hugging Face `transformers`.
    pub fn frequencies(&self, head_size: usize, theta: f64) -> Vec<f64> {
        let base = (0..head_size / 2)
            .map(|pair| theta.powf(-2.0 * pair as f64 / head_size as f64))
            .collect::<Vec<_>>();
        match self {
            Self::Default => base,
            Self::Linear { factor } => base.iter().map(|frequency| frequency / factor).collect(),
            Self::Factors { factors } => base
                .iter()
                .zip(factors)
                .map(|(frequency, &factor)| frequency / f64::from(factor))
                .collect(),
            Self::Llama3 { .. } => base
                .iter()
                .map(|&frequency| frequency / f64::from(self.llama3_factor(frequency)))
                .collect(),
        }
    }

    /// The divisors that llama.cpp's converter writes as `rope_freqs.weight`; none where the
    /// scaling is not expressed that way.
    pub fn factors(&self, head_size: usize, theta: f64) -> Option<Vec<f32>> {
        match self {
            Self::Default | Self::Linear { .. } => None,
            Self::Factors { factors } => Some(factors.clone()),
            Self::Llama3 { .. } => Some(
                Self::Default
                    .frequencies(head_size, theta)
                    .into_iter()
                    .map(|frequency| self.llama3_factor(frequency))
                    .collect(),
            ),
        }
    }

    /// True where the scaling is expressed as factors in GGUF files.
    pub(crate) fn is_factors(&self) -> bool {
        matches!(self, Self::Llama3 { .. } | Self::Factors { .. })
    }

    /// In single precision step by step, as `transformers` and llama.cpp's converter compute it:
    /// the factors in a file are theirs to the last bit.
    fn llama3_factor(&self, frequency: f64) -> f32 {
        let &Self::Llama3 {
            factor,
            low_frequency_factor,
            high_frequency_factor,
            original_context,
        } = self
        else {
            return 1.0;
        };
        let [factor, low, high] =
            [factor, low_frequency_factor, high_frequency_factor].map(|number| number as f32);
        let original_context = original_context as f32;
        let wavelength = 2.0 * std::f32::consts::PI / frequency as f32;
        if wavelength < original_context / high {
            1.0
        } else if wavelength > original_context / low {
            factor
        } else {
            let smooth = (original_context / wavelength - low) / (high - low);
            1.0 / ((1.0 - smooth) / factor + smooth)
        }
    }
}
