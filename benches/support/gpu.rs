//! Benches on a CUDA device: the time, operations and bytes of a call against the device's roofline; on the virtual GPU
//! (`WARPSMITH_BENCH_GPU=virtual`) its counters, for it has no clock to go by. `WARPSMITH_BENCH_TABLE` names a file that
//! the counters are appended to, from which `cargo xtask counters` writes docs/counters.md.
#![allow(dead_code)] // each bench uses its own part

use std::io::Write;
use std::time::Instant;
use virtual_gpu::VirtualGpu;
use warpsmith::autograd::Backward;
use warpsmith::{DType, Device, Result, Tensor};

/// Where the calls run.
pub struct Gpu {
    pub device: Device,
    counters: Option<VirtualGpu>,
}

/// What the arithmetic of a call is bounded by.
#[derive(Clone, Copy)]
pub enum Peak {
    F32,
    Tf32,
    Half,
}

impl Peak {
    /// That of a dtype; of f32 perhaps as TF32.
    pub fn of(dtype: DType, tf32: bool) -> Peak {
        match dtype {
            DType::F32 if tf32 => Peak::Tf32,
            DType::F32 => Peak::F32,
            _ => Peak::Half,
        }
    }
}

/// The least that a call has to do.
pub struct Floor {
    pub peak: Peak,
    pub operations: f64,
    pub bytes: f64,
}

impl Floor {
    /// Of what memory bounds: so many bytes, and operations that do not matter beside them.
    pub fn bytes(bytes: usize) -> Floor {
        Floor { peak: Peak::F32, operations: 0.0, bytes: bytes as f64 }
    }
}

/// Values that are neither alike nor sorted.
pub fn ramp(device: &Device, dtype: DType, dims: &[usize]) -> Tensor {
    let numel: usize = dims.iter().product();
    let values: Vec<f32> = (0..numel).map(|i| (i * 7919 % 1000) as f32 / 500.0 - 1.0).collect();
    Tensor::from_slice(&values, dims, device).and_then(|x| x.to_dtype(dtype)).expect("values of the shape")
}

/// Numbers below `bound` in no order.
pub fn scattered(device: &Device, dims: &[usize], bound: usize) -> Tensor {
    let numel: usize = dims.iter().product();
    let values: Vec<i64> = (0..numel).map(|i| (i * 7919 % bound) as i64).collect();
    Tensor::from_slice(&values, dims, device).expect("numbers of the shape")
}

/// Dense TFLOP/s of f32, of TF32, and of f16 and bf16 with f32 sums; GB/s. From NVIDIA's data sheets and whitepapers.
const PEAKS: &[(&str, [f64; 3], f64)] = &[
    ("A100-SXM4-40GB", [19.5, 156.0, 312.0], 1555.0),
    ("A100", [19.5, 156.0, 312.0], 2039.0),
    ("RTX 4090", [82.6, 82.6, 165.2], 1008.0),
    ("H100 PCIe", [51.2, 378.0, 756.0], 2000.0),
    ("H100", [66.9, 494.7, 989.4], 3350.0),
];

impl Gpu {
    /// The virtual GPU if it is asked for, else the first CUDA device; `None` where there is neither.
    pub fn open() -> Option<Gpu> {
        let asked = std::env::var("WARPSMITH_BENCH_GPU").is_ok_and(|value| value == "virtual");
        let counters = asked.then(|| virtual_gpu::install().expect("the virtual GPU"));
        Device::cuda(0).ok().map(|device| Gpu { device, counters })
    }

    /// Whether this is the virtual GPU, on which large shapes take too long.
    pub fn is_virtual(&self) -> bool {
        self.counters.is_some()
    }

    /// Runs a call and prints a line.
    pub fn report(&self, name: &str, floor: &Floor, call: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        match &self.counters {
            Some(gpu) => self.count(gpu, name, floor, call),
            None => self.time(name, floor, call),
        }
    }

    /// Reports a function's forward and, where it has a floor, its backward alone.
    pub fn passes(
        &self,
        name: &str,
        inputs: &[&Tensor],
        f: impl Fn(&[Tensor]) -> Result<Tensor>,
        forward: Floor,
        backward: Option<Floor>,
    ) {
        let run = || -> Result<()> {
            let plain: Vec<Tensor> = inputs.iter().map(|x| x.detach()).collect();
            self.report(name, &forward, &mut || f(&plain).map(drop))?;
            let Some(floor) = backward else { return Ok(()) };
            let tracked: Vec<Tensor> =
                plain.iter().map(|x| if x.dtype().is_float() { x.track() } else { x.clone() }).collect();
            let y = f(&tracked)?;
            let seed = y.detach().ones_like()?;
            let mut call = || Backward::new().retain_graph().run_with(&y, seed.clone()).map(drop);
            self.report(&format!("{name}, backward"), &floor, &mut call)
        };
        run().unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    fn name(&self) -> &str {
        match &self.device {
            Device::Cuda(device) => &device.spec().name,
            Device::Cpu => "the CPU",
        }
    }

    fn wait(&self) -> Result<()> {
        match &self.device {
            Device::Cuda(device) => device.synchronize(),
            Device::Cpu => Ok(()),
        }
    }

    fn time(&self, name: &str, floor: &Floor, call: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        for _ in 0..3 {
            call()?;
        }
        self.wait()?;
        // The median of seven runs, each of as many calls as take some milliseconds.
        let start = Instant::now();
        call()?;
        self.wait()?;
        let calls = (5e-3 / start.elapsed().as_secs_f64().max(1e-6)).ceil().clamp(1.0, 1000.0) as usize;
        let mut runs: Vec<f64> = Vec::new();
        for _ in 0..7 {
            let start = Instant::now();
            for _ in 0..calls {
                call()?;
            }
            self.wait()?;
            runs.push(start.elapsed().as_secs_f64() / calls as f64);
        }
        runs.sort_by(f64::total_cmp);
        let seconds = runs[runs.len() / 2];
        let (rate, traffic) = (floor.operations / seconds / 1e12, floor.bytes / seconds / 1e9);
        let roof = match PEAKS.iter().find(|(name, ..)| self.name().contains(name)) {
            Some((_, peaks, bandwidth)) => {
                let least = (floor.operations / peaks[floor.peak as usize] / 1e12).max(floor.bytes / bandwidth / 1e9);
                format!("{:.0} % of the roofline", 100.0 * least / seconds)
            }
            None => format!("no roofline is known of {}", self.name()),
        };
        println!("{name}: {:.1} µs, {rate:.2} TFLOP/s, {traffic:.0} GB/s, {roof}", seconds * 1e6);
        Ok(())
    }

    /// Appends a line to the table that is asked for.
    fn keep(&self, line: &str) {
        let Some(path) = std::env::var_os("WARPSMITH_BENCH_TABLE") else { return };
        let table = std::fs::OpenOptions::new().create(true).append(true).open(path);
        table.and_then(|mut table| table.write_all(line.as_bytes())).expect("the table can be written");
    }

    fn count(&self, gpu: &VirtualGpu, name: &str, floor: &Floor, call: &mut dyn FnMut() -> Result<()>) -> Result<()> {
        // What was launched before, a forward pass, is not this call's.
        self.wait()?;
        gpu.clear_profile();
        call()?;
        self.wait()?;
        let profile = gpu.profile_json();
        // The sums by kernel follow the launches.
        let sums = profile.rsplit("\"kernels\":").next().unwrap_or_default();
        let total = |key: &str| -> f64 {
            let key = format!("\"{key}\":");
            let number = |at: usize| {
                let digits = sums[at + key.len()..].split(|c: char| !c.is_ascii_digit()).next();
                digits.and_then(|digits| digits.parse::<f64>().ok()).unwrap_or(0.0)
            };
            sums.match_indices(&key).map(|(at, _)| number(at)).sum()
        };
        let (moved, needed) = (total("sectors"), total("sectors_needed"));
        println!(
            "{name}: {:.0} warp instructions ({:.0} operations each), {:.1} MB moved ({:.0} % needed, floor {:.1} MB), \
             {:.0} bank conflicts in {:.0} passes, tensor cores do {:.0} % of the operations (tiles are padded)",
            total("instructions"),
            floor.operations / total("instructions").max(1.0),
            moved * 32.0 / 1e6,
            100.0 * needed / moved.max(1.0),
            floor.bytes / 1e6,
            total("bank_conflicts"),
            total("shared_passes"),
            100.0 * 2.0 * total("tensor_multiply_adds") / floor.operations.max(1.0),
        );
        let row = [
            floor.bytes,
            moved * 32.0,
            needed * 32.0,
            floor.operations,
            total("instructions"),
            total("bank_conflicts"),
            total("shared_passes"),
        ];
        let row = row.map(|number| number.to_string()).join("\t");
        self.keep(&format!("{}\t{}\t{name}\t{row}\n", family(), self.name()));
        Ok(())
    }
}

/// The bench's name: that of the program, without cargo's hash.
fn family() -> String {
    let path = std::env::current_exe().unwrap_or_default();
    let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
    stem.rsplit_once('-').map_or(stem.clone(), |(name, _)| name.to_owned())
}
