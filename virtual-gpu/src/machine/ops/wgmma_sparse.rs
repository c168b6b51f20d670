//! `wgmma.mma_async.sp`: as `wgmma.mma_async` with a structured sparse A, twice as deep as it is stored.

use super::half::{f2h, h2f};
use super::mma::whole_warp;
use super::sparse::{Layout, STORED, products};
use super::wgmma::{self, TYPES};
use crate::machine::exec::{Cx, Flow, Instr};
use crate::machine::fault::FaultKind;
use crate::machine::taint;
use crate::ptx::Ty;

/// `list`: D (also read), then A's registers; `a` and `b` descriptors, `c` the scale-d predicate, `e` the metadata.
#[inline(always)]
pub unsafe fn run<const K: usize, const STORE: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Flow {
    if let Err(flow) = whole_warp(cx, m) {
        return flow;
    }
    match multiply::<K, STORE>(cx, i, m) {
        Ok(()) => Flow::Next,
        Err(flow) => flow,
    }
}

#[inline(always)]
fn multiply<const K: usize, const STORE: usize>(cx: &mut Cx<'_>, i: &Instr, m: u32) -> Result<(), Flow> {
    let (ta, tb) = (TYPES[(i.x & 7) as usize], TYPES[(i.x >> 3 & 7) as usize]);
    let n = (i.x >> 16) as usize;
    let keep = cx.mask_of(i.c) & 1 != 0;
    let half = i.x & wgmma::D_HALF != 0;
    let registers = if half { n / 4 } else { n / 2 };
    let selector = u32::from(i.x & wgmma::SELECTOR != 0);
    let Some(layout) = Layout::new(ta, K as u32, selector, false) else { return Err(Flow::Fault) };
    if cx.tainted && taint::of(cx, i.e) & layout.lanes() != 0 && cx.launch.checks.uninitialised {
        let text = "the metadata of a sparse matrix is uninitialised";
        return Err(cx.fail(FaultKind::LaunchFailed, Some("uninitialised"), None, text));
    }
    let columns = layout.columns(cx, i.e)?;
    wgmma::begin(cx, i, registers, K)?;
    let dense = wgmma::read_a::<STORE>(cx, i, ta, registers)?;
    let mut a = [[0f32; STORED]; 16];
    for (to, from) in a.iter_mut().zip(&dense) {
        to[..STORE].copy_from_slice(from);
    }
    let b = wgmma::read_b::<K>(cx, i, tb, n)?;
    if matches!(ta, Ty::S8 | Ty::U8) {
        for v in 0..registers {
            let d = cx.listed(i, v);
            let old = cx.lanes::<i32>(d);
            let out = std::array::from_fn(|l| {
                let (row, column) = (8 * (v / 2 % 2) + l / 4, 8 * (v / 4) + 2 * (l % 4) + v % 2);
                // Products of bytes are exact in f32.
                let dot: i64 = (0..STORE).map(|p| (a[row][p] * b[column][columns[row][p] as usize]) as i64).sum();
                let sum = dot + if keep { i64::from(old[l]) } else { 0 };
                if i.x & wgmma::SATURATE != 0 {
                    sum.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
                } else {
                    sum as i32
                }
            });
            cx.put(d, &out, m);
        }
    } else {
        let truncate = cx.launch.seed & 1 != 0 && !half;
        for block in 0..n / 8 {
            let mut acc = [[0f32; 8]; 16];
            if keep {
                for l in 0..32 {
                    for v in 0..4 {
                        acc[8 * (v / 2) + l / 4][2 * (l % 4) + v % 2] = if half {
                            h2f((cx.lane::<u32>(cx.listed(i, 2 * block + v / 2), l) >> (16 * (v % 2))) as u16)
                        } else {
                            cx.lane::<f32>(cx.listed(i, 4 * block + v), l)
                        };
                    }
                }
            }
            products(&a, &columns, STORE, |k, column| b[8 * block + column][k], truncate, &mut acc);
            let at = |v: usize, l: usize| acc[8 * (v / 2) + l / 4][2 * (l % 4) + v % 2];
            for v in 0..4 {
                if !half {
                    let d = cx.listed(i, 4 * block + v);
                    cx.put(d, &std::array::from_fn(|l| at(v, l)), m);
                } else if v % 2 == 0 {
                    let d = cx.listed(i, 2 * block + v / 2);
                    let pair = |l| u32::from(f2h(at(v, l))) | u32::from(f2h(at(v + 1, l))) << 16;
                    cx.put::<u32>(d, &std::array::from_fn(pair), m);
                }
            }
        }
    }
    cx.worker.traffic.tensor += 1;
    cx.worker.traffic.tensor_macs += (8 * n * K) as u64;
    cx.progress = true;
    wgmma::carry_taint(cx, i, registers, keep);
    Ok(())
}
