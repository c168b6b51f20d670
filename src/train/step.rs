//! Training steps that are captured once and launched as a whole.

use crate::device::cuda::{CudaDevice, Draw, Graph};
use crate::device::replay::{Effect, effects_of};
use crate::kernels::elementwise;
use crate::nn::Ctx;
use crate::optim::{Clip, LossScaler, Optimizer};
use crate::{DType, Device, Error, Gradients, Result, Shape, Tensor};

/// Steps that run plainly before one with inputs of the same shapes is captured: the first loads kernels and makes the
/// optimizer's state, the second finds everything in place.
const WARM_UP: usize = 2;
/// Graphs that are kept; steps with inputs of yet other shapes run plainly.
const GRAPHS: usize = 4;

/// A training step (forward, backward and the optimizer's update) that is captured as a CUDA graph after a few plain
/// steps and launched as one from then on: the host gives one piece of work to the device where it gave thousands. The
/// bits are those of plain steps. On the CPU every step is a plain one, so that programs have one path.
///
/// The closure computes the loss from the inputs. It is called for plain steps and captures only, and so must not
/// depend on anything that changes from step to step but its inputs: what it reads on the host is as it was at the
/// capture. It reads no values of tensors, copies none from the host, draws from its [`Ctx`]'s generator alone, and
/// does its work on the thread that it is called on.
///
/// ```
/// use warpsmith::nn::{Ctx, Linear, Module, Params};
/// use warpsmith::optim::{Optimizer, Sgd, SgdConfig};
/// use warpsmith::train::CapturedStep;
/// use warpsmith::{DType, Device, Tensor};
///
/// let device = Device::Cpu;
/// let params = Params::new(&device, DType::F32, 7);
/// let model = Linear::new(&params, 2, 3)?;
/// let optimizer = Sgd::new(params.trainable(), SgdConfig::new(0.1))?;
/// let mut step = CapturedStep::new(&device, Ctx::train(1), optimizer, |inputs, ctx| {
///     Ok(vec![model.forward(&inputs[0], ctx)?.cross_entropy(&inputs[1], &Default::default())?])
/// });
/// let x = Tensor::from_slice(&[1f32, 2.0, -1.0, 0.5], [2, 2], &device)?;
/// let y = Tensor::from_slice(&[2i64, 0], 2, &device)?;
/// let first = step.run(&[x.clone(), y.clone()])?.loss.item::<f32>()?;
/// step.optimizer_mut().set_lr(0.05);
/// assert!(step.run(&[x, y])?.loss.item::<f32>()? < first);
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub struct CapturedStep<O, F> {
    device: Device,
    ctx: Ctx,
    optimizer: O,
    forward: F,
    clip: Clip,
    scaler: Option<LossScaler>,
    capturing: bool,
    shapes: Vec<Known>,
}

/// What a step gives. Values that the caller reads; later steps do not change them.
#[derive(Clone, Debug)]
pub struct StepOutput {
    /// The loss. Reading it is the only wait of a step.
    pub loss: Tensor,
    /// What else the closure gave behind the loss.
    pub others: Vec<Tensor>,
    /// The gradients' norm before clipping, where it was measured.
    pub norm: Option<Tensor>,
}

impl StepOutput {
    fn map(&self, f: impl Fn(&Tensor) -> Result<Tensor>) -> Result<StepOutput> {
        Ok(StepOutput {
            loss: f(&self.loss)?,
            others: self.others.iter().map(&f).collect::<Result<_>>()?,
            norm: self.norm.as_ref().map(f).transpose()?,
        })
    }
}

/// The shapes and dtypes of a step's inputs, and what was done with such.
struct Known {
    inputs: Vec<(Shape, DType)>,
    /// The micro-batches that the inputs make.
    parts: usize,
    plain: usize,
    /// The optimizer's state then.
    generation: u64,
    captured: Option<Captured>,
}

/// A captured step.
struct Captured {
    graph: Graph,
    inputs: Vec<Tensor>,
    output: StepOutput,
    /// What the step changes on the host besides the generator.
    effects: Vec<Effect>,
    key: [u32; 2],
    /// Where the generator stood, and how many blocks the step takes.
    start: u64,
    drawn: u64,
}

/// The parts of a step, apart from what it has captured.
struct Parts<'a, O, F> {
    ctx: &'a mut Ctx,
    optimizer: &'a mut O,
    forward: &'a mut F,
    scaler: Option<&'a mut LossScaler>,
}

impl<O, F> CapturedStep<O, F>
where
    O: Optimizer,
    F: FnMut(&[Tensor], &mut Ctx) -> Result<Vec<Tensor>>,
{
    /// A step on a device. The closure gives the loss first, then whatever else the caller wants of a step.
    pub fn new(device: &Device, ctx: Ctx, optimizer: O, forward: F) -> Self {
        let (device, clip, shapes) = (device.clone(), Clip::None, vec![]);
        CapturedStep { device, ctx, optimizer, forward, clip, scaler: None, capturing: true, shapes }
    }

    /// Clips gradients on their way to the optimizer.
    pub fn with_clip(mut self, clip: Clip) -> Self {
        self.clip = clip;
        self.shapes.clear();
        self
    }

    /// Scales the loss, and gradients back.
    pub fn with_scaler(mut self, scaler: LossScaler) -> Self {
        self.scaler = Some(scaler);
        self.shapes.clear();
        self
    }

    /// Whether steps are captured at all (they are unless this says no): for programs that leave the choice to their
    /// user.
    pub fn with_capture(mut self, capturing: bool) -> Self {
        self.capturing = capturing;
        self.shapes.clear();
        self
    }

    /// The optimizer, for its rate and for checkpoints.
    pub fn optimizer(&self) -> &O {
        &self.optimizer
    }

    /// The optimizer, to set its rate or load its state. It must stay the one that it is.
    pub fn optimizer_mut(&mut self) -> &mut O {
        &mut self.optimizer
    }

    /// The mode and the random state, for checkpoints and to set the generator. A captured step keeps its mode.
    pub fn ctx_mut(&mut self) -> &mut Ctx {
        &mut self.ctx
    }

    /// The loss scaler.
    pub fn scaler_mut(&mut self) -> Option<&mut LossScaler> {
        self.scaler.as_mut()
    }

    /// Takes the step apart again: the context, the optimizer and the scaler.
    pub fn into_parts(self) -> (Ctx, O, Option<LossScaler>) {
        (self.ctx, self.optimizer, self.scaler)
    }

    /// Whether a step with such inputs (those of all its micro-batches, one after another) is launched as a graph.
    pub fn is_captured(&self, inputs: &[Tensor]) -> bool {
        let inputs = signature(inputs);
        self.shapes.iter().any(|known| known.inputs == inputs && known.captured.is_some())
    }

    /// One step on these inputs, which may be on the host.
    pub fn run(&mut self, inputs: &[Tensor]) -> Result<StepOutput> {
        self.step(inputs, 1)
    }

    /// One step on several micro-batches: the closure sees one after the other, and their gradients add up before the
    /// update. Each counts by its share of the samples (the first axis of its first input), so that the gradient of a
    /// loss that is a mean over samples is that of the joined batch, up to rounding; so do the loss and what else the
    /// closure gives, which must be floats. Only one micro-batch's activations are held at a time. (Batch norm still
    /// normalises each micro-batch by itself.)
    pub fn run_accumulated(&mut self, micro_batches: &[Vec<Tensor>]) -> Result<StepOutput> {
        let each = micro_batches.first().map_or(0, Vec::len);
        if each == 0 || micro_batches.iter().any(|micro| micro.len() != each) {
            let lengths: Vec<usize> = micro_batches.iter().map(Vec::len).collect();
            let message = format!("micro-batches of equally many tensors, one at least; got {lengths:?}");
            return Err(Error::argument("captured step", message));
        }
        self.step(&micro_batches.concat(), micro_batches.len())
    }

    fn step(&mut self, inputs: &[Tensor], count: usize) -> Result<StepOutput> {
        let mut parts = Parts {
            ctx: &mut self.ctx,
            optimizer: &mut self.optimizer,
            forward: &mut self.forward,
            scaler: self.scaler.as_mut(),
        };
        parts.optimizer.prepare(self.clip)?;
        let cuda = match &self.device {
            Device::Cuda(cuda) if self.capturing => cuda,
            plain => return parts.plain(plain, inputs, count),
        };
        let (given, generation) = (signature(inputs), parts.optimizer.generation());
        let fits = |known: &Known| known.inputs == given && known.parts == count;
        let at = self.shapes.iter().position(fits).unwrap_or_else(|| {
            self.shapes.push(Known { inputs: given, parts: count, plain: 0, generation, captured: None });
            self.shapes.len() - 1
        });
        let graphs = self.shapes.iter().filter(|known| known.captured.is_some()).count();
        let known = &mut self.shapes[at];
        // Addresses and keys are written into the work. A state that was loaded may lack what a first update makes,
        // which is not to be captured.
        if known.generation != generation {
            (known.generation, known.plain, known.captured) = (generation, known.plain.min(WARM_UP - 1), None);
        }
        known.captured.take_if(|captured| captured.key != parts.ctx.rng().key());
        if let Some(captured) = &known.captured {
            captured.launch(parts.ctx, inputs)
        } else if known.plain < WARM_UP || graphs >= GRAPHS {
            let output = parts.plain(&self.device, inputs, count)?;
            known.plain += 1;
            Ok(output)
        } else {
            let captured = parts.capture(cuda, inputs, count)?;
            captured.graph.launch(0)?;
            known.captured.insert(captured).output.map(Tensor::copy)
        }
    }
}

/// The samples of a batch: the length of its first axis.
pub(super) fn samples(input: &Tensor) -> usize {
    input.dims().first().copied().unwrap_or(1)
}

fn signature(inputs: &[Tensor]) -> Vec<(Shape, DType)> {
    inputs.iter().map(|x| (*x.shape(), x.dtype())).collect()
}

impl<O, F> Parts<'_, O, F>
where
    O: Optimizer,
    F: FnMut(&[Tensor], &mut Ctx) -> Result<Vec<Tensor>>,
{
    fn plain(&mut self, device: &Device, inputs: &[Tensor], count: usize) -> Result<StepOutput> {
        let inputs = inputs.iter().map(|x| x.to_device(device)).collect::<Result<Vec<_>>>()?;
        self.work(&inputs, count)
    }

    /// All that a step gives to the device, the optimizer being prepared.
    fn work(&mut self, inputs: &[Tensor], count: usize) -> Result<StepOutput> {
        let (gradients, outputs) = if count == 1 { self.part(inputs, None)? } else { self.parts(inputs, count)? };
        let norm = self.optimizer.launch(&gradients, self.scaler.as_deref_mut())?;
        let mut outputs = outputs.into_iter();
        let Some(loss) = outputs.next() else { unreachable!("a part has a loss") };
        Ok(StepOutput { loss, others: outputs.collect(), norm })
    }

    /// The weighted sums over micro-batches.
    fn parts(&mut self, inputs: &[Tensor], count: usize) -> Result<(Gradients, Vec<Tensor>)> {
        let each = inputs.len() / count;
        let sizes: Vec<usize> = inputs.chunks_exact(each).map(|part| samples(&part[0])).collect();
        let all = sizes.iter().sum::<usize>().max(1) as f64;
        let mut sums: Option<(Gradients, Vec<Tensor>)> = None;
        for (part, &size) in inputs.chunks_exact(each).zip(&sizes) {
            let (gradients, outputs) = self.part(part, Some(size as f64 / all))?;
            sums = Some(match sums {
                None => (gradients, outputs),
                Some((mut sum, so_far)) => {
                    sum.accumulate(gradients)?;
                    let outputs = so_far.iter().zip(&outputs).map(|(a, b)| a + b).collect::<Result<_>>()?;
                    (sum, outputs)
                }
            });
        }
        sums.ok_or_else(|| Error::argument("captured step", "there is no micro-batch"))
    }

    /// Forward and backward of one micro-batch: gradients and outputs, times its weight.
    fn part(&mut self, inputs: &[Tensor], weight: Option<f64>) -> Result<(Gradients, Vec<Tensor>)> {
        let mut outputs = (self.forward)(inputs, self.ctx)?;
        if let Some(weight) = weight {
            for output in &mut outputs {
                if !output.dtype().is_float() {
                    let expected = "floats from the closure, since they are averaged over micro-batches";
                    return Err(Error::dtype("captured step", expected, &[output.dtype()]));
                }
                *output = output.affine(weight, 0.0)?;
            }
        }
        let Some(loss) = outputs.first() else {
            return Err(Error::argument("captured step", "the closure gave nothing: the loss comes first"));
        };
        let gradients = match &self.scaler {
            Some(scaler) => scaler.scale(loss)?.backward()?,
            None => loss.backward()?,
        };
        Ok((gradients, outputs.into_iter().map(|output| output.detach()).collect()))
    }

    fn capture(&mut self, cuda: &CudaDevice, inputs: &[Tensor], count: usize) -> Result<Captured> {
        let device = Device::Cuda(cuda.clone());
        let inputs = inputs.iter().map(|x| x.to_device(&device)?.copy()).collect::<Result<Vec<_>>>()?;
        let (key, before) = (self.ctx.rng().key(), self.ctx.clone());
        let start = self.ctx.rng().state();
        let (captured, effects) = effects_of(|| cuda.capture(|| self.work(&inputs, count)));
        let (graph, output) = captured.inspect_err(|_| *self.ctx = before.clone())?;
        let end = self.ctx.rng().state();
        let drawn = end.block.wrapping_sub(start.block);
        let strange = |draw: &Draw| draw.key != key || draw.first.wrapping_sub(start.block) >= drawn;
        if graph.draws().iter().any(strange) || (end != start && end.used != 4) {
            *self.ctx = before;
            let message = "the step draws random numbers on the host, or from another generator than its Ctx's: every \
                           launch would draw the same again";
            return Err(Error::argument("captured step", message));
        }
        Ok(Captured { graph, inputs, output, effects, key, start: start.block, drawn })
    }
}

impl Captured {
    fn launch(&self, ctx: &mut Ctx, inputs: &[Tensor]) -> Result<StepOutput> {
        for (to, from) in self.inputs.iter().zip(inputs) {
            let from = from.to_device(to.device())?;
            let guard = from.read();
            to.storage().write(|buffer| elementwise::copy(guard.view()?, buffer))?;
        }
        self.graph.launch(ctx.rng().state().block.wrapping_sub(self.start))?;
        if self.drawn > 0 {
            ctx.rng().reserve(self.drawn);
        }
        self.effects.iter().for_each(|effect| effect());
        self.output.map(Tensor::copy)
    }
}
