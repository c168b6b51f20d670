//! Files: PyTorch's layout in and out, strict errors, hostile bytes, full disks, and runs that are taken up again.

mod support;

use safetensors::tensor::{Dtype, TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use support::Random;
use warpsmith::nn::{BatchNorm2d, Conv2d, Ctx, Init, Linear, Params, StateDict};
use warpsmith::optim::{Adam, AdamConfig, LossScaler, LossScalerConfig, Optimizer, Sgd, SgdConfig};
use warpsmith::train::Checkpoint;
use warpsmith::{DType, Device, Error, Result, Tensor};

/// A folder of this process and test, removed when the test passes.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("warpsmith-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// What torch.nn.Sequential(Conv2d(2, 3, 3), BatchNorm2d(3), Flatten(), Linear(12, 4)) has.
fn model(params: &Params) -> Result<()> {
    Conv2d::new(&params.sub(0), 2, 3, [3, 3], Default::default())?;
    BatchNorm2d::new(&params.sub(1), 3)?;
    Linear::new(&params.sub(3), 12, 4)?;
    Ok(())
}

fn new_model(seed: u64) -> Params {
    let params = Params::new(&Device::Cpu, DType::F32, seed);
    model(&params).unwrap();
    params
}

const PYTORCH: [(&str, &[usize]); 9] = [
    ("0.weight", &[3, 2, 3, 3]),
    ("0.bias", &[3]),
    ("1.weight", &[3]),
    ("1.bias", &[3]),
    ("1.running_mean", &[3]),
    ("1.running_var", &[3]),
    ("1.num_batches_tracked", &[]),
    ("3.weight", &[4, 12]),
    ("3.bias", &[4]),
];

/// The bytes that `safetensors.torch.save_file(model.state_dict())` writes, made by the format's own crate.
fn pytorch_file(change: impl Fn(&mut BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>)) -> Vec<u8> {
    let mut entries = BTreeMap::new();
    for (k, (name, shape)) in PYTORCH.iter().enumerate() {
        let n: usize = shape.iter().product();
        let value = if shape.is_empty() {
            (Dtype::I64, vec![], 7i64.to_le_bytes().to_vec())
        } else {
            let bytes = (0..n).flat_map(|i| (k as f32 + i as f32 / 8.0).to_le_bytes()).collect();
            (Dtype::F32, shape.to_vec(), bytes)
        };
        entries.insert(name.to_string(), value);
    }
    change(&mut entries);
    let views = entries.iter().map(|(n, (d, s, b))| (n.clone(), TensorView::new(*d, s.clone(), b).unwrap()));
    let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
    safetensors::serialize(views, Some(metadata)).unwrap()
}

fn load(params: &Params, bytes: &[u8]) -> Result<()> {
    params.load_state_dict(&StateDict::from_bytes(bytes, &Device::Cpu)?, "the file")
}

fn values(params: &Params) -> Vec<(String, Vec<f64>)> {
    params.state_dict().unwrap().iter().map(|(n, t)| (n.to_owned(), t.to_f64_vec().unwrap())).collect()
}

#[test]
fn a_pytorch_file_loads_and_every_value_arrives() {
    let folder = Folder::new("pytorch");
    let path = folder.file("model.safetensors");
    std::fs::write(&path, pytorch_file(|_| ())).unwrap();
    let params = new_model(1);
    params.load(&path).unwrap();
    let dict = params.state_dict().unwrap();
    for (k, (name, shape)) in PYTORCH.iter().enumerate() {
        let found = dict.get(name).unwrap();
        assert_eq!(found.dims(), *shape, "{name}");
        let n: usize = shape.iter().product();
        let expected: Vec<f64> =
            if shape.is_empty() { vec![7.0] } else { (0..n).map(|i| k as f64 + i as f64 / 8.0).collect() };
        assert_eq!(found.to_f64_vec().unwrap(), expected, "{name}");
    }
    assert_eq!(dict.len(), PYTORCH.len());
}

#[test]
fn what_is_saved_is_what_the_formats_own_crate_reads() {
    let folder = Folder::new("saved");
    let path = folder.file("model.safetensors");
    let params = new_model(2);
    params.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let mut names = file.names();
    names.sort();
    let mut expected: Vec<&str> = PYTORCH.iter().map(|(n, _)| *n).collect();
    expected.sort();
    assert_eq!(names, expected);
    for (name, own) in values(&params) {
        let view = file.tensor(&name).unwrap();
        let found: Vec<f64> = match view.dtype() {
            Dtype::I64 => view.data().chunks(8).map(|b| i64::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
            _ => view.data().chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap()) as f64).collect(),
        };
        assert_eq!(found, own, "{name}");
    }
}

#[test]
fn every_dtype_and_odd_shape_survives_a_round_trip() {
    let folder = Folder::new("dtypes");
    let mut dict = StateDict::new();
    for dtype in DType::ALL {
        for dims in [vec![], vec![0, 3], vec![5], vec![2, 3, 1]] {
            let t = Tensor::full(3.0, &dims, dtype, &Device::Cpu).unwrap();
            dict.insert(format!("{dtype}.{dims:?}"), t);
        }
    }
    let strided = Tensor::from_slice(&[1f32, 2.0, 3.0, 4.0, 5.0, 6.0], [2, 3], &Device::Cpu).unwrap();
    dict.insert("strided", strided.transpose(0, 1).unwrap());
    dict.insert("a \"name\"\\ with\nescapes é", strided);
    let path = folder.file("all.safetensors");
    dict.save(&path).unwrap();
    let back = StateDict::load(&path, &Device::Cpu).unwrap();
    assert_eq!(back.len(), dict.len());
    for (name, t) in dict.iter() {
        let found = back.get(name).unwrap();
        assert_eq!((found.shape(), found.dtype()), (t.shape(), t.dtype()), "{name}");
        assert_eq!(found.to_f64_vec().unwrap(), t.to_f64_vec().unwrap(), "{name}");
    }
}

#[test]
fn integers_and_masks_of_pytorch_are_widened() {
    let ints: Vec<u8> = [-5i32, 7].iter().flat_map(|v| v.to_le_bytes()).collect();
    let views = [
        ("ints", TensorView::new(Dtype::I32, vec![2], &ints).unwrap()),
        ("mask", TensorView::new(Dtype::BOOL, vec![3], &[1, 0, 1]).unwrap()),
    ];
    let dict = StateDict::from_bytes(&safetensors::serialize(views, None).unwrap(), &Device::Cpu).unwrap();
    assert_eq!(dict.get("ints").unwrap().to_vec::<i64>().unwrap(), [-5, 7]);
    assert_eq!(dict.get("mask").unwrap().to_vec::<u8>().unwrap(), [1, 0, 1]);
}

#[test]
fn errors_list_everything_that_does_not_fit_and_change_nothing() {
    let params = new_model(3);
    let before = values(&params);
    let bytes = pytorch_file(|e| {
        e.remove("0.bias");
        e.remove("1.running_var");
        e.insert("4.weight".into(), (Dtype::F32, vec![1], vec![0; 4]));
        e.insert("3.weight".into(), (Dtype::F32, vec![12, 4], vec![0; 192]));
        e.insert("3.bias".into(), (Dtype::F16, vec![4], vec![0; 8]));
    });
    let error = load(&params, &bytes).unwrap_err();
    let Error::StateDict { what, missing, unexpected, mismatched } = &error else { panic!("{error}") };
    assert_eq!(what, "the file");
    assert_eq!(*missing, ["0.bias", "1.running_var"]);
    assert_eq!(*unexpected, ["4.weight"]);
    assert_eq!(mismatched.len(), 2);
    assert!(mismatched[1].contains("[12, 4] f32 instead of [4, 12] f32"), "{mismatched:?}");
    assert!(mismatched[0].contains("[4] f16 instead of [4] f32"), "{mismatched:?}");
    assert_eq!(values(&params), before);
    // Older PyTorch files have no count of batches.
    load(&params, &pytorch_file(|e| drop(e.remove("1.num_batches_tracked")))).unwrap();
    // Not strict: what is there is taken.
    let dict = StateDict::from_bytes(&pytorch_file(|e| drop(e.remove("0.bias"))), &Device::Cpu).unwrap();
    new_model(4).load_state_dict_partial(&dict, "the file").unwrap();
}

#[test]
fn tied_parameters_load_from_either_name_and_must_agree() {
    let make = || {
        let params = Params::new(&Device::Cpu, DType::F32, 5);
        let table = params.param("table.weight", [2, 2], Init::ONES).unwrap();
        params.tie("head.weight", &table).unwrap();
        (params, table)
    };
    let dict = |names: &[(&str, f64)]| -> StateDict {
        let full = |v| Tensor::full(v, [2, 2], DType::F32, &Device::Cpu).unwrap();
        names.iter().map(|&(n, v)| (n.to_owned(), full(v))).collect()
    };
    for names in [&[("table.weight", 3.0)][..], &[("head.weight", 3.0)], &[("table.weight", 3.0), ("head.weight", 3.0)]]
    {
        let (params, table) = make();
        params.load_state_dict(&dict(names), "a file").unwrap();
        assert_eq!(table.to_vec::<f32>().unwrap(), [3.0; 4], "{names:?}");
    }
    let (params, table) = make();
    let error = params.load_state_dict(&dict(&[("table.weight", 3.0), ("head.weight", 4.0)]), "a file").unwrap_err();
    assert!(error.to_string().contains("tied"), "{error}");
    assert!(params.load_state_dict(&dict(&[]), "a file").is_err());
    assert_eq!(table.to_vec::<f32>().unwrap(), [1.0; 4]);
    assert_eq!(params.state_dict().unwrap().len(), 2);
}

fn file(header: &str, data: usize) -> Vec<u8> {
    let mut out = (header.len() as u64).to_le_bytes().to_vec();
    out.extend_from_slice(header.as_bytes());
    out.resize(out.len() + data, 0);
    out
}

#[test]
fn hostile_files_are_errors_without_panics_or_huge_allocations() {
    let entry =
        |shape: &str, offsets: &str| format!(r#"{{"a":{{"dtype":"F32","shape":{shape},"data_offsets":{offsets}}}}}"#);
    let two = |a: &str, b: &str| {
        let one =
            |name: &str, offsets: &str| format!(r#""{name}":{{"dtype":"F32","shape":[2],"data_offsets":{offsets}}}"#);
        format!("{{{},{}}}", one("a", a), one("b", b))
    };
    let huge = u64::MAX;
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("empty", vec![]),
        ("seven bytes", vec![0; 7]),
        ("a header length that lies", huge.to_le_bytes().to_vec()),
        ("a header longer than the file", [&100u64.to_le_bytes()[..], b"{}"].concat()),
        ("a header at the bound, no file", 100_000_000u64.to_le_bytes().to_vec()),
        ("no JSON", file("not json", 0)),
        ("no object", file("[1]", 0)),
        ("invalid UTF-8", [&2u64.to_le_bytes()[..], &[0xff, 0xfe]].concat()),
        ("deep nesting", file(&"[".repeat(100_000), 0)),
        ("an entry that is no object", file(r#"{"a":1}"#, 0)),
        ("no dtype", file(r#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, 4)),
        ("an unknown dtype", file(r#"{"a":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}"#, 4)),
        ("no shape", file(r#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, 4)),
        ("one offset", file(&entry("[1]", "[0]"), 4)),
        ("three offsets", file(&entry("[1]", "[0,4,8]"), 4)),
        ("negative numbers", file(&entry("[-1]", "[0,4]"), 4)),
        ("fractions", file(&entry("[1.5]", "[0,6]"), 6)),
        ("reversed offsets", file(&entry("[1]", "[4,0]"), 4)),
        ("offsets past the end", file(&entry("[1]", "[0,4]"), 3)),
        ("bytes left over", file(&entry("[1]", "[0,4]"), 5)),
        ("a gap at the start", file(&entry("[1]", "[4,8]"), 8)),
        ("shape and bytes disagree", file(&entry("[3]", "[0,8]"), 8)),
        ("shape overflows", file(&entry("[4294967296,4294967296]", "[0,0]"), 0)),
        ("shape overflows to the right size", file(&entry("[4611686018427387904,4]", "[0,0]"), 0)),
        ("a hidden overflow", file(&entry("[0,4294967296,4294967296]", "[0,0]"), 0)),
        ("a petabyte", file(&entry("[281474976710656]", "[0,1125899906842624]"), 4)),
        ("the last address", file(&entry("[1]", "[18446744073709551612,18446744073709551615]"), 4)),
        ("a number beyond u64", file(&entry("[1]", "[0,184467440737095516150]"), 4)),
        ("nine axes", file(&entry("[1,1,1,1,1,1,1,1,1]", "[0,4]"), 4)),
        ("overlap", file(&two("[0,8]", "[4,12]"), 12)),
        ("twice the same bytes", file(&two("[0,8]", "[0,8]"), 8)),
        ("a gap between", file(&two("[0,8]", "[12,20]"), 20)),
        ("huge sums", file(&two("[0,8]", "[8,18446744073709551615]"), 8)),
    ];
    for (what, bytes) in cases {
        match StateDict::from_bytes(&bytes, &Device::Cpu) {
            Err(Error::Format { .. }) => {}
            other => panic!("{what}: {other:?}"),
        }
    }
    // Legal, if odd.
    assert!(StateDict::from_bytes(&file("{}", 0), &Device::Cpu).unwrap().is_empty());
    assert_eq!(StateDict::from_bytes(&file(&entry("[0,7]", "[0,0]"), 0), &Device::Cpu).unwrap().len(), 1);
}

#[test]
fn truncated_and_damaged_files_never_panic() {
    let whole = pytorch_file(|_| ());
    for n in 0..whole.len() {
        assert!(StateDict::from_bytes(&whole[..n], &Device::Cpu).is_err(), "cut to {n} bytes");
    }
    let mut random = Random::fresh("damage");
    let header = u64::from_le_bytes(whole[..8].try_into().unwrap()) as usize + 8;
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..1 + random.below(4) {
            let at = random.below(header);
            bytes[at] = random.bits() as u8;
        }
        // Either an error or other names and values; both are fine.
        let _ = StateDict::from_bytes(&bytes, &Device::Cpu).map(|d| new_model(6).load_state_dict(&d, "damaged"));
    }
}

#[test]
fn a_file_that_is_missing_or_a_folder_is_named() {
    let folder = Folder::new("missing");
    let params = new_model(7);
    for path in [folder.file("nowhere.safetensors"), folder.0.clone()] {
        let message = params.load(&path).unwrap_err().to_string();
        assert!(message.contains(&path.display().to_string()), "{message}");
    }
    assert!(matches!(params.save(folder.file("no/such/folder")), Err(Error::Io { action: "writing", .. })));
}

/// Runs this very test again in a process that may not write large files, as on a full disk.
#[cfg(unix)]
#[test]
fn a_full_disk_loses_nothing() {
    const CHILD: &str = "WARPSMITH_TEST_FULL_DISK";
    let big = |value: f64| -> StateDict {
        [("big".to_owned(), Tensor::full(value, [100_000], DType::F32, &Device::Cpu).unwrap())].into_iter().collect()
    };
    if let Ok(path) = std::env::var(CHILD) {
        let error = big(2.0).save(&path).unwrap_err();
        assert!(matches!(error, Error::Io { action: "writing", .. }), "{error}");
        return;
    }
    let folder = Folder::new("full-disk");
    let path = folder.file("model.safetensors");
    big(1.0).save(&path).unwrap();
    let before = std::fs::read(&path).unwrap();
    // The limit counts blocks of 512 or 1024 bytes: far less than 400 kB. The ignored signal leaves the error code.
    let status = std::process::Command::new("sh")
        .args(["-c", "trap '' XFSZ; ulimit -f 64; exec \"$0\" --exact a_full_disk_loses_nothing --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .env(CHILD, &path)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    assert_eq!(std::fs::read(&path).unwrap(), before);
    assert_eq!(std::fs::read_dir(&folder.0).unwrap().count(), 1, "the temporary file was left behind");
}

fn run() -> (Params, Adam, Ctx) {
    let params = new_model(8);
    let optimizer = Adam::new(params.trainable(), AdamConfig::adamw(0.01)).unwrap();
    (params, optimizer, Ctx::train(9))
}

#[test]
fn a_checkpoint_holds_model_optimizer_random_state_and_counters() {
    use rand::Rng;
    let folder = Folder::new("checkpoint");
    let path = folder.file("checkpoint.safetensors");
    let (params, mut optimizer, mut ctx) = run();
    let step = |params: &Params, optimizer: &mut Adam, ctx: &mut Ctx| {
        let scale = ctx.rng().next_u32() as f64 / u32::MAX as f64;
        let mut gradients = warpsmith::Gradients::default();
        for (_, p) in params.trainable() {
            gradients.set(&p, Tensor::full(scale, p.shape(), DType::F32, &Device::Cpu).unwrap()).unwrap();
        }
        optimizer.step(&gradients).unwrap();
    };
    step(&params, &mut optimizer, &mut ctx);
    let mut checkpoint = Checkpoint::capture(&params, &optimizer, &mut ctx).unwrap();
    checkpoint.set_counter("step", 12345678901).unwrap();
    checkpoint.set_history("loss", &[1.5, f64::NAN, 0.1]).unwrap();
    let options = LossScalerConfig { initial: 256.0, ..LossScalerConfig::default() };
    checkpoint.set_scaler(&LossScaler::with_config(&Device::Cpu, options).unwrap()).unwrap();
    checkpoint.save(&path).unwrap();
    step(&params, &mut optimizer, &mut ctx);
    step(&params, &mut optimizer, &mut ctx);

    let (params2, mut optimizer2, mut ctx2) = run();
    let loaded = Checkpoint::load(&path).unwrap();
    loaded.restore(&params2, &mut optimizer2, &mut ctx2).unwrap();
    assert_eq!(loaded.counter("step").unwrap(), 12345678901);
    let mut scaler = LossScaler::new(&Device::Cpu).unwrap();
    loaded.restore_scaler(&mut scaler).unwrap();
    assert_eq!(scaler.factor().unwrap().item::<f32>().unwrap(), 256.0);
    let without = Checkpoint::capture(&params2, &optimizer2, &mut ctx2).unwrap();
    assert!(without.restore_scaler(&mut scaler).unwrap_err().to_string().contains("loss scaler"));
    let history = loaded.history("loss").unwrap();
    assert!(history[0] == 1.5 && history[1].is_nan() && history[2] == 0.1);
    assert!(loaded.counter("epoch").unwrap_err().to_string().contains("counter.epoch"));
    step(&params2, &mut optimizer2, &mut ctx2);
    step(&params2, &mut optimizer2, &mut ctx2);
    assert_eq!(values(&params2), values(&params));
}

#[test]
fn a_checkpoint_of_another_model_or_optimizer_is_an_error_and_changes_nothing() {
    let (params, optimizer, mut ctx) = run();
    let checkpoint = Checkpoint::capture(&params, &optimizer, &mut ctx).unwrap();
    let other = Params::new(&Device::Cpu, DType::F32, 1);
    Linear::new(&other.sub("fc"), 3, 4).unwrap();
    let before = values(&other);
    let mut sgd = Sgd::new(other.trainable(), SgdConfig::new(0.1)).unwrap();
    let error = checkpoint.restore(&other, &mut sgd, &mut ctx).unwrap_err().to_string();
    assert!(error.contains("fc.weight"), "{error}");
    assert_eq!(values(&other), before);
    // The same parameters, another optimizer.
    let mut sgd = Sgd::new(params.trainable(), SgdConfig { momentum: 0.9, ..SgdConfig::new(0.1) }).unwrap();
    assert!(checkpoint.restore(&params, &mut sgd, &mut ctx).is_ok(), "before the first step no state differs");
    // A plain model file is no checkpoint.
    let folder = Folder::new("plain");
    params.save(folder.file("model.safetensors")).unwrap();
    let plain = Checkpoint::load(folder.file("model.safetensors")).unwrap();
    let (params, mut optimizer, mut ctx) = run();
    assert!(plain.restore(&params, &mut optimizer, &mut ctx).is_err());
}
