//! State spaces, windows of the generic address space, and checked access to one lane's bytes.
//!
//! Global and constant addresses are host addresses. Shared, local and parameter memory appear in windows above them.
//! A 32-bit shared address holds an offset in its low 24 bits; the bits above are zero for the own block, and one
//! more than the rank for a block of the cluster (`mapa`).

use crate::machine::exec::Cx;
use crate::machine::fault::FaultKind;
use crate::machine::{asynchronous, objects};

/// Bits of an address within a window.
pub const WINDOW_BITS: u32 = 48;
/// Shared memory in the generic address space.
pub const SHARED_WINDOW: u64 = 0x0100_0000_0000_0000;
/// Local memory in the generic address space.
pub const LOCAL_WINDOW: u64 = 0x0200_0000_0000_0000;
/// Kernel parameters in the generic address space.
pub const PARAM_WINDOW: u64 = 0x0300_0000_0000_0000;

/// A state space as an instruction names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Where {
    /// None named.
    Generic = 0,
    /// Global, and constant, whose addresses are global ones.
    Global,
    /// Of the own block.
    Shared,
    /// Of any block of the cluster.
    Cluster,
    /// Of the thread.
    Local,
    /// Kernel parameters.
    Param,
    /// Constant memory.
    Const,
}

impl Where {
    pub fn from_name(name: &str) -> Option<Where> {
        Some(match name {
            "global" => Where::Global,
            "shared" | "shared::cta" => Where::Shared,
            "shared::cluster" => Where::Cluster,
            "local" => Where::Local,
            "param" | "param::entry" => Where::Param,
            "const" => Where::Const,
            _ => return None,
        })
    }

    pub fn from_bits(bits: u32) -> Where {
        use Where::*;
        [Generic, Global, Shared, Cluster, Local, Param, Const][bits as usize % 7]
    }
}

/// What is done to memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    Read,
    Write,
    Atomic,
}

impl Access {
    fn verb(self) -> &'static str {
        match self {
            Access::Read => "read",
            Access::Write => "write",
            Access::Atomic => "atomic update",
        }
    }
}

/// Bytes that a lane may access.
#[derive(Debug, Clone, Copy)]
pub struct Place {
    /// First byte.
    pub pointer: *mut u8,
    pub kind: PlaceKind,
}

/// Where a place lies, for marking its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaceKind {
    /// Global address.
    Global(u64),
    /// Block and offset.
    Shared(usize, u32),
    /// Offset in the warp's local memory.
    Local(u32),
    /// Kernel parameters.
    Param,
}

impl PlaceKind {
    /// The place some bytes further on.
    pub fn add(self, bytes: u32) -> PlaceKind {
        match self {
            PlaceKind::Global(at) => PlaceKind::Global(at + u64::from(bytes)),
            PlaceKind::Shared(block, at) => PlaceKind::Shared(block, at + bytes),
            PlaceKind::Local(at) => PlaceKind::Local(at + bytes),
            PlaceKind::Param => PlaceKind::Param,
        }
    }
}

/// Finds the bytes that a lane accesses, or reports why it may not. Bytes that an asynchronous operation is going to
/// write must not be touched.
pub fn resolve(
    cx: &mut Cx<'_>,
    space: Where,
    address: u64,
    bytes: u32,
    align: u32,
    lane: usize,
    access: Access,
) -> Result<Place, ()> {
    let place = resolve_object(cx, space, address, bytes, align, lane, access)?;
    if let PlaceKind::Shared(block, _) = place.kind {
        if cx.ctas[block].objects.in_flight != 0 && asynchronous::in_flight(cx, place.kind, bytes) {
            let text = format!(
                "{} of {bytes} bytes at shared address {address:#x} while an asynchronous copy into them is in flight: \
                 wait for it first",
                access.verb()
            );
            cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(lane), &text);
            return Err(());
        }
        if access != Access::Read
            && let PlaceKind::Shared(_, at) = place.kind
            && cx.ctas[block].objects.is_busy()
            && let Some(why) = cx.ctas[block].objects.reader(at, bytes)
        {
            let text = format!("{} of {bytes} bytes at shared address {address:#x} while {why}", access.verb());
            cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(lane), &text);
            return Err(());
        }
        if access == Access::Write {
            asynchronous::overwritten(cx, place.kind, bytes);
        }
    }
    if let PlaceKind::Global(at) = place.kind
        && cx.ctas[0].objects.global_in_flight != [0; 2]
        && let Some(why) = objects::global_conflict(cx.ctas, at, bytes, access != Access::Read)
    {
        let text = format!("{} of {bytes} bytes at {address:#x} while {why}", access.verb());
        cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(lane), &text);
        return Err(());
    }
    Ok(place)
}

/// As `resolve`, for objects that are not plain memory.
pub fn resolve_object(
    cx: &mut Cx<'_>,
    space: Where,
    address: u64,
    bytes: u32,
    align: u32,
    lane: usize,
    access: Access,
) -> Result<Place, ()> {
    let mut space = space;
    let mut at = address;
    if space == Where::Generic {
        let inside = address & ((1 << WINDOW_BITS) - 1);
        (space, at) = match address & !((1 << WINDOW_BITS) - 1) {
            SHARED_WINDOW => (Where::Cluster, inside),
            LOCAL_WINDOW => (Where::Local, inside),
            PARAM_WINDOW => (Where::Param, inside),
            _ => (Where::Global, address),
        };
    }
    if !at.is_multiple_of(u64::from(align)) {
        let text = format!(
            "misaligned {} of {bytes} bytes at {address:#x}: the address is not a multiple of {align}",
            access.verb()
        );
        cx.fail(FaultKind::Misaligned, None, Some(lane), &text);
        return Err(());
    }
    match space {
        Where::Global | Where::Const | Where::Generic => {
            let cached = cx.worker.ranges[cx.pc as usize];
            let end = at.wrapping_add(u64::from(bytes));
            if !(at >= cached.base && end <= cached.end && at <= end) {
                match cx.launch.memory.range(at) {
                    Some(r) if end <= r.end => cx.worker.ranges[cx.pc as usize] = r,
                    found => {
                        if !cx.launch.checks.memory && found.is_none() && cx.launch.memory.reserved(at) {
                            return Ok(Place { pointer: cx.launch.memory.pointer(at), kind: PlaceKind::Global(at) });
                        }
                        let bad = found.map_or(at, |r| r.end);
                        let text = format!(
                            "out-of-bounds {} of {bytes} bytes at {address:#x}: {bad:#x} is {}",
                            access.verb(),
                            cx.launch.memory.describe(bad)
                        );
                        cx.fail(FaultKind::IllegalAddress, None, Some(lane), &text);
                        return Err(());
                    }
                }
            }
            if access != Access::Read && cx.launch.memory.is_constant(at) && space == Where::Const {
                cx.fail(FaultKind::IllegalAddress, None, Some(lane), "constant memory cannot be written");
                return Err(());
            }
            Ok(Place { pointer: cx.launch.memory.pointer(at), kind: PlaceKind::Global(at) })
        }
        Where::Shared | Where::Cluster => {
            let rank = (at >> 24) as u32;
            let offset = at as u32 & 0xff_ffff;
            let own = cx.warp.cta;
            let block = if rank == 0 { own } else { rank as usize - 1 };
            if at >> 32 != 0 || block >= cx.ctas.len() || (space == Where::Shared && block != own) {
                let text = format!(
                    "out-of-bounds {} of {bytes} bytes at shared address {at:#x}: {}",
                    access.verb(),
                    if at >> 32 != 0 || block >= cx.ctas.len() {
                        "no block of the cluster has it"
                    } else {
                        "it belongs to another block of the cluster"
                    }
                );
                cx.fail(FaultKind::IllegalAddress, None, Some(lane), &text);
                return Err(());
            }
            let len = cx.ctas[block].shared_len;
            if offset.checked_add(bytes).is_none_or(|end| end > len) {
                let text = format!(
                    "out-of-bounds {} of {bytes} bytes at shared address {offset:#x}: the block has {len} bytes of \
                     shared memory",
                    access.verb()
                );
                cx.fail(FaultKind::IllegalAddress, None, Some(lane), &text);
                return Err(());
            }
            if block != own && cx.ctas[block].live == 0 && cx.launch.checks.convergence {
                let text = format!(
                    "{} of shared memory of block {block} of the cluster, all threads of which have exited",
                    access.verb()
                );
                cx.fail(FaultKind::LaunchFailed, Some("convergence"), Some(lane), &text);
                return Err(());
            }
            let pointer = cx.ctas[block].shared.base().wrapping_add(offset as usize);
            Ok(Place { pointer, kind: PlaceKind::Shared(block, offset) })
        }
        Where::Local => {
            let size = cx.launch.code.local_bytes;
            let top = cx.warp.stack[lane & 31];
            if at + u64::from(bytes) > u64::from(top) {
                let text = format!(
                    "out-of-bounds {} of {bytes} bytes at local address {at:#x}: a thread has {top} bytes",
                    access.verb()
                );
                cx.fail(FaultKind::IllegalAddress, None, Some(lane), &text);
                return Err(());
            }
            let offset = lane as u32 * size + at as u32;
            let pointer = cx.warp.local.as_mut_ptr().wrapping_add(offset as usize);
            Ok(Place { pointer, kind: PlaceKind::Local(offset) })
        }
        Where::Param => {
            let size = cx.launch.params.len() as u64;
            if at + u64::from(bytes) > size || access != Access::Read {
                let text =
                    format!("{} of {bytes} bytes at parameter offset {at}: there are {size} bytes", access.verb());
                cx.fail(FaultKind::IllegalAddress, None, Some(lane), &text);
                return Err(());
            }
            let pointer = cx.launch.params.as_ptr().wrapping_add(at as usize).cast_mut();
            Ok(Place { pointer, kind: PlaceKind::Param })
        }
    }
}

#[inline(always)]
fn bit_range(bits: &[u64], at: u32, bytes: u32) -> bool {
    let want = if bytes >= 64 { u64::MAX } else { (1 << bytes) - 1 };
    let (w, s) = ((at / 64) as usize, at % 64);
    let v = if s == 0 { bits[w] } else { bits[w] >> s | bits[w + 1] << (64 - s) };
    v & want == want
}

#[inline(always)]
fn set_bit_range(bits: &mut [u64], at: u32, bytes: u32, value: bool) {
    let mask = if bytes >= 64 { u64::MAX } else { (1 << bytes) - 1 };
    let (w, s) = ((at / 64) as usize, at % 64);
    let mut put = |w: usize, m: u64| {
        if value {
            bits[w] |= m;
        } else {
            bits[w] &= !m;
        }
    };
    put(w, mask << s);
    if s != 0 && s + bytes > 64 {
        put(w + 1, mask >> (64 - s));
    }
}

/// Whether all bytes of a place (at most 64) are initialised.
#[inline(always)]
pub fn initialised(cx: &Cx<'_>, kind: PlaceKind, bytes: u32) -> bool {
    match kind {
        PlaceKind::Global(at) => cx.launch.memory.initialised(at, u64::from(bytes)),
        PlaceKind::Shared(block, at) => bit_range(&cx.ctas[block].shared_init, at, bytes),
        PlaceKind::Local(at) => bit_range(&cx.warp.local_init, at, bytes),
        PlaceKind::Param => true,
    }
}

/// Marks the bytes of a place (at most 64) initialised or not.
#[inline(always)]
pub fn mark(cx: &mut Cx<'_>, kind: PlaceKind, bytes: u32, value: bool) {
    match kind {
        PlaceKind::Global(at) if value => cx.launch.memory.mark_written(at, u64::from(bytes)),
        PlaceKind::Global(at) => cx.launch.memory.mark_uninitialised(at, u64::from(bytes)),
        PlaceKind::Shared(block, at) => set_bit_range(&mut cx.ctas[block].shared_init, at, bytes, value),
        PlaceKind::Local(at) => set_bit_range(&mut cx.warp.local_init, at, bytes, value),
        PlaceKind::Param => {}
    }
}

/// The bytes of a place as a little-endian number (at most 16).
///
/// # Safety
/// The place was resolved for `bytes`.
#[inline(always)]
pub unsafe fn load_bytes(p: *const u8, bytes: u32) -> u128 {
    // SAFETY: the caller resolved the place. Memory of the device is only touched through raw pointers, so that what
    // a racing kernel does to it is at worst a torn value.
    unsafe {
        match bytes {
            1 => u128::from(p.read()),
            2 => u128::from(p.cast::<u16>().read_unaligned()),
            4 => u128::from(p.cast::<u32>().read_unaligned()),
            8 => u128::from(p.cast::<u64>().read_unaligned()),
            _ => p.cast::<u128>().read_unaligned(),
        }
    }
}

/// Writes the low bytes of a number.
///
/// # Safety
/// The place was resolved for `bytes`.
#[inline(always)]
pub unsafe fn store_bytes(p: *mut u8, bytes: u32, v: u128) {
    // SAFETY: as in `load_bytes`.
    unsafe {
        match bytes {
            1 => p.write(v as u8),
            2 => p.cast::<u16>().write_unaligned(v as u16),
            4 => p.cast::<u32>().write_unaligned(v as u32),
            8 => p.cast::<u64>().write_unaligned(v as u64),
            _ => p.cast::<u128>().write_unaligned(v),
        }
    }
}
