//! Layer norm, RMS norm (rows normalised over their whole width) and group norm (rows whose weights belong to
//! channels), forward and backward.
//!
//! Each row is read from memory once: mean, centred squares and the result are passes over a row in cache. The
//! backward's sums over rows (of weight and bias) are taken in parts that depend on the shape only and added in f64
//! in order. Sources: Ba et al. 2016, Layer Normalization; Zhang & Sennrich 2019, Root Mean Square Layer
//! Normalization; Wu & He 2018, Group Normalization.

mod cpu;
mod cuda;
mod group;
pub mod plan;

use super::operands::with_cuda_float;
use super::rowwise::{check_elements, check_parameter, on_host, statistics_dtype};
use super::{mixed_devices, unsupported};
use crate::device::{Buffer, View};
use crate::{DType, Error, Result, with_float};

/// Which norm of which rows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerNormDesc {
    /// The number of rows.
    pub rows: usize,
    /// Elements per row.
    pub width: usize,
    /// What weight and bias belong to.
    pub parameters: Parameters,
    /// Whether the mean is subtracted (layer and group norm) or not (RMS norm).
    pub centered: bool,
    /// Added to the variance (or mean square).
    pub eps: f64,
}

/// What the elements of weight and bias belong to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parameters {
    /// One per column (layer norm, RMS norm).
    Columns,
    /// One per channel, each a run of `length` elements; rows follow each other through all `channels` (group norm).
    Channels {
        /// The number of channels.
        channels: usize,
        /// Elements per channel.
        length: usize,
    },
}

impl LayerNormDesc {
    fn parameters(&self) -> usize {
        match self.parameters {
            Parameters::Columns => self.width,
            Parameters::Channels { channels, .. } => channels,
        }
    }

    fn check(&self, op: &'static str) -> Result<()> {
        if let Parameters::Channels { channels, length } = self.parameters {
            let fits = self.width == 0
                || length > 0
                    && self.width.is_multiple_of(length)
                    && channels > 0
                    && channels.is_multiple_of(self.width / length);
            if !fits || !self.centered {
                return Err(Error::argument(op, format!("rows of whole channels, centred, expected: {self:?}")));
            }
        }
        Ok(())
    }
}

/// What the forward reads: `x` of rows × width elements, in any layout; optional parameters of x's dtype or f32.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormInputs<'a> {
    /// The input.
    pub x: View<'a>,
    /// Added to `x` before the norm (columns only).
    pub residual: Option<View<'a>>,
    /// The scale.
    pub weight: Option<View<'a>>,
    /// The shift.
    pub bias: Option<View<'a>>,
}

/// What the forward writes, contiguous.
#[derive(Debug)]
pub struct LayerNormOutputs<'a> {
    /// The result, as `x`.
    pub y: &'a mut Buffer,
    /// `x + residual`, rounded to x's dtype: what is normalised. Present exactly when the residual is.
    pub sum: Option<&'a mut Buffer>,
    /// One mean per row: f32 (f64 for f64). 0 for RMS norm.
    pub mean: &'a mut Buffer,
    /// One reciprocal standard deviation per row: f32 (f64 for f64).
    pub rstd: &'a mut Buffer,
}

/// What the backward reads.
#[derive(Clone, Copy, Debug)]
pub struct LayerNormGradInputs<'a> {
    /// The forward's input (or sum).
    pub x: View<'a>,
    /// The gradient of y.
    pub dy: View<'a>,
    /// The forward's weight.
    pub weight: Option<View<'a>>,
    /// The forward's means.
    pub mean: View<'a>,
    /// The forward's reciprocal standard deviations.
    pub rstd: View<'a>,
}

/// What the backward writes (`=`), each where it is wanted.
#[derive(Debug, Default)]
pub struct LayerNormGradOutputs<'a> {
    /// The gradient of x, of its dtype.
    pub dx: Option<&'a mut Buffer>,
    /// The gradient of the weight, of the weight's dtype.
    pub dweight: Option<&'a mut Buffer>,
    /// The gradient of the bias, of the bias' dtype.
    pub dbias: Option<&'a mut Buffer>,
}

const FLOATS: &str = "f32, f16, bf16, f64";

/// y = (x − mean) · rstd · weight + bias by rows.
pub fn forward(desc: &LayerNormDesc, inputs: LayerNormInputs<'_>, out: LayerNormOutputs<'_>) -> Result<()> {
    const OP: &str = "layer_norm";
    desc.check(OP)?;
    let (dtype, n) = (inputs.x.dtype(), desc.rows * desc.width);
    let elements = |v: View<'_>| check_elements(OP, n, dtype, (v.layout().numel(), v.dtype()));
    elements(inputs.x)?;
    inputs.residual.map_or(Ok(()), elements)?;
    check_elements(OP, n, dtype, (out.y.len(), out.y.dtype()))?;
    if let Some(sum) = &out.sum {
        check_elements(OP, n, dtype, (sum.len(), sum.dtype()))?;
    }
    if inputs.residual.is_some() != out.sum.is_some()
        || inputs.residual.is_some() && desc.parameters != Parameters::Columns
    {
        return Err(Error::argument(OP, "a residual needs a sum to write to, and parameters by columns"));
    }
    for statistic in [&*out.mean, &*out.rstd] {
        check_elements(OP, desc.rows, statistics_dtype(dtype), (statistic.len(), statistic.dtype()))?;
    }
    check_parameter(OP, desc.parameters(), dtype, inputs.weight)?;
    check_parameter(OP, desc.parameters(), dtype, inputs.bias)?;
    let views = [Some(inputs.x), inputs.residual, inputs.weight, inputs.bias];
    let read = views.iter().flatten().map(|v| v.buffer().memory());
    let written = [&*out.y, &*out.mean, &*out.rstd].map(Buffer::memory);
    match on_host(read.chain(written)) {
        Some(true) => with_float!(dtype, T => match desc.parameters {
            Parameters::Columns => cpu::forward::<T>(desc, inputs, out),
            Parameters::Channels { length, .. } => group::forward::<T>(desc, length, inputs, out),
        }, else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::forward::<T>(desc, inputs, out)),
        None => Err(mixed_devices(OP)),
    }
}

/// The gradients of x, weight and bias.
pub fn backward(desc: &LayerNormDesc, inputs: LayerNormGradInputs<'_>, out: LayerNormGradOutputs<'_>) -> Result<()> {
    const OP: &str = "layer_norm_backward";
    desc.check(OP)?;
    let (dtype, n) = (inputs.x.dtype(), desc.rows * desc.width);
    for view in [inputs.x, inputs.dy] {
        check_elements(OP, n, dtype, (view.layout().numel(), view.dtype()))?;
    }
    for view in [inputs.mean, inputs.rstd] {
        check_elements(OP, desc.rows, statistics_dtype(dtype), (view.layout().numel(), view.dtype()))?;
    }
    check_parameter(OP, desc.parameters(), dtype, inputs.weight)?;
    if let Some(dx) = &out.dx {
        check_elements(OP, n, dtype, (dx.len(), dx.dtype()))?;
    }
    for gradient in [&out.dweight, &out.dbias].into_iter().flatten() {
        let dtype = if gradient.dtype() == DType::F32 { DType::F32 } else { dtype };
        check_elements(OP, desc.parameters(), dtype, (gradient.len(), gradient.dtype()))?;
    }
    let views = [Some(inputs.x), Some(inputs.dy), inputs.weight, Some(inputs.mean), Some(inputs.rstd)];
    let read = views.iter().flatten().map(|v| v.buffer().memory());
    let written = [&out.dx, &out.dweight, &out.dbias].into_iter().flatten().map(|b| b.memory());
    match on_host(read.chain(written)) {
        Some(true) => with_float!(dtype, T => match desc.parameters {
            Parameters::Columns => cpu::backward::<T>(desc, inputs, out),
            Parameters::Channels { channels, length } => group::backward::<T>(desc, channels, length, inputs, out),
        }, else Err(unsupported(OP, dtype, FLOATS))),
        Some(false) => with_cuda_float!(OP, dtype, T => cuda::backward::<T>(desc, inputs, out)),
        None => Err(mixed_devices(OP)),
    }
}
