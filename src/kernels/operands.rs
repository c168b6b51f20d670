//! What the families' CUDA launches share: operands as pointers, and alignment.

use super::elementwise::{Contiguous, contiguous};
use crate::device::cuda::{CudaDevice, CudaMemory, DevicePtr, DevicePtrMut};
use crate::device::{Buffer, Memory, View};
use crate::{DType, Element, Error, Result};

/// Binds a type to the dtype, one of those that the float families have on CUDA; any other is an error.
macro_rules! with_cuda_float {
    ($op:expr, $dtype:expr, $t:ident => $body:expr) => {
        match $dtype {
            $crate::DType::F32 => {
                type $t = f32;
                $body
            }
            $crate::DType::F16 => {
                type $t = $crate::half::f16;
                $body
            }
            $crate::DType::BF16 => {
                type $t = $crate::half::bf16;
                $body
            }
            other => Err($crate::kernels::unsupported_on_cuda($op, other, "f32, f16, bf16")),
        }
    };
}
pub(crate) use with_cuda_float;

fn memory(buffer: &Buffer) -> Result<&CudaMemory> {
    match buffer.memory() {
        Memory::Cuda(memory) => Ok(memory),
        Memory::Cpu(_) => Err(super::mixed_devices("launch")),
    }
}

/// The CUDA device that holds a buffer.
pub(crate) fn device(buffer: &Buffer) -> Result<CudaDevice> {
    Ok(memory(buffer)?.device().clone())
}

/// A contiguous view's elements.
pub(crate) fn elements<'a, T: Element>(view: &View<'a>) -> Result<DevicePtr<'a, T>> {
    memory(view.buffer())?.read(view.layout().offset(), view.layout().numel())
}

/// A whole buffer's elements.
pub(crate) fn all<T: Element>(buffer: &Buffer) -> Result<DevicePtr<'_, T>> {
    memory(buffer)?.read(0, buffer.len())
}

/// A contiguous view's elements, of whatever dtype; null where there is no view.
pub(crate) fn untyped(view: Option<&View<'_>>) -> Result<u64> {
    let Some(view) = view else { return Ok(0) };
    let start = memory(view.buffer())?.read::<u8>(0, 0)?.address();
    Ok(start + (view.layout().offset() * view.dtype().size()) as u64)
}

/// A whole buffer's elements, for writing.
pub(crate) fn output<T: Element>(buffer: &mut Buffer) -> Result<DevicePtrMut<'_, T>> {
    let len = buffer.len();
    match buffer.memory_mut() {
        Memory::Cuda(memory) => memory.write(0, len),
        Memory::Cpu(_) => Err(super::mixed_devices("launch")),
    }
}

/// The same where the output is wanted; else null, for kernels that are told not to write it.
pub(crate) fn optional<'a, T: Element>(buffer: Option<&'a mut Buffer>) -> Result<DevicePtrMut<'a, T>> {
    buffer.map_or(Ok(DevicePtrMut::from_address(0)), output)
}

/// A whole buffer's elements, of whatever dtype, where the output is wanted.
pub(crate) fn untyped_output(buffer: Option<&mut Buffer>) -> Result<DevicePtrMut<'_, u8>> {
    let Some(buffer) = buffer else { return Ok(DevicePtrMut::from_address(0)) };
    let bytes = buffer.len() * buffer.dtype().size();
    match buffer.memory_mut() {
        Memory::Cuda(memory) => memory.write(0, bytes),
        Memory::Cpu(_) => Err(super::mixed_devices("launch")),
    }
}

/// Whether 16-byte accesses may start at all of these addresses.
pub(crate) fn aligned(addresses: &[u64]) -> bool {
    addresses.iter().all(|address| address.is_multiple_of(16))
}

/// Elements of a 16-byte access.
pub(crate) const fn lanes<T>() -> usize {
    16 / size_of::<T>()
}

/// A number of blocks as a grid has it.
pub(crate) fn blocks(op: &'static str, count: usize) -> Result<u32> {
    u32::try_from(count)
        .ok()
        .filter(|&count| count <= i32::MAX as u32)
        .ok_or_else(|| Error::argument(op, format!("{count} blocks of work; a launch has at most {}", i32::MAX)))
}

/// An extent that a kernel counts in 31 bits.
pub(crate) fn extent(op: &'static str, what: &str, value: usize) -> Result<u32> {
    u32::try_from(value)
        .ok()
        .filter(|&value| value <= i32::MAX as u32)
        .ok_or_else(|| Error::argument(op, format!("{what} of {value}; kernels take up to {}", i32::MAX)))
}

/// The flags of a parameter or its gradient: whether there is one, and whether it is f32.
pub(crate) fn given(dtype: Option<DType>, flag: u32, wide: u32) -> u32 {
    match dtype {
        None => 0,
        Some(DType::F32) => flag | wide,
        Some(_) => flag,
    }
}

/// An optional view's elements, contiguous.
pub(crate) fn packed<'a>(view: Option<View<'a>>) -> Result<Option<Contiguous<'a>>> {
    view.map(contiguous).transpose()
}
