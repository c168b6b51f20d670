//! One device's global address space.
//!
//! All allocations lie in one reservation of virtual memory, so that what belongs to an address (its allocation, its
//! initialised bits, its race shadow) is found by arithmetic. Addresses are the host's own addresses: pinned and managed memory
//! can be touched by the host. A freed address comes back only when the reservation has been used up once.

use super::fault::{Fault, FaultKind};
use super::shadow::Reservation;
use crate::model::DeviceModel;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What an allocation is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AllocationKind {
    /// `cuMemAlloc` and its relatives.
    Device,
    /// Page-locked host memory, also addressable by the device.
    Pinned,
    /// Managed memory.
    Managed,
    /// A global or constant of a module.
    Module,
    /// The device heap (`malloc` in a kernel).
    Heap,
}

/// An allocation found by address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct AllocationInfo {
    /// First address.
    pub base: u64,
    /// Bytes.
    pub size: u64,
    /// What it is.
    pub kind: AllocationKind,
}

/// Why a memory call was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MemoryError {
    /// No room: `requested` bytes, `free` left.
    OutOfMemory {
        /// Bytes asked for.
        requested: u64,
        /// Bytes left.
        free: u64,
    },
    /// The address is not the start of a live allocation; the text says what it is.
    NotAllocated(String),
    /// An argument that makes no sense (size zero).
    Invalid(String),
}

impl std::fmt::Display for MemoryError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            MemoryError::OutOfMemory { requested, free } => {
                write!(f, "out of device memory: {requested} bytes requested, {free} free")
            }
            MemoryError::NotAllocated(text) | MemoryError::Invalid(text) => f.write_str(text),
        }
    }
}

impl std::error::Error for MemoryError {}

/// Addresses are handed out at odd multiples of this: aligned to 256 and to no more.
const GRANULE: u64 = 256;
/// Largest reservation tried, and smallest taken.
const LARGEST: u64 = 1 << 39;
const SMALLEST: u64 = 1 << 30;

#[derive(Debug, Clone)]
struct Allocation {
    base: u64,
    size: u64,
    kind: AllocationKind,
    live: bool,
    /// Holds a `.const` variable.
    constant: bool,
    name: Option<String>,
}

#[derive(Default)]
struct State {
    /// Slot 0 is never used: the granule table holds 0 where nothing is.
    allocations: Vec<Allocation>,
    next: u64,
    quarantine: VecDeque<(u64, u64)>,
    registered: Vec<AllocationInfo>,
    used: u64,
}

/// The last allocation an instruction touched.
#[derive(Debug, Clone, Copy, Default)]
pub struct RangeCache {
    /// First address.
    pub base: u64,
    /// One past the last address.
    pub end: u64,
}

/// One device's global address space. Addresses are host addresses: pinned and managed memory can be touched by the
/// host directly.
pub struct Memory {
    data: Reservation,
    /// One bit per byte: written since it was allocated.
    init: Reservation,
    /// Allocation number per granule.
    granules: Reservation,
    /// Shadow cells, 8 bytes per 4 bytes of data: of writes, of reads, and 64 bytes for single bytes.
    cells: [Reservation; 3],
    /// The L2 cache in front of it.
    pub(super) l2: super::l2::L2,
    /// Launches as the race check tells them apart.
    pub(super) launches: super::streams::Launches,
    state: Mutex<State>,
    generation: AtomicU64,
    capacity: u64,
    /// Serialises 128-bit atomics.
    pub(super) wide_lock: Mutex<()>,
}

impl Memory {
    /// An empty address space for a device.
    pub fn new(model: &DeviceModel) -> Self {
        let mut size = LARGEST;
        let (data, init, granules, cells) = loop {
            let cells = [size * 2, size * 2, size * 16].map(Reservation::new);
            let parts = (Reservation::new(size), Reservation::new(size / 8), Reservation::new(size / GRANULE * 4));
            if let ((Some(data), Some(init), Some(granules)), [Some(w), Some(r), Some(b)]) = (parts, cells) {
                break (data, init, granules, [w, r, b]);
            }
            if size <= SMALLEST {
                // Not even a gigabyte of address space: every allocation fails from here on.
                let none = Reservation::none;
                break (none(), none(), none(), [none(), none(), none()]);
            }
            size /= 2;
        };
        let first = data.base.next_multiple_of(2 * GRANULE) + GRANULE;
        let dummy =
            Allocation { base: 0, size: 0, kind: AllocationKind::Device, live: false, constant: false, name: None };
        let state = State { allocations: vec![dummy], next: first, ..State::default() };
        Memory {
            data,
            init,
            granules,
            cells,
            state: Mutex::new(state),
            generation: AtomicU64::new(1),
            capacity: model.memory_bytes,
            wide_lock: Mutex::new(()),
            l2: super::l2::L2::new(model.l2_bytes),
            launches: Default::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts frees: what was looked up before is stale when it changes.
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    /// Whether an address lies in the reservation (live or not).
    #[inline(always)]
    pub fn reserved(&self, address: u64) -> bool {
        address.wrapping_sub(self.data.base) < self.data.len
    }

    fn granule(&self, address: u64) -> &AtomicU32 {
        let index = (address - self.data.base) / GRANULE;
        // SAFETY: the table has an aligned, zero-initialised u32 for every granule of the reservation and lives as
        // long as self; callers pass reserved addresses.
        unsafe { AtomicU32::from_ptr(self.granules.pointer(self.granules.base + index * 4).cast()) }
    }

    /// The shadow cells of the word that holds a reserved address: of writes, of reads, of bytes.
    #[inline(always)]
    pub(super) fn cells(&self, address: u64) -> [*mut u64; 3] {
        let index = (address - self.data.base) / 4;
        let [writes, reads, bytes] = &self.cells;
        let at = |r: &Reservation, size: u64| r.pointer(r.base + index * size).cast();
        [at(writes, 8), at(reads, 8), at(bytes, 64)]
    }

    /// Makes all shadow cells look untouched.
    pub(super) fn clear_cells(&self) {
        self.cells.iter().for_each(|r| r.discard(r.base, r.len));
    }

    /// Allocates `bytes` (not zero), aligned to 256 and no more; the contents are uninitialised.
    pub fn alloc(&self, bytes: u64, kind: AllocationKind) -> Result<u64, MemoryError> {
        self.alloc_named(bytes, kind, None, false)
    }

    /// As `alloc`, with a name for reports.
    pub(super) fn alloc_named(
        &self,
        bytes: u64,
        kind: AllocationKind,
        name: Option<String>,
        constant: bool,
    ) -> Result<u64, MemoryError> {
        if bytes == 0 {
            return Err(MemoryError::Invalid("an allocation of zero bytes".into()));
        }
        let mut state = self.state();
        let free = self.capacity.saturating_sub(state.used);
        let refused = MemoryError::OutOfMemory { requested: bytes, free };
        if bytes > free {
            return Err(refused);
        }
        // At least one granule stays empty behind each allocation, and starts are odd multiples of 256.
        let span = bytes.next_multiple_of(2 * GRANULE) + 2 * GRANULE;
        let base = if state.next + span <= self.data.base + self.data.len {
            state.next += span;
            state.next - span
        } else {
            let Some(k) = state.quarantine.iter().position(|(_, s)| *s >= span) else { return Err(refused) };
            let (base, s) = state.quarantine[k];
            if s > span {
                state.quarantine[k] = (base + span, s - span);
            } else {
                state.quarantine.remove(k);
            }
            base
        };
        let record = Allocation { base, size: bytes, kind, live: true, constant, name };
        state.allocations.push(record);
        let number = state.allocations.len() as u32 - 1;
        state.used += bytes;
        for g in (base..base + bytes).step_by(GRANULE as usize) {
            self.granule(g).store(number, Ordering::Release);
        }
        drop(state);
        match kind {
            // The host may write these at any time without the device seeing it.
            AllocationKind::Pinned | AllocationKind::Managed => self.mark_initialised(base, bytes),
            _ => self.mark_uninitialised(base, bytes),
        }
        Ok(base)
    }

    /// Makes host memory that belongs to the caller addressable (`cuMemHostRegister`): treated as initialised.
    ///
    /// # Safety
    /// `[host, host + bytes)` must stay valid for reads and writes until `free`.
    pub unsafe fn register(&self, host: u64, bytes: u64) -> Result<(), MemoryError> {
        if host == 0 || bytes == 0 || host.checked_add(bytes).is_none() {
            return Err(MemoryError::Invalid("host memory to register has no bytes".into()));
        }
        let mut state = self.state();
        if state.registered.iter().any(|r| host < r.base + r.size && r.base < host + bytes) {
            return Err(MemoryError::Invalid(format!("host memory at {host:#x} is registered already")));
        }
        state.registered.push(AllocationInfo { base: host, size: bytes, kind: AllocationKind::Pinned });
        Ok(())
    }

    /// Frees an allocation by its first address. The address is not handed out again while there are fresh ones.
    pub fn free(&self, address: u64) -> Result<(), MemoryError> {
        let mut state = self.state();
        if let Some(k) = state.registered.iter().position(|r| r.base == address) {
            state.registered.remove(k);
            self.generation.fetch_add(1, Ordering::AcqRel);
            return Ok(());
        }
        let number = if self.reserved(address) { self.granule(address).load(Ordering::Acquire) } else { 0 };
        let Some(a) = state.allocations.get_mut(number as usize).filter(|a| number != 0 && a.base == address) else {
            drop(state);
            return Err(MemoryError::NotAllocated(format!(
                "{address:#x} is not the start of an allocation: {}",
                self.describe(address)
            )));
        };
        if !a.live {
            return Err(MemoryError::NotAllocated(format!(
                "{address:#x} was freed already (double free of {} bytes)",
                a.size
            )));
        }
        a.live = false;
        let (base, size) = (a.base, a.size);
        state.used -= size;
        let span = size.next_multiple_of(2 * GRANULE) + 2 * GRANULE;
        state.quarantine.push_back((base, span));
        self.generation.fetch_add(1, Ordering::AcqRel);
        drop(state);
        self.data.discard(base, size);
        let offset = base - self.data.base;
        for (cells, times) in self.cells.iter().zip([2, 2, 16]) {
            cells.discard(cells.base + offset * times, size * times);
        }
        Ok(())
    }

    fn find(&self, address: u64) -> Option<Allocation> {
        let state = self.state();
        if self.reserved(address) {
            let number = self.granule(address).load(Ordering::Acquire);
            let a = state.allocations.get(number as usize).filter(|_| number != 0)?;
            return (a.live && address - a.base < a.size).then(|| a.clone());
        }
        let r = state.registered.iter().find(|r| address.wrapping_sub(r.base) < r.size)?;
        Some(Allocation { base: r.base, size: r.size, kind: r.kind, live: true, constant: false, name: None })
    }

    /// Range of the live allocation that holds `address`.
    pub(super) fn range(&self, address: u64) -> Option<RangeCache> {
        let state = self.state();
        if self.reserved(address) {
            let number = self.granule(address).load(Ordering::Acquire);
            let a = state.allocations.get(number as usize).filter(|_| number != 0)?;
            return (a.live && address - a.base < a.size).then(|| RangeCache { base: a.base, end: a.base + a.size });
        }
        let r = state.registered.iter().find(|r| address.wrapping_sub(r.base) < r.size)?;
        Some(RangeCache { base: r.base, end: r.base + r.size })
    }

    /// Whether the address lies in a `.const` variable.
    pub(super) fn is_constant(&self, address: u64) -> bool {
        self.find(address).is_some_and(|a| a.constant)
    }

    /// The live allocation that holds `address`.
    pub fn lookup(&self, address: u64) -> Option<AllocationInfo> {
        self.find(address).map(|a| AllocationInfo { base: a.base, size: a.size, kind: a.kind })
    }

    /// What is at or near an address, for reports.
    pub(super) fn describe(&self, address: u64) -> String {
        let state = self.state();
        let text = |a: &Allocation| {
            let what = match (a.kind, &a.name) {
                (_, Some(name)) => format!("the variable '{name}'"),
                (AllocationKind::Device, _) => "device memory".into(),
                (AllocationKind::Pinned, _) => "pinned memory".into(),
                (AllocationKind::Managed, _) => "managed memory".into(),
                (AllocationKind::Module, _) => "a module variable".into(),
                (AllocationKind::Heap, _) => "heap memory".into(),
            };
            format!("{what} [{:#x}, {:#x}), {} bytes", a.base, a.base + a.size, a.size)
        };
        if address < 1 << 16 {
            return "a null pointer plus an offset".into();
        }
        if let Some(r) = state.registered.iter().find(|r| address.wrapping_sub(r.base) < r.size) {
            return format!("registered host memory [{:#x}, {:#x})", r.base, r.base + r.size);
        }
        if !self.reserved(address) {
            return "not an address of this device".into();
        }
        if let Some(a) = state.allocations.iter().skip(1).find(|a| address.wrapping_sub(a.base) < a.size) {
            let freed = if a.live { "" } else { ", freed: use after free" };
            return format!("{} bytes into {}{freed}", address - a.base, text(a));
        }
        let before = state.allocations.iter().skip(1).filter(|a| a.base <= address).max_by_key(|a| a.base);
        let after = state.allocations.iter().skip(1).filter(|a| a.base > address).min_by_key(|a| a.base);
        let freed = |a: &Allocation| if a.live { "" } else { " (freed)" };
        match (before, after) {
            (Some(a), Some(b)) if b.base - address < address - (a.base + a.size) => {
                format!("{} bytes before {}{}", b.base - address, text(b), freed(b))
            }
            (Some(a), _) => {
                format!("{} bytes past the end of {}{}", address - (a.base + a.size), text(a), freed(a))
            }
            (None, Some(b)) => format!("{} bytes before {}{}", b.base - address, text(b), freed(b)),
            (None, None) => "there are no allocations".into(),
        }
    }

    /// A pointer to an address that a lookup found.
    #[inline(always)]
    pub(super) fn pointer(&self, address: u64) -> *mut u8 {
        // Exposed when it was reserved, or by the caller of `register`.
        std::ptr::with_exposed_provenance_mut(address as usize)
    }

    fn span(&self, address: u64, bytes: u64, what: &str) -> Result<(), Fault> {
        if bytes == 0 {
            return Ok(());
        }
        let found = self.range(address);
        if found.is_some_and(|r| bytes <= r.end - address) {
            return Ok(());
        }
        let at = found.map_or(address, |r| r.end);
        Err(Fault::new(
            FaultKind::IllegalAddress,
            format!("{what} of {bytes} bytes at {address:#x} leaves its allocation: {at:#x} is {}", self.describe(at)),
        ))
    }

    /// Copies device bytes to the host. Uninitialised bytes are a fault when `check_uninitialised` is set.
    pub fn read(&self, address: u64, out: &mut [u8], check_uninitialised: bool) -> Result<(), Fault> {
        let bytes = out.len() as u64;
        self.span(address, bytes, "a host read")?;
        if check_uninitialised && let Some(first) = self.first_uninitialised(address, bytes) {
            return Err(Fault::checked(
                FaultKind::LaunchFailed,
                "uninitialised",
                format!(
                    "a host read of {bytes} bytes at {address:#x} reads uninitialised memory: byte {} ({first:#x}) was \
                     never written; it is {}",
                    first - address,
                    self.describe(first)
                ),
            ));
        }
        // SAFETY: the span lies in one live allocation.
        unsafe { std::ptr::copy_nonoverlapping(self.pointer(address), out.as_mut_ptr(), out.len()) }
        Ok(())
    }

    /// Copies host bytes to the device.
    pub fn write(&self, address: u64, data: &[u8]) -> Result<(), Fault> {
        let bytes = data.len() as u64;
        self.span(address, bytes, "a host write")?;
        // SAFETY: the span lies in one live allocation.
        unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), self.pointer(address), data.len()) }
        self.mark_initialised(address, bytes);
        Ok(())
    }

    /// Fills `count` elements of `width` bytes (1, 2 or 4) with `value`.
    pub fn fill(&self, address: u64, value: u32, width: usize, count: u64) -> Result<(), Fault> {
        let Some(bytes) = count.checked_mul(width as u64).filter(|_| matches!(width, 1 | 2 | 4)) else {
            return Err(Fault::new(FaultKind::InvalidValue, "a fill takes elements of 1, 2 or 4 bytes"));
        };
        if !address.is_multiple_of(width as u64) {
            return Err(Fault::new(
                FaultKind::InvalidValue,
                format!("a fill of {width}-byte elements at {address:#x}"),
            ));
        }
        self.span(address, bytes, "a fill")?;
        let p = self.pointer(address);
        // SAFETY: the span lies in one live allocation and is aligned to the element.
        unsafe {
            match width {
                1 => std::ptr::write_bytes(p, value as u8, count as usize),
                2 => (0..count as usize).for_each(|k| p.cast::<u16>().add(k).write(value as u16)),
                _ => (0..count as usize).for_each(|k| p.cast::<u32>().add(k).write(value)),
            }
        }
        self.mark_initialised(address, bytes);
        Ok(())
    }

    /// Copies within the device, with the initialised state of each byte.
    pub fn copy(&self, dst: u64, src: u64, bytes: u64) -> Result<(), Fault> {
        self.span(src, bytes, "a device copy from")?;
        self.span(dst, bytes, "a device copy to")?;
        // SAFETY: both spans lie in live allocations; they may overlap.
        unsafe { std::ptr::copy(self.pointer(src), self.pointer(dst), bytes as usize) }
        match self.first_uninitialised(src, bytes) {
            None => self.mark_initialised(dst, bytes),
            Some(_) => {
                for k in 0..bytes {
                    self.set_init(dst + k, self.get_init(src + k));
                }
            }
        }
        Ok(())
    }

    fn init_byte(&self, address: u64) -> (&AtomicU8, u8) {
        let offset = address - self.data.base;
        // SAFETY: one bit for every byte of the reservation; callers pass reserved addresses.
        let byte = unsafe { AtomicU8::from_ptr(self.init.pointer(self.init.base + offset / 8)) };
        (byte, 1 << (offset % 8))
    }

    fn get_init(&self, address: u64) -> bool {
        !self.reserved(address) || {
            let (byte, bit) = self.init_byte(address);
            byte.load(Ordering::Relaxed) & bit != 0
        }
    }

    fn set_init(&self, address: u64, value: bool) {
        if self.reserved(address) {
            let (byte, bit) = self.init_byte(address);
            if value {
                byte.fetch_or(bit, Ordering::Relaxed);
            } else {
                byte.fetch_and(!bit, Ordering::Relaxed);
            }
        }
    }

    /// Whether all of a small span (at most 64 bytes) is initialised.
    #[inline(always)]
    pub(super) fn initialised(&self, address: u64, bytes: u64) -> bool {
        if !self.reserved(address) {
            return true;
        }
        let offset = address - self.data.base;
        let p = self.init.pointer(self.init.base + offset / 8).cast_const();
        // SAFETY: the reservation of bits is padded so that nine bytes behind any bit can be read.
        let (low, high) = unsafe { (p.cast::<u64>().read_unaligned(), p.add(8).read()) };
        let bits = u128::from(low) | u128::from(high) << 64;
        let want = if bytes >= 64 { u64::MAX } else { (1 << bytes) - 1 };
        (bits >> (offset % 8)) as u64 & want == want
    }

    /// Marks a small or large span initialised; bits of neighbours are left alone.
    #[inline(always)]
    pub(super) fn mark_written(&self, address: u64, bytes: u64) {
        if bytes <= 64 && self.initialised(address, bytes) {
            return;
        }
        self.mark_initialised(address, bytes);
    }

    /// The first byte of a span that was never written.
    pub fn first_uninitialised(&self, address: u64, bytes: u64) -> Option<u64> {
        if !self.reserved(address) {
            return None;
        }
        let mut at = address;
        let end = address + bytes;
        while at < end {
            let n = (end - at).min(64);
            if !self.initialised(at, n) {
                return (at..at + n).find(|a| !self.get_init(*a));
            }
            at += n;
        }
        None
    }

    /// Declares a range initialised (the host wrote through a pinned or managed pointer).
    pub fn mark_initialised(&self, address: u64, bytes: u64) {
        self.set_bits(address, bytes, true);
    }

    /// Declares a range uninitialised.
    pub(super) fn mark_uninitialised(&self, address: u64, bytes: u64) {
        self.set_bits(address, bytes, false);
    }

    fn set_bits(&self, address: u64, bytes: u64, value: bool) {
        if !self.reserved(address) {
            return;
        }
        let end = address + bytes;
        let (first, last) = (address.next_multiple_of(8).min(end), (end / 8 * 8).max(address));
        let edge = |from: u64, to: u64| {
            // The bits of one byte at most: one atomic update.
            if from < to {
                let (byte, bit) = self.init_byte(from);
                let bits = (((1u32 << (to - from)) - 1) * u32::from(bit)) as u8;
                if value {
                    byte.fetch_or(bits, Ordering::Relaxed);
                } else {
                    byte.fetch_and(!bits, Ordering::Relaxed);
                }
            }
        };
        if first >= last {
            if first > address && first < end {
                edge(address, first);
                edge(first, end);
            } else {
                edge(address, end);
            }
            return;
        }
        edge(address, first);
        let from = self.init.base + (first - self.data.base) / 8;
        // SAFETY: whole bytes of bits that belong to the span alone.
        unsafe {
            let p = self.init.pointer(from);
            let fill = if value { 0xff } else { 0 };
            std::ptr::write_bytes(p, fill, ((last - first) / 8) as usize);
        }
        edge(last, end);
    }

    /// Bytes allocated now, modules and heap included.
    pub fn used(&self) -> u64 {
        self.state().used
    }

    /// Live allocations of kinds that a program must free itself (device, pinned, managed).
    pub fn leaks(&self) -> Vec<AllocationInfo> {
        use AllocationKind::{Device, Managed, Pinned};
        let state = self.state();
        state
            .allocations
            .iter()
            .filter(|a| a.live && matches!(a.kind, Device | Pinned | Managed))
            .map(|a| AllocationInfo { base: a.base, size: a.size, kind: a.kind })
            .collect()
    }
}
