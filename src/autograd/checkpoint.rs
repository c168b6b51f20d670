//! Activation checkpointing (Chen et al. 2016, "Training deep nets with sublinear memory cost").

use super::{Backward, BackwardCtx, Gradient, Node, Op, Saved, autocast, mode, no_grad};
use crate::{DType, Result, Tensor};
use std::sync::Arc;

struct Checkpoint<F> {
    f: F,
    /// The forward's mixed precision.
    low: Option<DType>,
    inputs: Vec<Saved>,
}

impl<F: Fn(&[Tensor]) -> Result<Tensor> + Send + Sync> Op for Checkpoint<F> {
    fn name(&self) -> &'static str {
        "checkpoint"
    }

    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        if ctx.create_graph() {
            return Err(crate::Error::NoBackward { op: "backward of checkpoint" });
        }
        let inputs = self.inputs.iter().enumerate().map(|(i, saved)| {
            let value = saved.get(ctx)?.detach();
            Ok(if ctx.needs(i) { value.track() } else { value })
        });
        let inputs = inputs.collect::<Result<Vec<_>>>()?;
        let out = {
            let _mode = mode::set(true);
            let _scope = autocast::enter(self.low);
            (self.f)(&inputs)?
        };
        if !out.requires_grad() {
            return Ok(vec![None; inputs.len()]);
        }
        let mut gradients = Backward::new().run_with(&out, grad)?;
        let of_inputs = inputs.iter().map(|x| gradients.take(x)).collect();
        // What remains belongs to variables that the closure captured.
        ctx.captured.lock().push(gradients);
        Ok(of_inputs)
    }
}

/// Runs `f` without keeping what its operations save; the backward runs it again and differentiates that run.
///
/// `f` must compute the same value both times. Gradients reach the inputs and every variable that `f` captures.
pub fn checkpoint(
    inputs: &[Tensor],
    f: impl Fn(&[Tensor]) -> Result<Tensor> + Send + Sync + 'static,
) -> Result<Tensor> {
    let out = no_grad(|| f(inputs))?.detach();
    if !mode::grad_enabled() || !out.dtype().is_float() {
        return Ok(out);
    }
    // Recorded even if no input is tracked: the closure may have captured variables.
    let refs: Vec<&Tensor> = inputs.iter().collect();
    let saved = inputs.iter().enumerate().map(|(i, x)| Saved::input(i, x)).collect();
    let low = autocast::autocast_dtype();
    let node = Node::operation(&out, &refs, Arc::new(Checkpoint { f, low, inputs: saved }));
    Ok(out.with_node(Some(node)))
}
