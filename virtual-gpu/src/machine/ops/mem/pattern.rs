//! What loads and stores share: elements, where the addresses of a warp lie, traffic counts.

use super::WIDE_ADDRESS;
use crate::machine::exec::{Cx, Instr};
use crate::machine::l2::Use;
#[cfg(target_arch = "x86_64")]
use crate::machine::lanes::wide_vectors;

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
pub(super) enum Pattern {
    /// Each lane's element behind that of the lane before, from this address on; all lanes active.
    Contiguous(u64),
    /// All active lanes at this address.
    Equal(u64),
    /// Anything else.
    Scattered,
}

#[inline(always)]
pub(super) unsafe fn addresses(cx: &Cx<'_>, i: &Instr) -> [u64; 32] {
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
pub(super) fn pattern(addr: &[u64; 32], mask: u32, stride: u64) -> Pattern {
    let first = addr[(mask.trailing_zeros() & 31) as usize];
    #[cfg(target_arch = "x86_64")]
    if wide_vectors() {
        // SAFETY: the machine has AVX-512.
        return match unsafe { differences_wide(addr, mask, first, stride) } {
            (0, _) if mask == u32::MAX => Pattern::Contiguous(first),
            (_, 0) => Pattern::Equal(first),
            _ => Pattern::Scattered,
        };
    }
    let (mut run, mut same) = (0, 0);
    for l in 0..32 {
        run |= addr[l] ^ first.wrapping_add(l as u64 * stride);
        same |= if mask >> l & 1 != 0 { addr[l] ^ first } else { 0 };
    }
    match (run, same) {
        (0, _) if mask == u32::MAX => Pattern::Contiguous(first),
        (_, 0) => Pattern::Equal(first),
        _ => Pattern::Scattered,
    }
}

/// Lanes that are not at `first + lane × stride`, and active ones that are not at `first`.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn differences_wide(addr: &[u64; 32], mask: u32, first: u64, stride: u64) -> (u32, u32) {
    use std::arch::x86_64::*;
    let start = _mm512_set1_epi64(first as i64);
    let step = _mm512_set1_epi64(8 * stride as i64);
    let s = stride as i64;
    let ramp = _mm512_setr_epi64(0, s, 2 * s, 3 * s, 4 * s, 5 * s, 6 * s, 7 * s);
    let mut expected = _mm512_add_epi64(start, ramp);
    let (mut run, mut same) = (0u32, 0u32);
    for k in 0..4 {
        // SAFETY: eight of 32 addresses.
        let v = unsafe { _mm512_loadu_si512(addr.as_ptr().add(8 * k).cast()) };
        run |= u32::from(_mm512_cmpneq_epi64_mask(v, expected)) << (8 * k);
        same |= u32::from(_mm512_cmpneq_epi64_mask(v, start)) << (8 * k);
        expected = _mm512_add_epi64(expected, step);
    }
    (run, same & mask)
}

/// Lowest and highest address of the active lanes, and all their bits.
#[inline(always)]
pub(super) fn bounds(addr: &[u64; 32], mask: u32) -> (u64, u64, u64) {
    #[cfg(target_arch = "x86_64")]
    if wide_vectors() {
        // SAFETY: the machine has AVX-512.
        return unsafe { bounds_wide(addr, mask) };
    }
    let (mut low, mut high, mut bits) = (u64::MAX, 0, 0);
    for l in 0..32 {
        let on = mask >> l & 1 != 0;
        low = low.min(if on { addr[l] } else { u64::MAX });
        high = high.max(if on { addr[l] } else { 0 });
        bits |= if on { addr[l] } else { 0 };
    }
    (low, high, bits)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn bounds_wide(addr: &[u64; 32], mask: u32) -> (u64, u64, u64) {
    use std::arch::x86_64::*;
    let ones = _mm512_set1_epi64(-1);
    let (mut low, mut high, mut bits) = (ones, _mm512_setzero_si512(), _mm512_setzero_si512());
    for k in 0..4 {
        let on = (mask >> (8 * k)) as u8;
        // SAFETY: eight of 32 addresses.
        let v = unsafe { _mm512_loadu_si512(addr.as_ptr().add(8 * k).cast()) };
        low = _mm512_mask_min_epu64(low, on, low, v);
        high = _mm512_mask_max_epu64(high, on, high, v);
        bits = _mm512_mask_or_epi64(bits, on, bits, v);
    }
    (_mm512_reduce_min_epu64(low), _mm512_reduce_max_epu64(high), _mm512_reduce_or_epi64(bits) as u64)
}

/// Whether `[at, at + bytes)` lies in the allocation that the instruction last saw, or in one that is found.
#[inline(always)]
pub(super) fn global_range(cx: &mut Cx<'_>, at: u64, bytes: u64) -> bool {
    let cached = cx.worker.ranges[cx.pc as usize];
    if at >= cached.base && at.wrapping_add(bytes) <= cached.end && at < cached.end {
        return true;
    }
    global_lookup(cx, at, bytes)
}

#[cold]
pub(super) fn global_lookup(cx: &mut Cx<'_>, at: u64, bytes: u64) -> bool {
    if let Some(r) = cx.launch.memory.range(at)
        && bytes <= r.end - at
    {
        cx.worker.ranges[cx.pc as usize] = r;
        return true;
    }
    false
}

/// A run of bytes goes to the modelled L2.
#[inline(always)]
pub fn reach(cx: &mut Cx<'_>, address: u64, bytes: u64, how: Use) {
    if cx.launch.config.l2 {
        cx.launch.memory.l2.touch(&mut cx.worker.traffic, address, bytes, how);
    }
}

/// The sectors of the lanes go to the modelled L2, each once.
#[cold]
fn reach_sectors(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, bytes: u64, how: Use) {
    let mut seen = Vec::with_capacity(64);
    for l in (0..32).filter(|l| mask >> l & 1 != 0) {
        for s in addr[l] / 32..=(addr[l] + bytes - 1) / 32 {
            if !seen.contains(&s) {
                seen.push(s);
                reach(cx, s * 32, 32, how);
            }
        }
    }
}

/// Address patterns that instructions used last, and the traffic that was counted for them. Sectors depend on the
/// distances between the lanes and the first address's place in its sector, bank conflicts on the distances alone.
pub struct Patterns {
    /// By instruction: one more than the place of its entry; 0 for none.
    places: Vec<u32>,
    entries: Vec<Known>,
}

struct Known {
    mask: u32,
    low: u32,
    value: u32,
    distances: [u32; 32],
}

impl Patterns {
    /// For a program of this many instructions.
    pub fn new(instructions: usize) -> Patterns {
        Patterns { places: vec![0; instructions], entries: Vec::new() }
    }
}

/// `count` of these addresses, looked up where the instruction had the same pattern before.
#[inline(always)]
fn known(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, low: u64, count: impl FnOnce() -> u64) -> u64 {
    let first = addr[(mask.trailing_zeros() & 31) as usize];
    let mut distances = [0u32; 32];
    let mut far = 0;
    for l in 0..32 {
        let d = if mask >> l & 1 != 0 { addr[l].wrapping_sub(first).wrapping_add(1 << 31) } else { 0 };
        distances[l] = d as u32;
        far |= d >> 32;
    }
    let patterns = &mut cx.worker.patterns;
    let place = patterns.places[cx.pc as usize] as usize;
    if let Some(entry) = patterns.entries.get(place.wrapping_sub(1)) {
        let mut off = (entry.mask ^ mask) | (entry.low ^ low as u32) | far as u32;
        for l in 0..32 {
            off |= distances[l] ^ entry.distances[l];
        }
        if off == 0 {
            return u64::from(entry.value);
        }
    }
    let value = count();
    if far == 0 {
        let entry = Known { mask, low: low as u32, value: value as u32, distances };
        match patterns.entries.get_mut(place.wrapping_sub(1)) {
            Some(old) => *old = entry,
            None => {
                patterns.entries.push(entry);
                patterns.places[cx.pc as usize] = patterns.entries.len() as u32;
            }
        }
    }
    value
}

/// Sectors of 32 bytes that the lanes touch.
#[inline(always)]
pub(super) fn count_sectors(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, bytes: u64, how: Use) {
    if cx.launch.config.l2 {
        reach_sectors(cx, addr, mask, bytes, how);
    }
    let low = addr[(mask.trailing_zeros() & 31) as usize] % 32;
    let sectors = known(cx, addr, mask, low, || sectors(addr, mask, bytes));
    let t = &mut cx.worker.traffic;
    t.global_requests += 1;
    t.sectors += sectors;
    t.sectors_needed += (u64::from(mask.count_ones()) * bytes).div_ceil(32).min(sectors);
}

fn sectors(addr: &[u64; 32], mask: u32, bytes: u64) -> u64 {
    // Accesses are aligned: each lies in one sector, or is a whole number of them.
    let first = addr[(mask.trailing_zeros() & 31) as usize] / 32;
    let (mut near, mut far) = (0u64, 0u64);
    for l in 0..32 {
        let d = (addr[l] / 32).wrapping_sub(first).wrapping_add(16);
        let on = mask >> l & 1 != 0;
        near |= if on { 1u64.wrapping_shl(d as u32) } else { 0 };
        far |= if on { d & !63 } else { 0 };
    }
    if far == 0 {
        return u64::from(near.count_ones()) * bytes.div_ceil(32);
    }
    // Sectors already counted, in a table of twice the lanes with linear probing.
    let mut seen = [u64::MAX; 64];
    let mut count = 0;
    let mut left = mask;
    while left != 0 {
        let s = addr[left.trailing_zeros() as usize & 31] / 32;
        left &= left - 1;
        let mut k = (s.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58) as usize;
        while seen[k & 63] != s {
            if seen[k & 63] == u64::MAX {
                seen[k & 63] = s;
                count += 1;
                break;
            }
            k += 1;
        }
    }
    count * bytes.div_ceil(32)
}

/// Passes that the 32 banks need.
#[inline(always)]
pub fn count_banks(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, bytes: u64) {
    let passes = known(cx, addr, mask, 0, || passes(addr, mask, bytes));
    let group = 128 / bytes.clamp(4, 16) as u32;
    let groups = (0..32 / group).filter(|g| mask >> (g * group) & (u32::MAX >> (32 - group)) != 0).count() as u64;
    let t = &mut cx.worker.traffic;
    t.shared_requests += 1;
    t.shared_passes += passes.max(1);
    let conflicts = passes.saturating_sub(groups);
    if conflicts != 0 {
        t.bank_conflicts += conflicts;
        cx.worker.conflicts[cx.pc as usize] += conflicts;
    }
}

fn passes(addr: &[u64; 32], mask: u32, bytes: u64) -> u64 {
    // Lanes are served in groups whose words fill the banks once; a lane's words lie in neighbouring banks.
    let unit = bytes.clamp(4, 16);
    let group = (128 / unit) as usize;
    let mut passes = 0;
    for from in (0..32).step_by(group) {
        let active = mask >> from & (u32::MAX >> (32 - group));
        if active == 0 {
            continue;
        }
        let first = addr[from + active.trailing_zeros() as usize];
        let mut off = 0;
        for l in from..from + group {
            off |= if mask >> l & 1 != 0 { addr[l] ^ first } else { 0 };
        }
        passes += if off < 128 { 1 } else { conflicts(addr, active, from, unit) };
    }
    passes
}

/// The most different words that a group of lanes wants of one bank.
fn conflicts(addr: &[u64; 32], active: u32, from: usize, unit: u64) -> u64 {
    const NONE: u8 = 32;
    let slots = 128 / unit;
    // The words of each bank as a list of the lanes that asked for them first.
    let (mut head, mut next, mut depth) = ([NONE; 32], [NONE; 32], [0u8; 32]);
    let mut most = 0;
    let mut left = active;
    while left != 0 {
        let l = left.trailing_zeros() as usize & 31;
        left &= left - 1;
        let word = addr[from + l] / unit;
        let slot = (word % slots) as usize & 31;
        let mut k = head[slot];
        while k != NONE && addr[from + usize::from(k & 31)] / unit != word {
            k = next[usize::from(k & 31)];
        }
        if k == NONE {
            next[l] = head[slot];
            head[slot] = l as u8;
            depth[slot] += 1;
            most = most.max(depth[slot]);
        }
    }
    u64::from(most)
}

/// Reads N elements for each lane of a contiguous run.
///
/// # Safety
/// 32 × N elements can be read at `p`.
#[inline(always)]
pub(super) unsafe fn read_run<T: Element, const N: usize>(p: *const u8, out: &mut [[T; 32]; N]) {
    // SAFETY: the caller guarantees the run; with four elements a lane, each address has 16 bytes.
    unsafe {
        if N == 1 {
            out[0] = p.cast::<[T; 32]>().read_unaligned();
            return;
        }
        let at: [*const u8; 32] = std::array::from_fn(|l| p.wrapping_add(l * N * size_of::<T>()));
        gather(&at, out);
    }
}

/// Reads N elements for each lane.
///
/// # Safety
/// N elements can be read at each address.
#[inline(always)]
pub(super) unsafe fn gather<T: Element, const N: usize>(at: &[*const u8; 32], out: &mut [[T; 32]; N]) {
    #[cfg(target_arch = "x86_64")]
    if T::BYTES == 4 && N == 4 {
        use std::arch::x86_64::*;
        for l in (0..32).step_by(4) {
            // SAFETY: 16 bytes at each address, as the caller guarantees; SSE2 is part of x86-64. `out` has four arrays
            // of 32 values of 4 bytes.
            unsafe {
                let mut a = _mm_loadu_ps(at[l].cast());
                let mut b = _mm_loadu_ps(at[l + 1].cast());
                let mut c = _mm_loadu_ps(at[l + 2].cast());
                let mut d = _mm_loadu_ps(at[l + 3].cast());
                _MM_TRANSPOSE4_PS(&mut a, &mut b, &mut c, &mut d);
                let to = out.as_mut_ptr().cast::<f32>().add(l);
                _mm_storeu_ps(to, a);
                _mm_storeu_ps(to.add(32), b);
                _mm_storeu_ps(to.add(64), c);
                _mm_storeu_ps(to.add(96), d);
            }
        }
        return;
    }
    for l in 0..32 {
        let p = at[l].cast::<T>();
        for (k, o) in out.iter_mut().enumerate() {
            // SAFETY: as the caller guarantees.
            o[l] = unsafe { p.add(k).read_unaligned() };
        }
    }
}
