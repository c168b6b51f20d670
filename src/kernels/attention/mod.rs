//! Scaled dot-product attention, softmax(scale · Q Kᵀ + mask) V, without the matrix of scores in memory; and rotary
//! position embedding.
//!
//! Keys are walked in tiles with a running softmax; what is saved is the result and one log-sum per query, from which
//! the backward computes the scores again, tile by tile, in a fixed order. Source: Dao 2023, FlashAttention-2.

mod backward;
mod cuda;
mod forward;
mod mask;
pub mod plan;
mod rotary;
mod softmax;
mod tile;

use super::operands::with_cuda_float;
use super::rowwise::{check_elements, on_host, statistics_dtype};
use super::{mixed_devices, unsupported};
use crate::device::{Buffer, View};
use crate::{DType, Error, Layout, Result, Shape, with_float};

/// An attention's extents. Queries of head h attend to keys and values of head h / (heads / kv_heads).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AttentionDesc {
    /// B.
    pub batch: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of keys and values: a divisor of `heads`.
    pub kv_heads: usize,
    /// Queries per head.
    pub queries: usize,
    /// Keys per head.
    pub keys: usize,
    /// The head dimension of queries and keys.
    pub dim: usize,
    /// The head dimension of values and of the result.
    pub value_dim: usize,
    /// What scores are multiplied by.
    pub scale: f64,
    /// Whether query i attends to keys 0 to i only.
    pub causal: bool,
}

impl AttentionDesc {
    fn queries_shape(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.dim]
    }

    fn keys_shape(&self) -> [usize; 4] {
        [self.batch, self.kv_heads, self.keys, self.dim]
    }

    fn values_shape(&self) -> [usize; 4] {
        [self.batch, self.kv_heads, self.keys, self.value_dim]
    }

    fn out_shape(&self) -> [usize; 4] {
        [self.batch, self.heads, self.queries, self.value_dim]
    }

    /// The number of keys that queries `first..first + count` attend to.
    fn visible(&self, first: usize, count: usize) -> usize {
        if self.causal { self.keys.min(first + count) } else { self.keys }
    }
}

/// The operands, in any layout: q (B, H, Tq, D), k (B, Hkv, Tk, D), v (B, Hkv, Tk, Dv), of one float dtype.
#[derive(Clone, Copy, Debug)]
pub struct AttentionInputs<'a> {
    /// The queries.
    pub q: View<'a>,
    /// The keys.
    pub k: View<'a>,
    /// The values.
    pub v: View<'a>,
    /// (B, H, Tq, Tk), broadcast by strides: u8, 0 where a key does not count; or added to the scores, of q's dtype.
    pub mask: Option<View<'a>>,
}

/// What the backward reads besides the operands.
#[derive(Clone, Copy, Debug)]
pub struct AttentionSaved<'a> {
    /// The forward's result.
    pub out: View<'a>,
    /// The forward's log-sums.
    pub lse: View<'a>,
    /// The gradient of the result.
    pub dout: View<'a>,
}

const FLOATS: &str = "f32, f16, bf16, f64";

fn check(op: &'static str, desc: &AttentionDesc, inputs: &AttentionInputs<'_>) -> Result<()> {
    let dtype = inputs.q.dtype();
    let wanted = [desc.queries_shape(), desc.keys_shape(), desc.values_shape()];
    for (view, wanted) in [inputs.q, inputs.k, inputs.v].into_iter().zip(wanted) {
        if view.dims() != wanted {
            return Err(Error::shape(op, format!("an operand of shape {wanted:?}"), &[*view.layout().shape()]));
        }
        if view.dtype() != dtype {
            return Err(Error::dtype(op, "queries, keys and values of one dtype", &[dtype, view.dtype()]));
        }
    }
    if desc.kv_heads == 0 && desc.heads > 0 || desc.kv_heads > 0 && !desc.heads.is_multiple_of(desc.kv_heads) {
        let message = format!("{} heads cannot share {} key and value heads evenly", desc.heads, desc.kv_heads);
        return Err(Error::argument(op, message));
    }
    if let Some(mask) = inputs.mask {
        let wanted = [desc.batch, desc.heads, desc.queries, desc.keys];
        if mask.dims() != wanted {
            return Err(Error::shape(op, format!("a mask of shape {wanted:?}"), &[*mask.layout().shape()]));
        }
        if mask.dtype() != DType::U8 && mask.dtype() != dtype {
            return Err(Error::dtype(op, format!("a mask of dtype u8 or {dtype}"), &[mask.dtype()]));
        }
    }
    Ok(())
}

/// The result (B, H, Tq, Dv) and the log-sums (B, H, Tq), f32 (f64 for f64); both contiguous. A query all of whose
/// keys are masked gives 0, and a log-sum of +∞.
pub fn attention(desc: &AttentionDesc, inputs: AttentionInputs<'_>, out: &mut Buffer, lse: &mut Buffer) -> Result<()> {
    const OP: &str = "scaled_dot_product_attention";
    check(OP, desc, &inputs)?;
    let dtype = inputs.q.dtype();
    check_elements(OP, desc.out_shape().iter().product(), dtype, (out.len(), out.dtype()))?;
    let rows = desc.batch * desc.heads * desc.queries;
    check_elements(OP, rows, statistics_dtype(dtype), (lse.len(), lse.dtype()))?;
    let views = [Some(inputs.q), Some(inputs.k), Some(inputs.v), inputs.mask];
    match on_host(views.iter().flatten().map(|v| v.buffer().memory()).chain([out.memory(), lse.memory()])) {
        Some(true) => with_float!(dtype, T => forward::forward::<T>(desc, inputs, out, lse),
            else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::forward::<T>(desc, inputs, out, lse)),
        None => Err(mixed_devices(OP)),
    }
}

/// The gradients of q, k and v (`=`), contiguous.
pub fn attention_backward(
    desc: &AttentionDesc,
    inputs: AttentionInputs<'_>,
    saved: AttentionSaved<'_>,
    [dq, dk, dv]: [&mut Buffer; 3],
) -> Result<()> {
    const OP: &str = "scaled_dot_product_attention_backward";
    check(OP, desc, &inputs)?;
    let dtype = inputs.q.dtype();
    for view in [saved.out, saved.dout] {
        if view.dims() != desc.out_shape() || view.dtype() != dtype {
            let expected = format!("a result of shape {:?} and dtype {dtype}", desc.out_shape());
            return Err(Error::shape(OP, expected, &[*view.layout().shape()]));
        }
    }
    let rows = desc.batch * desc.heads * desc.queries;
    let lse = saved.lse;
    check_elements(OP, rows, statistics_dtype(dtype), (lse.layout().numel(), lse.dtype()))?;
    let shapes = [desc.queries_shape(), desc.keys_shape(), desc.values_shape()];
    for (buffer, shape) in [&*dq, &*dk, &*dv].into_iter().zip(shapes) {
        check_elements(OP, shape.iter().product(), dtype, (buffer.len(), buffer.dtype()))?;
    }
    let views = [Some(inputs.q), Some(inputs.k), Some(inputs.v), inputs.mask, Some(saved.out), Some(saved.dout)];
    let read = views.iter().flatten().map(|v| v.buffer().memory()).chain([lse.buffer().memory()]);
    match on_host(read.chain([&*dq, &*dk, &*dv].map(Buffer::memory))) {
        Some(true) => with_float!(dtype, T => backward::backward::<T>(desc, inputs, saved, [dq, dk, dv]),
            else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::backward::<T>(desc, inputs, saved, [dq, dk, dv])),
        None => Err(mixed_devices(OP)),
    }
}

/// The (rows, columns) matrix of one head: of a layout (B, H, T, D), what lies at `b` and `h` from row `first` on.
fn head(layout: &Layout, b: usize, h: usize, first: usize, rows: usize) -> Result<Layout> {
    let (dims, strides) = (layout.dims(), layout.strides());
    let at = layout.offset() + b * strides[0] + h * strides[1] + first * strides[2];
    Layout::new(Shape::new(&[rows, dims[3]])?, &strides[2..], at)
}

/// Rotary position embedding of x (B, H, T, D), D even: y₁ = x₁ cos − x₂ sin, y₂ = x₂ cos + x₁ sin, where x₁ and x₂
/// are the halves of the last axis, and cos and sin are (T, D/2) of x's dtype or f32. `inverse` turns back.
pub fn rotary(x: View<'_>, cos: View<'_>, sin: View<'_>, inverse: bool, y: &mut Buffer) -> Result<()> {
    const OP: &str = "rotary_embedding";
    let dtype = x.dtype();
    let &[_, _, t, d] = x.dims() else {
        return Err(Error::shape(OP, "(B, H, T, D)", &[*x.layout().shape()]));
    };
    for table in [cos, sin] {
        if !d.is_multiple_of(2) || table.dims() != [t, d / 2] {
            let expected = format!("an even D, and cos and sin of shape [{t}, {}]", d / 2);
            return Err(Error::shape(OP, expected, &[*x.layout().shape(), *table.layout().shape()]));
        }
        if table.dtype() != dtype && table.dtype() != DType::F32 {
            return Err(Error::dtype(OP, format!("cos and sin of dtype {dtype} or f32"), &[table.dtype()]));
        }
    }
    check_elements(OP, x.layout().numel(), dtype, (y.len(), y.dtype()))?;
    match on_host([x, cos, sin].iter().map(|v| v.buffer().memory()).chain([y.memory()])) {
        Some(true) => with_float!(dtype, T => rotary::rotary::<T>(x, cos, sin, inverse, y.as_mut_slice::<T>()?),
            else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::rotary::<T>(x, cos, sin, inverse, y)),
        None => Err(mixed_devices(OP)),
    }
}
