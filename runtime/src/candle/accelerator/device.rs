//! Which accelerator, and what it says of itself.

use std::fmt;
use std::path::Path;
use std::str::FromStr;

use bitfront_model::NumericsClass;
use candle_core::Device;

use crate::RuntimeError;
use crate::candle::CANDLE_VERSION;

/// A device with a memory of its own, as it is named: `cuda`, which is `cuda:0`, or `cuda:1`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Accelerator {
    /// A CUDA device, by the number that the driver gives it.
    Cuda(usize),
}

impl FromStr for Accelerator {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let number = match name {
            "cuda" => Some(0),
            _ => name
                .strip_prefix("cuda:")
                .and_then(|number| number.parse().ok()),
        };
        number
            .map(Self::Cuda)
            .ok_or_else(|| format!("`{name}` is no accelerator; `cuda` and `cuda:1` are"))
    }
}

impl fmt::Display for Accelerator {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self::Cuda(number) = self;
        write!(formatter, "cuda:{number}")
    }
}

/// An accelerator that was found, with what its figures depend on.
pub struct AcceleratorDevice {
    pub(super) device: Device,
    /// Its own name and memory, `NVIDIA H100 80GB HBM3, 79.1 GiB`; none of the processor.
    pub(super) name: Option<String>,
    /// The driver's version, and that of the interface which it offers.
    pub(super) driver: Option<String>,
    /// What its kernels are compiled for: `cuda/sm_90`.
    kernels: String,
    /// It multiplies in `bf16`, or the weights are widened for each product.
    pub(super) multiplies_bf16: bool,
}

impl AcceleratorDevice {
    /// Finds an accelerator; `root` is where the files are in which the platform tells of itself.
    ///
    /// # Errors
    ///
    /// This program was built without it, or there is no such device, or no driver for it.
    #[cfg(not(feature = "cuda"))]
    pub fn open(accelerator: Accelerator, _root: &Path) -> Result<Self, RuntimeError> {
        Err(RuntimeError::NoAccelerator {
            accelerator,
            reason: "this program was built without CUDA; build it with `cargo build --release -p \
                     bitfront-cli --features cuda`, for which `nvcc` must be on the PATH"
                .to_owned(),
        })
    }

    /// Finds an accelerator; `root` is where the files are in which the platform tells of itself.
    ///
    /// # Errors
    ///
    /// There is no such device, or no driver for it.
    #[cfg(feature = "cuda")]
    pub fn open(accelerator: Accelerator, root: &Path) -> Result<Self, RuntimeError> {
        super::cuda::open(accelerator, root)
    }

    /// The processor in the place of an accelerator: the same operations, by which tests hold the
    /// forward pass of an accelerator against the processor's own. No agent measures on it.
    pub fn processor() -> Self {
        Self::new(Device::Cpu, "tensors".to_owned(), false)
    }

    pub(super) fn new(device: Device, kernels: String, multiplies_bf16: bool) -> Self {
        Self {
            device,
            name: None,
            driver: None,
            kernels,
            multiplies_bf16,
        }
    }

    /// `candle/0.11.1/cuda/sm_90`.
    pub fn numerics_class(&self) -> NumericsClass {
        NumericsClass(format!("candle/{CANDLE_VERSION}/{}", self.kernels))
    }

    /// candle's handle on it.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Bytes of its memory that nobody has taken; none where it does not tell.
    pub(super) fn available_bytes(&self) -> Option<u64> {
        #[cfg(feature = "cuda")]
        if let Device::Cuda(device) = &self.device {
            return super::cuda::available_bytes(device);
        }
        None
    }
}

/// The version of NVIDIA's kernel module, as it says itself in `proc/driver/nvidia/version`.
#[cfg(any(feature = "cuda", test))]
pub(super) fn kernel_module(root: &Path) -> Option<String> {
    let text = std::fs::read_to_string(root.join("proc/driver/nvidia/version")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("NVRM version:"))?;
    let is_version =
        |word: &&str| word.contains('.') && word.split('.').all(|part| part.parse::<u32>().is_ok());
    line.split_whitespace().find(is_version).map(str::to_owned)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn accelerators_are_named_by_kind_and_number() {
        for (name, number) in [("cuda", 0), ("cuda:0", 0), ("cuda:3", 3)] {
            let found: Accelerator = name.parse().unwrap();
            assert_eq!(found, Accelerator::Cuda(number));
            assert_eq!(found.to_string(), format!("cuda:{number}"));
        }
        for name in ["", "gpu", "cuda:", "cuda:x", "cuda:-1", "metal"] {
            let error = name.parse::<Accelerator>().unwrap_err();
            assert!(error.contains("`cuda`"), "{error}");
        }
    }

    #[cfg(not(feature = "cuda"))]
    #[test]
    fn without_the_feature_the_error_says_how_to_build_it() {
        let error = AcceleratorDevice::open(Accelerator::Cuda(1), Path::new("/")).err();
        let message = error.unwrap().to_string();
        for told in ["cuda:1", "--features cuda", "nvcc"] {
            assert!(message.contains(told), "{message}");
        }
    }

    #[test]
    fn the_kernel_module_tells_its_version() {
        let root = tempfile::tempdir().unwrap();
        assert_eq!(kernel_module(root.path()), None);
        let folder = root.path().join("proc/driver/nvidia");
        std::fs::create_dir_all(&folder).unwrap();
        for (written, version) in [
            (
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.54.03  Tue Jun  6 22:20:39 \
                 UTC 2023\nGCC version:  gcc version 12.2.0\n",
                Some("535.54.03"),
            ),
            (
                "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.95.05  Release \
                 Build  (dvs-builder@U22)\nGCC version: 13.3.0\n",
                Some("580.95.05"),
            ),
            ("GCC version: 13.3.0\n", None),
            ("NVRM version: unknown\n", None),
        ] {
            std::fs::write(folder.join("version"), written).unwrap();
            assert_eq!(kernel_module(root.path()).as_deref(), version, "{written}");
        }
    }
}
