//! What most operations share: allocate, call the family, wrap; operations of one input; the gradient of broadcasting.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record};
use crate::device::{Buffer, View};
use crate::kernels::elementwise::{self, IntegerMap, Map};
use crate::{Error, Result, Shape, Tensor};

/// The shape of operands broadcast together; an error if their dtypes differ.
fn broadcast(op: &'static str, inputs: &[&Tensor]) -> Result<Shape> {
    let mut shape: Shape = *inputs[0].shape();
    for input in &inputs[1..] {
        shape = shape.broadcast(input.shape(), op)?;
        if input.dtype() != inputs[0].dtype() {
            let expected = "operands of one dtype (convert with to_dtype)";
            return Err(Error::dtype(op, expected, &[inputs[0].dtype(), input.dtype()]));
        }
    }
    Ok(shape)
}

/// The view repeated along axes of extent 1 to a shape that it broadcasts to.
pub(super) fn expanded<'a>(view: View<'a>, shape: &Shape) -> Result<View<'a>> {
    view.with_layout(view.layout().expand(shape).unwrap_or(*view.layout()))
}

/// Broadcasts, allocates and runs a kernel. (What it runs is not a type parameter: this is compiled once per `N`.)
fn compute<const N: usize>(
    op: &'static str,
    inputs: [&Tensor; N],
    run: &dyn Fn([View<'_>; N], &mut Buffer) -> Result<()>,
) -> Result<Tensor> {
    let shape = broadcast(op, &inputs)?;
    let guards = inputs.map(|t| t.read());
    let mut views = [guards[0].view()?; N];
    for (view, guard) in views.iter_mut().zip(&guards) {
        *view = expanded(guard.view()?, &shape)?;
    }
    let mut out = Buffer::uninit(inputs[0].device(), inputs[0].dtype(), shape.numel())?;
    run(views, &mut out)?;
    Tensor::from_buffer(out, shape)
}

/// `f` over float inputs broadcast together, as an unrecorded tensor.
pub(crate) fn map<const N: usize, F: Map<N>>(f: F, inputs: [&Tensor; N]) -> Result<Tensor> {
    compute(F::NAME, inputs, &|views, out| elementwise::map(f, views, out))
}

/// [`map`] for float dtypes, the integer function for the others.
pub(crate) fn map_number<const N: usize, F: Map<N>>(
    f: F,
    integer: IntegerMap<N>,
    inputs: [&Tensor; N],
) -> Result<Tensor> {
    if inputs[0].dtype().is_float() {
        return map(f, inputs);
    }
    compute(F::NAME, inputs, &|views, out| elementwise::map_integer(integer, views, out))
}

/// As [`map`] with `first` and then the `N` − 1 of `rest`, written into `first` where nothing else holds its storage.
pub(crate) fn map_owned<const N: usize, F: Map<N>>(f: F, first: Tensor, rest: &[&Tensor]) -> Result<Tensor> {
    if !may_overwrite(&first, rest) {
        return map(f, preceded(&first, rest));
    }
    overwrite(first, rest, &|out, shape, rest| elementwise::map_in_place::<N, F>(f, out, shape, rest))
}

fn preceded<'a, const N: usize>(first: &'a Tensor, rest: &[&'a Tensor]) -> [&'a Tensor; N] {
    std::array::from_fn(|i| if i == 0 { first } else { rest[i - 1] })
}

/// Whether a result computed from these may take the place of the first.
fn may_overwrite(first: &Tensor, rest: &[&Tensor]) -> bool {
    first.is_unique() && rest.iter().all(|t| t.dtype() == first.dtype() && t.layout().expand(first.shape()).is_some())
}

fn overwrite(
    first: Tensor,
    rest: &[&Tensor],
    run: &dyn Fn(&mut Buffer, Shape, &[View<'_>]) -> Result<()>,
) -> Result<Tensor> {
    let shape = *first.shape();
    let Some(mut out) = first.into_buffer() else {
        unreachable!("a unique tensor has the only handle to its storage");
    };
    let guards: Vec<_> = rest.iter().map(|t| t.read()).collect();
    let views = guards.iter().map(|g| expanded(g.view()?, &shape)).collect::<Result<Vec<_>>>()?;
    run(&mut out, shape, &views)?;
    Tensor::from_buffer(out, shape)
}

/// What a [`unary`] operation keeps for its backward.
pub(super) enum Save {
    Input,
    Output,
}

/// An operation of one input whose gradient is a function of the upstream gradient and one saved tensor.
struct Unary<B, C> {
    name: &'static str,
    saved: Saved,
    kernel: B,
    composed: C,
}

impl<B, C> Op for Unary<B, C>
where
    B: Map<2>,
    C: Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync,
{
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let saved = self.saved.get(ctx)?;
        let out =
            if ctx.create_graph() { (self.composed)(&saved, &grad)? } else { map_owned(self.kernel, grad, &[&saved])? };
        Ok(vec![Some(out.into())])
    }
}

/// Records y = f(x) with the backward `kernel(grad, saved)`; `composed(saved, grad)` is the same made of operations,
/// for second derivatives.
pub(super) fn unary<F: Map<1>, B: Map<2> + 'static>(
    x: &Tensor,
    f: F,
    save: Save,
    kernel: B,
    composed: impl Fn(&Tensor, &Tensor) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    if let Some(([x], [])) = autocast::cast(F::NAME, [x], [])? {
        return unary(&x, f, save, kernel, composed);
    }
    let y = map(f, [x])?;
    record(y.clone(), &[x], || {
        let saved = match save {
            Save::Input => Saved::input(0, x),
            Save::Output => Saved::output(&y),
        };
        Unary { name: F::NAME, saved, kernel, composed }
    })
}

/// The gradient before a ReLU whose output was `y`: for operations that end in one.
pub(super) fn relu_gradient(ctx: &BackwardCtx<'_>, grad: Tensor, y: &Tensor) -> Result<Tensor> {
    if ctx.create_graph() {
        return grad.masked_fill(&y.le(&scalar(0.0, y)?)?, 0.0);
    }
    map_owned(elementwise::ReluBackward, grad, &[y])
}

/// A scalar of the dtype and on the device of `like`.
pub(super) fn scalar(value: f64, like: &Tensor) -> Result<Tensor> {
    Tensor::full(value, (), like.dtype(), like.device())
}

/// Sums a gradient over the axes along which an input of `shape` was broadcast.
pub(crate) fn unbroadcast(grad: Tensor, shape: &Shape) -> Result<Tensor> {
    if grad.shape() == shape {
        return Ok(grad);
    }
    let extra = grad.rank() - shape.rank();
    let axes: Vec<isize> = (0..grad.rank())
        .filter(|&i| i < extra || (shape[i - extra] == 1 && grad.dims()[i] != 1))
        .map(|i| i as isize)
        .collect();
    grad.sum_keepdim(&axes)?.reshape(shape)
}
