//! Cross-entropy of logits, fused with the softmax, and the negative log-likelihood of log-probabilities.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, needs_grad, record, record_opaque};
use crate::device::Buffer;
use crate::kernels::softmax_xent::{self, CrossEntropyDesc, Targets};
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

/// The labels as classes; an error names the first that is none, and where it is.
fn labels(
    op: &'static str,
    targets: &Tensor,
    samples: &Shape,
    classes: usize,
    ignore: Option<i64>,
) -> Result<Vec<Option<usize>>> {
    if targets.shape() != samples {
        let expected = format!("labels of shape {samples}, one for each sample");
        return Err(Error::shape(op, expected, &[*targets.shape()]));
    }
    let values: Vec<i64> = match targets.dtype() {
        DType::I64 => targets.to_vec::<i64>()?,
        DType::U32 => targets.to_vec::<u32>()?.into_iter().map(i64::from).collect(),
        DType::U8 => targets.to_vec::<u8>()?.into_iter().map(i64::from).collect(),
        other => return Err(Error::dtype(op, "labels of dtype i64, u32 or u8", &[other])),
    };
    let class = |(i, label): (usize, i64)| match usize::try_from(label) {
        _ if Some(label) == ignore => Ok(None),
        Ok(class) if class < classes => Ok(Some(class)),
        _ => {
            let ignored = ignore.map_or(String::new(), |i| format!(", or {i} to be ignored"));
            let message = format!("label {label} at position {i} is out of range: 0 to {classes} exclusive{ignored}");
            Err(Error::argument(op, message))
        }
    };
    values.into_iter().enumerate().map(class).collect()
}

/// What both losses share.
struct Loss {
    classes: Option<Vec<Option<usize>>>,
    smoothing: f64,
    weight: Option<Vec<f64>>,
    reduction: Reduction,
    /// What a mean divides by.
    count: f64,
    rows: usize,
    width: usize,
}

impl Loss {
    fn new(
        op: &'static str,
        x: &Tensor,
        classes: Option<Vec<Option<usize>>>,
        params: &CrossEntropyParams,
    ) -> Result<Self> {
        let (rows, width) = (x.dims()[0], x.dims()[1]);
        let weight = params.weight.as_ref();
        if let Some(weight) = weight {
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
        let weight = weight.map(Tensor::to_f64_vec).transpose()?;
        let of = |class: usize| weight.as_ref().map_or(1.0, |w| w[class]);
        let count = match &classes {
            Some(classes) => classes.iter().flatten().map(|&c| of(c)).sum(),
            None => rows as f64,
        };
        let counted = classes.as_ref().map_or(rows, |c| c.iter().flatten().count());
        if params.reduction == Reduction::Mean && counted == 0 {
            let message = format!("the mean over none of {rows} samples: all are ignored, or the batch is empty");
            return Err(Error::argument(op, message));
        }
        let (smoothing, reduction) = (params.label_smoothing, params.reduction);
        Ok(Loss { classes, smoothing, weight, reduction, count, rows, width })
    }

    fn desc(&self) -> CrossEntropyDesc<'_> {
        let weight = self.weight.as_deref();
        CrossEntropyDesc { rows: self.rows, classes: self.width, smoothing: self.smoothing, weight }
    }

    /// The rows' losses, reduced and rounded to the logits' dtype.
    fn reduce(&self, losses: &Buffer, x: &Tensor, samples: &Shape) -> Result<Tensor> {
        let losses = losses_as_f64(losses)?;
        let total: f64 = losses.iter().sum();
        match self.reduction {
            Reduction::Mean => Tensor::full(total / self.count, (), x.dtype(), x.device()),
            Reduction::Sum => Tensor::full(total, (), x.dtype(), x.device()),
            Reduction::None => crate::with_float!(x.dtype(), T => {
                let values: Vec<T> = losses.into_iter().map(<T as crate::Element>::from_f64).collect();
                Tensor::from_slice(&values, samples, x.device())
            }, else Err(Error::dtype("cross_entropy", "float logits", &[x.dtype()]))),
        }
    }

    /// The gradient of each row's loss.
    fn upstream(&self, grad: &Tensor) -> Result<Vec<f64>> {
        let grad = grad.to_f64_vec()?;
        Ok(match self.reduction {
            Reduction::Mean => vec![grad[0] / self.count; self.rows],
            Reduction::Sum => vec![grad[0]; self.rows],
            Reduction::None => grad,
        })
    }
}

fn losses_as_f64(losses: &Buffer) -> Result<Vec<f64>> {
    match losses.dtype() {
        DType::F64 => losses.to_vec::<f64>(),
        _ => Ok(losses.to_vec::<f32>()?.into_iter().map(f64::from).collect()),
    }
}

struct CrossEntropy {
    loss: Loss,
    logits: Saved,
    lse: Saved,
    probabilities: Option<Saved>,
}

impl Op for CrossEntropy {
    fn name(&self) -> &'static str {
        "cross_entropy"
    }

    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let lse = self.lse.get(ctx)?;
        let probabilities = self.probabilities.as_ref().map(|p| p.get(ctx)).transpose()?;
        let upstream = self.loss.upstream(&grad)?;
        let (lse, probabilities) = (lse.read(), probabilities.as_ref().map(Tensor::read));
        let targets = match (&self.loss.classes, &probabilities) {
            (_, Some(probabilities)) => Targets::Probabilities(probabilities.view()?),
            (classes, None) => Targets::Classes(classes.as_deref().unwrap_or(&[])),
        };
        let (desc, lse) = (self.loss.desc(), lse.view()?);
        // Nothing else holds the logits (an output layer's result, as a rule): the gradient takes their place.
        if let Some(logits) = self.logits.expendable(ctx) {
            logits
                .storage()
                .write(|buffer| softmax_xent::cross_entropy_backward(&desc, None, targets, lse, &upstream, buffer))?;
            return Ok(vec![Some(logits.detach().into())]);
        }
        let logits = self.logits.get(ctx)?;
        let mut dx = Buffer::uninit(logits.device(), logits.dtype(), logits.numel())?;
        let view = logits.read();
        softmax_xent::cross_entropy_backward(&desc, Some(view.view()?), targets, lse, &upstream, &mut dx)?;
        drop(view);
        let dx = Tensor::from_buffer(dx, *logits.shape())?;
        Ok(vec![Some(record_opaque("backward of cross_entropy", dx, &[&logits, &grad])?.into())])
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

    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let mut dx = Buffer::uninit(grad.device(), self.dtype, self.shape.numel())?;
        let (upstream, classes) = (self.loss.upstream(&grad)?, self.loss.classes.as_deref().unwrap_or(&[]));
        softmax_xent::nll_backward(&self.loss.desc(), classes, &upstream, &mut dx)?;
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
    /// names it, and so is a mean over no samples. Labels and weights are constants; a tracked target is an error.
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
        let (classes, probabilities) = if targets.dtype().is_float() {
            if targets.shape() != self.shape() || targets.dtype() != self.dtype() {
                let expected = format!("target probabilities of the logits' shape and dtype ({})", self.dtype());
                return Err(Error::shape(OP, expected, &[*self.shape(), *targets.shape()]));
            }
            if needs_grad(&[targets]) {
                return Err(Error::NoBackward { op: "cross_entropy (target probabilities)" });
            }
            (None, Some(rows(OP, targets)?.0))
        } else {
            (Some(labels(OP, targets, &samples, x.dims()[1], params.ignore_index)?), None)
        };
        let loss = Loss::new(OP, &x, classes, params)?;
        let statistics = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let mut losses = Buffer::uninit(x.device(), statistics, loss.rows)?;
        let mut lse = Buffer::uninit(x.device(), statistics, loss.rows)?;
        let guards = (x.read(), probabilities.as_ref().map(Tensor::read));
        let of = match &guards.1 {
            Some(probabilities) => Targets::Probabilities(probabilities.view()?),
            None => Targets::Classes(loss.classes.as_deref().unwrap_or(&[])),
        };
        softmax_xent::cross_entropy(&loss.desc(), guards.0.view()?, of, &mut losses, &mut lse)?;
        drop(guards);
        let out = loss.reduce(&losses, &x, &samples)?;
        let lse = Tensor::from_buffer(lse, Shape::new(&[loss.rows])?)?;
        record(out, &[&x], || CrossEntropy {
            loss,
            logits: Saved::input(0, &x),
            lse: Saved::constant(&lse),
            probabilities: probabilities.as_ref().map(Saved::constant),
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
        let classes = labels(OP, targets, &samples, x.dims()[1], params.ignore_index)?;
        let loss = Loss::new(OP, &x, Some(classes), params)?;
        let statistics = if x.dtype() == DType::F64 { DType::F64 } else { DType::F32 };
        let mut losses = Buffer::uninit(x.device(), statistics, loss.rows)?;
        softmax_xent::nll(&loss.desc(), x.read().view()?, loss.classes.as_deref().unwrap_or(&[]), &mut losses)?;
        let out = loss.reduce(&losses, &x, &samples)?;
        record(out, &[&x], || Nll { loss, shape: *x.shape(), dtype: x.dtype() })
    }
}
