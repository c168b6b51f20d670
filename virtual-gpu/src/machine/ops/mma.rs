//! Warp matrix products: `mma.sync`.
//!
//! `fragment` has the layout of operands, `ldmatrix` the instructions that move them.

use super::cvt::f8_value;
use super::float::canon;
use super::fragment::{self, Columns, Scratch, Sums, Widened};
use super::half::{b2f, f2h, h2f};
use super::softfloat::{self as soft, Round};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
#[cfg(target_arch = "x86_64")]
use crate::machine::lanes::wide_vectors;
use crate::machine::lanes::{OpPair, op_versions};
use crate::machine::lower::{Decoded, Form, Lower, MInst, TaintRule};
use crate::ptx::{Operand, Ty};

/// Element types, as numbered in `x`.
pub const TYPES: [Ty; 11] =
    [Ty::F16, Ty::BF16, Ty::TF32, Ty::E4M3, Ty::E5M2, Ty::S8, Ty::U8, Ty::S4, Ty::U4, Ty::B1, Ty::F64];

/// All lanes must take part.
pub fn whole_warp(cx: &mut Cx<'_>, m: u32) -> Result<(), Flow> {
    if m == u32::MAX {
        return Ok(());
    }
    let text = format!("a matrix instruction is executed by lanes {m:#010x}: all 32 lanes must execute it together");
    Err(cx.fail(FaultKind::LaunchFailed, Some("convergence"), None, &text))
}

/// TF32 operands are f32 without their low 13 bits; what hardware makes of others is not defined.
#[inline(always)]
pub fn check_tf32(cx: &mut Cx<'_>, raw: &[u32], lane: impl Fn(usize) -> Option<usize>) -> Result<(), Flow> {
    if !cx.launch.checks.limits || raw.iter().fold(0, |all, v| all | v) & 0x1fff == 0 {
        return Ok(());
    }
    let at = raw.iter().position(|v| v & 0x1fff != 0).unwrap_or(0);
    let text = format!(
        "a TF32 operand is {:#010x}, whose low 13 bits are not zero: convert with cvt.rna.tf32.f32 or cvt.rn.tf32.f32",
        raw[at]
    );
    Err(cx.fail(FaultKind::LaunchFailed, Some("limits"), lane(at), &text))
}

/// Widens the values of a register over all lanes to f32, in order.
#[inline(always)]
pub fn widen(raw: &[u32; 32], ty: Ty, out: &mut [f32]) {
    match ty {
        Ty::F16 => {
            for l in 0..32 {
                out[2 * l] = h2f(raw[l] as u16);
                out[2 * l + 1] = h2f((raw[l] >> 16) as u16);
            }
        }
        Ty::BF16 => {
            for l in 0..32 {
                out[2 * l] = b2f(raw[l] as u16);
                out[2 * l + 1] = b2f((raw[l] >> 16) as u16);
            }
        }
        Ty::TF32 => {
            for l in 0..32 {
                out[l] = f32::from_bits(raw[l] & 0xffff_e000);
            }
        }
        ty => {
            for l in 0..32 {
                for e in 0..4 {
                    out[4 * l + e] = f8_value((raw[l] >> (8 * e)) as u8, ty == Ty::E5M2) as f32;
                }
            }
        }
    }
}

/// m16n8kK on floats, K = 4·E·`BLOCKS`. `list`: D, A, B, C; types of A and B in `x` bits 0 to 3 and 4 to 7; bit 8: D is
/// f16; bit 9: C is.
#[inline(always)]
unsafe fn mma_float<const BLOCKS: usize, const E: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let (ta, tb) = (TYPES[(i.x & 15) as usize % 11], TYPES[(i.x >> 4 & 15) as usize % 11]);
    let (d_half, c_half) = (i.x >> 8 & 1 != 0, i.x >> 9 & 1 != 0);
    let at_a = if d_half { 2 } else { 4 };
    let at_b = at_a + 2 * BLOCKS;
    let at_c = at_b + BLOCKS;
    let list = cx.list(i);
    if E == 1 {
        for at in at_a..at_c {
            let raw = cx.lanes::<u32>(list[at]);
            if let Err(flow) = check_tf32(cx, &raw, Some) {
                return flow;
            }
        }
    }
    let mut scratch = cx.worker.scratch.take().unwrap_or_default();
    operands::<BLOCKS, E>(cx, [ta, tb], [&list[at_a..at_b], &list[at_b..at_c]], &mut scratch);
    let truncate = cx.launch.seed & 1 != 0;
    multiply::<E>(cx, &scratch, BLOCKS, [&list[at_c..], list], [c_half, d_half], truncate.then_some(group_of(cx, ta)));
    cx.worker.scratch = Some(scratch);
    let t = &mut cx.worker.traffic;
    t.tensor += 1;
    t.tensor_macs += (128 * 4 * E * BLOCKS) as u64;
    Flow::Next
}

/// Widens the registers of A and B.
#[inline(always)]
fn operands<const BLOCKS: usize, const E: usize>(
    cx: &Cx<'_>,
    [ta, tb]: [Ty; 2],
    [a, b]: [&[u32]; 2],
    scratch: &mut Scratch,
) {
    #[cfg(target_arch = "x86_64")]
    if E == 2 && wide_vectors() {
        let a = [0, 1, 2, 3].map(|r| cx.lanes_ref(a[r % (2 * BLOCKS)]));
        let b = [0, 1].map(|r| cx.lanes_ref(b[r % BLOCKS]));
        // SAFETY: the machine has AVX-512.
        return unsafe { fragment::operands_of_pairs::<BLOCKS>(a, b, ta == Ty::BF16, scratch) };
    }
    for (r, to) in scratch.a.chunks_exact_mut(E).take(2 * BLOCKS).enumerate() {
        fragment::widen::<E>(cx.lanes_ref(a[r]), ta, to);
    }
    for (r, to) in scratch.b.chunks_exact_mut(E).take(BLOCKS).enumerate() {
        fragment::widen::<E>(cx.lanes_ref(b[r]), tb, to);
    }
    fragment::columns::<E>(&scratch.b[..BLOCKS * E], &mut scratch.columns);
}

/// Multiplies what `scratch` holds of `blocks` blocks, from accumulators in the registers of the first list to those of
/// the second; each may be of f16. Sums of f32 are cut off in groups of `truncate`.
#[inline(always)]
pub fn multiply<const E: usize>(
    cx: &mut Cx<'_>,
    scratch: &Scratch,
    blocks: usize,
    [c, d]: [&[u32]; 2],
    [c_half, d_half]: [bool; 2],
    truncate: Option<usize>,
) {
    let (a, columns) = (&scratch.a[..2 * blocks * E], &scratch.columns);
    let truncate = truncate.filter(|_| !d_half);
    #[cfg(target_arch = "x86_64")]
    if !c_half && !d_half && truncate.is_none() && wide_vectors() {
        let from = [c[0], c[1], c[2], c[3]].map(|c| cx.slot(c).cast::<f32>().cast_const());
        let to = [d[0], d[1], d[2], d[3]].map(|d| cx.slot(d).cast::<f32>());
        // SAFETY: the decoder gives registers of 32 bits, and destinations lie in the arena.
        return unsafe { fragment::product_wide::<E, true>(a, columns, from, to) };
    }
    let mut acc = load_sums(cx, c, c_half);
    match truncate {
        Some(size) => truncated::<E>(a, columns, size, &mut acc),
        None => fragment::product::<E>(a, columns, &mut acc),
    }
    store_sums(cx, d, d_half, &acc, u32::MAX);
}

/// Accumulators from the operand list: two registers of pairs of f16, or four of f32.
#[inline(always)]
pub fn load_sums(cx: &Cx<'_>, list: &[u32], half: bool) -> Sums {
    let mut acc = [[0f32; 32]; 4];
    if !half {
        for (sums, c) in acc.iter_mut().zip(list) {
            *sums = cx.lanes(*c);
        }
        return acc;
    }
    for r in 0..2 {
        let c = cx.lanes::<u32>(list[r]);
        for l in 0..32 {
            acc[2 * r][l] = h2f(c[l] as u16);
            acc[2 * r + 1][l] = h2f((c[l] >> 16) as u16);
        }
    }
    acc
}

/// Writes accumulators to the operand list.
#[inline(always)]
pub fn store_sums(cx: &mut Cx<'_>, list: &[u32], half: bool, acc: &Sums, m: u32) {
    if !half {
        for (sums, d) in acc.iter().zip(list) {
            let mut out = *sums;
            for v in &mut out {
                *v = canon(*v);
            }
            cx.put(*d, &out, m);
        }
        return;
    }
    for r in 0..2 {
        let mut out = [0u32; 32];
        for l in 0..32 {
            out[l] = u32::from(f2h(acc[2 * r][l])) | u32::from(f2h(acc[2 * r + 1][l])) << 16;
        }
        cx.put(list[r], &out, m);
    }
}

/// Sums as tensor cores do (Fasi, Higham, Mikaitis, Pranesh 2021): products are added in groups of `size` in fixed point
/// aligned to the largest exponent, and cut off towards zero.
pub fn truncated<const E: usize>(a: &Widened, b: &Columns, size: usize, acc: &mut Sums) {
    let depth = 2 * a.len();
    let mut terms = Vec::with_capacity(size);
    for (k, sums) in acc.iter_mut().enumerate() {
        for (l, sum) in sums.iter_mut().enumerate() {
            for group in (0..depth).step_by(size) {
                terms.clear();
                terms.extend((group..depth.min(group + size)).map(|at| {
                    let (block, j, e) = (at / (4 * E), at / E % 4, at % E);
                    f64::from(a[(2 * block + k / 2) * E + e][l & !3 | j]) * f64::from(b[at][k & 1][l & 3])
                }));
                *sum = truncated_sum(&terms, *sum);
            }
        }
    }
}

/// Products that are summed at once: 16 bytes of A on sm_80 and its like, 32 on sm_90 (Fasi et al. 2021; Xie et al., FTTN,
/// 2024).
fn group_of(cx: &Cx<'_>, ty: Ty) -> usize {
    let bytes = if cx.launch.config.model.compute >= (9, 0) { 32 } else { 16 };
    8 * bytes / ty.bits().max(8) as usize
}

/// One group: the sum with every term cut to 24 bits below the largest exponent, plus two guard bits.
pub fn truncated_sum(terms: &[f64], c: f32) -> f32 {
    let all = terms.iter().copied().chain([f64::from(c)]);
    let largest = all.clone().map(f64::abs).fold(0.0, f64::max);
    if largest == 0.0 || !terms.iter().all(|t| t.is_finite()) || !c.is_finite() {
        return all.sum::<f64>() as f32;
    }
    let exponent = ((largest.to_bits() >> 52) as i32 - 1023).max(-126);
    let unit = f64::powi(2.0, exponent - 25);
    let sum: f64 = all.map(|t| (t / unit).trunc()).sum::<f64>() * unit;
    soft::convert(sum, soft::F32, Round::Zero) as f32
}

/// Integer elements of a register in lane order.
pub fn widen_int(raw: &[u32; 32], ty: Ty, out: &mut Vec<i32>) {
    for v in raw {
        match ty {
            Ty::S8 => (0..4).for_each(|e| out.push(i32::from((v >> (8 * e)) as i8))),
            Ty::U8 => (0..4).for_each(|e| out.push((v >> (8 * e) & 0xff) as i32)),
            Ty::S4 => (0..8).for_each(|e| out.push((v << (28 - 4 * e)) as i32 >> 28)),
            Ty::U4 => (0..8).for_each(|e| out.push((v >> (4 * e) & 15) as i32)),
            _ => (0..32).for_each(|e| out.push((v >> e & 1) as i32)),
        }
    }
}

/// Integer shapes: K in bits 16 to 25 of `x`, bit 10: M is 8, bit 11 satfinite, bit 12 xor, 13 and (of bits).
#[inline(always)]
unsafe fn mma_int(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let (ta, tb) = (TYPES[(i.x & 15) as usize % 11], TYPES[(i.x >> 4 & 15) as usize % 11]);
    let depth = (i.x >> 16 & 0x3ff) as usize;
    let rows = if i.x >> 10 & 1 != 0 { 1 } else { 2 };
    let blocks = depth * ta.bits() as usize / 128;
    let (at_a, at_b) = (2 * rows, 2 * rows + rows * blocks);
    let at_c = at_b + blocks;
    let mut b = [[0u32; 32]; 2];
    for (r, b) in b[..blocks].iter_mut().enumerate() {
        *b = cx.lanes(cx.listed(i, at_b + r));
    }
    let mut results = [[0i32; 32]; 4];
    for r in 0..rows {
        let mut a = [[0u32; 32]; 2];
        for (block, a) in a[..blocks].iter_mut().enumerate() {
            *a = cx.lanes(cx.listed(i, at_a + rows * block + r));
        }
        let sums = fragment::integer_product(&a[..blocks], &b[..blocks], ta, tb, i.x >> 12 & 1 != 0);
        for (odd, sums) in sums.iter().enumerate() {
            let c = cx.lanes::<i32>(cx.listed(i, at_c + 2 * r + odd));
            results[2 * r + odd] = add_sums(&c, sums, i.x >> 11 & 1 != 0);
        }
    }
    for (k, out) in results[..2 * rows].iter().enumerate() {
        let d = cx.listed(i, k);
        cx.put(d, out, m);
    }
    cx.worker.traffic.tensor += 1;
    cx.worker.traffic.tensor_macs += (64 * rows * depth) as u64;
    Flow::Next
}

/// `c + sums`, saturating or wrapping.
#[inline(always)]
pub fn add_sums(c: &[i32; 32], sums: &[i32; 32], saturate: bool) -> [i32; 32] {
    let mut out = [0i32; 32];
    for l in 0..32 {
        out[l] = if saturate { c[l].saturating_add(sums[l]) } else { c[l].wrapping_add(sums[l]) };
    }
    out
}

/// Doubles: K in bits 16 to 25 of `x`, bit 10: M is 8; rounding in bits 26 to 28.
unsafe fn mma_double(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let depth = (i.x >> 16 & 0x3ff) as usize;
    let rows = if i.x >> 10 & 1 != 0 { 1 } else { 2 };
    let mode = Round::from_bits(i.x >> 26 & 7);
    let (at_a, at_b) = (2 * rows, 2 * rows + rows * depth / 4);
    let at_c = at_b + depth / 4;
    let a: Vec<[f64; 32]> = (at_a..at_b).map(|k| cx.lanes::<f64>(cx.listed(i, k))).collect();
    let b: Vec<[f64; 32]> = (at_b..at_c).map(|k| cx.lanes::<f64>(cx.listed(i, k))).collect();
    let mut results = Vec::new();
    for r in 0..rows {
        for odd in 0..2 {
            let c = cx.lanes::<f64>(cx.listed(i, at_c + 2 * r + odd));
            let out: [f64; 32] = std::array::from_fn(|l| {
                let (row, col) = (l / 4, 2 * (l % 4) + odd);
                (0..depth).fold(c[l], |sum, k| {
                    let x = a[k / 4 * rows + r][row * 4 + k % 4];
                    let y = b[k / 4][col * 4 + k % 4];
                    if mode == Round::Nearest { x.mul_add(y, sum) } else { soft::fma(x, y, sum, soft::F64, mode) }
                })
            });
            results.push(out);
        }
    }
    for (k, out) in results.iter().enumerate() {
        let d = cx.listed(i, k);
        cx.put(d, out, m);
    }
    cx.worker.traffic.tensor += 1;
    cx.worker.traffic.tensor_macs += (64 * rows * depth) as u64;
    Flow::Next
}

/// `mma.m8n8k4` on binary16: four products of 8 × 8 × 4, one by each group of lanes 4q to 4q+3 and 4q+16 to 4q+19.
/// `x` bits 8 and 9 as in `mma_float`, bit 14: A is column-major, bit 15: B is row-major.
unsafe fn mma_quads(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let (d_half, c_half) = (i.x >> 8 & 1 != 0, i.x >> 9 & 1 != 0);
    let nd = if d_half { 4 } else { 8 };
    let halves = |cx: &Cx<'_>, at: usize, l: usize| -> [f32; 4] {
        let (x, y): (u32, u32) = (cx.lane(cx.listed(i, at), l), cx.lane(cx.listed(i, at + 1), l));
        [h2f(x as u16), h2f((x >> 16) as u16), h2f(y as u16), h2f((y >> 16) as u16)]
    };
    let value = |cx: &Cx<'_>, l: usize, k: usize| -> f32 {
        if c_half {
            let v: u32 = cx.lane(cx.listed(i, nd + 4 + k / 2), l);
            h2f((v >> (16 * (k & 1))) as u16)
        } else {
            cx.lane(cx.listed(i, nd + 4 + k), l)
        }
    };
    let mut out = [[0f32; 32]; 8];
    for q in 0..4 {
        let lane_of = |k: usize| if k < 4 { 4 * q + k } else { 16 + 4 * q + k - 4 };
        let mut a = [[0f32; 4]; 8];
        let mut b = [[0f32; 8]; 4];
        for n in 0..8 {
            let l = lane_of(n);
            let (va, vb) = (halves(cx, nd, l), halves(cx, nd + 2, l));
            for e in 0..4 {
                // Row-major A: a lane holds a row. Column-major: column l mod 4, rows 0 to 3 or 4 to 7.
                if i.x >> 14 & 1 == 0 {
                    a[n][e] = va[e];
                } else {
                    a[e + 4 * (n / 4)][n % 4] = va[e];
                }
                if i.x >> 15 & 1 == 0 {
                    b[e][n] = vb[e];
                } else {
                    b[n % 4][e + 4 * (n / 4)] = vb[e];
                }
            }
        }
        for n in 0..8 {
            let l = lane_of(n);
            for k in 0..8 {
                let (row, col) = if d_half {
                    (n, k)
                } else {
                    ((n % 4 & 1) + (k & 2) + 4 * (n / 4), (k & 4) + (n % 4 & 2) + (k & 1))
                };
                // C is laid out by its own type, which may differ from that of D.
                let c = if c_half == d_half {
                    value(cx, l, k)
                } else if c_half {
                    value(cx, lane_of(row), col)
                } else {
                    let n2 = (row & 1) | (col & 2) | (row & 4);
                    value(cx, lane_of(n2), (row & 2) | (col & 4) | (col & 1))
                };
                let sum = (0..4).fold(c, |s, e| a[row][e].mul_add(b[e][col], s));
                out[k][l] = sum;
            }
        }
    }
    for k in 0..nd {
        let d = cx.listed(i, k);
        if d_half {
            let v = std::array::from_fn(|l| u32::from(f2h(out[2 * k][l])) | u32::from(f2h(out[2 * k + 1][l])) << 16);
            cx.put::<u32>(d, &v, m);
        } else {
            cx.put(d, &out[k], m);
        }
    }
    cx.worker.traffic.tensor += 1;
    cx.worker.traffic.tensor_macs += 4 * 256;
    Flow::Next
}

/// M, N and K of a shape such as `m16n8k16`.
pub fn shape(name: &str) -> Option<(u32, u32, u32)> {
    let rest = name.strip_prefix('m')?;
    let (m, rest) = rest.split_once('n')?;
    let (n, k) = rest.split_once('k')?;
    Some((m.parse().ok()?, n.parse().ok()?, k.parse().ok()?))
}

/// Decodes `mma`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    if let Some(variant) = f.one_of(&["sp", "sp::ordered_metadata"]) {
        return super::mma_sparse::decode(lw, f, variant != "sp");
    }
    f.flag("sync");
    f.flag("aligned");
    let Some((m, n, k)) = f.find(shape) else { return lw.refuse("names no shape") };
    let layouts: Vec<&str> = f.ins.modifiers.iter().copied().filter(|m| matches!(*m, "row" | "col")).collect();
    while f.one_of(&["row", "col"]).is_some() {}
    let [la, lb] = layouts[..] else { return lw.refuse("names the layouts of A and B") };
    let (a_col, b_row) = (la == "col", lb == "row");
    let satfinite = f.flag("satfinite");
    let bits = f.one_of(&["xor", "and"]);
    if bits.is_some() && !f.flag("popc") {
        return lw.refuse("a binary product ends with .popc");
    }
    let rounding = f.find(Round::from_name);
    let [dt, at, bt, ct] = f.types[..] else { return lw.refuse("names four types") };
    if rounding.is_some() && at != Ty::F64 || satfinite && !matches!(at, Ty::S8 | Ty::U8 | Ty::S4 | Ty::U4) {
        return lw.refuse("roundings go with .f64, .satfinite with integers of 8 and 4 bits");
    }
    if bits.is_some() != (at == Ty::B1) {
        return lw.refuse("products of bits, and they alone, end with .xor.popc or .and.popc");
    }
    // Only the first shape adds sums of f16 up in f32.
    if dt != ct && !((m, n, k) == (8, 8, 4) && dt == Ty::F32 && ct == Ty::F16) {
        return lw.refuse("the types of D and C differ");
    }
    let rounding = rounding.unwrap_or(Round::Nearest);
    let code = |ty: Ty| TYPES.iter().position(|t| *t == ty).map(|p| p as u32);
    let (Some(ca), Some(cb)) = (code(at), code(bt)) else { return lw.refuse("does not take these types") };
    let rows = m / 8;
    let half = |t: Ty| t == Ty::F16;
    let mut x = ca | cb << 4 | u32::from(half(dt)) << 8 | u32::from(half(ct)) << 9;
    let (op, registers): (OpPair, [(Ty, u32); 4]) = match (at, (m, n, k)) {
        (Ty::F16, (8, 8, 4)) => {
            if !matches!((dt, ct), (Ty::F16, Ty::F16) | (Ty::F32, Ty::F16 | Ty::F32)) || bt != Ty::F16 {
                return lw.refuse("does not take these types");
            }
            x |= u32::from(a_col) << 14 | u32::from(b_row) << 15;
            let count = |t: Ty| if half(t) { 4 } else { 8 };
            (OpPair::same(mma_quads), [(dt, count(dt)), (Ty::B32, 2), (Ty::B32, 2), (ct, count(ct))])
        }
        _ if a_col || b_row => return lw.refuse("this shape takes .row.col only"),
        (Ty::F64, (8, 8, 4) | (16, 8, 4) | (16, 8, 8) | (16, 8, 16)) => {
            if lw.cx.compute < (9, 0) && m == 16 {
                return lw.refuse("this shape needs sm_90");
            }
            x |= u32::from(m == 8) << 10 | k << 16 | (rounding as u32) << 26;
            (OpPair::same(mma_double), [(dt, 2 * rows), (at, rows * k / 4), (bt, k / 4), (ct, 2 * rows)])
        }
        (Ty::F16 | Ty::BF16 | Ty::TF32 | Ty::E4M3 | Ty::E5M2, (16, 8, k)) => {
            let (legal, op) = match (at.bits(), k) {
                (8, 16) => (true, op_versions!(mma_float::<1, 4>)),
                (8, 32) => (true, op_versions!(mma_float::<2, 4>)),
                (16, 8) => (true, op_versions!(mma_float::<1, 2>)),
                (16, 16) => (true, op_versions!(mma_float::<2, 2>)),
                (32, 4) => (true, op_versions!(mma_float::<1, 1>)),
                (32, 8) => (true, op_versions!(mma_float::<2, 1>)),
                _ => (false, op_versions!(mma_float::<1, 1>)),
            };
            let same = at == bt || (at.bits() == 8 && bt.bits() == 8 && cb < 5);
            let accumulators =
                [dt, ct].iter().all(|t| *t == Ty::F32 || (half(*t) && matches!(at, Ty::F16 | Ty::E4M3 | Ty::E5M2)));
            if !legal || !same || !accumulators || dt != ct {
                return lw.refuse("this combination of shape and types does not exist");
            }
            if at.bits() == 8 && lw.cx.compute < (8, 9) {
                return lw.refuse("8-bit floats need sm_89");
            }
            let blocks = k * at.bits() / 128;
            let count = |t: Ty| if half(t) { 2 } else { 4 };
            (op, [(dt, count(dt)), (Ty::B32, 2 * blocks), (Ty::B32, blocks), (ct, count(ct))])
        }
        (Ty::S8 | Ty::U8 | Ty::S4 | Ty::U4 | Ty::B1, (8 | 16, 8, k)) => {
            let legal = match at.bits() {
                8 => matches!((m, k), (8 | 16, 16) | (16, 32)) && bt.bits() == 8,
                4 => matches!((m, k), (8 | 16, 32) | (16, 64)) && bt.bits() == 4,
                _ => matches!((m, k), (8 | 16, 128) | (16, 256)) && bt == Ty::B1 && bits.is_some(),
            };
            if !legal || cb < 5 || dt != Ty::S32 || ct != Ty::S32 {
                return lw.refuse("this combination of shape and types does not exist");
            }
            x |= u32::from(m == 8) << 10 | u32::from(satfinite) << 11 | k << 16;
            x |= match bits {
                Some("xor") => 1 << 12,
                Some(_) => 2 << 12,
                None => 0,
            };
            let blocks = k * at.bits() / 128;
            (op_versions!(mma_int), [(dt, 2 * rows), (Ty::B32, rows * blocks), (Ty::B32, blocks), (ct, 2 * rows)])
        }
        _ => return lw.refuse("this combination of shape and types does not exist"),
    };
    f.arity(lw, 4..=4)?;
    let ops = f.operands();
    let part = |t: Ty| if half(t) { Ty::B32 } else { t };
    let defs = matrix(lw, &ops[0], part(registers[0].0), registers[0].1, true)?;
    let mut uses = Vec::new();
    for k in 1..4 {
        uses.extend(matrix(lw, &ops[k], part(registers[k].0), registers[k].1, false)?);
    }
    lw.emit(MInst::new(op).list(&defs, &uses).x(x).taint(TaintRule::Spread));
    Ok(())
}

/// Registers of a matrix operand.
pub fn matrix<'a>(
    lw: &mut Lower<'_, 'a>,
    o: &Operand<'a>,
    ty: Ty,
    count: u32,
    dst: bool,
) -> Decoded<Vec<crate::machine::lower::Opnd>> {
    let list = if dst { lw.dst_vector(o, ty)? } else { lw.src_vector(o, ty)? };
    if list.len() != count as usize {
        return lw.refuse(format!("a matrix operand has {} registers, expected {count}", list.len()));
    }
    Ok(list)
}
