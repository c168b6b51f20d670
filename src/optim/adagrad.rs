//! AdaGrad.

use super::group::{Groups, Options, grouped};
use crate::kernels::optimizer::Rule;
use crate::nn::Param;
use crate::{Error, Result};

/// The options of [`AdaGrad`]; the default has PyTorch's: rate 0.01, eps 1e-10, everything else 0.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdaGradConfig {
    /// The learning rate.
    pub lr: f64,
    /// How fast the rate falls: update t goes by lr / (1 + (t − 1) · this).
    pub lr_decay: f64,
    /// λ of the penalty λ/2 |p|².
    pub weight_decay: f64,
    /// What the sums of squares begin as.
    pub initial_accumulator: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// Whether parameters of f16 and bf16 are kept and updated in f32 too, so that small updates are not lost to
    /// rounding.
    pub master_weights: bool,
}

impl Default for AdaGradConfig {
    fn default() -> Self {
        let (lr_decay, weight_decay, initial_accumulator) = (0.0, 0.0, 0.0);
        AdaGradConfig { lr: 0.01, lr_decay, weight_decay, initial_accumulator, eps: 1e-10, master_weights: true }
    }
}

impl AdaGradConfig {
    /// This rate, PyTorch's other options.
    pub fn new(lr: f64) -> Self {
        AdaGradConfig { lr, ..Self::default() }
    }
}

/// AdaGrad (Duchi, Hazan and Singer 2011), as PyTorch's `Adagrad`: every number goes by a rate of its own, which falls
/// with the sum of its squared gradients.
///
/// The sums of parameters of half precision are kept in f32. A row-sparse gradient counts as zero in absent rows;
/// without decays they are not touched.
pub struct AdaGrad {
    groups: Groups,
}

impl AdaGrad {
    /// One group.
    pub fn new(params: Vec<(String, Param)>, config: AdaGradConfig) -> Result<Self> {
        Self::with_groups(vec![(params, config)])
    }

    /// Several groups, each with its options.
    pub fn with_groups(groups: Vec<(Vec<(String, Param)>, AdaGradConfig)>) -> Result<Self> {
        let groups = groups.into_iter().map(|(params, c)| Ok((params, options(&c)?)));
        Ok(AdaGrad { groups: Groups::new(groups.collect::<Result<_>>()?)? })
    }
}

fn options(c: &AdaGradConfig) -> Result<Options> {
    let AdaGradConfig { lr, lr_decay, weight_decay, initial_accumulator: initial, eps, master_weights } = *c;
    if ![lr, lr_decay, weight_decay, initial, eps].iter().all(|&option| option >= 0.0) {
        return Err(Error::argument("adagrad", format!("{c:?}: nothing may be negative")));
    }
    Ok(Options { rule: Rule::AdaGrad { lr_decay, eps, weight_decay }, lr, states: &["sum"], initial, master_weights })
}

grouped!(AdaGrad);
