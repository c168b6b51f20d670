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
    stream: u64,
    number: u64,
}

impl Copied {
    fn meets(&self, from: u64, to: u64, write: bool) -> bool {
        self.from < to && from < self.to && (self.write || write)
    }

    fn describe(&self) -> String {
        let verb = if self.write { "write" } else { "read" };
        format!("the {verb} by a copy of [{:#x}, {:#x}) in stream {}", self.from, self.to, self.stream)
    }
}

struct Record {
    sequence: u64,
    stream: u64,
    number: u64,
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
    /// Whether a piece of work of a stream is over before this one.
    fn follows(&self, stream: u64, number: u64) -> bool {
        self.number == 0
            || number == 0
            || stream == self.stream
            || self.after.get(&stream).is_some_and(|n| *n >= number)
    }
}

impl Place {
    /// A copy that an access of a kernel is not ordered with.
    pub fn copy_at(&self, address: u64, bytes: u64, write: bool) -> Option<String> {
        self.copies.iter().find(|c| c.meets(address, address + bytes, write)).map(Copied::describe)
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

    /// Whether nothing orders the launch that a cell notes before the one at `place`.
    pub fn is_concurrent(&self, number: u64, place: &Place) -> bool {
        let table = self.table();
        let Some(Some(other)) = table.records.get(number as usize) else { return false };
        if other.number == 0 || place.tag.number == 0 || other.stream == place.tag.stream {
            return false;
        }
        other.sequence > place.sequence || !place.tag.follows(other.stream, other.number)
    }

    /// What a launch was, for reports.
    pub fn describe(&self, number: u64) -> String {
        match self.table().records.get(number as usize) {
            Some(Some(r)) => format!("the kernel {} in stream {}", r.name, r.stream),
            _ => "an earlier launch".into(),
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
        let copies = table.copies.iter().filter(|c| !tag.follows(c.stream, c.number)).cloned().collect::<Vec<_>>();
        let concurrent = !copies.is_empty() || table.last.iter().any(|(s, n)| !tag.follows(*s, *n));
        if tag.number != 0 {
            if table.last.len() > STREAMS {
                table.last.clear();
            }
            table.last.insert(tag.stream, tag.number);
        }
        if table.records.len() <= number as usize {
            table.records.resize_with(number as usize + 1, || None);
        }
        let record = Record { sequence, stream: tag.stream, number: tag.number, name: name.to_owned() };
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
        for copy in copies.filter(|c| place.tag.number != 0 && c.stream != place.tag.stream) {
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
        let fault = |whom: &str, at: u64| {
            let what = if write { "write" } else { "read" };
            let text = format!(
                "race between streams: the {what} of a copy at {at:#x} in stream {} is not ordered with {whom}\n  \
                 address     {at:#x}, {}",
                tag.stream,
                self.describe(at)
            );
            Err(Fault::checked(FaultKind::LaunchFailed, "races", text))
        };
        let mut table = self.launches.table();
        if let Some(other) =
            table.copies.iter().find(|c| c.meets(address, to, write) && !tag.follows(c.stream, c.number))
        {
            let (whom, at) = (other.describe(), other.from.max(address));
            drop(table);
            return fault(&whom, at);
        }
        if table.last.iter().any(|(s, n)| !tag.follows(*s, *n)) {
            for at in (address / 4 * 4..to).step_by(4) {
                let [writes, reads, _] = self.cells(at);
                // SAFETY: the caller's bytes lie in a live allocation, all words of which have cells.
                let (w, r) = unsafe { (*writes, *reads) };
                for (cell, wrote) in [(w, true), (r, false)] {
                    let number = super::races::launch_of(cell);
                    let Some(Some(other)) = table.records.get(number as usize) else { continue };
                    if number != 0 && (write || wrote) && !tag.follows(other.stream, other.number) {
                        let verb = if wrote { "write" } else { "read" };
                        let whom = format!("the {verb} by the kernel {} in stream {}", other.name, other.stream);
                        drop(table);
                        return fault(&whom, at);
                    }
                }
            }
        }
        if table.copies.len() >= COPIES {
            table.copies.pop_front();
        }
        table.copied += 1;
        table.copies.push_back(Copied { from: address, to, write, stream: tag.stream, number: tag.number });
        Ok(())
    }
}
