//! Residual networks (He et al. 2015, "Deep residual learning for image recognition").

use crate::nn::{BatchNorm2d, Conv2d, Ctx, Init, Linear, Module, Params};
use crate::ops::{Conv2dParams, Pool2dParams};
use crate::{Error, Result, Tensor};

/// The block that a network repeats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Block {
    /// Two 3×3 convolutions.
    Basic,
    /// 1×1, 3×3 (which carries the stride) and 1×1 convolutions, the last four times as wide.
    Bottleneck,
}

impl Block {
    fn expansion(self) -> usize {
        match self {
            Block::Basic => 1,
            Block::Bottleneck => 4,
        }
    }
}

/// The first layers of a network.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stem {
    /// 3×3, for images of about 32×32.
    Small,
    /// 7×7 with stride 2 and 3×3 max pooling with stride 2, for images of about 224×224.
    ImageNet,
}

/// The structure of a [`ResNet`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResNetConfig {
    /// The first layers.
    pub stem: Stem,
    /// The block.
    pub block: Block,
    /// Blocks in each stage; stages after the first halve the image.
    pub depths: Vec<usize>,
    /// Channels of each stage, before the bottleneck's expansion.
    pub widths: Vec<usize>,
    /// Channels of the image.
    pub channels: usize,
    /// Outputs.
    pub classes: usize,
}

impl ResNetConfig {
    /// The CIFAR style of 6n + 2 layers: 3 stages of 16, 32 and 64 channels. `layers` is 20, 32, 44, 56 or 110, or
    /// another number of the form. Shortcuts are 1×1 convolutions with batch norm where the size changes.
    pub fn cifar(layers: usize, channels: usize, classes: usize) -> Result<Self> {
        if layers < 8 || !(layers - 2).is_multiple_of(6) {
            let message = format!("a CIFAR-style network has 6n + 2 layers (20, 32, 44, 56, …), got {layers}");
            return Err(Error::argument("resnet", message));
        }
        let depths = vec![(layers - 2) / 6; 3];
        Ok(ResNetConfig { stem: Stem::Small, block: Block::Basic, depths, widths: vec![16, 32, 64], channels, classes })
    }

    /// The ImageNet style of 18, 34, 50, 101 or 152 layers; `torchvision`'s files fit.
    pub fn imagenet(layers: usize, channels: usize, classes: usize) -> Result<Self> {
        let (block, depths) = match layers {
            18 => (Block::Basic, [2, 2, 2, 2]),
            34 => (Block::Basic, [3, 4, 6, 3]),
            50 => (Block::Bottleneck, [3, 4, 6, 3]),
            101 => (Block::Bottleneck, [3, 4, 23, 3]),
            152 => (Block::Bottleneck, [3, 8, 36, 3]),
            _ => {
                let message = format!("an ImageNet-style network has 18, 34, 50, 101 or 152 layers, got {layers}");
                return Err(Error::argument("resnet", message));
            }
        };
        let widths = vec![64, 128, 256, 512];
        Ok(ResNetConfig { stem: Stem::ImageNet, block, depths: depths.to_vec(), widths, channels, classes })
    }
}

/// A convolution without bias and its batch norm, under `torchvision`'s names.
struct ConvNorm {
    conv: Conv2d,
    norm: BatchNorm2d,
}

impl ConvNorm {
    fn new(params: &Params, names: [&str; 2], io: [usize; 2], kernel: usize, stride: usize) -> Result<Self> {
        let padding = kernel / 2;
        let options = Conv2dParams { stride: [stride; 2], padding: [padding; 2], ..Default::default() };
        let (conv, init) = (params.sub(names[0]), Init::KaimingNormalFanOut);
        Ok(ConvNorm {
            conv: Conv2d::with_init(&conv, io[0], io[1], [kernel; 2], options, init)?,
            norm: BatchNorm2d::new(&params.sub(names[1]), io[1])?,
        })
    }

    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.norm.forward(&self.conv.forward(x, ctx)?, ctx)
    }

    fn forward_relu(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.norm.forward_relu(&self.conv.forward(x, ctx)?, ctx)
    }

    fn forward_add_relu(&self, x: &Tensor, residual: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        self.norm.forward_add_relu(&self.conv.forward(x, ctx)?, residual, ctx)
    }
}

struct Residual {
    /// All convolutions but the last, each followed by a relu.
    path: Vec<ConvNorm>,
    last: ConvNorm,
    shortcut: Option<ConvNorm>,
}

impl Residual {
    fn new(params: &Params, block: Block, inputs: usize, width: usize, stride: usize) -> Result<Self> {
        let outputs = width * block.expansion();
        let part = |i: usize, io: [usize; 2], kernel: usize, stride: usize| {
            ConvNorm::new(params, [&format!("conv{i}"), &format!("bn{i}")], io, kernel, stride)
        };
        let (path, last) = match block {
            Block::Basic => (vec![part(1, [inputs, width], 3, stride)?], part(2, [width, width], 3, 1)?),
            Block::Bottleneck => (
                vec![part(1, [inputs, width], 1, 1)?, part(2, [width, width], 3, stride)?],
                part(3, [width, outputs], 1, 1)?,
            ),
        };
        let shortcut = if stride != 1 || inputs != outputs {
            Some(ConvNorm::new(&params.sub("downsample"), ["0", "1"], [inputs, outputs], 1, stride)?)
        } else {
            None
        };
        Ok(Residual { path, last, shortcut })
    }

    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let y = self.path.iter().try_fold(x.clone(), |y, part| part.forward_relu(&y, ctx))?;
        let shortcut = match &self.shortcut {
            Some(part) => part.forward(x, ctx)?,
            None => x.clone(),
        };
        self.last.forward_add_relu(&y, &shortcut, ctx)
    }
}

/// A residual network: images (B, C, H, W) to logits (B, classes). Names are `torchvision`'s.
pub struct ResNet {
    stem: ConvNorm,
    pool: bool,
    blocks: Vec<Residual>,
    width: usize,
    fc: Option<Linear>,
}

impl ResNet {
    /// A network with PyTorch's (torchvision's) initial values.
    pub fn new(params: &Params, config: &ResNetConfig) -> Result<Self> {
        let body = Self::without_head(params, config)?;
        let fc = Linear::new(&params.sub("fc"), body.width, config.classes)?;
        Ok(ResNet { fc: Some(fc), ..body })
    }

    /// The network without its last layer: images (B, C, H, W) to pooled features (B, width).
    pub fn without_head(params: &Params, config: &ResNetConfig) -> Result<Self> {
        if config.depths.len() != config.widths.len() || config.widths.is_empty() {
            let message = format!("depths {:?} and widths {:?} must pair up", config.depths, config.widths);
            return Err(Error::argument("resnet", message));
        }
        let pool = config.stem == Stem::ImageNet;
        let (kernel, stride) = if pool { (7, 2) } else { (3, 1) };
        let mut inputs = config.widths[0];
        let stem = ConvNorm::new(params, ["conv1", "bn1"], [config.channels, inputs], kernel, stride)?;
        let mut blocks = vec![];
        for (stage, (&depth, &width)) in config.depths.iter().zip(&config.widths).enumerate() {
            for i in 0..depth {
                let stride = if stage > 0 && i == 0 { 2 } else { 1 };
                let place = params.sub(format!("layer{}", stage + 1)).sub(i);
                blocks.push(Residual::new(&place, config.block, inputs, width, stride)?);
                inputs = width * config.block.expansion();
            }
        }
        Ok(ResNet { stem, pool, blocks, width: inputs, fc: None })
    }

    /// Channels of the last feature maps.
    pub fn width(&self) -> usize {
        self.width
    }

    /// The last feature maps (B, channels, H, W), before pooling.
    pub fn features(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let mut x = self.stem.forward_relu(x, ctx)?;
        if self.pool {
            x = x.max_pool2d(Pool2dParams { kernel: [3, 3], stride: [2, 2], padding: [1, 1], ..Default::default() })?;
        }
        self.blocks.iter().try_fold(x, |x, block| block.forward(&x, ctx))
    }
}

impl Module for ResNet {
    fn forward(&self, x: &Tensor, ctx: &mut Ctx) -> Result<Tensor> {
        let x = self.features(x, ctx)?;
        let pooled = x.mean(&[2, 3])?;
        match &self.fc {
            Some(fc) => fc.forward(&pooled, ctx),
            None => Ok(pooled),
        }
    }
}
