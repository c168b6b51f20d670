//! Stream capture: operations become nodes, and what must not happen meanwhile is refused as the real driver does.

use super::abi::Handle;
use super::context::Context;
use super::error::{Code, Error, Res};
use super::event::{Event, Mark};
use super::graph::{EdgeData, Graph};
use super::memory::{self, Origin};
use super::ops::Op;
use super::stream::{Stream, StreamKind, thread_number};
use super::table::lock;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Weak};

/// `CUstreamCaptureMode`
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    Global,
    ThreadLocal,
    Relaxed,
}

impl Mode {
    pub fn from_number(number: u32) -> Res<Mode> {
        [Mode::Global, Mode::ThreadLocal, Mode::Relaxed]
            .get(number as usize)
            .copied()
            .ok_or_else(|| Code::InvalidValue.into())
    }
}

/// A capture that is going on.
pub struct Capture {
    pub id: u64,
    pub graph: Arc<Graph>,
    pub mode: Mode,
    pub thread: u64,
    context: Handle,
    invalid: AtomicBool,
    ended: AtomicBool,
    streams: Mutex<Vec<Weak<Stream>>>,
}

/// A stream's part in a capture.
pub struct Participation {
    pub capture: Arc<Capture>,
    /// What the stream's next node follows.
    pub dependencies: Vec<Handle>,
    /// The capture began here.
    pub origin: bool,
    /// What `cuStreamGetCaptureInfo` handed out; it has to stay for a while.
    pub exposed: Vec<Handle>,
    pub exposed_data: Vec<EdgeData>,
}

/// Where in a capture an event was recorded.
#[derive(Clone)]
pub struct CapturedMark {
    capture: Arc<Capture>,
    dependencies: Vec<Handle>,
}

static ACTIVE: Mutex<Vec<Arc<Capture>>> = Mutex::new(Vec::new());
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

thread_local! {
    /// The mode by which calls of this thread are judged.
    static THREAD_MODE: Cell<Mode> = const { Cell::new(Mode::Global) };
}

/// Exchanges the calling thread's mode.
pub fn exchange_mode(mode: Mode) -> Mode {
    THREAD_MODE.replace(mode)
}

impl Capture {
    pub fn is_invalid(&self) -> bool {
        self.invalid.load(Ordering::Acquire)
    }

    pub fn invalidate(&self) {
        self.invalid.store(true, Ordering::Release);
    }

    fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    fn check(&self) -> Res {
        if self.is_invalid() { Err(Code::StreamCaptureInvalidated.into()) } else { Ok(()) }
    }

    /// Invalidates the capture for an illegal operation, and gives the error of the operation.
    fn violate(&self, code: Code, text: &str) -> Error {
        self.invalidate();
        Error::new(code, text)
    }

    fn has_blocking_stream(&self) -> bool {
        lock(&self.streams).iter().filter_map(Weak::upgrade).any(|stream| stream.is_blocking())
    }
}

impl CapturedMark {
    /// An operation on the event that a capture does not allow.
    pub fn invalidate(&self) {
        self.capture.invalidate();
    }
}

impl Participation {
    /// Adds a node behind what the stream has so far.
    fn add(&mut self, op: Op) -> Res {
        self.capture.check()?;
        let dependencies: Vec<(Handle, EdgeData)> = self.dependencies.iter().map(|&node| (node, [0; 8])).collect();
        let node = self.capture.graph.add(&dependencies, op)?;
        self.dependencies = vec![node];
        Ok(())
    }
}

fn active(context: &Context) -> Vec<Arc<Capture>> {
    lock(&ACTIVE).iter().filter(|capture| capture.context == context.handle).cloned().collect()
}

/// The null stream waits for blocking streams, so that none of them may be capturing while it is used.
fn forbid_implicit(context: &Context, stream: &Stream) -> Res {
    if stream.kind != StreamKind::Legacy {
        return Ok(());
    }
    let mut outcome = Ok(());
    for capture in active(context).iter().filter(|capture| capture.has_blocking_stream()) {
        outcome = Err(capture.violate(
            Code::StreamCaptureImplicit,
            "the null stream was used while a blocking stream is capturing: capture in a CU_STREAM_NON_BLOCKING stream",
        ));
    }
    outcome
}

/// Captures an operation where the stream is capturing: true when that was so.
pub fn take(context: &Context, stream: &Stream, op: &Op, wait: bool) -> Res<bool> {
    let mut capture = lock(&stream.capture);
    let Some(part) = &mut *capture else {
        drop(capture);
        forbid_implicit(context, stream)?;
        return Ok(false);
    };
    part.capture.check()?;
    if wait || matches!(op, Op::Callback { .. }) {
        return Err(part
            .capture
            .violate(Code::StreamCaptureUnsupported, "a call that waits for the stream cannot be captured"));
    }
    if let Op::Free { address } = op {
        let of_graph = memory::allocation_from(*address).is_some_and(|found| found.origin == Origin::Graph);
        if !of_graph {
            return Err(Error::invalid(format!("{address:#x} was not allocated in the graph that would free it")));
        }
    }
    part.add(op.clone())?;
    Ok(true)
}

/// Allocates for a capturing stream: the address of a new allocation node, or none where the stream is not capturing.
pub fn allocate(context: &Context, stream: &Stream, bytes: usize) -> Res<Option<u64>> {
    let mut capture = lock(&stream.capture);
    let Some(part) = &mut *capture else {
        drop(capture);
        forbid_implicit(context, stream)?;
        return Ok(None);
    };
    part.capture.check()?;
    let address = memory::allocate(context, bytes, Origin::Graph, 0)?;
    part.add(Op::Alloc { address, bytes })?;
    Ok(Some(address))
}

/// Records an event in a capture: true when the stream is capturing.
pub fn record(context: &Context, stream: &Stream, event: &Arc<Event>, external: bool) -> Res<bool> {
    let mut capture = lock(&stream.capture);
    let Some(part) = &mut *capture else {
        drop(capture);
        forbid_implicit(context, stream)?;
        return if external { Err(Error::invalid("CU_EVENT_RECORD_EXTERNAL is for captures")) } else { Ok(false) };
    };
    part.capture.check()?;
    if external {
        part.add(Op::Record(event.clone()))?;
    } else {
        let mark = CapturedMark { capture: part.capture.clone(), dependencies: part.dependencies.clone() };
        *lock(&event.mark) = Mark::Captured(mark);
    }
    Ok(true)
}

/// Waits for an event in a capture, or joins the stream to the capture that the event was recorded in: true when that was
/// all there is to do.
pub fn wait(context: &Context, stream: &Arc<Stream>, event: &Arc<Event>, external: bool) -> Res<bool> {
    let mut part = lock(&stream.capture);
    if let Some(part) = &mut *part {
        part.capture.check()?;
        if external {
            part.add(Op::Wait(event.clone()))?;
            return Ok(true);
        }
    }
    match (event.mark(), &mut *part) {
        (Mark::Captured(mark), _) if mark.capture.has_ended() => Err(Code::CapturedEvent.into()),
        (Mark::Captured(mark), None) => {
            mark.capture.check()?;
            if stream.kind == StreamKind::Legacy || stream.context != mark.capture.context {
                return Err(mark.capture.violate(
                    Code::StreamCaptureImplicit,
                    "the null stream and streams of other contexts cannot join a capture",
                ));
            }
            lock(&mark.capture.streams).push(Arc::downgrade(stream));
            *part = Some(Participation {
                capture: mark.capture,
                dependencies: mark.dependencies,
                origin: false,
                exposed: Vec::new(),
                exposed_data: Vec::new(),
            });
            Ok(true)
        }
        (Mark::Captured(mark), Some(part)) if Arc::ptr_eq(&mark.capture, &part.capture) => {
            for node in mark.dependencies {
                if !part.dependencies.contains(&node) {
                    part.dependencies.push(node);
                }
            }
            Ok(true)
        }
        (Mark::Captured(mark), Some(part)) => {
            mark.capture.invalidate();
            Err(part.capture.violate(Code::StreamCaptureMerge, "the event belongs to another capture than the stream"))
        }
        (Mark::Work(_), Some(part)) => Err(part.capture.violate(
            Code::StreamCaptureIsolation,
            "a capturing stream cannot wait for an event that was recorded outside the capture",
        )),
        (Mark::Never, Some(_)) => Ok(true),
        (_, None) => {
            drop(part);
            forbid_implicit(context, stream)?;
            Ok(false)
        }
    }
}

/// Refuses a call that asks about a stream's progress while it is capturing.
pub fn forbid(context: &Context, stream: &Stream) -> Res {
    if let Some(part) = &*lock(&stream.capture) {
        part.capture.check()?;
        return Err(part
            .capture
            .violate(Code::StreamCaptureUnsupported, "a capturing stream has no progress to ask about or wait for"));
    }
    forbid_implicit(context, stream)
}

/// Refuses a call that waits for the whole context while one of its streams is capturing.
pub fn forbid_all(context: &Context) -> Res {
    let mut outcome = Ok(());
    for capture in active(context) {
        outcome = Err(capture.violate(
            Code::StreamCaptureUnsupported,
            "the context cannot be waited for while one of its streams is capturing",
        ));
    }
    outcome
}

/// Refuses calls such as `cuMemAlloc` that a capture in global mode, or one of this thread, does not allow.
pub fn forbid_unsafe() -> Res {
    let thread = thread_number();
    let mode = THREAD_MODE.get();
    let mut outcome = Ok(());
    for capture in &*lock(&ACTIVE) {
        let own = capture.thread == thread && capture.mode != Mode::Relaxed;
        let forbidden = match mode {
            Mode::Global => own || capture.mode == Mode::Global,
            Mode::ThreadLocal => own,
            Mode::Relaxed => false,
        };
        if forbidden {
            outcome = Err(capture.violate(
                Code::StreamCaptureUnsupported,
                "the call may wait for the device, which a capture in this mode forbids (CU_STREAM_CAPTURE_MODE_RELAXED \
                 allows it)",
            ));
        }
    }
    outcome
}

/// Begins a capture into `graph`, behind `dependencies`.
pub fn begin(stream: &Arc<Stream>, mode: Mode, graph: Arc<Graph>, dependencies: Vec<Handle>) -> Res {
    if stream.kind == StreamKind::Legacy {
        return Err(Error::new(Code::StreamCaptureUnsupported, "the null stream cannot be captured"));
    }
    let mut part = lock(&stream.capture);
    if part.is_some() {
        return Err(Error::new(Code::IllegalState, "the stream is capturing already"));
    }
    let capture = Arc::new(Capture {
        id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
        graph,
        mode,
        thread: thread_number(),
        context: stream.context,
        invalid: AtomicBool::new(false),
        ended: AtomicBool::new(false),
        streams: Mutex::new(vec![Arc::downgrade(stream)]),
    });
    lock(&ACTIVE).push(capture.clone());
    *part = Some(Participation { capture, dependencies, origin: true, exposed: Vec::new(), exposed_data: Vec::new() });
    Ok(())
}

/// Takes the streams of a capture out of it; the nodes that the others left last.
fn dissolve(capture: &Arc<Capture>) -> Vec<Vec<Handle>> {
    capture.ended.store(true, Ordering::Release);
    lock(&ACTIVE).retain(|other| !Arc::ptr_eq(other, capture));
    let streams = std::mem::take(&mut *lock(&capture.streams));
    let mut left = Vec::new();
    for stream in streams.iter().filter_map(Weak::upgrade) {
        let mut part = lock(&stream.capture);
        if part.as_ref().is_some_and(|part| Arc::ptr_eq(&part.capture, capture))
            && let Some(part) = part.take()
        {
            left.push(part.dependencies);
        }
    }
    left
}

/// Ends the capture of a stream: its graph.
pub fn end(stream: &Arc<Stream>) -> Res<Arc<Graph>> {
    let (capture, dependencies) = {
        let part = lock(&stream.capture);
        let part = part.as_ref().ok_or_else(|| Error::new(Code::IllegalState, "the stream is not capturing"))?;
        if !part.origin {
            return Err(part
                .capture
                .violate(Code::StreamCaptureUnmatched, "the capture has to be ended in the stream that it began in"));
        }
        if part.capture.mode != Mode::Relaxed && part.capture.thread != thread_number() {
            return Err(Error::new(
                Code::StreamCaptureWrongThread,
                "only a capture in relaxed mode may be ended by another thread than it was begun by",
            ));
        }
        (part.capture.clone(), part.dependencies.clone())
    };
    let left = dissolve(&capture);
    if capture.is_invalid() {
        capture.graph.destroy();
        return Err(Code::StreamCaptureInvalidated.into());
    }
    if !left.iter().all(|nodes| capture.graph.all_before(nodes, &dependencies)) {
        capture.graph.destroy();
        return Err(Error::new(
            Code::StreamCaptureUnjoined,
            "a stream that was forked into the capture was not joined back by an event",
        ));
    }
    Ok(capture.graph.clone())
}

/// A stream that is destroyed takes its capture with it.
pub fn abandon(stream: &Stream) {
    let part = lock(&stream.capture).take();
    if let Some(part) = part {
        part.capture.invalidate();
        if part.origin {
            dissolve(&part.capture);
            part.capture.graph.destroy();
        }
    }
}
