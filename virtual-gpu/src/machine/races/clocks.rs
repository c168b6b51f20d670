//! What a warp knows of other warps: vector clocks within the cluster, sparse ones of other clusters.

use std::collections::HashMap;
use std::sync::Arc;

/// Clocks of a block of another cluster, as it released them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// By warp: accesses before this time are known.
    pub seen: Vec<u32>,
    /// By warp: accesses that a proxy fence covers.
    pub proxy: Vec<u64>,
}

/// Clocks of other clusters, by block number modulo 65,536.
pub type Foreign = HashMap<u16, Arc<Entry>>;

/// Accesses known to have happened before.
#[derive(Debug, Clone, Default)]
pub struct Knowledge {
    /// By warp of the cluster: accesses before this time.
    pub seen: Vec<u32>,
    /// Blocks of other clusters.
    pub foreign: Option<Arc<Foreign>>,
}

/// What a warp knows, and what its fences make of it.
#[derive(Debug, Clone, Default)]
pub struct Clock {
    /// What happened before.
    pub now: Knowledge,
    /// By warp of the cluster: accesses that a proxy fence covers, as time in the high half and, for accesses at that
    /// very time, lanes in the low half.
    pub proxy: Vec<u64>,
    /// What happened before the last fence of scope `.cta` or wider, and of wider scope: a relaxed write behind it
    /// releases this.
    pub released: [Option<Box<Knowledge>>; 2],
}

/// The later of two proxy marks.
pub fn later(a: u64, b: u64) -> u64 {
    if a >> 32 == b >> 32 { a | b } else { a.max(b) }
}

fn join_seen(a: &mut [u32], b: &[u32]) {
    for (x, y) in a.iter_mut().zip(b) {
        *x = (*x).max(*y);
    }
}

fn join_proxy(a: &mut [u64], b: &[u64]) {
    for (x, y) in a.iter_mut().zip(b) {
        *x = later(*x, *y);
    }
}

/// Joins the knowledge of a block.
pub fn join_entry(into: &mut Foreign, block: u16, entry: &Arc<Entry>) {
    match into.get_mut(&block) {
        None => {
            into.insert(block, entry.clone());
        }
        Some(old) if Arc::ptr_eq(old, entry) => {}
        Some(old) => {
            let mut joined = Entry::clone(old);
            join_seen(&mut joined.seen, &entry.seen);
            join_proxy(&mut joined.proxy, &entry.proxy);
            if joined != **old {
                *old = Arc::new(joined);
            }
        }
    }
}

/// Joins knowledge of other clusters; the same table is not looked at again.
pub fn join_foreign(into: &mut Option<Arc<Foreign>>, from: &Option<Arc<Foreign>>) {
    let Some(new) = from else { return };
    match into {
        None => *into = Some(new.clone()),
        Some(old) if Arc::ptr_eq(old, new) => {}
        Some(old) => {
            let old = Arc::make_mut(old);
            for (block, entry) in new.iter() {
                join_entry(old, *block, entry);
            }
        }
    }
}

impl Knowledge {
    /// Joins other knowledge.
    pub fn join(&mut self, other: &Knowledge) {
        join_seen(&mut self.seen, &other.seen);
        join_foreign(&mut self.foreign, &other.foreign);
    }
}

impl Clock {
    /// A clock of `warps` warps that knows nothing.
    pub fn new(warps: usize) -> Clock {
        Clock { now: Knowledge { seen: vec![0; warps], foreign: None }, proxy: vec![0; warps], released: [None, None] }
    }

    /// Joins another clock.
    pub fn join(&mut self, other: &Clock) {
        self.now.join(&other.now);
        join_proxy(&mut self.proxy, &other.proxy);
        for (mine, released) in self.released.iter_mut().zip(&other.released) {
            match (mine, released) {
                (Some(mine), Some(released)) => mine.join(released),
                (mine @ None, Some(released)) => *mine = Some(released.clone()),
                (_, None) => {}
            }
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.now.seen.fill(0);
        self.now.foreign = None;
        self.proxy.fill(0);
        self.released = [None, None];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxy_marks_of_one_time_add_their_lanes() {
        assert_eq!(later(5 << 32 | 1, 5 << 32 | 2), 5 << 32 | 3);
        assert_eq!(later(5 << 32 | 7, 6 << 32 | 1), 6 << 32 | 1);
    }

    #[test]
    fn joins_take_the_later_of_each() {
        let entry = |t| Arc::new(Entry { seen: vec![t, 1], proxy: vec![0, 0] });
        let mut a = Foreign::from([(1, entry(3))]);
        join_entry(&mut a, 1, &entry(2));
        join_entry(&mut a, 2, &entry(9));
        assert_eq!((a[&1].seen[0], a[&2].seen[0]), (3, 9));
        let mut into = Some(Arc::new(Foreign::from([(1, entry(1))])));
        join_foreign(&mut into, &Some(Arc::new(a)));
        assert_eq!(into.map(|f| (f[&1].seen[0], f.len())), Some((3, 2)));
    }
}
