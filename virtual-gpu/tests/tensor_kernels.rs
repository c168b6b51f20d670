//! Kernels that NVRTC 12.9 compiled from `kernels/ampere.cu` and `kernels/hopper.cu`, under every schedule: mma with
//! cp.async, warp primitives, a grid barrier, a lock, and a warp-specialised wgmma GEMM with TMA multicast.

#[path = "support/compiled.rs"]
mod compiled;

use compiled::{Compiled, SEEDS, close, line, params, products};
use virtual_gpu::machine::tensor_map::*;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

fn ampere() -> Compiled {
    Compiled::new(include_str!("kernels/ampere.ptx"), DeviceModel::H100)
}

fn bf(x: f32) -> u16 {
    (x.to_bits() >> 16) as u16
}

fn number(x: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(x) << 16))
}

/// Multiples of 1/32 from -1 on, `period` of them.
fn matrix(count: usize, step: usize, period: usize) -> Vec<u16> {
    (0..count).map(|i| bf(((i * step) % period) as f32 / 32.0 - 1.0)).collect()
}

#[test]
fn warp_specialised_gemm_in_clusters() {
    let m = Compiled::new(include_str!("kernels/hopper.ptx"), DeviceModel::H100);
    let (mm, nn, kk) = (128usize, 128usize, 256usize);
    let (a, b) = (matrix(mm * kk, 7919, 64), matrix(nn * kk, 104_729, 61));
    let (da, db) = (m.halves(&a), m.halves(&b));
    let map = |address, rows| TensorMap {
        element: ElementType::Bf16,
        rank: 2,
        address,
        dims: [kk as u64, rows as u64, 0, 0, 0],
        strides: [kk as u64 * 2, 0, 0, 0],
        box_dims: [64, 64, 0, 0, 0],
        element_strides: [1; 5],
        interleave: 0,
        swizzle: 3,
        l2_promotion: 0,
        nan_fill: false,
        im2col: None,
    };
    let wide: Vec<f64> = a.iter().map(|v| number(*v)).collect();
    let want = products(mm, nn, kk, &wide, |k, j| number(b[j * kk + k]));
    let config = LaunchConfig {
        grid: [(mm / 64) as u32, (nn / 128) as u32, 1],
        block: [256, 1, 1],
        cluster: [2, 1, 1],
        dynamic_shared: 50000,
        max_dynamic_shared: 50000,
        ..LaunchConfig::default()
    };
    for seed in SEEDS {
        let dc = m.alloc(4 * mm * nn);
        let mut p = map(da, mm).to_bytes().to_vec();
        p.extend(map(db, nn).to_bytes());
        p.extend(params(&[dc], &[nn as u32, kk as u32]));
        m.run("hop", config.clone(), &p, seed);
        close(&m.numbers(dc, mm * nn), &want, &format!("hop, seed {seed}"));
        m.free(dc);
    }
}

#[test]
fn gemm_of_mma_and_cp_async() {
    let m = ampere();
    for (mm, nn, kk) in [(100usize, 72usize, 40usize), (128, 128, 128)] {
        let (a, b) = (matrix(mm * kk, 7919, 64), matrix(nn * kk, 104_729, 61));
        let (da, db) = (m.halves(&a), m.halves(&b));
        let wide: Vec<f64> = a.iter().map(|v| number(*v)).collect();
        let want = products(mm, nn, kk, &wide, |k, j| number(b[k * nn + j]));
        let config = LaunchConfig {
            grid: [nn.div_ceil(64) as u32, mm.div_ceil(64) as u32, 1],
            block: [128, 1, 1],
            ..LaunchConfig::default()
        };
        for seed in SEEDS {
            let dc = m.alloc(4 * mm * nn);
            m.run("mma_gemm", config.clone(), &params(&[da, db, dc], &[mm as u32, nn as u32, kk as u32]), seed);
            close(&m.numbers(dc, mm * nn), &want, &format!("mma_gemm, seed {seed}"));
            m.free(dc);
        }
    }
}

/// An input pointer, its length, and an output pointer behind the gap that aligns it.
fn with_input(input: u64, output: u64) -> Vec<u8> {
    let mut p = params(&[input], &[1000, 0]);
    p.extend(output.to_le_bytes());
    p
}

#[test]
fn histogram_scan_and_reduction() {
    let m = ampere();
    let x: Vec<u32> = (0..1000).map(|i| i * 7 + 3).collect();
    let (dx, out) = (m.words(&x), m.alloc(4096));
    let floats: Vec<f32> = (0..1000).map(|i| (i % 17) as f32).collect();
    let df = m.floats(&floats);
    let mut counts = vec![0; 64];
    x.iter().for_each(|v| counts[(v & 63) as usize] += 1);
    for seed in SEEDS {
        let h = m.words(&[0; 64]);
        m.run("histogram", line(3, 128), &with_input(dx, h), seed);
        assert_eq!(m.download(h, 64), counts, "seed {seed}");
        m.run("scan", line(1, 1024), &with_input(dx, out), seed);
        let mut sum = 0;
        let right = m.download(out, 1000).iter().zip(&x).all(|(got, x)| {
            sum += x;
            *got == sum
        });
        assert!(right, "seed {seed}");
        // Whole numbers: every order of the sum is exact.
        m.run("reduce", line(1, 256), &with_input(df, out), seed);
        assert_eq!(f32::from_bits(m.download(out, 1)[0]), floats.iter().sum::<f32>(), "seed {seed}");
    }
}

#[test]
fn grid_barrier_and_lock() {
    let m = ampere();
    for seed in SEEDS {
        let (z, out) = (m.words(&[0; 2]), m.alloc(600 * 32 * 4));
        m.run("gridbar", line(600, 32), &params(&[z, z + 4, out], &[]), seed);
        assert!(m.download(out, 600 * 32).iter().all(|v| *v == 600), "seed {seed}");
        m.free(out);
        let z = m.words(&[0; 2]);
        m.run("spinlock", line(4, 64), &params(&[z, z + 4], &[]), seed);
        assert_eq!(m.download(z, 2), [0, 256], "seed {seed}");
    }
}
