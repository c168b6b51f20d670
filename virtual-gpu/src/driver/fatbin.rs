//! Fat binaries and cubins: finding the PTX that the device can run, and the registers that a cubin beside it declares.
//!
//! The container is not documented; the fields used here were read off files that NVIDIA's `fatbinary` writes.

use super::abi::In;
use super::error::{Code, Error, Res};
use super::lz4;
use crate::model::DeviceModel;
use std::collections::BTreeMap;
use std::io::Read;

const WRAPPER: u32 = 0x466243b1;
const CONTAINER: u32 = 0xba55ed50;
const ELF: u32 = u32::from_le_bytes(*b"\x7fELF");
/// Entry kinds.
const KIND_PTX: u16 = 1;
const KIND_ELF: u16 = 2;
/// Entry flags.
const COMPRESSED_LZ4: u64 = 0x2000;
const COMPRESSED_ZSTD: u64 = 0x8000;
/// An image larger than this is taken for garbage.
const LARGEST: u64 = 4 << 30;

/// What a module image holds for a device.
pub struct Image {
    /// PTX text.
    pub ptx: String,
    /// Registers per thread by kernel, from a cubin for this very device.
    pub registers: BTreeMap<String, u32>,
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn invalid(text: &str) -> Error {
    Error::new(Code::InvalidImage, text)
}

/// Reads an image of unknown length at an address: PTX text up to its zero, a fat binary by its header.
pub fn from_memory(image: In<u8>, model: &DeviceModel) -> Res<Image> {
    // Four bytes are there in every kind of image, and in the shortest PTX there is.
    let first = image.cast::<std::ffi::c_char>();
    let start = image.get()?;
    if start == 0 {
        return Err(invalid("the image is empty"));
    }
    let magic = if start.is_ascii_graphic() && start != 0x50 { 0 } else { image.cast::<u32>().get()? };
    match magic {
        WRAPPER => {
            let data = image.cast::<u64>().at(1)?;
            container(&container_bytes(In::at_address(data as usize))?, model)
        }
        CONTAINER => container(&container_bytes(image)?, model),
        ELF => from_bytes(b"\x7fELF", model),
        _ => from_bytes(&first.c_bytes()?, model),
    }
}

/// The bytes of a container, whose header says how many there are.
fn container_bytes(image: In<u8>) -> Res<Vec<u8>> {
    let words = image.cast::<u32>();
    if words.get()? != CONTAINER {
        return Err(invalid("the wrapper of a fat binary points to something else"));
    }
    let header = u64::from(words.at(1)? >> 16);
    let total = image.cast::<u64>().at(1)?.checked_add(header).filter(|total| *total <= LARGEST);
    image.bytes(total.ok_or_else(|| invalid("the fat binary's size makes no sense"))? as usize)
}

/// Reads an image of known length.
pub fn from_bytes(bytes: &[u8], model: &DeviceModel) -> Res<Image> {
    match u32_at(bytes, 0) {
        Some(CONTAINER) => container(bytes, model),
        Some(ELF) => Err(Error::new(
            Code::NoBinaryForGpu,
            "a cubin holds machine code, which a virtual device cannot run: load PTX, or a fat binary with PTX in it",
        )),
        _ => {
            let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
            let text = &bytes[..end];
            let is_text = |byte: &u8| *byte >= b' ' || matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c);
            if text.is_empty() || !text.iter().take(64).all(is_text) {
                return Err(invalid("the image is neither PTX nor a fat binary"));
            }
            Ok(Image { ptx: String::from_utf8_lossy(text).into_owned(), registers: BTreeMap::new() })
        }
    }
}

/// One entry of a container.
struct Entry<'a> {
    kind: u16,
    arch: u32,
    flags: u64,
    size: u64,
    payload: &'a [u8],
}

/// The entries: after a header of 16 bytes each has a header with its own length in it and a payload.
fn entries(bytes: &[u8]) -> Option<Vec<Entry<'_>>> {
    let mut rest = bytes.get(usize::from(u16_at(bytes, 6)?)..)?;
    let mut entries = Vec::new();
    while rest.len() >= 64 {
        let header = u32_at(rest, 4)? as usize;
        let padded = usize::try_from(u64_at(rest, 8)?).ok()?;
        let end = header.checked_add(padded).filter(|_| header >= 64)?;
        let whole = rest.get(header..end)?;
        let compressed = u32_at(rest, 16)? as usize;
        let flags = u64_at(rest, 40)?;
        let payload = match flags & (COMPRESSED_LZ4 | COMPRESSED_ZSTD) {
            0 => whole,
            _ => whole.get(..compressed)?,
        };
        entries.push(Entry {
            kind: u16_at(rest, 0)?,
            arch: u32_at(rest, 28)?,
            flags,
            size: u64_at(rest, 56)?,
            payload,
        });
        rest = &rest[end..];
    }
    Some(entries)
}

impl Entry<'_> {
    fn contents(&self) -> Res<Vec<u8>> {
        let damaged = || invalid("a compressed entry of the fat binary is damaged");
        if self.flags & COMPRESSED_ZSTD != 0 {
            let mut decoder = ruzstd::decoding::StreamingDecoder::new(self.payload).map_err(|_| damaged())?;
            let mut whole = Vec::new();
            decoder.by_ref().take(LARGEST).read_to_end(&mut whole).map_err(|_| damaged())?;
            return if whole.len() as u64 == self.size { Ok(whole) } else { Err(damaged()) };
        }
        if self.flags & COMPRESSED_LZ4 != 0 {
            return lz4::decompress(self.payload, self.size as usize).ok_or_else(damaged);
        }
        Ok(self.payload.to_vec())
    }
}

/// Picks the newest PTX that the device can run and takes the registers from a cubin for it.
fn container(bytes: &[u8], model: &DeviceModel) -> Res<Image> {
    let entries = entries(bytes).ok_or_else(|| invalid("the fat binary is damaged"))?;
    let usable = entries.iter().filter(|entry| entry.kind == KIND_PTX && entry.arch <= model.sm());
    let Some(entry) = usable.max_by_key(|entry| entry.arch) else {
        let mut found: Vec<String> = Vec::new();
        for entry in &entries {
            found.push(format!("{}{}", if entry.kind == KIND_PTX { "compute_" } else { "sm_" }, entry.arch));
        }
        return Err(Error::new(
            Code::NoBinaryForGpu,
            format!("the fat binary has no PTX for compute capability {}: it has {}", model.sm(), found.join(", ")),
        ));
    };
    let cubin = entries.iter().find(|entry| entry.kind == KIND_ELF && entry.arch == model.sm());
    // Without a readable cubin the registers are estimated, as from PTX alone.
    let registers = cubin.and_then(|cubin| registers(&cubin.contents().ok()?)).unwrap_or_default();
    let mut image = from_bytes(&entry.contents()?, model)?;
    image.registers = registers;
    Ok(image)
}

/// Registers per thread by kernel: a cubin is a 64-bit ELF file whose `.text.KERNEL` sections carry them in the top byte of
/// `sh_info`.
fn registers(elf: &[u8]) -> Option<BTreeMap<String, u32>> {
    let table = u64_at(elf, 40)? as usize;
    let (size, count, names) = (u16_at(elf, 58)? as usize, u16_at(elf, 60)? as usize, u16_at(elf, 62)? as usize);
    let header = |index: usize| elf.get(table.checked_add(index.checked_mul(size)?)?..);
    let names = u64_at(header(names)?, 24)? as usize;
    let mut found = BTreeMap::new();
    for index in 0..count {
        let section = header(index)?;
        let name = elf.get(names.checked_add(u32_at(section, 0)? as usize)?..)?;
        let name = std::ffi::CStr::from_bytes_until_nul(name).ok()?.to_str().ok()?;
        if let Some(kernel) = name.strip_prefix(".text.") {
            found.insert(kernel.to_owned(), u32_at(section, 44)? >> 24);
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(kind: u16, arch: u32, payload: &[u8], lz4_size: Option<u64>) -> Vec<u8> {
        let mut bytes = Vec::new();
        let padded = payload.len().next_multiple_of(8);
        bytes.extend(kind.to_le_bytes());
        bytes.extend(0x101u16.to_le_bytes());
        bytes.extend(64u32.to_le_bytes());
        bytes.extend((padded as u64).to_le_bytes());
        bytes.extend(if lz4_size.is_some() { payload.len() as u32 } else { 0 }.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(arch.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(if lz4_size.is_some() { COMPRESSED_LZ4 | 1 } else { 1 }.to_le_bytes());
        bytes.extend([0; 8]);
        bytes.extend(lz4_size.unwrap_or(0).to_le_bytes());
        bytes.extend(payload);
        bytes.resize(64 + padded, 0);
        bytes
    }

    fn fatbin(entries: &[Vec<u8>]) -> Vec<u8> {
        let size: usize = entries.iter().map(Vec::len).sum();
        let mut bytes = Vec::new();
        bytes.extend(CONTAINER.to_le_bytes());
        bytes.extend(1u16.to_le_bytes());
        bytes.extend(16u16.to_le_bytes());
        bytes.extend((size as u64).to_le_bytes());
        bytes.extend(entries.iter().flatten());
        bytes
    }

    #[test]
    fn the_newest_runnable_ptx_is_taken() {
        let bytes = fatbin(&[
            entry(1, 80, b".version 8.0 // 80", None),
            entry(1, 90, b".version 8.0 // 90", None),
            entry(1, 120, b".version 8.7 // 120", None),
        ]);
        assert!(from_bytes(&bytes, &DeviceModel::H100).unwrap().ptx.ends_with("// 90"));
        assert!(from_bytes(&bytes, &DeviceModel::RTX_4090).unwrap().ptx.ends_with("// 80"));
        let image = from_memory(In::from_pointer(bytes.as_ptr()), &DeviceModel::A100).unwrap();
        assert!(image.ptx.ends_with("// 80"));
    }

    #[test]
    fn compressed_ptx_is_unpacked() {
        let bytes = fatbin(&[entry(1, 80, &[0x35, b'a', b'b', b'c', 3, 0, 0x10, b'!'], Some(13))]);
        assert_eq!(from_bytes(&bytes, &DeviceModel::A100).unwrap().ptx, "abcabcabcabc!");
    }

    #[test]
    fn what_cannot_run_is_refused_with_its_code() {
        let code = |bytes: &[u8]| from_bytes(bytes, &DeviceModel::A100).err().map(|error| error.code);
        assert_eq!(code(b"\x7fELF\x02\x01\x01"), Some(Code::NoBinaryForGpu));
        assert_eq!(code(&fatbin(&[entry(1, 90, b".version 8.0", None)])), Some(Code::NoBinaryForGpu));
        assert_eq!(code(b"\x01\x02\x03\x04\x05"), Some(Code::InvalidImage));
        assert_eq!(code(b""), Some(Code::InvalidImage));
        let mut cut = fatbin(&[entry(1, 80, b".version 8.0", None)]);
        cut.truncate(70);
        assert!(code(&cut).is_some());
    }
}
