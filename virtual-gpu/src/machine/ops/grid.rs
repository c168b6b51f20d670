//! `griddepcontrol` and `setmaxnreg`.

use super::mma::whole_warp;
use crate::machine::exec::{Cx, Flow, Instr, Wait};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst};
use crate::machine::registers::Change;
use crate::ptx::{Operand, Ty};

unsafe fn launch_dependents(cx: &mut Cx<'_>, _: &Instr, _: u32) -> Flow {
    let block = cx.warp.cta;
    cx.launch.block_triggers(&mut cx.ctas[block]);
    cx.progress = true;
    Flow::Next
}

unsafe fn wait_for_grid(cx: &mut Cx<'_>, _: &Instr, _: u32) -> Flow {
    if cx.launch.dependence.prerequisite.is_some_and(|grid| !grid.is_open()) {
        return Flow::Block(Wait::Retry);
    }
    std::sync::atomic::fence(std::sync::atomic::Ordering::SeqCst);
    // What is visible to one thread is visible to the grid; blocks of a cluster may tell each other.
    cx.ctas[0].objects.waited_for_grid = true;
    cx.progress = true;
    Flow::Next
}

/// `imm` the count; `x` bit 0: more registers.
unsafe fn set_registers(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    let (warp, pc) = (cx.warp.index as usize, cx.pc);
    let (launch, block) = (cx.launch, cx.warp.cta);
    let pool = &mut cx.ctas[block].objects.registers;
    match pool.change(launch, warp, pc, i.imm as u32, i.x & 1 != 0) {
        Change::Done => {
            cx.progress = true;
            Flow::Next
        }
        Change::Short(missing) => Flow::Block(Wait::Registers(missing)),
        Change::Wrong(text) => cx.fail(FaultKind::IllegalInstruction, Some("convergence"), None, &text),
    }
}

/// Decodes both.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    if lw.cx.compute < (9, 0) {
        return lw.refuse("needs sm_90");
    }
    if f.ins.root == "griddepcontrol" {
        let op: crate::machine::exec::OpFn = match f.one_of(&["launch_dependents", "wait"]) {
            Some("wait") => wait_for_grid,
            Some(_) => launch_dependents,
            None => return lw.refuse("names neither .launch_dependents nor .wait"),
        };
        f.arity(lw, 0..=0)?;
        lw.emit(MInst::new(OpPair::same(op)));
        return Ok(());
    }
    let Some(direction) = f.one_of(&["inc", "dec"]) else { return lw.refuse("names neither .inc nor .dec") };
    if !f.flag("sync") || !f.flag("aligned") || f.ty(lw)? != Ty::U32 {
        return lw.refuse("is .sync.aligned.u32");
    }
    f.arity(lw, 1..=1)?;
    let count = match f.operands()[0] {
        Operand::Int(n) if (24..=256).contains(&n) && n % 8 == 0 => n,
        _ => return lw.refuse("the register count is a constant multiple of 8 from 24 to 256"),
    };
    lw.emit(MInst::new(OpPair::same(set_registers)).imm(count).x(u32::from(direction == "inc")));
    Ok(())
}
