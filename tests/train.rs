//! Whole runs: the same weights whatever the number of threads, and after stopping and resuming.

#[path = "../examples/train_resnet.rs"]
#[allow(dead_code)]
mod example;

use example::support::digits;
use example::{Data, Options, Outcome, Set, train};
use std::path::PathBuf;
use warpsmith::models::{ResNet, ResNetConfig};
use warpsmith::nn::{Ctx, Module, Params};
use warpsmith::{DType, Device, Tensor};

fn folder(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("warpsmith-train-{name}-{}", std::process::id()))
}

/// Eight layers, two epochs of three steps on 96 images.
fn options(name: &str) -> Options {
    Options {
        device: Device::Cpu,
        network: ResNetConfig::cifar(8, 1, 10).unwrap(),
        epochs: 2,
        steps: None,
        batch: 32,
        lr: 0.05,
        seed: 7,
        resume: None,
        out: folder(name),
        interrupt: Default::default(),
    }
}

fn data() -> Data {
    let whole = Data::digits(1).unwrap();
    let some = |set: Set, n: usize| Set {
        images: set.images.narrow(0, 0, n).unwrap(),
        labels: set.labels.narrow(0, 0, n).unwrap(),
    };
    Data { training: some(whole.training, 96), test: some(whole.test, 40), scale: (0.5, 0.25), flip: true }
}

fn run(options: &Options) -> Outcome {
    train(options, &data()).unwrap()
}

fn weights(outcome: &Outcome) -> Vec<(String, Vec<f64>)> {
    let dict = outcome.params.state_dict().unwrap();
    dict.iter().map(|(n, t)| (n.to_owned(), t.to_f64_vec().unwrap())).collect()
}

#[test]
fn one_thread_and_two_give_the_same_weights() {
    let on = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| weights(&run(&options(&format!("{threads}-threads")))))
    };
    let one = on(1);
    assert_eq!(one, on(2));
    assert_eq!(one, on(3));
    let other = weights(&run(&Options { seed: 8, ..options("other-seed") }));
    assert_ne!(one, other, "the seed matters");
    ["1-threads", "2-threads", "3-threads", "other-seed"].iter().for_each(|n| drop(std::fs::remove_dir_all(folder(n))));
}

#[test]
fn stopping_and_resuming_gives_the_weights_of_going_through() {
    let through = run(&options("through"));
    for stop in [3, 4] {
        let name = format!("stopped-{stop}");
        let first = run(&Options { steps: Some(stop), ..options(&name) });
        assert_ne!(weights(&first), weights(&through));
        let resume = Some(folder(&name).join("checkpoint.safetensors"));
        let second = run(&Options { resume, ..options(&name) });
        assert_eq!(weights(&second), weights(&through), "stopped after {stop} steps");
        assert_eq!(second.accuracy, through.accuracy);
        for file in &second.files {
            assert!(file.is_file(), "{}", file.display());
        }
        std::fs::remove_dir_all(folder(&name)).unwrap();
    }
    // The saved model is the trained one, and the picture is one.
    let saved = Params::new(&Device::Cpu, DType::F32, 0);
    ResNet::new(&saved, &ResNetConfig::cifar(8, 1, 10).unwrap()).unwrap();
    saved.load(folder("through").join("model.safetensors")).unwrap();
    let found: Vec<_> =
        saved.state_dict().unwrap().iter().map(|(n, t)| (n.to_owned(), t.to_f64_vec().unwrap())).collect();
    assert_eq!(found, weights(&through));
    assert!(std::fs::read_to_string(folder("through").join("curves.svg")).unwrap().contains("accuracy"));
    std::fs::remove_dir_all(folder("through")).unwrap();
}

#[test]
fn a_checkpoint_of_another_network_is_refused() {
    let small = run(&Options { steps: Some(1), ..options("small") });
    drop(small);
    let network = ResNetConfig::cifar(14, 1, 10).unwrap();
    let resume = Some(folder("small").join("checkpoint.safetensors"));
    let larger = Options { network, resume, ..options("larger") };
    let error = train(&larger, &data()).err().map(|e| e.to_string()).unwrap();
    assert!(error.contains("layer1.1.conv1.weight"), "{error}");
    let batch = Options { batch: 0, ..options("larger") };
    assert!(train(&batch, &data()).is_err());
    ["small", "larger"].iter().for_each(|n| drop(std::fs::remove_dir_all(folder(n))));
}

#[test]
fn empty_batches_and_labels_out_of_range_are_explained() {
    let params = Params::new(&Device::Cpu, DType::F32, 1);
    let model = ResNet::new(&params, &ResNetConfig::cifar(8, 1, 10).unwrap()).unwrap();
    let empty = Tensor::zeros([0, 1, 8, 8], DType::F32, &Device::Cpu).unwrap();
    let message = model.forward(&empty, &mut Ctx::train(1)).unwrap_err().to_string();
    assert!(message.contains("[0, "), "{message}");
    let images = Tensor::zeros([2, 1, 8, 8], DType::F32, &Device::Cpu).unwrap();
    let logits = model.forward(&images, &mut Ctx::train(1)).unwrap();
    for bad in [10i64, -1, i64::MAX] {
        let labels = Tensor::from_slice(&[3, bad], [2], &Device::Cpu).unwrap();
        let message = logits.cross_entropy(&labels, &Default::default()).unwrap_err().to_string();
        assert!(message.contains(&bad.to_string()), "{message}");
    }
    let three = Tensor::zeros([2, 3, 8, 8], DType::F32, &Device::Cpu).unwrap();
    assert!(model.forward(&three, &mut Ctx::infer()).is_err(), "three channels into one");
}

#[test]
fn the_digits_are_whole_and_split_as_stated() {
    let (training, test) = digits::load().unwrap();
    assert_eq!((training.len(), test.len(), training.side), (1437, 360, 8));
    for class in 0..10 {
        assert!(test.labels.iter().filter(|&&l| l == class).count() >= 25);
    }
    assert!(training.pixels.iter().all(|p| (0.0..=1.0).contains(p)));
    let large = test.enlarged(4);
    assert_eq!((large.side, large.pixels.len()), (32, 360 * 1024));
    assert_eq!(large.pixels[32 * 5 + 9], test.pixels[8 + 2]);
    let (x, labels) = test.batch(&[3, 0], &[[1, 0], [0, -1]], &Device::Cpu).unwrap();
    let x = x.to_vec::<f32>().unwrap();
    assert_eq!(labels.to_vec::<i64>().unwrap(), [test.labels[3], test.labels[0]]);
    assert_eq!((x[0], x[8]), (0.0, test.pixels[3 * 64]));
    assert_eq!((x[64], x[64 + 7]), (test.pixels[1], 0.0));
}
