//! Events: marks in a stream's order, with times.

use super::abi::{CuResult, Handle, Out};
use super::call;
use super::capture::{self, CapturedMark};
use super::context::{Context, context, current};
use super::error::{Code, Error, Res};
use super::queue::Completion;
use super::stream::{Stream, resolve};
use super::table::{Table, lock};
use std::sync::{Arc, Mutex};

pub static EVENTS: Table<Event> = Table::new(3);

const DISABLE_TIMING: u32 = 2;
const INTERPROCESS: u32 = 4;

/// What an event was last recorded in.
#[derive(Clone, Default)]
pub enum Mark {
    #[default]
    Never,
    Work(Arc<Completion>),
    Captured(CapturedMark),
}

/// An event.
pub struct Event {
    pub handle: Handle,
    pub context: Handle,
    pub flags: u32,
    pub mark: Mutex<Mark>,
}

impl Event {
    pub fn mark(&self) -> Mark {
        lock(&self.mark).clone()
    }

    /// The work that it was recorded in; none where it has not been recorded, an error where that was in a capture.
    fn work(&self) -> Res<Option<Arc<Completion>>> {
        match self.mark() {
            Mark::Never => Ok(None),
            Mark::Work(completion) => Ok(Some(completion)),
            Mark::Captured(mark) => {
                mark.invalidate();
                Err(Code::CapturedEvent.into())
            }
        }
    }
}

/// Records an event in a stream, or in the graph that the stream captures.
pub fn record(context: &Arc<Context>, stream: &Arc<Stream>, event: &Arc<Event>, external: bool) -> Res {
    if event.context != context.handle {
        return Err(Error::new(Code::InvalidHandle, "the event belongs to another context than the stream"));
    }
    if capture::record(context, stream, event, external)? {
        return Ok(());
    }
    let done = stream.submit(context, Vec::new(), true, |_| Ok(()));
    *lock(&event.mark) = Mark::Work(done);
    Ok(())
}

/// Makes a stream wait for an event.
pub fn wait(context: &Arc<Context>, stream: &Arc<Stream>, event: &Arc<Event>, external: bool) -> Res {
    if capture::wait(context, stream, event, external)? {
        return Ok(());
    }
    if let Mark::Work(completion) = event.mark() {
        stream.submit(context, vec![completion], true, |_| Ok(()));
    }
    Ok(())
}

fn event(handle: Handle) -> Res<Arc<Event>> {
    super::state::driver()?;
    EVENTS.get(handle).ok_or_else(|| Code::InvalidHandle.into())
}

/// Drops a context's events from the table.
pub fn forget(context: &Context) {
    for event in EVENTS.all() {
        if event.context == context.handle {
            EVENTS.remove(event.handle);
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuEventCreate(out: Out<Handle>, flags: u32) -> CuResult {
    call("cuEventCreate", || {
        out.check()?;
        let context = current()?;
        if flags > 7 || flags & INTERPROCESS != 0 && flags & DISABLE_TIMING == 0 {
            return Err(Code::InvalidValue.into());
        }
        let event = EVENTS.add(|handle| Event { handle, context: context.handle, flags, mark: Mutex::default() });
        out.set(event.handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventDestroy_v2(handle: Handle) -> CuResult {
    call("cuEventDestroy", || {
        super::state::driver()?;
        EVENTS.remove(handle).map(|_| ()).ok_or_else(|| Code::InvalidHandle.into())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecord(handle: Handle, stream: Handle) -> CuResult {
    cuEventRecordWithFlags(handle, stream, 0)
}

#[unsafe(no_mangle)]
extern "C" fn cuEventRecordWithFlags(handle: Handle, stream: Handle, flags: u32) -> CuResult {
    call("cuEventRecord", || {
        let event = event(handle)?;
        let (context, stream) = resolve(stream)?;
        if flags > 1 {
            return Err(Code::InvalidValue.into());
        }
        record(&context, &stream, &event, flags == 1)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxRecordEvent(context_handle: Handle, handle: Handle) -> CuResult {
    call("cuCtxRecordEvent", || {
        let context = super::context::named_or_current(context_handle)?;
        let event = event(handle)?;
        capture::forbid_all(&context)?;
        // Recorded behind everything that the context has been given so far.
        let (legacy, waits) = {
            let set = lock(&context.streams);
            (set.legacy.clone(), set.others().filter_map(|stream| stream.queue.end()).collect())
        };
        let done = legacy.submit(&context, waits, false, |_| Ok(()));
        *lock(&event.mark) = Mark::Work(done);
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxWaitEvent(context_handle: Handle, handle: Handle) -> CuResult {
    call("cuCtxWaitEvent", || {
        let context = super::context::named_or_current(context_handle)?;
        let event = event(handle)?;
        capture::forbid_all(&context)?;
        let streams: Vec<_> = {
            let set = lock(&context.streams);
            set.others().chain([&set.legacy]).cloned().collect()
        };
        streams.iter().try_for_each(|stream| wait(&context, stream, &event, false))
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventQuery(handle: Handle) -> CuResult {
    call("cuEventQuery", || {
        let event = event(handle)?;
        let context = context(event.context)?;
        context.check()?;
        match event.work()? {
            Some(completion) if completion.ended().is_none() => {
                completion.want();
                Err(Code::NotReady.into())
            }
            completion => {
                if let Some(completion) = completion {
                    completion.observe();
                }
                context.outcome()
            }
        }
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuEventSynchronize(handle: Handle) -> CuResult {
    call("cuEventSynchronize", || {
        let event = event(handle)?;
        let context = context(event.context)?;
        context.check()?;
        if let Some(completion) = event.work()? {
            completion.wait();
        }
        context.outcome()
    })
}

fn elapsed(out: Out<f32>, start: Handle, end: Handle) -> Res {
    out.check()?;
    let (start, end) = (event(start)?, event(end)?);
    if start.context != end.context {
        return Err(Code::InvalidHandle.into());
    }
    context(start.context)?.check()?;
    if (start.flags | end.flags) & DISABLE_TIMING != 0 {
        return Err(Error::new(Code::InvalidHandle, "an event made with CU_EVENT_DISABLE_TIMING has no time"));
    }
    let never = || Error::new(Code::InvalidHandle, "an event that was never recorded has no time");
    let start = start.work()?.ok_or_else(never)?;
    let end = end.work()?.ok_or_else(never)?;
    let (Some(from), Some(to)) = (start.ended(), end.ended()) else {
        start.want();
        end.want();
        return Err(Code::NotReady.into());
    };
    let seconds = match to.checked_duration_since(from) {
        Some(forward) => forward.as_secs_f64(),
        None => -from.duration_since(to).as_secs_f64(),
    };
    out.set((seconds * 1e3) as f32)
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime(out: Out<f32>, start: Handle, end: Handle) -> CuResult {
    call("cuEventElapsedTime", || elapsed(out, start, end))
}

#[unsafe(no_mangle)]
extern "C" fn cuEventElapsedTime_v2(out: Out<f32>, start: Handle, end: Handle) -> CuResult {
    call("cuEventElapsedTime", || elapsed(out, start, end))
}
