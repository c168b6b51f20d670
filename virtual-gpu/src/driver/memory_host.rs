//! Page-locked, registered and managed memory.

use super::abi::{CuResult, Out};
use super::call;
use super::capture;
use super::context::current;
use super::error::{Code, Error, Res};
use super::layouts::MemLocation;
use super::memory::{Allocation, Origin, all, allocate, allocation_at, allocation_from, enter, release};
use super::state::device;
use super::stream::resolve;
use crate::driver::abi;

fn allocate_host(out: Out<u64>, bytes: usize, flags: u32) -> Res {
    out.check()?;
    let context = current()?;
    capture::forbid_unsafe()?;
    // CU_MEMHOSTALLOC_PORTABLE, DEVICEMAP and WRITECOMBINED
    if flags & !7 != 0 {
        return Err(Code::InvalidValue.into());
    }
    out.set(allocate(&context, bytes, Origin::Pinned, flags)?)
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocHost_v2(out: Out<u64>, bytes: usize) -> CuResult {
    call("cuMemAllocHost", || allocate_host(out, bytes, 0))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostAlloc(out: Out<u64>, bytes: usize, flags: u32) -> CuResult {
    call("cuMemHostAlloc", || allocate_host(out, bytes, flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFreeHost(address: u64) -> CuResult {
    call("cuMemFreeHost", || {
        let context = current()?;
        if address == 0 {
            return Ok(());
        }
        capture::forbid_unsafe()?;
        let pinned = allocation_from(address).filter(|found| found.origin == Origin::Pinned);
        let not_ours = || Error::invalid(format!("{address:#x} was not allocated by cuMemHostAlloc"));
        let pinned = pinned.ok_or_else(not_ours)?;
        context.synchronise()?;
        release(&pinned)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostGetDevicePointer_v2(out: Out<u64>, address: u64, flags: u32) -> CuResult {
    call("cuMemHostGetDevicePointer", || {
        current()?;
        match allocation_at(address) {
            Some(found) if found.origin.is_host() && flags == 0 => out.set(address),
            _ => Err(Code::InvalidValue.into()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostGetFlags(out: Out<u32>, address: u64) -> CuResult {
    call("cuMemHostGetFlags", || {
        current()?;
        match allocation_from(address) {
            Some(found) if found.origin == Origin::Pinned => out.set(found.flags),
            _ => Err(Code::InvalidValue.into()),
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostRegister_v2(address: u64, bytes: usize, flags: u32) -> CuResult {
    call("cuMemHostRegister", || {
        let context = current()?;
        // Portable, device-mapped, IO memory, read-only; the last two need what these devices do not have.
        if address < 4_096 || bytes == 0 || flags & !0xf != 0 || address.checked_add(bytes as u64).is_none() {
            return Err(Code::InvalidValue.into());
        }
        if flags & 0xc != 0 {
            return Err(Code::NotSupported.into());
        }
        let end = address + bytes as u64;
        if all().iter().any(|other| other.address < end && address < other.address + other.bytes) {
            return Err(Code::HostMemoryAlreadyRegistered.into());
        }
        abi::register(&context.device.memory, address, bytes as u64)?;
        enter(&context, address, bytes as u64, Origin::Registered, flags)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemHostUnregister(address: u64) -> CuResult {
    call("cuMemHostUnregister", || {
        let context = current()?;
        let found = allocation_from(address).filter(|found| found.origin == Origin::Registered);
        let found = found.ok_or(Code::HostMemoryNotRegistered)?;
        context.synchronise()?;
        release(&found)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocManaged(out: Out<u64>, bytes: usize, flags: u32) -> CuResult {
    call("cuMemAllocManaged", || {
        out.check()?;
        let context = current()?;
        capture::forbid_unsafe()?;
        // CU_MEM_ATTACH_GLOBAL or CU_MEM_ATTACH_HOST
        if !matches!(flags, 1 | 2) {
            return Err(Error::invalid("managed memory is attached to all streams or to the host"));
        }
        out.set(allocate(&context, bytes, Origin::Managed, flags)?)
    })
}

/// Managed memory that holds the whole range.
fn managed(address: u64, bytes: usize) -> Res<Allocation> {
    let found = allocation_at(address).filter(|found| found.origin == Origin::Managed);
    let found = found.ok_or_else(|| Error::invalid(format!("{address:#x} is not managed memory")))?;
    if bytes == 0 || bytes as u64 > found.address + found.bytes - address {
        return Err(Error::invalid(format!("{bytes} bytes at {address:#x} are not all managed memory")));
    }
    Ok(found)
}

/// `CU_DEVICE_CPU`
const CPU: i32 = -1;

fn check_device(ordinal: i32) -> Res {
    if ordinal == CPU { Ok(()) } else { device(ordinal).map(|_| ()) }
}

fn check_location(location: MemLocation) -> Res {
    match location.kind {
        1 => device(location.id).map(|_| ()),
        2..=4 => Ok(()),
        _ => Err(Code::InvalidValue.into()),
    }
}

fn advise(address: u64, bytes: usize, advice: u32) -> Res {
    current()?;
    managed(address, bytes)?;
    if (1..=6).contains(&advice) { Ok(()) } else { Err(Code::InvalidValue.into()) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAdvise(address: u64, bytes: usize, advice: u32, ordinal: i32) -> CuResult {
    // Host and device share the bytes here, so advice changes nothing; it is checked all the same.
    call("cuMemAdvise", || advise(address, bytes, advice).and_then(|()| check_device(ordinal)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAdvise_v2(address: u64, bytes: usize, advice: u32, location: MemLocation) -> CuResult {
    call("cuMemAdvise", || advise(address, bytes, advice).and_then(|()| check_location(location)))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPrefetchAsync(address: u64, bytes: usize, ordinal: i32, stream: usize) -> CuResult {
    call("cuMemPrefetchAsync", || {
        resolve(stream)?;
        managed(address, bytes)?;
        check_device(ordinal)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemPrefetchAsync_v2(
    address: u64,
    bytes: usize,
    location: MemLocation,
    flags: u32,
    stream: usize,
) -> CuResult {
    call("cuMemPrefetchAsync", || {
        resolve(stream)?;
        managed(address, bytes)?;
        if flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        check_location(location)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemRangeGetAttribute(
    data: Out<i32>,
    size: usize,
    attribute: u32,
    address: u64,
    bytes: usize,
) -> CuResult {
    call("cuMemRangeGetAttribute", || {
        current()?;
        managed(address, bytes)?;
        if size == 0 || !size.is_multiple_of(4) {
            return Err(Code::InvalidValue.into());
        }
        match attribute {
            1 => data.set(0),
            // CU_DEVICE_INVALID: no preference, never prefetched; the list of accessors is empty.
            2 | 4 => data.set(-2),
            3 => (0..size / 4).try_for_each(|index| data.set_at(index, -2)),
            5..=8 => data.set(0),
            _ => Err(Code::InvalidValue.into()),
        }
    })
}
