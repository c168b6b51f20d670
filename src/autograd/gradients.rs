//! What a backward gives: gradients by tensor.

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
        // Two sparse gradients would need their rows merged; a table used twice in one step is rare enough.
        (self.into_dense()? + other.into_dense()?).map(Gradient::Dense)
    }
}

impl RowSparse {
    /// The gradient as a tensor of the table's shape.
    pub fn dense(&self) -> Result<Tensor> {
        let zeros = Tensor::zeros(self.shape, self.rows.dtype(), self.rows.device())?;
        let _ = &self.indices;
        Err(Error::argument("row_sparse", format!("not available for {}", zeros.shape())))
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
