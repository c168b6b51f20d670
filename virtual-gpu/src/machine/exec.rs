//! Decoded instructions and the state that they see: a warp, its blocks, its worker.

use super::cluster::Cta;
use super::fault::{Fault, FaultKind};
use super::launch::Launch;
use super::memory::RangeCache;

/// A decoded instruction's code.
///
/// Safety of the call: the instruction was made by the decoder for the program that the context runs, and the
/// machine has the vector extensions of the version that was picked.
pub type OpFn = for<'c> unsafe fn(&mut Cx<'c>, &Instr, u32) -> Flow;

/// What happens after an instruction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// The next instruction.
    Next,
    /// `cx.pc` was set; all lanes went there.
    Jump,
    /// `cx.pc` and `cx.mask` were set, other lanes were put on the list of fragments.
    Split,
    /// The fragment stays where it is until `Wait` is over.
    Block(Wait),
    /// As `Next`, and the warp gives way to others.
    Yield,
    /// The lanes in `cx.mask` are gone.
    Exit,
    /// `cx.fault` says what went wrong.
    Fault,
}

/// What a fragment waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wait {
    /// Nothing.
    No,
    /// Lanes of the warp to arrive at the same instruction.
    Lanes(u32),
    /// Lanes of the warp to arrive at any `bar.warp.sync` of this mask; the fragment then goes on behind it.
    WarpBarrier(u32),
    /// A CTA barrier to leave the generation; the fragment then goes on behind it.
    Barrier {
        /// Barrier number.
        id: u32,
        /// Generation it arrived in.
        generation: u32,
    },
    /// The cluster barrier to leave the generation.
    ClusterBarrier(u32),
    /// The block to have this many free registers for each thread of the warp.
    Registers(u32),
    /// Something that the instruction itself finds out when it runs again.
    Retry,
}

/// A decoded instruction. Operands are byte offsets into the warp's arena (even) or the constant pool (odd).
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub struct Instr {
    /// Code.
    pub run: OpFn,
    /// Immediate, usually an address offset.
    pub imm: i64,
    /// Guard predicate; the constant true without guard.
    pub guard: u32,
    /// All ones for `@!p`.
    pub guard_flip: u32,
    /// First destination.
    pub d: u32,
    /// First source.
    pub a: u32,
    /// Second source.
    pub b: u32,
    /// Third source.
    pub c: u32,
    /// Second destination or fourth source.
    pub e: u32,
    /// Start of the operand list.
    pub list: u32,
    /// Length of the operand list.
    pub count: u32,
    /// Anything the family keeps.
    pub x: u32,
}

/// Lanes at one pc.
#[derive(Debug, Clone, Copy)]
pub struct Fragment {
    /// Program counter.
    pub pc: u32,
    /// Lanes.
    pub mask: u32,
    /// What they wait for.
    pub wait: Wait,
    /// They went round a loop often while others waited.
    pub gave_way: bool,
}

/// Register arena: zeroed, 64-byte aligned.
pub struct Arena {
    lines: Vec<[u64; 8]>,
}

impl Clone for Arena {
    fn clone(&self) -> Self {
        Arena { lines: self.lines.clone() }
    }
}

impl Arena {
    /// `bytes` zero bytes. `Vec<[u64; 8]>` is only aligned to 8, so a line is spare for alignment.
    pub fn new(bytes: usize) -> Arena {
        Arena { lines: vec![[0; 8]; bytes.div_ceil(64) + 1] }
    }

    /// First byte, aligned to 64.
    pub fn base(&mut self) -> *mut u8 {
        let p = self.lines.as_mut_ptr().cast::<u8>();
        p.wrapping_add(p.align_offset(64))
    }

    /// First byte for reading.
    pub fn base_const(&self) -> *const u8 {
        let p = self.lines.as_ptr().cast::<u8>();
        p.wrapping_add(p.align_offset(64))
    }

    /// Bytes usable from `base`.
    pub fn len(&self) -> usize {
        (self.lines.len() - 1) * 64
    }
}

/// A lane's saved frames of recursive calls.
pub type SaveStack = Vec<Vec<u32>>;

/// A warp.
pub struct Warp {
    /// Registers.
    pub arena: Arena,
    /// One taint mask per 4 bytes of the arena; empty while nothing is tainted.
    pub taint: Option<Arena>,
    /// Fragments.
    pub fragments: Vec<Fragment>,
    /// Lanes that exist and have not exited.
    pub live: u32,
    /// Local memory: `local_bytes` per lane, lane after lane.
    pub local: Vec<u8>,
    /// Which bytes of `local` were written; one bit a byte.
    pub local_init: Vec<u64>,
    /// Top of each lane's local memory: its variables and what `alloca` took.
    pub stack: [u32; 32],
    /// Saved frames per lane.
    pub saved: Vec<SaveStack>,
    /// Block within the cluster.
    pub cta: usize,
    /// Number within the block.
    pub index: u32,
    /// Asynchronous copies of this warp's lanes.
    pub copies: super::asynchronous::WarpCopies,
    /// Polls since the last backward branch.
    pub stalled: u32,
    /// Generation of the cluster barrier that lanes arrived in and have not waited for.
    pub cluster_arrived: [Option<u32>; 32],
    /// What the race check notes of accesses now.
    pub stamps: super::races::Stamps,
}

/// What a worker thread keeps over all clusters of a launch.
pub struct Worker {
    /// Allocation last seen by each instruction.
    pub ranges: Vec<RangeCache>,
    /// Times each instruction ran and lanes it ran with.
    pub counts: Vec<(u64, u64)>,
    /// Memory generation that `ranges` belongs to.
    pub generation: u64,
    /// Bank conflicts of each instruction.
    pub conflicts: Vec<u64>,
    /// Traffic counters.
    pub traffic: super::counters::Traffic,
    /// Room for matrix operands.
    pub scratch: Option<Box<super::ops::Scratch>>,
    /// Traffic of address patterns that instructions used last.
    pub patterns: super::ops::Patterns,
    /// State of the generator that picks schedules.
    pub random: u64,
}

impl Worker {
    /// The next random number (splitmix64).
    pub fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }
}

/// The state an instruction sees.
pub struct Cx<'c> {
    /// Arena and constant pool (less one, its offsets being odd).
    bases: [*mut u8; 2],
    /// The launch.
    pub launch: &'c Launch<'c>,
    /// Blocks of the cluster.
    pub ctas: &'c mut [Cta],
    /// The warp.
    pub warp: &'c mut Warp,
    /// The worker thread.
    pub worker: &'c mut Worker,
    /// Pc of the running fragment.
    pub pc: u32,
    /// Lanes of the running fragment.
    pub mask: u32,
    /// What went wrong.
    pub fault: Option<Box<Fault>>,
    /// Instructions until the warp gives way, counted at backward branches and waits.
    pub budget: i64,
    /// Backward branches since another fragment ran.
    pub loops: u32,
    /// Atomics, volatile and synchronising loads since the last backward branch.
    pub polls: u32,
    /// Whether the warp did anything but poll since it was resumed.
    pub progress: bool,
    /// It polled an mbarrier, which only its own cluster completes.
    pub awaits_mbarrier: bool,
    /// It polled something else.
    pub awaits_other: bool,
    /// Some register of the warp is tainted.
    pub tainted: bool,
}

/// Instructions a warp may run before another gets its turn.
pub const QUANTUM: i64 = 4096;

impl<'c> Cx<'c> {
    /// A context for running `warp`.
    pub fn new(
        launch: &'c Launch<'c>,
        ctas: &'c mut [Cta],
        warp: &'c mut Warp,
        worker: &'c mut Worker,
        budget: i64,
    ) -> Cx<'c> {
        let bases = [warp.arena.base(), launch.constants.wrapping_sub(1).cast_mut()];
        let tainted = warp.taint.is_some();
        Cx {
            bases,
            launch,
            ctas,
            warp,
            worker,
            pc: 0,
            mask: 0,
            fault: None,
            budget,
            loops: 0,
            polls: 0,
            progress: false,
            awaits_mbarrier: false,
            awaits_other: false,
            tainted,
        }
    }

    /// The bytes of an operand.
    #[inline(always)]
    pub fn slot(&self, offset: u32) -> *mut u8 {
        // The decoder makes offsets: even ones lie in the arena, odd ones in the pool, which is never a destination.
        self.bases[(offset & 1) as usize].wrapping_add(offset as usize)
    }

    /// The instruction's operand list.
    #[inline(always)]
    pub fn list(&self, i: &Instr) -> &'c [u32] {
        &self.launch.code.lists[i.list as usize..][..i.count as usize]
    }

    /// Entry `k` of the instruction's operand list.
    #[inline(always)]
    pub fn listed(&self, i: &Instr, k: usize) -> u32 {
        self.launch.code.lists[i.list as usize + k]
    }

    /// Block of the warp.
    #[inline(always)]
    pub fn cta(&mut self) -> &mut Cta {
        &mut self.ctas[self.warp.cta]
    }

    /// Reads one lane of a register.
    #[inline(always)]
    pub fn lane<T: super::lanes::Lane>(&self, offset: u32, lane: usize) -> T {
        debug_assert!(lane < 32);
        // SAFETY: the decoder gives slots of the operand's width, and lanes are below 32.
        unsafe { T::get(self.slot(offset), lane & 31) }
    }

    /// All lanes of a register.
    #[inline(always)]
    pub fn lanes<T: super::lanes::Lane>(&self, offset: u32) -> [T; 32] {
        let p = self.slot(offset);
        let mut out = [T::ZERO; 32];
        // A plain loop: `from_fn` does not vectorise.
        for (l, o) in out.iter_mut().enumerate() {
            // SAFETY: the decoder gives slots of the operand's width.
            *o = unsafe { T::get(p, l) };
        }
        out
    }

    /// All lanes of a 32-bit register in place.
    #[inline(always)]
    pub fn lanes_ref(&self, offset: u32) -> &[u32; 32] {
        // SAFETY: the decoder gives slots of the operand's width; they are written through `&mut self` only.
        unsafe { &*self.slot(offset).cast::<[u32; 32]>() }
    }

    /// Writes the lanes of `mask` of a register.
    #[inline(always)]
    pub fn put<T: super::lanes::Lane>(&mut self, offset: u32, v: &[T; 32], mask: u32) {
        // SAFETY: the decoder gives slots of the operand's width; destinations lie in the arena.
        unsafe { T::put(self.slot(offset), v, mask) }
    }

    /// A predicate's mask.
    #[inline(always)]
    pub fn mask_of(&self, offset: u32) -> u32 {
        // SAFETY: a predicate slot is one aligned u32.
        unsafe { *self.slot(offset).cast::<u32>() }
    }

    /// Sets `cx.fault`.
    #[cold]
    pub fn fail(&mut self, kind: FaultKind, check: Option<&'static str>, lane: Option<usize>, text: &str) -> Flow {
        let lane = lane.unwrap_or(self.mask.trailing_zeros() as usize & 31);
        let report = super::report::describe(self, lane, text);
        self.fault = Some(Box::new(Fault { kind, check, report }));
        Flow::Fault
    }
}
