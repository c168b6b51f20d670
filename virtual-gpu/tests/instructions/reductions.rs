//! Updates of memory that are no plain atomics of one word: `cp.reduce.async.bulk`, `st.async` and `red.async`, vectors of
//! floats and 128-bit words, each element against exact numbers or wide integers.

use super::copies::{BEGIN, Case, HEAD, MEET, Right, STORE, WAIT, check, exactly, random};
use super::exact::{BF16, F16, F32, F64, Format};
use super::float::{Mode, is_right};
use super::harness::{Draw, cut, mask, number};
use super::machine::kernel;

/// A format by its name.
fn format(ty: &str) -> Option<Format> {
    Some(match ty {
        "f16" | "f16x2" => F16,
        "bf16" | "bf16x2" => BF16,
        "f32" => F32,
        "f64" => F64,
        _ => return None,
    })
}

/// Whether memory that held `old` may hold `got` after an update by `new`.
pub fn updated(op: &str, ty: &str, old: u64, new: u64, got: u64) -> bool {
    if let Some(fmt) = format(ty) {
        let plain = Mode { rounding: "rn", ftz: false, sat: false, relu: false };
        return match op {
            // A flushed sum is as right as an exact one: which of them depends on the unit that adds.
            "add" => {
                is_right(fmt, "add", plain, &[old, new], got)
                    || fmt == F32 && is_right(fmt, "add", Mode { ftz: true, ..plain }, &[old, new], got)
            }
            _ => {
                // Order by sign and magnitude, -0 below +0; a NaN gives way to a number.
                let key = |v: u64| {
                    let magnitude = (v & (fmt.sign_bit() - 1)) as i64;
                    if v & fmt.sign_bit() != 0 { -1 - magnitude } else { magnitude }
                };
                match (fmt.is_nan(old), fmt.is_nan(new)) {
                    (true, true) => got == super::float::canonical_nan(fmt),
                    (true, false) => got == new,
                    (false, true) => got == old,
                    _ if (key(new) < key(old)) == (op == "min") => got == new,
                    _ => got == old,
                }
            }
        };
    }
    let bits: u32 = ty[1..].parse().expect("a width");
    let signed = ty.starts_with('s');
    let (m, b) = (number(old, bits, signed), number(new, bits, signed));
    got == match op {
        "add" => cut(m + b, bits),
        "min" => cut(m.min(b), bits),
        "max" => cut(m.max(b), bits),
        "inc" => cut(if m >= b { 0 } else { m + 1 }, bits),
        "dec" => cut(if m == 0 || m > b { b } else { m - 1 }, bits),
        "and" => old & new,
        "or" => old | new,
        _ => old ^ new,
    }
}

/// Elements of a type: edge values and random ones, equal neighbours now and then.
pub fn elements(ty: &str, seed: u64, bytes: usize) -> Vec<u8> {
    let mut draw = Draw(seed);
    let bits = match format(ty) {
        Some(fmt) => fmt.bits,
        None => ty[1..].parse().expect("a width"),
    };
    let one = |draw: &mut Draw| match (format(ty), draw.below(3)) {
        (Some(fmt), 0) => {
            let special = [
                0,
                fmt.sign_bit(),
                1,
                fmt.largest(),
                fmt.infinity(),
                fmt.infinity() | 1,
                fmt.infinity() | fmt.sign_bit(),
            ];
            special[draw.below(special.len())]
        }
        // Of like magnitude, where sums cancel.
        (Some(fmt), 1) => {
            ((fmt.bias as u64) << fmt.fraction) ^ draw.next() & (fmt.sign_bit() | ((4u64 << fmt.fraction) - 1))
        }
        (None, 0) => [0, 1, mask(bits), 1 << (bits - 1), mask(bits) >> 1][draw.below(5)],
        (None, 1) => draw.next() & 3,
        _ => draw.next() & mask(bits),
    };
    let bytes_each = bits as usize / 8;
    (0..bytes / bytes_each).flat_map(|_| one(&mut draw).to_le_bytes()[..bytes_each].to_vec()).collect()
}

fn value(bytes: &[u8], at: usize, count: usize) -> u64 {
    bytes[at..at + count].iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
}

/// Each output element against the update of `old` by `new`.
fn reduced(op: &'static str, ty: &'static str, old: Vec<u8>, new: Vec<u8>, size: usize) -> (usize, Right) {
    let element = format(ty).map_or_else(|| ty[1..].parse::<usize>().expect("a width") / 8, |f| f.bits as usize / 8);
    let right = move |at: usize, got: u64| {
        let was = value(&old, at, element);
        if at < size { updated(op, ty, was, value(&new, at, element), got) } else { got == was }
    };
    (element, Box::new(right))
}

/// Operations and types of bulk reductions into global memory.
const TO_GLOBAL: &[(&str, &[&str])] = &[
    ("add", &["u32", "s32", "u64", "f32", "f64", "f16", "bf16"]),
    ("min", &["u32", "s32", "u64", "s64", "f16", "bf16"]),
    ("max", &["u32", "s32", "u64", "s64", "f16", "bf16"]),
    ("inc", &["u32"]),
    ("dec", &["u32"]),
    ("and", &["b32", "b64"]),
    ("or", &["b32", "b64"]),
    ("xor", &["b32", "b64"]),
];

/// Those into the shared memory of a block of the cluster.
const TO_SHARED: &[(&str, &[&str])] = &[
    ("add", &["u32", "s32", "u64"]),
    ("min", &["u32", "s32"]),
    ("max", &["u32", "s32"]),
    ("inc", &["u32"]),
    ("dec", &["u32"]),
    ("and", &["b32"]),
    ("or", &["b32"]),
    ("xor", &["b32"]),
];

pub fn bulk_reductions() -> Vec<Case> {
    let mut out: Vec<Case> = Vec::new();
    for (op, types) in TO_GLOBAL {
        for ty in *types {
            let noftz = if *op == "add" && matches!(*ty, "f16" | "bf16") { ".noftz" } else { "" };
            for (flag, operand) in [("", ""), (".L2::cache_hint", ", %rd7")] {
                let (old, new) = (elements(ty, 7, 512), elements(ty, 8, 512));
                let body = format!(
                    "{BEGIN}createpolicy.fractional.L2::evict_first.b64 %rd7;\n\
                     ld.global.v4.u32 {{%r20,%r21,%r22,%r23}}, [%rd3]; st.shared.v4.u32 [%r2], {{%r20,%r21,%r22,%r23}};\n\
                     fence.proxy.async; bar.sync 0; @!%p1 bra E;\n\
                     cp.reduce.async.bulk.global.shared::cta.bulk_group{flag}.{op}{noftz}.{ty} [%rd2], [data], 496{operand};\n\
                     cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;\nE:"
                );
                let (element, right) = reduced(op, ty, old.clone(), new.clone(), 496);
                out.push(Case {
                    text: kernel("sm_90", 2, HEAD, &body),
                    input: new,
                    output: old,
                    element,
                    blocks: 1,
                    right,
                });
            }
        }
    }
    // Into the other block's memory: what was there is in the second half of the input.
    for (op, types) in TO_SHARED {
        for ty in *types {
            let (new, old) = (elements(ty, 9, 512), elements(ty, 10, 512));
            let input = [new.clone(), old.clone()].concat();
            let body = format!(
                "{BEGIN}mov.u32 %r5, %cluster_ctarank; xor.b32 %r5, %r5, 1;\n\
                 ld.global.v4.u32 {{%r20,%r21,%r22,%r23}}, [%rd3]; st.shared.v4.u32 [%r2+512], {{%r20,%r21,%r22,%r23}};\n\
                 ld.global.v4.u32 {{%r20,%r21,%r22,%r23}}, [%rd3+512]; st.shared.v4.u32 [%r2], {{%r20,%r21,%r22,%r23}};\n\
                 @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; fence.mbarrier_init.release.cluster; {MEET}\
                 mov.u32 %r10, data; mapa.shared::cluster.u32 %r11, %r10, %r5; mapa.shared::cluster.u32 %r12, %r7, %r5;\n\
                 @%p1 mbarrier.arrive.expect_tx.shared.b64 %rd8, [bar], 496;\n\
                 @%p1 cp.reduce.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes.{op}.{ty} \
                 [%r11], [%r10+512], 496, [%r12];\n{WAIT}{STORE}{MEET}"
            );
            let (element, one) = reduced(op, ty, old, new, 496);
            let right: Right = Box::new(move |at, got| one(at % 512, got));
            let text = kernel("sm_90", 2, HEAD, &body);
            out.push(Case { text, input, output: vec![0; 1024], element, blocks: 2, right });
        }
    }
    out
}

/// `st.async` and `red.async`: each thread writes to the other block, whose barrier counts the bytes.
pub fn remote_stores() -> Vec<Case> {
    let mut out: Vec<Case> = Vec::new();
    let mut one =
        |opcode: String, width: usize, count: usize, right: &dyn Fn(Vec<u8>, Vec<u8>) -> (usize, Right), ty: &str| {
            let (new, old) = (elements(ty, 11, 512), elements(ty, 12, 512));
            let input = [new.clone(), old.clone()].concat();
            let (letter, load) = if width == 8 { ("rd", "ld.global.u64") } else { ("r", "ld.global.u32") };
            let registers: Vec<String> = (0..count).map(|k| format!("%{letter}{}", 30 + k)).collect();
            let loads: String =
                registers.iter().enumerate().map(|(k, r)| format!("{load} {r}, [%rd3+{}];\n", k * width)).collect();
            let list = if count == 1 { registers[0].clone() } else { format!("{{{}}}", registers.join(",")) };
            let named = opcode.contains(".shared::cluster");
            let (to, bar) = if named { ("%r11", "%r12") } else { ("%rd11", "%rd12") };
            let generic = if named {
                ""
            } else {
                "cvt.u64.u32 %rd11, %r11; cvta.shared::cluster.u64 %rd11, %rd11;\n\
             cvt.u64.u32 %rd12, %r12; cvta.shared::cluster.u64 %rd12, %rd12;\n"
            };
            let body = format!(
                "{BEGIN}mov.u32 %r5, %cluster_ctarank; xor.b32 %r5, %r5, 1;\n\
             ld.global.v4.u32 {{%r20,%r21,%r22,%r23}}, [%rd3+512]; st.shared.v4.u32 [%r2], {{%r20,%r21,%r22,%r23}};\n\
             @%p1 mbarrier.init.shared.b64 [bar], 1; fence.mbarrier_init.release.cluster; {MEET}\
             mapa.shared::cluster.u32 %r11, %r2, %r5; mapa.shared::cluster.u32 %r12, %r7, %r5;\n\
             @%p1 mbarrier.arrive.expect_tx.shared.b64 %rd8, [bar], {};\n{loads}\
             {generic}{opcode} [{to}], {list}, [{bar}];\n\
             {WAIT}{STORE}{MEET}",
                32 * width * count
            );
            let (element, one) = right(old, new);
            let right: Right = Box::new(move |at, got| one(at % 512, got));
            let text = kernel("sm_90", 2, HEAD, &body);
            out.push(Case { text, input, output: vec![0; 1024], element, blocks: 2, right });
        };
    for weak in ["", ".weak"] {
        for ty in ["b32", "u32", "s32", "f32", "b64", "u64", "s64", "f64"] {
            for (vector, count) in [("", 1usize), (".v2", 2), (".v4", 4)] {
                let width = if ty.ends_with("64") { 8 } else { 4 };
                if width * count > 16 {
                    continue;
                }
                let written = move |old: Vec<u8>, new: Vec<u8>| -> (usize, Right) {
                    let mut want = old;
                    for t in 0..32 {
                        let range = 16 * t..16 * t + width * count;
                        want[range.clone()].copy_from_slice(&new[range]);
                    }
                    (1, exactly(want))
                };
                for space in ["", ".shared::cluster"] {
                    let opcode = format!("st.async{weak}{space}.mbarrier::complete_tx::bytes{vector}.{ty}");
                    one(opcode, width, count, &written, "u32");
                }
            }
        }
    }
    let operations: [(&'static str, &[&'static str]); 8] = [
        ("add", &["u32", "s32", "u64"]),
        ("min", &["u32", "s32"]),
        ("max", &["u32", "s32"]),
        ("inc", &["u32"]),
        ("dec", &["u32"]),
        ("and", &["b32"]),
        ("or", &["b32"]),
        ("xor", &["b32"]),
    ];
    for (op, types) in operations {
        for ty in types {
            let width = if ty.ends_with("64") { 8 } else { 4 };
            for space in ["", ".shared::cluster"] {
                let opcode = format!("red.async.relaxed.cluster{space}.mbarrier::complete_tx::bytes.{op}.{ty}");
                let changed = move |old: Vec<u8>, new: Vec<u8>| -> (usize, Right) {
                    let right = move |at: usize, got: u64| {
                        let was = value(&old, at, width);
                        if at.is_multiple_of(16) {
                            updated(op, ty, was, value(&new, at, width), got)
                        } else {
                            got == was
                        }
                    };
                    (width, Box::new(right))
                };
                one(opcode, width, 1, &changed, ty);
            }
        }
    }
    out
}

/// Atomics on 16 bytes of each thread: vectors of floats, and 128-bit exchanges.
pub fn wide_atomics() -> Vec<Case> {
    let mut out = Vec::new();
    let vectors: [(&'static str, &[usize], &[&'static str]); 5] = [
        ("f32", &[2, 4], &["add"]),
        ("f16", &[2, 4, 8], &["add", "min", "max"]),
        ("bf16", &[2, 4, 8], &["add", "min", "max"]),
        ("f16x2", &[2, 4], &["add", "min", "max"]),
        ("bf16x2", &[2, 4], &["add", "min", "max"]),
    ];
    for (ty, counts, operations) in vectors {
        for count in counts {
            for op in operations {
                for (order, space) in
                    [("", ".global"), (".relaxed.gpu", ".global"), (".release.sys", ".global"), ("", "")]
                {
                    for hint in [false, true] {
                        let (old, new) = (elements(ty, 13, 512), elements(ty, 14, 512));
                        let small = matches!(ty, "f16" | "bf16");
                        let width = if small { 2 } else { 4 };
                        let (letter, load) = if small { ("h", "b16") } else { ("r", "b32") };
                        let list = |first: usize| -> Vec<String> {
                            (0..*count).map(|k| format!("%{letter}{}", first + k)).collect()
                        };
                        let (values, olds) = (list(30), list(40));
                        let mut body = format!("{BEGIN}createpolicy.fractional.L2::evict_first.b64 %rd7;\n");
                        for (k, r) in values.iter().enumerate() {
                            body += &format!("ld.global.{load} {r}, [%rd3+{}];\n", width * k);
                        }
                        let noftz = if ty == "f32" { "" } else { ".noftz" };
                        let (flag, policy) = if hint { (".L2::cache_hint", ", %rd7") } else { ("", "") };
                        let tail = format!("{order}{space}.{op}{noftz}{flag}.v{count}.{ty}");
                        // The first of two threads that share a place uses `red`; what `atom` returns lies behind.
                        body += &format!(
                            "red{tail} [%rd4], {{{}}}{policy};\natom{tail} {{{}}}, [%rd4+512], {{{}}}{policy};\n",
                            values.join(","),
                            olds.join(","),
                            values.join(",")
                        );
                        for (k, r) in olds.iter().enumerate() {
                            body += &format!("st.global.{load} [%rd4+{}], {r};\n", 1024 + width * k);
                        }
                        let output = [old.clone(), old.clone(), old.clone()].concat();
                        let element = format(ty).map_or(4, |f| f.bits as usize / 8);
                        let bytes = width * count;
                        let right = move |at: usize, got: u64| {
                            let place = at % 512;
                            let was = value(&old, place, element);
                            // A third of the output is what `atom` returned, which is what was there.
                            if at < 1024 && place % 16 < bytes {
                                updated(op, ty, was, value(&new, place, element), got)
                            } else {
                                got == was
                            }
                        };
                        out.push(Case {
                            text: kernel("sm_90", 2, HEAD, &body),
                            input: elements(ty, 14, 512),
                            output,
                            element,
                            blocks: 1,
                            right: Box::new(right),
                        });
                    }
                }
            }
        }
    }
    for op in ["exch", "cas"] {
        for space in [".global", "", ".shared", ".shared::cta", ".shared::cluster"] {
            for order in ["", ".relaxed", ".acquire", ".release", ".acq_rel"] {
                for scope in ["", ".cta", ".cluster", ".gpu", ".sys"] {
                    let (old, new) = (random(15, 512), random(16, 512));
                    // What is compared: the same, or one half of it, or nothing alike.
                    let mut compared = old.clone();
                    for t in 0..32 {
                        if t % 3 > 0 {
                            compared[16 * t + 8 * (t % 2) + 5] ^= 0x40;
                        }
                    }
                    let input = [new.clone(), compared.clone()].concat();
                    let shared = space.starts_with(".shared");
                    let place = if shared { "%r2" } else { "%rd4" };
                    let mut body = format!(
                        "{BEGIN}ld.global.v2.u64 {{%rd10,%rd11}}, [%rd3]; ld.global.v2.u64 {{%rd12,%rd13}}, [%rd3+512];\n\
                         mov.b128 %q1, {{%rd10,%rd11}}; mov.b128 %q2, {{%rd12,%rd13}};\n"
                    );
                    if shared {
                        body += "ld.global.v2.u64 {%rd14,%rd15}, [%rd4]; st.shared.v2.u64 [%r2], {%rd14,%rd15};\n";
                    }
                    let operands = if op == "cas" { "%q2, %q1" } else { "%q1" };
                    body += &format!(
                        "atom{order}{scope}{space}.{op}.b128 %q3, [{place}], {operands};\nmov.b128 {{%rd16,%rd17}}, %q3;\n\
                         st.global.v2.u64 [%rd4+512], {{%rd16,%rd17}};\n"
                    );
                    if shared {
                        body += "ld.shared.v2.u64 {%rd14,%rd15}, [%r2]; st.global.v2.u64 [%rd4], {%rd14,%rd15};\n";
                    }
                    let mut want = old.clone();
                    for t in 0..32 {
                        let range = 16 * t..16 * t + 16;
                        if op == "exch" || compared[range.clone()] == old[range.clone()] {
                            want[range.clone()].copy_from_slice(&new[range]);
                        }
                    }
                    want.extend(&old);
                    out.push(Case {
                        text: kernel("sm_90", 2, HEAD, &body),
                        input,
                        output: [old, vec![0; 512]].concat(),
                        element: 1,
                        blocks: 1,
                        right: exactly(want),
                    });
                }
            }
        }
    }
    out
}

#[test]
fn reductions_in_bulk() {
    check(&bulk_reductions());
}

#[test]
fn stores_to_other_blocks() {
    check(&remote_stores());
}

#[test]
fn vectors_and_wide_words() {
    check(&wide_atomics());
}

/// What the modules of these tests execute.
pub fn texts() -> Vec<String> {
    [bulk_reductions(), remote_stores(), wide_atomics()].into_iter().flatten().map(|c| c.text).collect()
}
