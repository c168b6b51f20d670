//! The deep part: fully connected layers.

use crate::nn::{Ctx, Dropout, Linear, Module, Params};
use crate::{Error, Result, Tensor};

/// Fully connected layers, each followed by a rectified linear unit and dropout: (…, inputs) to (…, the last of
/// `hidden`). Linear layers are named by their number: `0.weight`, `0.bias`, `1.weight`, ….
#[derive(Clone, Debug)]
pub struct Mlp {
    layers: Vec<Linear>,
    dropout: Dropout,
    outputs: usize,
}

impl Mlp {
    /// Without hidden layers it passes its input on.
    pub fn new(params: &Params, inputs: usize, hidden: &[usize], dropout: f64) -> Result<Self> {
        if inputs == 0 || hidden.contains(&0) {
            let message = format!("{inputs} inputs, layers {hidden:?}: widths begin at 1");
            return Err(Error::argument("mlp", message));
        }
        let before = std::iter::once(&inputs).chain(hidden);
        let layer = |(number, (&outputs, &inputs)): (usize, (&usize, &usize))| {
            Linear::new(&params.sub(number), inputs, outputs)
        };
        let layers = hidden.iter().zip(before).enumerate().map(layer).collect::<Result<_>>()?;
        Ok(Mlp { layers, dropout: Dropout::new(dropout)?, outputs: *hidden.last().unwrap_or(&inputs) })
    }

    /// The width of the result.
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

impl Module for Mlp {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.layers.iter().try_fold(x.clone(), |x, layer| self.dropout.forward(&layer.forward_relu(&x)?, ctx))
    }
}
