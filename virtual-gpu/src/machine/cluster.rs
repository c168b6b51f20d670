//! Clusters: the unit that a worker runs, parks and resumes.

use super::exec::{Arena, Cx, Fragment, QUANTUM, Wait, Warp, Worker};
use super::fault::{Fault, FaultKind};
use super::interpreter::Stop;
use super::launch::Launch;
use super::lower::Special;
use super::sync::Barrier;
use std::fmt::Write;
use std::sync::atomic::{AtomicBool, Ordering};

/// A block.
pub struct Cta {
    /// `ctaid`.
    pub id: [u32; 3],
    /// Rank in the cluster.
    pub rank: u32,
    /// Shared memory.
    pub shared: Arena,
    /// Bytes of shared memory.
    pub shared_len: u32,
    /// One bit per byte of shared memory: written.
    pub shared_init: Vec<u64>,
    /// CTA barriers.
    pub barriers: [Barrier; 16],
    /// The cluster's barrier; that of rank 0 serves.
    pub cluster_barrier: Barrier,
    /// Threads that have not exited.
    pub live: u32,
    /// It let the dependent grids start, as far as it is concerned.
    pub triggered: bool,
    /// Mbarriers, asynchronous operations and race shadow.
    pub objects: super::objects::Objects,
}

/// A cluster in progress.
pub struct Cluster {
    /// Blocks by rank.
    pub ctas: Vec<Cta>,
    /// Warps of all blocks.
    pub warps: Vec<Warp>,
    done: Vec<bool>,
    /// Rounds in a row in which all that happened was polling of mbarriers.
    barren: u32,
}

/// How a run ended.
pub enum Outcome {
    /// All threads exited.
    Done,
    /// Others should run.
    Parked {
        /// Some warp did more than poll.
        progress: bool,
    },
    /// A fault.
    Fault(Box<Fault>),
    /// The launch was stopped.
    Stopped,
}

/// Rounds of polling mbarriers alone that count as a deadlock: programs may try a number of times before they do something
/// else.
const BARREN: u32 = 256;
/// Rounds a cluster gets before others do.
const ROUNDS: u32 = 64;

/// What finished clusters leave for new ones.
#[derive(Default)]
pub struct Spare {
    warps: Vec<Warp>,
    shadows: Vec<super::races::Shadow>,
}

impl Spare {
    /// Takes a finished cluster apart.
    pub fn take(&mut self, mut cluster: Cluster) {
        self.warps.append(&mut cluster.warps);
        if let Some(races) = cluster.ctas.first_mut().and_then(|cta| cta.objects.races.take()) {
            self.shadows.extend(races.into_shadows());
        }
    }
}

/// Sets up cluster number `index`; parts of finished clusters are used again.
pub fn start(launch: &Launch<'_>, index: u64, spare: &mut Spare) -> Cluster {
    let config = launch.config;
    let [cx, cy, cz] = config.cluster.map(u64::from);
    let (gx, gy) = (u64::from(config.grid[0]) / cx, u64::from(config.grid[1]) / cy);
    let cluster = [index % gx, index / gx % gy, index / (gx * gy)];
    let (shared_len, _) = launch.shared_layout();
    let threads = launch.threads();
    let mut ctas = Vec::new();
    let mut warps = Vec::new();
    for rank in 0..launch.cluster_blocks() {
        let r = u64::from(rank);
        let inside = [r % cx, r / cx % cy, r / (cx * cy)];
        let id = [
            (cluster[0] * cx + inside[0]) as u32,
            (cluster[1] * cy + inside[1]) as u32,
            (cluster[2] * cz + inside[2]) as u32,
        ];
        ctas.push(Cta {
            id,
            rank,
            shared: Arena::new(shared_len as usize),
            shared_len,
            shared_init: vec![0; shared_len.div_ceil(64) as usize + 1],
            barriers: Default::default(),
            cluster_barrier: Barrier::default(),
            live: threads,
            triggered: false,
            objects: Default::default(),
        });
        for w in 0..threads.div_ceil(32) {
            let lanes = (threads - w * 32).min(32);
            let live = if lanes == 32 { u32::MAX } else { (1 << lanes) - 1 };
            let mut warp = spare.warps.pop().unwrap_or_else(|| Warp {
                arena: Arena::new(launch.entry_code.arena as usize),
                taint: None,
                fragments: Vec::new(),
                live: 0,
                local: Vec::new(),
                local_init: Vec::new(),
                stack: [0; 32],
                saved: Vec::new(),
                cta: 0,
                index: 0,
                copies: Default::default(),
                stalled: 0,
                cluster_arrived: [None; 32],
                stamps: Default::default(),
            });
            warp.taint = None;
            warp.live = live;
            warp.cta = rank as usize;
            warp.index = w;
            warp.fragments.clear();
            warp.fragments.push(Fragment { pc: launch.entry_code.start, mask: live, wait: Wait::No, gave_way: false });
            let local = launch.code.local_bytes as usize * 32;
            warp.local.resize(local, 0);
            warp.local_init.clear();
            warp.local_init.resize(local.div_ceil(64) + 1, 0);
            warp.stack = [launch.code.stack_base; 32];
            warp.saved.clear();
            warp.copies = Default::default();
            warp.stalled = 0;
            warp.cluster_arrived = [None; 32];
            warp.stamps = Default::default();
            special_registers(launch, &mut warp, id, cluster, inside);
            if launch.checks.uninitialised && !launch.entry_code.undefined.is_empty() {
                let mut taint = Arena::new(warp.arena.len());
                for offset in &launch.entry_code.undefined {
                    // SAFETY: the offset of a register, and the taint arena is as large as the registers'.
                    unsafe { taint.base().wrapping_add(*offset as usize).cast::<u32>().write(u32::MAX) }
                }
                warp.taint = Some(taint);
            }
            warps.push(warp);
        }
    }
    if super::races::follows(launch) {
        let ids: Vec<[u32; 3]> = ctas.iter().map(|c| c.id).collect();
        let words = shared_len.div_ceil(4) as usize;
        let races = super::races::RaceState::start(launch, &ids, words, &mut spare.shadows);
        for w in &mut warps {
            w.stamps = races.stamps(launch, w.cta, w.index as usize);
        }
        ctas[0].objects.races = Some(races);
    }
    let done = vec![false; warps.len()];
    Cluster { ctas, warps, done, barren: 0 }
}

fn special_registers(launch: &Launch<'_>, warp: &mut Warp, id: [u32; 3], cluster: [u64; 3], inside: [u64; 3]) {
    use Special::*;
    let config = launch.config;
    let set = launch.code.specials;
    let (shared, dynamic_start) = launch.shared_layout();
    let blocks = launch.cluster_blocks();
    let base = warp.arena.base();
    let index = warp.index;
    for s in Special::all().filter(|s| s.in_set(set)) {
        let value = |lane: u32| -> u64 {
            let k = s as usize;
            let t = || launch.thread_of(index, lane);
            let bit = 1u32.wrapping_shl(lane);
            let v = match s {
                TidX | TidY | TidZ => t()[k - TidX as usize],
                NtidX | NtidY | NtidZ => config.block[k - NtidX as usize],
                CtaidX | CtaidY | CtaidZ => id[k - CtaidX as usize],
                NctaidX | NctaidY | NctaidZ => config.grid[k - NctaidX as usize],
                LaneId => lane,
                WarpId => index,
                NWarpId => launch.threads().div_ceil(32),
                SmId => (id[0] + id[1] * config.grid[0]) % config.model.multiprocessors,
                NSmId => config.model.multiprocessors,
                LaneMaskEq => bit,
                LaneMaskLt => bit - 1,
                LaneMaskLe => bit | (bit - 1),
                LaneMaskGt => !(bit | (bit - 1)),
                LaneMaskGe => !(bit - 1),
                ClusterIdX | ClusterIdY | ClusterIdZ => cluster[k - ClusterIdX as usize] as u32,
                NClusterIdX | NClusterIdY | NClusterIdZ => {
                    let k = k - NClusterIdX as usize;
                    config.grid[k] / config.cluster[k]
                }
                ClusterCtaidX | ClusterCtaidY | ClusterCtaidZ => inside[k - ClusterCtaidX as usize] as u32,
                ClusterNctaidX | ClusterNctaidY | ClusterNctaidZ => config.cluster[k - ClusterNctaidX as usize],
                ClusterCtaRank => {
                    (inside[0] + u64::from(config.cluster[0]) * (inside[1] + u64::from(config.cluster[1]) * inside[2]))
                        as u32
                }
                ClusterNctaRank => blocks,
                TotalSmem | AggrSmem => shared,
                DynamicSmem => config.dynamic_shared,
                DynamicShared => dynamic_start,
                Zero | FramePointer => 0,
                GridId => return launch.number,
                IsExplicitCluster => return 0,
                Clock | ClockHi | Clock64 | GlobalTimer | GlobalTimerLo | GlobalTimerHi => 0,
            };
            u64::from(v)
        };
        let p = base.wrapping_add(s.offset() as usize);
        // SAFETY: the slot of a special register lies at the start of every arena and has its width.
        unsafe {
            match s.width() {
                super::lower::Width::W64 => (0..32).for_each(|l| p.cast::<u64>().add(l).write(value(l as u32))),
                super::lower::Width::P => {
                    p.cast::<u32>().write(if blocks > 1 { u32::MAX } else { 0 });
                }
                _ => (0..32).for_each(|l| p.cast::<u32>().add(l).write(value(l as u32) as u32)),
            }
        }
    }
}

/// Runs a cluster until it ends, polls or has had its turn.
pub fn run(launch: &Launch<'_>, cluster: &mut Cluster, worker: &mut Worker, stop: &AtomicBool) -> Outcome {
    let n = cluster.warps.len();
    let mut order: Vec<usize> = (0..n).collect();
    let mut any = false;
    let mut idle = 0;
    for _ in 0..ROUNDS {
        if stop.load(Ordering::Relaxed) {
            return Outcome::Stopped;
        }
        let generation = launch.memory.generation();
        if worker.generation != generation {
            worker.generation = generation;
            worker.ranges.fill(Default::default());
        }
        if launch.seed != 0 {
            for k in (1..n).rev() {
                let j = (worker.next_random() % (k as u64 + 1)) as usize;
                order.swap(k, j);
            }
        }
        let (mut progress, mut blocked, mut left) = (false, true, false);
        let (mut mbarriers, mut others) = (false, false);
        for w in &order {
            if cluster.done[*w] {
                continue;
            }
            left = true;
            let budget = if launch.seed == 0 { QUANTUM } else { 1 + (worker.next_random() % QUANTUM as u64) as i64 };
            let warp = &mut cluster.warps[*w];
            let mut cx = Cx::new(launch, &mut cluster.ctas, warp, worker, budget);
            let stopped = cx.run();
            progress |= cx.progress;
            mbarriers |= cx.awaits_mbarrier;
            others |= cx.awaits_other;
            match stopped {
                Stop::Fault => {
                    let fault = cx.fault.take().unwrap_or_else(|| {
                        Box::new(Fault::new(FaultKind::LaunchFailed, "an instruction failed without a reason"))
                    });
                    return Outcome::Fault(fault);
                }
                Stop::Done => {
                    cluster.done[*w] = true;
                    progress = true;
                    blocked = false;
                }
                Stop::Budget | Stop::Yield => blocked = false,
                Stop::Blocked => {}
            }
        }
        if !left {
            return match super::objects::at_exit(launch, cluster) {
                Some(fault) => Outcome::Fault(fault),
                None => {
                    cluster.ctas.iter_mut().for_each(|cta| launch.block_triggers(cta));
                    Outcome::Done
                }
            };
        }
        any |= progress;
        let moved = super::objects::advance(launch, cluster, worker, !progress);
        match moved {
            Ok(true) => {
                idle = 0;
                continue;
            }
            Ok(false) => {}
            Err(fault) => return Outcome::Fault(fault),
        }
        if blocked && !progress {
            return Outcome::Fault(Box::new(deadlock(launch, cluster)));
        }
        // Nobody outside of the cluster completes its mbarriers.
        cluster.barren = if mbarriers && !others && !progress { cluster.barren + 1 } else { 0 };
        if cluster.barren >= BARREN {
            return Outcome::Fault(Box::new(deadlock(launch, cluster)));
        }
        if progress {
            idle = 0;
        } else {
            idle += 1;
            if idle >= 4 {
                return Outcome::Parked { progress: any };
            }
        }
    }
    Outcome::Parked { progress: any }
}

fn waiting_table(launch: &Launch<'_>, cluster: &Cluster) -> String {
    let mut text = String::new();
    let mut lines = 0;
    for (k, warp) in cluster.warps.iter().enumerate() {
        if cluster.done[k] {
            continue;
        }
        let cta = &cluster.ctas[warp.cta];
        for f in &warp.fragments {
            lines += 1;
            if lines > 40 {
                continue;
            }
            let meta = &launch.code.meta[f.pc as usize];
            let what = match f.wait {
                Wait::No | Wait::Retry => "polls at".to_string(),
                Wait::Registers(need) => {
                    let free = cta.objects.registers.free;
                    format!("waits for {need} registers a thread more, of which the block has {free}, at")
                }
                Wait::Lanes(need) => format!("waits for lanes {need:#010x} at"),
                Wait::WarpBarrier(need) => format!("waits in bar.warp.sync for lanes {need:#010x} at"),
                Wait::Barrier { id, .. } => {
                    let b = &cta.barriers[id as usize];
                    format!("waits at barrier {id} ({} of {} threads arrived) at", b.arrived, b.expected)
                }
                Wait::ClusterBarrier(_) => "waits at the cluster barrier at".to_string(),
            };
            let _ = write!(
                text,
                "\n  block ({},{},{}) warp {} lanes {:#010x} {what} {}: {}",
                cta.id[0],
                cta.id[1],
                cta.id[2],
                warp.index,
                f.mask,
                super::report::source(launch.program, meta),
                launch.program.statement(meta.pos).split_whitespace().collect::<Vec<_>>().join(" ")
            );
        }
    }
    if lines > 40 {
        let _ = write!(text, "\n  … and {} more", lines - 40);
    }
    text
}

fn deadlock(launch: &Launch<'_>, cluster: &Cluster) -> Fault {
    let mut text = format!(
        "deadlock: no thread of the block or cluster can go on\n  kernel      {}{}",
        launch.entry.name,
        waiting_table(launch, cluster)
    );
    let mut check = "convergence";
    for cta in &cluster.ctas {
        let mut barriers: Vec<_> = cta.objects.mbarriers.iter().collect();
        barriers.sort_by_key(|(at, _)| **at);
        for (at, b) in barriers {
            let _ = write!(
                text,
                "\n  mbarrier at shared address {at:#x} of block {:?}: phase {}, {} of {} arrivals missing",
                cta.id, b.phase, b.pending, b.count
            );
            if b.bytes != 0 {
                let _ = write!(text, "; {}", b.mismatch());
                check = "asynchrony";
            }
        }
    }
    Fault::checked(FaultKind::Timeout, check, text)
}

/// Every resident block only polls.
pub fn livelock(launch: &Launch<'_>, cluster: &Cluster) -> Fault {
    let text = format!(
        "no progress: every resident thread waits or polls\n  kernel      {}{}",
        launch.entry.name,
        waiting_table(launch, cluster)
    );
    Fault::checked(FaultKind::Timeout, "convergence", text)
}
