//! Functions that the backwards of reductions need.

use super::maps;
use crate::device::cpu::Real;

maps! {
    /// a / b, and 0 where b is 0.
    DivOrZero "div_or_zero" [a, b] => if b == A::ZERO { A::ZERO } else { a / b };
    /// g · sign(x), with sign(0) = 0.
    ScaledSign "scaled_sign" [x, g] => if x > A::ZERO {
        g
    } else if x < A::ZERO {
        -g
    } else {
        x * A::ZERO
    };
    /// g · exp(x − y), and g where x = y (also at infinity).
    ScaledExpDifference "scaled_exp_difference" [x, y, g] => if x == y { g } else { g * (x - y).exp() };
    /// 1 where x = y, else 0.
    Equal "equal" [x, y] => if x == y { A::ONE } else { A::ZERO };
}
