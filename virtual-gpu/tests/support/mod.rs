//! What the driver tests share: the installed driver, contexts of their own, codes.

// Every test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use cudarc::driver::sys::{self, CUcontext, CUdeviceptr, CUresult};
use std::ffi::c_void;
use virtual_gpu::{Options, VirtualGpu};

/// The driver with these devices; the first call of the process decides.
pub fn gpu(devices: &[&virtual_gpu::model::DeviceModel]) -> VirtualGpu {
    let gpu = Options::new().log(false).install().expect("the virtual GPU installs");
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        gpu.apply(&Options::new().devices(devices)).expect("before cuInit the devices can be chosen");
        check(unsafe { sys::cuInit(0) });
    });
    gpu
}

/// One H100.
pub fn h100() -> VirtualGpu {
    gpu(&[&virtual_gpu::model::DeviceModel::H100])
}

#[track_caller]
pub fn check(result: CUresult) {
    assert_eq!(result, CUresult::CUDA_SUCCESS);
}

/// A context of this test alone, current on this thread; errors stay in it.
pub struct Context(pub CUcontext);

impl Context {
    pub fn on(device: i32) -> Context {
        let mut context = std::ptr::null_mut();
        check(unsafe { sys::cuCtxCreate_v2(&mut context, 0, device) });
        Context(context)
    }

    pub fn new() -> Context {
        h100();
        Context::on(0)
    }
}

impl Drop for Context {
    fn drop(&mut self) {
        unsafe { sys::cuCtxDestroy_v2(self.0) };
    }
}

pub fn alloc(bytes: usize) -> CUdeviceptr {
    let mut address = 0;
    check(unsafe { sys::cuMemAlloc_v2(&mut address, bytes) });
    address
}

pub fn upload<T: Copy>(data: &[T]) -> CUdeviceptr {
    let address = alloc(size_of_val(data));
    check(unsafe { sys::cuMemcpyHtoD_v2(address, data.as_ptr().cast(), size_of_val(data)) });
    address
}

pub fn download<T: Copy + Default>(address: CUdeviceptr, count: usize) -> Vec<T> {
    let mut data = vec![T::default(); count];
    check(unsafe { sys::cuMemcpyDtoH_v2(data.as_mut_ptr().cast::<c_void>(), address, count * size_of::<T>()) });
    data
}

/// A stream of the current context.
pub fn stream(non_blocking: bool) -> sys::CUstream {
    let mut stream = std::ptr::null_mut();
    check(unsafe { sys::cuStreamCreate(&mut stream, u32::from(non_blocking)) });
    stream
}

pub fn event() -> sys::CUevent {
    let mut event = std::ptr::null_mut();
    check(unsafe { sys::cuEventCreate(&mut event, 0) });
    event
}

/// Page-locked memory, as a slice.
pub fn pinned(count: usize) -> &'static mut [u32] {
    let mut pointer = std::ptr::null_mut();
    check(unsafe { sys::cuMemAllocHost_v2(&mut pointer, count * 4) });
    unsafe { std::slice::from_raw_parts_mut(pointer.cast(), count) }
}

/// A gate that holds a stream: work behind it does not run before it is opened.
pub struct Gate(Box<std::sync::atomic::AtomicBool>);

impl Gate {
    pub fn close(stream: sys::CUstream) -> Gate {
        let gate = Box::new(std::sync::atomic::AtomicBool::new(false));
        let data = std::ptr::from_ref(&*gate).cast_mut().cast::<c_void>();
        check(unsafe { sys::cuLaunchHostFunc(stream, Some(hold), data) });
        Gate(gate)
    }

    pub fn open(&self) {
        self.0.store(true, std::sync::atomic::Ordering::Release);
    }
}

unsafe extern "C" fn hold(data: *mut c_void) {
    let gate = unsafe { &*data.cast::<std::sync::atomic::AtomicBool>() };
    while !gate.load(std::sync::atomic::Ordering::Acquire) {
        std::thread::yield_now();
    }
}

/// A 2-D copy from host to device with nothing filled in.
pub fn copy_2d() -> sys::CUDA_MEMCPY2D {
    sys::CUDA_MEMCPY2D {
        srcXInBytes: 0,
        srcY: 0,
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_HOST,
        srcHost: std::ptr::null(),
        srcDevice: 0,
        srcArray: std::ptr::null_mut(),
        srcPitch: 0,
        dstXInBytes: 0,
        dstY: 0,
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        dstHost: std::ptr::null_mut(),
        dstDevice: 0,
        dstArray: std::ptr::null_mut(),
        dstPitch: 0,
        WidthInBytes: 0,
        Height: 0,
    }
}

/// A 3-D copy from device to device with nothing filled in.
pub fn copy_3d() -> sys::CUDA_MEMCPY3D {
    sys::CUDA_MEMCPY3D {
        srcXInBytes: 0,
        srcY: 0,
        srcZ: 0,
        srcLOD: 0,
        srcMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        srcHost: std::ptr::null(),
        srcDevice: 0,
        srcArray: std::ptr::null_mut(),
        reserved0: std::ptr::null_mut(),
        srcPitch: 0,
        srcHeight: 0,
        dstXInBytes: 0,
        dstY: 0,
        dstZ: 0,
        dstLOD: 0,
        dstMemoryType: sys::CUmemorytype::CU_MEMORYTYPE_DEVICE,
        dstHost: std::ptr::null_mut(),
        dstDevice: 0,
        dstArray: std::ptr::null_mut(),
        reserved1: std::ptr::null_mut(),
        dstPitch: 0,
        dstHeight: 0,
        WidthInBytes: 0,
        Height: 0,
        Depth: 0,
    }
}

pub mod kernels;

/// A module of PTX text in the current context.
pub fn module(ptx: &str) -> sys::CUmodule {
    let text = std::ffi::CString::new(ptx).expect("PTX has no zero inside");
    let mut module = std::ptr::null_mut();
    let result = unsafe { sys::cuModuleLoadData(&mut module, text.as_ptr().cast()) };
    assert_eq!(result, CUresult::CUDA_SUCCESS, "{:?}", virtual_gpu::install().map(|gpu| gpu.last_error()));
    module
}

pub fn function(module: sys::CUmodule, name: &std::ffi::CStr) -> sys::CUfunction {
    let mut function = std::ptr::null_mut();
    check(unsafe { sys::cuModuleGetFunction(&mut function, module, name.as_ptr()) });
    function
}

/// Launches `grid` blocks of `block` threads; the result of the call alone.
pub fn launch(function: sys::CUfunction, grid: u32, block: u32, shared: u32, params: &mut [*mut c_void]) -> CUresult {
    let null = std::ptr::null_mut();
    let params = if params.is_empty() { std::ptr::null_mut() } else { params.as_mut_ptr() };
    let none = std::ptr::null_mut();
    unsafe { sys::cuLaunchKernel(function, grid, 1, 1, block, 1, 1, shared, null, params, none) }
}

/// The address of a value, as launches take parameters.
pub fn param<T>(value: &T) -> *mut c_void {
    std::ptr::from_ref(value).cast_mut().cast()
}
