//! Loads and stores in every form that the machine accepts, between a place in each space and registers; what `multimem`
//! does where there is no multicast object; addresses of other spaces and blocks.

use super::forms::{FAMILIES, module};
use super::machine::{block, kernel, load, run, run_placed};
use std::cell::RefCell;
use virtual_gpu::machine::LaunchConfig;
use virtual_gpu::model::DeviceModel;

/// The candidates of a family that the machine accepts.
fn accepted(family: &str) -> Vec<String> {
    let family = FAMILIES.iter().find(|f| f.name == family).expect("a family");
    let is_accepted = |c: &String| load(&module(c), &DeviceModel::H100).is_ok();
    family.candidates().into_iter().filter(is_accepted).collect()
}

const SPACES: [&str; 7] = ["global", "shared", "shared::cta", "shared::cluster", "local", "const", "param"];

/// The parts of a load or store.
struct Move {
    load: bool,
    space: &'static str,
    /// Bytes of an element in memory, whether it is signed, elements, and the registers that hold them.
    element: usize,
    signed: bool,
    registers: Vec<String>,
}

fn parts(form: &str) -> Move {
    let (opcode, operands) = form.split_once(' ').expect("operands");
    let modifiers: Vec<&str> = opcode.split('.').collect();
    let space = SPACES.into_iter().find(|s| modifiers.contains(s)).unwrap_or("");
    let ty = modifiers[modifiers.len() - 1];
    let bits: usize = ty[1..].parse().expect("a width");
    let load = modifiers[0] != "st";
    let list = if load {
        operands.split('[').next().expect("a list")
    } else {
        operands.split_once("], ").expect("an address").1
    };
    let names = list.split(|c: char| !c.is_ascii_alphanumeric() && c != '%');
    let registers: Vec<String> = names.filter(|n| n.starts_with('%') && *n != "%rd9").map(str::to_string).collect();
    Move { load, space, element: bits / 8, signed: ty.starts_with('s'), registers }
}

/// Bytes of a register.
fn width(register: &str) -> usize {
    match register.trim_start_matches('%').trim_end_matches(|c: char| c.is_ascii_digit()) {
        "h" => 2,
        "r" => 4,
        "rd" => 8,
        _ => 16,
    }
}

/// Moves a register to or from memory.
fn spill(store: bool, register: &str, address: &str) -> String {
    match (width(register), store) {
        (16, true) => format!("mov.b128 {{%rd50,%rd51}}, {register}; st.global.v2.b64 [{address}], {{%rd50,%rd51}};\n"),
        (16, false) => {
            format!("ld.global.v2.b64 {{%rd50,%rd51}}, [{address}]; mov.b128 {register}, {{%rd50,%rd51}};\n")
        }
        (n, true) => format!("st.global.b{} [{address}], {register};\n", 8 * n),
        (n, false) => format!("ld.global.b{} {register}, [{address}];\n", 8 * n),
    }
}

/// The pattern in memory.
fn pattern(k: usize) -> u8 {
    (k * 37 + 129) as u8
}

const PLACE: usize = 32;

/// A kernel of one thread that executes the form at a place of 32 bytes; registers and the place go to the output.
fn text(form: &str) -> String {
    let m = parts(form);
    let bytes: Vec<String> = (0..PLACE).map(|k| pattern(k).to_string()).collect();
    let head =
        format!(".shared .align 32 .b8 data[{PLACE}]; .const .align 32 .b8 table[{PLACE}] = {{{}}};", bytes.join(","));
    let mut body = String::from(
        ".local .align 32 .b8 area[32]; createpolicy.fractional.L2::evict_first.b64 %rd9;\n\
        mov.b64 %rd40, %rd1; mov.b64 %rd41, %rd2;\n",
    );
    let (address, plain) = match m.space {
        "shared" | "shared::cta" | "shared::cluster" => ("mov.b64 %rd1, data;\n", "shared"),
        "local" => ("mov.b64 %rd1, area;\n", "local"),
        "const" => ("mov.b64 %rd1, table;\n", ""),
        "param" => ("", ""),
        _ => ("mov.b64 %rd1, %rd41;\n", "global"),
    };
    body += address;
    let copied = matches!(plain, "shared" | "local");
    if copied {
        for k in [0, 16] {
            body += &format!(
                "ld.global.v2.b64 {{%rd50,%rd51}}, [%rd41+{k}]; st.{plain}.v2.b64 [%rd1+{k}], {{%rd50,%rd51}};\n"
            );
        }
    }
    if m.load {
        body += &format!("{form};\n");
        for (k, register) in m.registers.iter().enumerate() {
            body += &spill(true, register, &format!("%rd40+{}", 16 * k));
        }
    } else {
        for (k, register) in m.registers.iter().enumerate() {
            body += &spill(false, register, &format!("%rd40+{}", 16 * k));
        }
        body += &format!("{form};\n");
        if copied {
            for k in [0, 16] {
                body += &format!(
                    "ld.{plain}.v2.b64 {{%rd50,%rd51}}, [%rd1+{k}]; st.global.v2.b64 [%rd41+{k}], {{%rd50,%rd51}};\n"
                );
            }
        }
    }
    kernel("sm_90a", 2, &head, &body)
}

/// What a module of these tests executes.
pub fn texts() -> Vec<String> {
    let moves = accepted("accesses").iter().map(|form| text(form)).collect::<Vec<_>>();
    let multimem = accepted("multimem").iter().map(|form| without_object(form)).collect::<Vec<_>>();
    let others = addresses().into_iter().map(|(text, ..)| text).chain(ends().into_iter().map(|(text, _)| text));
    moves.into_iter().chain(multimem).chain(others).collect()
}

#[test]
fn every_load_and_store() {
    for form in accepted("accesses") {
        let m = parts(&form);
        let text = text(&form);
        let registers: Vec<u8> = (0..128).map(|k| (k * 29 + 7) as u8).collect();
        let place: Vec<u8> = (0..PLACE).map(pattern).collect();
        let known = RefCell::new(Vec::new());
        let config = block(DeviceModel::H100, 1);
        let out = run_placed(&text, &config, &[registers.clone(), place.clone()], 0, |at| {
            *known.borrow_mut() = at.iter().flat_map(|a| a.to_le_bytes()).collect();
            Vec::new()
        });
        let out = out.unwrap_or_else(|e| panic!("{e}\n{text}"));
        // Parameters are the addresses of the buffers.
        let source = if m.space == "param" { known.into_inner() } else { place.clone() };
        if !m.load {
            let mut want = place;
            for k in 0..m.registers.len() {
                want[k * m.element..(k + 1) * m.element].copy_from_slice(&registers[16 * k..16 * k + m.element]);
            }
            assert_eq!(out[1], want, "{text}");
            continue;
        }
        for (k, register) in m.registers.iter().enumerate() {
            let bytes = &source[k * m.element..(k + 1) * m.element];
            let negative = m.signed && bytes[m.element - 1] >> 7 == 1;
            let mut want = bytes.to_vec();
            want.resize(width(register).max(m.element), if negative { 0xff } else { 0 });
            assert_eq!(out[0][16 * k..16 * k + want.len()], want, "register {k}\n{text}");
        }
    }
}

/// A kernel that executes a `multimem` form on plain memory.
fn without_object(form: &str) -> String {
    let mut body = String::new();
    for k in 20..28 {
        body += &format!("mov.b16 %h{k}, 0; mov.b32 %r{k}, 0; mov.b64 %rd{k}, 0;\n");
    }
    kernel("sm_90a", 3, "", &format!("{body}{form};"))
}

#[test]
fn multimem_needs_a_multicast_object() {
    for form in accepted("multimem") {
        let buffers = [vec![0; 64], vec![0; 64], vec![0; 64]];
        let fault = run(&without_object(&form), &block(DeviceModel::H100, 1), &buffers, 0).expect_err(&form);
        assert!(fault.report.contains("no multicast object is mapped"), "{form}: {fault}");
    }
}

/// Kernels that tell about addresses: text, blocks (of one cluster), and the words that each block leaves.
fn addresses() -> Vec<(String, u32, Vec<u32>)> {
    let mut out = Vec::new();
    let head = ".shared .align 16 .b8 data[64]; .global .align 16 .b8 words[64]; .const .align 16 .b8 table[64];";
    let begin = ".local .align 16 .b8 area[64]; mov.u32 %r9, %ctaid.x; mul.wide.u32 %rd40, %r9, 4; add.u64 %rd40, %rd40, %rd1;\n";
    let end = "st.global.u32 [%rd40], %r8;";
    let objects = [
        ("global", "words"),
        ("shared", "data"),
        ("shared::cta", "data"),
        ("shared::cluster", "data"),
        ("local", "area"),
        ("const", "table"),
        ("param", "p1"),
        ("param::entry", "p1"),
    ];
    let window = |space: &str| space.split("::").next().map(str::to_string);
    for (space, name) in objects {
        // There and back, and which windows the generic address lies in.
        let mut body = format!(
            "{begin}mov.b64 %rd20, {name}; cvta.{space}.u64 %rd21, %rd20; cvta.to.{space}.u64 %rd22, %rd21;\n\
             setp.eq.u64 %p1, %rd20, %rd22; selp.u32 %r8, 1, 0, %p1;\n"
        );
        let mut want = 1;
        for (k, (other, _)) in objects.iter().enumerate() {
            body += &format!("isspacep.{other} %p2, %rd21; selp.u32 %r7, {}, 0, %p2; or.b32 %r8, %r8, %r7;\n", 2 << k);
            // Parameters of an entry lie in constant memory or in a window of their own.
            want |= if window(other) == window(space) { 2 << k } else { 0 };
        }
        out.push((kernel("sm_90", 1, head, &format!("{body}{end}")), 1, vec![want]));
    }
    for (space, wide) in [("", false), ("", true), (".shared::cluster", false), (".shared::cluster", true)] {
        let ty = if wide { "u64" } else { "u32" };
        let letter = if wide { "rd" } else { "r" };
        let make = match (space, wide) {
            ("", true) => "cvta.shared.u64 %rd20, data;".to_string(),
            ("", false) => continue,
            (_, true) => "mov.b64 %rd20, data;".into(),
            (_, false) => "mov.b32 %r20, data;".into(),
        };
        for rank in ["%r6", "1"] {
            // The other block's word is read through its mapped address, whose block is asked for besides.
            let body = format!(
                "{begin}mov.u32 %r5, %cluster_ctarank; xor.b32 %r6, %r5, 1; add.u32 %r4, %r5, 40; st.shared.u32 [data], %r4;\n\
                 barrier.cluster.arrive; barrier.cluster.wait; {make} mapa{space}.{ty} %{letter}21, %{letter}20, {rank};\n\
                 getctarank{space}.{ty} %r7, %{letter}21; ld{space}.u32 %r8, [%{letter}21]; mad.lo.u32 %r8, %r7, 100, %r8;\n\
                 barrier.cluster.arrive; barrier.cluster.wait; {end}"
            );
            let want = if rank == "1" { vec![141, 141] } else { vec![141, 40] };
            out.push((kernel("sm_90", 1, head, &body), 2, want));
        }
    }
    for ty in ["u32", "u64"] {
        let letter = if ty == "u64" { "rd" } else { "r" };
        for size in ["64".to_string(), format!("%{letter}30")] {
            for alignment in ["", ", 16"] {
                let body = format!(
                    "{begin}mov.b32 %r30, 64; mov.b64 %rd30, 64; stacksave.{ty} %{letter}31;\n\
                     alloca.{ty} %{letter}32, {size}{alignment}; mov.u32 %r4, 23; st.local.u32 [%{letter}32+60], %r4;\n\
                     ld.local.u32 %r8, [%{letter}32+60]; stackrestore.{ty} %{letter}31; {end}"
                );
                out.push((kernel("sm_90", 1, head, &body), 1, vec![23]));
            }
        }
    }
    out
}

#[test]
fn addresses_of_every_space() {
    for (text, blocks, want) in addresses() {
        let config = LaunchConfig { grid: [blocks, 1, 1], cluster: [blocks, 1, 1], ..block(DeviceModel::H100, 1) };
        let out =
            run(&text, &config, &[vec![0; 4 * want.len()]], 0).unwrap_or_else(|e| panic!("{e}\n{text}")).remove(0);
        let got: Vec<u32> =
            out.chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().expect("four bytes"))).collect();
        assert_eq!(got, want, "{text}");
    }
}

/// Ends of kernels, and moves of registers that nothing bounds: with what fault they end, if with one.
fn ends() -> Vec<(String, Option<&'static str>)> {
    let body = |end: &str| format!("mov.u32 %r8, 9; st.global.u32 [%rd1], %r8; {end}");
    [
        ("trap;", Some("trap")),
        ("brkpt;", Some("brkpt")),
        ("exit; trap;", None),
        ("ret; trap;", None),
        ("ret.uni; trap;", None),
        ("setmaxnreg.dec.sync.aligned.u32 24; setmaxnreg.inc.sync.aligned.u32 32;", None),
    ]
    .map(|(end, fault)| (kernel("sm_90a", 1, "", &body(end)), fault))
    .into()
}

#[test]
fn ends_of_kernels() {
    for (text, fault) in ends() {
        let outcome = run(&text, &block(DeviceModel::H100, 128), &[vec![0; 4]], 0);
        match (outcome, fault) {
            (Ok(out), None) => assert_eq!(out[0], [9, 0, 0, 0], "{text}"),
            (Err(e), Some(says)) => assert!(e.report.contains(says), "{e}"),
            (outcome, _) => panic!("{:?}\n{text}", outcome.map_err(|e| e.report)),
        }
    }
}
