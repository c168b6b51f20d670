//! Hostile arguments: whatever integers and null pointers come in, a code goes out and the process lives.

mod support;

use cudarc::driver::sys;
use support::{Context, check};

const NAMES: &str = include_str!("../src/driver/names.txt");

type AnyCall = unsafe extern "C" fn(
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
    usize,
) -> u32;

/// Calls with a result that is right whatever it is: they wait for nothing, but end what the others use.
const LEFT_OUT: [&str; 1] = ["cuInit"];

/// Calls every entry point with the same value in every argument: null, a small number, -1 in 32 bits, a freed handle, and a
/// number that looks like a handle.
#[test]
fn every_call_survives_nonsense() {
    support::h100();
    let library = unsafe { libloading::Library::new("libcuda.so") }.expect("installed");
    let freed = {
        let _context = Context::new();
        let stream = support::stream(true);
        check(unsafe { sys::cuStreamDestroy_v2(stream) });
        stream as usize
    };
    // Pointers of the first page are refused as null is; no other value may stand where a pointer is read or written.
    for value in [0usize, 1, 7, 0xfff] {
        let _context = Context::new();
        for name in NAMES.lines().filter(|name| !LEFT_OUT.contains(name)) {
            let call = unsafe { library.get::<AnyCall>(name.as_bytes()) }.expect("exported");
            let v = value;
            let code = unsafe { call(v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v) };
            assert!(code < 1_000 && code != 999, "{name}({value:#x}, ...) = {code}");
        }
    }
    // Handles alone: calls whose arguments are all handles or numbers.
    let _context = Context::new();
    for name in [
        "cuStreamDestroy_v2",
        "cuStreamSynchronize",
        "cuStreamQuery",
        "cuEventDestroy_v2",
        "cuEventQuery",
        "cuEventSynchronize",
        "cuEventRecord",
        "cuStreamWaitEvent",
        "cuModuleUnload",
        "cuGraphDestroy",
        "cuGraphExecDestroy",
        "cuGraphLaunch",
        "cuGraphUpload",
        "cuGraphDestroyNode",
        "cuMemFree_v2",
        "cuMemFreeAsync",
        "cuMemFreeHost",
        "cuMemHostUnregister",
        "cuMemPoolDestroy",
        "cuMemPoolTrimTo",
        "cuCtxDestroy_v2",
        "cuCtxPushCurrent_v2",
        "cuCtxSetCurrent",
        "cuCtxEnablePeerAccess",
        "cuCtxDisablePeerAccess",
        "cuLibraryUnload",
        "cuLinkDestroy",
        "cuUserObjectRelease",
        "cuUserObjectRetain",
        "cuFuncLoad",
        "cuFuncSetAttribute",
        "cuLaunch",
        "cuMemsetD8_v2",
        "cuMemsetD32Async",
        "cuMemcpyDtoD_v2",
        "cuStreamWriteValue64_v2",
    ] {
        for value in [freed, usize::MAX, u32::MAX as usize, 1 << 47, freed + 1, 0x7fff_ffff_f000] {
            let call = unsafe { library.get::<AnyCall>(name.as_bytes()) }.expect("exported");
            let v = value;
            let code = unsafe { call(v, v, v, v, v, v, v, v, v, v, v, v, v, v, v, v) };
            assert!(code != 0 && code < 999, "{name}({value:#x}, ...) = {code}");
        }
    }
}

/// Handles of one kind are not taken for another.
#[test]
fn handles_do_not_mix() {
    let context = Context::new();
    let (stream, event) = (support::stream(true), support::event());
    let invalid = sys::CUresult::CUDA_ERROR_INVALID_HANDLE;
    assert_eq!(unsafe { sys::cuEventQuery(stream.cast()) }, invalid);
    assert_eq!(unsafe { sys::cuStreamQuery(event.cast()) }, invalid);
    assert_eq!(unsafe { sys::cuModuleUnload(context.0.cast()) }, invalid);
    let wrong = sys::CUresult::CUDA_ERROR_INVALID_CONTEXT;
    assert_eq!(unsafe { sys::cuCtxSetCurrent(stream.cast()) }, wrong);
}
