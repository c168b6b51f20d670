//! FTRL-proximal.

use super::group::{Groups, Options, grouped};
use crate::kernels::optimizer::Rule;
use crate::nn::Param;
use crate::{Error, Result};

/// The options of [`Ftrl`]; the default has Keras's: rate 0.001, sums that begin as 0.1, no penalties.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FtrlConfig {
    /// The learning rate α.
    pub lr: f64,
    /// λ₁: parameters that are pulled by less are 0.
    pub l1: f64,
    /// λ₂ of the penalty λ₂ |p|².
    pub l2: f64,
    /// Added to the root of the sum of squares, which divides the rate.
    pub beta: f64,
    /// What the sums of squares begin as.
    pub initial_accumulator: f64,
    /// Whether parameters of f16 and bf16 are kept and updated in f32 too, so that small updates are not lost to
    /// rounding.
    pub master_weights: bool,
}

impl Default for FtrlConfig {
    fn default() -> Self {
        let (l1, l2, beta) = (0.0, 0.0, 0.0);
        FtrlConfig { lr: 0.001, l1, l2, beta, initial_accumulator: 0.1, master_weights: true }
    }
}

impl FtrlConfig {
    /// This rate, Keras's other options.
    pub fn new(lr: f64) -> Self {
        FtrlConfig { lr, ..Self::default() }
    }
}

/// FTRL-proximal (McMahan et al. 2013, "Ad Click Prediction: a View from the Trenches"), as Keras's `Ftrl` with its
/// learning rate power of −0.5: with `l1`, weights of features that matter little are exactly 0.
///
/// A parameter follows from the sums of its gradients alone: where these are 0, it becomes 0 at the first step,
/// whatever it began as. With a rate of 0 nothing moves. The sums of parameters of half precision are kept in f32.
pub struct Ftrl {
    groups: Groups,
}

impl Ftrl {
    /// One group.
    pub fn new(params: Vec<(String, Param)>, config: FtrlConfig) -> Result<Self> {
        Self::with_groups(vec![(params, config)])
    }

    /// Several groups, each with its options.
    pub fn with_groups(groups: Vec<(Vec<(String, Param)>, FtrlConfig)>) -> Result<Self> {
        let groups = groups.into_iter().map(|(params, c)| Ok((params, options(&c)?)));
        Ok(Ftrl { groups: Groups::new(groups.collect::<Result<_>>()?)? })
    }
}

fn options(c: &FtrlConfig) -> Result<Options> {
    let FtrlConfig { lr, l1, l2, beta, initial_accumulator: initial, master_weights } = *c;
    if ![lr, l1, l2, beta, initial].iter().all(|&option| option >= 0.0) || beta == 0.0 && l2 == 0.0 && initial == 0.0 {
        let why = "nothing may be negative, and without beta and l2 the sums begin above 0 (a step divides by them)";
        let message = format!("{c:?}: {why}");
        return Err(Error::argument("ftrl", message));
    }
    Ok(Options { rule: Rule::Ftrl { l1, l2, beta }, lr, states: &["accumulator", "linear"], initial, master_weights })
}

grouped!(Ftrl);
