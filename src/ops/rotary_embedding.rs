//! Rotary position embedding.

use crate::autograd::{BackwardCtx, Gradient, Op, Saved, needs_grad, record};
use crate::device::Buffer;
use crate::kernels::attention;
use crate::{Error, Result, Tensor};

struct Rotary {
    cos: Saved,
    sin: Saved,
    inverse: bool,
}

impl Op for Rotary {
    fn name(&self) -> &'static str {
        "rotary_embedding"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![ctx.want(0, || rotate(&grad, &self.cos.get(ctx)?, &self.sin.get(ctx)?, !self.inverse))?])
    }
}

fn rotate(x: &Tensor, cos: &Tensor, sin: &Tensor, inverse: bool) -> Result<Tensor> {
    if needs_grad(&[cos, sin]) {
        return Err(Error::NoBackward { op: "rotary_embedding (cos and sin)" });
    }
    let mut y = Buffer::uninit(x.device(), x.dtype(), x.numel())?;
    attention::rotary(x.read().view()?, cos.read().view()?, sin.read().view()?, inverse, &mut y)?;
    let (cos, sin) = (Saved::constant(cos), Saved::constant(sin));
    record(Tensor::from_buffer(y, *x.shape())?, &[x], || Rotary { cos, sin, inverse })
}

impl Tensor {
    /// Rotary position embedding of queries or keys (B, H, T, D), D even: the halves x₁ and x₂ of the last axis become
    /// x₁ cos − x₂ sin and x₂ cos + x₁ sin (Su et al. 2021, RoFormer, in the layout of GPT-NeoX and LLaMA).
    ///
    /// `cos` and `sin` are (T, D/2), of x's dtype or f32, and constants: tracked ones are an error.
    pub fn rotary_embedding(&self, cos: &Tensor, sin: &Tensor) -> Result<Tensor> {
        rotate(self, cos, sin, false)
    }
}
