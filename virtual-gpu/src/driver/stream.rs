//! Streams: which queue work goes to and what it has to wait for.

use super::abi::Handle;
use super::capture::{self, Participation};
use super::context::{Context, StreamSet, context, current};
use super::error::{Code, Error, Res};
use super::launch::Launch;
use super::ops::Op;
use super::per_thread;
use super::queue::{Completion, Grid, Queue};
use super::table::{Table, lock};
use crate::machine::Dependence;
use std::collections::BTreeMap;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

pub static STREAMS: Table<Stream> = Table::new(2);

/// `CU_STREAM_LEGACY`
pub const LEGACY: Handle = 1;
/// `CU_STREAM_PER_THREAD`
pub const PER_THREAD: Handle = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamKind {
    /// The null stream: ordered with every blocking stream.
    Legacy,
    /// The default stream of one thread.
    PerThread,
    Created {
        non_blocking: bool,
    },
}

/// A stream.
pub struct Stream {
    /// 1 and 2 for the special streams.
    pub handle: Handle,
    pub context: Handle,
    pub kind: StreamKind,
    pub priority: i32,
    pub queue: Arc<Queue>,
    /// Its part in a capture.
    pub capture: Mutex<Option<Participation>>,
    pub attributes: Mutex<BTreeMap<u32, [u32; 16]>>,
}

static NEXT_THREAD: AtomicU64 = AtomicU64::new(1);
thread_local! {
    static THREAD: u64 = NEXT_THREAD.fetch_add(1, Ordering::Relaxed);
}

/// A number for the calling thread.
pub fn thread_number() -> u64 {
    THREAD.with(|number| *number)
}

impl Stream {
    fn new(handle: Handle, context: Handle, kind: StreamKind, priority: i32) -> Stream {
        Stream {
            handle,
            context,
            kind,
            priority,
            queue: Queue::new(),
            capture: Mutex::new(None),
            attributes: Mutex::default(),
        }
    }

    /// A context's null stream or one of its per-thread streams.
    pub fn special(context: Handle, kind: StreamKind) -> Arc<Stream> {
        let handle = if kind == StreamKind::Legacy { LEGACY } else { PER_THREAD };
        Arc::new(Stream::new(handle, context, kind, 0))
    }

    /// A stream of `cuStreamCreate`.
    pub fn create(context: &Context, non_blocking: bool, priority: i32) -> Arc<Stream> {
        let kind = StreamKind::Created { non_blocking };
        let stream = STREAMS.add(|handle| Stream::new(handle, context.handle, kind, priority));
        lock(&context.streams).created.push(stream.clone());
        stream
    }

    /// Whether the null stream and this one wait for each other.
    pub fn is_blocking(&self) -> bool {
        self.kind != (StreamKind::Created { non_blocking: true })
    }

    pub fn is_capturing(&self) -> bool {
        lock(&self.capture).is_some()
    }

    /// What the null stream's rule makes work of this stream wait for.
    fn null_rule(&self, order: &StreamSet) -> Vec<Arc<Completion>> {
        match self.kind {
            StreamKind::Legacy => {
                order.others().filter(|other| other.is_blocking()).filter_map(|other| other.queue.end()).collect()
            }
            _ if self.is_blocking() => order.legacy.queue.end().into_iter().collect(),
            _ => Vec::new(),
        }
    }

    /// Queues `body` behind this stream's work, `waits`, and what the null stream's rule adds. Errors of the body become
    /// errors of the context; after a sticky one nothing is run any more.
    pub fn submit(
        &self,
        context: &Arc<Context>,
        mut waits: Vec<Arc<Completion>>,
        at_once: bool,
        body: impl FnOnce(&Arc<Context>) -> Res + Send + 'static,
    ) -> Arc<Completion> {
        let owner = context.clone();
        let run = move || guarded(&owner, body);
        let order = lock(&context.streams);
        waits.extend(self.null_rule(&order));
        // Work that the caller waits for runs on its thread after the lock is gone: it may be long.
        if at_once && waits.iter().all(|wait| wait.ended().is_some()) {
            drop(order);
            return self.queue.submit(waits, true, run);
        }
        self.queue.submit(waits, false, run)
    }

    /// Queues a grid, which may start before the one in front of it has ended if it was launched so.
    fn submit_grid(&self, context: &Arc<Context>, launch: Arc<Launch>) {
        let owner = context.clone();
        let (early, grid) = (launch.config.programmatic, Arc::new(Grid::default()));
        let own = grid.clone();
        let run = move |ahead: Option<Arc<Grid>>| {
            guarded(&owner, |context| {
                let prerequisite = ahead.as_ref().map(|grid| &grid.ended);
                launch.execute(context, Dependence { prerequisite, dependents: Some(&own.triggered) })
            });
        };
        let order = lock(&context.streams);
        self.queue.submit_grid(self.null_rule(&order), early, grid, run);
    }
}

/// Runs queued work unless the context is lost; its error becomes the context's.
fn guarded(owner: &Arc<Context>, body: impl FnOnce(&Arc<Context>) -> Res) {
    if owner.check().is_err() {
        return;
    }
    let outcome = std::panic::catch_unwind(AssertUnwindSafe(|| body(owner)));
    let defect = || Err(Error::new(Code::Unknown, "a defect of virtual-gpu itself: queued work panicked"));
    if let Err(error) = outcome.unwrap_or_else(|_| defect()) {
        owner.fail(&error);
    }
}

/// Puts an operation into a stream, or into the graph that the stream is capturing. With `wait` the caller gets the
/// outcome; such calls cannot be captured.
pub fn enqueue(context: &Arc<Context>, stream: &Arc<Stream>, op: Op, wait: bool) -> Res {
    context.check()?;
    if capture::take(context, stream, &op, wait)? {
        return Ok(());
    }
    if let Op::Kernel(launch) = &op
        && !wait
    {
        stream.submit_grid(context, launch.clone());
        return Ok(());
    }
    let done = stream.submit(context, Vec::new(), wait, move |context| op.execute(context));
    if wait {
        done.wait();
        return context.outcome();
    }
    Ok(())
}

/// The stream that a handle names, with its context. Handle 0 is the null stream, or the thread's own one inside an entry
/// point of the per-thread family.
pub fn resolve(handle: Handle) -> Res<(Arc<Context>, Arc<Stream>)> {
    let handle = if handle == 0 && per_thread::is_active() { PER_THREAD } else { handle };
    match handle {
        0 | LEGACY => {
            let context = current()?;
            let stream = lock(&context.streams).legacy.clone();
            Ok((context, stream))
        }
        PER_THREAD => {
            let context = current()?;
            let new = || Stream::special(context.handle, StreamKind::PerThread);
            let stream = lock(&context.streams).per_thread.entry(thread_number()).or_insert_with(new).clone();
            Ok((context, stream))
        }
        _ => {
            current()?;
            let stream = STREAMS.get(handle).ok_or(Code::InvalidHandle)?;
            let context = context(stream.context)?;
            context.check()?;
            Ok((context, stream))
        }
    }
}

/// Drops a context's streams from the table.
pub fn forget(context: &Context) {
    let mut set = lock(&context.streams);
    for stream in set.created.drain(..) {
        STREAMS.remove(stream.handle);
    }
    set.per_thread.clear();
}
