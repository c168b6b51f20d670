//! The rectified linear unit.

use super::support::map;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record, record_opaque};
use crate::kernels::elementwise;
use crate::{Result, Tensor};

struct Relu {
    x: Saved,
}

impl Op for Relu {
    fn name(&self) -> &'static str {
        "relu"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let x = self.x.get(ctx)?;
        let out = map(elementwise::ReluBackward, [&x, &grad])?;
        Ok(vec![Some(record_opaque("backward of relu", out, &[&x, &grad])?.into())])
    }
}

impl Tensor {
    /// max(x, 0), elementwise; the gradient at 0 is 0.
    pub fn relu(&self) -> Result<Tensor> {
        record(map(elementwise::Relu, [self])?, &[self], || Relu { x: Saved::input(0, self) })
    }
}
