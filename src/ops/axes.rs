//! What reductions over axes share: the shape rule and the call of the family.

use crate::device::Buffer;
use crate::kernels::reduce::{self, ReduceDesc, Reduction};
use crate::{DType, Error, Result, Shape, Tensor};

/// Resolved axes of a reduction of one shape.
pub(crate) struct Axes {
    pub(crate) reduced: Vec<bool>,
    /// The result with the reduced axes as extents of 1.
    pub(crate) keepdim: Shape,
    /// The result without them.
    pub(crate) dropped: Shape,
}

impl Axes {
    pub(crate) fn new(shape: &Shape, axes: &[isize], op: &'static str) -> Result<Self> {
        let mut reduced = vec![false; shape.rank()];
        for &axis in axes {
            let resolved = shape.axis(axis, op)?;
            if std::mem::replace(&mut reduced[resolved], true) {
                return Err(Error::argument(op, format!("axis {axis} is named twice in {axes:?}")));
            }
        }
        let mut keepdim = *shape;
        let mut kept = vec![];
        for (axis, &r) in reduced.iter().enumerate() {
            if r {
                keepdim = keepdim.with_dim(axis, 1);
            } else {
                kept.push(shape[axis]);
            }
        }
        Ok(Axes { reduced, keepdim, dropped: Shape::new(&kept)? })
    }

    /// How many elements of `shape` lie behind each output.
    pub(crate) fn count(&self, shape: &Shape) -> usize {
        shape.dims().iter().zip(&self.reduced).filter(|&(_, &r)| r).map(|(&d, _)| d).product()
    }
}

/// Every axis of a tensor.
pub(crate) fn every_axis(x: &Tensor) -> Vec<isize> {
    (0..x.rank() as isize).collect()
}

/// Reduces with the axes kept as extents of 1; unrecorded.
pub(crate) fn reduce_axes(x: &Tensor, axes: &Axes, reduction: Reduction) -> Result<Tensor> {
    reduce_to(x, axes, reduction, reduction.output(x.dtype())?)
}

/// As [`reduce_axes`], to the result's dtype or, for half precision, f32.
pub(crate) fn reduce_to(x: &Tensor, axes: &Axes, reduction: Reduction, dtype: DType) -> Result<Tensor> {
    let mut out = Buffer::uninit(x.device(), dtype, axes.keepdim.numel())?;
    reduce::reduce(&ReduceDesc { reduced: axes.reduced.clone() }, reduction, x.read().view()?, &mut out)?;
    Tensor::from_buffer(out, axes.keepdim)
}

/// The dtype in which backwards made of several operations compute: f32 for half precision, so that it rounds once.
pub(crate) fn wide(dtype: DType) -> DType {
    if matches!(dtype, DType::F16 | DType::BF16) { DType::F32 } else { dtype }
}

/// Drops the axes that a reduction kept.
pub(crate) fn drop_axes(kept: Tensor, axes: &[isize], op: &'static str) -> Result<Tensor> {
    let dropped = Axes::new(kept.shape(), axes, op)?.dropped;
    kept.reshape(dropped)
}

/// The three methods of a reduction with no further argument: over axes, over axes that stay, over everything.
macro_rules! reduction_methods {
    ($op:literal, $name:ident, $keepdim:ident, $all:ident, $what:literal) => {
        #[doc = concat!($what, " over `axes`, which are dropped; each may count from the end.")]
        ///
        #[doc = concat!("See [`", stringify!($keepdim), "`](Tensor::", stringify!($keepdim), ").")]
        pub fn $name(&self, axes: &[isize]) -> $crate::Result<Tensor> {
            $crate::ops::axes::drop_axes(self.$keepdim(axes)?, axes, $op)
        }

        #[doc = concat!($what, " over all elements, as a scalar.")]
        ///
        #[doc = concat!("See [`", stringify!($keepdim), "`](Tensor::", stringify!($keepdim), ").")]
        pub fn $all(&self) -> $crate::Result<Tensor> {
            self.$name(&$crate::ops::axes::every_axis(self))
        }
    };
}

pub(crate) use reduction_methods;
