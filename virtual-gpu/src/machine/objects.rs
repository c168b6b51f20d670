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
    /// Race state of the block.
    pub races: super::races::RaceState,
    /// Groups of `wgmma` that each warp committed.
    pub matrix_groups: Vec<u32>,
    /// Transfers of the cluster; those of rank 0 serve.
    pub transfers: Vec<Transfer>,
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
        self.in_flight != 0
            && (at..at + bytes).any(|k| self.flight.get((k / 64) as usize).is_some_and(|w| w >> (k % 64) & 1 != 0))
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
}

fn shared_pointer(cta: &mut Cta, at: u32) -> *mut u8 {
    cta.shared.base().wrapping_add(at as usize)
}

/// Carries a transfer out.
pub(super) fn complete(launch: &Launch<'_>, ctas: &mut [Cta], t: &Transfer) -> Result<(), Box<Fault>> {
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
                    Some((op, ty)) => unsafe { reduce(p, &data, op, ty) },
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
                        Some((op, ty)) => unsafe { reduce(p, &data, op, ty) },
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
    b.settle();
    Ok(())
}

/// Whether transfers complete as soon as they are issued.
pub(super) fn eager(launch: &Launch<'_>) -> bool {
    launch.seed & 2 != 0
}

/// Starts a transfer.
pub(super) fn issue(launch: &Launch<'_>, ctas: &mut [Cta], t: Transfer) -> Result<(), Box<Fault>> {
    if eager(launch) {
        return complete(launch, ctas, &t);
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
    Ok(())
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
    now.iter().try_for_each(|t| complete(launch, ctas, t))
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
        complete(launch, &mut cluster.ctas, &t)?;
    }
    Ok(true)
}

/// Checks a finished cluster: what is in flight lands, and must not be waited for any more.
pub(super) fn at_exit(launch: &Launch<'_>, cluster: &mut Cluster) -> Option<Box<Fault>> {
    let unread = cluster.ctas[0].objects.transfers.iter().find(|t| t.barrier.is_some()).map(|t| t.what.clone());
    if let Err(fault) = complete_where(launch, &mut cluster.ctas, |_| true) {
        return Some(fault);
    }
    let what = unread.filter(|_| launch.checks.asynchrony)?;
    Some(Box::new(Fault::checked(
        FaultKind::LaunchFailed,
        "asynchrony",
        format!("{what}\n  the block ended while this transfer into its shared memory was in flight"),
    )))
}
