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
