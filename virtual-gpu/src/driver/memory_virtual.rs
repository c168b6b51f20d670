//! Virtual memory management: address ranges, physical memory, and mapping one into the other.
//!
//! Physical memory is an anonymous file, which can be mapped in several places as the API promises. The machine sees a
//! mapping once a device was given access to it.

use super::abi::{self, CuResult, Handle, In, Out};
use super::call;
use super::context::{Context, current};
use super::error::{Code, Error, Res};
use super::layouts::{MemAccessDesc, MemAllocationProp, MemLocation};
use super::memory::{self, Origin};
use super::state::device;
use super::table::{Table, lock};
use std::collections::BTreeMap;
use std::fs::File;
use std::sync::{Arc, Mutex};

/// Sizes and addresses are multiples of this.
const GRANULARITY: u64 = 2 << 20;

static PHYSICAL: Table<Physical> = Table::new(15);

/// Physical memory.
struct Physical {
    handle: Handle,
    file: File,
    bytes: u64,
    prop: MemAllocationProp,
    /// `cuMemCreate` and `cuMemRetainAllocationHandle`, less `cuMemRelease`.
    count: Mutex<u32>,
}

/// A mapping: what is there, how much, and the devices with access.
struct Mapping {
    physical: Arc<Physical>,
    bytes: u64,
    access: BTreeMap<i32, u32>,
}

/// Reserved ranges with their sizes, and mappings inside them.
#[derive(Default)]
struct Ranges {
    reserved: BTreeMap<u64, u64>,
    mapped: BTreeMap<u64, Mapping>,
}

static RANGES: Mutex<Ranges> = Mutex::new(Ranges { reserved: BTreeMap::new(), mapped: BTreeMap::new() });

fn check_size(bytes: u64) -> Res {
    if bytes == 0 || !bytes.is_multiple_of(GRANULARITY) {
        return Err(Error::invalid(format!("{bytes} bytes are not a multiple of the granularity of {GRANULARITY}")));
    }
    Ok(())
}

/// Where the pieces of `[address, address + bytes)` are mapped; an error where the range is not made of whole mappings.
fn pieces(ranges: &Ranges, address: u64, bytes: u64) -> Res<Vec<u64>> {
    let end = address.checked_add(bytes).ok_or(Code::InvalidValue)?;
    let (mut at, mut found) = (address, Vec::new());
    while at < end {
        let mapping = ranges.mapped.get(&at).ok_or_else(|| Error::invalid(format!("nothing is mapped at {at:#x}")))?;
        found.push(at);
        at += mapping.bytes;
    }
    if at == end { Ok(found) } else { Err(Error::invalid("the range ends inside a mapping")) }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAllocationGranularity(out: Out<usize>, prop: In<MemAllocationProp>, option: u32) -> CuResult {
    call("cuMemGetAllocationGranularity", || {
        check_prop(&prop.get()?)?;
        if option > 1 { Err(Code::InvalidValue.into()) } else { out.set(GRANULARITY as usize) }
    })
}

fn check_prop(prop: &MemAllocationProp) -> Res {
    // CU_MEM_ALLOCATION_TYPE_PINNED on a device
    if prop.kind != 1 || prop.location.kind != 1 {
        return Err(Error::new(Code::NotSupported, "physical memory is pinned memory of a device"));
    }
    if prop.handle_types != 0 {
        return Err(Error::new(Code::NotSupported, "physical memory is not shared with other processes"));
    }
    device(prop.location.id).map(|_| ())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemCreate(out: Out<Handle>, bytes: usize, prop: In<MemAllocationProp>, flags: u64) -> CuResult {
    call("cuMemCreate", || {
        out.check()?;
        let prop = prop.get()?;
        check_prop(&prop)?;
        check_size(bytes as u64)?;
        if flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        super::inject::allocation()?;
        let device = device(prop.location.id)?;
        if bytes as u64 > device.model.memory_bytes.saturating_sub(device.memory.used()) {
            return Err(Code::OutOfMemory.into());
        }
        let no_memory = |error: std::io::Error| Error::new(Code::OutOfMemory, error.to_string());
        let file = abi::anonymous_file().map_err(no_memory)?;
        file.set_len(bytes as u64).map_err(no_memory)?;
        let count = Mutex::new(1);
        out.set(PHYSICAL.add(|handle| Physical { handle, file, bytes: bytes as u64, prop, count }).handle)
    })
}

fn physical(handle: Handle) -> Res<Arc<Physical>> {
    super::state::driver()?;
    PHYSICAL.get(handle).ok_or_else(|| Code::InvalidValue.into())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemRelease(handle: Handle) -> CuResult {
    call("cuMemRelease", || {
        let physical = physical(handle)?;
        let mut count = lock(&physical.count);
        *count -= 1;
        if *count == 0 {
            // Mappings keep the memory itself.
            PHYSICAL.remove(handle);
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemRetainAllocationHandle(out: Out<Handle>, address: u64) -> CuResult {
    call("cuMemRetainAllocationHandle", || {
        out.check()?;
        let ranges = lock(&RANGES);
        let found = ranges.mapped.range(..=address).next_back();
        let found = found.filter(|(start, mapping)| address - **start < mapping.bytes);
        let physical = found.map(|(_, mapping)| mapping.physical.clone()).ok_or(Code::InvalidValue)?;
        *lock(&physical.count) += 1;
        PHYSICAL.insert(physical.handle, physical.clone());
        out.set(physical.handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAllocationPropertiesFromHandle(out: Out<MemAllocationProp>, handle: Handle) -> CuResult {
    call("cuMemGetAllocationPropertiesFromHandle", || out.set(physical(handle)?.prop))
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAddressReserve(out: Out<u64>, bytes: usize, alignment: usize, _wish: u64, flags: u64) -> CuResult {
    call("cuMemAddressReserve", || {
        super::state::driver()?;
        out.check()?;
        check_size(bytes as u64)?;
        if flags != 0 || alignment != 0 && !alignment.is_power_of_two() {
            return Err(Code::InvalidValue.into());
        }
        let alignment = (alignment as u64).max(GRANULARITY);
        let address = abi::reserve_pages(bytes as u64, alignment).ok_or(Code::OutOfMemory)?;
        lock(&RANGES).reserved.insert(address, bytes as u64);
        out.set(address)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAddressFree(address: u64, bytes: usize) -> CuResult {
    call("cuMemAddressFree", || {
        super::state::driver()?;
        let mut ranges = lock(&RANGES);
        let end = address.checked_add(bytes as u64).ok_or(Code::InvalidValue)?;
        if ranges.mapped.range(address..end).next().is_some() {
            return Err(Error::invalid("something is still mapped in the range"));
        }
        if ranges.reserved.get(&address) != Some(&(bytes as u64)) {
            return Err(Error::invalid("the range is not one that cuMemAddressReserve gave"));
        }
        ranges.reserved.remove(&address);
        abi::free_pages(address, bytes as u64);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemMap(address: u64, bytes: usize, offset: usize, handle: Handle, flags: u64) -> CuResult {
    call("cuMemMap", || {
        let physical = physical(handle)?;
        let bytes = bytes as u64;
        check_size(bytes)?;
        if flags != 0 || offset != 0 || bytes != physical.bytes || !address.is_multiple_of(GRANULARITY) {
            return Err(Error::invalid("physical memory is mapped whole, at a multiple of the granularity"));
        }
        let mut ranges = lock(&RANGES);
        let end = address.checked_add(bytes).ok_or(Code::InvalidValue)?;
        let range = ranges.reserved.range(..=address).next_back();
        if range.is_none_or(|(start, size)| end > start + size) {
            return Err(Error::invalid(format!(
                "{address:#x} is not inside a reserved range with room for {bytes} bytes"
            )));
        }
        let before = ranges.mapped.range(..end).next_back();
        if before.is_some_and(|(start, mapping)| start + mapping.bytes > address) {
            return Err(Error::invalid(format!("something is mapped at {address:#x} already")));
        }
        if !abi::map_pages(address, bytes, &physical.file) {
            return Err(Code::MapFailed.into());
        }
        ranges.mapped.insert(address, Mapping { physical, bytes, access: BTreeMap::new() });
        Ok(())
    })
}

/// Takes a mapping out of the devices' sight.
fn hide(address: u64) -> Res {
    match memory::allocation_from(address) {
        Some(allocation) if allocation.origin == Origin::Mapped => memory::release(&allocation),
        _ => Ok(()),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemUnmap(address: u64, bytes: usize) -> CuResult {
    call("cuMemUnmap", || {
        super::state::driver()?;
        let mut ranges = lock(&RANGES);
        for at in pieces(&ranges, address, bytes as u64)? {
            hide(at)?;
            if let Some(mapping) = ranges.mapped.remove(&at) {
                abi::unmap_pages(at, mapping.bytes);
            }
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemSetAccess(address: u64, bytes: usize, list: In<MemAccessDesc>, count: usize) -> CuResult {
    call("cuMemSetAccess", || {
        let context = current()?;
        let list = list.all(count)?;
        for desc in &list {
            device(desc.location.id)?;
            if desc.location.kind != 1 || !matches!(desc.flags, 0 | 1 | 3) {
                return Err(Code::InvalidValue.into());
            }
        }
        let mut ranges = lock(&RANGES);
        for at in pieces(&ranges, address, bytes as u64)? {
            if let Some(mapping) = ranges.mapped.get_mut(&at) {
                mapping.access.extend(list.iter().map(|desc| (desc.location.id, desc.flags)));
                show(&context, at, mapping)?;
            }
        }
        Ok(())
    })
}

/// Lets the machine see a mapping, on the device that its memory is of or the first that may touch it.
fn show(context: &Context, address: u64, mapping: &Mapping) -> Res {
    hide(address)?;
    let own = mapping.physical.prop.location.id;
    let mut allowed = mapping.access.iter().filter(|(_, flags)| **flags != 0).map(|(device, _)| *device);
    let Some(first) = allowed.clone().find(|device| *device == own).or_else(|| allowed.next()) else { return Ok(()) };
    abi::register(&device(first)?.memory, address, mapping.bytes)?;
    memory::enter_on(context, first, (address, mapping.bytes), Origin::Mapped, 0)?;
    for other in allowed.filter(|device| *device != first) {
        let memory = &device(other)?.memory;
        if memory.lookup(address).is_none() {
            abi::register(memory, address, mapping.bytes)?;
        }
    }
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAccess(out: Out<u64>, location: In<MemLocation>, address: u64) -> CuResult {
    call("cuMemGetAccess", || {
        let location = location.get()?;
        device(location.id)?;
        let ranges = lock(&RANGES);
        let found = ranges.mapped.range(..=address).next_back();
        let (_, mapping) = found.filter(|(at, mapping)| address - **at < mapping.bytes).ok_or(Code::InvalidValue)?;
        out.set(mapping.access.get(&location.id).copied().unwrap_or(0).into())
    })
}
