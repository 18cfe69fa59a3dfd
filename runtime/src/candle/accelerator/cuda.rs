//! CUDA devices, by candle's backend and the driver's interface that it brings.

use std::path::Path;

use candle_core::cuda_backend::CudaError;
use candle_core::cuda_backend::cudarc::driver::DriverError;
use candle_core::{CudaDevice, Device};

use crate::RuntimeError;

use super::device::{Accelerator, AcceleratorDevice, kernel_module};

/// The first compute capability with products in `bf16`.
const FIRST_WITH_BF16: (i32, i32) = (8, 0);

/// Finds a device and asks it what it is.
pub(super) fn open(
    accelerator: Accelerator,
    root: &Path,
) -> Result<AcceleratorDevice, RuntimeError> {
    let Accelerator::Cuda(number) = accelerator;
    let missing = |error: candle_core::Error| RuntimeError::NoAccelerator {
        accelerator,
        reason: format!("{error}; `nvidia-smi -L` lists the devices that the driver has"),
    };
    let device = Device::new_cuda(number).map_err(missing)?;
    let told = tell(&device).map_err(missing)?;
    let (major, minor) = told.capability;
    let mut found = AcceleratorDevice::new(
        device,
        format!("cuda/sm_{major}{minor}"),
        told.capability >= FIRST_WITH_BF16,
    );
    let gibibytes = told.memory_bytes as f64 / f64::from(1 << 30);
    found.name = Some(format!("{}, {gibibytes:.1} GiB", told.name));
    // The driver's own number where the platform shows it; some containers do not.
    found.driver = Some(match kernel_module(root) {
        Some(version) => format!("NVIDIA {version}"),
        None => "NVIDIA, of unknown version".to_owned(),
    });
    Ok(found)
}

/// What a device says of itself.
struct Told {
    name: String,
    memory_bytes: usize,
    capability: (i32, i32),
}

fn tell(device: &Device) -> Result<Told, candle_core::Error> {
    let context = device.as_cuda_device()?.cuda_stream().context().clone();
    let failed = |error: DriverError| candle_core::Error::from(CudaError::from(error));
    Ok(Told {
        name: context.name().map_err(failed)?,
        memory_bytes: context.total_mem().map_err(failed)?,
        capability: context.compute_capability().map_err(failed)?,
    })
}

/// Bytes of the device's memory that nobody has taken.
pub(super) fn available_bytes(device: &CudaDevice) -> Option<u64> {
    let stream = device.cuda_stream();
    let (free, _) = stream.context().mem_get_info().ok()?;
    Some(free as u64)
}
