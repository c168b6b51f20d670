//! Allocations: who made them, where they are, and the entry points that make, free and describe them.

use super::abi::{CuResult, Handle, Out};
use super::call;
use super::capture;
use super::context::{Context, current};
use super::error::{Code, Error, Res};
use super::pool::POOLS;
use super::state::{Device, device, driver};
use super::table::lock;
use super::{inject, peer};
use crate::machine::AllocationKind;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How an allocation came to be, which decides how it is freed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// `cuMemAlloc`, `cuMemAllocPitch`
    Plain,
    /// `cuMemAllocAsync`, with the pool.
    Pool(Handle),
    /// A node of a graph, whose end frees it.
    Graph,
    /// `cuMemAllocManaged`
    Managed,
    /// `cuMemHostAlloc`
    Pinned,
    /// `cuMemHostRegister`: memory of the program.
    Registered,
    /// `cuMemMap`: physical memory at a reserved address.
    Mapped,
}

impl Origin {
    /// Host memory that a device can address.
    pub fn is_host(self) -> bool {
        matches!(self, Origin::Pinned | Origin::Registered)
    }
}

/// An allocation.
#[derive(Debug, Clone, Copy)]
pub struct Allocation {
    pub address: u64,
    pub bytes: u64,
    pub origin: Origin,
    pub context: Handle,
    pub device: i32,
    pub id: u64,
    pub flags: u32,
    /// The free that a stream has been given has not run yet.
    pub freeing: bool,
}

static ALLOCATIONS: Mutex<BTreeMap<u64, Allocation>> = Mutex::new(BTreeMap::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// Takes memory of the context's device and enters it.
pub fn allocate(context: &Context, bytes: usize, origin: Origin, flags: u32) -> Res<u64> {
    if bytes == 0 {
        return Err(Error::invalid("an allocation of 0 bytes"));
    }
    inject::allocation()?;
    let kind = match origin {
        Origin::Plain | Origin::Pool(_) | Origin::Graph | Origin::Mapped => AllocationKind::Device,
        Origin::Managed => AllocationKind::Managed,
        Origin::Pinned | Origin::Registered => AllocationKind::Pinned,
    };
    let address = context.device.memory.alloc(bytes as u64, kind)?;
    if matches!(origin, Origin::Pinned | Origin::Managed) {
        // The host writes here without telling anybody.
        context.device.memory.mark_initialised(address, bytes as u64);
    }
    enter(context, address, bytes as u64, origin, flags)?;
    Ok(address)
}

/// Enters memory that the context's device knows already, and shows it to the devices that may touch it.
pub fn enter(context: &Context, address: u64, bytes: u64, origin: Origin, flags: u32) -> Res {
    enter_on(context, context.device.ordinal, (address, bytes), origin, flags)
}

/// As [`enter`], for memory of another device than the context's.
pub fn enter_on(context: &Context, device: i32, range: (u64, u64), origin: Origin, flags: u32) -> Res {
    let (address, bytes) = range;
    let allocation = Allocation {
        address,
        bytes,
        origin,
        context: context.handle,
        device,
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        flags,
        freeing: false,
    };
    lock(&ALLOCATIONS).insert(address, allocation);
    peer::show(&allocation)
}

/// Gives an allocation back to its device.
pub fn release(allocation: &Allocation) -> Res {
    lock(&ALLOCATIONS).remove(&allocation.address);
    if let Origin::Pool(pool) = allocation.origin
        && let Some(pool) = POOLS.get(pool)
    {
        pool.took_back(allocation.bytes);
    }
    peer::hide(allocation);
    Ok(device(allocation.device)?.memory.free(allocation.address)?)
}

/// The allocation whose bytes hold `address`.
pub fn allocation_at(address: u64) -> Option<Allocation> {
    let allocations = lock(&ALLOCATIONS);
    let (_, allocation) = allocations.range(..=address).next_back()?;
    (address - allocation.address < allocation.bytes).then_some(*allocation)
}

/// The allocation that starts at `address`.
pub fn allocation_from(address: u64) -> Option<Allocation> {
    lock(&ALLOCATIONS).get(&address).copied()
}

/// All live allocations, by address.
pub fn all() -> Vec<Allocation> {
    lock(&ALLOCATIONS).values().copied().collect()
}

/// Whether `address` lies in page-locked host memory.
pub fn is_pinned(address: u64) -> bool {
    allocation_at(address).is_some_and(|allocation| allocation.origin.is_host())
}

/// The device in whose memory `address` lies; `None` for the host's, page-locked included.
pub fn locate(address: u64) -> Option<&'static Arc<Device>> {
    if let Some(allocation) = allocation_at(address) {
        return if allocation.origin.is_host() { None } else { device(allocation.device).ok() };
    }
    // Variables of modules and the device heap are known to the machine alone.
    let devices = &driver().ok()?.devices;
    devices.iter().find(|device| {
        let found = device.memory.lookup(address);
        found.is_some_and(|found| matches!(found.kind, AllocationKind::Module | AllocationKind::Heap))
    })
}

/// Frees everything that a context left.
pub fn forget(context: &Context) {
    for allocation in all() {
        if allocation.context == context.handle {
            // The context is gone: there is nobody to tell.
            let _ = release(&allocation);
        }
    }
}

/// `cuMemFreeAsync` at its place in the stream.
pub fn free_in_order(address: u64) -> Res {
    match allocation_from(address) {
        Some(allocation) if allocation.origin == Origin::Graph => Ok(()),
        Some(allocation) => release(&allocation),
        None => Err(Error::invalid(format!("{address:#x} is not allocated any more where its free comes to run"))),
    }
}

/// An allocation node at its place: the bytes are there since the node was made.
pub fn graph_alloc(address: u64, bytes: usize) -> Res {
    match allocation_from(address) {
        Some(allocation) if allocation.bytes == bytes as u64 => Ok(()),
        _ => Err(Error::invalid(format!("the memory of a graph at {address:#x} was freed outside the graph"))),
    }
}

/// Marks the allocation as given to a stream to be freed; an error where that is not allowed.
pub fn begin_free(address: u64) -> Res<Allocation> {
    let mut allocations = lock(&ALLOCATIONS);
    let found = allocations.get_mut(&address);
    let allocation = found.ok_or_else(|| Error::invalid(format!("{address:#x} is not the start of an allocation")))?;
    match allocation.origin {
        _ if allocation.freeing => Err(Error::invalid(format!("{address:#x} is freed twice"))),
        Origin::Pool(_) => {
            allocation.freeing = true;
            Ok(*allocation)
        }
        Origin::Graph => Ok(*allocation),
        _ => Err(Error::invalid(format!("{address:#x} was not allocated by cuMemAllocAsync"))),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuMemAlloc_v2(out: Out<u64>, bytes: usize) -> CuResult {
    call("cuMemAlloc", || {
        out.check()?;
        let context = current()?;
        capture::forbid_unsafe()?;
        out.set(allocate(&context, bytes, Origin::Plain, 0)?)
    })
}

/// Rows of pitched memory start at multiples of this, as textures want.
const PITCH: usize = 512;

#[unsafe(no_mangle)]
extern "C" fn cuMemAllocPitch_v2(
    out: Out<u64>,
    pitch_out: Out<usize>,
    width: usize,
    height: usize,
    element: u32,
) -> CuResult {
    call("cuMemAllocPitch", || {
        out.check()?;
        pitch_out.check()?;
        let context = current()?;
        capture::forbid_unsafe()?;
        if !matches!(element, 4 | 8 | 16) {
            return Err(Error::invalid(format!("elements of pitched memory have 4, 8 or 16 bytes, not {element}")));
        }
        let pitch = width.checked_next_multiple_of(PITCH).ok_or(Code::InvalidValue)?;
        let bytes = pitch.checked_mul(height).ok_or(Code::OutOfMemory)?;
        out.set(allocate(&context, bytes, Origin::Plain, 0)?)?;
        pitch_out.set(pitch)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemFree_v2(address: u64) -> CuResult {
    call("cuMemFree", || {
        let context = current()?;
        if address == 0 {
            return Ok(());
        }
        capture::forbid_unsafe()?;
        // The real call waits for the device as well.
        context.synchronise()?;
        match allocation_from(address) {
            Some(allocation) if matches!(allocation.origin, Origin::Plain | Origin::Managed | Origin::Pool(_)) => {
                if allocation.freeing {
                    return Err(Error::invalid(format!("{address:#x} is freed twice")));
                }
                release(&allocation)
            }
            Some(allocation) if allocation.origin == Origin::Graph => Ok(()),
            Some(_) => Err(Error::invalid(format!("{address:#x} is host memory: cuMemFreeHost frees it"))),
            // The machine says what the address is: inside an allocation, freed before, or nothing.
            None => match context.device.memory.lookup(address) {
                Some(_) => {
                    Err(Error::invalid(format!("{address:#x} is not the start of an allocation of the program")))
                }
                None => Ok(context.device.memory.free(address)?),
            },
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetInfo_v2(free: Out<usize>, total: Out<usize>) -> CuResult {
    call("cuMemGetInfo", || {
        let context = current()?;
        let bytes = context.device.model.memory_bytes;
        free.set_if_wanted(bytes.saturating_sub(context.device.memory.used()) as usize)?;
        total.set_if_wanted(bytes as usize)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuMemGetAddressRange_v2(base: Out<u64>, size: Out<usize>, address: u64) -> CuResult {
    call("cuMemGetAddressRange", || {
        let context = current()?;
        let found = match allocation_at(address) {
            Some(allocation) => (allocation.address, allocation.bytes),
            None => {
                context.device.memory.lookup(address).map(|found| (found.base, found.size)).ok_or(Code::NotFound)?
            }
        };
        base.set_if_wanted(found.0)?;
        size.set_if_wanted(found.1 as usize)
    })
}
