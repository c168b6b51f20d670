//! Accesses that nothing orders.

use super::{Case, case, verify};

const CASES: &[Case] = &[
    case(
        "exchange within a warp without bar.warp.sync",
        "races",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 4; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; ld.shared.u32 %r7, [%r6];",
        "race: this read",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 4; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; \
         bar.warp.sync -1; ld.shared.u32 %r7, [%r6];",
    ),
    case(
        "exchange between warps without a barrier",
        "races",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 128; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; \
         ld.shared.u32 %r7, [%r6];",
        "race: this",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 128; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; bar.sync 0; \
         ld.shared.u32 %r7, [%r6];",
    )
    .threads(64),
    case(
        "overwritten before the others have read",
        "races",
        "st.shared.u32 [%r3], %r1; bar.sync 0; ld.shared.u32 %r7, [s]; st.shared.u32 [%r3], 99;",
        "race: this",
        "st.shared.u32 [%r3], %r1; bar.sync 0; ld.shared.u32 %r7, [s]; bar.sync 0; st.shared.u32 [%r3], 99;",
    )
    .threads(64),
    case(
        "blocks write one word",
        "races",
        "mov.u32 %r5, %ctaid.x; add.u32 %r5, %r5, 1; st.global.u32 [%rd1], %r5;",
        "a thread of another block",
        "atom.global.add.u32 %r5, [%rd1], 1;",
    )
    .threads(1)
    .blocks(64),
    case(
        "lanes write different values to one word",
        "races",
        "st.global.u32 [%rd1], %r1;",
        "race: this write",
        "st.global.u32 [%rd1], 5;",
    ),
];

#[test]
fn planted_faults_are_found_and_their_twins_pass() {
    verify(CASES);
}

const ORDERS: &[Case] = &[
    case(
        "lanes write one byte",
        "races",
        "st.shared.u8 [s], %r1;",
        "race: this write",
        "mov.u32 %r5, s; add.u32 %r5, %r5, %r1; st.shared.u8 [%r5], %r1;",
    ),
    case(
        "lanes in pairs write one half of a word",
        "races",
        "mov.u32 %r5, s; and.b32 %r6, %r1, 30; add.u32 %r5, %r5, %r6; st.shared.u16 [%r5], %r1;",
        "race: this write",
        "mov.u32 %r5, s; add.u32 %r5, %r5, %r1; add.u32 %r5, %r5, %r1; st.shared.u16 [%r5], %r1;",
    ),
    case(
        "a word read before the other half is ordered",
        "races",
        "mov.u32 %r5, s; and.b32 %r6, %r1, 15; shl.b32 %r6, %r6, 2; shr.u32 %r7, %r1, 4; shl.b32 %r7, %r7, 1; \
     add.u32 %r5, %r5, %r6; add.u32 %r8, %r5, %r7; st.shared.u16 [%r8], %r1; ld.shared.u32 %r9, [%r5];",
        "race: this read",
        "mov.u32 %r5, s; and.b32 %r6, %r1, 15; shl.b32 %r6, %r6, 2; shr.u32 %r7, %r1, 4; shl.b32 %r7, %r7, 1; \
     add.u32 %r5, %r5, %r6; add.u32 %r8, %r5, %r7; st.shared.u16 [%r8], %r1; ld.shared.u16 %h1, [%r8]; \
     bar.warp.sync -1; ld.shared.u32 %r9, [%r5];",
    ),
    case(
        "warps write one byte of global memory",
        "races",
        "st.global.u8 [%rd1+5], %r1;",
        "race: this write",
        "cvt.u64.u32 %rd6, %r1; add.u64 %rd6, %rd6, %rd1; st.global.u8 [%rd6+1], %r1;",
    ).threads(64),
    case(
        "exchange through global memory without bar.warp.sync",
        "races",
        "st.global.u32 [%rd3], %r1; xor.b64 %rd6, %rd2, 4; add.u64 %rd6, %rd1, %rd6; ld.global.u32 %r5, [%rd6];",
        "race: this read",
        "st.global.u32 [%rd3], %r1; xor.b64 %rd6, %rd2, 4; add.u64 %rd6, %rd1, %rd6; bar.warp.sync -1; \
     ld.global.u32 %r5, [%rd6];",
    ),
    case(
        "exchange through global memory without a barrier",
        "races",
        "st.global.u32 [%rd3], %r1; xor.b64 %rd6, %rd2, 128; add.u64 %rd6, %rd1, %rd6; ld.global.u32 %r5, [%rd6];",
        "race: this",
        "st.global.u32 [%rd3], %r1; xor.b64 %rd6, %rd2, 128; add.u64 %rd6, %rd1, %rd6; bar.sync 0; \
     ld.global.u32 %r5, [%rd6];",
    ).threads(64),
    case(
        "read by another warp and overwritten",
        "races",
        "ld.global.u32 %r5, [%rd1]; setp.eq.u32 %p1, %r1, 40; @%p1 st.global.u32 [%rd1], %r1;",
        "race: this",
        "ld.global.u32 %r5, [%rd1]; bar.sync 0; setp.eq.u32 %p1, %r1, 40; @%p1 st.global.u32 [%rd1], %r1;",
    ).threads(64),
    case(
        "a shuffle in place of bar.warp.sync",
        "races",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 4; shfl.sync.idx.b32 %r7, %r1, 0, 31, -1; mov.u32 %r6, s; \
     add.u32 %r6, %r6, %r5; ld.shared.u32 %r7, [%r6];",
        "race: this read",
        "st.shared.u32 [%r3], %r1; xor.b32 %r5, %r2, 4; shfl.sync.idx.b32 %r7, %r1, 0, 31, -1; mov.u32 %r6, s; \
     add.u32 %r6, %r6, %r5; bar.warp.sync -1; ld.shared.u32 %r7, [%r6];",
    ),
    case(
        "a volatile flag without fences",
        "races",
        "setp.eq.u32 %p1, %r1, 0; mov.u32 %r5, 0; mov.u32 %r6, 7; @%p1 st.shared.u32 [s+128], %r5; bar.sync 0; \
     setp.lt.u32 %p2, %r1, 32; @%p2 bra W; L: ld.volatile.shared.u32 %r8, [s+128]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L;  \
     ld.shared.u32 %r7, [s]; bra E; W: @%p1 st.shared.u32 [s], %r6;  @%p1 st.volatile.shared.u32 [s+128], %r6; E:",
        "race: this read",
        "setp.eq.u32 %p1, %r1, 0; mov.u32 %r5, 0; mov.u32 %r6, 7; @%p1 st.shared.u32 [s+128], %r5; bar.sync 0; \
     setp.lt.u32 %p2, %r1, 32; @%p2 bra W; L: ld.volatile.shared.u32 %r8, [s+128]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L; membar.cta; \
     ld.shared.u32 %r7, [s]; bra E; W: @%p1 st.shared.u32 [s], %r6; membar.cta; @%p1 st.volatile.shared.u32 [s+128], %r6; E:",
    ).threads(64),
    case(
        "a fence on the writer's side only",
        "races",
        "setp.eq.u32 %p1, %r1, 0; mov.u32 %r5, 0; mov.u32 %r6, 7; @%p1 st.shared.u32 [s+128], %r5; bar.sync 0; \
     setp.lt.u32 %p2, %r1, 32; @%p2 bra W; L: ld.volatile.shared.u32 %r8, [s+128]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L;  \
     ld.shared.u32 %r7, [s]; bra E; W: @%p1 st.shared.u32 [s], %r6; membar.cta; @%p1 st.volatile.shared.u32 [s+128], %r6; E:",
        "race: this read",
        "setp.eq.u32 %p1, %r1, 0; mov.u32 %r5, 0; mov.u32 %r6, 7; @%p1 st.shared.u32 [s+128], %r5; bar.sync 0; \
     setp.lt.u32 %p2, %r1, 32; @%p2 bra W; L: ld.relaxed.cta.shared.u32 %r8, [s+128]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L; fence.acq_rel.cta; \
     ld.shared.u32 %r7, [s]; bra E; W: @%p1 st.shared.u32 [s], %r6;  @%p1 st.release.cta.shared.u32 [s+128], %r6; E:",
    ).threads(64),
    case(
        "a release that is read relaxed",
        "races",
        "setp.eq.u32 %p1, %r1, 0; mov.u32 %r5, 0; mov.u32 %r6, 7; @%p1 st.shared.u32 [s+128], %r5; bar.sync 0; \
     setp.lt.u32 %p2, %r1, 32; @%p2 bra W; L: ld.relaxed.cta.shared.u32 %r8, [s+128]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L;  \
     ld.shared.u32 %r7, [s]; bra E; W: @%p1 st.shared.u32 [s], %r6;  @%p1 st.release.cta.shared.u32 [s+128], %r6; E:",
        "race: this read",
        "setp.eq.u32 %p1, %r1, 0; mov.u32 %r5, 0; mov.u32 %r6, 7; @%p1 st.shared.u32 [s+128], %r5; bar.sync 0; \
     setp.lt.u32 %p2, %r1, 32; @%p2 bra W; L: ld.acquire.cta.shared.u32 %r8, [s+128]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L;  \
     ld.shared.u32 %r7, [s]; bra E; W: @%p1 st.shared.u32 [s], %r6;  @%p1 st.release.cta.shared.u32 [s+128], %r6; E:",
    ).threads(64),
    case(
        "a flag between blocks without fences",
        "races",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r6, 7; setp.eq.u32 %p2, %r4, 0; @%p2 bra W; \
     L: ld.relaxed.gpu.global.u32 %r8, [%rd4]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L;  ld.global.u32 %r7, [%rd1]; bra E; \
     W: st.global.u32 [%rd1], %r6;  st.relaxed.gpu.global.u32 [%rd4], %r6; E:",
        "a thread of another block",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r6, 7; setp.eq.u32 %p2, %r4, 0; @%p2 bra W; \
     L: ld.relaxed.gpu.global.u32 %r8, [%rd4]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L; fence.acq_rel.gpu; ld.global.u32 %r7, [%rd1]; bra E; \
     W: st.global.u32 [%rd1], %r6; fence.acq_rel.gpu; st.relaxed.gpu.global.u32 [%rd4], %r6; E:",
    ).blocks(2),
    case(
        "fences between blocks of block scope",
        "races",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r6, 7; setp.eq.u32 %p2, %r4, 0; @%p2 bra W; \
     L: ld.relaxed.gpu.global.u32 %r8, [%rd4]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L; fence.acq_rel.cta; ld.global.u32 %r7, [%rd1]; bra E; \
     W: st.global.u32 [%rd1], %r6; fence.acq_rel.cta; st.relaxed.gpu.global.u32 [%rd4], %r6; E:",
        "a thread of another block",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r6, 7; setp.eq.u32 %p2, %r4, 0; @%p2 bra W; \
     L: ld.relaxed.gpu.global.u32 %r8, [%rd4]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L; membar.gl; ld.global.u32 %r7, [%rd1]; bra E; \
     W: st.global.u32 [%rd1], %r6; membar.gl; st.relaxed.gpu.global.u32 [%rd4], %r6; E:",
    ).blocks(2),
    case(
        "a release between blocks of block scope",
        "races",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r6, 7; setp.eq.u32 %p2, %r4, 0; @%p2 bra W; \
     L: ld.acquire.gpu.global.u32 %r8, [%rd4]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L;  ld.global.u32 %r7, [%rd1]; bra E; \
     W: st.global.u32 [%rd1], %r6;  st.release.cta.global.u32 [%rd4], %r6; E:",
        "a thread of another block",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mov.u32 %r6, 7; setp.eq.u32 %p2, %r4, 0; @%p2 bra W; \
     L: ld.acquire.gpu.global.u32 %r8, [%rd4]; setp.eq.u32 %p3, %r8, 0; @%p3 bra L;  ld.global.u32 %r7, [%rd1]; bra E; \
     W: st.global.u32 [%rd1], %r6;  st.release.gpu.global.u32 [%rd4], %r6; E:",
    ).blocks(2),
    case(
        "a lock of relaxed atomics",
        "races",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; L: atom.global.cas.b32 %r5, [%rd4], 0, 1; setp.ne.u32 %p2, %r5, 0; \
     @%p2 bra L;  ld.global.u32 %r6, [%rd1]; add.u32 %r6, %r6, 1; st.global.u32 [%rd1], %r6;  \
     atom.global.exch.b32 %r5, [%rd4], 0; E:",
        "race: this",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; L: atom.global.cas.b32 %r5, [%rd4], 0, 1; setp.ne.u32 %p2, %r5, 0; \
     @%p2 bra L; membar.gl; ld.global.u32 %r6, [%rd1]; add.u32 %r6, %r6, 1; st.global.u32 [%rd1], %r6; membar.gl; \
     atom.global.exch.b32 %r5, [%rd4], 0; E:",
    ).blocks(8),
    case(
        "the last block reads without fences",
        "races",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mul.wide.u32 %rd6, %r4, 4; add.u64 %rd6, %rd1, %rd6; add.u32 %r6, %r4, 1; \
     st.global.u32 [%rd6], %r6;  atom.global.add.u32 %r5, [%rd4], 1; setp.ne.u32 %p2, %r5, 7; @%p2 bra E;  \
     ld.global.v4.u32 {%r7,%r8,%r9,%r10}, [%rd1]; E:",
        "a thread of another block",
        "setp.ne.u32 %p1, %r1, 0; @%p1 bra E; mul.wide.u32 %rd6, %r4, 4; add.u64 %rd6, %rd1, %rd6; add.u32 %r6, %r4, 1; \
     st.global.u32 [%rd6], %r6; fence.acq_rel.gpu; atom.global.add.u32 %r5, [%rd4], 1; setp.ne.u32 %p2, %r5, 7; @%p2 bra E; fence.acq_rel.gpu; \
     ld.global.v4.u32 {%r7,%r8,%r9,%r10}, [%rd1]; E:",
    ).blocks(8),
    case(
        "a plain write beside atomic updates",
        "races",
        "atom.shared.exch.b32 %r6, [%r3], 0; bar.sync 0; atom.shared.add.u32 %r5, [s], 1; setp.eq.u32 %p1, %r1, 40; \
     @%p1 st.shared.u32 [s], %r1;",
        "race: this",
        "atom.shared.exch.b32 %r6, [%r3], 0; bar.sync 0; atom.shared.add.u32 %r5, [s], 1; setp.eq.u32 %p1, %r1, 40; \
     bar.sync 0; @%p1 st.shared.u32 [s], %r1;",
    ).threads(64),
    case(
        "an mbarrier not waited for",
        "races",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 64; bar.sync 0; st.shared.u32 [%r3], %r1; \
     mbarrier.arrive.shared.b64 %rd6, [bar];  xor.b32 %r5, %r2, 128; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; \
     ld.shared.u32 %r7, [%r6];",
        "race: this",
        "setp.eq.u32 %p1, %r1, 0; @%p1 mbarrier.init.shared.b64 [bar], 64; bar.sync 0; st.shared.u32 [%r3], %r1; \
     mbarrier.arrive.shared.b64 %rd6, [bar]; L: mbarrier.try_wait.shared.b64 %p2, [bar], %rd6; @!%p2 bra L; xor.b32 %r5, %r2, 128; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; \
     ld.shared.u32 %r7, [%r6];",
    ).threads(64),
    case(
        "bar.arrive in place of bar.sync",
        "races",
        "st.shared.u32 [%r3], %r1; bar.arrive 1, 64; xor.b32 %r5, %r2, 128; mov.u32 %r6, s; add.u32 %r6, %r6, %r5; \
     ld.shared.u32 %r7, [%r6];",
        "race: this",
        "setp.lt.u32 %p1, %r1, 32; @%p1 bra L; bar.sync 1, 64; xor.b32 %r5, %r2, 128; mov.u32 %r6, s; \
     add.u32 %r6, %r6, %r5; ld.shared.u32 %r7, [%r6]; bra E; L: st.shared.u32 [%r3], %r1; bar.arrive 1, 64; E:",
    ).threads(64),
    case(
        "read through the non-coherent path and written in place",
        "races",
        "ld.global.nc.u32 %r5, [%rd3]; add.u32 %r5, %r5, 1; st.global.u32 [%rd3], %r5;",
        "non-coherent path",
        "ld.global.nc.u32 %r5, [%rd3]; add.u64 %rd6, %rd4, %rd2; add.u32 %r5, %r5, 1; st.global.u32 [%rd6], %r5;",
    ),
    case(
        "written and then read through the non-coherent path",
        "races",
        "st.global.u32 [%rd3], %r1; bar.sync 0; ld.global.nc.v2.u32 {%r5,%r6}, [%rd1];",
        "non-coherent path",
        "st.global.u32 [%rd3], %r1; bar.sync 0; ld.global.v2.u32 {%r5,%r6}, [%rd1];",
    ),
    case(
        "the shared memory of a neighbour without a cluster barrier",
        "races",
        "st.shared.u32 [%r3], %r1; bar.sync 0; xor.b32 %r5, %r4, 1; mapa.shared::cluster.u32 %r6, %r3, %r5; \
     ld.shared::cluster.u32 %r7, [%r6]; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;",
        "a thread of another block",
        "st.shared.u32 [%r3], %r1; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned; xor.b32 %r5, %r4, 1; \
     mapa.shared::cluster.u32 %r6, %r3, %r5; ld.shared::cluster.u32 %r7, [%r6]; barrier.cluster.arrive.aligned; \
     barrier.cluster.wait.aligned;",
    ).cluster(2),
    case(
        "a relaxed cluster barrier",
        "races",
        "st.shared.u32 [%r3], %r1; barrier.cluster.arrive.relaxed.aligned; barrier.cluster.wait.aligned; \
     xor.b32 %r5, %r4, 1; mapa.shared::cluster.u32 %r6, %r3, %r5; ld.shared::cluster.u32 %r7, [%r6]; \
     barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;",
        "a thread of another block",
        "st.shared.u32 [%r3], %r1; fence.acq_rel.cluster; barrier.cluster.arrive.relaxed.aligned; \
     barrier.cluster.wait.aligned; xor.b32 %r5, %r4, 1; mapa.shared::cluster.u32 %r6, %r3, %r5; \
     ld.shared::cluster.u32 %r7, [%r6]; barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;",
    ).cluster(2),
];

#[test]
fn what_orders_and_what_does_not() {
    verify(ORDERS);
}
