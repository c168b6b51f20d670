//! Batch norm over (N, C, L): each channel normalised over samples and positions, with an optional residual and relu
//! in the same pass, forward and backward.
//!
//! The variance is taken about the mean (two passes), never as `E[x²] − E[x]²`. Where a channel's runs are long, a
//! channel is one task that stays in cache for its passes; where they are short (after pooling, or none at all), rows
//! are, and channels are vectors' lanes. Source: Ioffe & Szegedy 2015, Batch Normalization.

mod channels;
mod columns;
mod cuda;
pub mod plan;

use super::operands::with_cuda_float;
use super::rowwise::{check_elements, check_parameter, on_host, statistics_dtype};
use super::{mixed_devices, unsupported};
use crate::device::{Buffer, View};
use crate::{DType, Result, with_float};

/// What is normalised, and what is fused to it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BatchNormDesc {
    /// N.
    pub samples: usize,
    /// C.
    pub channels: usize,
    /// L, the product of the trailing axes.
    pub length: usize,
    /// Added to the variance.
    pub eps: f64,
    /// Whether y = max(…, 0).
    pub relu: bool,
    /// Whether the statistics are given (inference) or taken from x (training).
    pub fixed: bool,
}

impl BatchNormDesc {
    fn numel(&self) -> usize {
        self.samples * self.channels * self.length
    }

    /// Runs of this many elements are worth a loop of their own: two AVX-512 vectors' worth hides its start.
    fn by_channels(&self) -> bool {
        self.length >= 16
    }
}

/// What the forward reads. Parameters and statistics have C elements of x's dtype or f32.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormInputs<'a> {
    /// The input of N × C × L elements, in any layout.
    pub x: View<'a>,
    /// Added to the normalised input, before the relu.
    pub residual: Option<View<'a>>,
    /// The scale.
    pub weight: Option<View<'a>>,
    /// The shift.
    pub bias: Option<View<'a>>,
    /// Mean and biased variance, where they are fixed.
    pub statistics: Option<[View<'a>; 2]>,
}

/// What the forward writes, contiguous; statistics are f32 (f64 for f64).
#[derive(Debug)]
pub struct BatchNormOutputs<'a> {
    /// The result, as x.
    pub y: &'a mut Buffer,
    /// The mean of each channel.
    pub mean: &'a mut Buffer,
    /// The biased variance of each channel.
    pub var: &'a mut Buffer,
    /// 1 / √(variance + eps) of each channel.
    pub rstd: &'a mut Buffer,
}

/// What the backward reads.
#[derive(Clone, Copy, Debug)]
pub struct BatchNormGradInputs<'a> {
    /// The forward's input.
    pub x: View<'a>,
    /// The gradient of y.
    pub dy: View<'a>,
    /// The forward's result: exactly where there is a relu.
    pub y: Option<View<'a>>,
    /// The forward's weight.
    pub weight: Option<View<'a>>,
    /// The forward's means.
    pub mean: View<'a>,
    /// The forward's reciprocal standard deviations.
    pub rstd: View<'a>,
}

/// What the backward writes (`=`), each where it is wanted.
#[derive(Debug, Default)]
pub struct BatchNormGradOutputs<'a> {
    /// The gradient of x.
    pub dx: Option<&'a mut Buffer>,
    /// The gradient of the residual.
    pub dresidual: Option<&'a mut Buffer>,
    /// The gradient of the weight.
    pub dweight: Option<&'a mut Buffer>,
    /// The gradient of the bias.
    pub dbias: Option<&'a mut Buffer>,
}

const FLOATS: &str = "f32, f16, bf16, f64";

/// y = relu((x − mean) / √(var + eps) · weight + bias + residual), the last two steps where the descriptor says so.
pub fn forward(desc: &BatchNormDesc, inputs: BatchNormInputs<'_>, out: BatchNormOutputs<'_>) -> Result<()> {
    const OP: &str = "batch_norm";
    let dtype = inputs.x.dtype();
    for view in [Some(inputs.x), inputs.residual].into_iter().flatten() {
        check_elements(OP, desc.numel(), dtype, (view.layout().numel(), view.dtype()))?;
    }
    check_elements(OP, desc.numel(), dtype, (out.y.len(), out.y.dtype()))?;
    for statistic in [&*out.mean, &*out.var, &*out.rstd] {
        check_elements(OP, desc.channels, statistics_dtype(dtype), (statistic.len(), statistic.dtype()))?;
    }
    if inputs.statistics.is_some() != desc.fixed {
        return Err(crate::Error::argument(OP, "statistics are given exactly where they are fixed"));
    }
    let [mean, var] = inputs.statistics.map_or([None, None], |s| s.map(Some));
    let parameters = [inputs.weight, inputs.bias, mean, var];
    for parameter in parameters {
        check_parameter(OP, desc.channels, dtype, parameter)?;
    }
    let read = [Some(inputs.x), inputs.residual].into_iter().chain(parameters).flatten();
    let written = [&*out.y, &*out.mean, &*out.var, &*out.rstd].map(Buffer::memory);
    match on_host(read.map(|v| v.buffer().memory()).chain(written)) {
        Some(true) => with_float!(dtype, T => if desc.by_channels() {
            channels::forward::<T>(desc, inputs, out)
        } else {
            columns::forward::<T>(desc, inputs, out)
        }, else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::forward::<T>(desc, inputs, out)),
        None => Err(mixed_devices(OP)),
    }
}

/// The gradients of x, residual, weight and bias.
pub fn backward(desc: &BatchNormDesc, inputs: BatchNormGradInputs<'_>, out: BatchNormGradOutputs<'_>) -> Result<()> {
    const OP: &str = "batch_norm_backward";
    let dtype = inputs.x.dtype();
    if inputs.y.is_some() != desc.relu {
        return Err(crate::Error::argument(OP, "the result is given exactly where there is a relu"));
    }
    for view in [Some(inputs.x), Some(inputs.dy), inputs.y].into_iter().flatten() {
        check_elements(OP, desc.numel(), dtype, (view.layout().numel(), view.dtype()))?;
    }
    for view in [inputs.mean, inputs.rstd] {
        check_elements(OP, desc.channels, statistics_dtype(dtype), (view.layout().numel(), view.dtype()))?;
    }
    check_parameter(OP, desc.channels, dtype, inputs.weight)?;
    for gradient in [&out.dx, &out.dresidual].into_iter().flatten() {
        check_elements(OP, desc.numel(), dtype, (gradient.len(), gradient.dtype()))?;
    }
    for gradient in [&out.dweight, &out.dbias].into_iter().flatten() {
        let dtype = if gradient.dtype() == DType::F32 { DType::F32 } else { dtype };
        check_elements(OP, desc.channels, dtype, (gradient.len(), gradient.dtype()))?;
    }
    let read = [Some(inputs.x), Some(inputs.dy), inputs.y, inputs.weight, Some(inputs.mean), Some(inputs.rstd)];
    let written = [&out.dx, &out.dresidual, &out.dweight, &out.dbias].into_iter().flatten().map(|b| b.memory());
    match on_host(read.iter().flatten().map(|v| v.buffer().memory()).chain(written)) {
        Some(true) => with_float!(dtype, T => match (desc.by_channels(), desc.relu) {
            (true, false) => channels::backward::<T, false>(desc, inputs, out),
            (true, true) => channels::backward::<T, true>(desc, inputs, out),
            (false, false) => columns::backward::<T, false>(desc, inputs, out),
            (false, true) => columns::backward::<T, true>(desc, inputs, out),
        }, else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::backward::<T>(desc, inputs, out)),
        None => Err(mixed_devices(OP)),
    }
}
