//! Making nodes: from parameters of the API to operations.

use super::abi::{CuResult, Handle, In, Out};
use super::call;
use super::context::{Context, context, current};
use super::error::{Code, Error, Res};
use super::event::EVENTS;
use super::function::function;
use super::graph::{EdgeData, graph};
use super::launch::{self, Request};
use super::layouts::{
    GraphNodeParams, HostNodeParams, KernelNodeParams, KernelNodeParamsV1, MemAllocNodeParams, Memcpy3d,
    MemsetNodeParams,
};
use super::memory::{self, Origin};
use super::ops::Op;
use super::{memory_copy, memory_set};
use std::sync::Arc;

/// The context that a node names, 0 being the current one.
fn context_of(handle: Handle) -> Res<Arc<Context>> {
    if handle == 0 { current() } else { context(handle) }
}

/// A kernel node's launch. In version 2 the function may be a kernel of a library instead.
pub fn kernel(params: &KernelNodeParams) -> Res<Op> {
    let handle = if params.function != 0 { params.function } else { params.kernel };
    let function = function(handle)?;
    let context = context(function.module.context)?;
    let bytes = launch::read_params(&function, In::at_address(params.kernel_params), In::at_address(params.extra))?;
    let request = Request {
        grid: params.grid,
        block: params.block,
        shared: params.shared_bytes,
        attributes: Vec::new(),
        cooperative: false,
    };
    Ok(Op::Kernel(Arc::new(launch::prepare(&context, &function, request, bytes)?)))
}

/// Version 1 parameters with the fields that version 2 added.
pub fn widen(params: &KernelNodeParamsV1) -> KernelNodeParams {
    KernelNodeParams {
        function: params.function,
        grid: params.grid,
        block: params.block,
        shared_bytes: params.shared_bytes,
        kernel_params: params.kernel_params,
        extra: params.extra,
        kernel: 0,
        context: 0,
    }
}

pub fn copy(params: &Memcpy3d, context: Handle) -> Res<Op> {
    context_of(context)?;
    Ok(Op::Copy(Box::new(memory_copy::from_params(params)?)))
}

pub fn fill(params: &MemsetNodeParams, context: Handle) -> Res<Op> {
    context_of(context)?;
    let MemsetNodeParams { dst, pitch, value, element_size, width, height } = *params;
    Ok(Op::Fill(memory_set::fill(dst, pitch, value, element_size, width, height)?))
}

pub fn host(params: &HostNodeParams) -> Res<Op> {
    match params.function {
        Some(_) => Ok(Op::Host { function: params.function, data: params.data }),
        None => Err(Error::invalid("a host node without a function")),
    }
}

pub fn event(handle: Handle, record: bool) -> Res<Op> {
    let event = EVENTS.get(handle).ok_or(Code::InvalidHandle)?;
    Ok(if record { Op::Record(event) } else { Op::Wait(event) })
}

/// An allocation node: the memory is taken now and stays for the graph's life, at the address it writes back.
pub fn alloc(params: Out<MemAllocNodeParams>) -> Res<Op> {
    let mut values = params.get()?;
    if values.pool.allocation_type != 1 || values.pool.location.kind != 1 {
        return Err(Error::new(Code::NotSupported, "allocation nodes take pinned memory of a device"));
    }
    let context = current()?;
    if values.pool.location.id != context.device.ordinal {
        return Err(Error::new(Code::InvalidDevice, "an allocation node for another device than the current one"));
    }
    let address = memory::allocate(&context, values.bytes, Origin::Graph, 0)?;
    values.address = address;
    params.set(values)?;
    Ok(Op::Alloc { address, bytes: values.bytes })
}

pub fn free(address: u64) -> Res<Op> {
    match memory::allocation_from(address) {
        Some(found) if matches!(found.origin, Origin::Graph) => Ok(Op::Free { address }),
        _ => Err(Error::invalid(format!("{address:#x} was not allocated by a node of a graph"))),
    }
}

/// Where a new node goes.
struct Place {
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    data: In<EdgeData>,
    count: usize,
}

impl Place {
    fn new(out: Out<Handle>, graph: Handle, dependencies: In<Handle>, count: usize) -> Place {
        Place { out, graph, dependencies, data: In::at_address(0), count }
    }

    fn add(&self, op: impl FnOnce() -> Res<Op>) -> Res {
        self.out.check()?;
        let graph = graph(self.graph)?;
        let nodes = self.dependencies.all(self.count)?;
        let data = if self.data.is_null() { vec![[0; 8]; self.count] } else { self.data.all(self.count)? };
        let dependencies: Vec<(Handle, EdgeData)> = nodes.into_iter().zip(data).collect();
        self.out.set(graph.add(&dependencies, op()?)?)
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddKernelNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    params: In<KernelNodeParamsV1>,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddKernelNode", || place.add(|| kernel(&widen(&params.get()?))))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddKernelNode_v2(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    params: In<KernelNodeParams>,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddKernelNode", || place.add(|| kernel(&params.get()?)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddMemcpyNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    params: In<Memcpy3d>,
    context: Handle,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddMemcpyNode", || place.add(|| copy(&params.get()?, context)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddMemsetNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    params: In<MemsetNodeParams>,
    context: Handle,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddMemsetNode", || place.add(|| fill(&params.get()?, context)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddHostNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    params: In<HostNodeParams>,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddHostNode", || place.add(|| host(&params.get()?)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddEmptyNode(out: Out<Handle>, graph: Handle, dependencies: In<Handle>, count: usize) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddEmptyNode", || place.add(|| Ok(Op::Empty)))
}

/// The copy of a graph that a child node holds.
pub fn child(handle: Handle, parent: Handle) -> Res<Op> {
    if handle == parent {
        return Err(Error::invalid("a graph cannot be its own child"));
    }
    Ok(Op::Child(graph(handle)?.copy()))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddChildGraphNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    child_graph: Handle,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddChildGraphNode", || place.add(|| child(child_graph, graph)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddEventRecordNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    handle: Handle,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddEventRecordNode", || place.add(|| event(handle, true)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddEventWaitNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    handle: Handle,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddEventWaitNode", || place.add(|| event(handle, false)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddMemAllocNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    params: Out<MemAllocNodeParams>,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddMemAllocNode", || place.add(|| alloc(params)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddMemFreeNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    address: u64,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddMemFreeNode", || place.add(|| free(address)))
}

/// `CUDA_MEMCPY_NODE_PARAMS`
#[repr(C)]
#[derive(Clone, Copy)]
struct MemcpyNodeParams {
    flags: i32,
    reserved: i32,
    context: Handle,
    copy: Memcpy3d,
}

/// `CUDA_MEMSET_NODE_PARAMS_v2`
#[repr(C)]
#[derive(Clone, Copy)]
struct MemsetNodeParamsV2 {
    params: MemsetNodeParams,
    context: Handle,
}

/// Where the union of a `CUgraphNodeParams` begins.
const UNION: usize = 16;

/// The operation that a `CUgraphNodeParams` at this address describes; `parent` is the graph it is for.
pub fn generic(params: Out<GraphNodeParams>, parent: Handle) -> Res<Op> {
    params.check()?;
    let kind = In::<u32>::at_address(params.address()).get()?;
    let union = params.address() + UNION;
    match kind {
        0 => kernel(&In::<KernelNodeParams>::at_address(union).get()?),
        1 => {
            let params = In::<MemcpyNodeParams>::at_address(union).get()?;
            copy(&params.copy, params.context)
        }
        2 => {
            let params = In::<MemsetNodeParamsV2>::at_address(union).get()?;
            fill(&params.params, params.context)
        }
        3 => host(&In::<HostNodeParams>::at_address(union).get()?),
        4 => child(In::<Handle>::at_address(union).get()?, parent),
        5 => Ok(Op::Empty),
        6 => event(In::<Handle>::at_address(union).get()?, false),
        7 => event(In::<Handle>::at_address(union).get()?, true),
        10 => alloc(Out::at_address(union)),
        11 => free(In::<u64>::at_address(union).get()?),
        8 | 9 | 12 | 13 => {
            Err(Error::new(Code::NotSupported, format!("graph nodes of type {kind} are not implemented")))
        }
        _ => Err(Error::invalid(format!("{kind} is no graph node type"))),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddNode(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    count: usize,
    params: Out<GraphNodeParams>,
) -> CuResult {
    let place = Place::new(out, graph, dependencies, count);
    call("cuGraphAddNode", || place.add(|| generic(params, graph)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddNode_v2(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    data: In<EdgeData>,
    count: usize,
    params: Out<GraphNodeParams>,
) -> CuResult {
    let place = Place { out, graph, dependencies, data, count };
    call("cuGraphAddNode", || place.add(|| generic(params, graph)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphAddNode_v3(
    out: Out<Handle>,
    graph: Handle,
    dependencies: In<Handle>,
    data: In<EdgeData>,
    count: usize,
    params: Out<GraphNodeParams>,
) -> CuResult {
    cuGraphAddNode_v2(out, graph, dependencies, data, count, params)
}
