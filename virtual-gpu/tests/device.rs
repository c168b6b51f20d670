//! Devices, attributes, contexts and peers, on an H100 and an A100.

mod support;

use cudarc::driver::sys::{self, CUdevice_attribute, CUresult};
use std::ffi::{CStr, c_char};
use support::{Context, alloc, check, download, upload};
use virtual_gpu::model::DeviceModel;

fn two() -> virtual_gpu::VirtualGpu {
    support::gpu(&[&DeviceModel::H100, &DeviceModel::A100])
}

fn attribute(attribute: CUdevice_attribute, device: i32) -> i32 {
    let mut value = -1;
    check(unsafe { sys::cuDeviceGetAttribute(&mut value, attribute, device) });
    value
}

#[test]
fn devices_are_counted_and_named() {
    two();
    let mut count = 0;
    check(unsafe { sys::cuDeviceGetCount(&mut count) });
    assert_eq!(count, 2);
    let mut name = [0 as c_char; 64];
    check(unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), 64, 1) });
    assert_eq!(unsafe { CStr::from_ptr(name.as_ptr()) }.to_str(), Ok(DeviceModel::A100.name));
    check(unsafe { sys::cuDeviceGetName(name.as_mut_ptr(), 5, 1) });
    assert_eq!(unsafe { CStr::from_ptr(name.as_ptr()) }.to_bytes().len(), 4);
    let mut device = 0;
    assert_eq!(unsafe { sys::cuDeviceGet(&mut device, 2) }, CUresult::CUDA_ERROR_INVALID_DEVICE);
    assert_eq!(unsafe { sys::cuDeviceGet(&mut device, -1) }, CUresult::CUDA_ERROR_INVALID_DEVICE);
    let mut uuids = [sys::CUuuid { bytes: [0; 16] }; 2];
    check(unsafe { sys::cuDeviceGetUuid_v2(&mut uuids[0], 0) });
    check(unsafe { sys::cuDeviceGetUuid_v2(&mut uuids[1], 1) });
    assert_ne!(uuids[0].bytes, uuids[1].bytes);
    let mut bus = [0 as c_char; 16];
    check(unsafe { sys::cuDeviceGetPCIBusId(bus.as_mut_ptr(), 16, 1) });
    check(unsafe { sys::cuDeviceGetByPCIBusId(&mut device, bus.as_ptr()) });
    assert_eq!(device, 1);
    let mut version = 0;
    check(unsafe { sys::cuDriverGetVersion(&mut version) });
    assert!((12_000..14_000).contains(&version));
}

#[test]
fn attributes_are_those_of_the_models() {
    two();
    use CUdevice_attribute::*;
    for (device, model) in [(0, DeviceModel::H100), (1, DeviceModel::A100)] {
        let major = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR, device) as u32;
        let minor = attribute(CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR, device) as u32;
        assert_eq!((major, minor), model.compute);
        let optin = attribute(CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK_OPTIN, device);
        assert_eq!(optin as u32, model.shared_per_block_optin);
        assert_eq!(attribute(CU_DEVICE_ATTRIBUTE_MEMORY_POOLS_SUPPORTED, device), 1);
        let cluster = attribute(CU_DEVICE_ATTRIBUTE_CLUSTER_LAUNCH, device);
        assert_eq!(cluster, i32::from(model.compute.0 >= 9));
        let mut bytes = 0;
        check(unsafe { sys::cuDeviceTotalMem_v2(&mut bytes, device) });
        assert_eq!(bytes as u64, model.memory_bytes);
    }
    let library = unsafe { libloading::Library::new("libcuda.so") }.expect("installed");
    type Get = unsafe extern "C" fn(*mut i32, u32, i32) -> CUresult;
    let get = unsafe { library.get::<Get>(b"cuDeviceGetAttribute") }.expect("exported");
    let mut value = 0;
    for number in 1..148 {
        check(unsafe { get(&mut value, number, 0) });
    }
    for number in [0, 100_000] {
        assert_eq!(unsafe { get(&mut value, number, 0) }, CUresult::CUDA_ERROR_INVALID_VALUE);
    }
}

#[test]
fn contexts_stack() {
    two();
    std::thread::spawn(|| {
        let mut current = std::ptr::null_mut();
        check(unsafe { sys::cuCtxGetCurrent(&mut current) });
        assert!(current.is_null());
        let mut bytes = 0;
        assert_eq!(unsafe { sys::cuMemAlloc_v2(&mut bytes, 4) }, CUresult::CUDA_ERROR_INVALID_CONTEXT);
        let (mut first, mut second) = (std::ptr::null_mut(), std::ptr::null_mut());
        check(unsafe { sys::cuCtxCreate_v2(&mut first, 0, 0) });
        check(unsafe { sys::cuCtxCreate_v2(&mut second, 0, 1) });
        let mut device = 9;
        check(unsafe { sys::cuCtxGetDevice(&mut device) });
        assert_eq!(device, 1);
        let mut popped = std::ptr::null_mut();
        check(unsafe { sys::cuCtxPopCurrent_v2(&mut popped) });
        assert_eq!(popped, second);
        check(unsafe { sys::cuCtxGetDevice(&mut device) });
        assert_eq!(device, 0);
        check(unsafe { sys::cuCtxPushCurrent_v2(second) });
        check(unsafe { sys::cuCtxSetCurrent(first) });
        check(unsafe { sys::cuCtxDestroy_v2(second) });
        assert_eq!(unsafe { sys::cuCtxDestroy_v2(second) }, CUresult::CUDA_ERROR_INVALID_CONTEXT);
        check(unsafe { sys::cuCtxDestroy_v2(first) });
    })
    .join()
    .expect("the thread ends well");
}

#[test]
fn primary_contexts_are_counted() {
    two();
    let state = || {
        let (mut flags, mut active) = (0, 0);
        check(unsafe { sys::cuDevicePrimaryCtxGetState(1, &mut flags, &mut active) });
        active
    };
    let (mut first, mut second) = (std::ptr::null_mut(), std::ptr::null_mut());
    check(unsafe { sys::cuDevicePrimaryCtxRetain(&mut first, 1) });
    check(unsafe { sys::cuDevicePrimaryCtxRetain(&mut second, 1) });
    assert_eq!((first, state()), (second, 1));
    check(unsafe { sys::cuDevicePrimaryCtxRelease_v2(1) });
    assert_eq!(state(), 1);
    check(unsafe { sys::cuDevicePrimaryCtxRelease_v2(1) });
    assert_eq!(state(), 0);
    assert_eq!(unsafe { sys::cuDevicePrimaryCtxRelease_v2(1) }, CUresult::CUDA_ERROR_INVALID_CONTEXT);
    assert_eq!(unsafe { sys::cuCtxDestroy_v2(first) }, CUresult::CUDA_ERROR_INVALID_CONTEXT);
}

#[test]
fn limits_are_kept() {
    two();
    let _context = Context::on(0);
    let mut value = 0;
    check(unsafe { sys::cuCtxSetLimit(sys::CUlimit::CU_LIMIT_STACK_SIZE, 8_192) });
    check(unsafe { sys::cuCtxGetLimit(&mut value, sys::CUlimit::CU_LIMIT_STACK_SIZE) });
    assert_eq!(value, 8_192);
    let heap = sys::CUlimit::CU_LIMIT_MALLOC_HEAP_SIZE;
    check(unsafe { sys::cuCtxGetLimit(&mut value, heap) });
    assert_eq!(value, 8 << 20);
}

#[test]
fn peers_copy_and_see_each_other() {
    two();
    let first = Context::on(0);
    let source = upload(&[1u32, 2, 3]);
    let second = Context::on(1);
    let target = alloc(12);
    check(unsafe { sys::cuMemcpyPeer(target, second.0, source, first.0, 12) });
    assert_eq!(download::<u32>(target, 3), [1, 2, 3]);
    let mut can = 0;
    check(unsafe { sys::cuDeviceCanAccessPeer(&mut can, 0, 1) });
    assert_eq!(can, 1);
    check(unsafe { sys::cuDeviceCanAccessPeer(&mut can, 0, 0) });
    assert_eq!(can, 0);
    let already = CUresult::CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
    check(unsafe { sys::cuCtxEnablePeerAccess(first.0, 0) });
    assert_eq!(unsafe { sys::cuCtxEnablePeerAccess(first.0, 0) }, already);
    check(unsafe { sys::cuCtxDisablePeerAccess(first.0) });
    let not = CUresult::CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
    assert_eq!(unsafe { sys::cuCtxDisablePeerAccess(first.0) }, not);
}

#[test]
fn kernels_reach_pinned_memory_and_peers() {
    two();
    let first = Context::on(0);
    let pinned = support::pinned(4);
    pinned.fill(5);
    let source = upload(&[1.0f32; 4]);
    let _second = Context::on(1);
    let add = support::function(support::module(support::kernels::PTX), c"add");
    let (out, twos, count) = (alloc(16), upload(&[2.0f32; 4]), 4u32);
    let sum = |a: u64| {
        let mut params = [support::param(&out), support::param(&a), support::param(&twos), support::param(&count)];
        check(support::launch(add, 1, 4, 0, &mut params));
        unsafe { sys::cuCtxSynchronize() }
    };
    pinned.fill(1.5f32.to_bits());
    check(sum(pinned.as_ptr() as u64));
    assert_eq!(download::<f32>(out, 4), [3.5; 4]);
    check(unsafe { sys::cuCtxEnablePeerAccess(first.0, 0) });
    check(sum(source));
    assert_eq!(download::<f32>(out, 4), [3.0; 4]);
    check(unsafe { sys::cuCtxDisablePeerAccess(first.0) });
    assert_eq!(sum(source), CUresult::CUDA_ERROR_ILLEGAL_ADDRESS);
}

#[test]
fn errors_have_names_and_texts() {
    two();
    let mut text = std::ptr::null();
    check(unsafe { sys::cuGetErrorName(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, &mut text) });
    assert_eq!(unsafe { CStr::from_ptr(text) }, c"CUDA_ERROR_ILLEGAL_ADDRESS");
    check(unsafe { sys::cuGetErrorString(CUresult::CUDA_ERROR_ILLEGAL_ADDRESS, &mut text) });
    assert_eq!(unsafe { CStr::from_ptr(text) }, c"an illegal memory access was encountered");
    let library = unsafe { libloading::Library::new("libcuda.so") }.expect("installed");
    type Name = unsafe extern "C" fn(u32, *mut *const c_char) -> CUresult;
    let name = unsafe { library.get::<Name>(b"cuGetErrorName") }.expect("exported");
    assert_eq!(unsafe { name(12_345, &mut text) }, CUresult::CUDA_ERROR_INVALID_VALUE);
    assert!(text.is_null());
}
