//! The definitions of layers, in plain loops over the values of a store.

use super::*;

/// `vectors` of [`FeatureEmbedding`]: row, field, element.
pub fn vectors(v: &Values, at: &str, width: usize) -> Array {
    Array::from_fn(&[ROWS, FIELDS, width], |i| {
        let &[row, field, k] = i else { unreachable!() };
        match field {
            0..3 => {
                let begin: usize = SIZES[..field].iter().sum();
                v.at(&format!("{at}.ids.weight"), &[begin + IDS[row][field], k])
            }
            _ => v.at("numbers", &[row, field - 3]) * v.at(&format!("{at}.numbers"), &[field - 3, k]),
        }
    })
}

pub fn linear_term(v: &Values, at: &str) -> Array {
    let weights = vectors(v, &format!("{at}.weights"), 1);
    Array::from_fn(&[ROWS], |i| {
        v.at(&format!("{at}.bias"), &[0]) + (0..FIELDS).map(|f| weights.at(&[i[0], f, 0])).sum::<f64>()
    })
}

/// Σ over pairs, element by element.
pub fn pair_products(x: &Array) -> Array {
    let [rows, fields, width] = x.dims[..] else { unreachable!() };
    Array::from_fn(&[rows, width], |i| {
        let mut sum = 0.0;
        for a in 0..fields {
            for b in a + 1..fields {
                sum += x.at(&[i[0], a, i[1]]) * x.at(&[i[0], b, i[1]]);
            }
        }
        sum
    })
}

pub fn sum_last(x: &Array) -> Array {
    let width = x.dims[x.dims.len() - 1];
    Array::new(&x.dims[..x.dims.len() - 1], x.data.chunks(width).map(|c| c.iter().sum()).collect())
}

pub fn field_aware(v: &Values, at: &str, width: usize) -> Array {
    let all = vectors(v, at, FIELDS * width);
    let pairs: Vec<(usize, usize)> = (0..FIELDS).flat_map(|a| (a + 1..FIELDS).map(move |b| (a, b))).collect();
    Array::from_fn(&[ROWS, pairs.len(), width], |i| {
        let (a, b) = pairs[i[1]];
        all.at(&[i[0], a, b * width + i[2]]) * all.at(&[i[0], b, a * width + i[2]])
    })
}

pub fn linear(v: &Values, at: &str, x: &Array, bias: bool) -> Array {
    let weight = v.of(&format!("{at}.weight"));
    Array::from_fn(&[x.dims[0], weight.dims[0]], |i| {
        let sum: f64 = (0..weight.dims[1]).map(|k| x.at(&[i[0], k]) * weight.at(&[i[1], k])).sum();
        sum + if bias { v.at(&format!("{at}.bias"), &[i[1]]) } else { 0.0 }
    })
}

pub fn mlp(v: &Values, at: &str, x: &Array, layers: usize) -> Array {
    (0..layers).fold(x.clone(), |x, n| linear(v, &format!("{at}.{n}"), &x, true).map(|y| y.max(0.0)))
}

pub fn column(x: Array) -> Array {
    assert_eq!(x.dims[1], 1);
    Array::new(&x.dims[..1], x.data)
}

pub fn deep_logit(v: &Values, at: &str, x: &Array, layers: usize) -> Array {
    column(linear(v, &format!("{at}.head"), &mlp(v, &format!("{at}.layers"), x, layers), true))
}

pub fn cross(v: &Values, at: &str, first: &Array, layers: usize, kind: CrossKind) -> Array {
    let [rows, width] = first.dims[..] else { unreachable!() };
    (0..layers).fold(first.clone(), |x, layer| {
        let at = format!("{at}.{layer}");
        let name = |suffix: &str| format!("{at}.{suffix}");
        Array::from_fn(&[rows, width], |i| {
            let &[row, d] = i else { unreachable!() };
            let dot = |weight: &dyn Fn(usize) -> f64| -> f64 { (0..width).map(|k| x.at(&[row, k]) * weight(k)).sum() };
            let new = match kind {
                CrossKind::Vector => {
                    let scale = dot(&|k| v.at(&name("weight"), &[k]));
                    first.at(&[row, d]) * scale + v.at(&name("bias"), &[d])
                }
                CrossKind::Matrix => {
                    let sum = dot(&|k| v.at(&name("weight"), &[d, k])) + v.at(&name("bias"), &[d]);
                    first.at(&[row, d]) * sum
                }
                CrossKind::Mixture { rank, experts } => {
                    let gate = |e| dot(&|k| v.at(&name("gate.weight"), &[e, k])) + v.at(&name("gate.bias"), &[e]);
                    let total: f64 = (0..experts).map(|e| gate(e).exp()).sum();
                    let expert = |e: usize| -> f64 {
                        let low = |r| dot(&|k| v.at(&name("down.weight"), &[e * rank + r, k])).tanh();
                        let core = |r| -> f64 {
                            (0..rank).map(|s| low(s) * v.at(&name("core"), &[e, s, r])).sum::<f64>().tanh()
                        };
                        let up = |r| core(r) * v.at(&name("up.weight"), &[d, e * rank + r]);
                        first.at(&[row, d]) * ((0..rank).map(up).sum::<f64>() + v.at(&name("up.bias"), &[d]))
                    };
                    (0..experts).map(|e| gate(e).exp() / total * expert(e)).sum()
                }
            };
            new + x.at(&[row, d])
        })
    })
}

pub fn interaction(v: &Values, at: &str, x: &Array, layers: &[usize]) -> Array {
    let [rows, fields, width] = x.dims[..] else { unreachable!() };
    let (mut maps, mut out) = (x.clone(), vec![vec![]; rows]);
    for (number, &count) in layers.iter().enumerate() {
        let weight = v.of(&format!("{at}.{number}.weight"));
        let before = maps.dims[1];
        maps = Array::from_fn(&[rows, count, width], |i| {
            let &[row, h, k] = i else { unreachable!() };
            let mut sum = 0.0;
            for a in 0..before {
                for b in 0..fields {
                    sum += weight.at(&[h, a * fields + b]) * maps.at(&[row, a, k]) * x.at(&[row, b, k]);
                }
            }
            sum
        });
        for (row, out) in out.iter_mut().enumerate() {
            out.extend((0..count).map(|h| (0..width).map(|k| maps.at(&[row, h, k])).sum::<f64>()));
        }
    }
    Array::new(&[rows, layers.iter().sum()], out.concat())
}

pub fn flat(x: &Array) -> Array {
    Array::new(&[x.dims[0], x.dims[1..].iter().product()], x.data.clone())
}

/// Embeddings of the categorical fields side by side, then the numbers.
pub fn concatenated(v: &Values, at: &str, width: usize) -> Array {
    Array::from_fn(&[ROWS, 3 * width + 2], |i| match i[1] / width {
        field @ 0..3 => {
            let begin: usize = SIZES[..field].iter().sum();
            v.at(&format!("{at}.weight"), &[begin + IDS[i[0]][field], i[1] % width])
        }
        _ => v.at("numbers", &[i[0], i[1] - 3 * width]),
    })
}

pub fn add(a: &Array, b: &Array) -> Array {
    assert_eq!(a.dims, b.dims);
    Array::new(&a.dims, a.data.iter().zip(&b.data).map(|(a, b)| a + b).collect())
}

pub fn side_by_side(a: &Array, b: &Array) -> Array {
    let (n, m) = (a.dims[1], b.dims[1]);
    Array::from_fn(&[a.dims[0], n + m], |i| if i[1] < n { a.at(i) } else { b.at(&[i[0], i[1] - n]) })
}
