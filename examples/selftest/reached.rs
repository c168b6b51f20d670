//! Which kernels of this build were launched, and which were not though this GPU has them.

use crate::families::{FAMILIES, gemm};
use std::fmt;
use warpsmith::device::cuda::kernel_table::{Arch, Contents, Format, KernelInfo, Module};
use warpsmith::device::cuda::{CudaDevice, GpuSpec};
use warpsmith::kernels::gemm::plan::gpu::TILES;
use warpsmith::kernels::images;

/// The kernels that were launched, and those that were not.
pub struct Reached {
    /// How many were launched at least once.
    pub launched: usize,
    /// Those that were not.
    pub missing: Vec<String>,
    /// Those that this GPU has no use for: compiled for other chips, or tiles that fit other chips better.
    elsewhere: Vec<String>,
    /// Whether every family ran, so that a module without a family would be missed.
    all: bool,
}

impl Reached {
    /// Of the families of these names; of all if none is named.
    pub fn of(device: &CudaDevice, only: &[&String]) -> Self {
        let chosen = |module: &Module| {
            let of = |name: &str| only.iter().any(|only| *only == name);
            only.is_empty() || FAMILIES.iter().any(|f| of(f.name) && f.modules.iter().any(|m| m.name == module.name))
        };
        let mut reached = Reached { launched: 0, missing: vec![], elsewhere: vec![], all: only.is_empty() };
        for module in images::MODULES.iter().copied().filter(|module| chosen(module)) {
            let counts = device.launches(module);
            let Contents::Compiled { kernels, .. } = &module.contents else {
                // Embedded as source: only what was launched is known.
                reached.launched += counts.values().filter(|&&count| count > 0).count();
                continue;
            };
            for kernel in kernels.iter() {
                let name = format!("{}: {}", module.name, kernel.name);
                if counts.get(&*kernel.name).is_some_and(|&count| count > 0) {
                    reached.launched += 1;
                } else if exists(module, kernel, device.spec()) {
                    reached.missing.push(name);
                } else {
                    reached.elsewhere.push(name);
                }
            }
        }
        reached
    }
}

impl fmt::Display for Reached {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.elsewhere.is_empty() {
            writeln!(f, "{} kernels are for other GPUs: {}", self.elsewhere.len(), self.elsewhere.join("; "))?;
        }
        if !self.missing.is_empty() {
            writeln!(f, "NOT LAUNCHED: {}", self.missing.join("; "))?;
        }
        if !self.all {
            writeln!(f, "only some families ran: what others launch does not count")?;
        }
        Ok(())
    }
}

/// Whether the GPU has the kernel: it is in the image that the GPU loads, and some plan for the GPU names it.
fn exists(module: &Module, kernel: &KernelInfo, spec: &GpuSpec) -> bool {
    let Contents::Compiled { images, .. } = &module.contents else { return true };
    let (major, minor) = spec.compute_capability;
    let compiled = |runs: &dyn Fn(Arch) -> bool| kernel.resources.iter().any(|resources| runs(resources.arch));
    let own = images.iter().any(|i| i.format == Format::Cubin && i.arch.machine_code_runs_on(major, minor));
    let here = if own {
        compiled(&|arch| arch.machine_code_runs_on(major, minor))
    } else {
        compiled(&|arch| arch.ptx_runs_on(major, minor))
    };
    let tile = TILES.iter().find(|tile| tile.kernels.iter().flatten().any(|known| known.name() == kernel.name));
    here && tile.is_none_or(|tile| gemm::device::taken(tile, spec))
}
