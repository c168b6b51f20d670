//! Elementwise maps, broadcast by strides: arithmetic, activations, elementwise losses and their backwards; integer
//! arithmetic, comparisons, selection and casts.
//!
//! A float function is a value of a type that implements [`Map`]; adding one is a line in `functions/` (and its functor
//! in `kernels/elementwise.cu`), nothing else. Its floor is memory traffic: every input read once, the output written
//! once, or with [`map_in_place`] an input overwritten.

mod cast;
mod compare;
mod copy;
mod cpu;
pub(crate) mod cuda;
mod functions;
mod integer;

pub use cast::cast;
pub use compare::{Relation, compare, select};
pub(crate) use copy::packed;
pub use copy::{Contiguous, contiguous, copy, fill};
pub use cuda::MapKernels;
pub use functions::*;
pub use integer::{IntegerMap, map_integer};

use crate::device::cpu::Real;
use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, unsupported};
use crate::{DType, Element, Error, Layout, Result, Shape, with_dtype};
use half::{bf16, f16};

/// A function of `N` numbers, applied to every element. Constants (a slope, a bound) are fields.
pub trait Map<const N: usize>: Copy + Send + Sync {
    /// The functor's name in `kernels/elementwise.cu` and in error messages.
    const NAME: &'static str;

    /// Its CUDA kernels: one static for each type, so that launches look nothing up by name.
    fn kernels() -> &'static MapKernels;

    /// The constants as kernels take them, in the order of the fields.
    fn constants(&self) -> [f32; 2] {
        [0.0; 2]
    }

    /// The function, in f32 or f64. Must be `#[inline(always)]` to vectorise.
    fn eval<A: Real>(&self, x: [A; N]) -> A;
}

/// A map as two functions over blocks. What follows is compiled once, not once per function.
struct Blocks<'a, const N: usize> {
    name: &'static str,
    kernels: &'static MapKernels,
    constants: [f32; 2],
    single: cpu::Apply<'a, N, f32>,
    double: cpu::Apply<'a, N, f64>,
}

macro_rules! blocks {
    ($f:ident: $F:ident<$N:ident>) => {
        Blocks::<$N> {
            name: $F::NAME,
            kernels: $F::kernels(),
            constants: $f.constants(),
            single: &|x, out| cpu::apply($f, x, out),
            double: &|x, out| cpu::apply($f, x, out),
        }
    };
}

impl<const N: usize> Blocks<'_, N> {
    fn apply(&self, inputs: [View<'_>; N], out: &mut Buffer) -> Result<()> {
        let host = check(self.name, &inputs, out)?;
        self.map(&inputs.map(Some), *inputs[0].layout(), host, out)
    }

    fn apply_in_place(&self, out: &mut Buffer, shape: Shape, rest: &[View<'_>]) -> Result<()> {
        let host = check_in_place(self.name, N, out, shape, rest)?;
        let views = std::array::from_fn(|i| i.checked_sub(1).map(|i| rest[i]));
        self.map(&views, Layout::contiguous(shape), host, out)
    }

    /// out = f(views), `None` being the output's own earlier value.
    fn map(&self, views: &[Option<View<'_>>; N], whole: Layout, host: bool, out: &mut Buffer) -> Result<()> {
        let dtype = out.dtype();
        match out.memory_mut() {
            Memory::Cpu(_) if host => match dtype {
                DType::F32 => cpu::map::<N, f32>(self.single, views, whole, out.as_mut_slice()?),
                DType::F16 => cpu::map::<N, f16>(self.single, views, whole, out.as_mut_slice()?),
                DType::BF16 => cpu::map::<N, bf16>(self.single, views, whole, out.as_mut_slice()?),
                DType::F64 => cpu::map::<N, f64>(self.double, views, whole, out.as_mut_slice()?),
                _ => Err(unsupported(self.name, dtype, "f32, f16, bf16, f64")),
            },
            Memory::Cuda(out) if !host => cuda::map(self.kernels, self.constants, views, whole, dtype, out),
            _ => Err(mixed_devices(self.name)),
        }
    }

    fn sum(&self, views: [View<'_>; N], scale: f64, out: &mut Buffer) -> Result<()> {
        if out.len() != 1 {
            return Err(Error::argument(self.name, format!("a sum has one output, not {}", out.len())));
        }
        let (dtype, host, views) = (out.dtype(), check_inputs(self.name, &views, out)?, &views);
        match out.memory_mut() {
            Memory::Cpu(_) if host => {
                let sum = match dtype {
                    DType::F32 => cpu::sum::<N, f32>(self.single, views)?,
                    DType::F16 => cpu::sum::<N, f16>(self.single, views)?,
                    DType::BF16 => cpu::sum::<N, bf16>(self.single, views)?,
                    DType::F64 => cpu::sum::<N, f64>(self.double, views)?,
                    _ => return Err(unsupported(self.name, dtype, "f32, f16, bf16, f64")),
                };
                with_dtype!(dtype, T => out.as_mut_slice::<T>()?[0] = Element::from_f64(sum * scale));
                Ok(())
            }
            Memory::Cuda(out) if !host => {
                let whole = *views[0].layout();
                cuda::sum(self.kernels, self.constants, &views.map(Some), whole, scale, dtype, out)
            }
            _ => Err(mixed_devices(self.name)),
        }
    }
}

/// `out[i] = f(inputs[0][i], …)` for float inputs of one dtype. The inputs have one shape (broadcast by strides
/// beforehand); `out` is contiguous, of that many elements and of the same dtype.
pub fn map<const N: usize, F: Map<N>>(f: F, inputs: [View<'_>; N], out: &mut Buffer) -> Result<()> {
    blocks!(f: F<N>).apply(inputs, out)
}

/// `out[i] = f(out[i], rest[0][i], …)`: the first input, contiguous and of `shape`, is overwritten by the result.
/// `rest` are the `N` − 1 others, as for [`map`].
pub fn map_in_place<const N: usize, F: Map<N>>(f: F, out: &mut Buffer, shape: Shape, rest: &[View<'_>]) -> Result<()> {
    blocks!(f: F<N>).apply_in_place(out, shape, rest)
}

/// `out[0] = scale · Σ f(inputs[0][i], …)`: the sum of a map that is never stored. Terms are f32 (f64 for f64), their
/// sum is kept in f64, in an order that depends on the count of elements only.
pub fn map_sum<const N: usize, F: Map<N>>(f: F, inputs: [View<'_>; N], scale: f64, out: &mut Buffer) -> Result<()> {
    blocks!(f: F<N>).sum(inputs, scale, out)
}

fn check_in_place(op: &'static str, n: usize, out: &Buffer, shape: Shape, rest: &[View<'_>]) -> Result<bool> {
    if rest.len() + 1 != n || shape.numel() != out.len() || rest.iter().any(|r| *r.layout().shape() != shape) {
        let shapes: Vec<_> = std::iter::once(shape).chain(rest.iter().map(|r| *r.layout().shape())).collect();
        return Err(Error::shape(op, format!("{n} operands of one shape with {} elements", out.len()), &shapes));
    }
    if rest.is_empty() { Ok(matches!(out.memory(), Memory::Cpu(_))) } else { check(op, rest, out) }
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
