//! Modules and launches.

use super::cluster::{self, Cluster};
use super::counters::Counters;
use super::dependents::Dependence;
use super::exec::{Arena, Worker};
use super::fault::{Fault, FaultKind};
use super::memory::{AllocationKind, Memory, MemoryError, RangeCache};
use super::program::{Code, Entry, EntryCode, GlobalSpace, Program};
use super::streams::StreamTag;
use crate::model::DeviceModel;
use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A program with its variables placed in a device's memory.
pub struct Module {
    program: Arc<Program>,
    memory: Arc<Memory>,
    addresses: HashMap<String, (u64, u64)>,
    pool: Arena,
}

impl Module {
    /// Places the program's variables.
    pub fn instantiate(program: Arc<Program>, memory: Arc<Memory>) -> Result<Module, MemoryError> {
        let mut addresses = HashMap::new();
        let mut module =
            Module { program: program.clone(), memory: memory.clone(), addresses: HashMap::new(), pool: Arena::new(0) };
        for g in program.globals() {
            let constant = g.space == GlobalSpace::Const;
            // Addresses are 256-aligned; a larger alignment takes a larger allocation.
            let extra = if g.align > 256 { g.align } else { 0 };
            let base = memory.alloc_named(g.size + extra, AllocationKind::Module, Some(g.name.clone()), constant)?;
            let at = base.next_multiple_of(g.align.max(1));
            addresses.insert(g.name.clone(), (at, g.size));
            module.addresses.insert(g.name.clone(), (base, g.size));
        }
        let base_of: HashMap<String, (u64, u64)> = std::mem::replace(&mut module.addresses, addresses);
        let bad = |f: Fault| MemoryError::Invalid(f.report);
        for g in program.globals() {
            let (at, size) = module.addresses[&g.name];
            let mut bytes = if g.init.is_empty() { vec![0u8; size as usize] } else { g.init.clone() };
            for r in &g.relocations {
                let value = module.address_of(&r.symbol).unwrap_or(0).wrapping_add(r.addend as u64) >> (8 * r.shift);
                let (from, n) = (r.offset as usize, r.size.min(8) as usize);
                bytes[from..from + n].copy_from_slice(&value.to_le_bytes()[..n]);
            }
            memory.write(at, &bytes).map_err(bad)?;
            let base = base_of[&g.name].0;
            memory.mark_initialised(base, at - base);
        }
        let mut pool = Arena::new(program.pool.len() + 64);
        let base = pool.base();
        // SAFETY: the arena is at least as long as the pool, and each relocation lies in it with 32 copies of 8 bytes.
        unsafe {
            std::ptr::copy_nonoverlapping(program.pool.as_ptr(), base, program.pool.len());
            for r in &program.relocations {
                let value = module.address_of(&r.symbol).unwrap_or(0).wrapping_add(r.addend as u64);
                for l in 0..32 {
                    base.add(r.at as usize + 8 * l).cast::<u64>().write(value);
                }
            }
        }
        module.pool = pool;
        Ok(module)
    }

    fn address_of(&self, symbol: &str) -> Option<u64> {
        if let Some((at, _)) = self.addresses.get(symbol) {
            return Some(*at);
        }
        let k = self.program.function_names.iter().rposition(|n| n == symbol)?;
        Some(super::ops::call::FUNCTION_WINDOW + k as u64)
    }

    /// Address and size of a variable.
    pub fn global(&self, name: &str) -> Option<(u64, u64)> {
        self.addresses.get(name).copied()
    }

    /// The program.
    pub fn program(&self) -> &Arc<Program> {
        &self.program
    }

    /// The memory it lives in.
    pub fn memory(&self) -> &Arc<Memory> {
        &self.memory
    }
}

impl Drop for Module {
    fn drop(&mut self) {
        for (address, size) in self.addresses.values() {
            // Over-aligned variables lie inside their allocation.
            let base = self.memory.lookup(*address).map_or(*address, |a| a.base);
            debug_assert!(*size > 0);
            let _ = self.memory.free(base);
        }
    }
}

/// How a kernel is launched.
#[derive(Debug, Clone)]
pub struct LaunchConfig {
    /// Blocks per dimension.
    pub grid: [u32; 3],
    /// Threads per dimension.
    pub block: [u32; 3],
    /// Blocks per cluster and dimension; `[1, 1, 1]` without clusters.
    pub cluster: [u32; 3],
    /// Dynamic shared memory in bytes.
    pub dynamic_shared: u32,
    /// `CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES` as opted in for the function.
    pub max_dynamic_shared: u32,
    /// A non-portable cluster size was allowed for the function.
    pub non_portable_cluster: bool,
    /// All blocks must be resident at once.
    pub cooperative: bool,
    /// Programmatic stream serialisation: may start before the previous kernel ends.
    pub programmatic: bool,
    /// Stream of the launch.
    pub stream: StreamTag,
    /// Model the L2 cache, and so count its hits and the traffic of DRAM.
    pub l2: bool,
    /// Registers per thread as a cubin beside the PTX declares them, where one was passed.
    pub cubin_registers: Option<u32>,
    /// The device, for its limits.
    pub model: DeviceModel,
}

impl Default for LaunchConfig {
    fn default() -> Self {
        LaunchConfig {
            grid: [1; 3],
            block: [1; 3],
            cluster: [1; 3],
            dynamic_shared: 0,
            max_dynamic_shared: 0,
            non_portable_cluster: false,
            cooperative: false,
            programmatic: false,
            stream: StreamTag::default(),
            l2: false,
            cubin_registers: None,
            model: DeviceModel::H100,
        }
    }
}

/// Which checks are on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Checks {
    /// Bounds, alignment, use after free.
    pub memory: bool,
    /// Uninitialised values.
    pub uninitialised: bool,
    /// Races.
    pub races: bool,
    /// Convergence and deadlock.
    pub convergence: bool,
    /// Asynchronous operations.
    pub asynchrony: bool,
    /// Launch limits.
    pub limits: bool,
}

impl Default for Checks {
    fn default() -> Self {
        Checks { memory: true, uninitialised: true, races: true, convergence: true, asynchrony: true, limits: true }
    }
}

/// One choice among the orders that hardware may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Seed; 0 is the plain order.
    pub seed: u64,
}

/// A finished launch.
#[derive(Debug, Clone, Default)]
pub struct LaunchReport {
    /// What it did.
    pub counters: Counters,
    /// Remarks that are not faults.
    pub notes: Vec<String>,
    /// What `vprintf` wrote; it also went to standard output.
    pub printed: Vec<u8>,
}

/// A launch in progress.
pub struct Launch<'l> {
    pub(super) program: &'l Program,
    pub(super) code: &'l Code,
    pub(super) constants: *const u8,
    pub(super) memory: &'l Memory,
    pub(super) entry: &'l Entry,
    pub(super) entry_code: &'l EntryCode,
    pub(super) config: &'l LaunchConfig,
    pub(super) checks: Checks,
    pub(super) params: &'l [u8],
    pub(super) seed: u64,
    /// Number of the launch in the process.
    pub(super) number: u64,
    /// Its number in the cells of the race check.
    pub(super) race_number: u64,
    /// Its place among the work of all streams.
    pub(super) place: super::streams::Place,
    /// What blocks released.
    pub(super) published: super::races::Published,
    pub(super) printed: Mutex<Vec<u8>>,
    pub(super) notes: Mutex<Vec<String>>,
    pub(super) dependence: Dependence<'l>,
    /// Blocks that let the dependent grids start.
    triggered: AtomicU64,
    ticks: AtomicU64,
}

// SAFETY: the constant pool behind `constants` belongs to the module, which the launch borrows, and is only read.
unsafe impl Sync for Launch<'_> {}

impl Launch<'_> {
    /// A clock that advances with every reading.
    pub(super) fn ticks(&self) -> u64 {
        self.ticks.fetch_add(40, Ordering::Relaxed)
    }

    /// A remark, once.
    pub(super) fn note(&self, text: &str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.iter().any(|n| n == text) {
            notes.push(text.to_string());
        }
    }

    /// A block executed `griddepcontrol.launch_dependents`, or ended.
    pub(super) fn block_triggers(&self, cta: &mut super::cluster::Cta) {
        let blocks: u64 = self.config.grid.iter().map(|g| u64::from(*g)).product();
        if !std::mem::replace(&mut cta.triggered, true)
            && self.triggered.fetch_add(1, Ordering::AcqRel) + 1 == blocks
            && let Some(dependents) = self.dependence.dependents
        {
            dependents.open();
        }
    }

    /// Thread index of a lane.
    pub(super) fn thread_of(&self, warp: u32, lane: u32) -> [u32; 3] {
        let t = warp * 32 + lane;
        let [x, y, _] = self.config.block;
        [t % x, t / x % y, t / (x * y)]
    }

    /// Threads of a block.
    pub(super) fn threads(&self) -> u32 {
        self.config.block.iter().product()
    }

    /// Static and dynamic shared memory of a block, and where the dynamic part starts.
    pub(super) fn shared_layout(&self) -> (u32, u32) {
        let start = self.entry_code.static_shared.next_multiple_of(self.entry_code.dynamic_align.max(1));
        if self.config.dynamic_shared == 0 {
            return (self.entry_code.static_shared, start);
        }
        (start + self.config.dynamic_shared, start)
    }

    /// Whether work that nothing orders with this launch may have touched memory.
    #[inline(always)]
    pub(super) fn has_concurrent(&self) -> bool {
        self.place.concurrent || self.memory.launches.newest() != self.place.sequence
    }

    /// Whether nothing orders this launch behind the one that a cell notes; `waited`: blocks of this cluster have executed
    /// `griddepcontrol.wait`.
    pub(super) fn concurrent(&self, number: u64, waited: bool) -> bool {
        number != 0 && self.has_concurrent() && self.memory.launches.is_concurrent(number, &self.place, waited)
    }

    /// Between what a race with the launch that a cell notes is, and that launch.
    pub(super) fn other_launch(&self, number: u64) -> (&'static str, String) {
        self.memory.launches.describe(number, &self.place)
    }

    /// Blocks per cluster.
    pub(super) fn cluster_blocks(&self) -> u32 {
        self.config.cluster.iter().product()
    }
}

static LAUNCHES: AtomicU64 = AtomicU64::new(1);

/// Clusters waiting for a worker.
struct Queue {
    next: u64,
    total: u64,
    parked: VecDeque<Cluster>,
    running: usize,
    resident: u64,
    fault: Option<Box<Fault>>,
    last_progress: Instant,
}

/// How long all blocks may only poll before the launch is given up.
const LIVELOCK: Duration = Duration::from_secs(10);

/// Runs a kernel to its end on the caller's thread and helpers. `entry` indexes `Program::entries`, `params` is the
/// parameter block (`Entry::param_bytes` long).
pub fn launch(
    module: &Module,
    entry: usize,
    config: &LaunchConfig,
    params: &[u8],
    checks: &Checks,
    schedule: Schedule,
) -> Result<LaunchReport, Fault> {
    launch_dependent(module, entry, config, params, checks, schedule, Dependence::default())
}

/// As [`launch`], for a grid that others depend on or that depends on another.
pub fn launch_dependent(
    module: &Module,
    entry: usize,
    config: &LaunchConfig,
    params: &[u8],
    checks: &Checks,
    schedule: Schedule,
    dependence: Dependence<'_>,
) -> Result<LaunchReport, Fault> {
    let program = &*module.program;
    let (Some(entry_info), Some(entry_code)) = (program.entries().get(entry), program.code.entries.get(entry)) else {
        return Err(Fault::new(FaultKind::InvalidValue, format!("the module has no kernel number {entry}")));
    };
    let mut config = config.clone();
    if let Some(cluster) = entry_info.req_nctapercluster {
        config.cluster = cluster;
    }
    let occupancy = super::limits::check(entry_info, &config, params.len(), checks)?;
    let (race_number, place) = module.memory.begin_launch(&config.stream, &entry_info.name);
    let launch = Launch {
        program,
        code: &program.code,
        constants: module.pool.base_const(),
        memory: &module.memory,
        entry: entry_info,
        entry_code,
        config: &config,
        checks: *checks,
        params,
        seed: schedule.seed,
        number: LAUNCHES.fetch_add(1, Ordering::Relaxed),
        race_number,
        place,
        published: Default::default(),
        printed: Mutex::new(Vec::new()),
        notes: Mutex::new(Vec::new()),
        dependence,
        triggered: AtomicU64::new(0),
        ticks: AtomicU64::new(1 << 20),
    };
    let blocks: u64 = config.grid.iter().map(|g| u64::from(*g)).product();
    let per_cluster = u64::from(launch.cluster_blocks());
    let total = blocks / per_cluster;
    let limit = (u64::from(config.model.multiprocessors) * u64::from(occupancy.blocks) / per_cluster).max(1);
    if config.cooperative && total > limit {
        return Err(Fault::new(
            FaultKind::CooperativeTooLarge,
            format!("a cooperative launch of {blocks} blocks, but {} can be resident", limit * per_cluster),
        ));
    }
    let queue = Mutex::new(Queue {
        next: 0,
        total,
        parked: VecDeque::new(),
        running: 0,
        resident: 0,
        fault: None,
        last_progress: Instant::now(),
    });
    let (changed, stop) = (Condvar::new(), AtomicBool::new(false));
    let helpers = (worker_threads() as u64).min(total).saturating_sub(1);
    let mut workers: Vec<Worker> = Vec::new();
    std::thread::scope(|scope| {
        let handles: Vec<_> = (0..helpers)
            .map(|k| {
                let (launch, queue, changed, stop) = (&launch, &queue, &changed, &stop);
                scope.spawn(move || work(launch, queue, changed, stop, limit, k + 1))
            })
            .collect();
        workers.push(work(&launch, &queue, &changed, &stop, limit, 0));
        for handle in handles {
            match handle.join() {
                Ok(worker) => workers.push(worker),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    let printed = launch.printed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !printed.is_empty() {
        use std::io::Write;
        let mut out = std::io::stdout().lock();
        // Nobody can be told that standard output is closed.
        let _ = out.write_all(&printed).and_then(|()| out.flush());
    }
    let queue = queue.into_inner().unwrap_or_else(PoisonError::into_inner);
    if let Some(fault) = queue.fault {
        return Err(*fault);
    }
    if checks.races {
        module.memory.end_launch(race_number, &launch.place)?;
    }
    let mut counters = Counters {
        blocks,
        warps: blocks * u64::from(config.block.iter().product::<u32>().div_ceil(32)),
        registers: occupancy.registers,
        shared_bytes: entry_code.static_shared + config.dynamic_shared,
        occupancy_percent: occupancy.percent,
        achieved_percent: occupancy.achieved(&config),
        ..Counters::default()
    };
    for w in &workers {
        for ((n, lanes), meta) in w.counts.iter().zip(&program.code.meta) {
            counters.instructions += n;
            counters.lanes += lanes;
            counters.by_class[meta.class as usize] += n;
        }
        counters.traffic.add(&w.traffic);
    }
    let mut conflicts: HashMap<String, u64> = HashMap::new();
    for (pc, meta) in program.code.meta.iter().enumerate() {
        let sum: u64 = workers.iter().map(|w| w.conflicts[pc]).sum();
        if sum != 0 {
            *conflicts.entry(super::report::source(program, meta)).or_default() += sum;
        }
    }
    counters.conflicts = conflicts.into_iter().collect();
    counters.conflicts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let notes = launch.notes.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(LaunchReport { counters, notes, printed })
}

/// Worker threads of a launch: the machine's cores, or `VIRTUAL_GPU_THREADS`.
fn worker_threads() -> usize {
    static THREADS: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *THREADS.get_or_init(|| {
        let asked = std::env::var("VIRTUAL_GPU_THREADS").ok().and_then(|v| v.parse().ok()).filter(|n| *n > 0);
        asked.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, |n| n.get()))
    })
}

fn work(
    launch: &Launch<'_>,
    queue: &Mutex<Queue>,
    changed: &Condvar,
    stop: &AtomicBool,
    limit: u64,
    number: u64,
) -> Worker {
    let n = launch.code.instrs.len();
    let mut worker = Worker {
        ranges: vec![RangeCache::default(); n],
        counts: vec![(0, 0); n],
        conflicts: vec![0; n],
        generation: 0,
        traffic: Default::default(),
        scratch: None,
        patterns: super::ops::Patterns::new(n),
        random: launch.seed ^ number.wrapping_mul(0x9e37_79b9_7f4a_7c15),
    };
    let lock = || queue.lock().unwrap_or_else(PoisonError::into_inner);
    let mut spare = cluster::Spare::default();
    loop {
        let mut q = lock();
        let mut cluster = loop {
            if stop.load(Ordering::Acquire) {
                return worker;
            }
            if q.next < q.total && q.resident < limit {
                let index = q.next;
                q.next += 1;
                q.resident += 1;
                q.running += 1;
                drop(q);
                break cluster::start(launch, index, &mut spare);
            }
            if let Some(c) = q.parked.pop_front() {
                q.running += 1;
                drop(q);
                break c;
            }
            if q.running == 0 {
                return worker;
            }
            q = changed.wait(q).unwrap_or_else(PoisonError::into_inner);
        };
        let outcome = cluster::run(launch, &mut cluster, &mut worker, stop);
        let mut q = lock();
        q.running -= 1;
        match outcome {
            cluster::Outcome::Done => {
                q.resident -= 1;
                q.last_progress = Instant::now();
                spare.take(cluster);
            }
            cluster::Outcome::Parked { progress } => {
                if progress {
                    q.last_progress = Instant::now();
                }
                if !progress && let Some(grid) = launch.dependence.prerequisite.filter(|grid| !grid.is_open()) {
                    // It may wait for the grid before it, for as long as that takes.
                    drop(q);
                    grid.wait_for(Duration::from_millis(2));
                    q = lock();
                    q.last_progress = Instant::now();
                }
                let idle = q.last_progress.elapsed();
                if idle > LIVELOCK && q.fault.is_none() {
                    q.fault = Some(Box::new(cluster::livelock(launch, &cluster)));
                    stop.store(true, Ordering::Release);
                }
                q.parked.push_back(cluster);
            }
            cluster::Outcome::Fault(fault) => {
                q.fault.get_or_insert(fault);
                stop.store(true, Ordering::Release);
            }
            cluster::Outcome::Stopped => {}
        }
        drop(q);
        changed.notify_all();
    }
}
