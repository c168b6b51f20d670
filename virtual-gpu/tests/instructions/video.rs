//! Video instructions, every type, part, saturation and second operation, against the pseudocode of the PTX ISA on bytes.
//! `alloca` and vector moves besides.

use super::machine::{Random, block, kernel, load, run};
use virtual_gpu::model::DeviceModel;

type Reference = Box<dyn Fn(u32, u32, u32) -> u32>;

/// Runs instructions that read %r1, %r2 and %r3 (and keep them) and write %r4, on edge values and random ones.
fn check(rows: &[(String, Reference)], random: &mut Random) {
    let edges = [0, 1, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0x80ff_7f01];
    let input: Vec<[u32; 3]> = (0..128)
        .map(|n| {
            let pick = |random: &mut Random| {
                if n < 64 { edges[random.below(12) as usize] } else { random.next() }
            };
            [pick(random), pick(random), pick(random)]
        })
        .collect();
    let bytes: Vec<u8> = input.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    for part in rows.chunks(64) {
        let mut body = "mov.u32 %r10, %tid.x; mul.wide.u32 %rd10, %r10, 12; add.u64 %rd10, %rd10, %rd1;\n\
                        ld.global.u32 %r1, [%rd10]; ld.global.u32 %r2, [%rd10+4]; ld.global.u32 %r3, [%rd10+8];\n"
            .to_string();
        body += &format!("mul.wide.u32 %rd11, %r10, {}; add.u64 %rd11, %rd11, %rd2;\n", 4 * part.len());
        for (n, (text, _)) in part.iter().enumerate() {
            body += &format!("{text}\nst.global.u32 [%rd11+{}], %r4;\n", 4 * n);
        }
        let buffers = [bytes.clone(), vec![0; 4 * 128 * part.len()]];
        let out = run(&kernel("sm_80", 2, "", &body), &block(DeviceModel::A100, 128), &buffers, 0);
        let out = out.unwrap_or_else(|e| panic!("{e}")).remove(1);
        for (t, [a, b, c]) in input.iter().enumerate() {
            for (n, (text, reference)) in part.iter().enumerate() {
                let at = 4 * (t * part.len() + n);
                let got = u32::from_le_bytes(out[at..at + 4].try_into().expect("four bytes"));
                let want = reference(*a, *b, *c);
                assert_eq!(got, want, "{text} on {a:#x}, {b:#x}, {c:#x}: {got:#x}, not {want:#x}");
            }
        }
    }
}

fn select(v: u32, part: &str, ty: &str) -> i64 {
    let bytes = v.to_le_bytes();
    match (part, ty) {
        ("", "u32") => i64::from(v),
        ("", _) => i64::from(v as i32),
        (p, _) if p.starts_with(".b") => {
            let b = bytes[p[2..].parse::<usize>().expect("a digit")];
            if ty == "u32" { i64::from(b) } else { i64::from(b as i8) }
        }
        (p, _) => {
            let at = 2 * p[2..].parse::<usize>().expect("a digit");
            let h = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
            if ty == "u32" { i64::from(h) } else { i64::from(h as i16) }
        }
    }
}

fn saturate(v: i64, part: &str, ty: &str) -> i64 {
    let (low, high) = match (part.get(..2), ty) {
        (Some(".b"), "u32") => (0, 255),
        (Some(".b"), _) => (-128, 127),
        (Some(_), "u32") => (0, 65_535),
        (Some(_), _) => (-32_768, 32_767),
        (None, "u32") => (0, i64::from(u32::MAX)),
        (None, _) => (i64::from(i32::MIN), i64::from(i32::MAX)),
    };
    v.max(low).min(high)
}

fn merge(v: i64, part: &str, c: u32) -> u32 {
    let mut bytes = c.to_le_bytes();
    let from = (v as u32).to_le_bytes();
    match part.get(..2) {
        None => return v as u32,
        Some(".b") => bytes[part[2..].parse::<usize>().expect("a digit")] = from[0],
        Some(_) => {
            let at = 2 * part[2..].parse::<usize>().expect("a digit");
            bytes[at..at + 2].copy_from_slice(&from[..2]);
        }
    }
    u32::from_le_bytes(bytes)
}

fn second(op: &str, v: i64, c: u32, ty: &str) -> u32 {
    let (v, c) =
        if ty == "u32" { (i64::from(v as u32), i64::from(c)) } else { (i64::from(v as i32), i64::from(c as i32)) };
    (match op {
        ".add" => v + c,
        ".min" => v.min(c),
        _ => v.max(c),
    }) as u32
}

fn plain(op: &str, a: i64, b: i64) -> i64 {
    match op {
        "vadd" => a + b,
        "vsub" => a - b,
        "vabsdiff" => a.abs_diff(b) as i64,
        "vmin" => a.min(b),
        "vmax" => a.max(b),
        other => panic!("{other}"),
    }
}

const PARTS: [&str; 7] = ["", ".b0", ".b1", ".b2", ".b3", ".h0", ".h1"];
const TYPES: [&str; 2] = ["u32", "s32"];

/// All types, and parts that go round.
fn combinations(mut f: impl FnMut([&'static str; 3], [&'static str; 3])) {
    let mut n = 0usize;
    for d in TYPES {
        for a in TYPES {
            for b in TYPES {
                for _ in 0..7 {
                    n += 3;
                    f([d, a, b], [PARTS[n % 7], PARTS[n / 7 % 7], PARTS[n / 2 % 7]]);
                }
            }
        }
    }
}

#[test]
fn scalars() {
    let mut random = Random(11);
    let mut rows: Vec<(String, Reference)> = Vec::new();
    for op in ["vadd", "vsub", "vabsdiff", "vmin", "vmax"] {
        for sat in ["", ".sat"] {
            combinations(|[d, a, b], [pa, pb, pd]| {
                let whole = move |x: u32, y: u32, part: &str| {
                    let v = plain(op, select(x, pa, a), select(y, pb, b));
                    if sat.is_empty() { v } else { saturate(v, part, d) }
                };
                let head = format!("{op}.{d}.{a}.{b}{sat}");
                if pd.is_empty() {
                    let text = format!("{head} %r4, %r1{pa}, %r2{pb};");
                    rows.push((text, Box::new(move |x, y, _| whole(x, y, "") as u32)));
                    for s in [".add", ".min", ".max"] {
                        let text = format!("{head}{s} %r4, %r1{pa}, %r2{pb}, %r3;");
                        rows.push((text, Box::new(move |x, y, z| second(s, whole(x, y, ""), z, d))));
                    }
                } else {
                    let text = format!("{head} %r4{pd}, %r1{pa}, %r2{pb}, %r3;");
                    rows.push((text, Box::new(move |x, y, z| merge(whole(x, y, pd), pd, z))));
                }
            });
        }
    }
    check(&rows, &mut random);
}

#[test]
fn shifts_and_comparisons() {
    let mut random = Random(12);
    let mut rows: Vec<(String, Reference)> = Vec::new();
    for op in ["vshl", "vshr"] {
        for mode in [".clamp", ".wrap"] {
            for sat in ["", ".sat"] {
                combinations(|[d, a, _], [pa, pb, pd]| {
                    let value = move |x: u32, y: u32| {
                        let amount = select(y, pb, "u32");
                        let amount = if mode == ".wrap" { amount % 32 } else { amount.min(32) };
                        let x = i128::from(select(x, pa, a));
                        // Shifts are products and floored quotients.
                        let v = if op == "vshl" { x << amount } else { x.div_euclid(1 << amount) } as i64;
                        if sat.is_empty() { v } else { saturate(v, pd, d) }
                    };
                    let (tail, keep) = if pd.is_empty() { ("", false) } else { (", %r3", true) };
                    let text = format!("{op}.{d}.{a}.u32{sat}{mode} %r4{pd}, %r1{pa}, %r2{pb}{tail};");
                    rows.push((text, Box::new(move |x, y, z| merge(value(x, y), if keep { pd } else { "" }, z))));
                });
            }
        }
    }
    let compare = |c: &'static str, x: i64, y: i64| {
        i64::from(match c {
            "eq" => x == y,
            "ne" => x != y,
            "lt" => x < y,
            "le" => x <= y,
            "gt" => x > y,
            _ => x >= y,
        })
    };
    for c in ["eq", "ne", "lt", "le", "gt", "ge"] {
        combinations(|[_, a, b], [pa, pb, pd]| {
            let value = move |x: u32, y: u32| compare(c, select(x, pa, a), select(y, pb, b));
            let text = format!("vset.{a}.{b}.{c}.add %r4, %r1{pa}, %r2{pb}, %r3;");
            rows.push((text, Box::new(move |x, y, z| z.wrapping_add(value(x, y) as u32))));
            let tail = if pd.is_empty() { "" } else { ", %r3" };
            let text = format!("vset.{a}.{b}.{c} %r4{pd}, %r1{pa}, %r2{pb}{tail};");
            rows.push((text, Box::new(move |x, y, z| merge(value(x, y), pd, z))));
        });
    }
    check(&rows, &mut random);
}

#[test]
fn multiply_and_add() {
    let mut random = Random(13);
    let mut rows: Vec<(String, Reference)> = Vec::new();
    for (sat, shift) in [("", 0), (".sat", 0), ("", 7), (".sat", 7), ("", 15), (".sat", 15)] {
        for (na, nb, nc, po) in [
            (false, false, false, false),
            (true, false, false, false),
            (false, true, false, false),
            (false, false, true, false),
            (true, true, false, false),
            (false, false, false, true),
        ] {
            combinations(|[d, a, b], [pa, pb, _]| {
                let scale = if shift == 0 { String::new() } else { format!(".shr{shift}") };
                let minus = |n: bool| if n { "-" } else { "" };
                let text = format!(
                    "vmad.{d}.{a}.{b}{}{sat}{scale} %r4, {}%r1{pa}, {}%r2{pb}, {}%r3;",
                    if po { ".po" } else { "" },
                    minus(na),
                    minus(nb),
                    minus(nc)
                );
                let signed = a == "s32" || b == "s32" || na != nb || nc;
                let value = move |x: u32, y: u32, z: u32| {
                    let product = i128::from(select(x, pa, a)) * i128::from(select(y, pb, b));
                    let c = i128::from(if signed { i64::from(z as i32) } else { i64::from(z) });
                    let sum = if na != nb { -product } else { product } + if nc { -c } else { c } + i128::from(po);
                    let v = sum.div_euclid(1 << shift);
                    let (low, high) = if signed { (-1i128 << 31, (1 << 31) - 1) } else { (0, (1 << 32) - 1) };
                    if sat.is_empty() { v as u32 } else { v.clamp(low, high) as u32 }
                };
                rows.push((text, Box::new(value)));
            });
        }
    }
    check(&rows, &mut random);
}

/// Element `k` of the eight bytes or four halves of a and b.
fn element(a: u32, b: u32, k: usize, bits: u32, ty: &str) -> i64 {
    let all = [a.to_le_bytes(), b.to_le_bytes()].concat();
    match (bits, ty) {
        (8, "u32") => i64::from(all[k]),
        (8, _) => i64::from(all[k] as i8),
        (_, "u32") => i64::from(u16::from_le_bytes([all[2 * k], all[2 * k + 1]])),
        _ => i64::from(u16::from_le_bytes([all[2 * k], all[2 * k + 1]]) as i16),
    }
}

#[test]
fn simd() {
    let mut random = Random(14);
    let mut rows: Vec<(String, Reference)> = Vec::new();
    for (count, bits, letter) in [(2usize, 16u32, 'h'), (4, 8, 'b')] {
        for op in ["vadd", "vsub", "vavrg", "vabsdiff", "vmin", "vmax", "vset"] {
            for (d, a, b) in
                [("u32", "u32", "u32"), ("s32", "s32", "s32"), ("u32", "s32", "u32"), ("s32", "u32", "s32")]
            {
                for (form, compare) in
                    ["", ".sat", ".add"].into_iter().flat_map(|f| ["eq", "ne", "lt", "le", "gt", "ge"].map(|c| (f, c)))
                {
                    if (op != "vset" && compare != "eq") || (op == "vset" && (form == ".sat" || d != "u32")) {
                        continue;
                    }
                    // Masks and selectors, as digits from the highest down.
                    let mask: Vec<usize> = (0..count).filter(|_| random.below(4) != 0).collect();
                    let mask = if mask.is_empty() { vec![count - 1] } else { mask };
                    let mut digits =
                        || -> Vec<usize> { (0..count).map(|_| random.below(2 * count as u32) as usize).collect() };
                    let (sa, sb) = (digits(), digits());
                    let name = |list: &[usize]| {
                        format!(".{letter}{}", list.iter().rev().map(ToString::to_string).collect::<String>())
                    };
                    let types = if op == "vset" { format!("{a}.{b}.{compare}") } else { format!("{d}.{a}.{b}") };
                    let root = format!("{op}{count}.{types}{form}");
                    let value = move |x: i64, y: i64| match op {
                        "vavrg" if x + y >= 0 => (x + y + 1) / 2,
                        "vavrg" => (x + y).div_euclid(2),
                        "vset" => i64::from(match compare {
                            "eq" => x == y,
                            "ne" => x != y,
                            "lt" => x < y,
                            "le" => x <= y,
                            "gt" => x > y,
                            _ => x >= y,
                        }),
                        _ => plain(op, x, y),
                    };
                    let reference = move |mask: Vec<usize>, sa: Vec<usize>, sb: Vec<usize>| -> Reference {
                        Box::new(move |x, y, z| {
                            let (mut sum, mut bytes) = (z, z.to_le_bytes());
                            for k in &mask {
                                let v = value(element(x, y, sa[*k], bits, a), element(x, y, sb[*k], bits, b));
                                sum = sum.wrapping_add(v as u32);
                                let v = if form == ".sat" {
                                    saturate(v, if bits == 8 { ".b0" } else { ".h0" }, d)
                                } else {
                                    v
                                };
                                let n = bits as usize / 8;
                                bytes[n * k..n * (k + 1)].copy_from_slice(&v.to_le_bytes()[..n]);
                            }
                            if form == ".add" { sum } else { u32::from_le_bytes(bytes) }
                        })
                    };
                    let text = format!("{root} %r4{}, %r1{}, %r2{}, %r3;", name(&mask), name(&sa), name(&sb));
                    rows.push((text, reference(mask, sa, sb)));
                    let text = format!("{root} %r4, %r1, %r2, %r3;");
                    let (all, low, high) = ((0..count).collect(), (0..count).collect(), (count..2 * count).collect());
                    rows.push((text, reference(all, low, high)));
                }
            }
        }
    }
    check(&rows, &mut random);
}

#[test]
fn what_is_refused() {
    for text in [
        "vadd.u32.u32.u32 %r4.b0, %r1, %r2;",
        "vadd.u32.u32.u32.add %r4.b0, %r1, %r2, %r3;",
        "vadd.u32.u32.u32 %r4, %r1.b4, %r2;",
        "vadd.u32.u32.f32 %r4, %r1, %r2;",
        "vadd2.u32.u32.u32 %r4.h01, %r1, %r2, %r3;",
        "vadd2.u32.u32.u32 %r4, %r1.h4, %r2, %r3;",
        "vadd4.u32.u32.u32.sat.add %r4, %r1, %r2, %r3;",
        "vshl.u32.u32.u32 %r4, %r1, %r2;",
        "vmad.u32.u32.u32.po %r4, -%r1, %r2, %r3;",
        "add.u32 %r4, %r1.b0, %r2;",
        "add.u32 %r4, -%r1, %r2;",
    ] {
        let e = load(&kernel("sm_80", 0, "", text), &DeviceModel::A100).err().expect(text);
        let root = text.split('.').next().expect("a root");
        assert!(e.message.contains(root), "{e}");
    }
}

/// Functions take memory of different sizes for each lane, and have given it back when they return.
#[test]
fn stacks() {
    let head = ".func (.reg .u32 %out) sum(.reg .u32 %n)\n{\n.reg .pred %p<2>; .reg .b32 %r<8>; .reg .b64 %rd<8>;\n\
                mul.wide.u32 %rd1, %n, 4; alloca.u64 %rd2, %rd1, 16; mov.u32 %r1, 0; mov.u32 %out, 0;\n\
                FILL: setp.ge.u32 %p1, %r1, %n; @%p1 bra READ;\n\
                mul.wide.u32 %rd3, %r1, 4; add.u64 %rd3, %rd3, %rd2; st.local.u32 [%rd3], %r1; add.u32 %r1, %r1, 1; bra FILL;\n\
                READ: setp.eq.u32 %p1, %r1, 0; @%p1 bra DONE;\n\
                sub.u32 %r1, %r1, 1; mul.wide.u32 %rd3, %r1, 4; add.u64 %rd3, %rd3, %rd2; cvta.local.u64 %rd4, %rd3;\n\
                ld.u32 %r2, [%rd4]; add.u32 %out, %out, %r2; bra READ;\nDONE: ret;\n}";
    // 400 calls of up to 2,000 bytes fit because each gives its memory back.
    let body = "mov.u32 %r1, %tid.x; mov.u32 %r2, 0; mov.u32 %r3, 0;\n\
                LOOP: mad.lo.u32 %r4, %r1, 7, %r2; rem.u32 %r4, %r4, 500; call (%r5), sum, (%r4); add.u32 %r3, %r3, %r5;\n\
                add.u32 %r2, %r2, 1; setp.lt.u32 %p1, %r2, 400; @%p1 bra LOOP;\n\
                mul.wide.u32 %rd5, %r1, 4; add.u64 %rd5, %rd5, %rd1; st.global.u32 [%rd5], %r3;";
    let out = run(&kernel("sm_80", 1, head, body), &block(DeviceModel::A100, 32), &[vec![0; 128]], 0);
    let out = out.unwrap_or_else(|e| panic!("{e}")).remove(0);
    for (t, got) in out.chunks(4).enumerate() {
        let want: u32 = (0..400).map(|k| (t as u32 * 7 + k) % 500).map(|n| (0..n).sum::<u32>()).sum();
        assert_eq!(u32::from_le_bytes(got.try_into().expect("four bytes")), want);
    }
    let fault = |body: &str| run(&kernel("sm_80", 1, "", body), &block(DeviceModel::A100, 1), &[vec![0; 8]], 0);
    let saved = "stacksave.u64 %rd2; mov.u64 %rd3, 6000; alloca.u64 %rd4, %rd3; stackrestore.u64 %rd2;";
    let good = format!("{}alloca.u32 %r1, 64, 32; and.b32 %r1, %r1, 31; st.global.u32 [%rd1], %r1;", saved.repeat(5));
    assert_eq!(fault(&good).unwrap_or_else(|e| panic!("{e}"))[0][0], 0);
    let kept = saved.replace("stackrestore.u64 %rd2;", "").repeat(5);
    for (body, want) in [
        (kept.as_str(), "stack has"),
        ("alloca.u64 %rd2, 16; st.local.u32 [%rd2+16], 1;", "out-of-bounds write"),
        ("alloca.u64 %rd2, 16; ld.local.u32 %r1, [%rd2]; st.global.u32 [%rd1], %r1;", "uninitialised"),
        ("mov.u64 %rd2, 9000; stackrestore.u64 %rd2; alloca.u64 %rd3, 8;", "stackrestore"),
    ] {
        let report = fault(body).expect_err(body).report;
        assert!(report.contains(want), "{report}");
    }
}

#[test]
fn vector_moves_and_packed_sets() {
    let body = "mov.v4.u32 {%r1,%r2,%r3,%r4}, %tid; mov.v2.u32 {%r1,%r2}, {%r2,%r1};\n\
                st.global.v4.u32 [%rd1], {%r1,%r2,%r3,%r4};\n\
                mov.b32 %r5, 0x3c004000; mov.b32 %r6, 0x3c003c00; setp.eq.u32 %p1, 1, 0;\n\
                set.gt.f16x2.f16x2 %r7, %r5, %r6; set.gt.or.f16x2.f16x2 %r8, %r5, %r6, !%p1;\n\
                set.gt.and.f16x2.f16x2 %r9, %r5, %r6, %p1; set.gt.xor.f16x2.f16x2 %r10, %r5, %r6, !%p1;\n\
                st.global.v4.u32 [%rd1+16], {%r7,%r8,%r9,%r10};\n\
                cvt.pack.sat.u2.s32.b32 %r11, 9, -1, 5; cvt.pack.sat.s2.s32.b32 %r12, -9, 1, 5;\n\
                st.global.v2.u32 [%rd1+32], {%r11,%r12};";
    let config = virtual_gpu::machine::LaunchConfig { block: [1, 3, 1], ..block(DeviceModel::A100, 1) };
    let body = format!("mov.u32 %r20, %tid.y; setp.ne.u32 %p2, %r20, 2; @%p2 ret;\n{body}");
    let out = run(&kernel("sm_80", 1, "", &body), &config, &[vec![0; 40]], 0).unwrap_or_else(|e| panic!("{e}"));
    let words: Vec<u32> = out[0].chunks(4).map(|c| u32::from_le_bytes(c.try_into().expect("four bytes"))).collect();
    assert_eq!(words[..4], [2, 0, 0, 0]);
    // 2.0 > 1.0 in the low half, 1.0 > 1.0 not in the high one.
    assert_eq!(words[4..8], [0x3c00, 0x3c00_3c00, 0, 0x3c00_0000]);
    // Two bits each: 3, 0 beside the third operand moved up; -2, 1.
    assert_eq!(words[8..], [5 << 4 | 3 << 2, 5 << 4 | 2 << 2 | 1]);
}

/// Instructions that the module's target does not have, as ptxas 12.9 refuses them.
#[test]
fn targets() {
    for (need, text) in [
        ("sm_90", "mapa.shared::cluster.u32 %r1, %r2, %r3;"),
        ("sm_90", "mov.u32 %r1, %cluster_ctarank;"),
        ("sm_90", "cp.async.bulk.commit_group;"),
        ("sm_90", "fence.acq_rel.cluster;"),
        ("sm_90", "fence.proxy.async;"),
        ("sm_90", "ld.shared::cluster.u32 %r1, [%r2];"),
        ("sm_90", "add.bf16x2 %r1, %r2, %r3;"),
        ("sm_90", "barrier.cluster.arrive;"),
        ("sm_90a", "setmaxnreg.dec.sync.aligned.u32 64;"),
        ("sm_90a", "wgmma.fence.sync.aligned;"),
        ("sm_89", "cvt.rn.f16x2.e4m3x2 %r1, %h1;"),
    ] {
        let older = match need {
            "sm_90" => "sm_89",
            "sm_90a" => "sm_90",
            _ => "sm_80",
        };
        let model = &DeviceModel::H100;
        load(&kernel(need, 0, "", text), model).map(|_| ()).unwrap_or_else(|e| panic!("{e}"));
        let e = load(&kernel(older, 0, "", text), model).err().expect(text);
        assert!(e.message.contains(&format!("needs .target {need}, the module's is {older}")), "{e}");
    }
    // These look alike and need less.
    for text in ["fence.acquire.gpu;", "fma.rn.bf16x2 %r1, %r2, %r3, %r4;", "ld.param::func.u64 %rd2, [p1];"] {
        load(&kernel("sm_80", 1, "", text), &DeviceModel::A100).map(|_| ()).unwrap_or_else(|e| panic!("{e}"));
    }
}
