//! One training step of each click model on the CPU, in rows per second: 1,024 rows of 26 categorical fields and 13
//! numbers, the shape of the Criteo set, with a table of 260,000 ids.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use warpsmith::models::recsys::{
    CtrModel, Dcn, DcnConfig, DeepConfig, DeepFfm, DeepFm, Ffm, Fm, LogisticRegression, WideAndDeep, XDeepFm,
};
use warpsmith::nn::{Ctx, FieldInput, Fields, Params};
use warpsmith::optim::{AdaGrad, AdaGradConfig, Optimizer};
use warpsmith::random::{Philox, below};
use warpsmith::{DType, Device, Reduction, Result, Tensor};

const ROWS: usize = 1024;

type Make = fn(&Params, &Fields) -> Result<Box<dyn CtrModel>>;

fn deep() -> DeepConfig {
    DeepConfig { width: 16, hidden: vec![256, 128], ..DeepConfig::default() }
}

const MODELS: [(&str, Make); 10] = [
    ("logistic", |p, f| Ok(Box::new(LogisticRegression::new(p, f)?))),
    ("fm", |p, f| Ok(Box::new(Fm::new(p, f, 16, 0.05)?))),
    ("ffm", |p, f| Ok(Box::new(Ffm::new(p, f, 4, 0.05)?))),
    ("wide-deep", |p, f| Ok(Box::new(WideAndDeep::new(p, f, &[[0, 1], [2, 3]], &deep())?))),
    ("deepfm", |p, f| Ok(Box::new(DeepFm::new(p, f, &deep())?))),
    ("deepffm", |p, f| Ok(Box::new(DeepFfm::new(p, f, &DeepConfig { width: 4, ..deep() })?))),
    ("xdeepfm", |p, f| Ok(Box::new(XDeepFm::new(p, f, &[32, 32], &deep())?))),
    ("dcn", |p, f| Ok(Box::new(Dcn::new(p, f, &DcnConfig::dcn(3, deep()))?))),
    ("dcn-v2", |p, f| Ok(Box::new(Dcn::new(p, f, &DcnConfig::v2(3, deep()))?))),
    ("dcn-mixture", |p, f| Ok(Box::new(Dcn::new(p, f, &DcnConfig::mixture(3, 64, 4, deep()))?))),
];

fn models(c: &mut Criterion) {
    let mut group = c.benchmark_group("recsys");
    // A few fields of a thousand ids for the crossed ones, the others larger.
    let sizes: Vec<usize> = (0..26).map(|field| if field < 4 { 1_000 } else { 11_636 }).collect();
    let mut rng = Philox::new(1);
    let ids: Vec<i64> = (0..ROWS).flat_map(|_| sizes.clone()).map(|n| below(&mut rng, n as u64) as i64).collect();
    let ids = Tensor::from_vec(ids, [ROWS, sizes.len()], &Device::Cpu).expect("ids");
    let numbers = Tensor::normal(0.0, 1.0, [ROWS, 13], DType::F32, &Device::Cpu, &mut rng).expect("numbers");
    let answers = Tensor::bernoulli(0.3, ROWS, DType::F32, &Device::Cpu, &mut rng).expect("answers");
    let (fields, x) = (Fields { sizes, numbers: 13 }, FieldInput { ids, numbers: Some(numbers) });
    group.throughput(Throughput::Elements(ROWS as u64));
    for (name, make) in MODELS {
        let params = Params::new(&Device::Cpu, DType::F32, 1);
        let model = make(&params, &fields).expect("a model");
        let mut optimizer = AdaGrad::new(params.trainable(), AdaGradConfig::new(0.01)).expect("an optimizer");
        let mut ctx = Ctx::train(1);
        let mut step = || -> Result<f64> {
            let loss = model.forward(&x, &mut ctx)?.bce_with_logits(&answers, None, Reduction::Mean)?;
            optimizer.step(&loss.backward()?)?;
            loss.item::<f64>()
        };
        group.bench_function(name, |bench| bench.iter(|| step().expect("a step")));
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(10).warm_up_time(std::time::Duration::from_secs(1))
        .measurement_time(std::time::Duration::from_secs(3));
    targets = models
}
criterion_main!(benches);
