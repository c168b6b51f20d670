//! Averages of weights.

use crate::device::Buffer;
use crate::kernels::elementwise;
use crate::kernels::optimizer::{self, Grad, Rule, Settings, Slot, Stepper};
use crate::nn::{Misfit, Param, StateDict};
use crate::{DType, Error, Result, Tensor};

/// The exponential moving average of parameters (Polyak and Juditsky 1992, in the form of PyTorch's
/// `swa_utils.get_ema_multi_avg_fn`): a ← decay·a + (1 − decay)·p after each update, beginning as the parameters after
/// the first one. Evaluated in the parameters' place, averages often do better than the weights of the last step.
///
/// Averages of f16 and bf16 are kept in f32. All parameters are averaged by one launch, without any wait.
///
/// ```
/// use warpsmith::nn::{Init, Params};
/// use warpsmith::optim::Ema;
/// use warpsmith::{DType, Device, Tensor};
///
/// let params = Params::new(&Device::Cpu, DType::F32, 0);
/// let w = params.param("w", [1], Init::ONES)?;
/// let mut ema = Ema::new(params.trainable(), 0.75)?;
/// ema.update()?;
/// w.set(&Tensor::from_slice(&[5f32], 1, &Device::Cpu)?)?;
/// ema.update()?;
/// ema.swap()?;
/// assert_eq!(w.to_vec::<f32>()?, [2.0]); // 0.75 · 1 + 0.25 · 5
/// ema.swap()?;
/// assert_eq!(w.to_vec::<f32>()?, [5.0]);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub struct Ema {
    decay: f64,
    items: Vec<Item>,
    stepper: Stepper,
    /// Whether the averages stand in the parameters' place.
    swapped: bool,
}

struct Item {
    name: String,
    param: Param,
    /// None before the first update.
    begun: Option<Average>,
}

struct Average {
    /// In the parameter's dtype; while swapped, the parameter's own value.
    value: Tensor,
    /// In f32, of f16 and bf16.
    master: Option<Buffer>,
    count: Buffer,
}

impl Ema {
    /// Averages of these parameters that keep `decay` of themselves at each update: 0.99 to 0.9999.
    pub fn new(params: Vec<(String, Param)>, decay: f64) -> Result<Self> {
        if !(0.0..1.0).contains(&decay) {
            return Err(Error::argument("ema", format!("the decay lies in [0, 1), got {decay}")));
        }
        let Some((_, first)) = params.first() else {
            return Err(Error::argument("ema", "there are no parameters to average"));
        };
        let stepper = Stepper::new(first.device());
        let items = params.into_iter().map(|(name, param)| Item { name, param, begun: None }).collect();
        Ok(Ema { decay, items, stepper, swapped: false })
    }

    /// Takes the parameters as they are now into the averages. To be called after each of the optimizer's steps.
    pub fn update(&mut self) -> Result<()> {
        self.in_place("update")?;
        if self.items.iter().any(|item| item.begun.is_none()) {
            return self.items.iter_mut().try_for_each(Item::begin);
        }
        // a − r·(p + λ·a) with r = −(1 − decay) and λ = −1: the rule of plain descent.
        self.stepper.prepare(Settings { max_norm: None, bound: f64::INFINITY, rates: vec![self.decay - 1.0] })?;
        let params: Vec<Param> = self.items.iter().map(|item| item.param.clone()).collect();
        let guards: Vec<_> = params.iter().map(|param| param.read()).collect();
        let averages: Vec<&mut Average> = self.items.iter_mut().filter_map(|item| item.begun.as_mut()).collect();
        let values: Vec<Tensor> = averages.iter().map(|average| average.value.clone()).collect();
        let mut buffers: Vec<_> = values.iter().map(|value| value.storage().write_guard()).collect();
        let mut slots = Vec::with_capacity(guards.len());
        for ((average, buffer), guard) in averages.into_iter().zip(&mut buffers).zip(&guards) {
            slots.push(Slot {
                rule: Rule::Sgd { weight_decay: -1.0 },
                group: 0,
                param: buffer,
                master: average.master.as_mut(),
                grad: Grad::Dense(guard.view()?),
                state: &mut [],
                count: &mut average.count,
            });
        }
        self.stepper.launch(&mut slots, None).map(drop)
    }

    /// Exchanges parameters and averages: to evaluate or save the averages, and, called again, to go on training.
    /// Before the first update nothing happens.
    pub fn swap(&mut self) -> Result<()> {
        for item in &mut self.items {
            let Some(average) = &mut item.begun else { continue };
            let value = item.param.snapshot()?;
            item.param.set(&average.value)?;
            average.value = value;
        }
        self.swapped = !self.swapped;
        Ok(())
    }

    /// Averages and parameters become the parameters as they are now: after other weights were loaded.
    pub fn restart(&mut self) -> Result<()> {
        self.in_place("restart")?;
        self.items.iter_mut().for_each(|item| item.begun = None);
        Ok(())
    }

    fn in_place(&self, what: &str) -> Result<()> {
        if self.swapped {
            let message = format!("{what} while averages stand in the parameters' place: swap them back first");
            return Err(Error::argument("ema", message));
        }
        Ok(())
    }

    /// Each average by its parameter's name, in f32 for f16 and bf16; nothing before the first update.
    pub fn state_dict(&self) -> Result<StateDict> {
        self.in_place("state_dict")?;
        let mut out = StateDict::new();
        for item in &self.items {
            let Some(average) = &item.begun else { continue };
            let value = match &average.master {
                None => average.value.copy()?,
                Some(master) => {
                    let mut copy = Buffer::uninit(&master.device(), DType::F32, master.len())?;
                    copy.copy_from(master)?;
                    Tensor::from_buffer(copy, *item.param.shape())?
                }
            };
            out.insert(item.name.clone(), value);
        }
        Ok(out)
    }

    /// Takes back what [`state_dict`](Ema::state_dict) gave; nothing in it means that the averages begin anew. An error
    /// lists what does not fit, and then nothing was changed.
    pub fn load_state_dict(&mut self, state: &StateDict, what: &str) -> Result<()> {
        self.restart()?;
        if state.is_empty() {
            return Ok(());
        }
        let mut misfit = Misfit::default();
        for item in &self.items {
            match state.get(&item.name) {
                Some(t) => drop(misfit.compare(&item.name, t, item.param.shape(), kept_dtype(item.param.dtype()))),
                None => misfit.missing(&item.name),
            }
        }
        for (name, _) in state.iter().filter(|(name, _)| !self.items.iter().any(|item| item.name == *name)) {
            misfit.unexpected(name);
        }
        misfit.into_result(what)?;
        for item in &mut self.items {
            let kept = state.expect(&item.name)?.to_device(item.param.device())?;
            item.begun = Some(Average::new(&item.param, &kept.to_dtype(item.param.dtype())?, &kept)?);
        }
        Ok(())
    }
}

fn kept_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

impl Item {
    fn begin(&mut self) -> Result<()> {
        let value = self.param.snapshot()?;
        self.begun = Some(Average::new(&self.param, &value, &value)?);
        Ok(())
    }
}

impl Average {
    /// `kept` is the value in the dtype that averages are kept in, or something that is cast to it.
    fn new(param: &Param, value: &Tensor, kept: &Tensor) -> Result<Self> {
        let mut master = None;
        if matches!(param.dtype(), DType::F16 | DType::BF16) {
            let mut buffer = Buffer::uninit(param.device(), DType::F32, param.numel())?;
            let kept = kept.to_dtype(DType::F32)?.contiguous()?;
            let guard = kept.read();
            elementwise::copy(guard.view()?, &mut buffer)?;
            master = Some(buffer);
        }
        let count = optimizer::counter(param.device(), param.numel(), 0)?;
        Ok(Average { value: value.copy()?, master, count })
    }
}
