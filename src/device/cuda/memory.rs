//! Device memory and copies.

use super::argument::{DevicePtr, DevicePtrMut};
use super::{CudaDevice, driver_error};
use crate::{Element, Error, Result};
use cudarc::driver::result;
use std::marker::PhantomData;

/// A run of bytes in a CUDA device's memory; freed in stream order, after all work that was given before.
#[derive(Debug)]
pub struct CudaMemory {
    device: CudaDevice,
    /// 0 where there are no bytes.
    address: u64,
    bytes: usize,
}

impl CudaMemory {
    /// Fresh memory with arbitrary contents, aligned to at least 256 bytes.
    ///
    /// # Errors
    /// [`Error::Device`] where the device has not that much left.
    pub fn uninit(device: &CudaDevice, bytes: usize) -> Result<Self> {
        let mut memory = CudaMemory { device: device.clone(), address: 0, bytes };
        if bytes == 0 {
            return Ok(memory);
        }
        device.bind("allocation")?;
        // SAFETY: the context is current and the stream is its own.
        let address = unsafe {
            if device.pooled() { result::malloc_async(device.stream(), bytes) } else { result::malloc_sync(bytes) }
        };
        memory.address = address.map_err(|error| {
            let reason = driver_error("allocation", error);
            let message = format!("{bytes} bytes on cuda:{}: {reason}", device.ordinal());
            Error::Device { op: "allocation", message }
        })?;
        Ok(memory)
    }

    /// Fresh memory of zero bytes.
    pub fn zeros(device: &CudaDevice, bytes: usize) -> Result<Self> {
        let memory = Self::uninit(device, bytes)?;
        if bytes > 0 {
            // SAFETY: the memory has `bytes` bytes, and the context was made current by the allocation.
            unsafe { result::memset_d8_async(memory.address, 0, bytes, device.stream()) }
                .map_err(|error| driver_error("zeros", error))?;
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
        self.device.bind("copy from host")?;
        // SAFETY: the memory has room for the values (checked above). They are pageable, so the driver has read them
        // when the call returns (CUDA driver API, "API synchronization behavior").
        unsafe { result::memcpy_htod_async(self.address, values, self.device.stream()) }
            .map_err(|error| driver_error("copy from host", error))
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
        self.device.bind("copy to host")?;
        let address = self.address + (offset * size_of::<T>()) as u64;
        // SAFETY: the memory has as many elements (checked above), every bit pattern is a value of an `Element`, and
        // the vector is not touched before the stream was waited for.
        unsafe { result::memcpy_dtoh_async(&mut values, address, self.device.stream()) }
            .map_err(|error| driver_error("copy to host", error))?;
        self.device.wait("copy to host")?;
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
            .map_err(|error| driver_error("copy", error))
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
        if self.address == 0 || self.device.bind("free").is_err() {
            return;
        }
        // SAFETY: the address came from the matching allocation call and is not used after. Work that uses it was
        // given to the same stream before; the unpooled call waits for it. A device that was lost frees by itself.
        let _ = unsafe {
            if self.device.pooled() {
                result::free_async(self.address, self.device.stream())
            } else {
                result::free_sync(self.address)
            }
        };
    }
}
