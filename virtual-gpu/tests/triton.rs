//! Kernels that Triton from PyPI compiles in the set-up of this test, for sm_80 and sm_90a: right against f64 under
//! every schedule. Nothing of them is kept in the repository; they lie below the build's folder.
//!
//! Without Python or a package index this fails, unless `VIRTUAL_GPU_SKIP_TRITON=1` says that it may be left out.

#[path = "support/compiled.rs"]
mod compiled;

use compiled::{Compiled, SEEDS, close, params, products};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use virtual_gpu::machine::LaunchConfig;
use virtual_gpu::model::DeviceModel;

const SCRIPT: &str = include_str!("python/triton_kernels.py");

/// The folder with the kernels; made once for each version of the script.
fn folder() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let made = FOLDER.get_or_init(|| match compile() {
        Ok(folder) => Some(folder),
        Err(why) => {
            let allowed = std::env::var_os("VIRTUAL_GPU_SKIP_TRITON").is_some_and(|v| v == "1");
            assert!(allowed, "Triton's kernels cannot be made; VIRTUAL_GPU_SKIP_TRITON=1 leaves them out.\n{why}");
            println!("skipped: {why}");
            None
        }
    });
    made.as_deref()
}

fn compile() -> Result<PathBuf, String> {
    let hash = SCRIPT.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    let base = Path::new(env!("CARGO_TARGET_TMPDIR")).join("triton");
    let folder = base.join(format!("kernels-{hash:016x}"));
    if folder.join("done").exists() {
        return Ok(folder);
    }
    let run = |command: &mut Command| -> Result<(), String> {
        let output = command.output().map_err(|e| format!("{command:?}: {e}"))?;
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {}\n{out}\n{err}", output.status)) }
    };
    let python = base.join("environment/bin/python");
    if run(Command::new(&python).args(["-c", "import triton"])).is_err() {
        run(Command::new("python3").args(["-m", "venv"]).arg(base.join("environment")))?;
        run(Command::new(&python).args(["-m", "pip", "install", "-q", "triton"]))?;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/python/triton_kernels.py");
    run(Command::new(&python).arg(script).arg(&folder).env("TRITON_CACHE_DIR", base.join("cache")))?;
    std::fs::write(folder.join("done"), "").map_err(|e| e.to_string())?;
    Ok(folder)
}

struct Kernel {
    compiled: Compiled,
    shared: u32,
    threads: u32,
}

fn load(name: &str, sm: u32) -> Option<Kernel> {
    let folder = folder()?;
    let ptx = std::fs::read_to_string(folder.join(format!("{name}.{sm}.ptx"))).expect("the set-up made it");
    let facts = std::fs::read_to_string(folder.join(format!("{name}.{sm}.txt"))).expect("the set-up made it");
    let numbers: Vec<u32> = facts.split_whitespace().skip(1).map(|n| n.parse().expect("a number")).collect();
    let model = if sm == 80 { DeviceModel::A100 } else { DeviceModel::H100 };
    Some(Kernel { compiled: Compiled::new(&ptx, model), threads: numbers[0], shared: numbers[1] })
}

impl Kernel {
    /// Runs on a fresh output of `count` floats, whose address stands at `output` among the pointers.
    fn run(
        &self,
        grid: [u32; 3],
        pointers: &[u64],
        output: usize,
        scalars: &[u32],
        count: usize,
        seed: u64,
    ) -> Vec<f64> {
        let out = self.compiled.alloc(4 * count);
        let mut pointers = pointers.to_vec();
        pointers.insert(output, out);
        let mut params = params(&pointers, scalars);
        // Two pointers to scratch memory that these kernels do not use.
        params.resize(params.len().next_multiple_of(8) + 16, 0);
        let config = LaunchConfig {
            grid,
            block: [self.threads, 1, 1],
            dynamic_shared: self.shared,
            max_dynamic_shared: self.shared,
            ..LaunchConfig::default()
        };
        self.compiled.run(&self.compiled.first(), config, &params, seed);
        let got = self.compiled.numbers(out, count);
        self.compiled.free(out);
        got
    }
}

fn draw(count: usize, seed: u64) -> Vec<f32> {
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect()
}

#[test]
fn matmul() {
    let (m, n, k) = (100usize, 90usize, 70usize);
    let bf = |v: &[f32]| -> Vec<u16> { v.iter().map(|v| (v.to_bits() >> 16) as u16).collect() };
    let value = |v: u16| f64::from(f32::from_bits(u32::from(v) << 16));
    let (a, b) = (bf(&draw(m * k, 1)), bf(&draw(k * n, 2)));
    let wide: Vec<f64> = a.iter().map(|v| value(*v)).collect();
    let want = products(m, n, k, &wide, |e, j| value(b[e * n + j]));
    for sm in [80, 90] {
        let Some(kernel) = load("matmul", sm) else { return };
        let pointers = [kernel.compiled.halves(&a), kernel.compiled.halves(&b)];
        for seed in SEEDS {
            let scalars = [m as u32, n as u32, k as u32];
            let got =
                kernel.run([m.div_ceil(64) as u32, n.div_ceil(64) as u32, 1], &pointers, 2, &scalars, m * n, seed);
            close(&got, &want, &format!("sm_{sm}, seed {seed}"));
        }
    }
}

#[test]
fn softmax() {
    let (rows, columns) = (5usize, 300usize);
    let x: Vec<f32> = draw(rows * columns, 3).iter().map(|v| v * 8.0).collect();
    let want = |at: usize| {
        let row = &x[at / columns * columns..][..columns];
        let top = row.iter().fold(f32::MIN, |m, v| m.max(*v));
        let total: f64 = row.iter().map(|v| f64::from(v - top).exp()).sum();
        let far = f64::from(top - x[at]);
        let value = (-far).exp() / total;
        // The exponent's rounding, of the product with log2 e too; the approximate power, sum and quotient.
        (value, value * (far * f64::powi(2.0, -22) + f64::powi(2.0, -19)))
    };
    let want: Vec<(f64, f64)> = (0..rows * columns).map(want).collect();
    for sm in [80, 90] {
        let Some(kernel) = load("softmax", sm) else { return };
        let pointers = [kernel.compiled.floats(&x)];
        for seed in SEEDS {
            let got = kernel.run([rows as u32, 1, 1], &pointers, 1, &[columns as u32], rows * columns, seed);
            close(&got, &want, &format!("sm_{sm}, seed {seed}"));
        }
    }
}

#[test]
fn layer_norm() {
    let (rows, columns) = (4usize, 500usize);
    let (x, w, b) = (draw(rows * columns, 4), draw(columns, 5), draw(columns, 6));
    let want = |at: usize| {
        let row: Vec<f64> = x[at / columns * columns..][..columns].iter().map(|v| f64::from(*v)).collect();
        let mean = row.iter().sum::<f64>() / columns as f64;
        let variance = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / columns as f64;
        let (w, b) = (f64::from(w[at % columns]), f64::from(b[at % columns]));
        let scaled = (f64::from(x[at]) - mean) / (variance + 1e-5).sqrt() * w;
        // Sums in a tree of nine levels, of values below 1; a handful of roundings behind.
        (scaled + b, (scaled.abs() + b.abs() + w.abs()) * 16.0 * f64::powi(2.0, -23))
    };
    let want: Vec<(f64, f64)> = (0..rows * columns).map(want).collect();
    for sm in [80, 90] {
        let Some(kernel) = load("layer_norm", sm) else { return };
        let pointers = [kernel.compiled.floats(&x), kernel.compiled.floats(&w), kernel.compiled.floats(&b)];
        for seed in SEEDS {
            let got = kernel.run([rows as u32, 1, 1], &pointers, 1, &[columns as u32], rows * columns, seed);
            close(&got, &want, &format!("sm_{sm}, seed {seed}"));
        }
    }
}

#[test]
fn attention() {
    let (heads, t, d) = (2usize, 90usize, 64usize);
    // Multiples of 1/64 below 2 are exact in binary16: exponent and fraction of the f32, moved.
    let half = |v: f32| -> u16 {
        let bits = v.to_bits();
        if v == 0.0 {
            0
        } else {
            (bits >> 16 & 0x8000) as u16 | (((bits >> 23 & 255) as u16 - 112) << 10) | (bits >> 13 & 1023) as u16
        }
    };
    let values = |seed| -> Vec<f32> { draw(heads * t * d, seed).iter().map(|v| (v * 64.0).round() / 64.0).collect() };
    let (q, k, v) = (values(7), values(8), values(9));
    let scale = 0.125f32;
    let mut want = vec![(0.0, 0.0); heads * t * d];
    for head in 0..heads {
        for row in 0..t {
            let at = |m: &[f32], r: usize, c: usize| f64::from(m[(head * t + r) * d + c]);
            let s: Vec<f64> =
                (0..t).map(|j| (0..d).map(|c| at(&q, row, c) * at(&k, j, c)).sum::<f64>() * f64::from(scale)).collect();
            let top = s.iter().fold(f64::MIN, |m, v| m.max(*v));
            let p: Vec<f64> = s.iter().map(|s| (s - top).exp()).collect();
            let total: f64 = p.iter().sum();
            for c in 0..d {
                let sum: f64 = (0..t).map(|j| p[j] * at(&v, j, c)).sum();
                let size: f64 = (0..t).map(|j| p[j] * at(&v, j, c).abs()).sum();
                // Probabilities are rounded to binary16, 2^-11 of each or 2^-25 of the largest; twice that for the rest.
                let bound = size / total * f64::powi(2.0, -10) + t as f64 / total * f64::powi(2.0, -24);
                want[(head * t + row) * d + c] = (sum / total, bound);
            }
        }
    }
    for sm in [80, 90] {
        let Some(kernel) = load("attention", sm) else { return };
        let bits = |m: &[f32]| m.iter().map(|v| half(*v)).collect::<Vec<_>>();
        let pointers =
            [kernel.compiled.halves(&bits(&q)), kernel.compiled.halves(&bits(&k)), kernel.compiled.halves(&bits(&v))];
        for seed in SEEDS {
            let scalars = [t as u32, scale.to_bits()];
            let got = kernel.run([t.div_ceil(64) as u32, heads as u32, 1], &pointers, 3, &scalars, heads * t * d, seed);
            close(&got, &want, &format!("sm_{sm}, seed {seed}"));
        }
    }
}
