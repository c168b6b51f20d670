//! `mbarrier`: random sequences of one thread against a model written from the PTX ISA, blocks of a cluster that
//! arrive at each other's barriers, and what may not be done.

use super::machine::{Random, block, kernel, load, run};
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// An mbarrier as the PTX ISA describes it ("Contents of the mbarrier object").
#[derive(Clone, Copy)]
struct Model {
    expected: u32,
    pending: u32,
    bytes: i64,
    phase: u64,
}

impl Model {
    fn complete(&mut self) {
        if self.pending == 0 && self.bytes == 0 {
            self.phase += 1;
            self.pending = self.expected;
        }
    }
}

/// One thread does 150 random operations that are allowed; the kernel, every result as it is stored, and the phases.
fn sequence(seed: u64) -> (String, Vec<u64>, u64) {
    let mut random = Random(100 + seed);
    let count = 2 + random.below(30);
    let mut m = Model { expected: count, pending: count, bytes: 0, phase: 0 };
    let mut body = format!(
        "mov.u32 %r1, bar; cvt.u64.u32 %rd40, %r1; cvta.shared.u64 %rd41, bar;\n\
                                mbarrier.init.shared::cta.b64 [bar], {count};\n"
    );
    let mut want: Vec<u64> = Vec::new();
    // States of the current phase and of the one before, in registers 50 and 51.
    let mut states: [Option<u64>; 2] = [None; 2];
    let store = |body: &mut String, want: &mut Vec<u64>, value: u64| {
        *body += &format!("st.global.u64 [%rd1+{}], %rd30;\n", 8 * want.len());
        want.push(value);
    };
    for step in 0..150 {
        let place = ["[bar]", "[%r1]", "[%rd41]"][step % 3];
        let space = if step % 3 == 2 { "" } else { [".shared", ".shared::cta"][step / 3 % 2] };
        let order = ["", ".release.cta", ".release.cluster", ".relaxed.cluster", ".relaxed.cta"][step / 2 % 5];
        match random.below(9) {
            0 if m.pending > 1 => {
                let n = 1 + random.below(m.pending - 1);
                let drop = random.below(2) == 1 && m.expected > n + 1;
                let what = if drop { "arrive_drop" } else { "arrive" };
                body += &format!("mbarrier.{what}.noComplete{space}.b64 %rd31, {place}, {n};\n");
                body += "mbarrier.pending_count.b64 %r30, %rd31; cvt.u64.u32 %rd30, %r30;\n";
                store(&mut body, &mut want, u64::from(m.pending));
                m.pending -= n;
                if drop {
                    m.expected -= n;
                }
                states[0] = Some(m.phase);
                body += "mov.b64 %rd50, %rd31;\n";
            }
            1 if m.pending > 0 => {
                let n = 1 + random.below(m.pending);
                body += &format!("mbarrier.arrive{order}{space}.b64 %rd50, {place}, {n};\n");
                states[0] = Some(m.phase);
                m.pending -= n;
                m.complete();
            }
            2 if m.pending > 0 => {
                body += &format!("mbarrier.arrive{order}{space}.b64 %rd50, {place};\n");
                states[0] = Some(m.phase);
                m.pending -= 1;
                m.complete();
            }
            3 if m.pending > 0 && m.expected > 1 => {
                body += &format!("mbarrier.arrive_drop{order}{space}.b64 %rd50, {place};\n");
                states[0] = Some(m.phase);
                m.pending -= 1;
                m.expected -= 1;
                m.complete();
            }
            4 if m.pending > 0 => {
                let n = random.below(1000);
                let drop = random.below(2) == 1 && m.expected > 1;
                let what = if drop { "arrive_drop" } else { "arrive" };
                body += &format!("mbarrier.{what}.expect_tx{order}{space}.b64 %rd50, {place}, {n};\n");
                states[0] = Some(m.phase);
                m.bytes += i64::from(n);
                m.pending -= 1;
                m.expected -= u32::from(drop);
                m.complete();
            }
            5 => {
                let n = random.below(1000);
                body += &format!("mbarrier.expect_tx.relaxed.cta{space}.b64 {place}, {n};\n");
                m.bytes += i64::from(n);
            }
            6 => {
                let n = m.bytes.clamp(0, 700) as u32;
                body += &format!("mbarrier.complete_tx.relaxed.cluster{space}.b64 {place}, {n};\n");
                m.bytes -= i64::from(n);
                m.complete();
            }
            7 => {
                let parity = random.below(2);
                let wait = ["test_wait", "try_wait"][step % 2];
                let order = order.replace("release", "acquire");
                let hint = if wait == "try_wait" && step % 4 == 1 { ", 100" } else { "" };
                body += &format!(
                    "mbarrier.{wait}.parity{order}{space}.b64 %p1, {place}, {parity}{hint}; \
                         selp.b64 %rd30, 1, 0, %p1;\n"
                );
                // The phase of this parity is over unless it is the current one.
                store(&mut body, &mut want, u64::from(m.phase % 2 != u64::from(parity)));
            }
            _ => {
                let k = random.below(2) as usize;
                if let Some(phase) = states[k].filter(|p| p + 1 >= m.phase) {
                    let wait = ["test_wait", "try_wait"][step % 2];
                    body += &format!(
                        "mbarrier.{wait}{space}.b64 %p1, {place}, %rd{}; selp.b64 %rd30, 1, 0, %p1;\n",
                        50 + k
                    );
                    store(&mut body, &mut want, u64::from(m.phase > phase));
                }
                if k == 1 {
                    body += "mov.b64 %rd51, %rd50;\n";
                    states[1] = states[0];
                }
            }
        }
    }
    body += "mbarrier.inval.shared.b64 [bar];\n";
    (kernel("sm_90", 1, ".shared .align 8 .b64 bar;", &body), want, m.phase)
}

const SEQUENCES: u64 = 12;

#[test]
fn sequences() {
    let mut phases = 0;
    for seed in 0..SEQUENCES {
        let (text, want, count) = sequence(seed);
        let out = run(&text, &block(DeviceModel::H100, 1), &[vec![0; 8 * want.len()]], 0);
        let out = out.unwrap_or_else(|e| panic!("{e}\n{text}"));
        let got: Vec<u64> = out[0].chunks(8).map(|c| c.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))).collect();
        assert_eq!(got, want, "{text}");
        phases += count;
    }
    assert!(phases > 40, "{phases} phases");
}

/// Every block of a cluster of four sends its rank to the next one's shared memory, arrives there and waits for its own.
fn sending(arrive: &str, count: u32) -> String {
    let body = format!(
        "mov.u32 %r1, %tid.x; mov.u32 %r2, %cluster_ctarank; setp.ne.u32 %p1, %r1, 0;\n\
             @!%p1 mbarrier.init.shared::cta.b64 [bar], {count};\n@!%p1 fence.mbarrier_init.release.cluster;\n\
             barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;\n\
             add.u32 %r3, %r2, 1; and.b32 %r3, %r3, 3; mov.u32 %r4, bar; mov.u32 %r5, data;\n\
             mapa.shared::cluster.u32 %r6, %r4, %r3; mapa.shared::cluster.u32 %r7, %r5, %r3;\n\
             shl.b32 %r8, %r1, 2; add.u32 %r7, %r7, %r8; mad.lo.u32 %r9, %r2, 100, %r1;\n\
             st.shared::cluster.u32 [%r7], %r9;\n{arrive}\n\
             W: mbarrier.try_wait.parity.acquire.cluster.shared::cta.b64 %p2, [bar], 0; @!%p2 bra W;\n\
             add.u32 %r10, %r5, %r8; ld.shared.u32 %r11, [%r10];\n\
             mov.u32 %r12, %ctaid.x; mad.lo.u32 %r12, %r12, 32, %r1; mul.wide.u32 %rd2, %r12, 4; add.u64 %rd2, %rd1, %rd2;\n\
             st.global.u32 [%rd2], %r11;\n\
             barrier.cluster.arrive.aligned; barrier.cluster.wait.aligned;"
    );
    let head = ".shared .align 8 .b64 bar; .shared .align 4 .b8 data[128];";
    kernel("sm_90", 1, head, &body)
}

/// Arrivals at the next block's barrier, and how many of them complete its phase.
const ARRIVALS: &[(&str, u32)] = &[
    ("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r6];", 32),
    ("mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r6], 3;", 96),
    // Through a generic address of the other block.
    ("cvta.shared.u64 %rd3, bar; mapa.u64 %rd4, %rd3, %r3; mbarrier.arrive.release.cluster.b64 _, [%rd4];", 32),
    // The bytes are counted before the arrivals; nobody may see the phase before both are there.
    (
        "mbarrier.expect_tx.relaxed.cluster.shared::cluster.b64 [%r6], 4; \
         mbarrier.arrive.release.cluster.shared::cluster.b64 _, [%r6]; \
         mbarrier.complete_tx.relaxed.cluster.shared::cluster.b64 [%r6], 4;",
        32,
    ),
];

#[test]
fn cluster() {
    for (arrive, count) in ARRIVALS {
        let text = sending(arrive, *count);
        let config = LaunchConfig { grid: [8, 1, 1], cluster: [4, 1, 1], ..block(DeviceModel::H100, 32) };
        for seed in 0..6 {
            let out = run(&text, &config, &[vec![0; 8 * 128]], seed).unwrap_or_else(|e| panic!("{seed}: {e}\n{text}"));
            for (k, v) in out[0].chunks(4).enumerate() {
                let from = (k / 32 + 3) % 4;
                assert_eq!(u32::from_le_bytes(v.try_into().expect("four bytes")), (from * 100 + k % 32) as u32);
            }
        }
    }
}

/// Every form on a barrier of four arrivals in the own block: the kernel, and what it stores. A form that arrives or counts
/// is followed by a look at the pending arrivals, by as many as are missing, by a look whether the phase is over, which it
/// is if no bytes are missing, and by a look at the pending arrivals of the next phase.
fn single(form: &str) -> (String, Vec<u64>) {
    let opcode = form.split(' ').next().expect("an opcode");
    let has = |m: &str| opcode.split('.').any(|k| k == m);
    let generic = !opcode.contains(".shared");
    let mut body = format!(
        "mov.u32 %r1, 1; mov.u32 %r2, 0; mov.b64 %rd9, %rd1; {} mbarrier.init.shared::cta.b64 [bar], 4;\n\
         fence.mbarrier_init.release.cluster; barrier.cluster.arrive; barrier.cluster.wait;\n",
        if generic { "cvta.shared.u64 %rd1, bar;" } else { "mov.b64 %rd1, bar;" }
    );
    let mut want = Vec::new();
    let store = |body: &mut String, want: &mut Vec<u64>, value: u64| {
        *body += &format!("st.global.u64 [%rd9+{}], %rd30;\n", 8 * want.len());
        want.push(value);
    };
    let flag = "selp.b64 %rd30, 1, 0, %p1;\n";
    if has("test_wait") || has("try_wait") {
        body += &format!("mbarrier.arrive.shared.b64 %rd5, [bar];\n{form};\n{flag}");
        store(&mut body, &mut want, 0);
        body += &format!("mbarrier.arrive.shared.b64 %rd6, [bar], 3;\n{form};\n{flag}");
        store(&mut body, &mut want, 1);
        return (kernel("sm_90a", 1, ".shared .align 8 .b64 bar;", &body), want);
    }
    if has("init") || has("inval") {
        body += if has("init") { "mbarrier.inval.shared.b64 [bar];\n" } else { "" };
        body += &format!("{form};\n");
        body += if has("init") { "" } else { "mbarrier.init.shared.b64 [bar], 1;\n" };
        body +=
            &format!("mbarrier.arrive.shared.b64 %rd5, [bar]; mbarrier.test_wait.shared.b64 %p1, [bar], %rd5; {flag}");
        store(&mut body, &mut want, 1);
        return (kernel("sm_90a", 1, ".shared .align 8 .b64 bar;", &body), want);
    }
    if has("pending_count") {
        body += &format!("mbarrier.arrive.noComplete.shared.b64 %rd2, [bar], 2;\n{form}; cvt.u64.u32 %rd30, %r1;\n");
        store(&mut body, &mut want, 4);
        return (kernel("sm_90a", 1, ".shared .align 8 .b64 bar;", &body), want);
    }
    let (arrives, drops) = (has("arrive") || has("arrive_drop"), has("arrive_drop"));
    let look = |body: &mut String| {
        *body += "mbarrier.arrive.noComplete.shared.b64 %rd31, [bar], 1; mbarrier.pending_count.b64 %r30, %rd31;\n\
                  cvt.u64.u32 %rd30, %r30;\n";
    };
    body += &format!("{form};\n");
    look(&mut body);
    let pending = 4 - u64::from(arrives);
    store(&mut body, &mut want, pending);
    body += &format!("mbarrier.arrive.shared.b64 %rd6, [bar], {};\n", pending - 1);
    body += &format!("mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0; {flag}");
    let bytes = i64::from(has("expect_tx")) - i64::from(has("complete_tx"));
    store(&mut body, &mut want, u64::from(bytes == 0));
    if bytes != 0 {
        body += &format!(
            "mbarrier.{}_tx.relaxed.cta.shared::cta.b64 [bar], 1;\n",
            if bytes > 0 { "complete" } else { "expect" }
        );
        // Bytes that came before they were expected: the phase ends with the next that complete.
        if bytes < 0 {
            body += "mbarrier.complete_tx.relaxed.cta.shared::cta.b64 [bar], 0;\n";
        }
        body += &format!("mbarrier.test_wait.parity.shared.b64 %p1, [bar], 0; {flag}");
        store(&mut body, &mut want, 1);
    }
    look(&mut body);
    store(&mut body, &mut want, 4 - u64::from(drops));
    (kernel("sm_90a", 1, ".shared .align 8 .b64 bar;", &body), want)
}

fn singles() -> Vec<(String, Vec<u64>)> {
    let family = super::forms::FAMILIES.iter().find(|f| f.name == "mbarriers").expect("a family");
    let accepted = |c: &String| load(&super::forms::module(c), &DeviceModel::H100).is_ok();
    family.candidates().into_iter().filter(accepted).map(|c| single(&c)).collect()
}

#[test]
fn every_form() {
    for (text, want) in singles() {
        let out = run(&text, &block(DeviceModel::H100, 1), &[vec![0; 8 * want.len()]], 0);
        let out = out.unwrap_or_else(|e| panic!("{e}\n{text}")).remove(0);
        let got: Vec<u64> = out.chunks(8).map(|c| c.iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))).collect();
        assert_eq!(got, want, "{text}");
    }
}

/// What the modules of these tests execute.
pub fn texts() -> Vec<String> {
    let singles = singles().into_iter().map(|(text, _)| text);
    let sequences = (0..SEQUENCES).map(|seed| sequence(seed).0);
    singles.chain(sequences).chain(ARRIVALS.iter().map(|(arrive, count)| sending(arrive, *count))).collect()
}

#[test]
fn faults() {
    let fault = |body: &str| {
        let body = format!("mbarrier.init.shared.b64 [bar], 2;\n{body}");
        let text = kernel("sm_90", 0, ".shared .align 8 .b64 bar;", &body);
        run(&text, &block(DeviceModel::H100, 1), &[], 0).map(|_| ())
    };
    let arrive = "mbarrier.arrive.shared.b64 %rd10, [bar];";
    for (bad, report, good) in [
        (
            "mbarrier.arrive.shared.b64 %rd10, [bar], 3;".to_string(),
            "misses 2 of 2",
            "mbarrier.arrive.shared.b64 %rd10, [bar], 2;".to_string(),
        ),
        (
            "mbarrier.arrive.noComplete.shared.b64 %rd10, [bar], 2;".into(),
            ".noComplete completes the phase",
            "mbarrier.arrive.noComplete.shared.b64 %rd10, [bar], 1;".into(),
        ),
        (
            format!("{arrive} mbarrier.pending_count.b64 %r1, %rd10;"),
            "no arrival with .noComplete gave",
            "mbarrier.arrive.noComplete.shared.b64 %rd10, [bar], 1; mbarrier.pending_count.b64 %r1, %rd10;".into(),
        ),
        (
            format!(
                "{arrive} mov.b64 %rd11, %rd10; {arrive}{arrive}{arrive} mbarrier.test_wait.shared.b64 %p1, [bar], %rd11;"
            ),
            "not of its current phase or the one before",
            format!("{arrive} mov.b64 %rd11, %rd10; {arrive}{arrive} mbarrier.test_wait.shared.b64 %p1, [bar], %rd11;"),
        ),
        (
            "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 1048576;".into(),
            "pending bytes",
            "mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [bar], 1048575;".into(),
        ),
        (
            format!("mbarrier.inval.shared.b64 [bar]; {arrive}"),
            "no mbarrier was initialised",
            format!("mbarrier.inval.shared.b64 [bar]; mbarrier.init.shared.b64 [bar], 1; {arrive}"),
        ),
        ("mbarrier.init.shared.b64 [bar], 0;".into(), "0 arrivals", "mbarrier.init.shared.b64 [bar], 1048575;".into()),
    ] {
        let report_of = fault(&bad).expect_err(&bad).report;
        assert!(report_of.contains(report), "{report_of}");
        fault(&good).unwrap_or_else(|e| panic!("{e}\n{good}"));
    }
    // A wait at another block's barrier.
    let text = kernel(
        "sm_90",
        0,
        ".shared .align 8 .b64 bar;",
        "mbarrier.init.shared.b64 [bar], 1; barrier.cluster.arrive; barrier.cluster.wait;\n\
         mov.u32 %r2, %cluster_ctarank; xor.b32 %r2, %r2, 1; cvta.shared.u64 %rd1, bar; mapa.u64 %rd2, %rd1, %r2;\n\
         mbarrier.test_wait.parity.b64 %p1, [%rd2], 0; barrier.cluster.arrive; barrier.cluster.wait;",
    );
    let config = LaunchConfig { grid: [2, 1, 1], cluster: [2, 1, 1], ..block(DeviceModel::H100, 1) };
    let report = run(&text, &config, &[], 0).expect_err("a remote wait").report;
    assert!(report.contains("only its own block"), "{report}");
    for refused in [
        "mbarrier.test_wait.shared::cluster.b64 %p1, [bar], %rd1;",
        "mbarrier.arrive.release.cluster.shared::cluster.b64 %rd1, [bar];",
        "mbarrier.arrive.release.shared::cta.b64 %rd1, [bar];",
        "mbarrier.arrive.expect_tx.shared::cta.b64 %rd1, [bar];",
        "mbarrier.arrive.noComplete.shared::cta.b64 %rd1, [bar];",
        "mbarrier.init.shared::cta.b64 [bar], 1, 2;",
        "mbarrier.pending_count.b64 %rd1, %rd2;",
    ] {
        let text = kernel("sm_90", 0, ".shared .align 8 .b64 bar;", refused);
        let e = load(&text, &DeviceModel::H100).err().expect(refused);
        assert!(e.message.contains("mbarrier."), "{e}");
    }
}
