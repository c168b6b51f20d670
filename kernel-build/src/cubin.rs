//! Registers, shared and local memory and parameters, read out of machine code.
//!
//! A cubin is an ELF file (64-bit, little-endian). `.nv.info` holds attributes of every kernel and `.nv.info.NAME`
//! those of one, each a format byte, an attribute byte and a 16-bit size or value. NVIDIA documents neither; the
//! attribute numbers are those that `cuobjdump -elf` prints (EIATTR_*), and `compile` holds what is read here
//! against the PTX and the assembler's own report.

use crate::{Error, Result};
use std::collections::BTreeMap;

/// What machine code says of one kernel.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CubinEntry {
    pub registers: u32,
    /// Local memory of a thread.
    pub local: u32,
    /// Static shared memory of a block, without what the hardware reserves for itself.
    pub static_shared: u32,
    /// Offset and size of each parameter, by its position.
    pub params: Vec<(u32, u32)>,
    pub param_bytes: u32,
    /// Where in the constant bank the parameters start; offsets count from there, aligned by what lies there.
    pub param_base: u32,
    pub max_threads: Option<u32>,
    pub required_block: Option<[u32; 3]>,
}

const EIATTR_MAX_THREADS: u8 = 0x05;
const EIATTR_PARAM_CBANK: u8 = 0x0a;
const EIATTR_REQNTID: u8 = 0x10;
const EIATTR_FRAME_SIZE: u8 = 0x11;
const EIATTR_KPARAM_INFO: u8 = 0x17;
const EIATTR_REGCOUNT: u8 = 0x2f;
/// The attribute's value follows, its size in the 16-bit field.
const EIFMT_SVAL: u8 = 4;
/// From compute capability 9.0 on the first KiB of a block's shared memory is the system's, and the section counts it.
const RESERVED_SHARED: u32 = 1024;

struct Section<'a> {
    name: &'a str,
    kind: u32,
    link: u32,
    size: u64,
    /// Where the data lies in the file.
    at: usize,
    data: &'a [u8],
}

const SHT_NOBITS: u32 = 8;
const SHT_SYMTAB: u32 = 2;

/// Reads every kernel of a cubin for a chip of that major compute capability.
pub(crate) fn entries(cubin: &[u8], major: u8) -> Result<BTreeMap<String, CubinEntry>> {
    let sections = sections(cubin)?;
    let names = symbols(&sections)?;
    let mut found: BTreeMap<String, CubinEntry> = BTreeMap::new();
    for section in &sections {
        let Some(name) = section.name.strip_prefix(".nv.info.") else { continue };
        let entry = found.entry(name.to_owned()).or_default();
        for (attribute, value) in attributes(section.data)? {
            match attribute {
                EIATTR_KPARAM_INFO => {
                    let ordinal = u32::from(u16_at(value, 4)?);
                    let size = u32_at(value, 8)? >> 18;
                    if ordinal > 4096 {
                        return Err(malformed("a parameter's position"));
                    }
                    if entry.params.len() <= ordinal as usize {
                        entry.params.resize(ordinal as usize + 1, (0, 0));
                    }
                    entry.params[ordinal as usize] = (u32::from(u16_at(value, 6)?), size);
                }
                EIATTR_PARAM_CBANK => {
                    entry.param_base = u32::from(u16_at(value, 4)?);
                    entry.param_bytes = u32::from(u16_at(value, 6)?);
                }
                EIATTR_MAX_THREADS => entry.max_threads = Some(triple(value)?.iter().product()),
                EIATTR_REQNTID => entry.required_block = Some(triple(value)?),
                _ => {}
            }
        }
    }
    for section in &sections {
        if let Some(entry) = section.name.strip_prefix(".nv.shared.").and_then(|name| found.get_mut(name)) {
            let reserved = if major >= 9 { RESERVED_SHARED } else { 0 };
            let size = u32::try_from(section.size).map_err(|_| malformed("a shared section's size"))?;
            entry.static_shared = size.saturating_sub(reserved);
        }
        if section.name == ".nv.info" {
            for (attribute, value) in attributes(section.data)? {
                let target = match attribute {
                    EIATTR_REGCOUNT | EIATTR_FRAME_SIZE => names.get(u32_at(value, 0)? as usize),
                    _ => None,
                };
                let Some(entry) = target.and_then(|name| found.get_mut(*name)) else { continue };
                match attribute {
                    EIATTR_REGCOUNT => entry.registers = u32_at(value, 4)?,
                    _ => entry.local = u32_at(value, 4)?,
                }
            }
        }
    }
    Ok(found)
}

/// The instructions of every kernel.
pub(crate) fn code(cubin: &[u8]) -> Result<BTreeMap<String, &[u8]>> {
    let named = |section: &Section<'_>| section.name.strip_prefix(".text.").map(str::to_owned);
    let found = sections(cubin)?;
    Ok(found.iter().filter_map(|section| named(section).map(|name| (name, section.data))).collect())
}

/// Blanks the copy of the PTX that `-lineinfo` puts beside the line table for debuggers: half of a cubin's size, and
/// carried as PTX anyway where it is needed. The section stays, so every offset does; zeros compress to nothing.
pub(crate) fn blank_ptx_text(cubin: &mut [u8]) -> Result<()> {
    let ranges: Vec<std::ops::Range<usize>> = sections(cubin)?
        .iter()
        .filter(|section| section.name == ".nv_debug_ptx_txt")
        .map(|section| section.at..section.at + section.data.len())
        .collect();
    for range in ranges {
        cubin[range].fill(0);
    }
    Ok(())
}

fn malformed(what: &str) -> Error {
    Error::Format(format!("machine code of an unexpected form: {what}"))
}

fn bytes_at(data: &[u8], at: usize, len: usize) -> Result<&[u8]> {
    at.checked_add(len).and_then(|end| data.get(at..end)).ok_or_else(|| malformed("it ends early"))
}

fn u16_at(data: &[u8], at: usize) -> Result<u16> {
    let mut raw = [0; 2];
    raw.copy_from_slice(bytes_at(data, at, 2)?);
    Ok(u16::from_le_bytes(raw))
}

fn u32_at(data: &[u8], at: usize) -> Result<u32> {
    let mut raw = [0; 4];
    raw.copy_from_slice(bytes_at(data, at, 4)?);
    Ok(u32::from_le_bytes(raw))
}

fn u64_at(data: &[u8], at: usize) -> Result<u64> {
    let mut raw = [0; 8];
    raw.copy_from_slice(bytes_at(data, at, 8)?);
    Ok(u64::from_le_bytes(raw))
}

fn usize_at(data: &[u8], at: usize) -> Result<usize> {
    usize::try_from(u64_at(data, at)?).map_err(|_| malformed("an offset"))
}

fn triple(value: &[u8]) -> Result<[u32; 3]> {
    Ok([u32_at(value, 0)?, u32_at(value, 4)?, u32_at(value, 8)?])
}

fn text_at(table: &[u8], at: usize) -> Result<&str> {
    let tail = table.get(at..).ok_or_else(|| malformed("a name outside its table"))?;
    let end = tail.iter().position(|&byte| byte == 0).ok_or_else(|| malformed("a name without end"))?;
    std::str::from_utf8(&tail[..end]).map_err(|_| malformed("a name that is not text"))
}

fn sections(elf: &[u8]) -> Result<Vec<Section<'_>>> {
    if bytes_at(elf, 0, 6)? != b"\x7fELF\x02\x01" {
        return Err(malformed("not a 64-bit little-endian ELF file"));
    }
    let table = usize_at(elf, 40)?;
    let (entry_size, count, names) =
        (usize::from(u16_at(elf, 58)?), usize::from(u16_at(elf, 60)?), usize::from(u16_at(elf, 62)?));
    let header = |index: usize| {
        let at = index.checked_mul(entry_size).and_then(|offset| offset.checked_add(table));
        bytes_at(elf, at.ok_or_else(|| malformed("a section's position"))?, 64)
    };
    let strings = header(names)?;
    let strings = bytes_at(elf, usize_at(strings, 24)?, usize_at(strings, 32)?)?;
    let mut sections = Vec::with_capacity(count);
    for index in 0..count {
        let header = header(index)?;
        let kind = u32_at(header, 4)?;
        let size = u64_at(header, 32)?;
        let at = usize_at(header, 24)?;
        let in_file = kind != SHT_NOBITS && kind != 0;
        let data = if in_file { bytes_at(elf, at, usize_at(header, 32)?)? } else { &[][..] };
        let name = text_at(strings, u32_at(header, 0)? as usize)?;
        sections.push(Section { name, kind, link: u32_at(header, 40)?, size, at, data });
    }
    Ok(sections)
}

fn symbols<'a>(sections: &[Section<'a>]) -> Result<Vec<&'a str>> {
    let table = sections.iter().find(|section| section.kind == SHT_SYMTAB);
    let table = table.ok_or_else(|| malformed("no symbol table"))?;
    let strings = sections.get(table.link as usize).ok_or_else(|| malformed("no symbol names"))?;
    table.data.chunks_exact(24).map(|symbol| text_at(strings.data, u32_at(symbol, 0)? as usize)).collect()
}

/// The attributes with a value of their own, as (attribute, value).
fn attributes(mut data: &[u8]) -> Result<Vec<(u8, &[u8])>> {
    let mut found = Vec::new();
    while !data.is_empty() {
        let (format, attribute) = (data[0], bytes_at(data, 1, 1)?[0]);
        let size = if format == EIFMT_SVAL { usize::from(u16_at(data, 2)?) } else { 0 };
        if format == EIFMT_SVAL {
            found.push((attribute, bytes_at(data, 4, size)?));
        }
        data = bytes_at(data, 4 + size, data.len().saturating_sub(4 + size))?;
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_files_are_errors() {
        assert!(entries(b"", 8).is_err());
        assert!(entries(b"\x7fELF\x02\x01", 8).is_err());
        let mut header = vec![0u8; 64];
        header[..6].copy_from_slice(b"\x7fELF\x02\x01");
        header[40..48].copy_from_slice(&u64::MAX.to_le_bytes());
        header[58..60].copy_from_slice(&64u16.to_le_bytes());
        header[60..62].copy_from_slice(&9u16.to_le_bytes());
        header[62..64].copy_from_slice(&8u16.to_le_bytes());
        assert!(entries(&header, 8).is_err());
        assert!(attributes(&[4, 0x2f, 8, 0, 1, 2]).is_err());
    }
}
