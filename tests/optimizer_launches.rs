//! What a step asks of a CUDA device: one launch for all parameters, two more where their gradients are measured, a
//! small copy where a rate or a bound has changed, and nothing back. Counted by the virtual GPU, alone in its process.

use virtual_gpu::VirtualGpu;
use warpsmith::nn::{Init, Param, Params};
use warpsmith::optim::{
    AdaGrad, AdaGradConfig, Adam, AdamConfig, Clip, Ftrl, FtrlConfig, Lion, LionConfig, LossScaler, Optimizer, RmsProp,
    RmsPropConfig, Sgd, SgdConfig,
};
use warpsmith::{DType, Device, Gradients, Result, Tensor};

/// The kernels of the launches since the last call.
fn launched(gpu: &VirtualGpu, device: &Device) -> Vec<String> {
    if let Device::Cuda(device) = device {
        device.synchronize().unwrap();
    }
    let json = gpu.profile_json();
    gpu.clear_profile();
    // The launches stand before the sums by kernel.
    let launches = json.split("\"kernels\":").next().unwrap_or_default();
    let names = launches.split("\"kernel\":\"").skip(1).filter_map(|part| part.split('"').next());
    names.map(plain).collect()
}

/// Copies to the device since the last call, and that nothing came back or was waited for.
fn copied(gpu: &VirtualGpu) -> u64 {
    let calls = gpu.calls();
    gpu.clear_calls();
    let returned =
        |name: &str| name.contains("Synchronize") || name.contains("DtoH") || name.contains("EventSynchronize");
    let back: Vec<_> = calls.keys().filter(|name| returned(name)).collect();
    assert!(back.is_empty(), "{back:?}");
    calls.get("cuMemcpyHtoDAsync").copied().unwrap_or(0)
}

/// `step` of `_Z4step…`.
fn plain(symbol: &str) -> String {
    let rest = symbol.trim_start_matches("_Z");
    let length = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(0);
    let count: usize = rest[..length].parse().unwrap_or(0);
    rest[length..].chars().take(count).collect()
}

fn params(device: &Device) -> Result<(Vec<(String, Param)>, Gradients)> {
    let (params, mut gradients) = (Params::new(device, DType::F32, 0), Gradients::default());
    for (i, (dtype, n)) in
        [(DType::F32, 9000), (DType::F16, 5), (DType::BF16, 4097), (DType::F32, 0)].iter().enumerate()
    {
        let p = params.param_from(&format!("p{i}"), &Tensor::full(1.0, *n, *dtype, device)?)?;
        gradients.set(&p, Tensor::full(0.5, *n, *dtype, device)?)?;
    }
    params.param("more", [3, 4], Init::ONES)?;
    Ok((params.trainable(), gradients))
}

#[test]
fn a_step_is_one_launch_whatever_the_dtypes() {
    if std::env::var("WARPSMITH_TEST_DEVICE").is_ok_and(|device| device != "virtual") {
        return;
    }
    let gpu = virtual_gpu::install().unwrap();
    let device = Device::cuda(0).unwrap();
    let (params, gradients) = params(&device).unwrap();
    let optimizers: [Box<dyn Optimizer>; 6] = [
        Box::new(Sgd::new(params.clone(), SgdConfig { momentum: 0.9, ..SgdConfig::new(0.1) }).unwrap()),
        Box::new(Adam::new(params.clone(), AdamConfig::adamw(0.1)).unwrap()),
        Box::new(AdaGrad::new(params.clone(), AdaGradConfig::default()).unwrap()),
        Box::new(RmsProp::new(params.clone(), RmsPropConfig::default()).unwrap()),
        Box::new(Ftrl::new(params.clone(), FtrlConfig::default()).unwrap()),
        Box::new(Lion::new(params.clone(), LionConfig::default()).unwrap()),
    ];
    for mut optimizer in optimizers {
        // The first step makes the state.
        optimizer.step(&gradients).unwrap();
        launched(&gpu, &device);
        gpu.clear_calls();
        for step in 0..3 {
            optimizer.set_lr(0.1 / (2 + step) as f64);
            optimizer.step(&gradients).unwrap();
        }
        assert_eq!(copied(&gpu), 3, "the rate, at each step");
        for _ in 0..2 {
            optimizer.step(&gradients).unwrap();
        }
        assert_eq!(copied(&gpu), 0, "nothing has changed");
        assert_eq!(launched(&gpu, &device), ["step"; 5]);
        optimizer.step_clipped(&gradients, Clip::Value(0.1)).unwrap();
        assert_eq!(launched(&gpu, &device), ["step"]);
        gpu.clear_calls();
        optimizer.step_clipped(&gradients, Clip::Norm(0.1)).unwrap();
        assert_eq!(copied(&gpu), 1, "the bound");
        assert_eq!(launched(&gpu, &device), ["squares", "total", "step"]);
        let mut scaler = LossScaler::new(&device).unwrap();
        launched(&gpu, &device);
        gpu.clear_calls();
        scaler.step_clipped(optimizer.as_mut(), &gradients, Clip::Norm(0.1)).unwrap();
        assert_eq!(copied(&gpu), 0, "the scale is the device's own");
        assert_eq!(launched(&gpu, &device), ["squares", "total", "step"]);
    }
}
