//! Moves, packing, permutation and address conversions.

use super::address::{LOCAL_WINDOW, PARAM_WINDOW, SHARED_WINDOW, WINDOW_BITS};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::{Lane, OpPair, bin, ter, un};
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, Width};
use crate::ptx::{Operand, Ty};

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    match f.ins.root {
        "mov" => mov(lw, f),
        "prmt" => prmt(lw, f),
        "isspacep" => isspacep(lw, f),
        "cvta" => cvta(lw, f),
        "mapa" => mapa(lw, f),
        _ => getctarank(lw, f),
    }
}

/// A copy of a width.
pub fn copy(width: Width) -> OpPair {
    match width {
        Width::P => un(|a: bool| a),
        Width::W32 => un(|a: u32| a),
        Width::W64 => un(|a: u64| a),
        Width::W128 => un(|a: [u64; 2]| a),
    }
}

fn mov<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ty = f.ty(lw)?;
    if ty.bits() == 8 || matches!(ty, Ty::F16 | Ty::BF16) {
        return lw.refuse("does not take this type");
    }
    f.arity(lw, 2..=2)?;
    let ops = f.operands();
    if let Some(n) = f.find(|m| ["v2", "v4"].iter().position(|v| *v == m)) {
        return mov_vector(lw, &ops[0], &ops[1], ty, 2 << n);
    }
    match (&ops[0], &ops[1]) {
        (Operand::Vector(parts), source) if parts.len() > 1 => unpack(lw, parts, source, ty),
        (d, Operand::Vector(parts)) if parts.len() > 1 => pack(lw, d, parts, ty),
        (d, source) => {
            let a = match source {
                // Registers of equal width move whatever their type.
                Operand::Reg(r) if Width::of(lw.reg_ty(*r)) == Width::of(ty) => Opnd::R(*r),
                other => lw.src(other, ty)?,
            };
            let d = match d {
                Operand::Reg(r) if Width::of(lw.reg_ty(*r)) == Width::of(ty) => Opnd::R(*r),
                other => lw.dst(other, ty)?,
            };
            lw.emit(MInst::new(copy(Width::of(ty))).d(d).a(a));
            Ok(())
        }
    }
}

/// Component by component; a special register of several components such as `%tid` gives them all.
fn mov_vector<'a>(lw: &mut Lower<'_, 'a>, d: &Operand<'a>, s: &Operand<'a>, ty: Ty, count: usize) -> Decoded {
    let defs = lw.dst_vector(d, ty)?;
    let sources = match s {
        Operand::Special(name) if !name.contains('.') => ["x", "y", "z", "w"]
            .iter()
            .take(count)
            .map(|c| lw.special(&format!("{name}.{c}"), ty))
            .collect::<Decoded<_>>()?,
        other => lw.src_vector(other, ty)?,
    };
    if defs.len() != count || sources.len() != count {
        return lw.refuse(format!("moves {count} components"));
    }
    // Through temporaries: a destination may be a later source.
    let mut held = Vec::new();
    for s in &sources {
        let t = lw.temp_for(ty);
        lw.emit(MInst::new(copy(Width::of(ty))).d(t).a(*s));
        held.push(t);
    }
    for (d, s) in defs.iter().zip(held) {
        lw.emit(MInst::new(copy(Width::of(ty))).d(*d).a(s));
    }
    Ok(())
}

/// Bytes of a part of a vector: by its register, else an equal share.
fn part_ty(ty: Ty, n: usize) -> Option<Ty> {
    Some(match ty.bits() / n as u32 {
        8 => Ty::B8,
        16 => Ty::B16,
        32 => Ty::B32,
        64 => Ty::B64,
        _ => return None,
    })
}

fn pack<'a>(lw: &mut Lower<'_, 'a>, d: &Operand<'a>, parts: &[Operand<'a>], ty: Ty) -> Decoded {
    let Some(part) = part_ty(ty, parts.len()) else { return lw.refuse("the parts do not make up the type") };
    let mut sources = Vec::new();
    for p in parts {
        sources.push(lw.wide_src(p, part)?.0);
    }
    let d = lw.dst(d, ty)?;
    let op = match (ty.bits(), parts.len()) {
        (32, 2) => bin(|a: u16, b: u16| u32::from(a) | u32::from(b) << 16),
        (64, 2) => bin(|a: u32, b: u32| u64::from(a) | u64::from(b) << 32),
        (16, 2) => bin(|a: u32, b: u32| a & 0xff | (b & 0xff) << 8),
        (128, 2) => bin(|a: u64, b: u64| [a, b]),
        (_, 4) => OpPair::same(pack4),
        _ => return lw.refuse("this packing does not exist"),
    };
    if parts.len() == 2 {
        lw.emit(MInst::new(op).d(d).a(sources[0]).b(sources[1]));
    } else {
        lw.emit(MInst::new(op).d(d).list(&[], &sources).x(ty.bits()));
    }
    Ok(())
}

/// Four parts of a register of `x` bits.
unsafe fn pack4(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let parts: [[u32; 32]; 4] = std::array::from_fn(|k| cx.lanes::<u32>(cx.listed(i, k)));
    match i.x {
        32 => {
            let out = std::array::from_fn(|l| (0..4).fold(0u32, |s, k| s | (parts[k][l] & 0xff) << (8 * k)));
            cx.put(i.d, &out, m);
        }
        64 => {
            let out: [u64; 32] =
                std::array::from_fn(|l| (0..4).fold(0, |s, k| s | u64::from(parts[k][l] & 0xffff) << (16 * k)));
            cx.put(i.d, &out, m);
        }
        _ => {
            let out: [[u64; 2]; 32] = std::array::from_fn(|l| {
                let two = |k: usize| u64::from(parts[k][l]) | u64::from(parts[k + 1][l]) << 32;
                [two(0), two(2)]
            });
            cx.put(i.d, &out, m);
        }
    }
    Flow::Next
}

fn unpack<'a>(lw: &mut Lower<'_, 'a>, parts: &[Operand<'a>], source: &Operand<'a>, ty: Ty) -> Decoded {
    let Some(part) = part_ty(ty, parts.len()) else { return lw.refuse("the parts do not make up the type") };
    let mut a = lw.src(source, ty)?;
    // A destination may be the source's own register: keep the value.
    if parts.iter().any(|p| matches!((p, a), (Operand::Reg(r), Opnd::R(s)) if *r == s)) {
        let t = lw.temp_for(ty);
        lw.emit(MInst::new(copy(Width::of(ty))).d(t).a(a));
        a = t;
    }
    for (k, p) in parts.iter().enumerate() {
        if *p == Operand::Sink {
            continue;
        }
        let (d, _) = lw.wide_dst(p, part)?;
        let op = match (ty.bits(), part.bits(), k) {
            (32, 16, 0) => un(|a: u32| a & 0xffff),
            (32, 16, _) => un(|a: u32| a >> 16),
            (64, 32, 0) => un(|a: u64| a as u32),
            (64, 32, _) => un(|a: u64| (a >> 32) as u32),
            (128, 64, 0) => un(|a: [u64; 2]| a[0]),
            (128, 64, _) => un(|a: [u64; 2]| a[1]),
            (16 | 32, 8, _) => {
                let shift = lw.k32(8 * k as u32);
                lw.emit(MInst::new(bin(|a: u32, b: u32| a >> b & 0xff)).d(d).a(a).b(shift));
                continue;
            }
            (64, 16, _) => {
                let shift = lw.k32(16 * k as u32);
                lw.emit(MInst::new(bin(|a: u64, b: u32| (a >> b) as u16)).d(d).a(a).b(shift));
                continue;
            }
            (128, 32, _) => {
                let shift = lw.k32(32 * (k as u32 & 1));
                let op = if k < 2 {
                    bin(|a: [u64; 2], b: u32| (a[0] >> b) as u32)
                } else {
                    bin(|a: [u64; 2], b: u32| (a[1] >> b) as u32)
                };
                lw.emit(MInst::new(op).d(d).a(a).b(shift));
                continue;
            }
            _ => return lw.refuse("this unpacking does not exist"),
        };
        lw.emit(MInst::new(op).d(d).a(a));
    }
    Ok(())
}

#[inline(always)]
fn permute(a: u32, b: u32, selector: u32) -> u32 {
    let bytes = u64::from(a) | u64::from(b) << 32;
    let mut out = 0;
    for k in 0..4 {
        let s = selector >> (4 * k);
        let byte = (bytes >> (8 * (s & 7))) as u32 & 0xff;
        let byte = if s & 8 != 0 { if byte & 0x80 != 0 { 0xff } else { 0 } } else { byte };
        out |= byte << (8 * k);
    }
    out
}

fn prmt<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    if f.ty(lw)? != Ty::B32 {
        return lw.refuse("takes .b32 alone");
    }
    let op = match f.one_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]) {
        None => ter(permute_default),
        Some("f4e") => ter(|a: u32, b: u32, c: u32| permute(a, b, 0x3210 + 0x1111 * (c & 3))),
        Some("b4e") => ter(|a: u32, b: u32, c: u32| {
            let n = c & 3;
            permute(a, b, (0..4).fold(0, |s, k| s | (n.wrapping_sub(k) & 7) << (4 * k)))
        }),
        Some("rc8") => ter(|a: u32, b: u32, c: u32| permute(a, b, 0x1111 * (c & 3))),
        Some("ecl") => {
            ter(|a: u32, b: u32, c: u32| permute(a, b, (0..4).fold(0, |s, k| s | (c & 3).max(k) << (4 * k))))
        }
        Some("ecr") => {
            ter(|a: u32, b: u32, c: u32| permute(a, b, (0..4).fold(0, |s, k| s | (c & 3).min(k) << (4 * k))))
        }
        Some(_) => ter(|a: u32, b: u32, c: u32| permute(a, b, if c & 1 == 0 { 0x1010 } else { 0x3232 })),
    };
    super::bits::simple(lw, f, op, &[Ty::B32, Ty::B32, Ty::B32, Ty::B32])
}

#[inline(always)]
fn permute_default(a: u32, b: u32, c: u32) -> u32 {
    permute(a, b, c)
}

/// `x`: 0 global, 1 shared of this block, 2 local, 3 const, 4 param, 5 shared of the cluster.
unsafe fn run_isspacep(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let a = cx.lanes::<u64>(i.a);
    let out = std::array::from_fn(|l| {
        let window = a[l] & !((1 << WINDOW_BITS) - 1);
        match i.x {
            1 => window == SHARED_WINDOW && a[l] as u32 >> 24 == 0,
            5 => window == SHARED_WINDOW,
            2 => window == LOCAL_WINDOW,
            3 => window == 0 && cx.launch.memory.is_constant(a[l]),
            4 => window == PARAM_WINDOW,
            _ => window == 0 && !cx.launch.memory.is_constant(a[l]),
        }
    });
    cx.put(i.d, &out, m);
    Flow::Next
}

fn isspacep<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    f.arity(lw, 2..=2)?;
    let ops = f.operands();
    let x = match f.find(space_name) {
        Some(x) => x,
        None => return lw.refuse("names no state space"),
    };
    let a = lw.src(&ops[1], Ty::U64)?;
    let d = lw.dst(&ops[0], Ty::Pred)?;
    lw.emit(MInst::new(OpPair::same(run_isspacep)).d(d).a(a).x(x));
    Ok(())
}

fn space_name(name: &str) -> Option<u32> {
    Some(match name {
        "global" => 0,
        "shared" | "shared::cta" => 1,
        "local" => 2,
        "const" => 3,
        "param" | "param::entry" => 4,
        "shared::cluster" => 5,
        _ => return None,
    })
}

fn cvta<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ty = f.ty(lw)?;
    f.arity(lw, 2..=2)?;
    let ops = f.operands();
    let to = f.flag("to");
    let Some(space) = f.find(space_name) else { return lw.refuse("names no state space") };
    if ty.bits() != 64 {
        return lw.refuse("generic addresses have 64 bits");
    }
    let a = lw.src(&ops[1], ty)?;
    let window = match space {
        1 | 5 => SHARED_WINDOW,
        2 => LOCAL_WINDOW,
        4 => PARAM_WINDOW,
        _ => 0,
    };
    let d = lw.dst(&ops[0], ty)?;
    if window == 0 {
        lw.emit(MInst::new(copy(Width::W64)).d(d).a(a));
        return Ok(());
    }
    let b = lw.constant(Width::W64, window);
    let op = if to { bin(|a: u64, b: u64| a.wrapping_sub(b)) } else { bin(|a: u64, b: u64| a.wrapping_add(b)) };
    lw.emit(MInst::new(op).d(d).a(a).b(b));
    Ok(())
}

/// The address of the same place in another block; `x` bit 0: 64-bit operand, bit 1: generic.
unsafe fn run_mapa(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let blocks = cx.ctas.len() as u32;
    let mut out = [0u64; 32];
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let a = if i.x & 1 != 0 { cx.lane::<u64>(i.a, l) } else { u64::from(cx.lane::<u32>(i.a, l)) };
        let rank: u32 = cx.lane(i.b, l);
        if rank >= blocks {
            let text = format!("mapa to block {rank} of a cluster of {blocks}");
            return cx.fail(FaultKind::IllegalInstruction, None, Some(l), &text);
        }
        if i.x & 2 != 0 && a >> WINDOW_BITS != SHARED_WINDOW >> WINDOW_BITS {
            let text = format!("mapa of {a:#x}, which is no shared address");
            return cx.fail(FaultKind::InvalidAddressSpace, None, Some(l), &text);
        }
        out[l] = (a & !0xff00_0000) | u64::from(rank + 1) << 24;
    }
    if i.x & 1 != 0 {
        // SAFETY: the decoder gave a 64-bit slot.
        unsafe { u64::put(cx.slot(i.d), &out, m) };
    } else {
        cx.put(i.d, &out.map(|v| v as u32), m);
    }
    Flow::Next
}

fn mapa<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ty = f.ty(lw)?;
    f.arity(lw, 3..=3)?;
    let ops = f.operands();
    let shared = f.flag("shared::cluster");
    let wide = ty.bits() == 64;
    let (a, b) = (lw.src(&ops[1], ty)?, lw.src(&ops[2], Ty::U32)?);
    let d = lw.dst(&ops[0], ty)?;
    lw.emit(MInst::new(OpPair::same(run_mapa)).d(d).a(a).b(b).x(u32::from(wide) | u32::from(!shared) << 1));
    Ok(())
}

unsafe fn run_rank(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let own = cx.cta().rank;
    let out: [u32; 32] = std::array::from_fn(|l| {
        let a = if i.x & 1 != 0 { cx.lane::<u64>(i.a, l) as u32 } else { cx.lane::<u32>(i.a, l) };
        if a >> 24 == 0 { own } else { (a >> 24) - 1 }
    });
    cx.put(i.d, &out, m);
    Flow::Next
}

fn getctarank<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ty = f.ty(lw)?;
    f.arity(lw, 2..=2)?;
    let ops = f.operands();
    f.flag("shared::cluster");
    let a = lw.src(&ops[1], ty)?;
    let d = lw.dst(&ops[0], Ty::U32)?;
    lw.emit(MInst::new(OpPair::same(run_rank)).d(d).a(a).x(u32::from(ty.bits() == 64)));
    Ok(())
}
