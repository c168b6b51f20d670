//! Programs: parsed, checked and decoded PTX modules.

use crate::model::DeviceModel;

/// What a load may assume.
#[derive(Debug, Clone)]
pub struct LoadOptions {
    /// Driver version as `cuDriverGetVersion` gives it, for example 12080.
    pub driver_version: i32,
    /// Newest PTX version taken, for example `(8, 7)`.
    pub max_ptx: (u32, u32),
}

/// The class of a load error; the driver maps it to a `CUresult`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoadErrorKind {
    /// Not PTX (218).
    Syntax,
    /// `.version` newer than the driver (222).
    UnsupportedPtxVersion,
    /// `.target` that the device cannot run (209 or 218).
    UnsupportedTarget,
    /// An instruction or form that is not implemented or not legal (218).
    UnsupportedInstruction,
    /// An undefined or doubly defined symbol (218).
    Link,
    /// More of a resource than a launch can have.
    Resource,
}

/// Why a module was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadError {
    /// The class.
    pub kind: LoadErrorKind,
    /// Line in the PTX text, from 1; 0 where none applies.
    pub line: u32,
    /// Column, from 1; 0 where none applies.
    pub column: u32,
    /// What is wrong.
    pub message: String,
}

impl std::fmt::Display for LoadError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "ptx line {}, column {}: {}", self.line, self.column, self.message)
    }
}

impl std::error::Error for LoadError {}

/// A kernel parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Param {
    /// Offset in the parameter block.
    pub offset: u32,
    /// Bytes.
    pub size: u32,
    /// Alignment in bytes.
    pub align: u32,
}

/// A kernel.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// Name.
    pub name: String,
    /// Parameters in order.
    pub params: Vec<Param>,
    /// Bytes of the parameter block.
    pub param_bytes: u32,
    /// Static shared memory in bytes.
    pub static_shared_bytes: u32,
    /// Local memory per thread in bytes.
    pub local_bytes: u32,
    /// 32-bit registers per thread: an estimate from the live ranges, bounded by `.maxnreg`.
    pub registers: u32,
    /// `.maxntid`.
    pub max_ntid: Option<[u32; 3]>,
    /// `.reqntid`.
    pub req_ntid: Option<[u32; 3]>,
    /// `.minnctapersm`.
    pub min_nctapersm: Option<u32>,
    /// `.maxnreg`.
    pub max_nreg: Option<u32>,
    /// `.reqnctapercluster`.
    pub req_nctapercluster: Option<[u32; 3]>,
    /// `.maxclusterrank`.
    pub max_cluster_rank: Option<u32>,
    /// `.explicitcluster`.
    pub explicit_cluster: bool,
}

/// Where a module variable lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GlobalSpace {
    /// `.global`
    Global,
    /// `.const`
    Const,
}

/// An address inside an initialiser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relocation {
    /// Offset of the field in the variable.
    pub offset: u64,
    /// Bytes of the field (4 or 8).
    pub size: u32,
    /// Symbol whose address goes there.
    pub symbol: String,
    /// Added to the address.
    pub addend: i64,
}

/// A module variable.
#[derive(Debug, Clone)]
pub struct Global {
    /// Name.
    pub name: String,
    /// Space.
    pub space: GlobalSpace,
    /// Bytes.
    pub size: u64,
    /// Alignment in bytes.
    pub align: u64,
    /// Initial bytes: `size` of them, or none for a variable without initialiser (zeroed).
    pub init: Vec<u8>,
    /// Addresses in the initialiser.
    pub relocations: Vec<Relocation>,
}

/// A parsed, checked and decoded PTX module.
pub struct Program {
    entries: Vec<Entry>,
    globals: Vec<Global>,
}

impl Program {
    /// Parses, checks and decodes a module for a device.
    pub fn load(_ptx: &str, _model: &DeviceModel, _options: &LoadOptions) -> Result<Program, LoadError> {
        Err(LoadError {
            kind: LoadErrorKind::UnsupportedInstruction,
            line: 0,
            column: 0,
            message: "no loader yet".into(),
        })
    }

    /// The kernels.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The variables in global and constant memory.
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }
}
