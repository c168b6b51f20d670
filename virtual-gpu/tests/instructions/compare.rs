//! Comparisons, with a second predicate, combined with a third, and as numbers; `slct`.

use super::exact::{BF16, F16, F32, F64, Format};
use super::float::{flush, values};
use super::harness::{Row, class_of, mask, number};
use std::cmp::Ordering;

/// How a comparison of a type is done: the order of two values, `None` with a NaN.
type Order = Box<dyn Fn(u64, u64) -> Option<Ordering>>;

fn float_order(f: Format, ftz: bool) -> Order {
    Box::new(move |a, b| {
        let (a, b) = if ftz {
            (flush(f, a & mask(f.bits)), flush(f, b & mask(f.bits)))
        } else {
            (a & mask(f.bits), b & mask(f.bits))
        };
        if f.is_nan(a) || f.is_nan(b) {
            return None;
        }
        // Sign and magnitude as one number; both zeros are 0.
        let key = |v: u64| {
            let m = (v & !f.sign_bit()) as i128;
            if v & f.sign_bit() != 0 { -m } else { m }
        };
        Some(key(a).cmp(&key(b)))
    })
}

fn holds(name: &str, order: Option<Ordering>) -> bool {
    use Ordering::*;
    match (name, order) {
        ("num", o) => o.is_some(),
        ("nan", o) => o.is_none(),
        (_, None) => name.ends_with('u') && name.len() == 3,
        ("eq" | "equ", Some(o)) => o == Equal,
        ("ne" | "neu", Some(o)) => o != Equal,
        ("lt" | "ltu" | "lo", Some(o)) => o == Less,
        ("le" | "leu" | "ls", Some(o)) => o != Greater,
        ("gt" | "gtu" | "hi", Some(o)) => o == Greater,
        (_, Some(o)) => o != Less,
    }
}

fn with(kind: &str, p: bool, q: bool) -> bool {
    match kind {
        "and" => p && q,
        "or" => p || q,
        _ => p != q,
    }
}

/// Types that `set` gives, with what is true in them.
const RESULTS: [(&str, char, u64); 7] = [
    ("u32", 'r', 0xffff_ffff),
    ("s32", 'r', 0xffff_ffff),
    ("f32", 'r', 0x3f80_0000),
    ("f16", 'h', 0x3c00),
    ("bf16", 'h', 0x3f80),
    ("u16", 'h', 0xffff),
    ("s16", 'h', 0xffff),
];

const INTEGER: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];
const FLOAT: [&str; 14] = ["eq", "ne", "lt", "le", "gt", "ge", "equ", "neu", "ltu", "leu", "gtu", "geu", "num", "nan"];

pub fn rows() -> Vec<Row> {
    let mut out = Vec::new();
    let mut types: Vec<(String, u32, Vec<&str>, bool)> = Vec::new();
    for bits in [16, 32, 64] {
        types.push((format!("b{bits}"), bits, vec!["eq", "ne"], false));
        types.push((format!("s{bits}"), bits, INTEGER.to_vec(), false));
        types.push((format!("u{bits}"), bits, [&INTEGER[..], &["lo", "ls", "hi", "hs"]].concat(), false));
    }
    for (ty, bits) in [("f16", 16), ("bf16", 16), ("f32", 32), ("f64", 64)] {
        types.push((ty.into(), bits, FLOAT.to_vec(), false));
        if matches!(ty, "f16" | "f32") {
            types.push((ty.into(), bits, FLOAT.to_vec(), true));
        }
    }
    for (ty, bits, names, ftz) in types {
        let format = match ty.as_str() {
            "f16" => Some(F16),
            "bf16" => Some(BF16),
            "f32" => Some(F32),
            "f64" => Some(F64),
            _ => None,
        };
        let inputs = match format {
            Some(f) => values(f, 100),
            None => super::integer::values(bits),
        };
        let few = std::sync::Arc::new(inputs.iter().step_by(5).copied().collect::<Vec<_>>());
        let order = || -> Order {
            let signed = ty.starts_with('s');
            match format {
                Some(f) => float_order(f, ftz),
                None => Box::new(move |a, b| Some(number(a, bits, signed).cmp(&number(b, bits, signed)))),
            }
        };
        let c = class_of(bits);
        let f = if ftz { ".ftz" } else { "" };
        for name in names {
            let o = order();
            out.push(Row::new(
                format!("setp.{name}{f}.{ty}"),
                "$d, $a, $b",
                &format!("{c}{c}>p"),
                &inputs,
                move |i, g| g[0] == u64::from(holds(name, o(i[0], i[1]))),
            ));
            for kind in ["and", "or", "xor"] {
                let o = order();
                let op = format!("setp.{name}.{kind}{f}.{ty}");
                out.push(Row::new(op, "$d|$e, $a, $b, $c", &format!("{c}{c}p>pp"), &inputs, move |i, g| {
                    let (p, q) = (holds(name, o(i[0], i[1])), i[2] & mask(32) != 0);
                    g == [u64::from(with(kind, p, q)), u64::from(with(kind, !p, q))]
                }));
            }
            for (dty, dc, one) in RESULTS {
                let halves = ty.contains("f16");
                if matches!(dty, "u16" | "s16") && !halves || dty == "f32" && halves {
                    continue;
                }
                let o = order();
                let op = format!("set.{name}{f}.{dty}.{ty}");
                out.push(Row::new(op, "$d, $a, $b", &format!("{c}{c}>{dc}"), &inputs, move |i, g| {
                    g[0] == if holds(name, o(i[0], i[1])) { one } else { 0 }
                }));
                for kind in ["and", "or", "xor"] {
                    let o = order();
                    let op = format!("set.{name}.{kind}{f}.{dty}.{ty}");
                    out.push(Row::new(op, "$d, $a, $b, $c", &format!("{c}{c}p>{dc}"), &few, move |i, g| {
                        let p = with(kind, holds(name, o(i[0], i[1])), i[2] & mask(32) != 0);
                        g[0] == if p { one } else { 0 }
                    }));
                }
            }
        }
    }
    out.extend(pairs());
    for ty in ["b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"] {
        let bits: u32 = ty[1..].parse().expect("a width");
        let c = class_of(bits);
        let inputs = super::integer::values(32);
        let classes = format!("{c}{c}r>{c}");
        out.push(Row::new(format!("slct.{ty}.s32"), "$d, $a, $b, $c", &classes, &inputs, move |i, g| {
            g[0] == if number(i[2], 32, true) >= 0 { i[0] } else { i[1] } & mask(bits)
        }));
        for ftz in [false, true] {
            let op = format!("slct{}.{ty}.f32", if ftz { ".ftz" } else { "" });
            let floats = values(F32, 200);
            out.push(Row::new(op, "$d, $a, $b, $c", &classes, &floats, move |i, g| {
                let c = f32::from_bits(if ftz { flush(F32, i[2] & mask(32)) } else { i[2] } as u32);
                g[0] == if c >= 0.0 { i[0] } else { i[1] } & mask(bits)
            }));
        }
    }
    out
}

/// Two halves at once.
fn pairs() -> Vec<Row> {
    let mut out = Vec::new();
    for (ty, f) in [("f16x2", F16), ("bf16x2", BF16)] {
        let single = values(f, 200);
        let n = single.len();
        let half = |k: usize, j: usize| single[k][j] & 0xffff | (single[(k * 31 + 7) % n][j] & 0xffff) << 16;
        let inputs = std::sync::Arc::new((0..n).map(|k| std::array::from_fn(|j| half(k, j))).collect::<Vec<_>>());
        for ftz in [false, true] {
            if ftz && f == BF16 {
                continue;
            }
            let text = if ftz { ".ftz" } else { "" };
            for name in FLOAT {
                let o = float_order(f, ftz);
                out.push(Row::new(
                    format!("setp.{name}{text}.{ty}"),
                    "$d|$e, $a, $b",
                    "rr>pp",
                    &inputs,
                    move |i, g| (0..2).all(|k| g[k] == u64::from(holds(name, o(i[0] >> (16 * k), i[1] >> (16 * k))))),
                ));
                for kind in ["and", "or", "xor"] {
                    let o = float_order(f, ftz);
                    let op = format!("setp.{name}.{kind}{text}.{ty}");
                    out.push(Row::new(op, "$d|$e, $a, $b, $c", "rrp>pp", &inputs, move |i, g| {
                        let q = i[2] & mask(32) != 0;
                        (0..2).all(|k| {
                            let p = holds(name, o(i[0] >> (16 * k), i[1] >> (16 * k)));
                            g[k] == u64::from(with(kind, p, q))
                        })
                    }));
                }
                let one = if f == F16 { 0x3c00 } else { 0x3f80 };
                for (dty, one) in [(ty, one), ("u32", 0xffff), ("s32", 0xffff)] {
                    for kind in ["and", "or", "xor"] {
                        let o = float_order(f, ftz);
                        let op = format!("set.{name}.{kind}{text}.{dty}.{ty}");
                        out.push(Row::new(op, "$d, $a, $b, $c", "rrp>r", &inputs, move |i, g| {
                            (0..2).all(|k| {
                                let p = holds(name, o(i[0] >> (16 * k), i[1] >> (16 * k)));
                                let hit = with(kind, p, i[2] & mask(32) != 0);
                                g[0] >> (16 * k) & 0xffff == if hit { one } else { 0 }
                            })
                        }));
                    }
                    let o = float_order(f, ftz);
                    let op = format!("set.{name}{text}.{dty}.{ty}");
                    out.push(Row::new(op, "$d, $a, $b", "rr>r", &inputs, move |i, g| {
                        (0..2).all(|k| {
                            let hit = holds(name, o(i[0] >> (16 * k), i[1] >> (16 * k)));
                            g[0] >> (16 * k) & 0xffff == if hit { one } else { 0 }
                        })
                    }));
                }
            }
        }
    }
    out
}

#[test]
fn comparisons() {
    super::harness::check(rows());
}
