//! What a training step asks of the driver: nothing is read but the loss, nothing is allocated beyond the pool, and wrong
//! labels are still told.

mod support;

use std::collections::BTreeMap;
use std::sync::Mutex;
use support::{Random, devices};
use virtual_gpu::VirtualGpu;
use warpsmith::kernels::images;
use warpsmith::models::{Gpt, GptConfig, ResNet, ResNetConfig};
use warpsmith::nn::{Ctx, Module, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip, Optimizer, Sgd, SgdConfig};
use warpsmith::random::Philox;
use warpsmith::{CrossEntropyParams, DType, Device, Reduction, Result, Tensor};

/// Calls are counted for the whole process: one test at a time.
static COUNTING: Mutex<()> = Mutex::new(());

fn calls(gpu: VirtualGpu, of: impl Fn(&str) -> bool) -> BTreeMap<String, u64> {
    gpu.calls().into_iter().filter(|(name, _)| of(name)).collect()
}

fn waits(name: &str) -> bool {
    let synchronous = name.starts_with("cuMemcpy") && !name.contains("Async");
    name.contains("Synchronize") || name.contains("DtoH") || synchronous || name.starts_with("cuEventQuery")
}

fn allocates(name: &str) -> bool {
    let pooled = name.starts_with("cuMemAllocAsync");
    (name.starts_with("cuMemAlloc") || name.starts_with("cuMemHost") || name.starts_with("cuModule")) && !pooled
}

fn loss_of<M: Module>(model: &M, x: &Tensor, y: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
    let logits = model.forward(x, ctx)?;
    logits.reshape([y.numel(), logits.dim(-1)?])?.cross_entropy(y, &CrossEntropyParams::default())
}

/// Holds five steps of a network to what a step may ask of the driver.
fn count<M: Module>(
    name: &str,
    make: impl Fn(&Params) -> Result<M>,
    optimizer: impl Fn(&Params) -> Result<Box<dyn Optimizer>>,
    batch: impl Fn(&Device) -> Result<(Tensor, Tensor)>,
) {
    let _alone = COUNTING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let gpus = devices::gpus(Random::fresh(name).seed());
    let Some(driver) = devices::driver() else { return };
    for gpu in gpus {
        let Device::Cuda(cuda) = &gpu.device else { unreachable!("a CUDA device") };
        let params = Params::new(&gpu.device, DType::F32, 11);
        let (model, mut ctx) = (make(&params).unwrap(), Ctx::train(3));
        let mut optimizer = optimizer(&params).unwrap();
        let (x, y) = batch(&gpu.device).unwrap();
        let mut step = || -> Result<Tensor> {
            let loss = loss_of(&model, &x, &y, &mut ctx)?;
            let gradients = loss.backward()?;
            optimizer.step_clipped(&gradients, Clip::Norm(1.0))?;
            Ok(loss.detach())
        };
        let update = cuda.kernel(&images::OPTIMIZER, "step").unwrap().info().entry.to_string();
        let update = format!("\"kernel\":\"{update}\",\"device\"");
        for _ in 0..2 {
            step().and_then(|loss| loss.item::<f32>()).unwrap();
        }
        let mut seen = vec![];
        for _ in 0..3 {
            driver.clear_calls();
            driver.clear_profile();
            let loss = step().unwrap();
            let during = calls(driver, waits);
            let pooled = driver.calls().get("cuMemAllocAsync").copied();
            // Uploads look for a free block without waiting.
            let queries = during.get("cuEventQuery").copied().unwrap_or(0);
            assert_eq!(during.len(), usize::from(queries > 0), "{name} on {}: {during:?}", gpu.name);
            assert_eq!(calls(driver, allocates), BTreeMap::new(), "{name} on {}", gpu.name);
            cuda.synchronize().unwrap();
            let updates = driver.profile_json().matches(&update).count();
            assert_eq!(updates, 1, "{name} on {}: launches of the optimizer", gpu.name);
            driver.clear_calls();
            loss.item::<f32>().unwrap();
            let of_read = calls(driver, |name| waits(name) && name != "cuEventQuery");
            let expected = [("cuMemcpyDtoHAsync".to_owned(), 1), ("cuStreamSynchronize".to_owned(), 1)];
            assert_eq!(of_read.into_iter().collect::<Vec<_>>(), expected, "{name} on {}", gpu.name);
            drop(loss);
            seen.push((cuda.held_bytes(), pooled));
        }
        assert!(seen.windows(2).all(|pair| pair[0] == pair[1]), "{name} on {} grows: {seen:?}", gpu.name);
        assert_eq!(devices::reports(), "", "{name} on {}", gpu.name);
    }
}

#[test]
fn a_resnet_reads_nothing_but_its_loss() {
    count(
        "ResNet-8",
        |params| ResNet::new(params, &ResNetConfig::cifar(8, 1, 10)?),
        |params| {
            let config = SgdConfig { momentum: 0.9, ..SgdConfig::new(0.05) };
            Ok(Box::new(Sgd::new(params.trainable(), config)?))
        },
        |device| {
            let x = Tensor::normal(0.0, 1.0, [4, 1, 8, 8], DType::F32, &Device::Cpu, &mut Philox::new(5))?;
            let y = Tensor::from_slice(&[3i64, 1, 4, 1], [4], device)?;
            Ok((x.to_device(device)?, y))
        },
    );
}

#[test]
fn a_transformer_with_dropout_reads_nothing_but_its_loss() {
    let config = GptConfig { vocabulary: 17, context: 12, layers: 1, heads: 2, width: 32, dropout: 0.1 };
    count(
        "GPT",
        |params| Gpt::new(params, &config),
        |params| Ok(Box::new(Adam::new(params.trainable(), AdamConfig::adamw(1e-2))?)),
        |device| {
            let tokens: Vec<i64> = (0..24).map(|i| i * i % 17).collect();
            let next: Vec<i64> = (0..24).map(|i| (i + 1) * (i + 1) % 17).collect();
            Ok((Tensor::from_slice(&tokens, [2, 12], device)?, Tensor::from_slice(&next, [24], device)?))
        },
    );
}

#[test]
fn wrong_labels_are_an_error_of_the_next_wait_and_of_it_alone() {
    let _alone = COUNTING.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for gpu in devices::gpus(4) {
        let device = &gpu.device;
        let x = Tensor::from_slice(&[0.5f32, -1.0, 2.0, 0.0, 1.0, -0.5], [2, 3], device).unwrap();
        let labels = |values: &[i64]| Tensor::from_slice(values, values.len(), device).unwrap();
        let read = |labels: &Tensor, params: &CrossEntropyParams, nll: bool| {
            let loss = if nll { x.nll_loss(labels, params) } else { x.cross_entropy(labels, params) };
            loss.unwrap().to_f64_vec()
        };
        let mean = CrossEntropyParams::default();
        let each = CrossEntropyParams { reduction: Reduction::None, ..Default::default() };
        for nll in [false, true] {
            for (label, params) in [(3, &mean), (-1, &mean), (i64::MAX, &each)] {
                let error = read(&labels(&[0, label]), params, nll).unwrap_err().to_string();
                let expected = format!("label {label} at position 1 is out of range: 0 to 3");
                assert!(error.contains(&expected), "{error}");
                assert!(error.contains(if nll { "nll_loss" } else { "cross_entropy" }), "{error}");
                read(&labels(&[0, 2]), params, nll).expect("the report is told once");
            }
            let error = read(&labels(&[-100, -100]), &mean, nll).unwrap_err().to_string();
            assert!(error.contains("mean over none of 2 samples"), "{error}");
            let sum = CrossEntropyParams { reduction: Reduction::Sum, ..Default::default() };
            assert_eq!(read(&labels(&[-100, -100]), &sum, nll).unwrap(), [0.0]);
            // A row with a wrong label counts for nothing.
            let strict = CrossEntropyParams { ignore_index: None, ..each.clone() };
            let loss = x.cross_entropy(&labels(&[-100, 1]), &strict).unwrap();
            assert!(loss.to_f64_vec().unwrap_err().to_string().contains("label -100 at position 0"));
            assert_eq!(loss.to_f64_vec().unwrap()[0], 0.0);
        }
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}
