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
