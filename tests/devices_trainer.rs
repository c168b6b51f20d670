//! The trainer on CUDA devices: captured steps with accumulation, averages and late reading give the bits of plain
//! ones.

mod support;
#[path = "trainer/task.rs"]
mod task;

use support::check::round;
use support::{Random, devices};
use task::{Folder, Task, optimizer, weights};
use warpsmith::nn::{Ctx, Params};
use warpsmith::optim::{Clip, Ema, LossScaler, schedule};
use warpsmith::train::{CapturedStep, Checkpoints, Every, History, LearningRate, Trainer};
use warpsmith::{DType, Device, Result, Tensor};

fn trainer<'a>(task: &'a Task, history: &History, folder: &Folder) -> Trainer<'a> {
    task.trainer()
        .clip(Clip::Norm(0.5))
        .scaler(LossScaler::new(task.params.device()).unwrap())
        .accumulate(2)
        .ema(0.8)
        .unwrap()
        .evaluate(Every::Steps(4), |_| Ok([("error", task.error()?)].into()))
        .callback(history.clone())
        .callback(LearningRate::of_step(|step| schedule::linear(step, 0.2, 1.0, 9)))
        .callback(Checkpoints::new(folder.path()).every(Every::Steps(3)))
}

#[test]
fn captured_and_late_read_steps_give_the_bits_of_plain_ones() {
    let cpu = (Task::new(0.2), History::new());
    trainer(&cpu.0, &cpu.1, &Folder::new("on-cpu")).fit(&cpu.0.source(7), 3).unwrap();
    for gpu in devices::gpus(Random::fresh("trainer").seed()) {
        let run = |capture: bool, read_every: usize, stop: Option<u64>| {
            let (task, history, folder) = (Task::on(&gpu.device, 0.2), History::new(), Folder::new("on-gpu"));
            let fit = |task: &Task, stop: Option<u64>, resume: bool| {
                let mut trainer = trainer(task, &history, &folder).capture(capture).read_every(read_every);
                if resume {
                    trainer.resume(Checkpoints::last_in(folder.path())).unwrap();
                }
                trainer.stop_after(stop).fit(&task.source(7), 3).unwrap();
            };
            fit(&task, stop, false);
            if stop.is_none() {
                return (weights(&task), history);
            }
            let second = Task::on(&gpu.device, 0.2);
            fit(&second, None, true);
            (weights(&second), history)
        };
        let (plain, history) = run(false, 1, None);
        for (capture, read_every, stop) in [(true, 1, None), (true, 5, None), (true, 2, Some(5))] {
            let (found, of_found) = run(capture, read_every, stop);
            let place = format!("capture {capture}, read every {read_every}, {stop:?} on {}", gpu.name);
            assert_eq!(found, plain, "{place}");
            for name in history.names() {
                assert_eq!(of_found.get(&name), history.get(&name), "{place}: {name}");
            }
        }
        // Dropout draws the same on both devices: what differs is rounding.
        for ((name, expected), (_, found)) in weights(&cpu.0).iter().zip(&plain) {
            for (e, f) in expected.iter().zip(found) {
                assert!((e - f).abs() <= 1e-4 * e.abs().max(1.0), "{name} on {}: {f}, {e}", gpu.name);
            }
        }
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn accumulating_steps_are_captured_as_one_graph() {
    for gpu in devices::gpus(2) {
        let run = |capture: bool| {
            let task = Task::on(&gpu.device, 0.2);
            let forward = |inputs: &[Tensor], ctx: &mut Ctx| -> Result<Vec<Tensor>> { task.forward(inputs, ctx) };
            let mut step = CapturedStep::new(&gpu.device, Ctx::train(1), optimizer(&task.params), forward);
            step = step.with_capture(capture);
            let mut losses = vec![];
            for number in 0..6 {
                // Two samples and three, also once as one step on its own.
                let micro = [task.batch_of(number, 2).unwrap(), task.batch_of(50 + number, 3).unwrap()];
                let output = step.run_accumulated(&micro).unwrap();
                losses.push((output.loss.item::<f64>().unwrap(), output.others[0].item::<f64>().unwrap()));
                assert_eq!(step.is_captured(&micro.concat()), capture && number >= 2, "step {number}");
            }
            (losses, weights(&task))
        };
        assert_eq!(run(true), run(false), "on {}", gpu.name);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn averages_have_the_same_bits_on_every_device_and_lose_nothing_to_rounding() {
    let mut random = Random::fresh("ema");
    let sizes = [1usize, 5000, 33];
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let steps: Vec<Vec<Vec<f64>>> = (0..8)
            .map(|_| sizes.iter().map(|&n| (0..n).map(|_| round(random.range(-2.0, 2.0), dtype)).collect()).collect())
            .collect();
        let run = |device: &Device, resumed: bool| -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
            let params = Params::new(device, dtype, 0);
            for (i, &n) in sizes.iter().enumerate() {
                params.param_from(&format!("p{i}"), &Tensor::zeros(n, dtype, device).unwrap()).unwrap();
            }
            let mut ema = Ema::new(params.trainable(), 0.9).unwrap();
            for (number, values) in steps.iter().enumerate() {
                for ((_, p), v) in params.trainable().iter().zip(values) {
                    let v = Tensor::from_slice(v, v.len(), &Device::Cpu).unwrap().to_dtype(dtype).unwrap();
                    p.set(&v.to_device(device).unwrap()).unwrap();
                }
                ema.update().unwrap();
                if resumed && number == 4 {
                    let state = ema.state_dict().unwrap();
                    ema = Ema::new(params.trainable(), 0.9).unwrap();
                    ema.load_state_dict(&state, "averages").unwrap();
                }
            }
            let all = || params.trainable().iter().map(|(_, p)| p.to_f64_vec().unwrap()).collect::<Vec<_>>();
            let kept = ema.state_dict().unwrap().iter().map(|(_, t)| t.to_f64_vec().unwrap()).collect();
            assert_eq!(all(), *steps.last().unwrap());
            ema.swap().unwrap();
            assert!(ema.update().is_err() && ema.state_dict().is_err(), "while averages are in place");
            let averages = all();
            ema.swap().unwrap();
            assert_eq!(all(), *steps.last().unwrap());
            (averages, kept)
        };
        let cpu = run(&Device::Cpu, false);
        assert_eq!(run(&Device::Cpu, true), cpu);
        for (i, &n) in sizes.iter().enumerate() {
            for at in 0..n {
                let exact = steps.iter().skip(1).fold(steps[0][i][at], |a, step| 0.9 * a + 0.1 * step[i][at]);
                // Four roundings a step of numbers below 4, in f32 whatever the dtype; then one to the dtype.
                let bound = 8.0 * 4.0 * 4.0 * f64::from(f32::EPSILON);
                assert!((cpu.1[i][at] - exact).abs() <= bound, "{dtype}: {} {exact}", cpu.1[i][at]);
                assert_eq!(cpu.0[i][at], round(cpu.1[i][at], dtype));
            }
        }
        for gpu in devices::gpus(3) {
            assert_eq!(run(&gpu.device, false), cpu, "{dtype} on {}", gpu.name);
            assert_eq!(run(&gpu.device, true), cpu, "{dtype} on {}", gpu.name);
        }
    }
    let params = Params::new(&Device::Cpu, DType::F32, 0);
    assert!(Ema::new(params.trainable(), 0.9).is_err(), "nothing to average");
}
