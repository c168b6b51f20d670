//! Entry points that instantiate graphs, launch them and change what was instantiated.

use super::abi::{CuResult, Handle, Out};
use super::call;
use super::capture;
use super::error::{Code, Error, Res};
use super::graph::graph;
use super::graph_exec::{EXECS, Exec, Plan, compare, exec};
use super::layouts::{GraphExecUpdateResult, GraphInstantiateParams};
use super::ops::Op;
use super::stream::resolve;
use super::table::lock;
use super::user_object;
use std::ffi::c_char;
use std::sync::Arc;

fn instantiate(out: Out<Handle>, handle: Handle, flags: u64) -> Res {
    out.check()?;
    // Free on launch, upload, device launch, node priority
    if flags & !0xf != 0 {
        return Err(Code::InvalidValue.into());
    }
    if flags & 4 != 0 {
        return Err(Error::new(Code::NotSupported, "graphs cannot be launched from the device here"));
    }
    out.set(Exec::create(&*graph(handle)?, flags)?.handle)
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiateWithFlags(out: Out<Handle>, handle: Handle, flags: u64) -> CuResult {
    call("cuGraphInstantiate", || instantiate(out, handle, flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiate_v2(
    out: Out<Handle>,
    handle: Handle,
    error_node: Out<Handle>,
    log: Out<c_char>,
    log_size: usize,
) -> CuResult {
    call("cuGraphInstantiate", || {
        error_node.set_if_wanted(0)?;
        let outcome = instantiate(out, handle, 0);
        if !log.is_null() && log_size > 0 {
            let text = outcome.as_ref().err().and_then(|error| error.message.clone());
            log.set_text(&text.unwrap_or_default(), log_size)?;
        }
        outcome
    })
}

/// `CUgraphInstantiateResult`
const INSTANTIATE_SUCCESS: u32 = 0;
const INSTANTIATE_ERROR: u32 = 1;
const INVALID_STRUCTURE: u32 = 2;

#[unsafe(no_mangle)]
extern "C" fn cuGraphInstantiateWithParams(
    out: Out<Handle>,
    handle: Handle,
    params: Out<GraphInstantiateParams>,
) -> CuResult {
    call("cuGraphInstantiateWithParams", || {
        let mut values = params.get()?;
        values.error_node = 0;
        let outcome = instantiate(out, handle, values.flags);
        values.result = match &outcome {
            Ok(()) => INSTANTIATE_SUCCESS,
            Err(error) if error.code == Code::InvalidValue => INVALID_STRUCTURE,
            Err(_) => INSTANTIATE_ERROR,
        };
        params.set(values)?;
        outcome
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphUpload(handle: Handle, stream: Handle) -> CuResult {
    // There is nothing that a launch would find faster.
    call("cuGraphUpload", || exec(handle).and_then(|_| resolve(stream)).map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphLaunch(handle: Handle, stream: Handle) -> CuResult {
    call("cuGraphLaunch", || {
        let exec = exec(handle)?;
        let (context, stream) = resolve(stream)?;
        let op = Op::Plan(exec.plan());
        if capture::take(&context, &stream, &op, false)? {
            return Ok(());
        }
        // One launch of an executable graph at a time, whatever the streams.
        let mut last = lock(&exec.last);
        let waits = last.take().into_iter().collect();
        *last = Some(stream.submit(&context, waits, false, move |context| op.execute(context)));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecDestroy(handle: Handle) -> CuResult {
    call("cuGraphExecDestroy", || {
        let exec = EXECS.remove(handle).ok_or(Code::InvalidValue)?;
        user_object::release_all(std::mem::take(&mut *lock(&exec.objects)));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecGetFlags(handle: Handle, out: Out<u64>) -> CuResult {
    call("cuGraphExecGetFlags", || out.set(exec(handle)?.flags))
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecGetId(handle: Handle, out: Out<u32>) -> CuResult {
    call("cuGraphExecGetId", || out.set(exec(handle)?.id))
}

fn update(handle: Handle, from: Handle) -> Res<GraphExecUpdateResult> {
    let exec = exec(handle)?;
    let new = Plan::build(&*graph(from)?)?;
    let old = exec.plan();
    let mut info = GraphExecUpdateResult { result: 0, error_node: 0, error_from_node: 0 };
    match compare(&old, &new) {
        Ok(()) => exec.change(|plan| {
            for (step, new) in plan.steps.iter_mut().zip(&new.steps) {
                step.op = new.op.clone();
            }
            Ok(())
        })?,
        Err((result, step)) => {
            info.result = result;
            info.error_node = new.steps.get(step).map_or(0, |step| step.node);
        }
    }
    Ok(info)
}

fn refuse(info: &GraphExecUpdateResult) -> Res {
    match info.result {
        0 => Ok(()),
        result => Err(Error::new(
            Code::GraphExecUpdateFailure,
            format!("the new graph differs in what an update cannot change (CUgraphExecUpdateResult {result})"),
        )),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecUpdate(handle: Handle, from: Handle, node: Out<Handle>, result: Out<u32>) -> CuResult {
    call("cuGraphExecUpdate", || {
        result.check()?;
        let info = update(handle, from)?;
        node.set_if_wanted(info.error_node)?;
        result.set(info.result)?;
        refuse(&info)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphExecUpdate_v2(handle: Handle, from: Handle, out: Out<GraphExecUpdateResult>) -> CuResult {
    call("cuGraphExecUpdate", || {
        out.check()?;
        let info = update(handle, from)?;
        out.set(info)?;
        refuse(&info)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeSetEnabled(handle: Handle, node: Handle, enabled: u32) -> CuResult {
    call("cuGraphNodeSetEnabled", || {
        exec(handle)?.change(|plan| {
            let step = plan.step_mut(node)?;
            // Kernel, memcpy and memset nodes can be switched.
            if step.op.node_type() > 2 {
                return Err(Code::InvalidValue.into());
            }
            step.enabled = enabled != 0;
            Ok(())
        })
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuGraphNodeGetEnabled(handle: Handle, node: Handle, out: Out<u32>) -> CuResult {
    call("cuGraphNodeGetEnabled", || {
        let plan: Arc<Plan> = exec(handle)?.plan();
        let step = plan.steps.iter().find(|step| step.node == node).ok_or(Code::InvalidValue)?;
        out.set(u32::from(step.enabled))
    })
}
