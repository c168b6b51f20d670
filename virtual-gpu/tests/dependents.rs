//! Programmatic dependent launch through the driver, and `setmaxnreg`.

mod support;

#[path = "support/machine.rs"]
mod machine;

use cudarc::driver::sys::{self, CUresult};
use machine::{block, kernel, load, run};
use std::ffi::c_void;
use support::{Context, check, download, function, h100, module, param, stream, upload};
use virtual_gpu::Options;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// `first` lets its dependents start, waits until a flag in pinned memory is set, and then writes; `second` sets the
/// flag, waits for the grid and copies what `first` wrote; `hasty` copies without waiting for the grid; `quiet` waits
/// for the flag without letting anything start.
const PTX: &str = r#"
.version 7.8
.target sm_90
.address_size 64
.visible .entry first(.param .u64 p_flag, .param .u64 p_data)
{
    .reg .pred %p<2>; .reg .b32 %r<4>; .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [p_flag]; ld.param.u64 %rd2, [p_data];
    griddepcontrol.launch_dependents;
WAIT:
    ld.acquire.sys.global.u32 %r1, [%rd1];
    setp.eq.u32 %p1, %r1, 0;
    @%p1 bra WAIT;
    mov.u32 %r2, %ctaid.x; mul.wide.u32 %rd3, %r2, 4; add.u64 %rd4, %rd2, %rd3;
    add.u32 %r3, %r2, 7; st.global.u32 [%rd4], %r3;
    ret;
}
.visible .entry second(.param .u64 p_flag, .param .u64 p_data, .param .u64 p_out)
{
    .reg .b32 %r<4>; .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [p_flag]; ld.param.u64 %rd2, [p_data]; ld.param.u64 %rd5, [p_out];
    mov.u32 %r1, 1; st.release.sys.global.u32 [%rd1], %r1;
    griddepcontrol.wait;
    mov.u32 %r2, %ctaid.x; mul.wide.u32 %rd3, %r2, 4; add.u64 %rd4, %rd2, %rd3;
    ld.global.u32 %r3, [%rd4]; add.u64 %rd4, %rd5, %rd3; st.global.u32 [%rd4], %r3;
    ret;
}
.visible .entry count(.param .u64 p_data)
{
    .reg .b32 %r<4>; .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [p_data];
    griddepcontrol.wait;
    ld.global.u32 %r1, [%rd1]; add.u32 %r1, %r1, 1; st.global.u32 [%rd1], %r1;
    griddepcontrol.launch_dependents;
    ret;
}
.visible .entry double(.param .u64 p_data)
{
    .reg .b32 %r<4>; .reg .b64 %rd<8>;
    ld.param.u64 %rd1, [p_data];
    griddepcontrol.launch_dependents;
    griddepcontrol.wait;
    ld.global.u32 %r1, [%rd1]; shl.b32 %r1, %r1, 1; st.global.u32 [%rd1], %r1;
    ret;
}
"#;

/// Launches with programmatic stream serialisation.
fn launch_early(f: sys::CUfunction, grid: u32, on: sys::CUstream, params: &mut [*mut c_void]) -> CUresult {
    let mut attribute: sys::CUlaunchAttribute = unsafe { std::mem::zeroed() };
    attribute.id = sys::CUlaunchAttributeID::CU_LAUNCH_ATTRIBUTE_PROGRAMMATIC_STREAM_SERIALIZATION;
    attribute.value.programmaticStreamSerializationAllowed = 1;
    let config = sys::CUlaunchConfig {
        gridDimX: grid,
        gridDimY: 1,
        gridDimZ: 1,
        blockDimX: 1,
        blockDimY: 1,
        blockDimZ: 1,
        sharedMemBytes: 0,
        hStream: on,
        attrs: &mut attribute,
        numAttrs: 1,
    };
    unsafe { sys::cuLaunchKernelEx(&config, f, params.as_mut_ptr(), std::ptr::null_mut()) }
}

fn launch_plain(f: sys::CUfunction, grid: u32, on: sys::CUstream, params: &mut [*mut c_void]) -> CUresult {
    unsafe { sys::cuLaunchKernel(f, grid, 1, 1, 1, 1, 1, 0, on, params.as_mut_ptr(), std::ptr::null_mut()) }
}

/// The second kernel must start while the first runs: the first waits for a flag that only the second sets.
fn a_dependent_starts_early_and_waits_for_the_end() {
    let _context = Context::new();
    let m = module(PTX);
    let (first, second) = (function(m, c"first"), function(m, c"second"));
    let s = stream(true);
    for _ in 0..5 {
        let flag = upload(&[0u32]);
        let data = upload(&[0u32; 20]);
        let out = upload(&[0u32; 20]);
        check(launch_plain(first, 20, s, &mut [param(&flag), param(&data)]));
        check(launch_early(second, 20, s, &mut [param(&flag), param(&data), param(&out)]));
        // Work behind both comes after both.
        check(unsafe { sys::cuStreamSynchronize(s) });
        let want: Vec<u32> = (7..27).collect();
        assert_eq!(download::<u32>(out, 20), want);
    }
}

/// A chain of dependents in which every one waits gives what serial execution gives, whatever the schedule.
fn chains_keep_their_order(gpu: &virtual_gpu::VirtualGpu) {
    let _context = Context::new();
    let m = module(PTX);
    let (count, double) = (function(m, c"count"), function(m, c"double"));
    for seed in [0, 5, 6, 9] {
        gpu.apply(&Options::new().schedule(seed)).expect("a seed can be set at any time");
        let s = stream(true);
        let data = upload(&[0u32]);
        let mut want = 0u32;
        for step in 0..40 {
            let f = if step % 3 == 0 { double } else { count };
            want = if step % 3 == 0 { want.wrapping_mul(2) } else { want.wrapping_add(1) };
            let mut params = [param(&data)];
            check(if step % 7 == 0 { launch_plain(f, 1, s, &mut params) } else { launch_early(f, 1, s, &mut params) });
        }
        let mut got = 0u32;
        check(unsafe { sys::cuMemcpyDtoHAsync_v2((&raw mut got).cast(), data, 4, s) });
        check(unsafe { sys::cuStreamSynchronize(s) });
        assert_eq!(got, want, "seed {seed}");
    }
    gpu.apply(&Options::new().schedule(0)).expect("a seed can be set at any time");
}

/// One test, because a seed holds for the process, and because only the plain schedule promises an early start.
#[test]
fn through_the_driver() {
    let gpu = h100();
    a_dependent_starts_early_and_waits_for_the_end();
    chains_keep_their_order(&gpu);
}

/// What the machine does by itself: a grid with nothing in front of it does not wait.
#[test]
fn nothing_to_wait_for() {
    let body = "griddepcontrol.wait; griddepcontrol.launch_dependents; st.global.u32 [%rd1], 3;";
    let text = kernel(
        "sm_90",
        1,
        "",
        &body.replace("3;", "%r1;").replace("griddepcontrol.wait;", "mov.u32 %r1, 3; griddepcontrol.wait;"),
    );
    let out = run(&text, &block(DeviceModel::H100, 1), &[vec![0; 4]], 0).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(out[0], [3, 0, 0, 0]);
}

/// The signal that lets dependents start comes when the last block has asked for it or ended, not before.
#[test]
fn the_last_block_decides() {
    // Odd blocks end without asking; block 4 asks only when the host has seen that nothing was signalled yet.
    let text = kernel(
        "sm_90",
        1,
        "",
        "mov.u32 %r1, %ctaid.x; and.b32 %r2, %r1, 1; setp.eq.u32 %p1, %r2, 1; @%p1 ret;\n\
         setp.ne.u32 %p2, %r1, 4; @%p2 bra ASK;\n\
         W: ld.acquire.sys.global.u32 %r3, [%rd1]; setp.eq.u32 %p3, %r3, 0; @%p3 bra W;\n\
         ASK: griddepcontrol.launch_dependents;",
    );
    let program = load(&text, &DeviceModel::H100).unwrap_or_else(|e| panic!("{e}"));
    let memory = std::sync::Arc::new(Memory::new(&DeviceModel::H100));
    let module = Module::instantiate(std::sync::Arc::new(program), memory.clone()).expect("the module has room");
    let flag = memory.alloc(4, AllocationKind::Device).expect("there is room");
    memory.write(flag, &[0; 4]).expect("the allocation is live");
    let config = LaunchConfig { grid: [8, 1, 1], ..block(DeviceModel::H100, 1) };
    let signal = Signal::default();
    std::thread::scope(|scope| {
        let runs = scope.spawn(|| {
            let dependence = Dependence { prerequisite: None, dependents: Some(&signal) };
            launch_dependent(
                &module,
                0,
                &config,
                &flag.to_le_bytes(),
                &Checks::default(),
                Schedule::default(),
                dependence,
            )
        });
        for _ in 0..50 {
            assert!(!signal.is_open(), "block 4 has not asked");
            std::thread::yield_now();
        }
        memory.write(flag, &[1, 0, 0, 0]).expect("the allocation is live");
        signal.wait();
        runs.join().expect("no panic").unwrap_or_else(|e| panic!("{e}"));
    });
}

/// A producer warpgroup gives registers, two consumers take them.
const MOVE: &str = "mov.u32 %r1, %tid.x; shr.u32 %r1, %r1, 7; setp.ne.u32 %p1, %r1, 0; @%p1 bra CONSUMER;\n\
                    setmaxnreg.dec.sync.aligned.u32 GIVE; bra DONE;\n\
                    CONSUMER: setmaxnreg.inc.sync.aligned.u32 TAKE;\nDONE: bar.sync 0;";

/// 168 registers for each of 384 threads: ptxas 13.5 assembles such a kernel with as many.
const BOUND: &str = ".maxntid 384, 1, 1 .minnctapersm 1";

fn bounded(text: &str, bound: &str) -> String {
    text.replacen("\n{\n", &format!(" {bound}\n{{\n"), 1)
}

#[test]
fn registers_move_between_warpgroups() {
    let with = |give: u32, take: u32, bound: &str, threads: u32, seed: u64| {
        let body = MOVE.replace("GIVE", &give.to_string()).replace("TAKE", &take.to_string());
        run(&bounded(&kernel("sm_90a", 0, "", &body), bound), &block(DeviceModel::H100, threads), &[], seed)
    };
    for seed in 0..5 {
        // 40 + 2 · 232 is just 3 · 168.
        with(40, 232, BOUND, 384, seed).unwrap_or_else(|e| panic!("{e}"));
        with(40, 232, ".maxntid 384, 1, 1 .maxnreg 168", 384, seed).unwrap_or_else(|e| panic!("{e}"));
    }
    let report = with(40, 240, BOUND, 384, 0).expect_err("too many").report;
    assert!(report.contains("deadlock") && report.contains("registers a thread more"), "{report}");
    let report = with(176, 232, BOUND, 384, 0).expect_err("dec upwards").report;
    assert!(report.contains("setmaxnreg.dec to 176 of a warp with 168"), "{report}");
    let report = with(40, 160, BOUND, 384, 0).expect_err("inc downwards").report;
    assert!(report.contains("setmaxnreg.inc to 160"), "{report}");
    let report = with(40, 232, ".maxntid 352, 1, 1 .minnctapersm 1", 352, 0).expect_err("half a warpgroup").report;
    assert!(report.contains("all four warps of a warpgroup"), "{report}");
    // Without a bound it has no effect, whatever it asks for.
    with(40, 256, "", 384, 0).unwrap_or_else(|e| panic!("{e}"));
    with(40, 256, ".maxntid 384, 1, 1", 384, 0).unwrap_or_else(|e| panic!("{e}"));
}

#[test]
fn the_warps_of_a_warpgroup_do_the_same() {
    let run = |body: &str| {
        run(
            &bounded(&kernel("sm_90a", 0, "", body), ".maxntid 128, 1, 1 .minnctapersm 1"),
            &block(DeviceModel::H100, 128),
            &[],
            0,
        )
    };
    run("setmaxnreg.dec.sync.aligned.u32 64; bar.sync 0; setmaxnreg.inc.sync.aligned.u32 72;")
        .unwrap_or_else(|e| panic!("{e}"));
    let some = "mov.u32 %r1, %tid.x; setp.lt.u32 %p1, %r1, 32;";
    let report = run(&format!("{some} @%p1 setmaxnreg.dec.sync.aligned.u32 64;")).expect_err("one warp").report;
    assert!(report.contains("warpgroup 0"), "{report}");
    let other = format!(
        "{some} @%p1 bra A; setmaxnreg.dec.sync.aligned.u32 64; bra B; A: setmaxnreg.dec.sync.aligned.u32 64; B:"
    );
    let report = run(&other).expect_err("two instructions").report;
    assert!(report.contains("another setmaxnreg"), "{report}");
    let lanes = "mov.u32 %r1, %tid.x; and.b32 %r1, %r1, 1; setp.eq.u32 %p1, %r1, 1; @%p1 bra A; \
                 setmaxnreg.dec.sync.aligned.u32 64; A:";
    assert!(run(lanes).expect_err("half a warp").report.contains("all 32 lanes"));
    for refused in [
        "setmaxnreg.dec.sync.aligned.u32 20;",
        "setmaxnreg.inc.sync.aligned.u32 250;",
        "setmaxnreg.inc.sync.aligned.u32 %r1;",
    ] {
        let e = load(&kernel("sm_90a", 0, "", refused), &DeviceModel::H100).err().expect(refused);
        assert!(e.message.contains("multiple of 8 from 24 to 256"), "{e}");
    }
}

/// A block beyond the kernel's bounds is an invalid value, as it is for the driver.
#[test]
fn bounds_of_blocks() {
    for (bound, good, bad) in
        [(".maxntid 64, 1, 1", 64, 65), (".maxntid 8, 8, 1", 64, 96), (".reqntid 32, 1, 1", 32, 31)]
    {
        let text = bounded(&kernel("sm_90", 0, "", ""), bound);
        run(&text, &block(DeviceModel::H100, good), &[], 0).unwrap_or_else(|e| panic!("{e}"));
        let fault = run(&text, &block(DeviceModel::H100, bad), &[], 0).expect_err(bound);
        assert_eq!(fault.kind, FaultKind::InvalidValue, "{fault}");
    }
}
