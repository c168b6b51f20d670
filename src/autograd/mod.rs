//! Reverse-mode differentiation: nodes recorded by operations, an engine that walks them and knows no operation.
//!
//! An operation computes its output and calls [`record`] with how to make its [`Op`]; an output that has no backward
//! goes through [`record_opaque`], which is an error where a gradient would be lost.

mod autocast;
mod checkpoint;
mod engine;
mod gradients;
mod intercept;
mod mode;
mod node;
mod saved;
mod var;

pub(crate) use autocast::cast as cast_leaf;
pub use autocast::{autocast, autocast_dtype};
pub use checkpoint::checkpoint;
pub use engine::Backward;
pub use gradients::{Gradient, Gradients, RowSparse};
pub use intercept::{BackwardEvent, intercept};
pub use mode::{grad_enabled, no_grad};
pub use node::{BackwardCtx, Node, Op};
pub use saved::Saved;
pub use var::Var;

use crate::{Error, Result, Tensor};
use std::sync::Arc;

/// Gives `out` a graph node if gradients are enabled and any input is tracked.
///
/// `make` is called only then; it saves what the backward needs through [`Saved`]. `inputs` are in the order in which
/// the op's backward returns gradients.
pub fn record<O: Op + 'static>(out: Tensor, inputs: &[&Tensor], make: impl FnOnce() -> O) -> Result<Tensor> {
    if !out.dtype().is_float() || !needs_grad(inputs) {
        return Ok(out);
    }
    let node = Node::operation(&out, inputs, Arc::new(make()));
    Ok(out.with_node(Some(node)))
}

/// Passes `out` through where it is a constant; an error where a gradient would silently be lost: gradients are
/// enabled, an input is tracked and the output is differentiable.
pub fn record_opaque(op: &'static str, out: Tensor, inputs: &[&Tensor]) -> Result<Tensor> {
    if out.dtype().is_float() && needs_grad(inputs) {
        return Err(Error::NoBackward { op });
    }
    Ok(out)
}

/// Whether an operation on these inputs would be recorded.
pub fn needs_grad(inputs: &[&Tensor]) -> bool {
    grad_enabled() && inputs.iter().any(|t| t.requires_grad() && t.dtype().is_float())
}
