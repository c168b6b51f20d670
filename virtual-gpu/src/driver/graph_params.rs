//! Reading and changing what nodes do, in graphs and in executable graphs.

use super::abi::{CuResult, Handle, In, Out};
use super::call;
use super::error::{Code, Error, Res};
use super::graph::{graph_of, op_of, set_op};
use super::graph_exec::{Plan, exec};
use super::graph_nodes::{self, widen};
use super::launch::{self, Launch, Request};
use super::layouts::{
    GraphNodeParams, HostNodeParams, KernelNodeParams, KernelNodeParamsV1, LaunchAttribute, MemAllocNodeParams,
    MemLocation, MemPoolProps, Memcpy3d, MemsetNodeParams,
};
use super::ops::Op;
use std::sync::Arc;

fn other_type() -> Error {
    Error::invalid("the node is of another type")
}

fn launch_of(node: Handle) -> Res<Arc<Launch>> {
    match op_of(node)? {
        Op::Kernel(launch) => Ok(launch),
        _ => Err(other_type()),
    }
}

fn kernel_params(node: Handle) -> Res<KernelNodeParams> {
    let launch = launch_of(node)?;
    Ok(KernelNodeParams {
        function: launch.function.handle,
        grid: launch.config.grid,
        block: launch.config.block,
        shared_bytes: launch.config.dynamic_shared,
        kernel_params: launch.pointers(),
        extra: 0,
        kernel: 0,
        context: launch.function.module.context,
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphKernelNodeGetParams(node: Handle, out: Out<KernelNodeParamsV1>) -> CuResult {
    call("cuGraphKernelNodeGetParams", || {
        let params = kernel_params(node)?;
        out.set(KernelNodeParamsV1 {
            function: params.function,
            grid: params.grid,
            block: params.block,
            shared_bytes: params.shared_bytes,
            kernel_params: params.kernel_params,
            extra: 0,
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphKernelNodeGetParams_v2(node: Handle, out: Out<KernelNodeParams>) -> CuResult {
    call("cuGraphKernelNodeGetParams", || out.set(kernel_params(node)?))
}

/// The new launch of a kernel node, with the attributes of the old one.
fn relaunch(old: &Launch, params: &KernelNodeParams) -> Res<Op> {
    match graph_nodes::kernel(params)? {
        Op::Kernel(new) if old.attributes.is_empty() => Ok(Op::Kernel(new)),
        Op::Kernel(new) => with_attributes(&new, old.attributes.clone()),
        _ => Err(other_type()),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphKernelNodeSetParams(node: Handle, params: In<KernelNodeParamsV1>) -> CuResult {
    call("cuGraphKernelNodeSetParams", || set_op(node, relaunch(&*launch_of(node)?, &widen(&params.get()?))?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphKernelNodeSetParams_v2(node: Handle, params: In<KernelNodeParams>) -> CuResult {
    call("cuGraphKernelNodeSetParams", || set_op(node, relaunch(&*launch_of(node)?, &params.get()?)?))
}

fn set_exec_kernel(handle: Handle, node: Handle, params: &KernelNodeParams) -> Res {
    let exec = exec(handle)?;
    let old = exec.plan().steps.iter().find(|step| step.node == node).map(|step| step.op.clone());
    match old {
        Some(Op::Kernel(old)) => exec.set_op(node, relaunch(&old, params)?),
        Some(_) => Err(other_type()),
        None => Err(Error::invalid("the node is not in this graph")),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecKernelNodeSetParams(handle: Handle, node: Handle, params: In<KernelNodeParamsV1>) -> CuResult {
    call("cuGraphExecKernelNodeSetParams", || set_exec_kernel(handle, node, &widen(&params.get()?)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecKernelNodeSetParams_v2(
    handle: Handle,
    node: Handle,
    params: In<KernelNodeParams>,
) -> CuResult {
    call("cuGraphExecKernelNodeSetParams", || set_exec_kernel(handle, node, &params.get()?))
}

/// The launch with other attributes, checked again.
fn with_attributes(launch: &Launch, attributes: Vec<LaunchAttribute>) -> Res<Op> {
    let request = Request {
        grid: launch.config.grid,
        block: launch.config.block,
        shared: launch.config.dynamic_shared,
        attributes,
        cooperative: false,
    };
    let context = super::context::context(launch.function.module.context)?;
    Ok(Op::Kernel(Arc::new(launch::prepare(&context, &launch.function, request, launch.params.clone())?)))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphKernelNodeSetAttribute(node: Handle, id: u32, value: In<[u32; 16]>) -> CuResult {
    call("cuGraphKernelNodeSetAttribute", || {
        let launch = launch_of(node)?;
        let mut attributes = launch.attributes.clone();
        attributes.retain(|attribute| attribute.id != id);
        attributes.push(LaunchAttribute { id, pad: 0, value: value.get()? });
        set_op(node, with_attributes(&launch, attributes)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphKernelNodeGetAttribute(node: Handle, id: u32, value: Out<[u32; 16]>) -> CuResult {
    call("cuGraphKernelNodeGetAttribute", || {
        let launch = launch_of(node)?;
        let known = launch.attributes.iter().find(|attribute| attribute.id == id);
        value.set(known.map_or([0; 16], |attribute| attribute.value))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphKernelNodeCopyAttributes(dst: Handle, src: Handle) -> CuResult {
    call("cuGraphKernelNodeCopyAttributes", || {
        let attributes = launch_of(src)?.attributes.clone();
        set_op(dst, with_attributes(&*launch_of(dst)?, attributes)?)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphMemcpyNodeGetParams(node: Handle, out: Out<Memcpy3d>) -> CuResult {
    call("cuGraphMemcpyNodeGetParams", || match op_of(node)? {
        Op::Copy(copy) => out.set(copy.params),
        _ => Err(other_type()),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphMemcpyNodeSetParams(node: Handle, params: In<Memcpy3d>) -> CuResult {
    call("cuGraphMemcpyNodeSetParams", || set_op(node, graph_nodes::copy(&params.get()?, 0)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecMemcpyNodeSetParams(
    handle: Handle,
    node: Handle,
    params: In<Memcpy3d>,
    context: Handle,
) -> CuResult {
    call("cuGraphExecMemcpyNodeSetParams", || exec(handle)?.set_op(node, graph_nodes::copy(&params.get()?, context)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphMemsetNodeGetParams(node: Handle, out: Out<MemsetNodeParams>) -> CuResult {
    call("cuGraphMemsetNodeGetParams", || match op_of(node)? {
        Op::Fill(fill) => out.set(MemsetNodeParams {
            dst: fill.address,
            pitch: fill.pitch as usize,
            value: fill.value,
            element_size: fill.size,
            width: fill.width as usize,
            height: fill.height as usize,
        }),
        _ => Err(other_type()),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphMemsetNodeSetParams(node: Handle, params: In<MemsetNodeParams>) -> CuResult {
    call("cuGraphMemsetNodeSetParams", || set_op(node, graph_nodes::fill(&params.get()?, 0)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecMemsetNodeSetParams(
    handle: Handle,
    node: Handle,
    params: In<MemsetNodeParams>,
    context: Handle,
) -> CuResult {
    call("cuGraphExecMemsetNodeSetParams", || exec(handle)?.set_op(node, graph_nodes::fill(&params.get()?, context)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphHostNodeGetParams(node: Handle, out: Out<HostNodeParams>) -> CuResult {
    call("cuGraphHostNodeGetParams", || match op_of(node)? {
        Op::Host { function, data } => out.set(HostNodeParams { function, data }),
        _ => Err(other_type()),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphHostNodeSetParams(node: Handle, params: In<HostNodeParams>) -> CuResult {
    call("cuGraphHostNodeSetParams", || set_op(node, graph_nodes::host(&params.get()?)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecHostNodeSetParams(handle: Handle, node: Handle, params: In<HostNodeParams>) -> CuResult {
    call("cuGraphExecHostNodeSetParams", || exec(handle)?.set_op(node, graph_nodes::host(&params.get()?)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphChildGraphNodeGetGraph(node: Handle, out: Out<Handle>) -> CuResult {
    call("cuGraphChildGraphNodeGetGraph", || match op_of(node)? {
        Op::Child(child) => out.set(child.handle),
        _ => Err(other_type()),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecChildGraphNodeSetParams(handle: Handle, node: Handle, child: Handle) -> CuResult {
    call("cuGraphExecChildGraphNodeSetParams", || {
        let plan = Plan::build(&*super::graph::graph(child)?)?;
        exec(handle)?.set_op(node, Op::Plan(Arc::new(plan)))
    })
}

fn event_of(node: Handle, record: bool, out: Out<Handle>) -> Res {
    match op_of(node)? {
        Op::Record(event) if record => out.set(event.handle),
        Op::Wait(event) if !record => out.set(event.handle),
        _ => Err(other_type()),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphEventRecordNodeGetEvent(node: Handle, out: Out<Handle>) -> CuResult {
    call("cuGraphEventRecordNodeGetEvent", || event_of(node, true, out))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphEventWaitNodeGetEvent(node: Handle, out: Out<Handle>) -> CuResult {
    call("cuGraphEventWaitNodeGetEvent", || event_of(node, false, out))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphEventRecordNodeSetEvent(node: Handle, event: Handle) -> CuResult {
    call("cuGraphEventRecordNodeSetEvent", || set_op(node, graph_nodes::event(event, true)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphEventWaitNodeSetEvent(node: Handle, event: Handle) -> CuResult {
    call("cuGraphEventWaitNodeSetEvent", || set_op(node, graph_nodes::event(event, false)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecEventRecordNodeSetEvent(handle: Handle, node: Handle, event: Handle) -> CuResult {
    call("cuGraphExecEventRecordNodeSetEvent", || exec(handle)?.set_op(node, graph_nodes::event(event, true)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecEventWaitNodeSetEvent(handle: Handle, node: Handle, event: Handle) -> CuResult {
    call("cuGraphExecEventWaitNodeSetEvent", || exec(handle)?.set_op(node, graph_nodes::event(event, false)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphMemAllocNodeGetParams(node: Handle, out: Out<MemAllocNodeParams>) -> CuResult {
    call("cuGraphMemAllocNodeGetParams", || match op_of(node)? {
        Op::Alloc { address, bytes } => {
            let device = super::memory::allocation_from(address).map_or(0, |found| found.device);
            out.set(MemAllocNodeParams {
                pool: MemPoolProps {
                    allocation_type: 1,
                    handle_types: 0,
                    location: MemLocation { kind: 1, id: device },
                    security: 0,
                    max_size: 0,
                    reserved: [0; 56],
                },
                access: 0,
                access_count: 0,
                bytes,
                address,
            })
        }
        _ => Err(other_type()),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphMemFreeNodeGetParams(node: Handle, out: Out<u64>) -> CuResult {
    call("cuGraphMemFreeNodeGetParams", || match op_of(node)? {
        Op::Free { address } => out.set(address),
        _ => Err(other_type()),
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeSetParams(node: Handle, params: Out<GraphNodeParams>) -> CuResult {
    call("cuGraphNodeSetParams", || set_op(node, graph_nodes::generic(params, graph_of(node)?.handle)?))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeSetParams_v2(node: Handle, params: Out<GraphNodeParams>) -> CuResult {
    cuGraphNodeSetParams(node, params)
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecNodeSetParams(handle: Handle, node: Handle, params: Out<GraphNodeParams>) -> CuResult {
    call("cuGraphExecNodeSetParams", || {
        let exec = exec(handle)?;
        match graph_nodes::generic(params, 0)? {
            Op::Child(child) => {
                let plan = Plan::build(&child);
                child.destroy();
                exec.set_op(node, Op::Plan(Arc::new(plan?)))
            }
            Op::Alloc { .. } | Op::Free { .. } => Err(Code::NotSupported.into()),
            op => exec.set_op(node, op),
        }
    })
}
