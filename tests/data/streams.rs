//! Streams: order, the buffer, errors.

use super::message;
use proptest::prelude::*;
use warpsmith::data::{EpochBatches, Samples, Stream, StreamLoader};
use warpsmith::{Device, Error, Result, Tensor};

fn count_to(n: i64) -> impl Stream {
    move |epoch: u64| -> Result<Samples> {
        let sample = move |i: i64| Ok(vec![Tensor::scalar(1000 * epoch as i64 + i, &Device::Cpu)?]);
        Ok(Box::new((0..n).map(sample)))
    }
}

fn values(batches: EpochBatches) -> Vec<Vec<i64>> {
    batches.map(|batch| batch.unwrap()[0].to_vec().unwrap()).collect()
}

#[test]
fn without_shuffle_the_order_is_the_streams() {
    let loader = StreamLoader::new(count_to(5), 2);
    assert_eq!(values(loader.epoch(1)), [vec![1000, 1001], vec![1002, 1003], vec![1004]]);
    assert_eq!(values(loader.clone().ahead(1).epoch(0)), [vec![0, 1], vec![2, 3], vec![4]]);
    assert_eq!(values(loader.clone().drop_last(true).epoch(0)), [[0, 1], [2, 3]]);
    assert_eq!(values(loader.epoch_from(0, 2)), [[4]]);
    assert!(values(loader.epoch_from(0, 3)).is_empty());
    let pairs = loader.collate(|samples| Ok(vec![Tensor::scalar(samples.len() as i64, &Device::Cpu)?]));
    assert_eq!(values(pairs.epoch(0)), [[2], [2], [1]]);
    assert!(message(StreamLoader::new(count_to(5), 0).epoch(0).next().unwrap()).contains("at least 1"));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_shuffled_epoch_has_each_sample_once_and_no_further_ahead_than_the_buffer(
        n in 0i64..80, size in 1usize..9, buffer in 0usize..100, seed: u64, epoch in 0u64..5, ahead in 0usize..3,
        first in 0usize..9,
    ) {
        let loader = StreamLoader::new(count_to(n), size).shuffle(seed, buffer);
        let all = values(loader.epoch(epoch));
        let from = values(loader.clone().ahead(ahead).epoch_from(epoch, first));
        prop_assert_eq!(&from[..], &all[first.min(all.len())..]);
        let order: Vec<i64> = all.concat().iter().map(|v| v - 1000 * epoch as i64).collect();
        // The sample that comes out at place p was read by then: at most p + buffer - 1.
        for (place, &sample) in order.iter().enumerate() {
            prop_assert!(sample <= (place + buffer.max(1) - 1) as i64);
        }
        let mut sorted = order;
        sorted.sort_unstable();
        prop_assert_eq!(sorted, (0..n).collect::<Vec<_>>());
    }
}

#[test]
fn a_buffer_of_the_whole_stream_mixes_it_all_anew_each_epoch() {
    let order = |epoch, seed| {
        let loader = StreamLoader::new(count_to(40), 40).shuffle(seed, 40);
        values(loader.epoch(epoch)).concat().iter().map(|v| v % 1000).collect::<Vec<_>>()
    };
    assert_ne!(order(0, 1), order(1, 1));
    assert_ne!(order(0, 1), order(0, 2));
    assert!(!order(0, 1).is_sorted());
    // The last sample may come first: among 400 epochs with probability 1 - (39/40)^400 > 0.99995.
    assert!((0..400).any(|epoch| order(epoch, 3)[0] == 39));
}

fn broken(panics: bool) -> impl Stream {
    move |_: u64| -> Result<Samples> {
        Ok(Box::new((0..7i64).map(move |i| match i {
            4 if panics => panic!("line 4 is broken"),
            4 => Err(Error::argument("line", "it is cut")),
            _ => Ok(vec![Tensor::scalar(i, &Device::Cpu)?]),
        })))
    }
}

#[test]
fn errors_and_panics_name_the_sample_and_what_was_read_stays() {
    for ahead in [0, 2] {
        let after_error: Vec<_> = StreamLoader::new(broken(false), 3).ahead(ahead).epoch(0).collect();
        let texts: Vec<String> = after_error
            .into_iter()
            .map(|batch| match batch {
                Ok(batch) => format!("{:?}", batch[0].to_vec::<i64>().unwrap()),
                Err(error) => error.to_string(),
            })
            .collect();
        assert_eq!(texts.len(), 3, "{texts:?}");
        assert_eq!((&texts[0][..], &texts[2][..]), ("[0, 1, 2]", "[3, 5, 6]"));
        assert!(texts[1].contains("sample 4 of the stream in epoch 0") && texts[1].contains("it is cut"), "{texts:?}");

        let mut after_panic = StreamLoader::new(broken(true), 3).ahead(ahead).epoch(0);
        assert!(after_panic.next().unwrap().is_ok());
        let text = message(after_panic.next().unwrap());
        assert!(text.contains("sample 4") && text.contains("line 4 is broken"), "{text}");
        // A stream that panicked is not asked again; what came before is given.
        assert_eq!(after_panic.next().unwrap().unwrap()[0].to_vec::<i64>().unwrap(), [3]);
        assert!(after_panic.next().is_none());
    }
    let closed = |_: u64| -> Result<Samples> { Err(Error::argument("stream", "the door is shut")) };
    let texts: Vec<String> = StreamLoader::new(closed, 3).epoch(0).map(message).collect();
    assert_eq!(texts.len(), 1);
    assert!(texts[0].contains("the door is shut"));
}
