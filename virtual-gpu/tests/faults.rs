//! Planted faults, each with a clean twin: the fault is found with the right report, the twin passes.

use std::sync::Arc;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// A kernel of one pointer `%rd1` to 1,024 zeroed words, with registers and 512 bytes of shared memory at hand.
fn kernel(body: &str) -> String {
    format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n{{\n.reg .pred %p<8>;\n\
         .reg .b16 %h<8>;\n.reg .b32 %r<32>;\n.reg .b64 %rd<16>;\n.reg .f32 %f<8>;\n.shared .align 16 .b8 s[512];\n\
         .local .align 8 .b8 loc[64];\nld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\n\
         add.u64 %rd3, %rd1, %rd2;\nshl.b32 %r2, %r1, 2;\nmov.u32 %r3, s;\nadd.u32 %r3, %r3, %r2;\n{body}\nret;\n}}\n"
    )
}

fn run(body: &str, threads: u32, blocks: u32, seed: u64) -> Result<LaunchReport, Fault> {
    let model = DeviceModel::A100;
    let options = LoadOptions { driver_version: 12080, max_ptx: (8, 7) };
    let program = Program::load(&kernel(body), &model, &options).unwrap_or_else(|e| panic!("{e}\n{body}"));
    let memory = Arc::new(Memory::new(&model));
    let module = Module::instantiate(Arc::new(program), memory.clone()).expect("the module has room");
    let data = memory.alloc(4096, AllocationKind::Device).expect("there is room");
    memory.write(data, &[0; 4096]).expect("the allocation is live");
    let config = LaunchConfig { grid: [blocks, 1, 1], block: [threads, 1, 1], model, ..LaunchConfig::default() };
    launch(&module, 0, &config, &data.to_le_bytes(), &Checks::default(), Schedule { seed })
}

/// Name, fault, what the report says, clean twin, threads, blocks.
type Case = (&'static str, &'static str, &'static str, &'static str, u32, u32);

const CASES: &[Case] = &[
    (
        "read past the end",
        "ld.global.u32 %r5, [%rd3+4000];",
        "out-of-bounds read of 4 bytes",
        "ld.global.u32 %r5, [%rd3+3968];",
        32,
        1,
    ),
    (
        "write before the start",
        "st.global.u32 [%rd3+-4], 1;",
        "4 bytes before device memory",
        "st.global.u32 [%rd3], 1;",
        32,
        1,
    ),
    (
        "vector straddles the end",
        "ld.global.v2.u32 {%r5,%r6}, [%rd1+4096];",
        "past the end",
        "ld.global.v2.u32 {%r5,%r6}, [%rd1+4088];",
        1,
        1,
    ),
    ("misaligned", "ld.global.u32 %r5, [%rd1+2];", "misaligned read of 4 bytes", "ld.global.u16 %h1, [%rd1+2];", 32, 1),
    (
        "misaligned vector",
        "ld.global.v4.u32 {%r5,%r6,%r7,%r8}, [%rd1+8];",
        "not a multiple of 16",
        "ld.global.v4.u32 {%r5,%r6,%r7,%r8}, [%rd1+16];",
        32,
        1,
    ),
    ("null pointer", "mov.u64 %rd4, 0; ld.global.u32 %r5, [%rd4];", "null pointer", "ld.global.u32 %r5, [%rd1];", 1, 1),
    (
        "shared past the end",
        "st.shared.u32 [s+512], %r1;",
        "the block has 512 bytes",
        "st.shared.u32 [s+508], 7;",
        1,
        1,
    ),
    (
        "local past the end",
        "mov.u64 %rd4, loc; st.local.u32 [%rd4+64], %r1;",
        "a thread has 64 bytes",
        "mov.u64 %rd4, loc; st.local.u32 [%rd4+60], %r1;",
        32,
        1,
    ),
    (
        "uninitialised shared value stored",
        "ld.shared.u32 %r5, [%r3]; st.global.u32 [%rd3], %r5;",
        "an uninitialised value is stored to global memory",
        "st.shared.u32 [%r3], %r1; ld.shared.u32 %r5, [%r3]; st.global.u32 [%rd3], %r5;",
        32,
        1,
    ),
    (
        "uninitialised value decides a branch",
        "ld.shared.u32 %r5, [%r3]; setp.eq.u32 %p1, %r5, 0; @%p1 bra L; L:",
        "depends on an uninitialised value",
        "ld.shared.u32 %r5, [%r3]; add.u32 %r6, %r5, 1; st.shared.u32 [%r3], %r6;",
        32,
        1,
    ),
    (
        "uninitialised register as an address",
        "ld.global.u32 %r5, [%rd9];",
        "this address depends on an uninitialised value",
        "mov.u64 %rd9, %rd1; ld.global.u32 %r5, [%rd9];",
        32,
        1,
    ),
    (
        "exchange within a warp without bar.warp.sync",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 4; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; ld.shared.u32 %r7, [%r6];",
        "race: this read",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 4; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; \
         bar.warp.sync -1; ld.shared.u32 %r7, [%r6];",
        32,
        1,
    ),
    (
        "exchange between warps without a barrier",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 128; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; \
         ld.shared.u32 %r7, [%r6];",
        "race: this",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 128; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; bar.sync 0; \
         ld.shared.u32 %r7, [%r6];",
        64,
        1,
    ),
    (
        "overwritten before the others have read",
        "st.shared.u32 [%r3], %r1; bar.sync 0; ld.shared.u32 %r7, [s]; st.shared.u32 [%r3], 99;",
        "race: this",
        "st.shared.u32 [%r3], %r1; bar.sync 0; ld.shared.u32 %r7, [s]; bar.sync 0; st.shared.u32 [%r3], 99;",
        64,
        1,
    ),
    (
        "blocks write one word",
        "mov.u32 %r5, %ctaid.x; add.u32 %r5, %r5, 1; st.global.u32 [%rd1], %r5;",
        "a thread of another block",
        "atom.global.add.u32 %r5, [%rd1], 1;",
        1,
        64,
    ),
    (
        "lanes write different values to one word",
        "st.global.u32 [%rd1], %r1;",
        "race: this write",
        "st.global.u32 [%rd1], 5;",
        32,
        1,
    ),
    (
        "an aligned barrier in a branch",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; bar.sync 0; L:",
        "an aligned barrier is executed by lanes",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; mov.u32 %r5, 1; L: bar.sync 0;",
        32,
        1,
    ),
    (
        "a barrier that half of the warps reach",
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra L; bar.sync 0, 64; L:",
        "deadlock",
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra L; bar.sync 1, 32; L:",
        64,
        1,
    ),
    (
        "different thread counts",
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra L; bar.sync 1, 64; bra E; L: bar.sync 1, 32; E:",
        "barrier",
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra L; bar.sync 1, 64; bra E; L: bar.sync 1, 64; E:",
        64,
        1,
    ),
    (
        "a shuffle that names absent lanes",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; shfl.sync.idx.b32 %r5, %r1, 0, 31, -1; bra E; L: \
         bar.warp.sync -1; E:",
        "waits for lanes",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; shfl.sync.idx.b32 %r5, %r1, 16, 31, 0xffff0000; bra E; \
         L: mov.u32 %r5, 0; E:",
        32,
        1,
    ),
    (
        "a member mask without the lane itself",
        "shfl.sync.idx.b32 %r5, %r1, 0, 31, 1;",
        "does not name it",
        "shfl.sync.idx.b32 %r5, %r1, 0, 31, -1;",
        32,
        1,
    ),
    (
        "cp.async read before the wait",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; ld.shared.u32 %r5, [%r3];",
        "while an asynchronous copy into them is in flight",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; cp.async.wait_group 0; \
         ld.shared.u32 %r5, [%r3];",
        32,
        1,
    ),
    (
        "cp.async not committed",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.wait_group 0; ld.shared.u32 %r5, [%r3];",
        "in flight",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.wait_all; ld.shared.u32 %r5, [%r3];",
        32,
        1,
    ),
    (
        "cp.async waits for too few groups",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; cp.async.wait_group 1; \
         ld.shared.u32 %r5, [%r3];",
        "in flight",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; cp.async.commit_group; \
         cp.async.wait_group 1; ld.shared.u32 %r5, [%r3];",
        32,
        1,
    ),
    (
        "cp.async out of bounds",
        "cp.async.ca.shared.global [%r3], [%rd3+4096], 4;",
        "past the end",
        "mov.u32 %r5, 0; cp.async.ca.shared.global [%r3], [%rd3+4096], 4, %r5; cp.async.wait_all;",
        32,
        1,
    ),
    (
        "an mbarrier that was not initialised",
        "mbarrier.arrive.shared.b64 %rd4, [s];",
        "no mbarrier was initialised",
        "mbarrier.init.shared.b64 [s], 1; mbarrier.arrive.shared.b64 %rd4, [s];",
        1,
        1,
    ),
    (
        "too many arrivals",
        "mbarrier.init.shared.b64 [s], 2; mbarrier.arrive.noComplete.shared.b64 %rd4, [s], 2;",
        "completes the phase",
        "mbarrier.init.shared.b64 [s], 2; mbarrier.arrive.noComplete.shared.b64 %rd4, [s], 1;",
        1,
        1,
    ),
    ("trap", "trap;", "executed trap", "mov.u32 %r5, 0;", 32, 1),
];

#[test]
fn planted_faults_are_found_and_their_twins_pass() {
    let mut failures = Vec::new();
    for (name, fault, says, twin, threads, blocks) in CASES {
        match run(fault, *threads, *blocks, 0) {
            Ok(_) => failures.push(format!("{name}: not found")),
            Err(f) if !f.report.contains(says) => failures.push(format!("{name}: {f}")),
            Err(_) => {}
        }
        for seed in [0, 1, 2, 7] {
            if let Err(f) = run(twin, *threads, *blocks, seed) {
                failures.push(format!("clean twin of {name}, seed {seed}: {f}"));
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn malformed_ptx_is_refused_with_its_place() {
    let model = DeviceModel::A100;
    let options = LoadOptions { driver_version: 12080, max_ptx: (8, 7) };
    for (body, says) in [
        ("add.u32 %r5, %r1;", "operands"),
        ("add.frob.u32 %r5, %r1, %r2;", "frob"),
        ("tcgen05.alloc %r5;", "not implemented"),
        ("bra NOWHERE;", "NOWHERE"),
        ("mov.u32 %r5, %nosuch;", "%nosuch"),
        ("add.u32 %r5, %q1, 1;", "%q1"),
        ("ld.global.u32 %r5, [nosuch];", "nosuch"),
    ] {
        let error = Program::load(&kernel(body), &model, &options).err().unwrap_or_else(|| panic!("taken: {body}"));
        assert!(error.message.contains(says), "{body}: {error}");
        assert!(error.line >= 20 && error.column >= 1, "{body}: {error}");
    }
    for text in ["", "garbage", ".version 8.0", ".version 99.0\n.target sm_80", ".version 8.0\n.target sm_99"] {
        assert!(Program::load(text, &model, &options).is_err(), "taken: {text}");
    }
}
