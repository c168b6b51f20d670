//! `.param` variables of function bodies: their words are registers.

use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::{OpPair, bin, un};
use crate::machine::lower::{Decoded, Lower, MInst, Opnd, TaintRule, Width};
use crate::machine::taint;
use crate::ptx::{Operand, Space, Ty};

/// A `.param` variable of a function body: its words are registers.
pub(super) fn param_variable<'a>(lw: &mut Lower<'_, 'a>, o: &Operand<'a>, bytes: u32) -> Decoded<(Vec<Opnd>, u32)> {
    let Operand::Address(base, offset) = o else { return lw.refuse("an operand is not an address") };
    let Operand::Var(v, _) = **base else { return lw.refuse("a function's parameters are addressed by name only") };
    let var = &lw.f.variables[v as usize];
    if var.space != Space::Param || *offset < 0 || *offset as u64 + u64::from(bytes) > var.size {
        return lw.refuse("the access leaves its .param variable");
    }
    Ok((lw.param_words(v), *offset as u32))
}

pub(super) fn load_function_param<'a>(
    lw: &mut Lower<'_, 'a>,
    o: &Operand<'a>,
    dests: &[Opnd],
    register: Ty,
    ty: Ty,
) -> Decoded {
    let (words, offset) = param_variable(lw, o, ty.bytes() * dests.len() as u32)?;
    for (k, d) in dests.iter().enumerate() {
        let at = offset + k as u32 * ty.bytes();
        let word = words[at as usize / 4];
        let i = match ty.bits() {
            64 => {
                let op = bin(|a: u32, b: u32| u64::from(a) | u64::from(b) << 32);
                MInst::new(op).a(word).b(words[at as usize / 4 + 1])
            }
            32 if register.bits() == 32 => MInst::new(un(|a: u32| a)).a(word),
            32 if ty.is_signed() => MInst::new(un(|a: i32| i64::from(a))).a(word),
            32 => MInst::new(un(|a: u32| u64::from(a))).a(word),
            bits @ (8 | 16) => {
                let shift = lw.k32(8 * (at % 4));
                let op = match (bits, ty.is_signed(), register.bits()) {
                    (8, false, 64) => bin(|a: u32, b: u32| u64::from((a >> b) as u8)),
                    (8, false, _) => bin(|a: u32, b: u32| u32::from((a >> b) as u8)),
                    (8, true, 64) => bin(|a: u32, b: u32| i64::from((a >> b) as i8)),
                    (8, true, 32) => bin(|a: u32, b: u32| i32::from((a >> b) as i8)),
                    (8, true, _) => bin(|a: u32, b: u32| i16::from((a >> b) as i8)),
                    (_, false, 64) => bin(|a: u32, b: u32| u64::from((a >> b) as u16)),
                    (_, false, _) => bin(|a: u32, b: u32| u32::from((a >> b) as u16)),
                    (_, true, 64) => bin(|a: u32, b: u32| i64::from((a >> b) as i16)),
                    (_, true, 32) => bin(|a: u32, b: u32| i32::from((a >> b) as i16)),
                    (_, true, _) => bin(|a: u32, b: u32| (a >> b) as i16),
                };
                MInst::new(op).a(word).b(shift)
            }
            _ => return lw.refuse("this type cannot be passed"),
        };
        lw.emit(i.d(*d));
    }
    Ok(())
}

pub(super) fn store_function_param(
    lw: &mut Lower<'_, '_>,
    words: &[Opnd],
    offset: u32,
    sources: &[Opnd],
    ty: Ty,
) -> Decoded {
    for (k, s) in sources.iter().enumerate() {
        let at = offset + k as u32 * ty.bytes();
        let word = words[at as usize / 4];
        match ty.bits() {
            64 => {
                lw.emit(MInst::new(un(|a: u64| a as u32)).d(word).a(*s));
                lw.emit(MInst::new(un(|a: u64| (a >> 32) as u32)).d(words[at as usize / 4 + 1]).a(*s));
            }
            32 => lw.emit(MInst::new(un(|a: u32| a)).d(word).a(*s)),
            bits @ (8 | 16) => {
                // Parts of a word that were not written yet may hold anything.
                let shift = lw.k32(8 * (at % 4));
                let mask = lw.k32(((1u64 << bits) - 1) as u32);
                let t = lw.temp(Width::W32);
                lw.emit(MInst::new(bin(|a: u32, b: u32| a & b)).d(t).a(*s).b(mask));
                let op = OpPair::same(insert_part);
                lw.emit(MInst::new(op).d(word).a(t).b(shift).c(mask).keeps().taint(TaintRule::Own));
            }
            _ => return lw.refuse("this type cannot be passed"),
        }
    }
    Ok(())
}

/// Puts `a` (below the mask `c`) at bit `b` of `d`.
pub(super) unsafe fn insert_part(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let out = std::array::from_fn(|l| {
        let (v, at, mask): (u32, u32, u32) = (cx.lane(i.a, l), cx.lane(i.b, l), cx.lane(i.c, l));
        (cx.lane::<u32>(i.d, l) & !(mask << at)) | v << at
    });
    cx.put(i.d, &out, m);
    taint::set(cx, i.d, m, 0);
    Flow::Next
}
