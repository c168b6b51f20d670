//! Graph nodes: a node owns its inputs and its operation's backward, which owns what it saved.

use super::{Gradient, Gradients};
use crate::{DType, Error, Result, Shape, Tensor};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The backward of one operation, with what it saved.
///
/// Tensors are saved through [`Saved`](super::Saved), which keeps no graph alive and detects overwritten variables.
pub trait Op: Send + Sync {
    /// The operation's name, in errors and printouts.
    fn name(&self) -> &'static str;

    /// One gradient per input, in recording order; `None` where `ctx.needs(i)` is false or the gradient is zero.
    /// `grad` has the shape and dtype of the output, each gradient the shape and dtype of its input.
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>>;
}

/// What a backward may ask about the walk.
pub struct BackwardCtx<'a> {
    pub(super) node: &'a Arc<Node>,
    /// Set where the walk itself is recorded, for second derivatives.
    pub(super) create_graph: bool,
    /// Set where the graph outlives the walk.
    pub(super) retain_graph: bool,
    /// Gradients of leaves that are not inputs of the node (variables captured by a checkpointed closure).
    pub(super) captured: Mutex<Vec<Gradients>>,
}

impl BackwardCtx<'_> {
    /// Whether input `i` needs a gradient.
    pub fn needs(&self, i: usize) -> bool {
        self.node.inputs.get(i).is_some_and(Option::is_some)
    }

    /// Whether input `i` is a variable or tracked constant: its gradient goes to the caller, never through another
    /// backward, so that it may be row-sparse.
    pub fn is_leaf(&self, i: usize) -> bool {
        self.node.inputs.get(i).and_then(Option::as_ref).is_some_and(|node| node.leaf)
    }

    /// Whether the walk is recorded, for second derivatives.
    pub fn create_graph(&self) -> bool {
        self.create_graph
    }

    /// The gradient of input `i` if it is needed.
    pub fn want(&self, i: usize, f: impl FnOnce() -> Result<Tensor>) -> Result<Option<Gradient>> {
        if self.needs(i) { f().map(|t| Some(Gradient::Dense(t))) } else { Ok(None) }
    }

    pub(super) fn op_name(&self) -> &'static str {
        self.node.name
    }
}

/// One recorded operation, or a leaf.
pub struct Node {
    id: u64,
    name: &'static str,
    shape: Shape,
    dtype: DType,
    /// Kept in the result of a backward: leaves and tracked values.
    keep: bool,
    leaf: bool,
    inputs: Vec<Option<Arc<Node>>>,
    op: Mutex<Option<Arc<dyn Op>>>,
}

/// Ids grow with time, so that every node's inputs have smaller ids: the engine walks in descending order.
fn next_id() -> u64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

impl Node {
    pub(super) fn leaf(shape: Shape, dtype: DType) -> Arc<Node> {
        let op = Mutex::new(None);
        Arc::new(Node { id: next_id(), name: "leaf", shape, dtype, keep: true, leaf: true, inputs: vec![], op })
    }

    pub(super) fn operation(out: &Tensor, inputs: &[&Tensor], op: Arc<dyn Op>) -> Arc<Node> {
        Self::with_keep(out, inputs, op, false)
    }

    pub(super) fn with_keep(out: &Tensor, inputs: &[&Tensor], op: Arc<dyn Op>, keep: bool) -> Arc<Node> {
        Arc::new(Node {
            id: next_id(),
            name: op.name(),
            shape: *out.shape(),
            dtype: out.dtype(),
            keep,
            leaf: false,
            inputs: inputs.iter().map(|t| t.node().cloned()).collect(),
            op: Mutex::new(Some(op)),
        })
    }

    /// The operation's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn id(&self) -> u64 {
        self.id
    }

    pub(super) fn keep(&self) -> bool {
        self.keep
    }

    pub(super) fn is_leaf(&self) -> bool {
        self.leaf
    }

    pub(super) fn inputs(&self) -> &[Option<Arc<Node>>] {
        &self.inputs
    }

    /// The operation; taken out, so that what it saved is freed after use, unless the graph is retained.
    pub(super) fn op(&self, retain: bool) -> Result<Arc<dyn Op>> {
        let mut op = self.op.lock();
        let found = if retain { op.clone() } else { op.take() };
        found.ok_or(Error::GraphFreed { op: self.name })
    }

    pub(super) fn check(&self, op: &'static str, gradient: &Gradient) -> Result<()> {
        if gradient.shape() != self.shape {
            let expected = format!("a gradient of the input's shape {}", self.shape);
            return Err(Error::shape(op, expected, &[gradient.shape()]));
        }
        if gradient.dtype() != self.dtype {
            let expected = format!("a gradient of the input's dtype {}", self.dtype);
            return Err(Error::dtype(op, expected, &[gradient.dtype()]));
        }
        Ok(())
    }
}

impl Drop for Node {
    /// Frees long chains without recursion.
    fn drop(&mut self) {
        let mut stack: Vec<Arc<Node>> = self.inputs.drain(..).flatten().collect();
        while let Some(node) = stack.pop() {
            // Not try_unwrap: when two threads let go at once, exactly one of them must take the node apart.
            if let Some(mut node) = Arc::into_inner(node) {
                stack.extend(node.inputs.drain(..).flatten());
            }
        }
    }
}
