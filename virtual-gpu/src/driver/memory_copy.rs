//! `cuMemcpy*`: every form becomes a [`Copy`].

use super::abi::{CuResult, Handle, In};
use super::call;
use super::context::context;
use super::copy::{Copy, Side};
use super::error::{Code, Error, Res};
use super::layouts::{Memcpy2d, Memcpy3d};
use super::memory::{Origin, allocation_at, locate};
use super::ops::Op;
use super::stream::{enqueue, resolve};

/// `CUmemorytype`
const HOST: u32 = 1;
const DEVICE: u32 = 2;
const ARRAY: u32 = 3;
const UNIFIED: u32 = 4;

/// One side of a `CUDA_MEMCPY3D`.
struct SideParams {
    kind: u32,
    host: u64,
    device: u64,
    start: [usize; 3],
    pitch: usize,
    rows: usize,
}

fn side(params: &SideParams, extent: [usize; 3], what: &str) -> Res<Side> {
    let [width, height, depth] = extent;
    let base = match params.kind {
        HOST => params.host,
        DEVICE | UNIFIED => params.device,
        ARRAY => return Err(Error::new(Code::NotSupported, "copies of CUDA arrays are not implemented")),
        kind => return Err(Error::invalid(format!("{what}: {kind} is no memory type"))),
    };
    let overflow = || Error::invalid(format!("{what}: the extents overflow"));
    let right = params.start[0].checked_add(width).ok_or_else(overflow)?;
    // Pitch and height may be 0 where there is one row, one slice.
    let pitch = if params.pitch == 0 { right } else { params.pitch };
    if pitch < right && (height > 1 || depth > 1) {
        return Err(Error::invalid(format!("{what}: rows of {right} bytes do not fit a pitch of {pitch}")));
    }
    let bottom = params.start[1].checked_add(height).ok_or_else(overflow)?;
    let rows = if params.rows == 0 { bottom } else { params.rows };
    if rows < bottom && depth > 1 {
        return Err(Error::invalid(format!("{what}: {bottom} rows do not fit a slice of {rows}")));
    }
    let slice = pitch.checked_mul(rows).ok_or_else(overflow)?;
    let [x, y, z] = params.start;
    let offset = slice.checked_mul(z).and_then(|offset| offset.checked_add(pitch.checked_mul(y)?)?.checked_add(x));
    let address = offset.and_then(|offset| base.checked_add(offset as u64)).ok_or_else(overflow)?;
    let device = place(address, params.kind, what)?;
    Ok(Side { address, row: pitch as u64, slice: slice as u64, device })
}

/// The device that a side lies on, by what the caller says it is and what it turns out to be.
fn place(address: u64, kind: u32, what: &str) -> Res<Option<i32>> {
    let device = locate(address).map(|device| device.ordinal);
    let known = device.is_some() || allocation_at(address).is_some();
    match kind {
        DEVICE if !known => {
            Err(Error::invalid(format!("{what}: {address:#x} is not in a live allocation of a device")))
        }
        HOST => match allocation_at(address).map(|found| found.origin) {
            Some(Origin::Plain | Origin::Pool(_) | Origin::Graph | Origin::Mapped) => {
                Err(Error::invalid(format!("{what}: {address:#x} is given as host memory but belongs to a device")))
            }
            _ => Ok(device),
        },
        _ => Ok(device),
    }
}

/// The copy that a `CUDA_MEMCPY3D` describes.
pub fn from_params(params: &Memcpy3d) -> Res<Copy> {
    let extent = [params.width, params.height, params.depth];
    if params.src_lod != 0 || params.dst_lod != 0 {
        return Err(Code::InvalidValue.into());
    }
    let side_of = |kind, host, device, start, pitch, rows, what| {
        if extent.contains(&0) {
            return Ok(Side::host(0));
        }
        side(&SideParams { kind, host, device, start, pitch, rows }, extent, what)
    };
    let src = side_of(
        params.src_type,
        params.src_host as u64,
        params.src_device,
        [params.src_x, params.src_y, params.src_z],
        params.src_pitch,
        params.src_height,
        "source of a copy",
    )?;
    let dst = side_of(
        params.dst_type,
        params.dst_host as u64,
        params.dst_device,
        [params.dst_x, params.dst_y, params.dst_z],
        params.dst_pitch,
        params.dst_height,
        "destination of a copy",
    )?;
    let [width, height, depth] = extent.map(|extent| extent as u64);
    let copy = Copy { src, dst, width, height, depth, staged: None, params: *params };
    copy.check()?;
    Ok(copy)
}

/// The description of a plain run of bytes.
fn linear(dst: (u32, u64), src: (u32, u64), bytes: usize) -> Memcpy3d {
    let mut params =
        Memcpy3d { src_type: src.0, dst_type: dst.0, width: bytes, height: 1, depth: 1, ..Memcpy3d::default() };
    if src.0 == HOST {
        params.src_host = src.1 as usize;
    } else {
        params.src_device = src.1;
    }
    if dst.0 == HOST {
        params.dst_host = dst.1 as usize;
    } else {
        params.dst_device = dst.1;
    }
    params
}

fn run(params: &Memcpy3d, stream: Handle, wait: bool) -> Res {
    let (context, stream) = resolve(stream)?;
    let mut copy = from_params(params)?;
    if stream.is_capturing() {
        return enqueue(&context, &stream, Op::Copy(Box::new(copy)), wait);
    }
    let wait = wait || copy.writes_pageable();
    if !wait {
        copy.stage()?;
    }
    enqueue(&context, &stream, Op::Copy(Box::new(copy)), wait)
}

macro_rules! linear_copies {
    ($($name:ident, $async_name:ident, $dst:ident, $src:ident;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(dst: u64, src: u64, bytes: usize) -> CuResult {
            call(stringify!($name), || run(&linear(($dst, dst), ($src, src), bytes), 0, true))
        }

        #[unsafe(no_mangle)]
        extern "C" fn $async_name(dst: u64, src: u64, bytes: usize, stream: Handle) -> CuResult {
            call(stringify!($async_name), || run(&linear(($dst, dst), ($src, src), bytes), stream, false))
        }
    )*};
}

linear_copies! {
    cuMemcpy, cuMemcpyAsync, UNIFIED, UNIFIED;
    cuMemcpyHtoD_v2, cuMemcpyHtoDAsync_v2, DEVICE, HOST;
    cuMemcpyDtoH_v2, cuMemcpyDtoHAsync_v2, HOST, DEVICE;
    cuMemcpyDtoD_v2, cuMemcpyDtoDAsync_v2, DEVICE, DEVICE;
}

fn peer(dst: (u64, Handle), src: (u64, Handle), bytes: usize, stream: Handle, wait: bool) -> Res {
    context(dst.1)?;
    context(src.1)?;
    run(&linear((DEVICE, dst.0), (DEVICE, src.0), bytes), stream, wait)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeer(dst: u64, dst_context: Handle, src: u64, src_context: Handle, bytes: usize) -> CuResult {
    call("cuMemcpyPeer", || peer((dst, dst_context), (src, src_context), bytes, 0, true))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyPeerAsync(
    dst: u64,
    dst_context: Handle,
    src: u64,
    src_context: Handle,
    bytes: usize,
    stream: Handle,
) -> CuResult {
    call("cuMemcpyPeerAsync", || peer((dst, dst_context), (src, src_context), bytes, stream, false))
}

/// The 3-D description of a 2-D copy.
fn widen(params: &Memcpy2d) -> Memcpy3d {
    Memcpy3d {
        src_x: params.src_x,
        src_y: params.src_y,
        src_type: params.src_type,
        src_host: params.src_host,
        src_device: params.src_device,
        src_array: params.src_array,
        src_pitch: params.src_pitch,
        dst_x: params.dst_x,
        dst_y: params.dst_y,
        dst_type: params.dst_type,
        dst_host: params.dst_host,
        dst_device: params.dst_device,
        dst_array: params.dst_array,
        dst_pitch: params.dst_pitch,
        width: params.width,
        height: params.height,
        depth: 1,
        ..Memcpy3d::default()
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy2D_v2(params: In<Memcpy2d>) -> CuResult {
    call("cuMemcpy2D", || run(&widen(&params.get()?), 0, true))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy2DUnaligned_v2(params: In<Memcpy2d>) -> CuResult {
    call("cuMemcpy2DUnaligned", || run(&widen(&params.get()?), 0, true))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy2DAsync_v2(params: In<Memcpy2d>, stream: Handle) -> CuResult {
    call("cuMemcpy2DAsync", || run(&widen(&params.get()?), stream, false))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy3D_v2(params: In<Memcpy3d>) -> CuResult {
    call("cuMemcpy3D", || run(&params.get()?, 0, true))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy3DAsync_v2(params: In<Memcpy3d>, stream: Handle) -> CuResult {
    call("cuMemcpy3DAsync", || run(&params.get()?, stream, false))
}

fn peer_3d(params: &Memcpy3d, stream: Handle, wait: bool) -> Res {
    // Contexts matter for memory of devices only; 0 names the current one.
    for (kind, handle) in [(params.src_type, params.src_context), (params.dst_type, params.dst_context)] {
        if kind == DEVICE && handle != 0 {
            context(handle)?;
        }
    }
    run(params, stream, wait)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy3DPeer(params: In<Memcpy3d>) -> CuResult {
    call("cuMemcpy3DPeer", || peer_3d(&params.get()?, 0, true))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpy3DPeerAsync(params: In<Memcpy3d>, stream: Handle) -> CuResult {
    call("cuMemcpy3DPeerAsync", || peer_3d(&params.get()?, stream, false))
}

/// The batch call: `count` copies in order.
fn batch(dsts: In<u64>, srcs: In<u64>, sizes: In<usize>, count: usize, stream: Handle) -> Res {
    if matches!(stream, 0..=2) {
        return Err(Error::new(Code::InvalidHandle, "a batch of copies needs a created stream"));
    }
    if count == 0 {
        return Err(Code::InvalidValue.into());
    }
    for index in 0..count {
        let params = linear((UNIFIED, dsts.at(index)?), (UNIFIED, srcs.at(index)?), sizes.at(index)?);
        run(&params, stream, false)?;
    }
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyBatchAsync(
    dsts: In<u64>,
    srcs: In<u64>,
    sizes: In<usize>,
    count: usize,
    _attributes: usize,
    _attribute_indices: usize,
    _attribute_count: usize,
    fail_index: super::abi::Out<usize>,
    stream: Handle,
) -> CuResult {
    call("cuMemcpyBatchAsync", || {
        // No index: an error need not belong to one of the copies.
        fail_index.set_if_wanted(usize::MAX)?;
        batch(dsts, srcs, sizes, count, stream)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyBatchAsync_v2(
    dsts: In<u64>,
    srcs: In<u64>,
    sizes: In<usize>,
    count: usize,
    _attributes: usize,
    _attribute_indices: usize,
    _attribute_count: usize,
    stream: Handle,
) -> CuResult {
    call("cuMemcpyBatchAsync", || batch(dsts, srcs, sizes, count, stream))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemcpyWithAttributesAsync(
    dst: u64,
    src: u64,
    bytes: usize,
    _attributes: usize,
    stream: Handle,
) -> CuResult {
    call("cuMemcpyWithAttributesAsync", || run(&linear((UNIFIED, dst), (UNIFIED, src), bytes), stream, false))
}
