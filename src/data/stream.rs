//! Data that can only be read from their beginning.

use super::collate;
use super::dataset::{generator, guarded, purpose};
use super::prefetch::{Batch, EpochBatches};
use crate::random::{Philox, below};
use crate::{Device, Error, Result, Tensor};
use std::sync::Arc;

/// The samples of an epoch, one after another.
pub type Samples = Box<dyn Iterator<Item = Result<Vec<Tensor>>> + Send>;

/// Samples without numbers: lines of a file too large for memory, records from elsewhere, made-up examples.
///
/// Closures from the epoch to an iterator are streams.
///
/// ```
/// use std::io::{BufRead, BufReader};
/// use warpsmith::data::{Samples, StreamLoader};
/// use warpsmith::{Device, Error, Result, Tensor};
///
/// let text = "1 2\n3 4\n5 6\n";
/// let lines = move |_epoch: u64| -> Result<Samples> {
///     let sample = |line: std::io::Result<String>| {
///         let line = line.map_err(|e| Error::argument("lines", e.to_string()))?;
///         let numbers = line.split(' ').map(|word| word.parse::<f32>());
///         let numbers = numbers.collect::<Result<Vec<_>, _>>().map_err(|e| Error::argument("lines", e.to_string()))?;
///         Ok(vec![Tensor::from_slice(&numbers, [numbers.len()], &Device::Cpu)?])
///     };
///     Ok(Box::new(BufReader::new(text.as_bytes()).lines().map(sample)))
/// };
/// let batches: Vec<_> = StreamLoader::new(lines, 2).epoch(0).collect::<Result<_>>()?;
/// assert_eq!(batches[0][0].to_vec2::<f32>()?, [[1.0, 2.0], [3.0, 4.0]]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub trait Stream: Send + Sync {
    /// The samples of an epoch, from the first. Every call with the same epoch gives the same ones.
    fn samples(&self, epoch: u64) -> Result<Samples>;
}

impl<F: Fn(u64) -> Result<Samples> + Send + Sync> Stream for F {
    fn samples(&self, epoch: u64) -> Result<Samples> {
        self(epoch)
    }
}

type Collate = dyn Fn(Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> + Send + Sync;

/// Makes batches of a [`Stream`]; [`DataLoader`](super::DataLoader) is for what has numbers.
#[derive(Clone)]
pub struct StreamLoader {
    stream: Arc<dyn Stream>,
    batch: usize,
    shuffle: Option<(u64, usize)>,
    drop_last: bool,
    ahead: usize,
    collate: Arc<Collate>,
    device: Option<Device>,
}

impl StreamLoader {
    /// Batches of `batch` samples in the stream's order, the last one with what is left. An epoch of batches of 0 is an
    /// error.
    pub fn new(stream: impl Stream + 'static, batch: usize) -> Self {
        let collate = Arc::new(collate::stack);
        StreamLoader {
            stream: Arc::new(stream),
            batch,
            shuffle: None,
            drop_last: false,
            ahead: 0,
            collate,
            device: None,
        }
    }

    /// Keeps up to `buffer` samples in memory and takes the next one from a random place among them: an order that is a
    /// function of seed, epoch and buffer, and mixes no further than the buffer reaches.
    pub fn shuffle(mut self, seed: u64, buffer: usize) -> Self {
        self.shuffle = Some((seed, buffer));
        self
    }

    /// Whether a last batch that is not full is left out.
    pub fn drop_last(mut self, drop_last: bool) -> Self {
        self.drop_last = drop_last;
        self
    }

    /// How many batches a thread makes ahead; with 0, the default, each is made when it is asked for.
    pub fn ahead(mut self, batches: usize) -> Self {
        self.ahead = batches;
        self
    }

    /// Makes batches of samples; stacks them if not given. See [`collate`](super::collate).
    pub fn collate(mut self, f: impl Fn(Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> + Send + Sync + 'static) -> Self {
        self.collate = Arc::new(f);
        self
    }

    /// Moves every batch to this device, in the thread that takes it.
    pub fn device(mut self, device: &Device) -> Self {
        self.device = Some(device.clone());
        self
    }

    /// The loader with an end after `batches` in each epoch, for streams that have none: what a
    /// [`Trainer`](crate::train::Trainer) takes, which must know how long an epoch is.
    pub fn limit(self, batches: usize) -> LimitedStream {
        LimitedStream { loader: self, batches }
    }

    /// The batches of an epoch.
    pub fn epoch(&self, epoch: u64) -> EpochBatches {
        self.epoch_from(epoch, 0)
    }

    /// The batches of an epoch from number `first` on. The samples before it are read and dropped: a stream has no other
    /// way there.
    pub fn epoch_from(&self, epoch: u64, first: usize) -> EpochBatches {
        let (seed, capacity) = self.shuffle.unwrap_or((0, 1));
        let rng = generator(seed, epoch, purpose::BUFFER);
        let mut run = Run {
            loader: self.clone(),
            samples: None,
            epoch,
            read: 0,
            buffer: Vec::new(),
            capacity: capacity.max(1),
            rng,
            pending: Vec::new(),
            ended: false,
        };
        let mut skip = first;
        let producer =
            std::iter::from_fn(move || {
                while skip > 0 {
                    skip -= 1;
                    match run.gather()? {
                        Ok(_) => {}
                        Err(error) => return Some(Err(error)),
                    }
                }
                let samples = run.gather()?;
                Some(samples.and_then(|samples| {
                    guarded(|| format!("a batch of epoch {epoch}"), || (run.loader.collate)(samples))
                }))
            });
        match self.ahead {
            0 => EpochBatches::here(Box::new(producer), None, self.device.clone()),
            ahead => EpochBatches::threads(vec![Box::new(producer)], ahead, None, self.device.clone()),
        }
    }
}

/// A [`StreamLoader`] whose epochs have at most so many batches; see [`StreamLoader::limit`].
///
/// ```
/// use warpsmith::data::{Samples, StreamLoader};
/// use warpsmith::{Device, Result, Tensor};
/// let forever = |epoch: u64| -> Result<Samples> {
///     Ok(Box::new((epoch as i64..).map(|i| Ok(vec![Tensor::scalar(i, &Device::Cpu)?]))))
/// };
/// let loader = StreamLoader::new(forever, 4).limit(10);
/// assert_eq!(loader.batches_from(0, 0).count(), 10);
/// assert_eq!(loader.batches_from(0, 8).count(), 2);
/// ```
#[derive(Clone)]
pub struct LimitedStream {
    loader: StreamLoader,
    batches: usize,
}

impl LimitedStream {
    /// How many batches an epoch has at most.
    pub fn batches_per_epoch(&self) -> usize {
        self.batches
    }

    /// The batches of an epoch from number `first` on; those before it are read and dropped.
    pub fn batches_from(&self, epoch: u64, first: usize) -> impl Iterator<Item = Result<Vec<Tensor>>> + use<> {
        self.loader.epoch_from(epoch, first).take(self.batches.saturating_sub(first))
    }
}

/// One epoch of a stream.
struct Run {
    loader: StreamLoader,
    /// Opened with the first sample, in the thread that reads.
    samples: Option<Samples>,
    epoch: u64,
    /// Samples read so far.
    read: usize,
    buffer: Vec<Batch>,
    capacity: usize,
    rng: Philox,
    /// Samples of the batch that is being made: kept where an error comes between them.
    pending: Vec<Batch>,
    ended: bool,
}

impl Run {
    /// The samples of the next batch; none at the end.
    fn gather(&mut self) -> Option<Result<Vec<Batch>>> {
        if self.loader.batch == 0 {
            let first = !std::mem::replace(&mut self.ended, true);
            let error = || Error::argument("StreamLoader", "batches of 0 samples never end: ask for at least 1");
            return first.then(|| Err(error()));
        }
        while self.pending.len() < self.loader.batch {
            match self.next_sample() {
                Some(Ok(sample)) => self.pending.push(sample),
                Some(Err(error)) => return Some(Err(error)),
                None if self.pending.is_empty() || self.loader.drop_last => return None,
                None => break,
            }
        }
        Some(Ok(std::mem::take(&mut self.pending)))
    }

    fn next_sample(&mut self) -> Option<Result<Batch>> {
        while !self.ended && self.buffer.len() < self.capacity {
            match self.read() {
                Ok(Some(sample)) => self.buffer.push(sample),
                Ok(None) => self.ended = true,
                Err(error) => return Some(Err(error)),
            }
        }
        let place = below(&mut self.rng, self.buffer.len() as u64) as usize;
        (!self.buffer.is_empty()).then(|| Ok(self.buffer.swap_remove(place)))
    }

    fn read(&mut self) -> Result<Option<Batch>> {
        let (number, epoch) = (self.read, self.epoch);
        self.read += 1;
        // A stream that panics or does not open is not asked again.
        self.ended = true;
        let place = || format!("sample {number} of the stream in epoch {epoch}");
        let sample = guarded(place, || {
            let samples = match &mut self.samples {
                Some(samples) => samples,
                none => none.insert(self.loader.stream.samples(epoch)?),
            };
            Ok(samples.next())
        })?;
        self.ended = false;
        sample.transpose().map_err(|source| Error::Data { place: place(), source: Box::new(source) })
    }
}
