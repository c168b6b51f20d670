//! Comparisons and selections.

use super::half::{b2f, h2f};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::{Lane, OpPair, bin, ter, un};
use crate::machine::lower::{Decoded, Form, Lower, MInst, TaintRule, Width};
use crate::ptx::{Operand, Ty};

/// `d = !a` on predicates.
pub fn not_pred() -> OpPair {
    un(|a: bool| !a)
}

const COMPARISONS: [&str; 18] = [
    "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan",
];

/// A 16-bit float compares as its f32.
macro_rules! comparison {
    ($name:expr, $t:ty, $up:expr) => {{
        Some(match $name {
            "eq" => bin(|a: $t, b: $t| $up(a) == $up(b)),
            "ne" => bin(|a: $t, b: $t| !$up(a).is_nan() && !$up(b).is_nan() && $up(a) != $up(b)),
            "lt" => bin(|a: $t, b: $t| $up(a) < $up(b)),
            "le" => bin(|a: $t, b: $t| $up(a) <= $up(b)),
            "gt" => bin(|a: $t, b: $t| $up(a) > $up(b)),
            "ge" => bin(|a: $t, b: $t| $up(a) >= $up(b)),
            "equ" => bin(|a: $t, b: $t| $up(a).is_nan() || $up(b).is_nan() || $up(a) == $up(b)),
            "neu" => bin(|a: $t, b: $t| $up(a) != $up(b)),
            "ltu" => bin(|a: $t, b: $t| !($up(a) >= $up(b))),
            "leu" => bin(|a: $t, b: $t| !($up(a) > $up(b))),
            "gtu" => bin(|a: $t, b: $t| !($up(a) <= $up(b))),
            "geu" => bin(|a: $t, b: $t| !($up(a) < $up(b))),
            "num" => bin(|a: $t, b: $t| !$up(a).is_nan() && !$up(b).is_nan()),
            "nan" => bin(|a: $t, b: $t| $up(a).is_nan() || $up(b).is_nan()),
            _ => return None,
        })
    }};
}

macro_rules! int_comparison {
    ($name:expr, $t:ty) => {{
        Some(match $name {
            "eq" => bin(|a: $t, b: $t| a == b),
            "ne" => bin(|a: $t, b: $t| a != b),
            "lt" | "lo" => bin(|a: $t, b: $t| a < b),
            "le" | "ls" => bin(|a: $t, b: $t| a <= b),
            "gt" | "hi" => bin(|a: $t, b: $t| a > b),
            "ge" | "hs" => bin(|a: $t, b: $t| a >= b),
            _ => return None,
        })
    }};
}

#[inline(always)]
fn same<T>(v: T) -> T {
    v
}

/// Widens binary16, subnormals as zero.
#[inline(always)]
fn flushed(v: u16) -> f32 {
    h2f(if v & 0x7c00 == 0 { v & 0x8000 } else { v })
}

#[allow(clippy::neg_cmp_op_on_partial_ord)]
fn compare(name: &str, ty: Ty, ftz: bool) -> Option<OpPair> {
    use super::float::flush;
    match ty {
        Ty::B16 | Ty::B32 | Ty::B64 if !matches!(name, "eq" | "ne") => None,
        Ty::S16 | Ty::S32 | Ty::S64 if matches!(name, "lo" | "ls" | "hi" | "hs") => None,
        Ty::U16 | Ty::B16 => int_comparison!(name, u16),
        Ty::S16 => int_comparison!(name, i16),
        Ty::U32 | Ty::B32 => int_comparison!(name, u32),
        Ty::S32 => int_comparison!(name, i32),
        Ty::U64 | Ty::B64 => int_comparison!(name, u64),
        Ty::S64 => int_comparison!(name, i64),
        Ty::F32 if ftz => comparison!(name, f32, flush),
        Ty::F32 => comparison!(name, f32, same),
        Ty::F64 => comparison!(name, f64, same),
        Ty::F16 if ftz => comparison!(name, u16, flushed),
        Ty::F16 => comparison!(name, u16, h2f),
        Ty::BF16 => comparison!(name, u16, b2f),
        _ => None,
    }
}

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    match f.ins.root {
        "setp" => setp(lw, f),
        "set" => set(lw, f),
        "selp" => selp(lw, f),
        _ => slct(lw, f),
    }
}

/// The comparison of operands `k` and `k + 1`, combined with operand `k + 2`, as a predicate and its counterpart.
fn predicate<'a>(
    lw: &mut Lower<'_, 'a>,
    f: &mut Form<'_, 'a>,
    ty: Ty,
    want_second: bool,
) -> Decoded<(crate::machine::lower::Opnd, Option<crate::machine::lower::Opnd>)> {
    let ops = f.operands();
    let Some(name) = f.one_of(&COMPARISONS) else { return lw.refuse("names no comparison") };
    let combine = f.one_of(&["and", "or", "xor"]);
    let ftz = f.flag("ftz");
    if ftz && !matches!(ty, Ty::F16 | Ty::F32) {
        return lw.refuse(".ftz goes with .f16 and .f32");
    }
    f.arity(lw, if combine.is_some() { 4..=4 } else { 3..=3 })?;
    let Some(op) = compare(name, ty, ftz) else { return lw.refuse("this comparison does not take this type") };
    let (a, b) = (lw.src(&ops[1], ty)?, lw.src(&ops[2], ty)?);
    let p = lw.temp(Width::P);
    lw.emit(MInst::new(op).d(p).a(a).b(b));
    let c = match combine {
        Some(_) => Some(lw.src(&ops[3], Ty::Pred)?),
        None => None,
    };
    let with = |lw: &mut Lower<'_, 'a>, p| match (combine, c) {
        (Some(kind), Some(c)) => {
            let d = lw.temp(Width::P);
            let op = match kind {
                "and" => bin(|a: bool, b: bool| a & b),
                "or" => bin(|a: bool, b: bool| a | b),
                _ => bin(|a: bool, b: bool| a ^ b),
            };
            lw.emit(MInst::new(op).d(d).a(p).b(c));
            d
        }
        _ => p,
    };
    let first = with(lw, p);
    let second = if want_second {
        let n = lw.temp(Width::P);
        lw.emit(MInst::new(not_pred()).d(n).a(p));
        Some(with(lw, n))
    } else {
        None
    };
    Ok((first, second))
}

fn setp<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let ty = f.ty(lw)?;
    if matches!(ty, Ty::F16X2 | Ty::BF16X2) {
        return setp_packed(lw, f, ty);
    }
    if ops.is_empty() {
        return lw.refuse("has no operands");
    }
    let (p, q) = match &ops[0] {
        Operand::Pair(p, q) => (&**p, Some(&**q)),
        p => (p, None),
    };
    // The plain form writes its destination at once.
    if q.is_none()
        && ops.len() == 3
        && let Some(name) = f.one_of(&COMPARISONS)
    {
        let ftz = f.flag("ftz");
        if ftz && !matches!(ty, Ty::F16 | Ty::F32) {
            return lw.refuse(".ftz goes with .f16 and .f32");
        }
        let Some(op) = compare(name, ty, ftz) else { return lw.refuse("this comparison does not take this type") };
        let (a, b) = (lw.src(&ops[1], ty)?, lw.src(&ops[2], ty)?);
        let d = lw.dst(p, Ty::Pred)?;
        lw.emit(MInst::new(op).d(d).a(a).b(b));
        return Ok(());
    }
    let (first, second) = predicate(lw, f, ty, q.is_some())?;
    let d = lw.dst(p, Ty::Pred)?;
    lw.emit(MInst::new(un(|a: bool| a)).d(d).a(first));
    if let (Some(q), Some(second)) = (q, second) {
        let d = lw.dst(q, Ty::Pred)?;
        lw.emit(MInst::new(un(|a: bool| a)).d(d).a(second));
    }
    Ok(())
}

/// Packed comparisons: one predicate per half.
fn setp_packed<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, ty: Ty) -> Decoded {
    let ops = f.operands();
    let Some(name) = f.one_of(&COMPARISONS) else { return lw.refuse("names no comparison") };
    let combine = f.one_of(&["and", "or", "xor"]);
    let ftz = f.flag("ftz");
    f.arity(lw, if combine.is_some() { 4..=4 } else { 3..=3 })?;
    let half = if ty == Ty::F16X2 { Ty::F16 } else { Ty::BF16 };
    if ftz && half == Ty::BF16 {
        return lw.refuse(".ftz goes with .f16x2");
    }
    let Some(op) = compare(name, half, ftz) else { return lw.refuse("this comparison does not take this type") };
    let (a, b) = (lw.src(&ops[1], ty)?, lw.src(&ops[2], ty)?);
    let c = if combine.is_some() { Some(lw.src(&ops[3], Ty::Pred)?) } else { None };
    let (p, q) = match &ops[0] {
        Operand::Pair(p, q) => (&**p, &**q),
        _ => return lw.refuse("writes two predicates, p|q"),
    };
    let mut results = Vec::new();
    for k in 0..2 {
        let side = |lw: &mut Lower<'_, 'a>, v| {
            let t = lw.temp(Width::W32);
            let op = if k == 0 { un(|v: u32| v & 0xffff) } else { un(|v: u32| v >> 16) };
            lw.emit(MInst::new(op).d(t).a(v));
            if ftz && half == Ty::F16 {
                let u = lw.temp(Width::W32);
                lw.emit(MInst::new(un(|v: u32| if v & 0x7c00 == 0 { v & 0x8000 } else { v })).d(u).a(t));
                return u;
            }
            t
        };
        let (x, y) = (side(lw, a), side(lw, b));
        let mut d = lw.temp(Width::P);
        lw.emit(MInst::new(op).d(d).a(x).b(y));
        if let (Some(kind), Some(c)) = (combine, c) {
            let e = lw.temp(Width::P);
            let op = match kind {
                "and" => bin(|a: bool, b: bool| a & b),
                "or" => bin(|a: bool, b: bool| a | b),
                _ => bin(|a: bool, b: bool| a ^ b),
            };
            lw.emit(MInst::new(op).d(e).a(d).b(c));
            d = e;
        }
        results.push(d);
    }
    for (o, r) in [p, q].into_iter().zip(results) {
        let d = lw.dst(o, Ty::Pred)?;
        lw.emit(MInst::new(un(|a: bool| a)).d(d).a(r));
    }
    Ok(())
}

fn set<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let [dty, sty] = f.types[..] else { return lw.refuse("names two types") };
    if matches!(sty, Ty::F16X2 | Ty::BF16X2) {
        return set_packed(lw, f, dty, sty);
    }
    let halves = matches!(sty, Ty::F16 | Ty::BF16);
    let legal = match dty {
        Ty::U32 | Ty::S32 | Ty::F16 | Ty::BF16 => true,
        Ty::U16 | Ty::S16 => halves,
        _ => !halves,
    };
    if !legal {
        return lw.refuse("does not give this type");
    }
    let (p, _) = predicate(lw, f, sty, false)?;
    let d = lw.dst(&ops[0], dty)?;
    let op = match dty {
        Ty::U32 | Ty::S32 => un(|p: bool| if p { u32::MAX } else { 0 }),
        Ty::F32 => un(|p: bool| if p { 1.0f32 } else { 0.0 }),
        Ty::F16 => un(|p: bool| if p { 0x3c00u16 } else { 0 }),
        Ty::BF16 => un(|p: bool| if p { 0x3f80u16 } else { 0 }),
        Ty::U16 | Ty::S16 => un(|p: bool| if p { u16::MAX } else { 0 }),
        _ => return lw.refuse("does not give this type"),
    };
    lw.emit(MInst::new(op).d(d).a(p));
    Ok(())
}

/// `set` on packed halves: `x` bit 0 bfloat16 source, bits 2 and 3 how predicate `c` joins, 8 and up the comparison.
unsafe fn run_set_packed(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let name = COMPARISONS[(i.x >> 8 & 31) as usize];
    let one = (i.x >> 16) as u16;
    let ftz = i.x & 2 != 0;
    let out = std::array::from_fn(|l| {
        let (a, b): (u32, u32) = (cx.lane(i.a, l), cx.lane(i.b, l));
        (0..2).fold(0u32, |sum, k| {
            let up = |v: u32| {
                let v = (v >> (16 * k)) as u16;
                if i.x & 1 != 0 { b2f(v) } else { h2f(if ftz && v & 0x7c00 == 0 { v & 0x8000 } else { v }) }
            };
            let (x, y) = (up(a), up(b));
            let nan = x.is_nan() || y.is_nan();
            let hit = match name {
                "eq" => x == y,
                "ne" => !nan && x != y,
                "lt" => x < y,
                "le" => x <= y,
                "gt" => x > y,
                "ge" => x >= y,
                "equ" => nan || x == y,
                "neu" => x != y,
                "ltu" => nan || x < y,
                "leu" => nan || x <= y,
                "gtu" => nan || x > y,
                "geu" => nan || x >= y,
                "num" => !nan,
                _ => nan,
            };
            let hit = match i.x >> 2 & 3 {
                1 => hit & cx.lane::<bool>(i.c, l),
                2 => hit | cx.lane::<bool>(i.c, l),
                3 => hit ^ cx.lane::<bool>(i.c, l),
                _ => hit,
            };
            sum | u32::from(if hit { one } else { 0 }) << (16 * k)
        })
    });
    cx.put(i.d, &out, m);
    Flow::Next
}

fn set_packed<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, dty: Ty, sty: Ty) -> Decoded {
    let ops = f.operands();
    let Some(at) = f.find(|m| COMPARISONS.iter().position(|c| *c == m)) else {
        return lw.refuse("names no comparison");
    };
    let ftz = f.flag("ftz");
    let combine = f.find(|m| ["and", "or", "xor"].iter().position(|k| *k == m));
    f.arity(lw, if combine.is_some() { 4..=4 } else { 3..=3 })?;
    if ftz && sty == Ty::BF16X2 {
        return lw.refuse(".ftz goes with .f16x2");
    }
    if matches!(COMPARISONS[at], "lo" | "ls" | "hi" | "hs") {
        return lw.refuse("this comparison does not take this type");
    }
    let one: u32 = match dty {
        Ty::F16X2 if sty == Ty::F16X2 => 0x3c00,
        Ty::BF16X2 if sty == Ty::BF16X2 => 0x3f80,
        Ty::U32 | Ty::S32 => 0xffff,
        _ => return lw.refuse("does not give this type"),
    };
    let mut x = u32::from(sty == Ty::BF16X2) | u32::from(ftz) << 1 | (at as u32) << 8 | one << 16;
    let (a, b) = (lw.src(&ops[1], sty)?, lw.src(&ops[2], sty)?);
    let mut c = crate::machine::lower::Opnd::No;
    if let Some(kind) = combine {
        x |= (kind as u32 + 1) << 2;
        c = lw.src(&ops[3], Ty::Pred)?;
    }
    let d = lw.dst(&ops[0], Ty::B32)?;
    lw.emit(MInst::new(OpPair::same(run_set_packed)).d(d).a(a).b(b).c(c).x(x));
    Ok(())
}

fn select<T: Lane>() -> OpPair {
    ter(|a: T, b: T, p: bool| if p { a } else { b })
}

fn selp<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let ty = f.ty(lw)?;
    f.arity(lw, 4..=4)?;
    if matches!(ty, Ty::F16 | Ty::BF16) {
        return lw.refuse("does not take this type");
    }
    let op = match ty.bits() {
        16 => select::<u16>(),
        32 => select::<u32>(),
        64 => select::<u64>(),
        _ => return lw.refuse("does not take this type"),
    };
    let (a, b, c) = (lw.src(&ops[1], ty)?, lw.src(&ops[2], ty)?, lw.src(&ops[3], Ty::Pred)?);
    let d = lw.dst(&ops[0], ty)?;
    lw.emit(MInst::new(op).d(d).a(a).b(b).c(c).taint(TaintRule::Select));
    Ok(())
}

fn slct<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let [ty, cty] = f.types[..] else { return lw.refuse("names two types") };
    let ftz = f.flag("ftz");
    f.arity(lw, 4..=4)?;
    if matches!(ty, Ty::F16 | Ty::BF16) || ftz && cty != Ty::F32 {
        return lw.refuse("does not take these types");
    }
    let op = match (ty.bits(), cty, ftz) {
        (16, Ty::S32, _) => ter(|a: u16, b: u16, c: i32| if c >= 0 { a } else { b }),
        (32, Ty::S32, _) => ter(|a: u32, b: u32, c: i32| if c >= 0 { a } else { b }),
        (64, Ty::S32, _) => ter(|a: u64, b: u64, c: i32| if c >= 0 { a } else { b }),
        (16, Ty::F32, false) => ter(|a: u16, b: u16, c: f32| if c >= 0.0 { a } else { b }),
        (32, Ty::F32, false) => ter(|a: u32, b: u32, c: f32| if c >= 0.0 { a } else { b }),
        (64, Ty::F32, false) => ter(|a: u64, b: u64, c: f32| if c >= 0.0 { a } else { b }),
        (16, Ty::F32, true) => ter(|a: u16, b: u16, c: f32| if super::float::flush(c) >= 0.0 { a } else { b }),
        (32, Ty::F32, true) => ter(|a: u32, b: u32, c: f32| if super::float::flush(c) >= 0.0 { a } else { b }),
        (64, Ty::F32, true) => ter(|a: u64, b: u64, c: f32| if super::float::flush(c) >= 0.0 { a } else { b }),
        _ => return lw.refuse("does not take these types"),
    };
    let (a, b, c) = (lw.src(&ops[1], ty)?, lw.src(&ops[2], ty)?, lw.src(&ops[3], cty)?);
    let d = lw.dst(&ops[0], ty)?;
    lw.emit(MInst::new(op).d(d).a(a).b(b).c(c));
    Ok(())
}
