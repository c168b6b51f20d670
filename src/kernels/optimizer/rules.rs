//! The update rules, in the order of operations of PyTorch's reference implementations (FTRL: Keras's).

use crate::device::cpu::Real;
use crate::kernels::params as p;

/// An update rule with its options. Rates and counts of updates come with each step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    /// Stochastic gradient descent.
    Sgd {
        /// λ of the penalty λ/2 |p|².
        weight_decay: f64,
    },
    /// Stochastic gradient descent with momentum (Sutskever et al. 2013, in PyTorch's form). State: the velocity, which
    /// begins as the first gradient.
    SgdMomentum {
        /// λ of the penalty λ/2 |p|².
        weight_decay: f64,
        /// μ: how much of the velocity is kept.
        momentum: f64,
        /// The share of a new gradient that does not enter the velocity.
        dampening: f64,
        /// Whether to look ahead.
        nesterov: bool,
    },
    /// Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019) and AMSGrad (Reddi et al. 2018). State: the means
    /// of g and of g², and for AMSGrad the largest mean of g² so far.
    Adam {
        /// β₁: how much of the mean gradient is kept.
        beta1: f64,
        /// β₂: how much of the mean square is kept.
        beta2: f64,
        /// Added to the denominator.
        eps: f64,
        /// The decay.
        weight_decay: f64,
        /// Whether the decay shrinks the parameter itself (AdamW) or joins the gradient (Adam).
        decoupled: bool,
        /// Whether the denominator takes the largest mean square so far.
        amsgrad: bool,
    },
    /// AdaGrad (Duchi, Hazan and Singer 2011). State: the sum of g².
    AdaGrad {
        /// How fast the rate falls with the count of updates.
        lr_decay: f64,
        /// Added to the denominator.
        eps: f64,
        /// λ of the penalty λ/2 |p|².
        weight_decay: f64,
    },
    /// RMSprop (Hinton, lecture 6e of Neural Networks for Machine Learning, 2012; centered: Graves 2013). State: the
    /// mean of g², then the mean of g if centered, then the velocity if there is momentum.
    RmsProp {
        /// α: how much of the means is kept.
        alpha: f64,
        /// Added to the denominator.
        eps: f64,
        /// λ of the penalty λ/2 |p|².
        weight_decay: f64,
        /// μ: how much of the velocity is kept; 0 for none.
        momentum: f64,
        /// Whether to divide by the standard deviation instead of the root of the mean square.
        centered: bool,
    },
    /// FTRL-proximal (McMahan et al. 2013) with rates that fall with the root of the sum of squares. State: the sum of
    /// g², and the sum of gradients less what the moves so far account for.
    Ftrl {
        /// λ₁: parameters that are pulled by less stay 0.
        l1: f64,
        /// λ₂ of the penalty λ₂ |p|².
        l2: f64,
        /// Added to the root of the sum of squares.
        beta: f64,
    },
    /// Lion (Chen et al. 2023). State: the mean of g.
    Lion {
        /// β₁: how much of the mean gradient enters the direction.
        beta1: f64,
        /// β₂: how much of the mean gradient is kept.
        beta2: f64,
        /// The decay of the parameter itself.
        weight_decay: f64,
    },
}

/// A rule as `kernels/optimizer.cu` knows it.
pub(super) struct Encoded {
    /// One of `OPTIMIZER_*` that name rules.
    pub rule: u32,
    /// Bits of `OPTIMIZER_*` that name switches.
    pub flags: u32,
    /// Its options, in the places that `OPTIMIZER_*` name.
    pub options: [f64; 5],
}

impl Rule {
    /// The rule's name, for errors.
    pub fn name(&self) -> &'static str {
        match self {
            Rule::Sgd { .. } | Rule::SgdMomentum { .. } => "sgd",
            Rule::Adam { amsgrad: false, .. } => "adam",
            Rule::Adam { .. } => "amsgrad",
            Rule::AdaGrad { .. } => "adagrad",
            Rule::RmsProp { .. } => "rmsprop",
            Rule::Ftrl { .. } => "ftrl",
            Rule::Lion { .. } => "lion",
        }
    }

    /// How many numbers of state a parameter's element has.
    pub fn states(&self) -> usize {
        match *self {
            Rule::Sgd { .. } => 0,
            Rule::SgdMomentum { .. } | Rule::AdaGrad { .. } | Rule::Lion { .. } => 1,
            Rule::Adam { amsgrad, .. } => 2 + usize::from(amsgrad),
            Rule::RmsProp { momentum, centered, .. } => 1 + usize::from(centered) + usize::from(momentum != 0.0),
            Rule::Ftrl { .. } => 2,
        }
    }

    /// Whether a gradient of zero leaves parameter and state as they are, so that absent rows of a row-sparse gradient
    /// need not be touched.
    pub fn zero_is_identity(&self) -> bool {
        match *self {
            Rule::Sgd { weight_decay } => weight_decay == 0.0,
            // A falling rate counts the updates of every block.
            Rule::AdaGrad { weight_decay, lr_decay, .. } => weight_decay == 0.0 && lr_decay == 0.0,
            _ => false,
        }
    }

    pub(super) fn encoded(&self) -> Encoded {
        let flag = |on: bool, flag: u32| if on { flag } else { 0 };
        let (rule, flags, places): (u32, u32, &[(u32, f64)]) = match *self {
            Rule::Sgd { weight_decay } => (p::OPTIMIZER_SGD, 0, &[(p::OPTIMIZER_DECAY, weight_decay)]),
            Rule::SgdMomentum { weight_decay, momentum, dampening, nesterov } => (
                p::OPTIMIZER_SGD_MOMENTUM,
                flag(nesterov, p::OPTIMIZER_NESTEROV),
                &[
                    (p::OPTIMIZER_DECAY, weight_decay),
                    (p::OPTIMIZER_MOMENTUM, momentum),
                    (p::OPTIMIZER_DAMPENING, dampening),
                ],
            ),
            Rule::Adam { beta1, beta2, eps, weight_decay, decoupled, amsgrad } => (
                if amsgrad { p::OPTIMIZER_AMSGRAD } else { p::OPTIMIZER_ADAM },
                flag(decoupled, p::OPTIMIZER_DECOUPLED),
                &[
                    (p::OPTIMIZER_DECAY, weight_decay),
                    (p::OPTIMIZER_EPSILON, eps),
                    (p::OPTIMIZER_MOMENTUM, beta1),
                    (p::OPTIMIZER_SQUARE, beta2),
                ],
            ),
            Rule::AdaGrad { lr_decay, eps, weight_decay } => (
                p::OPTIMIZER_ADAGRAD,
                0,
                &[(p::OPTIMIZER_DECAY, weight_decay), (p::OPTIMIZER_EPSILON, eps), (p::OPTIMIZER_RATE_DECAY, lr_decay)],
            ),
            Rule::RmsProp { alpha, eps, weight_decay, momentum, centered } => (
                p::OPTIMIZER_RMSPROP,
                flag(centered, p::OPTIMIZER_CENTERED) | flag(momentum != 0.0, p::OPTIMIZER_VELOCITY),
                &[
                    (p::OPTIMIZER_DECAY, weight_decay),
                    (p::OPTIMIZER_EPSILON, eps),
                    (p::OPTIMIZER_MOMENTUM, momentum),
                    (p::OPTIMIZER_SQUARE, alpha),
                ],
            ),
            Rule::Ftrl { l1, l2, beta } => {
                (p::OPTIMIZER_FTRL, 0, &[(p::OPTIMIZER_L1, l1), (p::OPTIMIZER_L2, l2), (p::OPTIMIZER_BETA, beta)])
            }
            Rule::Lion { beta1, beta2, weight_decay } => (
                p::OPTIMIZER_LION,
                0,
                &[(p::OPTIMIZER_DECAY, weight_decay), (p::OPTIMIZER_MOMENTUM, beta1), (p::OPTIMIZER_SQUARE, beta2)],
            ),
        };
        let mut options = [0.0; 5];
        for &(place, value) in places {
            options[place as usize] = value;
        }
        Encoded { rule, flags, options }
    }

    /// The numbers of update `t` (from 1) at the rate `lr`, in f64 and then rounded: operation by operation what
    /// `kernels/optimizer.cu` does.
    pub(super) fn numbers<A: Real>(&self, t: u64, lr: f64, scale: f64, bound: f64) -> Numbers<A> {
        let Encoded { options, .. } = self.encoded();
        let of = |place: u32| options[place as usize];
        let (momentum, square) = (of(p::OPTIMIZER_MOMENTUM), of(p::OPTIMIZER_SQUARE));
        let (mut decay, mut rate) = (of(p::OPTIMIZER_DECAY), lr);
        let mut n = Numbers {
            scale: A::of(scale),
            bound: A::of(bound),
            decay: A::ZERO,
            rate: A::ZERO,
            momentum: A::of(momentum),
            fresh: A::of(1.0 - momentum),
            old_square: A::of(square),
            fresh_square: A::of(1.0 - square),
            bias: A::ZERO,
            epsilon: A::of(of(p::OPTIMIZER_EPSILON)),
            l1: A::ZERO,
            l2: A::ZERO,
            first: t == 1,
        };
        match *self {
            Rule::Sgd { .. } | Rule::RmsProp { .. } => {}
            Rule::SgdMomentum { dampening, .. } => n.fresh = A::of(1.0 - dampening),
            Rule::Adam { decoupled, .. } => {
                decay = if decoupled { 1.0 - rate * decay } else { decay };
                rate /= 1.0 - power(momentum, t);
                n.bias = A::of((1.0 - power(square, t)).sqrt());
            }
            Rule::Lion { .. } => decay = 1.0 - rate * decay,
            Rule::AdaGrad { lr_decay, .. } => rate /= 1.0 + (t - 1) as f64 * lr_decay,
            Rule::Ftrl { l1, l2, beta } => {
                n.l1 = A::of(l1);
                n.l2 = A::of(2.0 * l2 + beta / rate);
                rate = 1.0 / rate;
            }
        }
        Numbers { decay: A::of(decay), rate: A::of(rate), ..n }
    }
}

/// By squaring, as the kernel has it: the system's power differs from machine to machine.
fn power(mut base: f64, mut exponent: u64) -> f64 {
    let mut result = 1.0;
    while exponent != 0 {
        if exponent & 1 != 0 {
            result *= base;
        }
        base *= base;
        exponent >>= 1;
    }
    result
}

/// The numbers of one parameter's update; each rule has its own share of them.
#[derive(Clone, Copy)]
pub(super) struct Numbers<A> {
    pub scale: A,
    pub bound: A,
    pub decay: A,
    pub rate: A,
    pub momentum: A,
    pub fresh: A,
    pub old_square: A,
    pub fresh_square: A,
    pub bias: A,
    pub epsilon: A,
    pub l1: A,
    pub l2: A,
    pub first: bool,
}

impl<A: Real> Numbers<A> {
    #[inline(always)]
    pub fn clipped(&self, g: A) -> A {
        (g * self.scale).maximum(-self.bound).minimum(self.bound)
    }

    #[inline(always)]
    fn mean_square(&self, old: A, g: A) -> A {
        old * self.old_square + g * g * self.fresh_square
    }
}

/// The update of one element with `N` numbers of state: the new parameter and state, from the clipped gradient.
pub(super) trait Update<const N: usize>: Copy {
    /// Must be `#[inline(always)]`.
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, state: [A; N]) -> (A, [A; N]);
}

#[derive(Clone, Copy)]
pub(super) struct Sgd;

impl Update<0> for Sgd {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, _: [A; 0]) -> (A, [A; 0]) {
        (p - n.rate * (g + p * n.decay), [])
    }
}

#[derive(Clone, Copy)]
pub(super) struct Momentum {
    pub nesterov: bool,
}

impl Update<1> for Momentum {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [velocity]: [A; 1]) -> (A, [A; 1]) {
        let g = g + p * n.decay;
        let velocity = if n.first { g } else { velocity * n.momentum + g * n.fresh };
        let direction = if self.nesterov { g + velocity * n.momentum } else { velocity };
        (p - n.rate * direction, [velocity])
    }
}

#[derive(Clone, Copy)]
pub(super) struct Adam {
    pub decoupled: bool,
}

impl Adam {
    /// The decayed parameter, and the new means of g and g².
    #[inline(always)]
    fn means<A: Real>(self, n: &Numbers<A>, p: A, g: A, m: A, v: A) -> (A, A, A) {
        let (p, g) = if self.decoupled { (p * n.decay, g) } else { (p, g + p * n.decay) };
        (p, m + (g - m) * n.fresh, n.mean_square(v, g))
    }

    #[inline(always)]
    fn moved<A: Real>(n: &Numbers<A>, p: A, m: A, v: A) -> A {
        p - n.rate * (m / (v.sqrt() / n.bias + n.epsilon))
    }
}

impl Update<2> for Adam {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [m, v]: [A; 2]) -> (A, [A; 2]) {
        let (p, m, v) = self.means(n, p, g, m, v);
        (Adam::moved(n, p, m, v), [m, v])
    }
}

/// AMSGrad.
impl Update<3> for Adam {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [m, v, largest]: [A; 3]) -> (A, [A; 3]) {
        let (p, m, v) = self.means(n, p, g, m, v);
        let largest = largest.maximum(v);
        (Adam::moved(n, p, m, largest), [m, v, largest])
    }
}

#[derive(Clone, Copy)]
pub(super) struct AdaGrad;

impl Update<1> for AdaGrad {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [sum]: [A; 1]) -> (A, [A; 1]) {
        let g = g + p * n.decay;
        let sum = sum + g * g;
        (p - n.rate * (g / (sum.sqrt() + n.epsilon)), [sum])
    }
}

#[derive(Clone, Copy)]
pub(super) struct RmsProp;

impl RmsProp {
    #[inline(always)]
    fn direction<A: Real>(n: &Numbers<A>, g: A, v: A, mean: A) -> A {
        g / ((v - mean * mean).maximum(A::ZERO).sqrt() + n.epsilon)
    }
}

impl Update<1> for RmsProp {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [v]: [A; 1]) -> (A, [A; 1]) {
        let g = g + p * n.decay;
        let v = n.mean_square(v, g);
        (p - n.rate * RmsProp::direction(n, g, v, A::ZERO), [v])
    }
}

/// With a velocity.
impl Update<2> for RmsProp {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [v, velocity]: [A; 2]) -> (A, [A; 2]) {
        let g = g + p * n.decay;
        let v = n.mean_square(v, g);
        let velocity = velocity * n.momentum + RmsProp::direction(n, g, v, A::ZERO);
        (p - n.rate * velocity, [v, velocity])
    }
}

#[derive(Clone, Copy)]
pub(super) struct Centered;

impl Update<2> for Centered {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [v, mean]: [A; 2]) -> (A, [A; 2]) {
        let g = g + p * n.decay;
        let (v, mean) = (n.mean_square(v, g), mean + (g - mean) * n.fresh_square);
        (p - n.rate * RmsProp::direction(n, g, v, mean), [v, mean])
    }
}

/// With a velocity.
impl Update<3> for Centered {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [v, mean, velocity]: [A; 3]) -> (A, [A; 3]) {
        let g = g + p * n.decay;
        let (v, mean) = (n.mean_square(v, g), mean + (g - mean) * n.fresh_square);
        let velocity = velocity * n.momentum + RmsProp::direction(n, g, v, mean);
        (p - n.rate * velocity, [v, mean, velocity])
    }
}

#[derive(Clone, Copy)]
pub(super) struct Ftrl;

impl Update<2> for Ftrl {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [sum, z]: [A; 2]) -> (A, [A; 2]) {
        // At a rate of 0 nothing moves; the inverse rate is infinite.
        if n.rate == A::INFINITY {
            return (p, [sum, z]);
        }
        let squares = sum + g * g;
        let root = squares.sqrt();
        let sigma = (root - sum.sqrt()) * n.rate;
        let z = z + g - sigma * p;
        let excess = z - z.maximum(-n.l1).minimum(n.l1);
        (-excess / (root * n.rate + n.l2), [squares, z])
    }
}

#[derive(Clone, Copy)]
pub(super) struct Lion;

impl Update<1> for Lion {
    #[inline(always)]
    fn update<A: Real>(self, n: &Numbers<A>, p: A, g: A, [m]: [A; 1]) -> (A, [A; 1]) {
        let c = m * n.momentum + g * n.fresh;
        // 0 and NaN are their own signs.
        let sign = if c > A::ZERO {
            A::ONE
        } else if c < A::ZERO {
            -A::ONE
        } else {
            c
        };
        (p * n.decay - n.rate * sign, [m * n.old_square + g * n.fresh_square])
    }
}
