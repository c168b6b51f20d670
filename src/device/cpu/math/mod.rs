//! The arithmetic that CPU kernels are written in: f32 or f64.

mod functions;
#[cfg(test)]
mod tests;
mod trig;

use std::ops::{Add, AddAssign, Div, DivAssign, Mul, MulAssign, Neg, Sub, SubAssign};

/// f32 or f64, as kernels use them. Functions inline and vectorise inside [`vectorize`](super::vectorize) and give
/// the same bits at every vector width. (f64's sin, cos, tan and powf are the system's, which do not vectorise.)
///
/// Errors are stated in ulps (distances between neighbouring numbers at the exact result), for results that are
/// normal numbers; the tests measure them on dense samples. NaN in gives NaN out.
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
    /// Smallest integer not below.
    fn ceil(self) -> Self;
    /// The integer part.
    fn trunc(self) -> Self;
    /// Nearest integer, ties to even.
    fn round_even(self) -> Self;
    /// Whether this is NaN.
    fn is_nan(self) -> bool;
    /// e to the power; 1.1 ulp.
    fn exp(self) -> Self;
    /// 2 to the power; 1.1 ulp.
    fn exp2(self) -> Self;
    /// eˣ − 1; 1.6 ulp.
    fn expm1(self) -> Self;
    /// Natural logarithm; 1 ulp.
    fn ln(self) -> Self;
    /// Logarithm to base 2; 2.5 ulp, exact for powers of two.
    fn log2(self) -> Self;
    /// ln(1 + x); 1.5 ulp.
    fn log1p(self) -> Self;
    /// Sine; 0.51 ulp (f32), the system's (f64).
    fn sin(self) -> Self;
    /// Cosine; 0.51 ulp (f32), the system's (f64).
    fn cos(self) -> Self;
    /// Tangent; 0.51 ulp (f32), the system's (f64).
    fn tan(self) -> Self;
    /// Hyperbolic tangent; 2.5 ulp.
    fn tanh(self) -> Self;
    /// 1 / (1 + e⁻ˣ); 2.5 ulp.
    fn sigmoid(self) -> Self;
    /// The error function; 2 ulp.
    fn erf(self) -> Self;
    /// 1 − erf x, accurate also where it is small; 6 ulp.
    fn erfc(self) -> Self;
    /// To a power, with IEEE 754's special values; 0.51 ulp (f32), the system's (f64).
    fn powf(self, exponent: Self) -> Self;
}

macro_rules! real {
    ($ty:ident, $module:ident, $trig:expr) => {
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
            fn ceil(self) -> Self {
                $ty::ceil(self)
            }
            #[inline(always)]
            fn trunc(self) -> Self {
                $ty::trunc(self)
            }
            #[inline(always)]
            fn round_even(self) -> Self {
                $ty::round_ties_even(self)
            }
            #[inline(always)]
            fn is_nan(self) -> bool {
                $ty::is_nan(self)
            }
            real!(@functions $module: exp exp2 expm1 ln log2 log1p tanh sigmoid erf erfc);
            #[inline(always)]
            fn sin(self) -> Self {
                $trig.0(self)
            }
            #[inline(always)]
            fn cos(self) -> Self {
                $trig.1(self)
            }
            #[inline(always)]
            fn tan(self) -> Self {
                $trig.2(self)
            }
            #[inline(always)]
            fn powf(self, exponent: Self) -> Self {
                $trig.3(self, exponent)
            }
        }
    };
    (@functions $module:ident: $($name:ident)+) => {
        $(
            #[inline(always)]
            fn $name(self) -> Self {
                functions::$module::$name(self)
            }
        )+
    };
}

real!(f32, single, (trig::sin, trig::cos, trig::tan, pow));
real!(f64, double, (f64::sin, f64::cos, f64::tan, f64::powf));

/// xʸ for f32 through f64: e^(y ln |x|), whose error there is far below that of the final rounding.
#[inline(always)]
fn pow(x: f32, y: f32) -> f32 {
    let (a, b) = (x.abs() as f64, y as f64);
    let power = functions::double::exp(b * functions::double::ln(a)) as f32;
    let integer = y.trunc() == y;
    // An odd integer has no integer half. (Infinities are even.)
    let odd = integer && (0.5 * y).trunc() != 0.5 * y;
    let negative = x.is_sign_negative();
    if y == 0.0 || x == 1.0 || (x == -1.0 && y.is_infinite()) {
        1.0
    } else if negative && odd {
        -power
    } else if x < 0.0 && !integer && x > f32::NEG_INFINITY {
        f32::NAN
    } else {
        power
    }
}
