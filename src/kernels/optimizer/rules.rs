//! The update rules, in the order of operations of PyTorch's reference implementations.

use super::{Rule, RuleConstants};
use crate::device::cpu::Real;
use crate::kernels::params;

/// What happens to a gradient before any rule: scaled (clipping by norm) and bounded (clipping by value).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Clip {
    /// The factor.
    pub scale: f64,
    /// The largest magnitude; infinite for none.
    pub bound: f64,
}

impl Clip {
    /// No change.
    pub const NONE: Clip = Clip { scale: 1.0, bound: f64::INFINITY };

    /// A rule's numbers: these, and others with their places.
    fn constants<const K: usize>(&self, others: [(u32, f64); K]) -> [f32; 12] {
        let mut constants = [0.0; 12];
        let own = [(params::OPTIMIZER_SCALE, self.scale), (params::OPTIMIZER_BOUND, self.bound)];
        for (place, value) in own.into_iter().chain(others) {
            constants[place as usize] = value as f32;
        }
        constants
    }

    #[inline(always)]
    fn apply<A: Real>(&self, g: A) -> A {
        let bound = A::of(self.bound);
        (g * A::of(self.scale)).maximum(-bound).minimum(bound)
    }
}

/// Stochastic gradient descent without momentum.
#[derive(Clone, Copy, Debug)]
pub struct Sgd {
    /// The learning rate.
    pub lr: f64,
    /// λ of the penalty λ/2 |p|².
    pub weight_decay: f64,
    /// Clipping.
    pub clip: Clip,
}

impl Rule<0> for Sgd {
    const NAME: &'static str = "sgd";
    #[inline(always)]
    fn step<A: Real>(&self, p: A, g: A, _: [A; 0]) -> (A, [A; 0]) {
        let g = self.clip.apply(g) + p * A::of(self.weight_decay);
        (p - A::of(self.lr) * g, [])
    }
    fn constants(&self) -> Option<RuleConstants> {
        let constants =
            self.clip.constants([(params::OPTIMIZER_DECAY, self.weight_decay), (params::OPTIMIZER_RATE, self.lr)]);
        Some(RuleConstants { rule: params::OPTIMIZER_SGD, flags: 0, constants })
    }
    fn zero_is_identity(&self) -> bool {
        self.weight_decay == 0.0
    }
}

/// Stochastic gradient descent with momentum (Sutskever et al. 2013, in PyTorch's form).
#[derive(Clone, Copy, Debug)]
pub struct SgdMomentum {
    /// The learning rate, penalty and clipping.
    pub sgd: Sgd,
    /// μ: how much of the velocity is kept.
    pub momentum: f64,
    /// The share of a new gradient that does not enter the velocity.
    pub dampening: f64,
    /// Whether to look ahead.
    pub nesterov: bool,
    /// The first step of this parameter: the velocity begins as the gradient itself.
    pub first: bool,
}

impl Rule<1> for SgdMomentum {
    const NAME: &'static str = "sgd";
    #[inline(always)]
    fn step<A: Real>(&self, p: A, g: A, [velocity]: [A; 1]) -> (A, [A; 1]) {
        let g = self.sgd.clip.apply(g) + p * A::of(self.sgd.weight_decay);
        let mu = A::of(self.momentum);
        let velocity = if self.first { g } else { velocity * mu + g * A::of(1.0 - self.dampening) };
        let direction = if self.nesterov { g + velocity * mu } else { velocity };
        (p - A::of(self.sgd.lr) * direction, [velocity])
    }
    fn constants(&self) -> Option<RuleConstants> {
        let constants = self.sgd.clip.constants([
            (params::OPTIMIZER_DECAY, self.sgd.weight_decay),
            (params::OPTIMIZER_RATE, self.sgd.lr),
            (params::OPTIMIZER_MOMENTUM, self.momentum),
            (params::OPTIMIZER_UNDAMPED, 1.0 - self.dampening),
        ]);
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        let flags = flag(self.first, params::OPTIMIZER_FIRST) | flag(self.nesterov, params::OPTIMIZER_NESTEROV);
        Some(RuleConstants { rule: params::OPTIMIZER_SGD_MOMENTUM, flags, constants })
    }
}

/// Adam (Kingma and Ba 2015) and AdamW (Loshchilov and Hutter 2019).
#[derive(Clone, Copy, Debug)]
pub struct Adam {
    /// The learning rate.
    pub lr: f64,
    /// β₁: how much of the mean gradient is kept.
    pub beta1: f64,
    /// β₂: how much of the mean square is kept.
    pub beta2: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// The decay.
    pub weight_decay: f64,
    /// Whether the decay shrinks the parameter itself (AdamW) or joins the gradient (Adam).
    pub decoupled: bool,
    /// 1 − β₁ᵗ at this step.
    pub bias1: f64,
    /// √(1 − β₂ᵗ) at this step.
    pub bias2_sqrt: f64,
    /// Clipping.
    pub clip: Clip,
}

impl Adam {
    /// The decayed parameter, and the new means of g and g².
    #[inline(always)]
    fn means<A: Real>(&self, p: A, g: A, m: A, v: A) -> (A, A, A) {
        let g = self.clip.apply(g);
        let (p, g) = if self.decoupled {
            (p * A::of(1.0 - self.lr * self.weight_decay), g)
        } else {
            (p, g + p * A::of(self.weight_decay))
        };
        let m = m + (g - m) * A::of(1.0 - self.beta1);
        let v = v * A::of(self.beta2) + g * g * A::of(1.0 - self.beta2);
        (p, m, v)
    }

    fn constants_of(&self, rule: u32) -> RuleConstants {
        let decay = if self.decoupled { 1.0 - self.lr * self.weight_decay } else { self.weight_decay };
        let constants = self.clip.constants([
            (params::OPTIMIZER_DECAY, decay),
            (params::OPTIMIZER_RATE, self.lr / self.bias1),
            (params::OPTIMIZER_NEW_MEAN, 1.0 - self.beta1),
            (params::OPTIMIZER_OLD_SQUARE, self.beta2),
            (params::OPTIMIZER_NEW_SQUARE, 1.0 - self.beta2),
            (params::OPTIMIZER_BIAS, self.bias2_sqrt),
            (params::OPTIMIZER_EPSILON, self.eps),
        ]);
        RuleConstants { rule, flags: if self.decoupled { params::OPTIMIZER_DECOUPLED } else { 0 }, constants }
    }

    #[inline(always)]
    fn moved<A: Real>(&self, p: A, m: A, v: A) -> A {
        let denominator = v.sqrt() / A::of(self.bias2_sqrt) + A::of(self.eps);
        p - A::of(self.lr / self.bias1) * (m / denominator)
    }
}

impl Rule<2> for Adam {
    const NAME: &'static str = "adam";
    #[inline(always)]
    fn step<A: Real>(&self, p: A, g: A, [m, v]: [A; 2]) -> (A, [A; 2]) {
        let (p, m, v) = self.means(p, g, m, v);
        (self.moved(p, m, v), [m, v])
    }
    fn constants(&self) -> Option<RuleConstants> {
        Some(self.constants_of(params::OPTIMIZER_ADAM))
    }
}

/// Adam or AdamW with the largest mean square so far in the denominator (Reddi et al. 2018).
#[derive(Clone, Copy, Debug)]
pub struct AmsGrad(pub Adam);

impl Rule<3> for AmsGrad {
    const NAME: &'static str = "amsgrad";
    #[inline(always)]
    fn step<A: Real>(&self, p: A, g: A, [m, v, largest]: [A; 3]) -> (A, [A; 3]) {
        let (p, m, v) = self.0.means(p, g, m, v);
        let largest = largest.maximum(v);
        (self.0.moved(p, m, largest), [m, v, largest])
    }
    fn constants(&self) -> Option<RuleConstants> {
        Some(self.0.constants_of(params::OPTIMIZER_AMSGRAD))
    }
}
