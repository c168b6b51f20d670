//! Integer arithmetic, logic, shifts and bit fields, against wide integers and loops over bits.

use super::harness::{Draw, Row, class_of, cross, cut, mask, number};
use std::sync::Arc;

fn edges(bits: u32) -> Vec<u64> {
    let top = 1u64 << (bits - 1);
    let mut v = vec![
        0,
        1,
        2,
        3,
        7,
        15,
        31,
        32,
        33,
        63,
        64,
        65,
        127,
        128,
        255,
        top - 1,
        top,
        top + 1,
        mask(bits),
        mask(bits) - 1,
    ];
    v.iter_mut().for_each(|v| *v &= mask(bits));
    v
}

pub fn values(bits: u32) -> Arc<Vec<[u64; 4]>> {
    let mut draw = Draw(u64::from(bits));
    cross(&edges(bits), 200, move || draw.next() & mask(bits))
}

/// 64-bit operands, and small ones for positions and lengths.
fn mixed(bits: u32) -> Arc<Vec<[u64; 4]>> {
    let mut draw = Draw(u64::from(bits) + 1);
    let wide = edges(bits);
    let small = [0u64, 1, 5, 8, 31, 32, 33, 63, 64, 65, 127, 255, 256, 0xffff_ffff];
    let mut out = Vec::new();
    for a in &wide {
        for b in small {
            out.push([*a, b, small[out.len() * 5 % small.len()], wide[out.len() * 3 % wide.len()]]);
        }
    }
    for _ in 0..600 {
        out.push([draw.next() & mask(bits), draw.next() % 70, draw.next() % 70, draw.next() & mask(bits)]);
    }
    Arc::new(out)
}

fn arithmetic() -> Vec<Row> {
    let mut out = Vec::new();
    for bits in [16, 32, 64] {
        let inputs = values(bits);
        let c = class_of(bits);
        for (letter, signed) in [("u", false), ("s", true)] {
            let ty = format!("{letter}{bits}");
            let n = move |v: u64| number(v, bits, signed);
            let limits = (-(1i128 << (bits - 1)), (1i128 << (bits - 1)) - 1);
            type Two = fn(i128, i128) -> Option<i128>;
            let table: &[(&str, Two)] = &[
                ("add", |a, b| Some(a + b)),
                ("sub", |a, b| Some(a - b)),
                ("mul.lo", |a, b| Some(a.wrapping_mul(b))),
                ("min", |a, b| Some(a.min(b))),
                ("max", |a, b| Some(a.max(b))),
                // What a division by zero gives is not defined; the most negative number by -1 wraps.
                ("div", |a, b| (b != 0).then(|| a / b)),
                ("rem", |a, b| (b != 0).then(|| a % b)),
            ];
            for (op, f) in table {
                let f = *f;
                out.push(Row::new(format!("{op}.{ty}"), "$d, $a, $b", &format!("{c}{c}>{c}"), &inputs, move |i, g| {
                    f(n(i[0]), n(i[1])).is_none_or(|v| g[0] == cut(v, bits))
                }));
            }
            let high = move |a: u64, b: u64| -> i128 {
                // The high half of a product of 64-bit numbers, by parts of 32 bits.
                if bits < 64 {
                    return (n(a) * n(b)) >> bits;
                }
                let (al, ah, bl, bh) = (a & 0xffff_ffff, a >> 32, b & 0xffff_ffff, b >> 32);
                let mid = ((al * bl) >> 32) + ((ah * bl) & 0xffff_ffff) + ((al * bh) & 0xffff_ffff);
                let mut v = i128::from(ah * bh)
                    + i128::from((ah * bl) >> 32)
                    + i128::from((al * bh) >> 32)
                    + i128::from(mid >> 32);
                if signed {
                    v -= if a >> 63 == 1 { i128::from(b) } else { 0 } + if b >> 63 == 1 { i128::from(a) } else { 0 };
                }
                i128::from(v as u64)
            };
            out.push(Row::new(format!("mul.hi.{ty}"), "$d, $a, $b", &format!("{c}{c}>{c}"), &inputs, move |i, g| {
                g[0] == cut(high(i[0], i[1]), bits)
            }));
            out.push(Row::new(
                format!("mad.lo.{ty}"),
                "$d, $a, $b, $c",
                &format!("{c}{c}{c}>{c}"),
                &inputs,
                move |i, g| g[0] == cut(n(i[0]).wrapping_mul(n(i[1])).wrapping_add(n(i[2])), bits),
            ));
            out.push(Row::new(
                format!("mad.hi.{ty}"),
                "$d, $a, $b, $c",
                &format!("{c}{c}{c}>{c}"),
                &inputs,
                move |i, g| g[0] == cut(high(i[0], i[1]) + n(i[2]), bits),
            ));
            out.push(Row::new(
                format!("sad.{ty}"),
                "$d, $a, $b, $c",
                &format!("{c}{c}{c}>{c}"),
                &inputs,
                move |i, g| g[0] == cut((n(i[0]) - n(i[1])).abs() + n(i[2]), bits),
            ));
            if bits < 64 {
                let w = class_of(2 * bits);
                out.push(Row::new(
                    format!("mul.wide.{ty}"),
                    "$d, $a, $b",
                    &format!("{c}{c}>{w}"),
                    &inputs,
                    move |i, g| g[0] == cut(n(i[0]) * n(i[1]), 2 * bits),
                ));
                let sums = values(2 * bits);
                out.push(Row::new(
                    format!("mad.wide.{ty}"),
                    "$d, $a, $b, $c",
                    &format!("{c}{c}{w}>{w}"),
                    &sums,
                    move |i, g| g[0] == cut(n(i[0]) * n(i[1]) + number(i[2], 2 * bits, signed), 2 * bits),
                ));
            }
            if bits == 32 {
                for (part, shift) in [("lo", 0), ("hi", 16)] {
                    let low = move |v: u64| number(v, 24, signed);
                    out.push(Row::new(format!("mul24.{part}.{ty}"), "$d, $a, $b", "rr>r", &inputs, move |i, g| {
                        g[0] == cut((low(i[0]) * low(i[1])) >> shift, 32)
                    }));
                    out.push(Row::new(
                        format!("mad24.{part}.{ty}"),
                        "$d, $a, $b, $c",
                        "rrr>r",
                        &inputs,
                        move |i, g| g[0] == cut(((low(i[0]) * low(i[1])) >> shift) + n(i[2]), 32),
                    ));
                }
            }
            if !signed {
                continue;
            }
            for (op, f) in [("abs", (|v| v.abs()) as fn(i128) -> i128), ("neg", |v| -v)] {
                out.push(Row::new(format!("{op}.{ty}"), "$d, $a", &format!("{c}>{c}"), &inputs, move |i, g| {
                    g[0] == cut(f(n(i[0])), bits)
                }));
            }
            if bits == 32 {
                let clamp = move |v: i128| cut(v.clamp(limits.0, limits.1), 32);
                out.push(Row::new("add.sat.s32", "$d, $a, $b", "rr>r", &inputs, move |i, g| {
                    g[0] == clamp(n(i[0]) + n(i[1]))
                }));
                out.push(Row::new("sub.sat.s32", "$d, $a, $b", "rr>r", &inputs, move |i, g| {
                    g[0] == clamp(n(i[0]) - n(i[1]))
                }));
                out.push(Row::new("mad.hi.sat.s32", "$d, $a, $b, $c", "rrr>r", &inputs, move |i, g| {
                    g[0] == clamp(high(i[0], i[1]) + n(i[2]))
                }));
                out.push(Row::new("mad24.hi.sat.s32", "$d, $a, $b, $c", "rrr>r", &inputs, move |i, g| {
                    g[0] == clamp(((number(i[0], 24, true) * number(i[1], 24, true)) >> 16) + n(i[2]))
                }));
                out.push(Row::new("min.relu.s32", "$d, $a, $b", "rr>r", &inputs, move |i, g| {
                    g[0] == cut(n(i[0]).min(n(i[1])).max(0), 32)
                }));
                out.push(Row::new("max.relu.s32", "$d, $a, $b", "rr>r", &inputs, move |i, g| {
                    g[0] == cut(n(i[0]).max(n(i[1])).max(0), 32)
                }));
            }
        }
    }
    out.extend(carries());
    out.extend(products_of_bytes());
    out.extend(pairs());
    out
}

/// Chains through the carry flag: the second instruction of each shows it.
fn carries() -> Vec<Row> {
    let mut out = Vec::new();
    for bits in [32, 64] {
        let (inputs, c) = (values(bits), class_of(bits));
        for letter in ["u", "s"] {
            let ty = format!("{letter}{bits}");
            let classes = format!("{c}{c}{c}{c}>{c}{c}");
            let wide = move |low: u64, high: u64| u128::from(low & mask(bits)) | u128::from(high & mask(bits)) << bits;
            let halves = move |v: u128| [v as u64 & mask(bits), (v >> bits) as u64 & mask(bits)];
            // (b:a) ± (s:c).
            for (first, second, sub) in [("add.cc", "addc", false), ("sub.cc", "subc", true)] {
                let op = format!("{first}.{ty} $d, $a, $c; {second}.{ty}");
                out.push(Row::new(op, "$e, $b, $s", &classes, &inputs, move |i, g| {
                    let (x, y) = (wide(i[0], i[1]), wide(i[2], i[3]));
                    g == halves(if sub { x.wrapping_sub(y) } else { x.wrapping_add(y) })
                }));
                // A third word gets the carry out of the second.
                let op = format!("{first}.{ty} $d, $a, $c; {second}.cc.{ty} $d, $b, $s; {second}.{ty}");
                out.push(Row::new(op, "$e, $a, 0", &classes, &inputs, move |i, g| {
                    let (x, y) = (wide(i[0], i[1]), wide(i[2], i[3]));
                    let full = 1u128.checked_shl(2 * bits).unwrap_or(0);
                    let carry = match (sub, bits) {
                        (true, _) => x < y,
                        (false, 64) => x.checked_add(y).is_none(),
                        _ => x + y >= full,
                    };
                    let a = i128::from(i[0] & mask(bits));
                    let step = i128::from(carry);
                    g[1] == cut(if sub { a - step } else { a + step }, bits)
                }));
            }
            let signed = letter == "s";
            // a × b + (s:c), low half then high half.
            let op = format!("mad.lo.cc.{ty} $d, $a, $b, $c; madc.hi.{ty}");
            out.push(Row::new(op, "$e, $a, $b, $s", &classes, &inputs, move |i, g| {
                let product = if bits == 64 && !signed {
                    u128::from(i[0]) * u128::from(i[1])
                } else {
                    (number(i[0], bits, signed) * number(i[1], bits, signed)) as u128
                };
                g == halves(product.wrapping_add(wide(i[2], i[3])))
            }));
            let op = format!("add.cc.{ty} $d, $a, $b; madc.lo.cc.{ty} $d, $a, $b, $c; madc.hi.cc.{ty}");
            out.push(Row::new(op, "$e, $a, $b, $s", &classes, &inputs, move |i, g| {
                let carry =
                    u128::from(u128::from(i[0] & mask(bits)) + u128::from(i[1] & mask(bits)) > u128::from(mask(bits)));
                let product = if bits == 64 && !signed {
                    u128::from(i[0]) * u128::from(i[1])
                } else {
                    (number(i[0], bits, signed) * number(i[1], bits, signed)) as u128
                };
                g == halves(product.wrapping_add(wide(i[2], i[3])).wrapping_add(carry))
            }));
            let op = format!("mad.hi.cc.{ty} $d, $a, $b, $c; addc.{ty}");
            out.push(Row::new(op, "$e, 0, 0", &classes, &inputs, move |i, g| {
                let high = if bits == 64 && !signed {
                    ((u128::from(i[0]) * u128::from(i[1])) >> 64) as u64
                } else {
                    cut((number(i[0], bits, signed) * number(i[1], bits, signed)) >> bits, bits)
                };
                let sum = u128::from(high) + u128::from(i[2] & mask(bits));
                g == [sum as u64 & mask(bits), (sum >> bits) as u64]
            }));
            let op = format!("add.cc.{ty} $d, $a, $b; madc.lo.{ty}");
            out.push(Row::new(op, "$e, $a, $b, $c", &classes, &inputs, move |i, g| {
                let sum = u128::from(i[0] & mask(bits)) + u128::from(i[1] & mask(bits));
                let carry = (sum >> bits) as u64;
                g[1] == i[0].wrapping_mul(i[1]).wrapping_add(i[2]).wrapping_add(carry) & mask(bits)
            }));
        }
    }
    out
}

fn products_of_bytes() -> Vec<Row> {
    let mut out = Vec::new();
    let inputs = values(32);
    for (sa, sb) in [(false, false), (false, true), (true, false), (true, true)] {
        let ty = |s| if s { "s32" } else { "u32" };
        out.push(Row::new(format!("dp4a.{}.{}", ty(sa), ty(sb)), "$d, $a, $b, $c", "rrr>r", &inputs, move |i, g| {
            let sum: i128 = (0..4).map(|k| number(i[0] >> (8 * k), 8, sa) * number(i[1] >> (8 * k), 8, sb)).sum();
            g[0] == cut(sum + i128::from(i[2]), 32)
        }));
        for (part, from) in [("lo", 0), ("hi", 16)] {
            let op = format!("dp2a.{part}.{}.{}", ty(sa), ty(sb));
            out.push(Row::new(op, "$d, $a, $b, $c", "rrr>r", &inputs, move |i, g| {
                let sum: i128 =
                    (0..2).map(|k| number(i[0] >> (16 * k), 16, sa) * number(i[1] >> (from + 8 * k), 8, sb)).sum();
                g[0] == cut(sum + i128::from(i[2]), 32)
            }));
        }
    }
    out
}

/// Two 16-bit integers in a register.
fn pairs() -> Vec<Row> {
    let inputs = values(32);
    let mut out = Vec::new();
    type Two = fn(i128, i128) -> i128;
    let table: &[(&str, bool, Two)] = &[
        ("add.u16x2", false, |a, b| a + b),
        ("add.s16x2", true, |a, b| a + b),
        ("min.u16x2", false, i128::min),
        ("max.u16x2", false, i128::max),
        ("min.s16x2", true, i128::min),
        ("max.s16x2", true, i128::max),
        ("min.relu.s16x2", true, |a, b| a.min(b).max(0)),
        ("max.relu.s16x2", true, |a, b| a.max(b).max(0)),
    ];
    for (op, signed, f) in table {
        let (signed, f) = (*signed, *f);
        out.push(Row::new(*op, "$d, $a, $b", "rr>r", &inputs, move |i, g| {
            (0..2).all(|k| {
                let n = |v: u64| number(v >> (16 * k), 16, signed);
                g[0] >> (16 * k) & 0xffff == cut(f(n(i[0]), n(i[1])), 16)
            })
        }));
    }
    out
}

fn bit(v: u64, k: u64) -> u64 {
    if k < 64 { v >> k & 1 } else { 0 }
}

fn logic() -> Vec<Row> {
    let mut out = Vec::new();
    for bits in [16, 32, 64] {
        let (inputs, fields, c) = (values(bits), mixed(bits), class_of(bits));
        let n = u64::from(bits);
        type Two = fn(u64, u64) -> u64;
        for (op, f) in [("and", (|a, b| a & b) as Two), ("or", |a, b| a | b), ("xor", |a, b| a ^ b)] {
            out.push(Row::new(format!("{op}.b{bits}"), "$d, $a, $b", &format!("{c}{c}>{c}"), &inputs, move |i, g| {
                g[0] == f(i[0], i[1]) & mask(bits)
            }));
        }
        out.push(Row::new(format!("not.b{bits}"), "$d, $a", &format!("{c}>{c}"), &inputs, move |i, g| {
            g[0] == !i[0] & mask(bits)
        }));
        out.push(Row::new(format!("cnot.b{bits}"), "$d, $a", &format!("{c}>{c}"), &inputs, move |i, g| {
            g[0] == u64::from(i[0] & mask(bits) == 0)
        }));
        let classes = format!("{c}r>{c}");
        out.push(Row::new(format!("shl.b{bits}"), "$d, $a, $b", &classes, &fields, move |i, g| {
            (0..n).all(|k| bit(g[0], k) == if k >= i[1] { bit(i[0], k - i[1]) } else { 0 })
        }));
        for (ty, signed) in [("b", false), ("u", false), ("s", true)] {
            out.push(Row::new(format!("shr.{ty}{bits}"), "$d, $a, $b", &classes, &fields, move |i, g| {
                let fill = if signed { bit(i[0], n - 1) } else { 0 };
                (0..n).all(|k| bit(g[0], k) == if k + i[1] < n { bit(i[0], k + i[1]) } else { fill })
            }));
        }
        if bits == 16 {
            continue;
        }
        let to_word = format!("{c}>r");
        out.push(Row::new(format!("popc.b{bits}"), "$d, $a", &to_word, &inputs, move |i, g| {
            g[0] == (0..n).map(|k| bit(i[0], k)).sum::<u64>()
        }));
        out.push(Row::new(format!("clz.b{bits}"), "$d, $a", &to_word, &inputs, move |i, g| {
            g[0] == (0..n).rev().take_while(|k| bit(i[0], *k) == 0).count() as u64
        }));
        out.push(Row::new(format!("brev.b{bits}"), "$d, $a", &format!("{c}>{c}"), &inputs, move |i, g| {
            (0..n).all(|k| bit(g[0], k) == bit(i[0], n - 1 - k))
        }));
        for (ty, signed) in [("u", false), ("s", true)] {
            for amount in [false, true] {
                let op = format!("bfind.{}{ty}{bits}", if amount { "shiftamt." } else { "" });
                out.push(Row::new(op, "$d, $a", &to_word, &inputs, move |i, g| {
                    let sign = if signed { bit(i[0], n - 1) } else { 0 };
                    let found = (0..n).rev().find(|k| bit(i[0], *k) != sign);
                    g[0] == found.map_or(0xffff_ffff, |k| if amount { n - 1 - k } else { k })
                }));
            }
            out.push(Row::new(
                format!("bfe.{ty}{bits}"),
                "$d, $a, $b, $c",
                &format!("{c}rr>{c}"),
                &fields,
                move |i, g| {
                    let (pos, len) = (i[1] & 255, i[2] & 255);
                    let sign = if !signed || len == 0 { 0 } else { bit(i[0], (pos + len - 1).min(n - 1)) };
                    (0..n).all(|k| bit(g[0], k) == if k < len && pos + k < n { bit(i[0], pos + k) } else { sign })
                },
            ));
        }
        out.push(Row::new(
            format!("bfi.b{bits}"),
            "$d, $a, $s, $b, $c",
            &format!("{c}rr{c}>{c}"),
            &fields,
            move |i, g| {
                let (pos, len) = (i[1] & 255, i[2] & 255);
                (0..n)
                    .all(|k| bit(g[0], k) == if k >= pos && k < pos + len { bit(i[0], k - pos) } else { bit(i[3], k) })
            },
        ));
    }
    let (words, fields) = (values(32), mixed(32));
    for table in 0..256u64 {
        out.push(Row::new("lop3.b32", &format!("$d, $a, $b, $c, {table}"), "rrr>r", &words, move |i, g| {
            (0..32).all(|k| bit(g[0], k) == bit(table, bit(i[0], k) << 2 | bit(i[1], k) << 1 | bit(i[2], k)))
        }));
    }
    for (boolean, and) in [("and", true), ("or", false)] {
        let op = format!("lop3.{boolean}.b32");
        out.push(Row::new(op, "$d|$e, $a, $b, $c, 0x96, $s", "rrrp>rp", &words, move |i, g| {
            let v = (i[0] ^ i[1] ^ i[2]) & mask(32);
            let (p, q) = (v != 0, i[3] & mask(32) != 0);
            g == [v, u64::from(if and { p && q } else { p || q })]
        }));
    }
    for (direction, left) in [("l", true), ("r", false)] {
        for (mode, wrap) in [("wrap", true), ("clamp", false)] {
            out.push(Row::new(
                format!("shf.{direction}.{mode}.b32"),
                "$d, $a, $s, $b",
                "rrrr>r",
                &fields,
                move |i, g| {
                    let n = if wrap { i[1] & 31 } else { i[1].min(32) };
                    let both = i[0] | i[3] << 32;
                    (0..32u64).all(|k| {
                        let from = if left { (k + 32).checked_sub(n) } else { Some(k + n) };
                        bit(g[0], k) == from.map_or(0, |k| bit(both, k))
                    })
                },
            ));
        }
    }
    for (mode, wrap) in [("wrap", true), ("clamp", false)] {
        out.push(Row::new(format!("bmsk.{mode}.b32"), "$d, $b, $c", "rrr>r", &fields, move |i, g| {
            let (pos, len) = if wrap { (i[1] & 31, i[2] & 31) } else { (i[1].min(32), i[2].min(32)) };
            (0..32).all(|k| bit(g[0], k) == u64::from(k >= pos && k < pos + len))
        }));
        for (ty, signed) in [("u32", false), ("s32", true)] {
            out.push(Row::new(format!("szext.{mode}.{ty}"), "$d, $a, $b", "rr>r", &fields, move |i, g| {
                let n = if wrap { i[1] & 31 } else { i[1].min(32) };
                let sign = if signed && n > 0 { bit(i[0], n - 1) } else { 0 };
                (0..32).all(|k| bit(g[0], k) == if k < n { bit(i[0], k) } else { sign })
            }));
        }
    }
    for (op, f) in
        [("and.pred", (|a, b| a & b) as fn(bool, bool) -> bool), ("or.pred", |a, b| a | b), ("xor.pred", |a, b| a ^ b)]
    {
        let small = Arc::new((0..4).map(|k| [k & 1, k >> 1, 0, 0]).collect::<Vec<_>>());
        out.push(Row::new(op, "$d, $a, $b", "pp>p", &small, move |i, g| g[0] == u64::from(f(i[0] != 0, i[1] != 0))));
    }
    let one = Arc::new(vec![[0, 0, 0, 0], [1, 0, 0, 0]]);
    out.push(Row::new("not.pred", "$d, $a", "p>p", &one, |i, g| g[0] == 1 - i[0]));
    let bits = Arc::new(
        (0..2_000u64)
            .map(|k| [k.wrapping_mul(0x9e37_79b9) & mask(32), k % 34, ((k * 7) % 67).wrapping_sub(33) & mask(32), 0])
            .collect::<Vec<_>>(),
    );
    out.push(Row::new("fns.b32", "$d, $a, $b, $c", "rrr>r", &bits, |i, g| {
        // The n-th set bit from a base upwards, or downwards for negative n; n = 0 is the base itself.
        let base = i[1];
        let n = i64::from(i[2] as u32 as i32);
        if base > 31 {
            return true;
        }
        let (mut position, mut found) = (base as i64, None);
        if n == 0 {
            found = (bit(i[0], base) == 1).then_some(base);
        } else {
            let mut count = n.abs();
            while (0..32).contains(&position) {
                if bit(i[0], position as u64) == 1 {
                    count -= 1;
                    if count == 0 {
                        found = Some(position as u64);
                        break;
                    }
                }
                position += n.signum();
            }
        }
        g[0] == found.unwrap_or(0xffff_ffff)
    }));
    out
}

fn moves() -> Vec<Row> {
    let mut out = Vec::new();
    for ty in ["b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"] {
        let bits: u32 = ty[1..].parse().expect("a width");
        let (inputs, c) = (values(bits), class_of(bits));
        out.push(Row::new(format!("mov.{ty}"), "$d, $a", &format!("{c}>{c}"), &inputs, |i, g| g[0] == i[0]));
        out.push(Row::new(format!("selp.{ty}"), "$d, $a, $b, $c", &format!("{c}{c}p>{c}"), &inputs, |i, g| {
            g[0] == if i[2] & mask(32) != 0 { i[0] } else { i[1] }
        }));
    }
    let one = Arc::new(vec![[0, 0, 0, 0], [1, 0, 0, 0]]);
    out.push(Row::new("mov.pred", "$d, $a", "p>p", &one, |i, g| g[0] == i[0]));
    let words = values(32);
    for (mode, kind) in [("", 0), ("f4e", 1), ("b4e", 2), ("rc8", 3), ("ecl", 4), ("ecr", 5), ("rc16", 6)] {
        let op = if mode.is_empty() { "prmt.b32".to_string() } else { format!("prmt.b32.{mode}") };
        out.push(Row::new(op, "$d, $a, $b, $c", "rrr>r", &words, move |i, g| {
            let both = i[0] & mask(32) | i[1] << 32;
            let c = i[2] & 3;
            (0..4).all(|k| {
                let s = match kind {
                    0 => i[2] >> (4 * k) & 15,
                    1 => (c + k) & 7,
                    2 => c.wrapping_sub(k) & 7,
                    3 => c,
                    4 => k.max(c),
                    5 => k.min(c),
                    _ => k & 1 | (c & 1) << 1,
                };
                let byte = both >> (8 * (s & 7)) & 255;
                let want = if kind == 0 && s & 8 != 0 { 255 * (byte >> 7) } else { byte };
                g[0] >> (8 * k) & 255 == want
            })
        }));
    }
    // Packing and unpacking vectors.
    out.push(Row::new("mov.b32", "$d, {$a, $b}", "hh>r", &words, |i, g| g[0] == i[0] & 0xffff | (i[1] & 0xffff) << 16));
    out.push(Row::new("mov.b64", "$d, {$a, $b}", "rr>d", &words, |i, g| g[0] == i[0] & mask(32) | i[1] << 32));
    out.push(Row::new("mov.b64", "$d, {$a, $b, $c, $s}", "hhhh>d", &words, |i, g| {
        (0..4).all(|k| g[0] >> (16 * k) & 0xffff == i[k] & 0xffff)
    }));
    out.push(Row::new("mov.b32", "{$d, $e}, $a", "r>hh", &words, |i, g| g == [i[0] & 0xffff, i[0] >> 16 & 0xffff]));
    let longs = values(64);
    out.push(Row::new("mov.b64", "{$d, $e}, $a", "d>rr", &longs, |i, g| g == [i[0] & mask(32), i[0] >> 32]));
    out
}

pub fn rows() -> Vec<Row> {
    let mut out = arithmetic();
    out.extend(logic());
    out.extend(moves());
    out
}

#[test]
fn integers() {
    super::harness::check(arithmetic());
}

#[test]
fn bits() {
    super::harness::check(logic());
}

#[test]
fn registers() {
    super::harness::check(moves());
}
