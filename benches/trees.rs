//! Training and prediction of boosted trees and forests on 40,000 made-up rows in the shape of Adult: six numbers, eight
//! categories, two classes. `cargo xtask trees` compares whole trainings with LightGBM and XGBoost.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use std::hint::black_box;
use warpsmith::random::{Philox, below};
use warpsmith::trees::{BoostConfig, Boosted, Features, Forest, ForestConfig, Objective, Target};

const ROWS: usize = 40_000;

fn rows() -> (Features, Vec<f64>) {
    let mut rng = Philox::new(1);
    let mut draw = |levels: u64| -> Vec<u64> { (0..ROWS).map(|_| below(&mut rng, levels)).collect() };
    let numbers = [74, 30_000, 16, 120, 99, 96].map(&mut draw);
    let categories = [9, 16, 7, 15, 6, 5, 2, 42].map(&mut draw);
    let noise = draw(100);
    let label = |row: usize| {
        let score = numbers[0][row] / 10 + numbers[2][row] + 3 * (categories[2][row] % 3) + noise[row] / 10;
        if score > 18 { 1.0 } else { 0.0 }
    };
    let labels = (0..ROWS).map(label).collect();
    let table = numbers.iter().enumerate().fold(Features::new(), |table, (i, column)| {
        table.numeric(&format!("n{i}"), column.iter().map(|&v| v as f64).collect()).expect("a new column")
    });
    let table = categories.iter().enumerate().fold(table, |table, (i, column)| {
        table.categorical(&format!("c{i}"), column.iter().map(|v| Some(v.to_string()))).expect("a new column")
    });
    (table, labels)
}

fn trees(c: &mut Criterion) {
    let (table, labels) = rows();
    let target = Target::new(&labels);
    let mut group = c.benchmark_group("trees");
    group.sample_size(10).throughput(Throughput::Elements(ROWS as u64));
    for rounds in [0, 20] {
        // No rounds: cutting the features into bins.
        let config = BoostConfig { rounds, ..BoostConfig::new(Objective::Logistic) };
        group.bench_function(format!("boosting, {rounds} rounds"), |b| {
            b.iter(|| Boosted::fit(black_box(&table), &target, &config));
        });
    }
    let config = BoostConfig { rounds: 20, ..BoostConfig::new(Objective::Logistic) };
    let model = Boosted::fit(&table, &target, &config).expect("a model");
    group.bench_function("prediction, 20 trees", |b| b.iter(|| model.predict(black_box(&table))));
    let config = ForestConfig { trees: 10, ..ForestConfig::classification(2, 14) };
    group.bench_function("forest, 10 trees", |b| b.iter(|| Forest::fit(black_box(&table), &target, &config)));
    group.finish();
}

criterion_group!(benches, trees);
criterion_main!(benches);
