//! What makes two devices interchangeable.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Digest;

/// What makes two devices interchangeable for timing.
///
/// Its digest is the key that fronts are stored under, so every field is something that changes
/// how long a plan takes, and nothing is (like a host name) that does not.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct HardwareProfile {
    /// The processor's own name.
    pub cpu_model: String,
    /// `x86_64`, `aarch64`.
    pub cpu_architecture: String,
    /// Instruction set features that kernels choose by, sorted.
    pub isa_features: Vec<String>,
    /// Cores that the operating system shows.
    pub cores: u32,
    /// The accelerator's own name.
    pub gpu: Option<String>,
    /// The accelerator's driver and version.
    pub driver: Option<String>,
    /// The engine: `candle`.
    pub runtime: String,
    /// The engine's version.
    pub runtime_version: String,
    /// Threads that it computes with.
    pub threads: u32,
    /// The frequency governor, where the platform tells.
    pub governor: Option<String>,
    /// How the cores lie that the measuring threads are held to, without their numbers: `2 cores`,
    /// `4 threads of 2 cores`, `2 cores, capacity 1024`. Absent where nothing holds them.
    pub placement: Option<String>,
    /// Environment switches that change which kernels run, with their values.
    pub switches: BTreeMap<String, String>,
}

impl HardwareProfile {
    /// The profile's name by content.
    pub fn digest(&self) -> Digest {
        let mut digest = Digest::builder()
            .part("hardware profile")
            .part(&self.cpu_model)
            .part(&self.cpu_architecture)
            .part(self.isa_features.join(","))
            .part(self.cores.to_string())
            .part(self.gpu.as_deref().unwrap_or(""))
            .part(self.driver.as_deref().unwrap_or(""))
            .part(&self.runtime)
            .part(&self.runtime_version)
            .part(self.threads.to_string())
            .part(self.governor.as_deref().unwrap_or(""));
        for (name, value) in &self.switches {
            digest.add(name);
            digest.add(value);
        }
        // A name that no variable can have, so that this is never taken for a switch.
        if let Some(placement) = &self.placement {
            digest.add("held to");
            digest.add(placement);
        }
        digest.finish()
    }

    /// One line for people.
    pub fn summary(&self) -> String {
        let device = self.gpu.as_deref().unwrap_or(&self.cpu_model);
        let placement = self.placement.as_ref();
        format!(
            "{device}, {} thread{}{}, {} {}",
            self.threads,
            if self.threads == 1 { "" } else { "s" },
            placement.map_or_else(String::new, |placement| format!(" on {placement}")),
            self.runtime,
            self.runtime_version
        )
    }
}

/// What makes two devices interchangeable for quality: `candle/0.11.1/cpu/avx2`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct NumericsClass(pub String);

impl fmt::Display for NumericsClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_that_holds_its_threads_is_another_and_says_so() {
        let free = HardwareProfile {
            cpu_model: "Example CPU".to_owned(),
            cpu_architecture: "x86_64".to_owned(),
            isa_features: Vec::new(),
            cores: 4,
            gpu: None,
            driver: None,
            runtime: "candle".to_owned(),
            runtime_version: "1".to_owned(),
            threads: 2,
            governor: None,
            placement: None,
            switches: BTreeMap::new(),
        };
        let placed = |placement: &str| HardwareProfile {
            placement: Some(placement.to_owned()),
            ..free.clone()
        };
        let (cores, siblings) = (placed("2 cores"), placed("2 threads of 1 core"));
        assert_eq!(free.summary(), "Example CPU, 2 threads, candle 1");
        assert_eq!(
            cores.summary(),
            "Example CPU, 2 threads on 2 cores, candle 1"
        );
        assert_ne!(free.digest(), cores.digest());
        assert_ne!(siblings.digest(), cores.digest());
    }
}
