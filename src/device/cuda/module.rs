//! Module images: which one a device gets, loading, and the kernels in it.

use super::kernel_table::{Arch, Contents, Format, Image, KernelInfo, Module, Resources};
use super::{CudaDevice, GpuSpec, driver_error};
use crate::{Error, Result};
use cudarc::driver::result::{self, DriverError};
use cudarc::driver::sys::{self, CUfunction_attribute_enum as Attribute, CUresult};
use parking_lot::Mutex;
use std::borrow::Cow;
use std::collections::HashMap;
use std::ffi::CString;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// A module in a device's memory; it stays for the life of the program.
pub(super) struct LoadedModule {
    handle: sys::CUmodule,
    /// What the machine code was compiled for; `None` where the driver compiled PTX.
    arch: Option<Arch>,
    name: String,
    kernels: Cow<'static, [KernelInfo]>,
    found: Mutex<HashMap<String, Arc<Loaded>>>,
}

// SAFETY: a module's handle may be used from any thread that has its context current; every call sees to that.
unsafe impl Send for LoadedModule {}
// SAFETY: as above; the driver locks what it changes.
unsafe impl Sync for LoadedModule {}

/// A kernel on a device, ready to launch. Cheap to clone.
#[derive(Clone)]
pub struct Kernel {
    pub(super) device: CudaDevice,
    pub(super) loaded: Arc<Loaded>,
}

pub(super) struct Loaded {
    pub function: sys::CUfunction,
    pub info: KernelInfo,
    pub resources: Resources,
    /// The dynamic shared memory that the function may have so far.
    pub dynamic_shared: AtomicU32,
    /// How often it was launched.
    pub launches: AtomicU64,
}

// SAFETY: as for modules, which functions belong to.
unsafe impl Send for Loaded {}
// SAFETY: as above.
unsafe impl Sync for Loaded {}

impl CudaDevice {
    /// The kernel of that readable name (`saxpy`, `reduce<f32, 256>`); loads its module at the first call.
    ///
    /// # Errors
    /// [`Error::Argument`] where the module has no such kernel, [`Error::Device`] where no image of it runs here.
    pub fn kernel(&self, module: &'static Module, name: &str) -> Result<Kernel> {
        let key = std::ptr::from_ref(module).addr();
        let mut modules = self.modules().lock();
        let loaded = match modules.get(&key) {
            Some(loaded) => loaded.clone(),
            None => {
                let loaded = Arc::new(load(self, module)?);
                modules.insert(key, loaded.clone());
                loaded
            }
        };
        drop(modules);
        let loaded = loaded.kernel(self, name)?;
        Ok(Kernel { device: self.clone(), loaded })
    }

    /// How often each kernel of a module was launched on this device, by name; kernels that were never asked for are not
    /// among them.
    pub fn launches(&self, module: &'static Module) -> HashMap<String, u64> {
        let loaded = self.modules().lock().get(&std::ptr::from_ref(module).addr()).cloned();
        let count = |(name, kernel): (&String, &Arc<Loaded>)| (name.clone(), kernel.launches.load(Ordering::Relaxed));
        loaded.map(|module| module.found.lock().iter().map(count).collect()).unwrap_or_default()
    }
}

/// Where a launch keeps its kernel once it was found, for each device, so that nothing is looked up by name again.
///
/// ```
/// use warpsmith::device::cuda::KernelSlot;
///
/// static SAXPY: KernelSlot = KernelSlot::new();
/// ```
pub struct KernelSlot {
    found: [OnceLock<Kernel>; 16],
}

impl KernelSlot {
    /// An empty slot.
    pub const fn new() -> Self {
        KernelSlot { found: [const { OnceLock::new() }; 16] }
    }

    /// The kernel, found by name at the first call for a device (at each call beyond the sixteenth device). A slot is
    /// for one kernel: what later calls name is not looked at.
    ///
    /// # Errors
    /// As [`CudaDevice::kernel`].
    pub fn kernel(&self, device: &CudaDevice, module: &'static Module, name: &str) -> Result<Cow<'_, Kernel>> {
        self.found_or(device, || device.kernel(module, name))
    }

    /// As [`kernel`](Self::kernel), with the look-up itself: for names that are put together from parts.
    ///
    /// # Errors
    /// Those of `find`.
    pub fn get(&self, device: &CudaDevice, find: impl FnOnce() -> Result<Kernel>) -> Result<Kernel> {
        self.found_or(device, find).map(Cow::into_owned)
    }

    fn found_or(&self, device: &CudaDevice, find: impl FnOnce() -> Result<Kernel>) -> Result<Cow<'_, Kernel>> {
        let Some(slot) = self.found.get(device.ordinal()) else {
            return find().map(Cow::Owned);
        };
        if let Some(kernel) = slot.get() {
            return Ok(Cow::Borrowed(kernel));
        }
        let kernel = find()?;
        Ok(Cow::Borrowed(slot.get_or_init(|| kernel)))
    }
}

impl Default for KernelSlot {
    fn default() -> Self {
        Self::new()
    }
}

impl Kernel {
    /// Its name, entry and parameters.
    pub fn info(&self) -> &KernelInfo {
        &self.loaded.info
    }

    /// What it takes of a multiprocessor, in the image that was loaded.
    pub fn resources(&self) -> &Resources {
        &self.loaded.resources
    }
}

impl LoadedModule {
    fn kernel(&self, device: &CudaDevice, name: &str) -> Result<Arc<Loaded>> {
        if let Some(known) = self.found.lock().get(name) {
            return Ok(known.clone());
        }
        let unknown = || {
            let similar: Vec<&str> =
                self.kernels.iter().map(|kernel| kernel.name.as_ref()).filter(|other| alike(other, name)).collect();
            let hint = if similar.is_empty() { String::new() } else { format!("; it has {}", similar.join(", ")) };
            Error::argument("kernel", format!("module {} has no kernel {name}{hint}", self.name))
        };
        let info = self.kernels.iter().find(|kernel| kernel.name == name).ok_or_else(unknown)?;
        device.bind("kernel")?;
        let entry = CString::new(info.entry.as_bytes()).map_err(|_| unknown())?;
        // SAFETY: the module is loaded and never unloaded; its context is current.
        let function = unsafe { result::module::get_function(self.handle, entry) }.map_err(|error| {
            let reason = driver_error("kernel", error);
            Error::argument("kernel", format!("{name} of module {} is not in the loaded image: {reason}", self.name))
        })?;
        let resources = match self.arch.and_then(|arch| info.resources.iter().find(|known| known.arch == arch)) {
            Some(known) => *known,
            None => measured(device, info, function).map_err(|error| driver_error("kernel", error))?,
        };
        let loaded = Loaded {
            function,
            info: info.clone(),
            resources,
            dynamic_shared: AtomicU32::new(0),
            launches: AtomicU64::new(0),
        };
        Ok(self.found.lock().entry(name.to_owned()).or_insert_with(|| Arc::new(loaded)).clone())
    }
}

/// Whether two names share what stands before their template arguments.
fn alike(a: &str, b: &str) -> bool {
    a.split('<').next() == b.split('<').next()
}

/// The resources of a kernel that the driver compiled from PTX; block and cluster sizes are the PTX's.
fn measured(device: &CudaDevice, info: &KernelInfo, function: sys::CUfunction) -> Result<Resources, DriverError> {
    let attribute = |attribute| {
        // SAFETY: the function is of a loaded module whose context is current.
        unsafe { result::function::get_function_attribute(function, attribute) }
            .map(|value| u32::try_from(value).unwrap_or(0))
    };
    let (major, minor) = device.spec().compute_capability;
    let declared = info.resources.first();
    Ok(Resources {
        arch: Arch::new(major, minor, false),
        registers: attribute(Attribute::CU_FUNC_ATTRIBUTE_NUM_REGS)?,
        static_shared: attribute(Attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES)?,
        local: attribute(Attribute::CU_FUNC_ATTRIBUTE_LOCAL_SIZE_BYTES)?,
        max_threads: attribute(Attribute::CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK)?,
        required_block: declared.map_or([0; 3], |resources| resources.required_block),
        required_cluster: declared.map_or([0; 3], |resources| resources.required_cluster),
    })
}

/// The images that a device of that compute capability can use, in the order to try them: machine code of its own
/// chip, machine code of an older minor version, then PTX likewise.
fn candidates(images: &[Image], (major, minor): (u8, u8)) -> Vec<&Image> {
    let mut usable: Vec<&Image> = images.iter().filter(|image| image.runs_on(major, minor)).collect();
    usable.sort_by_key(|image| (image.format == Format::Ptx, std::cmp::Reverse(image.arch)));
    usable
}

fn load(device: &CudaDevice, module: &Module) -> Result<LoadedModule> {
    let compiled;
    let (nvrtc, kernels, images) = match &module.contents {
        Contents::Compiled { nvrtc, kernels, images } => (*nvrtc, kernels, images.as_ref()),
        Contents::Source { .. } => {
            compiled = compile(device.spec(), module)?;
            (compiled.nvrtc, &Cow::Owned(compiled.kernels.clone()), compiled.images.as_slice())
        }
    };
    device.bind("module")?;
    if let Some(handle) = replaced(module)? {
        let (name, found) = (module.name.clone().into_owned(), Mutex::default());
        return Ok(LoadedModule { handle, arch: None, name, kernels: kernels.clone(), found });
    }
    let mut failures = Vec::new();
    for image in candidates(images, device.spec().compute_capability) {
        let mut bytes = image.decompress().map_err(|error| format_error(module, &error))?;
        // PTX is text and must end in NUL; machine code knows its own length.
        bytes.push(0);
        // SAFETY: the image is whole and ends in NUL if it is text; the context is current.
        match unsafe { load_image(&bytes) } {
            Ok(handle) => {
                return Ok(LoadedModule {
                    handle,
                    arch: (image.format == Format::Cubin).then_some(image.arch),
                    name: module.name.clone().into_owned(),
                    kernels: kernels.clone(),
                    found: Mutex::new(HashMap::new()),
                });
            }
            Err((error, log)) => failures.push(failure(image, error, &log, nvrtc, device.spec())),
        }
    }
    Err(no_image(device.spec(), module, images, &failures))
}

/// The PTX of that module in the folder that `WARPSMITH_PTX` names, if there is any: how an edited kernel is tried
/// without building everything anew. Its kernels must take what the embedded ones do.
fn replaced(module: &Module) -> Result<Option<sys::CUmodule>> {
    let Some(folder) = std::env::var_os("WARPSMITH_PTX") else { return Ok(None) };
    let Ok(mut ptx) = std::fs::read(PathBuf::from(folder).join(format!("{}.ptx", module.name))) else {
        return Ok(None);
    };
    ptx.push(0);
    // SAFETY: the text ends in NUL; the context is current.
    let loaded = unsafe { load_image(&ptx) };
    loaded.map(Some).map_err(|(error, log)| match driver_error("module", error) {
        Error::Device { op, message } => {
            Error::Device { op, message: format!("{} from WARPSMITH_PTX: {message} ({log})", module.name) }
        }
        other => other,
    })
}

/// Loads an image into the current context; a failure comes with what the driver's compiler has written.
///
/// # Safety
/// The image must be whole, and end in NUL if it is PTX.
unsafe fn load_image(image: &[u8]) -> Result<sys::CUmodule, (DriverError, String)> {
    let mut log = [0u8; 4096];
    let mut options =
        [sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER, sys::CUjit_option::CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    // The second value is a number in a pointer's place, as the interface wants it.
    let mut values = [log.as_mut_ptr().cast(), std::ptr::without_provenance_mut(log.len())];
    let mut module = std::ptr::null_mut();
    // SAFETY: as many options as values; the log, the image and the result outlive the call.
    let status = unsafe {
        sys::cuModuleLoadDataEx(
            &mut module,
            image.as_ptr().cast(),
            options.len() as u32,
            options.as_mut_ptr(),
            values.as_mut_ptr(),
        )
    };
    match status.result() {
        Ok(()) => Ok(module),
        Err(error) => {
            let end = log.iter().position(|&byte| byte == 0).unwrap_or(log.len());
            Err((error, String::from_utf8_lossy(&log[..end]).trim().to_owned()))
        }
    }
}

fn failure(image: &Image, error: DriverError, log: &str, nvrtc: (u32, u32), spec: &GpuSpec) -> String {
    let kind = match image.format {
        Format::Cubin => "machine code",
        Format::Ptx => "PTX",
    };
    let mut text = format!("{kind} for {}: {}", image.arch, driver_error("module", error));
    if !log.is_empty() {
        text += &format!(" ({log})");
    }
    if error.0 == CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION {
        let (major, minor) = (spec.driver_version / 1000, spec.driver_version % 1000 / 10);
        text += &format!(
            " (the PTX is of CUDA {}.{}, the driver of CUDA {major}.{minor}: update the driver, or build with \
             WARPSMITH_CUDA_ARCHS naming this GPU's architecture)",
            nvrtc.0, nvrtc.1
        );
    }
    text
}

fn no_image(spec: &GpuSpec, module: &Module, images: &[Image], failures: &[String]) -> Error {
    let (major, minor) = spec.compute_capability;
    let mut archs: Vec<String> = images.iter().map(|image| image.arch.to_string()).collect();
    archs.dedup();
    let tried = if failures.is_empty() { "none of them fits".to_owned() } else { failures.join("; ") };
    Error::Device {
        op: "module",
        message: format!(
            "{} has no image for {} (compute capability {major}.{minor}). It carries {}: {tried}. Build with \
             WARPSMITH_CUDA_ARCHS={major}{minor} and NVRTC installed",
            module.name,
            spec.name,
            archs.join(", ")
        ),
    }
}

fn format_error(module: &Module, error: &warpsmith_build::Error) -> Error {
    Error::Format { what: format!("the kernels of module {}", module.name), message: error.to_string() }
}

/// Compiles a module that was embedded as source, for this device; the result is kept on disk.
fn compile(spec: &GpuSpec, module: &Module) -> Result<warpsmith_build::Compiled> {
    let source = module.source().map_err(|error| format_error(module, &error))?;
    let (major, minor) = spec.compute_capability;
    let usual = warpsmith_build::DEFAULT_ARCHS.into_iter().find(|arch| arch.machine_code_runs_on(major, minor));
    let arch = usual.unwrap_or(Arch::new(major, minor, false));
    let failed = |error: warpsmith_build::Error| {
        let message = format!("{} was embedded as source and does not compile here: {error}", module.name);
        Error::Device { op: "module", message }
    };
    let nvrtc = warpsmith_build::find(&[arch], None).map_err(failed)?;
    warpsmith_build::load_or_compile(&nvrtc, &source, arch, &cache_folder()).map_err(failed)
}

/// Where kernels compiled at first use are kept: the user's cache folder, or the temporary one.
fn cache_folder() -> PathBuf {
    let home = |variable: &str| std::env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    home("XDG_CACHE_HOME")
        .or_else(|| home("HOME").map(|home| home.join(".cache")))
        .or_else(|| home("LOCALAPPDATA"))
        .unwrap_or_else(std::env::temp_dir)
        .join("warpsmith")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::cuda::kernel_table::Compression;

    fn image(arch: Arch, format: Format) -> Image {
        Image { arch, format, len: 0, compression: Compression::Deflate, bytes: Cow::Borrowed(&[]) }
    }

    fn order(capability: (u8, u8)) -> Vec<String> {
        let images = [
            image(Arch::new(8, 0, false), Format::Ptx),
            image(Arch::new(9, 0, true), Format::Ptx),
            image(Arch::new(8, 0, false), Format::Cubin),
            image(Arch::new(8, 6, false), Format::Cubin),
            image(Arch::new(9, 0, true), Format::Cubin),
            image(Arch::new(12, 0, false), Format::Cubin),
        ];
        candidates(&images, capability).iter().map(|image| format!("{:?} {}", image.format, image.arch)).collect()
    }

    #[test]
    fn a_device_gets_its_own_machine_code_first_and_specific_ptx_only_on_its_chip() {
        assert_eq!(order((8, 0)), ["Cubin sm_80", "Ptx sm_80"]);
        assert_eq!(order((8, 9)), ["Cubin sm_86", "Cubin sm_80", "Ptx sm_80"]);
        assert_eq!(order((9, 0)), ["Cubin sm_90a", "Ptx sm_90a", "Ptx sm_80"]);
        assert_eq!(order((10, 0)), ["Ptx sm_80"]);
        assert_eq!(order((12, 1)), ["Cubin sm_120", "Ptx sm_80"]);
        assert_eq!(order((7, 5)), Vec::<String>::new());
    }
}
