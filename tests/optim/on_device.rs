//! What stays on the device in a step: the norm, counts of updates, the loss scale, and master weights.

use super::reference::*;
use crate::support::check::round;
use crate::support::{Random, devices};
use warpsmith::nn::{Init, Param, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip, LossScaler, LossScalerConfig, Optimizer, Sgd, SgdConfig, grad_norm};
use warpsmith::{DType, Device, Gradients, Tensor};

fn the_norm_stays_on_the_device_and_spans_dtypes_and_the_range_of_f32() {
    let mut random = Random::fresh("norm");
    for device in devices::devices(7) {
        let params = Params::new(&device, DType::F32, 0);
        let (mut gradients, mut squares) = (Gradients::default(), 0.0);
        // Beyond 1.8e19 the square is beyond f32; the factor and the norm are not.
        for (i, (dtype, n, large)) in
            [(DType::F32, 5000, 1e25), (DType::BF16, 4097, 3e24), (DType::F16, 33, 1.0), (DType::F32, 0, 1.0)]
                .into_iter()
                .enumerate()
        {
            let values: Vec<f64> = (0..n).map(|_| round(random.range(-1.0, 1.0) * large, dtype)).collect();
            let zeros = Tensor::zeros(n, dtype, &device).unwrap();
            let p = params.param_from(&format!("p{i}"), &zeros).unwrap();
            squares += values.iter().map(|g| g * g).sum::<f64>();
            gradients.set(&p, tensor(&values, &[n], dtype).to_device(&device).unwrap()).unwrap();
        }
        let params = params.trainable();
        let norm = grad_norm(&gradients, &params).unwrap();
        assert_eq!((norm.dims(), norm.dtype(), norm.device()), (&[][..], DType::F32, &device));
        let exact = squares.sqrt();
        assert!((norm.item::<f64>().unwrap() / exact - 1.0).abs() < 32.0 * f32::EPSILON as f64, "{norm:?} {exact}");
        let mut optimizer = Sgd::new(params.clone(), SgdConfig::new(1.0)).unwrap();
        let told = optimizer.step_clipped(&gradients, Clip::Norm(2.0)).unwrap().unwrap();
        assert_eq!(told.item::<f32>().unwrap(), norm.item::<f32>().unwrap());
        let moved: f64 = params.iter().flat_map(|(_, p)| p.to_f64_vec().unwrap()).map(|p| p * p).sum();
        // Rounded to bf16 at worst.
        assert!((moved.sqrt() / 2.0 - 1.0).abs() < DType::BF16.unit_roundoff(), "{moved}");
        assert!(optimizer.step_clipped(&gradients, Clip::None).unwrap().is_none());
    }
}

fn without_a_loss_scale_what_is_not_a_number_reaches_the_parameters() {
    for device in devices::devices(8) {
        for (bad, clip) in [(f32::NAN, Clip::Norm(1.0)), (f32::NAN, Clip::None), (f32::INFINITY, Clip::Norm(1.0))] {
            let params = Params::new(&device, DType::F32, 0);
            let p = params.param("p", [3], Init::ONES).unwrap();
            let mut gradients = Gradients::default();
            gradients.set(&p, Tensor::from_slice(&[1.0, bad, 2.0], 3, &device).unwrap()).unwrap();
            Sgd::new(params.trainable(), SgdConfig::new(0.5)).unwrap().step_clipped(&gradients, clip).unwrap();
            let found = p.to_vec::<f32>().unwrap();
            // PyTorch's: max / NaN is NaN for all, max / ∞ is 0 (and NaN for what is infinite).
            let expected = match clip {
                Clip::Norm(_) if bad.is_nan() => [f32::NAN; 3],
                Clip::Norm(_) => [1.0, f32::NAN, 1.0],
                _ => [0.5, f32::NAN, 0.0],
            };
            let same = |(a, b): (&f32, &f32)| a == b || a.is_nan() && b.is_nan();
            assert!(found.iter().zip(&expected).all(same), "{bad} {clip:?}: {found:?}");
        }
    }
}

fn two_halves_make_a_step_and_rates_change_between_launches() {
    let mut random = Random::fresh("halves");
    let problem = Problem::new(DType::BF16, &[5000, 3], &mut random);
    for device in devices::devices(9) {
        let run = |halves: bool| {
            let params = problem.params_on(&device);
            let gradients: Vec<_> = (0..STEPS).map(|step| problem.gradients(step, &params)).collect();
            let mut optimizer = Adam::new(params.clone(), AdamConfig::adamw(0.1)).unwrap();
            assert!(optimizer.launch(&gradients[0], None).is_err(), "nothing is prepared");
            for (step, gradients) in gradients.iter().enumerate() {
                optimizer.set_lr(0.1 / (1 + step) as f64);
                let clip = Clip::Norm(1.0 + step as f64);
                if halves {
                    optimizer.prepare(clip).unwrap();
                    optimizer.launch(gradients, None).unwrap();
                } else {
                    optimizer.step_clipped(gradients, clip).unwrap();
                }
            }
            params.iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(run(true), run(false));
    }
}

/// Steps with an overflow in some of them, against a run in which these did not happen.
fn a_loss_scaler_skips_overflows_backs_off_and_grows() {
    let mut random = Random::fresh("scaler");
    let config = LossScalerConfig { initial: 8.0, growth: 2.0, backoff: 0.5, interval: 3 };
    let overflows = [1, 2, 6];
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let problem = Problem::new(dtype, &[4100, 3], &mut random);
        for device in devices::devices(dtype as u64) {
            for clip in [Clip::None, Clip::Norm(0.5), Clip::Value(0.7)] {
                let (params, plain) = (problem.params_on(&device), problem.params_on(&device));
                let mut optimizer = Adam::new(params.clone(), AdamConfig::adamw(0.1)).unwrap();
                let mut other = Adam::new(plain.clone(), AdamConfig::adamw(0.1)).unwrap();
                let mut scaler = LossScaler::with_config(&device, config).unwrap();
                let (mut scale, mut good, mut skipped) = (8.0, 0, 0);
                for step in 0..14 {
                    assert_eq!(scaler.factor().unwrap().item::<f64>().unwrap(), scale, "step {step}");
                    let exact = problem.gradients(step % STEPS, &plain);
                    let mut gradients = Gradients::default();
                    for ((_, p), (_, q)) in params.iter().zip(&plain) {
                        // By powers of two: exact.
                        gradients.set(p, exact.expect(q).unwrap().affine(scale, 0.0).unwrap()).unwrap();
                    }
                    if overflows.contains(&step) {
                        let mut values = gradients.expect(&params[1].1).unwrap().to_f64_vec().unwrap();
                        values[2] = if step == 1 { f64::INFINITY } else { f64::NAN };
                        let bad = tensor(&values, &[3], dtype).to_device(&device).unwrap();
                        gradients.set(&params[1].1, bad).unwrap();
                        (scale, good, skipped) = (scale / 2.0, 0, skipped + 1);
                        scaler.step_clipped(&mut optimizer, &gradients, clip).unwrap();
                    } else {
                        let norm = scaler.step_clipped(&mut optimizer, &gradients, clip).unwrap();
                        let expected = other.step_clipped(&exact, clip).unwrap();
                        let read = |norm: Option<Tensor>| norm.map(|norm| norm.item::<f64>().unwrap());
                        assert_eq!(read(norm), read(expected), "{dtype} {clip:?} step {step}");
                        good += 1;
                        if good == 3 {
                            (scale, good) = (scale * 2.0, 0);
                        }
                    }
                }
                assert_eq!(scaler.skipped().unwrap().item::<i64>().unwrap(), skipped);
                let (a, b) = (optimizer.state_dict().unwrap(), other.state_dict().unwrap());
                for (name, value) in a.iter() {
                    let expected = b.get(name).unwrap().to_f64_vec().unwrap();
                    assert_eq!(value.to_f64_vec().unwrap(), expected, "{dtype} {clip:?} {name}");
                }
                for ((_, p), (_, q)) in params.iter().zip(&plain) {
                    assert_eq!(p.to_f64_vec().unwrap(), q.to_f64_vec().unwrap(), "{dtype} {clip:?}");
                }
                // A saved scaler goes on where it was, in the same memory.
                let mut second = LossScaler::with_config(&device, config).unwrap();
                second.load_state_dict(&scaler.state_dict().unwrap(), "a file").unwrap();
                for scaler in [&mut scaler, &mut second] {
                    for _ in 0..2 {
                        scaler.step(&mut optimizer, &problem.gradients(0, &params)).unwrap();
                    }
                }
                let state = |scaler: &LossScaler| scaler.state_dict().unwrap();
                for name in ["scale", "steps"] {
                    let [a, b] = [&scaler, &second].map(|s| state(s).get(name).unwrap().to_f64_vec().unwrap());
                    assert_eq!(a, b, "{name}");
                }
                assert!(second.load_state_dict(&other.state_dict().unwrap(), "a file").is_err());
            }
        }
    }
    for c in [
        LossScalerConfig { initial: 0.0, ..config },
        LossScalerConfig { growth: 0.5, ..config },
        LossScalerConfig { backoff: 1.5, ..config },
        LossScalerConfig { interval: 0, ..config },
    ] {
        assert!(LossScaler::with_config(&Device::Cpu, c).is_err(), "{c:?}");
    }
}

/// Updates far below the spacing of the parameter's dtype add up in f32, and are lost without it.
fn master_weights_keep_what_rounding_would_lose() {
    for dtype in [DType::F16, DType::BF16] {
        for device in devices::devices(10) {
            let run = |master_weights: bool, optimizer: &dyn Fn(Vec<(String, Param)>, bool) -> Box<dyn Optimizer>| {
                let params = Params::new(&device, dtype, 0);
                let p = params.param("p", [4099], Init::ONES).unwrap();
                let mut optimizer = optimizer(params.trainable(), master_weights);
                let mut gradients = Gradients::default();
                gradients.set(&p, Tensor::full(1.0, 4099, dtype, &device).unwrap()).unwrap();
                for _ in 0..32 {
                    optimizer.step(&gradients).unwrap();
                }
                (p.to_f64_vec().unwrap(), optimizer.state_dict().unwrap())
            };
            // 32 steps of a sixteenth of the spacing below 1.
            let step = dtype.unit_roundoff() / 16.0;
            let sgd = |params, master_weights| -> Box<dyn Optimizer> {
                Box::new(Sgd::new(params, SgdConfig { master_weights, ..SgdConfig::new(step) }).unwrap())
            };
            let adam = |params, master_weights| -> Box<dyn Optimizer> {
                let c = AdamConfig { master_weights, eps: 0.0, ..AdamConfig::adam(step) };
                Box::new(Adam::new(params, c).unwrap())
            };
            let both: [&dyn Fn(_, _) -> Box<dyn Optimizer>; 2] = [&sgd, &adam];
            for make in both {
                let (kept, state) = run(true, make);
                assert!(kept.iter().all(|&p| p == 1.0 - 32.0 * step), "{dtype}: {}", kept[0]);
                let master = state.get("p.master").unwrap();
                assert_eq!((master.dtype(), master.dims()), (DType::F32, &[4099][..]));
                let (lost, state) = run(false, make);
                assert!(lost.iter().all(|&p| p == 1.0), "{dtype}: {}", lost[0]);
                assert!(state.get("p.master").is_none());
            }
        }
    }
}

crate::support::device_checks!(
    the_norm_stays_on_the_device_and_spans_dtypes_and_the_range_of_f32,
    without_a_loss_scale_what_is_not_a_number_reaches_the_parameters,
    two_halves_make_a_step_and_rates_change_between_launches,
    a_loss_scaler_skips_overflows_backs_off_and_grows,
    master_weights_keep_what_rounding_would_lose,
);
