//! Moving matrices between shared memory and a warp's registers: `ldmatrix`, `stmatrix`, `movmatrix`.

use super::address::{self, Access, SHARED_WINDOW, Where};
use super::mma::whole_warp;
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::{OpPair, op_versions};
use crate::machine::lower::{Decoded, Form, Lower, MInst, TaintRule};
use crate::machine::{races, taint};
use crate::ptx::Ty;

/// Offsets in the own block's shared memory of the rows of matrices, where all are plain bytes in bounds and no check
/// watches them; a copy in flight is no obstacle as long as it writes elsewhere.
#[inline(always)]
fn plain_rows(cx: &mut Cx<'_>, i: &Instr, count: usize, space: Where) -> Option<[u32; 32]> {
    let checks = cx.launch.checks;
    if checks.uninitialised || races::follows(cx.launch) {
        return None;
    }
    let mut rows = [0u32; 32];
    let (mut last, mut bits) = (0, 0);
    for l in 0..8 * count {
        let at = lane_address(cx, i, l);
        let at = if space == Where::Generic { at ^ SHARED_WINDOW } else { at };
        last = last.max(at);
        bits |= at;
        rows[l] = at as u32;
    }
    let objects = &cx.ctas[cx.warp.cta].objects;
    let fits = matches!(space, Where::Generic | Where::Shared | Where::Cluster)
        && bits & 15 == 0
        && last + 16 <= u64::from(cx.ctas[cx.warp.cta].shared_len);
    let quiet = objects.in_flight == 0 || (0..8 * count).all(|l| !objects.flying_words(rows[l]));
    (fits && quiet).then_some(rows)
}

/// `ldmatrix`: `x` bits 0 to 2 the number of matrices, bit 3 transposed, bits 8 and up the space, bit 16 wide address.
#[inline(always)]
unsafe fn ldmatrix(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let count = (i.x & 7) as usize;
    let space = Where::from_bits(i.x >> 8 & 15);
    if let Some(rows) = plain_rows(cx, i, count, space) {
        let mut wide = [0u64; 32];
        for (wide, row) in wide.iter_mut().zip(rows) {
            *wide = u64::from(row);
        }
        super::mem::count_banks(cx, &wide, lanes_of(count), 16);
        let base = cx.ctas[cx.warp.cta].shared.base();
        let list = cx.list(i);
        for (j, rows) in rows.chunks_exact(8).take(count).enumerate() {
            let mut words = [[0u32; 4]; 8];
            for (row, words) in words.iter_mut().enumerate() {
                // SAFETY: the row lies in the block's shared memory.
                *words = unsafe { base.wrapping_add(rows[row] as usize).cast::<[u32; 4]>().read_unaligned() };
            }
            let mut out = [0u32; 32];
            out.copy_from_slice(words.as_flattened());
            if i.x & 8 != 0 {
                out = transposed(&out);
            }
            cx.put(list[j], &out, m);
            if cx.tainted {
                taint::set(cx, list[j], m, 0);
            }
        }
        return Flow::Next;
    }
    let mut matrices = [[0u16; 64]; 4];
    let mut uninitialised = [0u32; 4];
    for (j, matrix) in matrices.iter_mut().enumerate().take(count) {
        for row in 0..8 {
            let l = 8 * j + row;
            let at = lane_address(cx, i, l);
            let Ok(place) = address::resolve(cx, space, at, 16, 16, l, Access::Read) else { return Flow::Fault };
            // SAFETY: resolved for 16 bytes.
            let v = unsafe { address::load_bytes(place.pointer, 16) };
            for e in 0..8 {
                matrix[8 * row + e] = (v >> (16 * e)) as u16;
            }
            if cx.launch.checks.uninitialised && !address::initialised(cx, place.kind, 16) {
                uninitialised[j] |= if i.x & 8 != 0 { u32::MAX } else { 15 << (4 * row) };
            }
            if races::lane(cx, place.kind, 16, l, races::Access::READ, false).is_err() {
                return Flow::Fault;
            }
        }
    }
    // Destinations may lie where the addresses do.
    count_rows(cx, i, count);
    for j in 0..count {
        let v = &matrices[j];
        let out = std::array::from_fn(|l| {
            let at = |e: usize| {
                let (row, col) = (l / 4, 2 * (l % 4) + e);
                u32::from(if i.x & 8 != 0 { v[8 * col + row] } else { v[8 * row + col] })
            };
            at(0) | at(1) << 16
        });
        let d = cx.listed(i, j);
        cx.put::<u32>(d, &out, m);
        if cx.tainted || uninitialised[j] != 0 {
            taint::set(cx, d, m, uninitialised[j]);
        }
    }
    Flow::Next
}

/// The lanes whose addresses count.
fn lanes_of(count: usize) -> u32 {
    u32::MAX >> (32 - 8 * count)
}

/// The access of all rows to the banks, eight at a time.
fn count_rows(cx: &mut Cx<'_>, i: &Instr, count: usize) {
    let mut rows = [0u64; 32];
    for (l, at) in rows.iter_mut().enumerate().take(8 * count) {
        *at = lane_address(cx, i, l) & 0xff_ffff;
    }
    super::mem::count_banks(cx, &rows, lanes_of(count), 16);
}

/// A matrix of 8 × 8 halves whose row r lies in lanes 4r to 4r + 3, turned.
#[inline(always)]
fn transposed(v: &[u32; 32]) -> [u32; 32] {
    let at = |row: usize, col: usize| v[4 * row + col / 2] >> (16 * (col & 1)) & 0xffff;
    std::array::from_fn(|l| at(2 * (l % 4), l / 4) | at(2 * (l % 4) + 1, l / 4) << 16)
}

fn lane_address(cx: &Cx<'_>, i: &Instr, l: usize) -> u64 {
    if i.x >> 16 & 1 != 0 {
        cx.lane::<u64>(i.a, l).wrapping_add(i.imm as u64)
    } else {
        u64::from(cx.lane::<u32>(i.a, l).wrapping_add(i.imm as u32))
    }
}

/// `stmatrix`, flags as for `ldmatrix`.
unsafe fn stmatrix(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let count = (i.x & 7) as usize;
    let space = Where::from_bits(i.x >> 8 & 15);
    for j in 0..count {
        let s = cx.listed(i, j);
        let v = cx.lanes::<u32>(s);
        let bad = if cx.tainted { taint::of(cx, s) } else { 0 };
        for row in 0..8 {
            let l = 8 * j + row;
            let at = lane_address(cx, i, l);
            let Ok(place) = address::resolve(cx, space, at, 16, 16, l, Access::Write) else { return Flow::Fault };
            if races::lane(cx, place.kind, 16, l, races::Access::WRITE, false).is_err() {
                return Flow::Fault;
            }
            let bits = (0..8).fold(0u128, |sum, e| {
                let (r, c) = if i.x & 8 != 0 { (e, row) } else { (row, e) };
                let h = v[4 * r + c / 2] >> (16 * (c & 1)) & 0xffff;
                sum | u128::from(h) << (16 * e)
            });
            // SAFETY: resolved for 16 bytes.
            unsafe { address::store_bytes(place.pointer, 16, bits) };
            let dirty = if i.x & 8 != 0 { bad != 0 } else { bad >> (4 * row) & 15 != 0 };
            address::mark(cx, place.kind, 16, !dirty);
        }
    }
    count_rows(cx, i, count);
    cx.progress = true;
    Flow::Next
}

unsafe fn movmatrix(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let v = cx.lanes::<u32>(i.a);
    cx.put::<u32>(i.d, &transposed(&v), m);
    Flow::Next
}

/// Decodes the three.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    match f.ins.root {
        "movmatrix" => {
            f.flag("sync");
            f.flag("aligned");
            f.flag("m8n8");
            f.flag("trans");
            f.ty(lw)?;
            f.arity(lw, 2..=2)?;
            let a = lw.src(&f.operands()[1], Ty::B32)?;
            let d = lw.dst(&f.operands()[0], Ty::B32)?;
            lw.emit(MInst::new(OpPair::same(movmatrix)).d(d).a(a));
            Ok(())
        }
        root => {
            let load = root == "ldmatrix";
            f.flag("sync");
            if !f.flag("aligned") {
                return lw.refuse("names no .aligned");
            }
            if !f.flag("m8n8") {
                return lw.refuse("only .m8n8 exists on this architecture");
            }
            let count = match f.one_of(&["x1", "x2", "x4"]) {
                Some("x1") => 1,
                Some("x2") => 2,
                Some(_) => 4,
                None => return lw.refuse("names no count"),
            };
            let trans = f.flag("trans");
            let space = f.find(Where::from_name).unwrap_or(Where::Generic);
            if f.ty(lw)? != Ty::B16 {
                return lw.refuse("takes .b16 matrices");
            }
            f.arity(lw, 2..=2)?;
            let ops = f.operands();
            let (registers, address) = if load { (&ops[0], &ops[1]) } else { (&ops[1], &ops[0]) };
            let a = lw.address(address)?;
            let x = count | u32::from(trans) << 3 | (space as u32) << 8 | u32::from(a.wide) << 16;
            let list = if load { lw.dst_vector(registers, Ty::B32)? } else { lw.src_vector(registers, Ty::B32)? };
            if list.len() != count as usize {
                return lw.refuse(format!("has {} registers, expected {count}", list.len()));
            }
            let i = if load {
                MInst::new(op_versions!(ldmatrix)).list(&list, &[])
            } else {
                MInst::new(OpPair::same(stmatrix)).list(&[], &list)
            };
            lw.emit(i.a(a.base).imm(a.offset).x(x).taint(TaintRule::Address));
            Ok(())
        }
    }
}
