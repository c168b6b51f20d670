//! Batches of a data set, in an order that depends on the seed and the epoch only.

use super::dataset::{Dataset, generator, guarded, numbered, purpose, sample_rng, samples};
use super::prefetch::{Batch, EpochBatches, Producer};
use crate::random::{Philox, permutation};
use crate::{Device, Error, Result, Tensor};
use std::sync::Arc;

type Collate = dyn Fn(Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> + Send + Sync;
type BatchMap = dyn Fn(Vec<Tensor>, &mut Philox) -> Result<Vec<Tensor>> + Send + Sync;

/// Makes batches of a [`Dataset`].
///
/// The order of an epoch is a function of the seed and the epoch, and what is drawn for a sample one of seed, epoch and
/// index: the number of threads changes nothing, and (epoch, batch) is all there is to save of a place inside a run.
///
/// ```
/// use warpsmith::data::{DataLoader, TensorDataset};
/// use warpsmith::{DType, Device, Tensor};
/// let numbers = TensorDataset::new(&[Tensor::arange(0.0, 10.0, 1.0, DType::I64, &Device::Cpu)?])?;
/// let loader = DataLoader::new(numbers, 4).shuffle(1).drop_last(true).workers(1);
/// assert_eq!(loader.batches_per_epoch(), 2);
/// let all: Vec<_> = loader.epoch(3).map(|batch| batch?[0].to_vec::<i64>()).collect::<warpsmith::Result<_>>()?;
/// // The same run, taken up again before its second batch.
/// let rest: Vec<_> = loader.epoch_from(3, 1).map(|batch| batch?[0].to_vec::<i64>()).collect::<warpsmith::Result<_>>()?;
/// assert_eq!(rest, all[1..]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone)]
pub struct DataLoader {
    set: Arc<dyn Dataset>,
    batch: usize,
    shuffled: bool,
    seed: u64,
    drop_last: bool,
    workers: usize,
    ahead: usize,
    collate: Option<Arc<Collate>>,
    map: Option<Arc<BatchMap>>,
    device: Option<Device>,
}

impl DataLoader {
    /// Batches of `batch` samples in the set's order, the last one with what is left. No batch size is 0: an epoch of
    /// that is an error.
    pub fn new(set: impl Dataset + 'static, batch: usize) -> Self {
        DataLoader {
            set: Arc::new(set),
            batch,
            shuffled: false,
            seed: 0,
            drop_last: false,
            workers: 0,
            ahead: 2,
            collate: None,
            map: None,
            device: None,
        }
    }

    /// Each epoch in a random order of its own; the seed is also that of [`seed`](DataLoader::seed).
    pub fn shuffle(mut self, seed: u64) -> Self {
        (self.shuffled, self.seed) = (true, seed);
        self
    }

    /// The seed of the samples' generators, for augmentation in the set's own order; 0 if not given.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Whether a last batch that is not full is left out.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// The number of threads that make batches ahead; with 0, the default, each is made when it is asked for. Operations
    /// on tensors share work among the processor's cores anyway: threads are for what waits (files) or has one core only
    /// (decoding, tokenising).
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// How many finished batches may wait for each thread; 2 if not given.
    pub fn ahead(mut self, batches: usize) -> Self {
        self.ahead = batches;
        self
    }

    /// Makes batches of samples; stacks them if not given. See [`collate`](super::collate).
    pub fn collate(mut self, f: impl Fn(Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> + Send + Sync + 'static) -> Self {
        self.collate = Some(Arc::new(f));
        self
    }

    /// Passes every batch through `f`, in the threads, with a generator that is a function of seed, epoch and batch
    /// number: augmentation of whole batches, or the mixing of samples.
    ///
    /// ```
    /// use warpsmith::data::{DataLoader, TensorDataset};
    /// use warpsmith::{DType, Device, Tensor};
    /// let set = TensorDataset::new(&[Tensor::zeros([4, 1, 8, 8], DType::F32, &Device::Cpu)?])?;
    /// let loader = DataLoader::new(set, 2).seed(7).map(|batch, rng| {
    ///     let noise = Tensor::normal(0.0, 0.1, batch[0].shape(), DType::F32, &Device::Cpu, rng)?;
    ///     Ok(vec![(&batch[0] + &noise)?])
    /// });
    /// assert_eq!(loader.epoch(0).count(), 2);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn map(mut self, f: impl Fn(Vec<Tensor>, &mut Philox) -> Result<Vec<Tensor>> + Send + Sync + 'static) -> Self {
        self.map = Some(Arc::new(f));
        self
    }

    /// Moves every batch to this device, in the thread that takes it.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = Some(device.clone());
        self
    }

    /// The number of samples in the set.
    pub fn len(&self) -> usize {
        self.set.len()
    }

    /// Whether the set has no samples.
    pub fn is_empty(&self) -> bool {
        self.set.is_empty()
    }

    /// The number of batches that an epoch has.
    pub fn batches_per_epoch(&self) -> usize {
        match (self.batch, self.drop_last) {
            (0, _) => 0,
            (batch, true) => self.set.len() / batch,
            (batch, false) => self.set.len().div_ceil(batch),
        }
    }

    /// The batches of an epoch.
    pub fn epoch(&self, epoch: u64) -> EpochBatches {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from number `first` on; the ones before it are not made.
    pub fn epoch_from(&self, epoch: u64, first: usize) -> EpochBatches {
        if self.batch == 0 {
            let error = Error::argument("DataLoader", "batches of 0 samples never end: ask for at least 1");
            return EpochBatches::here(Box::new(std::iter::once(Err(error))), Some(1), None);
        }
        let end = self.batches_per_epoch();
        let first = first.min(end);
        let shuffled = || permutation(self.set.len(), &mut generator(self.seed, epoch, purpose::ORDER));
        let order = self.shuffled.then(shuffled);
        let plan = Arc::new(Plan { loader: self.clone(), epoch, order });
        let producer = |first: usize, step: usize| -> Producer {
            let plan = plan.clone();
            Box::new((first..end).step_by(step).map(move |number| plan.make(number)))
        };
        let workers = self.workers.min(end - first);
        if workers == 0 {
            return EpochBatches::here(producer(first, 1), Some(end - first), self.device.clone());
        }
        let producers = (0..workers).map(|worker| producer(first + worker, workers)).collect();
        EpochBatches::threads(producers, self.ahead, Some(end - first), self.device.clone())
    }
}

impl std::fmt::Debug for DataLoader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DataLoader")
            .field("samples", &self.set.len())
            .field("batch", &self.batch)
            .field("shuffled", &self.shuffled)
            .field("seed", &self.seed)
            .field("drop_last", &self.drop_last)
            .field("workers", &self.workers)
            .finish_non_exhaustive()
    }
}

/// One epoch, shared by its threads.
struct Plan {
    loader: DataLoader,
    epoch: u64,
    /// The set's own order if there is none.
    order: Option<Vec<usize>>,
}

impl Plan {
    fn make(&self, number: usize) -> Result<Batch> {
        let loader = &self.loader;
        let range = number * loader.batch..loader.set.len().min((number + 1) * loader.batch);
        let indices: Vec<usize> = match &self.order {
            Some(order) => order[range].to_vec(),
            None => range.collect(),
        };
        guarded(
            || format!("batch {number} of epoch {}", self.epoch),
            || {
                let mut rngs: Vec<Philox> =
                    indices.iter().map(|&index| sample_rng(loader.seed, self.epoch, index)).collect();
                let batch = match &loader.collate {
                    Some(collate) => collate(samples(&loader.set, &indices, &mut rngs)?)?,
                    None => loader.set.batch(&indices, &mut rngs)?,
                };
                match &loader.map {
                    Some(map) => map(batch, &mut numbered(loader.seed, self.epoch, purpose::BATCH, number)),
                    None => Ok(batch),
                }
            },
        )
    }
}
