//! The devices under test: the CPU and the virtual GPU's models, or as `WARPSMITH_TEST_DEVICE` says (`cpu`, `virtual`, or
//! `cuda` for the real device 0, where the virtual GPU is never installed).

use std::sync::OnceLock;
use virtual_gpu::model::DeviceModel;
use virtual_gpu::{Options, VirtualGpu};
use warpsmith::{DType, Device};

/// The float dtypes of a CUDA device.
pub const CUDA_FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// A CUDA device under test.
#[derive(Clone, Debug)]
pub struct Gpu {
    /// The model's short name, or `cuda`.
    pub name: &'static str,
    pub device: Device,
}

struct Chosen {
    cpu: bool,
    gpus: Vec<Gpu>,
    driver: Option<VirtualGpu>,
    /// Whether checks are checked on CUDA devices as well.
    proves: bool,
}

static CHOSEN: OnceLock<Chosen> = OnceLock::new();

/// Makes a CUDA device the only one under test, for a program that has chosen it; checks are not checked again. False
/// where something was asked of the devices before.
pub fn choose(device: Device, driver: Option<VirtualGpu>) -> bool {
    CHOSEN.set(Chosen { cpu: false, gpus: vec![Gpu { name: "cuda", device }], driver, proves: false }).is_ok()
}

fn chosen() -> &'static Chosen {
    CHOSEN.get_or_init(|| match std::env::var("WARPSMITH_TEST_DEVICE").as_deref() {
        Err(_) => virtual_gpus(true),
        Ok("cpu") => Chosen { cpu: true, gpus: vec![], driver: None, proves: false },
        Ok("virtual") => virtual_gpus(false),
        Ok("cuda") => {
            let device = Device::cuda(0).expect("WARPSMITH_TEST_DEVICE=cuda needs a CUDA device");
            Chosen { cpu: false, gpus: vec![Gpu { name: "cuda", device }], driver: None, proves: true }
        }
        Ok(other) => panic!("WARPSMITH_TEST_DEVICE={other}: cpu, virtual or cuda (unset: cpu and virtual)"),
    })
}

fn virtual_gpus(cpu: bool) -> Chosen {
    let models = [&DeviceModel::A100, &DeviceModel::RTX_4090, &DeviceModel::H100];
    let driver = Options::new().devices(&models).install().expect("the virtual GPU");
    let gpu = |(ordinal, model): (usize, &&'static DeviceModel)| {
        let device = Device::cuda(ordinal).unwrap_or_else(|error| panic!("virtual {}: {error}", model.id));
        Gpu { name: model.id, device }
    };
    Chosen { cpu, gpus: models.iter().enumerate().map(gpu).collect(), driver: Some(driver), proves: !cpu }
}

/// Whether the CPU device is under test.
pub fn cpu() -> bool {
    chosen().cpu
}

/// The CUDA devices that a check with this seed runs on: one of them, or all with `WARPSMITH_TEST_MODELS=all`.
pub fn gpus(seed: u64) -> &'static [Gpu] {
    let gpus = &chosen().gpus;
    if gpus.len() < 2 || everything() {
        return gpus;
    }
    let one = (seed >> 32 ^ seed) as usize % gpus.len();
    &gpus[one..=one]
}

/// Every CUDA device under test, for checks that spread their cases over them.
pub fn all_gpus() -> Vec<Device> {
    chosen().gpus.iter().map(|gpu| gpu.device.clone()).collect()
}

/// The virtual GPU, where it is under test.
pub fn driver() -> Option<VirtualGpu> {
    chosen().driver
}

/// Whether the check of the check is made on CUDA devices: where the CPU, on which it is quicker, is not under test.
pub fn proves() -> bool {
    chosen().proves
}

/// Whether every model and layout is asked for.
pub fn everything() -> bool {
    std::env::var_os("WARPSMITH_TEST_MODELS").is_some_and(|value| value == "all")
}

/// Every device under test with this seed, the CPU first.
pub fn devices(seed: u64) -> Vec<Device> {
    let cpu = cpu().then_some(Device::Cpu);
    cpu.into_iter().chain(gpus(seed).iter().map(|gpu| gpu.device.clone())).collect()
}

/// What the virtual GPU has to say about faults so far; empty without one.
pub fn reports() -> String {
    let faults = chosen().driver.map(|driver| driver.faults()).unwrap_or_default();
    faults.iter().map(|fault| format!("\n{}", fault.report)).collect()
}
