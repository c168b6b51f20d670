//! What all optimizers share: parameters with their state, in groups.

use super::clip::{Clip, total_norm};
use crate::autograd::{Gradient, Gradients};
use crate::device::Buffer;
use crate::kernels::optimizer::{self, Grad, Rule, Slot, state_dtype};
use crate::nn::{Misfit, Param, StateDict};
use crate::{DType, Device, Error, Result, Shape, Tensor};

/// A parameter, the number of its updates and `N` tensors of state (absent before the first update).
struct Item<const N: usize> {
    name: String,
    param: Param,
    group: usize,
    steps: u64,
    state: Option<[Buffer; N]>,
}

/// The options of a group.
pub(super) trait Config: Copy {
    fn lr(&self) -> f64;
}

/// Parameters in groups of options `C`, with their state.
pub(super) struct Groups<C, const N: usize> {
    configs: Vec<C>,
    /// The rate of the first group.
    pub(super) lr: f64,
    /// Each group's rate, divided by the first one's.
    ratios: Vec<f64>,
    items: Vec<Item<N>>,
    state_names: [&'static str; N],
}

/// A gradient and where it is for.
struct Found {
    item: usize,
    gradient: Gradient,
}

impl<C: Config, const N: usize> Groups<C, N> {
    pub(super) fn new(groups: Vec<(Vec<(String, Param)>, C)>, state_names: [&'static str; N]) -> Result<Self> {
        let lr = groups.first().map_or(0.0, |(_, c)| c.lr());
        let ratios = groups.iter().map(|(_, c)| if lr > 0.0 { c.lr() / lr } else { 1.0 }).collect();
        let mut out = Groups { configs: vec![], lr, ratios, items: Vec::<Item<N>>::new(), state_names };
        for (group, (params, config)) in groups.into_iter().enumerate() {
            out.configs.push(config);
            for (name, param) in params {
                if let Some(other) = out.items.iter().find(|i| i.name == name || i.param.same(&param)) {
                    let message = format!("{name} and {} are one parameter or have one name", other.name);
                    return Err(Error::argument("optimizer", message));
                }
                out.items.push(Item { name, param, group, steps: 0, state: None });
            }
        }
        if out.items.is_empty() {
            return Err(Error::argument("optimizer", "there are no parameters to train"));
        }
        Ok(out)
    }

    /// One update; `rule` makes a parameter's rule from its group's options and rate, its count of updates so far and
    /// the clipping. Returns the norm, if it was measured.
    pub(super) fn step<R: Rule<N>>(
        &mut self,
        gradients: &Gradients,
        clip: Clip,
        rule: impl Fn(&C, f64, u64, optimizer::Clip) -> R,
    ) -> Result<f64> {
        let mut found = vec![];
        for (item, i) in self.items.iter().enumerate() {
            let Some(gradient) = gradients.get_sparse(&i.param) else { continue };
            // A view of the parameter itself cannot be read while the parameter is written.
            let gradient = match gradient {
                Gradient::Dense(g) if std::sync::Arc::ptr_eq(g.storage(), i.param.storage()) => g.copy()?.into(),
                other => other.clone(),
            };
            found.push(Found { item, gradient });
        }
        let norm = match clip {
            Clip::Norm(_) => total_norm(found.iter().map(|f| &f.gradient))?,
            _ => 0.0,
        };
        let clip = clip.factors(norm)?;
        let guards: Vec<_> = found.iter().map(|f| Guards::new(&f.gradient)).collect();
        for f in &found {
            self.items[f.item].prepare()?;
        }
        let mut due = found.iter().map(|f| f.item).peekable();
        let mut items: Vec<&mut Item<N>> = vec![];
        for (i, item) in self.items.iter_mut().enumerate() {
            if due.next_if_eq(&i).is_some() {
                items.push(item);
            }
        }
        let params: Vec<Param> = items.iter().map(|i| i.param.clone()).collect();
        let mut buffers: Vec<_> = params.iter().map(|p| p.storage().write_guard()).collect();
        let mut slots = Vec::with_capacity(items.len());
        for ((item, guard), param) in items.iter_mut().zip(&guards).zip(&mut buffers) {
            let lr = self.lr * self.ratios[item.group];
            let rule = rule(&self.configs[item.group], lr, item.steps, clip);
            item.steps += 1;
            let Some(state) = &mut item.state else { unreachable!("prepare made the state") };
            slots.push(Slot { rule, param, grad: guard.grad()?, state: state.each_mut() });
        }
        optimizer::step(&mut slots)?;
        Ok(norm)
    }

    /// The rate, the count of each parameter's updates (-1 before its first) and each state as `name.state`.
    pub(super) fn state_dict(&self) -> Result<StateDict> {
        let mut out = StateDict::new();
        out.insert("lr", Tensor::from_slice(&[self.lr], (), &Device::Cpu)?);
        for item in &self.items {
            let steps = item.state.as_ref().map_or(-1, |_| item.steps as i64);
            out.insert(format!("{}.steps", item.name), Tensor::from_slice(&[steps], (), &Device::Cpu)?);
            let Some(state) = &item.state else { continue };
            for (buffer, name) in state.iter().zip(self.state_names) {
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
            let mut state = vec![];
            for suffix in self.state_names.iter().filter(|_| steps >= 0) {
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
            let mut buffers = vec![];
            for tensor in tensors {
                buffers.push(copy_to(tensor, item.param.device())?);
            }
            states.push((steps, <[Buffer; N]>::try_from(buffers).ok().filter(|_| steps >= 0)));
        }
        self.lr = dict.expect("lr")?.item::<f64>()?;
        for (item, (steps, state)) in self.items.iter_mut().zip(states) {
            item.steps = steps.max(0) as u64;
            item.state = state;
        }
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

impl<const N: usize> Item<N> {
    fn prepare(&mut self) -> Result<()> {
        if self.state.is_none() {
            let (device, n) = (self.param.device(), self.param.numel());
            let mut state = vec![];
            for _ in 0..N {
                state.push(Buffer::zeros(device, state_dtype(self.param.dtype()), n)?);
            }
            self.state = state.try_into().ok();
        }
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
