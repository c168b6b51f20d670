//! Exchanges within a warp.
//!
//! A `.sync` operation waits until the lanes it names are at the same instruction.

use crate::machine::exec::{Cx, Flow, Fragment, Instr, Wait};
use crate::machine::fault::FaultKind;
#[cfg(target_arch = "x86_64")]
use crate::machine::lanes::wide_vectors;
use crate::machine::lanes::{OpPair, op_versions};
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule};
use crate::machine::taint;
use crate::ptx::{Operand, Ty};

/// Waits for the lanes named in operand `member`; `Err` with the flow while they are not all here.
fn gather(cx: &mut Cx<'_>, member: u32, mask: u32) -> Result<u32, Flow> {
    let first = mask.trailing_zeros() as usize;
    let members = *cx.lanes_ref(member);
    let want = members[first];
    let (mut unlike, mut absent) = (0u32, 0u32);
    for l in 0..32 {
        let on = mask >> l & 1;
        unlike |= (u32::from(members[l] != want) & on) << l;
        absent |= (!(members[l] >> l) & on) << l;
    }
    if absent != 0 {
        let l = absent.trailing_zeros() as usize;
        let text = format!("lane {l} executes this with a member mask of {:#010x}, which does not name it", members[l]);
        return Err(cx.fail(FaultKind::LaunchFailed, Some("convergence"), Some(l), &text));
    }
    // Lanes with another mask form a group of their own.
    let group = mask & !unlike;
    let need = want & cx.warp.live;
    if need & !group == 0 {
        if group != mask {
            // The others go through this instruction on their own.
            let rest = mask & !group;
            cx.warp.fragments.push(Fragment { pc: cx.pc, mask: rest, wait: Wait::No, gave_way: true });
            cx.mask &= !rest;
        }
        return Ok(group);
    }
    // Lanes that the guard keeps out go on; the others wait here.
    let out = cx.mask & !mask;
    if out != 0 {
        cx.warp.fragments.push(Fragment { pc: cx.pc + 1, mask: out, wait: Wait::No, gave_way: false });
        cx.mask = mask;
    }
    Err(Flow::Block(Wait::Lanes(want)))
}

const UP: u32 = 0;
const DOWN: u32 = 1;
const BFLY: u32 = 2;
const IDX: u32 = 3;

/// `shfl.sync`: `a` value, `b` lane operand, `c` clamp and segment mask, `e` predicate, list: member mask.
#[inline(always)]
unsafe fn shfl(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let group = match gather(cx, cx.listed(i, 0), m) {
        Ok(g) => g,
        Err(flow) => return flow,
    };
    let (a, b, c) = (cx.lanes::<u32>(i.a), cx.lanes::<u32>(i.b), cx.lanes::<u32>(i.c));
    let mut from = [0u32; 32];
    let mut inside = [0u32; 32];
    macro_rules! each {
        (|$lane:ident, $b:ident, $max:ident, $min:ident, $segment:ident| $f:expr) => {
            for l in 0..32 {
                let $lane = l as u32;
                let ($b, clamp, $segment) = (b[l] & 31, c[l] & 31, c[l] >> 8 & 31);
                let $min = $lane & $segment;
                let $max = $min | (clamp & !$segment);
                let (j, p): (u32, bool) = $f;
                from[l] = if p { j & 31 } else { $lane };
                inside[l] = u32::from(p);
            }
        };
    }
    match i.x & 3 {
        UP => each!(|lane, b, max, _min, _s| (lane.wrapping_sub(b), lane as i32 - b as i32 >= max as i32)),
        DOWN => each!(|lane, b, max, _min, _s| (lane + b, lane + b <= max)),
        BFLY => each!(|lane, b, max, _min, _s| (lane ^ b, lane ^ b <= max)),
        _ => each!(|_lane, b, max, min, s| (min | (b & !s), min | (b & !s) <= max)),
    }
    cx.put(i.d, &permute(&a, &from), group);
    if i.x & 4 != 0 {
        let mut valid = [false; 32];
        for l in 0..32 {
            valid[l] = inside[l] != 0;
        }
        cx.put(i.e, &valid, group);
    }
    let source_taint = if cx.tainted { taint::of(cx, i.a) } else { 0 };
    let mut bad = 0;
    if group != u32::MAX || source_taint != 0 {
        // Reading a lane that does not take part gives an undefined value.
        let undefined = !group | source_taint;
        for l in 0..32 {
            bad |= (undefined >> from[l] & 1) << l;
        }
        bad &= group;
    }
    if cx.launch.checks.uninitialised && (cx.tainted || bad != 0) {
        taint::set(cx, i.d, group, bad);
        if i.x & 4 != 0 {
            taint::set(cx, i.e, group, 0);
        }
    }
    after(cx, m, group)
}

/// The values at the given lanes.
#[inline(always)]
fn permute(values: &[u32; 32], from: &[u32; 32]) -> [u32; 32] {
    let mut out = [0u32; 32];
    #[cfg(target_arch = "x86_64")]
    if wide_vectors() {
        // SAFETY: the machine has AVX-512.
        unsafe { permute_wide(values, from, &mut out) };
        return out;
    }
    for l in 0..32 {
        out[l] = values[from[l] as usize & 31];
    }
    out
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn permute_wide(values: &[u32; 32], from: &[u32; 32], out: &mut [u32; 32]) {
    use std::arch::x86_64::*;
    // SAFETY: halves of arrays of 32 values; the instruction takes the low five bits of each lane.
    unsafe {
        let half = |v: &[u32; 32], h: usize| _mm512_loadu_si512(v.as_ptr().add(16 * h).cast());
        let (low, high) = (half(values, 0), half(values, 1));
        for h in 0..2 {
            let v = _mm512_permutex2var_epi32(low, half(from, h), high);
            _mm512_storeu_si512(out.as_mut_ptr().add(16 * h).cast(), v);
        }
    }
}

/// Goes on, or stays when only a group of the lanes was served.
fn after(_cx: &mut Cx<'_>, _mask: u32, _group: u32) -> Flow {
    Flow::Next
}

/// `vote.sync`: `a` predicate, `d` result, list: member mask; `x`: 0 all, 1 any, 2 uni, 3 ballot; 4: negated source.
unsafe fn vote(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let group = match gather(cx, cx.listed(i, 0), m) {
        Ok(g) => g,
        Err(flow) => return flow,
    };
    let p = (cx.mask_of(i.a) ^ if i.x & 4 != 0 { u32::MAX } else { 0 }) & group;
    let v = match i.x & 3 {
        0 => p == group,
        1 => p != 0,
        2 => p == 0 || p == group,
        _ => {
            cx.put(i.d, &[p; 32], group);
            return after(cx, m, group);
        }
    };
    cx.put(i.d, &[v; 32], group);
    after(cx, m, group)
}

/// `match.sync`: `x` bit 0 all, bit 1 64 bits, bit 2 writes the predicate `e`.
unsafe fn match_sync(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let group = match gather(cx, cx.listed(i, 0), m) {
        Ok(g) => g,
        Err(flow) => return flow,
    };
    let a: [u64; 32] = if i.x & 2 != 0 { cx.lanes::<u64>(i.a) } else { cx.lanes::<u32>(i.a).map(u64::from) };
    let same = |l: usize| (0..32).fold(0u32, |s, k| s | u32::from(group >> k & 1 != 0 && a[k] == a[l]) << k);
    if i.x & 1 != 0 {
        let all = same(group.trailing_zeros() as usize) == group;
        cx.put(i.d, &[if all { group } else { 0 }; 32], group);
        if i.x & 4 != 0 {
            cx.put(i.e, &[all; 32], group);
        }
    } else {
        cx.put(i.d, &std::array::from_fn::<u32, 32, _>(same), group);
    }
    after(cx, m, group)
}

const REDUX: [&str; 6] = ["add", "min", "max", "and", "or", "xor"];

/// `redux.sync`: operation in `x` bits 0 to 2, signed in 3, f32 in 4 with abs in 5 and NaN in 6.
unsafe fn redux(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let group = match gather(cx, cx.listed(i, 0), m) {
        Ok(g) => g,
        Err(flow) => return flow,
    };
    let a = cx.lanes::<u32>(i.a);
    let signed = i.x & 8 != 0;
    let v = (0..32)
        .filter(|l| group >> l & 1 != 0)
        .map(|l| a[l])
        .reduce(|x, y| match (i.x & 7, signed) {
            (0, _) => x.wrapping_add(y),
            (1, false) => x.min(y),
            (2, false) => x.max(y),
            (1, true) => (x as i32).min(y as i32) as u32,
            (2, true) => (x as i32).max(y as i32) as u32,
            (3, _) => x & y,
            (4, _) => x | y,
            _ => x ^ y,
        })
        .unwrap_or(0);
    cx.put(i.d, &[v; 32], group);
    after(cx, m, group)
}

unsafe fn activemask(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    cx.put(i.d, &[m; 32], m);
    Flow::Next
}

/// `elect.sync d|p`: the lowest lane is elected.
unsafe fn elect(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let group = match gather(cx, cx.listed(i, 0), m) {
        Ok(g) => g,
        Err(flow) => return flow,
    };
    let leader = group.trailing_zeros();
    cx.put(i.d, &[leader; 32], group);
    cx.put(i.e, &std::array::from_fn::<bool, 32, _>(|l| l as u32 == leader), group);
    after(cx, m, group)
}

/// `bar.warp.sync`: the member mask in `a`.
pub unsafe fn warp_barrier(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let lane = m.trailing_zeros() as usize;
    let want: u32 = cx.lane(i.a, lane);
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let w: u32 = cx.lane(i.a, l);
        if w >> l & 1 == 0 {
            let text = format!("lane {l} executes this with a member mask of {w:#010x}, which does not name it");
            return cx.fail(FaultKind::LaunchFailed, Some("convergence"), Some(l), &text);
        }
        if w != want {
            // Lanes with another mask wait for others: each group its own barrier.
            let mut group = 0;
            for k in (0..32).filter(|k| m >> k & 1 != 0) {
                group |= u32::from(cx.lane::<u32>(i.a, k) == want) << k;
            }
            let rest = cx.mask & !group;
            cx.warp.fragments.push(Fragment { pc: cx.pc, mask: rest & m, wait: Wait::No, gave_way: false });
            if rest & !m != 0 {
                cx.warp.fragments.push(Fragment { pc: cx.pc + 1, mask: rest & !m, wait: Wait::No, gave_way: false });
            }
            cx.mask = group;
            return Flow::Block(Wait::WarpBarrier(want));
        }
    }
    if want & cx.warp.live & !m == 0 {
        crate::machine::races::warp_barrier(cx);
        return Flow::Next;
    }
    let out = cx.mask & !m;
    if out != 0 {
        cx.warp.fragments.push(Fragment { pc: cx.pc + 1, mask: out, wait: Wait::No, gave_way: false });
        cx.mask = m;
    }
    Flow::Block(Wait::WarpBarrier(want))
}

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let sync = f.flag("sync");
    let root = f.ins.root;
    if root == "activemask" {
        f.ty(lw)?;
        f.arity(lw, 1..=1)?;
        let d = lw.dst(&ops[0], Ty::B32)?;
        lw.emit(MInst::new(OpPair::same(activemask)).d(d));
        return Ok(());
    }
    if !sync {
        return lw.refuse("the form without .sync does not exist from sm_70 on");
    }
    if ops.is_empty() {
        return lw.refuse("has no operands");
    }
    let (first, second) = match &ops[0] {
        Operand::Pair(d, p) => (&**d, Some(&**p)),
        d => (d, None),
    };
    match root {
        "shfl" => {
            let mode = match f.one_of(&["up", "down", "bfly", "idx"]) {
                Some("up") => UP,
                Some("down") => DOWN,
                Some("bfly") => BFLY,
                Some(_) => IDX,
                None => return lw.refuse("names no mode"),
            };
            f.ty(lw)?;
            f.arity(lw, 5..=5)?;
            let a = lw.src(&ops[1], Ty::B32)?;
            let (b, c) = (lw.src(&ops[2], Ty::B32)?, lw.src(&ops[3], Ty::B32)?);
            let member = lw.src(&ops[4], Ty::B32)?;
            let d = lw.dst(first, Ty::B32)?;
            let e = match second {
                Some(p) => lw.dst(p, Ty::Pred)?,
                None => Opnd::No,
            };
            let x = mode | u32::from(second.is_some()) << 2;
            let i = MInst::new(op_versions!(shfl)).d(d).e(e).a(a).b(b).c(c).x(x).list(&[], &[member]);
            lw.emit(i.keeps().taint(TaintRule::Own));
        }
        "vote" => {
            let mode = match f.one_of(&["all", "any", "uni", "ballot"]) {
                Some("all") => 0,
                Some("any") => 1,
                Some("uni") => 2,
                Some(_) => 3,
                None => return lw.refuse("names no mode"),
            };
            f.ty(lw)?;
            f.arity(lw, 3..=3)?;
            let (a, negated) = match &ops[1] {
                Operand::Not(r) => (Opnd::R(*r), 4),
                o => (lw.src(o, Ty::Pred)?, 0),
            };
            let member = lw.src(&ops[2], Ty::B32)?;
            let d = lw.dst(first, if mode == 3 { Ty::B32 } else { Ty::Pred })?;
            lw.emit(MInst::new(OpPair::same(vote)).d(d).a(a).x(mode | negated).list(&[], &[member]).keeps());
        }
        "match" => {
            let all = match f.one_of(&["any", "all"]) {
                Some(m) => m == "all",
                None => return lw.refuse("names no mode"),
            };
            let ty = f.ty(lw)?;
            f.arity(lw, 3..=3)?;
            let a = lw.src(&ops[1], ty)?;
            let member = lw.src(&ops[2], Ty::B32)?;
            let d = lw.dst(first, Ty::B32)?;
            let e = match second {
                Some(p) => lw.dst(p, Ty::Pred)?,
                None => Opnd::No,
            };
            let x = u32::from(all) | u32::from(ty.bits() == 64) << 1 | u32::from(second.is_some()) << 2;
            lw.emit(MInst::new(OpPair::same(match_sync)).d(d).e(e).a(a).x(x).list(&[], &[member]).keeps());
        }
        "redux" => {
            let Some(op) = f.find(|m| REDUX.iter().position(|r| *r == m)) else {
                return lw.refuse("names no operation");
            };
            let ty = f.ty(lw)?;
            if ty == Ty::F32 {
                return lw.refuse("redux on floats needs sm_100a");
            }
            f.arity(lw, 3..=3)?;
            let a = lw.src(&ops[1], ty)?;
            let member = lw.src(&ops[2], Ty::B32)?;
            let d = lw.dst(first, ty)?;
            let x = op as u32 | u32::from(ty.is_signed()) << 3;
            lw.emit(MInst::new(OpPair::same(redux)).d(d).a(a).x(x).list(&[], &[member]).keeps());
        }
        _ => {
            f.arity(lw, 2..=2)?;
            let member = lw.src(&ops[1], Ty::B32)?;
            let d = lw.dst(first, Ty::B32)?;
            let Some(p) = second else { return lw.refuse("writes d|p") };
            let e = lw.dst(p, Ty::Pred)?;
            lw.emit(MInst::new(OpPair::same(elect)).d(d).e(e).list(&[], &[member]).keeps());
        }
    }
    Ok(())
}
