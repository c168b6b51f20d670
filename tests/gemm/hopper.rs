//! Products by Hopper's warpgroup instructions and TMA (`gemm_wgmma.cu`), on a device that has them.

use super::device::{Case, LAYOUTS, Lie, check, cuda, devices, lie, values};
use crate::support::{Random, devices as tested};
use warpsmith::device::{Buffer, View};
use warpsmith::half::bf16;
use warpsmith::kernels::gemm::plan::gpu::{Loads, Stored, Unit, plan};
use warpsmith::kernels::gemm::{Activation, Epilogue, GemmDesc, Precision, gemm};
use warpsmith::{DType, Device, Layout, Shape};

/// The device with Hopper's instructions, if one is under test.
fn hopper() -> Option<Device> {
    devices().into_iter().find(|device| cuda(device).spec().compute_capability == (9, 0))
}

/// Both dtypes of the warpgroup's instructions.
const HALVES: [DType; 2] = [DType::F16, DType::BF16];

fn warpgroups_compute_several_tiles_one_after_the_other() {
    let mut r = Random::fresh("persistent");
    let Some(device) = hopper() else { return };
    let many = cuda(&device).spec().multiprocessors as usize;
    // More tiles than blocks, of ragged edges in every direction, and two slices of K; with all of the epilogue's parts.
    for (turn, transposed) in LAYOUTS.into_iter().enumerate() {
        let lies = transposed.map(|t| lie(t, 0));
        let plain = Case { batch: vec![many + 5], lies, ..Case::new(HALVES[turn % 2], [72, 72, 104]) };
        let case = match turn {
            0 => plain,
            1 => Case { beta: 0.5, alpha: 0.75, bias: true, batch: vec![2, many / 2 + 3], ..plain },
            2 => Case {
                residual: Some(Lie::Columns { padding: 1 }),
                activation: Activation::Gelu,
                before: true,
                ..plain
            },
            _ => Case { residual: Some(Lie::Rows { padding: 0 }), activation: Activation::Relu, bias: true, ..plain },
        };
        let plan = check(&device, &case, &mut r);
        assert!(matches!(plan.tile.unit, Unit::Wgmma(_)), "{plan}");
        assert!(plan.blocks()[0] < plan.grid.iter().product(), "{plan}");
    }
    // More slices than stages, so that every stage is filled again: seven for six, in a second tile as well, and five for
    // four.
    let shared = [Lie::Shared; 2];
    for (dtype, batch, size, name) in
        [(DType::F16, many + 5, [72, 72, 400], "f16 wgmma 128"), (DType::BF16, many, [72, 136, 264], "bf16 wgmma 256")]
    {
        let case = Case { batch: vec![batch], lies: shared, ..Case::new(dtype, size) };
        assert_eq!(check(&device, &case, &mut r).tile.name, name);
    }
    // A real device does not count them.
    let Some(gpu) = tested::driver() else { return };
    let profile = gpu.profile_json();
    let (_, sums) = profile.split_once("\"kernels\":").expect("sums by kernel");
    let mut kernels = 0;
    for kernel in sums.split("\"kernel\":").filter(|kernel| kernel.starts_with("\"_Z10gemm_wgmma")) {
        assert!(kernel.contains("\"bank_conflicts\":0,"), "{kernel}");
        kernels += 1;
    }
    assert!(kernels >= 4, "{kernels} kernels: four layouts");
}

fn warpgroups_need_lines_that_tma_can_load() {
    let mut r = Random::fresh("tma");
    let Some(device) = hopper() else { return };
    let many = cuda(&device).spec().multiprocessors as usize;
    let case = Case { batch: vec![many], ..Case::new(DType::BF16, [80, 72, 56]) };
    let unit = |case: Case, r: &mut Random| check(&device, &case, r).tile.unit;
    let (wgmma, mma) = (Unit::Wgmma(DType::BF16), Unit::Mma(DType::BF16));
    assert_eq!(unit(case.clone(), &mut r), wgmma);
    assert_eq!(unit(Case { lies: [Lie::Shared, Lie::Rows { padding: 8 }], ..case.clone() }, &mut r), wgmma, "one A");
    assert_eq!(unit(Case { lies: [Lie::Columns { padding: 0 }, Lie::Shared], ..case.clone() }, &mut r), wgmma, "one B");
    assert_eq!(unit(Case { offset: 8, ..case.clone() }, &mut r), wgmma, "16 bytes further");
    assert_eq!(unit(Case { offset: 1, ..case.clone() }, &mut r), mma, "an odd start");
    assert_eq!(unit(Case { lies: [Lie::Rows { padding: 1 }, Lie::Rows { padding: 0 }], ..case.clone() }, &mut r), mma);
    assert_eq!(unit(Case { batch: vec![1], ..case.clone() }, &mut r), mma, "too small");
    // One line for every row of A: a stride of 0.
    let (a, b) = (vec![0.5f32; 56], vec![0.25f32; 56 * 72]);
    let make =
        |values: &[f32]| Buffer::from_slice(&device, &values.iter().map(|&x| bf16::from_f32(x)).collect::<Vec<_>>());
    let (a, b) = (make(&a).unwrap(), make(&b).unwrap());
    let layout = |dims: &[usize], strides: &[usize]| Layout::new(Shape::new(dims).unwrap(), strides, 0).unwrap();
    let a = View::new(&a, layout(&[many, 80, 56], &[0, 0, 1])).unwrap();
    let b = View::new(&b, layout(&[many, 56, 72], &[0, 72, 1])).unwrap();
    let desc = GemmDesc::of(&a, &b).unwrap();
    assert_eq!(Stored::of(a.layout(), [1, many, 80, 56]).unwrap().loads(256, 2, [1, many, 80, 56]), Loads::Vector);
    let mut out = Buffer::uninit(&device, DType::BF16, many * 80 * 72).unwrap();
    gemm(&desc, a, b, Epilogue::default(), None, &mut out).unwrap();
    assert!(values(&out).into_iter().all(|x| x == 56.0 * 0.5 * 0.25));
}

fn tensors_multiply_by_warpgroups_and_give_their_gradients() {
    use warpsmith::Tensor;
    use warpsmith::half::f16;
    let Some(device) = hopper() else { return };
    let spec = cuda(&device).spec();
    let (batch, m, n, k) = (spec.multiprocessors as usize, 72, 80, 104);
    // Small whole numbers: every sum is exact, in f16 too.
    let number = |index: usize| (index * 7919 % 5) as i32 - 2;
    let make = |dims: [usize; 3], salt: usize| {
        let values: Vec<f16> =
            (0..dims.iter().product()).map(|index| f16::from_f32(number(index + salt) as f32)).collect();
        Tensor::from_slice(&values, dims, &device).unwrap()
    };
    let (a, b) = (make([batch, m, k], 0).track(), make([batch, k, n], 1).track());
    let y = a.matmul(&b).unwrap();
    let gradients = y.backward_with(&make([batch, m, n], 2)).unwrap();
    let at = |matrix: usize, i: usize, j: usize, rows: usize, columns: usize, salt: usize| {
        number((matrix * rows + i) * columns + j + salt)
    };
    let (of_a, of_b) = (|x, i, j| at(x, i, j, m, k, 0), |x, i, j| at(x, i, j, k, n, 1));
    let of_g = |x, i, j| at(x, i, j, m, n, 2);
    let check =
        |found: &Tensor, [rows, columns, depth]: [usize; 3], term: &dyn Fn(usize, usize, usize, usize) -> i32| {
            let (alpha, beta, activation, precision) = (1.0, 0.0, Activation::None, Precision::Ieee);
            let desc = GemmDesc { batch, m: rows, n: columns, k: depth, alpha, beta, activation, precision };
            let plan = plan(&desc, DType::F16, [false; 2], Loads::Tma, spec).unwrap();
            assert_eq!(plan.tile.unit, Unit::Wgmma(DType::F16), "{plan}");
            let values = found.to_f64_vec().unwrap();
            for matrix in [0, 1, batch / 2, batch - 1] {
                for (flat, found) in values[matrix * rows * columns..][..rows * columns].iter().enumerate() {
                    let (i, j) = (flat / columns, flat % columns);
                    let expected: i32 = (0..depth).map(|x| term(matrix, i, j, x)).sum();
                    assert_eq!(*found, f64::from(expected), "matrix {matrix} [{i}, {j}] of {rows}x{columns}");
                }
            }
        };
    check(&y, [m, n, k], &|x, i, j, t| of_a(x, i, t) * of_b(x, t, j));
    check(&gradients.expect(&a).unwrap(), [m, k, n], &|x, i, j, t| of_g(x, i, t) * of_b(x, j, t));
    check(&gradients.expect(&b).unwrap(), [k, n, m], &|x, i, j, t| of_a(x, t, i) * of_g(x, t, j));
}

fn warpgroups_split_k_in_parts_of_a_fixed_order() {
    let mut r = Random::fresh("wgmma split k");
    let Some(device) = hopper() else { return };
    for dtype in HALVES {
        let case = Case {
            bias: true,
            beta: 0.5,
            residual: Some(Lie::Rows { padding: 8 }),
            activation: Activation::Relu,
            before: true,
            batch: vec![2],
            lies: [lie(dtype == DType::F16, 0), lie(dtype == DType::BF16, 0)],
            // 2 × 30 tiles for 132 multiprocessors: two parts.
            ..Case::new(dtype, [712, 600, 520])
        };
        let plan = check(&device, &case, &mut r);
        assert!(matches!(plan.tile.unit, Unit::Wgmma(_)) && plan.splits() == 2, "{plan}");
    }
}

crate::support::device_checks!(
    warpgroups_compute_several_tiles_one_after_the_other,
    warpgroups_need_lines_that_tma_can_load,
    tensors_multiply_by_warpgroups_and_give_their_gradients,
    warpgroups_split_k_in_parts_of_a_fixed_order,
);
