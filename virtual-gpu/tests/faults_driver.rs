//! Planted faults in what a program asks of the driver, each with a clean twin: freed and unwritten memory, and work of
//! two streams, of two nodes of a graph, or of a grid and its dependent that nothing orders.

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
fn calls_are_counted_by_entry_point() {
    let _alone = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let gpu = support::h100();
    let _context = Context::new();
    gpu.clear_calls();
    let (mut free, mut total) = (0, 0);
    for _ in 0..3 {
        check(unsafe { sys::cuMemGetInfo_v2(&mut free, &mut total) });
    }
    let refused = unsafe { sys::cuMemFree_v2(64) };
    assert_ne!(refused, CUresult::CUDA_SUCCESS);
    let calls = gpu.calls();
    assert_eq!((calls.get("cuMemGetInfo"), calls.get("cuMemFree")), (Some(&3), Some(&1)), "{calls:?}");
    gpu.clear_calls();
    assert_eq!(gpu.calls().get("cuMemGetInfo"), None);
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

/// Nodes `y = x + x` and `z = y + x`, with an edge between them or without; a child graph may hold the first.
fn two_nodes(edge: bool, child: bool, copy: bool) {
    let add = function(module(PTX), c"add");
    let (x, y, z) = (values(), values(), values());
    let count = 256u32;
    let graph = || {
        let mut graph = std::ptr::null_mut();
        check(unsafe { sys::cuGraphCreate(&mut graph, 0) });
        graph
    };
    let kernel = |graph: sys::CUgraph, after: &[sys::CUgraphNode], out: u64, a: u64, b: u64| {
        let mut arguments = [param(&out), param(&a), param(&b), param(&count)];
        let mut node = std::ptr::null_mut();
        let params = sys::CUDA_KERNEL_NODE_PARAMS {
            func: add,
            gridDimX: 2,
            gridDimY: 1,
            gridDimZ: 1,
            blockDimX: 128,
            blockDimY: 1,
            blockDimZ: 1,
            sharedMemBytes: 0,
            kernelParams: arguments.as_mut_ptr(),
            extra: std::ptr::null_mut(),
            kern: std::ptr::null_mut(),
            ctx: std::ptr::null_mut(),
        };
        check(unsafe { sys::cuGraphAddKernelNode_v2(&mut node, graph, after.as_ptr(), after.len(), &params) });
        node
    };
    let whole = graph();
    let first = if child {
        let inner = graph();
        kernel(inner, &[], y, x, x);
        let mut node = std::ptr::null_mut();
        check(unsafe { sys::cuGraphAddChildGraphNode(&mut node, whole, std::ptr::null(), 0, inner) });
        node
    } else {
        kernel(whole, &[], y, x, x)
    };
    let after = if edge { &[first][..] } else { &[] };
    if copy {
        let params = sys::CUDA_MEMCPY3D {
            srcDevice: y,
            dstDevice: z,
            WidthInBytes: 1_024,
            Height: 1,
            Depth: 1,
            ..support::copy_3d()
        };
        let (mut node, mut context) = (std::ptr::null_mut(), std::ptr::null_mut());
        check(unsafe { sys::cuCtxGetCurrent(&mut context) });
        check(unsafe { sys::cuGraphAddMemcpyNode(&mut node, whole, after.as_ptr(), after.len(), &params, context) });
    } else {
        kernel(whole, after, z, y, x);
    }
    let mut exec = std::ptr::null_mut();
    check(unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, whole, 0) });
    let queue = stream(true);
    // One launch follows the other.
    for _ in 0..2 {
        check(unsafe { sys::cuGraphLaunch(exec, queue) });
    }
    unsafe { sys::cuStreamSynchronize(queue) };
}

#[test]
fn nodes_of_a_graph_without_an_edge() {
    for (child, copy) in [(false, false), (true, false), (false, true), (true, true)] {
        let says = "race between nodes of a graph";
        found(says, || two_nodes(false, child, copy), || two_nodes(true, child, copy));
    }
}

/// `early` writes what a dependent reads; `late` reads it behind `griddepcontrol.wait`, `hasty` does not wait, `spoiler`
/// overwrites before it waits what the grid in front may still read.
const DEPENDENT: &str = r#"
.version 7.8
.target sm_90
.address_size 64
.visible .entry early(.param .u64 p_data, .param .u64 p_out)
{
    .reg .b32 %r<4>; .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [p_data]; ld.param.u64 %rd5, [p_out];
    griddepcontrol.launch_dependents;
    mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2; add.u64 %rd6, %rd5, %rd2;
    ld.global.u32 %r2, [%rd6]; add.u32 %r2, %r2, %r1; st.global.u32 [%rd3], %r2;
    ret;
}
.visible .entry late(.param .u64 p_data, .param .u64 p_out)
{
    .reg .b32 %r<4>; .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [p_data]; ld.param.u64 %rd5, [p_out];
    mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2; add.u64 %rd6, %rd5, %rd2;
    griddepcontrol.wait;
    ld.global.u32 %r2, [%rd3]; st.global.u32 [%rd6], %r2;
    ret;
}
.visible .entry hasty(.param .u64 p_data, .param .u64 p_out)
{
    .reg .b32 %r<4>; .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [p_data]; ld.param.u64 %rd5, [p_out];
    mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.u64 %rd3, %rd1, %rd2; add.u64 %rd6, %rd5, %rd2;
    ld.global.u32 %r2, [%rd3]; griddepcontrol.wait; st.global.u32 [%rd6], %r2;
    ret;
}
.visible .entry spoiler(.param .u64 p_data, .param .u64 p_out)
{
    .reg .b32 %r<4>; .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [p_data]; ld.param.u64 %rd5, [p_out];
    mov.u32 %r1, %tid.x; mul.wide.u32 %rd2, %r1, 4; add.u64 %rd6, %rd5, %rd2;
    st.global.u32 [%rd6], %r1; griddepcontrol.wait;
    ret;
}
"#;

/// A second kernel behind `early`, launched with programmatic stream serialisation or without.
fn dependent(second: &std::ffi::CStr, programmatic: bool, wait: bool) {
    let loaded = module(DEPENDENT);
    let (data, out) = (upload(&[0u32; 64]), upload(&[0u32; 64]));
    let queue = stream(true);
    let (first, second) = (function(loaded, c"early"), function(loaded, second));
    let mut params = [param(&data), param(&out)];
    let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
    attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    let mut config = sys::CUlaunchConfig {
        gridDimX: 1,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: 64,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        hStream: queue,
        attrs: &mut attribute,
        numAttrs: 0,
    };
    check(unsafe { sys::cuLaunchKernelEx(&config, first, params.as_mut_ptr(), std::ptr::null_mut()) });
    if wait {
        check(unsafe { sys::cuStreamSynchronize(queue) });
    }
    config.numAttrs = u32::from(programmatic);
    check(unsafe { sys::cuLaunchKernelEx(&config, second, params.as_mut_ptr(), std::ptr::null_mut()) });
    unsafe { sys::cuStreamSynchronize(queue) };
}

#[test]
fn a_dependent_grid_that_does_not_wait() {
    let says = "race between grids that overlap";
    // Twins: a wait in the kernel, a launch without the attribute, a wait of the host in between.
    found(says, || dependent(c"hasty", true, false), || dependent(c"late", true, false));
    found(says, || dependent(c"hasty", true, false), || dependent(c"hasty", false, false));
    found(says, || dependent(c"hasty", true, false), || dependent(c"hasty", true, true));
    found(says, || dependent(c"spoiler", true, false), || dependent(c"spoiler", false, false));
}
