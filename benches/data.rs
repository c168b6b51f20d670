//! Batches per second of a loader without threads and with one and two of them, alone and beside a consumer that
//! computes; and of the transforms.
//!
//! A report of ratios precedes: interleaved rounds, so that what else the machine does weighs on all alike.

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use std::time::{Duration, Instant};
use warpsmith::data::transform::{Augment, mix_up, normalise};
use warpsmith::data::{DataLoader, Dataset, Map, TensorDataset};
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Result, Tensor};

const IMAGES: usize = 2048;
const BATCH: usize = 128;

fn images() -> Result<TensorDataset> {
    let bytes: Vec<u8> = (0..IMAGES * 3 * 32 * 32).map(|i| (i * 7919 % 251) as u8).collect();
    let labels: Vec<i64> = (0..IMAGES as i64).map(|i| i % 10).collect();
    let images = Tensor::from_slice(&bytes, [IMAGES, 3, 32, 32], &Device::Cpu)?;
    TensorDataset::new(&[images, Tensor::from_slice(&labels, [IMAGES], &Device::Cpu)?])
}

/// Augmented batch by batch.
fn batched(workers: usize) -> Result<DataLoader> {
    let augment = Augment::new().crop([32, 32], 4).flip(0.5).cut_out(8);
    let loader = DataLoader::new(images()?, BATCH).shuffle(1).workers(workers);
    Ok(loader.map(move |batch, rng| {
        let x = normalise(&augment.apply(&batch[0], rng)?, &[125.0; 3], &[63.0; 3])?;
        Ok(vec![x, batch[1].clone()])
    }))
}

/// Augmented image by image, as sets are that decode files.
fn single(workers: usize) -> Result<DataLoader> {
    let augment = Augment::new().crop([32, 32], 4).flip(0.5).cut_out(8);
    let set = Map::new(images()?, move |sample: Vec<Tensor>, rng: &mut Philox| {
        let x = normalise(&augment.apply(&sample[0], rng)?, &[125.0; 3], &[63.0; 3])?;
        Ok(vec![x, sample[1].clone()])
    });
    assert_eq!(set.len(), IMAGES);
    Ok(DataLoader::new(set, BATCH).shuffle(1).workers(workers))
}

/// One epoch; between batches a product, as a model would compute.
fn epoch(loader: &DataLoader, computes: bool) -> Result<()> {
    let weights = Tensor::ones([3 * 32 * 32, 256], DType::F32, &Device::Cpu)?;
    for batch in loader.epoch(0) {
        let x = &batch?[0];
        if computes {
            black_box(x.reshape([BATCH, 3 * 32 * 32])?.matmul(&weights)?);
        }
    }
    Ok(())
}

fn ratios(_: &mut Criterion) {
    for (name, make) in [("by batch", batched as fn(usize) -> Result<DataLoader>), ("by image", single)] {
        for computes in [false, true] {
            let loaders: Vec<DataLoader> = (0..3).map(|workers| make(workers).expect("a loader")).collect();
            let mut best = [Duration::MAX; 3];
            for _ in 0..7 {
                for (best, loader) in best.iter_mut().zip(&loaders) {
                    let start = Instant::now();
                    epoch(loader, computes).expect("an epoch");
                    *best = start.elapsed().min(*best);
                }
            }
            let ratio = |workers: usize| best[0].as_secs_f64() / best[workers].as_secs_f64();
            let beside = if computes { ", beside products" } else { "" };
            let speed = IMAGES as f64 / best[0].as_secs_f64();
            println!(
                "{name}{beside}: {speed:.0} images/s without threads; with one ×{:.2}, with two ×{:.2}",
                ratio(1),
                ratio(2)
            );
        }
    }
}

fn loader(c: &mut Criterion) {
    let mut group = c.benchmark_group("loader u8 (128, 3, 32, 32)");
    group.sample_size(10).throughput(Throughput::Elements(IMAGES as u64));
    for workers in 0..3 {
        let (by_batch, by_image) = (batched(workers).expect("a loader"), single(workers).expect("a loader"));
        group.bench_function(format!("by batch, {workers} threads"), |b| b.iter(|| epoch(&by_batch, false)));
        group.bench_function(format!("by image, {workers} threads"), |b| b.iter(|| epoch(&by_image, false)));
    }
    group.finish();
}

fn transforms(c: &mut Criterion) {
    let x = Tensor::ones([BATCH, 3, 32, 32], DType::F32, &Device::Cpu).expect("a tensor");
    let mut group = c.benchmark_group("transform f32 (128, 3, 32, 32)");
    group.sample_size(20).throughput(Throughput::Elements(BATCH as u64));
    let mut one = |name: &str, f: &dyn Fn(&mut Philox) -> Result<Tensor>| {
        group.bench_function(name, |b| b.iter_batched(|| Philox::new(1), |mut rng| f(&mut rng), BatchSize::SmallInput));
    };
    let all = Augment::new().crop([32, 32], 4).flip(0.5).cut_out(8);
    one("crop, flip and cut-out", &|rng| all.apply(&x, rng));
    one("normalise", &|_| normalise(&x, &[125.0; 3], &[63.0; 3]));
    one("mix-up", &|rng| Ok(mix_up(&x, 0.2, rng)?.x));
    group.finish();
}

criterion_group!(benches, ratios, loader, transforms);
criterion_main!(benches);
