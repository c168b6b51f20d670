//! The families, their kernels and their checks, which are the files of `tests/`.

use warpsmith::device::cuda::kernel_table::Module;
use warpsmith::kernels::images;

/// Checks by name, as a file has them.
type Checks = &'static [(&'static str, fn())];

/// A family of kernels.
pub struct Family {
    /// Its name, that of its folder in `src/kernels`.
    pub name: &'static str,
    /// Its kernels.
    pub modules: &'static [&'static Module],
    /// Against f64 references.
    files: &'static [Checks],
    /// To the bit, of those in `tests/devices_agree.rs`.
    exact: &'static [&'static str],
}

impl Family {
    /// Its checks, with their names.
    pub fn checks(&self) -> impl Iterator<Item = (&'static str, fn())> {
        let exact = devices_agree::CHECKS.iter().filter(|(name, _)| self.exact.contains(name));
        self.files.iter().flat_map(|checks| checks.iter()).chain(exact).copied()
    }
}

macro_rules! files {
    ($($module:ident = $file:literal),+ $(,)?) => {
        $(
            #[path = $file]
            #[allow(dead_code, unused_imports)] // what runs on the CPU alone is no part of this program
            pub mod $module;
        )+
    };
}

files! {
    attention = "../../tests/attention.rs",
    batchnorm = "../../tests/batchnorm.rs",
    conv = "../../tests/conv.rs",
    cuda_reports = "../../tests/cuda_reports.rs",
    devices_agree = "../../tests/devices_agree.rs",
    elementwise = "../../tests/elementwise.rs",
    gemm = "../../tests/gemm.rs",
    index = "../../tests/index.rs",
    layernorm = "../../tests/layernorm.rs",
    losses = "../../tests/losses.rs",
    optim = "../../tests/optim.rs",
    pool = "../../tests/pool.rs",
    reduce = "../../tests/reduce.rs",
    softmax_xent = "../../tests/softmax_xent.rs",
}

/// All of them.
pub const FAMILIES: &[Family] = &[
    Family {
        name: "elementwise",
        modules: &[&images::ELEMENTWISE, &images::ELEMENTWISE_ANY],
        files: &[elementwise::CHECKS, losses::CHECKS],
        exact: &["casts", "relations_selection_and_integers", "copies_between_layouts"],
    },
    Family {
        name: "reduce",
        modules: &[&images::REDUCE],
        files: &[reduce::CHECKS, reduce::along::CHECKS, reduce::walks::CHECKS],
        exact: &["reductions_of_whole_numbers"],
    },
    Family { name: "sort", modules: &[&images::SORT], files: &[], exact: &["sorting"] },
    Family {
        name: "index",
        modules: &[&images::INDEX],
        files: &[index::CHECKS, cuda_reports::CHECKS],
        exact: &["indexing", "row_sparse_gradients", "copies_between_layouts"],
    },
    Family { name: "pool", modules: &[&images::POOL], files: &[pool::CHECKS], exact: &[] },
    Family { name: "batchnorm", modules: &[&images::BATCHNORM], files: &[batchnorm::CHECKS], exact: &[] },
    Family { name: "layernorm", modules: &[&images::LAYERNORM], files: &[layernorm::CHECKS], exact: &[] },
    Family { name: "softmax_xent", modules: &[&images::SOFTMAX_XENT], files: &[softmax_xent::CHECKS], exact: &[] },
    Family {
        name: "attention",
        modules: &[&images::ATTENTION, &images::ATTENTION_MMA],
        files: &[attention::CHECKS],
        exact: &[],
    },
    Family {
        name: "gemm",
        modules: &[&images::GEMM, &images::GEMM_WGMMA],
        files: &[gemm::CHECKS, gemm::device::CHECKS, gemm::hopper::CHECKS],
        exact: &[],
    },
    Family {
        name: "conv",
        modules: &[&images::CONV, &images::CONV_NHWC],
        files: &[conv::CHECKS, conv::device::CHECKS],
        exact: &[],
    },
    Family { name: "random", modules: &[&images::RANDOM], files: &[], exact: &["random_bits", "sampling_by_weight"] },
    Family {
        name: "optimizer",
        modules: &[&images::OPTIMIZER],
        files: &[optim::CHECKS, optim::on_device::CHECKS],
        exact: &["optimizers"],
    },
];
