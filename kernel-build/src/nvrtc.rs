//! NVRTC, loaded at run time through its C interface (NVRTC documentation, "User Interface").

use crate::arch::Arch;
use crate::source::Source;
use crate::{Error, Result};
use libloading::Library;
use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::path::{Path, PathBuf};

type Program = *mut c_void;
type Status = c_int;

/// A loaded NVRTC.
pub struct Nvrtc {
    library: Library,
    path: PathBuf,
    version: (u32, u32),
    numbers: Vec<u32>,
}

impl std::fmt::Debug for Nvrtc {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Nvrtc").field("path", &self.path).field("version", &self.version).finish()
    }
}

/// What one compilation gives.
pub(crate) struct Output {
    pub ptx: String,
    pub cubin: Vec<u8>,
    pub log: String,
}

impl Nvrtc {
    /// Loads the library at `path` (a file, or a name for the loader's own search).
    pub fn load(path: &Path) -> Result<Self> {
        let missing = |error: libloading::Error| Error::NvrtcMissing(format!("{}: {error}", path.display()));
        // SAFETY: loading runs the library's initialisers. The names searched are those of NVIDIA's NVRTC, whose
        // initialisers set up its own state only.
        let library = unsafe { Library::new(path) }.map_err(missing)?;
        let mut nvrtc = Self { library, path: path.to_owned(), version: (0, 0), numbers: Vec::new() };
        let (mut major, mut minor) = (0, 0);
        // SAFETY: the type is nvrtcVersion's; both pointers are to live integers.
        nvrtc.check(unsafe {
            nvrtc.symbol::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> Status>(c"nvrtcVersion")?(
                &mut major, &mut minor,
            )
        })?;
        nvrtc.version = (major as u32, minor as u32);
        let mut count = 0;
        // SAFETY: the type is nvrtcGetNumSupportedArchs's; the pointer is to a live integer.
        nvrtc.check(unsafe {
            nvrtc.symbol::<unsafe extern "C" fn(*mut c_int) -> Status>(c"nvrtcGetNumSupportedArchs")?(&mut count)
        })?;
        let mut numbers = vec![0 as c_int; usize::try_from(count).unwrap_or(0)];
        // SAFETY: the type is nvrtcGetSupportedArchs's, which writes as many integers as the call before has said.
        nvrtc.check(unsafe {
            nvrtc.symbol::<unsafe extern "C" fn(*mut c_int) -> Status>(c"nvrtcGetSupportedArchs")?(numbers.as_mut_ptr())
        })?;
        nvrtc.numbers = numbers.into_iter().filter_map(|number| u32::try_from(number).ok()).collect();
        Ok(nvrtc)
    }

    /// Its version: major, minor.
    pub fn version(&self) -> (u32, u32) {
        self.version
    }

    /// Where it was loaded from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it compiles for `arch`.
    pub fn supports(&self, arch: Arch) -> bool {
        self.numbers.contains(&arch.number())
    }

    /// Compiles to PTX alone, without the checks of [`compile`](crate::compile()): to try something out.
    ///
    /// # Errors
    /// [`Error::Compile`] with NVRTC's log.
    pub fn ptx(&self, source: &Source, arch: Arch) -> Result<String> {
        let virtual_arch = arch.to_string().replace("sm_", "compute_");
        let mut options = vec![format!("--gpu-architecture={virtual_arch}"), "--std=c++17".into(), "-lineinfo".into()];
        options.extend(source.options.iter().cloned());
        self.run(source, &options)?.text(c"nvrtcGetPTXSize", c"nvrtcGetPTX")
    }

    /// Compiles to PTX and machine code in one call.
    pub(crate) fn compile(&self, source: &Source, options: &[String]) -> Result<Output> {
        let handle = self.run(source, options)?;
        let log = handle.text(c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog")?;
        // The log is read though all went well: a serialised wgmma or a spill comes with success.
        let ptx = handle.text(c"nvrtcGetPTXSize", c"nvrtcGetPTX")?;
        let cubin = handle.bytes(c"nvrtcGetCUBINSize", c"nvrtcGetCUBIN")?;
        Ok(Output { ptx, cubin, log })
    }

    /// Compiles; an error carries the log.
    fn run(&self, source: &Source, options: &[String]) -> Result<Handle<'_>> {
        let text = c_string(&source.text)?;
        let label = c_string(&source.label)?;
        let names = source.headers.iter().map(|(name, _)| c_string(name)).collect::<Result<Vec<_>>>()?;
        let texts = source.headers.iter().map(|(_, text)| c_string(text)).collect::<Result<Vec<_>>>()?;
        let options = options.iter().map(|option| c_string(option)).collect::<Result<Vec<_>>>()?;
        let name_pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
        let text_pointers: Vec<*const c_char> = texts.iter().map(|text| text.as_ptr()).collect();
        let option_pointers: Vec<*const c_char> = options.iter().map(|option| option.as_ptr()).collect();
        type Create = unsafe extern "C" fn(
            *mut Program,
            *const c_char,
            *const c_char,
            c_int,
            *const *const c_char,
            *const *const c_char,
        ) -> Status;
        let mut handle = Handle { nvrtc: self, program: std::ptr::null_mut() };
        // SAFETY: the type is nvrtcCreateProgram's; every string ends in NUL and outlives the call, and the two arrays
        // have as many items as the count says. NVRTC copies what it keeps.
        self.check(unsafe {
            self.symbol::<Create>(c"nvrtcCreateProgram")?(
                &mut handle.program,
                text.as_ptr(),
                label.as_ptr(),
                names.len() as c_int,
                text_pointers.as_ptr(),
                name_pointers.as_ptr(),
            )
        })?;
        type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> Status;
        // SAFETY: the type is nvrtcCompileProgram's; the program is live and the options end in NUL.
        let status = unsafe {
            self.symbol::<Compile>(c"nvrtcCompileProgram")?(
                handle.program,
                options.len() as c_int,
                option_pointers.as_ptr(),
            )
        };
        if status != 0 {
            let log = handle.text(c"nvrtcGetProgramLogSize", c"nvrtcGetProgramLog")?;
            return Err(Error::Compile(format!(
                "{} does not compile ({}):\n{}",
                source.label,
                self.message(status),
                log.trim()
            )));
        }
        Ok(handle)
    }

    /// # Safety
    /// `T` must be the type of the function of that name.
    unsafe fn symbol<T>(&self, name: &CStr) -> Result<libloading::Symbol<'_, T>> {
        // SAFETY: the caller vouches for the type.
        unsafe { self.library.get(name.to_bytes_with_nul()) }
            .map_err(|error| Error::NvrtcMissing(format!("{}: {error}", self.path.display())))
    }

    fn check(&self, status: Status) -> Result<()> {
        if status == 0 {
            return Ok(());
        }
        Err(Error::Compile(format!("NVRTC {}: {}", self.path.display(), self.message(status))))
    }

    fn message(&self, status: Status) -> String {
        // SAFETY: the type is nvrtcGetErrorString's, which returns a static string for any status.
        let text = unsafe {
            self.symbol::<unsafe extern "C" fn(Status) -> *const c_char>(c"nvrtcGetErrorString")
                .map(|message| CStr::from_ptr(message(status)).to_string_lossy().into_owned())
        };
        text.unwrap_or_else(|_| format!("status {status}"))
    }
}

fn c_string(text: &str) -> Result<CString> {
    CString::new(text).map_err(|_| Error::Compile("a CUDA source or option contains a NUL character".to_owned()))
}

/// A program of NVRTC, destroyed when dropped.
struct Handle<'a> {
    nvrtc: &'a Nvrtc,
    program: Program,
}

impl Handle<'_> {
    fn bytes(&self, size_name: &CStr, name: &CStr) -> Result<Vec<u8>> {
        let mut size = 0usize;
        // SAFETY: every nvrtcGet…Size has this type; the program is live and the pointer is to a live integer.
        self.nvrtc.check(unsafe {
            self.nvrtc.symbol::<unsafe extern "C" fn(Program, *mut usize) -> Status>(size_name)?(
                self.program,
                &mut size,
            )
        })?;
        let mut bytes = vec![0u8; size];
        // SAFETY: every getter has this type and writes as many bytes as its size function has said.
        self.nvrtc.check(unsafe {
            self.nvrtc.symbol::<unsafe extern "C" fn(Program, *mut c_char) -> Status>(name)?(
                self.program,
                bytes.as_mut_ptr().cast(),
            )
        })?;
        Ok(bytes)
    }

    fn text(&self, size_name: &CStr, name: &CStr) -> Result<String> {
        let mut bytes = self.bytes(size_name, name)?;
        while bytes.last() == Some(&0) {
            bytes.pop();
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

impl Drop for Handle<'_> {
    fn drop(&mut self) {
        if self.program.is_null() {
            return;
        }
        // SAFETY: the type is nvrtcDestroyProgram's; the program is live and not used after.
        unsafe {
            if let Ok(destroy) =
                self.nvrtc.symbol::<unsafe extern "C" fn(*mut Program) -> Status>(c"nvrtcDestroyProgram")
            {
                destroy(&mut self.program);
            }
        }
    }
}
