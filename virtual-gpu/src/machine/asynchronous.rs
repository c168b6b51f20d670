//! `cp.async`: copies that belong to the thread that issues them.

use super::cluster::Cluster;
use super::exec::Cx;
use super::fault::Fault;
use super::launch::Launch;
use super::ops::address::{self, PlaceKind};

/// A copy by one lane.
#[derive(Debug, Clone, Copy)]
struct Copy {
    lane: u32,
    group: u32,
    /// Shared offset in the warp's own block.
    to: u32,
    from: u64,
    bytes: u32,
    /// Bytes read; the rest is zero.
    read: u32,
}

/// Copies that a warp's lanes have issued.
#[derive(Default)]
pub struct WarpCopies {
    pending: Vec<Copy>,
    /// Group that each lane's next copy belongs to.
    group: [u32; 32],
    /// Bulk group of each lane.
    pub bulk_group: [u32; 32],
    /// Arrivals that wait for the copies before them: lane, group, mbarrier address, counted on top.
    arrivals: Vec<(u32, u32, u32, bool)>,
    /// Registers of `wgmma`.
    pub registers: super::accumulators::Registers,
}

/// Issues a copy of one lane.
pub(super) fn issue(cx: &mut Cx<'_>, lane: usize, to: u32, from: u64, bytes: u32, read: u32) {
    let group = cx.warp.copies.group[lane];
    let copy = Copy { lane: lane as u32, group, to, from, bytes, read };
    if super::objects::eager(cx.launch) {
        let warp_cta = cx.warp.cta;
        carry_out(cx.launch, &mut cx.ctas[warp_cta], &copy);
        return;
    }
    if cx.launch.checks.asynchrony {
        cx.cta().objects.mark_flight(to, bytes, true);
    }
    cx.warp.copies.pending.push(copy);
}

fn carry_out(launch: &Launch<'_>, cta: &mut super::cluster::Cta, c: &Copy) {
    let p = cta.shared.base().wrapping_add(c.to as usize);
    // SAFETY: both sides were resolved when the copy was issued.
    unsafe {
        std::ptr::write_bytes(p, 0, c.bytes as usize);
        std::ptr::copy_nonoverlapping(launch.memory.pointer(c.from).cast_const(), p, c.read as usize);
    }
    if launch.checks.asynchrony {
        cta.objects.mark_flight(c.to, c.bytes, false);
    }
    let good = c.read == 0 || launch.memory.initialised(c.from, u64::from(c.read));
    for k in c.to..c.to + c.bytes {
        let (w, bit) = ((k / 64) as usize, 1u64 << (k % 64));
        cta.shared_init[w] = if good { cta.shared_init[w] | bit } else { cta.shared_init[w] & !bit };
    }
}

/// `cp.async.commit_group`
pub(super) fn commit(cx: &mut Cx<'_>, mask: u32) {
    for l in (0..32).filter(|l| mask >> l & 1 != 0) {
        cx.warp.copies.group[l] += 1;
    }
}

/// `cp.async.wait_group keep`; `None` waits for all copies, committed or not.
pub(super) fn wait(cx: &mut Cx<'_>, mask: u32, keep: Option<u32>) {
    if cx.warp.copies.pending.is_empty() {
        return;
    }
    let pending = std::mem::take(&mut cx.warp.copies.pending);
    let group = cx.warp.copies.group;
    let block = cx.warp.cta;
    for c in pending {
        let l = c.lane as usize;
        let done = mask >> l & 1 != 0 && keep.is_none_or(|k| c.group + k < group[l]);
        if done {
            carry_out(cx.launch, &mut cx.ctas[block], &c);
        } else {
            cx.warp.copies.pending.push(c);
        }
    }
}

/// `cp.async.mbarrier.arrive`: arrives once the lane's copies so far are done.
pub(super) fn arrive(cx: &mut Cx<'_>, lane: usize, barrier: u32, increments: bool) -> bool {
    if increments {
        match cx.cta().objects.mbarriers.get_mut(&barrier) {
            Some(b) => b.pending += 1,
            None => return false,
        }
    }
    let group = cx.warp.copies.group[lane];
    cx.warp.copies.arrivals.push((lane as u32, group, barrier, increments));
    true
}

/// Whether arrivals wait for copies.
pub(super) fn deferred(warps: &[super::exec::Warp]) -> bool {
    warps.iter().any(|w| !w.copies.arrivals.is_empty())
}

/// Completes copies and the arrivals that wait for them.
pub(super) fn finish_arrivals(launch: &Launch<'_>, cluster: &mut Cluster) -> Result<(), Box<Fault>> {
    for w in &mut cluster.warps {
        let cta = &mut cluster.ctas[w.cta];
        if w.copies.arrivals.is_empty() {
            continue;
        }
        for c in std::mem::take(&mut w.copies.pending) {
            carry_out(launch, cta, &c);
        }
        for (_, _, at, _) in std::mem::take(&mut w.copies.arrivals) {
            if let Some(b) = cta.objects.mbarriers.get_mut(&at) {
                b.pending = b.pending.saturating_sub(1);
                b.settle();
            }
        }
    }
    Ok(())
}

/// Whether a place is about to be written by a transfer; then its reader or writer came too early.
pub(super) fn in_flight(cx: &Cx<'_>, kind: PlaceKind, bytes: u32) -> bool {
    match kind {
        PlaceKind::Shared(block, at) => cx.ctas[block].objects.flying(at, bytes),
        _ => false,
    }
}

/// Marks a place as plain memory again: an object in it is gone.
pub(super) fn overwritten(cx: &mut Cx<'_>, kind: address::PlaceKind, bytes: u32) {
    if let PlaceKind::Shared(block, at) = kind {
        let objects = &mut cx.ctas[block].objects;
        if !objects.mbarriers.is_empty() {
            objects.mbarriers.retain(|k, _| *k + 8 <= at || *k >= at + bytes);
        }
    }
}
