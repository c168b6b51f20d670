//! Planted faults, each with a clean twin: the fault is found by the right check with the right report, and the twin
//! passes under several schedules.

#[path = "asynchrony.rs"]
mod asynchrony;
#[path = "convergence.rs"]
mod convergence;
#[path = "initialisation.rs"]
mod initialisation;
#[path = "limits.rs"]
mod limits;
#[path = "malformed.rs"]
mod malformed;
#[path = "memory.rs"]
mod memory;
#[path = "proxies.rs"]
mod proxies;
#[path = "races.rs"]
mod races;

use std::sync::Arc;
use virtual_gpu::machine::tensor_map::{ElementType, TensorMap};
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// A kernel of two pointers `%rd1` and `%rd4` to 1,024 zeroed words each and a tensor map over the first, with registers
/// and 4 KiB of shared memory at hand. `%r1` is the thread, `%r2` its byte offset, `%r3` its word in shared memory, `%rd3`
/// its word in global memory; `%r4` is the block's index.
pub(crate) fn kernel(body: &str, hopper: bool) -> String {
    let target = if hopper { "sm_90a" } else { "sm_80" };
    format!(
        ".version 8.3\n.target {target}\n.address_size 64\n\
         .visible .entry k(.param .u64 p, .param .u64 q, .param .align 64 .b8 m[128])\n{{\n\
         .reg .pred %p<8>;\n.reg .b16 %h<8>;\n.reg .b32 %r<64>;\n.reg .b64 %rd<24>;\n.reg .f32 %f<24>;\n\
         .shared .align 1024 .b8 s[4096];\n.shared .align 8 .b64 bar;\n.shared .align 8 .b64 bar2;\n\
         .local .align 8 .b8 loc[64];\n\
         ld.param.u64 %rd1, [p];\nld.param.u64 %rd4, [q];\nmov.u64 %rd5, m;\ncvta.param.u64 %rd5, %rd5;\n\
         mov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\n\
         add.u64 %rd3, %rd1, %rd2;\nshl.b32 %r2, %r1, 2;\nmov.u32 %r3, s;\nadd.u32 %r3, %r3, %r2;\n\
         mov.u32 %r4, %ctaid.x;\n{body}\nret;\n}}\n"
    )
}

/// A fault and its twin.
pub(crate) struct Case {
    name: &'static str,
    fault: &'static str,
    check: Option<&'static str>,
    says: &'static str,
    twin: &'static str,
    threads: u32,
    blocks: u32,
    cluster: u32,
    hopper: bool,
    /// The fault is looked for under this seed.
    seed: u64,
}

/// One block of one warp on an A100, found by `check` (`""`: what hardware itself reports).
pub(crate) const fn case(
    name: &'static str,
    check: &'static str,
    fault: &'static str,
    says: &'static str,
    twin: &'static str,
) -> Case {
    let check = if check.is_empty() { None } else { Some(check) };
    Case { name, fault, check, says, twin, threads: 32, blocks: 1, cluster: 1, hopper: false, seed: 0 }
}

impl Case {
    pub(crate) const fn threads(mut self, threads: u32) -> Case {
        self.threads = threads;
        self
    }

    pub(crate) const fn blocks(mut self, blocks: u32) -> Case {
        self.blocks = blocks;
        self
    }

    pub(crate) const fn hopper(mut self) -> Case {
        self.hopper = true;
        self
    }

    pub(crate) const fn cluster(mut self, blocks: u32) -> Case {
        self.hopper = true;
        self.blocks = blocks;
        self.cluster = blocks;
        self
    }

    pub(crate) const fn seed(mut self, seed: u64) -> Case {
        self.seed = seed;
        self
    }

    pub(crate) fn run(&self, body: &str, seed: u64, checks: &Checks) -> Result<LaunchReport, Fault> {
        let model = if self.hopper { DeviceModel::H100 } else { DeviceModel::A100 };
        let options = LoadOptions { driver_version: 12080, max_ptx: (8, 7) };
        let program = Program::load(&kernel(body, self.hopper), &model, &options);
        let program = program.unwrap_or_else(|e| panic!("{}: {e}\n{body}", self.name));
        let memory = Arc::new(Memory::new(&model));
        let module = Module::instantiate(Arc::new(program), memory.clone()).expect("the module has room");
        let buffer = || {
            let data = memory.alloc(4096, AllocationKind::Device).expect("there is room");
            memory.write(data, &[0; 4096]).expect("the allocation is live");
            data
        };
        let (p, q) = (buffer(), buffer());
        // 32 rows of 32 floats in boxes of 8 by 8.
        let map = TensorMap {
            element: ElementType::F32,
            rank: 2,
            address: p,
            dims: [32, 32, 0, 0, 0],
            strides: [128, 0, 0, 0],
            box_dims: [8, 8, 0, 0, 0],
            element_strides: [1; 5],
            interleave: 0,
            swizzle: 0,
            l2_promotion: 0,
            nan_fill: false,
            im2col: None,
        };
        let mut params = Vec::from(p.to_le_bytes());
        params.extend(q.to_le_bytes());
        params.resize(64, 0);
        params.extend(map.to_bytes());
        let config = LaunchConfig {
            grid: [self.blocks, 1, 1],
            block: [self.threads, 1, 1],
            cluster: [self.cluster, 1, 1],
            model,
            ..LaunchConfig::default()
        };
        launch(&module, 0, &config, &params, checks, Schedule { seed })
    }
}

/// Runs the cases; every failure is listed.
pub(crate) fn verify(cases: &[Case]) {
    let mut failures = Vec::new();
    for case in cases {
        let name = case.name;
        match case.run(case.fault, case.seed, &Checks::default()) {
            Ok(_) => failures.push(format!("{name}: not found")),
            Err(f) if !f.report.contains(case.says) || f.check != case.check => {
                failures.push(format!("{name}: [{:?}] {f}", f.check));
            }
            // Reports name the kernel and its place in the source.
            Err(f) if !f.report.contains("kernel      k") => failures.push(format!("{name} names no kernel: {f}")),
            Err(_) => {}
        }
        for seed in [0, 1, 2, 7] {
            if let Err(f) = case.run(case.twin, seed, &Checks::default()) {
                failures.push(format!("clean twin of {name}, seed {seed}: {f}"));
            }
        }
    }
    assert!(failures.is_empty(), "{} failures\n{}", failures.len(), failures.join("\n"));
}
