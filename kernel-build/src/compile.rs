//! One source to one architecture: compilation, the rules its result must keep, and the agreement of what is read.

use crate::arch::Arch;
use crate::cubin::{self, CubinEntry};
use crate::image::{Compression, Format, Image, KernelInfo, Param, ParamType, Resources, Scalar, deflate};
use crate::log::{self, Assembled};
use crate::nvrtc::Nvrtc;
use crate::ptx::{self, PtxEntry, PtxParam};
use crate::source::Source;
use crate::{Error, Result, mangle};
use std::borrow::Cow;

/// Counts up when the options, the rules or the file form of this crate change, so that older results are not taken.
pub(crate) const RECIPE: u32 = 2;

/// A parameter block may have as many bytes; drivers before 12.1 take no more (CUDA 12.1 release notes).
const MAX_PARAM_BYTES: u32 = 4096;

/// What one source gives on one architecture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiled {
    /// The architecture.
    pub arch: Arch,
    /// The NVRTC that compiled it: major, minor.
    pub nvrtc: (u32, u32),
    /// Its kernels, sorted by name, each with the resources on this architecture.
    pub kernels: Vec<KernelInfo>,
    /// Machine code, then PTX.
    pub images: Vec<Image>,
    /// What the compiler warned of; empty as a rule.
    pub warnings: String,
}

/// Compiles `source` for `arch` and checks the result.
///
/// # Errors
/// [`Error::Compile`] with NVRTC's log; [`Error::Rule`] where a kernel spills registers, has no launch bounds, takes
/// more than 4,096 bytes of parameters, or where the assembler serialised its tensor-core pipeline (C75xx);
/// [`Error::Format`] where PTX, machine code and log do not agree.
pub fn compile(nvrtc: &Nvrtc, source: &Source, arch: Arch) -> Result<Compiled> {
    compile_with(nvrtc, source, arch, Lines::Kept)
}

/// Whether images have tables of source lines, for profilers and reports: about half of their size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lines {
    Kept,
    Left,
}

pub(crate) fn compile_with(nvrtc: &Nvrtc, source: &Source, arch: Arch, lines: Lines) -> Result<Compiled> {
    let mut options: Vec<String> =
        [&format!("--gpu-architecture={arch}"), "--std=c++17", "-Xptxas", "-v"].map(str::to_owned).to_vec();
    if lines == Lines::Kept {
        options.push("-lineinfo".to_owned());
    }
    options.extend(source.options.iter().cloned());
    let mut output = nvrtc.compile(source, &options)?;
    let context = |error: Error| match error {
        Error::Rule(text) => Error::Rule(format!("{} for {arch}: {text}", source.label)),
        Error::Format(text) => Error::Format(format!("{} for {arch}: {text}", source.label)),
        other => other,
    };
    let report = log::read(&output.log).map_err(context)?;
    let ptx_entries = ptx::entries(&output.ptx).map_err(context)?;
    let mut cubin_entries = cubin::entries(&output.cubin, arch.major).map_err(context)?;
    let mut kernels = Vec::with_capacity(ptx_entries.len());
    for entry in &ptx_entries {
        let machine = cubin_entries.remove(&entry.name);
        let machine =
            machine.ok_or_else(|| context(Error::Format(format!("{} is in the PTX but not assembled", entry.name))))?;
        kernels.push(kernel(entry, &machine, report.entries.get(&entry.name), arch).map_err(context)?);
    }
    if let Some(name) = cubin_entries.keys().next() {
        return Err(context(Error::Format(format!("{name} is in the machine code but not in the PTX"))));
    }
    if kernels.is_empty() {
        return Err(context(Error::Rule(
            "there is no kernel; a template needs an explicit instantiation (`template __global__ void f<float>(…);`)"
                .to_owned(),
        )));
    }
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    if let Some(pair) = kernels.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(context(Error::Rule(format!(
            "two kernels are named {}; overloads need names of their own",
            pair[0].name
        ))));
    }
    cubin::blank_ptx_text(&mut output.cubin).map_err(context)?;
    let ptx = relative_files(&output.ptx);
    let image = |format, bytes: &[u8]| Image {
        arch,
        format,
        len: bytes.len() as u32,
        compression: Compression::Deflate,
        bytes: Cow::Owned(deflate(bytes)),
    };
    let images = vec![image(Format::Cubin, &output.cubin), image(Format::Ptx, ptx.as_bytes())];
    Ok(Compiled { arch, nvrtc: nvrtc.version(), kernels, images, warnings: report.warnings })
}

/// NVRTC writes the current folder before relative file names; the line table should not depend on it.
fn relative_files(ptx: &str) -> String {
    match std::env::current_dir() {
        Ok(folder) => ptx.replace(&format!("\"{}/", folder.display()), "\""),
        Err(_) => ptx.to_owned(),
    }
}

fn kernel(entry: &PtxEntry, machine: &CubinEntry, report: Option<&Assembled>, arch: Arch) -> Result<KernelInfo> {
    let name = &entry.name;
    let max_threads = entry.max_threads.ok_or_else(|| {
        Error::Rule(format!(
            "{name} has no __launch_bounds__: the compiler may give it more registers than a block can have"
        ))
    })?;
    let disagree = |what: &str, ptx: &dyn std::fmt::Debug, machine: &dyn std::fmt::Debug| {
        Err(Error::Format(format!("{name}: {what} of the PTX ({ptx:?}) and of the machine code ({machine:?}) differ")))
    };
    let mut end = machine.param_base;
    let place = |param: &PtxParam| {
        let at = end.next_multiple_of(param.align.max(1));
        end = at + param.size;
        (at - machine.param_base, param.size)
    };
    let layout: Vec<(u32, u32)> = entry.params.iter().map(place).collect();
    if layout != machine.params {
        return disagree("parameters (offset, size)", &layout, &machine.params);
    }
    let end = end - machine.param_base;
    if machine.param_bytes < end {
        return disagree("parameter bytes", &end, &machine.param_bytes);
    }
    if end > MAX_PARAM_BYTES {
        return Err(Error::Rule(format!("{name} takes {end} bytes of parameters; {MAX_PARAM_BYTES} is the limit")));
    }
    if entry.required_block != machine.required_block {
        return disagree("block sizes", &entry.required_block, &machine.required_block);
    }
    if entry.required_block.is_none() && machine.max_threads != Some(max_threads) {
        return disagree("launch bounds", &max_threads, &machine.max_threads);
    }
    if machine.registers == 0 {
        return Err(Error::Format(format!("{name}: the machine code does not say how many registers it takes")));
    }
    if let Some(report) = report
        && (report.registers, report.static_shared) != (machine.registers, machine.static_shared)
    {
        return Err(Error::Format(format!(
            "{name}: the assembler reports {} registers and {} bytes of shared memory, the machine code {} and {}",
            report.registers, report.static_shared, machine.registers, machine.static_shared
        )));
    }
    let resources = Resources {
        arch,
        registers: machine.registers,
        static_shared: machine.static_shared,
        local: machine.local,
        max_threads,
        required_block: entry.required_block.unwrap_or([0; 3]),
        required_cluster: entry.required_cluster.unwrap_or([0; 3]),
    };
    if resources.block_registers(max_threads) > 65_536 {
        return Err(Error::Rule(format!(
            "{name}: {} registers × {max_threads} threads are more than the 65,536 of a multiprocessor",
            resources.registers
        )));
    }
    let signature = mangle::signature(name).filter(|signature| fits(&signature.params, &entry.params));
    let types = |index: usize| match &signature {
        Some(signature) => signature.params[index],
        None => match &entry.params[index] {
            PtxParam { float: true, size: 4, .. } => ParamType::Scalar(Scalar::F32),
            PtxParam { float: true, size: 8, .. } => ParamType::Scalar(Scalar::F64),
            _ => ParamType::Bytes,
        },
    };
    let params = entry.params.iter().enumerate().map(|(index, param)| Param {
        ty: types(index),
        offset: param.offset,
        size: param.size,
        align: param.align,
    });
    Ok(KernelInfo {
        params: params.collect(),
        name: Cow::Owned(signature.as_ref().map_or_else(|| name.clone(), |signature| signature.name.clone())),
        entry: Cow::Owned(name.clone()),
        resources: Cow::Owned(vec![resources]),
    })
}

/// Whether the types of a mangled name have the sizes that the PTX gives.
fn fits(types: &[ParamType], params: &[PtxParam]) -> bool {
    types.len() == params.len()
        && types.iter().zip(params).all(|(ty, param)| match ty {
            ParamType::Pointer { .. } => param.size == 8 && !param.bytes,
            ParamType::Scalar(scalar) => param.size == scalar.size(),
            ParamType::TensorMap => param.size == 128,
            ParamType::Bytes => true,
        })
}

/// Joins the results of one source for several architectures into the table of a module.
///
/// # Errors
/// [`Error::Rule`] where a kernel's parameters differ between architectures.
pub(crate) fn merge(compiled: &[Compiled]) -> Result<Vec<KernelInfo>> {
    let mut kernels: Vec<KernelInfo> = Vec::new();
    for kernel in compiled.iter().flat_map(|compiled| &compiled.kernels) {
        match kernels.iter_mut().find(|known| known.name == kernel.name) {
            Some(known) if known.params == kernel.params && known.entry == kernel.entry => {
                known.resources.to_mut().extend(kernel.resources.iter());
            }
            Some(known) => {
                return Err(Error::Rule(format!(
                    "a kernel's parameters depend on the architecture: {} and {}",
                    known.signature(),
                    kernel.signature()
                )));
            }
            None => kernels.push(kernel.clone()),
        }
    }
    kernels.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(kernels)
}
