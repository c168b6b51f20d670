//! Races.

use super::exec::Cx;
use super::ops::address::PlaceKind;

/// `bar.warp.sync` orders the lanes it names.
pub(super) fn warp_barrier(_cx: &mut Cx<'_>, _lanes: u32) {}

/// Lanes arrive at a barrier.
pub(super) fn barrier_arrive(_cx: &mut Cx<'_>, _id: u32, _mask: u32) {}

/// A barrier's phase ends.
pub(super) fn barrier_complete(_cx: &mut Cx<'_>, _id: u32) {}

/// Lanes leave a barrier.
pub(super) fn barrier_leave(_cx: &mut Cx<'_>, _id: u32, _mask: u32) {}

/// Lanes arrive at the cluster barrier.
pub(super) fn cluster_arrive(_cx: &mut Cx<'_>, _mask: u32) {}

/// The cluster barrier's phase ends.
pub(super) fn cluster_complete(_cx: &mut Cx<'_>) {}

/// Lanes leave the cluster barrier.
pub(super) fn cluster_leave(_cx: &mut Cx<'_>, _mask: u32) {}

/// A warp reads global memory.
#[inline(always)]
pub(super) fn global_read(_cx: &mut Cx<'_>, _addr: &[u64; 32], _mask: u32, _bytes: u32) -> Result<(), ()> {
    Ok(())
}

/// A warp writes global memory.
#[inline(always)]
pub(super) fn global_write(_cx: &mut Cx<'_>, _addr: &[u64; 32], _mask: u32, _bytes: u32) -> Result<(), ()> {
    Ok(())
}

/// A warp reads its block's shared memory.
#[inline(always)]
pub(super) fn shared_read(_cx: &mut Cx<'_>, _addr: &[u64; 32], _mask: u32, _bytes: u32) -> Result<(), ()> {
    Ok(())
}

/// A warp writes its block's shared memory.
#[inline(always)]
pub(super) fn shared_write(_cx: &mut Cx<'_>, _addr: &[u64; 32], _mask: u32, _bytes: u32) -> Result<(), ()> {
    Ok(())
}

/// A lane reads; `flags` are those of the load.
pub(super) fn lane_read(_: &mut Cx<'_>, _: PlaceKind, _bytes: u32, _lane: usize, _flags: u32) -> Result<(), ()> {
    Ok(())
}

/// A lane writes; `flags` are those of the store.
pub(super) fn lane_write(_: &mut Cx<'_>, _: PlaceKind, _bytes: u32, _lane: usize, _flags: u32) -> Result<(), ()> {
    Ok(())
}

/// A lane updates atomically.
pub(super) fn lane_atomic(_: &mut Cx<'_>, _: PlaceKind, _bytes: u32, _lane: usize) -> Result<(), ()> {
    Ok(())
}

/// A fence.
pub(super) fn fence(_cx: &mut Cx<'_>, _mask: u32, _flags: u32) {}

/// An arrival at an mbarrier releases.
pub(super) fn release(_cx: &mut Cx<'_>, _block: usize, _at: u32, _lane: usize) {}

/// A successful wait at an mbarrier acquires.
pub(super) fn acquire(_cx: &mut Cx<'_>, _block: usize, _at: u32, _lane: usize) {}
