//! Lowering a module: symbols, layouts of shared and local memory, the constant pool, and all functions in order.

use super::{Decoded, Form, Lower, Special, Width, cfg};
use crate::machine::program::{Code, EntryCode, FunctionCode, LoadError, LoadErrorKind, PoolRelocation};
use crate::ptx::{Ast, Function, LineMap, Linkage, Operand, Pos, RegId, Space};
use std::collections::HashMap;

/// What a module-level name stands for.
#[derive(Debug, Clone, Copy)]
pub(in crate::machine) enum Symbol {
    Variable(usize),
    Function(usize),
}

/// A shared variable: function (or `usize::MAX` for the module's) and number.
pub(super) type SharedKey = (usize, u32);

/// The state of lowering a module.
pub(in crate::machine) struct ModuleCx<'a> {
    pub ast: &'a Ast<'a>,
    pub lines: &'a LineMap,
    symbols: HashMap<&'a str, Symbol>,
    pub pool: Vec<u8>,
    pooled: HashMap<(Width, u64), u32>,
    /// The other way round.
    entries: HashMap<u32, (Width, u64)>,
    relocated: HashMap<(String, i64), u32>,
    pub relocations: Vec<PoolRelocation>,
    true_at: u32,
    /// Labels of the function being lowered.
    pub labels: HashMap<(u32, &'a str), u32>,
    /// Special registers used, as bits.
    pub specials: u64,
    /// Functions that can reach themselves.
    pub recursive: Vec<bool>,
    /// `reaches[f][g]`: a call chain leads from f to g.
    pub reaches: Vec<Vec<bool>>,
    shared: Vec<HashMap<SharedKey, Option<u32>>>,
    pub static_shared: Vec<u32>,
    /// Alignment of dynamic shared memory per function.
    pub dynamic_align: Vec<u32>,
    locals: HashMap<(usize, u32), u32>,
    pub local_bytes: u32,
    entry_params: HashMap<(usize, u32), u32>,
    /// Fixed slots for arguments of calls, and as many for results, in words.
    pub call_words: u32,
    pub compute: (u32, u32),
}

/// Levels of recursion for which local memory is reserved.
const RECURSION_DEPTH: u32 = 64;
/// Offset of the return address slot.
pub(in crate::machine) const RETURN_SLOT: u32 = super::special::SPECIAL_BYTES;
/// Offset of the first argument word.
pub(in crate::machine) const ARGUMENT_SLOT: u32 = RETURN_SLOT + 128;

impl<'a> ModuleCx<'a> {
    pub fn new(ast: &'a Ast<'a>, lines: &'a LineMap, compute: (u32, u32)) -> Decoded<Self> {
        let n = ast.functions.len();
        let mut cx = ModuleCx {
            ast,
            lines,
            symbols: HashMap::new(),
            pool: Vec::new(),
            pooled: HashMap::new(),
            entries: HashMap::new(),
            relocated: HashMap::new(),
            relocations: Vec::new(),
            true_at: 0,
            labels: HashMap::new(),
            specials: 0,
            recursive: vec![false; n],
            reaches: Vec::new(),
            shared: vec![HashMap::new(); n],
            static_shared: vec![0; n],
            dynamic_align: vec![16; n],
            locals: HashMap::new(),
            local_bytes: 0,
            entry_params: HashMap::new(),
            call_words: call_words(ast),
            compute,
        };
        // Offset 0 of the pool reads as zero for absent operands.
        cx.constant(Width::W128, 0, 0);
        cx.true_at = cx.constant(Width::P, u64::from(u32::MAX), 0);
        cx.collect_symbols()?;
        cx.call_graph();
        cx.layout_shared()?;
        cx.layout_locals()?;
        Ok(cx)
    }

    pub fn error(&self, kind: LoadErrorKind, pos: Pos, message: impl Into<String>) -> LoadError {
        let (line, column) = self.lines.locate(pos);
        LoadError { kind, line, column, message: message.into() }
    }

    fn collect_symbols(&mut self) -> Decoded {
        for (k, v) in self.ast.variables.iter().enumerate() {
            if let Some(Symbol::Variable(old)) = self.symbols.get(v.name).copied() {
                let before = &self.ast.variables[old];
                if before.linkage == Linkage::Extern || (before.unsized_array && before.init.is_empty()) {
                    self.symbols.insert(v.name, Symbol::Variable(k));
                } else if v.linkage != Linkage::Extern && before.linkage != Linkage::Weak {
                    return Err(self.error(
                        LoadErrorKind::Link,
                        v.pos,
                        format!("the variable '{}' is defined twice", v.name),
                    ));
                }
                continue;
            }
            self.symbols.insert(v.name, Symbol::Variable(k));
        }
        for (k, f) in self.ast.functions.iter().enumerate() {
            match self.symbols.get(f.name).copied() {
                Some(Symbol::Function(old)) if self.ast.functions[old].defined && f.defined => {
                    // Of weak definitions one stays.
                    if f.linkage == Linkage::Weak {
                        continue;
                    }
                    if self.ast.functions[old].linkage == Linkage::Weak {
                        self.symbols.insert(f.name, Symbol::Function(k));
                        continue;
                    }
                    return Err(self.error(
                        LoadErrorKind::Link,
                        f.pos,
                        format!("the function '{}' is defined twice", f.name),
                    ));
                }
                Some(Symbol::Function(_)) if !f.defined => continue,
                Some(Symbol::Variable(_)) => {
                    return Err(self.error(
                        LoadErrorKind::Link,
                        f.pos,
                        format!("'{}' is a variable and a function", f.name),
                    ));
                }
                _ => {}
            }
            self.symbols.insert(f.name, Symbol::Function(k));
        }
        for (new, old, pos) in &self.ast.aliases {
            let Some(symbol) = self.symbols.get(old).copied() else {
                return Err(self.error(LoadErrorKind::Link, *pos, format!("'{old}' is not defined")));
            };
            self.symbols.insert(new, symbol);
        }
        Ok(())
    }

    /// What a name stands for.
    pub fn symbol(&self, name: &str) -> Option<Symbol> {
        self.symbols.get(name).copied()
    }

    fn call_graph(&mut self) {
        let n = self.ast.functions.len();
        let mut calls = vec![vec![false; n]; n];
        let mut indirect = vec![false; n];
        let mut taken = vec![false; n];
        for (k, f) in self.ast.functions.iter().enumerate() {
            for i in &f.body {
                let call = i.root == "call";
                for o in &i.operands {
                    match o {
                        Operand::Ident(name, _) => {
                            if let Some(Symbol::Function(g)) = self.symbol(name) {
                                if call {
                                    calls[k][g] = true;
                                } else {
                                    taken[g] = true;
                                }
                            }
                        }
                        Operand::Reg(_) if call => indirect[k] = true,
                        _ => {}
                    }
                }
            }
        }
        for v in &self.ast.variables {
            for item in &v.init {
                if let crate::ptx::InitValue::Symbol { name, .. } = &item.value
                    && let Some(Symbol::Function(g)) = self.symbol(name)
                {
                    taken[g] = true;
                }
            }
        }
        for k in 0..n {
            if indirect[k] {
                for g in 0..n {
                    calls[k][g] |= taken[g];
                }
            }
        }
        // Only functions that call matter, and there are few: search from each.
        let mut reaches = vec![vec![]; n];
        for k in 0..n {
            let mut seen = vec![false; n];
            let mut work: Vec<usize> = (0..n).filter(|g| calls[k][*g]).collect();
            while let Some(g) = work.pop() {
                if !std::mem::replace(&mut seen[g], true) {
                    work.extend((0..n).filter(|h| calls[g][*h]));
                }
            }
            self.recursive[k] = seen[k];
            reaches[k] = seen;
        }
        self.reaches = reaches;
    }

    fn layout_shared(&mut self) -> Decoded {
        let ast = self.ast;
        let uses = |cx: &Self, k: usize| -> Vec<SharedKey> {
            let f = &ast.functions[k];
            let mut keys: Vec<SharedKey> = Vec::new();
            for (v, var) in f.variables.iter().enumerate() {
                if var.space == Space::Shared {
                    keys.push((k, v as u32));
                }
            }
            let mut add = |o: &Operand<'a>| {
                if let Operand::Ident(name, _) = o
                    && let Some(Symbol::Variable(v)) = cx.symbol(name)
                    && ast.variables[v].space == Space::Shared
                    && !keys.contains(&(usize::MAX, v as u32))
                {
                    keys.push((usize::MAX, v as u32));
                }
            };
            for i in &f.body {
                for o in &i.operands {
                    match o {
                        Operand::Address(base, _) | Operand::Tensor(base, _, _) => add(base),
                        Operand::Vector(list) => list.iter().for_each(&mut add),
                        o => add(o),
                    }
                }
            }
            keys
        };
        let variable = |key: SharedKey| {
            if key.0 == usize::MAX {
                &ast.variables[key.1 as usize]
            } else {
                &ast.functions[key.0].variables[key.1 as usize]
            }
        };
        // Variables that functions use keep one place in every kernel.
        let mut common: HashMap<SharedKey, Option<u32>> = HashMap::new();
        let mut common_size = 0u64;
        let mut common_align = 16;
        let put = |key: SharedKey, table: &mut HashMap<SharedKey, Option<u32>>, size: &mut u64, align: &mut u32| {
            if table.contains_key(&key) {
                return Ok(());
            }
            let v = variable(key);
            if v.unsized_array {
                *align = (*align).max(v.align as u32);
                table.insert(key, None);
                return Ok(());
            }
            let at = size.next_multiple_of(v.align);
            *size = at + v.size;
            if *size > 1 << 24 {
                return Err((v.pos, v.name));
            }
            table.insert(key, Some(at as u32));
            Ok(())
        };
        let too_large = |cx: &Self, (pos, name): (Pos, &str)| {
            cx.error(LoadErrorKind::Resource, pos, format!("the shared variable '{name}' does not fit"))
        };
        for (k, f) in ast.functions.iter().enumerate().filter(|(_, f)| f.defined) {
            if !f.entry {
                for key in uses(self, k) {
                    put(key, &mut common, &mut common_size, &mut common_align).map_err(|e| too_large(self, e))?;
                }
            }
        }
        for (k, f) in ast.functions.iter().enumerate().filter(|(_, f)| f.defined) {
            if !f.entry {
                self.shared[k] = common.clone();
                continue;
            }
            let keys = uses(self, k);
            let calls = f.body.iter().any(|i| i.root == "call") || keys.iter().any(|key| common.contains_key(key));
            let (mut table, mut size, mut align) =
                if calls { (common.clone(), common_size, common_align) } else { (HashMap::new(), 0, 16) };
            for key in keys {
                put(key, &mut table, &mut size, &mut align).map_err(|e| too_large(self, e))?;
            }
            self.shared[k] = table;
            self.static_shared[k] = size as u32;
            self.dynamic_align[k] = align;
        }
        Ok(())
    }

    fn layout_locals(&mut self) -> Decoded {
        // Functions first, each at its own place; entries share the rest.
        let mut top = 0u64;
        let mut most = 0u64;
        for entries in [false, true] {
            for (k, f) in self.ast.functions.iter().enumerate().filter(|(_, f)| f.entry == entries) {
                let mut at = top;
                for (v, var) in f.variables.iter().enumerate().filter(|(_, v)| v.space == Space::Local) {
                    at = at.next_multiple_of(var.align.max(1));
                    self.locals.insert((k, v as u32), at as u32);
                    at += var.size;
                    if at > 512 << 10 {
                        return Err(self.error(
                            LoadErrorKind::Resource,
                            var.pos,
                            format!("the local variable '{}' exceeds 512 KiB a thread", var.name),
                        ));
                    }
                }
                most = most.max(at);
                if !entries {
                    top = at.next_multiple_of(16);
                }
                if entries {
                    let mut offset = 0;
                    for p in &f.params {
                        offset = u32::next_multiple_of(offset, p.align);
                        self.entry_params.insert((k, p.id), offset);
                        offset += p.size;
                    }
                }
            }
        }
        self.local_bytes = most.next_multiple_of(16) as u32;
        Ok(())
    }

    /// Offset of a kernel parameter in the parameter block.
    pub fn entry_param_offset(&self, f: &Function<'a>, v: u32) -> u32 {
        let k = self.ast.functions.iter().position(|g| std::ptr::eq(g, f)).unwrap_or(0);
        self.entry_params.get(&(k, v)).copied().unwrap_or(0)
    }

    pub fn local_offset(&self, function: usize, v: u32) -> u32 {
        self.locals.get(&(function, v)).copied().unwrap_or(0)
    }

    pub(super) fn local_shared_key(&self, function: usize, v: u32) -> SharedKey {
        (function, v)
    }

    /// Offset of a shared variable in a function; `None` for dynamic shared memory.
    pub(super) fn shared_offset(&self, function: usize, key: SharedKey) -> Option<u32> {
        self.shared[function].get(&key).copied().flatten()
    }

    /// Pool offset of a constant.
    pub fn constant(&mut self, width: Width, bits: u64, high: u64) -> u32 {
        if high == 0
            && let Some(k) = self.pooled.get(&(width, bits))
        {
            return *k;
        }
        let at = self.pool.len() as u32;
        match width {
            Width::P => {
                let mask = if bits != 0 { u32::MAX } else { 0 };
                self.pool.extend(mask.to_le_bytes());
                self.pool.resize(at as usize + 128, 0);
            }
            Width::W32 => (0..32).for_each(|_| self.pool.extend((bits as u32).to_le_bytes())),
            Width::W64 => (0..32).for_each(|_| self.pool.extend(bits.to_le_bytes())),
            Width::W128 => (0..32).for_each(|_| {
                self.pool.extend(bits.to_le_bytes());
                self.pool.extend(high.to_le_bytes());
            }),
        }
        if high == 0 {
            self.pooled.insert((width, bits), at);
            self.entries.insert(at, (width, bits));
        }
        at
    }

    /// The value of a pool entry, and whether an address is added to it when the module is placed.
    pub fn constant_value(&self, at: u32) -> Option<(u64, bool)> {
        match self.entries.get(&at) {
            Some((Width::W32 | Width::W64, bits)) => Some((*bits, false)),
            Some(_) => None,
            None => self.relocations.iter().any(|r| r.at == at).then_some((0, true)),
        }
    }

    pub fn true_constant(&self) -> u32 {
        self.true_at
    }

    /// Pool entry with the address of a module variable.
    pub fn global_constant(&mut self, name: &str) -> u32 {
        self.relocated_constant(name.to_string(), 0)
    }

    /// Pool entry with the address of a `.global` variable declared in a function.
    pub fn local_global(&mut self, function: usize, v: u32) -> u32 {
        let name = local_global_name(self.ast, function, v);
        self.relocated_constant(name, 0)
    }

    fn relocated_constant(&mut self, name: String, addend: i64) -> u32 {
        if let Some(k) = self.relocated.get(&(name.clone(), addend)) {
            return *k;
        }
        let at = self.pool.len() as u32;
        self.pool.resize(at as usize + 256, 0);
        self.relocated.insert((name.clone(), addend), at);
        self.relocations.push(PoolRelocation { at, symbol: name, addend });
        at
    }

    /// The entry `addend` bytes behind another relocated entry.
    pub fn relocated(&mut self, at: u32, addend: i64) -> u32 {
        match self.relocations.iter().find(|r| r.at == at).map(|r| (r.symbol.clone(), r.addend)) {
            Some((symbol, before)) => self.relocated_constant(symbol, before + addend),
            None => at,
        }
    }

    pub fn register_name(&self, f: &Function<'a>, r: RegId) -> String {
        let reg = &f.registers[r as usize];
        match reg.number {
            Some(n) => format!("{}{n}", reg.name),
            None => reg.name.to_string(),
        }
    }

    /// Lowers every function.
    pub fn lower(&mut self, code: &mut Code) -> Decoded {
        let ast = self.ast;
        let n = ast.functions.len();
        code.functions = vec![FunctionCode::default(); n];
        code.layouts = vec![Vec::new(); n];
        code.proxies = ast
            .functions
            .iter()
            .flat_map(|f| &f.body)
            .any(|i| i.root == "wgmma" || (i.root == "cp" && i.modifiers.contains(&"bulk")));
        // Callees before callers, entries last.
        let mut order: Vec<usize> = (0..n).filter(|k| ast.functions[*k].defined && !ast.functions[*k].entry).collect();
        order.sort_by_key(|k| self.reaches[*k].iter().filter(|r| **r).count());
        order.extend((0..n).filter(|k| ast.functions[*k].entry && ast.functions[*k].defined));
        let mut frame = ARGUMENT_SLOT + 2 * self.call_words * 128;
        let mut function_undefined: Vec<u32> = Vec::new();
        for k in order {
            let f = &ast.functions[k];
            let (placed, undefined) = self.function(k, f, code, frame)?;
            if f.entry {
                let mut taint = placed.maybe_undefined.clone();
                taint.extend(&function_undefined);
                code.functions[k] = FunctionCode { start: placed.start, frame: (frame, frame + placed.frame) };
                code.entries.push(EntryCode {
                    function: k as u32,
                    start: placed.start,
                    arena: frame + placed.frame,
                    undefined: taint,
                    static_shared: self.static_shared[k],
                    dynamic_align: self.dynamic_align[k],
                    pressure: placed.pressure,
                });
            } else {
                code.functions[k] = FunctionCode { start: placed.start, frame: (frame, frame + placed.frame) };
                function_undefined.extend(undefined);
                frame += placed.frame;
            }
        }
        crate::machine::accumulators::watch(code);
        code.specials = self.specials;
        code.local_bytes = self.local_bytes;
        let stacked = ast
            .functions
            .iter()
            .enumerate()
            .any(|(k, f)| self.recursive[k] && f.variables.iter().any(|v| v.space == Space::Local));
        if stacked {
            code.level_bytes = self.local_bytes;
            code.local_bytes = self.local_bytes.saturating_mul(RECURSION_DEPTH).min(512 << 10);
        }
        code.stack_base = code.local_bytes;
        if ast.functions.iter().any(|f| f.body.iter().any(|i| i.root == "alloca")) {
            code.local_bytes += crate::machine::ops::stack::STACK_BYTES;
        }
        Ok(())
    }

    fn function(
        &mut self,
        k: usize,
        f: &'a Function<'a>,
        code: &mut Code,
        frame: u32,
    ) -> Decoded<(cfg::Placed, Vec<u32>)> {
        self.labels = f.labels.iter().enumerate().map(|(k, (name, scope, _))| ((*scope, *name), k as u32)).collect();
        let mut lw = Lower::new(self, f, k);
        crate::machine::ops::call::prologue(&mut lw)?;
        let mut starts = Vec::with_capacity(f.body.len() + 1);
        for (at, ins) in f.body.iter().enumerate() {
            lw.at = at;
            starts.push(lw.out.len() as u32);
            lw.set_guard(ins.guard);
            let mut form = Form::new(ins);
            if let Some((r, _)) = ins.guard
                && lw.reg_ty(r) != crate::ptx::Ty::Pred
            {
                return lw.refuse("the guard is not a predicate");
            }
            crate::machine::ops::decode(&mut lw, &mut form)?;
            if let Some(m) = form.left_over() {
                return lw.refuse(format!("the modifier '.{m}' is not known or not legal here"));
            }
        }
        starts.push(lw.out.len() as u32);
        lw.at = f.body.len().saturating_sub(1);
        lw.set_guard(None);
        crate::machine::ops::control::implicit_return(&mut lw);
        let entries: Vec<usize> = f.labels.iter().map(|(_, _, at)| starts[*at as usize] as usize).collect();
        super::fuse::mark(&mut lw.out, &entries);
        let placed = cfg::place(&lw, &starts, code, frame);
        if lw.cx.recursive[k] {
            code.layouts[k] = placed.layout.clone();
        }
        let undefined = placed.maybe_undefined.clone();
        Ok((placed, undefined))
    }
}

/// Words of the longest argument or result list.
fn call_words(ast: &Ast<'_>) -> u32 {
    let words = |list: &[crate::ptx::Formal<'_>]| list.iter().map(|p| p.size.div_ceil(4).max(1)).sum::<u32>();
    let mut most = 0;
    for f in &ast.functions {
        if !f.entry {
            most = most.max(words(&f.params)).max(words(&f.returns));
        }
        for p in &f.prototypes {
            most = most.max(words(&p.params)).max(words(&p.returns));
        }
    }
    most
}

/// Unique name of a `.global` variable declared in a function.
pub(in crate::machine) fn local_global_name(ast: &Ast<'_>, function: usize, v: u32) -> String {
    let f = &ast.functions[function];
    format!("{}${}${v}", f.name, f.variables[v as usize].name)
}

impl Special {
    /// Whether a bit set of special registers holds it.
    pub fn in_set(self, set: u64) -> bool {
        set >> self as u64 & 1 != 0
    }
}
