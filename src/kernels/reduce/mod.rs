//! Reductions over axes, summed in a fixed order that depends on the shape only.

mod cpu;

use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, no_cuda, unsupported};
use crate::{Error, Result, with_float};

/// What is reduced: `reduced[i]` tells for axis `i` of the input whether it is summed over.
#[derive(Clone, Debug)]
pub struct ReduceDesc {
    /// One flag per axis of the input.
    pub reduced: Vec<bool>,
}

/// Sums the input over the reduced axes into `out`, contiguous over the kept axes, of the same float dtype;
/// accumulates in f32 (f64 for f64).
pub fn sum(desc: &ReduceDesc, input: View<'_>, out: &mut Buffer) -> Result<()> {
    let dtype = input.dtype();
    let kept: usize = input.dims().iter().zip(&desc.reduced).filter(|&(_, &r)| !r).map(|(&d, _)| d).product();
    if desc.reduced.len() != input.dims().len() || kept != out.len() || out.dtype() != dtype {
        let expected = format!("one flag per axis and {kept} outputs of {dtype}");
        return Err(Error::shape("sum", expected, &[*input.layout().shape()]));
    }
    match (input.buffer().memory(), out.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => {
            with_float!(dtype, T => cpu::sum::<T>(desc, input, out.as_mut_slice::<T>()?),
                else Err(unsupported("sum", dtype, "f32, f16, bf16, f64")))
        }
        (Memory::Cuda(_), Memory::Cuda(_)) => Err(no_cuda("sum", dtype)),
        _ => Err(mixed_devices("sum")),
    }
}
