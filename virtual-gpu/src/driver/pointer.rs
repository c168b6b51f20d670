//! `cuPointerGetAttribute`: what is known about an address.

use super::abi::{CuResult, In, Out};
use super::call;
use super::context::current_handle;
use super::error::{Code, Res};
use super::memory::{Allocation, Origin, allocation_at, locate};
use super::state::driver;

/// What an address turned out to be.
struct Found {
    base: u64,
    bytes: u64,
    device: i32,
    allocation: Option<Allocation>,
}

fn find(address: u64) -> Option<Found> {
    if let Some(allocation) = allocation_at(address) {
        let Allocation { address: base, bytes, device, .. } = allocation;
        return Some(Found { base, bytes, device, allocation: Some(allocation) });
    }
    let device = locate(address)?;
    let found = device.memory.lookup(address)?;
    Some(Found { base: found.base, bytes: found.size, device: device.ordinal, allocation: None })
}

const HOST: u32 = 1;
const DEVICE: u32 = 2;

/// Writes one attribute; the type behind `out` depends on it.
fn attribute(out: Out<u64>, attribute: u32, address: u64) -> Res {
    let found = find(address).ok_or(Code::InvalidValue)?;
    let origin = found.allocation.map(|allocation| allocation.origin);
    let host = origin.is_some_and(Origin::is_host);
    let managed = origin == Some(Origin::Managed);
    match attribute {
        1 => out.set(found.allocation.map_or(current_handle(), |allocation| allocation.context) as u64),
        2 => out.cast::<u32>().set(if host { HOST } else { DEVICE }),
        3 => out.set(address),
        // Device memory has no address on the host.
        4 if host || managed => out.set(address),
        6 | 10 | 15 | 21 => out.cast::<u32>().set(0),
        7 => out.set(found.allocation.map_or(0, |allocation| allocation.id)),
        8 => out.cast::<u32>().set(u32::from(managed)),
        9 => out.cast::<i32>().set(found.device),
        11 | 19 => out.set(found.base),
        12 | 18 => out.set(found.bytes),
        13 => out.cast::<u32>().set(1),
        14 => out.set(0),
        // CU_POINTER_ATTRIBUTE_ACCESS_FLAG_READWRITE
        16 => out.cast::<u32>().set(3),
        17 => match origin {
            Some(Origin::Pool(pool)) => out.set(pool as u64),
            _ => out.set(0),
        },
        20 => out.set(found.allocation.map_or(0, |allocation| allocation.id)),
        _ => Err(Code::InvalidValue.into()),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuPointerGetAttribute(out: Out<u64>, number: u32, address: u64) -> CuResult {
    call("cuPointerGetAttribute", || {
        out.check()?;
        driver()?;
        attribute(out, number, address)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuPointerGetAttributes(count: u32, numbers: In<u32>, outs: In<usize>, address: u64) -> CuResult {
    call("cuPointerGetAttributes", || {
        driver()?;
        if count == 0 {
            return Err(Code::InvalidValue.into());
        }
        for index in 0..count as usize {
            let (number, out) = (numbers.at(index)?, Out::<u64>::at_address(outs.at(index)?));
            out.check()?;
            // Unlike the single call this one answers for unknown addresses: with nothing.
            if attribute(out, number, address).is_err() {
                match number {
                    2 | 6 | 8 | 10 | 13 | 15 | 16 | 21 => out.cast::<u32>().set(0)?,
                    9 => out.cast::<i32>().set(-2)?,
                    1 | 3 | 4 | 7 | 11 | 12 | 14 | 17..=20 => out.set(0)?,
                    _ => return Err(Code::InvalidValue.into()),
                }
            }
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuPointerSetAttribute(value: In<u32>, number: u32, address: u64) -> CuResult {
    call("cuPointerSetAttribute", || {
        driver()?;
        // CU_POINTER_ATTRIBUTE_SYNC_MEMOPS is the one that can be set; copies are no more asynchronous than it asks.
        if number != 6 || find(address).is_none() {
            return Err(Code::InvalidValue.into());
        }
        value.get().map(|_| ())
    })
}
