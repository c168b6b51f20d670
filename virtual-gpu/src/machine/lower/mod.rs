//! Lowering: from the syntax tree of a function to decoded instructions.
//!
//! # Adding an instruction family
//! A family is a file in `ops/` with a decoder `fn(&mut Lower, &mut Form) -> Decoded` and the code it emits; it is
//! named in the table of `ops/mod.rs` with the opcode roots it takes. The decoder reads types and modifiers off the
//! `Form` (each modifier it understands is *taken*; the caller refuses the instruction when one is left over), makes
//! operands with `src`, `dst`, `address` and friends, and emits `MInst`s: a code version pair and operands. Registers
//! are virtual here; `cfg` and `allocate` order blocks and assign slots. Code of an instruction receives the context,
//! the decoded instruction and the mask of active lanes (never empty), and reads operands by their offsets.

pub(super) mod cfg;
pub(super) mod form;
mod fuse;
pub(super) mod module;
mod special;

pub(super) use form::Form;
pub(super) use fuse::Contraction;
pub(super) use module::ModuleCx;
pub(super) use special::Special;

use super::lanes::OpPair;
use super::program::{LoadError, LoadErrorKind};
use crate::ptx::{Function, Operand, RegId, Space, Ty};
use std::collections::HashMap;

/// Result of decoding.
pub(super) type Decoded<T = ()> = Result<T, LoadError>;

/// Width class of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Width {
    P,
    W32,
    W64,
    W128,
}

impl Width {
    pub fn of(ty: Ty) -> Width {
        match ty.bits() {
            1 => Width::P,
            2..=32 => Width::W32,
            64 => Width::W64,
            _ => Width::W128,
        }
    }

    /// Bytes of a slot.
    pub fn bytes(self) -> u32 {
        match self {
            Width::P => 4,
            Width::W32 => 128,
            Width::W64 => 256,
            Width::W128 => 512,
        }
    }
}

/// An operand before allocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Opnd {
    /// None.
    No,
    /// A virtual register.
    R(u32),
    /// Constant pool offset.
    K(u32),
    /// Fixed arena offset.
    F(u32),
}

/// Where control goes after an instruction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Exit {
    /// To the next one.
    Fall,
    /// To a label (and the next one if guarded).
    Branch(u32),
    /// To one of several labels (and the next one if guarded).
    Table(Vec<u32>),
    /// Nowhere (the next one if guarded).
    Leave,
}

/// What a tainted operand means for an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum TaintRule {
    /// Results are tainted when a source is.
    Flow,
    /// Results are tainted in all lanes when a source is in one.
    Spread,
    /// The code keeps track itself; operand `a` is an address.
    Address,
    /// The code keeps track itself.
    Own,
    /// `selp`: only the chosen source counts.
    Select,
    /// A tainted source decides what happens.
    Decide,
}

/// Functions whose result may be wrong by a bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Approximate {
    Exp2,
    Log2,
    Reciprocal,
    SquareRoot,
    ReciprocalRoot,
    Sine,
    Tanh,
    Divide,
    /// `ex2` or `tanh` of one or two 16-bit floats.
    Halves {
        brain: bool,
        packed: bool,
        tanh: bool,
    },
}

/// An instruction before allocation.
#[derive(Debug, Clone)]
pub(super) struct MInst {
    pub op: OpPair,
    pub d: Opnd,
    pub e: Opnd,
    /// `e` is a source.
    pub e_source: bool,
    pub a: Opnd,
    pub b: Opnd,
    pub c: Opnd,
    /// Destinations first.
    pub list: Vec<Opnd>,
    pub list_defs: usize,
    /// Destinations keep lanes or parts that the instruction does not write.
    pub keeps: bool,
    pub imm: i64,
    pub x: u32,
    pub guard: Option<(RegId, bool)>,
    pub exit: Exit,
    /// Index of the source instruction.
    pub source: u32,
    pub taint: TaintRule,
    /// The function is approximate; the flag says that subnormals are flushed.
    pub approximate: Option<(Approximate, bool)>,
    pub contraction: Contraction,
}

impl MInst {
    pub fn new(op: OpPair) -> MInst {
        MInst {
            op,
            d: Opnd::No,
            e: Opnd::No,
            e_source: false,
            a: Opnd::No,
            b: Opnd::No,
            c: Opnd::No,
            list: Vec::new(),
            list_defs: 0,
            keeps: false,
            imm: 0,
            x: 0,
            guard: None,
            exit: Exit::Fall,
            source: 0,
            taint: TaintRule::Flow,
            approximate: None,
            contraction: Contraction::None,
        }
    }
    pub fn d(mut self, d: Opnd) -> Self {
        self.d = d;
        self
    }
    pub fn a(mut self, a: Opnd) -> Self {
        self.a = a;
        self
    }
    pub fn b(mut self, b: Opnd) -> Self {
        self.b = b;
        self
    }
    pub fn c(mut self, c: Opnd) -> Self {
        self.c = c;
        self
    }
    /// Second destination.
    pub fn e(mut self, e: Opnd) -> Self {
        self.e = e;
        self
    }
    /// Fourth source.
    pub fn e_source(mut self, e: Opnd) -> Self {
        self.e = e;
        self.e_source = true;
        self
    }
    pub fn list(mut self, defs: &[Opnd], uses: &[Opnd]) -> Self {
        self.list = defs.iter().chain(uses).copied().collect();
        self.list_defs = defs.len();
        self
    }
    pub fn imm(mut self, imm: i64) -> Self {
        self.imm = imm;
        self
    }
    pub fn x(mut self, x: u32) -> Self {
        self.x = x;
        self
    }
    pub fn exit(mut self, exit: Exit) -> Self {
        self.exit = exit;
        self
    }
    pub fn taint(mut self, rule: TaintRule) -> Self {
        self.taint = rule;
        self
    }
    pub fn keeps(mut self) -> Self {
        self.keeps = true;
        self
    }

    pub fn defs(&self) -> impl Iterator<Item = Opnd> + '_ {
        let e = if self.e_source { Opnd::No } else { self.e };
        [self.d, e].into_iter().chain(self.list[..self.list_defs].iter().copied())
    }

    pub fn uses(&self) -> impl Iterator<Item = Opnd> + '_ {
        let e = if self.e_source { self.e } else { Opnd::No };
        [self.a, self.b, self.c, e].into_iter().chain(self.list[self.list_defs..].iter().copied())
    }
}

/// An address operand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Address {
    /// Base: 64-bit where `wide`, else 32-bit.
    pub base: Opnd,
    pub wide: bool,
    pub offset: i64,
}

/// The state of lowering one function.
pub(super) struct Lower<'p, 'a> {
    pub cx: &'p mut ModuleCx<'a>,
    pub f: &'p Function<'a>,
    /// Index of the function in the syntax tree.
    pub index: usize,
    pub widths: Vec<Width>,
    pub out: Vec<MInst>,
    /// Index of the instruction being lowered.
    pub at: usize,
    /// The carry flag.
    carry: Option<Opnd>,
    /// Words of `.param` variables.
    param_words: HashMap<u32, Vec<Opnd>>,
    /// Return address of a function that is no entry.
    pub return_address: Opnd,
    /// The stack at the start of a function that takes some.
    pub stack_mark: Option<Opnd>,
    guard: Option<(RegId, bool)>,
}

impl<'p, 'a> Lower<'p, 'a> {
    pub fn new(cx: &'p mut ModuleCx<'a>, f: &'p Function<'a>, index: usize) -> Self {
        let widths = f.registers.iter().map(|r| Width::of(r.ty)).collect();
        Lower {
            cx,
            f,
            index,
            widths,
            out: Vec::new(),
            at: 0,
            carry: None,
            param_words: HashMap::new(),
            return_address: Opnd::No,
            stack_mark: None,
            guard: None,
        }
    }

    /// An error at the current instruction.
    pub fn error<T>(&self, kind: LoadErrorKind, message: impl Into<String>) -> Decoded<T> {
        let pos = self.f.body.get(self.at).map_or(self.f.pos, |i| i.pos);
        Err(self.cx.error(kind, pos, message))
    }

    /// A form that is not legal or not implemented.
    pub fn refuse<T>(&self, message: impl Into<String>) -> Decoded<T> {
        let opcode = self.f.body.get(self.at).map(opcode_text).unwrap_or_default();
        let message: String = message.into();
        self.error(LoadErrorKind::UnsupportedInstruction, format!("instruction '{opcode}': {message}"))
    }

    /// A new virtual register.
    pub fn temp(&mut self, width: Width) -> Opnd {
        self.widths.push(width);
        Opnd::R(self.widths.len() as u32 - 1)
    }

    pub fn temp_for(&mut self, ty: Ty) -> Opnd {
        self.temp(Width::of(ty))
    }

    /// Adds an instruction under the current guard.
    pub fn emit(&mut self, mut i: MInst) {
        i.guard = self.guard;
        i.source = self.at as u32;
        self.out.push(i);
    }

    /// Sets the guard that `emit` gives.
    pub fn set_guard(&mut self, guard: Option<(RegId, bool)>) {
        self.guard = guard;
    }

    /// The carry flag as a predicate.
    pub fn carry(&mut self) -> Opnd {
        match self.carry {
            Some(c) => c,
            None => {
                let c = self.temp(Width::P);
                self.carry = Some(c);
                c
            }
        }
    }

    pub fn constant(&mut self, width: Width, bits: u64) -> Opnd {
        Opnd::K(self.cx.constant(width, bits, 0))
    }

    pub fn k32(&mut self, bits: u32) -> Opnd {
        self.constant(Width::W32, u64::from(bits))
    }

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
                self.emit(MInst::new(super::ops::logic::not_pred()).d(d).a(Opnd::R(*r)));
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
                self.emit(MInst::new(super::lanes::un(|a: u64| a as u32)).d(d).a(slot));
                Ok(d)
            }
            (Width::W32, Width::W64) => {
                let d = self.temp(Width::W64);
                self.emit(MInst::new(super::lanes::un(|a: u32| u64::from(a))).d(d).a(slot));
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
            (true, Width::W64) => super::lanes::bin(|a: u64, b: u64| a.wrapping_add(b)),
            (true, _) => super::lanes::bin(|a: u64, b: u64| a.wrapping_add(b) as u32),
            (false, Width::W64) => super::lanes::bin(|a: u32, b: u64| u64::from(a).wrapping_add(b)),
            (false, _) => super::lanes::bin(|a: u32, b: u64| a.wrapping_add(b as u32)),
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
                    let token = super::ops::call::FUNCTION_WINDOW + k as u64;
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

/// The opcode as written.
pub(super) fn opcode_text(i: &crate::ptx::Instruction<'_>) -> String {
    let mut text = i.root.to_string();
    for m in &i.modifiers {
        text.push('.');
        text.push_str(m);
    }
    text
}
