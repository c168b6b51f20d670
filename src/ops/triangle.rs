//! Triangles of matrices, and triangular masks.

use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::device::Buffer;
use crate::kernels::index;
use crate::{DType, Device, Result, Tensor};

struct Triangle {
    upper: bool,
    diagonal: i64,
}

impl Op for Triangle {
    fn name(&self) -> &'static str {
        if self.upper { "triu" } else { "tril" }
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.triangle(self.upper, self.diagonal))?])
    }
}

impl Tensor {
    /// The lower triangles of matrices (the last two axes), zero elsewhere: column − row ≤ `diagonal`. Any dtype.
    pub fn tril(&self, diagonal: i64) -> Result<Tensor> {
        self.triangle(false, diagonal)
    }

    /// The upper triangles of matrices (the last two axes), zero elsewhere: column − row ≥ `diagonal`. Any dtype.
    pub fn triu(&self, diagonal: i64) -> Result<Tensor> {
        self.triangle(true, diagonal)
    }

    /// A mask (u8) of shape (rows, columns), 1 where column − row ≤ `diagonal`: the keep-mask of causal attention.
    pub fn tril_mask(rows: usize, columns: usize, diagonal: i64, device: &Device) -> Result<Tensor> {
        Tensor::ones([rows, columns], DType::U8, device)?.tril(diagonal)
    }

    /// A mask (u8) of shape (rows, columns), 1 where column − row ≥ `diagonal`.
    pub fn triu_mask(rows: usize, columns: usize, diagonal: i64, device: &Device) -> Result<Tensor> {
        Tensor::ones([rows, columns], DType::U8, device)?.triu(diagonal)
    }

    fn triangle(&self, upper: bool, diagonal: i64) -> Result<Tensor> {
        let x = self.packed()?;
        let mut out = Buffer::uninit(x.device(), x.dtype(), x.numel())?;
        index::triangle(upper, diagonal, x.read().view()?, &mut out)?;
        record(Tensor::from_buffer(out, *x.shape())?, &[self], || Triangle { upper, diagonal })
    }
}
