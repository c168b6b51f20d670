//! What kernels find wrong with values, which only they see: an error of the next call that waits for the device. In a file
//! of its own and one test, for the error goes to whoever waits first, in whatever thread.

#[cfg(test)]
mod support;

use crate::support::devices;
use warpsmith::nn::{FieldEmbedding, Init, Params};
use warpsmith::random::Philox;
use warpsmith::{DType, Tensor};

fn wrong_values_are_named_when_the_device_is_waited_for() {
    an_index_at_the_bound();
    an_index_out_of_range();
    weights_of_no_distribution();
    an_id_of_another_field();
}

/// The first index that is out of range, and the last that is not: what kernels alone see, when the device is waited for.
fn an_index_at_the_bound() {
    for gpu in devices::gpus(4) {
        let x = Tensor::ones([3, 4], DType::F32, &gpu.device).unwrap();
        for (last, fits) in [(2i64, true), (3, false), (-1, false)] {
            let index = Tensor::from_slice(&[0, last], 2, &gpu.device).unwrap();
            let rows = x.index_select(0, &index).and_then(|rows| rows.to_f64_vec());
            let hot = index.one_hot(3).and_then(|hot| hot.to_f64_vec());
            assert_eq!((rows.is_ok(), hot.is_ok()), (fits, fits), "index {last} of 3 on {}", gpu.name);
        }
    }
}

fn an_index_out_of_range() {
    for gpu in devices::gpus(2) {
        let x = Tensor::ones([3, 4], DType::F32, &gpu.device).unwrap();
        for bad in [7i64, -1, 3] {
            let index = Tensor::from_slice(&[0, bad], 2, &gpu.device).unwrap();
            let source = Tensor::ones([2, 4], DType::F32, &gpu.device).unwrap();
            let rows = index.unsqueeze(1).unwrap();
            for op in ["index_select", "index_add", "gather", "one_hot", "scatter_add"] {
                let result = match op {
                    "index_select" => x.index_select(0, &index),
                    "index_add" => x.index_add(0, &index, &source),
                    "gather" => x.gather(0, &rows),
                    "scatter_add" => x.scatter_add(0, &rows, &source.narrow(1, 0, 1).unwrap()),
                    _ => index.one_hot(3),
                };
                let error = result.and_then(|t| t.to_f64_vec()).unwrap_err().to_string();
                assert!(error.contains(op) && error.contains(&format!("index {bad}")), "{op}: {error}");
            }
        }
        assert_eq!(x.sum(&[0, 1]).unwrap().item::<f32>().unwrap(), 12.0);
    }
}

fn weights_of_no_distribution() {
    for gpu in devices::gpus(1) {
        let draw = |weights: &[f32], samples: usize, replacement: bool| {
            let w = Tensor::from_slice(weights, weights.len(), &gpu.device).unwrap();
            let drawn = w.multinomial(samples, replacement, &mut Philox::new(1)).and_then(|t| t.to_vec::<i64>());
            drawn.unwrap_err().to_string()
        };
        assert!(draw(&[1.0, f32::NAN], 1, true).contains("row 0"));
        assert!(draw(&[0.0, 0.0], 1, true).contains("row 0"));
        assert!(draw(&[1.0, 0.0], 2, false).contains("2 samples without replacement from 1"));
        // The device goes on.
        let w = Tensor::from_slice(&[0f32, 1.0], 2, &gpu.device).unwrap();
        assert_eq!(w.multinomial(2, true, &mut Philox::new(1)).unwrap().to_vec::<i64>().unwrap(), [1, 1]);
    }
}

/// An id past the end of its field, where the table has a row of the next one.
fn an_id_of_another_field() {
    for gpu in devices::gpus(3) {
        let params = Params::new(&gpu.device, DType::F32, 1);
        let layer = FieldEmbedding::new(&params, &[4, 1, 6], 2, Init::STANDARD_NORMAL).unwrap();
        for (ids, fits) in [([3i64, 0, 5], true), ([0, 1, 0], false), ([0, 0, 6], false), ([0, -1, 0], false)] {
            let ids = Tensor::from_slice(&ids, [1, 3], &gpu.device).unwrap();
            let rows = layer.forward(&ids).and_then(|rows| rows.to_f64_vec());
            assert_eq!(rows.is_ok(), fits, "{ids:?} on {}", gpu.name);
        }
    }
}

crate::support::device_checks!(wrong_values_are_named_when_the_device_is_waited_for);
