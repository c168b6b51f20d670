//! Convolution layers.

use super::{Ctx, Init, Module, Param, Params};
use crate::ops::{Conv1dParams, Conv2dParams, ConvTranspose2dParams};
use crate::{Error, IntoShape, Result, Shape, Tensor};

fn per_group(op: &'static str, channels: usize, groups: usize) -> Result<usize> {
    if groups == 0 || !channels.is_multiple_of(groups) {
        return Err(Error::argument(op, format!("{channels} channels do not divide into {groups} groups")));
    }
    Ok(channels / groups)
}

/// The weight and, if wanted, the bias of a convolution, with PyTorch's initial values.
fn create(params: &Params, shape: Shape, bias: Option<usize>) -> Result<(Param, Option<Param>)> {
    let weight = params.param("weight", shape, Init::DEFAULT_WEIGHT)?;
    let bias = bias.map(|n| params.param("bias", [n], Init::default_bias(shape)?)).transpose()?;
    Ok((weight, bias))
}

/// Cross-correlation over (B, C, W). `weight` (out, in / groups, kernel), `bias` (out).
#[derive(Clone, Debug)]
pub struct Conv1d {
    /// (out, in / groups, kernel).
    pub weight: Param,
    /// (out).
    pub bias: Option<Param>,
    options: Conv1dParams,
}

impl Conv1d {
    /// With a bias.
    pub fn new(params: &Params, inputs: usize, outputs: usize, kernel: usize, options: Conv1dParams) -> Result<Self> {
        let inputs = per_group("conv1d", inputs, options.groups)?;
        let (weight, bias) = create(params, [outputs, inputs, kernel].into_shape()?, Some(outputs))?;
        Ok(Conv1d { weight, bias, options })
    }

    /// Without a bias.
    pub fn without_bias(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: usize,
        options: Conv1dParams,
    ) -> Result<Self> {
        let inputs = per_group("conv1d", inputs, options.groups)?;
        let (weight, bias) = create(params, [outputs, inputs, kernel].into_shape()?, None)?;
        Ok(Conv1d { weight, bias, options })
    }
}

impl Module for Conv1d {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        x.conv1d(&self.weight.tensor(), self.bias.as_ref().map(Param::tensor).as_ref(), self.options)
    }
}

/// Cross-correlation over (B, C, H, W). `weight` (out, in / groups, kernel, kernel), `bias` (out).
#[derive(Clone, Debug)]
pub struct Conv2d {
    /// (out, in / groups, kernel height, kernel width).
    pub weight: Param,
    /// (out).
    pub bias: Option<Param>,
    options: Conv2dParams,
}

impl Conv2d {
    /// With a bias.
    pub fn new(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: Conv2dParams,
    ) -> Result<Self> {
        let inputs = per_group("conv2d", inputs, options.groups)?;
        let (weight, bias) = create(params, [outputs, inputs, kernel[0], kernel[1]].into_shape()?, Some(outputs))?;
        Ok(Conv2d { weight, bias, options })
    }

    /// Without a bias: before a batch norm.
    pub fn without_bias(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: Conv2dParams,
    ) -> Result<Self> {
        Self::with_init(params, inputs, outputs, kernel, options, Init::DEFAULT_WEIGHT)
    }

    /// Without a bias, from other initial values.
    pub fn with_init(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: Conv2dParams,
        init: Init,
    ) -> Result<Self> {
        let inputs = per_group("conv2d", inputs, options.groups)?;
        let weight = params.param("weight", [outputs, inputs, kernel[0], kernel[1]], init)?;
        Ok(Conv2d { weight, bias: None, options })
    }
}

impl Module for Conv2d {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        x.conv2d(&self.weight.tensor(), self.bias.as_ref().map(Param::tensor).as_ref(), self.options)
    }
}

/// The transpose of [`Conv2d`]'s map: (B, in, H, W) to larger images. `weight` (in, out / groups, kernel, kernel).
#[derive(Clone, Debug)]
pub struct ConvTranspose2d {
    /// (in, out / groups, kernel height, kernel width).
    pub weight: Param,
    /// (out).
    pub bias: Option<Param>,
    options: ConvTranspose2dParams,
}

impl ConvTranspose2d {
    /// With a bias.
    pub fn new(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: ConvTranspose2dParams,
    ) -> Result<Self> {
        let per = per_group("conv_transpose2d", outputs, options.groups)?;
        let (weight, bias) = create(params, [inputs, per, kernel[0], kernel[1]].into_shape()?, Some(outputs))?;
        Ok(ConvTranspose2d { weight, bias, options })
    }

    /// Without a bias.
    pub fn without_bias(
        params: &Params,
        inputs: usize,
        outputs: usize,
        kernel: [usize; 2],
        options: ConvTranspose2dParams,
    ) -> Result<Self> {
        let per = per_group("conv_transpose2d", outputs, options.groups)?;
        let (weight, bias) = create(params, [inputs, per, kernel[0], kernel[1]].into_shape()?, None)?;
        Ok(ConvTranspose2d { weight, bias, options })
    }
}

impl Module for ConvTranspose2d {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        x.conv_transpose2d(&self.weight.tensor(), self.bias.as_ref().map(Param::tensor).as_ref(), self.options)
    }
}
