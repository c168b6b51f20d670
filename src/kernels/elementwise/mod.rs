//! Elementwise maps, broadcast by strides: arithmetic, activations, elementwise losses and their backwards; integer
//! arithmetic, comparisons, selection and casts.
//!
//! A float function is a value of a type that implements [`Map`]; adding one is a line in `functions/` (and its functor
//! in `kernels/elementwise.cu`), nothing else. Its floor is memory traffic: every input read once, the output written
//! once, or with [`map_in_place`] an input overwritten.

mod cast;
mod compare;
mod cpu;
mod functions;
mod integer;
mod reductions;

pub use cast::cast;
pub use compare::{Relation, compare, select};
pub use functions::*;
pub use integer::{IntegerMap, map_integer};
pub use reductions::*;

use crate::device::cpu::Real;
use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, no_cuda, unsupported};
use crate::{Error, Layout, Result, Shape, with_float};

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
    let host = check(F::NAME, &inputs, out)?;
    let whole = *inputs[0].layout();
    match out.memory_mut() {
        Memory::Cpu(_) if host => with_float!(dtype, T => {
            let block = |x: [&[_]; N], out: &mut [_]| cpu::apply(f, x, out);
            cpu::map::<N, T>(&block, &inputs.map(Some), whole, out.as_mut_slice::<T>()?)
        }, else Err(unsupported(F::NAME, dtype, "f32, f16, bf16, f64"))),
        Memory::Cuda(_) if !host => Err(no_cuda(F::NAME, dtype)),
        _ => Err(mixed_devices(F::NAME)),
    }
}

/// `out[i] = f(out[i], rest[0][i], …)`: the first input, contiguous and of `shape`, is overwritten by the result.
/// `rest` are the `N` − 1 others, as for [`map`].
pub fn map_in_place<const N: usize, F: Map<N>>(f: F, out: &mut Buffer, shape: Shape, rest: &[View<'_>]) -> Result<()> {
    let dtype = out.dtype();
    if rest.len() + 1 != N || shape.numel() != out.len() || rest.iter().any(|r| *r.layout().shape() != shape) {
        let shapes: Vec<_> = std::iter::once(shape).chain(rest.iter().map(|r| *r.layout().shape())).collect();
        return Err(Error::shape(F::NAME, format!("{N} operands of one shape with {} elements", out.len()), &shapes));
    }
    let host = if rest.is_empty() { matches!(out.memory(), Memory::Cpu(_)) } else { check(F::NAME, rest, out)? };
    let views: [Option<View<'_>>; N] = std::array::from_fn(|i| i.checked_sub(1).map(|i| rest[i]));
    match out.memory_mut() {
        Memory::Cpu(_) if host => with_float!(dtype, T => {
            let block = |x: [&[_]; N], out: &mut [_]| cpu::apply(f, x, out);
            cpu::map::<N, T>(&block, &views, Layout::contiguous(shape), out.as_mut_slice::<T>()?)
        }, else Err(unsupported(F::NAME, dtype, "f32, f16, bf16, f64"))),
        Memory::Cuda(_) if !host => Err(no_cuda(F::NAME, dtype)),
        _ => Err(mixed_devices(F::NAME)),
    }
}

/// `out[0] = scale · Σ f(inputs[0][i], …)`: the sum of a map that is never stored. Terms are f32 (f64 for f64), their
/// sum is kept in f64, in an order that depends on the count of elements only.
pub fn map_sum<const N: usize, F: Map<N>>(f: F, inputs: [View<'_>; N], scale: f64, out: &mut Buffer) -> Result<()> {
    let dtype = out.dtype();
    if out.len() != 1 {
        return Err(Error::argument(F::NAME, format!("a sum has one output, not {}", out.len())));
    }
    let host = check_inputs(F::NAME, &inputs, out)?;
    match out.memory_mut() {
        Memory::Cpu(_) if host => with_float!(dtype, T => {
            let block = |x: [&[_]; N], out: &mut [_]| cpu::apply(f, x, out);
            let sum = cpu::sum::<N, T>(&block, &inputs)? * scale;
            out.as_mut_slice::<T>()?[0] = crate::Element::from_f64(sum);
            Ok(())
        }, else Err(unsupported(F::NAME, dtype, "f32, f16, bf16, f64"))),
        Memory::Cuda(_) if !host => Err(no_cuda(F::NAME, dtype)),
        _ => Err(mixed_devices(F::NAME)),
    }
}

/// Whether all inputs are on the CPU; an error if dtypes or shapes differ.
fn check(op: &'static str, inputs: &[View<'_>], out: &Buffer) -> Result<bool> {
    compare::same_shape(op, inputs, out)?;
    check_inputs(op, inputs, out)
}

fn check_inputs(op: &'static str, inputs: &[View<'_>], out: &Buffer) -> Result<bool> {
    let first = inputs[0].layout().shape();
    for input in inputs {
        if input.dtype() != out.dtype() {
            return Err(Error::dtype(op, "inputs of the output's dtype", &[input.dtype(), out.dtype()]));
        }
        if input.layout().shape() != first {
            return Err(Error::shape(op, "inputs of one shape", &[*first, *input.layout().shape()]));
        }
    }
    Ok(inputs.iter().all(|i| matches!(i.buffer().memory(), Memory::Cpu(_))))
}
