//! Training on CUDA devices: twenty steps of a ResNet on digits and of a GPT on Shakespeare. From the weights that the CPU
//! device has before a step, a CUDA device gets its loss and gradients within rounding; on its own it stays within 1 % of
//! the CPU's losses; and it repeats to the bit.

#[path = "../examples/support/mod.rs"]
mod example;
mod support;

use example::{digits, generator, text};
use std::sync::LazyLock;
use support::devices;
use support::random::Random;
use warpsmith::models::{Gpt, GptConfig, ResNet, ResNetConfig};
use warpsmith::nn::{Ctx, Module, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip, Optimizer, Sgd, SgdConfig, decay_groups};
use warpsmith::{DType, Device, Gradients, Result, Tensor};

const STEPS: u64 = 20;

/// A network, its optimizer and what it trains on.
struct Task {
    name: &'static str,
    model: fn(&Params) -> Result<Box<dyn Module>>,
    optimizer: fn(&Params) -> Result<Box<dyn Optimizer>>,
    clip: Clip,
    batch: fn(u64, &Device) -> Result<(Tensor, Tensor)>,
}

/// A network in training.
struct Run<'a> {
    task: &'a Task,
    device: Device,
    params: Params,
    model: Box<dyn Module>,
    optimizer: Box<dyn Optimizer>,
    ctx: Ctx,
}

impl<'a> Run<'a> {
    fn new(task: &'a Task, device: &Device) -> Result<Self> {
        let params = Params::new(device, DType::F32, 11);
        let model = (task.model)(&params)?;
        let optimizer = (task.optimizer)(&params)?;
        Ok(Run { task, device: device.clone(), params, model, optimizer, ctx: Ctx::train(3) })
    }

    fn gradients(&mut self, step: u64) -> Result<(f64, Gradients)> {
        let (x, y) = (self.task.batch)(step, &self.device)?;
        let logits = self.model.forward(&x, &mut self.ctx)?;
        let loss = logits.reshape([y.numel(), logits.dim(-1)?])?.cross_entropy(&y, &Default::default())?;
        drop(logits);
        Ok((loss.item::<f64>()?, loss.backward()?))
    }

    fn step(&mut self, step: u64) -> Result<f64> {
        let (loss, gradients) = self.gradients(step)?;
        self.optimizer.step_clipped(&gradients, self.task.clip)?;
        Ok(loss)
    }

    /// Every parameter's gradient, in the order of their names.
    fn values(&self, gradients: &Gradients) -> Result<Vec<(String, Vec<f64>)>> {
        let one = |(name, param): (String, warpsmith::nn::Param)| {
            Ok((name, gradients.expect(&param.tensor())?.to_f64_vec()?))
        };
        self.params.trainable().into_iter().map(one).collect()
    }
}

/// The losses of a run of its own, and the weights at its end.
fn free(task: &Task, device: &Device) -> Result<(Vec<f64>, Vec<Vec<f64>>)> {
    let mut run = Run::new(task, device)?;
    let losses = (0..STEPS).map(|step| run.step(step)).collect::<Result<_>>()?;
    let weights = run.params.state_dict()?.iter().map(|(_, t)| t.to_f64_vec()).collect::<Result<_>>()?;
    Ok((losses, weights))
}

/// Each step from the weights that the CPU has before it.
fn step_by_step(task: &Task, gpu: &devices::Gpu) -> Result<()> {
    let (mut cpu, mut cuda) = (Run::new(task, &Device::Cpu)?, Run::new(task, &gpu.device)?);
    for step in 0..STEPS {
        cuda.params.load_state_dict(&cpu.params.state_dict()?, "weights")?;
        cuda.ctx = cpu.ctx.clone();
        let (expected, gradients) = cpu.gradients(step)?;
        let (found, on_cuda) = cuda.gradients(step)?;
        let place = format!("{} on {}, step {step}", task.name, gpu.name);
        // Equal weights: sums in another order.
        assert!((found - expected).abs() <= 1e-5 * expected.abs(), "{place}: loss {found}, {expected}");
        for ((name, expected), (_, found)) in cpu.values(&gradients)?.iter().zip(&cuda.values(&on_cuda)?) {
            // Against the largest: where terms cancel, what is left is as wrong as they are.
            let largest = expected.iter().fold(0f64, |m, g| m.max(g.abs()));
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() <= 2e-4 * largest, "{place}: {name}: {found}, {expected}");
            }
        }
        cpu.optimizer.step_clipped(&gradients, task.clip)?;
    }
    Ok(())
}

/// Holds CUDA devices to the CPU, and to themselves.
fn agree(task: &Task) {
    let random = Random::fresh(task.name);
    let (cpu, _) = free(task, &Device::Cpu).unwrap();
    assert!(cpu[STEPS as usize - 1] < cpu[0], "{}: {cpu:?}", task.name);
    for gpu in devices::gpus(random.seed()) {
        let place = format!("{} on {}", task.name, gpu.name);
        let (found, weights) = free(task, &gpu.device).unwrap_or_else(|e| panic!("{place}: {e}{}", devices::reports()));
        for (step, (found, expected)) in found.iter().zip(&cpu).enumerate() {
            assert!((found - expected).abs() <= 1e-2 * expected.abs(), "{place}, step {step}: {found}, {expected}");
        }
        let (again, weights_again) = free(task, &gpu.device).unwrap();
        assert!(again == found && weights_again == weights, "{place}: other bits");
        step_by_step(task, gpu).unwrap();
        assert_eq!(devices::reports(), "", "{place}");
    }
}

#[test]
fn a_resnet_trains_as_on_the_cpu() {
    agree(&Task {
        name: "ResNet-8",
        model: |params| Ok(Box::new(ResNet::new(params, &ResNetConfig::cifar(8, 1, 10)?)?)),
        optimizer: |params| {
            let config = SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 5e-4, ..SgdConfig::new(0.02) };
            Ok(Box::new(Sgd::new(params.trainable(), config)?))
        },
        clip: Clip::None,
        batch: |step, device| {
            let (training, _) = digits::load()?;
            let places: Vec<usize> = (0..8).map(|i| (step as usize * 8 + i) % training.len()).collect();
            training.batch(&places, &[[0, 0]; 8], device)
        },
    });
}

#[test]
fn a_transformer_with_dropout_trains_as_on_the_cpu() {
    agree(&Task {
        name: "GPT",
        model: |params| {
            let config = GptConfig { vocabulary: 76, context: 16, layers: 2, heads: 2, width: 32, dropout: 0.1 };
            Ok(Box::new(Gpt::new(params, &config)?))
        },
        optimizer: |params| {
            let config = AdamConfig { betas: (0.9, 0.99), weight_decay: 0.1, ..AdamConfig::adamw(3e-3) };
            let (decayed, others) = decay_groups(params.trainable());
            let groups = vec![(decayed, config), (others, AdamConfig { weight_decay: 0.0, ..config })];
            Ok(Box::new(Adam::with_groups(groups)?))
        },
        clip: Clip::Norm(1.0),
        batch: |step, device| {
            static TEXT: LazyLock<text::Text> = LazyLock::new(|| text::load().unwrap());
            let text = &*TEXT;
            let places = text::places(&text.training, 16, 2, &mut generator(5, 2, step));
            text::windows(&text.training, &places, 16, device)
        },
    });
}
