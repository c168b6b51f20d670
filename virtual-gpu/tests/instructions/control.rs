//! Branches, tables of them, calls direct, indirect and variadic, and what a thread may ask about itself.

use super::harness::{HEADER, run};

/// Runs one warp of a kernel whose body stores `%r9`; `before` stands in front of it.
fn warp(before: &str, body: &str) -> Vec<u32> {
    let text = format!(
        "{HEADER}{before}\n.visible .entry k(.param .u64 q)\n{{\n.reg .pred %p<8>;\n.reg .b32 %r<32>;\n.reg .b64 %rd<16>;\n\
         ld.param.u64 %rd1, [q];\nmov.u32 %r1, %tid.x;\nmul.wide.u32 %rd2, %r1, 4;\nadd.u64 %rd3, %rd1, %rd2;\n\
         mov.u32 %r9, 0;\n{body}\nst.global.u32 [%rd3], %r9;\nret;\n}}\n"
    );
    let out = run(&text, 1, 32, 1, &[vec![0; 128]]).unwrap_or_else(|e| panic!("{e}\n{text}"));
    out[0].chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect()
}

#[track_caller]
fn is(got: Vec<u32>, want: impl Fn(u32) -> u32) {
    assert_eq!(got, (0..32).map(want).collect::<Vec<_>>());
}

#[test]
fn branches() {
    let loop_ = "mov.u32 %r2, %r1;\nL: setp.eq.u32 %p1, %r2, 0;\n@%p1 bra E;\nadd.u32 %r9, %r9, %r2;\nsub.u32 %r2, %r2, 1;\n\
                 bra.uni L;\nE:";
    is(warp("", loop_), |t| t * (t + 1) / 2);
    let table = "and.b32 %r2, %r1, 3;\nT: .branchtargets A, B, C, A;\nbrx.idx %r2, T;\nA: mov.u32 %r9, 10;\nbra E;\n\
                 B: mov.u32 %r9, 20;\nbra E;\nC: mov.u32 %r9, 30;\nE:";
    is(warp("", table), |t| [10, 20, 30, 10][t as usize % 4]);
    is(warp("", &table.replace("brx.idx ", "brx.idx.uni ").replace("%r1, 3", "%r1, 0")), |_| 10);
    // A predicate and its negation guard any instruction; who exits is gone.
    let guarded = "setp.lt.u32 %p1, %r1, 7;\n@%p1 mov.u32 %r9, 1;\n@!%p1 mov.u32 %r9, 2;\n\
                   st.global.u32 [%rd3], %r9;\nsetp.gt.u32 %p2, %r1, 20;\n@%p2 exit;\nadd.u32 %r9, %r9, 5;";
    is(warp("", guarded), |t| {
        if t < 7 {
            6
        } else if t > 20 {
            2
        } else {
            7
        }
    });
}

const TWICE: &str = ".func (.param .b32 o) twice(.param .b32 i)\n{\n.reg .b32 %r<4>;\nld.param.b32 %r1, [i];\n\
                     add.u32 %r2, %r1, %r1;\nst.param.b32 [o], %r2;\nret;\n}\n";
const SQUARE: &str = ".func (.param .b32 o) square(.param .b32 i)\n{\n.reg .b32 %r<4>;\nld.param.b32 %r1, [i];\n\
                      mul.lo.u32 %r2, %r1, %r1;\nst.param.b32 [o], %r2;\nret;\n}\n";

#[test]
fn calls() {
    let call = |how: &str| {
        format!("{{ .param .b32 i; .param .b32 o;\nst.param.b32 [i], %r1;\n{how}\nld.param.b32 %r9, [o]; }}")
    };
    is(warp(TWICE, &call("call (o), twice, (i);")), |t| 2 * t);
    is(warp(TWICE, &call("call.uni (o), twice, (i);")), |t| 2 * t);
    // By address, each lane its own.
    let both = format!("{TWICE}{SQUARE}.global .u64 table[2] = {{twice, square}};\n");
    let indirect = call(
        "and.b32 %r3, %r1, 1; mul.wide.u32 %rd4, %r3, 8; mov.u64 %rd5, table; add.u64 %rd5, %rd5, %rd4;\n\
                         ld.global.u64 %rd6, [%rd5];\nP: .callprototype (.param .b32 _) _ (.param .b32 _);\ncall (o), %rd6, (i), P;",
    );
    is(warp(&both, &indirect), |t| if t % 2 == 0 { 2 * t } else { t * t });
    let listed = call(
        "and.b32 %r3, %r1, 1; setp.eq.u32 %p1, %r3, 0; mov.u64 %rd4, twice; mov.u64 %rd5, square;\n\
                       selp.b64 %rd6, %rd4, %rd5, %p1;\nT: .calltargets twice, square;\ncall (o), %rd6, (i), T;",
    );
    is(warp(&both, &listed), |t| if t % 2 == 0 { 2 * t } else { t * t });
    // A function of registers, and one that calls itself.
    let registers = ".func (.reg .b32 o) sum(.reg .b32 a, .reg .b32 b)\n{\nadd.u32 o, a, b;\nret;\n}\n";
    is(warp(registers, "call (%r9), sum, (%r1, 100);"), |t| t + 100);
    let recursive = ".func (.param .b32 o) fact(.param .b32 i)\n{\n.reg .pred %p<2>;\n.reg .b32 %r<8>;\nld.param.b32 %r1, [i];\n\
                     setp.gt.u32 %p1, %r1, 1;\n@%p1 bra M;\nst.param.b32 [o], 1;\nret;\nM: sub.u32 %r2, %r1, 1;\n\
                     { .param .b32 x; .param .b32 y;\nst.param.b32 [x], %r2;\ncall (y), fact, (x);\nld.param.b32 %r3, [y]; }\n\
                     mul.lo.u32 %r4, %r3, %r1;\nst.param.b32 [o], %r4;\nret;\n}\n";
    is(warp(recursive, &call("call (o), fact, (i);")), |t| (1..=t).fold(1, u32::wrapping_mul));
}

#[test]
fn special_registers() {
    for (name, want) in [
        ("%laneid", (|t| t) as fn(u32) -> u32),
        ("%tid.x", |t| t),
        ("%tid.y", |_| 0),
        ("%ntid.x", |_| 32),
        ("%ntid.z", |_| 1),
        ("%ctaid.x", |_| 0),
        ("%nctaid.y", |_| 1),
        ("%warpid", |_| 0),
        ("%nwarpid", |_| 1),
        ("%lanemask_eq", |t| 1 << t),
        ("%lanemask_lt", |t| (1 << t) - 1),
        ("%lanemask_le", |t| ((1u64 << (t + 1)) - 1) as u32),
        ("%lanemask_gt", |t| !((1u64 << (t + 1)) - 1) as u32),
        ("%lanemask_ge", |t| !((1 << t) - 1)),
        ("%cluster_ctarank", |_| 0),
        ("%cluster_nctarank", |_| 1),
        ("%dynamic_smem_size", |_| 0),
    ] {
        is(warp("", &format!("mov.u32 %r9, {name};")), want);
    }
}

#[test]
fn spaces() {
    let of = |space: &str, make: &str| {
        let body = format!("{make}\nisspacep.{space} %p1, %rd8;\nselp.u32 %r9, 1, 0, %p1;");
        warp(".global .b8 g[16];\n.const .b8 c[16];", &body)
    };
    let global = "mov.u64 %rd7, g; cvta.global.u64 %rd8, %rd7;";
    let shared = ".shared .b8 s[16]; mov.u64 %rd7, s; cvta.shared.u64 %rd8, %rd7;";
    let local = ".local .b8 l[16]; mov.u64 %rd7, l; cvta.local.u64 %rd8, %rd7;";
    for (space, inside) in [("global", 0), ("shared", 1), ("local", 2)] {
        for (k, make) in [global, shared, local].into_iter().enumerate() {
            is(of(space, make), |_| u32::from(k == inside));
        }
    }
    // There and back.
    for (space, make) in [("global", global), ("shared", shared), ("local", local)] {
        let body =
            format!("{make}\ncvta.to.{space}.u64 %rd9, %rd8;\nsetp.eq.u64 %p1, %rd9, %rd7;\nselp.u32 %r9, 1, 0, %p1;");
        is(warp(".global .b8 g[16];", &body), |_| 1);
    }
}
