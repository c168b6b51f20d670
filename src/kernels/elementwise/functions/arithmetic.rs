//! Arithmetic, rounding, maxima and their backwards.

use super::{maps, maps_with};
use crate::device::cpu::Real;

maps! {
    /// a + b
    Add "add" [a, b] => a + b;
    /// a − b
    Sub "sub" [a, b] => a - b;
    /// a · b
    Mul "mul" [a, b] => a * b;
    /// a / b
    Div "div" [a, b] => a / b;
    /// a · b + c, rounded once
    MulAdd "mul_add" [a, b, c] => a.mul_add(b, c);
    /// max(a + b, 0), NaN kept
    AddRelu "add_relu" [a, b] => (a + b).maximum(A::ZERO);
    /// −x
    Neg "neg" [x] => -x;
    /// |x|
    Abs "abs" [x] => x.abs();
    /// g · sign x
    AbsBackward "abs_backward" [g, x] => g * sign(x);
    /// −1, 0 or 1; NaN kept
    Sign "sign" [x] => sign(x);
    /// x²
    Square "square" [x] => x * x;
    /// 2 g x
    SquareBackward "square_backward" [g, x] => (g + g) * x;
    /// 1 / x
    Recip "recip" [x] => A::ONE / x;
    /// −g y²
    RecipBackward "recip_backward" [g, y] => -(g * y * y);
    /// √x
    Sqrt "sqrt" [x] => x.sqrt();
    /// g / 2y
    SqrtBackward "sqrt_backward" [g, y] => g / (y + y);
    /// 1 / √x
    Rsqrt "rsqrt" [x] => A::ONE / x.sqrt();
    /// −g y³ / 2
    RsqrtBackward "rsqrt_backward" [g, y] => A::of(-0.5) * g * (y * y * y);
    /// The largest integer not above x
    Floor "floor" [x] => x.floor();
    /// The smallest integer not below x
    Ceil "ceil" [x] => x.ceil();
    /// The nearest integer, ties to even
    Round "round" [x] => x.round_even();
    /// The integer part of x
    Trunc "trunc" [x] => x.trunc();
    /// The larger; NaN if either is NaN
    Maximum "maximum" [a, b] => a.maximum(b);
    /// The smaller; NaN if either is NaN
    Minimum "minimum" [a, b] => a.minimum(b);
    /// g where a > b, half of it at a tie, 0 where a < b; g where either is NaN
    GreaterBackward "greater_backward" [g, a, b] => if a == b {
        A::of(0.5) * g
    } else if a < b {
        A::ZERO
    } else {
        g
    };
}

maps_with! {
    /// scale · x + shift
    Affine {
        /// The factor.
        scale,
        /// The summand.
        shift
    } "affine" [x] => x * scale + shift;
    /// x / divisor
    DivScalar {
        /// The divisor.
        divisor
    } "div_scalar" [x] => x / divisor;
    /// a + weight (b − a), exact at both ends
    Lerp {
        /// The share of b.
        weight
    } "lerp" [a, b] => if weight < A::of(0.5) { a + weight * (b - a) } else { b - (A::ONE - weight) * (b - a) };
    /// x limited to an interval; NaN kept
    Clamp {
        /// The lower end.
        low,
        /// The upper end.
        high
    } "clamp" [x] => x.maximum(low).minimum(high);
    /// g inside the interval and at its ends, else 0
    ClampBackward {
        /// The lower end.
        low,
        /// The upper end.
        high
    } "clamp_backward" [g, x] => if x >= low && x <= high { g } else { A::ZERO };
}

#[inline(always)]
fn sign<A: Real>(x: A) -> A {
    if x > A::ZERO {
        A::ONE
    } else if x < A::ZERO {
        -A::ONE
    } else {
        // ±0 and NaN
        x
    }
}
