//! What orders, hints and moves: barriers between warps, fences, cache hints, addresses of other spaces. Each form stands
//! in a kernel whose result is known without it, or depends on it in a way that is.

use super::machine::{block, kernel, run};
use virtual_gpu::machine::LaunchConfig;
use virtual_gpu::model::DeviceModel;

/// A kernel, its threads and blocks, and the words that it leaves.
pub struct Case {
    text: String,
    threads: u32,
    blocks: u32,
    want: Vec<u32>,
}

/// `%r1` the thread, `%rd10` its word of the output, `%r10` its word of shared memory, `%r11` that of its opposite.
const BEGIN: &str = "mov.u32 %r1, %tid.x; mov.u32 %r2, %ctaid.x; mov.u32 %r3, %ntid.x; mad.lo.u32 %r4, %r2, %r3, %r1;\n\
    mul.wide.u32 %rd10, %r4, 4; add.u64 %rd10, %rd10, %rd1; mov.u32 %r5, data; shl.b32 %r6, %r1, 2; add.u32 %r10, %r5, %r6;\n\
    xor.b32 %r7, %r1, 63; shl.b32 %r7, %r7, 2; add.u32 %r11, %r5, %r7; mov.u32 %r15, 1; mov.u32 %r16, 64; mov.u32 %r17, -1;\n";
const HEAD: &str = ".shared .align 128 .b8 data[256];";

fn case(text: String, threads: u32, blocks: u32, want: impl Fn(u32) -> u32) -> Case {
    Case { text, threads, blocks, want: (0..threads * blocks).map(want).collect() }
}

/// Two warps hand each other values through shared memory, the barrier in between.
fn barriers() -> Vec<Case> {
    let mut out = Vec::new();
    let mut exchange = |between: &str| {
        let body = format!(
            "{BEGIN}mul.lo.u32 %r12, %r1, 7; st.shared.u32 [%r10], %r12; {between}\n\
             ld.shared.u32 %r13, [%r11]; st.global.u32 [%rd10], %r13;"
        );
        out.push(case(kernel("sm_90", 1, HEAD, &body), 64, 1, |t| (t ^ 63) * 7));
    };
    for which in ["1", "%r15"] {
        for threads in ["", ", 64", ", %r16"] {
            for root in ["bar.sync", "bar.cta.sync", "barrier.sync", "barrier.cta.sync"] {
                exchange(&format!("{root} {which}{threads};"));
                if root.starts_with("barrier") {
                    exchange(&format!("{root}.aligned {which}{threads};"));
                }
            }
        }
        // Arrivals here and a wait there: one barrier for each direction.
        for threads in [", 64", ", %r16"] {
            for (root, aligned) in [
                ("bar", ""),
                ("bar.cta", ""),
                ("barrier", ""),
                ("barrier.cta", ""),
                ("barrier", ".aligned"),
                ("barrier.cta", ".aligned"),
            ] {
                let arrive = format!("{root}.arrive{aligned}");
                let sync = format!("{root}.sync{aligned}");
                exchange(&format!(
                    "setp.lt.u32 %p1, %r1, 32; @%p1 bra LOW; {arrive} {which}{threads}; {sync} 2{threads}; bra BOTH;\n\
                     LOW: {sync} {which}{threads}; {arrive} 2{threads}; BOTH:"
                ));
            }
        }
    }
    for (wait, arrive, aligned) in [
        ("", "", ""),
        ("", "", ".aligned"),
        (".acquire", ".release", ""),
        (".acquire", ".release", ".aligned"),
        (".acquire", "", ""),
        ("", ".release", ".aligned"),
    ] {
        exchange(&format!("barrier.cluster.arrive{arrive}{aligned}; barrier.cluster.wait{wait}{aligned};"));
    }
    for relaxed in [".relaxed", ".relaxed.aligned"] {
        let aligned = relaxed.trim_start_matches(".relaxed");
        exchange(&format!(
            "fence.acq_rel.cluster; barrier.cluster.arrive{relaxed}; barrier.cluster.wait{aligned}; bar.sync 0;"
        ));
    }
    // Reductions over the block, the predicate as it is and negated.
    for root in ["bar", "bar.cta", "barrier", "barrier.cta"] {
        for aligned in ["", ".aligned"] {
            if root.starts_with("bar") && !root.starts_with("barrier") && !aligned.is_empty() {
                continue;
            }
            for (operation, ty) in [("popc", "u32"), ("and", "pred"), ("or", "pred")] {
                for which in ["1", "%r15"] {
                    for threads in ["", ", 64"] {
                        for not in ["", "!"] {
                            for limit in [0u32, 1, 20, 63, 64] {
                                let opcode = format!("{root}.red.{operation}{aligned}.{ty}");
                                let (result, store) =
                                    if ty == "u32" { ("%r12", "") } else { ("%p2", "selp.u32 %r12, 1, 0, %p2;") };
                                let body = format!(
                                    "{BEGIN}setp.lt.u32 %p1, %r1, {limit};\n\
                                     {opcode} {result}, {which}{threads}, {not}%p1; {store} st.global.u32 [%rd10], %r12;"
                                );
                                let set = if not.is_empty() { limit } else { 64 - limit };
                                let want = match operation {
                                    "popc" => set,
                                    "and" => u32::from(set == 64),
                                    _ => u32::from(set > 0),
                                };
                                out.push(case(kernel("sm_90", 1, HEAD, &body), 64, 1, move |_| want));
                            }
                        }
                    }
                }
            }
        }
    }
    // Within a warp.
    for mask in ["-1", "%r17"] {
        let body = format!(
            "{BEGIN}mul.lo.u32 %r12, %r1, 7; st.shared.u32 [%r10], %r12; bar.warp.sync {mask};\n\
             xor.b32 %r7, %r1, 31; shl.b32 %r7, %r7, 2; add.u32 %r11, %r5, %r7; ld.shared.u32 %r13, [%r11];\n\
             st.global.u32 [%rd10], %r13;"
        );
        out.push(case(kernel("sm_90", 1, HEAD, &body), 32, 1, |t| (t ^ 31) * 7));
    }
    out
}

/// A value is handed from the first block to the second through a flag, a fence on either side.
fn fences() -> Vec<Case> {
    let mut out = Vec::new();
    let handed = |before: &str, after: &str| {
        let body = format!(
            "{BEGIN}add.u64 %rd11, %rd2, 4; setp.eq.u32 %p1, %r2, 0; @!%p1 bra READ;\n\
             mov.u32 %r12, 77; st.relaxed.sys.global.u32 [%rd11], %r12; {before} mov.u32 %r13, 1;\n\
             st.relaxed.sys.global.u32 [%rd2], %r13; bra DONE;\n\
             READ: ld.relaxed.sys.global.u32 %r13, [%rd2]; setp.eq.u32 %p2, %r13, 0; @%p2 bra READ; {after}\n\
             DONE: ld.relaxed.sys.global.u32 %r12, [%rd11]; st.global.u32 [%rd10], %r12;"
        );
        case(kernel("sm_90", 2, HEAD, &body), 1, 2, |_| 77)
    };
    for scope in ["cta", "cluster", "gpu", "sys"] {
        for order in ["", ".sc", ".acq_rel"] {
            out.push(handed(&format!("fence{order}.{scope};"), &format!("fence{order}.{scope};")));
        }
        out.push(handed(&format!("fence.release.{scope};"), &format!("fence.acquire.{scope};")));
    }
    for scope in ["cta", "gl", "sys"] {
        out.push(handed(&format!("membar.{scope};"), &format!("membar.{scope};")));
    }
    for fence in [
        "fence.mbarrier_init.release.cluster;",
        "fence.proxy.alias;",
        "membar.proxy.alias;",
        "fence.proxy.async;",
        "fence.proxy.async.global;",
        "fence.proxy.async.shared::cta;",
        "fence.proxy.async.shared::cluster;",
        "fence.proxy.async::generic.release.sync_restrict::shared::cta.cluster;",
        "fence.proxy.async::generic.acquire.sync_restrict::shared::cluster.cluster;",
    ] {
        out.push(handed(fence, fence));
    }
    for scope in ["cta", "cluster", "gpu", "sys"] {
        let acquire = format!("fence.proxy.tensormap::generic.acquire.{scope} [%rd3], 128;");
        let release = format!("fence.proxy.tensormap::generic.release.{scope};");
        let mut c = handed(&release, &acquire);
        c.text = c.text.replace("%rd3], 128", "%rd2], 128");
        out.push(c);
    }
    out
}

/// Hints change nothing that a program sees.
fn hints() -> Vec<Case> {
    let mut statements: Vec<String> = Vec::new();
    for space in ["", ".global"] {
        statements.extend(
            [".L1", ".L2", ".L2::evict_last", ".L2::evict_normal"].map(|h| format!("prefetch{space}{h} [%rd2];")),
        );
        statements.push(format!("applypriority{space}.L2::evict_normal [%rd2], 128;"));
    }
    statements.extend([".L1", ".L2"].map(|h| format!("prefetch.local{h} [%rd2];")));
    for space in ["", ".const", ".param"] {
        statements.push(format!("prefetch{space}.tensormap [%rd2];"));
    }
    statements.push("prefetchu.L1 [%rd2];".into());
    for first in ["evict_last", "evict_normal", "evict_first", "evict_unchanged"] {
        for second in ["", ".L2::evict_first", ".L2::evict_unchanged"] {
            for fraction in ["", ", 0.5", ", 1.0"] {
                statements.push(format!("createpolicy.fractional.L2::{first}{second}.b64 %rd9{fraction};"));
            }
        }
    }
    for space in ["", ".global"] {
        for first in ["evict_last", "evict_first", "evict_normal", "evict_unchanged"] {
            for second in ["", ".L2::evict_first", ".L2::evict_unchanged"] {
                statements
                    .push(format!("createpolicy.range{space}.L2::{first}{second}.b64 %rd9, [%rd2], 0x1000, 0x2000;"));
            }
        }
    }
    statements.extend(
        ["createpolicy.cvt.L2.b64 %rd9, 3;", "pmevent 3;", "pmevent.mask 3;", "pmevent.mask 0xff;"].map(String::from),
    );
    for time in ["32", "%r15"] {
        statements.push(format!("nanosleep.u32 {time};"));
    }
    statements.extend(["griddepcontrol.wait;", "griddepcontrol.launch_dependents;"].map(String::from));
    let body = format!("{BEGIN}add.u32 %r12, %r1, 5; {} st.global.u32 [%rd10], %r12;", statements.join("\n"));
    vec![case(kernel("sm_90", 2, HEAD, &body), 32, 1, |t| t + 5)]
}

/// Discarded bytes may hold anything until they are written again.
fn discards() -> Vec<Case> {
    let forms = ["discard.L2 [%rd1], 128;", "discard.global.L2 [%rd1], 128;"];
    forms
        .map(|discard| {
            let body =
                format!("{BEGIN}setp.eq.u32 %p1, %r1, 0; @%p1 {discard} bar.sync 0; st.global.u32 [%rd10], %r1;");
            case(kernel("sm_90", 1, HEAD, &body), 32, 1, |t| t)
        })
        .into()
}

/// What the modules of these tests execute.
pub fn texts() -> Vec<String> {
    all().into_iter().map(|c| c.text).collect()
}

fn all() -> Vec<Case> {
    [barriers(), fences(), hints(), discards()].into_iter().flatten().collect()
}

#[test]
fn orders_and_hints() {
    for c in all() {
        let config = LaunchConfig { grid: [c.blocks, 1, 1], ..block(DeviceModel::H100, c.threads) };
        for seed in [0, 3] {
            let buffers = [vec![0; 4 * c.want.len()], vec![0; 256]];
            let pointers = if c.text.contains("p2)") { 2 } else { 1 };
            let out = run(&c.text, &config, &buffers[..pointers], seed);
            let out = out.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{}", c.text)).remove(0);
            let got: Vec<u32> =
                out.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
            assert_eq!(got, c.want, "seed {seed}\n{}", c.text);
        }
    }
}
