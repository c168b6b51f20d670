//! Trainable leaves, tracked values and hooks on single tensors.

use super::{BackwardCtx, Gradient, Node, Op};
use crate::device::Buffer;
use crate::{Error, Result, Tensor};
use std::ops::Deref;
use std::sync::Arc;

/// A trainable leaf: a tensor whose value an optimizer overwrites in place. Clones are the same variable.
#[derive(Clone, Debug)]
pub struct Var {
    tensor: Tensor,
}

impl Var {
    /// A variable with a copy of this value. Only float tensors can be trained.
    pub fn new(value: &Tensor) -> Result<Var> {
        if !value.dtype().is_float() {
            return Err(Error::dtype("Var::new", "a float dtype", &[value.dtype()]));
        }
        let copy = value.copy()?;
        let node = Node::leaf(*copy.shape(), copy.dtype());
        Ok(Var { tensor: copy.with_node(Some(node)) })
    }

    /// A variable around this very value, which may be a view: it is not to be trained.
    pub(crate) fn without_memory(value: &Tensor) -> Var {
        let node = Node::leaf(*value.shape(), value.dtype());
        Var { tensor: value.with_node(Some(node)) }
    }

    /// As [`Var::new`], with the name that errors give it.
    pub fn named(name: &str, value: &Tensor) -> Result<Var> {
        let var = Var::new(value)?;
        var.tensor.storage().set_name(name);
        Ok(var)
    }

    /// Names the variable in errors; the first name stays.
    pub fn set_name(&self, name: &str) {
        self.tensor.storage().set_name(name);
    }

    /// The value as a tensor on the tape; shares storage with the variable.
    pub fn as_tensor(&self) -> &Tensor {
        &self.tensor
    }

    /// A copy of the value, unaffected by later updates.
    pub fn snapshot(&self) -> Result<Tensor> {
        self.tensor.copy()
    }

    /// Overwrites the value in place.
    pub fn set(&self, value: &Tensor) -> Result<()> {
        if value.shape() != self.shape() || value.dtype() != self.dtype() {
            let expected = format!("a value of shape {} and dtype {}", self.shape(), self.dtype());
            return Err(if value.dtype() != self.dtype() {
                Error::dtype("Var::set", expected, &[value.dtype()])
            } else {
                Error::shape("Var::set", expected, &[*value.shape()])
            });
        }
        // A copy, since the value may be a view of this very variable.
        let value = if std::sync::Arc::ptr_eq(value.storage(), self.tensor.storage()) || !value.is_whole() {
            value.copy()?
        } else {
            value.detach()
        };
        let source = value.storage().read(*value.layout());
        let view = source.view()?;
        self.tensor.storage().write(|buffer| buffer.copy_from(view.buffer()))
    }

    /// Hands the buffer (contiguous, of the variable's shape) to `f` for an in-place update; optimizers use this.
    pub fn update<R>(&self, f: impl FnOnce(&mut Buffer) -> Result<R>) -> Result<R> {
        self.tensor.storage().write(f)
    }

    /// Whether two handles are the same variable.
    pub fn same(&self, other: &Var) -> bool {
        std::sync::Arc::ptr_eq(self.tensor.storage(), other.tensor.storage())
    }
}

impl Deref for Var {
    type Target = Tensor;
    fn deref(&self) -> &Tensor {
        &self.tensor
    }
}

impl AsRef<Tensor> for Var {
    fn as_ref(&self) -> &Tensor {
        &self.tensor
    }
}

struct Track;

impl Op for Track {
    fn name(&self) -> &'static str {
        "track"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(grad.into())])
    }
}

struct Hook<F>(F);

impl<F: Fn(Tensor) -> Result<Tensor> + Send + Sync> Op for Hook<F> {
    fn name(&self) -> &'static str {
        "hook"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some((self.0)(grad)?.into())])
    }
}

impl Tensor {
    /// The same value, with its gradient kept by every backward: a new leaf for a constant, else a value inside the
    /// graph. Integer tensors pass through unchanged.
    pub fn track(&self) -> Tensor {
        if !self.dtype().is_float() {
            return self.clone();
        }
        let node = match self.node() {
            None => Node::leaf(*self.shape(), self.dtype()),
            Some(_) => Node::with_keep(self, &[self], Arc::new(Track), true),
        };
        self.with_node(Some(node))
    }

    /// The same value; backwards pass its gradient through `f`, which must keep shape and dtype.
    pub fn hook(&self, f: impl Fn(Tensor) -> Result<Tensor> + Send + Sync + 'static) -> Result<Tensor> {
        super::record(self.detach(), &[self], || Hook(f))
    }
}
