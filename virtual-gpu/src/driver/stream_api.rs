//! Entry points for streams: creation, queries, waiting, callbacks, attributes.

use super::abi::{CuResult, Handle, HostFn, In, Out, StreamCallback};
use super::call;
use super::capture;
use super::context::current;
use super::context_settings::GREATEST_PRIORITY;
use super::error::{Code, Error, Res};
use super::event::{self, EVENTS};
use super::ops::Op;
use super::stream::{STREAMS, Stream, StreamKind, enqueue, resolve};
use super::table::lock;

const NON_BLOCKING: u32 = 1;

fn create(out: Out<Handle>, flags: u32, priority: i32) -> Res {
    out.check()?;
    let context = current()?;
    if flags & !NON_BLOCKING != 0 {
        return Err(Error::invalid("a stream's flags are 0 or CU_STREAM_NON_BLOCKING"));
    }
    // Out-of-range priorities are brought into range, as documented.
    let stream = Stream::create(&context, flags == NON_BLOCKING, priority.clamp(GREATEST_PRIORITY, 0));
    out.set(stream.handle)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreate(out: Out<Handle>, flags: u32) -> CuResult {
    call("cuStreamCreate", || create(out, flags, 0))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCreateWithPriority(out: Out<Handle>, flags: u32, priority: i32) -> CuResult {
    call("cuStreamCreateWithPriority", || create(out, flags, priority))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamDestroy_v2(handle: Handle) -> CuResult {
    call("cuStreamDestroy", || {
        // Work that is queued still runs: the worker holds the queue, and the context goes on waiting for it.
        let stream = STREAMS.remove(handle).ok_or(Code::InvalidHandle)?;
        capture::abandon(&stream);
        if let Ok(context) = super::context::context(stream.context) {
            let mut set = lock(&context.streams);
            if stream.queue.last().is_none() {
                set.created.retain(|other| other.handle != handle);
            }
            // Streams destroyed earlier whose work has ended by now.
            set.created.retain(|other| STREAMS.get(other.handle).is_some() || other.queue.last().is_some());
        }
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSynchronize(handle: Handle) -> CuResult {
    call("cuStreamSynchronize", || {
        let (context, stream) = resolve(handle)?;
        capture::forbid(&context, &stream)?;
        match stream.kind {
            // The null stream's end is behind everything that it waits for.
            StreamKind::Legacy => stream.submit(&context, Vec::new(), true, |_| Ok(())).wait(),
            _ => stream.queue.drain(),
        }
        context.outcome()
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamQuery(handle: Handle) -> CuResult {
    call("cuStreamQuery", || {
        let (context, stream) = resolve(handle)?;
        capture::forbid(&context, &stream)?;
        let mut left = Vec::from_iter(stream.queue.last());
        if stream.kind == StreamKind::Legacy {
            let set = lock(&context.streams);
            left.extend(set.others().filter(|other| other.is_blocking()).filter_map(|other| other.queue.last()));
        }
        if left.is_empty() {
            if let Some(end) = stream.queue.end() {
                end.observe();
            }
            return context.outcome();
        }
        left.iter().for_each(|completion| completion.want());
        Err(Code::NotReady.into())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamWaitEvent(handle: Handle, event: Handle, flags: u32) -> CuResult {
    call("cuStreamWaitEvent", || {
        let (context, stream) = resolve(handle)?;
        let event = EVENTS.get(event).ok_or(Code::InvalidHandle)?;
        if flags > 1 {
            return Err(Code::InvalidValue.into());
        }
        event::wait(&context, &stream, &event, flags == 1)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchHostFunc(handle: Handle, function: HostFn, data: usize) -> CuResult {
    call("cuLaunchHostFunc", || {
        let (context, stream) = resolve(handle)?;
        if function.is_none() {
            return Err(Code::InvalidValue.into());
        }
        enqueue(&context, &stream, Op::Host { function, data }, false)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuLaunchHostFunc_v2(handle: Handle, function: HostFn, data: usize, _sync_mode: u32) -> CuResult {
    cuLaunchHostFunc(handle, function, data)
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamAddCallback(handle: Handle, callback: StreamCallback, data: usize, flags: u32) -> CuResult {
    call("cuStreamAddCallback", || {
        let (context, stream) = resolve(handle)?;
        if callback.is_none() || flags != 0 {
            return Err(Code::InvalidValue.into());
        }
        if stream.is_capturing() {
            capture::forbid(&context, &stream)?;
        }
        enqueue(&context, &stream, Op::Callback { callback, stream: handle, data }, false)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCtx(handle: Handle, out: Out<Handle>) -> CuResult {
    call("cuStreamGetCtx", || out.set(resolve(handle)?.0.handle))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetCtx_v2(handle: Handle, out: Out<Handle>, green: Out<Handle>) -> CuResult {
    call("cuStreamGetCtx", || {
        let (context, _) = resolve(handle)?;
        green.set_if_wanted(0)?;
        out.set(context.handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetDevice(handle: Handle, out: Out<i32>) -> CuResult {
    call("cuStreamGetDevice", || out.set(resolve(handle)?.0.device.ordinal))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetFlags(handle: Handle, out: Out<u32>) -> CuResult {
    call("cuStreamGetFlags", || out.set(if resolve(handle)?.1.is_blocking() { 0 } else { NON_BLOCKING }))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetPriority(handle: Handle, out: Out<i32>) -> CuResult {
    call("cuStreamGetPriority", || out.set(resolve(handle)?.1.priority))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetId(handle: Handle, out: Out<u64>) -> CuResult {
    call("cuStreamGetId", || out.set(resolve(handle)?.1.queue.id()))
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamSetAttribute(handle: Handle, attribute: u32, value: In<[u32; 16]>) -> CuResult {
    call("cuStreamSetAttribute", || {
        let (_, stream) = resolve(handle)?;
        lock(&stream.attributes).insert(attribute, value.get()?);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamGetAttribute(handle: Handle, attribute: u32, value: Out<[u32; 16]>) -> CuResult {
    call("cuStreamGetAttribute", || {
        let (_, stream) = resolve(handle)?;
        let known = lock(&stream.attributes).get(&attribute).copied();
        value.set(known.unwrap_or([0; 16]))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamCopyAttributes(dst: Handle, src: Handle) -> CuResult {
    call("cuStreamCopyAttributes", || {
        let (_, dst) = resolve(dst)?;
        let (_, src) = resolve(src)?;
        let attributes = lock(&src.attributes).clone();
        *lock(&dst.attributes) = attributes;
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuStreamAttachMemAsync(handle: Handle, address: u64, _length: usize, flags: u32) -> CuResult {
    call("cuStreamAttachMemAsync", || {
        resolve(handle)?;
        if !matches!(flags, 1 | 2 | 4) {
            return Err(Code::InvalidValue.into());
        }
        super::memory::allocation_at(address).map(|_| ()).ok_or_else(|| Code::InvalidValue.into())
    })
}
