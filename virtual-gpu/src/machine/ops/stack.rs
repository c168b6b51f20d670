//! `alloca`, `stacksave` and `stackrestore`: local memory that a thread takes while it runs, above its variables.
//!
//! What a function takes is free again when it returns.

use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::{OpPair, un};
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule, Width};
use crate::machine::ops::address::{self, PlaceKind};
use crate::ptx::{Operand, Ty};

/// Bytes that a thread of a module with `alloca` can take.
pub const STACK_BYTES: u32 = 16 << 10;

/// Alignment where none is given.
const ALIGNMENT: i64 = 8;

/// `a` the size, `imm` the alignment, `d` the address.
unsafe fn take(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let sizes = cx.lanes::<u64>(i.a);
    let end = cx.launch.code.local_bytes;
    let mut out = [0u64; 32];
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let at = cx.warp.stack[l].next_multiple_of(i.imm as u32);
        let top = u64::from(at).saturating_add(sizes[l]);
        if top > u64::from(end) {
            let text = format!("alloca of {} bytes: a thread's stack has {STACK_BYTES} bytes", sizes[l]);
            return cx.fail(FaultKind::IllegalAddress, None, Some(l), &text);
        }
        for k in at..top as u32 {
            address::mark(cx, PlaceKind::Local(l as u32 * end + k), 1, false);
        }
        cx.warp.stack[l] = top as u32;
        out[l] = u64::from(at);
    }
    cx.put(i.d, &out, m);
    Flow::Next
}

unsafe fn save(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let out = cx.warp.stack.map(u64::from);
    cx.put(i.d, &out, m);
    Flow::Next
}

unsafe fn restore(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let tops = cx.lanes::<u64>(i.a);
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        if tops[l] > u64::from(cx.warp.stack[l]) || tops[l] < u64::from(cx.launch.code.stack_base) {
            let text = format!("stackrestore to {:#x}, which stacksave did not give", tops[l]);
            return cx.fail(FaultKind::IllegalAddress, None, Some(l), &text);
        }
        cx.warp.stack[l] = tops[l] as u32;
    }
    Flow::Next
}

/// Remembers the stack at a function's start, if it takes any.
pub fn prologue(lw: &mut Lower<'_, '_>) {
    if lw.f.body.iter().any(|i| i.root == "alloca") {
        let mark = lw.temp(Width::W64);
        lw.emit(MInst::new(OpPair::same(save)).d(mark));
        lw.stack_mark = Some(mark);
    }
}

/// Frees what the function took.
pub fn epilogue(lw: &mut Lower<'_, '_>) {
    if let Some(mark) = lw.stack_mark {
        lw.emit(MInst::new(OpPair::same(restore)).a(mark));
    }
}

/// A destination of 32 or 64 bits from a 64-bit value.
fn narrow<'a>(lw: &mut Lower<'_, 'a>, o: &Operand<'a>, ty: Ty, i: MInst) -> Decoded {
    let d = lw.dst(o, ty)?;
    if ty == Ty::U64 {
        lw.emit(i.d(d));
        return Ok(());
    }
    let wide = lw.temp(Width::W64);
    lw.emit(i.d(wide));
    lw.emit(MInst::new(un(|v: u64| v as u32)).d(d).a(wide));
    Ok(())
}

fn widen<'a>(lw: &mut Lower<'_, 'a>, o: &Operand<'a>, ty: Ty) -> Decoded<Opnd> {
    let a = lw.src(o, ty)?;
    if ty == Ty::U64 {
        return Ok(a);
    }
    let wide = lw.temp(Width::W64);
    lw.emit(MInst::new(un(|v: u32| u64::from(v))).d(wide).a(a));
    Ok(wide)
}

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ty = f.ty(lw)?;
    if !matches!(ty, Ty::U32 | Ty::U64) {
        return lw.refuse("takes .u32 or .u64");
    }
    let ops = f.operands();
    match f.ins.root {
        "alloca" => {
            f.arity(lw, 2..=3)?;
            let align = match ops.get(2) {
                None => ALIGNMENT,
                Some(Operand::Int(n)) if n.count_ones() == 1 && (1..=1024).contains(n) => *n,
                Some(_) => return lw.refuse("the alignment is a constant power of two"),
            };
            let a = widen(lw, &ops[1], ty)?;
            narrow(lw, &ops[0], ty, MInst::new(OpPair::same(take)).a(a).imm(align).taint(TaintRule::Decide))
        }
        "stacksave" => {
            f.arity(lw, 1..=1)?;
            narrow(lw, &ops[0], ty, MInst::new(OpPair::same(save)))
        }
        _ => {
            f.arity(lw, 1..=1)?;
            let a = widen(lw, &ops[0], ty)?;
            lw.emit(MInst::new(OpPair::same(restore)).a(a).taint(TaintRule::Decide));
            Ok(())
        }
    }
}
