//! Data sets that stay in their files.

use super::dataset::{Dataset, check_index};
use crate::device::cpu::{MappedFile, for_each_chunk};
use crate::device::{Buffer, Memory};
use crate::nn::safetensors_entries;
use crate::random::Philox;
use crate::{DType, Device, Error, Result, Shape, Tensor};
use parking_lot::Mutex;
use std::path::Path;
use std::sync::Arc;

/// Samples in mapped files: only what is asked for is read, and the system keeps in memory what fits.
///
/// Files must not be cut while they are in use: see [`MappedFile`].
///
/// ```
/// use warpsmith::data::{DataLoader, MappedDataset};
/// use warpsmith::{DType, Device, Tensor, nn::StateDict};
/// let path = std::env::temp_dir().join(format!("mapped-{}.safetensors", std::process::id()));
/// let mut file = StateDict::new();
/// file.insert("images", Tensor::ones([100, 3, 8, 8], DType::U8, &Device::Cpu)?);
/// file.insert("labels", Tensor::zeros([100], DType::I64, &Device::Cpu)?);
/// file.save(&path)?;
///
/// let loader = DataLoader::new(MappedDataset::safetensors(&path, &["images", "labels"])?, 32).shuffle(1).workers(1);
/// for batch in loader.epoch(0) {
///     let batch = batch?;
///     assert_eq!(batch[0].dims()[1..], [3, 8, 8]);
/// }
/// # std::fs::remove_file(&path).ok();
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct MappedDataset {
    file: Arc<MappedFile>,
    fields: Vec<Field>,
    len: usize,
}

/// One tensor of every sample.
#[derive(Clone, Debug)]
struct Field {
    dtype: DType,
    shape: Shape,
    /// Where sample 0 lies in the file.
    begin: usize,
    /// How far the next sample lies from it.
    stride: usize,
    bytes: usize,
}

impl Field {
    fn new(dtype: DType, shape: &[usize], begin: usize) -> Result<Self> {
        let shape = Shape::new(shape)?;
        let bytes = shape.numel().checked_mul(dtype.size());
        let bytes =
            bytes.ok_or_else(|| Error::argument("MappedDataset", format!("{shape} of {dtype} is too large")))?;
        Ok(Field { dtype, shape, begin, stride: bytes, bytes })
    }
}

impl MappedDataset {
    /// A file of records of one size after a head of `head` bytes: each record is these tensors' elements one after
    /// another, row-major, little-endian. A record that is cut off is an error.
    ///
    /// ```
    /// use warpsmith::data::{Dataset, MappedDataset};
    /// use warpsmith::{DType, random::Philox};
    /// let path = std::env::temp_dir().join(format!("records-{}.bin", std::process::id()));
    /// std::fs::write(&path, [9u8, 1, 2, 7, 3, 4])?;
    /// let set = MappedDataset::records(&path, 0, &[(DType::U8, &[]), (DType::U8, &[2])])?;
    /// assert_eq!(set.get(1, &mut Philox::new(0))?[1].to_vec::<u8>()?, [3, 4]);
    /// # std::fs::remove_file(&path).ok();
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn records(path: impl AsRef<Path>, head: usize, tensors: &[(DType, &[usize])]) -> Result<Self> {
        let file = MappedFile::open(path)?;
        let mut record = 0;
        let mut fields = Vec::new();
        for (dtype, shape) in tensors {
            let field = Field::new(*dtype, shape, head + record)?;
            record += field.bytes;
            fields.push(field);
        }
        fields.iter_mut().for_each(|field| field.stride = record);
        let data = file.len().checked_sub(head).filter(|data| record > 0 && data.is_multiple_of(record));
        let Some(data) = data else {
            let message = format!("{} bytes are not a head of {head} and records of {record}", file.len());
            return Err(Error::Format { what: file.path().display().to_string(), message });
        };
        Ok(MappedDataset { len: data / record, file: Arc::new(file), fields })
    }

    /// The rows of named tensors of a safetensors file, which have equal first axes.
    pub fn safetensors(path: impl AsRef<Path>, names: &[&str]) -> Result<Self> {
        let file = MappedFile::open(path.as_ref())?;
        let bad = |message: String| Error::Format { what: file.path().display().to_string(), message };
        let entries = safetensors_entries(path.as_ref())?;
        let (mut fields, mut len) = (Vec::new(), None);
        for name in names {
            let known = || bad(format!("there is no entry {name} among {} entries", entries.len()));
            let entry = entries.iter().find(|entry| entry.name == *name).ok_or_else(known)?;
            let Some(dtype) = entry.dtype else { return Err(bad(format!("{name} must be widened: load it instead"))) };
            let Some((&rows, row)) = entry.shape.dims().split_first() else {
                return Err(bad(format!("{name} has no axes, and rows are asked for")));
            };
            if *len.get_or_insert(rows) != rows {
                return Err(bad(format!("{name} has {rows} rows, and the tensors before it {len:?}")));
            }
            fields.push(Field::new(dtype, row, entry.begin as usize)?);
        }
        let len = len.ok_or_else(|| bad("no tensor is asked for".into()))?;
        Ok(MappedDataset { file: Arc::new(file), fields, len })
    }

    fn gather(&self, indices: &[usize], field: &Field, shape: Shape) -> Result<Tensor> {
        let mut buffer = Buffer::uninit(&Device::Cpu, field.dtype, shape.numel())?;
        let failed = Mutex::new(None);
        if let Memory::Cpu(memory) = buffer.memory_mut()
            && field.bytes > 0
        {
            let all = memory.as_mut_slice::<u8>(indices.len() * field.bytes);
            // Enough for a thread to be worth its start.
            let rows = ((1 << 16) / field.bytes).max(1);
            for_each_chunk(all, rows * field.bytes, |chunk, out| {
                for (row, &index) in out.chunks_exact_mut(field.bytes).zip(&indices[chunk * rows..]) {
                    if let Err(error) = self.file.copy_to(field.begin + index * field.stride, row) {
                        *failed.lock() = Some(error);
                    }
                }
            });
        }
        match failed.into_inner() {
            Some(error) => Err(error),
            None => Tensor::from_buffer(buffer, shape),
        }
    }
}

impl Dataset for MappedDataset {
    fn len(&self) -> usize {
        self.len
    }

    fn get(&self, index: usize, _: &mut Philox) -> Result<Vec<Tensor>> {
        check_index(index, self.len)?;
        self.fields.iter().map(|field| self.gather(&[index], field, field.shape)).collect()
    }

    fn batch(&self, indices: &[usize], _: &mut [Philox]) -> Result<Vec<Tensor>> {
        indices.iter().try_for_each(|&index| check_index(index, self.len))?;
        let one = |field: &Field| {
            let shape: Vec<usize> = [indices.len()].iter().chain(field.shape.dims()).copied().collect();
            self.gather(indices, field, Shape::new(&shape)?)
        };
        self.fields.iter().map(one).collect()
    }
}
