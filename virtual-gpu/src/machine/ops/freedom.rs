//! The freedom that arithmetic has: errors of approximate instructions up to the bounds of the PTX ISA, and products
//! without a rounding that fuse with the sum behind them. Seed 0 uses none of it.

use super::float::{FTZ, flush, post, pre};
use super::half::Half;
use crate::machine::exec::{Cx, Flow, Instr, OpFn};
use crate::machine::lanes::{B, H, OpPair, op_versions};
use crate::machine::lower::Approximate;

/// A number from -1 to 1 that belongs to a seed and an operand: the instruction is a function all the same.
fn error(seed: u64, operand: u32) -> f64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(operand).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 29).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 32;
    (z >> 11) as f64 / (1u64 << 52) as f64 - 1.0
}

fn ulp(v: f32) -> f64 {
    let exponent = (v.to_bits() >> 23 & 0xff).max(1) as i32;
    f64::powi(2.0, exponent - 150)
}

/// The result of an approximate function of `a` whose exact one rounds to `v`, `r` from -1 to 1 saying how wrong it is.
/// Bounds: PTX ISA, "Floating Point Instructions".
fn approximated(kind: Approximate, a: f32, v: f32, r: f64) -> f32 {
    if !v.is_finite() || v == 0.0 || a == 0.0 || !a.is_finite() {
        return v;
    }
    let (x, y) = (f64::from(a), f64::from(v));
    let off = match kind {
        // 2 units of the last place, of which the rounding here takes less than one.
        Approximate::Exp2 | Approximate::Divide => y + r * ulp(v),
        // 1 unit; half of it is the rounding's.
        Approximate::Reciprocal => 1.0 / x + 0.45 * r * ulp(v),
        // Relative errors of 2^-23 and 2^-22.9, half of them the rounding's.
        Approximate::SquareRoot => x.sqrt() * (1.0 + 0.9 * r * f64::powi(2.0, -24)),
        Approximate::ReciprocalRoot => (1.0 + 0.9 * r * f64::powi(2.0, -24)) / x.sqrt(),
        // 2^-22, absolute between one half and two, relative elsewhere.
        Approximate::Log2 if a > 0.5 && a < 2.0 => y + 0.7 * r * f64::powi(2.0, -22),
        Approximate::Log2 => y * (1.0 + 0.4 * r * f64::powi(2.0, -22)),
        // Absolute: 2^-20.5 within two periods, 2^-14.7 within a hundred half ones, and no bound beyond.
        Approximate::Sine if x.abs() <= std::f64::consts::TAU => y + 0.8 * r * f64::powf(2.0, -20.5),
        Approximate::Sine => y + 0.9 * r * f64::powf(2.0, -14.7),
        // Relative: 2^-11.
        Approximate::Tanh => (y * (1.0 + 0.95 * r * f64::powi(2.0, -11))).clamp(-1.0, 1.0),
        // These err in their own format.
        Approximate::Halves { .. } => y,
    };
    off as f32
}

/// Runs the exact function behind an approximate one and errs by seed.
pub unsafe fn approximate(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let meta = &cx.launch.code.meta[cx.pc as usize];
    let Some((kind, ftz, run)) = meta.approximate else { return Flow::Fault };
    if cx.launch.seed == 0 {
        // SAFETY: passed on.
        return unsafe { run(cx, i, m) };
    }
    if let Approximate::Halves { brain, packed, tanh } = kind {
        let seed = cx.launch.seed;
        let erring = if brain { half::<B> } else { half::<H> };
        // SAFETY: passed on.
        return unsafe { halves(cx, i, m, run, packed, |a, v| erring(tanh, ftz, seed, a, v)) };
    }
    let read = |cx: &Cx<'_>, at: u32| cx.lanes::<f32>(at).map(|v| if ftz { flush(v) } else { v });
    // The destination may be one of the sources.
    let (a, b) = (read(cx, i.a), read(cx, i.b));
    // SAFETY: passed on.
    let flow = unsafe { run(cx, i, m) };
    let exact = cx.lanes::<f32>(i.d);
    let out = std::array::from_fn(|l| {
        let operand =
            if kind == Approximate::Divide { a[l].to_bits() ^ b[l].to_bits().rotate_left(9) } else { a[l].to_bits() };
        let v = approximated(kind, a[l], exact[l], error(cx.launch.seed, operand));
        if ftz { flush(v) } else { v }
    });
    cx.put(i.d, &out, m);
    flow
}

/// Runs the exact function of 16-bit floats and lets each result err.
unsafe fn halves(cx: &mut Cx<'_>, i: &Instr, m: u32, run: OpFn, packed: bool, err: impl Fn(u16, u16) -> u16) -> Flow {
    if packed {
        let a = cx.lanes::<u32>(i.a);
        // SAFETY: passed on.
        let flow = unsafe { run(cx, i, m) };
        let v = cx.lanes::<u32>(i.d);
        let part = |l: usize, shift: u32| u32::from(err((a[l] >> shift) as u16, (v[l] >> shift) as u16)) << shift;
        cx.put(i.d, &std::array::from_fn::<u32, 32, _>(|l| part(l, 0) | part(l, 16)), m);
        return flow;
    }
    let a = cx.lanes::<u16>(i.a);
    // SAFETY: passed on.
    let flow = unsafe { run(cx, i, m) };
    let v = cx.lanes::<u16>(i.d);
    cx.put(i.d, &std::array::from_fn::<u16, 32, _>(|l| err(a[l], v[l])), m);
    flow
}

/// What `tanh` or `ex2` of a 16-bit float `a`, which rounds to `v`, may give under a seed.
fn half<T: Half>(tanh: bool, ftz: bool, seed: u64, a: u16, v: u16) -> u16 {
    half_by::<T>(tanh, ftz, a, v, error(seed, u32::from(a)))
}

fn half_by<T: Half>(tanh: bool, ftz: bool, a: u16, v: u16, r: f64) -> u16 {
    let (x, rounded) = (f64::from(T::up(a)), f64::from(T::up(v)));
    // Zeros, infinities and NaNs have one result, and so has what is flushed.
    if x == 0.0 || rounded == 0.0 || !x.is_finite() || !rounded.is_finite() {
        return v;
    }
    let exact = if tanh { x.tanh() } else { x.exp2() };
    let exponent = (exact.abs().log2().floor() as i32).max(T::LOWEST);
    // The rounding takes half a unit of the last place of the bound.
    let room = exact.abs() * T::BOUNDS[usize::from(tanh)].exp2() - f64::powi(2.0, exponent - T::FRACTION - 1);
    if room <= 0.0 {
        return v;
    }
    let off = exact + 0.95 * r * room;
    let off = if tanh { off.clamp(-1.0, 1.0) } else { off };
    let out = T::down(off as f32);
    let number = f64::from(T::up(out));
    let lost = !number.is_finite() || (ftz && number.abs() < f64::powi(2.0, T::LOWEST));
    // Past the next power of two the units are twice as large, and so is what their rounding takes.
    let beyond = (number - exact).abs() > exact.abs() * T::BOUNDS[usize::from(tanh)].exp2();
    if lost || beyond { v } else { out }
}

/// The product is `a`, not `b`.
pub const PRODUCT_FIRST: u32 = 1;
/// `a - b`, not `a + b`.
pub const SUBTRACTS: u32 = 2;

/// Whether the product of this instruction is kept unrounded under the seed: compilers decide once for a place.
#[inline(always)]
fn fuses(cx: &Cx<'_>) -> bool {
    cx.launch.seed != 0 && error(cx.launch.seed, cx.pc) > 0.0
}

/// `d = a ± b` in binary32 where one of them is the product of `c` and `e`.
#[inline(always)]
unsafe fn fused<const M: u32>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let (a, b) = (cx.lanes::<f32>(i.a), cx.lanes::<f32>(i.b));
    let minus = i.x & SUBTRACTS != 0;
    let out: [f32; 32] = if fuses(cx) {
        let (x, y) = (cx.lanes::<f32>(i.c), cx.lanes::<f32>(i.e));
        let first = i.x & PRODUCT_FIRST != 0;
        std::array::from_fn(|l| {
            let (x, y) = (pre::<M>(x[l]), pre::<M>(y[l]));
            let (a, b) = (pre::<M>(a[l]), pre::<M>(b[l]));
            post::<M>(match (first, minus) {
                (true, false) => x.mul_add(y, b),
                (true, true) => x.mul_add(y, -b),
                (false, false) => x.mul_add(y, a),
                (false, true) => (-x).mul_add(y, a),
            })
        })
    } else if minus {
        std::array::from_fn(|l| post::<M>(pre::<M>(a[l]) - pre::<M>(b[l])))
    } else {
        std::array::from_fn(|l| post::<M>(pre::<M>(a[l]) + pre::<M>(b[l])))
    };
    cx.put(i.d, &out, m);
    Flow::Next
}

/// As `fused`, in binary64.
#[inline(always)]
unsafe fn fused_double(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let (a, b) = (cx.lanes::<f64>(i.a), cx.lanes::<f64>(i.b));
    let minus = i.x & SUBTRACTS != 0;
    let out: [f64; 32] = if fuses(cx) {
        let (x, y) = (cx.lanes::<f64>(i.c), cx.lanes::<f64>(i.e));
        let first = i.x & PRODUCT_FIRST != 0;
        std::array::from_fn(|l| match (first, minus) {
            (true, false) => x[l].mul_add(y[l], b[l]),
            (true, true) => x[l].mul_add(y[l], -b[l]),
            (false, false) => x[l].mul_add(y[l], a[l]),
            (false, true) => (-x[l]).mul_add(y[l], a[l]),
        })
    } else if minus {
        std::array::from_fn(|l| a[l] - b[l])
    } else {
        std::array::from_fn(|l| a[l] + b[l])
    };
    cx.put(i.d, &out, m);
    Flow::Next
}

/// The sum that may take a product in, of binary32 with these modes or of binary64.
pub fn sum(double: bool, mode: u32) -> OpPair {
    match (double, mode) {
        (true, _) => op_versions!(fused_double),
        (_, FTZ) => op_versions!(fused::<FTZ>),
        (_, 2) => op_versions!(fused::<2>),
        (_, 3) => op_versions!(fused::<3>),
        _ => op_versions!(fused::<0>),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worst error over many operands and both ends of the seed's choice, in units that `unit` gives.
    fn worst(kind: Approximate, values: &[f32], exact: fn(f64) -> f64, unit: impl Fn(f64) -> f64) -> (f64, usize) {
        let (mut most, mut wrong) = (0f64, 0);
        for a in values {
            let want = exact(f64::from(*a));
            for r in [-1.0, -0.3, 0.6, 1.0] {
                let got = approximated(kind, *a, want as f32, r);
                wrong += usize::from(got != want as f32);
                most = most.max((f64::from(got) - want).abs() / unit(want));
            }
        }
        (most, wrong)
    }

    #[test]
    fn errors_use_the_bounds_and_stay_within() {
        let values: Vec<f32> = (1..4000).map(|k| k as f32 * 0.0137).collect();
        let relative = |bits: f64| move |want: f64| want.abs() * f64::powf(2.0, -bits);
        let units = |want: f64| ulp(want as f32);
        let checks = [
            worst(Approximate::Exp2, &values, f64::exp2, |w| 2.0 * units(w)),
            worst(Approximate::Reciprocal, &values, |x| 1.0 / x, units),
            worst(Approximate::SquareRoot, &values, f64::sqrt, relative(23.0)),
            worst(Approximate::ReciprocalRoot, &values, |x| 1.0 / x.sqrt(), relative(22.9)),
            worst(Approximate::Log2, &values[200..], f64::log2, relative(22.0)),
            worst(Approximate::Sine, &values[..400], f64::sin, |_| f64::powf(2.0, -20.5)),
            worst(Approximate::Tanh, &values, f64::tanh, relative(11.0)),
        ];
        for (k, (most, wrong)) in checks.into_iter().enumerate() {
            assert!(most <= 1.0 && most > 0.5 && wrong > values.len() / 4, "{k}: {most} of the bound, {wrong} wrong");
        }
    }

    /// Every operand: errors of most, none beyond the bound.
    fn halves_of<T: Half>(tanh: bool) {
        let bound = T::BOUNDS[usize::from(tanh)].exp2();
        let (mut most, mut wrong, mut all) = (0f64, 0, 0);
        for a in 0..=u16::MAX {
            let x = f64::from(T::up(a));
            let exact = if tanh { x.tanh() } else { x.exp2() };
            let v = T::down(exact as f32);
            // Below the normal numbers a bound that is relative says nothing.
            if exact.abs() < f64::powi(2.0, T::LOWEST) || !T::up(v).is_finite() || x.is_nan() {
                continue;
            }
            for r in [-1.0, 1.0] {
                let got = half_by::<T>(tanh, false, a, v, r);
                most = most.max((f64::from(T::up(got)) - exact).abs() / (exact.abs() * bound));
                wrong += usize::from(got != v);
                all += 1;
            }
        }
        assert!(most <= 1.0 && most > 0.8 && wrong > all / 200, "{most} of the bound, {wrong} of {all} wrong");
    }

    #[test]
    fn halves_err_within_their_bounds() {
        for tanh in [false, true] {
            halves_of::<H>(tanh);
            halves_of::<B>(tanh);
        }
    }

    #[test]
    fn special_operands_give_special_results() {
        for r in [-1.0, 1.0] {
            assert_eq!(approximated(Approximate::Exp2, 0.0, 1.0, r), 1.0);
            assert_eq!(approximated(Approximate::Reciprocal, 0.0, f32::INFINITY, r), f32::INFINITY);
            assert!(approximated(Approximate::Tanh, 9.0, 1.0, r) <= 1.0);
        }
    }
}
