//! Models whose logit is a sum of a wide part, products and a deep part.

use super::{CtrModel, DeepConfig, DeepLogit, concatenated, concatenated_width};
use crate::nn::{
    CompressedInteraction, CrossedFields, Ctx, FactorizationMachine, FeatureEmbedding, FieldAwareProducts,
    FieldEmbedding, FieldInput, Fields, Linear, LinearTerm, Module, Params,
};
use crate::{Result, Tensor};

/// Wide & Deep (Cheng et al. 2016): weights of features and of pairs of categorical fields, which remember; and a deep
/// part on embeddings, which generalises. The paper trains the wide part by FTRL with L1 and the deep part by AdaGrad:
///
/// ```
/// use warpsmith::models::recsys::{DeepConfig, WideAndDeep};
/// use warpsmith::nn::{Fields, Params};
/// use warpsmith::optim::{AdaGrad, AdaGradConfig, Ftrl, FtrlConfig, Joined};
/// use warpsmith::{DType, Device};
///
/// let params = Params::new(&Device::Cpu, DType::F32, 1);
/// let model = WideAndDeep::new(&params, &Fields::categorical(&[7, 5]), &[[0, 1]], &DeepConfig::default())?;
/// let wide = Ftrl::new(params.sub("wide").trainable(), FtrlConfig { l1: 1e-4, ..FtrlConfig::new(0.05) })?;
/// let deep = AdaGrad::new(params.sub("deep").trainable(), AdaGradConfig::new(0.01))?;
/// let optimizer = Joined::new(vec![("wide", Box::new(wide)), ("deep", Box::new(deep))])?;
/// # drop((model, optimizer));
/// # Ok::<(), warpsmith::Error>(())
/// ```
pub struct WideAndDeep {
    crosses: CrossedFields,
    wide: LinearTerm,
    embedding: FieldEmbedding,
    deep: DeepLogit,
    fields: Fields,
}

impl WideAndDeep {
    /// `wide` (of the fields and of `crosses`, pairs of numbers of categorical fields), `deep.embedding`, `deep.layers`
    /// and `deep.head`.
    pub fn new(params: &Params, fields: &Fields, crosses: &[[usize; 2]], config: &DeepConfig) -> Result<Self> {
        let crosses = CrossedFields::new(params, fields, crosses)?;
        let deep = params.sub("deep");
        Ok(WideAndDeep {
            wide: LinearTerm::new(&params.sub("wide"), &crosses.fields())?,
            embedding: FieldEmbedding::new(&deep.sub("embedding"), &fields.sizes, config.width, config.init())?,
            deep: DeepLogit::new(&deep, concatenated_width(fields, config.width), config)?,
            crosses,
            fields: fields.clone(),
        })
    }
}

impl CtrModel for WideAndDeep {
    fn forward(&self, x: &FieldInput, ctx: &mut Ctx) -> Result<Tensor> {
        let wide = self.wide.forward(&self.crosses.forward(x)?)?;
        let deep = concatenated(&self.embedding.forward(&x.ids)?, &self.fields, x)?;
        wide.add(&self.deep.forward(&deep, ctx)?)
    }
}

/// DeepFM (Guo et al. 2017): a factorisation machine and a deep part on the same vectors.
pub struct DeepFm {
    linear: LinearTerm,
    vectors: FeatureEmbedding,
    deep: DeepLogit,
}

impl DeepFm {
    /// `linear`, `vectors` and `deep`.
    pub fn new(params: &Params, fields: &Fields, config: &DeepConfig) -> Result<Self> {
        Ok(DeepFm {
            linear: LinearTerm::new(&params.sub("linear"), fields)?,
            vectors: FeatureEmbedding::new(&params.sub("vectors"), fields, config.width, config.init())?,
            deep: DeepLogit::new(&params.sub("deep"), fields.count() * config.width, config)?,
        })
    }
}

impl CtrModel for DeepFm {
    fn forward(&self, x: &FieldInput, ctx: &mut Ctx) -> Result<Tensor> {
        let vectors = self.vectors.forward(x)?;
        let shallow = self.linear.forward(x)?.add(&FactorizationMachine.forward(&vectors, ctx)?)?;
        shallow.add(&self.deep.forward(&vectors.flatten(1, -1)?, ctx)?)
    }
}

/// DeepFFM (as in Zhang, Huang and Zhang 2019, "FAT-DeepFFM", with Hadamard products and without attention): a deep part
/// on the products of field-aware vectors, beside the weights and the products' sum.
pub struct DeepFfm {
    linear: LinearTerm,
    products: FieldAwareProducts,
    deep: DeepLogit,
}

impl DeepFfm {
    /// `linear`, `products` and `deep`, whose first layer is as wide as all pairs of fields times the vectors' width.
    pub fn new(params: &Params, fields: &Fields, config: &DeepConfig) -> Result<Self> {
        let products = FieldAwareProducts::new(&params.sub("products"), fields, config.width, config.init())?;
        Ok(DeepFfm {
            linear: LinearTerm::new(&params.sub("linear"), fields)?,
            deep: DeepLogit::new(&params.sub("deep"), products.pairs() * config.width, config)?,
            products,
        })
    }
}

impl CtrModel for DeepFfm {
    fn forward(&self, x: &FieldInput, ctx: &mut Ctx) -> Result<Tensor> {
        let products = self.products.forward(x)?.flatten(1, -1)?;
        let shallow = self.linear.forward(x)?.add(&products.sum(&[1])?)?;
        shallow.add(&self.deep.forward(&products, ctx)?)
    }
}

/// xDeepFM (Lian et al. 2018): weights, a compressed interaction network and a deep part on the same vectors.
pub struct XDeepFm {
    linear: LinearTerm,
    vectors: FeatureEmbedding,
    interaction: CompressedInteraction,
    weights: Linear,
    deep: DeepLogit,
}

impl XDeepFm {
    /// `linear`, `vectors`, `interaction` (with as many maps per layer as `maps` says), its `weights` and `deep`.
    pub fn new(params: &Params, fields: &Fields, maps: &[usize], config: &DeepConfig) -> Result<Self> {
        let interaction = CompressedInteraction::new(&params.sub("interaction"), fields.count(), maps)?;
        Ok(XDeepFm {
            linear: LinearTerm::new(&params.sub("linear"), fields)?,
            vectors: FeatureEmbedding::new(&params.sub("vectors"), fields, config.width, config.init())?,
            weights: Linear::without_bias(&params.sub("weights"), interaction.outputs(), 1)?,
            interaction,
            deep: DeepLogit::new(&params.sub("deep"), fields.count() * config.width, config)?,
        })
    }
}

impl CtrModel for XDeepFm {
    fn forward(&self, x: &FieldInput, ctx: &mut Ctx) -> Result<Tensor> {
        let vectors = self.vectors.forward(x)?;
        let maps = self.interaction.forward(&vectors, ctx)?;
        let shallow = self.linear.forward(x)?.add(&self.weights.forward(&maps, ctx)?.squeeze(-1)?)?;
        shallow.add(&self.deep.forward(&vectors.flatten(1, -1)?, ctx)?)
    }
}
