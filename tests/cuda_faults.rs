//! Training under faults that the virtual GPU injects: an error each time, never a panic, nothing left behind, and the
//! bits of an undisturbed run after resuming from a checkpoint.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::{Mutex, MutexGuard};
use virtual_gpu::VirtualGpu;
use warpsmith::device::cuda::CudaDevice;
use warpsmith::nn::{BatchNorm, Ctx, Dropout, Embedding, LayerNorm, Linear, Module, Params};
use warpsmith::optim::{Adam, AdamConfig, Clip};
use warpsmith::train::{CapturedStep, Checkpoint};
use warpsmith::{DType, Device, Error, Result, Tensor};

/// The first step makes the optimizer's state, the third is captured, later ones are launched as its graph.
const STEPS: usize = 6;

/// Faults strike whatever the process does next: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

/// Nothing where another device is under test, which takes no faults.
fn alone() -> Option<(MutexGuard<'static, ()>, VirtualGpu)> {
    if std::env::var("WARPSMITH_TEST_DEVICE").is_ok_and(|device| device != "virtual") {
        return None;
    }
    let guard = ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    Some((guard, virtual_gpu::install().expect("the virtual GPU")))
}

fn cuda(device: &Device) -> &CudaDevice {
    let Device::Cuda(cuda) = device else { unreachable!("a CUDA device") };
    cuda
}

/// A network with a layer of most kinds.
struct Net {
    table: Embedding,
    first: Linear,
    batch: BatchNorm,
    norm: LayerNorm,
    last: Linear,
    dropout: Dropout,
}

impl Net {
    fn new(params: &Params) -> Result<Self> {
        Ok(Net {
            table: Embedding::new(&params.sub("table"), 5, 6)?,
            first: Linear::new(&params.sub("first"), 6, 8)?,
            batch: BatchNorm::new(&params.sub("batch"), 8)?,
            norm: LayerNorm::new(&params.sub("norm"), &[8])?,
            last: Linear::new(&params.sub("last"), 8, 3)?,
            dropout: Dropout::new(0.2)?,
        })
    }

    fn loss(&self, inputs: &[Tensor], ctx: &mut Ctx) -> Result<Tensor> {
        let x = self.table.forward(&inputs[0], ctx)?;
        let x = self.batch.forward(&self.first.forward(&x, ctx)?, ctx)?.relu()?;
        let x = self.dropout.forward(&self.norm.forward(&x, ctx)?, ctx)?;
        self.last.forward(&x, ctx)?.cross_entropy(&inputs[1], &Default::default())
    }
}

/// The inputs of a step, on the host.
fn batch(step: usize) -> [Tensor; 2] {
    let ids: Vec<i64> = (0..4).map(|i| ((i * i + step * 3) % 5) as i64).collect();
    let labels: Vec<i64> = (0..4).map(|i| ((i + step) % 3) as i64).collect();
    [ids, labels].map(|values| Tensor::from_slice(&values, 4, &Device::Cpu).expect("four numbers"))
}

/// A training run, and how it may be continued.
struct Run<F> {
    params: Params,
    step: CapturedStep<Adam, F>,
    done: usize,
}

type Forward = Box<dyn FnMut(&[Tensor], &mut Ctx) -> Result<Vec<Tensor>>>;

impl Run<Forward> {
    fn new(device: &Device) -> Result<Self> {
        let params = Params::new(device, DType::F32, 4);
        let net = Net::new(&params)?;
        let optimizer = Adam::new(params.trainable(), AdamConfig::adamw(0.02))?;
        let forward: Forward = Box::new(move |inputs, ctx| Ok(vec![net.loss(inputs, ctx)?]));
        let step = CapturedStep::new(device, Ctx::train(9), optimizer, forward).with_clip(Clip::Norm(0.5));
        Ok(Run { params, step, done: 0 })
    }

    /// One step: its loss.
    fn step(&mut self) -> Result<f32> {
        let loss = self.step.run(&batch(self.done))?.loss.item::<f32>()?;
        self.done += 1;
        Ok(loss)
    }

    fn checkpoint(&mut self) -> Result<Checkpoint> {
        let mut ctx = self.step.ctx_mut().clone();
        let mut saved = Checkpoint::capture(&self.params, self.step.optimizer(), &mut ctx)?;
        saved.set_counter("step", self.done as u64)?;
        Ok(saved)
    }

    fn restore(&mut self, saved: &Checkpoint) -> Result<()> {
        let mut ctx = self.step.ctx_mut().clone();
        saved.restore(&self.params, self.step.optimizer_mut(), &mut ctx)?;
        *self.step.ctx_mut() = ctx;
        self.done = saved.counter("step")? as usize;
        Ok(())
    }

    /// One step, and all that was learnt so far, as bits.
    fn step_bits(&mut self) -> Result<Vec<u64>> {
        let mut bits = vec![u64::from(self.step()?.to_bits())];
        for (_, tensor) in self.params.state_dict()?.iter() {
            bits.extend(tensor.to_f64_vec()?.into_iter().map(f64::to_bits));
        }
        Ok(bits)
    }
}

/// The bits of each step of an undisturbed run.
fn undisturbed(device: &Device) -> Vec<Vec<u64>> {
    let mut run = Run::new(device).unwrap();
    (0..STEPS).map(|_| run.step_bits().unwrap()).collect()
}

/// Runs `f` while its allocation number `nth` fails, if it has that many.
fn with_failure<R>(gpu: VirtualGpu, nth: u64, f: impl FnOnce() -> R) -> R {
    gpu.inject(nth, 0, 0);
    let out = f();
    gpu.inject(0, 0, 0);
    out
}

fn is_out_of_memory(error: &Error) {
    let Error::OutOfMemory { asked, held, .. } = error else { panic!("{error}") };
    assert!(*asked > 0 && *held > 0, "{error}");
}

#[test]
fn every_allocation_of_a_step_may_fail_and_training_resumes() {
    let Some((_alone, gpu)) = alone() else { return };
    let device = Device::cuda(0).unwrap();
    let expected = undisturbed(&device);
    let (nothing, alive) = (cuda(&device).held_bytes(), gpu.live_allocations().len());
    // A plain step that makes the optimizer's state, another, and one that is captured: the second after a restart.
    for before in 0..3 {
        let mut run = Run::new(&device).unwrap();
        for _ in 0..before.min(1) {
            run.step().unwrap();
        }
        let saved = run.checkpoint().unwrap();
        let restart = |run: &mut Run<Forward>| {
            run.restore(&saved).unwrap();
            for step in 1..before {
                assert_eq!(run.step_bits().unwrap(), expected[step]);
            }
            cuda(&device).held_bytes()
        };
        let held = restart(&mut run);
        // Of the first step, which differs by what the optimizer makes, a sample.
        let stride = if before == 0 { 4 } else { 1 };
        let mut nth = 1;
        let last = loop {
            match with_failure(gpu, nth, || run.step()) {
                Ok(loss) => break loss,
                Err(error) => is_out_of_memory(&error),
            }
            let now = restart(&mut run);
            // What a failed first step has made for later ones stays.
            assert!(now == held || before == 0, "step {before}, allocation {nth}: {now} bytes, not {held}");
            nth += stride;
        };
        // No allocation was left to fail, and after so many failures the step is as ever.
        assert!(nth > [40, 30, 5][before], "step {before} has fewer than {nth} allocations");
        assert_eq!(u64::from(last.to_bits()), expected[before][0]);
        assert_eq!(run.step_bits().unwrap(), expected[before + 1], "behind step {before}");
        drop((run, saved));
        assert_eq!(cuda(&device).held_bytes(), nothing, "step {before}");
    }
    // The launch of a graph: what is copied in and out.
    for nth in 1.. {
        let mut run = Run::new(&device).unwrap();
        for _ in 0..3 {
            run.step().unwrap();
        }
        let saved = run.checkpoint().unwrap();
        match with_failure(gpu, nth, || run.step()) {
            Ok(_) => {
                assert!(nth > 2, "a launch has {} allocations", nth - 1);
                break;
            }
            Err(error) => is_out_of_memory(&error),
        }
        run.restore(&saved).unwrap();
        assert_eq!(run.step_bits().unwrap(), expected[3], "launch, allocation {nth}");
    }
    cuda(&device).synchronize().unwrap();
    assert_eq!(gpu.live_allocations().len(), alive, "{:?}", gpu.live_allocations());
    assert!(gpu.faults().is_empty(), "{:?}", gpu.faults());
}

/// Runs the test `child` in a process of its own.
fn other_process(part: &str, fault: &str, file: &PathBuf) -> Output {
    let program = std::env::current_exe().unwrap();
    let mut command = Command::new(program);
    command.args(["--exact", "child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env("FAULT_PART", part).env("FAULT", fault).env("FAULT_FILE", file);
    command.output().unwrap()
}

#[test]
fn a_lost_device_is_an_error_and_a_new_process_resumes() {
    let Some((_alone, _)) = alone() else { return };
    let expected = undisturbed(&Device::cuda(0).unwrap());
    // Launches of a plain step, of the graph of a captured one, and the loss of the device under both.
    for (at, fault) in [(1, "launch 1"), (1, "lost 40"), (4, "launch 7"), (4, "lost 31")] {
        let file = std::env::temp_dir().join(format!("warpsmith-fault-{}.safetensors", std::process::id()));
        let first = other_process(&at.to_string(), fault, &file);
        assert!(first.status.success(), "{fault}: {}", String::from_utf8_lossy(&first.stderr));
        let second = other_process("resume", "", &file);
        std::fs::remove_file(&file).unwrap();
        let text = String::from_utf8_lossy(&second.stdout);
        let said = String::from_utf8_lossy(&second.stderr);
        assert!(!said.contains("never freed"), "left behind at the end of the process: {said}");
        let line = text
            .lines()
            .find_map(|line| line.split("bits ").nth(1))
            .unwrap_or_else(|| panic!("{fault}: {text}{}", String::from_utf8_lossy(&second.stderr)));
        let found: Vec<u64> = line.split_whitespace().map(|bits| bits.parse().unwrap()).collect();
        assert_eq!(found, expected[at..].concat(), "{fault}");
    }
}

/// The other process of the test above.
#[test]
#[ignore = "run by another test, in a process of its own"]
fn child() {
    let (Ok(part), Ok(file)) = (std::env::var("FAULT_PART"), std::env::var("FAULT_FILE")) else { return };
    let gpu = virtual_gpu::install().expect("the virtual GPU");
    let device = Device::cuda(0).unwrap();
    let mut run = Run::new(&device).unwrap();
    let Ok(steps) = part.parse::<usize>() else {
        run.restore(&Checkpoint::load(&file).unwrap()).unwrap();
        let steps: Vec<Vec<u64>> = (run.done..STEPS).map(|_| run.step_bits().unwrap()).collect();
        let bits: Vec<String> = steps.concat().iter().map(u64::to_string).collect();
        println!("bits {}", bits.join(" "));
        return;
    };
    for _ in 0..steps {
        run.step().unwrap();
    }
    run.checkpoint().unwrap().save(&file).unwrap();
    let fault = std::env::var("FAULT").unwrap();
    let (what, nth) = fault.split_once(' ').unwrap();
    let nth = nth.parse().unwrap();
    gpu.inject(0, if what == "launch" { nth } else { 0 }, if what == "lost" { nth } else { 0 });
    let error = run.step().map(|_| ()).expect_err("a launch failed");
    assert!(matches!(&error, Error::DeviceLost { .. }), "{error}");
    let again = run.step().map(|_| ()).expect_err("the device is lost");
    assert!(matches!(&again, Error::DeviceLost { .. }), "{again}");
    assert!(matches!(Tensor::ones(3, DType::F32, &device), Err(Error::DeviceLost { .. })));
    drop(run);
    assert_eq!(cuda(&device).held_bytes(), 0);
}
