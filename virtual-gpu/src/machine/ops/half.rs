//! Binary16 and bfloat16: conversions and arithmetic, scalar and packed.

use super::float::canon;
use crate::machine::lanes::{B, H, OpPair, bin, ter, un};
use crate::machine::lower::{Approximate, Decoded, Form, Lower, MInst};
use crate::ptx::Ty;

/// Widens binary16; branch-free, so that it vectorises.
#[inline(always)]
pub fn h2f(h: u16) -> f32 {
    let sign = u32::from(h & 0x8000) << 16;
    let rest = u32::from(h & 0x7fff);
    // Scaling by 2^112 moves the exponent, subnormals included; infinities and NaNs are put back after.
    let scaled = f32::from_bits(rest << 13) * f32::from_bits(0x7780_0000);
    let special = if rest >= 0x7c00 { 0x7f80_0000 | rest << 13 } else { scaled.to_bits() };
    f32::from_bits(sign | special)
}

/// Rounds to binary16, nearest even; NaN is 0x7fff.
#[inline(always)]
pub fn f2h(f: f32) -> u16 {
    let bits = f.to_bits();
    let sign = (bits >> 16 & 0x8000) as u16;
    let abs = bits & 0x7fff_ffff;
    // Normal results: round the fraction in the integer domain.
    let rounded = abs.wrapping_add(0xfff + (abs >> 13 & 1)).wrapping_sub(112 << 23) >> 13;
    // Subnormal results: adding 0.5 puts the last place at the float's own last place.
    let small = (f32::from_bits(abs) + 0.5).to_bits().wrapping_sub(0x3f00_0000);
    let v = if abs < 113 << 23 { small } else { rounded };
    let v = if abs >= 0x477f_f000 { 0x7c00 } else { v };
    if abs > 0x7f80_0000 { 0x7fff } else { sign | v as u16 }
}

/// Widens bfloat16.
#[inline(always)]
pub fn b2f(b: u16) -> f32 {
    f32::from_bits(u32::from(b) << 16)
}

/// Rounds to bfloat16, nearest even; NaN is 0x7fff.
#[inline(always)]
pub fn f2b(f: f32) -> u16 {
    let bits = f.to_bits();
    let rounded = (bits.wrapping_add(0x7fff + (bits >> 16 & 1)) >> 16) as u16;
    if bits & 0x7fff_ffff > 0x7f80_0000 { 0x7fff } else { rounded }
}

/// A 16-bit float format.
pub trait Half: Copy + 'static {
    /// Bits of the fraction.
    const FRACTION: i32;
    /// Smallest exponent of a normal number.
    const LOWEST: i32;
    /// Largest relative errors of `ex2.approx` and `tanh.approx` (PTX ISA), as powers of two.
    const BOUNDS: [f64; 2];
    fn up(bits: u16) -> f32;
    fn down(v: f32) -> u16;
    /// `a × b` rounded once.
    fn mul(a: f32, b: f32) -> u16;
    /// `a × b + c` rounded once.
    fn fma(a: f32, b: f32, c: f32) -> u16;
}

impl Half for H {
    const FRACTION: i32 = 10;
    const LOWEST: i32 = -14;
    const BOUNDS: [f64; 2] = [-9.9, -10.987];

    #[inline(always)]
    fn up(bits: u16) -> f32 {
        h2f(bits)
    }
    #[inline(always)]
    fn down(v: f32) -> u16 {
        f2h(v)
    }
    #[inline(always)]
    fn mul(a: f32, b: f32) -> u16 {
        f2h(a * b)
    }
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> u16 {
        // The product is exact in f64, and the sum's error decides the last bit: then one rounding remains.
        f2h(narrow_odd(f64::from(a) * f64::from(b), f64::from(c)))
    }
}

impl Half for B {
    const FRACTION: i32 = 7;
    const LOWEST: i32 = -126;
    const BOUNDS: [f64; 2] = [-7.0, -8.0];

    #[inline(always)]
    fn up(bits: u16) -> f32 {
        b2f(bits)
    }
    #[inline(always)]
    fn down(v: f32) -> u16 {
        f2b(v)
    }
    #[inline(always)]
    fn mul(a: f32, b: f32) -> u16 {
        // Not through f32 alone: a product that is subnormal there would be rounded twice.
        f2b(narrow_odd(f64::from(a) * f64::from(b), -0.0))
    }
    #[inline(always)]
    fn fma(a: f32, b: f32, c: f32) -> u16 {
        f2b(narrow_odd(f64::from(a) * f64::from(b), f64::from(c)))
    }
}

/// `p + c` in f32 rounded to odd, so that a later rounding to 16 bits is as if from the exact sum.
#[inline(always)]
fn narrow_odd(p: f64, c: f64) -> f32 {
    let s = p + c;
    let t = s - p;
    let e = (p - (s - t)) + (c - t);
    let f = s as f32;
    let lost = s - f64::from(f);
    let bits = f.to_bits();
    // What the f32 misses, in sign: the rounding of s decides, else the error of the sum.
    let miss = if lost != 0.0 { lost } else { e };
    let away = (miss > 0.0) == (bits >> 31 == 0);
    let odd = if away { bits | 1 } else { bits.wrapping_sub(1) | 1 };
    let even = bits & 1 == 0;
    if miss != 0.0 && miss.is_finite() && even && f != 0.0 && f.is_finite() { f32::from_bits(odd) } else { f }
}

#[inline(always)]
fn pair<F: Fn(u16, u16) -> u16>(a: u32, b: u32, f: F) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

const SAT: u32 = 1;
const RELU: u32 = 2;
const FTZ: u32 = 4;

#[inline(always)]
fn post<T: Half, const M: u32>(v: u16) -> u16 {
    let v = if M & FTZ != 0 { flush::<T>(v) } else { v };
    if M & (SAT | RELU) == 0 {
        return v;
    }
    let f = T::up(v);
    if M & SAT != 0 {
        // NaN becomes +0.
        return if f >= 1.0 {
            T::down(1.0)
        } else if f > 0.0 {
            v
        } else {
            0
        };
    }
    if f.is_nan() {
        0x7fff
    } else if f > 0.0 {
        v
    } else {
        0
    }
}

/// Flushes a subnormal to zero of its sign.
#[inline(always)]
fn flush<T: Half>(v: u16) -> u16 {
    let exponent = if T::up(0x3c00) == 1.0 { 0x7c00 } else { 0x7f80 };
    if v & exponent == 0 { v & 0x8000 } else { v }
}

#[inline(always)]
fn pre<T: Half, const M: u32>(v: u16) -> f32 {
    T::up(if M & FTZ != 0 { flush::<T>(v) } else { v })
}

fn add<T: Half, const M: u32>(packed: bool) -> OpPair {
    if packed {
        bin(|a: u32, b: u32| pair(a, b, |a, b| post::<T, M>(T::down(pre::<T, M>(a) + pre::<T, M>(b)))))
    } else {
        bin(|a: u16, b: u16| post::<T, M>(T::down(pre::<T, M>(a) + pre::<T, M>(b))))
    }
}

fn sub<T: Half, const M: u32>(packed: bool) -> OpPair {
    if packed {
        bin(|a: u32, b: u32| pair(a, b, |a, b| post::<T, M>(T::down(pre::<T, M>(a) - pre::<T, M>(b)))))
    } else {
        bin(|a: u16, b: u16| post::<T, M>(T::down(pre::<T, M>(a) - pre::<T, M>(b))))
    }
}

fn mul<T: Half, const M: u32>(packed: bool) -> OpPair {
    if packed {
        bin(|a: u32, b: u32| pair(a, b, |a, b| post::<T, M>(T::mul(pre::<T, M>(a), pre::<T, M>(b)))))
    } else {
        bin(|a: u16, b: u16| post::<T, M>(T::mul(pre::<T, M>(a), pre::<T, M>(b))))
    }
}

fn fma<T: Half, const M: u32>(packed: bool) -> OpPair {
    #[inline(always)]
    fn one<T: Half, const M: u32>(a: u16, b: u16, c: u16) -> u16 {
        post::<T, M>(T::fma(pre::<T, M>(a), pre::<T, M>(b), pre::<T, M>(c)))
    }
    if packed {
        ter(|a: u32, b: u32, c: u32| {
            u32::from(one::<T, M>(a as u16, b as u16, c as u16))
                | u32::from(one::<T, M>((a >> 16) as u16, (b >> 16) as u16, (c >> 16) as u16)) << 16
        })
    } else {
        ter(|a: u16, b: u16, c: u16| one::<T, M>(a, b, c))
    }
}

/// Minimum or maximum of two 16-bit floats.
#[inline(always)]
fn extreme<T: Half>(a: u16, b: u16, max: bool, nan: bool, xorsign: bool, ftz: bool) -> u16 {
    let (a, b) = if ftz { (flush::<T>(a), flush::<T>(b)) } else { (a, b) };
    let sign = (a ^ b) & 0x8000;
    let (x, y) = if xorsign { (a & 0x7fff, b & 0x7fff) } else { (a, b) };
    let (fx, fy) = (T::up(x), T::up(y));
    let either = fx.is_nan() || fy.is_nan();
    let first = if fx == fy { (x >> 15 == 1) != max } else { (fx < fy) != max };
    let v = match (fx.is_nan(), fy.is_nan()) {
        (true, true) => 0x7fff,
        (true, false) => y,
        (false, true) => x,
        _ if first => x,
        _ => y,
    };
    let v = if nan && either { 0x7fff } else { v };
    if xorsign && v & 0x7fff <= 0x7f80 && !T::up(v).is_nan() { v & 0x7fff | sign } else { v }
}

/// Runs a function of two 16-bit floats picked by constants.
fn minmax<T: Half>(packed: bool, max: bool, nan: bool, xorsign: bool, ftz: bool) -> OpPair {
    macro_rules! pick {
        ($max:literal, $nan:literal, $x:literal, $f:literal) => {
            if packed {
                bin(|a: u32, b: u32| pair(a, b, |a, b| extreme::<T>(a, b, $max, $nan, $x, $f)))
            } else {
                bin(|a: u16, b: u16| extreme::<T>(a, b, $max, $nan, $x, $f))
            }
        };
    }
    macro_rules! by_flags {
        ($max:literal) => {
            match (nan, xorsign, ftz) {
                (false, false, false) => pick!($max, false, false, false),
                (true, false, false) => pick!($max, true, false, false),
                (false, true, false) => pick!($max, false, true, false),
                (true, true, false) => pick!($max, true, true, false),
                (false, false, true) => pick!($max, false, false, true),
                (true, false, true) => pick!($max, true, false, true),
                (false, true, true) => pick!($max, false, true, true),
                (true, true, true) => pick!($max, true, true, true),
            }
        };
    }
    if max { by_flags!(true) } else { by_flags!(false) }
}

fn neg_abs<T: Half>(packed: bool, abs: bool, ftz: bool) -> OpPair {
    match (packed, abs, ftz) {
        (false, false, false) => un(|a: u16| a ^ 0x8000),
        (false, true, false) => un(|a: u16| a & 0x7fff),
        (true, false, false) => un(|a: u32| a ^ 0x8000_8000),
        (true, true, false) => un(|a: u32| a & 0x7fff_7fff),
        (false, false, true) => un(|a: u16| flush::<T>(a) ^ 0x8000),
        (false, true, true) => un(|a: u16| flush::<T>(a) & 0x7fff),
        (true, false, true) => un(|a: u32| pair(a, a, |a, _| flush::<T>(a) ^ 0x8000)),
        (true, true, true) => un(|a: u32| pair(a, a, |a, _| flush::<T>(a) & 0x7fff)),
    }
}

fn approx<T: Half>(packed: bool, tanh: bool, ftz: bool) -> OpPair {
    match (packed, tanh, ftz) {
        (false, true, _) => un(|a: u16| T::down(canon(super::float::tanh(T::up(a))))),
        (true, true, _) => un(|a: u32| pair(a, a, |a, _| T::down(canon(super::float::tanh(T::up(a)))))),
        (false, false, false) => un(|a: u16| T::down(canon(super::float::exp2(T::up(a))))),
        (true, false, false) => un(|a: u32| pair(a, a, |a, _| T::down(canon(super::float::exp2(T::up(a)))))),
        (false, false, true) => un(|a: u16| flush::<T>(T::down(canon(super::float::exp2(T::up(flush::<T>(a))))))),
        (true, false, true) => {
            un(|a: u32| pair(a, a, |a, _| flush::<T>(T::down(canon(super::float::exp2(T::up(flush::<T>(a))))))))
        }
    }
}

/// Decodes arithmetic on 16-bit floats.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, ty: Ty) -> Decoded {
    match ty {
        Ty::F16 | Ty::F16X2 => decode_for::<H>(lw, f, ty),
        _ => decode_for::<B>(lw, f, ty),
    }
}

fn decode_for<'a, T: Half>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, ty: Ty) -> Decoded {
    let packed = matches!(ty, Ty::F16X2 | Ty::BF16X2);
    let root = f.ins.root;
    let ftz = f.flag("ftz");
    let rounded = f.flag("rn");
    let mode =
        { (if ftz { FTZ } else { 0 }) | if f.flag("sat") { SAT } else { 0 } | if f.flag("relu") { RELU } else { 0 } };
    macro_rules! by_mode {
        ($g:ident) => {
            match mode {
                0 => $g::<T, 0>(packed),
                1 => $g::<T, 1>(packed),
                2 => $g::<T, 2>(packed),
                4 => $g::<T, 4>(packed),
                5 => $g::<T, 5>(packed),
                6 => $g::<T, 6>(packed),
                _ => return lw.refuse(".sat and .relu exclude each other"),
            }
        };
    }
    let brain = matches!(ty, Ty::BF16 | Ty::BF16X2);
    if brain && (mode & SAT != 0 || ftz != (root == "ex2")) {
        return lw.refuse("bfloat16 has .ftz in ex2 alone, and no .sat");
    }
    if mode & RELU != 0 && root != "fma" || mode & SAT != 0 && !matches!(root, "add" | "sub" | "mul" | "fma") {
        return lw.refuse("takes no .relu or .sat");
    }
    if rounded != (root == "fma") && !matches!(root, "add" | "sub" | "mul") {
        return lw.refuse("fma names .rn, and of the rest only add, sub and mul may");
    }
    if ftz && (root == "tanh" || root == "ex2" && !brain) {
        return lw.refuse("takes no .ftz");
    }
    let ops = f.operands();
    let (op, sources) = match root {
        "add" => (by_mode!(add), 2),
        "sub" => (by_mode!(sub), 2),
        "mul" => (by_mode!(mul), 2),
        "fma" => {
            f.flag("oob");
            (by_mode!(fma), 3)
        }
        "min" | "max" => {
            let (nan, xorsign) = (f.flag("NaN"), f.flag("xorsign"));
            if xorsign && !f.flag("abs") {
                return lw.refuse(".xorsign needs .abs");
            }
            (minmax::<T>(packed, root == "max", nan, xorsign, ftz), 2)
        }
        "neg" | "abs" => (neg_abs::<T>(packed, root == "abs", ftz), 1),
        "tanh" | "ex2" => {
            if !f.flag("approx") {
                return lw.refuse("only the .approx form exists");
            }
            (approx::<T>(packed, root == "tanh", ftz), 1)
        }
        _ => return lw.refuse("does not take 16-bit floats"),
    };
    f.arity(lw, sources + 1..=sources + 1)?;
    let a = lw.src(&ops[1], ty)?;
    let mut i = MInst::new(op).a(a);
    if sources > 1 {
        i = i.b(lw.src(&ops[2], ty)?);
    }
    if sources > 2 {
        i = i.c(lw.src(&ops[3], ty)?);
    }
    let d = lw.dst(&ops[0], ty)?;
    if matches!(root, "tanh" | "ex2") {
        i.approximate = Some((Approximate::Halves { brain, packed, tanh: root == "tanh" }, ftz));
    }
    lw.emit(i.d(d));
    Ok(())
}
