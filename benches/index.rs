//! Indexing in the shapes that training needs: token embeddings and their gradient, picking labels, cat, slices.

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use warpsmith::{DType, Device, Tensor, Var, s};

fn random_ids(n: usize, below: i64) -> Tensor {
    let mut state = 1u64;
    let ids = (0..n).map(|_| {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 33) as i64 % below
    });
    Tensor::from_iter(ids, &Device::Cpu).expect("ids")
}

fn index(c: &mut Criterion) {
    let table = Tensor::ones([10_000, 256], DType::F32, &Device::Cpu).and_then(|t| Var::new(&t)).expect("a table");
    let ids = random_ids(32 * 128, 10_000).reshape([32, 128]).expect("ids");
    let labels = random_ids(4096, 1000).reshape([4096, 1]).expect("labels");
    let logits = Tensor::ones([4096, 1000], DType::F32, &Device::Cpu).expect("logits");
    let picked = logits.narrow(1, 0, 1).expect("a column");
    let mut group = c.benchmark_group("index");
    group.bench_function("embedding (10000, 256) of (32, 128)", |b| b.iter(|| black_box(&table).embedding(&ids)));
    let seed = Tensor::ones([32, 128, 256], DType::F32, &Device::Cpu).expect("a gradient");
    group.bench_function("embedding and its gradient", |b| {
        b.iter(|| black_box(&table).embedding(&ids).and_then(|y| y.backward_with(&seed)))
    });
    group.bench_function("gather labels (4096, 1000)", |b| b.iter(|| black_box(&logits).gather(1, &labels)));
    group.bench_function("scatter_add labels (4096, 1000)", |b| {
        b.iter(|| black_box(&logits).scatter_add(1, &labels, &picked))
    });
    group.bench_function("cat two (4096, 1000) on axis 1", |b| {
        b.iter(|| Tensor::cat(&[black_box(&logits), &logits], 1))
    });
    group.bench_function("every second column of (4096, 1000)", |b| {
        b.iter(|| black_box(&logits).slice(&s![.., ..; 2]).and_then(|x| x.contiguous()))
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = index
}
criterion_main!(benches);
