//! The cross-entropy, forward and backward: logits that survive, and logits that give way to their gradient.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes, against each pass's floor:
//! a softmax reads and writes once (its backward reads two operands), the loss reads once, its gradient reads and writes.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{Criterion, criterion_group, criterion_main};
use gpu::{Floor, Gpu, scattered};
use warpsmith::{CrossEntropyParams, DType, Device, Tensor};

fn softmax_xent(c: &mut Criterion) {
    let (rows, classes) = (2048, 32_000);
    let values: Vec<f32> = (0..rows * classes).map(|i| (i * 7919 % 1000) as f32 / 250.0 - 2.0).collect();
    let x = Tensor::from_slice(&values, [rows, classes], &Device::Cpu).expect("values of the shape").track();
    drop(values);
    let labels: Vec<i64> = (0..rows).map(|r| (r * 31 % classes) as i64).collect();
    let labels = Tensor::from_slice(&labels, rows, &Device::Cpu).expect("labels");
    let params = CrossEntropyParams::default();
    let mut group = c.benchmark_group("cross_entropy (2048, 32000)");
    group.sample_size(10);
    group.bench_function("forward and backward", |b| {
        b.iter(|| x.cross_entropy(&labels, &params)?.backward());
    });
    group.bench_function("forward", |b| b.iter(|| x.cross_entropy(&labels, &params)));
    group.finish();
}

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let shapes = if gpu.is_virtual() {
        [(2048, 10), (256, 512), (64, 4096), (8, 20_000)]
    } else {
        [(1 << 20, 10), (65_536, 512), (16_384, 4096), (8192, 50_257)]
    };
    for (rows, classes) in shapes {
        for dtype in [DType::F32, DType::BF16] {
            let x = gpu::ramp(&gpu.device, dtype, &[rows, classes]);
            let labels = scattered(&gpu.device, &[rows], classes);
            let floor = |passes: usize| Floor::bytes(passes * rows * classes * dtype.size());
            let name = |what: &str| format!("{what} ({rows}, {classes}) {dtype}");
            gpu.passes(&name("softmax"), &[&x], |x| x[0].softmax(1), floor(2), Some(floor(3)));
            let loss = |x: &[Tensor]| x[0].cross_entropy(&labels, &CrossEntropyParams::default());
            gpu.passes(&name("cross-entropy"), &[&x], loss, floor(1), Some(floor(2)));
        }
    }
}

criterion_group!(benches, device, softmax_xent);
criterion_main!(benches);
