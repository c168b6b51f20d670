//! Registers of `wgmma`.
//!
//! A product reads its A fragments and updates its accumulators between `wgmma.mma_async` and the `wgmma.wait_group`
//! that names its group. Until then nothing else may touch the accumulators or write the fragments, and registers that
//! other instructions wrote need a `wgmma.fence` before the product (PTX ISA, "Asynchronous Warpgroup Level
//! Matrix Instructions"). The instructions that touch such registers are found when the module is loaded and run through
//! `watched`; others pay nothing.

use super::exec::{Cx, Flow, Instr};
use super::fault::FaultKind;
use super::program::Code;

/// A register that an unfinished product owns.
#[derive(Debug, Clone, Copy)]
struct Flight {
    /// Number of the register in the program.
    register: u32,
    group: u32,
    /// Shape and types of the product, for accumulators; fragments have none.
    shape: Option<u32>,
    /// A fence came after the product.
    fenced: bool,
    /// A copy was made, which owns the value from then on.
    copied: bool,
}

/// What a warp knows of its registers that `wgmma` uses.
#[derive(Default)]
pub struct Registers {
    flights: Vec<Flight>,
    /// One bit per 32-bit slot: written by other instructions since the last fence.
    unfenced: Vec<u64>,
    /// The warp has executed a fence.
    fenced_once: bool,
    /// Group that the next product belongs to.
    pub group: u32,
}

impl Registers {
    fn set_unfenced(&mut self, offset: u32, value: bool) {
        let (word, bit) = (offset as usize / 128 / 64, 1u64 << (offset / 128 % 64));
        if word >= self.unfenced.len() {
            self.unfenced.resize(word + 1, 0);
        }
        self.unfenced[word] = if value { self.unfenced[word] | bit } else { self.unfenced[word] & !bit };
    }

    fn is_unfenced(&self, offset: u32) -> bool {
        self.unfenced.get(offset as usize / 128 / 64).is_some_and(|w| w >> (offset / 128 % 64) & 1 != 0)
    }

    /// `wgmma.fence`
    pub fn fence(&mut self) {
        self.fenced_once = true;
        self.unfenced.fill(0);
        self.flights.iter_mut().for_each(|f| f.fenced = true);
    }

    /// `wgmma.wait_group keep`
    pub fn wait(&mut self, keep: u32) {
        let now = self.group;
        self.flights.retain(|f| f.group.saturating_add(keep) >= now);
    }
}

/// Makes the instructions that touch registers of `wgmma` pass through `watched`.
pub(super) fn watch(code: &mut Code) {
    let mut registers: Vec<u32> =
        code.meta.iter().filter(|m| m.product).flat_map(|m| m.defs.iter().chain(&m.uses).copied()).collect();
    registers.sort_unstable();
    registers.dedup();
    if registers.is_empty() {
        return;
    }
    for (i, meta) in code.instrs.iter_mut().zip(&mut code.meta) {
        if !meta.product && meta.defs.iter().chain(&meta.uses).any(|o| registers.binary_search(o).is_ok()) {
            meta.watched = Some(i.run);
            i.run = watched;
        }
    }
}

/// Runs an instruction that touches registers of `wgmma`.
///
/// # Safety
/// As for every instruction: the decoder made it for the program that the context runs.
unsafe fn watched(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    let meta = &cx.launch.code.meta[cx.pc as usize];
    let Some(run) = meta.watched else { return Flow::Fault };
    if !cx.launch.checks.asynchrony {
        // SAFETY: passed on.
        return unsafe { run(cx, i, m) };
    }
    let registers = &mut cx.warp.copies.registers;
    // Compilers copy accumulators around loops; the assembler removes that, so the copy is the register then.
    let moved = if let ([from], true) = (&meta.virtual_uses[..], meta.copy) {
        registers.flights.iter_mut().find(|f| f.register == *from).map(|f| {
            f.copied = true;
            Flight { copied: false, ..*f }
        })
    } else {
        None
    };
    // What a copy was made of is a dead register that may come to hold something else.
    registers.flights.retain(|f| !(f.copied && meta.virtual_defs.contains(&f.register)));
    let early = registers.flights.iter().any(|f| {
        let read = f.shape.is_some() && moved.is_none() && meta.virtual_uses.contains(&f.register);
        read && !f.copied || (moved.is_none() && meta.virtual_defs.contains(&f.register))
    });
    if early {
        let text = "a register that an unfinished wgmma uses is touched before wgmma.wait_group";
        return cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), None, text);
    }
    let unfenced = !(meta.copy && meta.uses.iter().all(|u| !registers.is_unfenced(*u)) && registers.fenced_once);
    for d in &meta.defs {
        registers.set_unfenced(*d, unfenced);
    }
    if let (Some(flight), [to]) = (moved, &meta.virtual_defs[..]) {
        registers.flights.retain(|f| f.register != *to);
        registers.flights.push(Flight { register: *to, ..flight });
    }
    // SAFETY: passed on.
    unsafe { run(cx, i, m) }
}

/// A product is issued: `accumulators` of the listed registers are its D, the rest its fragments of A.
pub(super) fn issue(cx: &mut Cx<'_>, i: &Instr, accumulators: usize, fragments: usize, shape: u32) -> Result<(), Flow> {
    if !cx.launch.checks.asynchrony {
        return Ok(());
    }
    let offsets: Vec<u32> = (0..accumulators + fragments).map(|k| cx.listed(i, k)).collect();
    let registers = &mut cx.warp.copies.registers;
    let group = registers.group;
    let mut text = None;
    if !registers.fenced_once {
        text = Some("missing wgmma.fence: the first wgmma of a warp needs one before it");
    } else if offsets.iter().any(|o| registers.is_unfenced(*o)) {
        text =
            Some("missing wgmma.fence: a register of this wgmma was written by another instruction since the last one");
    }
    let meta = &cx.launch.code.meta[cx.pc as usize];
    let results = meta.virtual_defs.iter().map(|r| (*r, Some(shape)));
    for (register, shape) in results.chain(meta.virtual_uses.iter().map(|r| (*r, None))) {
        match registers.flights.iter_mut().find(|f| f.register == register) {
            Some(f) => {
                if f.shape != shape && (f.shape.is_some() || shape.is_some()) && !f.fenced {
                    text = Some(
                        "missing wgmma.fence: this wgmma shares registers with an unfinished one of another shape or role",
                    );
                }
                *f = Flight { register, group, shape, fenced: false, copied: false };
            }
            None => {
                registers.flights.push(Flight { register, group, shape, fenced: false, copied: false });
            }
        }
    }
    match text {
        Some(text) => Err(cx.fail(FaultKind::LaunchFailed, Some("asynchrony"), None, text)),
        None => Ok(()),
    }
}
