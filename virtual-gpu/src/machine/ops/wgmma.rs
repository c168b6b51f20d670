//! `wgmma`: matrix products of four warps on operands in shared memory.
//!
//! Each warp of the group computes its own 16 rows. A matrix in shared memory is described by its start, two strides
//! and a swizzle (PTX ISA, "Matrix descriptor format"); addresses of its elements are computed from those and then
//! swizzled like TMA's.

use super::address::{self, PlaceKind};
use super::cvt::f8_value;
use super::fragment;
use super::half::{b2f, h2f};
use super::mma::{add_sums, check_tf32, matrix, multiply, shape, whole_warp};
use super::sparse::Layout;
use crate::machine::accumulators;
use crate::machine::exec::{Cx, Flow, Instr, Wait};
use crate::machine::fault::FaultKind;
#[cfg(target_arch = "x86_64")]
use crate::machine::lanes::wide_vectors;
use crate::machine::lanes::{OpPair, op_versions};
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule, Width};
use crate::machine::{races, taint};
use crate::ptx::{Operand, Ty};

pub const TYPES: [Ty; 8] = [Ty::F16, Ty::BF16, Ty::TF32, Ty::E4M3, Ty::E5M2, Ty::S8, Ty::U8, Ty::B1];

/// Types of A and B in `x` bits 0 to 2 and 3 to 5; bit 6 D is f16; 7 A in registers; 8 −A; 9 −B; 10 A transposed;
/// 11 B transposed; 12 satfinite; N from bit 16.
pub const D_HALF: u32 = 1 << 6;
const A_REGISTERS: u32 = 1 << 7;
const NEGATE_A: u32 = 1 << 8;
const NEGATE_B: u32 = 1 << 9;
const TRANS_A: u32 = 1 << 10;
const TRANS_B: u32 = 1 << 11;
pub const SATURATE: u32 = 1 << 12;
/// The threads that give the metadata of a sparse A.
pub const SELECTOR: u32 = 1 << 13;

/// A matrix in shared memory.
struct Descriptor {
    start: u32,
    leading: u32,
    stride: u32,
    /// Bytes of the swizzle's span, as a power of two: 4 (none) to 7.
    log_span: u32,
}

impl Descriptor {
    fn new(bits: u64) -> Descriptor {
        let field = |at: u32| ((bits >> at & 0x3fff) as u32) << 4;
        let log_span = [4, 7, 6, 5][(bits >> 62) as usize];
        Descriptor { start: field(0), leading: field(16), stride: field(32), log_span }
    }

    fn swizzle(&self, at: u32) -> u32 {
        // 0x10, 0x30 and 0x70 for spans of 32, 64 and 128 bytes.
        at ^ (at >> 3 & ((1 << self.log_span) - 16))
    }

    /// Address of the 16-byte chunk `chunk` along K of row `row`, K contiguous.
    fn k_major(&self, row: u32, chunk: u32) -> u32 {
        let at = self.start + (row % 8 << self.log_span) + row / 8 * self.stride;
        // Past the swizzle's span (the deep operand of a sparse product) the next block begins.
        let (block, inside) = (chunk << 4 >> self.log_span, chunk << 4 & ((1 << self.log_span) - 1));
        self.swizzle(at + block * self.leading + inside)
    }

    /// Address of the 16-byte chunk of eight rows from `row` on at depth `k`, rows contiguous.
    fn row_major(&self, row: u32, k: u32) -> u32 {
        let log_chunks = self.log_span - 4;
        let (chunk, block) = (row / 8 & ((1 << log_chunks) - 1), row / 8 >> log_chunks);
        let (across, along) = if log_chunks == 0 { (self.stride, self.leading) } else { (self.leading, self.stride) };
        self.swizzle(self.start + chunk * 16 + block * across + (k % 8 << self.log_span) + k / 8 * along)
    }
}

/// Sixteen bytes of the block's shared memory.
fn chunk(cx: &mut Cx<'_>, at: u32) -> Result<[u32; 4], Flow> {
    let own = cx.warp.cta;
    if at + 16 > cx.ctas[own].shared_len {
        let text = format!(
            "a matrix descriptor reaches shared address {at:#x}, the block has {} bytes of shared memory",
            cx.ctas[own].shared_len
        );
        return Err(cx.fail(FaultKind::IllegalAddress, None, None, &text));
    }
    let kind = PlaceKind::Shared(own, at);
    if cx.ctas[own].objects.in_flight != 0 && cx.ctas[own].objects.flying(at, 16) {
        let text = format!("wgmma reads shared address {at:#x} while an asynchronous copy into it is in flight");
        return Err(cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), None, &text));
    }
    if cx.launch.checks.uninitialised && !address::initialised(cx, kind, 16) {
        let text = format!("wgmma reads uninitialised shared memory at {at:#x}");
        return Err(cx.fail(FaultKind::LaunchFailed, Some("uninitialised"), None, &text));
    }
    if cx.launch.checks.asynchrony {
        let (first, group) = (cx.warp.index / 4 * 4, cx.warp.copies.registers.group);
        cx.ctas[own].objects.product_reads(first, group, at);
    }
    let lane = 0;
    races::asynchronous_read(cx, lane, kind, 16, "wgmma").map_err(|()| Flow::Fault)?;
    let p = cx.ctas[own].shared.base().wrapping_add(at as usize);
    // SAFETY: within the block's shared memory.
    Ok(unsafe { p.cast::<[u32; 4]>().read_unaligned() })
}

/// Elements of a chunk as f32 (integers are exact).
#[inline(always)]
fn elements(words: &[u32; 4], ty: Ty, out: &mut [f32]) -> usize {
    let mut bytes = [0u8; 16];
    for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
        to.copy_from_slice(&word.to_le_bytes());
    }
    let half = |k: usize| u16::from_le_bytes([bytes[2 * k], bytes[2 * k + 1]]);
    match ty {
        Ty::F16 => (0..8).for_each(|k| out[k] = h2f(half(k))),
        Ty::BF16 => (0..8).for_each(|k| out[k] = b2f(half(k))),
        Ty::TF32 => (0..4).for_each(|k| {
            let word = u32::from(half(2 * k)) | u32::from(half(2 * k + 1)) << 16;
            out[k] = f32::from_bits(word & 0xffff_e000);
        }),
        Ty::E4M3 | Ty::E5M2 => (0..16).for_each(|k| out[k] = f8_value(bytes[k], ty == Ty::E5M2) as f32),
        Ty::S8 => (0..16).for_each(|k| out[k] = f32::from(bytes[k] as i8)),
        Ty::U8 => (0..16).for_each(|k| out[k] = f32::from(bytes[k])),
        _ => (0..128).for_each(|k| out[k] = f32::from(bytes[k / 8] >> (k % 8) & 1)),
    }
    128 / ty.bits() as usize
}

/// K elements of each of `rows` rows from `first` on.
fn gather<const K: usize>(
    cx: &mut Cx<'_>,
    d: &Descriptor,
    ty: Ty,
    first: u32,
    rows: u32,
    transposed: bool,
    out: &mut [[f32; K]],
) -> Result<(), Flow> {
    let mut part = [0f32; 128];
    if transposed {
        for k in 0..K as u32 {
            for r in (0..rows).step_by(8) {
                let words = chunk(cx, d.row_major(first + r, k))?;
                elements(&words, ty, &mut part);
                for e in 0..8 {
                    out[r as usize + e][k as usize] = part[e];
                }
            }
        }
        return Ok(());
    }
    let per = 128 / ty.bits() as usize;
    for r in 0..rows {
        for c in 0..(K / per) as u32 {
            let words = chunk(cx, d.k_major(first + r, c))?;
            if ty == Ty::TF32 {
                check_tf32(cx, &words, |_| None)?;
            }
            elements(&words, ty, &mut part);
            out[r as usize][c as usize * per..(c as usize + 1) * per].copy_from_slice(&part[..per]);
        }
    }
    Ok(())
}

/// The registers of a product, accumulators first, must not be in use elsewhere.
pub fn begin(cx: &mut Cx<'_>, i: &Instr, registers: usize, depth: usize) -> Result<(), Flow> {
    let fragments = if i.x & A_REGISTERS != 0 { 4 } else { 0 };
    // Products of one shape hand accumulators on without a fence.
    let shape = i.x & (D_HALF | 0xffff << 16) | (depth as u32) << 7;
    accumulators::issue(cx, i, registers, fragments, shape)
}

/// The warp's 16 rows of A, from registers behind D's or from shared memory.
#[inline(always)]
pub fn read_a<const K: usize>(cx: &mut Cx<'_>, i: &Instr, ta: Ty, registers: usize) -> Result<[[f32; K]; 16], Flow> {
    let mut a = [[0f32; K]; 16];
    if i.x & A_REGISTERS != 0 {
        let count = K * ta.bits() as usize / 64;
        let per = 32 / ta.bits() as usize;
        let mut wide = [0f32; 128];
        for r in 0..count {
            let raw = cx.lanes::<u32>(cx.listed(i, registers + r));
            if ta == Ty::TF32 {
                check_tf32(cx, &raw, Some)?;
            }
            for l in 0..32 {
                elements(&[raw[l], 0, 0, 0], ta, &mut wide);
                let at = (r >> 1) * 4 * per + (l % 4) * per;
                a[l / 4 + 8 * (r & 1)][at..at + per].copy_from_slice(&wide[..per]);
            }
        }
    } else {
        let d = Descriptor::new(cx.lane(i.a, 0));
        let first = 16 * (cx.warp.index % 4);
        gather::<K>(cx, &d, ta, first, 16, i.x & TRANS_A != 0, &mut a)?;
    }
    if i.x & NEGATE_A != 0 {
        a.iter_mut().flatten().for_each(|v| *v = -*v);
    }
    Ok(a)
}

/// The columns of B.
#[inline(always)]
pub fn read_b<const K: usize>(cx: &mut Cx<'_>, i: &Instr, tb: Ty, n: usize) -> Result<[[f32; K]; 256], Flow> {
    let d = Descriptor::new(cx.lane(i.b, 0));
    let mut b = [[0f32; K]; 256];
    gather::<K>(cx, &d, tb, 0, n as u32, i.x & TRANS_B != 0, &mut b[..n])?;
    if i.x & NEGATE_B != 0 {
        b[..n].iter_mut().flatten().for_each(|v| *v = -*v);
    }
    Ok(b)
}

/// Where part `part` of eight rows from `row` on lies: 16 bytes of each row, or (`transposed`) of each of eight columns.
#[inline(always)]
fn places(d: &Descriptor, row: u32, part: u32, transposed: bool) -> [u32; 8] {
    // A loop: the closures of `from_fn` lose the vector extensions of their caller.
    let mut at = [0; 8];
    for (k, at) in at.iter_mut().enumerate() {
        let k = k as u32;
        *at = if transposed { d.row_major(row, 8 * part + k) } else { d.k_major(row + k, part) };
    }
    at
}

/// The start of the block's shared memory, where 16 bytes at each of these places are in bounds and no check watches them.
#[inline(always)]
fn plain(cx: &mut Cx<'_>, at: &[u32]) -> Option<*const u8> {
    let cta = &mut cx.ctas[cx.warp.cta];
    let last = at.iter().fold(0, |m, a| m.max(*a));
    let watched = last + 16 > cta.shared_len
        || cx.launch.checks.uninitialised
        || races::follows(cx.launch)
        || cta.objects.in_flight != 0 && at.iter().any(|a| cta.objects.flying(*a, 16));
    (!watched).then(|| cta.shared.base().cast_const())
}

/// Part `part` of eight rows from `row` on as a register: lane 4·row + j has bytes 4j to 4j + 3 of the row's chunk of 16
/// bytes. Rows that are contiguous in memory (`transposed`, 16-bit elements) are turned.
#[inline(always)]
fn eight_rows(cx: &mut Cx<'_>, d: &Descriptor, row: u32, part: u32, transposed: bool) -> Result<[u32; 32], Flow> {
    let at = places(d, row, part, transposed);
    let mut out = [[0u32; 4]; 8];
    match plain(cx, &at) {
        None => {
            for (words, at) in out.iter_mut().zip(at) {
                *words = chunk(cx, at)?;
            }
        }
        Some(base) => {
            for (words, at) in out.iter_mut().zip(at) {
                // SAFETY: within the block's shared memory.
                *words = unsafe { base.wrapping_add(at as usize).cast::<[u32; 4]>().read_unaligned() };
            }
        }
    }
    if transposed {
        let rows = out;
        for (row, words) in out.iter_mut().enumerate() {
            for (j, word) in words.iter_mut().enumerate() {
                let half = |k: usize| rows[k][row / 2] >> (16 * (row & 1)) & 0xffff;
                *word = half(2 * j) | half(2 * j + 1) << 16;
            }
        }
    }
    let mut lanes = [0u32; 32];
    lanes.copy_from_slice(out.as_flattened());
    Ok(lanes)
}

/// A's four registers: the warp's 16 rows of 32 bytes.
#[inline(always)]
fn load_a(cx: &mut Cx<'_>, i: &Instr, ta: Ty, registers: usize) -> Result<[[u32; 32]; 4], Flow> {
    let mut a = [[0u32; 32]; 4];
    if i.x & A_REGISTERS != 0 {
        for (r, a) in a.iter_mut().enumerate() {
            *a = cx.lanes(cx.listed(i, registers + r));
            if ta == Ty::TF32 {
                check_tf32(cx, a, Some)?;
            }
        }
        return Ok(a);
    }
    let d = Descriptor::new(cx.lane(i.a, 0));
    let first = 16 * (cx.warp.index % 4);
    for (r, a) in a.iter_mut().enumerate() {
        *a = eight_rows(cx, &d, first + 8 * (r as u32 & 1), r as u32 / 2, i.x & TRANS_A != 0)?;
        if ta == Ty::TF32 {
            check_tf32(cx, a, |_| None)?;
        }
    }
    Ok(a)
}

/// Eight columns of B, widened and by k, for which the descriptor describes Bᵀ.
#[inline(always)]
fn columns<const E: usize>(
    cx: &mut Cx<'_>,
    d: &Descriptor,
    row: u32,
    ty: Ty,
    transposed: bool,
    scratch: &mut fragment::Scratch,
) -> Result<(), Flow> {
    #[cfg(target_arch = "x86_64")]
    if E == 2 && !transposed && wide_vectors() {
        let mut at = [0; 16];
        at[..8].copy_from_slice(&places(d, row, 0, false));
        at[8..].copy_from_slice(&places(d, row, 1, false));
        if let Some(base) = plain(cx, &at) {
            let mut rows = [base; 16];
            for (row, at) in rows.iter_mut().zip(at) {
                *row = base.wrapping_add(at as usize);
            }
            // SAFETY: 16 bytes at each place lie in the block's shared memory, and the machine has AVX-512.
            unsafe { fragment::columns_of_rows(&rows, ty == Ty::BF16, &mut scratch.columns) };
            return Ok(());
        }
    }
    for (part, b) in scratch.b.chunks_exact_mut(E).take(2).enumerate() {
        let raw = eight_rows(cx, d, row, part as u32, transposed)?;
        if ty == Ty::TF32 {
            check_tf32(cx, &raw, |_| None)?;
        }
        fragment::widen::<E>(&raw, ty, b);
    }
    fragment::columns::<E>(&scratch.b[..2 * E], &mut scratch.columns);
    Ok(())
}

/// Floats, E to a word. `list`: D (also read), then A's registers; `a` and `b` descriptors, `c` the scale-d predicate.
#[inline(always)]
unsafe fn floats<const E: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let (ta, tb) = (TYPES[(i.x & 7) as usize], TYPES[(i.x >> 3 & 7) as usize]);
    let n = (i.x >> 16) as usize;
    let keep = cx.mask_of(i.c) & 1 != 0;
    let half = i.x & D_HALF != 0;
    let registers = if half { n / 4 } else { n / 2 };
    let raw = match begin(cx, i, registers, 8 * E).and_then(|()| load_a(cx, i, ta, registers)) {
        Ok(a) => a,
        Err(flow) => return flow,
    };
    let mut scratch = cx.worker.scratch.take().unwrap_or_default();
    for (a, raw) in scratch.a.chunks_exact_mut(E).zip(&raw) {
        fragment::widen::<E>(raw, ta, a);
    }
    // The sign of a product is the same wherever it is changed.
    if (i.x & NEGATE_A != 0) != (i.x & NEGATE_B != 0) {
        scratch.a[..4 * E].as_flattened_mut().iter_mut().for_each(|v| *v = -*v);
    }
    let d = Descriptor::new(cx.lane(i.b, 0));
    let truncate = cx.launch.seed & 1 != 0;
    let list = cx.list(i);
    for block in 0..n / 8 {
        let flow = columns::<E>(cx, &d, 8 * block as u32, tb, i.x & TRANS_B != 0, &mut scratch);
        if let Err(flow) = flow {
            return flow;
        }
        let sums = &list[if half { 2 * block } else { 4 * block }..];
        if !keep {
            let count = if half { 2 } else { 4 };
            sums[..count].iter().for_each(|d| cx.put(*d, &[0u32; 32], m));
        }
        multiply::<E>(cx, &scratch, 2, [sums, sums], [half, half], truncate.then_some(8 * E));
    }
    cx.worker.scratch = Some(scratch);
    finish(cx, i, registers, keep, 8 * E);
    Flow::Next
}

/// Integers, operands as for `floats`.
#[inline(always)]
unsafe fn integers(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let (ta, tb) = (TYPES[(i.x & 7) as usize], TYPES[(i.x >> 3 & 7) as usize]);
    let n = (i.x >> 16) as usize;
    let keep = cx.mask_of(i.c) & 1 != 0;
    let a = match begin(cx, i, n / 2, 256 / ta.bits() as usize).and_then(|()| load_a(cx, i, ta, n / 2)) {
        Ok(a) => a,
        Err(flow) => return flow,
    };
    let d = Descriptor::new(cx.lane(i.b, 0));
    for block in 0..n / 8 {
        let mut b = [[0u32; 32]; 2];
        for (part, b) in b.iter_mut().enumerate() {
            *b = match eight_rows(cx, &d, 8 * block as u32, part as u32, false) {
                Ok(raw) => raw,
                Err(flow) => return flow,
            };
        }
        for r in 0..2 {
            let sums = fragment::integer_product(&[a[r], a[r + 2]], &b, ta, tb, false);
            for (odd, sums) in sums.iter().enumerate() {
                let d = cx.listed(i, 4 * block + 2 * r + odd);
                let c = if keep { cx.lanes::<i32>(d) } else { [0; 32] };
                cx.put(d, &add_sums(&c, sums, i.x & SATURATE != 0), m);
            }
        }
    }
    finish(cx, i, n / 2, keep, 256 / ta.bits() as usize);
    Flow::Next
}

fn finish(cx: &mut Cx<'_>, i: &Instr, registers: usize, keep: bool, depth: usize) {
    cx.worker.traffic.tensor += 1;
    cx.worker.traffic.tensor_macs += (16 * (i.x >> 16) as usize * depth) as u64;
    cx.progress = true;
    carry_taint(cx, i, registers, keep);
}

/// Accumulators depend on A's registers, and on what they held where it is added to.
pub fn carry_taint(cx: &mut Cx<'_>, i: &Instr, registers: usize, keep: bool) {
    if !cx.tainted {
        return;
    }
    let mut all = 0;
    for k in registers..i.count as usize {
        let s = cx.listed(i, k);
        all |= taint::of(cx, s);
    }
    for k in 0..registers {
        let d = cx.listed(i, k);
        let old = if keep { taint::of(cx, d) } else { 0 };
        taint::set(cx, d, u32::MAX, if all != 0 { u32::MAX } else { old });
    }
}

/// `x`: 0 fence, 1 commit, 2 wait until at most `imm` groups are pending.
unsafe fn control(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    match i.x {
        0 => cx.warp.copies.registers.fence(),
        1 => {
            cx.warp.copies.registers.group += 1;
            let (group, warp) = (cx.warp.copies.registers.group, cx.warp.index as usize);
            let issued = &mut cx.cta().objects.matrix_groups;
            issued.resize(issued.len().max(warp / 4 * 4 + 4), 0);
            issued[warp] = group;
            cx.progress = true;
        }
        _ => {
            let now = cx.warp.copies.registers.group;
            // The product is one operation of four warps: it is complete once all of them have issued it.
            let first = cx.warp.index as usize / 4 * 4;
            let done = now.saturating_sub(i.imm as u32);
            if let Some(issued) = cx.cta().objects.matrix_groups.get(first..first + 4)
                && issued.iter().any(|g| *g < done)
            {
                return Flow::Block(Wait::Retry);
            }
            cx.warp.copies.registers.wait(i.imm as u32);
            cx.cta().objects.products_finished(first as u32, done);
        }
    }
    Flow::Next
}

/// Decodes `wgmma`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    if lw.cx.compute != (9, 0) {
        return lw.refuse("needs sm_90a");
    }
    let ops = f.operands();
    let what = f.one_of(&["mma_async", "fence", "commit_group", "wait_group"]);
    if !f.flag("sync") || !f.flag("aligned") {
        return lw.refuse("is .sync.aligned");
    }
    let (x, imm) = match what {
        Some("mma_async") => return mma_async(lw, f),
        Some("fence") => (0, 0),
        Some("commit_group") => (1, 0),
        Some(_) => match ops {
            [Operand::Int(n)] if (0..8).contains(n) => (2, *n),
            _ => return lw.refuse("the number of groups is a constant from 0 to 7"),
        },
        None => return lw.refuse("names no operation"),
    };
    lw.emit(MInst::new(OpPair::same(control)).x(x).imm(imm));
    Ok(())
}

fn mma_async<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let Some((64, n, k)) = f.find(shape) else { return lw.refuse("names no shape with M = 64") };
    let [dt, at, bt] = f.types[..] else { return lw.refuse("names three types") };
    let satfinite = f.flag("satfinite");
    let sparse = f.flag("sp");
    if at == Ty::B1 && !(f.flag("and") && f.flag("popc")) {
        return lw.refuse("a binary product is .and.popc");
    }
    let code = |ty: Ty| TYPES.iter().position(|t| *t == ty).map(|p| p as u32);
    let (Some(ca), Some(cb)) = (code(at), code(bt)) else { return lw.refuse("does not take these types") };
    let float8 = |t: Ty| matches!(t, Ty::E4M3 | Ty::E5M2);
    let int8 = |t: Ty| matches!(t, Ty::S8 | Ty::U8);
    let half = dt == Ty::F16;
    let legal = match at {
        Ty::F16 => bt == at && matches!(dt, Ty::F16 | Ty::F32),
        Ty::BF16 | Ty::TF32 => bt == at && dt == Ty::F32,
        _ if float8(at) => float8(bt) && matches!(dt, Ty::F16 | Ty::F32),
        _ if int8(at) => int8(bt) && dt == Ty::S32,
        _ => bt == at && dt == Ty::S32,
    };
    let integer = int8(at) || at == Ty::B1;
    let columns =
        n.is_multiple_of(8) && (8..=256).contains(&n) && (!integer || matches!(n, 8 | 16 | 24) || n.is_multiple_of(16));
    let depth = if sparse { 512 } else { 256 };
    if !legal || !columns || k * at.bits() != depth || (sparse && at == Ty::B1) || (satfinite && !int8(at)) {
        return lw.refuse("this combination of shape and types does not exist");
    }
    let mut x = ca | cb << 3 | n << 16 | if half { D_HALF } else { 0 } | if satfinite { SATURATE } else { 0 };
    let registers = if half { n / 4 } else { n / 2 };
    if ops.len() < 4 {
        return lw.refuse("has too few operands");
    }
    let defs = matrix(lw, &ops[0], if half { Ty::B32 } else { dt }, registers, true)?;
    let in_registers = matches!(ops[1], Operand::Vector(_));
    let mut i = MInst::new(match k {
        16 if sparse => op_versions!(super::wgmma_sparse::run::<16, 8>),
        32 if sparse => op_versions!(super::wgmma_sparse::run::<32, 16>),
        _ if sparse => op_versions!(super::wgmma_sparse::run::<64, 32>),
        _ if integer => op_versions!(integers),
        8 => op_versions!(floats::<1>),
        16 => op_versions!(floats::<2>),
        _ => op_versions!(floats::<4>),
    });
    let mut uses: Vec<Opnd> = Vec::new();
    if in_registers {
        x |= A_REGISTERS;
        uses = matrix(lw, &ops[1], Ty::B32, 4, false)?;
    } else {
        i = i.a(lw.src(&ops[1], Ty::B64)?);
    }
    i = i.b(lw.src(&ops[2], Ty::B64)?);
    // The metadata and its selector stand before the scales.
    let mut behind = &ops[3..];
    if sparse {
        let [meta, Operand::Int(selector), rest @ ..] = behind else {
            return lw.refuse("a sparse product names metadata and a constant selector");
        };
        let valid = u32::try_from(*selector).ok().filter(|s| Layout::new(at, k, *s, false).is_some());
        match valid {
            Some(1) => x |= SELECTOR,
            Some(_) => {}
            None => return lw.refuse(format!("the sparsity selector {selector} names no threads of this shape")),
        }
        i = i.e_source(lw.src(meta, Ty::B32)?);
        behind = rest;
    }
    let [scale, constants @ ..] = behind else { return lw.refuse("has too few operands") };
    let scale = match scale {
        Operand::Int(v) => lw.constant(Width::P, u64::from(*v != 0)),
        o => lw.src(o, Ty::Pred)?,
    };
    let rest: Vec<i64> =
        constants.iter().filter_map(|o| if let Operand::Int(v) = o { Some(*v) } else { None }).collect();
    if rest.len() != constants.len() {
        return lw.refuse("scales and transpositions are constants");
    }
    let wide = at.bits() == 16;
    let want = if integer { 0 } else { 2 + if wide { if in_registers { 1 } else { 2 } } else { 0 } };
    if rest.len() != want {
        return lw.refuse(format!("has {} constants behind the scale, expected {want}", rest.len()));
    }
    let flag = |v: i64, bit: u32, on: i64| if v == on { bit } else { 0 };
    if want >= 2 {
        if rest[..2].iter().any(|v| v.abs() != 1) {
            return lw.refuse("the scales of A and B are 1 or -1");
        }
        x |= flag(rest[0], NEGATE_A, -1) | flag(rest[1], NEGATE_B, -1);
    }
    match rest[want.min(2)..] {
        [a, b] => x |= flag(a, TRANS_A, 1) | flag(b, TRANS_B, 1),
        [b] => x |= flag(b, TRANS_B, 1),
        _ => {}
    }
    // D is read as well as written: listed as written, and kept.
    lw.emit(i.c(scale).list(&defs, &uses).keeps().x(x).taint(TaintRule::Own));
    Ok(())
}
