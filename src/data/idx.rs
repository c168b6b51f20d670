//! IDX, the format of MNIST and its relatives (LeCun): two zero bytes, one for the type, one for the number of axes,
//! their extents as 32-bit numbers, then the elements, all big-endian.

use crate::device::{Buffer, Memory};
use crate::{DType, Device, Element, Error, Result, Shape, Tensor};
use std::io::Read;
use std::path::Path;

/// A type of the format: its code, its bytes, and the dtype that holds all its values.
const TYPES: [(u8, usize, DType); 6] = [
    (0x08, 1, DType::U8),
    (0x09, 1, DType::I64),
    (0x0b, 2, DType::I64),
    (0x0c, 4, DType::I64),
    (0x0d, 4, DType::F32),
    (0x0e, 8, DType::F64),
];

/// The tensor in an IDX file, on the CPU. Unsigned bytes are u8, signed integers of any size i64, floats f32 and f64.
///
/// ```
/// use warpsmith::data::load_idx;
/// let path = std::env::temp_dir().join(format!("doc-{}.idx", std::process::id()));
/// std::fs::write(&path, [0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3, 1, 2, 3, 4, 5, 6])?;
/// assert_eq!(load_idx(&path)?.to_vec2::<u8>()?, [[1, 2, 3], [4, 5, 6]]);
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_idx(path: impl AsRef<Path>) -> Result<Tensor> {
    let path = path.as_ref();
    let io = |source| Error::Io { action: "reading", path: path.to_owned(), source };
    let file = std::fs::File::open(path).map_err(io)?;
    let length = file.metadata().map_err(io)?.len();
    read_idx(std::io::BufReader::new(file), length, &path.display().to_string())
}

/// As [`load_idx`], from `length` bytes of anything; `what` names it in errors.
pub fn read_idx(mut from: impl Read, length: u64, what: &str) -> Result<Tensor> {
    let bad = |message: String| Error::Format { what: what.to_owned(), message };
    let cut = |e: std::io::Error| bad(format!("reading failed: {e}"));
    let mut magic = [0; 4];
    from.read_exact(&mut magic).map_err(cut)?;
    let [0, 0, code, rank] = magic else {
        let hint = if magic[..2] == [0x1f, 0x8b] { ": it is compressed, unpack it with gunzip" } else { "" };
        return Err(bad(format!("it begins with {magic:02x?}, and IDX files with two zeros{hint}")));
    };
    let known = TYPES.iter().find(|kind| kind.0 == code);
    let Some(&(_, size, dtype)) = known else { return Err(bad(format!("type {code:#04x} is none of IDX"))) };
    let mut extents = vec![0; rank as usize];
    for extent in &mut extents {
        let mut bytes = [0; 4];
        from.read_exact(&mut bytes).map_err(cut)?;
        *extent = u32::from_be_bytes(bytes) as usize;
    }
    let shape = Shape::new(&extents).map_err(|e| bad(e.to_string()))?;
    // Before any memory is asked for.
    let expected =
        (shape.numel() as u64).checked_mul(size as u64).and_then(|data| data.checked_add(4 + 4 * rank as u64));
    if expected != Some(length) {
        let message = format!("{shape} of {size} bytes each and its head do not fit its {length} bytes");
        return Err(bad(format!("{message}: cut off, or another format")));
    }
    let mut bytes = Buffer::uninit(&Device::Cpu, DType::U8, shape.numel() * size)?;
    if let Memory::Cpu(memory) = bytes.memory_mut() {
        from.read_exact(memory.as_mut_slice::<u8>(shape.numel() * size)).map_err(cut)?;
    }
    if code == 0x08 {
        return Tensor::from_buffer(bytes, shape);
    }
    let bytes = bytes.as_slice::<u8>()?;
    match code {
        0x09 => decode(bytes, shape, |[b]: [u8; 1]| b as i8 as i64),
        0x0b => decode(bytes, shape, |b: [u8; 2]| i16::from_be_bytes(b) as i64),
        0x0c => decode(bytes, shape, |b: [u8; 4]| i32::from_be_bytes(b) as i64),
        _ if dtype == DType::F32 => decode(bytes, shape, f32::from_be_bytes),
        _ => decode(bytes, shape, f64::from_be_bytes),
    }
}

fn decode<T: Element, const N: usize>(bytes: &[u8], shape: Shape, f: impl Fn([u8; N]) -> T) -> Result<Tensor> {
    let values: Vec<T> = bytes.as_chunks::<N>().0.iter().map(|&b| f(b)).collect();
    Tensor::from_slice(&values, shape, &Device::Cpu)
}
