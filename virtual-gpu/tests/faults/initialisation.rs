//! Values that nobody wrote.

use super::{Case, case, verify};

const CASES: &[Case] = &[
    case(
        "uninitialised shared value stored",
        "uninitialised",
        "ld.shared.u32 %r5, [%r3]; st.global.u32 [%rd3], %r5;",
        "an uninitialised value is stored to global memory",
        "st.shared.u32 [%r3], %r1; ld.shared.u32 %r5, [%r3]; st.global.u32 [%rd3], %r5;",
    ),
    case(
        "uninitialised value decides a branch",
        "uninitialised",
        "ld.shared.u32 %r5, [%r3]; setp.eq.u32 %p1, %r5, 0; @%p1 bra L; L:",
        "depends on an uninitialised value",
        "ld.shared.u32 %r5, [%r3]; add.u32 %r6, %r5, 1; st.shared.u32 [%r3], %r6;",
    ),
    case(
        "uninitialised register as an address",
        "uninitialised",
        "ld.global.u32 %r5, [%rd9];",
        "this address depends on an uninitialised value",
        "mov.u64 %rd9, %rd1; ld.global.u32 %r5, [%rd9];",
    ),
];

#[test]
fn planted_faults_are_found_and_their_twins_pass() {
    verify(CASES);
}

const VALUES: &[Case] = &[
    case(
        "an uninitialised value given to an atomic",
        "uninitialised",
        "ld.shared.u32 %r5, [%r3]; atom.global.add.u32 %r6, [%rd1], %r5;",
        "given to an atomic",
        "st.shared.u32 [%r3], %r1; ld.shared.u32 %r5, [%r3]; atom.global.add.u32 %r6, [%rd1], %r5;",
    ),
    case(
        "a reduction onto memory that was never written",
        "uninitialised",
        "red.shared.add.u32 [s], 1;",
        "never initialised",
        "setp.eq.u32 %p1, %r1, 0; mov.u32 %r5, 0; @%p1 st.shared.u32 [s], %r5; bar.warp.sync -1; red.shared.add.u32 [s], 1;",
    ),
    case(
        "an uninitialised local variable decides a branch",
        "uninitialised",
        "mov.u64 %rd6, loc; ld.local.u32 %r5, [%rd6]; setp.eq.u32 %p1, %r5, 0; @%p1 bra L; L:",
        "depends on an uninitialised value",
        "mov.u64 %rd6, loc; st.local.u32 [%rd6], %r1; ld.local.u32 %r5, [%rd6]; setp.eq.u32 %p1, %r5, 0; @%p1 bra L; L:",
    ),
    case(
        "an uninitialised byte among initialised ones",
        "uninitialised",
        "st.shared.u8 [%r3], %r1; st.shared.u8 [%r3+2], %r1; st.shared.u8 [%r3+3], %r1; ld.shared.u32 %r5, [%r3]; \
     st.global.u32 [%rd3], %r5;",
        "an uninitialised value is stored",
        "st.shared.u8 [%r3], %r1; st.shared.u8 [%r3+1], %r1; st.shared.u16 [%r3+2], %r1; ld.shared.u32 %r5, [%r3]; \
     st.global.u32 [%rd3], %r5;",
    ),
    case(
        "a shuffle from a lane that does not take part",
        "uninitialised",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; shfl.sync.idx.b32 %r5, %r1, 3, 31, 0xffff0000; st.global.u32 [%rd3], %r5; L:",
        "an uninitialised value is stored",
        "setp.lt.u32 %p1, %r1, 16; @%p1 bra L; shfl.sync.idx.b32 %r5, %r1, 19, 31, 0xffff0000; st.global.u32 [%rd3], %r5; L:",
    ),
    case(
        "a product of uninitialised operands",
        "uninitialised",
        "mov.f32 %f1, 0f00000000; ld.shared.u32 %r5, [%r3]; \
     mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5}, {%r5,%r5}, {%r5}, {%f1,%f1,%f1,%f1}; \
     st.global.f32 [%rd3], %f2;",
        "an uninitialised value is stored",
        "mov.f32 %f1, 0f00000000; mov.u32 %r5, 0; \
     mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5}, {%r5,%r5}, {%r5}, {%f1,%f1,%f1,%f1}; \
     st.global.f32 [%rd3], %f2;",
    ),
    case(
        "an operand of one lane reaches other lanes",
        "uninitialised",
        "mov.f32 %f1, 0f00000000; mov.u32 %r5, 0; setp.eq.u32 %p1, %r1, 0; @%p1 ld.shared.u32 %r5, [%r3]; \
     mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5}, {%r5,%r5}, {%r5}, {%f1,%f1,%f1,%f1}; \
     setp.eq.u32 %p2, %r1, 1; @%p2 st.global.f32 [%rd3], %f2;",
        "an uninitialised value is stored",
        "mov.f32 %f1, 0f00000000; mov.u32 %r5, 0; setp.eq.u32 %p1, %r1, 0; @%p1 mov.u32 %r5, 1; \
     mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%f2,%f3,%f4,%f5}, {%r5,%r5}, {%r5}, {%f1,%f1,%f1,%f1}; \
     setp.eq.u32 %p2, %r1, 1; @%p2 st.global.f32 [%rd3], %f2;",
    ),
    case(
        "a bulk store of uninitialised shared memory",
        "uninitialised",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
        "stores uninitialised bytes",
        "mov.u32 %r10, 5; mov.u32 %r12, s; add.u32 %r12, %r12, %r2; add.u32 %r12, %r12, %r2; st.shared.v2.u32 [%r12], {%r10,%r10}; fence.proxy.async; bar.warp.sync -1; setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r12, s; cp.async.bulk.global.shared::cta.bulk_group [%rd1], [%r12], 256; cp.async.bulk.commit_group; cp.async.bulk.wait_group 0; E:",
    ).hopper(),
];

#[test]
fn where_uninitialised_values_count() {
    verify(VALUES);
}
