//! State dictionaries: what a model saves, and loading it back strictly.

use super::params::{Param, Params};
use crate::device::{Buffer, replay};
use crate::kernels::elementwise;
use crate::{DType, Device, Error, Result, Tensor};
use parking_lot::RwLock;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// A tensor that is saved with the model and not trained; clones are the same buffer.
#[derive(Clone, Debug)]
pub struct StateBuffer {
    value: Arc<RwLock<Tensor>>,
    /// A graph writes the value at its place, which it keeps from then on.
    placed: Arc<AtomicBool>,
}

impl StateBuffer {
    pub(super) fn new(value: Tensor) -> Self {
        StateBuffer { value: Arc::new(RwLock::new(value.detach())), placed: Arc::default() }
    }

    /// The value. Once a captured step sets it, later steps write over what this gives: copy what is to stay.
    pub fn get(&self) -> Tensor {
        self.value.read().clone()
    }

    /// Replaces the value by one of the same shape and dtype; its graph is dropped.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        let mut old = self.value.write();
        if old.shape() != value.shape() {
            return Err(Error::shape("buffer", format!("a value of shape {}", old.shape()), &[*value.shape()]));
        }
        if old.dtype() != value.dtype() {
            return Err(Error::dtype("buffer", format!("a value of {}", old.dtype()), &[value.dtype()]));
        }
        if replay::noting() {
            self.placed.store(true, Ordering::Release);
        }
        if self.placed.load(Ordering::Acquire) {
            // A graph knows the address of the value that it reads: whatever is set must be there at its next launch.
            let value = value.detach().contiguous()?;
            return old.storage().write(|buffer| copy_whole(&value, buffer));
        }
        *old = value.detach();
        Ok(())
    }
}

/// Overwrites a buffer with a contiguous tensor's elements.
fn copy_whole(value: &Tensor, buffer: &mut Buffer) -> Result<()> {
    let guard = value.read();
    elementwise::copy(guard.view()?, buffer)
}

/// A number that is saved with the model as an i64 scalar: batches seen.
#[derive(Clone, Debug, Default)]
pub struct Counter(Arc<AtomicI64>);

impl Counter {
    /// The count.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Acquire)
    }

    /// Sets the count.
    pub fn set(&self, value: i64) {
        self.0.store(value, Ordering::Release);
    }

    /// Counts one more; a captured step does at each launch of its graph.
    pub fn advance(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
        replay::note(|| {
            let count = self.0.clone();
            move || {
                count.fetch_add(1, Ordering::AcqRel);
            }
        });
    }
}

pub(super) enum Kind {
    Param(Param),
    Buffer(StateBuffer),
    Counter(Counter),
}

pub(super) struct Entry {
    pub(super) kind: Kind,
    /// A second name of a parameter.
    pub(super) tied: bool,
}

/// Named tensors, as a file holds them.
#[derive(Clone, Debug, Default)]
pub struct StateDict {
    entries: BTreeMap<String, Tensor>,
}

impl StateDict {
    /// No tensors.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds (or replaces) a tensor.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) {
        self.entries.insert(name.into(), tensor.detach());
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.entries.get(name)
    }

    /// The tensor of this name, or an error that names it.
    pub fn expect(&self, name: &str) -> Result<&Tensor> {
        self.get(name).ok_or_else(|| Error::Format {
            what: "state dict".into(),
            message: format!("there is no entry {name} among {} entries", self.len()),
        })
    }

    /// Adds (or replaces) a list of numbers, as f64 on the CPU.
    pub fn insert_numbers(&mut self, name: impl Into<String>, values: &[f64]) -> Result<()> {
        self.insert(name, Tensor::from_slice(values, [values.len()], &Device::Cpu)?);
        Ok(())
    }

    /// The numbers of the tensor of this name, or an error that names it.
    pub fn numbers(&self, name: &str) -> Result<Vec<f64>> {
        self.expect(name)?.to_f64_vec()
    }

    /// Names and tensors, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.entries.iter().map(|(n, t)| (n.as_str(), t))
    }

    /// The number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The entries whose names begin with `prefix.`, without it.
    pub fn sub(&self, prefix: &str) -> StateDict {
        let strip = |name: &String| name.strip_prefix(prefix)?.strip_prefix('.').map(str::to_owned);
        StateDict { entries: self.entries.iter().filter_map(|(n, t)| Some((strip(n)?, t.clone()))).collect() }
    }

    /// Adds every entry of another dictionary under `prefix.`.
    pub fn insert_sub(&mut self, prefix: &str, other: StateDict) {
        self.entries.extend(other.entries.into_iter().map(|(n, t)| (format!("{prefix}.{n}"), t)));
    }

    /// The same entries with floats converted: a half-precision file for a single-precision model.
    pub fn to_dtype(&self, dtype: DType) -> Result<StateDict> {
        let convert = |(n, t): (&String, &Tensor)| {
            let t = if t.dtype().is_float() { t.to_dtype(dtype)? } else { t.clone() };
            Ok((n.clone(), t))
        };
        Ok(StateDict { entries: self.entries.iter().map(convert).collect::<Result<_>>()? })
    }

    /// Reads a safetensors file into memory of `device`. Never reads or allocates past what the file truly holds.
    pub fn load(path: impl AsRef<Path>, device: &Device) -> Result<StateDict> {
        super::safetensors::load(path.as_ref(), device)
    }

    /// As [`load`](StateDict::load) from bytes.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<StateDict> {
        super::safetensors::read(bytes, bytes.len() as u64, "safetensors bytes", device)
    }

    /// Writes a safetensors file: first whole beside the old one, then in its place, so that a crash or a full disk
    /// loses nothing.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        super::safetensors::save(path.as_ref(), &self.entries)
    }
}

impl FromIterator<(String, Tensor)> for StateDict {
    fn from_iter<I: IntoIterator<Item = (String, Tensor)>>(entries: I) -> Self {
        StateDict { entries: entries.into_iter().map(|(n, t)| (n, t.detach())).collect() }
    }
}

/// Collects what does not fit, to tell all of it at once.
#[derive(Default)]
pub(crate) struct Misfit {
    missing: Vec<String>,
    unexpected: Vec<String>,
    mismatched: Vec<String>,
}

impl Misfit {
    pub(crate) fn missing(&mut self, name: &str) {
        self.missing.push(name.to_owned());
    }

    pub(crate) fn unexpected(&mut self, name: &str) {
        self.unexpected.push(name.to_owned());
    }

    /// Notes a difference in shape or dtype; true if there is none.
    pub(crate) fn compare(&mut self, name: &str, found: &Tensor, shape: &crate::Shape, dtype: DType) -> bool {
        let same = found.shape() == shape && found.dtype() == dtype;
        if !same {
            let found = format!("{} {}", found.shape(), found.dtype());
            self.mismatched.push(format!("{name}: {found} instead of {shape} {dtype}"));
        }
        same
    }

    /// Notes an entry that cannot be arranged as the model has it.
    pub(super) fn mismatched(&mut self, name: &str, message: &str) {
        self.mismatched.push(format!("{name}: {message}"));
    }

    fn has_mismatched(&self, name: &str) -> bool {
        self.mismatched.iter().any(|text| text.strip_prefix(name).is_some_and(|rest| rest.starts_with(": ")))
    }

    fn conflict(&mut self, name: &str, other: &str) {
        self.mismatched.push(format!("{name}: differs from {other}, with which it is tied"));
    }

    pub(crate) fn into_result(self, what: &str) -> Result<()> {
        if self.missing.is_empty() && self.unexpected.is_empty() && self.mismatched.is_empty() {
            return Ok(());
        }
        let Misfit { missing, unexpected, mismatched } = self;
        Err(Error::StateDict { what: what.to_owned(), missing, unexpected, mismatched })
    }
}

impl Params {
    /// Every entry beneath this place, by its name relative to it; later training does not change the result.
    pub fn state_dict(&self) -> Result<StateDict> {
        let store = self.store.lock();
        let mut out = StateDict::new();
        for (name, entry) in &store.entries {
            let Some(name) = self.relative(name) else { continue };
            let value = match &entry.kind {
                Kind::Param(param) => param.snapshot()?,
                Kind::Buffer(buffer) => buffer.get().copy()?,
                Kind::Counter(counter) => Tensor::from_slice(&[counter.get()], (), &Device::Cpu)?,
            };
            out.insert(name, value);
        }
        Ok(out)
    }

    /// Overwrites every entry beneath this place. Strict: an error lists every missing, unexpected and mismatched name,
    /// and then nothing was changed. `what` names the source in errors.
    pub fn load_state_dict(&self, dict: &StateDict, what: &str) -> Result<()> {
        self.load_entries(dict, what, true, Misfit::default(), &str::to_owned)
    }

    /// As [`load_state_dict`](Params::load_state_dict), but names that only one side has are passed over: a body for
    /// another head. What both have must still agree in shape and dtype.
    pub fn load_state_dict_partial(&self, dict: &StateDict, what: &str) -> Result<()> {
        self.load_entries(dict, what, false, Misfit::default(), &str::to_owned)
    }

    /// `misfit` holds what is known not to fit, and `label` gives the names of errors.
    pub(super) fn load_entries(
        &self,
        dict: &StateDict,
        what: &str,
        strict: bool,
        mut misfit: Misfit,
        label: &dyn Fn(&str) -> String,
    ) -> Result<()> {
        let store = self.store.lock();
        let own: BTreeMap<&str, &Entry> =
            store.entries.iter().filter_map(|(n, e)| Some((self.relative(n)?, e))).collect();
        let mut values: Vec<(&Kind, Tensor)> = vec![];
        let mut loaded: Vec<(&Param, &str, Tensor)> = vec![];
        for (name, entry) in &own {
            let Some(found) = dict.get(name) else {
                let tied = |p: &Param| {
                    own.iter().any(|(n, e)| {
                        n != name && dict.get(n).is_some() && matches!(&e.kind, Kind::Param(q) if q.same(p))
                    })
                };
                let optional = match &entry.kind {
                    Kind::Param(param) => tied(param),
                    Kind::Buffer(_) => false,
                    Kind::Counter(_) => true,
                };
                if strict && !optional && !misfit.has_mismatched(&label(name)) {
                    misfit.missing(&label(name));
                }
                continue;
            };
            let fits = match &entry.kind {
                Kind::Param(p) => misfit.compare(&label(name), found, p.shape(), p.dtype()),
                Kind::Buffer(b) => misfit.compare(&label(name), found, b.get().shape(), b.get().dtype()),
                Kind::Counter(_) => misfit.compare(&label(name), found, &crate::Shape::scalar(), DType::I64),
            };
            if !fits {
                continue;
            }
            if let Kind::Param(param) = &entry.kind {
                if let Some((_, other, earlier)) = loaded.iter().find(|(p, _, _)| p.same(param)) {
                    if earlier.to_f64_vec()? != found.to_f64_vec()? {
                        misfit.conflict(&label(name), &label(other));
                    }
                    continue;
                }
                loaded.push((param, name, found.clone()));
            }
            values.push((&entry.kind, found.clone()));
        }
        if strict {
            dict.iter().filter(|(n, _)| !own.contains_key(n)).for_each(|(n, _)| misfit.unexpected(n));
        }
        misfit.into_result(what)?;
        for (kind, value) in values {
            match kind {
                Kind::Param(param) => param.set(&value.to_device(param.device())?)?,
                Kind::Buffer(buffer) => buffer.set(&value.to_device(buffer.get().device())?)?,
                Kind::Counter(counter) => counter.set(value.item::<i64>()?),
            }
        }
        Ok(())
    }

    /// Writes every entry beneath this place to a safetensors file, in PyTorch's names, atomically.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.state_dict()?.save(path)
    }

    /// Loads every entry beneath this place from a safetensors file; strict as
    /// [`load_state_dict`](Params::load_state_dict).
    pub fn load(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        self.load_state_dict(&StateDict::load(path, self.device())?, &path.display().to_string())
    }
}
