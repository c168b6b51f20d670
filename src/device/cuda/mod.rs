//! CUDA devices, through cudarc: contexts, memory, module images and launches. Knows no operation.
//!
//! One context (the primary one) and one non-blocking stream for each device: work is ordered by the order of the
//! calls, memory is freed in stream order, and cudarc's event tracking is off. Work that repeats can be captured as a
//! [`Graph`]. Kernels come from tables that
//! `warpsmith-build` generates; [`include_kernels!`](crate::include_kernels) brings one into a crate and
//! [`launches!`](crate::launches) gives typed launches of it, here as in users' crates.

mod arena;
mod argument;
mod device;
mod graph;
mod launch;
mod memory;
mod module;
mod report;
mod staging;
mod tensor_map;

/// The types of generated tables of kernels.
pub mod kernel_table {
    pub use warpsmith_build::{
        Arch, Compression, Contents, Format, Image, KernelInfo, Module, Param, ParamType, Resources, Scalar,
    };
}

pub use argument::{Argument, Arguments, DevicePtr, DevicePtrMut};
pub(crate) use device::list;
pub use device::{CudaDevice, CudaDeviceInfo, GpuSpec};
pub use graph::{Draw, Graph};
pub use launch::LaunchConfig;
pub use memory::CudaMemory;
pub use module::{Kernel, KernelSlot};
pub use report::Explain;
pub use tensor_map::{Boxes, Swizzle, TensorMap};

use crate::Error;
use cudarc::driver::result::DriverError;

/// The driver's error as ours, with the name and the words that the driver has for it.
fn driver_error(op: &'static str, error: DriverError) -> Error {
    let text = |text: Result<&std::ffi::CStr, DriverError>| {
        text.map_or_else(|_| format!("{:?}", error.0), |text| text.to_string_lossy().into_owned())
    };
    Error::Device { op, message: format!("{}: {}", text(error.error_name()), text(error.error_string())) }
}
