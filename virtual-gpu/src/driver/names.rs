//! `cuGetProcAddress`: entry points by name and version.

use super::abi::{CuResult, In, Out};
use super::call;
use super::config;
use super::error::{Code, Res};
use std::ffi::{c_char, c_void};

/// The address of an entry point.
struct Address(*const c_void);

// SAFETY: the address of a function of this object, which is never unloaded.
unsafe impl Sync for Address {}

macro_rules! exported_names {
    ($($name:ident)*) => {
        // Declared elsewhere with their real types; here only their addresses are taken.
        #[allow(clashing_extern_declarations)]
        mod symbols {
            unsafe extern "C" {
                $(pub fn $name();)*
            }
        }

        /// Every exported name, sorted.
        static EXPORTS: &[(&str, Address)] = &[$((stringify!($name), Address(symbols::$name as *const c_void)),)*];
    };
}

include!(concat!(env!("OUT_DIR"), "/exports.rs"));

/// The version of the interface that brought an exported name, where it is newer than 11.0: only names whose meaning changed
/// within the versions a driver may have here, and what replaced them.
const SINCE: &[(&str, i32)] = &[
    ("cuCtxCreate_v3", 11_040),
    ("cuCtxCreate_v4", 12_050),
    ("cuCtxGetDevice_v2", 13_000),
    ("cuCtxSynchronize_v2", 13_000),
    ("cuDeviceGetUuid_v2", 11_040),
    ("cuEventElapsedTime_v2", 12_080),
    ("cuGetProcAddress_v2", 12_000),
    ("cuGraphAddDependencies_v2", 12_030),
    ("cuGraphAddKernelNode_v2", 12_000),
    ("cuGraphAddNode", 12_020),
    ("cuGraphAddNode_v2", 12_030),
    ("cuGraphAddNode_v3", 13_020),
    ("cuGraphExecKernelNodeSetParams_v2", 12_000),
    ("cuGraphExecUpdate_v2", 12_000),
    ("cuGraphGetEdges_v2", 12_030),
    ("cuGraphInstantiateWithFlags", 11_040),
    ("cuGraphInstantiateWithParams", 12_000),
    ("cuGraphKernelNodeGetParams_v2", 12_000),
    ("cuGraphKernelNodeSetParams_v2", 12_000),
    ("cuGraphNodeGetDependencies_v2", 12_030),
    ("cuGraphNodeGetDependentNodes_v2", 12_030),
    ("cuGraphNodeSetParams_v2", 13_020),
    ("cuGraphRemoveDependencies_v2", 12_030),
    ("cuLaunchHostFunc_v2", 13_020),
    ("cuMemAdvise_v2", 12_020),
    ("cuMemPrefetchAsync_v2", 12_020),
    ("cuMemcpy3DBatchAsync_v2", 13_000),
    ("cuMemcpyBatchAsync", 12_080),
    ("cuMemcpyBatchAsync_v2", 13_000),
    ("cuMulticastBindAddr_v2", 13_020),
    ("cuMulticastBindMem_v2", 13_020),
    ("cuStreamBatchMemOp_v2", 11_070),
    ("cuStreamGetCaptureInfo_v2", 11_030),
    ("cuStreamGetCaptureInfo_v3", 12_030),
    ("cuStreamGetCtx_v2", 12_050),
    ("cuStreamUpdateCaptureDependencies_v2", 12_030),
    ("cuStreamWaitValue32_v2", 11_070),
    ("cuStreamWaitValue64_v2", 11_070),
    ("cuStreamWriteValue32_v2", 11_070),
    ("cuStreamWriteValue64_v2", 11_070),
];

fn since(name: &str) -> i32 {
    SINCE.iter().find(|row| row.0 == name).map_or(0, |row| row.1)
}

fn exported(name: &str) -> Option<*const c_void> {
    EXPORTS.binary_search_by(|row| row.0.cmp(name)).ok().map(|index| EXPORTS[index].1.0)
}

/// `CUdriverProcAddressQueryResult`
const FOUND: u32 = 0;
const NOT_FOUND: u32 = 1;
const VERSION_NOT_SUFFICIENT: u32 = 2;

/// The newest form of `symbol` that an interface of `version` has, or why there is none.
fn find(symbol: &str, version: i32, per_thread: bool) -> Result<*const c_void, u32> {
    let driver = config::read(|config| config.driver_version);
    let mut forms: Vec<String> = (2..=4).rev().map(|number| format!("{symbol}_v{number}")).collect();
    forms.push(symbol.to_owned());
    if symbol == "cuGraphInstantiate" {
        // From 12.0 on the plain name means the form with flags.
        forms.insert(0, "cuGraphInstantiateWithFlags".to_owned());
    }
    let wanted = |form: &str| match form {
        "cuGraphInstantiateWithFlags" if symbol == "cuGraphInstantiate" => 12_000,
        form => since(form),
    };
    let mut too_new = false;
    for form in &forms {
        let Some(address) = exported(form) else { continue };
        if wanted(form) > version.min(driver) {
            too_new = true;
            continue;
        }
        let own = per_thread.then(|| exported(&format!("{form}_ptsz")).or_else(|| exported(&format!("{form}_ptds"))));
        return Ok(own.flatten().unwrap_or(address));
    }
    Err(if too_new { VERSION_NOT_SUFFICIENT } else { NOT_FOUND })
}

/// `CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM`
const PER_THREAD: u64 = 2;

fn look_up(symbol: In<c_char>, out: Out<*const c_void>, version: i32, flags: u64) -> Res<u32> {
    out.check()?;
    let symbol = symbol.text()?;
    if flags > PER_THREAD {
        return Err(Code::InvalidValue.into());
    }
    match find(&symbol, version, flags == PER_THREAD) {
        Ok(address) => {
            out.set(address)?;
            Ok(FOUND)
        }
        Err(status) => {
            out.set(std::ptr::null())?;
            Ok(status)
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuGetProcAddress(symbol: In<c_char>, out: Out<*const c_void>, version: i32, flags: u64) -> CuResult {
    call("cuGetProcAddress", || match look_up(symbol, out, version, flags)? {
        FOUND => Ok(()),
        _ => Err(Code::NotFound.into()),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGetProcAddress_v2(
    symbol: In<c_char>,
    out: Out<*const c_void>,
    version: i32,
    flags: u64,
    status: Out<u32>,
) -> CuResult {
    call("cuGetProcAddress", || match look_up(symbol, out, version, flags)? {
        // Who asks for the status learns of a missing symbol there.
        found if !status.is_null() => status.set(found),
        FOUND => Ok(()),
        _ => Err(Code::NotFound.into()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_choose_the_form() {
        let same =
            |symbol, version, form: &str| assert_eq!(find(symbol, version, false).ok(), exported(form), "{form}");
        same("cuMemAlloc", 12_000, "cuMemAlloc_v2");
        same("cuInit", 2_000, "cuInit");
        same("cuStreamGetCaptureInfo", 12_000, "cuStreamGetCaptureInfo_v2");
        same("cuStreamGetCaptureInfo", 12_030, "cuStreamGetCaptureInfo_v3");
        same("cuGraphInstantiate", 11_000, "cuGraphInstantiate_v2");
        same("cuGraphInstantiate", 12_000, "cuGraphInstantiateWithFlags");
        same("cuCtxCreate", 12_050, "cuCtxCreate_v4");
        assert_eq!(find("cuNothing", 12_000, false), Err(NOT_FOUND));
        assert_eq!(find("cuMemcpyBatchAsync", 12_000, false), Err(VERSION_NOT_SUFFICIENT));
    }

    #[test]
    fn per_thread_forms_are_found() {
        assert_eq!(find("cuLaunchKernel", 12_000, true).ok(), exported("cuLaunchKernel_ptsz"));
        assert_eq!(find("cuMemcpyHtoD", 12_000, true).ok(), exported("cuMemcpyHtoD_v2_ptds"));
        assert_eq!(find("cuInit", 12_000, true).ok(), exported("cuInit"));
    }

    #[test]
    fn the_list_is_sorted_and_complete() {
        assert!(EXPORTS.is_sorted_by(|a, b| a.0 < b.0));
        for name in include_str!("names.txt").lines() {
            assert!(exported(name).is_some(), "{name}");
        }
    }
}
