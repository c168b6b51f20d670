//! What most operations share: allocate, call the family, wrap; and the gradient of broadcasting.

use crate::device::Buffer;
use crate::kernels::elementwise::{self, Map};
use crate::{Error, Result, Shape, Tensor};

/// `f` over inputs broadcast together, as an unrecorded tensor.
pub(crate) fn map<const N: usize, F: Map<N>>(f: F, inputs: [&Tensor; N]) -> Result<Tensor> {
    let mut shape: Shape = *inputs[0].shape();
    for input in &inputs[1..] {
        shape = shape.broadcast(input.shape(), F::NAME)?;
        if input.dtype() != inputs[0].dtype() {
            let expected = "operands of one dtype (convert with to_dtype)";
            return Err(Error::dtype(F::NAME, expected, &[inputs[0].dtype(), input.dtype()]));
        }
    }
    let guards = inputs.map(|t| t.read());
    let mut views = [guards[0].view()?; N];
    for (view, guard) in views.iter_mut().zip(&guards) {
        let whole = guard.view()?;
        // The shapes broadcast, so expand cannot fail.
        *view = whole.with_layout(whole.layout().expand(&shape).unwrap_or(*whole.layout()))?;
    }
    let mut out = Buffer::uninit(inputs[0].device(), inputs[0].dtype(), shape.numel())?;
    elementwise::map(f, views, &mut out)?;
    Tensor::from_buffer(out, shape)
}

/// Sums a gradient over the axes along which an input of `shape` was broadcast.
pub(crate) fn unbroadcast(grad: Tensor, shape: &Shape) -> Result<Tensor> {
    if grad.shape() == shape {
        return Ok(grad);
    }
    let extra = grad.rank() - shape.rank();
    let axes: Vec<isize> = (0..grad.rank())
        .filter(|&i| i < extra || (shape[i - extra] == 1 && grad.dims()[i] != 1))
        .map(|i| i as isize)
        .collect();
    grad.sum_keepdim(&axes)?.reshape(shape)
}
