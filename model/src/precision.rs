//! One way to hold a layer.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// How the weights of one layer are stored and multiplied.
///
/// These are the ggml types that candle can both quantize and multiply; block sizes and bytes per
/// block are those of ggml's `ggml-common.h`, so that sizes are exact and files are llama.cpp's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(into = "&'static str", try_from = "String")]
pub enum Precision {
    /// 32-bit IEEE floating point.
    F32,
    /// 16-bit IEEE floating point.
    F16,
    /// Brain floating point: the upper half of an `f32`.
    Bf16,
    /// 8-bit, blocks of 32 with one `f16` scale.
    Q8_0,
    /// 6-bit K-quant, super-blocks of 256.
    Q6K,
    /// 5-bit, blocks of 32 with scale and minimum.
    Q5_1,
    /// 5-bit, blocks of 32 with one scale.
    Q5_0,
    /// 5-bit K-quant, super-blocks of 256.
    Q5K,
    /// 4-bit, blocks of 32 with scale and minimum.
    Q4_1,
    /// 4-bit, blocks of 32 with one scale.
    Q4_0,
    /// 4-bit K-quant, super-blocks of 256.
    Q4K,
    /// 3-bit K-quant, super-blocks of 256.
    Q3K,
    /// 2-bit K-quant, super-blocks of 256.
    Q2K,
}

/// The text names no precision.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown precision `{name}`; known are {}", Precision::names())]
pub struct UnknownPrecision {
    /// What was given.
    pub name: String,
}

impl Precision {
    /// Every precision, from most to fewest bits per weight.
    pub const ALL: [Self; 13] = [
        Self::F32,
        Self::F16,
        Self::Bf16,
        Self::Q8_0,
        Self::Q6K,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q5K,
        Self::Q4_1,
        Self::Q4_0,
        Self::Q4K,
        Self::Q3K,
        Self::Q2K,
    ];

    /// The name used in every interface: ggml's, in lower case.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q6K => "q6_k",
            Self::Q5_1 => "q5_1",
            Self::Q5_0 => "q5_0",
            Self::Q5K => "q5_k",
            Self::Q4_1 => "q4_1",
            Self::Q4_0 => "q4_0",
            Self::Q4K => "q4_k",
            Self::Q3K => "q3_k",
            Self::Q2K => "q2_k",
        }
    }

    /// Weights per block; a row must hold a whole number of blocks.
    pub fn block_size(self) -> u64 {
        match self {
            Self::F32 | Self::F16 | Self::Bf16 => 1,
            Self::Q8_0 | Self::Q5_1 | Self::Q5_0 | Self::Q4_1 | Self::Q4_0 => 32,
            Self::Q6K | Self::Q5K | Self::Q4K | Self::Q3K | Self::Q2K => 256,
        }
    }

    /// Bytes per block.
    pub fn block_bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
            Self::Q8_0 => 34,
            Self::Q6K => 210,
            Self::Q5_1 => 24,
            Self::Q5_0 => 22,
            Self::Q5K => 176,
            Self::Q4_1 => 20,
            Self::Q4_0 => 18,
            Self::Q4K => 144,
            Self::Q3K => 110,
            Self::Q2K => 84,
        }
    }

    /// Bits per weight, scales included.
    pub fn bits_per_weight(self) -> f64 {
        (self.block_bytes() * 8) as f64 / self.block_size() as f64
    }

    /// Mean square of the rounding errors of normally distributed weights through the mean square
    /// of the weights, as they are rounded without an imatrix: what is believed of a precision's
    /// loss before any is measured. `runtime/tests/rounding_error.rs` computes it anew.
    pub fn rounding_error(self) -> f64 {
        match self {
            Self::F32 => 1e-15,
            Self::F16 => 4.37e-8,
            Self::Bf16 => 2.76e-6,
            Self::Q8_0 => 2.85e-5,
            Self::Q6K => 3.13e-4,
            Self::Q5_1 => 1.42e-3,
            Self::Q5_0 => 1.82e-3,
            Self::Q5K => 1.30e-3,
            Self::Q4_1 => 6.10e-3,
            Self::Q4_0 => 7.33e-3,
            Self::Q4K => 5.05e-3,
            Self::Q3K => 2.27e-2,
            Self::Q2K => 8.76e-2,
        }
    }

    /// True for the unquantized types.
    pub fn is_float(self) -> bool {
        self.block_size() == 1
    }

    /// True where a row of `columns` weights is a whole number of blocks.
    pub fn fits(self, columns: u64) -> bool {
        columns > 0 && columns.is_multiple_of(self.block_size())
    }

    /// Bytes of a `rows × columns` matrix, or `None` where the precision does not fit or the
    /// size overflows.
    pub fn bytes(self, rows: u64, columns: u64) -> Option<u64> {
        if !self.fits(columns) {
            return None;
        }
        (columns / self.block_size())
            .checked_mul(self.block_bytes())?
            .checked_mul(rows)
    }

    fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Precision {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Precision {
    type Err = UnknownPrecision;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.trim().to_ascii_lowercase();
        Self::ALL
            .into_iter()
            .find(|precision| precision.name() == lower)
            .ok_or_else(|| UnknownPrecision {
                name: text.to_owned(),
            })
    }
}

impl From<Precision> for &'static str {
    fn from(precision: Precision) -> Self {
        precision.name()
    }
}

impl TryFrom<String> for Precision {
    type Error = UnknownPrecision;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_read_back_and_an_unknown_one_is_listed_with_the_known() {
        for precision in Precision::ALL {
            assert_eq!(precision.name().parse(), Ok(precision));
            assert_eq!(
                precision.name().to_uppercase().parse::<Precision>(),
                Ok(precision)
            );
        }
        let message = "q4_z".parse::<Precision>().unwrap_err().to_string();
        assert!(message.contains("`q4_z`") && message.contains("q4_k"));
    }

    #[test]
    fn all_is_ordered_by_bits() {
        assert!(
            Precision::ALL
                .windows(2)
                .all(|pair| pair[0].bits_per_weight() >= pair[1].bits_per_weight())
        );
    }

    #[test]
    fn a_k_quant_needs_whole_super_blocks() {
        assert!(Precision::Q4K.fits(512));
        assert!(!Precision::Q4K.fits(320));
        assert!(Precision::Q4_0.fits(320));
        assert!(!Precision::Q4_0.fits(0));
        assert_eq!(Precision::Q4K.bytes(2, 512), Some(2 * 2 * 144));
        assert_eq!(Precision::Q4K.bytes(2, 320), None);
        assert_eq!(Precision::F32.bytes(u64::MAX, 2), None);
    }
}
