//! `cp.async.bulk.tensor`: boxes of tensors described by tensor maps.
//!
//! A box lies in shared memory row after row, 16-byte chunks exchanged by the swizzle: chunk bits are combined with
//! the address bits three places above by exclusive or. What lies outside of the tensor is filled on loads (and
//! counted) and skipped on stores.

use super::address::{self, Access, PlaceKind, Where};
use super::copy;
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule};
use crate::machine::objects::{self, Segment, Side, Transfer};
use crate::machine::tensor_map::{ElementType, TensorMap};
use crate::ptx::{Operand, Ty};

/// Flags in `x`: coordinates in bits 0 to 2, bit 3 from shared to global, bit 4 im2col, bits 5 and 6 as in `copy`
/// (bit 5 barrier), bit 6 multicast, reduction plus one from bit 8.
const STORE: u32 = 1 << 3;
const IM2COL: u32 = 1 << 4;
const BARRIER: u32 = 1 << 5;
const MULTICAST: u32 = 1 << 6;

const REDUCTIONS: [&str; 8] = ["add", "min", "max", "inc", "dec", "and", "or", "xor"];

/// The address of shared byte `at` under a swizzle.
fn swizzled(at: u32, swizzle: u8) -> u32 {
    match swizzle {
        1 => at ^ (at >> 3 & 0x10),
        2 => at ^ (at >> 3 & 0x30),
        3 => at ^ (at >> 3 & 0x70),
        _ => at,
    }
}

/// A row of elements: position in the box, first coordinate, and coordinates of the outer dimensions if inside.
struct Row {
    /// Bytes from the start of the box.
    at: u32,
    /// Address of the element at coordinate 0 of the innermost dimension; `None` outside of the tensor.
    base: Option<u64>,
}

/// Reads the map that a lane names.
fn read_map(cx: &mut Cx<'_>, i: &Instr, l: usize) -> Result<TensorMap, Flow> {
    let at: u64 = cx.lane(cx.listed(i, 1), l);
    let place = address::resolve(cx, Where::Generic, at, 128, 64, l, Access::Read).map_err(|()| Flow::Fault)?;
    let mut bytes = [0u8; 128];
    // SAFETY: resolved for 128 bytes.
    unsafe { std::ptr::copy_nonoverlapping(place.pointer, bytes.as_mut_ptr(), 128) };
    match TensorMap::from_bytes(&bytes) {
        Some(map) => match map.flaw() {
            None => Ok(map),
            Some(flaw) => {
                let text = format!("the tensor map at {at:#x} is not valid: {flaw}");
                Err(cx.fail(FaultKind::IllegalInstruction, Some("limits"), Some(l), &text))
            }
        },
        None => {
            let text = format!("the 128 bytes at {at:#x} are no tensor map");
            Err(cx.fail(FaultKind::IllegalInstruction, None, Some(l), &text))
        }
    }
}

/// Rows of a tiled box, and elements of a row.
fn tiled(map: &TensorMap, coords: &[i32]) -> (Vec<Row>, i64, u32) {
    let esz = map.element.bytes();
    let rank = map.rank as usize;
    let counts: Vec<u32> = (0..rank)
        .map(|k| if k == 0 { map.box_dims[0] } else { map.box_dims[k].div_ceil(map.element_strides[k].max(1)) })
        .collect();
    let outer: u32 = counts[1..].iter().product();
    let mut rows = Vec::with_capacity(outer as usize);
    for n in 0..outer {
        let mut rest = n;
        let mut base = Some(map.address);
        for k in 1..rank {
            let c = i64::from(coords[k]) + i64::from(rest % counts[k]) * i64::from(map.element_strides[k].max(1));
            rest /= counts[k];
            base = base.filter(|_| c >= 0 && (c as u64) < map.dims[k]).map(|b| b + c as u64 * map.strides[k - 1]);
        }
        rows.push(Row { at: n * counts[0] * esz, base });
    }
    (rows, i64::from(coords[0]), counts[0])
}

/// Rows of an im2col column: one pixel each, walked through the bounding box from the given one on.
fn im2col(map: &TensorMap, coords: &[i32], offsets: &[u16]) -> Option<(Vec<Row>, i64, u32)> {
    let columns = map.im2col?;
    let esz = map.element.bytes();
    let rank = map.rank as usize;
    let spatial = rank - 2;
    let mut at: Vec<i64> = coords[1..].iter().map(|c| i64::from(*c)).collect();
    let mut rows = Vec::new();
    for n in 0..columns.pixels {
        let mut base = Some(map.address);
        for k in 0..spatial {
            let c = at[k] + i64::from(offsets.get(k).copied().unwrap_or(0));
            base = base.filter(|_| c >= 0 && (c as u64) < map.dims[k + 1]).map(|b| b + c as u64 * map.strides[k]);
        }
        let image = at[spatial];
        base = base
            .filter(|_| image >= 0 && (image as u64) < map.dims[rank - 1])
            .map(|b| b + image as u64 * map.strides[rank - 2]);
        rows.push(Row { at: n * columns.channels * esz, base });
        // The next pixel, within [lower, dim + upper) of each spatial dimension.
        let mut k = 0;
        loop {
            if k == spatial {
                at[spatial] += 1;
                break;
            }
            at[k] += i64::from(map.element_strides[k + 1].max(1));
            if at[k] < map.dims[k + 1] as i64 + i64::from(columns.upper[k]) {
                break;
            }
            at[k] = i64::from(columns.lower[k]);
            k += 1;
        }
    }
    Some((rows, i64::from(coords[0]), columns.channels))
}

/// `list`: shared address, map, mask, mbarrier, five coordinates, three offsets.
unsafe fn run(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    cx.progress = true;
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        if let Err(flow) = one(cx, i, l) {
            return flow;
        }
    }
    Flow::Next
}

fn one(cx: &mut Cx<'_>, i: &Instr, l: usize) -> Result<(), Flow> {
    let map = read_map(cx, i, l)?;
    let rank = (i.x & 7) as usize;
    if map.rank as usize != rank || map.im2col.is_some() != (i.x & IM2COL != 0) {
        let text = format!(
            "the instruction is {rank}-dimensional{}, the tensor map {}-dimensional{}",
            if i.x & IM2COL != 0 { " im2col" } else { "" },
            map.rank,
            if map.im2col.is_some() { " im2col" } else { "" }
        );
        return Err(cx.fail(FaultKind::IllegalInstruction, None, Some(l), &text));
    }
    if map.interleave != 0 {
        let text = "an interleaved tensor map: how its strides lie is not documented, so it cannot be run here";
        return Err(cx.fail(FaultKind::IllegalInstruction, None, Some(l), text));
    }
    let at: u64 = cx.lane(cx.listed(i, 1), l);
    if cx.launch.memory.reserved(at) {
        crate::machine::races::tensor_map_read(cx, l, at).map_err(|()| Flow::Fault)?;
    }
    let coords: Vec<i32> = (0..rank).map(|k| cx.lane::<i32>(cx.listed(i, 4 + k), l)).collect();
    let offsets: Vec<u16> = (0..3).map(|k| cx.lane::<u32>(cx.listed(i, 9 + k), l) as u16).collect();
    let (rows, first, inner) = if i.x & IM2COL != 0 {
        match im2col(&map, &coords, &offsets) {
            Some(rows) => rows,
            None => return Err(Flow::Fault),
        }
    } else {
        tiled(&map, &coords)
    };
    let esz = map.element.bytes();
    let total = rows.len() as u32 * inner * esz;
    let store = i.x & STORE != 0;
    let shared: u64 = cx.lane(cx.listed(i, 0), l);
    // The pattern repeats every 256 bytes per swizzle step; hardware asks for 128-byte alignment.
    let access = if store { Access::Read } else { Access::Write };
    let space = if store { Where::Shared } else { Where::Cluster };
    let kind = copy::extent(cx, space, shared, total, 128, l, access).map_err(|()| Flow::Fault)?;
    let PlaceKind::Shared(block, start) = kind else { return Err(Flow::Fault) };
    let fill = match (map.nan_fill, map.element) {
        (false, _) => (0, 4),
        (true, ElementType::F16) => (0x7fff, 2),
        (true, ElementType::Bf16) => (0x7fff, 2),
        (true, ElementType::F64) => (0x7fff_ffff_ffff_ffff, 8),
        (true, _) => (0x7fff_ffff, 4),
    };
    let mut segments = Vec::new();
    let limit = map.dims[0] as i64;
    for row in &rows {
        let bytes = inner * esz;
        let mut done = 0;
        while done < bytes {
            // Within a 16-byte chunk the swizzle keeps bytes together; without one a row is one run.
            let position = start + row.at + done;
            let most = if map.swizzle == 0 { bytes - done } else { 16 - position % 16 };
            let n = most.min(bytes - done);
            let at = swizzled(position, map.swizzle);
            let (e0, e1) = (first + i64::from(done / esz), first + i64::from((done + n) / esz));
            let inside = |e: i64| row.base.is_some() && e >= 0 && e < limit;
            let mut e = e0;
            while e < e1 {
                // Runs of elements that are all inside or all outside.
                let state = inside(e);
                let mut end = e + 1;
                if state {
                    end = e1.min(limit);
                } else {
                    while end < e1 && !inside(end) {
                        end += 1;
                    }
                }
                let to = at + (e - e0) as u32 * esz;
                let run = (end - e) as u32 * esz;
                match (state, row.base) {
                    (true, Some(base)) => {
                        let global = Side::Global(base + e as u64 * u64::from(esz));
                        let (from, to) = if store { (Side::Shared(to), global) } else { (global, Side::Shared(to)) };
                        segments.push(Segment { from, to, bytes: run });
                    }
                    _ if !store => {
                        segments.push(Segment { from: Side::Fill(fill.0, fill.1), to: Side::Shared(to), bytes: run });
                    }
                    _ => {}
                }
                e = end;
            }
            done += n;
        }
    }
    for s in &segments {
        if let Side::Global(a) = if store { s.to } else { s.from } {
            let access = if store { Access::Write } else { Access::Read };
            copy::extent(cx, Where::Global, a, s.bytes, 1, l, access).map_err(|()| Flow::Fault)?;
        }
    }
    let mut targets = if store { vec![] } else { vec![block] };
    if i.x & MULTICAST != 0 {
        targets = copy::multicast(cx, i, 2, l)?;
    }
    let barrier = copy::barrier_of(cx, i, l, &targets)?;
    let group = (i.x & BARRIER == 0).then(|| copy::bulk_group(cx, l));
    let reduce = (i.x >> 8 != 0).then(|| {
        use ElementType::*;
        let ty = match map.element {
            U8 | U16 | U32 => Ty::U32,
            S32 => Ty::S32,
            U64 => Ty::U64,
            S64 => Ty::S64,
            F16 => Ty::F16,
            Bf16 => Ty::BF16,
            F64 => Ty::F64,
            F32 | F32Ftz | Tf32 | Tf32Ftz => Ty::F32,
        };
        (REDUCTIONS[((i.x >> 8) - 1) as usize & 7], ty)
    });
    let what = crate::machine::report::describe(cx, l, "an asynchronous tensor copy");
    cx.worker.traffic.sectors += u64::from(total.div_ceil(32));
    cx.worker.traffic.sectors_needed += u64::from(total.div_ceil(32));
    let t = Transfer {
        segments,
        source: block,
        targets,
        barrier,
        counted: total,
        reduce,
        group,
        what,
        fetched: Vec::new(),
    };
    copy::account(cx, l, &t).map_err(|()| Flow::Fault)?;
    objects::issue(cx.launch, cx.ctas, t).map_err(|fault| {
        cx.fault = Some(fault);
        Flow::Fault
    })
}

/// Decodes the tensor forms; `cp.async.bulk.tensor` is already taken.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, reduce: bool) -> Decoded {
    let ops = f.operands();
    let Some(rank) = f.find(|m| ["1d", "2d", "3d", "4d", "5d"].iter().position(|d| *d == m)) else {
        return lw.refuse("names no dimension");
    };
    let rank = rank + 1;
    let store = f.ins.modifiers.iter().position(|m| *m == "global")
        < f.ins.modifiers.iter().position(|m| m.starts_with("shared"));
    while f.find(|m| matches!(m, "global" | "shared::cta" | "shared::cluster").then_some(())).is_some() {}
    let im2col = match f.one_of(&["tile", "im2col_no_offs", "im2col"]) {
        Some("tile") | None => false,
        Some(_) => true,
    };
    let barrier = f.flag("mbarrier::complete_tx::bytes");
    let group = f.flag("bulk_group");
    if barrier == group || barrier == store {
        return lw.refuse("loads complete at an mbarrier, stores in a bulk group");
    }
    let many = f.flag("multicast::cluster");
    if many && store {
        return lw.refuse("only loads go to several blocks");
    }
    let policy = f.flag("L2::cache_hint");
    let mut x = rank as u32;
    if reduce {
        let Some(op) = f.find(|m| REDUCTIONS.iter().position(|r| *r == m)) else {
            return lw.refuse("names no reduction");
        };
        x |= (op as u32 + 1) << 8;
    }
    if !f.types.is_empty() {
        return lw.refuse("takes no type");
    }
    // Stores name the tensor first, loads the shared address.
    let with_offsets = im2col && !store;
    let want = if store { 2 } else { 3 + usize::from(with_offsets) + usize::from(many) } + usize::from(policy);
    f.arity(lw, want..=want)?;
    super::mem::take_policy(lw, f, policy)?;
    let (tensor, shared) = if store { (&ops[0], &ops[1]) } else { (&ops[1], &ops[0]) };
    let Operand::Tensor(_, _, coords) = tensor else { return lw.refuse("a tensor is given as [map, {coordinates}]") };
    if coords.len() != rank {
        return lw.refuse(format!("has {} coordinates, expected {rank}", coords.len()));
    }
    let map = copy::full_address(lw, tensor)?;
    let at = copy::full_address(lw, shared)?;
    let bar = if barrier { copy::full_address(lw, &ops[2])? } else { Opnd::No };
    let mut uses = vec![at, map, Opnd::No, bar];
    for c in coords {
        uses.push(lw.src(c, Ty::S32)?);
    }
    uses.resize(9, Opnd::No);
    if with_offsets {
        let Operand::Vector(list) = &ops[3] else { return lw.refuse("im2col offsets are given as {…}") };
        for o in list.iter().take(3) {
            uses.push(lw.wide_src(o, Ty::U16)?.0);
        }
    }
    uses.resize(12, Opnd::No);
    if many {
        uses[2] = lw.src(&ops[3 + usize::from(with_offsets)], Ty::U16)?;
        x |= MULTICAST;
    }
    if store {
        x |= STORE;
    }
    if im2col {
        x |= IM2COL;
    }
    if barrier {
        x |= BARRIER;
    }
    lw.emit(MInst::new(OpPair::same(run)).list(&[], &uses).x(x).taint(TaintRule::Decide));
    Ok(())
}
