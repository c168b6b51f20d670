//! What `cargo xtask trees` hands to LightGBM, XGBoost and scikit-learn: the data and settings of the example's tasks,
//! and what came out here.

use crate::support::tables::Table;
use crate::{Model, Task};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use warpsmith::trees::{BoostConfig, ForestConfig, Objective};
use warpsmith::{Error, Result};

pub struct Export {
    folder: PathBuf,
    tasks: Vec<Value>,
}

impl Export {
    pub fn new(folder: &Path) -> Result<Self> {
        let io = |source| Error::Io { action: "creating", path: folder.to_owned(), source };
        std::fs::create_dir_all(folder).map_err(io)?;
        Ok(Export { folder: folder.to_owned(), tasks: Vec::new() })
    }

    pub fn task(&mut self, task: &Task, seconds: f64, values: &[(&str, f64)]) -> Result<()> {
        let mut folds = Vec::new();
        for (number, (training, test)) in task.folds.iter().enumerate() {
            let name = |part: &str| format!("{}-{number}-{part}.f64", task.name.replace([' ', ','], "_"));
            let (training_file, test_file) = (name("training"), name("test"));
            folds.push(json!([self.table(&training_file, training)?, self.table(&test_file, test)?]));
        }
        let (kind, settings) = match &task.model {
            Model::Boosted(config) => ("boosted", boosted(config)),
            Model::Forest(config) => ("forest", forest(config)),
        };
        let values: Vec<Value> = values.iter().map(|(name, value)| json!([name, value])).collect();
        let task = json!({
            "name": task.name,
            "kind": kind,
            "settings": settings,
            "folds": folds,
            "seconds": seconds,
            "figures": values,
        });
        self.tasks.push(task);
        Ok(())
    }

    /// Labels, then column after column, as little-endian f64.
    fn table(&self, file: &str, table: &Table) -> Result<Value> {
        let columns = table.features.names().len();
        let mut bytes: Vec<u8> = table.labels.iter().flat_map(|v| v.to_le_bytes()).collect();
        for column in 0..columns {
            bytes.extend(table.features.numbers(column)?.iter().flat_map(|v| v.to_le_bytes()));
        }
        self.write(file, &bytes)?;
        let categorical: Vec<usize> = (0..columns).filter(|&c| table.features.is_categorical(c)).collect();
        Ok(json!({
            "file": file,
            "rows": table.labels.len(),
            "columns": columns,
            "categorical": categorical,
            "groups": table.groups,
        }))
    }

    fn write(&self, file: &str, bytes: &[u8]) -> Result<()> {
        let path = self.folder.join(file);
        std::fs::write(&path, bytes).map_err(|source| Error::Io { action: "writing", path, source })
    }

    pub fn finish(self) -> Result<()> {
        self.write("tasks.json", Value::Array(self.tasks.clone()).to_string().as_bytes())
    }
}

fn boosted(config: &BoostConfig) -> Value {
    let (tree, categories) = (&config.tree, &config.tree.categories);
    let (name, classes) = match &config.objective {
        Objective::L2 => ("l2", 1),
        Objective::Logistic => ("logistic", 1),
        Objective::CrossEntropy => ("cross_entropy", 1),
        Objective::Softmax { classes } => ("softmax", *classes),
        Objective::LambdaRank(_) => ("lambda_rank", 1),
    };
    let dart = config.dart.as_ref().map(|d| json!([d.drop_rate, d.skip_drop, d.max_drop]));
    json!({
        "objective": name,
        "classes": classes,
        "rounds": config.rounds,
        "learning_rate": config.learning_rate,
        "max_leaves": tree.max_leaves,
        "min_data": tree.min_data,
        "min_weight": tree.min_weight,
        "l2": tree.l2,
        "max_bins": config.max_bins,
        "one_vs_rest": categories.one_vs_rest,
        "dart": dart,
    })
}

fn forest(config: &ForestConfig) -> Value {
    json!({"trees": config.trees, "features_per_node": config.features_per_node, "min_data": config.min_data})
}
