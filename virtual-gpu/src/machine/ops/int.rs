//! Integer arithmetic; floats are passed on to their families.

use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::{OpPair, bin, ter, ter2, un};
use crate::machine::lower::{Decoded, Form, Lower, MInst, Width};
use crate::ptx::Ty;

/// Decodes arithmetic of every type.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    match f.ins.root {
        "testp" => return super::float::decode_testp(lw, f),
        "dp4a" | "dp2a" => return dot(lw, f),
        _ => {}
    }
    if let ("fma" | "add" | "sub", [d @ Ty::F32, s @ (Ty::F16 | Ty::BF16)]) = (f.ins.root, &f.types[..]) {
        return lw.refuse(format!("mixed precision ({d:?}, {s:?}) needs a newer architecture"));
    }
    // `ex2.approx.ftz.bf16` and the like name one type.
    let ty = f.ty(lw)?;
    match ty {
        Ty::F32 | Ty::F64 => super::float::decode(lw, f, ty),
        Ty::F32X2 => super::float::decode_pair(lw, f),
        Ty::F16 | Ty::F16X2 | Ty::BF16 | Ty::BF16X2 => super::half::decode(lw, f, ty),
        _ => integer(lw, f, ty),
    }
}

/// Picks a closure by type: `$op!(|a: $t, b: $t| …)`.
macro_rules! by_type {
    ($ty:expr, $lw:expr, $m:ident) => {
        match $ty {
            Ty::U16 => $m!(u16),
            Ty::S16 => $m!(i16),
            Ty::U32 => $m!(u32),
            Ty::S32 => $m!(i32),
            Ty::U64 => $m!(u64),
            Ty::S64 => $m!(i64),
            _ => return $lw.refuse("does not take this type"),
        }
    };
}

#[inline(always)]
fn halves(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

fn integer<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, ty: Ty) -> Decoded {
    let ops = f.operands();
    let root = f.ins.root;
    if matches!(root, "addc" | "subc" | "madc") || matches!(root, "add" | "sub" | "mad") && f.flag("cc") {
        return carry(lw, f, ty);
    }
    if matches!(ty, Ty::U16X2 | Ty::S16X2) {
        return packed(lw, f, ty);
    }
    let sat = f.flag("sat");
    let low = f.ins.modifiers.iter().any(|m| matches!(*m, "lo" | "wide"));
    if sat && (ty != Ty::S32 || low || !matches!(root, "add" | "sub" | "mad" | "mad24")) {
        return lw.refuse(".sat goes with .s32 additions only");
    }
    let part = f.one_of(&["lo", "hi", "wide"]);
    let mut result = ty;
    macro_rules! add {
        ($t:ty) => {
            bin(|a: $t, b: $t| a.wrapping_add(b))
        };
    }
    macro_rules! sub {
        ($t:ty) => {
            bin(|a: $t, b: $t| a.wrapping_sub(b))
        };
    }
    macro_rules! mul_lo {
        ($t:ty) => {
            bin(|a: $t, b: $t| a.wrapping_mul(b))
        };
    }
    macro_rules! mad_lo {
        ($t:ty) => {
            ter(|a: $t, b: $t, c: $t| a.wrapping_mul(b).wrapping_add(c))
        };
    }
    // A division by zero gives all ones, as hardware does; PTX leaves it open.
    macro_rules! div {
        ($t:ty) => {
            bin(|a: $t, b: $t| if b == 0 { !0 } else { a.wrapping_div(b) })
        };
    }
    macro_rules! rem {
        ($t:ty) => {
            bin(|a: $t, b: $t| if b == 0 { a } else { a.wrapping_rem(b) })
        };
    }
    macro_rules! min {
        ($t:ty) => {
            bin(|a: $t, b: $t| a.min(b))
        };
    }
    macro_rules! max {
        ($t:ty) => {
            bin(|a: $t, b: $t| a.max(b))
        };
    }
    macro_rules! sad {
        ($t:ty) => {
            ter(|a: $t, b: $t, c: $t| c.wrapping_add(if a < b { b.wrapping_sub(a) } else { a.wrapping_sub(b) }))
        };
    }
    let (op, sources): (OpPair, usize) = match (root, part) {
        ("add", None) if sat => (bin(|a: i32, b: i32| a.saturating_add(b)), 2),
        ("sub", None) if sat => (bin(|a: i32, b: i32| a.saturating_sub(b)), 2),
        ("add", None) => (by_type!(ty, lw, add), 2),
        ("sub", None) => (by_type!(ty, lw, sub), 2),
        ("mul", Some("lo")) => (by_type!(ty, lw, mul_lo), 2),
        ("mul", Some("hi")) => (mul_hi(lw, ty)?, 2),
        ("mul", Some("wide")) => {
            result = widened(lw, ty)?;
            (
                match ty {
                    Ty::U16 => bin(|a: u16, b: u16| u32::from(a) * u32::from(b)),
                    Ty::S16 => bin(|a: i16, b: i16| i32::from(a) * i32::from(b)),
                    Ty::U32 => bin(|a: u32, b: u32| u64::from(a) * u64::from(b)),
                    _ => bin(|a: i32, b: i32| i64::from(a) * i64::from(b)),
                },
                2,
            )
        }
        ("mad", Some("lo")) => (by_type!(ty, lw, mad_lo), 3),
        ("mad", Some("hi")) => (
            match (ty, sat) {
                (Ty::S32, true) => {
                    ter(|a: i32, b: i32, c: i32| ((i64::from(a) * i64::from(b) >> 32) as i32).saturating_add(c))
                }
                (Ty::U16, _) => {
                    ter(|a: u16, b: u16, c: u16| ((u32::from(a) * u32::from(b) >> 16) as u16).wrapping_add(c))
                }
                (Ty::S16, _) => {
                    ter(|a: i16, b: i16, c: i16| ((i32::from(a) * i32::from(b) >> 16) as i16).wrapping_add(c))
                }
                (Ty::U32, _) => {
                    ter(|a: u32, b: u32, c: u32| ((u64::from(a) * u64::from(b) >> 32) as u32).wrapping_add(c))
                }
                (Ty::S32, _) => {
                    ter(|a: i32, b: i32, c: i32| ((i64::from(a) * i64::from(b) >> 32) as i32).wrapping_add(c))
                }
                (Ty::U64, _) => {
                    ter(|a: u64, b: u64, c: u64| ((u128::from(a) * u128::from(b) >> 64) as u64).wrapping_add(c))
                }
                (Ty::S64, _) => {
                    ter(|a: i64, b: i64, c: i64| ((i128::from(a) * i128::from(b) >> 64) as i64).wrapping_add(c))
                }
                _ => return lw.refuse("does not take this type"),
            },
            3,
        ),
        ("mad", Some("wide")) => {
            result = widened(lw, ty)?;
            (
                match ty {
                    Ty::U16 => ter(|a: u16, b: u16, c: u32| (u32::from(a) * u32::from(b)).wrapping_add(c)),
                    Ty::S16 => ter(|a: i16, b: i16, c: i32| (i32::from(a) * i32::from(b)).wrapping_add(c)),
                    Ty::U32 => ter(|a: u32, b: u32, c: u64| (u64::from(a) * u64::from(b)).wrapping_add(c)),
                    _ => ter(|a: i32, b: i32, c: i64| (i64::from(a) * i64::from(b)).wrapping_add(c)),
                },
                3,
            )
        }
        ("mul24" | "mad24", Some(part)) if part != "wide" => return mul24(lw, f, ty, part == "hi", sat),
        ("div", None) => (by_type!(ty, lw, div), 2),
        ("rem", None) => (by_type!(ty, lw, rem), 2),
        ("min" | "max", None) => {
            let relu = f.flag("relu");
            let op = match (root, ty, relu) {
                ("min", Ty::S32, true) => bin(|a: i32, b: i32| a.min(b).max(0)),
                ("max", Ty::S32, true) => bin(|a: i32, b: i32| a.max(b).max(0)),
                (_, _, true) => return lw.refuse(".relu goes with .s32 and .s16x2"),
                ("min", ..) => by_type!(ty, lw, min),
                _ => by_type!(ty, lw, max),
            };
            (op, 2)
        }
        ("sad", None) => (by_type!(ty, lw, sad), 3),
        ("abs", None) => (
            match ty {
                Ty::S16 => un(|a: i16| a.wrapping_abs()),
                Ty::S32 => un(|a: i32| a.wrapping_abs()),
                Ty::S64 => un(|a: i64| a.wrapping_abs()),
                _ => return lw.refuse("does not take this type"),
            },
            1,
        ),
        ("neg", None) => (
            match ty {
                Ty::S16 => un(|a: i16| a.wrapping_neg()),
                Ty::S32 => un(|a: i32| a.wrapping_neg()),
                Ty::S64 => un(|a: i64| a.wrapping_neg()),
                _ => return lw.refuse("does not take this type"),
            },
            1,
        ),
        _ => return lw.refuse("this form does not exist"),
    };
    f.arity(lw, sources + 1..=sources + 1)?;
    let a = lw.src(&ops[1], ty)?;
    let mut i = MInst::new(op).a(a);
    if sources > 1 {
        i = i.b(lw.src(&ops[2], ty)?);
    }
    if sources > 2 {
        i = i.c(lw.src(&ops[3], result)?);
    }
    let d = lw.dst(&ops[0], result)?;
    lw.emit(i.d(d));
    Ok(())
}

fn widened(lw: &Lower<'_, '_>, ty: Ty) -> Decoded<Ty> {
    Ok(match ty {
        Ty::U16 => Ty::U32,
        Ty::S16 => Ty::S32,
        Ty::U32 => Ty::U64,
        Ty::S32 => Ty::S64,
        _ => return lw.refuse(".wide takes 16- and 32-bit types"),
    })
}

fn mul_hi(lw: &Lower<'_, '_>, ty: Ty) -> Decoded<OpPair> {
    Ok(match ty {
        Ty::U16 => bin(|a: u16, b: u16| (u32::from(a) * u32::from(b) >> 16) as u16),
        Ty::S16 => bin(|a: i16, b: i16| (i32::from(a) * i32::from(b) >> 16) as i16),
        Ty::U32 => bin(|a: u32, b: u32| (u64::from(a) * u64::from(b) >> 32) as u32),
        Ty::S32 => bin(|a: i32, b: i32| (i64::from(a) * i64::from(b) >> 32) as i32),
        Ty::U64 => bin(|a: u64, b: u64| (u128::from(a) * u128::from(b) >> 64) as u64),
        Ty::S64 => bin(|a: i64, b: i64| (i128::from(a) * i128::from(b) >> 64) as i64),
        _ => return lw.refuse("does not take this type"),
    })
}

#[inline(always)]
fn low24(v: i32) -> i64 {
    i64::from(v << 8 >> 8)
}

fn mul24<'a>(lw: &mut Lower<'_, 'a>, f: &Form<'_, 'a>, ty: Ty, high: bool, sat: bool) -> Decoded {
    let ops = f.operands();
    let mad = f.ins.root == "mad24";
    let op = match (ty, high, mad, sat) {
        (Ty::U32, false, false, _) => bin(|a: u32, b: u32| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff)),
        (Ty::S32, false, false, _) => bin(|a: i32, b: i32| (low24(a) * low24(b)) as i32),
        (Ty::U32, true, false, _) => {
            bin(|a: u32, b: u32| (u64::from(a & 0xff_ffff) * u64::from(b & 0xff_ffff) >> 16) as u32)
        }
        (Ty::S32, true, false, _) => bin(|a: i32, b: i32| (low24(a) * low24(b) >> 16) as i32),
        (Ty::U32, false, true, _) => {
            ter(|a: u32, b: u32, c: u32| (a & 0xff_ffff).wrapping_mul(b & 0xff_ffff).wrapping_add(c))
        }
        (Ty::S32, false, true, _) => ter(|a: i32, b: i32, c: i32| ((low24(a) * low24(b)) as i32).wrapping_add(c)),
        (Ty::U32, true, true, _) => ter(|a: u32, b: u32, c: u32| {
            ((u64::from(a & 0xff_ffff) * u64::from(b & 0xff_ffff) >> 16) as u32).wrapping_add(c)
        }),
        (Ty::S32, true, true, false) => {
            ter(|a: i32, b: i32, c: i32| ((low24(a) * low24(b) >> 16) as i32).wrapping_add(c))
        }
        (Ty::S32, true, true, true) => {
            ter(|a: i32, b: i32, c: i32| ((low24(a) * low24(b) >> 16) as i32).saturating_add(c))
        }
        _ => return lw.refuse("does not take this type"),
    };
    f.arity(lw, if mad { 4..=4 } else { 3..=3 })?;
    let mut i = MInst::new(op).a(lw.src(&ops[1], ty)?).b(lw.src(&ops[2], ty)?);
    if mad {
        i = i.c(lw.src(&ops[3], ty)?);
    }
    let d = lw.dst(&ops[0], ty)?;
    lw.emit(i.d(d));
    Ok(())
}

fn packed<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, ty: Ty) -> Decoded {
    let ops = f.operands();
    let relu = f.flag("relu");
    let op = match (f.ins.root, ty, relu) {
        ("add", _, false) => bin(|a: u32, b: u32| halves(a, b, |a, b| a.wrapping_add(b))),
        ("sub", _, false) => bin(|a: u32, b: u32| halves(a, b, |a, b| a.wrapping_sub(b))),
        ("min", Ty::U16X2, false) => bin(|a: u32, b: u32| halves(a, b, |a, b| a.min(b))),
        ("max", Ty::U16X2, false) => bin(|a: u32, b: u32| halves(a, b, |a, b| a.max(b))),
        ("min", Ty::S16X2, false) => bin(|a: u32, b: u32| halves(a, b, |a, b| (a as i16).min(b as i16) as u16)),
        ("max", Ty::S16X2, false) => bin(|a: u32, b: u32| halves(a, b, |a, b| (a as i16).max(b as i16) as u16)),
        ("min", Ty::S16X2, true) => bin(|a: u32, b: u32| halves(a, b, |a, b| (a as i16).min(b as i16).max(0) as u16)),
        ("max", Ty::S16X2, true) => bin(|a: u32, b: u32| halves(a, b, |a, b| (a as i16).max(b as i16).max(0) as u16)),
        _ => return lw.refuse("does not take this type"),
    };
    f.arity(lw, 3..=3)?;
    let (a, b) = (lw.src(&ops[1], ty)?, lw.src(&ops[2], ty)?);
    let d = lw.dst(&ops[0], ty)?;
    lw.emit(MInst::new(op).d(d).a(a).b(b));
    Ok(())
}

/// Multiply-add with carry: `x` bit 0 carry in, bit 1 high half, bit 2 64 bits, bit 3 signed; `d` result, `e` carry.
unsafe fn mad_carry(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let wide = i.x & 4 != 0;
    let carry_in = if i.x & 1 != 0 { cx.mask_of(cx.listed(i, 0)) } else { 0 };
    let mut carries = [false; 32];
    let mut out = [0u64; 32];
    for l in 0..32 {
        let (a, b, c): (u64, u64, u64) = if wide {
            (cx.lane(i.a, l), cx.lane(i.b, l), cx.lane(i.c, l))
        } else {
            (u64::from(cx.lane::<u32>(i.a, l)), u64::from(cx.lane::<u32>(i.b, l)), u64::from(cx.lane::<u32>(i.c, l)))
        };
        let bits = if wide { 64 } else { 32 };
        let product = if i.x & 8 != 0 && wide {
            (i128::from(a as i64) * i128::from(b as i64)) as u128
        } else if i.x & 8 != 0 {
            (i128::from(a as i32) * i128::from(b as i32)) as u128
        } else {
            u128::from(a) * u128::from(b)
        };
        let low = (1u128 << bits) - 1;
        let part = if i.x & 2 != 0 { product >> bits & low } else { product & low };
        let sum = part + u128::from(c) + u128::from(carry_in >> l & 1);
        out[l] = (sum & low) as u64;
        carries[l] = sum >> bits != 0;
    }
    if wide {
        cx.put(i.d, &out, m);
    } else {
        cx.put(i.d, &out.map(|v| v as u32), m);
    }
    cx.put(i.e, &carries, m);
    Flow::Next
}

/// `.cc` and the instructions that read the carry.
fn carry<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, ty: Ty) -> Decoded {
    let ops = f.operands();
    let root = f.ins.root;
    let out = f.flag("cc") || matches!(root, "add" | "sub" | "mad");
    let reads = matches!(root, "addc" | "subc" | "madc");
    let wide = match ty {
        Ty::U32 | Ty::S32 => false,
        Ty::U64 | Ty::S64 => true,
        _ => return lw.refuse("carries go with 32- and 64-bit integers"),
    };
    let flag = lw.carry();
    let sink = if out { flag } else { lw.temp(Width::P) };
    if matches!(root, "mad" | "madc") {
        let Some(part) = f.one_of(&["lo", "hi"]) else { return lw.refuse("names neither .lo nor .hi") };
        f.arity(lw, 4..=4)?;
        let (a, b, c) = (lw.src(&ops[1], ty)?, lw.src(&ops[2], ty)?, lw.src(&ops[3], ty)?);
        let d = lw.dst(&ops[0], ty)?;
        let x = u32::from(reads) | u32::from(part == "hi") << 1 | u32::from(wide) << 2 | u32::from(ty.is_signed()) << 3;
        let uses = if reads { vec![flag] } else { vec![] };
        lw.emit(MInst::new(OpPair::same(mad_carry)).d(d).e(sink).a(a).b(b).c(c).x(x).list(&[], &uses));
        return Ok(());
    }
    f.arity(lw, 3..=3)?;
    let c = if reads { flag } else { lw.constant(Width::P, 0) };
    // The carry of a subtraction is its borrow.
    let op = match (root, wide) {
        ("add" | "addc", false) => ter2(|a: u32, b: u32, c: bool| {
            let s = u64::from(a) + u64::from(b) + u64::from(c);
            (s as u32, s >> 32 != 0)
        }),
        ("add" | "addc", true) => ter2(|a: u64, b: u64, c: bool| {
            let (s, first) = a.overflowing_add(b);
            let (s, second) = s.overflowing_add(u64::from(c));
            (s, first | second)
        }),
        (_, false) => ter2(|a: u32, b: u32, c: bool| {
            let s = u64::from(a).wrapping_sub(u64::from(b)).wrapping_sub(u64::from(c));
            (s as u32, s >> 32 != 0)
        }),
        (_, true) => ter2(|a: u64, b: u64, c: bool| {
            let (s, first) = a.overflowing_sub(b);
            let (s, second) = s.overflowing_sub(u64::from(c));
            (s, first | second)
        }),
    };
    let (a, b) = (lw.src(&ops[1], ty)?, lw.src(&ops[2], ty)?);
    let d = lw.dst(&ops[0], ty)?;
    lw.emit(MInst::new(op).d(d).e(sink).a(a).b(b).c(c));
    Ok(())
}

#[inline(always)]
fn byte(v: u32, k: u32, signed: bool) -> i32 {
    let b = (v >> (8 * k)) as u8;
    if signed { i32::from(b as i8) } else { i32::from(b) }
}

#[inline(always)]
fn dot4(a: u32, b: u32, c: i32, sa: bool, sb: bool) -> i32 {
    (0..4).fold(c, |sum, k| sum.wrapping_add(byte(a, k, sa) * byte(b, k, sb)))
}

#[inline(always)]
fn dot2(a: u32, b: u32, c: i32, sa: bool, sb: bool, high: u32) -> i32 {
    let half = |k: u32| if sa { i32::from((a >> (16 * k)) as i16) } else { i32::from((a >> (16 * k)) as u16) };
    (0..2).fold(c, |sum, k| sum.wrapping_add(half(k).wrapping_mul(byte(b, k + 2 * high, sb))))
}

fn dot<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let signs = match f.types[..] {
        [a @ (Ty::U32 | Ty::S32), b @ (Ty::U32 | Ty::S32)] => (a == Ty::S32, b == Ty::S32),
        _ => return lw.refuse("takes two of .u32 and .s32"),
    };
    let part = if f.ins.root == "dp2a" { f.one_of(&["lo", "hi"]) } else { Some("all") };
    macro_rules! pick {
        ($g:ident $(, $h:literal)?) => {
            match signs {
                (false, false) => ter(|a: u32, b: u32, c: i32| $g(a, b, c, false, false $(, $h)?)),
                (false, true) => ter(|a: u32, b: u32, c: i32| $g(a, b, c, false, true $(, $h)?)),
                (true, false) => ter(|a: u32, b: u32, c: i32| $g(a, b, c, true, false $(, $h)?)),
                (true, true) => ter(|a: u32, b: u32, c: i32| $g(a, b, c, true, true $(, $h)?)),
            }
        };
    }
    let op = match part {
        Some("all") => pick!(dot4),
        Some("lo") => pick!(dot2, 0),
        Some(_) => pick!(dot2, 1),
        None => return lw.refuse("names neither .lo nor .hi"),
    };
    f.arity(lw, 4..=4)?;
    let (a, b, c) = (lw.src(&ops[1], Ty::B32)?, lw.src(&ops[2], Ty::B32)?, lw.src(&ops[3], Ty::B32)?);
    let d = lw.dst(&ops[0], Ty::B32)?;
    lw.emit(MInst::new(op).d(d).a(a).b(b).c(c));
    Ok(())
}
