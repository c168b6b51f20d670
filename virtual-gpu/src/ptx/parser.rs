//! The recursive-descent parser.

use super::ast::*;
use super::cursor::{Cursor, is_word};
use super::expr::{Constant, constant};
use super::types::{Space, Ty};
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

    /// `.attribute(.managed, .unified(1, 2))` after the keyword.
    fn attribute(&mut self) -> Result<()> {
        self.cur.expect(b'(')?;
        let mut depth = 1;
        while depth > 0 {
            match self.cur.peek() {
                0 => return self.cur.error("expected ')'"),
                b'(' => depth += 1,
                b')' => depth -= 1,
                b if b.is_ascii() => {}
                _ => return self.cur.error("unexpected character"),
            }
            self.cur.at += 1;
        }
        Ok(())
    }

    /// Variable declarations after their space: `.align 4 .b8 x[16] = {…}, y;`
    fn variables(&mut self, space: Space, linkage: Linkage) -> Result<Vec<Variable<'a>>> {
        let (mut align, mut vector, mut ty) = (0u64, 1u64, None);
        while let Some(word) = self.cur.dotted() {
            match word {
                "align" => align = u64::from(self.unsigned()?),
                "v2" => vector = 2,
                "v4" => vector = 4,
                "v8" => vector = 8,
                "attribute" => self.attribute()?,
                "ptr" => {}
                "global" | "const" | "shared" | "local" if ty.is_some() => {}
                _ => ty = Some(element_type(&self.cur, word)?),
            }
        }
        let Some(ty) = ty else { return self.cur.error("the variable has no type") };
        let element = u64::from(ty.bytes());
        if align == 0 {
            align = element * vector;
        }
        if !align.is_power_of_two() || align > 1 << 16 {
            return self.cur.error(format!("alignment {align} is not a power of two"));
        }
        let mut out = Vec::new();
        loop {
            self.cur.skip();
            let pos = self.cur.at as Pos;
            let mut linkage = linkage;
            let name = self.cur.identifier()?;
            let mut dims: Vec<u64> = Vec::new();
            let mut open = false;
            if self.cur.eat(b'<') {
                return self.cur.error("only registers take a <count>");
            }
            while self.cur.eat(b'[') {
                if self.cur.eat(b']') {
                    open = true;
                    dims.push(0);
                    continue;
                }
                let Constant::Int(n) = constant(&mut self.cur)? else {
                    return self.cur.error("an array length is an integer");
                };
                if n < 0 {
                    return self.cur.error("an array length is not negative");
                }
                dims.push(n as u64);
                self.cur.expect(b']')?;
            }
            let mut init = Vec::new();
            if self.cur.eat(b'=') {
                let mut strides = vec![element * vector; dims.len()];
                for k in (0..dims.len().saturating_sub(1)).rev() {
                    strides[k] = strides[k + 1].saturating_mul(dims[k + 1]);
                }
                if vector > 1 {
                    strides.push(element);
                }
                self.initialiser(ty, &strides, 0, &mut init, 0)?;
            }
            if open && !init.is_empty() {
                let inner: u64 = dims[1..].iter().product::<u64>().max(1) * element * vector;
                let last = init.iter().map(|i: &InitItem<'_>| i.offset + element).max().unwrap_or(0);
                dims[0] = last.div_ceil(inner);
                open = false;
            }
            let mut size = Some(element * vector);
            for d in &dims {
                size = size.and_then(|s| s.checked_mul(*d)).filter(|s| *s <= LARGEST_VARIABLE);
            }
            let Some(size) = size else { return self.cur.error("the variable is too large") };
            if init.iter().any(|i| i.offset + element > size) {
                return self.cur.error("the initialiser is longer than the variable");
            }
            if linkage == Linkage::Internal && open {
                linkage = Linkage::Extern;
            }
            out.push(Variable { name, space, ty, align, size, unsized_array: open, init, linkage, pos });
            if !self.cur.eat(b',') {
                break;
            }
        }
        self.cur.expect(b';')?;
        Ok(out)
    }

    fn initialiser(
        &mut self,
        ty: Ty,
        strides: &[u64],
        offset: u64,
        out: &mut Vec<InitItem<'a>>,
        depth: u32,
    ) -> Result<()> {
        if depth > 16 {
            return self.cur.error("the initialiser nests too deeply");
        }
        if self.cur.eat(b'{') {
            let stride = strides.first().copied().unwrap_or(u64::from(ty.bytes()));
            let mut at = offset;
            while !self.cur.eat(b'}') {
                self.initialiser(ty, strides.get(1..).unwrap_or(&[]), at, out, depth + 1)?;
                at = at.saturating_add(stride);
                if !self.cur.eat(b',') {
                    self.cur.expect(b'}')?;
                    break;
                }
            }
            return Ok(());
        }
        let value = self.init_value(ty)?;
        out.push(InitItem { offset, value });
        Ok(())
    }

    fn init_value(&mut self, ty: Ty) -> Result<InitValue<'a>> {
        let first = self.cur.peek();
        if is_word(first) && !first.is_ascii_digit() {
            let mut name = self.cur.identifier()?;
            let generic = name == "generic" && self.cur.peek() == b'(';
            if generic {
                self.cur.at += 1;
                name = self.cur.identifier()?;
                self.cur.expect(b')')?;
            }
            let addend = self.offset()?;
            return Ok(InitValue::Symbol { name, addend, mask: u64::MAX });
        }
        let value = constant(&mut self.cur)?;
        if let (Constant::Int(mask), b'(') = (value, self.cur.peek()) {
            self.cur.at += 1;
            let mut name = self.cur.identifier()?;
            if name == "generic" && self.cur.eat(b'(') {
                name = self.cur.identifier()?;
                self.cur.expect(b')')?;
            }
            let addend = self.offset()?;
            self.cur.expect(b')')?;
            return Ok(InitValue::Symbol { name, addend, mask: mask as u64 });
        }
        Ok(InitValue::Bits(match (value, ty) {
            (Constant::Int(v), Ty::F32) => u64::from((v as f32).to_bits()),
            (Constant::Int(v), Ty::F64) => (v as f64).to_bits(),
            (Constant::Int(v), _) => v as u64,
            (Constant::F64(v), Ty::F32) => u64::from((f64::from_bits(v) as f32).to_bits()),
            (Constant::F64(v), _) => v,
            (Constant::F32(v), Ty::F64) => f64::from(f32::from_bits(v)).to_bits(),
            (Constant::F32(v), _) => u64::from(v),
        }))
    }

    /// `+ 4` or `- 4`, or nothing.
    fn offset(&mut self) -> Result<i64> {
        match self.cur.peek() {
            b'+' => {
                self.cur.at += 1;
                self.offset_value()
            }
            b'-' => self.offset_value(),
            _ => Ok(0),
        }
    }

    fn offset_value(&mut self) -> Result<i64> {
        match constant(&mut self.cur)? {
            Constant::Int(v) => Ok(v),
            _ => self.cur.error("an offset is an integer"),
        }
    }

    /// `(.param .b32 x, .reg .u64 y)` after the opening parenthesis.
    fn formals(&mut self, mut body: Option<&mut Body<'a>>) -> Result<Vec<Formal<'a>>> {
        let mut out = Vec::new();
        if self.cur.eat(b')') {
            return Ok(out);
        }
        loop {
            self.cur.skip();
            let pos = self.cur.at as Pos;
            let space = match self.cur.dotted() {
                Some("param") => Space::Param,
                Some("reg") => Space::Reg,
                _ => return self.cur.error("expected .param or .reg"),
            };
            let (mut align, mut vector, mut ty, mut pointer) = (0, 1, None, false);
            while let Some(word) = self.cur.dotted() {
                match word {
                    "align" if pointer => {
                        self.unsigned()?;
                    }
                    "align" => align = self.unsigned()?,
                    "v2" => vector = 2,
                    "v4" => vector = 4,
                    "ptr" => pointer = true,
                    "global" | "const" | "shared" | "local" if pointer => {}
                    _ => ty = Some(element_type(&self.cur, word)?),
                }
            }
            let Some(ty) = ty else { return self.cur.error("the parameter has no type") };
            let name = self.cur.identifier()?;
            let mut size = ty.bytes() * vector;
            if align == 0 {
                align = size.max(1);
            }
            while self.cur.eat(b'[') {
                if self.cur.eat(b']') {
                    size = 0;
                    continue;
                }
                let count = self.unsigned()?;
                match size.checked_mul(count) {
                    Some(bytes) if bytes <= 1 << 20 => size = bytes,
                    _ => return self.cur.error("the parameter is too large"),
                }
                self.cur.expect(b']')?;
            }
            if !align.is_power_of_two() || align > 1 << 16 {
                return self.cur.error(format!("alignment {align} is not a power of two"));
            }
            let mut id = 0;
            if let Some(body) = body.as_deref_mut() {
                if space == Space::Reg {
                    id = body.add_registers(name, ty, 1, false);
                    body.declare(name, Local::Reg(id));
                } else {
                    id = body.f.variables.len() as u32;
                    body.f.variables.push(Variable {
                        name,
                        space,
                        ty,
                        align: u64::from(align),
                        size: u64::from(size),
                        unsized_array: false,
                        init: Vec::new(),
                        linkage: Linkage::Internal,
                        pos,
                    });
                    body.declare(name, Local::Var(id));
                }
            }
            out.push(Formal { name, space, ty, align, size, id });
            if !self.cur.eat(b',') {
                break;
            }
        }
        self.cur.expect(b')')?;
        Ok(out)
    }

    fn function(&mut self, entry: bool, linkage: Linkage, pos: Pos) -> Result<()> {
        let f = Function { entry, linkage, pos, scopes: vec![0], ..Function::default() };
        let mut body = Body { f, scopes: vec![(0, HashMap::new())], location: None, in_call: false };
        if self.cur.peek() == b'.' && self.cur.text[self.cur.at..].starts_with(".attribute") {
            self.cur.dotted();
            self.attribute()?;
        }
        if self.cur.eat(b'(') {
            body.f.returns = self.formals(Some(&mut body))?;
        }
        body.f.name = self.cur.identifier()?;
        if self.cur.eat(b'(') {
            body.f.params = self.formals(Some(&mut body))?;
        }
        loop {
            match self.cur.peek() {
                b';' => {
                    self.cur.at += 1;
                    break;
                }
                b'{' => {
                    self.cur.at += 1;
                    body.f.defined = true;
                    self.body(&mut body)?;
                    break;
                }
                b'.' => self.function_directive(&mut body)?,
                _ => return self.cur.error("expected '{', ';' or a directive"),
            }
        }
        self.ast.functions.push(body.f);
        Ok(())
    }

    fn triple(&mut self) -> Result<[u32; 3]> {
        let mut out = [1; 3];
        for slot in &mut out {
            *slot = self.unsigned()?;
            if !self.cur.eat(b',') {
                break;
            }
        }
        Ok(out)
    }

    fn function_directive(&mut self, body: &mut Body<'a>) -> Result<()> {
        let Some(word) = self.cur.dotted() else { return self.cur.error("expected a directive") };
        match word {
            "maxntid" => body.f.directives.maxntid = Some(self.triple()?),
            "reqntid" => body.f.directives.reqntid = Some(self.triple()?),
            "minnctapersm" => body.f.directives.minnctapersm = Some(self.unsigned()?),
            "maxnctapersm" => {
                self.unsigned()?;
            }
            "maxnreg" => body.f.directives.maxnreg = Some(self.unsigned()?),
            "reqnctapercluster" => body.f.directives.reqnctapercluster = Some(self.triple()?),
            "maxclusterrank" => body.f.directives.maxclusterrank = Some(self.unsigned()?),
            "explicitcluster" => body.f.directives.explicitcluster = true,
            "noreturn" | "blocksareclusters" => {}
            "attribute" | "unified" => self.attribute()?,
            "abi_preserve" | "abi_preserve_control" => {
                self.unsigned()?;
            }
            "pragma" => self.pragma()?,
            "loc" => {
                self.location()?;
            }
            "file" => {
                let file = self.file()?;
                self.ast.files.push(file);
            }
            _ => return self.cur.error(format!("the directive .{word} is not known for functions")),
        }
        Ok(())
    }

    fn body(&mut self, body: &mut Body<'a>) -> Result<()> {
        loop {
            match self.cur.peek() {
                0 => return self.cur.error("the function does not end"),
                b'}' => {
                    self.cur.at += 1;
                    body.scopes.pop();
                    if body.scopes.is_empty() {
                        return Ok(());
                    }
                }
                b'{' => {
                    self.cur.at += 1;
                    if body.scopes.len() >= DEEPEST_BLOCK {
                        return self.cur.error("blocks nest too deeply");
                    }
                    let parent = body.scope();
                    body.f.scopes.push(parent);
                    body.scopes.push((body.f.scopes.len() as u32 - 1, HashMap::new()));
                }
                b';' => self.cur.at += 1,
                b'.' => self.body_directive(body)?,
                b'@' if self.cur.raw_at(1) == b'@' => self.cur.skip_line(),
                b'@' => {
                    self.cur.at += 1;
                    let negated = self.cur.eat(b'!');
                    let name = self.cur.identifier()?;
                    let Some(Local::Reg(reg)) = body.lookup(name) else {
                        return self.cur.error(format!("the guard '{name}' is not a declared register"));
                    };
                    self.instruction(body, Some((reg, negated)))?;
                }
                _ => {
                    let before = self.cur.clone();
                    let name = self.cur.identifier()?;
                    if self.cur.peek() == b':' && self.cur.raw_at(1) != b':' {
                        self.cur.at += 1;
                        self.label(body, name)?;
                    } else {
                        self.cur = before;
                        self.instruction(body, None)?;
                    }
                }
            }
        }
    }

    fn label(&mut self, body: &mut Body<'a>, name: &'a str) -> Result<()> {
        let before = self.cur.clone();
        if self.cur.peek() == b'.' {
            match self.cur.dotted() {
                Some("callprototype") => {
                    let returns = if self.cur.eat(b'(') { self.formals(None)? } else { Vec::new() };
                    self.cur.identifier()?;
                    let params = if self.cur.eat(b'(') { self.formals(None)? } else { Vec::new() };
                    while let Some(word) = self.cur.dotted() {
                        match word {
                            "noreturn" => {}
                            "abi_preserve" | "abi_preserve_control" => {
                                self.unsigned()?;
                            }
                            _ => return self.cur.error(format!(".{word} is not known for prototypes")),
                        }
                    }
                    self.cur.expect(b';')?;
                    body.f.prototypes.push(Prototype { name, returns, params });
                    return Ok(());
                }
                Some("branchtargets" | "calltargets") => {
                    let mut names = vec![self.cur.identifier()?];
                    while self.cur.eat(b',') {
                        names.push(self.cur.identifier()?);
                    }
                    self.cur.expect(b';')?;
                    let scope = body.scope();
                    body.f.target_lists.push((name, names, scope));
                    return Ok(());
                }
                _ => self.cur = before,
            }
        }
        let (scope, next) = (body.scope(), body.f.body.len() as u32);
        if body.f.labels.iter().rev().take(64).any(|(n, s, _)| *n == name && *s == scope) {
            return self.cur.error(format!("the label '{name}' is defined twice"));
        }
        body.f.labels.push((name, scope, next));
        Ok(())
    }

    fn body_directive(&mut self, body: &mut Body<'a>) -> Result<()> {
        let before = self.cur.clone();
        let Some(word) = self.cur.dotted() else { return self.cur.error("expected a directive") };
        match word {
            "reg" => self.registers(body),
            "local" | "shared" | "param" | "global" | "const" => {
                let space = match word {
                    "local" => Space::Local,
                    "shared" => Space::Shared,
                    "param" => Space::Param,
                    "global" => Space::Global,
                    _ => Space::Const,
                };
                for var in self.variables(space, Linkage::Internal)? {
                    let id = body.f.variables.len() as u32;
                    body.declare(var.name, Local::Var(id));
                    body.f.variables.push(var);
                }
                Ok(())
            }
            "loc" => {
                let location = self.location()?;
                if body.f.locations.last() != Some(&location) {
                    body.f.locations.push(location);
                }
                body.location = Some(body.f.locations.len() as u32 - 1);
                Ok(())
            }
            "extern" | "visible" | "weak" => Ok(()),
            "section" => self.section(),
            _ => {
                self.cur = before;
                self.function_directive(body)
            }
        }
    }

    fn registers(&mut self, body: &mut Body<'a>) -> Result<()> {
        let (mut vector, mut ty) = (1, None);
        while let Some(word) = self.cur.dotted() {
            match word {
                "v2" => vector = 2,
                "v4" => vector = 4,
                "align" => {
                    self.unsigned()?;
                }
                _ => ty = Some(element_type(&self.cur, word)?),
            }
        }
        let Some(ty) = ty else { return self.cur.error("the register has no type") };
        loop {
            let name = self.cur.identifier()?;
            if self.cur.eat(b'<') {
                // A plain number: in an expression the bracket would compare.
                let Ok(count) = self.cur.word().parse::<u32>() else {
                    return self.cur.error("expected a number of registers");
                };
                self.cur.expect(b'>')?;
                if count > 1 << 20 || body.f.registers.len() > 1 << 22 || vector > 1 {
                    return self.cur.error(format!("{count} registers cannot be declared at once"));
                }
                let first = body.add_registers(name, ty, count, true);
                body.declare(name, Local::Range(first, count));
            } else if vector > 1 {
                let first = body.add_registers(name, ty, vector, true);
                body.declare(name, Local::VectorReg(first, vector));
            } else {
                let first = body.add_registers(name, ty, 1, false);
                body.declare(name, Local::Reg(first));
            }
            if !self.cur.eat(b',') {
                break;
            }
        }
        self.cur.expect(b';')
    }

    fn instruction(&mut self, body: &mut Body<'a>, guard: Option<(RegId, bool)>) -> Result<()> {
        self.cur.skip();
        let pos = self.cur.at as Pos;
        let root = self.cur.identifier()?;
        let mut modifiers = Vec::new();
        while self.cur.raw() == b'.' {
            match self.cur.dotted() {
                Some(word) => modifiers.push(word),
                None => return self.cur.error("expected a modifier after '.'"),
            }
        }
        body.in_call = root == "call";
        let mut operands = Vec::new();
        if self.cur.peek() != b';' {
            loop {
                operands.push(self.operand(body, 0)?);
                if !self.cur.eat(b',') {
                    break;
                }
            }
        }
        self.cur.expect(b';')?;
        let (scope, location) = (body.scope(), body.location);
        body.f.body.push(Instruction { guard, root, modifiers, operands, scope, pos, location });
        Ok(())
    }

    fn operand(&mut self, body: &mut Body<'a>, depth: u32) -> Result<Operand<'a>> {
        if depth > 8 {
            return self.cur.error("the operand nests too deeply");
        }
        let first = self.simple_operand(body, depth)?;
        if self.cur.peek() == b'|' && matches!(first, Operand::Reg(_) | Operand::Sink) {
            self.cur.at += 1;
            let second = self.simple_operand(body, depth)?;
            return Ok(Operand::Pair(Box::new(first), Box::new(second)));
        }
        Ok(first)
    }

    fn sequence(&mut self, body: &mut Body<'a>, close: u8, depth: u32) -> Result<Vec<Operand<'a>>> {
        let mut out = Vec::new();
        if self.cur.eat(close) {
            return Ok(out);
        }
        loop {
            out.push(self.operand(body, depth + 1)?);
            if !self.cur.eat(b',') {
                break;
            }
        }
        self.cur.expect(close)?;
        Ok(out)
    }

    fn simple_operand(&mut self, body: &mut Body<'a>, depth: u32) -> Result<Operand<'a>> {
        match self.cur.peek() {
            b'{' => {
                self.cur.at += 1;
                Ok(Operand::Vector(self.sequence(body, b'}', depth)?))
            }
            b'(' => {
                if !body.in_call {
                    return Ok(from_constant(constant(&mut self.cur)?));
                }
                self.cur.at += 1;
                Ok(Operand::List(self.sequence(body, b')', depth)?))
            }
            b'[' => {
                self.cur.at += 1;
                let base = self.operand(body, depth + 1)?;
                let (base, mut offset) = match base {
                    Operand::Var(v, o) => (Operand::Var(v, 0), o),
                    Operand::Ident(n, o) => (Operand::Ident(n, 0), o),
                    other => (other, 0),
                };
                offset += self.offset()?;
                if self.cur.eat(b',') {
                    let coords = match self.operand(body, depth + 1)? {
                        Operand::Vector(v) => v,
                        single => vec![single],
                    };
                    self.cur.expect(b']')?;
                    return Ok(Operand::Tensor(Box::new(base), offset, coords));
                }
                self.cur.expect(b']')?;
                match base {
                    Operand::Reg(_) | Operand::Var(..) | Operand::Ident(..) | Operand::Int(_) => {
                        Ok(Operand::Address(Box::new(base), offset))
                    }
                    _ => self.cur.error("an address is a register, a variable or an integer, plus an integer"),
                }
            }
            b'!' if !self.cur.raw_at(1).is_ascii_digit() => {
                self.cur.at += 1;
                let name = self.cur.identifier()?;
                match body.lookup(name) {
                    Some(Local::Reg(r)) => Ok(Operand::Not(r)),
                    _ => self.cur.error(format!("'{name}' is not a declared register")),
                }
            }
            b if is_word(b) && !b.is_ascii_digit() => self.named_operand(body),
            _ => Ok(from_constant(constant(&mut self.cur)?)),
        }
    }

    fn named_operand(&mut self, body: &mut Body<'a>) -> Result<Operand<'a>> {
        let start = self.cur.at;
        let name = self.cur.identifier()?;
        if name == "_" {
            return Ok(Operand::Sink);
        }
        match body.lookup(name) {
            Some(Local::Reg(r)) => return Ok(Operand::Reg(r)),
            Some(Local::VectorReg(first, count)) => {
                if self.cur.raw() != b'.' {
                    return Ok(Operand::Vector((first..first + count).map(Operand::Reg).collect()));
                }
                let component = match self.cur.dotted() {
                    Some("x" | "r") => 0,
                    Some("y" | "g") => 1,
                    Some("z" | "b") => 2,
                    Some("w" | "a") => 3,
                    _ => count,
                };
                if component >= count {
                    return self.cur.error(format!("'{name}' has {count} components"));
                }
                return Ok(Operand::Reg(first + component));
            }
            Some(Local::Var(v)) => return Ok(Operand::Var(v, self.offset()?)),
            Some(Local::Range(..)) | None => {}
        }
        if name.starts_with('%') {
            if self.cur.raw() == b'.' {
                self.cur.dotted();
            }
            let text = &self.cur.text[start..self.cur.at];
            return Ok(Operand::Special(text));
        }
        if name == "WARP_SZ" {
            return Ok(Operand::Int(32));
        }
        Ok(Operand::Ident(name, self.offset()?))
    }
}

fn from_constant<'a>(c: Constant) -> Operand<'a> {
    match c {
        Constant::Int(v) => Operand::Int(v),
        Constant::F64(v) => Operand::F64(v),
        Constant::F32(v) => Operand::F32(v),
    }
}
