//! CSV, missing values, categories, standardisation.

use super::{Folder, message};
use warpsmith::data::*;
use warpsmith::{DType, Device, Result, Tensor};

fn read(text: &str) -> Table {
    Table::read_csv(text.as_bytes(), &CsvOptions::default(), "test").unwrap()
}

fn fails(text: &str, options: &CsvOptions) -> String {
    message(Table::read_csv(text.as_bytes(), options, "test"))
}

fn text(values: &[Option<&str>]) -> Column {
    Column::Text(values.iter().map(|value| value.map(str::to_owned)).collect())
}

#[test]
fn types_follow_from_values() {
    let table = read("i,f,t,e,m\n1,1,a,,1\n-2,2.5,b,NA,x\n,,,,\n+3,1e3,NaN,nan,2\n");
    assert_eq!(table.names(), ["i", "f", "t", "e", "m"]);
    assert_eq!(table.rows(), 4);
    assert_eq!(*table.column("i").unwrap(), Column::Integers(vec![Some(1), Some(-2), None, Some(3)]));
    assert_eq!(*table.column("f").unwrap(), Column::Numbers(vec![Some(1.0), Some(2.5), None, Some(1000.0)]));
    assert_eq!(*table.column("t").unwrap(), text(&[Some("a"), Some("b"), None, None]));
    assert_eq!(*table.column("e").unwrap(), Column::Numbers(vec![None; 4]));
    assert_eq!(*table.column("m").unwrap(), text(&[Some("1"), Some("x"), None, Some("2")]));
    // Integers that no i64 holds are numbers.
    assert_eq!(
        *read("a\n1\n9223372036854775808\n").column("a").unwrap(),
        Column::Numbers(vec![Some(1.0), Some(2f64.powi(63))])
    );
    assert_eq!(read("a,b\n").rows(), 0);
}

#[test]
fn quotes_lines_and_byte_order_marks() {
    let table = read("\u{feff}name,size\r\n\"Smith, \"\"Jo\"\"\",1\r\n\"two\nlines\",2\r\n\n  spaced  ,3");
    assert_eq!(table.names(), ["name", "size"]);
    assert_eq!(*table.column("name").unwrap(), text(&[Some("Smith, \"Jo\""), Some("two\nlines"), Some("spaced")]));
    assert_eq!(table.integers("size").unwrap(), [1, 2, 3]);
    let tabs = CsvOptions { delimiter: b'\t', trim: false, ..Default::default() };
    let table = Table::read_csv("a\tb\n x\ty, z\n".as_bytes(), &tabs, "test").unwrap();
    assert_eq!(table.texts("a").unwrap()[0].as_deref(), Some(" x"));
    assert_eq!(table.texts("b").unwrap()[0].as_deref(), Some("y, z"));
}

#[test]
fn options() {
    let options = CsvOptions {
        skip: 1,
        names: Some(vec!["a".into(), "b".into()]),
        missing: vec!["?".into()],
        types: vec![("b".into(), ColumnType::Numbers)],
        ..Default::default()
    };
    let table = Table::read_csv("569,30,malignant\n?,1\nNA,?\n".as_bytes(), &options, "test").unwrap();
    assert_eq!(*table.column("a").unwrap(), text(&[None, Some("NA")]));
    assert_eq!(*table.column("b").unwrap(), Column::Numbers(vec![Some(1.0), None]));
    let folder = Folder::new();
    let path = folder.file("t.csv", "a\n1\n");
    assert_eq!(Table::load_csv(&path, &CsvOptions::default()).unwrap().integers("a").unwrap(), [1]);
    assert!(message(Table::load_csv(folder.path().join("none.csv"), &options)).contains("none.csv"));
}

#[test]
fn bad_files_name_the_line() {
    let plain = CsvOptions::default();
    assert!(fails("a,b\n1,2\n3\n", &plain).contains("line: 3"));
    assert!(fails("a,a\n1,2\n", &plain).contains("two columns would be named \"a\""));
    let types = |kind| CsvOptions { types: vec![("b".into(), kind)], ..Default::default() };
    let text = fails("a,b\n1,2\n\"x\ny\",2.5\n", &types(ColumnType::Integers));
    assert!(text.contains("line 3: column \"b\" holds \"2.5\", which is no whole number"), "{text}");
    assert!(fails("a,b\n1,x\n", &types(ColumnType::Numbers)).contains("\"x\", which is no number"));
    assert!(fails("a\n1\n", &types(ColumnType::Text)).contains("no column \"b\""));
    let skip = CsvOptions { skip: 2, ..types(ColumnType::Integers) };
    assert!(fails("one\ntwo\na,b\n1,x\n", &skip).contains("line 4"));
    let named = CsvOptions { names: Some(vec!["a".into()]), ..Default::default() };
    assert!(fails("1,2\n", &named).contains("line 1 has 2 fields, and there are 1 names"));
    let latin = Table::read_csv(&b"a\n\xe4\n"[..], &plain, "test");
    assert!(message(latin).to_lowercase().contains("utf-8"));
}

#[test]
fn columns_and_rows() {
    let table = read("a,b,c\n1,x,0.5\n2,,1.5\n3,z,\n");
    assert_eq!(table.select(&["c", "a"]).unwrap().names(), ["c", "a"]);
    assert_eq!(table.without(&["b"]).unwrap().names(), ["a", "c"]);
    let taken = table.take(&[2, 0, 0]).unwrap();
    assert_eq!(taken.integers("a").unwrap(), [3, 1, 1]);
    assert_eq!(taken.texts("b").unwrap(), [Some("z".to_owned()), Some("x".into()), Some("x".into())]);
    assert_eq!(table.complete_rows(&[]).unwrap(), [0]);
    assert_eq!(table.complete_rows(&["b"]).unwrap(), [0, 2]);
    assert_eq!(table.drop_missing(&["a", "c"]).unwrap().integers("a").unwrap(), [1, 2]);
    assert_eq!(table.with_indicators(&["c", "b"]).unwrap().integers("c missing").unwrap(), [0, 0, 1]);
    assert_eq!(table.drop_missing(&[]).unwrap().tensor(&["c", "a"]).unwrap().to_vec2::<f32>().unwrap(), [[0.5, 1.0]]);

    assert!(message(table.column("d")).contains("[\"a\", \"b\", \"c\"]"));
    assert!(table.without(&["d"]).is_err() && table.select(&["d"]).is_err());
    assert!(message(table.numbers("c")).contains("\"c\" has no value in row 2"));
    assert!(message(table.integers("c")).contains("holds numbers"));
    assert!(message(table.numbers("b")).contains("holds text"));
    assert!(table.take(&[3]).is_err());
    let mut short = table.clone();
    assert!(message(short.push("d", Column::Integers(vec![None; 2]))).contains("2 values in a table of 3 rows"));
    assert_eq!(short, table);
}

#[test]
fn fillings_by_hand() {
    let table = read("i,f,t\n1,0.5,b\n4,,a\n,2.5,\n4,9.5,a\n1,,b\n");
    let fill = |name: &str, fill| Filler::fit(&table, &[(name, fill)]).and_then(|filler| filler.transform(&table));
    let numbers = |name, f| fill(name, f).unwrap().numbers(name).unwrap();
    assert_eq!(numbers("i", Fill::Mean), [1.0, 4.0, 2.5, 4.0, 1.0]);
    assert_eq!(numbers("i", Fill::Median), [1.0, 4.0, 2.5, 4.0, 1.0]);
    assert_eq!(numbers("f", Fill::Median), [0.5, 2.5, 2.5, 9.5, 2.5]);
    assert_eq!(numbers("f", Fill::Mean), [0.5, 12.5 / 3.0, 2.5, 9.5, 12.5 / 3.0]);
    assert_eq!(numbers("f", Fill::MostFrequent), [0.5, 0.5, 2.5, 9.5, 0.5]);
    assert_eq!(fill("i", Fill::MostFrequent).unwrap().integers("i").unwrap(), [1, 4, 1, 4, 1]);
    assert_eq!(fill("i", Fill::Number(7.0)).unwrap().integers("i").unwrap()[2], 7);
    assert_eq!(numbers("i", Fill::Number(0.5))[2], 0.5);
    let texts = |f| fill("t", f).unwrap().texts("t").unwrap()[2].clone();
    assert_eq!(texts(Fill::MostFrequent).as_deref(), Some("a"));
    assert_eq!(texts(Fill::Text("none".into())).as_deref(), Some("none"));
    // An integer median of integers keeps them integers.
    let odd = table.take(&[0, 1, 2, 3]).unwrap();
    let filled = Filler::fit(&odd, &[("i", Fill::Median)]).unwrap().transform(&odd).unwrap();
    assert_eq!(filled.integers("i").unwrap(), [1, 4, 4, 4]);

    assert!(message(fill("t", Fill::Mean)).contains("holds text"));
    assert!(message(fill("f", Fill::Text("x".into()))).contains("holds numbers"));
    assert!(message(fill("x", Fill::Mean)).contains("no column"));
    let empty = table.take(&[2]).unwrap();
    assert!(message(Filler::fit(&empty, &[("i", Fill::Mean)])).contains("no value"));
}

#[test]
fn categories_are_sorted_and_unknown_ones_are_what_was_said() {
    let ports = text(&[Some("S"), Some("C"), None, Some("Q"), Some("S")]);
    let other = text(&[Some("Q"), None, Some("Z")]);
    let known = Categories::fit(&ports);
    assert_eq!((known.values(), known.len()), (&["C", "Q", "S"].map(String::from)[..], 3));
    assert_eq!(known.ids(&text(&[Some("S"), Some("C")])).unwrap(), [2, 0]);
    assert!(message(known.ids(&ports)).contains("row 2 is missing"));
    assert!(message(known.ids(&text(&[Some("Z")]))).contains("row 0 is \"Z\", none of the 3"));
    assert!(known.one_hot(&other).is_err());
    let own = known.clone().unknown(Unknown::Own);
    assert_eq!((own.len(), own.ids(&other).unwrap()), (4, vec![1, 3, 3]));
    assert_eq!(own.labels(&other).unwrap().to_vec::<i64>().unwrap(), [1, 3, 3]);
    let rows = [[0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0]];
    assert_eq!(own.one_hot(&other).unwrap().to_vec2::<f32>().unwrap(), rows);
    let none = known.unknown(Unknown::None);
    assert_eq!(none.one_hot(&other).unwrap().to_vec2::<f32>().unwrap(), [[0.0, 1.0, 0.0], [0.0; 3], [0.0; 3]]);
    assert!(none.ids(&other).is_err());
    // Numbers are in the order of numbers.
    let classes = Categories::fit(&Column::Integers(vec![Some(10), Some(9), Some(-1), Some(10), None]));
    assert_eq!(classes.values(), ["-1", "9", "10"]);
    assert_eq!(Categories::fit(&Column::Numbers(vec![Some(10.5), Some(9.0)])).values(), ["9", "10.5"]);
}

#[test]
fn standardisation_by_hand() {
    let x = Tensor::from_slice(&[1f32, 5.0, 7.0, 2.0, 5.0, 1.0, 6.0, 5.0, 4.0], [3, 3], &Device::Cpu).unwrap();
    let standard = Standardiser::fit(&x).unwrap();
    assert_eq!(standard.mean(), [3.0, 5.0, 4.0]);
    // Of the population: (4 + 1 + 9) / 3; the column that is always 5; (9 + 9 + 0) / 3.
    let expected = [(14f64 / 3.0).sqrt(), 1.0, 6f64.sqrt()];
    assert!(standard.deviation().iter().zip(expected).all(|(d, e)| (d - e).abs() < 1e-15));
    let scaled = standard.transform(&x).unwrap();
    let back = standard.inverse(&scaled).unwrap();
    for (i, (s, v)) in scaled.to_vec::<f32>().unwrap().iter().zip(x.to_vec::<f32>().unwrap()).enumerate() {
        let exact = (f64::from(v) - standard.mean()[i % 3]) / standard.deviation()[i % 3];
        assert_eq!(*s, exact as f32);
    }
    // Two roundings to f32 of values up to 7.
    let far = back.to_vec::<f32>().unwrap().into_iter().zip(x.to_vec::<f32>().unwrap()).map(|(a, b)| (a - b).abs());
    assert!(far.fold(0.0, f32::max) <= 7.0 * f32::EPSILON);
    let column = Tensor::from_slice(&[1f64, 3.0], [2], &Device::Cpu).unwrap();
    let standard = Standardiser::fit(&column).unwrap();
    assert_eq!(standard.transform(&column).unwrap().to_vec::<f64>().unwrap(), [-1.0, 1.0]);
    // 0.1 three times has a mean that is rounded: no deviation all the same.
    let same = Tensor::from_slice(&[0.1f64, 0.1, 0.1], [3], &Device::Cpu).unwrap();
    assert_eq!(Standardiser::fit(&same).unwrap().deviation(), [1.0]);
    assert!(standard.transform(&x).is_err());
    assert!(Standardiser::fit(&Tensor::zeros([0, 3], DType::F32, &Device::Cpu).unwrap()).is_err());
    assert!(Standardiser::fit(&Tensor::zeros([3, 3], DType::I64, &Device::Cpu).unwrap()).is_err());
}

#[test]
fn features_learn_from_training_rows_only() -> Result<()> {
    let table = read("age,fare,sex,port,id\n20,1,m,S,1\n40,,f,C,2\n,3,m,,3\n1000,1000,x,Q,4\n,,m,S,5\n");
    let training = table.take(&[0, 1, 2])?;
    let features = Features::new()
        .numbers(&["age"], Fill::Mean)
        .numbers(&["fare"], Fill::Number(0.0))
        .indicators(&["age", "fare"])
        .categories(&["sex", "port"]);
    let plain = features.clone().fit(&training)?;
    let names = ["age", "fare", "age missing", "fare missing", "sex=f", "sex=m", "port=C", "port=S"];
    assert_eq!(plain.names(), names);
    let expected = [
        [20.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 1.0],
        [40.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0],
        [30.0, 3.0, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0],
        [1000.0, 1000.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0],
        [30.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0],
    ];
    assert_eq!(plain.transform(&table)?.to_vec2::<f32>()?, expected);

    let scaled = features.own_unknown().standardised().fit(&training)?;
    assert_eq!(scaled.names().len(), 10);
    assert_eq!(scaled.names()[6..8], ["sex unknown", "port=C"]);
    let rows = scaled.transform(&table)?.to_vec2::<f32>()?;
    // Ages 20, 40, 30: mean 30, variance 200 / 3; fares 1, 0, 3: mean 4 / 3, variance 10 / 3 - 16 / 9.
    let (age, fare) = ((200f64 / 3.0).sqrt(), (14f64 / 9.0).sqrt());
    for (row, [a, f]) in rows.iter().zip([[20.0, 1.0], [40.0, 0.0], [30.0, 3.0], [1000.0, 1000.0], [30.0, 0.0]]) {
        let exact = [(a - 30.0) / age, (f - 4.0 / 3.0) / fare];
        assert!(row.iter().zip(exact).all(|(v, e)| (f64::from(*v) - e).abs() <= e.abs() * 1e-6), "{row:?} {exact:?}");
    }
    assert_eq!(rows[3][2..], [0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0]);
    assert_eq!(rows[2][7..], [0.0, 0.0, 1.0]);
    assert!(message(scaled.transform(&table.without(&["sex"])?)).contains("sex"));
    assert!(Features::new().numbers(&["sex"], Fill::Mean).fit(&training).is_err());
    assert_eq!(Features::new().fit(&training)?.transform(&table)?.dims(), [5, 0]);
    Ok(())
}
