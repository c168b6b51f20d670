//! Whole training steps on CUDA devices: the CPU's losses and gradients within rounding, and the same bits each time.

mod support;

use support::devices;
use support::random::Random;
use warpsmith::models::{Gpt, GptConfig, ResNet, ResNetConfig};
use warpsmith::nn::{Ctx, Module, Params};
use warpsmith::optim::{Adam, AdamConfig, Optimizer, Sgd, SgdConfig};
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Result, Tensor};

const STEPS: usize = 4;

struct Run {
    /// The loss of each step.
    losses: Vec<f64>,
    /// The gradient of each parameter in the first step, in the order of their names.
    gradients: Vec<Vec<f64>>,
    /// The weights at the end.
    weights: Vec<Vec<f64>>,
}

/// Trains a network of `make` on one batch.
fn train<M: Module>(
    device: &Device,
    make: impl Fn(&Params) -> Result<M>,
    optimizer: impl Fn(&Params) -> Result<Box<dyn Optimizer>>,
    batch: impl Fn(&Device) -> Result<(Tensor, Tensor)>,
) -> Result<Run> {
    let params = Params::new(device, DType::F32, 11);
    let model = make(&params)?;
    let mut optimizer = optimizer(&params)?;
    let (x, y) = batch(device)?;
    let mut ctx = Ctx::train(3);
    let mut run = Run { losses: vec![], gradients: vec![], weights: vec![] };
    for step in 0..STEPS {
        let logits = model.forward(&x, &mut ctx)?;
        let loss = logits.reshape([y.numel(), logits.dim(-1)?])?.cross_entropy(&y, &Default::default())?;
        let gradients = loss.backward()?;
        if step == 0 {
            for (_, param) in params.trainable() {
                run.gradients.push(gradients.expect(&param.tensor())?.to_f64_vec()?);
            }
        }
        optimizer.step(&gradients)?;
        run.losses.push(loss.item::<f64>()?);
    }
    run.weights = params.state_dict()?.iter().map(|(_, t)| t.to_f64_vec()).collect::<Result<_>>()?;
    Ok(run)
}

/// Holds a device's run to the CPU's, and to itself.
fn agree(name: &str, on: impl Fn(&Device) -> Result<Run>) {
    let random = Random::fresh(name);
    let cpu = on(&Device::Cpu).unwrap();
    assert!(cpu.losses[STEPS - 1] < cpu.losses[0], "{name}: {:?}", cpu.losses);
    for gpu in devices::gpus(random.seed()) {
        let found = on(&gpu.device).unwrap_or_else(|e| panic!("{name} on {}: {e}{}", gpu.name, devices::reports()));
        for (step, (found, expected)) in found.losses.iter().zip(&cpu.losses).enumerate() {
            // The first loss is of equal weights: sums in another order. Later ones have followed their own roundings.
            let allowed = if step == 0 { 1e-5 } else { 1e-2 } * expected.abs();
            assert!((found - expected).abs() <= allowed, "{name} on {}, step {step}: {found}, {expected}", gpu.name);
        }
        for (which, (found, expected)) in found.gradients.iter().zip(&cpu.gradients).enumerate() {
            // Against the largest: where terms cancel, what is left is as wrong as they are.
            let largest = expected.iter().fold(0f64, |m, g| m.max(g.abs()));
            for (found, expected) in found.iter().zip(expected) {
                let wrong = (found - expected).abs();
                assert!(wrong <= 2e-4 * largest, "{name} on {}, gradient {which}: {found}, {expected}", gpu.name);
            }
        }
        let again = on(&gpu.device).unwrap();
        assert!(again.losses == found.losses && again.weights == found.weights, "{name}: other bits on {}", gpu.name);
        assert_eq!(devices::reports(), "", "{name} on {}", gpu.name);
    }
}

#[test]
fn a_resnet_trains_as_on_the_cpu() {
    agree("ResNet-8", |device| {
        train(
            device,
            |params| ResNet::new(params, &ResNetConfig::cifar(8, 1, 10)?),
            |params| {
                let config = SgdConfig { momentum: 0.9, ..SgdConfig::new(0.05) };
                Ok(Box::new(Sgd::new(params.trainable(), config)?))
            },
            |device| {
                let x = Tensor::normal(0.0, 1.0, [6, 1, 8, 8], DType::F32, &Device::Cpu, &mut Philox::new(5))?;
                let y = Tensor::from_slice(&[3i64, 1, 4, 1, 5, 9], [6], device)?;
                Ok((x.to_device(device)?, y))
            },
        )
    });
}

#[test]
fn a_transformer_with_dropout_trains_as_on_the_cpu() {
    agree("GPT", |device| {
        let config = GptConfig { vocabulary: 17, context: 12, layers: 2, heads: 2, width: 32, dropout: 0.1 };
        train(
            device,
            |params| Gpt::new(params, &config),
            |params| Ok(Box::new(Adam::new(params.trainable(), AdamConfig::adamw(1e-2))?)),
            |device| {
                let tokens: Vec<i64> = (0..24).map(|i| i * i % 17).collect();
                let next: Vec<i64> = (0..24).map(|i| (i + 1) * (i + 1) % 17).collect();
                Ok((Tensor::from_slice(&tokens, [2, 12], device)?, Tensor::from_slice(&next, [24], device)?))
            },
        )
    });
}
