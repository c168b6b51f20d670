//! Contexts: the current stack of each thread, sticky errors, limits.

use super::abi::{CuResult, Handle, In, Out};
use super::capture;
use super::error::{Code, Error, Res};
use super::state::{Device, device, driver};
use super::stream::{Stream, StreamKind};
use super::table::{Table, lock};
use super::{call, profile};
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub static CONTEXTS: Table<Context> = Table::new(1);

/// A context.
pub struct Context {
    pub handle: Handle,
    pub id: u64,
    pub device: Arc<Device>,
    pub primary: bool,
    pub flags: AtomicU32,
    destroyed: AtomicBool,
    /// The error that every further call gives.
    sticky: Mutex<Option<Code>>,
    /// The error of asynchronous work that the next waiting call gives, once.
    pending: Mutex<Option<Code>>,
    /// The streams; the lock is also the order of submission.
    pub streams: Mutex<StreamSet>,
    pub limits: Mutex<BTreeMap<u32, usize>>,
    /// Contexts whose memory kernels of this one may touch.
    pub peers: Mutex<BTreeSet<Handle>>,
    pub cache_config: AtomicU32,
    pub shared_config: AtomicU32,
}

/// A context's streams.
pub struct StreamSet {
    pub legacy: Arc<Stream>,
    pub per_thread: BTreeMap<u64, Arc<Stream>>,
    /// Created ones.
    pub created: Vec<Arc<Stream>>,
}

impl StreamSet {
    /// Every stream but the legacy one.
    pub fn others(&self) -> impl Iterator<Item = &Arc<Stream>> {
        self.per_thread.values().chain(&self.created)
    }
}

thread_local! {
    /// The contexts pushed on this thread, the current one last.
    static STACK: RefCell<Vec<Handle>> = const { RefCell::new(Vec::new()) };
}

static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// `CUlimit` and what it is at the start.
const LIMITS: [(u32, usize); 8] = [
    (0, 1_024),   // stack of a thread
    (1, 1 << 20), // printf buffer
    (2, 8 << 20), // heap of malloc
    (3, 2),       // depth of device-side synchronisation
    (4, 2_048),   // pending device-side launches
    (5, 64),      // L2 fetch granularity
    (6, 0),       // persisting L2
    (7, 0),       // shared memory of graphics interoperation
];

impl Context {
    /// A context under a reserved handle.
    pub fn create(handle: Handle, device: &Arc<Device>, flags: u32, primary: bool) -> Arc<Context> {
        let context = Arc::new(Context {
            handle,
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            device: device.clone(),
            primary,
            flags: AtomicU32::new(flags),
            destroyed: AtomicBool::new(false),
            sticky: Mutex::new(None),
            pending: Mutex::new(None),
            streams: Mutex::new(StreamSet {
                legacy: Stream::special(handle, StreamKind::Legacy),
                per_thread: BTreeMap::new(),
                created: Vec::new(),
            }),
            limits: Mutex::new(LIMITS.into_iter().collect()),
            peers: Mutex::default(),
            cache_config: AtomicU32::new(0),
            shared_config: AtomicU32::new(0),
        });
        CONTEXTS.insert(handle, context.clone());
        context
    }

    pub fn is_destroyed(&self) -> bool {
        self.destroyed.load(Ordering::Acquire)
    }

    pub fn set_flags(&self, flags: u32) {
        self.flags.store(flags, Ordering::Relaxed);
    }

    /// Fails where the context can no longer be used.
    pub fn check(&self) -> Res {
        if self.is_destroyed() {
            return Err(Code::ContextIsDestroyed.into());
        }
        if self.device.is_lost() {
            return Err(Code::DeviceUnavailable.into());
        }
        match *lock(&self.sticky) {
            Some(code) => Err(code.into()),
            None => Ok(()),
        }
    }

    /// Records an error of work that ran asynchronously, and explains it once.
    pub fn fail(&self, error: &Error) {
        if let Some(message) = &error.message {
            profile::report_fault(error.code, message);
        }
        let slot = if error.code.is_sticky() { &self.sticky } else { &self.pending };
        lock(slot).get_or_insert(error.code);
    }

    /// What a call that has waited for work reports of it.
    pub fn outcome(&self) -> Res {
        self.check()?;
        match lock(&self.pending).take() {
            Some(code) => Err(code.into()),
            None => Ok(()),
        }
    }

    /// Every queue with something in it.
    fn drain(&self) {
        let streams: Vec<Arc<Stream>> = {
            let set = lock(&self.streams);
            set.others().chain([&set.legacy]).cloned().collect()
        };
        for stream in &streams {
            stream.queue.drain();
        }
    }

    /// Waits for all work of the context.
    pub fn synchronise(&self) -> Res {
        self.drain();
        self.outcome()
    }

    /// Ends the context: its work is waited for, everything that belongs to it goes.
    pub fn destroy(self: &Arc<Self>) {
        self.drain();
        self.destroyed.store(true, Ordering::Release);
        CONTEXTS.remove(self.handle);
        super::stream::forget(self);
        super::event::forget(self);
        super::module::forget(self);
        super::memory::forget(self);
    }

    pub fn limit(&self, limit: u32) -> Option<usize> {
        lock(&self.limits).get(&limit).copied()
    }
}

/// A live context by handle.
pub fn context(handle: Handle) -> Res<Arc<Context>> {
    driver()?;
    CONTEXTS.get(handle).ok_or_else(|| Code::InvalidContext.into())
}

/// The current context's handle, 0 for none.
pub fn current_handle() -> Handle {
    STACK.with_borrow(|stack| stack.last().copied().unwrap_or(0))
}

/// The current context, in working order.
pub fn current() -> Res<Arc<Context>> {
    driver()?;
    let handle = current_handle();
    if handle == 0 {
        return Err(Code::InvalidContext.into());
    }
    let context = CONTEXTS.get(handle).ok_or(Code::ContextIsDestroyed)?;
    context.check()?;
    Ok(context)
}

/// The context that a `CUcontext` argument names, 0 being the current one.
pub fn named_or_current(handle: Handle) -> Res<Arc<Context>> {
    if handle == 0 { current() } else { context(handle) }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v2(out: Out<Handle>, flags: u32, ordinal: i32) -> CuResult {
    call("cuCtxCreate", || {
        out.check()?;
        let device = device(ordinal)?;
        if flags & !0xff != 0 {
            return Err(Code::InvalidValue.into());
        }
        if device.is_lost() {
            return Err(Code::DeviceUnavailable.into());
        }
        let created = Context::create(CONTEXTS.reserve(), device, flags, false);
        STACK.with_borrow_mut(|stack| stack.push(created.handle));
        out.set(created.handle)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v3(out: Out<Handle>, _affinity: usize, count: i32, flags: u32, ordinal: i32) -> CuResult {
    if count != 0 {
        return call("cuCtxCreate", || Err(Code::UnsupportedExecAffinity.into()));
    }
    cuCtxCreate_v2(out, flags, ordinal)
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxCreate_v4(out: Out<Handle>, params: In<[usize; 3]>, flags: u32, ordinal: i32) -> CuResult {
    // `CUctxCreateParams`: affinity, its count, graphics interoperation.
    match if params.is_null() { Ok([0; 3]) } else { params.get() } {
        Ok([_, count, cig]) if count as i32 == 0 && cig == 0 => cuCtxCreate_v2(out, flags, ordinal),
        _ => call("cuCtxCreate", || Err(Code::UnsupportedExecAffinity.into())),
    }
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDestroy_v2(handle: Handle) -> CuResult {
    call("cuCtxDestroy", || {
        let context = context(handle)?;
        if context.primary {
            return Err(Error::new(Code::InvalidContext, "a primary context is released, not destroyed"));
        }
        STACK.with_borrow_mut(|stack| {
            if stack.last() == Some(&handle) {
                stack.pop();
            }
        });
        context.destroy();
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxAttach(out: Out<Handle>, flags: u32) -> CuResult {
    call("cuCtxAttach", || if flags != 0 { Err(Code::InvalidValue.into()) } else { out.set(current()?.handle) })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxDetach(handle: Handle) -> CuResult {
    call("cuCtxDetach", || context(handle).map(|_| ()))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPushCurrent_v2(handle: Handle) -> CuResult {
    call("cuCtxPushCurrent", || {
        context(handle)?;
        STACK.with_borrow_mut(|stack| stack.push(handle));
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxPopCurrent_v2(out: Out<Handle>) -> CuResult {
    call("cuCtxPopCurrent", || {
        driver()?;
        let popped = STACK.with_borrow_mut(Vec::pop).ok_or(Code::InvalidContext)?;
        out.set_if_wanted(popped)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSetCurrent(handle: Handle) -> CuResult {
    call("cuCtxSetCurrent", || {
        driver()?;
        if handle != 0 {
            context(handle)?;
        }
        STACK.with_borrow_mut(|stack| {
            stack.pop();
            if handle != 0 {
                stack.push(handle);
            }
        });
        Ok(())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetCurrent(out: Out<Handle>) -> CuResult {
    call("cuCtxGetCurrent", || {
        driver()?;
        out.set(current_handle())
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetDevice(out: Out<i32>) -> CuResult {
    call("cuCtxGetDevice", || out.set(context(current_handle())?.device.ordinal))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetDevice_v2(out: Out<i32>, handle: Handle) -> CuResult {
    call("cuCtxGetDevice", || out.set(named_or_current(handle)?.device.ordinal))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetId(handle: Handle, out: Out<u64>) -> CuResult {
    call("cuCtxGetId", || out.set(named_or_current(handle)?.id))
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxGetApiVersion(handle: Handle, out: Out<u32>) -> CuResult {
    call("cuCtxGetApiVersion", || {
        named_or_current(handle)?;
        // The version of the interface that cuCtxCreate_v2 made the context for.
        out.set(3_020)
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize() -> CuResult {
    call("cuCtxSynchronize", || {
        let context = current()?;
        capture::forbid_all(&context)?;
        context.synchronise()
    })
}

#[unsafe(no_mangle)]
extern "C" fn cuCtxSynchronize_v2(handle: Handle) -> CuResult {
    call("cuCtxSynchronize", || {
        let context = named_or_current(handle)?;
        context.check()?;
        capture::forbid_all(&context)?;
        context.synchronise()
    })
}
