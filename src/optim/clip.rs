//! Gradient clipping (Pascanu et al. 2013).

use crate::autograd::{Gradient, RowSparse};
use crate::kernels::optimizer;
use crate::nn::Param;
use crate::{Error, Gradients, Result};

/// How a step clips gradients.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Clip {
    /// Not at all.
    None,
    /// Scaled so that the norm of all gradients together is at most this.
    Norm(f64),
    /// Each number bounded to ± this.
    Value(f64),
}

impl Clip {
    pub(super) fn factors(self, norm: f64) -> Result<optimizer::Clip> {
        match self {
            Clip::None => Ok(optimizer::Clip::NONE),
            Clip::Norm(max) => Ok(optimizer::Clip { scale: scale(norm, max)?, bound: f64::INFINITY }),
            Clip::Value(max) => {
                positive(max)?;
                Ok(optimizer::Clip { scale: 1.0, bound: max })
            }
        }
    }
}

fn positive(max: f64) -> Result<()> {
    if max > 0.0 { Ok(()) } else { Err(Error::argument("clip", format!("the bound must be positive, got {max}"))) }
}

/// PyTorch's factor: at most 1, with 1e-6 beside the norm.
fn scale(norm: f64, max: f64) -> Result<f64> {
    positive(max)?;
    Ok((max / (norm + 1e-6)).min(1.0))
}

pub(super) fn total_norm<'a>(gradients: impl Iterator<Item = &'a Gradient>) -> Result<f64> {
    let values: Vec<_> = gradients
        .map(|g| match g {
            Gradient::Dense(g) => g,
            Gradient::Rows(r) => &r.rows,
        })
        .collect();
    let guards: Vec<_> = values.iter().map(|t| t.read()).collect();
    let views = guards.iter().map(|g| g.view()).collect::<Result<Vec<_>>>()?;
    Ok(optimizer::sum_of_squares(&views)?.sqrt())
}

fn of<'a>(gradients: &'a Gradients, params: &'a [(String, Param)]) -> impl Iterator<Item = (&'a Param, &'a Gradient)> {
    params.iter().filter_map(|(_, p)| Some((p, gradients.get_sparse(p)?)))
}

/// The 2-norm of the gradients of these parameters together.
pub fn grad_norm(gradients: &Gradients, params: &[(String, Param)]) -> Result<f64> {
    total_norm(of(gradients, params).map(|(_, g)| g))
}

/// Scales the gradients of these parameters so that their norm is at most `max`; returns the norm they had. Where an
/// optimizer's step follows, [`step_clipped`](super::Optimizer::step_clipped) does the same without rewriting them.
pub fn clip_grad_norm(gradients: &mut Gradients, params: &[(String, Param)], max: f64) -> Result<f64> {
    let norm = grad_norm(gradients, params)?;
    let scale = scale(norm, max)?;
    if scale < 1.0 {
        rewrite(gradients, params, |t| t.affine(scale, 0.0))?;
    }
    Ok(norm)
}

/// Bounds every number of the gradients of these parameters to ± `max`.
pub fn clip_grad_value(gradients: &mut Gradients, params: &[(String, Param)], max: f64) -> Result<()> {
    positive(max)?;
    rewrite(gradients, params, |t| t.clamp(-max, max))
}

fn rewrite(
    gradients: &mut Gradients,
    params: &[(String, Param)],
    f: impl Fn(&crate::Tensor) -> Result<crate::Tensor>,
) -> Result<()> {
    let changed = of(gradients, params)
        .map(|(p, g)| {
            let g = match g {
                Gradient::Dense(g) => Gradient::Dense(f(&g.detach())?),
                Gradient::Rows(r) => {
                    Gradient::Rows(Box::new(RowSparse { rows: f(&r.rows.detach())?, ..(**r).clone() }))
                }
            };
            Ok((p.clone(), g))
        })
        .collect::<Result<Vec<_>>>()?;
    changed.into_iter().try_for_each(|(p, g)| gradients.set(&p, g))
}
