//! Entry points of stream capture.

use super::abi::{CuResult, Handle, In, Out};
use super::call;
use super::capture::{self, Mode};
use super::error::{Code, Error, Res};
use super::graph::{EdgeData, Graph, graph};
use super::stream::{Stream, StreamKind, resolve};
use super::table::lock;
use std::sync::Arc;

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCapture_v2(handle: Handle, mode: u32) -> CuResult {
    call("cuStreamBeginCapture", || {
        let (_, stream) = resolve(handle)?;
        let mode = Mode::from_number(mode)?;
        let graph = Graph::create();
        capture::begin(&stream, mode, graph.clone(), Vec::new()).inspect_err(|_| graph.destroy())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamBeginCaptureToGraph(
    handle: Handle,
    into: Handle,
    dependencies: In<Handle>,
    _data: In<EdgeData>,
    count: usize,
    mode: u32,
) -> CuResult {
    call("cuStreamBeginCaptureToGraph", || {
        let (_, stream) = resolve(handle)?;
        let mode = Mode::from_number(mode)?;
        let graph = graph(into)?;
        let dependencies = dependencies.all(count)?;
        if !dependencies.iter().all(|node| lock(&graph.nodes).contains_key(node)) {
            return Err(Error::invalid("a dependency is not a node of this graph"));
        }
        capture::begin(&stream, mode, graph, dependencies)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamEndCapture(handle: Handle, out: Out<Handle>) -> CuResult {
    call("cuStreamEndCapture", || {
        out.check()?;
        let (_, stream) = resolve(handle)?;
        match capture::end(&stream) {
            Ok(graph) => out.set(graph.handle),
            Err(error) => {
                out.set(0)?;
                Err(error)
            }
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuThreadExchangeStreamCaptureMode(mode: Out<u32>) -> CuResult {
    call("cuThreadExchangeStreamCaptureMode", || {
        super::state::driver()?;
        let new = Mode::from_number(mode.get()?)?;
        mode.set(capture::exchange_mode(new) as u32)
    })
}

/// `CUstreamCaptureStatus`
const NONE: u32 = 0;
const ACTIVE: u32 = 1;
const INVALIDATED: u32 = 2;

fn status(stream: &Stream) -> u32 {
    match &*lock(&stream.capture) {
        None => NONE,
        Some(part) if part.capture.is_invalid() => INVALIDATED,
        Some(_) => ACTIVE,
    }
}

/// The stream of a query; asking the null stream while a blocking stream captures is an error in itself.
fn queried(handle: Handle) -> Res<Arc<Stream>> {
    let (context, stream) = resolve(handle)?;
    if stream.kind == StreamKind::Legacy {
        let set = lock(&context.streams);
        if set.others().any(|other| other.is_blocking() && other.is_capturing()) {
            return Err(Code::StreamCaptureImplicit.into());
        }
    }
    Ok(stream)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamIsCapturing(handle: Handle, out: Out<u32>) -> CuResult {
    call("cuStreamIsCapturing", || out.set(status(&*queried(handle)?)))
}

struct Wanted {
    status: Out<u32>,
    id: Out<u64>,
    graph: Out<Handle>,
    dependencies: Out<In<Handle>>,
    data: Out<In<EdgeData>>,
    count: Out<usize>,
}

fn info(handle: Handle, wanted: Wanted) -> Res {
    let stream = queried(handle)?;
    wanted.status.set(status(&stream))?;
    let mut part = lock(&stream.capture);
    let Some(part) = part.as_mut().filter(|part| !part.capture.is_invalid()) else { return Ok(()) };
    wanted.id.set_if_wanted(part.capture.id)?;
    wanted.graph.set_if_wanted(part.capture.graph.handle)?;
    part.exposed = part.dependencies.clone();
    part.exposed_data = vec![[0; 8]; part.exposed.len()];
    wanted.dependencies.set_if_wanted(In::from_pointer(part.exposed.as_ptr()))?;
    wanted.data.set_if_wanted(In::from_pointer(part.exposed_data.as_ptr()))?;
    wanted.count.set_if_wanted(part.exposed.len())
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCaptureInfo(handle: Handle, status: Out<u32>, id: Out<u64>) -> CuResult {
    let nothing = Out::at_address(0);
    let wanted = Wanted {
        status,
        id,
        graph: nothing.cast(),
        dependencies: nothing.cast(),
        data: nothing.cast(),
        count: nothing,
    };
    call("cuStreamGetCaptureInfo", || info(handle, wanted))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCaptureInfo_v2(
    handle: Handle,
    status: Out<u32>,
    id: Out<u64>,
    graph: Out<Handle>,
    dependencies: Out<In<Handle>>,
    count: Out<usize>,
) -> CuResult {
    let wanted = Wanted { status, id, graph, dependencies, data: Out::at_address(0), count };
    call("cuStreamGetCaptureInfo", || info(handle, wanted))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCaptureInfo_v3(
    handle: Handle,
    status: Out<u32>,
    id: Out<u64>,
    graph: Out<Handle>,
    dependencies: Out<In<Handle>>,
    data: Out<In<EdgeData>>,
    count: Out<usize>,
) -> CuResult {
    call("cuStreamGetCaptureInfo", || info(handle, Wanted { status, id, graph, dependencies, data, count }))
}

fn update_dependencies(handle: Handle, nodes: In<Handle>, count: usize, flags: u32) -> Res {
    let (_, stream) = resolve(handle)?;
    let nodes = nodes.all(count)?;
    let mut part = lock(&stream.capture);
    let part = part.as_mut().ok_or(Code::IllegalState)?;
    if part.capture.is_invalid() {
        return Err(Code::StreamCaptureInvalidated.into());
    }
    if !nodes.iter().all(|node| lock(&part.capture.graph.nodes).contains_key(node)) {
        return Err(Error::invalid("a dependency is not a node of the graph that is captured"));
    }
    match flags {
        // CU_STREAM_ADD_CAPTURE_DEPENDENCIES
        0 => {
            for node in nodes {
                if !part.dependencies.contains(&node) {
                    part.dependencies.push(node);
                }
            }
        }
        // CU_STREAM_SET_CAPTURE_DEPENDENCIES
        1 => part.dependencies = nodes,
        _ => return Err(Code::InvalidValue.into()),
    }
    Ok(())
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamUpdateCaptureDependencies(
    handle: Handle,
    nodes: In<Handle>,
    count: usize,
    flags: u32,
) -> CuResult {
    call("cuStreamUpdateCaptureDependencies", || update_dependencies(handle, nodes, count, flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamUpdateCaptureDependencies_v2(
    handle: Handle,
    nodes: In<Handle>,
    _data: In<EdgeData>,
    count: usize,
    flags: u32,
) -> CuResult {
    call("cuStreamUpdateCaptureDependencies", || update_dependencies(handle, nodes, count, flags))
}
