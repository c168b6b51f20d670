//! Programs: parsed, checked and decoded PTX modules.

use super::exec::Instr;
use super::lower::module::local_global_name;
use super::lower::{Approximate, ModuleCx, TaintRule, Width};
use crate::model::DeviceModel;
use crate::ptx::{self, Ast, Function, InitValue, LineMap, Linkage, Location, Space, Variable};

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
    /// 32-bit registers per thread: an estimate from the live ranges, bounded by `.maxnreg` and by what a block of
    /// `.maxntid` or `.reqntid` threads leaves each, as ptxas keeps to both.
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
    /// Bytes of the field (1 to 8).
    pub size: u32,
    /// Symbol whose address goes there.
    pub symbol: String,
    /// Added to the address.
    pub addend: i64,
    /// Byte of the address that goes first (for byte-wise initialisers).
    pub shift: u32,
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

/// An address in the constant pool.
#[derive(Debug, Clone)]
pub(super) struct PoolRelocation {
    pub at: u32,
    pub symbol: String,
    pub addend: i64,
}

/// What is known of an instruction besides its code.
#[derive(Debug, Clone)]
pub(super) struct Meta {
    /// Position in the text.
    pub pos: u32,
    /// Function in the syntax tree.
    pub function: u32,
    /// `.loc` in force.
    pub location: Option<Location>,
    /// Class for counting.
    pub class: u8,
    /// Arena offsets written.
    pub defs: Vec<u32>,
    /// Arena offsets read.
    pub uses: Vec<u32>,
    /// What taint does.
    pub taint: TaintRule,
    /// A `wgmma.mma_async`.
    pub product: bool,
    /// Registers of the program written and read, where `wgmma` is used; those that a product reads are its fragments.
    pub virtual_defs: Vec<u32>,
    /// See `virtual_defs`.
    pub virtual_uses: Vec<u32>,
    /// A `mov` of one register.
    pub copy: bool,
    /// An approximate function: which one, whether it flushes subnormals, and its exact code.
    pub approximate: Option<(Approximate, bool, super::exec::OpFn)>,
    /// Lanes may run it apart from each other.
    pub divisible: bool,
    /// The code behind `accumulators::watched`.
    pub watched: Option<super::exec::OpFn>,
}

/// A decoded entry.
#[derive(Debug, Clone)]
pub(super) struct EntryCode {
    pub function: u32,
    pub start: u32,
    /// Bytes of a warp's arena.
    pub arena: u32,
    /// Registers that may be read before they are written.
    pub undefined: Vec<u32>,
    pub static_shared: u32,
    pub dynamic_align: u32,
    pub pressure: u32,
}

/// A decoded function.
#[derive(Debug, Clone, Default)]
pub(super) struct FunctionCode {
    pub start: u32,
    /// First and last offset of its registers.
    pub frame: (u32, u32),
}

/// Decoded code of a module.
#[derive(Default)]
pub(super) struct Code {
    pub instrs: Vec<Instr>,
    pub lists: Vec<u32>,
    pub meta: Vec<Meta>,
    pub entries: Vec<EntryCode>,
    pub functions: Vec<FunctionCode>,
    /// Registers of recursive functions: offset and width, by function.
    pub layouts: Vec<Vec<(u32, Width)>>,
    pub specials: u64,
    /// Something goes through the asynchronous proxy.
    pub proxies: bool,
    /// Local memory of a thread.
    pub local_bytes: u32,
    /// Where in it the stack of `alloca` begins.
    pub stack_base: u32,
    /// Local memory of a level of recursion.
    pub level_bytes: u32,
}

/// A parsed, checked and decoded PTX module.
pub struct Program {
    entries: Vec<Entry>,
    globals: Vec<Global>,
    pub(super) code: Code,
    pub(super) pool: Vec<u8>,
    pub(super) relocations: Vec<PoolRelocation>,
    pub(super) text: String,
    pub(super) lines: LineMap,
    pub(super) files: Vec<(u32, String)>,
    pub(super) function_names: Vec<String>,
}

impl Program {
    /// Parses, checks and decodes a module for a device.
    pub fn load(ptx: &str, model: &DeviceModel, options: &LoadOptions) -> Result<Program, LoadError> {
        let lines = LineMap::new(ptx);
        let at = |kind, pos, message: String| {
            let (line, column) = lines.locate(pos);
            LoadError { kind, line, column, message }
        };
        let ast = ptx::parse(ptx).map_err(|e| at(LoadErrorKind::Syntax, e.pos, e.message))?;
        if ast.version > options.max_ptx {
            return Err(at(
                LoadErrorKind::UnsupportedPtxVersion,
                ast.version_pos,
                format!(
                    "PTX version {}.{} is newer than the driver: version {} takes up to {}.{}",
                    ast.version.0, ast.version.1, options.driver_version, options.max_ptx.0, options.max_ptx.1
                ),
            ));
        }
        check_target(&ast, model).map_err(|message| at(LoadErrorKind::UnsupportedTarget, ast.target_pos, message))?;
        let version = ast.version;
        let globals = collect_globals(&ast).map_err(|(pos, message)| at(LoadErrorKind::Link, pos, message))?;
        let mut code = Code::default();
        let mut cx = ModuleCx::new(&ast, &lines, model.compute)?;
        cx.lower(&mut code)?;
        for r in &cx.relocations {
            if !globals.iter().any(|g| g.name == r.symbol) {
                return Err(at(LoadErrorKind::Link, 0, format!("the variable '{}' is not defined", r.symbol)));
            }
        }
        let mut entries = Vec::new();
        for e in &code.entries {
            let f = &ast.functions[e.function as usize];
            entries.push(describe_entry(f, e, code.local_bytes));
            let param_limit = match options.driver_version {
                ..12_010 => 4096,
                // PTX ISA, "Kernel Function Parameters".
                _ if version < (8, 1) || model.compute < (7, 0) => 4352,
                _ => 32_764,
            };
            if entries.last().is_some_and(|e| e.param_bytes > param_limit) {
                return Err(at(
                    LoadErrorKind::Resource,
                    f.pos,
                    format!(
                        "the parameters of '{}' exceed {param_limit} bytes; 32,764 need PTX 8.1 and a driver of 12.1",
                        f.name
                    ),
                ));
            }
        }
        let (pool, relocations) = (std::mem::take(&mut cx.pool), std::mem::take(&mut cx.relocations));
        drop(cx);
        let files = ast.files.iter().map(|(n, name)| (*n, name.to_string())).collect();
        let function_names = ast.functions.iter().map(|f| f.name.to_string()).collect();
        drop(ast);
        Ok(Program { entries, globals, code, pool, relocations, text: ptx.to_string(), lines, files, function_names })
    }

    /// The kernels.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// The variables in global and constant memory.
    pub fn globals(&self) -> &[Global] {
        &self.globals
    }

    /// The text of the instruction at a position.
    pub(super) fn statement(&self, pos: u32) -> &str {
        let rest = &self.text[pos as usize..];
        let end = rest.find(';').map_or(rest.len(), |k| k + 1);
        &rest[..end]
    }
}

fn check_target(ast: &Ast<'_>, model: &DeviceModel) -> Result<(), String> {
    let Some(sm) = ast.target.iter().find_map(|t| t.strip_prefix("sm_")) else {
        return Err(format!("the target {:?} names no sm_ architecture", ast.target));
    };
    let digits = sm.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let suffix = &sm[digits.len()..];
    let Ok(number) = digits.parse::<u32>() else { return Err(format!("the target sm_{sm} is not an architecture")) };
    let have = model.compute.0 * 10 + model.compute.1;
    let fits = match suffix {
        "" => number <= have,
        "a" => number == have,
        "f" => number <= have && number / 10 == have / 10,
        _ => return Err(format!("the target sm_{sm} is not an architecture")),
    };
    if !fits {
        return Err(format!("PTX for sm_{sm} does not run on {} (sm_{have})", model.name));
    }
    Ok(())
}

/// Registers that each thread of a declared block can have of the 65,536 of a multiprocessor (sm_70 to sm_90); they come
/// in eights.
fn registers_left(block: Option<[u32; 3]>) -> u32 {
    let threads = block.map_or(1, |block| block.iter().fold(1u32, |n, side| n.saturating_mul(*side)));
    // No block of more than 1,024 threads can be launched.
    (65_536 / threads.clamp(1, 1024).next_multiple_of(32)) & !7
}

fn describe_entry(f: &Function<'_>, e: &EntryCode, local_bytes: u32) -> Entry {
    let mut offset = 0u32;
    let params = f
        .params
        .iter()
        .map(|p| {
            offset = offset.next_multiple_of(p.align);
            let param = Param { offset, size: p.size, align: p.align };
            offset += p.size;
            param
        })
        .collect();
    let d = &f.directives;
    let estimate = (e.pressure + 8).next_multiple_of(8).min(255);
    Entry {
        name: f.name.to_string(),
        params,
        param_bytes: offset,
        static_shared_bytes: e.static_shared,
        local_bytes,
        registers: estimate.min(d.maxnreg.unwrap_or(255)).min(registers_left(d.reqntid.or(d.maxntid))),
        max_ntid: d.maxntid,
        req_ntid: d.reqntid,
        min_nctapersm: d.minnctapersm,
        max_nreg: d.maxnreg,
        req_nctapercluster: d.reqnctapercluster,
        max_cluster_rank: d.maxclusterrank,
        explicit_cluster: d.explicitcluster,
    }
}

fn collect_globals(ast: &Ast<'_>) -> Result<Vec<Global>, (u32, String)> {
    let mut out: Vec<Global> = Vec::new();
    let mut add = |v: &Variable<'_>, name: String| -> Result<(), (u32, String)> {
        let space = match v.space {
            Space::Global => GlobalSpace::Global,
            Space::Const => GlobalSpace::Const,
            _ => return Ok(()),
        };
        if v.linkage == Linkage::Extern && v.init.is_empty() && (v.unsized_array || v.size > 0) {
            // Declared elsewhere: whoever uses it must find a definition.
            return Ok(());
        }
        if v.size == 0 {
            return Err((v.pos, format!("the variable '{}' has no size", v.name)));
        }
        if let Some(old) = out.iter().position(|g| g.name == name) {
            if v.linkage == Linkage::Weak || v.linkage == Linkage::Common {
                return Ok(());
            }
            out.remove(old);
        }
        let (mut init, mut relocations) = (Vec::new(), Vec::new());
        if !v.init.is_empty() {
            init = vec![0u8; v.size as usize];
        }
        let bytes = v.ty.bytes() as usize;
        for item in &v.init {
            let at = item.offset as usize;
            match &item.value {
                InitValue::Bits(bits) => {
                    init[at..at + bytes.min(8)].copy_from_slice(&bits.to_le_bytes()[..bytes.min(8)])
                }
                InitValue::Symbol { name, addend, mask } => {
                    let shift = if *mask == u64::MAX { 0 } else { mask.trailing_zeros() / 8 };
                    relocations.push(Relocation {
                        offset: item.offset,
                        size: bytes as u32,
                        symbol: name.to_string(),
                        addend: *addend,
                        shift,
                    });
                }
            }
        }
        out.push(Global { name, space, size: v.size, align: v.align, init, relocations });
        Ok(())
    };
    for v in &ast.variables {
        add(v, v.name.to_string())?;
    }
    for (k, f) in ast.functions.iter().enumerate() {
        for (n, v) in f.variables.iter().enumerate() {
            add(v, local_global_name(ast, k, n as u32))?;
        }
    }
    Ok(out)
}
