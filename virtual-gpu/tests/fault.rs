//! Faults: sticky errors, their reports, injection, a lost device. One device per kind of harm, because harm lasts.

mod support;

use cudarc::driver::sys::{self, CUresult};
use std::sync::Mutex;
use support::kernels::PTX;
use support::{Context, alloc, check, function, launch, module, param};
use virtual_gpu::model::DeviceModel;

/// Injection counts for the whole process, so that one test runs at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn gpu() -> virtual_gpu::VirtualGpu {
    support::gpu(&[&DeviceModel::H100, &DeviceModel::H100])
}

#[test]
fn a_fault_stays_in_its_context() {
    let _alone = ALONE.lock();
    let gpu = gpu();
    gpu.clear_faults();
    let context = Context::on(0);
    let out = alloc(64);
    check(launch(function(module(PTX), c"scatter"), 1, 1, 0, &mut [param(&out)]));
    let sticky = CUresult::CUDA_ERROR_ILLEGAL_ADDRESS;
    assert_eq!(unsafe { sys::cuCtxSynchronize() }, sticky);
    let mut address = 0;
    assert_eq!(unsafe { sys::cuMemAlloc_v2(&mut address, 4) }, sticky);
    assert_eq!(unsafe { sys::cuMemFree_v2(out) }, sticky);
    let faults = gpu.faults();
    assert_eq!(faults.len(), 1, "{faults:?}");
    assert_eq!(faults[0].code, 700);
    assert!(faults[0].report.contains("scatter"), "{}", faults[0].report);
    // Another context of the same device works.
    let other = Context::on(0);
    alloc(4);
    drop(other);
    drop(context);
}

#[test]
fn a_trap_fails_the_launch() {
    let _alone = ALONE.lock();
    gpu();
    let _context = Context::on(0);
    check(launch(function(module(PTX), c"fail"), 1, 1, 0, &mut []));
    let result = unsafe { sys::cuCtxSynchronize() };
    assert!(
        matches!(result, CUresult::CUDA_ERROR_LAUNCH_FAILED | CUresult::CUDA_ERROR_ILLEGAL_INSTRUCTION),
        "{result:?}"
    );
}

#[test]
fn a_reset_heals_the_primary_context() {
    let _alone = ALONE.lock();
    gpu();
    let mut context = std::ptr::null_mut();
    check(unsafe { sys::cuDevicePrimaryCtxRetain(&mut context, 0) });
    check(unsafe { sys::cuCtxSetCurrent(context) });
    let out = alloc(64);
    check(launch(function(module(PTX), c"scatter"), 1, 1, 0, &mut [param(&out)]));
    assert_eq!(unsafe { sys::cuCtxSynchronize() }, CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
    check(unsafe { sys::cuDevicePrimaryCtxReset_v2(0) });
    check(unsafe { sys::cuCtxSynchronize() });
    check(unsafe { sys::cuMemFree_v2(alloc(4)) });
    check(unsafe { sys::cuDevicePrimaryCtxRelease_v2(0) });
}

#[test]
fn allocations_and_launches_are_made_to_fail() {
    let _alone = ALONE.lock();
    let gpu = gpu();
    let context = Context::on(0);
    gpu.inject(2, 0, 0);
    let mut address = 0;
    check(unsafe { sys::cuMemAlloc_v2(&mut address, 4) });
    assert_eq!(unsafe { sys::cuMemAlloc_v2(&mut address, 4) }, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    check(unsafe { sys::cuMemAlloc_v2(&mut address, 4) });
    let nothing = function(module(PTX), c"nothing");
    gpu.inject(0, 2, 0);
    check(launch(nothing, 1, 1, 0, &mut []));
    check(unsafe { sys::cuCtxSynchronize() });
    check(launch(nothing, 1, 1, 0, &mut []));
    assert_eq!(unsafe { sys::cuCtxSynchronize() }, CUresult::CUDA_ERROR_LAUNCH_FAILED);
    drop(context);
}

#[test]
fn a_lost_device_is_gone_for_every_context() {
    let _alone = ALONE.lock();
    let gpu = gpu();
    let lost = Context::on(1);
    let nothing = function(module(PTX), c"nothing");
    gpu.inject(0, 0, 1);
    check(launch(nothing, 1, 1, 0, &mut []));
    assert_eq!(unsafe { sys::cuCtxSynchronize() }, CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE);
    let mut context = std::ptr::null_mut();
    let refused = unsafe { sys::cuCtxCreate_v2(&mut context, 0, 1) };
    assert_eq!(refused, CUresult::CUDA_ERROR_DEVICE_UNAVAILABLE);
    drop(lost);
    let _other = Context::on(0);
    alloc(4);
}
