//! Tensors saved for a backward.

use super::BackwardCtx;
use crate::{Error, Result, Tensor};

/// A tensor saved for a backward: it keeps no graph alive, and knows if its variable was overwritten since.
pub struct Saved {
    tensor: Tensor,
    version: u64,
    source: Source,
}

#[derive(Clone, Copy)]
enum Source {
    Input(usize),
    Output,
    Constant,
}

impl Saved {
    /// Saves input `i` of the operation being recorded.
    pub fn input(i: usize, tensor: &Tensor) -> Self {
        Self::new(tensor, Source::Input(i))
    }

    /// Saves the output of the operation being recorded.
    pub fn output(tensor: &Tensor) -> Self {
        Self::new(tensor, Source::Output)
    }

    /// Saves an intermediate that is neither (statistics, a mask): a constant for second derivatives.
    pub fn constant(tensor: &Tensor) -> Self {
        Self::new(tensor, Source::Constant)
    }

    fn new(tensor: &Tensor, source: Source) -> Self {
        Saved { tensor: tensor.detach(), version: tensor.storage().version(), source }
    }

    /// The saved tensor, to be overwritten by the backward: where nothing else holds its memory and no later walk will
    /// ask for it again.
    pub(crate) fn expendable(&self, ctx: &BackwardCtx<'_>) -> Option<&Tensor> {
        let storage = self.tensor.storage();
        let alone = std::sync::Arc::strong_count(storage) == 1 && storage.version() == self.version;
        (alone && !ctx.retain_graph && self.tensor.is_whole()).then_some(&self.tensor)
    }

    /// The saved tensor; part of the graph again where the backward is itself recorded. An error naming the variable
    /// if it was overwritten after the forward.
    pub fn get(&self, ctx: &BackwardCtx<'_>) -> Result<Tensor> {
        let storage = self.tensor.storage();
        if storage.version() != self.version {
            return Err(Error::Overwritten { op: ctx.op_name(), name: storage.name().to_owned() });
        }
        let node = match self.source {
            _ if !ctx.create_graph => None,
            Source::Input(i) => ctx.node.inputs().get(i).cloned().flatten(),
            Source::Output => Some(ctx.node.clone()),
            Source::Constant => None,
        };
        Ok(self.tensor.with_node(node))
    }
}
