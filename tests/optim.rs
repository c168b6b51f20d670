//! Optimizers against PyTorch's update rules, written out in f64; and that a bent rule would be noticed.

#[path = "optim/on_device.rs"]
pub mod on_device;
#[path = "optim/reference.rs"]
mod reference;
#[cfg(test)]
mod support;

use crate::support::check::round;
use crate::support::{Random, devices};
use reference::*;
use warpsmith::autograd::{Gradient, RowSparse};
use warpsmith::nn::{Init, Params};
use warpsmith::optim::{
    AdaGradConfig, Adam, AdamConfig, Clip, Ftrl, FtrlConfig, Lion, LionConfig, Optimizer, RmsPropConfig, Sgd,
    SgdConfig, clip_grad_norm, clip_grad_value, grad_norm,
};
use warpsmith::{DType, Device, Gradients, Tensor};

fn sgd_follows_its_rule() {
    let base = SgdConfig::new(0.1);
    let configs = [
        base,
        SgdConfig { weight_decay: 0.3, ..base },
        SgdConfig { momentum: 0.9, ..base },
        SgdConfig { momentum: 0.9, nesterov: true, weight_decay: 0.1, ..base },
        SgdConfig { momentum: 0.8, dampening: 0.4, weight_decay: 0.1, ..base },
    ];
    let mut random = Random::fresh("sgd");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 1024, 1025, 7], vec![16_391, 3, 40_000]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&sgd(c), Clip::None);
                let error = problem.error(&found, &sgd_reference(&problem, &c, Clip::None));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                // Any bent constant would have been noticed.
                for bent in [
                    SgdConfig { lr: c.lr * 1.1, ..c },
                    SgdConfig { momentum: c.momentum + 0.1, ..c },
                    SgdConfig { weight_decay: c.weight_decay + 0.1, ..c },
                    SgdConfig { dampening: c.dampening + 0.1, momentum: c.momentum.max(0.1), ..c },
                    SgdConfig { nesterov: !c.nesterov, momentum: c.momentum.max(0.1), ..c },
                ] {
                    let error = problem.error(&found, &sgd_reference(&problem, &bent, Clip::None));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
}

fn adam_and_adamw_follow_their_rules() {
    let configs = [
        AdamConfig::adam(0.05),
        AdamConfig { weight_decay: 0.2, ..AdamConfig::adam(0.05) },
        AdamConfig { weight_decay: 0.2, ..AdamConfig::adamw(0.05) },
        AdamConfig { amsgrad: true, betas: (0.7, 0.8), eps: 0.01, ..AdamConfig::adam(0.05) },
    ];
    let mut random = Random::fresh("adam");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 1024, 1025, 7], vec![16_391, 3]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&adam(c), Clip::None);
                let error = problem.error(&found, &adam_reference(&problem, &c, Clip::None));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                for bent in [
                    AdamConfig { lr: c.lr * 1.5, ..c },
                    AdamConfig { betas: (c.betas.0 - 0.3, c.betas.1), ..c },
                    AdamConfig { betas: (c.betas.0, c.betas.1 - 0.3), ..c },
                    AdamConfig { eps: c.eps + 0.3, ..c },
                    AdamConfig { weight_decay: c.weight_decay + 0.6, ..c },
                ] {
                    let error = problem.error(&found, &adam_reference(&problem, &bent, Clip::None));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
    // In exact enough arithmetic the variants are told apart too.
    let problem = Problem::new(DType::F64, &[50], &mut random);
    for c in configs {
        let found = problem.run(&adam(c), Clip::None);
        let c = AdamConfig { weight_decay: c.weight_decay.max(0.01), ..c };
        let other = AdamConfig { decoupled: !c.decoupled, ..c };
        assert!(problem.error(&found, &adam_reference(&problem, &other, Clip::None)) > 1.0, "{c:?}");
        if c.amsgrad {
            let other = AdamConfig { amsgrad: false, ..c };
            assert!(problem.error(&found, &adam_reference(&problem, &other, Clip::None)) > 1.0, "{c:?}");
        }
    }
}

fn adagrad_follows_its_rule() {
    let base = AdaGradConfig::new(0.1);
    let configs = [
        base,
        AdaGradConfig { lr_decay: 0.3, weight_decay: 0.2, ..base },
        AdaGradConfig { initial_accumulator: 0.5, eps: 0.01, ..base },
    ];
    let mut random = Random::fresh("adagrad");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 7, 4097]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&adagrad(c), Clip::None);
                let error = problem.error(&found, &adagrad_reference(&problem, &c));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                for bent in [
                    AdaGradConfig { lr: c.lr * 1.5, ..c },
                    AdaGradConfig { lr_decay: c.lr_decay + 0.5, ..c },
                    AdaGradConfig { weight_decay: c.weight_decay + 0.6, ..c },
                    AdaGradConfig { initial_accumulator: c.initial_accumulator + 1.0, ..c },
                    AdaGradConfig { eps: c.eps + 0.5, ..c },
                ] {
                    let error = problem.error(&found, &adagrad_reference(&problem, &bent));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
}

fn rmsprop_follows_its_rule() {
    let base = RmsPropConfig { alpha: 0.8, eps: 0.1, ..RmsPropConfig::new(0.05) };
    let configs = [
        base,
        RmsPropConfig { momentum: 0.5, weight_decay: 0.1, ..base },
        RmsPropConfig { centered: true, ..base },
        RmsPropConfig { centered: true, momentum: 0.5, ..base },
    ];
    let mut random = Random::fresh("rmsprop");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 7, 4097]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&rmsprop(c), Clip::None);
                let error = problem.error(&found, &rmsprop_reference(&problem, &c));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                for bent in [
                    RmsPropConfig { lr: c.lr * 1.5, ..c },
                    RmsPropConfig { alpha: c.alpha - 0.3, ..c },
                    RmsPropConfig { eps: c.eps + 0.5, ..c },
                    RmsPropConfig { weight_decay: c.weight_decay + 0.6, ..c },
                    RmsPropConfig { momentum: c.momentum + 0.4, ..c },
                    RmsPropConfig { centered: !c.centered, ..c },
                ] {
                    let error = problem.error(&found, &rmsprop_reference(&problem, &bent));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
}

fn ftrl_follows_its_rule() {
    let base = FtrlConfig::new(0.5);
    let configs = [
        base,
        FtrlConfig { l1: 0.5, l2: 0.3, ..base },
        FtrlConfig { beta: 1.0, l1: 0.2, initial_accumulator: 0.0, ..base },
    ];
    let mut random = Random::fresh("ftrl");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 7, 4097]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&ftrl(c), Clip::None);
                let error = problem.error(&found, &ftrl_reference(&problem, &c));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                for bent in [
                    FtrlConfig { lr: c.lr * 1.5, ..c },
                    FtrlConfig { l1: c.l1 + 1.0, ..c },
                    FtrlConfig { l2: c.l2 + 2.0, ..c },
                    FtrlConfig { beta: c.beta + 2.0, ..c },
                    FtrlConfig { initial_accumulator: c.initial_accumulator + 2.0, ..c },
                ] {
                    let error = problem.error(&found, &ftrl_reference(&problem, &bent));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
    // What is pulled by less than λ₁ is exactly 0, and at a rate of 0 nothing moves.
    for device in devices::devices(5) {
        let problem = Problem::new(DType::F32, &[100], &mut random);
        let params = problem.params_on(&device);
        let mut optimizer = Ftrl::new(params.clone(), FtrlConfig { l1: 100.0, ..base }).unwrap();
        optimizer.set_lr(0.0);
        optimizer.step(&problem.gradients(0, &params)).unwrap();
        assert_eq!(params[0].1.to_f64_vec().unwrap(), problem.start[0]);
        optimizer.set_lr(0.5);
        optimizer.step(&problem.gradients(0, &params)).unwrap();
        assert!(params[0].1.to_f64_vec().unwrap().iter().all(|&p| p == 0.0));
    }
}

fn lion_follows_its_rule() {
    let base = LionConfig::new(0.05);
    let configs = [base, LionConfig { weight_decay: 0.3, ..base }, LionConfig { betas: (0.4, 0.7), ..base }];
    let mut random = Random::fresh("lion");
    for dtype in DTYPES {
        for sizes in [vec![1], vec![1023, 7, 4097]] {
            let problem = Problem::new(dtype, &sizes, &mut random);
            for c in configs {
                let found = problem.run(&lion(c), Clip::None);
                let error = problem.error(&found, &lion_reference(&problem, &c));
                assert!(error <= 1.0, "{dtype} {sizes:?} {c:?}: {error} times the bound");
                if sizes == [1] {
                    continue; // a single element may hide a small change of a constant
                }
                for bent in [
                    LionConfig { lr: c.lr * 1.5, ..c },
                    LionConfig { betas: (c.betas.0 - 0.3, c.betas.1), ..c },
                    LionConfig { betas: (c.betas.0, c.betas.1 - 0.3), ..c },
                    LionConfig { weight_decay: c.weight_decay + 0.6, ..c },
                ] {
                    let error = problem.error(&found, &lion_reference(&problem, &bent));
                    assert!(error > 1.0, "{dtype} {sizes:?}: {c:?} is not told from {bent:?}");
                }
            }
        }
    }
    // Where there never was a gradient only the decay moves anything; what is not a number reaches the parameter.
    for device in devices::devices(6) {
        let params = Params::new(&device, DType::F32, 0);
        let p = params.param("p", [5], Init::ONES).unwrap();
        let mut optimizer =
            Lion::new(params.trainable(), LionConfig { weight_decay: 0.5, ..LionConfig::new(0.5) }).unwrap();
        let mut gradients = Gradients::default();
        let g = Tensor::from_slice(&[0.0f32, -0.0, 1e-30, -1e30, f32::NAN], 5, &device).unwrap();
        gradients.set(&p, g).unwrap();
        optimizer.step(&gradients).unwrap();
        let found = p.to_vec::<f32>().unwrap();
        assert_eq!(found[..4], [0.75, 0.75, 0.25, 1.25]);
        assert!(found[4].is_nan());
    }
    let problem = Problem::new(DType::F32, &[3], &mut random);
    for c in [
        LionConfig { lr: -1.0, ..base },
        LionConfig { betas: (1.0, 0.9), ..base },
        LionConfig { betas: (0.9, -0.1), ..base },
        LionConfig { weight_decay: f64::NAN, ..base },
    ] {
        assert!(Lion::new(problem.params(), c).is_err(), "{c:?}");
    }
}

#[test]
fn pytorch_defaults() {
    let sgd = SgdConfig::default();
    assert_eq!((sgd.lr, sgd.momentum, sgd.dampening, sgd.weight_decay, sgd.nesterov), (1e-3, 0.0, 0.0, 0.0, false));
    let adam = AdamConfig::default();
    assert_eq!((adam.lr, adam.betas, adam.eps, adam.weight_decay), (1e-3, (0.9, 0.999), 1e-8, 0.0));
    let adamw = AdamConfig::adamw(1e-3);
    assert!(adamw.weight_decay == 0.01 && adamw.decoupled && !adam.decoupled && !adam.amsgrad);
}

fn clipping_on_the_way_and_beforehand_agree_with_the_definition() {
    let mut random = Random::fresh("clip");
    for dtype in DTYPES {
        let problem = Problem::new(dtype, &[1000, 17_000, 1], &mut random);
        let c = SgdConfig { momentum: 0.9, ..SgdConfig::new(0.1) };
        for clip in [Clip::Norm(3.0), Clip::Norm(1e9), Clip::Value(0.7)] {
            let expected = sgd_reference(&problem, &c, clip);
            let on_the_way = problem.run(&sgd(c), clip);
            assert!(problem.error(&on_the_way, &expected) <= 1.0, "{dtype} {clip:?}");
            let params = problem.params();
            let mut optimizer = sgd(c)(params.clone()).unwrap();
            for step in 0..STEPS {
                let mut gradients = problem.gradients(step, &params);
                match clip {
                    Clip::Norm(max) => {
                        let norm = clip_grad_norm(&mut gradients, &params, max).unwrap().item::<f64>().unwrap();
                        let squares = problem.gradients[step].iter().flatten().map(|g| g * g);
                        let exact = squares.sum::<f64>().sqrt();
                        // Lanes of at most 64 f32 squares: their relative error is far below 64 roundoffs.
                        assert!((norm / exact - 1.0).abs() < 64.0 * f32::EPSILON as f64);
                        let after = grad_norm(&gradients, &params).unwrap().item::<f64>().unwrap();
                        assert!(after <= max.min(norm) * (1.0 + 2.0 * dtype.unit_roundoff() + 1e-5));
                    }
                    Clip::Value(max) => clip_grad_value(&mut gradients, &params, max).unwrap(),
                    Clip::None => {}
                }
                optimizer.step(&gradients).unwrap();
            }
            let beforehand: Vec<_> = params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect();
            // Rewritten gradients are rounded to their dtype once more, and the velocity adds up to ten of them.
            let slack = 10.0;
            assert!(problem.error(&beforehand, &expected) <= slack, "{dtype} {clip:?}");
        }
    }
    let problem = Problem::new(DType::F32, &[3], &mut random);
    let params = problem.params();
    let mut gradients = problem.gradients(0, &params);
    assert!(clip_grad_norm(&mut gradients, &params, -1.0).is_err());
    assert!(clip_grad_value(&mut gradients, &params, f64::NAN).is_err());
}

fn absent_rows_of_a_sparse_gradient_count_as_zero() {
    let mut random = Random::fresh("rows");
    for (count, width) in [(50, 3), (7, 1), (9, 1025), (300, 17), (4, 1)] {
        let used: Vec<usize> = (0..count).filter(|i| i % 3 == 1).collect();
        for dtype in DTYPES {
            let mut problem = Problem::new(dtype, &[count * width], &mut random);
            for g in &mut problem.gradients {
                g[0].chunks_mut(width).enumerate().filter(|(i, _)| !used.contains(i)).for_each(|(_, r)| r.fill(0.0));
            }
            let c = SgdConfig::new(0.1);
            let momentum = SgdConfig { momentum: 0.9, weight_decay: 0.1, ..c };
            let a = AdamConfig::adamw(0.01);
            let falling = AdaGradConfig { lr_decay: 0.1, ..AdaGradConfig::new(0.1) };
            let makes: [Box<Make>; 8] = [
                Box::new(lion(LionConfig { weight_decay: 0.1, ..LionConfig::new(0.01) })),
                Box::new(sgd(c)),
                Box::new(sgd(momentum)),
                Box::new(adam(a)),
                Box::new(adagrad(AdaGradConfig::new(0.1))),
                Box::new(adagrad(falling)),
                Box::new(rmsprop(RmsPropConfig { momentum: 0.5, ..RmsPropConfig::new(0.01) })),
                Box::new(ftrl(FtrlConfig::new(0.1))),
            ];
            let devices = if dtype == DType::F64 { vec![Device::Cpu] } else { devices::devices(count as u64) };
            for ((k, make), device) in makes.iter().enumerate().flat_map(|m| devices.iter().map(move |d| (m, d))) {
                let on = |t: Tensor| t.to_device(device).unwrap();
                let params = Params::new(device, dtype, 0);
                let p = params.param_from("p", &on(tensor(&problem.start[0], &[count, width], dtype))).unwrap();
                let mut sparse = make(params.trainable()).unwrap();
                let dense = problem.params_on(device);
                let mut other = make(dense.clone()).unwrap();
                for step in 0..STEPS {
                    let g = &problem.gradients[step][0];
                    let rows: Vec<f64> = used.iter().flat_map(|&i| g[i * width..(i + 1) * width].to_vec()).collect();
                    let indices: Vec<i64> = used.iter().map(|&i| i as i64).collect();
                    let mut gradients = Gradients::default();
                    let rows = RowSparse {
                        indices: Tensor::from_slice(&indices, [used.len()], device).unwrap(),
                        rows: on(tensor(&rows, &[used.len(), width], dtype)),
                        shape: *p.shape(),
                    };
                    gradients.set(&p, Gradient::Rows(Box::new(rows))).unwrap();
                    sparse.step(&gradients).unwrap();
                    other.step(&problem.gradients(step, &dense)).unwrap();
                }
                let expected = dense[0].1.to_f64_vec().unwrap();
                assert_eq!(p.to_f64_vec().unwrap(), expected, "{count}×{width} {dtype} {k} on {device}");
            }
        }
    }
}

#[test]
fn rows_out_of_range_or_out_of_order_are_errors() {
    let params = Params::new(&Device::Cpu, DType::F32, 0);
    let p = params.param("p", [4, 2], Init::ONES).unwrap();
    let before = p.to_vec::<f32>().unwrap();
    let mut optimizer = Sgd::new(params.trainable(), SgdConfig::new(0.1)).unwrap();
    for indices in [[0i64, 4], [-1, 1], [2, 1], [1, 1]] {
        let rows = RowSparse {
            indices: Tensor::from_slice(&indices, [2], &Device::Cpu).unwrap(),
            rows: tensor(&[1.0; 4], &[2, 2], DType::F32),
            shape: *p.shape(),
        };
        let mut gradients = Gradients::default();
        gradients.set(&p, Gradient::Rows(Box::new(rows))).unwrap();
        assert!(optimizer.step(&gradients).unwrap_err().to_string().contains("rows"), "{indices:?}");
    }
    assert_eq!(p.to_vec::<f32>().unwrap(), before);
}

#[test]
fn strided_and_expanded_gradients_and_views_of_the_parameter_itself() {
    for dtype in DTYPES {
        let params = Params::new(&Device::Cpu, dtype, 0);
        let values: Vec<f64> = (0..3 * 1100).map(|i| round((i % 97) as f64 / 16.0, dtype)).collect();
        let p = params.param_from("p", &tensor(&values, &[3, 1100], dtype)).unwrap();
        let q = params.param_from("q", &tensor(&[1.0; 12], &[3, 4], dtype)).unwrap();
        let r = params.param_from("r", &tensor(&[0.5, 2.0], &[2], dtype)).unwrap();
        let mut gradients = Gradients::default();
        let transposed = tensor(&values, &[1100, 3], dtype).transpose(0, 1).unwrap();
        gradients.set(&p, transposed).unwrap();
        gradients.set(&q, tensor(&[1.0, 2.0, 3.0], &[3, 1], dtype).expand([3, 4]).unwrap()).unwrap();
        gradients.set(&r, r.detach()).unwrap();
        Sgd::new(params.trainable(), SgdConfig::new(1.0)).unwrap().step(&gradients).unwrap();
        let found = p.to_f64_vec().unwrap();
        for (i, f) in found.iter().enumerate() {
            let expected = round(values[i] - values[i % 1100 * 3 + i / 1100], dtype);
            assert_eq!(*f, expected, "{dtype} {i}");
        }
        let expected: Vec<f64> = (0..12).map(|i| 1.0 - (1 + i / 4) as f64).collect();
        assert_eq!(q.to_f64_vec().unwrap(), expected);
        assert_eq!(r.to_f64_vec().unwrap(), [0.0, 0.0]);
    }
}

#[test]
fn groups_have_their_options_and_keep_the_ratio_of_their_rates() {
    let mut random = Random::fresh("groups");
    let problem = Problem::new(DType::F64, &[20, 30], &mut random);
    let params = problem.params();
    let (a, b) = (SgdConfig::new(0.1), SgdConfig { momentum: 0.5, weight_decay: 0.1, ..SgdConfig::new(0.02) });
    let groups = vec![(vec![params[0].clone()], a), (vec![params[1].clone()], b)];
    let mut optimizer = Sgd::with_groups(groups).unwrap();
    optimizer.set_lr(0.0);
    optimizer.set_lr(0.3);
    assert_eq!(optimizer.lr(), 0.3);
    for step in 0..STEPS {
        optimizer.step(&problem.gradients(step, &params)).unwrap();
    }
    let found: Vec<_> = params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect();
    let of = |c: SgdConfig| sgd_reference(&problem, &c, Clip::None);
    let ((first, peaks), (second, other_peaks)) = (of(SgdConfig { lr: 0.3, ..a }), of(SgdConfig { lr: 0.06, ..b }));
    let expected = (vec![first[0].clone(), second[1].clone()], vec![peaks[0].clone(), other_peaks[1].clone()]);
    assert!(problem.error(&found, &expected) <= 1.0);
}

#[test]
fn a_parameter_without_a_gradient_stays_and_starts_late() {
    let mut random = Random::fresh("late");
    let problem = Problem::new(DType::F64, &[5, 5], &mut random);
    let params = problem.params();
    let c = AdamConfig::adam(0.1);
    let mut optimizer = Adam::new(params.clone(), c).unwrap();
    let mut first = Gradients::default();
    first.set(&params[0].1, tensor(&problem.gradients[0][0], &[5], DType::F64)).unwrap();
    optimizer.step(&first).unwrap();
    assert_eq!(params[1].1.to_f64_vec().unwrap(), problem.start[1]);
    let mut second = Gradients::default();
    second.set(&params[1].1, tensor(&problem.gradients[0][1], &[5], DType::F64)).unwrap();
    optimizer.step(&second).unwrap();
    // Each has had one update, with the bias correction of a first one.
    let one = Problem { dtype: DType::F64, start: problem.start.clone(), gradients: problem.gradients[..1].to_vec() };
    let found: Vec<_> = params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect();
    assert!(one.error(&found, &adam_reference(&one, &c, Clip::None)) <= 1.0);
}

fn a_resumed_run_continues_bit_for_bit() {
    let mut random = Random::fresh("resume");
    for dtype in DTYPES {
        let problem = Problem::new(dtype, &[100, 2000], &mut random);
        let amsgrad = AdamConfig { amsgrad: true, ..AdamConfig::adamw(0.01) };
        let momentum = SgdConfig { momentum: 0.9, ..SgdConfig::new(0.1) };
        let rms = RmsPropConfig { centered: true, momentum: 0.5, ..RmsPropConfig::new(0.01) };
        let makes: [Box<Make>; 8] = [
            Box::new(lion(LionConfig::new(0.01))),
            Box::new(adagrad(AdaGradConfig { lr_decay: 0.1, ..AdaGradConfig::new(0.1) })),
            Box::new(rmsprop(rms)),
            Box::new(ftrl(FtrlConfig::new(0.1))),
            Box::new(sgd(SgdConfig::new(0.1))),
            Box::new(sgd(momentum)),
            Box::new(adam(AdamConfig::adam(0.01))),
            Box::new(adam(amsgrad)),
        ];
        let devices = if dtype == DType::F64 { vec![Device::Cpu] } else { devices::devices(dtype as u64) };
        for ((k, make), device) in makes.iter().enumerate().flat_map(|m| devices.iter().map(move |d| (m, d))) {
            let through = problem.run_on(device, make, Clip::None);
            let params = problem.params_on(device);
            let mut first = make(params.clone()).unwrap();
            for step in 0..STEPS / 2 {
                first.step(&problem.gradients(step, &params)).unwrap();
            }
            let saved = first.state_dict().unwrap();
            // The state is a copy: later steps of the first optimizer must not reach it.
            drop(first);
            let mut second = make(params.clone()).unwrap();
            second.load_state_dict(&saved, "the state").unwrap();
            for step in STEPS / 2..STEPS {
                second.step(&problem.gradients(step, &params)).unwrap();
            }
            let found: Vec<_> = params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect();
            assert_eq!(found, through, "{dtype} {k} on {device}");
        }
    }
}

#[test]
fn the_state_of_another_optimizer_or_model_is_an_error_and_changes_nothing() {
    let mut random = Random::fresh("foreign");
    let problem = Problem::new(DType::F32, &[10, 20], &mut random);
    let params = problem.params();
    let momentum = SgdConfig { momentum: 0.9, ..SgdConfig::new(0.1) };
    let mut optimizer = Sgd::new(params.clone(), momentum).unwrap();
    optimizer.step(&problem.gradients(0, &params)).unwrap();
    let before = optimizer.state_dict().unwrap();
    let other = Problem::new(DType::F32, &[10, 21], &mut random);
    let others = other.params();
    let mut foreign = Sgd::new(others.clone(), momentum).unwrap();
    foreign.step(&other.gradients(0, &others)).unwrap();
    let mut adam = Adam::new(params.clone(), AdamConfig::adam(0.1)).unwrap();
    adam.step(&problem.gradients(0, &params)).unwrap();
    for (state, part) in [(foreign.state_dict().unwrap(), "p1.velocity"), (adam.state_dict().unwrap(), "p0.exp_avg")] {
        let message = optimizer.load_state_dict(&state, "a file").unwrap_err().to_string();
        assert!(message.contains(part) && message.contains("a file"), "{message}");
        for (name, value) in optimizer.state_dict().unwrap().iter() {
            assert_eq!(value.to_f64_vec().unwrap(), before.get(name).unwrap().to_f64_vec().unwrap(), "{name}");
        }
    }
}

#[test]
fn senseless_options_are_errors() {
    let params = || {
        let params = Params::new(&Device::Cpu, DType::F32, 0);
        params.param("p", [2], Init::ONES).unwrap();
        params.trainable()
    };
    let base = SgdConfig::new(0.1);
    for c in [
        SgdConfig { lr: -1.0, ..base },
        SgdConfig { lr: f64::NAN, ..base },
        SgdConfig { momentum: -0.5, ..base },
        SgdConfig { nesterov: true, ..base },
        SgdConfig { nesterov: true, momentum: 0.9, dampening: 0.1, ..base },
    ] {
        assert!(Sgd::new(params(), c).is_err(), "{c:?}");
    }
    let base = AdamConfig::adam(0.1);
    for c in [AdamConfig { betas: (1.0, 0.9), ..base }, AdamConfig { eps: -1.0, ..base }] {
        assert!(Adam::new(params(), c).is_err(), "{c:?}");
    }
    assert!(Sgd::new(vec![], SgdConfig::new(0.1)).is_err());
    let twice = [params(), params()].concat();
    assert!(Sgd::new(twice, SgdConfig::new(0.1)).is_err());
}

crate::support::device_checks!(
    sgd_follows_its_rule,
    adam_and_adamw_follow_their_rules,
    adagrad_follows_its_rule,
    rmsprop_follows_its_rule,
    ftrl_follows_its_rule,
    lion_follows_its_rule,
    clipping_on_the_way_and_beforehand_agree_with_the_definition,
    absent_rows_of_a_sparse_gradient_count_as_zero,
    a_resumed_run_continues_bit_for_bit,
);
