//! candle CPU side of the comparison. One workload per process:
//!   candle_workload WORKLOAD [min_time_s]      (threads: RAYON_NUM_THREADS)
use candle_core::{D, DType, Device, IndexOp, Module, ModuleT, Result, Tensor, Var};
use candle_nn::{
    AdamW, BatchNorm, Conv2d, Conv2dConfig, Embedding, Linear, Optimizer, ParamsAdamW, VarBuilder, VarMap, batch_norm,
    conv2d_no_bias, embedding, linear, linear_no_bias, loss::cross_entropy, ops,
};
use std::time::Instant;

const DEV: Device = Device::Cpu;

fn measure(min_time: f64, mut step: impl FnMut() -> Result<f32>) -> Result<(Vec<f64>, f32)> {
    let (mut w, t0) = (0, Instant::now());
    let mut last;
    let mut d;
    loop {
        let s = Instant::now();
        last = step()?;
        d = s.elapsed().as_secs_f64();
        w += 1;
        if d > 5.0 || (w >= 3 && t0.elapsed().as_secs_f64() > 1.0) {
            break;
        }
    }
    let min_steps = if d > 5.0 { 3 } else { 10 };
    let mut ts = vec![];
    let t0 = Instant::now();
    while ts.len() < min_steps || (t0.elapsed().as_secs_f64() < min_time && ts.len() < 2000) {
        let s = Instant::now();
        last = step()?;
        ts.push(s.elapsed().as_secs_f64());
    }
    Ok((ts, last))
}

// ---------- what candle lacks and a user writes
/// candle_nn::SGD has no momentum.
struct SgdMomentum {
    vars: Vec<Var>,
    buf: Vec<Option<Tensor>>,
    lr: f64,
    mom: f64,
}
impl SgdMomentum {
    fn new(vars: Vec<Var>, lr: f64, mom: f64) -> Self {
        let buf = vec![None; vars.len()];
        Self { vars, buf, lr, mom }
    }
    fn step(&mut self, grads: &candle_core::backprop::GradStore) -> Result<()> {
        for (v, b) in self.vars.iter().zip(self.buf.iter_mut()) {
            let Some(g) = grads.get(v) else { continue };
            let nb = match b.take() {
                Some(b) => ((b * self.mom)? + g)?,
                None => g.clone(),
            };
            // detach: var arithmetic would otherwise grow a graph held by the momentum buffer
            let nb = nb.detach();
            v.set(&(v.as_detached_tensor() - (&nb * self.lr)?)?)?;
            *b = Some(nb);
        }
        Ok(())
    }
}
/// 3x3 stride 2 pad 1 max pool with a backward: candle's max_pool2d has no padding and its backward
/// refuses ksize != stride, so: zero pad (input is post-ReLU) and the separable max of strided slices.
fn max_pool_3x3_s2_p1(x: &Tensor) -> Result<Tensor> {
    let (_, _, h, w) = x.dims4()?;
    let (oh, ow) = (h.div_ceil(2), w.div_ceil(2));
    let x = x.pad_with_zeros(2, 1, 1)?.pad_with_zeros(3, 1, 1)?;
    let pick = |x: &Tensor, dim: usize, off: usize, n: usize| -> Result<Tensor> {
        let ix: Vec<u32> = (0..n).map(|i| (2 * i + off) as u32).collect();
        x.index_select(&Tensor::new(ix, &DEV)?, dim)
    };
    let r = pick(&x, 2, 0, oh)?.maximum(&pick(&x, 2, 1, oh)?)?.maximum(&pick(&x, 2, 2, oh)?)?;
    pick(&r, 3, 0, ow)?.maximum(&pick(&r, 3, 1, ow)?)?.maximum(&pick(&r, 3, 2, ow)?)
}
/// candle_nn::LayerNorm::forward takes the fused kernel, which has no backward (gradients silently vanish);
/// the differentiable route is ops::layer_norm_slow.
struct Ln(Tensor, Tensor);
impl Ln {
    fn new(n: usize, vb: VarBuilder) -> Result<Self> {
        Ok(Ln(
            vb.get_with_hints(n, "weight", candle_nn::Init::Const(1.))?,
            vb.get_with_hints(n, "bias", candle_nn::Init::Const(0.))?,
        ))
    }
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        ops::layer_norm_slow(x, &self.0, &self.1, 1e-5)
    }
}

// ---------- models
struct Basic {
    c1: Conv2d,
    b1: BatchNorm,
    c2: Conv2d,
    b2: BatchNorm,
    down: Option<(Conv2d, BatchNorm)>,
}
fn cfg(stride: usize, padding: usize) -> Conv2dConfig {
    Conv2dConfig { stride, padding, ..Default::default() }
}
impl Basic {
    fn new(i: usize, o: usize, s: usize, vb: VarBuilder) -> Result<Self> {
        let down = if s != 1 || i != o {
            Some((conv2d_no_bias(i, o, 1, cfg(s, 0), vb.pp("dc"))?, batch_norm(o, 1e-5, vb.pp("db"))?))
        } else {
            None
        };
        Ok(Self {
            c1: conv2d_no_bias(i, o, 3, cfg(s, 1), vb.pp("c1"))?,
            b1: batch_norm(o, 1e-5, vb.pp("b1"))?,
            c2: conv2d_no_bias(o, o, 3, cfg(1, 1), vb.pp("c2"))?,
            b2: batch_norm(o, 1e-5, vb.pp("b2"))?,
            down,
        })
    }
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let y = self.b1.forward_t(&self.c1.forward(x)?, true)?.relu()?;
        let y = self.b2.forward_t(&self.c2.forward(&y)?, true)?;
        let r = match &self.down {
            Some((c, b)) => b.forward_t(&c.forward(x)?, true)?,
            None => x.clone(),
        };
        (y + r)?.relu()
    }
}
struct ResNet {
    imagenet: bool,
    stem: Conv2d,
    bn: BatchNorm,
    layers: Vec<Basic>,
    fc: Linear,
}
impl ResNet {
    fn new(imagenet: bool, blocks: &[usize], chans: &[usize], classes: usize, vb: VarBuilder) -> Result<Self> {
        let c0 = chans[0];
        let stem = if imagenet {
            conv2d_no_bias(3, c0, 7, cfg(2, 3), vb.pp("stem"))?
        } else {
            conv2d_no_bias(3, c0, 3, cfg(1, 1), vb.pp("stem"))?
        };
        let (mut layers, mut i) = (vec![], c0);
        for (k, (&n, &c)) in blocks.iter().zip(chans).enumerate() {
            for j in 0..n {
                let s = if k > 0 && j == 0 { 2 } else { 1 };
                layers.push(Basic::new(i, c, s, vb.pp(format!("l{k}_{j}")))?);
                i = c;
            }
        }
        Ok(Self { imagenet, stem, bn: batch_norm(c0, 1e-5, vb.pp("bn"))?, layers, fc: linear(i, classes, vb.pp("fc"))? })
    }
    fn forward(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = self.bn.forward_t(&self.stem.forward(x)?, true)?.relu()?;
        if self.imagenet {
            x = max_pool_3x3_s2_p1(&x)?;
        }
        for l in &self.layers {
            x = l.forward(&x)?;
        }
        self.fc.forward(&x.mean((2, 3))?)
    }
}

const DM: usize = 128;
const HEADS: usize = 4;
const CTX: usize = 128;
const VOCAB: usize = 65;
const LAYERS: usize = 4;
fn sdpa(q: &Tensor, k: &Tensor, v: &Tensor, mask: Option<&Tensor>) -> Result<Tensor> {
    let scale = 1.0 / (q.dim(D::Minus1)? as f64).sqrt();
    let att = (q.matmul(&k.t()?)? * scale)?;
    let att = match mask {
        Some(m) => att.broadcast_add(m)?,
        None => att,
    };
    ops::softmax(&att, D::Minus1)?.matmul(v)
}
fn causal_mask(t: usize) -> Result<Tensor> {
    let m: Vec<f32> = (0..t * t).map(|i| if i % t > i / t { f32::NEG_INFINITY } else { 0. }).collect();
    Tensor::from_vec(m, (t, t), &DEV)
}
struct Block {
    ln1: Ln,
    qkv: Linear,
    proj: Linear,
    ln2: Ln,
    f1: Linear,
    f2: Linear,
}
impl Block {
    fn new(vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            ln1: Ln::new(DM, vb.pp("ln1"))?,
            qkv: linear(DM, 3 * DM, vb.pp("qkv"))?,
            proj: linear(DM, DM, vb.pp("proj"))?,
            ln2: Ln::new(DM, vb.pp("ln2"))?,
            f1: linear(DM, 4 * DM, vb.pp("f1"))?,
            f2: linear(4 * DM, DM, vb.pp("f2"))?,
        })
    }
    fn forward(&self, x: &Tensor, mask: &Tensor) -> Result<Tensor> {
        let (b, t, _) = x.dims3()?;
        let qkv = self.qkv.forward(&self.ln1.forward(x)?)?.reshape((b, t, 3, HEADS, DM / HEADS))?;
        let qkv = qkv.permute((2, 0, 3, 1, 4))?;
        let g = |i: usize| qkv.i(i)?.contiguous();
        let y = sdpa(&g(0)?, &g(1)?, &g(2)?, Some(mask))?;
        let y = y.transpose(1, 2)?.reshape((b, t, DM))?;
        let x = (x + self.proj.forward(&y)?)?;
        let m = self.f2.forward(&self.f1.forward(&self.ln2.forward(&x)?)?.gelu_erf()?)?;
        x + m
    }
}
struct Gpt {
    te: Embedding,
    pe: Embedding,
    blocks: Vec<Block>,
    ln: Ln,
    head: Linear,
    mask: Tensor,
    pos: Tensor,
}
impl Gpt {
    fn new(vb: VarBuilder) -> Result<Self> {
        Ok(Self {
            te: embedding(VOCAB, DM, vb.pp("te"))?,
            pe: embedding(CTX, DM, vb.pp("pe"))?,
            blocks: (0..LAYERS).map(|i| Block::new(vb.pp(format!("b{i}")))).collect::<Result<_>>()?,
            ln: Ln::new(DM, vb.pp("ln"))?,
            head: linear_no_bias(DM, VOCAB, vb.pp("head"))?,
            mask: causal_mask(CTX)?,
            pos: Tensor::arange(0u32, CTX as u32, &DEV)?,
        })
    }
    fn forward(&self, ix: &Tensor) -> Result<Tensor> {
        let mut x = self.te.forward(ix)?.broadcast_add(&self.pe.forward(&self.pos)?.unsqueeze(0)?)?;
        for b in &self.blocks {
            x = b.forward(&x, &self.mask)?;
        }
        self.head.forward(&self.ln.forward(&x)?)
    }
}

// ---------- driver
#[derive(Default)]
struct Extra {
    flops: Option<f64>,
    batch: Option<usize>,
    params: usize,
    first: f32,
    last: f32,
}
type Out = Result<(Vec<f64>, Extra)>;

fn randint(n: usize, hi: usize) -> Result<Tensor> {
    let v: Vec<u32> = (0..n).map(|i| ((i as u64).wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407) >> 33) as u32 % hi as u32).collect();
    Tensor::from_vec(v, n, &DEV)
}
/// all_vars() also returns the batch-norm running statistics; keep only what is trained.
fn trainable(vm: &VarMap) -> Vec<Var> {
    let data = vm.data().lock().unwrap();
    data.iter().filter(|(n, _)| !n.contains("running_")).map(|(_, v)| v.clone()).collect()
}
enum Opt {
    Sgd(SgdMomentum),
    AdamW(AdamW),
}
fn train(t: f64, vm: &VarMap, mut opt: Opt, batch: usize, y: Tensor, fwd: impl Fn() -> Result<Tensor>) -> Out {
    let params = trainable(vm).iter().map(|v| v.elem_count()).sum();
    let mut step = || {
        let out = fwd()?;
        let c = out.dim(D::Minus1)?;
        let loss = cross_entropy(&out.reshape(((), c))?, &y)?;
        let grads = loss.backward()?;
        match &mut opt {
            Opt::Sgd(o) => o.step(&grads)?,
            Opt::AdamW(o) => o.step(&grads)?,
        }
        loss.to_scalar::<f32>()
    };
    let first = step()?;
    let (ts, last) = measure(t, step)?;
    Ok((ts, Extra { batch: Some(batch), params, first, last, ..Default::default() }))
}
fn op(t: f64, ins: &[Var], f: impl Fn() -> Result<Tensor>) -> Out {
    let (ts, _) = measure(t, || {
        let g = f()?.backward()?; // upstream gradient: ones
        for i in ins {
            assert!(g.get(i).is_some(), "no gradient");
        }
        Ok(0.)
    })?;
    Ok((ts, Extra::default()))
}
fn rv(s: impl Into<candle_core::Shape>, std: f32) -> Result<Var> {
    Var::randn(0f32, std, s, &DEV)
}
fn cv(v: f64, n: usize) -> Result<Var> {
    Var::from_tensor(&(Tensor::zeros(n, DType::F32, &DEV)? + v)?)
}

fn run(w: &str, t: f64) -> Out {
    let vm = VarMap::new();
    let vb = VarBuilder::from_varmap(&vm, DType::F32, &DEV);
    let sgd = |vm: &VarMap| Opt::Sgd(SgdMomentum::new(trainable(vm), 0.01, 0.9));
    if let Some(n) = w.strip_prefix("gemm") {
        let n: usize = n.parse().unwrap();
        let (a, b) = (Tensor::randn(0f32, 1., (n, n), &DEV)?, Tensor::randn(0f32, 1., (n, n), &DEV)?);
        let (ts, _) = measure(t, || a.matmul(&b).map(|_| 0.))?;
        return Ok((ts, Extra { flops: Some(2. * (n as f64).powi(3)), ..Default::default() }));
    }
    match w {
        "mlp" => {
            let (l1, l2, l3) = (linear(784, 512, vb.pp("1"))?, linear(512, 256, vb.pp("2"))?, linear(256, 10, vb.pp("3"))?);
            let x = Tensor::randn(0f32, 1., (128, 784), &DEV)?;
            train(t, &vm, sgd(&vm), 128, randint(128, 10)?, || l3.forward(&l2.forward(&l1.forward(&x)?.relu()?)?.relu()?))
        }
        "resnet20" => {
            let m = ResNet::new(false, &[3, 3, 3], &[16, 32, 64], 10, vb)?;
            let x = Tensor::randn(0f32, 1., (32, 3, 32, 32), &DEV)?;
            train(t, &vm, sgd(&vm), 32, randint(32, 10)?, || m.forward(&x))
        }
        "resnet18" => {
            let m = ResNet::new(true, &[2, 2, 2, 2], &[64, 128, 256, 512], 1000, vb)?;
            let x = Tensor::randn(0f32, 1., (8, 3, 64, 64), &DEV)?;
            train(t, &vm, sgd(&vm), 8, randint(8, 1000)?, || m.forward(&x))
        }
        "gpt" => {
            let m = Gpt::new(vb)?;
            let x = randint(16 * CTX, VOCAB)?.reshape((16, CTX))?;
            let y = randint(16 * CTX + 7, VOCAB)?.narrow(0, 7, 16 * CTX)?.contiguous()?;
            let opt = AdamW::new(trainable(&vm), ParamsAdamW { lr: 3e-4, ..Default::default() })?;
            train(t, &vm, Opt::AdamW(opt), 16, y, || m.forward(&x))
        }
        "layernorm" => {
            let (x, g, b) = (rv((4096, 768), 1.)?, cv(1., 768)?, cv(0., 768)?);
            op(t, &[x.clone(), g.clone(), b.clone()], || ops::layer_norm_slow(&x, &g, &b, 1e-5))
        }
        "softmax_ce" => {
            let (x, y) = (rv((2048, 32000), 1.)?, randint(2048, 32000)?);
            op(t, &[x.clone()], || cross_entropy(&x, &y))
        }
        "batchnorm2d" => {
            let (x, g, b) = (rv((32, 64, 32, 32), 1.)?, cv(1., 64)?, cv(0., 64)?);
            let z = Tensor::zeros(64, DType::F32, &DEV)?;
            let o = Tensor::ones(64, DType::F32, &DEV)?;
            let bn = BatchNorm::new(64, z, o, g.as_tensor().clone(), b.as_tensor().clone(), 1e-5)?;
            op(t, &[x.clone(), g, b], || bn.forward_t(&x, true))
        }
        "conv2d" => {
            let (x, k, b) = (rv((32, 64, 32, 32), 1.)?, rv((64, 64, 3, 3), 0.05)?, cv(0., 64)?);
            op(t, &[x.clone(), k.clone(), b.clone()], || {
                x.conv2d(&k, 1, 1, 1, 1)?.broadcast_add(&b.reshape((1, 64, 1, 1))?)
            })
        }
        "attention" | "attention_causal" => {
            let s = (4, 8, 512, 64);
            let (q, k, v) = (rv(s, 1.)?, rv(s, 1.)?, rv(s, 1.)?);
            let m = if w == "attention" { None } else { Some(causal_mask(512)?) };
            op(t, &[q.clone(), k.clone(), v.clone()], || sdpa(&q, &k, &v, m.as_ref()))
        }
        // demonstrates the silent gradient loss of candle_nn::LayerNorm
        "check_ln_grad" => {
            let ln = candle_nn::layer_norm(8, 1e-5, vb.pp("ln"))?;
            let x = rv((4, 8), 1.)?;
            let g = ln.forward(&x)?.sqr()?.sum_all()?.backward()?;
            println!("{{\"candle_nn_layernorm_grad_x\": {}, \"grad_w\": {}}}", g.get(&x).is_some(), g.get(&trainable(&vm)[0]).is_some());
            std::process::exit(0)
        }
        _ => panic!("unknown workload {w}"),
    }
}
fn main() -> Result<()> {
    let a: Vec<String> = std::env::args().collect();
    let (mut ts, e) = run(&a[1], a.get(2).and_then(|s| s.parse().ok()).unwrap_or(2.0))?;
    ts.sort_by(f64::total_cmp);
    let n = ts.len();
    let m = if n % 2 == 1 { ts[n / 2] } else { (ts[n / 2] + ts[n / 2 - 1]) / 2. };
    let mut s = format!(
        "{{\"workload\":\"{}\",\"threads\":{},\"steps\":{n},\"median_ms\":{},\"min_ms\":{},\"p90_ms\":{}",
        a[1], candle_core::utils::get_num_threads(), m * 1e3, ts[0] * 1e3, ts[(n - 1) * 9 / 10] * 1e3
    );
    if let Some(f) = e.flops {
        s += &format!(",\"gflops\":{}", f / m / 1e9);
    }
    if let Some(b) = e.batch {
        s += &format!(",\"params\":{},\"batch\":{b},\"first_loss\":{},\"last_loss\":{},\"samples_per_s\":{}", e.params, e.first, e.last, b as f64 / m);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|l| l.strip_prefix("VmHWM:")?.trim().trim_end_matches(" kB").parse::<f64>().ok());
    println!("{s},\"peak_mib\":{}}}", peak.unwrap_or(0.) / 1024.);
    Ok(())
}
