//! Adam and AdamW.

use super::group::{Groups, Options, grouped};
use crate::kernels::optimizer::Rule;
use crate::nn::Param;
use crate::{Error, Result};

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
    /// Whether the denominator takes the largest mean square so far.
    pub amsgrad: bool,
    /// Whether parameters of f16 and bf16 are kept and updated in f32 too, so that small updates are not lost to
    /// rounding.
    pub master_weights: bool,
}

impl AdamConfig {
    /// PyTorch's defaults of `Adam`: β 0.9 and 0.999, eps 1e-8, no decay.
    pub fn adam(lr: f64) -> Self {
        let betas = (0.9, 0.999);
        let (eps, weight_decay) = (1e-8, 0.0);
        AdamConfig { lr, betas, eps, weight_decay, decoupled: false, amsgrad: false, master_weights: true }
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

/// Adam (Kingma and Ba 2015), AdamW (Loshchilov and Hutter 2019) and AMSGrad (Reddi et al. 2018), as PyTorch's.
///
/// The means of parameters of half precision are kept in f32. A row-sparse gradient counts as zero in absent rows.
pub struct Adam {
    groups: Groups,
}

impl Adam {
    /// One group.
    pub fn new(params: Vec<(String, Param)>, config: AdamConfig) -> Result<Self> {
        Self::with_groups(vec![(params, config)])
    }

    /// Several groups, each with its options: no decay for biases and norms.
    pub fn with_groups(groups: Vec<(Vec<(String, Param)>, AdamConfig)>) -> Result<Self> {
        let groups = groups.into_iter().map(|(params, c)| Ok((params, options(&c)?)));
        Ok(Adam { groups: Groups::new(groups.collect::<Result<_>>()?)? })
    }
}

fn options(c: &AdamConfig) -> Result<Options> {
    let unit = 0.0..1.0;
    let sound = c.lr >= 0.0 && c.eps >= 0.0 && c.weight_decay >= 0.0;
    if !sound || !unit.contains(&c.betas.0) || !unit.contains(&c.betas.1) {
        let message = format!("{c:?}: nothing may be negative, and betas lie in [0, 1)");
        return Err(Error::argument("adam", message));
    }
    let AdamConfig { lr, betas: (beta1, beta2), eps, weight_decay, decoupled, amsgrad, master_weights } = *c;
    let states: &[_] = if amsgrad { &["exp_avg", "exp_avg_sq", "max_exp_avg_sq"] } else { &["exp_avg", "exp_avg_sq"] };
    let rule = Rule::Adam { beta1, beta2, eps, weight_decay, decoupled, amsgrad };
    Ok(Options { rule, lr, states, initial: 0.0, master_weights })
}

grouped!(Adam);
