//! Loads, stores and atomics: every type, vector, cache operator, order and space; each thread has its own 16 bytes of the
//! space, at `%rd20` (64 bits) or `%r30` (32 bits).

use super::exact::{BF16, F16, F32, Format};
use super::float::{Mode, is_right, values};
use super::harness::{Row, check, class_of, cut, mask, number};
use std::sync::Arc;

/// The instructions that make a thread's address in a space, and its name in an instruction.
fn place(space: &str) -> (&'static str, &'static str) {
    match space {
        "global" => ("add.u64 %rd20, %rd6, 0;", "%rd20"),
        "" => ("cvta.to.global.u64 %rd20, %rd6; cvta.global.u64 %rd20, %rd20;", "%rd20"),
        "shared" | "shared::cta" => (
            ".shared .align 16 .b8 area[2048]; mov.u32 %r30, area; mov.u32 %r31, %tid.x; mad.lo.u32 %r30, %r31, 16, %r30;",
            "%r30",
        ),
        "shared::cluster" => (
            ".shared .align 16 .b8 area[2048]; mov.u32 %r30, area; mov.u32 %r31, %tid.x; mad.lo.u32 %r30, %r31, 16, %r30; \
             mov.u32 %r31, %cluster_ctarank; mapa.shared::cluster.u32 %r30, %r30, %r31;",
            "%r30",
        ),
        _ => (".local .align 16 .b8 area[16]; mov.u32 %r30, area;", "%r30"),
    }
}

fn dotted(parts: &[&str]) -> String {
    parts.iter().filter(|p| !p.is_empty()).copied().collect::<Vec<_>>().join(".")
}

fn row(
    space: &str,
    before: &str,
    op: String,
    operands: &str,
    classes: &str,
    inputs: &Arc<Vec<[u64; 4]>>,
    right: impl Fn(&[u64; 4], [u64; 2]) -> bool + 'static,
) -> Row {
    let (make, address) = place(space);
    let op = format!("{make} {before} {op}").replace("ADDRESS", address);
    Row::new(op, &operands.replace("ADDRESS", address), classes, inputs, right)
}

const SPACES: [&str; 6] = ["global", "", "shared", "shared::cta", "shared::cluster", "local"];

pub fn accesses() -> Vec<Row> {
    let mut out = Vec::new();
    let inputs = super::integer::values(64);
    let types = ["b8", "u8", "s8", "b16", "u16", "s16", "b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"];
    for ty in types {
        let bits: u32 = ty[1..].parse().expect("a width");
        let signed = ty.starts_with('s');
        let class = class_of(bits.max(16));
        for space in SPACES {
            let extended = move |v: u64| cut(number(v, bits, signed), bits.max(16));
            let mut orders = vec!["", "weak"];
            if space != "local" {
                orders.extend(["volatile", "relaxed.cta", "relaxed.cluster", "relaxed.gpu", "relaxed.sys"]);
            }
            for order in orders {
                let store = dotted(&["st", order, space, ty]);
                let load = dotted(&["ld", order, space, ty]);
                out.push(row(
                    space,
                    "",
                    store,
                    &format!("[ADDRESS], $a; {load} $d, [ADDRESS]"),
                    &format!("{class}>{class}"),
                    &inputs,
                    move |i, g| g[0] == extended(i[0]),
                ));
            }
            if space != "local" {
                for scope in ["cta", "cluster", "gpu", "sys"] {
                    let store = dotted(&["st.release", scope, space, ty]);
                    let load = dotted(&["ld.acquire", scope, space, ty]);
                    let operands = format!("[ADDRESS], $a; {load} $d, [ADDRESS]");
                    out.push(row(space, "", store, &operands, &format!("{class}>{class}"), &inputs, move |i, g| {
                        g[0] == extended(i[0])
                    }));
                }
            }
            if matches!(space, "global" | "") {
                for (s, l) in [("wb", "ca"), ("cg", "cg"), ("cs", "cs"), ("wt", "cv"), ("wb", "lu")] {
                    let (store, load) = (dotted(&["st", space, s, ty]), dotted(&["ld", space, l, ty]));
                    let operands = format!("[ADDRESS], $a; {load} $d, [ADDRESS]");
                    out.push(row(space, "", store, &operands, &format!("{class}>{class}"), &inputs, move |i, g| {
                        g[0] == extended(i[0])
                    }));
                }
            }
            for count in [2usize, 4] {
                if bits as usize * count > 128 {
                    continue;
                }
                // The parts are the operands in turn; the sum of the loaded ones times odd numbers shows their order.
                let v = format!("v{count}");
                let (store, load) = (dotted(&["st", space, &v, ty]), dotted(&["ld", space, &v, ty]));
                let sources = ["$a", "$b", "$c", "$s"][..count].join(",");
                let letter = match class {
                    'h' => "h",
                    'r' => "r",
                    _ => "rd",
                };
                let first = if class == 'd' { 24 } else { 18 };
                let parts: Vec<String> = (0..count).map(|k| format!("%{letter}{}", first + k)).collect();
                let word = if class == 'h' {
                    "u16"
                } else if class == 'r' {
                    "u32"
                } else {
                    "u64"
                };
                let mut operands = format!(
                    "[ADDRESS], {{{sources}}}; {load} {{{}}}, [ADDRESS]; mov.b{} $d, {}",
                    parts.join(","),
                    &word[1..],
                    parts[0]
                );
                for (k, p) in parts.iter().enumerate().skip(1) {
                    operands += &format!("; mad.lo.{word} $d, {p}, {}, $d", 2 * k + 1);
                }
                let classes = format!("{}>{class}", class.to_string().repeat(count));
                out.push(row(space, "", store, &operands, &classes, &inputs, move |i, g| {
                    let sum = (0..count).fold(0u64, |s, k| {
                        s.wrapping_add(extended(i[k]).wrapping_mul(if k == 0 { 1 } else { 2 * k as u64 + 1 }))
                    });
                    g[0] == sum & mask(bits.max(16))
                }));
            }
        }
        // Read only: the operands themselves.
        for load in [
            "ld.global.nc",
            "ld.global.nc.L1::no_allocate",
            "ld.global.L1::evict_last",
            "ld.global.nc.L2::128B",
            "ldu.global",
        ] {
            out.push(Row::new(format!("{load}.{ty}"), "$d, [%rd3]", &format!(">{class}"), &inputs, move |i, g| {
                g[0] == cut(number(i[0], bits, signed), bits.max(16))
            }));
        }
    }
    out
}

pub fn atomics() -> Vec<Row> {
    let mut out = Vec::new();
    type F = fn(u64, u64, u64, u32, bool) -> u64;
    let table: &[(&str, &[&str], F)] = &[
        ("add", &["u32", "s32", "u64"], |m, b, _, n, _| m.wrapping_add(b) & mask(n)),
        ("min", &["u32", "s32", "u64", "s64"], |m, b, _, n, s| if number(b, n, s) < number(m, n, s) { b } else { m }),
        ("max", &["u32", "s32", "u64", "s64"], |m, b, _, n, s| if number(b, n, s) > number(m, n, s) { b } else { m }),
        ("and", &["b32", "b64"], |m, b, _, _, _| m & b),
        ("or", &["b32", "b64"], |m, b, _, _, _| m | b),
        ("xor", &["b32", "b64"], |m, b, _, _, _| m ^ b),
        ("inc", &["u32"], |m, b, _, _, _| if m >= b { 0 } else { m + 1 }),
        ("dec", &["u32"], |m, b, _, _, _| if m == 0 || m > b { b } else { m - 1 }),
        ("exch", &["b32", "b64"], |_, b, _, _, _| b),
        ("cas", &["b16", "b32", "b64"], |m, b, c, _, _| if m == b { c } else { m }),
    ];
    for (name, types, f) in table {
        for ty in *types {
            let bits: u32 = ty[1..].parse().expect("a width");
            let (signed, class) = (ty.starts_with('s'), class_of(bits));
            let inputs = super::integer::values(bits);
            for space in &SPACES[..5] {
                for order in ["", "relaxed", "acquire", "release", "acq_rel"] {
                    for scope in ["", "cta", "cluster", "gpu", "sys"] {
                        let cas = *name == "cas";
                        let f = *f;
                        let before = format!("{} [ADDRESS], $a;", dotted(&["st", space, &format!("b{bits}")]));
                        let third = if cas { ", $c" } else { "" };
                        let load = dotted(&["ld", space, &format!("b{bits}")]);
                        let result = move |i: &[u64; 4]| {
                            let [m, b, c, _] = i.map(|v| v & mask(bits));
                            f(m, b, c, bits, signed)
                        };
                        let classes = format!("{0}{0}{0}>{0}{0}", class);
                        let op = dotted(&["atom", order, scope, space, name, ty]);
                        let operands = format!("$d, [ADDRESS], $b{third}; {load} $e, [ADDRESS]");
                        out.push(row(space, &before, op, &operands, &classes, &inputs, move |i, g| {
                            g == [i[0] & mask(bits), result(i)]
                        }));
                        if cas || *name == "exch" || matches!(order, "acquire" | "acq_rel") {
                            continue;
                        }
                        let op = dotted(&["red", order, scope, space, name, ty]);
                        let operands = format!("[ADDRESS], $b; {load} $e, [ADDRESS]");
                        out.push(row(space, &before, op, &operands, &classes, &inputs, move |i, g| g[1] == result(i)));
                    }
                }
            }
        }
    }
    out.extend(float_atomics());
    out.extend(hinted_atomics());
    out
}

/// Updates with a cache policy.
fn hinted_atomics() -> Vec<Row> {
    let mut out = Vec::new();
    let inputs = super::integer::values(32);
    let floats = values(F32, 100);
    for space in ["global", ""] {
        let before = format!(
            "{} [ADDRESS], $a; createpolicy.fractional.L2::evict_first.b64 %rd22;",
            dotted(&["st", space, "b32"])
        );
        let load = dotted(&["ld", space, "b32"]);
        for (name, ty) in [("add", "u32"), ("exch", "b32"), ("add", "f32")] {
            let inputs = if ty == "f32" { &floats } else { &inputs };
            let right = move |i: &[u64; 4], got: u64| super::reductions::updated(name, ty, i[0], i[1], got);
            let op = dotted(&["atom", space, name, "L2::cache_hint", ty]);
            let operands = format!("$d, [ADDRESS], $b, %rd22; {load} $e, [ADDRESS]");
            out.push(row(space, &before, op, &operands, "rrr>rr", inputs, move |i, g| {
                g[0] == i[0] & mask(32) && if name == "exch" { g[1] == i[1] & mask(32) } else { right(i, g[1]) }
            }));
            if name == "add" {
                let op = dotted(&["red", space, name, "L2::cache_hint", ty]);
                let operands = format!("[ADDRESS], $b, %rd22; {load} $e, [ADDRESS]");
                out.push(row(space, &before, op, &operands, "rrr>rr", inputs, move |i, g| right(i, g[1])));
            }
        }
    }
    out
}

/// Sums, minima and maxima of floats. Those of f32 in global memory flush subnormals.
fn float_atomics() -> Vec<Row> {
    let mut out = Vec::new();
    let plain = Mode { rounding: "rn", ftz: false, sat: false, relu: false };
    let half = |f: Format| -> Arc<Vec<[u64; 4]>> {
        let v = values(f, 100);
        let n = v.len();
        let pair = |k: usize, j: usize| v[k][j] & 0xffff | (v[(k * 31 + 7) % n][j] & 0xffff) << 16;
        Arc::new((0..n).map(|k| std::array::from_fn(|j| pair(k, j))).collect())
    };
    for (ty, fmt, parts) in [
        ("f16", F16, 1u32),
        ("bf16", BF16, 1),
        ("f16x2", F16, 2),
        ("bf16x2", BF16, 2),
        ("f32", F32, 1),
        ("f64", super::exact::F64, 1),
    ] {
        let inputs = if parts == 2 { half(fmt) } else { values(fmt, 100) };
        let (bits, noftz) = (fmt.bits * parts, if fmt.bits == 16 { "noftz" } else { "" });
        let class = class_of(bits);
        for space in ["global", "shared", ""] {
            let before = format!("{} [ADDRESS], $a;", dotted(&["st", space, &format!("b{bits}")]));
            let load = dotted(&["ld", space, &format!("b{bits}")]);
            let right = move |i: &[u64; 4], got: u64| {
                (0..parts).all(|k| {
                    let part = |v: u64| v >> (fmt.bits * k) & mask(fmt.bits);
                    let (m, b) = (part(i[0]), part(i[1]));
                    // A flushed sum is as right as an exact one: which of them depends on the unit that adds.
                    is_right(fmt, "add", plain, &[m, b], part(got))
                        || fmt == F32 && is_right(fmt, "add", Mode { ftz: true, ..plain }, &[m, b], part(got))
                })
            };
            let classes = format!("{class}{class}>{class}{class}");
            let op = dotted(&["atom", space, "add", noftz, ty]);
            let operands = format!("$d, [ADDRESS], $b; {load} $e, [ADDRESS]");
            out.push(row(space, &before, op, &operands, &classes, &inputs, move |i, g| {
                g[0] == i[0] & mask(bits) && right(i, g[1])
            }));
            let op = dotted(&["red", space, "add", noftz, ty]);
            let operands = format!("[ADDRESS], $b; {load} $e, [ADDRESS]");
            out.push(row(space, &before, op, &operands, &classes, &inputs, move |i, g| right(i, g[1])));
        }
    }
    out
}

#[test]
fn loads_and_stores() {
    check(accesses());
}

#[test]
fn atomic_updates() {
    check(atomics());
}
