//! Planted faults in what a program asks of the driver, each with a clean twin: freed and unwritten memory, and work of
//! two streams that nothing orders.

mod support;

use cudarc::driver::sys::{self, CUresult, CUstream};
use std::ffi::c_void;
use std::sync::Mutex;
use support::kernels::PTX;
use support::{Context, alloc, check, download, event, function, launch, module, param, pinned, stream, upload};

/// Faults are kept for the whole process: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Runs a program in a context of its own; the faults that it met.
fn faults_of(program: impl FnOnce()) -> Vec<String> {
    let gpu = support::h100();
    gpu.clear_faults();
    let _context = Context::new();
    program();
    // What is left runs to its end; a fault comes back here.
    unsafe { sys::cuCtxSynchronize() };
    gpu.faults().into_iter().map(|fault| fault.report).collect()
}

#[track_caller]
fn found(says: &str, fault: impl FnOnce(), twin: impl FnOnce()) {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let faults = faults_of(fault);
    assert!(faults.iter().any(|report| report.contains(says)), "{says}: {faults:?}");
    let faults = faults_of(twin);
    assert!(faults.is_empty(), "clean twin: {faults:?}");
}

/// `out[i] = a[i] + b[i]` for 256 values in a stream.
fn add(stream: CUstream, out: u64, a: u64, b: u64) {
    let add = function(module(PTX), c"add");
    let count = 256u32;
    let mut params = [param(&out), param(&a), param(&b), param(&count)];
    let null = std::ptr::null_mut();
    check(unsafe { sys::cuLaunchKernel(add, 2, 1, 1, 128, 1, 1, 0, stream, params.as_mut_ptr(), null) });
}

fn values() -> u64 {
    upload(&[1.0f32; 256])
}

#[test]
fn memory_used_after_it_was_freed() {
    let program = |early: bool| {
        let (out, a, b) = (values(), values(), values());
        if early {
            check(unsafe { sys::cuMemFree_v2(a) });
        }
        add(std::ptr::null_mut(), out, a, b);
        unsafe { sys::cuCtxSynchronize() };
        if !early {
            check(unsafe { sys::cuMemFree_v2(a) });
        }
    };
    found("use after free", || program(true), || program(false));
}

#[test]
fn memory_freed_twice() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let _context = Context::new();
    let address = alloc(64);
    check(unsafe { sys::cuMemFree_v2(address) });
    assert_eq!(unsafe { sys::cuMemFree_v2(address) }, CUresult::CUDA_ERROR_INVALID_VALUE);
    let text = support::h100().last_error().unwrap_or_default();
    assert!(text.contains("freed already") || text.contains("double free"), "{text}");
}

#[test]
fn a_host_read_of_what_nobody_wrote() {
    let read = |write: bool| {
        let address = alloc(64);
        if write {
            check(unsafe { sys::cuMemsetD8_v2(address, 3, 64) });
        }
        let mut host = [0u8; 64];
        unsafe { sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast::<c_void>(), address, 64) };
    };
    found("reads uninitialised memory", || read(false), || read(true));
}

#[test]
fn allocations_that_are_never_freed_are_listed() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let gpu = support::h100();
    let _context = Context::new();
    let address = alloc(12_345);
    let listed = || gpu.live_allocations().iter().any(|one| one.contains("12345 bytes"));
    assert!(listed());
    check(unsafe { sys::cuMemFree_v2(address) });
    assert!(!listed());
}

#[test]
fn kernels_of_two_streams_without_an_event() {
    let program = |ordered: bool| {
        let (first, second) = (stream(true), stream(true));
        let (x, y, z) = (values(), values(), values());
        let done = event();
        add(first, y, x, x);
        check(unsafe { sys::cuEventRecord(done, first) });
        if ordered {
            check(unsafe { sys::cuStreamWaitEvent(second, done, 0) });
        }
        add(second, z, y, x);
    };
    found("race between streams", || program(false), || program(true));
}

#[test]
fn a_host_wait_orders_what_is_submitted_behind_it_alone() {
    let program = |wait: bool| {
        let (first, second) = (stream(true), stream(true));
        let (x, y, z) = (values(), values(), upload(&[3.0f32; 256]));
        add(first, y, x, x);
        if wait {
            check(unsafe { sys::cuStreamSynchronize(first) });
        } else {
            check(unsafe { sys::cuStreamSynchronize(second) });
        }
        add(second, y, z, x);
    };
    found("race between streams", || program(false), || program(true));
}

#[test]
fn the_null_stream_orders_blocking_streams_only() {
    let program = |non_blocking: bool| {
        let other = stream(non_blocking);
        let (x, y, z) = (values(), values(), values());
        add(other, y, x, x);
        add(std::ptr::null_mut(), z, y, x);
    };
    found("race between streams", || program(true), || program(false));
}

#[test]
fn a_copy_beside_a_kernel() {
    let program = |ordered: bool| {
        let (copies, kernels) = (stream(true), stream(true));
        let (x, y, z) = (values(), values(), values());
        let (source, done) = (pinned(256), event());
        check(unsafe { sys::cuMemcpyHtoDAsync_v2(x, source.as_ptr().cast(), 1_024, copies) });
        check(unsafe { sys::cuEventRecord(done, copies) });
        if ordered {
            check(unsafe { sys::cuStreamWaitEvent(kernels, done, 0) });
        }
        add(kernels, z, x, y);
    };
    found("race between streams", || program(false), || program(true));
}

#[test]
fn a_kernel_beside_a_copy() {
    let program = |ordered: bool| {
        let (copies, kernels) = (stream(true), stream(true));
        let (x, y, z) = (values(), values(), values());
        let (target, done) = (pinned(256), event());
        add(kernels, z, x, y);
        check(unsafe { sys::cuEventRecord(done, kernels) });
        if ordered {
            check(unsafe { sys::cuStreamWaitEvent(copies, done, 0) });
        }
        check(unsafe { sys::cuMemcpyDtoHAsync_v2(target.as_mut_ptr().cast(), z, 1_024, copies) });
    };
    found("race between streams", || program(false), || program(true));
}

#[test]
fn fills_of_two_streams() {
    let program = |same: bool| {
        let (first, second) = (stream(true), stream(true));
        let x = values();
        check(unsafe { sys::cuMemsetD32Async(x, 1, 256, first) });
        check(unsafe { sys::cuMemsetD32Async(x, 2, 256, if same { first } else { second }) });
    };
    found("race between streams", || program(false), || program(true));
}

#[test]
fn readers_of_two_streams_do_not_race() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let faults = faults_of(|| {
        let (first, second) = (stream(true), stream(true));
        let (x, y, z) = (values(), values(), values());
        add(first, y, x, x);
        add(second, z, x, x);
        check(unsafe { sys::cuCtxSynchronize() });
        assert_eq!(download::<f32>(y, 256), download::<f32>(z, 256));
    });
    assert!(faults.is_empty(), "{faults:?}");
}

#[test]
fn a_kernel_of_too_many_threads() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let _context = Context::new();
    let mark = function(module(PTX), c"mark");
    let out = alloc(4);
    assert_eq!(launch(mark, 1, 2_048, 0, &mut [param(&out)]), CUresult::CUDA_ERROR_INVALID_VALUE);
    check(launch(mark, 1, 1, 0, &mut [param(&out)]));
}
