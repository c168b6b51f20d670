//! Where batches come from.

use crate::data::{DataLoader, LimitedStream};
use crate::{Result, Tensor};

/// Batches of one epoch, in order.
pub type BatchIter<'a> = Box<dyn Iterator<Item = Result<Vec<Tensor>>> + 'a>;

/// What a [`Trainer`](super::Trainer) trains on: epochs of batches, a batch being what the training closure takes. The
/// same epoch and place give the same batch whenever they are asked for: then a run that is taken up again inside an
/// epoch goes on as if it had never stopped. A [`DataLoader`] is one, a
/// [`StreamLoader`](crate::data::StreamLoader) with a limit too, and [`batches`] makes one of a function.
pub trait Batches {
    /// How many batches an epoch has. An epoch whose iterator ends earlier is over there.
    fn batches_per_epoch(&self) -> u64;

    /// The batches of epoch `epoch` from number `first` on, both counted from 0.
    fn batches_from(&self, epoch: u64, first: u64) -> Result<BatchIter<'_>>;
}

/// Batches that a function of (epoch, batch), both counted from 0, gives: `per_epoch` of them, or fewer where it gives
/// `None`.
///
/// ```
/// use warpsmith::train::{Batches, batches};
/// use warpsmith::{Device, Tensor};
///
/// let source = batches(3, |epoch, batch| {
///     let x = Tensor::from_slice(&[epoch as f32, batch as f32], [1, 2], &Device::Cpu)?;
///     Ok(Some(vec![x]))
/// });
/// let second: Vec<_> = source.batches_from(1, 2)?.collect::<warpsmith::Result<_>>()?;
/// assert_eq!(second.len(), 1);
/// assert_eq!(second[0][0].to_vec::<f32>()?, [1.0, 2.0]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn batches<F>(per_epoch: u64, f: F) -> impl Batches
where
    F: Fn(u64, u64) -> Result<Option<Vec<Tensor>>>,
{
    FromFn { per_epoch, f }
}

struct FromFn<F> {
    per_epoch: u64,
    f: F,
}

impl<F: Fn(u64, u64) -> Result<Option<Vec<Tensor>>>> Batches for FromFn<F> {
    fn batches_per_epoch(&self) -> u64 {
        self.per_epoch
    }

    fn batches_from(&self, epoch: u64, first: u64) -> Result<BatchIter<'_>> {
        let one = move |batch| (self.f)(epoch, batch).transpose();
        Ok(Box::new((first..self.per_epoch).map_while(one)))
    }
}

impl Batches for DataLoader {
    fn batches_per_epoch(&self) -> u64 {
        DataLoader::batches_per_epoch(self) as u64
    }

    fn batches_from(&self, epoch: u64, first: u64) -> Result<BatchIter<'_>> {
        Ok(Box::new(self.epoch_from(epoch, first as usize)))
    }
}

impl Batches for LimitedStream {
    fn batches_per_epoch(&self) -> u64 {
        LimitedStream::batches_per_epoch(self) as u64
    }

    fn batches_from(&self, epoch: u64, first: u64) -> Result<BatchIter<'_>> {
        Ok(Box::new(LimitedStream::batches_from(self, epoch, first as usize)))
    }
}
