//! Runs a kernel of PTX text on the machine itself, without the driver.

// Every test file is a program of its own and uses a part of this.
#![allow(dead_code)]

use std::sync::Arc;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

/// A kernel `k` of pointers `%rd1`, `%rd2`, … (one for each buffer) with registers at hand, for a target.
pub fn kernel(target: &str, pointers: usize, head: &str, body: &str) -> String {
    let params: Vec<String> = (1..=pointers).map(|k| format!(".param .u64 p{k}")).collect();
    let loads: String = (1..=pointers).map(|k| format!("ld.param.u64 %rd{k}, [p{k}];\n")).collect();
    format!(
        ".version 8.6\n.target {target}\n.address_size 64\n{head}\n.visible .entry k({})\n{{\n.reg .pred %p<16>;\n\
         .reg .b16 %h<64>;\n.reg .b32 %r<512>;\n.reg .b64 %rd<64>;\n.reg .f32 %f<512>;\n.reg .f64 %d<64>;\n\
         .reg .b128 %q<8>;\n{loads}{body}\nret;\n}}\n",
        params.join(", ")
    )
}

/// Loads a module, or says why not.
pub fn load(text: &str, model: &DeviceModel) -> Result<Program, LoadError> {
    Program::load(text, model, &LoadOptions { driver_version: 13000, max_ptx: (9, 0) })
}

/// Launches `k` with a pointer to each buffer; what the buffers hold afterwards.
pub fn run(text: &str, config: &LaunchConfig, buffers: &[Vec<u8>], seed: u64) -> Result<Vec<Vec<u8>>, Fault> {
    run_placed(text, config, buffers, seed, |_| Vec::new())
}

/// As `run`, with the contents of some buffers, by their numbers, made from the addresses of all.
pub fn run_placed(
    text: &str,
    config: &LaunchConfig,
    buffers: &[Vec<u8>],
    seed: u64,
    place: impl Fn(&[u64]) -> Vec<(usize, Vec<u8>)>,
) -> Result<Vec<Vec<u8>>, Fault> {
    let program = load(text, &config.model).unwrap_or_else(|e| panic!("{e}\n{text}"));
    let memory = Arc::new(Memory::new(&config.model));
    let module = Module::instantiate(Arc::new(program), memory.clone()).expect("the module has room");
    let mut params = Vec::new();
    let mut addresses = Vec::new();
    for b in buffers {
        let at = memory.alloc(b.len() as u64, AllocationKind::Device).expect("there is room");
        memory.write(at, b).expect("the allocation is live");
        params.extend(at.to_le_bytes());
        addresses.push(at);
    }
    for (k, bytes) in place(&addresses) {
        memory.write(addresses[k], &bytes).expect("the allocation is live");
    }
    launch(&module, 0, config, &params, &Checks::default(), Schedule { seed })?;
    let read = |(at, b): (&u64, &Vec<u8>)| {
        let mut out = vec![0; b.len()];
        memory.read(*at, &mut out, true)?;
        Ok(out)
    };
    addresses.iter().zip(buffers).map(read).collect()
}

/// One block of these threads.
pub fn block(model: DeviceModel, threads: u32) -> LaunchConfig {
    LaunchConfig { block: [threads, 1, 1], model, ..LaunchConfig::default() }
}

/// Pseudo-random numbers (Knuth's MMIX generator, upper half).
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 32) as u32
    }

    pub fn below(&mut self, n: u32) -> u32 {
        self.next() % n
    }
}

/// Puts `bits` bits at bit index `at * bits` of a byte string.
pub fn put_bits(bytes: &mut [u8], at: usize, bits: usize, value: u64) {
    for k in 0..bits {
        let n = at * bits + k;
        bytes[n / 8] = bytes[n / 8] & !(1 << (n % 8)) | ((value >> k & 1) as u8) << (n % 8);
    }
}

/// `bits` bits from bit index `at * bits` on.
pub fn get_bits(bytes: &[u8], at: usize, bits: usize) -> u64 {
    (0..bits).fold(0, |v, k| {
        let n = at * bits + k;
        v | u64::from(bytes[n / 8] >> (n % 8) & 1) << k
    })
}

/// The value of a number with `exponent` and `mantissa` bits below a sign, as IEEE 754 codes them.
pub fn decode_float(bits: u64, exponent: u32, mantissa: u32) -> f64 {
    let field = (bits >> mantissa) & ((1 << exponent) - 1);
    let fraction = (bits & ((1 << mantissa) - 1)) as f64 / f64::powi(2.0, mantissa as i32);
    let bias = (1i32 << (exponent - 1)) - 1;
    let v = match field {
        0 => fraction * f64::powi(2.0, 1 - bias),
        _ if field == (1 << exponent) - 1 && fraction == 0.0 => f64::INFINITY,
        _ if field == (1 << exponent) - 1 => f64::NAN,
        _ => (1.0 + fraction) * f64::powi(2.0, field as i32 - bias),
    };
    if bits >> (exponent + mantissa) & 1 != 0 { -v } else { v }
}

/// A small whole number coded as a float.
pub fn encode_float(v: i32, exponent: u32, mantissa: u32) -> u64 {
    if v == 0 {
        return 0;
    }
    let sign = u64::from(v < 0) << (exponent + mantissa);
    let magnitude = v.unsigned_abs();
    let top = 31 - magnitude.leading_zeros();
    let fraction = u64::from(magnitude - (1 << top)) << mantissa >> top;
    let bias = (1u64 << (exponent - 1)) - 1;
    sign | (u64::from(top) + bias) << mantissa | fraction
}

/// How a matrix type codes numbers: bits, and exponent and mantissa of floats or whether integers are signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Code {
    Float(u32, u32),
    Signed(u32),
    Unsigned(u32),
}

/// The code of a type by its PTX name.
pub fn code(name: &str) -> Code {
    match name {
        "f16" => Code::Float(5, 10),
        "bf16" => Code::Float(8, 7),
        "tf32" | "f32" => Code::Float(8, 23),
        "f64" => Code::Float(11, 52),
        "e4m3" => Code::Float(4, 3),
        "e5m2" => Code::Float(5, 2),
        "s32" => Code::Signed(32),
        "s8" => Code::Signed(8),
        "u8" => Code::Unsigned(8),
        "s4" => Code::Signed(4),
        "u4" => Code::Unsigned(4),
        "b1" => Code::Unsigned(1),
        other => panic!("no code for {other}"),
    }
}

impl Code {
    pub fn bits(self) -> usize {
        match self {
            Code::Float(e, m) => (1 + e + m) as usize,
            Code::Signed(n) | Code::Unsigned(n) => n as usize,
        }
    }

    /// A small number that the type holds exactly, and its bits.
    pub fn small(self, random: &mut Random) -> (i64, u64) {
        let v = match self {
            Code::Float(..) => random.below(9) as i32 - 4,
            Code::Signed(n) if n < 32 => random.below(1 << n) as i32 - (1 << (n - 1)),
            Code::Signed(_) => random.below(2001) as i32 - 1000,
            Code::Unsigned(n) => random.below(1 << n) as i32,
        };
        (i64::from(v), self.encode(v))
    }

    pub fn encode(self, v: i32) -> u64 {
        match self {
            Code::Float(e, m) => encode_float(v, e, m),
            Code::Signed(n) | Code::Unsigned(n) => v as i64 as u64 & ((1u64 << n) - 1),
        }
    }

    pub fn decode(self, bits: u64) -> f64 {
        match self {
            Code::Float(e, m) => decode_float(bits, e, m),
            Code::Signed(n) => (((bits << (64 - n)) as i64) >> (64 - n)) as f64,
            Code::Unsigned(_) => bits as f64,
        }
    }
}
