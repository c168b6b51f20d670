//! Rows by number: index_select and its reverse index_add, embedding, flip.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, RowSparse, record};
use crate::device::Buffer;
use crate::kernels::index;
use crate::{DType, Error, Result, Shape, Tensor};

struct IndexSelect {
    axis: isize,
    index: Tensor,
    shape: Shape,
}

impl Op for IndexSelect {
    fn name(&self) -> &'static str {
        "index_select"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let zeros = || Tensor::zeros(self.shape, grad.dtype(), grad.device());
        Ok(vec![ctx.want(0, || zeros()?.index_add(self.axis, &self.index, &grad))?])
    }
}

struct IndexAdd {
    axis: isize,
    index: Tensor,
}

impl Op for IndexAdd {
    fn name(&self) -> &'static str {
        "index_add"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || Ok(grad.clone()))?, ctx.want(1, || grad.index_select(self.axis, &self.index))?])
    }
}

struct Embedding {
    ids: Tensor,
    shape: Shape,
}

impl Op for Embedding {
    fn name(&self) -> &'static str {
        "embedding"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        if !ctx.needs(0) {
            return Ok(vec![None]);
        }
        let rows = grad.reshape(self.shape.with_dim(0, self.ids.numel()))?;
        if !ctx.is_leaf(0) || ctx.create_graph() || self.better_dense(&rows) {
            let zeros = Tensor::zeros(self.shape, grad.dtype(), grad.device())?;
            return Ok(vec![Some(zeros.index_add(0, &self.ids, &rows)?.into())]);
        }
        Ok(vec![Some(Gradient::Rows(Box::new(RowSparse::sum_of(&self.ids, &rows, self.shape)?)))])
    }
}

impl Embedding {
    /// Which rows occur is known without waiting on the host alone. Elsewhere waiting pays only for a table that is large
    /// both in itself and beside its gradient.
    fn better_dense(&self, rows: &Tensor) -> bool {
        !rows.device().is_cpu() && self.shape.numel() / 16 <= rows.numel().max(1 << 20)
    }
}

struct Flip {
    axes: Vec<isize>,
}

impl Op for Flip {
    fn name(&self) -> &'static str {
        "flip"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.flip(&self.axes))?])
    }
}

/// The error of a row number, in the name of the operation that the user called.
fn renamed(op: &'static str) -> impl Fn(Error) -> Error {
    move |error| match error {
        Error::OutOfRange { what, index, bound, .. } => Error::OutOfRange { op, what, index, bound },
        Error::DType { expected, found, .. } => Error::DType { op, expected, found },
        other => other,
    }
}

impl Tensor {
    /// The rows of `axis` that a 1-d `index` names, in its order; repeats are allowed. Any dtype; indices are i64, u32 or
    /// u8, and one out of range is an error naming it.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0, 3.0], [3], &Device::Cpu)?;
    /// let index = Tensor::from_slice(&[2i64, 0, 2], [3], &Device::Cpu)?;
    /// assert_eq!(x.index_select(0, &index)?.to_vec::<f32>()?, [3.0, 1.0, 3.0]);
    /// assert!(x.index_select(0, &Tensor::from_slice(&[3i64], [1], &Device::Cpu)?).is_err());
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn index_select(&self, axis: isize, index: &Tensor) -> Result<Tensor> {
        let out = self.rows_of(axis, index, "index_select")?;
        record(out, &[self], || IndexSelect { axis, index: index.clone(), shape: *self.shape() })
    }

    fn rows_of(&self, axis: isize, index: &Tensor, op: &'static str) -> Result<Tensor> {
        let at = self.shape().axis(axis, op)?;
        if index.rank() != 1 {
            return Err(Error::shape(op, "a 1-d index", &[*index.shape()]));
        }
        let x = self.packed()?;
        let shape = Shape::new(self.shape().with_dim(at, index.numel()).dims())?;
        let mut out = Buffer::uninit(self.device(), self.dtype(), shape.numel())?;
        index::select_rows(at, x.read().view()?, index.read().view()?, &mut out).map_err(renamed(op))?;
        Tensor::from_buffer(out, shape)
    }

    /// This tensor with row i of `source` added to row `index[i]` of `axis`; repeats add up, in order. The reverse of
    /// [`index_select`](Tensor::index_select).
    pub fn index_add(&self, axis: isize, index: &Tensor, source: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("index_add", [self, source], [])? {
            return a.index_add(axis, index, &b);
        }
        let at = self.shape().axis(axis, "index_add")?;
        let expected = Shape::new(self.shape().with_dim(at, index.numel()).dims())?;
        if index.rank() != 1 || source.shape() != &expected {
            let expected = format!("a 1-d index and a source of shape {expected}");
            return Err(Error::shape("index_add", expected, &[*index.shape(), *source.shape()]));
        }
        let (base, rows) = (self.copy()?, source.packed()?);
        base.storage()
            .write(|out| index::add_rows(at, index.read().view()?, rows.read().view()?, out, self.shape()))?;
        record(base, &[self, source], || IndexAdd { axis, index: index.clone() })
    }

    /// Rows of this table (V, …) by number: `ids` (i64, u32 or u8) of any shape S give a tensor of shape (S, …). An id out
    /// of range is an error naming it.
    ///
    /// Where the table is a variable its gradient is row-sparse ([`Gradient::Rows`]): the ids that occur, each with the sum
    /// of its rows. Outside the host's memory, where counting them waits for the device, that is so for tables of more than
    /// 2²⁴ elements that are 16 times larger than the gradient; those of others are dense.
    pub fn embedding(&self, ids: &Tensor) -> Result<Tensor> {
        if self.rank() == 0 {
            return Err(Error::shape("embedding", "a table of at least one axis", &[*self.shape()]));
        }
        let flat = ids.detach().reshape([ids.numel()])?;
        let shape: Vec<usize> = ids.dims().iter().chain(&self.dims()[1..]).copied().collect();
        let out = self.rows_of(0, &flat, "embedding")?;
        let out = out.alias(crate::Layout::contiguous(Shape::new(&shape)?));
        record(out, &[self], || Embedding { ids: flat, shape: *self.shape() })
    }

    /// The elements in reverse order along `axes`; a copy.
    pub fn flip(&self, axes: &[isize]) -> Result<Tensor> {
        super::axes::Axes::new(self.shape(), axes, "flip")?;
        let mut out = self.detach();
        for &axis in axes {
            let last = out.dim(axis)? as i64;
            let order: Vec<i64> = (0..last).rev().collect();
            out = out.rows_of(axis, &Tensor::from_slice(&order, [order.len()], self.device())?, "flip")?;
        }
        record(out, &[self], || Flip { axes: axes.to_vec() })
    }
}

impl Tensor {
    /// For each index a row of `n` zeros with a one at the index, as i64: shape (…) to (…, n). Indices are i64, u32 or u8.
    pub fn one_hot(&self, n: usize) -> Result<Tensor> {
        let dims: Vec<usize> = self.dims().iter().copied().chain([n]).collect();
        let shape = Shape::new(&dims)?;
        let mut out = Buffer::uninit(self.device(), DType::I64, shape.numel())?;
        index::one_hot(self.read().view()?, n, &mut out)?;
        Tensor::from_buffer(out, shape)
    }

    /// The coordinates (i64) of the elements that are not 0, in row-major order, of shape (count, rank). Any dtype; NaN
    /// counts as not 0. Waits for the device.
    pub fn nonzero(&self) -> Result<Tensor> {
        let found = index::nonzero(self.read().view()?)?;
        let count =
            if self.rank() == 0 { usize::from(self.to_f64_vec()?[0] != 0.0) } else { found.len() / self.rank() };
        Tensor::from_slice(&found, [count, self.rank()], self.device())
    }
}
