//! Accesses through the asynchronous proxy, and tensor maps.

use super::cells::{MASK, SPLIT, launch_of};
use super::check::{address_in, report, with};
use super::follows;
use super::sync::Order;
use super::view::{ASYNC, Access, Conflict, View};
use crate::machine::exec::Cx;
use crate::machine::fault::FaultKind;
use crate::machine::ops::address::PlaceKind;

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
