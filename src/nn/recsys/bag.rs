//! Means of vectors: sets of words, and of other things without order.

use crate::nn::{Ctx, Init, Module, Param, Params};
use crate::{DType, Error, Result, Tensor};

/// The mean of the vectors of each row's ids: (B, T) to (B, width), where id 0 fills rows up and does not count. A row
/// of nothing else is 0. `weight` (count, width), of which row 0 is never read for a result.
///
/// PyTorch's `nn.EmbeddingBag(mode="mean", padding_idx=0)`; here the vectors of all ids (B, T, width) are made on the
/// way. The table's gradient is row-sparse.
#[derive(Clone, Debug)]
pub struct EmbeddingBag {
    /// (count, width).
    pub weight: Param,
}

impl EmbeddingBag {
    /// `count` ids, the 0 that fills up included.
    pub fn new(params: &Params, count: usize, width: usize, init: Init) -> Result<Self> {
        Ok(EmbeddingBag { weight: params.param("weight", [count, width], init)? })
    }
}

impl Module for EmbeddingBag {
    fn forward(&self, ids: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        if ids.rank() != 2 {
            return Err(Error::shape("embedding_bag", "ids (B, T)", &[*ids.shape()]));
        }
        let ids = ids.to_dtype(DType::I64)?;
        let table = self.weight.tensor();
        let real = ids.ne(&Tensor::zeros(1, DType::I64, ids.device())?)?.to_dtype(table.dtype())?;
        // Each vector's share of its row; of a row without any, none.
        let shares = real.div(&real.sum_keepdim(&[1])?.clamp(1.0, f64::INFINITY)?)?;
        let mean = shares.unsqueeze(1)?.matmul(&table.embedding(&ids)?)?;
        mean.squeeze(1)
    }
}
