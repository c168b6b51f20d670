//! Installing the driver in the running process, and the handle to it.
//!
//! The crate as a Rust library and the shared object are two programs. This one holds no state: it finds the object that
//! was built with it, loads it by path, and asks it for everything through `vgpu_*` functions. The object's SONAME is
//! `libcuda.so`, so that glibc hands the same object to whoever loads that name later.

use crate::BUILD_MARK;
use crate::model::DeviceModel;
use std::collections::BTreeMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::{env, fmt, fs, io};

/// Why the virtual GPU could not be installed.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InstallError {
    /// Another libcuda, a real one or one of another build, is loaded in this process already.
    OtherDriver {
        /// What is known about it.
        what: String,
    },
    /// No object of this build was found.
    NotFound {
        /// Where it was looked for.
        searched: Vec<PathBuf>,
        /// Objects of other builds that were passed over.
        other_builds: Vec<PathBuf>,
    },
    /// The dynamic loader refused the object.
    Load {
        /// The object.
        path: PathBuf,
        /// What the loader said.
        message: String,
    },
    /// A setting was refused.
    Setting(String),
}

impl fmt::Display for InstallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InstallError::OtherDriver { what } => write!(
                f,
                "{what} is loaded in this process already, and a process has one libcuda: call virtual_gpu::install() \
                 before anything else uses CUDA"
            ),
            InstallError::NotFound { searched, other_builds } => {
                write!(f, "no libvirtual_gpu*.so of this build was found in {searched:?}")?;
                if !other_builds.is_empty() {
                    write!(f, "; of other builds there are {other_builds:?}: rebuild, or remove them")?;
                }
                write!(f, " (VIRTUAL_GPU_LIBRARY can name the file)")
            }
            InstallError::Load { path, message } => write!(f, "{} could not be loaded: {message}", path.display()),
            InstallError::Setting(text) => write!(f, "virtual-gpu: {text}"),
        }
    }
}

impl std::error::Error for InstallError {}

/// Loads the virtual driver into this process, with the settings of the environment. Calling it again, from any thread,
/// gives the same driver.
///
/// # Errors
/// [`InstallError`] where another libcuda is loaded already or the object of this build cannot be found or loaded.
pub fn install() -> Result<VirtualGpu, InstallError> {
    static INSTALLED: OnceLock<Result<VirtualGpu, InstallError>> = OnceLock::new();
    INSTALLED.get_or_init(load).clone()
}

/// Settings to install with.
///
/// Devices and driver version have to be set before the first CUDA call of the process; the rest can change at any time.
#[derive(Debug, Clone, Default)]
pub struct Options {
    lines: Vec<String>,
}

impl Options {
    /// No settings beside those of the environment.
    pub fn new() -> Options {
        Options::default()
    }

    fn with(mut self, key: &str, value: impl fmt::Display) -> Options {
        self.lines.push(format!("{key}={value}"));
        self
    }

    /// The devices, by ordinal.
    pub fn devices(self, models: &[&DeviceModel]) -> Options {
        let names: Vec<&str> = models.iter().map(|model| model.id).collect();
        self.with("device", names.join(","))
    }

    /// The driver version as `cuDriverGetVersion` gives it, 12000 (for 12.0) to 13990.
    pub fn driver_version(self, version: i32) -> Options {
        self.with("driver", version)
    }

    /// The checks that are on, as `VIRTUAL_GPU_CHECK` spells them: `all`, `none`, `memory,races`, `-races`.
    pub fn checks(self, checks: &str) -> Options {
        self.with("check", checks)
    }

    /// The seed of the schedule; 0 is the plain order.
    pub fn schedule(self, seed: u64) -> Options {
        self.with("schedule", seed)
    }

    /// Where the profile goes when the process ends.
    pub fn profile(self, path: &Path) -> Options {
        self.with("profile", path.display())
    }

    /// Whether refused calls are explained on standard error (they are unless this says no).
    pub fn log(self, on: bool) -> Options {
        self.with("log", u8::from(on))
    }

    /// Installs the driver, or takes the one that is installed, and applies the settings.
    ///
    /// # Errors
    /// As [`install`], and [`InstallError::Setting`] where devices or driver version come after the first CUDA call.
    pub fn install(self) -> Result<VirtualGpu, InstallError> {
        let gpu = install()?;
        gpu.apply(&self)?;
        Ok(gpu)
    }
}

/// A fault of a kernel or of other queued work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeviceFault {
    /// The `CUresult` that the context gives from then on.
    pub code: u32,
    /// The report: kernel, instruction, source line, block, thread, address and allocation.
    pub report: String,
}

type ConfigureFn = unsafe extern "C" fn(*const c_char, *mut c_char, usize) -> i32;
type InjectFn = unsafe extern "C" fn(u64, u64, u64);
type TextFn = unsafe extern "C" fn(u32, *mut c_char, usize) -> usize;
type ClearFn = unsafe extern "C" fn(u32);
type BuildFn = unsafe extern "C" fn() -> *const c_char;

/// The installed driver.
#[derive(Debug, Clone, Copy)]
pub struct VirtualGpu {
    configure: ConfigureFn,
    inject: InjectFn,
    text: TextFn,
    clear: ClearFn,
}

const PROFILE: u32 = 0;
const FAULTS: u32 = 1;
const LAST_ERROR: u32 = 2;
const LEAKS: u32 = 3;
const CALLS: u32 = 4;
const CLEAR_RECORDS: u32 = 1;
const CLEAR_FAULTS: u32 = 2;
const CLEAR_CALLS: u32 = 4;

impl VirtualGpu {
    /// Applies settings.
    ///
    /// # Errors
    /// [`InstallError::Setting`] where a setting is wrong, or comes too late.
    pub fn apply(&self, options: &Options) -> Result<(), InstallError> {
        let wrong = |text: &str| InstallError::Setting(text.to_owned());
        let lines = CString::new(options.lines.join("\n")).map_err(|_| wrong("a setting contains a zero"))?;
        let mut problem = [0u8; 512];
        // SAFETY: a zero-terminated string, and a buffer of the length given.
        let code = unsafe { (self.configure)(lines.as_ptr(), problem.as_mut_ptr().cast(), problem.len()) };
        if code == 0 {
            return Ok(());
        }
        let text = CStr::from_bytes_until_nul(&problem).map(CStr::to_string_lossy).unwrap_or_default();
        Err(wrong(&text))
    }

    fn text(&self, which: u32) -> String {
        let mut buffer = Vec::<u8>::new();
        loop {
            // SAFETY: a buffer of the length given, or none.
            let len = unsafe { (self.text)(which, buffer.as_mut_ptr().cast(), buffer.len()) };
            if len < buffer.len() {
                buffer.truncate(len);
                return String::from_utf8_lossy(&buffer).into_owned();
            }
            // Other threads may have made it longer meanwhile, hence the loop.
            buffer.resize(len + 1, 0);
        }
    }

    /// The launches so far with their counters, and sums by kernel, as JSON.
    pub fn profile_json(&self) -> String {
        self.text(PROFILE)
    }

    /// Forgets the launches so far.
    pub fn clear_profile(&self) {
        // SAFETY: no pointers.
        unsafe { (self.clear)(CLEAR_RECORDS) }
    }

    /// The faults so far, oldest first.
    pub fn faults(&self) -> Vec<DeviceFault> {
        let text = self.text(FAULTS);
        let one = |part: &str| {
            let (code, report) = part.split_once(' ')?;
            Some(DeviceFault { code: code.parse().ok()?, report: report.to_owned() })
        };
        text.split('\u{1e}').filter_map(one).collect()
    }

    /// Forgets the faults so far. Contexts that had one stay unusable, as on a real device.
    pub fn clear_faults(&self) {
        // SAFETY: no pointers.
        unsafe { (self.clear)(CLEAR_FAULTS) }
    }

    /// Why the last driver call on this thread that failed was refused.
    pub fn last_error(&self) -> Option<String> {
        Some(self.text(LAST_ERROR)).filter(|text| !text.is_empty())
    }

    /// The allocations that are alive, one line each.
    pub fn live_allocations(&self) -> Vec<String> {
        self.text(LEAKS).lines().map(str::to_owned).collect()
    }

    /// How often each entry point of the driver was called so far (`cuMemcpyDtoHAsync`, without a version's suffix),
    /// refused calls too: for tests that count synchronisations, copies or allocations.
    pub fn calls(&self) -> BTreeMap<String, u64> {
        let text = self.text(CALLS);
        let one =
            |line: &str| line.split_once(' ').and_then(|(name, count)| Some((name.to_owned(), count.parse().ok()?)));
        text.lines().filter_map(one).collect()
    }

    /// Counts calls from nought again.
    pub fn clear_calls(&self) {
        // SAFETY: no pointers.
        unsafe { (self.clear)(CLEAR_CALLS) }
    }

    /// Injects faults, counted from now: the n-th allocation fails, the n-th launch fails, the device is lost at the n-th
    /// launch; 0 is never.
    pub fn inject(&self, allocation: u64, launch: u64, lost: u64) {
        // SAFETY: no pointers.
        unsafe { (self.inject)(allocation, launch, lost) }
    }
}

fn load() -> Result<VirtualGpu, InstallError> {
    for name in [c"libcuda.so", c"libcuda.so.1"] {
        if let Some(library) = open(name, libc::RTLD_NOLOAD) {
            let what = match build_of(library) {
                Some(mark) if mark == BUILD_MARK.trim_end_matches('\0') => {
                    return handle(library, Path::new("libcuda.so"));
                }
                Some(mark) => format!("a virtual libcuda of another build ({mark})"),
                None => "a real libcuda".to_owned(),
            };
            return Err(InstallError::OtherDriver { what });
        }
    }
    let path = library_path()?;
    let load = |message: String| InstallError::Load { path: path.clone(), message };
    let name = CString::new(path.as_os_str().as_encoded_bytes()).map_err(|error| load(error.to_string()))?;
    let library = open(&name, 0).ok_or_else(|| load(loader_error()))?;
    handle(library, &path)
}

/// A loaded object.
#[derive(Clone, Copy)]
struct Library(*mut c_void);

fn open(name: &CStr, flags: i32) -> Option<Library> {
    // SAFETY: a zero-terminated string. Loading runs no code of ours, and other objects are only asked for, not loaded.
    let handle = unsafe { libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_LOCAL | flags) };
    (!handle.is_null()).then_some(Library(handle))
}

fn loader_error() -> String {
    // SAFETY: the string that dlerror gives is valid until the next call of this thread.
    unsafe {
        let text = libc::dlerror();
        if text.is_null() { String::new() } else { CStr::from_ptr(text).to_string_lossy().into_owned() }
    }
}

fn symbol(library: Library, name: &CStr) -> Option<*mut c_void> {
    // SAFETY: a handle of dlopen that is never closed, and a zero-terminated string.
    let address = unsafe { libc::dlsym(library.0, name.as_ptr()) };
    (!address.is_null()).then_some(address)
}

fn build_of(library: Library) -> Option<String> {
    let address = symbol(library, c"vgpu_build")?;
    // SAFETY: only this crate's objects export the name, with this type.
    let text = unsafe { std::mem::transmute::<*mut c_void, BuildFn>(address)() };
    // SAFETY: a static string of the object.
    Some(unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned())
}

fn handle(library: Library, path: &Path) -> Result<VirtualGpu, InstallError> {
    let find = |name: &CStr| {
        symbol(library, name)
            .ok_or_else(|| InstallError::Load { path: path.to_owned(), message: format!("{name:?} is missing in it") })
    };
    // SAFETY: the object is of this very build, whose functions have these types.
    unsafe {
        Ok(VirtualGpu {
            configure: std::mem::transmute::<*mut c_void, ConfigureFn>(find(c"vgpu_configure")?),
            inject: std::mem::transmute::<*mut c_void, InjectFn>(find(c"vgpu_inject")?),
            text: std::mem::transmute::<*mut c_void, TextFn>(find(c"vgpu_text")?),
            clear: std::mem::transmute::<*mut c_void, ClearFn>(find(c"vgpu_clear")?),
        })
    }
}

/// The shared object of this very build.
///
/// It is looked for where cargo put it, from the build script's folder and from the running program.
///
/// # Errors
/// [`InstallError::NotFound`] with the folders that were searched.
pub fn library_path() -> Result<PathBuf, InstallError> {
    if let Some(path) = env::var_os("VIRTUAL_GPU_LIBRARY") {
        return Ok(PathBuf::from(path));
    }
    let mut folders: Vec<PathBuf> = Vec::new();
    let mut add = |folder: PathBuf| {
        if folder.is_dir() && !folders.contains(&folder) {
            folders.push(folder);
        }
    };
    // `target/PROFILE/build/PACKAGE/out`, and `target/PROFILE/deps/PROGRAM`, `target/PROFILE/examples/PROGRAM`.
    let built = Path::new(env!("VIRTUAL_GPU_OUT_DIR"));
    let program = env::current_exe().ok();
    let above =
        built.ancestors().skip(1).take(4).chain(program.iter().flat_map(|path| path.ancestors().skip(1).take(3)));
    for folder in above {
        add(folder.join("deps"));
        add(folder.to_owned());
    }
    let mut other_builds = Vec::new();
    for folder in &folders {
        for path in objects(folder) {
            match is_this_build(&path) {
                Ok(true) => return Ok(path),
                Ok(false) => other_builds.push(path),
                // Unreadable or gone meanwhile: not the one.
                Err(_) => {}
            }
        }
    }
    Err(InstallError::NotFound { searched: folders, other_builds })
}

/// The files in a folder that may be the object.
fn objects(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_object = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
        name.starts_with("libvirtual_gpu") && name.ends_with(".so")
    };
    let mut found: Vec<PathBuf> = entries.filter(is_object).collect();
    found.sort();
    found
}

/// Whether a file carries this build's mark. It is read, not loaded: an object of another build would stay loaded.
fn is_this_build(path: &Path) -> io::Result<bool> {
    let bytes = fs::read(path)?;
    let mark = BUILD_MARK.as_bytes();
    // SAFETY: both ranges are slices. The C library's search is fast in unoptimised builds as well.
    let found = unsafe { libc::memmem(bytes.as_ptr().cast(), bytes.len(), mark.as_ptr().cast(), mark.len()) };
    Ok(!found.is_null())
}
