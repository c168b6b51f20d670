//! Stochastic gradient descent.

use super::group::{Groups, Options, grouped};
use crate::kernels::optimizer::Rule;
use crate::nn::Param;
use crate::{Error, Result};

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
    /// Whether parameters of f16 and bf16 are kept and updated in f32 too, so that small updates are not lost to
    /// rounding.
    pub master_weights: bool,
}

impl Default for SgdConfig {
    fn default() -> Self {
        let (momentum, dampening, weight_decay) = (0.0, 0.0, 0.0);
        SgdConfig { lr: 1e-3, momentum, dampening, weight_decay, nesterov: false, master_weights: true }
    }
}

impl SgdConfig {
    /// This rate, everything else off.
    pub fn new(lr: f64) -> Self {
        SgdConfig { lr, ..Self::default() }
    }
}

/// Stochastic gradient descent with momentum, Nesterov's look-ahead, dampening and weight decay, as PyTorch's `SGD`.
///
/// The velocity of parameters of half precision is kept in f32. A row-sparse gradient counts as zero in absent rows;
/// without momentum and decay they are not touched.
pub struct Sgd {
    groups: Groups,
}

impl Sgd {
    /// One group.
    pub fn new(params: Vec<(String, Param)>, config: SgdConfig) -> Result<Self> {
        Self::with_groups(vec![(params, config)])
    }

    /// Several groups, each with its options.
    pub fn with_groups(groups: Vec<(Vec<(String, Param)>, SgdConfig)>) -> Result<Self> {
        let groups = groups.into_iter().map(|(params, c)| Ok((params, options(&c)?)));
        Ok(Sgd { groups: Groups::new(groups.collect::<Result<_>>()?)? })
    }
}

fn options(c: &SgdConfig) -> Result<Options> {
    let sound = c.lr >= 0.0 && c.momentum >= 0.0 && c.weight_decay >= 0.0;
    if !sound || c.nesterov && (c.momentum <= 0.0 || c.dampening != 0.0) {
        let message = format!("{c:?}: nothing may be negative, and nesterov needs momentum and no dampening");
        return Err(Error::argument("sgd", message));
    }
    let SgdConfig { lr, momentum, dampening, weight_decay, nesterov, master_weights } = *c;
    let (rule, states): (_, &[_]) = if momentum == 0.0 {
        (Rule::Sgd { weight_decay }, &[])
    } else {
        (Rule::SgdMomentum { weight_decay, momentum, dampening, nesterov }, &["velocity"])
    };
    Ok(Options { rule, lr, states, initial: 0.0, master_weights })
}

grouped!(Sgd);
