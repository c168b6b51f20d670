//! A classifier of images with text: ERNIE-M reads the text, a residual network sees the image.

use super::{ErnieM, ErnieMConfig, ResNet, ResNetConfig};
use crate::nn::{AttentionMask, Ctx, Dropout, Linear, Module, MultiheadAttention, Params};
use crate::{Result, Tensor};

/// The structure of an [`ErnieMResNet`].
#[derive(Clone, Debug, PartialEq)]
pub struct ErnieMResNetConfig {
    /// The text's encoder.
    pub text: ErnieMConfig,
    /// The image's encoder; its head is left out.
    pub image: ResNetConfig,
    /// Heads of the attention to the text, and to the image.
    pub heads: [usize; 2],
    /// Features between the two linear layers of the classifier.
    pub hidden: usize,
    /// Outputs.
    pub classes: usize,
    /// Probability of dropout before each of the two.
    pub dropout: f64,
}

impl ErnieMResNetConfig {
    /// ERNIE-M base and ResNet-101, 1024 hidden features, heads of 64 features.
    pub fn full(classes: usize) -> Result<Self> {
        Ok(ErnieMResNetConfig {
            text: ErnieMConfig::named("base")?,
            image: ResNetConfig::imagenet(101, 3, 1000)?,
            heads: [12, 32],
            hidden: 1024,
            classes,
            dropout: 0.1,
        })
    }
}

/// Text and image to logits.
///
/// Each encoder gives the states of its places (tokens; cells of the last feature map) and one pooled state (ERNIE-M's
/// pooler; the mean over the map). The pooled state asks its own places once more through a multi-head attention,
/// `attention_text` or `attention_image`. Pooled and attended states of both, one behind the other, go through
/// `classifier1`, a relu and `classifier2`: 2 · 768 + 2 · 2048 = 5632 features at full size.
pub struct ErnieMResNet {
    text: ErnieM,
    image: ResNet,
    attention_text: MultiheadAttention,
    attention_image: MultiheadAttention,
    classifier1: Linear,
    classifier2: Linear,
    dropout: Dropout,
}

impl ErnieMResNet {
    /// A model with its parts' usual initial values; entries lie beneath `ernie_m`, `resnet`, `attention_text`,
    /// `attention_image`, `classifier1` and `classifier2`.
    pub fn new(params: &Params, config: &ErnieMResNetConfig) -> Result<Self> {
        let text = ErnieM::new(&params.sub("ernie_m"), &config.text)?;
        let image = ResNet::without_head(&params.sub("resnet"), &config.image)?;
        let widths = [config.text.width, image.width()];
        let attention =
            |name: &str, i: usize| MultiheadAttention::separate(&params.sub(name), widths[i], config.heads[i], 0.0);
        let features = 2 * (widths[0] + widths[1]);
        Ok(ErnieMResNet {
            text,
            image,
            attention_text: attention("attention_text", 0)?,
            attention_image: attention("attention_image", 1)?,
            classifier1: Linear::new(&params.sub("classifier1"), features, config.hidden)?,
            classifier2: Linear::new(&params.sub("classifier2"), config.hidden, config.classes)?,
            dropout: Dropout::new(config.dropout)?,
        })
    }

    /// Token ids (B, T) and images (B, C, H, W) to logits (B, classes); `keep` (B, T) of u8 is 0 at padding.
    pub fn forward(&self, ids: &Tensor, keep: Option<&Tensor>, images: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let states = self.text.forward(ids, keep, ctx)?;
        let text = self.text.pool(&states, ctx)?;
        let mask = keep.map_or(Ok(AttentionMask::none()), AttentionMask::padding)?;
        let text_attended = ask(&self.attention_text, &text, &states, &mask, ctx)?;
        let map = self.image.features(images, ctx)?;
        let image = map.mean(&[2, 3])?;
        let cells = map.flatten(2, 3)?.transpose(1, 2)?;
        let image_attended = ask(&self.attention_image, &image, &cells, &AttentionMask::none(), ctx)?;
        let features = Tensor::cat(&[&text, &text_attended, &image, &image_attended], 1)?;
        let hidden = self.classifier1.forward_relu(&self.dropout.forward(&features, ctx)?)?;
        self.classifier2.forward(&self.dropout.forward(&hidden, ctx)?, ctx)
    }
}

/// One query (B, E) for each sequence of places (B, N, E).
fn ask(
    attention: &MultiheadAttention,
    query: &Tensor,
    places: &Tensor,
    mask: &AttentionMask,
    ctx: &mut Ctx,
) -> Result<Tensor> {
    attention.attend(&query.unsqueeze(1)?, places, places, mask, ctx)?.squeeze(1)
}
