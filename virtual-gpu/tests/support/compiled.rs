//! Runs kernels that compilers made on the machine itself, under every schedule that a test draws.

// Every test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::sync::Arc;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// Seeds of twenty schedules. Bit 1 of a seed lets asynchronous work be done as early as is legal, otherwise it is done
/// as late: ten of each.
pub const SEEDS: std::ops::Range<u64> = 0..20;

/// A module in a memory of its own.
pub struct Compiled {
    module: Module,
    pub memory: Arc<Memory>,
    model: DeviceModel,
}

impl Compiled {
    pub fn new(ptx: &str, model: DeviceModel) -> Compiled {
        let options = LoadOptions { driver_version: 13_040, max_ptx: (9, 9) };
        let program = Program::load(ptx, &model, &options).unwrap_or_else(|e| panic!("{e}"));
        let memory = Arc::new(Memory::new(&model));
        let module = Module::instantiate(Arc::new(program), memory.clone()).expect("there is room");
        Compiled { module, memory, model }
    }

    pub fn alloc(&self, bytes: usize) -> u64 {
        self.memory.alloc(bytes as u64, AllocationKind::Device).expect("there is room")
    }

    pub fn upload(&self, bytes: &[u8]) -> u64 {
        let at = self.alloc(bytes.len());
        self.memory.write(at, bytes).expect("the allocation is live");
        at
    }

    pub fn floats(&self, v: &[f32]) -> u64 {
        self.upload(&v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    pub fn words(&self, v: &[u32]) -> u64 {
        self.upload(&v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    pub fn halves(&self, v: &[u16]) -> u64 {
        self.upload(&v.iter().flat_map(|v| v.to_le_bytes()).collect::<Vec<_>>())
    }

    pub fn download(&self, at: u64, count: usize) -> Vec<u32> {
        let mut bytes = vec![0u8; 4 * count];
        self.memory.read(at, &mut bytes, true).unwrap_or_else(|e| panic!("{e}"));
        bytes.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
    }

    /// Floats in double precision, for comparisons.
    pub fn numbers(&self, at: u64, count: usize) -> Vec<f64> {
        self.download(at, count).into_iter().map(|v| f64::from(f32::from_bits(v))).collect()
    }

    pub fn free(&self, at: u64) {
        self.memory.free(at).expect("the allocation is live");
    }

    /// Launches an entry with all checks on.
    pub fn try_run(&self, name: &str, config: LaunchConfig, params: &[u8], seed: u64) -> Result<LaunchReport, Fault> {
        let entries = self.module.program().entries();
        let kernel = entries.iter().position(|e| e.name == name).expect("the entry exists");
        let config = LaunchConfig { model: self.model.clone(), ..config };
        launch(&self.module, kernel, &config, params, &Checks::default(), Schedule { seed })
    }

    /// As `try_run`, where nothing may go wrong.
    #[track_caller]
    pub fn run(&self, name: &str, config: LaunchConfig, params: &[u8], seed: u64) -> LaunchReport {
        self.try_run(name, config, params, seed).unwrap_or_else(|e| panic!("{name}, seed {seed}: {e}"))
    }

    /// The name of the first entry.
    pub fn first(&self) -> String {
        self.module.program().entries()[0].name.clone()
    }
}

/// Pointers, then words, as a parameter block.
pub fn params(pointers: &[u64], words: &[u32]) -> Vec<u8> {
    let mut out: Vec<u8> = pointers.iter().flat_map(|v| v.to_le_bytes()).collect();
    out.extend(words.iter().flat_map(|v| v.to_le_bytes()));
    out
}

/// A grid of blocks in one dimension.
pub fn line(grid: u32, block: u32) -> LaunchConfig {
    LaunchConfig { grid: [grid, 1, 1], block: [block, 1, 1], ..LaunchConfig::default() }
}

/// Sums of products and the bound of their error: row-major A and B, `b(k, j)` saying where B's element lies.
pub fn products(m: usize, n: usize, k: usize, a: &[f64], b: impl Fn(usize, usize) -> f64) -> Vec<(f64, f64)> {
    let mut out = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            let terms = (0..k).map(|e| a[i * k + e] * b(e, j));
            let (sum, size) = terms.fold((0.0, 0.0), |(s, t), v| (s + v, t + v.abs()));
            out.push((sum, k as f64 * f64::from(f32::EPSILON) * size));
        }
    }
    out
}

/// Compares with numbers and their bounds.
#[track_caller]
pub fn close(got: &[f64], want: &[(f64, f64)], what: &str) {
    assert_eq!(got.len(), want.len());
    for (k, (g, (want, bound))) in got.iter().zip(want).enumerate() {
        assert!((g - want).abs() <= *bound, "{what}: element {k} is {g}, not {want} within {bound:e}");
    }
}
