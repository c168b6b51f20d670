//! Activations and their backwards.

use super::{maps, maps_with};
use crate::device::cpu::Real;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI};

/// √(2/π), the slope of GELU's tanh form.
const SQRT_2_OVER_PI: f64 = FRAC_2_SQRT_PI * FRAC_1_SQRT_2;
/// Hendrycks & Gimpel 2016, "Gaussian error linear units".
const GELU_CUBIC: f64 = 0.044715;

maps! {
    /// max(x, 0); NaN kept
    Relu "relu" [x] => x.maximum(A::ZERO);
    /// g, or 0 where y ≤ 0
    ReluBackward "relu_backward" [g, y] => if y <= A::ZERO { A::ZERO } else { g };
    /// 1 / (1 + e⁻ˣ)
    Sigmoid "sigmoid" [x] => x.sigmoid();
    /// g y (1 − y)
    SigmoidBackward "sigmoid_backward" [g, y] => g * (y * (A::ONE - y));
    /// ln(1 / (1 + e⁻ˣ))
    LogSigmoid "log_sigmoid" [x] => -softplus(-x);
    /// g / (1 + eˣ)
    LogSigmoidBackward "log_sigmoid_backward" [g, x] => g * (-x).sigmoid();
    /// tanh x
    Tanh "tanh" [x] => x.tanh();
    /// g (1 − y²)
    TanhBackward "tanh_backward" [g, y] => g * (A::ONE - y) * (A::ONE + y);
    /// x Φ(x)
    Gelu "gelu" [x] => x * normal_cdf(x);
    /// g (Φ(x) + x φ(x))
    GeluBackward "gelu_backward" [g, x] => {
        let density = A::of(0.5 * FRAC_2_SQRT_PI * FRAC_1_SQRT_2) * (A::of(-0.5) * x * x).exp();
        g * x.mul_add(density, normal_cdf(x))
    };
    /// x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2
    GeluTanh "gelu_tanh" [x] => x * gelu_gate(x);
    /// The gradient of the tanh form
    GeluTanhBackward "gelu_tanh_backward" [g, x] => {
        let s = gelu_gate(x);
        let slope = A::of(2.0 * SQRT_2_OVER_PI) * (A::of(3.0 * GELU_CUBIC) * x * x + A::ONE);
        g * (x * slope * (A::ONE - s)).mul_add(s, s)
    };
    /// x / (1 + e⁻ˣ)
    Silu "silu" [x] => x * x.sigmoid();
    /// g s (1 + x (1 − s)), s = 1 / (1 + e⁻ˣ)
    SiluBackward "silu_backward" [g, x] => {
        let s = x.sigmoid();
        // 1 − s, without the cancellation where s is near 1.
        g * (s * x.mul_add((-x).sigmoid(), A::ONE))
    };
    /// ln(1 + eˣ)
    Softplus "softplus" [x] => softplus(x);
    /// g / (1 + e⁻ˣ)
    SoftplusBackward "softplus_backward" [g, x] => g * x.sigmoid();
    /// x min(max(x + 3, 0), 6) / 6
    Hardswish "hardswish" [x] => x * ((x + A::of(3.0)).maximum(A::ZERO).minimum(A::of(6.0)) / A::of(6.0));
    /// 0 up to −3, g from 3 on, g (x/3 + 1/2) between
    HardswishBackward "hardswish_backward" [g, x] => if x <= A::of(-3.0) {
        A::ZERO
    } else if x >= A::of(3.0) {
        g
    } else {
        g * (x / A::of(3.0) + A::of(0.5))
    };
    /// min(max(x + 3, 0), 6) / 6
    Hardsigmoid "hardsigmoid" [x] => (x + A::of(3.0)).maximum(A::ZERO).minimum(A::of(6.0)) / A::of(6.0);
    /// g / 6 strictly between −3 and 3
    HardsigmoidBackward "hardsigmoid_backward" [g, x] => if x > A::of(-3.0) && x < A::of(3.0) {
        g / A::of(6.0)
    } else {
        A::ZERO
    };
    /// x tanh(ln(1 + eˣ))
    Mish "mish" [x] => x * mish_gate(x);
    /// g (t + x (1 − t²) / (1 + e⁻ˣ)), t = tanh(ln(1 + eˣ))
    MishBackward "mish_backward" [g, x] => {
        let t = mish_gate(x);
        g * (x * x.sigmoid()).mul_add((A::ONE - t) * (A::ONE + t), t)
    };
}

maps_with! {
    /// x, or slope · x where x ≤ 0
    LeakyRelu {
        /// The slope below 0.
        slope
    } "leaky_relu" [x] => if x > A::ZERO { x } else { x * slope };
    /// g, or slope · g where x ≤ 0
    LeakyReluBackward {
        /// The slope below 0.
        slope
    } "leaky_relu_backward" [g, x] => if x > A::ZERO { g } else { g * slope };
    /// scale · x, or scale · alpha (eˣ − 1) where x ≤ 0
    Elu {
        /// The limit at −∞, before the scale.
        alpha,
        /// The slope above 0.
        scale
    } "elu" [x] => if x > A::ZERO { x * scale } else { scale * alpha * x.expm1() };
    /// scale · g, or scale · alpha · g eˣ where x ≤ 0
    EluBackward {
        /// The limit at −∞, before the scale.
        alpha,
        /// The slope above 0.
        scale
    } "elu_backward" [g, x] => if x > A::ZERO { g * scale } else { g * (scale * alpha * x.exp()) };
}

/// The standard normal distribution function, accurate in its lower tail.
#[inline(always)]
fn normal_cdf<A: Real>(x: A) -> A {
    A::of(0.5) * (x * A::of(-FRAC_1_SQRT_2)).erfc()
}

/// (1 + tanh u) / 2 = 1 / (1 + e⁻²ᵘ), accurate in its lower tail.
#[inline(always)]
fn gelu_gate<A: Real>(x: A) -> A {
    (A::of(2.0 * SQRT_2_OVER_PI) * x * (A::of(GELU_CUBIC) * x * x + A::ONE)).sigmoid()
}

#[inline(always)]
pub(super) fn softplus<A: Real>(x: A) -> A {
    x.maximum(A::ZERO) + (-x.abs()).exp().log1p()
}

/// tanh(ln(1 + eˣ)) = e(e + 2) / (e(e + 2) + 2), e = eˣ; by e⁻ˣ for positive x, where eˣ may overflow.
#[inline(always)]
fn mish_gate<A: Real>(x: A) -> A {
    let e = (-x.abs()).exp();
    let two = A::of(2.0);
    let (n, rest) = if x < A::ZERO { (e * (e + two), two) } else { (two.mul_add(e, A::ONE), two * e * e) };
    n / (n + rest)
}
