//! Cross networks: explicit products of features, one degree more with each layer.

use crate::nn::{Ctx, Init, Linear, Module, Param, Params};
use crate::{Error, Result, Tensor};

/// The form of a [`CrossNetwork`]'s layers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CrossKind {
    /// x₀ (xₗ · w) + b + xₗ (DCN, Wang et al. 2017): a vector per layer.
    Vector,
    /// x₀ ⊙ (W xₗ + b) + xₗ (DCN-v2, Wang et al. 2021, equation 1): a matrix per layer.
    Matrix,
    /// x₀ ⊙ Σ Gₑ(xₗ) (Uₑ g(Cₑ g(Vₑᵀ xₗ)) + b) + xₗ over experts e (DCN-v2, equations 3 and 4) with g = tanh and gates G
    /// that are the softmax of a linear layer.
    Mixture {
        /// The width of each expert's bottleneck.
        rank: usize,
        /// How many experts.
        experts: usize,
    },
}

#[derive(Clone, Debug)]
enum Layer {
    Vector { weight: Param, bias: Param },
    Matrix(Linear),
    Mixture(Box<Mixture>),
}

#[derive(Clone, Debug)]
struct Mixture {
    /// Vᵀ of all experts, one below the other: D to experts · rank.
    down: Linear,
    /// C: (experts, rank, rank), rows times it.
    core: Param,
    /// U of all experts, side by side, and b: experts · rank to D.
    up: Linear,
    /// D to experts.
    gate: Linear,
    experts: usize,
    rank: usize,
}

/// Layers that multiply the input x₀ with a linear function of what the layers before found: (B, D) to (B, D). After l
/// layers the result has every product of up to l + 1 features.
///
/// Beneath the layer's number: `weight` and `bias` (D) of the vector form, `weight` (D, D) and `bias` (D) of the matrix
/// form; `down.weight` (E · R, D), `core` (E, R, R), `up.weight` (D, E · R), `up.bias` (D), `gate.weight` (E, D) and
/// `gate.bias` (E) of the mixture of E experts of rank R.
#[derive(Clone, Debug)]
pub struct CrossNetwork {
    layers: Vec<Layer>,
    width: usize,
}

impl CrossNetwork {
    /// `width` is D.
    pub fn new(params: &Params, width: usize, layers: usize, kind: CrossKind) -> Result<Self> {
        if width == 0 || matches!(kind, CrossKind::Mixture { rank, experts } if rank == 0 || experts == 0) {
            let message = format!("{kind:?} of width {width}: widths, ranks and experts begin at 1");
            return Err(Error::argument("cross_network", message));
        }
        let layer = |number: usize| Layer::new(&params.sub(number), width, kind);
        Ok(CrossNetwork { layers: (0..layers).map(layer).collect::<Result<_>>()?, width })
    }
}

impl Layer {
    fn new(params: &Params, width: usize, kind: CrossKind) -> Result<Self> {
        Ok(match kind {
            CrossKind::Vector => {
                // As a linear layer's weight to one output; b begins as 0, so that the first layers change little.
                let init = Init::Normal { mean: 0.0, std: 1.0 / width as f64 };
                let weight = params.param("weight", [width], init)?;
                Layer::Vector { weight, bias: params.param("bias", [width], Init::ZEROS)? }
            }
            CrossKind::Matrix => Layer::Matrix(Self::linear(params, width, width)?),
            CrossKind::Mixture { rank, experts } => {
                let core = Init::Uniform { low: -(rank as f64).sqrt().recip(), high: (rank as f64).sqrt().recip() };
                Layer::Mixture(Box::new(Mixture {
                    down: Linear::without_bias(&params.sub("down"), width, experts * rank)?,
                    core: params.param("core", [experts, rank, rank], core)?,
                    up: Self::linear(&params.sub("up"), experts * rank, width)?,
                    gate: Linear::new(&params.sub("gate"), width, experts)?,
                    experts,
                    rank,
                }))
            }
        })
    }

    /// A linear layer whose bias begins as 0.
    fn linear(params: &Params, inputs: usize, outputs: usize) -> Result<Linear> {
        let weight = params.param("weight", [outputs, inputs], Init::XavierNormal { gain: 1.0 })?;
        Ok(Linear::from_params(weight, Some(params.param("bias", [outputs], Init::ZEROS)?)))
    }

    fn forward(&self, first: &Tensor, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        match self {
            Layer::Vector { weight, bias } => {
                let scale = x.linear(&weight.tensor().unsqueeze(0)?, None)?;
                first.mul_add(&scale, x)?.add(&bias.tensor())
            }
            Layer::Matrix(linear) => first.mul_add(&linear.forward(x, ctx)?, x),
            Layer::Mixture(mixture) => first.mul_add(&mixture.forward(x, ctx)?, x),
        }
    }
}

impl Mixture {
    /// Gates sum to 1 and multiply what goes up linearly: so one product with all U takes the gated bottlenecks, and no
    /// expert's (B, D) is ever made.
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let (rows, experts, rank) = (x.dim(0)?, self.experts, self.rank);
        let low = self.down.forward(x, ctx)?.tanh()?.reshape([rows, experts, rank])?.transpose(0, 1)?;
        let low = low.matmul(&self.core.tensor())?.tanh()?.transpose(0, 1)?;
        let gates = self.gate.forward(x, ctx)?.softmax(-1)?.unsqueeze(-1)?;
        self.up.forward(&low.mul(&gates)?.reshape([rows, experts * rank])?, ctx)
    }
}

impl Module for CrossNetwork {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        if x.rank() != 2 || x.dim(1)? != self.width {
            return Err(Error::shape("cross_network", format!("rows (B, {})", self.width), &[*x.shape()]));
        }
        self.layers.iter().try_fold(x.clone(), |y, layer| layer.forward(x, &y, ctx))
    }
}
