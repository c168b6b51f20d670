//! Adam and AdamW.

use super::group::{Config, Groups};
use super::{Clip, Optimizer};
use crate::kernels::optimizer as kernel;
use crate::nn::{Param, StateDict};
use crate::{Error, Gradients, Result};

/// The options of [`Adam`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamConfig {
    /// The learning rate.
    pub lr: f64,
    /// How much of the means of g and of g² is kept.
    pub betas: (f64, f64),
    /// Added to the denominator.
    pub eps: f64,
    /// The decay.
    pub weight_decay: f64,
    /// Whether the decay shrinks the parameter itself (AdamW) or joins the gradient (Adam).
    pub decoupled: bool,
    /// Whether the denominator takes the largest mean square so far (all groups must agree).
    pub amsgrad: bool,
}

impl Config for AdamConfig {
    fn lr(&self) -> f64 {
        self.lr
    }
}

impl AdamConfig {
    /// PyTorch's defaults of `Adam`: β 0.9 and 0.999, eps 1e-8, no decay.
    pub fn adam(lr: f64) -> Self {
        let betas = (0.9, 0.999);
        AdamConfig { lr, betas, eps: 1e-8, weight_decay: 0.0, decoupled: false, amsgrad: false }
    }

    /// PyTorch's defaults of `AdamW`: as Adam's, with a decoupled decay of 0.01.
    pub fn adamw(lr: f64) -> Self {
        AdamConfig { weight_decay: 0.01, decoupled: true, ..Self::adam(lr) }
    }
}

impl Default for AdamConfig {
    /// PyTorch's `Adam`, rate 1e-3 included.
    fn default() -> Self {
        Self::adam(1e-3)
    }
}

enum State {
    Means(Groups<AdamConfig, 2>),
    Largest(Groups<AdamConfig, 3>),
}

/// Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019) and AMSGrad (Reddi et al. 2018), as PyTorch's.
///
/// The means of parameters of half precision are kept in f32. A row-sparse gradient counts as zero in absent rows.
pub struct Adam {
    state: State,
}

impl Adam {
    /// One group.
    pub fn new(params: Vec<(String, Param)>, config: AdamConfig) -> Result<Self> {
        Self::with_groups(vec![(params, config)])
    }

    /// Several groups, each with its options: no decay for biases and norms.
    pub fn with_groups(groups: Vec<(Vec<(String, Param)>, AdamConfig)>) -> Result<Self> {
        for (_, c) in &groups {
            let unit = 0.0..1.0;
            let sound = c.lr >= 0.0 && c.eps >= 0.0 && c.weight_decay >= 0.0;
            if !sound || !unit.contains(&c.betas.0) || !unit.contains(&c.betas.1) {
                let message = format!("{c:?}: nothing may be negative, and betas lie in [0, 1)");
                return Err(Error::argument("adam", message));
            }
        }
        let amsgrad = groups.iter().filter(|(_, c)| c.amsgrad).count();
        if amsgrad != 0 && amsgrad != groups.len() {
            return Err(Error::argument("adam", "either all groups use amsgrad or none"));
        }
        let state = if amsgrad > 0 {
            State::Largest(Groups::new(groups, ["exp_avg", "exp_avg_sq", "max_exp_avg_sq"])?)
        } else {
            State::Means(Groups::new(groups, ["exp_avg", "exp_avg_sq"])?)
        };
        Ok(Adam { state })
    }
}

fn rule(c: &AdamConfig, lr: f64, steps: u64, clip: kernel::Clip) -> kernel::Adam {
    let t = (steps + 1) as f64;
    kernel::Adam {
        lr,
        beta1: c.betas.0,
        beta2: c.betas.1,
        eps: c.eps,
        weight_decay: c.weight_decay,
        decoupled: c.decoupled,
        bias1: 1.0 - c.betas.0.powf(t),
        bias2_sqrt: (1.0 - c.betas.1.powf(t)).sqrt(),
        clip,
    }
}

impl Optimizer for Adam {
    fn step_clipped(&mut self, gradients: &Gradients, clip: Clip) -> Result<f64> {
        match &mut self.state {
            State::Means(groups) => groups.step(gradients, clip, rule),
            State::Largest(groups) => {
                groups.step(gradients, clip, |c, lr, steps, clip| kernel::AmsGrad(rule(c, lr, steps, clip)))
            }
        }
    }

    fn lr(&self) -> f64 {
        match &self.state {
            State::Means(g) => g.lr,
            State::Largest(g) => g.lr,
        }
    }

    fn set_lr(&mut self, lr: f64) {
        match &mut self.state {
            State::Means(g) => g.lr = lr,
            State::Largest(g) => g.lr = lr,
        }
    }

    fn state_dict(&self) -> Result<StateDict> {
        match &self.state {
            State::Means(g) => g.state_dict(),
            State::Largest(g) => g.state_dict(),
        }
    }

    fn load_state_dict(&mut self, state: &StateDict, what: &str) -> Result<()> {
        match &mut self.state {
            State::Means(g) => g.load_state_dict(state, what),
            State::Largest(g) => g.load_state_dict(state, what),
        }
    }
}
