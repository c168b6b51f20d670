//! What the checks have found, for `examples/selftest.rs` to print: cases, the worst error against its bound, and time.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use warpsmith::DType;

/// What was found of one operation in one dtype.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Results that were compared.
    pub cases: usize,
    /// The worst error, over its bound.
    pub worst: f64,
    /// The time from the case before, so that all times add up to that of the whole.
    pub time: Duration,
}

/// Operations (empty for checks that name none) and dtypes.
pub type Tallies = BTreeMap<(String, &'static str), Tally>;

static RECORD: Mutex<Option<(Instant, Tallies)>> = Mutex::new(None);

/// Starts a new record, and gives the old one.
pub fn start() -> Tallies {
    let old = RECORD.lock().expect("no check panics while it records").replace((Instant::now(), Tallies::new()));
    old.map(|(_, tallies)| tallies).unwrap_or_default()
}

/// Notes a result whose worst error is `ratio` times its bound; nothing unless a record was started.
pub fn case(operation: &str, dtype: DType, ratio: f64) {
    let mut record = RECORD.lock().expect("no check panics while it records");
    let Some((last, tallies)) = record.as_mut() else { return };
    let tally = tallies.entry((operation.to_owned(), dtype.name())).or_default();
    tally.cases += 1;
    tally.worst = tally.worst.max(ratio);
    tally.time += last.elapsed();
    *last = Instant::now();
}

/// An error over its bound, where none may be 0 over 0.
pub fn ratio(error: f64, bound: f64) -> f64 {
    if error == 0.0 { 0.0 } else { error / bound }
}
