//! What a forward needs besides its input: the mode and the random state.

use crate::random::Philox;
use crate::{Result, Tensor, autograd};
use parking_lot::Mutex;
use std::sync::Arc;

/// Training or inference, and the random state that dropout draws from.
#[derive(Clone, Debug)]
pub struct Ctx {
    training: bool,
    update_statistics: bool,
    rng: Philox,
}

impl Ctx {
    /// Training mode: dropout drops, batch norm normalises by the batch and updates its running statistics.
    pub fn train(seed: u64) -> Self {
        Ctx { training: true, update_statistics: true, rng: Philox::new(seed) }
    }

    /// Inference mode: dropout passes through, batch norm normalises by its running statistics.
    pub fn infer() -> Self {
        Ctx { training: false, update_statistics: false, rng: Philox::new(0) }
    }

    /// Whether this is training mode.
    pub fn is_training(&self) -> bool {
        self.training
    }

    /// Whether running statistics are to be updated: in training mode, and not while a checkpointed part runs again
    /// for its backward.
    pub fn updates_statistics(&self) -> bool {
        self.update_statistics
    }

    /// The generator that layers draw from.
    pub fn rng(&mut self) -> &mut Philox {
        &mut self.rng
    }

    /// Replaces the generator: a resumed run continues where the saved one stopped.
    pub fn set_rng(&mut self, rng: Philox) {
        self.rng = rng;
    }

    /// Runs `f` without keeping what its operations save for the backward, which runs it again (activation
    /// checkpointing). The second run draws the same random numbers and leaves running statistics alone.
    pub fn checkpoint(
        &mut self,
        inputs: &[Tensor],
        f: impl Fn(&[Tensor], &mut Ctx) -> Result<Tensor> + Send + Sync + 'static,
    ) -> Result<Tensor> {
        let start = self.clone();
        let after: Arc<Mutex<Option<Ctx>>> = Arc::default();
        let first = after.clone();
        let out = autograd::checkpoint(inputs, move |x| {
            let mut ctx = start.clone();
            let replay = first.lock().is_some();
            if replay {
                ctx.update_statistics = false;
            }
            let out = f(x, &mut ctx)?;
            if !replay {
                *first.lock() = Some(ctx);
            }
            Ok(out)
        })?;
        if let Some(ctx) = after.lock().clone() {
            *self = ctx;
        }
        Ok(out)
    }
}
