//! Random state: the counter-based generator Philox, and shuffles by any generator.
//!
//! Tensors are filled by [`Tensor::uniform`](crate::Tensor::uniform), [`normal`](crate::Tensor::normal),
//! [`gamma`](crate::Tensor::gamma), [`bernoulli`](crate::Tensor::bernoulli) and
//! [`multinomial`](crate::Tensor::multinomial): each element takes its numbers from its own counters, so the result
//! does not depend on threads or device.

mod philox;
mod shuffle;

pub use philox::{Philox, PhiloxState, philox};
pub use shuffle::{below, permutation, shuffle};
