//! Variables and their initialisers.

use super::{LARGEST_VARIABLE, Parser, Result, element_type};
use crate::ptx::ast::*;
use crate::ptx::cursor::is_word;
use crate::ptx::expr::{Constant, constant};
use crate::ptx::types::{Space, Ty};

impl<'a> Parser<'a> {
    /// `.attribute(.managed, .unified(1, 2))` after the keyword.
    pub(super) fn attribute(&mut self) -> Result<()> {
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
    pub(super) fn variables(&mut self, space: Space, linkage: Linkage) -> Result<Vec<Variable<'a>>> {
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

    pub(super) fn initialiser(
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

    pub(super) fn init_value(&mut self, ty: Ty) -> Result<InitValue<'a>> {
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
    pub(super) fn offset(&mut self) -> Result<i64> {
        match self.cur.peek() {
            b'+' => {
                self.cur.at += 1;
                self.offset_value()
            }
            b'-' => self.offset_value(),
            _ => Ok(0),
        }
    }

    pub(super) fn offset_value(&mut self) -> Result<i64> {
        match constant(&mut self.cur)? {
            Constant::Int(v) => Ok(v),
            _ => self.cur.error("an offset is an integer"),
        }
    }
}
