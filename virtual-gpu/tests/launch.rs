//! Modules, functions and launches: every way to pass parameters, limits and their codes, occupancy, profile, faults.

mod support;

use cudarc::driver::sys::{self, CUfunction_attribute, CUresult};
use std::ffi::{CStr, CString, c_void};
use support::kernels::{CLUSTER_PTX, PTX};
use support::{Context, alloc, check, download, function, launch, module, param, stream, upload};

const INVALID: CUresult = CUresult::CUDA_ERROR_INVALID_VALUE;

fn vectors() -> (u64, u64, u64, Vec<f32>) {
    let a: Vec<f32> = (0..1_000).map(|value| value as f32 * 0.5).collect();
    let b: Vec<f32> = (0..1_000).map(|value| 3.0 - value as f32).collect();
    let sums = a.iter().zip(&b).map(|(a, b)| a + b).collect();
    (alloc(4_000), upload(&a), upload(&b), sums)
}

#[test]
fn pointers_to_parameters() {
    let _context = Context::new();
    let add = function(module(PTX), c"add");
    let (out, a, b, sums) = vectors();
    let count = 1_000u32;
    check(launch(add, 8, 128, 0, &mut [param(&out), param(&a), param(&b), param(&count)]));
    assert_eq!(download::<f32>(out, 1_000), sums);
}

#[test]
fn a_buffer_of_parameters() {
    let _context = Context::new();
    let add = function(module(PTX), c"add");
    let (out, a, b, sums) = vectors();
    let mut buffer = [0u8; 32];
    for (index, address) in [out, a, b].iter().enumerate() {
        buffer[8 * index..][..8].copy_from_slice(&address.to_le_bytes());
    }
    buffer[24..28].copy_from_slice(&1_000u32.to_le_bytes());
    let run = |mut size: usize, buffer: *mut c_void| {
        let mut extra = [
            std::ptr::without_provenance_mut(1),
            buffer,
            std::ptr::without_provenance_mut(2),
            (&raw mut size).cast(),
            std::ptr::null_mut(),
        ];
        let null = std::ptr::null_mut();
        let none = std::ptr::null_mut();
        unsafe { sys::cuLaunchKernel(add, 8, 1, 1, 128, 1, 1, 0, null, none, extra.as_mut_ptr()) }
    };
    check(run(28, buffer.as_mut_ptr().cast()));
    assert_eq!(download::<f32>(out, 1_000), sums);
    check(run(32, buffer.as_mut_ptr().cast()));
    for size in [0, 27, 33, usize::MAX] {
        assert_eq!(run(size, buffer.as_mut_ptr().cast()), INVALID, "{size}");
    }
    assert_eq!(run(28, std::ptr::null_mut()), INVALID);
}

#[test]
fn structures_and_bytes_are_placed_by_their_alignment() {
    let _context = Context::new();
    let structure = function(module(PTX), c"structure");
    let out = alloc(24);
    check(unsafe { sys::cuMemsetD8_v2(out, 0, 24) });
    let (byte, pair) = (200u8, [0x1122_3344_5566_7788u64, 9]);
    check(launch(structure, 1, 1, 0, &mut [param(&out), param(&byte), param(&pair)]));
    assert_eq!(download::<u64>(out, 3), [200, pair[0], 9]);
    let (mut offset, mut size) = (0, 0);
    check(unsafe { sys::cuFuncGetParamInfo(structure, 2, &mut offset, &mut size) });
    assert_eq!((offset, size), (16, 16));
    assert_eq!(unsafe { sys::cuFuncGetParamInfo(structure, 3, &mut offset, &mut size) }, INVALID);
}

#[test]
fn limits_are_refused_at_the_call() {
    let gpu = support::h100();
    let _context = Context::new();
    let module = module(PTX);
    let (nothing, bounded, required) =
        (function(module, c"nothing"), function(module, c"bounded"), function(module, c"required"));
    assert_eq!(launch(nothing, 0, 1, 0, &mut []), INVALID);
    assert_eq!(launch(nothing, 1, 0, 0, &mut []), INVALID);
    assert_eq!(launch(nothing, 1, 1_025, 0, &mut []), INVALID);
    check(launch(nothing, 1, 1_024, 0, &mut []));
    check(launch(bounded, 1, 64, 0, &mut []));
    assert_eq!(launch(bounded, 1, 65, 0, &mut []), INVALID);
    assert!(gpu.last_error().is_some_and(|text| text.contains("maxntid")));
    check(launch(required, 1, 32, 0, &mut []));
    assert_eq!(launch(required, 1, 31, 0, &mut []), INVALID);
    assert_eq!(launch(function(module, c"mark"), 1, 32, 0, &mut []), INVALID);
    let null = std::ptr::null_mut();
    let none = std::ptr::null_mut();
    let deep = unsafe { sys::cuLaunchKernel(nothing, 1, 65_536, 1, 1, 1, 1, 0, null, none, none) };
    assert_eq!(deep, INVALID);
    let handle = unsafe { sys::cuLaunchKernel(5 as _, 1, 1, 1, 1, 1, 1, 0, null, none, none) };
    assert_eq!(handle, CUresult::CUDA_ERROR_INVALID_HANDLE);
}

#[test]
fn dynamic_shared_memory_is_opted_in_for() {
    let _context = Context::new();
    let shared = function(module(PTX), c"shared");
    let out = alloc(4);
    check(launch(shared, 1, 1, 47 << 10, &mut [param(&out)]));
    assert_eq!(download::<u32>(out, 1), [77]);
    assert_eq!(launch(shared, 1, 1, (47 << 10) + 1, &mut [param(&out)]), INVALID);
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES;
    assert_eq!(unsafe { sys::cuFuncSetAttribute(shared, attribute, 227 << 10) }, INVALID);
    check(unsafe { sys::cuFuncSetAttribute(shared, attribute, 226 << 10) });
    check(launch(shared, 1, 1, 226 << 10, &mut [param(&out)]));
    let mut value = 0;
    check(unsafe { sys::cuFuncGetAttribute(&mut value, attribute, shared) });
    assert_eq!(value, 226 << 10);
    let attribute = CUfunction_attribute::CU_FUNC_ATTRIBUTE_SHARED_SIZE_BYTES;
    check(unsafe { sys::cuFuncGetAttribute(&mut value, attribute, shared) });
    assert_eq!(value, 1_024);
    check(unsafe { sys::cuCtxSynchronize() });
}

fn ex(function: sys::CUfunction, grid: u32, attributes: &mut [sys::CUlaunchAttribute], out: &u64) -> CUresult {
    let config = sys::CUlaunchConfig {
        gridDimX: grid,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: 32,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        hStream: std::ptr::null_mut(),
        attrs: attributes.as_mut_ptr(),
        numAttrs: attributes.len() as u32,
    };
    unsafe { sys::cuLaunchKernelEx(&config, function, [param(out)].as_mut_ptr(), std::ptr::null_mut()) }
}

fn attribute(id: sys::CUlaunchAttributeID, words: [u32; 3]) -> sys::CUlaunchAttribute {
    let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
    attribute.id = id;
    unsafe { (&raw mut attribute.value).cast::<[u32; 3]>().write(words) };
    attribute
}

#[test]
fn extended_launches_and_clusters() {
    let _context = Context::new();
    let rank = function(module(CLUSTER_PTX), c"rank");
    let out = alloc(32);
    use sys::CUlaunchAttributeID::*;
    let cluster = |x| attribute(CU_LAUNCH_ATTRIBUTE_CLUSTER_DIMENSION, [x, 1, 1]);
    check(ex(rank, 8, &mut [], &out));
    assert_eq!(download::<u32>(out, 8), [0; 8]);
    check(ex(rank, 8, &mut [cluster(2)], &out));
    assert_eq!(download::<u32>(out, 8), [0, 1, 0, 1, 0, 1, 0, 1]);
    let wrong = CUresult::CUDA_ERROR_INVALID_CLUSTER_SIZE;
    assert_eq!(ex(rank, 8, &mut [cluster(3)], &out), wrong);
    assert_eq!(ex(rank, 16, &mut [cluster(16)], &out), wrong);
    let one = [1, 0, 0];
    let programmatic = attribute(CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION, one);
    check(ex(rank, 8, &mut [cluster(4), programmatic], &out));
    assert_eq!(download::<u32>(out, 8), [0, 1, 2, 3, 0, 1, 2, 3]);
    let cooperative = attribute(CU_LAUNCH_ATTRIBUTE_COOPERATIVE, one);
    check(ex(rank, 8, &mut [cooperative], &out));
    let large = alloc(4 * 100_000);
    let too_large = CUresult::CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE;
    assert_eq!(ex(rank, 100_000, &mut [cooperative], &large), too_large);
    check(unsafe { sys::cuCtxSynchronize() });
}

#[test]
fn variables_are_read_and_written() {
    let _context = Context::new();
    let module = module(PTX);
    let global = |name: &CStr| {
        let (mut address, mut size) = (0, 0);
        check(unsafe { sys::cuModuleGetGlobal_v2(&mut address, &mut size, module, name.as_ptr()) });
        (address, size)
    };
    let (counter, table) = (global(c"counter"), global(c"table"));
    assert_eq!((counter.1, table.1), (4, 16));
    assert_eq!(download::<u32>(counter.0, 1), [5]);
    assert_eq!(download::<u32>(table.0, 4), [10, 20, 30, 40]);
    check(unsafe { sys::cuMemsetD32_v2(table.0 + 8, 100, 1) });
    check(launch(function(module, c"count"), 1, 1, 0, &mut []));
    assert_eq!(download::<u32>(counter.0, 1), [105]);
    let (mut address, mut size) = (0, 0);
    let missing = unsafe { sys::cuModuleGetGlobal_v2(&mut address, &mut size, module, c"none".as_ptr()) };
    assert_eq!(missing, CUresult::CUDA_ERROR_NOT_FOUND);
    let mut function = std::ptr::null_mut();
    let missing = unsafe { sys::cuModuleGetFunction(&mut function, module, c"none".as_ptr()) };
    assert_eq!(missing, CUresult::CUDA_ERROR_NOT_FOUND);
    check(unsafe { sys::cuModuleUnload(module) });
    assert_eq!(unsafe { sys::cuModuleUnload(module) }, CUresult::CUDA_ERROR_INVALID_HANDLE);
    assert_eq!(launch(self::function_handle(), 1, 1, 0, &mut []), CUresult::CUDA_ERROR_INVALID_HANDLE);
}

/// A function whose module is gone.
fn function_handle() -> sys::CUfunction {
    let module = module(PTX);
    let function = function(module, c"nothing");
    check(unsafe { sys::cuModuleUnload(module) });
    function
}

#[test]
fn a_wrong_module_names_line_and_column() {
    let _context = Context::new();
    let text =
        CString::new(".version 7.8\n.target sm_80\n.address_size 64\n.visible .entry k() {\n    frob.u32 %r1;\n}\n");
    let text = text.expect("no zero inside");
    let mut log = [0u8; 1_024];
    use sys::CUjit_option::*;
    let mut options = [CU_JIT_ERROR_LOG_BUFFER, CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES];
    let mut values = [log.as_mut_ptr().cast::<c_void>(), log.len() as *mut c_void];
    let mut module = std::ptr::null_mut();
    let (options, values_at) = (options.as_mut_ptr(), values.as_mut_ptr());
    let refused = unsafe { sys::cuModuleLoadDataEx(&mut module, text.as_ptr().cast(), 2, options, values_at) };
    assert_eq!(refused, CUresult::CUDA_ERROR_INVALID_PTX);
    let log = CStr::from_bytes_until_nul(&log).expect("terminated").to_string_lossy();
    assert!(log.contains("line 5") && log.contains("column") && log.contains("frob"), "{log}");
    assert_eq!(values[1] as usize, log.len());
}

#[test]
fn images_that_cannot_run_have_their_codes() {
    let _context = Context::new();
    let mut module = std::ptr::null_mut();
    let mut load = |image: &[u8]| unsafe { sys::cuModuleLoadData(&mut module, image.as_ptr().cast()) };
    assert_eq!(load(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0"), CUresult::CUDA_ERROR_NO_BINARY_FOR_GPU);
    assert_eq!(load(b"\x01\x02\x03\x04\0"), CUresult::CUDA_ERROR_INVALID_IMAGE);
    assert_eq!(load(b"\0"), CUresult::CUDA_ERROR_INVALID_IMAGE);
    let newer = b".version 9.9\n.target sm_80\n.address_size 64\n\0";
    assert_eq!(load(newer), CUresult::CUDA_ERROR_UNSUPPORTED_PTX_VERSION);
    let missing = unsafe { sys::cuModuleLoad(&mut module, c"/nowhere/at/all.ptx".as_ptr()) };
    assert_eq!(missing, CUresult::CUDA_ERROR_FILE_NOT_FOUND);
    assert_eq!(unsafe { sys::cuModuleLoadData(&mut module, std::ptr::null()) }, INVALID);
}

#[test]
fn libraries_and_links_lead_to_functions() {
    let _context = Context::new();
    let text = CString::new(PTX).expect("no zero inside");
    let mut library = std::ptr::null_mut();
    let (none, values) = (std::ptr::null_mut(), std::ptr::null_mut());
    let (options, option_values) = (std::ptr::null_mut(), std::ptr::null_mut());
    let image = text.as_ptr().cast();
    check(unsafe { sys::cuLibraryLoadData(&mut library, image, none, values, 0, options, option_values, 0) });
    let (mut kernel, mut function) = (std::ptr::null_mut(), std::ptr::null_mut());
    check(unsafe { sys::cuLibraryGetKernel(&mut kernel, library, c"mark".as_ptr()) });
    check(unsafe { sys::cuKernelGetFunction(&mut function, kernel) });
    let out = alloc(8);
    check(launch(function, 2, 33, 0, &mut [param(&out)]));
    assert_eq!(download::<u32>(out, 2), [33, 33]);
    // A kernel handle serves as a function.
    check(launch(kernel.cast(), 2, 34, 0, &mut [param(&out)]));
    assert_eq!(download::<u32>(out, 2), [34, 34]);
    check(unsafe { sys::cuLibraryUnload(library) });
    assert_eq!(launch(function, 1, 1, 0, &mut [param(&out)]), CUresult::CUDA_ERROR_INVALID_HANDLE);

    let mut state = std::ptr::null_mut();
    check(unsafe { sys::cuLinkCreate_v2(0, none, values, &mut state) });
    let (kind, data) = (sys::CUjitInputType_enum::CU_JIT_INPUT_PTX, text.as_ptr().cast_mut().cast());
    let length = text.as_bytes_with_nul().len();
    check(unsafe { sys::cuLinkAddData_v2(state, kind, data, length, c"k".as_ptr(), 0, none, values) });
    let (mut cubin, mut size) = (std::ptr::null_mut(), 0);
    check(unsafe { sys::cuLinkComplete(state, &mut cubin, &mut size) });
    let mut linked = std::ptr::null_mut();
    check(unsafe { sys::cuModuleLoadData(&mut linked, cubin) });
    check(unsafe { sys::cuLinkDestroy(state) });
    check(launch(support::function(linked, c"mark"), 2, 35, 0, &mut [param(&out)]));
    assert_eq!(download::<u32>(out, 2), [35, 35]);
}

#[test]
fn occupancy_follows_the_calculator() {
    let _context = Context::new();
    let module = module(PTX);
    let nothing = function(module, c"nothing");
    let blocks = |threads, shared| {
        let mut blocks = -1;
        check(unsafe { sys::cuOccupancyMaxActiveBlocksPerMultiprocessor(&mut blocks, nothing, threads, shared) });
        blocks
    };
    assert_eq!((blocks(1_024, 0), blocks(128, 0), blocks(32, 0)), (2, 16, 32));
    // 228 KiB, of which every block takes 1 KiB beside its own.
    assert_eq!((blocks(32, 37 << 10), blocks(32, 45 << 10)), (6, 4));
    assert_eq!(blocks(32, 100 << 10), 0);
    let (mut grid, mut block) = (0, 0);
    check(unsafe { sys::cuOccupancyMaxPotentialBlockSize(&mut grid, &mut block, nothing, None, 0, 0) });
    assert_eq!((grid, block), (264, 1_024));
    let mut bytes = 0;
    check(unsafe { sys::cuOccupancyAvailableDynamicSMemPerBlock(&mut bytes, nothing, 2, 128) });
    assert_eq!(bytes, 113 << 10);
}

#[test]
fn kernel_nodes_run_and_change() {
    let _context = Context::new();
    let module = module(PTX);
    let mark = function(module, c"mark");
    let out = alloc(8);
    let mut graph = std::ptr::null_mut();
    check(unsafe { sys::cuGraphCreate(&mut graph, 0) });
    let mut pointers = [param(&out)];
    let mut params: sys::CUDA_KERNEL_NODE_PARAMS = unsafe { std::mem::zeroed() };
    (params.func, params.gridDimX, params.gridDimY, params.gridDimZ) = (mark, 2, 1, 1);
    (params.blockDimX, params.blockDimY, params.blockDimZ) = (8, 1, 1);
    params.kernelParams = pointers.as_mut_ptr();
    let mut node = std::ptr::null_mut();
    check(unsafe { sys::cuGraphAddKernelNode_v2(&mut node, graph, std::ptr::null(), 0, &params) });
    let mut exec = std::ptr::null_mut();
    check(unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0) });
    let queue = stream(true);
    let run = || {
        check(unsafe { sys::cuGraphLaunch(exec, queue) });
        check(unsafe { sys::cuStreamSynchronize(queue) });
    };
    run();
    assert_eq!(download::<u32>(out, 2), [8, 8]);
    params.blockDimX = 9;
    check(unsafe { sys::cuGraphExecKernelNodeSetParams_v2(exec, node, &params) });
    run();
    assert_eq!(download::<u32>(out, 2), [9, 9]);
    let mut back: sys::CUDA_KERNEL_NODE_PARAMS = unsafe { std::mem::zeroed() };
    check(unsafe { sys::cuGraphKernelNodeGetParams_v2(node, &mut back) });
    assert_eq!((back.func, back.blockDimX), (mark, 8));
    assert_eq!(unsafe { *(*back.kernelParams).cast::<u64>() }, out);
    params.blockDimX = 2_000;
    assert_eq!(unsafe { sys::cuGraphExecKernelNodeSetParams_v2(exec, node, &params) }, INVALID);
}

#[test]
fn the_profile_counts_launches() {
    let gpu = support::h100();
    let _context = Context::new();
    let mark = function(module(PTX), c"mark");
    let out = alloc(16);
    check(launch(mark, 4, 32, 0, &mut [param(&out)]));
    check(unsafe { sys::cuCtxSynchronize() });
    let profile = gpu.profile_json();
    assert!(profile.contains("\"kernel\":\"mark\"") && profile.contains("\"grid\":[4, 1, 1]"), "{profile}");
}

#[test]
fn the_safe_layer_of_cudarc_launches() {
    use cudarc::driver::{LaunchConfig, PushKernelArg};
    support::h100();
    let context = cudarc::driver::CudaContext::new(0).expect("device 0");
    let stream = context.new_stream().expect("a stream");
    let module = context.load_module(cudarc::nvrtc::Ptx::from_src(PTX)).expect("the module loads");
    let add = module.load_function("add").expect("the kernel is there");
    let a = stream.clone_htod(&[1.0f32, 2.0, 3.0]).expect("upload");
    let b = stream.clone_htod(&[10.0f32, 20.0, 30.0]).expect("upload");
    let mut out = stream.alloc_zeros::<f32>(3).expect("zeros");
    let mut launch = stream.launch_builder(&add);
    launch.arg(&mut out).arg(&a).arg(&b).arg(&3u32);
    unsafe { launch.launch(LaunchConfig::for_num_elems(3)) }.expect("launch");
    assert_eq!(stream.clone_dtoh(&out).expect("download"), [11.0, 22.0, 33.0]);
}
