//! Floor 3: the tensor, an immutable value with shared storage, a layout and, if recorded, a graph node.

mod create;
mod display;
#[cfg(feature = "ndarray")]
mod ndarray;
mod storage;
mod views;

pub(crate) use storage::{ReadGuard, Storage};

use crate::autograd::Node;
use crate::device::Buffer;
use crate::{DType, Device, Element, Error, Layout, Result, Shape, with_dtype};
use std::sync::Arc;

/// An n-dimensional array: an immutable value, cheap to clone. Views share storage; operations return new tensors.
#[derive(Clone)]
pub struct Tensor {
    storage: Arc<Storage>,
    layout: Layout,
    node: Option<Arc<Node>>,
}

impl Tensor {
    /// A tensor over a freshly computed contiguous buffer.
    pub fn from_buffer(buffer: Buffer, shape: Shape) -> Result<Self> {
        if buffer.len() != shape.numel() {
            let message = format!("a buffer of {} elements cannot have shape {shape}", buffer.len());
            return Err(Error::argument("from_buffer", message));
        }
        Ok(Tensor { storage: Arc::new(Storage::new(buffer)), layout: Layout::contiguous(shape), node: None })
    }

    /// The shape.
    pub fn shape(&self) -> &Shape {
        self.layout.shape()
    }

    /// The extents of the axes.
    pub fn dims(&self) -> &[usize] {
        self.layout.dims()
    }

    /// The extent of an axis, which may count from the end.
    pub fn dim(&self, axis: isize) -> Result<usize> {
        Ok(self.dims()[self.shape().axis(axis, "dim")?])
    }

    /// The number of axes.
    pub fn rank(&self) -> usize {
        self.shape().rank()
    }

    /// The number of elements.
    pub fn numel(&self) -> usize {
        self.layout.numel()
    }

    /// The dtype.
    pub fn dtype(&self) -> DType {
        self.storage.dtype()
    }

    /// The device that holds the elements.
    pub fn device(&self) -> &Device {
        self.storage.device()
    }

    /// Where the elements lie in the storage.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// Whether the elements lie row-major and without gaps.
    pub fn is_contiguous(&self) -> bool {
        self.layout.is_contiguous()
    }

    /// Whether a backward would reach this tensor.
    pub fn requires_grad(&self) -> bool {
        self.node.is_some()
    }

    /// Locks the storage for reading; `.view()` of the guard is what kernel families take.
    pub fn read(&self) -> ReadGuard<'_> {
        self.storage.read(self.layout)
    }

    /// The same value without its graph: a constant for autograd.
    pub fn detach(&self) -> Tensor {
        Tensor { storage: self.storage.clone(), layout: self.layout, node: None }
    }

    /// The elements in row-major order. Waits for the device.
    pub fn to_vec<T: Element>(&self) -> Result<Vec<T>> {
        if self.device().is_cpu() {
            return self.read().view()?.to_vec();
        }
        // Only what is asked for crosses to the host.
        self.packed()?.read().view()?.to_vec()
    }

    /// The elements in row-major order as f64, whatever the dtype. Waits for the device.
    pub fn to_f64_vec(&self) -> Result<Vec<f64>> {
        with_dtype!(self.dtype(), T => Ok(self.to_vec::<T>()?.into_iter().map(Element::to_f64).collect()))
    }

    /// The rows of a matrix. Waits for the device.
    pub fn to_vec2<T: Element>(&self) -> Result<Vec<Vec<T>>> {
        let &[rows, columns] = self.dims() else {
            return Err(Error::shape("to_vec2", "two axes", &[*self.shape()]));
        };
        let flat = self.to_vec::<T>()?;
        Ok((0..rows).map(|r| flat[r * columns..(r + 1) * columns].to_vec()).collect())
    }

    /// The matrices of a tensor with three axes, as rows. Waits for the device.
    pub fn to_vec3<T: Element>(&self) -> Result<Vec<Vec<Vec<T>>>> {
        let &[outer, rows, columns] = self.dims() else {
            return Err(Error::shape("to_vec3", "three axes", &[*self.shape()]));
        };
        let flat = self.to_vec::<T>()?;
        let row = |r: usize| flat[r * columns..(r + 1) * columns].to_vec();
        Ok((0..outer).map(|o| (o * rows..(o + 1) * rows).map(row).collect()).collect())
    }

    /// The value of a tensor with one element, converted from its dtype (exactly where the dtypes are the same).
    pub fn item<T: Element>(&self) -> Result<T> {
        if self.numel() != 1 {
            return Err(Error::shape("item", "exactly one element", &[*self.shape()]));
        }
        if self.dtype() == T::DTYPE { Ok(self.to_vec::<T>()?[0]) } else { Ok(T::from_f64(self.to_f64_vec()?[0])) }
    }

    pub(crate) fn node(&self) -> Option<&Arc<Node>> {
        self.node.as_ref()
    }

    pub(crate) fn with_node(&self, node: Option<Arc<Node>>) -> Tensor {
        Tensor { storage: self.storage.clone(), layout: self.layout, node }
    }

    pub(crate) fn storage(&self) -> &Arc<Storage> {
        &self.storage
    }

    /// Whether this value is the only one on its storage and covers it, so that nobody can tell if it is overwritten.
    pub(crate) fn is_unique(&self) -> bool {
        Arc::strong_count(&self.storage) == 1 && self.is_whole()
    }

    /// The buffer of a [unique](Tensor::is_unique) tensor; `None` if it is shared.
    pub(crate) fn into_buffer(self) -> Option<Buffer> {
        Arc::into_inner(self.storage).map(Storage::into_buffer)
    }

    /// The same storage through another layout, without a graph.
    pub(crate) fn alias(&self, layout: Layout) -> Tensor {
        Tensor { storage: self.storage.clone(), layout, node: None }
    }
}

impl std::fmt::Debug for Tensor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tensor({} {} on {}", self.shape(), self.dtype(), self.device())?;
        if let Some(node) = &self.node {
            write!(f, ", {}", node.name())?;
        }
        write!(f, ")")
    }
}
