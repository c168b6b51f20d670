//! Video instructions: 32-bit arithmetic on parts of registers, and the same on two halves or four bytes at once.
//!
//! Values are formed as the pseudocode of the PTX ISA does ("Scalar video instructions", "SIMD video instructions"):
//! operands are selected and extended, the result saturated to the type and part it goes to, then combined with `c`.

use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Form, Lower, MInst, Opnd};
use crate::ptx::{Operand, Ty};

const OPERATIONS: [&str; 9] = ["add", "sub", "absdiff", "min", "max", "shl", "shr", "set", "avrg"];
const COMPARISONS: [&str; 6] = ["eq", "ne", "lt", "le", "gt", "ge"];
const SECOND: [&str; 3] = ["add", "min", "max"];
/// Parts of a register; 0 is all of it.
const PARTS: [&str; 7] = ["", "b0", "b1", "b2", "b3", "h0", "h1"];

const A_SIGNED: u32 = 1 << 4;
const B_SIGNED: u32 = 1 << 5;
const D_SIGNED: u32 = 1 << 6;
const SATURATE: u32 = 1 << 7;
/// Shifts: the amount wraps. SIMD: the results are added to `c`.
const WRAP: u32 = 1 << 8;
const ACCUMULATE: u32 = 1 << 8;
/// Comparison from here.
const COMPARE_SHIFT: u32 = 9;
/// Parts of a, b and d from here, three bits each. SIMD: the mask.
const PART_SHIFT: u32 = 12;
/// The second operation plus one from here.
const SECOND_SHIFT: u32 = 21;
/// SIMD: four bytes instead of two halves.
const BYTES: u32 = 1 << 23;

/// A part of a register as a number.
fn part(v: u32, which: u32, signed: bool) -> i64 {
    let (bits, at) = match which {
        0 => (32, 0),
        1..=4 => (8, 8 * (which - 1)),
        _ => (16, 16 * (which - 5)),
    };
    extend(u64::from(v) >> at, bits, signed)
}

fn extend(v: u64, bits: u32, signed: bool) -> i64 {
    if signed { ((v << (64 - bits)) as i64) >> (64 - bits) } else { (v & ((1 << bits) - 1)) as i64 }
}

fn clamp(v: i64, bits: u32, signed: bool) -> i64 {
    if signed { v.clamp(-1 << (bits - 1), (1 << (bits - 1)) - 1) } else { v.clamp(0, (1 << bits) - 1) }
}

fn compare(a: i64, b: i64, which: u32) -> i64 {
    i64::from(match COMPARISONS[which as usize % 6] {
        "eq" => a == b,
        "ne" => a != b,
        "lt" => a < b,
        "le" => a <= b,
        "gt" => a > b,
        _ => a >= b,
    })
}

fn combine(op: &str, a: i64, b: i64, x: u32) -> i64 {
    match op {
        "add" => a + b,
        "sub" => a - b,
        "absdiff" => (a - b).abs(),
        "min" => a.min(b),
        "max" => a.max(b),
        "set" => compare(a, b, x >> COMPARE_SHIFT & 7),
        // Halves are rounded away from minus infinity where the sum is not negative.
        "avrg" => (a + b + i64::from(a + b >= 0)) >> 1,
        _ => {
            let amount = if x & WRAP != 0 { b & 31 } else { b.min(32) };
            if op == "shl" { a << amount } else { a >> amount }
        }
    }
}

unsafe fn scalar(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let op = OPERATIONS[(i.x & 15) as usize % OPERATIONS.len()];
    let which = |k: u32| i.x >> (PART_SHIFT + 3 * k) & 7;
    let (signed, to) = (i.x & D_SIGNED != 0, which(2));
    let out = std::array::from_fn(|l| {
        let c: u32 = cx.lane(i.c, l);
        let a = part(cx.lane(i.a, l), which(0), i.x & A_SIGNED != 0);
        let b = part(cx.lane(i.b, l), which(1), i.x & B_SIGNED != 0);
        let mut v = combine(op, a, b, i.x);
        if i.x & SATURATE != 0 {
            v = clamp(v, [32, 8, 8, 8, 8, 16, 16, 32][to as usize], signed);
        }
        let wide = if signed { i64::from(c as i32) } else { i64::from(c) };
        let kept = if signed { i64::from(v as i32) } else { i64::from(v as u32) };
        match i.x >> SECOND_SHIFT & 3 {
            1 => return (v + wide) as u32,
            2 => return kept.min(wide) as u32,
            3 => return kept.max(wide) as u32,
            _ => {}
        }
        let (mask, at) = match to {
            0 => return v as u32,
            1..=4 => (0xff, 8 * (to - 1)),
            _ => (0xffff, 16 * (to - 5)),
        };
        (v as u32 & mask) << at | c & !(mask << at)
    });
    cx.put::<u32>(i.d, &out, m);
    Flow::Next
}

/// `vmad`: negations of a, b and c in bits 21, 22 and 23; plus one in bit 8; the shift from bit 24.
unsafe fn multiply_add(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let which = |k: u32| i.x >> (PART_SHIFT + 3 * k) & 7;
    let negative = |k: u32| i.x >> (21 + k) & 1 != 0;
    let product_negated = negative(0) != negative(1);
    let signed = i.x & (A_SIGNED | B_SIGNED) != 0 || product_negated || negative(2);
    let out = std::array::from_fn(|l| {
        let a = i128::from(part(cx.lane(i.a, l), which(0), i.x & A_SIGNED != 0));
        let b = i128::from(part(cx.lane(i.b, l), which(1), i.x & B_SIGNED != 0));
        let c: u32 = cx.lane(i.c, l);
        let c = if signed { i128::from(c as i32) } else { i128::from(c) };
        let product = if product_negated { -(a * b) } else { a * b };
        let one = i128::from(i.x & WRAP != 0);
        let sum = (product + if negative(2) { -c } else { c } + one) >> (i.x >> 24 & 15);
        let (low, high) = if signed { (i128::from(i32::MIN), i128::from(i32::MAX)) } else { (0, i128::from(u32::MAX)) };
        (if i.x & SATURATE != 0 { sum.clamp(low, high) } else { sum }) as u32
    });
    cx.put::<u32>(i.d, &out, m);
    Flow::Next
}

/// Two halves or four bytes; `imm` holds the selectors of a and b, three bits each, b's from bit 12.
unsafe fn packed(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let op = OPERATIONS[(i.x & 15) as usize % OPERATIONS.len()];
    let (count, bits) = if i.x & BYTES != 0 { (4, 8) } else { (2, 16) };
    let out = std::array::from_fn(|l| {
        let both = u64::from(cx.lane::<u32>(i.a, l)) | u64::from(cx.lane::<u32>(i.b, l)) << 32;
        let c: u32 = cx.lane(i.c, l);
        let select = |at: u32, signed: bool| extend(both >> (bits * (i.imm as u32 >> at & 7)), bits, signed);
        let mut out = c;
        for k in (0..count).filter(|k| i.x >> (PART_SHIFT + k) & 1 != 0) {
            let a = select(3 * k, i.x & A_SIGNED != 0);
            let b = select(12 + 3 * k, i.x & B_SIGNED != 0);
            let v = combine(op, a, b, i.x);
            if i.x & ACCUMULATE != 0 {
                out = out.wrapping_add(v as u32);
                continue;
            }
            let v = if i.x & SATURATE != 0 { clamp(v, bits, i.x & D_SIGNED != 0) } else { v };
            let mask = (1u32 << bits) - 1;
            out = out & !(mask << (bits * k)) | (v as u32 & mask) << (bits * k);
        }
        out
    });
    cx.put::<u32>(i.d, &out, m);
    Flow::Next
}

/// A register without its part and sign, the part's name, and whether it is negated.
fn strip<'o, 'a>(o: &'o Operand<'a>) -> (&'o Operand<'a>, &'a str, bool) {
    match o {
        Operand::Negative(inner) => {
            let (o, part, negative) = strip(inner);
            (o, part, !negative)
        }
        Operand::Part(inner, part) => (inner, part, false),
        o => (o, "", false),
    }
}

fn signs(lw: &Lower<'_, '_>, types: &[Ty]) -> Decoded<[u32; 3]> {
    let bit = |ty: Ty, bit: u32| match ty {
        Ty::U32 => Some(0),
        Ty::S32 => Some(bit),
        _ => None,
    };
    let all = match *types {
        [d, a, b] => [bit(d, D_SIGNED), bit(a, A_SIGNED), bit(b, B_SIGNED)],
        [a, b] => [Some(0), bit(a, A_SIGNED), bit(b, B_SIGNED)],
        _ => [None; 3],
    };
    match all {
        [Some(d), Some(a), Some(b)] => Ok([d, a, b]),
        _ => lw.refuse("takes .u32 and .s32"),
    }
}

/// Decodes the family.
pub fn decode<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let name = f.ins.root.get(1..).unwrap_or("");
    if name == "mad" {
        return mad(lw, f);
    }
    let lanes = name.chars().last().filter(char::is_ascii_digit);
    let plain = name.trim_end_matches(['2', '4']);
    let Some(op) = OPERATIONS.iter().position(|o| *o == plain) else { return lw.refuse("is not known") };
    let set = plain == "set";
    if f.types.len() != if set { 2 } else { 3 } {
        return lw.refuse(if set { "names two types" } else { "names three types" });
    }
    let mut x = op as u32 | signs(lw, &f.types)?.iter().sum::<u32>();
    if set {
        let Some(c) = f.find(|m| COMPARISONS.iter().position(|k| *k == m)) else {
            return lw.refuse("names no comparison");
        };
        x |= (c as u32) << COMPARE_SHIFT;
    } else if f.flag("sat") {
        x |= SATURATE;
    }
    if lanes.is_some() {
        return simd(lw, f, x, lanes == Some('4'));
    }
    if matches!(plain, "shl" | "shr") {
        match f.one_of(&["clamp", "wrap"]) {
            Some("wrap") => x |= WRAP,
            Some(_) => {}
            None => return lw.refuse("names neither .clamp nor .wrap"),
        }
        if x & B_SIGNED != 0 {
            return lw.refuse("the amount of a shift is .u32");
        }
    }
    let second = f.find(|m| SECOND.iter().position(|k| *k == m));
    let ops = f.operands();
    f.arity(lw, 3..=4)?;
    let (d, to, _) = strip(&ops[0]);
    if (ops.len() == 4) != (second.is_some() || !to.is_empty()) || (second.is_some() && !to.is_empty()) {
        return lw.refuse("takes a third source for a second operation or for a part of the destination, not for both");
    }
    x |= second.map_or(0, |s| (s as u32 + 1) << SECOND_SHIFT);
    let mut sources = [Opnd::No; 3];
    let mut parts = [to; 3];
    for k in 0..2 {
        let (o, part, negative) = strip(&ops[k + 1]);
        if negative {
            return lw.refuse("takes no negated operand");
        }
        (sources[k], parts[k]) = (lw.src(o, Ty::B32)?, part);
    }
    if let Some(c) = ops.get(3) {
        sources[2] = lw.src(c, Ty::B32)?;
    }
    for (k, part) in parts.iter().enumerate() {
        let Some(p) = PARTS.iter().position(|p| p == part) else {
            return lw.refuse(format!("'.{part}' is no part of a register"));
        };
        x |= (p as u32) << (PART_SHIFT + 3 * k as u32);
    }
    let d = lw.dst(d, Ty::B32)?;
    lw.emit(MInst::new(OpPair::same(scalar)).d(d).a(sources[0]).b(sources[1]).c(sources[2]).x(x));
    Ok(())
}

fn mad<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>) -> Decoded {
    let mut x: u32 = signs(lw, &f.types)?.iter().sum();
    let plus_one = f.flag("po");
    if f.flag("sat") {
        x |= SATURATE;
    }
    match f.one_of(&["shr7", "shr15"]) {
        Some("shr7") => x |= 7 << 24,
        Some(_) => x |= 15 << 24,
        None => {}
    }
    f.arity(lw, 4..=4)?;
    let ops = f.operands();
    let mut sources = [Opnd::No; 3];
    let mut negatives = 0;
    for k in 0..3 {
        let (o, part, negative) = strip(&ops[k + 1]);
        let Some(p) = PARTS.iter().position(|p| *p == part).filter(|p| k < 2 || *p == 0) else {
            return lw.refuse(format!("'.{part}' is no part of this operand"));
        };
        sources[k] = lw.src(o, Ty::B32)?;
        x |= (p as u32) << (PART_SHIFT + 3 * k as u32) | u32::from(negative) << (21 + k);
        negatives += u32::from(negative);
    }
    // One operand of the sum may be negated, and not beside the plus one.
    if negatives > 1 && x >> 23 & 1 != 0 || (plus_one && negatives > 0) {
        return lw.refuse("these negations exclude each other");
    }
    if plus_one {
        x |= WRAP;
    }
    let d = lw.dst(&ops[0], Ty::B32)?;
    lw.emit(MInst::new(OpPair::same(multiply_add)).d(d).a(sources[0]).b(sources[1]).c(sources[2]).x(x));
    Ok(())
}

fn simd<'a>(lw: &mut Lower<'_, 'a>, f: &mut Form<'_, 'a>, mut x: u32, four: bool) -> Decoded {
    let (letter, count) = if four { ('b', 4) } else { ('h', 2) };
    if four {
        x |= BYTES;
    }
    if f.flag("add") {
        x |= ACCUMULATE;
        if x & SATURATE != 0 {
            return lw.refuse(".sat does not go with .add");
        }
    }
    f.arity(lw, 4..=4)?;
    let ops = f.operands();
    // Digits from the highest element to the lowest.
    let digits =
        |text: &str| -> Option<Vec<u32>> { text.strip_prefix(letter)?.chars().rev().map(|c| c.to_digit(10)).collect() };
    let (d, mask, _) = strip(&ops[0]);
    let ascending = |list: &Vec<u32>| list.windows(2).all(|w| w[0] < w[1]) && list.iter().all(|k| *k < count);
    let written = if mask.is_empty() { Some((0..count).collect()) } else { digits(mask).filter(ascending) };
    let Some(written) = written else { return lw.refuse(format!("'.{mask}' is no mask")) };
    x |= written.iter().fold(0, |m, k| m | 1 << (PART_SHIFT + k));
    let mut selectors = 0i64;
    let mut sources = [Opnd::No; 2];
    for k in 0..2u32 {
        let (o, select, negative) = strip(&ops[k as usize + 1]);
        let list = if select.is_empty() { Some((k * count..(k + 1) * count).collect()) } else { digits(select) };
        let list =
            list.filter(|l: &Vec<u32>| l.len() == count as usize && l.iter().all(|e| *e < 2 * count) && !negative);
        let Some(list) = list else { return lw.refuse(format!("'.{select}' is no selector")) };
        for (n, e) in list.iter().enumerate() {
            selectors |= i64::from(*e) << (12 * k + 3 * n as u32);
        }
        sources[k as usize] = lw.src(o, Ty::B32)?;
    }
    let c = lw.src(&ops[3], Ty::B32)?;
    let d = lw.dst(d, Ty::B32)?;
    lw.emit(MInst::new(OpPair::same(packed)).d(d).a(sources[0]).b(sources[1]).c(c).x(x).imm(selectors));
    Ok(())
}
