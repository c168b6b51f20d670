//! Batch norm in training, forward and backward, alone and fused with a residual and a relu.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes, against each pass's floor:
//! a forward reads its input twice (statistics, then values) and writes once, a backward reads two operands twice.

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

fn batchnorm(c: &mut Criterion) {
    let dims = [32, 64, 32, 32];
    let (x, r, w, b) = (ramp(&dims).track(), ramp(&dims).track(), ramp(&[64]).track(), ramp(&[64]).track());
    let seed = x.ones_like().expect("ones");
    c.bench_function("batchnorm (32, 64, 32, 32) forward and backward", |bench| {
        bench.iter(|| x.batch_norm_train(Some(&w), Some(&b), 1e-5)?.y.backward_with(&seed));
    });
    c.bench_function("batchnorm add relu (32, 64, 32, 32) forward and backward", |bench| {
        bench.iter(|| x.batch_norm_add_relu_train(&r, Some(&w), Some(&b), 1e-5)?.y.backward_with(&seed));
    });
}

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    // Images, whose channels are runs, and a batch of vectors, whose channels are columns.
    let shapes: [&[usize]; 2] =
        if gpu.is_virtual() { [&[4, 32, 32, 32], &[512, 256]] } else { [&[256, 64, 56, 56], &[65_536, 1024]] };
    for dims in shapes {
        for dtype in [DType::F32, DType::BF16] {
            let of = |dims: &[usize]| gpu::ramp(&gpu.device, dtype, dims);
            let (x, residual, w, b) = (of(dims), of(dims), of(&dims[1..2]), of(&dims[1..2]));
            let floor = |passes: usize| Floor::bytes(passes * x.numel() * dtype.size());
            let name = |what: &str| format!("{what} {dims:?} {dtype}");
            let train = |x: &[Tensor]| Ok(x[0].batch_norm_train(Some(&x[1]), Some(&x[2]), 1e-5)?.y);
            gpu.passes(&name("training"), &[&x, &w, &b], train, floor(3), Some(floor(5)));
            let fused = |x: &[Tensor]| Ok(x[0].batch_norm_add_relu_train(&x[3], Some(&x[1]), Some(&x[2]), 1e-5)?.y);
            // The mask comes from y, and the residual's gradient is written besides.
            gpu.passes(&name("with residual and relu"), &[&x, &w, &b, &residual], fused, floor(4), Some(floor(8)));
            let infer = |x: &[Tensor]| x[0].batch_norm_infer(&x[1], &x[1].square()?, Some(&x[1]), Some(&x[2]), 1e-5);
            gpu.passes(&name("inference"), &[&x, &w, &b], infer, floor(2), None);
        }
    }
}

criterion_group!(benches, device, batchnorm);
criterion_main!(benches);
