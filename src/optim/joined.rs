//! Several optimizers as one.

use super::{Clip, LossScaler, Optimizer};
use crate::nn::StateDict;
use crate::{Error, Gradients, Result, Tensor};

/// Optimizers of different rules, each over its own parameters, stepping together: Wide & Deep's FTRL and AdaGrad
/// (Cheng et al. 2016). Their states have the parts' names before them: `wide.lr`, `deep.layers.0.weight.sum`.
///
/// The parts must have no parameter in common; that is the caller's to see to (`params.sub("wide").trainable()`).
/// The learning rate is that of the first part; setting it changes all in proportion. What needs all gradients at once
/// is refused: a norm over all parts (clip before the step, [`clip_grad_norm`](super::clip_grad_norm)), and a loss
/// scaler, which serves one optimizer.
pub struct Joined {
    parts: Vec<(String, Box<dyn Optimizer>)>,
    /// Each part's rate, divided by the first one's.
    ratios: Vec<f64>,
}

impl Joined {
    /// At least one part; names are distinct and without dots.
    pub fn new<N: Into<String>>(parts: Vec<(N, Box<dyn Optimizer>)>) -> Result<Self> {
        let parts: Vec<_> = parts.into_iter().map(|(name, part)| (name.into(), part)).collect();
        let unfit = |at: usize| {
            let name = &parts[at].0;
            name.is_empty() || name.contains('.') || parts[..at].iter().any(|(other, _)| other == name)
        };
        if parts.is_empty() || (0..parts.len()).any(unfit) {
            let names: Vec<&String> = parts.iter().map(|(name, _)| name).collect();
            let message = format!("parts with distinct names without dots are expected, got {names:?}");
            return Err(Error::argument("joined optimizers", message));
        }
        let first = parts[0].1.lr();
        let ratios = parts.iter().map(|(_, part)| if first > 0.0 { part.lr() / first } else { 1.0 }).collect();
        Ok(Joined { parts, ratios })
    }
}

impl Optimizer for Joined {
    fn prepare(&mut self, clip: Clip) -> Result<()> {
        if let (Clip::Norm(max), true) = (clip, self.parts.len() > 1) {
            let message = format!(
                "clipping the norm to {max} needs all gradients, of which each of {} optimizers sees its own: call \
                 optim::clip_grad_norm before the step",
                self.parts.len()
            );
            return Err(Error::argument("joined optimizers", message));
        }
        self.parts.iter_mut().try_for_each(|(_, part)| part.prepare(clip))
    }

    fn launch(&mut self, gradients: &Gradients, mut scaler: Option<&mut LossScaler>) -> Result<Option<Tensor>> {
        if scaler.is_some() && self.parts.len() > 1 {
            let message = "a loss scaler serves one optimizer: train these in f32 or bf16, or without the scaler";
            return Err(Error::argument("joined optimizers", message));
        }
        let mut norm = None;
        for (_, part) in &mut self.parts {
            norm = part.launch(gradients, scaler.as_deref_mut())?;
        }
        Ok(norm)
    }

    fn generation(&self) -> u64 {
        self.parts.iter().map(|(_, part)| part.generation()).sum()
    }

    fn lr(&self) -> f64 {
        self.parts.first().map_or(0.0, |(_, part)| part.lr())
    }

    fn set_lr(&mut self, lr: f64) {
        let parts = self.parts.iter_mut().zip(&self.ratios);
        parts.for_each(|((_, part), ratio)| part.set_lr(lr * ratio));
    }

    fn state_dict(&self) -> Result<StateDict> {
        let mut out = StateDict::new();
        for (name, part) in &self.parts {
            out.insert_sub(name, part.state_dict()?);
        }
        Ok(out)
    }

    fn load_state_dict(&mut self, state: &StateDict, what: &str) -> Result<()> {
        let ours = |entry: &str| self.parts.iter().any(|(name, _)| entry.split('.').next() == Some(name));
        let unexpected: Vec<String> = state.iter().map(|(n, _)| n.to_owned()).filter(|n| !ours(n)).collect();
        if !unexpected.is_empty() {
            let (missing, mismatched) = (vec![], vec![]);
            return Err(Error::StateDict { what: what.to_owned(), missing, unexpected, mismatched });
        }
        // A part that does not fit is found out by loading it: those before it are put back.
        let before = self.parts.iter().map(|(_, part)| part.state_dict()).collect::<Result<Vec<_>>>()?;
        for at in 0..self.parts.len() {
            let (name, part) = &mut self.parts[at];
            if let Err(error) = part.load_state_dict(&state.sub(name), &format!("{what} ({name})")) {
                for ((name, part), before) in self.parts[..at].iter_mut().zip(&before) {
                    part.load_state_dict(before, name)?;
                }
                return Err(error);
            }
        }
        Ok(())
    }
}
