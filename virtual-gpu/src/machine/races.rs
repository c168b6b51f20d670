//! Races in shared and global memory.
//!
//! Each 4-byte word has a cell with its last access: thread, the warp's clock, the warp's sync phase, and whether it was a
//! read, a write or an atomic. Warps of a block carry vector clocks that barriers, mbarriers, and atomics and strong
//! accesses of one location join; lanes of one warp are ordered by `bar.warp.sync` and by barriers alone. Blocks are
//! unordered until one of them synchronises through memory. Strong accesses and atomics do not race with each other, and
//! a store of the value that is there already is not reported. Words accessed in parts are left out.

use super::exec::Cx;
use super::fault::FaultKind;
use super::ops::address::PlaceKind;
use super::ops::mem::STRONG;
use std::collections::HashMap;
use std::sync::atomic::Ordering;

type Clock = Vec<u32>;

/// Race state of a block.
#[derive(Default)]
pub struct RaceState {
    /// What each warp knows of each warp.
    clocks: Vec<Clock>,
    /// `bar.warp.sync` and barriers that each warp has gone through.
    phases: Vec<u32>,
    /// Joined clocks of barriers: of the phase under way and of the last one; the cluster barrier is number 16.
    barriers: Vec<[Clock; 2]>,
    /// Clocks released at locations.
    locations: HashMap<u64, Clock>,
    /// Cells of shared memory.
    cells: Vec<u64>,
    /// The block synchronised with others through memory.
    acquired: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Read = 1,
    Write = 2,
    Atomic = 3,
}

/// Bits of a global cell: launch 14, block 16, thread 10, clock 12, phase 10, kind 2.
const CLOCK_LIMIT: u32 = 1 << 12;
const PHASE_LIMIT: u32 = 1 << 10;

fn join(a: &mut Clock, b: &Clock) {
    for (x, y) in a.iter_mut().zip(b) {
        *x = (*x).max(*y);
    }
}

fn on(cx: &Cx<'_>) -> bool {
    cx.launch.checks.races
}

fn state<'s>(cx: &'s mut Cx<'_>) -> &'s mut RaceState {
    let warps = cx.launch.threads().div_ceil(32) as usize;
    let cta = &mut cx.ctas[cx.warp.cta];
    let words = cta.shared_len.div_ceil(4) as usize + 1;
    let s = &mut cta.objects.races;
    if s.clocks.is_empty() {
        s.clocks = (0..warps).map(|w| (0..warps).map(|v| u32::from(v == w)).collect()).collect();
        s.phases = vec![0; warps];
        s.barriers = (0..17).map(|_| [vec![0; warps], vec![0; warps]]).collect();
        s.cells = vec![0; words];
    }
    s
}

fn arrive(cx: &mut Cx<'_>, id: usize) {
    if !on(cx) {
        return;
    }
    let w = cx.warp.index as usize;
    let s = state(cx);
    let mine = s.clocks[w].clone();
    join(&mut s.barriers[id][0], &mine);
    s.clocks[w][w] += 1;
    s.phases[w] += 1;
}

fn complete(cx: &mut Cx<'_>, id: usize) {
    if !on(cx) {
        return;
    }
    let s = state(cx);
    let n = s.phases.len();
    s.barriers[id][1] = std::mem::replace(&mut s.barriers[id][0], vec![0; n]);
}

fn leave(cx: &mut Cx<'_>, id: usize) {
    if !on(cx) {
        return;
    }
    let w = cx.warp.index as usize;
    let s = state(cx);
    let last = s.barriers[id][1].clone();
    join_behind(&mut s.clocks[w], &last, w);
}

/// Joins what others did up to their arrival: their clocks then are below what they have now.
fn join_behind(mine: &mut Clock, other: &Clock, me: usize) {
    for (k, (x, y)) in mine.iter_mut().zip(other).enumerate() {
        if k != me {
            *x = (*x).max(*y + 1);
        }
    }
}

/// `bar.warp.sync` orders the lanes it names.
pub(super) fn warp_barrier(cx: &mut Cx<'_>, _lanes: u32) {
    if on(cx) {
        let w = cx.warp.index as usize;
        state(cx).phases[w] += 1;
    }
}

/// Lanes arrive at a barrier.
pub(super) fn barrier_arrive(cx: &mut Cx<'_>, id: u32, _mask: u32) {
    arrive(cx, id as usize);
}

/// A barrier's phase ends.
pub(super) fn barrier_complete(cx: &mut Cx<'_>, id: u32) {
    complete(cx, id as usize);
}

/// Lanes leave a barrier.
pub(super) fn barrier_leave(cx: &mut Cx<'_>, id: u32, _mask: u32) {
    leave(cx, id as usize);
}

/// Lanes arrive at the cluster barrier.
pub(super) fn cluster_arrive(cx: &mut Cx<'_>, _mask: u32) {
    if on(cx) {
        arrive(cx, 16);
        state(cx).acquired = true;
    }
}

/// The cluster barrier's phase ends.
pub(super) fn cluster_complete(cx: &mut Cx<'_>) {
    if !on(cx) {
        return;
    }
    for cta in cx.ctas.iter_mut() {
        let s = &mut cta.objects.races;
        let n = s.phases.len();
        if let Some(b) = s.barriers.get_mut(16) {
            b[1] = std::mem::replace(&mut b[0], vec![0; n]);
        }
    }
}

/// Lanes leave the cluster barrier.
pub(super) fn cluster_leave(cx: &mut Cx<'_>, _mask: u32) {
    leave(cx, 16);
}

/// Releases the warp's clock at a location.
fn release_at(cx: &mut Cx<'_>, key: u64) {
    let w = cx.warp.index as usize;
    let s = state(cx);
    let mine = s.clocks[w].clone();
    match s.locations.get_mut(&key) {
        Some(clock) => join(clock, &mine),
        None => {
            s.locations.insert(key, mine);
        }
    }
    s.clocks[w][w] += 1;
}

/// Joins the clock released at a location.
fn acquire_at(cx: &mut Cx<'_>, key: u64) {
    let w = cx.warp.index as usize;
    let s = state(cx);
    if let Some(clock) = s.locations.get(&key).cloned() {
        // An entry of zero means that nothing of that warp was released here.
        for (k, (x, y)) in s.clocks[w].iter_mut().zip(&clock).enumerate() {
            if k != w && *y > 0 {
                *x = (*x).max(*y + 1);
            }
        }
    }
    s.acquired = true;
}

/// An arrival at an mbarrier releases.
pub(super) fn release(cx: &mut Cx<'_>, block: usize, at: u32, _lane: usize) {
    if on(cx) && block == cx.warp.cta {
        release_at(cx, u64::from(at));
    }
}

/// A successful wait at an mbarrier acquires.
pub(super) fn acquire(cx: &mut Cx<'_>, block: usize, at: u32, _lane: usize) {
    if on(cx) && block == cx.warp.cta {
        acquire_at(cx, u64::from(at));
        let w = cx.warp.index as usize;
        state(cx).phases[w] += 1;
    }
}

/// A fence: what comes behind it may rely on what was read before.
pub(super) fn fence(cx: &mut Cx<'_>, _mask: u32, _flags: u32) {
    if on(cx) {
        let w = cx.warp.index as usize;
        state(cx).phases[w] += 1;
    }
}

fn report(cx: &mut Cx<'_>, lane: usize, what: &str, address: u64, other: (u32, &str, bool)) -> Result<(), ()> {
    let (thread, kind, foreign) = other;
    let [x, y, z] = cx.launch.thread_of(thread / 32, thread % 32);
    let whose =
        if foreign { "a thread of another block".into() } else { format!("thread ({x},{y},{z}) of the same block") };
    let text = format!(
        "race: this {what} at {address:#x} is not ordered with a{} {kind} of the same word by {whose}",
        if kind == "atomic update" { "n" } else { "" }
    );
    cx.fail(FaultKind::LaunchFailed, Some("races"), Some(lane), &text);
    Err(())
}

fn kind_name(k: u64) -> &'static str {
    match k {
        1 => "read",
        2 => "write",
        _ => "atomic update",
    }
}

fn conflict(old: u64, new: Kind) -> bool {
    // Two reads agree, and two strong operations do not race.
    !(old == 0 || (old == 1 && new == Kind::Read) || (old == 3 && new == Kind::Atomic))
}

/// Records and checks an access of one lane to shared words.
fn shared_access(cx: &mut Cx<'_>, at: u32, bytes: u32, lane: usize, kind: Kind, same: bool) -> Result<(), ()> {
    if bytes < 4 {
        return Ok(());
    }
    let w = cx.warp.index as usize;
    let me = (w * 32 + lane) as u64;
    for word in at / 4..(at + bytes) / 4 {
        let s = state(cx);
        let (clock, phase) = (s.clocks[w][w], s.phases[w]);
        let old = s.cells[word as usize];
        let new = u64::from(clock & 0xff_ffff) << 40 | u64::from(phase & 0xff_ffff) << 16 | me << 2 | kind as u64;
        let (old_kind, thread) = (old & 3, (old >> 2 & 0x3ff) as u32);
        let (old_phase, old_clock) = ((old >> 16 & 0xff_ffff) as u32, (old >> 40) as u32);
        if conflict(old_kind, kind) && u64::from(thread) != me {
            let v = (thread / 32) as usize;
            let ordered = if v == w { old_phase != phase & 0xff_ffff } else { s.clocks[w][v] > old_clock };
            let harmless = same && old_kind == 2;
            if !ordered && !harmless {
                let what = kind_name(kind as u64);
                return report(cx, lane, what, u64::from(4 * word), (thread, kind_name(old_kind), false));
            }
        }
        s.cells[word as usize] = new;
    }
    Ok(())
}

/// Records and checks an access of one lane to global words.
fn global_access(cx: &mut Cx<'_>, at: u64, bytes: u32, lane: usize, kind: Kind, same: bool) -> Result<(), ()> {
    if bytes < 4 || !cx.launch.memory.reserved(at) {
        return Ok(());
    }
    let w = cx.warp.index as usize;
    let me = (w * 32 + lane) as u64;
    let grid = cx.launch.config.grid;
    let id = cx.cta().id;
    let block =
        (u64::from(id[0]) + u64::from(grid[0]) * (u64::from(id[1]) + u64::from(grid[1]) * u64::from(id[2]))) & 0xffff;
    let launch = cx.launch.number & 0x3fff;
    let s = state(cx);
    let (clock, phase, acquired) = (s.clocks[w][w], s.phases[w], s.acquired);
    if clock >= CLOCK_LIMIT || phase >= PHASE_LIMIT {
        return Ok(());
    }
    let new = launch << 50 | block << 34 | me << 24 | u64::from(clock) << 12 | u64::from(phase) << 2 | kind as u64;
    for word in 0..u64::from(bytes / 4) {
        let old = cx.launch.memory.cell(at + 4 * word).swap(new, Ordering::Relaxed);
        if old >> 50 != launch || !conflict(old & 3, kind) {
            continue;
        }
        let (thread, old_clock) = ((old >> 24 & 0x3ff) as u32, (old >> 12 & 0xfff) as u32);
        let foreign = old >> 34 & 0xffff != block;
        let ordered = if foreign {
            acquired
        } else if u64::from(thread) == me {
            true
        } else {
            let v = (thread / 32) as usize;
            let s = state(cx);
            if v == w {
                old >> 2 & 0x3ff != u64::from(phase)
            } else {
                s.clocks[w].get(v).is_none_or(|c| *c > old_clock)
            }
        };
        let harmless = same && old & 3 == 2;
        if !ordered && !harmless {
            let what = kind_name(kind as u64);
            return report(cx, lane, what, at + 4 * word, (thread, kind_name(old & 3), foreign));
        }
    }
    Ok(())
}

/// A warp reads global memory.
#[inline(always)]
pub(super) fn global_read(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, bytes: u32) -> Result<(), ()> {
    for l in (0..32).filter(|l| mask >> l & 1 != 0) {
        global_access(cx, addr[l], bytes, l, Kind::Read, false)?;
    }
    Ok(())
}

/// A warp reads its block's shared memory.
#[inline(always)]
pub(super) fn shared_read(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, bytes: u32) -> Result<(), ()> {
    for l in (0..32).filter(|l| mask >> l & 1 != 0) {
        shared_access(cx, addr[l] as u32, bytes, l, Kind::Read, false)?;
    }
    Ok(())
}

/// A lane writes its block's shared memory; `same`: the value is there already.
#[inline(always)]
pub(super) fn shared_write(cx: &mut Cx<'_>, at: u32, bytes: u32, lane: usize, same: bool) -> Result<(), ()> {
    shared_access(cx, at, bytes, lane, Kind::Write, same)
}

/// A lane writes global memory; `same`: the value is there already.
#[inline(always)]
pub(super) fn global_lane_write(cx: &mut Cx<'_>, at: u64, bytes: u32, lane: usize, same: bool) -> Result<(), ()> {
    global_access(cx, at, bytes, lane, Kind::Write, same)
}

fn lane_access(cx: &mut Cx<'_>, place: PlaceKind, bytes: u32, lane: usize, kind: Kind, same: bool) -> Result<(), ()> {
    if !on(cx) {
        return Ok(());
    }
    match place {
        PlaceKind::Global(at) => global_access(cx, at, bytes, lane, kind, same),
        PlaceKind::Shared(block, at) if block == cx.warp.cta => shared_access(cx, at, bytes, lane, kind, same),
        _ => Ok(()),
    }
}

fn location(place: PlaceKind) -> Option<u64> {
    match place {
        PlaceKind::Global(at) => Some(at),
        PlaceKind::Shared(_, at) => Some(u64::from(at)),
        _ => None,
    }
}

/// A lane reads; `flags` are those of the load.
pub(super) fn lane_read(cx: &mut Cx<'_>, place: PlaceKind, bytes: u32, lane: usize, flags: u32) -> Result<(), ()> {
    if !on(cx) {
        return Ok(());
    }
    if flags & STRONG != 0 {
        lane_access(cx, place, bytes, lane, Kind::Atomic, false)?;
        if let Some(key) = location(place) {
            acquire_at(cx, key);
        }
        return Ok(());
    }
    lane_access(cx, place, bytes, lane, Kind::Read, false)
}

/// A lane writes; `flags` are those of the store, `same` says that the value is there already.
pub(super) fn lane_write(
    cx: &mut Cx<'_>,
    place: PlaceKind,
    bytes: u32,
    lane: usize,
    flags: u32,
    same: bool,
) -> Result<(), ()> {
    if !on(cx) {
        return Ok(());
    }
    if flags & STRONG != 0 {
        lane_access(cx, place, bytes, lane, Kind::Atomic, false)?;
        if let Some(key) = location(place) {
            release_at(cx, key);
        }
        return Ok(());
    }
    lane_access(cx, place, bytes, lane, Kind::Write, same)
}

/// A lane updates atomically.
pub(super) fn lane_atomic(cx: &mut Cx<'_>, place: PlaceKind, bytes: u32, lane: usize) -> Result<(), ()> {
    if !on(cx) {
        return Ok(());
    }
    lane_access(cx, place, bytes, lane, Kind::Atomic, false)?;
    if let Some(key) = location(place) {
        acquire_at(cx, key);
        release_at(cx, key);
    }
    Ok(())
}
