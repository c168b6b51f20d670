//! Calls.
//!
//! Arguments, results and the return address pass through fixed slots, whichever function is called; the callee moves
//! them to registers of its own at once. Registers of a function have fixed places in the arena, so a function that
//! may be called while it is active saves its frame around such calls.

use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::{OpPair, bin, un};
use crate::machine::lower::module::{ARGUMENT_SLOT, RETURN_SLOT, Symbol};
use crate::machine::lower::{Decoded, Exit, Form, Lower, MInst, Opnd, Special, TaintRule, Width};
use crate::machine::program::LoadErrorKind;
use crate::ptx::{Formal, Operand, Space, Ty};

/// Function addresses: this plus the function's number.
pub const FUNCTION_WINDOW: u64 = 0x0400_0000_0000_0000;

fn move32() -> OpPair {
    un(|a: u32| a)
}

/// Argument word `k`.
fn argument(k: usize) -> Opnd {
    Opnd::F(ARGUMENT_SLOT + 128 * k as u32)
}

fn result(lw: &Lower<'_, '_>, k: usize) -> Opnd {
    Opnd::F(ARGUMENT_SLOT + 128 * (lw.cx.call_words + k as u32))
}

/// Words of a `.reg` value and back.
fn split_register(lw: &mut Lower<'_, '_>, value: Opnd, ty: Ty) -> Decoded<Vec<Opnd>> {
    match Width::of(ty) {
        Width::W32 => Ok(vec![value]),
        Width::W64 => {
            let (low, high) = (lw.temp(Width::W32), lw.temp(Width::W32));
            lw.emit(MInst::new(un(|a: u64| a as u32)).d(low).a(value));
            lw.emit(MInst::new(un(|a: u64| (a >> 32) as u32)).d(high).a(value));
            Ok(vec![low, high])
        }
        _ => lw.refuse("predicates and 128-bit registers cannot be passed"),
    }
}

fn join_register(lw: &mut Lower<'_, '_>, words: &[Opnd], ty: Ty, d: Opnd) {
    if Width::of(ty) == Width::W64 {
        let op = bin(|a: u32, b: u32| u64::from(a) | u64::from(b) << 32);
        lw.emit(MInst::new(op).d(d).a(words[0]).b(words[1]));
    } else {
        lw.emit(MInst::new(move32()).d(d).a(words[0]));
    }
}

fn formal_words(p: &Formal<'_>) -> usize {
    p.size.div_ceil(4).max(1) as usize
}

/// Moves the arguments to the function's own registers.
pub fn prologue(lw: &mut Lower<'_, '_>) -> Decoded {
    if lw.f.entry {
        return Ok(());
    }
    lw.return_address = lw.temp(Width::W32);
    let ra = lw.return_address;
    lw.emit(MInst::new(move32()).d(ra).a(Opnd::F(RETURN_SLOT)));
    super::stack::prologue(lw);
    let mut k = 0;
    for p in lw.f.params.clone() {
        let words: Vec<Opnd> = (k..k + formal_words(&p)).map(argument).collect();
        k += words.len();
        if p.space == Space::Reg {
            join_register(lw, &words, p.ty, Opnd::R(p.id));
        } else {
            for (d, a) in lw.param_words(p.id).into_iter().zip(words) {
                lw.emit(MInst::new(move32()).d(d).a(a));
            }
        }
    }
    Ok(())
}

/// Moves the results to their slots and goes back.
pub fn emit_return(lw: &mut Lower<'_, '_>) {
    super::stack::epilogue(lw);
    let mut k = 0;
    for p in lw.f.returns.clone() {
        let words = if p.space == Space::Reg {
            split_register(lw, Opnd::R(p.id), p.ty).unwrap_or_default()
        } else {
            lw.param_words(p.id)
        };
        for (n, a) in words.into_iter().enumerate() {
            let d = result(lw, k + n);
            lw.emit(MInst::new(move32()).d(d).a(a).taint(TaintRule::Own));
        }
        k += formal_words(&p);
    }
    let ra = lw.return_address;
    lw.emit(MInst::new(OpPair::same(run_return)).a(ra).exit(Exit::Leave));
}

unsafe fn run_return(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let targets = cx.lanes::<u32>(i.a);
    let first = targets[m.trailing_zeros() as usize];
    if m == cx.mask && (0..32).all(|l| m >> l & 1 == 0 || targets[l] == first) {
        return cx.branch(m, first);
    }
    cx.scatter(m, &targets)
}

/// `x` is the function.
unsafe fn run_call(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let back = cx.pc + 1;
    cx.put(RETURN_SLOT, &[back; 32], m);
    let target = cx.launch.code.functions[i.x as usize].start;
    cx.branch(m, target)
}

/// `a` holds function addresses.
unsafe fn run_indirect(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let back = cx.pc + 1;
    cx.put(RETURN_SLOT, &[back; 32], m);
    let tokens = cx.lanes::<u64>(i.a);
    let mut targets = [0; 32];
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let k = tokens[l].wrapping_sub(FUNCTION_WINDOW);
        match cx.launch.code.functions.get(k as usize).filter(|f| f.frame.1 != 0 && k < 1 << 20) {
            Some(f) => targets[l] = f.start,
            None => {
                let text = format!("a call to {:#x}, which is no function", tokens[l]);
                return cx.fail(FaultKind::InvalidPc, None, Some(l), &text);
            }
        }
    }
    cx.scatter(m, &targets)
}

/// Saves the frame of function `x` for the active lanes.
unsafe fn run_save(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let (from, to) = cx.launch.code.functions[i.x as usize].frame;
    cx.warp.saved.resize_with(32, Vec::new);
    let fp = Special::FramePointer.offset();
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        if cx.warp.saved[l].len() >= 4096 {
            return cx.fail(FaultKind::LaunchFailed, None, Some(l), "recursion deeper than 4096 calls");
        }
        // The whole frame; only this lane's part of it is put back.
        // SAFETY: the frame lies in the arena.
        let all = (from..to).step_by(4).map(|at| unsafe { *cx.slot(at).cast::<u32>() }).collect();
        cx.warp.saved[l].push(all);
    }
    let mut pointer = cx.lanes::<u64>(fp);
    let level = u64::from(cx.launch.code.level_bytes);
    pointer.iter_mut().for_each(|p| *p += level);
    cx.put(fp, &pointer, m);
    Flow::Next
}

/// Puts the frame of function `x` back.
unsafe fn run_restore(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let (from, _) = cx.launch.code.functions[i.x as usize].frame;
    let layout = &cx.launch.code.layouts[i.x as usize];
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let Some(words) = cx.warp.saved.get_mut(l).and_then(Vec::pop) else { continue };
        for (at, width) in layout {
            let first = ((at - from) / 4) as usize;
            let p = cx.slot(*at);
            // SAFETY: a register of the function, with its width.
            unsafe {
                match width {
                    Width::P => {
                        let bit = 1 << l;
                        *p.cast::<u32>() = (*p.cast::<u32>() & !bit) | (words[first] & bit);
                    }
                    width => {
                        let n = width.bytes() as usize / 128;
                        for w in 0..n {
                            p.cast::<u32>().add(l * n + w).write(words[first + l * n + w]);
                        }
                    }
                }
            }
        }
    }
    let fp = Special::FramePointer.offset();
    let mut pointer = cx.lanes::<u64>(fp);
    let level = u64::from(cx.launch.code.level_bytes);
    pointer.iter_mut().for_each(|p| *p = p.wrapping_sub(level));
    cx.put(fp, &pointer, m);
    Flow::Next
}

/// Decodes `call`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    f.flag("uni");
    let mut ops = f.operands().iter();
    let empty: &[Operand<'a>] = &[];
    let mut next = ops.next();
    let returns = match next {
        Some(Operand::List(list)) => {
            next = ops.next();
            &list[..]
        }
        _ => empty,
    };
    let Some(callee) = next else { return lw.refuse("names no function") };
    let mut next = ops.next();
    let arguments = match next {
        Some(Operand::List(list)) => {
            next = ops.next();
            &list[..]
        }
        _ => empty,
    };
    let function = match callee {
        Operand::Ident(name, 0) => match lw.cx.symbol(name) {
            Some(Symbol::Function(k)) => Some(k),
            _ => return lw.error(LoadErrorKind::Link, format!("the function '{name}' is not defined")),
        },
        Operand::Reg(_) => None,
        _ => return lw.refuse("the callee is not a function or register"),
    };
    let (formal_returns, formal_params) = match function {
        Some(k) => {
            let g = &lw.cx.ast.functions[k];
            (g.returns.clone(), g.params.clone())
        }
        None => {
            let Some(Operand::Ident(name, 0)) = next else {
                return lw.refuse("an indirect call needs a prototype or a list of targets");
            };
            if let Some(p) = lw.f.prototypes.iter().find(|p| p.name == *name) {
                (p.returns.clone(), p.params.clone())
            } else if let Some((_, names, _)) = lw.f.target_lists.iter().find(|(n, ..)| n == name) {
                let Some(Symbol::Function(k)) = names.first().and_then(|n| lw.cx.symbol(n)) else {
                    return lw.refuse(format!("'{name}' lists no functions"));
                };
                let g = &lw.cx.ast.functions[k];
                (g.returns.clone(), g.params.clone())
            } else {
                return lw.refuse(format!("'{name}' is no prototype"));
            }
        }
    };
    let defined = function.is_none_or(|k| lw.cx.ast.functions[k].defined);
    let (formal_params, formal_returns) = if defined || arguments.len() == formal_params.len() {
        (formal_params, formal_returns)
    } else {
        return lw.refuse(format!("passes {} arguments of {}", arguments.len(), formal_params.len()));
    };
    if arguments.len() != formal_params.len() || returns.len() != formal_returns.len() {
        return lw.refuse(format!(
            "passes {} arguments and takes {} results; the function has {} and {}",
            arguments.len(),
            returns.len(),
            formal_params.len(),
            formal_returns.len()
        ));
    }
    let mut words = Vec::new();
    for (a, p) in arguments.iter().zip(&formal_params) {
        let given = match a {
            Operand::Var(v, 0) if lw.f.variables[*v as usize].space == Space::Param => lw.param_words(*v),
            other => {
                let value = lw.src(other, p.ty)?;
                split_register(lw, value, p.ty)?
            }
        };
        if given.len() != formal_words(p) {
            return lw.refuse(format!("an argument has {} words, the parameter {}", given.len(), formal_words(p)));
        }
        words.extend(given);
    }
    if let Some(k) = function
        && !defined
    {
        let name = lw.cx.ast.functions[k].name;
        let mut results = Vec::new();
        for r in returns {
            match r {
                Operand::Var(v, 0) => results.extend(lw.param_words(*v)),
                _ => return lw.refuse("the result of a system function is a .param"),
            }
        }
        return super::special::emit(lw, name, &words, &results);
    }
    for (k, a) in words.into_iter().enumerate() {
        // Unset words of a structure may be passed on.
        lw.emit(MInst::new(move32()).d(argument(k)).a(a));
    }
    let caller = lw.index;
    let recursive = match function {
        Some(k) => k == caller || lw.cx.reaches[k][caller],
        None => lw.cx.recursive[caller],
    } && !lw.f.entry;
    if recursive {
        lw.cx.specials |= 1 << Special::FramePointer as u64;
        lw.emit(MInst::new(OpPair::same(run_save)).x(caller as u32));
    }
    match function {
        Some(k) => lw.emit(MInst::new(OpPair::same(run_call)).x(k as u32)),
        None => {
            let a = lw.src(callee, Ty::U64)?;
            lw.emit(MInst::new(OpPair::same(run_indirect)).a(a).taint(TaintRule::Decide));
        }
    }
    if recursive {
        lw.emit(MInst::new(OpPair::same(run_restore)).x(caller as u32));
    }
    let mut k = 0;
    for (r, p) in returns.iter().zip(&formal_returns) {
        let from: Vec<Opnd> = (k..k + formal_words(p)).map(|k| result(lw, k)).collect();
        k += from.len();
        match r {
            Operand::Var(v, 0) if lw.f.variables[*v as usize].space == Space::Param => {
                let to = lw.param_words(*v);
                if to.len() != from.len() {
                    return lw.refuse(format!("a result has {} words, {} are taken", from.len(), to.len()));
                }
                for (d, a) in to.into_iter().zip(from) {
                    lw.emit(MInst::new(move32()).d(d).a(a));
                }
            }
            Operand::Reg(_) | Operand::Sink => {
                let d = lw.dst(r, p.ty)?;
                join_register(lw, &from, p.ty, d);
            }
            _ => return lw.refuse("a result is a .param or a register"),
        }
    }
    Ok(())
}
