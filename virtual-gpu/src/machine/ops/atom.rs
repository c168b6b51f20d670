//! Atomics and reductions.
//!
//! Global memory is shared by the workers, so updates there are compare-and-swap loops on the host; a block's shared
//! memory belongs to one worker at a time.

use super::address::{self, Access, PlaceKind, Where};
use super::half::{b2f, f2b, f2h, h2f};
use super::mem::{ACQUIRE, NARROW, RELEASE, reach, take_hints, take_order, take_policy};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::l2::Use;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd, TaintRule};
use crate::machine::{races, taint};
use crate::ptx::{Operand, Ty};
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU16, AtomicU32, AtomicU64, Ordering};

const OPS: [&str; 12] = ["add", "min", "max", "and", "or", "xor", "inc", "dec", "exch", "cas", "popc", "addf"];
const TYPES: [Ty; 14] = [
    Ty::U32,
    Ty::S32,
    Ty::U64,
    Ty::S64,
    Ty::B32,
    Ty::B64,
    Ty::F32,
    Ty::F64,
    Ty::F16,
    Ty::F16X2,
    Ty::BF16,
    Ty::BF16X2,
    Ty::B16,
    Ty::B128,
];

/// Operation in bits 0 to 3, type in 4 to 7, space in 8 to 11, elements in 12 to 15, wide address in 16, result in 17.
const RESULT: u32 = 1 << 17;
/// The address has 64 bits. Ordering and scope from bit 19 on are those of loads and stores.
const WIDE: u32 = 1 << 16;

fn halves(a: u32, b: u32, f: impl Fn(u16, u16) -> u16) -> u32 {
    u32::from(f(a as u16, b as u16)) | u32::from(f((a >> 16) as u16, (b >> 16) as u16)) << 16
}

fn half_op(op: &str, bf: bool, a: u16, b: u16) -> u16 {
    let (x, y) = if bf { (b2f(a), b2f(b)) } else { (h2f(a), h2f(b)) };
    let v = match op {
        "min" => {
            if x.is_nan() || y < x || (x == y && y.is_sign_negative()) {
                y
            } else {
                x
            }
        }
        "max" => {
            if x.is_nan() || y > x || (x == y && x.is_sign_negative()) {
                y
            } else {
                x
            }
        }
        _ => x + y,
    };
    if bf { f2b(v) } else { f2h(v) }
}

/// The new value of an update.
pub fn update(op: &str, ty: Ty, old: u64, b: u64, c: u64) -> u64 {
    let signed = |v: u64| if ty.bits() == 64 { v as i64 } else { i64::from(v as i32) };
    match (op, ty) {
        ("exch", _) => b,
        ("cas", _) => {
            if old == b {
                c
            } else {
                old
            }
        }
        ("and", _) => old & b,
        ("or", _) => old | b,
        ("xor", _) => old ^ b,
        ("inc", _) => {
            if old >= b {
                0
            } else {
                old + 1
            }
        }
        ("dec", _) => {
            if old == 0 || old > b {
                b
            } else {
                old - 1
            }
        }
        ("add", Ty::F32) => {
            u64::from(super::float::canon(f32::from_bits(old as u32) + f32::from_bits(b as u32)).to_bits())
        }
        ("add", Ty::F64) => (f64::from_bits(old) + f64::from_bits(b)).to_bits(),
        (_, Ty::F16) => u64::from(half_op(op, false, old as u16, b as u16)),
        (_, Ty::BF16) => u64::from(half_op(op, true, old as u16, b as u16)),
        (_, Ty::F16X2) => u64::from(halves(old as u32, b as u32, |x, y| half_op(op, false, x, y))),
        (_, Ty::BF16X2) => u64::from(halves(old as u32, b as u32, |x, y| half_op(op, true, x, y))),
        ("min", Ty::F32) => u64::from(f32::from_bits(old as u32).min(f32::from_bits(b as u32)).to_bits()),
        ("max", Ty::F32) => u64::from(f32::from_bits(old as u32).max(f32::from_bits(b as u32)).to_bits()),
        ("add", _) => old.wrapping_add(b) & if ty.bits() == 32 { 0xffff_ffff } else { u64::MAX },
        ("min", t) if t.is_signed() => {
            if signed(b) < signed(old) {
                b
            } else {
                old
            }
        }
        ("max", t) if t.is_signed() => {
            if signed(b) > signed(old) {
                b
            } else {
                old
            }
        }
        ("min", _) => old.min(b),
        _ => old.max(b),
    }
}

/// Updates memory once; the old value.
///
/// # Safety
/// `p` was resolved for `bytes`, aligned to them.
pub unsafe fn exchange(p: *mut u8, bytes: u32, f: impl Fn(u64) -> u64) -> u64 {
    // SAFETY: aligned, live memory that is only accessed through raw pointers and atomics.
    unsafe {
        match bytes {
            2 => {
                let a = AtomicU16::from_ptr(p.cast());
                let mut old = a.load(Ordering::SeqCst);
                while let Err(now) =
                    a.compare_exchange_weak(old, f(u64::from(old)) as u16, Ordering::SeqCst, Ordering::SeqCst)
                {
                    old = now;
                }
                u64::from(old)
            }
            4 => {
                let a = AtomicU32::from_ptr(p.cast());
                let mut old = a.load(Ordering::SeqCst);
                while let Err(now) =
                    a.compare_exchange_weak(old, f(u64::from(old)) as u32, Ordering::SeqCst, Ordering::SeqCst)
                {
                    old = now;
                }
                u64::from(old)
            }
            _ => {
                let a = AtomicU64::from_ptr(p.cast());
                let mut old = a.load(Ordering::SeqCst);
                while let Err(now) = a.compare_exchange_weak(old, f(old), Ordering::SeqCst, Ordering::SeqCst) {
                    old = now;
                }
                old
            }
        }
    }
}

/// `list`: results, then values, then (for `cas`) new values.
unsafe fn run(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let op = OPS[(i.x & 15) as usize % OPS.len()];
    let ty = TYPES[(i.x >> 4 & 15) as usize % TYPES.len()];
    let space = Where::from_bits(i.x >> 8 & 15);
    let count = (i.x >> 12 & 15) as usize;
    let element = ty.bytes();
    let results = if i.x & RESULT != 0 { count } else { 0 };
    cx.polls += 1;
    cx.awaits_other = true;
    if op != "cas" {
        cx.progress = true;
    }
    let mut tainted = 0;
    if cx.tainted {
        for k in results..i.count as usize {
            let s = cx.listed(i, k);
            tainted |= taint::of(cx, s);
        }
    }
    let mut out = [[0u64; 32]; 8];
    let mut wide_out = [[0u64; 2]; 32];
    let mut uninitialised = 0u32;
    let order = races::Order {
        acquire: i.x & ACQUIRE != 0,
        release: i.x & RELEASE != 0,
        update: true,
        narrow: i.x & NARROW != 0,
    };
    // Lanes are unordered; the seed picks where to begin.
    let start = if cx.launch.seed == 0 { 0 } else { (cx.worker.next_random() % 32) as usize };
    for n in 0..32 {
        let l = (n + start) % 32;
        if m >> l & 1 == 0 {
            continue;
        }
        let base = if i.x & WIDE != 0 {
            cx.lane::<u64>(i.a, l).wrapping_add(i.imm as u64)
        } else {
            u64::from(cx.lane::<u32>(i.a, l).wrapping_add(i.imm as u32))
        };
        let bytes = element * count as u32;
        let Ok(place) = address::resolve(cx, space, base, bytes, bytes, l, Access::Atomic) else {
            return Flow::Fault;
        };
        if !matches!(place.kind, PlaceKind::Global(_) | PlaceKind::Shared(..)) {
            let text = format!("an atomic on {base:#x}, which is neither global nor shared memory");
            return cx.fail(FaultKind::InvalidAddressSpace, None, Some(l), &text);
        }
        if tainted >> l & 1 != 0 && cx.launch.checks.uninitialised {
            let text = format!("an uninitialised value is given to an atomic at {base:#x}");
            return cx.fail(FaultKind::LaunchFailed, Some("uninitialised"), Some(l), &text);
        }
        if !address::initialised(cx, place.kind, bytes) {
            uninitialised |= 1 << l;
            if i.x & RESULT == 0 && op != "exch" && cx.launch.checks.uninitialised {
                let text = format!("a reduction at {base:#x} updates memory that was never initialised");
                return cx.fail(FaultKind::LaunchFailed, Some("uninitialised"), Some(l), &text);
            }
        }
        if races::lane(cx, place.kind, bytes, l, races::Access::ordered(true, order), false).is_err() {
            return Flow::Fault;
        }
        if ty == Ty::B128 {
            let lock = cx.launch.memory.wide_lock.lock().unwrap_or_else(PoisonError::into_inner);
            let b = cx.lane::<[u64; 2]>(cx.listed(i, results), l);
            // SAFETY: the place was resolved for 16 bytes; the lock serialises updates of this width.
            unsafe {
                let p = place.pointer.cast::<[u64; 2]>();
                let old = p.read_unaligned();
                wide_out[l] = old;
                if op == "exch" {
                    p.write_unaligned(b);
                } else if old == b {
                    p.write_unaligned(cx.lane::<[u64; 2]>(cx.listed(i, results + 1), l));
                }
            }
            drop(lock);
        } else {
            for k in 0..count {
                let value = |n: usize| {
                    let s = cx.listed(i, n);
                    if element == 8 { cx.lane::<u64>(s, l) } else { u64::from(cx.lane::<u32>(s, l)) }
                };
                let mask = if element == 8 { u64::MAX } else { (1 << (8 * element)) - 1 };
                let b = value(results + k) & mask;
                let c = if op == "cas" { value(results + count + k) & mask } else { 0 };
                let p = place.pointer.wrapping_add(k * element as usize);
                // SAFETY: the place was resolved for all elements, aligned.
                let old = unsafe { exchange(p, element, |old| update(op, ty, old, b, c)) };
                if op == "cas" && old == b {
                    cx.progress = true;
                }
                out[k][l] = old;
            }
        }
        if op == "exch" || uninitialised >> l & 1 == 0 {
            address::mark(cx, place.kind, bytes, true);
        }
        if let PlaceKind::Global(at) = place.kind {
            reach(cx, at, u64::from(bytes), Use::Update);
        }
    }
    if matches!(space, Where::Global | Where::Generic) {
        cx.worker.traffic.global_requests += 1;
        cx.worker.traffic.sectors += u64::from(m.count_ones());
        cx.worker.traffic.sectors_needed += u64::from(m.count_ones());
    }
    if i.x & RESULT != 0 {
        for k in 0..count {
            let d = cx.listed(i, k);
            if ty == Ty::B128 {
                cx.put(d, &wide_out, m);
            } else if element == 8 {
                cx.put(d, &out[k], m);
            } else {
                cx.put(d, &out[k].map(|v| v as u32), m);
            }
            if cx.tainted || uninitialised != 0 {
                taint::set(cx, d, m, uninitialised);
            }
        }
    }
    Flow::Next
}

/// Decodes `atom` and `red`.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    if f.flag("async") {
        return super::copy::decode_remote(lw, f, true);
    }
    let result = f.ins.root == "atom";
    let ops = f.operands();
    let policy = take_hints(f);
    let ordered = take_order(f);
    let scoped = f.one_of(&["cta", "cluster", "gpu", "sys"]) == Some("cta");
    let space = f.find(Where::from_name).unwrap_or(Where::Generic);
    f.flag("noftz");
    let count = match f.one_of(&["v2", "v4", "v8"]) {
        Some("v2") => 2,
        Some("v4") => 4,
        Some(_) => 8,
        None => 1,
    };
    let Some(op) = f.find(|m| OPS[..10].iter().position(|o| *o == m)) else { return lw.refuse("names no operation") };
    let ty = f.ty(lw)?;
    let name = OPS[op];
    let legal = match name {
        "add" => !matches!(ty, Ty::B32 | Ty::B64 | Ty::B16 | Ty::B128),
        "min" | "max" => {
            matches!(ty, Ty::U32 | Ty::S32 | Ty::U64 | Ty::S64)
                || (count > 1 && ty != Ty::F32)
                || matches!(ty, Ty::F16 | Ty::F16X2 | Ty::BF16 | Ty::BF16X2)
        }
        "and" | "or" | "xor" => matches!(ty, Ty::B32 | Ty::B64),
        "inc" | "dec" => ty == Ty::U32,
        "exch" => matches!(ty, Ty::B32 | Ty::B64 | Ty::B128) && result,
        _ => matches!(ty, Ty::B16 | Ty::B32 | Ty::B64 | Ty::B128) && result,
    };
    let Some(t) = TYPES.iter().position(|k| *k == ty).filter(|_| legal) else {
        return lw.refuse("the operation does not take this type");
    };
    let first = usize::from(result);
    let cas = name == "cas";
    let want = first + 2 + usize::from(cas) + usize::from(policy);
    f.arity(lw, want..=want)?;
    take_policy(lw, f, policy)?;
    let a = lw.address(&ops[first])?;
    let vector = |o: &Operand<'a>| -> Vec<Operand<'a>> {
        match o {
            Operand::Vector(v) => v.clone(),
            single => vec![single.clone()],
        }
    };
    let mut uses: Vec<Opnd> = Vec::new();
    for k in 0..1 + usize::from(cas) {
        let parts = vector(&ops[first + 1 + k]);
        if parts.len() != count {
            return lw.refuse(format!("has {} values, expected {count}", parts.len()));
        }
        for p in &parts {
            uses.push(lw.src(p, ty)?);
        }
    }
    let mut defs = Vec::new();
    if result {
        for p in &vector(&ops[0]) {
            defs.push(lw.dst(p, ty)?);
        }
        if defs.len() != count {
            return lw.refuse(format!("has {} results, expected {count}", defs.len()));
        }
    }
    let x = op as u32
        | (t as u32) << 4
        | (space as u32) << 8
        | (count as u32) << 12
        | if a.wide { WIDE } else { 0 }
        | if result { RESULT } else { 0 }
        | if scoped { NARROW } else { 0 }
        | ordered & (ACQUIRE | RELEASE | NARROW);
    let i = MInst::new(OpPair::same(run)).a(a.base).imm(a.offset).x(x).list(&defs, &uses);
    lw.emit(i.taint(TaintRule::Address));
    Ok(())
}
