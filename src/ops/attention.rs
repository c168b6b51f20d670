//! Scaled dot-product attention.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, needs_grad, record, record_opaque};
use crate::device::Buffer;
use crate::kernels::attention::{self, AttentionDesc, AttentionInputs, AttentionSaved};
use crate::{DType, Error, Result, Shape, Tensor};

/// What [`Tensor::scaled_dot_product_attention`] may be told.
#[derive(Clone, Debug, Default)]
pub struct AttentionParams {
    /// Whether query i attends to keys 0 to i only (also where there are more keys than queries, as in PyTorch).
    pub causal: bool,
    /// A mask that broadcasts to (B, H, Tq, Tk): u8, where 0 hides a key from a query; or of the queries' dtype and
    /// added to the scores, a constant.
    pub mask: Option<Tensor>,
    /// What scores are multiplied by: 1 / √D where it is not given.
    pub scale: Option<f64>,
}

struct Attention {
    desc: AttentionDesc,
    operands: [Saved; 3],
    mask: Option<Saved>,
    out: Saved,
    lse: Saved,
}

impl Op for Attention {
    fn name(&self) -> &'static str {
        "scaled_dot_product_attention"
    }

    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let [q, k, v] = [self.operands[0].get(ctx)?, self.operands[1].get(ctx)?, self.operands[2].get(ctx)?];
        let (out, lse) = (self.out.get(ctx)?, self.lse.get(ctx)?);
        let buffer = |x: &Tensor| Buffer::uninit(x.device(), x.dtype(), x.numel());
        let (mut dq, mut dk, mut dv) = (buffer(&q)?, buffer(&k)?, buffer(&v)?);
        let guards = [&q, &k, &v, &out, &lse, &grad].map(Tensor::read);
        let mask = self.mask.as_ref().map(|m| m.get(ctx)).transpose()?;
        let mask = mask.as_ref().map(Tensor::read);
        let inputs = AttentionInputs {
            q: guards[0].view()?,
            k: guards[1].view()?,
            v: guards[2].view()?,
            mask: mask.as_ref().map(|m| m.view()).transpose()?,
        };
        let saved = AttentionSaved { out: guards[3].view()?, lse: guards[4].view()?, dout: guards[5].view()? };
        attention::attention_backward(&self.desc, inputs, saved, [&mut dq, &mut dk, &mut dv])?;
        let wrap = |i: usize, buffer: Buffer, like: &Tensor| -> Result<Option<Gradient>> {
            if !ctx.needs(i) {
                return Ok(None);
            }
            let gradient = Tensor::from_buffer(buffer, *like.shape())?;
            Ok(Some(record_opaque("backward of attention", gradient, &[&q, &k, &v, &grad])?.into()))
        };
        Ok(vec![wrap(0, dq, &q)?, wrap(1, dk, &k)?, wrap(2, dv, &v)?])
    }
}

impl Tensor {
    /// softmax(scale · Q Kᵀ + mask) V, by head, without the matrix of scores in memory.
    ///
    /// Queries (B, H, Tq, D), `keys` (B, Hkv, Tk, D) and `values` (B, Hkv, Tk, Dv) of one float dtype, in any layout;
    /// Hkv divides H, and each head of keys and values serves H / Hkv heads of queries. The result is (B, H, Tq, Dv).
    /// A query from which every key is hidden gives 0. A tracked mask is an error: it has no gradient. f16 and bf16
    /// compute in f32. Source: Dao 2023, FlashAttention-2.
    ///
    /// ```
    /// # use warpsmith::{AttentionParams, DType, Device, Tensor};
    /// let q = Tensor::zeros([1, 1, 2, 4], DType::F32, &Device::Cpu)?;
    /// let v = Tensor::from_slice(&[1f32, 3.0], [1, 1, 2, 1], &Device::Cpu)?;
    /// let causal = AttentionParams { causal: true, ..AttentionParams::default() };
    /// assert_eq!(q.scaled_dot_product_attention(&q, &v, &causal)?.to_vec::<f32>()?, [1.0, 2.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn scaled_dot_product_attention(
        &self,
        keys: &Tensor,
        values: &Tensor,
        params: &AttentionParams,
    ) -> Result<Tensor> {
        const OP: &str = "scaled_dot_product_attention";
        if let Some(([q, k, v], [mask])) = autocast::cast(OP, [self, keys, values], [params.mask.as_ref()])? {
            return q.scaled_dot_product_attention(&k, &v, &AttentionParams { mask, ..*params });
        }
        let shapes = [*self.shape(), *keys.shape(), *values.shape()];
        let (&[batch, heads, queries, dim], &[_, kv_heads, key_count, _], &[_, _, _, value_dim]) =
            (self.dims(), keys.dims(), values.dims())
        else {
            return Err(Error::shape(OP, "(B, H, T, D) for queries, keys and values", &shapes));
        };
        let fits = keys.dims() == [batch, kv_heads, key_count, dim]
            && values.dims() == [batch, kv_heads, key_count, value_dim]
            && (heads == 0 || kv_heads > 0 && heads.is_multiple_of(kv_heads));
        if !fits {
            let expected = "queries (B, H, Tq, D), keys (B, Hkv, Tk, D), values (B, Hkv, Tk, Dv), Hkv dividing H";
            return Err(Error::shape(OP, expected, &shapes));
        }
        let mask = match &params.mask {
            Some(mask) => {
                if mask.dtype() != DType::U8 && mask.dtype() != self.dtype() {
                    let expected = format!("a mask of u8 (0 hides a key) or {} (added to the scores)", self.dtype());
                    return Err(Error::dtype(OP, expected, &[mask.dtype()]));
                }
                if needs_grad(&[mask]) {
                    return Err(Error::NoBackward { op: "scaled_dot_product_attention (mask)" });
                }
                let shape = Shape::new(&[batch, heads, queries, key_count])?;
                let expected = format!("a mask that broadcasts to {shape}");
                let layout = mask.layout().expand(&shape);
                let layout = layout.ok_or_else(|| Error::shape(OP, expected, &[*mask.shape()]))?;
                Some(mask.alias(layout))
            }
            None => None,
        };
        let scale = params.scale.unwrap_or(1.0 / (dim.max(1) as f64).sqrt());
        let causal = params.causal;
        let desc = AttentionDesc { batch, heads, kv_heads, queries, keys: key_count, dim, value_dim, scale, causal };
        let statistics = if self.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let mut out = Buffer::uninit(self.device(), self.dtype(), batch * heads * queries * value_dim)?;
        let mut lse = Buffer::uninit(self.device(), statistics, batch * heads * queries)?;
        let guards = [self, keys, values].map(Tensor::read);
        let mask_guard = mask.as_ref().map(Tensor::read);
        let inputs = AttentionInputs {
            q: guards[0].view()?,
            k: guards[1].view()?,
            v: guards[2].view()?,
            mask: mask_guard.as_ref().map(|m| m.view()).transpose()?,
        };
        attention::attention(&desc, inputs, &mut out, &mut lse)?;
        drop((guards, mask_guard));
        let out = Tensor::from_buffer(out, Shape::new(&[batch, heads, queries, value_dim])?)?;
        let lse = Tensor::from_buffer(lse, Shape::new(&[batch, heads, queries])?)?;
        let result = out.clone();
        record(out, &[self, keys, values], || Attention {
            desc,
            operands: [Saved::input(0, self), Saved::input(1, keys), Saved::input(2, values)],
            mask: mask.as_ref().map(Saved::constant),
            out: Saved::output(&result),
            lse: Saved::constant(&lse),
        })
    }
}
