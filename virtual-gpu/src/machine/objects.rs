//! What a block keeps beside its memory: mbarriers and bulk transfers in flight.
//!
//! Transfers complete at the latest legal moment by default (when no warp of the cluster can go on without them), and
//! at the earliest, or in any order, under other seeds. Bytes that a transfer will write are marked as in flight until
//! then: touching them is an error.

use super::cluster::Cluster;
use super::cluster::Cta;
use super::exec::Worker;
use super::fault::{Fault, FaultKind};
use super::launch::Launch;
use super::ops::atom::{exchange, update};
use crate::ptx::Ty;
use std::collections::HashMap;

/// An mbarrier object.
#[derive(Debug, Clone, Copy)]
pub struct Mbarrier {
    /// Arrivals per phase.
    pub count: u32,
    /// Arrivals still missing in this phase.
    pub pending: u32,
    /// Bytes expected less bytes that came.
    pub bytes: i64,
    /// Completed phases.
    pub phase: u64,
}

impl Mbarrier {
    /// What is wrong with the transaction count, in words.
    pub fn mismatch(&self) -> String {
        if self.bytes > 0 {
            format!("its transaction count does not match: {} bytes more were expected than came", self.bytes)
        } else {
            format!("its transaction count does not match: {} bytes more came than were expected", -self.bytes)
        }
    }

    /// Ends the phase if nothing is missing.
    pub fn settle(&mut self) {
        if self.pending == 0 && self.bytes == 0 {
            self.phase += 1;
            self.pending = self.count;
        }
    }
}

/// Objects of a block.
#[derive(Default)]
pub struct Objects {
    /// By offset in shared memory.
    pub mbarriers: HashMap<u32, Mbarrier>,
    /// Bytes of shared memory that a transfer is going to write, one bit each; empty while there are none.
    flight: Vec<u64>,
    /// Bytes in flight.
    pub in_flight: u32,
    /// Bytes of shared memory that transfers still have to read, one bit each.
    reading: Vec<u64>,
    /// Some are.
    is_read: bool,
    /// Shared memory that unfinished products of `wgmma` read.
    products: Vec<ProductReads>,
    /// Race state of the cluster; that of rank 0 serves, `None` while races are not looked for.
    pub races: Option<Box<super::races::RaceState>>,
    /// Groups of `wgmma` that each warp committed.
    pub matrix_groups: Vec<u32>,
    /// Registers that `setmaxnreg` moves.
    pub registers: super::registers::Registers,
    /// A thread of the cluster has waited for the grids that this one depends on; that of rank 0 serves.
    pub waited_for_grid: bool,
    /// Transfers of the cluster; those of rank 0 serve.
    pub transfers: Vec<Transfer>,
    /// Transfers of the cluster that have global memory to write, and to read; those of rank 0 serve.
    pub global_in_flight: [u32; 2],
}

/// Shared memory that the products of a group read, one bit for 16 bytes.
struct ProductReads {
    /// First warp of the four.
    warp: u32,
    group: u32,
    chunks: Vec<u64>,
}

fn set_bits(bits: &mut Vec<u64>, at: u32, bytes: u32) {
    let words = (at + bytes).div_ceil(64) as usize;
    if bits.len() < words {
        bits.resize(words, 0);
    }
    (at..at + bytes).for_each(|k| bits[(k / 64) as usize] |= 1 << (k % 64));
}

fn any_bit(bits: &[u64], at: u32, bytes: u32) -> bool {
    (at..at + bytes).any(|k| bits.get((k / 64) as usize).is_some_and(|w| w >> (k % 64) & 1 != 0))
}

impl Objects {
    /// Marks bytes as in flight or not.
    pub fn mark_flight(&mut self, at: u32, bytes: u32, on: bool) {
        let words = (at + bytes).div_ceil(64) as usize;
        if self.flight.len() < words {
            self.flight.resize(words, 0);
        }
        for k in at..at + bytes {
            let (w, bit) = ((k / 64) as usize, 1u64 << (k % 64));
            let was = self.flight[w] & bit != 0;
            if was != on {
                self.flight[w] ^= bit;
                self.in_flight = if on { self.in_flight + 1 } else { self.in_flight - 1 };
            }
        }
    }

    /// Whether one of 16 bytes from a multiple of 16 on is in flight.
    #[inline(always)]
    pub fn flying_words(&self, at: u32) -> bool {
        self.flight.get((at / 64) as usize).is_some_and(|w| w >> (at % 64) & 0xffff != 0)
    }

    /// Whether one of the bytes is in flight.
    pub fn flying(&self, at: u32, bytes: u32) -> bool {
        self.in_flight != 0 && any_bit(&self.flight, at, bytes)
    }

    /// Whether some shared memory must not be written now.
    #[inline(always)]
    pub fn is_busy(&self) -> bool {
        self.in_flight != 0 || self.is_read || !self.products.is_empty()
    }

    /// What still reads one of the bytes.
    pub fn reader(&self, at: u32, bytes: u32) -> Option<&'static str> {
        if self.is_read && any_bit(&self.reading, at, bytes) {
            return Some("an asynchronous copy still reads them: wait with cp.async.bulk.wait_group.read first");
        }
        let (first, last) = (at / 16, (at + bytes).div_ceil(16));
        let read = self.products.iter().any(|p| any_bit(&p.chunks, first, last - first));
        read.then_some("an unfinished wgmma reads them: wait with wgmma.wait_group first")
    }

    /// A product of the group of warps reads 16 bytes.
    pub fn product_reads(&mut self, warp: u32, group: u32, at: u32) {
        let chunk = at / 16;
        let p = match self.products.iter_mut().position(|p| p.warp == warp && p.group == group) {
            Some(k) => &mut self.products[k],
            None => {
                self.products.push(ProductReads { warp, group, chunks: Vec::new() });
                let last = self.products.len() - 1;
                &mut self.products[last]
            }
        };
        set_bits(&mut p.chunks, chunk, 1);
    }

    /// Products of groups below `group` are finished.
    pub fn products_finished(&mut self, warp: u32, group: u32) {
        self.products.retain(|p| p.warp != warp || p.group >= group);
    }
}

/// Where a transfer reads or writes.
#[derive(Debug, Clone, Copy)]
pub enum Side {
    /// Global address.
    Global(u64),
    /// Offset in shared memory.
    Shared(u32),
    /// Out of the tensor: the bytes are this fill value, repeated every so many bytes.
    Fill(u64, u32),
}

/// A run of bytes.
#[derive(Debug, Clone, Copy)]
pub struct Segment {
    /// From where.
    pub from: Side,
    /// To where.
    pub to: Side,
    /// Bytes.
    pub bytes: u32,
}

/// A bulk transfer.
#[derive(Debug, Clone)]
pub struct Transfer {
    /// Its runs.
    pub segments: Vec<Segment>,
    /// Block that shared sources lie in.
    pub source: usize,
    /// Blocks that shared destinations lie in.
    pub targets: Vec<usize>,
    /// Barrier in each target block that the bytes are counted at.
    pub barrier: Option<u32>,
    /// Bytes counted.
    pub counted: u32,
    /// Reduction and element type.
    pub reduce: Option<(&'static str, Ty)>,
    /// Bulk group: warp, lane, number.
    pub group: Option<(usize, usize, u32)>,
    /// Source text, for reports.
    pub what: String,
    /// What was read, by segment, and whether it is initialised; empty until then.
    pub fetched: Vec<(Vec<u8>, bool)>,
}

impl Transfer {
    fn touches(&self, pick: impl Fn(&Segment) -> Side) -> bool {
        self.segments.iter().any(|s| matches!(pick(s), Side::Global(_)))
    }

    /// Shared memory it still has to read, in a block.
    fn sources(&self, block: usize) -> impl Iterator<Item = (u32, u32)> {
        let waits = self.fetched.is_empty() && self.source == block;
        self.segments.iter().filter(move |_| waits).filter_map(|s| match s.from {
            Side::Shared(a) => Some((a, s.bytes)),
            _ => None,
        })
    }
}

fn shared_pointer(cta: &mut Cta, at: u32) -> *mut u8 {
    cta.shared.base().wrapping_add(at as usize)
}

/// Reads what a transfer moves.
fn fetch(launch: &Launch<'_>, ctas: &mut [Cta], t: &mut Transfer) {
    if !t.fetched.is_empty() {
        return;
    }
    for s in &t.segments {
        let n = s.bytes as usize;
        let mut data = vec![0u8; n];
        let mut initialised = true;
        match s.from {
            Side::Global(a) => {
                // SAFETY: checked against its allocation when the transfer was issued.
                unsafe { std::ptr::copy_nonoverlapping(launch.memory.pointer(a), data.as_mut_ptr(), n) };
                initialised = launch.memory.first_uninitialised(a, u64::from(s.bytes)).is_none();
            }
            Side::Shared(a) => {
                let p = shared_pointer(&mut ctas[t.source], a);
                // SAFETY: checked against the block's shared memory when the transfer was issued.
                unsafe { std::ptr::copy_nonoverlapping(p, data.as_mut_ptr(), n) };
                let init = &ctas[t.source].shared_init;
                initialised = (a..a + s.bytes).all(|k| init[(k / 64) as usize] >> (k % 64) & 1 != 0);
            }
            Side::Fill(v, every) => {
                for (k, b) in data.iter_mut().enumerate() {
                    *b = (v >> (8 * (k as u32 % every))) as u8;
                }
            }
        }
        t.fetched.push((data, initialised));
    }
}

/// Carries a transfer out.
pub(super) fn complete(launch: &Launch<'_>, ctas: &mut [Cta], mut t: Transfer) -> Result<(), Box<Fault>> {
    fetch(launch, ctas, &mut t);
    for (s, (data, initialised)) in t.segments.iter().zip(&t.fetched) {
        let (n, initialised) = (s.bytes as usize, *initialised);
        match s.to {
            Side::Global(a) => {
                if !initialised && launch.checks.uninitialised {
                    return Err(Box::new(Fault::checked(
                        FaultKind::LaunchFailed,
                        "uninitialised",
                        format!("{}\n  stores uninitialised bytes to global memory at {a:#x}", t.what),
                    )));
                }
                let p = launch.memory.pointer(a);
                match t.reduce {
                    // SAFETY: checked against its allocation when the transfer was issued.
                    None => unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), p, n) },
                    // SAFETY: as above.
                    Some((op, ty)) => unsafe { reduce(p, data, op, ty) },
                }
                launch.memory.mark_initialised(a, u64::from(s.bytes));
            }
            Side::Shared(a) => {
                for b in &t.targets {
                    let cta = &mut ctas[*b];
                    let p = shared_pointer(cta, a);
                    match t.reduce {
                        // SAFETY: checked against the block's shared memory when the transfer was issued.
                        None => unsafe { std::ptr::copy_nonoverlapping(data.as_ptr(), p, n) },
                        // SAFETY: as above.
                        Some((op, ty)) => unsafe { reduce(p, data, op, ty) },
                    }
                    for k in a..a + s.bytes {
                        let (w, bit) = ((k / 64) as usize, 1u64 << (k % 64));
                        cta.shared_init[w] =
                            if initialised { cta.shared_init[w] | bit } else { cta.shared_init[w] & !bit };
                    }
                    if t.reduce.is_none() {
                        cta.objects.mark_flight(a, s.bytes, false);
                    }
                }
            }
            Side::Fill(..) => {}
        }
    }
    if let Some(bar) = t.barrier {
        for b in &t.targets {
            complete_bytes(&mut ctas[*b], bar, t.counted, &t.what)?;
        }
    }
    Ok(())
}

/// # Safety
/// `p` is live memory of `data.len()` bytes.
unsafe fn reduce(p: *mut u8, data: &[u8], op: &str, ty: Ty) {
    let n = ty.bytes() as usize;
    for (k, chunk) in data.chunks_exact(n).enumerate() {
        let mut wide = [0u8; 8];
        wide[..n].copy_from_slice(chunk);
        let v = u64::from_le_bytes(wide);
        // SAFETY: as the caller guarantees; bulk transfers are aligned to 16 bytes.
        unsafe { exchange(p.wrapping_add(k * n), n as u32, |old| update(op, ty, old, v, 0)) };
    }
}

/// Counts bytes at an mbarrier.
pub(super) fn complete_bytes(cta: &mut Cta, at: u32, bytes: u32, what: &str) -> Result<(), Box<Fault>> {
    let Some(b) = cta.objects.mbarriers.get_mut(&at) else {
        return Err(Box::new(Fault::checked(
            FaultKind::LaunchFailed,
            "asynchrony",
            format!("{what}\n  completes at shared address {at:#x}, where no mbarrier was initialised"),
        )));
    };
    b.bytes -= i64::from(bytes);
    if b.bytes < -MOST_BYTES {
        return Err(Box::new(Fault::checked(
            FaultKind::LaunchFailed,
            "asynchrony",
            format!("{what}\n  overflows the transaction count of the mbarrier at shared address {at:#x}"),
        )));
    }
    b.settle();
    Ok(())
}

/// Largest transaction count of a phase (PTX ISA, "Tracking asynchronous operations by the mbarrier object").
const MOST_BYTES: i64 = (1 << 20) - 1;

/// Whether transfers complete as soon as they are issued.
pub(super) fn eager(launch: &Launch<'_>) -> bool {
    launch.seed & 2 != 0
}

/// Starts a transfer.
pub(super) fn issue(launch: &Launch<'_>, ctas: &mut [Cta], t: Transfer) -> Result<(), Box<Fault>> {
    if eager(launch) {
        return complete(launch, ctas, t);
    }
    if launch.checks.asynchrony && t.reduce.is_none() {
        for s in &t.segments {
            if let Side::Shared(a) = s.to {
                for b in &t.targets {
                    ctas[*b].objects.mark_flight(a, s.bytes, true);
                }
            }
        }
    }
    ctas[0].objects.transfers.push(t);
    note_sources(launch, ctas);
    Ok(())
}

/// Notes what the transfers in flight still read and write.
fn note_sources(launch: &Launch<'_>, ctas: &mut [Cta]) {
    if !launch.checks.asynchrony {
        return;
    }
    let transfers = std::mem::take(&mut ctas[0].objects.transfers);
    for (block, cta) in ctas.iter_mut().enumerate() {
        let objects = &mut cta.objects;
        if std::mem::take(&mut objects.is_read) {
            objects.reading.fill(0);
        }
        for (at, bytes) in transfers.iter().flat_map(|t| t.sources(block)) {
            set_bits(&mut objects.reading, at, bytes);
            objects.is_read = true;
        }
    }
    let count = |pick: fn(&Segment) -> Side| transfers.iter().filter(|t| t.touches(pick)).count() as u32;
    let fetched = transfers.iter().filter(|t| t.touches(|s| s.from) && !t.fetched.is_empty()).count() as u32;
    ctas[0].objects.global_in_flight = [count(|s| s.to), count(|s| s.from) - fetched];
    ctas[0].objects.transfers = transfers;
}

/// What a transfer in flight is going to do with bytes of global memory, if that forbids an access.
pub(super) fn global_conflict(ctas: &[Cta], at: u64, bytes: u32, write: bool) -> Option<&'static str> {
    let hit = |side: Side, n: u32| match side {
        Side::Global(a) => at < a + u64::from(n) && a < at + u64::from(bytes),
        _ => false,
    };
    for t in &ctas[0].objects.transfers {
        if t.segments.iter().any(|s| hit(s.to, s.bytes)) {
            return Some("an asynchronous copy into them is in flight: wait for it first");
        }
        if write && t.fetched.is_empty() && t.segments.iter().any(|s| hit(s.from, s.bytes)) {
            return Some("an asynchronous copy still reads them: wait for it first");
        }
    }
    None
}

/// Transfers of the cluster that a predicate picks have read their sources.
pub(super) fn fetch_where(launch: &Launch<'_>, ctas: &mut [Cta], pick: impl Fn(&Transfer) -> bool) {
    let mut all = std::mem::take(&mut ctas[0].objects.transfers);
    all.iter_mut().filter(|t| pick(t)).for_each(|t| fetch(launch, ctas, t));
    ctas[0].objects.transfers = all;
    note_sources(launch, ctas);
}

/// Completes the transfers of a cluster that a predicate picks, oldest first.
pub(super) fn complete_where(
    launch: &Launch<'_>,
    ctas: &mut [Cta],
    pick: impl Fn(&Transfer) -> bool,
) -> Result<(), Box<Fault>> {
    let all = std::mem::take(&mut ctas[0].objects.transfers);
    let (now, later): (Vec<_>, Vec<_>) = all.into_iter().partition(pick);
    ctas[0].objects.transfers = later;
    let any = !now.is_empty();
    now.into_iter().try_for_each(|t| complete(launch, ctas, t))?;
    if any {
        note_sources(launch, ctas);
    }
    Ok(())
}

/// Lets asynchronous operations of the cluster complete; `stuck` when no warp can go on without them.
pub(super) fn advance(
    launch: &Launch<'_>,
    cluster: &mut Cluster,
    worker: &mut Worker,
    stuck: bool,
) -> Result<bool, Box<Fault>> {
    let waiting = cluster.ctas[0].objects.transfers.len();
    let arrivals = super::asynchronous::deferred(&cluster.warps);
    if !stuck || (waiting == 0 && !arrivals) {
        return Ok(false);
    }
    if arrivals {
        super::asynchronous::finish_arrivals(launch, cluster)?;
        return Ok(true);
    }
    if launch.seed == 0 {
        complete_where(launch, &mut cluster.ctas, |_| true)?;
    } else {
        let k = (worker.next_random() % waiting as u64) as usize;
        let t = cluster.ctas[0].objects.transfers.remove(k);
        complete(launch, &mut cluster.ctas, t)?;
        note_sources(launch, &mut cluster.ctas);
    }
    Ok(true)
}

/// Checks a finished cluster: what is in flight lands, and must not be waited for any more.
pub(super) fn at_exit(launch: &Launch<'_>, cluster: &mut Cluster) -> Option<Box<Fault>> {
    let fault = |what: &str, text: &str| {
        let check = launch.checks.asynchrony;
        check.then(|| Box::new(Fault::checked(FaultKind::LaunchFailed, "asynchrony", format!("{what}\n  {text}"))))
    };
    let left = &cluster.ctas[0].objects.transfers;
    let unread = left.iter().find(|t| t.barrier.is_some()).map(|t| t.what.clone());
    let unsent = left.iter().find(|t| (0..cluster.ctas.len()).any(|b| t.sources(b).next().is_some()));
    let unsent = unsent.map(|t| t.what.clone());
    if let Err(fault) = complete_where(launch, &mut cluster.ctas, |_| true) {
        return Some(fault);
    }
    if launch.checks.convergence
        && let Some(group) = cluster.ctas.iter().find_map(|c| c.objects.registers.uneven())
    {
        return Some(Box::new(Fault::checked(
            FaultKind::IllegalInstruction,
            "convergence",
            format!("kernel {}\n  not all warps of warpgroup {group} executed the same setmaxnreg", launch.entry.name),
        )));
    }
    if let Some(what) = unread {
        return fault(&what, "the block ended while this transfer into its shared memory was in flight");
    }
    if let Some(what) = unsent {
        let text = "the block ended while this transfer still read its shared memory: wait with \
                    cp.async.bulk.wait_group.read first";
        return fault(&what, text);
    }
    for cta in &cluster.ctas {
        let mut barriers: Vec<_> = cta.objects.mbarriers.iter().filter(|(_, b)| b.bytes < 0).collect();
        barriers.sort_by_key(|(at, _)| **at);
        if let Some((at, b)) = barriers.first() {
            let what = format!("the mbarrier at shared address {at:#x} of block {:?}: {}", cta.id, b.mismatch());
            return fault(&what, &format!("kernel      {}", launch.entry.name));
        }
    }
    None
}
