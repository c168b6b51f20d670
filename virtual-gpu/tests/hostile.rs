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

type DeviceAttribute = unsafe extern "C" fn(*mut i32, u32, i32) -> u32;

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

/// A sequence of calls drawn at random over a few live and dead handles: thousands of them, as many as
/// `VIRTUAL_GPU_FUZZ` says (5 where it is not set), from the seed `VIRTUAL_GPU_FUZZ_SEED`.
#[test]
fn random_sequences_survive() {
    // Reading what was never written would end the context, and with it the test's reach.
    support::h100().apply(&virtual_gpu::Options::new().checks("-uninitialised")).expect("checks can change");
    let _context = Context::new();
    let setting = |name: &str, default: u64| std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default);
    let mut state = 0x1234_5678_9abc_def0u64 ^ setting("VIRTUAL_GPU_FUZZ_SEED", 1) << 20;
    let mut draw = move |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) as usize % below
    };
    let library = unsafe { libloading::Library::new("libcuda.so") }.expect("installed");
    let mut streams = vec![std::ptr::null_mut(), 1 as sys::CUstream, 2 as sys::CUstream];
    let mut events = vec![std::ptr::null_mut()];
    let mut memory = vec![0u64];
    let mut graphs = vec![std::ptr::null_mut()];
    let mut host = [0u8; 64];
    let relaxed = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
    for _ in 0..setting("VIRTUAL_GPU_FUZZ", 5) * 1_000 {
        let stream = streams[draw(streams.len())];
        let event = events[draw(events.len())];
        let address = memory[draw(memory.len())].wrapping_add(draw(3) as u64);
        let graph = graphs[draw(graphs.len())];
        let bytes = draw(80);
        // Any code will do.
        let _any = unsafe {
            match draw(26) {
                0 => {
                    let mut new = std::ptr::null_mut();
                    let result = sys::cuStreamCreate(&mut new, draw(3) as u32);
                    if result == sys::CUresult::CUDA_SUCCESS {
                        streams.push(new);
                    }
                    result
                }
                1 => {
                    let mut new = std::ptr::null_mut();
                    let result = sys::cuEventCreate(&mut new, draw(9) as u32);
                    if result == sys::CUresult::CUDA_SUCCESS {
                        events.push(new);
                    }
                    result
                }
                2 => {
                    let mut new = 0;
                    let result = sys::cuMemAlloc_v2(&mut new, bytes);
                    if result == sys::CUresult::CUDA_SUCCESS {
                        memory.push(new);
                    }
                    result
                }
                3 => {
                    let mut new = 0;
                    let result = sys::cuMemAllocAsync(&mut new, bytes, stream);
                    if result == sys::CUresult::CUDA_SUCCESS {
                        memory.push(new);
                    }
                    result
                }
                4 => sys::cuMemFree_v2(address),
                5 => sys::cuMemFreeAsync(address, stream),
                6 => sys::cuEventRecord(event, stream),
                7 => sys::cuStreamWaitEvent(stream, event, draw(3) as u32),
                8 => sys::cuStreamBeginCapture_v2(stream, relaxed),
                9 => {
                    let mut new = std::ptr::null_mut();
                    let result = sys::cuStreamEndCapture(stream, &mut new);
                    if result == sys::CUresult::CUDA_SUCCESS {
                        graphs.push(new);
                    }
                    result
                }
                10 => sys::cuMemsetD8Async(address, 1, bytes, stream),
                11 => sys::cuMemcpyHtoDAsync_v2(address, host.as_ptr().cast(), bytes.min(64), stream),
                12 => sys::cuMemcpyDtoDAsync_v2(address, memory[draw(memory.len())], bytes, stream),
                13 => sys::cuStreamSynchronize(stream),
                14 => sys::cuEventQuery(event),
                15 => {
                    let mut exec = std::ptr::null_mut();
                    let result = sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0);
                    if result == sys::CUresult::CUDA_SUCCESS {
                        let _any = sys::cuGraphLaunch(exec, stream);
                        check(sys::cuGraphExecDestroy(exec));
                    }
                    result
                }
                16 => sys::cuGraphDestroy(graph),
                17 => sys::cuStreamDestroy_v2(stream),
                18 => sys::cuEventDestroy_v2(event),
                // Numbers that name nothing, and sizes that nothing has.
                20 => {
                    let mut value = 0;
                    let call = library.get::<DeviceAttribute>(b"cuDeviceGetAttribute").expect("exported");
                    call(&mut value, u32::MAX >> draw(32), draw(4) as i32 - 1);
                    sys::CUresult::CUDA_SUCCESS
                }
                21 => sys::cuMemsetD32Async(address, 7, usize::MAX >> draw(64), stream),
                22 => sys::cuMemcpyDtoDAsync_v2(
                    address,
                    address.wrapping_add(bytes as u64),
                    usize::MAX >> draw(64),
                    stream,
                ),
                23 => sys::cuStreamWaitEvent(stream, event, u32::MAX >> draw(32)),
                24 => {
                    let (text, mut module) = (support::kernels::PTX.as_bytes(), std::ptr::null_mut());
                    let mut cut = text[..draw(text.len())].to_vec();
                    cut.push(0);
                    let result = sys::cuModuleLoadData(&mut module, cut.as_ptr().cast());
                    if result == sys::CUresult::CUDA_SUCCESS {
                        let mut function = std::ptr::null_mut();
                        let _any = sys::cuModuleGetFunction(&mut function, module, c"add".as_ptr());
                        let (null, none) = (std::ptr::null_mut(), std::ptr::null_mut());
                        let g = [draw(3) as u32, draw(70_000) as u32, draw(2_000) as u32];
                        if !function.is_null() {
                            let _any = sys::cuLaunchKernel(function, g[0], 0, 1, g[1], 1, 1, g[2], stream, null, none);
                        }
                        check(sys::cuModuleUnload(module));
                    }
                    result
                }
                _ => {
                    let target = host.as_mut_ptr().cast();
                    let _any = sys::cuMemsetD8_v2(address, 0, bytes.min(64));
                    sys::cuMemcpyDtoHAsync_v2(target, address, bytes.min(64), stream)
                }
            }
        };
    }
}
