//! The store of a model's parameters: paths, kinds, tied names.

use super::init::Init;
use super::state::{Entry, Kind, StateBuffer};
use crate::autograd::Var;
use crate::{DType, Device, Error, IntoShape, Result, Shape, Tensor};
use parking_lot::Mutex;
use rand_core::Rng;
use std::collections::HashMap;
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A trainable value of a model; clones are the same parameter. Dereferences to its [`Var`].
#[derive(Clone, Debug)]
pub struct Param {
    var: Var,
    frozen: Arc<AtomicBool>,
}

impl Param {
    fn new(name: &str, value: &Tensor) -> Result<Self> {
        Ok(Param { var: Var::named(name, value)?, frozen: Arc::default() })
    }

    /// What a layer computes with: on the tape, or a constant while the parameter is frozen.
    pub fn tensor(&self) -> Tensor {
        if self.is_frozen() { self.var.detach() } else { self.var.as_tensor().clone() }
    }

    /// The variable that an optimizer updates.
    pub fn var(&self) -> &Var {
        &self.var
    }

    /// Whether the parameter is kept constant.
    pub fn is_frozen(&self) -> bool {
        self.frozen.load(Ordering::Acquire)
    }

    /// Keeps the parameter constant (true), or trains it again (false). A frozen one costs no backward.
    pub fn set_frozen(&self, frozen: bool) {
        self.frozen.store(frozen, Ordering::Release);
    }

    /// Whether two handles are the same parameter.
    pub fn same(&self, other: &Param) -> bool {
        self.var.same(&other.var)
    }
}

impl Deref for Param {
    type Target = Var;
    fn deref(&self) -> &Var {
        &self.var
    }
}

pub(super) struct Store {
    pub(super) entries: Vec<(String, Entry)>,
    index: HashMap<String, usize>,
    rng: Box<dyn Rng + Send>,
}

/// The parameters and buffers of a model by path: trainable and frozen values, running statistics, tied names.
///
/// Layers take a `&Params` that points at their place (`params.sub("layer1")`) and create their entries there, in
/// PyTorch's names, so that files go both ways. Clones and subs share one store. Initial values are drawn in the order
/// of creation from the store's generator: the same seed and program give the same model.
///
/// ```
/// # use warpsmith::{DType, Device, nn::{Linear, Params}};
/// let params = Params::new(&Device::Cpu, DType::F32, 42);
/// let layer = Linear::new(&params.sub("fc"), 784, 10)?;
/// assert_eq!(params.names(), ["fc.weight", "fc.bias"]);
/// assert_eq!(params.numel(), 7850);
/// # Ok::<(), warpsmith::Error>(())
/// ```
#[derive(Clone)]
pub struct Params {
    pub(super) store: Arc<Mutex<Store>>,
    prefix: String,
    device: Device,
    dtype: DType,
    shapes_only: bool,
}

impl Params {
    /// An empty store whose parameters live on `device` in the float `dtype`, drawn from Philox 4x32-10 with `seed`.
    pub fn new(device: &Device, dtype: DType, seed: u64) -> Self {
        Self::with_rng(device, dtype, crate::random::Philox::new(seed))
    }

    /// As [`new`](Params::new) with any generator of the `rand` family.
    pub fn with_rng(device: &Device, dtype: DType, rng: impl Rng + Send + 'static) -> Self {
        let store = Store { entries: vec![], index: HashMap::new(), rng: Box::new(rng) };
        let store = Arc::new(Mutex::new(store));
        Params { store, prefix: String::new(), device: device.clone(), dtype, shapes_only: false }
    }

    /// A store whose parameters have names and shapes and no memory of their own: for the structure and the counts of a
    /// model of any size. Every value reads as zero, and overwriting one is an error.
    ///
    /// ```
    /// # use warpsmith::{DType, models::{Gpt, GptConfig}, nn::Params};
    /// let params = Params::shapes_only(DType::F32);
    /// Gpt::gpt2(&params, &GptConfig::named("gpt2-xl")?)?;
    /// assert_eq!(params.numel(), 1_557_611_200);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn shapes_only(dtype: DType) -> Self {
        Params { shapes_only: true, ..Self::new(&Device::Cpu, dtype, 0) }
    }

    /// The place `name` beneath this one: names created there begin with `name.`.
    pub fn sub(&self, name: impl std::fmt::Display) -> Params {
        Params { prefix: self.path(&name.to_string()), ..self.clone() }
    }

    /// Where parameters live.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The dtype of parameters.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    fn path(&self, name: &str) -> String {
        match (self.prefix.is_empty(), name.is_empty()) {
            (true, _) => name.to_owned(),
            (_, true) => self.prefix.clone(),
            _ => format!("{}.{name}", self.prefix),
        }
    }

    /// The name relative to this place; `None` if it lies elsewhere.
    pub(super) fn relative<'a>(&self, name: &'a str) -> Option<&'a str> {
        if self.prefix.is_empty() {
            return Some(name);
        }
        name.strip_prefix(self.prefix.as_str())?.strip_prefix('.')
    }

    fn insert(&self, name: &str, entry: Entry) -> Result<()> {
        let path = self.path(name);
        let mut store = self.store.lock();
        if store.index.contains_key(&path) {
            return Err(Error::argument("params", format!("there is an entry named {path} already")));
        }
        let at = store.entries.len();
        store.index.insert(path.clone(), at);
        store.entries.push((path, entry));
        Ok(())
    }

    /// Creates a trainable parameter.
    pub fn param(&self, name: &str, shape: impl IntoShape, init: Init) -> Result<Param> {
        let shape = shape.into_shape()?;
        if self.shapes_only {
            let value = Tensor::zeros([1], self.dtype, &self.device)?.reshape(())?.expand(shape)?;
            let param = Param { var: Var::without_memory(&value), frozen: Arc::default() };
            self.insert(name, Entry { kind: Kind::Param(param.clone()), tied: false })?;
            return Ok(param);
        }
        let value = init.tensor(shape, self.dtype, &self.device, &mut *self.store.lock().rng)?;
        self.param_from(name, &value)
    }

    /// Creates a trainable parameter with a copy of a value, in the value's dtype and on its device.
    pub fn param_from(&self, name: &str, value: &Tensor) -> Result<Param> {
        let param = Param::new(&self.path(name), value)?;
        self.insert(name, Entry { kind: Kind::Param(param.clone()), tied: false })?;
        Ok(param)
    }

    /// Creates a buffer: a tensor that is saved with the model and not trained, such as running statistics.
    pub fn buffer(&self, name: &str, value: Tensor) -> Result<StateBuffer> {
        let buffer = StateBuffer::new(value);
        self.insert(name, Entry { kind: Kind::Buffer(buffer.clone()), tied: false })?;
        Ok(buffer)
    }

    /// Creates a counter, saved as an i64 scalar. Files without it load: PyTorch's older ones lack it.
    pub fn counter(&self, name: &str) -> Result<super::state::Counter> {
        let counter = super::state::Counter::default();
        self.insert(name, Entry { kind: Kind::Counter(counter.clone()), tied: false })?;
        Ok(counter)
    }

    /// A second name for a parameter: both are saved, as PyTorch does, and either suffices to load.
    pub fn tie(&self, name: &str, param: &Param) -> Result<()> {
        self.insert(name, Entry { kind: Kind::Param(param.clone()), tied: true })
    }

    /// The names of all entries beneath this place, relative to it, in order of creation.
    pub fn names(&self) -> Vec<String> {
        let store = self.store.lock();
        store.entries.iter().filter_map(|(n, _)| self.relative(n)).map(str::to_owned).collect()
    }

    /// The parameter with this name relative to this place.
    pub fn get(&self, name: &str) -> Option<Param> {
        let store = self.store.lock();
        let entry = store.index.get(&self.path(name)).map(|&i| &store.entries[i].1)?;
        if let Kind::Param(param) = &entry.kind { Some(param.clone()) } else { None }
    }

    /// Every parameter beneath this place once, with its first name relative to it, frozen ones included.
    pub fn all(&self) -> Vec<(String, Param)> {
        let store = self.store.lock();
        let mut out: Vec<(String, Param)> = vec![];
        for (name, entry) in &store.entries {
            if let (Some(name), Kind::Param(param)) = (self.relative(name), &entry.kind)
                && !(entry.tied && out.iter().any(|(_, p)| p.same(param)))
            {
                out.push((name.to_owned(), param.clone()));
            }
        }
        out
    }

    /// As [`all`](Params::all), without frozen parameters: what an optimizer takes.
    pub fn trainable(&self) -> Vec<(String, Param)> {
        self.all().into_iter().filter(|(_, p)| !p.is_frozen()).collect()
    }

    /// Freezes (or thaws) every parameter beneath this place.
    pub fn set_frozen(&self, frozen: bool) {
        self.all().iter().for_each(|(_, p)| p.set_frozen(frozen));
    }

    /// The number of trainable elements beneath this place; tied parameters count once.
    pub fn numel(&self) -> usize {
        self.trainable().iter().map(|(_, p)| p.numel()).sum()
    }

    /// A table of the entries: name, shape, dtype, elements, kind; with totals below.
    pub fn summary(&self) -> Summary {
        let store = self.store.lock();
        let mut rows: Vec<Row> = vec![];
        for (name, entry) in &store.entries {
            let Some(name) = self.relative(name) else { continue };
            let (shape, dtype, kind) = match &entry.kind {
                Kind::Param(_) if entry.tied => continue,
                Kind::Param(p) => (*p.shape(), p.dtype(), if p.is_frozen() { "frozen" } else { "trainable" }),
                Kind::Buffer(b) => (*b.get().shape(), b.get().dtype(), "buffer"),
                Kind::Counter(_) => (Shape::scalar(), DType::I64, "buffer"),
            };
            rows.push(Row { name: name.to_owned(), shape, dtype, kind });
        }
        Summary { rows }
    }
}

impl std::fmt::Debug for Params {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Params({:?}: {} entries)", self.prefix, self.names().len())
    }
}

struct Row {
    name: String,
    shape: Shape,
    dtype: DType,
    kind: &'static str,
}

/// A printable table of a model's entries, made by [`Params::summary`].
pub struct Summary {
    rows: Vec<Row>,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shapes: Vec<String> = self.rows.iter().map(|r| r.shape.to_string()).collect();
        let name = self.rows.iter().map(|r| r.name.len()).max().unwrap_or(0).max(4);
        let shape = shapes.iter().map(String::len).max().unwrap_or(0).max(5);
        writeln!(f, "{:name$}  {:shape$}  dtype  {:>12}  kind", "name", "shape", "elements")?;
        let (mut of_kind, mut bytes) = ([0usize; 3], 0);
        for (row, s) in self.rows.iter().zip(&shapes) {
            let n = row.shape.numel();
            writeln!(f, "{:name$}  {s:shape$}  {:5}  {n:>12}  {}", row.name, row.dtype.name(), row.kind)?;
            let kind = ["trainable", "frozen", "buffer"].iter().position(|&k| k == row.kind).unwrap_or(2);
            of_kind[kind] += n;
            bytes += n * row.dtype.size();
        }
        let [trainable, frozen, buffers] = of_kind;
        let mib = bytes as f64 / (1 << 20) as f64;
        write!(f, "{trainable} trainable, {frozen} frozen, {buffers} in buffers; {mib:.2} MiB")
    }
}
