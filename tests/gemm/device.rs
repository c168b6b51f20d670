//! The kernels of `gemm.cu` on the CUDA devices under test, through the family's call: every tile, layout, epilogue and batch.

use crate::support::record;
use crate::support::{Random, devices as tested};
use std::collections::BTreeSet;
use warpsmith::device::cuda::kernel_table::Contents;
use warpsmith::device::cuda::{CudaDevice, GpuSpec};
use warpsmith::device::{Buffer, View};
use warpsmith::kernels::gemm::plan::gpu::{GpuPlan, GpuTile, Loads, Stored, TILES, Unit, plan};
use warpsmith::kernels::gemm::{Activation, Epilogue, GemmDesc, Precision, gemm};
use warpsmith::kernels::named::NamedKernel;
use warpsmith::{DType, Device, Element, Layout, Shape, with_dtype};

/// The CUDA devices under test: the virtual A100, RTX 4090 and H100, one real device, or none.
pub(super) fn devices() -> Vec<Device> {
    tested::all_gpus()
}

/// The device that takes a turn, if there is one.
fn on(devices: &[Device], turn: usize) -> Option<&Device> {
    devices.get(turn.checked_rem(devices.len())?)
}

pub(super) fn cuda(device: &Device) -> &CudaDevice {
    match device {
        Device::Cuda(device) => device,
        Device::Cpu => unreachable!("a CUDA device"),
    }
}

/// How a matrix lies in memory.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Lie {
    /// Rows of `columns + padding`.
    Rows { padding: usize },
    /// Columns of `rows + padding`.
    Columns { padding: usize },
    /// Neither direction is contiguous.
    Apart,
    /// One matrix for the whole batch, in rows.
    Shared,
}

#[derive(Clone, Debug)]
pub(super) struct Case {
    pub(super) dtype: DType,
    pub(super) precision: Precision,
    pub(super) batch: Vec<usize>,
    pub(super) size: [usize; 3],
    pub(super) lies: [Lie; 2],
    /// Elements before the first of every operand.
    pub(super) offset: usize,
    pub(super) alpha: f64,
    pub(super) beta: f64,
    pub(super) bias: bool,
    pub(super) residual: Option<Lie>,
    pub(super) activation: Activation,
    pub(super) before: bool,
}

impl Case {
    pub(super) fn new(dtype: DType, size: [usize; 3]) -> Self {
        Case {
            dtype,
            precision: Precision::Ieee,
            batch: vec![],
            size,
            lies: [Lie::Rows { padding: 0 }; 2],
            offset: 0,
            alpha: 1.0,
            beta: 0.0,
            bias: false,
            residual: None,
            activation: Activation::None,
            before: false,
        }
    }
}

/// Values of a dtype on a device, and as f64.
struct Operand {
    values: Vec<f64>,
    buffer: Buffer,
    layout: Layout,
}

impl Operand {
    fn new(device: &Device, dtype: DType, dims: &[usize], strides: &[usize], offset: usize, r: &mut Random) -> Self {
        let layout = Layout::new(Shape::new(dims).unwrap(), strides, offset).unwrap();
        let len = layout.span().max(offset);
        with_dtype!(dtype, T => {
            let values: Vec<T> = (0..len).map(|_| <T as Element>::from_f64(r.range(-1.0, 1.0))).collect();
            let buffer = Buffer::from_slice(device, &values).unwrap();
            Operand { values: values.into_iter().map(Element::to_f64).collect(), buffer, layout }
        })
    }

    fn matrices(device: &Device, case: &Case, rows: usize, columns: usize, lie: Lie, r: &mut Random) -> Self {
        let dims = [&case.batch[..], &[rows, columns]].concat();
        let (row, column, len) = match lie {
            Lie::Rows { padding } => (columns + padding, 1, rows * (columns + padding)),
            Lie::Columns { padding } => (1, rows + padding, columns * (rows + padding)),
            Lie::Apart => (2 * columns + 1, 2, rows * (2 * columns + 1)),
            Lie::Shared => (columns, 1, 0),
        };
        let mut strides = vec![0; dims.len()];
        let rank = dims.len();
        (strides[rank - 2], strides[rank - 1]) = (row, column);
        let mut step = len;
        for axis in (0..rank - 2).rev() {
            strides[axis] = step;
            step *= dims[axis];
        }
        Operand::new(device, case.dtype, &dims, &strides, case.offset, r)
    }

    fn view(&self) -> View<'_> {
        View::new(&self.buffer, self.layout).unwrap()
    }

    /// Where a row (`along` 0) or a column (1) of a matrix starts, and its stride.
    fn line(&self, outer: &[usize], number: usize, along: usize) -> (usize, usize) {
        let (batch, last) = self.layout.strides().split_at(outer.len());
        let start: usize = outer.iter().zip(batch).map(|(i, s)| i * s).sum();
        (self.layout.offset() + start + number * last[along], last[1 - along])
    }

    fn at(&self, index: &[usize]) -> f64 {
        let step: usize = index.iter().zip(self.layout.strides()).map(|(i, s)| i * s).sum();
        self.values[self.layout.offset() + step]
    }
}

/// The error function by its series (Abramowitz and Stegun 7.1.5), for arguments below 5 or so.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn activate(activation: Activation, x: f64) -> f64 {
    match activation {
        Activation::None => x,
        Activation::Relu => x.max(0.0),
        Activation::Gelu if x.abs() < 6.0 => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        Activation::Gelu => x.max(0.0),
    }
}

pub(super) fn values(buffer: &Buffer) -> Vec<f64> {
    with_dtype!(buffer.dtype(), T => buffer.to_vec::<T>().unwrap().into_iter().map(Element::to_f64).collect())
}

/// Runs a case, compares it with f64 loops (all elements of small products, some of large ones), and gives its plan.
pub(super) fn check(device: &Device, case: &Case, r: &mut Random) -> GpuPlan {
    let Case { dtype, size: [m, n, k], ref batch, .. } = *case;
    let matrices: usize = batch.iter().product();
    let a = Operand::matrices(device, case, m, k, case.lies[0], r);
    let b = Operand::matrices(device, case, k, n, case.lies[1], r);
    let bias = case.bias.then(|| Operand::new(device, dtype, &[n], &[3], case.offset, r));
    let residual = case.residual.map(|lie| Operand::matrices(device, case, m, n, lie, r));
    let plain: Vec<usize> =
        (0..batch.len() + 2).map(|axis| [&batch[..], &[m, n]].concat()[axis + 1..].iter().product()).collect();
    let dims = [&batch[..], &[m, n]].concat();
    let old = (case.beta != 0.0).then(|| Operand::new(device, dtype, &dims, &plain, 0, r));
    let len = matrices * m * n;
    // Left uninitialised where it is not read: an element that is not written is then an error.
    let mut out = Buffer::uninit(device, dtype, len).unwrap();
    if let Some(old) = &old {
        out.copy_from(&old.buffer).unwrap();
    }
    let mut before = case.before.then(|| Buffer::uninit(device, dtype, len).unwrap());
    let desc = GemmDesc {
        alpha: case.alpha,
        beta: case.beta,
        activation: case.activation,
        precision: case.precision,
        ..GemmDesc::of(&a.view(), &b.view()).unwrap()
    };
    let epilogue = Epilogue { bias: bias.as_ref().map(Operand::view), residual: residual.as_ref().map(Operand::view) };
    gemm(&desc, a.view(), b.view(), epilogue, before.as_mut(), &mut out).unwrap_or_else(|e| panic!("{case:?}: {e}"));
    let (found, found_before) = (values(&out), before.as_ref().map(values));

    let every = (len * k / 60_000 + 1).next_power_of_two() | 1;
    let mut worst = 0f64;
    for flat in (0..len).step_by(every).chain(len.checked_sub(1)) {
        let index: Vec<usize> = dims.iter().zip(&plain).map(|(&d, &s)| flat / s.max(1) % d).collect();
        let (outer, [row, column]) = (&index[..batch.len()], [index[batch.len()], index[batch.len() + 1]]);
        let (from_a, from_b) = (a.line(outer, row, 0), b.line(outer, column, 1));
        let (mut sum, mut scale) = (0.0, 0.0);
        for x in 0..k {
            let term = case.alpha * a.values[from_a.0 + x * from_a.1] * b.values[from_b.0 + x * from_b.1];
            sum += term;
            scale += term.abs();
        }
        // Tensor cores truncate: an ulp for every addition. TF32 rounds both factors to 11 bits.
        let each = if dtype == DType::F32 && case.precision == Precision::Ieee { 0.5 } else { 1.0 };
        let mut unit = each * (k as f64 + 4.0) * f64::from(f32::EPSILON);
        if case.precision == Precision::Tf32 && dtype == DType::F32 {
            unit += 2.0 * 2f64.powi(-11) + 2f64.powi(-22);
        }
        let mut more = 0.0;
        more += old.as_ref().map_or(0.0, |old| case.beta * old.at(&index));
        scale += more.abs();
        for term in [bias.as_ref().map(|b| b.at(&[column])), residual.as_ref().map(|r| r.at(&index))] {
            more += term.unwrap_or(0.0);
            scale += term.unwrap_or(0.0).abs();
        }
        sum += more;
        let stored = if dtype == DType::F32 { 0.0 } else { dtype.unit_roundoff() };
        let tiny = if dtype == DType::F16 { 2f64.powi(-25) } else { 1e-38 };
        let mut close = |found: f64, expected: f64, slack: f64, what: &str| {
            let bound = slack + stored * (expected.abs() + slack) + tiny;
            let error = (found - expected).abs();
            worst = worst.max(record::ratio(error, bound));
            assert!(error <= bound, "{case:?} {what} {index:?}: {found} instead of {expected}, bound {bound:e}");
        };
        // The activations' slopes are below 1.13; GELU itself adds a few roundoffs.
        let gelu = if case.activation == Activation::Gelu { 16.0 } else { 0.0 };
        let own = gelu * f64::from(f32::EPSILON) * (sum.abs() + 0.25);
        close(found[flat], activate(case.activation, sum), 1.13 * unit * scale + own, "out");
        if let Some(found) = &found_before {
            close(found[flat], sum, unit * scale, "before");
        }
    }
    record::case("", dtype, worst);
    plan_of(device, &desc, dtype, [&a, &b])
}

/// The plan that the family takes, from the same operands.
fn plan_of(device: &Device, desc: &GemmDesc, dtype: DType, operands: [&Operand; 2]) -> GpuPlan {
    let [outer, inner] = [1, desc.batch];
    let stored = |operand: &Operand, rows, columns| {
        let extents = [outer, inner, rows, columns];
        let copied = Layout::contiguous(*operand.layout.shape());
        let layout = if Stored::of(&operand.layout, extents).is_some() { operand.layout } else { copied };
        let stored = Stored::of(&layout, extents).unwrap();
        let start = (layout.offset() * dtype.size()) as u64;
        // Buffers start at multiples of 256 bytes.
        (stored.transposed, stored.loads(256 + start, dtype.size(), extents))
    };
    let (a, b) = (stored(operands[0], desc.m, desc.k), stored(operands[1], desc.k, desc.n));
    plan(desc, dtype, [a.0, b.0], a.1.min(b.1), cuda(device).spec()).unwrap()
}

const TYPES: [(DType, Precision); 4] = [
    (DType::F32, Precision::Ieee),
    (DType::F32, Precision::Tf32),
    (DType::F16, Precision::Ieee),
    (DType::BF16, Precision::Ieee),
];

/// Whether any product takes the tile on that GPU.
pub fn taken(tile: &'static GpuTile, spec: &GpuSpec) -> bool {
    let (dtype, precision) = match tile.unit {
        Unit::Simt => (DType::F32, Precision::Ieee),
        Unit::Mma(DType::F32) => (DType::F32, Precision::Tf32),
        Unit::Mma(dtype) | Unit::Wgmma(dtype) => (dtype, Precision::Ieee),
    };
    // By 16 bytes where TMA cannot load, which leaves the warpgroup's tiles out.
    let loads = if matches!(tile.unit, Unit::Wgmma(_)) { Loads::Tma } else { Loads::Vector };
    let sizes = [16, 64, 72, 128, 200, 512, 4096];
    let pairs = sizes.iter().flat_map(|&m| sizes.map(|n| (m, n)));
    let mut products = pairs.flat_map(|(m, n)| [1, 16, 1000].map(|batch| (batch, m, n)));
    products.any(|(batch, m, n)| {
        let desc = GemmDesc { batch, m, n, k: 64, alpha: 1.0, beta: 0.0, activation: Activation::None, precision };
        plan(&desc, dtype, [false, false], loads, spec).is_ok_and(|plan| std::ptr::eq(plan.tile, tile))
    })
}

pub(super) const LAYOUTS: [[bool; 2]; 4] = [[false, false], [false, true], [true, false], [true, true]];

pub(super) fn lie(transposed: bool, padding: usize) -> Lie {
    if transposed { Lie::Columns { padding } } else { Lie::Rows { padding } }
}

fn every_tile_of_the_table_is_reached_in_every_layout_and_is_right() {
    let mut r = Random::fresh("tiles");
    let mut reached = BTreeSet::new();
    let devices = devices();
    for device in &devices {
        let mut here = BTreeSet::new();
        let mut seen = |plan: GpuPlan| here.insert(plan.kernel().name());
        let spec = cuda(device).spec();
        let many = spec.multiprocessors as usize;
        for (dtype, precision) in TYPES {
            for transposed in LAYOUTS {
                let case = |size, batch: &[usize], padding, offset| Case {
                    precision,
                    batch: batch.to_vec(),
                    lies: transposed.map(|t| lie(t, padding)),
                    offset,
                    ..Case::new(dtype, size)
                };
                seen(check(device, &case([64, 72, 40], &[], 0, 0), &mut r));
                seen(check(device, &case([31, 65, 33], &[], 0, 1), &mut r));
                // As many matrices as multiprocessors, each a little more than a quarter of the large tile: one wave of
                // it, four of the small one. 72 is a multiple of eight, so that lines are aligned in every layout. Once
                // for each number of stages.
                let all = spec.compute_capability == (8, 0) || devices.len() == 1 || tested::everything();
                if all || spec.compute_capability == (8, 9) && dtype != DType::F32 {
                    seen(check(device, &case([72, 72, 24], &[many], 0, 0), &mut r));
                }
                if all && dtype == DType::F32 && precision == Precision::Ieee {
                    seen(check(device, &case([72, 72, 9], &[many], 1, 1), &mut r));
                }
                // Hopper's two tiles, of one wave as well; the second lines' length is not a multiple of 64.
                if spec.compute_capability == (9, 0) && dtype != DType::F32 {
                    seen(check(device, &case([72, 72, 40], &[many], 0, 0), &mut r));
                    seen(check(device, &case([72, 136, 40], &[many], 0, 0), &mut r));
                }
            }
        }
        let kernels =
            |tile: &'static GpuTile| tile.kernels.iter().zip([tile.narrow, true]).filter(|(_, exists)| *exists);
        let own = TILES.iter().filter(|tile| taken(tile, spec)).flat_map(kernels);
        let own: BTreeSet<&str> = own.flat_map(|(kernels, _)| kernels.iter().map(NamedKernel::name)).collect();
        if tested::everything() || devices.len() == 1 {
            assert_eq!(here, own, "kernels that were reached on {}, and those that products take there", spec.name);
        }
        reached.extend(here);
    }
    if tested::driver().is_none() || devices.len() < 3 {
        return;
    }
    let all: BTreeSet<&str> = TILES
        .iter()
        .flat_map(|tile| tile.kernels.iter().zip([tile.narrow, true]).filter(|(_, exists)| *exists))
        .flat_map(|(kernels, _)| kernels.iter().map(NamedKernel::name))
        .collect();
    assert_eq!(reached, all, "kernels that were reached, and those of the table");
}

fn ragged_sizes() {
    let mut r = Random::fresh("ragged sizes");
    let sizes = [
        [1, 1, 1],
        [63, 65, 15],
        [64, 64, 64],
        [65, 63, 65],
        [1, 131, 31],
        [131, 1, 9],
        [2, 3, 257],
        [17, 129, 7],
        [97, 16, 113],
        [5, 3, 0],
    ];
    let devices = devices();
    for (index, size) in sizes.into_iter().enumerate() {
        for (dtype, precision) in TYPES {
            for (turn, transposed) in LAYOUTS.into_iter().enumerate() {
                let Some(device) = on(&devices, index + turn) else { return };
                // Lines padded to eight elements are read by 16 bytes, and their last chunks in part.
                let [m, n, k] = size;
                let padding = |len: usize| len.next_multiple_of(8) - len;
                let lies = [
                    lie(transposed[0], if turn % 2 == 0 { padding(if transposed[0] { m } else { k }) } else { 0 }),
                    lie(transposed[1], if turn % 2 == 0 { padding(if transposed[1] { k } else { n }) } else { 0 }),
                ];
                check(device, &Case { precision, lies, ..Case::new(dtype, size) }, &mut r);
            }
        }
    }
}

fn epilogues() {
    let mut r = Random::fresh("epilogues");
    let devices = devices();
    let mut turn = 0;
    for (dtype, precision) in TYPES {
        // Outputs with aligned rows, and without.
        for size in [[33, 40, 24], [20, 37, 19]] {
            for residual in [None, Some(Lie::Rows { padding: 0 }), Some(Lie::Columns { padding: 1 }), Some(Lie::Apart)]
            {
                for activation in [Activation::None, Activation::Relu, Activation::Gelu] {
                    let case = Case {
                        precision,
                        residual,
                        activation,
                        alpha: if turn % 3 == 0 { 0.75 } else { 1.0 },
                        beta: if turn % 2 == 0 { -0.5 } else { 0.0 },
                        bias: turn % 4 < 2,
                        before: turn % 5 < 2,
                        batch: if turn % 7 == 0 { vec![2] } else { vec![] },
                        offset: turn % 2,
                        ..Case::new(dtype, size)
                    };
                    on(&devices, turn).map(|device| check(device, &case, &mut r));
                    turn += 1;
                }
            }
        }
    }
}

fn batches_of_any_strides() {
    let mut r = Random::fresh("batches");
    let devices = devices();
    let batches: [&[usize]; 5] = [&[3], &[2, 3], &[2, 1, 3], &[1], &[0]];
    for (turn, batch) in batches.iter().cycle().take(20).enumerate() {
        let (dtype, precision) = TYPES[turn / 5];
        let lies = [
            [Lie::Rows { padding: 0 }, Lie::Shared],
            [Lie::Shared, Lie::Columns { padding: 3 }],
            [Lie::Apart, Lie::Rows { padding: 1 }],
            [Lie::Columns { padding: 0 }, Lie::Apart],
        ][turn % 4];
        let residual = (turn % 3 == 0).then_some(Lie::Shared);
        let case = Case { precision, batch: batch.to_vec(), lies, residual, ..Case::new(dtype, [9, 11, 13]) };
        on(&devices, turn).map(|device| check(device, &case, &mut r));
    }
    // Axes in another order than in memory, some of them shared: two that stay apart, and three, of which an operand has
    // to be copied.
    let (m, n, k) = (5, 8, 16);
    let cases: [(&[usize], &[usize], &[usize]); 2] =
        [(&[2, 3], &[1, 2], &[0, 1]), (&[2, 3, 2], &[1, 4, 2], &[0, 1, 0])];
    for (dims, steps_a, steps_b) in cases {
        for (device, dtype) in devices.iter().cycle().zip([DType::F32, DType::F16, DType::BF16]) {
            let mut operand = |rows: usize, columns: usize, steps: &[usize]| {
                let dims = [dims, &[rows, columns]].concat();
                let strides: Vec<usize> = steps.iter().map(|step| step * rows * columns).chain([columns, 1]).collect();
                Operand::new(device, dtype, &dims, &strides, 0, &mut r)
            };
            let (a, b) = (operand(m, k, steps_a), operand(k, n, steps_b));
            let desc = GemmDesc::of(&a.view(), &b.view()).unwrap();
            let mut out = Buffer::uninit(device, dtype, desc.batch * m * n).unwrap();
            gemm(&desc, a.view(), b.view(), Epilogue::default(), None, &mut out).unwrap();
            for (flat, found) in values(&out).into_iter().enumerate() {
                let mut matrix = flat / (m * n);
                let mut outer = vec![0; dims.len()];
                for (index, &extent) in outer.iter_mut().zip(dims).rev() {
                    *index = matrix % extent;
                    matrix /= extent;
                }
                let (row, column) = (flat / n % m, flat % n);
                let term =
                    |x: usize| a.at(&[&outer, &[row, x][..]].concat()) * b.at(&[&outer, &[x, column][..]].concat());
                let expected: f64 = (0..k).map(term).sum();
                let size: f64 = (0..k).map(|x| term(x).abs()).sum();
                let stored =
                    if dtype == DType::F32 { 0.0 } else { 1.01 * dtype.unit_roundoff() * expected.abs() + 1e-7 };
                let bound = (k + 1) as f64 * f64::from(f32::EPSILON) * size + stored;
                let error = (found - expected).abs();
                assert!(error <= bound, "{dtype} {outer:?} [{row}, {column}]: {found} instead of {expected}");
            }
        }
    }
}

fn a_split_k_adds_its_parts_in_order() {
    let mut r = Random::fresh("split k");
    for (device, turn) in devices().into_iter().zip(0..) {
        for (dtype, precision) in TYPES {
            let case = Case {
                precision,
                bias: true,
                beta: 0.5,
                residual: Some(Lie::Rows { padding: 1 }),
                activation: Activation::Gelu,
                before: true,
                batch: vec![2],
                lies: [lie(turn == 1, 0), lie(turn == 2, 0)],
                ..Case::new(dtype, [3, 8 + turn, 1031])
            };
            let plan = check(&device, &case, &mut r);
            assert_eq!(plan.splits(), 4, "{plan}");
        }
    }
    // The same bits again.
    let devices = devices();
    let Some(device) = on(&devices, 0) else { return };
    let case = Case::new(DType::F32, [4, 5, 2048]);
    let a = Operand::matrices(device, &case, 4, 2048, Lie::Rows { padding: 0 }, &mut r);
    let b = Operand::matrices(device, &case, 2048, 5, Lie::Columns { padding: 0 }, &mut r);
    let desc = GemmDesc::of(&a.view(), &b.view()).unwrap();
    let run = || {
        let mut out = Buffer::uninit(device, DType::F32, 20).unwrap();
        gemm(&desc, a.view(), b.view(), Epilogue::default(), None, &mut out).unwrap();
        out.to_vec::<f32>().unwrap()
    };
    assert_eq!(run(), run());
}

#[test]
fn tiles_of_the_tensor_cores_meet_no_bank_conflicts() {
    let mut r = Random::fresh("bank conflicts");
    // A real device does not count them.
    let (Some(gpu), devices) = (tested::driver(), devices()) else { return };
    for (dtype, precision) in TYPES {
        for transposed in LAYOUTS {
            for offset in [0, 1] {
                let lies = transposed.map(|t| lie(t, 0));
                check(&devices[0], &Case { precision, lies, offset, ..Case::new(dtype, [72, 80, 96]) }, &mut r);
            }
        }
    }
    let profile = gpu.profile_json();
    let (_, sums) = profile.split_once("\"kernels\":").expect("sums by kernel");
    let mut kernels = 0;
    for kernel in sums.split("\"kernel\":").filter(|kernel| kernel.starts_with("\"_Z8gemm_mma")) {
        assert!(kernel.contains("\"bank_conflicts\":0,"), "{kernel}");
        kernels += 1;
    }
    assert!(kernels >= 24, "{kernels} kernels: three types, four layouts, aligned and not");
}

#[test]
fn what_has_no_kernel_is_refused() {
    let devices = devices();
    let Some(device) = on(&devices, 0) else { return };
    let a = Buffer::zeros(device, DType::F64, 4).unwrap();
    let view = View::new(&a, Layout::contiguous(Shape::new(&[2, 2]).unwrap())).unwrap();
    let mut out = Buffer::zeros(device, DType::F64, 4).unwrap();
    let desc = GemmDesc::of(&view, &view).unwrap();
    let error = gemm(&desc, view, view, Epilogue::default(), None, &mut out).unwrap_err().to_string();
    assert!(error.contains("f64") && error.contains("f32, f16, bf16"), "{error}");
    let mut host = Buffer::zeros(&Device::Cpu, DType::F64, 4).unwrap();
    let error = gemm(&desc, view, view, Epilogue::default(), None, &mut host).unwrap_err().to_string();
    assert!(error.contains("different devices"), "{error}");
}

#[test]
fn every_plan_fits_every_gpu_that_may_take_it() {
    let specs: Vec<_> = devices().iter().map(|device| cuda(device).spec().clone()).collect();
    for tile in &TILES {
        let module = tile.unit.module();
        let Contents::Compiled { kernels, .. } = &module.contents else {
            panic!("{} is embedded as source; run `cargo xtask nvrtc` and build again", module.name)
        };
        let able: Vec<_> = specs.iter().filter(|spec| tile.dynamic_shared <= spec.shared_per_block).collect();
        assert!(!able.is_empty() || specs.len() < 3, "{} fits no GPU", tile.name);
        for (names, exists) in tile.kernels.iter().zip([tile.narrow, true]) {
            for name in names.iter().map(NamedKernel::name).filter(|_| exists) {
                let kernel = kernels.iter().find(|kernel| kernel.name == name);
                let kernel = kernel.unwrap_or_else(|| panic!("{} has no {name}", module.name));
                for resources in kernel.resources.iter() {
                    assert!(resources.max_threads >= tile.threads, "{name}: {} threads", resources.max_threads);
                    let registers = resources.block_registers(tile.threads);
                    assert!(registers * tile.together <= 65_536, "{name} for {}: {registers}", resources.arch);
                    let shared = resources.static_shared + tile.dynamic_shared;
                    for spec in &able {
                        assert!(shared <= spec.shared_per_block, "{name}: {shared} bytes on {}", spec.name);
                    }
                }
            }
        }
    }
}

fn tensors_multiply_on_the_device_and_give_their_gradients() {
    use super::{matmul, transposed};
    use crate::support::{Array, check::round};
    use warpsmith::Tensor;
    let mut r = Random::fresh("matmul");
    for (device, dtype) in devices().iter().cycle().zip([DType::F32, DType::F16, DType::BF16]) {
        let mut make = |dims: &[usize]| {
            let len = dims.iter().product();
            let array = Array::new(dims, (0..len).map(|_| round(r.range(-1.0, 1.0), dtype)).collect());
            let tensor = with_dtype!(dtype, T => {
                let values: Vec<T> = array.data.iter().map(|&x| <T as Element>::from_f64(x)).collect();
                Tensor::from_slice(&values, dims, device).unwrap()
            });
            (array, tensor)
        };
        let ((a, ta), (b, tb), (g, tg)) = (make(&[9, 20]), make(&[20, 14]), make(&[9, 14]));
        let (ta, tb) = (ta.track(), tb.track());
        let y = ta.matmul(&tb).unwrap();
        let gradients = y.backward_with(&tg).unwrap();
        let products = [
            (y.clone(), matmul(&a, &b)),
            (gradients.expect(&ta).unwrap(), matmul(&g, &transposed(&b))),
            (gradients.expect(&tb).unwrap(), matmul(&transposed(&a), &g)),
        ];
        for (found, expected) in products {
            assert_eq!(found.dims(), expected.dims);
            for (f, e) in found.to_f64_vec().unwrap().into_iter().zip(expected.data) {
                // Sums of at most 20 products of numbers below 1, and one rounding.
                let bound = 20.0 * 21.0 * f64::from(f32::EPSILON)
                    + if dtype == DType::F32 { 0.0 } else { dtype.unit_roundoff() * (e.abs() + 1e-4) };
                assert!((f - e).abs() <= bound, "{dtype}: {f} instead of {e}");
            }
        }
    }
}

crate::support::device_checks!(
    every_tile_of_the_table_is_reached_in_every_layout_and_is_right,
    ragged_sizes,
    epilogues,
    batches_of_any_strides,
    a_split_k_adds_its_parts_in_order,
    tensors_multiply_on_the_device_and_give_their_gradients,
);
