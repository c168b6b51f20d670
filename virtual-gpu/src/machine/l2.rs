//! A model of the L2 cache: what of a launch's global traffic reaches DRAM.
//!
//! Lines of 128 bytes in four sectors, 16 ways, least recently used first out; the device model says how large. There is no
//! L1 in front of it: every sector that a request touches is looked up. Writes take a sector without reading it and reach DRAM
//! when their line is displaced. The contents outlive launches, as they do on a device.

use super::counters::Traffic;
use std::sync::{Mutex, PoisonError};

const LINE: u64 = 128;
const SECTOR: u64 = 32;
const WAYS: usize = 16;

#[derive(Clone, Copy, Default)]
struct Line {
    /// Address over the line size, plus one; 0 is empty.
    tag: u64,
    /// When it was last used.
    used: u64,
    /// Sectors present, one bit each, and those that DRAM does not have yet.
    present: u8,
    dirty: u8,
}

#[derive(Default)]
struct Cache {
    lines: Vec<Line>,
    clock: u64,
}

/// What a request does to its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    Read,
    Write,
    Update,
}

/// One device's L2 cache.
pub(super) struct L2 {
    sets: u64,
    cache: Mutex<Cache>,
}

impl L2 {
    /// An empty cache of `bytes`.
    pub fn new(bytes: u64) -> L2 {
        L2 { sets: (bytes / LINE / WAYS as u64).max(1), cache: Mutex::default() }
    }

    /// A request reads, writes or updates a run of bytes.
    pub fn touch(&self, traffic: &mut Traffic, address: u64, bytes: u64, how: Use) {
        if bytes == 0 {
            return;
        }
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.lines.is_empty() {
            cache.lines = vec![Line::default(); self.sets as usize * WAYS];
        }
        let (first, last) = (address / SECTOR, (address + bytes - 1) / SECTOR);
        let mut at = first;
        while at <= last {
            let line = at / (LINE / SECTOR);
            let end = ((line + 1) * (LINE / SECTOR) - 1).min(last);
            let sectors = (at..=end).fold(0u8, |s, k| s | 1 << (k % (LINE / SECTOR)));
            self.line(&mut cache, traffic, line, sectors, how);
            at = end + 1;
        }
    }

    fn line(&self, cache: &mut Cache, traffic: &mut Traffic, line: u64, sectors: u8, how: Use) {
        cache.clock += 1;
        let clock = cache.clock;
        let set = (line % self.sets) as usize * WAYS;
        let ways = &mut cache.lines[set..set + WAYS];
        let place = match ways.iter().position(|w| w.tag == line + 1) {
            Some(place) => place,
            None => {
                let (place, _) = ways.iter().enumerate().min_by_key(|(_, w)| w.used).unwrap_or((0, &ways[0]));
                traffic.dram_written += SECTOR * u64::from(ways[place].dirty.count_ones());
                ways[place] = Line { tag: line + 1, ..Line::default() };
                place
            }
        };
        let way = &mut ways[place];
        way.used = clock;
        let hits = u64::from((sectors & way.present).count_ones());
        let misses = u64::from(sectors.count_ones()) - hits;
        traffic.l2_hits += hits;
        traffic.l2_misses += misses;
        way.present |= sectors;
        if how != Use::Read {
            way.dirty |= sectors;
        }
        if how != Use::Write {
            traffic.dram_read += SECTOR * misses;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_read_hits_and_a_displaced_write_reaches_dram() {
        // Two sets of 16 ways.
        let cache = L2::new(4096);
        let mut t = Traffic::default();
        cache.touch(&mut t, 0, 128, Use::Read);
        assert_eq!((t.l2_hits, t.l2_misses, t.dram_read), (0, 4, 128));
        cache.touch(&mut t, 16, 32, Use::Read);
        assert_eq!((t.l2_hits, t.l2_misses, t.dram_read), (2, 4, 128));
        cache.touch(&mut t, 256, 4, Use::Write);
        assert_eq!((t.l2_misses, t.dram_read, t.dram_written), (5, 128, 0));
        // 16 more lines of the same set displace both.
        for k in 2..18 {
            cache.touch(&mut t, 256 * k, 4, Use::Read);
        }
        assert_eq!((t.dram_read, t.dram_written), (128 + 16 * 32, 32));
        cache.touch(&mut t, 0, 1, Use::Update);
        assert_eq!((t.l2_hits, t.dram_read), (2, 128 + 17 * 32));
    }
}
