//! A small network with dropout on made-up data, for tests of whole runs.
#![allow(dead_code)] // each test uses its own part

use std::path::{Path, PathBuf};
use warpsmith::nn::{Ctx, Dropout, Linear, Module, Params};
use warpsmith::optim::{Sgd, SgdConfig};
use warpsmith::random::Philox;
use warpsmith::train::{Batches, Trainer, batches};
use warpsmith::{DType, Device, Result, Tensor};

/// 6 → 8 → 3 classes.
pub struct Task {
    pub params: Params,
    layers: (Linear, Dropout, Linear),
}

pub fn optimizer(params: &Params) -> Sgd {
    Sgd::new(params.trainable(), SgdConfig { momentum: 0.9, ..SgdConfig::new(0.1) }).unwrap()
}

impl Task {
    pub fn new(dropout: f64) -> Self {
        Self::on(&Device::Cpu, dropout)
    }

    pub fn on(device: &Device, dropout: f64) -> Self {
        let params = Params::new(device, DType::F32, 5);
        let first = Linear::new(&params.sub("fc1"), 6, 8).unwrap();
        let layers = (first, Dropout::new(dropout).unwrap(), Linear::new(&params.sub("fc2"), 8, 3).unwrap());
        Task { params, layers }
    }

    fn logits(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let (first, dropout, second) = &self.layers;
        let hidden = dropout.forward(&first.forward(x, ctx)?.tanh()?, ctx)?;
        second.forward(&hidden, ctx)
    }

    /// The loss, and the share of right answers.
    pub fn forward(&self, inputs: &[Tensor], ctx: &mut Ctx) -> Result<Vec<Tensor>> {
        let logits = self.logits(&inputs[0], ctx)?;
        let share = logits.argmax(1)?.eq(&inputs[1])?.to_dtype(DType::F32)?.mean_all()?;
        Ok(vec![logits.cross_entropy(&inputs[1], &Default::default())?, share])
    }

    /// The loss of data that it is not trained on.
    pub fn error(&self) -> Result<f64> {
        let batch =
            self.batch_of(99, 20)?.iter().map(|t| t.to_device(self.params.device())).collect::<Result<Vec<_>>>()?;
        let [x, y] = &batch[..] else { unreachable!("two tensors") };
        self.logits(x, &mut Ctx::infer())?.cross_entropy(y, &Default::default())?.item::<f64>()
    }

    /// So many samples, always the same for one number.
    pub fn batch_of(&self, number: u64, count: usize) -> Result<Vec<Tensor>> {
        let mut rng = Philox::new(number);
        let x = Tensor::normal(0.0, 1.0, [count, 6], DType::F32, &Device::Cpu, &mut rng)?;
        let labels = x.narrow(1, 0, 3)?.argmax(1)?;
        Ok(vec![x, labels])
    }

    pub fn batch(&self, epoch: u64, batch: u64) -> Result<Vec<Tensor>> {
        self.batch_of(1000 * epoch + batch, 4)
    }

    pub fn source(&self, per_epoch: u64) -> impl Batches + '_ {
        batches(per_epoch, |epoch, batch| self.batch(epoch, batch).map(Some))
    }

    pub fn trainer(&self) -> Trainer<'_> {
        let forward = |inputs: &[Tensor], ctx: &mut Ctx| self.forward(inputs, ctx);
        Trainer::new(&self.params, optimizer(&self.params), Ctx::train(3), forward).figures(["share"])
    }
}

pub fn weights(task: &Task) -> Vec<(String, Vec<f64>)> {
    let dict = task.params.state_dict().unwrap();
    dict.iter().map(|(n, t)| (n.to_owned(), t.to_f64_vec().unwrap())).collect()
}

/// A folder of this process and test, removed when the test passes.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("warpsmith-trainer-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The names of what is in it.
    pub fn files(&self) -> Vec<String> {
        let names = std::fs::read_dir(&self.0).unwrap().map(|e| e.unwrap().file_name().to_string_lossy().into_owned());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}
