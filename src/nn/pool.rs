//! Pooling layers, and flattening.

use super::{Ctx, Module};
use crate::ops::Pool2dParams;
use crate::{Result, Tensor};

/// The maximum of each window of (B, C, H, W).
#[derive(Clone, Copy, Debug)]
pub struct MaxPool2d(pub Pool2dParams);

impl Module for MaxPool2d {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        x.max_pool2d(self.0)
    }
}

/// The mean of each window of (B, C, H, W).
#[derive(Clone, Copy, Debug)]
pub struct AvgPool2d(pub Pool2dParams);

impl Module for AvgPool2d {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        x.avg_pool2d(self.0)
    }
}

/// Means over windows chosen so that the output has these extents.
#[derive(Clone, Copy, Debug)]
pub struct AdaptiveAvgPool2d(pub [usize; 2]);

impl Module for AdaptiveAvgPool2d {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        x.adaptive_avg_pool2d(self.0)
    }
}

/// (B, …) to (B, everything else).
#[derive(Clone, Copy, Debug)]
pub struct Flatten;

impl Module for Flatten {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        let batch = x.dim(0)?;
        x.reshape([batch, x.dims()[1..].iter().product()])
    }
}
