//! Runs instruction forms on tables of operands.

use std::sync::Arc;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// A form: the opcode, its operands (`$a` to `$c` and `$s` sources, `$d` and `$e` destinations), the classes of registers
/// (`h` 16, `r` 32, `d` 64 bits, `p` predicate; sources, then `>`, then destinations), operand values, and what is right.
pub struct Row {
    pub op: String,
    pub operands: String,
    pub classes: String,
    pub inputs: Arc<Vec<[u64; 4]>>,
    pub right: Box<dyn Fn(&[u64; 4], [u64; 2]) -> bool>,
}

impl Row {
    pub fn new(
        op: impl Into<String>,
        operands: &str,
        classes: &str,
        inputs: &Arc<Vec<[u64; 4]>>,
        right: impl Fn(&[u64; 4], [u64; 2]) -> bool + 'static,
    ) -> Row {
        Row {
            op: op.into(),
            operands: operands.into(),
            classes: classes.into(),
            inputs: inputs.clone(),
            right: Box::new(right),
        }
    }
}

const MODEL: DeviceModel = DeviceModel::H100;

/// Every byte checked for bounds; what is written by one thread alone needs no more.
const CHECKS: Checks =
    Checks { memory: true, uninitialised: true, races: false, convergence: true, asynchrony: true, limits: true };

pub fn load(text: &str) -> Result<Program, LoadError> {
    Program::load(text, &MODEL, &LoadOptions { driver_version: 12090, max_ptx: (8, 8) })
}

/// Runs the first kernel of a module on a parameter block of addresses of these buffers; they come back as it leaves them.
pub fn run(text: &str, grid: u32, block: u32, cluster: u32, buffers: &[Vec<u8>]) -> Result<Vec<Vec<u8>>, Fault> {
    let program = load(text).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let memory = Arc::new(Memory::new(&MODEL));
    let module = Module::instantiate(Arc::new(program), memory.clone()).expect("the module has room");
    let mut params = Vec::new();
    let mut addresses = Vec::new();
    for b in buffers {
        let p = memory.alloc(b.len().max(1) as u64, AllocationKind::Device).expect("there is room");
        memory.write(p, b).expect("the allocation is live");
        params.extend(p.to_le_bytes());
        addresses.push(p);
    }
    let config = LaunchConfig {
        grid: [grid, 1, 1],
        block: [block, 1, 1],
        cluster: [cluster, 1, 1],
        model: MODEL,
        ..LaunchConfig::default()
    };
    launch(&module, 0, &config, &params, &CHECKS, Schedule::default())?;
    Ok(addresses
        .iter()
        .zip(buffers)
        .map(|(p, b)| {
            let mut out = vec![0u8; b.len()];
            memory.read(*p, &mut out, false).expect("the allocation is live");
            out
        })
        .collect())
}

pub const HEADER: &str = ".version 8.6\n.target sm_90a\n.address_size 64\n";

fn register(class: char, k: usize) -> String {
    match class {
        'h' => format!("%h{k}"),
        'r' => format!("%r{k}"),
        'd' => format!("%rd{k}"),
        'p' => format!("%p{k}"),
        other => panic!("class {other}"),
    }
}

/// The kernel that applies an instruction to each thread's operands.
pub fn kernel(op: &str, operands: &str, classes: &str) -> String {
    let (sources, destinations) = classes.split_once('>').expect("classes name destinations");
    let mut text = format!("{op} {operands};");
    let mut body = String::new();
    for (k, class) in sources.chars().enumerate() {
        let reg = register(class, 10 + k);
        body += &match class {
            'h' => format!("ld.global.u16 {reg}, [%rd3+{}];\n", 8 * k),
            'r' => format!("ld.global.u32 {reg}, [%rd3+{}];\n", 8 * k),
            'd' => format!("ld.global.u64 {reg}, [%rd3+{}];\n", 8 * k),
            _ => format!("ld.global.u32 %r{0}, [%rd3+{1}]; setp.ne.u32 {reg}, %r{0}, 0;\n", 20 + k, 8 * k),
        };
        text = text.replace(["$a", "$b", "$c", "$s"][k], &reg);
    }
    let mut tail = String::new();
    for (k, class) in destinations.chars().enumerate() {
        let reg = register(class, 15 + k);
        body += &match class {
            'h' => format!("mov.b16 {reg}, 0;\n"),
            'r' => format!("mov.b32 {reg}, 0;\n"),
            'd' => format!("mov.b64 {reg}, 0;\n"),
            _ => format!("setp.ne.u32 {reg}, 0, 0;\n"),
        };
        tail += &match class {
            'h' => format!("cvt.u64.u16 %rd9, {reg};\n"),
            'r' => format!("cvt.u64.u32 %rd9, {reg};\n"),
            'd' => format!("mov.b64 %rd9, {reg};\n"),
            _ => format!("selp.u64 %rd9, 1, 0, {reg};\n"),
        };
        tail += &format!("st.global.u64 [%rd6+{}], %rd9;\n", 8 * k);
        text = text.replace(["$d", "$e"][k], &reg);
    }
    format!(
        "{HEADER}.visible .entry k(.param .u64 p, .param .u64 q)\n{{\n\
         .reg .pred %p<24>;\n.reg .b16 %h<24>;\n.reg .b32 %r<32>;\n.reg .b64 %rd<32>;\nld.param.u64 %rd1, [p];\n\
         ld.param.u64 %rd4, [q];\nmov.u32 %r1, %tid.x;\nmov.u32 %r2, %ctaid.x;\n\
         mad.lo.u32 %r1, %r2, 128, %r1;\nmul.wide.u32 %rd2, %r1, 32;\n\
         add.u64 %rd3, %rd1, %rd2;\nmul.wide.u32 %rd5, %r1, 16;\nadd.u64 %rd6, %rd4, %rd5;\n{body}{text}\n{tail}ret;\n}}\n"
    )
}

/// The results of a form on each set of operands.
pub fn apply(op: &str, operands: &str, classes: &str, inputs: &[[u64; 4]]) -> Vec<[u64; 2]> {
    let mut padded = inputs.to_vec();
    padded.resize(inputs.len().next_multiple_of(128), inputs[0]);
    let input: Vec<u8> = padded.iter().flatten().flat_map(|v| v.to_le_bytes()).collect();
    let out = vec![0u8; 16 * padded.len()];
    let text = kernel(op, operands, classes);
    let result = run(&text, (padded.len() / 128) as u32, 128, 1, &[input, out]);
    let result = result.unwrap_or_else(|e| panic!("{e}\n{text}"));
    let word = |c: &[u8]| u64::from_le_bytes(c.try_into().expect("eight bytes"));
    result[1].chunks_exact(16).take(inputs.len()).map(|c| [word(&c[..8]), word(&c[8..])]).collect()
}

/// Checks every row; the failure of each is told.
pub fn check(rows: Vec<Row>) {
    assert!(!rows.is_empty());
    let mut wrong = Vec::new();
    for row in rows {
        if let Err(e) = load(&kernel(&row.op, &row.operands, &row.classes)) {
            wrong.push(format!("{} {}: refused: {}", row.op, row.operands, e.message));
            continue;
        }
        let got = apply(&row.op, &row.operands, &row.classes, &row.inputs);
        let bad: Vec<_> = row.inputs.iter().zip(got).filter(|(i, g)| !(row.right)(i, *g)).collect();
        if let Some((i, g)) = bad.first() {
            wrong.push(
                format!("{} {}: {} wrong, {i:#x?} gave {g:#x?}", row.op, row.operands, bad.len()).replace('\n', ""),
            );
        }
    }
    assert!(wrong.is_empty(), "{} forms:\n{}", wrong.len(), wrong.join("\n"));
}

/// Numbers from a fixed seed.
pub struct Draw(pub u64);

impl Draw {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ z >> 31
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }
}

/// Operand sets from edge values (all pairs, a third value going round) and random ones.
pub fn cross(edges: &[u64], random: usize, mut draw: impl FnMut() -> u64) -> Arc<Vec<[u64; 4]>> {
    let mut out = Vec::new();
    for a in edges {
        for b in edges {
            let n = out.len();
            out.push([*a, *b, edges[(n * 7 + n / edges.len()) % edges.len()], edges[n * 5 % edges.len()]]);
        }
    }
    for _ in 0..random {
        let mut v = [draw(), draw(), draw(), draw()];
        // Some near misses.
        if v[3].is_multiple_of(4) {
            v[1] = v[0];
        }
        out.push(v);
    }
    Arc::new(out)
}

pub fn class_of(bits: u32) -> char {
    match bits {
        16 => 'h',
        32 => 'r',
        _ => 'd',
    }
}

pub fn mask(bits: u32) -> u64 {
    if bits == 64 { u64::MAX } else { (1 << bits) - 1 }
}

/// A value of a width as a signed or unsigned number.
pub fn number(v: u64, bits: u32, signed: bool) -> i128 {
    let v = v & mask(bits);
    if signed && v >> (bits - 1) & 1 == 1 { i128::from(v) - (1 << bits) } else { i128::from(v) }
}

/// A number cut to a width.
pub fn cut(v: i128, bits: u32) -> u64 {
    v as u64 & mask(bits)
}
