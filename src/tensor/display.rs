//! Printing as PyTorch does: aligned columns, 4 digits, scientific notation where magnitudes differ much, and the edges
//! only of tensors beyond 1000 elements.

use crate::autograd::no_grad;
use crate::{DType, Result, Tensor};
use std::fmt::{Display, Formatter};

/// Elements from which on only the edges are shown.
const SUMMARIZED: usize = 1000;
/// Elements shown at each end of a summarised axis.
const EDGE: usize = 3;
/// Columns of a line.
const WIDTH: usize = 80;

impl Display for Tensor {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match no_grad(|| Printout::new(&self.detach())) {
            Ok(printout) => write!(f, "tensor({}", printout.text())?,
            Err(error) => write!(f, "tensor(unreadable: {error}")?,
        }
        if self.numel() == 0 && self.rank() > 1 {
            write!(f, ", shape={}", self.shape())?;
        }
        if !matches!(self.dtype(), DType::F32 | DType::I64) {
            write!(f, ", dtype={}", self.dtype())?;
        }
        if !self.device().is_cpu() {
            write!(f, ", device={}", self.device())?;
        }
        if self.requires_grad() {
            f.write_str(", requires_grad")?;
        }
        f.write_str(")")
    }
}

/// The elements to show, each already as text of one width.
struct Printout {
    dims: Vec<usize>,
    /// Axes of which only the edges are left.
    cut: Vec<bool>,
    cells: Vec<String>,
}

impl Printout {
    fn new(x: &Tensor) -> Result<Self> {
        let summarize = x.numel() > SUMMARIZED;
        let cut: Vec<bool> = x.dims().iter().map(|&d| summarize && d > 2 * EDGE).collect();
        let mut shown = x.clone();
        for (axis, _) in cut.iter().enumerate().filter(|&(_, &c)| c) {
            let (axis, last) = (axis as isize, x.dims()[axis]);
            shown = Tensor::cat(&[shown.narrow(axis, 0, EDGE)?, shown.narrow(axis, last - EDGE, EDGE)?], axis)?;
        }
        let cells = match x.dtype() {
            DType::I64 => shown.to_vec::<i64>()?.iter().map(i64::to_string).collect(),
            DType::U32 => shown.to_vec::<u32>()?.iter().map(u32::to_string).collect(),
            DType::U8 => shown.to_vec::<u8>()?.iter().map(u8::to_string).collect(),
            _ => float_cells(&shown.to_f64_vec()?),
        };
        let width = cells.iter().map(|c: &String| c.len()).max().unwrap_or(0);
        let cells = cells.into_iter().map(|c| format!("{c:>width$}")).collect();
        Ok(Printout { dims: shown.dims().to_vec(), cut, cells })
    }

    fn text(&self) -> String {
        match (self.dims.len(), self.cells.len()) {
            (_, 0) => "[]".into(),
            (0, _) => self.cells[0].trim_start().into(),
            _ => {
                let mut out = String::new();
                self.axis(0, 0, "tensor(".len(), &mut out);
                out
            }
        }
    }

    /// Appends what lies along `axis` from cell `first` on; `indent` columns are taken already.
    fn axis(&self, axis: usize, first: usize, indent: usize, out: &mut String) {
        let n = self.dims[axis];
        out.push('[');
        if axis + 1 == self.dims.len() {
            let width = self.cells[0].len() + 2;
            let per_line = (WIDTH.saturating_sub(indent) / width).max(1);
            let mut items: Vec<&str> = self.cells[first..first + n].iter().map(String::as_str).collect();
            if self.cut[axis] {
                items.insert(EDGE, "...");
            }
            let lines: Vec<String> = items.chunks(per_line).map(|line| line.join(", ")).collect();
            out.push_str(&lines.join(&format!(",\n{}", " ".repeat(indent + 1))));
        } else {
            let stride: usize = self.dims[axis + 1..].iter().product();
            let gap = format!(",{}{}", "\n".repeat(self.dims.len() - axis - 1), " ".repeat(indent + 1));
            for i in 0..n {
                if i > 0 {
                    out.push_str(&gap);
                }
                if i == EDGE && self.cut[axis] {
                    out.push_str("...");
                    out.push_str(&gap);
                }
                self.axis(axis + 1, first + i * stride, indent + 1, out);
            }
        }
        out.push(']');
    }
}

/// Whole numbers with a point only, others with four digits; scientific where one of the usual forms would hide digits.
fn float_cells(values: &[f64]) -> Vec<String> {
    let finite = || values.iter().copied().filter(|v| v.is_finite() && *v != 0.0).map(f64::abs);
    let (largest, smallest) = (finite().fold(0.0, f64::max), finite().fold(f64::INFINITY, f64::min));
    let whole = values.iter().all(|v| !v.is_finite() || v.fract() == 0.0);
    let spread = largest > 1e8 || (largest > 0.0 && largest / smallest > 1000.0);
    let scientific = spread || (!whole && smallest < 1e-4);
    values.iter().map(|&v| float_cell(v, scientific, whole)).collect()
}

fn float_cell(v: f64, scientific: bool, whole: bool) -> String {
    if v.is_nan() {
        "nan".into()
    } else if v.is_infinite() {
        if v > 0.0 { "inf".into() } else { "-inf".into() }
    } else if scientific {
        // Rust writes 1.5e-7 where C writes 1.5e-07.
        let text = format!("{v:.4e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        let (sign, exponent) = exponent.strip_prefix('-').map_or(('+', exponent), |e| ('-', e));
        format!("{digits}e{sign}{exponent:0>2}")
    } else if whole {
        format!("{v:.0}.")
    } else {
        format!("{v:.4}")
    }
}
