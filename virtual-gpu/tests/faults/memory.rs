//! Accesses outside of what is there, misaligned or freed.

use super::{Case, case, verify};

const CASES: &[Case] = &[
    case(
        "read past the end",
        "",
        "ld.global.u32 %r5, [%rd3+4000];",
        "out-of-bounds read of 4 bytes",
        "ld.global.u32 %r5, [%rd3+3968];",
    ),
    case(
        "write before the start",
        "",
        "st.global.u32 [%rd3+-4], 1;",
        "4 bytes before device memory",
        "st.global.u32 [%rd3], 1;",
    ),
    case(
        "vector straddles the end",
        "",
        "ld.global.v2.u32 {%r5,%r6}, [%rd1+4096];",
        "past the end",
        "ld.global.v2.u32 {%r5,%r6}, [%rd1+4088];",
    )
    .threads(1),
    case(
        "misaligned",
        "",
        "ld.global.u32 %r5, [%rd1+2];",
        "misaligned read of 4 bytes",
        "ld.global.u16 %h1, [%rd1+2];",
    ),
    case(
        "misaligned vector",
        "",
        "ld.global.v4.u32 {%r5,%r6,%r7,%r8}, [%rd1+8];",
        "not a multiple of 16",
        "ld.global.v4.u32 {%r5,%r6,%r7,%r8}, [%rd1+16];",
    ),
    case(
        "null pointer",
        "",
        "mov.u64 %rd4, 0; ld.global.u32 %r5, [%rd4];",
        "null pointer",
        "ld.global.u32 %r5, [%rd1];",
    )
    .threads(1),
    case(
        "shared past the end",
        "",
        "st.shared.u32 [s+4112], %r1;",
        "the block has 4112 bytes",
        "st.shared.u32 [s+508], 7;",
    )
    .threads(1),
    case(
        "local past the end",
        "",
        "mov.u64 %rd4, loc; st.local.u32 [%rd4+64], %r1;",
        "a thread has 64 bytes",
        "mov.u64 %rd4, loc; st.local.u32 [%rd4+60], %r1;",
    ),
    case("trap", "", "trap;", "executed trap", "mov.u32 %r5, 0;"),
];

#[test]
fn planted_faults_are_found_and_their_twins_pass() {
    verify(CASES);
}

const PLACES: &[Case] = &[
    case(
        "a generic address of nothing",
        "",
        "mov.u64 %rd6, 0x0900000000001000; ld.u32 %r5, [%rd6];",
        "out-of-bounds read",
        "mov.u64 %rd6, s; cvta.shared.u64 %rd6, %rd6; st.u32 [%rd6], 7; ld.u32 %r5, [%rd6];",
    ).threads(1),
    case(
        "a misaligned atomic",
        "",
        "atom.global.add.u32 %r5, [%rd1+2], 1;",
        "misaligned",
        "atom.global.add.u32 %r5, [%rd1+4], 1;",
    ),
    case(
        "an atomic on local memory",
        "",
        "mov.u64 %rd6, loc; cvta.local.u64 %rd6, %rd6; atom.add.u32 %r5, [%rd6], 1;",
        "neither global nor shared",
        "atom.add.u32 %r5, [%rd1], 1;",
    ),
    case(
        "a branch beyond its table",
        "",
        "T: .branchtargets A, B; mov.u32 %r5, 2; brx.idx %r5, T; A: B:",
        "beyond the 2 branch targets",
        "T: .branchtargets A, B; mov.u32 %r5, 1; brx.idx %r5, T; A: B:",
    ),
    case(
        "one lane of 32 past the end",
        "",
        "mul.lo.u32 %r5, %r1, 136; cvt.u64.u32 %rd6, %r5; add.u64 %rd6, %rd1, %rd6; ld.global.v2.u32 {%r6,%r7}, [%rd6+8];",
        "out-of-bounds read of 8 bytes",
        "mul.lo.u32 %r5, %r1, 128; cvt.u64.u32 %rd6, %r5; add.u64 %rd6, %rd1, %rd6; ld.global.v2.u32 {%r6,%r7}, [%rd6+8];",
    ),
    case(
        "a bulk copy that is not a multiple of 16 bytes",
        "",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 200; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
        "multiple of 16",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
    ).hopper(),
    case(
        "a bulk copy past the end",
        "",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1+4080], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
        "past the end",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1+3840], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
    ).hopper(),
    case(
        "a tensor box past the end of shared memory",
        "",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s+3968], [%rd5, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
        "bytes of shared memory",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s+3840], [%rd5, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
    ).hopper(),
    case(
        "a tensor box at a misaligned place",
        "",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s+16], [%rd5, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
        "not a multiple of 128",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s+128], [%rd5, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
    ).hopper(),
    case(
        "a tensor map that is none",
        "",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s], [%rd4, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
        "no tensor map",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s], [%rd5, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
    ).hopper(),
    case(
        "a block of the cluster that does not exist",
        "",
        "mov.u32 %r5, 5; mapa.shared::cluster.u32 %r6, %r3, %r5; st.shared::cluster.u32 [%r6], %r1;",
        "",
        "mov.u32 %r5, %r4; mapa.shared::cluster.u32 %r6, %r3, %r5; st.shared::cluster.u32 [%r6], %r1;",
    ).cluster(2),
    case(
        "an assertion of the kernel's own",
        "",
        "setp.eq.u32 %p1, %r1, 9; @%p1 trap;",
        "executed trap",
        "setp.eq.u32 %p1, %r1, 99; @%p1 trap;",
    ),
];

#[test]
fn places_that_do_not_exist() {
    verify(PLACES);
}
