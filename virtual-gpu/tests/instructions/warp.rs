//! Exchanges within a warp: each group of 32 operand sets is a warp.

use super::harness::{Draw, apply, kernel, mask};

type Warp<'w> = &'w [[u64; 4]];

fn inputs(draw: &mut Draw, few: bool) -> Vec<[u64; 4]> {
    (0..32 * 40)
        .map(|_| {
            let v = draw.next();
            // Few values where lanes are compared, so that some agree.
            [if few { v % 3 } else { v }, draw.next() % 40, draw.next() & 0x1f1f, draw.next() & 1]
        })
        .collect()
}

/// A form, and what is right for each lane.
struct Case {
    op: String,
    operands: &'static str,
    classes: String,
    few: bool,
    right: Box<dyn Fn(Warp, usize) -> [u64; 2]>,
}

fn case(
    op: &str,
    operands: &'static str,
    classes: &str,
    few: bool,
    right: impl Fn(Warp, usize) -> [u64; 2] + 'static,
) -> Case {
    Case { op: op.into(), operands, classes: classes.into(), few, right: Box::new(right) }
}

/// Compares the forms with what is right.
fn check(cases: Vec<Case>) {
    for c in cases {
        let input = inputs(&mut Draw(3), c.few);
        let got = apply(&c.op, c.operands, &c.classes, &input);
        for (w, warp) in input.chunks_exact(32).enumerate() {
            for l in 0..32 {
                assert_eq!(got[32 * w + l], (c.right)(warp, l), "{} {}: warp {w}, lane {l}", c.op, c.operands);
            }
        }
    }
}

/// What the modules of these tests execute.
pub fn texts() -> Vec<String> {
    let all = shuffles().into_iter().chain(votes()).chain(matches_and_reductions());
    all.map(|c| kernel(&c.op, c.operands, &c.classes)).collect()
}

#[test]
fn exchanges_within_a_warp() {
    check(shuffles());
    check(votes());
    check(matches_and_reductions());
}

fn shuffles() -> Vec<Case> {
    let mut out = Vec::new();
    // The ISA's own description of the lane that is read.
    for mode in ["up", "down", "bfly", "idx"] {
        out.push(case(&format!("shfl.sync.{mode}.b32"), "$d|$e, $a, $b, $c, -1", "rrr>rp", false, move |w, l| {
            let lane = l as i64;
            let bval = (w[l][1] & 31) as i64;
            let cval = (w[l][2] & 31) as i64;
            let segment = (w[l][2] >> 8 & 31) as i64;
            let max = (lane & segment) | (cval & !segment);
            let min = lane & segment;
            let (j, p) = match mode {
                "up" => (lane - bval, lane - bval >= max),
                "down" => (lane + bval, lane + bval <= max),
                "bfly" => (lane ^ bval, lane ^ bval <= max),
                _ => (min | bval & !segment, min | bval & !segment <= max),
            };
            let p = if mode == "idx" { j <= max } else { p };
            let j = if p { j } else { lane };
            [w[(j & 31) as usize][0] & mask(32), u64::from(p)]
        }));
    }
    out
}

fn votes() -> Vec<Case> {
    let mut out = Vec::new();
    let ballot = |w: Warp| (0..32).fold(0u64, |b, l| b | (w[l][3] & 1) << l);
    for (mode, f) in
        [("all", (|b| b == mask(32)) as fn(u64) -> bool), ("any", |b| b != 0), ("uni", |b| b == 0 || b == mask(32))]
    {
        out.push(case(&format!("vote.sync.{mode}.pred"), "$d, $s, -1", "rrrp>p", false, move |w, _| {
            [u64::from(f(ballot(w))), 0]
        }));
        out.push(case(&format!("vote.sync.{mode}.pred"), "$d, !$s, -1", "rrrp>p", false, move |w, _| {
            [u64::from(f(!ballot(w) & mask(32))), 0]
        }));
    }
    out.push(case("vote.sync.ballot.b32", "$d, $s, -1", "rrrp>r", false, move |w, _| [ballot(w), 0]));
    out.push(case("activemask.b32", "$d", ">r", false, |_, _| [mask(32), 0]));
    out.push(case("elect.sync", "$d|$e, -1", ">rp", false, |_, l| [0, u64::from(l == 0)]));
    out
}

fn matches_and_reductions() -> Vec<Case> {
    let mut out = Vec::new();
    for bits in [32, 64] {
        let class = if bits == 32 { "r" } else { "d" };
        let same = move |w: Warp, l: usize| {
            (0..32).fold(0u64, |b, k| b | u64::from((w[k][0] ^ w[l][0]) & mask(bits) == 0) << k)
        };
        out.push(case(&format!("match.any.sync.b{bits}"), "$d, $a, -1", &format!("{class}>r"), true, move |w, l| {
            [same(w, l), 0]
        }));
        for few in [true, false] {
            out.push(case(
                &format!("match.all.sync.b{bits}"),
                "$d|$e, $a, -1",
                &format!("{class}>rp"),
                few,
                move |w, _| {
                    let all = same(w, 0) == mask(32);
                    [if all { mask(32) } else { 0 }, u64::from(all)]
                },
            ));
        }
    }
    type F = fn(u64, u64) -> u64;
    let table: &[(&str, F)] = &[
        ("add.u32", |a, b| (a + b) & mask(32)),
        ("add.s32", |a, b| (a + b) & mask(32)),
        ("min.u32", u64::min),
        ("max.u32", u64::max),
        ("min.s32", |a, b| if (a as i32) < b as i32 { a } else { b }),
        ("max.s32", |a, b| if (a as i32) > b as i32 { a } else { b }),
        ("and.b32", |a, b| a & b),
        ("or.b32", |a, b| a | b),
        ("xor.b32", |a, b| a ^ b),
    ];
    for (op, f) in table {
        let f = *f;
        out.push(case(&format!("redux.sync.{op}"), "$d, $a, -1", "r>r", false, move |w, _| {
            [w.iter().map(|v| v[0] & mask(32)).reduce(f).expect("32 lanes"), 0]
        }));
    }
    out
}
