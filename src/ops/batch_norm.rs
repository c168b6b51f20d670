//! Batch norm in training and inference, alone and fused with a residual addition and a relu.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, needs_grad, record, record_opaque};
use crate::device::Buffer;
use crate::kernels::batchnorm::{
    self, BatchNormDesc, BatchNormGradInputs, BatchNormGradOutputs, BatchNormInputs, BatchNormOutputs,
};
use crate::{DType, Error, Result, Shape, Tensor};

/// What batch norm in training gives.
#[derive(Clone, Debug)]
pub struct BatchNormOutput {
    /// The result, of the input's shape and dtype.
    pub y: Tensor,
    /// The mean of each channel, of shape (C): a constant for autograd, and f32 as running statistics are.
    pub mean: Tensor,
    /// The biased variance of each channel, likewise. Running statistics want it times m / (m − 1), where m is the
    /// number of elements per channel.
    pub var: Tensor,
}

struct BatchNorm {
    desc: BatchNormDesc,
    x: Saved,
    y: Option<Saved>,
    weight: Option<Saved>,
    mean: Saved,
    rstd: Saved,
    has_residual: bool,
    parameters: [Option<DType>; 2],
}

impl Op for BatchNorm {
    fn name(&self) -> &'static str {
        "batch_norm"
    }

    /// Inputs are x, then the residual, the weight and the bias, as far as they are there.
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (x, mean, rstd) = (self.x.get(ctx)?, self.mean.get(ctx)?, self.rstd.get(ctx)?);
        let y = self.y.as_ref().map(|y| y.get(ctx)).transpose()?;
        let weight = self.weight.as_ref().map(|w| w.get(ctx)).transpose()?;
        let shape = *x.shape();
        let channels = Shape::new(&[self.desc.channels])?;
        let mut slots = vec![(Some(x.dtype()), shape)];
        slots.push((self.has_residual.then_some(x.dtype()), shape));
        slots.extend(self.parameters.map(|p| (p, channels)));
        let mut input = 0;
        let mut buffers = vec![];
        for (dtype, shape) in &slots {
            let Some(dtype) = *dtype else {
                buffers.push(None);
                continue;
            };
            let buffer = ctx.needs(input).then(|| Buffer::uninit(x.device(), dtype, shape.numel())).transpose()?;
            buffers.push(buffer);
            input += 1;
        }
        let guards = (x.read(), grad.read(), mean.read(), rstd.read());
        let optional = [y.as_ref().map(Tensor::read), weight.as_ref().map(Tensor::read)];
        let inputs = BatchNormGradInputs {
            x: guards.0.view()?,
            dy: guards.1.view()?,
            y: optional[0].as_ref().map(|g| g.view()).transpose()?,
            weight: optional[1].as_ref().map(|g| g.view()).transpose()?,
            mean: guards.2.view()?,
            rstd: guards.3.view()?,
        };
        let mut outputs = buffers.iter_mut().map(Option::as_mut);
        let mut next = || outputs.next().flatten();
        let outputs = BatchNormGradOutputs { dx: next(), dresidual: next(), dweight: next(), dbias: next() };
        batchnorm::backward(&self.desc, inputs, outputs)?;
        let mut sources = vec![&x, &grad];
        sources.extend(&weight);
        let mut gradients = vec![];
        for (buffer, (dtype, shape)) in buffers.into_iter().zip(slots) {
            if dtype.is_none() {
                continue;
            }
            gradients.push(match buffer {
                Some(buffer) => {
                    let gradient = Tensor::from_buffer(buffer, shape)?;
                    Some(record_opaque("backward of batch_norm", gradient, &sources)?.into())
                }
                None => None,
            });
        }
        Ok(gradients)
    }
}

/// What is fused, and the statistics where they are fixed.
#[derive(Clone, Copy, Default)]
struct Options<'a> {
    residual: Option<&'a Tensor>,
    relu: bool,
    statistics: Option<[&'a Tensor; 2]>,
}

fn batch_norm(
    op: &'static str,
    x: &Tensor,
    [weight, bias]: [Option<&Tensor>; 2],
    eps: f64,
    options: Options<'_>,
) -> Result<BatchNormOutput> {
    if let Some(([x], [residual])) = autocast::cast("batch_norm", [x], [options.residual])? {
        return batch_norm(op, &x, [weight, bias], eps, Options { residual: residual.as_ref(), ..options });
    }
    if x.rank() < 2 {
        return Err(Error::shape(op, "(N, C) or (N, C, …)", &[*x.shape()]));
    }
    let length: usize = x.dims()[2..].iter().product();
    let (samples, channels) = (x.dims()[0], x.dims()[1]);
    let fixed = options.statistics.is_some();
    if !fixed && samples * length == 0 && channels > 0 {
        return Err(Error::shape(op, "at least one element per channel to take statistics of", &[*x.shape()]));
    }
    let [mean, var] = options.statistics.map_or([None, None], |s| s.map(Some));
    for parameter in [weight, bias, mean, var].into_iter().flatten() {
        if parameter.dims() != [channels] {
            let expected = format!("weight, bias and statistics of shape [{channels}]");
            return Err(Error::shape(op, expected, &[*x.shape(), *parameter.shape()]));
        }
    }
    if let Some(residual) = options.residual
        && residual.shape() != x.shape()
    {
        return Err(Error::shape(op, "a residual of the input's shape", &[*x.shape(), *residual.shape()]));
    }
    if let Some(statistics) = options.statistics
        && needs_grad(&statistics)
    {
        return Err(Error::NoBackward { op: "batch_norm_infer (running statistics)" });
    }
    let desc = BatchNormDesc { samples, channels, length, eps, relu: options.relu, fixed };
    let statistics = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let buffer = || Buffer::uninit(x.device(), statistics, channels);
    let mut y = Buffer::uninit(x.device(), x.dtype(), x.numel())?;
    let (mut mean_out, mut var_out, mut rstd) = (buffer()?, buffer()?, buffer()?);
    let input = x.read();
    let guards = [options.residual, weight, bias, mean, var].map(|t| t.map(Tensor::read));
    let view = |i: usize| guards[i].as_ref().map(|g| g.view()).transpose();
    let inputs = BatchNormInputs {
        x: input.view()?,
        residual: view(0)?,
        weight: view(1)?,
        bias: view(2)?,
        statistics: view(3)?.zip(view(4)?).map(|(m, v)| [m, v]),
    };
    let outputs = BatchNormOutputs { y: &mut y, mean: &mut mean_out, var: &mut var_out, rstd: &mut rstd };
    batchnorm::forward(&desc, inputs, outputs)?;
    let constant = |buffer| Tensor::from_buffer(buffer, Shape::new(&[channels])?);
    let (mean, var, rstd) = (constant(mean_out)?, constant(var_out)?, constant(rstd)?);
    let y = Tensor::from_buffer(y, *x.shape())?;
    let mut recorded = vec![x];
    recorded.extend([options.residual, weight, bias].into_iter().flatten());
    let weight_at = 1 + options.residual.is_some() as usize;
    let result = y.clone();
    let y = record(y, &recorded, || BatchNorm {
        desc,
        x: Saved::input(0, x),
        y: desc.relu.then(|| Saved::output(&result)),
        weight: weight.map(|w| Saved::input(weight_at, w)),
        mean: Saved::constant(&mean),
        rstd: Saved::constant(&rstd),
        has_residual: options.residual.is_some(),
        parameters: [weight, bias].map(|p| p.map(Tensor::dtype)),
    })?;
    Ok(BatchNormOutput { y, mean: mean.to_dtype(DType::F32)?, var: var.to_dtype(DType::F32)? })
}

impl Tensor {
    /// Batch norm of (N, C, …) by the statistics of the batch: (x − mean) / √(var + eps) · weight + bias per channel,
    /// with the biased variance (Ioffe & Szegedy 2015).
    ///
    /// `weight` and `bias` have shape (C) and x's dtype, or f32. Any float dtype; f16 and bf16 compute in f32. A
    /// batch with no element per channel is an error.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 5.0, 3.0, 7.0], [2, 2], &Device::Cpu)?;
    /// let out = x.batch_norm_train(None, None, 0.0)?;
    /// assert_eq!(out.y.to_vec::<f32>()?, [-1.0, -1.0, 1.0, 1.0]);
    /// assert_eq!(out.mean.to_vec::<f32>()?, [2.0, 6.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn batch_norm_train(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<BatchNormOutput> {
        batch_norm("batch_norm_train", self, [weight, bias], eps, Options::default())
    }

    /// [`batch_norm_train`](Tensor::batch_norm_train) followed by a relu, in one pass forward and one backward.
    pub fn batch_norm_relu_train(
        &self,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<BatchNormOutput> {
        let options = Options { relu: true, ..Options::default() };
        batch_norm("batch_norm_relu_train", self, [weight, bias], eps, options)
    }

    /// relu(batch norm of x + `residual`), the end of a residual block, in one pass forward and one backward.
    pub fn batch_norm_add_relu_train(
        &self,
        residual: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<BatchNormOutput> {
        let options = Options { relu: true, residual: Some(residual), statistics: None };
        batch_norm("batch_norm_add_relu_train", self, [weight, bias], eps, options)
    }

    /// Batch norm of (N, C, …) by given statistics of shape (C), which are constants: tracked ones are an error.
    pub fn batch_norm_infer(
        &self,
        mean: &Tensor,
        var: &Tensor,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        let options = Options { statistics: Some([mean, var]), ..Options::default() };
        Ok(batch_norm("batch_norm_infer", self, [weight, bias], eps, options)?.y)
    }
}
