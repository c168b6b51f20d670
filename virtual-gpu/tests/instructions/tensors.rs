//! `cp.async.bulk.tensor` and its reductions: boxes of every rank, element type, swizzle and mode, with parts outside of
//! the tensor, against loops over coordinates.

use super::harness::Draw;
use super::machine::{block, kernel, run_placed};
use super::reductions::{elements, updated};
use virtual_gpu::machine::LaunchConfig;
use virtual_gpu::machine::tensor_map::{ElementType, Im2col, TensorMap};
use virtual_gpu::model::DeviceModel;

/// Bytes of shared memory that a box may take.
const ROOM: usize = 8192;
const STALE: u8 = 0xa5;

/// A tensor, its box, and where the box begins.
#[derive(Clone)]
struct Shape {
    map: TensorMap,
    start: [i32; 5],
    offsets: [u16; 3],
}

impl Shape {
    fn rank(&self) -> usize {
        self.map.rank as usize
    }

    fn size(&self) -> usize {
        self.map.element.bytes() as usize
    }

    /// Bytes of the tensor with its gaps.
    fn bytes(&self) -> usize {
        let rank = self.rank();
        match rank {
            1 => self.map.dims[0] as usize * self.size(),
            _ => (self.map.dims[rank - 1] * self.map.strides[rank - 2]) as usize,
        }
    }

    /// Elements of the box in order: byte in shared memory, and byte of the tensor where it is inside.
    fn elements(&self) -> Vec<(usize, Option<usize>)> {
        let mut out = Vec::new();
        for (n, at) in self.coordinates().into_iter().enumerate() {
            let inside = (0..self.rank()).all(|k| at[k] >= 0 && (at[k] as u64) < self.map.dims[k]);
            let offset = || {
                let outer: u64 = (1..self.rank()).map(|k| at[k] as u64 * self.map.strides[k - 1]).sum();
                outer as usize + at[0] as usize * self.size()
            };
            let linear = n * self.size();
            // The 16-byte chunk within the span is exclusive-ored with the number of the 128-byte line.
            let chunks = [1, 2, 4, 8][self.map.swizzle as usize];
            let place = ((linear / 16) ^ (linear / 128 % chunks)) * 16 + linear % 16;
            out.push((place, inside.then(offset)));
        }
        out
    }

    fn coordinates(&self) -> Vec<[i64; 5]> {
        let rank = self.rank();
        let start: [i64; 5] = self.start.map(i64::from);
        let mut out = Vec::new();
        if let Some(columns) = self.map.im2col {
            // Pixels go through the bounding box of each image in turn, from the first one on.
            let spatial = rank - 2;
            let low = |k: usize| i64::from(columns.lower[k]);
            let high = |k: usize| self.map.dims[k + 1] as i64 + i64::from(columns.upper[k]);
            let mut pixels = Vec::new();
            for image in 0..self.map.dims[rank - 1] as i64 + i64::from(columns.pixels) {
                let count: Vec<i64> = (0..spatial).map(|k| high(k) - low(k)).collect();
                let all: i64 = count.iter().product();
                for n in 0..all {
                    let (mut rest, mut p) = (n, [0i64; 3]);
                    for k in 0..spatial {
                        p[k] = low(k) + rest % count[k];
                        rest /= count[k];
                    }
                    pixels.push((p, image));
                }
            }
            let first = pixels
                .iter()
                .position(|(p, image)| *image == start[rank - 1] && (0..spatial).all(|k| p[k] == start[k + 1]));
            let first = first.expect("the column begins inside of the bounding box");
            for (p, image) in &pixels[first..first + columns.pixels as usize] {
                for channel in 0..i64::from(columns.channels) {
                    let mut at = [0; 5];
                    at[0] = start[0] + channel;
                    for k in 0..spatial {
                        at[k + 1] = p[k] + i64::from(self.offsets[k]);
                    }
                    at[rank - 1] = *image;
                    out.push(at);
                }
            }
            return out;
        }
        let steps: Vec<i64> =
            (0..rank).map(|k| if k == 0 { 1 } else { i64::from(self.map.element_strides[k]) }).collect();
        let counts: Vec<i64> = (0..rank).map(|k| (i64::from(self.map.box_dims[k]) + steps[k] - 1) / steps[k]).collect();
        for n in 0..counts.iter().product::<i64>() {
            let (mut rest, mut at) = (n, [0; 5]);
            for k in 0..rank {
                at[k] = start[k] + rest % counts[k] * steps[k];
                rest /= counts[k];
            }
            out.push(at);
        }
        out
    }
}

/// The bits that stand for what is outside of the tensor.
fn fill(map: &TensorMap) -> u64 {
    match (map.nan_fill, map.element.bytes()) {
        (false, _) => 0,
        (true, 2) => 0x7fff,
        (true, 4) => 0x7fff_ffff,
        (true, _) => 0x7fff_ffff_ffff_ffff,
    }
}

fn is_float(element: ElementType) -> bool {
    use ElementType::*;
    matches!(element, F16 | Bf16 | F32 | F64)
}

/// The instruction's names of an element type's numbers.
fn type_of(element: ElementType) -> &'static str {
    use ElementType::*;
    match element {
        U8 => "u8",
        U16 => "u16",
        U32 => "u32",
        S32 => "s32",
        U64 => "u64",
        S64 => "s64",
        F16 => "f16",
        Bf16 => "bf16",
        F64 => "f64",
        _ => "f32",
    }
}

/// Boxes that reach out of the tensor at both ends, of all types, swizzles and steps in turn.
fn tiles(rank: usize) -> Vec<Shape> {
    use ElementType::*;
    let mut draw = Draw(rank as u64);
    let mut out = Vec::new();
    for (n, element) in [U8, U16, U32, S32, U64, S64, F16, F32, F64, Bf16].into_iter().enumerate() {
        for swizzle in 0..4u8 {
            let size = element.bytes();
            // The swizzle's span bounds the row; rows are a multiple of 16 bytes.
            let row = [48, 32, 64, 128][swizzle as usize];
            let mut map = TensorMap {
                element,
                rank: rank as u32,
                address: 0,
                dims: [0; 5],
                strides: [0; 4],
                box_dims: [0; 5],
                element_strides: [1; 5],
                interleave: 0,
                swizzle,
                l2_promotion: 0,
                nan_fill: is_float(element) && n % 2 == 1,
                im2col: None,
            };
            let mut start = [0; 5];
            for k in 0..rank {
                map.dims[k] = if k == 0 { u64::from(row / size) + 5 } else { [7, 5, 3, 2][k - 1] };
                map.box_dims[k] = if k == 0 { row / size } else { [4, 3, 2, 2][k - 1] };
                if k > 0 && (n + usize::from(swizzle)) % 3 == 0 {
                    map.element_strides[k] = 1 + draw.below(3) as u32;
                }
                start[k] = draw.below(map.dims[k] as usize + 2) as i32 - 2;
            }
            let mut stride = (map.dims[0] as u32 * size).next_multiple_of(16) as u64;
            for k in 1..rank {
                map.strides[k - 1] = stride;
                stride *= map.dims[k];
            }
            out.push(Shape { map, start, offsets: [0; 3] });
        }
    }
    out
}

/// Columns of pixels; `with_offsets` as loads have them.
fn columns(rank: usize, with_offsets: bool) -> Vec<Shape> {
    let mut draw = Draw(10 + rank as u64);
    let mut out = Vec::new();
    for n in 0..12usize {
        let element = [ElementType::F16, ElementType::F32, ElementType::U8][n % 3];
        let channels = 32 / element.bytes();
        let spatial = rank - 2;
        let mut map = TensorMap {
            element,
            rank: rank as u32,
            address: 0,
            dims: [0; 5],
            strides: [0; 4],
            box_dims: [0; 5],
            element_strides: [1; 5],
            interleave: 0,
            swizzle: (n % 2) as u8,
            l2_promotion: 0,
            nan_fill: false,
            im2col: None,
        };
        map.dims[0] = u64::from(channels) + 8;
        let (mut lower, mut upper) = ([0; 3], [0; 3]);
        let (mut start, mut offsets) = ([0; 5], [0; 3]);
        start[0] = [0, 4, -3][n % 3];
        for k in 0..spatial {
            map.dims[k + 1] = [5, 4, 3][k];
            lower[k] = -1;
            // The filter's extent less what lies before the image.
            upper[k] = -1;
            start[k + 1] = draw.below(map.dims[k + 1] as usize - 1) as i32 - 1;
            offsets[k] = if with_offsets { draw.below(3) as u16 } else { 0 };
        }
        map.dims[rank - 1] = 2;
        start[rank - 1] = draw.below(2) as i32;
        let mut stride = (map.dims[0] as u32 * element.bytes()).next_multiple_of(16) as u64;
        for k in 1..rank {
            map.strides[k - 1] = stride;
            stride *= map.dims[k];
        }
        map.im2col = Some(Im2col { lower, upper, channels, pixels: 13 + n as u32 });
        out.push(Shape { map, start, offsets });
    }
    out
}

/// A kernel on a tensor at `%rd1`, its map at `%rd2` and a buffer of boxes at `%rd3`.
struct Case {
    text: String,
    shape: Shape,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    /// Into the blocks of a mask.
    Load(u32),
    Store,
    Reduce(&'static str),
}

const BEGIN: &str = "mov.u32 %r1, %tid.x; setp.eq.u32 %p1, %r1, 0; mov.u32 %r9, %ctaid.x; mov.u32 %r2, data;\n\
    createpolicy.fractional.L2::evict_first.b64 %rd7;\n";
const HEAD: &str = ".shared .align 1024 .b8 data[8192]; .shared .align 8 .b64 bar;";

/// Copies between shared memory and the boxes' buffer, 16 bytes of each of 32 threads a step.
fn through(load: bool) -> String {
    let mut out =
        format!("mad.lo.u32 %r10, %r9, {ROOM}, 0; mad.lo.u32 %r10, %r1, 16, %r10; cvt.u64.u32 %rd10, %r10;\n");
    out += "add.u64 %rd10, %rd10, %rd3; mad.lo.u32 %r11, %r1, 16, %r2;\n";
    for at in (0..ROOM).step_by(512) {
        let list = "{%r20,%r21,%r22,%r23}";
        out += &if load {
            format!("ld.global.v4.u32 {list}, [%rd10+{at}]; st.shared.v4.u32 [%r11+{at}], {list};\n")
        } else {
            format!("ld.shared.v4.u32 {list}, [%r11+{at}]; st.global.v4.u32 [%rd10+{at}], {list};\n")
        };
    }
    out
}

fn case(shape: Shape, kind: Kind, hint: bool, cta: bool, named: bool) -> Case {
    let rank = shape.rank();
    let im2col = shape.map.im2col.is_some();
    let mode = match (im2col, kind) {
        (false, _) if named => ".tile",
        (false, _) => "",
        (true, Kind::Load(_)) => ".im2col",
        _ => ".im2col_no_offs",
    };
    let coordinates: Vec<String> = (0..rank).map(|k| shape.start[k].to_string()).collect();
    let mut body = BEGIN.to_string() + &through(true);
    for (k, c) in coordinates.iter().enumerate() {
        body += &format!("mov.b32 %r{}, {c};\n", 40 + k);
    }
    let list: Vec<String> = (0..rank).map(|k| format!("%r{}", 40 + k)).collect();
    let tensor = format!("[%rd2, {{{}}}]", list.join(","));
    let mut offsets = String::new();
    if im2col && matches!(kind, Kind::Load(_)) {
        let names: Vec<String> = (0..rank - 2).map(|k| format!("%h{}", 20 + k)).collect();
        for (k, name) in names.iter().enumerate() {
            body += &format!("mov.b16 {name}, {};\n", shape.offsets[k]);
        }
        offsets = format!(", {{{}}}", names.join(","));
    }
    let (flag, policy) = if hint { (".L2::cache_hint", ", %rd7") } else { ("", "") };
    let bytes = shape.elements().len() * shape.size();
    match kind {
        Kind::Load(chosen) => {
            let many = chosen != 1;
            let meet = "barrier.cluster.arrive; barrier.cluster.wait;\n";
            let to = if cta { "shared::cta" } else { "shared::cluster" };
            let (multicast, mask) =
                if many { (".multicast::cluster", ", %h1".to_string()) } else { ("", String::new()) };
            body += &format!(
                "@%p1 mbarrier.init.shared.b64 [bar], 1; fence.proxy.async; fence.mbarrier_init.release.cluster; {meet}\
                 mov.u32 %r5, %cluster_ctarank; shl.b32 %r6, 1, %r5; and.b32 %r6, %r6, {chosen}; setp.ne.u32 %p2, %r6, 0;\n\
                 selp.b32 %r6, {bytes}, 0, %p2; @%p1 mbarrier.arrive.expect_tx.shared.b64 %rd8, [bar], %r6;\n\
                 setp.eq.and.u32 %p4, %r5, 0, %p1; mov.b16 %h1, {chosen};\n\
                 cp.async.bulk.prefetch.tensor.{rank}d.L2.global{mode}{flag} {tensor}{offsets}{policy};\n\
                 @%p4 cp.async.bulk.tensor.{rank}d.{to}.global{mode}.mbarrier::complete_tx::bytes{multicast}{flag} \
                 [data], {tensor}, [bar]{offsets}{mask}{policy};\n\
                 W: mbarrier.try_wait.parity.shared.b64 %p3, [bar], 0; @!%p3 bra W;\n{}{meet}",
                through(false)
            );
        }
        Kind::Store | Kind::Reduce(_) => {
            let what = match kind {
                Kind::Reduce(op) => format!("cp.reduce.async.bulk.tensor.{rank}d.global.shared::cta.{op}"),
                _ => format!("cp.async.bulk.tensor.{rank}d.global.shared::cta"),
            };
            body += &format!(
                "fence.proxy.async; bar.sync 0; @!%p1 bra E;\n{what}{mode}.bulk_group{flag} {tensor}, [data]{policy};\n\
                 cp.async.bulk.commit_group; cp.async.bulk.wait_group 0;\nE:"
            );
        }
    }
    Case { text: kernel("sm_90a", 3, HEAD, &body), shape, kind }
}

fn cases() -> Vec<Case> {
    let mut out: Vec<Case> = Vec::new();
    for rank in 1..=5 {
        for (n, shape) in tiles(rank).into_iter().enumerate() {
            let hint = n % 2 == 1;
            // Own block by both names, then some of two.
            let chosen = [1, 1, 2, 3][n % 4];
            out.push(case(shape.clone(), Kind::Load(chosen), n / 4 % 2 == 1, n % 4 == 0, n % 3 == 0));
            out.push(case(shape.clone(), Kind::Store, hint, true, n % 3 == 0));
            let integer = !is_float(shape.map.element);
            let operations: &[&str] = match shape.map.element.bytes() {
                1 | 2 if integer => &[],
                4 | 8 if integer => &["add", "min", "max", "inc", "dec", "and", "or", "xor"],
                2 => &["add", "min", "max"],
                _ => &["add"],
            };
            for op in operations {
                let unsigned = shape.map.element == ElementType::U32;
                if matches!(*op, "inc" | "dec") && !unsigned {
                    continue;
                }
                out.push(case(shape.clone(), Kind::Reduce(op), hint, true, n % 4 < 2));
            }
        }
        if rank < 3 {
            continue;
        }
        for (n, shape) in columns(rank, true).into_iter().enumerate() {
            out.push(case(shape, Kind::Load([1, 1, 2, 3][n % 4]), n / 4 % 2 == 1, n % 4 == 0, true));
        }
        for (n, shape) in columns(rank, false).into_iter().enumerate() {
            out.push(case(shape.clone(), Kind::Store, n % 2 == 1, true, true));
            for op in ["add", "and", "or", "xor", "min", "max", "inc", "dec"] {
                let mut shape = shape.clone();
                shape.map.element = ElementType::U32;
                if let Some(columns) = shape.map.im2col.as_mut() {
                    columns.channels = 8;
                }
                if shape.map.dims[0] * 4 > shape.map.strides[0] {
                    continue;
                }
                out.push(case(shape, Kind::Reduce(op), n % 2 == 1, true, true));
            }
        }
    }
    out
}

fn value(bytes: &[u8], at: usize, count: usize) -> u64 {
    bytes[at..at + count].iter().rev().fold(0, |v, b| v << 8 | u64::from(*b))
}

#[test]
fn every_rank_type_and_mode() {
    for c in cases() {
        let (shape, size) = (&c.shape, c.shape.size());
        let ty = type_of(shape.map.element);
        let tensor = elements(ty, 17, shape.bytes());
        let list = shape.elements();
        let load = matches!(c.kind, Kind::Load(_));
        let boxes = if load { vec![STALE; 2 * ROOM] } else { elements(ty, 18, ROOM) };
        let blocks = if load { 2 } else { 1 };
        let config = LaunchConfig { grid: [blocks, 1, 1], cluster: [blocks, 1, 1], ..block(DeviceModel::H100, 32) };
        for seed in [0, 2] {
            let map = shape.map.clone();
            let out = run_placed(&c.text, &config, &[tensor.clone(), vec![0; 128], boxes.clone()], seed, |at| {
                vec![(1, TensorMap { address: at[0], ..map.clone() }.to_bytes().to_vec())]
            });
            let out = out.unwrap_or_else(|e| panic!("seed {seed}: {e}\n{:?} {:?}\n{}", shape.map, shape.start, c.text));
            let told = || format!("seed {seed}, {:?} from {:?}\n{}", shape.map, shape.start, c.text);
            if let Kind::Load(chosen) = c.kind {
                for b in 0..2usize {
                    let mut want = vec![STALE; ROOM];
                    if chosen >> b & 1 != 0 {
                        for (place, from) in &list {
                            let v = from.map_or(fill(&shape.map), |at| value(&tensor, at, size));
                            want[*place..place + size].copy_from_slice(&v.to_le_bytes()[..size]);
                        }
                    }
                    assert!(out[2][b * ROOM..(b + 1) * ROOM] == want, "block {b}, {}", told());
                }
                continue;
            }
            let mut expected: Vec<Option<u64>> = vec![None; tensor.len() / size];
            for (place, to) in &list {
                if let Some(at) = to {
                    expected[at / size] = Some(value(&boxes, *place, size));
                }
            }
            for (k, new) in expected.into_iter().enumerate() {
                let (old, got) = (value(&tensor, k * size, size), value(&out[0], k * size, size));
                let right = match (new, c.kind) {
                    (None, _) => got == old,
                    (Some(new), Kind::Reduce(op)) => updated(op, ty, old, new, got),
                    (Some(new), _) => got == new,
                };
                assert!(right, "element {k} was {old:#x}, is {got:#x}, {}", told());
            }
        }
    }
}

/// What the modules of these tests execute.
pub fn texts() -> Vec<String> {
    cases().into_iter().map(|c| c.text).collect()
}
