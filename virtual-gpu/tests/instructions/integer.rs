//! Instruction forms against scalar references, on edge values and random ones.

use std::sync::Arc;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// Applies an instruction to each triple of operands; `wide` says which operands and whether the result have 64 bits.
fn apply(instruction: &str, triples: &[[u64; 3]], wide: [bool; 4]) -> Vec<u64> {
    let reg = |k: usize| if wide[k] { format!("%rd{}", 10 + k) } else { format!("%r{}", 10 + k) };
    let op = instruction.replace("$d", &reg(3)).replace("$a", &reg(0)).replace("$b", &reg(1)).replace("$c", &reg(2));
    let mut body = String::new();
    for k in 0..3 {
        let ty = if wide[k] { "u64" } else { "u32" };
        body += &format!("ld.global.{ty} {}, [%rd3+{}];\n", reg(k), 8 * k);
    }
    body += &format!("{op}\n");
    body += &if wide[3] {
        "st.global.u64 [%rd6], %rd13;\n".to_string()
    } else {
        "cvt.u64.u32 %rd13, %r13; st.global.u64 [%rd6], %rd13;\n".to_string()
    };
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u64 q, .param .u32 n)\n{{\n\
         .reg .pred %p<8>;\n.reg .b16 %h<16>;\n.reg .b32 %r<32>;\n.reg .b64 %rd<32>;\nld.param.u64 %rd1, [p];\n\
         ld.param.u64 %rd4, [q];\nld.param.u32 %r3, [n];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %ctaid.x;\n\
         mad.lo.u32 %r1, %r2, 128, %r1;\nsetp.ge.u32 %p7, %r1, %r3;\n@%p7 ret;\nmul.wide.u32 %rd2, %r1, 24;\n\
         add.u64 %rd3, %rd1, %rd2;\nmul.wide.u32 %rd5, %r1, 8;\nadd.u64 %rd6, %rd4, %rd5;\n{body}ret;\n}}\n"
    );
    let model = DeviceModel::A100;
    let options = LoadOptions { driver_version: 12080, max_ptx: (8, 7) };
    let program = Program::load(&text, &model, &options).unwrap_or_else(|e| panic!("{e}\n{op}"));
    let memory = Arc::new(Memory::new(&model));
    let module = Module::instantiate(Arc::new(program), memory.clone()).expect("the module has room");
    let input: Vec<u8> = triples.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    let p = memory.alloc(input.len() as u64, AllocationKind::Device).expect("there is room");
    let q = memory.alloc(8 * triples.len() as u64, AllocationKind::Device).expect("there is room");
    memory.write(p, &input).expect("the allocation is live");
    let mut params = p.to_le_bytes().to_vec();
    params.extend(q.to_le_bytes());
    params.extend((triples.len() as u32).to_le_bytes());
    let grid = [triples.len().div_ceil(128) as u32, 1, 1];
    let config = LaunchConfig { grid, block: [128, 1, 1], model, ..LaunchConfig::default() };
    launch(&module, 0, &config, &params, &Checks::default(), Schedule::default()).unwrap_or_else(|e| panic!("{e}"));
    let mut out = vec![0u8; 8 * triples.len()];
    memory.read(q, &mut out, true).unwrap_or_else(|e| panic!("{e}"));
    out.chunks_exact(8).map(|c| c.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))).collect()
}

fn triples(wide: bool) -> Vec<[u64; 3]> {
    let edges: &[u64] = if wide {
        &[0, 1, 2, 31, 63, 64, 0x7fff_ffff, 0xffff_ffff, 1 << 32, i64::MAX as u64, 1 << 63, u64::MAX, u64::MAX - 1]
    } else {
        &[0, 1, 2, 7, 31, 32, 33, 255, 0x7fff, 0xffff, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff, 0xffff_fffe]
    };
    let mut out = Vec::new();
    for a in edges {
        for b in edges {
            out.push([*a, *b, edges[(out.len() * 7) % edges.len()]]);
        }
    }
    let mut x = 0x1234_5678_9abc_def0u64;
    for _ in 0..200 {
        out.push(std::array::from_fn(|_| {
            x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            if wide { x ^ x >> 29 } else { x >> 32 }
        }));
    }
    out
}

type Row32 = (&'static str, fn(u32, u32, u32) -> u32);

#[test]
fn integers_of_32_bits() {
    let rows: &[Row32] = &[
        ("add.u32 $d, $a, $b;", |a, b, _| a.wrapping_add(b)),
        ("add.sat.s32 $d, $a, $b;", |a, b, _| {
            (i64::from(a as i32) + i64::from(b as i32)).clamp(-1 << 31, (1 << 31) - 1) as u32
        }),
        ("sub.sat.s32 $d, $a, $b;", |a, b, _| {
            (i64::from(a as i32) - i64::from(b as i32)).clamp(-1 << 31, (1 << 31) - 1) as u32
        }),
        ("mul.lo.s32 $d, $a, $b;", |a, b, _| (i64::from(a as i32) * i64::from(b as i32)) as u32),
        ("mul.hi.s32 $d, $a, $b;", |a, b, _| ((i64::from(a as i32) * i64::from(b as i32)) >> 32) as u32),
        ("mul.hi.u32 $d, $a, $b;", |a, b, _| ((u64::from(a) * u64::from(b)) >> 32) as u32),
        ("mad.lo.u32 $d, $a, $b, $c;", |a, b, c| (u64::from(a) * u64::from(b) + u64::from(c)) as u32),
        ("mad.hi.sat.s32 $d, $a, $b, $c;", |a, b, c| {
            (((i64::from(a as i32) * i64::from(b as i32)) >> 32) + i64::from(c as i32)).clamp(-1 << 31, (1 << 31) - 1)
                as u32
        }),
        ("mul24.lo.s32 $d, $a, $b;", |a, b, _| {
            let low = |v: u32| i64::from((v << 8) as i32 >> 8);
            (low(a) * low(b)) as u32
        }),
        ("mul24.hi.u32 $d, $a, $b;", |a, b, _| ((u64::from(a & 0xff_ffff) * u64::from(b & 0xff_ffff)) >> 16) as u32),
        ("sad.s32 $d, $a, $b, $c;", |a, b, c| {
            c.wrapping_add((i64::from(a as i32) - i64::from(b as i32)).unsigned_abs() as u32)
        }),
        ("sad.u32 $d, $a, $b, $c;", |a, b, c| c.wrapping_add(a.abs_diff(b))),
        ("min.s32 $d, $a, $b;", |a, b, _| (a as i32).min(b as i32) as u32),
        ("max.u32 $d, $a, $b;", |a, b, _| if a > b { a } else { b }),
        ("abs.s32 $d, $a;", |a, _, _| if a >> 31 == 1 { 0u32.wrapping_sub(a) } else { a }),
        ("neg.s32 $d, $a;", |a, _, _| 0u32.wrapping_sub(a)),
        ("and.b32 $d, $a, $b;", |a, b, _| a & b),
        ("xor.b32 $d, $a, $b;", |a, b, _| a ^ b),
        ("not.b32 $d, $a;", |a, _, _| !a),
        ("cnot.b32 $d, $a;", |a, _, _| u32::from(a == 0)),
        ("lop3.b32 $d, $a, $b, $c, 0x96;", |a, b, c| a ^ b ^ c),
        ("lop3.b32 $d, $a, $b, $c, 0xe8;", |a, b, c| (a & b) | (a & c) | (b & c)),
        ("lop3.b32 $d, $a, $b, $c, 0xca;", |a, b, c| (a & b) | (!a & c)),
        ("shl.b32 $d, $a, $b;", |a, b, _| (u128::from(a) << b.min(64)) as u32),
        ("shr.u32 $d, $a, $b;", |a, b, _| (u64::from(a) >> b.min(63)) as u32),
        ("shr.s32 $d, $a, $b;", |a, b, _| (i64::from(a as i32) >> b.min(63)) as u32),
        ("shf.l.wrap.b32 $d, $a, $b, $c;", |a, b, c| ((u64::from(b) << 32 | u64::from(a)) << (c % 32) >> 32) as u32),
        ("shf.r.clamp.b32 $d, $a, $b, $c;", |a, b, c| ((u64::from(b) << 32 | u64::from(a)) >> c.min(32)) as u32),
        ("popc.b32 $d, $a;", |a, _, _| (0..32).map(|k| a >> k & 1).sum()),
        ("clz.b32 $d, $a;", |a, _, _| (0..32).take_while(|k| a >> (31 - k) & 1 == 0).count() as u32),
        ("brev.b32 $d, $a;", |a, _, _| (0..32).fold(0, |v, k| v << 1 | (a >> k & 1))),
        ("bfind.u32 $d, $a;", |a, _, _| (0..32).rev().find(|k| a >> k & 1 == 1).unwrap_or(u32::MAX)),
        ("bfind.shiftamt.u32 $d, $a;", |a, _, _| (0..32).rev().find(|k| a >> k & 1 == 1).map_or(u32::MAX, |k| 31 - k)),
        ("bfe.u32 $d, $a, $b, $c;", |a, b, c| {
            let (pos, len) = (b & 255, c & 255);
            (0..len.min(32)).fold(0, |v, k| v | if pos + k < 32 { a >> (pos + k) & 1 } else { 0 } << k)
        }),
        ("bfe.s32 $d, $a, $b, $c;", |a, b, c| {
            let (pos, len) = (b & 255, c & 255);
            let bit = |k: u32| if k < 32 { a >> k & 1 } else { a >> 31 };
            if len == 0 {
                return 0;
            }
            let sign = bit((pos + len - 1).min(31));
            (0..32).fold(0, |v, k| v | if k < len && pos + k < 32 { bit(pos + k) } else { sign } << k)
        }),
        ("bfi.b32 $d, $a, $b, $c, 9;", |a, b, c| {
            let pos = c & 255;
            (0..32).fold(0, |v, k| v | if k >= pos && k < pos + 9 { a >> (k - pos) & 1 } else { b >> k & 1 } << k)
        }),
        ("prmt.b32 $d, $a, $b, $c;", |a, b, c| {
            (0..4).fold(0, |v, k| {
                let s = c >> (4 * k) & 15;
                let byte = (u64::from(b) << 32 | u64::from(a)) >> (8 * (s & 7)) & 255;
                let byte = if s & 8 != 0 { if byte & 128 != 0 { 255 } else { 0 } } else { byte };
                v | (byte as u32) << (8 * k)
            })
        }),
        ("dp4a.u32.s32 $d, $a, $b, $c;", |a, b, c| {
            (0..4).fold(c, |s, k| {
                let (x, y) = (i32::from((a >> (8 * k)) as u8), i32::from((b >> (8 * k)) as i8));
                s.wrapping_add((x * y) as u32)
            })
        }),
        ("dp2a.hi.s32.u32 $d, $a, $b, $c;", |a, b, c| {
            (0..2).fold(c, |s, k| {
                let (x, y) = (i32::from((a >> (16 * k)) as i16), i32::from((b >> (16 + 8 * k)) as u8));
                s.wrapping_add((x * y) as u32)
            })
        }),
        ("setp.lt.s32 %p1, $a, $b; selp.b32 $d, $a, $c, %p1;", |a, b, c| if (a as i32) < b as i32 { a } else { c }),
        ("setp.hi.and.u32 %p1|%p2, $a, $b, %p7; selp.b32 $d, 1, 2, %p1;", |_, _, _| 2),
        ("set.ge.u32.u32 $d, $a, $b;", |a, b, _| if a >= b { u32::MAX } else { 0 }),
        ("slct.u32.s32 $d, $a, $b, $c;", |a, b, c| if c >> 31 == 0 { a } else { b }),
        ("cvt.s32.s8 $d, $a;", |a, _, _| i32::from(a as i8) as u32),
    ];
    let input = triples(false);
    for (text, reference) in rows {
        let got = apply(text, &input, [false; 4]);
        for (t, g) in input.iter().zip(got) {
            let [a, b, c] = t.map(|v| v as u32);
            assert_eq!(g as u32, reference(a, b, c), "{text} on {a:#x}, {b:#x}, {c:#x}");
        }
    }
}

/// Directed rounding of f32 results against the exact value in f64, and all 16-bit patterns through conversions.
#[test]
fn floats() {
    let values: Vec<u32> = [
        0.0f32,
        -0.0,
        1.0,
        -1.0,
        1.5,
        0.1,
        -0.3,
        3.0e38,
        -3.0e38,
        1e-38,
        1e-45,
        -1e-45,
        16_777_215.0,
        1e10,
        f32::INFINITY,
    ]
    .iter()
    .map(|v| v.to_bits())
    .collect();
    let mut input = Vec::new();
    for a in &values {
        for b in &values {
            input.push([u64::from(*a), u64::from(*b), 0]);
        }
    }
    for (op, exact) in [("mul", (|a, b| a * b) as fn(f64, f64) -> f64), ("add", |a, b| a + b)] {
        for mode in ["rz", "rm", "rp"] {
            let got = apply(&format!("{op}.{mode}.f32 $d, $a, $b;"), &input, [false; 4]);
            for (t, g) in input.iter().zip(got) {
                let [a, b] = [t[0], t[1]].map(|v| f64::from(f32::from_bits(v as u32)));
                let (want, got) = (exact(a, b), f64::from(f32::from_bits(g as u32)));
                // Sums of values far apart are not exact in f64; their direction still is.
                let up = f64::from(f32::from_bits(g as u32).next_up());
                let down = f64::from(f32::from_bits(g as u32).next_down());
                let fine = match mode {
                    _ if want.is_nan() => got.is_nan(),
                    "rm" => got <= want && (up >= want || want.is_infinite()),
                    "rp" => got >= want && (down <= want || want.is_infinite()),
                    _ => got.abs() <= want.abs() && (if want > 0.0 { up >= want } else { down <= want }),
                };
                assert!(fine, "{op}.{mode} of {a} and {b}: {got}, exactly {want}");
            }
        }
    }
    let all: Vec<[u64; 3]> = (0..65_536).map(|v| [v, 0, 0]).collect();
    let widened = apply("cvt.u16.u32 %h1, $a; cvt.f32.f16 $d, %h1;", &all, [false; 4]);
    for (t, g) in all.iter().zip(&widened) {
        let h = t[0] as u16;
        let (e, m) = (i32::from(h >> 10 & 31), f64::from(h & 1023));
        let v = match e {
            31 if m == 0.0 => f64::INFINITY,
            31 => f64::NAN,
            0 => m * f64::powi(2.0, -24),
            _ => (1024.0 + m) * f64::powi(2.0, e - 25),
        };
        let (want, got) = (if h >> 15 == 1 { -v } else { v }, f64::from(f32::from_bits(*g as u32)));
        assert!(want.to_bits() == got.to_bits() || (want.is_nan() && got.is_nan()), "{h:#x}: {got}, not {want}");
    }
    let wide: Vec<[u64; 3]> = widened.iter().map(|v| [*v, 0, 0]).collect();
    let back = apply("cvt.rn.f16.f32 %h1, $a; cvt.u32.u16 $d, %h1;", &wide, [false; 4]);
    for (t, g) in all.iter().zip(back) {
        let nan = t[0] & 0x7fff > 0x7c00;
        assert_eq!(g, if nan { 0x7fff } else { t[0] });
    }
}

type Row64 = (&'static str, fn(u64, u64, u64) -> u64);

#[test]
fn integers_of_64_bits() {
    let rows: &[Row64] = &[
        ("add.u64 $d, $a, $b;", |a, b, _| (u128::from(a) + u128::from(b)) as u64),
        ("mul.hi.u64 $d, $a, $b;", |a, b, _| ((u128::from(a) * u128::from(b)) >> 64) as u64),
        ("mul.hi.s64 $d, $a, $b;", |a, b, _| ((i128::from(a as i64) * i128::from(b as i64)) >> 64) as u64),
        ("mad.lo.s64 $d, $a, $b, $c;", |a, b, c| {
            (i128::from(a as i64) * i128::from(b as i64) + i128::from(c as i64)) as u64
        }),
        ("min.s64 $d, $a, $b;", |a, b, _| if (a as i64) < b as i64 { a } else { b }),
        ("add.cc.u64 $d, $a, $b; addc.u64 $d, $c, 0;", |a, b, c| c.wrapping_add(u64::from(a.checked_add(b).is_none()))),
        ("sub.cc.u64 $d, $a, $b; subc.u64 $d, $c, 0;", |a, b, c| c.wrapping_sub(u64::from(a < b))),
        ("brev.b64 $d, $a;", |a, _, _| (0..64).fold(0, |v, k| v << 1 | (a >> k & 1))),
    ];
    let input = triples(true);
    for (text, reference) in rows {
        let got = apply(text, &input, [true; 4]);
        for (t, g) in input.iter().zip(got) {
            let [a, b, c] = *t;
            assert_eq!(g, reference(a, b, c), "{text} on {a:#x}, {b:#x}, {c:#x}");
        }
    }
}
