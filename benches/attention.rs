//! Attention, forward and backward.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes, against each pass's floor:
//! queries, keys, values and outputs once (and their gradients), 4·B·H·T²·D operations, 2.5 times those backward.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{Criterion, criterion_group, criterion_main};
use gpu::{Floor, Gpu, Peak};
use warpsmith::{AttentionParams, DType, Device, Tensor};

fn attention(c: &mut Criterion) {
    let dims = [4, 8, 512, 64];
    let n = dims.iter().product::<usize>();
    let operand = |step: usize| {
        let values: Vec<f32> = (0..n).map(|i| (i * step % 1000) as f32 / 500.0 - 1.0).collect();
        Tensor::from_slice(&values, dims, &Device::Cpu).expect("values of the shape").track()
    };
    let (q, k, v) = (operand(7919), operand(6007), operand(4999));
    let seed = q.ones_like().expect("ones");
    let mut group = c.benchmark_group("attention (4, 8, 512, 64)");
    group.sample_size(20);
    for (name, causal) in [("plain", false), ("causal", true)] {
        let params = AttentionParams { causal, ..AttentionParams::default() };
        group.bench_function(format!("{name} forward and backward"), |b| {
            b.iter(|| q.scaled_dot_product_attention(&k, &v, &params)?.backward_with(&seed));
        });
        group.bench_function(format!("{name} forward"), |b| {
            b.iter(|| q.scaled_dot_product_attention(&k, &v, &params));
        });
    }
    group.finish();
}

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let shapes: &[[usize; 4]] = if gpu.is_virtual() {
        &[[1, 2, 256, 32], [1, 2, 256, 64], [1, 1, 192, 128]]
    } else {
        &[[16, 16, 1024, 64], [4, 16, 4096, 64], [4, 16, 4096, 128], [4, 8, 2048, 256]]
    };
    for &[batch, heads, length, dim] in shapes {
        for dtype in [DType::F32, DType::F16, DType::BF16] {
            for causal in [false, true] {
                let x = gpu::ramp(&gpu.device, dtype, &[batch, heads, length, dim]);
                let (n, rows) = (x.numel() * dtype.size(), batch * heads * length);
                let pairs = if causal { length * (length + 1) / 2 } else { length * length };
                let operations = (4 * batch * heads * pairs * dim) as f64;
                let floor = |tensors: usize, factor: f64| Floor {
                    peak: Peak::of(dtype, false),
                    operations: factor * operations,
                    bytes: (tensors * n + 4 * rows) as f64,
                };
                let params = AttentionParams { causal, ..AttentionParams::default() };
                let f = |x: &[Tensor]| x[0].scaled_dot_product_attention(&x[1], &x[2], &params);
                let name =
                    format!("({batch}, {heads}, {length}, {dim}) {dtype}{}", if causal { " causal" } else { "" });
                // Backward: queries, keys, values, the output and its gradient in, three gradients out.
                gpu.passes(&name, &[&x, &x, &x], f, floor(4, 1.0), Some(floor(8, 2.5)));
            }
        }
    }
    for dtype in [DType::F32, DType::BF16] {
        let [batch, heads, length, dim] = shapes[0];
        let x = gpu::ramp(&gpu.device, dtype, &[batch, heads, length, dim]);
        let table = gpu::ramp(&gpu.device, DType::F32, &[length, dim / 2]);
        let floor = Floor::bytes(2 * x.numel() * dtype.size() + 8 * table.numel());
        gpu.passes(&format!("rotary embedding {dtype}"), &[&x], |x| x[0].rotary_embedding(&table, &table), floor, None);
    }
}

criterion_group!(benches, device, attention);
criterion_main!(benches);
