//! Layer norm, forward and backward.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes, against each pass's floor:
//! 2 bytes-per-element passes over the rows forward, 3 backward.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{Criterion, criterion_group, criterion_main};
use gpu::{Floor, Gpu};
use warpsmith::{DType, Device, Tensor};

fn ramp(dims: &[usize]) -> Tensor {
    let n = dims.iter().product::<usize>();
    let values: Vec<f32> = (0..n).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_slice(&values, dims, &Device::Cpu).expect("values of the shape")
}

fn layernorm(c: &mut Criterion) {
    let (x, w, b) = (ramp(&[4096, 768]).track(), ramp(&[768]).track(), ramp(&[768]).track());
    let seed = x.ones_like().expect("ones");
    c.bench_function("layernorm (4096, 768) forward and backward", |bench| {
        bench.iter(|| x.layer_norm(1, Some(&w), Some(&b), 1e-5)?.backward_with(&seed));
    });
    c.bench_function("layernorm (4096, 768) forward", |bench| {
        bench.iter(|| x.layer_norm(1, Some(&w), Some(&b), 1e-5));
    });
}

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    // Rows that a warp holds, that a block holds, and that are read again.
    let shapes = if gpu.is_virtual() {
        [(512, 256), (256, 768), (8, 20_000)]
    } else {
        [(1 << 18, 256), (65_536, 768), (4096, 20_000)]
    };
    for (rows, width) in shapes {
        for dtype in [DType::F32, DType::BF16] {
            let of = |dims: &[usize]| gpu::ramp(&gpu.device, dtype, dims);
            let (x, w, b) = (of(&[rows, width]), of(&[width]), of(&[width]));
            let floor = |passes: usize| Floor::bytes(passes * rows * width * dtype.size());
            let name = |what: &str| format!("{what} ({rows}, {width}) {dtype}");
            let layer = |x: &[Tensor]| x[0].layer_norm(1, Some(&x[1]), Some(&x[2]), 1e-5);
            gpu.passes(&name("layer norm"), &[&x, &w, &b], layer, floor(2), Some(floor(3)));
            let rms = |x: &[Tensor]| x[0].rms_norm(Some(&x[1]), 1e-5);
            gpu.passes(&name("RMS norm"), &[&x, &w], rms, floor(2), Some(floor(3)));
        }
    }
    for dtype in [DType::F32, DType::BF16] {
        let dims: &[usize] = if gpu.is_virtual() { &[4, 32, 16, 16] } else { &[64, 256, 56, 56] };
        let of = |dims: &[usize]| gpu::ramp(&gpu.device, dtype, dims);
        let (x, w, b) = (of(dims), of(&dims[1..2]), of(&dims[1..2]));
        let floor = |passes: usize| Floor::bytes(passes * x.numel() * dtype.size());
        let group = |x: &[Tensor]| x[0].group_norm(8, Some(&x[1]), Some(&x[2]), 1e-5);
        gpu.passes(&format!("group norm {dims:?} {dtype}"), &[&x, &w, &b], group, floor(2), Some(floor(3)));
    }
}

criterion_group!(benches, device, layernorm);
criterion_main!(benches);
