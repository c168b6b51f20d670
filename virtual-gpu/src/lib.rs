//! A CUDA driver in Rust: runs PTX on the CPU, checks it like a sanitizer and counts like a profiler.

pub mod model;
