//! Models as text: JSON, with numbers that read back to the same bits.

use super::boost::Boosted;
use super::features::{Kind, Schema, Unknown};
use super::forest::{Forest, ForestTask};
use super::objective::Objective;
use super::rank::LambdaRank;
use super::split::BinSet;
use super::tree::{Node, Test, Tree};
use crate::{Error, Result};
use serde_json::{Map, Value, json};
use std::path::Path;

const FORMAT: &str = "warpsmith trees";
const VERSION: u64 = 1;

impl Boosted {
    /// The model as JSON text.
    pub fn to_json(&self) -> String {
        let objective = match &self.objective {
            Objective::Softmax { classes } => json!({"name": "softmax", "classes": classes}),
            Objective::LambdaRank(rank) => json!({
                "name": "lambda_rank",
                "sigmoid": rank.sigmoid,
                "truncation": rank.truncation,
                "normalize": rank.normalize,
            }),
            other => json!({"name": other.name()}),
        };
        let own = json!({
            "objective": objective,
            "initial": numbers(&self.initial),
            "validation": numbers(&self.validation),
        });
        write("boosted", own, &self.schema, &self.trees)
    }

    /// The model that [`Boosted::to_json`] wrote, bit for bit.
    pub fn from_json(text: &str) -> Result<Self> {
        let file = Reader::open(text, "boosted")?;
        let objective = file.objective()?;
        let (schema, initial) = (file.schema()?, file.numbers("initial")?);
        let trees = file.trees(&schema, 1)?;
        if initial.len() != objective.outputs() || !trees.len().is_multiple_of(initial.len()) {
            return Err(wrong(format!(
                "{} initial scores and {} trees for {} outputs",
                initial.len(),
                trees.len(),
                objective.outputs()
            )));
        }
        Ok(Boosted { schema, objective, initial, trees, validation: file.numbers("validation")? })
    }

    /// Writes [`Boosted::to_json`] to a file.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save(path.as_ref(), &self.to_json())
    }

    /// Reads what [`Boosted::save`] wrote.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        load(path.as_ref(), Self::from_json)
    }
}

impl Forest {
    /// The model as JSON text.
    pub fn to_json(&self) -> String {
        let classes = match self.task {
            ForestTask::Regression => Value::Null,
            ForestTask::Classification { classes } => json!(classes),
        };
        let own = json!({"classes": classes, "out_of_bag_score": self.out_of_bag_score.map(number)});
        write("forest", own, &self.schema, &self.trees)
    }

    /// The model that [`Forest::to_json`] wrote, bit for bit.
    pub fn from_json(text: &str) -> Result<Self> {
        let file = Reader::open(text, "forest")?;
        let task = match file.get("classes")? {
            Value::Null => ForestTask::Regression,
            value => ForestTask::Classification { classes: whole(value)? },
        };
        let out_of_bag_score = match file.get("out_of_bag_score")? {
            Value::Null => None,
            value => Some(to_number(value)?),
        };
        let schema = file.schema()?;
        let trees = file.trees(&schema, task.outputs())?;
        if trees.is_empty() {
            return Err(wrong("a forest without trees".into()));
        }
        Ok(Forest { trees, schema, task, out_of_bag_score })
    }

    /// Writes [`Forest::to_json`] to a file.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<()> {
        save(path.as_ref(), &self.to_json())
    }

    /// Reads what [`Forest::save`] wrote.
    pub fn load(path: impl AsRef<Path>) -> Result<Self> {
        load(path.as_ref(), Self::from_json)
    }
}

fn save(path: &Path, text: &str) -> Result<()> {
    let path = path.to_owned();
    std::fs::write(&path, text).map_err(|source| Error::Io { action: "writing", path, source })
}

fn load<T>(path: &Path, read: impl Fn(&str) -> Result<T>) -> Result<T> {
    let io = |source| Error::Io { action: "reading", path: path.to_owned(), source };
    read(&std::fs::read_to_string(path).map_err(io)?).map_err(|error| match error {
        Error::Format { message, .. } => Error::Format { what: path.display().to_string(), message },
        other => other,
    })
}

fn write(model: &str, own: Value, schema: &Schema, trees: &[Tree]) -> String {
    let columns = schema.columns.iter().map(|(name, kind)| match kind {
        Kind::Numeric => json!({"name": name}),
        Kind::Categorical { names, kept } => json!({"name": name, "categories": names, "kept": kept}),
    });
    let mut file = json!({
        "format": FORMAT,
        "version": VERSION,
        "model": model,
        "columns": columns.collect::<Vec<_>>(),
        "unknown_is_missing": schema.unknown == Unknown::Missing,
        "trees": trees.iter().map(write_tree).collect::<Vec<_>>(),
    });
    if let (Value::Object(file), Value::Object(own)) = (&mut file, own) {
        file.extend(own);
    }
    file.to_string()
}

/// A node is [feature, threshold or words of the set of categories, missing left, left, right, gain].
fn write_tree(tree: &Tree) -> Value {
    let nodes = tree.nodes.iter().map(|node| {
        let test = match node.test {
            Test::UpTo(bound) => number(bound),
            Test::In(set) => json!(set),
        };
        json!([node.feature, test, node.missing_left, node.left, node.right, number(node.gain)])
    });
    json!({"nodes": nodes.collect::<Vec<_>>(), "values": numbers(&tree.values)})
}

/// JSON has no infinity and no NaN: these are strings.
fn number(value: f64) -> Value {
    if value.is_finite() { json!(value) } else { json!(value.to_string()) }
}

fn numbers(values: &[f64]) -> Vec<Value> {
    values.iter().map(|&v| number(v)).collect()
}

fn wrong(message: String) -> Error {
    Error::Format { what: "model of trees".into(), message }
}

fn to_number(value: &Value) -> Result<f64> {
    let text = || value.as_str().and_then(|text| text.parse().ok());
    value.as_f64().or_else(text).ok_or_else(|| wrong(format!("expected a number, got {value}")))
}

fn whole(value: &Value) -> Result<usize> {
    let number = value.as_u64().and_then(|n| usize::try_from(n).ok());
    number.ok_or_else(|| wrong(format!("expected a whole number, got {value}")))
}

fn flag(value: &Value) -> Result<bool> {
    value.as_bool().ok_or_else(|| wrong(format!("expected true or false, got {value}")))
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value.as_array().ok_or_else(|| wrong(format!("expected a list, got {value}")))
}

fn text(value: &Value) -> Result<String> {
    value.as_str().map(String::from).ok_or_else(|| wrong(format!("expected a text, got {value}")))
}

fn entry<'a>(map: &'a Value, key: &str) -> Result<&'a Value> {
    map.get(key).ok_or_else(|| wrong(format!("there is no entry {key:?}")))
}

struct Reader {
    file: Value,
}

impl Reader {
    fn open(text: &str, model: &str) -> Result<Self> {
        let file: Map<String, Value> = serde_json::from_str(text).map_err(|e| wrong(format!("no JSON map: {e}")))?;
        let file = Reader { file: Value::Object(file) };
        if file.get("format")? != FORMAT || file.get("model")? != model {
            let message = format!("expected a {model} model, got {} of {}", file.get("model")?, file.get("format")?);
            return Err(wrong(message));
        }
        match file.get("version")?.as_u64() {
            Some(VERSION) => Ok(file),
            _ => Err(wrong(format!("version {}, this library reads {VERSION}", file.get("version")?))),
        }
    }

    fn get(&self, key: &str) -> Result<&Value> {
        entry(&self.file, key)
    }

    fn numbers(&self, key: &str) -> Result<Vec<f64>> {
        list(self.get(key)?)?.iter().map(to_number).collect()
    }

    fn objective(&self) -> Result<Objective> {
        let value = self.get("objective")?;
        match text(entry(value, "name")?)?.as_str() {
            "l2" => Ok(Objective::L2),
            "logistic" => Ok(Objective::Logistic),
            "cross_entropy" => Ok(Objective::CrossEntropy),
            "softmax" => Ok(Objective::Softmax { classes: whole(entry(value, "classes")?)? }),
            "lambda_rank" => Ok(Objective::LambdaRank(LambdaRank {
                sigmoid: to_number(entry(value, "sigmoid")?)?,
                truncation: whole(entry(value, "truncation")?)?,
                normalize: flag(entry(value, "normalize")?)?,
            })),
            name => Err(wrong(format!("unknown objective {name:?}"))),
        }
    }

    fn schema(&self) -> Result<Schema> {
        let column = |value: &Value| -> Result<(String, Kind)> {
            let kind = match value.get("categories") {
                None => Kind::Numeric,
                Some(names) => {
                    let names = list(names)?.iter().map(text).collect::<Result<Vec<_>>>()?;
                    Kind::Categorical { kept: whole(entry(value, "kept")?)?.min(names.len()).min(255), names }
                }
            };
            Ok((text(entry(value, "name")?)?, kind))
        };
        let columns = list(self.get("columns")?)?.iter().map(column).collect::<Result<Vec<_>>>()?;
        if columns.is_empty() {
            return Err(wrong("a model without columns".into()));
        }
        let unknown = if flag(self.get("unknown_is_missing")?)? { Unknown::Missing } else { Unknown::Error };
        Ok(Schema { columns, unknown })
    }

    fn trees(&self, schema: &Schema, outputs: usize) -> Result<Vec<Tree>> {
        let read = |(number, tree)| {
            read_tree(tree, schema, outputs).map_err(|error| match error {
                Error::Format { message, .. } => wrong(format!("tree {number}: {message}")),
                other => other,
            })
        };
        list(self.get("trees")?)?.iter().enumerate().map(read).collect()
    }
}

fn read_tree(value: &Value, schema: &Schema, outputs: usize) -> Result<Tree> {
    let nodes = list(entry(value, "nodes")?)?.iter().map(read_node).collect::<Result<Vec<_>>>()?;
    let values = list(entry(value, "values")?)?.iter().map(to_number).collect::<Result<Vec<_>>>()?;
    // A binary tree has one leaf more than nodes; children after their parents leave no cycle.
    let leaves = nodes.len() + 1;
    if outputs == 0 || values.len() != leaves * outputs {
        return Err(wrong(format!("{} values for {leaves} leaves of {outputs} outputs", values.len())));
    }
    for (at, node) in nodes.iter().enumerate() {
        let fits = |child: i32| match usize::try_from(child) {
            Ok(child) => child > at && child < nodes.len(),
            Err(_) => ((-1 - child) as usize) < leaves,
        };
        let kinds = schema.columns.get(node.feature).map(|(_, kind)| (kind, node.test));
        let right_kind =
            matches!(kinds, Some((Kind::Numeric, Test::UpTo(_)) | (Kind::Categorical { .. }, Test::In(_))));
        if !fits(node.left) || !fits(node.right) || !right_kind {
            return Err(wrong(format!("node {at} does not fit: {node:?}")));
        }
    }
    Ok(Tree { nodes, values, outputs })
}

fn read_node(value: &Value) -> Result<Node> {
    let [feature, test, missing_left, left, right, gain] = list(value)?.as_slice() else {
        return Err(wrong(format!("a node has six entries, got {value}")));
    };
    let link = |value: &Value| {
        let number = value.as_i64().and_then(|n| i32::try_from(n).ok());
        number.ok_or_else(|| wrong(format!("expected the number of a child, got {value}")))
    };
    let test = match test {
        Value::Array(words) => {
            let words: Option<Vec<u64>> = words.iter().map(Value::as_u64).collect();
            let set = words.and_then(|words| BinSet::try_from(words).ok());
            Test::In(set.ok_or_else(|| wrong(format!("expected four words of a set, got {test}")))?)
        }
        bound => Test::UpTo(to_number(bound)?),
    };
    Ok(Node {
        feature: whole(feature)?,
        test,
        missing_left: flag(missing_left)?,
        left: link(left)?,
        right: link(right)?,
        gain: to_number(gain)?,
    })
}
