//! Barriers and warp operations with the wrong company.

use super::{Case, case, verify};

const CASES: &[Case] = &[
    case(
        "an aligned barrier in a branch",
        "convergence",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; bar.sync 0; L:",
        "an aligned barrier is executed by lanes",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; mov.u32 %r5, 1; L: bar.sync 0;",
    ),
    case(
        "a barrier that half of the warps reach",
        "convergence",
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra L; bar.sync 0, 64; L:",
        "deadlock",
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra L; bar.sync 1, 32; L:",
    )
    .threads(64),
    case(
        "different thread counts",
        "convergence",
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra L; bar.sync 1, 64; bra E; L: bar.sync 1, 32; E:",
        "barrier",
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra L; bar.sync 1, 64; bra E; L: bar.sync 1, 64; E:",
    )
    .threads(64),
    case(
        "a shuffle that names absent lanes",
        "convergence",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; shfl.sync.idx.b32 %r5, %r1, 0, 31, -1; bra E; L: \
         bar.warp.sync -1; E:",
        "waits for lanes",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; shfl.sync.idx.b32 %r5, %r1, 16, 31, 0xffff0000; bra E; \
         L: mov.u32 %r5, 0; E:",
    ),
    case(
        "a member mask without the lane itself",
        "convergence",
        "shfl.sync.idx.b32 %r5, %r1, 0, 31, 1;",
        "does not name it",
        "shfl.sync.idx.b32 %r5, %r1, 0, 31, -1;",
    ),
];

#[test]
fn planted_faults_are_found_and_their_twins_pass() {
    verify(CASES);
}

const COMPANY: &[Case] = &[
    case(
        "a matrix product of half a warp",
        "convergence",
        "setp.lt.u32 %p1, %r1, 16; mov.b32 %r5, 0; mov.f32 %f1, 0f00000000; @%p1 bra L; \
     mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5}, {%r5,%r5}, {%r5}, {%f1,%f1,%f1,%f1}; L:",
        "all 32 lanes",
        "setp.lt.u32 %p1, %r1, 16; mov.b32 %r5, 0; mov.f32 %f1, 0f00000000; @%p1 bra L; mov.b32 %r6, 0; L: \
     mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5}, {%r5,%r5}, {%r5}, {%f1,%f1,%f1,%f1};",
    ),
    case(
        "ldmatrix of half a warp",
        "convergence",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r5}, [s]; L:",
        "all 32 lanes",
        "ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%r5}, [s];",
    ),
    case(
        "a cluster barrier waited for without an arrival",
        "convergence",
        "barrier.cluster.wait;",
        "without barrier.cluster.arrive",
        "barrier.cluster.arrive; barrier.cluster.wait;",
    )
    .cluster(2),
    case(
        "a cluster barrier arrived at twice",
        "convergence",
        "barrier.cluster.arrive; barrier.cluster.arrive; barrier.cluster.wait;",
        "twice",
        "barrier.cluster.arrive; barrier.cluster.wait; barrier.cluster.arrive; barrier.cluster.wait;",
    )
    .cluster(2),
    case(
        "the shared memory of a block that is gone",
        "convergence",
        "st.shared.u32 [%r3], %r1; setp.eq.u32 %p1, %r4, 1; @%p1 bra E; barrier.cluster.arrive; barrier.cluster.wait; \
     xor.b32 %r5, %r4, 1; mapa.shared::cluster.u32 %r6, %r3, %r5; ld.shared::cluster.u32 %r7, [%r6]; E:",
        "have exited",
        "st.shared.u32 [%r3], %r1; barrier.cluster.arrive; barrier.cluster.wait; xor.b32 %r5, %r4, 1; \
     mapa.shared::cluster.u32 %r6, %r3, %r5; ld.shared::cluster.u32 %r7, [%r6]; barrier.cluster.arrive; \
     barrier.cluster.wait;",
    )
    .cluster(2),
    case(
        "lanes that name different barriers",
        "convergence",
        "and.b32 %r5, %r1, 1; barrier.sync %r5, 32;",
        "different barriers",
        "mov.u32 %r5, 1; barrier.sync %r5, 32;",
    ),
    case(
        "a cluster barrier that a block does not reach",
        "convergence",
        "setp.eq.u32 %p1, %r4, 0; @%p1 bra L; barrier.cluster.arrive; barrier.cluster.wait; bra E; \
         L: setp.lt.u32 %p2, %r1, 32; @%p2 bra E; bar.sync 1, 64; E:",
        "deadlock",
        "barrier.cluster.arrive; barrier.cluster.wait;",
    )
    .cluster(2)
    .threads(64),
    case(
        "a vote of absent lanes",
        "convergence",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; vote.sync.any.pred %p2, %p1, -1; bra E; L: bar.warp.sync -1; E:",
        "waits for lanes",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; vote.sync.any.pred %p2, %p1, 0xffff0000; bra E; L: \
         bar.warp.sync 0xffff; E:",
    ),
];

#[test]
fn barriers_and_warp_operations() {
    verify(COMPANY);
}
