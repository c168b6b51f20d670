//! Loads and stores.
//!
//! Elements of 2, 4 and 8 bytes in global and shared memory have code of their own, with fast paths for contiguous
//! and equal addresses; everything else goes lane by lane.

use super::address::{self, Access, PlaceKind, Where};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::{OpPair, bin, op_versions, un};
use crate::machine::lower::{Address, Decoded, Form, Lower, MInst, Opnd, TaintRule, Width};
use crate::machine::{races, taint};
use crate::ptx::{Operand, Space, Ty};

/// Flags in `x`, behind the space in bits 0 to 3, bytes of an element in 4 to 8, elements in 9 to 12.
const SIGNED: u32 = 1 << 13;
/// Bits 14 and 15: width class of a destination (0: 16 bits, 1: 32, 2: 64, 3: 128).
const WIDTH_SHIFT: u32 = 14;
/// The address operand has 64 bits.
const WIDE_ADDRESS: u32 = 1 << 16;
/// Volatile, relaxed, acquire, release, mmio.
pub const STRONG: u32 = 1 << 17;
/// Through the non-coherent path.
pub const NON_COHERENT: u32 = 1 << 18;

/// An element in memory.
pub trait Element: Copy + PartialEq + 'static {
    const BYTES: u64;
    const ZERO: Self;
    /// Writes all lanes of `mask` of a register slot.
    ///
    /// # Safety
    /// `p` is a slot of this element's width.
    unsafe fn put(p: *mut u8, v: &[Self; 32], mask: u32);
    /// Reads a lane.
    ///
    /// # Safety
    /// `p` is a slot of this element's width.
    unsafe fn get(p: *const u8, l: usize) -> Self;
}

macro_rules! element {
    ($t:ty) => {
        impl Element for $t {
            const BYTES: u64 = size_of::<$t>() as u64;
            const ZERO: Self = 0;
            #[inline(always)]
            unsafe fn put(p: *mut u8, v: &[Self; 32], mask: u32) {
                // SAFETY: as the caller guarantees.
                unsafe { <$t as crate::machine::lanes::Lane>::put(p, v, mask) }
            }
            #[inline(always)]
            unsafe fn get(p: *const u8, l: usize) -> Self {
                // SAFETY: as the caller guarantees.
                unsafe { <$t as crate::machine::lanes::Lane>::get(p, l) }
            }
        }
    };
}
element!(u16);
element!(u32);
element!(u64);

/// How the addresses of a warp lie.
enum Pattern {
    /// Each lane's element behind that of the lane before, from this address on; all lanes active.
    Contiguous(u64),
    /// All active lanes at this address.
    Equal(u64),
    /// Anything else.
    Scattered,
}

#[inline(always)]
unsafe fn addresses(cx: &Cx<'_>, i: &Instr) -> [u64; 32] {
    let p = cx.slot(i.a);
    let mut out = [0u64; 32];
    if i.x & WIDE_ADDRESS != 0 {
        for (l, o) in out.iter_mut().enumerate() {
            // SAFETY: the decoder gave a slot of 64-bit lanes.
            *o = unsafe { *p.cast::<u64>().add(l) }.wrapping_add(i.imm as u64);
        }
    } else {
        for (l, o) in out.iter_mut().enumerate() {
            // SAFETY: the decoder gave a slot of 32-bit lanes.
            *o = u64::from(unsafe { *p.cast::<u32>().add(l) }.wrapping_add(i.imm as u32));
        }
    }
    out
}

#[inline(always)]
fn pattern(addr: &[u64; 32], mask: u32, stride: u64) -> Pattern {
    if mask == u32::MAX {
        let first = addr[0];
        let mut off = 0;
        for l in 0..32 {
            off |= addr[l] ^ first.wrapping_add(l as u64 * stride);
        }
        if off == 0 {
            return Pattern::Contiguous(first);
        }
    }
    let first = addr[(mask.trailing_zeros() & 31) as usize];
    let mut off = 0;
    for l in 0..32 {
        off |= if mask >> l & 1 != 0 { addr[l] ^ first } else { 0 };
    }
    if off == 0 { Pattern::Equal(first) } else { Pattern::Scattered }
}

/// Whether `[at, at + bytes)` lies in the allocation that the instruction last saw, or in one that is found.
#[inline(always)]
fn global_range(cx: &mut Cx<'_>, at: u64, bytes: u64) -> bool {
    let cached = cx.worker.ranges[cx.pc as usize];
    if at >= cached.base && at.wrapping_add(bytes) <= cached.end && at < cached.end {
        return true;
    }
    global_lookup(cx, at, bytes)
}

#[cold]
fn global_lookup(cx: &mut Cx<'_>, at: u64, bytes: u64) -> bool {
    if let Some(r) = cx.launch.memory.range(at)
        && bytes <= r.end - at
    {
        cx.worker.ranges[cx.pc as usize] = r;
        return true;
    }
    false
}

/// Sectors of 32 bytes that the lanes touch.
#[inline(always)]
fn count_sectors(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, bytes: u64) {
    let t = &mut cx.worker.traffic;
    t.global_requests += 1;
    let mut last = u64::MAX;
    let mut sectors = 0;
    // Lanes mostly ascend: a sector counts when it differs from the lane before.
    let mut seen = [u64::MAX; 8];
    let mut k = 0;
    for l in 0..32 {
        if mask >> l & 1 == 0 {
            continue;
        }
        let (from, to) = (addr[l] / 32, (addr[l] + bytes - 1) / 32);
        for s in from..=to {
            if s != last && !seen.contains(&s) {
                seen[k & 7] = s;
                k += 1;
                sectors += 1;
            }
            last = s;
        }
    }
    t.sectors += sectors;
    t.sectors_needed += (u64::from(mask.count_ones()) * bytes).div_ceil(32).min(sectors);
}

/// Passes that the 32 banks need.
#[inline(always)]
fn count_banks(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, bytes: u64) {
    // Lanes are served in groups whose words fill the banks once.
    let group = match bytes {
        16 => 8,
        8 => 16,
        _ => 32,
    };
    let mut passes = 0;
    for g in (0..32).step_by(group) {
        let mut words: [u64; 32] = [u64::MAX; 32];
        let mut depth = [0u8; 32];
        let mut most = 0;
        for l in g..g + group {
            if mask >> l & 1 == 0 {
                continue;
            }
            for w in addr[l] / 4..=(addr[l] + bytes - 1) / 4 {
                let bank = (w & 31) as usize;
                if words[bank] != w {
                    words[bank] = w;
                    depth[bank] += 1;
                    most = most.max(depth[bank]);
                }
            }
        }
        passes += u64::from(most);
    }
    let t = &mut cx.worker.traffic;
    t.shared_requests += 1;
    t.shared_passes += passes.max(1);
}

/// Reads N elements for each lane of a contiguous run.
#[inline(always)]
unsafe fn read_run<T: Element, const N: usize>(p: *const u8, out: &mut [[T; 32]; N]) {
    for l in 0..32 {
        for (k, o) in out.iter_mut().enumerate() {
            // SAFETY: the caller checked 32 × N elements from p on.
            o[l] = unsafe { p.cast::<T>().add(l * N + k).read_unaligned() };
        }
    }
}

#[inline(always)]
unsafe fn finish_load<T: Element, const N: usize>(
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
unsafe fn ld_global<T: Element, const N: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    // SAFETY: the decoder made the operands.
    let addr = unsafe { addresses(cx, i) };
    let bytes = T::BYTES * N as u64;
    if i.x & (STRONG | NON_COHERENT) != 0 {
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
                if cx.launch.checks.races && races::global_read(cx, &addr, m, bytes as u32).is_err() {
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
                if cx.launch.checks.races && races::global_read(cx, &addr, m, bytes as u32).is_err() {
                    return Flow::Fault;
                }
                // SAFETY: passed on.
                return unsafe { finish_load(cx, i, m, &out, bad) };
            }
        }
        Pattern::Scattered => {
            let (mut low, mut high, mut bits) = (u64::MAX, 0, 0);
            for l in 0..32 {
                let on = m >> l & 1 != 0;
                low = low.min(if on { addr[l] } else { u64::MAX });
                high = high.max(if on { addr[l] } else { 0 });
                bits |= if on { addr[l] } else { 0 };
            }
            if bits & (bytes - 1) == 0 && global_range(cx, low, high - low + bytes) {
                let memory = cx.launch.memory;
                let mut bad = 0;
                for l in 0..32 {
                    // Lanes that are off read the lowest address: harmless, and without a branch.
                    let at = if m >> l & 1 != 0 { addr[l] } else { low };
                    for (k, o) in out.iter_mut().enumerate() {
                        // SAFETY: between low and high, which lie in one live allocation.
                        o[l] = unsafe { memory.pointer(at).cast::<T>().add(k).read_unaligned() };
                    }
                    if track {
                        bad |= u32::from(!memory.initialised(at, bytes)) << l;
                    }
                }
                count_sectors(cx, &addr, m, bytes);
                if cx.launch.checks.races && races::global_read(cx, &addr, m, bytes as u32).is_err() {
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
unsafe fn ld_shared<T: Element, const N: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    // SAFETY: the decoder made the operands.
    let addr = unsafe { addresses(cx, i) };
    let bytes = T::BYTES * N as u64;
    let (mut high, mut bits) = (0, 0);
    for l in 0..32 {
        let a = if m >> l & 1 != 0 { addr[l] } else { 0 };
        high = high.max(a);
        bits |= a;
    }
    let cta = cx.cta();
    if bits & (bytes - 1) != 0
        || high + bytes > u64::from(cta.shared_len)
        || i.x & STRONG != 0
        || cta.objects.in_flight != 0
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
            for l in 0..32 {
                let at = if m >> l & 1 != 0 { addr[l] } else { 0 };
                for (k, o) in out.iter_mut().enumerate() {
                    // SAFETY: as above; offset 0 exists where any address does.
                    o[l] = unsafe { p.wrapping_add(at as usize).cast::<T>().add(k).read_unaligned() };
                }
            }
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
    if cx.launch.checks.races && races::shared_read(cx, &addr, m, bytes as u32).is_err() {
        return Flow::Fault;
    }
    // SAFETY: passed on.
    unsafe { finish_load(cx, i, m, &out, bad) }
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
        if races::lane_read(cx, place.kind, bytes, l, i.x).is_err() {
            return Flow::Fault;
        }
    }
    std::sync::atomic::fence(std::sync::atomic::Ordering::Acquire);
    match space {
        Where::Shared => count_banks(cx, &addr, m, u64::from(bytes)),
        Where::Global | Where::Const => count_sectors(cx, &addr, m, u64::from(bytes)),
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

/// Lanes that store an uninitialised value; a fault when it goes to global memory.
fn tainted_lanes(cx: &mut Cx<'_>, i: &Instr, m: u32, first: usize, count: usize) -> u32 {
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
unsafe fn already<T: Element, const N: usize>(p: *const u8, values: &[[T; 32]; N], l: usize) -> bool {
    // SAFETY: as the caller guarantees.
    values.iter().enumerate().all(|(k, v)| unsafe { p.cast::<T>().add(k).read_unaligned() } == v[l])
}

#[inline(always)]
unsafe fn st_global<T: Element, const N: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
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
    let plain = i.x & STRONG == 0 && !cx.tainted;
    cx.progress = true;
    if plain && let Pattern::Contiguous(first) = pattern(&addr, m, bytes) {
        if first & (bytes - 1) == 0 && global_range(cx, first, 32 * bytes) {
            let p = cx.launch.memory.pointer(first);
            if cx.launch.checks.races {
                for l in 0..32 {
                    // SAFETY: the range lies in a live allocation.
                    let same = unsafe { already(p.wrapping_add(l * bytes as usize), &values, l) };
                    if races::global_lane_write(cx, addr[l], bytes as u32, l, same).is_err() {
                        return Flow::Fault;
                    }
                }
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
            return Flow::Next;
        }
    } else if plain {
        let (mut low, mut high, mut bits) = (u64::MAX, 0, 0);
        for l in 0..32 {
            let on = m >> l & 1 != 0;
            low = low.min(if on { addr[l] } else { u64::MAX });
            high = high.max(if on { addr[l] } else { 0 });
            bits |= if on { addr[l] } else { 0 };
        }
        if bits & (bytes - 1) == 0 && global_range(cx, low, high - low + bytes) {
            for l in (0..32).filter(|l| m >> l & 1 != 0) {
                let p = cx.launch.memory.pointer(addr[l]);
                if cx.launch.checks.races {
                    // SAFETY: between low and high, which lie in one live allocation.
                    let same = unsafe { already(p, &values, l) };
                    if races::global_lane_write(cx, addr[l], bytes as u32, l, same).is_err() {
                        return Flow::Fault;
                    }
                }
                for (k, v) in values.iter().enumerate() {
                    // SAFETY: between low and high, which lie in one live allocation.
                    unsafe { p.cast::<T>().add(k).write_unaligned(v[l]) };
                }
                cx.launch.memory.mark_written(addr[l], bytes);
            }
            count_sectors(cx, &addr, m, bytes);
            return Flow::Next;
        }
    }
    // SAFETY: the same operands.
    unsafe { st_any(cx, i, m) }
}

#[inline(always)]
unsafe fn st_shared<T: Element, const N: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    // SAFETY: the decoder made the operands.
    let addr = unsafe { addresses(cx, i) };
    let bytes = T::BYTES * N as u64;
    let (mut high, mut bits) = (0, 0);
    for l in 0..32 {
        let a = if m >> l & 1 != 0 { addr[l] } else { 0 };
        high = high.max(a);
        bits |= a;
    }
    let own = cx.warp.cta;
    let bad = bits & (bytes - 1) != 0 || high + bytes > u64::from(cx.ctas[own].shared_len);
    let special = cx.ctas[own].objects.in_flight != 0 || !cx.ctas[own].objects.mbarriers.is_empty();
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
        if cx.launch.checks.races {
            for l in 0..32 {
                // SAFETY: the highest address and all below lie in the block's shared memory.
                let same = unsafe { already(p.wrapping_add(addr[l] as usize), &values, l) };
                if races::shared_write(cx, addr[l] as u32, bytes as u32, l, same).is_err() {
                    return Flow::Fault;
                }
            }
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
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        if cx.launch.checks.races {
            // SAFETY: as above.
            let same = unsafe { already(p.wrapping_add(addr[l] as usize), &values, l) };
            if races::shared_write(cx, addr[l] as u32, bytes as u32, l, same).is_err() {
                return Flow::Fault;
            }
        }
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
        if races::lane_write(cx, place.kind, bytes, l, i.x, same).is_err() {
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
        Where::Global => count_sectors(cx, &addr, m, u64::from(bytes)),
        _ => {}
    }
    Flow::Next
}

/// Kernel parameters are the same for all lanes: `imm` is the offset.
unsafe fn ld_param(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
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

fn hot(load: bool, shared: bool, element: u32, count: usize) -> Option<OpPair> {
    macro_rules! pick {
        ($f:ident) => {
            match (element, count) {
                (2, 1) => op_versions!($f::<u16, 1>),
                (2, 2) => op_versions!($f::<u16, 2>),
                (2, 4) => op_versions!($f::<u16, 4>),
                (4, 1) => op_versions!($f::<u32, 1>),
                (4, 2) => op_versions!($f::<u32, 2>),
                (4, 4) => op_versions!($f::<u32, 4>),
                (8, 1) => op_versions!($f::<u64, 1>),
                (8, 2) => op_versions!($f::<u64, 2>),
                _ => return None,
            }
        };
    }
    Some(match (load, shared) {
        (true, false) => pick!(ld_global),
        (true, true) => pick!(ld_shared),
        (false, false) => pick!(st_global),
        (false, true) => pick!(st_shared),
    })
}

/// Cache hints and prefetch sizes that change nothing here.
pub fn take_hints(f: &mut Form<'_, '_>) -> bool {
    let policy = f.flag("L2::cache_hint");
    while f
        .one_of(&[
            "ca",
            "cg",
            "cs",
            "lu",
            "cv",
            "wb",
            "wt",
            "L1::evict_normal",
            "L1::evict_unchanged",
            "L1::evict_first",
            "L1::evict_last",
            "L1::no_allocate",
            "L2::evict_normal",
            "L2::evict_first",
            "L2::evict_last",
            "L2::64B",
            "L2::128B",
            "L2::256B",
            "level::eviction_priority",
        ])
        .is_some()
    {}
    policy
}

/// Takes ordering and scope; whether the access is strong.
pub fn take_order(f: &mut Form<'_, '_>) -> bool {
    let strong = f.one_of(&["volatile", "relaxed", "acquire", "release", "acq_rel", "mmio", "seq_cst"]);
    if strong.is_some() {
        f.one_of(&["cta", "cluster", "gpu", "sys"]);
        f.flag("mmio");
    }
    f.flag("weak");
    strong.is_some()
}

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    match f.ins.root {
        "ld" | "ldu" => load(lw, f),
        "st" => store(lw, f),
        "createpolicy" => {
            // A policy is an opaque number that nothing here reads.
            while f.find(|_| Some(())).is_some() {}
            let d = lw.dst(f.operands().first().unwrap_or(&Operand::Sink), Ty::B64)?;
            let k = lw.constant(Width::W64, 0);
            lw.emit(MInst::new(un(|a: u64| a)).d(d).a(k));
            Ok(())
        }
        _ => {
            // Prefetches and their like are hints and no accesses.
            while f.find(|_| Some(())).is_some() {}
            let Some(o) = f.operands().first() else { return lw.refuse("has no address") };
            lw.address(o)?;
            Ok(())
        }
    }
}

fn vector(f: &mut Form<'_, '_>) -> usize {
    match f.one_of(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    }
}

fn class(ty: Ty) -> u32 {
    match ty.bits() {
        ..=16 => 0,
        32 => 1,
        64 => 2,
        _ => 3,
    }
}

fn load<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ty = f.ty(lw)?;
    let ops = f.operands();
    let policy = take_hints(f);
    let strong = take_order(f);
    let nc = f.flag("nc");
    let space = f.find(Where::from_name).unwrap_or(Where::Generic);
    f.flag("unified");
    let count = vector(f);
    f.arity(lw, if policy { 3..=3 } else { 2..=2 })?;
    let parts = lw.components(&ops[0]).into_iter().cloned().collect::<Vec<_>>();
    if parts.len() != count {
        return lw.refuse(format!("has {} destinations, expected {count}", parts.len()));
    }
    if ty == Ty::Pred || (count as u32 * ty.bytes() > 32) || (ty == Ty::B128 && count > 1) {
        return lw.refuse("this vector does not exist");
    }
    let mut dests = Vec::new();
    let mut register = ty;
    for p in &parts {
        let (d, have) = lw.wide_dst(p, ty)?;
        if have.bits() > register.bits() || register == ty {
            register = if *p == Operand::Sink { register } else { have };
        }
        dests.push(d);
    }
    if parts.iter().any(|p| matches!(p, Operand::Reg(r) if Width::of(lw.reg_ty(*r)) != Width::of(register))) {
        return lw.refuse("the destinations have different widths");
    }
    for (k, p) in parts.iter().enumerate() {
        if *p == Operand::Sink {
            dests[k] = lw.temp_for(register);
        }
    }
    if space == Where::Param && !lw.f.entry {
        return load_function_param(lw, &ops[1], &dests, register, ty);
    }
    let a = lw.address(&ops[1])?;
    let mut x = ty.bytes() << 4 | (count as u32) << 9 | class(register) << WIDTH_SHIFT | space as u32;
    if ty.is_signed() {
        x |= SIGNED;
    }
    if strong {
        x |= STRONG;
    }
    if nc {
        x |= NON_COHERENT;
    }
    if space == Where::Param {
        if let Operand::Address(base, _) = &ops[1]
            && let Operand::Var(v, _) = **base
            && !lw.f.params.iter().any(|p| p.id == v)
        {
            return load_function_param(lw, &ops[1], &dests, register, ty);
        }
        if let Opnd::K(k) = a.base
            && let Some((base, false)) = lw.cx.constant_value(k)
        {
            let i = MInst::new(OpPair::same(ld_param)).list(&dests, &[]).imm(base as i64 + a.offset).x(x);
            lw.emit(i);
            return Ok(());
        }
    }
    if a.wide {
        x |= WIDE_ADDRESS;
    }
    let shared = space == Where::Shared;
    let fits = register.bits() == ty.bits() || (ty.bytes() == 2 && register.bits() == 32 && !ty.is_signed());
    let quick = if matches!(space, Where::Generic | Where::Global | Where::Const | Where::Shared) && fits {
        hot(true, shared, ty.bytes(), count)
    } else {
        None
    };
    let mut i = MInst::new(quick.unwrap_or(OpPair::same(ld_any))).a(a.base).imm(a.offset).x(x).list(&dests, &[]);
    i = i.taint(TaintRule::Address);
    if count == 1 {
        i = i.d(dests[0]);
    }
    lw.emit(i);
    Ok(())
}

/// A `.param` variable of a function body: its words are registers.
fn param_variable<'a>(lw: &mut Lower<'_, 'a>, o: &Operand<'a>, bytes: u32) -> Decoded<(Vec<Opnd>, u32)> {
    let Operand::Address(base, offset) = o else { return lw.refuse("an operand is not an address") };
    let Operand::Var(v, _) = **base else { return lw.refuse("a function's parameters are addressed by name only") };
    let var = &lw.f.variables[v as usize];
    if var.space != Space::Param || *offset < 0 || *offset as u64 + u64::from(bytes) > var.size {
        return lw.refuse("the access leaves its .param variable");
    }
    Ok((lw.param_words(v), *offset as u32))
}

fn load_function_param<'a>(lw: &mut Lower<'_, 'a>, o: &Operand<'a>, dests: &[Opnd], register: Ty, ty: Ty) -> Decoded {
    let (words, offset) = param_variable(lw, o, ty.bytes() * dests.len() as u32)?;
    for (k, d) in dests.iter().enumerate() {
        let at = offset + k as u32 * ty.bytes();
        let word = words[at as usize / 4];
        let i = match ty.bits() {
            64 => {
                let op = bin(|a: u32, b: u32| u64::from(a) | u64::from(b) << 32);
                MInst::new(op).a(word).b(words[at as usize / 4 + 1])
            }
            32 if register.bits() == 32 => MInst::new(un(|a: u32| a)).a(word),
            32 if ty.is_signed() => MInst::new(un(|a: i32| i64::from(a))).a(word),
            32 => MInst::new(un(|a: u32| u64::from(a))).a(word),
            bits @ (8 | 16) => {
                let shift = lw.k32(8 * (at % 4));
                let op = match (bits, ty.is_signed(), register.bits()) {
                    (8, false, 64) => bin(|a: u32, b: u32| u64::from((a >> b) as u8)),
                    (8, false, _) => bin(|a: u32, b: u32| u32::from((a >> b) as u8)),
                    (8, true, 64) => bin(|a: u32, b: u32| i64::from((a >> b) as i8)),
                    (8, true, 32) => bin(|a: u32, b: u32| i32::from((a >> b) as i8)),
                    (8, true, _) => bin(|a: u32, b: u32| i16::from((a >> b) as i8)),
                    (_, false, 64) => bin(|a: u32, b: u32| u64::from((a >> b) as u16)),
                    (_, false, _) => bin(|a: u32, b: u32| u32::from((a >> b) as u16)),
                    (_, true, 64) => bin(|a: u32, b: u32| i64::from((a >> b) as i16)),
                    (_, true, 32) => bin(|a: u32, b: u32| i32::from((a >> b) as i16)),
                    (_, true, _) => bin(|a: u32, b: u32| (a >> b) as i16),
                };
                MInst::new(op).a(word).b(shift)
            }
            _ => return lw.refuse("this type cannot be passed"),
        };
        lw.emit(i.d(*d));
    }
    Ok(())
}

fn store<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    if f.flag("async") {
        return super::copy::decode_remote(lw, f, false);
    }
    let ty = f.ty(lw)?;
    let ops = f.operands();
    let policy = take_hints(f);
    let strong = take_order(f);
    let space = f.find(|m| if m == "param::func" { Some(Where::Param) } else { Where::from_name(m) });
    let space = space.unwrap_or(Where::Generic);
    let count = vector(f);
    f.arity(lw, if policy { 3..=3 } else { 2..=2 })?;
    if matches!(space, Where::Const) {
        return lw.refuse("constant memory cannot be written");
    }
    let parts = lw.components(&ops[1]).into_iter().cloned().collect::<Vec<_>>();
    if parts.len() != count {
        return lw.refuse(format!("has {} sources, expected {count}", parts.len()));
    }
    if ty == Ty::Pred || (count as u32 * ty.bytes() > 32) || (ty == Ty::B128 && count > 1) {
        return lw.refuse("this vector does not exist");
    }
    let mut sources = Vec::new();
    let mut register = ty;
    for (k, p) in parts.iter().enumerate() {
        let (mut s, mut have) = lw.wide_src(p, ty)?;
        // Sources of one vector share a width class; a narrow store of a wide register takes its low word.
        if Width::of(have) == Width::W64 && ty.bits() <= 32 {
            let t = lw.temp(Width::W32);
            lw.emit(MInst::new(un(|a: u64| a as u32)).d(t).a(s));
            (s, have) = (t, Ty::B32);
        }
        if k == 0 || have.bits() > register.bits() {
            register = have;
        }
        sources.push(s);
    }
    if space == Where::Param {
        let (words, offset) = param_variable(lw, &ops[0], ty.bytes() * count as u32)?;
        return store_function_param(lw, &words, offset, &sources, ty);
    }
    let a: Address = lw.address(&ops[0])?;
    let mut x = ty.bytes() << 4 | (count as u32) << 9 | class(register) << WIDTH_SHIFT | space as u32;
    if strong {
        x |= STRONG;
    }
    if a.wide {
        x |= WIDE_ADDRESS;
    }
    let shared = space == Where::Shared;
    let quick = if matches!(space, Where::Generic | Where::Global | Where::Shared) {
        hot(false, shared, ty.bytes(), count)
    } else {
        None
    };
    let i = MInst::new(quick.unwrap_or(OpPair::same(st_any))).a(a.base).imm(a.offset).x(x).list(&[], &sources);
    lw.emit(i.taint(TaintRule::Address));
    Ok(())
}

fn store_function_param(lw: &mut Lower<'_, '_>, words: &[Opnd], offset: u32, sources: &[Opnd], ty: Ty) -> Decoded {
    for (k, s) in sources.iter().enumerate() {
        let at = offset + k as u32 * ty.bytes();
        let word = words[at as usize / 4];
        match ty.bits() {
            64 => {
                lw.emit(MInst::new(un(|a: u64| a as u32)).d(word).a(*s));
                lw.emit(MInst::new(un(|a: u64| (a >> 32) as u32)).d(words[at as usize / 4 + 1]).a(*s));
            }
            32 => lw.emit(MInst::new(un(|a: u32| a)).d(word).a(*s)),
            bits @ (8 | 16) => {
                // Parts of a word that were not written yet may hold anything.
                let shift = lw.k32(8 * (at % 4));
                let mask = lw.k32(((1u64 << bits) - 1) as u32);
                let t = lw.temp(Width::W32);
                lw.emit(MInst::new(bin(|a: u32, b: u32| a & b)).d(t).a(*s).b(mask));
                let op = OpPair::same(insert_part);
                lw.emit(MInst::new(op).d(word).a(t).b(shift).c(mask).keeps().taint(TaintRule::Own));
            }
            _ => return lw.refuse("this type cannot be passed"),
        }
    }
    Ok(())
}

/// Puts `a` (below the mask `c`) at bit `b` of `d`.
unsafe fn insert_part(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let out = std::array::from_fn(|l| {
        let (v, at, mask): (u32, u32, u32) = (cx.lane(i.a, l), cx.lane(i.b, l), cx.lane(i.c, l));
        (cx.lane::<u32>(i.d, l) & !(mask << at)) | v << at
    });
    cx.put(i.d, &out, m);
    taint::set(cx, i.d, m, 0);
    Flow::Next
}
