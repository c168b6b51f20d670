//! The arithmetic that CPU kernels are written in: f32 or f64.

use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// f32 or f64, as kernels use them. Functions inline and vectorise inside [`vectorize`](super::vectorize).
pub trait Real:
    Copy
    + Default
    + Send
    + Sync
    + PartialOrd
    + std::fmt::Debug
    + std::iter::Sum
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
    + AddAssign
    + SubAssign
    + MulAssign
    + DivAssign
    + 'static
{
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
    /// The most negative infinity.
    const NEG_INFINITY: Self;
    /// Positive infinity.
    const INFINITY: Self;
    /// Rounds an f64 constant.
    fn of(value: f64) -> Self;
    /// Widens to f64.
    fn to_f64(self) -> f64;
    /// `self * a + b`, rounded once.
    fn mul_add(self, a: Self, b: Self) -> Self;
    /// Absolute value.
    fn abs(self) -> Self;
    /// Square root, correctly rounded.
    fn sqrt(self) -> Self;
    /// The larger; NaN if either is NaN.
    fn maximum(self, other: Self) -> Self;
    /// The smaller; NaN if either is NaN.
    fn minimum(self, other: Self) -> Self;
    /// Largest integer not above.
    fn floor(self) -> Self;
    /// Nearest integer, ties to even.
    fn round_even(self) -> Self;
    /// e to the power.
    fn exp(self) -> Self;
    /// Natural logarithm.
    fn ln(self) -> Self;
    /// Hyperbolic tangent.
    fn tanh(self) -> Self;
}

macro_rules! real {
    ($ty:ident) => {
        impl Real for $ty {
            const ZERO: Self = 0.0;
            const ONE: Self = 1.0;
            const NEG_INFINITY: Self = $ty::NEG_INFINITY;
            const INFINITY: Self = $ty::INFINITY;
            #[inline(always)]
            fn of(value: f64) -> Self {
                value as $ty
            }
            #[inline(always)]
            fn to_f64(self) -> f64 {
                self as f64
            }
            #[inline(always)]
            fn mul_add(self, a: Self, b: Self) -> Self {
                $ty::mul_add(self, a, b)
            }
            #[inline(always)]
            fn abs(self) -> Self {
                $ty::abs(self)
            }
            #[inline(always)]
            fn sqrt(self) -> Self {
                $ty::sqrt(self)
            }
            #[inline(always)]
            fn maximum(self, other: Self) -> Self {
                if self > other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn minimum(self, other: Self) -> Self {
                if self < other || self.is_nan() { self } else { other }
            }
            #[inline(always)]
            fn floor(self) -> Self {
                $ty::floor(self)
            }
            #[inline(always)]
            fn round_even(self) -> Self {
                $ty::round_ties_even(self)
            }
            #[inline(always)]
            fn exp(self) -> Self {
                $ty::exp(self)
            }
            #[inline(always)]
            fn ln(self) -> Self {
                $ty::ln(self)
            }
            #[inline(always)]
            fn tanh(self) -> Self {
                $ty::tanh(self)
            }
        }
    };
}

real!(f32);
real!(f64);
