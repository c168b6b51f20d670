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
mod minst;
pub(super) mod module;
mod operands;
mod special;

pub(super) use form::Form;
pub(super) use fuse::Contraction;
pub(super) use minst::{Approximate, Exit, MInst, Opnd, TaintRule, Width};
pub(super) use module::ModuleCx;
pub(super) use special::Special;

use super::program::{LoadError, LoadErrorKind};
use crate::ptx::{Function, RegId, Ty};
use std::collections::HashMap;

/// Result of decoding.
pub(super) type Decoded<T = ()> = Result<T, LoadError>;

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
