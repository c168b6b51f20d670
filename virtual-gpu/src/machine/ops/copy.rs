//! Asynchronous copies: `cp.async`, `cp.async.bulk`, `cp.reduce.async.bulk` and their groups, with `st.async`
//! and `red.async`.

use super::address::{self, Access, PlaceKind, Where};
use super::mem::{take_hints, take_policy};
use super::tma;
use crate::machine::asynchronous;
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::l2::Use;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule, Width};
use crate::machine::objects::{self, Segment, Side, Transfer};
use crate::machine::races;
use crate::ptx::{Operand, Ty};

/// An address operand of a copy: register offset in the list, and offset.
fn address_of(cx: &Cx<'_>, i: &Instr, k: usize, l: usize) -> u64 {
    cx.lane::<u64>(cx.listed(i, k), l)
}

/// `list`: destination, source, source size, ignore predicate; bytes in `x` bits 0 to 7; bit 8: size given; bit 9:
/// ignore given.
unsafe fn cp_async(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let bytes = i.x & 0xff;
    let ignore = if i.x >> 9 & 1 != 0 { cx.mask_of(cx.listed(i, 3)) } else { 0 };
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let (to, from) = (address_of(cx, i, 0, l), address_of(cx, i, 1, l));
        let mut read = bytes;
        if i.x >> 8 & 1 != 0 {
            read = cx.lane(cx.listed(i, 2), l);
            if read > bytes {
                let text = format!("cp.async reads {read} of {bytes} bytes");
                return cx.fail(FaultKind::IllegalInstruction, None, Some(l), &text);
            }
        }
        if ignore >> l & 1 != 0 {
            read = 0;
        }
        let Ok(place) = address::resolve(cx, Where::Shared, to, bytes, bytes, l, Access::Write) else {
            return Flow::Fault;
        };
        let PlaceKind::Shared(_, offset) = place.kind else { return Flow::Fault };
        let mut source = from;
        if read > 0 {
            // Bytes that are not read are not accessed.
            let Ok(place) =
                address::resolve(cx, Where::Global, from, read, bytes.min(read.next_power_of_two()), l, Access::Read)
            else {
                return Flow::Fault;
            };
            let PlaceKind::Global(at) = place.kind else { return Flow::Fault };
            source = at;
            super::mem::reach(cx, at, u64::from(read), Use::Read);
            if races::lane(cx, place.kind, read, l, races::Access::READ, false).is_err() {
                return Flow::Fault;
            }
        } else if !from.is_multiple_of(u64::from(bytes)) {
            let text = format!("misaligned source {from:#x} of cp.async: not a multiple of {bytes}");
            return cx.fail(FaultKind::Misaligned, None, Some(l), &text);
        }
        let target = PlaceKind::Shared(cx.warp.cta, offset);
        if races::lane(cx, target, bytes, l, races::Access::WRITE, false).is_err() {
            return Flow::Fault;
        }
        asynchronous::issue(cx, l, offset, source, bytes, read);
    }
    let t = &mut cx.worker.traffic;
    t.global_requests += 1;
    let sectors = u64::from(m.count_ones() * bytes).div_ceil(32);
    t.sectors += sectors;
    t.sectors_needed += sectors;
    cx.progress = true;
    Flow::Next
}

/// `x`: 0 commit, 1 wait_group (`imm`), 2 wait_all.
unsafe fn cp_group(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    match i.x {
        0 => asynchronous::commit(cx, m),
        1 => asynchronous::wait(cx, m, Some(i.imm as u32)),
        _ => asynchronous::wait(cx, m, None),
    }
    Flow::Next
}

/// `cp.async.mbarrier.arrive`: list: address; `x` bit 0: the pending count is raised.
unsafe fn cp_arrive(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let at = address_of(cx, i, 0, l);
        let Ok(place) = address::resolve_object(cx, Where::Generic, at, 8, 8, l, Access::Atomic) else {
            return Flow::Fault;
        };
        if let PlaceKind::Shared(block, offset) = place.kind {
            races::mbarrier_release(cx, block, offset);
        }
        let known = match place.kind {
            PlaceKind::Shared(block, offset) if block == cx.warp.cta => {
                asynchronous::arrive(cx, l, offset, i.x & 1 != 0)
                    && cx.ctas[block].objects.mbarriers.contains_key(&offset)
            }
            _ => false,
        };
        if !known {
            let text = format!("no mbarrier of this block was initialised at {at:#x}");
            return cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(l), &text);
        }
    }
    cx.progress = true;
    Flow::Next
}

/// A lane's place with a check against its whole extent.
pub fn extent(
    cx: &mut Cx<'_>,
    space: Where,
    at: u64,
    bytes: u32,
    align: u32,
    l: usize,
    access: Access,
) -> Result<PlaceKind, ()> {
    Ok(address::resolve(cx, space, at, bytes, align, l, access)?.kind)
}

/// Flags of bulk copies in `x`: source and destination space (0 global, 1 shared of this block, 2 of the cluster).
const TO_SHIFT: u32 = 0;
const FROM_SHIFT: u32 = 2;
const MULTICAST: u32 = 1 << 4;
const BARRIER: u32 = 1 << 5;
/// Reduction: operation and type index from here.
const REDUCE_SHIFT: u32 = 8;

const REDUCTIONS: [&str; 8] = ["add", "min", "max", "inc", "dec", "and", "or", "xor"];
const REDUCED: [Ty; 10] = [Ty::U32, Ty::S32, Ty::U64, Ty::S64, Ty::F32, Ty::F64, Ty::F16, Ty::BF16, Ty::B32, Ty::B64];

fn space_of(code: u32) -> Where {
    match code & 3 {
        0 => Where::Global,
        1 => Where::Shared,
        _ => Where::Cluster,
    }
}

/// `list`: destination, source, size, mbarrier, multicast mask.
unsafe fn bulk(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    cx.progress = true;
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let (to, from) = (address_of(cx, i, 0, l), address_of(cx, i, 1, l));
        let size: u32 = cx.lane(cx.listed(i, 2), l);
        if !size.is_multiple_of(16) {
            let text = format!("a bulk copy of {size} bytes: the size is a multiple of 16");
            return cx.fail(FaultKind::Misaligned, None, Some(l), &text);
        }
        if size == 0 {
            continue;
        }
        let reduce = (i.x >> REDUCE_SHIFT != 0).then(|| {
            let code = (i.x >> REDUCE_SHIFT) - 1;
            (REDUCTIONS[(code & 7) as usize], REDUCED[(code >> 3) as usize % REDUCED.len()])
        });
        let write = if reduce.is_some() { Access::Atomic } else { Access::Write };
        let Ok(d) = extent(cx, space_of(i.x >> TO_SHIFT), to, size, 16, l, write) else { return Flow::Fault };
        let Ok(s) = extent(cx, space_of(i.x >> FROM_SHIFT), from, size, 16, l, Access::Read) else {
            return Flow::Fault;
        };
        let own = cx.warp.cta;
        let (side_to, mut targets) = match d {
            PlaceKind::Global(a) => (Side::Global(a), vec![]),
            PlaceKind::Shared(b, a) => (Side::Shared(a), vec![b]),
            _ => return Flow::Fault,
        };
        let (side_from, source) = match s {
            PlaceKind::Global(a) => (Side::Global(a), own),
            PlaceKind::Shared(b, a) => (Side::Shared(a), b),
            _ => return Flow::Fault,
        };
        if i.x & MULTICAST != 0 {
            match multicast(cx, i, 4, l) {
                Ok(t) => targets = t,
                Err(flow) => return flow,
            }
        }
        let barrier = match barrier_of(cx, i, l, &targets) {
            Ok(b) => b,
            Err(flow) => return flow,
        };
        let group = (i.x & BARRIER == 0).then(|| bulk_group(cx, l));
        let t = Transfer {
            segments: vec![Segment { from: side_from, to: side_to, bytes: size }],
            source,
            targets,
            barrier,
            counted: size,
            reduce,
            group,
            fetched: Vec::new(),
            what: crate::machine::report::describe(cx, l, "an asynchronous bulk copy"),
        };
        if account(cx, l, &t).is_err() {
            return Flow::Fault;
        }
        let sectors = u64::from(size / 32);
        cx.worker.traffic.sectors += sectors;
        cx.worker.traffic.sectors_needed += sectors;
        if let Err(fault) = objects::issue(cx.launch, cx.ctas, t) {
            cx.fault = Some(fault);
            return Flow::Fault;
        }
    }
    Flow::Next
}

/// Checks what a transfer reads and writes against what was done to memory before, and counts it.
pub fn account(cx: &mut Cx<'_>, l: usize, t: &Transfer) -> Result<(), ()> {
    let what = if t.reduce.is_some() { "a bulk reduction" } else { "a bulk copy" };
    for s in &t.segments {
        if let Side::Global(a) = s.from {
            super::mem::reach(cx, a, u64::from(s.bytes), Use::Read);
        }
        if let Side::Global(a) = s.to {
            let how = if t.reduce.is_some() { Use::Update } else { Use::Write };
            super::mem::reach(cx, a, u64::from(s.bytes), how);
        }
        match s.from {
            Side::Global(a) => races::asynchronous_read(cx, l, PlaceKind::Global(a), s.bytes, what)?,
            Side::Shared(a) => races::asynchronous_read(cx, l, PlaceKind::Shared(t.source, a), s.bytes, what)?,
            Side::Fill(..) => {}
        }
        match s.to {
            Side::Global(a) => {
                races::asynchronous_write(cx, l, PlaceKind::Global(a), s.bytes, t.reduce.is_some())?;
            }
            Side::Shared(a) => {
                for block in &t.targets {
                    races::asynchronous_write(cx, l, PlaceKind::Shared(*block, a), s.bytes, t.reduce.is_some())?;
                }
            }
            Side::Fill(..) => {}
        }
    }
    Ok(())
}

/// Warp, lane and number of the lane's open bulk group.
pub fn bulk_group(cx: &Cx<'_>, l: usize) -> (usize, usize, u32) {
    let warps = cx.launch.threads().div_ceil(32) as usize;
    (cx.warp.cta * warps + cx.warp.index as usize, l, cx.warp.copies.bulk_group[l])
}

/// Blocks that a multicast mask in list entry `k` names.
pub fn multicast(cx: &mut Cx<'_>, i: &Instr, k: usize, l: usize) -> Result<Vec<usize>, Flow> {
    let mask: u16 = cx.lane(cx.listed(i, k), l);
    let blocks = cx.ctas.len();
    if mask == 0 || u32::from(mask) >> blocks != 0 {
        let text = format!("a multicast mask of {mask:#06x} in a cluster of {blocks} blocks");
        return Err(cx.fail(FaultKind::IllegalInstruction, None, Some(l), &text));
    }
    Ok((0..blocks).filter(|b| mask >> b & 1 != 0).collect())
}

/// Offset of the mbarrier in list entry 3, which lies in each target block.
pub fn barrier_of(cx: &mut Cx<'_>, i: &Instr, l: usize, targets: &[usize]) -> Result<Option<u32>, Flow> {
    if i.x & BARRIER == 0 {
        return Ok(None);
    }
    let at = address_of(cx, i, 3, l);
    let place = address::resolve_object(cx, Where::Cluster, at, 8, 8, l, Access::Atomic).map_err(|()| Flow::Fault)?;
    let PlaceKind::Shared(_, offset) = place.kind else { return Err(Flow::Fault) };
    for b in targets {
        if !cx.ctas[*b].objects.mbarriers.contains_key(&offset) {
            let text = format!("no mbarrier was initialised at shared address {offset:#x} of block {b} of the cluster");
            return Err(cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), Some(l), &text));
        }
    }
    Ok(Some(offset))
}

/// `x` bit 0: commit; otherwise waits until at most `imm` groups of the lane are pending, bit 1: or have read their
/// sources.
unsafe fn bulk_groups(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        if i.x & 1 != 0 {
            cx.warp.copies.bulk_group[l] += 1;
            continue;
        }
        let (warp, lane, now) = bulk_group(cx, l);
        let done = |t: &Transfer| {
            t.group.is_some_and(|(w, n, g)| w == warp && n == lane && g.saturating_add(i.imm as u32) < now)
        };
        if i.x & 2 != 0 {
            objects::fetch_where(cx.launch, cx.ctas, done);
        } else if let Err(fault) = objects::complete_where(cx.launch, cx.ctas, done) {
            cx.fault = Some(fault);
            return Flow::Fault;
        }
    }
    Flow::Next
}

const GENERIC: u32 = 1 << 31;

/// `st.async` and `red.async`: `list`: address, mbarrier, then the values; element bytes in `x` bits 0 to 4, count in
/// 5 to 8, reduction code from bit 9 plus one; addresses are generic with bit 31.
unsafe fn remote(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    cx.progress = true;
    let (element, count) = (i.x & 31, (i.x >> 5 & 15) as usize);
    let space = if i.x & GENERIC != 0 { Where::Generic } else { Where::Cluster };
    let codes = (i.x & !GENERIC) >> 9;
    let reduce = (codes != 0).then(|| {
        let code = codes - 1;
        (REDUCTIONS[(code & 7) as usize], REDUCED[(code >> 3) as usize % REDUCED.len()])
    });
    let bytes = element * count as u32;
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let (to, bar) = (address_of(cx, i, 0, l), address_of(cx, i, 1, l));
        let Ok(place) = address::resolve(cx, space, to, bytes, bytes, l, Access::Atomic) else {
            return Flow::Fault;
        };
        let Ok(at) = address::resolve_object(cx, space, bar, 8, 8, l, Access::Atomic) else {
            return Flow::Fault;
        };
        let (PlaceKind::Shared(block, _), PlaceKind::Shared(bar_block, bar_at)) = (place.kind, at.kind) else {
            let text = format!("an asynchronous store at {to:#x}, which is no shared memory");
            return cx.fail(FaultKind::InvalidAddressSpace, None, Some(l), &text);
        };
        if block != bar_block {
            let text = "the data and the mbarrier lie in different blocks";
            return cx.fail(FaultKind::IllegalInstruction, None, Some(l), text);
        }
        for k in 0..count {
            let s = cx.listed(i, 2 + k);
            let v = if element == 8 { cx.lane::<u64>(s, l) } else { u64::from(cx.lane::<u32>(s, l)) };
            let p = place.pointer.wrapping_add(k * element as usize);
            // SAFETY: the place was resolved for all elements.
            unsafe {
                match reduce {
                    Some((op, ty)) => {
                        super::atom::exchange(p, element, |old| super::atom::update(op, ty, old, v, 0));
                    }
                    None => address::store_bytes(p, element, u128::from(v)),
                }
            }
        }
        address::mark(cx, place.kind, bytes, true);
        let order = races::Order { update: true, ..races::Order::default() };
        let access = if reduce.is_some() { races::Access::ordered(true, order) } else { races::Access::WRITE };
        if races::lane(cx, place.kind, bytes, l, access, false).is_err() {
            return Flow::Fault;
        }
        // Its completion at the mbarrier releases it.
        races::mbarrier_release(cx, block, bar_at);
        let what = crate::machine::report::describe(cx, l, "an asynchronous store");
        if let Err(fault) = objects::complete_bytes(&mut cx.ctas[block], bar_at, bytes, &what) {
            cx.fault = Some(fault);
            return Flow::Fault;
        }
    }
    Flow::Next
}

/// A generic or shared address as 64 bits with its offset added.
pub fn full_address<'a>(lw: &mut Lower<'_, 'a>, o: &Operand<'a>) -> Decoded<Opnd> {
    let a = lw.address(o)?;
    lw.plus(a, Width::W64)
}

/// Decodes `cp`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let reduce = f.flag("reduce");
    let is_reduce = reduce || f.ins.modifiers.first() == Some(&"reduce");
    if !f.flag("async") {
        return lw.refuse("names no .async");
    }
    if f.flag("bulk") {
        return bulk_form(lw, f, is_reduce);
    }
    let ops = f.operands();
    if f.flag("commit_group") {
        lw.emit(MInst::new(OpPair::same(cp_group)).x(0));
        return Ok(());
    }
    if f.flag("wait_all") {
        lw.emit(MInst::new(OpPair::same(cp_group)).x(2));
        return Ok(());
    }
    if f.flag("wait_group") {
        let n = group_count(lw, f)?;
        lw.emit(MInst::new(OpPair::same(cp_group)).x(1).imm(n));
        return Ok(());
    }
    if f.flag("mbarrier") {
        f.flag("arrive");
        let noinc = f.flag("noinc");
        let shared = f.find(Where::from_name).is_some();
        f.ty(lw)?;
        f.arity(lw, 1..=1)?;
        let mut a = full_address(lw, &ops[0])?;
        if shared {
            a = to_generic(lw, a);
        }
        lw.emit(MInst::new(OpPair::same(cp_arrive)).list(&[], &[a]).x(u32::from(!noinc)).taint(TaintRule::Decide));
        return Ok(());
    }
    let cg = matches!(f.ins.modifiers.iter().find(|m| matches!(**m, "ca" | "cg")), Some(&"cg"));
    let policy = take_hints(f);
    if f.find(Where::from_name) != Some(Where::Shared) || f.find(Where::from_name) != Some(Where::Global) {
        return lw.refuse("copies from .global to .shared");
    }
    f.arity(lw, 3..=5)?;
    take_policy(lw, f, policy)?;
    let Operand::Int(bytes) = ops[2] else { return lw.refuse("the size is a constant") };
    if !matches!(bytes, 4 | 8 | 16) || (cg && bytes != 16) {
        return lw.refuse(format!("cannot copy {bytes} bytes"));
    }
    let (to, from) = (full_address(lw, &ops[0])?, full_address(lw, &ops[1])?);
    let mut x = bytes as u32;
    let (mut size, mut ignore) = (Opnd::No, Opnd::No);
    if ops.len() < 3 + usize::from(policy) {
        return lw.refuse("has no cache policy");
    }
    let optional = &ops[3..ops.len() - usize::from(policy)];
    if let [o] = optional {
        match o {
            Operand::Reg(r) if lw.reg_ty(*r) == Ty::Pred => {
                ignore = Opnd::R(*r);
                x |= 1 << 9;
            }
            o => {
                size = lw.src(o, Ty::U32)?;
                x |= 1 << 8;
            }
        }
    } else if optional.len() > 1 {
        return lw.refuse("has too many operands");
    }
    let i = MInst::new(OpPair::same(cp_async)).list(&[], &[to, from, size, ignore]).x(x).taint(TaintRule::Decide);
    lw.emit(i);
    Ok(())
}

/// A shared address in the generic window.
fn to_generic(lw: &mut Lower<'_, '_>, a: Opnd) -> Opnd {
    let window = lw.constant(Width::W64, address::SHARED_WINDOW);
    let d = lw.temp(Width::W64);
    lw.emit(MInst::new(crate::machine::lanes::bin(|a: u64, b: u64| a | b)).d(d).a(a).b(window));
    d
}

fn group_count<'a>(lw: &mut Lower<'_, 'a>, f: &Form<'_, 'a>) -> Decoded<i64> {
    f.arity(lw, 1..=1)?;
    match f.operands()[0] {
        Operand::Int(n) if (0..1 << 30).contains(&n) => Ok(n),
        _ => lw.refuse("the number of groups is a constant"),
    }
}

fn reduction(lw: &Lower<'_, '_>, f: &mut Form<'_, '_>) -> Decoded<u32> {
    let Some(op) = f.find(|m| REDUCTIONS.iter().position(|r| *r == m)) else {
        return lw.refuse("names no reduction");
    };
    f.flag("noftz");
    Ok(op as u32)
}

fn bulk_form<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, reduce: bool) -> Decoded {
    let ops = f.operands();
    if f.flag("commit_group") {
        lw.emit(MInst::new(OpPair::same(bulk_groups)).x(1));
        return Ok(());
    }
    if f.flag("wait_group") {
        let read = f.flag("read");
        let n = group_count(lw, f)?;
        lw.emit(MInst::new(OpPair::same(bulk_groups)).x(u32::from(read) << 1).imm(n));
        return Ok(());
    }
    if f.flag("prefetch") {
        // A hint, no access.
        while f.find(|_| Some(())).is_some() {}
        return Ok(());
    }
    if f.flag("tensor") {
        return tma::decode(lw, f, reduce);
    }
    let order: Vec<&str> = f
        .ins
        .modifiers
        .iter()
        .copied()
        .filter(|m| matches!(*m, "global" | "shared::cta" | "shared::cluster" | "shared"))
        .collect();
    let [to, from] = order[..] else { return lw.refuse("names a destination and a source space") };
    while f.find(|m| matches!(m, "global" | "shared::cta" | "shared::cluster" | "shared").then_some(())).is_some() {}
    let policy = f.flag("L2::cache_hint");
    let barrier = f.flag("mbarrier::complete_tx::bytes");
    let group = f.flag("bulk_group");
    if barrier == group {
        return lw.refuse("names one completion mechanism");
    }
    let many = f.flag("multicast::cluster");
    if many && (!barrier || reduce) {
        return lw.refuse("goes to several blocks where an mbarrier counts its bytes");
    }
    let code = |s: &str| match s {
        "global" => 0,
        "shared::cluster" => 2,
        _ => 1,
    };
    let mut x = code(to) << TO_SHIFT | code(from) << FROM_SHIFT;
    if reduce {
        let op = reduction(lw, f)?;
        let ty = f.ty(lw)?;
        let legal = match REDUCTIONS[op as usize] {
            "add" => !matches!(ty, Ty::S64 | Ty::B32 | Ty::B64),
            "min" | "max" => !matches!(ty, Ty::F32 | Ty::F64 | Ty::B32 | Ty::B64),
            "inc" | "dec" => ty == Ty::U32,
            _ => matches!(ty, Ty::B32 | Ty::B64),
        };
        let Some(t) = REDUCED.iter().position(|k| *k == ty).filter(|_| legal) else {
            return lw.refuse("the reduction does not take this type");
        };
        x |= ((op | (t as u32) << 3) + 1) << REDUCE_SHIFT;
    } else if !f.types.is_empty() {
        return lw.refuse("takes no type");
    }
    let want = 3 + usize::from(barrier) + usize::from(many) + usize::from(policy);
    f.arity(lw, want..=want)?;
    take_policy(lw, f, policy)?;
    let (d, s) = (full_address(lw, &ops[0])?, full_address(lw, &ops[1])?);
    let size = lw.src(&ops[2], Ty::U32)?;
    let bar = if barrier { full_address(lw, &ops[3])? } else { Opnd::No };
    let mask = if many { lw.src(&ops[4], Ty::U16)? } else { Opnd::No };
    if barrier {
        x |= BARRIER;
    }
    if many {
        x |= MULTICAST;
    }
    let i = MInst::new(OpPair::same(bulk)).list(&[], &[d, s, size, bar, mask]).x(x).taint(TaintRule::Decide);
    lw.emit(i);
    Ok(())
}

/// `st.async` and `red.async`.
pub fn decode_remote<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, reduce: bool) -> Decoded {
    let ops = f.operands();
    f.flag("weak");
    f.flag("relaxed");
    f.flag("cluster");
    let generic = f.find(Where::from_name).is_none();
    f.flag("mbarrier::complete_tx::bytes");
    let count = match f.one_of(&["v2", "v4"]) {
        Some("v2") => 2,
        Some(_) => 4,
        None => 1,
    };
    let code = if reduce { reduction(lw, f)? } else { 0 };
    let ty = f.ty(lw)?;
    f.arity(lw, 3..=3)?;
    let (to, bar) = (full_address(lw, &ops[0])?, full_address(lw, &ops[2])?);
    let values = lw.src_vector(&ops[1], ty)?;
    if values.len() != count || ty.bits() < 32 {
        return lw.refuse(format!("has {} values, expected {count} of 32 or 64 bits", values.len()));
    }
    let mut x = ty.bytes() | (count as u32) << 5 | if generic { GENERIC } else { 0 };
    if reduce {
        let Some(t) = REDUCED.iter().position(|k| *k == ty) else { return lw.refuse("does not take this type") };
        x |= ((code | (t as u32) << 3) + 1) << 9;
    }
    let uses: Vec<Opnd> = [to, bar].into_iter().chain(values).collect();
    lw.emit(MInst::new(OpPair::same(remote)).list(&[], &uses).x(x).taint(TaintRule::Decide));
    Ok(())
}
