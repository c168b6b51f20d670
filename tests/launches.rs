//! Cooperative and cluster launches and tensor maps, with kernels of their own, on the virtual GPU.
//! Needs NVRTC (`cargo xtask nvrtc`).

mod support;

use std::path::Path;
use std::sync::OnceLock;
use warpsmith::device::cuda::kernel_table::{Contents, Module};
use warpsmith::device::cuda::{Boxes, CudaDevice, CudaMemory, DevicePtr, Kernel, LaunchConfig, Swizzle, TensorMap};
use warpsmith::{Device, Result};
use warpsmith_build::{Arch, DEFAULT_ARCHS, Source, compile, find};

/// The kernels of `tests/launches/kernels.cu`, compiled for a device.
fn module(device: &CudaDevice) -> &'static Module {
    static MODULES: OnceLock<Vec<(Arch, Module)>> = OnceLock::new();
    let modules = MODULES.get_or_init(|| {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let nvrtc = find(&DEFAULT_ARCHS, Some(&root.join("target"))).unwrap_or_else(|error| panic!("{error}"));
        let file = root.join("tests/launches/kernels.cu");
        let (source, _) = Source::read(&file, "tests/launches/kernels.cu", &[]).unwrap();
        let one = |arch| {
            let compiled = compile(&nvrtc, &source, arch).unwrap_or_else(|error| panic!("{error}"));
            let (kernels, images) = (compiled.kernels.into(), compiled.images.into());
            let contents = Contents::Compiled { nvrtc: compiled.nvrtc, kernels, images };
            (arch, Module { name: "launches".into(), contents })
        };
        DEFAULT_ARCHS.map(one).into()
    });
    let (major, minor) = device.spec().compute_capability;
    let fits = |(arch, _): &&(Arch, Module)| arch.machine_code_runs_on(major, minor);
    &modules.iter().find(fits).expect("an architecture of the devices under test").1
}

fn devices() -> Vec<CudaDevice> {
    let gpus = (0..3).flat_map(support::devices::gpus).map(|gpu| match &gpu.device {
        Device::Cuda(device) => device.clone(),
        Device::Cpu => unreachable!("a device of the list is a CUDA device"),
    });
    let mut devices: Vec<CudaDevice> = gpus.collect();
    devices.sort_by_key(CudaDevice::ordinal);
    devices.dedup();
    devices
}

/// Those with clusters and TMA, and those without.
fn hopper(with: bool) -> impl Iterator<Item = CudaDevice> {
    devices().into_iter().filter(move |device| (device.spec().compute_capability >= (9, 0)) == with)
}

fn kernel(device: &CudaDevice, name: &str) -> Kernel {
    device.kernel(module(device), name).unwrap()
}

fn zeros(device: &CudaDevice, words: usize) -> CudaMemory {
    CudaMemory::zeros(device, words * 4).unwrap()
}

/// The launch's result, for a kernel that writes one number a block.
fn numbers(device: &CudaDevice, kernel: &Kernel, config: &LaunchConfig) -> Result<Vec<u32>> {
    let blocks = config.grid[0] as usize;
    let mut out = zeros(device, blocks);
    // SAFETY: the kernels write a number for each block.
    unsafe { kernel.launch(config, (out.write::<u32>(0, blocks)?,))? };
    out.copy_to_host::<u32>(blocks)
}

#[test]
fn a_cooperative_grid_meets_at_a_barrier_and_is_never_larger_than_what_is_resident() {
    for device in devices() {
        let meet = kernel(&device, "meet");
        // Half of a multiprocessor's shared memory: two blocks of it at a time.
        let half = device.spec().shared_per_multiprocessor / 2 - 2048;
        let dynamic_shared = half.min(device.spec().shared_per_block);
        let one = LaunchConfig { dynamic_shared, cooperative: true, ..LaunchConfig::linear(1, 32) };
        let most = meet.resident_blocks(&one).unwrap();
        assert_eq!(most, 2 * device.spec().multiprocessors, "{}", device.spec().name);
        let run = |blocks: u32| {
            let config = LaunchConfig { grid: [blocks, 1, 1], ..one };
            let (mut out, mut total, mut arrived) =
                (zeros(&device, blocks as usize), zeros(&device, 1), zeros(&device, 1));
            // SAFETY: a number for each block, and the two that all share.
            unsafe {
                let out = out.write::<u32>(0, blocks as usize)?;
                meet.launch(&config, (out, total.write::<u32>(0, 1)?, arrived.write::<u32>(0, 1)?))?;
            }
            out.copy_to_host::<u32>(blocks as usize)
        };
        for blocks in [1, 3, most] {
            assert_eq!(run(blocks).unwrap(), vec![blocks * (blocks - 1) / 2; blocks as usize]);
        }
        let error = run(most + 1).unwrap_err().to_string();
        assert!(error.contains(&format!("{most} at a time")) && error.contains("resident_blocks"), "{error}");
    }
}

#[test]
fn blocks_of_a_cluster_reach_each_other() {
    for device in hopper(true) {
        for blocks in [2, 4] {
            let exchange = kernel(&device, &format!("exchange<{blocks}>"));
            let config = LaunchConfig { cluster: [blocks, 1, 1], ..LaunchConfig::linear(12, 32) };
            let neighbour = |block: u32| block / blocks * blocks + (block + 1) % blocks;
            let expected: Vec<u32> = (0..12).map(|block| 10 * neighbour(block)).collect();
            assert_eq!(numbers(&device, &exchange, &config).unwrap(), expected);
            let odd =
                numbers(&device, &exchange, &LaunchConfig { grid: [11, 1, 1], ..config }).unwrap_err().to_string();
            assert!(odd.contains("do not divide"), "{odd}");
            // Cooperation counts whole clusters.
            let resident = exchange.resident_blocks(&config).unwrap();
            assert!(resident >= blocks && resident.is_multiple_of(blocks), "{resident}");
            let together = LaunchConfig { cooperative: true, ..config };
            assert_eq!(numbers(&device, &exchange, &together).unwrap(), expected);
            let large = LaunchConfig { grid: [resident + blocks, 1, 1], ..together };
            assert!(numbers(&device, &exchange, &large).is_err(), "one cluster more than there is room for");
        }
        let pairs = kernel(&device, "pairs");
        let config = LaunchConfig { cluster: [2, 1, 1], ..LaunchConfig::linear(6, 32) };
        assert_eq!(numbers(&device, &pairs, &config).unwrap(), [0, 1, 0, 1, 0, 1]);
        let error = numbers(&device, &pairs, &LaunchConfig::linear(6, 32)).unwrap_err().to_string();
        assert!(error.contains("demands [2, 1, 1]"), "{error}");
    }
}

#[test]
fn devices_before_9_0_refuse_clusters_and_tensor_maps_and_say_why() {
    for device in hopper(false) {
        let config = LaunchConfig { cluster: [2, 1, 1], ..LaunchConfig::linear(2, 32) };
        let error = kernel(&device, "meet").resident_blocks(&config).unwrap_err().to_string();
        assert!(error.contains(&device.spec().name) && error.contains("9.0"), "{error}");
        let boxes = Boxes { dims: &[8, 4], strides: &[8], sides: &[8, 4], swizzle: Swizzle::None };
        let error = zeros(&device, 32).tensor_map::<u32>(0, &boxes).unwrap_err().to_string();
        assert!(error.contains(&device.spec().name) && error.contains("9.0"), "{error}");
    }
}

#[test]
fn boxes_come_through_a_tensor_map_with_zeros_beyond_the_array() {
    for device in hopper(true) {
        // 21 columns and 6 rows at a distance of 24, from the fourth number on.
        let values: Vec<u32> = (0..4 + 24 * 6).map(|i| i + 1).collect();
        let mut memory = zeros(&device, values.len());
        memory.copy_from_host(&values).unwrap();
        let boxes = Boxes { dims: &[21, 6], strides: &[24], sides: &[8, 4], swizzle: Swizzle::None };
        let map = memory.tensor_map::<u32>(4, &boxes).unwrap();
        let copy = kernel(&device, "copy_box");
        for (x, y) in [(0, 0), (16, 4), (-3, -1), (100, 0), (7, 5)] {
            let mut out = zeros(&device, 32);
            // SAFETY: 32 numbers, and boxes of the memory above.
            unsafe {
                let out = out.write::<u32>(0, 32).unwrap();
                copy.launch(&LaunchConfig::linear(1, 32), (map, out, x, y)).unwrap();
            }
            let expected: Vec<u32> = (0..32)
                .map(|i| (x + i % 8, y + i / 8))
                .map(|(x, y)| if (0..21).contains(&x) && (0..6).contains(&y) { (5 + y * 24 + x) as u32 } else { 0 })
                .collect();
            assert_eq!(out.copy_to_host::<u32>(32).unwrap(), expected, "at ({x}, {y})");
        }
        assert!(memory.tensor_map::<u32>(4, &Boxes { dims: &[24, 6], ..boxes }).is_ok(), "up to the last number");
        let short = memory.tensor_map::<u32>(8, &boxes).unwrap_err().to_string();
        assert!(short.contains("kernel argument"), "{short}");
        let error = memory.tensor_map::<u32>(3, &boxes).unwrap_err().to_string();
        assert!(error.contains("multiple of 16"), "{error}");
    }
}

#[test]
fn tensor_maps_and_other_structs_of_their_size_are_told_apart() {
    for device in hopper(true) {
        let boxes = Boxes { dims: &[32], strides: &[], sides: &[32], swizzle: Swizzle::None };
        let mut out = zeros(&device, 32);
        let map = TensorMap::new(&device, DevicePtr::<u32>::from_address(1 << 20), &boxes).unwrap();
        let config = LaunchConfig::linear(1, 32);
        #[repr(C, align(64))]
        #[derive(Clone, Copy)]
        struct Other([u64; 16]);
        // SAFETY: laid out as the kernel's struct of the same name.
        warpsmith::kernel_struct!(unsafe Other);
        let (copy, other) = (kernel(&device, "copy_box"), kernel(&device, "take_other"));
        assert_eq!(copy.info().signature(), "copy_box(tensor map, *mut u32, i32, i32)");
        // SAFETY: what is not refused writes the 32 numbers of the output.
        unsafe {
            let wrong = copy.launch(&config, (Other([7; 16]), out.write::<u32>(0, 32).unwrap(), 0i32, 0i32));
            assert!(wrong.unwrap_err().to_string().contains("tensor map"));
            let wrong = other.launch(&config, (out.write::<u32>(0, 32).unwrap(), map));
            assert!(wrong.unwrap_err().to_string().contains("tensor map"), "in another's place");
            other.launch(&config, (Other([7; 16]), out.write::<u32>(0, 32).unwrap())).unwrap();
        }
        assert_eq!(out.copy_to_host::<u32>(32).unwrap(), [7; 32]);
    }
}
