//! Values that are followed while a run goes on.

use crate::{Error, Result};

/// The mean over all samples so far, from batches of any sizes.
///
/// ```
/// # use warpsmith::metrics::Running;
/// let mut loss = Running::default();
/// loss.add_batch(2.0, 3);
/// loss.add_batch(6.0, 1);
/// assert_eq!(loss.mean(), Some(3.0));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Running {
    sum: f64,
    count: u64,
}

impl Running {
    /// One sample's value.
    pub fn add(&mut self, value: f64) {
        self.add_batch(value, 1);
    }

    /// A batch's mean, and of how many samples it is. An empty batch changes nothing.
    pub fn add_batch(&mut self, mean: f64, samples: usize) {
        if samples > 0 {
            self.sum += mean * samples as f64;
            self.count += samples as u64;
        }
    }

    /// The mean; none before the first sample.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }

    /// How many samples there were.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Forgets everything: the next epoch begins.
    pub fn reset(&mut self) {
        *self = Self::default();
    }
}

/// The exponential moving average of a value, which keeps a share of itself at each new one; without the bias towards 0
/// of its start (Kingma and Ba 2015, section 3).
///
/// ```
/// # use warpsmith::metrics::Smoothed;
/// let mut loss = Smoothed::new(0.5)?;
/// assert_eq!(loss.add(4.0), 4.0);
/// assert_eq!(loss.add(1.0), 2.0); // (0.25 · 4 + 0.5 · 1) / 0.75
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Smoothed {
    keep: f64,
    average: f64,
    weight: f64,
}

impl Smoothed {
    /// `keep` in [0, 1): 0 follows the last value, 0.99 about the last hundred.
    pub fn new(keep: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&keep) {
            return Err(Error::argument("smoothed", format!("a share to keep in [0, 1) is expected, got {keep}")));
        }
        Ok(Smoothed { keep, average: 0.0, weight: 0.0 })
    }

    /// Takes the next value; returns the average with it.
    pub fn add(&mut self, value: f64) -> f64 {
        self.average = self.keep * self.average + (1.0 - self.keep) * value;
        self.weight = self.keep * self.weight + (1.0 - self.keep);
        self.average / self.weight
    }

    /// The average; none before the first value.
    pub fn value(&self) -> Option<f64> {
        (self.weight > 0.0).then(|| self.average / self.weight)
    }
}
