//! Sets in memory, in files, and made of others.

use super::{Folder, message, numbers};
use std::sync::Arc;
use warpsmith::data::{Concat, DataLoader, Dataset, Map, MappedDataset, Subset, TensorDataset, sample_rng};
use warpsmith::nn::StateDict;
use warpsmith::random::Philox;
use warpsmith::{DType, Device, Result, Tensor};

fn rng() -> Philox {
    Philox::new(0)
}

fn rngs(n: usize) -> Vec<Philox> {
    vec![rng(); n]
}

/// Rows (i, i + 0.5) with label 10 i.
fn pairs(n: usize) -> TensorDataset {
    let x: Vec<f32> = (0..n).flat_map(|i| [i as f32, i as f32 + 0.5]).collect();
    let labels: Vec<i64> = (0..n as i64).map(|i| 10 * i).collect();
    let x = Tensor::from_slice(&x, [n, 2], &Device::Cpu).unwrap();
    TensorDataset::new(&[x, Tensor::from_slice(&labels, [n], &Device::Cpu).unwrap()]).unwrap()
}

fn check_pairs(set: &impl Dataset, expected: &[i64]) {
    assert_eq!(set.len(), expected.len());
    for (place, &i) in expected.iter().enumerate() {
        let sample = set.get(place, &mut rng()).unwrap();
        assert_eq!(sample[0].to_vec::<f32>().unwrap(), [i as f32, i as f32 + 0.5]);
        assert_eq!(sample[1].item::<i64>().unwrap(), 10 * i);
    }
    // In order, backwards, and one twice.
    let n = expected.len();
    for places in [(0..n).collect::<Vec<_>>(), (0..n).rev().collect(), vec![n - 1, 0, n - 1]] {
        let batch = set.batch(&places, &mut rngs(places.len())).unwrap();
        let rows: Vec<Vec<f32>> = places.iter().map(|&p| vec![expected[p] as f32, expected[p] as f32 + 0.5]).collect();
        assert_eq!(batch[0].to_vec2::<f32>().unwrap(), rows);
        let labels: Vec<i64> = places.iter().map(|&p| 10 * expected[p]).collect();
        assert_eq!(batch[1].to_vec::<i64>().unwrap(), labels);
    }
    assert!(set.get(n, &mut rng()).is_err() && set.batch(&[0, n], &mut rngs(2)).is_err());
}

#[test]
fn tensors_subsets_and_sets_in_a_row() {
    check_pairs(&pairs(5), &[0, 1, 2, 3, 4]);
    check_pairs(&Subset::new(pairs(9), vec![7, 2, 2, 8]).unwrap(), &[7, 2, 2, 8]);
    let nested = Subset::new(Arc::new(pairs(9)), vec![8, 6, 4, 2]).unwrap();
    check_pairs(&Subset::new(nested, vec![3, 0]).unwrap(), &[2, 8]);
    let parts: Vec<Box<dyn Dataset>> = vec![
        Box::new(Subset::new(pairs(3), vec![2]).unwrap()),
        Box::new(Subset::new(pairs(3), vec![]).unwrap()),
        Box::new(pairs(2)),
    ];
    check_pairs(&Concat::new(parts), &[2, 0, 1]);
    assert!(Concat::new(vec![]).is_empty());
    assert!(message(Subset::new(pairs(3), vec![0, 3])).contains('3'));
    let views = Tensor::from_slice(&[0f32, 1.0, 2.0, 0.5, 1.5, 2.5], [2, 3], &Device::Cpu).unwrap();
    let labels = Tensor::from_slice(&[0i64, 10, 20], [3], &Device::Cpu).unwrap();
    check_pairs(&TensorDataset::new(&[views.transpose(0, 1).unwrap(), labels]).unwrap(), &[0, 1, 2]);
}

#[test]
fn tensors_must_have_equal_first_axes() {
    assert!(message(TensorDataset::new(&[numbers(3), numbers(4)])).contains("same first axis"));
    assert!(TensorDataset::new(&[Tensor::scalar(1f32, &Device::Cpu).unwrap()]).is_err());
    assert!(TensorDataset::new(&[] as &[Tensor]).is_err());
}

#[test]
fn a_map_sees_each_sample_with_its_own_generator() {
    let set = Map::new(pairs(6), |sample: Vec<Tensor>, rng: &mut Philox| {
        let noise = Tensor::uniform(0.0, 1.0, [1], DType::F64, &Device::Cpu, rng)?;
        Ok(vec![sample[1].affine(2.0, 1.0)?, noise])
    });
    let batch = DataLoader::new(set, 6).seed(11).epoch(2).next().unwrap().unwrap();
    assert_eq!(batch[0].to_vec::<i64>().unwrap(), [1, 21, 41, 61, 81, 101]);
    let noise = batch[1].to_vec::<f64>().unwrap();
    for (index, noise) in noise.iter().enumerate() {
        let mut own = sample_rng(11, 2, index);
        let draw = Tensor::uniform(0.0, 1.0, [1], DType::F64, &Device::Cpu, &mut own).unwrap();
        assert_eq!(draw.item::<f64>().unwrap(), *noise);
    }
    let mut different: Vec<u64> = noise.iter().map(|x| x.to_bits()).collect();
    different.sort_unstable();
    different.dedup();
    assert_eq!(different.len(), 6);
}

#[test]
fn records_of_a_file() {
    let folder = Folder::new();
    let mut bytes = vec![1, 2, 3];
    for i in 0..5 {
        bytes.extend((i as f32).to_le_bytes());
        bytes.extend((i as f32 + 0.5).to_le_bytes());
        bytes.extend((10 * i as i64).to_le_bytes());
    }
    let path = folder.file("records", &bytes);
    let fields: &[(DType, &[usize])] = &[(DType::F32, &[2]), (DType::I64, &[])];
    check_pairs(&MappedDataset::records(&path, 3, fields).unwrap(), &[0, 1, 2, 3, 4]);
    check_pairs(&MappedDataset::records(&path, 3 + 16, fields).unwrap(), &[1, 2, 3, 4].map(|i| i));
    for head in [0, 4, 84] {
        assert!(message(MappedDataset::records(&path, head, fields)).contains("83 bytes are not a head of"));
    }
    assert!(MappedDataset::records(&path, 3, &[]).is_err());
    assert!(message(MappedDataset::records(folder.path().join("none"), 0, fields)).contains("mapping"));
    assert!(MappedDataset::records(&path, 3, &[(DType::F64, &[usize::MAX / 4])]).is_err());
}

#[test]
fn rows_of_a_safetensors_file_mapped_and_in_memory() {
    let folder = Folder::new();
    let path = folder.path().join("set.safetensors");
    let mut dict = StateDict::new();
    let all = pairs(5);
    dict.insert("x", all.tensors()[0].clone());
    dict.insert("labels", all.tensors()[1].clone());
    dict.insert("wide", Tensor::zeros([3, 1000], DType::F16, &Device::Cpu).unwrap());
    dict.insert("scalar", Tensor::scalar(1f32, &Device::Cpu).unwrap());
    dict.save(&path).unwrap();
    check_pairs(&MappedDataset::safetensors(&path, &["x", "labels"]).unwrap(), &[0, 1, 2, 3, 4]);
    check_pairs(&TensorDataset::load(&path, &["x", "labels"]).unwrap(), &[0, 1, 2, 3, 4]);
    let fails = |names: &[&str]| message(MappedDataset::safetensors(&path, names));
    assert!(fails(&["x", "y"]).contains("no entry y among 4"));
    assert!(fails(&["x", "wide"]).contains("wide has 3 rows"));
    assert!(fails(&["scalar"]).contains("no axes"));
    assert!(fails(&[]).contains("no tensor"));
}

/// More bytes than one chunk of the parallel copy, in an order that is not theirs.
#[test]
fn large_rows_of_a_mapped_file_are_gathered_as_from_memory() {
    let folder = Folder::new();
    let path = folder.path().join("set.safetensors");
    let values: Vec<u32> = (0..90 * 1111).collect();
    let x = Tensor::from_slice(&values, [90, 1111], &Device::Cpu).unwrap();
    let mut dict = StateDict::new();
    dict.insert("x", x.clone());
    dict.save(&path).unwrap();
    let load = |loader: DataLoader| -> Result<Vec<Vec<u32>>> {
        loader.shuffle(3).epoch(1).map(|batch| batch?[0].to_vec()).collect()
    };
    let mapped = load(DataLoader::new(MappedDataset::safetensors(&path, &["x"]).unwrap(), 40).workers(2)).unwrap();
    assert_eq!(mapped, load(DataLoader::new(TensorDataset::new(&[x]).unwrap(), 40)).unwrap());
    assert_eq!(mapped.concat().len(), values.len());
}
