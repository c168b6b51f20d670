//! The scope in which operations choose their dtypes, per thread, and the casts of its leaves.

use super::grad_enabled;
use crate::{DType, Result, Tensor};
use std::cell::RefCell;

#[derive(Default)]
struct Scope {
    /// f16 or bf16 where operations choose.
    low: Option<DType>,
    /// Casts of leaves, so that a weight that is used twice is cast once.
    casts: Vec<Cast>,
}

struct Cast {
    /// Held, so that its address stays its own.
    leaf: Tensor,
    version: u64,
    recorded: bool,
    cast: Tensor,
}

thread_local! {
    static SCOPE: RefCell<Scope> = RefCell::new(Scope::default());
}

/// Runs `f` with mixed precision, as PyTorch's `autocast`: on this thread, operations cast their f32 operands to
/// `dtype` (bf16 or f16) or their halves to f32, each as the table in [`ops::autocast`](crate::ops::autocast::TABLE)
/// says. Matrix products, convolutions and attention run in `dtype`; norms, softmax, losses and reductions in f32;
/// elementwise operations on mixed dtypes in the wider. Parameters stay f32, and so do their gradients. A backward runs
/// in the dtypes of its forward, inside or outside of `f`.
///
/// A leaf is cast once per scope. Any other `dtype` ends mixed precision inside `f`: of an outer scope, too.
///
/// ```
/// use warpsmith::{DType, Device, Reduction, Tensor, Var, autocast};
/// let weight = Var::new(&Tensor::from_slice(&[1f32, 2.0], [1, 2], &Device::Cpu)?)?;
/// let x = Tensor::from_slice(&[3f32, 4.0], [1, 2], &Device::Cpu)?;
/// let loss = autocast(DType::BF16, || {
///     let y = x.linear(&weight, None)?;
///     assert_eq!(y.dtype(), DType::BF16);
///     y.mse_loss(&y.zeros_like()?, Reduction::Mean)
/// })?;
/// assert_eq!(loss.dtype(), DType::F32);
/// assert_eq!(loss.backward()?.expect(&weight)?.dtype(), DType::F32);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub fn autocast<R>(dtype: DType, f: impl FnOnce() -> R) -> R {
    let _restore = enter(Some(dtype).filter(|dtype| matches!(dtype, DType::F16 | DType::BF16)));
    f()
}

/// The dtype of the innermost [`autocast`] on this thread; `None` outside.
pub fn autocast_dtype() -> Option<DType> {
    SCOPE.with_borrow(|scope| scope.low)
}

/// Another scope until the guard is dropped, also by a panic.
pub(crate) fn enter(low: Option<DType>) -> Restore {
    Restore(SCOPE.replace(Scope { low, casts: vec![] }))
}

/// No scope until the guard is dropped, for a backward; what was cast before it belongs to a graph that it may free.
pub(super) fn suspend() -> Restore {
    Restore(Scope { low: SCOPE.replace(Scope::default()).low, casts: vec![] })
}

pub(crate) struct Restore(Scope);

impl Drop for Restore {
    fn drop(&mut self) {
        let ended = SCOPE.replace(std::mem::take(&mut self.0));
        // After the borrow: freeing graphs may run anything.
        drop(ended);
    }
}

/// The tensor in another float dtype; a leaf's cast is kept until the scope ends.
pub(crate) fn cast(tensor: &Tensor, dtype: DType) -> Result<Tensor> {
    let leaf = tensor.node().is_some_and(|node| node.is_leaf());
    if !leaf || autocast_dtype() != Some(dtype) {
        return tensor.to_dtype(dtype);
    }
    let (version, recorded) = (tensor.storage().version(), grad_enabled());
    let same = |c: &Cast| {
        std::sync::Arc::ptr_eq(c.leaf.storage(), tensor.storage())
            && c.leaf.layout() == tensor.layout()
            && (c.version, c.recorded) == (version, recorded)
    };
    let found = SCOPE.with_borrow(|scope| scope.casts.iter().find(|c| same(c)).map(|c| c.cast.clone()));
    if let Some(cast) = found {
        return Ok(cast);
    }
    let cast = tensor.to_dtype(dtype)?;
    let kept = Cast { leaf: tensor.clone(), version, recorded, cast: cast.clone() };
    SCOPE.with_borrow_mut(|scope| {
        // A value that was overwritten is not asked for again.
        scope.casts.retain(|c| !std::sync::Arc::ptr_eq(c.leaf.storage(), kept.leaf.storage()) || c.version == version);
        scope.casts.push(kept);
    });
    Ok(cast)
}
