//! Dynamic loss scaling for f16 (Micikevicius et al. 2018).

use super::{Clip, Optimizer};
use crate::kernels::optimizer::Scaling;
use crate::nn::{Misfit, StateDict};
use crate::{DType, Device, Error, Gradients, Result, Shape, Tensor};

/// The options of [`LossScaler`]; the default has those of PyTorch's `GradScaler`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossScalerConfig {
    /// The first scale.
    pub initial: f64,
    /// The scale grows by this factor.
    pub growth: f64,
    /// After an overflow it shrinks by this factor.
    pub backoff: f64,
    /// Steps without an overflow after which it grows.
    pub interval: u32,
}

impl Default for LossScalerConfig {
    fn default() -> Self {
        LossScalerConfig { initial: 65_536.0, growth: 2.0, backoff: 0.5, interval: 2000 }
    }
}

/// Scales the loss, so that gradients of f16 do not underflow, by a factor that follows their overflows, as PyTorch's
/// `GradScaler`. The scale lives on the device and is adapted there: nothing waits for it. One scaler serves one
/// optimizer.
///
/// ```
/// use warpsmith::optim::{LossScaler, Optimizer, Sgd, SgdConfig};
/// use warpsmith::{DType, Device, Tensor, nn::{Init, Params}};
///
/// let params = Params::new(&Device::Cpu, DType::F16, 0);
/// let w = params.param("w", [2], Init::ONES)?;
/// let mut optimizer = Sgd::new(params.trainable(), SgdConfig::new(0.5))?;
/// let mut scaler = LossScaler::new(&Device::Cpu)?;
/// let loss = (&*w * Tensor::from_slice(&[1.0f32, 2.0], 2, &Device::Cpu)?.to_dtype(DType::F16)?)?.sum_all()?;
/// let gradients = scaler.scale(&loss)?.backward()?;
/// // Scaled by 65536 the gradients overflow f16: the step is skipped, and the scale shrinks.
/// scaler.step(&mut optimizer, &gradients)?;
/// assert_eq!(w.to_f64_vec()?, [1.0, 1.0]);
/// assert_eq!(scaler.factor()?.item::<f32>()?, 32768.0);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub struct LossScaler {
    config: LossScalerConfig,
    /// One f32.
    factor: Tensor,
    /// i64: steps since it changed, steps that were skipped.
    steps: Tensor,
}

impl LossScaler {
    /// With PyTorch's options, for parameters on this device.
    pub fn new(device: &Device) -> Result<Self> {
        Self::with_config(device, LossScalerConfig::default())
    }

    /// With other options.
    pub fn with_config(device: &Device, config: LossScalerConfig) -> Result<Self> {
        let LossScalerConfig { initial, growth, backoff, interval } = config;
        let range = f64::from(f32::MIN_POSITIVE)..=f64::from(f32::MAX);
        let sound = range.contains(&initial) && growth >= 1.0 && backoff > 0.0 && backoff <= 1.0 && interval > 0;
        if !sound {
            let message = format!("{config:?}: a positive f32, growth of 1 or more, backoff in (0, 1], 1 step or more");
            return Err(Error::argument("loss scaler", message));
        }
        let factor = Tensor::from_slice(&[initial as f32], (), device)?;
        factor.storage().set_name("the loss scale");
        Ok(LossScaler { config, factor, steps: Tensor::zeros(2, DType::I64, device)? })
    }

    /// The loss (f32 at least) times the scale: what the backward begins from.
    pub fn scale(&self, loss: &Tensor) -> Result<Tensor> {
        match loss.dtype() {
            DType::F64 => loss * self.factor.to_dtype(DType::F64)?,
            DType::F32 => loss * &self.factor,
            _ => loss.to_dtype(DType::F32)? * &self.factor,
        }
    }

    /// One step from the gradients of the scaled loss: they are divided by the scale; if one of them is not finite the
    /// step is skipped and the scale shrinks, and after enough steps without it grows.
    pub fn step(&mut self, optimizer: &mut dyn Optimizer, gradients: &Gradients) -> Result<()> {
        self.step_clipped(optimizer, gradients, Clip::None).map(drop)
    }

    /// As [`step`](LossScaler::step), with the gradients clipped after they were divided; returns their norm then, if
    /// it was measured.
    pub fn step_clipped(
        &mut self,
        optimizer: &mut dyn Optimizer,
        gradients: &Gradients,
        clip: Clip,
    ) -> Result<Option<Tensor>> {
        optimizer.prepare(clip)?;
        optimizer.launch(gradients, Some(self))
    }

    /// The scale now, one f32 on the device; later steps do not change it.
    pub fn factor(&self) -> Result<Tensor> {
        self.factor.copy()
    }

    /// How many steps were skipped so far, one i64 on the device; later steps do not change it.
    pub fn skipped(&self) -> Result<Tensor> {
        self.steps.narrow(0, 1, 1)?.reshape(())?.copy()
    }

    /// The scale and its counts, for a checkpoint.
    pub fn state_dict(&self) -> Result<StateDict> {
        let mut out = StateDict::new();
        out.insert("scale", self.factor.copy()?);
        out.insert("steps", self.steps.copy()?);
        Ok(out)
    }

    /// Takes back what [`state_dict`](LossScaler::state_dict) gave. An error lists what does not fit, and then nothing
    /// was changed.
    pub fn load_state_dict(&mut self, state: &StateDict, what: &str) -> Result<()> {
        let mut misfit = Misfit::default();
        let shapes = [("scale", Shape::scalar(), DType::F32), ("steps", *self.steps.shape(), DType::I64)];
        for (name, shape, dtype) in shapes {
            match state.get(name) {
                Some(t) => drop(misfit.compare(name, t, &shape, dtype)),
                None => misfit.missing(name),
            }
        }
        for (name, _) in state.iter().filter(|(name, _)| !["scale", "steps"].contains(name)) {
            misfit.unexpected(name);
        }
        misfit.into_result(what)?;
        // Into the same memory, which captured graphs know.
        for (name, to) in [("scale", &self.factor), ("steps", &self.steps)] {
            let value = state.expect(name)?.to_device(to.device())?.copy()?;
            let guard = value.read();
            let view = guard.view()?;
            to.storage().write(|buffer| buffer.copy_from(view.buffer()))?;
        }
        Ok(())
    }

    /// Hands the scale to a step.
    pub(super) fn with<R>(&mut self, f: impl FnOnce(Scaling<'_>) -> Result<R>) -> Result<R> {
        let (mut scale, mut steps) = (self.factor.storage().write_guard(), self.steps.storage().write_guard());
        let LossScalerConfig { growth, backoff, interval, .. } = self.config;
        f(Scaling { scale: &mut scale, steps: &mut steps, growth, backoff, interval: i64::from(interval) })
    }
}
