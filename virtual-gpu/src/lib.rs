//! A CUDA driver in Rust that runs PTX on the CPU.

pub mod machine;
pub mod model;
pub mod ptx;
