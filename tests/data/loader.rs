//! Order, coverage, threads, errors.

use super::{message, numbers};
use proptest::prelude::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use warpsmith::data::{DataLoader, Dataset, EpochBatches, TensorDataset, collate};
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Error, Result, Tensor};

/// Each number, with a draw of its generator.
struct Drawn(usize);

impl Dataset for Drawn {
    fn len(&self) -> usize {
        self.0
    }

    fn get(&self, index: usize, rng: &mut Philox) -> Result<Vec<Tensor>> {
        let draw = Tensor::uniform(0.0, 1.0, [1], DType::F64, &Device::Cpu, rng)?;
        Ok(vec![Tensor::scalar(index as i64, &Device::Cpu)?, draw])
    }
}

fn indices(batches: EpochBatches) -> Vec<Vec<i64>> {
    batches.map(|batch| batch.unwrap()[0].to_vec().unwrap()).collect()
}

/// Batches as numbers: which sample, and the bits of what it drew.
fn contents(batches: EpochBatches) -> Vec<Vec<(i64, u64)>> {
    let batches = batches.map(|batch| {
        let batch = batch.unwrap();
        let (indices, draws) = (batch[0].to_vec::<i64>().unwrap(), batch[1].to_vec::<f64>().unwrap());
        indices.into_iter().zip(draws.into_iter().map(f64::to_bits)).collect()
    });
    batches.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn an_epoch_has_each_sample_once_in_batches_of_one_size(
        n in 0usize..60, size in 1usize..20, seed: u64, epoch: u64, drop_last: bool, workers in 0usize..4,
    ) {
        let loader = DataLoader::new(Drawn(n), size).shuffle(seed).drop_last(drop_last).workers(workers);
        let batches = loader.epoch(epoch);
        prop_assert_eq!(batches.size_hint(), (loader.batches_per_epoch(), Some(loader.batches_per_epoch())));
        let batches = indices(batches);
        prop_assert_eq!(batches.len(), if drop_last { n / size } else { n.div_ceil(size) });
        let full = |batch: &Vec<i64>| batch.len() == size;
        let last_may_be_short = batches.split_last().is_none_or(|(last, before)| {
            before.iter().all(full) && if drop_last { full(last) } else { !last.is_empty() }
        });
        prop_assert!(last_may_be_short);
        let mut seen = batches.concat();
        seen.sort_unstable();
        seen.dedup();
        prop_assert_eq!(seen.len(), if drop_last { n / size * size } else { n });
    }

    #[test]
    fn threads_and_the_place_of_a_start_change_nothing(
        n in 1usize..60, size in 1usize..12, seed: u64, epoch: u64, workers in 1usize..5, ahead in 0usize..3,
        first in 0usize..12,
    ) {
        let loader = DataLoader::new(Drawn(n), size).shuffle(seed);
        let all = contents(loader.epoch(epoch));
        prop_assert_eq!(&contents(loader.clone().workers(workers).ahead(ahead).epoch(epoch)), &all);
        let from = contents(loader.clone().workers(workers).epoch_from(epoch, first));
        prop_assert_eq!(&from[..], &all[first.min(all.len())..]);
        // What a sample draws is its own, whatever the batch.
        let mut single = contents(loader.seed(seed).drop_last(false).epoch(epoch)).concat();
        let mut other = contents(DataLoader::new(Drawn(n), n).seed(seed).epoch(epoch)).concat();
        single.sort_unstable();
        other.sort_unstable();
        prop_assert_eq!(single, other);
    }
}

#[test]
fn orders_differ_between_epochs_and_seeds() {
    let order = |seed, epoch| indices(DataLoader::new(Drawn(50), 50).shuffle(seed).epoch(epoch));
    let orders = [order(1, 0), order(1, 1), order(2, 0), order(2, 1), order(1, 1 << 40)];
    for (i, a) in orders.iter().enumerate() {
        assert!(orders[..i].iter().all(|b| a != b), "two of five orders of 50 samples agree");
    }
    let draws = |epoch| contents(DataLoader::new(Drawn(3), 3).seed(9).epoch(epoch));
    assert_ne!(draws(0), draws(1));
    assert_eq!(indices(DataLoader::new(Drawn(5), 2).epoch(7)), [vec![0, 1], vec![2, 3], vec![4]]);
}

/// In the first place each sample is about equally often: 4,000 shuffles of 8, so 500 times each, with a standard
/// deviation of 21.
#[test]
fn every_place_is_as_likely() {
    let mut first = [0i32; 8];
    let loader = DataLoader::new(TensorDataset::new(&[numbers(8)]).unwrap(), 8).shuffle(3);
    for epoch in 0..4000 {
        first[indices(loader.epoch(epoch))[0][0] as usize] += 1;
    }
    assert!(first.iter().all(|count| (count - 500).abs() < 6 * 21), "{first:?}");
}

/// Fails in its own way at one sample.
struct Failing {
    at: usize,
    panics: bool,
}

impl Dataset for Failing {
    fn len(&self) -> usize {
        12
    }

    fn get(&self, index: usize, _: &mut Philox) -> Result<Vec<Tensor>> {
        match index == self.at {
            true if self.panics => panic!("the file of {index} is broken"),
            true => Err(Error::argument("reading", "the file is cut")),
            false => Ok(vec![Tensor::scalar(index as i64, &Device::Cpu)?]),
        }
    }
}

#[test]
fn a_workers_error_or_panic_is_an_error_that_names_the_sample() {
    for workers in 0..4 {
        for (panics, cause) in [(false, "the file is cut"), (true, "the file of 7 is broken")] {
            for own_collate in [false, true] {
                let mut loader = DataLoader::new(Failing { at: 7, panics }, 3).workers(workers);
                if own_collate {
                    loader = loader.collate(collate::stack);
                }
                let batches: Vec<_> = loader.epoch(4).collect();
                assert_eq!(batches.len(), 4);
                for (number, batch) in batches.into_iter().enumerate() {
                    if number == 2 {
                        let text = message(batch);
                        for part in ["batch 2 of epoch 4", "sample 7", cause] {
                            assert!(text.contains(part), "{text:?} lacks {part:?}");
                        }
                    } else {
                        assert_eq!(batch.unwrap()[0].to_vec::<i64>().unwrap()[0], 3 * number as i64);
                    }
                }
            }
        }
    }
}

#[test]
fn what_breaks_outside_samples_names_the_batch() {
    let set = || TensorDataset::new(&[numbers(6)]).unwrap();
    for workers in [0, 2] {
        let collated = DataLoader::new(set(), 2).workers(workers).collate(|_| panic!("no batch today"));
        let mapped = DataLoader::new(set(), 2).workers(workers).map(|_, _| Err(Error::argument("map", "no map")));
        for (loader, cause) in [(collated, "no batch today"), (mapped, "no map")] {
            let texts: Vec<String> = loader.epoch(0).map(message).collect();
            assert_eq!(texts.len(), 3);
            assert!(texts[1].contains("batch 1 of epoch 0") && texts[1].contains(cause), "{texts:?}");
        }
    }
    let uneven = DataLoader::new(Uneven, 2);
    assert!(message(uneven.epoch(0).next().unwrap()).contains("batch 0 of epoch 0"));
    let zero: Vec<_> = DataLoader::new(set(), 0).epoch(0).collect();
    assert_eq!(zero.len(), 1);
    assert!(message(zero.into_iter().next().unwrap()).contains("at least 1"));
}

/// Sample i has i + 1 elements, and one twice as many.
struct Uneven;

impl Dataset for Uneven {
    fn len(&self) -> usize {
        3
    }

    fn get(&self, index: usize, _: &mut Philox) -> Result<Vec<Tensor>> {
        let ones = |n: usize| Tensor::full(index as f64, [n, 2], DType::F32, &Device::Cpu);
        Ok(vec![ones(index + 1)?, ones(2 * index)?.select(1, 0)?])
    }
}

#[test]
fn padding_reaches_to_the_longest() {
    let loader = DataLoader::new(Uneven, 3).collate(|samples| collate::pad_with_lengths(samples, &[9.0, -1.0], 1));
    let batch = loader.epoch(0).next().unwrap().unwrap();
    let expected = [
        [[0.0, 0.0], [9.0, 9.0], [9.0, 9.0]],
        [[1.0, 1.0], [1.0, 1.0], [9.0, 9.0]],
        [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]],
    ];
    assert_eq!(batch[0].to_vec3::<f32>().unwrap(), expected);
    let expected = [[-1.0, -1.0, -1.0, -1.0], [1.0, 1.0, -1.0, -1.0], [2.0, 2.0, 2.0, 2.0]];
    assert_eq!(batch[1].to_vec2::<f32>().unwrap(), expected);
    assert_eq!(batch[2].to_vec::<i64>().unwrap(), [0, 2, 4]);
    let scalars = |n: f32| vec![Tensor::scalar(n, &Device::Cpu).unwrap()];
    assert_eq!(collate::pad(vec![scalars(1.0), scalars(2.0)], &[]).unwrap()[0].to_vec::<f32>().unwrap(), [1.0, 2.0]);
    assert!(message(collate::pad_with_lengths(vec![scalars(1.0)], &[], 0)).contains("no axes"));
    let two = vec![scalars(1.0), [scalars(1.0), scalars(2.0)].concat()];
    assert!(message(collate::stack(two)).contains("sample 1 of the batch has 2 tensors, and the first 1"));
}

/// Counts how many samples were made, and how many of its handles live.
struct Counting(Arc<AtomicUsize>);

impl Dataset for Counting {
    fn len(&self) -> usize {
        1_000_000
    }

    fn get(&self, index: usize, _: &mut Philox) -> Result<Vec<Tensor>> {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(vec![Tensor::scalar(index as i64, &Device::Cpu)?])
    }
}

/// Threads hold the set, so that the count tells whether any is left.
#[test]
fn dropped_early_its_threads_are_gone_and_did_not_run_ahead_without_bound() {
    let made = Arc::new(AtomicUsize::new(0));
    let loader = DataLoader::new(Counting(made.clone()), 10).workers(3).ahead(2);
    let mut batches = loader.epoch(0);
    for number in 0..5 {
        assert_eq!(batches.next().unwrap().unwrap()[0].to_vec::<i64>().unwrap()[0], 10 * number);
    }
    drop(batches);
    // Five taken; of each of three threads two in the queue and one that waits to be put there.
    let after = made.load(Ordering::SeqCst);
    assert!(after <= 10 * (5 + 3 * 3), "{after} samples were made");
    drop(loader);
    assert_eq!(Arc::strong_count(&made), 1);
}

#[test]
fn maps_draw_from_seed_epoch_and_batch() {
    let loader = |seed, workers| {
        let set = TensorDataset::new(&[numbers(8)]).unwrap();
        DataLoader::new(set, 2).seed(seed).workers(workers).map(|mut batch, rng| {
            batch.push(Tensor::uniform(0.0, 1.0, [2], DType::F64, &Device::Cpu, rng)?);
            Ok(batch)
        })
    };
    let all = contents(loader(5, 0).epoch(1));
    assert_eq!(contents(loader(5, 3).epoch(1)), all);
    assert_eq!(contents(loader(5, 2).epoch_from(1, 2)), all[2..]);
    let mut draws: Vec<u64> = all.concat().iter().map(|pair| pair.1).collect();
    draws.extend(contents(loader(5, 0).epoch(2)).concat().iter().map(|pair| pair.1));
    draws.extend(contents(loader(6, 0).epoch(1)).concat().iter().map(|pair| pair.1));
    draws.sort_unstable();
    draws.dedup();
    assert_eq!(draws.len(), 24);
}
