//! Figures written to files as they are found.

use crate::nn::StateDict;
use crate::train::{Callback, Figures, Run, Step};
use crate::{DType, Error, Result};
use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::path::PathBuf;

use super::tensorboard;

/// Writes the loss, the rate and the figures of steps, and those of evaluations, into a file: CSV, JSON lines, or what
/// TensorBoard reads. A new run begins the file anew; one that is taken up cuts off what was written after its
/// checkpoint and goes on, so that in the end the file tells of each step once.
///
/// ```
/// use warpsmith::train::MetricLog;
///
/// let table = MetricLog::csv("out/run/log.csv");
/// let lines = MetricLog::json_lines("out/run/log.jsonl").every(10);
/// // tensorboard --logdir out
/// let events = MetricLog::tensorboard("out/run");
/// # let _ = (table, lines, events);
/// ```
pub struct MetricLog {
    format: Format,
    path: PathBuf,
    every: u64,
    file: Option<File>,
    /// Where a run that is taken up goes on.
    resume_at: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    Csv,
    JsonLines,
    TensorBoard,
}

const HEADER: &[u8] = b"step,epoch,figure,value\n";

impl MetricLog {
    /// A table with the columns `step` (counted from 1), `epoch` (from 0), `figure` and `value`: a row for each figure,
    /// since not all are found at each step. A value that is no number is `NaN`, `inf` or `-inf`.
    pub fn csv(path: impl Into<PathBuf>) -> Self {
        Self::new(Format::Csv, path.into())
    }

    /// A JSON object a line: `step` (counted from 1), `epoch` (from 0) and each figure by its name. A value that is no
    /// number is `null`.
    pub fn json_lines(path: impl Into<PathBuf>) -> Self {
        Self::new(Format::JsonLines, path.into())
    }

    /// TensorBoard's event file in this folder, with a scalar for each figure.
    pub fn tensorboard(folder: impl Into<PathBuf>) -> Self {
        Self::new(Format::TensorBoard, folder.into().join("events.out.tfevents.warpsmith"))
    }

    fn new(format: Format, path: PathBuf) -> Self {
        MetricLog { format, path, every: 1, file: None, resume_at: None }
    }

    /// Of steps, only every so many are written; evaluations all.
    pub fn every(mut self, steps: u64) -> Self {
        self.every = steps.max(1);
        self
    }

    fn io(&self, source: std::io::Error) -> Error {
        Error::Io { action: "writing", path: self.path.clone(), source }
    }

    fn open(&self, resume_at: Option<u64>) -> std::io::Result<File> {
        if let Some(folder) = self.path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().create(true).read(true).write(true).truncate(false).open(&self.path)?;
        // A file that is shorter than it was is another one.
        let keep = resume_at.filter(|&length| file.metadata().is_ok_and(|found| found.len() >= length));
        file.set_len(keep.unwrap_or(0))?;
        file.seek(SeekFrom::End(0))?;
        if keep.is_none() {
            match self.format {
                Format::Csv => file.write_all(HEADER)?,
                Format::JsonLines => {}
                Format::TensorBoard => file.write_all(&tensorboard::version())?,
            }
        }
        Ok(file)
    }

    fn write(&mut self, step: u64, epoch: u64, figures: &Figures) -> Result<()> {
        let bytes = match self.format {
            Format::Csv => csv(step, epoch, figures).into_bytes(),
            Format::JsonLines => json(step, epoch, figures).into_bytes(),
            Format::TensorBoard => tensorboard::scalars(step, figures),
        };
        let Some(file) = &mut self.file else { return Ok(()) };
        // One write, so that whoever watches the file sees whole lines.
        file.write_all(&bytes).map_err(|error| self.io(error))
    }
}

fn csv(step: u64, epoch: u64, figures: &Figures) -> String {
    let mut out = String::new();
    for (name, value) in figures.iter() {
        let quoted = name.contains([',', '"', '\n', '\r']);
        let name = if quoted { format!("\"{}\"", name.replace('"', "\"\"")) } else { name.to_owned() };
        out += &format!("{step},{epoch},{name},{value}\n");
    }
    out
}

fn json(step: u64, epoch: u64, figures: &Figures) -> String {
    let mut out = format!("{{\"step\":{step},\"epoch\":{epoch}");
    for (name, value) in figures.iter() {
        let name = serde_json::Value::from(name);
        let value = if value.is_finite() { value.to_string() } else { "null".into() };
        out += &format!(",{name}:{value}");
    }
    out + "}\n"
}

impl Callback for MetricLog {
    fn run_start(&mut self, _: &mut Run<'_>) -> Result<()> {
        if self.file.is_none() {
            let resume_at = self.resume_at.take();
            self.file = Some(self.open(resume_at).map_err(|error| self.io(error))?);
        }
        Ok(())
    }

    fn step_read(&mut self, _: &mut Run<'_>, step: &Step) -> Result<()> {
        if !step.number.is_multiple_of(self.every) {
            return Ok(());
        }
        let mut figures = Figures::from([("loss", step.loss), ("learning rate", step.lr)]);
        if let Some(norm) = step.norm {
            figures.insert("gradient norm", norm);
        }
        figures.extend(step.figures.clone());
        self.write(step.number, step.epoch, &figures)
    }

    fn evaluated(&mut self, run: &mut Run<'_>, figures: &Figures) -> Result<()> {
        self.write(run.place().step, run.place().epoch, figures)
    }

    fn key(&self) -> Option<&str> {
        Some(match self.format {
            Format::Csv => "csv",
            Format::JsonLines => "json_lines",
            Format::TensorBoard => "tensorboard",
        })
    }

    /// How long the file is, once that is on disk.
    fn state(&mut self) -> Result<StateDict> {
        let mut out = StateDict::new();
        if let Some(file) = &mut self.file {
            let length = file.sync_data().and_then(|()| file.stream_position()).map_err(|error| self.io(error))?;
            out.insert_numbers("length", &[length as f64])?;
        }
        Ok(out)
    }

    fn load_state(&mut self, state: &StateDict) -> Result<()> {
        let length = state.expect("length")?;
        self.resume_at = match length.dtype() {
            DType::F64 => length.to_vec::<f64>()?.first().map(|&length| length as u64),
            _ => None,
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_are_escaped() {
        let figures = Figures::from([("a", 0.1), ("b, \"c\"", f64::NAN), ("d", f64::NEG_INFINITY), ("e", 1e-20)]);
        assert_eq!(
            csv(3, 1, &figures),
            "3,1,a,0.1\n3,1,\"b, \"\"c\"\"\",NaN\n3,1,d,-inf\n3,1,e,0.00000000000000000001\n"
        );
        let line = json(3, 1, &figures);
        let found: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(found["a"], 0.1);
        assert_eq!(found["e"], 1e-20);
        assert!(found["b, \"c\""].is_null() && found["d"].is_null() && found["step"] == 3 && found["epoch"] == 1);
        assert!(line.ends_with("}\n") && line.lines().count() == 1);
    }
}
