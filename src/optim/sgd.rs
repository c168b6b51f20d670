//! Stochastic gradient descent.

use super::group::{Config, Groups};
use super::{Clip, Optimizer};
use crate::kernels::optimizer as kernel;
use crate::nn::{Param, StateDict};
use crate::{Error, Gradients, Result};

/// The options of [`Sgd`]; the default has PyTorch's: rate 1e-3, everything else off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SgdConfig {
    /// The learning rate.
    pub lr: f64,
    /// How much of the velocity is kept; 0 for none.
    pub momentum: f64,
    /// The share of a new gradient that does not enter the velocity.
    pub dampening: f64,
    /// λ of the penalty λ/2 |p|².
    pub weight_decay: f64,
    /// Whether to look ahead; needs momentum and no dampening.
    pub nesterov: bool,
}

impl Default for SgdConfig {
    fn default() -> Self {
        SgdConfig { lr: 1e-3, momentum: 0.0, dampening: 0.0, weight_decay: 0.0, nesterov: false }
    }
}

impl Config for SgdConfig {
    fn lr(&self) -> f64 {
        self.lr
    }
}

impl SgdConfig {
    /// This rate, everything else off.
    pub fn new(lr: f64) -> Self {
        SgdConfig { lr, ..Self::default() }
    }
}

enum State {
    Plain(Groups<SgdConfig, 0>),
    Momentum(Groups<SgdConfig, 1>),
}

/// Stochastic gradient descent with momentum, Nesterov's look-ahead, dampening and weight decay, as PyTorch's `SGD`.
///
/// The velocity of parameters of half precision is kept in f32. A row-sparse gradient counts as zero in absent rows;
/// without momentum and decay they are not touched.
pub struct Sgd {
    state: State,
}

impl Sgd {
    /// One group.
    pub fn new(params: Vec<(String, Param)>, config: SgdConfig) -> Result<Self> {
        Self::with_groups(vec![(params, config)])
    }

    /// Several groups, each with its options.
    pub fn with_groups(groups: Vec<(Vec<(String, Param)>, SgdConfig)>) -> Result<Self> {
        for (_, c) in &groups {
            let sound = c.lr >= 0.0 && c.momentum >= 0.0 && c.weight_decay >= 0.0;
            if !sound || c.nesterov && (c.momentum <= 0.0 || c.dampening != 0.0) {
                let message = format!("{c:?}: nothing may be negative, and nesterov needs momentum and no dampening");
                return Err(Error::argument("sgd", message));
            }
        }
        // One group with momentum gives all of them a velocity; where momentum is 0 it is the gradient itself.
        let state = if groups.iter().any(|(_, c)| c.momentum != 0.0) {
            State::Momentum(Groups::new(groups, ["velocity"])?)
        } else {
            State::Plain(Groups::new(groups, [])?)
        };
        Ok(Sgd { state })
    }
}

fn plain(c: &SgdConfig, lr: f64, clip: kernel::Clip) -> kernel::Sgd {
    kernel::Sgd { lr, weight_decay: c.weight_decay, clip }
}

impl Optimizer for Sgd {
    fn step_clipped(&mut self, gradients: &Gradients, clip: Clip) -> Result<f64> {
        match &mut self.state {
            State::Plain(groups) => groups.step(gradients, clip, |c, lr, _, clip| plain(c, lr, clip)),
            State::Momentum(groups) => groups.step(gradients, clip, |c, lr, steps, clip| kernel::SgdMomentum {
                sgd: plain(c, lr, clip),
                momentum: c.momentum,
                // A group without momentum moves by the gradient, dampened by nothing.
                dampening: if c.momentum == 0.0 { 0.0 } else { c.dampening },
                nesterov: c.nesterov,
                first: steps == 0,
            }),
        }
    }

    fn lr(&self) -> f64 {
        match &self.state {
            State::Plain(g) => g.lr,
            State::Momentum(g) => g.lr,
        }
    }

    fn set_lr(&mut self, lr: f64) {
        match &mut self.state {
            State::Plain(g) => g.lr = lr,
            State::Momentum(g) => g.lr = lr,
        }
    }

    fn state_dict(&self) -> Result<StateDict> {
        match &self.state {
            State::Plain(g) => g.state_dict(),
            State::Momentum(g) => g.state_dict(),
        }
    }

    fn load_state_dict(&mut self, state: &StateDict, what: &str) -> Result<()> {
        match &mut self.state {
            State::Plain(g) => g.load_state_dict(state, what),
            State::Momentum(g) => g.load_state_dict(state, what),
        }
    }
}
