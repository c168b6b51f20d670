//! Stores, as they run.

use super::pattern::{Element, Pattern, addresses, bounds, count_banks, count_sectors, global_range, pattern, reach};
use super::{STRONG, WIDTH_SHIFT, race_access};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::l2::Use;
use crate::machine::ops::address::{self, Access, PlaceKind, Where};
use crate::machine::{races, taint};

/// Lanes that store an uninitialised value; a fault when it goes to global memory.
pub(super) fn tainted_lanes(cx: &mut Cx<'_>, i: &Instr, m: u32, first: usize, count: usize) -> u32 {
    if !cx.tainted {
        return 0;
    }
    let mut t = 0;
    for k in 0..count {
        let s = cx.listed(i, first + k);
        t |= taint::of(cx, s);
    }
    t & m
}

/// Whether a lane's elements are in memory already.
///
/// # Safety
/// `p` has room for the elements.
#[inline(always)]
pub(super) unsafe fn already<T: Element, const N: usize>(p: *const u8, values: &[[T; 32]; N], l: usize) -> bool {
    // SAFETY: as the caller guarantees.
    values.iter().enumerate().all(|(k, v)| unsafe { p.cast::<T>().add(k).read_unaligned() } == v[l])
}

/// Whether a lane before this one stores the same elements to the same place.
fn stored_before<T: Element, const N: usize>(addr: &[u64; 32], m: u32, values: &[[T; 32]; N], l: usize) -> bool {
    (0..l).any(|k| m >> k & 1 != 0 && addr[k] == addr[l] && values.iter().all(|v| v[k] == v[l]))
}

#[inline(always)]
pub(super) unsafe fn st_global<T: Element, const N: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    // SAFETY: the decoder made the operands.
    let addr = unsafe { addresses(cx, i) };
    let bytes = T::BYTES * N as u64;
    let mut values = [[T::ZERO; 32]; N];
    for (k, v) in values.iter_mut().enumerate() {
        let s = cx.slot(cx.listed(i, k));
        for (l, o) in v.iter_mut().enumerate() {
            // SAFETY: the decoder gave slots of the element's width.
            *o = unsafe { T::get(s, l) };
        }
    }
    let plain = i.x & STRONG == 0 && !cx.tainted && cx.ctas[0].objects.global_in_flight == [0; 2];
    cx.progress = true;
    if plain && let Pattern::Contiguous(first) = pattern(&addr, m, bytes) {
        if first & (bytes - 1) == 0 && global_range(cx, first, 32 * bytes) {
            let p = cx.launch.memory.pointer(first);
            // SAFETY: the range lies in a live allocation.
            let same = |l: usize| unsafe { already(p.wrapping_add(l * bytes as usize), &values, l) };
            if races::global_warp(cx, &addr, m, bytes as u32, races::Access::WRITE, true, same).is_err() {
                return Flow::Fault;
            }
            for l in 0..32 {
                for (k, v) in values.iter().enumerate() {
                    // SAFETY: the range lies in a live allocation.
                    unsafe { p.cast::<T>().add(l * N + k).write_unaligned(v[l]) };
                }
            }
            for k in (0..32 * bytes).step_by(64) {
                cx.launch.memory.mark_written(first + k, 64);
            }
            let t = &mut cx.worker.traffic;
            t.global_requests += 1;
            t.sectors += (first % 32 + 32 * bytes).div_ceil(32);
            t.sectors_needed += bytes;
            reach(cx, first, 32 * bytes, Use::Write);
            return Flow::Next;
        }
    } else if plain {
        let (low, high, bits) = bounds(&addr, m);
        if bits & (bytes - 1) == 0 && global_range(cx, low, high - low + bytes) {
            let memory = cx.launch.memory;
            let same = |l: usize| {
                // SAFETY: between low and high, which lie in one live allocation.
                stored_before(&addr, m, &values, l) || unsafe { already(memory.pointer(addr[l]), &values, l) }
            };
            if races::global_warp(cx, &addr, m, bytes as u32, races::Access::WRITE, false, same).is_err() {
                return Flow::Fault;
            }
            for l in (0..32).filter(|l| m >> l & 1 != 0) {
                let p = memory.pointer(addr[l]);
                for (k, v) in values.iter().enumerate() {
                    // SAFETY: between low and high, which lie in one live allocation.
                    unsafe { p.cast::<T>().add(k).write_unaligned(v[l]) };
                }
                cx.launch.memory.mark_written(addr[l], bytes);
            }
            count_sectors(cx, &addr, m, bytes, Use::Write);
            return Flow::Next;
        }
    }
    // SAFETY: the same operands.
    unsafe { st_any(cx, i, m) }
}

#[inline(always)]
pub(super) unsafe fn st_shared<T: Element, const N: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    // SAFETY: the decoder made the operands.
    let addr = unsafe { addresses(cx, i) };
    let bytes = T::BYTES * N as u64;
    let (_, high, bits) = bounds(&addr, m);
    let own = cx.warp.cta;
    let bad = bits & (bytes - 1) != 0 || high + bytes > u64::from(cx.ctas[own].shared_len);
    let objects = &cx.ctas[own].objects;
    let special = objects.is_busy() || !objects.mbarriers.is_empty();
    if bad || special || i.x & STRONG != 0 || cx.tainted {
        // SAFETY: the same operands.
        return unsafe { st_any(cx, i, m) };
    }
    cx.progress = true;
    let p = cx.ctas[own].shared.base();
    let mut values = [[T::ZERO; 32]; N];
    for (k, v) in values.iter_mut().enumerate() {
        let s = cx.slot(cx.listed(i, k));
        for (l, o) in v.iter_mut().enumerate() {
            // SAFETY: the decoder gave slots of the element's width.
            *o = unsafe { T::get(s, l) };
        }
    }
    let contiguous = if let Pattern::Contiguous(first) = pattern(&addr, m, bytes) { Some(first) } else { None };
    if let Some(first) = contiguous {
        // SAFETY: the highest address and all below lie in the block's shared memory.
        let same = |l: usize| unsafe { already(p.wrapping_add(addr[l] as usize), &values, l) };
        if races::shared_warp(cx, &addr, m, bytes as u32, races::Access::WRITE, true, same).is_err() {
            return Flow::Fault;
        }
        let p = p.wrapping_add(first as usize);
        for l in 0..32 {
            for (k, v) in values.iter().enumerate() {
                // SAFETY: the highest address and all below lie in the block's shared memory.
                unsafe { p.cast::<T>().add(l * N + k).write_unaligned(v[l]) };
            }
        }
        for k in (0..32 * bytes).step_by(64) {
            address::mark(cx, PlaceKind::Shared(own, (first + k) as u32), 64, true);
        }
        let t = &mut cx.worker.traffic;
        t.shared_requests += 1;
        t.shared_passes += bytes.div_ceil(4);
        return Flow::Next;
    }
    // SAFETY: the highest address and all below lie in the block's shared memory.
    let there = |l: usize| unsafe { already(p.wrapping_add(addr[l] as usize), &values, l) };
    let same = |l: usize| stored_before(&addr, m, &values, l) || there(l);
    if races::shared_warp(cx, &addr, m, bytes as u32, races::Access::WRITE, false, same).is_err() {
        return Flow::Fault;
    }
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        for (k, v) in values.iter().enumerate() {
            // SAFETY: as above.
            unsafe { p.wrapping_add(addr[l] as usize).cast::<T>().add(k).write_unaligned(v[l]) };
        }
        address::mark(cx, PlaceKind::Shared(own, addr[l] as u32), bytes as u32, true);
    }
    count_banks(cx, &addr, m, bytes);
    Flow::Next
}

/// Any store: lane by lane.
pub unsafe fn st_any(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    // SAFETY: the decoder made the operands.
    let addr = unsafe { addresses(cx, i) };
    let space = Where::from_bits(i.x & 15);
    let (element, count) = (i.x >> 4 & 31, (i.x >> 9 & 15) as usize);
    let bytes = element * count as u32;
    let tainted = tainted_lanes(cx, i, m, 0, count);
    cx.progress = true;
    std::sync::atomic::fence(std::sync::atomic::Ordering::Release);
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let Ok(place) = address::resolve(cx, space, addr[l], bytes, bytes, l, Access::Write) else {
            return Flow::Fault;
        };
        let bad = tainted >> l & 1 != 0;
        if bad && matches!(place.kind, PlaceKind::Global(_)) && cx.launch.checks.uninitialised {
            let text = format!("an uninitialised value is stored to global memory at {:#x}", addr[l]);
            return cx.fail(FaultKind::LaunchFailed, Some("uninitialised"), Some(l), &text);
        }
        let mut same = true;
        let mut values = [0u128; 8];
        for (k, value) in values.iter_mut().enumerate().take(count) {
            let s = cx.listed(i, k);
            *value = match i.x >> WIDTH_SHIFT & 3 {
                0 | 1 => u128::from(cx.lane::<u32>(s, l)),
                2 => u128::from(cx.lane::<u64>(s, l)),
                _ => {
                    let [low, high] = cx.lane::<[u64; 2]>(s, l);
                    u128::from(low) | u128::from(high) << 64
                }
            };
            // SAFETY: the place was resolved for all elements.
            let old = unsafe { address::load_bytes(place.pointer.wrapping_add(k * element as usize), element) };
            let mask = if element == 16 { u128::MAX } else { (1 << (8 * element)) - 1 };
            same &= old == *value & mask;
        }
        if races::lane(cx, place.kind, bytes, l, race_access(i.x, true), same).is_err() {
            return Flow::Fault;
        }
        for (k, v) in values.iter().enumerate().take(count) {
            // SAFETY: the place was resolved for all elements.
            unsafe { address::store_bytes(place.pointer.wrapping_add(k * element as usize), element, *v) };
        }
        address::mark(cx, place.kind, bytes, !bad);
    }
    match space {
        Where::Shared => count_banks(cx, &addr, m, u64::from(bytes)),
        Where::Global => count_sectors(cx, &addr, m, u64::from(bytes), Use::Write),
        _ => {}
    }
    Flow::Next
}
