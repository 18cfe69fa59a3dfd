//! Numbers of several groups side by side.
//!
//! The searches spend their time in sums over one group, which must be added up in llama.cpp's
//! order to have its bits and so cannot be split. Groups do not depend on each other, though:
//! lane `i` of every number here belongs to group `i`, and the compiler turns each operation into
//! vector instructions of whatever width the target has.

use std::array::from_fn;
use std::ops::{Add, Div, Mul, Neg, Sub};

use super::arithmetic::nearest_int;

/// One number of each of `W` groups.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Lanes<const W: usize>(pub(super) [f32; W]);

/// One truth value for each of `W` groups, as all or no bits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Mask<const W: usize>([u32; W]);

/// `N` numbers of each of `W` groups.
pub(super) type Groups<const W: usize, const N: usize> = [Lanes<W>; N];

/// Sets `W` groups of `N` consecutive numbers side by side; missing groups are zeros.
pub(super) fn side_by_side<const W: usize, const N: usize>(values: &[f32]) -> Groups<W, N> {
    let mut groups = [Lanes([0.0; W]); N];
    for (lane, group) in values.chunks_exact(N).take(W).enumerate() {
        for (lanes, value) in groups.iter_mut().zip(group) {
            lanes.0[lane] = *value;
        }
    }
    groups
}

/// Sets small integers of `W` groups one group after another: undoes [`side_by_side`].
pub(super) fn one_after_another<const W: usize, const N: usize>(
    groups: &Groups<W, N>,
    output: &mut [u8],
) {
    for (lane, output) in output.chunks_exact_mut(N).take(W).enumerate() {
        for (output, lanes) in output.iter_mut().zip(groups) {
            *output = lanes.0[lane] as u8;
        }
    }
}

impl<const W: usize> Lanes<W> {
    pub(super) const ZERO: Self = Self([0.0; W]);

    #[inline(always)]
    pub(super) fn splat(value: f32) -> Self {
        Self([value; W])
    }

    /// The nearest integers between `low` and `high`.
    ///
    /// Clamping after the conversion equals ggml's clamping of integers, since an `f32` holds
    /// every integer that `nearest_int` returns.
    #[inline(always)]
    pub(super) fn nearest(self, low: f32, high: f32) -> Self {
        Self(self.0.map(|value| {
            let integer = nearest_int(value) as f32;
            let above = if integer < low { low } else { integer };
            if above > high { high } else { above }
        }))
    }

    #[inline(always)]
    pub(super) fn abs(self) -> Self {
        Self(self.0.map(f32::abs))
    }

    #[inline(always)]
    pub(super) fn less(self, other: Self) -> Mask<W> {
        self.compare(other, |a, b| a < b)
    }

    #[inline(always)]
    pub(super) fn greater(self, other: Self) -> Mask<W> {
        self.compare(other, |a, b| a > b)
    }

    #[inline(always)]
    pub(super) fn equal(self, other: Self) -> Mask<W> {
        self.compare(other, |a, b| a == b)
    }

    #[inline(always)]
    pub(super) fn differs(self, other: Self) -> Mask<W> {
        self.compare(other, |a, b| a != b)
    }

    #[inline(always)]
    fn compare(self, other: Self, holds: impl Fn(f32, f32) -> bool) -> Mask<W> {
        Mask(from_fn(|lane| {
            if holds(self.0[lane], other.0[lane]) {
                u32::MAX
            } else {
                0
            }
        }))
    }

    #[inline(always)]
    fn zip(self, other: Self, operation: impl Fn(f32, f32) -> f32) -> Self {
        Self(from_fn(|lane| operation(self.0[lane], other.0[lane])))
    }
}

impl<const W: usize> Mask<W> {
    /// `then` where true, `otherwise` elsewhere.
    #[inline(always)]
    pub(super) fn select(self, then: Lanes<W>, otherwise: Lanes<W>) -> Lanes<W> {
        Lanes(from_fn(|lane| {
            let mask = self.0[lane];
            f32::from_bits(then.0[lane].to_bits() & mask | otherwise.0[lane].to_bits() & !mask)
        }))
    }

    #[inline(always)]
    pub(super) fn and(self, other: Self) -> Self {
        Self(from_fn(|lane| self.0[lane] & other.0[lane]))
    }

    #[inline(always)]
    pub(super) fn any(self) -> bool {
        self.0.iter().fold(0, |any, mask| any | mask) != 0
    }
}

impl<const W: usize> Add for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn add(self, other: Self) -> Self {
        self.zip(other, |a, b| a + b)
    }
}

impl<const W: usize> Sub for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        self.zip(other, |a, b| a - b)
    }
}

impl<const W: usize> Mul for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        self.zip(other, |a, b| a * b)
    }
}

impl<const W: usize> Div for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn div(self, other: Self) -> Self {
        self.zip(other, |a, b| a / b)
    }
}

impl<const W: usize> Neg for Lanes<W> {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self(self.0.map(|value| -value))
    }
}
