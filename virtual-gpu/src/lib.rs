//! A CUDA driver in Rust: runs PTX on the CPU, checks it like a sanitizer and counts like a profiler.

mod driver;
pub mod machine;
pub mod model;
pub mod ptx;

/// Marks a build in its file: text, the build's hash, a zero.
const BUILD_MARK: &str = concat!("virtual-gpu build ", env!("VIRTUAL_GPU_BUILD"), "\0");
