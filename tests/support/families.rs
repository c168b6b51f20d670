//! Kernel families that have no CUDA kernels yet: their checks stop at the first operation without one. Each row goes when
//! its family arrives; a test of `tests/cuda.rs` fails while a row is here that need not be.

use warpsmith::ops::Conv2dParams;
use warpsmith::{DType, Device, Result, Tensor};

/// A family without CUDA kernels.
pub struct Family {
    pub name: &'static str,
    /// What its errors call its operations.
    pub ops: &'static [&'static str],
    /// One operation of the family, on that device.
    pub probe: fn(&Device) -> Result<()>,
}

fn ones(dims: &[usize], device: &Device) -> Result<Tensor> {
    Tensor::ones(dims, DType::F32, device)
}

pub const WITHOUT_KERNELS: &[Family] = &[
    Family {
        name: "gemm",
        ops: &["matmul"],
        probe: |device| ones(&[2, 3], device)?.matmul(&ones(&[3, 2], device)?).map(drop),
    },
    Family {
        name: "conv",
        ops: &["conv2d", "backward of conv2d", "im2col", "col2im"],
        probe: |device| ones(&[1, 1, 3, 3], device)?.conv2d(&ones(&[1, 1, 2, 2], device)?, None, conv()).map(drop),
    },
];

fn conv() -> Conv2dParams {
    Conv2dParams::default()
}
