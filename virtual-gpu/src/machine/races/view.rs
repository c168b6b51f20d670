//! What a check sees: the clocks of the accessing warp and the cells of the words accessed.

use super::RaceState;
use super::cells::{
    BLOCK_SHIFT, BLOCKS, Cells, LANE_SHIFT, LANES, LAUNCH_SHIFT, MASK, NON_COHERENT, SEVERAL, SIZE_SHIFT, SPLIT,
    STRONG, TIME_SHIFT, WARP_SHIFT, WARPS, field, lane_at, launch_of,
};
use super::sync::Order;
use crate::machine::launch::Launch;

/// In a write cell: by the asynchronous proxy.
pub(super) const ASYNC: u64 = LANES;

/// An access.
#[derive(Debug, Clone, Copy, Default)]
pub struct Access {
    /// Writes; otherwise reads.
    pub write: bool,
    /// Atomic or ordered; how.
    pub strong: Option<Order>,
    /// Through the non-coherent path.
    pub non_coherent: bool,
}

impl Access {
    /// A plain read.
    pub const READ: Access = Access { write: false, strong: None, non_coherent: false };
    /// A plain write.
    pub const WRITE: Access = Access { write: true, strong: None, non_coherent: false };

    /// A strong read, write or update.
    pub fn ordered(write: bool, order: Order) -> Access {
        Access { write, strong: Some(order), non_coherent: false }
    }

    pub(super) fn bits(self) -> u64 {
        u64::from(self.strong.is_some()) * STRONG + u64::from(self.non_coherent && !self.write) * NON_COHERENT
    }

    pub(super) fn verb(self) -> &'static str {
        match (self.strong, self.write) {
            (Some(Order { update: true, .. }), _) => "atomic update",
            (_, true) => "write",
            (_, false) => "read",
        }
    }
}

/// Why an access is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Conflict {
    /// Unordered with the access of a cell, a write or a read.
    Race { old: u64, wrote: bool },
    /// Read through the non-coherent path and written in one launch.
    NonCoherent,
}

/// What a check looks at.
pub(super) struct View<'s> {
    pub(super) state: &'s RaceState,
    pub(super) launch: &'s Launch<'s>,
    pub(super) me: usize,
    pub(super) block: usize,
    /// Global memory, not shared.
    pub(super) global: bool,
    /// Launch, block, time and warp of the access.
    pub(super) stamp: u64,
    /// The grids that this one depends on are over.
    pub(super) waited: bool,
}

impl View<'_> {
    /// Rank in the cluster of the block that a cell notes.
    fn rank(&self, old: u64) -> Option<usize> {
        let noted = field(old, BLOCK_SHIFT, 16);
        if !self.global {
            return Some(noted as usize).filter(|r| *r < self.state.blocks.len());
        }
        if noted == field(self.stamp, BLOCK_SHIFT, 16) {
            return Some(self.block);
        }
        self.state.blocks.iter().position(|b| u32::from(*b) == noted)
    }

    /// Whether the access of a cell happened before this one; `mask` and `lane` say which bytes this one takes.
    fn ordered(&self, old: u64, mask: u64, lane: u32) -> bool {
        if launch_of(old) != launch_of(self.stamp) {
            return !self.launch.concurrent(launch_of(old), self.waited);
        }
        let (warp, time) = (field(old, WARP_SHIFT, 5) as usize, field(old, TIME_SHIFT, 16));
        let s = self.state;
        let Some(rank) = self.rank(old) else {
            let block = field(old, BLOCK_SHIFT, 16) as u16;
            let foreign = s.clocks[self.me].now.foreign.as_ref();
            let entry = foreign.and_then(|f| f.get(&block));
            return entry.is_some_and(|e| e.seen.get(warp).is_some_and(|t| *t > time));
        };
        let other = rank * s.warps + warp;
        if other != self.me {
            return s.clocks[self.me].now.seen.get(other).is_none_or(|t| *t > time);
        }
        if time < s.synced[self.me] {
            return true;
        }
        let both = old & mask & MASK;
        (0..4).all(|b| both >> b & 1 == 0 || lane_at(old, b) == lane)
    }

    /// Whether readers besides the one that a cell notes may be unordered with a write.
    fn others(&self, old: u64) -> bool {
        if old & SEVERAL == 0 || launch_of(old) != launch_of(self.stamp) {
            return false;
        }
        let s = self.state;
        if old & BLOCKS != 0 && s.clocks[self.me].now.foreign.is_none() && s.blocks.len() == 1 {
            return true;
        }
        let (warp, time) = (field(old, WARP_SHIFT, 5) as usize, field(old, TIME_SHIFT, 16));
        // What this warp read last without synchronising since was read by others at the same time.
        let own = self.rank(old).is_some_and(|r| r * s.warps + warp == self.me) && time >= s.synced[self.me];
        own && old & (LANES | WARPS) != 0
    }

    /// Checks against one cell.
    pub(super) fn conflict(&self, old: u64, wrote: bool, mask: u64, lane: u32, access: Access) -> Option<Conflict> {
        if old & mask & MASK == 0 || launch_of(old) == 0 {
            return None;
        }
        let here = launch_of(old) == launch_of(self.stamp);
        let read_so = if wrote { access.non_coherent } else { old & NON_COHERENT != 0 };
        if here && read_so && self.global {
            return Some(Conflict::NonCoherent);
        }
        if old & STRONG != 0 && access.strong.is_some() {
            return None;
        }
        let race = !self.ordered(old, mask, lane) || (!wrote && self.others(old));
        race.then_some(Conflict::Race { old, wrote })
    }

    /// The cell of this access for bytes `mask` in parts of `1 << log` bytes.
    fn cell(&self, mask: u64, log: u32, lane: u32, access: Access) -> u64 {
        let first = mask.trailing_zeros() & 3;
        let base = lane.wrapping_sub(first >> log) & 31;
        self.stamp | mask | u64::from(log) << SIZE_SHIFT | u64::from(base) << LANE_SHIFT | access.bits()
    }

    /// The read cell behind a new read.
    fn reads(&self, old: u64, new: u64, lane: u32) -> u64 {
        if launch_of(old) != launch_of(new) {
            return new;
        }
        let sticky = old & NON_COHERENT;
        if self.ordered(old, new, lane) {
            let same = (old ^ new) >> LANE_SHIFT & 0x3ff == 0 && self.rank(old) == Some(self.block);
            let recent = same && field(old, TIME_SHIFT, 16) >= self.state.synced[self.me];
            return new | sticky | if recent { old & SEVERAL } else { old & BLOCKS };
        }
        // A plain read counts for more than a strong one.
        let kept = if new & STRONG != 0 && old & STRONG == 0 { old } else { new };
        let whose = if field(old, BLOCK_SHIFT, 16) != field(new, BLOCK_SHIFT, 16) {
            BLOCKS
        } else if field(old, WARP_SHIFT, 5) != field(new, WARP_SHIFT, 5) {
            WARPS
        } else {
            LANES
        };
        kept | sticky | old & SEVERAL | whose
    }

    /// Checks and records an access to bytes `mask` of one word.
    ///
    /// # Safety
    /// The cells are those of a word of live memory, with cells of their own for bytes if `log` is below 2.
    pub(super) unsafe fn word(&self, c: Cells, mask: u64, log: u32, lane: u32, access: Access) -> Option<Conflict> {
        // SAFETY: as the caller guarantees. Cells that two workers use at once may lose one access.
        unsafe {
            let (mut w, r) = (*c.writes, *c.reads);
            let launch = launch_of(self.stamp);
            let mut found = None;
            if w & SPLIT != 0 && !c.bytes.is_null() {
                found = self.split_conflict(c, mask, lane, access);
                if launch_of(w) == launch {
                    self.record_split(c, mask, log, lane, access);
                    return found;
                }
                // Of an earlier launch: the word starts anew.
                w = 0;
                *c.writes = 0;
            }
            found = found.or(self.conflict(w, true, mask, lane, access));
            if access.write && found.is_none() {
                found = self.conflict(r, false, mask, lane, access);
            }
            let new = self.cell(mask, log, lane, access);
            // Bytes that somebody else accessed in this launch, and that this access leaves alone.
            let rest = |old: u64| if launch_of(old) == launch { old & !mask & MASK } else { 0 };
            let same = |old: u64| (old ^ new) & !(MASK | SEVERAL | NON_COHERENT) == 0;
            let target = if access.write { w } else { r };
            if rest(target) != 0 && !same(target) {
                if c.bytes.is_null() {
                    return found;
                }
                self.split(c, w, r);
                self.record_bytes(c, mask, lane, access);
            } else if access.write {
                *c.writes = new | rest(w);
                *c.reads = if rest(r) != 0 { r & !(mask & MASK) } else { 0 };
            } else {
                *c.reads = self.reads(r, new, lane) | rest(r);
            }
            found
        }
    }

    /// Gives each byte of a word its own cells.
    unsafe fn split(&self, c: Cells, w: u64, r: u64) {
        let launch = launch_of(self.stamp);
        let one = |old: u64, b: u32| {
            if launch_of(old) != launch || old >> b & 1 == 0 {
                return 0;
            }
            let rest = old & !(MASK | 3 << SIZE_SHIFT | 31 << LANE_SHIFT);
            rest | MASK | 2 << SIZE_SHIFT | u64::from(lane_at(old, b)) << LANE_SHIFT
        };
        // SAFETY: as the caller guarantees.
        unsafe {
            for b in 0..4 {
                *c.bytes.add(2 * b) = one(w, b as u32);
                *c.bytes.add(2 * b + 1) = one(r, b as u32);
            }
            *c.writes = launch << LAUNCH_SHIFT | SPLIT | MASK;
            *c.reads = 0;
        }
    }

    /// Records an access in the cells of bytes.
    unsafe fn record_bytes(&self, c: Cells, mask: u64, lane: u32, access: Access) {
        let new = self.cell(MASK, 2, lane, access);
        for b in (0..4).filter(|b| mask >> b & 1 != 0) {
            // SAFETY: as the caller guarantees.
            unsafe {
                let r = c.bytes.add(2 * b + 1);
                if access.write {
                    *c.bytes.add(2 * b) = new;
                    *r = 0;
                } else {
                    *r = self.reads(*r, new, lane);
                }
            }
        }
    }

    /// Checks against the cells of bytes.
    unsafe fn split_conflict(&self, c: Cells, mask: u64, lane: u32, access: Access) -> Option<Conflict> {
        let mut found = None;
        for b in (0..4).filter(|b| mask >> b & 1 != 0) {
            // SAFETY: as the caller guarantees.
            let (w, r) = unsafe { (*c.bytes.add(2 * b), *c.bytes.add(2 * b + 1)) };
            found = found.or(self.conflict(w, true, MASK, lane, access));
            if access.write {
                found = found.or(self.conflict(r, false, MASK, lane, access));
            }
        }
        found
    }

    /// Records an access to a split word.
    unsafe fn record_split(&self, c: Cells, mask: u64, log: u32, lane: u32, access: Access) {
        // SAFETY: as the caller guarantees.
        unsafe {
            if access.write && mask & MASK == MASK {
                *c.writes = self.cell(MASK, log, lane, access);
                *c.reads = 0;
            } else {
                self.record_bytes(c, mask, lane, access);
            }
        }
    }

    /// Whether a fence covers a generic write that the asynchronous proxy is going to read.
    pub(super) fn covered(&self, old: u64, byte: u32) -> bool {
        if old & ASYNC != 0 || launch_of(old) != launch_of(self.stamp) {
            return true;
        }
        let (warp, time) = (field(old, WARP_SHIFT, 5) as usize, field(old, TIME_SHIFT, 16));
        let s = self.state;
        let mark = match self.rank(old) {
            Some(rank) => s.clocks[self.me].proxy.get(rank * s.warps + warp).copied(),
            None => {
                let block = field(old, BLOCK_SHIFT, 16) as u16;
                let foreign = s.clocks[self.me].now.foreign.as_ref();
                foreign.and_then(|f| f.get(&block)).and_then(|e| e.proxy.get(warp).copied())
            }
        };
        let Some(mark) = mark else { return false };
        let until = (mark >> 32) as u32;
        time < until || (time == until && mark >> lane_at(old, byte) & 1 != 0)
    }
}
