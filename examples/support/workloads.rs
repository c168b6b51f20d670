//! The workloads of `peers/README.md`: one step of each, ready to be timed.

use warpsmith::models::{Gpt, GptConfig, ResNet, ResNetConfig};
use warpsmith::nn::{Activation, Ctx, Linear, Module, Params, Sequential};
use warpsmith::ops::{AttentionParams, Conv2dParams};
use warpsmith::optim::{Adam, AdamConfig, Optimizer, Sgd, SgdConfig};
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Error, Result, Tensor};

pub const NAMES: [&str; 13] = [
    "gemm512",
    "gemm1024",
    "gemm2048",
    "mlp",
    "resnet20",
    "resnet18",
    "gpt",
    "layernorm",
    "softmax_ce",
    "batchnorm2d",
    "conv2d",
    "attention",
    "attention_causal",
];

/// One step, and what it works on.
pub struct Workload {
    /// Returns the loss of a network, 0 of an operation.
    pub step: Box<dyn FnMut() -> Result<f64>>,
    /// Floating-point operations of a product.
    pub flops: Option<f64>,
    /// Batch and trainable parameters of a network.
    pub network: Option<(usize, usize)>,
}

const DEVICE: Device = Device::Cpu;

/// Standard normal values, always the same.
struct Source(Philox);

impl Source {
    fn normal(&mut self, shape: &[usize]) -> Result<Tensor> {
        Tensor::normal(0.0, 1.0, shape, DType::F32, &DEVICE, &mut self.0)
    }

    fn below(&mut self, n: usize, shape: &[usize]) -> Result<Tensor> {
        let count = shape.iter().product();
        let values: Vec<i64> = (0..count).map(|_| warpsmith::random::below(&mut self.0, n as u64) as i64).collect();
        Tensor::from_slice(&values, shape, &DEVICE)
    }
}

pub fn workload(name: &str) -> Result<Workload> {
    let mut source = Source(Philox::new(1));
    let params = Params::new(&DEVICE, DType::F32, 1);
    let sgd = || -> Result<Box<dyn Optimizer>> {
        let config = SgdConfig { momentum: 0.9, ..SgdConfig::new(0.01) };
        Ok(Box::new(Sgd::new(params.trainable(), config)?))
    };
    if let Some(n) = name.strip_prefix("gemm").and_then(|n| n.parse::<usize>().ok()) {
        let (a, b) = (source.normal(&[n, n])?, source.normal(&[n, n])?);
        let step = Box::new(move || a.matmul(&b).map(|_| 0.0));
        return Ok(Workload { step, flops: Some(2.0 * (n as f64).powi(3)), network: None });
    }
    match name {
        "mlp" => {
            let model = Sequential::new(&params)
                .layer(|p| Linear::new(p, 784, 512))?
                .then(Activation::Relu)
                .layer(|p| Linear::new(p, 512, 256))?
                .then(Activation::Relu)
                .layer(|p| Linear::new(p, 256, 10))?;
            let (x, y) = (source.normal(&[128, 784])?, source.below(10, &[128])?);
            network(model, sgd()?, &params, x, y)
        }
        "resnet20" => {
            let model = ResNet::new(&params, &ResNetConfig::cifar(20, 3, 10)?)?;
            let (x, y) = (source.normal(&[32, 3, 32, 32])?, source.below(10, &[32])?);
            network(model, sgd()?, &params, x, y)
        }
        "resnet18" => {
            let model = ResNet::new(&params, &ResNetConfig::imagenet(18, 3, 1000)?)?;
            let (x, y) = (source.normal(&[8, 3, 64, 64])?, source.below(1000, &[8])?);
            network(model, sgd()?, &params, x, y)
        }
        "gpt" => {
            let config = GptConfig { vocabulary: 65, context: 128, layers: 4, heads: 4, width: 128, dropout: 0.0 };
            let model = Gpt::new(&params, &config)?;
            let (x, y) = (source.below(65, &[16, 128])?, source.below(65, &[16 * 128])?);
            let adamw = Box::new(Adam::new(params.trainable(), AdamConfig::adamw(3e-4))?);
            network(model, adamw, &params, x, y)
        }
        "layernorm" => {
            let inputs = [source.normal(&[4096, 768])?, constant(1.0, 768)?, constant(0.0, 768)?];
            operation(inputs, |[x, w, b]| x.layer_norm(1, Some(w), Some(b), 1e-5))
        }
        "softmax_ce" => {
            let labels = source.below(32_000, &[2048])?;
            operation([source.normal(&[2048, 32_000])?], move |[x]| x.cross_entropy(&labels, &Default::default()))
        }
        "batchnorm2d" => {
            let inputs = [source.normal(&[32, 64, 32, 32])?, constant(1.0, 64)?, constant(0.0, 64)?];
            operation(inputs, |[x, w, b]| Ok(x.batch_norm_train(Some(w), Some(b), 1e-5)?.y))
        }
        "conv2d" => {
            let kernel = source.normal(&[64, 64, 3, 3])?.affine(0.05, 0.0)?;
            let inputs = [source.normal(&[32, 64, 32, 32])?, kernel, constant(0.0, 64)?];
            let options = Conv2dParams { padding: [1, 1], ..Default::default() };
            operation(inputs, move |[x, k, b]| x.conv2d(k, Some(b), options))
        }
        "attention" | "attention_causal" => {
            let options = AttentionParams { causal: name == "attention_causal", ..Default::default() };
            let shape = [4, 8, 512, 64];
            let inputs = [source.normal(&shape)?, source.normal(&shape)?, source.normal(&shape)?];
            operation(inputs, move |[q, k, v]| q.scaled_dot_product_attention(k, v, &options))
        }
        _ => Err(Error::argument("workload", format!("{name} is none of {NAMES:?}"))),
    }
}

fn constant(value: f64, n: usize) -> Result<Tensor> {
    Tensor::full(value, [n], DType::F32, &DEVICE)
}

fn network(
    model: impl Module + 'static,
    mut optimizer: Box<dyn Optimizer>,
    params: &Params,
    x: Tensor,
    y: Tensor,
) -> Result<Workload> {
    let mut ctx = Ctx::train(1);
    let network = Some((x.dim(0)?, params.numel()));
    let step = move || {
        let logits = model.forward(&x, &mut ctx)?;
        let loss = logits.reshape([y.numel(), logits.dim(-1)?])?.cross_entropy(&y, &Default::default())?;
        // The graph holds the only other handle to the logits: their gradient may take their memory.
        drop(logits);
        optimizer.step(&loss.backward()?)?;
        loss.item::<f64>()
    };
    Ok(Workload { step: Box::new(step), flops: None, network })
}

/// Forward and backward with an all-ones gradient from above.
fn operation<const N: usize>(
    inputs: [Tensor; N],
    f: impl Fn(&[Tensor; N]) -> Result<Tensor> + 'static,
) -> Result<Workload> {
    let inputs = inputs.map(|x| x.track());
    let ones = f(&inputs)?.detach().ones_like()?;
    let step = move || {
        let gradients = f(&inputs)?.backward_with(&ones)?;
        for x in &inputs {
            if gradients.get_sparse(x).is_none() {
                return Err(Error::argument("workload", "an input got no gradient"));
            }
        }
        Ok(0.0)
    };
    Ok(Workload { step: Box::new(step), flops: None, network: None })
}
