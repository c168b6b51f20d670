//! Layer norm, fused with a residual addition or alone; RMS norm; group norm.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record, record_opaque};
use crate::device::Buffer;
use crate::kernels::layernorm::{
    self, LayerNormDesc, LayerNormGradInputs, LayerNormGradOutputs, LayerNormInputs, LayerNormOutputs, Parameters,
};
use crate::{DType, Error, Result, Shape, Tensor};

/// The backward of every norm over rows.
struct Norm {
    name: &'static str,
    backward_name: &'static str,
    desc: LayerNormDesc,
    x: Saved,
    weight: Option<Saved>,
    has_bias: bool,
    mean: Saved,
    rstd: Saved,
    parameters: [Option<(Shape, DType)>; 2],
}

impl Op for Norm {
    fn name(&self) -> &'static str {
        self.name
    }

    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (x, mean, rstd) = (self.x.get(ctx)?, self.mean.get(ctx)?, self.rstd.get(ctx)?);
        let weight = self.weight.as_ref().map(|w| w.get(ctx)).transpose()?;
        let mut dx = wanted(ctx, 0, x.shape(), x.dtype(), &x)?;
        // The inputs after x: the weight, if there is one, then the bias.
        let at = [self.weight.as_ref().map(|_| 1), self.has_bias.then_some(1 + self.weight.is_some() as usize)];
        let mut of_parameters = [None, None];
        for ((slot, at), parameter) in of_parameters.iter_mut().zip(at).zip(&self.parameters) {
            if let (Some(at), Some((shape, dtype))) = (at, parameter) {
                *slot = wanted(ctx, at, shape, *dtype, &x)?;
            }
        }
        let [dweight, dbias] = &mut of_parameters;
        let guards = (x.read(), grad.read(), mean.read(), rstd.read(), weight.as_ref().map(Tensor::read));
        let inputs = LayerNormGradInputs {
            x: guards.0.view()?,
            dy: guards.1.view()?,
            weight: guards.4.as_ref().map(|w| w.view()).transpose()?,
            mean: guards.2.view()?,
            rstd: guards.3.view()?,
        };
        let outputs = LayerNormGradOutputs { dx: dx.as_mut(), dweight: dweight.as_mut(), dbias: dbias.as_mut() };
        layernorm::backward(&self.desc, inputs, outputs)?;
        let mut sources = vec![&x, &grad];
        sources.extend(&weight);
        let wrap = |buffer: Option<Buffer>, shape: &Shape| -> Result<Option<Gradient>> {
            let Some(buffer) = buffer else { return Ok(None) };
            Ok(Some(record_opaque(self.backward_name, Tensor::from_buffer(buffer, *shape)?, &sources)?.into()))
        };
        let mut gradients = vec![wrap(dx, x.shape())?];
        for (buffer, parameter) in of_parameters.into_iter().zip(&self.parameters) {
            if let Some((shape, _)) = parameter {
                gradients.push(wrap(buffer, shape)?);
            }
        }
        Ok(gradients)
    }
}

/// A buffer for the gradient of input `i` if it is needed.
fn wanted(ctx: &BackwardCtx<'_>, i: usize, shape: &Shape, dtype: DType, like: &Tensor) -> Result<Option<Buffer>> {
    if ctx.needs(i) { Buffer::uninit(like.device(), dtype, shape.numel()).map(Some) } else { Ok(None) }
}

struct Names {
    forward: &'static str,
    backward: &'static str,
}

/// Runs the forward and records it: the result, and the sum where there is a residual.
fn norm(
    names: Names,
    desc: LayerNormDesc,
    x: &Tensor,
    residual: Option<&Tensor>,
    [weight, bias]: [Option<&Tensor>; 2],
) -> Result<(Tensor, Option<Tensor>)> {
    if let Some(([x], [r, w, b])) = autocast::cast(names.forward, [x], [residual, weight, bias])? {
        return norm(names, desc, &x, r.as_ref(), [w.as_ref(), b.as_ref()]);
    }
    let statistics = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
    let mut y = Buffer::uninit(x.device(), x.dtype(), x.numel())?;
    let mut sum = residual.map(|_| Buffer::uninit(x.device(), x.dtype(), x.numel())).transpose()?;
    let mut mean = Buffer::uninit(x.device(), statistics, desc.rows)?;
    let mut rstd = Buffer::uninit(x.device(), statistics, desc.rows)?;
    let guards = (x.read(), residual.map(Tensor::read), weight.map(Tensor::read), bias.map(Tensor::read));
    let inputs = LayerNormInputs {
        x: guards.0.view()?,
        residual: guards.1.as_ref().map(|g| g.view()).transpose()?,
        weight: guards.2.as_ref().map(|g| g.view()).transpose()?,
        bias: guards.3.as_ref().map(|g| g.view()).transpose()?,
    };
    let outputs = LayerNormOutputs { y: &mut y, sum: sum.as_mut(), mean: &mut mean, rstd: &mut rstd };
    layernorm::forward(&desc, inputs, outputs)?;
    drop(guards);
    let sum = match (sum, residual) {
        (Some(sum), Some(residual)) => {
            let sum = Tensor::from_buffer(sum, *x.shape())?;
            Some(record(sum, &[x, residual], || AddResidual)?)
        }
        _ => None,
    };
    let normalised = sum.as_ref().unwrap_or(x);
    let mut recorded = vec![normalised];
    recorded.extend(weight);
    recorded.extend(bias);
    let [mean, rstd] = [mean, rstd].map(|b| Tensor::from_buffer(b, Shape::new(&[desc.rows])?));
    let (mean, rstd) = (mean?, rstd?);
    let y = record(Tensor::from_buffer(y, *x.shape())?, &recorded, || Norm {
        name: names.forward,
        backward_name: names.backward,
        desc,
        x: Saved::input(0, normalised),
        weight: weight.map(|w| Saved::input(1, w)),
        has_bias: bias.is_some(),
        mean: Saved::constant(&mean),
        rstd: Saved::constant(&rstd),
        parameters: [weight, bias].map(|p| p.map(|p| (*p.shape(), p.dtype()))),
    })?;
    Ok((y, sum))
}

/// The sum that [`Tensor::add_layer_norm`] has computed on its way.
struct AddResidual;

impl Op for AddResidual {
    fn name(&self) -> &'static str {
        "add_layer_norm"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        Ok(vec![Some(grad.clone().into()), Some(grad.into())])
    }
}

/// The descriptor for the trailing `axes` axes of x, whose shape every parameter must have.
fn trailing(
    op: &'static str,
    x: &Tensor,
    axes: usize,
    eps: f64,
    centered: bool,
    parameters: [Option<&Tensor>; 2],
) -> Result<LayerNormDesc> {
    if axes == 0 || axes > x.rank() {
        let message = format!("{axes} trailing axes of a tensor of shape {}: from 1 to its rank", x.shape());
        return Err(Error::argument(op, message));
    }
    let (rows, normalized) = x.dims().split_at(x.rank() - axes);
    for parameter in parameters.into_iter().flatten() {
        if parameter.dims() != normalized {
            let expected = format!("weight and bias of the normalised axes' shape {normalized:?}");
            return Err(Error::shape(op, expected, &[*x.shape(), *parameter.shape()]));
        }
    }
    let (rows, width) = (rows.iter().product(), normalized.iter().product());
    Ok(LayerNormDesc { rows, width, parameters: Parameters::Columns, centered, eps })
}

const LAYER_NORM: Names = Names { forward: "layer_norm", backward: "backward of layer_norm" };

impl Tensor {
    /// Layer norm over the `normalized` trailing axes: (x − mean) / √(var + eps) · weight + bias, with the biased
    /// variance (Ba et al. 2016).
    ///
    /// `weight` and `bias` have the shape of those axes and x's dtype, or f32. Any float dtype; f16 and bf16 compute
    /// in f32.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 3.0, -2.0, 2.0], [2, 2], &Device::Cpu)?;
    /// assert_eq!(x.layer_norm(1, None, None, 0.0)?.to_vec::<f32>()?, [-1.0, 1.0, -1.0, 1.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn layer_norm(
        &self,
        normalized: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        let desc = trailing(LAYER_NORM.forward, self, normalized, eps, true, [weight, bias])?;
        Ok(norm(LAYER_NORM, desc, self, None, [weight, bias])?.0)
    }

    /// `(x + residual, layer_norm(x + residual))` in one pass: the residual stream and the next block's input.
    ///
    /// `residual` has x's shape and dtype; the rest is as for [`Tensor::layer_norm`]. Gradients of both results reach
    /// both inputs.
    pub fn add_layer_norm(
        &self,
        residual: &Tensor,
        normalized: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<(Tensor, Tensor)> {
        if residual.shape() != self.shape() {
            let expected = "a residual of the input's shape";
            return Err(Error::shape("add_layer_norm", expected, &[*self.shape(), *residual.shape()]));
        }
        let desc = trailing("add_layer_norm", self, normalized, eps, true, [weight, bias])?;
        let (y, sum) = norm(LAYER_NORM, desc, self, Some(residual), [weight, bias])?;
        let sum = sum.ok_or_else(|| Error::argument("add_layer_norm", "no sum was computed"))?;
        Ok((sum, y))
    }

    /// RMS norm over the last axis: x / √(mean(x²) + eps) · weight (Zhang & Sennrich 2019).
    ///
    /// `weight` has that axis' extent and x's dtype, or f32. Any float dtype; f16 and bf16 compute in f32.
    pub fn rms_norm(&self, weight: Option<&Tensor>, eps: f64) -> Result<Tensor> {
        let desc = trailing("rms_norm", self, 1, eps, false, [weight, None])?;
        let names = Names { forward: "rms_norm", backward: "backward of rms_norm" };
        Ok(norm(names, desc, self, None, [weight, None])?.0)
    }

    /// Group norm of (N, C, …): each sample's channels normalised in `groups` groups of C / groups (Wu & He 2018).
    ///
    /// `weight` and `bias` have shape (C) and x's dtype, or f32. Any float dtype; f16 and bf16 compute in f32.
    pub fn group_norm(
        &self,
        groups: usize,
        weight: Option<&Tensor>,
        bias: Option<&Tensor>,
        eps: f64,
    ) -> Result<Tensor> {
        const OP: &str = "group_norm";
        let channels = *self.dims().get(1).unwrap_or(&0);
        if self.rank() < 2 || groups == 0 || !channels.is_multiple_of(groups) {
            let expected = format!("(N, C, …) with C divisible by {groups} groups");
            return Err(Error::shape(OP, expected, &[*self.shape()]));
        }
        for parameter in [weight, bias].into_iter().flatten() {
            if parameter.dims() != [channels] {
                let expected = format!("weight and bias of shape [{channels}]");
                return Err(Error::shape(OP, expected, &[*self.shape(), *parameter.shape()]));
            }
        }
        let length: usize = self.dims()[2..].iter().product();
        let desc = LayerNormDesc {
            rows: self.dims()[0] * groups,
            width: channels / groups * length,
            parameters: Parameters::Channels { channels, length },
            centered: true,
            eps,
        };
        let names = Names { forward: OP, backward: "backward of group_norm" };
        Ok(norm(names, desc, self, None, [weight, bias])?.0)
    }
}
