//! Losses of one element and their derivatives. `d = x − t` is the input less the target.

use super::activation::softplus;
use super::{maps, maps_with};
use crate::device::cpu::Real;

maps! {
    /// d²
    SquaredError "squared_error" [x, t] => (x - t) * (x - t);
    /// |d|
    AbsoluteError "absolute_error" [x, t] => (x - t).abs();
    /// (1 − t) ln(1 + eˣ) + t ln(1 + e⁻ˣ), x being a logit: no term cancels another
    BceLogits "bce_logits" [x, t] => (A::ONE - t).mul_add(softplus(x), t * softplus(-x));
    /// The same with weight p on the positive class
    BceLogitsWeighted "bce_logits_weighted" [x, t, p] => (A::ONE - t).mul_add(softplus(x), p * t * softplus(-x));
    /// −t ln x − (1 − t) ln(1 − x), logarithms bounded below by −100
    Bce "bce" [x, t] => {
        let low = A::of(-100.0);
        (t - A::ONE) * (-x).log1p().maximum(low) - t * x.ln().maximum(low)
    };
    /// t (ln t − x), 0 where t is 0; x is a log-probability
    KlDiv "kl_div" [x, t] => if t == A::ZERO { A::ZERO } else { t * (t.ln() - x) };
    /// eᵗ (t − x); both are log-probabilities
    KlDivLog "kl_div_log" [x, t] => t.exp() * (t - x);
}

maps_with! {
    /// 2 scale g d
    SquaredErrorBackward {
        /// 1 over the count for a mean; negative for the target's gradient.
        scale
    } "squared_error_backward" [g, x, t] => (scale + scale) * g * (x - t);
    /// scale g sign d
    AbsoluteErrorBackward {
        /// 1 over the count for a mean; negative for the target's gradient.
        scale
    } "absolute_error_backward" [g, x, t] => {
        let d = x - t;
        if d == A::ZERO { A::ZERO } else if d < A::ZERO { -(scale * g) } else { scale * g }
    };
    /// d²/2, or delta (|d| − delta/2) where |d| > delta, all times scale
    Huber {
        /// Where the parabola ends.
        delta,
        /// 1 (Huber) or 1/delta (smooth L1).
        scale
    } "huber" [x, t] => {
        let d = (x - t).abs();
        scale * if d <= delta { A::of(0.5) * d * d } else { delta * (d - A::of(0.5) * delta) }
    };
    /// scale g d, limited to scale g delta
    HuberBackward {
        /// Where the parabola ends.
        delta,
        /// The loss's scale, over the count for a mean; negative for the target's gradient.
        scale
    } "huber_backward" [g, x, t] => scale * g * (x - t).maximum(-delta).minimum(delta);
    /// scale g ((1 − t) s(x) − t s(−x)), s(x) = 1 / (1 + e⁻ˣ)
    BceLogitsBackward {
        /// 1 over the count for a mean.
        scale
    } "bce_logits_backward" [g, x, t] => scale * g * ((A::ONE - t) * x.sigmoid() - t * (-x).sigmoid());
    /// scale g ((1 − t) s(x) − p t s(−x))
    BceLogitsWeightedBackward {
        /// 1 over the count for a mean.
        scale
    } "bce_logits_weighted_backward" [g, x, t, p] =>
        scale * g * ((A::ONE - t) * x.sigmoid() - p * t * (-x).sigmoid());
    /// scale g (x − t) / (x (1 − x)), the denominator at least 1e-12
    BceBackward {
        /// 1 over the count for a mean.
        scale
    } "bce_backward" [g, x, t] => scale * g * (x - t) / ((A::ONE - x) * x).maximum(A::of(1e-12));
    /// −scale g t
    KlDivBackward {
        /// 1 over the count for a mean.
        scale
    } "kl_div_backward" [g, _x, t] => -(scale * g * t);
    /// −scale g eᵗ
    KlDivLogBackward {
        /// 1 over the count for a mean.
        scale
    } "kl_div_log_backward" [g, _x, t] => -(scale * g * t.exp());
}
