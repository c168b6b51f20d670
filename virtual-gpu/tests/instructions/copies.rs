//! Asynchronous copies: `cp.async` and `cp.async.bulk` in every form, from buffer to buffer against what the ISA says of each
//! byte.

use super::harness::Draw;
use super::machine::{block, kernel, run};
use virtual_gpu::machine::LaunchConfig;
use virtual_gpu::model::DeviceModel;

/// Whether an element of the output may hold these bits, by its byte.
pub type Right = Box<dyn Fn(usize, u64) -> bool>;

/// A kernel on an input at `%rd1` and an output at `%rd2`, and what is right in the output.
pub struct Case {
    pub text: String,
    pub input: Vec<u8>,
    pub output: Vec<u8>,
    /// Bytes of an element of the output.
    pub element: usize,
    pub blocks: u32,
    pub right: Right,
}

/// What stands in memory that nothing should touch.
const STALE: u8 = 0xa5;

pub fn random(seed: u64, bytes: usize) -> Vec<u8> {
    let mut draw = Draw(seed);
    (0..bytes).map(|_| draw.next() as u8).collect()
}

pub fn exactly(want: Vec<u8>) -> Right {
    Box::new(move |at, got| u64::from(want[at]) == got)
}

/// Under plain order and with everything done as early as is legal.
pub fn check(cases: &[Case]) {
    for case in cases {
        let config =
            LaunchConfig { grid: [case.blocks, 1, 1], cluster: [case.blocks, 1, 1], ..block(DeviceModel::H100, 32) };
        for seed in [0, 2] {
            let out = run(&case.text, &config, &[case.input.clone(), case.output.clone()], seed);
            let out = out.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", case.text)).remove(1);
            for (k, got) in out.chunks_exact(case.element).enumerate() {
                let got = got.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b));
                let at = k * case.element;
                assert!((case.right)(at, got), "seed {seed}: byte {at} holds {got:#x}\n{}", case.text);
            }
        }
    }
}

pub const HEAD: &str = ".shared .align 128 .b8 data[1024]; .shared .align 8 .b64 bar;";

/// `%r1` the thread, `%r2` its 16 bytes of shared memory, `%rd3` and `%rd4` its 16 bytes of input and output, `%p1`: thread 0.
pub const BEGIN: &str = "mov.u32 %r1, %tid.x; mov.u32 %r2, data; mad.lo.u32 %r2, %r1, 16, %r2; mul.wide.u32 %rd5, %r1, 16;\n\
    add.u64 %rd3, %rd1, %rd5; mov.u32 %r9, %ctaid.x; mad.wide.u32 %rd5, %r9, 512, %rd5; add.u64 %rd4, %rd2, %rd5;\n\
    setp.eq.u32 %p1, %r1, 0; mov.b32 %r8, 0xa5a5a5a5; mov.b32 %r7, bar;\n";
/// Both halves of shared memory hold stale bytes.
const STALE_SHARED: &str =
    "st.shared.v4.u32 [%r2], {%r8,%r8,%r8,%r8}; st.shared.v4.u32 [%r2+512], {%r8,%r8,%r8,%r8};\n";
pub const STORE: &str =
    "ld.shared.v4.u32 {%r20,%r21,%r22,%r23}, [%r2];\nst.global.v4.u32 [%rd4], {%r20,%r21,%r22,%r23};\n";

/// `cp.async`: sizes, ignored sources, hints; waits and arrivals go round.
pub fn element_copies() -> Vec<Case> {
    let mut out = Vec::new();
    let waits = [
        "cp.async.wait_all;".to_string(),
        "cp.async.commit_group; cp.async.wait_group 0;".into(),
        "cp.async.commit_group; cp.async.commit_group; cp.async.wait_group 1;".into(),
    ];
    let arrivals = ["", ".noinc"].into_iter().flat_map(|n| ["", ".shared", ".shared::cta"].map(|s| (n, s)));
    let arrivals = arrivals.map(|(noinc, space)| {
        // Without .noinc the arrival raises the pending count that it lowers: the thread arrives besides.
        let count = if noinc.is_empty() { 32 } else { 64 };
        let address = if space.is_empty() { "%rd9" } else { "bar" };
        format!(
            "@%p1 mbarrier.init.shared.b64 [bar], {count}; bar.sync 0; cvta.shared.u64 %rd9, bar;\n\
             cp.async.mbarrier.arrive{noinc}{space}.b64 [{address}]; mbarrier.arrive.shared.b64 %rd8, [bar];\n\
             W: mbarrier.test_wait.parity.shared.b64 %p3, [bar], 0; @!%p3 bra W;"
        )
    });
    let waits: Vec<String> = waits.into_iter().chain(arrivals).collect();
    for (cache, size) in [("ca", 4usize), ("ca", 8), ("ca", 16), ("cg", 16)] {
        for space in ["shared", "shared::cta"] {
            for prefetch in ["", ".L2::64B", ".L2::128B", ".L2::256B"] {
                for hint in [false, true] {
                    for source in ["", ", %r6", ", 3", ", %p2"] {
                        let (flag, policy) = if hint { (".L2::cache_hint", ", %rd7") } else { ("", "") };
                        let body = format!(
                            "{BEGIN}{STALE_SHARED}createpolicy.fractional.L2::evict_first.b64 %rd7;\n\
                             rem.u32 %r6, %r1, {}; and.b32 %r5, %r1, 1; setp.eq.u32 %p2, %r5, 1;\n\
                             cp.async.{cache}.{space}.global{flag}{prefetch} [%r2], [%rd3], {size}{source}{policy};\n{}\n{STORE}",
                            size + 1,
                            waits[out.len() % waits.len()]
                        );
                        let input = random(out.len() as u64, 512);
                        let mut want = vec![STALE; 512];
                        for t in 0..32 {
                            let read = match source {
                                ", %r6" => t % (size + 1),
                                ", 3" => 3,
                                ", %p2" if t % 2 == 1 => 0,
                                _ => size,
                            };
                            want[16 * t..16 * t + size].fill(0);
                            want[16 * t..16 * t + read].copy_from_slice(&input[16 * t..16 * t + read]);
                        }
                        out.push(Case {
                            text: kernel("sm_90", 2, HEAD, &body),
                            input,
                            output: vec![0; 512],
                            element: 1,
                            blocks: 1,
                            right: exactly(want),
                        });
                    }
                }
            }
        }
    }
    out
}

pub const WAIT: &str = "W: mbarrier.try_wait.parity.shared.b64 %p3, [bar], 0; @!%p3 bra W;\n";
/// Both blocks of a cluster have made their barriers, and then have ended their use of each other's memory.
pub const MEET: &str = "barrier.cluster.arrive; barrier.cluster.wait;\n";

/// Bulk copies between global memory, the own block's and the other block's shared memory.
pub fn bulk_copies() -> Vec<Case> {
    let mut out: Vec<Case> = Vec::new();
    let policy = "createpolicy.fractional.L2::evict_first.b64 %rd7;\n";
    let hints = [("", ""), (".L2::cache_hint", ", %rd7")];
    for size in [16usize, 112, 512] {
        for (flag, operand) in hints {
            let input = random(size as u64, 512);
            let mut landed = vec![STALE; 512];
            landed[..size].copy_from_slice(&input[..size]);
            // From global memory to the own block, by either name of its memory.
            for to in ["shared::cluster", "shared::cta"] {
                let body = format!(
                    "{BEGIN}{STALE_SHARED}{policy}@%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0;\n\
                     @%p1 mbarrier.arrive.expect_tx.shared.b64 %rd8, [bar], {size};\n\
                     cp.async.bulk.prefetch.L2.global{flag} [%rd1], {size}{operand};\n\
                     @%p1 cp.async.bulk.{to}.global.mbarrier::complete_tx::bytes{flag} [data], [%rd1], {size}, [bar]{operand};\n\
                     {WAIT}{STORE}"
                );
                out.push(Case {
                    text: kernel("sm_90", 2, HEAD, &body),
                    input: input.clone(),
                    output: vec![0; 512],
                    element: 1,
                    blocks: 1,
                    right: exactly(landed.clone()),
                });
            }
            // To some of the blocks of a cluster at once.
            for chosen in [1u32, 2, 3] {
                let body = format!(
                    "{BEGIN}{STALE_SHARED}{policy}@%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async;\n\
                     fence.mbarrier_init.release.cluster; {MEET}\n\
                     mov.u32 %r5, %cluster_ctarank; shl.b32 %r6, 1, %r5; and.b32 %r6, %r6, {chosen}; setp.ne.u32 %p2, %r6, 0;\n\
                     selp.b32 %r6, {size}, 0, %p2; @%p1 mbarrier.arrive.expect_tx.shared.b64 %rd8, [bar], %r6;\n\
                     setp.eq.and.u32 %p4, %r5, 0, %p1; mov.b16 %h1, {chosen};\n\
                     @%p4 cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes.multicast::cluster{flag} \
                     [data], [%rd1], {size}, [bar], %h1{operand};\n{WAIT}{STORE}{MEET}"
                );
                let want = (0..2).flat_map(|b| if chosen >> b & 1 != 0 { landed.clone() } else { vec![STALE; 512] });
                out.push(Case {
                    text: kernel("sm_90a", 2, HEAD, &body),
                    input: input.clone(),
                    output: vec![0; 1024],
                    element: 1,
                    blocks: 2,
                    right: exactly(want.collect()),
                });
            }
            // To global memory.
            for wait in ["cp.async.bulk.wait_group 0;", "cp.async.bulk.wait_group.read 0; cp.async.bulk.wait_group 0;"]
            {
                let body = format!(
                    "{BEGIN}{policy}ld.global.v4.u32 {{%r20,%r21,%r22,%r23}}, [%rd3]; st.shared.v4.u32 [%r2], {{%r20,%r21,%r22,%r23}};\n\
                     fence.proxy.async; bar.sync 0; @!%p1 bra E;\n\
                     cp.async.bulk.global.shared::cta.bulk_group{flag} [%rd2], [data], {size}{operand};\n\
                     cp.async.bulk.commit_group; {wait}\nE:"
                );
                out.push(Case {
                    text: kernel("sm_90", 2, HEAD, &body),
                    input: input.clone(),
                    output: vec![STALE; 512],
                    element: 1,
                    blocks: 1,
                    right: exactly(landed.clone()),
                });
            }
        }
        // To the other block.
        let input = random(size as u64 + 1, 1024);
        let body = format!(
            "{BEGIN}mov.u32 %r5, %cluster_ctarank; xor.b32 %r5, %r5, 1; mad.wide.u32 %rd3, %r9, 512, %rd3;\n\
             ld.global.v4.u32 {{%r20,%r21,%r22,%r23}}, [%rd3]; st.shared.v4.u32 [%r2+512], {{%r20,%r21,%r22,%r23}};\n\
             st.shared.v4.u32 [%r2], {{%r8,%r8,%r8,%r8}}; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async;\n\
             fence.mbarrier_init.release.cluster; {MEET}mov.u32 %r10, data; mapa.shared::cluster.u32 %r11, %r10, %r5;\n\
             mapa.shared::cluster.u32 %r12, %r7, %r5; @%p1 mbarrier.arrive.expect_tx.shared.b64 %rd8, [bar], {size};\n\
             @%p1 cp.async.bulk.shared::cluster.shared::cta.mbarrier::complete_tx::bytes [%r11], [%r10+512], {size}, [%r12];\n\
             {WAIT}{STORE}{MEET}"
        );
        let mut want = vec![STALE; 1024];
        for b in 0..2 {
            let from = 512 * (1 - b);
            want[512 * b..512 * b + size].copy_from_slice(&input[from..from + size]);
        }
        out.push(Case {
            text: kernel("sm_90", 2, HEAD, &body),
            input,
            output: vec![0; 1024],
            element: 1,
            blocks: 2,
            right: exactly(want),
        });
    }
    out
}

#[test]
fn copies_of_elements() {
    check(&element_copies());
}

#[test]
fn copies_in_bulk() {
    check(&bulk_copies());
}

/// What the modules of these tests execute.
pub fn texts() -> Vec<String> {
    [element_copies(), bulk_copies()].into_iter().flatten().map(|c| c.text).collect()
}
