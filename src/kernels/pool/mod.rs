//! Pooling over windows of planes: maximum with its position, average, and adaptive average.
//!
//! Inputs and outputs are contiguous (planes, H, W); a plane is one channel of one image, a 1-D signal has H = 1.

mod cpu;
mod cuda;

use crate::device::{Buffer, Memory, View};
use crate::kernels::window::Window;
use crate::kernels::{mixed_devices, unsupported};
use crate::{DType, Error, Result, with_float};

/// The planes and the window of each output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolDesc {
    /// Channels times images.
    pub planes: usize,
    /// H and W of the input.
    pub input: [usize; 2],
    /// H and W of the output.
    pub output: [usize; 2],
    /// What an output reads, along H and W.
    pub windows: Windows,
}

/// What an output of a pool reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Windows {
    /// A window that slides along each axis.
    Sliding([Window; 2]),
    /// Output `i` of `n` reads positions ⌊i·len/n⌋ to ⌈(i+1)·len/n⌉, exclusive.
    Adaptive,
}

/// What an average divides by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divisor {
    /// The positions of the window inside the input or its padding.
    Padded,
    /// The positions of the window inside the input.
    Inside,
    /// A given number.
    Fixed(usize),
}

const FLOATS: &str = "f32, f16, bf16, f64";

/// The maximum of each window, and its position in the plane (row · W + column, u32 or i64; the first of equals). A
/// NaN is larger than every number.
pub fn max(desc: &PoolDesc, input: View<'_>, out: &mut Buffer, positions: &mut Buffer) -> Result<()> {
    check("max_pool", desc, &input, desc.input, out, desc.output)?;
    let dtype = input.dtype();
    if positions.len() != out.len() || !matches!(positions.dtype(), DType::U32 | DType::I64) {
        return Err(Error::dtype("max_pool", "u32 or i64 positions, one per output", &[positions.dtype()]));
    }
    let places = positions.dtype();
    match (input.buffer().memory(), out.memory_mut(), positions.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_), Memory::Cpu(_)) => with_float!(dtype, T => {
            let out = out.as_mut_slice::<T>()?;
            if positions.dtype() == DType::U32 {
                cpu::max(desc, elements(input)?, out, positions.as_mut_slice::<u32>()?)
            } else {
                cpu::max(desc, elements(input)?, out, positions.as_mut_slice::<i64>()?)
            }
        }, else Err(unsupported("max_pool", dtype, FLOATS))),
        (Memory::Cuda(_), Memory::Cuda(out), Memory::Cuda(positions)) if out.device() == positions.device() => {
            cuda::max(desc, input, out, positions, places)
        }
        _ => Err(mixed_devices("max_pool")),
    }
}

/// The gradient of [`max`]'s input: each output's gradient at its position (u32), summed where windows share one.
pub fn max_backward(desc: &PoolDesc, grad: View<'_>, positions: View<'_>, out: &mut Buffer) -> Result<()> {
    check("max_pool", desc, &grad, desc.output, out, desc.input)?;
    let dtype = grad.dtype();
    match (grad.buffer().memory(), out.memory_mut(), positions.buffer().memory()) {
        (Memory::Cpu(_), Memory::Cpu(_), Memory::Cpu(_)) => with_float!(dtype, T =>
            cpu::max_backward(desc, elements::<T>(grad)?, elements::<u32>(positions)?, out.as_mut_slice::<T>()?),
            else Err(unsupported("max_pool", dtype, FLOATS))),
        (Memory::Cuda(_), Memory::Cuda(out), Memory::Cuda(_)) => cuda::max_backward(desc, grad, positions, out),
        _ => Err(mixed_devices("max_pool")),
    }
}

/// The sum of each window over its divisor.
pub fn average(desc: &PoolDesc, divisor: Divisor, input: View<'_>, out: &mut Buffer) -> Result<()> {
    check("avg_pool", desc, &input, desc.input, out, desc.output)?;
    let dtype = input.dtype();
    match (input.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => with_float!(dtype, T =>
            cpu::average(desc, divisor, elements::<T>(input)?, out.as_mut_slice::<T>()?),
            else Err(unsupported("avg_pool", dtype, FLOATS))),
        (Memory::Cuda(_), Memory::Cuda(out)) => cuda::average(desc, divisor, input, out),
        _ => Err(mixed_devices("avg_pool")),
    }
}

/// The gradient of [`average`]'s input.
pub fn average_backward(desc: &PoolDesc, divisor: Divisor, grad: View<'_>, out: &mut Buffer) -> Result<()> {
    check("avg_pool", desc, &grad, desc.output, out, desc.input)?;
    let dtype = grad.dtype();
    match (grad.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => with_float!(dtype, T =>
            cpu::average_backward(desc, divisor, elements::<T>(grad)?, out.as_mut_slice::<T>()?),
            else Err(unsupported("avg_pool", dtype, FLOATS))),
        (Memory::Cuda(_), Memory::Cuda(out)) => cuda::average_backward(desc, divisor, grad, out),
        _ => Err(mixed_devices("avg_pool")),
    }
}

fn elements<'a, T: crate::Element>(view: View<'a>) -> Result<&'a [T]> {
    view.contiguous::<T>()?.ok_or_else(|| Error::argument("pool", "the input must be contiguous"))
}

fn check(
    op: &'static str,
    desc: &PoolDesc,
    from: &View<'_>,
    [h, w]: [usize; 2],
    to: &Buffer,
    [oh, ow]: [usize; 2],
) -> Result<()> {
    let (wanted, given) = (desc.planes * h * w, desc.planes * oh * ow);
    let small = desc.input[0].checked_mul(desc.input[1]).is_some_and(|n| n <= u32::MAX as usize);
    if from.layout().numel() != wanted || to.len() != given || !small {
        let expected = format!("{wanted} and {given} elements for {desc:?}, planes of less than 2^32");
        return Err(Error::shape(op, expected, &[*from.layout().shape()]));
    }
    if from.dtype() != to.dtype() {
        return Err(Error::dtype(op, "one dtype", &[from.dtype(), to.dtype()]));
    }
    Ok(())
}
