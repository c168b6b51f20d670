//! Kernels that NVRTC 12.9 compiled from `kernels/simt.cu`, under every schedule: elementwise, tiled gemm, recursion,
//! indirect calls, printf.

#[path = "support/compiled.rs"]
mod compiled;

use compiled::{Compiled, SEEDS, close, line, params, products};
use virtual_gpu::machine::*;
use virtual_gpu::model::DeviceModel;

fn simt() -> Compiled {
    Compiled::new(include_str!("kernels/simt.ptx"), DeviceModel::H100)
}

#[test]
fn saxpy() {
    let m = simt();
    let n = 1000usize;
    let x: Vec<f32> = (0..n).map(|i| i as f32).collect();
    let dx = m.floats(&x);
    let block = |dy: u64, n: u32| {
        let mut p = 2.0f32.to_le_bytes().to_vec();
        p.extend([0u8; 4]);
        p.extend(params(&[dx, dy], &[n]));
        p
    };
    for seed in SEEDS {
        let dy = m.floats(&x);
        m.run("saxpy", line(4, 256), &block(dy, n as u32), seed);
        assert!(m.numbers(dy, n).iter().zip(&x).all(|(y, x)| *y == 3.0 * f64::from(*x)), "seed {seed}");
        // One too many.
        let fault = m.try_run("saxpy", line(4, 256), &block(dy, n as u32 + 1), seed).expect_err("beyond the end");
        assert_eq!(fault.kind, FaultKind::IllegalAddress);
        for part in ["0 bytes past the end", "kernel      saxpy", "block (3,0,0), thread (232,0,0)"] {
            assert!(fault.report.contains(part), "seed {seed}: {fault}");
        }
    }
}

#[test]
fn sgemm() {
    let m = simt();
    for (mm, nn, kk) in [(100usize, 70usize, 50usize), (64, 128, 96)] {
        let a: Vec<f32> = (0..mm * kk).map(|i| ((i * 7919) % 1000) as f32 / 500.0 - 1.0).collect();
        let b: Vec<f32> = (0..nn * kk).map(|i| ((i * 104729) % 1000) as f32 / 500.0 - 1.0).collect();
        let (da, db) = (m.floats(&a), m.floats(&b));
        let wide: Vec<f64> = a.iter().map(|v| f64::from(*v)).collect();
        let want = products(mm, nn, kk, &wide, |k, j| f64::from(b[k * nn + j]));
        let config = LaunchConfig {
            grid: [nn.div_ceil(64) as u32, mm.div_ceil(64) as u32, 1],
            block: [256, 1, 1],
            ..LaunchConfig::default()
        };
        for seed in SEEDS {
            let dc = m.alloc(4 * mm * nn);
            m.run("sgemm", config.clone(), &params(&[da, db, dc], &[mm as u32, nn as u32, kk as u32]), seed);
            close(&m.numbers(dc, mm * nn), &want, &format!("sgemm, seed {seed}"));
            m.free(dc);
        }
    }
}

#[test]
fn calls_and_printf() {
    let m = simt();
    for seed in SEEDS {
        let ints = m.words(&[0; 32]);
        m.run("rec", line(1, 32), &params(&[ints], &[]), seed);
        let v = m.download(ints, 32);
        let factorial = |i: usize| (1..=i as u32 % 8).product::<u32>();
        assert!(v.iter().enumerate().all(|(i, v)| *v == factorial(i)), "seed {seed}: {v:?}");
        m.run("ind", line(1, 32), &params(&[ints], &[]), seed);
        let w = m.download(ints, 32);
        let right = |i: usize| if i.is_multiple_of(2) { v[i] + 1 } else { v[i] * 2 };
        assert!(w.iter().enumerate().all(|(i, w)| *w == right(i)), "seed {seed}: {w:?}");
        let report = m.run("pf", line(1, 32), &params(&[ints], &[5000]), seed);
        let printed = String::from_utf8(report.printed).expect("text");
        let mut lines: Vec<&str> = printed.lines().collect();
        // Lanes print in any order.
        lines.sort_by_key(|l| l.split(' ').nth(1).and_then(|n| n.parse::<u32>().ok()));
        let want: Vec<String> = (0..32).map(|t| format!("hi {t} 1.500000 abc")).collect();
        assert_eq!(lines, want, "seed {seed}");
    }
}
