//! Cross-entropy of logits, fused with the softmax, and the negative log-likelihood of log-probabilities.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, needs_grad, record, record_opaque};
use crate::device::{Buffer, View};
use crate::kernels::softmax_xent::{self, CrossEntropyDesc, Targets, Upstream};
use crate::{DType, Error, Reduction, Result, Shape, Tensor};

/// How [`Tensor::cross_entropy`] and [`Tensor::nll_loss`] weigh classes and samples.
#[derive(Clone, Debug)]
pub struct CrossEntropyParams {
    /// Rows with this label count for nothing. PyTorch's default: −100.
    pub ignore_index: Option<i64>,
    /// The part of each target that is spread evenly over the classes, 0 to 1 (Szegedy et al. 2016).
    pub label_smoothing: f64,
    /// One weight per class, of shape (C) and any float dtype: a constant.
    pub weight: Option<Tensor>,
    /// How samples combine. The mean over class labels divides by the sum of the labels' weights, that over
    /// probabilities by the number of samples, as in PyTorch.
    pub reduction: Reduction,
}

impl Default for CrossEntropyParams {
    fn default() -> Self {
        CrossEntropyParams {
            ignore_index: Some(-100),
            label_smoothing: 0.0,
            weight: None,
            reduction: Reduction::default(),
        }
    }
}

/// (N, C, …) as rows of C, and the shape of the samples (N, …).
fn rows(op: &'static str, x: &Tensor) -> Result<(Tensor, Shape)> {
    match x.rank() {
        0 => Err(Error::shape(op, "(C), (N, C) or (N, C, …)", &[*x.shape()])),
        1 => Ok((x.reshape([1, x.dims()[0]])?, Shape::scalar())),
        2 => Ok((x.clone(), Shape::new(&x.dims()[..1])?)),
        rank => {
            let order: Vec<isize> = [0].into_iter().chain(2..rank as isize).chain([1]).collect();
            let last = x.permute(&order)?;
            let (samples, classes) = (Shape::new(&last.dims()[..rank - 1])?, x.dims()[1]);
            Ok((last.reshape([samples.numel(), classes])?, samples))
        }
    }
}

/// What rows are compared with, in the logits' memory; float targets are probabilities.
#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Labels,
    Probabilities,
}

/// What both losses share: all that their gradients need besides the logits.
struct Loss {
    targets: Saved,
    kind: Kind,
    smoothing: f64,
    ignored: Option<i64>,
    weight: Option<Saved>,
    /// What a mean was divided by.
    divisor: Option<Saved>,
    rows: usize,
    width: usize,
}

/// The operands of a loss before it is recorded.
struct Given {
    targets: Tensor,
    kind: Kind,
    smoothing: f64,
    ignored: Option<i64>,
    weight: Option<Tensor>,
    rows: usize,
    width: usize,
}

impl Given {
    /// Labels: one for each sample.
    fn labels(
        op: &'static str,
        x: &Tensor,
        samples: &Shape,
        targets: &Tensor,
        params: &CrossEntropyParams,
    ) -> Result<Self> {
        if targets.shape() != samples {
            let expected = format!("labels of shape {samples}, one for each sample");
            return Err(Error::shape(op, expected, &[*targets.shape()]));
        }
        if !matches!(targets.dtype(), DType::I64 | DType::U32 | DType::U8) {
            return Err(Error::dtype(op, "labels of dtype i64, u32 or u8", &[targets.dtype()]));
        }
        Self::new(op, x, targets.detach().to_device(x.device())?, Kind::Labels, params)
    }

    fn new(op: &'static str, x: &Tensor, targets: Tensor, kind: Kind, params: &CrossEntropyParams) -> Result<Self> {
        let (rows, width) = (x.dims()[0], x.dims()[1]);
        if let Some(weight) = &params.weight {
            if weight.dims() != [width] {
                let expected = format!("class weights of shape [{width}]");
                return Err(Error::shape(op, expected, &[*weight.shape()]));
            }
            if needs_grad(&[weight]) {
                return Err(Error::NoBackward { op: "cross_entropy (class weights)" });
            }
        }
        if !(0.0..=1.0).contains(&params.label_smoothing) {
            return Err(Error::argument(op, format!("label smoothing {} is not in 0 to 1", params.label_smoothing)));
        }
        let weight = match &params.weight {
            Some(weight) if weight.device() != x.device() => {
                Some(weight.to_dtype(statistics(x))?.to_device(x.device())?)
            }
            weight => weight.clone(),
        };
        let (smoothing, ignored) = (params.label_smoothing, params.ignore_index);
        Ok(Given { targets, kind, smoothing, ignored, weight, rows, width })
    }

    /// The rows' losses, reduced and rounded to the logits' dtype, and what a mean was divided by.
    fn reduce(
        &self,
        op: &'static str,
        losses: Buffer,
        x: &Tensor,
        samples: &Shape,
        reduction: Reduction,
    ) -> Result<(Tensor, Option<Tensor>)> {
        if reduction == Reduction::None {
            return Ok((Tensor::from_buffer(losses, *samples)?.to_dtype(x.dtype())?, None));
        }
        let (targets, weight) = (self.targets.read(), self.weight.as_ref().map(Tensor::read));
        let weight = weight.as_ref().map(|weight| weight.view()).transpose()?;
        let desc = self.desc(weight);
        let (targets, mean) = (of_kind(self.kind, targets.view()?), reduction == Reduction::Mean);
        let (out, divisor) = softmax_xent::reduce_losses(op, &desc, targets, &losses, mean, x.dtype())?;
        let divisor = divisor.map(|divisor| Tensor::from_buffer(divisor, Shape::scalar())).transpose()?;
        Ok((Tensor::from_buffer(out, Shape::scalar())?, divisor))
    }

    fn desc<'a>(&self, weight: Option<View<'a>>) -> CrossEntropyDesc<'a> {
        let &Given { rows, width, smoothing, ignored, .. } = self;
        CrossEntropyDesc { rows, classes: width, smoothing, ignored, weight }
    }

    fn save(&self, divisor: Option<&Tensor>) -> Loss {
        Loss {
            targets: Saved::constant(&self.targets),
            kind: self.kind,
            smoothing: self.smoothing,
            ignored: self.ignored,
            weight: self.weight.as_ref().map(Saved::constant),
            divisor: divisor.map(Saved::constant),
            rows: self.rows,
            width: self.width,
        }
    }
}

fn of_kind(kind: Kind, view: View<'_>) -> Targets<'_> {
    match kind {
        Kind::Labels => Targets::Labels(view),
        Kind::Probabilities => Targets::Probabilities(view),
    }
}

/// The dtype of what is computed of rows.
fn statistics(x: &Tensor) -> DType {
    if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 }
}

impl Loss {
    /// Calls `f` with what the kernels of a gradient take.
    fn with<R>(
        &self,
        ctx: &BackwardCtx<'_>,
        grad: &Tensor,
        f: impl FnOnce(&CrossEntropyDesc<'_>, Targets<'_>, Upstream<'_>) -> Result<R>,
    ) -> Result<R> {
        let get = |saved: &Option<Saved>| saved.as_ref().map(|saved| saved.get(ctx)).transpose();
        let (targets, weight, divisor) = (self.targets.get(ctx)?, get(&self.weight)?, get(&self.divisor)?);
        let (targets, grad) = (targets.read(), grad.read());
        let (weight, divisor) = (weight.as_ref().map(Tensor::read), divisor.as_ref().map(Tensor::read));
        let &Loss { rows, width, smoothing, ignored, .. } = self;
        let weight = weight.as_ref().map(|weight| weight.view()).transpose()?;
        let desc = CrossEntropyDesc { rows, classes: width, smoothing, ignored, weight };
        let divisor = divisor.as_ref().map(|divisor| divisor.view()).transpose()?;
        f(&desc, of_kind(self.kind, targets.view()?), Upstream { grad: grad.view()?, divisor })
    }
}

struct CrossEntropy {
    loss: Loss,
    logits: Saved,
    lse: Saved,
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let lse = self.lse.get(ctx)?;
        let lse = lse.read();
        self.loss.with(ctx, &grad, |desc, targets, upstream| {
            let lse = lse.view()?;
            // Nothing else holds the logits (an output layer's result, as a rule): the gradient takes their place.
            if let Some(logits) = self.logits.expendable(ctx) {
                logits
                    .storage()
                    .write(|buffer| softmax_xent::cross_entropy_backward(desc, None, targets, lse, upstream, buffer))?;
                return Ok(vec![Some(logits.detach().into())]);
            }
            let logits = self.logits.get(ctx)?;
            let mut dx = Buffer::uninit(logits.device(), logits.dtype(), logits.numel())?;
            let view = logits.read();
            softmax_xent::cross_entropy_backward(desc, Some(view.view()?), targets, lse, upstream, &mut dx)?;
            drop(view);
            let dx = Tensor::from_buffer(dx, *logits.shape())?;
            Ok(vec![Some(record_opaque("backward of cross_entropy", dx, &[&logits, &grad])?.into())])
        })
    }
}

struct Nll {
    loss: Loss,
    shape: Shape,
    dtype: DType,
}

impl Op for Nll {
    fn name(&self) -> &'static str {
        "nll_loss"
    }

    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let mut dx = Buffer::uninit(grad.device(), self.dtype, self.shape.numel())?;
        self.loss.with(ctx, &grad, |desc, targets, upstream| match targets {
            Targets::Labels(labels) => softmax_xent::nll_backward(desc, labels, upstream, &mut dx),
            Targets::Probabilities(_) => unreachable!("nll_loss takes labels only"),
        })?;
        let dx = Tensor::from_buffer(dx, self.shape)?;
        Ok(vec![Some(record_opaque("backward of nll_loss", dx, &[&grad])?.into())])
    }
}

impl Tensor {
    /// The cross-entropy of logits (C), (N, C) or (N, C, …) with targets: class labels (i64, u32 or u8) of shape (),
    /// (N) or (N, …), or probabilities of the logits' shape and dtype.
    ///
    /// One loss per sample, −Σ weight · target · log_softmax(logits), reduced as the parameters say, of the logits'
    /// dtype; computed in f32 (f64 for f64), without the softmax in memory. A label outside 0 to C is an error that
    /// names it, and so is a mean over no samples: at once on the CPU, on CUDA at the next call that waits for the device
    /// (the loss' read-out, as a rule). Labels and weights are constants; a tracked target is an error.
    ///
    /// ```
    /// # use warpsmith::{CrossEntropyParams, Device, Tensor};
    /// let logits = Tensor::from_slice(&[0f32, 0.0, 50.0, 0.0], [2, 2], &Device::Cpu)?;
    /// let labels = Tensor::from_slice(&[1i64, 0], 2, &Device::Cpu)?;
    /// let loss = logits.cross_entropy(&labels, &CrossEntropyParams::default())?;
    /// assert_eq!(loss.item::<f32>()?, 2f32.ln() / 2.0);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn cross_entropy(&self, targets: &Tensor, params: &CrossEntropyParams) -> Result<Tensor> {
        const OP: &str = "cross_entropy";
        if let Some(([x, t], [])) = autocast::cast(OP, [self, targets], [])? {
            return x.cross_entropy(&t, params);
        }
        let (x, samples) = rows(OP, self)?;
        let given = if targets.dtype().is_float() {
            if targets.shape() != self.shape() || targets.dtype() != self.dtype() {
                let expected = format!("target probabilities of the logits' shape and dtype ({})", self.dtype());
                return Err(Error::shape(OP, expected, &[*self.shape(), *targets.shape()]));
            }
            if needs_grad(&[targets]) {
                return Err(Error::NoBackward { op: "cross_entropy (target probabilities)" });
            }
            Given::new(OP, &x, rows(OP, targets)?.0, Kind::Probabilities, params)?
        } else {
            Given::labels(OP, &x, &samples, targets, params)?
        };
        let mut losses = Buffer::uninit(x.device(), statistics(&x), given.rows)?;
        let mut lse = Buffer::uninit(x.device(), statistics(&x), given.rows)?;
        let guards = (x.read(), given.targets.read(), given.weight.as_ref().map(Tensor::read));
        let weight = guards.2.as_ref().map(|weight| weight.view()).transpose()?;
        let of = of_kind(given.kind, guards.1.view()?);
        softmax_xent::cross_entropy(&given.desc(weight), guards.0.view()?, of, &mut losses, &mut lse)?;
        drop(guards);
        let (out, divisor) = given.reduce(OP, losses, &x, &samples, params.reduction)?;
        let lse = Tensor::from_buffer(lse, Shape::new(&[given.rows])?)?;
        record(out, &[&x], || CrossEntropy {
            loss: given.save(divisor.as_ref()),
            logits: Saved::input(0, &x),
            lse: Saved::constant(&lse),
        })
    }

    /// −weight · x at each sample's label, reduced: the loss of log-probabilities (C), (N, C) or (N, C, …) such as
    /// [`log_softmax`](Tensor::log_softmax) gives. Labels, weights and errors as for
    /// [`cross_entropy`](Tensor::cross_entropy); label smoothing must be 0.
    pub fn nll_loss(&self, targets: &Tensor, params: &CrossEntropyParams) -> Result<Tensor> {
        const OP: &str = "nll_loss";
        if let Some(([x], [])) = autocast::cast(OP, [self], [])? {
            return x.nll_loss(targets, params);
        }
        if params.label_smoothing != 0.0 {
            return Err(Error::argument(OP, "label smoothing needs logits: use cross_entropy"));
        }
        let (x, samples) = rows(OP, self)?;
        let given = Given::labels(OP, &x, &samples, targets, params)?;
        let mut losses = Buffer::uninit(x.device(), statistics(&x), given.rows)?;
        let guards = (x.read(), given.targets.read(), given.weight.as_ref().map(Tensor::read));
        let weight = guards.2.as_ref().map(|weight| weight.view()).transpose()?;
        softmax_xent::nll(&given.desc(weight), guards.0.view()?, guards.1.view()?, &mut losses)?;
        drop(guards);
        let (out, divisor) = given.reduce(OP, losses, &x, &samples, params.reduction)?;
        record(out, &[&x], || Nll { loss: given.save(divisor.as_ref()), shape: *x.shape(), dtype: x.dtype() })
    }
}
