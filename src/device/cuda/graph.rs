//! Work captured once and launched as a whole: CUDA graphs.
//!
//! A capture runs on a stream of its own, so that other threads go on using the device meanwhile: what the capturing
//! thread gives to the device is recorded and not done, what others give is done and not recorded. The mode is
//! `RELAXED`: the arena must be able to ask the driver for segments, and the driver's other modes guard against the null
//! stream, which is never used here. What cannot be captured (values read, values copied from the host, waiting) is
//! refused here, with words.
//!
//! A graph has addresses in it. Memory that it may have seen is therefore kept as long as it lives: all that was
//! allocated before its capture ended, whoever frees it. What the capture itself allocates comes from its arena.

use super::arena::Arena;
use super::memory::Freed;
use super::{CudaDevice, CudaMemory};
use crate::{Error, Result};
use cudarc::driver::sys;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Weak};

thread_local! {
    /// The capture that this thread has begun.
    static CAPTURING: RefCell<Option<Arc<Capture>>> = const { RefCell::new(None) };
}

/// A capture that is going on.
pub(super) struct Capture {
    pub ordinal: usize,
    pub stream: Stream,
    pub arena: Arc<Arena>,
    /// Where kernels find what is added to their counters.
    offset: u64,
    draws: Mutex<Vec<Draw>>,
    constants: Mutex<Vec<CudaMemory>>,
}

/// The stream of a capture.
#[derive(Clone, Copy)]
pub(super) struct Stream(pub sys::CUstream);

// SAFETY: a stream's handle may be used from any thread; it lives as long as the device.
unsafe impl Send for Stream {}
// SAFETY: as above.
unsafe impl Sync for Stream {}

/// The capture that the calling thread has begun, if any; a thread that is ending has none.
pub(super) fn capturing() -> Option<Arc<Capture>> {
    CAPTURING.try_with(|capture| capture.borrow().clone()).ok().flatten()
}

/// The stream that the calling thread captures on this device, if it does.
pub(super) fn capturing_stream(ordinal: usize) -> Option<sys::CUstream> {
    let of = |capture: &Arc<Capture>| (capture.ordinal == ordinal).then_some(capture.stream.0);
    CAPTURING.try_with(|capture| capture.borrow().as_ref().and_then(of)).ok().flatten()
}

/// Counters that captured work draws random numbers from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Draw {
    /// The key of the generator.
    pub key: [u32; 2],
    /// The first block of counters.
    pub first: u64,
}

/// What a device knows of its graphs.
#[derive(Default)]
pub(super) struct Graphs {
    /// Whoever captures: one at a time.
    turn: Mutex<()>,
    /// Captures that have ended.
    clock: AtomicU64,
    keepers: Mutex<Vec<Keeper>>,
}

/// Keeps memory for a graph, or for the capture that it comes from.
struct Keeper {
    /// Memory that was allocated before this time may be in the graph.
    until: u64,
    kept: Weak<Kept>,
}

/// Memory that was freed and that a graph may still use.
#[derive(Default)]
struct Kept(Mutex<Vec<Arc<Freed>>>);

impl Graphs {
    /// The time, in captures that have ended.
    pub fn now(&self) -> u64 {
        self.clock.load(Ordering::Acquire)
    }

    /// Frees memory that was allocated at time `born`, once no graph may use it.
    pub fn release(&self, memory: Freed, born: u64) {
        let keepers = self.keepers.lock();
        let owners: Vec<Arc<Kept>> =
            keepers.iter().filter(|keeper| born < keeper.until).filter_map(|keeper| keeper.kept.upgrade()).collect();
        drop(keepers);
        if !owners.is_empty() {
            let memory = Arc::new(memory);
            owners.iter().for_each(|owner| owner.0.lock().push(memory.clone()));
        }
    }

    fn begin(&self) -> Arc<Kept> {
        let kept = Arc::default();
        self.keepers.lock().push(Keeper { until: u64::MAX, kept: Arc::downgrade(&kept) });
        kept
    }

    /// From now on only what is there already may be in the graph.
    fn end(&self, kept: &Arc<Kept>) {
        let mut keepers = self.keepers.lock();
        let now = self.clock.fetch_add(1, Ordering::AcqRel) + 1;
        keepers.retain(|keeper| keeper.kept.strong_count() > 0);
        let own = Arc::downgrade(kept);
        keepers.iter_mut().filter(|keeper| keeper.kept.ptr_eq(&own)).for_each(|keeper| keeper.until = now);
    }
}

impl CudaDevice {
    /// Captures what `f` gives to this device on the calling thread: the work is recorded, not done, and done each time
    /// the graph is launched. What `f` returns may hold tensors of the captured work, which each launch writes anew.
    ///
    /// Everything that `f` launches must have been launched before (a warm-up): modules are loaded and kernels looked
    /// up then. Threads that `f` starts are not captured. One thread captures at a time, others wait for it.
    ///
    /// # Errors
    /// The error of `f`, of which nothing stays behind; reading values, copying from the host and waiting are such
    /// errors during a capture. A capture inside a capture is one too.
    pub fn capture<R>(&self, f: impl FnOnce() -> Result<R>) -> Result<(Graph, R)> {
        const OP: &str = "capture";
        if capturing().is_some() {
            return Err(Error::Device { op: OP, message: "this thread is capturing already".into() });
        }
        let _turn = self.graphs().turn.lock();
        self.bind(OP)?;
        let stream = self.capture_stream()?;
        let offset = CudaMemory::of_driver(self, size_of::<u64>())?;
        let running = Running::begin(self, stream, offset.address())?;
        let capture = running.capture.clone();
        let out = f();
        // Also where `f` has failed: the stream must leave the capture.
        let (recorded, kept) = running.end();
        let out = out?;
        let recorded = recorded?;
        let mut exec = std::ptr::null_mut();
        // SAFETY: the graph is whole and the context is current (`end` has seen to it).
        unsafe { sys::cuGraphInstantiateWithFlags(&mut exec, recorded.graph, 0) }
            .result()
            .map_err(|error| self.failed(OP, error))?;
        let draws = capture.draws.lock().clone();
        let launch = Mutex::new(Launch { exec, offset });
        let (_arena, _constants) = (capture.arena.clone(), std::mem::take(&mut *capture.constants.lock()));
        Ok((Graph { device: self.clone(), launch, draws, _arena, _constants, _kept: kept }, out))
    }

    /// Puts words into memory of the graph that the calling thread captures, at once, for kernels that read them at every
    /// launch: tables of addresses. `None` where nothing is captured.
    pub fn graph_constant(&self, words: &[i64]) -> Result<Option<u64>> {
        let Some(capture) = capturing().filter(|capture| capture.ordinal == self.ordinal()) else {
            return Ok(None);
        };
        let memory = CudaMemory::of_driver(self, size_of_val(words))?;
        let address = memory.address();
        memory.place(words)?;
        capture.constants.lock().push(memory);
        Ok(Some(address))
    }

    /// Where a kernel that draws from these counters finds a number to add to the first one; 0 for nowhere: only work
    /// that is captured has one, which moves from launch to launch of the graph.
    pub fn random_offset(&self, key: [u32; 2], first: u64) -> u64 {
        match capturing() {
            Some(capture) if capture.ordinal == self.ordinal() => {
                capture.draws.lock().push(Draw { key, first });
                capture.offset
            }
            _ => 0,
        }
    }

    /// An error where the calling thread captures: `why` it cannot be, and what to do.
    pub(super) fn not_captured(&self, op: &'static str, why: &str) -> Result<()> {
        match capturing() {
            Some(capture) if capture.ordinal == self.ordinal() => Err(Error::Device { op, message: why.into() }),
            _ => Ok(()),
        }
    }
}

/// A capture between its beginning and its end.
struct Running {
    device: CudaDevice,
    capture: Arc<Capture>,
    kept: Arc<Kept>,
    ended: bool,
}

impl Running {
    fn begin(device: &CudaDevice, stream: sys::CUstream, offset: u64) -> Result<Self> {
        let capture = Arc::new(Capture {
            ordinal: device.ordinal(),
            stream: Stream(stream),
            arena: Arc::default(),
            offset,
            draws: Mutex::default(),
            constants: Mutex::default(),
        });
        let mode = sys::CUstreamCaptureMode::CU_STREAM_CAPTURE_MODE_RELAXED;
        // SAFETY: the stream is the device's own, and only captures use it, one at a time.
        unsafe { sys::cuStreamBeginCapture_v2(stream, mode) }
            .result()
            .map_err(|error| device.failed("capture", error))?;
        let kept = device.graphs().begin();
        CAPTURING.with(|capturing| *capturing.borrow_mut() = Some(capture.clone()));
        Ok(Running { device: device.clone(), capture, kept, ended: false })
    }

    /// What was recorded, and what has to be kept for it.
    fn end(mut self) -> (Result<Recorded>, Arc<Kept>) {
        (self.stop(), self.kept.clone())
    }

    fn stop(&mut self) -> Result<Recorded> {
        self.ended = true;
        CAPTURING.with(|capturing| *capturing.borrow_mut() = None);
        self.device.graphs().end(&self.kept);
        self.device.bind("capture")?;
        let mut graph = std::ptr::null_mut();
        // SAFETY: this thread has begun the capture of the stream.
        unsafe { sys::cuStreamEndCapture(self.capture.stream.0, &mut graph) }
            .result()
            .map_err(|error| self.device.failed("capture", error))?;
        Ok(Recorded { graph })
    }
}

impl Drop for Running {
    /// Where the captured closure has panicked.
    fn drop(&mut self) {
        if !self.ended {
            drop(self.stop());
        }
    }
}

/// A graph as captured.
struct Recorded {
    graph: sys::CUgraph,
}

impl Drop for Recorded {
    fn drop(&mut self) {
        // SAFETY: the graph is this value's own; executable graphs made of it do not need it.
        let _ = unsafe { sys::cuGraphDestroy(self.graph) };
    }
}

/// Captured work, ready to be done as a whole as often as wanted. May be launched from any thread.
pub struct Graph {
    device: CudaDevice,
    launch: Mutex<Launch>,
    draws: Vec<Draw>,
    // After the executable graph, which `drop` takes down first.
    _arena: Arc<Arena>,
    _constants: Vec<CudaMemory>,
    _kept: Arc<Kept>,
}

/// What one launch at a time may touch.
struct Launch {
    exec: sys::CUgraphExec,
    /// What its kernels add to their counters.
    offset: CudaMemory,
}

// SAFETY: graphs may be used from any thread, one at a time: the lock around them sees to that.
unsafe impl Send for Launch {}

impl Graph {
    /// Gives the work to the device, after all that was given before. Kernels that draw random numbers add
    /// `random_offset` to the counters that they were captured with.
    pub fn launch(&self, random_offset: u64) -> Result<()> {
        const OP: &str = "graph";
        self.device.not_captured(OP, "a graph cannot be launched inside a capture; launch it before or after")?;
        let mut launch = self.launch.lock();
        if !self.draws.is_empty() {
            launch.offset.copy_from_host(&[random_offset as i64])?;
        }
        self.device.bind(OP)?;
        self.device.recent().lock().push_graph();
        // SAFETY: the graph is whole; what its work uses is kept: the arena, and all memory that the capture has seen.
        unsafe { sys::cuGraphLaunch(launch.exec, self.device.main_stream()) }
            .result()
            .map_err(|error| self.device.failed(OP, error))
    }

    /// The counters that the work was captured with, in the order of its kernels.
    pub fn draws(&self) -> &[Draw] {
        &self.draws
    }

    /// The device.
    pub fn device(&self) -> &CudaDevice {
        &self.device
    }
}

impl Drop for Graph {
    /// Waits for the work that was given: the driver does not say that a running graph may be destroyed.
    fn drop(&mut self) {
        if self.device.enter().is_ok() && self.device.wait().is_ok() {
            // SAFETY: no launch of the graph is running, and none can follow.
            let _ = unsafe { sys::cuGraphExecDestroy(self.launch.get_mut().exec) };
        }
    }
}

impl std::fmt::Debug for Graph {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Graph").field("device", &self.device.ordinal()).field("draws", &self.draws.len()).finish()
    }
}
