//! Launches and operands outside of what is allowed.

use super::{Case, case, kernel, verify};
use std::sync::Arc;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

const OPERANDS: &[Case] = &[
    case(
        "a TF32 operand of A with low bits",
        "limits",
        "mov.f32 %f1, 0f00000000; mov.u32 %r5, 0x3f800001; mov.u32 %r6, 0; \
         mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f2,%f3,%f4,%f5}, {%r5,%r6}, {%r6}, {%f1,%f1,%f1,%f1};",
        "low 13 bits",
        "mov.f32 %f1, 0f00000000; mov.u32 %r5, 0x3f802000; mov.u32 %r6, 0; \
         mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f2,%f3,%f4,%f5}, {%r5,%r6}, {%r6}, {%f1,%f1,%f1,%f1};",
    ),
    case(
        "a TF32 operand of B with low bits",
        "limits",
        "mov.f32 %f1, 0f00000000; mov.u32 %r5, 0x3f801000; mov.u32 %r6, 0; \
         mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f2,%f3,%f4,%f5}, {%r6,%r6}, {%r5}, {%f1,%f1,%f1,%f1};",
        "low 13 bits",
        "mov.f32 %f1, 0f00000000; mov.f32 %f6, 0f3f801000; cvt.rna.tf32.f32 %r5, %f6; mov.u32 %r6, 0; \
         mma.sync.aligned.m16n8k4.row.col.f32.tf32.tf32.f32 {%f2,%f3,%f4,%f5}, {%r6,%r6}, {%r5}, {%f1,%f1,%f1,%f1};",
    ),
];

#[test]
fn planted_faults_are_found_and_their_twins_pass() {
    verify(OPERANDS);
}

/// A change of a kernel's declarations and of its launch.
type Launch = (fn(String) -> String, fn(&mut LaunchConfig));

/// Name, what is wrong, what the report says, its class, the twin.
type Refused = (&'static str, Launch, &'static str, FaultKind, Launch);

fn same(text: String) -> String {
    text
}

fn declare(text: &str, directive: &str) -> String {
    text.replacen("\n{\n.reg", &format!("\n{directive}\n{{\n.reg"), 1)
}

const LAUNCHES: &[Refused] = &[
    (
        "more registers than .maxnreg leaves room for",
        (|t| declare(&t, ".maxnreg 96"), |c| c.block = [1024, 1, 1]),
        "96 registers for each of 1024 threads",
        FaultKind::OutOfResources,
        (|t| declare(&t, ".maxnreg 64"), |c| c.block = [1024, 1, 1]),
    ),
    (
        "more registers than a block has, by the machine code",
        (same, |c| {
            c.block = [512, 1, 1];
            c.cubin_registers = Some(136);
        }),
        "136 registers for each of 512 threads",
        FaultKind::OutOfResources,
        (same, |c| {
            c.block = [512, 1, 1];
            c.cubin_registers = Some(128);
        }),
    ),
    (
        "more threads than .maxntid",
        (|t| declare(&t, ".maxntid 128, 1, 1"), |c| c.block = [129, 1, 1]),
        ".maxntid allows 128",
        FaultKind::OutOfResources,
        (|t| declare(&t, ".maxntid 128, 1, 1"), |c| c.block = [128, 1, 1]),
    ),
    (
        "another block than .reqntid",
        (|t| declare(&t, ".reqntid 64, 2, 1"), |c| c.block = [128, 1, 1]),
        ".reqntid asks for",
        FaultKind::OutOfResources,
        (|t| declare(&t, ".reqntid 64, 2, 1"), |c| c.block = [64, 2, 1]),
    ),
    (
        "dynamic shared memory without opting in",
        (same, |c| c.dynamic_shared = 50_000),
        "opt in",
        FaultKind::InvalidValue,
        (same, |c| {
            c.dynamic_shared = 50_000;
            c.max_dynamic_shared = 60_000;
        }),
    ),
    (
        "static shared memory over 48 KiB",
        (|t| t.replace(".b8 s[4096]", ".b8 s[49152]"), |_| {}),
        "of static shared memory",
        FaultKind::OutOfResources,
        (|t| t.replace(".b8 s[4096]", ".b8 s[48128]"), |_| {}),
    ),
    (
        "a block of too many threads",
        (same, |c| c.block = [64, 32, 1]),
        "a block of 2048 threads",
        FaultKind::InvalidValue,
        (same, |c| c.block = [32, 32, 1]),
    ),
    (
        "a grid without blocks",
        (same, |c| c.grid = [1, 0, 1]),
        "zero in y",
        FaultKind::InvalidValue,
        (same, |c| c.grid = [1, 1, 1]),
    ),
    (
        "a grid too tall",
        (same, |c| c.grid = [1, 65_536, 1]),
        "65536 blocks in y",
        FaultKind::InvalidValue,
        (same, |c| c.grid = [65_536, 1, 1]),
    ),
    (
        "a cluster that does not divide the grid",
        (same, |c| {
            c.grid = [3, 1, 1];
            c.cluster = [2, 1, 1];
        }),
        "do not divide",
        FaultKind::InvalidValue,
        (same, |c| {
            c.grid = [4, 1, 1];
            c.cluster = [2, 1, 1];
        }),
    ),
    (
        "a cluster of 16 without permission",
        (same, |c| {
            c.grid = [16, 1, 1];
            c.cluster = [16, 1, 1];
        }),
        "a cluster of 16 blocks",
        FaultKind::InvalidClusterSize,
        (same, |c| {
            c.grid = [16, 1, 1];
            c.cluster = [16, 1, 1];
            c.non_portable_cluster = true;
        }),
    ),
    (
        "a cooperative grid that cannot be resident",
        (same, |c| {
            c.grid = [100_000, 1, 1];
            c.cooperative = true;
        }),
        "cooperative launch",
        FaultKind::CooperativeTooLarge,
        (same, |c| {
            c.grid = [132, 1, 1];
            c.cooperative = true;
        }),
    ),
];

#[test]
fn launches_are_refused_and_their_twins_run() {
    let model = DeviceModel::H100;
    let options = LoadOptions { driver_version: 12080, max_ptx: (8, 7) };
    let run = |(change, configure): &Launch| {
        let program = Program::load(&change(kernel("", true)), &model, &options).expect("the kernel loads");
        let memory = Arc::new(Memory::new(&model));
        let module = Module::instantiate(Arc::new(program), memory).expect("the module has room");
        let mut config = LaunchConfig { block: [32, 1, 1], model: model.clone(), ..LaunchConfig::default() };
        configure(&mut config);
        launch(&module, 0, &config, &[0; 192], &Checks::default(), Schedule::default())
    };
    for (name, fault, says, kind, twin) in LAUNCHES {
        match run(fault) {
            Ok(_) => panic!("{name}: not found"),
            Err(f) => assert!(f.report.contains(says) && f.kind == *kind, "{name}: {f} {:?}", f.kind),
        }
        if let Err(f) = run(twin) {
            panic!("clean twin of {name}: {f}");
        }
    }
}
