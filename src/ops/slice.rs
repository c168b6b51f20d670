//! Parts of a tensor: narrow, slices with ranges and steps, single rows, split, chunk; and writing into a part.

use super::axes::drop_axes;
use super::support::unbroadcast;
use crate::autograd::{BackwardCtx, Gradient, Op, Var, record};
use crate::device::Buffer;
use crate::kernels::index;
use crate::{Error, Layout, Result, Shape, Tensor};

/// What [`Tensor::slice`] takes of one axis: a range, every n-th of a range, or one index. Usually written with
/// [`s!`](crate::s) or made from a Rust range or integer; negative bounds count from the end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slice {
    /// The elements `start..end`, every `step`-th; no end is the end of the axis.
    Range {
        /// The first element.
        start: isize,
        /// One past the last.
        end: Option<isize>,
        /// The distance from one to the next, at least 1.
        step: usize,
    },
    /// One element; the axis is dropped.
    Index(isize),
}

impl Slice {
    /// Every `step`-th element of the range. An index stays as it is.
    pub fn step(self, step: usize) -> Slice {
        match self {
            Slice::Range { start, end, .. } => Slice::Range { start, end, step },
            index => index,
        }
    }
}

/// Saturates, so that a huge bound stays out of range instead of turning negative.
fn bound(value: impl TryInto<isize>) -> isize {
    value.try_into().unwrap_or(isize::MAX)
}

macro_rules! slice_from {
    ($($int:ty),*) => {$(
        impl From<std::ops::Range<$int>> for Slice {
            fn from(range: std::ops::Range<$int>) -> Self {
                Slice::Range { start: bound(range.start), end: Some(bound(range.end)), step: 1 }
            }
        }
        impl From<std::ops::RangeInclusive<$int>> for Slice {
            fn from(range: std::ops::RangeInclusive<$int>) -> Self {
                // To -1 inclusive is to the end.
                let end = bound(*range.end()).saturating_add(1);
                Slice::Range { start: bound(*range.start()), end: (end != 0).then_some(end), step: 1 }
            }
        }
        impl From<std::ops::RangeFrom<$int>> for Slice {
            fn from(range: std::ops::RangeFrom<$int>) -> Self {
                Slice::Range { start: bound(range.start), end: None, step: 1 }
            }
        }
        impl From<std::ops::RangeTo<$int>> for Slice {
            fn from(range: std::ops::RangeTo<$int>) -> Self {
                Slice::Range { start: 0, end: Some(bound(range.end)), step: 1 }
            }
        }
        impl From<$int> for Slice {
            fn from(index: $int) -> Self {
                Slice::Index(bound(index))
            }
        }
    )*};
}

slice_from!(isize, usize, i32);

impl From<std::ops::RangeFull> for Slice {
    fn from(_: std::ops::RangeFull) -> Self {
        Slice::Range { start: 0, end: None, step: 1 }
    }
}

/// Slices for [`Tensor::slice`]: ranges, `range; step` and indices, one for each axis.
///
/// ```
/// use warpsmith::{Device, DType, Tensor, s};
/// let x = Tensor::arange(0.0, 24.0, 1.0, DType::F32, &Device::Cpu)?.reshape([2, 3, 4])?;
/// let y = x.slice(&s![-1, 1.., ..; 2])?;
/// assert_eq!(y.to_vec2::<f32>()?, [[16.0, 18.0], [20.0, 22.0]]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[macro_export]
macro_rules! s {
    ($($range:expr $(; $step:expr)?),* $(,)?) => {
        [$($crate::Slice::from($range)$(.step($step))?),*]
    };
}

/// Start, length and step on every axis of a shape, and the axes that an index drops.
#[derive(Clone)]
struct Region {
    parts: Vec<[usize; 3]>,
    dropped: Vec<isize>,
}

impl Region {
    fn new(shape: &Shape, slices: &[Slice], op: &'static str) -> Result<Self> {
        if slices.len() > shape.rank() {
            return Err(Error::argument(
                op,
                format!("{} slices for the {} axes of {shape}", slices.len(), shape.rank()),
            ));
        }
        let mut region = Region { parts: shape.dims().iter().map(|&d| [0, d, 1]).collect(), dropped: vec![] };
        for (axis, &slice) in slices.iter().enumerate() {
            let extent = shape[axis];
            let resolve = |value: isize, what: &'static str, bound: usize| {
                let from_start = if value < 0 { value.checked_add_unsigned(extent) } else { Some(value) };
                match from_start.and_then(|v| usize::try_from(v).ok()) {
                    Some(v) if v < bound => Ok(v),
                    _ => Err(Error::OutOfRange { op, what, index: value as i64, bound }),
                }
            };
            region.parts[axis] = match slice {
                Slice::Index(index) => {
                    region.dropped.push(axis as isize);
                    [resolve(index, "index", extent)?, 1, 1]
                }
                Slice::Range { start, end, step } => {
                    let end = end.map_or(Ok(extent), |end| resolve(end, "end", extent + 1))?;
                    let start = resolve(start, "start", extent + 1)?;
                    if step == 0 || start > end {
                        let message = format!("{slice:?} of axis {axis} of {shape}: needs start ≤ end and step ≥ 1");
                        return Err(Error::argument(op, message));
                    }
                    [start, (end - start).div_ceil(step), step]
                }
            };
        }
        Ok(region)
    }

    /// The part of `layout`, dropped axes still there.
    fn of(&self, layout: &Layout) -> Layout {
        self.parts
            .iter()
            .enumerate()
            .fold(*layout, |l, (axis, &[start, length, step])| l.slice(axis, start, length, step))
    }

    fn shape(&self, whole: &Shape) -> Shape {
        self.parts.iter().enumerate().fold(*whole, |s, (axis, part)| s.with_dim(axis, part[1]))
    }

    /// Overwrites the part in contiguous memory of shape `whole`.
    fn write(&self, whole: &Shape, source: &Tensor, out: &mut Buffer) -> Result<()> {
        index::write_region(&self.of(&Layout::contiguous(*whole)), source.read().view()?, out)
    }
}

struct Part {
    region: Region,
    whole: Shape,
}

impl Op for Part {
    fn name(&self) -> &'static str {
        "slice"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.within_zeros(&self.region, &self.whole))?])
    }
}

/// A part surrounded by zeros: the gradient of [`Part`].
struct WithinZeros {
    region: Region,
}

impl Op for WithinZeros {
    fn name(&self) -> &'static str {
        "backward of slice"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.part(&self.region))?])
    }
}

struct Assign {
    region: Region,
    source: Shape,
}

impl Op for Assign {
    fn name(&self) -> &'static str {
        "slice_assign"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let base = || grad.assign(&self.region, &Tensor::zeros((), grad.dtype(), grad.device())?);
        let source = || {
            let part = grad.part(&self.region)?;
            unbroadcast(drop_axes(part, &self.region.dropped, "slice_assign")?, &self.source)
        };
        Ok(vec![ctx.want(0, base)?, ctx.want(1, source)?])
    }
}

impl Tensor {
    fn part(&self, region: &Region) -> Result<Tensor> {
        let out = self.alias(region.of(self.layout()));
        record(out, &[self], || Part { region: region.clone(), whole: *self.shape() })
    }

    fn within_zeros(&self, region: &Region, whole: &Shape) -> Result<Tensor> {
        let mut out = Buffer::zeros(self.device(), self.dtype(), whole.numel())?;
        region.write(whole, self, &mut out)?;
        record(Tensor::from_buffer(out, *whole)?, &[self], || WithinZeros { region: region.clone() })
    }

    fn assign(&self, region: &Region, source: &Tensor) -> Result<Tensor> {
        let value = self.assignable(region, source, "slice_assign")?.reshape(region.shape(self.shape()))?;
        let out = self.copy()?;
        out.storage().write(|out| region.write(self.shape(), &value, out))?;
        record(out, &[self, source], || Assign { region: region.clone(), source: *source.shape() })
    }

    /// The source of an assignment, broadcast to the region without its dropped axes.
    fn assignable(&self, region: &Region, source: &Tensor, op: &'static str) -> Result<Tensor> {
        if source.dtype() != self.dtype() {
            return Err(Error::dtype(op, "a source of the tensor's dtype", &[self.dtype(), source.dtype()]));
        }
        let kept = region.parts.iter().enumerate().filter(|(i, _)| !region.dropped.contains(&(*i as isize)));
        let target = Shape::new(&kept.map(|(_, p)| p[1]).collect::<Vec<_>>())?;
        match source.layout().expand(&target) {
            Some(layout) => Ok(source.alias(layout)),
            None => Err(Error::shape(op, format!("a source that broadcasts to {target}"), &[*source.shape()])),
        }
    }

    /// `length` elements of `axis` from `start`; a view.
    pub fn narrow(&self, axis: isize, start: usize, length: usize) -> Result<Tensor> {
        let axis = self.shape().axis(axis, "narrow")?;
        let extent = self.shape()[axis];
        if start > extent || length > extent - start {
            let end = start.saturating_add(length);
            return Err(Error::OutOfRange { op: "narrow", what: "end", index: end as i64, bound: extent + 1 });
        }
        let mut region = Region::new(self.shape(), &[], "narrow")?;
        region.parts[axis] = [start, length, 1];
        self.part(&region)
    }

    /// A part of each axis, by ranges, ranges with steps and indices (see [`s!`](crate::s)); a view. Axes that are not
    /// named stay whole, those with an index are dropped. Bounds out of range are errors.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor, s};
    /// let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::Cpu)?;
    /// assert_eq!(x.slice(&[(0..1).into(), (1..).into()])?.to_vec::<f32>()?, [2.0, 3.0]);
    /// assert_eq!(x.slice(&s![.., -1])?.to_vec::<f32>()?, [3.0, 6.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn slice(&self, slices: &[Slice]) -> Result<Tensor> {
        let region = Region::new(self.shape(), slices, "slice")?;
        let part = self.part(&region)?;
        if region.dropped.is_empty() { Ok(part) } else { drop_axes(part, &region.dropped, "slice") }
    }

    /// Element `index` (negative: from the end) of `axis`, which is dropped; a view.
    pub fn select(&self, axis: isize, index: isize) -> Result<Tensor> {
        let axis = self.shape().axis(axis, "select")?;
        let mut slices = vec![Slice::from(..); axis];
        slices.push(Slice::Index(index));
        let region = Region::new(self.shape(), &slices, "select")?;
        drop_axes(self.part(&region)?, &region.dropped, "select")
    }

    /// Element `index` (negative: from the end) of the first axis, which is dropped; a view.
    pub fn get(&self, index: isize) -> Result<Tensor> {
        self.select(0, index)
    }

    /// A copy of this tensor with `source` in place of a part; the source broadcasts to the part's shape. Gradients reach
    /// both. A variable is written in place by [`Var::set_slice`].
    ///
    /// ```
    /// # use warpsmith::{Device, DType, Tensor, s};
    /// let x = Tensor::zeros([2, 3], DType::F32, &Device::Cpu)?;
    /// let y = x.slice_assign(&s![.., 1], &Tensor::ones((), DType::F32, &Device::Cpu)?)?;
    /// assert_eq!(y.to_vec2::<f32>()?, [[0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn slice_assign(&self, slices: &[Slice], source: &Tensor) -> Result<Tensor> {
        self.assign(&Region::new(self.shape(), slices, "slice_assign")?, source)
    }

    /// Consecutive parts of `axis` with these extents, which must add up to the axis; views.
    pub fn split(&self, sizes: &[usize], axis: isize) -> Result<Vec<Tensor>> {
        let at = self.shape().axis(axis, "split")?;
        let total = sizes.iter().try_fold(0usize, |sum, &n| sum.checked_add(n));
        if total != Some(self.shape()[at]) {
            let expected = format!("sizes that add up to axis {at}, not {sizes:?}");
            return Err(Error::shape("split", expected, &[*self.shape()]));
        }
        let mut start = 0;
        let parts = sizes.iter().map(|&n| {
            start += n;
            self.narrow(axis, start - n, n)
        });
        parts.collect()
    }

    /// `axis` in at most `count` parts of equal extent, the last perhaps smaller; views.
    pub fn chunk(&self, count: usize, axis: isize) -> Result<Vec<Tensor>> {
        if count == 0 {
            return Err(Error::argument("chunk", "at least one chunk, got 0"));
        }
        let extent = self.dim(axis)?;
        let size = extent.div_ceil(count).max(1);
        let mut sizes: Vec<usize> = (0..extent).step_by(size).map(|start| size.min(extent - start)).collect();
        if sizes.is_empty() {
            sizes.push(0);
        }
        self.split(&sizes, axis)
    }
}

impl Var {
    /// Overwrites a part of the variable in place; the source broadcasts to the part's shape. A backward that saved the
    /// old value is an error, as after [`Var::set`].
    pub fn set_slice(&self, slices: &[Slice], source: &Tensor) -> Result<()> {
        let region = Region::new(self.shape(), slices, "set_slice")?;
        let value = self.assignable(&region, source, "set_slice")?.copy()?.reshape(region.shape(self.shape()))?;
        self.update(|out| region.write(self.shape(), &value, out))
    }
}
