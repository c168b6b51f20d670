//! Memory of fixed addresses for the work of one captured graph.
//!
//! What the captured work frees is given to what it allocates later: legal because every replay runs the same work in
//! the same order on one stream. The segments live as long as the graph and whatever outlives the capture in them.

use super::{CudaDevice, CudaMemory};
use crate::Result;
use parking_lot::Mutex;
use std::collections::BTreeMap;

/// What blocks are multiples of, and aligned to: as the driver's own allocations.
const GRAIN: u64 = 512;
/// The smallest segment that the driver is asked for.
const SEGMENT: u64 = 2 << 20;

/// The memory of one graph.
#[derive(Debug, Default)]
pub(super) struct Arena {
    segments: Mutex<Vec<Segment>>,
}

#[derive(Debug)]
struct Segment {
    memory: CudaMemory,
    free: Runs,
}

impl Arena {
    /// A block of at least that many bytes.
    pub fn take(&self, device: &CudaDevice, bytes: usize) -> Result<u64> {
        let bytes = (bytes as u64).next_multiple_of(GRAIN);
        let mut segments = self.segments.lock();
        // The segment that fits best, so that large runs stay whole.
        let best = segments.iter_mut().filter_map(|s| s.free.best(bytes).map(|run| (run, s))).min_by_key(|(r, _)| r.1);
        if let Some((run, segment)) = best {
            segment.free.cut(run, bytes);
            return Ok(run.0);
        }
        // Segments grow with the arena, so that there are few.
        let held: u64 = segments.iter().map(|segment| segment.memory.len() as u64).sum();
        let size = bytes.max(held / 2).next_multiple_of(SEGMENT);
        let memory = CudaMemory::of_driver(device, size as usize)?;
        let start = memory.address();
        let mut free = Runs::default();
        free.give(start, size);
        free.cut((start, size), bytes);
        segments.push(Segment { memory, free });
        Ok(start)
    }

    /// Takes a block back.
    pub fn give(&self, address: u64, bytes: usize) {
        let bytes = (bytes as u64).next_multiple_of(GRAIN);
        let mut segments = self.segments.lock();
        let holds =
            |s: &&mut Segment| (s.memory.address()..s.memory.address() + s.memory.len() as u64).contains(&address);
        if let Some(segment) = segments.iter_mut().find(holds) {
            segment.free.give(address, bytes);
        }
    }
}

/// Free runs of one segment, by address; neighbours are merged.
#[derive(Debug, Default)]
struct Runs {
    by_start: BTreeMap<u64, u64>,
}

impl Runs {
    /// The smallest run of at least that many bytes, the lowest of equals: its start and size.
    fn best(&self, bytes: u64) -> Option<(u64, u64)> {
        let fits = self.by_start.iter().filter(|&(_, &size)| size >= bytes);
        fits.min_by_key(|&(_, &size)| size).map(|(&start, &size)| (start, size))
    }

    /// Takes the first `bytes` out of a run.
    fn cut(&mut self, (start, size): (u64, u64), bytes: u64) {
        self.by_start.remove(&start);
        if size > bytes {
            self.by_start.insert(start + bytes, size - bytes);
        }
    }

    fn give(&mut self, mut start: u64, mut size: u64) {
        if let Some(next) = self.by_start.remove(&(start + size)) {
            size += next;
        }
        if let Some((&before, &length)) = self.by_start.range(..start).next_back()
            && before + length == start
        {
            (start, size) = (before, length + size);
        }
        self.by_start.insert(start, size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(of: &Runs) -> Vec<(u64, u64)> {
        of.by_start.iter().map(|(&start, &size)| (start, size)).collect()
    }

    #[test]
    fn freed_neighbours_become_one_run() {
        let mut free = Runs::default();
        free.give(0, 100);
        for _ in 0..4 {
            let run = free.best(20).unwrap();
            free.cut(run, 20);
        }
        assert_eq!(runs(&free), [(80, 20)]);
        free.give(20, 20);
        free.give(60, 20);
        assert_eq!(runs(&free), [(20, 20), (60, 40)], "the run behind is joined");
        free.give(40, 20);
        assert_eq!(runs(&free), [(20, 80)], "both sides");
        free.give(0, 20);
        assert_eq!(runs(&free), [(0, 100)], "the run before");
    }

    #[test]
    fn the_smallest_run_that_fits_is_taken() {
        let mut free = Runs::default();
        for (start, size) in [(0, 50), (100, 30), (200, 40), (300, 30)] {
            free.give(start, size);
        }
        assert_eq!(free.best(30), Some((100, 30)), "the lowest of equals");
        assert_eq!(free.best(31), Some((200, 40)));
        assert_eq!(free.best(51), None);
    }
}
