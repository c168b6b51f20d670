//! A CUDA driver in Rust that runs PTX on the CPU.
