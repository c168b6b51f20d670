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
