//! CUDA devices, through cudarc: contexts, memory, module images and launches.

use crate::{Element, Error, Result};

/// A CUDA device that was opened.
#[derive(Clone, Debug, PartialEq)]
pub struct CudaDevice {
    never: std::convert::Infallible,
}

impl CudaDevice {
    /// Opens a device.
    pub fn open(ordinal: usize) -> Result<Self> {
        let message = "this build has no CUDA backend; use Device::cpu()".into();
        Err(Error::CudaUnavailable { ordinal, message })
    }

    /// The driver's number of the device.
    pub fn ordinal(&self) -> usize {
        match self.never {}
    }
}

/// A run of bytes in a CUDA device's memory.
#[derive(Debug)]
pub struct CudaMemory {
    device: CudaDevice,
}

impl CudaMemory {
    /// Fresh memory with arbitrary contents.
    pub fn uninit(device: &CudaDevice, _bytes: usize) -> Result<Self> {
        match device.never {}
    }

    /// Fresh memory of zero bytes.
    pub fn zeros(device: &CudaDevice, _bytes: usize) -> Result<Self> {
        match device.never {}
    }

    /// The device that owns the memory.
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }

    /// Copies host values to the start of the memory.
    pub fn copy_from_host<T: Element>(&mut self, _values: &[T]) -> Result<()> {
        match self.device.never {}
    }

    /// Copies the first `len` elements to the host, after all work that writes them.
    pub fn copy_to_host<T: Element>(&self, _len: usize) -> Result<Vec<T>> {
        match self.device.never {}
    }

    /// Copies another run of the same size.
    pub fn copy_from_device(&mut self, _other: &CudaMemory) -> Result<()> {
        match self.device.never {}
    }
}
