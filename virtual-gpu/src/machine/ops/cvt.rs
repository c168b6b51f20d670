//! Conversions.
//!
//! The common ones are vector loops; all others go through f64 or i128, which hold every source exactly.

use super::float::{canon, flush};
use super::half::{b2f, f2b, f2h, h2f};
use super::softfloat::{self as soft, Format, Round};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::{OpPair, bin, un};
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, Width};
use crate::ptx::Ty;

const E5M2: Format = Format { bits: 3, low: -14, high: 15 };
const E4M3: Format = Format { bits: 4, low: -6, high: 8 };

const FTZ: u32 = 1 << 0;
const SAT: u32 = 1 << 1;
const RELU: u32 = 1 << 2;
const FINITE: u32 = 1 << 3;
/// Rounds to an integer.
const INTEGRAL: u32 = 1 << 4;

const TYPES: [Ty; 18] = [
    Ty::U8,
    Ty::S8,
    Ty::U16,
    Ty::S16,
    Ty::U32,
    Ty::S32,
    Ty::U64,
    Ty::S64,
    Ty::F16,
    Ty::BF16,
    Ty::F32,
    Ty::F64,
    Ty::TF32,
    Ty::E4M3,
    Ty::E5M2,
    Ty::B8,
    Ty::B16,
    Ty::B32,
];

fn type_index(ty: Ty) -> Option<u32> {
    TYPES.iter().position(|t| *t == ty).map(|k| k as u32)
}

/// A source value.
#[derive(Clone, Copy)]
enum Value {
    Int(i128),
    Float(f64),
}

/// Reads a value of a type from the low bits.
fn decode_value(bits: u64, ty: Ty) -> Value {
    match ty {
        Ty::U8 => Value::Int(i128::from(bits as u8)),
        Ty::S8 => Value::Int(i128::from(bits as i8)),
        Ty::U16 => Value::Int(i128::from(bits as u16)),
        Ty::S16 => Value::Int(i128::from(bits as i16)),
        Ty::U32 => Value::Int(i128::from(bits as u32)),
        Ty::S32 => Value::Int(i128::from(bits as i32)),
        Ty::U64 => Value::Int(i128::from(bits)),
        Ty::S64 => Value::Int(i128::from(bits as i64)),
        Ty::F16 => Value::Float(f64::from(h2f(bits as u16))),
        Ty::BF16 => Value::Float(f64::from(b2f(bits as u16))),
        Ty::F32 | Ty::TF32 => Value::Float(f64::from(f32::from_bits(bits as u32))),
        Ty::E4M3 | Ty::E5M2 => Value::Float(f8_value(bits as u8, ty == Ty::E5M2)),
        _ => Value::Float(f64::from_bits(bits)),
    }
}

/// The value of an 8-bit float.
pub fn f8_value(bits: u8, e5m2: bool) -> f64 {
    let (fraction_bits, bias) = if e5m2 { (2, 15) } else { (3, 7) };
    let sign = if bits & 0x80 != 0 { -1.0 } else { 1.0 };
    let exponent = i32::from(bits & 0x7f) >> fraction_bits;
    let fraction = f64::from(bits & ((1 << fraction_bits) - 1)) / f64::from(1 << fraction_bits);
    if e5m2 && exponent == 31 {
        return if fraction == 0.0 { sign * f64::INFINITY } else { f64::NAN };
    }
    if !e5m2 && bits & 0x7f == 0x7f {
        return f64::NAN;
    }
    let v = if exponent == 0 {
        fraction * f64::powi(2.0, 1 - bias)
    } else {
        (1.0 + fraction) * f64::powi(2.0, exponent - bias)
    };
    sign * v
}

/// An 8-bit float of a value, saturating to the largest finite one.
pub fn f8_bits(v: f64, e5m2: bool) -> u8 {
    if v.is_nan() {
        return 0x7f;
    }
    let sign = if v.is_sign_negative() { 0x80 } else { 0 };
    let (fmt, largest, fraction_bits, bias) = if e5m2 { (E5M2, 57344.0, 2, 15) } else { (E4M3, 448.0, 3, 7) };
    let r = soft::convert(v.abs(), fmt, Round::Nearest).min(largest);
    if r == 0.0 {
        return sign;
    }
    let low = f64::powi(2.0, 1 - bias);
    let code = if r < low {
        (r / low * f64::from(1 << fraction_bits)) as u8
    } else {
        let e = r.log2().floor() as i32;
        let fraction = (r / f64::powi(2.0, e) - 1.0) * f64::from(1 << fraction_bits);
        ((e + bias) << fraction_bits) as u8 | fraction as u8
    };
    sign | code
}

fn int_range(ty: Ty) -> (i128, i128) {
    match ty.is_signed() {
        true => (-(1 << (ty.bits() - 1)), (1 << (ty.bits() - 1)) - 1),
        false => (0, (1 << ty.bits()) - 1),
    }
}

fn round_integral(v: f64, mode: Round) -> f64 {
    match mode {
        Round::Nearest | Round::Away => v.round_ties_even(),
        Round::Zero => v.trunc(),
        Round::Down => v.floor(),
        Round::Up => v.ceil(),
    }
}

/// Converts a value; the result's bits, integers extended to 64 bits by their sign.
fn convert(v: Value, src: Ty, dst: Ty, mode: Round, flags: u32) -> u64 {
    let dst_int = dst.is_int();
    match v {
        Value::Int(v) if dst_int => {
            let (low, high) = int_range(dst);
            let v = if flags & SAT != 0 { v.clamp(low, high) } else { v };
            let shift = 128 - dst.bits();
            if dst.is_signed() { (v << shift >> shift) as u64 } else { ((v as u128) << shift >> shift) as u64 }
        }
        Value::Float(v) if dst_int => {
            let v = if flags & FTZ != 0 && src == Ty::F32 { f64::from(flush(v as f32)) } else { v };
            if v.is_nan() {
                let wide = src == Ty::F64 || dst.bits() == 64;
                return if wide { u64::MAX << (dst.bits() - 1) & int_mask(dst) } else { 0 };
            }
            let (low, high) = int_range(dst);
            // The cast saturates at the ends of i128, far beyond every type.
            (round_integral(v, mode) as i128).clamp(low, high) as u64
        }
        v => {
            let exact = match v {
                Value::Float(v) => v,
                Value::Int(v) => return int_to_float(v, dst, mode, flags),
            };
            float_to_float(exact, src, dst, mode, flags)
        }
    }
}

fn int_mask(ty: Ty) -> u64 {
    if ty.is_signed() || ty.bits() == 64 { u64::MAX } else { (1 << ty.bits()) - 1 }
}

fn int_to_float(v: i128, dst: Ty, mode: Round, flags: u32) -> u64 {
    // Integers of up to 53 bits are exact in f64; longer ones are shortened with a jam first.
    let magnitude = v.unsigned_abs();
    let drop = (128 - magnitude.leading_zeros()).saturating_sub(62);
    let jam = u128::from(drop != 0 && magnitude & ((1 << drop) - 1) != 0);
    let short = (magnitude >> drop | jam) as u64;
    let fmt = match dst {
        Ty::F16 => soft::F16,
        Ty::BF16 => soft::BF16,
        Ty::F64 => soft::F64,
        _ => soft::F32,
    };
    let high = (short >> 31) as f64;
    let low = (short & 0x7fff_ffff) as f64;
    let sign = if v < 0 { -1.0 } else { 1.0 };
    let scale = f64::powi(2.0, drop as i32);
    let r = soft::fma(sign * high * scale, 2_147_483_648.0, sign * low * scale, fmt, mode);
    float_to_float(if v == 0 { 0.0 } else { r }, Ty::F64, dst, mode, flags)
}

fn float_to_float(v: f64, src: Ty, dst: Ty, mode: Round, flags: u32) -> u64 {
    let mut v = if flags & FTZ != 0 && src == Ty::F32 { f64::from(flush(v as f32)) } else { v };
    if flags & INTEGRAL != 0 {
        v = round_integral(v, mode);
    }
    if flags & SAT != 0 {
        v = if v >= 1.0 {
            1.0
        } else if v > 0.0 {
            v
        } else {
            0.0
        };
    }
    if flags & RELU != 0 {
        v = if v.is_nan() { v } else { v.max(0.0) + 0.0 };
    }
    let fmt = match dst {
        Ty::F16 => soft::F16,
        Ty::BF16 => soft::BF16,
        Ty::F32 => soft::F32,
        Ty::TF32 => soft::TF32,
        _ => soft::F64,
    };
    let mut r = if dst == Ty::F64 { v } else { soft::convert(v, fmt, mode) };
    if flags & FINITE != 0 && r.is_infinite() {
        let largest = match dst {
            Ty::F16 => 65504.0,
            Ty::TF32 => f64::from(f32::from_bits(0x7f7f_e000)),
            _ => f64::from(f32::from_bits(0x7f7f_0000)),
        };
        r = largest * r.signum();
    }
    match dst {
        Ty::F16 => u64::from(f2h(r as f32)),
        Ty::BF16 => u64::from(f2b(r as f32)),
        Ty::F32 | Ty::TF32 => {
            let f = canon(r as f32);
            u64::from(if flags & FTZ != 0 { flush(f) } else { f }.to_bits())
        }
        _ => r.to_bits(),
    }
}

/// Types in bits 0 to 4 (destination) and 5 to 9 (source), rounding in 10 to 12, flags from 16, width classes of
/// destination and source registers in 26 and 27 (64 bits).
unsafe fn general(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let (dst, src) = (TYPES[(i.x & 31) as usize % TYPES.len()], TYPES[(i.x >> 5 & 31) as usize % TYPES.len()]);
    let mode = Round::from_bits(i.x >> 10 & 7);
    let flags = i.x >> 16 & 0xff;
    let wide_source = i.x >> 27 & 1 != 0;
    let out: [u64; 32] = std::array::from_fn(|l| {
        if m >> l & 1 == 0 {
            return 0;
        }
        let bits = if wide_source { cx.lane::<u64>(i.a, l) } else { u64::from(cx.lane::<u32>(i.a, l)) };
        convert(decode_value(bits, src), src, dst, mode, flags)
    });
    if i.x >> 26 & 1 != 0 {
        cx.put(i.d, &out, m);
    } else if i.x >> 28 & 1 != 0 {
        cx.put(i.d, &out.map(|v| v as u16), m);
    } else {
        cx.put(i.d, &out.map(|v| v as u32), m);
    }
    Flow::Next
}

/// `a` and `b` (f32) to two halves, the first source in the upper one; flags as above, bit 0 of `imm` bfloat16.
unsafe fn to_pair(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let mode = Round::from_bits(i.x >> 10 & 7);
    let flags = i.x >> 16 & 0xff;
    let dst = if i.imm & 1 != 0 { Ty::BF16 } else { Ty::F16 };
    let out = std::array::from_fn(|l| {
        let one = |offset| float_to_float(f64::from(cx.lane::<f32>(offset, l)), Ty::F32, dst, mode, flags) as u32;
        one(i.a) << 16 | one(i.b)
    });
    cx.put(i.d, &out, m);
    Flow::Next
}

/// To a pair of 8-bit floats; `imm` bit 0 e5m2, bit 1 the source is a pair of halves, bit 2 of bfloat16.
unsafe fn to_f8_pair(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let e5m2 = i.imm & 1 != 0;
    let relu = i.x >> 16 & RELU != 0;
    let out: [u16; 32] = std::array::from_fn(|l| {
        let one = |v: f64| {
            let v = if relu && !v.is_nan() { v.max(0.0) + 0.0 } else { v };
            u16::from(f8_bits(v, e5m2))
        };
        if i.imm & 2 != 0 {
            let a: u32 = cx.lane(i.a, l);
            let up = |h: u16| f64::from(if i.imm & 4 != 0 { b2f(h) } else { h2f(h) });
            one(up((a >> 16) as u16)) << 8 | one(up(a as u16))
        } else {
            one(f64::from(cx.lane::<f32>(i.a, l))) << 8 | one(f64::from(cx.lane::<f32>(i.b, l)))
        }
    });
    cx.put(i.d, &out, m);
    Flow::Next
}

/// From a pair of 8-bit floats to f16x2.
unsafe fn from_f8_pair(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let relu = i.x >> 16 & RELU != 0;
    let out = std::array::from_fn(|l| {
        let a: u16 = cx.lane(i.a, l);
        let one = |b: u8| {
            let v = f8_value(b, i.imm & 1 != 0);
            u32::from(f2h(if relu && !v.is_nan() { v.max(0.0) + 0.0 } else { v } as f32))
        };
        one((a >> 8) as u8) << 16 | one(a as u8)
    });
    cx.put(i.d, &out, m);
    Flow::Next
}

fn rounding(name: &str) -> Option<(Round, bool)> {
    Some(match name {
        "rni" => (Round::Nearest, true),
        "rzi" => (Round::Zero, true),
        "rmi" => (Round::Down, true),
        "rpi" => (Round::Up, true),
        other => (Round::from_name(other)?, false),
    })
}

/// A vector version of a plain conversion.
fn quick(dst: Ty, src: Ty, dreg: Ty, mode: Option<(Round, bool)>, flags: u32) -> Option<OpPair> {
    let nearest = mode == Some((Round::Nearest, false));
    let to_zero = mode == Some((Round::Zero, true));
    if flags != 0 || (dreg.bits() != dst.bits() && dst.bits() >= 32) {
        return None;
    }
    Some(match (dst, src) {
        (Ty::U64 | Ty::S64, Ty::U32) => un(|a: u32| u64::from(a)),
        (Ty::U64 | Ty::S64, Ty::S32) => un(|a: i32| i64::from(a)),
        (Ty::U64 | Ty::S64, Ty::U16) => un(|a: u16| u64::from(a)),
        (Ty::U64 | Ty::S64, Ty::S16) => un(|a: i16| i64::from(a)),
        (Ty::U32 | Ty::S32, Ty::U64 | Ty::S64) => un(|a: u64| a as u32),
        (Ty::U32 | Ty::S32, Ty::U16) => un(|a: u16| u32::from(a)),
        (Ty::U32 | Ty::S32, Ty::S16) => un(|a: i16| i32::from(a)),
        (Ty::U32 | Ty::S32, Ty::U8) => un(|a: u32| a & 0xff),
        (Ty::U32 | Ty::S32, Ty::S8) => un(|a: u32| a as i8 as i32),
        (Ty::U16 | Ty::S16, Ty::U32 | Ty::S32) if dreg.bits() == 16 => un(|a: u32| a as u16),
        (Ty::F32, Ty::F16) => un(|a: u16| canon(h2f(a))),
        (Ty::F32, Ty::BF16) => un(|a: u16| canon(b2f(a))),
        (Ty::F16, Ty::F32) if nearest && dreg.bits() == 16 => un(|a: f32| f2h(a)),
        (Ty::BF16, Ty::F32) if nearest && dreg.bits() == 16 => un(|a: f32| f2b(a)),
        (Ty::F32, Ty::S32) if nearest => un(|a: i32| a as f32),
        (Ty::F32, Ty::U32) if nearest => un(|a: u32| a as f32),
        (Ty::F64, Ty::S32) if nearest => un(|a: i32| f64::from(a)),
        (Ty::F64, Ty::U32) if nearest => un(|a: u32| f64::from(a)),
        (Ty::F64, Ty::F32) => un(|a: f32| f64::from(a)),
        (Ty::F32, Ty::F64) if nearest => un(|a: f64| canon(a as f32)),
        (Ty::S32, Ty::F32) if to_zero => un(|a: f32| a as i32),
        (Ty::U32, Ty::F32) if to_zero => un(|a: f32| a as u32),
        _ => return None,
    })
}

/// Why a combination of modifiers does not exist.
fn misfit(dst: Ty, src: Ty, mode: Option<(Round, bool)>, flags: u32) -> Option<&'static str> {
    let pair = |t: Ty| matches!(t, Ty::F16X2 | Ty::BF16X2 | Ty::E4M3X2 | Ty::E5M2X2);
    let eight = |t: Ty| matches!(t, Ty::E4M3X2 | Ty::E5M2X2);
    let float = |t: Ty| t.is_float() || t == Ty::TF32 || pair(t);
    let narrow = matches!(dst, Ty::F16 | Ty::BF16 | Ty::F16X2 | Ty::BF16X2 | Ty::TF32) && src == Ty::F32;
    let rounded = mode.filter(|(_, integral)| !integral).map(|(r, _)| r);
    let integral = mode.is_some_and(|(_, i)| i);
    let even_or_zero = matches!(rounded, Some(Round::Nearest | Round::Zero));
    if rounded == Some(Round::Away) && (dst != Ty::TF32 || flags & RELU != 0) {
        return Some(".rna goes with .tf32");
    }
    if dst == Ty::TF32 && (src != Ty::F32 || rounded != Some(Round::Away) && !even_or_zero) || src == Ty::TF32 {
        return Some("converts .f32 to .tf32 by .rna, .rn or .rz");
    }
    if (eight(dst) || eight(src)) && (rounded != Some(Round::Nearest) || flags & FTZ != 0) {
        return Some("8-bit floats are converted by .rn");
    }
    if matches!(dst, Ty::F16X2 | Ty::BF16X2) && !eight(src) && !even_or_zero {
        return Some("pairs are converted by .rn or .rz");
    }
    if flags & RELU != 0 && !((narrow && even_or_zero) || eight(dst) || eight(src)) {
        return Some(".relu goes with .rn and .rz from .f32, and with 8-bit floats");
    }
    let away = rounded == Some(Round::Away);
    if flags & FINITE != 0 && !((narrow && (even_or_zero || away)) || eight(dst)) {
        return Some(".satfinite goes with roundings of .f32 and to 8-bit floats");
    }
    if flags & SAT != 0
        && (flags & (RELU | FINITE) != 0
            || dst == Ty::BF16
            || src == Ty::BF16 && float(dst)
            || dst == Ty::TF32
            || pair(dst))
    {
        return Some("takes no .sat");
    }
    if flags & FTZ != 0
        && (![dst, src].contains(&Ty::F32)
            || flags & (RELU | FINITE) != 0
            || [dst, src].contains(&Ty::BF16)
            || dst == Ty::TF32
            || pair(dst))
    {
        return Some(".ftz goes with .f32");
    }
    let smaller = dst.bits() < src.bits() || matches!((dst, src), (Ty::F16, Ty::BF16) | (Ty::BF16, Ty::F16));
    match (float(dst), float(src), mode) {
        (false, false, Some(_)) => Some("integers are not rounded"),
        (true, true, Some((_, false))) if !smaller && dst != Ty::TF32 && !pair(dst) => Some("nothing is rounded here"),
        (true, false, Some(_)) if integral => Some("an integer is rounded to a float's precision"),
        _ => None,
    }
}

/// Decodes `cvt`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    if f.flag("pack") {
        return pack(lw, f);
    }
    let mode = f.find(rounding);
    let mut flags = 0;
    for (name, bit) in [("ftz", FTZ), ("sat", SAT), ("relu", RELU), ("satfinite", FINITE)] {
        if f.flag(name) {
            flags |= bit;
        }
    }
    let [dst, src] = f.types[..] else { return lw.refuse("names a destination and a source type") };
    let (round, integral) = mode.unwrap_or((Round::Nearest, false));
    let x = (round as u32) << 10 | flags << 16;
    if let Some(why) = misfit(dst, src, mode, flags) {
        return lw.refuse(why);
    }
    match (dst, src) {
        (Ty::F16X2 | Ty::BF16X2, Ty::F32) => {
            f.arity(lw, 3..=3)?;
            if mode.is_none() || integral {
                return lw.refuse("names no rounding");
            }
            let bf = dst == Ty::BF16X2;
            let (a, b) = (lw.src(&ops[1], Ty::F32)?, lw.src(&ops[2], Ty::F32)?);
            let d = lw.dst(&ops[0], Ty::B32)?;
            let op = match (bf, round, flags) {
                (false, Round::Nearest, 0) => bin(|a: f32, b: f32| u32::from(f2h(a)) << 16 | u32::from(f2h(b))),
                (true, Round::Nearest, 0) => bin(|a: f32, b: f32| u32::from(f2b(a)) << 16 | u32::from(f2b(b))),
                _ => OpPair::same(to_pair),
            };
            lw.emit(MInst::new(op).d(d).a(a).b(b).x(x).imm(i64::from(bf)));
            return Ok(());
        }
        (Ty::E4M3X2 | Ty::E5M2X2, Ty::F32 | Ty::F16X2 | Ty::BF16X2) => {
            if flags & FINITE == 0 {
                return lw.refuse("names no .satfinite");
            }
            let pair = src != Ty::F32;
            f.arity(lw, if pair { 2..=2 } else { 3..=3 })?;
            let a = lw.src(&ops[1], if pair { Ty::B32 } else { Ty::F32 })?;
            let b = if pair { Opnd::No } else { lw.src(&ops[2], Ty::F32)? };
            let d = lw.dst(&ops[0], Ty::B16)?;
            let imm = i64::from(dst == Ty::E5M2X2) | i64::from(pair) << 1 | i64::from(src == Ty::BF16X2) << 2;
            lw.emit(MInst::new(OpPair::same(to_f8_pair)).d(d).a(a).b(b).x(x).imm(imm));
            return Ok(());
        }
        (Ty::F16X2, Ty::E4M3X2 | Ty::E5M2X2) => {
            f.arity(lw, 2..=2)?;
            let a = lw.src(&ops[1], Ty::B16)?;
            let d = lw.dst(&ops[0], Ty::B32)?;
            let imm = i64::from(src == Ty::E5M2X2);
            lw.emit(MInst::new(OpPair::same(from_f8_pair)).d(d).a(a).x(x).imm(imm));
            return Ok(());
        }
        _ => {}
    }
    f.arity(lw, 2..=2)?;
    let (Some(di), Some(si)) = (type_index(dst), type_index(src)) else {
        return lw.refuse("this conversion does not exist");
    };
    if [dst, src].iter().any(|t| matches!(t, Ty::E4M3 | Ty::E5M2 | Ty::B8 | Ty::B16 | Ty::B32)) {
        return lw.refuse("this conversion does not exist");
    }
    let float = |t: Ty| t.is_float() || t == Ty::TF32;
    let needs_float_rounding = float(dst) && (!float(src) || src.bits() > dst.bits() || dst == Ty::TF32);
    let needs_int_rounding = !float(dst) && float(src);
    if (needs_float_rounding || needs_int_rounding) && mode.is_none() {
        return lw.refuse("names no rounding");
    }
    if needs_int_rounding && !integral {
        return lw.refuse("names no integer rounding (.rni, .rzi, .rmi, .rpi)");
    }
    if float(dst) && integral && (src != dst) {
        return lw.refuse("integer rounding goes with floats of one type");
    }
    let (a, areg) = lw.wide_src(&ops[1], src)?;
    let (d, dreg) = lw.wide_dst(&ops[0], dst)?;
    let direct = if Width::of(areg) == Width::of(src) { quick(dst, src, dreg, mode, flags) } else { None };
    if integral && float(dst) {
        flags |= INTEGRAL;
    }
    let x = di
        | si << 5
        | (round as u32) << 10
        | flags << 16
        | u32::from(Width::of(dreg) == Width::W64) << 26
        | u32::from(Width::of(areg) == Width::W64) << 27
        | u32::from(dreg.bits() <= 16) << 28;
    lw.emit(MInst::new(direct.unwrap_or(OpPair::same(general))).d(d).a(a).x(x));
    Ok(())
}

/// `cvt.pack.sat`: `x` bits 0 to 4 the narrow type, bit 5 a third operand is shifted up.
unsafe fn run_pack(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let ty = TYPES[(i.x & 31) as usize % TYPES.len()];
    let bits = (i.x >> 8) & 31;
    let (low, high): (i32, i32) = match (ty, bits) {
        (Ty::U16, _) => (0, 0xffff),
        (Ty::S16, _) => (-0x8000, 0x7fff),
        (Ty::U8, 8) => (0, 0xff),
        (Ty::S8, 8) => (-0x80, 0x7f),
        (Ty::U8, n) => (0, (1 << n) - 1),
        (_, n) => (-(1 << (n - 1)), (1 << (n - 1)) - 1),
    };
    let mask = (1u32 << bits) - 1;
    let out = std::array::from_fn(|l| {
        let one = |offset| cx.lane::<i32>(offset, l).clamp(low, high) as u32 & mask;
        let pair = one(i.a) << bits | one(i.b);
        if i.x >> 5 & 1 != 0 { cx.lane::<u32>(i.c, l) << (2 * bits) | pair } else { pair }
    });
    cx.put(i.d, &out, m);
    Flow::Next
}

fn pack<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    if !f.flag("sat") {
        return lw.refuse("names no .sat");
    }
    let (ty, third) = match f.types[..] {
        [ty @ (Ty::U16 | Ty::S16), Ty::S32] => (ty, false),
        [ty @ (Ty::U8 | Ty::S8 | Ty::U4 | Ty::S4 | Ty::U2 | Ty::S2), Ty::S32, Ty::B32] => (ty, true),
        _ => return lw.refuse("this packing does not exist"),
    };
    f.arity(lw, if third { 4..=4 } else { 3..=3 })?;
    let (a, b) = (lw.src(&ops[1], Ty::S32)?, lw.src(&ops[2], Ty::S32)?);
    let c = if third { lw.src(&ops[3], Ty::B32)? } else { Opnd::No };
    let d = lw.dst(&ops[0], Ty::B32)?;
    let base = match ty {
        Ty::U4 | Ty::U2 => Ty::U8,
        Ty::S4 | Ty::S2 => Ty::S8,
        other => other,
    };
    let x = type_index(base).unwrap_or(0) | u32::from(third) << 5 | ty.bits() << 8;
    lw.emit(MInst::new(OpPair::same(run_pack)).d(d).a(a).b(b).c(c).x(x));
    Ok(())
}
