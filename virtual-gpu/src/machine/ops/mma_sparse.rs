//! `mma.sp`: products with a structured sparse A. Its stored half lies as a dense A of half the depth does.

use super::half::{f2h, h2f};
use super::mma::{TYPES, matrix, shape, whole_warp, widen, widen_int};
use super::sparse::{Layout, STORED, products};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, TaintRule};
use crate::machine::taint;
use crate::ptx::{Operand, Ty};

/// Types of A and B in `x` bits 0 to 3 and 4 to 7; bit 8: C and D are f16; 10 and 11 the selector; 12 ordered
/// metadata; 13 satfinite; depth from bit 16. `list`: D, A, B, C; `a` the metadata.
const HALF: u32 = 1 << 8;
const ORDERED: u32 = 1 << 12;
const SATURATE: u32 = 1 << 13;

/// What an instruction's flags say.
struct Shape {
    ta: Ty,
    tb: Ty,
    layout: Layout,
    depth: usize,
}

fn read_shape(i: &Instr) -> Option<Shape> {
    let ty = |at: u32| TYPES[(i.x >> at & 15) as usize % TYPES.len()];
    let layout = Layout::new(ty(0), i.x >> 16, i.x >> 10 & 3, i.x & ORDERED != 0)?;
    Some(Shape { ta: ty(0), tb: ty(4), layout, depth: (i.x >> 16) as usize })
}

/// Results depend on all sources of the warp, on the metadata only of the lanes that give it.
fn carry_taint(cx: &mut Cx<'_>, i: &Instr, defs: usize, layout: &Layout) {
    if !cx.tainted {
        return;
    }
    let mut t = 0;
    for k in defs..i.count as usize {
        let s = cx.listed(i, k);
        t |= taint::of(cx, s);
    }
    if taint::of(cx, i.a) & layout.lanes() != 0 {
        t = u32::MAX;
    }
    for k in 0..defs {
        let d = cx.listed(i, k);
        taint::set(cx, d, u32::MAX, t);
    }
}

unsafe fn float(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let Some(s) = read_shape(i) else { return Flow::Fault };
    let columns = match s.layout.columns(cx, i.a) {
        Ok(columns) => columns,
        Err(flow) => return flow,
    };
    let elements = 32 / s.ta.bits() as usize;
    let width = 4 * elements;
    let blocks = s.depth / width;
    let half = i.x & HALF != 0;
    let nd = if half { 2 } else { 4 };
    // The stored half of A takes as many registers as B.
    let (at_a, at_b, at_c) = (nd, nd + blocks, nd + 2 * blocks);
    let mut a = [[0f32; STORED]; 16];
    let mut b = [[0f32; 2 * STORED]; 8];
    let mut block = [0f32; 128];
    for r in 0..blocks {
        widen(&cx.lanes::<u32>(cx.listed(i, at_a + r)), s.ta, &mut block);
        for row in 0..8 {
            a[row + 8 * (r & 1)][width * (r >> 1)..width * (r >> 1) + width]
                .copy_from_slice(&block[row * width..(row + 1) * width]);
        }
        widen(&cx.lanes::<u32>(cx.listed(i, at_b + r)), s.tb, &mut block);
        for column in 0..8 {
            b[column][width * r..width * (r + 1)].copy_from_slice(&block[column * width..(column + 1) * width]);
        }
    }
    let mut acc = [[0f32; 8]; 16];
    for r in 0..2 {
        for l in 0..32 {
            for e in 0..2 {
                acc[8 * r + l / 4][2 * (l % 4) + e] = if half {
                    h2f((cx.lane::<u32>(cx.listed(i, at_c + r), l) >> (16 * e)) as u16)
                } else {
                    cx.lane::<f32>(cx.listed(i, at_c + 2 * r + e), l)
                };
            }
        }
    }
    let truncate = cx.launch.seed & 1 != 0 && !half;
    products(&a, &columns, s.depth / 2, |k, column| b[column][k], truncate, &mut acc);
    for r in 0..2 {
        let at = |e: usize| -> [f32; 32] { std::array::from_fn(|l| acc[8 * r + l / 4][2 * (l % 4) + e]) };
        if half {
            let (even, odd) = (at(0), at(1));
            let out = std::array::from_fn(|l| u32::from(f2h(even[l])) | u32::from(f2h(odd[l])) << 16);
            let d = cx.listed(i, r);
            cx.put::<u32>(d, &out, m);
        } else {
            for e in 0..2 {
                let d = cx.listed(i, 2 * r + e);
                cx.put(d, &at(e), m);
            }
        }
    }
    carry_taint(cx, i, nd, &s.layout);
    cx.worker.traffic.tensor += 1;
    cx.worker.traffic.tensor_macs += 64 * s.depth as u64;
    Flow::Next
}

unsafe fn integer(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let Some(s) = read_shape(i) else { return Flow::Fault };
    let columns = match s.layout.columns(cx, i.a) {
        Ok(columns) => columns,
        Err(flow) => return flow,
    };
    let elements = 32 / s.ta.bits() as usize;
    let width = 4 * elements;
    let blocks = s.depth / width;
    let mut a = [[0i32; STORED]; 16];
    let mut b = [[0i32; 2 * STORED]; 8];
    let mut block = Vec::with_capacity(32 * elements);
    for r in 0..blocks {
        block.clear();
        widen_int(&cx.lanes::<u32>(cx.listed(i, 4 + r)), s.ta, &mut block);
        for row in 0..8 {
            a[row + 8 * (r & 1)][width * (r >> 1)..width * (r >> 1) + width]
                .copy_from_slice(&block[row * width..(row + 1) * width]);
        }
        block.clear();
        widen_int(&cx.lanes::<u32>(cx.listed(i, 4 + blocks + r)), s.tb, &mut block);
        for column in 0..8 {
            b[column][width * r..width * (r + 1)].copy_from_slice(&block[column * width..(column + 1) * width]);
        }
    }
    // All is read before anything is written: D may take C's registers in another order.
    let out: [[i32; 32]; 4] = std::array::from_fn(|v| {
        let c = cx.lanes::<i32>(cx.listed(i, 4 + 2 * blocks + v));
        std::array::from_fn(|l| {
            let (row, column) = (8 * (v / 2) + l / 4, 2 * (l % 4) + v % 2);
            let dot: i64 =
                (0..s.depth / 2).map(|p| i64::from(a[row][p]) * i64::from(b[column][columns[row][p] as usize])).sum();
            let sum = dot + i64::from(c[l]);
            if i.x & SATURATE != 0 { sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32 } else { sum as i32 }
        })
    });
    for (v, out) in out.iter().enumerate() {
        let d = cx.listed(i, v);
        cx.put(d, out, m);
    }
    carry_taint(cx, i, 4, &s.layout);
    cx.worker.traffic.tensor += 1;
    cx.worker.traffic.tensor_macs += 64 * s.depth as u64;
    Flow::Next
}

/// Decodes `mma.sp`; the variant is already taken.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, ordered: bool) -> Decoded {
    if !f.flag("sync") || !f.flag("aligned") {
        return lw.refuse("is .sync.aligned");
    }
    let Some((16, 8, depth)) = f.find(shape) else { return lw.refuse("names no shape m16n8") };
    let layouts: Vec<&str> = f.ins.modifiers.iter().copied().filter(|m| matches!(*m, "row" | "col")).collect();
    while f.one_of(&["row", "col"]).is_some() {}
    if layouts != ["row", "col"] {
        return lw.refuse("is .row.col");
    }
    let satfinite = f.flag("satfinite");
    let [dt, at, bt, ct] = f.types[..] else { return lw.refuse("names four types") };
    let int8 = |t: Ty| matches!(t, Ty::S8 | Ty::U8);
    let int4 = |t: Ty| matches!(t, Ty::S4 | Ty::U4);
    let float8 = |t: Ty| matches!(t, Ty::E4M3 | Ty::E5M2);
    let (depths, partner, accumulators) = match at {
        Ty::F16 => ([16, 32], bt == at, matches!((dt, ct), (Ty::F16, Ty::F16) | (Ty::F32, Ty::F32))),
        Ty::BF16 => ([16, 32], bt == at, dt == Ty::F32 && ct == Ty::F32),
        Ty::TF32 => ([8, 16], bt == at, dt == Ty::F32 && ct == Ty::F32),
        _ if float8(at) => ([64, 64], float8(bt), dt == Ty::F32 && ct == Ty::F32),
        _ if int8(at) => ([32, 64], int8(bt), dt == Ty::S32 && ct == Ty::S32),
        _ if int4(at) => ([64, 128], int4(bt), dt == Ty::S32 && ct == Ty::S32),
        _ => return lw.refuse("does not take these types"),
    };
    if !depths.contains(&depth) || !partner || !accumulators || (satfinite && !int8(at) && !int4(at)) {
        return lw.refuse("this combination of shape and types does not exist");
    }
    if float8(at) && lw.cx.compute < (8, 9) {
        return lw.refuse("8-bit floats need sm_89");
    }
    f.arity(lw, 6..=6)?;
    let ops = f.operands();
    let Operand::Int(selector) = ops[5] else { return lw.refuse("the sparsity selector is a constant") };
    let valid = u32::try_from(selector).ok().filter(|s| Layout::new(at, depth, *s, ordered).is_some());
    let Some(selector) = valid else {
        return lw.refuse(format!("the sparsity selector {selector} names no threads of this shape"));
    };
    let code = |ty: Ty| TYPES.iter().position(|t| *t == ty).map_or(0, |p| p as u32);
    let half = if dt == Ty::F16 { HALF } else { 0 };
    let mut x = code(at) | code(bt) << 4 | half | selector << 10 | depth << 16;
    if ordered {
        x |= ORDERED;
    }
    if satfinite {
        x |= SATURATE;
    }
    let blocks = depth * at.bits() / 128;
    let part = |t: Ty| if t == Ty::F16 { (Ty::B32, 2) } else { (t, 4) };
    let (d, c) = (part(dt), part(ct));
    let defs = matrix(lw, &ops[0], d.0, d.1, true)?;
    let mut uses = matrix(lw, &ops[1], Ty::B32, blocks, false)?;
    uses.extend(matrix(lw, &ops[2], Ty::B32, blocks, false)?);
    uses.extend(matrix(lw, &ops[3], c.0, c.1, false)?);
    let meta = lw.src(&ops[4], Ty::B32)?;
    let op = if dt == Ty::S32 { OpPair::same(integer) } else { OpPair::same(float) };
    lw.emit(MInst::new(op).list(&defs, &uses).a(meta).x(x).taint(TaintRule::Own));
    Ok(())
}
