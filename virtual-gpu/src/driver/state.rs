//! What `cuInit` sets up: the devices.

use super::config;
use super::error::{Code, Res};
use super::pool::Pool;
use super::primary::Primary;
use super::table::lock;
use crate::machine::Memory;
use crate::model::DeviceModel;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// One device.
pub struct Device {
    pub ordinal: i32,
    pub model: &'static DeviceModel,
    pub memory: Arc<Memory>,
    pub primary: Mutex<Primary>,
    /// Set by fault injection; nothing works from then on.
    pub lost: AtomicBool,
    pub default_pool: Arc<Pool>,
    /// What `cuMemAllocAsync` takes from.
    pub current_pool: Mutex<Arc<Pool>>,
}

impl Device {
    fn new(ordinal: i32, model: &'static DeviceModel) -> Arc<Device> {
        let default_pool = Pool::create(ordinal, 0);
        Arc::new(Device {
            ordinal,
            model,
            memory: Arc::new(Memory::new(model)),
            primary: Mutex::new(Primary::new()),
            lost: AtomicBool::new(false),
            current_pool: Mutex::new(default_pool.clone()),
            default_pool,
        })
    }

    pub fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    /// The pool that `cuMemAllocAsync` takes from.
    pub fn pool(&self) -> Arc<Pool> {
        lock(&self.current_pool).clone()
    }
}

/// The driver after `cuInit`.
pub struct Driver {
    pub version: i32,
    pub devices: Vec<Arc<Device>>,
}

static DRIVER: OnceLock<Driver> = OnceLock::new();

/// `cuInit`: the devices are made at the first call.
pub fn initialise() -> &'static Driver {
    DRIVER.get_or_init(|| {
        let config = config::get();
        let devices = config.devices.iter().zip(0..).map(|(model, ordinal)| Device::new(ordinal, model)).collect();
        super::profile::report_at_exit();
        Driver { version: config.driver_version, devices }
    })
}

/// The driver; `CUDA_ERROR_NOT_INITIALIZED` before `cuInit`.
pub fn driver() -> Res<&'static Driver> {
    DRIVER.get().ok_or_else(|| Code::NotInitialized.into())
}

/// Whether `cuInit` has run: devices and driver version can no longer be changed.
pub fn is_initialised() -> bool {
    DRIVER.get().is_some()
}

/// A device by ordinal.
pub fn device(ordinal: i32) -> Res<&'static Arc<Device>> {
    let devices = &driver()?.devices;
    usize::try_from(ordinal).ok().and_then(|index| devices.get(index)).ok_or_else(|| Code::InvalidDevice.into())
}
