//! System functions: `vprintf`, `malloc`, `free` and `__assertfail`.

use super::address::{self, Access, Where};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::lanes::OpPair;
use crate::machine::lower::{Decoded, Lower, MInst, Opnd, TaintRule};
use crate::machine::memory::AllocationKind;
use crate::machine::program::LoadErrorKind;
use std::sync::PoisonError;

/// Emits a call of a function that the driver supplies; arguments and results in words.
pub fn emit(lw: &mut Lower<'_, '_>, name: &str, words: &[Opnd], results: &[Opnd]) -> Decoded {
    let (op, arguments, returns): (crate::machine::exec::OpFn, usize, usize) = match name {
        "vprintf" => (vprintf, 4, 1),
        "malloc" => (malloc, 2, 2),
        "free" => (free, 2, 0),
        "__assertfail" => (assert_fail, 9, 0),
        _ => return lw.error(LoadErrorKind::Link, format!("the function '{name}' is declared but not defined")),
    };
    // `__assertfail` ends with a size_t behind an unsigned: 2 + 2 + 1 + 2 + 2 words.
    if words.len() != arguments || results.len() < returns.min(results.len()) {
        return lw.refuse(format!("'{name}' takes {arguments} words and got {}", words.len()));
    }
    let mut defs = results.to_vec();
    while defs.len() < returns {
        defs.push(lw.temp(crate::machine::lower::Width::W32));
    }
    lw.emit(MInst::new(OpPair::same(op)).list(&defs, words).x(defs.len() as u32).taint(TaintRule::Decide));
    Ok(())
}

fn argument(cx: &Cx<'_>, i: &Instr, k: usize, l: usize) -> u32 {
    cx.lane(cx.listed(i, i.x as usize + k), l)
}

fn pointer(cx: &Cx<'_>, i: &Instr, k: usize, l: usize) -> u64 {
    u64::from(argument(cx, i, k, l)) | u64::from(argument(cx, i, k + 1, l)) << 32
}

/// Reads bytes at a generic address.
fn bytes(cx: &mut Cx<'_>, at: u64, n: u32, l: usize) -> Result<u64, ()> {
    let place = address::resolve(cx, Where::Generic, at, n, 1, l, Access::Read)?;
    // SAFETY: resolved for n bytes.
    Ok(unsafe { address::load_bytes(place.pointer, n) } as u64)
}

fn string(cx: &mut Cx<'_>, at: u64, l: usize) -> Result<Vec<u8>, ()> {
    let mut out = Vec::new();
    for k in 0..1 << 16 {
        let b = bytes(cx, at + k, 1, l)? as u8;
        if b == 0 {
            break;
        }
        out.push(b);
    }
    Ok(out)
}

unsafe fn vprintf(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let mut results = [0u32; 32];
    let mut text = Vec::new();
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let (format, mut args) = (pointer(cx, i, 0, l), pointer(cx, i, 2, l));
        let Ok(format) = string(cx, format, l) else { return Flow::Fault };
        let Ok(count) = print(cx, &format, &mut args, l, &mut text) else { return Flow::Fault };
        results[l] = count;
    }
    cx.launch.printed.lock().unwrap_or_else(PoisonError::into_inner).extend(&text);
    if i.x > 0 {
        let d = cx.listed(i, 0);
        cx.put(d, &results, m);
    }
    Flow::Next
}

/// The next argument of a size, at its alignment.
fn next(cx: &mut Cx<'_>, args: &mut u64, size: u32, l: usize) -> Result<u64, ()> {
    *args = args.next_multiple_of(u64::from(size));
    let v = bytes(cx, *args, size, l)?;
    *args += u64::from(size);
    Ok(v)
}

fn print(cx: &mut Cx<'_>, format: &[u8], args: &mut u64, l: usize, out: &mut Vec<u8>) -> Result<u32, ()> {
    let mut count = 0;
    let mut at = 0;
    while at < format.len() {
        if format[at] != b'%' {
            out.push(format[at]);
            at += 1;
            continue;
        }
        at += 1;
        let mut spec = Spec::default();
        while let Some(b) = format.get(at).filter(|b| b"-+ #0".contains(b)) {
            match b {
                b'-' => spec.left = true,
                b'+' => spec.plus = true,
                b' ' => spec.space = true,
                b'#' => spec.alternate = true,
                _ => spec.zero = true,
            }
            at += 1;
        }
        let mut number = |at: &mut usize, cx: &mut Cx<'_>| -> Result<i64, ()> {
            if format.get(*at) == Some(&b'*') {
                *at += 1;
                count += 1;
                return Ok(i64::from(next(cx, args, 4, l)? as i32));
            }
            let mut n = 0i64;
            while let Some(b) = format.get(*at).filter(|b| b.is_ascii_digit()) {
                n = (n * 10 + i64::from(b - b'0')).min(4096);
                *at += 1;
            }
            Ok(n)
        };
        let width = number(&mut at, cx)?;
        spec.left |= width < 0;
        spec.width = width.unsigned_abs().min(4096) as usize;
        if format.get(at) == Some(&b'.') {
            at += 1;
            spec.precision = Some(number(&mut at, cx)?.clamp(0, 4096) as usize);
        }
        let mut long = 0;
        while let Some(b) = format.get(at).filter(|b| b"hlLqjzt".contains(b)) {
            long += match b {
                b'h' => -1,
                b'l' => 1,
                _ => 2,
            };
            at += 1;
        }
        let Some(kind) = format.get(at).copied() else { break };
        at += 1;
        if kind == b'%' {
            out.push(b'%');
            continue;
        }
        count += 1;
        let size = if long >= 1 { 8 } else { 4 };
        match kind {
            b'd' | b'i' => {
                let v = next(cx, args, size, l)?;
                let v = match (size, long) {
                    (8, _) => v as i64,
                    (_, -1) => i64::from(v as i16),
                    (_, ..=-2) => i64::from(v as i8),
                    _ => i64::from(v as i32),
                };
                spec.integer(out, v.unsigned_abs().to_string(), v < 0, true);
            }
            b'u' | b'x' | b'X' | b'o' => {
                let v = next(cx, args, size, l)?;
                let v = match long {
                    -1 => v & 0xffff,
                    ..=-2 => v & 0xff,
                    _ => v,
                };
                let digits = match kind {
                    b'u' => v.to_string(),
                    b'x' => format!("{}{v:x}", if spec.alternate && v != 0 { "0x" } else { "" }),
                    b'X' => format!("{}{v:X}", if spec.alternate && v != 0 { "0X" } else { "" }),
                    _ => format!("{}{v:o}", if spec.alternate && v != 0 { "0" } else { "" }),
                };
                spec.integer(out, digits, false, false);
            }
            b'c' => {
                let v = next(cx, args, 4, l)? as u8;
                spec.pad(out, vec![v], false);
            }
            b'p' => {
                let v = next(cx, args, 8, l)?;
                spec.pad(out, format!("{v:#x}").into_bytes(), false);
            }
            b's' => {
                let p = next(cx, args, 8, l)?;
                let mut s = if p == 0 { b"(null)".to_vec() } else { string(cx, p, l)? };
                if let Some(p) = spec.precision {
                    s.truncate(p);
                }
                spec.pad(out, s, false);
            }
            b'f' | b'F' | b'e' | b'E' | b'g' | b'G' | b'a' | b'A' => {
                let v = f64::from_bits(next(cx, args, 8, l)?);
                spec.float(out, v, kind);
            }
            other => {
                out.push(b'%');
                out.push(other);
            }
        }
    }
    Ok(count)
}

/// A conversion of a format string.
#[derive(Default)]
struct Spec {
    left: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    zero: bool,
    width: usize,
    precision: Option<usize>,
}

impl Spec {
    fn pad(&self, out: &mut Vec<u8>, body: Vec<u8>, numeric: bool) {
        let fill = self.width.saturating_sub(body.len());
        if self.left {
            out.extend(&body);
            out.extend(std::iter::repeat_n(b' ', fill));
        } else if numeric && self.zero {
            let sign = usize::from(matches!(body.first(), Some(b'-' | b'+' | b' ')));
            out.extend(&body[..sign]);
            out.extend(std::iter::repeat_n(b'0', fill));
            out.extend(&body[sign..]);
        } else {
            out.extend(std::iter::repeat_n(b' ', fill));
            out.extend(&body);
        }
    }

    fn sign(&self, negative: bool) -> &'static str {
        match (negative, self.plus, self.space) {
            (true, ..) => "-",
            (_, true, _) => "+",
            (_, _, true) => " ",
            _ => "",
        }
    }

    fn integer(&self, out: &mut Vec<u8>, digits: String, negative: bool, signed: bool) {
        let sign = if signed { self.sign(negative) } else { "" };
        let zeros = "0".repeat(self.precision.unwrap_or(1).saturating_sub(digits.len()));
        let body = format!("{sign}{zeros}{digits}").into_bytes();
        self.pad(out, body, self.precision.is_none());
    }

    fn float(&self, out: &mut Vec<u8>, v: f64, kind: u8) {
        let sign = self.sign(v.is_sign_negative() && !v.is_nan());
        let a = v.abs();
        let precision = self.precision.unwrap_or(6);
        let mut body = if v.is_nan() {
            "nan".to_string()
        } else if v.is_infinite() {
            "inf".to_string()
        } else {
            match kind {
                b'f' | b'F' => format!("{a:.precision$}"),
                b'e' | b'E' => exponent(a, precision),
                b'g' | b'G' => self.general(a, precision.max(1)),
                _ => hexadecimal(a),
            }
        };
        if kind.is_ascii_uppercase() {
            body = body.to_uppercase();
        }
        self.pad(out, format!("{sign}{body}").into_bytes(), v.is_finite());
    }

    fn general(&self, a: f64, precision: usize) -> String {
        let scientific = format!("{a:.*e}", precision - 1);
        let x: i32 = scientific.split('e').nth(1).and_then(|e| e.parse().ok()).unwrap_or(0);
        let text = if x < -4 || x >= precision as i32 {
            exponent(a, precision - 1)
        } else {
            format!("{a:.*}", (precision as i32 - 1 - x).max(0) as usize)
        };
        if self.alternate || !text.contains('.') {
            return text;
        }
        let (number, tail) = text.split_at(text.find('e').unwrap_or(text.len()));
        format!("{}{tail}", number.trim_end_matches('0').trim_end_matches('.'))
    }
}

/// `1.5e+00`, as C writes it.
fn exponent(a: f64, precision: usize) -> String {
    let text = format!("{a:.precision$e}");
    let (mantissa, e) = text.split_once('e').unwrap_or((&text, "0"));
    let e: i32 = e.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if e < 0 { '-' } else { '+' }, e.abs())
}

fn hexadecimal(a: f64) -> String {
    let bits = a.to_bits();
    let (field, fraction) = ((bits >> 52) as i32, bits & ((1 << 52) - 1));
    if a == 0.0 {
        return "0x0p+0".into();
    }
    let (lead, e) = if field == 0 { (0, -1022) } else { (1, field - 1023) };
    let digits = format!("{fraction:013x}");
    let digits = digits.trim_end_matches('0');
    let dot = if digits.is_empty() { "" } else { "." };
    format!("0x{lead}{dot}{digits}p{e:+}")
}

unsafe fn malloc(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let (mut low, mut high) = ([0u32; 32], [0u32; 32]);
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let size = pointer(cx, i, 0, l);
        // An exhausted heap gives a null pointer.
        let at = cx.launch.memory.alloc(size.max(1), AllocationKind::Heap).unwrap_or(0);
        (low[l], high[l]) = (at as u32, (at >> 32) as u32);
    }
    let (a, b) = (cx.listed(i, 0), cx.listed(i, 1));
    cx.put(a, &low, m);
    cx.put(b, &high, m);
    Flow::Next
}

unsafe fn free(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    for l in (0..32).filter(|l| m >> l & 1 != 0) {
        let at = pointer(cx, i, 0, l);
        if at == 0 {
            continue;
        }
        let heap = cx.launch.memory.lookup(at).is_none_or(|a| a.kind == AllocationKind::Heap);
        let freed = if heap {
            cx.launch.memory.free(at).map_err(|e| e.to_string())
        } else {
            Err("it is no heap memory".into())
        };
        if let Err(why) = freed {
            let text = format!("free of {at:#x}: {why}");
            return cx.fail(FaultKind::IllegalAddress, Some("memory"), Some(l), &text);
        }
        // What was looked up before the free may be stale.
        cx.worker.ranges.fill(Default::default());
    }
    Flow::Next
}

unsafe fn assert_fail(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let l = m.trailing_zeros() as usize;
    let read = |cx: &mut Cx<'_>, k: usize| -> Result<String, ()> {
        let p = pointer(cx, i, k, l);
        Ok(String::from_utf8_lossy(&string(cx, p, l)?).into_owned())
    };
    let (Ok(message), Ok(file), Ok(function)) = (read(cx, 0), read(cx, 2), read(cx, 5)) else { return Flow::Fault };
    let text = format!("{file}:{}: {function}: assertion `{message}` failed", argument(cx, i, 4, l));
    cx.fail(FaultKind::Assert, None, Some(l), &text)
}
