//! Streams and events: order, the null stream's rule, waiting, times, callbacks, waiting for values.

mod support;

use cudarc::driver::sys::{self, CUresult, CUstream};
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Context, Gate, alloc, check, download, event, pinned, stream};

const NOT_READY: CUresult = CUresult::CUDA_ERROR_NOT_READY;
const NULL: CUstream = std::ptr::null_mut();

#[test]
fn work_is_asynchronous_and_in_order() {
    let _context = Context::new();
    let queue = stream(true);
    let host = pinned(1);
    let device = alloc(4);
    let gate = Gate::close(queue);
    host[0] = 1;
    check(unsafe { sys::cuMemcpyHtoDAsync_v2(device, host.as_ptr().cast(), 4, queue) });
    // The copy has not run: page-locked memory is read when it does.
    host[0] = 2;
    assert_eq!(unsafe { sys::cuStreamQuery(queue) }, NOT_READY);
    gate.open();
    check(unsafe { sys::cuStreamSynchronize(queue) });
    check(unsafe { sys::cuStreamQuery(queue) });
    assert_eq!(download::<u32>(device, 1), [2]);
}

#[test]
fn pageable_memory_is_read_before_the_call_returns() {
    let _context = Context::new();
    let queue = stream(true);
    let device = alloc(4);
    let gate = Gate::close(queue);
    let mut host = vec![1u32];
    check(unsafe { sys::cuMemcpyHtoDAsync_v2(device, host.as_ptr().cast(), 4, queue) });
    host[0] = 2;
    gate.open();
    check(unsafe { sys::cuStreamSynchronize(queue) });
    assert_eq!(download::<u32>(device, 1), [1]);
    // And written before it returns.
    check(unsafe { sys::cuMemcpyDtoHAsync_v2(host.as_mut_ptr().cast(), device, 4, queue) });
    assert_eq!(host, [1]);
}

#[test]
fn streams_are_independent() {
    let _context = Context::new();
    let (held, free) = (stream(true), stream(true));
    let gate = Gate::close(held);
    check(unsafe { sys::cuMemsetD32Async(alloc(4), 0, 1, free) });
    check(unsafe { sys::cuStreamSynchronize(free) });
    assert_eq!(unsafe { sys::cuStreamQuery(held) }, NOT_READY);
    gate.open();
    check(unsafe { sys::cuStreamSynchronize(held) });
}

#[test]
fn the_null_stream_waits_for_blocking_streams_and_they_for_it() {
    let _context = Context::new();
    let (blocking, free) = (stream(false), stream(true));
    let device = alloc(4);
    let gate = Gate::close(blocking);
    check(unsafe { sys::cuMemsetD32Async(device, 1, 1, blocking) });
    check(unsafe { sys::cuMemsetD32Async(device, 2, 1, NULL) });
    let other = stream(false);
    check(unsafe { sys::cuMemsetD32Async(device, 3, 1, other) });
    assert_eq!(unsafe { sys::cuStreamQuery(NULL) }, NOT_READY);
    assert_eq!(unsafe { sys::cuStreamQuery(other) }, NOT_READY);
    // A non-blocking stream takes no part in it.
    check(unsafe { sys::cuStreamSynchronize(free) });
    gate.open();
    check(unsafe { sys::cuStreamSynchronize(other) });
    assert_eq!(download::<u32>(device, 1), [3]);
}

#[test]
fn each_thread_has_a_default_stream() {
    let context = Context::new();
    let handle = context.0 as usize;
    let ids: Vec<u64> = (0..2)
        .map(|_| {
            std::thread::spawn(move || {
                check(unsafe { sys::cuCtxSetCurrent(handle as _) });
                let mut id = 0;
                check(unsafe { sys::cuStreamGetId(2 as CUstream, &mut id) });
                let mut again = 0;
                check(unsafe { sys::cuStreamGetId(2 as CUstream, &mut again) });
                assert_eq!(id, again);
                id
            })
            .join()
            .expect("the thread ends well")
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn the_per_thread_family_uses_it() {
    let _context = Context::new();
    let library = unsafe { libloading::Library::new("libcuda.so") }.expect("installed");
    type GetId = unsafe extern "C" fn(CUstream, *mut u64) -> CUresult;
    let get_id = unsafe { library.get::<GetId>(b"cuStreamGetId_ptsz") }.expect("exported");
    let (mut family, mut own, mut null) = (0, 0, 0);
    check(unsafe { get_id(NULL, &mut family) });
    check(unsafe { sys::cuStreamGetId(2 as CUstream, &mut own) });
    check(unsafe { sys::cuStreamGetId(NULL, &mut null) });
    assert_eq!(family, own);
    assert_ne!(family, null);
}

#[test]
fn events_order_streams() {
    let _context = Context::new();
    let (first, second) = (stream(true), stream(true));
    let device = alloc(4);
    let mark = event();
    let gate = Gate::close(first);
    check(unsafe { sys::cuMemsetD32Async(device, 1, 1, first) });
    check(unsafe { sys::cuEventRecord(mark, first) });
    check(unsafe { sys::cuStreamWaitEvent(second, mark, 0) });
    check(unsafe { sys::cuMemsetD32Async(device, 2, 1, second) });
    assert_eq!(unsafe { sys::cuEventQuery(mark) }, NOT_READY);
    assert_eq!(unsafe { sys::cuStreamQuery(second) }, NOT_READY);
    gate.open();
    check(unsafe { sys::cuEventSynchronize(mark) });
    check(unsafe { sys::cuEventQuery(mark) });
    check(unsafe { sys::cuStreamSynchronize(second) });
    assert_eq!(download::<u32>(device, 1), [2]);
}

#[test]
fn events_have_times() {
    let _context = Context::new();
    let queue = stream(true);
    let (start, end, never) = (event(), event(), event());
    check(unsafe { sys::cuEventRecord(start, queue) });
    let gate = Gate::close(queue);
    check(unsafe { sys::cuEventRecord(end, queue) });
    let mut time = -1.0;
    assert_eq!(unsafe { sys::cuEventElapsedTime_v2(&mut time, start, end) }, NOT_READY);
    gate.open();
    check(unsafe { sys::cuEventSynchronize(end) });
    check(unsafe { sys::cuEventElapsedTime_v2(&mut time, start, end) });
    assert!(time > 0.0, "{time}");
    let invalid = CUresult::CUDA_ERROR_INVALID_HANDLE;
    assert_eq!(unsafe { sys::cuEventElapsedTime_v2(&mut time, start, never) }, invalid);
    // An event that was never recorded is complete.
    check(unsafe { sys::cuEventQuery(never) });
    let mut untimed = std::ptr::null_mut();
    let flags = sys::CUevent_flags::CU_EVENT_DISABLE_TIMING as u32;
    check(unsafe { sys::cuEventCreate(&mut untimed, flags) });
    check(unsafe { sys::cuEventRecord(untimed, queue) });
    check(unsafe { sys::cuStreamSynchronize(queue) });
    assert_eq!(unsafe { sys::cuEventElapsedTime_v2(&mut time, start, untimed) }, invalid);
    check(unsafe { sys::cuEventDestroy_v2(never) });
    assert_eq!(unsafe { sys::cuEventDestroy_v2(never) }, invalid);
}

static CALLS: Mutex<Vec<usize>> = Mutex::new(Vec::new());

unsafe extern "C" fn note(data: *mut c_void) {
    CALLS.lock().expect("not poisoned").push(data as usize);
}

unsafe extern "C" fn note_stream(_stream: CUstream, status: CUresult, data: *mut c_void) {
    assert_eq!(status, CUresult::CUDA_SUCCESS);
    CALLS.lock().expect("not poisoned").push(data as usize);
}

#[test]
fn host_functions_run_in_their_place() {
    let _context = Context::new();
    let queue = stream(true);
    check(unsafe { sys::cuLaunchHostFunc(queue, Some(note), std::ptr::without_provenance_mut(1)) });
    check(unsafe { sys::cuStreamAddCallback(queue, Some(note_stream), 2 as *mut c_void, 0) });
    check(unsafe { sys::cuLaunchHostFunc(queue, Some(note), 3 as *mut c_void) });
    check(unsafe { sys::cuStreamSynchronize(queue) });
    assert_eq!(*CALLS.lock().expect("not poisoned"), [1, 2, 3]);
    assert_eq!(unsafe { sys::cuLaunchHostFunc(queue, None, std::ptr::null_mut()) }, CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn streams_wait_for_values() {
    let _context = Context::new();
    let (waiting, writing) = (stream(true), stream(true));
    let device = alloc(8);
    check(unsafe { sys::cuMemsetD32_v2(device, 0, 2) });
    let equal = sys::CUstreamWaitValue_flags::CU_STREAM_WAIT_VALUE_EQ as u32;
    check(unsafe { sys::cuStreamWaitValue32_v2(waiting, device, 5, equal) });
    check(unsafe { sys::cuStreamWriteValue32_v2(waiting, device + 4, 9, 0) });
    assert_eq!(unsafe { sys::cuStreamQuery(waiting) }, NOT_READY);
    check(unsafe { sys::cuStreamWriteValue32_v2(writing, device, 5, 0) });
    check(unsafe { sys::cuStreamSynchronize(waiting) });
    assert_eq!(download::<u32>(device, 2), [5, 9]);
    let misaligned = unsafe { sys::cuStreamWriteValue64_v2(writing, device + 4, 0, 0) };
    assert_eq!(misaligned, CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn streams_answer_about_themselves() {
    let context = Context::new();
    let (mut least, mut greatest) = (1, 1);
    check(unsafe { sys::cuCtxGetStreamPriorityRange(&mut least, &mut greatest) });
    assert!(greatest < least);
    let mut queue = std::ptr::null_mut();
    check(unsafe { sys::cuStreamCreateWithPriority(&mut queue, 1, greatest - 10) });
    let (mut priority, mut flags, mut of) = (1, 9, std::ptr::null_mut());
    check(unsafe { sys::cuStreamGetPriority(queue, &mut priority) });
    check(unsafe { sys::cuStreamGetFlags(queue, &mut flags) });
    check(unsafe { sys::cuStreamGetCtx(queue, &mut of) });
    assert_eq!((priority, flags, of), (greatest, 1, context.0));
    check(unsafe { sys::cuStreamDestroy_v2(queue) });
    assert_eq!(unsafe { sys::cuStreamDestroy_v2(queue) }, CUresult::CUDA_ERROR_INVALID_HANDLE);
    assert_eq!(unsafe { sys::cuStreamQuery(queue) }, CUresult::CUDA_ERROR_INVALID_HANDLE);
    assert_eq!(unsafe { sys::cuStreamCreate(&mut queue, 8) }, CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn a_destroyed_streams_work_still_runs() {
    let _context = Context::new();
    static RAN: AtomicU32 = AtomicU32::new(0);
    unsafe extern "C" fn run(_: *mut c_void) {
        RAN.fetch_add(1, Ordering::Relaxed);
    }
    let queue = stream(true);
    let gate = Gate::close(queue);
    check(unsafe { sys::cuLaunchHostFunc(queue, Some(run), std::ptr::null_mut()) });
    check(unsafe { sys::cuStreamDestroy_v2(queue) });
    gate.open();
    check(unsafe { sys::cuCtxSynchronize() });
    assert_eq!(RAN.load(Ordering::Relaxed), 1);
}
