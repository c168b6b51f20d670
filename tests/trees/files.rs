//! Models written and read back.

use super::{classes, mixed};
use warpsmith::trees::{BoostConfig, Boosted, Forest, ForestConfig, LambdaRank, Objective, Target};

fn models() -> Vec<Boosted> {
    let (table, target) = mixed(400, 1);
    let rank = LambdaRank { sigmoid: 0.1, truncation: 7, normalize: false };
    let cases = [
        (Objective::L2, target.clone()),
        (Objective::Logistic, classes(&target, 2)),
        (Objective::CrossEntropy, target.clone()),
        (Objective::Softmax { classes: 3 }, classes(&target, 3)),
        (Objective::LambdaRank(rank), classes(&target, 3)),
    ];
    let fit = |(objective, labels): (Objective, Vec<f64>)| {
        let config = BoostConfig { rounds: 5, ..BoostConfig::new(objective) };
        let target = Target::grouped(&labels, &[40; 10]);
        Boosted::fit_validated((&table, &target), (&table, &target), &config).unwrap()
    };
    cases.into_iter().map(fit).collect()
}

#[test]
fn boosted_models_come_back_bit_for_bit() {
    let (table, _) = mixed(400, 1);
    for model in models() {
        let path = std::env::temp_dir().join(format!(
            "warpsmith-{}-{}.json",
            std::process::id(),
            model.objective().outputs() as u64 + model.trees().len() as u64
        ));
        model.save(&path).unwrap();
        let back = Boosted::load(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        assert!(back == model, "{:?}", model.objective());
        assert_eq!(back.predict(&table).unwrap(), model.predict(&table).unwrap());
    }
}

#[test]
fn forests_come_back_bit_for_bit() {
    let (table, target) = mixed(200, 2);
    let labels = classes(&target, 3);
    let tree_counts = |config: ForestConfig| ForestConfig { trees: 4, ..config };
    let cases = [
        (tree_counts(ForestConfig::regression()), &target),
        (tree_counts(ForestConfig::classification(3, 3)), &labels),
    ];
    for (config, labels) in cases {
        let forest = Forest::fit(&table, &Target::new(labels), &config).unwrap();
        let back = Forest::from_json(&forest.to_json()).unwrap();
        assert!(back == forest);
        assert!(Boosted::from_json(&forest.to_json()).unwrap_err().to_string().contains("expected a boosted model"));
    }
}

/// Texts that are no models are errors, never panics later.
#[test]
fn damaged_files_are_errors() {
    let text = models()[1].to_json();
    assert!(Boosted::from_json(&text).is_ok());
    let broken = |from: &str, to: &str| {
        let damaged = text.replacen(from, to, 1);
        assert_ne!(damaged, text, "{from} is not in the text");
        Boosted::from_json(&damaged).unwrap_err().to_string()
    };
    assert!(broken("\"version\":1", "\"version\":2").contains("version 2, this library reads 1"));
    assert!(broken("warpsmith trees", "other trees").contains("expected a boosted model"));
    assert!(broken("\"name\":\"logistic\"", "\"name\":\"tweedie\"").contains("unknown objective"));
    assert!(broken("\"initial\":[", "\"initial\":[0.5,").contains("2 initial scores"));
    assert!(broken("\"values\":[", "\"values\":[1.0,").contains("tree 0"));
    // A node whose child is itself would be a walk without end.
    assert!(broken(",1,", ",0,").contains("does not fit"));
    for cut in (0..text.len()).step_by(text.len() / 50) {
        assert!(Boosted::from_json(&text[..cut]).is_err());
    }
    assert!(Boosted::load("/no/such/folder/model.json").unwrap_err().to_string().contains("/no/such/folder"));
}
