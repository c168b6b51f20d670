//! Normalisation layers.

use super::{Counter, Ctx, Init, Module, Param, Params, StateBuffer};
use crate::{DType, Error, Result, Tensor, no_grad};

/// Batch normalisation over axis 1 (Ioffe and Szegedy 2015): by the batch's statistics in training, by the running
/// ones in inference.
///
/// `weight` and `bias` (channels), begun at 1 and 0; `running_mean`, `running_var` (f32) and `num_batches_tracked`. The
/// running variance is updated with the unbiased batch variance, as PyTorch does.
#[derive(Clone, Debug)]
pub struct BatchNorm {
    /// (channels).
    pub weight: Param,
    /// (channels).
    pub bias: Param,
    /// (channels), f32.
    pub running_mean: StateBuffer,
    /// (channels), f32.
    pub running_var: StateBuffer,
    num_batches_tracked: Counter,
    eps: f64,
    momentum: f64,
}

/// [`BatchNorm`] of (B, C) or (B, C, W).
pub type BatchNorm1d = BatchNorm;
/// [`BatchNorm`] of (B, C, H, W).
pub type BatchNorm2d = BatchNorm;

impl BatchNorm {
    /// With PyTorch's eps 1e-5 and momentum 0.1.
    pub fn new(params: &Params, channels: usize) -> Result<Self> {
        Self::with(params, channels, 1e-5, 0.1)
    }

    /// `momentum` is the weight of the new batch in the running statistics.
    pub fn with(params: &Params, channels: usize, eps: f64, momentum: f64) -> Result<Self> {
        let device = params.device();
        Ok(BatchNorm {
            weight: params.param("weight", [channels], Init::ONES)?,
            bias: params.param("bias", [channels], Init::ZEROS)?,
            running_mean: params.buffer("running_mean", Tensor::zeros([channels], DType::F32, device)?)?,
            running_var: params.buffer("running_var", Tensor::ones([channels], DType::F32, device)?)?,
            num_batches_tracked: params.counter("num_batches_tracked")?,
            eps,
            momentum,
        })
    }

    fn update(&self, mean: &Tensor, var: &Tensor, per_channel: usize) -> Result<()> {
        let unbiased = per_channel as f64 / (per_channel as f64 - 1.0);
        no_grad(|| {
            let keep = 1.0 - self.momentum;
            let mean = self.running_mean.get().affine(keep, 0.0)?.add(&mean.affine(self.momentum, 0.0)?)?;
            let var = self.running_var.get().affine(keep, 0.0)?.add(&var.affine(self.momentum * unbiased, 0.0)?)?;
            self.running_mean.set(&mean)?;
            self.running_var.set(&var)
        })?;
        self.num_batches_tracked.advance();
        Ok(())
    }
}

/// What follows the normalisation in the same pass over memory.
enum Tail<'a> {
    Nothing,
    Relu,
    AddRelu(&'a Tensor),
}

impl BatchNorm {
    /// The layer followed by a rectified linear unit, in one pass.
    pub fn forward_relu(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.run(x, Tail::Relu, ctx)
    }

    /// The layer, a residual of the input's shape added, and a rectified linear unit, in one pass.
    pub fn forward_add_relu(&self, x: &Tensor, residual: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.run(x, Tail::AddRelu(residual), ctx)
    }

    fn run(&self, x: &Tensor, tail: Tail<'_>, ctx: &mut Ctx) -> Result<Tensor> {
        let (weight, bias) = (self.weight.tensor(), self.bias.tensor());
        let (weight, bias) = (Some(&weight), Some(&bias));
        if !ctx.is_training() {
            let (mean, var) = (self.running_mean.get(), self.running_var.get());
            let y = x.batch_norm_infer(&mean, &var, weight, bias, self.eps)?;
            return match tail {
                Tail::Nothing => Ok(y),
                Tail::Relu => y.relu(),
                Tail::AddRelu(residual) => y.add(residual)?.relu(),
            };
        }
        let channels = if x.rank() >= 2 { x.dims()[1] } else { 0 };
        let per_channel = x.numel().checked_div(channels).unwrap_or(0);
        if per_channel < 2 {
            let message = format!("training needs more than one value per channel, {} has {per_channel}", x.shape());
            return Err(Error::argument("batch_norm", message));
        }
        let out = match tail {
            Tail::Nothing => x.batch_norm_train(weight, bias, self.eps)?,
            Tail::Relu => x.batch_norm_relu_train(weight, bias, self.eps)?,
            Tail::AddRelu(residual) => x.batch_norm_add_relu_train(residual, weight, bias, self.eps)?,
        };
        if ctx.updates_statistics() {
            self.update(&out.mean, &out.var, per_channel)?;
        }
        Ok(out.y)
    }
}

impl Module for BatchNorm {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.run(x, Tail::Nothing, ctx)
    }
}

/// Layer normalisation over the last axes (Ba et al. 2016). `weight` and `bias` of those axes' shape.
#[derive(Clone, Debug)]
pub struct LayerNorm {
    /// Of the normalised axes' shape.
    pub weight: Param,
    /// Of the normalised axes' shape.
    pub bias: Param,
    eps: f64,
}

impl LayerNorm {
    /// Over the last axes, of these extents, with PyTorch's eps 1e-5.
    pub fn new(params: &Params, normalized: &[usize]) -> Result<Self> {
        Self::with_eps(params, normalized, 1e-5)
    }

    /// Over the last axes, of these extents.
    pub fn with_eps(params: &Params, normalized: &[usize], eps: f64) -> Result<Self> {
        let weight = params.param("weight", normalized, Init::ONES)?;
        Ok(LayerNorm { weight, bias: params.param("bias", normalized, Init::ZEROS)?, eps })
    }
}

impl Module for LayerNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        let (weight, bias) = (self.weight.tensor(), self.bias.tensor());
        x.layer_norm(weight.rank(), Some(&weight), Some(&bias), self.eps)
    }
}

/// Root-mean-square normalisation over the last axis (Zhang and Sennrich 2019). `weight` of its extent.
#[derive(Clone, Debug)]
pub struct RmsNorm {
    /// (width).
    pub weight: Param,
    eps: f64,
}

impl RmsNorm {
    /// Over the last axis, of extent `width`.
    pub fn new(params: &Params, width: usize, eps: f64) -> Result<Self> {
        Ok(RmsNorm { weight: params.param("weight", [width], Init::ONES)?, eps })
    }
}

impl Module for RmsNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        x.rms_norm(Some(&self.weight.tensor()), self.eps)
    }
}

/// Group normalisation (Wu and He 2018): each sample's channels in `groups`. `weight` and `bias` (channels).
#[derive(Clone, Debug)]
pub struct GroupNorm {
    /// (channels).
    pub weight: Param,
    /// (channels).
    pub bias: Param,
    groups: usize,
    eps: f64,
}

impl GroupNorm {
    /// With PyTorch's eps 1e-5.
    pub fn new(params: &Params, groups: usize, channels: usize) -> Result<Self> {
        let weight = params.param("weight", [channels], Init::ONES)?;
        Ok(GroupNorm { weight, bias: params.param("bias", [channels], Init::ZEROS)?, groups, eps: 1e-5 })
    }
}

impl Module for GroupNorm {
    fn forward(&self, x: &Tensor, _: &mut Ctx) -> Result<Tensor> {
        x.group_norm(self.groups, Some(&self.weight.tensor()), Some(&self.bias.tensor()), self.eps)
    }
}
