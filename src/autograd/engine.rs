//! The walk: from the root to the leaves in descending node order, accumulating in one place, freeing as it goes.

use super::intercept::intercepted;
use super::{BackwardCtx, Gradient, Gradients, Node, autocast, mode};
use crate::{Error, Result, Tensor};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A backward and its options. `loss.backward()` is `Backward::new().run(&loss)`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Backward {
    retain_graph: bool,
    create_graph: bool,
}

impl Backward {
    /// A backward that frees the graph as it walks.
    pub fn new() -> Self {
        Self::default()
    }

    /// Keeps what was saved, so that the same graph can be walked again.
    pub fn retain_graph(mut self) -> Self {
        self.retain_graph = true;
        self
    }

    /// Records the walk itself, so that the gradients can be differentiated again; retains the graph.
    pub fn create_graph(mut self) -> Self {
        self.create_graph = true;
        self
    }

    /// Walks from a tensor with one element, with gradient 1.
    pub fn run(self, root: &Tensor) -> Result<Gradients> {
        if root.numel() != 1 {
            let expected = "a loss with one element (backward_with takes a gradient for other shapes)";
            return Err(Error::shape("backward", expected, &[*root.shape()]));
        }
        self.run_with(root, root.detach().ones_like()?)
    }

    /// Walks from any tensor with its gradient.
    pub fn run_with(self, root: &Tensor, seed: Tensor) -> Result<Gradients> {
        let Some(start) = root.node() else {
            let message = format!("{root:?} has no graph: no input was a Var or .track()ed, or it ran under no_grad");
            return Err(Error::argument("backward", message));
        };
        let seed = Gradient::Dense(seed);
        start.check("backward", &seed)?;
        let _mode = mode::set(self.create_graph);
        let _scope = autocast::suspend();
        let mut done = Gradients::default();
        // Every consumer of a node has a larger id, so the largest pending node has all of its gradient.
        let mut pending: BTreeMap<u64, (Arc<Node>, Gradient)> = BTreeMap::new();
        pending.insert(start.id(), (start.clone(), seed));
        while let Some((id, (node, gradient))) = pending.pop_last() {
            if node.is_leaf() {
                done.add(id, gradient)?;
                continue;
            }
            if node.keep() {
                done.add(id, gradient.clone())?;
            }
            let retain_graph = self.retain_graph || self.create_graph;
            let op = node.op(retain_graph)?;
            let captured = Mutex::default();
            let ctx = BackwardCtx { node: &node, create_graph: self.create_graph, retain_graph, captured };
            let gradients = op.backward(&ctx, gradient.into_dense()?)?;
            drop(op);
            for captured in ctx.captured.into_inner() {
                done.accumulate(captured)?;
            }
            if gradients.len() != node.inputs().len() {
                let message = format!("returned {} gradients for {} inputs", gradients.len(), node.inputs().len());
                return Err(Error::argument(node.name(), message));
            }
            for (i, (input, gradient)) in node.inputs().iter().zip(gradients).enumerate() {
                let Some(input) = input else { continue };
                let Some(gradient) = intercepted(node.name(), i, gradient)? else { continue };
                input.check(node.name(), &gradient)?;
                let sum = match pending.remove(&input.id()) {
                    Some((_, earlier)) => earlier.plus(gradient)?,
                    None => gradient,
                };
                pending.insert(input.id(), (input.clone(), sum));
            }
        }
        Ok(done)
    }
}

impl Tensor {
    /// The gradients of this one-element tensor with respect to every variable and tracked tensor.
    /// Frees the graph as it walks.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[3f32], (), &Device::Cpu)?.track();
    /// let gradients = x.mul(&x)?.backward()?;
    /// assert_eq!(gradients.expect(&x)?.item::<f32>()?, 6.0);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn backward(&self) -> Result<Gradients> {
        Backward::new().run(self)
    }

    /// As [`backward`](Tensor::backward) for a tensor of any shape, from its gradient.
    pub fn backward_with(&self, seed: &Tensor) -> Result<Gradients> {
        Backward::new().run_with(self, seed.clone())
    }
}
