//! Functions: parameters, directives, body, labels and register declarations.

use super::{Body, DEEPEST_BLOCK, Local, Parser, Result, element_type};
use crate::ptx::ast::*;
use crate::ptx::types::Space;
use std::collections::HashMap;

impl<'a> Parser<'a> {
    /// `(.param .b32 x, .reg .u64 y)` after the opening parenthesis.
    pub(super) fn formals(&mut self, mut body: Option<&mut Body<'a>>) -> Result<Vec<Formal<'a>>> {
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

    pub(super) fn function(&mut self, entry: bool, linkage: Linkage, pos: Pos) -> Result<()> {
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

    pub(super) fn triple(&mut self) -> Result<[u32; 3]> {
        let mut out = [1; 3];
        for slot in &mut out {
            *slot = self.unsigned()?;
            if !self.cur.eat(b',') {
                break;
            }
        }
        Ok(out)
    }

    pub(super) fn function_directive(&mut self, body: &mut Body<'a>) -> Result<()> {
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

    pub(super) fn body(&mut self, body: &mut Body<'a>) -> Result<()> {
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

    pub(super) fn label(&mut self, body: &mut Body<'a>, name: &'a str) -> Result<()> {
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

    pub(super) fn body_directive(&mut self, body: &mut Body<'a>) -> Result<()> {
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

    pub(super) fn registers(&mut self, body: &mut Body<'a>) -> Result<()> {
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
}
