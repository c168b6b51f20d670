//! Loads and stores.
//!
//! Elements of 2, 4 and 8 bytes in global and shared memory have code of their own, with fast paths for contiguous
//! and equal addresses; everything else goes lane by lane.

mod load;
mod param;
mod pattern;
mod store;

use super::address::Where;
use crate::machine::lanes::{OpPair, op_versions, un};
use crate::machine::lower::{Address, Decoded, Form, Lower, MInst, Opnd, TaintRule, Width};
use crate::machine::races;
use crate::ptx::{Operand, Ty};
pub use pattern::Patterns;

use load::{ld_any, ld_global, ld_param, ld_shared};
use param::{load_function_param, param_variable, store_function_param};
pub use pattern::{count_banks, reach};
use store::{st_any, st_global, st_shared};

/// Flags in `x`, behind the space in bits 0 to 3, bytes of an element in 4 to 8, elements in 9 to 12.
const SIGNED: u32 = 1 << 13;
/// Bits 14 and 15: width class of a destination (0: 16 bits, 1: 32, 2: 64, 3: 128).
const WIDTH_SHIFT: u32 = 14;
/// The address operand has 64 bits.
const WIDE_ADDRESS: u32 = 1 << 16;
/// Volatile, relaxed, acquire, release, mmio.
pub const STRONG: u32 = 1 << 17;
/// Through the non-coherent path.
pub const NON_COHERENT: u32 = 1 << 18;
/// Acquires.
pub const ACQUIRE: u32 = 1 << 19;
/// Releases.
pub const RELEASE: u32 = 1 << 20;
/// Of scope `.cta`.
pub const NARROW: u32 = 1 << 21;

/// What the race check is told of a load or store with these flags.
#[inline(always)]
pub fn race_access(x: u32, write: bool) -> races::Access {
    let order =
        races::Order { acquire: x & ACQUIRE != 0, release: x & RELEASE != 0, update: false, narrow: x & NARROW != 0 };
    let strong = (x & STRONG != 0).then_some(order);
    races::Access { write, strong, non_coherent: x & NON_COHERENT != 0 }
}

fn hot(load: bool, shared: bool, element: u32, count: usize) -> Option<OpPair> {
    macro_rules! pick {
        ($f:ident) => {
            match (element, count) {
                (2, 1) => op_versions!($f::<u16, 1>),
                (2, 2) => op_versions!($f::<u16, 2>),
                (2, 4) => op_versions!($f::<u16, 4>),
                (4, 1) => op_versions!($f::<u32, 1>),
                (4, 2) => op_versions!($f::<u32, 2>),
                (4, 4) => op_versions!($f::<u32, 4>),
                (8, 1) => op_versions!($f::<u64, 1>),
                (8, 2) => op_versions!($f::<u64, 2>),
                _ => return None,
            }
        };
    }
    Some(match (load, shared) {
        (true, false) => pick!(ld_global),
        (true, true) => pick!(ld_shared),
        (false, false) => pick!(st_global),
        (false, true) => pick!(st_shared),
    })
}

/// Cache hints and prefetch sizes that change nothing here.
pub fn take_hints(f: &mut Form<'_, '_>) -> bool {
    let policy = f.flag("L2::cache_hint");
    while f
        .one_of(&[
            "ca",
            "cg",
            "cs",
            "lu",
            "cv",
            "wb",
            "wt",
            "L1::evict_normal",
            "L1::evict_unchanged",
            "L1::evict_first",
            "L1::evict_last",
            "L1::no_allocate",
            "L2::evict_normal",
            "L2::evict_first",
            "L2::evict_last",
            "L2::64B",
            "L2::128B",
            "L2::256B",
            "level::eviction_priority",
        ])
        .is_some()
    {}
    policy
}

/// Checks the cache policy that `.L2::cache_hint` puts behind the other operands: 64 bits that nothing here reads.
pub fn take_policy<'a>(lw: &mut Lower<'_, 'a>, f: &Form<'_, 'a>, policy: bool) -> Decoded {
    match f.operands().last() {
        Some(last) if policy => lw.src(last, Ty::B64).map(|_| ()),
        _ => Ok(()),
    }
}

/// Takes ordering and scope, as flags of `x`; 0 for weak accesses.
pub fn take_order(f: &mut Form<'_, '_>) -> u32 {
    let strong = f.one_of(&["volatile", "relaxed", "acquire", "release", "acq_rel", "mmio", "seq_cst"]);
    let mut x = match strong {
        None => 0,
        Some("acquire") => STRONG | ACQUIRE,
        Some("release") => STRONG | RELEASE,
        Some("acq_rel" | "seq_cst") => STRONG | ACQUIRE | RELEASE,
        Some(_) => STRONG,
    };
    if x != 0 {
        if f.one_of(&["cta", "cluster", "gpu", "sys"]) == Some("cta") {
            x |= NARROW;
        }
        f.flag("mmio");
    }
    f.flag("weak");
    x
}

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    match f.ins.root {
        "ld" | "ldu" => load(lw, f),
        "st" => store(lw, f),
        "createpolicy" => {
            // A policy is an opaque number that nothing here reads.
            while f.find(|_| Some(())).is_some() {}
            let d = lw.dst(f.operands().first().unwrap_or(&Operand::Sink), Ty::B64)?;
            let k = lw.constant(Width::W64, 0);
            lw.emit(MInst::new(un(|a: u64| a)).d(d).a(k));
            Ok(())
        }
        _ => {
            // Prefetches and their like are hints and no accesses.
            while f.find(|_| Some(())).is_some() {}
            let Some(o) = f.operands().first() else { return lw.refuse("has no address") };
            lw.address(o)?;
            if f.operands().get(1).is_some_and(|bytes| *bytes != Operand::Int(128)) {
                return lw.refuse("names 128 bytes");
            }
            Ok(())
        }
    }
}

fn vector(f: &mut Form<'_, '_>) -> usize {
    match f.one_of(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    }
}

fn class(ty: Ty) -> u32 {
    match ty.bits() {
        ..=16 => 0,
        32 => 1,
        64 => 2,
        _ => 3,
    }
}

fn load<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ty = f.ty(lw)?;
    let ops = f.operands();
    let policy = take_hints(f);
    let strong = take_order(f);
    let nc = f.flag("nc");
    let space = f.find(|m| if m == "param::func" { Some(Where::Param) } else { Where::from_name(m) });
    let space = space.unwrap_or(Where::Generic);
    let count = vector(f);
    f.arity(lw, if policy { 3..=3 } else { 2..=2 })?;
    take_policy(lw, f, policy)?;
    let parts = lw.components(&ops[0]).into_iter().cloned().collect::<Vec<_>>();
    if parts.len() != count {
        return lw.refuse(format!("has {} destinations, expected {count}", parts.len()));
    }
    if ty == Ty::Pred || (count as u32 * ty.bytes() > 32) || (ty == Ty::B128 && count > 1) {
        return lw.refuse("this vector does not exist");
    }
    if count as u32 * ty.bytes() > 16 && lw.cx.compute < (10, 0) {
        return lw.refuse("accesses of 32 bytes need sm_100");
    }
    let mut dests = Vec::new();
    let mut register = ty;
    for p in &parts {
        let (d, have) = lw.wide_dst(p, ty)?;
        if have.bits() > register.bits() || register == ty {
            register = if *p == Operand::Sink { register } else { have };
        }
        dests.push(d);
    }
    if parts.iter().any(|p| matches!(p, Operand::Reg(r) if Width::of(lw.reg_ty(*r)) != Width::of(register))) {
        return lw.refuse("the destinations have different widths");
    }
    for (k, p) in parts.iter().enumerate() {
        if *p == Operand::Sink {
            dests[k] = lw.temp_for(register);
        }
    }
    if space == Where::Param && !lw.f.entry {
        return load_function_param(lw, &ops[1], &dests, register, ty);
    }
    let a = lw.address(&ops[1])?;
    let mut x = ty.bytes() << 4 | (count as u32) << 9 | class(register) << WIDTH_SHIFT | space as u32;
    if ty.is_signed() {
        x |= SIGNED;
    }
    x |= strong;
    if nc {
        x |= NON_COHERENT;
    }
    if space == Where::Param {
        if let Operand::Address(base, _) = &ops[1]
            && let Operand::Var(v, _) = **base
            && !lw.f.params.iter().any(|p| p.id == v)
        {
            return load_function_param(lw, &ops[1], &dests, register, ty);
        }
        if let Opnd::K(k) = a.base
            && let Some((base, false)) = lw.cx.constant_value(k)
        {
            let i = MInst::new(OpPair::same(ld_param)).list(&dests, &[]).imm(base as i64 + a.offset).x(x);
            lw.emit(i);
            return Ok(());
        }
    }
    if a.wide {
        x |= WIDE_ADDRESS;
    }
    let shared = space == Where::Shared;
    let fits = register.bits() == ty.bits() || (ty.bytes() == 2 && register.bits() == 32 && !ty.is_signed());
    let quick = if matches!(space, Where::Generic | Where::Global | Where::Const | Where::Shared) && fits {
        hot(true, shared, ty.bytes(), count)
    } else {
        None
    };
    let mut i = MInst::new(quick.unwrap_or(OpPair::same(ld_any))).a(a.base).imm(a.offset).x(x).list(&dests, &[]);
    i = i.taint(TaintRule::Address);
    if count == 1 {
        i = i.d(dests[0]);
    }
    lw.emit(i);
    Ok(())
}

fn store<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    if f.flag("async") {
        return super::copy::decode_remote(lw, f, false);
    }
    let ty = f.ty(lw)?;
    let ops = f.operands();
    let policy = take_hints(f);
    let strong = take_order(f);
    let space = f.find(|m| if m == "param::func" { Some(Where::Param) } else { Where::from_name(m) });
    let space = space.unwrap_or(Where::Generic);
    let count = vector(f);
    f.arity(lw, if policy { 3..=3 } else { 2..=2 })?;
    take_policy(lw, f, policy)?;
    if matches!(space, Where::Const) {
        return lw.refuse("constant memory cannot be written");
    }
    let parts = lw.components(&ops[1]).into_iter().cloned().collect::<Vec<_>>();
    if parts.len() != count {
        return lw.refuse(format!("has {} sources, expected {count}", parts.len()));
    }
    if ty == Ty::Pred || (count as u32 * ty.bytes() > 32) || (ty == Ty::B128 && count > 1) {
        return lw.refuse("this vector does not exist");
    }
    if count as u32 * ty.bytes() > 16 && lw.cx.compute < (10, 0) {
        return lw.refuse("accesses of 32 bytes need sm_100");
    }
    let mut sources = Vec::new();
    let mut register = ty;
    for (k, p) in parts.iter().enumerate() {
        let (mut s, mut have) = lw.wide_src(p, ty)?;
        // Sources of one vector share a width class; a narrow store of a wide register takes its low word.
        if Width::of(have) == Width::W64 && ty.bits() <= 32 {
            let t = lw.temp(Width::W32);
            lw.emit(MInst::new(un(|a: u64| a as u32)).d(t).a(s));
            (s, have) = (t, Ty::B32);
        }
        if k == 0 || have.bits() > register.bits() {
            register = have;
        }
        sources.push(s);
    }
    if space == Where::Param {
        if let Operand::Address(base, _) = &ops[0]
            && let Operand::Var(v, _) = **base
            && lw.f.params.iter().any(|p| p.id == v)
        {
            return lw.refuse("a function's own parameters are read only");
        }
        let (words, offset) = param_variable(lw, &ops[0], ty.bytes() * count as u32)?;
        return store_function_param(lw, &words, offset, &sources, ty);
    }
    let a: Address = lw.address(&ops[0])?;
    let mut x = ty.bytes() << 4 | (count as u32) << 9 | class(register) << WIDTH_SHIFT | space as u32;
    x |= strong;
    if a.wide {
        x |= WIDE_ADDRESS;
    }
    let shared = space == Where::Shared;
    let quick = if matches!(space, Where::Generic | Where::Global | Where::Shared) {
        hot(false, shared, ty.bytes(), count)
    } else {
        None
    };
    let i = MInst::new(quick.unwrap_or(OpPair::same(st_any))).a(a.base).imm(a.offset).x(x).list(&[], &sources);
    lw.emit(i.taint(TaintRule::Address));
    Ok(())
}
