//! Mixed precision of a part of a model.

use super::Ctx;
use crate::{DType, autograd};

impl Ctx {
    /// Runs a part of a forward with mixed precision: [`autocast`](crate::autocast) around a closure that needs the
    /// context.
    pub fn autocast<R>(&mut self, dtype: DType, f: impl FnOnce(&mut Ctx) -> R) -> R {
        autograd::autocast(dtype, || f(self))
    }
}
