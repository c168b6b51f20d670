//! Attention, forward and backward.

use criterion::{Criterion, criterion_group, criterion_main};
use warpsmith::{AttentionParams, Device, Tensor};

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

criterion_group!(benches, attention);
criterion_main!(benches);
