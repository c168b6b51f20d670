//! Pooling over the last one or two axes: maximum, average, adaptive average.

use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record, record_opaque};
use crate::device::Buffer;
use crate::kernels::pool::{self, Divisor, PoolDesc, Windows};
use crate::kernels::window::Window;
use crate::{DType, Error, Result, Shape, Tensor};

/// The window of a 2-D pool. PyTorch's stride default is the kernel: [`Pool2dParams::new`] sets it so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool2dParams {
    /// Height and width of the window.
    pub kernel: [usize; 2],
    /// From one window to the next.
    pub stride: [usize; 2],
    /// Positions added on each side (at most half the kernel): −∞ for a maximum, zeros for an average.
    pub padding: [usize; 2],
    /// From one position of the window to the next (maximum only).
    pub dilation: [usize; 2],
    /// Whether a last window may reach past the padding.
    pub ceil_mode: bool,
    /// Whether an average counts the padding.
    pub count_include_pad: bool,
    /// What an average divides by instead of the number of positions.
    pub divisor: Option<usize>,
}

impl Default for Pool2dParams {
    fn default() -> Self {
        Pool2dParams::new([1, 1])
    }
}

impl Pool2dParams {
    /// Windows side by side, without padding.
    pub fn new(kernel: [usize; 2]) -> Self {
        Pool2dParams {
            kernel,
            stride: kernel,
            padding: [0, 0],
            dilation: [1, 1],
            ceil_mode: false,
            count_include_pad: true,
            divisor: None,
        }
    }
}

/// The window of a 1-D pool; as [`Pool2dParams`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool1dParams {
    /// Length of the window.
    pub kernel: usize,
    /// From one window to the next.
    pub stride: usize,
    /// Positions added on each side (at most half the kernel): −∞ for a maximum, zeros for an average.
    pub padding: usize,
    /// From one position of the window to the next (maximum only).
    pub dilation: usize,
    /// Whether a last window may reach past the padding.
    pub ceil_mode: bool,
    /// Whether an average counts the padding.
    pub count_include_pad: bool,
}

impl Default for Pool1dParams {
    fn default() -> Self {
        Pool1dParams::new(1)
    }
}

impl Pool1dParams {
    /// Windows side by side, without padding.
    pub fn new(kernel: usize) -> Self {
        let (stride, padding, dilation) = (kernel, 0, 1);
        Pool1dParams { kernel, stride, padding, dilation, ceil_mode: false, count_include_pad: true }
    }

    fn flat(&self) -> Pool2dParams {
        Pool2dParams {
            kernel: [1, self.kernel],
            stride: [1, self.stride],
            padding: [0, self.padding],
            dilation: [1, self.dilation],
            ceil_mode: self.ceil_mode,
            count_include_pad: self.count_include_pad,
            divisor: None,
        }
    }
}

struct MaxPool {
    desc: PoolDesc,
    shape: Shape,
    positions: Saved,
}

impl Op for MaxPool {
    fn name(&self) -> &'static str {
        "max_pool"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let positions = self.positions.get(ctx)?;
        let packed = grad.packed()?;
        let mut out = Buffer::uninit(grad.device(), grad.dtype(), self.shape.numel())?;
        pool::max_backward(&self.desc, packed.read().view()?, positions.read().view()?, &mut out)?;
        let out = Tensor::from_buffer(out, self.shape)?;
        Ok(vec![Some(record_opaque("backward of max_pool", out, &[&grad])?.into())])
    }
}

struct AveragePool {
    desc: PoolDesc,
    divisor: Divisor,
    shape: Shape,
}

impl Op for AveragePool {
    fn name(&self) -> &'static str {
        "avg_pool"
    }
    fn backward(&self, _: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let packed = grad.packed()?;
        let mut out = Buffer::uninit(grad.device(), grad.dtype(), self.shape.numel())?;
        pool::average_backward(&self.desc, self.divisor, packed.read().view()?, &mut out)?;
        let out = Tensor::from_buffer(out, self.shape)?;
        Ok(vec![Some(record_opaque("backward of avg_pool", out, &[&grad])?.into())])
    }
}

/// Sliding windows over the last two axes of (C, H, W) or (N, C, H, W).
fn sliding(op: &'static str, x: &Tensor, params: &Pool2dParams) -> Result<PoolDesc> {
    let input = last_two(op, x)?;
    let window = |i: usize| Window {
        kernel: params.kernel[i],
        stride: params.stride[i],
        padding: params.padding[i],
        dilation: params.dilation[i],
    };
    let windows = [window(0), window(1)];
    let mut output = [0, 0];
    for i in 0..2 {
        output[i] = windows[i].outputs(input[i], params.ceil_mode, op)?;
        if windows[i].padding > windows[i].reach() / 2 {
            let message = format!("padding {:?} is more than half of the kernel {:?}", params.padding, params.kernel);
            return Err(Error::argument(op, message));
        }
    }
    let planes = x.dims()[..x.rank() - 2].iter().product();
    Ok(PoolDesc { planes, input, output, windows: Windows::Sliding(windows) })
}

fn last_two(op: &'static str, x: &Tensor) -> Result<[usize; 2]> {
    match *x.dims() {
        [_, h, w] | [_, _, h, w] if h > 0 && w > 0 => Ok([h, w]),
        _ => Err(Error::shape(op, "(C, H, W) or (N, C, H, W) with H and W of at least 1", &[*x.shape()])),
    }
}

fn pooled(x: &Tensor, [h, w]: [usize; 2]) -> Shape {
    x.shape().with_dim(x.rank() - 2, h).with_dim(x.rank() - 1, w)
}

fn average(x: &Tensor, desc: PoolDesc, divisor: Divisor) -> Result<Tensor> {
    let shape = pooled(x, desc.output);
    let mut out = Buffer::uninit(x.device(), x.dtype(), shape.numel())?;
    pool::average(&desc, divisor, x.packed()?.read().view()?, &mut out)?;
    record(Tensor::from_buffer(out, shape)?, &[x], || AveragePool { desc, divisor, shape: *x.shape() })
}

/// (C, L) or (N, C, L) with an axis of extent 1 before the last.
fn with_height(op: &'static str, x: &Tensor) -> Result<Tensor> {
    if !matches!(x.rank(), 2 | 3) {
        return Err(Error::shape(op, "(C, L) or (N, C, L)", &[*x.shape()]));
    }
    let mut dims = x.dims().to_vec();
    dims.insert(dims.len() - 1, 1);
    x.reshape(&dims)
}

fn without_height(x: &Tensor) -> Result<Tensor> {
    let mut dims = x.dims().to_vec();
    dims.remove(dims.len() - 2);
    x.reshape(&dims)
}

impl Tensor {
    /// The maximum of each window over the last two axes of (C, H, W) or (N, C, H, W), as PyTorch's `max_pool2d`. The
    /// gradient goes to the first maximum of a window. Float dtypes.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor, ops::Pool2dParams};
    /// let x = Tensor::from_slice(&[1f32, 5.0, 2.0, 4.0], [1, 2, 2], &Device::Cpu)?;
    /// assert_eq!(x.max_pool2d(Pool2dParams::new([2, 2]))?.to_vec::<f32>()?, [5.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn max_pool2d(&self, params: Pool2dParams) -> Result<Tensor> {
        Ok(self.max_pool(params, DType::U32)?.0)
    }

    /// [`max_pool2d`](Tensor::max_pool2d), and where each maximum lies in its plane: row · W + column, as i64.
    pub fn max_pool2d_with_indices(&self, params: Pool2dParams) -> Result<(Tensor, Tensor)> {
        let (_, positions) = self.detach().max_pool(params, DType::I64)?;
        Ok((self.max_pool2d(params)?, positions))
    }

    fn max_pool(&self, params: Pool2dParams, index: DType) -> Result<(Tensor, Tensor)> {
        let desc = sliding("max_pool", self, &params)?;
        let shape = pooled(self, desc.output);
        let mut out = Buffer::uninit(self.device(), self.dtype(), shape.numel())?;
        let mut positions = Buffer::uninit(self.device(), index, shape.numel())?;
        pool::max(&desc, self.packed()?.read().view()?, &mut out, &mut positions)?;
        let positions = Tensor::from_buffer(positions, shape)?;
        let out = record(Tensor::from_buffer(out, shape)?, &[self], || MaxPool {
            desc,
            shape: *self.shape(),
            positions: Saved::constant(&positions),
        })?;
        Ok((out, positions))
    }

    /// The average of each window over the last two axes of (C, H, W) or (N, C, H, W), as PyTorch's `avg_pool2d`:
    /// padding counts unless `count_include_pad` is false. Float dtypes; dilation must be 1.
    pub fn avg_pool2d(&self, params: Pool2dParams) -> Result<Tensor> {
        if params.dilation != [1, 1] || params.divisor == Some(0) {
            let message = format!("dilation must be 1 and the divisor not 0, got {params:?}");
            return Err(Error::argument("avg_pool", message));
        }
        let inside = if params.count_include_pad { Divisor::Padded } else { Divisor::Inside };
        average(self, sliding("avg_pool", self, &params)?, params.divisor.map_or(inside, Divisor::Fixed))
    }

    /// Averages over windows that cover the last two axes of (C, H, W) or (N, C, H, W) in `output` rows and columns, as
    /// PyTorch's `adaptive_avg_pool2d`: output `i` of `n` averages positions ⌊i·len/n⌋ to ⌈(i+1)·len/n⌉. Float dtypes.
    pub fn adaptive_avg_pool2d(&self, output: [usize; 2]) -> Result<Tensor> {
        let input = last_two("adaptive_avg_pool", self)?;
        if output.contains(&0) {
            return Err(Error::argument("adaptive_avg_pool", format!("an output of {output:?} is empty")));
        }
        let planes = self.dims()[..self.rank() - 2].iter().product();
        average(self, PoolDesc { planes, input, output, windows: Windows::Adaptive }, Divisor::Inside)
    }

    /// [`max_pool2d`](Tensor::max_pool2d) over the last axis of (C, L) or (N, C, L).
    pub fn max_pool1d(&self, params: Pool1dParams) -> Result<Tensor> {
        without_height(&with_height("max_pool1d", self)?.max_pool2d(params.flat())?)
    }

    /// [`avg_pool2d`](Tensor::avg_pool2d) over the last axis of (C, L) or (N, C, L).
    pub fn avg_pool1d(&self, params: Pool1dParams) -> Result<Tensor> {
        without_height(&with_height("avg_pool1d", self)?.avg_pool2d(params.flat())?)
    }

    /// [`adaptive_avg_pool2d`](Tensor::adaptive_avg_pool2d) over the last axis of (C, L) or (N, C, L).
    pub fn adaptive_avg_pool1d(&self, output: usize) -> Result<Tensor> {
        without_height(&with_height("adaptive_avg_pool1d", self)?.adaptive_avg_pool2d([1, output])?)
    }
}
