//! Launches of `kernels/attention.cu` and `kernels/attention_mma.cu`.

use super::plan::AttentionPlan;
use super::{AttentionDesc, AttentionInputs, AttentionSaved};
use crate::device::cuda::{CudaDevice, DevicePtr, Kernel, LaunchConfig};
use crate::device::{Buffer, View};
use crate::kernels::elementwise::contiguous;
use crate::kernels::images::{ATTENTION, ATTENTION_MMA};
use crate::kernels::named::{ByFloat, NamedKernel, by_float, named};
use crate::kernels::operands::{aligned, all, blocks, device, elements, extent, given, output, untyped};
use crate::kernels::params::{
    ATTENTION_MASK_ADD, ATTENTION_MASK_KEEP, ATTENTION_MASK_NONE, AttentionParams, NORM_BIAS_F32, NORM_WEIGHT_F32,
    RotaryParams,
};
use crate::{DType, Device, Element, Error, Layout, Result};
use std::borrow::Cow;

/// The operands of a call, read by the strides of the parameters.
struct Operands<'a, T> {
    q: DevicePtr<'a, T>,
    k: DevicePtr<'a, T>,
    v: DevicePtr<'a, T>,
    mask: DevicePtr<'a, u8>,
}

const OP: &str = "scaled_dot_product_attention";

/// The kernels of one dtype; of several the one for the least head dimension first, each next for twice as many.
struct Kernels {
    /// From 32 columns on.
    forward: [NamedKernel; 4],
    backward_keys: [NamedKernel; 4],
    backward_queries: [NamedKernel; 4],
    output_products: NamedKernel,
    rotary: NamedKernel,
    tensor: Option<TensorKernels>,
}

/// Those for tensor cores, from 64 columns on.
struct TensorKernels {
    forward: [NamedKernel; 3],
    backward_keys: [NamedKernel; 2],
    backward_queries: [NamedKernel; 2],
}

macro_rules! kernels {
    ("f32", $wide:literal) => {
        kernels!(@ "f32", None)
    };
    ($t:literal, $wide:literal) => {
        kernels!(@ $t, Some(TensorKernels {
            forward: [
                named!("forward<", $t, ", 64, 64>"),
                named!("forward<", $t, ", 128, 64>"),
                named!("forward<", $t, ", 256, 32>"),
            ],
            backward_keys: [
                named!("backward_keys<", $t, ", 64, 64>"),
                named!("backward_keys<", $t, ", 128, 32>"),
            ],
            backward_queries: [
                named!("backward_queries<", $t, ", 64, 64>"),
                named!("backward_queries<", $t, ", 128, 32>"),
            ],
        }))
    };
    (@ $t:literal, $tensor:expr) => {
        Kernels {
            forward: [
                named!("forward<", $t, ", 32, 64, 64>"),
                named!("forward<", $t, ", 64, 64, 64>"),
                named!("forward<", $t, ", 128, 64, 32>"),
                named!("forward<", $t, ", 256, 32, 32>"),
            ],
            backward_keys: [
                named!("backward_keys<", $t, ", 32, 32, 64>"),
                named!("backward_keys<", $t, ", 64, 32, 64>"),
                named!("backward_keys<", $t, ", 128, 32, 32>"),
                named!("backward_keys<", $t, ", 256, 16, 16>"),
            ],
            backward_queries: [
                named!("backward_queries<", $t, ", 32, 32, 64>"),
                named!("backward_queries<", $t, ", 64, 32, 64>"),
                named!("backward_queries<", $t, ", 128, 32, 32>"),
                named!("backward_queries<", $t, ", 256, 16, 16>"),
            ],
            output_products: named!("output_products<", $t, ">"),
            rotary: named!("rotary<", $t, ">"),
            tensor: $tensor,
        }
    };
}

static KERNELS: ByFloat<Kernels> = by_float!(kernels);

impl Kernels {
    /// The kernel of one pass that a plan is for.
    fn of<'a>(
        &'a self,
        plan: &AttentionPlan,
        device: &CudaDevice,
        pass: &'a [NamedKernel; 4],
        tensor: impl FnOnce(&'a TensorKernels) -> &'a [NamedKernel],
    ) -> Result<Cow<'a, Kernel>> {
        let from = |least: usize| (plan.columns() / least).trailing_zeros() as usize;
        match (plan, &self.tensor) {
            (AttentionPlan::Tensor(_), Some(kernels)) => tensor(kernels)[from(64)].on(device, &ATTENTION_MMA),
            _ => pass[from(32)].on(device, &ATTENTION),
        }
    }
}

/// A block for each tile of `of` rows of each of `heads` heads.
fn tiles(plan: &AttentionPlan, heads: usize, rows: u32, of: usize, dynamic_shared: u32) -> Result<LaunchConfig> {
    let count = heads * (rows as usize).div_ceil(of);
    Ok(LaunchConfig { dynamic_shared, ..LaunchConfig::linear(blocks(OP, count)?, plan.threads()) })
}

fn query_heads(p: &AttentionParams) -> usize {
    p.batch as usize * p.heads as usize
}

fn strides(layout: &Layout) -> [i64; 4] {
    let mut strides = [0; 4];
    strides.iter_mut().zip(layout.strides()).for_each(|(to, &from)| *to = from as i64);
    strides
}

/// The parameters; `out` is the layout of the result.
fn params(desc: &AttentionDesc, inputs: &AttentionInputs<'_>, out: &Layout) -> Result<AttentionParams> {
    let head = |value| extent(OP, "an extent", value);
    let mask_kind = match inputs.mask.map(|mask| mask.dtype()) {
        None => ATTENTION_MASK_NONE,
        Some(DType::U8) => ATTENTION_MASK_KEEP,
        Some(_) => ATTENTION_MASK_ADD,
    };
    Ok(AttentionParams {
        batch: head(desc.batch)?,
        heads: head(desc.heads)?,
        kv_heads: head(desc.kv_heads)?,
        shared: head(desc.heads / desc.kv_heads.max(1))?,
        queries: head(desc.queries)?,
        keys: head(desc.keys)?,
        dim: head(desc.dim)?,
        value_dim: head(desc.value_dim)?,
        causal: u32::from(desc.causal),
        mask_kind,
        scale: desc.scale as f32,
        reserved: 0,
        q: strides(inputs.q.layout()),
        k: strides(inputs.k.layout()),
        v: strides(inputs.v.layout()),
        mask: inputs.mask.map_or([0; 4], |mask| strides(mask.layout())),
        out: strides(out),
        dout: [0; 4],
    })
}

/// Whether the tensor cores' kernels can read these (B, H, T, D): rows of whole 16-byte chunks, all aligned.
fn admitted(views: &[View<'_>]) -> Result<bool> {
    for view in views {
        let (dims, strides) = (view.dims(), view.layout().strides());
        let chunks = (0..3).all(|axis| dims[axis] <= 1 || strides[axis].is_multiple_of(8));
        let rows = dims[3].is_multiple_of(8) && strides[3] == 1;
        if !(rows && chunks && aligned(&[untyped(Some(view))?])) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn chosen(plan: Option<AttentionPlan>, desc: &AttentionDesc) -> Result<AttentionPlan> {
    let dim = desc.dim.max(desc.value_dim);
    plan.ok_or_else(|| {
        Error::argument(OP, format!("a head dimension of {dim}; the CUDA kernels take up to 256 (the CPU takes any)"))
    })
}

/// The start of a view in any layout: its elements lie where its strides lead.
fn start<'a, T: Element>(view: &View<'a>) -> Result<DevicePtr<'a, T>> {
    Ok(DevicePtr::from_address(untyped(Some(view))?))
}

fn operands<'a, T: Element>(inputs: &AttentionInputs<'a>) -> Result<Operands<'a, T>> {
    Ok(Operands {
        q: start(&inputs.q)?,
        k: start(&inputs.k)?,
        v: start(&inputs.v)?,
        mask: DevicePtr::from_address(untyped(inputs.mask.as_ref())?),
    })
}

pub(super) fn forward<T: Element>(
    desc: &AttentionDesc,
    inputs: AttentionInputs<'_>,
    out: &mut Buffer,
    lse: &mut Buffer,
) -> Result<()> {
    if desc.batch * desc.heads * desc.queries == 0 {
        return Ok(());
    }
    let device = device(out)?;
    let kernels = KERNELS.of::<T>();
    let tensor = kernels.tensor.is_some() && admitted(&[inputs.q, inputs.k, inputs.v])?;
    let plan = chosen(AttentionPlan::forward(desc.dim.max(desc.value_dim), tensor), desc)?;
    let p = params(desc, &inputs, inputs.q.layout())?;
    let config = tiles(&plan, query_heads(&p), p.queries, plan.queries(), plan.forward_bytes())?;
    let kernel = kernels.of(&plan, &device, &kernels.forward, |tensor| &tensor.forward)?;
    let Operands { q, k, v, mask } = operands::<T>(&inputs)?;
    // SAFETY: the shapes are the descriptor's and the views stay inside their buffers (checked by the caller); outputs
    // have B·H·Tq rows.
    unsafe { kernel.launch(&config, (p, output::<T>(out)?, output::<f32>(lse)?, q, k, v, mask)) }
}

pub(super) fn backward<T: Element>(
    desc: &AttentionDesc,
    inputs: AttentionInputs<'_>,
    saved: AttentionSaved<'_>,
    [dq, dk, dv]: [&mut Buffer; 3],
) -> Result<()> {
    let rows = desc.batch * desc.heads * desc.queries;
    let device = device(dq)?;
    let kernels = KERNELS.of::<T>();
    let tensor = kernels.tensor.is_some() && admitted(&[inputs.q, inputs.k, inputs.v, saved.dout])?;
    let plan = chosen(AttentionPlan::backward(desc.dim.max(desc.value_dim), tensor), desc)?;
    let mut p = params(desc, &inputs, saved.out.layout())?;
    p.dout = strides(saved.dout.layout());
    let lse = contiguous(saved.lse)?;
    let lse = lse.view();
    let mut delta = Buffer::uninit(&Device::Cuda(device.clone()), DType::F32, rows)?;
    let (saved_out, dout) = (start::<T>(&saved.out)?, start::<T>(&saved.dout)?);
    let Operands { q, k, v, mask } = operands::<T>(&inputs)?;
    if rows > 0 {
        let config = LaunchConfig::linear(blocks(OP, rows.div_ceil(8))?, 256);
        let kernel = kernels.output_products.on(&device, &ATTENTION)?;
        // SAFETY: as above; `delta` has B·H·Tq elements.
        unsafe { kernel.launch(&config, (p, output::<f32>(&mut delta)?, saved_out, dout))? };
    }
    let (lse, delta) = (elements::<f32>(&lse)?, all::<f32>(&delta)?);
    let heads = desc.batch * desc.kv_heads;
    if heads * desc.keys > 0 {
        let config = tiles(&plan, heads, p.keys, plan.keys(), plan.keys_bytes())?;
        let kernel = kernels.of(&plan, &device, &kernels.backward_keys, |tensor| &tensor.backward_keys)?;
        let (dk, dv) = (output::<T>(dk)?, output::<T>(dv)?);
        // SAFETY: as above; so have the log-sums, and the gradients are as large as what they are of.
        unsafe { kernel.launch(&config, (p, dk, dv, q, k, v, mask, dout, lse, delta))? };
    }
    if rows > 0 {
        let config = tiles(&plan, query_heads(&p), p.queries, plan.queries(), plan.queries_bytes())?;
        let kernel = kernels.of(&plan, &device, &kernels.backward_queries, |tensor| &tensor.backward_queries)?;
        // SAFETY: as above.
        unsafe { kernel.launch(&config, (p, output::<T>(dq)?, q, k, v, mask, dout, lse, delta))? };
    }
    Ok(())
}

pub(super) fn rotary<T: Element>(
    x: View<'_>,
    cos: View<'_>,
    sin: View<'_>,
    inverse: bool,
    y: &mut Buffer,
) -> Result<()> {
    const OP: &str = "rotary_embedding";
    if y.is_empty() {
        return Ok(());
    }
    let device = device(y)?;
    let dims = x.dims();
    let half = extent(OP, "a head dimension", dims[3] / 2)?;
    let lanes = half.next_power_of_two().min(256);
    let count = dims[0] * dims[1] * dims[2];
    let p = RotaryParams {
        count: count as u64,
        heads: extent(OP, "heads", dims[1])?,
        rows: extent(OP, "a sequence", dims[2])?,
        half,
        lanes,
        flags: given(Some(cos.dtype()), 0, NORM_WEIGHT_F32) | given(Some(sin.dtype()), 0, NORM_BIAS_F32),
        sign: if inverse { -1.0 } else { 1.0 },
        x: strides(x.layout()),
    };
    let (cos, sin) = (contiguous(cos)?, contiguous(sin)?);
    let config = LaunchConfig::linear(blocks(OP, count.div_ceil((256 / lanes) as usize))?, 256);
    let table = |view: View<'_>| untyped(Some(&view)).map(DevicePtr::<u8>::from_address);
    let (cos, sin) = (table(cos.view())?, table(sin.view())?);
    let kernel = KERNELS.of::<T>().rotary.on(&device, &ATTENTION)?;
    // SAFETY: x's view stays inside its buffer, y has as many elements, the tables rows × half (checked by the caller).
    unsafe { kernel.launch(&config, (p, output::<T>(y)?, start::<T>(&x)?, cos, sin)) }
}
