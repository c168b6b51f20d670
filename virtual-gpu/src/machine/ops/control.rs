//! Branches, returns and exits.

use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Exit, Form, Lower, MInst, TaintRule};
use crate::ptx::{Operand, Ty};

unsafe fn run_jump(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    cx.branch(m, i.x)
}

/// A jump to the pc in `x`.
pub fn jump() -> OpPair {
    OpPair::same(run_jump)
}

/// `brx.idx`: `a` indexes the list of targets.
unsafe fn run_table(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let index = cx.lanes::<u32>(i.a);
    let mut targets = [0; 32];
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        if index[l] >= i.count {
            let text = format!("the index {} is beyond the {} branch targets", index[l], i.count);
            return cx.fail(FaultKind::InvalidPc, None, Some(l), &text);
        }
        targets[l] = cx.listed(i, index[l] as usize);
    }
    cx.scatter(m, &targets)
}

pub(super) unsafe fn run_exit(cx: &mut Cx<'_>, _: &Instr, m: u32) -> Flow {
    cx.warp.live &= !m;
    crate::machine::sync::lanes_exited(cx, m.count_ones());
    cx.progress = true;
    let rest = cx.mask & !m;
    cx.mask = rest;
    if rest != 0 {
        return Flow::Next;
    }
    Flow::Exit
}

unsafe fn run_trap(cx: &mut Cx<'_>, _: &Instr, _: u32) -> Flow {
    cx.fail(FaultKind::LaunchFailed, None, None, "the kernel executed trap")
}

unsafe fn run_breakpoint(cx: &mut Cx<'_>, _: &Instr, _: u32) -> Flow {
    cx.fail(FaultKind::LaunchFailed, None, None, "the kernel executed brkpt and no debugger is attached")
}

unsafe fn run_sleep(cx: &mut Cx<'_>, _: &Instr, _: u32) -> Flow {
    cx.polls += 1;
    cx.awaits_other = true;
    Flow::Yield
}

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    f.flag("uni");
    match f.ins.root {
        "bra" => {
            f.arity(lw, 1..=1)?;
            let Operand::Ident(name, 0) = ops[0] else { return lw.refuse("the target is not a label") };
            let label = lw.label(name, f.ins.scope)?;
            lw.emit(MInst::new(jump()).exit(Exit::Branch(label)).taint(TaintRule::Decide));
        }
        "brx" => {
            f.arity(lw, 2..=2)?;
            if !f.flag("idx") {
                return lw.refuse("only brx.idx exists");
            }
            let a = lw.src(&ops[0], Ty::U32)?;
            let Operand::Ident(list, 0) = ops[1] else { return lw.refuse("the second operand names no target list") };
            let Some((_, names, scope)) = lw.f.target_lists.iter().find(|(name, ..)| *name == list) else {
                return lw.refuse(format!("'{list}' is no .branchtargets list"));
            };
            let labels = names.iter().map(|n| lw.label(n, *scope)).collect::<Decoded<Vec<u32>>>()?;
            lw.emit(MInst::new(OpPair::same(run_table)).a(a).exit(Exit::Table(labels)).taint(TaintRule::Decide));
        }
        "exit" => lw.emit(MInst::new(OpPair::same(run_exit)).exit(Exit::Leave)),
        "ret" => emit_return(lw),
        "trap" => lw.emit(MInst::new(OpPair::same(run_trap))),
        "brkpt" => lw.emit(MInst::new(OpPair::same(run_breakpoint))),
        "nanosleep" => {
            f.arity(lw, 1..=1)?;
            f.ty(lw)?;
            let a = lw.src(&ops[0], Ty::U32)?;
            lw.emit(MInst::new(OpPair::same(run_sleep)).a(a));
        }
        _ => {
            let most = if f.flag("mask") { 0xffff } else { 15 };
            if !matches!(ops.first(), Some(Operand::Int(event)) if (0..=most).contains(event)) {
                return lw.refuse(format!("names a constant from 0 to {most}"));
            }
        }
    }
    Ok(())
}

/// A return to the caller; an exit in an entry.
fn emit_return(lw: &mut Lower<'_, '_>) {
    if lw.f.entry {
        lw.emit(MInst::new(OpPair::same(run_exit)).exit(Exit::Leave));
        return;
    }
    super::call::emit_return(lw);
}

/// What stands behind the last instruction.
pub fn implicit_return(lw: &mut Lower<'_, '_>) {
    emit_return(lw);
}
