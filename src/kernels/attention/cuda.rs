//! Launches of `kernels/attention.cu`.

use super::plan::AttentionTile;
use super::{AttentionDesc, AttentionInputs, AttentionSaved};
use crate::device::cuda::{CudaDevice, DevicePtr, DevicePtrMut, LaunchConfig};
use crate::device::{Buffer, View};
use crate::kernels::images;
use crate::kernels::operands::{all, blocks, contiguous, device, elements, extent, given, launch_one, output, untyped};
use crate::kernels::params::{
    ATTENTION_MASK_ADD, ATTENTION_MASK_KEEP, ATTENTION_MASK_NONE, AttentionParams, NORM_BIAS_F32, NORM_WEIGHT_F32,
    RotaryParams,
};
use crate::{DType, Device, Element, Error, Layout, Result};
use half::{bf16, f16};

/// The operands of a call, read by the strides of the parameters.
#[derive(Clone, Copy)]
pub(super) struct Operands<'a, T> {
    q: DevicePtr<'a, T>,
    k: DevicePtr<'a, T>,
    v: DevicePtr<'a, T>,
    mask: DevicePtr<'a, u8>,
}

/// What the backward reads besides.
#[derive(Clone, Copy)]
pub(super) struct Saved<'a, T> {
    dout: DevicePtr<'a, T>,
    lse: DevicePtr<'a, f32>,
    delta: DevicePtr<'a, f32>,
}

/// The kernels of one dtype.
///
/// # Safety
/// Of each launch: the parameters' extents and strides stay within what the pointers are to; outputs are contiguous.
pub(super) trait Kernels: Element {
    unsafe fn forward(
        tile: &AttentionTile,
        device: &CudaDevice,
        p: AttentionParams,
        out: DevicePtrMut<'_, Self>,
        lse: DevicePtrMut<'_, f32>,
        operands: Operands<'_, Self>,
    ) -> Result<()>;

    unsafe fn output_products(
        device: &CudaDevice,
        p: AttentionParams,
        delta: DevicePtrMut<'_, f32>,
        out: DevicePtr<'_, Self>,
        dout: DevicePtr<'_, Self>,
    ) -> Result<()>;

    unsafe fn backward_keys(
        tile: &AttentionTile,
        device: &CudaDevice,
        p: AttentionParams,
        gradients: [DevicePtrMut<'_, Self>; 2],
        operands: Operands<'_, Self>,
        saved: Saved<'_, Self>,
    ) -> Result<()>;

    unsafe fn backward_queries(
        tile: &AttentionTile,
        device: &CudaDevice,
        p: AttentionParams,
        dq: DevicePtrMut<'_, Self>,
        operands: Operands<'_, Self>,
        saved: Saved<'_, Self>,
    ) -> Result<()>;

    unsafe fn rotary(
        device: &CudaDevice,
        config: &LaunchConfig,
        p: RotaryParams,
        y: DevicePtrMut<'_, Self>,
        x: DevicePtr<'_, Self>,
        tables: [DevicePtr<'_, u8>; 2],
    ) -> Result<()>;
}

const OP: &str = "scaled_dot_product_attention";

/// A block for each tile of `of` rows of each of `heads` heads.
fn tiles(heads: usize, rows: u32, of: usize, dynamic_shared: u32) -> Result<LaunchConfig> {
    let count = heads * (rows as usize).div_ceil(of);
    Ok(LaunchConfig { dynamic_shared, ..LaunchConfig::linear(blocks(OP, count)?, 256) })
}

fn query_heads(p: &AttentionParams) -> usize {
    p.batch as usize * p.heads as usize
}

macro_rules! kernels {
    ($ty:ident) => {
        impl Kernels for $ty {
            unsafe fn forward(
                tile: &AttentionTile,
                device: &CudaDevice,
                p: AttentionParams,
                out: DevicePtrMut<'_, $ty>,
                lse: DevicePtrMut<'_, f32>,
                Operands { q, k, v, mask }: Operands<'_, $ty>,
            ) -> Result<()> {
                launch_one!(
                    images::ATTENTION, device, &tiles(query_heads(&p), p.queries, tile.queries, tile.forward_bytes())?,
                    (p: AttentionParams, out: DevicePtrMut<'_, $ty>, lse: DevicePtrMut<'_, f32>,
                        q: DevicePtr<'_, $ty>, k: DevicePtr<'_, $ty>, v: DevicePtr<'_, $ty>,
                        mask: DevicePtr<'_, u8>),
                    match tile.columns, {
                        32 => concat!("forward<", stringify!($ty), ", 32, 64, 64>"),
                        64 => concat!("forward<", stringify!($ty), ", 64, 64, 64>"),
                        128 => concat!("forward<", stringify!($ty), ", 128, 64, 32>"),
                        _ => concat!("forward<", stringify!($ty), ", 256, 32, 32>"),
                    }
                )
            }

            unsafe fn output_products(
                device: &CudaDevice,
                p: AttentionParams,
                delta: DevicePtrMut<'_, f32>,
                out: DevicePtr<'_, $ty>,
                dout: DevicePtr<'_, $ty>,
            ) -> Result<()> {
                let rows = query_heads(&p) * p.queries as usize;
                launch_one!(
                    images::ATTENTION, device, &LaunchConfig::linear(blocks(OP, rows.div_ceil(8))?, 256),
                    (p: AttentionParams, delta: DevicePtrMut<'_, f32>, out: DevicePtr<'_, $ty>,
                        dout: DevicePtr<'_, $ty>),
                    match (), { () => concat!("output_products<", stringify!($ty), ">") }
                )
            }

            unsafe fn backward_keys(
                tile: &AttentionTile,
                device: &CudaDevice,
                p: AttentionParams,
                [dk, dv]: [DevicePtrMut<'_, $ty>; 2],
                Operands { q, k, v, mask }: Operands<'_, $ty>,
                Saved { dout, lse, delta }: Saved<'_, $ty>,
            ) -> Result<()> {
                let heads = p.batch as usize * p.kv_heads as usize;
                launch_one!(
                    images::ATTENTION, device, &tiles(heads, p.keys, tile.keys, tile.keys_bytes())?,
                    (p: AttentionParams, dk: DevicePtrMut<'_, $ty>, dv: DevicePtrMut<'_, $ty>,
                        q: DevicePtr<'_, $ty>, k: DevicePtr<'_, $ty>, v: DevicePtr<'_, $ty>,
                        mask: DevicePtr<'_, u8>, dout: DevicePtr<'_, $ty>, lse: DevicePtr<'_, f32>,
                        delta: DevicePtr<'_, f32>),
                    match tile.columns, {
                        32 => concat!("backward_keys<", stringify!($ty), ", 32, 32, 64>"),
                        64 => concat!("backward_keys<", stringify!($ty), ", 64, 32, 64>"),
                        128 => concat!("backward_keys<", stringify!($ty), ", 128, 32, 32>"),
                        _ => concat!("backward_keys<", stringify!($ty), ", 256, 16, 16>"),
                    }
                )
            }

            unsafe fn backward_queries(
                tile: &AttentionTile,
                device: &CudaDevice,
                p: AttentionParams,
                dq: DevicePtrMut<'_, $ty>,
                Operands { q, k, v, mask }: Operands<'_, $ty>,
                Saved { dout, lse, delta }: Saved<'_, $ty>,
            ) -> Result<()> {
                launch_one!(
                    images::ATTENTION, device, &tiles(query_heads(&p), p.queries, tile.queries, tile.queries_bytes())?,
                    (p: AttentionParams, dq: DevicePtrMut<'_, $ty>, q: DevicePtr<'_, $ty>, k: DevicePtr<'_, $ty>,
                        v: DevicePtr<'_, $ty>, mask: DevicePtr<'_, u8>, dout: DevicePtr<'_, $ty>,
                        lse: DevicePtr<'_, f32>, delta: DevicePtr<'_, f32>),
                    match tile.columns, {
                        32 => concat!("backward_queries<", stringify!($ty), ", 32, 32, 64>"),
                        64 => concat!("backward_queries<", stringify!($ty), ", 64, 32, 64>"),
                        128 => concat!("backward_queries<", stringify!($ty), ", 128, 32, 32>"),
                        _ => concat!("backward_queries<", stringify!($ty), ", 256, 16, 16>"),
                    }
                )
            }

            unsafe fn rotary(
                device: &CudaDevice,
                config: &LaunchConfig,
                p: RotaryParams,
                y: DevicePtrMut<'_, $ty>,
                x: DevicePtr<'_, $ty>,
                [cos, sin]: [DevicePtr<'_, u8>; 2],
            ) -> Result<()> {
                launch_one!(
                    images::ATTENTION, device, config,
                    (p: RotaryParams, y: DevicePtrMut<'_, $ty>, x: DevicePtr<'_, $ty>, cos: DevicePtr<'_, u8>,
                        sin: DevicePtr<'_, u8>),
                    match (), { () => concat!("rotary<", stringify!($ty), ">") }
                )
            }
        }
    };
}
kernels!(f32);
kernels!(f16);
kernels!(bf16);

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

fn tile(desc: &AttentionDesc, of: fn(usize) -> Option<AttentionTile>) -> Result<AttentionTile> {
    let dim = desc.dim.max(desc.value_dim);
    of(dim).ok_or_else(|| {
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

pub(super) fn forward<T: Kernels>(
    desc: &AttentionDesc,
    inputs: AttentionInputs<'_>,
    out: &mut Buffer,
    lse: &mut Buffer,
) -> Result<()> {
    if desc.batch * desc.heads * desc.queries == 0 {
        return Ok(());
    }
    let device = device(out)?;
    let tile = tile(desc, AttentionTile::forward)?;
    let p = params(desc, &inputs, inputs.q.layout())?;
    // SAFETY: the shapes are the descriptor's and the views stay inside their buffers (checked by the caller); outputs
    // have B·H·Tq rows.
    unsafe { T::forward(&tile, &device, p, output(out)?, output(lse)?, operands(&inputs)?) }
}

pub(super) fn backward<T: Kernels>(
    desc: &AttentionDesc,
    inputs: AttentionInputs<'_>,
    saved: AttentionSaved<'_>,
    [dq, dk, dv]: [&mut Buffer; 3],
) -> Result<()> {
    let rows = desc.batch * desc.heads * desc.queries;
    let device = device(dq)?;
    let tile = tile(desc, AttentionTile::backward)?;
    let mut p = params(desc, &inputs, saved.out.layout())?;
    p.dout = strides(saved.dout.layout());
    let lse = contiguous(saved.lse)?;
    let lse = lse.view();
    let mut delta = Buffer::uninit(&Device::Cuda(device.clone()), DType::F32, rows)?;
    // SAFETY: as above; the log-sums and `delta` have B·H·Tq elements.
    unsafe {
        if rows > 0 {
            T::output_products(&device, p, output(&mut delta)?, start(&saved.out)?, start(&saved.dout)?)?;
        }
        let read = Saved { dout: start(&saved.dout)?, lse: elements(&lse)?, delta: all(&delta)? };
        if desc.batch * desc.kv_heads * desc.keys > 0 {
            T::backward_keys(&tile, &device, p, [output(dk)?, output(dv)?], operands(&inputs)?, read)?;
        }
        if rows > 0 {
            T::backward_queries(&tile, &device, p, output(dq)?, operands(&inputs)?, read)?;
        }
    }
    Ok(())
}

pub(super) fn rotary<T: Kernels>(
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
    // SAFETY: x's view stays inside its buffer, y has as many elements, the tables rows × half (checked by the caller).
    unsafe {
        let tables = [untyped(Some(&cos.view()))?, untyped(Some(&sin.view()))?].map(DevicePtr::from_address);
        T::rotary(&device, &config, p, output(y)?, start(&x)?, tables)
    }
}
