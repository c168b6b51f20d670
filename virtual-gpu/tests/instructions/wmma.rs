//! `wmma`: every shape, type, layout and stride, from memory to memory, against sums in 64-bit integers and f64.

use super::machine::{Random, block, code, get_bits, kernel, load, put_bits, run};

use virtual_gpu::model::DeviceModel;

/// Registers of an operand: how many, and their kind.
pub fn registers(role: char, ty: &str, (m, n, k): (usize, usize, usize)) -> (usize, &'static str) {
    let elements = match role {
        'a' => m * k,
        'b' => n * k,
        _ => m * n,
    };
    // PTX ISA, "Matrix fragments for WMMA".
    let count = match (role, ty) {
        ('a' | 'b', "f16") => 8,
        (_, "f64") => elements / 32,
        _ => elements * code(ty).bits() / 32 / 32,
    };
    let kind = match ty {
        "f64" => "%d",
        "f32" => "%f",
        _ => "%r",
    };
    (count, kind)
}

fn list(kind: &str, first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|k| format!("{kind}{k}")).collect();
    format!("{{{}}}", names.join(","))
}

struct Product<'t> {
    shape: (usize, usize, usize),
    types: [&'t str; 4],
    layouts: [&'t str; 4],
    /// Elements added to each stride; `None` leaves the stride out.
    padding: Option<usize>,
    operation: &'t str,
    ending: &'t str,
    space: &'t str,
}

/// A matrix of a role in memory: lines, elements of a line, and where element (row, column) lies.
fn place(rows: usize, columns: usize, layout: &str) -> (usize, usize, impl Fn(usize, usize) -> (usize, usize)) {
    let row_major = layout == "row";
    let (lines, length) = if row_major { (rows, columns) } else { (columns, rows) };
    (lines, length, move |r, c| if row_major { (r, c) } else { (c, r) })
}

fn text(p: &Product<'_>) -> String {
    let (m, n, k) = p.shape;
    let name = format!("m{m}n{n}k{k}");
    let [d, a, b, c] = p.types;
    let mut body = String::new();
    let mut operands = Vec::new();
    let dims = [(m, k), (k, n), (m, n), (m, n)];
    let shared = p.space.starts_with(".shared");
    if shared {
        // Everything goes through shared memory: 16 bytes a step, from the first thread.
        body += "mov.u32 %r500, %tid.x; setp.ne.u32 %p1, %r500, 0; @%p1 bra IN;\n";
        for (k, _) in dims.iter().enumerate().take(3) {
            for at in (0..8192).step_by(16) {
                body += &format!(
                    "ld.global.v2.u64 {{%rd20,%rd21}}, [%rd{}+{at}]; st.shared.v2.u64 [buffer+{}], {{%rd20,%rd21}};\n",
                    k + 1,
                    8192 * k + at
                );
            }
        }
        body += "IN: bar.warp.sync -1;\n";
    }
    let mut first = 0;
    for (role, ty, at) in [('a', a, 0usize), ('b', b, 1), ('c', c, 2)] {
        let (count, kind) = registers(role, ty, p.shape);
        let registers = list(kind, first, count);
        first += count;
        let (rows, columns) = dims[at];
        let stride = p.padding.map(|e| place(rows, columns, p.layouts[at]).1 + e);
        let stride = stride.map_or(String::new(), |s| format!(", {s}"));
        let address = if shared { format!("[buffer+{}]", 8192 * at) } else { format!("[%rd{}]", at + 1) };
        body += &format!(
            "wmma.load.{role}.sync.aligned.{}.{name}{}.{ty} {registers}, {address}{stride};\n",
            p.layouts[at], p.space
        );
        operands.push(registers);
    }
    let types = if a == "f16" { format!("{d}.{c}") } else { format!("{d}.{a}.{b}.{c}") };
    let (count, kind) = registers('d', d, p.shape);
    let result = list(kind, first, count);
    body += &format!(
        "wmma.mma{}.sync.aligned.{}.{}.{name}{}.{types}{} {result}, {};\n",
        p.operation,
        p.layouts[0],
        p.layouts[1],
        if p.ending.starts_with(".r") { p.ending } else { "" },
        if p.ending.starts_with(".s") { p.ending } else { "" },
        operands.join(", ")
    );
    let (_, length, _) = place(m, n, p.layouts[3]);
    let stride = p.padding.map_or(String::new(), |e| format!(", {}", length + e));
    let address = if shared { "[buffer+24576]" } else { "[%rd4]" };
    body += &format!("wmma.store.d.sync.aligned.{}.{name}{}.{d} {address}, {result}{stride};\n", p.layouts[3], p.space);
    if shared {
        body += "bar.warp.sync -1; setp.ne.u32 %p1, %r500, 0; @%p1 ret;\n";
        let bytes = m * n * code(d).bits() / 8;
        for at in (0..bytes).step_by(8) {
            body += &format!("ld.shared.u64 %rd20, [buffer+{}]; st.global.u64 [%rd4+{at}], %rd20;\n", 24576 + at);
        }
    }
    let head = if shared { ".shared .align 32 .b8 buffer[32768];" } else { "" };
    kernel("sm_80", 4, head, &body)
}

fn check(p: &Product<'_>, random: &mut Random) {
    let (m, n, k) = p.shape;
    let [d, a, b, c] = p.types;
    let dims = [(m, k), (k, n), (m, n), (m, n)];
    let types = [a, b, c, d];
    let mut buffers = Vec::new();
    let mut values: Vec<Vec<i64>> = Vec::new();
    for at in 0..4 {
        let (rows, columns) = dims[at];
        let (lines, length, index) = place(rows, columns, p.layouts[at]);
        let code = code(types[at]);
        let stride = length + p.padding.unwrap_or(0);
        let mut bytes =
            vec![0u8; (lines * stride * code.bits() / 8).max(if p.space.starts_with(".shared") { 8192 } else { 0 })];
        let mut list = vec![0; rows * columns];
        for r in 0..rows {
            for q in 0..columns {
                let (v, bits) = code.small(random);
                let (line, e) = index(r, q);
                if at < 3 {
                    list[r * columns + q] = v;
                    put_bits(&mut bytes, line * stride + e, code.bits(), bits);
                }
            }
        }
        buffers.push(bytes);
        values.push(list);
    }
    let text = text(p);
    for seed in [0, 1] {
        let out = run(&text, &block(DeviceModel::A100, 32), &buffers, seed).unwrap_or_else(|e| panic!("{e}\n{text}"));
        let (_, length, index) = place(m, n, p.layouts[3]);
        let stride = length + p.padding.unwrap_or(0);
        for r in 0..m {
            for q in 0..n {
                let dot: i64 = (0..k)
                    .map(|e| {
                        let (x, y) = (values[0][r * k + e], values[1][e * n + q]);
                        match p.operation {
                            ".xor.popc" => x ^ y,
                            ".and.popc" => x & y,
                            _ => x * y,
                        }
                    })
                    .sum();
                let want = dot + values[2][r * n + q];
                let (line, e) = index(r, q);
                let got = code(d).decode(get_bits(&out[3], line * stride + e, code(d).bits()));
                assert_eq!(got, want as f64, "({r}, {q}), seed {seed}\n{text}");
            }
        }
    }
}

const LARGE: [(usize, usize, usize); 3] = [(16, 16, 16), (8, 32, 16), (32, 8, 16)];

/// Every combination of layouts, with and without strides.
fn layouts(
    out: &mut Vec<Product<'static>>,
    shape: (usize, usize, usize),
    types: [&'static str; 4],
    operation: &'static str,
    ending: &'static str,
) {
    let free = code(types[1]).bits() >= 8;
    for n in 0..16 {
        let of = |bit: usize| if n >> bit & 1 == 0 { "row" } else { "col" };
        let layouts = [of(0), of(1), of(2), of(3)];
        if !free && layouts[..2] != ["row", "col"] {
            continue;
        }
        // A stride of 16 bytes more keeps every line aligned, whatever the element.
        let narrowest = types.iter().map(|t| code(t).bits()).min().unwrap_or(8);
        let padding = if n % 3 == 0 { None } else { Some(256 / narrowest) };
        let space = [".global", ""][n / 2 % 2];
        out.push(Product { shape, types, layouts, padding, operation, ending, space });
        // The first and the last combination have each layout once; they go through every space.
        if n == if free { 0 } else { 2 } || n == if free { 15 } else { 14 } {
            for space in [".global", "", ".shared", ".shared::cta"] {
                out.push(Product { shape, types, layouts, padding: None, operation, ending, space });
            }
        }
    }
}

fn floats() -> Vec<Product<'static>> {
    let mut out = Vec::new();
    for shape in LARGE {
        for d in ["f16", "f32"] {
            for c in ["f16", "f32"] {
                layouts(&mut out, shape, [d, "f16", "f16", c], "", "");
            }
        }
        layouts(&mut out, shape, ["f32", "bf16", "bf16", "f32"], "", "");
    }
    layouts(&mut out, (16, 16, 8), ["f32", "tf32", "tf32", "f32"], "", "");
    for ending in ["", ".rn", ".rz", ".rm", ".rp"] {
        layouts(&mut out, (8, 8, 4), ["f64"; 4], "", ending);
    }
    out
}

fn integers() -> Vec<Product<'static>> {
    let mut out = Vec::new();
    for ending in ["", ".satfinite"] {
        for types in [["s32", "s8", "s8", "s32"], ["s32", "u8", "u8", "s32"]] {
            for shape in LARGE {
                layouts(&mut out, shape, types, "", ending);
            }
        }
        for types in [["s32", "s4", "s4", "s32"], ["s32", "u4", "u4", "s32"]] {
            layouts(&mut out, (8, 8, 32), types, "", ending);
        }
    }
    for operation in [".xor.popc", ".and.popc"] {
        layouts(&mut out, (8, 8, 128), ["s32", "b1", "b1", "s32"], operation, "");
    }
    out
}

/// What the modules of these tests execute.
pub fn texts() -> Vec<String> {
    floats().iter().chain(&integers()).map(text).collect()
}

#[test]
fn products_of_floats() {
    let mut random = Random(1);
    floats().iter().for_each(|p| check(p, &mut random));
}

#[test]
fn products_of_integers() {
    let mut random = Random(2);
    integers().iter().for_each(|p| check(p, &mut random));
}

/// Rounding, saturation and rows that do not fit.
#[test]
fn edges() {
    // One product of 2^-60 + 1: up only where asked.
    let body = |mode: &str| {
        format!(
            "wmma.load.a.sync.aligned.row.m8n8k4.global.f64 {{%d0}}, [%rd1], 4;\n\
             wmma.load.b.sync.aligned.col.m8n8k4.global.f64 {{%d1}}, [%rd2], 4;\n\
             wmma.load.c.sync.aligned.row.m8n8k4.global.f64 {{%d2,%d3}}, [%rd3], 8;\n\
             wmma.mma.sync.aligned.row.col.m8n8k4{mode}.f64.f64.f64.f64 {{%d4,%d5}}, {{%d0}}, {{%d1}}, {{%d2,%d3}};\n\
             wmma.store.d.sync.aligned.row.m8n8k4.global.f64 [%rd4], {{%d4,%d5}}, 8;"
        )
    };
    let mut a = vec![0u8; 256];
    a[..8].copy_from_slice(&f64::powi(2.0, -60).to_le_bytes());
    let mut b = vec![0u8; 256];
    b[..8].copy_from_slice(&1f64.to_le_bytes());
    let mut c = vec![0u8; 512];
    c[..8].copy_from_slice(&1f64.to_le_bytes());
    let buffers = [a, b, c, vec![0; 512]];
    for (mode, want) in [("", 1.0), (".rn", 1.0), (".rz", 1.0), (".rm", 1.0), (".rp", 1.0f64.next_up())] {
        let out = run(&kernel("sm_80", 4, "", &body(mode)), &block(DeviceModel::A100, 32), &buffers, 0);
        let out = out.unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(get_bits(&out[3], 0, 64), want.to_bits(), "{mode}");
    }
    // 127² · 16 on top of the largest integer wraps, or stays.
    for (ending, want) in [("", (i32::MAX).wrapping_add(127 * 127 * 16)), (".satfinite", i32::MAX)] {
        let text = kernel(
            "sm_80",
            4,
            "",
            &format!(
                "wmma.load.a.sync.aligned.row.m16n16k16.global.s8 {{%r0,%r1}}, [%rd1];\n\
                 wmma.load.b.sync.aligned.col.m16n16k16.global.s8 {{%r2,%r3}}, [%rd2];\n\
                 wmma.load.c.sync.aligned.row.m16n16k16.global.s32 {{%r4,%r5,%r6,%r7,%r8,%r9,%r10,%r11}}, [%rd3];\n\
                 wmma.mma.sync.aligned.row.col.m16n16k16.s32.s8.s8.s32{ending} \
                 {{%r4,%r5,%r6,%r7,%r8,%r9,%r10,%r11}}, {{%r0,%r1}}, {{%r2,%r3}}, \
                 {{%r4,%r5,%r6,%r7,%r8,%r9,%r10,%r11}};\n\
                 wmma.store.d.sync.aligned.col.m16n16k16.global.s32 [%rd4], {{%r4,%r5,%r6,%r7,%r8,%r9,%r10,%r11}};"
            ),
        );
        let full = i32::MAX.to_le_bytes().repeat(256);
        let buffers = [vec![127; 256], vec![127; 256], full, vec![0; 1024]];
        let out = run(&text, &block(DeviceModel::A100, 32), &buffers, 0).unwrap_or_else(|e| panic!("{e}"));
        assert!(out[3].chunks(4).all(|v| v == want.to_le_bytes()), "{ending}");
    }
}

/// `.satfinite` on floats, which PTX had before 6.5: 65504 · 2 is infinite in binary16, or stays the largest value.
#[test]
fn finite_floats() {
    let product = |ending: &str| {
        let a = "{%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}";
        let b = "{%r8,%r9,%r10,%r11,%r12,%r13,%r14,%r15}";
        let c = "{%r16,%r17,%r18,%r19}";
        let body = format!(
            "wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {a}, [%rd1];\n\
             wmma.load.b.sync.aligned.col.m16n16k16.global.f16 {b}, [%rd2];\n\
             wmma.load.c.sync.aligned.row.m16n16k16.global.f16 {c}, [%rd3];\n\
             wmma.mma.sync.aligned.row.col.m16n16k16.f16.f16{ending} {c}, {a}, {b}, {c};\n\
             wmma.store.d.sync.aligned.row.m16n16k16.global.f16 [%rd4], {c};"
        );
        kernel("sm_70", 4, "", &body).replace(".version 8.6", ".version 6.3")
    };
    let half = |v: u16| v.to_le_bytes().repeat(256);
    // The first column of B is 2, or NaN.
    for (ending, value, want) in [("", 0x4000, 0x7c00), (".satfinite", 0x4000, 0x7bff), (".satfinite", 0x7e00, 0)] {
        let mut b = half(0);
        b[..2].copy_from_slice(&u16::to_le_bytes(value));
        let buffers = [half(0x7bff), b, half(0), half(0)];
        let out = run(&product(ending), &block(DeviceModel::A100, 32), &buffers, 0).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(get_bits(&out[3], 0, 16), want, "{ending}");
    }
    let newer = product(".satfinite").replace(".version 6.3", ".version 6.5");
    assert!(load(&newer, &DeviceModel::A100).err().expect("taken away").message.contains("satfinite"));
}

/// What a kernel may not do, and what the loader refuses.
#[test]
fn faults() {
    let a100 = || block(DeviceModel::A100, 32);
    let fault = |body: &str, bytes: usize| {
        let out = run(&kernel("sm_80", 1, "", body), &a100(), &[vec![0; bytes]], 0);
        out.expect_err(body).report
    };
    let load_a = "wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, ";
    assert!(fault(&format!("{load_a}[%rd1];"), 480).contains("out-of-bounds read"));
    assert!(fault(&format!("{load_a}[%rd1+16];"), 1024).contains("misaligned matrix"));
    assert!(fault(&format!("{load_a}[%rd1], 17;"), 1024).contains("a stride of 17 elements"));
    let lanes = format!("mov.u32 %r100, %tid.x; add.u32 %r100, %r100, 16; {load_a}[%rd1], %r100;");
    assert!(fault(&lanes, 8192).contains("the same in all lanes"));
    let partial = format!("mov.u32 %r100, %tid.x; setp.eq.u32 %p1, %r100, 3; @%p1 bra L; {load_a}[%rd1]; L:");
    assert!(fault(&partial, 1024).contains("all 32 lanes"));
    let refused = [
        "wmma.load.a.sync.aligned.col.m8n8k32.global.s4 {%r0}, [%rd1];",
        "wmma.load.a.sync.aligned.row.m16n16k16.global.tf32 {%r0,%r1,%r2,%r3}, [%rd1];",
        "wmma.load.c.sync.aligned.row.m8n8k4.global.f32 {%f0,%f1}, [%rd1];",
        "wmma.load.a.sync.aligned.row.m16n16k16.local.f16 {%r0,%r1,%r2,%r3,%r4,%r5,%r6,%r7}, [%rd1];",
        "wmma.load.a.sync.aligned.row.m16n16k16.global.f16 {%r0,%r1,%r2,%r3}, [%rd1];",
        "wmma.mma.xor.popc.sync.aligned.row.row.m8n8k128.s32.b1.b1.s32 {%r0,%r1}, {%r2}, {%r3}, {%r0,%r1};",
        "wmma.mma.sync.aligned.row.col.m8n8k32.s32.s4.s8.s32 {%r0,%r1}, {%r2}, {%r3}, {%r0,%r1};",
    ];
    for body in refused {
        let e = load(&kernel("sm_80", 1, "", body), &DeviceModel::A100).err().expect(body);
        assert!(e.message.contains("wmma") && e.line == 15, "{e}");
    }
}
