//! Constant expressions: integers with the operators of C, and floating literals.

use super::cursor::Cursor;
use super::parser::SyntaxError;

/// A constant.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Constant {
    Int(i64),
    /// Bits of a `0d` or decimal literal.
    F64(u64),
    /// Bits of a `0f` literal.
    F32(u32),
}

const DEEPEST: u32 = 64;

/// Parses a constant expression. `None` when the next token starts none.
pub(super) fn constant(cur: &mut Cursor<'_>) -> Result<Constant, SyntaxError> {
    ternary(cur, 0)
}

fn int(cur: &Cursor<'_>, c: Constant) -> Result<i64, SyntaxError> {
    match c {
        Constant::Int(v) => Ok(v),
        _ => cur.error("an integer is needed here"),
    }
}

fn ternary(cur: &mut Cursor<'_>, depth: u32) -> Result<Constant, SyntaxError> {
    let cond = binary(cur, 0, depth)?;
    if !cur.eat(b'?') {
        return Ok(cond);
    }
    let yes = ternary(cur, depth + 1)?;
    cur.expect(b':')?;
    let no = ternary(cur, depth + 1)?;
    Ok(if int(cur, cond)? != 0 { yes } else { no })
}

/// Binary operators by precedence, weakest first; longer spellings before their prefixes.
const LEVELS: [&[&str]; 10] = [
    &["||"],
    &["&&"],
    &["|"],
    &["^"],
    &["&"],
    &["==", "!="],
    &["<=", ">=", "<", ">"],
    &["<<", ">>"],
    &["+", "-"],
    &["*", "/", "%"],
];

fn operator<'a>(cur: &mut Cursor<'a>, level: usize) -> Option<&'static str> {
    cur.skip();
    let rest = &cur.text.as_bytes()[cur.at..];
    for op in LEVELS[level] {
        let next = rest.get(op.len()).copied().unwrap_or(0);
        let longer = match *op {
            "|" => next == b'|' || true_pair(rest),
            "&" => next == b'&',
            "<" | ">" => rest.first() == Some(&next),
            // `%` starts a register name, not a remainder, when a letter follows.
            "%" => next.is_ascii_alphabetic(),
            _ => false,
        };
        if rest.starts_with(op.as_bytes()) && !longer {
            cur.at += op.len();
            return Some(op);
        }
    }
    None
}

/// `5|%p`: a destination pair, not an expression.
fn true_pair(rest: &[u8]) -> bool {
    rest.get(1) == Some(&b'%')
}

fn binary(cur: &mut Cursor<'_>, level: usize, depth: u32) -> Result<Constant, SyntaxError> {
    if level == LEVELS.len() {
        return unary(cur, depth);
    }
    let mut left = binary(cur, level + 1, depth)?;
    while let Some(op) = operator(cur, level) {
        let right = binary(cur, level + 1, depth)?;
        if let (Constant::F64(a), Constant::F64(b)) = (left, right) {
            let (a, b) = (f64::from_bits(a), f64::from_bits(b));
            let truth = match op {
                "==" => Some(a == b),
                "!=" => Some(a != b),
                "<=" => Some(a <= b),
                ">=" => Some(a >= b),
                "<" => Some(a < b),
                ">" => Some(a > b),
                _ => None,
            };
            if let Some(truth) = truth {
                left = Constant::Int(i64::from(truth));
                continue;
            }
            let v = match op {
                "+" => a + b,
                "-" => a - b,
                "*" => a * b,
                "/" => a / b,
                _ => return cur.error("this operator takes integers"),
            };
            left = Constant::F64(v.to_bits());
            continue;
        }
        let (a, b) = (int(cur, left)?, int(cur, right)?);
        if (op == "/" || op == "%") && b == 0 {
            return cur.error("division by zero in a constant expression");
        }
        left = Constant::Int(match op {
            "||" => i64::from(a != 0 || b != 0),
            "&&" => i64::from(a != 0 && b != 0),
            "|" => a | b,
            "^" => a ^ b,
            "&" => a & b,
            "==" => i64::from(a == b),
            "!=" => i64::from(a != b),
            "<=" => i64::from(a <= b),
            ">=" => i64::from(a >= b),
            "<" => i64::from(a < b),
            ">" => i64::from(a > b),
            "<<" => a.wrapping_shl(b as u32),
            ">>" => a.wrapping_shr(b as u32),
            "+" => a.wrapping_add(b),
            "-" => a.wrapping_sub(b),
            "*" => a.wrapping_mul(b),
            "/" => a.wrapping_div(b),
            _ => a.wrapping_rem(b),
        });
    }
    Ok(left)
}

fn unary(cur: &mut Cursor<'_>, depth: u32) -> Result<Constant, SyntaxError> {
    if depth > DEEPEST {
        return cur.error("the expression nests too deeply");
    }
    match cur.peek() {
        b'-' => {
            cur.at += 1;
            Ok(match unary(cur, depth + 1)? {
                Constant::Int(v) => Constant::Int(v.wrapping_neg()),
                Constant::F64(v) => Constant::F64(v ^ 1 << 63),
                Constant::F32(v) => Constant::F32(v ^ 1 << 31),
            })
        }
        b'+' => {
            cur.at += 1;
            unary(cur, depth + 1)
        }
        b'~' => {
            cur.at += 1;
            let v = unary(cur, depth + 1)?;
            Ok(Constant::Int(!int(cur, v)?))
        }
        b'!' => {
            cur.at += 1;
            let v = unary(cur, depth + 1)?;
            Ok(Constant::Int(i64::from(int(cur, v)? == 0)))
        }
        b'(' => {
            cur.at += 1;
            if cur.peek() == b'.' {
                // A cast: `(.s64)` or `(.u64)`; both keep the 64 bits.
                match cur.dotted() {
                    Some("s64" | "u64") => {}
                    _ => return cur.error("expected the cast .s64 or .u64"),
                }
                cur.expect(b')')?;
                return unary(cur, depth + 1);
            }
            let v = ternary(cur, depth + 1)?;
            cur.expect(b')')?;
            Ok(v)
        }
        b'0'..=b'9' => number(cur),
        b'.' if cur.raw_at(1).is_ascii_digit() => number(cur),
        _ => cur.error("expected a constant"),
    }
}

fn number(cur: &mut Cursor<'_>) -> Result<Constant, SyntaxError> {
    let start = cur.at;
    let word = cur.word();
    let radix = |digits: &str, radix| {
        u64::from_str_radix(digits.trim_end_matches('U'), radix)
            .map(|v| Constant::Int(v as i64))
            .map_err(|_| SyntaxError { pos: start as u32, message: format!("'{word}' is not a 64-bit integer") })
    };
    let lower = word.as_bytes().get(1).map_or(0, |b| b.to_ascii_lowercase());
    if word.starts_with('0') && word.len() > 1 {
        match lower {
            b'x' => return radix(&word[2..], 16),
            b'b' => return radix(&word[2..], 2),
            b'f' | b'd' => {
                let want = if lower == b'f' { 8 } else { 16 };
                let bits = u64::from_str_radix(&word[2..], 16).ok().filter(|_| word.len() == 2 + want);
                return match bits {
                    Some(bits) if lower == b'f' => Ok(Constant::F32(bits as u32)),
                    Some(bits) => Ok(Constant::F64(bits)),
                    None => {
                        cur.at = start;
                        cur.error(format!("'{word}' needs {want} hexadecimal digits"))
                    }
                };
            }
            _ => {}
        }
    }
    let fraction = cur.raw() == b'.' && !cur.raw_at(1).is_ascii_alphabetic();
    let exponent = word.contains(['e', 'E']);
    if !fraction && !exponent {
        return if word.len() > 1 && word.starts_with('0') { radix(&word[1..], 8) } else { radix(word, 10) };
    }
    if fraction {
        cur.at += 1;
        cur.at += cur.text[cur.at..].bytes().take_while(|b| b.is_ascii_alphanumeric()).count();
    }
    let ends_in_e = |cur: &Cursor<'_>| matches!(cur.text.as_bytes()[cur.at - 1], b'e' | b'E');
    if ends_in_e(cur) && matches!(cur.raw(), b'+' | b'-') {
        cur.at += 1;
        cur.at += cur.text[cur.at..].bytes().take_while(|b| b.is_ascii_digit()).count();
    }
    match cur.text[start..cur.at].parse::<f64>() {
        Ok(v) => Ok(Constant::F64(v.to_bits())),
        Err(_) => {
            cur.at = start;
            cur.error("not a number")
        }
    }
}
