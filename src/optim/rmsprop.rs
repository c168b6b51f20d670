//! RMSprop.

use super::group::{Groups, Options, grouped};
use crate::kernels::optimizer::Rule;
use crate::nn::Param;
use crate::{Error, Result};

/// The options of [`RmsProp`]; the default has PyTorch's: rate 0.01, α 0.99, eps 1e-8, everything else off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RmsPropConfig {
    /// The learning rate.
    pub lr: f64,
    /// How much of the means is kept.
    pub alpha: f64,
    /// Added to the denominator.
    pub eps: f64,
    /// λ of the penalty λ/2 |p|².
    pub weight_decay: f64,
    /// How much of the velocity is kept; 0 for none.
    pub momentum: f64,
    /// Whether to divide by the standard deviation instead of the root of the mean square.
    pub centered: bool,
    /// Whether parameters of f16 and bf16 are kept and updated in f32 too, so that small updates are not lost to
    /// rounding.
    pub master_weights: bool,
}

impl Default for RmsPropConfig {
    fn default() -> Self {
        let (weight_decay, momentum, centered) = (0.0, 0.0, false);
        RmsPropConfig { lr: 0.01, alpha: 0.99, eps: 1e-8, weight_decay, momentum, centered, master_weights: true }
    }
}

impl RmsPropConfig {
    /// This rate, PyTorch's other options.
    pub fn new(lr: f64) -> Self {
        RmsPropConfig { lr, ..Self::default() }
    }
}

/// RMSprop (Hinton, lecture 6e of Neural Networks for Machine Learning, 2012; centered: Graves 2013), as PyTorch's
/// `RMSprop`.
///
/// The means of parameters of half precision are kept in f32. A row-sparse gradient counts as zero in absent rows.
pub struct RmsProp {
    groups: Groups,
}

impl RmsProp {
    /// One group.
    pub fn new(params: Vec<(String, Param)>, config: RmsPropConfig) -> Result<Self> {
        Self::with_groups(vec![(params, config)])
    }

    /// Several groups, each with its options.
    pub fn with_groups(groups: Vec<(Vec<(String, Param)>, RmsPropConfig)>) -> Result<Self> {
        let groups = groups.into_iter().map(|(params, c)| Ok((params, options(&c)?)));
        Ok(RmsProp { groups: Groups::new(groups.collect::<Result<_>>()?)? })
    }
}

fn options(c: &RmsPropConfig) -> Result<Options> {
    let RmsPropConfig { lr, alpha, eps, weight_decay, momentum, centered, master_weights } = *c;
    if ![lr, alpha, eps, weight_decay, momentum].iter().all(|&option| option >= 0.0) || alpha > 1.0 {
        return Err(Error::argument("rmsprop", format!("{c:?}: nothing may be negative, and alpha is at most 1")));
    }
    let states: &[_] = match (centered, momentum != 0.0) {
        (false, false) => &["square_avg"],
        (false, true) => &["square_avg", "momentum_buffer"],
        (true, false) => &["square_avg", "grad_avg"],
        (true, true) => &["square_avg", "grad_avg", "momentum_buffer"],
    };
    let rule = Rule::RmsProp { alpha, eps, weight_decay, momentum, centered };
    Ok(Options { rule, lr, states, initial: 0.0, master_weights })
}

grouped!(RmsProp);
