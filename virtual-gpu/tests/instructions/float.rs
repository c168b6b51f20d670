//! Arithmetic on floats of 16, 32 and 64 bits, scalar and packed, in every rounding, against exact numbers.

use super::exact::{BF16, Exact, F16, F32, F64, Format, Value};
use super::harness::{Draw, Row, class_of, cross};
use std::cmp::Ordering;
use std::sync::Arc;

/// What a form does besides its operation.
#[derive(Clone, Copy)]
pub struct Mode {
    pub rounding: &'static str,
    pub ftz: bool,
    pub sat: bool,
    pub relu: bool,
}

pub fn canonical_nan(fmt: Format) -> u64 {
    if fmt.bits == 32 { 0x7fff_ffff } else { 0x7fff }
}

pub fn flush(fmt: Format, v: u64) -> u64 {
    if fmt.is_subnormal(v) { v & fmt.sign_bit() } else { v }
}

fn stand_in(v: &Value) -> f64 {
    match v {
        Value::Nan => f64::NAN,
        Value::Infinity(n) => {
            if *n {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }
        }
        Value::Number(e, n) => (if e.is_zero() { 0.0f64 } else { 1.0 }).copysign(if *n { -1.0 } else { 1.0 }),
    }
}

/// Whether `got` is right for an operation on values of a format.
pub fn is_right(fmt: Format, op: &str, mode: Mode, ins: &[u64], got: u64) -> bool {
    let values: Vec<Value> = ins.iter().map(|v| fmt.decode(if mode.ftz { flush(fmt, *v) } else { *v })).collect();
    let s: Vec<f64> = values.iter().map(stand_in).collect();
    let special = match op {
        "add" => s[0] + s[1],
        "sub" => s[0] - s[1],
        "mul" => s[0] * s[1],
        "fma" => s[0] * s[1] + s[2],
        "div" => s[0] / s[1],
        "rcp" => 1.0 / s[0],
        _ => s[0].sqrt(),
    };
    if special.is_nan() {
        return match fmt.bits {
            _ if mode.sat => got == 0,
            64 => fmt.is_nan(got),
            _ => got == canonical_nan(fmt),
        };
    }
    if special.is_infinite() {
        let negative = special < 0.0;
        return match (negative, mode.sat, mode.relu) {
            (true, true, _) | (true, _, true) => got == 0,
            (false, true, _) => {
                matches!(fmt.decode(got), Value::Number(e, false) if e.minus(&Exact::integer(1)).is_zero())
            }
            _ => got == fmt.infinity() | if negative { fmt.sign_bit() } else { 0 },
        };
    }
    let e = |k: usize| match &values[k] {
        Value::Number(e, _) => e.clone(),
        // An infinity that left a finite result was a divisor.
        _ => Exact::power(100_000),
    };
    let one = Exact::integer(1);
    let distance: Box<dyn Fn(&Exact) -> Ordering> = match op {
        "add" | "sub" | "mul" | "fma" => {
            let exact = match op {
                "add" => e(0).plus(&e(1)),
                "sub" => e(0).minus(&e(1)),
                "mul" => e(0).times(&e(1)),
                _ => e(0).times(&e(1)).plus(&e(2)),
            };
            Box::new(move |x| exact.minus(x).sign())
        }
        "div" | "rcp" => {
            let (a, b) = if op == "div" { (e(0), e(1)) } else { (one.clone(), e(0)) };
            if matches!(values[values.len() - 1], Value::Infinity(_)) {
                let negative = special.is_sign_negative();
                return got == if negative && !mode.sat { fmt.sign_bit() } else { 0 };
            }
            Box::new(move |x| {
                let d = a.minus(&x.times(&b)).sign();
                if b.is_negative() { d.reverse() } else { d }
            })
        }
        _ => {
            let a = e(0);
            Box::new(move |x| if x.is_negative() { Ordering::Greater } else { a.minus(&x.times(x)).sign() })
        }
    };
    let sign = distance(&Exact::integer(0));
    if sign == Ordering::Equal {
        let negative = match op {
            "add" | "sub" | "fma" => {
                let (x, y) = match op {
                    "add" => (s[0], s[1]),
                    "sub" => (s[0], -s[1]),
                    _ => (s[0] * s[1], s[2]),
                };
                // Zeros of the same sign keep it; cancellation gives +0, and -0 when rounding down.
                let zeros = x == 0.0 && y == 0.0;
                if zeros && x.is_sign_negative() == y.is_sign_negative() {
                    x.is_sign_negative()
                } else {
                    mode.rounding == "rm"
                }
            }
            _ => special.is_sign_negative(),
        };
        return got == if negative && !mode.sat && !mode.relu { fmt.sign_bit() } else { 0 };
    }
    if (mode.sat || mode.relu) && sign == Ordering::Less {
        return got == 0;
    }
    if mode.sat && distance(&one) != Ordering::Less {
        return matches!(fmt.decode(got), Value::Number(e, false) if e.minus(&one).is_zero());
    }
    if mode.ftz {
        let smallest = Exact::power(1 - fmt.bias);
        let below = match sign {
            Ordering::Less => distance(&smallest.clone().negate()) == Ordering::Greater,
            _ => distance(&smallest) == Ordering::Less,
        };
        if below && got & !fmt.sign_bit() == 0 {
            return (got != 0) == (sign == Ordering::Less);
        }
        if fmt.is_subnormal(got) {
            return false;
        }
    }
    fmt.is_rounded(got, mode.rounding, false, &*distance)
}

/// Edge values of a format, and random ones of all magnitudes and of like magnitudes.
pub fn values(fmt: Format, random: usize) -> Arc<Vec<[u64; 4]>> {
    let one = (fmt.bias as u64) << fmt.fraction;
    let tiny = 1 << fmt.fraction;
    let positive = [
        0,
        1,
        tiny - 1,
        tiny,
        tiny + 1,
        one - 1,
        one,
        one + 1,
        one + (tiny >> 1),
        one + 3 * (tiny >> 2),
        fmt.largest(),
        fmt.infinity(),
        fmt.infinity() | tiny >> 1,
    ];
    let edges: Vec<u64> = positive.iter().flat_map(|v| [*v, v | fmt.sign_bit()]).collect();
    let mut draw = Draw(u64::from(fmt.bits) + 3);
    cross(&edges, random, move || {
        let v = draw.next() >> (64 - fmt.bits);
        // Half of them near one, where sums cancel and products stay in range.
        if draw.next() & 1 == 0 {
            v
        } else {
            v & (fmt.sign_bit() | (tiny - 1)) | (one - 3 * tiny + (draw.next() % 7) * tiny)
        }
    })
}

fn name(parts: &[&str]) -> String {
    parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(".")
}

fn row(op: String, what: &'static str, fmt: Format, mode: Mode, inputs: &Arc<Vec<[u64; 4]>>) -> Row {
    let sources = match what {
        "fma" => 3,
        "rcp" | "sqrt" => 1,
        _ => 2,
    };
    let operands = ["", "$d, $a", "$d, $a, $b", "$d, $a, $b, $c"][sources];
    let class = class_of(fmt.bits);
    let classes = format!("{}>{class}", class.to_string().repeat(sources));
    Row::new(op, operands, &classes, inputs, move |i, g| {
        let ins: Vec<u64> = i[..sources].iter().map(|v| v & super::harness::mask(fmt.bits)).collect();
        is_right(fmt, what, mode, &ins, g[0])
    })
}

fn packed(op: String, what: &'static str, fmt: Format, mode: Mode, inputs: &Arc<Vec<[u64; 4]>>) -> Row {
    let sources = if what == "fma" { 3 } else { 2 };
    let operands = ["$d, $a, $b", "$d, $a, $b, $c"][sources - 2];
    let classes = format!("{}>r", "r".repeat(sources));
    // Upper halves from the operands behind.
    let pairs: Vec<[u64; 4]> = (0..inputs.len())
        .map(|k| {
            std::array::from_fn(|j| inputs[k][j] & 0xffff | (inputs[(k * 31 + 7) % inputs.len()][j] & 0xffff) << 16)
        })
        .collect();
    Row::new(op, operands, &classes, &Arc::new(pairs), move |i, g| {
        (0..2).all(|k| {
            let ins: Vec<u64> = i[..sources].iter().map(|v| v >> (16 * k) & 0xffff).collect();
            is_right(fmt, what, mode, &ins, g[0] >> (16 * k) & 0xffff)
        })
    })
}

/// Correctly rounded arithmetic.
pub fn rows() -> Vec<Row> {
    let mut out = Vec::new();
    let plain = Mode { rounding: "rn", ftz: false, sat: false, relu: false };
    let (single, double) = (values(F32, 300), values(F64, 200));
    for (rounding, text) in [("rn", "rn"), ("rz", "rz"), ("rm", "rm"), ("rp", "rp"), ("rn", "")] {
        for ftz in [false, true] {
            for sat in [false, true] {
                for what in ["add", "sub", "mul", "fma", "mad", "div", "rcp", "sqrt"] {
                    // A form without a rounding is that of add, sub and mul alone; those and fma saturate.
                    if text.is_empty() && !matches!(what, "add" | "sub" | "mul")
                        || sat && matches!(what, "div" | "rcp" | "sqrt")
                    {
                        continue;
                    }
                    let mode = Mode { rounding, ftz, sat, ..plain };
                    let (f, s) = (if ftz { "ftz" } else { "" }, if sat { "sat" } else { "" });
                    let base = if what == "mad" { "fma" } else { what };
                    out.push(row(name(&[what, text, f, s, "f32"]), base, F32, mode, &single));
                    if !ftz && !sat {
                        out.push(row(name(&[what, text, "f64"]), base, F64, mode, &double));
                    }
                }
            }
        }
    }
    let (half, brain) = (values(F16, 400), values(BF16, 400));
    for (ty, pair, fmt, inputs) in [("f16", "f16x2", F16, &half), ("bf16", "bf16x2", BF16, &brain)] {
        let is_half = ty == "f16";
        for what in ["add", "sub", "mul", "fma"] {
            for text in ["rn", ""] {
                for (ftz, sat, relu) in [
                    (false, false, false),
                    (true, false, false),
                    (false, true, false),
                    (true, true, false),
                    (false, false, true),
                    (true, false, true),
                ] {
                    if (ftz || sat) && !is_half || relu && what != "fma" || text.is_empty() && what == "fma" {
                        continue;
                    }
                    let mode = Mode { ftz, sat, relu, ..plain };
                    let flag = |on: bool, name: &'static str| if on { name } else { "" };
                    let flags = [flag(ftz, "ftz"), flag(sat, "sat"), flag(relu, "relu")];
                    out.push(row(name(&[what, text, flags[0], flags[1], flags[2], ty]), what, fmt, mode, inputs));
                    out.push(packed(name(&[what, text, flags[0], flags[1], flags[2], pair]), what, fmt, mode, inputs));
                }
            }
        }
    }
    out.extend(simple_rows(&single, &double, &half, &brain));
    out
}

/// Minimum or maximum as the ISA defines it: -0 below +0, NaNs give way unless `.NaN`.
fn extreme(fmt: Format, ins: &[u64], max: bool, nan: bool, xorsign: bool, ftz: bool) -> Option<u64> {
    let ins: Vec<u64> = ins.iter().map(|v| if ftz { flush(fmt, *v) } else { *v }).collect();
    let sign = ins.iter().fold(0, |s, v| s ^ v & fmt.sign_bit());
    let ins: Vec<u64> = ins.iter().map(|v| if xorsign { v & !fmt.sign_bit() } else { *v }).collect();
    // Bits as numbers in order.
    let key = |v: u64| if v & fmt.sign_bit() != 0 { -((v & !fmt.sign_bit()) as i128) - 1 } else { i128::from(v) };
    let numbers: Vec<u64> = ins.iter().copied().filter(|v| !fmt.is_nan(*v)).collect();
    if numbers.is_empty() || nan && numbers.len() < ins.len() {
        return None;
    }
    let best =
        if max { numbers.into_iter().max_by_key(|v| key(*v)) } else { numbers.into_iter().min_by_key(|v| key(*v)) };
    best.map(|v| if xorsign { v & !fmt.sign_bit() | sign } else { v })
}

fn simple_rows(
    single: &Arc<Vec<[u64; 4]>>,
    double: &Arc<Vec<[u64; 4]>>,
    half: &Arc<Vec<[u64; 4]>>,
    brain: &Arc<Vec<[u64; 4]>>,
) -> Vec<Row> {
    let mut out = Vec::new();
    for (ty, fmt, parts, inputs) in [
        ("f32", F32, 1, single),
        ("f64", F64, 1, double),
        ("f16", F16, 1, half),
        ("bf16", BF16, 1, brain),
        ("f16x2", F16, 2, half),
        ("bf16x2", BF16, 2, brain),
    ] {
        let width = fmt.bits * parts;
        let class = class_of(width);
        let inputs = if parts == 1 {
            inputs.clone()
        } else {
            let n = inputs.len();
            let two = |k: usize, j: usize| inputs[k][j] & 0xffff | (inputs[(k * 31 + 7) % n][j] & 0xffff) << 16;
            Arc::new((0..n).map(|k| std::array::from_fn(|j| two(k, j))).collect())
        };
        let part = move |v: u64, k: u32| v >> (fmt.bits * k) & super::harness::mask(fmt.bits);
        let flushes: &[bool] = if matches!(ty, "f32" | "f16" | "f16x2") { &[false, true] } else { &[false] };
        for ftz in flushes {
            let ftz = *ftz;
            let f = if ftz { "ftz" } else { "" };
            for abs in [false, true] {
                let op = name(&[if abs { "abs" } else { "neg" }, f, ty]);
                out.push(Row::new(op, "$d, $a", &format!("{class}>{class}"), &inputs, move |i, g| {
                    (0..parts).all(|k| {
                        let v = part(i[0], k);
                        let v = if ftz { flush(fmt, v) } else { v };
                        let want = if abs { v & !fmt.sign_bit() } else { v ^ fmt.sign_bit() };
                        part(g[0], k) == want || fmt.is_nan(v) && fmt.is_nan(part(g[0], k))
                    })
                }));
            }
            for max in [false, true] {
                for nan in [false, true] {
                    for xorsign in [false, true] {
                        // Doubles have the plain form alone.
                        if ty == "f64" && (nan || xorsign) {
                            continue;
                        }
                        let x = if xorsign { "xorsign.abs" } else { "" };
                        let op = name(&[if max { "max" } else { "min" }, f, if nan { "NaN" } else { "" }, x, ty]);
                        let classes = format!("{class}{class}>{class}");
                        out.push(Row::new(op, "$d, $a, $b", &classes, &inputs, move |i, g| {
                            (0..parts).all(|k| {
                                let ins = [part(i[0], k), part(i[1], k)];
                                match extreme(fmt, &ins, max, nan, xorsign, ftz) {
                                    Some(want) => part(g[0], k) == want,
                                    None if fmt.bits == 64 => fmt.is_nan(part(g[0], k)),
                                    None => part(g[0], k) == canonical_nan(fmt),
                                }
                            })
                        }));
                    }
                }
            }
        }
        if parts == 1 && matches!(ty, "f32" | "f64") {
            let classes = format!("{class}{class}>{class}");
            out.push(Row::new(name(&["copysign", ty]), "$d, $a, $b", &classes, &inputs, move |i, g| {
                g[0] == (i[1] & !fmt.sign_bit() | i[0] & fmt.sign_bit()) & super::harness::mask(fmt.bits)
            }));
            for what in ["finite", "infinite", "number", "notanumber", "normal", "subnormal"] {
                let op = name(&["testp", what, ty]);
                out.push(Row::new(op, "$d, $a", &format!("{class}>p"), &inputs, move |i, g| {
                    let v = i[0] & super::harness::mask(fmt.bits);
                    let m = v & !fmt.sign_bit();
                    let want = match what {
                        "finite" => m < fmt.infinity(),
                        "infinite" => m == fmt.infinity(),
                        "number" => m <= fmt.infinity(),
                        "notanumber" => m > fmt.infinity(),
                        "normal" => m < fmt.infinity() && m >= 1 << fmt.fraction,
                        _ => m != 0 && m < 1 << fmt.fraction,
                    };
                    g[0] == u64::from(want)
                }));
            }
        }
    }
    out
}

/// Functions with an error bound: the ISA's own, in units relative to the value or absolute.
pub fn approximate() -> Vec<Row> {
    let mut out = Vec::new();
    let inputs = values(F32, 2_000);
    let narrow: Arc<Vec<[u64; 4]>> = {
        let mut draw = Draw(5);
        Arc::new(
            (0..3_000)
                .map(|_| [u64::from(((draw.next() % 4_000_000) as f32 / 320_000.0 - 6.25).to_bits()), 0, 0, 0])
                .collect(),
        )
    };
    type F = fn(f64, f64) -> f64;
    let table: &[(&'static str, F, f64, f64)] = &[
        ("rcp.approx", |a, _| 1.0 / a, -23.0, -149.0),
        ("sqrt.approx", |a, _| a.sqrt(), -23.0, -149.0),
        ("rsqrt.approx", |a, _| 1.0 / a.sqrt(), -22.9, -149.0),
        ("lg2.approx", |a, _| a.log2(), -22.0, -22.0),
        ("ex2.approx", |a, _| a.exp2(), -22.0, -149.0),
        ("tanh.approx", |a, _| a.tanh(), -11.0, -149.0),
        ("div.approx", |a, b| a / b, -22.0, -149.0),
        ("div.full", |a, b| a / b, -22.0, -149.0),
        ("sin.approx", |a, _| a.sin(), -60.0, -20.5),
        ("cos.approx", |a, _| a.cos(), -60.0, -20.5),
    ];
    for (base, f, relative, absolute) in table {
        for ftz in [false, true] {
            let two = base.starts_with("div");
            let trigonometric = matches!(&base[..3], "sin" | "cos");
            if base.starts_with("tanh") && ftz {
                continue;
            }
            let op = name(&[base, if ftz { "ftz" } else { "" }, "f32"]);
            let (operands, classes) = if two { ("$d, $a, $b", "rr>r") } else { ("$d, $a", "r>r") };
            out.push(Row::new(op, operands, classes, if trigonometric { &narrow } else { &inputs }, move |i, g| {
                let value = |v: u64| {
                    let v = v & 0xffff_ffff;
                    f64::from(f32::from_bits(if ftz { flush(F32, v) } else { v } as u32))
                };
                let got = f64::from(f32::from_bits(g[0] as u32));
                let exact = f(value(i[0]), value(i[1]));
                // Divisors of huge magnitude give 0 in the approximate form.
                if *base == "div.approx" && value(i[1]).abs() > f64::powi(2.0, 126) {
                    return true;
                }
                let tiny = exact.abs() < f64::from(f32::MIN_POSITIVE) * 1.01;
                if exact.is_nan() {
                    return g[0] == 0x7fff_ffff;
                }
                if ftz && tiny {
                    return got == 0.0 || got.abs() >= f64::from(f32::MIN_POSITIVE) && tiny;
                }
                if exact.abs() > f64::from(f32::MAX) {
                    return got == if exact > 0.0 { f64::INFINITY } else { f64::NEG_INFINITY };
                }
                let bound = exact.abs() * relative.exp2() + absolute.exp2();
                (got - exact).abs() <= bound
            }));
        }
    }
    let doubles = values(F64, 500);
    for (op, f, exponent) in [
        ("rcp.approx.ftz.f64", (|a| 1.0 / a) as fn(f64) -> f64, -20.0f64),
        ("rsqrt.approx.ftz.f64", |a| 1.0 / a.sqrt(), -20.0),
        ("rsqrt.approx.f64", |a| 1.0 / a.sqrt(), -50.0),
    ] {
        let ftz = op.contains("ftz");
        out.push(Row::new(op, "$d, $a", "d>d", &doubles, move |i, g| {
            let a = f64::from_bits(if ftz { flush(F64, i[0]) } else { i[0] });
            let (got, exact) = (f64::from_bits(g[0]), f(a));
            if exact.is_nan() || exact.is_infinite() {
                return got.is_nan() == exact.is_nan() && (exact.is_nan() || got == exact);
            }
            if ftz && exact.abs() < f64::MIN_POSITIVE * 1.01 {
                return got == 0.0;
            }
            (got - exact).abs() <= exact.abs() * exponent.exp2()
        }));
    }
    // Every 16-bit operand.
    let all: Arc<Vec<[u64; 4]>> = Arc::new((0..65_536).map(|v| [v, 0, 0, 0]).collect());
    let pairs: Arc<Vec<[u64; 4]>> = Arc::new((0..65_536).map(|v| [v | (65_535 - v) << 16, 0, 0, 0]).collect());
    for (op, fmt, ftz, relative) in [
        ("tanh.approx.f16", F16, false, -10.987f64),
        ("tanh.approx.bf16", BF16, false, -8.0),
        ("ex2.approx.f16", F16, false, -9.9),
        ("ex2.approx.ftz.bf16", BF16, true, -7.0),
        ("tanh.approx.f16x2", F16, false, -10.987),
        ("tanh.approx.bf16x2", BF16, false, -8.0),
        ("ex2.approx.f16x2", F16, false, -9.9),
        ("ex2.approx.ftz.bf16x2", BF16, true, -7.0),
    ] {
        let tanh = op.starts_with("tanh");
        let two = op.ends_with("x2");
        let (classes, inputs) = if two { ("r>r", &pairs) } else { ("h>h", &all) };
        out.push(Row::new(op, "$d, $a", classes, inputs, move |i, g| {
            (0..if two { 2 } else { 1 }).all(|k| {
                let (v, got) = (i[0] >> (16 * k) & 0xffff, g[0] >> (16 * k) & 0xffff);
                let v = if ftz { flush(fmt, v) } else { v };
                let x = match fmt.decode(v) {
                    Value::Nan => return got == 0x7fff,
                    Value::Infinity(n) => {
                        if n {
                            f64::NEG_INFINITY
                        } else {
                            f64::INFINITY
                        }
                    }
                    Value::Number(e, _) => e.to_f64(),
                };
                let exact = if tanh { x.tanh() } else { x.exp2() };
                let Value::Number(largest, _) = fmt.decode(fmt.largest()) else { return false };
                match fmt.decode(got) {
                    Value::Nan => false,
                    Value::Infinity(n) => exact > largest.to_f64() && !n,
                    Value::Number(e, _) => {
                        let step = f64::powi(2.0, 1 - fmt.bias - fmt.fraction as i32);
                        let low = f64::powi(2.0, 1 - fmt.bias);
                        if ftz && exact < low {
                            return e.to_f64() == 0.0 || e.to_f64() == low;
                        }
                        (e.to_f64() - exact).abs() <= exact.abs() * relative.exp2() + step
                    }
                }
            })
        }));
    }
    out
}

#[test]
fn rounded_arithmetic() {
    super::harness::check(rows());
}

#[test]
fn approximate_functions() {
    super::harness::check(approximate());
}
