//! Lion.

use super::group::{Groups, Options, grouped};
use crate::kernels::optimizer::Rule;
use crate::nn::Param;
use crate::{Error, Result};

/// The options of [`Lion`]; the default has the paper's: rate 1e-4, β 0.9 and 0.99, no decay.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LionConfig {
    /// The learning rate: a third to a tenth of AdamW's.
    pub lr: f64,
    /// How much of the mean of g enters the direction of a step, and how much of it is kept.
    pub betas: (f64, f64),
    /// The decay, which shrinks the parameter itself: three to ten times AdamW's.
    pub weight_decay: f64,
    /// Whether parameters of f16 and bf16 are kept and updated in f32 too, so that small updates are not lost to
    /// rounding.
    pub master_weights: bool,
}

impl Default for LionConfig {
    fn default() -> Self {
        LionConfig { lr: 1e-4, betas: (0.9, 0.99), weight_decay: 0.0, master_weights: true }
    }
}

impl LionConfig {
    /// This rate, the paper's other options.
    pub fn new(lr: f64) -> Self {
        LionConfig { lr, ..Self::default() }
    }
}

/// Lion (Chen et al. 2023, "Symbolic Discovery of Optimization Algorithms", algorithm 2): every number goes by the same
/// step, in the direction of the sign of a mean of its gradients; one number of state where Adam has two.
///
/// ```
/// use warpsmith::nn::{Init, Params};
/// use warpsmith::optim::{Lion, LionConfig, Optimizer};
/// use warpsmith::{DType, Device};
///
/// let params = Params::new(&Device::Cpu, DType::F32, 0);
/// let w = params.param("w", [2], Init::ONES)?;
/// let mut optimizer = Lion::new(params.trainable(), LionConfig::new(0.25))?;
/// optimizer.step(&w.affine(3.0, 0.0)?.sum_all()?.backward()?)?;
/// assert_eq!(w.to_vec::<f32>()?, [0.75, 0.75]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
///
/// The mean of parameters of half precision is kept in f32. A row-sparse gradient counts as zero in absent rows.
pub struct Lion {
    groups: Groups,
}

impl Lion {
    /// One group.
    pub fn new(params: Vec<(String, Param)>, config: LionConfig) -> Result<Self> {
        Self::with_groups(vec![(params, config)])
    }

    /// Several groups, each with its options: no decay for biases and norms.
    pub fn with_groups(groups: Vec<(Vec<(String, Param)>, LionConfig)>) -> Result<Self> {
        let groups = groups.into_iter().map(|(params, c)| Ok((params, options(&c)?)));
        Ok(Lion { groups: Groups::new(groups.collect::<Result<_>>()?)? })
    }
}

fn options(c: &LionConfig) -> Result<Options> {
    let LionConfig { lr, betas: (beta1, beta2), weight_decay, master_weights } = *c;
    let unit = 0.0..1.0;
    if !(lr >= 0.0 && weight_decay >= 0.0 && unit.contains(&beta1) && unit.contains(&beta2)) {
        let message = format!("{c:?}: nothing may be negative, and betas lie in [0, 1)");
        return Err(Error::argument("lion", message));
    }
    let rule = Rule::Lion { beta1, beta2, weight_decay };
    Ok(Options { rule, lr, states: &["exp_avg"], initial: 0.0, master_weights })
}

grouped!(Lion);
