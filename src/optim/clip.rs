//! Gradient clipping (Pascanu et al. 2013).

use crate::autograd::{Gradient, RowSparse};
use crate::kernels::optimizer;
use crate::nn::Param;
use crate::{DType, Error, Gradients, Result, Shape, Tensor};

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
    /// The bound of the norm, if there is one, and that of each number.
    pub(super) fn bounds(self) -> Result<(Option<f64>, f64)> {
        match self {
            Clip::None => Ok((None, f64::INFINITY)),
            Clip::Norm(max) => positive(max).map(|()| (Some(max), f64::INFINITY)),
            Clip::Value(max) => positive(max).map(|()| (None, max)),
        }
    }
}

fn positive(max: f64) -> Result<()> {
    if max > 0.0 { Ok(()) } else { Err(Error::argument("clip", format!("the bound must be positive, got {max}"))) }
}

fn of<'a>(gradients: &'a Gradients, params: &'a [(String, Param)]) -> impl Iterator<Item = (&'a Param, &'a Gradient)> {
    params.iter().filter_map(|(_, p)| Some((p, gradients.get_sparse(p)?)))
}

/// The 2-norm of the gradients of these parameters together: one number on their device, f32 (f64 beside f64
/// gradients). Reading it with [`item`](Tensor::item) waits for the device.
pub fn grad_norm(gradients: &Gradients, params: &[(String, Param)]) -> Result<Tensor> {
    let values = of(gradients, params).map(|(_, g)| match g {
        Gradient::Dense(g) => g,
        Gradient::Rows(r) => &r.rows,
    });
    norm_of(&values.cloned().collect::<Vec<_>>())
}

/// The 2-norm of tensors of one device together: finite where all their numbers are.
pub(crate) fn norm_of(tensors: &[Tensor]) -> Result<Tensor> {
    let guards: Vec<_> = tensors.iter().map(|t| t.read()).collect();
    let views = guards.iter().map(|g| g.view()).collect::<Result<Vec<_>>>()?;
    Tensor::from_buffer(optimizer::norm(&views)?, Shape::scalar())
}

/// Scales the gradients of these parameters so that their norm is at most `max`, by PyTorch's factor min(1, max/(norm +
/// 1e-6)); returns the norm they had, without waiting for the device. Where an optimizer's step follows,
/// [`step_clipped`](super::Optimizer::step_clipped) does the same without rewriting them.
pub fn clip_grad_norm(gradients: &mut Gradients, params: &[(String, Param)], max: f64) -> Result<Tensor> {
    positive(max)?;
    let norm = grad_norm(gradients, params)?;
    let factor = norm.affine(1.0, 1e-6)?.recip()?.affine(max, 0.0)?.clamp(f64::NEG_INFINITY, 1.0)?;
    // Each dtype's own, so that products keep the gradients' dtypes.
    let mut factors: Vec<(DType, Tensor)> = vec![];
    for (_, g) in of(gradients, params) {
        if !factors.iter().any(|(dtype, _)| *dtype == g.dtype()) {
            factors.push((g.dtype(), factor.to_dtype(g.dtype())?));
        }
    }
    rewrite(gradients, params, |t| {
        let found = factors.iter().find(|(dtype, _)| *dtype == t.dtype());
        let Some((_, factor)) = found else { unreachable!("every gradient's dtype has its factor") };
        t * factor
    })?;
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
