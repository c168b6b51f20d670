//! Floor 5: optimizers with PyTorch's defaults and update rules, clipping, loss scaling and learning-rate schedules.
//!
//! An optimizer takes named parameters (`params.trainable()`), in one group or several, and updates them in place from
//! the [`Gradients`] of a backward, all tensors in one pass. Nothing that a step finds out (the norm of the gradients,
//! whether they are finite, how often each parameter was updated) comes back to the host.

mod adagrad;
mod adam;
mod clip;
mod ema;
mod ftrl;
mod group;
mod joined;
mod lion;
mod rmsprop;
mod scaler;
pub mod schedule;
mod sgd;

pub use adagrad::{AdaGrad, AdaGradConfig};
pub use adam::{Adam, AdamConfig};
pub(crate) use clip::norm_of;
pub use clip::{Clip, clip_grad_norm, clip_grad_value, grad_norm};
pub use ema::Ema;
pub use ftrl::{Ftrl, FtrlConfig};
pub use joined::Joined;
pub use lion::{Lion, LionConfig};
pub use rmsprop::{RmsProp, RmsPropConfig};
pub use scaler::{LossScaler, LossScalerConfig};
pub use sgd::{Sgd, SgdConfig};

use crate::nn::{Param, StateDict};
use crate::{Gradients, Result, Tensor};

/// Parts parameters into those that weight decay is for and the others, as most recipes have it: what has two axes or
/// more multiplies and decays (matrices, kernels, embeddings); vectors and scalars do not (biases, the gains of norms).
///
/// ```
/// use warpsmith::nn::{LayerNorm, Linear, Params};
/// use warpsmith::optim::{Adam, AdamConfig, decay_groups};
/// use warpsmith::{DType, Device};
///
/// let params = Params::new(&Device::Cpu, DType::F32, 0);
/// Linear::new(&params.sub("fc"), 8, 4)?;
/// LayerNorm::new(&params.sub("norm"), &[4])?;
/// let (decayed, others) = decay_groups(params.trainable());
/// assert_eq!(decayed[0].0, "fc.weight");
/// assert_eq!(others.len(), 3);
/// let config = AdamConfig { weight_decay: 0.1, ..AdamConfig::adamw(1e-3) };
/// let groups = vec![(decayed, config), (others, AdamConfig { weight_decay: 0.0, ..config })];
/// let optimizer = Adam::with_groups(groups)?;
/// # let _ = optimizer;
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn decay_groups(params: Vec<(String, Param)>) -> (Vec<(String, Param)>, Vec<(String, Param)>) {
    params.into_iter().partition(|(_, param)| param.rank() >= 2)
}

/// Updates parameters from gradients.
///
/// A step has two halves, so that a CUDA graph can hold the second: [`prepare`](Optimizer::prepare) tells the device
/// what changes from step to step (rates and bounds), [`launch`](Optimizer::launch) gives it the work.
pub trait Optimizer: Send {
    /// One update of every parameter that has a gradient; others stay as they are.
    fn step(&mut self, gradients: &Gradients) -> Result<()> {
        self.step_clipped(gradients, Clip::None).map(drop)
    }

    /// As [`step`](Optimizer::step) with the gradients clipped on their way, at no extra pass over memory but the one
    /// that measures the norm. Returns the norm before clipping, if it was measured: one number on the parameters'
    /// device, to be read ([`Tensor::item`]) when it is wanted; only that waits for the device.
    fn step_clipped(&mut self, gradients: &Gradients, clip: Clip) -> Result<Option<Tensor>> {
        self.prepare(clip)?;
        self.launch(gradients, None)
    }

    /// The host's half of a step: rates and bounds, by at most one small copy, to the same address every time.
    fn prepare(&mut self, clip: Clip) -> Result<()>;

    /// The device's half, as last prepared: kernels only, at the same addresses as long as the parameters with
    /// gradients, these gradients' addresses and the kind of clipping are the same. Captured in a graph after a step
    /// outside of it (which makes the state), it can be replayed, each time after [`prepare`](Optimizer::prepare) with
    /// that kind of clipping.
    ///
    /// With a `scaler`, the gradients are of the scaled loss: they are divided by the scale, and if one of them is not
    /// finite nothing but the scale changes; [`LossScaler::step`] does both halves.
    fn launch(&mut self, gradients: &Gradients, scaler: Option<&mut LossScaler>) -> Result<Option<Tensor>>;

    /// Another number once the state has moved to other memory, as when one was loaded: captured work does not find it
    /// there, and has to be captured again.
    fn generation(&self) -> u64 {
        0
    }

    /// The learning rate of the first group.
    fn lr(&self) -> f64;

    /// Sets the learning rate: of the first group, the others keep their ratio to it.
    fn set_lr(&mut self, lr: f64);

    /// Waits for the device. Everything that the next step depends on besides parameters and gradients, rates included:
    /// saved and loaded, a run continues bit for bit.
    fn state_dict(&self) -> Result<StateDict>;

    /// Takes back what [`state_dict`](Optimizer::state_dict) gave. Strict: an error lists what does not fit, and then
    /// nothing was changed.
    fn load_state_dict(&mut self, state: &StateDict, what: &str) -> Result<()>;
}

impl<O: Optimizer + ?Sized> Optimizer for Box<O> {
    fn prepare(&mut self, clip: Clip) -> Result<()> {
        (**self).prepare(clip)
    }

    fn launch(&mut self, gradients: &Gradients, scaler: Option<&mut LossScaler>) -> Result<Option<Tensor>> {
        (**self).launch(gradients, scaler)
    }

    fn generation(&self) -> u64 {
        (**self).generation()
    }

    fn lr(&self) -> f64 {
        (**self).lr()
    }

    fn set_lr(&mut self, lr: f64) {
        (**self).set_lr(lr);
    }

    fn state_dict(&self) -> Result<StateDict> {
        (**self).state_dict()
    }

    fn load_state_dict(&mut self, state: &StateDict, what: &str) -> Result<()> {
        (**self).load_state_dict(state, what)
    }
}
