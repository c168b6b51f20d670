//! What the machine does per second on one core, with bounds checks only, and what all checks cost.
//!
//! Every kernel but `sgemm` is one block, which one thread runs. Elements are warp instructions of the kind named, or
//! floating-point operations for matrix products.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::sync::Arc;
use std::time::Duration;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

const MODEL: DeviceModel = DeviceModel::H100;
const BOUNDS: Checks =
    Checks { memory: true, uninitialised: false, races: false, convergence: false, asynchrony: false, limits: true };
/// Warps of a block, and rounds of a kernel's loop.
const WARPS: u32 = 8;
const ROUNDS: u32 = 64;
/// Copies of the instruction in the loop's body.
const COPIES: usize = 64;

struct Kernel {
    module: Module,
    config: LaunchConfig,
    params: Vec<u8>,
}

impl Kernel {
    fn run(&self, checks: &Checks) {
        let report = launch(&self.module, 0, &self.config, &self.params, checks, Schedule::default());
        report.unwrap_or_else(|e| panic!("{e}"));
    }
}

fn program(text: &str) -> Program {
    let options = LoadOptions { driver_version: 12090, max_ptx: (8, 8) };
    Program::load(text, &MODEL, &options).unwrap_or_else(|e| panic!("{e}"))
}

/// A kernel that repeats `body` (its `$k` counts the copies) for each warp of a block. `%rd1` is 64 KiB of initialised
/// global memory, `%rd2` the thread's word of it, `%r2` and `%r3` the thread's word and row of 16 bytes in shared memory.
fn repeated(setup: &str, body: &str, copies: usize) -> Kernel {
    let copies: String = (0..copies).map(|k| body.replace("$k", &k.to_string()) + "\n").collect();
    let text = format!(
        ".version 8.0\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u32 n)\n{{\n\
         .reg .pred %p<8>;\n.reg .b32 %r<256>;\n.reg .f32 %f<256>;\n.reg .b64 %rd<16>;\n\
         .shared .align 1024 .b8 s[49152];\n\
         ld.param.u64 %rd1, [p];\nld.param.u32 %r1, [n];\nmov.u32 %r4, %tid.x;\nmul.wide.u32 %rd2, %r4, 4;\n\
         add.u64 %rd2, %rd1, %rd2;\nmov.u32 %r5, s;\nmad.lo.u32 %r2, %r4, 4, %r5;\nmad.lo.u32 %r3, %r4, 16, %r5;\n\
         mul.lo.u32 %r6, %r4, 68;\nand.b32 %r6, %r6, 16380;\ncvt.u64.u32 %rd3, %r6;\nadd.u64 %rd3, %rd1, %rd3;\n\
         setp.eq.u32 %p1, %r4, %r4;\n{setup}\n\
         LOOP:\n{copies}\nsub.u32 %r1, %r1, 1;\nsetp.ne.u32 %p2, %r1, 0;\n@%p2 bra LOOP;\nret;\n}}\n"
    );
    let memory = Arc::new(Memory::new(&MODEL));
    let module = Module::instantiate(Arc::new(program(&text)), memory.clone()).expect("there is room");
    let p = memory.alloc(65_536, AllocationKind::Device).expect("there is room");
    memory.fill(p, 0, 4, 16_384).expect("the allocation is live");
    let mut params = p.to_le_bytes().to_vec();
    params.extend(ROUNDS.to_le_bytes());
    let config = LaunchConfig { block: [32 * WARPS, 1, 1], model: MODEL, ..LaunchConfig::default() };
    Kernel { module, config, params }
}

fn registers(count: usize) -> String {
    (0..count).map(|k| format!("%f{}", 100 + k)).collect::<Vec<_>>().join(",")
}

/// Fills shared memory, so that reads of it are reads of something.
const FILL: &str = "mov.u32 %r7, 0;\nFILL:\nmad.lo.u32 %r8, %r7, 1024, %r2;\nst.shared.u32 [%r8], 0;\n\
                    add.u32 %r7, %r7, 1;\nsetp.ne.u32 %p3, %r7, 48;\n@%p3 bra FILL;\nbar.sync 0;\n";

const INSTRUCTIONS: &[(&str, &str, &str)] = &[
    ("fma.f32", "", "fma.rn.f32 %f$k, %f100, %f101, %f$k;"),
    ("add.f32", "", "add.f32 %f$k, %f100, %f101;"),
    ("add.u32", "", "add.u32 %r1$k, %r2, %r3;"),
    ("ex2.f32", "", "ex2.approx.f32 %f$k, %f100;"),
    ("div.f32", "", "div.rn.f32 %f$k, %f100, %f101;"),
    ("shfl", "", "shfl.sync.bfly.b32 %r1$k, %r2, 1, 31, -1;"),
    ("ld.global coalesced", "", "ld.global.f32 %f$k, [%rd2+4096];"),
    ("ld.global uniform", "", "ld.global.f32 %f$k, [%rd1+4096];"),
    ("ld.global scattered", "", "ld.global.f32 %f$k, [%rd3+4096];"),
    ("st.global coalesced", "", "st.global.f32 [%rd2+4096], %f100;"),
    ("ld.shared coalesced", FILL, "ld.shared.f32 %f$k, [%r2+4096];"),
    ("ld.shared.v4", FILL, "ld.shared.v4.f32 {%f$k, %f101, %f102, %f103}, [%r3];"),
    ("st.shared coalesced", FILL, "st.shared.f32 [%r2], %f100;"),
    ("ldmatrix.x4", FILL, "ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%r1$k, %r101, %r102, %r103}, [%r3];"),
];

fn instructions(c: &mut Criterion) {
    let mut group = c.benchmark_group("instructions");
    for (name, setup, body) in INSTRUCTIONS {
        let kernel = repeated(setup, body, COPIES);
        group.throughput(Throughput::Elements(u64::from(WARPS * ROUNDS) * COPIES as u64));
        group.bench_function(*name, |b| b.iter(|| kernel.run(&BOUNDS)));
    }
    group.finish();
}

fn matrix_products(c: &mut Criterion) {
    let mut group = c.benchmark_group("matrix products");
    let flops = |n: u64| Throughput::Elements(2 * n * u64::from(WARPS * ROUNDS));
    let mma = repeated(
        "",
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%f100,%f101,%f102,%f103}, {%r101,%r102,%r103,%r104}, \
         {%r105,%r106}, {%f100,%f101,%f102,%f103};",
        COPIES,
    );
    group.throughput(flops(16 * 8 * 16 * COPIES as u64));
    group.bench_function("mma.sync m16n8k16 bf16", |b| b.iter(|| mma.run(&BOUNDS)));
    let wgmma = repeated(
        // Descriptors of K-major operands with a swizzle of 128 bytes, at 0 and 16 KiB.
        &format!(
            "{FILL}fence.proxy.async;\nbar.sync 0;\nmov.u64 %rd4, 0x4000004000010000;\nshr.u32 %r7, %r5, 4;\n\
             cvt.u64.u32 %rd5, %r7;\nor.b64 %rd4, %rd4, %rd5;\nadd.u64 %rd5, %rd4, 1024;\nsetp.eq.u32 %p4, %r4, %r4;\n"
        ),
        &format!(
            "wgmma.fence.sync.aligned;\nwgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 {{{}}}, %rd4, %rd5, %p4, \
             1, 1, 0, 0;\nwgmma.commit_group.sync.aligned;\nwgmma.wait_group.sync.aligned 0;",
            registers(64)
        ),
        1,
    );
    group.throughput(flops(16 * 128 * 16));
    group.bench_function("wgmma m64n128k16 bf16", |b| b.iter(|| wgmma.run(&BOUNDS)));

    let n = 512u64;
    let module = program(include_str!("../tests/kernels/simt.ptx"));
    let entry = module.entries().iter().position(|e| e.name == "sgemm").expect("the fixture has it");
    let memory = Arc::new(Memory::new(&MODEL));
    let module = Module::instantiate(Arc::new(module), memory.clone()).expect("there is room");
    let mut params = Vec::new();
    for _ in 0..3 {
        let p = memory.alloc(4 * n * n, AllocationKind::Device).expect("there is room");
        memory.fill(p, 0x3f80_0000, 4, n * n).expect("the allocation is live");
        params.extend(p.to_le_bytes());
    }
    (0..3).for_each(|_| params.extend((n as u32).to_le_bytes()));
    let config = LaunchConfig { grid: [8, 8, 1], block: [256, 1, 1], model: MODEL, ..LaunchConfig::default() };
    group.throughput(Throughput::Elements(2 * n * n * n));
    group.bench_function("sgemm 512, all cores", |b| {
        b.iter(|| {
            launch(&module, entry, &config, &params, &BOUNDS, Schedule::default()).unwrap_or_else(|e| panic!("{e}"))
        });
    });
    group.finish();
}

/// Code that reads, computes and writes, with bounds checks and with all checks.
fn checks(c: &mut Criterion) {
    let mut group = c.benchmark_group("checks");
    for (name, base) in [("coalesced", "%rd2"), ("scattered", "%rd3")] {
        let body = format!(
            "ld.global.f32 %f$k, [{base}+4096];\nfma.rn.f32 %f$k, %f$k, %f$k, %f$k;\nadd.f32 %f$k, %f$k, %f$k;\n\
             ld.shared.f32 %f100, [%r2];\nadd.f32 %f$k, %f$k, %f100;\nst.global.f32 [{base}+4096], %f$k;"
        );
        let kernel = repeated(FILL, &body, COPIES / 4);
        group.throughput(Throughput::Elements(u64::from(WARPS * ROUNDS) * 6 * COPIES as u64 / 4));
        for (which, checks) in [("bounds", BOUNDS), ("all", Checks::default())] {
            group.bench_with_input(BenchmarkId::new(name, which), &checks, |b, checks| b.iter(|| kernel.run(checks)));
        }
    }
    group.finish();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_millis(900));
    targets = instructions, matrix_products, checks
}
criterion_main!(benches);
