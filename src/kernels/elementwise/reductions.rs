//! Functions that the backwards of reductions need.

use super::Map;
use crate::device::cpu::Real;

/// a / b, and 0 where b is 0.
#[derive(Clone, Copy, Debug)]
pub struct DivOrZero;

impl Map<2> for DivOrZero {
    const NAME: &'static str = "div_or_zero";
    #[inline(always)]
    fn eval<A: Real>(&self, [a, b]: [A; 2]) -> A {
        if b == A::ZERO { A::ZERO } else { a / b }
    }
}

/// g · sign(x), with sign(0) = 0.
#[derive(Clone, Copy, Debug)]
pub struct ScaledSign;

impl Map<2> for ScaledSign {
    const NAME: &'static str = "scaled_sign";
    #[inline(always)]
    fn eval<A: Real>(&self, [x, g]: [A; 2]) -> A {
        if x > A::ZERO {
            g
        } else if x < A::ZERO {
            -g
        } else {
            x * A::ZERO
        }
    }
}

/// g · exp(x − y), and g where x = y (also at infinity).
#[derive(Clone, Copy, Debug)]
pub struct ScaledExpDifference;

impl Map<3> for ScaledExpDifference {
    const NAME: &'static str = "scaled_exp_difference";
    #[inline(always)]
    fn eval<A: Real>(&self, [x, y, g]: [A; 3]) -> A {
        if x == y { g } else { g * (x - y).exp() }
    }
}

/// 1 where x = y, else 0.
#[derive(Clone, Copy, Debug)]
pub struct Equal;

impl Map<2> for Equal {
    const NAME: &'static str = "equal";
    #[inline(always)]
    fn eval<A: Real>(&self, [x, y]: [A; 2]) -> A {
        if x == y { A::ONE } else { A::ZERO }
    }
}
