//! Asynchronous copies and matrix products used before they are done.

use super::{Case, case, verify};

const CASES: &[Case] = &[
    case(
        "cp.async read before the wait",
        "asynchrony",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; ld.shared.u32 %r5, [%r3];",
        "while an asynchronous copy into them is in flight",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; cp.async.wait_group 0; \
         ld.shared.u32 %r5, [%r3];",
    ),
    case(
        "cp.async not committed",
        "asynchrony",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.wait_group 0; ld.shared.u32 %r5, [%r3];",
        "in flight",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.wait_all; ld.shared.u32 %r5, [%r3];",
    ),
    case(
        "cp.async waits for too few groups",
        "asynchrony",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; cp.async.wait_group 1; \
         ld.shared.u32 %r5, [%r3];",
        "in flight",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; cp.async.commit_group; \
         cp.async.wait_group 1; ld.shared.u32 %r5, [%r3];",
    ),
    case(
        "cp.async out of bounds",
        "",
        "cp.async.ca.shared.global [%r3], [%rd3+4096], 4;",
        "past the end",
        "mov.u32 %r5, 0; cp.async.ca.shared.global [%r3], [%rd3+4096], 4, %r5; cp.async.wait_all;",
    ),
    case(
        "an mbarrier that was not initialised",
        "asynchrony",
        "mbarrier.arrive.shared.b64 %rd4, [s];",
        "no mbarrier was initialised",
        "mbarrier.init.shared.b64 [s], 1; mbarrier.arrive.shared.b64 %rd4, [s];",
    )
    .threads(1),
    case(
        "too many arrivals",
        "asynchrony",
        "mbarrier.init.shared.b64 [s], 2; mbarrier.arrive.noComplete.shared.b64 %rd4, [s], 2;",
        "completes the phase",
        "mbarrier.init.shared.b64 [s], 2; mbarrier.arrive.noComplete.shared.b64 %rd4, [s], 1;",
    )
    .threads(1),
];

#[test]
fn planted_faults_are_found_and_their_twins_pass() {
    verify(CASES);
}

/// 64 by 8 by 16 on operands of zeros in shared memory, accumulators %f1 to %f4, as one warpgroup.
macro_rules! product {
    () => {
        "wgmma.mma_async.sync.aligned.m64n8k16.f32.f16.f16 {%f1,%f2,%f3,%f4}, %rd10, %rd11, 1, 1, 1, 0, 0; "
    };
}

/// Zeroed operands behind both proxies, descriptors of 128-byte rows without swizzle, zeroed accumulators.
macro_rules! operands {
    () => {
        "mov.b32 %r10, 0; mov.f32 %f1, 0f00000000; mov.f32 %f2, %f1; mov.f32 %f3, %f1; mov.f32 %f4, %f1; \
         shl.b32 %r11, %r1, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r11; \
         st.shared.v4.u32 [%r12], {%r10,%r10,%r10,%r10}; st.shared.v4.u32 [%r12+16], {%r10,%r10,%r10,%r10}; \
         fence.proxy.async; bar.sync 0; mov.u32 %r12, s; shr.u32 %r12, %r12, 4; cvt.u64.u32 %rd10, %r12; \
         or.b64 %rd10, %rd10, 0x0000001000080000; mov.b64 %rd11, %rd10; "
    };
}

const PRODUCTS: &[Case] = &[
    case(
        "accumulators read before wgmma.wait_group",
        "asynchrony",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            add.f32 %f5, %f1, %f2;"
        ),
        "touched before wgmma.wait_group",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 0; add.f32 %f5, %f1, %f2;"
        ),
    )
    .threads(128)
    .hopper(),
    case(
        "an accumulator overwritten before wgmma.wait_group",
        "asynchrony",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            cvt.rn.f32.u32 %f3, %r1; wgmma.wait_group.sync.aligned 0; add.f32 %f5, %f3, %f3;"
        ),
        "touched before wgmma.wait_group",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 0; cvt.rn.f32.u32 %f3, %r1; add.f32 %f5, %f3, %f3;"
        ),
    )
    .threads(128)
    .hopper(),
    case(
        "wgmma.wait_group leaves the group pending",
        "asynchrony",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 1; add.f32 %f5, %f1, %f2;"
        ),
        "touched before wgmma.wait_group",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 1; add.f32 %f5, %f1, %f2;"
        ),
    )
    .threads(128)
    .hopper(),
    case(
        "wgmma never committed",
        "asynchrony",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.wait_group.sync.aligned 0; \
            add.f32 %f5, %f1, %f2;"
        ),
        "touched before wgmma.wait_group",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            product!(),
            "wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 0; add.f32 %f5, %f1, %f2;"
        ),
    )
    .threads(128)
    .hopper(),
    case(
        "no wgmma.fence before the first product",
        "asynchrony",
        concat!(operands!(), product!(), "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;"),
        "missing wgmma.fence",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 0;"
        ),
    )
    .threads(128)
    .hopper(),
    case(
        "an accumulator written between wgmma.fence and the product",
        "asynchrony",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; cvt.rn.f32.u32 %f2, %r1; ",
            product!(),
            "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;"
        ),
        "missing wgmma.fence",
        concat!(
            operands!(),
            "cvt.rn.f32.u32 %f2, %r1; wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0;"
        ),
    )
    .threads(128)
    .hopper(),
    case(
        "accumulators handed to a product of another shape without wgmma.fence",
        "asynchrony",
        concat!(
            operands!(),
            "mov.f32 %f5, %f1; mov.f32 %f6, %f1; mov.f32 %f7, %f1; mov.f32 %f8, %f1; \
            wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 \
            {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8}, %rd10, %rd11, 1, 1, 1, 0, 0; wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 0;"
        ),
        "another shape",
        concat!(
            operands!(),
            "mov.f32 %f5, %f1; mov.f32 %f6, %f1; mov.f32 %f7, %f1; mov.f32 %f8, %f1; \
            wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.fence.sync.aligned; \
            wgmma.mma_async.sync.aligned.m64n16k16.f32.f16.f16 \
            {%f1,%f2,%f3,%f4,%f5,%f6,%f7,%f8}, %rd10, %rd11, 1, 1, 1, 0, 0; wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 0;"
        ),
    )
    .threads(128)
    .hopper(),
    case(
        "a product of half a warp",
        "convergence",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; setp.eq.u32 %p1, %r1, 3; @%p1 bra L; ",
            product!(),
            "wgmma.commit_group.sync.aligned; L:"
        ),
        "all 32 lanes",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; setp.eq.u32 %p1, %r1, 999; @%p1 bra L; ",
            product!(),
            "wgmma.commit_group.sync.aligned; wgmma.wait_group.sync.aligned 0; L:"
        ),
    )
    .threads(128)
    .hopper(),
    case(
        "shared memory overwritten while a product reads it",
        "asynchrony",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [s], %r1; wgmma.wait_group.sync.aligned 0;"
        ),
        "an unfinished wgmma reads them",
        concat!(
            operands!(),
            "wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 0; setp.eq.u32 %p1, %r1, 0; @%p1 st.shared.u32 [s], %r1;"
        ),
    )
    .threads(128)
    .hopper(),
    case(
        "a product of what the generic proxy wrote",
        "asynchrony",
        concat!(
            operands!(),
            "setp.eq.u32 %p1, %r1, 5; mov.u32 %r13, 0; @%p1 st.shared.u32 [s+64], %r13; bar.sync 0; \
            wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 0;"
        ),
        "missing fence.proxy.async",
        concat!(
            operands!(),
            "setp.eq.u32 %p1, %r1, 5; mov.u32 %r13, 0; @%p1 st.shared.u32 [s+64], %r13; \
            fence.proxy.async; bar.sync 0; wgmma.fence.sync.aligned; ",
            product!(),
            "wgmma.commit_group.sync.aligned; \
            wgmma.wait_group.sync.aligned 0;"
        ),
    )
    .threads(128)
    .hopper(),
];

#[test]
fn products_are_watched() {
    verify(PRODUCTS);
}

const BULK: &[Case] = &[
    case(
        "a bulk load read before the wait",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W:  ld.shared.u32 %r7, [s];",
        "while an asynchronous copy into them is in flight",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
    ).hopper(),
    case(
        "a bulk load overwritten before the wait",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W:  st.shared.u32 [%r3], %r1;",
        "while an asynchronous copy into them is in flight",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; bar.warp.sync -1; st.shared.u32 [%r3], %r1;",
    ).hopper(),
    case(
        "a bulk load waited for in the wrong phase",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 1; @!%p2 bra L; ld.shared.u32 %r7, [s];",
        "in flight",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
    ).hopper(),
    case(
        "an arrival that expects no bytes",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.shared.b64 %rd6, [bar]; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
        "in flight",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
    ).hopper(),
    case(
        "an arrival that expects no bytes, copies done at once",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.shared.b64 %rd6, [bar]; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
        "256 bytes more came than were expected",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
    ).hopper()
    .seed(2),
    case(
        "fewer bytes expected than come",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 128; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
        "128 bytes more came than were expected",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 128; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 128, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
    ).hopper(),
    case(
        "more bytes expected than come",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 272; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
        "16 bytes more were expected than came",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 272; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 272, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ld.shared.u32 %r7, [s];",
    ).hopper(),
    case(
        "a tensor box of other bytes than expected",
        "asynchrony",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 224; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s], [%rd5, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
        "32 bytes more came than were expected",
        "mov.u32 %r20, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.tensor.2d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [s], [%rd5, {%r20,%r20}], [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
    ).hopper(),
    case(
        "a transaction count beyond its range",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 1048575; @%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 1;",
        "up to 1048575 are possible",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @%p1 mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 1048575; @%p1 mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [bar], 1048575;",
    ).hopper(),
    case(
        "a block that ends before its bulk load",
        "asynchrony",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W:  ",
        "the block ended while this transfer",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; bar.sync 0; @!%p1 bra W; mbarrier.arrive.expect_tx.shared.b64 %rd6, [bar], 256; cp.async.bulk.shared::cluster.global.mbarrier::complete_tx::bytes [s], [%rd1], 256, [bar]; W: L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L; ",
    ).hopper(),
    case(
        "a bulk store's source overwritten",
        "asynchrony",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; st.shared.u32 [s+16], %r1; cp.async.bulk.wait_group 0; E:",
        "still reads them",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0; st.shared.u32 [s+16], %r1; cp.async.bulk.wait_group 0; E:",
    ).hopper(),
    case(
        "a bulk store read before it is done",
        "asynchrony",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0; ld.global.u32 %r7, [%rd1]; E:",
        "in flight",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; ld.global.u32 %r7, [%rd1]; E:",
    ).hopper(),
    case(
        "a bulk store never waited for",
        "asynchrony",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; E:",
        "still read its shared memory",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; cp.async.bulk.wait_group.read 0; E:",
    ).hopper(),
    case(
        "an mbarrier that misses an arrival",
        "convergence",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 2; bar.sync 0; @%p1 mbarrier.arrive.shared.b64 %rd6, [bar]; L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L;",
        "1 of 2 arrivals missing",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 2; bar.sync 0; @%p1 mbarrier.arrive.shared.b64 %rd6, [bar]; @%p1 mbarrier.arrive.shared.b64 %rd6, [bar]; L: mbarrier.try_wait.parity.shared.b64 %p2, [bar], 0; @!%p2 bra L;",
    ).hopper(),
    case(
        "a state of another phase",
        "asynchrony",
        "mbarrier.init.shared.b64 [s], 1; mbarrier.arrive.shared.b64 %rd6, [s]; add.u64 %rd6, %rd6, 7; mbarrier.test_wait.shared.b64 %p1, [s], %rd6;",
        "not of its current phase or the one before",
        "mbarrier.init.shared.b64 [s], 1; mbarrier.arrive.shared.b64 %rd6, [s]; mbarrier.test_wait.shared.b64 %p1, [s], %rd6;",
    ).threads(1),
    case(
        "an mbarrier overwritten",
        "asynchrony",
        "mbarrier.init.shared.b64 [s], 2; st.shared.u32 [s+4], %r1; mbarrier.arrive.shared.b64 %rd6, [s];",
        "no mbarrier was initialised",
        "mbarrier.init.shared.b64 [s], 2; st.shared.u32 [s+8], %r1; mbarrier.arrive.shared.b64 %rd6, [s];",
    ).threads(1),
    case(
        "an mbarrier invalidated and used",
        "asynchrony",
        "mbarrier.init.shared.b64 [s], 2; mbarrier.inval.shared.b64 [s]; mbarrier.arrive.shared.b64 %rd6, [s];",
        "no mbarrier was initialised",
        "mbarrier.init.shared.b64 [s], 2; mbarrier.arrive.shared.b64 %rd6, [s]; mbarrier.inval.shared.b64 [s];",
    ).threads(1),
    case(
        "cp.async overwritten before the wait",
        "asynchrony",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; st.shared.u32 [%r3], %r1; cp.async.wait_group 0;",
        "in flight",
        "cp.async.ca.shared.global [%r3], [%rd3], 4; cp.async.commit_group; cp.async.wait_group 0; st.shared.u32 [%r3], %r1;",
    ),
];

#[test]
fn bulk_copies_and_mbarriers() {
    verify(BULK);
}
