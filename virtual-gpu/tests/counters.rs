//! Counters of kernels whose traffic is known by hand.

use std::sync::Arc;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// Runs a kernel of one pointer `%rd1`, its lane's word `%rd3`, and shared words `%r3`, on 64 KiB, `launches` times.
fn run(body: &str, threads: u32, blocks: u32, launches: usize) -> Vec<Counters> {
    let text = format!(
        ".version 8.0\n.target sm_80\n.address_size 64\n.visible .entry k(.param .u64 p)\n{{\n.reg .pred %p<8>;\n\
         .reg .b32 %r<32>;\n.reg .b64 %rd<16>;\n.reg .f32 %f<16>;\n.shared .align 16 .b8 s[8192];\n\
         ld.param.u64 %rd1, [p];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %ctaid.x;\nmov.u32 %r4, %ntid.x;\n\
         mad.lo.u32 %r5, %r2, %r4, %r1;\nmul.wide.u32 %rd2, %r5, 4;\nadd.u64 %rd3, %rd1, %rd2;\n\
         shl.b32 %r3, %r1, 2;\nmov.u32 %r6, s;\nadd.u32 %r3, %r3, %r6;\n{body}\nret;\n}}\n"
    );
    let model = DeviceModel::A100;
    let options = LoadOptions { driver_version: 12080, max_ptx: (8, 7) };
    let program = Program::load(&text, &model, &options).unwrap_or_else(|e| panic!("{e}\n{body}"));
    let memory = Arc::new(Memory::new(&model));
    let module = Module::instantiate(Arc::new(program), memory.clone()).expect("the module has room");
    let data = memory.alloc(65_536, AllocationKind::Device).expect("there is room");
    memory.write(data, &[0; 65_536]).expect("the allocation is live");
    let config =
        LaunchConfig { grid: [blocks, 1, 1], block: [threads, 1, 1], l2: true, model, ..LaunchConfig::default() };
    let once = |_| {
        let report = launch(&module, 0, &config, &data.to_le_bytes(), &Checks::default(), Schedule::default());
        report.unwrap_or_else(|e| panic!("{e}")).counters
    };
    (0..launches).map(once).collect()
}

#[test]
fn coalesced_reads_move_what_they_need() {
    let counters = run("ld.global.u32 %r7, [%rd3];", 256, 4, 2);
    // 32 warps read 128 bytes each: 4 sectors of 32.
    for (launch, c) in counters.iter().enumerate() {
        let t = &c.traffic;
        assert_eq!((t.global_requests, t.sectors, t.sectors_needed), (32, 128, 128));
        // The second launch finds them in L2.
        let (hits, read) = if launch == 0 { (0, 4096) } else { (128, 0) };
        assert_eq!((t.l2_hits, t.l2_misses, t.dram_read, t.dram_written), (hits, 128 - hits, read, 0), "{launch}");
        assert_eq!((c.blocks, c.warps), (4, 32));
    }
}

#[test]
fn strided_reads_move_a_sector_a_lane() {
    let c = &run("mul.wide.u32 %rd4, %r1, 64; add.u64 %rd4, %rd1, %rd4; ld.global.u32 %r7, [%rd4];", 32, 1, 1)[0];
    assert_eq!((c.traffic.sectors, c.traffic.sectors_needed, c.traffic.dram_read), (32, 4, 1024));
    // 16 sectors, each by two lanes that are far apart.
    let body = "and.b32 %r7, %r1, 15; mul.wide.u32 %rd4, %r7, 64; add.u64 %rd4, %rd1, %rd4; ld.global.u32 %r7, [%rd4];";
    assert_eq!(run(body, 32, 1, 1)[0].traffic.sectors, 16);
    assert_eq!(run("ld.global.u32 %r7, [%rd1];", 32, 1, 1)[0].traffic.sectors, 1);
}

#[test]
fn writes_stay_in_l2() {
    let c = &run("st.global.u32 [%rd3], %r1; ld.global.u32 %r7, [%rd3];", 32, 1, 1)[0];
    let t = &c.traffic;
    assert_eq!((t.l2_misses, t.l2_hits, t.dram_read, t.dram_written), (4, 4, 0, 0));
}

#[test]
fn bank_conflicts_by_access() {
    // Stride 1: none. Stride 2 words: two words of a bank. Stride 32: all 32 in one bank. One word for all: none.
    for (shift, passes) in [(2, 1), (3, 2), (4, 4), (7, 32)] {
        let body = format!(
            "shl.b32 %r7, %r1, {shift}; add.u32 %r7, %r7, %r6; st.shared.u32 [%r7], %r1; ld.shared.u32 %r8, [%r7];"
        );
        let c = &run(&body, 32, 1, 1)[0];
        assert_eq!(c.traffic.shared_requests, 2);
        assert_eq!((c.traffic.shared_passes, c.traffic.bank_conflicts), (2 * passes, 2 * (passes - 1)), "{shift}");
        let by_access: Vec<u64> = c.conflicts.iter().map(|(_, n)| *n).collect();
        assert_eq!(by_access, if passes == 1 { vec![] } else { vec![passes - 1; 2] });
        assert!(c.conflicts.iter().all(|(source, _)| source.starts_with("ptx line ")), "{:?}", c.conflicts);
    }
    let broadcast = &run("st.shared.u32 [s], 7; bar.warp.sync -1; ld.shared.u32 %r8, [s];", 32, 1, 1)[0];
    assert_eq!((broadcast.traffic.shared_passes, broadcast.traffic.bank_conflicts), (2, 0));
    // Two words of one bank, lanes alternating between them: two passes, not one for each change.
    let body = "and.b32 %r7, %r1, 1; shl.b32 %r7, %r7, 7; add.u32 %r7, %r7, %r6; mov.u32 %r9, 5;
                st.shared.u32 [%r7], %r9; bar.warp.sync -1; ld.shared.u32 %r8, [%r7];";
    assert_eq!(run(body, 32, 1, 1)[0].traffic.shared_passes, 4);
    // 16 bytes a lane: four passes by width alone.
    let body = "shl.b32 %r7, %r1, 4; add.u32 %r7, %r7, %r6; st.shared.v4.u32 [%r7], {%r1,%r1,%r1,%r1};";
    let wide = &run(body, 32, 1, 1)[0];
    assert_eq!((wide.traffic.shared_passes, wide.traffic.bank_conflicts), (4, 0));
}

#[test]
fn ldmatrix_rows_conflict_by_their_stride() {
    // Eight rows of 16 bytes: side by side they fill the banks once, 128 bytes apart they share four banks.
    for (stride, conflicts) in [(16, 0), (128, 7), (144, 0)] {
        let body = format!(
            "st.shared.u32 [%r3], %r1; st.shared.u32 [%r3+1024], %r1; bar.sync 0; and.b32 %r7, %r1, 7;
             mul.lo.u32 %r7, %r7, {stride}; add.u32 %r7, %r7, %r6;
             ldmatrix.sync.aligned.m8n8.x1.shared.b16 {{%r8}}, [%r7];"
        );
        let c = &run(&body, 256, 1, 1)[0];
        assert_eq!(c.traffic.bank_conflicts, 8 * conflicts, "{stride}");
    }
}

#[test]
fn all_but_the_last_warp_wait_at_a_barrier() {
    let c = &run("bar.sync 0; bar.sync 0;", 256, 3, 1)[0];
    assert_eq!((c.traffic.barriers, c.traffic.barrier_waits), (3 * 16, 3 * 14));
}

#[test]
fn occupancy_falls_with_a_partial_wave() {
    // 108 multiprocessors of 2,048 threads: two blocks of 1,024 threads each.
    let full = &run("mov.u32 %r7, 1;", 1024, 216, 1)[0];
    assert_eq!((full.occupancy_percent, full.achieved_percent), (100, 100));
    let half = &run("mov.u32 %r7, 1;", 1024, 108, 1)[0];
    assert_eq!((half.occupancy_percent, half.achieved_percent), (100, 50));
    let tail = &run("mov.u32 %r7, 1;", 1024, 324, 1)[0];
    assert_eq!((tail.occupancy_percent, tail.achieved_percent), (100, 75));
}

#[test]
fn instructions_and_lanes() {
    let before = &run("", 32, 1, 1)[0];
    let c = &run("setp.lt.u32 %p1, %r1, 8; @%p1 add.u32 %r7, %r1, 1; fma.rn.f32 %f1, %f2, %f3, %f4;", 32, 1, 1)[0];
    assert_eq!(c.instructions - before.instructions, 3);
    assert_eq!(c.lanes - before.lanes, 32 + 8 + 32);
    let float = CLASSES.iter().position(|class| *class == "float").expect("there is such a class");
    assert_eq!(c.by_class[float] - before.by_class[float], 1);
}
