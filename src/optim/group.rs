//! What all optimizers share: parameters with their state, in groups.

use super::{Clip, LossScaler};
use crate::autograd::{Gradient, Gradients};
use crate::device::{Buffer, replay};
use crate::kernels::elementwise;
use crate::kernels::optimizer::{self, Grad, Rule, Settings, Slot, Stepper, state_dtype};
use crate::nn::{Misfit, Param, StateDict};
use crate::{DType, Device, Error, Result, Shape, Tensor};

/// A parameter and what its updates need, which is there from the first one on.
struct Item {
    name: String,
    param: Param,
    group: usize,
    begun: Option<State>,
}

struct State {
    /// The count of updates.
    count: Buffer,
    /// As the rule has them.
    values: Vec<Buffer>,
    /// The parameter in f32.
    master: Option<Buffer>,
}

/// The options of a group.
#[derive(Clone, Copy)]
pub(super) struct Options {
    pub rule: Rule,
    pub lr: f64,
    /// The name of each number of state.
    pub states: &'static [&'static str],
    /// What the first number of state begins as; the others begin as 0.
    pub initial: f64,
    /// Whether parameters of f16 and bf16 are kept in f32 too.
    pub master_weights: bool,
}

impl Options {
    fn keeps_master(&self, dtype: DType) -> bool {
        self.master_weights && matches!(dtype, DType::F16 | DType::BF16)
    }
}

/// Parameters in groups of options, with their state.
pub(super) struct Groups {
    options: Vec<Options>,
    /// The rate of the first group.
    pub(super) lr: f64,
    /// Each group's rate, divided by the first one's.
    ratios: Vec<f64>,
    items: Vec<Item>,
    stepper: Stepper,
    /// How often the state was replaced.
    pub(super) generation: u64,
}

impl Groups {
    pub(super) fn new(groups: Vec<(Vec<(String, Param)>, Options)>) -> Result<Self> {
        let lr = groups.first().map_or(0.0, |(_, o)| o.lr);
        let ratios = groups.iter().map(|(_, o)| if lr > 0.0 { o.lr / lr } else { 1.0 }).collect();
        let (mut all, mut items) = (vec![], Vec::<Item>::new());
        for (group, (params, options)) in groups.into_iter().enumerate() {
            all.push(options);
            for (name, param) in params {
                if let Some(other) = items.iter().find(|i| i.name == name || i.param.same(&param)) {
                    let message = format!("{name} and {} are one parameter or have one name", other.name);
                    return Err(Error::argument("optimizer", message));
                }
                items.push(Item { name, param, group, begun: None });
            }
        }
        let Some(first) = items.first() else {
            return Err(Error::argument("optimizer", "there are no parameters to train"));
        };
        if let Some(other) = items.iter().find(|i| i.param.device() != first.param.device()) {
            let (one, two) = (first.param.device(), other.param.device());
            let message = format!("{} is on {one} and {} on {two}; all go on one device", first.name, other.name);
            return Err(Error::Device { op: "optimizer", message });
        }
        let stepper = Stepper::new(first.param.device());
        Ok(Groups { options: all, lr, ratios, items, stepper, generation: 0 })
    }

    /// The host's half of an update.
    pub(super) fn prepare(&mut self, clip: Clip) -> Result<()> {
        let (max_norm, bound) = clip.bounds()?;
        let rates = self.ratios.iter().map(|ratio| self.lr * ratio).collect();
        self.stepper.prepare(Settings { max_norm, bound, rates })
    }

    /// The device's half.
    pub(super) fn launch(&mut self, gradients: &Gradients, scaler: Option<&mut LossScaler>) -> Result<Option<Tensor>> {
        let Groups { options, items, stepper, .. } = self;
        let mut due: Vec<(&mut Item, Gradient)> = vec![];
        for item in items {
            let Some(gradient) = gradients.get_sparse(&item.param) else { continue };
            // A view of the parameter itself cannot be read while the parameter is written.
            let gradient = match gradient {
                Gradient::Dense(g) if std::sync::Arc::ptr_eq(g.storage(), item.param.storage()) => g.copy()?.into(),
                other => other.clone(),
            };
            item.begin(&options[item.group])?;
            due.push((item, gradient));
        }
        let (items, gradients): (Vec<&mut Item>, Vec<Gradient>) = due.into_iter().unzip();
        let guards: Vec<_> = gradients.iter().map(Guards::new).collect();
        let params: Vec<Param> = items.iter().map(|i| i.param.clone()).collect();
        let mut buffers: Vec<_> = params.iter().map(|p| p.storage().write_guard()).collect();
        let mut slots = Vec::with_capacity(items.len());
        for ((item, guard), param) in items.into_iter().zip(&guards).zip(&mut buffers) {
            let Some(state) = &mut item.begun else { unreachable!("begin made the state") };
            slots.push(Slot {
                rule: options[item.group].rule,
                group: item.group,
                param,
                master: state.master.as_mut(),
                grad: guard.grad()?,
                state: &mut state.values,
                count: &mut state.count,
            });
        }
        let norm = match scaler {
            None => stepper.launch(&mut slots, None)?,
            Some(scaler) => scaler.with(|scaling| stepper.launch(&mut slots, Some(scaling)))?,
        };
        norm.map(|norm| Tensor::from_buffer(norm, Shape::scalar())).transpose()
    }

    /// The rate, the count of each parameter's updates (-1 before its first) and each state as `name.state`.
    pub(super) fn state_dict(&self) -> Result<StateDict> {
        let mut out = StateDict::new();
        out.insert("lr", Tensor::from_slice(&[self.lr], (), &Device::Cpu)?);
        for item in &self.items {
            let steps = match &item.begun {
                Some(state) => optimizer::count(&state.count)? as i64,
                None => -1,
            };
            out.insert(format!("{}.steps", item.name), Tensor::from_slice(&[steps], (), &Device::Cpu)?);
            let Some(state) = &item.begun else { continue };
            let values = state.values.iter().zip(self.options[item.group].states.iter().copied());
            for (buffer, name) in values.chain(state.master.iter().map(|master| (master, "master"))) {
                let mut copy = Buffer::uninit(&buffer.device(), buffer.dtype(), buffer.len())?;
                copy.copy_from(buffer)?;
                out.insert(format!("{}.{name}", item.name), Tensor::from_buffer(copy, *item.param.shape())?);
            }
        }
        Ok(out)
    }

    pub(super) fn load_state_dict(&mut self, dict: &StateDict, what: &str) -> Result<()> {
        let mut misfit = Misfit::default();
        let mut known = std::collections::HashSet::from(["lr".to_owned()]);
        match dict.get("lr") {
            Some(lr) => drop(misfit.compare("lr", lr, &Shape::scalar(), DType::F64)),
            None => misfit.missing("lr"),
        }
        let mut values = vec![];
        for item in &self.items {
            let name = format!("{}.steps", item.name);
            let steps = match dict.get(&name) {
                Some(t) if misfit.compare(&name, t, &Shape::scalar(), DType::I64) => t.item::<i64>()?,
                Some(_) => -1,
                None => {
                    misfit.missing(&name);
                    -1
                }
            };
            known.insert(name);
            let options = &self.options[item.group];
            let master = options.keeps_master(item.param.dtype()).then_some("master");
            let mut state = vec![];
            for suffix in options.states.iter().copied().chain(master).filter(|_| steps >= 0) {
                let name = format!("{}.{suffix}", item.name);
                match dict.get(&name) {
                    Some(t) => {
                        misfit.compare(&name, t, item.param.shape(), state_dtype(item.param.dtype()));
                        state.push(t);
                    }
                    None => misfit.missing(&name),
                }
                known.insert(name);
            }
            values.push((steps, state));
        }
        for (name, _) in dict.iter().filter(|(n, _)| !known.contains(*n)) {
            misfit.unexpected(name);
        }
        misfit.into_result(what)?;
        let mut states = vec![];
        for (item, (steps, tensors)) in self.items.iter().zip(values) {
            let device = item.param.device();
            let mut values = tensors.into_iter().map(|t| copy_to(t, device)).collect::<Result<Vec<_>>>()?;
            let kept = self.options[item.group].states.len();
            states.push(if steps >= 0 {
                let count = optimizer::counter(device, item.param.numel(), steps as u64)?;
                let master = (values.len() > kept).then(|| values.pop()).flatten();
                Some(State { count, values, master })
            } else {
                None
            });
        }
        self.lr = dict.expect("lr")?.item::<f64>()?;
        for (item, state) in self.items.iter_mut().zip(states) {
            item.begun = state;
        }
        self.generation += 1;
        Ok(())
    }
}

fn copy_to(tensor: &Tensor, device: &Device) -> Result<Buffer> {
    let tensor = tensor.to_device(device)?.contiguous()?;
    let guard = tensor.read();
    let mut out = Buffer::uninit(device, tensor.dtype(), tensor.numel())?;
    if tensor.is_whole() {
        out.copy_from(guard.view()?.buffer())?;
        return Ok(out);
    }
    crate::with_dtype!(tensor.dtype(), T => Buffer::from_slice(device, &guard.view()?.to_vec::<T>()?))
}

impl Item {
    /// Makes the state before the first update.
    fn begin(&mut self, options: &Options) -> Result<()> {
        if self.begun.is_some() {
            return Ok(());
        }
        if replay::noting() {
            let message = format!(
                "the first update of {} is inside a captured step, which would begin it anew at every \
                launch: run the step plainly once with all that it updates",
                self.name
            );
            return Err(Error::argument("optimizer", message));
        }
        let (device, n, dtype) = (self.param.device(), self.param.numel(), self.param.dtype());
        let mut values = vec![];
        for _ in options.states {
            values.push(Buffer::zeros(device, state_dtype(dtype), n)?);
        }
        if let Some(first) = values.first_mut().filter(|_| options.initial != 0.0) {
            elementwise::fill(options.initial, first)?;
        }
        let mut master = None;
        if options.keeps_master(dtype) {
            let mut copy = Buffer::uninit(device, DType::F32, n)?;
            let guard = self.param.read();
            elementwise::cast(guard.view()?, &mut copy)?;
            master = Some(copy);
        }
        self.begun = Some(State { count: optimizer::counter(device, n, 0)?, values, master });
        Ok(())
    }
}

/// The read locks of one gradient.
enum Guards<'a> {
    Dense(crate::tensor::ReadGuard<'a>),
    Rows { indices: crate::tensor::ReadGuard<'a>, rows: crate::tensor::ReadGuard<'a> },
}

impl<'a> Guards<'a> {
    fn new(gradient: &'a Gradient) -> Self {
        match gradient {
            Gradient::Dense(g) => Guards::Dense(g.read()),
            Gradient::Rows(r) => Guards::Rows { indices: r.indices.read(), rows: r.rows.read() },
        }
    }

    fn grad(&self) -> Result<Grad<'_>> {
        Ok(match self {
            Guards::Dense(g) => Grad::Dense(g.view()?),
            Guards::Rows { indices, rows } => Grad::Rows { indices: indices.view()?, rows: rows.view()? },
        })
    }
}

/// What every optimizer does through its groups.
macro_rules! grouped {
    ($($optimizer:ident),+) => {$(
        impl crate::optim::Optimizer for $optimizer {
            fn prepare(&mut self, clip: crate::optim::Clip) -> crate::Result<()> {
                self.groups.prepare(clip)
            }

            fn launch(
                &mut self,
                gradients: &crate::Gradients,
                scaler: Option<&mut crate::optim::LossScaler>,
            ) -> crate::Result<Option<crate::Tensor>> {
                self.groups.launch(gradients, scaler)
            }

            fn generation(&self) -> u64 {
                self.groups.generation
            }

            fn lr(&self) -> f64 {
                self.groups.lr
            }

            fn set_lr(&mut self, lr: f64) {
                self.groups.lr = lr;
            }

            fn state_dict(&self) -> crate::Result<crate::nn::StateDict> {
                self.groups.state_dict()
            }

            fn load_state_dict(&mut self, state: &crate::nn::StateDict, what: &str) -> crate::Result<()> {
                self.groups.load_state_dict(state, what)
            }
        }
    )+};
}

pub(super) use grouped;
