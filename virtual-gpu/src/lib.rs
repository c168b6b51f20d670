//! A CUDA driver in Rust: runs PTX on the CPU, checks it like a sanitizer and counts like a profiler.

pub mod machine;
pub mod model;
pub mod ptx;
