//! The pools of residual networks, forward and backward.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes, against each pass's floor:
//! one read of the planes and one write of the outputs, and the other way round; a maximum also of its positions.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{Criterion, criterion_group, criterion_main};
use gpu::{Floor, Gpu, ramp};
use warpsmith::autograd::Backward;
use warpsmith::ops::Pool2dParams;
use warpsmith::{DType, Device, Result, Tensor};

fn pool(c: &mut Criterion) {
    let dims = [8, 64, 32, 32];
    let numel: usize = dims.iter().product();
    let values: Vec<f32> = (0..numel).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    let x = Tensor::from_slice(&values, dims, &Device::Cpu).expect("values of the shape").track();
    let halves = Pool2dParams { stride: [2, 2], padding: [1, 1], ..Pool2dParams::new([3, 3]) };
    let mut group = c.benchmark_group("pool f32 (8, 64, 32, 32)");
    group.sample_size(20);
    let mut both = |name: &str, f: &dyn Fn(&Tensor) -> Result<Tensor>| {
        group.bench_function(format!("{name} forward"), |b| b.iter(|| f(&x.detach())));
        let y = f(&x).expect("a pool");
        group.bench_function(format!("{name} backward"), |b| {
            b.iter(|| Backward::new().retain_graph().run_with(&y, y.detach()));
        });
    };
    both("max 3x3/2", &|x| x.max_pool2d(halves));
    both("average 3x3/2", &|x| x.avg_pool2d(halves));
    both("adaptive average 1x1", &|x| x.adaptive_avg_pool2d([1, 1]));
    group.finish();
}

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let (batch, side) = if gpu.is_virtual() { (2, 32) } else { (256, 56) };
    let halves = Pool2dParams { stride: [2, 2], padding: [1, 1], ..Pool2dParams::new([3, 3]) };
    for dtype in [DType::F32, DType::BF16] {
        let x = ramp(&gpu.device, dtype, &[batch, 64, side, side]);
        let (n, outputs, b) = (x.numel(), x.numel() / 4, dtype.size());
        let name = |what: &str| format!("{what} {dtype}");
        let floor = |outputs: usize, positions: usize| Floor::bytes(n * b + outputs * (b + positions));
        let max = |x: &[Tensor]| x[0].max_pool2d(halves);
        gpu.passes(&name("maximum 3x3/2"), &[&x], max, floor(outputs, 4), Some(floor(outputs, 4)));
        let average = |x: &[Tensor]| x[0].avg_pool2d(halves);
        gpu.passes(&name("average 3x3/2"), &[&x], average, floor(outputs, 0), Some(floor(outputs, 0)));
        let whole = |x: &[Tensor]| x[0].adaptive_avg_pool2d([1, 1]);
        gpu.passes(&name("average of planes"), &[&x], whole, floor(batch * 64, 0), Some(floor(batch * 64, 0)));
    }
}

criterion_group!(benches, device, pool);
criterion_main!(benches);
