//! An exponential that the compiler can turn into vector instructions.
//!
//! The library's `exp` is a call for every value; attention, the gate and the divergence need tens
//! of millions of them for every plan.

/// Added and subtracted, it rounds a number of moderate size to the nearest integer, ties to even,
/// and leaves that integer in the lowest bits.
const ROUNDER: f32 = 12_582_912.0;

/// Largest relative error on `[-87, 88]`, in units of the last place of an `f32`.
#[cfg(test)]
const BOUND_ULP: f64 = 2.0;

/// `e^x`, correct to two units in the last place; below −87 it is about 1e-38, above 88.7 it stays
/// at the largest finite power. NaN stays NaN.
///
/// `x = n·ln 2 + r`, and a polynomial for `e^r` on `|r| ≤ ln 2 / 2` (Cephes `expf`).
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    const LN_2_HIGH: f32 = 0.693_359_4;
    const LN_2_LOW: f32 = -2.121_944_4e-4;
    // Not `clamp`: its order of comparisons keeps NaN, and so does this, in two instructions.
    let x = if x > 88.0 { 88.0 } else { x };
    let x = if x < -87.0 { -87.0 } else { x };
    let shifted = x * std::f32::consts::LOG2_E + ROUNDER;
    let n = shifted - ROUNDER;
    let r = x - n * LN_2_HIGH - n * LN_2_LOW;
    let mut polynomial = 1.987_569_1e-4;
    for coefficient in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_6e-1,
        0.5,
    ] {
        polynomial = polynomial * r + coefficient;
    }
    let power = polynomial * (r * r) + r + 1.0;
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(127 << 23));
    power * scale
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_error_stays_under_the_bound() {
        let mut worst = 0.0f64;
        for step in 0..2_000_000 {
            let x = -87.0 + step as f32 * (175.0 / 2_000_000.0);
            let exact = f64::from(x).exp();
            let error = (f64::from(exp(x)) - exact).abs() / (exact * f64::from(f32::EPSILON));
            worst = worst.max(error);
        }
        assert!(worst < BOUND_ULP, "{worst}");
    }

    #[test]
    fn the_ends_are_finite_and_nan_stays() {
        assert!(exp(f32::NEG_INFINITY) < 2e-38 && exp(-1e30) < 2e-38);
        assert!(exp(f32::INFINITY).is_finite() && exp(f32::INFINITY) > 1e38);
        assert!(exp(f32::NAN).is_nan());
        assert_eq!(exp(0.0), 1.0);
    }
}
