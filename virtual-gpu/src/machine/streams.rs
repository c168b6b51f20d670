//! Order between the launches of several streams.
//!
//! A launch carries its place: its stream, its number there, and what of each other stream is over before it starts. Cells
//! of the race check note launches by a small number; the table here says which launch that was.

use super::memory::Memory;
use std::collections::BTreeMap;
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
    /// Some earlier launch is not known to be over before.
    pub concurrent: bool,
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

impl StreamTag {
    /// Whether a piece of work of a stream is over before this one.
    fn follows(&self, stream: u64, number: u64) -> bool {
        self.number == 0
            || number == 0
            || stream == self.stream
            || self.after.get(&stream).is_some_and(|n| *n >= number)
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
        let concurrent = tag.number != 0 && table.last.iter().any(|(s, n)| !tag.follows(*s, *n));
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
        (number, Place { tag: tag.clone(), sequence, concurrent })
    }
}
