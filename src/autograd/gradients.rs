//! What a backward gives: gradients by tensor.

use crate::kernels::index;
use crate::{DType, Error, Result, Shape, Tensor};
use std::collections::BTreeMap;

/// A gradient, dense or of a few rows.
#[derive(Clone, Debug)]
pub enum Gradient {
    /// A tensor of the value's shape.
    Dense(Tensor),
    /// Rows of the value's first axis, zero elsewhere (embeddings).
    Rows(Box<RowSparse>),
}

/// The gradient of a table of rows of which few were used.
#[derive(Clone, Debug)]
pub struct RowSparse {
    /// i64 row numbers, ascending and unique, of shape (n).
    pub indices: Tensor,
    /// The rows' gradients, of shape (n, …).
    pub rows: Tensor,
    /// The shape of the whole table.
    pub shape: Shape,
}

impl From<Tensor> for Gradient {
    fn from(tensor: Tensor) -> Self {
        Gradient::Dense(tensor)
    }
}

impl Gradient {
    /// The shape of the value.
    pub fn shape(&self) -> Shape {
        match self {
            Gradient::Dense(tensor) => *tensor.shape(),
            Gradient::Rows(rows) => rows.shape,
        }
    }

    /// The dtype of the value.
    pub fn dtype(&self) -> DType {
        match self {
            Gradient::Dense(tensor) => tensor.dtype(),
            Gradient::Rows(rows) => rows.rows.dtype(),
        }
    }

    /// The gradient as a tensor of the value's shape.
    pub fn dense(&self) -> Result<Tensor> {
        match self {
            Gradient::Dense(tensor) => Ok(tensor.clone()),
            Gradient::Rows(rows) => rows.dense(),
        }
    }

    /// The gradient as a tensor of the value's shape, without a second handle to its storage, so that the receiver
    /// may overwrite it.
    pub fn into_dense(self) -> Result<Tensor> {
        match self {
            Gradient::Dense(tensor) => Ok(tensor),
            Gradient::Rows(rows) => rows.dense(),
        }
    }

    /// The sum of two gradients of one value, written into one of them where nothing else holds it.
    pub fn plus(self, other: Gradient) -> Result<Gradient> {
        match (&self, &other) {
            (Gradient::Rows(a), Gradient::Rows(b)) => Ok(Gradient::Rows(Box::new(a.plus(b)?))),
            _ => (self.into_dense()? + other.into_dense()?).map(Gradient::Dense),
        }
    }
}

impl RowSparse {
    /// The gradient of a table of `shape` from the gradients `rows` (n, …) of its rows number `ids` (n), in any order and
    /// with repeats: equal numbers are merged, their rows added in order.
    pub fn sum_of(ids: &Tensor, rows: &Tensor, shape: Shape) -> Result<RowSparse> {
        let bound = shape.dims().first().copied().unwrap_or(0);
        if shape.rank() == 0 || rows.shape() != &shape.with_dim(0, ids.numel()) {
            let expected = format!("one row of a table {shape} for each of {} ids", ids.numel());
            return Err(Error::shape("row_sparse", expected, &[*rows.shape()]));
        }
        let (ids, packed) = (ids.detach(), rows.packed()?);
        let inner = shape.with_dim(0, 1).numel();
        let (unique, sums) = index::merge_rows(ids.read().view()?, packed.read().view()?, inner, bound)?;
        let n = unique.len();
        let indices = Tensor::from_buffer(unique, Shape::new(&[n])?)?;
        Ok(RowSparse { indices, rows: Tensor::from_buffer(sums, shape.with_dim(0, n))?, shape })
    }

    /// The gradient as a tensor of the table's shape.
    pub fn dense(&self) -> Result<Tensor> {
        Tensor::zeros(self.shape, self.rows.dtype(), self.rows.device())?.index_add(0, &self.indices, &self.rows)
    }

    /// The sum of two gradients of one table.
    fn plus(&self, other: &RowSparse) -> Result<RowSparse> {
        let indices = Tensor::cat(&[&self.indices, &other.indices], 0)?;
        let rows = Tensor::cat(&[&self.rows, &other.rows], 0)?;
        RowSparse::sum_of(&indices, &rows, self.shape)
    }
}

/// The gradients of one backward, for every variable and every tensor marked with [`Tensor::track`].
#[derive(Clone, Debug, Default)]
pub struct Gradients {
    by_node: BTreeMap<u64, Gradient>,
}

impl Gradients {
    /// The gradient of a variable or tracked tensor as a dense tensor; `None` if the backward did not reach it.
    pub fn get(&self, of: &Tensor) -> Result<Option<Tensor>> {
        self.get_sparse(of).map(Gradient::dense).transpose()
    }

    /// The gradient as the backward produced it, perhaps row-sparse.
    pub fn get_sparse(&self, of: &Tensor) -> Option<&Gradient> {
        self.by_node.get(&of.node()?.id())
    }

    /// The gradient of a variable or tracked tensor; an error if the backward did not reach it.
    pub fn expect(&self, of: &Tensor) -> Result<Tensor> {
        self.get(of)?.ok_or_else(|| {
            let message =
                format!("the backward did not reach {of:?}; is it a Var or .track()ed, and used by the loss?");
            Error::argument("gradients", message)
        })
    }

    /// Replaces (or adds) the gradient of a variable or tracked tensor: clipping, custom gradients.
    pub fn set(&mut self, of: &Tensor, gradient: impl Into<Gradient>) -> Result<()> {
        let node = of.node().ok_or_else(|| Error::argument("gradients", "set: the tensor is not tracked"))?;
        let gradient = gradient.into();
        node.check("gradients", &gradient)?;
        self.by_node.insert(node.id(), gradient);
        Ok(())
    }

    /// Adds the gradients of another backward: gradient accumulation.
    pub fn accumulate(&mut self, more: Gradients) -> Result<()> {
        for (id, gradient) in more.by_node {
            self.add(id, gradient)?;
        }
        Ok(())
    }

    /// How many values have a gradient.
    pub fn len(&self) -> usize {
        self.by_node.len()
    }

    /// Whether no value has a gradient.
    pub fn is_empty(&self) -> bool {
        self.by_node.is_empty()
    }

    /// Removes and returns the gradient of a variable or tracked tensor.
    pub fn take(&mut self, of: &Tensor) -> Option<Gradient> {
        self.by_node.remove(&of.node()?.id())
    }

    pub(super) fn add(&mut self, id: u64, gradient: Gradient) -> Result<()> {
        let sum = match self.by_node.remove(&id) {
            Some(old) => old.plus(gradient)?,
            None => gradient,
        };
        self.by_node.insert(id, sum);
        Ok(())
    }
}
