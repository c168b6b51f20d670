//! The table of embedded kernels: what the families name is there, for every architecture, within every limit.
//! Needs NVRTC at build time (`cargo xtask nvrtc`), and no GPU.

use std::path::Path;
use warpsmith::Device;
use warpsmith::device::cuda::kernel_table::{Arch, Contents, Format, KernelInfo, Module};
use warpsmith::kernels::images;

fn compiled(module: &Module) -> (&[KernelInfo], Vec<(Arch, Format)>) {
    match &module.contents {
        Contents::Compiled { kernels, images, .. } => {
            (kernels, images.iter().map(|image| (image.arch, image.format)).collect())
        }
        Contents::Source { .. } => {
            panic!("module {} is embedded as source; run `cargo xtask nvrtc` and build again", module.name)
        }
    }
}

#[test]
fn every_module_carries_machine_code_for_its_architectures_and_general_ptx() {
    let names: Vec<&str> = images::MODULES.iter().map(|module| module.name.as_ref()).collect();
    assert!(names.contains(&"elementwise") && names.contains(&"gemm"), "{names:?}");
    for module in images::MODULES {
        let (_, images) = compiled(module);
        let general: Vec<Arch> = images
            .iter()
            .filter(|(arch, format)| *format == Format::Ptx && !arch.specific)
            .map(|image| image.0)
            .collect();
        // But for kernels of one chip's own instructions, beside which others are carried.
        let expected = usize::from(module.name != "gemm_wgmma");
        assert_eq!(general.len(), expected, "{}: one PTX is the fallback of chips to come", module.name);
        assert!(!images.is_empty(), "{}: nothing is carried", module.name);
        for (arch, format) in &images {
            let carried = |format| images.contains(&(*arch, format));
            assert!(carried(Format::Cubin), "{}: {format:?} for {arch} without machine code", module.name);
            assert!(!arch.specific || carried(Format::Ptx), "{}: no PTX for {arch}", module.name);
        }
    }
}

#[test]
fn every_kernel_can_be_launched_with_the_block_that_it_is_compiled_for() {
    for module in images::MODULES {
        let (kernels, images) = compiled(module);
        for kernel in kernels {
            for resources in kernel.resources.iter() {
                let what = format!("{} for {}", kernel.name, resources.arch);
                assert!(images.contains(&(resources.arch, Format::Cubin)), "{what}: no image");
                assert!((1..=1024).contains(&resources.max_threads), "{what}: {} threads", resources.max_threads);
                assert!((1..=255).contains(&resources.registers), "{what}: {} registers", resources.registers);
                let registers = resources.block_registers(resources.max_threads);
                assert!(registers <= 65_536, "{what}: {registers} registers a block");
                // Static shared memory beyond this needs no opt-in that could be given: it does not load.
                assert!(resources.static_shared <= 48 << 10, "{what}: {} bytes", resources.static_shared);
            }
            let end = kernel.params.last().map_or(0, |param| param.offset + param.size);
            assert!(end <= 4096, "{}: {end} bytes of parameters", kernel.name);
        }
    }
}

/// The kernels' names in `kernels/elementwise.cu` are given by the Rust side: `Name "name" [operands] => …`.
#[test]
fn every_elementwise_function_has_its_kernel_for_every_float_type() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/kernels/elementwise/functions");
    let mut names = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for before in text.match_indices("\" [").map(|(at, _)| &text[..at]) {
            names.push(before.rsplit('"').next().unwrap().to_owned());
        }
    }
    assert!(names.len() > 90, "only {} functions were found", names.len());
    for name in &names {
        for dtype in ["f32", "f16", "bf16"] {
            let kernel = images::ELEMENTWISE.kernel(&format!("map<f::{name}, {dtype}>"));
            let kernel = kernel.unwrap_or_else(|| panic!("kernels/elementwise.cu has no functor {name} for {dtype}"));
            let pointer = format!("*const {dtype}");
            let signature = format!(
                "map<f::{name}, {dtype}>([32 bytes aligned to 8], *mut {dtype}, {pointer}, {pointer}, {pointer}, {pointer})"
            );
            assert_eq!(kernel.signature(), signature);
        }
    }
}

#[test]
fn an_absent_device_is_an_error_that_names_it_and_no_panic() {
    let error = Device::cuda(4096).unwrap_err().to_string();
    assert!(error.starts_with("CUDA device 4096: "), "{error}");
}
