//! The CUDA device and the kernels of `elementwise.cu`, on the virtual GPU: memory, copies, checked
//! launches, and results against f64.

mod support;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use warpsmith::device::cuda::{CudaDevice, CudaMemory, DevicePtr, LaunchConfig};
use warpsmith::device::{Buffer, Memory};
use warpsmith::half::{bf16, f16};
use warpsmith::kernels::images;
use warpsmith::kernels::params::{Divisor, ElementwiseParams, MAX_OPERANDS, MAX_RANK, RELATION_LT, StridedParams};
use warpsmith::{DType, Device, Element, Error};

fn device() -> CudaDevice {
    let gpus = support::devices::gpus(0);
    match gpus.first().map(|gpu| gpu.device.clone()).expect("a CUDA device: WARPSMITH_TEST_DEVICE is virtual or cuda") {
        Device::Cuda(device) => device,
        Device::Cpu => unreachable!("a device of the list is a CUDA device"),
    }
}

fn upload<T: Element>(device: &CudaDevice, values: &[T]) -> CudaMemory {
    let mut memory = CudaMemory::uninit(device, size_of_val(values)).unwrap();
    memory.copy_from_host(values).unwrap();
    memory
}

#[test]
fn memory_keeps_what_is_copied_and_refuses_what_does_not_fit() {
    let cuda = device();
    let device = Device::Cuda(cuda.clone());
    let spec = cuda.spec();
    assert!(spec.multiprocessors > 0 && spec.shared_per_block >= 48 << 10, "{spec:?}");
    let values: Vec<f32> = (0..1000).map(|i| i as f32 - 0.5).collect();
    let first = Buffer::from_slice(&device, &values).unwrap();
    assert_eq!(first.device(), device);
    assert_eq!(first.to_vec::<f32>().unwrap(), values);
    let mut second = Buffer::zeros(&device, DType::F32, 1000).unwrap();
    assert_eq!(second.to_vec::<f32>().unwrap(), vec![0.0; 1000]);
    second.copy_from(&first).unwrap();
    assert_eq!(second.to_vec::<f32>().unwrap(), values);
    for dtype in DType::ALL {
        let empty = Buffer::zeros(&device, dtype, 0).unwrap();
        assert!(empty.is_empty());
    }
    assert!(Buffer::from_slice::<u8>(&device, &[]).unwrap().to_vec::<u8>().unwrap().is_empty());
    assert!(second.copy_from(&Buffer::zeros(&Device::cpu(), DType::F32, 1000).unwrap()).is_err());
    let mut memory = CudaMemory::uninit(&cuda, 16).unwrap();
    assert!(memory.copy_from_host(&[0f32; 5]).is_err(), "20 bytes into 16");
    assert!(memory.copy_to_host::<f64>(3).is_err(), "24 bytes out of 16");
    assert!(memory.read::<f32>(3, 1).is_ok() && memory.read::<f32>(3, 2).is_err());
    assert!(memory.write::<f32>(usize::MAX, 2).is_err());
}

#[test]
fn too_large_an_allocation_tells_what_is_free_and_held_and_changes_nothing() {
    let cuda = device();
    let held = CudaMemory::uninit(&cuda, 3 << 20).unwrap();
    let error = CudaMemory::uninit(&cuda, 1 << 50).unwrap_err();
    let Error::OutOfMemory { ordinal: 0, asked, free, held: told } = error else { panic!("{error}") };
    assert!(asked == 1 << 50 && free > 0 && free < cuda.spec().memory_bytes && told >= 3 << 20, "{error}");
    assert!(cuda.held_bytes() >= 3 << 20);
    drop(held);
    let again = Buffer::from_slice(&Device::Cuda(cuda), &[1u8, 2, 3]).unwrap();
    assert_eq!(again.to_vec::<u8>().unwrap(), [1, 2, 3]);
}

#[test]
fn the_driver_s_devices_are_listed() {
    let cuda = device();
    let list = Device::list();
    let first = list.first().expect("the virtual GPU");
    assert_eq!((first.ordinal, &first.name), (0, &cuda.spec().name));
    assert_eq!(first.compute_capability, cuda.spec().compute_capability);
    assert_eq!(first.memory_bytes, cuda.spec().memory_bytes);
    assert!(first.to_string().starts_with("cuda:0 "), "{first}");
}

#[test]
fn two_threads_share_a_device() {
    let device = Device::Cuda(device());
    // Long enough for more than one block of page-locked memory at a time.
    let values: Vec<u32> = (0..300_000).collect();
    std::thread::scope(|scope| {
        for thread in 0..2u32 {
            let (device, values) = (&device, &values);
            scope.spawn(move || {
                for round in 0..5 {
                    let mine: Vec<u32> = values.iter().map(|v| v ^ (thread << 20 | round << 22)).collect();
                    let mut copy = Buffer::zeros(device, DType::U32, mine.len()).unwrap();
                    copy.copy_from(&Buffer::from_slice(device, &mine).unwrap()).unwrap();
                    assert!(copy.to_vec::<u32>().unwrap() == mine, "thread {thread}, round {round}");
                }
            });
        }
    });
}

#[test]
fn launches_that_do_not_fit_are_refused() {
    let cuda = device();
    let unknown = cuda.kernel(&images::GEMM, "gemm_simt<3, false, false, false>").err().unwrap().to_string();
    assert!(unknown.contains("gemm_simt<1, false, false, false>"), "{unknown}");
    let kernel = cuda.kernel(&images::ELEMENTWISE_ANY, "cast<f32, f16>").unwrap();
    let x = upload(&cuda, &[f16::ONE; 4]);
    let mut out = CudaMemory::zeros(&cuda, 16).unwrap();
    let params = ElementwiseParams { count: 4, ..Default::default() };
    // SAFETY: the launches that are not refused cast the four elements that both buffers have.
    unsafe {
        let config = LaunchConfig::linear(1, 256);
        let wrong = kernel.launch(&config, (params, x.read::<f16>(0, 4).unwrap(), x.read::<f16>(0, 4).unwrap()));
        assert!(wrong.unwrap_err().to_string().contains("*const f16"), "a const pointer for the output");
        let large = LaunchConfig::linear(1, 512);
        let (to, from) = (out.write::<f32>(0, 4).unwrap(), x.read::<f16>(0, 4).unwrap());
        assert!(kernel.launch(&large, (params, to, from)).is_err(), "512 threads where 256 are compiled for");
        let (to, from) = (out.write::<f32>(0, 4).unwrap(), x.read::<f16>(0, 4).unwrap());
        kernel.launch(&config, (params, to, from)).unwrap();
    }
    assert_eq!(out.copy_to_host::<f32>(4).unwrap(), [1.0; 4]);
}

// ---- elementwise ----

/// Abramowitz and Stegun 7.1.5, the series of the error function; enough terms for |x| below 6.
fn erf(x: f64) -> f64 {
    let (mut term, mut sum) = (x, x);
    for n in 1..200 {
        term *= -x * x / f64::from(n);
        sum += term / f64::from(2 * n + 1);
    }
    sum * 2.0 / std::f64::consts::PI.sqrt()
}

fn activation(kind: u32, x: f64) -> f64 {
    let tanh_gelu =
        |x: f64| 0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh());
    match kind {
        1 => x.max(0.0),
        // Beyond 5 the tail of the normal distribution is below f32's resolution of the other terms.
        2 if x.abs() < 7.0 => 0.5 * x * (1.0 + erf(x / 2f64.sqrt())),
        2 => x.max(0.0),
        3 => tanh_gelu(x),
        _ => x,
    }
}

/// A function of up to two operands in f64, its constants, and the domain of the operands.
type Reference = (&'static str, usize, [f32; 2], (f64, f64), fn(f64, f64) -> f64);

const FUNCTIONS: &[Reference] = &[
    ("add", 2, [0.0; 2], (-4.0, 4.0), |x, y| x + y),
    ("sub", 2, [0.0; 2], (-4.0, 4.0), |x, y| x - y),
    ("mul", 2, [0.0; 2], (-4.0, 4.0), |x, y| x * y),
    ("div", 2, [0.0; 2], (0.25, 4.0), |x, y| x / y),
    ("maximum", 2, [0.0; 2], (-4.0, 4.0), f64::max),
    ("minimum", 2, [0.0; 2], (-4.0, 4.0), f64::min),
    ("pow", 2, [0.0; 2], (0.25, 4.0), f64::powf),
    ("neg", 1, [0.0; 2], (-4.0, 4.0), |x, _| -x),
    ("abs", 1, [0.0; 2], (-4.0, 4.0), |x, _| x.abs()),
    ("affine", 1, [1.5, -0.25], (-4.0, 4.0), |x, _| 1.5 * x - 0.25),
    ("clamp", 1, [-1.0, 0.5], (-4.0, 4.0), |x, _| x.clamp(-1.0, 0.5)),
    ("sqrt", 1, [0.0; 2], (0.0, 9.0), |x, _| x.sqrt()),
    ("rsqrt", 1, [0.0; 2], (0.01, 9.0), |x, _| 1.0 / x.sqrt()),
    ("recip", 1, [0.0; 2], (0.01, 9.0), |x, _| 1.0 / x),
    ("floor", 1, [0.0; 2], (-4.0, 4.0), |x, _| x.floor()),
    ("round", 1, [0.0; 2], (-4.0, 4.0), |x, _| x.round_ties_even()),
    ("exp", 1, [0.0; 2], (-8.0, 8.0), |x, _| x.exp()),
    ("expm1", 1, [0.0; 2], (-2.0, 2.0), |x, _| x.exp_m1()),
    ("log", 1, [0.0; 2], (0.01, 9.0), |x, _| x.ln()),
    ("log1p", 1, [0.0; 2], (-0.9, 2.0), |x, _| x.ln_1p()),
    ("sin", 1, [0.0; 2], (-8.0, 8.0), |x, _| x.sin()),
    ("cos", 1, [0.0; 2], (-8.0, 8.0), |x, _| x.cos()),
    ("tanh", 1, [0.0; 2], (-4.0, 4.0), |x, _| x.tanh()),
    ("erf", 1, [0.0; 2], (-3.0, 3.0), |x, _| erf(x)),
    ("sigmoid", 1, [0.0; 2], (-8.0, 8.0), |x, _| 1.0 / (1.0 + (-x).exp())),
    ("relu", 1, [0.0; 2], (-4.0, 4.0), |x, _| x.max(0.0)),
    ("leaky_relu", 1, [0.125, 0.0], (-4.0, 4.0), |x, _| if x > 0.0 { x } else { 0.125 * x }),
    ("gelu", 1, [0.0; 2], (-4.0, 4.0), |x, _| activation(2, x)),
    ("gelu_tanh", 1, [0.0; 2], (-4.0, 4.0), |x, _| activation(3, x)),
    ("silu", 1, [0.0; 2], (-8.0, 8.0), |x, _| x / (1.0 + (-x).exp())),
    ("softplus", 1, [0.0; 2], (-8.0, 8.0), |x, _| x.exp().ln_1p()),
    ("relu_backward", 2, [0.0; 2], (-4.0, 4.0), |g, y| if y > 0.0 { g } else { 0.0 }),
    ("tanh_backward", 2, [0.0; 2], (-1.0, 1.0), |g, y| g * (1.0 - y * y)),
    ("sigmoid_backward", 2, [0.0; 2], (0.0, 1.0), |g, y| g * y * (1.0 - y)),
];

fn check_map<T: Element>(cuda: &CudaDevice, rng: &mut StdRng, function: &Reference, count: usize, shift: usize) {
    let (name, arity, [a, b], (low, high), reference) = *function;
    let mut draw =
        || -> Vec<T> { (0..count + shift).map(|_| T::from_f64(low + (high - low) * rng.random::<f64>())).collect() };
    let (x, y) = (draw(), draw());
    let kernel = cuda.kernel(&images::ELEMENTWISE, &format!("map<f::{name}, {}>", T::DTYPE)).unwrap();
    let (x_memory, y_memory) = (upload(cuda, &x), upload(cuda, &y));
    let mut out = CudaMemory::uninit(cuda, (count + shift) * size_of::<T>()).unwrap();
    let vectors = if shift == 0 { count / (16 / size_of::<T>()) } else { 0 } as u64;
    let params = ElementwiseParams { count: count as u64, vectors, a, b, ..Default::default() };
    let second = if arity > 1 { y_memory.read::<T>(shift, count).unwrap() } else { DevicePtr::null() };
    // SAFETY: every operand that the function takes has `count` elements from `shift` on.
    unsafe {
        let arguments = (
            params,
            out.write::<T>(shift, count).unwrap(),
            x_memory.read::<T>(shift, count).unwrap(),
            second,
            DevicePtr::<T>::null(),
            DevicePtr::<T>::null(),
        );
        kernel.launch(&LaunchConfig::covering(count, 256, 8), arguments).unwrap();
    }
    let mut whole = Buffer::uninit(&Device::Cuda(cuda.clone()), T::DTYPE, count).unwrap();
    let Memory::Cuda(copy) = whole.memory_mut() else { unreachable!("a buffer of a CUDA device") };
    // What lies before the shift was never written, so only the rest is read back.
    let identity = cuda.kernel(&images::ELEMENTWISE, &format!("map<f::affine, {}>", T::DTYPE)).unwrap();
    // SAFETY: both have `count` elements.
    unsafe {
        let arguments = (
            ElementwiseParams { count: count as u64, a: 1.0, ..Default::default() },
            copy.write::<T>(0, count).unwrap(),
            out.read::<T>(shift, count).unwrap(),
            DevicePtr::<T>::null(),
            DevicePtr::<T>::null(),
            DevicePtr::<T>::null(),
        );
        identity.launch(&LaunchConfig::covering(count, 256, 8), arguments).unwrap();
    }
    let results = copy.copy_to_host::<T>(count).unwrap();
    let storage = T::DTYPE.unit_roundoff();
    for (index, result) in results.iter().enumerate() {
        let (x, y) = (x[shift + index].to_f64(), y[shift + index].to_f64());
        let expected = reference(x, y);
        // One rounding when stored (none beyond f32's own), and a few units of f32 on the way, which cancel against
        // numbers of the size of the operands.
        let stored = if T::DTYPE == DType::F32 { 0.0 } else { storage * expected.abs() };
        let smallest = if T::DTYPE == DType::F16 { 2f64.powi(-25) } else { 0.0 };
        let bound = 1.01 * stored + smallest + 8.0 * f64::from(f32::EPSILON) / 2.0 * (expected.abs() + x.abs() + 0.25);
        let error = (result.to_f64() - expected).abs();
        assert!(
            error <= bound,
            "{name} of {x} and {y} as {}: {result}, not {expected}: {error:e} > {bound:e}",
            T::DTYPE
        );
    }
}

#[test]
fn elementwise_functions_are_right_in_every_type_and_alignment() {
    let cuda = device();
    let mut rng = StdRng::seed_from_u64(12);
    for (index, function) in FUNCTIONS.iter().enumerate() {
        // 1,031 elements are more than two blocks' vectors in every type, with a tail; the shift forbids vectors.
        let (count, shift) = [(1031, 0), (1, 0), (300, 1), (8, 0)][index % 4];
        check_map::<f32>(&cuda, &mut rng, function, count, shift);
        check_map::<f16>(&cuda, &mut rng, function, count, shift);
        check_map::<bf16>(&cuda, &mut rng, function, count, shift);
    }
}

/// Granlund and Montgomery's constants for numbers below 2³¹.
fn divisor(divisor: u32) -> Divisor {
    let log = divisor.next_power_of_two().trailing_zeros();
    let multiplier = (1u64 << (31 + log)).div_ceil(u64::from(divisor)) as u32;
    Divisor { divisor, multiplier, shift: log.wrapping_sub(1) }
}

/// Parameters for an index space of `dims` (outermost first) with strides in the same order.
fn strided(dims: &[usize], out: &[i64], operands: &[&[i64]]) -> StridedParams {
    let mut params =
        StridedParams { count: dims.iter().product::<usize>() as u32, rank: dims.len() as u32, ..Default::default() };
    assert!(dims.len() <= MAX_RANK as usize && operands.len() <= MAX_OPERANDS as usize);
    for (axis, &size) in dims.iter().rev().enumerate() {
        params.sizes[axis] = divisor(size as u32);
        params.out[axis] = out[dims.len() - 1 - axis];
        for (operand, strides) in operands.iter().enumerate() {
            params.operands[operand][axis] = strides[dims.len() - 1 - axis];
        }
    }
    params
}

#[test]
fn strided_kernels_broadcast_transpose_compare_and_select() {
    let cuda = device();
    let (rows, columns) = (37, 29);
    let count = rows * columns;
    let x: Vec<f32> = (0..count).map(|i| i as f32).collect();
    let row: Vec<f32> = (0..columns).map(|i| 100.0 * i as f32).collect();
    let (x_memory, row_memory) = (upload(&cuda, &x), upload(&cuda, &row));
    let mut out = CudaMemory::uninit(&cuda, count * 4).unwrap();
    let config = LaunchConfig::covering(count, 256, 3);
    let natural = [columns as i64, 1];
    let read = |memory: &CudaMemory| DevicePtr::<f32>::from_address(memory.read::<f32>(0, 1).unwrap().address());

    let kernel = cuda.kernel(&images::ELEMENTWISE, "map_strided<f::add, f32>").unwrap();
    let params = strided(&[rows, columns], &natural, &[&natural, &[0, 1]]);
    // SAFETY: the strides stay inside the matrix and the row.
    unsafe {
        let arguments = (
            params,
            out.write::<f32>(0, count).unwrap(),
            read(&x_memory),
            read(&row_memory),
            DevicePtr::<f32>::null(),
            DevicePtr::<f32>::null(),
        );
        kernel.launch(&config, arguments).unwrap();
    }
    let expected: Vec<f32> = (0..count).map(|i| x[i] + row[i % columns]).collect();
    assert_eq!(out.copy_to_host::<f32>(count).unwrap(), expected);

    let kernel = cuda.kernel(&images::ELEMENTWISE_ANY, "copy_strided<u32>").unwrap();
    let params = strided(&[columns, rows], &[rows as i64, 1], &[&[1, columns as i64]]);
    let bits: Vec<u32> = x.iter().map(|x| x.to_bits()).collect();
    let bits_memory = upload(&cuda, &bits);
    let mut transposed = CudaMemory::uninit(&cuda, count * 4).unwrap();
    // SAFETY: a permutation of the matrix's elements.
    unsafe {
        let arguments =
            (params, transposed.write::<u32>(0, count).unwrap(), bits_memory.read::<u32>(0, count).unwrap());
        kernel.launch(&config, arguments).unwrap();
    }
    let expected: Vec<u32> = (0..count).map(|i| bits[i % rows * columns + i / rows]).collect();
    assert_eq!(transposed.copy_to_host::<u32>(count).unwrap(), expected);

    let kernel = cuda.kernel(&images::ELEMENTWISE_ANY, "compare_strided<f32>").unwrap();
    let params = strided(&[rows, columns], &natural, &[&natural, &[0, 1]]);
    let mut mask = CudaMemory::uninit(&cuda, count).unwrap();
    // SAFETY: as for the sum.
    unsafe {
        let arguments = (params, RELATION_LT, mask.write::<u8>(0, count).unwrap(), read(&x_memory), read(&row_memory));
        kernel.launch(&config, arguments).unwrap();
    }
    let expected: Vec<u8> = (0..count).map(|i| u8::from(x[i] < row[i % columns])).collect();
    assert_eq!(mask.copy_to_host::<u8>(count).unwrap(), expected);

    let kernel = cuda.kernel(&images::ELEMENTWISE_ANY, "select_strided<u32>").unwrap();
    let params = strided(&[rows, columns], &natural, &[&natural, &natural, &[0, 0]]);
    let fallback = upload(&cuda, &[7u32]);
    let mut chosen = CudaMemory::uninit(&cuda, count * 4).unwrap();
    // SAFETY: as above; the fallback is one number, read with strides of 0.
    unsafe {
        let arguments = (
            params,
            chosen.write::<u32>(0, count).unwrap(),
            mask.read::<u8>(0, count).unwrap(),
            bits_memory.read::<u32>(0, count).unwrap(),
            fallback.read::<u32>(0, 1).unwrap(),
        );
        kernel.launch(&config, arguments).unwrap();
    }
    let expected: Vec<u32> = (0..count).map(|i| if expected[i] == 1 { bits[i] } else { 7 }).collect();
    assert_eq!(chosen.copy_to_host::<u32>(count).unwrap(), expected);
}
