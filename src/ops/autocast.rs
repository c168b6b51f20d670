//! Which operations run in which dtype inside [`autocast`](crate::autocast): the one table of it.
//!
//! An operation asks `cast` first, with its name and inputs, and where these change starts again with the new ones;
//! so their casts are recorded, and gradients come back in the inputs' own dtypes.

use crate::autograd::{autocast_dtype, cast_leaf};
use crate::{DType, Result, Tensor};

/// What an operation does with inputs of f32, f16 and bf16; f64 and integers stay as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// All go to the scope's dtype: where operands are many and products cost the most.
    Low,
    /// All go to f32: sums and functions that lose too much otherwise.
    Wide,
    /// All go to the widest among them (f32 for f16 beside bf16).
    Promote,
}

/// The operations that choose, as PyTorch's `autocast` has them for CUDA. What is not named here takes its inputs as
/// they are: activations, views, dropout, pools. Batch norm does, too, as in PyTorch: it computes in f32 whatever its
/// input is, takes weights and statistics of f32 beside it, and its result is an activation that would only take more
/// memory in f32.
pub const TABLE: &[(&str, Policy)] = &[
    ("matmul", Policy::Low),
    ("linear", Policy::Low),
    ("conv1d", Policy::Low),
    ("conv2d", Policy::Low),
    ("conv_transpose2d", Policy::Low),
    ("scaled_dot_product_attention", Policy::Low),
    ("softmax", Policy::Wide),
    ("log_softmax", Policy::Wide),
    ("layer_norm", Policy::Wide),
    ("rms_norm", Policy::Wide),
    ("group_norm", Policy::Wide),
    ("sum", Policy::Wide),
    ("mean", Policy::Wide),
    ("prod", Policy::Wide),
    ("var", Policy::Wide),
    ("std", Policy::Wide),
    ("norm1", Policy::Wide),
    ("norm2", Policy::Wide),
    ("logsumexp", Policy::Wide),
    ("cumsum", Policy::Wide),
    ("cumprod", Policy::Wide),
    ("cross_entropy", Policy::Wide),
    ("nll_loss", Policy::Wide),
    ("mse_loss", Policy::Wide),
    ("l1_loss", Policy::Wide),
    ("huber_loss", Policy::Wide),
    ("smooth_l1_loss", Policy::Wide),
    ("bce_with_logits", Policy::Wide),
    ("bce_loss", Policy::Wide),
    ("kl_div", Policy::Wide),
    ("exp", Policy::Wide),
    ("exp2", Policy::Wide),
    ("expm1", Policy::Wide),
    ("log", Policy::Wide),
    ("log2", Policy::Wide),
    ("log1p", Policy::Wide),
    ("rsqrt", Policy::Wide),
    ("recip", Policy::Wide),
    ("tan", Policy::Wide),
    ("softplus", Policy::Wide),
    ("powf", Policy::Wide),
    ("pow", Policy::Wide),
    ("add", Policy::Promote),
    ("sub", Policy::Promote),
    ("mul", Policy::Promote),
    ("div", Policy::Promote),
    ("maximum", Policy::Promote),
    ("minimum", Policy::Promote),
    ("lerp", Policy::Promote),
    ("mul_add", Policy::Promote),
    ("add_relu", Policy::Promote),
    ("compare", Policy::Promote),
    ("where", Policy::Promote),
    ("cat", Policy::Promote),
    ("index_add", Policy::Promote),
    ("scatter_add", Policy::Promote),
    ("batch_norm", Policy::Promote),
];

/// An operation's inputs as the table wants them: those that are always there and those that may be. `None` where
/// nothing changes.
#[expect(clippy::type_complexity, reason = "the inputs' own arrangement")]
pub(super) fn cast<const N: usize, const M: usize>(
    op: &str,
    inputs: [&Tensor; N],
    optional: [Option<&Tensor>; M],
) -> Result<Option<([Tensor; N], [Option<Tensor>; M])>> {
    let Some(low) = autocast_dtype() else { return Ok(None) };
    let Some(to) = target(op, low, inputs.into_iter().chain(optional.into_iter().flatten())) else { return Ok(None) };
    let mut all = inputs.map(Tensor::clone);
    for t in &mut all {
        *t = changed(t, to)?;
    }
    let mut others = optional.map(|t| t.cloned());
    for t in others.iter_mut().flatten() {
        *t = changed(t, to)?;
    }
    Ok(Some((all, others)))
}

/// The same for any number of inputs.
pub(super) fn cast_all(op: &str, inputs: &[&Tensor]) -> Result<Option<Vec<Tensor>>> {
    let Some(low) = autocast_dtype() else { return Ok(None) };
    let Some(to) = target(op, low, inputs.iter().copied()) else { return Ok(None) };
    inputs.iter().map(|&t| changed(t, to)).collect::<Result<_>>().map(Some)
}

fn changed(t: &Tensor, to: DType) -> Result<Tensor> {
    if takes_part(t) { cast_leaf(t, to) } else { Ok(t.clone()) }
}

/// The dtype that all go to; `None` where they have it.
fn target<'a>(op: &str, low: DType, inputs: impl Iterator<Item = &'a Tensor>) -> Option<DType> {
    let (_, policy) = TABLE.iter().find(|(name, _)| *name == op)?;
    let dtypes: Vec<DType> = inputs.filter(|t| takes_part(t)).map(Tensor::dtype).collect();
    let to = match policy {
        Policy::Low => low,
        Policy::Wide => DType::F32,
        Policy::Promote if dtypes.windows(2).all(|pair| pair[0] == pair[1]) => return None,
        Policy::Promote => DType::F32,
    };
    dtypes.iter().any(|&dtype| dtype != to).then_some(to)
}

fn takes_part(t: &Tensor) -> bool {
    matches!(t.dtype(), DType::F32 | DType::F16 | DType::BF16)
}
