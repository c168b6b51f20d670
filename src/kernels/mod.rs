//! Floor 2: one folder per kernel family. Speaks of buffers and descriptors, never of tensors, and is public: whoever
//! has device buffers of their own can call these.
//!
//! Inside a family: `mod.rs` is the safe call with the one match over devices, `plan.rs` (where there is a choice)
//! the pure function from descriptor and device to a named configuration, `cpu.rs` the CPU device's implementation,
//! `cuda.rs` the launches.

pub mod attention;
pub mod batchnorm;
pub mod conv;
pub mod elementwise;
pub mod gemm;
pub mod images;
pub mod index;
pub mod layernorm;
pub mod named;
pub(crate) mod operands;
pub mod optimizer;
pub mod params;
pub mod pool;
pub mod random;
pub mod reduce;
pub(crate) mod rowwise;
pub mod softmax_xent;
pub mod sort;
pub(crate) mod strided;
pub mod window;

use crate::device::cuda::{CudaDevice, CudaMemory};
use crate::device::{Memory, View};
use crate::{DType, Error, Result};

/// The error of a family that has no kernel for `dtype` on the CPU.
pub(crate) fn unsupported(op: &'static str, dtype: DType, available: &'static str) -> Error {
    Error::Unsupported { op, dtype, device: "cpu".into(), available: available.into() }
}

/// The error of a family whose operands are on different devices.
pub(crate) fn mixed_devices(op: &'static str) -> Error {
    Error::Device { op, message: "operands are on different devices; move them with to_device".into() }
}

/// The device memory of an operand that must be on `device`, where the output is.
pub(crate) fn on_device<'a>(op: &'static str, operand: &View<'a>, device: &CudaDevice) -> Result<&'a CudaMemory> {
    match operand.buffer().memory() {
        Memory::Cuda(memory) if memory.device() == device => Ok(memory),
        _ => Err(mixed_devices(op)),
    }
}

/// The error of a family that has no kernel for `dtype` on CUDA devices.
pub(crate) fn unsupported_on_cuda(op: &'static str, dtype: DType, available: &'static str) -> Error {
    Error::Unsupported { op, dtype, device: "cuda".into(), available: available.into() }
}

/// The error of a family that has no CUDA launch.
pub(crate) fn no_cuda(op: &'static str, dtype: DType) -> Error {
    Error::Unsupported { op, dtype, device: "cuda".into(), available: "none in this version".into() }
}
