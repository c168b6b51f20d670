//! Optimizer steps over many tensors at once, in place: every parameter, gradient and state is read and written once.
//!
//! A [`Stepper`] does a step in two halves. [`prepare`](Stepper::prepare) takes what the host says ([`Settings`]: rates
//! and bounds); [`launch`](Stepper::launch) updates every [`Slot`], each with a [`Rule`] and a group of its own, in one
//! pass over all tensors whatever their dtypes. Whatever the step finds out by itself (the norm of the gradients,
//! whether they are finite, the counts of updates) stays on the device. State lives in the accumulator's dtype (f32 for
//! half-precision parameters), and each new parameter is rounded once.

mod cpu;
mod cuda;
mod rules;

pub use rules::Rule;

use crate::device::{Buffer, Memory, View};
use crate::kernels::{mixed_devices, unsupported};
use crate::{DType, Device, Error, Result, with_float};

const FLOATS: &str = "f32, f16, bf16, f64";

/// The gradient of one parameter.
#[derive(Clone, Copy, Debug)]
pub enum Grad<'a> {
    /// One number per element, in any layout.
    Dense(View<'a>),
    /// Some rows of the parameter's first axis; the others are zero.
    Rows {
        /// Contiguous i64 row numbers, ascending and unique.
        indices: View<'a>,
        /// The rows, one after the other, contiguous.
        rows: View<'a>,
    },
}

impl Grad<'_> {
    fn values(&self) -> &View<'_> {
        match self {
            Grad::Dense(view) => view,
            Grad::Rows { rows, .. } => rows,
        }
    }
}

/// One parameter of a step.
pub struct Slot<'a> {
    /// The update.
    pub rule: Rule,
    /// Which of the rates is its own.
    pub group: usize,
    /// The parameter, contiguous, of a float dtype.
    pub param: &'a mut Buffer,
    /// The parameter before it was rounded to f16 or bf16: as many elements of f32, which are updated in its place.
    pub master: Option<&'a mut Buffer>,
    /// Its gradient, of the parameter's dtype.
    pub grad: Grad<'a>,
    /// Its state: [`Rule::states`] buffers of as many elements as the parameter has, of [`state_dtype`].
    pub state: &'a mut [Buffer],
    /// How often it was updated, as [`counter`] makes it.
    pub count: &'a mut Buffer,
}

/// What a step takes from the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// The largest norm of all gradients together, to which they are scaled: PyTorch's factor, min(1, max/(norm +
    /// 1e-6)).
    pub max_norm: Option<f64>,
    /// The largest magnitude of a number of a (scaled) gradient; infinite for none.
    pub bound: f64,
    /// The learning rate of each group.
    pub rates: Vec<f64>,
}

/// A factor of the loss against underflow of f16, which follows what is found of the gradients (PyTorch's
/// `GradScaler`).
pub struct Scaling<'a> {
    /// The factor, one f32: what the gradients are too large by. The step divides by it, then adapts it.
    pub scale: &'a mut Buffer,
    /// Two of i64: steps since the factor changed, and those that were skipped because a gradient was not finite.
    pub steps: &'a mut Buffer,
    /// The factor grows by this.
    pub growth: f64,
    /// The factor shrinks by this.
    pub backoff: f64,
    /// Steps without an overflow after which it grows.
    pub interval: i64,
}

/// What steps of one device keep in between.
pub struct Stepper {
    device: Device,
    settings: Option<Settings>,
    cuda: Option<cuda::Fixed>,
}

/// The dtype of the state for parameters of `dtype`: f64 for f64, else f32.
pub fn state_dtype(dtype: DType) -> DType {
    if dtype == DType::F64 { DType::F64 } else { DType::F32 }
}

/// The count of updates of a parameter of `len` elements, as [`Slot`] takes it; read by [`count`].
pub fn counter(device: &Device, len: usize, updates: u64) -> Result<Buffer> {
    let copies = counter_len(device, len);
    if updates == 0 {
        return Buffer::zeros(device, DType::I64, copies);
    }
    Buffer::from_slice(device, &vec![updates as i64; copies])
}

/// How often a parameter was updated. Waits for the device.
pub fn count(counter: &Buffer) -> Result<u64> {
    Ok(counter.to_vec::<i64>()?.first().map_or(0, |&n| n.max(0) as u64))
}

impl Stepper {
    /// For parameters of this device.
    pub fn new(device: &Device) -> Self {
        Stepper { device: device.clone(), settings: None, cuda: None }
    }

    /// What the next launches go by. On a CUDA device: at most one small copy, to the same address every time; never
    /// waits.
    pub fn prepare(&mut self, settings: Settings) -> Result<()> {
        if let Device::Cuda(device) = &self.device {
            let fixed = match &mut self.cuda {
                Some(fixed) => fixed,
                none => none.insert(cuda::Fixed::new(device, settings.rates.len())?),
            };
            fixed.prepare(&settings)?;
        }
        self.settings = Some(settings);
        Ok(())
    }

    /// Updates every slot in place; gives the norm that all gradients together had before they were scaled, one f32
    /// (f64 beside f64 gradients), if the settings have a bound of it. With `scaling`, the gradients are divided by its
    /// factor first, and where one of them is not finite, nothing changes but the factor and its counts.
    ///
    /// On a CUDA device: launches only, one or (where the gradients are measured) three. What they are given stays the
    /// same as long as the slots' addresses and options do; only where these change a table of them is copied to the
    /// device anew.
    pub fn launch(&mut self, slots: &mut [Slot<'_>], scaling: Option<Scaling<'_>>) -> Result<Option<Buffer>> {
        let Some(settings) = &self.settings else {
            return Err(Error::argument("optimizer", "a step is prepared before it is launched"));
        };
        for slot in slots.iter() {
            check(slot, settings, &self.device)?;
        }
        if let Some(s) = &scaling {
            check_scaling(s, &self.device)?;
        }
        if slots.is_empty() {
            return Ok(None);
        }
        match &mut self.cuda {
            Some(fixed) => fixed.launch(slots, settings, scaling),
            None => launch_on_cpu(slots, settings, scaling),
        }
    }
}

fn launch_on_cpu(slots: &mut [Slot<'_>], settings: &Settings, scaling: Option<Scaling<'_>>) -> Result<Option<Buffer>> {
    let (mut scale, mut norm) = (1.0, None);
    if settings.max_norm.is_some() || scaling.is_some() {
        let gradients: Vec<View<'_>> = slots.iter().map(|s| *s.grad.values()).collect();
        let sum = cpu_sum_of_squares(&gradients)?;
        let inverse = match &scaling {
            Some(s) => 1.0 / f64::from(s.scale.as_slice::<f32>()?[0]),
            None => 1.0,
        };
        let size = sum.sqrt() * inverse;
        let factor = settings.max_norm.map_or(1.0, |max| max / (size + 1e-6));
        // What is not a number stays so.
        scale = if factor >= 1.0 { 1.0 } else { factor } * inverse;
        if settings.max_norm.is_some() {
            norm = Some(norm_buffer(&gradients, size)?);
        }
        if let Some(scaling) = scaling
            && !adapt(scaling, sum.is_finite())?
        {
            return Ok(norm);
        }
    }
    for dtype in [DType::F32, DType::F16, DType::BF16, DType::F64] {
        let of_dtype: Vec<_> = slots.iter_mut().filter(|s| s.param.dtype() == dtype).collect();
        if !of_dtype.is_empty() {
            with_float!(dtype, T => cpu::step::<T>(of_dtype, settings, scale)?,
                else return Err(unsupported("optimizer", dtype, FLOATS)));
        }
    }
    for slot in slots {
        slot.count.as_mut_slice::<i64>()?[0] += 1;
    }
    Ok(norm)
}

/// The next factor and counts; whether the step goes on.
fn adapt(scaling: Scaling<'_>, finite: bool) -> Result<bool> {
    let Scaling { scale, steps, growth, backoff, interval } = scaling;
    let (scale, steps) = (&mut scale.as_mut_slice::<f32>()?[0], steps.as_mut_slice::<i64>()?);
    if !finite {
        *scale = (f64::from(*scale) * backoff) as f32;
        steps[0] = 0;
        steps[1] += 1;
    } else if steps[0] + 1 >= interval {
        let grown = (f64::from(*scale) * growth) as f32;
        if grown.is_finite() {
            *scale = grown;
        }
        steps[0] = 0;
    } else {
        steps[0] += 1;
    }
    Ok(finite)
}

fn check(slot: &Slot<'_>, settings: &Settings, device: &Device) -> Result<()> {
    let (op, dtype, len) = (slot.rule.name(), slot.param.dtype(), slot.param.len());
    let values = slot.grad.values();
    if !dtype.is_float() {
        return Err(unsupported(op, dtype, FLOATS));
    }
    if values.dtype() != dtype {
        return Err(Error::dtype(op, "a gradient of the parameter's dtype", &[dtype, values.dtype()]));
    }
    let count = values.layout().numel();
    let fits = match &slot.grad {
        Grad::Dense(_) => count == len,
        Grad::Rows { indices, rows } => {
            let n = indices.layout().numel();
            let contiguous = rows.layout().is_contiguous() && indices.layout().is_contiguous();
            let row = count.checked_div(n).unwrap_or(0);
            contiguous
                && indices.dtype() == DType::I64
                && (n == 0 || row > 0 && count.is_multiple_of(n) && len.is_multiple_of(row))
        }
    };
    if !fits {
        let message = format!("a gradient of {count} elements does not fit a parameter of {len}");
        return Err(Error::argument(op, message));
    }
    if slot.state.len() != slot.rule.states() || slot.group >= settings.rates.len() {
        let message = format!(
            "{} buffers of state and group {} of {}; the rule has {} buffers",
            slot.state.len(),
            slot.group,
            settings.rates.len(),
            slot.rule.states()
        );
        return Err(Error::argument(op, message));
    }
    for state in slot.state.iter().chain(slot.master.as_deref()) {
        if state.len() != len || state.dtype() != state_dtype(dtype) {
            let found = format!("{} of {}", state.len(), state.dtype());
            let message = format!("state of {found} beside a parameter of {len} of {dtype}");
            return Err(Error::argument(op, message));
        }
    }
    if slot.count.dtype() != DType::I64 || slot.count.len() != counter_len(device, len) {
        return Err(Error::argument(op, "a count of updates that `counter` did not make for this parameter"));
    }
    let owned = slot.state.iter().chain(slot.master.as_deref()).chain([&*slot.param, &*slot.count, values.buffer()]);
    if owned.into_iter().any(|buffer| buffer.device() != *device) {
        return Err(mixed_devices(op));
    }
    Ok(())
}

fn check_scaling(scaling: &Scaling<'_>, device: &Device) -> Result<()> {
    let Scaling { scale, steps, growth, backoff, interval } = scaling;
    if (scale.dtype(), scale.len(), steps.dtype(), steps.len()) != (DType::F32, 1, DType::I64, 2) {
        return Err(Error::argument("loss scale", "the factor is one f32, and its counts are two of i64"));
    }
    if !(*growth >= 1.0 && *backoff > 0.0 && *backoff <= 1.0 && *interval > 0) {
        let message =
            format!("growth {growth} (1 or more), backoff {backoff} (up to 1), interval {interval} (1 or more)");
        return Err(Error::argument("loss scale", message));
    }
    if scale.device() != *device || steps.device() != *device {
        return Err(mixed_devices("loss scale"));
    }
    Ok(())
}

fn counter_len(device: &Device, len: usize) -> usize {
    if device.is_cpu() { 1 } else { cuda::blocks(len) }
}

/// The 2-norm of all the gradients together, one f32 (f64 beside f64 gradients): squares are summed in f64 (in f32
/// inside runs of 64 elements, or 16 on CUDA devices), in an order that depends on shapes only.
pub fn norm(gradients: &[View<'_>]) -> Result<Buffer> {
    match gradients.first().map(|g| g.buffer().memory()) {
        Some(Memory::Cuda(memory)) => cuda::norm(gradients, memory.device()),
        _ => norm_buffer(gradients, cpu_sum_of_squares(gradients)?.sqrt()),
    }
}

fn norm_buffer(gradients: &[View<'_>], norm: f64) -> Result<Buffer> {
    if gradients.iter().any(|g| g.dtype() == DType::F64) {
        Buffer::from_slice(&Device::Cpu, &[norm])
    } else {
        Buffer::from_slice(&Device::Cpu, &[norm as f32])
    }
}

fn cpu_sum_of_squares(gradients: &[View<'_>]) -> Result<f64> {
    let mut total = 0.0;
    for g in gradients {
        total += match g.buffer().memory() {
            Memory::Cpu(_) => with_float!(g.dtype(), T => cpu::sum_of_squares::<T>(g)?,
                else return Err(unsupported("norm", g.dtype(), FLOATS))),
            Memory::Cuda(_) => return Err(mixed_devices("norm")),
        };
    }
    Ok(total)
}
