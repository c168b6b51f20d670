//! Data sets: samples by number, and sets made of other sets.

use super::collate;
use crate::nn::StateDict;
use crate::random::{Philox, PhiloxState, philox};
use crate::{Device, Error, Result, Tensor};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

/// Samples by number, from 0 to `len`. Threads of a loader call one set together.
///
/// ```
/// use warpsmith::data::{DataLoader, Dataset};
/// use warpsmith::random::Philox;
/// use warpsmith::{Device, Result, Tensor};
///
/// /// Each number and its square.
/// struct Squares(usize);
///
/// impl Dataset for Squares {
///     fn len(&self) -> usize {
///         self.0
///     }
///
///     fn get(&self, index: usize, _: &mut Philox) -> Result<Vec<Tensor>> {
///         let x = index as f32;
///         Ok(vec![Tensor::scalar(x, &Device::Cpu)?, Tensor::scalar(x * x, &Device::Cpu)?])
///     }
/// }
///
/// let batches: Vec<_> = DataLoader::new(Squares(5), 2).epoch(0).collect::<Result<_>>()?;
/// assert_eq!(batches[1][1].to_vec::<f32>()?, [4.0, 9.0]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub trait Dataset: Send + Sync {
    /// The number of samples.
    fn len(&self) -> usize;

    /// Whether there are no samples.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One sample as tensors on the CPU, always the same number of them. `rng` is this sample's own generator in this
    /// epoch, for augmentation: see [`sample_rng`].
    fn get(&self, index: usize, rng: &mut Philox) -> Result<Vec<Tensor>>;

    /// Several samples, each tensor stacked along a new first axis; `rngs` are theirs, in order. By default they are
    /// got one by one; sets in memory gather all at once.
    fn batch(&self, indices: &[usize], rngs: &mut [Philox]) -> Result<Vec<Tensor>> {
        collate::stack(samples(self, indices, rngs)?)
    }
}

/// What separates the generators of one seed.
pub(super) mod purpose {
    pub const ORDER: u32 = 1;
    pub const SAMPLE: u32 = 2;
    pub const BATCH: u32 = 3;
    pub const BUFFER: u32 = 4;
    pub const SPLIT: u32 = 5;
}

/// The generator of one purpose in one epoch: a key made by Philox itself, from counters that draws never use.
pub(super) fn generator(seed: u64, epoch: u64, purpose: u32) -> Philox {
    let key = [seed as u32, (seed >> 32) as u32];
    let [low, high, ..] = philox(key, [epoch as u32, (epoch >> 32) as u32, purpose, 0x6461_7461]);
    Philox::new(low as u64 | (high as u64) << 32)
}

/// As [`generator`], at a place of its own for each of many numbers: 2³² blocks of four words apart.
pub(super) fn numbered(seed: u64, epoch: u64, purpose: u32, number: usize) -> Philox {
    let state = generator(seed, epoch, purpose).state();
    Philox::from_state(PhiloxState { block: (number as u64) << 32, ..state })
}

/// The generator that a loader with this seed gives to a sample: a function of seed, epoch and index, whatever the
/// order, the batch size and the number of threads.
pub fn sample_rng(seed: u64, epoch: u64, index: usize) -> Philox {
    numbered(seed, epoch, purpose::SAMPLE, index)
}

/// Runs `f`; its error, or what it panicked with, is told with the place.
pub(super) fn guarded<R>(place: impl FnOnce() -> String, f: impl FnOnce() -> Result<R>) -> Result<R> {
    // What a panic leaves half done is dropped here, or is the panicking code's own.
    let result = catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().map(|text| text.to_string());
        let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
        Err(Error::argument("panic", text.unwrap_or_else(|| "not with a text".into())))
    });
    result.map_err(|source| Error::Data { place: place(), source: Box::new(source) })
}

/// The samples one by one; an error or panic names the sample.
pub(super) fn samples<D: Dataset + ?Sized>(
    set: &D,
    indices: &[usize],
    rngs: &mut [Philox],
) -> Result<Vec<Vec<Tensor>>> {
    let one = |(&index, rng)| guarded(|| format!("sample {index}"), || set.get(index, rng));
    indices.iter().zip(rngs).map(one).collect()
}

pub(super) fn check_index(index: usize, len: usize) -> Result<()> {
    if index < len {
        return Ok(());
    }
    Err(Error::OutOfRange { op: "dataset", what: "sample", index: index as i64, bound: len })
}

impl<D: Dataset + ?Sized> Dataset for Arc<D> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize, rng: &mut Philox) -> Result<Vec<Tensor>> {
        (**self).get(index, rng)
    }

    fn batch(&self, indices: &[usize], rngs: &mut [Philox]) -> Result<Vec<Tensor>> {
        (**self).batch(indices, rngs)
    }
}

impl<D: Dataset + ?Sized> Dataset for Box<D> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn get(&self, index: usize, rng: &mut Philox) -> Result<Vec<Tensor>> {
        (**self).get(index, rng)
    }

    fn batch(&self, indices: &[usize], rngs: &mut [Philox]) -> Result<Vec<Tensor>> {
        (**self).batch(indices, rngs)
    }
}

/// Tensors with equal first axes: sample i is the i-th row of each. On a CUDA device batches are gathered there.
///
/// ```
/// use warpsmith::data::{Dataset, TensorDataset};
/// use warpsmith::random::Philox;
/// use warpsmith::{Device, Tensor};
/// let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [3, 2], &Device::Cpu)?;
/// let label = Tensor::from_slice(&[0i64, 1, 0], [3], &Device::Cpu)?;
/// let set = TensorDataset::new(&[x, label])?;
/// let sample = set.get(1, &mut Philox::new(0))?;
/// assert_eq!(sample[0].to_vec::<f32>()?, [3.0, 4.0]);
/// assert_eq!(sample[1].item::<i64>()?, 1);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct TensorDataset {
    tensors: Vec<Tensor>,
    len: usize,
}

impl TensorDataset {
    /// The set of these tensors' rows.
    pub fn new(tensors: &[impl AsRef<Tensor>]) -> Result<Self> {
        let tensors: Vec<Tensor> = tensors.iter().map(|tensor| tensor.as_ref().detach()).collect();
        let len = tensors.first().and_then(|first| first.dims().first().copied());
        match len.filter(|len| tensors.iter().all(|tensor| tensor.dims().first() == Some(len))) {
            Some(len) => Ok(TensorDataset { tensors, len }),
            None => {
                let shapes: Vec<_> = tensors.iter().map(|tensor| *tensor.shape()).collect();
                Err(Error::shape("TensorDataset", "at least one tensor, all with the same first axis", &shapes))
            }
        }
    }

    /// The named tensors of a safetensors file, in memory; [`MappedDataset::safetensors`](super::MappedDataset) leaves
    /// them in the file.
    pub fn load(path: impl AsRef<Path>, names: &[&str]) -> Result<Self> {
        let dict = StateDict::load(path.as_ref(), &Device::Cpu)?;
        let tensors = names.iter().map(|name| dict.expect(name).cloned()).collect::<Result<Vec<_>>>()?;
        TensorDataset::new(&tensors)
    }

    /// The tensors.
    pub fn tensors(&self) -> &[Tensor] {
        &self.tensors
    }
}

impl Dataset for TensorDataset {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize, _: &mut Philox) -> Result<Vec<Tensor>> {
        check_index(index, self.len)?;
        self.tensors.iter().map(|tensor| tensor.select(0, index as isize)).collect()
    }

    fn batch(&self, indices: &[usize], _: &mut [Philox]) -> Result<Vec<Tensor>> {
        indices.iter().try_for_each(|&index| check_index(index, self.len))?;
        if let Some(&first) = indices.first()
            && indices.windows(2).all(|pair| pair[1] == pair[0] + 1)
        {
            return self.tensors.iter().map(|tensor| tensor.narrow(0, first, indices.len())).collect();
        }
        let numbers = Tensor::from_iter(indices.iter().map(|&index| index as i64), &Device::Cpu)?;
        self.tensors.iter().map(|tensor| tensor.index_select(0, &numbers.to_device(tensor.device())?)).collect()
    }
}

/// Some samples of a set, by their numbers there, in any order and also more than once.
///
/// ```
/// use warpsmith::data::{Dataset, Subset, TensorDataset, split::split};
/// use warpsmith::{DType, Device, Tensor};
/// use std::sync::Arc;
/// let all = Arc::new(TensorDataset::new(&[Tensor::arange(0.0, 10.0, 1.0, DType::F32, &Device::Cpu)?])?);
/// let parts = split(all.len(), &[0.8, 0.2], 7)?;
/// let training = Subset::new(all.clone(), parts[0].clone())?;
/// let test = Subset::new(all, parts[1].clone())?;
/// assert_eq!((training.len(), test.len()), (8, 2));
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Subset<D> {
    set: D,
    indices: Vec<usize>,
}

impl<D: Dataset> Subset<D> {
    /// The samples of `set` with these numbers.
    pub fn new(set: D, indices: Vec<usize>) -> Result<Self> {
        let len = set.len();
        indices.iter().try_for_each(|&index| check_index(index, len))?;
        Ok(Subset { set, indices })
    }
}

impl<D: Dataset> Dataset for Subset<D> {
    fn len(&self) -> usize {
        self.indices.len()
    }

    fn get(&self, index: usize, rng: &mut Philox) -> Result<Vec<Tensor>> {
        check_index(index, self.indices.len())?;
        self.set.get(self.indices[index], rng)
    }

    fn batch(&self, indices: &[usize], rngs: &mut [Philox]) -> Result<Vec<Tensor>> {
        let inner = indices.iter().map(|&index| {
            check_index(index, self.indices.len())?;
            Ok(self.indices[index])
        });
        self.set.batch(&inner.collect::<Result<Vec<_>>>()?, rngs)
    }
}

/// Sets one after another.
pub struct Concat {
    sets: Vec<Box<dyn Dataset>>,
    /// The number of samples up to and with each set.
    ends: Vec<usize>,
}

impl Concat {
    /// The samples of the first set, then of the second, and so on.
    ///
    /// ```
    /// use warpsmith::data::{Concat, Dataset, TensorDataset};
    /// use warpsmith::{DType, Device, Tensor};
    /// let ones = TensorDataset::new(&[Tensor::ones([3], DType::F32, &Device::Cpu)?])?;
    /// let zeros = TensorDataset::new(&[Tensor::zeros([2], DType::F32, &Device::Cpu)?])?;
    /// assert_eq!(Concat::new(vec![Box::new(ones), Box::new(zeros)]).len(), 5);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn new(sets: Vec<Box<dyn Dataset>>) -> Self {
        let mut end = 0;
        let ends = sets.iter().map(|set| {
            end += set.len();
            end
        });
        Concat { ends: ends.collect(), sets }
    }
}

impl Dataset for Concat {
    fn len(&self) -> usize {
        self.ends.last().copied().unwrap_or(0)
    }

    fn get(&self, index: usize, rng: &mut Philox) -> Result<Vec<Tensor>> {
        check_index(index, self.len())?;
        let set = self.ends.partition_point(|&end| end <= index);
        let begin = self.ends[set] - self.sets[set].len();
        self.sets[set].get(index - begin, rng)
    }
}

/// A set whose samples go through a function, which may draw from the sample's generator.
///
/// ```
/// use warpsmith::data::{Dataset, Map, TensorDataset};
/// use warpsmith::random::Philox;
/// use warpsmith::{DType, Device, Tensor};
/// let set = TensorDataset::new(&[Tensor::ones([3, 2], DType::F32, &Device::Cpu)?])?;
/// let doubled = Map::new(set, |sample, _: &mut Philox| Ok(vec![sample[0].affine(2.0, 0.0)?]));
/// assert_eq!(doubled.get(0, &mut Philox::new(0))?[0].to_vec::<f32>()?, [2.0, 2.0]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct Map<D, F> {
    set: D,
    f: F,
}

impl<D, F> Map<D, F>
where
    D: Dataset,
    F: Fn(Vec<Tensor>, &mut Philox) -> Result<Vec<Tensor>> + Send + Sync,
{
    /// The samples of `set`, each through `f`.
    pub fn new(set: D, f: F) -> Self {
        Map { set, f }
    }
}

impl<D, F> Dataset for Map<D, F>
where
    D: Dataset,
    F: Fn(Vec<Tensor>, &mut Philox) -> Result<Vec<Tensor>> + Send + Sync,
{
    fn len(&self) -> usize {
        self.set.len()
    }

    fn get(&self, index: usize, rng: &mut Philox) -> Result<Vec<Tensor>> {
        (self.f)(self.set.get(index, rng)?, rng)
    }
}
