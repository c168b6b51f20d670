//! How a product is cut on a CUDA device: a pure function of its shape, of how the operands lie in memory and of the
//! GPU, so that the bits of a result are the same in every run.

use super::super::{GemmDesc, Precision};
use crate::device::cuda::GpuSpec;
use crate::device::cuda::kernel_table::Module;
use crate::kernels::images;
use crate::kernels::named::NamedKernel;
use crate::{DType, Error, Layout, Result, Shape};

/// How an operand lies in memory: lines of neighbours, which are rows, or columns where it is `transposed`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Columns are contiguous, not rows.
    pub transposed: bool,
    /// From one line to the next.
    pub line: usize,
    /// From one matrix of the outer batch axis to the next.
    pub outer: usize,
    /// From one matrix of the inner batch axis to the next.
    pub inner: usize,
}

/// The batch as two axes, and a matrix: (outer, inner, rows, columns).
pub type Extents = [usize; 4];

impl Stored {
    /// The operand of that layout as matrices of those extents, if one of its directions is contiguous and its batch axes
    /// fold into two.
    pub fn of(layout: &Layout, extents: Extents) -> Option<Stored> {
        let layout = layout.reshape(&Shape::new(&extents).ok()?)?;
        let [_, _, rows, columns] = extents;
        let &[outer, inner, row, column] = layout.strides() else { return None };
        // A direction of one element has no stride of its own; of two contiguous ones the longer makes the lines.
        let (transposed, line) = if column == 1 && columns > 1 {
            (false, row)
        } else if row == 1 && rows > 1 {
            (true, column)
        } else if columns <= 1 {
            (false, row)
        } else if rows <= 1 {
            (true, column)
        } else {
            return None;
        };
        // Lines that do not exist are not read, but their addresses should be aligned like the others.
        let lines = if transposed { columns } else { rows };
        Some(Stored { transposed, line: if lines > 1 { line } else { 0 }, outer, inner })
    }

    /// How an operand that starts at `address` can be loaded.
    pub fn loads(&self, address: u64, size: usize, extents: Extents) -> Loads {
        let [_, _, rows, columns] = extents;
        let lines = if self.transposed { columns } else { rows };
        let empty = extents.contains(&0);
        match self.vector(address, size, extents) {
            // A tensor map has no stride of 0, and no dimension of that size; what a batch shares it has once.
            true if !empty && (lines <= 1 || self.line > 0) => Loads::Tma,
            true => Loads::Vector,
            false => Loads::Narrow,
        }
    }

    /// Whether every line starts at a multiple of 16 bytes, if the first starts at `address`.
    pub fn vector(&self, address: u64, size: usize, [outer, inner, ..]: Extents) -> bool {
        let aligned = |elements: usize| (elements * size).is_multiple_of(16);
        address.is_multiple_of(16)
            && aligned(self.line)
            && (outer <= 1 || aligned(self.outer))
            && (inner <= 1 || aligned(self.inner))
    }
}

/// How operands can be loaded; each way is possible where a later one is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Loads {
    /// Number by number.
    Narrow,
    /// By 16 bytes: every line starts at a multiple of as many.
    Vector,
    /// By the tensor memory accelerator, too: lines are apart as well.
    Tma,
}

/// The arithmetic of a tile.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Fused multiply-adds in IEEE f32.
    Simt,
    /// Tensor cores, with factors of this dtype: f16, bf16, or f32 rounded to TF32.
    Mma(DType),
    /// Hopper's warpgroup instructions, with factors of this dtype (f16, bf16), which TMA loads.
    Wgmma(DType),
}

impl Unit {
    /// The loads that its kernels need.
    const fn least(self, narrow: bool) -> Loads {
        match self {
            Unit::Wgmma(_) => Loads::Tma,
            _ if narrow => Loads::Narrow,
            _ => Loads::Vector,
        }
    }

    /// The file of its kernels.
    pub fn module(self) -> &'static Module {
        match self {
            Unit::Wgmma(_) => &images::GEMM_WGMMA,
            _ => &images::GEMM,
        }
    }
}

/// A tile configuration of `kernels/gemm.cu` or `kernels/gemm_wgmma.cu`.
#[derive(Debug)]
pub struct GpuTile {
    /// Its name in printed plans.
    pub name: &'static str,
    /// Its arithmetic.
    pub unit: Unit,
    /// Rows and columns of the output that a block computes.
    pub sides: [usize; 2],
    /// How much of K lies in shared memory at a time.
    pub depth: usize,
    /// Threads of a block.
    pub threads: u32,
    /// Dynamic shared memory of a block, in bytes.
    pub dynamic_shared: u32,
    /// Blocks that have to fit a multiprocessor together for the tile to be worth its size.
    pub together: u32,
    /// The time of a multiply-add, in twelfths of that of the largest tile of `simt` or `mma`: an estimate from what a
    /// block moves through shared memory for it.
    pub cost: usize,
    /// Whether operands whose lines do not start at multiples of 16 bytes are read as well.
    pub narrow: bool,
    /// Why it is in the table.
    pub why: &'static str,
    /// The kernels: of narrow loads (which exist where `narrow`) and of wider ones, by [`GpuPlan::layout`].
    pub kernels: [[NamedKernel; 4]; 2],
}

macro_rules! layouts {
    ($tail:literal: $($head:literal),+) => {
        [
            NamedKernel::new(concat!($($head),+, ", false, false", $tail)),
            NamedKernel::new(concat!($($head),+, ", false, true", $tail)),
            NamedKernel::new(concat!($($head),+, ", true, false", $tail)),
            NamedKernel::new(concat!($($head),+, ", true, true", $tail)),
        ]
    };
    ($($head:literal),+) => {
        [layouts!(", false>": $($head),+), layouts!(", true>": $($head),+)]
    };
}

/// A tile of `gemm_mma`: slices of 16 KiB, the more numbers of K the smaller the sides.
macro_rules! mma {
    ($name:literal, $dtype:ident, $cuda:literal, $side:literal, $stages:literal, $together:literal, $narrow:literal, $why:expr) => {
        GpuTile {
            name: $name,
            unit: Unit::Mma(DType::$dtype),
            sides: [$side, $side],
            depth: 8192 / $side / DType::$dtype.size(),
            threads: 128,
            dynamic_shared: $stages * 16_384,
            together: $together,
            cost: if $side == 128 { 12 } else { 16 },
            narrow: $narrow,
            why: $why,
            kernels: layouts!("gemm_mma<", $cuda, ", ", $side, ", ", $stages),
        }
    };
}

/// A tile of `gemm_wgmma`: stages of 64 of K of both operands, and eight slabs of 2,560 bytes.
macro_rules! wgmma {
    ($name:literal, $dtype:ident, $cuda:literal, $columns:literal, $stages:literal, $cost:literal, $why:expr) => {
        GpuTile {
            name: $name,
            unit: Unit::Wgmma(DType::$dtype),
            sides: [128, $columns],
            depth: 64,
            threads: 384,
            dynamic_shared: $stages * (128 + $columns) * 128 + 8 * 2560 + $stages * 16,
            together: 1,
            cost: $cost,
            narrow: false,
            why: $why,
            kernels: [
                layouts!(">": "gemm_wgmma<", $cuda, ", ", $columns, ", ", $stages),
                layouts!(">": "gemm_wgmma<", $cuda, ", ", $columns, ", ", $stages),
            ],
        }
    };
}

const WGMMA_256: &str = "instructions of 64×256×16, the largest there are: 80 bytes of shared memory a cycle. mma.sync \
    reaches 62 % of their rate (Luo et al., 'Benchmarking and Dissecting the Nvidia Hopper GPU Architecture via \
    Microbenchmarking', 2024)";
const WGMMA_128: &str = "half the columns, for twice the blocks: four fifths of the larger tile's speed";
const LARGE_4: &str = "64×64 sums a warp, 16 numbers from shared memory for 64 products; four slices in flight where \
    a multiprocessor has room for two such blocks";
const LARGE_3: &str = "64×64 sums a warp with three slices in flight: two such blocks fit the 99 KiB of 8.6, 8.9 and \
    12.0";
const SMALL: &str = "four times the blocks, where larger tiles would leave multiprocessors idle";
const NARROW: &str = "four times the blocks, and operands at any address: there the loads of single numbers bound the \
    speed, not the tile";

/// All tiles, of each unit from the largest to the smallest.
pub static TILES: [GpuTile; 14] = [
    GpuTile {
        name: "simt 128",
        unit: Unit::Simt,
        sides: [128, 128],
        depth: 8,
        threads: 256,
        dynamic_shared: 0,
        together: 2,
        cost: 12,
        narrow: true,
        why: "8×8 sums a thread: 16 numbers from shared memory for 64 multiply-adds keep the f32 units busy",
        kernels: layouts!("gemm_simt<2"),
    },
    GpuTile {
        name: "simt 64",
        unit: Unit::Simt,
        sides: [64, 64],
        depth: 16,
        threads: 256,
        dynamic_shared: 0,
        together: 2,
        cost: 16,
        narrow: true,
        why: SMALL,
        kernels: layouts!("gemm_simt<1"),
    },
    wgmma!("f16 wgmma 256", F16, "f16", 256, 4, 7, WGMMA_256),
    wgmma!("f16 wgmma 128", F16, "f16", 128, 6, 9, WGMMA_128),
    wgmma!("bf16 wgmma 256", BF16, "bf16", 256, 4, 7, WGMMA_256),
    wgmma!("bf16 wgmma 128", BF16, "bf16", 128, 6, 9, WGMMA_128),
    mma!("f16 128, 4 stages", F16, "f16", 128, 4, 2, false, LARGE_4),
    mma!("f16 128, 3 stages", F16, "f16", 128, 3, 2, false, LARGE_3),
    mma!("f16 64", F16, "f16", 64, 3, 1, true, NARROW),
    mma!("bf16 128, 4 stages", BF16, "bf16", 128, 4, 2, false, LARGE_4),
    mma!("bf16 128, 3 stages", BF16, "bf16", 128, 3, 2, false, LARGE_3),
    mma!("bf16 64", BF16, "bf16", 64, 3, 1, true, NARROW),
    mma!("tf32 128, 3 stages", F32, "f32", 128, 3, 2, false, LARGE_3),
    mma!("tf32 64", F32, "f32", 64, 3, 1, true, NARROW),
];

/// The least of K that a block sums up where K is split: below it the partial sums cost more traffic than they save.
const LEAST_SPLIT: usize = 256;

/// How a product is computed on a CUDA device.
#[derive(Clone, Copy, Debug)]
pub struct GpuPlan {
    /// The tile.
    pub tile: &'static GpuTile,
    /// Whether A and B are stored transposed.
    pub transposed: [bool; 2],
    /// How operands are loaded.
    pub loads: Loads,
    /// How much of K a block sums up.
    pub split: usize,
    /// Tiles, splits of K, and matrices (at most 65,535: a block may compute several).
    pub grid: [u32; 3],
    /// The most blocks at a time of a kernel whose blocks compute one tile after the other.
    pub persistent: u32,
}

impl GpuPlan {
    /// The number of parts that K is summed up in; more than one are added up by a second kernel, in order.
    pub fn splits(&self) -> usize {
        self.grid[1] as usize
    }

    /// Which of [`GpuTile::kernels`]: NN, NT, TN or TT.
    pub fn layout(&self) -> usize {
        usize::from(self.transposed[0]) * 2 + usize::from(self.transposed[1])
    }

    /// The blocks that are launched.
    pub fn blocks(&self) -> [u32; 3] {
        match self.tile.unit {
            Unit::Wgmma(_) => {
                let items = self.grid.iter().fold(1u32, |product, &side| product.saturating_mul(side));
                [items.min(self.persistent), 1, 1]
            }
            _ => self.grid,
        }
    }

    /// The kernel.
    pub fn kernel(&self) -> &'static NamedKernel {
        &self.tile.kernels[usize::from(self.loads > Loads::Narrow)][self.layout()]
    }
}

impl std::fmt::Display for GpuPlan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [rows, columns] = self.tile.sides;
        let layout = ["NN", "NT", "TN", "TT"][self.layout()];
        let loads = match self.loads {
            Loads::Narrow => "narrow",
            Loads::Vector => "16-byte",
            Loads::Tma => "TMA",
        };
        let [tiles, splits, matrices] = self.grid;
        write!(
            f,
            "{} ({rows}x{columns}x{}) {layout}, {loads} loads, {tiles} tiles x {splits} splits of k x {matrices} matrices",
            self.tile.name, self.tile.depth
        )
    }
}

/// The plan for a product of `dtype`, whose operands are stored `transposed` and can both be loaded by `loads`.
///
/// # Errors
/// [`Error::Unsupported`] for dtypes without a kernel, [`Error::Argument`] for extents beyond a kernel's 32-bit numbers.
pub fn plan(desc: &GemmDesc, dtype: DType, transposed: [bool; 2], loads: Loads, spec: &GpuSpec) -> Result<GpuPlan> {
    let &GemmDesc { batch, m, n, k, .. } = desc;
    // Below the limit by more than any tile, so that rounding up stays below it too.
    const LIMIT: usize = (1 << 31) - 1024;
    if [batch, m, n, k].iter().any(|&extent| extent >= LIMIT) {
        let message = format!("batch {batch}, m {m}, n {n} and k {k} must be below {LIMIT} on CUDA devices");
        return Err(Error::argument("matmul", message));
    }
    let unit = match (dtype, desc.precision) {
        (DType::F32, Precision::Ieee) => Unit::Simt,
        (dtype, _) => Unit::Mma(dtype),
    };
    let tiles = |tile: &GpuTile| m.div_ceil(tile.sides[0]) * n.div_ceil(tile.sides[1]);
    let admitted = |tile: &&GpuTile| {
        let shared = tile.together * (tile.dynamic_shared + RESERVED_SHARED);
        let computes = match tile.unit {
            // An `a` target: on this compute capability and no other. A block numbers its tiles with 32 bits.
            Unit::Wgmma(of) => {
                unit == Unit::Mma(of)
                    && spec.compute_capability == (9, 0)
                    && tiles(tile).saturating_mul(batch) < LIMIT
                    && images::GEMM_WGMMA.runs_on(9, 0)
            }
            other => other == unit,
        };
        computes
            && loads >= tile.unit.least(tile.narrow)
            && tile.dynamic_shared <= spec.shared_per_block
            && shared <= spec.shared_per_multiprocessor
    };
    let multiprocessors = spec.multiprocessors.max(1) as usize;
    // How much of K a block sums up: K is split where there are fewer tiles than multiprocessors.
    let split_of = |tile: &GpuTile| {
        let blocks = tiles(tile).saturating_mul(batch).max(1);
        let splits = (multiprocessors / blocks).min(k / LEAST_SPLIT).max(1);
        k.div_ceil(splits).next_multiple_of(tile.depth).max(tile.depth)
    };
    // Tiles that a multiprocessor computes one after the other; what of them lies outside the product counts too.
    let cost = |tile: &&GpuTile| {
        let [rows, columns] = tile.sides;
        let split = split_of(tile);
        let blocks = tiles(tile).saturating_mul(batch).saturating_mul(k.div_ceil(split).max(1));
        blocks.div_ceil(multiprocessors).saturating_mul(rows * columns * tile.cost).saturating_mul(split)
    };
    let Some(tile) = TILES.iter().filter(admitted).min_by_key(cost) else {
        let available = "f32, f16, bf16".to_owned();
        return Err(Error::Unsupported { op: "matmul", dtype, device: "cuda".into(), available });
    };
    let split = split_of(tile);
    let grid = [tiles(tile), k.div_ceil(split).max(1), batch.min(65_535)];
    let grid = grid.map(|side| u32::try_from(side).unwrap_or(u32::MAX));
    let loads = match tile.unit {
        Unit::Wgmma(_) => Loads::Tma,
        _ => loads.min(Loads::Vector),
    };
    Ok(GpuPlan { tile, transposed, loads, split, grid, persistent: multiprocessors as u32 })
}

/// Shared memory that the driver keeps for itself in every block, in bytes (CUDA programming guide, compute
/// capability 8.0 and later).
const RESERVED_SHARED: u32 = 1024;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kernels::gemm::Activation;

    fn spec(multiprocessors: u32, shared_per_block: u32, shared_per_multiprocessor: u32) -> GpuSpec {
        GpuSpec {
            name: "a GPU".into(),
            compute_capability: (8, 0),
            multiprocessors,
            shared_per_block,
            shared_per_multiprocessor,
            registers_per_block: 65_536,
            threads_per_block: 1024,
            l2_bytes: 40 << 20,
            memory_bytes: 40 << 30,
            driver_version: 12_090,
        }
    }

    fn of(spec: &GpuSpec, dtype: DType, sizes: [usize; 4], loads: Loads) -> GpuPlan {
        let [batch, m, n, k] = sizes;
        let (activation, precision) = (Activation::None, Precision::Ieee);
        let desc = GemmDesc { batch, m, n, k, alpha: 1.0, beta: 0.0, activation, precision };
        plan(&desc, dtype, [false, true], loads, spec).unwrap()
    }

    #[test]
    fn plans_follow_the_shape_the_operands_and_the_gpu() {
        let large = spec(108, 163 << 10, 164 << 10);
        let small = spec(128, 99 << 10, 100 << 10);
        let name = |spec: &GpuSpec, dtype, sizes, loads| of(spec, dtype, sizes, loads).tile.name;
        assert_eq!(name(&large, DType::F32, [1, 4096, 4096, 4096], Loads::Tma), "simt 128");
        assert_eq!(name(&large, DType::F32, [1, 512, 512, 512], Loads::Tma), "simt 64");
        assert_eq!(name(&large, DType::F16, [1, 4096, 4096, 4096], Loads::Tma), "f16 128, 4 stages");
        assert_eq!(name(&small, DType::F16, [1, 4096, 4096, 4096], Loads::Tma), "f16 128, 3 stages");
        assert_eq!(name(&large, DType::BF16, [1, 4096, 4096, 4096], Loads::Narrow), "bf16 64");
        assert_eq!(name(&large, DType::BF16, [1, 256, 256, 64], Loads::Tma), "bf16 64");
        assert_eq!(name(&large, DType::F16, [1000, 8, 8, 64], Loads::Tma), "f16 64", "matrices smaller than the tile");
        let plan = of(&large, DType::BF16, [1, 64, 64, 8192], Loads::Tma);
        assert_eq!((plan.splits(), plan.split), (32, 256));
        assert_eq!(of(&large, DType::BF16, [1, 64, 64, 511], Loads::Tma).splits(), 1);
        assert_eq!(of(&large, DType::BF16, [54, 64, 64, 8192], Loads::Tma).splits(), 2);
        assert_eq!(of(&large, DType::F32, [100_000, 4, 4, 4], Loads::Tma).grid, [1, 1, 65_535]);
        let text = of(&large, DType::F32, [1, 100, 100, 0], Loads::Narrow).to_string();
        assert_eq!(text, "simt 64 (64x64x16) NT, narrow loads, 4 tiles x 1 splits of k x 1 matrices");
        let desc = GemmDesc {
            batch: 1,
            m: 1 << 31,
            n: 1,
            k: 1,
            alpha: 1.0,
            beta: 0.0,
            activation: Activation::None,
            precision: Precision::Ieee,
        };
        assert!(plan_error(&desc, DType::F32).contains("2147483648"));
        assert!(plan_error(&GemmDesc { m: 1, ..desc }, DType::F64).contains("f64"));
    }

    fn plan_error(desc: &GemmDesc, dtype: DType) -> String {
        plan(desc, dtype, [false; 2], Loads::Tma, &spec(108, 163 << 10, 164 << 10)).unwrap_err().to_string()
    }

    #[test]
    fn warpgroup_tiles_are_for_hopper_alone_where_they_pay_and_tma_can_load() {
        let hopper = GpuSpec { compute_capability: (9, 0), ..spec(132, 227 << 10, 228 << 10) };
        let name = |spec: &GpuSpec, dtype, sizes, loads| of(spec, dtype, sizes, loads).tile.name;
        let large = [1, 4096, 4096, 4096];
        assert_eq!(name(&hopper, DType::BF16, large, Loads::Tma), "bf16 wgmma 256");
        assert_eq!(name(&hopper, DType::F16, [132, 72, 72, 64], Loads::Tma), "f16 wgmma 128");
        assert_eq!(name(&hopper, DType::F16, large, Loads::Vector), "f16 128, 4 stages", "lines that TMA cannot load");
        assert_eq!(name(&hopper, DType::F16, [1, 64, 64, 4096], Loads::Tma), "f16 64", "a fraction of a tile");
        assert_eq!(name(&hopper, DType::F32, large, Loads::Tma), "simt 128");
        for other in [(8, 0), (9, 1), (10, 0), (12, 0)] {
            let other = GpuSpec { compute_capability: other, ..hopper.clone() };
            assert_eq!(name(&other, DType::BF16, large, Loads::Tma), "bf16 128, 4 stages");
        }
        let plan = of(&hopper, DType::BF16, large, Loads::Tma);
        assert_eq!((plan.grid, plan.blocks()), ([512, 1, 1], [132, 1, 1]), "blocks stay");
        let text = plan.to_string();
        assert!(text.starts_with("bf16 wgmma 256 (128x256x64) NT, TMA loads"), "{text}");
        let split = of(&hopper, DType::BF16, [1, 1024, 2048, 1 << 14], Loads::Tma);
        assert_eq!((split.tile.name, split.splits(), split.blocks()), ("bf16 wgmma 256", 2, [128, 1, 1]));
    }

    #[test]
    fn operands_are_read_in_place_where_a_direction_is_contiguous() {
        let shape = |dims: &[usize]| Shape::new(dims).unwrap();
        let rows = Layout::contiguous(shape(&[2, 3, 4, 5]));
        let extents = [2, 3, 4, 5];
        let plain = Stored { transposed: false, line: 5, outer: 60, inner: 20 };
        assert_eq!(Stored::of(&rows, extents), Some(plain));
        let turned = Stored::of(&rows.transpose(2, 3), [2, 3, 5, 4]).unwrap();
        assert_eq!(turned, Stored { transposed: true, ..plain });
        assert_eq!(Stored::of(&rows.permute(&[1, 0, 2, 3]), [3, 2, 4, 5]).unwrap().outer, 20);
        assert_eq!(Stored::of(&rows.permute(&[3, 0, 1, 2]), [5, 2, 3, 4]), None, "neither direction");
        assert_eq!(Stored::of(&rows.permute(&[1, 0, 2, 3]), [1, 6, 4, 5]), None, "two axes that do not merge");
        let column = Layout::new(shape(&[1, 1, 4, 1]), &[0, 0, 7, 3], 0).unwrap();
        assert_eq!(Stored::of(&column, [1, 1, 4, 1]).map(|s| (s.transposed, s.line)), Some((false, 7)));
        let row = Layout::new(shape(&[1, 1, 1, 5]), &[0, 0, 5, 1], 0).unwrap();
        assert_eq!(Stored::of(&row, [1, 1, 1, 5]).map(|s| (s.transposed, s.line)), Some((false, 0)), "one line");
        let shared = Layout::new(shape(&[1, 6, 4, 5]), &[0, 0, 0, 1], 0).unwrap();
        assert_eq!(Stored::of(&shared, [1, 6, 4, 5]).map(|s| (s.line, s.inner)), Some((0, 0)));
    }

    #[test]
    fn sixteen_byte_loads_need_every_line_to_start_at_a_multiple() {
        let stored = Stored { transposed: false, line: 24, outer: 0, inner: 96 };
        let extents = [1, 2, 4, 24];
        assert!(stored.vector(256, 2, extents));
        assert!(!stored.vector(258, 2, extents), "an odd start");
        assert!(!Stored { line: 20, ..stored }.vector(256, 2, extents), "lines of 40 bytes");
        assert!(Stored { line: 20, ..stored }.vector(256, 4, extents));
        assert!(!Stored { inner: 90, ..stored }.vector(256, 2, extents), "matrices 180 bytes apart");
        assert!(Stored { inner: 90, ..stored }.vector(256, 2, [1, 1, 4, 24]), "there is only one matrix");
        assert_eq!(stored.loads(256, 2, extents), Loads::Tma);
        assert_eq!(Stored { inner: 0, ..stored }.loads(256, 2, extents), Loads::Tma, "one matrix for the whole batch");
        assert_eq!(Stored { line: 0, ..stored }.loads(256, 2, extents), Loads::Vector, "one line for all");
        assert_eq!(stored.loads(256, 2, [1, 2, 4, 0]), Loads::Vector, "nothing to map");
        assert_eq!(stored.loads(258, 2, extents), Loads::Narrow);
    }
}
