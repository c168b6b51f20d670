//! Optimizers against PyTorch's update rules, written out in f64; and that a bent rule would be noticed.

#[cfg(test)]
mod support;

use crate::support::check::round;
use crate::support::{Random, devices};
use warpsmith::autograd::{Gradient, RowSparse};
use warpsmith::nn::{Init, Param, Params};
use warpsmith::optim::{
    AdaGrad, AdaGradConfig, Adam, AdamConfig, Clip, Ftrl, FtrlConfig, LossScaler, LossScalerConfig, Optimizer, RmsProp,
    RmsPropConfig, Sgd, SgdConfig, clip_grad_norm, clip_grad_value, grad_norm,
};
use warpsmith::{DType, Device, Element, Gradients, Result, Tensor, with_dtype};

type Make = dyn Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>>;

const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];
const STEPS: usize = 6;

fn tensor(values: &[f64], dims: &[usize], dtype: DType) -> Tensor {
    with_dtype!(dtype, T => {
        let values: Vec<T> = values.iter().map(|&x| <T as Element>::from_f64(x)).collect();
        Tensor::from_slice(&values, dims, &Device::Cpu).unwrap()
    })
}

/// Parameters and their gradients over several steps, rounded to a dtype.
struct Problem {
    dtype: DType,
    start: Vec<Vec<f64>>,
    gradients: Vec<Vec<Vec<f64>>>,
}

impl Problem {
    /// Sizes on both sides of the blocks (1024) and chunks (16384) that the update works in.
    fn new(dtype: DType, sizes: &[usize], random: &mut Random) -> Self {
        let mut draw = |n: usize| -> Vec<f64> {
            // Away from zero, so that Adam's quotient is well conditioned.
            (0..n)
                .map(|_| random.range(0.25, 1.5) * if random.bits() & 1 == 0 { 1.0 } else { -1.0 })
                .collect::<Vec<_>>()
        };
        let mut draw = |n: usize| draw(n).iter().map(|&x| round(x, dtype)).collect::<Vec<f64>>();
        let start = sizes.iter().map(|&n| draw(n)).collect();
        let gradients = (0..STEPS).map(|_| sizes.iter().map(|&n| draw(n)).collect()).collect();
        Problem { dtype, start, gradients }
    }

    fn params(&self) -> Vec<(String, Param)> {
        self.params_on(&Device::Cpu)
    }

    fn params_on(&self, device: &Device) -> Vec<(String, Param)> {
        let params = Params::new(device, self.dtype, 0);
        let make = |(i, v): (usize, &Vec<f64>)| {
            let value = tensor(v, &[v.len()], self.dtype).to_device(device).unwrap();
            params.param_from(&format!("p{i}"), &value).unwrap();
        };
        self.start.iter().enumerate().for_each(make);
        params.trainable()
    }

    fn gradients(&self, step: usize, params: &[(String, Param)]) -> Gradients {
        let mut out = Gradients::default();
        for ((_, p), g) in params.iter().zip(&self.gradients[step]) {
            out.set(p, tensor(g, &[g.len()], self.dtype).to_device(p.device()).unwrap()).unwrap();
        }
        out
    }

    /// On the CPU and, where it has the dtype, on a CUDA device, which must give the same bits.
    fn run(&self, make: &Make, clip: Clip) -> Vec<Vec<f64>> {
        let found = self.run_on(&Device::Cpu, make, clip);
        if self.dtype != DType::F64 {
            for gpu in devices::gpus(self.start.iter().map(|v| v.len() as u64).sum()) {
                let other = self.run_on(&gpu.device, make, clip);
                // Sums of squares have an order of their own on each device, and may turn over the factor's last bit.
                let slack = if matches!(clip, Clip::Norm(_)) { 4.0 * self.dtype.unit_roundoff() } else { 0.0 };
                for (a, b) in found.iter().flatten().zip(other.iter().flatten()) {
                    assert!((a - b).abs() <= slack * STEPS as f64 * a.abs().max(1.0), "{}: {b}, not {a}", gpu.name);
                }
            }
        }
        found
    }

    fn run_on(&self, device: &Device, make: &Make, clip: Clip) -> Vec<Vec<f64>> {
        let params = self.params_on(device);
        let mut optimizer = make(params.clone()).unwrap();
        for step in 0..STEPS {
            optimizer.step_clipped(&self.gradients(step, &params), clip).unwrap();
        }
        params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect()
    }

    /// The largest error, in units of what rounding may do: each step computes in f32 (f64) with at most 16 roundings
    /// of numbers of the size of the parameter and its update, and rounds the parameter once to its dtype. Earlier
    /// errors decay or stay.
    fn error(&self, found: &[Vec<f64>], (expected, peaks): &Course) -> f64 {
        let compute = if self.dtype == DType::F64 { f64::EPSILON } else { f32::EPSILON as f64 };
        let mut worst = 0f64;
        for ((found, expected), peaks) in found.iter().zip(expected).zip(peaks) {
            for ((f, e), peak) in found.iter().zip(expected).zip(peaks) {
                // An update is at most the difference of two values on the way.
                let scale = 2.0 * peak;
                let bound = STEPS as f64 * (16.0 * compute + self.dtype.unit_roundoff()) * scale;
                worst = worst.max(if f.is_finite() { (f - e).abs() / bound } else { f64::INFINITY });
            }
        }
        worst
    }
}

/// The values after the last step, and the largest magnitude of each on the way.
type Course = (Vec<Vec<f64>>, Vec<Vec<f64>>);

fn magnitudes(values: &[Vec<f64>]) -> Vec<Vec<f64>> {
    values.iter().map(|v| v.iter().map(|x| x.abs()).collect()).collect()
}

/// Scales and bounds as clipping does, over all parameters of a step.
fn clipped(gradients: &[Vec<f64>], clip: Clip) -> Vec<Vec<f64>> {
    let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
    let f = |g: f64| match clip {
        Clip::None => g,
        Clip::Norm(max) => g * (max / (norm + 1e-6)).min(1.0),
        Clip::Value(max) => g.clamp(-max, max),
    };
    gradients.iter().map(|v| v.iter().map(|&g| f(g)).collect()).collect()
}

/// torch.optim.SGD, as its documentation's pseudo-code has it.
fn sgd_reference(problem: &Problem, c: &SgdConfig, clip: Clip) -> Course {
    let (mut out, mut peaks) = (problem.start.clone(), magnitudes(&problem.start));
    let mut velocity: Vec<Vec<f64>> = out.iter().map(|v| vec![0.0; v.len()]).collect();
    for (t, gradients) in problem.gradients.iter().enumerate() {
        for (k, g) in clipped(gradients, clip).iter().enumerate() {
            let (p, b, peak) = (&mut out[k], &mut velocity[k], &mut peaks[k]);
            for i in 0..p.len() {
                let mut g = g[i] + c.weight_decay * p[i];
                if c.momentum != 0.0 {
                    b[i] = if t > 0 { c.momentum * b[i] + (1.0 - c.dampening) * g } else { g };
                    g = if c.nesterov { g + c.momentum * b[i] } else { b[i] };
                }
                p[i] -= c.lr * g;
                peak[i] = peak[i].max(p[i].abs());
            }
        }
    }
    (out, peaks)
}

/// torch.optim.Adam and AdamW, as their documentation's pseudo-code has them.
fn adam_reference(problem: &Problem, c: &AdamConfig, clip: Clip) -> Course {
    let (mut out, mut peaks) = (problem.start.clone(), magnitudes(&problem.start));
    let zeros: Vec<Vec<f64>> = out.iter().map(|v| vec![0.0; v.len()]).collect();
    let (mut m, mut v, mut largest) = (zeros.clone(), zeros.clone(), zeros);
    for (t, gradients) in problem.gradients.iter().enumerate() {
        let (b1, b2) = c.betas;
        let (c1, c2) = (1.0 - b1.powi(t as i32 + 1), 1.0 - b2.powi(t as i32 + 1));
        for (k, g) in clipped(gradients, clip).iter().enumerate() {
            for i in 0..g.len() {
                let p = &mut out[k][i];
                let mut g = g[i];
                if c.decoupled {
                    *p -= c.lr * c.weight_decay * *p;
                } else {
                    g += c.weight_decay * *p;
                }
                m[k][i] = b1 * m[k][i] + (1.0 - b1) * g;
                v[k][i] = b2 * v[k][i] + (1.0 - b2) * g * g;
                largest[k][i] = f64::max(largest[k][i], v[k][i]);
                let square = if c.amsgrad { largest[k][i] } else { v[k][i] };
                *p -= c.lr * (m[k][i] / c1) / ((square / c2).sqrt() + c.eps);
                peaks[k][i] = peaks[k][i].max(p.abs());
            }
        }
    }
    (out, peaks)
}

/// torch.optim.Adagrad, as its documentation's pseudo-code has it.
fn adagrad_reference(problem: &Problem, c: &AdaGradConfig) -> Course {
    let (mut out, mut peaks) = (problem.start.clone(), magnitudes(&problem.start));
    let mut sums: Vec<Vec<f64>> = out.iter().map(|v| vec![c.initial_accumulator; v.len()]).collect();
    for (t, gradients) in problem.gradients.iter().enumerate() {
        let rate = c.lr / (1.0 + t as f64 * c.lr_decay);
        for (k, g) in gradients.iter().enumerate() {
            for i in 0..g.len() {
                let p = &mut out[k][i];
                let g = g[i] + c.weight_decay * *p;
                sums[k][i] += g * g;
                *p -= rate * g / (sums[k][i].sqrt() + c.eps);
                peaks[k][i] = peaks[k][i].max(p.abs());
            }
        }
    }
    (out, peaks)
}

/// torch.optim.RMSprop, as its documentation's pseudo-code has it.
fn rmsprop_reference(problem: &Problem, c: &RmsPropConfig) -> Course {
    let (mut out, mut peaks) = (problem.start.clone(), magnitudes(&problem.start));
    let zeros: Vec<Vec<f64>> = out.iter().map(|v| vec![0.0; v.len()]).collect();
    let (mut squares, mut means, mut velocity) = (zeros.clone(), zeros.clone(), zeros);
    for gradients in &problem.gradients {
        for (k, g) in gradients.iter().enumerate() {
            for i in 0..g.len() {
                let p = &mut out[k][i];
                let g = g[i] + c.weight_decay * *p;
                squares[k][i] = c.alpha * squares[k][i] + (1.0 - c.alpha) * g * g;
                let mut square = squares[k][i];
                if c.centered {
                    means[k][i] = c.alpha * means[k][i] + (1.0 - c.alpha) * g;
                    square -= means[k][i] * means[k][i];
                }
                let direction = g / (square.sqrt() + c.eps);
                velocity[k][i] = c.momentum * velocity[k][i] + direction;
                *p -= c.lr * if c.momentum > 0.0 { velocity[k][i] } else { direction };
                peaks[k][i] = peaks[k][i].max(p.abs());
            }
        }
    }
    (out, peaks)
}

/// keras.optimizers.Ftrl with a learning rate power of −0.5, as its documentation has it.
fn ftrl_reference(problem: &Problem, c: &FtrlConfig) -> Course {
    let (mut out, mut peaks) = (problem.start.clone(), magnitudes(&problem.start));
    let mut sums: Vec<Vec<f64>> = out.iter().map(|v| vec![c.initial_accumulator; v.len()]).collect();
    let mut linear: Vec<Vec<f64>> = out.iter().map(|v| vec![0.0; v.len()]).collect();
    for gradients in &problem.gradients {
        for (k, g) in gradients.iter().enumerate() {
            for i in 0..g.len() {
                let p = &mut out[k][i];
                let sum = sums[k][i] + g[i] * g[i];
                linear[k][i] += g[i] - (sum.sqrt() - sums[k][i].sqrt()) / c.lr * *p;
                sums[k][i] = sum;
                let z = linear[k][i];
                let quadratic = sum.sqrt() / c.lr + 2.0 * (c.l2 + c.beta / (2.0 * c.lr));
                *p = if z.abs() > c.l1 { (z.signum() * c.l1 - z) / quadratic } else { 0.0 };
                // Sums of gradients cancel: the error is of their size.
                peaks[k][i] = peaks[k][i].max(p.abs()).max(STEPS as f64 * 1.5 / quadratic).max(STEPS as f64);
            }
        }
    }
    (out, peaks)
}

fn adagrad(c: AdaGradConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(AdaGrad::new(p, c)?))
}

fn rmsprop(c: RmsPropConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(RmsProp::new(p, c)?))
}

fn ftrl(c: FtrlConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(Ftrl::new(p, c)?))
}

fn sgd(c: SgdConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(Sgd::new(p, c)?))
}

fn adam(c: AdamConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(Adam::new(p, c)?))
}

fn sgd_follows_its_rule() {
    let base = SgdConfig::new(0.1);
    let configs = [
        base,
        SgdConfig { weight_decay: 0.3, ..base },
        SgdConfig { momentum: 0.9, ..base },
        SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 0.1, ..base },
        SgdConfig { momentum: 0.8, dampening: 0.4, weight_decay: 0.1, ..base },
    ];
    let mut random = Random::fresh("sgd");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 1024, 1025, 7], vec![16_391, 3, 40_000]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&sgd(c), Clip::None);
                let error = problem.error(&found, &sgd_reference(&problem, &c, Clip::None));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                // Any bent constant would have been noticed.
                for bent in [
                    SgdConfig { lr: c.lr * 1.1, ..c },
                    SgdConfig { momentum: c.momentum + 0.1, ..c },
                    SgdConfig { weight_decay: c.weight_decay + 0.1, ..c },
                    SgdConfig { dampening: c.dampening + 0.1, momentum: c.momentum.max(0.1), ..c },
                    SgdConfig { nesterov: !c.nesterov, momentum: c.momentum.max(0.1), ..c },
                ] {
                    let error = problem.error(&found, &sgd_reference(&problem, &bent, Clip::None));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
}

fn adam_and_adamw_follow_their_rules() {
    let configs = [
        AdamConfig::adam(0.05),
        AdamConfig { weight_decay: 0.2, ..AdamConfig::adam(0.05) },
        AdamConfig { weight_decay: 0.2, ..AdamConfig::adamw(0.05) },
        AdamConfig { amsgrad: true, betas: (0.7, 0.8), eps: 0.01, ..AdamConfig::adam(0.05) },
    ];
    let mut random = Random::fresh("adam");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 1024, 1025, 7], vec![16_391, 3]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&adam(c), Clip::None);
                let error = problem.error(&found, &adam_reference(&problem, &c, Clip::None));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                for bent in [
                    AdamConfig { lr: c.lr * 1.5, ..c },
                    AdamConfig { betas: (c.betas.0 - 0.3, c.betas.1), ..c },
                    AdamConfig { betas: (c.betas.0, c.betas.1 - 0.3), ..c },
                    AdamConfig { eps: c.eps + 0.3, ..c },
                    AdamConfig { weight_decay: c.weight_decay + 0.6, ..c },
                ] {
                    let error = problem.error(&found, &adam_reference(&problem, &bent, Clip::None));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
    // In exact enough arithmetic the variants are told apart too.
    let problem = Problem::new(DType::F64, &[50], &mut random);
    for c in configs {
        let found = problem.run(&adam(c), Clip::None);
        let c = AdamConfig { weight_decay: c.weight_decay.max(0.01), ..c };
        let other = AdamConfig { decoupled: !c.decoupled, ..c };
        assert!(problem.error(&found, &adam_reference(&problem, &other, Clip::None)) > 1.0, "{c:?}");
        if c.amsgrad {
            let other = AdamConfig { amsgrad: false, ..c };
            assert!(problem.error(&found, &adam_reference(&problem, &other, Clip::None)) > 1.0, "{c:?}");
        }
    }
}

fn adagrad_follows_its_rule() {
    let base = AdaGradConfig::new(0.1);
    let configs = [
        base,
        AdaGradConfig { lr_decay: 0.3, weight_decay: 0.2, ..base },
        AdaGradConfig { initial_accumulator: 0.5, eps: 0.01, ..base },
    ];
    let mut random = Random::fresh("adagrad");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 7, 4097]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&adagrad(c), Clip::None);
                let error = problem.error(&found, &adagrad_reference(&problem, &c));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                for bent in [
                    AdaGradConfig { lr: c.lr * 1.5, ..c },
                    AdaGradConfig { lr_decay: c.lr_decay + 0.5, ..c },
                    AdaGradConfig { weight_decay: c.weight_decay + 0.6, ..c },
                    AdaGradConfig { initial_accumulator: c.initial_accumulator + 1.0, ..c },
                    AdaGradConfig { eps: c.eps + 0.5, ..c },
                ] {
                    let error = problem.error(&found, &adagrad_reference(&problem, &bent));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
}

fn rmsprop_follows_its_rule() {
    let base = RmsPropConfig { alpha: 0.8, eps: 0.1, ..RmsPropConfig::new(0.05) };
    let configs = [
        base,
        RmsPropConfig { momentum: 0.5, weight_decay: 0.1, ..base },
        RmsPropConfig { centered: true, ..base },
        RmsPropConfig { centered: true, momentum: 0.5, ..base },
    ];
    let mut random = Random::fresh("rmsprop");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 7, 4097]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&rmsprop(c), Clip::None);
                let error = problem.error(&found, &rmsprop_reference(&problem, &c));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                for bent in [
                    RmsPropConfig { lr: c.lr * 1.5, ..c },
                    RmsPropConfig { alpha: c.alpha - 0.3, ..c },
                    RmsPropConfig { eps: c.eps + 0.5, ..c },
                    RmsPropConfig { weight_decay: c.weight_decay + 0.6, ..c },
                    RmsPropConfig { momentum: c.momentum + 0.4, ..c },
                    RmsPropConfig { centered: !c.centered, ..c },
                ] {
                    let error = problem.error(&found, &rmsprop_reference(&problem, &bent));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
}

fn ftrl_follows_its_rule() {
    let base = FtrlConfig::new(0.5);
    let configs = [
        base,
        FtrlConfig { l1: 0.5, l2: 0.3, ..base },
        FtrlConfig { beta: 1.0, l1: 0.2, initial_accumulator: 0.0, ..base },
    ];
    let mut random = Random::fresh("ftrl");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 7, 4097]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&ftrl(c), Clip::None);
                let error = problem.error(&found, &ftrl_reference(&problem, &c));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                for bent in [
                    FtrlConfig { lr: c.lr * 1.5, ..c },
                    FtrlConfig { l1: c.l1 + 1.0, ..c },
                    FtrlConfig { l2: c.l2 + 2.0, ..c },
                    FtrlConfig { beta: c.beta + 2.0, ..c },
                    FtrlConfig { initial_accumulator: c.initial_accumulator + 2.0, ..c },
                ] {
                    let error = problem.error(&found, &ftrl_reference(&problem, &bent));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
    // What is pulled by less than λ₁ is exactly 0, and at a rate of 0 nothing moves.
    for device in devices::devices(5) {
        let problem = Problem::new(DType::F32, &[100], &mut random);
        let params = problem.params_on(&device);
        let mut optimizer = Ftrl::new(params.clone(), FtrlConfig { l1: 100.0, ..base }).unwrap();
        optimizer.set_lr(0.0);
        optimizer.step(&problem.gradients(0, &params)).unwrap();
        assert_eq!(params[0].1.to_f64_vec().unwrap(), problem.start[0]);
        optimizer.set_lr(0.5);
        optimizer.step(&problem.gradients(0, &params)).unwrap();
        assert!(params[0].1.to_f64_vec().unwrap().iter().all(|&p| p == 0.0));
    }
}

fn the_norm_stays_on_the_device_and_spans_dtypes_and_the_range_of_f32() {
    let mut random = Random::fresh("norm");
    for device in devices::devices(7) {
        let params = Params::new(&device, DType::F32, 0);
        let (mut gradients, mut squares) = (Gradients::default(), 0.0);
        // Beyond 1.8e19 the square is beyond f32; the factor and the norm are not.
        for (i, (dtype, n, large)) in
            [(DType::F32, 5000, 1e25), (DType::BF16, 4097, 3e24), (DType::F16, 33, 1.0), (DType::F32, 0, 1.0)]
                .into_iter()
                .enumerate()
        {
            let values: Vec<f64> = (0..n).map(|_| round(random.range(-1.0, 1.0) * large, dtype)).collect();
            let zeros = Tensor::zeros(n, dtype, &device).unwrap();
            let p = params.param_from(&format!("p{i}"), &zeros).unwrap();
            squares += values.iter().map(|g| g * g).sum::<f64>();
            gradients.set(&p, tensor(&values, &[n], dtype).to_device(&device).unwrap()).unwrap();
        }
        let params = params.trainable();
        let norm = grad_norm(&gradients, &params).unwrap();
        assert_eq!((norm.dims(), norm.dtype(), norm.device()), (&[][..], DType::F32, &device));
        let exact = squares.sqrt();
        assert!((norm.item::<f64>().unwrap() / exact - 1.0).abs() < 32.0 * f32::EPSILON as f64, "{norm:?} {exact}");
        let mut optimizer = Sgd::new(params.clone(), SgdConfig::new(1.0)).unwrap();
        let told = optimizer.step_clipped(&gradients, Clip::Norm(2.0)).unwrap().unwrap();
        assert_eq!(told.item::<f32>().unwrap(), norm.item::<f32>().unwrap());
        let moved: f64 = params.iter().flat_map(|(_, p)| p.to_f64_vec().unwrap()).map(|p| p * p).sum();
        // Rounded to bf16 at worst.
        assert!((moved.sqrt() / 2.0 - 1.0).abs() < DType::BF16.unit_roundoff(), "{moved}");
        assert!(optimizer.step_clipped(&gradients, Clip::None).unwrap().is_none());
    }
}

fn without_a_loss_scale_what_is_not_a_number_reaches_the_parameters() {
    for device in devices::devices(8) {
        for (bad, clip) in [(f32::NAN, Clip::Norm(1.0)), (f32::NAN, Clip::None), (f32::INFINITY, Clip::Norm(1.0))] {
            let params = Params::new(&device, DType::F32, 0);
            let p = params.param("p", [3], Init::ONES).unwrap();
            let mut gradients = Gradients::default();
            gradients.set(&p, Tensor::from_slice(&[1.0, bad, 2.0], 3, &device).unwrap()).unwrap();
            Sgd::new(params.trainable(), SgdConfig::new(0.5)).unwrap().step_clipped(&gradients, clip).unwrap();
            let found = p.to_vec::<f32>().unwrap();
            // PyTorch's: max / NaN is NaN for all, max / ∞ is 0 (and NaN for what is infinite).
            let expected = match clip {
                Clip::Norm(_) if bad.is_nan() => [f32::NAN; 3],
                Clip::Norm(_) => [1.0, f32::NAN, 1.0],
                _ => [0.5, f32::NAN, 0.0],
            };
            let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
            assert!(found.iter().zip(&expected).all(same), "{bad} {clip:?}: {found:?}");
        }
    }
}

fn two_halves_make_a_step_and_rates_change_between_launches() {
    let mut random = Random::fresh("halves");
    let problem = Problem::new(DType::BF16, &[5000, 3], &mut random);
    for device in devices::devices(9) {
        let run = |halves: bool| {
            let params = problem.params_on(&device);
            let gradients: Vec<_> = (0..STEPS).map(|step| problem.gradients(step, &params)).collect();
            let mut optimizer = Adam::new(params.clone(), AdamConfig::adamw(0.1)).unwrap();
            assert!(optimizer.launch(&gradients[0], None).is_err(), "nothing is prepared");
            for (step, gradients) in gradients.iter().enumerate() {
                optimizer.set_lr(0.1 / (1 + step) as f64);
                let clip = Clip::Norm(1.0 + step as f64);
                if halves {
                    optimizer.prepare(clip).unwrap();
                    optimizer.launch(gradients, None).unwrap();
                } else {
                    optimizer.step_clipped(gradients, clip).unwrap();
                }
            }
            params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(true), run(false));
    }
}

/// Steps with an overflow in some of them, against a run in which these did not happen.
fn a_loss_scaler_skips_overflows_backs_off_and_grows() {
    let mut random = Random::fresh("scaler");
    let config = LossScalerConfig { initial: 8.0, growth: 2.0, backoff: 0.5, interval: 3 };
    let overflows = [1, 2, 6];
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let problem = Problem::new(dtype, &[4100, 3], &mut random);
        for device in devices::devices(dtype as u64) {
            for clip in [Clip::None, Clip::Norm(0.5), Clip::Value(0.7)] {
                let (params, plain) = (problem.params_on(&device), problem.params_on(&device));
                let mut optimizer = Adam::new(params.clone(), AdamConfig::adamw(0.1)).unwrap();
                let mut other = Adam::new(plain.clone(), AdamConfig::adamw(0.1)).unwrap();
                let mut scaler = LossScaler::with_config(&device, config).unwrap();
                let (mut scale, mut good, mut skipped) = (8.0, 0, 0);
                for step in 0..14 {
                    assert_eq!(scaler.factor().unwrap().item::<f64>().unwrap(), scale, "step {step}");
                    let exact = problem.gradients(step % STEPS, &plain);
                    let mut gradients = Gradients::default();
                    for ((_, p), (_, q)) in params.iter().zip(&plain) {
                        // By powers of two: exact.
                        gradients.set(p, exact.expect(q).unwrap().affine(scale, 0.0).unwrap()).unwrap();
                    }
                    if overflows.contains(&step) {
                        let mut values = gradients.expect(&params[1].1).unwrap().to_f64_vec().unwrap();
                        values[2] = if step == 1 { f64::INFINITY } else { f64::NAN };
                        let bad = tensor(&values, &[3], dtype).to_device(&device).unwrap();
                        gradients.set(&params[1].1, bad).unwrap();
                        (scale, good, skipped) = (scale / 2.0, 0, skipped + 1);
                        scaler.step_clipped(&mut optimizer, &gradients, clip).unwrap();
                    } else {
                        let norm = scaler.step_clipped(&mut optimizer, &gradients, clip).unwrap();
                        let expected = other.step_clipped(&exact, clip).unwrap();
                        let read = |norm: Option<Tensor>| norm.map(|norm| norm.item::<f64>().unwrap());
                        assert_eq!(read(norm), read(expected), "{dtype} {clip:?} step {step}");
                        good += 1;
                        if good == 3 {
                            (scale, good) = (scale * 2.0, 0);
                        }
                    }
                }
                assert_eq!(scaler.skipped().unwrap().item::<i64>().unwrap(), skipped);
                let (a, b) = (optimizer.state_dict().unwrap(), other.state_dict().unwrap());
                for (name, value) in a.iter() {
                    let expected = b.get(name).unwrap().to_f64_vec().unwrap();
                    assert_eq!(value.to_f64_vec().unwrap(), expected, "{dtype} {clip:?} {name}");
                }
                for ((_, p), (_, q)) in params.iter().zip(&plain) {
                    assert_eq!(p.to_f64_vec().unwrap(), q.to_f64_vec().unwrap(), "{dtype} {clip:?}");
                }
                // A saved scaler goes on where it was, in the same memory.
                let mut second = LossScaler::with_config(&device, config).unwrap();
                second.load_state_dict(&scaler.state_dict().unwrap(), "a file").unwrap();
                for scaler in [&mut scaler, &mut second] {
                    for _ in 0..2 {
                        scaler.step(&mut optimizer, &problem.gradients(0, &params)).unwrap();
                    }
                }
                let state = |scaler: &LossScaler| scaler.state_dict().unwrap();
                for name in ["scale", "steps"] {
                    let [a, b] = [&scaler, &second].map(|s| state(s).get(name).unwrap().to_f64_vec().unwrap());
                    assert_eq!(a, b, "{name}");
                }
                assert!(second.load_state_dict(&other.state_dict().unwrap(), "a file").is_err());
            }
        }
    }
    for c in [
        LossScalerConfig { initial: 0.0, ..config },
        LossScalerConfig { growth: 0.5, ..config },
        LossScalerConfig { backoff: 1.5, ..config },
        LossScalerConfig { interval: 0, ..config },
    ] {
        assert!(LossScaler::with_config(&Device::Cpu, c).is_err(), "{c:?}");
    }
}

/// Updates far below the spacing of the parameter's dtype add up in f32, and are lost without it.
fn master_weights_keep_what_rounding_would_lose() {
    for dtype in [DType::F16, DType::BF16] {
        for device in devices::devices(10) {
            let run = |master_weights: bool, optimizer: &dyn Fn(Vec<(String, Param)>, bool) -> Box<dyn Optimizer>| {
                let params = Params::new(&device, dtype, 0);
                let p = params.param("p", [4099], Init::ONES).unwrap();
                let mut optimizer = optimizer(params.trainable(), master_weights);
                let mut gradients = Gradients::default();
                gradients.set(&p, Tensor::full(1.0, 4099, dtype, &device).unwrap()).unwrap();
                for _ in 0..32 {
                    optimizer.step(&gradients).unwrap();
                }
                (p.to_f64_vec().unwrap(), optimizer.state_dict().unwrap())
            };
            // 32 steps of a sixteenth of the spacing below 1.
            let step = dtype.unit_roundoff() / 16.0;
            let sgd = |params, master_weights| -> Box<dyn Optimizer> {
                Box::new(Sgd::new(params, SgdConfig { master_weights, ..SgdConfig::new(step) }).unwrap())
            };
            let adam = |params, master_weights| -> Box<dyn Optimizer> {
                let c = AdamConfig { master_weights, eps: 0.0, ..AdamConfig::adam(step) };
                Box::new(Adam::new(params, c).unwrap())
            };
            let both: [&dyn Fn(_, _) -> Box<dyn Optimizer>; 2] = [&sgd, &adam];
            for make in both {
                let (kept, state) = run(true, make);
                assert!(kept.iter().all(|&p| p == 1.0 - 32.0 * step), "{dtype}: {}", kept[0]);
                let master = state.get("p.master").unwrap();
                assert_eq!((master.dtype(), master.dims()), (DType::F32, &[4099][..]));
                let (lost, state) = run(false, make);
                assert!(lost.iter().all(|&p| p == 1.0), "{dtype}: {}", lost[0]);
                assert!(state.get("p.master").is_none());
            }
        }
    }
}

#[test]
fn pytorch_defaults() {
    let sgd = SgdConfig::default();
    assert_eq!((sgd.lr, sgd.momentum, sgd.dampening, sgd.weight_decay, sgd.nesterov), (1e-3, 0.0, 0.0, 0.0, false));
    let adam = AdamConfig::default();
    assert_eq!((adam.lr, adam.betas, adam.eps, adam.weight_decay), (1e-3, (0.9, 0.999), 1e-8, 0.0));
    let adamw = AdamConfig::adamw(1e-3);
    assert!(adamw.weight_decay == 0.01 && adamw.decoupled && !adam.decoupled && !adam.amsgrad);
}

fn clipping_on_the_way_and_beforehand_agree_with_the_definition() {
    let mut random = Random::fresh("clip");
    for dtype in DTYPES {
        let problem = Problem::new(dtype, &[1000, 17_000, 1], &mut random);
        let c = SgdConfig { momentum: 0.9, ..SgdConfig::new(0.1) };
        for clip in [Clip::Norm(3.0), Clip::Norm(1e9), Clip::Value(0.7)] {
            let expected = sgd_reference(&problem, &c, clip);
            let on_the_way = problem.run(&sgd(c), clip);
            assert!(problem.error(&on_the_way, &expected) <= 1.0, "{dtype} {clip:?}");
            let params = problem.params();
            let mut optimizer = sgd(c)(params.clone()).unwrap();
            for step in 0..STEPS {
                let mut gradients = problem.gradients(step, &params);
                match clip {
                    Clip::Norm(max) => {
                        let norm = clip_grad_norm(&mut gradients, &params, max).unwrap().item::<f64>().unwrap();
                        let squares = problem.gradients[step].iter().flatten().map(|g| g * g);
                        let exact = squares.sum::<f64>().sqrt();
                        // Lanes of at most 64 f32 squares: their relative error is far below 64 roundoffs.
                        assert!((norm / exact - 1.0).abs() < 64.0 * f32::EPSILON as f64);
                        let after = grad_norm(&gradients, &params).unwrap().item::<f64>().unwrap();
                        assert!(after <= max.min(norm) * (1.0 + 2.0 * dtype.unit_roundoff() + 1e-5));
                    }
                    Clip::Value(max) => clip_grad_value(&mut gradients, &params, max).unwrap(),
                    Clip::None => {}
                }
                optimizer.step(&gradients).unwrap();
            }
            let beforehand: Vec<_> = params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect();
            // Rewritten gradients are rounded to their dtype once more, and the velocity adds up to ten of them.
            let slack = 10.0;
            assert!(problem.error(&beforehand, &expected) <= slack, "{dtype} {clip:?}");
        }
    }
    let problem = Problem::new(DType::F32, &[3], &mut random);
    let params = problem.params();
    let mut gradients = problem.gradients(0, &params);
    assert!(clip_grad_norm(&mut gradients, &params, -1.0).is_err());
    assert!(clip_grad_value(&mut gradients, &params, f64::NAN).is_err());
}

fn absent_rows_of_a_sparse_gradient_count_as_zero() {
    let mut random = Random::fresh("rows");
    for (count, width) in [(50, 3), (7, 1), (9, 1025), (300, 17), (4, 1)] {
        let used: Vec<usize> = (0..count).filter(|i| i % 3 == 1).collect();
        for dtype in DTYPES {
            let mut problem = Problem::new(dtype, &[count * width], &mut random);
            for g in &mut problem.gradients {
                g[0].chunks_mut(width).enumerate().filter(|(i, _)| !used.contains(i)).for_each(|(_, r)| r.fill(0.0));
            }
            let c = SgdConfig::new(0.1);
            let momentum = SgdConfig { momentum: 0.9, weight_decay: 0.1, ..c };
            let a = AdamConfig::adamw(0.01);
            let falling = AdaGradConfig { lr_decay: 0.1, ..AdaGradConfig::new(0.1) };
            let makes: [Box<Make>; 7] = [
                Box::new(sgd(c)),
                Box::new(sgd(momentum)),
                Box::new(adam(a)),
                Box::new(adagrad(AdaGradConfig::new(0.1))),
                Box::new(adagrad(falling)),
                Box::new(rmsprop(RmsPropConfig { momentum: 0.5, ..RmsPropConfig::new(0.01) })),
                Box::new(ftrl(FtrlConfig::new(0.1))),
            ];
            let devices = if dtype == DType::F64 { vec![Device::Cpu] } else { devices::devices(count as u64) };
            for ((k, make), device) in makes.iter().enumerate().flat_map(|m| devices.iter().map(move |d| (m, d))) {
                let on = |t: Tensor| t.to_device(device).unwrap();
                let params = Params::new(device, dtype, 0);
                let p = params.param_from("p", &on(tensor(&problem.start[0], &[count, width], dtype))).unwrap();
                let mut sparse = make(params.trainable()).unwrap();
                let dense = problem.params_on(device);
                let mut other = make(dense.clone()).unwrap();
                for step in 0..STEPS {
                    let g = &problem.gradients[step][0];
                    let rows: Vec<f64> = used.iter().flat_map(|&i| g[i * width..(i + 1) * width].to_vec()).collect();
                    let indices: Vec<i64> = used.iter().map(|&i| i as i64).collect();
                    let mut gradients = Gradients::default();
                    let rows = RowSparse {
                        indices: Tensor::from_slice(&indices, [used.len()], device).unwrap(),
                        rows: on(tensor(&rows, &[used.len(), width], dtype)),
                        shape: *p.shape(),
                    };
                    gradients.set(&p, Gradient::Rows(Box::new(rows))).unwrap();
                    sparse.step(&gradients).unwrap();
                    other.step(&problem.gradients(step, &dense)).unwrap();
                }
                let expected = dense[0].1.to_f64_vec().unwrap();
                assert_eq!(p.to_f64_vec().unwrap(), expected, "{count}×{width} {dtype} {k} on {device}");
            }
        }
    }
}

#[test]
fn rows_out_of_range_or_out_of_order_are_errors() {
    let params = Params::new(&Device::Cpu, DType::F32, 0);
    let p = params.param("p", [4, 2], Init::ONES).unwrap();
    let before = p.to_vec::<f32>().unwrap();
    let mut optimizer = Sgd::new(params.trainable(), SgdConfig::new(0.1)).unwrap();
    for indices in [[0i64, 4], [-1, 1], [2, 1], [1, 1]] {
        let rows = RowSparse {
            indices: Tensor::from_slice(&indices, [2], &Device::Cpu).unwrap(),
            rows: tensor(&[1.0; 4], &[2, 2], DType::F32),
            shape: *p.shape(),
        };
        let mut gradients = Gradients::default();
        gradients.set(&p, Gradient::Rows(Box::new(rows))).unwrap();
        assert!(optimizer.step(&gradients).unwrap_err().to_string().contains("rows"), "{indices:?}");
    }
    assert_eq!(p.to_vec::<f32>().unwrap(), before);
}

#[test]
fn strided_and_expanded_gradients_and_views_of_the_parameter_itself() {
    for dtype in DTYPES {
        let params = Params::new(&Device::Cpu, dtype, 0);
        let values: Vec<f64> = (0..3 * 1100).map(|i| round((i % 97) as f64 / 16.0, dtype)).collect();
        let p = params.param_from("p", &tensor(&values, &[3, 1100], dtype)).unwrap();
        let q = params.param_from("q", &tensor(&[1.0; 12], &[3, 4], dtype)).unwrap();
        let r = params.param_from("r", &tensor(&[0.5, 2.0], &[2], dtype)).unwrap();
        let mut gradients = Gradients::default();
        let transposed = tensor(&values, &[1100, 3], dtype).transpose(0, 1).unwrap();
        gradients.set(&p, transposed).unwrap();
        gradients.set(&q, tensor(&[1.0, 2.0, 3.0], &[3, 1], dtype).expand([3, 4]).unwrap()).unwrap();
        gradients.set(&r, r.detach()).unwrap();
        Sgd::new(params.trainable(), SgdConfig::new(1.0)).unwrap().step(&gradients).unwrap();
        let found = p.to_f64_vec().unwrap();
        for (i, f) in found.iter().enumerate() {
            let expected = round(values[i] - values[i % 1100 * 3 + i / 1100], dtype);
            assert_eq!(*f, expected, "{dtype} {i}");
        }
        let expected: Vec<f64> = (0..12).map(|i| 1.0 - (1 + i / 4) as f64).collect();
        assert_eq!(q.to_f64_vec().unwrap(), expected);
        assert_eq!(r.to_f64_vec().unwrap(), [0.0, 0.0]);
    }
}

#[test]
fn groups_have_their_options_and_keep_the_ratio_of_their_rates() {
    let mut random = Random::fresh("groups");
    let problem = Problem::new(DType::F64, &[20, 30], &mut random);
    let params = problem.params();
    let (a, b) = (SgdConfig::new(0.1), SgdConfig { momentum: 0.5, weight_decay: 0.1, ..SgdConfig::new(0.02) });
    let groups = vec![(vec![params[0].clone()], a), (vec![params[1].clone()], b)];
    let mut optimizer = Sgd::with_groups(groups).unwrap();
    optimizer.set_lr(0.0);
    optimizer.set_lr(0.3);
    assert_eq!(optimizer.lr(), 0.3);
    for step in 0..STEPS {
        optimizer.step(&problem.gradients(step, &params)).unwrap();
    }
    let found: Vec<_> = params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect();
    let of = |c: SgdConfig| sgd_reference(&problem, &c, Clip::None);
    let ((first, peaks), (second, other_peaks)) = (of(SgdConfig { lr: 0.3, ..a }), of(SgdConfig { lr: 0.06, ..b }));
    let expected = (vec![first[0].clone(), second[1].clone()], vec![peaks[0].clone(), other_peaks[1].clone()]);
    assert!(problem.error(&found, &expected) <= 1.0);
}

#[test]
fn a_parameter_without_a_gradient_stays_and_starts_late() {
    let mut random = Random::fresh("late");
    let problem = Problem::new(DType::F64, &[5, 5], &mut random);
    let params = problem.params();
    let c = AdamConfig::adam(0.1);
    let mut optimizer = Adam::new(params.clone(), c).unwrap();
    let mut first = Gradients::default();
    first.set(&params[0].1, tensor(&problem.gradients[0][0], &[5], DType::F64)).unwrap();
    optimizer.step(&first).unwrap();
    assert_eq!(params[1].1.to_f64_vec().unwrap(), problem.start[1]);
    let mut second = Gradients::default();
    second.set(&params[1].1, tensor(&problem.gradients[0][1], &[5], DType::F64)).unwrap();
    optimizer.step(&second).unwrap();
    // Each has had one update, with the bias correction of a first one.
    let one = Problem { dtype: DType::F64, start: problem.start.clone(), gradients: problem.gradients[..1].to_vec() };
    let found: Vec<_> = params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect();
    assert!(one.error(&found, &adam_reference(&one, &c, Clip::None)) <= 1.0);
}

fn a_resumed_run_continues_bit_for_bit() {
    let mut random = Random::fresh("resume");
    for dtype in DTYPES {
        let problem = Problem::new(dtype, &[100, 2000], &mut random);
        let amsgrad = AdamConfig { amsgrad: true, ..AdamConfig::adamw(0.01) };
        let momentum = SgdConfig { momentum: 0.9, ..SgdConfig::new(0.1) };
        let rms = RmsPropConfig { centered: true, momentum: 0.5, ..RmsPropConfig::new(0.01) };
        let makes: [Box<Make>; 7] = [
            Box::new(adagrad(AdaGradConfig { lr_decay: 0.1, ..AdaGradConfig::new(0.1) })),
            Box::new(rmsprop(rms)),
            Box::new(ftrl(FtrlConfig::new(0.1))),
            Box::new(sgd(SgdConfig::new(0.1))),
            Box::new(sgd(momentum)),
            Box::new(adam(AdamConfig::adam(0.01))),
            Box::new(adam(amsgrad)),
        ];
        let devices = if dtype == DType::F64 { vec![Device::Cpu] } else { devices::devices(dtype as u64) };
        for ((k, make), device) in makes.iter().enumerate().flat_map(|m| devices.iter().map(move |d| (m, d))) {
            let through = problem.run_on(device, make, Clip::None);
            let params = problem.params_on(device);
            let mut first = make(params.clone()).unwrap();
            for step in 0..STEPS / 2 {
                first.step(&problem.gradients(step, &params)).unwrap();
            }
            let saved = first.state_dict().unwrap();
            // The state is a copy: later steps of the first optimizer must not reach it.
            drop(first);
            let mut second = make(params.clone()).unwrap();
            second.load_state_dict(&saved, "the state").unwrap();
            for step in STEPS / 2..STEPS {
                second.step(&problem.gradients(step, &params)).unwrap();
            }
            let found: Vec<_> = params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect();
            assert_eq!(found, through, "{dtype} {k} on {device}");
        }
    }
}

#[test]
fn the_state_of_another_optimizer_or_model_is_an_error_and_changes_nothing() {
    let mut random = Random::fresh("foreign");
    let problem = Problem::new(DType::F32, &[10, 20], &mut random);
    let params = problem.params();
    let momentum = SgdConfig { momentum: 0.9, ..SgdConfig::new(0.1) };
    let mut optimizer = Sgd::new(params.clone(), momentum).unwrap();
    optimizer.step(&problem.gradients(0, &params)).unwrap();
    let before = optimizer.state_dict().unwrap();
    let other = Problem::new(DType::F32, &[10, 21], &mut random);
    let others = other.params();
    let mut foreign = Sgd::new(others.clone(), momentum).unwrap();
    foreign.step(&other.gradients(0, &others)).unwrap();
    let mut adam = Adam::new(params.clone(), AdamConfig::adam(0.1)).unwrap();
    adam.step(&problem.gradients(0, &params)).unwrap();
    for (state, part) in [(foreign.state_dict().unwrap(), "p1.velocity"), (adam.state_dict().unwrap(), "p0.exp_avg")] {
        let message = optimizer.load_state_dict(&state, "a file").unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("a file"), "{message}");
        for (name, value) in optimizer.state_dict().unwrap().iter() {
            assert_eq!(value.to_f64_vec().unwrap(), before.get(name).unwrap().to_f64_vec().unwrap(), "{name}");
        }
    }
}

#[test]
fn senseless_options_are_errors() {
    let params = || {
        let params = Params::new(&Device::Cpu, DType::F32, 0);
        params.param("p", [2], Init::ONES).unwrap();
        params.trainable()
    };
    let base = SgdConfig::new(0.1);
    for c in [
        SgdConfig { lr: -1.0, ..base },
        SgdConfig { lr: f64::NAN, ..base },
        SgdConfig { momentum: -0.5, ..base },
        SgdConfig { nesterov: true, ..base },
        SgdConfig { nesterov: true, momentum: 0.9, dampening: 0.1, ..base },
    ] {
        assert!(Sgd::new(params(), c).is_err(), "{c:?}");
    }
    let base = AdamConfig::adam(0.1);
    for c in [AdamConfig { betas: (1.0, 0.9), ..base }, AdamConfig { eps: -1.0, ..base }] {
        assert!(Adam::new(params(), c).is_err(), "{c:?}");
    }
    assert!(Sgd::new(vec![], SgdConfig::new(0.1)).is_err());
    let twice = [params(), params()].concat();
    assert!(Sgd::new(twice, SgdConfig::new(0.1)).is_err());
}

crate::support::device_checks!(
    sgd_follows_its_rule,
    adam_and_adamw_follow_their_rules,
    adagrad_follows_its_rule,
    rmsprop_follows_its_rule,
    ftrl_follows_its_rule,
    clipping_on_the_way_and_beforehand_agree_with_the_definition,
    absent_rows_of_a_sparse_gradient_count_as_zero,
    a_resumed_run_continues_bit_for_bit,
    the_norm_stays_on_the_device_and_spans_dtypes_and_the_range_of_f32,
    without_a_loss_scale_what_is_not_a_number_reaches_the_parameters,
    two_halves_make_a_step_and_rates_change_between_launches,
    a_loss_scaler_skips_overflows_backs_off_and_grows,
    master_weights_keep_what_rounding_would_lose,
);
