//! Sparse products: `mma.sp` and `wgmma.mma_async.sp`, every shape and type, against sums in 64-bit integers over the
//! dense matrices. Registers are packed by the formulas of the PTX ISA ("Matrix fragments for sparse mma"), metadata
//! by the layouts that CUTLASS gives for it (`ELayout_64x16`, `ELayout_64x32` and `ELayout_64x64`).

use super::machine::{Random, block, code, get_bits, kernel, load, put_bits, run};
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// A sparse matrix of 16 rows: dense values, stored values in order, and the metadata of each row by chunks.
struct Sparse {
    depth: usize,
    dense: Vec<i64>,
    /// Bits of the stored elements, `depth / 2` a row.
    stored: Vec<u64>,
    nibbles: Vec<u32>,
}

fn sparse(ty: &str, rows: usize, depth: usize, ascending: bool, random: &mut Random) -> Sparse {
    let (mut dense, mut stored, mut nibbles) = (vec![0; rows * depth], Vec::new(), Vec::new());
    for row in 0..rows {
        match ty {
            "tf32" => {
                for chunk in 0..depth / 2 {
                    let second = random.below(2) as usize;
                    let (v, bits) = code(ty).small(random);
                    dense[row * depth + 2 * chunk + second] = v;
                    stored.push(bits);
                    nibbles.push(if second == 1 { 0b1110 } else { 0b0100 });
                }
            }
            _ => {
                let width = if code(ty).bits() == 4 { 2 } else { 1 };
                for chunk in 0..depth / (4 * width) {
                    let (mut i, mut j) = (random.below(4), random.below(3));
                    j += u32::from(j >= i);
                    if ascending && i > j {
                        (i, j) = (j, i);
                    }
                    for unit in [i, j] {
                        for e in 0..width {
                            let (v, bits) = code(ty).small(random);
                            dense[row * depth + (4 * chunk + unit as usize) * width + e] = v;
                            stored.push(bits);
                        }
                    }
                    nibbles.push(i | j << 2);
                }
            }
        }
    }
    Sparse { depth, dense, stored, nibbles }
}

/// Row, and chunks, of which thread `t` of a quad holds metadata, with the first bit of each chunk.
fn metadata_of(ty: &str, depth: usize, t: usize, selector: usize, group: usize) -> Vec<(usize, usize, usize)> {
    let bits = code(ty).bits();
    let chunks = match bits {
        32 => depth / 2,
        4 => depth / 8,
        _ => depth / 4,
    };
    let mut out = Vec::new();
    if bits >= 16 {
        // Four chunks of two rows: row g in the low half, row g + 8 in the high half.
        let threads = chunks / 4;
        if t / threads == selector {
            for k in 0..4 {
                out.push((group, t % threads * 4 + k, 4 * k));
                out.push((group + 8, t % threads * 4 + k, 16 + 4 * k));
            }
        }
    } else {
        // Eight chunks of one row: even threads row g, odd ones row g + 8.
        let threads = chunks / 4;
        if t / threads == selector {
            for k in 0..8 {
                out.push((group + t % 2 * 8, t % threads / 2 * 8 + k, 4 * k));
            }
        }
    }
    out
}

/// The metadata register of a lane; what nobody reads is garbage.
fn metadata(s: &Sparse, ty: &str, first_row: usize, lane: usize, selector: usize, random: &mut Random) -> u32 {
    let places = metadata_of(ty, s.depth, lane % 4, selector, lane / 4);
    if places.is_empty() {
        return random.next();
    }
    let chunks = s.nibbles.len() * s.depth / s.dense.len();
    places.iter().fold(0, |v, (row, chunk, bit)| v | s.nibbles[(first_row + row) * chunks + chunk] << bit)
}

/// A's registers of a lane: register r holds row g or g + 8, and E stored elements from column t · E + r/2 · 4E on.
fn a_registers(s: &Sparse, ty: &str, first_row: usize, lane: usize) -> Vec<u32> {
    let bits = code(ty).bits();
    let per = 32 / bits;
    let half = s.depth / 2;
    (0..half / (2 * per))
        .map(|r| {
            let row = first_row + lane / 4 + 8 * (r % 2);
            let first = lane % 4 * per + r / 2 * 4 * per;
            (0..per).fold(0, |v, e| v | (s.stored[row * half + first + e] as u32) << (e * bits % 32))
        })
        .collect()
}

fn registers(kind: &str, first: usize, count: usize) -> String {
    let names: Vec<String> = (first..first + count).map(|k| format!("{kind}{k}")).collect();
    format!("{{{}}}", names.join(","))
}

/// Loads of `count` 32-bit registers of each thread from a buffer that has them thread after thread.
fn loads(kind: &str, first: usize, count: usize, pointer: usize) -> String {
    let ty = if kind == "%f" { "f32" } else { "u32" };
    let mut out = format!("mul.wide.u32 %rd20, %r511, {}; add.u64 %rd20, %rd20, %rd{pointer};\n", 4 * count);
    for k in 0..count {
        out += &format!("ld.global.{ty} {kind}{}, [%rd20+{}];\n", first + k, 4 * k);
    }
    out
}

fn stores(kind: &str, first: usize, count: usize, pointer: usize) -> String {
    loads(kind, first, count, pointer).replace("ld.global", "st.global").lines().fold(String::new(), |out, line| {
        match line.strip_prefix("st.global.") {
            Some(rest) => {
                let (ty, rest) = rest.split_once(' ').expect("a type and operands");
                let (register, address) = rest.trim_end_matches(';').split_once(", ").expect("two operands");
                out + &format!("st.global.{ty} {address}, {register};\n")
            }
            None => out + line + "\n",
        }
    })
}

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|w| w.to_le_bytes()).collect()
}

/// Kind and number of a thread's registers of an m × 8n accumulator.
fn accumulator(ty: &str, blocks: usize) -> (&'static str, usize) {
    match ty {
        "f16" => ("%r", 2 * blocks),
        "f32" => ("%f", 4 * blocks),
        _ => ("%r", 4 * blocks),
    }
}

/// Puts an accumulator's value of (row, column) into the words of 32 lanes.
fn place(ty: &str, count: usize, row: usize, column: usize) -> (usize, usize) {
    // Element v of block column / 8: rows g (v < 2) and g + 8, columns 2t + v mod 2.
    let lane = 4 * (row % 8) + column % 8 / 2;
    let v = 4 * (column / 8) + 2 * (row / 8) + column % 2;
    (lane * count * (if ty == "f16" { 2 } else { 1 }) + v, code(ty).bits())
}

fn warp_product(types: [&str; 4], depth: usize, selector: usize, variant: &str, ending: &str, random: &mut Random) {
    let [d, a, b, c] = types;
    let s = sparse(a, 16, depth, variant.contains("ordered"), random);
    let per = 32 / code(b).bits();
    let blocks = depth / (4 * per);
    let dense_b: Vec<(i64, u64)> = (0..8 * depth).map(|_| code(b).small(random)).collect();
    let (mut wa, mut wb, mut we) = (Vec::new(), Vec::new(), Vec::new());
    for lane in 0..32 {
        wa.extend(a_registers(&s, a, 0, lane));
        we.push(metadata(&s, a, 0, lane, selector, random));
        for r in 0..blocks {
            let first = r * 4 * per + lane % 4 * per;
            let word = |e: usize| (dense_b[lane / 4 * depth + first + e].1 as u32) << (e * code(b).bits() % 32);
            wb.push((0..per).fold(0, |v, e| v | word(e)));
        }
    }
    let (kc, nc) = accumulator(c, 1);
    let (kd, nd) = accumulator(d, 1);
    let mut wc = vec![0u8; 128 * nc];
    let mut dense_c = [[0i64; 8]; 16];
    for (row, line) in dense_c.iter_mut().enumerate() {
        for (column, v) in line.iter_mut().enumerate() {
            let (value, bits) = code(c).small(random);
            let (at, width) = place(c, nc, row, column);
            put_bits(&mut wc, at, width, bits);
            *v = value;
        }
    }
    let mut body = "mov.u32 %r511, %tid.x;\n".to_string();
    body += &loads("%r", 100, blocks, 1);
    body += &loads("%r", 120, blocks, 2);
    body += &loads(kc, 140, nc, 3);
    body += &loads("%r", 160, 1, 4);
    body += &format!(
        "mma{variant}.sync.aligned.m16n8k{depth}.row.col{ending}.{d}.{a}.{b}.{c} {}, {}, {}, {}, %r160, {selector};\n",
        registers(kd, 0, nd),
        registers("%r", 100, blocks),
        registers("%r", 120, blocks),
        registers(kc, 140, nc),
    );
    body += &stores(kd, 0, nd, 5);
    let text = kernel("sm_89", 5, "", &body);
    let buffers = [bytes(&wa), bytes(&wb), wc, bytes(&we), vec![0; 128 * nd]];
    for seed in [0, 1] {
        let out =
            run(&text, &block(DeviceModel::RTX_4090, 32), &buffers, seed).unwrap_or_else(|e| panic!("{e}\n{text}"));
        for (row, line) in dense_c.iter().enumerate() {
            for (column, start) in line.iter().enumerate() {
                let dot: i64 = (0..depth).map(|k| s.dense[row * depth + k] * dense_b[column * depth + k].0).sum();
                let (at, width) = place(d, nd, row, column);
                let got = code(d).decode(get_bits(&out[4], at, width));
                assert_eq!(got, (dot + start) as f64, "({row}, {column})\n{text}");
            }
        }
    }
}

/// Calls the function with types, depth, selectors, variant and ending of every form of `mma.sp`.
fn warp_products(mut each_of: impl FnMut([&str; 4], usize, usize, &str, &str)) {
    for variant in [".sp", ".sp::ordered_metadata"] {
        let mut each = |types: [&str; 4], depth: usize, selectors: usize, ending: &str| {
            each_of(types, depth, selectors, variant, ending);
        };
        for d in ["f16", "f32"] {
            each([d, "f16", "f16", d], 16, 4, "");
            each([d, "f16", "f16", d], 32, 2, "");
        }
        each(["f32", "bf16", "bf16", "f32"], 16, 4, "");
        each(["f32", "bf16", "bf16", "f32"], 32, 2, "");
        each(["f32", "tf32", "tf32", "f32"], 8, 4, "");
        each(["f32", "tf32", "tf32", "f32"], 16, 2, "");
        for a in ["e4m3", "e5m2"] {
            for b in ["e4m3", "e5m2"] {
                each(["f32", a, b, "f32"], 64, 1, "");
            }
        }
        for ending in ["", ".satfinite"] {
            for a in ["s", "u"] {
                for b in ["s", "u"] {
                    for (bits, shallow, deep) in [(8, 32, 64), (4, 64, 128)] {
                        let (a, b) = (format!("{a}{bits}"), format!("{b}{bits}"));
                        each(["s32", &a, &b, "s32"], shallow, 2, ending);
                        each(["s32", &a, &b, "s32"], deep, 1, ending);
                    }
                }
            }
        }
    }
}

/// The opcodes of `mma.sp`.
pub fn opcodes() -> Vec<String> {
    let mut out = Vec::new();
    warp_products(|[d, a, b, c], depth, _, variant, ending| {
        out.push(format!("mma{variant}.sync.aligned.m16n8k{depth}.row.col{ending}.{d}.{a}.{b}.{c}"));
    });
    out
}

#[test]
fn mma_sp() {
    let mut random = Random(3);
    let mut count = 0;
    warp_products(|types, depth, selectors, variant, ending| {
        for selector in 0..selectors {
            warp_product(types, depth, selector, variant, ending, &mut random);
            count += 1;
        }
    });
    assert_eq!(count, 2 * (12 + 6 + 6 + 4 + 48));
}

/// Where a tile lies in shared memory: bytes of the swizzle's span (16: none), and its descriptor's fields.
struct Tile {
    span: usize,
    leading: usize,
    stride: usize,
}

impl Tile {
    /// Rows of `width` bytes, K contiguous.
    fn k_major(span: usize, width: usize) -> Tile {
        match span {
            16 => Tile { span, leading: 128, stride: 8 * width },
            _ => Tile { span, leading: 0, stride: 8 * span },
        }
    }

    fn address(&self, row: usize, byte: usize) -> usize {
        if self.span == 16 {
            return row / 8 * self.stride + byte / 16 * self.leading + row % 8 * 16 + byte % 16;
        }
        let at = row * self.span + byte;
        // Chunks of 16 bytes change places by the address bits three above theirs.
        at ^ (at >> 7 & (self.span / 16 - 1)) << 4
    }

    fn descriptor(&self, start: usize) -> u64 {
        let swizzle = match self.span {
            128 => 1u64,
            64 => 2,
            32 => 3,
            _ => 0,
        };
        (start >> 4) as u64 | (self.leading as u64 >> 4) << 16 | (self.stride as u64 >> 4) << 32 | swizzle << 62
    }
}

struct Group<'t> {
    types: [&'t str; 3],
    n: usize,
    selector: usize,
    in_registers: bool,
    spans: (usize, usize),
    /// Signs of A and B, and whether D is added to.
    scales: (i64, i64, bool),
    ending: &'t str,
}

fn group_product(g: &Group<'_>, random: &mut Random) {
    let [d, a, b] = g.types;
    let (bits_a, bits_b) = (code(a).bits(), code(b).bits());
    let depth = 512 / bits_a;
    let s = sparse(a, 64, depth, false, random);
    let dense_b: Vec<(i64, u64)> = (0..g.n * depth).map(|_| code(b).small(random)).collect();
    let (tile_a, tile_b) = (Tile::k_major(g.spans.0, 32), Tile::k_major(g.spans.1, 64));
    let b_start = 8192;
    let size = b_start + 256 * 128;
    let mut image = vec![0u8; size];
    let per_byte = |bits: usize| bits / 8;
    for row in 0..64 {
        for k in 0..depth / 2 {
            let at = tile_a.address(row, k * per_byte(bits_a)) / per_byte(bits_a);
            put_bits(&mut image, at, bits_a, s.stored[row * depth / 2 + k]);
        }
    }
    for column in 0..g.n {
        for k in 0..depth {
            let at = (b_start + tile_b.address(column, k * per_byte(bits_b))) / per_byte(bits_b);
            put_bits(&mut image, at, bits_b, dense_b[column * depth + k].1);
        }
    }
    let (mut wa, mut we) = (Vec::new(), Vec::new());
    for thread in 0..128 {
        wa.extend(a_registers(&s, a, thread / 32 * 16, thread % 32));
        we.push(metadata(&s, a, thread / 32 * 16, thread % 32, g.selector, random));
    }
    let (kind, count) = accumulator(d, g.n / 8);
    let mut wd = vec![0u8; 512 * count];
    let mut dense_d = vec![0i64; 64 * g.n];
    let at_d = |row: usize, column: usize| {
        let (at, width) = place(d, count, row % 16, column);
        (at + row / 16 * 32 * count * (if d == "f16" { 2 } else { 1 }), width)
    };
    for row in 0..64 {
        for column in 0..g.n {
            let (v, bits) = code(d).small(random);
            let (at, width) = at_d(row, column);
            put_bits(&mut wd, at, width, bits);
            dense_d[row * g.n + column] = v;
        }
    }
    let mut body = "mov.u32 %r511, %tid.x; mul.wide.u32 %rd21, %r511, 16; add.u64 %rd22, %rd1, %rd21;\n\
                    cvt.u32.u64 %r510, %rd21; mov.u32 %r509, buffer; add.u32 %r510, %r510, %r509;\n"
        .to_string();
    for at in (0..size).step_by(2048) {
        body += &format!(
            "ld.global.v2.u64 {{%rd23,%rd24}}, [%rd22+{at}]; st.shared.v2.u64 [%r510+{at}], {{%rd23,%rd24}};\n"
        );
    }
    body += &loads("%r", 300, 4, 2);
    body += &loads("%r", 304, 1, 3);
    body += &loads(kind, 0, count, 4);
    let integer = d == "s32";
    let (sa, sb, keep) = g.scales;
    let wide = bits_a == 16;
    let operand = if g.in_registers { registers("%r", 300, 4) } else { "%rd30".to_string() };
    let scales = if integer { String::new() } else { format!(", {sa}, {sb}") };
    let trans = match (wide, g.in_registers) {
        (false, _) => "",
        (true, true) => ", 0",
        (true, false) => ", 0, 0",
    };
    body += &format!(
        "mov.u64 %rd30, {}; mov.u64 %rd31, {}; cvt.u64.u32 %rd32, %r509; shr.u64 %rd32, %rd32, 4;\n\
         add.u64 %rd30, %rd30, %rd32; add.u64 %rd31, %rd31, %rd32;\n\
         fence.proxy.async; bar.sync 0; setp.eq.u32 %p1, 1, {};\nwgmma.fence.sync.aligned;\n\
         wgmma.mma_async.sp.sync.aligned.m64n{}k{depth}.{d}.{a}.{b}{} {}, {operand}, %rd31, %r304, {}, %p1{scales}{trans};\n\
         wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;\n",
        tile_a.descriptor(0),
        tile_b.descriptor(b_start),
        u32::from(keep),
        g.n,
        g.ending,
        registers(kind, 0, count),
        g.selector
    );
    body += &stores(kind, 0, count, 4);
    let head = format!(".extern .shared .align 1024 .b8 buffer[];\n// {size} bytes");
    let text = kernel("sm_90a", 4, &head, &body);
    let buffers = [image, bytes(&wa), bytes(&we), wd];
    let config =
        LaunchConfig { dynamic_shared: size as u32, max_dynamic_shared: size as u32, ..block(DeviceModel::H100, 128) };
    for seed in [0, 1] {
        let out = run(&text, &config, &buffers, seed).unwrap_or_else(|e| panic!("{e}\n{text}"));
        for row in 0..64 {
            for column in 0..g.n {
                let dot: i64 = (0..depth).map(|k| s.dense[row * depth + k] * dense_b[column * depth + k].0).sum();
                let want = dot * sa * sb + if keep { dense_d[row * g.n + column] } else { 0 };
                let (at, width) = at_d(row, column);
                let got = code(d).decode(get_bits(&out[3], at, width));
                assert_eq!(got, want as f64, "({row}, {column})\n{text}");
            }
        }
    }
}

#[test]
fn wgmma_sp() {
    let mut random = Random(4);
    let mut n = 0usize;
    let mut each = |types: [&str; 3], selectors: usize, ending: &str| {
        let integer = types[0] == "s32";
        for selector in 0..selectors {
            for in_registers in [false, true] {
                for spans in [(16, 16), (32, 64), (64, 128), (128, 16)] {
                    // Columns, signs and accumulation go round.
                    n += 1;
                    let columns = [8, 16, 24, 32, 64, 96, 256][n % 7];
                    let sign = |k: usize| if !integer && n >> k & 1 == 1 { -1 } else { 1 };
                    let scales = (sign(0), sign(1), !n.is_multiple_of(3));
                    group_product(
                        &Group { types, n: columns, selector, in_registers, spans, scales, ending },
                        &mut random,
                    );
                }
            }
        }
    };
    for d in ["f16", "f32"] {
        each([d, "f16", "f16"], 2, "");
        for a in ["e4m3", "e5m2"] {
            for b in ["e4m3", "e5m2"] {
                each([d, a, b], 1, "");
            }
        }
    }
    each(["f32", "bf16", "bf16"], 2, "");
    each(["f32", "tf32", "tf32"], 2, "");
    for a in ["s8", "u8"] {
        for b in ["s8", "u8"] {
            each(["s32", a, b], 1, "");
            each(["s32", a, b], 1, ".satfinite");
        }
    }
}

/// Metadata that names an element twice, or in the wrong order; selectors without threads.
#[test]
fn faults() {
    let product = |variant: &str, selector: u32| {
        format!(
            "mma{variant}.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {{%f0,%f1,%f2,%f3}}, {{%r1,%r2}}, {{%r3,%r4}}, \
             {{%f4,%f5,%f6,%f7}}, %r5, {selector};"
        )
    };
    let zero = "mov.b32 %r1, 0; mov.b32 %r2, 0; mov.b32 %r3, 0; mov.b32 %r4, 0; mov.b32 %f4, 0; mov.b32 %f5, 0; \
                mov.b32 %f6, 0; mov.b32 %f7, 0;";
    let config = || block(DeviceModel::A100, 32);
    let with = |variant: &str, meta: u32| {
        let body = format!("{zero} mov.b32 %r5, {meta}; {}", product(variant, 0));
        run(&kernel("sm_80", 0, "", &body), &config(), &[], 0)
    };
    with(".sp", 0x4444_4444).unwrap_or_else(|e| panic!("{e}"));
    with(".sp", 0x1111_1111).unwrap_or_else(|e| panic!("{e}"));
    for (variant, meta, want) in [
        (".sp", 0x4444_4440, "0b0000"),
        (".sp", 0x4f44_4444, "0b1111"),
        (".sp::ordered_metadata", 0x4444_1444, "the indices must ascend"),
    ] {
        let fault = with(variant, meta).expect_err(want);
        assert!(fault.report.contains(want) && fault.report.contains("metadata"), "{fault}");
    }
    // Only the lanes that the selector names give metadata.
    let body = format!(
        "{zero} mov.u32 %r6, %tid.x; and.b32 %r6, %r6, 3; setp.eq.u32 %p1, %r6, 2; @%p1 mov.b32 %r5, 0x44444444; {}",
        product(".sp", 2)
    );
    run(&kernel("sm_80", 0, "", &body), &config(), &[], 0).unwrap_or_else(|e| panic!("{e}"));
    for body in [product(".sp", 4), product(".sp", 0).replace("m16n8k16", "m16n8k8")] {
        let e = load(&kernel("sm_80", 0, "", &body), &DeviceModel::A100).err().expect("refused");
        assert!(e.message.contains("mma.sp"), "{e}");
    }
}
