//! Instructions on virtual registers.

use super::Contraction;
use crate::machine::lanes::OpPair;
use crate::ptx::{RegId, Ty};

/// Width class of a register.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::machine) enum Width {
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
pub(in crate::machine) enum Opnd {
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
pub(in crate::machine) enum Exit {
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
pub(in crate::machine) enum TaintRule {
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
pub(in crate::machine) enum Approximate {
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
pub(in crate::machine) struct MInst {
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
