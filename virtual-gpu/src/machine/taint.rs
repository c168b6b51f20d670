//! Uninitialised values as taint.
//!
//! A warp tracks taint only while some register of it holds an uninitialised value: one mask of lanes per register. Loads, stores and
//! exchanges keep track themselves; other results are tainted by their sources. It is reported where it decides an
//! address, a branch or a guard, and where it is stored to global memory.

use super::exec::{Arena, Cx, Instr};
use super::fault::FaultKind;
use super::lower::TaintRule;

fn mask_at(cx: &mut Cx<'_>, offset: u32) -> Option<*mut u32> {
    let arena = cx.warp.taint.as_mut()?;
    // The word of the taint arena at a register's own offset belongs to it: registers do not overlap.
    (offset & 1 == 0).then(|| arena.base().wrapping_add(offset as usize).cast())
}

/// Lanes of a register that are tainted.
pub(super) fn of(cx: &mut Cx<'_>, offset: u32) -> u32 {
    // SAFETY: offsets that the decoder made lie in the arena, and the taint arena is as large and as aligned.
    mask_at(cx, offset).map_or(0, |p| unsafe { *p })
}

/// Sets the tainted lanes of a register among those of `mask`.
pub(super) fn set(cx: &mut Cx<'_>, offset: u32, mask: u32, tainted: u32) {
    if cx.warp.taint.is_none() {
        if tainted & mask == 0 {
            return;
        }
        let bytes = cx.warp.arena.len();
        cx.warp.taint = Some(Arena::new(bytes));
        cx.tainted = true;
    }
    if let Some(p) = mask_at(cx, offset) {
        // SAFETY: as in `of`.
        unsafe { *p = (*p & !mask) | (tainted & mask) }
    }
}

/// Checks what decides something; runs before the instruction.
pub(super) fn before(cx: &mut Cx<'_>, i: &Instr, mask: u32) -> Result<(), ()> {
    let guard = of(cx, i.guard) & cx.mask;
    let meta = &cx.launch.code.meta[cx.pc as usize];
    let mut bad = guard;
    let mut what = "the guard of this instruction depends on an uninitialised value";
    if bad == 0 && matches!(meta.taint, TaintRule::Address | TaintRule::Decide) {
        for u in &meta.uses {
            bad |= of(cx, *u) & mask;
        }
        what = if meta.taint == TaintRule::Address {
            "this address depends on an uninitialised value"
        } else {
            "an uninitialised value decides what this instruction does"
        };
    }
    if bad != 0 && cx.launch.checks.uninitialised {
        let lane = bad.trailing_zeros() as usize;
        cx.fail(FaultKind::LaunchFailed, Some("uninitialised"), Some(lane), what);
        return Err(());
    }
    Ok(())
}

/// Carries taint from sources to results; runs after the instruction.
pub(super) fn after(cx: &mut Cx<'_>, i: &Instr, mask: u32, pc: u32) {
    let code = cx.launch.code;
    let Some(meta) = code.meta.get(pc as usize) else { return };
    match meta.taint {
        TaintRule::Flow => {
            let t = meta.uses.iter().fold(0, |t, u| t | of(cx, *u));
            for d in &meta.defs {
                set(cx, *d, mask, t);
            }
        }
        TaintRule::Spread => {
            let t = meta.uses.iter().fold(0, |t, u| t | of(cx, *u));
            for d in &meta.defs {
                set(cx, *d, mask, if t & mask != 0 { u32::MAX } else { 0 });
            }
        }
        TaintRule::Select => {
            let chosen = cx.mask_of(i.c);
            let t = (of(cx, i.a) & chosen) | (of(cx, i.b) & !chosen) | of(cx, i.c);
            set(cx, i.d, mask, t);
        }
        TaintRule::Decide => {
            for d in &meta.defs {
                set(cx, *d, mask, 0);
            }
        }
        TaintRule::Address | TaintRule::Own => {}
    }
}
