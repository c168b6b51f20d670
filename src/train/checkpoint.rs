//! A training run on disk: model, optimizer, random state and counters in one safetensors file.

use crate::nn::{Ctx, Params, StateDict};
use crate::optim::{LossScaler, Optimizer};
use crate::random::{Philox, PhiloxState};
use crate::{DType, Device, Error, Result, Tensor};
use std::path::Path;

/// Everything that a run needs to continue bit for bit.
///
/// In the file, the model's entries begin with `model.`, the optimizer's with `optimizer.`, a loss scaler's with
/// `scaler.`; `random.NAME` holds a generator, `counter.NAME` a number and `history.NAME` a list of numbers. A
/// [`Trainer`](super::Trainer) adds averaged weights (`average.`), the last figures (`figure.`) and the state of its callbacks
/// (`callback.KEY.`).
#[derive(Clone, Debug, Default)]
pub struct Checkpoint {
    dict: StateDict,
    what: String,
}

impl Checkpoint {
    /// The state of a model, its optimizer and its context now; later training does not change it.
    pub fn capture(params: &Params, optimizer: &dyn Optimizer, ctx: &mut Ctx) -> Result<Self> {
        let mut dict = StateDict::new();
        dict.insert_sub("model", params.state_dict()?);
        dict.insert_sub("optimizer", optimizer.state_dict()?);
        let mut out = Checkpoint { dict, what: "checkpoint".into() };
        out.set_random("ctx", ctx.rng())?;
        Ok(out)
    }

    /// Puts everything back that [`capture`](Checkpoint::capture) took. A checkpoint of another model or optimizer is
    /// an error that lists what does not fit, and then nothing was changed.
    pub fn restore(&self, params: &Params, optimizer: &mut dyn Optimizer, ctx: &mut Ctx) -> Result<()> {
        let rng = self.random("ctx")?;
        // The optimizer's check and the model's must both pass before anything changes.
        let old = optimizer.state_dict()?;
        optimizer.load_state_dict(&self.dict.sub("optimizer"), &format!("optimizer of {}", self.what))?;
        if let Err(e) = params.load_state_dict(&self.dict.sub("model"), &format!("model of {}", self.what)) {
            optimizer.load_state_dict(&old, "optimizer")?;
            return Err(e);
        }
        ctx.set_rng(rng);
        Ok(())
    }

    /// Adds a loss scaler's state.
    pub fn set_scaler(&mut self, scaler: &LossScaler) -> Result<()> {
        self.dict.insert_sub("scaler", scaler.state_dict()?);
        Ok(())
    }

    /// Puts a loss scaler's state back; an error where the checkpoint has none.
    pub fn restore_scaler(&self, scaler: &mut LossScaler) -> Result<()> {
        scaler.load_state_dict(&self.dict.sub("scaler"), &format!("loss scaler of {}", self.what))
    }

    /// Adds a part of its own, whose entries begin with `NAME.`.
    pub fn set_part(&mut self, name: &str, state: StateDict) {
        self.dict.insert_sub(name, state);
    }

    /// A part's entries; none where there is no such part.
    pub fn part(&self, name: &str) -> StateDict {
        self.dict.sub(name)
    }

    /// The model's entries alone.
    pub fn model(&self) -> StateDict {
        self.dict.sub("model")
    }

    /// Notes a number: the epoch, the step.
    pub fn set_counter(&mut self, name: &str, value: u64) -> Result<()> {
        self.dict.insert(format!("counter.{name}"), Tensor::from_slice(&[value as i64], (), &Device::Cpu)?);
        Ok(())
    }

    /// A noted number.
    pub fn counter(&self, name: &str) -> Result<u64> {
        let value = self.dict.expect(&format!("counter.{name}"))?.item::<i64>()?;
        u64::try_from(value).map_err(|_| self.damaged(format!("counter {name} is {value}")))
    }

    /// Notes a list of numbers: a curve so far.
    pub fn set_history(&mut self, name: &str, values: &[f64]) -> Result<()> {
        self.dict.insert_numbers(format!("history.{name}"), values)
    }

    /// A noted list.
    pub fn history(&self, name: &str) -> Result<Vec<f64>> {
        self.dict.numbers(&format!("history.{name}"))
    }

    /// Notes a generator: of shuffles, of augmentation.
    pub fn set_random(&mut self, name: &str, rng: &Philox) -> Result<()> {
        let state = rng.state().to_array().map(|word| word as i64);
        self.dict.insert(format!("random.{name}"), Tensor::from_slice(&state, [state.len()], &Device::Cpu)?);
        Ok(())
    }

    /// A noted generator.
    pub fn random(&self, name: &str) -> Result<Philox> {
        let tensor = self.dict.expect(&format!("random.{name}"))?;
        if tensor.dtype() != DType::I64 {
            return Err(self.damaged(format!("random state {name} is {tensor:?}")));
        }
        let words: Vec<u64> = tensor.to_vec::<i64>()?.into_iter().map(|word| word as u64).collect();
        let state = words.try_into().map_err(|_| self.damaged(format!("random state {name} is {tensor:?}")))?;
        Ok(Philox::from_state(PhiloxState::from_array(state)))
    }

    fn damaged(&self, message: String) -> Error {
        Error::Format { what: self.what.clone(), message }
    }

    /// Writes the file atomically: a crash or a full disk leaves an older one as it was.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        self.dict.save(path)
    }

    /// Reads a file into host memory; [`restore`](Checkpoint::restore) moves entries to where they belong.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref();
        Ok(Checkpoint { dict: StateDict::load(path, &Device::Cpu)?, what: path.display().to_string() })
    }
}
