//! Checks of the accesses of lanes and warps through the generic proxy.

use super::cells::{
    self, BLOCK_SHIFT, Cells, LANE_SHIFT, LANES, LAUNCH_SHIFT, MASK, SEVERAL, SIZE_SHIFT, STRONG, WARP_SHIFT, field,
    lane_at, launch_of,
};
use super::sync::strong;
use super::view::{Access, Conflict, View};
use crate::machine::exec::Cx;
use crate::machine::fault::FaultKind;
use crate::machine::launch::Launch;
use crate::machine::ops::address::PlaceKind;
use std::sync::PoisonError;

/// Where cells are looked up: in global memory, or in a block's shared memory.
#[derive(Clone, Copy)]
pub(super) enum Base {
    Global,
    /// Cells of the first word, and how many words there are.
    Shared(Cells, usize),
}

impl Base {
    /// Cells of the word at an address or offset.
    #[inline(always)]
    pub(super) fn cells(self, launch: &Launch<'_>, at: u64) -> Option<Cells> {
        match self {
            Base::Global => launch.memory.reserved(at).then(|| global_cells(launch, at)),
            // SAFETY: the word is one of those there are.
            Base::Shared(first, words) => ((at / 4) < words as u64).then(|| unsafe { first.at(at as usize / 4) }),
        }
    }
}

/// A view of the running warp on global memory or on a block's shared memory.
fn with_view<R>(cx: &mut Cx<'_>, owner: Option<usize>, parts: bool, f: impl FnOnce(&View<'_>, Base) -> R) -> Option<R> {
    let (launch, block) = (cx.launch, cx.warp.cta);
    let warp = cx.warp.index as usize;
    let stamps = cx.warp.stamps;
    let waited = cx.ctas[0].objects.waited_for_grid;
    let s = cx.ctas[0].objects.races.as_deref_mut()?;
    let (base, stamp) = match owner {
        None => (Base::Global, stamps.global),
        Some(_) if stamps.shared == 0 => return None,
        Some(owner) => {
            let shadow = s.shadows.get_mut(owner)?;
            // A block's shadow has a generation of its own.
            let stamp = stamps.shared & ((1 << LAUNCH_SHIFT) - 1) | shadow.generation << LAUNCH_SHIFT;
            (Base::Shared(shadow.cells(0, parts)?, shadow.words()), stamp)
        }
    };
    if stamp == 0 {
        return None;
    }
    let view = View { state: s, launch, me: block * s.warps + warp, block, global: owner.is_none(), stamp, waited };
    Some(f(&view, base))
}

/// A view of the running warp, and the cells of the word at a place.
pub(super) fn with<R>(
    cx: &mut Cx<'_>,
    place: PlaceKind,
    parts: bool,
    f: impl FnOnce(&View<'_>, Cells) -> R,
) -> Option<R> {
    let launch = cx.launch;
    let (owner, at) = match place {
        PlaceKind::Global(at) => (None, at),
        PlaceKind::Shared(owner, at) => (Some(owner), u64::from(at)),
        _ => return None,
    };
    with_view(cx, owner, parts, |view, base| base.cells(launch, at).map(|cells| f(view, cells))).flatten()
}

#[inline(always)]
fn global_cells(launch: &Launch<'_>, at: u64) -> Cells {
    let [writes, reads, bytes] = launch.memory.cells(at);
    Cells { writes, reads, bytes }
}

/// Bytes of the first word of an access, and how many words it takes.
fn extent(at: u64, bytes: u32) -> (u64, usize) {
    let inside = (at % 4) as u32;
    if bytes >= 4 { (MASK, (inside + bytes).div_ceil(4) as usize) } else { (((1 << bytes) - 1) << inside & MASK, 1) }
}

/// The address or offset of a place.
pub(super) fn address_in(place: PlaceKind) -> u64 {
    match place {
        PlaceKind::Global(at) => at,
        PlaceKind::Shared(_, at) => u64::from(at),
        _ => 0,
    }
}

/// Reports a conflict; the same value stored twice is a remark.
pub(super) fn report(
    cx: &mut Cx<'_>,
    lane: usize,
    access: Access,
    place: PlaceKind,
    conflict: Conflict,
    same: bool,
) -> Result<(), ()> {
    if !cx.launch.checks.races {
        return Ok(());
    }
    let launch = cx.launch;
    let at = address_in(place);
    let what = access.verb();
    let about = match place {
        PlaceKind::Global(at) => format!("\n  address     {at:#x}, {}", launch.memory.describe(at)),
        _ => String::new(),
    };
    let (old, wrote) = match conflict {
        Conflict::NonCoherent => {
            let text = format!(
                "the {what} at {at:#x}: the byte is read through the non-coherent path (.nc) and written in the same \
                 launch{about}"
            );
            cx.fail(FaultKind::LaunchFailed, Some("races"), Some(lane), &text);
            return Err(());
        }
        Conflict::Race { old, wrote } => (old, wrote),
    };
    let plain_writes = wrote && access.write && access.strong.is_none() && old & STRONG == 0;
    if same && plain_writes {
        let mut notes = launch.notes.lock().unwrap_or_else(PoisonError::into_inner);
        if !notes.iter().any(|n| n.starts_with("several threads store")) {
            notes.push("several threads store the same value to one address without order".into());
        }
        return Ok(());
    }
    let kind = match (old & STRONG != 0, wrote) {
        (true, true) => "n atomic update or ordered write",
        (_, true) => " write",
        (_, false) => " read",
    };
    let text = if matches!(place, PlaceKind::Global(_)) && launch_of(old) != launch_of(cx.warp.stamps.global) {
        let (both, whom) = launch.other_launch(launch_of(old));
        format!(
            "race between {both}: this {what} at {at:#x} is not ordered with a{kind} of the same word by {whom}{about}"
        )
    } else {
        let (warp, lane) = (field(old, WARP_SHIFT, 5), lane_at(old, (at % 4) as u32));
        let [x, y, z] = launch.thread_of(warp, lane);
        let own = match place {
            PlaceKind::Shared(..) => field(cx.warp.stamps.shared, BLOCK_SHIFT, 16),
            _ => field(cx.warp.stamps.global, BLOCK_SHIFT, 16),
        };
        let whose = if old & SEVERAL != 0 && !wrote {
            "several threads".into()
        } else if field(old, BLOCK_SHIFT, 16) == own {
            format!("thread ({x},{y},{z}) of the same block")
        } else {
            "a thread of another block".into()
        };
        format!("race: this {what} at {at:#x} is not ordered with a{kind} of the same word by {whose}{about}")
    };
    cx.fail(FaultKind::LaunchFailed, Some("races"), Some(lane), &text);
    Err(())
}

/// Checks and records an access of one lane; `same`: the value that is written is there already.
fn lane_write(
    cx: &mut Cx<'_>,
    place: PlaceKind,
    bytes: u32,
    lane: usize,
    access: Access,
    same: impl FnOnce() -> bool,
) -> Result<(), ()> {
    if let PlaceKind::Global(at) = place
        && cx.launch.place.concurrent
        && cx.launch.checks.races
        && let Some((both, whom)) = cx.launch.place.copy_at(at, u64::from(bytes), access.write)
    {
        let text = format!(
            "race between {both}: this {} at {at:#x} is not ordered with {whom}\n  address     {at:#x}, {}",
            access.verb(),
            cx.launch.memory.describe(at)
        );
        cx.fail(FaultKind::LaunchFailed, Some("races"), Some(lane), &text);
        return Err(());
    }
    let (mask, words) = extent(address_in(place), bytes);
    let log = bytes.min(4).trailing_zeros();
    let found = with(cx, place, log < 2, |view, cells| {
        let mut found = None;
        for k in 0..words {
            // SAFETY: the caller resolved the place for its bytes.
            found = found.or(unsafe { view.word(cells.at(k), mask, log, lane as u32, access) });
        }
        found
    });
    match found.flatten() {
        None => Ok(()),
        Some(conflict) => {
            let same = access.write && same();
            report(cx, lane, access, place, conflict, same)
        }
    }
}

/// As `lane_write`, with what a strong access orders.
pub fn lane(cx: &mut Cx<'_>, place: PlaceKind, bytes: u32, lane: usize, access: Access, same: bool) -> Result<(), ()> {
    if cx.ctas[0].objects.races.is_none() {
        return Ok(());
    }
    lane_write(cx, place, bytes, lane, access, || same)?;
    if let Some(order) = access.strong {
        strong(cx, place, !access.write || order.update, access.write, order);
    }
    Ok(())
}

/// A warp reads or writes contiguous global memory, or in any other way reads it. `same` says whether a lane's value is
/// there already.
#[inline(always)]
pub fn global_warp(
    cx: &mut Cx<'_>,
    addr: &[u64; 32],
    mask: u32,
    bytes: u32,
    access: Access,
    contiguous: bool,
    same: impl Fn(usize) -> bool,
) -> Result<(), ()> {
    let stamp = cx.warp.stamps.global | access.bits();
    let first = addr[0];
    if stamp >> LAUNCH_SHIFT == 0 {
        return Ok(());
    }
    if contiguous && first.is_multiple_of(4) && cx.launch.memory.reserved(first) && !cx.launch.has_concurrent() {
        let cells = global_cells(cx.launch, first);
        // SAFETY: the caller found the range in a live allocation, so that each word has cells.
        if unsafe { cells::contiguous(cells, stamp, bytes.trailing_zeros(), access.write) } {
            return Ok(());
        }
    }
    each_lane(cx, addr, mask, bytes, access, None, same)
}

/// As `global_warp`, of the block's shared memory.
#[inline(always)]
pub fn shared_warp(
    cx: &mut Cx<'_>,
    addr: &[u64; 32],
    mask: u32,
    bytes: u32,
    access: Access,
    contiguous: bool,
    same: impl Fn(usize) -> bool,
) -> Result<(), ()> {
    let stamp = cx.warp.stamps.shared | access.bits();
    let own = cx.warp.cta;
    if stamp >> LAUNCH_SHIFT == 0 {
        return Ok(());
    }
    if contiguous
        && addr[0].is_multiple_of(4)
        && let Some(s) = cx.ctas[0].objects.races.as_deref_mut()
        && let Some(cells) = s.shadows[own].cells(addr[0] as u32, false)
    {
        // SAFETY: the caller checked the range against the block's shared memory, all words of which have cells.
        if unsafe { cells::contiguous(cells, stamp, bytes.trailing_zeros(), access.write) } {
            return Ok(());
        }
    }
    each_lane(cx, addr, mask, bytes, access, Some(own), same)
}

fn each_lane(
    cx: &mut Cx<'_>,
    addr: &[u64; 32],
    mask: u32,
    bytes: u32,
    access: Access,
    owner: Option<usize>,
    same: impl Fn(usize) -> bool,
) -> Result<(), ()> {
    let place = |at: u64| owner.map_or(PlaceKind::Global(at), |b| PlaceKind::Shared(b, at as u32));
    let launch = cx.launch;
    if owner.is_none() && launch.has_concurrent() {
        for l in (0..32).filter(|l| mask >> l & 1 != 0) {
            lane_write(cx, place(addr[l]), bytes, l, access, || same(l))?;
        }
        return Ok(());
    }
    let log = bytes.min(4).trailing_zeros();
    let mut left = mask;
    while left != 0 {
        let found = with_view(cx, owner, log < 2, |view, base| {
            let whole = view.stamp | MASK | 2 << SIZE_SHIFT | access.bits();
            let mut last = u64::MAX;
            while left != 0 {
                let l = left.trailing_zeros();
                left &= left - 1;
                let at = addr[l as usize & 31];
                let Some(cells) = base.cells(launch, at) else { continue };
                let (bits, words) = extent(at, bytes);
                let me = whole | u64::from(l) << LANE_SHIFT;
                for k in 0..words {
                    // SAFETY: the caller found the lane's bytes in live memory, so that each word has cells.
                    unsafe {
                        let c = cells.at(k);
                        if log == 2 && at == last && !access.write && cells::is_foreign(*c.writes, me) {
                            // As the lane before.
                            *c.reads |= LANES;
                            continue;
                        }
                        let alone =
                            log == 2 && if access.write { cells::write_alone(c, me) } else { cells::read_alone(c, me) };
                        if !alone && let Some(conflict) = view.word(c, bits, log, l, access) {
                            return Some((l as usize, conflict));
                        }
                    }
                }
                last = at;
            }
            None
        });
        match found {
            None => return Ok(()),
            Some(None) => {}
            Some(Some((l, conflict))) => {
                let harmless = access.write && same(l);
                report(cx, l, access, place(addr[l]), conflict, harmless)?;
            }
        }
    }
    Ok(())
}
