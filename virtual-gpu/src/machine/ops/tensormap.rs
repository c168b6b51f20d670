//! `tensormap.replace` and `tensormap.cp_fenceproxy`: tensor maps that a kernel changes.

use super::address::{self, Access, Where};
use super::mma::whole_warp;
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, TaintRule, Width};
use crate::machine::races;
use crate::machine::tensor_map::{ElementType, TensorMap};
use crate::ptx::{Operand, Ty};

/// Bytes of a tensor map, and what its address is a multiple of.
const BYTES: u32 = 128;
const ALIGNMENT: u32 = 64;

/// Fields, as numbered in `x`: what a register may give, then what is one value per dimension, then what is constant.
const FIELDS: [&str; 11] = [
    "global_address",
    "rank",
    "box_dim",
    "global_dim",
    "global_stride",
    "element_stride",
    "elemtype",
    "interleave_layout",
    "swizzle_mode",
    "fill_mode",
    "swizzle_atomicity",
];

/// Element types as `.elemtype` numbers them; `CUtensorMapDataType` has another order.
const ELEMENTS: [ElementType; 13] = {
    use ElementType::*;
    [U8, U16, U32, S32, U64, S64, F16, F32, F32Ftz, F64, Bf16, Tf32, Tf32Ftz]
};

/// `a` the address, `b` the value (64 bits); field in `x` bits 0 to 3, dimension in 4 to 6, space in 8 to 11.
unsafe fn replace(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let space = Where::from_bits(i.x >> 8 & 15);
    let k = (i.x >> 4 & 7) as usize;
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let at = cx.lane::<u64>(i.a, l);
        let value = cx.lane::<u64>(i.b, l);
        let Ok(place) = address::resolve(cx, space, at, BYTES, ALIGNMENT, l, Access::Write) else {
            return Flow::Fault;
        };
        if races::lane(cx, place.kind, BYTES, l, races::Access::WRITE, false).is_err() {
            return Flow::Fault;
        }
        let mut bytes = [0u8; BYTES as usize];
        // SAFETY: resolved for 128 bytes.
        unsafe { std::ptr::copy_nonoverlapping(place.pointer, bytes.as_mut_ptr(), bytes.len()) };
        let Some(mut map) = TensorMap::from_bytes(&bytes) else {
            let text = format!("the 128 bytes at {at:#x} are no tensor map");
            return cx.fail(FaultKind::IllegalInstruction, None, Some(l), &text);
        };
        match FIELDS[(i.x & 15) as usize % FIELDS.len()] {
            "global_address" => map.address = value,
            "rank" => map.rank = (value as u32).wrapping_add(1),
            "box_dim" => map.box_dims[k] = value as u32,
            "global_dim" => map.dims[k] = value,
            "global_stride" => map.strides[k] = value,
            "element_stride" => map.element_strides[k] = value as u32,
            "elemtype" => map.element = ELEMENTS[value as usize % ELEMENTS.len()],
            "interleave_layout" => map.interleave = value as u8,
            "swizzle_mode" => map.swizzle = value as u8,
            _ => map.nan_fill = value != 0,
        }
        if !(1..=5).contains(&map.rank) {
            let text = format!("a tensor map of rank {}: 1 to 5 are possible", map.rank);
            return cx.fail(FaultKind::IllegalInstruction, Some("limits"), Some(l), &text);
        }
        let bytes = map.to_bytes();
        // SAFETY: as above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), place.pointer, bytes.len()) };
    }
    cx.progress = true;
    Flow::Next
}

/// `a` the destination, `b` the source.
unsafe fn copy(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let (to, from) = (cx.lane::<u64>(i.a, 0), cx.lane::<u64>(i.b, 0));
    let Ok(source) = address::resolve(cx, Where::Shared, from, BYTES, ALIGNMENT, 0, Access::Read) else {
        return Flow::Fault;
    };
    let Ok(place) = address::resolve(cx, Where::Global, to, BYTES, ALIGNMENT, 0, Access::Write) else {
        return Flow::Fault;
    };
    if races::lane(cx, source.kind, BYTES, 0, races::Access::READ, false).is_err()
        || races::lane(cx, place.kind, BYTES, 0, races::Access::WRITE, false).is_err()
    {
        return Flow::Fault;
    }
    if (0..BYTES / 64).any(|k| !address::initialised(cx, source.kind.add(64 * k), 64)) && cx.launch.checks.uninitialised
    {
        let text = format!("a tensor map is copied from uninitialised shared memory at {from:#x}");
        return cx.fail(FaultKind::LaunchFailed, Some("uninitialised"), Some(0), &text);
    }
    // SAFETY: both were resolved for 128 bytes.
    unsafe { std::ptr::copy(source.pointer, place.pointer, BYTES as usize) };
    for k in 0..BYTES / 64 {
        address::mark(cx, place.kind.add(64 * k), 64, true);
    }
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    cx.progress = true;
    Flow::Next
}

/// Decodes `tensormap`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    if lw.cx.compute != (9, 0) {
        return lw.refuse("needs sm_90a");
    }
    let ops = f.operands();
    if f.flag("cp_fenceproxy") {
        let fixed = ["global", "shared::cta", "tensormap::generic", "release", "sync", "aligned"];
        if !fixed.iter().all(|m| f.flag(m)) || f.one_of(&["cta", "cluster", "gpu", "sys"]).is_none() {
            return lw.refuse("is .global.shared::cta.tensormap::generic.release with a scope, .sync.aligned");
        }
        f.arity(lw, 3..=3)?;
        if ops[2] != Operand::Int(i64::from(BYTES)) {
            return lw.refuse("copies 128 bytes");
        }
        let (a, b) = (super::copy::full_address(lw, &ops[0])?, super::copy::full_address(lw, &ops[1])?);
        lw.emit(MInst::new(OpPair::same(copy)).a(a).b(b).taint(TaintRule::Decide));
        return Ok(());
    }
    if !f.flag("replace") || !f.flag("tile") || !f.flag("b1024") {
        return lw.refuse("is .replace.tile and .b1024, or .cp_fenceproxy");
    }
    let Some(field) = f.find(|m| FIELDS.iter().position(|k| *k == m)) else { return lw.refuse("names no field") };
    let space = f.find(Where::from_name).unwrap_or(Where::Generic);
    if !matches!(space, Where::Generic | Where::Global | Where::Shared) {
        return lw.refuse("changes a map in .global or .shared::cta");
    }
    let name = FIELDS[field];
    let want = if matches!(name, "global_address" | "global_stride") { Ty::B64 } else { Ty::B32 };
    if f.ty(lw)? != want {
        return lw.refuse(format!("takes .{} for this field", if want == Ty::B64 { "b64" } else { "b32" }));
    }
    let each = (2..6).contains(&field);
    f.arity(lw, if each { 3..=3 } else { 2..=2 })?;
    let mut x = field as u32 | (space as u32) << 8;
    if each {
        let most = if name == "global_stride" { 3 } else { 4 };
        match ops[1] {
            Operand::Int(k) if (0..=most).contains(&k) => x |= (k as u32) << 4,
            _ => return lw.refuse(format!("names the dimension by a constant from 0 to {most}")),
        }
    }
    let value = &ops[ops.len() - 1];
    let values = match name {
        "elemtype" => 0..13,
        "interleave_layout" => 0..3,
        "swizzle_mode" => 0..4,
        "fill_mode" => 0..2,
        "swizzle_atomicity" => return lw.refuse("needs sm_100a"),
        _ => 0..i64::MAX,
    };
    if field >= 6 && !matches!(value, Operand::Int(v) if values.contains(v)) {
        return lw.refuse(format!("takes a constant below {} for this field", values.end));
    }
    let a = super::copy::full_address(lw, &ops[0])?;
    let mut b = lw.src(value, want)?;
    if want == Ty::B32 {
        let wide = lw.temp(Width::W64);
        lw.emit(MInst::new(crate::machine::lanes::un(|v: u32| u64::from(v))).d(wide).a(b));
        b = wide;
    }
    lw.emit(MInst::new(OpPair::same(replace)).a(a).b(b).x(x).taint(TaintRule::Decide));
    Ok(())
}
