//! Transformers in plain f64 loops, from the papers: one sequence at a time, a sequence being rows of features.

use crate::support::Array;
use warpsmith::nn::Params;

pub type Sequence = Vec<Vec<f64>>;

/// The value of an entry.
pub fn get(p: &Params, name: &str) -> Array {
    let param = p.get(name).unwrap_or_else(|| panic!("no entry {name}"));
    Array::new(param.dims(), param.to_f64_vec().unwrap())
}

/// x Wᵀ + b of each row, the layer lying at `name`.
pub fn linear(p: &Params, name: &str, x: &Sequence) -> Sequence {
    let (w, b) = (get(p, &format!("{name}.weight")), get(p, &format!("{name}.bias")));
    let dot = |row: &[f64], r: usize| row.iter().enumerate().map(|(k, v)| v * w.at(&[r, k])).sum::<f64>();
    x.iter().map(|row| (0..w.dims[0]).map(|r| b.at(&[r]) + dot(row, r)).collect()).collect()
}

pub fn layer_norm(p: &Params, name: &str, x: &Sequence, eps: f64) -> Sequence {
    let (w, b) = (get(p, &format!("{name}.weight")), get(p, &format!("{name}.bias")));
    let of_row = |row: &Vec<f64>| {
        let n = row.len() as f64;
        let mean = row.iter().sum::<f64>() / n;
        let var = row.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
        (0..row.len()).map(|i| (row[i] - mean) / (var + eps).sqrt() * w.at(&[i]) + b.at(&[i])).collect()
    };
    x.iter().map(of_row).collect()
}

pub fn plus(a: &Sequence, b: &Sequence) -> Sequence {
    a.iter().zip(b).map(|(x, y)| x.iter().zip(y).map(|(x, y)| x + y).collect()).collect()
}

pub fn map(x: &Sequence, f: impl Fn(f64) -> f64) -> Sequence {
    x.iter().map(|row| row.iter().map(|&v| f(v)).collect()).collect()
}

/// x Φ(x), with the series of the error function whose terms are all of one sign (Abramowitz and Stegun 7.1.6).
pub fn gelu(x: f64) -> f64 {
    let z = x / 2f64.sqrt();
    let (mut term, mut sum, mut n) = (z, z, 0.0);
    while term.abs() > 1e-18 * sum.abs() {
        n += 1.0;
        term *= 2.0 * z * z / (2.0 * n + 1.0);
        sum += term;
    }
    let erf = 2.0 / std::f64::consts::PI.sqrt() * (-z * z).exp() * sum;
    0.5 * x * (1.0 + erf)
}

/// The tanh approximation of GELU (Hendrycks and Gimpel 2016).
pub fn gelu_tanh(x: f64) -> f64 {
    0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh())
}

/// Attention by heads of projected queries to projected keys and values; `seen(query, key)`.
pub fn attention(
    q: &Sequence,
    k: &Sequence,
    v: &Sequence,
    heads: usize,
    seen: &dyn Fn(usize, usize) -> bool,
) -> Sequence {
    let width = q[0].len();
    let d = width / heads;
    let of_query = |(i, q): (usize, &Vec<f64>)| {
        let mut row = vec![0.0; width];
        for h in 0..heads {
            let part = h * d..(h + 1) * d;
            let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(x, y)| x * y).sum::<f64>();
            let score = |j: usize| dot(&q[part.clone()], &k[j][part.clone()]) / (d as f64).sqrt();
            let weight: Vec<f64> = (0..k.len()).map(|j| if seen(i, j) { score(j).exp() } else { 0.0 }).collect();
            let total: f64 = weight.iter().sum();
            for t in part.clone() {
                row[t] = (0..k.len()).map(|j| weight[j] / total * v[j][t]).sum();
            }
        }
        row
    };
    q.iter().enumerate().map(of_query).collect()
}

/// Where the parts of an encoder layer lie: projections of queries, keys, values and the result, first norm, inner and outer
/// linear layer, second norm.
pub type LayerParts = [&'static str; 8];

/// A post-norm encoder layer with GELU (Vaswani et al. 2017, Devlin et al. 2019).
pub fn encoder_layer(
    p: &Params,
    parts: &LayerParts,
    x: &Sequence,
    heads: usize,
    eps: f64,
    seen: &dyn Fn(usize, usize) -> bool,
) -> Sequence {
    let [q, k, v, out, norm1, inner, outer, norm2] = parts;
    let y = attention(&linear(p, q, x), &linear(p, k, x), &linear(p, v, x), heads, seen);
    let x = layer_norm(p, norm1, &plus(x, &linear(p, out, &y)), eps);
    let y = linear(p, outer, &map(&linear(p, inner, &x), gelu));
    layer_norm(p, norm2, &plus(&x, &y), eps)
}
