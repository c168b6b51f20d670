//! What users run is machine code, what the virtual GPU runs is PTX: both have the same kernels, every plan fits them, and
//! the tensor cores' instructions are where the plans say. Needs NVRTC at build time (`cargo xtask nvrtc`), and no GPU.

use std::collections::{BTreeMap, BTreeSet};
use virtual_gpu::model::{DeviceModel, MODELS};
use warpsmith::DType;
use warpsmith::device::cuda::kernel_table::{Contents, Format, Image, KernelInfo, Module, Resources};
use warpsmith::kernels::attention::plan::AttentionPlan;
use warpsmith::kernels::conv::plan::gpu::{GatherTile, THREADS, TILES as CONV, vector_kernels};
use warpsmith::kernels::gemm::plan::gpu::{TILES as GEMM, Unit};
use warpsmith::kernels::images;
use warpsmith::kernels::layernorm::plan::{RowPlan, Rows};
use warpsmith::kernels::named::NamedKernel;
use warpsmith::kernels::softmax_xent::SoftmaxDesc;
use warpsmith::kernels::softmax_xent::plan::{Held, LossPlan, SoftmaxPlan};

fn compiled(module: &'static Module) -> (&'static [KernelInfo], &'static [Image]) {
    match &module.contents {
        Contents::Compiled { kernels, images, .. } => (kernels, images),
        Contents::Source { .. } => {
            panic!("module {} is embedded as source; run `cargo xtask nvrtc` and build again", module.name)
        }
    }
}

fn images_of(module: &'static Module, format: Format) -> impl Iterator<Item = &'static Image> {
    compiled(module).1.iter().filter(move |image| image.format == format)
}

#[test]
fn machine_code_has_the_entries_parameters_and_registers_of_the_ptx_and_of_the_table() {
    let mut kernels = 0;
    for module in images::MODULES {
        let (table, _) = compiled(module);
        for image in images_of(module, Format::Cubin) {
            let what = format!("{} for {}", module.name, image.arch);
            let code = image.machine_code().unwrap_or_else(|error| panic!("{what}: {error}"));
            let sizes: BTreeMap<String, Vec<u32>> = code
                .iter()
                .map(|one| (one.entry.clone(), one.params.iter().map(|(_, size)| *size).collect()))
                .collect();
            assert_eq!(sizes.len(), code.len(), "{what}: an entry twice");
            kernels += code.len();
            // The PTX beside it where it is carried; the table, which was read from this architecture's, always.
            for ptx in images_of(module, Format::Ptx).filter(|ptx| ptx.arch == image.arch) {
                let declared: BTreeMap<String, Vec<u32>> = ptx.ptx_entries().unwrap().into_iter().collect();
                assert_eq!(sizes, declared, "{what}: machine code and PTX");
            }
            let of_arch = |kernel: &&KernelInfo| kernel.resources.iter().any(|one| one.arch == image.arch);
            let declared: BTreeMap<String, Vec<u32>> = table
                .iter()
                .filter(of_arch)
                .map(|kernel| (kernel.entry.to_string(), kernel.params.iter().map(|param| param.size).collect()))
                .collect();
            assert_eq!(sizes, declared, "{what}: machine code and table");
            for one in &code {
                let kernel = table.iter().find(|kernel| kernel.entry == one.entry).unwrap();
                let known = kernel.resources.iter().find(|known| known.arch == image.arch).unwrap();
                assert_eq!((one.registers, one.static_shared), (known.registers, known.static_shared), "{what}");
                assert!(one.instructions > 8, "{what}: {} has no code", one.entry);
            }
        }
    }
    assert!(kernels > 3000, "{kernels} kernels of all architectures");
}

/// What a plan asks of a kernel.
struct Launch {
    module: &'static Module,
    kernel: String,
    threads: u32,
    /// Dynamic shared memory.
    shared: u32,
    /// The devices that may take the plan.
    models: Vec<&'static DeviceModel>,
}

impl Launch {
    fn new(module: &'static Module, kernel: String, threads: u32) -> Self {
        Launch { module, kernel, threads, shared: 0, models: MODELS.iter().collect() }
    }

    fn check(&self) {
        let Launch { module, kernel, threads, shared, models } = self;
        let found = module.kernel(kernel).unwrap_or_else(|| panic!("{} has no kernel {kernel}", module.name));
        assert!(!found.resources.is_empty());
        for resources in found.resources.iter() {
            let &Resources { arch, max_threads, static_shared, .. } = resources;
            assert!(*threads <= max_threads, "{kernel} for {arch}: {threads} threads, of {max_threads}");
            let registers = resources.block_registers(*threads);
            assert!(registers <= 65_536, "{kernel} for {arch}: {registers} registers a block");
            let runs = |model: &&&DeviceModel| arch.machine_code_runs_on(model.compute.0 as u8, model.compute.1 as u8);
            for model in models.iter().filter(runs) {
                let bytes = static_shared + shared;
                assert!(bytes <= model.shared_per_block_optin, "{kernel}: {bytes} bytes on {}", model.name);
            }
        }
    }
}

const FLOATS: [(DType, &str, u32); 3] = [(DType::F32, "f32", 4), (DType::F16, "f16", 8), (DType::BF16, "bf16", 8)];

fn conv_names(tile: &'static GatherTile) -> impl Iterator<Item = &'static str> {
    tile.kernels.iter().map(NamedKernel::name)
}

/// The dtypes that convolutions of channels last have kernels for.
const CHANNELS_LAST: [DType; 2] = [DType::F16, DType::BF16];

fn channels_last_names(dtype: DType) -> impl Iterator<Item = &'static str> {
    vector_kernels(dtype).expect("kernels of the dtype").iter().map(NamedKernel::name)
}

/// The kernels of a plan of attention, of both directions, with what a block of them takes.
fn attention(plan: AttentionPlan, forward: bool, ty: &str) -> Vec<(String, u32)> {
    let tile = match plan {
        AttentionPlan::Ordinary(tile) => format!("<{ty}, {}, {}, {}>", tile.columns, tile.queries, tile.keys),
        AttentionPlan::Tensor(tile) => format!("<{ty}, {}, {}>", tile.columns, tile.against),
    };
    if forward {
        vec![(format!("forward{tile}"), plan.forward_bytes())]
    } else {
        vec![
            (format!("backward_keys{tile}"), plan.keys_bytes()),
            (format!("backward_queries{tile}"), plan.queries_bytes()),
        ]
    }
}

#[test]
fn every_plan_s_threads_registers_and_shared_memory_fit_its_kernel_on_every_architecture() {
    let mut launches = Vec::new();
    for tile in &GEMM {
        for (names, _) in tile.kernels.iter().zip([tile.narrow, true]).filter(|(_, exists)| *exists) {
            for name in names {
                let models =
                    MODELS.iter().filter(|model| tile.dynamic_shared <= model.shared_per_block_optin).collect();
                let launch = Launch::new(tile.unit.module(), name.name().to_owned(), tile.threads);
                launches.push(Launch { shared: tile.dynamic_shared, models, ..launch });
            }
        }
    }
    for name in CONV.iter().flat_map(conv_names) {
        launches.push(Launch::new(&images::CONV, name.to_owned(), THREADS));
    }
    for name in CHANNELS_LAST.into_iter().flat_map(channels_last_names) {
        launches.push(Launch::new(&images::CONV_NHWC, name.to_owned(), THREADS));
    }
    for (dtype, ty, wide) in FLOATS {
        for dim in [1, 32, 33, 64, 65, 128, 129, 256] {
            for (tensor, forward) in [(false, false), (false, true), (true, false), (true, true)] {
                let tensor = tensor && dtype != DType::F32;
                let plan = if forward { AttentionPlan::forward } else { AttentionPlan::backward };
                let plan = plan(dim, tensor).unwrap();
                let tensor = matches!(plan, AttentionPlan::Tensor(_));
                let module = if tensor { &images::ATTENTION_MMA } else { &images::ATTENTION };
                for (name, shared) in attention(plan, forward, ty) {
                    launches.push(Launch { shared, ..Launch::new(module, name, plan.threads()) });
                }
            }
        }
        for width in (1..20_000).step_by(61).chain([1, 256, 257, 512, 513, 8192, 16_384, 16_385, 262_144]) {
            for (vector, lanes) in [(false, 1), (true, wide)] {
                for (operands, inner, end) in [(1, 1, ""), (2, 1, "_backward"), (1, 3, ""), (2, 3, "_backward")] {
                    let desc = SoftmaxDesc { outer: 7, width, inner, log: false };
                    let plan = SoftmaxPlan::new(&desc, operands, vector);
                    let name = match plan.held {
                        Held::Eight => format!("softmax_rows{end}<{ty}, {lanes}, 8>"),
                        Held::Sixteen => format!("softmax_rows{end}<{ty}, {lanes}, 16>"),
                        Held::Nowhere => format!("softmax_rereading{end}<{ty}, {lanes}>"),
                        Held::Columns => format!("softmax_columns{end}<{ty}>"),
                    };
                    launches.push(Launch::new(&images::SOFTMAX_XENT, name, plan.threads));
                }
                let loss = LossPlan::new(7, width, lanes as usize);
                for name in ["cross_entropy", "cross_entropy_gradient"] {
                    let name = format!("{name}<{ty}, {lanes}>");
                    launches.push(Launch::new(&images::SOFTMAX_XENT, name, loss.threads));
                }
                let plan = RowPlan::forward(7, width, vector);
                let held = |name: &str, warp: &str, block: &str, rows| match rows {
                    Rows::Warp8 => format!("{name}<{ty}, {lanes}, true, 8>"),
                    Rows::Warp16 | Rows::Warp32 => format!("{name}<{ty}, {lanes}, true, {warp}>"),
                    Rows::Block8 | Rows::Block16 => format!("{name}<{ty}, {lanes}, false, {block}>"),
                    Rows::Rereading => format!("{name}_rereading<{ty}, {lanes}>"),
                };
                launches.push(Launch::new(&images::LAYERNORM, held("forward", "32", "16", plan.rows), plan.threads));
                let plan = RowPlan::backward(7, width, vector);
                let block = if vector { "16" } else { "8" };
                launches.push(Launch::new(&images::LAYERNORM, held("backward", "16", block, plan.rows), plan.threads));
            }
        }
    }
    launches.iter().for_each(Launch::check);
    let kernels: BTreeSet<&str> = launches.iter().map(|launch| launch.kernel.as_str()).collect();
    assert!(kernels.len() > 200, "{} kernels of plans", kernels.len());
}

/// The tensor core instructions of a kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Products {
    None,
    Warp,
    Warpgroup,
}

#[test]
fn the_tensor_cores_instructions_are_in_the_machine_code_of_the_plans_that_use_them_and_in_no_other() {
    let mut expected: BTreeMap<(&str, String), Products> = BTreeMap::new();
    for tile in &GEMM {
        let products = match tile.unit {
            Unit::Simt => Products::None,
            Unit::Mma(_) => Products::Warp,
            Unit::Wgmma(_) => Products::Warpgroup,
        };
        for kernel in tile.kernels.iter().flatten() {
            expected.insert((tile.unit.module().name.as_ref(), kernel.name().to_owned()), products);
        }
    }
    for tile in CONV.iter().filter(|tile| tile.dtype != DType::F32) {
        expected.extend(conv_names(tile).map(|name| (("conv", name.to_owned()), Products::Warp)));
    }
    for name in CHANNELS_LAST.into_iter().flat_map(channels_last_names) {
        expected.insert(("conv_nhwc", name.to_owned()), Products::Warp);
    }
    for ty in ["f16", "bf16"] {
        for dim in 1..=256 {
            for (plan, forward) in
                [(AttentionPlan::forward(dim, true), true), (AttentionPlan::backward(dim, true), false)]
            {
                let plan = plan.unwrap();
                if matches!(plan, AttentionPlan::Tensor(_)) {
                    let names = attention(plan, forward, ty).into_iter();
                    expected.extend(names.map(|(name, _)| (("attention_mma", name), Products::Warp)));
                }
            }
        }
    }
    let mut seen = BTreeMap::new();
    for module in images::MODULES {
        let (table, _) = compiled(module);
        for image in images_of(module, Format::Cubin) {
            for one in image.machine_code().unwrap() {
                let kernel = table.iter().find(|kernel| kernel.entry == one.entry).unwrap();
                let found = match (one.warp_products, one.warpgroup_products) {
                    (0, 0) => Products::None,
                    (1.., 0) => Products::Warp,
                    (0, 1..) => Products::Warpgroup,
                    both => panic!("{}: {both:?}", kernel.name),
                };
                let wanted = expected.get(&(module.name.as_ref(), kernel.name.to_string()));
                assert_eq!(found, wanted.copied().unwrap_or(Products::None), "{} for {}", kernel.name, image.arch);
                *seen.entry((found == Products::None, image.arch)).or_insert(0) += 1;
            }
        }
    }
    // Machine code of every architecture, with and without.
    assert!(seen.len() == 6 && seen.values().all(|&kernels| kernels > 50), "{seen:?}");
}
