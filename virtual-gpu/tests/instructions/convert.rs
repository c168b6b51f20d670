//! Conversions between all types, in every rounding, saturated and flushed; every value of 16- and 8-bit sources.

use super::exact::{BF16, E4M3, E5M2, Exact, F16, F32, F64, Format, Value};
use super::float::{canonical_nan, flush};
use super::harness::{Row, class_of, cut, mask, number};
use std::sync::Arc;

#[derive(Clone, Copy, PartialEq)]
enum Type {
    Int(u32, bool),
    Float(&'static str, Format),
}

impl Type {
    fn name(self) -> String {
        match self {
            Type::Int(bits, signed) => format!("{}{bits}", if signed { "s" } else { "u" }),
            Type::Float(name, _) => name.to_string(),
        }
    }

    fn bits(self) -> u32 {
        match self {
            Type::Int(bits, _) => bits,
            Type::Float(_, f) => f.bits,
        }
    }

    /// The class of a register that holds it; bytes live in 16 bits here.
    fn class(self) -> char {
        class_of(self.bits().max(16))
    }
}

const FLOATS: [Type; 4] =
    [Type::Float("f16", F16), Type::Float("bf16", BF16), Type::Float("f32", F32), Type::Float("f64", F64)];

/// A form with a modifier takes every 13th value of a 16-bit type: the plain one takes all.
fn some(ty: Type, modified: bool) -> Arc<Vec<[u64; 4]>> {
    let all = sources(ty);
    if modified && ty.bits() == 16 { Arc::new(all.iter().step_by(13).copied().collect()) } else { all }
}

fn sources(ty: Type) -> Arc<Vec<[u64; 4]>> {
    match ty {
        _ if ty.bits() <= 16 => Arc::new((0..1u64 << ty.bits()).map(|v| [v, 0, 0, 0]).collect()),
        Type::Int(bits, _) => super::integer::values(bits),
        Type::Float(_, f) => {
            // Integers, halves and the ends of integer types too.
            let mut v = (*super::float::values(f, 400)).clone();
            for k in 0..400i64 {
                let x = match k % 4 {
                    0 => (k - 200) as f64 / 4.0,
                    1 => 2f64.powi((k % 70) as i32) - 0.5,
                    2 => -(2f64.powi((k % 70) as i32)) - 0.5,
                    _ => 2f64.powi((k % 70) as i32) + (k - 200) as f64,
                };
                v.push([if f.bits == 32 { u64::from((x as f32).to_bits()) } else { x.to_bits() }, 0, 0, 0]);
            }
            Arc::new(v)
        }
    }
}

/// The integer that a number rounds to.
fn to_integer(v: &Exact, mode: &str) -> Option<i128> {
    // Magnitudes beyond every type stay so.
    let approximate = v.to_f64();
    if approximate.abs() > 1e30 {
        return Some(if approximate > 0.0 { 1 << 100 } else { -(1 << 100) });
    }
    let mut low = approximate.floor() as i128;
    while v.minus(&Exact::integer(low)).is_negative() {
        low -= 1;
    }
    while !v.minus(&Exact::integer(low + 1)).is_negative() {
        low += 1;
    }
    let rest = v.minus(&Exact::integer(low));
    let half = rest.minus(&Exact::power(-1)).sign();
    use std::cmp::Ordering::{Equal, Greater};
    Some(match mode {
        _ if rest.is_zero() => low,
        "rmi" => low,
        "rpi" => low + 1,
        "rzi" => {
            if low < 0 {
                low + 1
            } else {
                low
            }
        }
        _ if half == Greater || half == Equal && low % 2 != 0 => low + 1,
        _ => low,
    })
}

/// A result of a float type: rounding, saturation, NaN and flushing as the ISA has them.
#[derive(Clone, Copy)]
struct Rules {
    mode: &'static str,
    ftz: bool,
    sat: bool,
    relu: bool,
    finite: bool,
}

fn float_result(v: &Value, to: Format, r: Rules, got: u64) -> bool {
    let (number, negative) = match v {
        Value::Nan if r.sat => return got == 0,
        // Formats without infinities: E4M3 has one NaN, and both 8-bit ones give it as 0x7f.
        Value::Nan if to.bits == 8 => return got == 0x7f,
        Value::Nan => return if to.bits == 64 { to.is_nan(got) } else { got == canonical_nan(to) },
        Value::Infinity(true) if r.sat || r.relu => return got == 0,
        Value::Infinity(false) if r.sat => return to.decode_is_one(got),
        Value::Infinity(n) => {
            let sign = if *n { to.sign_bit() } else { 0 };
            return got == sign | if r.finite || !to.infinities { to.largest() } else { to.infinity() };
        }
        Value::Number(e, n) => (e, *n),
    };
    if (r.sat || r.relu) && (negative || number.is_zero()) {
        return got == 0;
    }
    if number.is_zero() {
        return got == if negative { to.sign_bit() } else { 0 };
    }
    if r.sat && !number.minus(&Exact::integer(1)).is_negative() {
        return to.decode_is_one(got);
    }
    // Flushed results: f32 alone has them here.
    let small = number.clone().abs().minus(&Exact::power(1 - to.bias)).is_negative();
    if r.ftz && to.bits == 32 && small && to.bias == 127 && to.fraction == 23 {
        return got == if negative { to.sign_bit() } else { 0 } || got & !to.sign_bit() == 1 << to.fraction;
    }
    to.is_rounded(got, r.mode, r.finite || !to.infinities, &|x| number.minus(x).sign())
}

impl Format {
    fn decode_is_one(&self, got: u64) -> bool {
        matches!(self.decode(got), Value::Number(e, false) if e.minus(&Exact::integer(1)).is_zero())
    }
}

fn decode(f: Format, v: u64, ftz: bool) -> Value {
    f.decode(if ftz && f.bits == 32 { flush(f, v & mask(32)) } else { v & mask(f.bits) })
}

fn text(parts: &[&str]) -> String {
    parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(".")
}

pub fn rows() -> Vec<Row> {
    let ints: Vec<Type> = [8, 16, 32, 64].into_iter().flat_map(|b| [Type::Int(b, false), Type::Int(b, true)]).collect();
    let mut out = Vec::new();
    let classes = |from: Type, to: Type| format!("{}>{}", from.class(), to.class());
    for from in &ints {
        for to in &ints {
            for sat in [false, true] {
                let (Type::Int(fb, fs), Type::Int(tb, ts)) = (*from, *to) else { continue };
                let op = text(&["cvt", if sat { "sat" } else { "" }, &to.name(), &from.name()]);
                out.push(Row::new(op, "$d, $a", &classes(*from, *to), &some(*from, sat), move |i, g| {
                    let v = number(i[0], fb, fs);
                    let (low, high) =
                        if ts { (-(1i128 << (tb - 1)), (1i128 << (tb - 1)) - 1) } else { (0, (1i128 << tb) - 1) };
                    let v = if sat { v.clamp(low, high) } else { v };
                    // A byte is extended to its register by its sign.
                    let v = number(cut(v, tb), tb, ts);
                    g[0] == cut(v, tb.max(16))
                }));
            }
        }
        for to in FLOATS {
            for mode in ["rn", "rz", "rm", "rp"] {
                for (sat, ftz) in [(false, false), (true, false), (false, true), (true, true)] {
                    let (Type::Int(fb, fs), Type::Float(_, f)) = (*from, to) else { continue };
                    if ftz && f != F32 {
                        continue;
                    }
                    // Saturation goes with f16, f32 and f64.
                    if sat && f == BF16 {
                        continue;
                    }
                    let flags = [if ftz { "ftz" } else { "" }, if sat { "sat" } else { "" }];
                    let op = text(&["cvt", mode, flags[0], flags[1], &to.name(), &from.name()]);
                    out.push(Row::new(
                        op,
                        "$d, $a",
                        &classes(*from, to),
                        &some(*from, sat || mode != "rn"),
                        move |i, g| {
                            let n = number(i[0], fb, fs);
                            let rules = Rules { mode, ftz, sat, relu: false, finite: false };
                            float_result(&Value::Number(Exact::integer(n), n < 0), f, rules, g[0])
                        },
                    ));
                }
            }
        }
    }
    for from in FLOATS {
        let Type::Float(_, ff) = from else { continue };
        for to in &ints {
            for mode in ["rni", "rzi", "rmi", "rpi"] {
                for ftz in [false, true] {
                    for sat in [false, true] {
                        let Type::Int(tb, ts) = *to else { continue };
                        if ftz && ff != F32 {
                            continue;
                        }
                        let flags = [if ftz { "ftz" } else { "" }, if sat { "sat" } else { "" }];
                        let op = text(&["cvt", mode, flags[0], flags[1], &to.name(), &from.name()]);
                        out.push(Row::new(
                            op,
                            "$d, $a",
                            &classes(from, *to),
                            &some(from, sat || tb == 8),
                            move |i, g| {
                                let (low, high) = if ts {
                                    (-(1i128 << (tb - 1)), (1i128 << (tb - 1)) - 1)
                                } else {
                                    (0, (1i128 << tb) - 1)
                                };
                                let v = match decode(ff, i[0], ftz) {
                                    Value::Nan if ff != F64 && tb < 64 => 0,
                                    Value::Nan => return g[0] == cut(number(1 << (tb - 1), tb, ts), tb.max(16)),
                                    Value::Infinity(n) => {
                                        if n {
                                            low
                                        } else {
                                            high
                                        }
                                    }
                                    Value::Number(e, _) => to_integer(&e, mode).unwrap_or(0).clamp(low, high),
                                };
                                g[0] == cut(v, tb.max(16))
                            },
                        ));
                    }
                }
            }
        }
        for to in FLOATS {
            let Type::Float(_, tf) = to else { continue };
            let same = tf == ff;
            let narrowing = tf.bits < ff.bits || tf.bits == ff.bits && !same;
            let modes: &[&str] = match (same, narrowing) {
                (true, _) => &["", "rni", "rzi", "rmi", "rpi"],
                // Between the halves the rounding may be left out; it is to nearest then.
                (_, true) if tf.bits == ff.bits => &["", "rn", "rz", "rm", "rp"],
                (_, true) => &["rn", "rz", "rm", "rp"],
                _ => &[""],
            };
            for mode in modes {
                for ftz in [false, true] {
                    for sat in [false, true] {
                        let mode: &'static str = mode;
                        // Flushing goes with f32 on one side, saturation not with bf16.
                        if ftz && ff != F32 && tf != F32
                            || ftz && (ff == BF16 || tf == BF16)
                            || sat && (tf == BF16 || ff == BF16)
                        {
                            continue;
                        }
                        let flags = [if ftz { "ftz" } else { "" }, if sat { "sat" } else { "" }];
                        let op = text(&["cvt", mode, flags[0], flags[1], &to.name(), &from.name()]);
                        out.push(Row::new(op, "$d, $a", &classes(from, to), &some(from, sat || ftz), move |i, g| {
                            let mut v = decode(ff, i[0], ftz);
                            let integral = mode.ends_with('i');
                            if integral && let Value::Number(e, n) = &v {
                                let rounded = to_integer(e, mode).unwrap_or(0);
                                // What is too large for that is an integer already.
                                if e.to_f64().abs() < 1e30 {
                                    v = Value::Number(Exact::integer(rounded), *n);
                                }
                            }
                            let rounding = if integral || mode.is_empty() { "rn" } else { mode };
                            float_result(&v, tf, Rules { mode: rounding, ftz, sat, relu: false, finite: false }, g[0])
                        }));
                    }
                }
            }
        }
    }
    out.extend(special());
    out
}

/// Relu, satfinite, tf32, pairs and 8-bit floats.
fn special() -> Vec<Row> {
    let mut out = Vec::new();
    let singles = sources(Type::Float("f32", F32));
    let n = singles.len();
    let two: Arc<Vec<[u64; 4]>> =
        Arc::new((0..n).map(|k| [singles[k][0], singles[(k * 31 + 7) % n][0], 0, 0]).collect());
    for mode in ["rn", "rz"] {
        for relu in [false, true] {
            for finite in [false, true] {
                let flags = [if relu { "relu" } else { "" }, if finite { "satfinite" } else { "" }];
                let rules = Rules { mode, ftz: false, sat: false, relu, finite };
                for (ty, f) in [("f16", F16), ("bf16", BF16)] {
                    if relu || finite {
                        let op = text(&["cvt", mode, flags[0], flags[1], ty, "f32"]);
                        out.push(Row::new(op, "$d, $a", "r>h", &singles, move |i, g| {
                            float_result(&decode(F32, i[0], false), f, rules, g[0])
                        }));
                    }
                    let op = text(&["cvt", mode, flags[0], flags[1], &format!("{ty}x2"), "f32"]);
                    out.push(Row::new(op, "$d, $a, $b", "rr>r", &two, move |i, g| {
                        float_result(&decode(F32, i[0], false), f, rules, g[0] >> 16)
                            && float_result(&decode(F32, i[1], false), f, rules, g[0] & 0xffff)
                    }));
                }
            }
        }
    }
    // TF32 has the exponent of f32 and 10 bits of fraction; the low bits are zero.
    let tf32 = Format { bits: 19, fraction: 10, bias: 127, infinities: true };
    for (mode, relu, finite) in [
        ("rna", false, false),
        ("rna", false, true),
        ("rn", false, false),
        ("rn", true, false),
        ("rn", false, true),
        ("rn", true, true),
        ("rz", false, false),
        ("rz", true, false),
        ("rz", false, true),
        ("rz", true, true),
    ] {
        let op =
            text(&["cvt", mode, if relu { "relu" } else { "" }, if finite { "satfinite" } else { "" }, "tf32", "f32"]);
        out.push(Row::new(op, "$d, $a", "r>r", &singles, move |i, g| {
            let v = decode(F32, i[0], false);
            if matches!(v, Value::Nan) {
                return g[0] == 0x7fff_ffff;
            }
            g[0] & 0x1fff == 0
                && float_result(&v, tf32, Rules { mode, ftz: false, sat: false, relu, finite }, g[0] >> 13)
        }));
    }
    let all: Arc<Vec<[u64; 4]>> = Arc::new((0..65_536).map(|v| [v, 0, 0, 0]).collect());
    let halves: Arc<Vec<[u64; 4]>> = Arc::new((0..65_536).map(|v| [v | (65_535 - v) << 16, 0, 0, 0]).collect());
    for (ty, f) in [("e4m3x2", E4M3), ("e5m2x2", E5M2)] {
        for relu in [false, true] {
            let relu_text = if relu { "relu" } else { "" };
            let rules = Rules { mode: "rn", ftz: false, sat: false, relu, finite: true };
            let op = text(&["cvt", "rn", "satfinite", relu_text, ty, "f32"]);
            out.push(Row::new(op, "$d, $a, $b", "rr>h", &two, move |i, g| {
                float_result(&decode(F32, i[0], false), f, rules, g[0] >> 8)
                    && float_result(&decode(F32, i[1], false), f, rules, g[0] & 0xff)
            }));
            let op = text(&["cvt", "rn", "satfinite", relu_text, ty, "f16x2"]);
            out.push(Row::new(op, "$d, $a", "r>h", &halves, move |i, g| {
                float_result(&decode(F16, i[0] >> 16, false), f, rules, g[0] >> 8)
                    && float_result(&decode(F16, i[0], false), f, rules, g[0] & 0xff)
            }));
            let op = text(&["cvt", "rn", relu_text, "f16x2", ty]);
            let rules = Rules { mode: "rn", ftz: false, sat: false, relu, finite: false };
            out.push(Row::new(op, "$d, $a", "h>r", &all, move |i, g| {
                float_result(&decode(f, i[0] >> 8, false), F16, rules, g[0] >> 16)
                    && float_result(&decode(f, i[0], false), F16, rules, g[0] & 0xffff)
            }));
        }
    }
    let words = super::integer::values(32);
    for (ty, bits, signed) in [("u16", 16, false), ("s16", 16, true)] {
        let op = format!("cvt.pack.sat.{ty}.s32");
        out.push(Row::new(op, "$d, $a, $b", "rr>r", &words, move |i, g| {
            let (low, high) = if signed { (-0x8000, 0x7fff) } else { (0, 0xffff) };
            let one = |v: u64| cut(number(v, 32, true).clamp(low, high), bits);
            g[0] == one(i[0]) << 16 | one(i[1])
        }));
    }
    for (ty, bits, signed) in [("u8", 8u32, false), ("s8", 8, true), ("u4", 4, false), ("s4", 4, true)] {
        let op = format!("cvt.pack.sat.{ty}.s32.b32");
        out.push(Row::new(op, "$d, $a, $b, $c", "rrr>r", &words, move |i, g| {
            let (low, high) =
                if signed { (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1) } else { (0, (1i128 << bits) - 1) };
            let one = |v: u64| number(v, 32, true).clamp(low, high) as u64 & mask(bits);
            g[0] == (i[2] << (2 * bits) | one(i[0]) << bits | one(i[1])) & mask(32)
        }));
    }
    out
}

#[test]
fn conversions() {
    super::harness::check(rows());
}
