//! What loads and stores share: elements, where the addresses of a warp lie, traffic counts.

use super::WIDE_ADDRESS;
use crate::machine::exec::{Cx, Instr};

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

/// Sectors of 32 bytes that the lanes touch.
#[inline(always)]
pub(super) fn count_sectors(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, bytes: u64) {
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
pub(super) fn count_banks(cx: &mut Cx<'_>, addr: &[u64; 32], mask: u32, bytes: u64) {
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
pub(super) unsafe fn read_run<T: Element, const N: usize>(p: *const u8, out: &mut [[T; 32]; N]) {
    for l in 0..32 {
        for (k, o) in out.iter_mut().enumerate() {
            // SAFETY: the caller checked 32 × N elements from p on.
            o[l] = unsafe { p.cast::<T>().add(l * N + k).read_unaligned() };
        }
    }
}
