//! Tensors of random numbers, from a [`Philox`].

use crate::autograd::record_opaque;
use crate::device::Buffer;
use crate::kernels::random::{self as kernel, Distribution};
use crate::random::{Philox, permutation};
use crate::{DType, Device, Error, IntoShape, Result, Shape, Tensor};
use rand_core::Rng;

fn draw(d: Distribution, shape: impl IntoShape, dtype: DType, device: &Device, rng: &mut Philox) -> Result<Tensor> {
    let shape = shape.into_shape()?;
    let mut out = Buffer::uninit(device, dtype, shape.numel())?;
    let first = rng.state().block;
    kernel::fill(d, rng.key(), first, &mut out)?;
    // Only now: a refused call leaves the generator as it was.
    rng.reserve(d.blocks(shape.numel(), dtype));
    Tensor::from_buffer(out, shape)
}

impl Tensor {
    /// Uniform in `low..high`; float dtypes. The same bits on every device.
    pub fn uniform(
        low: f64,
        high: f64,
        shape: impl IntoShape,
        dtype: DType,
        device: &Device,
        rng: &mut Philox,
    ) -> Result<Tensor> {
        draw(Distribution::Uniform { low, high }, shape, dtype, device, rng)
    }

    /// Normal with this mean and standard deviation (Box & Muller 1958); float dtypes. The same bits on every device.
    pub fn normal(
        mean: f64,
        std: f64,
        shape: impl IntoShape,
        dtype: DType,
        device: &Device,
        rng: &mut Philox,
    ) -> Result<Tensor> {
        draw(Distribution::Normal { mean, std }, shape, dtype, device, rng)
    }

    /// Gamma with shape `alpha` and scale `theta` (Marsaglia & Tsang 2000); float dtypes. The same bits on every device.
    pub fn gamma(
        alpha: f64,
        theta: f64,
        shape: impl IntoShape,
        dtype: DType,
        device: &Device,
        rng: &mut Philox,
    ) -> Result<Tensor> {
        draw(Distribution::Gamma { shape: alpha, scale: theta }, shape, dtype, device, rng)
    }

    /// 1 with probability `p` (to a multiple of 2⁻³²), else 0; float dtypes. The same bits on every device.
    pub fn bernoulli(p: f64, shape: impl IntoShape, dtype: DType, device: &Device, rng: &mut Philox) -> Result<Tensor> {
        draw(Distribution::Bernoulli { p }, shape, dtype, device, rng)
    }

    /// 1 with each element's own value as its probability, else 0; float dtypes, no gradient.
    pub fn sample_bernoulli(&self, rng: &mut Philox) -> Result<Tensor> {
        let mut out = Buffer::uninit(self.device(), self.dtype(), self.numel())?;
        let blocks = Distribution::Bernoulli { p: 0.0 }.blocks(self.numel(), self.dtype());
        kernel::bernoulli(self.read().view()?, rng.key(), rng.state().block, &mut out)?;
        rng.reserve(blocks);
        record_opaque("sample_bernoulli", Tensor::from_buffer(out, *self.shape())?, &[self])
    }

    /// `samples` indices drawn in proportion to weights of shape (N) or (R, N): i64 of shape (samples) or (R, samples).
    /// Weights need not sum to 1 but must be finite and at least 0, with one above 0 in each row; without `replacement`
    /// no index repeats within a row. Integer prefix sums, so the same on every device.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor, random::Philox};
    /// let weights = Tensor::from_slice(&[0f32, 1.0, 0.0, 3.0], [4], &Device::Cpu)?;
    /// let drawn = weights.multinomial(100, true, &mut Philox::new(0))?.to_vec::<i64>()?;
    /// assert!(drawn.iter().all(|i| [1, 3].contains(i)));
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn multinomial(&self, samples: usize, replacement: bool, rng: &mut Philox) -> Result<Tensor> {
        let (rows, shape): (Tensor, Shape) = match *self.dims() {
            [n] => (self.detach().reshape([1, n])?, [samples].into_shape()?),
            [r, _] => (self.detach(), [r, samples].into_shape()?),
            _ => return Err(Error::shape("multinomial", "weights of shape (N) or (R, N)", &[*self.shape()])),
        };
        let mut out = Buffer::uninit(self.device(), DType::I64, shape.numel())?;
        kernel::multinomial(rows.read().view()?, samples, replacement, rng.key(), rng.state().block, &mut out)?;
        rng.reserve(kernel::multinomial_blocks(rows.dims()[0], samples));
        Tensor::from_buffer(out, shape)
    }

    /// 0..n in a uniformly random order, as i64, by any generator of the `rand` crates.
    pub fn permutation(n: usize, device: &Device, rng: &mut (impl Rng + ?Sized)) -> Result<Tensor> {
        let order: Vec<i64> = permutation(n, rng).into_iter().map(|i| i as i64).collect();
        Tensor::from_slice(&order, n, device)
    }
}
