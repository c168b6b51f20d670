//! Cases whose answer is known: missing values, categories, ranking, errors.

use super::free;
use warpsmith::trees::{
    BoostConfig, Boosted, Dart, Features, Forest, ForestConfig, Importance, LambdaRank, Objective, Target, Unknown,
};

fn predict(model: &Boosted, x: &[f64]) -> Vec<f64> {
    model.predict(&Features::new().numeric("x", x.to_vec()).unwrap()).unwrap()
}

fn fit(x: &[f64], y: &[f64], max_leaves: usize) -> Boosted {
    let table = Features::new().numeric("x", x.to_vec()).unwrap();
    Boosted::fit(&table, &Target::new(y), &free(Objective::L2, max_leaves)).unwrap()
}

#[test]
fn missing_values_go_where_they_belong() {
    const NAN: f64 = f64::NAN;
    let x = [1.0, 2.0, 3.0, 4.0, NAN, NAN];
    let high = fit(&x, &[0.0, 0.0, 6.0, 6.0, 6.0, 6.0], 2);
    assert_eq!(predict(&high, &[2.4, 2.6, NAN, -9.0, 99.0]), [0.0, 6.0, 6.0, 0.0, 6.0]);
    let low = fit(&x, &[0.0, 0.0, 6.0, 6.0, 0.0, 0.0], 2);
    assert_eq!(predict(&low, &[2.4, 2.6, NAN, -9.0, 99.0]), [0.0, 6.0, 0.0, 0.0, 6.0]);
    // Missing or not is a split of its own.
    let only = fit(&x, &[0.0, 0.0, 0.0, 0.0, 6.0, 6.0], 2);
    assert_eq!(predict(&only, &[1.0, 4.0, 1e300, f64::INFINITY, NAN]), [0.0, 0.0, 0.0, 0.0, 6.0]);
    // Where training had none, they follow the larger child.
    let more_right = fit(&x[..4], &[0.0, 6.0, 6.0, 6.0], 2);
    assert_eq!(predict(&more_right, &[1.0, NAN]), [0.0, 6.0]);
    let more_left = fit(&x[..4], &[0.0, 0.0, 0.0, 6.0], 2);
    assert_eq!(predict(&more_left, &[4.0, NAN]), [6.0, 0.0]);
}

#[test]
fn infinities_are_numbers() {
    let x = [f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0, 0.0, f64::INFINITY, f64::INFINITY];
    let model = fit(&x, &[1.0, 1.0, 5.0, 5.0, 2.0, 2.0], 3);
    let wanted = [1.0, 1.0, 5.0, 5.0, 2.0, 2.0];
    assert!(predict(&model, &x).iter().zip(wanted).all(|(f, w)| (f - w).abs() < 1e-6));
}

#[test]
fn one_split_parts_categories() {
    let names = ["a", "b", "c", "d", "e", "f"];
    let kinds: Vec<Option<&str>> = (0..60).map(|i| Some(names[i % 6])).chain([None, None]).collect();
    // b, d and f are high; missing ones are, too, but go right, with those that are not in the set.
    let high = |k: &Option<&str>| matches!(k, Some("b" | "d" | "f") | None);
    let y: Vec<f64> = kinds.iter().map(|k| if high(k) { 4.0 } else { 0.0 }).collect();
    let table = Features::new().categorical("k", kinds.clone()).unwrap();
    let model = Boosted::fit(&table, &Target::new(&y), &free(Objective::L2, 2)).unwrap();
    assert_eq!(model.trees()[0].leaves(), 2);
    for (found, wanted) in model.predict(&table).unwrap().iter().zip(&y) {
        assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
    }
}

#[test]
fn few_categories_are_tried_one_against_the_rest() {
    let kinds: Vec<Option<&str>> = (0..30).map(|i| Some(["a", "b", "c", "d"][i % 4])).collect();
    let y: Vec<f64> = kinds.iter().map(|k| [0.0, 8.0][(*k == Some("c")) as usize]).collect();
    let table = Features::new().categorical("k", kinds).unwrap();
    let mut config = free(Objective::L2, 2);
    config.tree.categories.one_vs_rest = 4;
    // Of no effect here: these are for sorted categories.
    (config.tree.categories.l2, config.tree.categories.smooth) = (1e9, 1e9);
    let model = Boosted::fit(&table, &Target::new(&y), &config).unwrap();
    for (found, wanted) in model.predict(&table).unwrap().iter().zip(&y) {
        assert!((found - wanted).abs() < 1e-6, "{found} {wanted}");
    }
}

#[test]
fn categories_beyond_the_bins_are_missing_values() {
    // Three frequent ones have bins; x and y are rare.
    let kinds: Vec<Option<&str>> =
        (0..48).map(|i| Some(["a", "b", "c"][i % 3])).chain([Some("x"), Some("y")]).collect();
    let y: Vec<f64> = kinds.iter().map(|k| [3.0, 0.0][(*k == Some("a")) as usize]).collect();
    let table = Features::new().categorical("k", kinds).unwrap();
    let config = BoostConfig { max_bins: 3, ..free(Objective::L2, 2) };
    let model = Boosted::fit(&table, &Target::new(&y), &config).unwrap();
    let some = Features::new().categorical("k", [Some("y"), None, Some("b"), Some("a")]).unwrap();
    let found = model.predict(&some).unwrap();
    assert!(found.iter().zip([3.0, 3.0, 3.0, 0.0]).all(|(f, w)| (f - w).abs() < 1e-6), "{found:?}");
}

#[test]
fn unknown_categories() {
    let kinds = ["a", "b", "a", "b", "a", "b"].map(Some);
    let table = Features::new().categorical("k", kinds).unwrap();
    let y = [0.0, 1.0, 0.0, 1.0, 0.0, 1.0];
    let strange = Features::new().categorical("k", [Some("b"), Some("z")]).unwrap();
    let strict = Boosted::fit(&table, &Target::new(&y), &free(Objective::L2, 2)).unwrap();
    let error = strict.predict(&strange).unwrap_err().to_string();
    assert!(error.contains("column k") && error.contains("\"z\"") && error.contains("Unknown::Missing"), "{error}");
    // A selection that has only the known one is fine.
    assert!(strict.predict(&strange.select(&[0]).unwrap()).is_ok());
    let config = BoostConfig { unknown: Unknown::Missing, ..free(Objective::L2, 2) };
    let lenient = Boosted::fit(&table, &Target::new(&y), &config).unwrap();
    let missing = Features::new().categorical("k", [Some("b"), None]).unwrap();
    assert_eq!(lenient.predict(&strange).unwrap(), lenient.predict(&missing).unwrap());
}

#[test]
fn columns_are_found_by_name() {
    let x: Vec<f64> = (0..8).map(f64::from).collect();
    let z = vec![0.0; 8];
    let table = Features::new().numeric("x", x.clone()).unwrap().numeric("z", z.clone()).unwrap();
    let model = Boosted::fit(&table, &Target::new(&x), &free(Objective::L2, 8)).unwrap();
    let turned = Features::new().numeric("z", z.clone()).unwrap().numeric("x", x).unwrap();
    assert_eq!(model.predict(&turned).unwrap(), model.predict(&table).unwrap());
    let [(_, gain_x), (_, gain_z)] = model.importance(Importance::Gain)[..] else { panic!() };
    assert!(gain_x > 0.0 && gain_z == 0.0);
    assert_eq!(model.importance(Importance::Splits), [("x", 7.0), ("z", 0.0)]);
    let other = Features::new().numeric("z", z.clone()).unwrap().numeric("w", z).unwrap();
    assert!(model.predict(&other).unwrap_err().to_string().contains("no column x"));
}

/// The second round leaves the first out: it grows the same tree, and both count half.
#[test]
fn dart_by_hand() {
    let x: Vec<f64> = (0..20).map(f64::from).collect();
    let y: Vec<f64> = x.iter().map(|x| (x / 3.0).sin()).collect();
    let table = Features::new().numeric("x", x).unwrap();
    let one = BoostConfig { learning_rate: 0.5, ..free(Objective::L2, 5) };
    let dart = Dart { drop_rate: 1.0, skip_drop: 0.0, ..Default::default() };
    let two = BoostConfig { rounds: 2, dart: Some(dart), ..one.clone() };
    let fit = |config: &BoostConfig| Boosted::fit(&table, &Target::new(&y), config).unwrap().predict(&table).unwrap();
    // Three rounds, two left out: a third each of the same tree.
    let three = BoostConfig { rounds: 3, ..two.clone() };
    let wanted = fit(&one);
    for found in [fit(&two), fit(&three)] {
        assert!(found.iter().zip(&wanted).all(|(f, w)| (f - w).abs() < 1e-9), "{found:?} {wanted:?}");
    }
}

#[test]
fn constants_are_predicted_before_any_tree() {
    let table = Features::new().numeric("x", vec![1.0; 4]).unwrap();
    let predict = |objective: Objective, y: &[f64]| {
        let model = Boosted::fit(&table, &Target::new(y), &BoostConfig::new(objective)).unwrap();
        model.predict(&table).unwrap()[..model.objective().outputs()].to_vec()
    };
    let near = |found: &[f64], wanted: &[f64]| found.iter().zip(wanted).all(|(f, w)| (f - w).abs() < 1e-12);
    assert!(near(&predict(Objective::L2, &[1.0, 2.0, 3.0, 6.0]), &[3.0]));
    assert!(near(&predict(Objective::Logistic, &[1.0, 0.0, 0.0, 0.0]), &[0.25]));
    assert!(near(&predict(Objective::CrossEntropy, &[0.5, 0.1, 0.1, 0.1]), &[0.2]));
    assert!(near(&predict(Objective::Softmax { classes: 3 }, &[2.0, 0.0, 2.0, 1.0]), &[0.25, 0.25, 0.5]));
}

#[test]
fn errors_say_what_is_wrong() {
    let table = Features::new().numeric("x", vec![1.0, 2.0, 3.0]).unwrap();
    let fails = |objective: Objective, target: Target, wanted: &str| {
        let error = Boosted::fit(&table, &target, &BoostConfig::new(objective)).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    fails(Objective::L2, Target::new(&[1.0, f64::NAN, 2.0]), "row 1 has NaN");
    fails(Objective::L2, Target::new(&[1.0, 2.0]), "2 labels for 3 rows");
    fails(Objective::Logistic, Target::new(&[0.0, 1.0, 2.0]), "must be 0 or 1, row 2 has 2");
    fails(Objective::CrossEntropy, Target::new(&[0.0, -0.1, 0.2]), "row 1 has -0.1");
    fails(Objective::Softmax { classes: 3 }, Target::new(&[0.0, 1.0, 3.0]), "from 0 to 2, row 2 has 3");
    fails(Objective::Softmax { classes: 1 }, Target::new(&[0.0; 3]), "at least 2 classes");
    let rank = || Objective::LambdaRank(LambdaRank::default());
    fails(rank(), Target::new(&[0.0; 3]), "Target::grouped");
    fails(rank(), Target::grouped(&[0.0; 3], &[2, 2]), "2 groups of 4 rows in all for 3 rows");
    fails(rank(), Target::grouped(&[0.0, 0.5, 1.0], &[3]), "row 1 has 0.5");

    let y = [0.0, 1.0, 0.0];
    let rejects = |change: &dyn Fn(&mut BoostConfig), wanted: &str| {
        let mut config = BoostConfig::new(Objective::L2);
        change(&mut config);
        let error = Boosted::fit(&table, &Target::new(&y), &config).unwrap_err().to_string();
        assert!(error.contains(wanted), "{error}");
    };
    rejects(&|c| c.max_bins = 256, "max_bins must be 2 to 255, got 256");
    rejects(&|c| c.tree.max_leaves = 1, "at least 2 leaves");
    rejects(&|c| c.tree.l2 = -1.0, "l2 must be at least 0, got -1");
    rejects(&|c| c.tree.l1 = f64::NAN, "l1 must be at least 0, got NaN");
    rejects(&|c| c.row_fraction = 0.0, "row_fraction must be above 0");
    rejects(&|c| c.learning_rate = 0.0, "learning_rate");
    rejects(&|c| c.early_stopping = Some(3), "fit_validated");
    rejects(&|c| c.dart = Some(Dart { drop_rate: 2.0, ..Default::default() }), "dart.drop_rate");

    let empty = Features::new().numeric("x", vec![]).unwrap();
    let error = Boosted::fit(&empty, &Target::new(&[]), &BoostConfig::new(Objective::L2)).unwrap_err().to_string();
    assert!(error.contains("0 rows of 1 columns"), "{error}");
    let error = Forest::fit(&table, &Target::new(&[0.0, 1.0, 2.0]), &ForestConfig::classification(2, 1)).unwrap_err();
    assert!(error.to_string().contains("row 2 has the label 2"), "{error}");
    assert!(table.clone().numeric("x", vec![0.0; 3]).unwrap_err().to_string().contains("column x already"));
    assert!(table.clone().numeric("y", vec![0.0; 2]).unwrap_err().to_string().contains("has 2 rows"));
    assert!(table.select(&[3]).unwrap_err().to_string().contains("row 3 is out of range"));
    assert!(Features::from_rows(&[1.0; 5], 2).is_err());
    let model = Boosted::fit(&table, &Target::new(&y), &BoostConfig::new(Objective::L2)).unwrap();
    let text = Features::new().categorical("x", [Some("1")]).unwrap();
    assert!(model.predict(&text).unwrap_err().to_string().contains("must hold numbers"));
}
