//! `mbarrier`.

use super::address::{self, Access, PlaceKind, Where};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule};
use crate::machine::objects::{MOST_BYTES, Mbarrier};
use crate::ptx::{Operand, Ty};

/// Space in `x` bits 0 to 3, bit 4 wide address, bit 5 the count is given, bit 6 with bytes, bit 7 drop, bit 8 no
/// complete, bit 9 parity, bit 10 a token is written, bit 11 try (may give way), bit 12 orders nothing.
const WIDE: u32 = 1 << 4;
const COUNTED: u32 = 1 << 5;
const BYTES: u32 = 1 << 6;
const DROP: u32 = 1 << 7;
const NO_COMPLETE: u32 = 1 << 8;
const PARITY: u32 = 1 << 9;
const TOKEN: u32 = 1 << 10;
const TRY: u32 = 1 << 11;
const RELAXED: u32 = 1 << 12;

/// Largest arrival count and byte count.
const MOST: u32 = (1 << 20) - 1;

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

fn overflow(cx: &mut Cx<'_>, l: usize, at: u32) -> Flow {
    let text = format!("the transaction count of the mbarrier at {at:#x} leaves its range of {MOST_BYTES} bytes");
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
        tokens[l] = b.phase;
        b.bytes += i64::from(bytes);
        if b.bytes > MOST_BYTES {
            return overflow(cx, l, at);
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
        if b.bytes.abs() > MOST_BYTES {
            return overflow(cx, l, at);
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
        let Some(b) = cx.ctas[block].objects.mbarriers.get(&at).copied() else { return missing(cx, l, at) };
        done[l] = if i.x & PARITY != 0 {
            let parity: u32 = cx.lane(i.b, l);
            b.phase & 1 != u64::from(parity & 1)
        } else {
            let token: u64 = cx.lane(i.b, l);
            if cx.launch.checks.asynchrony && token > b.phase {
                let text = format!("the state given to the mbarrier at {at:#x} is not one it returned");
                return cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(l), &text);
            }
            b.phase > token
        };
        all &= done[l];
        if done[l] {
            if i.x & RELAXED == 0 {
                crate::machine::races::mbarrier_acquire(cx, block, at);
            }
        }
    }
    cx.put(i.d, &done, m);
    if all {
        cx.progress = true;
        return Flow::Next;
    }
    cx.polls += 1;
    cx.awaits_mbarrier = true;
    Flow::Yield
}

/// Decodes `mbarrier`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let Some(what) = f.one_of(&[
        "init",
        "inval",
        "arrive",
        "arrive_drop",
        "expect_tx",
        "complete_tx",
        "test_wait",
        "try_wait",
        "pending_count",
    ]) else {
        return lw.refuse("names no operation");
    };
    let with_bytes = f.flag("expect_tx");
    let no_complete = f.flag("noComplete");
    let parity = f.flag("parity");
    let relaxed = f.one_of(&["release", "acquire", "relaxed"]) == Some("relaxed");
    f.one_of(&["cta", "cluster"]);
    let space = f.find(Where::from_name).unwrap_or(Where::Generic);
    if f.types.first() != Some(&Ty::B64) {
        return lw.refuse("takes .b64");
    }
    if what == "pending_count" {
        // A state counts phases here; how many arrivals were pending is not in it, and 0 would be a wrong answer.
        return lw.refuse("is not implemented");
    }
    let mut x = space as u32 | if relaxed { RELAXED } else { 0 };
    let has_result = matches!(what, "arrive" | "arrive_drop" | "test_wait" | "try_wait")
        && !matches!(ops.first(), Some(Operand::Address(..)));
    let at = usize::from(has_result);
    let Some(target) = ops.get(at) else { return lw.refuse("has no address") };
    let a = lw.address(target)?;
    if a.wide {
        x |= WIDE;
    }
    let second = ops.get(at + 1);
    let mut b = Opnd::No;
    let (op, rule): (crate::machine::exec::OpFn, TaintRule) = match what {
        "init" | "expect_tx" | "complete_tx" => {
            let Some(o) = second else { return lw.refuse("has no count") };
            b = lw.src(o, Ty::U32)?;
            if what == "complete_tx" {
                x |= DROP;
            }
            (if what == "init" { init } else { bytes }, TaintRule::Address)
        }
        "inval" => (inval, TaintRule::Address),
        "arrive" | "arrive_drop" => {
            if let Some(o) = second {
                b = lw.src(o, Ty::U32)?;
                x |= if with_bytes { BYTES } else { COUNTED };
            } else if with_bytes {
                return lw.refuse("has no byte count");
            }
            if what == "arrive_drop" {
                x |= DROP;
            }
            if no_complete {
                x |= NO_COMPLETE;
            }
            (arrive, TaintRule::Address)
        }
        _ => {
            let Some(o) = second else { return lw.refuse("has no state") };
            b = lw.src(o, if parity { Ty::U32 } else { Ty::B64 })?;
            if parity {
                x |= PARITY;
            }
            if what == "try_wait" {
                x |= TRY;
            }
            (wait, TaintRule::Address)
        }
    };
    let mut i = MInst::new(OpPair::same(op)).a(a.base).b(b).imm(a.offset);
    if has_result {
        let wait = matches!(what, "test_wait" | "try_wait");
        i = i.d(lw.dst(&ops[0], if wait { Ty::Pred } else { Ty::B64 })?);
        if !wait {
            x |= TOKEN;
        }
    } else if matches!(what, "test_wait" | "try_wait") {
        return lw.refuse("writes a predicate");
    }
    lw.emit(i.x(x).taint(rule));
    Ok(())
}
