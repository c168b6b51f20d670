//! Captured graphs: the bits of plain work, and memory that lives as long as a graph may use it.

mod support;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard};
use support::devices::{self, Gpu};
use warpsmith::device::cuda::CudaDevice;
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Error, Result, Tensor, Var};

/// Bytes that a device holds are counted: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn alone() -> MutexGuard<'static, ()> {
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn cuda(gpu: &Gpu) -> &CudaDevice {
    let Device::Cuda(cuda) = &gpu.device else { unreachable!("a CUDA device") };
    cuda
}

/// Something of several kernels and temporaries.
fn work(x: &Tensor) -> Result<Tensor> {
    x.matmul(&x.transpose(0, 1)?)?.softmax(1)?.sum(&[0])?.add(&x.affine(2.0, 1.0)?.sum(&[1])?)
}

fn values(seed: u64, device: &Device) -> Tensor {
    let x = Tensor::normal(0.0, 1.0, [6, 6], DType::F32, &Device::Cpu, &mut Philox::new(seed)).unwrap();
    x.to_device(device).unwrap()
}

#[test]
fn a_graph_repeats_its_work_on_what_its_inputs_hold_then() {
    let _alone = alone();
    for gpu in devices::gpus(1) {
        let x = Var::new(&values(1, &gpu.device)).unwrap();
        work(&x).unwrap().to_vec::<f32>().unwrap();
        let held = cuda(gpu).held_bytes();
        let (graph, y) = cuda(gpu).capture(|| work(&x)).unwrap();
        for seed in 2..5 {
            x.set(&values(seed, &gpu.device)).unwrap();
            graph.launch(0).unwrap();
            let plain = work(&x).unwrap().to_vec::<f32>().unwrap();
            assert_eq!(y.to_vec::<f32>().unwrap(), plain, "on {}", gpu.name);
        }
        // The result keeps its memory without the graph.
        let last = y.to_vec::<f32>().unwrap();
        drop(graph);
        let others: Vec<Tensor> = (0..20).map(|_| Tensor::ones([64, 64], DType::F32, &gpu.device).unwrap()).collect();
        assert_eq!(y.to_vec::<f32>().unwrap(), last);
        drop((others, y));
        assert_eq!(cuda(gpu).held_bytes(), held, "on {}", gpu.name);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn memory_that_a_graph_uses_outlives_its_owner() {
    let _alone = alone();
    for gpu in devices::gpus(2) {
        let before = cuda(gpu).held_bytes();
        let x = values(7, &gpu.device);
        let expected = work(&x).unwrap().to_vec::<f32>().unwrap();
        // One operand is freed inside the capture, one after it.
        let inside = x.copy().unwrap();
        let (graph, y) = cuda(gpu)
            .capture(|| {
                let twice = inside.add(&x)?;
                drop(inside);
                work(&twice.affine(0.5, 0.0)?)
            })
            .unwrap();
        drop(x);
        let others: Vec<Tensor> = (0..8).map(|_| Tensor::zeros([6, 6], DType::F32, &gpu.device).unwrap()).collect();
        graph.launch(0).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), expected, "on {}", gpu.name);
        drop((graph, y, others));
        assert_eq!(cuda(gpu).held_bytes(), before, "on {}", gpu.name);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn the_random_offset_moves_counters_forward_and_backward() {
    let _alone = alone();
    for gpu in devices::gpus(3) {
        let x = Var::new(&values(3, &gpu.device)).unwrap();
        let step = |rng: &mut Philox| -> Result<(Tensor, Tensor)> {
            let y = x.dropout(0.4, rng)?.mul(&Tensor::normal(0.0, 1.0, [6, 6], DType::F32, &gpu.device, rng)?)?;
            let gradient = y.sum_all()?.backward()?.expect(&x)?;
            Ok((y.detach(), gradient))
        };
        let mut rng = Philox::new(5);
        step(&mut rng).unwrap();
        let start = rng.clone();
        let (graph, (y, gradient)) = cuda(gpu).capture(|| step(&mut rng)).unwrap();
        assert_eq!(graph.draws().len(), 3, "{:?}", graph.draws());
        for offset in [0, 18, 1 << 40, 1000] {
            let mut plain = start.clone();
            plain.reserve(offset);
            let expected = step(&mut plain).unwrap();
            graph.launch(offset).unwrap();
            assert_eq!(y.to_vec::<f32>().unwrap(), expected.0.to_vec::<f32>().unwrap(), "{offset} on {}", gpu.name);
            assert_eq!(gradient.to_vec::<f32>().unwrap(), expected.1.to_vec::<f32>().unwrap());
        }
        drop(graph);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn what_cannot_be_captured_is_refused_and_the_device_goes_on() {
    let _alone = alone();
    for gpu in devices::gpus(4) {
        let (device, x) = (&gpu.device, values(4, &gpu.device));
        let expected = work(&x).unwrap().to_vec::<f32>().unwrap();
        let (other, _) = cuda(gpu).capture(|| work(&x)).unwrap();
        let held = cuda(gpu).held_bytes();
        let refused = |what: &dyn Fn() -> Result<()>, expected: &str| {
            let error = cuda(gpu).capture(|| work(&x).and_then(|_| what())).map(|_| ()).unwrap_err();
            assert!(matches!(error, Error::Device { .. }) && error.to_string().contains(expected), "{error}");
        };
        refused(&|| work(&x)?.to_vec::<f32>().map(drop), "read it after the launch");
        refused(&|| Tensor::from_slice(&[1f32], 1, device).map(drop), "make them an input");
        refused(&|| cuda(gpu).synchronize(), "cannot wait");
        refused(&|| cuda(gpu).capture(|| Ok(())).map(|_| ()), "capturing already");
        refused(&|| other.launch(0), "inside a capture");
        let panicked =
            catch_unwind(AssertUnwindSafe(|| cuda(gpu).capture(|| -> Result<()> { panic!("a user's bug") })));
        assert!(panicked.is_err());
        // A failure of its own, of which nothing stays either.
        let wrong = cuda(gpu).capture(|| work(&x)?.matmul(&x.narrow(0, 0, 2)?).map(drop)).map(|_| ());
        assert!(matches!(wrong, Err(Error::Shape { .. })), "{wrong:?}");
        assert_eq!(cuda(gpu).held_bytes(), held, "on {}", gpu.name);
        let (graph, y) = cuda(gpu).capture(|| work(&x)).unwrap();
        graph.launch(0).unwrap();
        assert_eq!(y.to_vec::<f32>().unwrap(), expected);
        assert_eq!(work(&x).unwrap().to_vec::<f32>().unwrap(), expected);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

#[test]
fn other_threads_work_on_while_one_captures_and_launch_its_graph() {
    let _alone = alone();
    for gpu in devices::gpus(5) {
        let x = values(5, &gpu.device);
        let expected = work(&x).unwrap().to_vec::<f32>().unwrap();
        let elsewhere = || {
            std::thread::scope(|scope| {
                let run = scope.spawn(|| work(&values(6, &gpu.device)).and_then(|y| y.to_vec::<f32>()));
                run.join().expect("no panic").unwrap()
            })
        };
        let of_others = elsewhere();
        let (graph, y) = cuda(gpu)
            .capture(|| {
                let y = work(&x)?;
                assert_eq!(elsewhere(), of_others, "a thread that does not capture gets its values");
                Ok(y)
            })
            .unwrap();
        std::thread::scope(|scope| {
            let launches: Vec<_> = (0..2)
                .map(|_| {
                    scope.spawn(|| {
                        for _ in 0..3 {
                            graph.launch(0).unwrap();
                            assert_eq!(y.to_vec::<f32>().unwrap(), expected);
                            assert_eq!(work(&x).unwrap().to_vec::<f32>().unwrap(), expected);
                        }
                    })
                })
                .collect();
            launches.into_iter().for_each(|thread| thread.join().expect("no panic"));
        });
        // Dropped while it may be running.
        graph.launch(0).unwrap();
        graph.launch(0).unwrap();
        drop(graph);
        assert_eq!(y.to_vec::<f32>().unwrap(), expected);
        assert_eq!(devices::reports(), "", "on {}", gpu.name);
    }
}

/// Graphs, devices and tensors go to other threads.
#[test]
fn handles_are_send_and_sync() {
    fn both<T: Send + Sync>() {}
    both::<warpsmith::device::cuda::Graph>();
    both::<CudaDevice>();
    both::<Tensor>();
    both::<warpsmith::device::cuda::Kernel>();
}
