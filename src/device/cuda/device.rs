//! Opening a device, what it can do, and its stream.

use super::driver_error;
use super::graph::{self, Graphs};
use super::launch::Recent;
use super::memory::Reuse;
use super::module::LoadedModule;
use super::report::Reports;
use super::staging::Staging;
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUdevice_attribute_enum as Attribute};
use cudarc::driver::{CudaContext, CudaStream};
use parking_lot::Mutex;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

/// A CUDA device that was opened. Cheap to clone; opening an ordinal again gives the same device.
#[derive(Clone)]
pub struct CudaDevice {
    inner: Arc<Inner>,
}

struct Inner {
    ordinal: usize,
    context: Arc<CudaContext>,
    stream: Arc<CudaStream>,
    /// What captures record.
    captured: OnceLock<Arc<CudaStream>>,
    graphs: Graphs,
    spec: GpuSpec,
    /// Loaded modules, by the address of their table.
    modules: Mutex<HashMap<usize, Arc<LoadedModule>>>,
    reports: Reports,
    /// Launches since the device was last waited for.
    recent: Mutex<Recent>,
    /// The failure that the context did not survive.
    lost: OnceLock<String>,
    /// Bytes of live buffers.
    held: AtomicUsize,
    /// Freed memory for the next allocation, where the driver has no pool.
    reuse: Mutex<Reuse>,
    /// What copies pass through.
    staging: Mutex<Staging>,
}

/// What a plan needs to know of a GPU.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GpuSpec {
    /// The product's name.
    pub name: String,
    /// Compute capability: major, minor.
    pub compute_capability: (u8, u8),
    /// Multiprocessors.
    pub multiprocessors: u32,
    /// The most shared memory that a block can opt in to, in bytes.
    pub shared_per_block: u32,
    /// Shared memory of a multiprocessor, in bytes.
    pub shared_per_multiprocessor: u32,
    /// The most registers of a block.
    pub registers_per_block: u32,
    /// The most threads of a block.
    pub threads_per_block: u32,
    /// Level-2 cache, in bytes.
    pub l2_bytes: u32,
    /// Device memory, in bytes.
    pub memory_bytes: usize,
    /// The CUDA version of the driver: 12,9 is 12090.
    pub driver_version: u32,
}

/// The oldest driver whose interface the bindings and the machine code rely on.
const MIN_DRIVER: u32 = 12_000;

static OPEN: Mutex<Vec<CudaDevice>> = Mutex::new(Vec::new());

impl CudaDevice {
    /// Opens a device.
    ///
    /// # Errors
    /// [`Error::CudaUnavailable`] that says what is missing: the driver, a driver new enough, or the device.
    pub fn open(ordinal: usize) -> Result<Self> {
        let mut open = OPEN.lock();
        if let Some(device) = open.iter().find(|device| device.inner.ordinal == ordinal) {
            return Ok(device.clone());
        }
        let unavailable = |message: String| Error::CudaUnavailable { ordinal, message };
        if !driver_present() {
            let message =
                "NVIDIA's driver library (libcuda) is not installed; install the driver, or use Device::cpu()";
            return Err(unavailable(message.into()));
        }
        let words = |what: &str, error: DriverError| unavailable(format!("{what}: {}", driver_error("cuda", error)));
        let driver_version = driver_version().map_err(|error| words("the driver does not tell its version", error))?;
        if driver_version < MIN_DRIVER {
            let (major, minor) = (driver_version / 1000, driver_version % 1000 / 10);
            return Err(unavailable(format!(
                "the installed driver supports CUDA {major}.{minor}; 12.0 or newer is needed (driver 525 or newer)"
            )));
        }
        result::init().map_err(|error| words("the driver does not start", error))?;
        let count = CudaContext::device_count().map_err(|error| words("the driver lists no devices", error))?;
        if usize::try_from(count).unwrap_or(0) <= ordinal {
            return Err(unavailable(format!("the driver sees {count} device(s), numbered from 0")));
        }
        let context = CudaContext::new(ordinal).map_err(|error| words("it cannot be opened", error))?;
        // SAFETY: events order the uses of cudarc's own slices on several streams; no such slice is made here, and all
        // work of a device goes to its one stream.
        unsafe { context.disable_event_tracking() };
        let stream = context.new_stream().map_err(|error| words("it gives no stream", error))?;
        let spec = spec(&context, driver_version).map_err(|error| words("it does not answer", error))?;
        keep_freed_memory(&context);
        let inner = Inner {
            ordinal,
            context,
            stream,
            captured: OnceLock::new(),
            graphs: Graphs::default(),
            spec,
            modules: Mutex::default(),
            recent: Mutex::default(),
            lost: OnceLock::new(),
            held: AtomicUsize::new(0),
            reuse: Mutex::default(),
            staging: Mutex::default(),
            reports: Reports::default(),
        };
        let device = CudaDevice { inner: Arc::new(inner) };
        open.push(device.clone());
        Ok(device)
    }

    /// The driver's number of the device.
    pub fn ordinal(&self) -> usize {
        self.inner.ordinal
    }

    /// What the device can do.
    pub fn spec(&self) -> &GpuSpec {
        &self.inner.spec
    }

    /// Waits until all work given to the device is done.
    ///
    /// # Errors
    /// What went wrong in a launch, and wrong values that kernels have met (an index out of range), show up here or when
    /// values are copied to the host, at the latest.
    pub fn synchronize(&self) -> Result<()> {
        const OP: &str = "synchronize";
        self.not_captured(OP, "a captured step cannot wait for its own work; wait after it was launched")?;
        self.bind(OP)?;
        self.wait().map_err(|error| self.failed(OP, error))?;
        self.inner.recent.lock().clear();
        self.reported(OP)
    }

    /// Bytes that live buffers of this process hold on the device.
    pub fn held_bytes(&self) -> usize {
        self.inner.held.load(Ordering::Relaxed)
    }

    /// The driver's handle of the stream that all work of this device goes to, for other users of the driver: the one
    /// that is being recorded on a thread that captures.
    pub fn stream(&self) -> sys::CUstream {
        graph::capturing_stream(self.inner.ordinal).unwrap_or_else(|| self.main_stream())
    }

    /// The stream whose work is done, also on a thread that captures.
    pub(super) fn main_stream(&self) -> sys::CUstream {
        self.inner.stream.cu_stream()
    }

    /// The stream that captures record, made at the first one.
    pub(super) fn capture_stream(&self) -> Result<sys::CUstream> {
        if let Some(stream) = self.inner.captured.get() {
            return Ok(stream.cu_stream());
        }
        let stream = self.inner.context.new_stream().map_err(|error| self.failed("capture", error))?;
        Ok(self.inner.captured.get_or_init(|| stream).cu_stream())
    }

    /// Makes the device's context the calling thread's, as every call of the driver needs it.
    pub(super) fn bind(&self, op: &'static str) -> Result<()> {
        if let Some(cause) = self.inner.lost.get() {
            return Err(self.lost(op, cause));
        }
        if let Some(capture) = graph::capturing()
            && capture.ordinal != self.inner.ordinal
        {
            let message = format!("a step that is captured on cuda:{} works on that device alone", capture.ordinal);
            return Err(Error::Device { op, message });
        }
        self.enter().map_err(|error| self.failed(op, error))
    }

    /// The same for clean-up, which no capture forbids.
    pub(super) fn enter(&self) -> Result<(), DriverError> {
        match self.inner.lost.get() {
            Some(_) => Err(DriverError(sys::CUresult::CUDA_ERROR_CONTEXT_IS_DESTROYED)),
            None => self.inner.context.bind_to_thread(),
        }
    }

    /// Waits for all work that was given; the context is current.
    pub(super) fn wait(&self) -> Result<(), DriverError> {
        // SAFETY: the stream is the device's own.
        unsafe { result::stream::synchronize(self.main_stream()) }
    }

    pub(super) fn graphs(&self) -> &Graphs {
        &self.inner.graphs
    }

    /// The driver's error as ours. After one that the context does not survive the device is lost.
    pub(super) fn failed(&self, op: &'static str, error: DriverError) -> Error {
        let told = driver_error(op, error);
        if !is_sticky(error) {
            return told;
        }
        let cause = self.inner.lost.get_or_init(|| format!("{told}; {}", self.inner.recent.lock()));
        self.lost(op, cause)
    }

    fn lost(&self, op: &'static str, cause: &str) -> Error {
        Error::DeviceLost { op, ordinal: self.inner.ordinal, cause: cause.to_owned() }
    }

    pub(super) fn recent(&self) -> &Mutex<Recent> {
        &self.inner.recent
    }

    pub(super) fn held(&self) -> &AtomicUsize {
        &self.inner.held
    }

    pub(super) fn staging(&self) -> &Mutex<Staging> {
        &self.inner.staging
    }

    pub(super) fn reuse(&self) -> &Mutex<Reuse> {
        &self.inner.reuse
    }

    pub(super) fn reports(&self) -> &Reports {
        &self.inner.reports
    }

    pub(super) fn pooled(&self) -> bool {
        self.inner.context.has_async_alloc()
    }

    pub(super) fn modules(&self) -> &Mutex<HashMap<usize, Arc<LoadedModule>>> {
        &self.inner.modules
    }
}

impl PartialEq for CudaDevice {
    fn eq(&self, other: &Self) -> bool {
        self.inner.ordinal == other.inner.ordinal
    }
}

impl std::fmt::Debug for CudaDevice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CudaDevice").field("ordinal", &self.inner.ordinal).field("spec", &self.inner.spec).finish()
    }
}

/// Whether an error leaves the context unusable, so that every later call fails too (CUDA driver API, `CUresult`:
/// "this leaves the process in an inconsistent state").
fn is_sticky(error: DriverError) -> bool {
    use sys::CUresult as R;
    matches!(
        error.0,
        R::CUDA_ERROR_ILLEGAL_ADDRESS
            | R::CUDA_ERROR_LAUNCH_TIMEOUT
            | R::CUDA_ERROR_ASSERT
            | R::CUDA_ERROR_HARDWARE_STACK_ERROR
            | R::CUDA_ERROR_ILLEGAL_INSTRUCTION
            | R::CUDA_ERROR_MISALIGNED_ADDRESS
            | R::CUDA_ERROR_INVALID_ADDRESS_SPACE
            | R::CUDA_ERROR_INVALID_PC
            | R::CUDA_ERROR_LAUNCH_FAILED
            | R::CUDA_ERROR_ECC_UNCORRECTABLE
            | R::CUDA_ERROR_NVLINK_UNCORRECTABLE
            | R::CUDA_ERROR_CONTEXT_IS_DESTROYED
            | R::CUDA_ERROR_DEVICE_UNAVAILABLE
            | R::CUDA_ERROR_EXTERNAL_DEVICE
    )
}

/// A CUDA device as [`Device::list`](crate::Device::list) tells of it, without opening it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CudaDeviceInfo {
    /// The driver's number of the device.
    pub ordinal: usize,
    /// The product's name.
    pub name: String,
    /// Device memory, in bytes.
    pub memory_bytes: usize,
    /// Compute capability: major, minor.
    pub compute_capability: (u8, u8),
}

impl std::fmt::Display for CudaDeviceInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (major, minor) = self.compute_capability;
        let gib = self.memory_bytes as f64 / (1u64 << 30) as f64;
        write!(f, "cuda:{} {} ({gib:.1} GiB, compute capability {major}.{minor})", self.ordinal, self.name)
    }
}

/// The CUDA devices of this machine; none where the driver is missing or too old.
pub(crate) fn list() -> Vec<CudaDeviceInfo> {
    let told = |ordinal: i32| -> Result<CudaDeviceInfo, DriverError> {
        let device = result::device::get(ordinal)?;
        let attribute = |attribute| {
            // SAFETY: the device handle is the driver's own.
            unsafe { result::device::get_attribute(device, attribute) }.map(|value| u8::try_from(value).unwrap_or(0))
        };
        Ok(CudaDeviceInfo {
            ordinal: usize::try_from(ordinal).unwrap_or(0),
            name: result::device::get_name(device)?,
            // SAFETY: as above.
            memory_bytes: unsafe { result::device::total_mem(device) }?,
            compute_capability: (
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR)?,
                attribute(Attribute::CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR)?,
            ),
        })
    };
    if !driver_present() || driver_version().is_ok_and(|version| version < MIN_DRIVER) || result::init().is_err() {
        return vec![];
    }
    let count = result::device::get_count().unwrap_or(0);
    (0..count).filter_map(|ordinal| told(ordinal).ok()).collect()
}

/// Whether cudarc will find the driver: where it does not, its calls panic.
fn driver_present() -> bool {
    let names = ["cuda", "nvcuda"].into_iter().flat_map(cudarc::get_lib_name_candidates);
    names.into_iter().any(|name| {
        // SAFETY: loading the driver's library runs its initialisers, as cudarc's first call would.
        unsafe { libloading::Library::new(name) }.is_ok()
    })
}

fn driver_version() -> Result<u32, DriverError> {
    let mut version = 0;
    // SAFETY: the pointer is to a live integer; the call needs no context and no initialisation.
    unsafe { sys::cuDriverGetVersion(&mut version) }.result()?;
    Ok(u32::try_from(version).unwrap_or(0))
}

fn spec(context: &CudaContext, driver_version: u32) -> Result<GpuSpec, DriverError> {
    let attribute = |attribute| context.attribute(attribute).map(|value| u32::try_from(value).unwrap_or(0));
    let (major, minor) = context.compute_capability()?;
    Ok(GpuSpec {
        name: context.name()?,
        compute_capability: (u8::try_from(major).unwrap_or(0), u8::try_from(minor).unwrap_or(0)),
        multiprocessors: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT)?,
        shared_per_block: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN)?,
        shared_per_multiprocessor: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR)?,
        registers_per_block: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK)?,
        threads_per_block: attribute(Attribute::CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
        l2_bytes: attribute(Attribute::CU_DEVICE_ATTRIBUTE_L2_CACHE_SIZE)?,
        memory_bytes: context.total_mem()?,
        driver_version,
    })
}

/// Lets the driver's pool keep what is freed for the next allocation; by default it gives everything back to the
/// system whenever the device is waited for. A pool that cannot be told so still works.
fn keep_freed_memory(context: &CudaContext) {
    if !context.has_async_alloc() {
        return;
    }
    let mut keep = u64::MAX;
    // SAFETY: the device is open, the pool is its own, and the attribute is a 64-bit integer.
    unsafe {
        if let Ok(pool) = result::device::get_default_mem_pool(context.cu_device()) {
            let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
            let _ = result::mem_pool::set_attribute(pool, attribute, (&raw mut keep).cast());
        }
    }
}
