//! Loads, as they run.

use super::pattern::{
    Element, Pattern, addresses, bounds, count_banks, count_sectors, gather, global_range, pattern, reach, read_run,
};
use super::{SIGNED, STRONG, WIDTH_SHIFT, race_access};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::l2::Use;
use crate::machine::objects::Objects;
use crate::machine::ops::address::{self, Access, PlaceKind, Where};
use crate::machine::{races, taint};

#[inline(always)]
pub(super) unsafe fn finish_load<T: Element, const N: usize>(
    cx: &mut Cx<'_>,
    i: &Instr,
    m: u32,
    out: &[[T; 32]; N],
    uninitialised: u32,
) -> Flow {
    for (k, o) in out.iter().enumerate() {
        let d = if N == 1 { i.d } else { cx.listed(i, k) };
        // SAFETY: the decoder gave slots of the element's width.
        unsafe { T::put(cx.slot(d), o, m) };
    }
    if cx.tainted || uninitialised != 0 {
        for k in 0..N {
            let d = if N == 1 { i.d } else { cx.listed(i, k) };
            taint::set(cx, d, m, uninitialised);
        }
    }
    Flow::Next
}

#[inline(always)]
pub(super) unsafe fn ld_global<T: Element, const N: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    // SAFETY: the decoder made the operands.
    let addr = unsafe { addresses(cx, i) };
    let bytes = T::BYTES * N as u64;
    if i.x & STRONG != 0 || cx.ctas[0].objects.global_in_flight[0] != 0 {
        // SAFETY: the same operands.
        return unsafe { ld_any(cx, i, m) };
    }
    let track = cx.launch.checks.uninitialised;
    let mut out = [[T::ZERO; 32]; N];
    match pattern(&addr, m, bytes) {
        Pattern::Contiguous(first) => {
            if first & (bytes - 1) == 0 && global_range(cx, first, 32 * bytes) {
                let memory = cx.launch.memory;
                // SAFETY: the range lies in a live allocation.
                unsafe { read_run(memory.pointer(first), &mut out) };
                let mut bad = 0;
                if track && !(0..32 * bytes).step_by(64).all(|k| memory.initialised(first + k, 64)) {
                    for (l, a) in addr.iter().enumerate() {
                        bad |= u32::from(!memory.initialised(*a, bytes)) << l;
                    }
                }
                let t = &mut cx.worker.traffic;
                t.global_requests += 1;
                t.sectors += (first % 32 + 32 * bytes).div_ceil(32);
                t.sectors_needed += bytes;
                reach(cx, first, 32 * bytes, Use::Read);
                if races::global_warp(cx, &addr, m, bytes as u32, race_access(i.x, false), true, |_| false).is_err() {
                    return Flow::Fault;
                }
                // SAFETY: passed on.
                return unsafe { finish_load(cx, i, m, &out, bad) };
            }
        }
        Pattern::Equal(at) => {
            if at & (bytes - 1) == 0 && global_range(cx, at, bytes) {
                let memory = cx.launch.memory;
                for (k, o) in out.iter_mut().enumerate() {
                    // SAFETY: the range lies in a live allocation.
                    *o = [unsafe { memory.pointer(at).cast::<T>().add(k).read_unaligned() }; 32];
                }
                let bad = if track && !memory.initialised(at, bytes) { m } else { 0 };
                let t = &mut cx.worker.traffic;
                t.global_requests += 1;
                t.sectors += 1;
                t.sectors_needed += 1;
                reach(cx, at, bytes, Use::Read);
                if races::global_warp(cx, &addr, m, bytes as u32, race_access(i.x, false), false, |_| false).is_err() {
                    return Flow::Fault;
                }
                // SAFETY: passed on.
                return unsafe { finish_load(cx, i, m, &out, bad) };
            }
        }
        Pattern::Scattered => {
            let (low, high, bits) = bounds(&addr, m);
            if bits & (bytes - 1) == 0 && global_range(cx, low, high - low + bytes) {
                let memory = cx.launch.memory;
                // Lanes that are off read the lowest address: harmless, and without a branch.
                let mut at = addr;
                let mut pointers = [std::ptr::null::<u8>(); 32];
                for l in 0..32 {
                    at[l] = if m >> l & 1 != 0 { addr[l] } else { low };
                    pointers[l] = memory.pointer(at[l]);
                }
                // SAFETY: between low and high, which lie in one live allocation.
                unsafe { gather(&pointers, &mut out) };
                let mut bad = 0;
                if track {
                    for l in 0..32 {
                        bad |= u32::from(!memory.initialised(at[l], bytes)) << l;
                    }
                }
                count_sectors(cx, &addr, m, bytes, Use::Read);
                if races::global_warp(cx, &addr, m, bytes as u32, race_access(i.x, false), false, |_| false).is_err() {
                    return Flow::Fault;
                }
                // SAFETY: passed on.
                return unsafe { finish_load(cx, i, m, &out, bad & m) };
            }
        }
    }
    // SAFETY: the same operands.
    unsafe { ld_any(cx, i, m) }
}

#[inline(always)]
pub(super) unsafe fn ld_shared<T: Element, const N: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    // SAFETY: the decoder made the operands.
    let addr = unsafe { addresses(cx, i) };
    let bytes = T::BYTES * N as u64;
    let (_, high, bits) = bounds(&addr, m);
    let cta = cx.cta();
    if bits & (bytes - 1) != 0
        || high + bytes > u64::from(cta.shared_len)
        || i.x & STRONG != 0
        || cta.objects.in_flight != 0 && flying(&cta.objects, &addr, m)
    {
        // SAFETY: the same operands.
        return unsafe { ld_any(cx, i, m) };
    }
    let p = cta.shared.base();
    let mut out = [[T::ZERO; 32]; N];
    let at = pattern(&addr, m, bytes);
    match at {
        // SAFETY: the highest address and all below lie in the block's shared memory.
        Pattern::Contiguous(first) => unsafe { read_run(p.wrapping_add(first as usize), &mut out) },
        Pattern::Equal(at) => {
            for (k, o) in out.iter_mut().enumerate() {
                // SAFETY: as above.
                *o = [unsafe { p.wrapping_add(at as usize).cast::<T>().add(k).read_unaligned() }; 32];
            }
        }
        Pattern::Scattered => {
            // Lanes that are off read offset 0, which exists where any does.
            let mut pointers = [std::ptr::null::<u8>(); 32];
            for l in 0..32 {
                pointers[l] = p.wrapping_add(if m >> l & 1 != 0 { addr[l] as usize } else { 0 });
            }
            // SAFETY: as above.
            unsafe { gather(&pointers, &mut out) };
        }
    }
    let mut bad = 0;
    if cx.launch.checks.uninitialised {
        let own = cx.warp.cta;
        let init = |at: u64, n: u64| address::initialised(cx, PlaceKind::Shared(own, at as u32), n as u32);
        let all = match at {
            Pattern::Contiguous(first) => (0..32 * bytes).step_by(64).all(|k| init(first + k, 64)),
            Pattern::Equal(at) => init(at, bytes),
            Pattern::Scattered => false,
        };
        if !all {
            for (l, a) in addr.iter().enumerate() {
                bad |= u32::from(m >> l & 1 != 0 && !init(*a, bytes)) << l;
            }
        }
    }
    match at {
        Pattern::Contiguous(_) => {
            let t = &mut cx.worker.traffic;
            t.shared_requests += 1;
            t.shared_passes += bytes.div_ceil(4);
        }
        Pattern::Equal(_) => {
            let t = &mut cx.worker.traffic;
            t.shared_requests += 1;
            t.shared_passes += 1;
        }
        Pattern::Scattered => count_banks(cx, &addr, m, bytes),
    }
    let contiguous = matches!(at, Pattern::Contiguous(_));
    if races::shared_warp(cx, &addr, m, bytes as u32, races::Access::READ, contiguous, |_| false).is_err() {
        return Flow::Fault;
    }
    // SAFETY: passed on.
    unsafe { finish_load(cx, i, m, &out, bad) }
}

/// Whether an asynchronous copy is going to write 16 bytes around an address.
#[inline(always)]
fn flying(objects: &Objects, addr: &[u64; 32], m: u32) -> bool {
    (0..32).any(|l| m >> l & 1 != 0 && objects.flying_words(addr[l] as u32 & !15))
}

/// Any load: lane by lane.
pub unsafe fn ld_any(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    // SAFETY: the decoder made the operands.
    let addr = unsafe { addresses(cx, i) };
    let space = Where::from_bits(i.x & 15);
    let (element, count) = (i.x >> 4 & 31, (i.x >> 9 & 15) as usize);
    let bytes = element * count as u32;
    let mut out = [[0u128; 32]; 8];
    let mut bad = 0u32;
    if i.x & STRONG != 0 {
        cx.polls += 1;
        cx.awaits_other = true;
    }
    let track = cx.launch.checks.uninitialised;
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let Ok(place) = address::resolve(cx, space, addr[l], bytes, bytes, l, Access::Read) else {
            return Flow::Fault;
        };
        for (k, o) in out.iter_mut().enumerate().take(count) {
            // SAFETY: the place was resolved for all elements.
            let v = unsafe { address::load_bytes(place.pointer.wrapping_add(k * element as usize), element) };
            o[l] = if i.x & SIGNED != 0 {
                let shift = 128 - 8 * element;
                ((v << shift) as i128 >> shift) as u128
            } else {
                v
            };
        }
        if track && !address::initialised(cx, place.kind, bytes) {
            bad |= 1 << l;
        }
        if races::lane(cx, place.kind, bytes, l, race_access(i.x, false), false).is_err() {
            return Flow::Fault;
        }
    }
    std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
    match space {
        Where::Shared => count_banks(cx, &addr, m, u64::from(bytes)),
        Where::Global | Where::Const => count_sectors(cx, &addr, m, u64::from(bytes), Use::Read),
        _ => {}
    }
    for (k, v) in out.iter().enumerate().take(count) {
        let d = cx.listed(i, k);
        match i.x >> WIDTH_SHIFT & 3 {
            0 => cx.put(d, &v.map(|v| v as u16), m),
            1 => cx.put(d, &v.map(|v| v as u32), m),
            2 => cx.put(d, &v.map(|v| v as u64), m),
            _ => cx.put(d, &v.map(|v| [v as u64, (v >> 64) as u64]), m),
        }
        if cx.tainted || bad != 0 {
            taint::set(cx, d, m, bad);
        }
    }
    Flow::Next
}

/// Kernel parameters are the same for all lanes: `imm` is the offset.
pub(super) unsafe fn ld_param(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let (element, count) = (i.x >> 4 & 31, (i.x >> 9 & 15) as usize);
    for k in 0..count {
        let at = i.imm as usize + k * element as usize;
        let Some(bytes) = cx.launch.params.get(at..at + element as usize) else {
            return cx.fail(FaultKind::IllegalAddress, None, None, "a parameter outside the parameter block");
        };
        let mut wide = [0u8; 16];
        wide[..bytes.len()].copy_from_slice(bytes);
        let mut v = u128::from_le_bytes(wide);
        if i.x & SIGNED != 0 {
            let shift = 128 - 8 * element;
            v = ((v << shift) as i128 >> shift) as u128;
        }
        let d = cx.listed(i, k);
        match i.x >> WIDTH_SHIFT & 3 {
            0 => cx.put(d, &[v as u16; 32], m),
            1 => cx.put(d, &[v as u32; 32], m),
            2 => cx.put(d, &[v as u64; 32], m),
            _ => cx.put(d, &[[v as u64, (v >> 64) as u64]; 32], m),
        }
    }
    Flow::Next
}
