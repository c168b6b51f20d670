//! What is kept of launches and faults, and what is said at exit.

use super::config;
use super::error::Code;
use super::launch::Launch;
use super::memory::{self, Origin};
use super::table::lock;
use crate::machine::{CLASSES, Counters, LaunchReport};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// One launch.
struct Record {
    kernel: String,
    device: i32,
    stream: u64,
    grid: [u32; 3],
    block: [u32; 3],
    cluster: [u32; 3],
    registers: u32,
    static_shared: u32,
    dynamic_shared: u32,
    counters: Counters,
    notes: Vec<String>,
}

static RECORDS: Mutex<Vec<Record>> = Mutex::new(Vec::new());
static FAULTS: Mutex<Vec<(Code, String)>> = Mutex::new(Vec::new());

/// Calls of the driver so far, by entry point.
static CALLS: Mutex<BTreeMap<&'static str, u64>> = Mutex::new(BTreeMap::new());

/// Counts a call of an entry point, refused ones too.
pub fn count_call(name: &'static str) {
    *lock(&CALLS).entry(name.trim_end_matches("_v2")).or_default() += 1;
}

/// The calls so far, a line each: the entry point without a version's suffix, a space, how often.
pub fn calls_text() -> String {
    lock(&CALLS).iter().map(|(name, count)| format!("{name} {count}\n")).collect()
}

pub fn clear_calls() {
    lock(&CALLS).clear();
}

/// `cuProfilerStop` and `cuProfilerStart`: whether launches are kept.
static RECORDING: AtomicBool = AtomicBool::new(true);

pub fn set_recording(on: bool) {
    RECORDING.store(on, Ordering::Relaxed);
}

/// Keeps what a launch did.
pub fn record(launch: &Launch, report: &LaunchReport) {
    let entry = launch.function.entry();
    for note in &report.notes {
        if config::read(|config| config.log) {
            eprintln!("virtual-gpu: note: {note}");
        }
    }
    if !RECORDING.load(Ordering::Relaxed) {
        return;
    }
    lock(&RECORDS).push(Record {
        kernel: entry.name.clone(),
        device: launch.function.module.device,
        stream: launch.config.stream.stream,
        grid: launch.config.grid,
        block: launch.config.block,
        cluster: launch.config.cluster,
        registers: launch.function.registers(),
        static_shared: entry.static_shared_bytes,
        dynamic_shared: launch.config.dynamic_shared,
        counters: report.counters.clone(),
        notes: report.notes.clone(),
    });
}

/// Explains a fault of work that ran asynchronously, and keeps it.
pub fn report_fault(code: Code, report: &str) {
    eprintln!("virtual-gpu: {} ({}): {report}", code.name(), code as u32);
    lock(&FAULTS).push((code, report.to_owned()));
}

/// Faults so far, each as its number, a space, and its report; separated by the record separator.
pub fn faults_text() -> String {
    let faults = lock(&FAULTS);
    let one = faults.iter().map(|(code, report)| format!("{} {report}", *code as u32));
    one.collect::<Vec<_>>().join("\u{1e}")
}

pub fn clear_faults() {
    lock(&FAULTS).clear();
}

pub fn clear_records() {
    lock(&RECORDS).clear();
}

/// The numbers of a launch, by name.
fn numbers(counters: &Counters) -> Vec<(&'static str, u64)> {
    let traffic = &counters.traffic;
    let mut numbers = vec![
        ("instructions", counters.instructions),
        ("lanes", counters.lanes),
        ("global_requests", traffic.global_requests),
        ("sectors", traffic.sectors),
        ("sectors_needed", traffic.sectors_needed),
        ("shared_requests", traffic.shared_requests),
        ("shared_passes", traffic.shared_passes),
        ("bank_conflicts", traffic.bank_conflicts),
        ("l2_hits", traffic.l2_hits),
        ("l2_misses", traffic.l2_misses),
        ("dram_bytes_read", traffic.dram_read),
        ("dram_bytes_written", traffic.dram_written),
        ("tensor_instructions", traffic.tensor),
        ("tensor_multiply_adds", traffic.tensor_macs),
        ("barriers", traffic.barriers),
        ("barrier_waits", traffic.barrier_waits),
        ("blocks", counters.blocks),
        ("warps", counters.warps),
    ];
    numbers.extend(CLASSES.into_iter().zip(counters.by_class));
    numbers
}

/// A JSON string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if (control as u32) < 0x20 => {
                // Writing to a string does not fail.
                let _ = write!(out, "\\u{:04x}", control as u32);
            }
            plain => out.push(plain),
        }
    }
    out.push('"');
    out
}

fn json_numbers(numbers: &[(&'static str, u64)]) -> String {
    let fields: Vec<String> = numbers.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
    format!("{{{}}}", fields.join(","))
}

/// All launches of one kernel.
struct Sums {
    kernel: String,
    launches: u64,
    numbers: Vec<(&'static str, u64)>,
}

/// Sums by kernel, in the order of first launch.
fn by_kernel(records: &[Record]) -> Vec<Sums> {
    let mut index = BTreeMap::new();
    let mut kernels: Vec<Sums> = Vec::new();
    for record in records {
        let numbers = numbers(&record.counters);
        let at = *index.entry(record.kernel.as_str()).or_insert_with(|| {
            let zeros = numbers.iter().map(|(name, _)| (*name, 0)).collect();
            kernels.push(Sums { kernel: record.kernel.clone(), launches: 0, numbers: zeros });
            kernels.len() - 1
        });
        kernels[at].launches += 1;
        for (sum, (_, value)) in kernels[at].numbers.iter_mut().zip(numbers) {
            sum.1 += value;
        }
    }
    kernels
}

/// Everything as JSON: `launches`, each with its counters, and `kernels`, their sums.
pub fn json() -> String {
    let records = lock(&RECORDS);
    let launches = records.iter().map(|record| {
        let of = |(source, passes): &(String, u64)| format!("{}:{passes}", quoted(source));
        let conflicts: Vec<String> = record.counters.conflicts.iter().map(of).collect();
        let notes: Vec<String> = record.notes.iter().map(|note| quoted(note)).collect();
        format!(
            "{{\"kernel\":{},\"device\":{},\"stream\":{},\"grid\":{:?},\"block\":{:?},\"cluster\":{:?},\"registers\":{},\
             \"static_shared\":{},\"dynamic_shared\":{},\"occupancy_percent\":{},\
             \"achieved_occupancy_percent\":{},\"counters\":{},\"bank_conflicts_by_access\":{{{}}},\"notes\":[{}]}}",
            quoted(&record.kernel),
            record.device,
            record.stream,
            record.grid,
            record.block,
            record.cluster,
            record.registers,
            record.static_shared,
            record.dynamic_shared,
            record.counters.occupancy_percent,
            record.counters.achieved_percent,
            json_numbers(&numbers(&record.counters)),
            conflicts.join(","),
            notes.join(",")
        )
    });
    let launches: Vec<String> = launches.collect();
    let kernels: Vec<String> = by_kernel(&records)
        .iter()
        .map(|sums| {
            let (name, numbers) = (quoted(&sums.kernel), json_numbers(&sums.numbers));
            format!("{{\"kernel\":{name},\"launches\":{},\"counters\":{numbers}}}", sums.launches)
        })
        .collect();
    format!("{{\"launches\":[{}],\"kernels\":[{}]}}\n", launches.join(",\n"), kernels.join(",\n"))
}

/// The sums as a table for people.
fn table() -> String {
    let kernels = by_kernel(&lock(&RECORDS));
    let mut out = String::from("virtual-gpu profile\n");
    for sums in &kernels {
        out.push_str(&format!("{}: {} launches\n", sums.kernel, sums.launches));
        for (label, value) in sums.numbers.iter().filter(|(_, value)| *value != 0) {
            out.push_str(&format!("  {label:<36} {value:>20}\n"));
        }
    }
    out
}

/// Allocations that the program made and did not free.
pub fn leaks() -> Vec<String> {
    let left = memory::all()
        .into_iter()
        .filter(|one| !matches!(one.origin, Origin::Registered | Origin::Graph | Origin::Mapped));
    let describe = |origin| match origin {
        Origin::Plain => "cuMemAlloc",
        Origin::Pool(_) => "cuMemAllocAsync",
        Origin::Managed => "cuMemAllocManaged",
        Origin::Pinned => "cuMemHostAlloc",
        Origin::Graph => "a graph",
        Origin::Registered => "cuMemHostRegister",
        Origin::Mapped => "cuMemMap",
    };
    left.filter(|one| !one.freeing)
        .map(|one| {
            format!("{} bytes at {:#x} of {} on device {}", one.bytes, one.address, describe(one.origin), one.device)
        })
        .collect()
}

/// Arranges for leaks and profile to be reported when the process ends.
pub fn report_at_exit() {
    super::abi::at_exit(finish);
}

/// Most leaks that are listed one by one.
const LISTED: usize = 20;

extern "C" fn finish() {
    let config = config::get();
    if config.leaks {
        let leaks = leaks();
        if !leaks.is_empty() {
            eprintln!("virtual-gpu: {} allocations were never freed:", leaks.len());
            leaks.iter().take(LISTED).for_each(|leak| eprintln!("  {leak}"));
            if leaks.len() > LISTED {
                eprintln!("  and {} more", leaks.len() - LISTED);
            }
        }
    }
    if let Some(path) = config.profile {
        eprint!("{}", table());
        if path != "-"
            && let Err(error) = std::fs::write(&path, json())
        {
            eprintln!("virtual-gpu: the profile could not be written to {path}: {error}");
        }
    }
}
