//! `mma.sync` in every shape and type, `ldmatrix`, `stmatrix`, `movmatrix`: operands are small numbers, so that every
//! product and sum is exact and the whole matrix is compared.

use super::exact::{BF16, E4M3, E5M2, F16, Format, Value};
use super::harness::{Draw, HEADER, run};

/// The bits of a small integer in an element type.
pub fn encode(ty: &str, v: i64) -> u64 {
    // Exponent and fraction of the double, cut to the format: nothing is lost.
    let format = |f: Format| {
        let bits = (v as f64).to_bits();
        let exponent = (bits >> 52 & 0x7ff) as i64 - 1023 + i64::from(f.bias);
        let magnitude = (exponent as u64) << f.fraction | (bits & ((1 << 52) - 1)) >> (52 - f.fraction);
        if v == 0 { 0 } else { magnitude | bits >> 63 << (f.bits - 1) }
    };
    match ty {
        "f16" => format(F16),
        "bf16" => format(BF16),
        "e4m3" => format(E4M3),
        "e5m2" => format(E5M2),
        "tf32" | "f32" => u64::from((v as f32).to_bits()),
        "f64" => (v as f64).to_bits(),
        "s8" | "u8" => v as u64 & 0xff,
        "s4" | "u4" => v as u64 & 15,
        "b1" => v as u64 & 1,
        _ => v as u64 & 0xffff_ffff,
    }
}

pub fn bits_of(ty: &str) -> usize {
    match ty {
        "f16" | "bf16" => 16,
        "e4m3" | "e5m2" | "s8" | "u8" => 8,
        "s4" | "u4" => 4,
        "b1" => 1,
        "f64" => 64,
        _ => 32,
    }
}

/// A value that the type holds, small enough for exact sums.
pub fn draw_value(ty: &str, draw: &mut Draw) -> i64 {
    match ty {
        "u8" => draw.below(256) as i64,
        "s8" => draw.below(256) as i64 - 128,
        "u4" => draw.below(16) as i64,
        "s4" => draw.below(16) as i64 - 8,
        "b1" => draw.below(2) as i64,
        _ => draw.below(9) as i64 - 4,
    }
}

/// A number in an accumulator type from its bits.
pub fn decode(ty: &str, bits: u64) -> i64 {
    match ty {
        "f16" => match F16.decode(bits & 0xffff) {
            Value::Number(e, _) => e.to_f64() as i64,
            _ => i64::MIN,
        },
        "f32" => f32::from_bits(bits as u32) as i64,
        "f64" => f64::from_bits(bits) as i64,
        _ => i64::from(bits as u32 as i32),
    }
}

/// Rows and columns of lane `l`'s element `i` of a matrix, by the figures of the ISA.
fn place_a(m: usize, per: usize, l: usize, i: usize) -> (usize, usize) {
    let (register, rows) = (i / per, m / 8);
    (l / 4 + 8 * (register % rows), l % 4 * per + i % per + register / rows * 4 * per)
}
fn place_b(per: usize, l: usize, i: usize) -> (usize, usize) {
    (l % 4 * per + i % per + i / per * 4 * per, l / 4)
}
fn place_c(l: usize, i: usize) -> (usize, usize) {
    (l / 4 + 8 * (i / 2), l % 4 * 2 + i % 2)
}

struct Shape {
    opcode: String,
    m: usize,
    k: usize,
    d: &'static str,
    a: &'static str,
    b: &'static str,
    c: &'static str,
}

pub fn opcodes() -> Vec<String> {
    let mut all: Vec<String> = shapes().into_iter().map(|s| s.opcode).collect();
    for (d, c) in QUAD_TYPES {
        for (x, y) in [("row", "col"), ("row", "row"), ("col", "col"), ("col", "row")] {
            all.push(format!("mma.sync.aligned.m8n8k4.{x}.{y}.{d}.f16.f16.{c}"));
        }
    }
    all
}

/// Types of D and C of `m8n8k4`: D is f32 where C is.
const QUAD_TYPES: [(&str, &str); 3] = [("f16", "f16"), ("f32", "f16"), ("f32", "f32")];

fn shapes() -> Vec<Shape> {
    let mut out = Vec::new();
    let mut add = |m: usize,
                   k: usize,
                   extra: &str,
                   d: &'static str,
                   a: &'static str,
                   b: &'static str,
                   c: &'static str,
                   tail: &str| {
        let opcode = format!("mma.sync.aligned.m{m}n8k{k}.row.col{extra}.{d}.{a}.{b}.{c}{tail}");
        out.push(Shape { opcode, m, k, d, a, b, c });
    };
    for k in [8, 16] {
        for acc in ["f16", "f32"] {
            add(16, k, "", acc, "f16", "f16", acc, "");
        }
        add(16, k, "", "f32", "bf16", "bf16", "f32", "");
    }
    for k in [4, 8] {
        add(16, k, "", "f32", "tf32", "tf32", "f32", "");
    }
    for k in [16, 32] {
        for acc in ["f16", "f32"] {
            for a in ["e4m3", "e5m2"] {
                for b in ["e4m3", "e5m2"] {
                    add(16, k, "", acc, a, b, acc, "");
                }
            }
        }
    }
    for (m, k) in [(8, 4), (16, 4), (16, 8), (16, 16)] {
        for rounding in ["", ".rn", ".rz", ".rm", ".rp"] {
            add(m, k, rounding, "f64", "f64", "f64", "f64", "");
        }
    }
    for (types, shapes) in
        [(["s8", "u8"], [(8, 16), (16, 16), (16, 32)]), (["s4", "u4"], [(8, 32), (16, 32), (16, 64)])]
    {
        for a in types {
            for b in types {
                for (m, k) in shapes {
                    for extra in ["", ".satfinite"] {
                        add(m, k, extra, "s32", a, b, "s32", "");
                    }
                }
            }
        }
    }
    for (m, k) in [(8, 128), (16, 128), (16, 256)] {
        for tail in [".xor.popc", ".and.popc"] {
            add(m, k, "", "s32", "b1", "b1", "s32", tail);
        }
    }
    out
}

fn pack(bits: usize, values: &[u64]) -> Vec<u8> {
    // Elements from the low bits of each word on.
    let mut out = vec![0u8; (values.len() * bits).div_ceil(8)];
    for (k, v) in values.iter().enumerate() {
        for b in 0..bits {
            let at = k * bits + b;
            out[at / 8] |= ((v >> b & 1) as u8) << (at % 8);
        }
    }
    out
}

fn unpack(bits: usize, bytes: &[u8], k: usize) -> u64 {
    (0..bits).fold(0, |v, b| v | u64::from(bytes[(k * bits + b) / 8] >> ((k * bits + b) % 8) & 1) << b)
}

/// A kernel of one warp that loads fragments lane by lane, multiplies and stores.
pub fn kernel(opcode: &str, counts: [usize; 4], wide: bool) -> String {
    let [nd, na, nb, nc] = counts;
    let (letter, bytes) = if wide { ("rd", 8) } else { ("r", 4) };
    let mut text = format!(
        "{HEADER}.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c, .param .u64 d)\n{{\n.reg .b32 %r<128>;\n\
         .reg .b64 %rd<128>;\nmov.u32 %r1, %tid.x;\n"
    );
    let mut lists = Vec::new();
    for (k, (name, n, first)) in [("a", na, 10), ("b", nb, 30), ("c", nc, 50)].into_iter().enumerate() {
        text += &format!(
            "ld.param.u64 %rd1, [{name}];\nmul.wide.u32 %rd2, %r1, {};\nadd.u64 %rd3, %rd1, %rd2;\n",
            n * bytes
        );
        for j in 0..n {
            text += &format!("ld.global.b{} %{letter}{}, [%rd3+{}];\n", 8 * bytes, first + j, j * bytes);
        }
        lists.push((0..n).map(|j| format!("%{letter}{}", first + j)).collect::<Vec<_>>().join(","));
        let _ = k;
    }
    let d: Vec<String> = (0..nd).map(|j| format!("%{letter}{}", 70 + j)).collect();
    text += &format!("{opcode} {{{}}}, {{{}}}, {{{}}}, {{{}}};\n", d.join(","), lists[0], lists[1], lists[2]);
    text += &format!("ld.param.u64 %rd1, [d];\nmul.wide.u32 %rd2, %r1, {};\nadd.u64 %rd3, %rd1, %rd2;\n", nd * bytes);
    for (j, r) in d.iter().enumerate() {
        text += &format!("st.global.b{} [%rd3+{}], {r};\n", 8 * bytes, j * bytes);
    }
    text + "ret;\n}\n"
}

#[test]
fn every_shape_and_type() {
    let mut draw = Draw(11);
    let mut wrong = Vec::new();
    for s in shapes() {
        let wide = s.a == "f64";
        let unit = if wide { 64 } else { 32 };
        let per = |ty: &str| (unit / bits_of(ty)).max(1);
        // Elements of a lane.
        let (ea, eb, ec) = (s.m * s.k / 32, 8 * s.k / 32, s.m * 8 / 32);
        let a: Vec<Vec<i64>> = (0..s.m).map(|_| (0..s.k).map(|_| draw_value(s.a, &mut draw)).collect()).collect();
        let b: Vec<Vec<i64>> = (0..s.k).map(|_| (0..8).map(|_| draw_value(s.b, &mut draw)).collect()).collect();
        // One accumulator near the end of its type shows saturation.
        let mut c: Vec<Vec<i64>> = (0..s.m).map(|_| (0..8).map(|_| draw.below(100) as i64 - 50).collect()).collect();
        if s.c == "s32" {
            c[0][0] = i64::from(i32::MAX) - 1;
            c[1][3] = i64::from(i32::MIN) + 1;
        }
        let fragment = |n: usize, ty: &str, at: &dyn Fn(usize, usize) -> i64| {
            let values: Vec<u64> =
                (0..32).flat_map(|l| (0..n).map(move |i| (l, i))).map(|(l, i)| encode(ty, at(l, i))).collect();
            pack(bits_of(ty), &values)
        };
        let fa = fragment(ea, s.a, &|l, i| {
            let (r, k) = place_a(s.m, per(s.a), l, i);
            a[r][k]
        });
        let fb = fragment(eb, s.b, &|l, i| {
            let (k, n) = place_b(per(s.b), l, i);
            b[k][n]
        });
        let fc = fragment(ec, s.c, &|l, i| {
            let (r, n) = place_c(l, i);
            c[r][n]
        });
        let counts = [ec.div_ceil(per(s.d)), ea.div_ceil(per(s.a)), eb.div_ceil(per(s.b)), ec.div_ceil(per(s.c))];
        let out = vec![0u8; 32 * counts[0] * unit / 8];
        let text = kernel(&s.opcode, counts, wide);
        let result = run(&text, 1, 32, 1, &[fa, fb, fc, out]).unwrap_or_else(|e| panic!("{}: {e}", s.opcode));
        for l in 0..32 {
            for i in 0..ec {
                let (r, n) = place_c(l, i);
                let sum: i64 = (0..s.k)
                    .map(|k| match () {
                        _ if s.opcode.contains("xor") => a[r][k] ^ b[k][n],
                        _ => a[r][k] * b[k][n],
                    })
                    .sum::<i64>()
                    + c[r][n];
                let want = match () {
                    _ if s.opcode.contains("satfinite") => sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)),
                    _ if s.d == "s32" => i64::from(sum as i32),
                    _ => sum,
                };
                let got = decode(s.d, unpack(bits_of(s.d), &result[3], l * ec + i));
                if got != want {
                    wrong.push(format!("{}: row {r}, column {n}: {got}, not {want}", s.opcode));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{} elements, first {}", wrong.len(), wrong[0]);
}

/// `m8n8k4` of the first tensor cores: four products, each by two groups of four lanes.
#[test]
fn quads() {
    let mut draw = Draw(12);
    for (d, c) in QUAD_TYPES {
        for (x, y) in [("row", "col"), ("row", "row"), ("col", "col"), ("col", "row")] {
            let opcode = format!("mma.sync.aligned.m8n8k4.{x}.{y}.{d}.f16.f16.{c}");
            let mut matrix = |r: usize, c: usize| -> Vec<Vec<Vec<i64>>> {
                (0..4)
                    .map(|_| (0..r).map(|_| (0..c).map(|_| draw_value("f16", &mut draw)).collect()).collect())
                    .collect()
            };
            let (a, b, cc) = (matrix(8, 4), matrix(4, 8), matrix(8, 8));
            let quad = |l: usize| l % 16 / 4;
            let number = |l: usize| l % 4 + 4 * (l / 16);
            let place = |ty: &str, l: usize, i: usize| -> (usize, usize) {
                if ty == "f16" {
                    (number(l), i)
                } else {
                    ((l & 1) + (i & 2) + 4 * (l / 16), (i & 4) + (l & 2) + (i & 1))
                }
            };
            let all = |n: usize| (0..32).flat_map(move |l| (0..n).map(move |i| (l, i)));
            let fa: Vec<u64> = all(4)
                .map(|(l, i)| {
                    let (r, k) = if x == "row" { (number(l), i) } else { (i + 4 * (l / 16), l % 4) };
                    encode("f16", a[quad(l)][r][k])
                })
                .collect();
            let fb: Vec<u64> = all(4)
                .map(|(l, i)| {
                    let (k, n) = if y == "col" { (i, number(l)) } else { (l % 4, i + 4 * (l / 16)) };
                    encode("f16", b[quad(l)][k][n])
                })
                .collect();
            let fc: Vec<u64> = all(8)
                .map(|(l, i)| {
                    let (r, n) = place(c, l, i);
                    encode(c, cc[quad(l)][r][n])
                })
                .collect();
            let count = |ty: &str| if ty == "f16" { 4 } else { 8 };
            let text = kernel(&opcode, [count(d), 2, 2, count(c)], false);
            let buffers = [pack(16, &fa), pack(16, &fb), pack(bits_of(c), &fc), vec![0u8; 32 * count(d) * 4]];
            let result = run(&text, 1, 32, 1, &buffers).unwrap_or_else(|e| panic!("{opcode}: {e}"));
            for (l, i) in all(8) {
                let (r, n) = place(d, l, i);
                let q = quad(l);
                let want = (0..4).map(|k| a[q][r][k] * b[q][k][n]).sum::<i64>() + cc[q][r][n];
                assert_eq!(decode(d, unpack(bits_of(d), &result[3], l * 8 + i)), want, "{opcode}: {r} {n}");
            }
        }
    }
}

/// Loads and stores of one, two or four matrices: their number, transpositions and space, and the kernel.
type Through = (usize, &'static str, &'static str, String);

fn through_shared() -> Vec<Through> {
    let mut out = Vec::new();
    for (x, count) in [("x1", 1usize), ("x2", 2), ("x4", 4)] {
        for trans in ["", ".trans"] {
            for back in ["", ".trans"] {
                for space in [".shared", ".shared::cta", ""] {
                    let list = (0..count).map(|k| format!("%r{}", 10 + k)).collect::<Vec<_>>().join(",");
                    let address = if space.is_empty() { "%rd8" } else { "%r5" };
                    let target = if space.is_empty() { "%rd9" } else { "%r6" };
                    // Row i of the matrices lies at lane i's address, rows in reverse to show whose address counts.
                    let text = format!(
                        "{HEADER}.visible .entry k(.param .u64 a, .param .u64 d)\n{{\n.reg .b32 %r<32>;\n.reg .b64 %rd<16>;\n\
                         .shared .align 16 .b8 s[1024];\nld.param.u64 %rd1, [a];\nld.param.u64 %rd2, [d];\nmov.u32 %r1, %tid.x;\n\
                         mul.wide.u32 %rd3, %r1, 16;\nadd.u64 %rd4, %rd1, %rd3;\nld.global.v4.u32 {{%r20,%r21,%r22,%r23}}, [%rd4];\n\
                         mov.u32 %r2, s;\nsub.u32 %r3, 31, %r1;\nmad.lo.u32 %r5, %r3, 16, %r2;\nadd.u32 %r6, %r5, 512;\n\
                         st.shared.v4.u32 [%r5], {{%r20,%r21,%r22,%r23}};\nst.shared.v4.u32 [%r6], {{%r20,%r21,%r22,%r23}};\n\
                         cvt.u64.u32 %rd5, %r5;\ncvta.shared.u64 %rd8, %rd5;\nadd.u64 %rd9, %rd8, 512;\nbar.sync 0;\n\
                         ldmatrix.sync.aligned.m8n8.{x}{trans}{space}.b16 {{{list}}}, [{address}];\n\
                         stmatrix.sync.aligned.m8n8.{x}{back}{space}.b16 [{target}], {{{list}}};\nbar.sync 0;\n\
                         ld.shared.v4.u32 {{%r20,%r21,%r22,%r23}}, [%r6];\nadd.u64 %rd6, %rd2, %rd3;\n\
                         st.global.v4.u32 [%rd6], {{%r20,%r21,%r22,%r23}};\nret;\n}}\n"
                    );
                    out.push((count, trans, back, text));
                }
            }
        }
    }
    out
}

/// What the modules of these tests execute besides products.
pub fn texts() -> Vec<String> {
    through_shared().into_iter().map(|(.., text)| text).chain([transposition()]).collect()
}

/// Matrices through shared memory, plain and transposed, and back.
#[test]
fn loads_and_stores() {
    for (count, trans, back, text) in through_shared() {
        let input: Vec<u8> = (0..512u32).map(|k| (k / 2 * 7 + k % 2 * 131) as u8).collect();
        let out = run(&text, 1, 32, 1, &[input.clone(), vec![0; 512]]).unwrap_or_else(|e| panic!("{e}"));
        let half = |v: &[u8], row: usize, col: usize| [v[16 * row + 2 * col], v[16 * row + 2 * col + 1]];
        for row in 0..32 {
            for col in 0..8 {
                let (matrix, r) = (row / 8, row % 8);
                let turned = trans != back && matrix < count;
                let want = if turned { half(&input, 8 * matrix + col, r) } else { half(&input, row, col) };
                assert_eq!(half(&out[1], row, col), want, "row {row}, column {col}\n{text}");
            }
        }
    }
}

fn transposition() -> String {
    format!(
        "{HEADER}.visible .entry k(.param .u64 a, .param .u64 d)\n{{\n.reg .b32 %r<8>;\n.reg .b64 %rd<8>;\nld.param.u64 %rd1, [a];\n\
         ld.param.u64 %rd2, [d];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd3, %r1, 4;\nadd.u64 %rd4, %rd1, %rd3;\n\
         add.u64 %rd5, %rd2, %rd3;\nld.global.u32 %r2, [%rd4];\nmovmatrix.sync.aligned.m8n8.trans.b16 %r3, %r2;\n\
         st.global.u32 [%rd5], %r3;\nret;\n}}\n"
    )
}

#[test]
fn transposed_in_registers() {
    let text = transposition();
    let input: Vec<u8> = (0..128u32).map(|k| (k * 37) as u8).collect();
    let out = run(&text, 1, 32, 1, &[input.clone(), vec![0; 128]]).unwrap_or_else(|e| panic!("{e}"));
    for row in 0..8 {
        for col in 0..8 {
            assert_eq!(out[1][16 * row + 2 * col..][..2], input[16 * col + 2 * row..][..2]);
        }
    }
}
