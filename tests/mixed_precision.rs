//! Autocast: every operation of its table against explicit casts, to the bit; the scope's rules; and networks that
//! train in bf16 and, with a loss scale, in f16.

mod support;

use std::cell::Cell;
use std::rc::Rc;
use support::{Random, devices};
use warpsmith::autograd::{autocast_dtype, checkpoint, intercept};
use warpsmith::models::{Gpt, GptConfig, ResNet, ResNetConfig};
use warpsmith::nn::{Ctx, Module, Params, Rnn, RnnConfig, RnnKind};
use warpsmith::ops::autocast::{Policy, TABLE};
use warpsmith::ops::{AttentionParams, Conv1dParams, Conv2dParams, ConvTranspose2dParams};
use warpsmith::optim::{Adam, AdamConfig, Clip, LossScaler, LossScalerConfig, Optimizer, Sgd, SgdConfig};
use warpsmith::train::CapturedStep;
use warpsmith::{DType, Device, Gradients, Reduction, Result, Tensor, Var, autocast, no_grad};

const HALVES: [DType; 2] = [DType::BF16, DType::F16];

type Run = Box<dyn Fn(&[Tensor]) -> Result<Tensor>>;

/// A call of an operation: the shapes of its inputs, of which the first are tracked.
struct Case {
    shapes: Vec<Vec<usize>>,
    tracked: usize,
    run: Run,
}

fn case<const N: usize>(shapes: [&[usize]; N], run: impl Fn(&[Tensor]) -> Result<Tensor> + 'static) -> Case {
    Case { shapes: shapes.iter().map(|s| s.to_vec()).collect(), tracked: N, run: Box::new(run) }
}

/// Of which only the first input is tracked.
fn constant(case: Case) -> Case {
    Case { tracked: 1, ..case }
}

fn labels(n: usize, device: &Device) -> Result<Tensor> {
    Tensor::from_slice(&(0..n as i64).collect::<Vec<_>>(), n, device)
}

/// The call that stands for an operation of the table.
fn call(op: &str) -> Case {
    let x: &[usize] = &[3, 5];
    match op {
        "matmul" => case([&[3, 4], &[4, 5]], |t| t[0].matmul(&t[1])),
        "linear" => case([&[3, 4], &[5, 4], &[5]], |t| t[0].linear_gelu(&t[1], Some(&t[2]))),
        "conv1d" => case([&[2, 3, 7], &[4, 3, 3], &[4]], |t| t[0].conv1d(&t[1], Some(&t[2]), Conv1dParams::default())),
        "conv2d" => case([&[1, 2, 5, 5], &[3, 2, 3, 3]], |t| t[0].conv2d(&t[1], None, Conv2dParams::default())),
        "conv_transpose2d" => case([&[1, 2, 3, 3], &[2, 3, 2, 2], &[3]], |t| {
            t[0].conv_transpose2d(&t[1], Some(&t[2]), ConvTranspose2dParams::default())
        }),
        "scaled_dot_product_attention" => Case {
            tracked: 3,
            ..case([&[1, 1, 4, 32], &[1, 1, 4, 32], &[1, 1, 4, 32], &[4, 4]], |t| {
                let params = AttentionParams { mask: Some(t[3].clone()), ..AttentionParams::default() };
                t[0].scaled_dot_product_attention(&t[1], &t[2], &params)
            })
        },
        "softmax" => case([x], |t| t[0].softmax(-1)),
        "log_softmax" => case([x], |t| t[0].log_softmax(0)),
        "layer_norm" => case([&[3, 6], &[3, 6], &[6], &[6]], |t| {
            let (sum, y) = t[0].add_layer_norm(&t[1], 1, Some(&t[2]), Some(&t[3]), 1e-5)?;
            sum + y
        }),
        "rms_norm" => case([&[3, 6], &[6]], |t| t[0].rms_norm(Some(&t[1]), 1e-5)),
        "group_norm" => case([&[2, 4, 3], &[4], &[4]], |t| t[0].group_norm(2, Some(&t[1]), Some(&t[2]), 1e-5)),
        "sum" => case([x], |t| t[0].sum(&[1])),
        "mean" => case([x], |t| t[0].mean_all()),
        "prod" => case([x], |t| t[0].prod(&[0])),
        "var" => case([x], |t| t[0].var(&[1], 1.0)),
        "std" => case([x], |t| t[0].std(&[1], 0.0)),
        "norm1" => case([x], |t| t[0].norm1(&[1])),
        "norm2" => case([x], |t| t[0].norm2(&[1])),
        "logsumexp" => case([x], |t| t[0].logsumexp(&[1])),
        "cumsum" => case([x], |t| t[0].cumsum(1)),
        "cumprod" => case([x], |t| t[0].cumprod(1)),
        "cross_entropy" => case([x], |t| t[0].cross_entropy(&labels(3, t[0].device())?, &Default::default())),
        "nll_loss" => case([x], |t| t[0].nll_loss(&labels(3, t[0].device())?, &Default::default())),
        "mse_loss" => case([x, x], |t| t[0].mse_loss(&t[1], Reduction::Mean)),
        "l1_loss" => case([x, x], |t| t[0].l1_loss(&t[1], Reduction::Sum)),
        "huber_loss" => case([x, x], |t| t[0].huber_loss(&t[1], 0.3, Reduction::None)),
        "smooth_l1_loss" => case([x, x], |t| t[0].smooth_l1_loss(&t[1], 0.3, Reduction::Mean)),
        "bce_with_logits" => {
            constant(case([x, x, &[5]], |t| t[0].bce_with_logits(&t[1], Some(&t[2]), Reduction::Mean)))
        }
        "bce_loss" => constant(case([x, x], |t| t[0].bce_loss(&t[1], Reduction::Mean))),
        "kl_div" => constant(case([x, x], |t| t[0].kl_div(&t[1], false, Reduction::Mean))),
        "exp" => case([x], |t| t[0].exp()),
        "exp2" => case([x], |t| t[0].exp2()),
        "expm1" => case([x], |t| t[0].expm1()),
        "log" => case([x], |t| t[0].log()),
        "log2" => case([x], |t| t[0].log2()),
        "log1p" => case([x], |t| t[0].log1p()),
        "rsqrt" => case([x], |t| t[0].rsqrt()),
        "recip" => case([x], |t| t[0].recip()),
        "tan" => case([x], |t| t[0].tan()),
        "softplus" => case([x], |t| t[0].softplus()),
        "powf" => case([x], |t| t[0].powf(1.7)),
        "pow" => case([x, x], |t| t[0].pow(&t[1])),
        "add" => case([x, &[5]], |t| t[0].add(&t[1])),
        "sub" => case([x, &[5]], |t| &t[0] - &t[1]),
        "mul" => case([x, &[5]], |t| t[0].mul(&t[1])),
        "div" => case([x, &[5]], |t| &t[0] / &t[1]),
        "maximum" => case([x, x], |t| t[0].maximum(&t[1])),
        "minimum" => case([x, x], |t| t[0].minimum(&t[1])),
        "lerp" => case([x, x], |t| t[0].lerp(&t[1], 0.3)),
        "mul_add" => case([x, x, x], |t| t[0].mul_add(&t[1], &t[2])),
        "add_relu" => case([x, x], |t| t[0].add_relu(&t[1])),
        "compare" => case([x, x], |t| t[0].lt(&t[1])),
        "where" => case([x, x], |t| {
            let mask = labels(5, t[0].device())?.gt(&Tensor::full(2.0, (), DType::I64, t[0].device())?)?;
            mask.where_cond(&t[0], &t[1])
        }),
        "cat" => case([x, x], |t| Tensor::stack(&[&t[0], &t[1]], 1)),
        "index_add" => case([&[4, 5], x], |t| t[0].index_add(0, &labels(3, t[0].device())?, &t[1])),
        "scatter_add" => case([&[4, 5], x], |t| {
            t[0].scatter_add(0, &labels(3, t[0].device())?.reshape([3, 1])?.expand([3, 5])?.contiguous()?, &t[1])
        }),
        "batch_norm" => case([&[4, 3], &[4, 3]], |t| Ok(t[0].batch_norm_add_relu_train(&t[1], None, None, 1e-5)?.y)),
        other => panic!("{other} stands in the table, and no call for it here"),
    }
}

/// The result and the gradients of the tracked inputs, from a gradient of ones.
fn differentiate(case: &Case, inputs: &[Tensor]) -> Result<(Tensor, Vec<Option<Tensor>>)> {
    let inputs: Vec<Tensor> =
        inputs.iter().enumerate().map(|(i, t)| if i < case.tracked { t.track() } else { t.clone() }).collect();
    let out = (case.run)(&inputs)?;
    let gradients = if out.requires_grad() { out.backward_with(&out.ones_like()?)? } else { Gradients::default() };
    let gradients = inputs.iter().map(|t| gradients.get(t)).collect::<Result<_>>()?;
    Ok((out.detach(), gradients))
}

#[test]
fn every_operation_of_the_table_does_what_explicit_casts_do() {
    let mut random = Random::fresh("autocast");
    let seed = random.bits();
    for low in HALVES {
        for (op, policy) in TABLE {
            let case = call(op);
            for device in devices::devices(seed) {
                // All f32, all low, and one of each.
                let given: Vec<Vec<DType>> = vec![
                    vec![DType::F32; case.shapes.len()],
                    vec![low; case.shapes.len()],
                    (0..case.shapes.len()).map(|i| if i == 0 { low } else { DType::F32 }).collect(),
                ];
                for dtypes in given {
                    let place = format!("{op} of {dtypes:?} in {low} on {device}");
                    let inputs: Vec<Tensor> = case
                        .shapes
                        .iter()
                        .zip(&dtypes)
                        .map(|(shape, &dtype)| {
                            let n = shape.iter().product();
                            let values: Vec<f32> = (0..n).map(|_| random.range(0.1, 0.9) as f32).collect();
                            Tensor::from_slice(&values, shape.as_slice(), &device).unwrap().to_dtype(dtype).unwrap()
                        })
                        .collect();
                    let to = match policy {
                        Policy::Low => low,
                        Policy::Wide => DType::F32,
                        Policy::Promote if dtypes.iter().all(|&d| d == low) => low,
                        Policy::Promote => DType::F32,
                    };
                    let fail = |error| panic!("{place}: {error}{}", devices::reports());
                    let (out, gradients) = autocast(low, || differentiate(&case, &inputs)).unwrap_or_else(fail);
                    let wanted: Vec<Tensor> = inputs.iter().map(|t| t.to_dtype(to).unwrap()).collect();
                    let (expected, exact) = differentiate(&case, &wanted).unwrap_or_else(fail);
                    assert_eq!(out.dtype(), expected.dtype(), "{place}");
                    assert!(out.dtype() == to || *op == "compare", "{place}: {}", out.dtype());
                    assert_eq!(out.to_f64_vec().unwrap(), expected.to_f64_vec().unwrap(), "{place}");
                    for (i, (g, e)) in gradients.iter().zip(&exact).enumerate() {
                        assert_eq!(g.is_some(), e.is_some(), "{place}: gradient {i}");
                        let (Some(g), Some(e)) = (g, e) else { continue };
                        assert_eq!(g.dtype(), dtypes[i], "{place}: gradient {i}");
                        let e = e.to_dtype(dtypes[i]).unwrap().to_f64_vec().unwrap();
                        assert_eq!(g.to_f64_vec().unwrap(), e, "{place}: gradient {i}");
                    }
                    assert_eq!(gradients.iter().any(Option::is_some), *op != "compare", "{place}");
                }
            }
        }
    }
}

#[test]
fn what_the_table_does_not_name_and_other_dtypes_stay_as_they_are() {
    let x = Tensor::from_slice(&[0.5f32, -1.0], 2, &Device::Cpu).unwrap();
    autocast(DType::BF16, || {
        for x in [x.clone(), x.to_dtype(DType::BF16).unwrap(), x.to_dtype(DType::F64).unwrap()] {
            assert_eq!(x.relu().unwrap().dtype(), x.dtype());
            assert_eq!(x.gelu().unwrap().dtype(), x.dtype());
        }
        let double = x.to_dtype(DType::F64).unwrap();
        assert_eq!(double.dot(&double).unwrap().dtype(), DType::F64);
        assert!(double.add(&x).is_err(), "f64 takes no part");
        let whole = x.to_dtype(DType::I64).unwrap();
        assert_eq!(whole.sum_all().unwrap().dtype(), DType::I64);
    });
    assert!(x.add(&x.to_dtype(DType::BF16).unwrap()).is_err(), "outside of a scope nothing is cast");
}

/// How often a gradient passed back through a cast while `f` ran.
fn casts_in_backward<R>(f: impl FnOnce() -> R) -> (R, usize) {
    let count = Rc::new(Cell::new(0));
    let counter = count.clone();
    let result = intercept(
        move |event| {
            counter.set(counter.get() + usize::from(event.op == "to_dtype"));
            Ok(event.gradient)
        },
        f,
    );
    (result, count.get())
}

#[test]
fn a_weight_is_cast_once_in_a_scope_and_again_where_it_has_changed() {
    let x = Tensor::from_slice(&[1f32, 2.0], [1, 2], &Device::Cpu).unwrap();
    let eye = Tensor::from_slice(&[1f32, 0.0, 0.0, 1.0], [2, 2], &Device::Cpu).unwrap();
    let w = Var::new(&eye).unwrap();
    let tied = || x.linear(&w, None)?.linear(&w, None)?.sum_all();
    let ((), casts) = casts_in_backward(|| {
        let loss = autocast(DType::BF16, tied).unwrap();
        let gradient = loss.backward().unwrap().expect(&w).unwrap();
        assert_eq!((gradient.dtype(), gradient.to_vec::<f32>().unwrap()), (DType::F32, vec![2.0, 4.0, 2.0, 4.0]));
    });
    // The weight's, and the sum's input.
    assert_eq!(casts, 2);
    autocast(DType::BF16, || {
        // A backward frees its graph; the next forward has a cast of its own.
        for _ in 0..2 {
            tied().unwrap().backward().unwrap();
        }
        let value = |w: &Var| x.linear(w, None).unwrap().to_f64_vec().unwrap();
        assert_eq!(value(&w), [1.0, 2.0]);
        w.set(&eye.affine(2.0, 0.0).unwrap()).unwrap();
        assert_eq!(value(&w), [2.0, 4.0]);
        // What was cast without a graph serves no graph.
        let other = Var::new(&eye).unwrap();
        assert!(!no_grad(|| x.linear(&other, None)).unwrap().requires_grad());
        assert!(x.linear(&other, None).unwrap().requires_grad());
        assert!(!no_grad(|| x.linear(&other, None)).unwrap().requires_grad());
    });
}

#[test]
fn scopes_nest_end_and_belong_to_their_thread() {
    assert_eq!(autocast_dtype(), None);
    autocast(DType::F16, || {
        assert_eq!(autocast_dtype(), Some(DType::F16));
        autocast(DType::BF16, || assert_eq!(autocast_dtype(), Some(DType::BF16)));
        autocast(DType::F32, || assert_eq!(autocast_dtype(), None));
        assert_eq!(autocast_dtype(), Some(DType::F16));
        std::thread::spawn(|| assert_eq!(autocast_dtype(), None)).join().unwrap();
        Ctx::infer().autocast(DType::BF16, |_| assert_eq!(autocast_dtype(), Some(DType::BF16)));
    });
    let ended = std::panic::catch_unwind(|| autocast(DType::F16, || panic!("on purpose")));
    assert!(ended.is_err() && autocast_dtype().is_none());
}

#[test]
fn a_backward_has_its_forwards_dtypes_wherever_it_runs_and_so_has_a_checkpoint() {
    let mut random = Random::fresh("backward");
    let mut draw = |dims: [usize; 2]| {
        let values: Vec<f32> = (0..dims[0] * dims[1]).map(|_| random.range(-1.0, 1.0) as f32).collect();
        Tensor::from_slice(&values, dims, &Device::Cpu).unwrap()
    };
    let (x, w, v) = (draw([4, 6]).track(), Var::new(&draw([5, 6])).unwrap(), Var::new(&draw([3, 5])).unwrap());
    let part = {
        let (w, v) = (w.clone(), v.clone());
        move |x: &Tensor| x.linear(&w, None)?.layer_norm(1, None, None, 1e-5)?.linear(&v, None)
    };
    let collect = |gradients: Gradients| -> Vec<Vec<f64>> {
        [&x, w.as_tensor(), v.as_tensor()].map(|t| gradients.expect(t).unwrap().to_f64_vec().unwrap()).to_vec()
    };
    let outside = autocast(DType::BF16, || part(&x)?.square()?.mean_all()).unwrap();
    let expected = collect(outside.backward().unwrap());
    let inside = autocast(DType::BF16, || part(&x)?.square()?.mean_all()?.backward()).unwrap();
    assert_eq!(collect(inside), expected);
    let again = part.clone();
    let kept =
        autocast(DType::BF16, || checkpoint(std::slice::from_ref(&x), move |x| again(&x[0]))?.square()?.mean_all())
            .unwrap();
    assert_eq!(collect(kept.backward().unwrap()), expected);
}

/// Its states stay f32 where sums build up in them; products of every step run low.
#[test]
fn a_recurrent_network_runs_low_and_stays_near_f32() {
    let params = Params::new(&Device::Cpu, DType::F32, 4);
    let config = RnnConfig { bidirectional: true, ..RnnConfig::new(RnnKind::Lstm, 3, 8) };
    let rnn = Rnn::new(&params, config).unwrap();
    let values: Vec<f32> = (0..5 * 2 * 3).map(|i| (i as f32 * 0.7).sin()).collect();
    let x = Tensor::from_slice(&values, [5, 2, 3], &Device::Cpu).unwrap();
    let run = |low: DType| {
        let output = Ctx::infer().autocast(low, |ctx| rnn.run(&x, None, ctx)).unwrap();
        let cell = output.cell.unwrap();
        assert_eq!(cell.dtype(), DType::F32);
        let loss = autocast(low, || output.output.square()?.mean_all()).unwrap();
        let gradients = loss.backward().unwrap();
        params.trainable().iter().for_each(|(_, p)| assert_eq!(gradients.expect(p).unwrap().dtype(), DType::F32));
        loss.item::<f64>().unwrap()
    };
    let exact = run(DType::F32);
    for low in HALVES {
        // Each product and gate is rounded, and errors add up over five steps.
        assert!((run(low) / exact - 1.0).abs() < 16.0 * low.unit_roundoff(), "{low}");
    }
}

struct Task {
    name: &'static str,
    model: fn(&Params) -> Result<Box<dyn Module>>,
    optimizer: fn(&Params) -> Result<Box<dyn Optimizer>>,
    batch: fn(&Device) -> Result<(Tensor, Tensor)>,
}

const STEPS: usize = 6;

/// The losses of steps on one batch, in a dtype; with `overflow` a gradient is not finite at that step.
fn train(task: &Task, device: &Device, low: Option<DType>, overflow: Option<usize>) -> Result<(Vec<f64>, LossScaler)> {
    let params = Params::new(device, DType::F32, 11);
    let model = (task.model)(&params)?;
    let mut optimizer = (task.optimizer)(&params)?;
    let config = LossScalerConfig { initial: 1024.0, interval: 3, ..LossScalerConfig::default() };
    let mut scaler = LossScaler::with_config(device, config)?;
    let (x, y) = (task.batch)(device)?;
    let (mut ctx, mut losses) = (Ctx::train(3), vec![]);
    for step in 0..STEPS {
        let loss = ctx.autocast(low.unwrap_or(DType::F32), |ctx| {
            let logits = model.forward(&x, ctx)?;
            assert_eq!(logits.dtype(), low.unwrap_or(DType::F32), "the last layer is a product");
            logits.reshape([y.numel(), logits.dim(-1)?])?.cross_entropy(&y, &Default::default())
        })?;
        assert_eq!(loss.dtype(), DType::F32);
        losses.push(loss.item::<f64>()?);
        if low != Some(DType::F16) {
            optimizer.step_clipped(&loss.backward()?, Clip::Norm(1.0))?;
            continue;
        }
        let mut gradients = scaler.scale(&loss)?.backward()?;
        for (_, p) in params.trainable() {
            assert_eq!(gradients.expect(&p)?.dtype(), DType::F32);
        }
        if overflow == Some(step) {
            let p = &params.trainable()[1].1;
            gradients.set(p, Tensor::full(f64::INFINITY, *p.shape(), DType::F32, device)?)?;
        }
        scaler.step_clipped(optimizer.as_mut(), &gradients, Clip::Norm(1.0))?;
    }
    Ok((losses, scaler))
}

fn trains(task: &Task) {
    let random = Random::fresh(task.name);
    for device in devices::devices(random.seed()) {
        let run = |low, overflow| {
            train(task, &device, low, overflow)
                .unwrap_or_else(|e| panic!("{} in {low:?} on {device}: {e}{}", task.name, devices::reports()))
        };
        let (full, _) = run(None, None);
        assert!(full[STEPS - 1] < 0.9 * full[0], "{} on {device}: {full:?}", task.name);
        for low in HALVES {
            let (losses, scaler) = run(Some(low), None);
            for (step, (found, expected)) in losses.iter().zip(&full).enumerate() {
                let wrong = (found / expected - 1.0).abs();
                assert!(wrong < 0.03, "{} in {low} on {device}, step {step}: {found}, not {expected}", task.name);
            }
            if low == DType::F16 {
                assert_eq!(scaler.skipped().unwrap().item::<i64>().unwrap(), 0);
                assert_eq!(scaler.factor().unwrap().item::<f64>().unwrap(), 4096.0, "grown at steps 3 and 6");
            }
        }
        let (losses, scaler) = run(Some(DType::F16), Some(2));
        assert_eq!(scaler.skipped().unwrap().item::<i64>().unwrap(), 1);
        assert_eq!(scaler.factor().unwrap().item::<f64>().unwrap(), 1024.0, "halved at step 2, doubled at step 5");
        assert!(losses[STEPS - 1] < 0.95 * losses[0], "{} on {device}: {losses:?}", task.name);
    }
}

/// With a scale that overflows at first.
#[test]
fn a_captured_step_in_f16_gives_the_bits_of_plain_ones() {
    let task = gpt();
    let options = LossScalerConfig { initial: (1u64 << 26) as f64, interval: 3, ..LossScalerConfig::default() };
    for gpu in devices::gpus(12) {
        let parts = || -> Result<(Params, Box<dyn Module>, Adam, LossScaler)> {
            let params = Params::new(&gpu.device, DType::F32, 11);
            let model = (task.model)(&params)?;
            let optimizer = Adam::new(params.trainable(), AdamConfig::adamw(3e-3))?;
            Ok((params, model, optimizer, LossScaler::with_config(&gpu.device, options)?))
        };
        let (x, y) = (task.batch)(&gpu.device).unwrap();
        let loss_of = |model: &dyn Module, x: &Tensor, y: &Tensor, ctx: &mut Ctx| {
            ctx.autocast(DType::F16, |ctx| {
                let logits = model.forward(x, ctx)?;
                logits.reshape([y.numel(), logits.dim(-1)?])?.cross_entropy(y, &Default::default())
            })
        };
        let rate = |step: usize| 3e-3 / (1 + step) as f64;
        let (params, model, mut optimizer, mut scaler) = parts().unwrap();
        let (mut ctx, mut losses) = (Ctx::train(3), vec![]);
        for step in 0..14 {
            optimizer.set_lr(rate(step));
            let loss = loss_of(model.as_ref(), &x, &y, &mut ctx).unwrap();
            let gradients = scaler.scale(&loss).unwrap().backward().unwrap();
            scaler.step_clipped(&mut optimizer, &gradients, Clip::Norm(1.0)).unwrap();
            losses.push(loss.item::<f32>().unwrap());
        }
        let skipped = scaler.skipped().unwrap().item::<i64>().unwrap();
        assert!((4..12).contains(&skipped), "{skipped} steps of 14 were skipped");
        let (twins, model, optimizer, scaler) = parts().unwrap();
        let forward = |inputs: &[Tensor], ctx: &mut Ctx| -> Result<Vec<Tensor>> {
            Ok(vec![loss_of(model.as_ref(), &inputs[0], &inputs[1], ctx)?])
        };
        let mut captured = CapturedStep::new(&gpu.device, Ctx::train(3), optimizer, forward)
            .with_clip(Clip::Norm(1.0))
            .with_scaler(scaler);
        let inputs = [x.clone(), y.clone()];
        for (step, expected) in losses.iter().enumerate() {
            captured.optimizer_mut().set_lr(rate(step));
            let loss = captured.run(&inputs).unwrap().loss.item::<f32>().unwrap();
            assert_eq!(loss, *expected, "step {step} on {}", gpu.name);
        }
        assert!(captured.is_captured(&inputs));
        for ((name, a), (_, b)) in params.trainable().iter().zip(twins.trainable()) {
            assert_eq!(a.to_vec::<f32>().unwrap(), b.to_vec::<f32>().unwrap(), "{name}");
        }
        let found = captured.scaler_mut().unwrap().skipped().unwrap().item::<i64>().unwrap();
        assert_eq!(found, skipped);
        assert_eq!(devices::reports(), "");
    }
}

#[test]
fn a_small_gpt_trains_in_bf16_and_f16() {
    trains(&gpt());
}

fn gpt() -> Task {
    Task {
        name: "mixed GPT",
        model: |params| {
            let (context, layers, heads, width) = (12, 1, 2, 64);
            let config = GptConfig { vocabulary: 19, context, layers, heads, width, dropout: 0.0 };
            Ok(Box::new(Gpt::new(params, &config)?))
        },
        optimizer: |params| Ok(Box::new(Adam::new(params.trainable(), AdamConfig::adamw(3e-3))?)),
        batch: |device| {
            let tokens: Vec<i64> = (0..24).map(|i| i * i * 7 % 19).collect();
            let next: Vec<i64> = (1..25).map(|i| i * i * 7 % 19).collect();
            Ok((Tensor::from_slice(&tokens, [2, 12], device)?, Tensor::from_slice(&next, 24, device)?))
        },
    }
}

#[test]
fn a_small_resnet_trains_in_bf16_and_f16() {
    trains(&Task {
        name: "mixed ResNet-8",
        model: |params| {
            let config = ResNetConfig { widths: vec![8, 16, 32], ..ResNetConfig::cifar(8, 1, 10)? };
            Ok(Box::new(ResNet::new(params, &config)?))
        },
        optimizer: |params| {
            let config = SgdConfig { momentum: 0.9, weight_decay: 5e-4, ..SgdConfig::new(0.05) };
            Ok(Box::new(Sgd::new(params.trainable(), config)?))
        },
        batch: |device| {
            // Stripes of ten widths and directions.
            let pixel = |i: usize| {
                let (image, y, x) = (i / 64, i / 8 % 8, i % 8);
                let along = if image % 2 == 0 { x + y / 2 } else { y + x / 3 };
                (along * (image + 1) % 7) as f32 / 3.5 - 1.0
            };
            let images: Vec<f32> = (0..4 * 64).map(pixel).collect();
            Ok((Tensor::from_slice(&images, [4, 1, 8, 8], device)?, labels(4, device)?))
        },
    });
}
