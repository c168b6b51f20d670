//! Device memory and copies.

use super::CudaDevice;
use super::arena::Arena;
use super::argument::{DevicePtr, DevicePtrMut};
use super::{graph, staging};
use crate::{Element, Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::CUresult;
use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A run of bytes in a CUDA device's memory; freed in stream order, after all work that was given before.
#[derive(Debug)]
pub struct CudaMemory {
    device: CudaDevice,
    /// 0 where there are no bytes.
    address: u64,
    bytes: usize,
    origin: Origin,
}

/// Where memory comes from and goes back to.
#[derive(Debug)]
enum Origin {
    /// The driver, at a time as graphs count it.
    Driver(u64),
    /// A graph's arena.
    Arena(Arc<Arena>),
}

const FROM_HOST: &str = "a captured step would copy the same values from the host at every launch: make them an input of \
    the step, or make the tensor before the step is captured";
const TO_HOST: &str = "captured work has no values before the graph is launched: return the tensor from the step, and \
    read it after the launch";

impl CudaMemory {
    /// Fresh memory with arbitrary contents, aligned to at least 256 bytes.
    ///
    /// # Errors
    /// [`Error::OutOfMemory`] where the device has not that much left.
    pub fn uninit(device: &CudaDevice, bytes: usize) -> Result<Self> {
        if let Some(capture) = graph::capturing().filter(|_| bytes > 0) {
            device.bind("allocation")?;
            let (address, arena) = (capture.arena.take(device, bytes)?, capture.arena.clone());
            return Ok(CudaMemory { device: device.clone(), address, bytes, origin: Origin::Arena(arena) });
        }
        Self::of_driver(device, bytes)
    }

    /// The same from the driver also on a thread that captures: memory that outlives the capture's own.
    pub(super) fn of_driver(device: &CudaDevice, bytes: usize) -> Result<Self> {
        let origin = Origin::Driver(device.graphs().now());
        let mut memory = CudaMemory { device: device.clone(), address: 0, bytes, origin };
        if bytes == 0 {
            return Ok(memory);
        }
        device.bind("allocation")?;
        memory.address = allocate(device, bytes).map_err(|error| no_room(device, bytes, error))?;
        device.held().fetch_add(bytes, Ordering::Relaxed);
        Ok(memory)
    }

    pub(super) fn address(&self) -> u64 {
        self.address
    }

    /// Fresh memory of zero bytes.
    pub fn zeros(device: &CudaDevice, bytes: usize) -> Result<Self> {
        let memory = Self::uninit(device, bytes)?;
        if bytes > 0 {
            // SAFETY: the memory has `bytes` bytes, and the context was made current by the allocation.
            unsafe { result::memset_d8_async(memory.address, 0, bytes, device.stream()) }
                .map_err(|error| device.failed("zeros", error))?;
        }
        Ok(memory)
    }

    /// The device that owns the memory.
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Its size in bytes.
    pub fn len(&self) -> usize {
        self.bytes
    }

    /// Whether there are no bytes.
    pub fn is_empty(&self) -> bool {
        self.bytes == 0
    }

    /// Copies host values to the start of the memory.
    pub fn copy_from_host<T: Element>(&mut self, values: &[T]) -> Result<()> {
        self.fits::<T>("copy from host", 0, values.len())?;
        if values.is_empty() {
            return Ok(());
        }
        self.device.not_captured("copy from host", FROM_HOST)?;
        self.place(values)
    }

    /// The same also on a thread that captures, where it is done at once and not recorded.
    pub(super) fn place<T: Element>(&self, values: &[T]) -> Result<()> {
        self.fits::<T>("copy from host", 0, values.len())?;
        self.device.bind("copy from host")?;
        // SAFETY: elements are plain numbers without padding, so their bytes are initialised.
        let bytes = unsafe { std::slice::from_raw_parts(values.as_ptr().cast(), size_of_val(values)) };
        // SAFETY: the memory has room for the values (checked above).
        unsafe { staging::upload(&self.device, self.address, bytes) }
            .map_err(|error| self.device.failed("copy from host", error))
    }

    /// Copies the first `len` elements to the host, after all work that writes them.
    pub fn copy_to_host<T: Element>(&self, len: usize) -> Result<Vec<T>> {
        self.copy_range_to_host(0, len)
    }

    /// Copies `len` elements from element `offset` on to the host, after all work that writes them.
    pub fn copy_range_to_host<T: Element>(&self, offset: usize, len: usize) -> Result<Vec<T>> {
        self.fits::<T>("copy to host", offset, len)?;
        let mut values = vec![T::default(); len];
        if len == 0 {
            return Ok(values);
        }
        self.device.not_captured("copy to host", TO_HOST)?;
        self.device.bind("copy to host")?;
        let address = self.address + (offset * size_of::<T>()) as u64;
        // SAFETY: plain numbers, of which every pattern of bits is a value.
        let bytes = unsafe { std::slice::from_raw_parts_mut(values.as_mut_ptr().cast(), size_of_val(&*values)) };
        // SAFETY: the memory has as many elements (checked above).
        unsafe { staging::download(&self.device, address, bytes) }
            .map_err(|error| self.device.failed("copy to host", error))?;
        self.device.recent().lock().clear();
        self.device.reported("copy to host")?;
        Ok(values)
    }

    /// Copies another run of the same size on the same device.
    pub fn copy_from_device(&mut self, other: &CudaMemory) -> Result<()> {
        if self.device != other.device || self.bytes != other.bytes {
            let (from, to) = (other.device.ordinal(), self.device.ordinal());
            let message = format!("{} bytes of cuda:{from} into {} bytes of cuda:{to}", other.bytes, self.bytes);
            return Err(Error::Device { op: "copy", message });
        }
        if self.bytes == 0 {
            return Ok(());
        }
        self.device.bind("copy")?;
        // SAFETY: both runs have as many bytes; `&mut` and `&` make them different runs.
        unsafe { result::memcpy_dtod_async(self.address, other.address, self.bytes, self.device.stream()) }
            .map_err(|error| self.device.failed("copy", error))
    }

    /// A kernel argument: the `len` elements from element `offset` on, for reading.
    pub fn read<T: Element>(&self, offset: usize, len: usize) -> Result<DevicePtr<'_, T>> {
        self.fits::<T>("kernel argument", offset, len)?;
        Ok(DevicePtr { address: self.address + (offset * size_of::<T>()) as u64, memory: PhantomData })
    }

    /// A kernel argument: the `len` elements from element `offset` on, for reading and writing.
    pub fn write<T: Element>(&mut self, offset: usize, len: usize) -> Result<DevicePtrMut<'_, T>> {
        self.fits::<T>("kernel argument", offset, len)?;
        Ok(DevicePtrMut { address: self.address + (offset * size_of::<T>()) as u64, memory: PhantomData })
    }

    fn fits<T: Element>(&self, op: &'static str, offset: usize, len: usize) -> Result<()> {
        let end = offset.checked_add(len).and_then(|end| end.checked_mul(size_of::<T>()));
        if end.is_some_and(|end| end <= self.bytes) {
            return Ok(());
        }
        let message = format!("elements {offset} to {offset}+{len} of {} are not in {} bytes", T::DTYPE, self.bytes);
        Err(Error::argument(op, message))
    }
}

impl Drop for CudaMemory {
    fn drop(&mut self) {
        if self.address == 0 {
            return;
        }
        match &self.origin {
            Origin::Arena(arena) => arena.give(self.address, self.bytes),
            &Origin::Driver(born) => {
                let freed = Freed { device: self.device.clone(), address: self.address, bytes: self.bytes };
                self.device.graphs().release(freed, born);
            }
        }
    }
}

/// Memory of the driver that no buffer has any more: goes back when the value goes.
pub(super) struct Freed {
    device: CudaDevice,
    address: u64,
    bytes: usize,
}

impl Drop for Freed {
    fn drop(&mut self) {
        self.device.held().fetch_sub(self.bytes, Ordering::Relaxed);
        if !self.device.pooled() {
            self.device.reuse().lock().give(self.bytes, self.address);
        } else if self.device.enter().is_ok() {
            // SAFETY: the address came from the pool and is not used after; work that uses it was given to the same
            // stream before. A device that was lost frees by itself.
            let _ = unsafe { result::free_async(self.address, self.device.main_stream()) };
        }
    }
}

/// Memory from the driver's pool, in stream order; without pools, from what was freed or from the driver.
fn allocate(device: &CudaDevice, bytes: usize) -> Result<u64, DriverError> {
    if device.pooled() {
        // SAFETY: the context is current and the stream is its own.
        return unsafe { result::malloc_async(device.main_stream(), bytes) };
    }
    if let Some(address) = device.reuse().lock().take(bytes) {
        return Ok(address);
    }
    // SAFETY: the context is current.
    let fresh = || unsafe { result::malloc_sync(Reuse::class(bytes)) };
    fresh().or_else(|error| {
        let kept = device.reuse().lock().drain();
        if kept.is_empty() {
            return Err(error);
        }
        for address in kept {
            // SAFETY: the address came from `malloc_sync` and belongs to no buffer; the call waits for the work that was
            // given while it did.
            unsafe { result::free_sync(address) }?;
        }
        fresh()
    })
}

fn no_room(device: &CudaDevice, asked: usize, error: DriverError) -> Error {
    if error.0 != CUresult::CUDA_ERROR_OUT_OF_MEMORY {
        return device.failed("allocation", error);
    }
    let free = result::mem_get_info().map_or(0, |(free, _)| free);
    let held = device.held().load(Ordering::Relaxed);
    Error::OutOfMemory { ordinal: device.ordinal(), asked, free, held }
}

/// Freed memory by size class, for drivers without pools: there an allocation or a release waits for the device. All work
/// goes to one stream, so whoever gets the memory next comes after whoever had it.
#[derive(Debug, Default)]
pub(super) struct Reuse {
    classes: BTreeMap<usize, Vec<u64>>,
}

impl Reuse {
    /// What is allocated for a request: a power of two up to 1 MiB, whole MiB above.
    fn class(bytes: usize) -> usize {
        const MIB: usize = 1 << 20;
        if bytes <= MIB { bytes.max(512).next_power_of_two() } else { bytes.next_multiple_of(MIB) }
    }

    fn take(&mut self, bytes: usize) -> Option<u64> {
        self.classes.get_mut(&Self::class(bytes))?.pop()
    }

    fn give(&mut self, bytes: usize, address: u64) {
        self.classes.entry(Self::class(bytes)).or_default().push(address);
    }

    fn drain(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.classes).into_values().flatten().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freed_memory_serves_requests_of_its_class_only() {
        let mut reuse = Reuse::default();
        assert_eq!(reuse.take(1), None);
        for (bytes, class) in [(1, 512), (513, 1024), (1 << 20, 1 << 20), ((1 << 20) + 1, 2 << 20), (5 << 20, 5 << 20)]
        {
            assert_eq!(Reuse::class(bytes), class);
        }
        reuse.give(600, 7);
        reuse.give(1000, 8);
        assert_eq!(reuse.take(512), None, "a smaller class");
        assert_eq!(reuse.take(1025), None, "a larger class");
        assert_eq!(reuse.take(1024), Some(8));
        assert_eq!(reuse.drain(), [7]);
        assert_eq!(reuse.take(600), None);
    }
}
