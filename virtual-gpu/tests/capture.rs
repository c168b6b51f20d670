//! Stream capture: what becomes a graph, and what is refused with which code.

mod support;

use cudarc::driver::sys::{self, CUgraph, CUgraphExec, CUresult, CUstream, CUstreamCaptureMode};
use support::{Context, alloc, check, download, event, pinned, stream};

const RELAXED: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
const LOCAL: CUstreamCaptureMode = CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_THREAD_LOCAL;
const NULL: CUstream = std::ptr::null_mut();

fn begin(stream: CUstream, mode: CUstreamCaptureMode) {
    check(unsafe { sys::cuStreamBeginCapture_v2(stream, mode) });
}

fn end(stream: CUstream) -> Result<CUgraph, CUresult> {
    let mut graph = std::ptr::null_mut();
    match unsafe { sys::cuStreamEndCapture(stream, &mut graph) } {
        CUresult::CUDA_SUCCESS => Ok(graph),
        error => {
            assert!(graph.is_null());
            Err(error)
        }
    }
}

fn instantiate(graph: CUgraph) -> CUgraphExec {
    let mut exec = std::ptr::null_mut();
    check(unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, graph, 0) });
    exec
}

fn nodes(graph: CUgraph) -> usize {
    let mut count = 0;
    check(unsafe { sys::cuGraphGetNodes(graph, std::ptr::null_mut(), &mut count) });
    count
}

#[test]
fn captured_work_runs_at_launch_and_again() {
    let _context = Context::new();
    let queue = stream(true);
    let (device, host) = (alloc(8), pinned(2));
    check(unsafe { sys::cuMemsetD32_v2(device, 1, 2) });
    begin(queue, RELAXED);
    check(unsafe { sys::cuMemsetD32Async(device, 7, 1, queue) });
    check(unsafe { sys::cuMemcpyDtoHAsync_v2(host.as_mut_ptr().cast(), device, 8, queue) });
    let graph = end(queue).expect("captured");
    assert_eq!(nodes(graph), 2);
    assert_eq!(download::<u32>(device, 2), [1, 1]);
    let exec = instantiate(graph);
    check(unsafe { sys::cuGraphDestroy(graph) });
    for round in 0..3 {
        check(unsafe { sys::cuMemsetD32_v2(device, round, 2) });
        check(unsafe { sys::cuGraphUpload(exec, queue) });
        check(unsafe { sys::cuGraphLaunch(exec, queue) });
        check(unsafe { sys::cuStreamSynchronize(queue) });
        assert_eq!(host, [7, round]);
    }
    check(unsafe { sys::cuGraphExecDestroy(exec) });
    assert_eq!(unsafe { sys::cuGraphLaunch(exec, queue) }, CUresult::CUDA_ERROR_INVALID_VALUE);
}

#[test]
fn streams_fork_and_join() {
    let _context = Context::new();
    let (first, second) = (stream(true), stream(true));
    let (fork, join) = (event(), event());
    let device = alloc(8);
    begin(first, RELAXED);
    check(unsafe { sys::cuMemsetD32Async(device, 1, 2, first) });
    check(unsafe { sys::cuEventRecord(fork, first) });
    check(unsafe { sys::cuStreamWaitEvent(second, fork, 0) });
    let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
    check(unsafe { sys::cuStreamIsCapturing(second, &mut status) });
    assert_eq!(status, sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE);
    check(unsafe { sys::cuMemsetD32Async(device + 4, 2, 1, second) });
    check(unsafe { sys::cuEventRecord(join, second) });
    check(unsafe { sys::cuMemsetD32Async(device, 3, 1, first) });
    check(unsafe { sys::cuStreamWaitEvent(first, join, 0) });
    let graph = end(first).expect("joined");
    assert_eq!(nodes(graph), 3);
    let mut edges = 0;
    let none = std::ptr::null_mut();
    check(unsafe { sys::cuGraphGetEdges(graph, none, std::ptr::null_mut(), &mut edges) });
    assert_eq!(edges, 2);
    let exec = instantiate(graph);
    check(unsafe { sys::cuGraphLaunch(exec, second) });
    check(unsafe { sys::cuStreamSynchronize(second) });
    assert_eq!(download::<u32>(device, 2), [3, 2]);
}

#[test]
fn the_null_stream_cannot_be_captured() {
    let _context = Context::new();
    for stream in [NULL, 1 as CUstream] {
        let refused = unsafe { sys::cuStreamBeginCapture_v2(stream, RELAXED) };
        assert_eq!(refused, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    }
}

#[test]
fn waiting_for_a_capturing_stream_is_900_and_spoils_the_capture() {
    let _context = Context::new();
    let queue = stream(true);
    begin(queue, RELAXED);
    assert_eq!(unsafe { sys::cuStreamSynchronize(queue) }, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    let spoiled = CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    assert_eq!(unsafe { sys::cuMemsetD32Async(alloc(4), 0, 1, queue) }, spoiled);
    assert_eq!(end(queue), Err(spoiled));
    // The stream is usable again.
    check(unsafe { sys::cuStreamSynchronize(queue) });
    assert_eq!(end(queue), Err(CUresult::CUDA_ERROR_ILLEGAL_STATE));
}

#[test]
fn the_whole_context_cannot_be_waited_for() {
    let _context = Context::new();
    let queue = stream(true);
    begin(queue, RELAXED);
    assert_eq!(unsafe { sys::cuCtxSynchronize() }, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_eq!(end(queue), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
}

#[test]
fn two_captures_do_not_merge() {
    let _context = Context::new();
    let (first, second) = (stream(true), stream(true));
    let mark = event();
    begin(first, RELAXED);
    begin(second, RELAXED);
    check(unsafe { sys::cuEventRecord(mark, first) });
    assert_eq!(unsafe { sys::cuStreamWaitEvent(second, mark, 0) }, CUresult::CUDA_ERROR_STREAM_CAPTURE_MERGE);
    assert!(end(first).is_err() && end(second).is_err());
}

#[test]
fn a_capture_ends_where_it_began() {
    let _context = Context::new();
    let (first, second) = (stream(true), stream(true));
    let mark = event();
    begin(first, RELAXED);
    check(unsafe { sys::cuEventRecord(mark, first) });
    check(unsafe { sys::cuStreamWaitEvent(second, mark, 0) });
    assert_eq!(end(second), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNMATCHED));
    assert_eq!(end(first), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
}

#[test]
fn forked_streams_have_to_be_joined() {
    let _context = Context::new();
    let (first, second) = (stream(true), stream(true));
    let mark = event();
    let device = alloc(4);
    begin(first, RELAXED);
    check(unsafe { sys::cuMemsetD32Async(device, 1, 1, first) });
    check(unsafe { sys::cuEventRecord(mark, first) });
    check(unsafe { sys::cuStreamWaitEvent(second, mark, 0) });
    check(unsafe { sys::cuMemsetD32Async(device, 2, 1, second) });
    assert_eq!(end(first), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_UNJOINED));
    check(unsafe { sys::cuStreamSynchronize(second) });
}

#[test]
fn uncaptured_work_cannot_be_waited_for() {
    let _context = Context::new();
    let (queue, other) = (stream(true), stream(true));
    let mark = event();
    check(unsafe { sys::cuEventRecord(mark, other) });
    begin(queue, RELAXED);
    assert_eq!(unsafe { sys::cuStreamWaitEvent(queue, mark, 0) }, CUresult::CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
    assert_eq!(end(queue), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
}

#[test]
fn the_null_stream_would_depend_on_a_capturing_blocking_stream() {
    let _context = Context::new();
    let queue = stream(false);
    let device = alloc(4);
    begin(queue, RELAXED);
    assert_eq!(unsafe { sys::cuMemsetD32_v2(device, 0, 1) }, CUresult::CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
    assert_eq!(end(queue), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
    // A non-blocking one does not mind.
    let queue = stream(true);
    begin(queue, RELAXED);
    check(unsafe { sys::cuMemsetD32_v2(device, 0, 1) });
    end(queue).expect("an empty graph");
}

#[test]
fn captured_events_cannot_be_asked() {
    let _context = Context::new();
    let queue = stream(true);
    let mark = event();
    begin(queue, RELAXED);
    check(unsafe { sys::cuEventRecord(mark, queue) });
    assert_eq!(unsafe { sys::cuEventQuery(mark) }, CUresult::CUDA_ERROR_CAPTURED_EVENT);
    assert_eq!(end(queue), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
}

#[test]
fn modes_judge_allocation_and_threads() {
    let _context = Context::new();
    let queue = stream(true);
    begin(queue, LOCAL);
    let mut address = 0;
    let refused = unsafe { sys::cuMemAlloc_v2(&mut address, 4) };
    assert_eq!(refused, CUresult::CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    assert_eq!(end(queue), Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_INVALIDATED));
    begin(queue, LOCAL);
    // This thread may judge itself less strictly for a while.
    let mut mode = RELAXED;
    check(unsafe { sys::cuThreadExchangeStreamCaptureMode(&mut mode) });
    check(unsafe { sys::cuMemAlloc_v2(&mut address, 4) });
    check(unsafe { sys::cuThreadExchangeStreamCaptureMode(&mut mode) });
    assert_eq!(mode, RELAXED);
    let (handle, mut context) = (queue as usize, std::ptr::null_mut());
    check(unsafe { sys::cuCtxGetCurrent(&mut context) });
    let context = context as usize;
    let elsewhere = std::thread::spawn(move || {
        check(unsafe { sys::cuCtxSetCurrent(context as _) });
        end(handle as CUstream).map(|_| ())
    });
    let refused = elsewhere.join().expect("the thread ends well");
    assert_eq!(refused, Err(CUresult::CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD));
    end(queue).expect("by the thread that began it");
}

#[test]
fn capture_info_names_graph_and_dependencies() {
    let _context = Context::new();
    let queue = stream(true);
    begin(queue, RELAXED);
    check(unsafe { sys::cuMemsetD32Async(alloc(4), 0, 1, queue) });
    let mut status = sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_NONE;
    let (mut id, mut graph, mut dependencies, mut count) = (0, std::ptr::null_mut(), std::ptr::null(), 0);
    let none = std::ptr::null_mut();
    let info = unsafe {
        sys::cuStreamGetCaptureInfo_v3(queue, &mut status, &mut id, &mut graph, &mut dependencies, none, &mut count)
    };
    check(info);
    assert_eq!((status, count), (sys::CUstreamCaptureStatus::CU_STREAM_CAPTURE_STATUS_ACTIVE, 1));
    let mut node = unsafe { *dependencies };
    let mut kind = sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_EMPTY;
    check(unsafe { sys::cuGraphNodeGetType(node, &mut kind) });
    assert_eq!(kind, sys::CUgraphNodeType::CU_GRAPH_NODE_TYPE_MEMSET);
    let set = sys::CUstreamUpdateCaptureDependencies_flags::CU_STREAM_SET_CAPTURE_DEPENDENCIES as u32;
    check(unsafe { sys::cuStreamUpdateCaptureDependencies(queue, &mut node, 0, set) });
    assert_eq!(end(queue), Err(CUresult::CUDA_SUCCESS).or(Ok(graph)));
}

#[test]
fn memory_is_allocated_and_freed_in_a_graph() {
    let _context = Context::new();
    let queue = stream(true);
    let host = pinned(4);
    begin(queue, RELAXED);
    let mut address = 0;
    check(unsafe { sys::cuMemAllocAsync(&mut address, 16, queue) });
    check(unsafe { sys::cuMemsetD32Async(address, 5, 4, queue) });
    check(unsafe { sys::cuMemcpyDtoHAsync_v2(host.as_mut_ptr().cast(), address, 16, queue) });
    check(unsafe { sys::cuMemFreeAsync(address, queue) });
    let graph = end(queue).expect("captured");
    assert_eq!(nodes(graph), 4);
    let exec = instantiate(graph);
    for _ in 0..2 {
        host.fill(0);
        check(unsafe { sys::cuGraphLaunch(exec, queue) });
        check(unsafe { sys::cuStreamSynchronize(queue) });
        assert_eq!(host, [5; 4]);
    }
}
