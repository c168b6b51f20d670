//! The update rules in f64, and the optimizers that they are of.

use crate::support::check::round;
use crate::support::{Random, devices};
use warpsmith::nn::{Param, Params};
use warpsmith::optim::{
    AdaGrad, AdaGradConfig, Adam, AdamConfig, Clip, Ftrl, FtrlConfig, Lion, LionConfig, Optimizer, RmsProp,
    RmsPropConfig, Sgd, SgdConfig,
};
use warpsmith::{DType, Device, Element, Gradients, Result, Tensor, with_dtype};

pub(super) type Make = dyn Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>>;

pub(super) const DTYPES: [DType; 4] = [DType::F64, DType::F32, DType::F16, DType::BF16];
pub(super) const STEPS: usize = 6;

pub(super) fn tensor(values: &[f64], dims: &[usize], dtype: DType) -> Tensor {
    with_dtype!(dtype, T => {
        let values: Vec<T> = values.iter().map(|&x| <T as Element>::from_f64(x)).collect();
        Tensor::from_slice(&values, dims, &Device::Cpu).unwrap()
    })
}

/// Parameters and their gradients over several steps, rounded to a dtype.
pub(super) struct Problem {
    pub(super) dtype: DType,
    pub(super) start: Vec<Vec<f64>>,
    pub(super) gradients: Vec<Vec<Vec<f64>>>,
}

impl Problem {
    /// Sizes on both sides of the blocks (1024) and chunks (16384) that the update works in.
    pub(super) fn new(dtype: DType, sizes: &[usize], random: &mut Random) -> Self {
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

    pub(super) fn params(&self) -> Vec<(String, Param)> {
        self.params_on(&Device::Cpu)
    }

    pub(super) fn params_on(&self, device: &Device) -> Vec<(String, Param)> {
        let params = Params::new(device, self.dtype, 0);
        let make = |(i, v): (usize, &Vec<f64>)| {
            let value = tensor(v, &[v.len()], self.dtype).to_device(device).unwrap();
            params.param_from(&format!("p{i}"), &value).unwrap();
        };
        self.start.iter().enumerate().for_each(make);
        params.trainable()
    }

    pub(super) fn gradients(&self, step: usize, params: &[(String, Param)]) -> Gradients {
        let mut out = Gradients::default();
        for ((_, p), g) in params.iter().zip(&self.gradients[step]) {
            out.set(p, tensor(g, &[g.len()], self.dtype).to_device(p.device()).unwrap()).unwrap();
        }
        out
    }

    /// On the CPU and, where it has the dtype, on a CUDA device, which must give the same bits.
    pub(super) fn run(&self, make: &Make, clip: Clip) -> Vec<Vec<f64>> {
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

    pub(super) fn run_on(&self, device: &Device, make: &Make, clip: Clip) -> Vec<Vec<f64>> {
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
    pub(super) fn error(&self, found: &[Vec<f64>], (expected, peaks): &Course) -> f64 {
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
pub(super) type Course = (Vec<Vec<f64>>, Vec<Vec<f64>>);

pub(super) fn magnitudes(values: &[Vec<f64>]) -> Vec<Vec<f64>> {
    values.iter().map(|v| v.iter().map(|x| x.abs()).collect()).collect()
}

/// Scales and bounds as clipping does, over all parameters of a step.
pub(super) fn clipped(gradients: &[Vec<f64>], clip: Clip) -> Vec<Vec<f64>> {
    let norm = gradients.iter().flatten().map(|g| g * g).sum::<f64>().sqrt();
    let f = |g: f64| match clip {
        Clip::None => g,
        Clip::Norm(max) => g * (max / (norm + 1e-6)).min(1.0),
        Clip::Value(max) => g.clamp(-max, max),
    };
    gradients.iter().map(|v| v.iter().map(|&g| f(g)).collect()).collect()
}

/// torch.optim.SGD, as its documentation's pseudo-code has it.
pub(super) fn sgd_reference(problem: &Problem, c: &SgdConfig, clip: Clip) -> Course {
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
pub(super) fn adam_reference(problem: &Problem, c: &AdamConfig, clip: Clip) -> Course {
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
pub(super) fn adagrad_reference(problem: &Problem, c: &AdaGradConfig) -> Course {
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
pub(super) fn rmsprop_reference(problem: &Problem, c: &RmsPropConfig) -> Course {
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
pub(super) fn ftrl_reference(problem: &Problem, c: &FtrlConfig) -> Course {
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

/// Algorithm 2 of the paper.
pub(super) fn lion_reference(problem: &Problem, c: &LionConfig) -> Course {
    let (mut out, mut peaks) = (problem.start.clone(), magnitudes(&problem.start));
    let mut means: Vec<Vec<f64>> = out.iter().map(|v| vec![0.0; v.len()]).collect();
    for gradients in &problem.gradients {
        for (k, g) in gradients.iter().enumerate() {
            for i in 0..g.len() {
                let (p, m, (b1, b2)) = (&mut out[k][i], &mut means[k][i], c.betas);
                let direction = b1 * *m + (1.0 - b1) * g[i];
                *p -= c.lr * (direction.partial_cmp(&0.0).map_or(0.0, |o| o as i8 as f64) + c.weight_decay * *p);
                *m = b2 * *m + (1.0 - b2) * g[i];
                peaks[k][i] = peaks[k][i].max(p.abs());
                // So near to 0, rounding decides the sign.
                if direction != 0.0 && direction.abs() < 1e-6 {
                    peaks[k][i] = f64::INFINITY;
                }
            }
        }
    }
    (out, peaks)
}

pub(super) fn lion(c: LionConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(Lion::new(p, c)?))
}

pub(super) fn adagrad(c: AdaGradConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(AdaGrad::new(p, c)?))
}

pub(super) fn rmsprop(c: RmsPropConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(RmsProp::new(p, c)?))
}

pub(super) fn ftrl(c: FtrlConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(Ftrl::new(p, c)?))
}

pub(super) fn sgd(c: SgdConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(Sgd::new(p, c)?))
}

pub(super) fn adam(c: AdamConfig) -> impl Fn(Vec<(String, Param)>) -> Result<Box<dyn Optimizer>> {
    move |p| Ok(Box::new(Adam::new(p, c)?))
}
