//! Comparison of results too large for central differences with plain f64 loops.

use super::Array;
use super::record::{self, ratio};
use warpsmith::Tensor;

/// What is expected, and the sum of the magnitudes of the terms that it is the sum of.
#[derive(Clone)]
pub struct Large {
    pub expected: Array,
    pub magnitude: Array,
}

impl Large {
    pub fn zeros(dims: &[usize]) -> Self {
        Large { expected: Array::zeros(dims), magnitude: Array::zeros(dims) }
    }

    /// Adds one term to an element.
    pub fn add(&mut self, i: usize, term: f64) {
        self.expected.data[i] += term;
        self.magnitude.data[i] += term.abs();
    }

    /// Adds several terms to an element.
    pub fn set<const N: usize>(&mut self, i: usize, terms: [f64; N]) {
        terms.into_iter().for_each(|t| self.add(i, t));
    }
}

/// Every element within `bound` times its magnitude (plus what a rounding to f16 does near zero).
pub fn compare(what: &str, found: &Tensor, large: &Large, bound: f64) {
    assert_eq!(found.dims(), large.expected.dims, "{what}: shape");
    let dtype = found.dtype();
    let found = found.to_f64_vec().expect("a float tensor");
    let mut worst = 0f64;
    for (i, ((f, e), m)) in found.iter().zip(&large.expected.data).zip(&large.magnitude.data).enumerate() {
        let limit = bound * m + 2f64.powi(-24);
        let close = (f - e).abs() <= limit;
        assert!(close, "{what}[{i}] of {}: {f:e} instead of {e:e}, limit {limit:e}", large.expected.data.len());
        worst = worst.max(ratio((f - e).abs(), limit));
    }
    record::case("", dtype, worst);
}
