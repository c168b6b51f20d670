//! Compiled results in files: the build's cache, and the images that a published crate carries.

use crate::arch::Arch;
use crate::bytes::{Reader, Writer, fnv1a};
use crate::compile::{Compiled, RECIPE};
use crate::image::{Compression, Format, Image, KernelInfo, Param, ParamType, Resources, Scalar};
use crate::source::Source;
use crate::{Error, Result};
use std::borrow::Cow;
use std::path::{Path, PathBuf};

const MAGIC: u32 = u32::from_le_bytes(*b"WSMK");

/// Where the result of compiling `source` for `arch` lies in `folder`.
///
/// A cache tells versions of NVRTC apart; the images of a published crate are for whoever has none.
pub(crate) fn path(folder: &Path, source: &Source, arch: Arch, nvrtc: Option<(u32, u32)>) -> PathBuf {
    let mut writer = Writer::default();
    writer.u128(source.hash());
    let (major, minor) = nvrtc.unwrap_or((0, 0));
    writer.u32(major);
    writer.u32(minor);
    let key = fnv1a(&writer.finish());
    folder.join(format!("{}-{arch}-{key:032x}.image", source.name))
}

/// Writes a result so that a reader sees all of it or nothing.
pub(crate) fn save(path: &Path, compiled: &Compiled) -> Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(folder).map_err(Error::io(folder))?;
    let partial = path.with_extension(format!("partial-{}", std::process::id()));
    std::fs::write(&partial, serialise(compiled)).map_err(Error::io(&partial))?;
    std::fs::rename(&partial, path).map_err(Error::io(path))
}

/// Reads a result; `None` where there is none, or one of another form.
pub(crate) fn load(path: &Path) -> Option<Compiled> {
    deserialise(&std::fs::read(path).ok()?).ok()
}

fn serialise(compiled: &Compiled) -> Vec<u8> {
    let mut writer = Writer::default();
    writer.u32(MAGIC);
    writer.u32(RECIPE);
    write_arch(&mut writer, compiled.arch);
    writer.u32(compiled.nvrtc.0);
    writer.u32(compiled.nvrtc.1);
    writer.text(&compiled.warnings);
    writer.u32(compiled.kernels.len() as u32);
    for kernel in &compiled.kernels {
        writer.text(&kernel.name);
        writer.text(&kernel.entry);
        writer.u32(kernel.params.len() as u32);
        for param in kernel.params.iter() {
            writer.u32(match param.ty {
                ParamType::Bytes => 0,
                ParamType::Scalar(scalar) => 0x100 | scalar as u32,
                ParamType::TensorMap => 0x300,
                ParamType::Pointer { to, mutable } => {
                    0x200 | u32::from(mutable) << 10 | to.map_or(0, |scalar| scalar as u32)
                }
            });
            writer.u32(param.offset);
            writer.u32(param.size);
            writer.u32(param.align);
        }
        writer.u32(kernel.resources.len() as u32);
        for resources in kernel.resources.iter() {
            write_arch(&mut writer, resources.arch);
            for value in [resources.registers, resources.static_shared, resources.local, resources.max_threads] {
                writer.u32(value);
            }
            for value in resources.required_block.into_iter().chain(resources.required_cluster) {
                writer.u32(value);
            }
        }
    }
    writer.u32(compiled.images.len() as u32);
    for image in &compiled.images {
        write_arch(&mut writer, image.arch);
        writer.u32(match image.format {
            Format::Cubin => 0,
            Format::Ptx => 1,
        });
        writer.u32(image.len);
        writer.u32(match image.compression {
            Compression::Deflate => 0,
            Compression::Lzma => 1,
        });
        writer.blob(&image.bytes);
    }
    writer.finish()
}

fn deserialise(bytes: &[u8]) -> Result<Compiled> {
    let mut reader = Reader::new(bytes);
    let wrong = || Error::Format("a kernel image file of another version".to_owned());
    if reader.u32()? != MAGIC || reader.u32()? != RECIPE {
        return Err(wrong());
    }
    let arch = read_arch(&mut reader)?;
    let nvrtc = (reader.u32()?, reader.u32()?);
    let warnings = reader.text()?;
    let mut kernels = Vec::new();
    for _ in 0..reader.u32()? {
        let (name, entry) = (reader.text()?, reader.text()?);
        let mut params = Vec::new();
        for _ in 0..reader.u32()? {
            let code = reader.u32()?;
            let scalar = Scalar::ALL.into_iter().find(|&scalar| scalar as u32 == code & 0xff);
            let ty = match code >> 8 {
                0 => ParamType::Bytes,
                1 => ParamType::Scalar(scalar.ok_or_else(wrong)?),
                3 => ParamType::TensorMap,
                tag @ (2 | 6) => ParamType::Pointer { to: scalar, mutable: tag == 6 },
                _ => return Err(wrong()),
            };
            params.push(Param { ty, offset: reader.u32()?, size: reader.u32()?, align: reader.u32()? });
        }
        let mut resources = Vec::new();
        for _ in 0..reader.u32()? {
            resources.push(Resources {
                arch: read_arch(&mut reader)?,
                registers: reader.u32()?,
                static_shared: reader.u32()?,
                local: reader.u32()?,
                max_threads: reader.u32()?,
                required_block: [reader.u32()?, reader.u32()?, reader.u32()?],
                required_cluster: [reader.u32()?, reader.u32()?, reader.u32()?],
            });
        }
        kernels.push(KernelInfo {
            name: Cow::Owned(name),
            entry: Cow::Owned(entry),
            params: Cow::Owned(params),
            resources: Cow::Owned(resources),
        });
    }
    let mut images = Vec::new();
    for _ in 0..reader.u32()? {
        let arch = read_arch(&mut reader)?;
        let format = match reader.u32()? {
            0 => Format::Cubin,
            1 => Format::Ptx,
            _ => return Err(wrong()),
        };
        let len = reader.u32()?;
        let compression = match reader.u32()? {
            0 => Compression::Deflate,
            1 => Compression::Lzma,
            _ => return Err(wrong()),
        };
        images.push(Image { arch, format, len, compression, bytes: Cow::Owned(reader.blob()?.to_vec()) });
    }
    reader.end()?;
    Ok(Compiled { arch, nvrtc, kernels, images, warnings })
}

fn write_arch(writer: &mut Writer, arch: Arch) {
    writer.u32(u32::from(arch.major) << 16 | u32::from(arch.minor) << 8 | u32::from(arch.specific));
}

fn read_arch(reader: &mut Reader<'_>) -> Result<Arch> {
    let [specific, minor, major, high] = reader.u32()?.to_le_bytes();
    if specific > 1 || high != 0 {
        return Err(Error::Format("a kernel image file names an unknown architecture".to_owned()));
    }
    Ok(Arch::new(major, minor, specific == 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Compiled {
        let arch = Arch::new(9, 0, true);
        let pointer = |to, mutable| ParamType::Pointer { to, mutable };
        let types = [
            pointer(Some(Scalar::F64), true),
            pointer(None, false),
            ParamType::Scalar(Scalar::I8),
            ParamType::TensorMap,
        ];
        let params = types.map(|ty| Param { ty, offset: 8, size: 4, align: 2 });
        let resources = Resources {
            arch,
            registers: 255,
            static_shared: 49_152,
            local: 8,
            max_threads: 384,
            required_block: [384, 1, 1],
            required_cluster: [2, 1, 1],
        };
        Compiled {
            arch,
            nvrtc: (12, 9),
            kernels: vec![KernelInfo {
                name: Cow::Borrowed("gemm<bf16>"),
                entry: Cow::Borrowed("_Z4gemmI4bf16Evv"),
                params: Cow::Owned(params.to_vec()),
                resources: Cow::Owned(vec![resources]),
            }],
            images: vec![Image {
                arch,
                format: Format::Ptx,
                len: 9,
                compression: Compression::Lzma,
                bytes: Cow::Borrowed(b"123"),
            }],
            warnings: "w\n".to_owned(),
        }
    }

    #[test]
    fn a_file_gives_back_what_was_written() {
        let bytes = serialise(&sample());
        assert_eq!(deserialise(&bytes).unwrap(), sample());
    }

    #[test]
    fn truncated_and_foreign_files_are_refused() {
        let bytes = serialise(&sample());
        for len in 0..bytes.len() {
            assert!(deserialise(&bytes[..len]).is_err(), "{len} of {} bytes were accepted", bytes.len());
        }
        let mut other = bytes.clone();
        other[4] ^= 1;
        assert!(deserialise(&other).is_err(), "a file of another recipe was accepted");
    }
}
