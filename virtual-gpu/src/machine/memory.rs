//! One device's global address space.

use super::fault::{Fault, FaultKind};
use crate::model::DeviceModel;

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

/// One device's global address space. Addresses are host addresses: pinned and managed memory can be touched by the
/// host directly.
pub struct Memory {}

impl Memory {
    /// An empty address space for a device.
    pub fn new(_model: &DeviceModel) -> Self {
        Memory {}
    }

    /// Allocates `bytes` (not zero), aligned to 256 and no more; the contents are uninitialised.
    pub fn alloc(&self, bytes: u64, _kind: AllocationKind) -> Result<u64, MemoryError> {
        Err(MemoryError::OutOfMemory { requested: bytes, free: 0 })
    }

    /// Makes host memory that belongs to the caller addressable (`cuMemHostRegister`): treated as initialised.
    ///
    /// # Safety
    /// `[host, host + bytes)` must stay valid for reads and writes until `free`.
    pub unsafe fn register(&self, _host: u64, bytes: u64) -> Result<(), MemoryError> {
        Err(MemoryError::OutOfMemory { requested: bytes, free: 0 })
    }

    /// Frees an allocation by its first address. The address is never handed out again while quarantine has room.
    pub fn free(&self, address: u64) -> Result<(), MemoryError> {
        Err(MemoryError::NotAllocated(format!("{address:#x} is not allocated")))
    }

    /// The live allocation that holds `address`.
    pub fn lookup(&self, _address: u64) -> Option<AllocationInfo> {
        None
    }

    /// Copies device bytes to the host. Uninitialised bytes are a fault when `check_uninitialised` is set.
    pub fn read(&self, address: u64, _out: &mut [u8], _check_uninitialised: bool) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::IllegalAddress, format!("{address:#x} is not allocated")))
    }

    /// Copies host bytes to the device.
    pub fn write(&self, address: u64, _data: &[u8]) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::IllegalAddress, format!("{address:#x} is not allocated")))
    }

    /// Fills `count` elements of `width` bytes (1, 2 or 4) with `value`.
    pub fn fill(&self, address: u64, _value: u32, _width: usize, _count: u64) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::IllegalAddress, format!("{address:#x} is not allocated")))
    }

    /// Copies within the device, with the initialised state of each byte.
    pub fn copy(&self, dst: u64, _src: u64, _bytes: u64) -> Result<(), Fault> {
        Err(Fault::new(FaultKind::IllegalAddress, format!("{dst:#x} is not allocated")))
    }

    /// Declares a range initialised (the host wrote through a pinned or managed pointer).
    pub fn mark_initialised(&self, _address: u64, _bytes: u64) {}

    /// Bytes allocated now, modules and heap included.
    pub fn used(&self) -> u64 {
        0
    }

    /// Live allocations of kinds that a program must free itself (device, pinned, managed).
    pub fn leaks(&self) -> Vec<AllocationInfo> {
        Vec::new()
    }
}
