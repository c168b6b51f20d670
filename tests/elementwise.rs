//! Elementwise operations against their definitions.

mod support;

use support::array::zip;
use support::{Domain, OpCheck};

#[test]
fn arithmetic_with_broadcasting() {
    for (a, b) in [(vec![3, 5], vec![3, 5]), (vec![4, 1, 3], vec![5, 1]), (vec![], vec![7]), (vec![2, 0], vec![1])] {
        OpCheck::new("add", |x| x[0].add(&x[1]), |x| zip(&x[0], &x[1], |a, b| a + b)).input(&a).input(&b).run();
        OpCheck::new("sub", |x| x[0].sub(&x[1]), |x| zip(&x[0], &x[1], |a, b| a - b)).input(&a).input(&b).run();
        OpCheck::new("mul", |x| x[0].mul(&x[1]), |x| zip(&x[0], &x[1], |a, b| a * b)).input(&a).input(&b).run();
        let away = Domain::Avoid { range: (-2.0, 2.0), points: vec![0.0], margin: 0.5 };
        OpCheck::new("div", |x| x[0].div(&x[1]), |x| zip(&x[0], &x[1], |a, b| a / b))
            .input(&a)
            .input_in(&b, away)
            .ulps(2.0, 35.0) // sums of up to 35 terms, rounded as they go
            .run();
    }
}

#[test]
fn relu() {
    let away = Domain::Avoid { range: (-2.0, 2.0), points: vec![0.0], margin: 0.05 };
    for dims in [vec![1], vec![33], vec![3, 7]] {
        OpCheck::new("relu", |x| x[0].relu(), |x| x[0].map(|v| v.max(0.0))).input_in(&dims, away.clone()).run();
    }
}
