//! Libraries (`cuLibrary*`, `cuKernel*`): modules that belong to no context until a context uses them.

use super::abi::{CuResult, Handle, In, Out};
use super::call;
use super::context::{Context, current};
use super::error::{Code, Error, Res};
use super::fatbin::{self, Image};
use super::function::{self, Function};
use super::jit::Options;
use super::module::{self, Module};
use super::primary;
use super::state::{device, driver};
use super::table::{Table, lock};
use std::collections::BTreeMap;
use std::ffi::c_char;
use std::sync::{Arc, Mutex};

static LIBRARIES: Table<Library> = Table::new(7);
static KERNELS: Table<Kernel> = Table::new(8);

/// A library: its image, and its module in every context that has used it.
struct Library {
    handle: Handle,
    image: Image,
    names: Vec<String>,
    kernels: Mutex<Vec<Arc<Kernel>>>,
    modules: Mutex<BTreeMap<Handle, Arc<Module>>>,
}

/// A kernel of a library.
struct Kernel {
    handle: Handle,
    library: Handle,
    name: String,
}

fn library(handle: Handle) -> Res<Arc<Library>> {
    driver()?;
    LIBRARIES.get(handle).ok_or_else(|| Code::InvalidHandle.into())
}

fn kernel(handle: Handle) -> Res<Arc<Kernel>> {
    driver()?;
    KERNELS.get(handle).ok_or_else(|| Code::InvalidHandle.into())
}

impl Library {
    /// The module in a context, placed there at its first use.
    fn module(&self, context: &Context) -> Res<Arc<Module>> {
        let mut modules = lock(&self.modules);
        if let Some(module) = modules.get(&context.handle).filter(|known| module::MODULES.get(known.handle).is_some()) {
            return Ok(module.clone());
        }
        let loaded = module::translate(&self.image, context.device.model, &Options::none())?;
        let module = module::instantiate(context, &loaded)?;
        modules.insert(context.handle, module.clone());
        Ok(module)
    }
}

impl Kernel {
    fn function(&self, context: &Context) -> Res<Arc<Function>> {
        library(self.library)?.module(context)?.function(&self.name)
    }
}

/// The function of a kernel handle in the current context; `None` where the handle is no kernel's.
pub fn kernel_function(handle: Handle) -> Option<Res<Arc<Function>>> {
    let kernel = KERNELS.get(handle)?;
    Some(current().and_then(|context| kernel.function(&context)))
}

struct LoadOptions {
    jit: In<u32>,
    jit_values: Out<usize>,
    jit_count: u32,
}

fn load(
    out: Out<Handle>,
    read: impl FnOnce(&'static crate::model::DeviceModel) -> Res<Image>,
    options: LoadOptions,
) -> Res {
    out.check()?;
    driver()?;
    // The image is translated for the current device, or the first one, to find its errors now.
    let model = match current() {
        Ok(context) => context.device.model,
        Err(_) => device(0)?.model,
    };
    let options = Options::read(options.jit_count, options.jit, options.jit_values)?;
    let image = read(model)?;
    let loaded = module::translate(&image, model, &options)?;
    let names: Vec<String> = loaded.program.entries().iter().map(|entry| entry.name.clone()).collect();
    let library =
        LIBRARIES.add(|handle| Library { handle, image, names, kernels: Mutex::default(), modules: Mutex::default() });
    let add = |name: &String| KERNELS.add(|handle| Kernel { handle, library: library.handle, name: name.clone() });
    *lock(&library.kernels) = library.names.iter().map(add).collect();
    out.set(library.handle)
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryLoadData(
    out: Out<Handle>,
    image: In<u8>,
    jit: In<u32>,
    jit_values: Out<usize>,
    jit_count: u32,
    _options: usize,
    _option_values: usize,
    _option_count: u32,
) -> CuResult {
    let options = LoadOptions { jit, jit_values, jit_count };
    call("cuLibraryLoadData", || load(out, |model| fatbin::from_memory(image, model), options))
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryLoadFromFile(
    out: Out<Handle>,
    name: In<c_char>,
    jit: In<u32>,
    jit_values: Out<usize>,
    jit_count: u32,
    _options: usize,
    _option_values: usize,
    _option_count: u32,
) -> CuResult {
    let options = LoadOptions { jit, jit_values, jit_count };
    let read = |model| fatbin::from_bytes(&module::read_file(name)?, model);
    call("cuLibraryLoadFromFile", || load(out, read, options))
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryUnload(handle: Handle) -> CuResult {
    call("cuLibraryUnload", || {
        driver()?;
        let library = LIBRARIES.remove(handle).ok_or(Code::InvalidHandle)?;
        for kernel in lock(&library.kernels).drain(..) {
            KERNELS.remove(kernel.handle);
        }
        lock(&library.modules).values().for_each(|module| module::unload(module));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetKernel(out: Out<Handle>, handle: Handle, name: In<c_char>) -> CuResult {
    call("cuLibraryGetKernel", || {
        out.check()?;
        let library = library(handle)?;
        let name = name.text()?;
        let kernels = lock(&library.kernels);
        let found = kernels.iter().find(|kernel| kernel.name == name);
        let missing = || Error::new(Code::NotFound, format!("the library has no kernel `{name}`"));
        out.set(found.ok_or_else(missing)?.handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetKernelCount(count: Out<u32>, handle: Handle) -> CuResult {
    call("cuLibraryGetKernelCount", || count.set(library(handle)?.names.len() as u32))
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryEnumerateKernels(out: Out<Handle>, count: u32, handle: Handle) -> CuResult {
    call("cuLibraryEnumerateKernels", || {
        let library = library(handle)?;
        let kernels = lock(&library.kernels);
        kernels.iter().take(count as usize).enumerate().try_for_each(|(index, one)| out.set_at(index, one.handle))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetModule(out: Out<Handle>, handle: Handle) -> CuResult {
    call("cuLibraryGetModule", || out.set(library(handle)?.module(&*current()?)?.handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuLibraryGetGlobal(out: Out<u64>, bytes: Out<usize>, handle: Handle, name: In<c_char>) -> CuResult {
    call("cuLibraryGetGlobal", || {
        let module = library(handle)?.module(&*current()?)?;
        module::global(&module, out, bytes, &name.text()?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetFunction(out: Out<Handle>, handle: Handle) -> CuResult {
    call("cuKernelGetFunction", || out.set(kernel(handle)?.function(&*current()?)?.handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetLibrary(out: Out<Handle>, handle: Handle) -> CuResult {
    call("cuKernelGetLibrary", || out.set(kernel(handle)?.library))
}

/// A kernel's function on a device: in the current context where that is on it, else in its primary context.
fn on_device(handle: Handle, ordinal: i32) -> Res<Arc<Function>> {
    let kernel = kernel(handle)?;
    device(ordinal)?;
    match current() {
        Ok(context) if context.device.ordinal == ordinal => kernel.function(&context),
        _ => kernel.function(&*primary::of_device(ordinal)?),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetAttribute(out: Out<i32>, attribute: u32, handle: Handle, ordinal: i32) -> CuResult {
    call("cuKernelGetAttribute", || function::get_attribute(out, attribute, &*on_device(handle, ordinal)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelSetAttribute(attribute: u32, value: i32, handle: Handle, ordinal: i32) -> CuResult {
    call("cuKernelSetAttribute", || function::set_attribute(&*on_device(handle, ordinal)?, attribute, value))
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelSetCacheConfig(handle: Handle, config: u32, ordinal: i32) -> CuResult {
    call("cuKernelSetCacheConfig", || {
        kernel(handle)?;
        device(ordinal)?;
        if config > 3 { Err(Code::InvalidValue.into()) } else { Ok(()) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetName(out: Out<In<c_char>>, handle: Handle) -> CuResult {
    call("cuKernelGetName", || function::name(out, &*kernel(handle)?.function(&*current()?)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetParamInfo(handle: Handle, index: usize, offset: Out<usize>, size: Out<usize>) -> CuResult {
    call("cuKernelGetParamInfo", || {
        function::param_info(&*kernel(handle)?.function(&*current()?)?, index, offset, size)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuKernelGetParamCount(handle: Handle, count: Out<usize>) -> CuResult {
    call("cuKernelGetParamCount", || count.set(kernel(handle)?.function(&*current()?)?.entry().params.len()))
}
