//! Tables of vectors.

use super::{Ctx, Init, Module, Param, Params};
use crate::{Result, Tensor};

/// A table of `count` vectors: ids of any shape to (…, width). `weight` (count, width), standard normal at first.
#[derive(Clone, Debug)]
pub struct Embedding {
    /// (count, width).
    pub weight: Param,
}

impl Embedding {
    /// With PyTorch's initial values.
    pub fn new(params: &Params, count: usize, width: usize) -> Result<Self> {
        Self::with_init(params, count, width, Init::STANDARD_NORMAL)
    }

    /// With other initial values.
    pub fn with_init(params: &Params, count: usize, width: usize, init: Init) -> Result<Self> {
        Ok(Embedding { weight: params.param("weight", [count, width], init)? })
    }
}

impl Module for Embedding {
    fn forward(&self, ids: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        self.weight.tensor().embedding(ids)
    }
}
