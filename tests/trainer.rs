//! The trainer: when callbacks are called, runs that are taken up again, accumulation, averages, and losses that are no
//! numbers.

#[path = "trainer/task.rs"]
mod task;

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use task::{Folder, Task, optimizer, weights};
use warpsmith::data::{DataLoader, TensorDataset};
use warpsmith::nn::{Ctx, Linear, Module, Params, StateDict};
use warpsmith::optim::{Clip, LossScaler, Sgd, SgdConfig, schedule};
use warpsmith::train::{
    Callback, CapturedStep, Checkpoints, EarlyStopping, End, Every, Figures, Goal, History, LearningRate, Place,
    ReduceOnPlateau, Run, ShowProgress, Step, Trainer, batches,
};
use warpsmith::{DType, Device, Error, Reduction, Result, Tensor};

/// Writes down what is called when.
#[derive(Clone, Default)]
struct Diary(Arc<Mutex<Vec<String>>>);

impl Diary {
    fn note(&self, run: &Run<'_>, what: &str) -> Result<()> {
        let Place { epoch, batch, step } = run.place();
        self.0.lock().unwrap().push(format!("{what} {epoch}.{batch} {step}"));
        Ok(())
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Callback for Diary {
    fn run_start(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.note(run, "run")
    }
    fn epoch_start(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.note(run, "epoch")
    }
    fn step_start(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.note(run, "start")
    }
    fn step_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        if run.place().step == 2 {
            run.save(std::env::temp_dir().join(format!("warpsmith-diary-{}", std::process::id())));
        }
        self.note(run, "end")
    }
    fn step_read(&mut self, run: &mut Run<'_>, step: &Step) -> Result<()> {
        self.note(run, &format!("read {}.{} {} at", step.epoch, step.batch, step.number))
    }
    fn evaluated(&mut self, run: &mut Run<'_>, figures: &Figures) -> Result<()> {
        self.note(run, &format!("{figures} at"))
    }
    fn epoch_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.note(run, "over")
    }
    fn checkpoint_written(&mut self, run: &mut Run<'_>, path: &Path) -> Result<()> {
        std::fs::remove_file(path).unwrap();
        self.note(run, "written")
    }
    fn loop_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.note(run, &format!("{:?}", run.end().unwrap()))
    }
    fn run_end(&mut self, run: &mut Run<'_>) -> Result<()> {
        self.note(run, "done")
    }
    fn line(&mut self, text: &str) -> bool {
        self.0.lock().unwrap().push(text.to_owned());
        true
    }
}

#[test]
fn callbacks_are_called_in_the_documented_order() {
    let expected = |read_every: usize| -> Vec<String> {
        // Three batches an epoch; a checkpoint after step 2; an evaluation after steps 2, 4 and at the end.
        let delayed = [
            "run 0.0 0",
            "epoch 0.0 0",
            "start 0.0 0",
            "end 0.1 1",
            "start 0.1 1",
            "end 0.2 2",
            "read 0.0 1 at 0.2 2",
            "read 0.1 2 at 0.2 2",
            "x 2.0000 at 0.2 2",
            "written 0.2 2",
            "start 0.2 2",
            "end 0.3 3",
            "read 0.2 3 at 0.3 3",
            "over 0.3 3",
            "epoch 1.0 3",
            "start 1.0 3",
            "end 1.1 4",
            "read 1.0 4 at 1.1 4",
            "x 4.0000 at 1.1 4",
            "start 1.1 4",
            "end 1.2 5",
            "start 1.2 5",
            "end 1.3 6",
            "read 1.1 5 at 1.3 6",
            "read 1.2 6 at 1.3 6",
            "x 6.0000 at 1.3 6",
            "over 1.3 6",
            "Complete 2.0 6",
            "done 2.0 6",
        ];
        let mut out: Vec<String> = delayed.iter().map(|s| s.to_string()).collect();
        if read_every == 1 {
            out.retain(|line| *line != "read 0.0 1 at 0.2 2" && *line != "read 1.1 5 at 1.3 6");
            out.insert(4, "read 0.0 1 at 0.1 1".into());
            let at = out.iter().position(|line| line == "end 1.2 5").unwrap();
            out.insert(at + 1, "read 1.1 5 at 1.2 5".into());
        }
        out
    };
    for read_every in [1, 10] {
        let task = Task::new(0.0);
        let diary = Diary::default();
        let mut trainer = task
            .trainer()
            .read_every(read_every)
            .evaluate(Every::Steps(2), |run| Ok([("x", run.place().step as f64)].into()))
            .callback(diary.clone());
        let outcome = trainer.fit(&task.source(3), 2).unwrap();
        assert_eq!(outcome.end, End::Complete);
        assert_eq!((outcome.step, outcome.figures.get("x")), (6, Some(6.0)));
        assert_eq!(diary.take(), expected(read_every), "reading every {read_every}");
        // A further call goes on where this one ended.
        assert_eq!(trainer.fit(&task.source(3), 3).unwrap().step, 9);
        assert_eq!(diary.take()[..2], ["run 2.0 6", "epoch 2.0 6"]);
        assert_eq!(trainer.fit(&task.source(3), 3).unwrap().step, 9);
    }
}

#[test]
fn a_source_that_ends_early_ends_the_epoch_and_an_empty_one_is_an_error() {
    let task = Task::new(0.0);
    let short = |epoch: u64, batch: u64| if batch < 2 { task.batch(epoch, batch).map(Some) } else { Ok(None) };
    for (accumulate, steps) in [(1, 4), (2, 2), (3, 2)] {
        let diary = Diary::default();
        let mut trainer = task.trainer().accumulate(accumulate).callback(diary.clone());
        assert_eq!(trainer.fit(&batches(5, short), 2).unwrap().step, steps, "{accumulate}");
        let over: Vec<String> = diary.take().into_iter().filter(|line| line.starts_with("over")).collect();
        assert_eq!(over, [format!("over 0.2 {}", steps / 2), format!("over 1.2 {steps}")]);
    }
    let error = task.trainer().fit(&batches(5, |_, _| Ok(None)), 1).unwrap_err().to_string();
    assert!(error.contains("epoch 0 gave no batches where 5 were expected"), "{error}");
    assert!(task.trainer().fit(&batches(0, |_, _| Ok(None)), 1).unwrap_err().to_string().contains("no batches"));
    let broken = batches(2, |_, _| Err(Error::argument("data", "the disk is gone")));
    assert!(task.trainer().fit(&broken, 1).unwrap_err().to_string().contains("the disk is gone"));
}

#[test]
fn a_data_loader_is_a_source_that_can_be_taken_up_inside_an_epoch() {
    let data = Task::new(0.0).batch_of(7, 30).unwrap();
    let loader = || DataLoader::new(TensorDataset::new(&data).unwrap(), 4).shuffle(3).workers(1);
    let through = Task::new(0.3);
    assert_eq!(through.trainer().fit(&loader(), 3).unwrap().step, 24, "eight batches, the last one of two");
    let (first, folder) = (Task::new(0.3), Folder::new("loader"));
    first.trainer().callback(Checkpoints::new(folder.path())).stop_after(Some(13)).fit(&loader(), 3).unwrap();
    let second = Task::new(0.3);
    let mut trainer = second.trainer();
    trainer.resume(Checkpoints::last_in(folder.path())).unwrap();
    trainer.fit(&loader(), 3).unwrap();
    assert_eq!(weights(&second), weights(&through));
}

/// Everything that keeps state, with dropout, momentum, averages, accumulation and rates that follow a plateau.
fn elaborate<'a>(task: &'a Task, folder: &Folder, history: &History) -> Trainer<'a> {
    task.trainer()
        .clip(Clip::Norm(0.5))
        .accumulate(2)
        .ema(0.8)
        .unwrap()
        .evaluate(Every::Steps(3), |_| Ok([("error", task.error()?)].into()))
        .callback(ShowProgress::new("samples"))
        .callback(history.clone())
        .callback(LearningRate::of_step(|step| schedule::one_cycle(step, 20, 0.3)))
        .callback(ReduceOnPlateau::new("error", Goal::Lowest).factor(0.7).patience(0).threshold(0.3))
        .callback(EarlyStopping::new("error", Goal::Lowest).patience(100).restore_best())
        .callback(Checkpoints::new(folder.path()).every(Every::Steps(1)).best("error", Goal::Lowest).keep(2))
}

#[test]
fn a_run_that_is_taken_up_anywhere_ends_with_the_same_bits() {
    let through = (Task::new(0.3), Folder::new("through"), History::new());
    let outcome = elaborate(&through.0, &through.1, &through.2).fit(&through.0.source(7), 4).unwrap();
    assert_eq!(outcome.step, 16, "four steps for seven batches");
    let reduced = through.2.values("learning rate");
    assert!(reduced.iter().enumerate().any(|(step, &lr)| lr < 0.1 * schedule::one_cycle(step as u64, 20, 0.3)));
    for stop in [1, 3, 4, 6, 12, 15] {
        let (first, folder) = (Task::new(0.3), Folder::new(&format!("stopped-{stop}")));
        let stopped = elaborate(&first, &folder, &History::new()).stop_after(Some(stop));
        let mut stopped = stopped;
        let ended = stopped.fit(&first.source(7), 4).unwrap();
        assert_eq!((ended.end, ended.step), (End::StepLimit, stop));
        assert_ne!(weights(&first), weights(&through.0));
        let (second, history) = (Task::new(0.3), History::new());
        let mut trainer = elaborate(&second, &folder, &history);
        trainer.resume(Checkpoints::last_in(folder.path())).unwrap();
        let again = trainer.fit(&second.source(7), 4).unwrap();
        assert_eq!(weights(&second), weights(&through.0), "stopped after {stop}");
        assert_eq!(again.figures, outcome.figures);
        for name in through.2.names() {
            assert_eq!(history.get(&name), through.2.get(&name), "{name}");
        }
        // The files are those of the run that went through, and no more.
        let files = folder.files();
        assert_eq!(files, through.1.files());
        assert!(files.contains(&"step-00000015.safetensors".into()) && files.len() == 4, "{files:?}");
        for file in files {
            let read = |folder: &Folder| StateDict::load(folder.path().join(&file), &Device::Cpu).unwrap();
            let (a, b) = (read(&folder), read(&through.1));
            assert_eq!(a.len(), b.len());
            for ((name, a), (_, b)) in a.iter().zip(b.iter()) {
                assert_eq!(a.to_f64_vec().unwrap(), b.to_f64_vec().unwrap(), "{file}: {name} after {stop}");
            }
        }
    }
}

#[test]
fn a_finished_run_that_is_taken_up_has_nothing_to_do() {
    let folder = Folder::new("finished");
    let (task, history) = (Task::new(0.0), History::new());
    let done = elaborate(&task, &folder, &history).fit(&task.source(3), 2).unwrap();
    let (second, diary) = (Task::new(0.0), Diary::default());
    let mut trainer = elaborate(&second, &folder, &History::new()).callback(diary.clone());
    trainer.resume(Checkpoints::last_in(folder.path())).unwrap();
    assert_eq!(trainer.fit(&second.source(3), 2).unwrap(), done);
    assert_eq!(diary.take(), ["run 2.0 4", "Complete 2.0 4", "done 2.0 4"]);
    assert_eq!(weights(&second), weights(&task));
}

#[test]
fn accumulated_gradients_are_those_of_the_joined_batch() {
    // Sizes 5, 3 and 4: shares of the samples, not of the batches.
    let rows = [(0, 5), (5, 3), (8, 4)];
    let data = Task::new(0.0);
    let [x, y] = &data.batch_of(0, 12).unwrap()[..] else { unreachable!("two tensors") };
    let parts: Vec<Vec<Tensor>> =
        rows.iter().map(|&(at, n)| vec![x.narrow(0, at, n).unwrap(), y.narrow(0, at, n).unwrap()]).collect();
    for scaled in [false, true] {
        let run = |accumulated: bool| {
            let task = Task::new(0.0);
            let forward = |inputs: &[Tensor], ctx: &mut Ctx| -> Result<Vec<Tensor>> { task.forward(inputs, ctx) };
            let mut step = CapturedStep::new(&Device::Cpu, Ctx::train(1), optimizer(&task.params), forward);
            if scaled {
                step = step.with_scaler(LossScaler::new(&Device::Cpu).unwrap());
            }
            let output = if accumulated { step.run_accumulated(&parts) } else { step.run(&[x.clone(), y.clone()]) };
            let output = output.unwrap();
            let loss = output.loss.item::<f64>().unwrap();
            let share = output.others[0].item::<f64>().unwrap();
            (loss, share, weights(&task))
        };
        let ((loss, share, joined), (loss_of_parts, share_of_parts, parts)) = (run(false), run(true));
        assert!((loss - loss_of_parts).abs() <= 1e-6 * loss && (share - share_of_parts).abs() <= 1e-6);
        let start = weights(&Task::new(0.0));
        assert_ne!(joined, start);
        for ((_, a), (_, b)) in joined.iter().zip(&parts) {
            for (a, b) in a.iter().zip(b) {
                // The same sums in another order, times a rate below 1.
                assert!((a - b).abs() <= 1e-5, "{a} {b}");
            }
        }
        // Means of the parts' gradients without their shares would be noticed.
        let task = Task::new(0.0);
        let forward = |inputs: &[Tensor], ctx: &mut Ctx| -> Result<Vec<Tensor>> { task.forward(inputs, ctx) };
        let mut step = CapturedStep::new(&Device::Cpu, Ctx::train(1), optimizer(&task.params), forward);
        let third: Vec<Vec<Tensor>> =
            rows.iter().map(|&(at, _)| vec![x.narrow(0, at, 3).unwrap(), y.narrow(0, at, 3).unwrap()]).collect();
        step.run_accumulated(&third).unwrap();
        assert!(
            weights(&task)
                .iter()
                .zip(&joined)
                .any(|((_, a), (_, b))| { a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1e-4) })
        );
    }
    let task = Task::new(0.0);
    let forward = |inputs: &[Tensor], ctx: &mut Ctx| -> Result<Vec<Tensor>> { task.forward(inputs, ctx) };
    let mut step = CapturedStep::new(&Device::Cpu, Ctx::train(1), optimizer(&task.params), forward);
    assert!(step.run_accumulated(&[]).is_err());
    assert!(step.run_accumulated(&[vec![x.clone(), y.clone()], vec![x.clone()]]).is_err());
    let count = |inputs: &[Tensor], ctx: &mut Ctx| {
        let loss = task.forward(inputs, ctx)?.remove(0);
        Ok(vec![loss, inputs[1].clone()])
    };
    let mut step = CapturedStep::new(&Device::Cpu, Ctx::train(1), optimizer(&task.params), count);
    let error = step.run_accumulated(&vec![vec![x.clone(), y.clone()]; 2]).unwrap_err().to_string();
    assert!(error.contains("averaged over micro-batches"), "{error}");
}

#[test]
fn evaluations_see_averages_and_training_does_not() {
    let plain = Task::new(0.3);
    let seen = Mutex::new(vec![]);
    plain
        .trainer()
        .evaluate(Every::Steps(1), |_| {
            seen.lock().unwrap().push(weights(&plain));
            Ok(Figures::new())
        })
        .fit(&plain.source(6), 1)
        .unwrap();
    let seen = seen.into_inner().unwrap();
    let averaged = Task::new(0.3);
    let found = Mutex::new(vec![]);
    let mut trainer = averaged.trainer().ema(0.75).unwrap().evaluate(Every::Steps(1), |_| {
        found.lock().unwrap().push(weights(&averaged));
        Ok(Figures::new())
    });
    trainer.fit(&averaged.source(6), 1).unwrap();
    assert_eq!(weights(&averaged), weights(&plain), "averages do not touch the training");
    let folder = Folder::new("averages");
    trainer.save_model(folder.path().join("model.safetensors")).unwrap();
    let model = StateDict::load(folder.path().join("model.safetensors"), &Device::Cpu).unwrap();
    drop(trainer);
    let found = found.into_inner().unwrap();
    let mut expected = seen[0].clone();
    for (step, (seen, found)) in seen.iter().zip(&found).enumerate() {
        for (((name, e), (_, s)), (_, f)) in expected.iter_mut().zip(seen).zip(found) {
            for ((e, s), f) in e.iter_mut().zip(s).zip(f) {
                *e = if step == 0 { *s } else { 0.75 * *e + 0.25 * s };
                // Three roundings a step, of numbers below 4, and the average forgets.
                assert!((*e - f).abs() <= 4.0 * 12.0 * f64::from(f32::EPSILON), "{name} after {step}: {e} {f}");
                assert!(step == 0 || *f != *s, "{name}: averages differ from the weights");
            }
        }
    }
    for ((name, f), (other, t)) in found[5].iter().zip(model.iter()) {
        assert_eq!((name.as_str(), f), (other, &t.to_f64_vec().unwrap()));
    }
    assert!(averaged.trainer().ema(1.0).is_err());
}

#[test]
fn a_loss_that_is_no_number_ends_the_run_and_keeps_the_checkpoint() {
    for (read_every, bad) in [(1, f32::NAN), (4, f32::INFINITY)] {
        let (task, folder) = (Task::new(0.0), Folder::new(&format!("diverged-{read_every}")));
        let source = batches(5, |epoch, batch| {
            let mut out = task.batch(epoch, batch)?;
            if (epoch, batch) == (1, 2) {
                out[0] = out[0].affine(f64::from(bad), 0.0)?;
            }
            Ok(Some(out))
        });
        let saved = Arc::new(Mutex::new(vec![]));
        let mut trainer = task
            .trainer()
            .read_every(read_every)
            .callback(Checkpoints::new(folder.path()).every(Every::Steps(2)))
            .callback(OnSave(saved.clone()));
        let error = trainer.fit(&source, 3).unwrap_err();
        let Error::Diverged { step: 8, epoch: 1, batch: 2, kept: Some(kept), .. } = &error else { panic!("{error:?}") };
        let message = error.to_string();
        assert!(message.contains("at step 8 (epoch 1, batch 2") && message.contains("checkpoint"), "{message}");
        assert!(message.starts_with("the loss became "), "{message}");
        // The one of step 6: that of step 8 was due, and has weights that are not numbers.
        assert_eq!(*saved.lock().unwrap(), [2, 4, 6]);
        assert_eq!(*kept, Checkpoints::last_in(folder.path()));
        let again = Task::new(0.0);
        let mut resumed = again.trainer();
        resumed.resume(kept).unwrap();
        assert_eq!(resumed.run().place(), Place { epoch: 1, batch: 1, step: 6 });
        assert!(weights(&again).iter().flat_map(|(_, v)| v).all(|v| v.is_finite()));
    }
}

struct OnSave(Arc<Mutex<Vec<u64>>>);

impl Callback for OnSave {
    fn checkpoint_written(&mut self, run: &mut Run<'_>, _: &Path) -> Result<()> {
        self.0.lock().unwrap().push(run.place().step);
        Ok(())
    }
}

/// A finite loss whose gradient is not a number: only the next loss would tell.
#[test]
fn weights_that_are_no_numbers_are_not_saved() {
    let folder = Folder::new("weights");
    let params = Params::new(&Device::Cpu, DType::F32, 0);
    let model = Linear::new(&params, 1, 1).unwrap();
    let sgd = Sgd::new(params.trainable(), SgdConfig::new(0.1)).unwrap();
    let mut trainer = Trainer::new(&params, sgd, Ctx::train(0), |inputs, ctx| {
        let y = model.forward(&inputs[0], ctx)?;
        // The root of 0 has an infinite slope.
        Ok(vec![y.affine(0.0, 0.0)?.sqrt()?.sum_all()?])
    })
    .callback(Checkpoints::new(folder.path()).every(Every::Steps(1)));
    let x = Tensor::ones([2, 1], DType::F32, &Device::Cpu).unwrap();
    let error = trainer.fit(&batches(3, |_, _| Ok(Some(vec![x.clone()]))), 1).unwrap_err();
    assert!(matches!(&error, Error::Diverged { what, step: 1, kept: None, .. } if what.contains("weights")), "{error}");
    assert_eq!(folder.files(), Vec::<String>::new());
}

#[test]
fn overflows_that_a_scaler_skips_are_no_failure() {
    let run = |bad: u64| {
        let task = Task::new(0.0);
        let source = batches(60, |epoch, batch| {
            let mut out = task.batch(epoch, batch)?;
            if (10..10 + bad).contains(&batch) {
                out[0] = out[0].affine(f64::INFINITY, 0.0)?;
            }
            Ok(Some(out))
        });
        let outcome = task.trainer().scaler(LossScaler::new(&Device::Cpu).unwrap()).fit(&source, 1);
        (outcome, weights(&task))
    };
    let (outcome, weights) = run(20);
    assert_eq!(outcome.unwrap().step, 60);
    assert!(weights.iter().flat_map(|(_, v)| v).all(|v| v.is_finite()));
    assert!(matches!(run(21).0, Err(Error::Diverged { step: 31, batch: 30, .. })));
}

#[test]
fn an_interrupted_run_finishes_its_step_saves_and_can_be_taken_up() {
    let through = Task::new(0.3);
    through.trainer().fit(&through.source(5), 2).unwrap();
    let (task, folder, flag) = (Task::new(0.3), Folder::new("interrupted"), Arc::new(AtomicBool::new(false)));
    let source = batches(5, |epoch, batch| {
        // While the step's batch is made.
        flag.fetch_or((epoch, batch) == (1, 1), Ordering::SeqCst);
        task.batch(epoch, batch).map(Some)
    });
    let mut trainer =
        task.trainer().interrupt_by(flag.clone()).callback(Checkpoints::new(folder.path()).every(Every::Epochs(9)));
    let error = trainer.fit(&source, 2).unwrap_err();
    let Error::Interrupted { step: 7, saved: Some(saved) } = &error else { panic!("{error:?}") };
    assert!(error.to_string().contains("after step 7"), "{error}");
    let second = Task::new(0.3);
    let mut trainer = second.trainer();
    trainer.resume(saved).unwrap();
    assert_eq!(trainer.run().place(), Place { epoch: 1, batch: 2, step: 7 });
    trainer.fit(&second.source(5), 2).unwrap();
    assert_eq!(weights(&second), weights(&through));
}

#[test]
fn early_stopping_ends_the_run_and_restores_the_best_weights() {
    for (averaged, patience) in [(false, 2), (true, 0)] {
        let task = Task::new(0.0);
        let seen = Mutex::new(vec![]);
        // Best at the third of each epoch's evaluations.
        let errors = [5.0, 4.0, 3.0, 3.5, 3.0, f64::NAN, 1.0];
        let trainer = if averaged { task.trainer().ema(0.5).unwrap() } else { task.trainer() };
        let mut trainer = trainer
            .evaluate(Every::Epochs(1), |run| {
                seen.lock().unwrap().push(weights(&task));
                Ok([("error", errors[run.place().epoch as usize])].into())
            })
            .callback(EarlyStopping::new("error", Goal::Lowest).patience(patience).restore_best());
        let outcome = trainer.fit(&task.source(2), 7).unwrap();
        drop(trainer);
        let End::Stopped(reason) = &outcome.end else { panic!("{outcome:?}") };
        assert!(reason.contains("error has not got better than 3.0"), "{reason}");
        let seen = seen.into_inner().unwrap();
        assert_eq!(seen.len(), 4 + patience as usize);
        assert_eq!(weights(&task), seen[2]);
        assert_ne!(weights(&task), seen[3]);
    }
    let task = Task::new(0.0);
    let misnamed = task
        .trainer()
        .evaluate(Every::Epochs(1), |_| Ok([("loss of the test", 1.0)].into()))
        .callback(EarlyStopping::new("test loss", Goal::Lowest))
        .fit(&task.source(2), 1)
        .unwrap_err()
        .to_string();
    assert!(misnamed.contains("\"test loss\"") && misnamed.contains("loss of the test"), "{misnamed}");
}

#[test]
fn rates_multiply_and_are_told() {
    let (task, history) = (Task::new(0.0), History::new());
    task.trainer()
        .callback(LearningRate::of_step(|step| schedule::linear(step, 0.5, 1.0, 2)))
        .callback(LearningRate::of_epoch(|epoch| schedule::step(epoch, 1, 0.1)))
        .callback(history.clone())
        .fit(&task.source(3), 2)
        .unwrap();
    let expected = [0.5, 0.75, 1.0, 0.1, 0.1, 0.1].map(|factor| 0.1 * factor);
    assert_eq!(history.values("learning rate"), expected);
    assert_eq!(history.get("loss").iter().map(|p| p.0).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]);
    assert_eq!(history.values("share").len(), 6);
}

#[test]
fn figures_that_do_not_fit_the_closure_and_a_foreign_checkpoint_are_explained() {
    let task = Task::new(0.0);
    let error = task.trainer().figures(["a", "b"]).fit(&task.source(2), 1).unwrap_err().to_string();
    assert!(error.contains("1 values behind the loss") && error.contains("[\"a\", \"b\"]"), "{error}");
    let folder = Folder::new("foreign");
    let other = Params::new(&Device::Cpu, DType::F32, 0);
    let model = Linear::new(&other, 3, 2).unwrap();
    let sgd = Sgd::new(other.trainable(), SgdConfig::new(0.1)).unwrap();
    let mut trainer = Trainer::new(&other, sgd, Ctx::train(0), |inputs, ctx| {
        Ok(vec![model.forward(&inputs[0], ctx)?.mse_loss(&inputs[1], Reduction::Mean)?])
    });
    let before = weights(&task);
    task.trainer().callback(Checkpoints::new(folder.path())).fit(&task.source(2), 1).unwrap();
    assert_ne!(weights(&task), before);
    let error = trainer.resume(Checkpoints::last_in(folder.path())).unwrap_err().to_string();
    assert!(error.contains("fc1.weight"), "{error}");
    assert_eq!(trainer.run().place(), Place::default());
    // An epoch that has become shorter than where the run stands.
    task.trainer().callback(Checkpoints::new(folder.path())).stop_after(Some(9)).fit(&task.source(20), 1).unwrap();
    let mut trainer = task.trainer();
    trainer.resume(Checkpoints::last_in(folder.path())).unwrap();
    let error = trainer.fit(&task.source(9), 1).unwrap_err().to_string();
    assert!(error.contains("at batch 9 of an epoch") && error.contains("9 batches"), "{error}");
}
