//! No form without a test: every opcode of the tables is changed by one modifier at a time, and what the machine then
//! accepts has to be in the tables too.

use super::harness::{Row, kernel, load};
use std::collections::{BTreeMap, BTreeSet};
use virtual_gpu::model::DeviceModel;

/// Modifiers that are tried everywhere.
const COMMON: [&str; 34] = [
    "rn",
    "rz",
    "rm",
    "rp",
    "rni",
    "rzi",
    "ftz",
    "sat",
    "satfinite",
    "relu",
    "approx",
    "full",
    "NaN",
    "abs",
    "lo",
    "hi",
    "wide",
    "cc",
    "b8",
    "u8",
    "s8",
    "b16",
    "u16",
    "s16",
    "b32",
    "u32",
    "s32",
    "b64",
    "u64",
    "s64",
    "f16",
    "bf16",
    "f32",
    "f64",
];

/// A form, whatever the order of its modifiers.
fn canonical(opcode: &str) -> String {
    let (root, rest) = opcode.split_once('.').unwrap_or((opcode, ""));
    // Where two types stand, their order counts; other modifiers are a bag.
    let is_type = |m: &&str| width(m).is_some();
    let types: Vec<&str> = rest.split('.').filter(is_type).collect();
    let mut bag: Vec<&str> = rest.split('.').filter(|m| !m.is_empty() && !is_type(m)).collect();
    bag.sort_unstable();
    format!("{root} {} {}", bag.join("."), types.join("."))
}

fn width(ty: &str) -> Option<u32> {
    Some(match ty {
        "pred" => 1,
        "b8" | "u8" | "s8" | "b16" | "u16" | "s16" | "f16" | "bf16" => 16,
        "b32" | "u32" | "s32" | "f32" | "f16x2" | "bf16x2" | "u16x2" | "s16x2" | "tf32" => 32,
        "e4m3x2" | "e5m2x2" => 16,
        "b64" | "u64" | "s64" | "f64" => 64,
        _ => return None,
    })
}

fn class(width: u32) -> char {
    match width {
        1 => 'p',
        16 => 'h',
        32 => 'r',
        _ => 'd',
    }
}

/// Opcodes of the statements of a row, in order.
fn opcodes(row: &Row) -> Vec<String> {
    let text = format!("{} {}", row.op, row.operands);
    let first = |s: &str| s.split_whitespace().next().map(str::to_string);
    text.split(';').filter_map(first).filter(|t| !t.starts_with('.')).collect()
}

#[test]
fn every_accepted_form_is_in_a_table() {
    let mut rows = super::integer::rows();
    rows.extend(super::float::rows());
    rows.extend(super::float::approximate());
    rows.extend(super::convert::rows());
    rows.extend(super::compare::rows());
    let mut tested: BTreeSet<String> = BTreeSet::new();
    let mut modifiers: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in &rows {
        for opcode in opcodes(row) {
            tested.insert(canonical(&opcode));
            let (root, rest) = opcode.split_once('.').unwrap_or((&opcode, ""));
            modifiers.entry(root.into()).or_default().extend(rest.split('.').map(str::to_string));
        }
    }
    let mut tried = tested.clone();
    let mut missing = BTreeSet::new();
    for row in &rows {
        let Some(opcode) = opcodes(row).pop() else { continue };
        let parts: Vec<&str> = opcode.split('.').collect();
        let all: BTreeSet<&str> =
            modifiers[parts[0]].iter().map(String::as_str).chain(COMMON).filter(|m| !m.is_empty()).collect();
        let mut variants: Vec<(Vec<&str>, String)> = Vec::new();
        for k in 1..parts.len() {
            let mut without = parts.clone();
            without.remove(k);
            variants.push((without, row.classes.clone()));
            for m in &all {
                let mut with = parts.clone();
                with[k] = m;
                // A type of another width takes other registers.
                let classes = match (width(parts[k]), width(m)) {
                    (Some(old), Some(new)) => row.classes.replace(class(old), &class(new).to_string()),
                    _ => row.classes.clone(),
                };
                variants.push((with, classes));
            }
        }
        for m in &all {
            let mut with = parts.clone();
            with.insert(1, m);
            variants.push((with, row.classes.clone()));
        }
        for (variant, classes) in variants {
            let name = variant.join(".");
            // The same modifier twice is another matter.
            let distinct: BTreeSet<&&str> = variant[1..].iter().collect();
            let repeated = distinct.len() < variant.len() - 1 && width(variant[variant.len() - 1]).is_none();
            if repeated || !tried.insert(canonical(&name)) {
                continue;
            }
            let op = row.op.strip_suffix(&opcode).map(|before| format!("{before}{name}"));
            let Some(op) = op else { continue };
            if load(&kernel(&op, &row.operands, &classes)).is_ok() {
                missing.insert(format!("{name} {} ({classes})", row.operands));
            }
        }
    }
    assert!(tried.len() > 4 * tested.len(), "few variants were tried: {}", tried.len());
    assert!(
        missing.is_empty(),
        "{} forms have no test:\n{}",
        missing.len(),
        missing.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// Every combination of shape and types that `mma` takes is in its table.
#[test]
fn every_accepted_matrix_shape_is_in_a_table() {
    use super::matrix::bits_of;
    let types = ["f16", "bf16", "tf32", "e4m3", "e5m2", "s8", "u8", "s4", "u4", "b1", "f64"];
    let sums = ["f16", "f32", "s32", "f64"];
    let tested: BTreeSet<String> = super::matrix::opcodes().into_iter().collect();
    let mut missing = Vec::new();
    let mut tried = 0;
    for a in types {
        for b in types {
            for (d, c) in sums.iter().flat_map(|d| sums.iter().map(move |c| (*d, *c))) {
                // Operands of one width, sums of one type or of both float types, four to sixteen registers' worth of A.
                let mixed = d != c && !(d.starts_with('f') && c.starts_with('f') && d != "f64" && c != "f64");
                if bits_of(a) != bits_of(b) || mixed {
                    continue;
                }
                for (m, k) in [8, 16].iter().flat_map(|m| [4, 8, 16, 32, 64, 128, 256].map(|k| (*m, k))) {
                    if !(64..=1024).contains(&(k * bits_of(a))) {
                        continue;
                    }
                    for (extra, tail) in [("", ""), (".satfinite", ""), ("", ".xor.popc"), ("", ".and.popc")] {
                        let opcode = format!("mma.sync.aligned.m{m}n8k{k}.row.col{extra}.{d}.{a}.{b}.{c}{tail}");
                        let unit = if a == "f64" { 64 } else { 32 };
                        let count = |elements: usize, ty: &str| (elements * bits_of(ty)).div_ceil(32 * unit).max(1);
                        let mut counts = [count(8 * m, d), count(m * k, a), count(8 * k, b), count(8 * m, c)];
                        if (m, k) == (8, 4) && a == "f16" {
                            let quad = |ty: &str| if ty == "f16" { 4 } else { 8 };
                            counts = [quad(d), 2, 2, quad(c)];
                        }
                        tried += 1;
                        if load(&super::matrix::kernel(&opcode, counts, unit == 64)).is_ok()
                            && !tested.contains(&opcode)
                        {
                            missing.push(opcode);
                        }
                    }
                }
            }
        }
    }
    assert!(tried > 10 * tested.len());
    assert!(missing.is_empty(), "{} shapes have no test:\n{}", missing.len(), missing.join("\n"));
}

/// Statements of a module's bodies, guards and labels taken off.
fn statements(text: &str) -> Vec<String> {
    let body = text.split_once("\n{\n").map_or(text, |(_, body)| body);
    body.split([';', '\n'])
        .filter_map(|statement| {
            let mut rest = statement.trim();
            while let Some((first, after)) = rest.split_once(char::is_whitespace) {
                if !first.starts_with('@') && !first.ends_with(':') {
                    break;
                }
                rest = after.trim_start();
            }
            (!rest.is_empty() && !rest.starts_with(['.', '}', '{'])).then(|| rest.to_string())
        })
        .collect()
}

/// A statement's form: its opcode, whatever the order of its modifiers, and how many operands it has.
fn form(statement: &str) -> String {
    let (opcode, operands) = statement.split_once(char::is_whitespace).unwrap_or((statement, ""));
    let mut depth = 0;
    let commas = operands.chars().filter(|c| {
        depth += match c {
            '[' | '{' | '(' => 1,
            ']' | '}' | ')' => -1,
            _ => 0,
        };
        *c == ',' && depth == 0
    });
    let count = if operands.trim().is_empty() { 0 } else { commas.count() + 1 };
    let (root, rest) = opcode.split_once('.').unwrap_or((opcode, ""));
    let mut modifiers: Vec<&str> = rest.split('.').collect();
    modifiers.sort_unstable();
    format!("{root}.{} of {count}", modifiers.join("."))
}

/// What the tests of the families execute.
fn executed() -> BTreeSet<String> {
    let rows = super::memory::accesses().into_iter().chain(super::memory::atomics());
    let texts = rows
        .map(|row| kernel(&row.op, &row.operands, &row.classes))
        .chain(super::copies::texts())
        .chain(super::reductions::texts())
        .chain(super::tensors::texts())
        .chain(super::warp::texts())
        .chain(super::mbarrier::texts())
        .chain(super::effects::texts())
        .chain(super::moves::texts())
        .chain(super::replace::texts())
        .chain([super::wgmma::text()])
        .chain(super::matrix::texts());
    texts.flat_map(|text| statements(&text)).map(|statement| form(&statement)).collect()
}

/// Of the other families too, what the machine accepts is executed by a test against a reference.
#[test]
fn every_accepted_form_of_the_families_is_executed() {
    let executed = executed();
    let mut missing = BTreeSet::new();
    let (mut tried, mut accepted) = (0, 0);
    for family in super::forms::FAMILIES {
        for candidate in family.candidates() {
            tried += 1;
            if super::machine::load(&super::forms::module(&candidate), &DeviceModel::H100).is_ok() {
                accepted += 1;
                if !executed.contains(&form(&candidate)) {
                    missing.insert(format!("{}: {candidate}", family.name));
                }
            }
        }
    }
    assert!(tried > 8 * accepted, "{accepted} of {tried} candidates were accepted");
    assert!(
        missing.is_empty(),
        "{} forms have no test:\n{}",
        missing.len(),
        missing.into_iter().collect::<Vec<_>>().join("\n")
    );
}

/// `wmma` and `mma.sp` in every combination of shape, layout and types.
#[test]
fn every_accepted_fragment_shape_is_in_a_table() {
    let mut tested: BTreeSet<String> = super::sparse::opcodes().into_iter().collect();
    tested.extend(super::wmma::texts().iter().flat_map(|text| statements(text)).filter_map(|statement| {
        let (opcode, _) = statement.split_once(char::is_whitespace)?;
        opcode.starts_with("wmma.").then(|| opcode.to_string())
    }));
    let (mut tried, mut missing) = (0, Vec::new());
    for (opcode, operands) in super::forms::fragments() {
        tried += 1;
        let text = super::forms::module(&format!("{opcode} {operands}"));
        if super::machine::load(&text, &DeviceModel::H100).is_ok() && !tested.contains(&opcode) {
            missing.push(opcode);
        }
    }
    assert!(tried > 3 * tested.len(), "{tried} candidates for {} forms", tested.len());
    assert!(missing.is_empty(), "{} forms have no test:\n{}", missing.len(), missing.join("\n"));
}
