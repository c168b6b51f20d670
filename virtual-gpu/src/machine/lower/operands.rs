//! Operands as written, made registers, constants and addresses.

use super::{Address, Decoded, Lower, MInst, Opnd, Special, Width, module};
use crate::machine::program::LoadErrorKind;
use crate::machine::{lanes, ops};
use crate::ptx::{Operand, RegId, Space, Ty};

impl<'a> Lower<'_, 'a> {
    fn width_of(&self, r: RegId) -> Width {
        self.widths[r as usize]
    }

    /// Declared type of a register.
    pub fn reg_ty(&self, r: RegId) -> Ty {
        self.f.registers[r as usize].ty
    }

    fn check_width(&self, r: RegId, ty: Ty) -> Decoded {
        let have = self.reg_ty(r);
        if Width::of(have) != Width::of(ty) || (ty.bits() == 32 && have.bits() < 32) {
            return self.refuse(format!(
                "register {} is .{} but the operand is .{}",
                self.cx.register_name(self.f, r),
                format!("{have:?}").to_lowercase(),
                format!("{ty:?}").to_lowercase()
            ));
        }
        Ok(())
    }

    /// A source operand of a type.
    pub fn src(&mut self, o: &Operand<'a>, ty: Ty) -> Decoded<Opnd> {
        match o {
            Operand::Reg(r) => {
                self.check_width(*r, ty)?;
                Ok(Opnd::R(*r))
            }
            Operand::Int(v) => {
                let bits = match ty {
                    Ty::Pred => u64::from(*v != 0),
                    Ty::F32 => u64::from((*v as f32).to_bits()),
                    Ty::F64 => (*v as f64).to_bits(),
                    _ => mask_bits(*v as u64, ty),
                };
                Ok(self.constant(Width::of(ty), bits))
            }
            Operand::F64(v) => {
                let bits = match ty {
                    Ty::F64 | Ty::B64 | Ty::U64 | Ty::S64 => *v,
                    Ty::F32 | Ty::B32 => u64::from((f64::from_bits(*v) as f32).to_bits()),
                    _ => return self.refuse("a floating constant cannot stand here"),
                };
                Ok(self.constant(Width::of(ty), bits))
            }
            Operand::F32(v) => {
                let bits = match ty {
                    Ty::F64 => f64::from(f32::from_bits(*v)).to_bits(),
                    Ty::F32 | Ty::B32 | Ty::U32 | Ty::S32 | Ty::TF32 => u64::from(*v),
                    _ => return self.refuse("a floating constant cannot stand here"),
                };
                Ok(self.constant(Width::of(ty), bits))
            }
            Operand::Special(name) => self.special(name, ty),
            Operand::Var(..) | Operand::Ident(..) => self.symbol_value(o, ty),
            Operand::Not(r) if ty == Ty::Pred => {
                let d = self.temp(Width::P);
                self.emit(MInst::new(ops::logic::not_pred()).d(d).a(Opnd::R(*r)));
                Ok(d)
            }
            Operand::Vector(v) if v.len() == 1 => self.src(&v[0].clone(), ty),
            _ => self.refuse("an operand has the wrong form"),
        }
    }

    /// A destination of a type; `_` becomes a register nobody reads.
    pub fn dst(&mut self, o: &Operand<'a>, ty: Ty) -> Decoded<Opnd> {
        match o {
            Operand::Reg(r) => {
                self.check_width(*r, ty)?;
                Ok(Opnd::R(*r))
            }
            Operand::Sink => Ok(self.temp_for(ty)),
            Operand::Vector(v) if v.len() == 1 => self.dst(&v[0].clone(), ty),
            _ => self.refuse("the destination is not a register"),
        }
    }

    /// A destination that may be wider than the type (`ld`, `cvt`); with its declared type.
    pub fn wide_dst(&mut self, o: &Operand<'a>, ty: Ty) -> Decoded<(Opnd, Ty)> {
        match o {
            Operand::Reg(r) => {
                let have = self.reg_ty(*r);
                if have.bits() < ty.bits() || have == Ty::Pred {
                    return self.refuse("the destination register is narrower than the type");
                }
                Ok((Opnd::R(*r), have))
            }
            Operand::Sink => Ok((self.temp_for(ty), ty)),
            _ => self.refuse("the destination is not a register"),
        }
    }

    /// A source that may be wider than the type (`st`, `cvt`): low bits count; with its declared type.
    pub fn wide_src(&mut self, o: &Operand<'a>, ty: Ty) -> Decoded<(Opnd, Ty)> {
        if let Operand::Reg(r) = o {
            let have = self.reg_ty(*r);
            if have.bits() < ty.bits() || have == Ty::Pred {
                return self.refuse("the source register is narrower than the type");
            }
            return Ok((Opnd::R(*r), have));
        }
        let ty = if ty.bits() < 32 { Ty::B32 } else { ty };
        Ok((self.src(o, ty)?, ty))
    }

    /// The components of `{a, b}` or a single operand.
    pub fn components<'o>(&self, o: &'o Operand<'a>) -> Vec<&'o Operand<'a>> {
        match o {
            Operand::Vector(v) => v.iter().collect(),
            single => vec![single],
        }
    }

    /// All components as sources.
    pub fn src_vector(&mut self, o: &Operand<'a>, ty: Ty) -> Decoded<Vec<Opnd>> {
        self.components(o).into_iter().map(|c| self.src(c, ty)).collect()
    }

    /// All components as destinations.
    pub fn dst_vector(&mut self, o: &Operand<'a>, ty: Ty) -> Decoded<Vec<Opnd>> {
        self.components(o).into_iter().map(|c| self.dst(c, ty)).collect()
    }

    /// A special register.
    pub fn special(&mut self, name: &str, ty: Ty) -> Decoded<Opnd> {
        let Some(special) = Special::from_name(name) else {
            return self.refuse(format!("the special register {name} is not supported"));
        };
        let width = special.width();
        let slot = match special.dynamic() {
            Some(op) => {
                let d = self.temp(width);
                self.emit(MInst::new(op).d(d).x(special as u32));
                d
            }
            None => {
                self.cx.specials |= 1 << special as u64;
                Opnd::F(special.offset())
            }
        };
        match (width, Width::of(ty)) {
            (a, b) if a == b => Ok(slot),
            (Width::W64, Width::W32) => {
                let d = self.temp(Width::W32);
                self.emit(MInst::new(lanes::un(|a: u64| a as u32)).d(d).a(slot));
                Ok(d)
            }
            (Width::W32, Width::W64) => {
                let d = self.temp(Width::W64);
                self.emit(MInst::new(lanes::un(|a: u32| u64::from(a))).d(d).a(slot));
                Ok(d)
            }
            _ => self.refuse(format!("the special register {name} has another type")),
        }
    }

    /// The address of a variable or function as a value.
    fn symbol_value(&mut self, o: &Operand<'a>, ty: Ty) -> Decoded<Opnd> {
        let address = self.symbol_address(o)?;
        if ty.bits() < 32 || ty == Ty::B128 {
            return self.refuse("an address needs 32 or 64 bits");
        }
        let want = if ty.bits() == 64 { Width::W64 } else { Width::W32 };
        self.plus(address, want)
    }

    /// `base + offset` in a register of a width.
    pub fn plus(&mut self, address: Address, want: Width) -> Decoded<Opnd> {
        if let Opnd::K(k) = address.base
            && let Some((bits, relocated)) = self.cx.constant_value(k)
        {
            let value = bits.wrapping_add(address.offset as u64);
            if !relocated {
                return Ok(self.constant(want, if want == Width::W32 { value & 0xffff_ffff } else { value }));
            }
            if want == Width::W64 {
                let k = self.cx.relocated(k, address.offset);
                return Ok(Opnd::K(k));
            }
        }
        let d = self.temp(want);
        let op = match (address.wide, want) {
            (true, Width::W64) => lanes::bin(|a: u64, b: u64| a.wrapping_add(b)),
            (true, _) => lanes::bin(|a: u64, b: u64| a.wrapping_add(b) as u32),
            (false, Width::W64) => lanes::bin(|a: u32, b: u64| u64::from(a).wrapping_add(b)),
            (false, _) => lanes::bin(|a: u32, b: u64| a.wrapping_add(b as u32)),
        };
        let b = self.constant(Width::W64, address.offset as u64);
        self.emit(MInst::new(op).d(d).a(address.base).b(b));
        Ok(d)
    }

    /// The address a symbol stands for.
    fn symbol_address(&mut self, o: &Operand<'a>) -> Decoded<Address> {
        match o {
            Operand::Var(v, offset) => {
                let var = &self.f.variables[*v as usize];
                match var.space {
                    Space::Shared => self.shared_address(self.cx.local_shared_key(self.index, *v), *offset),
                    Space::Local => {
                        let at = self.cx.local_offset(self.index, *v) as i64 + offset;
                        if self.cx.recursive[self.index] {
                            self.cx.specials |= 1 << Special::FramePointer as u64;
                            return Ok(Address {
                                base: Opnd::F(Special::FramePointer.offset()),
                                wide: true,
                                offset: at,
                            });
                        }
                        Ok(Address { base: self.constant(Width::W64, at as u64), wide: true, offset: 0 })
                    }
                    Space::Param if self.f.entry => {
                        let at = self.cx.entry_param_offset(self.f, *v) as i64 + offset;
                        Ok(Address { base: self.constant(Width::W64, at as u64), wide: true, offset: 0 })
                    }
                    Space::Param => self.refuse("the address of a function's parameter cannot be taken"),
                    Space::Global | Space::Const => {
                        let k = self.cx.local_global(self.index, *v);
                        Ok(Address { base: Opnd::K(k), wide: true, offset: *offset })
                    }
                    Space::Reg => unreachable!("registers are no variables"),
                }
            }
            Operand::Ident(name, offset) => match self.cx.symbol(name) {
                Some(module::Symbol::Variable(k)) => {
                    if self.cx.ast.variables[k].space == Space::Shared {
                        return self.shared_address((usize::MAX, k as u32), *offset);
                    }
                    let k = self.cx.global_constant(name);
                    Ok(Address { base: Opnd::K(k), wide: true, offset: *offset })
                }
                Some(module::Symbol::Function(k)) => {
                    let token = ops::call::FUNCTION_WINDOW + k as u64;
                    Ok(Address { base: self.constant(Width::W64, token), wide: true, offset: *offset })
                }
                None => self.error(LoadErrorKind::Link, format!("'{name}' is not defined")),
            },
            _ => self.refuse("an operand is not an address"),
        }
    }

    fn shared_address(&mut self, key: (usize, u32), offset: i64) -> Decoded<Address> {
        match self.cx.shared_offset(self.index, key) {
            Some(at) => {
                Ok(Address { base: self.constant(Width::W32, (i64::from(at) + offset) as u64), wide: false, offset: 0 })
            }
            None => {
                self.cx.specials |= 1 << Special::DynamicShared as u64;
                Ok(Address { base: Opnd::F(Special::DynamicShared.offset()), wide: false, offset })
            }
        }
    }

    /// An address operand `[…]`.
    pub fn address(&mut self, o: &Operand<'a>) -> Decoded<Address> {
        let (Operand::Address(base, offset) | Operand::Tensor(base, offset, _)) = o else {
            return self.refuse("an operand is not an address in brackets");
        };
        let mut address = match &**base {
            Operand::Reg(r) => match self.width_of(*r) {
                Width::W64 => Address { base: Opnd::R(*r), wide: true, offset: 0 },
                Width::W32 if self.reg_ty(*r).bits() == 32 => Address { base: Opnd::R(*r), wide: false, offset: 0 },
                _ => return self.refuse("an address register has 32 or 64 bits"),
            },
            Operand::Int(v) => Address { base: self.constant(Width::W64, *v as u64), wide: true, offset: 0 },
            symbol => self.symbol_address(&symbol.clone())?,
        };
        address.offset += offset;
        Ok(address)
    }

    /// The words of a `.param` variable of a function body.
    pub fn param_words(&mut self, v: u32) -> Vec<Opnd> {
        if let Some(words) = self.param_words.get(&v) {
            return words.clone();
        }
        let count = self.f.variables[v as usize].size.div_ceil(4);
        let words: Vec<Opnd> = (0..count).map(|_| self.temp(Width::W32)).collect();
        self.param_words.insert(v, words.clone());
        words
    }

    /// Finds a label from a scope outwards.
    pub fn label(&self, name: &str, scope: u32) -> Decoded<u32> {
        let mut at = scope;
        loop {
            if let Some(k) = self.cx.labels.get(&(at, name)) {
                return Ok(*k);
            }
            if at == 0 {
                return self.error(LoadErrorKind::Link, format!("the label '{name}' is not defined"));
            }
            at = self.f.scopes[at as usize];
        }
    }
}

fn mask_bits(v: u64, ty: Ty) -> u64 {
    match ty.bits() {
        64 | 128 => v,
        bits => v & ((1 << bits) - 1),
    }
}
