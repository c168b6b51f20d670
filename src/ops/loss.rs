//! Losses between tensors of one shape. Every loss is computed and summed in f32 (f64 for f64) without storing the
//! elements' losses, unless [`Reduction::None`] asks for them.

use super::autocast;
use super::support::{expanded, map};
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record, record_opaque};
use crate::device::Buffer;
use crate::kernels::elementwise::{self as kernel, Map};
use crate::{Error, Reduction, Result, Tensor};

/// The backward of a loss of `x` and a target: `kernel(scale)` is a map of gradient, x and target, for x where the
/// scale is positive and for the target where it is negative.
struct Loss<B, F> {
    name: &'static str,
    opaque: &'static str,
    x: Saved,
    target: Saved,
    /// Whether the target is an input with a gradient.
    both: bool,
    scale: f64,
    kernel: F,
    _backward: std::marker::PhantomData<B>,
}

impl<B: Map<3>, F: Fn(f64) -> B + Send + Sync> Op for Loss<B, F> {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (x, t) = (self.x.get(ctx)?, self.target.get(ctx)?);
        let part =
            |scale: f64| record_opaque(self.opaque, map((self.kernel)(scale), [&grad, &x, &t])?, &[&grad, &x, &t]);
        let mut gradients = vec![ctx.want(0, || part(self.scale))?];
        if self.both {
            gradients.push(ctx.want(1, || part(-self.scale))?);
        }
        Ok(gradients)
    }
}

/// The backward of weighted binary cross-entropy, for x only.
struct Weighted {
    x: Saved,
    target: Saved,
    weight: Saved,
    scale: f64,
}

impl Op for Weighted {
    fn name(&self) -> &'static str {
        "bce_with_logits"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (x, t, w) = (self.x.get(ctx)?, self.target.get(ctx)?, self.weight.get(ctx)?);
        let kernel = kernel::BceLogitsWeightedBackward { scale: self.scale };
        let out = map(kernel, [&grad, &x, &t, &w])?;
        Ok(vec![Some(record_opaque("backward of bce_with_logits", out, &[&grad, &x])?.into())])
    }
}

/// What the sum of the elements' losses is multiplied by. The mean of no elements is NaN, as in PyTorch.
fn scale(reduction: Reduction, n: usize) -> f64 {
    match reduction {
        Reduction::Mean => 1.0 / n as f64,
        Reduction::Sum | Reduction::None => 1.0,
    }
}

fn check(op: &'static str, x: &Tensor, target: &Tensor) -> Result<()> {
    if x.shape() != target.shape() {
        return Err(Error::shape(op, "an input and a target of one shape", &[*x.shape(), *target.shape()]));
    }
    if x.dtype() != target.dtype() || !x.dtype().is_float() {
        let expected = "an input and a target of one float dtype (convert with to_dtype)";
        return Err(Error::dtype(op, expected, &[x.dtype(), target.dtype()]));
    }
    Ok(())
}

/// The elements' losses, or their sum times the reduction's scale.
fn forward<const N: usize, F: Map<N>>(f: F, inputs: [&Tensor; N], reduction: Reduction) -> Result<Tensor> {
    if reduction == Reduction::None {
        return map(f, inputs);
    }
    let x = inputs[0];
    let guards = inputs.map(|t| t.read());
    let mut views = [guards[0].view()?; N];
    for (view, guard) in views.iter_mut().zip(&guards) {
        *view = expanded(guard.view()?, x.shape())?;
    }
    let mut out = Buffer::uninit(x.device(), x.dtype(), 1)?;
    let scale = scale(reduction, x.numel());
    kernel::map_sum(f, views, if x.numel() == 0 && reduction == Reduction::Mean { f64::NAN } else { scale }, &mut out)?;
    Tensor::from_buffer(out, crate::Shape::scalar())
}

/// A loss whose derivative for the target is minus that for the input.
fn symmetric<F: Map<2>, B: Map<3> + 'static>(
    names: [&'static str; 2],
    x: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    f: F,
    backward: impl Fn(f64) -> B + Send + Sync + 'static,
) -> Result<Tensor> {
    if let Some(([x, t], [])) = autocast::cast(names[0], [x, target], [])? {
        return symmetric(names, &x, &t, reduction, f, backward);
    }
    check(names[0], x, target)?;
    record(forward(f, [x, target], reduction)?, &[x, target], || Loss {
        name: names[0],
        opaque: names[1],
        x: Saved::input(0, x),
        target: Saved::input(1, target),
        both: true,
        scale: scale(reduction, x.numel()),
        kernel: backward,
        _backward: std::marker::PhantomData,
    })
}

/// A loss whose target must be a constant.
fn constant_target<F: Map<2>, B: Map<3> + 'static>(
    names: [&'static str; 3],
    x: &Tensor,
    target: &Tensor,
    reduction: Reduction,
    f: F,
    backward: impl Fn(f64) -> B + Send + Sync + 'static,
) -> Result<Tensor> {
    if let Some(([x, t], [])) = autocast::cast(names[0], [x, target], [])? {
        return constant_target(names, &x, &t, reduction, f, backward);
    }
    check(names[0], x, target)?;
    let out = record_opaque(names[2], forward(f, [x, target], reduction)?, &[target])?;
    record(out, &[x], || Loss {
        name: names[0],
        opaque: names[1],
        x: Saved::input(0, x),
        target: Saved::constant(target),
        both: false,
        scale: scale(reduction, x.numel()),
        kernel: backward,
        _backward: std::marker::PhantomData,
    })
}

impl Tensor {
    /// The squared error (x − t)², reduced; both of one shape and float dtype, both with gradients.
    ///
    /// ```
    /// # use warpsmith::{Device, Reduction, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0], [2], &Device::Cpu)?.track();
    /// let target = Tensor::from_slice(&[0f32, 4.0], [2], &Device::Cpu)?;
    /// let loss = x.mse_loss(&target, Reduction::Mean)?;
    /// assert_eq!(loss.item::<f32>()?, 2.5);
    /// assert_eq!(loss.backward()?.expect(&x)?.to_vec::<f32>()?, [1.0, -2.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn mse_loss(&self, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
        let names = ["mse_loss", "backward of mse_loss"];
        symmetric(names, self, target, reduction, kernel::SquaredError, |scale| kernel::SquaredErrorBackward { scale })
    }

    /// The absolute error |x − t|, reduced; both of one shape and float dtype, both with gradients (0 where equal).
    pub fn l1_loss(&self, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
        let names = ["l1_loss", "backward of l1_loss"];
        let backward = |scale| kernel::AbsoluteErrorBackward { scale };
        symmetric(names, self, target, reduction, kernel::AbsoluteError, backward)
    }

    /// Huber's loss: (x − t)²/2 where |x − t| ≤ `delta`, else `delta` (|x − t| − `delta`/2), reduced; both of one shape
    /// and float dtype, both with gradients. `delta` must be positive.
    pub fn huber_loss(&self, target: &Tensor, delta: f64, reduction: Reduction) -> Result<Tensor> {
        positive("huber_loss", "delta", delta)?;
        let names = ["huber_loss", "backward of huber_loss"];
        let backward = move |scale| kernel::HuberBackward { delta, scale };
        symmetric(names, self, target, reduction, kernel::Huber { delta, scale: 1.0 }, backward)
    }

    /// The smooth L1 loss: (x − t)²/2`beta` where |x − t| < `beta`, else |x − t| − `beta`/2 (Girshick 2015), reduced;
    /// both of one shape and float dtype, both with gradients. `beta` must be positive (0 is [`Tensor::l1_loss`]).
    pub fn smooth_l1_loss(&self, target: &Tensor, beta: f64, reduction: Reduction) -> Result<Tensor> {
        positive("smooth_l1_loss", "beta", beta)?;
        let names = ["smooth_l1_loss", "backward of smooth_l1_loss"];
        let backward = move |scale| kernel::HuberBackward { delta: beta, scale: scale / beta };
        symmetric(names, self, target, reduction, kernel::Huber { delta: beta, scale: 1.0 / beta }, backward)
    }

    /// Binary cross-entropy of logits, −w t ln σ(x) − (1 − t) ln(1 − σ(x)), without overflow, reduced. Targets are
    /// probabilities, of the logits' shape and float dtype, and constants; `pos_weight` w (1 if absent) is broadcast to
    /// that shape and a constant too.
    pub fn bce_with_logits(
        &self,
        target: &Tensor,
        pos_weight: Option<&Tensor>,
        reduction: Reduction,
    ) -> Result<Tensor> {
        const NAME: &str = "bce_with_logits";
        if let Some(([x, t], [w])) = autocast::cast(NAME, [self, target], [pos_weight])? {
            return x.bce_with_logits(&t, w.as_ref(), reduction);
        }
        let Some(weight) = pos_weight else {
            let names = [NAME, "backward of bce_with_logits", "bce_with_logits (gradient of the target)"];
            let backward = |scale| kernel::BceLogitsBackward { scale };
            return constant_target(names, self, target, reduction, kernel::BceLogits, backward);
        };
        check(NAME, self, target)?;
        if weight.dtype() != self.dtype() || weight.layout().expand(self.shape()).is_none() {
            let expected = format!("a pos_weight of {} that broadcasts to the logits", self.dtype());
            return Err(Error::shape(NAME, expected, &[*self.shape(), *weight.shape()]));
        }
        let out = forward(kernel::BceLogitsWeighted, [self, target, weight], reduction)?;
        let out = record_opaque("bce_with_logits (gradient of target or pos_weight)", out, &[target, weight])?;
        record(out, &[self], || Weighted {
            x: Saved::input(0, self),
            target: Saved::constant(target),
            weight: Saved::constant(weight),
            scale: scale(reduction, self.numel()),
        })
    }

    /// Binary cross-entropy of probabilities, −t ln x − (1 − t) ln(1 − x), reduced; logarithms are bounded below by
    /// −100, as in PyTorch. Targets are probabilities, of the input's shape and float dtype, and constants.
    /// [`Tensor::bce_with_logits`] is more accurate.
    pub fn bce_loss(&self, target: &Tensor, reduction: Reduction) -> Result<Tensor> {
        let names = ["bce_loss", "backward of bce_loss", "bce_loss (gradient of the target)"];
        constant_target(names, self, target, reduction, kernel::Bce, |scale| kernel::BceBackward { scale })
    }

    /// The Kullback-Leibler divergence t (ln t − x) of log-probabilities x from targets t, reduced; targets of the
    /// input's shape and float dtype, constants: probabilities, or with `log_target` their logarithms. The mean is over
    /// all elements; the divergence per sample is the sum over the number of samples.
    pub fn kl_div(&self, target: &Tensor, log_target: bool, reduction: Reduction) -> Result<Tensor> {
        let names = ["kl_div", "backward of kl_div", "kl_div (gradient of the target)"];
        if log_target {
            let backward = |scale| kernel::KlDivLogBackward { scale };
            return constant_target(names, self, target, reduction, kernel::KlDivLog, backward);
        }
        constant_target(names, self, target, reduction, kernel::KlDiv, |scale| kernel::KlDivBackward { scale })
    }
}

fn positive(op: &'static str, what: &str, value: f64) -> Result<()> {
    if value > 0.0 && value.is_finite() {
        return Ok(());
    }
    Err(Error::argument(op, format!("{what} must be positive, got {value}")))
}
