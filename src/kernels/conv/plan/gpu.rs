//! Which route a convolution takes on a CUDA device, and how it becomes matrix products: pure functions of its shape and
//! of the GPU.

use super::super::{ConvDesc, Direction};
use crate::device::cuda::GpuSpec;
use crate::kernels::named::NamedKernel;
use crate::kernels::params::{ConvParams, WindowParams};
use crate::{DType, Error, Result};

/// How a direction of a convolution is computed on a CUDA device.
#[derive(Clone, Copy, Debug)]
pub enum GpuRoute {
    /// One tap that does not move: a plain matrix product.
    Pointwise,
    /// One channel a group: every thread reads its windows.
    Depthwise,
    /// Matrix products whose windows are gathered while tiles are loaded, number by number.
    Gather(GatherPlan),
    /// The same by 16 bytes: f16 or bf16, channels last.
    Vectors(VectorPlan),
}

/// How products of `kernels/conv_nhwc.cu` are cut.
#[derive(Clone, Copy, Debug)]
pub struct VectorPlan {
    /// How much of k a block sums up.
    pub split: u32,
    /// Blocks: tiles of the largest phase, parts of k, and groups and phases (of which a block may compute several).
    pub grid: [u32; 3],
    /// Phases of the input's positions along W, and in all.
    pub phases: [u32; 2],
}

impl VectorPlan {
    /// Rows and columns that a block computes, and how much of k lies in shared memory at a time: 64×32 sums a warp,
    /// and three such slices in the 48 KiB that need no opt-in.
    pub const TILE: [usize; 3] = [128, 64, 32];
}

/// The kernels of `kernels/conv_nhwc.cu` for a dtype: forward, gradient of the input, gradient of the weight.
pub fn vector_kernels(dtype: DType) -> Option<&'static [NamedKernel; 3]> {
    macro_rules! kernels {
        ($cuda:literal) => {
            [
                NamedKernel::new(concat!("conv_nhwc<", $cuda, ", 0>")),
                NamedKernel::new(concat!("conv_nhwc<", $cuda, ", 1>")),
                NamedKernel::new(concat!("conv_nhwc<", $cuda, ", 2>")),
            ]
        };
    }
    static F16: [NamedKernel; 3] = kernels!("f16");
    static BF16: [NamedKernel; 3] = kernels!("bf16");
    match dtype {
        DType::F16 => Some(&F16),
        DType::BF16 => Some(&BF16),
        _ => None,
    }
}

/// A tile configuration of `kernels/conv.cu`.
#[derive(Debug)]
pub struct GatherTile {
    /// Its name in printed plans.
    pub name: &'static str,
    /// The dtype of its operands.
    pub dtype: DType,
    /// Rows (channels) of the output that a block computes.
    pub rows: usize,
    /// How much of k lies in shared memory at a time.
    pub depth: usize,
    /// Why it is in the table.
    pub why: &'static str,
    /// The kernels of the forward, of the gradient of the input and of that of the weight.
    pub kernels: [NamedKernel; 3],
}

/// Columns (pixels; of the weight's gradient taps) that a block computes, in every tile.
pub const COLUMNS: usize = 128;
/// Threads of a block, in every tile.
pub const THREADS: u32 = 128;

macro_rules! mma {
    ($name:literal, $dtype:ident, $cuda:literal, $rows:literal, $why:expr) => {
        GatherTile {
            name: $name,
            dtype: DType::$dtype,
            rows: $rows,
            depth: 32,
            why: $why,
            kernels: [
                NamedKernel::new(concat!("conv_mma<", $cuda, ", 0, ", $rows, ">")),
                NamedKernel::new(concat!("conv_mma<", $cuda, ", 1, ", $rows, ">")),
                NamedKernel::new(concat!("conv_mma<", $cuda, ", 2, ", $rows, ">")),
            ],
        }
    };
}

const WIDE: &str = "32×64 sums a warp beside the gathered numbers that wait in registers";
const FEW: &str = "layers of at most 32 channels, of which the taller tile would compute half in vain";

/// All tiles, of each dtype from the smallest to the largest.
pub static TILES: [GatherTile; 5] = [
    GatherTile {
        name: "simt 64",
        dtype: DType::F32,
        rows: 64,
        depth: 16,
        why: "8×8 sums a thread, and half the gathers of a square tile for each product",
        kernels: [NamedKernel::new("conv_simt<0>"), NamedKernel::new("conv_simt<1>"), NamedKernel::new("conv_simt<2>")],
    },
    mma!("f16 32", F16, "f16", 32, FEW),
    mma!("f16 64", F16, "f16", 64, WIDE),
    mma!("bf16 32", BF16, "bf16", 32, FEW),
    mma!("bf16 64", BF16, "bf16", 64, WIDE),
];

/// How gathered products are cut.
#[derive(Clone, Copy, Debug)]
pub struct GatherPlan {
    /// The tile.
    pub tile: &'static GatherTile,
    /// How much of k a block sums up.
    pub split: u32,
    /// Blocks: tiles of the largest phase, parts of k, and groups and phases (of which a block may compute several).
    pub grid: [u32; 3],
}

impl std::fmt::Display for GpuRoute {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            GpuRoute::Pointwise => f.write_str("a matrix product"),
            GpuRoute::Depthwise => f.write_str("depthwise"),
            GpuRoute::Gather(plan) => {
                let [tiles, splits, products] = plan.grid;
                let GatherTile { name, rows, depth, .. } = plan.tile;
                write!(f, "gathered, {name} ({rows}x{COLUMNS}x{depth}), {tiles} tiles x {splits} parts x {products}")
            }
            GpuRoute::Vectors(plan) => {
                let ([tiles, splits, products], [rows, columns, depth]) = (plan.grid, VectorPlan::TILE);
                write!(f, "channels last ({rows}x{columns}x{depth}), {tiles} tiles x {splits} parts x {products}")
            }
        }
    }
}

/// The least of k that a block sums up where k is split.
const LEAST_SPLIT: usize = 512;

/// The route of a direction; `aligned` says whether operands of channels last start at multiples of 16 bytes.
///
/// # Errors
/// [`Error::Unsupported`] for dtypes without a kernel, [`Error::Argument`] for extents beyond a kernel's 32-bit numbers.
pub(in super::super) fn plan(
    direction: Direction,
    desc: &ConvDesc,
    dtype: DType,
    aligned: bool,
    spec: &GpuSpec,
) -> Result<GpuRoute> {
    window_params(desc, false)?;
    let [channels, outputs] = desc.channels;
    if desc.groups > 1 && desc.groups == channels {
        return Ok(GpuRoute::Depthwise);
    }
    let still = desc.windows.iter().all(|w| (w.kernel, w.stride, w.padding) == (1, 1, 0));
    // With channels last a batch is one matrix, and the weight's gradient a product of two of them.
    let one_product = desc.channels_last || direction != Direction::Weight;
    if still && desc.groups == 1 && desc.input == desc.output && one_product {
        return Ok(GpuRoute::Pointwise);
    }
    let params = products(direction, desc);
    let rows = if direction == Direction::Input { channels } else { outputs } / desc.groups;
    let mut tiles = TILES.iter().filter(|tile| tile.dtype == dtype);
    let Some(tile) = tiles.clone().find(|tile| rows <= tile.rows).or(tiles.next_back()) else {
        let available = "f32, f16, bf16".to_owned();
        return Err(Error::Unsupported { op: "conv2d", dtype, device: "cuda".into(), available });
    };
    let extent = |sizes: [u32; 3]| sizes.iter().map(|&size| size as usize).product::<usize>();
    let (mut columns, depth) = (extent(params.column_sizes), extent(params.k_sizes));
    if direction == Direction::Input {
        let [y, x] = [0, 1].map(|axis| desc.input[axis].div_ceil(desc.windows[axis].stride));
        columns = desc.batch * y * x;
    }
    if columns.max(depth) >= 1 << 31 {
        let message = format!("{desc:?} is a product of {columns} columns over {depth}; 2^31 is the limit on CUDA");
        return Err(Error::argument("conv2d", message));
    }
    let eights = desc.channels.iter().all(|channels| (channels / desc.groups).is_multiple_of(8));
    let vectors = desc.channels_last && aligned && eights && vector_kernels(dtype).is_some();
    let (blocks, tile_depth) = if vectors {
        // Pixels are the rows there, but for the weight's gradient.
        let [tile_rows, tile_columns, depth] = VectorPlan::TILE;
        let (rows, columns) = if direction == Direction::Weight { (rows, columns) } else { (columns, rows) };
        (rows.div_ceil(tile_rows) * columns.div_ceil(tile_columns), depth)
    } else {
        (rows.div_ceil(tile.rows) * columns.div_ceil(COLUMNS), tile.depth)
    };
    let (mut split, mut splits) = (i32::MAX as u32, 1);
    if direction == Direction::Weight {
        // Two blocks a multiprocessor.
        let wanted = 2 * spec.multiprocessors as usize / (blocks * desc.groups).max(1);
        splits = wanted.min(depth / LEAST_SPLIT).clamp(1, 65_535);
        let each = depth.div_ceil(splits).next_multiple_of(tile_depth).max(tile_depth);
        splits = depth.div_ceil(each).max(1);
        split = each as u32;
    }
    let z = (params.groups as usize * params.phases as usize).min(65_535);
    let grid = [blocks, splits, z].map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    Ok(if vectors {
        GpuRoute::Vectors(VectorPlan { split, grid, phases: [params.phases_x, params.phases] })
    } else {
        GpuRoute::Gather(GatherPlan { tile, split, grid })
    })
}

/// The products of a plan, as its kernel takes them.
pub(in super::super) fn gather_params(
    direction: Direction,
    desc: &ConvDesc,
    plan: &GatherPlan,
    has_bias: bool,
) -> ConvParams {
    let (split, splits) = (plan.split, plan.grid[1]);
    ConvParams { split, splits, has_bias: u32::from(has_bias), ..products(direction, desc) }
}

fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}

/// The products of a direction; see the head of `kernels/conv.cu`. Extents are known to be below 2^31.
fn products(direction: Direction, desc: &ConvDesc) -> ConvParams {
    let ConvDesc { batch, channels: [c, o], groups, input: [h, w], output: [oh, ow], windows: [v, u], .. } = *desc;
    let (channels, outputs, taps, pixels) = (c / groups, o / groups, v.kernel * u.kernel, oh * ow);
    // From one channel to the next, and from one pixel (or tap), of x, of y and of the weight.
    let [[x_channel, x_pixel], [y_channel, y_pixel], [weight_channel, tap]] =
        if desc.channels_last { [[1, c], [1, o], [1, channels]] } else { [[h * w, 1], [pixels, 1], [taps, 1]] };
    let strides = |strides: [usize; 3]| strides.map(|stride| stride as i64);
    let sizes = |sizes: [usize; 3]| sizes.map(|size| size as u32);
    // What a pixel of y and what a weight contribute to an index of x.
    let of_pixel = [c * h * w, v.stride * w * x_pixel, u.stride * x_pixel];
    let of_weight = [x_channel, v.dilation * w * x_pixel, u.dilation * x_pixel];
    let (of_y, images) = ([o * pixels, ow * y_pixel, y_pixel], [batch, oh, ow]);
    let per_weight = [weight_channel, u.kernel * tap, tap];
    let (x_group, y_group, weight_group) = (channels * x_channel, outputs * y_channel, outputs * channels * taps);
    let padding = -(((v.padding * w + u.padding) * x_pixel) as i64);
    let steps = [v, u].map(|axis| axis.stride / gcd(axis.stride, axis.dilation));
    let base = ConvParams {
        groups: groups as u32,
        phases: 1,
        phases_x: 1,
        limit_y: h as u32,
        limit_x: w as u32,
        y_start: -(v.padding as i32),
        x_start: -(u.padding as i32),
        b_start: padding,
        input_y: h as u32,
        input_x: w as u32,
        kernel_y: v.kernel as u32,
        kernel_x: u.kernel as u32,
        stride_y: v.stride as u32,
        stride_x: u.stride as u32,
        padding_y: v.padding as u32,
        padding_x: u.padding as u32,
        dilation_y: v.dilation as u32,
        dilation_x: u.dilation as u32,
        step_y: steps[0] as u32,
        step_x: steps[1] as u32,
        ..ConvParams::default()
    };
    match direction {
        Direction::Forward => ConvParams {
            rows: outputs as u32,
            column_sizes: sizes(images),
            k_sizes: sizes([channels, v.kernel, u.kernel]),
            a_row: (channels * taps) as i64,
            a_k: strides(per_weight),
            a_group: weight_group as i64,
            b_k: strides(of_weight),
            b_column: strides(of_pixel),
            b_group: x_group as i64,
            out_row: y_channel as i64,
            out_column: strides(of_y),
            out_group: y_group as i64,
            out_len: desc.y_len() as i64,
            column_y: v.stride as i32,
            column_x: u.stride as i32,
            k_y: v.dilation as i32,
            k_x: u.dilation as i32,
            ..base
        },
        Direction::Weight => ConvParams {
            rows: outputs as u32,
            column_sizes: sizes([channels, v.kernel, u.kernel]),
            k_sizes: sizes(images),
            a_row: y_channel as i64,
            a_k: strides(of_y),
            a_group: y_group as i64,
            b_k: strides(of_pixel),
            b_column: strides(of_weight),
            b_group: x_group as i64,
            out_row: (channels * taps) as i64,
            out_column: strides(per_weight),
            out_group: weight_group as i64,
            out_len: desc.weight_len() as i64,
            column_y: v.dilation as i32,
            column_x: u.dilation as i32,
            k_y: v.stride as i32,
            k_x: u.stride as i32,
            ..base
        },
        Direction::Input => {
            // Taps that reach a phase are `step` apart, and move along y by this much.
            let moves = [v, u].map(|axis| (axis.dilation / gcd(axis.stride, axis.dilation)) as i64);
            let phases = [v.stride.min(h), u.stride.min(w)];
            ConvParams {
                rows: channels as u32,
                phases: (phases[0] * phases[1]) as u32,
                phases_x: phases[1] as u32,
                column_sizes: sizes([batch, 0, 0]),
                k_sizes: sizes([outputs, 0, 0]),
                a_row: weight_channel as i64,
                a_k: strides([channels * taps, steps[0] * u.kernel * tap, steps[1] * tap]),
                a_group: weight_group as i64,
                b_k: [y_channel as i64, -moves[0] * (ow * y_pixel) as i64, -moves[1] * y_pixel as i64],
                b_column: strides(of_y),
                b_group: y_group as i64,
                b_start: 0,
                out_row: x_channel as i64,
                out_column: strides([c * h * w, v.stride * w * x_pixel, u.stride * x_pixel]),
                out_group: x_group as i64,
                out_len: desc.x_len() as i64,
                limit_y: oh as u32,
                limit_x: ow as u32,
                column_y: 1,
                column_x: 1,
                k_y: -moves[0] as i32,
                k_x: -moves[1] as i32,
                ..base
            }
        }
    }
}

/// The windows, as the kernels take them.
///
/// # Errors
/// [`Error::Argument`] for extents beyond a kernel's 32-bit numbers.
pub(in super::super) fn window_params(desc: &ConvDesc, has_bias: bool) -> Result<WindowParams> {
    let ConvDesc { batch, channels: [c, o], groups, input, output, windows: [v, u], .. } = *desc;
    // Positions, sums of two of them and of a padding, and their negatives stay inside 32 bits.
    const LIMIT: usize = 1 << 29;
    let reach = [v, u].map(|w| w.kernel.saturating_mul(w.dilation));
    let last = [0, 1].map(|axis| output[axis].saturating_mul(desc.windows[axis].stride));
    let all = [batch, c, o, groups, v.stride, u.stride, v.padding, u.padding].into_iter();
    if all.chain(input).chain(output).chain(reach).chain(last).any(|extent| extent >= LIMIT) {
        return Err(Error::argument("conv2d", format!("{desc:?} has an extent of {LIMIT} or more, the limit on CUDA")));
    }
    let [input_y, input_x] = input.map(|extent| extent as u32);
    let [output_y, output_x] = output.map(|extent| extent as u32);
    Ok(WindowParams {
        batch: batch as u32,
        channels: c as u32,
        outputs: o as u32,
        input_y,
        input_x,
        output_y,
        output_x,
        kernel_y: v.kernel as u32,
        kernel_x: u.kernel as u32,
        stride_y: v.stride as u32,
        stride_x: u.stride as u32,
        padding_y: v.padding as u32,
        padding_x: u.padding as u32,
        dilation_y: v.dilation as u32,
        dilation_x: u.dilation as u32,
        has_bias: u32::from(has_bias),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::window::Window;

    fn spec() -> GpuSpec {
        GpuSpec {
            name: "a GPU".into(),
            compute_capability: (8, 0),
            multiprocessors: 108,
            shared_per_block: 163 << 10,
            shared_per_multiprocessor: 164 << 10,
            registers_per_block: 65_536,
            threads_per_block: 1024,
            l2_bytes: 40 << 20,
            memory_bytes: 40 << 30,
            driver_version: 12_090,
        }
    }

    fn desc(channels: [usize; 2], groups: usize, side: usize, window: Window) -> ConvDesc {
        let output = [window.outputs(side, false, "test").unwrap(); 2];
        let (input, windows) = ([side; 2], [window; 2]);
        ConvDesc { batch: 32, channels, groups, input, output, windows, channels_last: false }
    }

    fn of(direction: Direction, desc: &ConvDesc, dtype: DType) -> String {
        plan(direction, desc, dtype, true, &spec()).unwrap().to_string()
    }

    #[test]
    fn routes_follow_the_shape() {
        let same = Window { kernel: 3, stride: 1, padding: 1, dilation: 1 };
        let one = Window { kernel: 1, stride: 1, padding: 0, dilation: 1 };
        let layer = desc([64, 64], 1, 32, same);
        assert_eq!(of(Direction::Forward, &layer, DType::F16), "gathered, f16 64 (64x128x32), 256 tiles x 1 parts x 1");
        let few = desc([16, 16], 1, 32, same);
        assert_eq!(of(Direction::Input, &few, DType::BF16), "gathered, bf16 32 (32x128x32), 256 tiles x 1 parts x 1");
        assert_eq!(of(Direction::Weight, &layer, DType::F32), "gathered, simt 64 (64x128x16), 5 tiles x 43 parts x 1");
        let strided = desc([64, 128], 1, 32, Window { stride: 2, ..same });
        assert_eq!(of(Direction::Input, &strided, DType::F32), "gathered, simt 64 (64x128x16), 64 tiles x 1 parts x 4");
        assert_eq!(of(Direction::Forward, &desc([64, 128], 1, 8, one), DType::F32), "a matrix product");
        assert!(of(Direction::Weight, &desc([64, 128], 1, 8, one), DType::F32).starts_with("gathered"));
        assert_eq!(of(Direction::Weight, &desc([64, 64], 64, 8, same), DType::F32), "depthwise");
        let last = ConvDesc { channels_last: true, ..layer };
        let vectors = "channels last (128x64x32), 256 tiles x 1 parts x 1";
        assert_eq!(of(Direction::Forward, &last, DType::F16), vectors);
        assert_eq!(of(Direction::Weight, &last, DType::BF16), "channels last (128x64x32), 9 tiles x 24 parts x 1");
        assert!(of(Direction::Forward, &last, DType::F32).starts_with("gathered, simt"));
        let odd = ConvDesc { channels: [12, 64], ..last };
        assert!(of(Direction::Input, &odd, DType::F16).starts_with("gathered, f16 32"));
        let unaligned = plan(Direction::Input, &last, DType::F16, false, &spec()).unwrap().to_string();
        assert!(unaligned.starts_with("gathered, f16 64"), "{unaligned}");
        let point = ConvDesc { channels_last: true, ..desc([64, 128], 1, 8, one) };
        assert_eq!(of(Direction::Weight, &point, DType::F32), "a matrix product");
        let long = ConvDesc { batch: 1 << 29, ..layer };
        let error = plan(Direction::Forward, &long, DType::F32, true, &spec()).unwrap_err().to_string();
        assert!(error.contains("536870912"), "{error}");
    }
}
