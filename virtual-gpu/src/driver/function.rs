//! Functions: attributes, parameters, the old launch state.

use super::abi::{CuResult, Handle, In, Out};
use super::call;
use super::context::current;
use super::error::{Code, Error, Res};
use super::module::Module;
use super::state::{device, driver};
use super::table::{Table, lock};
use crate::machine::Entry;
use crate::model::DeviceModel;
use std::ffi::{CString, c_char};
use std::sync::{Arc, Mutex};

pub static FUNCTIONS: Table<Function> = Table::new(6);

/// A kernel of a module.
pub struct Function {
    pub handle: Handle,
    pub module: Arc<Module>,
    /// Index into the program's entries.
    pub index: usize,
    /// From a cubin beside the PTX.
    pub cubin_registers: Option<u32>,
    pub attributes: Mutex<Attributes>,
    name: CString,
    /// Block, shared bytes and parameters as `cuFuncSetBlockShape`, `cuFuncSetSharedSize` and `cuParamSet*` leave them.
    pub legacy: Mutex<Legacy>,
}

/// What can be set.
#[derive(Debug, Clone, Default)]
pub struct Attributes {
    /// Opted in for; `None` is the default of what the device gives without.
    pub max_dynamic_shared: Option<u32>,
    pub carveout: i32,
    pub cluster: [u32; 3],
    pub non_portable_cluster: bool,
    pub cluster_policy: u32,
}

#[derive(Debug, Clone, Default)]
pub struct Legacy {
    pub block: [u32; 3],
    pub shared: u32,
    pub params: Vec<u8>,
}

impl Function {
    pub fn new(handle: Handle, module: &Arc<Module>, index: usize, cubin_registers: Option<u32>) -> Function {
        let name = CString::new(module.program.entries()[index].name.as_str()).unwrap_or_default();
        let attributes = Attributes { carveout: -1, ..Attributes::default() };
        Function {
            handle,
            module: module.clone(),
            index,
            cubin_registers,
            attributes: Mutex::new(attributes),
            name,
            legacy: Mutex::default(),
        }
    }

    pub fn entry(&self) -> &Entry {
        &self.module.program.entries()[self.index]
    }

    pub fn model(&self) -> Res<&'static DeviceModel> {
        Ok(device(self.module.device)?.model)
    }

    pub fn registers(&self) -> u32 {
        self.cubin_registers.unwrap_or(self.entry().registers)
    }

    /// Registers per thread that a launch certainly takes: those of a cubin, or `.maxnreg`. What PTX alone takes is an
    /// estimate, by which no launch is refused.
    pub fn declared_registers(&self) -> Option<u32> {
        self.cubin_registers.or(self.entry().max_nreg)
    }

    /// Dynamic shared memory that a launch may ask for.
    pub fn max_dynamic_shared(&self) -> Res<u32> {
        let free = self.model()?.shared_per_block.saturating_sub(self.entry().static_shared_bytes);
        Ok(lock(&self.attributes).max_dynamic_shared.unwrap_or(free))
    }

    /// The block that declarations and registers allow, in threads.
    pub fn max_threads(&self) -> Res<u32> {
        let entry = self.entry();
        let model = self.model()?;
        let declared = entry.req_ntid.or(entry.max_ntid).map(|extent| extent.iter().product::<u32>());
        let by_registers = self.declared_registers().map(|registers| {
            let per_warp = (registers * model.warp_size).next_multiple_of(model.register_allocation_unit).max(1);
            model.registers_per_block / per_warp * model.warp_size
        });
        let by_registers = by_registers.unwrap_or(u32::MAX);
        Ok(model.max_threads_per_block.min(declared.unwrap_or(u32::MAX)).min(by_registers))
    }

    fn attribute(&self, attribute: u32) -> Res<i32> {
        let entry = self.entry();
        let set = lock(&self.attributes).clone();
        let required = entry.req_nctapercluster.unwrap_or(set.cluster);
        let sm = self.model()?.sm() as i32;
        Ok(match attribute {
            0 => self.max_threads()? as i32,
            1 => entry.static_shared_bytes as i32,
            2 => 0,
            3 => entry.local_bytes as i32,
            4 => self.registers() as i32,
            5 | 6 => sm,
            7 => 0,
            8 => self.max_dynamic_shared()? as i32,
            9 => set.carveout,
            10 => i32::from(entry.explicit_cluster || entry.req_nctapercluster.is_some()),
            11..=13 => required[attribute as usize - 11] as i32,
            14 => i32::from(set.non_portable_cluster),
            15 => set.cluster_policy as i32,
            16 | 17 => 0,
            _ => return Err(Code::InvalidValue.into()),
        })
    }

    fn set_attribute(&self, attribute: u32, value: i32) -> Res {
        let model = self.model()?;
        let entry = self.entry();
        let mut set = lock(&self.attributes);
        let positive = u32::try_from(value).map_err(|_| Code::InvalidValue);
        match attribute {
            8 => {
                let most = model.shared_per_block_optin.saturating_sub(entry.static_shared_bytes);
                let wanted = positive?;
                if wanted > most {
                    return Err(Error::invalid(format!(
                        "`{}` has {} bytes of static shared memory; {} bytes of dynamic shared memory beside it are more \
                         than the {} that a block of {} can have",
                        entry.name, entry.static_shared_bytes, wanted, model.shared_per_block_optin, model.name
                    )));
                }
                set.max_dynamic_shared = Some(wanted);
            }
            9 if (-1..=100).contains(&value) => set.carveout = value,
            11..=13 if entry.req_nctapercluster.is_none() => set.cluster[attribute as usize - 11] = positive?,
            14 if model.max_cluster > 1 && matches!(value, 0 | 1) => set.non_portable_cluster = value == 1,
            15 if matches!(value, 0..=2) => set.cluster_policy = value as u32,
            _ => return Err(Code::InvalidValue.into()),
        }
        Ok(())
    }
}

/// A live function by handle; kernels of libraries serve as well.
pub fn function(handle: Handle) -> Res<Arc<Function>> {
    driver()?;
    if let Some(function) = FUNCTIONS.get(handle) {
        return Ok(function);
    }
    match super::library::kernel_function(handle) {
        Some(function) => function,
        None => Err(Code::InvalidHandle.into()),
    }
}

/// Reads an attribute for the function and the kernel interface.
pub fn get_attribute(out: Out<i32>, attribute: u32, function: &Function) -> Res {
    out.set(function.attribute(attribute)?)
}

/// Sets an attribute for the function and the kernel interface.
pub fn set_attribute(function: &Function, attribute: u32, value: i32) -> Res {
    function.set_attribute(attribute, value)
}

/// Offset and size of a parameter, for the function and the kernel interface.
pub fn param_info(function: &Function, index: usize, offset: Out<usize>, size: Out<usize>) -> Res {
    let param = function.entry().params.get(index).ok_or(Code::InvalidValue)?;
    offset.set(param.offset as usize)?;
    size.set_if_wanted(param.size as usize)
}

/// Name of a kernel, for the function and the kernel interface; it lives as long as the module.
pub fn name(out: Out<In<c_char>>, function: &Function) -> Res {
    out.set(In::from_pointer(function.name.as_ptr()))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetAttribute(out: Out<i32>, attribute: u32, handle: Handle) -> CuResult {
    call("cuFuncGetAttribute", || get_attribute(out, attribute, &*function(handle)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetAttribute(handle: Handle, attribute: u32, value: i32) -> CuResult {
    call("cuFuncSetAttribute", || set_attribute(&*function(handle)?, attribute, value))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetCacheConfig(handle: Handle, config: u32) -> CuResult {
    call("cuFuncSetCacheConfig", || {
        function(handle)?;
        if config > 3 { Err(Code::InvalidValue.into()) } else { Ok(()) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetSharedMemConfig(handle: Handle, config: u32) -> CuResult {
    call("cuFuncSetSharedMemConfig", || {
        function(handle)?;
        if config > 2 { Err(Code::InvalidValue.into()) } else { Ok(()) }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetModule(out: Out<Handle>, handle: Handle) -> CuResult {
    call("cuFuncGetModule", || out.set(function(handle)?.module.handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetName(out: Out<In<c_char>>, handle: Handle) -> CuResult {
    call("cuFuncGetName", || name(out, &*function(handle)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetParamInfo(handle: Handle, index: usize, offset: Out<usize>, size: Out<usize>) -> CuResult {
    call("cuFuncGetParamInfo", || param_info(&*function(handle)?, index, offset, size))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncGetParamCount(handle: Handle, count: Out<usize>) -> CuResult {
    call("cuFuncGetParamCount", || count.set(function(handle)?.entry().params.len()))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncIsLoaded(state: Out<u32>, handle: Handle) -> CuResult {
    call("cuFuncIsLoaded", || {
        function(handle)?;
        // CU_FUNCTION_LOADING_STATE_LOADED
        state.set(1)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncLoad(handle: Handle) -> CuResult {
    call("cuFuncLoad", || function(handle).map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetBlockShape(handle: Handle, x: i32, y: i32, z: i32) -> CuResult {
    call("cuFuncSetBlockShape", || {
        current()?;
        let function = function(handle)?;
        let extent = |value: i32| u32::try_from(value).ok().filter(|value| *value > 0).ok_or(Code::InvalidValue);
        lock(&function.legacy).block = [extent(x)?, extent(y)?, extent(z)?];
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuFuncSetSharedSize(handle: Handle, bytes: u32) -> CuResult {
    call("cuFuncSetSharedSize", || {
        lock(&function(handle)?.legacy).shared = bytes;
        Ok(())
    })
}

/// The largest parameter block there is, which bounds what `cuParamSet*` may write.
const LARGEST_PARAMS: usize = 32_764;

fn set_param(handle: Handle, offset: i32, bytes: &[u8]) -> Res {
    let function = function(handle)?;
    let offset = usize::try_from(offset).map_err(|_| Code::InvalidValue)?;
    let end = offset.checked_add(bytes.len()).filter(|end| *end <= LARGEST_PARAMS).ok_or(Code::InvalidValue)?;
    let mut legacy = lock(&function.legacy);
    if legacy.params.len() < end {
        legacy.params.resize(end, 0);
    }
    legacy.params[offset..end].copy_from_slice(bytes);
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuParamSetSize(handle: Handle, bytes: u32) -> CuResult {
    call("cuParamSetSize", || {
        if bytes as usize > LARGEST_PARAMS {
            return Err(Code::InvalidValue.into());
        }
        lock(&function(handle)?.legacy).params.resize(bytes as usize, 0);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuParamSeti(handle: Handle, offset: i32, value: u32) -> CuResult {
    call("cuParamSeti", || set_param(handle, offset, &value.to_le_bytes()))
}

#[unsafe(no_mangle)]
extern "C" fn cuParamSetf(handle: Handle, offset: i32, value: f32) -> CuResult {
    call("cuParamSetf", || set_param(handle, offset, &value.to_le_bytes()))
}

#[unsafe(no_mangle)]
extern "C" fn cuParamSetv(handle: Handle, offset: i32, data: In<u8>, bytes: u32) -> CuResult {
    call("cuParamSetv", || {
        if bytes as usize > LARGEST_PARAMS {
            return Err(Code::InvalidValue.into());
        }
        set_param(handle, offset, &data.bytes(bytes as usize)?)
    })
}
