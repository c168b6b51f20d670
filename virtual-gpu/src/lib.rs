//! A CUDA driver in Rust: runs PTX on the CPU, checks it like a sanitizer and counts like a profiler.
//!
//! The crate builds a shared object that exports the CUDA driver API (`cuInit`, `cuLaunchKernel`, ...) under the name
//! `libcuda.so`. A Rust program installs it in itself before its first CUDA call, and any client of the driver API that
//! loads `libcuda.so` at run time, such as cudarc, then talks to the virtual devices:
//!
//! ```
//! let gpu = virtual_gpu::install()?;
//! // ... cudarc::driver::CudaContext::new(0), launches, copies ...
//! assert!(gpu.faults().is_empty());
//! # Ok::<(), virtual_gpu::InstallError>(())
//! ```
//!
//! Tests, examples and benches find the object by themselves; the crate has to be a dependency (a dev-dependency will do)
//! of the package that calls [`install`]. Other programs run under `virtual-gpu run PROGRAM ARGS...`.
//!
//! # Settings
//!
//! In code through [`Options`], or in the environment:
//!
//! | variable | meaning |
//! |---|---|
//! | `VIRTUAL_GPU_DEVICE` | the devices: `h100` (the default), `a100`, `rtx4090`, `2xh100`, `h100,a100` |
//! | `VIRTUAL_GPU_DRIVER` | the driver version, `12.0` to `13.x` |
//! | `VIRTUAL_GPU_CHECK` | the checks that are on: `all`, `none`, `memory,races`, `-races` |
//! | `VIRTUAL_GPU_SCHEDULE` | a seed: which of the orders that hardware may take is taken; 0 is the plain one |
//! | `VIRTUAL_GPU_PROFILE` | a file for the counters as JSON; `-` for the table alone; models the L2 cache too |
//! | `VIRTUAL_GPU_FAULT` | faults to inject: `allocation=3,launch=1,lost=2` |
//! | `VIRTUAL_GPU_LOG` | `0` keeps the explanations of refused calls off standard error |
//! | `VIRTUAL_GPU_LIBRARY` | the shared object to load, instead of searching for it |

mod driver;
mod install;
pub mod machine;
pub mod model;
pub mod ptx;

pub use install::{DeviceFault, InstallError, Options, VirtualGpu, install, library_path};

/// Marks a build in its file: text, the build's hash, a zero.
const BUILD_MARK: &str = concat!("virtual-gpu build ", env!("VIRTUAL_GPU_BUILD"), "\0");
