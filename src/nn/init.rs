//! Initial values, as PyTorch's `torch.nn.init` defines them, drawn from any generator of the `rand` family.

use crate::{DType, Device, Element, Error, IntoShape, Result, Shape, Tensor, with_dtype};
use rand_core::Rng;

/// How a parameter begins. `fan_in` of a weight (out, in, kernel…) is in · kernel elements, `fan_out` out · kernel
/// elements.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Init {
    /// One value.
    Constant(f64),
    /// Uniform in [low, high).
    Uniform {
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
    },
    /// Normal.
    Normal {
        /// The mean.
        mean: f64,
        /// The standard deviation.
        std: f64,
    },
    /// Normal, redrawn until inside [low, high].
    TruncNormal {
        /// The mean before truncation.
        mean: f64,
        /// The standard deviation before truncation.
        std: f64,
        /// The lower end.
        low: f64,
        /// The upper end.
        high: f64,
    },
    /// Uniform with variance 2 / ((1 + a²) fan_in), where `a` is the leaky slope of the rectifier that follows (He et
    /// al. 2015). PyTorch's default for linear and convolution weights has a = √5, which is ±1/√fan_in.
    KaimingUniform {
        /// The slope for negative values of the rectifier that follows.
        a: f64,
    },
    /// Normal with variance 2 / fan_out: PyTorch's `kaiming_normal_(mode="fan_out", nonlinearity="relu")`, as its
    /// residual networks use.
    KaimingNormalFanOut,
    /// Normal with variance 2 / ((1 + a²) fan_in).
    KaimingNormal {
        /// The slope for negative values of the rectifier that follows.
        a: f64,
    },
    /// Uniform with variance gain² · 2 / (fan_in + fan_out) (Glorot and Bengio 2010).
    XavierUniform {
        /// The factor.
        gain: f64,
    },
    /// Normal with variance gain² · 2 / (fan_in + fan_out).
    XavierNormal {
        /// The factor.
        gain: f64,
    },
    /// Rows (or, where there are more rows than columns, columns) that are orthonormal times gain (Saxe et al. 2013).
    Orthogonal {
        /// The factor.
        gain: f64,
    },
}

impl Init {
    /// Zeros.
    pub const ZEROS: Init = Init::Constant(0.0);
    /// Ones.
    pub const ONES: Init = Init::Constant(1.0);
    /// PyTorch's default for the weights of linear layers and convolutions.
    pub const DEFAULT_WEIGHT: Init = Init::KaimingUniform { a: 2.23606797749979 };
    /// PyTorch's default for embeddings.
    pub const STANDARD_NORMAL: Init = Init::Normal { mean: 0.0, std: 1.0 };

    /// PyTorch's default for the bias beside a weight of this shape: uniform ± 1/√fan_in.
    pub fn default_bias(weight: impl IntoShape) -> Result<Init> {
        let (fan_in, _) = fans(&weight.into_shape()?)?;
        let bound = if fan_in == 0.0 { 0.0 } else { 1.0 / fan_in.sqrt() };
        Ok(Init::Uniform { low: -bound, high: bound })
    }

    /// A tensor of these values, rounded to `dtype`.
    pub fn tensor<R: Rng + ?Sized>(
        &self,
        shape: impl IntoShape,
        dtype: DType,
        device: &Device,
        rng: &mut R,
    ) -> Result<Tensor> {
        let shape = shape.into_shape()?;
        if let Init::Constant(value) = self {
            return Tensor::full(*value, shape, dtype, device);
        }
        let values = self.values(&shape, rng)?;
        with_dtype!(dtype, T => {
            let values: Vec<T> = values.into_iter().map(<T as Element>::from_f64).collect();
            Tensor::from_slice(&values, shape, device)
        })
    }

    fn values<R: Rng + ?Sized>(&self, shape: &Shape, rng: &mut R) -> Result<Vec<f64>> {
        let n = shape.numel();
        let symmetric = |bound: f64, rng: &mut R| (0..n).map(|_| bound * (2.0 * unit(rng) - 1.0)).collect();
        Ok(match *self {
            Init::Constant(value) => vec![value; n],
            Init::Uniform { low, high } => (0..n).map(|_| low + (high - low) * unit(rng)).collect(),
            Init::Normal { mean, std } => normals(n, rng, |z| mean + std * z),
            Init::TruncNormal { mean, std, low, high } => truncated(n, mean, std, low, high, rng)?,
            Init::KaimingUniform { a } => symmetric((6.0 / ((1.0 + a * a) * fans(shape)?.0)).sqrt(), rng),
            Init::KaimingNormal { a } => {
                let std = (2.0 / ((1.0 + a * a) * fans(shape)?.0)).sqrt();
                normals(n, rng, |z| std * z)
            }
            Init::KaimingNormalFanOut => {
                let std = (2.0 / fans(shape)?.1).sqrt();
                normals(n, rng, |z| std * z)
            }
            Init::XavierUniform { gain } => {
                let (fan_in, fan_out) = fans(shape)?;
                symmetric(gain * (6.0 / (fan_in + fan_out)).sqrt(), rng)
            }
            Init::XavierNormal { gain } => {
                let (fan_in, fan_out) = fans(shape)?;
                let std = gain * (2.0 / (fan_in + fan_out)).sqrt();
                normals(n, rng, |z| std * z)
            }
            Init::Orthogonal { gain } => orthogonal(shape, gain, rng)?,
        })
    }
}

/// fan_in and fan_out of a weight (out, in, kernel…).
fn fans(shape: &Shape) -> Result<(f64, f64)> {
    let [out, input, kernel @ ..] = shape.dims() else {
        return Err(Error::shape("init", "a weight of at least two axes (out, in, …)", &[*shape]));
    };
    let kernel = kernel.iter().product::<usize>();
    Ok(((input * kernel) as f64, (out * kernel) as f64))
}

/// Uniform in [0, 1), 53 bits.
fn unit<R: Rng + ?Sized>(rng: &mut R) -> f64 {
    (rng.next_u64() >> 11) as f64 / (1u64 << 53) as f64
}

/// Box and Muller (1958).
fn normals<R: Rng + ?Sized>(n: usize, rng: &mut R, f: impl Fn(f64) -> f64) -> Vec<f64> {
    let mut out = Vec::with_capacity(n + 1);
    while out.len() < n {
        let radius = (-2.0 * (1.0 - unit(rng)).ln()).sqrt();
        let (sin, cos) = (std::f64::consts::TAU * unit(rng)).sin_cos();
        out.push(f(radius * cos));
        out.push(f(radius * sin));
    }
    out.truncate(n);
    out
}

/// By rejection: of normals where the interval holds the mean and is wide, else of uniforms under the density.
fn truncated<R: Rng + ?Sized>(n: usize, mean: f64, std: f64, low: f64, high: f64, rng: &mut R) -> Result<Vec<f64>> {
    // Written so that NaN is refused too.
    if !(low < high && std > 0.0 && low.is_finite() && high.is_finite() && mean.is_finite()) {
        let message = format!("truncated normal: mean {mean}, std {std} on [{low}, {high}] is not a distribution");
        return Err(Error::argument("init", message));
    }
    let wide = (low..=high).contains(&mean) && high - low >= 2.0 * std;
    let nearest = mean.clamp(low, high);
    let energy = |x: f64| ((x - mean) / std).powi(2) / 2.0;
    let draw = |rng: &mut R| loop {
        if wide {
            let x = normals(1, rng, |z| mean + std * z)[0];
            if (low..=high).contains(&x) {
                break x;
            }
        } else {
            let x = low + (high - low) * unit(rng);
            if unit(rng) <= (energy(nearest) - energy(x)).exp() {
                break x;
            }
        }
    };
    Ok((0..n).map(|_| draw(rng)).collect())
}

/// Modified Gram-Schmidt, run twice ("twice is enough": Giraud et al. 2005), on normal vectors.
fn orthogonal<R: Rng + ?Sized>(shape: &Shape, gain: f64, rng: &mut R) -> Result<Vec<f64>> {
    let [rows, rest @ ..] = shape.dims() else {
        return Err(Error::shape("init", "a weight of at least two axes", &[*shape]));
    };
    let (rows, columns) = (*rows, rest.iter().product::<usize>());
    let (count, length) = (rows.min(columns), rows.max(columns));
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut v = normals(length, rng, |z| z);
        for _ in 0..2 {
            for b in &basis {
                let dot: f64 = v.iter().zip(b).map(|(x, y)| x * y).sum();
                v.iter_mut().zip(b).for_each(|(x, y)| *x -= dot * y);
            }
        }
        let norm = v.iter().map(|x| x * x).sum::<f64>().sqrt();
        // A draw inside the span of the others has probability zero; drawn again if rounding makes one.
        if norm > 1e-8 {
            v.iter_mut().for_each(|x| *x /= norm);
            basis.push(v);
        }
    }
    let mut out = vec![0.0; rows * columns];
    for (i, v) in basis.iter().enumerate() {
        for (j, x) in v.iter().enumerate() {
            out[if rows <= columns { i * columns + j } else { j * columns + i }] = gain * x;
        }
    }
    Ok(out)
}
