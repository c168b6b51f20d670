//! Padding with a constant and repetition.

use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::kernels::index;
use crate::{Error, Layout, Result, Shape, Slice, Tensor};

struct Pad {
    inner: Vec<Slice>,
}

impl Op for Pad {
    fn name(&self) -> &'static str {
        "pad"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.slice(&self.inner))?])
    }
}

impl Tensor {
    /// With `(before, after)` elements of `value` added on each axis, outermost first. Any dtype.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0], [1, 2], &Device::Cpu)?;
    /// assert_eq!(x.pad(&[(0, 0), (1, 2)], 9.0)?.to_vec2::<f32>()?, [[9.0, 1.0, 2.0, 9.0, 9.0]]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn pad(&self, widths: &[(usize, usize)], value: f64) -> Result<Tensor> {
        if widths.len() != self.rank() {
            let message = format!("{} pairs of widths for the {} axes of {}", widths.len(), self.rank(), self.shape());
            return Err(Error::argument("pad", message));
        }
        let padded = self.dims().iter().zip(widths).map(|(&d, &(b, a))| d.saturating_add(b).saturating_add(a));
        let shape = Shape::new(&padded.collect::<Vec<_>>())?;
        let mut region = Layout::contiguous(shape);
        let mut inner = vec![];
        for (axis, (&d, &(before, _))) in self.dims().iter().zip(widths).enumerate() {
            region = region.slice(axis, before, d, 1);
            inner.push(Slice::from(before..before + d));
        }
        let out = Tensor::full(value, shape, self.dtype(), self.device())?;
        let out = if out.is_whole() { out } else { out.copy()? };
        out.storage().write(|out| index::write_region(&region, self.read().view()?, out))?;
        record(out, &[self], || Pad { inner })
    }

    /// Repeated `counts[i]` times along axis i, as tiles; further leading counts add axes.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0], [2], &Device::Cpu)?;
    /// assert_eq!(x.repeat(&[2, 2])?.to_vec2::<f32>()?, [[1.0, 2.0, 1.0, 2.0], [1.0, 2.0, 1.0, 2.0]]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn repeat(&self, counts: &[usize]) -> Result<Tensor> {
        let Some(extra) = counts.len().checked_sub(self.rank()) else {
            let message = format!("{} counts for the {} axes of {}", counts.len(), self.rank(), self.shape());
            return Err(Error::argument("repeat", message));
        };
        let mut dims = vec![1; extra];
        dims.extend_from_slice(self.dims());
        let mut out = self.reshape(&dims)?;
        for (axis, &n) in counts.iter().enumerate().filter(|&(_, &n)| n != 1) {
            let outer: usize = dims[..axis].iter().product();
            let inner: usize = dims[axis..].iter().product();
            dims[axis] = dims[axis].saturating_mul(n);
            out = out.reshape([outer, 1, inner])?.expand([outer, n, inner])?.reshape(&dims)?;
        }
        Ok(out)
    }
}
