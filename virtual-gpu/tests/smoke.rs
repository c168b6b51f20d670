//! NVRTC kernels through the machine.
use std::sync::Arc;
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

fn load(ptx: &str) -> (Module, Arc<Memory>) {
    let model = DeviceModel::H100;
    let opts = LoadOptions { driver_version: 12090, max_ptx: (8, 8) };
    let p = Program::load(ptx, &model, &opts).unwrap_or_else(|e| panic!("{e}"));
    let mem = Arc::new(Memory::new(&model));
    (Module::instantiate(Arc::new(p), mem.clone()).unwrap(), mem)
}

fn upload(mem: &Memory, v: &[f32]) -> u64 {
    let a = mem.alloc(v.len() as u64 * 4, AllocationKind::Device).unwrap();
    let b: Vec<u8> = v.iter().flat_map(|x| x.to_le_bytes()).collect();
    mem.write(a, &b).unwrap();
    a
}
fn download(mem: &Memory, a: u64, n: usize) -> Vec<f32> {
    let mut b = vec![0u8; n * 4];
    mem.read(a, &mut b, true).unwrap();
    b.chunks(4).map(|c| f32::from_le_bytes(c.try_into().unwrap())).collect()
}
fn run(m: &Module, name: &str, cfg: &LaunchConfig, params: &[u8]) -> Result<LaunchReport, Fault> {
    let k = m.program().entries().iter().position(|e| e.name == name).unwrap();
    launch(m, k, cfg, params, &Checks::default(), Schedule::default())
}

#[test]
fn a_ptx() {
    let text = std::fs::read_to_string("/tmp/k/a.ptx").unwrap();
    let (m, mem) = load(&text);
    let n = 1000usize;
    let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let (dx, dy) = (upload(&mem, &x), upload(&mem, &x));
    let mut p = Vec::new();
    p.extend(2.0f32.to_le_bytes());
    p.extend([0u8; 4]);
    p.extend(dx.to_le_bytes());
    p.extend(dy.to_le_bytes());
    p.extend((n as u32).to_le_bytes());
    let cfg = LaunchConfig { grid: [4, 1, 1], block: [256, 1, 1], ..Default::default() };
    run(&m, "saxpy", &cfg, &p).unwrap_or_else(|e| panic!("{e}"));
    let y = download(&mem, dy, n);
    assert!(y.iter().zip(&x).all(|(y, x)| *y == 3.0 * x));
    // one too many
    let k = p.len() - 4;
    p[k..].copy_from_slice(&1001u32.to_le_bytes());
    println!("{}", run(&m, "saxpy", &cfg, &p).unwrap_err());
    for (mm, nn, kk) in [(100usize, 70usize, 50usize), (512, 512, 512), (512, 512, 512), (512, 512, 512)] {
        let a: Vec<f32> = (0..mm * kk).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
        let b: Vec<f32> = (0..nn * kk).map(|i| ((i * 104729) % 1000) as f32 / 500.0 - 1.0).collect();
        let (da, db, dc) =
            (upload(&mem, &a), upload(&mem, &b), mem.alloc((mm * nn * 4) as u64, AllocationKind::Device).unwrap());
        let mut p = Vec::new();
        for v in [da, db, dc] {
            p.extend(v.to_le_bytes());
        }
        for v in [mm, nn, kk] {
            p.extend((v as u32).to_le_bytes());
        }
        let cfg = LaunchConfig {
            grid: [nn.div_ceil(64) as u32, mm.div_ceil(64) as u32, 1],
            block: [256, 1, 1],
            ..Default::default()
        };
        let t = std::time::Instant::now();
        let r = run(&m, "sgemm", &cfg, &p).unwrap_or_else(|e| panic!("{e}"));
        println!("{mm} {nn} {kk}: {:?} {:?}", t.elapsed(), r.counters);
        let c = download(&mem, dc, mm * nn);
        for i in (0..mm).step_by(if mm > 200 { 37 } else { 1 }) {
            for j in 0..nn {
                let want: f64 = (0..kk).map(|k| f64::from(a[i * kk + k]) * f64::from(b[k * nn + j])).sum();
                assert!((f64::from(c[i * nn + j]) - want).abs() < 1e-3, "{i} {j} {} {want}", c[i * nn + j]);
            }
        }
    }
    let ints = upload(&mem, &[0.0; 32]);
    let cfg = LaunchConfig { block: [32, 1, 1], ..Default::default() };
    run(&m, "rec", &cfg, &ints.to_le_bytes()).unwrap_or_else(|e| panic!("{e}"));
    let mut b = [0u8; 128];
    mem.read(ints, &mut b, true).unwrap();
    let v: Vec<u32> = b.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
    assert_eq!(&v[..8], &[1, 1, 2, 6, 24, 120, 720, 5040]);
    run(&m, "ind", &cfg, &ints.to_le_bytes()).unwrap_or_else(|e| panic!("{e}"));
    mem.read(ints, &mut b, true).unwrap();
    let w: Vec<u32> = b.chunks(4).map(|c| u32::from_le_bytes(c.try_into().unwrap())).collect();
    assert!(w.iter().enumerate().all(|(i, w)| *w == if i % 2 == 0 { v[i] + 1 } else { v[i] * 2 }), "{w:?}");
    let mut p = ints.to_le_bytes().to_vec();
    p.extend(5000u32.to_le_bytes());
    let r = run(&m, "pf", &cfg, &p).unwrap();
    assert!(String::from_utf8(r.printed).unwrap().starts_with("hi 0 1.500000 abc\nhi 1 "));
}
