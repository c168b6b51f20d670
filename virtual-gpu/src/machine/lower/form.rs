//! An instruction's modifiers as a bag.

use super::Decoded;
use super::Lower;
use crate::ptx::{Instruction, Operand, Ty};

/// An instruction with its modifiers; each must be taken exactly once.
pub struct Form<'i, 'a> {
    /// The instruction.
    pub ins: &'i Instruction<'a>,
    mods: Vec<(&'a str, bool)>,
    /// Types in order.
    pub types: Vec<Ty>,
}

impl<'i, 'a> Form<'i, 'a> {
    /// Splits types from other modifiers.
    pub fn new(ins: &'i Instruction<'a>) -> Self {
        let mut types = Vec::new();
        let mut mods = Vec::new();
        for m in &ins.modifiers {
            match Ty::from_name(m) {
                Some(ty) => types.push(ty),
                None => mods.push((*m, false)),
            }
        }
        Form { ins, mods, types }
    }

    /// Takes a modifier; whether it was there.
    pub fn flag(&mut self, name: &str) -> bool {
        match self.mods.iter_mut().find(|(m, taken)| *m == name && !*taken) {
            Some((_, taken)) => {
                *taken = true;
                true
            }
            None => false,
        }
    }

    /// Takes the first of several that is there.
    pub fn one_of(&mut self, names: &[&'static str]) -> Option<&'static str> {
        names.iter().find(|n| self.flag(n)).copied()
    }

    /// Takes the first untaken modifier that the function maps to something.
    pub fn find<T>(&mut self, f: impl Fn(&str) -> Option<T>) -> Option<T> {
        let (value, taken) = self.mods.iter_mut().filter(|(_, taken)| !*taken).find_map(|(m, t)| Some((f(m)?, t)))?;
        *taken = true;
        Some(value)
    }

    /// A modifier that nothing took.
    pub fn left_over(&self) -> Option<&'a str> {
        self.mods.iter().find(|(_, taken)| !*taken).map(|(m, _)| *m)
    }

    /// Operands.
    pub fn operands(&self) -> &'i [Operand<'a>] {
        &self.ins.operands
    }

    /// Checks the number of operands.
    pub fn arity(&self, lw: &Lower<'_, 'a>, n: std::ops::RangeInclusive<usize>) -> Decoded {
        let have = self.ins.operands.len();
        if n.contains(&have) {
            return Ok(());
        }
        let want = if n.start() == n.end() { n.start().to_string() } else { format!("{} to {}", n.start(), n.end()) };
        lw.refuse(format!("has {have} operands, expected {want}"))
    }

    /// The only type.
    pub fn ty(&self, lw: &Lower<'_, 'a>) -> Decoded<Ty> {
        match self.types[..] {
            [ty] => Ok(ty),
            [] => lw.refuse("names no type"),
            _ => lw.refuse("names more than one type"),
        }
    }
}
