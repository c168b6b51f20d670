//! Races in shared and global memory, through both proxies.
//!
//! Every word has shadow cells with its last accesses (`cells`); every warp has a clock of what happened before
//! (`clocks`). An access races with an earlier one that its warp's clock does not know, unless both are strong (atomic,
//! volatile, relaxed, acquire, release). Lanes of a warp are unordered threads until the warp synchronises.
//! What orders is what the PTX memory model says: barriers of warps, blocks and clusters, mbarriers, releases with
//! acquires of what they wrote, and fences around relaxed accesses, each within its scope. Knowledge of blocks of
//! other clusters is kept only where blocks synchronise with each other.
//!
//! Approximations, all towards fewer reports: an acquire or a fence of one lane serves its whole warp; of several
//! unordered readers of a word one is kept exactly.

mod cells;
mod check;
mod clocks;
mod proxies;
mod sync;
mod view;

pub(super) use check::{global_warp, lane, shared_warp};
pub(super) use proxies::{asynchronous_read, asynchronous_write, tensor_map_acquired, tensor_map_read};
pub(super) use sync::{
    Order, barrier_arrive, barrier_complete, cluster_arrive, cluster_complete, cluster_leave, fence, mbarrier_acquire,
    mbarrier_release, proxy_fence, warp_barrier,
};
pub(super) use view::Access;

use super::launch::Launch;
use cells::{BLOCK_SHIFT, Cells, LAUNCH_SHIFT, TIME_SHIFT, TIMES, WARP_SHIFT};
pub(super) use cells::{LAUNCHES, launch_of};
use clocks::{Clock, Foreign};
use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex};

/// What a launch knows of the locations through which its blocks synchronise.
#[derive(Default)]
pub struct Published {
    /// Something was released.
    any: AtomicBool,
    /// What was released at each global address.
    locations: Mutex<HashMap<u64, Arc<Foreign>>>,
}

/// Shadow cells of a block's shared memory.
#[derive(Default)]
pub struct Shadow {
    writes: Vec<u64>,
    reads: Vec<u64>,
    /// Eight cells a word, once bytes are told apart.
    bytes: Vec<u64>,
    /// Number that the cells were last used with.
    generation: u64,
}

impl Shadow {
    /// Makes cells from other clusters look empty.
    fn renew(&mut self, words: usize) {
        self.generation += 1;
        if self.generation >= LAUNCHES || self.writes.len() < words {
            self.generation = 1;
            for cells in [&mut self.writes, &mut self.reads] {
                cells.clear();
                cells.resize(words, 0);
            }
            self.bytes.clear();
        }
    }

    /// Words that there are cells for.
    fn words(&self) -> usize {
        self.writes.len()
    }

    /// Cells of the word at an offset; `None` outside.
    fn cells(&mut self, at: u32, parts: bool) -> Option<Cells> {
        let word = at as usize / 4;
        if word >= self.writes.len() {
            return None;
        }
        if parts && self.bytes.is_empty() {
            self.bytes.resize(8 * self.writes.len(), 0);
        }
        let bytes = match self.bytes.is_empty() {
            true => std::ptr::null_mut(),
            false => self.bytes.as_mut_ptr().wrapping_add(8 * word),
        };
        Some(Cells {
            writes: self.writes.as_mut_ptr().wrapping_add(word),
            reads: self.reads.as_mut_ptr().wrapping_add(word),
            bytes,
        })
    }
}

/// Warps that wait at a barrier, and what those that arrived know.
#[derive(Default)]
struct Gathering {
    joined: Option<Clock>,
    waiting: u32,
}

/// Race state of a cluster; that of rank 0 serves.
pub struct RaceState {
    /// Warps of a block.
    warps: usize,
    /// Block number modulo 65,536, by rank.
    blocks: Vec<u16>,
    /// By warp of the cluster.
    clocks: Vec<Clock>,
    /// By warp: its time, which moves on with every release.
    times: Vec<u32>,
    /// By warp: when its lanes last synchronised.
    synced: Vec<u32>,
    /// By warp: what relaxed reads saw, until a fence acquires it.
    pending: Vec<Option<Box<Clock>>>,
    /// By warp: the location it acquired last, as that was.
    acquired: Vec<Option<(u64, Arc<Foreign>)>>,
    /// Barriers of the blocks.
    barriers: Vec<Gathering>,
    /// The cluster barrier's phase under way, and the last one.
    cluster: [Clock; 2],
    /// What was released at places of the cluster.
    locations: HashMap<u64, Clock>,
    /// By block.
    shadows: Vec<Shadow>,
    /// Tensor maps acquired from the generic proxy, with a digest of their cells.
    tensor_maps: HashMap<u64, u64>,
}

/// Stamps of a warp's accesses, without lanes; 0 while it is not followed.
#[derive(Debug, Clone, Copy, Default)]
pub struct Stamps {
    global: u64,
    shared: u64,
}

/// Whether accesses are followed at all.
pub(super) fn follows(launch: &Launch<'_>) -> bool {
    launch.checks.races || (launch.checks.asynchrony && launch.code.proxies)
}

impl RaceState {
    /// State of a cluster that starts, with the shadows of one that ended.
    pub fn start(launch: &Launch<'_>, ids: &[[u32; 3]], words: usize, spare: &mut Vec<Shadow>) -> Box<RaceState> {
        let warps = launch.threads().div_ceil(32) as usize;
        let all = warps * ids.len();
        let [gx, gy, _] = launch.config.grid.map(u64::from);
        let number = |id: &[u32; 3]| {
            let [x, y, z] = id.map(u64::from);
            (x + gx * (y + gy * z)) as u16
        };
        let shadow = |_| {
            let mut shadow = spare.pop().unwrap_or_default();
            shadow.renew(words);
            shadow
        };
        Box::new(RaceState {
            warps,
            blocks: ids.iter().map(number).collect(),
            clocks: vec![Clock::new(all); all],
            times: vec![0; all],
            synced: vec![0; all],
            pending: (0..all).map(|_| None).collect(),
            acquired: vec![None; all],
            barriers: (0..16 * ids.len()).map(|_| Gathering::default()).collect(),
            cluster: [Clock::new(all), Clock::new(all)],
            locations: HashMap::new(),
            shadows: ids.iter().map(shadow).collect(),
            tensor_maps: HashMap::new(),
        })
    }

    /// Gives the shadows back.
    pub fn into_shadows(self) -> Vec<Shadow> {
        self.shadows
    }

    /// The stamps of a warp now.
    pub fn stamps(&self, launch: &Launch<'_>, block: usize, warp: usize) -> Stamps {
        let time = self.times[block * self.warps + warp];
        if time >= TIMES {
            return Stamps::default();
        }
        let common = u64::from(time) << TIME_SHIFT | (warp as u64) << WARP_SHIFT;
        Stamps {
            global: launch.race_number << LAUNCH_SHIFT | u64::from(self.blocks[block]) << BLOCK_SHIFT | common,
            shared: self.shadows[block].generation << LAUNCH_SHIFT | (block as u64) << BLOCK_SHIFT | common,
        }
    }
}
