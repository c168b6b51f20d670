//! What orders accesses: barriers, releases and acquires, fences.

use super::clocks::{Clock, Entry, Foreign, Knowledge, join_entry, join_foreign};
use super::{Gathering, RaceState};
use crate::machine::exec::Cx;
use crate::machine::ops::address::PlaceKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

/// How a strong access orders others.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Order {
    /// Acquires.
    pub acquire: bool,
    /// Releases.
    pub release: bool,
    /// Reads and writes in one.
    pub update: bool,
    /// Of scope `.cta`.
    pub narrow: bool,
}

impl RaceState {
    /// The warp's accesses so far are released: later ones have another time.
    fn advance(&mut self, me: usize) {
        self.times[me] += 1;
    }

    /// What a warp knows, its own accesses included.
    fn whole(&self, me: usize) -> Knowledge {
        let mut now = self.clocks[me].now.clone();
        now.seen[me] = self.times[me] + 1;
        now
    }

    fn clock(&self, me: usize) -> Clock {
        Clock { now: self.whole(me), ..self.clocks[me].clone() }
    }
}

/// The state, and the number of the warp in the cluster.
fn state<'s>(cx: &'s mut Cx<'_>) -> Option<(&'s mut RaceState, usize)> {
    let (block, warp) = (cx.warp.cta, cx.warp.index as usize);
    let s = cx.ctas[0].objects.races.as_deref_mut()?;
    let me = block * s.warps + warp;
    Some((s, me))
}

fn restamp(cx: &mut Cx<'_>) {
    let (block, warp) = (cx.warp.cta, cx.warp.index as usize);
    let launch = cx.launch;
    if let Some(s) = cx.ctas[0].objects.races.as_deref() {
        cx.warp.stamps = s.stamps(launch, block, warp);
    }
}

/// `bar.warp.sync` orders the lanes it names.
pub fn warp_barrier(cx: &mut Cx<'_>) {
    let Some((s, me)) = state(cx) else { return };
    s.advance(me);
    s.synced[me] = s.times[me];
    restamp(cx);
}

/// Lanes arrive at a barrier, and perhaps wait for it.
pub fn barrier_arrive(cx: &mut Cx<'_>, id: u32, waits: bool) {
    let (block, warp) = (cx.warp.cta, cx.warp.index);
    let Some((s, me)) = state(cx) else { return };
    let clock = s.clock(me);
    let gathering = &mut s.barriers[16 * block + id as usize];
    match &mut gathering.joined {
        Some(joined) => joined.join(&clock),
        None => gathering.joined = Some(clock),
    }
    if waits {
        gathering.waiting |= 1 << warp;
        s.synced[me] = s.times[me] + 1;
    }
    s.advance(me);
    restamp(cx);
}

/// A barrier's phase ends: those who wait know what those who arrived knew.
pub fn barrier_complete(cx: &mut Cx<'_>, id: u32) {
    let block = cx.warp.cta;
    let Some((s, _)) = state(cx) else { return };
    let Gathering { joined, waiting } = std::mem::take(&mut s.barriers[16 * block + id as usize]);
    let Some(joined) = joined else { return };
    for w in (0..s.warps).filter(|w| waiting >> w & 1 != 0) {
        s.clocks[block * s.warps + w].join(&joined);
    }
}

/// Lanes arrive at the cluster barrier. A relaxed arrival releases what a fence before it did.
pub fn cluster_arrive(cx: &mut Cx<'_>, relaxed: bool) {
    let Some((s, me)) = state(cx) else { return };
    if relaxed {
        if let Some(released) = &s.clocks[me].released[1] {
            s.cluster[0].now.join(released);
        }
    } else {
        let clock = s.clock(me);
        s.cluster[0].join(&clock);
    }
    s.advance(me);
    restamp(cx);
}

/// The cluster barrier's phase ends.
pub fn cluster_complete(cx: &mut Cx<'_>) {
    let Some((s, _)) = state(cx) else { return };
    s.cluster.swap(0, 1);
    s.cluster[0].clear();
}

/// Lanes leave the cluster barrier.
pub fn cluster_leave(cx: &mut Cx<'_>) {
    let Some((s, me)) = state(cx) else { return };
    let RaceState { clocks, cluster, .. } = s;
    clocks[me].join(&cluster[1]);
    s.advance(me);
    s.synced[me] = s.times[me];
    restamp(cx);
}

/// A memory fence; `narrow` of scope `.cta`.
pub fn fence(cx: &mut Cx<'_>, narrow: bool) {
    let Some((s, me)) = state(cx) else { return };
    if let Some(pending) = s.pending[me].take() {
        if narrow {
            // Other blocks take a wider fence.
            s.clocks[me].now.join(&Knowledge { seen: pending.now.seen.clone(), foreign: None });
            s.pending[me] = Some(pending);
        } else {
            s.clocks[me].join(&pending);
        }
        s.synced[me] = s.times[me] + 1;
    }
    let released = Box::new(s.whole(me));
    if !narrow {
        s.clocks[me].released[1] = Some(released.clone());
    }
    s.clocks[me].released[0] = Some(released);
    s.advance(me);
    restamp(cx);
}

/// A fence between the generic and the asynchronous proxy, by lanes of the warp.
pub fn proxy_fence(cx: &mut Cx<'_>, lanes: u32) {
    let Some((s, me)) = state(cx) else { return };
    let clock = &mut s.clocks[me];
    // Whatever is known to have happened before is covered too.
    for (mark, seen) in clock.proxy.iter_mut().zip(&clock.now.seen) {
        *mark = super::clocks::later(*mark, u64::from(*seen) << 32);
    }
    if let Some(foreign) = &mut clock.now.foreign {
        for entry in Arc::make_mut(foreign).values_mut() {
            let entry = Arc::make_mut(entry);
            for (mark, seen) in entry.proxy.iter_mut().zip(&entry.seen) {
                *mark = super::clocks::later(*mark, u64::from(*seen) << 32);
            }
        }
    }
    clock.proxy[me] = super::clocks::later(clock.proxy[me], u64::from(s.times[me]) << 32 | u64::from(lanes));
    s.advance(me);
    restamp(cx);
}

fn key(place: PlaceKind) -> Option<u64> {
    match place {
        PlaceKind::Global(at) => Some(at),
        PlaceKind::Shared(block, at) => Some(1 << 63 | (block as u64) << 32 | u64::from(at)),
        _ => None,
    }
}

/// Gives knowledge to whoever acquires the place: blocks of the launch, or those of the cluster.
fn publish(cx: &mut Cx<'_>, place: PlaceKind, what: Knowledge, wide: bool, replaces: bool) {
    let Some(key) = key(place) else { return };
    let launch = cx.launch;
    let Some((s, me)) = state(cx) else { return };
    let proxy = s.clocks[me].proxy.clone();
    if let (PlaceKind::Global(_), true) = (place, wide) {
        let mut table = launch.published.locations.lock().unwrap_or_else(PoisonError::into_inner);
        let location = table.entry(key).or_default();
        if replaces {
            *location = Arc::default();
        }
        let mut mine = Foreign::new();
        for (rank, block) in s.blocks.iter().enumerate() {
            let range = rank * s.warps..(rank + 1) * s.warps;
            let entry = Entry { seen: what.seen[range.clone()].to_vec(), proxy: proxy[range].to_vec() };
            mine.insert(*block, Arc::new(entry));
        }
        let location = Arc::make_mut(location);
        if let Some(foreign) = &what.foreign {
            foreign.iter().for_each(|(block, entry)| join_entry(location, *block, entry));
        }
        mine.iter().for_each(|(block, entry)| join_entry(location, *block, entry));
        launch.published.any.store(true, Ordering::Release);
        return;
    }
    let clock = Clock { now: what, proxy, released: [None, None] };
    match s.locations.get_mut(&key) {
        Some(old) if !replaces => old.join(&clock),
        _ => {
            s.locations.insert(key, clock);
        }
    }
}

/// A strong access of the warp to a place: releases and acquires as it says, and through fences.
pub fn strong(cx: &mut Cx<'_>, place: PlaceKind, reads: bool, writes: bool, order: Order) {
    let Some(key) = key(place) else { return };
    if reads {
        acquire(cx, place, key, order);
    }
    if !writes {
        return;
    }
    let replaces = !order.update;
    let Some((s, me)) = state(cx) else { return };
    if order.release {
        let whole = s.whole(me);
        if !order.narrow {
            publish(cx, place, whole.clone(), true, replaces);
        }
        publish(cx, place, whole, false, replaces);
        let Some((s, me)) = state(cx) else { return };
        s.advance(me);
        restamp(cx);
        return;
    }
    let released = s.clocks[me].released.clone();
    if replaces {
        // A plain write ends what was released here before.
        s.locations.remove(&key);
        if cx.launch.published.any.load(Ordering::Acquire) {
            let table = &cx.launch.published.locations;
            table.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
        }
    }
    let [block, all] = released;
    if let Some(all) = all
        && !order.narrow
    {
        publish(cx, place, *all, true, false);
    }
    if let Some(block) = block {
        publish(cx, place, *block, false, false);
    }
}

fn acquire(cx: &mut Cx<'_>, place: PlaceKind, key: u64, order: Order) {
    let launch = cx.launch;
    let from_all = match place {
        PlaceKind::Global(_) if launch.published.any.load(Ordering::Acquire) => {
            launch.published.locations.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned()
        }
        _ => None,
    };
    let Some((s, me)) = state(cx) else { return };
    let from_all = from_all.filter(|new| {
        // Polling sees the same again and again.
        !s.acquired[me].as_ref().is_some_and(|(k, old)| *k == key && Arc::ptr_eq(old, new))
    });
    let near = s.locations.get(&key).cloned();
    if from_all.is_none() && near.is_none() {
        return;
    }
    let mut clock = Clock::new(s.clocks.len());
    if let Some(all) = &from_all {
        for (rank, block) in s.blocks.iter().enumerate() {
            if let Some(entry) = all.get(block) {
                for (w, (seen, proxy)) in entry.seen.iter().zip(&entry.proxy).enumerate() {
                    clock.now.seen[rank * s.warps + w] = *seen;
                    clock.proxy[rank * s.warps + w] = *proxy;
                }
            }
        }
        if !order.narrow {
            join_foreign(&mut clock.now.foreign, &Some(all.clone()));
        }
    }
    if let Some(near) = &near {
        clock.join(near);
    }
    let RaceState { clocks, pending, .. } = s;
    let known = clocks[me].now.seen.iter().zip(&clock.now.seen).all(|(a, b)| a >= b) && clock.now.foreign.is_none();
    if !order.acquire {
        if !known {
            pending[me].get_or_insert_with(|| Box::new(Clock::new(clocks.len()))).join(&clock);
        }
        return;
    }
    let own = clock.now.seen[me];
    clocks[me].join(&clock);
    if let Some(all) = from_all {
        s.acquired[me] = Some((key, all));
    }
    // Lanes of this warp may have released it.
    if !known || own > s.synced[me] {
        s.advance(me);
        s.synced[me] = s.times[me];
        restamp(cx);
    }
}

/// An arrival at an mbarrier releases.
pub fn mbarrier_release(cx: &mut Cx<'_>, block: usize, at: u32) {
    let order = Order { release: true, update: true, ..Order::default() };
    strong(cx, PlaceKind::Shared(block, at), false, true, order);
}

/// A successful wait at an mbarrier acquires.
pub fn mbarrier_acquire(cx: &mut Cx<'_>, block: usize, at: u32) {
    strong(cx, PlaceKind::Shared(block, at), true, false, Order { acquire: true, ..Order::default() });
}
