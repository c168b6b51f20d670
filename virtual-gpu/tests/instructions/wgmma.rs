//! `wgmma` in every N and type, operands in registers and in shared memory with every swizzle, transposed, negated.

use super::harness::{Draw, HEADER, run};
use super::matrix::{bits_of, decode, draw_value, encode};

/// Where an element of an operand lies in shared memory, by the canonical layouts of the ISA.
#[derive(Clone, Copy)]
struct Layout {
    /// 16 (none), 32, 64 or 128.
    swizzle: usize,
    /// Rows (of A, or columns of B) are contiguous, not K.
    transposed: bool,
    leading: usize,
    stride: usize,
}

impl Layout {
    /// For `rows` × 32 bytes of K, packed.
    fn new(swizzle: usize, transposed: bool, rows: usize) -> Layout {
        let (leading, stride) = match (swizzle, transposed) {
            // Core matrices of 128 bytes: along K behind all rows, rows behind each other.
            (16, false) => (16 * rows, 128),
            (16, true) => (16 * rows, 128),
            (s, false) => (16, 8 * s),
            // Blocks of s bytes of rows by 8 of K; K goes on behind, rows behind all K.
            (s, true) => (2 * 8 * s, 8 * s),
        };
        Layout { swizzle, transposed, leading, stride }
    }

    /// Byte of element (row, k) of `bits` bits, a multiple of 8.
    fn at(&self, row: usize, k: usize, bits: usize) -> usize {
        let bytes = bits / 8;
        let (s, linear) = (
            self.swizzle,
            match (self.swizzle, self.transposed) {
                (16, false) => row / 8 * self.stride + row % 8 * 16 + k * bytes / 16 * self.leading + k * bytes % 16,
                (16, true) => row / 8 * self.stride + row % 8 * 2 + k / 8 * self.leading + k % 8 * 16,
                (s, false) => row / 8 * self.stride + row % 8 * s + k * bytes,
                (s, true) => row / (s / 2) * self.leading + row % (s / 2) * 2 + k / 8 * self.stride + k % 8 * s,
            },
        );
        // The 16-byte chunk within the span is exclusive-ored with the number of the 128-byte line.
        let chunk = (linear / 16) ^ ((linear / 128) % (s / 16));
        chunk * 16 + linear % 16
    }

    fn descriptor(&self, at: usize) -> u64 {
        let mode = match self.swizzle {
            128 => 1u64,
            64 => 2,
            32 => 3,
            _ => 0,
        };
        (at as u64 >> 4) | (self.leading as u64 >> 4) << 16 | (self.stride as u64 >> 4) << 32 | mode << 62
    }
}

struct Case {
    n: usize,
    d: &'static str,
    a: &'static str,
    b: &'static str,
    registers: bool,
    swizzles: (usize, usize),
    transposed: (bool, bool),
    negated: (bool, bool),
    keep: bool,
    satfinite: bool,
}

fn opcode(c: &Case) -> String {
    let k = 256 / bits_of(c.a);
    let tail = if c.a == "b1" { ".and.popc" } else { "" };
    let sat = if c.satfinite { ".satfinite" } else { "" };
    format!("wgmma.mma_async.sync.aligned.m64n{}k{k}{sat}.{}.{}.{}{tail}", c.n, c.d, c.a, c.b)
}

fn cases() -> Vec<Case> {
    let mut out = Vec::new();
    let plain = |n, d, a, b| Case {
        n,
        d,
        a,
        b,
        registers: false,
        swizzles: (128, 128),
        transposed: (false, false),
        negated: (false, false),
        keep: true,
        satfinite: false,
    };
    let mut types =
        vec![("f16", "f16", "f16"), ("f32", "f16", "f16"), ("f32", "bf16", "bf16"), ("f32", "tf32", "tf32")];
    for d in ["f16", "f32"] {
        for a in ["e4m3", "e5m2"] {
            types.extend([(d, a, "e4m3"), (d, a, "e5m2")]);
        }
    }
    for n in (8..=256).step_by(8) {
        for (d, a, b) in &types {
            out.push(plain(n, *d, *a, *b));
        }
        if !(n <= 24 || n % 16 == 0) {
            continue;
        }
        for (a, b) in [("s8", "s8"), ("s8", "u8"), ("u8", "s8"), ("u8", "u8"), ("b1", "b1")] {
            out.push(plain(n, "s32", a, b));
            if a != "b1" {
                out.push(Case { satfinite: true, ..plain(n, "s32", a, b) });
            }
        }
    }
    types.extend([("s32", "s8", "u8"), ("s32", "b1", "b1")]);
    for (d, a, b) in &types {
        for n in [8, 64, 256] {
            out.push(Case { registers: true, ..plain(n, *d, *a, *b) });
            out.push(Case { keep: false, ..plain(n, *d, *a, *b) });
        }
        for s in [16, 32, 64] {
            out.push(Case { swizzles: (s, 128), ..plain(64, *d, *a, *b) });
            out.push(Case { swizzles: (128, s), ..plain(128, *d, *a, *b) });
        }
        if *d != "s32" {
            for negated in [(true, false), (false, true), (true, true)] {
                out.push(Case { negated, ..plain(32, *d, *a, *b) });
            }
        }
        if bits_of(a) == 16 {
            for s in [16, 32, 64, 128] {
                out.push(Case { swizzles: (s, 128), transposed: (true, false), ..plain(64, *d, *a, *b) });
                out.push(Case { swizzles: (128, s), transposed: (false, true), ..plain(128, *d, *a, *b) });
                out.push(Case { swizzles: (s, s), transposed: (true, true), ..plain(64, *d, *a, *b) });
                out.push(Case {
                    swizzles: (128, s),
                    transposed: (false, true),
                    registers: true,
                    ..plain(64, *d, *a, *b)
                });
            }
        }
    }
    out
}

/// Byte of B's image in shared memory.
const B_AT: usize = 8_192;
const IMAGE: usize = 40_960;

fn kernel(c: &Case, la: Layout, lb: Layout) -> String {
    let half = c.d == "f16";
    let count = if half { c.n / 4 } else { c.n / 2 };
    let (class, letter) = if c.d == "f32" { ("f32", "f") } else { ("b32", "r") };
    let d: Vec<String> = (0..count).map(|k| format!("%{letter}{}", 200 + k)).collect();
    let mut text = format!(
        "{HEADER}.visible .entry k(.param .u64 a, .param .u64 b, .param .u64 c)\n{{\n.reg .pred %p<4>;\n.reg .b32 %r<400>;\n\
         .reg .f32 %f<400>;\n.reg .b64 %rd<16>;\n.shared .align 1024 .b8 s[{IMAGE}];\nld.param.u64 %rd1, [a];\n\
         ld.param.u64 %rd2, [b];\nld.param.u64 %rd3, [c];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, s;\nmov.u32 %r3, %r1;\n\
         FILL:\nmul.lo.u32 %r4, %r3, 16;\ncvt.u64.u32 %rd4, %r4;\nadd.u64 %rd4, %rd1, %rd4;\n\
         ld.global.v4.u32 {{%r10,%r11,%r12,%r13}}, [%rd4];\nadd.u32 %r5, %r2, %r4;\n\
         st.shared.v4.u32 [%r5], {{%r10,%r11,%r12,%r13}};\nadd.u32 %r3, %r3, 128;\nsetp.lt.u32 %p1, %r3, {};\n@%p1 bra FILL;\n\
         fence.proxy.async;\nbar.sync 0;\nmul.wide.u32 %rd5, %r1, 16;\nadd.u64 %rd5, %rd2, %rd5;\n\
         ld.global.v4.u32 {{%r20,%r21,%r22,%r23}}, [%rd5];\nmul.wide.u32 %rd6, %r1, {};\nadd.u64 %rd6, %rd3, %rd6;\n",
        IMAGE / 16,
        4 * count
    );
    for (k, r) in d.iter().enumerate() {
        text += &format!("ld.global.{class} {r}, [%rd6+{}];\n", 4 * k);
    }
    let a = if c.registers { "{%r20,%r21,%r22,%r23}".into() } else { format!("{:#x}", la.descriptor(0)) };
    let mut constants = String::new();
    if c.d != "s32" {
        let sign = |n: bool| if n { -1 } else { 1 };
        constants += &format!(", {}, {}", sign(c.negated.0), sign(c.negated.1));
        if bits_of(c.a) == 16 {
            if !c.registers {
                constants += &format!(", {}", u8::from(c.transposed.0));
            }
            constants += &format!(", {}", u8::from(c.transposed.1));
        }
    }
    // The image starts at shared address 0, so descriptors are constants.
    let a = if c.registers {
        a
    } else {
        text += &format!("mov.b64 %rd7, {a};\n");
        "%rd7".into()
    };
    text += &format!(
        "mov.b64 %rd8, {:#x};\nsetp.{}.u32 %p2, %r1, %r1;\n",
        lb.descriptor(B_AT),
        if c.keep { "eq" } else { "ne" }
    );
    text += &format!(
        "wgmma.fence.sync.aligned;\n{} {{{}}}, {a}, %rd8, %p2{constants};\nwgmma.commit_group.sync.aligned;\n\
         wgmma.wait_group.sync.aligned 0;\n",
        opcode(c),
        d.join(",")
    );
    for (k, r) in d.iter().enumerate() {
        text += &format!("st.global.{class} [%rd6+{}], {r};\n", 4 * k);
    }
    text + "ret;\n}\n"
}

/// What a module of these tests executes.
pub fn text() -> String {
    let c = &cases()[0];
    kernel(c, Layout::new(c.swizzles.0, false, 64), Layout::new(c.swizzles.1, false, c.n))
}

#[test]
fn every_shape_type_and_layout() {
    let mut draw = Draw(21);
    for c in cases() {
        let (bits, k) = (bits_of(c.a), 256 / bits_of(c.a));
        let la = Layout::new(c.swizzles.0, c.transposed.0, 64);
        let lb = Layout::new(c.swizzles.1, c.transposed.1, c.n);
        let a: Vec<Vec<i64>> = (0..64).map(|_| (0..k).map(|_| draw_value(c.a, &mut draw)).collect()).collect();
        let b: Vec<Vec<i64>> = (0..c.n).map(|_| (0..k).map(|_| draw_value(c.b, &mut draw)).collect()).collect();
        let start: Vec<Vec<i64>> = (0..64).map(|_| (0..c.n).map(|_| draw.below(40) as i64 - 20).collect()).collect();
        let mut image = vec![0u8; IMAGE];
        let mut write = |base: usize, l: Layout, ty: &str, m: &[Vec<i64>]| {
            for (row, values) in m.iter().enumerate() {
                for (k, v) in values.iter().enumerate() {
                    let code = encode(ty, *v);
                    if bits == 1 {
                        image[base + l.at(row, k / 8, 8)] |= (code as u8) << (k % 8);
                        continue;
                    }
                    let at = base + l.at(row, k, bits);
                    image[at..at + bits / 8].copy_from_slice(&code.to_le_bytes()[..bits / 8]);
                }
            }
        };
        write(0, la, c.a, &a);
        write(B_AT, lb, c.b, &b);
        // A in registers: as mma's, 16 rows for each warp.
        let per = 32 / bits;
        let mut registers = vec![0u8; 128 * 16];
        for t in 0..128usize {
            for r in 0..4 {
                let word = (0..per).fold(0u64, |w, e| {
                    let row = t / 32 * 16 + t % 32 / 4 + 8 * (r % 2);
                    let col = t % 4 * per + e + r / 2 * 4 * per;
                    w | encode(c.a, a[row][col]) << (bits * e)
                });
                registers[16 * t + 4 * r..][..4].copy_from_slice(&(word as u32).to_le_bytes());
            }
        }
        let half = c.d == "f16";
        let place = |t: usize, i: usize| (t / 32 * 16 + t % 32 / 4 + i / 2 % 2 * 8, i / 4 * 8 + t % 4 * 2 + i % 2);
        let bytes = if half { 2 } else { 4 };
        let mut sums = vec![0u8; 64 * c.n * bytes];
        for t in 0..128 {
            for i in 0..c.n / 2 {
                let (row, col) = place(t, i);
                let code = encode(c.d, start[row][col]).to_le_bytes();
                sums[(t * c.n / 2 + i) * bytes..][..bytes].copy_from_slice(&code[..bytes]);
            }
        }
        let text = kernel(&c, la, lb);
        let out = run(&text, 1, 128, 1, &[image, registers, sums]).unwrap_or_else(|e| panic!("{e}\n{}", opcode(&c)));
        for t in 0..128 {
            for i in 0..c.n / 2 {
                let (row, col) = place(t, i);
                let sum: i64 = (0..k).map(|k| a[row][k] * b[col][k]).sum();
                let sum = if c.negated.0 != c.negated.1 { -sum } else { sum };
                let want = sum + if c.keep { start[row][col] } else { 0 };
                let at = (t * c.n / 2 + i) * bytes;
                let mut code = [0u8; 8];
                code[..bytes].copy_from_slice(&out[2][at..at + bytes]);
                let got = decode(c.d, u64::from_le_bytes(code));
                assert_eq!(
                    got,
                    want,
                    "{} registers {} swizzles {:?} transposed {:?} negated {:?}: row {row}, column {col}",
                    opcode(&c),
                    c.registers,
                    c.swizzles,
                    c.transposed,
                    c.negated
                );
            }
        }
    }
}
