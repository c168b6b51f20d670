//! A copy in row-major order.

use crate::autograd::{BackwardCtx, Gradient, Op, record};
use crate::{Result, Tensor};

struct Contiguous;

impl Op for Contiguous {
    fn name(&self) -> &'static str {
        "contiguous"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(grad.into())])
    }
}

impl Tensor {
    /// The same value with its elements row-major and without gaps; the tensor itself if they already are.
    pub fn contiguous(&self) -> Result<Tensor> {
        if self.is_contiguous() {
            return Ok(self.clone());
        }
        record(self.packed()?, &[self], || Contiguous)
    }
}
