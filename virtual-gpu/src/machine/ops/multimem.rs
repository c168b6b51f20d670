//! `multimem`: accesses through multicast objects, of which these devices have none.
//!
//! Modules that hold such kernels beside others load; a kernel that executes one of these instructions gives it an
//! address that no multicast object backs.

use super::address::Where;
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, TaintRule};
use crate::ptx::Ty;

unsafe fn no_object(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let lane = m.trailing_zeros() as usize & 31;
    let at = cx.lane::<u64>(i.a, lane);
    let text = format!("a multimem access at {at:#x}, where no multicast object is mapped: the device supports none");
    cx.fail(FaultKind::IllegalAddress, None, Some(lane), &text)
}

/// Decodes `multimem`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    if lw.cx.compute < (9, 0) {
        return lw.refuse("needs sm_90");
    }
    let Some(what) = f.one_of(&["ld_reduce", "st", "red"]) else { return lw.refuse("names no operation") };
    let orders: &[&str] = match what {
        "ld_reduce" => &["weak", "relaxed", "acquire"],
        "st" => &["weak", "relaxed", "release"],
        _ => &["relaxed", "release"],
    };
    let order = f.find(|m| orders.iter().position(|o| *o == m)).map(|k| orders[k]);
    let scope = f.one_of(&["cta", "cluster", "gpu", "sys"]);
    if order.is_some_and(|o| o != "weak") != scope.is_some() {
        return lw.refuse("names an order and a scope");
    }
    if f.find(Where::from_name).is_some_and(|s| s != Where::Global) {
        return lw.refuse("accesses .global");
    }
    let operation = f.one_of(&["add", "min", "max", "and", "or", "xor"]);
    if operation.is_some() != (what != "st") {
        return lw.refuse("names an operation where it reduces");
    }
    f.flag("acc::f32");
    f.flag("acc::f16");
    let count = match f.one_of(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    };
    let ty = f.ty(lw)?;
    let (bits, signed) = (matches!(ty, Ty::B32 | Ty::B64), ty.is_signed() || matches!(ty, Ty::U32 | Ty::U64));
    let small = matches!(ty, Ty::F16 | Ty::F16X2 | Ty::BF16 | Ty::BF16X2);
    let legal = match operation {
        Some("and" | "or" | "xor") => bits,
        Some("add") => signed || small || matches!(ty, Ty::F32 | Ty::F64),
        Some(_) => signed || small,
        None => bits || signed || small || matches!(ty, Ty::F32 | Ty::F64),
    };
    let vector = count == 1 && !matches!(ty, Ty::F16 | Ty::BF16)
        || count > 1 && (small || ty == Ty::F32) && count * ty.bytes() <= 16;
    if !legal || !vector {
        return lw.refuse("this combination of operation, vector and type does not exist");
    }
    f.arity(lw, 2..=2)?;
    let ops = f.operands();
    let (values, place) = if what == "ld_reduce" { (&ops[0], &ops[1]) } else { (&ops[1], &ops[0]) };
    let list = if what == "ld_reduce" { lw.dst_vector(values, ty)? } else { lw.src_vector(values, ty)? };
    if list.len() != count as usize {
        return lw.refuse(format!("has {} values, expected {count}", list.len()));
    }
    let a = super::copy::full_address(lw, place)?;
    let i = MInst::new(OpPair::same(no_object)).a(a).taint(TaintRule::Decide);
    lw.emit(if what == "ld_reduce" { i.list(&list, &[]) } else { i.list(&[], &list) });
    Ok(())
}
