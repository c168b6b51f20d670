//! Hostile input: mutated PTX and structured garbage never crash, hang or eat memory; they load or are refused.
//!
//! `VIRTUAL_GPU_FUZZ` is the number of thousand inputs (2 where it is not set), from a fixed seed; `VIRTUAL_GPU_FUZZ_SEED`
//! chooses another.

use virtual_gpu::machine::{LoadOptions, Program};
use virtual_gpu::model::DeviceModel;
use virtual_gpu::ptx;

mod support;

const SOURCES: [&str; 5] = [
    include_str!("kernels/simt.ptx"),
    include_str!("kernels/ampere.ptx"),
    include_str!("kernels/hopper.ptx"),
    support::kernels::PTX,
    support::kernels::CLUSTER_PTX,
];

/// Pieces that stand anywhere in PTX, and some that stand nowhere.
const TOKENS: [&str; 64] = [
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "<",
    ">",
    ";",
    ",",
    ":",
    "@",
    "!",
    "|",
    "+",
    "-",
    "*",
    "/",
    "%",
    "_",
    "=",
    "\"",
    "//",
    "/*",
    "*/",
    "\n",
    "\0",
    "\u{fffd}",
    ".reg",
    ".b32 ",
    ".f32 ",
    ".pred ",
    ".param ",
    ".shared ",
    ".align ",
    ".entry k",
    ".func ",
    ".visible ",
    ".version 8.0\n",
    ".target sm_90a\n",
    ".loc 1 2 3\n",
    ".file 1 \"a\"\n",
    ".section .debug {",
    ".global ",
    "add.u32 ",
    "mov.u32 ",
    "ld.global.v4.f32 ",
    "bra L;",
    "L:",
    "call (%r1), f, (%r2);",
    "%r1",
    "%r<999999999>",
    "%tid.x",
    "0x",
    "0xffffffffffffffffffff",
    "0f7fffffff",
    "0d0",
    "1e999",
    "-9223372036854775808",
    "99999999999999999999",
    "08",
    "wgmma.mma_async.sync.aligned.m64n8k16.f32.bf16.bf16 ",
    "[1000000000000]",
    ".branchtargets L, L;",
];

struct Draw(u64);

impl Draw {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ z >> 31) % n.max(1) as u64) as usize
    }
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|v| v.parse().ok()).unwrap_or(default)
}

/// A stretch of a real module: the header and some lines from anywhere.
fn excerpt(draw: &mut Draw) -> String {
    let source = SOURCES[draw.below(SOURCES.len())];
    let lines: Vec<&str> = source.lines().collect();
    if draw.below(4) == 0 {
        return source.to_string();
    }
    let (from, count) = (draw.below(lines.len()), 1 + draw.below(60));
    let body = lines[from..(from + count).min(lines.len())].join("\n");
    format!(
        ".version 8.3\n.target sm_90a\n.address_size 64\n.visible .entry k(.param .u64 p)\n{{\n.reg .pred %p<99>;\n\
         .reg .b16 %rs<99>;\n.reg .b32 %r<999>;\n.reg .f32 %f<999>;\n.reg .b64 %rd<299>;\n{body}\nret;\n}}\n"
    )
}

/// Changes bytes, tokens and lines.
fn mutate(text: String, draw: &mut Draw) -> String {
    let mut text = text.into_bytes();
    for _ in 0..1 + draw.below(6) {
        let at = draw.below(text.len() + 1);
        let end = (at + draw.below(24)).min(text.len());
        match draw.below(6) {
            0 => drop(text.drain(at..end)),
            1 => drop(text.splice(at..at, TOKENS[draw.below(TOKENS.len())].bytes())),
            2 => drop(text.splice(at..end, TOKENS[draw.below(TOKENS.len())].bytes())),
            3 if at < text.len() => text[at] = draw.below(256) as u8,
            4 => {
                let piece = text[at..end].to_vec();
                let to = draw.below(text.len() + 1);
                text.splice(to..to, piece);
            }
            // A number becomes another.
            _ => {
                if let Some(k) = text[at..].iter().position(u8::is_ascii_digit) {
                    text[at + k] = b'0' + draw.below(10) as u8;
                }
            }
        }
    }
    String::from_utf8_lossy(&text).into_owned()
}

fn garbage(draw: &mut Draw) -> String {
    let mut text =
        String::from(if draw.below(2) == 0 { ".version 8.0\n.target sm_80\n.address_size 64\n" } else { "" });
    for _ in 0..draw.below(200) {
        text += TOKENS[draw.below(TOKENS.len())];
        if draw.below(3) == 0 {
            text.push(' ');
        }
    }
    text
}

fn load(text: &str) {
    let options = LoadOptions { driver_version: 12090, max_ptx: (8, 8) };
    match Program::load(text, &DeviceModel::H100, &options) {
        Ok(_) => {}
        Err(e) => {
            assert!(!e.message.is_empty());
            let lines = text.lines().count() as u32;
            assert!(e.line <= lines + 1, "line {} of {lines}: {}", e.line, e.message);
        }
    }
    let _any = ptx::parse(text);
}

/// Peak of resident memory in KiB, where the system tells.
fn peak() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|l| l.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

#[test]
fn modules_load_or_are_refused() {
    let count = setting("VIRTUAL_GPU_FUZZ", 2) * 1_000;
    let seed = setting("VIRTUAL_GPU_FUZZ_SEED", 1);
    for k in 0..count {
        let mut draw = Draw(seed << 32 | k);
        let text = match draw.below(4) {
            0 => garbage(&mut draw),
            _ => {
                let text = excerpt(&mut draw);
                mutate(text, &mut draw)
            }
        };
        if let Err(panic) = std::panic::catch_unwind(|| load(&text)) {
            let file = std::path::Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("fuzz-{seed}-{k}.ptx"));
            std::fs::write(&file, &text).expect("the build's folder can be written");
            eprintln!("input {k} of seed {seed} is {}", file.display());
            std::panic::resume_unwind(panic);
        }
    }
    if let Some(peak) = peak() {
        assert!(peak < 2 << 20, "{peak} KiB were needed at some point");
    }
}

/// Deep and long inputs end with an answer, not with the stack or the memory.
#[test]
fn extremes_are_refused_or_loaded() {
    let head = ".version 8.0\n.target sm_80\n.address_size 64\n";
    let body = |text: &str| format!("{head}.visible .entry k()\n{{\n.reg .b32 %r<4>;\n{text}\nret;\n}}\n");
    let deep = 100_000;
    for text in [
        body(&"{".repeat(deep)),
        body(&("{".repeat(deep) + &"}".repeat(deep))),
        body(&format!("mov.u32 %r1, {}1{};", "(".repeat(deep), ")".repeat(deep))),
        body(&format!("mov.u32 %r1, {}1;", "-".repeat(deep))),
        body(&format!("mov.u32 %r1, {}1;", "!".repeat(deep))),
        body(&format!("mov.u32 %r1, {}1;", "1?".repeat(deep))),
        body(&format!("add{} %r1, %r1, %r1;", ".u32".repeat(deep))),
        body(&format!("mov.b32 %r1, {{{}}};", "%r1,".repeat(deep))),
        body(&"{".repeat(3).repeat(deep)),
        body(".reg .b32 %x<4294967295>;"),
        body(".reg .b32 %x<99999999>;"),
        body(".shared .b8 s[18446744073709551615];"),
        body(".local .align 4 .b8 l[99999999999];"),
        format!("{head}.global .b8 g[1099511627776];"),
        format!("{head}.global .b8 g[99999][99999][99999];"),
        format!("{head}.global .u32 g[] = {{{}}};", "{".repeat(deep)),
        format!("{head}.visible .entry k(.param .b8 p[99999999999]) {{ ret; }}"),
        format!("{head}.visible .entry k({}) {{ ret; }}", ".param .u64 p,".repeat(deep)),
        "/*".repeat(deep),
        "\"".repeat(deep),
        String::new(),
        "\0".repeat(100),
        ".version 99999999999.99999999999".into(),
    ] {
        load(&text);
    }
}
