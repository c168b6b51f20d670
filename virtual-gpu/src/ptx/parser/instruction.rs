//! Instructions and their operands.

use super::{Body, Local, Parser, Result};
use crate::ptx::ast::*;
use crate::ptx::cursor::is_word;
use crate::ptx::expr::{Constant, constant};

impl<'a> Parser<'a> {
    pub(super) fn instruction(&mut self, body: &mut Body<'a>, guard: Option<(RegId, bool)>) -> Result<()> {
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

    pub(super) fn operand(&mut self, body: &mut Body<'a>, depth: u32) -> Result<Operand<'a>> {
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

    pub(super) fn sequence(&mut self, body: &mut Body<'a>, close: u8, depth: u32) -> Result<Vec<Operand<'a>>> {
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

    pub(super) fn simple_operand(&mut self, body: &mut Body<'a>, depth: u32) -> Result<Operand<'a>> {
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
                // `[a].unified` promises that all threads name one address.
                if self.cur.raw() == b'.' && self.cur.dotted() != Some("unified") {
                    return self.cur.error("only .unified may follow an address");
                }
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
            b'-' if is_word(self.cur.raw_at(1)) && !self.cur.raw_at(1).is_ascii_digit() => {
                self.cur.at += 1;
                Ok(Operand::Negative(Box::new(self.named_operand(body)?)))
            }
            b if is_word(b) && !b.is_ascii_digit() => self.named_operand(body),
            _ => Ok(from_constant(constant(&mut self.cur)?)),
        }
    }

    pub(super) fn named_operand(&mut self, body: &mut Body<'a>) -> Result<Operand<'a>> {
        let start = self.cur.at;
        let name = self.cur.identifier()?;
        if name == "_" {
            return Ok(Operand::Sink);
        }
        match body.lookup(name) {
            Some(Local::Reg(r)) if self.cur.raw() != b'.' => return Ok(Operand::Reg(r)),
            Some(Local::Reg(r)) => {
                let part = self.cur.dotted().unwrap_or("");
                return Ok(Operand::Part(Box::new(Operand::Reg(r)), part));
            }
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
