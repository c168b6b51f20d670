//! Memory: every kind of allocation, copy and fill, and what is refused.

mod support;

use cudarc::driver::sys::{self, CUresult};
use std::ffi::c_void;
use support::{Context, alloc, check, copy_2d, copy_3d, download, pinned, stream, upload};

const INVALID: CUresult = CUresult::CUDA_ERROR_INVALID_VALUE;

#[test]
fn bytes_go_there_and_back() {
    let _context = Context::new();
    for count in [1usize, 255, 256, 257, 4_099] {
        let data: Vec<u8> = (0..count).map(|index| (index * 7 + 3) as u8).collect();
        let device = upload(&data);
        assert_eq!(device % 256, 0);
        assert_eq!(download::<u8>(device, count), data);
        check(unsafe { sys::cuMemFree_v2(device) });
    }
}

#[test]
fn device_to_device_and_unified_copies() {
    let _context = Context::new();
    let data: Vec<u32> = (0..1_000).collect();
    let first = upload(&data);
    let second = alloc(4_000);
    check(unsafe { sys::cuMemcpyDtoD_v2(second, first, 4_000) });
    assert_eq!(download::<u32>(second, 1_000), data);
    let third = alloc(4_000);
    check(unsafe { sys::cuMemcpy(third, second, 4_000) });
    let mut back = vec![0u32; 1_000];
    check(unsafe { sys::cuMemcpy(back.as_mut_ptr() as u64, third, 4_000) });
    assert_eq!(back, data);
}

#[test]
fn ranges_are_checked_to_the_byte() {
    let _context = Context::new();
    let device = upload(&[1u8; 100]);
    let mut host = [0u8; 128];
    let out = host.as_mut_ptr().cast::<c_void>();
    check(unsafe { sys::cuMemcpyDtoH_v2(out, device, 100) });
    assert_eq!(unsafe { sys::cuMemcpyDtoH_v2(out, device, 101) }, INVALID);
    assert_eq!(unsafe { sys::cuMemcpyDtoH_v2(out, device + 1, 100) }, INVALID);
    assert_eq!(unsafe { sys::cuMemcpyHtoD_v2(device + 99, out, 2) }, INVALID);
    assert_eq!(unsafe { sys::cuMemsetD8_v2(device, 0, 101) }, INVALID);
    assert_eq!(unsafe { sys::cuMemcpyDtoH_v2(out, 0x10, 1) }, INVALID);
    assert_eq!(unsafe { sys::cuMemcpyDtoH_v2(std::ptr::null_mut(), device, 1) }, INVALID);
    // No bytes are no error.
    check(unsafe { sys::cuMemcpyDtoH_v2(std::ptr::null_mut(), 0, 0) });
}

#[test]
fn freeing_is_checked() {
    let _context = Context::new();
    let device = alloc(64);
    assert_eq!(unsafe { sys::cuMemFree_v2(device + 1) }, INVALID);
    check(unsafe { sys::cuMemFree_v2(device) });
    assert_eq!(unsafe { sys::cuMemFree_v2(device) }, INVALID);
    check(unsafe { sys::cuMemFree_v2(0) });
    let mut host = [0u8; 4];
    assert_eq!(unsafe { sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), device, 4) }, INVALID);
    let mut address = 0;
    assert_eq!(unsafe { sys::cuMemAlloc_v2(&mut address, 0) }, INVALID);
    assert_eq!(unsafe { sys::cuMemAlloc_v2(&mut address, 1 << 50) }, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
}

#[test]
fn reading_what_was_never_written_is_a_fault() {
    let gpu = support::h100();
    let context = Context::new();
    let device = alloc(8);
    check(unsafe { sys::cuMemsetD8_v2(device, 0, 7) });
    let mut host = [0u8; 8];
    check(unsafe { sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), device, 7) });
    assert_ne!(unsafe { sys::cuMemcpyDtoH_v2(host.as_mut_ptr().cast(), device, 8) }, CUresult::CUDA_SUCCESS);
    assert!(gpu.faults().iter().any(|fault| fault.report.contains("uninitialised")), "{:?}", gpu.faults());
    drop(context);
}

#[test]
fn fills_of_every_width() {
    let _context = Context::new();
    let device = alloc(64);
    check(unsafe { sys::cuMemsetD32_v2(device, 0x01020304, 16) });
    assert_eq!(download::<u32>(device, 16), [0x01020304; 16]);
    check(unsafe { sys::cuMemsetD16_v2(device + 2, 0xabcd, 3) });
    assert_eq!(download::<u16>(device, 6), [0x0304, 0xabcd, 0xabcd, 0xabcd, 0x0304, 0x0102]);
    check(unsafe { sys::cuMemsetD8_v2(device + 1, 9, 1) });
    assert_eq!(download::<u8>(device, 3), [4, 9, 0xcd]);
    assert_eq!(unsafe { sys::cuMemsetD32_v2(device + 2, 0, 1) }, INVALID);
    assert_eq!(unsafe { sys::cuMemsetD16_v2(device + 1, 0, 1) }, INVALID);
    let queue = stream(true);
    check(unsafe { sys::cuMemsetD8Async(device, 1, 64, queue) });
    check(unsafe { sys::cuMemsetD16Async(device, 0x0202, 2, queue) });
    check(unsafe { sys::cuMemsetD32Async(device, 0x03030303, 1, queue) });
    check(unsafe { sys::cuStreamSynchronize(queue) });
    assert_eq!(download::<u8>(device, 5), [3, 3, 3, 3, 1]);
}

#[test]
fn fills_of_rectangles() {
    let _context = Context::new();
    let (mut device, mut pitch) = (0, 0);
    check(unsafe { sys::cuMemAllocPitch_v2(&mut device, &mut pitch, 10, 4, 4) });
    assert!(pitch >= 10 && pitch.is_multiple_of(256));
    check(unsafe { sys::cuMemsetD8_v2(device, 0, pitch * 4) });
    check(unsafe { sys::cuMemsetD2D8_v2(device, pitch, 5, 3, 2) });
    check(unsafe { sys::cuMemsetD2D16_v2(device + 2 * pitch as u64, pitch, 6, 2, 1) });
    check(unsafe { sys::cuMemsetD2D32_v2(device + 3 * pitch as u64, pitch, 7, 1, 1) });
    let all = download::<u8>(device, pitch * 4);
    assert_eq!(&all[..4], [5, 5, 5, 0]);
    assert_eq!(&all[pitch..][..4], [5, 5, 5, 0]);
    assert_eq!(&all[2 * pitch..][..6], [6, 0, 6, 0, 0, 0]);
    assert_eq!(&all[3 * pitch..][..5], [7, 0, 0, 0, 0]);
    // Wider than its pitch.
    assert_eq!(unsafe { sys::cuMemsetD2D8_v2(device, 2, 0, 3, 2) }, INVALID);
}

#[test]
fn two_dimensional_copies() {
    let _context = Context::new();
    let (mut device, mut pitch) = (0, 0);
    check(unsafe { sys::cuMemAllocPitch_v2(&mut device, &mut pitch, 12, 5, 4) });
    let host: Vec<u8> = (0..60).collect();
    let mut copy = copy_2d();
    copy.srcMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_HOST;
    copy.srcHost = host.as_ptr().cast();
    copy.srcPitch = 12;
    copy.dstMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
    copy.dstDevice = device;
    copy.dstPitch = pitch;
    (copy.WidthInBytes, copy.Height) = (12, 5);
    check(unsafe { sys::cuMemcpy2D_v2(&copy) });
    for row in 0..5u64 {
        let expected: Vec<u8> = (row as u8 * 12..row as u8 * 12 + 12).collect();
        assert_eq!(download::<u8>(device + row * pitch as u64, 12), expected);
    }
    // A 3 × 2 window back, from (4, 1) to (1, 1) of a 5 × 3 image.
    let mut back = [0u8; 15];
    let mut copy = copy_2d();
    copy.srcMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
    (copy.srcDevice, copy.srcPitch, copy.srcXInBytes, copy.srcY) = (device, pitch, 4, 1);
    copy.dstMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_HOST;
    (copy.dstHost, copy.dstPitch, copy.dstXInBytes, copy.dstY) = (back.as_mut_ptr().cast(), 5, 1, 1);
    (copy.WidthInBytes, copy.Height) = (3, 2);
    let queue = stream(true);
    check(unsafe { sys::cuMemcpy2DAsync_v2(&copy, queue) });
    check(unsafe { sys::cuStreamSynchronize(queue) });
    assert_eq!(back, [0, 0, 0, 0, 0, 0, 16, 17, 18, 0, 0, 28, 29, 30, 0]);
    copy.WidthInBytes = pitch + 1;
    assert_eq!(unsafe { sys::cuMemcpy2D_v2(&copy) }, INVALID);
    copy.WidthInBytes = usize::MAX;
    assert_eq!(unsafe { sys::cuMemcpy2D_v2(&copy) }, INVALID);
    assert_eq!(unsafe { sys::cuMemcpy2D_v2(std::ptr::null()) }, INVALID);
}

#[test]
fn three_dimensional_copies() {
    let _context = Context::new();
    let host: Vec<u8> = (0..2 * 3 * 4).collect();
    let device = alloc(200);
    check(unsafe { sys::cuMemsetD8_v2(device, 0xff, 200) });
    let mut copy = copy_3d();
    copy.srcMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_HOST;
    (copy.srcHost, copy.srcPitch, copy.srcHeight) = (host.as_ptr().cast(), 4, 3);
    copy.dstMemoryType = sys::CUmemorytype::CU_MEMORYTYPE_DEVICE;
    (copy.dstDevice, copy.dstPitch, copy.dstHeight) = (device, 10, 5);
    (copy.WidthInBytes, copy.Height, copy.Depth) = (4, 3, 2);
    check(unsafe { sys::cuMemcpy3D_v2(&copy) });
    let all = download::<u8>(device, 200);
    for (z, y, x) in (0..2).flat_map(|z| (0..3).flat_map(move |y| (0..4).map(move |x| (z, y, x)))) {
        assert_eq!(all[z * 50 + y * 10 + x], host[z * 12 + y * 4 + x]);
    }
    assert_eq!((all[4], all[49]), (0xff, 0xff));
}

#[test]
fn pinned_memory_is_one_address_for_both() {
    let _context = Context::new();
    let host = pinned(16);
    let address = host.as_ptr() as u64;
    let mut device = 0;
    check(unsafe { sys::cuMemHostGetDevicePointer_v2(&mut device, host.as_mut_ptr().cast(), 0) });
    assert_eq!(device, address);
    check(unsafe { sys::cuMemsetD32_v2(device, 7, 16) });
    assert_eq!(host, [7; 16]);
    let mut flags = 9;
    check(unsafe { sys::cuMemHostGetFlags(&mut flags, host.as_mut_ptr().cast()) });
    assert_eq!(flags, 0);
    assert_eq!(unsafe { sys::cuMemFree_v2(device) }, INVALID);
    check(unsafe { sys::cuMemFreeHost(host.as_mut_ptr().cast()) });
    assert_eq!(unsafe { sys::cuMemFreeHost(address as *mut c_void) }, INVALID);
}

#[test]
fn host_memory_is_registered_and_let_go() {
    let _context = Context::new();
    let mut host = vec![3u32; 1_024];
    let pointer = host.as_mut_ptr().cast::<c_void>();
    check(unsafe { sys::cuMemHostRegister_v2(pointer, 4_096, 0) });
    let again = unsafe { sys::cuMemHostRegister_v2(pointer, 16, 0) };
    assert_eq!(again, CUresult::CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED);
    check(unsafe { sys::cuMemsetD32_v2(pointer as u64, 4, 512) });
    assert_eq!((host[511], host[512]), (4, 3));
    check(unsafe { sys::cuMemHostUnregister(pointer) });
    let twice = unsafe { sys::cuMemHostUnregister(pointer) };
    assert_eq!(twice, CUresult::CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED);
}

#[test]
fn managed_memory_is_shared() {
    let _context = Context::new();
    let mut address = 0;
    let global = sys::CUmemAttach_flags::CU_MEM_ATTACH_GLOBAL as u32;
    check(unsafe { sys::cuMemAllocManaged(&mut address, 64, global) });
    let host = unsafe { std::slice::from_raw_parts_mut(address as *mut u32, 16) };
    host.fill(5);
    assert_eq!(download::<u32>(address, 16), [5; 16]);
    check(unsafe { sys::cuMemsetD32_v2(address, 6, 16) });
    assert_eq!(host, [6; 16]);
    check(unsafe { sys::cuMemAdvise(address, 64, sys::CUmem_advise::CU_MEM_ADVISE_SET_READ_MOSTLY, 0) });
    check(unsafe { sys::cuMemPrefetchAsync(address, 64, 0, std::ptr::null_mut()) });
    assert_eq!(unsafe { sys::cuMemPrefetchAsync(address, 65, 0, std::ptr::null_mut()) }, INVALID);
    assert_eq!(unsafe { sys::cuMemAllocManaged(&mut address, 64, 0) }, INVALID);
    check(unsafe { sys::cuMemFree_v2(address) });
}

#[test]
fn pools_allocate_in_stream_order() {
    let _context = Context::new();
    let queue = stream(true);
    let mut address = 0;
    check(unsafe { sys::cuMemAllocAsync(&mut address, 400, queue) });
    check(unsafe { sys::cuMemsetD32Async(address, 11, 100, queue) });
    let host = pinned(100);
    check(unsafe { sys::cuMemcpyDtoHAsync_v2(host.as_mut_ptr().cast(), address, 400, queue) });
    check(unsafe { sys::cuMemFreeAsync(address, queue) });
    assert_eq!(unsafe { sys::cuMemFreeAsync(address, queue) }, INVALID);
    check(unsafe { sys::cuStreamSynchronize(queue) });
    assert_eq!(host, [11; 100]);
    assert_eq!(unsafe { sys::cuMemFree_v2(address) }, INVALID);
    assert_eq!(unsafe { sys::cuMemFreeAsync(alloc(8), queue) }, INVALID);
}

#[test]
fn pools_of_the_program() {
    let _context = Context::new();
    let mut props: sys::CUmemPoolProps = unsafe { std::mem::zeroed() };
    props.allocType = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    props.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    props.maxSize = 1_000;
    let mut pool = std::ptr::null_mut();
    check(unsafe { sys::cuMemPoolCreate(&mut pool, &props) });
    let queue = stream(true);
    let mut address = 0;
    check(unsafe { sys::cuMemAllocFromPoolAsync(&mut address, 600, pool, queue) });
    let mut more = 0;
    let full = unsafe { sys::cuMemAllocFromPoolAsync(&mut more, 600, pool, queue) };
    assert_eq!(full, CUresult::CUDA_ERROR_OUT_OF_MEMORY);
    let mut used = 0u64;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_USED_MEM_CURRENT;
    check(unsafe { sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut used).cast()) });
    assert_eq!(used, 600);
    let mut threshold = 77u64;
    let attribute = sys::CUmemPool_attribute::CU_MEMPOOL_ATTR_RELEASE_THRESHOLD;
    check(unsafe { sys::cuMemPoolSetAttribute(pool, attribute, (&raw mut threshold).cast()) });
    threshold = 0;
    check(unsafe { sys::cuMemPoolGetAttribute(pool, attribute, (&raw mut threshold).cast()) });
    assert_eq!(threshold, 77);
    let mut of_pool = std::ptr::null_mut::<c_void>();
    let attribute = sys::CUpointer_attribute::CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE;
    check(unsafe { sys::cuPointerGetAttribute((&raw mut of_pool).cast(), attribute, address) });
    assert_eq!(of_pool, pool.cast());
    check(unsafe { sys::cuMemFreeAsync(address, queue) });
    check(unsafe { sys::cuMemPoolTrimTo(pool, 0) });
    check(unsafe { sys::cuMemPoolDestroy(pool) });
    assert_eq!(unsafe { sys::cuMemPoolDestroy(pool) }, INVALID);
    let mut default = std::ptr::null_mut();
    check(unsafe { sys::cuDeviceGetDefaultMemPool(&mut default, 0) });
    assert_eq!(unsafe { sys::cuMemPoolDestroy(default) }, INVALID);
}

#[test]
fn physical_memory_is_mapped_where_wanted() {
    let _context = Context::new();
    let mut prop: sys::CUmemAllocationProp = unsafe { std::mem::zeroed() };
    prop.type_ = sys::CUmemAllocationType::CU_MEM_ALLOCATION_TYPE_PINNED;
    prop.location.type_ = sys::CUmemLocationType::CU_MEM_LOCATION_TYPE_DEVICE;
    let mut unit = 0;
    let minimum = sys::CUmemAllocationGranularity_flags::CU_MEM_ALLOC_GRANULARITY_MINIMUM;
    check(unsafe { sys::cuMemGetAllocationGranularity(&mut unit, &prop, minimum) });
    let (mut handle, mut range) = (0, 0);
    assert_eq!(unsafe { sys::cuMemCreate(&mut handle, unit + 1, &prop, 0) }, INVALID);
    check(unsafe { sys::cuMemCreate(&mut handle, unit, &prop, 0) });
    check(unsafe { sys::cuMemAddressReserve(&mut range, 2 * unit, 0, 0, 0) });
    let second = range + unit as u64;
    check(unsafe { sys::cuMemMap(range, unit, 0, handle, 0) });
    assert_eq!(unsafe { sys::cuMemMap(range, unit, 0, handle, 0) }, INVALID);
    check(unsafe { sys::cuMemMap(second, unit, 0, handle, 0) });
    // Without access nothing can be done with it.
    assert_eq!(unsafe { sys::cuMemsetD32_v2(range, 1, 4) }, INVALID);
    let flags = sys::CUmemAccess_flags::CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    let desc = sys::CUmemAccessDesc { location: prop.location, flags };
    check(unsafe { sys::cuMemSetAccess(range, 2 * unit, &desc, 1) });
    check(unsafe { sys::cuMemsetD32_v2(range, 42, 4) });
    // The same memory, seen twice.
    assert_eq!(download::<u32>(second, 4), [42; 4]);
    let mut access = 0;
    check(unsafe { sys::cuMemGetAccess(&mut access, &prop.location, second) });
    assert_eq!(access, 3);
    assert_eq!(unsafe { sys::cuMemAddressFree(range, 2 * unit) }, INVALID);
    check(unsafe { sys::cuMemRelease(handle) });
    check(unsafe { sys::cuMemUnmap(range, 2 * unit) });
    assert_eq!(unsafe { sys::cuMemUnmap(range, unit) }, INVALID);
    assert_eq!(unsafe { sys::cuMemsetD32_v2(range, 1, 4) }, INVALID);
    check(unsafe { sys::cuMemAddressFree(range, 2 * unit) });
    assert_eq!(unsafe { sys::cuMemRelease(handle) }, INVALID);
}

#[test]
fn addresses_are_described() {
    let context = Context::new();
    let device = upload(&[0u8; 1_000]);
    let (mut base, mut size) = (0, 0);
    check(unsafe { sys::cuMemGetAddressRange_v2(&mut base, &mut size, device + 500) });
    assert_eq!((base, size), (device, 1_000));
    let ask = |attribute, address| {
        let mut value = 0u64;
        let result = unsafe { sys::cuPointerGetAttribute((&raw mut value).cast(), attribute, address) };
        (result == CUresult::CUDA_SUCCESS).then_some(value)
    };
    use sys::CUpointer_attribute::*;
    assert_eq!(ask(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device + 1), Some(2));
    assert_eq!(ask(CU_POINTER_ATTRIBUTE_CONTEXT, device), Some(context.0 as u64));
    assert_eq!(ask(CU_POINTER_ATTRIBUTE_RANGE_START_ADDR, device + 999), Some(device));
    assert_eq!(ask(CU_POINTER_ATTRIBUTE_RANGE_SIZE, device), Some(1_000));
    assert_eq!(ask(CU_POINTER_ATTRIBUTE_IS_MANAGED, device), Some(0));
    assert_eq!(ask(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, device + 1_000), None);
    let host = pinned(1);
    assert_eq!(ask(CU_POINTER_ATTRIBUTE_MEMORY_TYPE, host.as_ptr() as u64), Some(1));
    let (mut free, mut total) = (0, 0);
    check(unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) });
    assert!(free < total && total > 1 << 30);
}

#[test]
fn the_safe_layer_of_cudarc_works() {
    support::h100();
    let context = cudarc::driver::CudaContext::new(0).expect("device 0");
    let stream = context.new_stream().expect("a stream");
    let data: Vec<f32> = (0..1_000).map(|value| value as f32).collect();
    let device = stream.clone_htod(&data).expect("upload");
    let mut zeros = stream.alloc_zeros::<f32>(1_000).expect("zeros");
    assert_eq!(stream.clone_dtoh(&zeros).expect("download"), vec![0.0; 1_000]);
    stream.memcpy_dtod(&device, &mut zeros).expect("copy");
    assert_eq!(stream.clone_dtoh(&zeros).expect("download"), data);
    assert_eq!(stream.clone_dtoh(&device.slice(10..20)).expect("download"), &data[10..20]);
}
