//! Matrix products: `matmul` with NumPy's batch broadcasting, `bmm`, `dot`, `outer`.

use super::autocast;
use super::support::unbroadcast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record};
use crate::device::Buffer;
use crate::kernels::gemm::{self, Epilogue, GemmDesc};
use crate::{Error, Result, Shape, Tensor};

struct Matmul {
    a: Saved,
    b: Saved,
}

impl Op for Matmul {
    fn name(&self) -> &'static str {
        "matmul"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (a, b) = (self.a.get(ctx)?, self.b.get(ctx)?);
        Ok(vec![
            ctx.want(0, || unbroadcast(grad.matmul(&b.transpose(-1, -2)?)?, a.shape()))?,
            ctx.want(1, || unbroadcast(a.transpose(-1, -2)?.matmul(&grad)?, b.shape()))?,
        ])
    }
}

impl Tensor {
    /// The matrix product, as `torch.matmul`: (…, m, k) · (…, k, n) → (…, m, n), leading axes broadcast by NumPy's
    /// rule. A 1-D left operand is a row, a 1-D right operand a column, and that axis is absent from the result.
    ///
    /// Float dtypes, both operands of one; f16 and bf16 accumulate in f32 and round once. Operands may be views of any
    /// strides: transposing one first costs nothing. Errors: shapes that do not fit, 0-D operands, mixed dtypes.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let a = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], [2, 2], &Device::Cpu)?;
    /// let x = Tensor::from_slice(&[1f32, 10.0], [2], &Device::Cpu)?;
    /// assert_eq!(a.matmul(&x)?.to_vec::<f32>()?, [21.0, 43.0]);
    /// assert_eq!(a.matmul(&a.transpose(0, 1)?)?.to_vec::<f32>()?, [5.0, 11.0, 11.0, 25.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn matmul(&self, other: &Tensor) -> Result<Tensor> {
        if let Some(([a, b], [])) = autocast::cast("matmul", [self, other], [])? {
            return a.matmul(&b);
        }
        let (ra, rb) = (self.rank(), other.rank());
        if ra == 0 || rb == 0 {
            let expected = "operands of at least one axis (multiply by a scalar with mul)";
            return Err(Error::shape("matmul", expected, &[*self.shape(), *other.shape()]));
        }
        if ra == 1 {
            let out = self.reshape([1, self.numel()])?.matmul(other)?;
            let axis = if rb == 1 { out.rank() - 1 } else { out.rank() - 2 };
            return without_axis(&out, axis);
        }
        if rb == 1 {
            let out = self.matmul(&other.reshape([other.numel(), 1])?)?;
            return without_axis(&out, out.rank() - 1);
        }
        let (m, k) = (self.dims()[ra - 2], self.dims()[ra - 1]);
        if rb == 2 && ra > 2 && k == other.dims()[0] {
            // One right operand for the whole batch: its rows are the rows of one product, where no copy is needed.
            let rows: usize = self.dims()[..ra - 1].iter().product();
            if self.layout().reshape(&Shape::new(&[rows, k])?).is_some() {
                let mut dims = self.dims().to_vec();
                dims[ra - 1] = other.dims()[1];
                return self.reshape([rows, k])?.matmul(other)?.reshape(&dims);
            }
        }
        let batch = |t: &Tensor| Shape::new(&t.dims()[..t.rank() - 2]);
        let outer = batch(self)?.broadcast(&batch(other)?, "matmul")?;
        let with = |rows: usize, cols: usize| {
            let mut dims = outer.dims().to_vec();
            dims.extend([rows, cols]);
            Shape::new(&dims)
        };
        let n = other.dims()[rb - 1];
        let (shape_b, shape) = (with(other.dims()[rb - 2], n)?, with(m, n)?);
        let (guard_a, guard_b) = (self.read(), other.read());
        let (view_a, view_b) = (guard_a.view()?, guard_b.view()?);
        // The leading axes broadcast, so expand cannot fail.
        let a = view_a.with_layout(self.layout().expand(&with(m, k)?).unwrap_or(*self.layout()))?;
        let b = view_b.with_layout(other.layout().expand(&shape_b).unwrap_or(*other.layout()))?;
        let mut out = Buffer::uninit(self.device(), self.dtype(), shape.numel())?;
        gemm::gemm(&GemmDesc::of(&a, &b)?, a, b, Epilogue::default(), None, &mut out)?;
        record(Tensor::from_buffer(out, shape)?, &[self, other], || Matmul {
            a: Saved::input(0, self),
            b: Saved::input(1, other),
        })
    }

    /// The products of two batches of matrices: (b, m, k) · (b, k, n) → (b, m, n), with no broadcasting. Otherwise as
    /// [`matmul`](Tensor::matmul).
    pub fn bmm(&self, other: &Tensor) -> Result<Tensor> {
        if self.rank() != 3 || other.rank() != 3 || self.dims()[0] != other.dims()[0] {
            let found = [*self.shape(), *other.shape()];
            return Err(Error::shape("bmm", "(b, m, k) and (b, k, n); matmul broadcasts", &found));
        }
        self.matmul(other)
    }

    /// The inner product of two vectors of one length, as a scalar. Float dtypes; an error for other shapes.
    pub fn dot(&self, other: &Tensor) -> Result<Tensor> {
        if self.rank() != 1 || self.shape() != other.shape() {
            return Err(Error::shape("dot", "two vectors of one length", &[*self.shape(), *other.shape()]));
        }
        self.matmul(other)
    }

    /// The outer product of two vectors: (m) and (n) → (m, n). Float dtypes; an error for other shapes.
    pub fn outer(&self, other: &Tensor) -> Result<Tensor> {
        if self.rank() != 1 || other.rank() != 1 {
            return Err(Error::shape("outer", "two vectors", &[*self.shape(), *other.shape()]));
        }
        self.reshape([self.numel(), 1])?.mul(&other.reshape([1, other.numel()])?)
    }
}

fn without_axis(t: &Tensor, axis: usize) -> Result<Tensor> {
    let mut dims = t.dims().to_vec();
    dims.remove(axis);
    t.reshape(&dims)
}
