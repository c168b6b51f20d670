//! Checks of single accesses against the shadow.

use super::cells::{
    self, BLOCK_SHIFT, BLOCKS, Cells, LANE_SHIFT, LANES, LAUNCH_SHIFT, MASK, NON_COHERENT, SEVERAL, SIZE_SHIFT, SPLIT,
    STRONG, TIME_SHIFT, WARP_SHIFT, WARPS, field, lane_at, launch_of,
};
use super::sync::{Order, strong};
use super::{RaceState, follows};
use crate::machine::exec::Cx;
use crate::machine::fault::FaultKind;
use crate::machine::launch::Launch;
use crate::machine::ops::address::PlaceKind;
use std::sync::PoisonError;

/// In a write cell: by the asynchronous proxy.
const ASYNC: u64 = LANES;

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

    fn bits(self) -> u64 {
        u64::from(self.strong.is_some()) * STRONG + u64::from(self.non_coherent && !self.write) * NON_COHERENT
    }

    fn verb(self) -> &'static str {
        match (self.strong, self.write) {
            (Some(Order { update: true, .. }), _) => "atomic update",
            (_, true) => "write",
            (_, false) => "read",
        }
    }
}

/// Why an access is wrong.
#[derive(Debug, Clone, Copy)]
enum Conflict {
    /// Unordered with the access of a cell, a write or a read.
    Race { old: u64, wrote: bool },
    /// Read through the non-coherent path and written in one launch.
    NonCoherent,
}

/// What a check looks at.
struct View<'s> {
    state: &'s RaceState,
    launch: &'s Launch<'s>,
    me: usize,
    block: usize,
    /// Global memory, not shared.
    global: bool,
    /// Launch, block, time and warp of the access.
    stamp: u64,
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
            return !self.launch.concurrent(launch_of(old));
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
    fn conflict(&self, old: u64, wrote: bool, mask: u64, lane: u32, access: Access) -> Option<Conflict> {
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
    unsafe fn word(&self, c: Cells, mask: u64, log: u32, lane: u32, access: Access) -> Option<Conflict> {
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
    fn covered(&self, old: u64, byte: u32) -> bool {
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

/// A view for the running warp, and cells of the word at a place. The view borrows the state through a raw pointer: the cells of
/// shared memory belong to it too.
fn with<R>(cx: &mut Cx<'_>, place: PlaceKind, parts: bool, f: impl FnOnce(&View<'_>, Cells) -> R) -> Option<R> {
    let (launch, block) = (cx.launch, cx.warp.cta);
    let warp = cx.warp.index as usize;
    let stamps = cx.warp.stamps;
    let s = cx.ctas[0].objects.races.as_deref_mut()?;
    let (cells, global) = match place {
        PlaceKind::Global(at) if launch.memory.reserved(at) => (global_cells(launch, at), true),
        PlaceKind::Shared(owner, at) => (s.shadows.get_mut(owner)?.cells(at, parts)?, false),
        _ => return None,
    };
    // A block's shadow has a generation of its own.
    let stamp = match place {
        PlaceKind::Shared(owner, _) if stamps.shared != 0 => {
            stamps.shared & ((1 << LAUNCH_SHIFT) - 1) | s.shadows[owner].generation << LAUNCH_SHIFT
        }
        PlaceKind::Shared(..) => 0,
        _ => stamps.global,
    };
    if stamp == 0 {
        return None;
    }
    let view = View { state: s, launch, me: block * s.warps + warp, block, global, stamp };
    Some(f(&view, cells))
}

#[inline(always)]
fn global_cells(launch: &Launch<'_>, at: u64) -> Cells {
    let [writes, reads, bytes] = launch.memory.cells(at);
    Cells { writes, reads, bytes }
}

/// Bytes of the first word of an access, and how many words it takes.
fn extent(at: u64, bytes: u32) -> (u64, usize) {
    let inside = (at % 4) as u32;
    if bytes >= 4 { (MASK, (inside + bytes).div_ceil(4) as usize) } else { (((1 << bytes) - 1) << inside & MASK, 1) }
}

fn address_in(place: PlaceKind) -> u64 {
    match place {
        PlaceKind::Global(at) => at,
        PlaceKind::Shared(_, at) => u64::from(at),
        _ => 0,
    }
}

fn report(
    cx: &mut Cx<'_>,
    lane: usize,
    access: Access,
    place: PlaceKind,
    conflict: Conflict,
    same: bool,
) -> Result<(), ()> {
    if !cx.launch.checks.races {
        return Ok(());
    }
    let launch = cx.launch;
    let at = address_in(place);
    let what = access.verb();
    let about = match place {
        PlaceKind::Global(at) => format!("\n  address     {at:#x}, {}", launch.memory.describe(at)),
        _ => String::new(),
    };
    let (old, wrote) = match conflict {
        Conflict::NonCoherent => {
            let text = format!(
                "the {what} at {at:#x}: the byte is read through the non-coherent path (.nc) and written in the same \
                 launch{about}"
            );
            cx.fail(FaultKind::LaunchFailed, Some("races"), Some(lane), &text);
            return Err(());
        }
        Conflict::Race { old, wrote } => (old, wrote),
    };
    let plain_writes = wrote && access.write && access.strong.is_none() && old & STRONG == 0;
    if same && plain_writes {
        let mut notes = launch.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.iter().any(|n| n.starts_with("several threads store")) {
            notes.push("several threads store the same value to one address without order".into());
        }
        return Ok(());
    }
    let kind = match (old & STRONG != 0, wrote) {
        (true, true) => "n atomic update or ordered write",
        (_, true) => " write",
        (_, false) => " read",
    };
    let text = if matches!(place, PlaceKind::Global(_)) && launch_of(old) != launch_of(cx.warp.stamps.global) {
        format!(
            "race between streams: this {what} at {at:#x} is not ordered with a{kind} of the same word by {}{about}",
            launch.other_launch(launch_of(old))
        )
    } else {
        let (warp, lane) = (field(old, WARP_SHIFT, 5), lane_at(old, (at % 4) as u32));
        let [x, y, z] = launch.thread_of(warp, lane);
        let own = match place {
            PlaceKind::Shared(..) => field(cx.warp.stamps.shared, BLOCK_SHIFT, 16),
            _ => field(cx.warp.stamps.global, BLOCK_SHIFT, 16),
        };
        let whose = if old & SEVERAL != 0 && !wrote {
            "several threads".into()
        } else if field(old, BLOCK_SHIFT, 16) == own {
            format!("thread ({x},{y},{z}) of the same block")
        } else {
            "a thread of another block".into()
        };
        format!("race: this {what} at {at:#x} is not ordered with a{kind} of the same word by {whose}{about}")
    };
    cx.fail(FaultKind::LaunchFailed, Some("races"), Some(lane), &text);
    Err(())
}

/// Checks and records an access of one lane; `same`: the value that is written is there already.
pub fn lane_write(
    cx: &mut Cx<'_>,
    place: PlaceKind,
    bytes: u32,
    lane: usize,
    access: Access,
    same: impl FnOnce() -> bool,
) -> Result<(), ()> {
    if let PlaceKind::Global(at) = place
        && cx.launch.place.concurrent
        && cx.launch.checks.races
        && let Some(whom) = cx.launch.place.copy_at(at, u64::from(bytes), access.write)
    {
        let text = format!(
            "race between streams: this {} at {at:#x} is not ordered with {whom}\n  address     {at:#x}, {}",
            access.verb(),
            cx.launch.memory.describe(at)
        );
        cx.fail(FaultKind::LaunchFailed, Some("races"), Some(lane), &text);
        return Err(());
    }
    let (mask, words) = extent(address_in(place), bytes);
    let log = bytes.min(4).trailing_zeros();
    let found = with(cx, place, log < 2, |view, cells| {
        let mut found = None;
        for k in 0..words {
            // SAFETY: the caller resolved the place for its bytes.
            found = found.or(unsafe { view.word(cells.at(k), mask, log, lane as u32, access) });
        }
        found
    });
    match found.flatten() {
        None => Ok(()),
        Some(conflict) => {
            let same = access.write && same();
            report(cx, lane, access, place, conflict, same)
        }
    }
}

/// As `lane_write`, with what a strong access orders.
pub fn lane(cx: &mut Cx<'_>, place: PlaceKind, bytes: u32, lane: usize, access: Access, same: bool) -> Result<(), ()> {
    if cx.ctas[0].objects.races.is_none() {
        return Ok(());
    }
    lane_write(cx, place, bytes, lane, access, || same)?;
    if let Some(order) = access.strong {
        strong(cx, place, !access.write || order.update, access.write, order);
    }
    Ok(())
}

/// A warp reads or writes contiguous global memory, or in any other way reads it. `same` says whether a lane's value is
/// there already.
#[inline(always)]
pub fn global_warp(
    cx: &mut Cx<'_>,
    addr: &[u64; 32],
    mask: u32,
    bytes: u32,
    access: Access,
    contiguous: bool,
    same: impl Fn(usize) -> bool,
) -> Result<(), ()> {
    let stamp = cx.warp.stamps.global | access.bits();
    let first = addr[0];
    if stamp >> LAUNCH_SHIFT == 0 {
        return Ok(());
    }
    if contiguous && first % 4 == 0 && cx.launch.memory.reserved(first) && !cx.launch.has_concurrent() {
        let cells = global_cells(cx.launch, first);
        let log = bytes.trailing_zeros();
        // SAFETY: the caller found the range in a live allocation, so that each word has cells.
        let done = unsafe {
            if access.write {
                cells::write_contiguous(cells, stamp, log)
            } else {
                cells::read_contiguous(cells, stamp, log)
            }
        };
        if done {
            return Ok(());
        }
    }
    each_lane(cx, addr, mask, bytes, access, |at| PlaceKind::Global(at), same)
}

/// As `global_warp`, of the block's shared memory.
#[inline(always)]
pub fn shared_warp(
    cx: &mut Cx<'_>,
    addr: &[u64; 32],
    mask: u32,
    bytes: u32,
    access: Access,
    contiguous: bool,
    same: impl Fn(usize) -> bool,
) -> Result<(), ()> {
    let stamp = cx.warp.stamps.shared | access.bits();
    let own = cx.warp.cta;
    if stamp >> LAUNCH_SHIFT == 0 {
        return Ok(());
    }
    if contiguous
        && addr[0] % 4 == 0
        && let Some(s) = cx.ctas[0].objects.races.as_deref_mut()
        && let Some(cells) = s.shadows[own].cells(addr[0] as u32, false)
    {
        let log = bytes.trailing_zeros();
        // SAFETY: the caller checked the range against the block's shared memory, all words of which have cells.
        let done = unsafe {
            if access.write {
                cells::write_contiguous(cells, stamp, log)
            } else {
                cells::read_contiguous(cells, stamp, log)
            }
        };
        if done {
            return Ok(());
        }
    }
    each_lane(cx, addr, mask, bytes, access, |at| PlaceKind::Shared(own, at as u32), same)
}

fn each_lane(
    cx: &mut Cx<'_>,
    addr: &[u64; 32],
    mask: u32,
    bytes: u32,
    access: Access,
    place: impl Fn(u64) -> PlaceKind,
    same: impl Fn(usize) -> bool,
) -> Result<(), ()> {
    for l in (0..32).filter(|l| mask >> l & 1 != 0) {
        lane_write(cx, place(addr[l]), bytes, l, access, || same(l))?;
    }
    Ok(())
}

/// The asynchronous proxy reads bytes on behalf of a lane: generic writes of them must be ordered before it, and fenced.
pub fn asynchronous_read(cx: &mut Cx<'_>, lane: usize, place: PlaceKind, bytes: u32, what: &str) -> Result<(), ()> {
    if !follows(cx.launch) {
        return Ok(());
    }
    let first = address_in(place);
    let words = ((first % 4) as u32 + bytes).div_ceil(4) as usize;
    let found = with(cx, place, false, |view, cells| {
        for k in 0..words {
            // SAFETY: the caller resolved the place for its bytes.
            let c = unsafe { cells.at(k) };
            // SAFETY: as above.
            let w = unsafe { *c.writes };
            if launch_of(w) == 0 {
                continue;
            }
            let at = first / 4 * 4 + 4 * k as u64;
            if w & SPLIT != 0 && !c.bytes.is_null() {
                for b in 0..4 {
                    // SAFETY: a split word has cells for its bytes.
                    let old = unsafe { *c.bytes.add(2 * b) };
                    if let Some(found) = stale(view, old, at + b as u64, lane) {
                        return Some(found);
                    }
                }
            } else if let Some(found) = stale(view, w, at, lane) {
                return Some(found);
            }
        }
        None
    });
    let Some((conflict, at)) = found.flatten() else { return Ok(()) };
    let place = match place {
        PlaceKind::Global(_) => PlaceKind::Global(at),
        PlaceKind::Shared(b, _) => PlaceKind::Shared(b, at as u32),
        other => other,
    };
    if let Some(conflict) = conflict {
        return report(cx, lane, Access::READ, place, conflict, false);
    }
    if !cx.launch.checks.asynchrony {
        return Ok(());
    }
    let text = format!(
        "missing fence.proxy.async: {what} reads {at:#x} through the asynchronous proxy, which was written through the \
         generic proxy without a fence since"
    );
    cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(lane), &text);
    Err(())
}

/// What is wrong with a write that is read through the asynchronous proxy: a race, or else a missing fence.
fn stale(view: &View<'_>, old: u64, at: u64, lane: usize) -> Option<(Option<Conflict>, u64)> {
    if launch_of(old) == 0 {
        return None;
    }
    if let Some(conflict) = view.conflict(old, true, MASK, lane as u32, Access::READ) {
        return Some((Some(conflict), at));
    }
    (0..4).any(|b| old >> b & 1 != 0 && !view.covered(old, b)).then_some((None, at))
}

/// The asynchronous proxy writes bytes on behalf of a lane. Writes to shared memory complete at an mbarrier and then leave
/// no trace; those to global memory are the lane's.
pub fn asynchronous_write(cx: &mut Cx<'_>, lane: usize, place: PlaceKind, bytes: u32, updates: bool) -> Result<(), ()> {
    if !follows(cx.launch) {
        return Ok(());
    }
    let first = address_in(place);
    let words = ((first % 4) as u32 + bytes).div_ceil(4) as usize;
    let order = Order { update: true, ..Order::default() };
    let access = if updates { Access::ordered(true, order) } else { Access::WRITE };
    let found = with(cx, place, false, |view, cells| {
        let mut found = None;
        for k in 0..words {
            // SAFETY: the caller resolved the place for its bytes.
            let c = unsafe { cells.at(k) };
            // SAFETY: as above.
            unsafe {
                found = found.or(view.word(c, MASK, 2, lane as u32, access).map(|f| (f, 4 * k as u64)));
                *c.writes = if view.global { *c.writes | ASYNC } else { 0 };
                *c.reads = 0;
            }
        }
        found
    });
    let Some((conflict, offset)) = found.flatten() else { return Ok(()) };
    let place = match place {
        PlaceKind::Global(at) => PlaceKind::Global(at + offset),
        PlaceKind::Shared(b, at) => PlaceKind::Shared(b, at + offset as u32),
        other => other,
    };
    report(cx, lane, access, place, conflict, false)
}

/// A digest of the write cells of a tensor map, where it was written in this launch.
fn map_digest(cx: &mut Cx<'_>, at: u64) -> Option<u64> {
    with(cx, PlaceKind::Global(at), false, |view, cells| {
        let mut digest = 0u64;
        let mut written = false;
        for k in 0..32 {
            // SAFETY: a tensor map has 128 bytes, which the caller resolved.
            let w = unsafe { *cells.at(k).writes };
            if launch_of(w) == launch_of(view.stamp) {
                written = true;
                digest = digest.rotate_left(7) ^ w.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            }
        }
        written.then_some(digest)
    })
    .flatten()
}

/// `fence.proxy.tensormap` acquires a map.
pub fn tensor_map_acquired(cx: &mut Cx<'_>, at: u64) {
    let Some(digest) = map_digest(cx, at) else { return };
    if let Some(s) = cx.ctas[0].objects.races.as_deref_mut() {
        s.tensor_maps.insert(at, digest);
    }
}

/// A map in global memory is used: what was written to it in this launch must have been acquired.
pub fn tensor_map_read(cx: &mut Cx<'_>, lane: usize, at: u64) -> Result<(), ()> {
    if !follows(cx.launch) || !cx.launch.checks.asynchrony {
        return Ok(());
    }
    let Some(digest) = map_digest(cx, at) else { return Ok(()) };
    let known = cx.ctas[0].objects.races.as_deref().and_then(|s| s.tensor_maps.get(&at)) == Some(&digest);
    if known {
        return Ok(());
    }
    let text = format!(
        "missing fence.proxy.tensormap: the tensor map at {at:#x} was written in this launch and not acquired by \
         fence.proxy.tensormap::generic.acquire since"
    );
    cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(lane), &text);
    Err(())
}
