//! The pools of residual networks, forward and backward.

use criterion::{Criterion, criterion_group, criterion_main};
use warpsmith::autograd::Backward;
use warpsmith::ops::Pool2dParams;
use warpsmith::{Device, Result, Tensor};

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

criterion_group!(benches, pool);
criterion_main!(benches);
