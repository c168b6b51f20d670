//! A hook on every gradient that any operation's backward returns: anomaly detection, profiling, tests.

use super::Gradient;
use crate::Result;
use std::cell::RefCell;
use std::rc::Rc;

/// A gradient that an operation's backward has just returned.
pub struct BackwardEvent {
    /// The operation.
    pub op: &'static str,
    /// Which of its inputs the gradient is for.
    pub input: usize,
    /// The gradient; `None` where the operation says it is zero.
    pub gradient: Option<Gradient>,
}

type Hook = Rc<dyn Fn(BackwardEvent) -> Result<Option<Gradient>>>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// Runs `f` with `hook` called on every gradient of every backward of this thread; what the hook returns is used in
/// its place, and its error ends the backward. An inner `intercept` replaces the outer one while it runs.
///
/// ```
/// # use warpsmith::{Device, Tensor, Error, autograd::intercept};
/// let x = Tensor::from_slice(&[0f32], (), &Device::Cpu)?.track();
/// let result = intercept(
///     |event| match &event.gradient {
///         Some(g) if g.dense()?.to_f64_vec()?.iter().any(|v| !v.is_finite()) => {
///             Err(Error::argument(event.op, "its backward is not finite"))
///         }
///         _ => Ok(event.gradient),
///     },
///     || x.ones_like()?.div(&x)?.backward(),
/// );
/// assert!(result.unwrap_err().to_string().starts_with("div:"));
/// # Ok::<(), Error>(())
/// ```
pub fn intercept<R>(hook: impl Fn(BackwardEvent) -> Result<Option<Gradient>> + 'static, f: impl FnOnce() -> R) -> R {
    struct Restore(Option<Hook>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HOOK.replace(self.0.take());
        }
    }
    let _restore = Restore(HOOK.replace(Some(Rc::new(hook))));
    f()
}

pub(super) fn intercepted(op: &'static str, input: usize, gradient: Option<Gradient>) -> Result<Option<Gradient>> {
    match HOOK.with_borrow(Clone::clone) {
        Some(hook) => hook(BackwardEvent { op, input, gradient }),
        None => Ok(gradient),
    }
}
