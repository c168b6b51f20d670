//! Order between the launches of several streams.
//!
//! A launch carries its place: its stream, its number there, and what of each other stream is over before it starts. Cells
//! of the race check note launches by a small number; the table here says which launch that was.

use super::fault::{Fault, FaultKind};
use super::memory::Memory;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Place of a piece of work among the work of all streams. The default is ordered behind everything before it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamTag {
    /// The stream.
    pub stream: u64,
    /// Number of the work in its stream, from 1; 0 where order is not known.
    pub number: u64,
    /// For each stream the number of the last work that is known to be over before.
    pub after: Arc<BTreeMap<u64, u64>>,
    /// Of a node of a graph: its place within the launch of the graph.
    pub node: Option<GraphNode>,
    /// Of a grid with programmatic stream serialisation: the work in front, which may not be over before the grid waits
    /// for it.
    pub ahead: Option<u64>,
}

/// A node's place in one launch of a graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GraphNode {
    /// Its number.
    pub index: u32,
    /// Numbers of the nodes that are over before, as bits.
    pub after: Arc<Vec<u64>>,
    /// A node that is not among them has run.
    pub beside: bool,
}

impl GraphNode {
    fn follows(&self, index: u32) -> bool {
        index == self.index || self.after.get(index as usize / 64).is_some_and(|word| word >> (index % 64) & 1 != 0)
    }
}

/// What a piece of work was.
#[derive(Debug, Clone, Copy)]
struct Mark {
    stream: u64,
    number: u64,
    node: Option<u32>,
}

/// A launch's place in the table.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    tag: StreamTag,
    /// Launches of this memory so far.
    pub sequence: u64,
    /// Some earlier launch or copy is not known to be over before.
    pub concurrent: bool,
    /// Copies that are not.
    copies: Vec<Copied>,
    /// Copies of this memory so far.
    copied: u64,
}

/// Bytes that a copy or a fill read or wrote.
#[derive(Debug, Clone)]
struct Copied {
    from: u64,
    to: u64,
    write: bool,
    mark: Mark,
}

impl Copied {
    fn meets(&self, from: u64, to: u64, write: bool) -> bool {
        self.from < to && from < self.to && (self.write || write)
    }

    fn describe(&self) -> String {
        let verb = if self.write { "write" } else { "read" };
        format!("the {verb} by a copy of [{:#x}, {:#x}) in stream {}", self.from, self.to, self.mark.stream)
    }
}

struct Record {
    sequence: u64,
    mark: Mark,
    name: String,
}

#[derive(Default)]
struct Table {
    /// By number in cells.
    records: Vec<Option<Record>>,
    /// Last number of each stream.
    last: BTreeMap<u64, u64>,
    /// The latest copies.
    copies: VecDeque<Copied>,
    /// Copies ever.
    copied: u64,
}

/// Launches of one memory.
#[derive(Default)]
pub(super) struct Launches {
    newest: AtomicU64,
    table: Mutex<Table>,
}

/// Numbers in cells: 1 and up.
const NUMBERS: u64 = super::races::LAUNCHES - 1;
/// Streams that are told apart; beyond that all are forgotten.
const STREAMS: usize = 1024;
/// Copies that are remembered.
const COPIES: usize = 1024;

impl StreamTag {
    fn mark(&self) -> Mark {
        Mark { stream: self.stream, number: self.number, node: self.node.as_ref().map(|n| n.index) }
    }

    /// Whether a piece of work is over before this one; `waited`: this one has waited for the grid in front.
    fn follows(&self, other: Mark, waited: bool) -> bool {
        if self.number == 0 || other.number == 0 {
            return true;
        }
        if other.stream != self.stream {
            return self.after.get(&other.stream).is_some_and(|n| *n >= other.number);
        }
        match (&self.node, other.node) {
            (Some(node), Some(index)) if other.number == self.number => node.follows(index),
            // What comes behind runs already, because it has not waited yet.
            _ => other.number <= self.number && (waited || self.ahead != Some(other.number)),
        }
    }

    /// What this piece of work and an unordered one are.
    fn both(&self, other: Mark) -> &'static str {
        match () {
            _ if other.stream != self.stream => "streams",
            _ if self.node.is_some() => "nodes of a graph",
            _ => "grids that overlap",
        }
    }

    /// Whether the last work of a stream is over before this one, and everything in front of it.
    fn follows_all(&self, stream: u64, number: u64) -> bool {
        self.follows(Mark { stream, number, node: None }, false) && !self.node.as_ref().is_some_and(|n| n.beside)
    }
}

impl Place {
    /// A copy that an access of a kernel is not ordered with: between what the race is, and the copy.
    pub fn copy_at(&self, address: u64, bytes: u64, write: bool) -> Option<(&'static str, String)> {
        let copy = self.copies.iter().find(|c| c.meets(address, address + bytes, write))?;
        Some((self.tag.both(copy.mark), copy.describe()))
    }
}

impl Launches {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sequence number of the newest launch.
    #[inline(always)]
    pub fn newest(&self) -> u64 {
        self.newest.load(Ordering::Relaxed)
    }

    /// Whether nothing orders the launch that a cell notes before the one at `place`, which may have waited for the grid
    /// in front of it.
    pub fn is_concurrent(&self, number: u64, place: &Place, waited: bool) -> bool {
        let table = self.table();
        let Some(Some(other)) = table.records.get(number as usize) else { return false };
        if other.mark.number == 0 || place.tag.number == 0 {
            return false;
        }
        let foreign = other.mark.stream != place.tag.stream;
        foreign && other.sequence > place.sequence || !place.tag.follows(other.mark, waited)
    }

    /// Between what a race of the launch at `place` with another is, and what the other was.
    pub fn describe(&self, number: u64, place: &Place) -> (&'static str, String) {
        match self.table().records.get(number as usize) {
            Some(Some(r)) => (place.tag.both(r.mark), format!("the kernel {} in stream {}", r.name, r.mark.stream)),
            _ => ("streams", "an earlier launch".into()),
        }
    }
}

impl Memory {
    /// Gives a launch its number in cells and its place.
    pub(super) fn begin_launch(&self, tag: &StreamTag, name: &str) -> (u64, Place) {
        let mut table = self.launches.table();
        let sequence = self.launches.newest.fetch_add(1, Ordering::Relaxed) + 1;
        let number = (sequence - 1) % NUMBERS + 1;
        if number == 1 && sequence > 1 {
            // Numbers start again: what cells note of old launches must not be taken for new ones.
            self.clear_cells();
            table.records.clear();
        }
        let copies = table.copies.iter().filter(|c| !tag.follows(c.mark, false)).cloned().collect::<Vec<_>>();
        let concurrent = !copies.is_empty() || table.last.iter().any(|(s, n)| !tag.follows_all(*s, *n));
        if tag.number != 0 {
            if table.last.len() > STREAMS {
                table.last.clear();
            }
            table.last.insert(tag.stream, tag.number);
        }
        if table.records.len() <= number as usize {
            table.records.resize_with(number as usize + 1, || None);
        }
        let record = Record { sequence, mark: tag.mark(), name: name.to_owned() };
        table.records[number as usize] = Some(record);
        (number, Place { tag: tag.clone(), sequence, concurrent, copies, copied: table.copied })
    }

    /// Checks what a launch touched against the copies that ran while it did, which so nothing orders with it.
    pub(super) fn end_launch(&self, number: u64, place: &Place) -> Result<(), Fault> {
        let Some((whom, at)) = self.met_copy(number, place) else { return Ok(()) };
        let text = format!(
            "race between streams: {whom} is not ordered with the kernel that ran in stream {}\n  \
             address     {at:#x}, {}",
            place.tag.stream,
            self.describe(at)
        );
        Err(Fault::checked(FaultKind::LaunchFailed, "races", text))
    }

    fn met_copy(&self, number: u64, place: &Place) -> Option<(String, u64)> {
        let table = self.launches.table();
        let fresh = (table.copied - place.copied) as usize;
        let copies = table.copies.iter().rev().take(fresh);
        for copy in copies.filter(|c| place.tag.number != 0 && c.mark.stream != place.tag.stream) {
            for at in (copy.from / 4 * 4..copy.to).step_by(4) {
                let [writes, reads, _] = self.cells(at);
                // SAFETY: a copy is remembered for reserved addresses only, every word of which has cells.
                let (w, r) = unsafe { (*writes, *reads) };
                let touched = |cell| super::races::launch_of(cell) == number;
                if touched(w) || copy.write && touched(r) {
                    return Some((copy.describe(), at));
                }
            }
        }
        None
    }

    /// Checks a copy's bytes against launches and copies of other streams, and remembers them.
    pub fn copy_in_order(&self, tag: &StreamTag, address: u64, bytes: u64, write: bool) -> Result<(), Fault> {
        if tag.number == 0 || bytes == 0 || !self.reserved(address) {
            return Ok(());
        }
        let to = address + bytes;
        let fault = |both: &str, whom: &str, at: u64| {
            let what = if write { "write" } else { "read" };
            let text = format!(
                "race between {both}: the {what} of a copy at {at:#x} in stream {} is not ordered with {whom}\n  \
                 address     {at:#x}, {}",
                tag.stream,
                self.describe(at)
            );
            Err(Fault::checked(FaultKind::LaunchFailed, "races", text))
        };
        let mut table = self.launches.table();
        if let Some(other) = table.copies.iter().find(|c| c.meets(address, to, write) && !tag.follows(c.mark, false)) {
            let (both, whom, at) = (tag.both(other.mark), other.describe(), other.from.max(address));
            drop(table);
            return fault(both, &whom, at);
        }
        if table.last.iter().any(|(s, n)| !tag.follows_all(*s, *n)) {
            for at in (address / 4 * 4..to).step_by(4) {
                let [writes, reads, _] = self.cells(at);
                // SAFETY: the caller's bytes lie in a live allocation, all words of which have cells.
                let (w, r) = unsafe { (*writes, *reads) };
                for (cell, wrote) in [(w, true), (r, false)] {
                    let number = super::races::launch_of(cell);
                    let Some(Some(other)) = table.records.get(number as usize) else { continue };
                    if number != 0 && (write || wrote) && !tag.follows(other.mark, false) {
                        let verb = if wrote { "write" } else { "read" };
                        let whom = format!("the {verb} by the kernel {} in stream {}", other.name, other.mark.stream);
                        let both = tag.both(other.mark);
                        drop(table);
                        return fault(both, &whom, at);
                    }
                }
            }
        }
        if table.copies.len() >= COPIES {
            table.copies.pop_front();
        }
        table.copied += 1;
        table.copies.push_back(Copied { from: address, to, write, mark: tag.mark() });
        Ok(())
    }
}
