//! Memory handed between the generic and the asynchronous proxy.

use super::{Case, case, verify};

const CASES: &[Case] = &[
    case(
        "a tensor store of what the generic proxy wrote",
        "asynchrony",
        "mov.u32 %r20, 0; mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, {%r20,%r20}], [s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
        "missing fence.proxy.async",
        "mov.u32 %r20, 0; mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, {%r20,%r20}], [s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
    ).hopper(),
    case(
        "a tensor store fenced by one lane alone",
        "asynchrony",
        "mov.u32 %r20, 0; mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; setp.eq.u32 %p2, %r1, 0; @%p2 fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, {%r20,%r20}], [s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
        "missing fence.proxy.async",
        "mov.u32 %r20, 0; mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async.shared::cta; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, {%r20,%r20}], [s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
    ).hopper(),
    case(
        "a tensor store fenced before the write",
        "asynchrony",
        "mov.u32 %r20, 0; fence.proxy.async; mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, {%r20,%r20}], [s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
        "missing fence.proxy.async",
        "mov.u32 %r20, 0; mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; bar.warp.sync -1; fence.proxy.async; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, {%r20,%r20}], [s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
    ).hopper(),
    case(
        "a tensor store of what another warp wrote without a barrier",
        "races",
        "mov.u32 %r20, 0; mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, {%r20,%r20}], [s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
        "race: this read",
        "mov.u32 %r20, 0; mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.sync 0; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; cp.async.bulk.tensor.2d.global.shared::cta.tile.bulk_group [%rd5, {%r20,%r20}], [s]; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
    ).hopper().threads(64),
    case(
        "a bulk store of what the generic proxy wrote",
        "asynchrony",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
        "missing fence.proxy.async",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
    ).hopper(),
    case(
        "a bulk load of what the generic proxy wrote",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; st.global.u32 [%rd3], %r1; bar.warp.sync -1; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 128; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 128, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
        "missing fence.proxy.async",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; st.global.u32 [%rd3], %r1; fence.proxy.async; bar.warp.sync -1; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 128; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 128, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
    ).hopper(),
    case(
        "a bulk load of what another block wrote",
        "races",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; setp.eq.u32 %p3, %r4, 1; @!%p3 st.global.u32 [%rd3], %r1; @!%p3 bra X; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 128; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 128, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L;  X: barrier.cluster.arrive; barrier.cluster.wait;",
        "a thread of another block",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; setp.eq.u32 %p3, %r4, 1; @!%p3 st.global.u32 [%rd3], %r1; fence.proxy.async; barrier.cluster.arrive; barrier.cluster.wait; @!%p3 bra X; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 128; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 128, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L;  X:",
    ).cluster(2),
    case(
        "a tensor map written and not acquired",
        "asynchrony",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; add.u64 %rd8, %rd5, %rd2; ld.u32 %r5, [%rd8]; add.u64 %rd8, %rd4, %rd2; st.global.u32 [%rd8], %r5; bar.warp.sync -1; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s], [%rd4, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
        "missing fence.proxy.tensormap",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; add.u64 %rd8, %rd5, %rd2; ld.u32 %r5, [%rd8]; add.u64 %rd8, %rd4, %rd2; st.global.u32 [%rd8], %r5; fence.proxy.tensormap::generic.release.gpu; bar.warp.sync -1; fence.proxy.tensormap::generic.acquire.gpu [%rd4], 128; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s], [%rd4, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
    ).hopper(),
];

#[test]
fn planted_faults_are_found_and_their_twins_pass() {
    verify(CASES);
}
