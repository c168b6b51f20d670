//! The safetensors format (Hugging Face): 8 bytes of header length, a JSON header of names, dtypes, shapes and byte
//! ranges, then the tensors' bytes, little-endian and row-major.
//!
//! Read straight into tensors, one at a time, after every length and range was checked against the file's true length;
//! the whole file is never in memory twice. (The format's own crate wants the whole file in memory, or mapped: a mapped
//! file that another process cuts ends this one. Tests hold both against each other.)

use super::atomic::write_atomically;
use super::state::StateDict;
use crate::device::{Buffer, Memory};
use crate::{DType, Device, Error, Result, Shape, Tensor, with_dtype};
use serde_json::{Map, Value};
use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::path::Path;

#[cfg(target_endian = "big")]
compile_error!("safetensors files are little-endian, and buffers are written to them as they lie in memory");

/// The format's own bound on the header.
const MAX_HEADER: u64 = 100_000_000;

/// How the bytes of a file become elements.
#[derive(Clone, Copy, PartialEq)]
enum Encoding {
    Plain(DType),
    /// 32-bit integers of PyTorch, widened to i64.
    I32,
}

impl Encoding {
    fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "F32" => Encoding::Plain(DType::F32),
            "F16" => Encoding::Plain(DType::F16),
            "BF16" => Encoding::Plain(DType::BF16),
            "F64" => Encoding::Plain(DType::F64),
            "I64" => Encoding::Plain(DType::I64),
            "U32" => Encoding::Plain(DType::U32),
            "U8" | "BOOL" => Encoding::Plain(DType::U8),
            "I32" => Encoding::I32,
            _ => return None,
        })
    }

    fn size(self) -> u64 {
        match self {
            Encoding::Plain(dtype) => dtype.size() as u64,
            Encoding::I32 => 4,
        }
    }
}

fn file_name(dtype: DType) -> &'static str {
    match dtype {
        DType::F32 => "F32",
        DType::F16 => "F16",
        DType::BF16 => "BF16",
        DType::F64 => "F64",
        DType::I64 => "I64",
        DType::U32 => "U32",
        DType::U8 => "U8",
    }
}

/// Where a tensor lies in a file.
pub(crate) struct Placed {
    pub(crate) name: String,
    /// None for encodings that no dtype has as they are.
    pub(crate) dtype: Option<DType>,
    pub(crate) shape: Shape,
    /// The first byte, from the file's beginning.
    pub(crate) begin: u64,
}

/// What a file holds, without the tensors.
pub(crate) fn entries(path: &Path) -> Result<Vec<Placed>> {
    let io = |source| Error::Io { action: "reading", path: path.to_owned(), source };
    let mut file = std::fs::File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    let (entries, data) = read_header(&mut file, length, &path.display().to_string())?;
    let placed = |entry: Entry| {
        let dtype = match entry.encoding {
            Encoding::Plain(dtype) => Some(dtype),
            Encoding::I32 => None,
        };
        Placed { name: entry.name, dtype, shape: entry.shape, begin: data + entry.begin }
    };
    Ok(entries.into_iter().map(placed).collect())
}

struct Entry {
    name: String,
    encoding: Encoding,
    shape: Shape,
    begin: u64,
    end: u64,
}

pub(super) fn load(path: &Path, device: &Device) -> Result<StateDict> {
    let io = |source| Error::Io { action: "reading", path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    read(std::io::BufReader::with_capacity(1 << 16, file), length, &path.display().to_string(), device)
}

/// The entries of a file of `length` bytes, and where the tensors' bytes begin.
fn read_header(from: &mut impl Read, length: u64, what: &str) -> Result<(Vec<Entry>, u64)> {
    let bad = |message: String| Error::Format { what: what.to_owned(), message };
    let cut = |e: std::io::Error| bad(format!("reading failed: {e}"));
    if length < 8 {
        return Err(bad(format!("{length} bytes are too few for a safetensors file")));
    }
    let mut prefix = [0u8; 8];
    from.read_exact(&mut prefix).map_err(cut)?;
    let header_length = u64::from_le_bytes(prefix);
    if header_length > MAX_HEADER || header_length > length - 8 {
        let message = format!("a header of {header_length} bytes does not fit a file of {length}");
        return Err(bad(format!("{message}: truncated, or not a safetensors file")));
    }
    let mut header = vec![0u8; header_length as usize];
    from.read_exact(&mut header).map_err(cut)?;
    let header: Map<String, Value> =
        serde_json::from_slice(&header).map_err(|e| bad(format!("the header is not a JSON object: {e}")))?;
    Ok((parse_entries(&header, length - 8 - header_length).map_err(bad)?, 8 + header_length))
}

/// Reads `length` bytes of a file; `what` names it in errors.
pub(super) fn read(mut from: impl Read, length: u64, what: &str, device: &Device) -> Result<StateDict> {
    let bad = |message: String| Error::Format { what: what.to_owned(), message };
    let (entries, _) = read_header(&mut from, length, what)?;
    let mut out = StateDict::new();
    for entry in entries {
        let tensor = read_tensor(&mut from, &entry, device).map_err(|e| match e {
            ReadError::Io(e) => bad(format!("reading {} failed: {e}", entry.name)),
            ReadError::Own(e) => e,
        })?;
        out.insert(entry.name, tensor);
    }
    Ok(out)
}

/// The entries in the order of their bytes: without gaps or overlaps, exactly filling `data` bytes.
fn parse_entries(header: &Map<String, Value>, data: u64) -> Result<Vec<Entry>, String> {
    let mut entries = header
        .iter()
        .filter(|(name, _)| *name != "__metadata__")
        .map(|(name, value)| parse_entry(name, value).map_err(|e| format!("entry {name}: {e}")))
        .collect::<Result<Vec<_>, _>>()?;
    entries.sort_by_key(|e| (e.begin, e.end));
    let mut at = 0;
    for entry in &entries {
        if entry.begin != at {
            let problem = if entry.begin < at { "overlap" } else { "leave a gap" };
            return Err(format!("entry {}: bytes {}..{} {problem} at {at}", entry.name, entry.begin, entry.end));
        }
        at = entry.end;
    }
    if at != data {
        return Err(format!("the entries cover {at} bytes and the file holds {data}: truncated or damaged"));
    }
    Ok(entries)
}

fn parse_entry(name: &str, value: &Value) -> Result<Entry, String> {
    let dtype = value.get("dtype").and_then(Value::as_str).ok_or("no dtype")?;
    let encoding = Encoding::parse(dtype).ok_or_else(|| {
        format!("dtype {dtype} has no counterpart (F32, F16, BF16, F64, I64, I32, U32, U8 and BOOL have)")
    })?;
    let numbers = |key: &str| -> Result<Vec<u64>, String> {
        let list = value.get(key).and_then(Value::as_array).ok_or_else(|| format!("no {key}"))?;
        list.iter().map(|v| v.as_u64().ok_or_else(|| format!("{key} holds {v}"))).collect()
    };
    let dims = numbers("shape")?;
    let dims: Vec<usize> =
        dims.iter().map(|&d| usize::try_from(d).map_err(|e| e.to_string())).collect::<Result<_, _>>()?;
    let shape = Shape::new(&dims).map_err(|e| e.to_string())?;
    let [begin, end] = numbers("data_offsets")?[..] else { return Err("data_offsets are not a pair".into()) };
    let expected = (shape.numel() as u64).checked_mul(encoding.size());
    if end.checked_sub(begin) != expected || expected.is_none() {
        return Err(format!("bytes {begin}..{end} do not hold {shape} of {dtype}"));
    }
    Ok(Entry { name: name.to_owned(), encoding, shape, begin, end })
}

enum ReadError {
    Io(std::io::Error),
    Own(Error),
}

impl From<std::io::Error> for ReadError {
    fn from(e: std::io::Error) -> Self {
        ReadError::Io(e)
    }
}

impl From<Error> for ReadError {
    fn from(e: Error) -> Self {
        ReadError::Own(e)
    }
}

fn read_tensor(from: &mut impl Read, entry: &Entry, device: &Device) -> Result<Tensor, ReadError> {
    let n = entry.shape.numel();
    let Encoding::Plain(dtype) = entry.encoding else {
        let mut values = vec![0i64; n];
        for v in &mut values {
            let mut bytes = [0u8; 4];
            from.read_exact(&mut bytes)?;
            *v = i32::from_le_bytes(bytes) as i64;
        }
        return Ok(Tensor::from_slice(&values, entry.shape, device)?);
    };
    let mut buffer = Buffer::uninit(&Device::Cpu, dtype, n)?;
    if let Memory::Cpu(memory) = buffer.memory_mut() {
        from.read_exact(memory.as_mut_slice::<u8>(n * dtype.size()))?;
    }
    if device.is_cpu() {
        return Ok(Tensor::from_buffer(buffer, entry.shape)?);
    }
    let buffer = with_dtype!(dtype, T => Buffer::from_slice(device, buffer.as_slice::<T>()?)?);
    Ok(Tensor::from_buffer(buffer, entry.shape)?)
}

pub(super) fn save(path: &Path, entries: &BTreeMap<String, Tensor>) -> Result<()> {
    // Wide elements first, so that every tensor is aligned in the file, as the format's own writer has it.
    let mut order: Vec<(&String, &Tensor)> = entries.iter().collect();
    order.sort_by(|a, b| b.1.dtype().size().cmp(&a.1.dtype().size()).then(a.0.cmp(b.0)));
    let mut header = Map::new();
    header.insert("__metadata__".into(), serde_json::json!({ "format": "pt" }));
    let mut at = 0;
    for (name, tensor) in &order {
        let end = at + tensor.numel() * tensor.dtype().size();
        let dtype = file_name(tensor.dtype());
        header.insert(
            name.to_string(),
            serde_json::json!({ "dtype": dtype, "shape": tensor.dims(), "data_offsets": [at, end] }),
        );
        at = end;
    }
    let mut header = Value::Object(header).to_string().into_bytes();
    header.resize(header.len().next_multiple_of(8), b' ');
    if header.len() as u64 > MAX_HEADER {
        let message = format!("a header of {} bytes is longer than the format allows", header.len());
        return Err(Error::Format { what: path.display().to_string(), message });
    }
    write_atomically(path, |to| {
        to.write_all(&(header.len() as u64).to_le_bytes())?;
        to.write_all(&header)?;
        for (_, tensor) in &order {
            write_tensor(to, tensor)?;
        }
        Ok(())
    })
}

fn write_tensor(to: &mut dyn Write, tensor: &Tensor) -> std::io::Result<()> {
    let own = |e: Error| std::io::Error::other(e.to_string());
    let bytes = tensor.numel() * tensor.dtype().size();
    if tensor.is_whole() && tensor.device().is_cpu() {
        let guard = tensor.read();
        if let Memory::Cpu(memory) = guard.view().map_err(own)?.buffer().memory() {
            return to.write_all(memory.as_slice::<u8>(bytes));
        }
    }
    let host = with_dtype!(tensor.dtype(), T => {
        tensor.to_vec::<T>().and_then(|values| Buffer::from_slice(&Device::Cpu, &values)).map_err(own)?
    });
    match host.memory() {
        Memory::Cpu(memory) => to.write_all(memory.as_slice::<u8>(bytes)),
        Memory::Cuda(_) => unreachable!("the buffer was made on the CPU device"),
    }
}
