//! `cuMemset*`: one fill behind twelve entry points.

use super::abi::{CuResult, Handle};
use super::call;
use super::copy::Fill;
use super::error::{Error, Res};
use super::memory::locate;
use super::ops::Op;
use super::stream::{enqueue, resolve};

/// The fill for an address; it must lie in memory of a device (or in page-locked memory, which the device fills too).
pub fn fill(address: u64, pitch: usize, value: u32, size: u32, width: usize, height: usize) -> Res<Fill> {
    let pinned = || {
        let allocation = super::memory::allocation_at(address)?;
        super::state::device(allocation.device).ok()
    };
    let device = match locate(address).or_else(pinned) {
        Some(device) => device.ordinal,
        None if width == 0 || height == 0 => 0,
        None => return Err(Error::invalid(format!("a fill: {address:#x} is not in a live allocation of a device"))),
    };
    let (pitch, width, height) = (pitch as u64, width as u64, height as u64);
    let fill = Fill { address, pitch, value, size, width, height, device };
    fill.check()?;
    Ok(fill)
}

struct Request {
    address: u64,
    pitch: usize,
    value: u32,
    size: u32,
    width: usize,
    height: usize,
}

fn run(request: Request, stream: Handle, wait: bool) -> Res {
    let (context, stream) = resolve(stream)?;
    let Request { address, pitch, value, size, width, height } = request;
    let fill = fill(address, pitch, value, size, width, height)?;
    enqueue(&context, &stream, Op::Fill(fill), wait)
}

macro_rules! memset {
    ($($name:ident, $async_name:ident, $value:ty, $size:literal;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(address: u64, value: $value, count: usize) -> CuResult {
            let request =
                Request { address, pitch: 0, value: u32::from(value), size: $size, width: count, height: 1 };
            call(stringify!($name), || run(request, 0, true))
        }

        #[unsafe(no_mangle)]
        extern "C" fn $async_name(address: u64, value: $value, count: usize, stream: Handle) -> CuResult {
            let request =
                Request { address, pitch: 0, value: u32::from(value), size: $size, width: count, height: 1 };
            call(stringify!($async_name), || run(request, stream, false))
        }
    )*};
}

macro_rules! memset_2d {
    ($($name:ident, $async_name:ident, $value:ty, $size:literal;)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(address: u64, pitch: usize, value: $value, width: usize, height: usize) -> CuResult {
            let request = Request { address, pitch, value: u32::from(value), size: $size, width, height };
            call(stringify!($name), || run(request, 0, true))
        }

        #[unsafe(no_mangle)]
        extern "C" fn $async_name(
            address: u64,
            pitch: usize,
            value: $value,
            width: usize,
            height: usize,
            stream: Handle,
        ) -> CuResult {
            let request = Request { address, pitch, value: u32::from(value), size: $size, width, height };
            call(stringify!($async_name), || run(request, stream, false))
        }
    )*};
}

memset! {
    cuMemsetD8_v2, cuMemsetD8Async, u8, 1;
    cuMemsetD16_v2, cuMemsetD16Async, u16, 2;
    cuMemsetD32_v2, cuMemsetD32Async, u32, 4;
}

memset_2d! {
    cuMemsetD2D8_v2, cuMemsetD2D8Async, u8, 1;
    cuMemsetD2D16_v2, cuMemsetD2D16Async, u16, 2;
    cuMemsetD2D32_v2, cuMemsetD2D32Async, u32, 4;
}
