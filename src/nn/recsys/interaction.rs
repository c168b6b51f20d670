//! The compressed interaction network.

use crate::nn::{Ctx, Init, Module, Param, Params};
use crate::{Error, Result, Tensor};

/// The compressed interaction network of xDeepFM (Lian et al. 2018): (B, fields, K) to (B, the sum of layers).
///
/// Layer k has H maps: map h is the vector Σ W_h[i, j] x_{k-1, i} ⊙ x_{0, j} over every map i of the layer before and
/// every field j, so that it holds products of k + 1 fields, each vector's elements apart. The result is the sum over
/// K of every map of every layer. As in the paper's best setting nothing is bent between layers. `weight` of layer k
/// (H_k, H_{k-1} · fields), under the layer's number.
///
/// Each layer is one product with the matrix of all B · K · H_{k-1} · fields products, which is kept for the backward:
/// where that is too much, [`Ctx::checkpoint`] computes it a second time instead.
#[derive(Clone, Debug)]
pub struct CompressedInteraction {
    weights: Vec<Param>,
    fields: usize,
}

impl CompressedInteraction {
    /// `layers` holds the number of maps of each layer.
    pub fn new(params: &Params, fields: usize, layers: &[usize]) -> Result<Self> {
        if fields == 0 || layers.is_empty() || layers.contains(&0) {
            let message = format!("{fields} fields and layers {layers:?}: at least one of each is expected");
            return Err(Error::argument("compressed_interaction", message));
        }
        let before = std::iter::once(&fields).chain(layers);
        let weight = |(number, (&maps, &before)): (usize, (&usize, &usize))| {
            params.sub(number).param("weight", [maps, before * fields], Init::XavierNormal { gain: 1.0 })
        };
        let weights = layers.iter().zip(before).enumerate().map(weight).collect::<Result<_>>()?;
        Ok(CompressedInteraction { weights, fields })
    }

    /// The width of the result.
    pub fn outputs(&self) -> usize {
        self.weights.iter().map(|w| w.dims()[0]).sum()
    }
}

impl Module for CompressedInteraction {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        let &[rows, fields, width] = x.dims() else {
            return Err(Error::shape("compressed_interaction", "vectors (B, fields, K)", &[*x.shape()]));
        };
        if fields != self.fields {
            let expected = format!("vectors (B, {}, K)", self.fields);
            return Err(Error::shape("compressed_interaction", expected, &[*x.shape()]));
        }
        // Fields last: the products of an element are then neighbours, and a row of the matrix.
        let first = x.transpose(1, 2)?.contiguous()?;
        let across = first.unsqueeze(2)?;
        let (mut maps, mut sums) = (first, vec![]);
        for weight in &self.weights {
            let products = maps.unsqueeze(3)?.mul(&across)?;
            let columns = maps.dim(2)? * fields;
            maps = products.reshape([rows, width, columns])?.linear(&weight.tensor(), None)?;
            sums.push(maps.sum(&[1])?);
        }
        Tensor::cat(&sums, 1)
    }
}
