//! Explicit graphs: nodes, structure, instantiation, change, update, children, user objects.

mod support;

use cudarc::driver::sys::{self, CUgraph, CUgraphExec, CUgraphNode, CUresult};
use std::ffi::c_void;
use std::sync::atomic::{AtomicU32, Ordering};
use support::{Context, alloc, check, download, event, stream};

const INVALID: CUresult = CUresult::CUDA_ERROR_INVALID_VALUE;

fn graph() -> CUgraph {
    let mut graph = std::ptr::null_mut();
    check(unsafe { sys::cuGraphCreate(&mut graph, 0) });
    graph
}

fn fill(dst: u64, value: u32, width: usize) -> sys::CUDA_MEMSET_NODE_PARAMS {
    sys::CUDA_MEMSET_NODE_PARAMS { dst, pitch: 0, value, elementSize: 4, width, height: 1 }
}

fn add_fill(graph: CUgraph, after: &[CUgraphNode], dst: u64, value: u32) -> CUgraphNode {
    let mut node = std::ptr::null_mut();
    let params = fill(dst, value, 1);
    let context = std::ptr::null_mut();
    check(unsafe { sys::cuGraphAddMemsetNode(&mut node, graph, after.as_ptr(), after.len(), &params, context) });
    node
}

fn add_copy(graph: CUgraph, after: &[CUgraphNode], dst: u64, src: u64, bytes: usize) -> CUgraphNode {
    let mut node = std::ptr::null_mut();
    let params = copy(dst, src, bytes);
    let context = std::ptr::null_mut();
    check(unsafe { sys::cuGraphAddMemcpyNode(&mut node, graph, after.as_ptr(), after.len(), &params, context) });
    node
}

fn copy(dst: u64, src: u64, bytes: usize) -> sys::CUDA_MEMCPY3D {
    sys::CUDA_MEMCPY3D {
        srcDevice: src,
        dstDevice: dst,
        WidthInBytes: bytes,
        Height: 1,
        Depth: 1,
        ..support::copy_3d()
    }
}

fn instantiate(graph: CUgraph) -> CUgraphExec {
    let mut exec = std::ptr::null_mut();
    check(unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0) });
    exec
}

fn run(exec: CUgraphExec) {
    let queue = stream(true);
    check(unsafe { sys::cuGraphLaunch(exec, queue) });
    check(unsafe { sys::cuStreamSynchronize(queue) });
}

#[test]
fn nodes_run_in_the_order_of_their_edges() {
    let _context = Context::new();
    let device = alloc(12);
    let graph = graph();
    let last = {
        let first = add_fill(graph, &[], device, 1);
        let second = add_fill(graph, &[], device + 4, 2);
        let copied = add_copy(graph, &[first, second], device + 8, device + 4, 4);
        add_fill(graph, &[copied], device + 4, 9)
    };
    run(instantiate(graph));
    assert_eq!(download::<u32>(device, 3), [1, 9, 2]);
    let mut count = 2;
    let mut list = [std::ptr::null_mut(); 2];
    check(unsafe { sys::cuGraphGetRootNodes(graph, list.as_mut_ptr(), &mut count) });
    assert_eq!(count, 2);
    check(unsafe { sys::cuGraphNodeGetDependencies(last, std::ptr::null_mut(), &mut count) });
    assert_eq!(count, 1);
    check(unsafe { sys::cuGraphNodeGetDependentNodes(list[0], list.as_mut_ptr().wrapping_add(1), &mut count) });
    assert_eq!(count, 1);
    check(unsafe { sys::cuGraphDestroy(graph) });
    assert_eq!(unsafe { sys::cuGraphDestroy(graph) }, INVALID);
    assert_eq!(unsafe { sys::cuGraphNodeGetDependencies(last, std::ptr::null_mut(), &mut count) }, INVALID);
}

#[test]
fn circles_are_refused() {
    let _context = Context::new();
    let device = alloc(8);
    let graph = graph();
    let first = add_fill(graph, &[], device, 1);
    let second = add_fill(graph, &[first], device, 2);
    assert_eq!(unsafe { sys::cuGraphAddDependencies(graph, &first, &second, 1) }, INVALID);
    check(unsafe { sys::cuGraphAddDependencies(graph, &second, &first, 1) });
    let mut exec = std::ptr::null_mut();
    assert_eq!(unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0) }, INVALID);
    check(unsafe { sys::cuGraphRemoveDependencies(graph, &second, &first, 1) });
    run(instantiate(graph));
    assert_eq!(download::<u32>(device, 1), [2]);
    check(unsafe { sys::cuGraphDestroyNode(second) });
    run(instantiate(graph));
    assert_eq!(download::<u32>(device, 1), [1]);
}

static CALLS: AtomicU32 = AtomicU32::new(0);

unsafe extern "C" fn count(data: *mut c_void) {
    CALLS.fetch_add(data as u32, Ordering::Relaxed);
}

#[test]
fn host_empty_event_and_child_nodes() {
    let _context = Context::new();
    let device = alloc(4);
    let (inner, outer) = (graph(), graph());
    add_fill(inner, &[], device, 4);
    let [mut host, mut empty, mut child, mut mark] = [std::ptr::null_mut(); 4];
    let node: [&mut CUgraphNode; 4] = [&mut host, &mut empty, &mut child, &mut mark];
    let params = sys::CUDA_HOST_NODE_PARAMS { fn_: Some(count), userData: 3 as *mut c_void };
    check(unsafe { sys::cuGraphAddHostNode(node[0], outer, std::ptr::null(), 0, &params) });
    check(unsafe { sys::cuGraphAddEmptyNode(node[1], outer, &*node[0], 1) });
    check(unsafe { sys::cuGraphAddChildGraphNode(node[2], outer, &*node[1], 1, inner) });
    let recorded = event();
    check(unsafe { sys::cuGraphAddEventRecordNode(node[3], outer, &*node[2], 1, recorded) });
    // The child is a copy: what happens to the original later does not matter.
    add_fill(inner, &[], device, 5);
    let exec = instantiate(outer);
    run(exec);
    assert_eq!(CALLS.load(Ordering::Relaxed), 3);
    assert_eq!(download::<u32>(device, 1), [4]);
    check(unsafe { sys::cuEventSynchronize(recorded) });
    let mut inside = std::ptr::null_mut();
    check(unsafe { sys::cuGraphChildGraphNodeGetGraph(child, &mut inside) });
    assert_ne!(inside, inner);
    let mut back = sys::CUDA_HOST_NODE_PARAMS { fn_: None, userData: std::ptr::null_mut() };
    check(unsafe { sys::cuGraphHostNodeGetParams(host, &mut back) });
    assert_eq!(back.userData as usize, 3);
    assert_eq!(unsafe { sys::cuGraphHostNodeGetParams(empty, &mut back) }, INVALID);
    assert_eq!(unsafe { sys::cuGraphAddChildGraphNode(&mut child, outer, std::ptr::null(), 0, outer) }, INVALID);
}

#[test]
fn parameters_change_in_graphs_and_executable_graphs() {
    let _context = Context::new();
    let device = alloc(8);
    let graph = graph();
    let node = add_fill(graph, &[], device, 1);
    let exec = instantiate(graph);
    check(unsafe { sys::cuGraphMemsetNodeSetParams(node, &fill(device, 2, 2)) });
    let mut params = fill(0, 0, 0);
    check(unsafe { sys::cuGraphMemsetNodeGetParams(node, &mut params) });
    assert_eq!((params.dst, params.value, params.width), (device, 2, 2));
    run(exec);
    assert_eq!(download::<u32>(device, 1), [1]);
    check(unsafe { sys::cuGraphExecMemsetNodeSetParams(exec, node, &fill(device, 3, 2), std::ptr::null_mut()) });
    run(exec);
    assert_eq!(download::<u32>(device, 2), [3, 3]);
    assert_eq!(unsafe { sys::cuGraphMemcpyNodeSetParams(node, &copy(device, device + 4, 4)) }, INVALID);
    check(unsafe { sys::cuGraphNodeSetEnabled(exec, node, 0) });
    check(unsafe { sys::cuMemsetD32_v2(device, 8, 2) });
    run(exec);
    assert_eq!(download::<u32>(device, 2), [8, 8]);
    let mut enabled = 9;
    check(unsafe { sys::cuGraphNodeGetEnabled(exec, node, &mut enabled) });
    assert_eq!(enabled, 0);
}

#[test]
fn updates_take_what_has_the_same_shape() {
    let _context = Context::new();
    let device = alloc(8);
    let build = |value: u32, more: bool| {
        let graph = graph();
        let first = add_fill(graph, &[], device, value);
        add_copy(graph, &[first], device + 4, device, 4);
        if more {
            add_fill(graph, &[], device, 0);
        }
        graph
    };
    let exec = instantiate(build(1, false));
    run(exec);
    assert_eq!(download::<u32>(device, 2), [1, 1]);
    let mut info: sys::CUgraphExecUpdateResultInfo = unsafe { std::mem::zeroed() };
    check(unsafe { sys::cuGraphExecUpdate_v2(exec, build(2, false), &mut info) });
    assert_eq!(info.result, sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_SUCCESS);
    run(exec);
    assert_eq!(download::<u32>(device, 2), [2, 2]);
    let refused = unsafe { sys::cuGraphExecUpdate_v2(exec, build(3, true), &mut info) };
    assert_eq!(refused, CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    assert_eq!(info.result, sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    let other = graph();
    let first = add_copy(other, &[], device + 4, device, 4);
    add_fill(other, &[first], device, 7);
    let refused = unsafe { sys::cuGraphExecUpdate_v2(exec, other, &mut info) };
    assert_eq!(refused, CUresult::CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    assert_eq!(info.result, sys::CUgraphExecUpdateResult::CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
    run(exec);
    assert_eq!(download::<u32>(device, 2), [2, 2]);
}

#[test]
fn clones_know_their_originals() {
    let _context = Context::new();
    let device = alloc(4);
    let original = graph();
    let node = add_fill(original, &[], device, 6);
    let mut clone = std::ptr::null_mut();
    check(unsafe { sys::cuGraphClone(&mut clone, original) });
    let mut twin = std::ptr::null_mut();
    check(unsafe { sys::cuGraphNodeFindInClone(&mut twin, node, clone) });
    assert_ne!(twin, node);
    check(unsafe { sys::cuGraphDestroy(original) });
    run(instantiate(clone));
    assert_eq!(download::<u32>(device, 1), [6]);
}

#[test]
fn user_objects_live_as_long_as_their_graphs() {
    static GONE: AtomicU32 = AtomicU32::new(0);
    unsafe extern "C" fn gone(_: *mut c_void) {
        GONE.fetch_add(1, Ordering::Relaxed);
    }
    let _context = Context::new();
    let graph = graph();
    let mut object = std::ptr::null_mut();
    check(unsafe { sys::cuUserObjectCreate(&mut object, std::ptr::null_mut(), Some(gone), 1, 1) });
    check(unsafe { sys::cuGraphRetainUserObject(graph, object, 1, 1) });
    let exec = instantiate(graph);
    check(unsafe { sys::cuGraphDestroy(graph) });
    assert_eq!(GONE.load(Ordering::Relaxed), 0);
    check(unsafe { sys::cuGraphExecDestroy(exec) });
    assert_eq!(GONE.load(Ordering::Relaxed), 1);
    assert_eq!(unsafe { sys::cuUserObjectRelease(object, 1) }, INVALID);
}

#[test]
fn every_seed_respects_the_edges() {
    let gpu = support::h100();
    let _context = Context::new();
    let device = alloc(4 * 8);
    let graph = graph();
    let mut ends = Vec::new();
    for lane in 0..4 {
        let first = add_fill(graph, &[], device + 4 * lane, lane as u32 + 1);
        ends.push(add_copy(graph, &[first], device + 16 + 4 * lane, device + 4 * lane, 4));
    }
    for lane in 0..4 {
        add_fill(graph, &ends, device + 4 * lane, 0);
    }
    let exec = instantiate(graph);
    for seed in 0..10 {
        gpu.apply(&virtual_gpu::Options::new().schedule(seed)).expect("the schedule can change");
        check(unsafe { sys::cuMemsetD32_v2(device, 99, 8) });
        run(exec);
        assert_eq!(download::<u32>(device, 8), [0, 0, 0, 0, 1, 2, 3, 4], "seed {seed}");
    }
    gpu.apply(&virtual_gpu::Options::new().schedule(0)).expect("the schedule can change");
}
