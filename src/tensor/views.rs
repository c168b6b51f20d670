//! Copies into contiguous memory; the views themselves are operations (`ops/views.rs`), since they have gradients.

use crate::kernels::elementwise;
use crate::{Result, Tensor};

impl Tensor {
    /// A contiguous copy of the elements, without a graph; shares storage if they are contiguous already.
    pub(crate) fn packed(&self) -> Result<Tensor> {
        if self.is_contiguous() { Ok(self.detach()) } else { self.copy() }
    }

    /// Whether the tensor is contiguous and covers its whole storage.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_contiguous()
            && self.layout().offset() == 0
            && self.read().view().is_ok_and(|v| v.buffer().len() == self.numel())
    }

    /// A copy of the value in storage of its own, contiguous and without a graph.
    pub fn copy(&self) -> Result<Tensor> {
        let out = elementwise::packed(self.read().view()?)?;
        Tensor::from_buffer(out, *self.shape())
    }
}
