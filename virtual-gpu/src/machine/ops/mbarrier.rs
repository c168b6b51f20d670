//! `mbarrier`.

use super::address::{self, Access, PlaceKind, Where};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule};
use crate::machine::objects::Mbarrier;
use crate::machine::taint;
use crate::ptx::{Operand, Ty};

/// Space in `x` bits 0 to 3, bit 4 wide address, bit 5 the count is given, bit 6 with bytes, bit 7 drop, bit 8 no
/// complete, bit 9 parity, bit 10 a token is written, bit 11 try (may give way).
const WIDE: u32 = 1 << 4;
const COUNTED: u32 = 1 << 5;
const BYTES: u32 = 1 << 6;
const DROP: u32 = 1 << 7;
const NO_COMPLETE: u32 = 1 << 8;
const PARITY: u32 = 1 << 9;
const TOKEN: u32 = 1 << 10;
const TRY: u32 = 1 << 11;
/// `.relaxed`: orders nothing.
const RELAXED: u32 = 1 << 12;

/// Largest arrival count and byte count.
const MOST: u32 = (1 << 20) - 1;

/// A state: the phase in the low half, the arrivals that were pending before in bits 32 to 51, and whether it comes
/// from an arrival with `.noComplete`.
const STATE_PENDING: u32 = 32;
const STATE_NO_COMPLETE: u64 = 1 << 63;

fn state_phase(state: u64) -> u64 {
    state & 0xffff_ffff
}

/// Block and offset of the barrier that a lane names.
fn locate(cx: &mut Cx<'_>, i: &Instr, l: usize) -> Result<(usize, u32), Flow> {
    let at = if i.x & WIDE != 0 {
        cx.lane::<u64>(i.a, l).wrapping_add(i.imm as u64)
    } else {
        u64::from(cx.lane::<u32>(i.a, l).wrapping_add(i.imm as u32))
    };
    let space = Where::from_bits(i.x & 15);
    let place = address::resolve_object(cx, space, at, 8, 8, l, Access::Atomic).map_err(|()| Flow::Fault)?;
    match place.kind {
        PlaceKind::Shared(block, offset) => Ok((block, offset)),
        _ => {
            let text = format!("an mbarrier at {at:#x}, which is no shared memory");
            Err(cx.fail(FaultKind::InvalidAddressSpace, None, Some(l), &text))
        }
    }
}

fn missing(cx: &mut Cx<'_>, l: usize, at: u32) -> Flow {
    let text = format!("no mbarrier was initialised at shared address {at:#x}");
    cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(l), &text)
}

/// The bytes of the object, for programs that look: pending count, count and phase.
fn store_image(cx: &mut Cx<'_>, block: usize, at: u32) {
    let Some(b) = cx.ctas[block].objects.mbarriers.get(&at).copied() else { return };
    let image = u64::from(b.pending) | u64::from(b.count) << 20 | (b.phase & 1) << 63;
    let p = cx.ctas[block].shared.base().wrapping_add(at as usize);
    // SAFETY: the object's eight bytes were resolved before.
    unsafe { p.cast::<u64>().write_unaligned(image) };
    address::mark(cx, PlaceKind::Shared(block, at), 8, true);
}

unsafe fn init(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let (block, at) = match locate(cx, i, l) {
            Ok(p) => p,
            Err(flow) => return flow,
        };
        let count: u32 = cx.lane(i.b, l);
        if count == 0 || count > MOST {
            let text = format!("an mbarrier of {count} arrivals: 1 to {MOST} are possible");
            return cx.fail(FaultKind::IllegalInstruction, None, Some(l), &text);
        }
        let object = Mbarrier { count, pending: count, bytes: 0, phase: 0 };
        cx.ctas[block].objects.mbarriers.insert(at, object);
        store_image(cx, block, at);
    }
    cx.progress = true;
    Flow::Next
}

unsafe fn inval(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let (block, at) = match locate(cx, i, l) {
            Ok(p) => p,
            Err(flow) => return flow,
        };
        if cx.ctas[block].objects.mbarriers.remove(&at).is_none() {
            return missing(cx, l, at);
        }
    }
    Flow::Next
}

/// Arrivals: `b` the count or the bytes, `c` the count beside bytes, `d` the token.
unsafe fn arrive(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let mut tokens = [0u64; 32];
    cx.progress = true;
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let (block, at) = match locate(cx, i, l) {
            Ok(p) => p,
            Err(flow) => return flow,
        };
        let given: u32 = cx.lane(i.b, l);
        let (arrivals, bytes) = match (i.x & BYTES != 0, i.x & COUNTED != 0) {
            (true, _) => (1, given),
            (false, true) => (given, 0),
            _ => (1, 0),
        };
        if i.x & RELAXED == 0 {
            crate::machine::races::mbarrier_release(cx, block, at);
        }
        let Some(b) = cx.ctas[block].objects.mbarriers.get_mut(&at) else { return missing(cx, l, at) };
        tokens[l] = b.phase & 0xffff_ffff | u64::from(b.pending) << STATE_PENDING;
        if i.x & NO_COMPLETE != 0 {
            tokens[l] |= STATE_NO_COMPLETE;
        }
        b.bytes += i64::from(bytes);
        if arrivals == 0 || arrivals > MOST || b.bytes.unsigned_abs() > u64::from(MOST) {
            let (text, bytes) = (format!("{arrivals} arrivals"), b.bytes);
            let text =
                format!("{text} and {bytes} pending bytes at an mbarrier: 1 to {MOST}, and up to {MOST}, are possible");
            return cx.fail(FaultKind::IllegalInstruction, Some("asynchrony"), Some(l), &text);
        }
        if arrivals > b.pending {
            let text = format!(
                "{arrivals} arrivals at the mbarrier at {at:#x}, which misses {} of {} in this phase",
                b.pending, b.count
            );
            return cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(l), &text);
        }
        b.pending -= arrivals;
        if i.x & DROP != 0 {
            b.count = b.count.saturating_sub(arrivals);
        }
        if i.x & NO_COMPLETE != 0 && b.pending == 0 {
            let text = "an arrival with .noComplete completes the phase";
            return cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(l), text);
        }
        b.settle();
        store_image(cx, block, at);
    }
    if i.x & TOKEN != 0 {
        cx.put(i.d, &tokens, m);
        if cx.tainted {
            taint::set(cx, i.d, m, 0);
        }
    }
    Flow::Next
}

/// `expect_tx` and `complete_tx`: `b` the bytes, bit 7 completes.
unsafe fn bytes(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    cx.progress = true;
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let (block, at) = match locate(cx, i, l) {
            Ok(p) => p,
            Err(flow) => return flow,
        };
        let n: u32 = cx.lane(i.b, l);
        let Some(b) = cx.ctas[block].objects.mbarriers.get_mut(&at) else { return missing(cx, l, at) };
        b.bytes += if i.x & DROP != 0 { -i64::from(n) } else { i64::from(n) };
        if b.bytes.unsigned_abs() > u64::from(MOST) {
            let text = format!("{} pending bytes at an mbarrier: up to {MOST} are possible", b.bytes);
            return cx.fail(FaultKind::IllegalInstruction, Some("asynchrony"), Some(l), &text);
        }
        if i.x & DROP != 0 {
            b.settle();
        }
    }
    Flow::Next
}

/// `test_wait` and `try_wait`: `b` the token, or the parity.
unsafe fn wait(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let mut done = [false; 32];
    let mut all = true;
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let (block, at) = match locate(cx, i, l) {
            Ok(p) => p,
            Err(flow) => return flow,
        };
        if block != cx.warp.cta {
            let text = "a wait at an mbarrier of another block: only its own block can wait there";
            return cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(l), text);
        }
        let Some(b) = cx.ctas[block].objects.mbarriers.get(&at).copied() else { return missing(cx, l, at) };
        done[l] = if i.x & PARITY != 0 {
            let parity: u32 = cx.lane(i.b, l);
            b.phase & 1 != u64::from(parity & 1)
        } else {
            let token = state_phase(cx.lane(i.b, l));
            if cx.launch.checks.asynchrony && (token > b.phase || token + 1 < b.phase) {
                let text =
                    format!("the state given to the mbarrier at {at:#x} is not of its current phase or the one before");
                return cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(l), &text);
            }
            b.phase > token
        };
        all &= done[l];
        if done[l] && i.x & RELAXED == 0 {
            crate::machine::races::mbarrier_acquire(cx, block, at);
        }
    }
    cx.put(i.d, &done, m);
    if cx.tainted {
        taint::set(cx, i.d, m, 0);
    }
    if all {
        cx.progress = true;
        return Flow::Next;
    }
    cx.polls += 1;
    cx.awaits_mbarrier = true;
    Flow::Yield
}

/// The arrivals that were pending before the arrival that gave the state in `a`.
unsafe fn pending_count(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let states = cx.lanes::<u64>(i.a);
    if let Some(l) = (0..32).find(|l| m >> l & 1 != 0 && states[*l] & STATE_NO_COMPLETE == 0)
        && cx.launch.checks.asynchrony
    {
        let text = "mbarrier.pending_count of a state that no arrival with .noComplete gave";
        return cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(l), text);
    }
    let out = states.map(|s| (s >> STATE_PENDING) as u32 & MOST);
    cx.put(i.d, &out, m);
    Flow::Next
}

/// Decodes `mbarrier`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let Some(what) = f.one_of(&[
        "init",
        "inval",
        "arrive",
        "arrive_drop",
        "complete_tx",
        "test_wait",
        "try_wait",
        "pending_count",
        "expect_tx",
    ]) else {
        return lw.refuse("names no operation");
    };
    let arrival = matches!(what, "arrive" | "arrive_drop");
    let waits = matches!(what, "test_wait" | "try_wait");
    let with_bytes = arrival && f.flag("expect_tx");
    let no_complete = arrival && f.flag("noComplete");
    let parity = waits && f.flag("parity");
    // PTX ISA 9.1 names the layout of states, of which these devices have one.
    f.flag("layout::v0");
    let mut x = 0;
    if arrival || waits || what.ends_with("_tx") {
        let order = f.one_of(&["relaxed", if waits { "acquire" } else { "release" }]);
        if order == Some("relaxed") {
            x |= RELAXED;
        }
        let scope = f.one_of(&["cta", "cluster"]);
        if order.is_some() != scope.is_some() {
            return lw.refuse("names an order and a scope, or neither");
        }
    }
    if f.types[..] != [Ty::B64] {
        return lw.refuse("takes .b64");
    }
    if what == "pending_count" {
        f.arity(lw, 2..=2)?;
        let a = lw.src(&ops[1], Ty::B64)?;
        let d = lw.dst(&ops[0], Ty::B32)?;
        lw.emit(MInst::new(OpPair::same(pending_count)).d(d).a(a));
        return Ok(());
    }
    let space = f.find(Where::from_name).unwrap_or(Where::Generic);
    let remote = arrival || what.ends_with("_tx");
    let legal = matches!(space, Where::Generic | Where::Shared) || (remote && space == Where::Cluster);
    if !legal {
        return lw.refuse("this state space does not go with the operation");
    }
    x |= space as u32;
    let has_result = arrival || waits;
    if has_result && matches!(ops.first(), Some(Operand::Address(..))) {
        return lw.refuse("has no destination");
    }
    if arrival && space == Where::Cluster && ops.first() != Some(&Operand::Sink) {
        return lw.refuse("an arrival at a barrier of another block returns no state: its destination is _");
    }
    let at = usize::from(has_result);
    let least = at + if what == "inval" || (arrival && !with_bytes && !no_complete) { 1 } else { 2 };
    let most = match what {
        "inval" => least,
        _ if arrival => at + 2,
        // A hint of how long to wait.
        "try_wait" => at + 3,
        _ => least,
    };
    f.arity(lw, least..=most)?;
    let a = lw.address(&ops[at])?;
    if a.wide {
        x |= WIDE;
    }
    let second = ops.get(at + 1);
    if let Some(hint) = ops.get(at + 2) {
        lw.src(hint, Ty::U32)?;
    }
    let mut b = Opnd::No;
    let op: crate::machine::exec::OpFn = match what {
        "inval" => inval,
        "init" => init,
        "expect_tx" => bytes,
        "complete_tx" => {
            x |= DROP;
            bytes
        }
        "arrive" | "arrive_drop" => {
            if second.is_some() {
                x |= if with_bytes { BYTES } else { COUNTED };
            }
            if what == "arrive_drop" {
                x |= DROP;
            }
            if no_complete {
                x |= NO_COMPLETE;
            }
            arrive
        }
        _ => {
            if parity {
                x |= PARITY;
            }
            if what == "try_wait" {
                x |= TRY;
            }
            wait
        }
    };
    if let Some(o) = second {
        b = lw.src(o, if waits && !parity { Ty::B64 } else { Ty::U32 })?;
    }
    let mut i = MInst::new(OpPair::same(op)).a(a.base).b(b).imm(a.offset);
    if has_result {
        i = i.d(lw.dst(&ops[0], if waits { Ty::Pred } else { Ty::B64 })?);
        if !waits {
            x |= TOKEN;
        }
    }
    lw.emit(i.x(x).taint(TaintRule::Address));
    Ok(())
}
