//! Elementwise maps of one to three inputs, broadcast by strides: arithmetic, activations and their backwards.
//!
//! A function is a value of a type that implements [`Map`]; adding one is an `impl Map` (and its functor in
//! `kernels/elementwise.cu`), nothing else.

mod cpu;
mod functions;
mod reductions;

pub use functions::*;
pub use reductions::*;

use crate::device::cpu::Real;
use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, no_cuda, unsupported};
use crate::{Error, Result, with_float};

/// A function of `N` numbers, applied to every element. Constants (a slope, a bound) are fields.
pub trait Map<const N: usize>: Copy + Send + Sync {
    /// The functor's name in `kernels/elementwise.cu` and in error messages.
    const NAME: &'static str;

    /// The function, in f32 or f64. Must be `#[inline(always)]` to vectorise.
    fn eval<A: Real>(&self, x: [A; N]) -> A;
}

/// `out[i] = f(inputs[0][i], …)` for float inputs of one dtype. The inputs have one shape (broadcast by strides
/// beforehand); `out` is contiguous, of that many elements and of the same dtype.
pub fn map<const N: usize, F: Map<N>>(f: F, inputs: [View<'_>; N], out: &mut Buffer) -> Result<()> {
    let dtype = out.dtype();
    for input in &inputs {
        if input.dtype() != dtype {
            return Err(Error::dtype(F::NAME, "inputs of the output's dtype", &[input.dtype(), dtype]));
        }
        if input.layout().shape() != inputs[0].layout().shape() || input.layout().numel() != out.len() {
            let shapes: Vec<_> = inputs.iter().map(|i| *i.layout().shape()).collect();
            return Err(Error::shape(F::NAME, format!("inputs of one shape with {} elements", out.len()), &shapes));
        }
    }
    let host = inputs.iter().all(|i| matches!(i.buffer().memory(), Memory::Cpu(_)));
    match out.memory_mut() {
        Memory::Cpu(_) if host => {
            with_float!(dtype, T => cpu::map::<N, F, T>(f, &inputs, out.as_mut_slice::<T>()?),
                else Err(unsupported(F::NAME, dtype, "f32, f16, bf16, f64")))
        }
        Memory::Cuda(_) if !host => Err(no_cuda(F::NAME, dtype)),
        _ => Err(mixed_devices(F::NAME)),
    }
}
