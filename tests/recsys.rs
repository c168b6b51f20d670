//! Recommenders: layers and models against their definitions in plain loops, and their gradients against differences of
//! these; on every device.

#[path = "recsys/definitions.rs"]
mod definitions;
#[path = "recsys/joined.rs"]
mod joined;
mod support;

use definitions::*;
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
