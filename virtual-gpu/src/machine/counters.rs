//! What launches count.

/// Classes of warp instructions.
pub const CLASSES: [&str; 10] =
    ["integer", "float", "half", "double", "special", "convert", "memory", "control", "synchronisation", "tensor"];

/// Class of an opcode.
pub(super) fn class_of(root: &str, modifiers: &[&str]) -> u8 {
    let has = |m: &str| modifiers.contains(&m);
    match root {
        "ld" | "ldu" | "st" | "atom" | "red" | "prefetch" | "prefetchu" | "ldmatrix" | "stmatrix" | "cp"
        | "multimem" | "discard" | "applypriority" | "st_async" | "isspacep" | "cvta" | "mapa" | "getctarank"
        | "movmatrix" => 6,
        "bra" | "brx" | "call" | "ret" | "exit" | "trap" | "brkpt" | "nanosleep" | "pmevent" => 7,
        "bar" | "barrier" | "membar" | "fence" | "mbarrier" | "griddepcontrol" | "setmaxnreg" | "elect" | "vote"
        | "activemask" | "shfl" | "match" | "redux" => 8,
        "mma" | "wmma" | "wgmma" => 9,
        "cvt" | "mov" | "prmt" => 5,
        "rcp" | "sqrt" | "rsqrt" | "ex2" | "lg2" | "sin" | "cos" | "tanh" => 4,
        _ if has("f64") => 3,
        _ if has("f16") || has("f16x2") || has("bf16") || has("bf16x2") => 2,
        _ if has("f32") => 1,
        _ => 0,
    }
}

/// Memory traffic, counted by warp requests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Warp requests to global memory.
    pub global_requests: u64,
    /// 32-byte sectors that they touch.
    pub sectors: u64,
    /// Sectors that their bytes would fill if packed.
    pub sectors_needed: u64,
    /// Warp requests to shared memory.
    pub shared_requests: u64,
    /// Passes over the 32 banks that they take; above `shared_requests` are conflicts.
    pub shared_passes: u64,
    /// Passes that two words of one bank cost, over those that the width of the accesses costs.
    pub bank_conflicts: u64,
    /// Sectors that requests found in the modelled L2, and those they did not (with `LaunchConfig::l2`).
    pub l2_hits: u64,
    /// See `l2_hits`.
    pub l2_misses: u64,
    /// Bytes read from DRAM behind the modelled L2.
    pub dram_read: u64,
    /// Bytes written to DRAM when the modelled L2 displaced them.
    pub dram_written: u64,
    /// Tensor-core instructions.
    pub tensor: u64,
    /// Multiply-adds of tensor-core instructions.
    pub tensor_macs: u64,
    /// Barrier arrivals by warps.
    pub barriers: u64,
    /// Those that had to wait for others.
    pub barrier_waits: u64,
}

impl Traffic {
    pub(super) fn add(&mut self, o: &Traffic) {
        self.global_requests += o.global_requests;
        self.sectors += o.sectors;
        self.sectors_needed += o.sectors_needed;
        self.shared_requests += o.shared_requests;
        self.shared_passes += o.shared_passes;
        self.bank_conflicts += o.bank_conflicts;
        self.l2_hits += o.l2_hits;
        self.l2_misses += o.l2_misses;
        self.dram_read += o.dram_read;
        self.dram_written += o.dram_written;
        self.tensor += o.tensor;
        self.tensor_macs += o.tensor_macs;
        self.barriers += o.barriers;
        self.barrier_waits += o.barrier_waits;
    }
}

/// What a launch did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    /// Warp instructions executed.
    pub instructions: u64,
    /// Lanes that executed them.
    pub lanes: u64,
    /// Warp instructions by class, as in `CLASSES`.
    pub by_class: [u64; CLASSES.len()],
    /// Memory traffic.
    pub traffic: Traffic,
    /// Blocks.
    pub blocks: u64,
    /// Warps.
    pub warps: u64,
    /// Registers per thread assumed for the launch.
    pub registers: u32,
    /// Shared memory per block, static and dynamic.
    pub shared_bytes: u32,
    /// Share of an SM's warps that can be resident, in percent.
    pub occupancy_percent: u32,
    /// Share of all SMs' warps that are resident on average, with the waves that the grid's blocks come in, in percent.
    pub achieved_percent: u32,
    /// Bank conflicts by access: the source line, and the passes above those of its width.
    pub conflicts: Vec<(String, u64)>,
}
