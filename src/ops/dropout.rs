//! Dropout (Srivastava et al. 2014), whose mask is never stored.

use crate::autograd::{BackwardCtx, Gradient, Op, needs_grad, record};
use crate::device::Buffer;
use crate::kernels::random as kernel;
use crate::random::Philox;
use crate::{Result, Tensor};

#[derive(Clone, Copy)]
struct Dropout {
    p: f64,
    key: [u32; 2],
    first: u64,
}

impl Op for Dropout {
    fn name(&self) -> &'static str {
        "dropout"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(self.apply(grad)?.into())])
    }
}

impl Dropout {
    /// The mask's counters say it all, so its gradient is the same function.
    fn apply(self, x: Tensor) -> Result<Tensor> {
        let shape = *x.shape();
        if x.is_unique() && !needs_grad(&[&x]) {
            let Some(mut buffer) = x.into_buffer() else {
                unreachable!("a unique tensor has the only handle to its storage");
            };
            kernel::dropout(self.p, self.key, self.first, None, &mut buffer)?;
            return Tensor::from_buffer(buffer, shape);
        }
        let mut out = Buffer::uninit(x.device(), x.dtype(), x.numel())?;
        kernel::dropout(self.p, self.key, self.first, Some(x.read().view()?), &mut out)?;
        record(Tensor::from_buffer(out, shape)?, &[&x], || self)
    }
}

impl Tensor {
    /// Zeros with probability `p` (0 to 1), else x / (1 − p), elementwise; float dtypes. For training only: inference
    /// leaves it out. The backward computes the mask again from the generator's counters.
    pub fn dropout(&self, p: f64, rng: &mut Philox) -> Result<Tensor> {
        let dropout = Dropout { p, key: rng.key(), first: rng.state().block };
        let out = dropout.apply(self.clone())?;
        rng.reserve(kernel::dropout_blocks(self.numel()));
        Ok(out)
    }
}
