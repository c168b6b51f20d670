//! Kernels that NVRTC 12.9 compiled from `kernels/ampere.cu` and `kernels/hopper.cu`, under several schedules: mma with
//! cp.async, warp primitives, a grid barrier, a lock, and a warp-specialised wgmma GEMM with TMA multicast.

use std::sync::Arc;
use virtual_gpu::machine::tensor_map::*;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

fn load(ptx: &str) -> (Module, Arc<Memory>) {
    let model = DeviceModel::H100;
    let opts = LoadOptions { driver_version: 12090, max_ptx: (8, 8) };
    let p = Program::load(ptx, &model, &opts).unwrap_or_else(|e| panic!("{e}"));
    let mem = Arc::new(Memory::new(&model));
    (Module::instantiate(Arc::new(p), mem.clone()).unwrap(), mem)
}
fn up(mem: &Memory, b: &[u8]) -> u64 {
    let a = mem.alloc(b.len() as u64, AllocationKind::Device).unwrap();
    mem.write(a, b).unwrap();
    a
}
fn down(mem: &Memory, a: u64, n: usize) -> Vec<u32> {
    let mut b = vec![0u8; n * 4];
    mem.read(a, &mut b, true).unwrap_or_else(|e| panic!("{e}"));
    b.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect()
}
fn run(m: &Module, name: &str, cfg: &LaunchConfig, params: &[u8], seed: u64) -> Result<LaunchReport, Fault> {
    let k = m.program().entries().iter().position(|e| e.name == name).unwrap();
    launch(m, k, cfg, params, &Checks::default(), Schedule { seed })
}
fn params(ptrs: &[u64], ints: &[u32]) -> Vec<u8> {
    let mut p = Vec::new();
    ptrs.iter().for_each(|v| p.extend(v.to_le_bytes()));
    ints.iter().for_each(|v| p.extend(v.to_le_bytes()));
    p
}
fn bf(x: f32) -> u16 {
    (x.to_bits() >> 16) as u16
}
fn bytes<T: Copy, const N: usize>(v: &[T], f: impl Fn(T) -> [u8; N]) -> Vec<u8> {
    v.iter().flat_map(|x| f(*x)).collect()
}

#[test]
fn hopper() {
    let (m, mem) = load(include_str!("kernels/hopper.ptx"));
    let (mm, nn, kk) = (256usize, 256usize, 256usize);
    let a: Vec<u16> = (0..mm * kk).map(|i| bf(((i * 7919) % 64) as f32 / 32.0 - 1.0)).collect();
    let b: Vec<u16> = (0..nn * kk).map(|i| bf(((i * 104729) % 61) as f32 / 32.0 - 1.0)).collect();
    let (da, db) = (up(&mem, &bytes(&a, u16::to_le_bytes)), up(&mem, &bytes(&b, u16::to_le_bytes)));
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
    for seed in 0..10 {
        let dc = mem.alloc((mm * nn * 4) as u64, AllocationKind::Device).unwrap();
        let mut p = map(da, mm).to_bytes().to_vec();
        p.extend(map(db, nn).to_bytes());
        p.extend(params(&[dc], &[nn as u32, kk as u32]));
        let cfg = LaunchConfig {
            grid: [(mm / 64) as u32, (nn / 128) as u32, 1],
            block: [256, 1, 1],
            cluster: [2, 1, 1],
            dynamic_shared: 50000,
            max_dynamic_shared: 50000,
            ..Default::default()
        };
        run(&m, "hop", &cfg, &p, seed).unwrap_or_else(|e| panic!("{seed}: {e}"));
        let c = down(&mem, dc, mm * nn);
        let f = |x: u16| f64::from(f32::from_bits(u32::from(x) << 16));
        for i in (0..mm).step_by(13) {
            for j in 0..nn {
                let want: f64 = (0..kk).map(|k| f(a[i * kk + k]) * f(b[j * kk + k])).sum();
                let bound: f64 = (0..kk).map(|k| (f(a[i * kk + k]) * f(b[j * kk + k])).abs()).sum();
                let got = f64::from(f32::from_bits(c[i * nn + j]));
                assert!((got - want).abs() <= kk as f64 * f64::powi(2.0, -23) * bound, "{i} {j} {got} {want}");
            }
        }
    }
}

#[test]
fn ampere() {
    let (m, mem) = load(include_str!("kernels/ampere.ptx"));
    for (mm, nn, kk) in [(100usize, 72usize, 40usize), (256, 256, 256)] {
        let a: Vec<u16> = (0..mm * kk).map(|i| bf(((i * 7919) % 64) as f32 / 32.0 - 1.0)).collect();
        let b: Vec<u16> = (0..nn * kk).map(|i| bf(((i * 104729) % 61) as f32 / 32.0 - 1.0)).collect();
        let (da, db) = (up(&mem, &bytes(&a, u16::to_le_bytes)), up(&mem, &bytes(&b, u16::to_le_bytes)));
        for seed in 0..10 {
            let dc = mem.alloc((mm * nn * 4) as u64, AllocationKind::Device).unwrap();
            let p = params(&[da, db, dc], &[mm as u32, nn as u32, kk as u32]);
            let cfg = LaunchConfig {
                grid: [nn.div_ceil(64) as u32, mm.div_ceil(64) as u32, 1],
                block: [128, 1, 1],
                ..Default::default()
            };
            run(&m, "mma_gemm", &cfg, &p, seed).unwrap_or_else(|e| panic!("{seed}: {e}"));
            let c = down(&mem, dc, mm * nn);
            let f = |x: u16| f64::from(f32::from_bits(u32::from(x) << 16));
            for i in (0..mm).step_by(7) {
                for j in 0..nn {
                    let want: f64 = (0..kk).map(|k| f(a[i * kk + k]) * f(b[k * nn + j])).sum();
                    let bound: f64 = (0..kk).map(|k| (f(a[i * kk + k]) * f(b[k * nn + j])).abs()).sum();
                    let got = f64::from(f32::from_bits(c[i * nn + j]));
                    assert!((got - want).abs() <= kk as f64 * f64::powi(2.0, -23) * bound, "{i} {j} {got} {want}");
                }
            }
        }
    }
    let x: Vec<u32> = (0..1000).map(|i| i * 7 + 3).collect();
    let dx = up(&mem, &bytes(&x, u32::to_le_bytes));
    for seed in 0..10 {
        let h = up(&mem, &[0; 256]);
        let cfg = LaunchConfig { grid: [3, 1, 1], block: [128, 1, 1], ..Default::default() };
        let p = {
            let mut p = params(&[dx], &[1000, 0]);
            p.extend(h.to_le_bytes());
            p
        };
        run(&m, "histogram", &cfg, &p, seed).unwrap_or_else(|e| panic!("{e}"));
        let got = down(&mem, h, 64);
        let mut want = vec![0; 64];
        x.iter().for_each(|v| want[(v & 63) as usize] += 1);
        assert_eq!(got, want);
        let out = mem.alloc(4096, AllocationKind::Device).unwrap();
        let p = {
            let mut p = params(&[dx], &[1000, 0]);
            p.extend(out.to_le_bytes());
            p
        };
        let cfg = LaunchConfig { block: [1024, 1, 1], ..Default::default() };
        run(&m, "scan", &cfg, &p, seed).unwrap_or_else(|e| panic!("{e}"));
        let got = down(&mem, out, 1000);
        let mut s = 0;
        assert!(got.iter().zip(&x).all(|(g, x)| {
            s += x;
            *g == s
        }));
        let fx: Vec<f32> = (0..1000).map(|i| (i % 17) as f32).collect();
        let df = up(&mem, &bytes(&fx, f32::to_le_bytes));
        let p = {
            let mut p = params(&[df], &[1000, 0]);
            p.extend(out.to_le_bytes());
            p
        };
        let cfg = LaunchConfig { block: [256, 1, 1], ..Default::default() };
        run(&m, "reduce", &cfg, &p, seed).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(f32::from_bits(down(&mem, out, 1)[0]), fx.iter().sum::<f32>());
        let z = up(&mem, &[0; 8]);
        let out = mem.alloc(600 * 32 * 4, AllocationKind::Device).unwrap();
        let cfg = LaunchConfig { grid: [600, 1, 1], block: [32, 1, 1], ..Default::default() };
        run(&m, "gridbar", &cfg, &params(&[z, z + 4, out], &[]), seed).unwrap_or_else(|e| panic!("{e}"));
        assert!(down(&mem, out, 600 * 32).iter().all(|v| *v == 600));
        let z = up(&mem, &[0; 8]);
        let cfg = LaunchConfig { grid: [4, 1, 1], block: [64, 1, 1], ..Default::default() };
        run(&m, "spinlock", &cfg, &params(&[z, z + 4], &[]), seed).unwrap_or_else(|e| panic!("{e}"));
        assert_eq!(down(&mem, z, 2), [0, 256]);
    }
}
