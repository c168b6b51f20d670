//! Convolutions over one and two axes, and the transposed convolution.
//!
//! The three directions of a convolution (output, gradient of the input, gradient of the weight) are each bilinear, and
//! each one's gradients are the other two: so they are operations of each other, and second derivatives work.
//!
//! Channels last, as in PyTorch, is how a tensor lies in memory, not another order of its axes: of (N, C, H, W) with the
//! strides of a contiguous (N, H, W, C). Where x or the weight lies so, y does too, and so do the gradients.

use super::autocast;
use crate::autograd::{BackwardCtx, Gradient, Op, Saved, record};
use crate::device::Buffer;
use crate::kernels::conv::{self, ConvDesc};
use crate::kernels::window::Window;
use crate::{Error, Result, Shape, Tensor};

/// How a 2-D convolution slides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv2dParams {
    /// From one output to the next.
    pub stride: [usize; 2],
    /// Zeros on each side.
    pub padding: [usize; 2],
    /// From one tap of the kernel to the next.
    pub dilation: [usize; 2],
    /// Each group convolves its own channels.
    pub groups: usize,
}

impl Default for Conv2dParams {
    fn default() -> Self {
        Conv2dParams { stride: [1, 1], padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// How a 1-D convolution slides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conv1dParams {
    /// From one output to the next.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
    /// From one tap of the kernel to the next.
    pub dilation: usize,
    /// Each group convolves its own channels.
    pub groups: usize,
}

impl Default for Conv1dParams {
    fn default() -> Self {
        Conv1dParams { stride: 1, padding: 0, dilation: 1, groups: 1 }
    }
}

/// How a transposed 2-D convolution slides: the numbers of the convolution whose gradient it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvTranspose2dParams {
    /// From one input to the next, in the output.
    pub stride: [usize; 2],
    /// Rows and columns cut off each side of the output.
    pub padding: [usize; 2],
    /// Rows and columns added at the end of the output, less than the stride or the dilation.
    pub output_padding: [usize; 2],
    /// From one tap of the kernel to the next.
    pub dilation: [usize; 2],
    /// Each group convolves its own channels.
    pub groups: usize,
}

impl Default for ConvTranspose2dParams {
    fn default() -> Self {
        ConvTranspose2dParams { stride: [1, 1], padding: [0, 0], output_padding: [0, 0], dilation: [1, 1], groups: 1 }
    }
}

/// y = x ∗ weight + bias.
struct Forward {
    desc: ConvDesc,
    x: Saved,
    weight: Saved,
    bias: bool,
}

/// x = the transposed convolution of y, + bias.
struct Input {
    name: &'static str,
    desc: ConvDesc,
    y: Saved,
    weight: Saved,
    bias: bool,
}

/// weight = the correlation of x and y.
struct Weight {
    desc: ConvDesc,
    x: Saved,
    y: Saved,
}

/// Axes of a tensor as they lie in memory with channels last, and the way back.
const LAST: [usize; 4] = [0, 2, 3, 1];
const FIRST: [usize; 4] = [0, 3, 1, 2];

/// The tensor of an output that the family has written.
fn written(out: Buffer, shape: Shape, channels_last: bool) -> Result<Tensor> {
    let &[n, c, h, w] = shape.dims() else { unreachable!("outputs of convolutions have four axes") };
    if !channels_last {
        return Tensor::from_buffer(out, shape);
    }
    let stored = Tensor::from_buffer(out, Shape::new(&[n, h, w, c])?)?;
    Ok(stored.alias(stored.layout().permute(&FIRST)))
}

fn forward(desc: ConvDesc, x: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let shape = Shape::new(&[desc.batch, desc.channels[1], desc.output[0], desc.output[1]])?;
    let mut out = Buffer::uninit(x.device(), x.dtype(), shape.numel())?;
    let guard = bias.map(Tensor::read);
    let view = guard.as_ref().map(|g| g.view()).transpose()?;
    conv::forward(&desc, x.read().view()?, weight.read().view()?, view, &mut out)?;
    let inputs: Vec<&Tensor> = [Some(x), Some(weight), bias].into_iter().flatten().collect();
    record(written(out, shape, desc.channels_last)?, &inputs, || Forward {
        desc,
        x: Saved::input(0, x),
        weight: Saved::input(1, weight),
        bias: bias.is_some(),
    })
}

fn input(name: &'static str, desc: ConvDesc, y: &Tensor, weight: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
    let shape = Shape::new(&[desc.batch, desc.channels[0], desc.input[0], desc.input[1]])?;
    let mut out = Buffer::uninit(y.device(), y.dtype(), shape.numel())?;
    let guard = bias.map(Tensor::read);
    let view = guard.as_ref().map(|g| g.view()).transpose()?;
    conv::backward_input(&desc, y.read().view()?, weight.read().view()?, view, &mut out)?;
    let inputs: Vec<&Tensor> = [Some(y), Some(weight), bias].into_iter().flatten().collect();
    record(written(out, shape, desc.channels_last)?, &inputs, || Input {
        name,
        desc,
        y: Saved::input(0, y),
        weight: Saved::input(1, weight),
        bias: bias.is_some(),
    })
}

/// The gradient of a weight, stored as the weight is.
fn weight(desc: ConvDesc, x: &Tensor, y: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let shape = *weight.shape();
    let mut out = Buffer::uninit(x.device(), x.dtype(), shape.numel())?;
    conv::backward_weight(&desc, x.read().view()?, y.read().view()?, &mut out)?;
    let found = written(out, shape, desc.channels_last)?;
    let found = if weight.is_channels_last() || found.is_contiguous() { found } else { found.packed()? };
    record(found, &[x, y], || Weight { desc, x: Saved::input(0, x), y: Saved::input(1, y) })
}

/// The gradient of a bias per channel.
fn per_channel(grad: &Tensor) -> Result<Tensor> {
    grad.sum_keepdim(&[0, 2, 3])?.reshape([grad.dims()[1]])
}

impl Op for Forward {
    fn name(&self) -> &'static str {
        "conv2d"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (x, w) = (self.x.get(ctx)?, self.weight.get(ctx)?);
        let mut gradients = vec![
            ctx.want(0, || input("conv2d (gradient of the input)", self.desc, &grad, &w, None))?,
            ctx.want(1, || weight(self.desc, &x, &grad, &w))?,
        ];
        if self.bias {
            gradients.push(ctx.want(2, || per_channel(&grad))?);
        }
        Ok(gradients)
    }
}

impl Op for Input {
    fn name(&self) -> &'static str {
        self.name
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (y, w) = (self.y.get(ctx)?, self.weight.get(ctx)?);
        let mut gradients = vec![
            ctx.want(0, || forward(self.desc, &grad, &w, None))?,
            ctx.want(1, || weight(self.desc, &grad, &y, &w))?,
        ];
        if self.bias {
            gradients.push(ctx.want(2, || per_channel(&grad))?);
        }
        Ok(gradients)
    }
}

impl Op for Weight {
    fn name(&self) -> &'static str {
        "conv2d (gradient of the weight)"
    }
    fn backward(&self, ctx: &BackwardCtx<'_>, grad: Tensor) -> Result<Vec<Option<Gradient>>> {
        let (x, y) = (self.x.get(ctx)?, self.y.get(ctx)?);
        Ok(vec![
            ctx.want(0, || input("conv2d (gradient of the input)", self.desc, &y, &grad, None))?,
            ctx.want(1, || forward(self.desc, &x, &grad, None))?,
        ])
    }
}

fn shapes(operands: &[Option<&Tensor>]) -> Vec<Shape> {
    operands.iter().flatten().map(|t| *t.shape()).collect()
}

impl Tensor {
    /// The same value with its channels last in memory: (N, C, H, W) with the strides of a contiguous (N, H, W, C), as
    /// PyTorch's `to(memory_format=torch.channels_last)`; the tensor itself if it lies so already. Shape (N, C, H, W).
    ///
    /// Convolutions of such tensors read 16 bytes of a pixel's channels at once, and give such tensors.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor};
    /// let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], [1, 2, 1, 2], &Device::Cpu)?.channels_last()?;
    /// assert!(x.is_channels_last() && x.dims() == [1, 2, 1, 2]);
    /// assert_eq!(x.to_vec::<f32>()?, [1.0, 2.0, 3.0, 4.0]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn channels_last(&self) -> Result<Tensor> {
        if self.rank() != 4 {
            return Err(Error::shape("channels_last", "(N, C, H, W)", &[*self.shape()]));
        }
        if self.is_channels_last() {
            return Ok(self.clone());
        }
        self.permute(&LAST.map(|axis| axis as isize))?.contiguous()?.permute(&FIRST.map(|axis| axis as isize))
    }

    /// Whether the channels of (N, C, H, W) are last in memory, without gaps, and that is not the usual order, too (as it
    /// is of one channel, or of one pixel).
    pub fn is_channels_last(&self) -> bool {
        self.rank() == 4 && !self.is_contiguous() && self.layout().permute(&LAST).is_contiguous()
    }

    /// The 2-D convolution (cross-correlation) of x (N, C, H, W) with a weight of (O, C/groups, KH, KW) and a bias of
    /// (O) → (N, O, OH, OW), as PyTorch's `F.conv2d`; `groups = C` is a depthwise convolution. Float dtypes, all of one;
    /// f16 and bf16 accumulate in f32. The bias is added before the result is rounded.
    ///
    /// ```
    /// # use warpsmith::{Device, Tensor, ops::Conv2dParams};
    /// let x = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0], [1, 1, 2, 2], &Device::Cpu)?;
    /// let ones = Tensor::ones([1, 1, 3, 3], x.dtype(), &Device::Cpu)?;
    /// let same = Conv2dParams { padding: [1, 1], ..Default::default() };
    /// assert_eq!(x.conv2d(&ones, None, same)?.to_vec::<f32>()?, [10.0; 4]);
    /// # Ok::<(), warpsmith::Error>(())
    /// ```
    pub fn conv2d(&self, weight: &Tensor, bias: Option<&Tensor>, params: Conv2dParams) -> Result<Tensor> {
        if let Some(([x, w], [b])) = autocast::cast("conv2d", [self, weight], [bias])? {
            return x.conv2d(&w, b.as_ref(), params);
        }
        let Conv2dParams { stride, padding, dilation, groups } = params;
        let fits = self.rank() == 4
            && weight.rank() == 4
            && weight.dims()[1].checked_mul(groups) == Some(self.dims()[1])
            && bias.is_none_or(|b| b.dims() == &weight.dims()[..1]);
        if !fits {
            let expected = format!("x (N, C, H, W), weight (O, C/{groups}, KH, KW) and bias (O)");
            return Err(Error::shape("conv2d", expected, &shapes(&[Some(self), Some(weight), bias])));
        }
        let (x, w) = (self.dims(), weight.dims());
        let window =
            |i: usize| Window { kernel: w[2 + i], stride: stride[i], padding: padding[i], dilation: dilation[i] };
        let windows = [window(0), window(1)];
        let input = [x[2], x[3]];
        let output = [windows[0].outputs(input[0], false, "conv2d")?, windows[1].outputs(input[1], false, "conv2d")?];
        let channels_last = self.is_channels_last() || weight.is_channels_last();
        let desc = ConvDesc { batch: x[0], channels: [x[1], w[0]], groups, input, output, windows, channels_last };
        desc.check("conv2d")?;
        forward(desc, self, weight, bias)
    }

    /// The 1-D convolution of x (N, C, L) with a weight of (O, C/groups, K) and a bias of (O) → (N, O, OL); otherwise as
    /// [`conv2d`](Tensor::conv2d).
    pub fn conv1d(&self, weight: &Tensor, bias: Option<&Tensor>, params: Conv1dParams) -> Result<Tensor> {
        if let Some(([x, w], [b])) = autocast::cast("conv1d", [self, weight], [bias])? {
            return x.conv1d(&w, b.as_ref(), params);
        }
        if self.rank() != 3 || weight.rank() != 3 {
            let found = shapes(&[Some(self), Some(weight), bias]);
            return Err(Error::shape("conv1d", "x (N, C, L) and weight (O, C/groups, K)", &found));
        }
        let lift = |t: &Tensor| t.reshape([t.dims()[0], t.dims()[1], 1, t.dims()[2]]);
        let params = Conv2dParams {
            stride: [1, params.stride],
            padding: [0, params.padding],
            dilation: [1, params.dilation],
            groups: params.groups,
        };
        let y = lift(self)?.conv2d(&lift(weight)?, bias, params)?;
        y.reshape([y.dims()[0], y.dims()[1], y.dims()[3]])
    }

    /// The transposed 2-D convolution of x (N, C, H, W) with a weight of (C, O/groups, KH, KW) and a bias of (O) →
    /// (N, O, OH, OW) with OH = (H − 1) · stride − 2 · padding + dilation · (KH − 1) + output_padding + 1, as PyTorch's
    /// `F.conv_transpose2d`: the gradient of a convolution by its input. Otherwise as [`conv2d`](Tensor::conv2d).
    pub fn conv_transpose2d(
        &self,
        weight: &Tensor,
        bias: Option<&Tensor>,
        params: ConvTranspose2dParams,
    ) -> Result<Tensor> {
        const OP: &str = "conv_transpose2d";
        if let Some(([x, w], [b])) = autocast::cast(OP, [self, weight], [bias])? {
            return x.conv_transpose2d(&w, b.as_ref(), params);
        }
        let ConvTranspose2dParams { stride, padding, output_padding, dilation, groups } = params;
        let outputs = (weight.rank() == 4).then(|| weight.dims()[1].saturating_mul(groups));
        let fits = self.rank() == 4
            && weight.rank() == 4
            && weight.dims()[0] == self.dims()[1]
            && self.dims()[2..].iter().all(|&d| d > 0)
            && bias.is_none_or(|b| b.rank() == 1 && Some(b.numel()) == outputs);
        let Some(channels) = outputs.filter(|_| fits) else {
            let expected = format!("x (N, C, H, W) with H, W > 0, weight (C, O/{groups}, KH, KW) and bias (O)");
            return Err(Error::shape(OP, expected, &shapes(&[Some(self), Some(weight), bias])));
        };
        let (x, w) = (self.dims(), weight.dims());
        let mut windows = [Window { kernel: 0, stride: 0, padding: 0, dilation: 0 }; 2];
        let mut image = [0, 0];
        for i in 0..2 {
            let window = Window { kernel: w[2 + i], stride: stride[i], padding: padding[i], dilation: dilation[i] };
            window.check(OP)?;
            let full = (x[2 + i] - 1) * stride[i] + window.reach() + output_padding[i];
            let extent = full.checked_sub(2 * padding[i]).filter(|&e| e > 0);
            let Some(extent) = extent.filter(|_| output_padding[i] < stride[i].max(dilation[i])) else {
                let message = format!("{params:?} leaves no output of {full}, or pads it by a stride or more");
                return Err(Error::argument(OP, message));
            };
            (windows[i], image[i]) = (window, extent);
        }
        let output = [x[2], x[3]];
        let (input_channels, channels_last) = (x[1], self.is_channels_last() || weight.is_channels_last());
        let channels = [channels, input_channels];
        let desc = ConvDesc { batch: x[0], channels, groups, input: image, output, windows, channels_last };
        desc.check(OP)?;
        input(OP, desc, self, weight, bias)
    }
}
