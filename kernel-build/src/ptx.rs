//! Entries, parameters and limits, read out of PTX.
//!
//! Grammar: PTX ISA, "Kernel and Function Directives" (`.entry`) and "Performance-Tuning Directives". Only entry
//! headers are read; NVRTC writes them in a regular form, and whatever else is met is an error rather than a guess.

use crate::{Error, Result};

/// A parameter as PTX declares it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PtxParam {
    /// Whether it is declared `.f32` or `.f64`.
    pub float: bool,
    /// Whether it is an array of bytes (a struct by value).
    pub bytes: bool,
    pub size: u32,
    pub align: u32,
    pub offset: u32,
}

/// An entry as PTX declares it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PtxEntry {
    pub name: String,
    pub params: Vec<PtxParam>,
    pub max_threads: Option<u32>,
    pub required_block: Option<[u32; 3]>,
    pub required_cluster: Option<[u32; 3]>,
}

/// Reads every `.entry` that has a body.
pub(crate) fn entries(ptx: &str) -> Result<Vec<PtxEntry>> {
    let mut found = Vec::new();
    let mut rest = ptx;
    while let Some(at) = rest.find(".entry") {
        let line_start = rest[..at].rfind('\n').map_or(0, |newline| newline + 1);
        let commented = rest[line_start..at].contains("//");
        rest = &rest[at + ".entry".len()..];
        if commented || !rest.starts_with(char::is_whitespace) {
            continue;
        }
        let end = rest.find(['{', ';']).ok_or_else(|| malformed("an entry has neither body nor end", rest))?;
        if rest.as_bytes()[end] == b'{' {
            found.push(entry(&strip_comments(&rest[..end]))?);
        }
        rest = &rest[end..];
    }
    Ok(found)
}

fn strip_comments(text: &str) -> String {
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

fn malformed(what: &str, text: &str) -> Error {
    let head: String = text.trim().chars().take(80).collect();
    Error::Format(format!("PTX of an unexpected form: {what}, at `{head}`"))
}

fn entry(header: &str) -> Result<PtxEntry> {
    let (name, params, limits) = match header.split_once('(') {
        Some((name, tail)) => {
            let (params, limits) =
                tail.split_once(')').ok_or_else(|| malformed("parameters without their closing bracket", tail))?;
            (name, params, limits)
        }
        None => {
            let name_end = header.trim_start().find(char::is_whitespace).unwrap_or(header.trim_start().len());
            let (name, limits) = header.trim_start().split_at(name_end);
            (name, "", limits)
        }
    };
    let mut entry = PtxEntry { name: name.trim().to_owned(), ..PtxEntry::default() };
    let mut offset = 0u32;
    for declaration in params.split(',').map(str::trim).filter(|text| !text.is_empty()) {
        let mut param = param(declaration)?;
        offset = offset.next_multiple_of(param.align);
        param.offset = offset;
        offset += param.size;
        entry.params.push(param);
    }
    let mut words = limits.split_whitespace();
    while let Some(word) = words.next() {
        match word {
            ".maxntid" => entry.max_threads = Some(triple(&mut words, limits)?.iter().product()),
            ".reqntid" => entry.required_block = Some(triple(&mut words, limits)?),
            ".reqnctapercluster" => entry.required_cluster = Some(triple(&mut words, limits)?),
            ".minnctapersm" | ".maxnreg" | ".maxclusterrank" | ".maxnctapersm" => {
                words.next();
            }
            // Clusters set at the launch, and pragmas, limit nothing that is checked here.
            ".explicitcluster" | ".blocksareclusters" => {}
            ".pragma" => {
                words.next();
            }
            _ => return Err(malformed("an unknown directive of an entry", word)),
        }
    }
    if let Some(block) = entry.required_block {
        entry.max_threads = Some(block.iter().product());
    }
    Ok(entry)
}

/// `256`, `256, 1` or `256, 1, 1`, spread over words.
fn triple<'a>(words: &mut impl Iterator<Item = &'a str>, context: &str) -> Result<[u32; 3]> {
    let mut values = [1u32; 3];
    for (index, value) in values.iter_mut().enumerate() {
        let word = words.next().ok_or_else(|| malformed("a limit without its number", context))?;
        let more = word.ends_with(',') && index < 2;
        *value = word.trim_end_matches(',').parse().map_err(|_| malformed("a limit that is no number", word))?;
        if !more {
            break;
        }
    }
    Ok(values)
}

/// `.param .align 8 .b8 name[16]`, `.param .u64 .ptr .global .align 4 name`, `.param .f32 name`.
fn param(declaration: &str) -> Result<PtxParam> {
    let mut align = None;
    let mut kind = None;
    let mut name = "";
    let mut words = declaration.split_whitespace();
    let mut pointer = false;
    while let Some(word) = words.next() {
        match word {
            ".param" | ".global" | ".shared" | ".const" | ".local" => {}
            ".ptr" => pointer = true,
            ".align" => {
                let value = words.next().and_then(|word| word.parse::<u32>().ok());
                let value = value.filter(|value| value.is_power_of_two());
                let value = value.ok_or_else(|| malformed("an alignment that is no power of two", declaration))?;
                // After `.ptr` it is the alignment of what is pointed to.
                if !pointer {
                    align = Some(value);
                }
            }
            _ if word.starts_with('.') => kind = Some(word),
            _ => name = word,
        }
    }
    let kind = kind.ok_or_else(|| malformed("a parameter without a type", declaration))?;
    let digits = kind.trim_start_matches(|c: char| !c.is_ascii_digit());
    let bits: u32 = digits.parse().map_err(|_| malformed("a parameter of unknown type", declaration))?;
    let element = bits / 8;
    let count = match name.split_once('[') {
        Some((_, count)) => {
            let count = count.trim_end_matches(']').parse::<u32>();
            Some(count.map_err(|_| malformed("an array parameter without its length", declaration))?)
        }
        None => None,
    };
    Ok(PtxParam {
        float: kind.starts_with(".f"),
        bytes: count.is_some(),
        size: element * count.unwrap_or(1),
        align: align.unwrap_or(element).max(1),
        offset: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_limits_are_read() {
        let ptx = "
// .globl x .entry not_this(
.visible .entry first(
\t.param .u64 .ptr .global .align 16 first_param_0, // .entry
\t.param .f32 first_param_1,
\t.param .align 8 .b8 first_param_2[20],
\t.param .u8 first_param_3
)
.maxntid 32, 4, 2
.minnctapersm 2
{ ret; }
.weak .entry second
.reqntid 128
.explicitcluster
.reqnctapercluster 2, 1, 1
{ ret; }
.visible .entry declared_only(.param .u32 a);
";
        let found = entries(ptx).unwrap();
        assert_eq!(found.len(), 2);
        let layout: Vec<_> = found[0].params.iter().map(|p| (p.offset, p.size, p.align, p.float, p.bytes)).collect();
        assert_eq!(
            layout,
            [(0, 8, 8, false, false), (8, 4, 4, true, false), (16, 20, 8, false, true), (36, 1, 1, false, false)]
        );
        assert_eq!((found[0].max_threads, found[0].required_block), (Some(256), None));
        assert_eq!(found[1].name, "second");
        assert_eq!((found[1].max_threads, found[1].required_cluster), (Some(128), Some([2, 1, 1])));
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in [
            ".entry a(.param .u64 x",
            ".entry a(.param x) {}",
            ".entry a() .maxntid { }",
            ".entry a() .newdirective 3 { }",
            ".entry a(.param .align 3 .b8 x[4]) { }",
            ".entry a(.param .b8 x[y]) { }",
        ] {
            assert!(entries(bad).is_err(), "{bad} was accepted");
        }
    }
}
