//! Kernel families that have no CUDA kernels yet: their checks stop at the first operation without one. Each row goes when
//! its family arrives; a test of `tests/cuda.rs` fails while a row is here that need not be.

use warpsmith::{AttentionParams, DType, Device, Result, Tensor};

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
        name: "batchnorm",
        ops: &["batch_norm", "batch_norm_backward"],
        probe: |device| {
            let (x, one) = (ones(&[2, 3], device)?, ones(&[3], device)?);
            x.batch_norm_infer(&one, &one, None, None, 1e-5).map(drop)
        },
    },
    Family {
        name: "layernorm",
        ops: &["layer_norm", "layer_norm_backward", "group_norm_backward"],
        probe: |device| ones(&[2, 3], device)?.layer_norm(1, None, None, 1e-5).map(drop),
    },
    Family {
        name: "attention",
        ops: &["scaled_dot_product_attention", "scaled_dot_product_attention_backward", "rotary_embedding"],
        probe: |device| {
            let q = ones(&[1, 1, 2, 4], device)?;
            q.scaled_dot_product_attention(&q, &q, &AttentionParams::default()).map(drop)
        },
    },
    Family {
        name: "softmax_xent",
        ops: &["softmax", "log_softmax", "cross_entropy", "cross_entropy_backward", "nll_loss", "nll_loss_backward"],
        probe: |device| ones(&[2, 3], device)?.softmax(-1).map(drop),
    },
];
