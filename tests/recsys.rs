//! Recommenders: layers and models against their definitions in plain loops, and their gradients against differences of
//! these; on every device.

mod support;

use std::collections::BTreeMap;
use support::{Array, Random, devices};
use warpsmith::autograd::Gradient;
use warpsmith::models::recsys::*;
use warpsmith::nn::*;
use warpsmith::optim::*;
use warpsmith::{DType, Device, Gradients, Reduction, Result, Tensor};

/// What is computed with the parameters and inputs in a store.
type Forward = Box<dyn Fn() -> Result<Tensor>>;

/// The values of a store by name, as the definitions read them.
struct Values(BTreeMap<String, Array>);

impl Values {
    fn of(&self, name: &str) -> &Array {
        self.0.get(name).unwrap_or_else(|| panic!("no parameter {name} among {:?}", self.0.keys()))
    }

    fn at(&self, name: &str, index: &[usize]) -> f64 {
        self.of(name).at(index)
    }
}

/// Compares what `make` computes with `definition`, which shares nothing with it; and its gradients for every
/// parameter (inputs among them) with central differences of the definition, in f64. Then the same in f32 on every
/// device, against the results in f64.
fn check(what: &str, make: impl Fn(&Params) -> Result<Forward>, definition: impl Fn(&Values) -> Array) {
    let mut random = Random::fresh(what);
    let seed = random.seed();
    let host = Params::new(&Device::Cpu, DType::F64, 1);
    let forward = make(&host).unwrap();
    let mut values = Values(BTreeMap::new());
    for (name, param) in host.all() {
        let data = (0..param.numel()).map(|_| random.range(-1.0, 1.0)).collect();
        // Numbers that f32 has, so that all devices begin from the same.
        let value = Array::new(param.dims(), data).map(|v| f64::from(v as f32));
        param.set(&Tensor::from_slice(&value.data, param.dims(), &Device::Cpu).unwrap()).unwrap();
        values.0.insert(name, value);
    }
    let expected = definition(&values);
    let upstream = Array::new(&expected.dims, expected.data.iter().map(|_| random.range(-1.0, 1.0)).collect());
    let (out, gradients) = run(&forward, &upstream, &Device::Cpu, DType::F64);
    assert_eq!(out.dims(), expected.dims, "{what}: shape");
    // A few hundred roundings of numbers of the result's size.
    close(what, &out, &expected.data, 1e-12);

    let objective = |values: &Values| -> f64 {
        let out = definition(values);
        out.data.iter().zip(&upstream.data).map(|(a, b)| a * b).sum()
    };
    let middle = objective(&values);
    for (name, param) in host.all() {
        let gradient = dense(&gradients, &param, &name, what);
        let mut kinks = 0;
        for i in 0..param.numel() {
            let mut moved = |by: f64| {
                let value = values.0.get_mut(&name).unwrap();
                let old = value.data[i];
                value.data[i] = old + by;
                let out = objective(&values);
                values.0.get_mut(&name).unwrap().data[i] = old;
                out
            };
            let h = 1e-5;
            let (above, below) = (moved(h), moved(-h));
            // A rectifier's kink between the two: neither side's slope is the mean's.
            if ((above - middle) - (middle - below)).abs() > 1e-3 * h * middle.abs().max(1.0) {
                kinks += 1;
                continue;
            }
            let slope = (above - below) / (2.0 * h);
            // Truncation h² f‴ / 6 and rounding 2⁻⁵² f / h, both about 1e-10 times f.
            let error = (gradient[i] - slope).abs();
            let bound = 1e-7 * slope.abs().max(middle.abs()).max(1.0);
            assert!(error <= bound, "{what}: gradient {i} of {name} is {} instead of {slope}", gradient[i]);
        }
        assert!(kinks <= 1 + param.numel() / 50, "{what}: {kinks} kinks in {name}");
    }

    for device in devices::devices(seed) {
        let there = Params::new(&device, DType::F32, 1);
        let forward = make(&there).unwrap();
        for (name, param) in there.all() {
            let value = &values.0[&name];
            let value = Tensor::from_slice(&value.data, value.dims.as_slice(), &Device::Cpu).unwrap();
            param.set(&value.to_dtype(DType::F32).unwrap().to_device(&device).unwrap()).unwrap();
        }
        let what = format!("{what} on {device}");
        let (found, found_gradients) = run(&forward, &upstream, &device, DType::F32);
        // Some hundred terms summed in f32, and functions of some units in the last place.
        close(&what, &found, &out.to_f64_vec().unwrap(), 2e-5);
        for ((name, one), (_, other)) in there.all().iter().zip(host.all()) {
            let found = dense(&found_gradients, one, name, &what);
            let expected = dense(&gradients, &other, name, &what);
            near(&format!("{what}: gradient of {name}"), &found, &expected, 5e-5);
        }
    }
    assert_eq!(devices::reports(), "", "{what}");
}

fn run(forward: &Forward, upstream: &Array, device: &Device, dtype: DType) -> (Tensor, Gradients) {
    let out = forward().unwrap();
    let upstream = Tensor::from_slice(&upstream.data, upstream.dims.as_slice(), &Device::Cpu).unwrap();
    let upstream = upstream.to_dtype(dtype).unwrap().to_device(device).unwrap();
    let gradients = out.backward_with(&upstream).unwrap();
    (out.detach(), gradients)
}

fn dense(gradients: &Gradients, param: &Param, name: &str, what: &str) -> Vec<f64> {
    let gradient = gradients.get(param).unwrap().unwrap_or_else(|| panic!("{what}: no gradient of {name}"));
    gradient.to_f64_vec().unwrap()
}

#[track_caller]
fn close(what: &str, found: &Tensor, expected: &[f64], relative: f64) {
    near(what, &found.to_f64_vec().unwrap(), expected, relative);
}

/// Every element, within a share of the largest.
#[track_caller]
fn near(what: &str, found: &[f64], expected: &[f64], relative: f64) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().fold(1.0f64, |m, v| m.max(v.abs()));
    for (i, (f, e)) in found.iter().zip(expected).enumerate() {
        assert!((f - e).abs() <= relative * scale, "{what}: element {i} is {f:e} instead of {e:e}");
    }
}

/// The table of the tests: three categorical fields, two numbers, five rows.
const SIZES: [usize; 3] = [4, 1, 6];
const ROWS: usize = 5;
const IDS: [[usize; 3]; ROWS] = [[0, 0, 5], [3, 0, 0], [1, 0, 2], [3, 0, 5], [2, 0, 1]];
const FIELDS: usize = 5;

fn fields() -> Fields {
    Fields { sizes: SIZES.to_vec(), numbers: 2 }
}

fn ids(device: &Device) -> Tensor {
    let ids: Vec<i64> = IDS.iter().flatten().map(|&id| id as i64).collect();
    Tensor::from_slice(&ids, [ROWS, 3], device).unwrap()
}

/// The table, its numbers a parameter so that they have a gradient.
fn features(params: &Params) -> Result<FieldInput> {
    let numbers = params.param("numbers", [ROWS, 2], Init::ZEROS)?;
    Ok(FieldInput { ids: ids(params.device()), numbers: Some(numbers.tensor()) })
}

/// The features with numbers that are read anew at every call.
fn check_features(
    what: &str,
    make: impl Fn(&Params) -> Result<Box<dyn Fn(&FieldInput) -> Result<Tensor>>>,
    definition: impl Fn(&Values) -> Array,
) {
    let forward = |params: &Params| -> Result<Forward> {
        let (model, x) = (make(&params.sub("m"))?, features(params)?);
        Ok(Box::new(move || model(&x)))
    };
    check(what, forward, definition);
}

// The definitions, in plain loops.

/// `vectors` of [`FeatureEmbedding`]: row, field, element.
fn vectors(v: &Values, at: &str, width: usize) -> Array {
    Array::from_fn(&[ROWS, FIELDS, width], |i| {
        let &[row, field, k] = i else { unreachable!() };
        match field {
            0..3 => {
                let begin: usize = SIZES[..field].iter().sum();
                v.at(&format!("{at}.ids.weight"), &[begin + IDS[row][field], k])
            }
            _ => v.at("numbers", &[row, field - 3]) * v.at(&format!("{at}.numbers"), &[field - 3, k]),
        }
    })
}

fn linear_term(v: &Values, at: &str) -> Array {
    let weights = vectors(v, &format!("{at}.weights"), 1);
    Array::from_fn(&[ROWS], |i| {
        v.at(&format!("{at}.bias"), &[0]) + (0..FIELDS).map(|f| weights.at(&[i[0], f, 0])).sum::<f64>()
    })
}

/// Σ over pairs, element by element.
fn pair_products(x: &Array) -> Array {
    let [rows, fields, width] = x.dims[..] else { unreachable!() };
    Array::from_fn(&[rows, width], |i| {
        let mut sum = 0.0;
        for a in 0..fields {
            for b in a + 1..fields {
                sum += x.at(&[i[0], a, i[1]]) * x.at(&[i[0], b, i[1]]);
            }
        }
        sum
    })
}

fn sum_last(x: &Array) -> Array {
    let width = x.dims[x.dims.len() - 1];
    Array::new(&x.dims[..x.dims.len() - 1], x.data.chunks(width).map(|c| c.iter().sum()).collect())
}

fn field_aware(v: &Values, at: &str, width: usize) -> Array {
    let all = vectors(v, at, FIELDS * width);
    let pairs: Vec<(usize, usize)> = (0..FIELDS).flat_map(|a| (a + 1..FIELDS).map(move |b| (a, b))).collect();
    Array::from_fn(&[ROWS, pairs.len(), width], |i| {
        let (a, b) = pairs[i[1]];
        all.at(&[i[0], a, b * width + i[2]]) * all.at(&[i[0], b, a * width + i[2]])
    })
}

fn linear(v: &Values, at: &str, x: &Array, bias: bool) -> Array {
    let weight = v.of(&format!("{at}.weight"));
    Array::from_fn(&[x.dims[0], weight.dims[0]], |i| {
        let sum: f64 = (0..weight.dims[1]).map(|k| x.at(&[i[0], k]) * weight.at(&[i[1], k])).sum();
        sum + if bias { v.at(&format!("{at}.bias"), &[i[1]]) } else { 0.0 }
    })
}

fn mlp(v: &Values, at: &str, x: &Array, layers: usize) -> Array {
    (0..layers).fold(x.clone(), |x, n| linear(v, &format!("{at}.{n}"), &x, true).map(|y| y.max(0.0)))
}

fn column(x: Array) -> Array {
    assert_eq!(x.dims[1], 1);
    Array::new(&x.dims[..1], x.data)
}

fn deep_logit(v: &Values, at: &str, x: &Array, layers: usize) -> Array {
    column(linear(v, &format!("{at}.head"), &mlp(v, &format!("{at}.layers"), x, layers), true))
}

fn cross(v: &Values, at: &str, first: &Array, layers: usize, kind: CrossKind) -> Array {
    let [rows, width] = first.dims[..] else { unreachable!() };
    (0..layers).fold(first.clone(), |x, layer| {
        let at = format!("{at}.{layer}");
        let name = |suffix: &str| format!("{at}.{suffix}");
        Array::from_fn(&[rows, width], |i| {
            let &[row, d] = i else { unreachable!() };
            let dot = |weight: &dyn Fn(usize) -> f64| -> f64 { (0..width).map(|k| x.at(&[row, k]) * weight(k)).sum() };
            let new = match kind {
                CrossKind::Vector => {
                    let scale = dot(&|k| v.at(&name("weight"), &[k]));
                    first.at(&[row, d]) * scale + v.at(&name("bias"), &[d])
                }
                CrossKind::Matrix => {
                    let sum = dot(&|k| v.at(&name("weight"), &[d, k])) + v.at(&name("bias"), &[d]);
                    first.at(&[row, d]) * sum
                }
                CrossKind::Mixture { rank, experts } => {
                    let gate = |e| dot(&|k| v.at(&name("gate.weight"), &[e, k])) + v.at(&name("gate.bias"), &[e]);
                    let total: f64 = (0..experts).map(|e| gate(e).exp()).sum();
                    let expert = |e: usize| -> f64 {
                        let low = |r| dot(&|k| v.at(&name("down.weight"), &[e * rank + r, k])).tanh();
                        let core = |r| -> f64 {
                            (0..rank).map(|s| low(s) * v.at(&name("core"), &[e, s, r])).sum::<f64>().tanh()
                        };
                        let up = |r| core(r) * v.at(&name("up.weight"), &[d, e * rank + r]);
                        first.at(&[row, d]) * ((0..rank).map(up).sum::<f64>() + v.at(&name("up.bias"), &[d]))
                    };
                    (0..experts).map(|e| gate(e).exp() / total * expert(e)).sum()
                }
            };
            new + x.at(&[row, d])
        })
    })
}

fn interaction(v: &Values, at: &str, x: &Array, layers: &[usize]) -> Array {
    let [rows, fields, width] = x.dims[..] else { unreachable!() };
    let (mut maps, mut out) = (x.clone(), vec![vec![]; rows]);
    for (number, &count) in layers.iter().enumerate() {
        let weight = v.of(&format!("{at}.{number}.weight"));
        let before = maps.dims[1];
        maps = Array::from_fn(&[rows, count, width], |i| {
            let &[row, h, k] = i else { unreachable!() };
            let mut sum = 0.0;
            for a in 0..before {
                for b in 0..fields {
                    sum += weight.at(&[h, a * fields + b]) * maps.at(&[row, a, k]) * x.at(&[row, b, k]);
                }
            }
            sum
        });
        for (row, out) in out.iter_mut().enumerate() {
            out.extend((0..count).map(|h| (0..width).map(|k| maps.at(&[row, h, k])).sum::<f64>()));
        }
    }
    Array::new(&[rows, layers.iter().sum()], out.concat())
}

fn flat(x: &Array) -> Array {
    Array::new(&[x.dims[0], x.dims[1..].iter().product()], x.data.clone())
}

/// Embeddings of the categorical fields side by side, then the numbers.
fn concatenated(v: &Values, at: &str, width: usize) -> Array {
    Array::from_fn(&[ROWS, 3 * width + 2], |i| match i[1] / width {
        field @ 0..3 => {
            let begin: usize = SIZES[..field].iter().sum();
            v.at(&format!("{at}.weight"), &[begin + IDS[i[0]][field], i[1] % width])
        }
        _ => v.at("numbers", &[i[0], i[1] - 3 * width]),
    })
}

fn add(a: &Array, b: &Array) -> Array {
    assert_eq!(a.dims, b.dims);
    Array::new(&a.dims, a.data.iter().zip(&b.data).map(|(a, b)| a + b).collect())
}

fn side_by_side(a: &Array, b: &Array) -> Array {
    let (n, m) = (a.dims[1], b.dims[1]);
    Array::from_fn(&[a.dims[0], n + m], |i| if i[1] < n { a.at(i) } else { b.at(&[i[0], i[1] - n]) })
}

fn layers_of_vectors() {
    check_features(
        "feature embedding",
        |p| {
            let layer = FeatureEmbedding::new(p, &fields(), 3, Init::ZEROS)?;
            Ok(Box::new(move |x| layer.forward(x)))
        },
        |v| vectors(v, "m", 3),
    );
    check_features(
        "linear term",
        |p| {
            let layer = LinearTerm::new(p, &fields())?;
            Ok(Box::new(move |x| layer.forward(x)))
        },
        |v| linear_term(v, "m"),
    );
    check_features(
        "field-aware products",
        |p| {
            let layer = FieldAwareProducts::new(p, &fields(), 2, Init::ZEROS)?;
            Ok(Box::new(move |x| layer.forward(x)))
        },
        |v| field_aware(v, "m", 2),
    );
}

/// A layer of one tensor, which is a parameter of the test.
fn check_module(
    what: &str,
    dims: &'static [usize],
    make: impl Fn(&Params) -> Result<Box<dyn Module>>,
    definition: impl Fn(&Values, &Array) -> Array,
) {
    let forward = |params: &Params| -> Result<Forward> {
        let (layer, x) = (make(&params.sub("m"))?, params.param("x", dims, Init::ZEROS)?);
        Ok(Box::new(move || layer.forward(&x.tensor(), &mut Ctx::infer())))
    };
    check(what, forward, |v| definition(v, v.of("x")));
}

fn products_of_fields() {
    check_module("bi-interaction", &[3, 5, 4], |_| Ok(Box::new(BiInteraction)), |_, x| pair_products(x));
    check_module(
        "factorisation machine",
        &[3, 5, 4],
        |_| Ok(Box::new(FactorizationMachine)),
        |_, x| sum_last(&pair_products(x)),
    );
    check_module(
        "factorisation machine of one field",
        &[2, 1, 3],
        |_| Ok(Box::new(FactorizationMachine)),
        |_, x| sum_last(&pair_products(x)),
    );
    for layers in [&[3][..], &[4, 2]] {
        check_module(
            "compressed interaction network",
            &[3, 4, 3],
            move |p| Ok(Box::new(CompressedInteraction::new(p, 4, layers)?)),
            move |v, x| interaction(v, "m", x, layers),
        );
    }
}

fn cross_networks() {
    let mixture = |rank, experts| CrossKind::Mixture { rank, experts };
    for kind in [CrossKind::Vector, CrossKind::Matrix, mixture(2, 3), mixture(1, 1)] {
        check_module(
            &format!("cross network {kind:?}"),
            &[3, 5],
            move |p| Ok(Box::new(CrossNetwork::new(p, 5, 2, kind)?)),
            move |v, x| cross(v, "m", x, 2, kind),
        );
    }
}

fn deep_parts() {
    check_module(
        "fully connected layers",
        &[4, 3],
        |p| Ok(Box::new(Mlp::new(p, 3, &[6, 5], 0.5)?)),
        |v, x| mlp(v, "m", x, 2),
    );
    // Rows with repeats, with one word, and with none.
    const WORDS: [[usize; 3]; 3] = [[2, 4, 2], [0, 3, 0], [0, 0, 0]];
    check(
        "bag of words",
        |params| {
            let bag = EmbeddingBag::new(params, 5, 2, Init::ZEROS)?;
            let ids: Vec<i64> = WORDS.iter().flatten().map(|&w| w as i64).collect();
            let ids = Tensor::from_slice(&ids, [3, 3], params.device())?;
            Ok(Box::new(move || bag.forward(&ids, &mut Ctx::infer())))
        },
        |v| {
            Array::from_fn(&[3, 2], |i| {
                let words: Vec<usize> = WORDS[i[0]].iter().copied().filter(|&w| w != 0).collect();
                let sum: f64 = words.iter().map(|&w| v.at("weight", &[w, i[1]])).sum();
                if words.is_empty() { 0.0 } else { sum / words.len() as f64 }
            })
        },
    );
}

const WIDTH: usize = 2;

fn config() -> DeepConfig {
    DeepConfig { width: WIDTH, hidden: vec![6, 4], ..DeepConfig::default() }
}

fn check_model<M: CtrModel + 'static>(
    what: &str,
    make: impl Fn(&Params) -> Result<M>,
    definition: impl Fn(&Values) -> Array,
) {
    let make = |p: &Params| -> Result<Box<dyn Fn(&FieldInput) -> Result<Tensor>>> {
        let model = make(p)?;
        Ok(Box::new(move |x: &FieldInput| model.forward(x, &mut Ctx::infer())))
    };
    check_features(what, make, definition);
}

fn shallow_models() {
    check_model("logistic regression", |p| LogisticRegression::new(p, &fields()), |v| linear_term(v, "m.linear"));
    check_model(
        "factorisation machine model",
        |p| Fm::new(p, &fields(), 3, 0.1),
        |v| add(&linear_term(v, "m.linear"), &sum_last(&pair_products(&vectors(v, "m.vectors", 3)))),
    );
    check_model(
        "field-aware factorisation machine model",
        |p| Ffm::new(p, &fields(), 2, 0.1),
        |v| add(&linear_term(v, "m.linear"), &sum_last(&flat(&field_aware(v, "m.products", 2)))),
    );
}

fn deep_models() {
    let shallow = |v: &Values| add(&linear_term(v, "m.linear"), &sum_last(&pair_products(&vectors(v, "m.vectors", 2))));
    check_model(
        "DeepFM",
        |p| DeepFm::new(p, &fields(), &config()),
        |v| add(&shallow(v), &deep_logit(v, "m.deep", &flat(&vectors(v, "m.vectors", WIDTH)), 2)),
    );
    check_model(
        "DeepFFM",
        |p| DeepFfm::new(p, &fields(), &config()),
        |v| {
            let products = flat(&field_aware(v, "m.products", WIDTH));
            let shallow = add(&linear_term(v, "m.linear"), &sum_last(&products));
            add(&shallow, &deep_logit(v, "m.deep", &products, 2))
        },
    );
    check_model(
        "xDeepFM",
        |p| XDeepFm::new(p, &fields(), &[3, 2], &config()),
        |v| {
            let x = vectors(v, "m.vectors", WIDTH);
            let maps = column(linear(v, "m.weights", &interaction(v, "m.interaction", &x, &[3, 2]), false));
            add(&add(&linear_term(v, "m.linear"), &maps), &deep_logit(v, "m.deep", &flat(&x), 2))
        },
    );
}

fn deep_and_cross_models() {
    let deep_cross = |v: &Values, config: &DcnConfig| {
        let first = concatenated(v, "m.embedding", WIDTH);
        let crossed = cross(v, "m.cross", &first, config.layers, config.kind);
        let last = if config.stacked {
            mlp(v, "m.deep", &crossed, 2)
        } else {
            side_by_side(&crossed, &mlp(v, "m.deep", &first, 2))
        };
        column(linear(v, "m.head", &last, true))
    };
    for (name, config) in [
        ("DCN", DcnConfig::dcn(2, config())),
        ("DCN-v2", DcnConfig::v2(2, config())),
        ("DCN-v2 of low-rank experts", DcnConfig::mixture(1, 2, 2, config())),
    ] {
        check_model(name, |p| Dcn::new(p, &fields(), &config), |v| deep_cross(v, &config));
    }
    // The wide part sees fields 2 and 0 crossed, and field 0 with itself.
    const PAIRS: [[usize; 2]; 2] = [[2, 0], [0, 0]];
    check_model(
        "Wide & Deep",
        |p| WideAndDeep::new(p, &fields(), &PAIRS, &config()),
        |v| {
            let deep = deep_logit(v, "m.deep", &concatenated(v, "m.deep.embedding", WIDTH), 2);
            let wide = Array::from_fn(&[ROWS], |i| {
                let id = IDS[i[0]];
                let rows = [id[0], 4 + id[1], 5 + id[2], 11 + id[2] * 4 + id[0], 11 + 24 + id[0] * 4 + id[0]];
                let weights: f64 = rows.iter().map(|&r| v.at("m.wide.weights.ids.weight", &[r, 0])).sum();
                let numbers: f64 =
                    (0..2).map(|n| v.at("numbers", &[i[0], n]) * v.at("m.wide.weights.numbers", &[n, 0])).sum();
                weights + numbers + v.at("m.wide.bias", &[0])
            });
            add(&wide, &deep)
        },
    );
}

fn two_towers() {
    const QUERIES: [[usize; 2]; 4] = [[1, 2], [3, 0], [2, 2], [3, 1]];
    // Rows 0 and 2 have one item.
    const ITEMS: [usize; 4] = [2, 0, 2, 1];
    let frequency = [0.4f32, 0.25, 0.4, 0.3];
    for corrected in [false, true] {
        let make = |params: &Params| -> Result<Forward> {
            let tower = TowerConfig { width: 3, hidden: vec![4], ..Default::default() };
            let config = DssmConfig {
                query: TowerConfig { words: Some(4), fields: vec![4], ..tower.clone() },
                item: TowerConfig { fields: vec![3], ..tower },
                outputs: 3,
                temperature: 0.5,
            };
            let model = Dssm::new(params, &config)?;
            let device = params.device();
            let tensor = |values: Vec<i64>, dims: &[usize]| Tensor::from_slice(&values, dims, device);
            let words = tensor(QUERIES.iter().flatten().map(|&w| w as i64).collect(), &[4, 2])?;
            let first = tensor(QUERIES.iter().map(|q| q[0] as i64).collect(), &[4, 1])?;
            let item = tensor(ITEMS.iter().map(|&i| i as i64).collect(), &[4])?;
            let logs = Tensor::from_slice(&frequency.map(f32::ln), 4, device)?.to_dtype(params.dtype())?;
            let query = TowerInput { ids: Some(first), words: Some(words) };
            Ok(Box::new(move || {
                let mut ctx = Ctx::infer();
                let queries = model.query.forward(&query, &mut ctx)?;
                let rows = TowerInput { ids: Some(item.unsqueeze(1)?), words: None };
                let items = model.item.forward(&rows, &mut ctx)?;
                model.loss(&queries, &items, &item, corrected.then_some(&logs))
            }))
        };
        let unit = |x: &Array| {
            // The towers' own guard against rows of zeros.
            let length = |row| ((0..3).map(|k| x.at(&[row, k]).powi(2)).sum::<f64>() + 1e-12).sqrt();
            Array::from_fn(&x.dims, |i| x.at(i) / length(i[0]))
        };
        let tower = |v: &Values, at: &str, x: &Array| {
            let hidden = mlp(v, &format!("{at}.layers"), x, 1);
            unit(&linear(v, &format!("{at}.head"), &hidden, true))
        };
        check("two towers", make, |v| {
            let queries = Array::from_fn(&[4, 6], |i| {
                let (query, k) = (QUERIES[i[0]], i[1] % 3);
                let words: Vec<usize> = query.into_iter().filter(|&w| w != 0).collect();
                let sum: f64 = words.iter().map(|&w| v.at("query.words.weight", &[w, k])).sum();
                if i[1] < 3 { v.at("query.fields.weight", &[query[0], k]) } else { sum / words.len() as f64 }
            });
            let items = Array::from_fn(&[4, 3], |i| v.at("item.fields.weight", &[ITEMS[i[0]], i[1]]));
            let (q, i) = (tower(v, "query", &queries), tower(v, "item", &items));
            let score = |a: usize, b: usize| {
                let cosine: f64 = (0..3).map(|k| q.at(&[a, k]) * i.at(&[b, k])).sum();
                cosine / 0.5 - if corrected { f64::from(frequency[b].ln()) } else { 0.0 }
            };
            let loss = |a: usize| {
                let others = (0..4).filter(|&b| b == a || ITEMS[b] != ITEMS[a]);
                others.map(|b| score(a, b).exp()).sum::<f64>().ln() - score(a, a)
            };
            Array::new(&[], vec![(0..4).map(loss).sum::<f64>() / 4.0])
        });
    }
}

support::device_checks!(
    layers_of_vectors,
    products_of_fields,
    cross_networks,
    deep_parts,
    shallow_models,
    deep_models,
    deep_and_cross_models,
    two_towers,
);

#[track_caller]
fn refused<T>(result: Result<T>, words: &[&str]) {
    let Err(error) = result else { panic!("not refused: {words:?}") };
    let message = error.to_string();
    for word in words {
        assert!(message.contains(word), "{message:?} does not say {word:?}");
    }
}

#[test]
fn gradients_of_tables_are_row_sparse() {
    let params = Params::new(&Device::Cpu, DType::F32, 1);
    let model = WideAndDeep::new(&params, &fields(), &[[0, 2]], &config()).unwrap();
    let numbers = Tensor::ones([ROWS, 2], DType::F32, &Device::Cpu).unwrap();
    let x = FieldInput { ids: ids(&Device::Cpu), numbers: Some(numbers) };
    let loss = model.forward(&x, &mut Ctx::train(1)).unwrap().sum_all().unwrap();
    let gradients = loss.backward().unwrap();
    for (name, rows) in [("wide.weights.ids.weight", 9 + 5), ("deep.embedding.weight", 9)] {
        let param = params.get(name).unwrap();
        let Some(Gradient::Rows(sparse)) = gradients.get_sparse(&param) else { panic!("{name} has a dense gradient") };
        // Fields have 4, 1 and 4 distinct ids in the table, the crossed one 5 pairs.
        assert_eq!(sparse.indices.numel(), rows, "{name}");
    }
}

#[test]
fn ids_stay_in_their_fields() {
    let params = Params::new(&Device::Cpu, DType::F32, 1);
    let layer = FieldEmbedding::new(&params, &SIZES, 2, Init::STANDARD_NORMAL).unwrap();
    let at = |ids: &[i64]| layer.forward(&Tensor::from_slice(ids, [ids.len() / 3, 3], &Device::Cpu).unwrap());
    // Id 4 of the first field would be a row of the second.
    refused(at(&[0, 0, 0, 4, 0, 0]), &["id 4", "field 0", "row 1", "4 ids"]);
    refused(at(&[0, 0, 0, 0, 0, -1]), &["id -1", "field 2", "row 1", "6 ids"]);
    refused(layer.forward(&ids(&Device::Cpu).narrow(1, 0, 2).unwrap()), &["(B, 3)", "[5, 2]"]);
    refused(layer.forward(&Tensor::zeros(3, DType::I64, &Device::Cpu).unwrap()), &["(B, fields)"]);
    for dtype in [DType::U8, DType::U32] {
        let narrow = layer.forward(&ids(&Device::Cpu).to_dtype(dtype).unwrap()).unwrap();
        let wide = layer.forward(&ids(&Device::Cpu)).unwrap();
        assert_eq!(narrow.to_f64_vec().unwrap(), wide.to_f64_vec().unwrap());
    }
}

#[test]
fn what_cannot_be_is_refused() {
    let params = Params::new(&Device::Cpu, DType::F32, 1);
    let p = |name: &str| params.sub(name);
    refused(FieldEmbedding::new(&p("a"), &[], 2, Init::ZEROS), &["at least one field"]);
    refused(FieldEmbedding::new(&p("b"), &[3, 0], 2, Init::ZEROS), &["[3, 0]"]);
    refused(CrossedFields::new(&p("c"), &fields(), &[[0, 3]]), &["field 3", "0 to 3"]);
    refused(FieldAwareProducts::new(&p("d"), &Fields::categorical(&[5]), 2, Init::ZEROS), &["two fields"]);
    refused(CrossNetwork::new(&p("e"), 4, 1, CrossKind::Mixture { rank: 0, experts: 2 }), &["rank: 0"]);
    refused(CompressedInteraction::new(&p("f"), 3, &[]), &["layers []"]);
    refused(Mlp::new(&p("g"), 3, &[4, 0], 0.0), &["[4, 0]"]);
    refused(Mlp::new(&p("h"), 3, &[4], 1.5), &["1.5"]);
    let model = LogisticRegression::new(&p("i"), &fields()).unwrap();
    let (ids, mut ctx) = (ids(&Device::Cpu), Ctx::infer());
    refused(model.forward(&FieldInput { ids: ids.clone(), numbers: None }, &mut ctx), &["2 numbers", "none"]);
    let one = Tensor::ones([ROWS, 1], DType::F32, &Device::Cpu).unwrap();
    refused(
        model.forward(&FieldInput { ids: ids.clone(), numbers: Some(one.clone()) }, &mut ctx),
        &["(5, 2)", "[5, 1]"],
    );
    let crossed = CrossedFields::new(&p("j"), &fields(), &[[0, 2]]).unwrap();
    assert_eq!(crossed.fields().sizes, [4, 1, 6, 24]);
    refused(crossed.forward(&FieldInput { ids: one.clone(), numbers: None }), &["[5, 3]", "[5, 1]"]);
    let cross = CrossNetwork::new(&p("k"), 4, 1, CrossKind::Vector).unwrap();
    refused(cross.forward(&one, &mut ctx), &["(B, 4)"]);
    let cin = CompressedInteraction::new(&p("l"), 3, &[2]).unwrap();
    refused(cin.forward(&Tensor::ones([2, 4, 3], DType::F32, &Device::Cpu).unwrap(), &mut ctx), &["(B, 3, K)"]);
    refused(BiInteraction.forward(&one, &mut ctx), &["(B, fields, K)"]);
    let tower = TowerConfig { fields: vec![3], width: 2, ..Default::default() };
    let config = |temperature| DssmConfig { query: tower.clone(), item: tower.clone(), outputs: 2, temperature };
    refused(Dssm::new(&p("m"), &config(0.0)), &["temperature", "0"]);
    let dssm = Dssm::new(&p("n"), &config(1.0)).unwrap();
    refused(dssm.query.forward(&TowerInput::default(), &mut ctx), &["reads fields"]);
    refused(dssm.loss(&one, &one, &ids, None), &["number for each of 5"]);
}

#[test]
fn dropout_falls_in_training_only() {
    let params = Params::new(&Device::Cpu, DType::F32, 1);
    let layer = Mlp::new(&params, 4, &[512], 0.25).unwrap();
    layer.forward(&Tensor::ones([1, 4], DType::F32, &Device::Cpu).unwrap(), &mut Ctx::infer()).unwrap();
    params.get("0.weight").unwrap().set(&Tensor::ones([512, 4], DType::F32, &Device::Cpu).unwrap()).unwrap();
    params.get("0.bias").unwrap().set(&Tensor::zeros([512], DType::F32, &Device::Cpu).unwrap()).unwrap();
    let x = Tensor::ones([1, 4], DType::F32, &Device::Cpu).unwrap();
    let values = layer.forward(&x, &mut Ctx::train(3)).unwrap().to_vec::<f32>().unwrap();
    let dropped = values.iter().filter(|&&v| v == 0.0).count();
    assert!(values.iter().all(|&v| v == 0.0 || (v - 4.0 / 0.75).abs() < 1e-5));
    // 512 · 0.25 = 128 with a deviation of 10.
    assert!((78..178).contains(&dropped), "{dropped}");
    assert!(layer.forward(&x, &mut Ctx::infer()).unwrap().to_vec::<f32>().unwrap().iter().all(|&v| v == 4.0));
}

fn wide_and_deep(params: &Params) -> (WideAndDeep, Joined) {
    let model = WideAndDeep::new(params, &fields(), &[[0, 2]], &config()).unwrap();
    let wide = Ftrl::new(params.sub("wide").trainable(), FtrlConfig { l1: 1e-3, ..FtrlConfig::new(0.1) }).unwrap();
    let deep = AdaGrad::new(params.sub("deep").trainable(), AdaGradConfig::new(0.05)).unwrap();
    (model, Joined::new(vec![("wide", Box::new(wide)), ("deep", Box::new(deep))]).unwrap())
}

fn loss(model: &WideAndDeep, params: &Params, step: u64) -> Tensor {
    let mut rng = warpsmith::random::Philox::new(step);
    let numbers = Tensor::normal(0.0, 1.0, [ROWS, 2], DType::F32, params.device(), &mut rng).unwrap();
    let target = Tensor::from_slice(&[1f32, 0.0, 1.0, 1.0, 0.0], ROWS, params.device()).unwrap();
    let x = FieldInput { ids: ids(params.device()), numbers: Some(numbers) };
    model.forward(&x, &mut Ctx::train(1)).unwrap().bce_with_logits(&target, None, Reduction::Mean).unwrap()
}

fn values(params: &Params) -> Vec<(String, Vec<f64>)> {
    params.all().into_iter().map(|(name, p)| (name, p.to_f64_vec().unwrap())).collect()
}

#[test]
fn joined_optimizers_step_as_each_alone() {
    let params = Params::new(&Device::Cpu, DType::F32, 7);
    let (model, mut joined) = wide_and_deep(&params);
    let other = Params::new(&Device::Cpu, DType::F32, 7);
    let (twin, _) = wide_and_deep(&other);
    let config = FtrlConfig { l1: 1e-3, ..FtrlConfig::new(0.1) };
    let mut wide = Ftrl::new(other.sub("wide").trainable(), config).unwrap();
    let mut deep = AdaGrad::new(other.sub("deep").trainable(), AdaGradConfig::new(0.05)).unwrap();
    for step in 0..5 {
        joined.step(&loss(&model, &params, step).backward().unwrap()).unwrap();
        let gradients = loss(&twin, &other, step).backward().unwrap();
        wide.step(&gradients).unwrap();
        deep.step(&gradients).unwrap();
    }
    assert_eq!(values(&params), values(&other));
    assert_eq!(joined.lr(), 0.1);
    joined.set_lr(0.0);
    joined.set_lr(0.2);
    let state = joined.state_dict().unwrap();
    assert_eq!(state.get("wide.lr").unwrap().item::<f64>().unwrap(), 0.2);
    assert_eq!(state.get("deep.lr").unwrap().item::<f64>().unwrap(), 0.1);
}

#[test]
fn joined_state_continues_a_run_and_is_strict() {
    let params = Params::new(&Device::Cpu, DType::F32, 7);
    let (model, mut joined) = wide_and_deep(&params);
    (0..3).for_each(|step| joined.step(&loss(&model, &params, step).backward().unwrap()).unwrap());
    let (weights, state) = (params.state_dict().unwrap(), joined.state_dict().unwrap());
    (3..6).for_each(|step| joined.step(&loss(&model, &params, step).backward().unwrap()).unwrap());

    let resumed = Params::new(&Device::Cpu, DType::F32, 8);
    let (twin, mut again) = wide_and_deep(&resumed);
    resumed.load_state_dict(&weights, "weights").unwrap();
    let generation = again.generation();
    again.load_state_dict(&state, "state").unwrap();
    assert_ne!(again.generation(), generation);
    (3..6).for_each(|step| again.step(&loss(&twin, &resumed, step).backward().unwrap()).unwrap());
    assert_eq!(values(&params), values(&resumed));

    // A second part that does not fit leaves the first as it was.
    let before = again.state_dict().unwrap();
    let mut broken = StateDict::new();
    broken.insert_sub("wide", state.sub("wide"));
    broken.insert_sub("deep", StateDict::new());
    refused(again.load_state_dict(&broken, "broken"), &["broken (deep)", "lr"]);
    let after = again.state_dict().unwrap();
    for (name, tensor) in before.iter() {
        assert_eq!(tensor.to_f64_vec().unwrap(), after.get(name).unwrap().to_f64_vec().unwrap(), "{name}");
    }
    let mut foreign = state.clone();
    foreign.insert("middle.lr", Tensor::scalar(1.0f64, &Device::Cpu).unwrap());
    refused(again.load_state_dict(&foreign, "foreign"), &["foreign", "middle.lr"]);
}

#[test]
fn joined_refuses_what_needs_all_gradients() {
    let params = Params::new(&Device::Cpu, DType::F32, 7);
    let (model, mut joined) = wide_and_deep(&params);
    let gradients = loss(&model, &params, 0).backward().unwrap();
    refused(joined.step_clipped(&gradients, Clip::Norm(1.0)), &["clip_grad_norm", "2 optimizers"]);
    joined.step_clipped(&gradients, Clip::Value(1.0)).unwrap();
    let mut scaler = LossScaler::new(&Device::Cpu).unwrap();
    refused(scaler.step(&mut joined, &gradients), &["scaler serves one"]);
    let sgd = || -> Box<dyn Optimizer> { Box::new(Sgd::new(params.trainable(), SgdConfig::new(0.1)).unwrap()) };
    refused(Joined::new(Vec::<(&str, Box<dyn Optimizer>)>::new()), &["[]"]);
    refused(Joined::new(vec![("a", sgd()), ("a", sgd())]), &["\"a\", \"a\""]);
    refused(Joined::new(vec![("a.b", sgd())]), &["a.b"]);
    // One part alone keeps what it can do.
    let mut one = Joined::new(vec![("all", sgd())]).unwrap();
    let norm = one.step_clipped(&loss(&model, &params, 1).backward().unwrap(), Clip::Norm(1.0)).unwrap();
    assert!(norm.unwrap().item::<f32>().unwrap() > 0.0);
    let gradients = scaler.scale(&loss(&model, &params, 2)).unwrap().backward().unwrap();
    scaler.step(&mut one, &gradients).unwrap();
}
