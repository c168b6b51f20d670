//! Captured graphs: the bits of plain work, and memory that lives as long as a graph may use it.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};
use support::Random;
use support::devices::{self, Gpu};
use warpsmith::device::cuda::CudaDevice;
use warpsmith::models::{Gpt, GptConfig, ResNet, ResNetConfig};
use warpsmith::nn::{Ctx, Module, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip, LossScaler, LossScalerConfig, Optimizer, Sgd, SgdConfig};
use warpsmith::random::{Philox, PhiloxState};
use warpsmith::train::CapturedStep;
use warpsmith::{CrossEntropyParams, DType, Device, Error, Result, Tensor, Var};

/// Bytes that a device holds are counted: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn cuda(gpu: &Gpu) -> &CudaDevice {
    let Device::Cuda(cuda) = &gpu.device else { unreachable!("a CUDA device") };
    cuda
}

/// Something of several kernels and temporaries.
fn work(x: &Tensor) -> Result<Tensor> {
    x.matmul(&x.transpose(0, 1)?)?.softmax(1)?.sum(&[0])?.add(&x.affine(2.0, 1.0)?.sum(&[1])?)
}

fn values(seed: u64, device: &Device) -> Tensor {
    let x = Tensor::normal(0.0, 1.0, [6, 6], DType::F32, &Device::Cpu, &mut Philox::new(seed)).unwrap();
    x.to_device(device).unwrap()
}

#[test]
fn a_graph_repeats_its_work_on_what_its_inputs_hold_then() {
    let _alone = alone();
    for gpu in devices::gpus(1) {
        let x = Var::new(&values(1, &gpu.device)).unwrap();
        work(&x).unwrap().to_vec::<f32>().unwrap();
        let held = cuda(gpu).held_bytes();
        let (graph, y) = cuda(gpu).capture(|| work(&x)).unwrap();
        for seed in 2..5 {
            x.set(&values(seed, &gpu.device)).unwrap();
            graph.launch(0).unwrap();
            let plain = work(&x).unwrap().to_vec::<f32>().unwrap();
            assert_eq!(y.to_vec::<f32>().unwrap(), plain, "on {}", gpu.name);
        }
        // The result keeps its memory without the graph.
        let last = y.to_vec::<f32>().unwrap();
        drop(graph);
        let others: Vec<Tensor> = (0..20).map(|_| Tensor::ones([64, 64], DType::F32, &gpu.device).unwrap()).collect();
        assert_eq!(y.to_vec::<f32>().unwrap(), last);
        drop((others, y));
        assert_eq!(cuda(gpu).held_bytes(), held, "on {}", gpu.name);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn memory_that_a_graph_uses_outlives_its_owner() {
    let _alone = alone();
    for gpu in devices::gpus(2) {
        let before = cuda(gpu).held_bytes();
        let x = values(7, &gpu.device);
        let expected = work(&x).unwrap().to_vec::<f32>().unwrap();
        // One operand is freed inside the capture, one after it.
        let inside = x.copy().unwrap();
        let (graph, y) = cuda(gpu)
            .capture(|| {
                let twice = inside.add(&x)?;
                drop(inside);
                work(&twice.affine(0.5, 0.0)?)
            })
            .unwrap();
        drop(x);
        let others: Vec<Tensor> = (0..8).map(|_| Tensor::zeros([6, 6], DType::F32, &gpu.device).unwrap()).collect();
        graph.launch(0).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), expected, "on {}", gpu.name);
        drop((graph, y, others));
        assert_eq!(cuda(gpu).held_bytes(), before, "on {}", gpu.name);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn the_random_offset_moves_counters_forward_and_backward() {
    let _alone = alone();
    for gpu in devices::gpus(3) {
        let x = Var::new(&values(3, &gpu.device)).unwrap();
        let step = |rng: &mut Philox| -> Result<(Tensor, Tensor)> {
            let y = x.dropout(0.4, rng)?.mul(&Tensor::normal(0.0, 1.0, [6, 6], DType::F32, &gpu.device, rng)?)?;
            let gradient = y.sum_all()?.backward()?.expect(&x)?;
            Ok((y.detach(), gradient))
        };
        let mut rng = Philox::new(5);
        step(&mut rng).unwrap();
        let start = rng.clone();
        let (graph, (y, gradient)) = cuda(gpu).capture(|| step(&mut rng)).unwrap();
        assert_eq!(graph.draws().len(), 3, "{:?}", graph.draws());
        for offset in [0, 18, 1 << 40, 1000] {
            let mut plain = start.clone();
            plain.reserve(offset);
            let expected = step(&mut plain).unwrap();
            graph.launch(offset).unwrap();
            assert_eq!(y.to_vec::<f32>().unwrap(), expected.0.to_vec::<f32>().unwrap(), "{offset} on {}", gpu.name);
            assert_eq!(gradient.to_vec::<f32>().unwrap(), expected.1.to_vec::<f32>().unwrap());
        }
        drop(graph);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn what_cannot_be_captured_is_refused_and_the_device_goes_on() {
    let _alone = alone();
    for gpu in devices::gpus(4) {
        let (device, x) = (&gpu.device, values(4, &gpu.device));
        let expected = work(&x).unwrap().to_vec::<f32>().unwrap();
        let (other, _) = cuda(gpu).capture(|| work(&x)).unwrap();
        let held = cuda(gpu).held_bytes();
        let refused = |what: &dyn Fn() -> Result<()>, expected: &str| {
            let error = cuda(gpu).capture(|| work(&x).and_then(|_| what())).map(|_| ()).unwrap_err();
            assert!(matches!(error, Error::Device { .. }) && error.to_string().contains(expected), "{error}");
        };
        refused(&|| work(&x)?.to_vec::<f32>().map(drop), "read it after the launch");
        refused(&|| Tensor::from_slice(&[1f32], 1, device).map(drop), "make them an input");
        refused(&|| cuda(gpu).synchronize(), "cannot wait");
        refused(&|| cuda(gpu).capture(|| Ok(())).map(|_| ()), "capturing already");
        refused(&|| other.launch(0), "inside a capture");
        if let Some(second) = devices::all_gpus().iter().find(|second| *second != device) {
            refused(&|| Tensor::ones(3, DType::F32, second).map(drop), "works on that device alone");
        }
        let panicked =
            catch_unwind(AssertUnwindSafe(|| cuda(gpu).capture(|| -> Result<()> { panic!("a user's bug") })));
        assert!(panicked.is_err());
        // A failure of its own, of which nothing stays either.
        let wrong = cuda(gpu).capture(|| work(&x)?.matmul(&x.narrow(0, 0, 2)?).map(drop)).map(|_| ());
        assert!(matches!(wrong, Err(Error::Shape { .. })), "{wrong:?}");
        assert_eq!(cuda(gpu).held_bytes(), held, "on {}", gpu.name);
        let (graph, y) = cuda(gpu).capture(|| work(&x)).unwrap();
        graph.launch(0).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), expected);
        assert_eq!(work(&x).unwrap().to_vec::<f32>().unwrap(), expected);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn other_threads_work_on_while_one_captures_and_launch_its_graph() {
    let _alone = alone();
    for gpu in devices::gpus(5) {
        let x = values(5, &gpu.device);
        let expected = work(&x).unwrap().to_vec::<f32>().unwrap();
        let elsewhere = || {
            std::thread::scope(|scope| {
                let run = scope.spawn(|| work(&values(6, &gpu.device)).and_then(|y| y.to_vec::<f32>()));
                run.join().expect("no panic").unwrap()
            })
        };
        let of_others = elsewhere();
        let (graph, y) = cuda(gpu)
            .capture(|| {
                let y = work(&x)?;
                assert_eq!(elsewhere(), of_others, "a thread that does not capture gets its values");
                Ok(y)
            })
            .unwrap();
        std::thread::scope(|scope| {
            let launches: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..3 {
                            graph.launch(0).unwrap();
                            assert_eq!(y.to_vec::<f32>().unwrap(), expected);
                            assert_eq!(work(&x).unwrap().to_vec::<f32>().unwrap(), expected);
                        }
                    })
                })
                .collect();
            launches.into_iter().for_each(|thread| thread.join().expect("no panic"));
        });
        // Dropped while it may be running.
        graph.launch(0).unwrap();
        graph.launch(0).unwrap();
        drop(graph);
        assert_eq!(y.to_vec::<f32>().unwrap(), expected);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

/// What a training run leaves, to the bit.
#[derive(Debug, PartialEq)]
struct Trained {
    losses: Vec<u32>,
    norms: Vec<u32>,
    model: Vec<(String, Vec<u64>)>,
    optimizer: Vec<(String, Vec<u64>)>,
    random: PhiloxState,
}

/// A network, its optimizer and its batches.
struct Setup<M, O> {
    make: fn(&Params) -> Result<M>,
    optimizer: fn(&Params) -> Result<O>,
    /// The inputs of a step, on the host.
    batch: fn(usize) -> Vec<Tensor>,
    clip: Clip,
}

fn loss<M: Module>(model: &M, inputs: &[Tensor], ctx: &mut Ctx) -> Result<Tensor> {
    let (logits, labels) = (model.forward(&inputs[0], ctx)?, &inputs[1]);
    logits.reshape([labels.numel(), logits.dim(-1)?])?.cross_entropy(labels, &CrossEntropyParams::default())
}

/// The rate of a step: another each time.
fn rate(step: usize) -> f64 {
    0.02 / (1.0 + step as f64)
}

fn bits(dict: &warpsmith::nn::StateDict) -> Vec<(String, Vec<u64>)> {
    let of = |t: &Tensor| t.to_f64_vec().unwrap().into_iter().map(f64::to_bits).collect();
    dict.iter().map(|(name, t)| (name.to_owned(), of(t))).collect()
}

const STEPS: usize = 8;

impl<M: Module, O: Optimizer> Setup<M, O> {
    fn plain(&self, device: &Device) -> Result<Trained> {
        let params = Params::new(device, DType::F32, 11);
        let model = (self.make)(&params)?;
        let (mut optimizer, mut ctx) = ((self.optimizer)(&params)?, Ctx::train(3));
        let (mut losses, mut norms) = (vec![], vec![]);
        for step in 0..STEPS {
            let inputs: Vec<Tensor> = (self.batch)(step).iter().map(|x| x.to_device(device)).collect::<Result<_>>()?;
            optimizer.set_lr(rate(step));
            let loss = loss(&model, &inputs, &mut ctx)?;
            let norm = optimizer.step_clipped(&loss.backward()?, self.clip)?;
            losses.push(loss.item::<f32>()?.to_bits());
            norms.extend(norm.map(|norm| norm.item::<f32>().map(f32::to_bits)).transpose()?);
        }
        let (model, optimizer) = (bits(&params.state_dict()?), bits(&optimizer.state_dict()?));
        Ok(Trained { losses, norms, model, optimizer, random: ctx.rng().state() })
    }

    fn captured(&self, device: &Device) -> Result<Trained> {
        let params = Params::new(device, DType::F32, 11);
        let model = (self.make)(&params)?;
        let optimizer = (self.optimizer)(&params)?;
        let forward = |inputs: &[Tensor], ctx: &mut Ctx| Ok(vec![loss(&model, inputs, ctx)?]);
        let mut step = CapturedStep::new(device, Ctx::train(3), optimizer, forward).with_clip(self.clip);
        let (mut outputs, mut graphs) = (vec![], 0);
        for i in 0..STEPS {
            let inputs = (self.batch)(i);
            step.optimizer_mut().set_lr(rate(i));
            graphs += usize::from(step.is_captured(&inputs));
            outputs.push(step.run(&inputs)?);
        }
        // Five steps of the usual shapes come after the two plain ones; the first of them was captured then and there.
        assert_eq!(graphs, if device.is_cpu() { 0 } else { 4 });
        // Read at the end: later steps have not touched what earlier ones gave.
        let read = |t: &Tensor| t.item::<f32>().map(f32::to_bits);
        let losses = outputs.iter().map(|output| read(&output.loss)).collect::<Result<_>>()?;
        let norms = outputs.iter().filter_map(|output| output.norm.as_ref().map(read)).collect::<Result<_>>()?;
        let (model, random) = (bits(&params.state_dict()?), step.ctx_mut().rng().state());
        Ok(Trained { losses, norms, model, optimizer: bits(&step.optimizer().state_dict()?), random })
    }

    fn agree(&self, name: &str) {
        let _alone = alone();
        for gpu in devices::gpus(Random::fresh(name).seed()) {
            let held = cuda(gpu).held_bytes();
            let plain = self.plain(&gpu.device).unwrap();
            let captured = self.captured(&gpu.device).unwrap();
            assert_eq!(captured.losses, plain.losses, "{name} on {}", gpu.name);
            assert!(captured == plain, "{name} on {}: {:?}", gpu.name, first_difference(&captured, &plain));
            assert_eq!(cuda(gpu).held_bytes(), held, "{name} on {}", gpu.name);
            assert_eq!(devices::reports(), "", "{name} on {}", gpu.name);
        }
        assert_eq!(self.captured(&Device::Cpu).unwrap(), self.plain(&Device::Cpu).unwrap(), "{name} on the CPU");
    }
}

/// The name of the first value that differs.
fn first_difference<'a>(a: &'a Trained, b: &'a Trained) -> &'a str {
    let pairs = |a: &'a [(String, Vec<u64>)], b: &'a [(String, Vec<u64>)]| {
        a.iter().zip(b).find(|(a, b)| a != b).map(|(a, _)| a.0.as_str())
    };
    let named = pairs(&a.model, &b.model).or_else(|| pairs(&a.optimizer, &b.optimizer));
    named.unwrap_or(if a.norms == b.norms { "random" } else { "norms" })
}

/// The fourth batch is shorter, and runs plainly.
fn samples(step: usize) -> usize {
    if step == 3 { 3 } else { 4 }
}

#[test]
fn a_captured_resnet_trains_to_the_bits_of_plain_steps() {
    let setup = Setup {
        make: |params| ResNet::new(params, &ResNetConfig::cifar(8, 1, 10)?),
        optimizer: |params| {
            Sgd::new(params.trainable(), SgdConfig { momentum: 0.9, weight_decay: 1e-3, ..SgdConfig::new(0.05) })
        },
        batch: |step| {
            let (n, mut rng) = (samples(step), Philox::new(step as u64));
            let x = Tensor::normal(0.0, 1.0, [n, 1, 8, 8], DType::F32, &Device::Cpu, &mut rng).unwrap();
            let labels: Vec<i64> = (0..n).map(|i| ((3 * i + step) % 10) as i64).collect();
            vec![x, Tensor::from_slice(&labels, n, &Device::Cpu).unwrap()]
        },
        clip: Clip::Norm(1.0),
    };
    setup.agree("ResNet-8");
}

fn gpt() -> Setup<Gpt, Adam> {
    Setup {
        make: |params| {
            let config = GptConfig { vocabulary: 17, context: 8, layers: 1, heads: 2, width: 16, dropout: 0.1 };
            Gpt::new(params, &config)
        },
        optimizer: |params| Adam::new(params.trainable(), AdamConfig::adamw(1e-2)),
        batch: |step| {
            let n = samples(step);
            let ids = |shift: usize| (0..n * 8).map(|i| ((i + shift) * (i + step) % 17) as i64).collect::<Vec<_>>();
            let x = Tensor::from_slice(&ids(0), [n, 8], &Device::Cpu).unwrap();
            vec![x, Tensor::from_slice(&ids(1), n * 8, &Device::Cpu).unwrap()]
        },
        clip: Clip::Norm(0.7),
    }
}

#[test]
fn a_captured_transformer_with_dropout_trains_to_the_bits_of_plain_steps() {
    gpt().agree("GPT");
}

#[test]
fn two_threads_train_on_one_device_at_once() {
    let _alone = alone();
    let setup = gpt();
    for gpu in devices::gpus(7) {
        let expected = setup.plain(&gpu.device).unwrap();
        std::thread::scope(|scope| {
            let plain = scope.spawn(|| setup.plain(&gpu.device));
            let captured = scope.spawn(|| setup.captured(&gpu.device));
            assert!(plain.join().expect("no panic").unwrap() == expected, "plain steps on {}", gpu.name);
            assert!(captured.join().expect("no panic").unwrap() == expected, "captured steps on {}", gpu.name);
        });
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn a_state_or_a_generator_that_is_put_in_is_captured_anew() {
    let _alone = alone();
    for gpu in devices::gpus(8) {
        let run = |reload: bool| -> Result<Vec<f32>> {
            let params = Params::new(&gpu.device, DType::F32, 1);
            let weight = params.param("weight", [4, 3], warpsmith::nn::Init::STANDARD_NORMAL)?;
            let optimizer = Adam::new(params.trainable(), AdamConfig::adamw(1e-2))?;
            let forward = |inputs: &[Tensor], ctx: &mut Ctx| {
                let x = inputs[0].dropout(0.5, ctx.rng())?;
                Ok(vec![x.matmul(&weight.tensor())?.cross_entropy(&inputs[1], &CrossEntropyParams::default())?])
            };
            let mut step = CapturedStep::new(&gpu.device, Ctx::train(2), optimizer, forward);
            let inputs =
                [values(9, &gpu.device).narrow(1, 0, 4)?, Tensor::from_slice(&[0i64, 1, 2, 0, 1, 2], 6, &gpu.device)?];
            let mut losses = vec![];
            for i in 0..10 {
                if reload && i == 4 || i == 7 {
                    let state = step.optimizer().state_dict()?;
                    step.optimizer_mut().load_state_dict(&state, "a copy")?;
                }
                if i == 7 {
                    step.ctx_mut().set_rng(Philox::new(77));
                }
                losses.push(step.run(&inputs)?.loss.item::<f32>()?);
            }
            Ok(losses)
        };
        assert_eq!(run(true).unwrap(), run(false).unwrap(), "on {}", gpu.name);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn a_captured_loss_scale_follows_overflows() {
    let _alone = alone();
    for gpu in devices::gpus(10) {
        let device = &gpu.device;
        let run = |captured: bool| -> Result<(Vec<u32>, Vec<f32>)> {
            let params = Params::new(device, DType::F16, 1);
            let weight = params.param("weight", [6, 3], warpsmith::nn::Init::STANDARD_NORMAL)?;
            let mut optimizer = Adam::new(params.trainable(), AdamConfig::adamw(1e-2))?;
            let config = LossScalerConfig { initial: 1024.0, interval: 3, ..Default::default() };
            let mut scaler = LossScaler::with_config(device, config)?;
            let labels = Tensor::from_slice(&[0i64, 1, 2, 0, 1, 2], 6, device)?;
            // The sixth step's gradients overflow f16, which the scale has to survive.
            let batch =
                |i: usize| values(i as u64, device).affine(if i == 5 { 3e4 } else { 1.0 }, 0.0)?.to_dtype(DType::F16);
            let loss =
                |x: &Tensor, y: &Tensor| x.matmul(&weight.tensor())?.cross_entropy(y, &CrossEntropyParams::default());
            let mut losses = vec![];
            if captured {
                let forward = |inputs: &[Tensor], _: &mut Ctx| Ok(vec![loss(&inputs[0], &inputs[1])?]);
                let step = CapturedStep::new(device, Ctx::train(2), optimizer, forward);
                let mut step = step.with_scaler(scaler).with_clip(Clip::Norm(1.0));
                for i in 0..10 {
                    losses.push(step.run(&[batch(i)?, labels.clone()])?.loss);
                }
                scaler = step.into_parts().2.expect("the scaler that was given");
            } else {
                for i in 0..10 {
                    let of_step = loss(&batch(i)?, &labels)?;
                    let gradients = scaler.scale(&of_step)?.backward()?;
                    scaler.step_clipped(&mut optimizer, &gradients, Clip::Norm(1.0))?;
                    losses.push(of_step.detach());
                }
            }
            let mut end = weight.to_dtype(DType::F32)?.to_vec::<f32>()?;
            end.push(scaler.factor()?.item::<f32>()?);
            end.push(scaler.skipped()?.item::<i64>()? as f32);
            Ok((losses.iter().map(|loss| loss.item::<f32>().map(f32::to_bits)).collect::<Result<_>>()?, end))
        };
        let plain = run(false).unwrap();
        assert_eq!(plain.1.last(), Some(&1.0), "one step was skipped");
        assert_eq!(run(true).unwrap(), plain, "on {}", gpu.name);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn draws_that_a_launch_cannot_repeat_are_refused() {
    let _alone = alone();
    for gpu in devices::gpus(9) {
        let params = Params::new(&gpu.device, DType::F32, 1);
        let weight = params.param("weight", [6], warpsmith::nn::Init::ONES).unwrap();
        let optimizer = Sgd::new(params.trainable(), SgdConfig::new(0.1)).unwrap();
        let mut own = Philox::new(1);
        let mut step = CapturedStep::new(&gpu.device, Ctx::train(2), optimizer, |inputs, _| {
            Ok(vec![weight.tensor().mul(&inputs[0])?.dropout(0.5, &mut own)?.sum_all()?])
        });
        let x = [Tensor::ones(6, DType::F32, &gpu.device).unwrap()];
        step.run(&x).unwrap();
        step.run(&x).unwrap();
        let error = step.run(&x).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains("another generator than its Ctx"), "{error}");
    }
}

/// Graphs, devices and tensors go to other threads.
#[test]
fn handles_are_send_and_sync() {
    fn both<T: Send + Sync>() {}
    both::<warpsmith::device::cuda::Graph>();
    both::<CudaDevice>();
    both::<Tensor>();
    both::<warpsmith::device::cuda::Kernel>();
}
