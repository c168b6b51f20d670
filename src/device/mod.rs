//! Floor 1: devices, their memory and how work reaches them. Knows no operation.
//!
//! A [`Buffer`] is a run of elements of one dtype in one device's memory. Kernel families take buffers and
//! [`View`]s (a buffer with a layout) and match on [`Memory`] once, in their `mod.rs`.

pub mod cpu;
pub mod cuda;
pub(crate) mod replay;

use crate::{DType, Element, Error, Layout, Result, with_dtype};
use cpu::CpuMemory;
use cuda::{CudaDevice, CudaDeviceInfo, CudaMemory};

/// Where tensors live and work runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub enum Device {
    /// The host's processor.
    #[default]
    Cpu,
    /// One CUDA device.
    Cuda(CudaDevice),
}

impl Device {
    /// The CPU device.
    pub fn cpu() -> Self {
        Device::Cpu
    }

    /// The CUDA device with this ordinal; an error that says what is missing where there is none.
    pub fn cuda(ordinal: usize) -> Result<Self> {
        CudaDevice::open(ordinal).map(Device::Cuda)
    }

    /// The first CUDA device if there is one, else the CPU.
    pub fn best() -> Self {
        Device::cuda(0).unwrap_or(Device::Cpu)
    }

    /// The CUDA devices that the driver sees; none where there is no driver.
    pub fn list() -> Vec<CudaDeviceInfo> {
        cuda::list()
    }

    /// Whether this is the CPU device.
    pub fn is_cpu(&self) -> bool {
        matches!(self, Device::Cpu)
    }
}

impl std::fmt::Display for Device {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Device::Cpu => f.write_str("cpu"),
            Device::Cuda(device) => write!(f, "cuda:{}", device.ordinal()),
        }
    }
}

/// The memory behind a buffer.
#[derive(Debug)]
pub enum Memory {
    /// Host memory of the CPU device.
    Cpu(CpuMemory),
    /// Device memory of a CUDA device.
    Cuda(CudaMemory),
}

/// A run of elements of one dtype in one device's memory.
#[derive(Debug)]
pub struct Buffer {
    dtype: DType,
    len: usize,
    memory: Memory,
}

impl Buffer {
    /// A buffer whose contents are arbitrary (but initialised) values: every element must be written before use.
    pub fn uninit(device: &Device, dtype: DType, len: usize) -> Result<Self> {
        let bytes = bytes(dtype, len)?;
        let memory = match device {
            Device::Cpu => Memory::Cpu(CpuMemory::uninit(bytes)?),
            Device::Cuda(device) => Memory::Cuda(CudaMemory::uninit(device, bytes)?),
        };
        Ok(Buffer { dtype, len, memory })
    }

    /// A buffer of zeros.
    pub fn zeros(device: &Device, dtype: DType, len: usize) -> Result<Self> {
        let bytes = bytes(dtype, len)?;
        let memory = match device {
            Device::Cpu => Memory::Cpu(CpuMemory::zeros(bytes)?),
            Device::Cuda(device) => Memory::Cuda(CudaMemory::zeros(device, bytes)?),
        };
        Ok(Buffer { dtype, len, memory })
    }

    /// A copy of a host slice in the device's memory.
    pub fn from_slice<T: Element>(device: &Device, values: &[T]) -> Result<Self> {
        let mut buffer = Buffer::uninit(device, T::DTYPE, values.len())?;
        match &mut buffer.memory {
            Memory::Cpu(memory) => memory.as_mut_slice::<T>(values.len()).copy_from_slice(values),
            Memory::Cuda(memory) => memory.copy_from_host(values)?,
        }
        Ok(buffer)
    }

    /// The elements, copied to the host. The only call of a buffer that waits for a CUDA device.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        self.check::<T>("to_vec")?;
        match &self.memory {
            Memory::Cpu(memory) => Ok(memory.as_slice::<T>(self.len).to_vec()),
            Memory::Cuda(memory) => memory.copy_to_host(self.len),
        }
    }

    /// The dtype of the elements.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The number of elements.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The device that holds the memory.
    pub fn device(&self) -> Device {
        match &self.memory {
            Memory::Cpu(_) => Device::Cpu,
            Memory::Cuda(memory) => Device::Cuda(memory.device().clone()),
        }
    }

    /// The memory, for a family's match over devices.
    pub fn memory(&self) -> &Memory {
        &self.memory
    }

    /// The memory, for a family's match over devices.
    pub fn memory_mut(&mut self) -> &mut Memory {
        &mut self.memory
    }

    /// The elements as a host slice: CPU device and matching dtype only.
    pub fn as_slice<T: Element>(&self) -> Result<&[T]> {
        self.check::<T>("as_slice")?;
        match &self.memory {
            Memory::Cpu(memory) => Ok(memory.as_slice(self.len)),
            Memory::Cuda(memory) => Err(not_on_host(memory)),
        }
    }

    /// The elements as a mutable host slice: CPU device and matching dtype only.
    pub fn as_mut_slice<T: Element>(&mut self) -> Result<&mut [T]> {
        self.check::<T>("as_mut_slice")?;
        match &mut self.memory {
            Memory::Cpu(memory) => Ok(memory.as_mut_slice(self.len)),
            Memory::Cuda(memory) => Err(not_on_host(memory)),
        }
    }

    /// Overwrites this buffer with the elements of another of the same dtype, length and device.
    pub fn copy_from(&mut self, other: &Buffer) -> Result<()> {
        if self.dtype != other.dtype || self.len != other.len {
            let message = format!("{} {} elements into {} {}", other.len, other.dtype, self.len, self.dtype);
            return Err(Error::argument("copy", message));
        }
        match (&mut self.memory, &other.memory) {
            (Memory::Cpu(to), Memory::Cpu(from)) => {
                to.copy_from(from);
                Ok(())
            }
            (Memory::Cuda(to), Memory::Cuda(from)) => to.copy_from_device(from),
            _ => Err(Error::Device { op: "copy", message: "the buffers are on different devices".into() }),
        }
    }

    fn check<T: Element>(&self, op: &'static str) -> Result<()> {
        if T::DTYPE == self.dtype {
            Ok(())
        } else {
            Err(Error::dtype(op, format!("a buffer of {}", T::DTYPE), &[self.dtype]))
        }
    }
}

fn bytes(dtype: DType, len: usize) -> Result<usize> {
    len.checked_mul(dtype.size())
        .filter(|&b| b <= isize::MAX as usize)
        .ok_or_else(|| Error::argument("allocation", format!("{len} elements of {dtype} overflow the address space")))
}

fn not_on_host(memory: &CudaMemory) -> Error {
    let message = format!("the buffer is on cuda:{}, copy it with to_vec", memory.device().ordinal());
    Error::Device { op: "as_slice", message }
}

/// A buffer read through a layout: what kernel families take as input.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    buffer: &'a Buffer,
    layout: Layout,
}

impl<'a> View<'a> {
    /// A view; the layout must stay inside the buffer.
    pub fn new(buffer: &'a Buffer, layout: Layout) -> Result<Self> {
        if layout.span() > buffer.len() {
            let message = format!("layout {layout:?} reaches past the {} elements of its buffer", buffer.len());
            return Err(Error::argument("view", message));
        }
        Ok(View { buffer, layout })
    }

    /// The buffer.
    pub fn buffer(&self) -> &'a Buffer {
        self.buffer
    }

    /// The layout.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The dtype.
    pub fn dtype(&self) -> DType {
        self.buffer.dtype
    }

    /// The extents of the axes.
    pub fn dims(&self) -> &[usize] {
        self.layout.dims()
    }

    /// The same buffer through another layout.
    pub fn with_layout(&self, layout: Layout) -> Result<Self> {
        View::new(self.buffer, layout)
    }

    /// The elements of a contiguous view on the CPU as a slice; `None` if it is not contiguous.
    pub fn contiguous<T: Element>(&self) -> Result<Option<&'a [T]>> {
        let all = self.buffer.as_slice::<T>()?;
        let numel = self.layout.numel();
        if numel == 0 {
            return Ok(Some(&[]));
        }
        Ok(self.layout.is_contiguous().then(|| &all[self.layout.offset()..self.layout.offset() + numel]))
    }

    /// The elements in row-major order, copied to the host.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if let Memory::Cuda(memory) = self.buffer.memory()
            && self.layout.is_contiguous()
        {
            self.buffer.check::<T>("to_vec")?;
            return memory.copy_range_to_host(self.layout.offset(), self.layout.numel());
        }
        let host;
        let all = match self.buffer.memory() {
            Memory::Cpu(_) => self.buffer.as_slice::<T>()?,
            Memory::Cuda(_) => {
                host = self.buffer.to_vec::<T>()?;
                &host
            }
        };
        let mut out = Vec::with_capacity(self.layout.numel());
        self.layout.for_each_index(|i| out.push(all[i]));
        Ok(out)
    }

    /// The elements in row-major order as f64.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        with_dtype!(self.dtype(), T => Ok(self.to_vec::<T>()?.into_iter().map(Element::to_f64).collect()))
    }
}
