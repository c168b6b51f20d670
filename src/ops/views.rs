//! Views: the same storage through another layout.

use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::{Error, IntoShape, Result, Shape, Tensor};

struct Reshape {
    shape: Shape,
}

impl Op for Reshape {
    fn name(&self) -> &'static str {
        "reshape"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.reshape(self.shape))?])
    }
}

struct Permute {
    inverse: Vec<isize>,
}

impl Op for Permute {
    fn name(&self) -> &'static str {
        "permute"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || grad.permute(&self.inverse))?])
    }
}

struct Expand {
    shape: Shape,
}

impl Op for Expand {
    fn name(&self) -> &'static str {
        "expand"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || super::support::unbroadcast(grad, &self.shape))?])
    }
}

impl Tensor {
    /// The same elements in another shape; copies only where the layout cannot express it.
    pub fn reshape(&self, shape: impl IntoShape) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        if shape.numel() != self.numel() {
            let expected = format!("a shape of the input's {} elements", self.numel());
            return Err(Error::shape("reshape", expected, &[*self.shape(), shape]));
        }
        let out = match self.layout().reshape(&shape) {
            Some(layout) => self.alias(layout),
            None => {
                let packed = self.packed()?;
                packed.alias(packed.layout().reshape(&shape).unwrap_or(*packed.layout()))
            }
        };
        record(out, &[self], || Reshape { shape: *self.shape() })
    }

    /// The axes in another order: axis `i` of the result is axis `axes[i]` of the input.
    pub fn permute(&self, axes: &[isize]) -> Result<Tensor> {
        let resolved = axes.iter().map(|&a| self.shape().axis(a, "permute")).collect::<Result<Vec<_>>>()?;
        let mut inverse = vec![-1; self.rank()];
        for (i, &a) in resolved.iter().enumerate() {
            inverse[a] = i as isize;
        }
        if resolved.len() != self.rank() || inverse.contains(&-1) {
            let message = format!("{axes:?} is not a permutation of the axes of {}", self.shape());
            return Err(Error::argument("permute", message));
        }
        record(self.alias(self.layout().permute(&resolved)), &[self], || Permute { inverse })
    }

    /// Two axes exchanged; each may count from the end.
    pub fn transpose(&self, a: isize, b: isize) -> Result<Tensor> {
        let (a, b) = (self.shape().axis(a, "transpose")?, self.shape().axis(b, "transpose")?);
        let mut axes: Vec<isize> = (0..self.rank() as isize).collect();
        axes.swap(a, b);
        self.permute(&axes)
    }

    /// Repeated along axes of extent 1, by NumPy's rule, without a copy.
    pub fn expand(&self, shape: impl IntoShape) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        let layout = self
            .layout()
            .expand(&shape)
            .ok_or_else(|| Error::shape("expand", "a shape that the input broadcasts to", &[*self.shape(), shape]))?;
        record(self.alias(layout), &[self], || Expand { shape: *self.shape() })
    }
}
