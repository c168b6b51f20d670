//! `wmma`: matrix products on fragments that the same family loads and stores.
//!
//! How a fragment lies over lanes and registers is the machine's own affair (PTX ISA, "Matrix fragments for WMMA").
//! Here it is that of `mma.sync`: with E elements in a register, register r of A is the 8 × 4E block at rows
//! 8(r mod R) and columns 4E(r div R), R the number of 8-row blocks; B is the same of Bᵀ; accumulators go pairwise
//! through 8 × 8 blocks. The eight registers of a binary16 operand repeat it where it is smaller.

use super::address::{self, Access, PlaceKind, Where};
use super::half::{b2f, f2h, h2f};
use super::mma::{matrix, shape, truncated_sum, whole_warp};
use super::softfloat::{self as soft, Round};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule};
use crate::machine::{races, taint};
use crate::ptx::{Operand, Ty};

/// Element types, as numbered in `x`.
const TYPES: [Ty; 11] =
    [Ty::F16, Ty::BF16, Ty::TF32, Ty::F64, Ty::S8, Ty::U8, Ty::S4, Ty::U4, Ty::B1, Ty::F32, Ty::S32];
/// Shapes, as numbered in `x`.
const SHAPES: [(u32, u32, u32); 7] =
    [(16, 16, 16), (8, 32, 16), (32, 8, 16), (16, 16, 8), (8, 8, 4), (8, 8, 32), (8, 8, 128)];

/// Most elements of a matrix.
const LARGEST: usize = 1024;

/// What a fragment is part of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    A,
    B,
    Accumulator,
}

/// A matrix over the registers of a warp; B is taken transposed.
#[derive(Debug, Clone, Copy)]
struct Fragment {
    role: Role,
    ty: Ty,
    rows: usize,
    columns: usize,
}

impl Fragment {
    fn new(role: Role, ty: Ty, (m, n, k): (u32, u32, u32)) -> Fragment {
        let (rows, columns) = match role {
            Role::A => (m, k),
            Role::B => (n, k),
            Role::Accumulator => (m, n),
        };
        Fragment { role, ty, rows: rows as usize, columns: columns as usize }
    }

    /// Elements in a register.
    fn packed(self) -> usize {
        (32 / self.ty.bits() as usize).max(1)
    }

    fn registers(self) -> usize {
        let least = self.rows * self.columns / 32 / self.packed();
        if self.ty == Ty::F16 && self.role != Role::Accumulator { 8 } else { least }
    }

    /// Bytes that a thread holds.
    fn bytes(self) -> usize {
        self.registers() * if self.ty == Ty::F64 { 8 } else { 4 }
    }

    /// Row and column of element `e` of register `r` of lane `l`.
    fn position(self, r: usize, l: usize, e: usize) -> (usize, usize) {
        let (across, packed) = (self.rows / 8, self.packed());
        if self.role == Role::Accumulator {
            let v = r * packed + e;
            let block = v / 2;
            return (8 * (block % across) + l / 4, 8 * (block / across) + 2 * (l % 4) + v % 2);
        }
        let r = r % (self.rows * self.columns / 32 / packed);
        (8 * (r % across) + l / 4, 4 * packed * (r / across) + l % 4 * packed + e)
    }

    /// Lines in memory and elements of a line; `row` major, for B as it is (K × N).
    fn lines(self, row: bool) -> (usize, usize) {
        if row != (self.role == Role::B) { (self.rows, self.columns) } else { (self.columns, self.rows) }
    }

    /// Index in `rows × columns` of an element of a line.
    fn index(self, row: bool, line: usize, at: usize) -> usize {
        if row != (self.role == Role::B) { line * self.columns + at } else { at * self.columns + line }
    }
}

fn register(cx: &Cx<'_>, ty: Ty, offset: u32, l: usize) -> u64 {
    if ty == Ty::F64 { cx.lane::<u64>(offset, l) } else { u64::from(cx.lane::<u32>(offset, l)) }
}

/// Element `e` of a register.
fn element(bits: u64, ty: Ty, e: usize) -> u64 {
    match ty.bits() {
        64 => bits,
        n => bits >> (e * n as usize) & ((1 << n) - 1),
    }
}

/// Type in `x` bits 0 to 3, shape in 4 to 6, role in 8 and 9, row-major in 10, space in 12 to 15, wide address in 16,
/// stride given in 17 (operand `b`, in elements).
struct Operands {
    fragment: Fragment,
    row: bool,
    space: Where,
    base: u64,
    /// Bytes from line to line.
    stride: u64,
}

/// Reads an access's operands, which must be the same in all lanes.
fn operands(cx: &mut Cx<'_>, i: &Instr) -> Result<Operands, Flow> {
    let role = [Role::A, Role::B, Role::Accumulator][(i.x >> 8 & 3) as usize % 3];
    let fragment = Fragment::new(role, TYPES[(i.x & 15) as usize % 11], SHAPES[(i.x >> 4 & 7) as usize % 7]);
    let row = i.x >> 10 & 1 != 0;
    let base: [u64; 32] = if i.x >> 16 & 1 != 0 { cx.lanes::<u64>(i.a) } else { cx.lanes::<u32>(i.a).map(u64::from) };
    let stride: [u32; 32] = if i.x >> 17 & 1 != 0 { cx.lanes::<u32>(i.b) } else { [fragment.lines(row).1 as u32; 32] };
    if let Some(l) = (1..32).find(|l| base[*l] != base[0] || stride[*l] != stride[0]) {
        let text = format!(
            "lane 0 gives wmma address {:#x} and stride {}, lane {l} {:#x} and {}: they must be the same in all lanes",
            base[0], stride[0], base[l], stride[l]
        );
        return Err(cx.fail(FaultKind::LaunchFailed, Some("convergence"), Some(l), &text));
    }
    let base = base[0].wrapping_add(i.imm as u64);
    let base = if i.x >> 16 & 1 != 0 { base } else { base & 0xffff_ffff };
    // Lines are aligned to the fragment (PTX ISA); CUDA's own strides go down to 16 bytes.
    let align = fragment.bytes() as u64;
    if !base.is_multiple_of(align) {
        let text = format!("misaligned matrix at {base:#x}: wmma asks for a multiple of {align} here");
        return Err(cx.fail(FaultKind::Misaligned, None, Some(0), &text));
    }
    let bits = u64::from(stride[0]) * u64::from(fragment.ty.bits());
    if !bits.is_multiple_of(8 * align.min(16)) {
        let text = format!("a stride of {} elements: wmma asks for a multiple of {} bytes", stride[0], align.min(16));
        return Err(cx.fail(FaultKind::Misaligned, None, Some(0), &text));
    }
    Ok(Operands { fragment, row, space: Where::from_bits(i.x >> 12 & 15), base, stride: bits / 8 })
}

/// Bytes of a line that are accessed at once, by one lane.
fn piece(line_bytes: usize) -> usize {
    line_bytes.min(16)
}

unsafe fn load(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let access = match operands(cx, i) {
        Ok(access) => access,
        Err(flow) => return flow,
    };
    let f = access.fragment;
    let bits = f.ty.bits() as usize;
    let (lines, length) = f.lines(access.row);
    let line_bytes = length * bits / 8;
    let n = piece(line_bytes);
    let mut values = [0u64; LARGEST];
    let mut bad = [false; LARGEST];
    let mut any_bad = false;
    for k in 0..lines * line_bytes / n {
        let (line, part) = (k * n / line_bytes, k * n % line_bytes);
        let at = access.base.wrapping_add(line as u64 * access.stride).wrapping_add(part as u64);
        let l = k % 32;
        let Ok(place) = address::resolve(cx, access.space, at, n as u32, 1, l, Access::Read) else {
            return Flow::Fault;
        };
        if races::lane(cx, place.kind, n as u32, l, races::Access::READ, false).is_err() {
            return Flow::Fault;
        }
        // SAFETY: resolved for `n` bytes, a power of two up to 16.
        let raw = unsafe { address::load_bytes(place.pointer, n as u32) };
        let dirty = cx.launch.checks.uninitialised && !address::initialised(cx, place.kind, n as u32);
        any_bad |= dirty;
        for e in 0..8 * n / bits {
            let index = f.index(access.row, line, part * 8 / bits + e);
            values[index] = element_of(raw, bits, e);
            bad[index] = dirty;
        }
    }
    for r in 0..f.registers() {
        let mut out = [0u64; 32];
        let mut tainted = 0;
        for (l, o) in out.iter_mut().enumerate() {
            for e in 0..f.packed() {
                let (row, column) = f.position(r, l, e);
                *o |= values[row * f.columns + column] << (e * bits % 64);
                tainted |= u32::from(bad[row * f.columns + column]) << l;
            }
        }
        let d = cx.listed(i, r);
        if f.ty == Ty::F64 {
            cx.put(d, &out, m)
        } else {
            cx.put(d, &out.map(|v| v as u32), m)
        }
        if cx.tainted || any_bad {
            taint::set(cx, d, m, tainted);
        }
    }
    count(cx, access.space, lines * line_bytes);
    Flow::Next
}

fn element_of(raw: u128, bits: usize, e: usize) -> u64 {
    (raw >> (e * bits) & ((1 << bits) - 1)) as u64
}

fn count(cx: &mut Cx<'_>, space: Where, bytes: usize) {
    let t = &mut cx.worker.traffic;
    if space == Where::Shared {
        t.shared_requests += 1;
        t.shared_passes += bytes.div_ceil(128) as u64;
    } else {
        t.global_requests += 1;
        t.sectors += bytes.div_ceil(32) as u64;
        t.sectors_needed += bytes.div_ceil(32) as u64;
    }
}

unsafe fn store(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let access = match operands(cx, i) {
        Ok(access) => access,
        Err(flow) => return flow,
    };
    let f = access.fragment;
    let bits = f.ty.bits() as usize;
    let mut values = [0u64; LARGEST];
    let mut bad = [false; LARGEST];
    for r in 0..f.registers() {
        let s = cx.listed(i, r);
        let tainted = if cx.tainted { taint::of(cx, s) } else { 0 };
        for l in 0..32 {
            for e in 0..f.packed() {
                let (row, column) = f.position(r, l, e);
                values[row * f.columns + column] = element(register(cx, f.ty, s, l), f.ty, e);
                bad[row * f.columns + column] = tainted >> l & 1 != 0;
            }
        }
    }
    let (lines, length) = f.lines(access.row);
    let line_bytes = length * bits / 8;
    let n = piece(line_bytes);
    for k in 0..lines * line_bytes / n {
        let (line, part) = (k * n / line_bytes, k * n % line_bytes);
        let at = access.base.wrapping_add(line as u64 * access.stride).wrapping_add(part as u64);
        let l = k % 32;
        let Ok(place) = address::resolve(cx, access.space, at, n as u32, 1, l, Access::Write) else {
            return Flow::Fault;
        };
        let (mut raw, mut dirty) = (0u128, false);
        for e in 0..8 * n / bits {
            let index = f.index(access.row, line, part * 8 / bits + e);
            raw |= u128::from(values[index]) << (e * bits);
            dirty |= bad[index];
        }
        if dirty && matches!(place.kind, PlaceKind::Global(_)) && cx.launch.checks.uninitialised {
            let text = format!("an uninitialised value is stored to global memory at {at:#x}");
            return cx.fail(FaultKind::LaunchFailed, Some("uninitialised"), Some(l), &text);
        }
        // SAFETY: resolved for `n` bytes, a power of two up to 16.
        let same = unsafe { address::load_bytes(place.pointer, n as u32) } == raw;
        if races::lane(cx, place.kind, n as u32, l, races::Access::WRITE, same).is_err() {
            return Flow::Fault;
        }
        // SAFETY: as above.
        unsafe { address::store_bytes(place.pointer, n as u32, raw) };
        address::mark(cx, place.kind, n as u32, !dirty);
    }
    count(cx, access.space, lines * line_bytes);
    cx.progress = true;
    Flow::Next
}

/// The matrix that a fragment in list entries from `first` on holds, as bits.
fn gather(cx: &Cx<'_>, i: &Instr, f: Fragment, first: usize) -> [u64; LARGEST] {
    let mut out = [0; LARGEST];
    // Of repeated registers the first count.
    for r in (0..f.registers()).rev() {
        let s = cx.listed(i, first + r);
        for l in 0..32 {
            let bits = register(cx, f.ty, s, l);
            for e in 0..f.packed() {
                let (row, column) = f.position(r, l, e);
                out[row * f.columns + column] = element(bits, f.ty, e);
            }
        }
    }
    out
}

fn scatter(cx: &mut Cx<'_>, i: &Instr, f: Fragment, values: &[u64; LARGEST]) {
    for r in 0..f.registers() {
        let mut out = [0u64; 32];
        for (l, o) in out.iter_mut().enumerate() {
            for e in 0..f.packed() {
                let (row, column) = f.position(r, l, e);
                *o |= values[row * f.columns + column] << (e * f.ty.bits() as usize % 64);
            }
        }
        let d = cx.listed(i, r);
        if f.ty == Ty::F64 {
            cx.put(d, &out, u32::MAX);
        } else {
            cx.put(d, &out.map(|v| v as u32), u32::MAX);
        }
    }
}

fn to_f32(bits: u64, ty: Ty) -> f32 {
    match ty {
        Ty::F16 => h2f(bits as u16),
        Ty::BF16 => b2f(bits as u16),
        Ty::TF32 => f32::from_bits(bits as u32 & 0xffff_e000),
        _ => f32::from_bits(bits as u32),
    }
}

fn to_int(bits: u64, ty: Ty) -> i64 {
    match ty {
        Ty::S8 => i64::from(bits as i8),
        Ty::S4 => ((bits << 60) as i64) >> 60,
        Ty::S32 => i64::from(bits as i32),
        _ => bits as i64,
    }
}

/// `x`: A's type in bits 0 to 3, B's in 4 to 7, C's in 8 to 11, D's in 12 to 15, shape in 16 to 18, rounding in 20 to
/// 22, satfinite in 24, xor in 25. `list`: D, A, B, C.
unsafe fn multiply(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let ty = |at: u32| TYPES[(i.x >> at & 15) as usize % 11];
    let size = SHAPES[(i.x >> 16 & 7) as usize % 7];
    let (fa, fb) = (Fragment::new(Role::A, ty(0), size), Fragment::new(Role::B, ty(4), size));
    let (fc, fd) = (Fragment::new(Role::Accumulator, ty(8), size), Fragment::new(Role::Accumulator, ty(12), size));
    let (at_a, at_b) = (fd.registers(), fd.registers() + fa.registers());
    let (a, b) = (gather(cx, i, fa, at_a), gather(cx, i, fb, at_b));
    let c = gather(cx, i, fc, at_b + fb.registers());
    let depth = fa.columns;
    let saturate = i.x >> 24 & 1 != 0;
    let mode = Round::from_bits(i.x >> 20 & 7);
    let truncates = cx.launch.seed & 1 != 0 && fd.ty == Ty::F32;
    let mut d = [0u64; LARGEST];
    for row in 0..fd.rows {
        for column in 0..fd.columns {
            let (x, y) = (&a[row * depth..(row + 1) * depth], &b[column * depth..(column + 1) * depth]);
            let start = c[row * fd.columns + column];
            d[row * fd.columns + column] = match fa.ty {
                Ty::F64 => {
                    let terms = x.iter().zip(y).map(|(x, y)| (f64::from_bits(*x), f64::from_bits(*y)));
                    let sum = terms.fold(f64::from_bits(start), |sum, (x, y)| {
                        if mode == Round::Nearest { x.mul_add(y, sum) } else { soft::fma(x, y, sum, soft::F64, mode) }
                    });
                    sum.to_bits()
                }
                Ty::F16 | Ty::BF16 | Ty::TF32 => {
                    let terms = x.iter().zip(y).map(|(x, y)| (to_f32(*x, fa.ty), to_f32(*y, fb.ty)));
                    let sum = if truncates {
                        let products: Vec<f64> = terms.map(|(x, y)| f64::from(x) * f64::from(y)).collect();
                        products.chunks(8).fold(to_f32(start, fc.ty), |sum, group| truncated_sum(group, sum))
                    } else {
                        terms.fold(to_f32(start, fc.ty), |sum, (x, y)| x.mul_add(y, sum))
                    };
                    finish(sum, fd.ty, saturate)
                }
                _ => {
                    let terms = x.iter().zip(y);
                    let dot: i64 = match fa.ty {
                        Ty::B1 if i.x >> 25 & 1 != 0 => terms.map(|(x, y)| (x ^ y) as i64).sum(),
                        Ty::B1 => terms.map(|(x, y)| (x & y) as i64).sum(),
                        _ => terms.map(|(x, y)| to_int(*x, fa.ty) * to_int(*y, fb.ty)).sum(),
                    };
                    let sum = dot + to_int(start, Ty::S32);
                    let sum = if saturate { sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) } else { sum };
                    u64::from(sum as i32 as u32)
                }
            };
        }
    }
    scatter(cx, i, fd, &d);
    let t = &mut cx.worker.traffic;
    t.tensor += 1;
    t.tensor_macs += (fd.rows * fd.columns * depth) as u64;
    Flow::Next
}

/// A sum in the accumulator's type; `.satfinite` turns infinities into the largest value and NaN into zero.
fn finish(sum: f32, ty: Ty, saturate: bool) -> u64 {
    if ty == Ty::F32 {
        let sum = match saturate {
            true if sum.is_nan() => 0.0,
            true => sum.clamp(-f32::MAX, f32::MAX),
            false => sum,
        };
        return u64::from(sum.to_bits());
    }
    let half = f2h(sum);
    u64::from(match half & 0x7fff {
        0x7c00 if saturate => half & 0x8000 | 0x7bff,
        0x7c01.. if saturate => 0,
        _ => half,
    })
}

/// Whether a type goes with a shape as a multiplicand.
fn multiplicand(ty: Ty, size: (u32, u32, u32)) -> bool {
    match ty {
        Ty::F16 | Ty::BF16 | Ty::S8 | Ty::U8 => matches!(size, (16, 16, 16) | (8, 32, 16) | (32, 8, 16)),
        Ty::TF32 => size == (16, 16, 8),
        Ty::F64 => size == (8, 8, 4),
        Ty::S4 | Ty::U4 => size == (8, 8, 32),
        Ty::B1 => size == (8, 8, 128),
        _ => false,
    }
}

/// Whether a type goes with a shape as an accumulator of these multiplicands.
fn accumulator(ty: Ty, of: Ty) -> bool {
    match of {
        Ty::F16 => matches!(ty, Ty::F16 | Ty::F32),
        Ty::BF16 | Ty::TF32 => ty == Ty::F32,
        Ty::F64 => ty == Ty::F64,
        _ => ty == Ty::S32,
    }
}

fn type_code(ty: Ty) -> u32 {
    TYPES.iter().position(|t| *t == ty).unwrap_or(0) as u32
}

/// Type of a register of a fragment.
fn register_type(ty: Ty) -> Ty {
    match ty {
        Ty::F64 | Ty::F32 | Ty::S32 => ty,
        _ => Ty::B32,
    }
}

/// Decodes `wmma`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let Some(what) = f.one_of(&["load", "store", "mma"]) else { return lw.refuse("names no operation") };
    if !f.flag("sync") || !f.flag("aligned") {
        return lw.refuse("is .sync.aligned");
    }
    let size = f.find(shape).and_then(|s| Some((SHAPES.iter().position(|k| *k == s)? as u32, s)));
    let Some((number, size)) = size else { return lw.refuse("names no shape of wmma") };
    if what == "mma" {
        return product(lw, f, number, size);
    }
    let role = match (what, f.one_of(&["a", "b", "c", "d"])) {
        ("load", Some("a")) => Role::A,
        ("load", Some("b")) => Role::B,
        ("load", Some("c")) | ("store", Some("d")) => Role::Accumulator,
        _ => return lw.refuse("names no matrix"),
    };
    let Some(layout) = f.one_of(&["row", "col"]) else { return lw.refuse("names no layout") };
    let space = f.find(Where::from_name).unwrap_or(Where::Generic);
    if !matches!(space, Where::Generic | Where::Global | Where::Shared) {
        return lw.refuse("accesses global or shared memory");
    }
    let ty = f.ty(lw)?;
    let legal = match role {
        Role::Accumulator => TYPES.iter().any(|of| multiplicand(*of, size) && accumulator(ty, *of)),
        _ => {
            let fixed = if role == Role::A { "row" } else { "col" };
            multiplicand(ty, size) && (ty.bits() >= 8 || layout == fixed)
        }
    };
    if !legal {
        return lw.refuse("this combination of shape, type and layout does not exist");
    }
    let ops = f.operands();
    f.arity(lw, 2..=3)?;
    let fragment = Fragment::new(role, ty, size);
    let (registers, place) = if what == "load" { (&ops[0], &ops[1]) } else { (&ops[1], &ops[0]) };
    let list = matrix(lw, registers, register_type(ty), fragment.registers() as u32, what == "load")?;
    let a = lw.address(place)?;
    let mut x = type_code(ty) | number << 4 | (role as u32) << 8 | u32::from(layout == "row") << 10;
    x |= (space as u32) << 12 | u32::from(a.wide) << 16;
    let mut b = Opnd::No;
    if let Some(stride) = ops.get(2) {
        b = lw.src(stride, Ty::U32)?;
        x |= 1 << 17;
    }
    let i = if what == "load" {
        MInst::new(OpPair::same(load)).list(&list, &[])
    } else {
        MInst::new(OpPair::same(store)).list(&[], &list)
    };
    lw.emit(i.a(a.base).b(b).imm(a.offset).x(x).taint(TaintRule::Address));
    Ok(())
}

fn product<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, number: u32, size: (u32, u32, u32)) -> Decoded {
    let layouts: Vec<&str> = f.ins.modifiers.iter().copied().filter(|m| matches!(*m, "row" | "col")).collect();
    while f.one_of(&["row", "col"]).is_some() {}
    let [la, lb] = layouts[..] else { return lw.refuse("names the layouts of A and B") };
    let (dt, at, bt, ct) = match f.types[..] {
        [d, c] => (d, Ty::F16, Ty::F16, c),
        [d, a, b, c] if a != Ty::F16 => (d, a, b, c),
        _ => return lw.refuse("names two types (of D and C) or four"),
    };
    let integer = matches!(at, Ty::S8 | Ty::U8 | Ty::S4 | Ty::U4);
    let fixed = at.bits() >= 8 || (la, lb) == ("row", "col");
    if !multiplicand(at, size) || at != bt || !accumulator(dt, at) || !accumulator(ct, at) || !fixed {
        return lw.refuse("this combination of shape, types and layouts does not exist");
    }
    let mut x = type_code(at) | type_code(bt) << 4 | type_code(ct) << 8 | type_code(dt) << 12 | number << 16;
    match (at, f.one_of(&["xor", "and"])) {
        (Ty::B1, Some(op)) if f.flag("popc") => x |= u32::from(op == "xor") << 25,
        (Ty::B1, _) => return lw.refuse("a binary product is .xor.popc or .and.popc"),
        (_, Some(_)) => return lw.refuse("only a binary product takes an operation"),
        _ => {}
    }
    if at == Ty::F64
        && let Some(mode) = f.find(Round::from_name)
    {
        x |= (mode as u32) << 20;
    }
    // On floats it was taken away with PTX 6.5.
    if (integer || (at == Ty::F16 && lw.cx.ast.version < (6, 5))) && f.flag("satfinite") {
        x |= 1 << 24;
    }
    f.arity(lw, 4..=4)?;
    let ops = f.operands();
    let part = |role, ty| (register_type(ty), Fragment::new(role, ty, size).registers() as u32);
    let list = |lw: &mut Lower<'_, 'a>, o: &Operand<'a>, (ty, count), dst| matrix(lw, o, ty, count, dst);
    let defs = list(lw, &ops[0], part(Role::Accumulator, dt), true)?;
    let mut uses = list(lw, &ops[1], part(Role::A, at), false)?;
    uses.extend(list(lw, &ops[2], part(Role::B, bt), false)?);
    uses.extend(list(lw, &ops[3], part(Role::Accumulator, ct), false)?);
    lw.emit(MInst::new(OpPair::same(multiply)).list(&defs, &uses).x(x));
    Ok(())
}
