//! Several translation units become one.
//!
//! The units' texts are joined, with one header, `.file` numbers that do not clash, and without debug sections. What a
//! unit keeps to itself (functions and variables that are neither visible, weak, common nor extern) gets another name
//! where another unit uses the name too. Declarations and definitions then meet as in one text.

use super::ast::{Ast, Linkage};
use super::cursor::{Cursor, is_word};
use super::parser::{SyntaxError, parse};
use std::collections::{HashMap, HashSet};

/// Opcodes that stand without a modifier and so look like names.
const BARE: [&str; 6] = ["ret", "exit", "trap", "brkpt", "bra", "call"];

/// Joins units.
///
/// # Errors
/// The number of the unit that is not PTX, and what is wrong there.
pub fn link(units: &[String]) -> Result<String, (usize, SyntaxError)> {
    let mut asts = Vec::new();
    for (k, text) in units.iter().enumerate() {
        asts.push(parse(text).map_err(|e| (k, e))?);
    }
    let names: Vec<HashMap<&str, Linkage>> = asts.iter().map(own_names).collect();
    let version = asts.iter().map(|a| a.version).max().unwrap_or((6, 0));
    let mut out = format!(".version {}.{}\n.target {}\n.address_size 64\n", version.0, version.1, target(&asts));
    let mut first_file = 0;
    for (k, ast) in asts.iter().enumerate() {
        let clashes = names[k].iter().filter(|(name, linkage)| {
            **linkage == Linkage::Internal
                && names.iter().enumerate().any(|(j, other)| j != k && other.contains_key(**name))
        });
        let renamed: HashSet<&str> = clashes.map(|(name, _)| *name).collect();
        copy(&units[k], &renamed, k, first_file, &mut out).map_err(|e| (k, e))?;
        first_file += ast.files.iter().map(|(n, _)| n + 1).max().unwrap_or(0);
    }
    Ok(out)
}

/// Names of a unit's functions and variables; kernels count as visible.
fn own_names<'a>(ast: &Ast<'a>) -> HashMap<&'a str, Linkage> {
    let functions = ast.functions.iter().map(|f| (f.name, if f.entry { Linkage::Visible } else { f.linkage }));
    let mut out = HashMap::new();
    for (name, linkage) in functions.chain(ast.variables.iter().map(|v| (v.name, v.linkage))) {
        // A declaration before the definition may leave the linkage out.
        let known = out.entry(name).or_insert(linkage);
        if *known == Linkage::Internal {
            *known = linkage;
        }
    }
    out
}

/// The highest architecture that a unit asks for, and every option.
fn target(asts: &[Ast<'_>]) -> String {
    let number = |t: &str| -> u32 {
        t.trim_start_matches("sm_").trim_end_matches(|c: char| c.is_ascii_alphabetic()).parse().unwrap_or(0)
    };
    let all = || asts.iter().flat_map(|a| a.target.iter().copied());
    // sm_90a asks for more than sm_90.
    let highest = all().filter(|t| t.starts_with("sm_")).max_by_key(|t| (number(t), t.len())).unwrap_or("sm_70");
    let mut out = vec![highest];
    for option in all().filter(|t| !t.starts_with("sm_")) {
        if !out.contains(&option) {
            out.push(option);
        }
    }
    out.join(", ")
}

/// Copies a unit behind its header.
fn copy(
    text: &str,
    renamed: &HashSet<&str>,
    unit: usize,
    first_file: u32,
    out: &mut String,
) -> Result<(), SyntaxError> {
    let mut cur = Cursor::new(text);
    // Numbers behind these words are numbers of files.
    let mut file_next = false;
    loop {
        let start = cur.at;
        let next = cur.peek();
        // White space and comments become one separator.
        if cur.at > start {
            out.push(if text[start..cur.at].contains('\n') { '\n' } else { ' ' });
        }
        let at = cur.at;
        match next {
            0 => return Ok(()),
            b'"' => {
                cur.string()?;
                out.push_str(&text[at..cur.at]);
            }
            b'.' if is_word(cur.raw_at(1)) && !cur.raw_at(1).is_ascii_digit() => {
                let word = cur.dotted().unwrap_or("");
                match word {
                    "version" | "target" | "address_size" if at == 0 || !is_word(text.as_bytes()[at - 1]) => {
                        cur.skip_line()
                    }
                    "section" => skip_section(&mut cur)?,
                    _ => {
                        file_next = matches!(word, "file" | "loc");
                        out.push_str(&text[at..cur.at]);
                    }
                }
            }
            b if is_word(b) => {
                let word = cur.word();
                if std::mem::take(&mut file_next)
                    && let Ok(number) = word.parse::<u32>()
                {
                    out.push_str(&(number + first_file).to_string());
                    continue;
                }
                file_next = word == "inlined_at";
                out.push_str(word);
                // `add.u32` is an opcode even where a function is called add.
                if renamed.contains(word) && cur.raw() != b'.' && !BARE.contains(&word) {
                    out.push_str(&format!("$unit{unit}"));
                }
            }
            _ => {
                cur.at += 1;
                while !text.is_char_boundary(cur.at) {
                    cur.at += 1;
                }
                out.push_str(&text[at..cur.at]);
            }
        }
    }
}

/// Skips a debug section to its closing bracket.
fn skip_section(cur: &mut Cursor<'_>) -> Result<(), SyntaxError> {
    let mut depth = 0;
    loop {
        match cur.peek() {
            0 => return cur.error("the section does not end"),
            b'"' => {
                cur.string()?;
                continue;
            }
            b'{' => depth += 1,
            b'}' if depth == 1 => {
                cur.at += 1;
                return Ok(());
            }
            b'}' => depth -= 1,
            _ => {}
        }
        cur.at += 1;
        while !cur.text.is_char_boundary(cur.at) {
            cur.at += 1;
        }
    }
}
