//! The recursive-descent parser.

mod function;
mod instruction;
mod variable;

use crate::ptx::ast::*;
use crate::ptx::cursor::Cursor;
use crate::ptx::expr::{Constant, constant};
use crate::ptx::types::{Space, Ty};
use std::collections::HashMap;

/// A syntax error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SyntaxError {
    /// Where.
    pub pos: Pos,
    /// What.
    pub message: String,
}

type Result<T> = std::result::Result<T, SyntaxError>;

/// Parses a module.
pub fn parse(text: &str) -> Result<Ast<'_>> {
    if text.len() > u32::MAX as usize {
        return Err(SyntaxError { pos: 0, message: "the text is longer than 4 GiB".into() });
    }
    let mut p = Parser { cur: Cursor::new(text), ast: Ast::default() };
    p.module()?;
    Ok(p.ast)
}

const DEEPEST_BLOCK: usize = 256;
const LARGEST_VARIABLE: u64 = 1 << 40;

struct Parser<'a> {
    cur: Cursor<'a>,
    ast: Ast<'a>,
}

#[derive(Clone, Copy)]
enum Local {
    Reg(RegId),
    /// First register and count of `%r<n>`.
    Range(RegId, u32),
    /// First component and count of a vector register.
    VectorReg(RegId, u32),
    Var(VarId),
}

/// The function being parsed, with its scopes.
struct Body<'a> {
    f: Function<'a>,
    scopes: Vec<(u32, HashMap<&'a str, Local>)>,
    location: Option<u32>,
    /// The instruction is a call: parentheses enclose its lists.
    in_call: bool,
}

impl<'a> Body<'a> {
    fn lookup(&self, name: &'a str) -> Option<Local> {
        if let Some(found) = self.scopes.iter().rev().find_map(|(_, names)| names.get(name)) {
            return Some(*found);
        }
        let digits = name.bytes().rev().take_while(u8::is_ascii_digit).count();
        let (prefix, number) = name.split_at(name.len() - digits);
        if digits == 0 || (digits > 1 && number.starts_with('0')) {
            return None;
        }
        let number: u32 = number.parse().ok()?;
        self.scopes.iter().rev().find_map(|(_, names)| match names.get(prefix) {
            Some(Local::Range(first, count)) if number < *count => Some(Local::Reg(first + number)),
            _ => None,
        })
    }

    fn declare(&mut self, name: &'a str, local: Local) {
        if let Some((_, names)) = self.scopes.last_mut() {
            names.insert(name, local);
        }
    }

    fn scope(&self) -> u32 {
        self.scopes.last().map_or(0, |(id, _)| *id)
    }

    fn add_registers(&mut self, name: &'a str, ty: Ty, count: u32, numbered: bool) -> RegId {
        let first = self.f.registers.len() as u32;
        self.f.registers.extend((0..count).map(|k| Register { name, number: numbered.then_some(k), ty }));
        first
    }
}

fn element_type(cur: &Cursor<'_>, name: &str) -> Result<Ty> {
    match Ty::from_name(name) {
        Some(ty) => Ok(ty),
        None => cur.error(format!("'.{name}' is not a type")),
    }
}

impl<'a> Parser<'a> {
    fn module(&mut self) -> Result<()> {
        let mut linkage = Linkage::Internal;
        loop {
            match self.cur.peek() {
                0 => {
                    if self.cur.at < self.cur.text.len() {
                        // Fat binaries pad their PTX with zero bytes.
                        if self.cur.text[self.cur.at..].bytes().all(|b| b == 0) {
                            return self.finish();
                        }
                        return self.cur.error("a zero byte stands in the text");
                    }
                    return self.finish();
                }
                b';' => self.cur.at += 1,
                b'@' if self.cur.raw_at(1) == b'@' => self.cur.skip_line(),
                b'.' => {
                    let pos = self.cur.at as Pos;
                    let Some(word) = self.cur.dotted() else { return self.cur.error("expected a directive") };
                    match word {
                        "version" => self.version(pos)?,
                        "target" => {
                            self.ast.target_pos = pos;
                            loop {
                                let word = self.cur.identifier()?;
                                self.ast.target.push(word);
                                if !self.cur.eat(b',') {
                                    break;
                                }
                            }
                        }
                        "address_size" => match constant(&mut self.cur)? {
                            Constant::Int(64) => {}
                            _ => return self.cur.error("only .address_size 64 is supported"),
                        },
                        "file" => {
                            let (number, name) = self.file()?;
                            self.ast.files.push((number, name));
                        }
                        "loc" => {
                            self.location()?;
                        }
                        "pragma" => self.pragma()?,
                        "section" => self.section()?,
                        "visible" => linkage = Linkage::Visible,
                        "extern" => linkage = Linkage::Extern,
                        "weak" => linkage = Linkage::Weak,
                        "common" => linkage = Linkage::Common,
                        "alias" => {
                            let new = self.cur.identifier()?;
                            self.cur.expect(b',')?;
                            let old = self.cur.identifier()?;
                            self.cur.expect(b';')?;
                            self.ast.aliases.push((new, old, pos));
                        }
                        "func" | "entry" => self.function(word == "entry", std::mem::take(&mut linkage), pos)?,
                        "global" | "const" | "shared" => {
                            let space = match word {
                                "global" => Space::Global,
                                "const" => Space::Const,
                                _ => Space::Shared,
                            };
                            let vars = self.variables(space, std::mem::take(&mut linkage))?;
                            self.ast.variables.extend(vars);
                        }
                        "tex" | "texref" | "samplerref" | "surfref" => {
                            return self.cur.error(format!(".{word} is not supported"));
                        }
                        _ => return self.cur.error(format!("the directive .{word} is not known at module level")),
                    }
                }
                _ => return self.cur.error("expected a directive"),
            }
        }
    }

    fn finish(&mut self) -> Result<()> {
        if self.ast.version == (0, 0) {
            return Err(SyntaxError { pos: 0, message: "missing .version directive".into() });
        }
        if self.ast.target.is_empty() {
            return Err(SyntaxError { pos: 0, message: "missing .target directive".into() });
        }
        Ok(())
    }

    fn version(&mut self, pos: Pos) -> Result<()> {
        self.ast.version_pos = pos;
        let major = self.cur.word().parse().ok();
        let minor = if self.cur.raw() == b'.' {
            self.cur.at += 1;
            self.cur.word().parse().ok()
        } else {
            None
        };
        match (major, minor) {
            (Some(major), Some(minor)) => self.ast.version = (major, minor),
            _ => return self.cur.error("expected a version such as 8.0"),
        }
        Ok(())
    }

    fn file(&mut self) -> Result<(u32, &'a str)> {
        let number = self.unsigned()?;
        let name = self.cur.string()?;
        for _ in 0..2 {
            if self.cur.eat(b',') {
                self.unsigned()?;
            }
        }
        Ok((number, name))
    }

    fn unsigned(&mut self) -> Result<u32> {
        match constant(&mut self.cur)? {
            Constant::Int(v) => Ok(v as u32),
            _ => self.cur.error("an integer is needed here"),
        }
    }

    fn location(&mut self) -> Result<Location> {
        let (file, line, column) = (self.unsigned()?, self.unsigned()?, self.unsigned()?);
        let mut inlined_at = None;
        while self.cur.peek() == b',' {
            self.cur.at += 1;
            match self.cur.word() {
                "function_name" => {
                    self.cur.identifier()?;
                    if self.cur.eat(b'+') {
                        self.unsigned()?;
                    }
                }
                "inlined_at" => inlined_at = Some((self.unsigned()?, self.unsigned()?, self.unsigned()?)),
                _ => return self.cur.error("expected function_name or inlined_at"),
            }
        }
        Ok(Location { file, line, column, inlined_at })
    }

    fn pragma(&mut self) -> Result<()> {
        self.cur.string()?;
        while self.cur.eat(b',') {
            self.cur.string()?;
        }
        self.cur.expect(b';')
    }

    fn section(&mut self) -> Result<()> {
        while self.cur.peek() != b'{' {
            if self.cur.raw() == 0 {
                return self.cur.error("expected '{'");
            }
            self.cur.at += 1;
            while !self.cur.text.is_char_boundary(self.cur.at) {
                self.cur.at += 1;
            }
        }
        let mut depth = 0usize;
        loop {
            match self.cur.peek() {
                0 => return self.cur.error("the section does not end"),
                b'{' => depth += 1,
                b'}' => depth -= 1,
                b'"' => {
                    self.cur.string()?;
                    continue;
                }
                _ => {}
            }
            self.cur.at += 1;
            while !self.cur.text.is_char_boundary(self.cur.at) {
                self.cur.at += 1;
            }
            if depth == 0 {
                return Ok(());
            }
        }
    }
}
