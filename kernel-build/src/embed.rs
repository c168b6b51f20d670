//! The Rust text that a build script generates: the table of kernels, with images beside it.

use crate::arch::Arch;
use crate::image::{Compression, Contents, Format, Image, KernelInfo, Module, Param, ParamType, Resources};
use crate::{Error, Result};
use std::fmt::Write as _;
use std::path::Path;

/// The generated file's name in `OUT_DIR`.
pub(crate) const FILE: &str = "warpsmith_kernels.rs";

/// Writes the images and [`FILE`] into `folder`.
///
/// The text names its types `kernel_table::…`; the macro that includes it says where that is.
pub(crate) fn write(folder: &Path, modules: &[(Module, String)]) -> Result<()> {
    let mut text = String::new();
    let mut names = Vec::new();
    for (module, label) in modules {
        let constant = constant_name(&module.name);
        let contents = match &module.contents {
            Contents::Compiled { nvrtc, kernels, images } => {
                let kernels: String = kernels.iter().map(kernel).collect();
                let mut list = String::new();
                for image in images.iter() {
                    let file = image_file(&module.name, image);
                    save(&folder.join(&file), &image.bytes)?;
                    list += &image_text(image, &file);
                }
                format!(
                    "kernel_table::Contents::Compiled {{ nvrtc: {nvrtc:?}, kernels: {BORROWED}(&[\n{kernels}]), \
                     images: {BORROWED}(&[\n{list}]) }}"
                )
            }
            Contents::Source { len, bytes } => {
                let file = format!("{}.source", module.name);
                save(&folder.join(&file), bytes)?;
                format!("kernel_table::Contents::Source {{ len: {len}, bytes: {} }}", included(&file))
            }
        };
        let _ = write!(
            text,
            "/// The kernels of `{label}`.\n#[allow(dead_code)]\npub static {constant}: kernel_table::Module = kernel_table::Module {{ \
             name: {BORROWED}({:?}), contents: {contents} }};\n",
            module.name
        );
        names.push(format!("&{constant}"));
    }
    let _ = write!(
        text,
        "/// Every module of this crate.\n#[allow(dead_code)]\npub static MODULES: &[&kernel_table::Module] = &[{}];\n",
        names.join(", ")
    );
    save(&folder.join(FILE), text.as_bytes())
}

const BORROWED: &str = "::std::borrow::Cow::Borrowed";

/// Leaves a file alone that already holds the bytes, so that nothing is rebuilt for its time stamp.
fn save(path: &Path, bytes: &[u8]) -> Result<()> {
    if std::fs::read(path).is_ok_and(|known| known == bytes) {
        return Ok(());
    }
    std::fs::write(path, bytes).map_err(Error::io(path))
}

fn constant_name(module: &str) -> String {
    let name: String =
        module.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' }).collect();
    if name.starts_with(|c: char| c.is_ascii_digit()) { format!("_{name}") } else { name }
}

fn image_file(module: &str, image: &Image) -> String {
    let extension = match image.format {
        Format::Cubin => "cubin",
        Format::Ptx => "ptx",
    };
    let compression = match image.compression {
        Compression::Deflate => "deflate",
        Compression::Lzma => "lzma",
    };
    format!("{module}.{}.{extension}.{compression}", image.arch)
}

fn included(file: &str) -> String {
    format!("{BORROWED}(include_bytes!(concat!(env!(\"OUT_DIR\"), \"/{file}\")))")
}

fn image_text(image: &Image, file: &str) -> String {
    format!(
        "kernel_table::Image {{ arch: {}, format: kernel_table::Format::{:?}, len: {}, \
         compression: kernel_table::Compression::{:?}, bytes: {} }},\n",
        arch(image.arch),
        image.format,
        image.len,
        image.compression,
        included(file)
    )
}

fn arch(arch: Arch) -> String {
    format!("kernel_table::Arch::new({}, {}, {})", arch.major, arch.minor, arch.specific)
}

fn kernel(kernel: &KernelInfo) -> String {
    let params: String = kernel.params.iter().map(param).collect();
    let resources: String = kernel.resources.iter().map(resources).collect();
    format!(
        "kernel_table::KernelInfo {{ name: {BORROWED}({:?}), entry: {BORROWED}({:?}), params: {BORROWED}(&[{params}]), \
         resources: {BORROWED}(&[{resources}]) }},\n",
        kernel.name, kernel.entry
    )
}

fn param(param: &Param) -> String {
    let ty = match param.ty {
        ParamType::Bytes => "Bytes".to_owned(),
        ParamType::TensorMap => "TensorMap".to_owned(),
        ParamType::Scalar(scalar) => format!("Scalar(kernel_table::Scalar::{scalar:?})"),
        ParamType::Pointer { to, mutable } => {
            let to = to.map_or("None".to_owned(), |scalar| format!("Some(kernel_table::Scalar::{scalar:?})"));
            format!("Pointer {{ to: {to}, mutable: {mutable} }}")
        }
    };
    format!(
        "kernel_table::Param {{ ty: kernel_table::ParamType::{ty}, offset: {}, size: {}, align: {} }}, ",
        param.offset, param.size, param.align
    )
}

fn resources(resources: &Resources) -> String {
    format!(
        "kernel_table::Resources {{ arch: {}, registers: {}, static_shared: {}, local: {}, max_threads: {}, \
         required_block: {:?}, required_cluster: {:?} }}, ",
        arch(resources.arch),
        resources.registers,
        resources.static_shared,
        resources.local,
        resources.max_threads,
        resources.required_block,
        resources.required_cluster
    )
}
