//! Affine maps of the last axis, fused with their bias and activation.

use super::activation::gelu_backward;
use super::autocast;
use super::support::{map_owned, relu_gradient};
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, needs_grad, record};
use crate::device::Buffer;
use crate::kernels::elementwise;
use crate::kernels::gemm::{self, Activation, Epilogue, GemmDesc};
use crate::{Error, Result, Shape, Tensor};

struct Linear {
    x: Saved,
    weight: Saved,
    bias: Option<Saved>,
    activation: Activation,
    /// What the activation's derivative is computed from: the output (ReLU) or its argument (GELU).
    activated: Option<Saved>,
}

impl Linear {
    /// The gradient before the activation.
    fn through_activation(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Tensor> {
        let Some(saved) = &self.activated else { return Ok(grad) };
        match self.activation {
            Activation::Gelu if ctx.create_graph() => {
                // The argument again, as part of the graph.
                let bias = self.bias.as_ref().map(|b| b.get(ctx)).transpose()?;
                gelu_backward(&self.x.get(ctx)?.linear(&self.weight.get(ctx)?, bias.as_ref())?, &grad)
            }
            Activation::Gelu => map_owned(elementwise::GeluBackward, grad, &[&saved.get(ctx)?]),
            _ => relu_gradient(ctx, grad, &saved.get(ctx)?),
        }
    }
}

impl Op for Linear {
    fn name(&self) -> &'static str {
        match self.activation {
            Activation::None => "linear",
            Activation::Relu => "linear_relu",
            Activation::Gelu => "linear_gelu",
        }
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (x, weight) = (self.x.get(ctx)?, self.weight.get(ctx)?);
        let grad = self.through_activation(ctx, grad)?;
        let (rows, grad_rows) = (rows(&x)?, rows(&grad)?);
        let mut gradients = vec![
            ctx.want(0, || grad_rows.matmul(&weight)?.reshape(x.shape()))?,
            ctx.want(1, || grad_rows.transpose(0, 1)?.matmul(&rows))?,
        ];
        if self.bias.is_some() {
            gradients.push(ctx.want(2, || grad_rows.sum_keepdim(&[0])?.reshape([weight.dims()[0]]))?);
        }
        Ok(gradients)
    }
}

/// All but the last axis as one.
fn rows(x: &Tensor) -> Result<Tensor> {
    let features = x.dims().last().copied().unwrap_or(1);
    let count: usize = x.dims()[..x.rank().saturating_sub(1)].iter().product();
    x.reshape([count, features])
}

impl Tensor {
    /// `x · weightᵀ + bias`: (…, in) with a weight of (out, in) and a bias of (out) → (…, out), as PyTorch's
    /// `F.linear`. Float dtypes, all of one; the bias is added before the result is rounded.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0], [1, 2], &Device::Cpu)?;
    /// let weight = Tensor::from_slice(&[1f32, 0.0, 0.0, 1.0, 1.0, 1.0], [3, 2], &Device::Cpu)?;
    /// let bias = Tensor::from_slice(&[0.5f32, 0.0, -4.0], [3], &Device::Cpu)?;
    /// assert_eq!(x.linear(&weight, Some(&bias))?.to_vec::<f32>()?, [1.5, 2.0, -1.0]);
    /// assert_eq!(x.linear_relu(&weight, Some(&bias))?.to_vec::<f32>()?, [1.5, 2.0, 0.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn linear(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.affine_map(weight, bias, Activation::None)
    }

    /// [`linear`](Tensor::linear) and [`relu`](Tensor::relu) in one pass.
    pub fn linear_relu(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.affine_map(weight, bias, Activation::Relu)
    }

    /// [`linear`](Tensor::linear) and the exact [`gelu`](Tensor::gelu) in one pass.
    pub fn linear_gelu(&self, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        self.affine_map(weight, bias, Activation::Gelu)
    }

    fn affine_map(&self, weight: &Tensor, bias: Option<&Tensor>, activation: Activation) -> Result<Tensor> {
        if let Some(([x, w], [b])) = autocast::cast("linear", [self, weight], [bias])? {
            return x.affine_map(&w, b.as_ref(), activation);
        }
        let features = self.dims().last().copied();
        let wrong_bias = bias.is_some_and(|b| weight.rank() == 0 || b.dims() != &weight.dims()[..1]);
        if weight.rank() != 2 || features != Some(weight.dims()[1]) || wrong_bias {
            let found: Vec<Shape> =
                [Some(self), Some(weight), bias].into_iter().flatten().map(|t| *t.shape()).collect();
            return Err(Error::shape("linear", "x of (…, in), a weight of (out, in) and a bias of (out)", &found));
        }
        let (x, transposed) = (rows(&self.detach())?, weight.detach().transpose(0, 1)?);
        let (guard_x, guard_w, guard_b) = (x.read(), transposed.read(), bias.map(Tensor::read));
        let (a, b) = (guard_x.view()?, guard_w.view()?);
        let desc = GemmDesc { activation, ..GemmDesc::of(&a, &b)? };
        let epilogue = Epilogue { bias: guard_b.as_ref().map(|g| g.view()).transpose()?, residual: None };
        let inputs: Vec<&Tensor> = [Some(self), Some(weight), bias].into_iter().flatten().collect();
        let buffer = || Buffer::uninit(self.device(), self.dtype(), desc.m * desc.n);
        let (mut out, mut argument) = (buffer()?, None);
        if activation == Activation::Gelu && needs_grad(&inputs) {
            argument = Some(buffer()?);
        }
        gemm::gemm(&desc, a, b, epilogue, argument.as_mut(), &mut out)?;
        let shape = self.shape().with_dim(self.rank() - 1, desc.n);
        let out = Tensor::from_buffer(out, shape)?;
        let argument = argument.map(|buffer| Tensor::from_buffer(buffer, shape)).transpose()?;
        record(out.clone(), &inputs, || Linear {
            x: Saved::input(0, self),
            weight: Saved::input(1, weight),
            bias: bias.map(|b| Saved::input(2, b)),
            activation,
            activated: match activation {
                Activation::None => None,
                Activation::Relu => Some(Saved::output(&out)),
                Activation::Gelu => argument.as_ref().map(Saved::constant),
            },
        })
    }
}
