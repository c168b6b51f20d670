//! Convolution over two axes and its gradients; strides, padding, dilation, groups.
//!
//! As in PyTorch, "convolution" is cross-correlation. Shapes: x (N, C, H, W), weight (O, C/groups, KH, KW),
//! y (N, O, OH, OW). A 1-D convolution has H = 1; a transposed convolution's forward is [`backward_input`] of the
//! convolution it transposes.
//!
//! On CUDA devices (`kernels/conv.cu`) convolutions are matrix products that gather their windows while they load tiles,
//! f32 on the ordinary cores, f16 and bf16 on the tensor cores; [`plan::gpu`] chooses the route. Views of other strides
//! are copied first. Channels last ([`ConvDesc::channels_last`]) is an order of memory, not of axes: there the channels of
//! a pixel are read by 16 bytes (`kernels/conv_nhwc.cu`), and a 1×1 convolution is a product of two matrices.

mod correlate;
mod cpu;
mod cuda;
mod im2col;
pub mod plan;
mod planes;
mod weight;

use crate::device::{Buffer, Memory, View};
use crate::kernels::elementwise::copy;
use crate::kernels::window::Window;
use crate::kernels::{mixed_devices, unsupported};
use crate::{DType, Error, Layout, Result, Shape, with_float};

/// The shapes of a convolution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConvDesc {
    /// Images.
    pub batch: usize,
    /// Channels of x and of y.
    pub channels: [usize; 2],
    /// Each group convolves its own channels of x into its own channels of y.
    pub groups: usize,
    /// H and W of x.
    pub input: [usize; 2],
    /// H and W of y.
    pub output: [usize; 2],
    /// The sliding window along H and W.
    pub windows: [Window; 2],
    /// Whether outputs are written with the channels last: y and x's gradient as (N, H, W, C), the weight's gradient as
    /// (O, KH, KW, C/groups). Operands whose views (of four axes, N, C, H, W or O, C/groups, KH, KW) lie so in memory are
    /// then read in place on CUDA devices, but by depthwise convolutions.
    pub channels_last: bool,
}

const FLOATS: &str = "f32, f16, bf16, f64";

impl ConvDesc {
    /// Checks that the shapes fit together.
    pub fn check(&self, op: &'static str) -> Result<()> {
        let ConvDesc { channels: [c, o], groups, input, output, windows, .. } = *self;
        if groups == 0 || !c.is_multiple_of(groups) || !o.is_multiple_of(groups) {
            let message = format!("{c} input and {o} output channels do not divide into {groups} groups");
            return Err(Error::argument(op, message));
        }
        for axis in 0..2 {
            // Fewer are allowed: a transposed convolution may pad its output by up to a dilation.
            if windows[axis].outputs(input[axis], false, op)? < output[axis] {
                let message = format!("{:?} over {} does not give {}", windows[axis], input[axis], output[axis]);
                return Err(Error::argument(op, message));
            }
        }
        Ok(())
    }

    /// Elements of x.
    pub fn x_len(&self) -> usize {
        self.batch * self.channels[0] * self.input[0] * self.input[1]
    }

    /// Elements of y.
    pub fn y_len(&self) -> usize {
        self.batch * self.channels[1] * self.output[0] * self.output[1]
    }

    /// Elements of the weight.
    pub fn weight_len(&self) -> usize {
        self.channels[1] * self.terms()
    }

    /// Products per output: C/groups · KH · KW.
    pub fn terms(&self) -> usize {
        self.channels[0] / self.groups * self.windows[0].kernel * self.windows[1].kernel
    }

    /// Positions of an output image.
    fn pixels(&self) -> usize {
        self.output[0] * self.output[1]
    }
}

/// Which tensor a call computes from the other two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Direction {
    Forward = 0,
    Input = 1,
    Weight = 2,
}

/// y from x and the weight, with a bias per output channel. Views of any strides, one float dtype.
pub fn forward(desc: &ConvDesc, x: View<'_>, weight: View<'_>, bias: Option<View<'_>>, y: &mut Buffer) -> Result<()> {
    run(Direction::Forward, desc, (x, desc.x_len()), (weight, desc.weight_len()), bias, (y, desc.y_len()))
}

/// The gradient of x from those of y and the weight: the transposed convolution, with a bias per channel of x.
pub fn backward_input(
    desc: &ConvDesc,
    grad: View<'_>,
    weight: View<'_>,
    bias: Option<View<'_>>,
    x: &mut Buffer,
) -> Result<()> {
    run(Direction::Input, desc, (grad, desc.y_len()), (weight, desc.weight_len()), bias, (x, desc.x_len()))
}

/// The gradient of the weight from x and the gradient of y, summed over images in a fixed order.
pub fn backward_weight(desc: &ConvDesc, x: View<'_>, grad: View<'_>, weight: &mut Buffer) -> Result<()> {
    run(Direction::Weight, desc, (x, desc.x_len()), (grad, desc.y_len()), None, (weight, desc.weight_len()))
}

fn run(
    direction: Direction,
    desc: &ConvDesc,
    (a, a_len): (View<'_>, usize),
    (b, b_len): (View<'_>, usize),
    bias: Option<View<'_>>,
    (out, out_len): (&mut Buffer, usize),
) -> Result<()> {
    let op = match direction {
        Direction::Forward => "conv2d",
        Direction::Input => "conv2d (gradient of the input)",
        Direction::Weight => "conv2d (gradient of the weight)",
    };
    desc.check(op)?;
    let biases = desc.channels[usize::from(direction == Direction::Forward)];
    let sizes = a.layout().numel() == a_len && b.layout().numel() == b_len && out.len() == out_len;
    if !sizes || bias.is_some_and(|bias| bias.layout().numel() != biases) {
        let found: Vec<_> = [Some(a), Some(b), bias].iter().flatten().map(|v| *v.layout().shape()).collect();
        let expected = format!("{a_len}, {b_len}, {out_len} elements and {biases} biases for {desc:?}");
        return Err(Error::shape(op, expected, &found));
    }
    let dtype = out.dtype();
    let views: Vec<View<'_>> = [Some(a), Some(b), bias].into_iter().flatten().collect();
    if views.iter().any(|v| v.dtype() != dtype) {
        let found: Vec<DType> = views.iter().map(View::dtype).chain([dtype]).collect();
        return Err(Error::dtype(op, "operands of one dtype (convert with to_dtype)", &found));
    }
    let host = matches!(out.memory(), Memory::Cpu(_));
    if views.iter().any(|v| matches!(v.buffer().memory(), Memory::Cpu(_)) != host) {
        return Err(mixed_devices(op));
    }
    if desc.channels_last {
        let ranks = [a.dims().len(), b.dims().len()];
        if ranks != [4, 4] {
            let found = [*a.layout().shape(), *b.layout().shape()];
            return Err(Error::shape(op, "operands of four axes, where channels are last in memory", &found));
        }
        if host || desc.groups > 1 && desc.groups == desc.channels[0] {
            return reordered(direction, desc, a, b, bias, out);
        }
    }
    if !host {
        return cuda::run(op, direction, desc, a, b, bias, out);
    }
    with_float!(dtype, T => {
        let (a, b) = (cpu::packed::<T>(a)?, cpu::packed::<T>(b)?);
        let bias = bias.map(cpu::packed::<T>).transpose()?;
        cpu::run::<T>(direction, desc, a.slice()?, b.slice()?, bias.as_ref().map(|b| b.slice()).transpose()?,
            out.as_mut_slice::<T>()?)
    }, else Err(unsupported(op, dtype, FLOATS)))
}

/// Axes of a tensor as they lie in memory with channels last.
const LAST: [usize; 4] = [0, 2, 3, 1];

/// Channels last where there is no kernel for them: computed in the usual order, then copied.
fn reordered(
    direction: Direction,
    desc: &ConvDesc,
    a: View<'_>,
    b: View<'_>,
    bias: Option<View<'_>>,
    out: &mut Buffer,
) -> Result<()> {
    let ConvDesc { batch, channels: [c, o], input: [h, w], output: [oh, ow], windows: [v, u], groups, .. } = *desc;
    let dims = match direction {
        Direction::Forward => [batch, o, oh, ow],
        Direction::Input => [batch, c, h, w],
        Direction::Weight => [o, c / groups, v.kernel, u.kernel],
    };
    let mut usual = Buffer::uninit(&out.device(), out.dtype(), out.len())?;
    let (a_len, b_len, len) = (a.layout().numel(), b.layout().numel(), out.len());
    let desc = ConvDesc { channels_last: false, ..*desc };
    run(direction, &desc, (a, a_len), (b, b_len), bias, (&mut usual, len))?;
    copy(View::new(&usual, Layout::contiguous(Shape::new(&dims)?).permute(&LAST))?, out)
}

/// Writes each output's window as a column: x (N, C, H, W) → (N, C · KH · KW, OH · OW), zeros for padding. `desc` has
/// the shapes; its groups, output channels and order do not matter. The simple way to convolve is a product with this matrix.
pub fn im2col(desc: &ConvDesc, x: View<'_>, cols: &mut Buffer) -> Result<()> {
    columns("im2col", desc, x.layout().numel() == desc.x_len() && cols.len() == columns_len(desc), &x, cols.dtype())?;
    match (x.buffer().memory(), cols.memory()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => with_float!(x.dtype(), T => {
            im2col::unfold_all(desc, cpu::packed::<T>(x)?.slice()?, cols.as_mut_slice::<T>()?);
            Ok(())
        }, else Err(unsupported("im2col", x.dtype(), FLOATS))),
        (Memory::Cuda(_), Memory::Cuda(_)) => cuda::im2col(desc, x, cols),
        _ => Err(mixed_devices("im2col")),
    }
}

/// The transpose of [`im2col`]: adds each column to the positions of its window.
pub fn col2im(desc: &ConvDesc, cols: View<'_>, x: &mut Buffer) -> Result<()> {
    columns("col2im", desc, cols.layout().numel() == columns_len(desc) && x.len() == desc.x_len(), &cols, x.dtype())?;
    match (cols.buffer().memory(), x.memory()) {
        (Memory::Cpu(_), Memory::Cpu(_)) => with_float!(cols.dtype(), T => {
            im2col::fold_all(desc, cpu::packed::<T>(cols)?.slice()?, x.as_mut_slice::<T>()?);
            Ok(())
        }, else Err(unsupported("col2im", cols.dtype(), FLOATS))),
        (Memory::Cuda(_), Memory::Cuda(_)) => cuda::col2im(desc, cols, x),
        _ => Err(mixed_devices("col2im")),
    }
}

fn columns_len(desc: &ConvDesc) -> usize {
    desc.batch * desc.terms() * desc.groups * desc.pixels()
}

fn columns(op: &'static str, desc: &ConvDesc, fits: bool, view: &View<'_>, dtype: DType) -> Result<()> {
    desc.check(op)?;
    if !fits {
        let expected = format!("{} and {} elements for {desc:?}", desc.x_len(), columns_len(desc));
        return Err(Error::shape(op, expected, &[*view.layout().shape()]));
    }
    if view.dtype() != dtype {
        return Err(Error::dtype(op, "one dtype", &[view.dtype(), dtype]));
    }
    Ok(())
}
