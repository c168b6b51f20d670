//! Floor 5: optimizers with PyTorch's defaults and update rules, clipping and learning-rate schedules.
//!
//! An optimizer takes named parameters (`params.trainable()`), in one group or several, and updates them in place from
//! the [`Gradients`] of a backward, all tensors in one pass.

mod adam;
mod clip;
mod group;
pub mod schedule;
mod sgd;

pub use adam::{Adam, AdamConfig};
pub use clip::{Clip, clip_grad_norm, clip_grad_value, grad_norm};
pub use sgd::{Sgd, SgdConfig};

use crate::nn::StateDict;
use crate::{Gradients, Result};

/// Updates parameters from gradients.
pub trait Optimizer: Send {
    /// One update of every parameter that has a gradient; others stay as they are.
    fn step(&mut self, gradients: &Gradients) -> Result<()> {
        self.step_clipped(gradients, Clip::None).map(drop)
    }

    /// As [`step`](Optimizer::step) with the gradients clipped on their way, at no extra pass over memory but the one
    /// that measures the norm. Returns the norm before clipping (0 unless it was measured).
    fn step_clipped(&mut self, gradients: &Gradients, clip: Clip) -> Result<f64>;

    /// The learning rate of the first group.
    fn lr(&self) -> f64;

    /// Sets the learning rate: of the first group, the others keep their ratio to it.
    fn set_lr(&mut self, lr: f64);

    /// Everything that the next step depends on besides parameters and gradients, rates included: saved and loaded, a
    /// run continues bit for bit.
    fn state_dict(&self) -> Result<StateDict>;

    /// Takes back what [`state_dict`](Optimizer::state_dict) gave. Strict: an error lists what does not fit, and then
    /// nothing was changed.
    fn load_state_dict(&mut self, state: &StateDict, what: &str) -> Result<()>;
}
