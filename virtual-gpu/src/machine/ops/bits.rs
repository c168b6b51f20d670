//! Logic, shifts and bit fields.

use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::{OpPair, bin, ter, un};
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd};
use crate::ptx::{Operand, Ty};

/// `lop3`: the truth table in `x`.
unsafe fn lop3(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let (a, b, c) = (cx.lanes::<u32>(i.a), cx.lanes::<u32>(i.b), cx.lanes::<u32>(i.c));
    // One term per row of the table.
    let row = |k: u32| if i.x >> k & 1 != 0 { u32::MAX } else { 0 };
    let rows: [u32; 8] = std::array::from_fn(|k| row(k as u32));
    let mut out = [0u32; 32];
    for l in 0..32 {
        let (a, b, c) = (a[l], b[l], c[l]);
        let c0 = |k: usize| (rows[k] & !c) | (rows[k + 1] & c);
        let b0 = |k: usize| (c0(k) & !b) | (c0(k + 2) & b);
        out[l] = (b0(0) & !a) | (b0(4) & a);
    }
    cx.put(i.d, &out, m);
    if i.count != 0 {
        // `lop3.BoolOp d|p, a, b, c, lut, q`: p = (d ≠ 0) op q; bit 8 of x says and.
        let q = cx.mask_of(cx.listed(i, 1));
        let nonzero = (0..32).fold(0u32, |s, l| s | u32::from(out[l] != 0) << l);
        let p = if i.x >> 8 & 1 != 0 { nonzero & q } else { nonzero | q };
        let bits: [bool; 32] = std::array::from_fn(|l| p >> l & 1 != 0);
        let d = cx.listed(i, 0);
        cx.put(d, &bits, m);
    }
    Flow::Next
}

/// `fns`: the n-th set bit.
fn find_nth(mask: u32, base: u32, offset: i32) -> u32 {
    if offset == 0 {
        return if base < 32 && mask >> base & 1 != 0 { base } else { u32::MAX };
    }
    let mut left = offset.unsigned_abs();
    let mut at = i64::from(base);
    while (0..32).contains(&at) {
        if mask >> at & 1 != 0 {
            left -= 1;
            if left == 0 {
                return at as u32;
            }
        }
        at += i64::from(offset.signum());
    }
    u32::MAX
}

#[inline(always)]
fn field(pos: u32, len: u32) -> (u32, u32) {
    (pos & 0xff, len & 0xff)
}

#[inline(always)]
fn extract64(a: u64, pos: u32, len: u32, bits: u32, signed: bool) -> u64 {
    let (pos, len) = field(pos, len);
    let sign_at = (pos + len).wrapping_sub(1).min(bits - 1);
    let sign = signed && len != 0 && a >> sign_at & 1 != 0;
    let fill = if sign { u64::MAX } else { 0 };
    let shifted = if pos >= bits { fill } else { a >> pos | if pos == 0 { 0 } else { fill << (bits - pos) } };
    if len >= 64 {
        return shifted;
    }
    let mask = (1u64 << len) - 1;
    (shifted & mask) | (fill & !mask)
}

#[inline(always)]
fn insert64(a: u64, b: u64, pos: u32, len: u32, bits: u32) -> u64 {
    let (pos, len) = field(pos, len);
    if pos >= bits || len == 0 {
        return b;
    }
    let mask = if len >= 64 { u64::MAX } else { (1u64 << len) - 1 } << pos;
    (b & !mask) | (a << pos & mask)
}

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let ops = f.operands();
    let root = f.ins.root;
    let fields = matches!(root, "bfind" | "bfe" | "szext");
    let fits = |t: &Ty| match t {
        Ty::B16 | Ty::B32 | Ty::B64 | Ty::Pred => !fields,
        _ => t.is_int() && !t.is_float() && (fields || root == "shr"),
    };
    if !f.types.iter().all(fits) {
        return lw.refuse("does not take this type");
    }
    if f.types.iter().any(|t| *t != Ty::B32) && matches!(root, "shf" | "lop3" | "fns" | "bmsk") {
        return lw.refuse("takes .b32 alone");
    }
    if root == "shf" {
        return funnel(lw, f);
    }
    if root == "lop3" {
        return decode_lop3(lw, f);
    }
    if root == "fns" {
        f.ty(lw)?;
        f.arity(lw, 4..=4)?;
        let op = ter(|a: u32, b: u32, c: i32| find_nth(a, b, c));
        let i = MInst::new(op).a(lw.src(&ops[1], Ty::B32)?).b(lw.src(&ops[2], Ty::B32)?).c(lw.src(&ops[3], Ty::B32)?);
        let d = lw.dst(&ops[0], Ty::B32)?;
        lw.emit(i.d(d));
        return Ok(());
    }
    if root == "bmsk" {
        f.ty(lw)?;
        let op = match f.one_of(&["clamp", "wrap"]) {
            Some("clamp") => {
                bin(
                    |a: u32, b: u32| {
                        if a > 31 || b == 0 { 0 } else { (if b > 31 { u32::MAX } else { (1 << b) - 1 }) << a }
                    },
                )
            }
            Some(_) => bin(|a: u32, b: u32| ((1u32 << (b & 31)) - 1) << (a & 31)),
            None => return lw.refuse("names neither .clamp nor .wrap"),
        };
        return simple(lw, f, op, &[Ty::B32, Ty::B32, Ty::B32]);
    }
    if root == "szext" {
        let ty = f.ty(lw)?;
        let wrap = match f.one_of(&["wrap", "clamp"]) {
            Some(mode) => mode == "wrap",
            None => return lw.refuse("names neither .clamp nor .wrap"),
        };
        let op = match (ty, wrap) {
            (Ty::U32, true) => bin(|a: u32, n: u32| a & ((1 << (n & 31)) - 1)),
            (Ty::U32, false) => bin(|a: u32, n: u32| if n > 31 { a } else { a & ((1 << n) - 1) }),
            (Ty::S32, true) => {
                bin(|a: i32, n: u32| if n & 31 == 0 { 0 } else { a << (32 - (n & 31)) >> (32 - (n & 31)) })
            }
            (Ty::S32, false) => bin(|a: i32, n: u32| match n {
                0 => 0,
                32.. => a,
                _ => a << (32 - n) >> (32 - n),
            }),
            _ => return lw.refuse("does not take this type"),
        };
        return simple(lw, f, op, &[Ty::B32, Ty::B32, Ty::B32]);
    }
    let ty = f.ty(lw)?;
    if ty == Ty::Pred {
        let op = match root {
            "and" => bin(|a: bool, b: bool| a & b),
            "or" => bin(|a: bool, b: bool| a | b),
            "xor" => bin(|a: bool, b: bool| a ^ b),
            "not" => return simple(lw, f, un(|a: bool| !a), &[ty, ty]),
            _ => return lw.refuse("does not take .pred"),
        };
        return simple(lw, f, op, &[ty, ty, ty]);
    }
    let bits = ty.bits();
    macro_rules! by_bits {
        (|$($a:ident),*| $e:expr; $shape:ident) => {
            match bits {
                16 => $shape(|$($a: u16),*| $e),
                32 => $shape(|$($a: u32),*| $e),
                64 => $shape(|$($a: u64),*| $e),
                _ => return lw.refuse("does not take this type"),
            }
        };
    }
    let shift_right_signed = ty.is_signed();
    let (op, types): (OpPair, Vec<Ty>) = match root {
        "and" => (by_bits!(|a, b| a & b; bin), vec![ty, ty, ty]),
        "or" => (by_bits!(|a, b| a | b; bin), vec![ty, ty, ty]),
        "xor" => (by_bits!(|a, b| a ^ b; bin), vec![ty, ty, ty]),
        "not" => (by_bits!(|a| !a; un), vec![ty, ty]),
        "cnot" => (
            match bits {
                16 => un(|a: u16| u16::from(a == 0)),
                32 => un(|a: u32| u32::from(a == 0)),
                64 => un(|a: u64| u64::from(a == 0)),
                _ => return lw.refuse("does not take this type"),
            },
            vec![ty, ty],
        ),
        "shl" => (
            match bits {
                16 => bin(|a: u16, b: u32| if b > 15 { 0 } else { a << b }),
                32 => bin(|a: u32, b: u32| if b > 31 { 0 } else { a << b }),
                64 => bin(|a: u64, b: u32| if b > 63 { 0 } else { a << b }),
                _ => return lw.refuse("does not take this type"),
            },
            vec![ty, ty, Ty::U32],
        ),
        "shr" => (
            match (bits, shift_right_signed) {
                (16, false) => bin(|a: u16, b: u32| if b > 15 { 0 } else { a >> b }),
                (32, false) => bin(|a: u32, b: u32| if b > 31 { 0 } else { a >> b }),
                (64, false) => bin(|a: u64, b: u32| if b > 63 { 0 } else { a >> b }),
                (16, true) => bin(|a: i16, b: u32| a >> b.min(15)),
                (32, true) => bin(|a: i32, b: u32| a >> b.min(31)),
                (64, true) => bin(|a: i64, b: u32| a >> b.min(63)),
                _ => return lw.refuse("does not take this type"),
            },
            vec![ty, ty, Ty::U32],
        ),
        "popc" => (
            match bits {
                32 => un(|a: u32| a.count_ones()),
                64 => un(|a: u64| a.count_ones()),
                _ => return lw.refuse("does not take this type"),
            },
            vec![Ty::B32, ty],
        ),
        "clz" => (
            match bits {
                32 => un(|a: u32| a.leading_zeros()),
                64 => un(|a: u64| a.leading_zeros()),
                _ => return lw.refuse("does not take this type"),
            },
            vec![Ty::B32, ty],
        ),
        "brev" => (
            match bits {
                32 => un(|a: u32| a.reverse_bits()),
                64 => un(|a: u64| a.reverse_bits()),
                _ => return lw.refuse("does not take this type"),
            },
            vec![ty, ty],
        ),
        "bfind" => {
            let amount = f.flag("shiftamt");
            // Counted from the sign bit, or from the end.
            let op = match (ty, amount) {
                (Ty::U32, false) => {
                    un(|a: u32| 31u32.wrapping_sub(a.leading_zeros()) | if a == 0 { u32::MAX } else { 0 })
                }
                (Ty::S32, false) => un(|a: i32| {
                    let v = (if a < 0 { !a } else { a }) as u32;
                    if v == 0 { u32::MAX } else { 31 - v.leading_zeros() }
                }),
                (Ty::U64, false) => un(|a: u64| if a == 0 { u32::MAX } else { 63 - a.leading_zeros() }),
                (Ty::S64, false) => un(|a: i64| {
                    let v = (if a < 0 { !a } else { a }) as u64;
                    if v == 0 { u32::MAX } else { 63 - v.leading_zeros() }
                }),
                (Ty::U32, true) => un(|a: u32| if a == 0 { u32::MAX } else { a.leading_zeros() }),
                (Ty::S32, true) => un(|a: i32| {
                    let v = (if a < 0 { !a } else { a }) as u32;
                    if v == 0 { u32::MAX } else { v.leading_zeros() }
                }),
                (Ty::U64, true) => un(|a: u64| if a == 0 { u32::MAX } else { a.leading_zeros() }),
                (Ty::S64, true) => un(|a: i64| {
                    let v = (if a < 0 { !a } else { a }) as u64;
                    if v == 0 { u32::MAX } else { v.leading_zeros() }
                }),
                _ => return lw.refuse("does not take this type"),
            };
            (op, vec![Ty::B32, ty])
        }
        "bfe" => (
            match ty {
                Ty::U32 => ter(|a: u32, b: u32, c: u32| extract64(u64::from(a), b, c, 32, false) as u32),
                Ty::S32 => ter(|a: u32, b: u32, c: u32| extract64(u64::from(a), b, c, 32, true) as u32),
                Ty::U64 => ter(|a: u64, b: u32, c: u32| extract64(a, b, c, 64, false)),
                Ty::S64 => ter(|a: u64, b: u32, c: u32| extract64(a, b, c, 64, true)),
                _ => return lw.refuse("does not take this type"),
            },
            vec![ty, ty, Ty::U32, Ty::U32],
        ),
        "bfi" => {
            f.arity(lw, 5..=5)?;
            let op = match bits {
                32 => OpPair::same(bfi32),
                64 => OpPair::same(bfi64),
                _ => return lw.refuse("does not take this type"),
            };
            let i = MInst::new(op)
                .a(lw.src(&ops[1], ty)?)
                .b(lw.src(&ops[2], ty)?)
                .c(lw.src(&ops[3], Ty::U32)?)
                .e_source(lw.src(&ops[4], Ty::U32)?);
            let d = lw.dst(&ops[0], ty)?;
            lw.emit(i.d(d));
            return Ok(());
        }
        _ => return lw.refuse("is not implemented"),
    };
    simple(lw, f, op, &types)
}

unsafe fn bfi32(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let out = std::array::from_fn(|l| {
        let (a, b): (u32, u32) = (cx.lane(i.a, l), cx.lane(i.b, l));
        insert64(u64::from(a), u64::from(b), cx.lane(i.c, l), cx.lane(i.e, l), 32) as u32
    });
    cx.put(i.d, &out, m);
    Flow::Next
}

unsafe fn bfi64(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let out: [u64; 32] =
        std::array::from_fn(|l| insert64(cx.lane(i.a, l), cx.lane(i.b, l), cx.lane(i.c, l), cx.lane(i.e, l), 64));
    cx.put(i.d, &out, m);
    Flow::Next
}

/// One to three sources, types given destination first.
pub fn simple<'a>(lw: &mut Lower<'_, 'a>, f: &Form<'_, 'a>, op: OpPair, types: &[Ty]) -> Decoded {
    f.arity(lw, types.len()..=types.len())?;
    let ops = f.operands();
    let mut sources = [Opnd::No; 3];
    for (k, ty) in types[1..].iter().enumerate() {
        sources[k] = lw.src(&ops[k + 1], *ty)?;
    }
    let d = lw.dst(&ops[0], types[0])?;
    let [a, b, c] = sources;
    lw.emit(MInst::new(op).d(d).a(a).b(b).c(c));
    Ok(())
}

fn decode_lop3<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    f.ty(lw)?;
    let ops = f.operands();
    let boolean = f.one_of(&["and", "or"]);
    f.arity(lw, if boolean.is_some() { 6..=6 } else { 5..=5 })?;
    let Operand::Int(table) = ops[4] else { return lw.refuse("the truth table is an integer constant") };
    if !(0..256).contains(&table) {
        return lw.refuse("the truth table has 8 bits");
    }
    let (a, b, c) = (lw.src(&ops[1], Ty::B32)?, lw.src(&ops[2], Ty::B32)?, lw.src(&ops[3], Ty::B32)?);
    let mut i = MInst::new(OpPair::same(lop3)).a(a).b(b).c(c).x(table as u32);
    let (d, p) = match &ops[0] {
        Operand::Pair(d, p) if boolean.is_some() => (&**d, Some(&**p)),
        d => (d, None),
    };
    if let Some(p) = p {
        let q = lw.src(&ops[5], Ty::Pred)?;
        let p = lw.dst(p, Ty::Pred)?;
        i = i.list(&[p], &[q]).x(table as u32 | u32::from(boolean == Some("and")) << 8);
    }
    let d = lw.dst(d, Ty::B32)?;
    lw.emit(i.d(d));
    Ok(())
}

fn funnel<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    f.ty(lw)?;
    #[inline(always)]
    fn joined(a: u32, b: u32) -> u64 {
        u64::from(b) << 32 | u64::from(a)
    }
    let op = match (f.one_of(&["l", "r"]), f.one_of(&["clamp", "wrap"])) {
        (Some("l"), Some("clamp")) => ter(|a: u32, b: u32, c: u32| (joined(a, b) << c.min(32) >> 32) as u32),
        (Some("l"), Some(_)) => ter(|a: u32, b: u32, c: u32| (joined(a, b) << (c & 31) >> 32) as u32),
        (Some(_), Some("clamp")) => ter(|a: u32, b: u32, c: u32| (joined(a, b) >> c.min(32)) as u32),
        (Some(_), Some(_)) => ter(|a: u32, b: u32, c: u32| (joined(a, b) >> (c & 31)) as u32),
        _ => return lw.refuse("names a direction (.l, .r) and a mode (.clamp, .wrap)"),
    };
    simple(lw, f, op, &[Ty::B32, Ty::B32, Ty::B32, Ty::U32])
}
