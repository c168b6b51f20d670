//! The syntax tree. Strings borrow the source text.

use super::types::{Space, Ty};

/// A byte offset into the source.
pub type Pos = u32;
/// Index of a register of a function.
pub type RegId = u32;
/// Index of a variable of a function.
pub type VarId = u32;

/// A module.
#[derive(Debug, Default)]
pub struct Ast<'a> {
    /// `.version`.
    pub version: (u32, u32),
    /// Position of `.version`.
    pub version_pos: Pos,
    /// `.target` words.
    pub target: Vec<&'a str>,
    /// Position of `.target`.
    pub target_pos: Pos,
    /// `.file` entries.
    pub files: Vec<(u32, &'a str)>,
    /// Module variables (global, const and shared).
    pub variables: Vec<Variable<'a>>,
    /// Functions and entries, declarations included.
    pub functions: Vec<Function<'a>>,
    /// `.alias` pairs: new name, old name.
    pub aliases: Vec<(&'a str, &'a str, Pos)>,
}

/// Linkage of a symbol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum Linkage {
    #[default]
    Internal,
    Visible,
    Extern,
    Weak,
    Common,
}

/// A variable in a memory space.
#[derive(Debug, Clone)]
pub struct Variable<'a> {
    /// Name.
    pub name: &'a str,
    /// Space.
    pub space: Space,
    /// Element type.
    pub ty: Ty,
    /// Alignment in bytes.
    pub align: u64,
    /// Bytes; 0 for `extern x[]`.
    pub size: u64,
    /// Declared without a size (`x[]`).
    pub unsized_array: bool,
    /// Elements of the initialiser, at element indices.
    pub init: Vec<InitItem<'a>>,
    /// Linkage.
    pub linkage: Linkage,
    /// Where it is declared.
    pub pos: Pos,
}

/// One element of an initialiser.
#[derive(Debug, Clone)]
pub struct InitItem<'a> {
    /// Byte offset in the variable.
    pub offset: u64,
    /// Value.
    pub value: InitValue<'a>,
}

/// The value of one element of an initialiser.
#[derive(Debug, Clone)]
pub enum InitValue<'a> {
    /// Bits, low `Ty::bytes` used.
    Bits(u64),
    /// Address of a symbol plus an offset; the bytes of `mask` selected (`0xFF00(sym)`), all ones normally.
    Symbol {
        /// Symbol.
        name: &'a str,
        /// Added to its address.
        addend: i64,
        /// Byte mask of the `mask()` operator.
        mask: u64,
    },
}

/// A formal parameter.
#[derive(Debug, Clone, Copy)]
pub struct Formal<'a> {
    /// Name (`_` in prototypes).
    pub name: &'a str,
    /// `.param` or `.reg`.
    pub space: Space,
    /// Element type.
    pub ty: Ty,
    /// Alignment.
    pub align: u32,
    /// Bytes.
    pub size: u32,
    /// For functions: the variable or register that stands for it in the body.
    pub id: u32,
}

/// Performance directives of an entry.
#[derive(Debug, Clone, Copy, Default)]
#[allow(missing_docs)]
pub struct EntryDirectives {
    pub maxntid: Option<[u32; 3]>,
    pub reqntid: Option<[u32; 3]>,
    pub minnctapersm: Option<u32>,
    pub maxnreg: Option<u32>,
    pub reqnctapercluster: Option<[u32; 3]>,
    pub maxclusterrank: Option<u32>,
    pub explicitcluster: bool,
}

/// A register of a function.
#[derive(Debug, Clone, Copy)]
pub struct Register<'a> {
    /// Declared name; `%r<9>` registers share the prefix.
    pub name: &'a str,
    /// Number of a `%r<9>` register.
    pub number: Option<u32>,
    /// Type.
    pub ty: Ty,
}

/// A function or entry.
#[derive(Debug, Default)]
pub struct Function<'a> {
    /// Name.
    pub name: &'a str,
    /// `.entry`.
    pub entry: bool,
    /// Linkage.
    pub linkage: Linkage,
    /// Return parameters.
    pub returns: Vec<Formal<'a>>,
    /// Parameters.
    pub params: Vec<Formal<'a>>,
    /// Directives.
    pub directives: EntryDirectives,
    /// Whether it has a body.
    pub defined: bool,
    /// Registers.
    pub registers: Vec<Register<'a>>,
    /// Variables of the body (and formal parameters in `.param` space).
    pub variables: Vec<Variable<'a>>,
    /// Statements in order, blocks flattened.
    pub body: Vec<Statement<'a>>,
    /// Scopes: parent of each; scope 0 is the body.
    pub scopes: Vec<u32>,
    /// Labels: name, scope, index into `body` of the statement that follows.
    pub labels: Vec<(&'a str, u32, u32)>,
    /// `.callprototype`: label, returns, params.
    pub prototypes: Vec<Prototype<'a>>,
    /// `.branchtargets` and `.calltargets`: label, names, scope.
    pub target_lists: Vec<(&'a str, Vec<&'a str>, u32)>,
    /// Source locations that instructions refer to.
    pub locations: Vec<Location>,
    /// Where it is declared.
    pub pos: Pos,
}

/// A `.callprototype`.
#[derive(Debug, Clone)]
pub struct Prototype<'a> {
    /// Label.
    pub name: &'a str,
    /// Return parameters.
    pub returns: Vec<Formal<'a>>,
    /// Parameters.
    pub params: Vec<Formal<'a>>,
}

/// A `.loc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    /// File number.
    pub file: u32,
    /// Line.
    pub line: u32,
    /// Column.
    pub column: u32,
    /// File, line and column of the call it was inlined at.
    pub inlined_at: Option<(u32, u32, u32)>,
}

/// An instruction.
pub type Statement<'a> = Instruction<'a>;

/// An instruction.
#[derive(Debug, Clone)]
pub struct Instruction<'a> {
    /// Guard: register, negated.
    pub guard: Option<(RegId, bool)>,
    /// Root of the opcode.
    pub root: &'a str,
    /// Modifiers in source order.
    pub modifiers: Vec<&'a str>,
    /// Operands.
    pub operands: Vec<Operand<'a>>,
    /// Scope it stands in.
    pub scope: u32,
    /// Position of the opcode.
    pub pos: Pos,
    /// Source location, index into `Function::locations`.
    pub location: Option<u32>,
}

/// An operand.
#[derive(Debug, Clone, PartialEq)]
pub enum Operand<'a> {
    /// A register.
    Reg(RegId),
    /// `!p`
    Not(RegId),
    /// `-r`
    Negative(Box<Operand<'a>>),
    /// A part of a register: `r.b0`, `r.h10`.
    Part(Box<Operand<'a>>, &'a str),
    /// `_`
    Sink,
    /// An integer constant.
    Int(i64),
    /// A decimal or `0d` floating constant.
    F64(u64),
    /// A `0f` floating constant.
    F32(u32),
    /// A special register, with component: `%tid.x`.
    Special(&'a str),
    /// A variable of the function, plus offset.
    Var(VarId, i64),
    /// A label, function or module variable, plus offset.
    Ident(&'a str, i64),
    /// `[base + offset]`; base is `Reg`, `Var`, `Ident` or `Int`.
    Address(Box<Operand<'a>>, i64),
    /// `[base + offset, {coordinates}]`
    Tensor(Box<Operand<'a>>, i64, Vec<Operand<'a>>),
    /// `{a, b, …}`
    Vector(Vec<Operand<'a>>),
    /// `d|p`
    Pair(Box<Operand<'a>>, Box<Operand<'a>>),
    /// `(a, b, …)` of a call.
    List(Vec<Operand<'a>>),
}
