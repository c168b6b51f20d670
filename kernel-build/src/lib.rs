//! Compiles CUDA C++ kernels through NVRTC, in a build script or while a program runs, and embeds them with a typed
//! table of kernels.
//!
//! In `build.rs`:
//!
//! ```no_run
//! fn main() -> warpsmith_build::Result<()> {
//!     warpsmith_build::Kernels::new().file("kernels/my.cu").build()
//! }
//! ```
//!
//! and in the crate, with warpsmith's macros over the generated table:
//!
//! ```text
//! mod kernels {
//!     warpsmith::include_kernels!();
//! }
//! warpsmith::launches! {
//!     in kernels::MY;
//!     /// y += a·x
//!     pub unsafe fn saxpy(y: DevicePtrMut<'_, f32>, x: DevicePtr<'_, f32>, a: f32, n: u32);
//! }
//! ```
//!
//! Each file is compiled for every architecture in `WARPSMITH_CUDA_ARCHS` (80, 90a and 120 unless set) to machine
//! code and PTX by one call of NVRTC. From the PTX come each kernel's parameters and limits, from the machine code its
//! registers, shared and local memory; both, and the assembler's report, must agree. A file with the line
//! `// architectures: 90a` is compiled for that one only. The log is read even when NVRTC
//! reports success: a register spill or a serialised tensor-core pipeline fails the build.
//!
//! Results are cached by content in the target folder. Without NVRTC the build takes the images that a published crate
//! carries, where the sources are unchanged, or embeds the sources for NVRTC at first use and says so in a warning;
//! `WARPSMITH_REQUIRE_NVRTC=1` makes that an error.

mod arch;
mod bytes;
mod code;
mod compile;
mod cubin;
mod embed;
mod error;
mod find;
mod image;
mod kernels;
mod log;
mod mangle;
mod nvrtc;
mod ptx;
mod source;
mod store;

pub use arch::Arch;
pub use code::MachineCode;
pub use compile::{Compiled, compile};
pub use error::{Error, Result};
pub use find::find;
pub use image::{
    Compression, Contents, Format, Image, KernelInfo, Module, Param, ParamType, Resources, Scalar, accepts_all,
};
pub use kernels::{DEFAULT_ARCHS, Kernels, Packaged, load_or_compile};
pub use nvrtc::Nvrtc;
pub use source::Source;
