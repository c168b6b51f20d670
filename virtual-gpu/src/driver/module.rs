//! Modules: loading, lookup of kernels and variables, unloading.

use super::abi::{CuResult, Handle, In, Out};
use super::call;
use super::config;
use super::context::{Context, current};
use super::error::{Code, Error, Res};
use super::fatbin::{self, Image};
use super::function::{FUNCTIONS, Function};
use super::jit::Options;
use super::state::driver;
use super::table::{Table, lock};
use crate::machine::{self, LoadOptions, Program};
use crate::model::DeviceModel;
use std::ffi::c_char;
use std::sync::{Arc, Mutex};

pub static MODULES: Table<Module> = Table::new(5);

/// A module in a context.
pub struct Module {
    pub handle: Handle,
    pub context: Handle,
    pub device: i32,
    pub program: Arc<Program>,
    pub instance: machine::Module,
    /// One per kernel, in the program's order.
    functions: Mutex<Vec<Arc<Function>>>,
}

/// A program that was loaded for a device, before it has a place in a context.
#[derive(Clone)]
pub struct Loaded {
    pub program: Arc<Program>,
    registers: std::collections::BTreeMap<String, u32>,
}

/// Translates an image for a device and fills the caller's logs.
pub fn translate(image: &Image, model: &DeviceModel, options: &Options) -> Res<Loaded> {
    let version = driver()?.version;
    let load = LoadOptions { driver_version: version, max_ptx: config::newest_ptx(version) };
    match Program::load(&image.ptx, model, &load) {
        Ok(program) => {
            let mut info = String::new();
            for entry in program.entries() {
                info.push_str(&format!(
                    "ptxas info    : Function properties for {}: {} registers, {} bytes smem, {} bytes lmem\n",
                    entry.name, entry.registers, entry.static_shared_bytes, entry.local_bytes
                ));
            }
            options.report(&info, "")?;
            Ok(Loaded { program: Arc::new(program), registers: image.registers.clone() })
        }
        Err(error) => {
            // The form that ptxas gives its messages, with the column added.
            let log = format!(
                "ptxas application ptx input, line {}, column {}; error   : {}\nptxas fatal   : Ptx assembly aborted due to errors\n",
                error.line, error.column, error.message
            );
            options.report("", &log)?;
            Err(error.into())
        }
    }
}

/// Places a translated program in a context.
pub fn instantiate(context: &Context, loaded: &Loaded) -> Res<Arc<Module>> {
    let program = loaded.program.clone();
    let instance = machine::Module::instantiate(program.clone(), context.device.memory.clone())?;
    let module = MODULES.add(|handle| Module {
        handle,
        context: context.handle,
        device: context.device.ordinal,
        program: program.clone(),
        instance,
        functions: Mutex::default(),
    });
    let mut functions = Vec::new();
    for (index, entry) in program.entries().iter().enumerate() {
        let registers = loaded.registers.get(&entry.name).copied();
        functions.push(FUNCTIONS.add(|handle| Function::new(handle, &module, index, registers)));
    }
    *lock(&module.functions) = functions;
    Ok(module)
}

impl Module {
    pub fn functions(&self) -> Vec<Arc<Function>> {
        lock(&self.functions).clone()
    }

    pub fn function(&self, name: &str) -> Res<Arc<Function>> {
        let found = self.functions().into_iter().find(|function| function.entry().name == name);
        found.ok_or_else(|| {
            let names: Vec<&str> = self.program.entries().iter().map(|entry| entry.name.as_str()).collect();
            Error::new(Code::NotFound, format!("the module has no kernel `{name}`; it has {}", names.join(", ")))
        })
    }
}

/// A live module by handle.
pub fn module(handle: Handle) -> Res<Arc<Module>> {
    driver()?;
    MODULES.get(handle).ok_or_else(|| Code::InvalidHandle.into())
}

/// Takes a module and its functions out of the tables.
pub fn unload(module: &Module) {
    MODULES.remove(module.handle);
    for function in lock(&module.functions).drain(..) {
        FUNCTIONS.remove(function.handle);
    }
}

/// Unloads what a context left.
pub fn forget(context: &Context) {
    for module in MODULES.all() {
        if module.context == context.handle {
            unload(&module);
        }
    }
}

fn load(out: Out<Handle>, image: In<u8>, options: &Options) -> Res {
    out.check()?;
    let context = current()?;
    let model = context.device.model;
    let image = fatbin::from_memory(image, model)?;
    let loaded = translate(&image, model, options)?;
    out.set(instantiate(&context, &loaded)?.handle)
}

/// The bytes of a file whose name the caller gave.
pub fn read_file(name: In<c_char>) -> Res<Vec<u8>> {
    use std::os::unix::ffi::OsStrExt;
    let name = name.c_bytes()?;
    let path = std::path::Path::new(std::ffi::OsStr::from_bytes(&name));
    std::fs::read(path).map_err(|error| Error::new(Code::FileNotFound, format!("{}: {error}", path.display())))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoad(out: Out<Handle>, name: In<c_char>) -> CuResult {
    call("cuModuleLoad", || {
        out.check()?;
        let context = current()?;
        let model = context.device.model;
        let image = fatbin::from_bytes(&read_file(name)?, model)?;
        out.set(instantiate(&context, &translate(&image, model, &Options::none())?)?.handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadData(out: Out<Handle>, image: In<u8>) -> CuResult {
    call("cuModuleLoadData", || load(out, image, &Options::none()))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadDataEx(
    out: Out<Handle>,
    image: In<u8>,
    count: u32,
    options: In<u32>,
    values: Out<usize>,
) -> CuResult {
    call("cuModuleLoadDataEx", || load(out, image, &Options::read(count, options, values)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleLoadFatBinary(out: Out<Handle>, image: In<u8>) -> CuResult {
    call("cuModuleLoadFatBinary", || load(out, image, &Options::none()))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleUnload(handle: Handle) -> CuResult {
    call("cuModuleUnload", || {
        let context = current()?;
        let module = module(handle)?;
        if module.context != context.handle {
            return Err(Error::new(Code::InvalidHandle, "the module belongs to another context"));
        }
        // Launches that are queued hold what they need.
        unload(&module);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetLoadingMode(mode: Out<u32>) -> CuResult {
    // CU_MODULE_EAGER_LOADING
    call("cuModuleGetLoadingMode", || mode.set(1))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunction(out: Out<Handle>, handle: Handle, name: In<c_char>) -> CuResult {
    call("cuModuleGetFunction", || {
        out.check()?;
        current()?;
        out.set(module(handle)?.function(&name.text()?)?.handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetFunctionCount(count: Out<u32>, handle: Handle) -> CuResult {
    call("cuModuleGetFunctionCount", || count.set(module(handle)?.functions().len() as u32))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleEnumerateFunctions(out: Out<Handle>, count: u32, handle: Handle) -> CuResult {
    call("cuModuleEnumerateFunctions", || {
        let functions = module(handle)?.functions();
        functions.iter().take(count as usize).enumerate().try_for_each(|(index, one)| out.set_at(index, one.handle))
    })
}

/// Address and size of a variable, for the module and the library interface.
pub fn global(module: &Module, out: Out<u64>, bytes: Out<usize>, name: &str) -> Res {
    let found = module.instance.global(name);
    let (address, size) = found.ok_or_else(|| {
        Error::new(Code::NotFound, format!("the module has no variable `{name}` in global or constant memory"))
    })?;
    out.set_if_wanted(address)?;
    bytes.set_if_wanted(size as usize)
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetGlobal_v2(out: Out<u64>, bytes: Out<usize>, handle: Handle, name: In<c_char>) -> CuResult {
    call("cuModuleGetGlobal", || {
        current()?;
        global(&*module(handle)?, out, bytes, &name.text()?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetTexRef(_out: Out<Handle>, handle: Handle, _name: In<c_char>) -> CuResult {
    call("cuModuleGetTexRef", || module(handle).and_then(|_| Err(Code::NotFound.into())))
}

#[unsafe(no_mangle)]
extern "C" fn cuModuleGetSurfRef(_out: Out<Handle>, handle: Handle, _name: In<c_char>) -> CuResult {
    call("cuModuleGetSurfRef", || module(handle).and_then(|_| Err(Code::NotFound.into())))
}
