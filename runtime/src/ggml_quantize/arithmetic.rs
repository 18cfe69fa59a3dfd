//! ggml's roundings, whose results are the file format's as much as the layout is.

use half::f16;

/// Rounds to the nearest integer, halves to the even one.
///
/// Beyond ±4194303 the result wraps as ggml's does; it is then clamped by the caller, as in ggml.
/// Such numbers come from scales too small to be held, whose blocks become zero.
///
/// Source: `nearest_int` in `ggml-quants.c`.
#[inline(always)]
pub(super) fn nearest_int(value: f32) -> i32 {
    let bits = (value + 12_582_912.0).to_bits();
    (bits & 0x007f_ffff) as i32 - 0x0040_0000
}

/// Truncates like C's cast on x86-64, where everything out of range becomes `i32::MIN`.
///
/// Out of range are only numbers divided by a scale so small that its inverse is infinite. The
/// casts to 8 bits that follow take the low byte, which is zero for them.
#[inline(always)]
pub(super) fn truncate(value: f32) -> i32 {
    const LIMIT: f32 = 2_147_483_648.0;
    if (-LIMIT..LIMIT).contains(&value) {
        value as i32
    } else {
        i32::MIN
    }
}

/// Rounds to the nearest integer, halves away from zero: C's `roundf`.
///
/// The largest number below one half is added before the fraction is cut off. One half itself
/// would carry 0.49999997 to 1.
#[inline(always)]
pub(super) fn round_half_away(value: f32) -> i32 {
    truncate(value + 0.499_999_97_f32.copysign(value))
}

/// The largest number, or zero where none is positive.
pub(super) fn largest(numbers: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b > a { b } else { a };
    numbers.iter().copied().fold(0.0, greater)
}

/// The number of the largest magnitude, the first one of several.
pub(super) fn largest_in_magnitude(numbers: &[f32]) -> f32 {
    let greater = |a: f32, b: f32| if b.abs() > a.abs() { b } else { a };
    numbers.iter().copied().fold(0.0, greater)
}

/// Writes a scale as `f16` and returns the number that a reader will see.
///
/// Source: `GGML_FP32_TO_FP16`, which rounds to the nearest, halves to even, as `half` does.
pub(super) fn store_f16(value: f32, output: &mut [u8]) -> f32 {
    let stored = f16::from_f32(value);
    output.copy_from_slice(&stored.to_le_bytes());
    stored.to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_go_to_even_or_away_from_zero() {
        let cases = [
            (0.5, 0, 1),
            (1.5, 2, 2),
            (2.5, 2, 3),
            (-0.5, 0, -1),
            (-2.5, -2, -3),
            (0.499_999_97, 0, 0),
            (-0.499_999_97, 0, 0),
            (126.5, 126, 127),
            (4_194_303.0, 4_194_303, 4_194_303),
        ];
        let wrong: Vec<_> = cases
            .into_iter()
            .filter(|&(value, even, away)| {
                nearest_int(value) != even || round_half_away(value) != away
            })
            .collect();
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn rounding_away_equals_the_standard_library_within_bytes() {
        for step in -1_040_384..=1_040_384 {
            let value = step as f32 / 8192.0;
            assert_eq!(round_half_away(value), value.round() as i32, "{value}");
        }
    }

    #[test]
    fn out_of_range_truncates_to_a_zero_byte() {
        for value in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 3e9, -3e9] {
            assert_eq!(truncate(value) as u8, 0, "{value}");
        }
        assert_eq!(truncate(-3.9), -3);
    }
}
