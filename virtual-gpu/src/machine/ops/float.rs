//! Binary32 and binary64 arithmetic and the approximate functions.

use super::softfloat::{self as soft, Round};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::{OpPair, bin, ter, un};
use crate::machine::lower::{Approximate, Contraction, Decoded, Form, Lower, MInst};
use crate::ptx::Ty;

/// The NaN that single-precision instructions return.
#[inline(always)]
pub fn canon(v: f32) -> f32 {
    // On bits: which NaN a comparison of floats selects may be optimised away.
    let bits = v.to_bits();
    f32::from_bits(if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff_ffff } else { bits })
}

/// Flushes a subnormal to zero of its sign.
#[inline(always)]
pub fn flush(v: f32) -> f32 {
    let bits = v.to_bits();
    if bits & 0x7f80_0000 == 0 { f32::from_bits(bits & 0x8000_0000) } else { v }
}

/// Flushes subnormals.
pub const FTZ: u32 = 1;
const SAT: u32 = 2;

/// What is done to an operand.
#[inline(always)]
pub fn pre<const M: u32>(v: f32) -> f32 {
    if M & FTZ != 0 { flush(v) } else { v }
}

/// What is done to a result.
#[inline(always)]
pub fn post<const M: u32>(v: f32) -> f32 {
    let v = canon(v);
    let v = if M & FTZ != 0 { flush(v) } else { v };
    if M & SAT == 0 {
        return v;
    }
    // NaN becomes +0.
    if v >= 1.0 {
        1.0
    } else if v > 0.0 {
        v
    } else {
        0.0
    }
}

/// 2^x, to well under the 2 units of the last place that the instruction allows.
#[inline(always)]
pub fn exp2(x: f32) -> f32 {
    let x = f64::from(x);
    let clamped = x.clamp(-1100.0, 1100.0);
    // Adding this rounds to an integer and leaves it in the low bits.
    let magic = 6_755_399_441_055_744.0;
    let shifted = clamped + magic;
    let n = shifted.to_bits() as i32;
    let r = (clamped - (shifted - magic)) * std::f64::consts::LN_2;
    // Taylor series of e^r, |r| ≤ 0.347: the term left out is below 2^-40.
    let mut p = 1.0 / 3_628_800.0;
    p = p * r + 1.0 / 362_880.0;
    p = p * r + 1.0 / 40_320.0;
    p = p * r + 1.0 / 5_040.0;
    p = p * r + 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let scale = f64::from_bits(((n.clamp(-1022, 1023) + 1023) as u64) << 52);
    let v = (p * scale) as f32;
    if x.is_nan() { f32::NAN } else { v }
}

/// log2 x.
#[inline(always)]
pub fn log2(x: f32) -> f32 {
    let bits = f64::from(x).to_bits();
    let exponent = (bits >> 52) as i64 - 1023;
    let m = f64::from_bits(bits & ((1 << 52) - 1) | 1023 << 52);
    // m in [√½, √2).
    let high = m > std::f64::consts::SQRT_2;
    let m = if high { m * 0.5 } else { m };
    let e = exponent as f64 + if high { 1.0 } else { 0.0 };
    // ln m = 2 atanh t, t = (m-1)/(m+1), |t| ≤ 0.172.
    let t = (m - 1.0) / (m + 1.0);
    let q = t * t;
    let mut p = 1.0 / 17.0;
    p = p * q + 1.0 / 15.0;
    p = p * q + 1.0 / 13.0;
    p = p * q + 1.0 / 11.0;
    p = p * q + 1.0 / 9.0;
    p = p * q + 1.0 / 7.0;
    p = p * q + 1.0 / 5.0;
    p = p * q + 1.0 / 3.0;
    p = p * q + 1.0;
    let v = (e + p * t * (2.0 * std::f64::consts::LOG2_E)) as f32;
    if x.is_nan() || x < 0.0 {
        f32::NAN
    } else if x == 0.0 {
        f32::NEG_INFINITY
    } else if x == f32::INFINITY {
        x
    } else {
        v
    }
}

/// tanh x.
#[inline(always)]
pub fn tanh(x: f32) -> f32 {
    // Below 2^-12 the cubic term is under half a unit of the last place.
    let a = x.abs().min(20.0);
    let e = f64::from(exp2(a * (2.0 * std::f32::consts::LOG2_E)));
    let v = (1.0 - 2.0 / (e + 1.0)) as f32;
    let v = if a < 0.04 { a - a * a * a * (1.0 / 3.0) } else { v };
    if x.is_nan() { f32::NAN } else { v.copysign(x) }
}

/// sin or cos of x by reduction modulo π/2 and Taylor series.
#[inline(always)]
fn sine(x: f32, quarter: i64) -> f32 {
    if !x.is_finite() {
        return f32::NAN;
    }
    let x = f64::from(x);
    let n = (x * std::f64::consts::FRAC_2_PI).round();
    // π/2 in two parts; for the |x| of a float the reduction keeps an absolute error below 2^-20 up to 2^30.
    let r = (x - n * std::f64::consts::FRAC_PI_2) - n * 6.123_233_995_736_766e-17;
    let q = r * r;
    let s = r * (1.0 + q * (-1.0 / 6.0 + q * (1.0 / 120.0 + q * (-1.0 / 5040.0 + q * (1.0 / 362_880.0)))));
    let c = 1.0 + q * (-0.5 + q * (1.0 / 24.0 + q * (-1.0 / 720.0 + q * (1.0 / 40_320.0 - q / 3_628_800.0))));
    let k = (n as i64 + quarter) & 3;
    let v = if k & 1 == 0 { s } else { c };
    (if k & 2 == 0 { v } else { -v }) as f32
}

macro_rules! by_mode {
    ($mode:expr, $g:ident) => {
        match $mode {
            0 => $g::<0>(),
            1 => $g::<1>(),
            2 => $g::<2>(),
            _ => $g::<3>(),
        }
    };
}

fn add<const M: u32>() -> OpPair {
    bin(|a: f32, b: f32| post::<M>(pre::<M>(a) + pre::<M>(b)))
}
fn sub<const M: u32>() -> OpPair {
    bin(|a: f32, b: f32| post::<M>(pre::<M>(a) - pre::<M>(b)))
}
fn mul<const M: u32>() -> OpPair {
    bin(|a: f32, b: f32| post::<M>(pre::<M>(a) * pre::<M>(b)))
}
fn fma<const M: u32>() -> OpPair {
    ter(|a: f32, b: f32, c: f32| post::<M>(pre::<M>(a).mul_add(pre::<M>(b), pre::<M>(c))))
}
fn div<const M: u32>() -> OpPair {
    bin(|a: f32, b: f32| post::<M>(pre::<M>(a) / pre::<M>(b)))
}
fn rcp<const M: u32>() -> OpPair {
    un(|a: f32| post::<M>(1.0 / pre::<M>(a)))
}
fn sqrt<const M: u32>() -> OpPair {
    un(|a: f32| post::<M>(pre::<M>(a).sqrt()))
}
fn rsqrt<const M: u32>() -> OpPair {
    un(|a: f32| post::<M>((1.0 / f64::from(pre::<M>(a)).sqrt()) as f32))
}
fn sin<const M: u32>() -> OpPair {
    un(|a: f32| post::<M>(sine(pre::<M>(a), 0)))
}
fn cos<const M: u32>() -> OpPair {
    un(|a: f32| post::<M>(sine(pre::<M>(a), 1)))
}
fn lg2<const M: u32>() -> OpPair {
    un(|a: f32| post::<M>(log2(pre::<M>(a))))
}
fn ex2<const M: u32>() -> OpPair {
    un(|a: f32| post::<M>(exp2(pre::<M>(a))))
}
fn tanh_op<const M: u32>() -> OpPair {
    un(|a: f32| post::<M>(tanh(pre::<M>(a))))
}
fn neg<const M: u32>() -> OpPair {
    un(|a: f32| -pre::<M>(a))
}
fn abs<const M: u32>() -> OpPair {
    un(|a: f32| pre::<M>(a).abs())
}

#[inline(always)]
fn extreme(a: f32, b: f32, max: bool) -> f32 {
    let first = if a == b { a.is_sign_negative() != max } else { (a < b) != max };
    let v = if first { a } else { b };
    if a.is_nan() {
        canon(b)
    } else if b.is_nan() {
        a
    } else {
        v
    }
}

#[inline(always)]
fn extreme64(a: f64, b: f64, max: bool) -> f64 {
    let first = if a == b { a.is_sign_negative() != max } else { (a < b) != max };
    if a.is_nan() {
        b
    } else if b.is_nan() || first {
        a
    } else {
        b
    }
}

fn min<const M: u32>() -> OpPair {
    bin(|a: f32, b: f32| extreme(pre::<M>(a), pre::<M>(b), false))
}
fn max<const M: u32>() -> OpPair {
    bin(|a: f32, b: f32| extreme(pre::<M>(a), pre::<M>(b), true))
}

/// `.NaN` in bit 0, `.xorsign.abs` in bit 1, `.ftz` in bit 2, max in bit 3.
unsafe fn minmax_general(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let (a, b) = (cx.lanes::<f32>(i.a), cx.lanes::<f32>(i.b));
    let x = i.x;
    let f = |a: f32, b: f32| {
        let (a, b) = if x & 4 != 0 { (flush(a), flush(b)) } else { (a, b) };
        let negative = a.is_sign_negative() != b.is_sign_negative();
        let (u, v) = if x & 2 != 0 { (a.abs(), b.abs()) } else { (a, b) };
        if x & 1 != 0 && (a.is_nan() || b.is_nan()) {
            return canon(f32::NAN);
        }
        let r = extreme(u, v, x & 8 != 0);
        if x & 2 != 0 && !r.is_nan() { if negative { -r } else { r } } else { r }
    };
    let out: [f32; 32] = std::array::from_fn(|l| f(a[l], b[l]));
    cx.put(i.d, &out, m);
    Flow::Next
}

const ADD: u32 = 0;
const SUB: u32 = 1;
const MUL: u32 = 2;
const FMA: u32 = 3;
const DIV: u32 = 4;
const RCP: u32 = 5;
const SQRT: u32 = 6;

/// Arithmetic with a directed rounding: operation in bits 0 to 3 of `x`, mode in 4 to 6, ftz in 8, sat in 9, f64 in 10.
unsafe fn rounded(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let mode = Round::from_bits(i.x >> 4 & 7);
    let double = i.x >> 10 & 1 != 0;
    let ftz = i.x >> 8 & 1 != 0;
    let fmt = if double { soft::F64 } else { soft::F32 };
    let load = |offset: u32| -> [f64; 32] {
        if double {
            cx.lanes::<f64>(offset)
        } else {
            cx.lanes::<f32>(offset).map(|v| f64::from(if ftz { flush(v) } else { v }))
        }
    };
    let a = load(i.a);
    let (b, c) = match i.x & 15 {
        RCP | SQRT => ([0.0; 32], [0.0; 32]),
        FMA => (load(i.b), load(i.c)),
        _ => (load(i.b), [0.0; 32]),
    };
    let out: [f64; 32] = std::array::from_fn(|l| {
        if m >> l & 1 == 0 {
            return 0.0;
        }
        match i.x & 15 {
            ADD => soft::add(a[l], b[l], fmt, mode),
            SUB => soft::add(a[l], -b[l], fmt, mode),
            MUL => soft::mul(a[l], b[l], fmt, mode),
            FMA => soft::fma(a[l], b[l], c[l], fmt, mode),
            DIV => soft::div(a[l], b[l], fmt, mode),
            RCP => soft::div(1.0, a[l], fmt, mode),
            _ => soft::sqrt(a[l], fmt, mode),
        }
    });
    if double {
        cx.put(i.d, &out, m);
    } else {
        let sat = i.x >> 9 & 1 != 0;
        let out = out.map(|v| match (ftz, sat) {
            (false, false) => post::<0>(v as f32),
            (true, false) => post::<FTZ>(v as f32),
            (false, true) => post::<SAT>(v as f32),
            (true, true) => post::<{ FTZ | SAT }>(v as f32),
        });
        cx.put(i.d, &out, m);
    }
    Flow::Next
}

/// Decodes arithmetic on f32 and f64.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, ty: Ty) -> Decoded {
    let root = f.ins.root;
    let ops = f.operands();
    let double = ty == Ty::F64;
    let (ftz, sat) = (f.flag("ftz"), f.flag("sat"));
    if double && sat {
        return lw.refuse(".sat does not go with .f64");
    }
    let mode = if ftz { FTZ } else { 0 } | if sat { SAT } else { 0 };
    let round = f.find(Round::from_name);
    let directed = round.filter(|r| *r != Round::Nearest);
    let (approx, full) = (f.flag("approx"), f.flag("full"));
    if double && ftz && !approx {
        return lw.refuse(".ftz does not go with .f64");
    }
    let mut x = 0;
    let (op, sources) = match (root, double) {
        ("add", false) => (by_mode!(mode, add), 2),
        ("sub", false) => (by_mode!(mode, sub), 2),
        ("mul", false) => (by_mode!(mode, mul), 2),
        ("fma" | "mad", false) => (by_mode!(mode, fma), 3),
        ("div", false) => {
            if round.is_none() && !approx && !full {
                return lw.refuse("a division of floats names .approx, .full or a rounding");
            }
            (by_mode!(mode, div), 2)
        }
        ("rcp", false) => (by_mode!(mode, rcp), 1),
        ("sqrt", false) => (by_mode!(mode, sqrt), 1),
        ("add", true) => (bin(|a: f64, b: f64| a + b), 2),
        ("sub", true) => (bin(|a: f64, b: f64| a - b), 2),
        ("mul", true) => (bin(|a: f64, b: f64| a * b), 2),
        ("fma" | "mad", true) => (ter(|a: f64, b: f64, c: f64| a.mul_add(b, c)), 3),
        ("div", true) => {
            if round.is_none() {
                return lw.refuse("a division of doubles names a rounding");
            }
            (bin(|a: f64, b: f64| a / b), 2)
        }
        // The approximate form takes and gives the upper half of a double.
        ("rcp", true) if approx => (un(|a: f64| upper(1.0 / upper(a))), 1),
        ("rcp", true) => (un(|a: f64| 1.0 / a), 1),
        ("sqrt", true) => (un(|a: f64| a.sqrt()), 1),
        ("rsqrt", false) => (by_mode!(mode, rsqrt), 1),
        ("rsqrt", true) if ftz => (un(|a: f64| upper(1.0 / upper(a).sqrt())), 1),
        ("rsqrt", true) => (un(|a: f64| 1.0 / a.sqrt()), 1),
        ("sin", false) => (by_mode!(mode, sin), 1),
        ("cos", false) => (by_mode!(mode, cos), 1),
        ("lg2", false) => (by_mode!(mode, lg2), 1),
        ("ex2", false) => (by_mode!(mode, ex2), 1),
        ("tanh", false) => (by_mode!(mode, tanh_op), 1),
        ("neg", false) => (by_mode!(mode, neg), 1),
        ("abs", false) => (by_mode!(mode, abs), 1),
        ("neg", true) => (un(|a: f64| -a), 1),
        ("abs", true) => (un(|a: f64| a.abs()), 1),
        ("min" | "max", false) => {
            let (nan, xorsign) = (f.flag("NaN"), f.flag("xorsign"));
            if xorsign && !f.flag("abs") {
                return lw.refuse(".xorsign needs .abs");
            }
            let is_max = root == "max";
            if ops.len() == 4 {
                return lw.refuse("three operands need sm_100");
            }
            if nan || xorsign {
                x = u32::from(nan) | u32::from(xorsign) << 1 | u32::from(ftz) << 2 | u32::from(is_max) << 3;
                (OpPair::same(minmax_general), 2)
            } else if is_max {
                (by_mode!(mode, max), 2)
            } else {
                (by_mode!(mode, min), 2)
            }
        }
        ("min", true) => (bin(|a: f64, b: f64| extreme64(a, b, false)), 2),
        ("max", true) => (bin(|a: f64, b: f64| extreme64(a, b, true)), 2),
        ("copysign", false) => (bin(|a: f32, b: f32| b.copysign(a)), 2),
        ("copysign", true) => (bin(|a: f64, b: f64| b.copysign(a)), 2),
        _ => return lw.refuse("does not take this type"),
    };
    if matches!(root, "sin" | "cos" | "lg2" | "ex2" | "tanh" | "rsqrt") && !approx {
        return lw.refuse("only the .approx form exists");
    }
    if matches!(root, "rcp" | "sqrt") && !approx && round.is_none() {
        return lw.refuse("names neither .approx nor a rounding");
    }
    let unrounded =
        matches!(root, "min" | "max" | "neg" | "abs" | "copysign" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh");
    if round.is_some() && (unrounded || approx || full) {
        return lw.refuse("takes no rounding");
    }
    let has_approx = matches!(root, "div" | "rcp" | "sqrt" | "rsqrt" | "sin" | "cos" | "lg2" | "ex2" | "tanh");
    if approx && (!has_approx || full) || full && root != "div" {
        return lw.refuse("this approximation does not exist");
    }
    if sat && !matches!(root, "add" | "sub" | "mul" | "fma" | "mad") {
        return lw.refuse("does not saturate");
    }
    if ftz && matches!(root, "copysign" | "tanh") {
        return lw.refuse("takes no .ftz");
    }
    if matches!(root, "fma" | "mad") && round.is_none() {
        return lw.refuse("names no rounding");
    }
    if double && (approx && !ftz && matches!(root, "rcp") || full || (approx && matches!(root, "div" | "sqrt"))) {
        return lw.refuse("does not take .f64 in this form");
    }
    let op = match directed {
        Some(r) => {
            let kind = match root {
                "add" => ADD,
                "sub" => SUB,
                "mul" => MUL,
                "fma" | "mad" => FMA,
                "div" => DIV,
                "rcp" => RCP,
                "sqrt" => SQRT,
                _ => return lw.refuse("takes no rounding"),
            };
            x = kind | (r as u32) << 4 | u32::from(ftz) << 8 | u32::from(sat) << 9 | u32::from(double) << 10;
            OpPair::same(rounded)
        }
        None => op,
    };
    f.arity(lw, sources + 1..=sources + 1)?;
    let a = lw.src(&ops[1], ty)?;
    let mut i = MInst::new(op).a(a).x(x);
    if sources > 1 {
        i = i.b(lw.src(&ops[2], ty)?);
    }
    if sources > 2 {
        i = i.c(lw.src(&ops[3], ty)?);
    }
    let d = lw.dst(&ops[0], ty)?;
    i.approximate = approximation(root).filter(|_| !double && !sat && (approx || full)).map(|kind| (kind, ftz));
    i.contraction = match root {
        "mul" if round.is_none() && !sat => Contraction::Product { double, mode },
        "add" | "sub" if round.is_none() => Contraction::Sum { double, mode, minus: root == "sub" },
        _ => Contraction::None,
    };
    lw.emit(i.d(d));
    Ok(())
}

fn approximation(root: &str) -> Option<Approximate> {
    Some(match root {
        "ex2" => Approximate::Exp2,
        "lg2" => Approximate::Log2,
        "rcp" => Approximate::Reciprocal,
        "sqrt" => Approximate::SquareRoot,
        "rsqrt" => Approximate::ReciprocalRoot,
        "sin" | "cos" => Approximate::Sine,
        "tanh" => Approximate::Tanh,
        "div" => Approximate::Divide,
        _ => return None,
    })
}

/// A double with the lower half of its bits cleared and subnormals flushed.
#[inline(always)]
fn upper(v: f64) -> f64 {
    let bits = v.to_bits() & 0xffff_ffff_0000_0000;
    f64::from_bits(if bits & 0x7ff0_0000_0000_0000 == 0 { bits & 1 << 63 } else { bits })
}

/// Packed f32x2 arithmetic.
pub fn decode_pair<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    f.flag("rn");
    let ftz = f.flag("ftz");
    #[inline(always)]
    fn both<G: Fn(f32, f32, f32) -> f32>(a: u64, b: u64, c: u64, g: G) -> u64 {
        let half = |v: u64, k: u32| f32::from_bits((v >> (32 * k)) as u32);
        let one = |k| u64::from(g(half(a, k), half(b, k), half(c, k)).to_bits());
        one(0) | one(1) << 32
    }
    let (op, sources) = match (f.ins.root, ftz) {
        ("add", false) => (bin(|a: u64, b: u64| both(a, b, 0, |a, b, _| post::<0>(a + b))), 2),
        ("add", true) => (bin(|a: u64, b: u64| both(a, b, 0, |a, b, _| post::<1>(flush(a) + flush(b)))), 2),
        ("mul", false) => (bin(|a: u64, b: u64| both(a, b, 0, |a, b, _| post::<0>(a * b))), 2),
        ("mul", true) => (bin(|a: u64, b: u64| both(a, b, 0, |a, b, _| post::<1>(flush(a) * flush(b)))), 2),
        ("fma", false) => (ter(|a: u64, b: u64, c: u64| both(a, b, c, |a, b, c| post::<0>(a.mul_add(b, c)))), 3),
        ("fma", true) => {
            (ter(|a: u64, b: u64, c: u64| both(a, b, c, |a, b, c| post::<1>(flush(a).mul_add(flush(b), flush(c))))), 3)
        }
        _ => return lw.refuse("does not take .f32x2"),
    };
    f.arity(lw, sources + 1..=sources + 1)?;
    let mut i = MInst::new(op).a(lw.src(&ops[1], Ty::B64)?).b(lw.src(&ops[2], Ty::B64)?);
    if sources == 3 {
        i = i.c(lw.src(&ops[3], Ty::B64)?);
    }
    let d = lw.dst(&ops[0], Ty::B64)?;
    lw.emit(i.d(d));
    Ok(())
}

#[inline(always)]
fn is_subnormal(v: f64, single: bool) -> bool {
    v != 0.0 && v.abs() < if single { f64::from(f32::MIN_POSITIVE) } else { f64::MIN_POSITIVE }
}

/// `testp`: f64 comparisons serve both types, the conversion being exact.
pub fn decode_testp<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ty = f.ty(lw)?;
    f.arity(lw, 2..=2)?;
    let ops = f.operands();
    let what = f.one_of(&["finite", "infinite", "number", "notanumber", "normal", "subnormal"]);
    let op = match (what, ty) {
        (Some("finite"), Ty::F32) => un(|a: f32| a.is_finite()),
        (Some("infinite"), Ty::F32) => un(|a: f32| a.is_infinite()),
        (Some("number"), Ty::F32) => un(|a: f32| !a.is_nan()),
        (Some("notanumber"), Ty::F32) => un(|a: f32| a.is_nan()),
        (Some("normal"), Ty::F32) => un(|a: f32| a.is_normal()),
        (Some("subnormal"), Ty::F32) => un(|a: f32| is_subnormal(f64::from(a), true)),
        (Some("finite"), Ty::F64) => un(|a: f64| a.is_finite()),
        (Some("infinite"), Ty::F64) => un(|a: f64| a.is_infinite()),
        (Some("number"), Ty::F64) => un(|a: f64| !a.is_nan()),
        (Some("notanumber"), Ty::F64) => un(|a: f64| a.is_nan()),
        (Some("normal"), Ty::F64) => un(|a: f64| a.is_normal()),
        (Some("subnormal"), Ty::F64) => un(|a: f64| is_subnormal(a, false)),
        _ => return lw.refuse("names no known property or type"),
    };
    let (a, d) = (lw.src(&ops[1], ty)?, lw.dst(&ops[0], Ty::Pred)?);
    lw.emit(MInst::new(op).d(d).a(a));
    Ok(())
}
