//! A failure that the context does not survive, in a process of its own: it names the launch, and the device is lost.

use warpsmith::device::Buffer;
use warpsmith::device::cuda::{CudaMemory, LaunchConfig};
use warpsmith::half::f16;
use warpsmith::kernels::images;
use warpsmith::kernels::params::ElementwiseParams;
use warpsmith::{DType, Device, Error};

#[test]
fn a_failed_kernel_is_named_and_the_device_is_lost() {
    // A real device would stay lost.
    if std::env::var("WARPSMITH_TEST_DEVICE").is_ok_and(|device| device != "virtual") {
        return;
    }
    virtual_gpu::install().expect("the virtual GPU");
    let device = Device::cuda(0).unwrap();
    let Device::Cuda(cuda) = &device else { unreachable!("Device::cuda gives a CUDA device") };
    let kept = Buffer::from_slice(&device, &[1f32, 2.0]).unwrap();
    let kernel = cuda.kernel(&images::ELEMENTWISE_ANY, "cast<f32, f16>").unwrap();
    let x = CudaMemory::zeros(cuda, 8).unwrap();
    let mut out = CudaMemory::uninit(cuda, 16).unwrap();
    // The count is a thousand elements more than there are.
    let params = ElementwiseParams { count: 1004, ..Default::default() };
    // SAFETY: none: on the virtual GPU an access out of bounds is reported and touches nothing.
    unsafe {
        let arguments = (params, out.write::<f32>(0, 4).unwrap(), x.read::<f16>(0, 4).unwrap());
        kernel.launch(&LaunchConfig::linear(1, 256), arguments).unwrap();
    }
    let first = out.copy_to_host::<f32>(4).unwrap_err();
    let Error::DeviceLost { ordinal: 0, cause, .. } = &first else { panic!("{first}") };
    assert!(
        cause.contains("CUDA_ERROR_ILLEGAL_ADDRESS") && cause.contains("in the launch of cast<f32, f16>"),
        "{cause}"
    );
    for later in [
        kept.to_vec::<f32>().map(drop),
        Buffer::zeros(&device, DType::F32, 4).map(drop),
        cuda.synchronize(),
        cuda.kernel(&images::ELEMENTWISE_ANY, "cast<f16, f32>").map(drop),
    ] {
        let error = later.unwrap_err();
        assert!(matches!(&error, Error::DeviceLost { cause: again, .. } if again == cause), "{error}");
    }
    assert_eq!(Buffer::from_slice(&Device::cpu(), &[3f32]).unwrap().to_vec::<f32>().unwrap(), [3.0]);
}
