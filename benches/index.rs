//! Indexing in the shapes that training needs: token embeddings and their gradient, picking labels, cat, slices.
//!
//! On a CUDA device (or the virtual GPU, see `support/gpu.rs`) a report precedes, against each pass's floor:
//! one read of the indices and of the rows that they name, and one write of them.

#[path = "support/gpu.rs"]
mod gpu;

use criterion::{Criterion, criterion_group, criterion_main};
use gpu::{Floor, Gpu, ramp, scattered};
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

fn device(_: &mut Criterion) {
    let Some(gpu) = Gpu::open() else { return };
    let (rows, columns, count) = if gpu.is_virtual() { (2000, 64, 4096) } else { (50_257, 768, 65_536) };
    for dtype in [DType::F32, DType::BF16] {
        let (table, ids) = (ramp(&gpu.device, dtype, &[rows, columns]), scattered(&gpu.device, &[count], rows));
        let source = ramp(&gpu.device, dtype, &[count, columns]);
        let b = dtype.size();
        let name = |what: &str| format!("{what} {dtype}");
        let moved = |rows: usize| Floor::bytes(rows * columns * b + count * 8);
        gpu.passes(&name("rows of a table"), &[&table], |x| x[0].index_select(0, &ids), moved(2 * count), None);
        // The table is copied, and every source added to it.
        let add = |x: &[Tensor]| x[0].index_add(0, &ids, &x[1]);
        gpu.passes(&name("rows added to a table"), &[&table, &source], add, moved(2 * rows + count), None);
        let labels = scattered(&gpu.device, &[rows, 1], columns);
        let picked = Floor::bytes(rows * (2 * b + 8));
        gpu.passes(&name("a number of each row"), &[&table], |x| x[0].gather(1, &labels), picked, None);
        let cat = Floor::bytes(4 * rows * columns * b);
        gpu.passes(&name("two tables side by side"), &[&table, &table], |x| Tensor::cat(x, 1), cat, None);
        let triangle = Floor::bytes(2 * rows * columns * b);
        gpu.passes(&name("lower triangle"), &[&table], |x| x[0].tril(0), triangle, None);
    }
    let ids = scattered(&gpu.device, &[count], 100);
    gpu.passes("one-hot rows of 100", &[&ids], |x| x[0].one_hot(100), Floor::bytes(count * (8 + 8 * 100)), None);
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = device, index
}
criterion_main!(benches);
