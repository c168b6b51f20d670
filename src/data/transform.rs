//! What is done to images before a network sees them: augmentation, normalisation and mix-up.
//!
//! Functions take one image (channels, height, width) or a batch of them and a generator, so that they serve in
//! [`Map`](super::Map) with a sample's own generator and in [`DataLoader::map`](super::DataLoader::map) with a batch's:
//!
//! ```
//! use warpsmith::data::transform::{Augment, normalise};
//! use warpsmith::data::{DataLoader, TensorDataset};
//! use warpsmith::{DType, Device, Tensor};
//! let images = Tensor::zeros([10, 3, 32, 32], DType::U8, &Device::Cpu)?;
//! let labels = Tensor::zeros([10], DType::I64, &Device::Cpu)?;
//! let augment = Augment::new().crop([32, 32], 4).flip(0.5).cut_out(8);
//! let loader = DataLoader::new(TensorDataset::new(&[images, labels])?, 5).shuffle(1).map(move |batch, rng| {
//!     let x = augment.apply(&batch[0], rng)?;
//!     Ok(vec![normalise(&x, &[125.0, 123.0, 114.0], &[63.0, 62.0, 67.0])?, batch[1].clone()])
//! });
//! for batch in loader.epoch(0) {
//!     assert_eq!(batch?[0].dims(), [5, 3, 32, 32]);
//! }
//! # Ok::<(), warpsmith::Error>(())
//! ```

use crate::device::cpu::{for_each_chunk, vectorize};
use crate::device::{Buffer, Memory};
use crate::random::{Philox, below, permutation};
use crate::{DType, Device, Error, Result, Shape, Tensor};
use rand_core::Rng;

/// Random crops, mirror images and holes, all in one pass of copying.
///
/// Each image of a batch has draws of its own, in this order: the crop's place (down, right), whether it is mirrored, the
/// hole's place. Any dtype; what comes in from outside and what is cut out is 0.
///
/// ```
/// use warpsmith::data::transform::Augment;
/// use warpsmith::random::Philox;
/// use warpsmith::{Device, Tensor};
/// let image = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], [1, 2, 2], &Device::Cpu)?;
/// let mirrored = Augment::new().flip(1.0).apply(&image, &mut Philox::new(0))?;
/// assert_eq!(mirrored.to_vec::<f32>()?, [2.0, 1.0, 4.0, 3.0]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Augment {
    crop: Option<([usize; 2], usize)>,
    flip: f64,
    hole: usize,
}

impl Augment {
    /// Changes nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a window of this height and width at a random place of the image with `padding` zeros on each side.
    pub fn crop(mut self, size: [usize; 2], padding: usize) -> Self {
        self.crop = Some((size, padding));
        self
    }

    /// Exchanges left and right with this probability.
    pub fn flip(mut self, probability: f64) -> Self {
        self.flip = probability;
        self
    }

    /// Cut-out (DeVries & Taylor 2017): zeros in a square of this side around a random pixel; what lies outside the image
    /// is no part of it.
    pub fn cut_out(mut self, side: usize) -> Self {
        self.hole = side;
        self
    }

    /// The image or images, augmented.
    pub fn apply(&self, x: &Tensor, rng: &mut Philox) -> Result<Tensor> {
        let (count, [channels, height, width]) = images(x, "Augment")?;
        let ([rows, columns], padding) = self.crop.unwrap_or(([height, width], 0));
        let room = |extent: usize, window: usize| (extent + 2 * padding).checked_sub(window);
        let (Some(down), Some(right)) = (room(height, rows), room(width, columns)) else {
            let expected = format!("images that a crop of {rows} × {columns} fits with {padding} zeros on each side");
            return Err(Error::shape("Augment", expected, &[*x.shape()]));
        };
        let mut draw = || {
            let mut place = Place { down: 0, right: 0, mirrored: false, hole: [[0, 0]; 2] };
            if self.crop.is_some() {
                place.down = below(rng, down as u64 + 1) as isize - padding as isize;
                place.right = below(rng, right as u64 + 1) as isize - padding as isize;
            }
            if self.flip > 0.0 {
                place.mirrored = f64::from(rng.next_u32()) < self.flip * 4294967296.0;
            }
            if self.hole > 0 {
                place.hole = [rows, columns].map(|extent| {
                    let middle = below(rng, extent as u64) as usize;
                    let begin = middle.saturating_sub(self.hole / 2);
                    [begin, extent.min(middle + self.hole.div_ceil(2))]
                });
            }
            place
        };
        let places: Vec<Place> = (0..count).map(|_| draw()).collect();
        let mut dims = x.dims().to_vec();
        let rank = dims.len();
        (dims[rank - 2], dims[rank - 1]) = (rows, columns);
        let shape = Shape::new(&dims)?;
        let mut out = Buffer::uninit(&Device::Cpu, x.dtype(), shape.numel())?;
        let size = x.dtype().size();
        let geometry = Geometry { height, width, rows, columns, size };
        with_bytes(x, |from| {
            let Memory::Cpu(memory) = out.memory_mut() else { return };
            let to = memory.as_mut_slice::<u8>(shape.numel() * size);
            let (source, target) = (channels * height * width * size, channels * rows * columns * size);
            for_each_chunk(to, target, |image, to| {
                let from = &from[image * source..][..source];
                vectorize(|| geometry.copy(from, to, &places[image]));
            });
        })?;
        Tensor::from_buffer(out, shape)
    }
}

/// [`Augment::crop`] alone.
pub fn random_crop(x: &Tensor, size: [usize; 2], padding: usize, rng: &mut Philox) -> Result<Tensor> {
    Augment::new().crop(size, padding).apply(x, rng)
}

/// [`Augment::flip`] alone.
pub fn random_flip(x: &Tensor, probability: f64, rng: &mut Philox) -> Result<Tensor> {
    Augment::new().flip(probability).apply(x, rng)
}

/// [`Augment::cut_out`] alone.
pub fn cut_out(x: &Tensor, side: usize, rng: &mut Philox) -> Result<Tensor> {
    Augment::new().cut_out(side).apply(x, rng)
}

/// What was drawn for one image.
struct Place {
    /// Where in the image the crop begins; negative in the padding.
    down: isize,
    right: isize,
    mirrored: bool,
    /// From and to, of rows and of columns.
    hole: [[usize; 2]; 2],
}

/// Sizes of the image, of what is taken from it, and of an element in bytes.
struct Geometry {
    height: usize,
    width: usize,
    rows: usize,
    columns: usize,
    size: usize,
}

impl Geometry {
    #[inline(always)]
    fn copy(&self, from: &[u8], to: &mut [u8], place: &Place) {
        let Geometry { height, width, rows, columns, size } = *self;
        // The columns of the crop that lie in the image.
        let begin = (-place.right).clamp(0, columns as isize) as usize;
        let end = (width as isize - place.right).clamp(begin as isize, columns as isize) as usize;
        let [hole_rows, hole_columns] = place.hole;
        if to.is_empty() {
            return;
        }
        for (number, row) in to.chunks_exact_mut(columns * size).enumerate() {
            let (channel, y) = (number / rows, number % rows);
            let above = y as isize + place.down;
            if above < 0 || above >= height as isize || begin == end {
                row.fill(0);
                continue;
            }
            let at = (channel * height + above as usize) * width + (begin as isize + place.right) as usize;
            row[..begin * size].fill(0);
            row[begin * size..end * size].copy_from_slice(&from[at * size..][..(end - begin) * size]);
            row[end * size..].fill(0);
            if place.mirrored {
                match size {
                    1 => row.reverse(),
                    2 => row.as_chunks_mut::<2>().0.reverse(),
                    4 => row.as_chunks_mut::<4>().0.reverse(),
                    _ => row.as_chunks_mut::<8>().0.reverse(),
                }
            }
            if (hole_rows[0]..hole_rows[1]).contains(&y) {
                row[hole_columns[0] * size..hole_columns[1] * size].fill(0);
            }
        }
    }
}

/// (x - mean) / deviation for each channel, in x's own units (bytes from 0 to 255, if that is what it holds), as f32.
///
/// ```
/// use warpsmith::data::transform::normalise;
/// use warpsmith::{Device, Tensor};
/// let image = Tensor::from_slice(&[0u8, 255, 100, 120], [2, 1, 2], &Device::Cpu)?;
/// let x = normalise(&image, &[127.5, 100.0], &[127.5, 20.0])?;
/// assert_eq!(x.to_vec::<f32>()?, [-1.0, 1.0, 0.0, 1.0]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn normalise(x: &Tensor, mean: &[f64], deviation: &[f64]) -> Result<Tensor> {
    let (_, [channels, height, width]) = images(x, "normalise")?;
    if mean.len() != channels || deviation.len() != channels || deviation.contains(&0.0) {
        let message = format!("{channels} channels need as many means and deviations, none of those 0");
        return Err(Error::argument("normalise", format!("{message}; got {mean:?} and {deviation:?}")));
    }
    let bytes = x.dtype() == DType::U8;
    let x = if bytes { x.clone() } else { x.to_dtype(DType::F32)? }.contiguous()?;
    let mut out = Buffer::uninit(&Device::Cpu, DType::F32, x.numel())?;
    let to = out.as_mut_slice::<f32>()?;
    let plane = height * width;
    let guard = x.read();
    if bytes {
        let tables: Vec<[f32; 256]> = mean
            .iter()
            .zip(deviation)
            .map(|(mean, deviation)| std::array::from_fn(|byte| ((byte as f64 - mean) / deviation) as f32))
            .collect();
        let Some(from) = guard.view()?.contiguous::<u8>()? else { unreachable!("x was made contiguous") };
        for_each_chunk(to, plane, |number, to| {
            let table = &tables[number % channels];
            to.iter_mut().zip(&from[number * plane..]).for_each(|(to, &byte)| *to = table[byte as usize]);
        });
    } else {
        let Some(from) = guard.view()?.contiguous::<f32>()? else { unreachable!("x was made contiguous") };
        for_each_chunk(to, plane, |number, to| {
            let (mean, deviation) = (mean[number % channels] as f32, deviation[number % channels] as f32);
            let from = &from[number * plane..];
            vectorize(|| to.iter_mut().zip(from).for_each(|(to, v)| *to = (v - mean) / deviation));
        });
    }
    drop(guard);
    Tensor::from_buffer(out, *x.shape())
}

/// A batch whose samples are mixed in pairs.
#[derive(Clone, Debug)]
pub struct MixUp {
    /// weight · sample + (1 - weight) · partner.
    pub x: Tensor,
    /// Which sample each was mixed with.
    pub partners: Vec<usize>,
    /// How much of the sample itself is in it, from 0 to 1.
    pub weight: f64,
}

/// Mix-up (Zhang et al. 2018): each sample of a batch of floats with another, by one weight from Beta(`alpha`, `alpha`).
///
/// ```
/// use warpsmith::data::transform::mix_up;
/// use warpsmith::random::Philox;
/// use warpsmith::{DType, Device, Tensor};
/// let x = Tensor::normal(0.0, 1.0, [4, 3, 8, 8], DType::F32, &Device::Cpu, &mut Philox::new(1))?;
/// let labels = Tensor::from_slice(&[0i64, 2, 1, 0], [4], &Device::Cpu)?;
/// let mixed = mix_up(&x, 0.2, &mut Philox::new(2))?;
/// assert_eq!(mixed.x.dims(), x.dims());
/// // Targets for a cross-entropy with probabilities.
/// let targets = mixed.targets(&labels, 3)?;
/// assert_eq!(targets.dims(), [4, 3]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn mix_up(x: &Tensor, alpha: f64, rng: &mut Philox) -> Result<MixUp> {
    let Some(&count) = x.dims().first() else {
        return Err(Error::shape("mix_up", "a batch of samples", &[*x.shape()]));
    };
    let weight = beta(alpha, rng)?;
    let partners = permutation(count, rng);
    let numbers = Tensor::from_iter(partners.iter().map(|&partner| partner as i64), &Device::Cpu)?;
    let others = x.index_select(0, &numbers.to_device(x.device())?)?;
    let x = (x.affine(weight, 0.0)? + others.affine(1.0 - weight, 0.0)?)?;
    Ok(MixUp { x, partners, weight })
}

impl MixUp {
    /// The classes (B) mixed as the samples are: (B, classes) of f32, which add up to 1.
    pub fn targets(&self, labels: &Tensor, classes: usize) -> Result<Tensor> {
        if labels.dims() != [self.partners.len()] {
            let expected = format!("{} labels", self.partners.len());
            return Err(Error::shape("mix_up", expected, &[*labels.shape()]));
        }
        let labels = labels.to_f64_vec()?;
        let mut values = vec![0f32; labels.len() * classes];
        for (row, (label, &partner)) in values.chunks_exact_mut(classes.max(1)).zip(labels.iter().zip(&self.partners)) {
            for (label, weight) in [(*label, self.weight), (labels[partner], 1.0 - self.weight)] {
                let place = row.get_mut(label as usize).filter(|_| label >= 0.0);
                let index = label as i64;
                *place.ok_or(Error::OutOfRange { op: "mix_up", what: "label", index, bound: classes })? +=
                    weight as f32;
            }
        }
        Tensor::from_slice(&values, [self.partners.len(), classes], &Device::Cpu)
    }
}

/// A draw of Beta(alpha, alpha), made of two of Gamma(alpha).
fn beta(alpha: f64, rng: &mut Philox) -> Result<f64> {
    if !(alpha > 0.0 && alpha.is_finite()) {
        return Err(Error::argument("mix_up", format!("alpha is {alpha}, and must be above 0")));
    }
    let draws = Tensor::gamma(alpha, 1.0, [2], DType::F64, &Device::Cpu, rng)?.to_vec::<f64>()?;
    let sum = draws[0] + draws[1];
    // Both draws of a tiny alpha may be too small for a number: then one sample or the other is taken whole.
    Ok(if sum > 0.0 { draws[0] / sum } else { f64::from(rng.next_u32() & 1) })
}

/// How many images there are, and their channels, height and width; an error for anything else, or not on the CPU.
fn images(x: &Tensor, op: &'static str) -> Result<(usize, [usize; 3])> {
    if !x.device().is_cpu() {
        let message = format!("the images are on {}: augment them on the CPU, then move the batch", x.device());
        return Err(Error::Device { op, message });
    }
    match *x.dims() {
        [channels, height, width] => Ok((1, [channels, height, width])),
        [count, channels, height, width] => Ok((count, [channels, height, width])),
        _ => Err(Error::shape(op, "an image (C, H, W) or a batch of them", &[*x.shape()])),
    }
}

/// Calls `f` with the bytes of a tensor on the CPU, row-major.
fn with_bytes(x: &Tensor, f: impl FnOnce(&[u8])) -> Result<()> {
    let x = x.contiguous()?;
    let size = x.dtype().size();
    let guard = x.read();
    let view = guard.view()?;
    let Memory::Cpu(memory) = view.buffer().memory() else { unreachable!("checked by the caller") };
    let all = memory.as_slice::<u8>(view.buffer().len() * size);
    if x.numel() > 0 {
        f(&all[view.layout().offset() * size..][..x.numel() * size]);
    }
    Ok(())
}
