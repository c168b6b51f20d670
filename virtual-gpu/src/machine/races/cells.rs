//! Shadow cells: the last write and the last reads of each word.
//!
//! A word of 4 bytes has two cells of 64 bits, one for its last write and one for reads since. A cell says which launch,
//! block, warp and lane it was, at which time of the warp, which bytes, and in parts of which size: bytes of a word that
//! neighbouring lanes access in equal parts, as contiguous accesses of 1 and 2 bytes do, still have one cell. Where other
//! parts meet, the word is split and each of its bytes has two cells of its own.

/// Bytes of the word.
pub const MASK: u64 = 0xf;
/// log2 of the bytes that a lane accesses, at most 2, from bit 4.
pub const SIZE_SHIFT: u32 = 4;
/// Atomic, volatile, relaxed, acquire or release.
pub const STRONG: u64 = 1 << 6;
/// Of a read: through the non-coherent path, at any time of the launch.
pub const NON_COHERENT: u64 = 1 << 7;
/// Of a write: the bytes have cells of their own.
pub const SPLIT: u64 = 1 << 7;
/// Of a read: besides the lane noted, other lanes, warps or blocks have read it unordered with it.
pub const LANES: u64 = 1 << 8;
/// See `LANES`.
pub const WARPS: u64 = 1 << 9;
/// See `LANES`.
pub const BLOCKS: u64 = 1 << 10;
/// See `LANES`.
pub const SEVERAL: u64 = LANES | WARPS | BLOCKS;
/// Lane of byte 0, from bit 11.
pub const LANE_SHIFT: u32 = 11;
/// Warp of the block, from bit 16.
pub const WARP_SHIFT: u32 = 16;
/// Time of the warp, from bit 21.
pub const TIME_SHIFT: u32 = 21;
/// Block number modulo 65,536, or rank in the cluster, from bit 37.
pub const BLOCK_SHIFT: u32 = 37;
/// Launch, from bit 53; 0 is none.
pub const LAUNCH_SHIFT: u32 = 53;
/// Launches that cells tell apart.
pub const LAUNCHES: u64 = 1 << (64 - LAUNCH_SHIFT);
/// Times that cells tell apart; a warp that goes beyond is not followed any more.
pub const TIMES: u32 = 1 << 16;

/// Fields that say which thread it was, in parts of which size.
const IDENTITY: u64 = !((1 << BLOCK_SHIFT) - 1) | 0x3ff << LANE_SHIFT | 3 << SIZE_SHIFT;

/// A field of a cell.
#[inline(always)]
pub fn field(cell: u64, shift: u32, bits: u32) -> u32 {
    (cell >> shift) as u32 & ((1 << bits) - 1)
}

/// Launch of a cell.
#[inline(always)]
pub fn launch_of(cell: u64) -> u64 {
    cell >> LAUNCH_SHIFT
}

/// The lane that a cell notes for a byte of the word.
#[inline(always)]
pub fn lane_at(cell: u64, byte: u32) -> u32 {
    (field(cell, LANE_SHIFT, 5) + (byte >> field(cell, SIZE_SHIFT, 2))) & 31
}

/// Cells of a range of words.
#[derive(Clone, Copy)]
pub struct Cells {
    /// Write cell of the first word.
    pub writes: *mut u64,
    /// Read cell of the first word.
    pub reads: *mut u64,
    /// Write and read cells of the first word's bytes, eight in all; null where there are none yet.
    pub bytes: *mut u64,
}

impl Cells {
    /// The cells of word `k`.
    ///
    /// # Safety
    /// The range has more than `k` words.
    #[inline(always)]
    pub unsafe fn at(self, k: usize) -> Cells {
        let bytes = if self.bytes.is_null() { self.bytes } else { self.bytes.wrapping_add(8 * k) };
        Cells { writes: self.writes.wrapping_add(k), reads: self.reads.wrapping_add(k), bytes }
    }
}

/// A full warp reads or writes contiguous elements of `1 << log` bytes from a whole word on. False: one of the words needs
/// a closer look, and nothing was recorded. `stamp` has neither lanes nor mask nor size.
///
/// # Safety
/// The range has the words, and they are words of live memory. Several workers may use a cell at once; cells are then lost,
/// which loses a report at worst.
#[inline(always)]
pub unsafe fn contiguous(cells: Cells, stamp: u64, log: u32, write: bool) -> bool {
    let words = 8usize << log;
    let base = stamp | MASK | u64::from(log.min(2)) << SIZE_SHIFT;
    let launch = launch_of(stamp);
    let mut closer = 0u64;
    for k in 0..words {
        // SAFETY: as the caller guarantees.
        let (w, r) = unsafe { (*cells.writes.add(k), *cells.reads.add(k)) };
        let me = base | lane(k, log);
        closer |= u64::from(launch_of(w) == launch && (w ^ me) & (IDENTITY | SPLIT) != 0);
        // Reads of other blocks are noted once for all, unless they meet a write.
        let foreign = if write {
            (r ^ me) & (IDENTITY | SEVERAL | NON_COHERENT) != 0
        } else {
            r & BLOCKS == 0 && (r ^ me) & IDENTITY != 0
        };
        closer |= u64::from(launch_of(r) == launch && foreign);
    }
    if closer != 0 {
        return false;
    }
    for k in 0..words {
        // SAFETY: as the caller guarantees.
        unsafe {
            let r = cells.reads.add(k);
            if write {
                *cells.writes.add(k) = base | lane(k, log);
                *r = 0;
            } else {
                let kept = launch_of(*r) == launch && *r & BLOCKS != 0;
                let sticky = if launch_of(*r) == launch { *r & NON_COHERENT } else { 0 };
                *r = if kept { *r | stamp & NON_COHERENT } else { base | lane(k, log) | sticky };
            }
        }
    }
    true
}

#[inline(always)]
fn lane(k: usize, log: u32) -> u64 {
    ((4 * k as u64) >> log & 31) << LANE_SHIFT
}

/// A lane reads a whole word that no other thread of the launch has touched, or that other blocks have read. False: the word
/// needs a closer look, and nothing was recorded. `me` is the whole cell.
///
/// # Safety
/// As for `contiguous`.
#[inline(always)]
pub unsafe fn read_alone(c: Cells, me: u64) -> bool {
    // SAFETY: as the caller guarantees.
    let (w, r) = unsafe { (*c.writes, *c.reads) };
    let launch = launch_of(me);
    if launch_of(w) == launch && (w ^ me) & (IDENTITY | SPLIT) != 0 {
        return false;
    }
    let new = if launch_of(r) != launch {
        me
    } else if r & BLOCKS != 0 {
        r | me & NON_COHERENT
    } else if (r ^ me) & IDENTITY == 0 {
        me | r & (SEVERAL | NON_COHERENT)
    } else {
        return false;
    };
    // SAFETY: as the caller guarantees.
    unsafe { *c.reads = new };
    true
}

/// As `read_alone`, of a write.
///
/// # Safety
/// As for `contiguous`.
#[inline(always)]
pub unsafe fn write_alone(c: Cells, me: u64) -> bool {
    // SAFETY: as the caller guarantees.
    let (w, r) = unsafe { (*c.writes, *c.reads) };
    let launch = launch_of(me);
    let foreign = |old: u64, more: u64| launch_of(old) == launch && (old ^ me) & (IDENTITY | more) != 0;
    if foreign(w, SPLIT) || foreign(r, SEVERAL | NON_COHERENT) {
        return false;
    }
    // SAFETY: as the caller guarantees.
    unsafe {
        *c.writes = me;
        *c.reads = 0;
    }
    true
}

/// Whether a write cell is of another warp or launch than `me`: then all lanes of a warp stand alike to it.
#[inline(always)]
pub fn is_foreign(w: u64, me: u64) -> bool {
    (w ^ me) >> BLOCK_SHIFT != 0 || (w ^ me) >> WARP_SHIFT & 0x1f != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_overlap() {
        let widths = [(0, 4), (4, 2), (6, 1), (7, 1), (8, 3), (11, 5), (16, 5), (21, 16), (37, 16), (53, 11)];
        let mut at = 0;
        for (shift, bits) in widths {
            assert_eq!(shift, at);
            at += bits;
        }
        assert_eq!(at, 64);
        assert_eq!((TIMES, LAUNCHES), (1 << 16, 1 << 11));
    }

    #[test]
    fn contiguous_accesses_give_each_byte_its_lane() {
        let (mut w, mut r) = (vec![0u64; 128], vec![0u64; 128]);
        for log in 0..=4u32 {
            w.fill(0);
            let cells = Cells { writes: w.as_mut_ptr(), reads: r.as_mut_ptr(), bytes: std::ptr::null_mut() };
            // SAFETY: 128 words are the most that a warp accesses.
            assert!(unsafe { contiguous(cells, 3 << LAUNCH_SHIFT, log, true) });
            for byte in 0..32u32 << log {
                assert_eq!(lane_at(w[byte as usize / 4], byte % 4), byte >> log, "{log} {byte}");
            }
        }
    }
}
