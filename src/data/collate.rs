//! How samples become a batch.

use crate::{Device, Error, Result, Tensor};

/// Each tensor of the samples stacked along a new first axis: what loaders do by default.
///
/// ```
/// use warpsmith::data::collate::stack;
/// use warpsmith::{Device, Tensor};
/// let sample = |a: f32, b: i64| -> warpsmith::Result<_> {
///     Ok(vec![Tensor::from_slice(&[a, -a], [2], &Device::Cpu)?, Tensor::scalar(b, &Device::Cpu)?])
/// };
/// let batch = stack(vec![sample(1.0, 5)?, sample(2.0, 6)?])?;
/// assert_eq!(batch[0].to_vec2::<f32>()?, [[1.0, -1.0], [2.0, -2.0]]);
/// assert_eq!(batch[1].to_vec::<i64>()?, [5, 6]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn stack(samples: Vec<Vec<Tensor>>) -> Result<Vec<Tensor>> {
    fields(samples)?.iter().map(|tensors| Tensor::stack(tensors, 0)).collect()
}

/// As [`stack`], for samples of different lengths: a tensor's first axis is padded at its end to the longest of the
/// batch with its value of `fill` (the last value serves the tensors after it; 0 if there is none).
///
/// ```
/// use warpsmith::data::{DataLoader, Dataset, collate};
/// use warpsmith::random::Philox;
/// use warpsmith::{Device, Result, Tensor};
///
/// struct Sentences(Vec<Vec<i64>>);
///
/// impl Dataset for Sentences {
///     fn len(&self) -> usize {
///         self.0.len()
///     }
///
///     fn get(&self, index: usize, _: &mut Philox) -> Result<Vec<Tensor>> {
///         let tokens = &self.0[index];
///         Ok(vec![Tensor::from_slice(tokens, [tokens.len()], &Device::Cpu)?])
///     }
/// }
///
/// let sentences = Sentences(vec![vec![7, 8, 9], vec![5]]);
/// let loader = DataLoader::new(sentences, 2).collate(|samples| collate::pad(samples, &[-1.0]));
/// for batch in loader.epoch(0) {
///     assert_eq!(batch?[0].to_vec2::<i64>()?, [[7, 8, 9], [5, -1, -1]]);
/// }
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn pad(samples: Vec<Vec<Tensor>>, fill: &[f64]) -> Result<Vec<Tensor>> {
    let fields = fields(samples)?;
    let pad = |(at, tensors): (usize, &Vec<Tensor>)| {
        let fill = fill.get(at).or(fill.last()).copied().unwrap_or(0.0);
        let extent = |tensor: &Tensor| tensor.dims().first().copied().unwrap_or(0);
        let longest = tensors.iter().map(extent).max().unwrap_or(0);
        let padded = tensors.iter().map(|tensor| match longest - extent(tensor) {
            0 => Ok(tensor.clone()),
            missing => {
                let mut widths = vec![(0, 0); tensor.rank()];
                widths[0].1 = missing;
                tensor.pad(&widths, fill)
            }
        });
        Tensor::stack(&padded.collect::<Result<Vec<_>>>()?, 0)
    };
    fields.iter().enumerate().map(pad).collect()
}

/// As [`pad`], with one more tensor at the end: the samples' own lengths along the first axis of their tensor number
/// `of`, i64.
///
/// ```
/// use warpsmith::data::collate::pad_with_lengths;
/// use warpsmith::{DType, Device, Tensor};
/// let ones = |n: usize| Ok::<_, warpsmith::Error>(vec![Tensor::ones([n, 2], DType::F32, &Device::Cpu)?]);
/// let batch = pad_with_lengths(vec![ones(3)?, ones(1)?], &[0.0], 0)?;
/// assert_eq!(batch[0].dims(), [2, 3, 2]);
/// assert_eq!(batch[1].to_vec::<i64>()?, [3, 1]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn pad_with_lengths(samples: Vec<Vec<Tensor>>, fill: &[f64], of: usize) -> Result<Vec<Tensor>> {
    let length = |sample: &Vec<Tensor>| {
        let extent = sample.get(of).and_then(|tensor| tensor.dims().first());
        extent.map(|&n| n as i64).ok_or_else(|| {
            Error::argument("pad_with_lengths", format!("tensor {of} of a sample is not there, or has no axes"))
        })
    };
    let lengths = samples.iter().map(length).collect::<Result<Vec<_>>>()?;
    let mut batch = pad(samples, fill)?;
    batch.push(Tensor::from_slice(&lengths, [lengths.len()], &Device::Cpu)?);
    Ok(batch)
}

/// The first tensors of all samples, the second ones, and so on.
fn fields(samples: Vec<Vec<Tensor>>) -> Result<Vec<Vec<Tensor>>> {
    let count = samples.first().map_or(0, Vec::len);
    let mut fields: Vec<Vec<Tensor>> = (0..count).map(|_| Vec::with_capacity(samples.len())).collect();
    for (number, sample) in samples.into_iter().enumerate() {
        if sample.len() != count {
            let message = format!("sample {number} of the batch has {} tensors, and the first {count}", sample.len());
            return Err(Error::argument("collate", message));
        }
        fields.iter_mut().zip(sample).for_each(|(field, tensor)| field.push(tensor));
    }
    Ok(fields)
}
