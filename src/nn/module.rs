//! What every layer is, and layers one after the other.

use super::{Ctx, Params};
use crate::{Result, Tensor};

/// A layer or model with one input and one output.
pub trait Module: Send + Sync {
    /// The output for `x`, in the mode and with the random state of `ctx`.
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor>;
}

impl<M: Module + ?Sized> Module for Box<M> {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        (**self).forward(x, ctx)
    }
}

impl<M: Module + ?Sized> Module for std::sync::Arc<M> {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        (**self).forward(x, ctx)
    }
}

/// Layers one after the other, named by their number as PyTorch does: `0.weight`, `2.bias`.
///
/// ```
/// # use warpsmith::{DType, Device, Tensor, nn::*};
/// let params = Params::new(&Device::Cpu, DType::F32, 1);
/// let net = Sequential::new(&params)
///     .layer(|p| Linear::new(p, 4, 8))?
///     .then(Activation::Relu)
///     .layer(|p| Linear::new(p, 8, 2))?;
/// assert_eq!(params.names(), ["0.weight", "0.bias", "2.weight", "2.bias"]);
/// let x = Tensor::zeros([3, 4], DType::F32, &Device::Cpu)?;
/// assert_eq!(net.forward(&x, &mut Ctx::infer())?.dims(), [3, 2]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub struct Sequential {
    params: Params,
    layers: Vec<Box<dyn Module>>,
}

impl Sequential {
    /// No layers yet; those that follow have their parameters beneath this place.
    pub fn new(params: &Params) -> Self {
        Sequential { params: params.clone(), layers: vec![] }
    }

    /// Adds the layer that `make` creates at its place.
    pub fn layer<M: Module + 'static>(mut self, make: impl FnOnce(&Params) -> Result<M>) -> Result<Self> {
        let layer = make(&self.params.sub(self.layers.len()))?;
        self.layers.push(Box::new(layer));
        Ok(self)
    }

    /// Adds a layer without parameters, or one made elsewhere.
    pub fn then(mut self, layer: impl Module + 'static) -> Self {
        self.layers.push(Box::new(layer));
        self
    }

    /// The number of layers.
    pub fn len(&self) -> usize {
        self.layers.len()
    }

    /// Whether there are no layers.
    pub fn is_empty(&self) -> bool {
        self.layers.is_empty()
    }
}

impl Module for Sequential {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, layer| layer.forward(&x, ctx))
    }
}
