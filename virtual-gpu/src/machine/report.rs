//! Fault reports.

use super::exec::Cx;
use super::program::{Meta, Program};
use std::fmt::Write;

/// Source position of an instruction, as text.
pub(super) fn source(program: &Program, meta: &Meta) -> String {
    let file = |n: u32| program.files.iter().find(|(k, _)| *k == n).map_or("?", |(_, name)| name.as_str());
    let (line, column) = program.lines.locate(meta.pos);
    let mut text = format!("ptx line {line}, column {column}");
    if let Some(l) = &meta.location {
        let _ = write!(text, "; {}:{}:{}", file(l.file), l.line, l.column);
        if let Some((f, line, column)) = l.inlined_at {
            let _ = write!(text, ", inlined at {}:{line}:{column}", file(f));
        }
    }
    text
}

/// A report on the current instruction and one lane.
pub(super) fn describe(cx: &Cx<'_>, lane: usize, text: &str) -> String {
    let launch = cx.launch;
    let meta = &launch.code.meta[cx.pc as usize];
    let program = launch.program;
    let cta = &cx.ctas[cx.warp.cta];
    let thread = launch.thread_of(cx.warp.index, lane as u32);
    let statement = program.statement(meta.pos).split_whitespace().collect::<Vec<_>>().join(" ");
    let mut out = String::new();
    let _ = writeln!(out, "{text}");
    let _ = writeln!(out, "  kernel      {}", launch.entry.name);
    let function = &program.function_names[meta.function as usize];
    if *function != launch.entry.name {
        let _ = writeln!(out, "  function    {function}");
    }
    let _ = writeln!(out, "  instruction {statement}");
    let _ = writeln!(out, "  source      {}", source(program, meta));
    let [x, y, z] = cta.id;
    let _ = write!(out, "  block ({x},{y},{z}), thread ({},{},{})", thread[0], thread[1], thread[2]);
    out
}
