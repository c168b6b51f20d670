//! Hand-written CUDA kernels as a Rust library, with tensors, autograd and training on top: no cuBLAS, no cuDNN, no
//! nvcc. The same programs run on the CPU device where there is no GPU.
//!
//! Floors, each importing only from below: plain values ([`DType`], [`Shape`], [`Error`]); [`device`] (memory,
//! threads, launches); [`kernels`] (one folder per family, on buffers); [`Tensor`] and [`autograd`]; operations
//! (methods of [`Tensor`]); `nn`, `optim` and what trains.

pub mod autograd;
pub mod data;
pub mod device;
mod dtype;
mod error;
pub mod kernels;
pub mod metrics;
pub mod models;
pub mod nn;
pub mod ops;
pub mod optim;
pub mod random;
mod shape;
mod tensor;
pub mod train;
pub mod trees;

pub use half;

pub use autograd::{Gradients, Var, autocast, no_grad};
pub use device::Device;
pub use dtype::{DType, Element};
pub use error::{Error, Result};
pub use ops::{AttentionParams, BatchNormOutput, CrossEntropyParams, Reduction, Slice};
pub use shape::{IntoShape, Layout, MAX_RANK, Shape};
pub use tensor::Tensor;

/// The program of the README compiles and runs.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
