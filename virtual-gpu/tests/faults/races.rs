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
