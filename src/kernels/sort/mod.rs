//! Sorting along rows: all of a row, or its first k. Stable: equal elements keep their order; NaN counts as larger than
//! every number, and −0 equals 0.

mod cpu;
pub(super) mod cuda;

use crate::device::{Buffer, Memory, View};
use crate::kernels::mixed_devices;
use crate::{DType, Error, Result, with_dtype};

/// Which elements of each row are wanted, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SortDesc {
    /// Largest first.
    pub descending: bool,
    /// How many of each row, from the front of the sorted row; the row's length for all.
    pub limit: usize,
}

/// Sorts the rows (last axis) of a contiguous input. `values` (the input's dtype) and `indices` (i64, positions in the
/// row) are contiguous with `limit` elements for each row.
pub fn sort(desc: &SortDesc, input: View<'_>, values: &mut Buffer, indices: &mut Buffer) -> Result<()> {
    let (dtype, shape) = (input.dtype(), *input.layout().shape());
    let length = shape.dims().last().copied().unwrap_or(0);
    let rows = shape.numel() / length.max(1);
    let fits = shape.rank() > 0 && input.layout().is_contiguous() && desc.limit <= length;
    let outputs = if length == 0 { 0 } else { rows * desc.limit };
    if !fits || [values.len(), indices.len()] != [outputs; 2] {
        let expected = format!("contiguous rows of at least {} elements, and {outputs} outputs", desc.limit);
        return Err(Error::shape("sort", expected, &[shape]));
    }
    if values.dtype() != dtype || indices.dtype() != DType::I64 {
        let expected = format!("outputs of {dtype} and i64");
        return Err(Error::dtype("sort", expected, &[values.dtype(), indices.dtype()]));
    }
    if length > u32::MAX as usize {
        return Err(Error::argument("sort", format!("rows of {length} elements are longer than 2³² − 1")));
    }
    match (input.buffer().memory(), values.memory_mut(), indices.memory_mut()) {
        (Memory::Cpu(_), Memory::Cpu(_), Memory::Cpu(_)) => with_dtype!(dtype, T => {
            let x = input.contiguous::<T>()?.unwrap_or_default();
            cpu::sort(desc, length, x, values.as_mut_slice::<T>()?, indices.as_mut_slice::<i64>()?);
            Ok(())
        }),
        (Memory::Cuda(_), Memory::Cuda(values), Memory::Cuda(indices)) if values.device() == indices.device() => {
            cuda::sort(desc, length, input, values, indices)
        }
        _ => Err(mixed_devices("sort")),
    }
}
