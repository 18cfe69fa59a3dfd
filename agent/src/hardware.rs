//! What this device is, as far as figures depend on it.

use std::collections::BTreeSet;
use std::path::Path;

use bitfront_model::HardwareProfile;
use bitfront_runtime::RuntimeIdentity;
use sysinfo::{CpuRefreshKind, MemoryRefreshKind, RefreshKind, System};

use crate::{CoreChoice, pinning};

/// The profile of this device under a runtime, for an agent that is given a choice of cores.
pub fn detect(identity: &RuntimeIdentity, choice: &CoreChoice) -> HardwareProfile {
    profile(identity, cores(), pinning::placement(choice, identity))
}

/// The profile of this device under a runtime.
///
/// Every field that the platform does not tell is left open rather than guessed; an accelerator is
/// named where the runtime executes plans on it. `cores` is what [`cores`] said
/// before any thread was held to some of them.
pub(crate) fn profile(
    identity: &RuntimeIdentity,
    cores: u32,
    placement: Option<String>,
) -> HardwareProfile {
    HardwareProfile {
        cpu_model: cpu_model(),
        cpu_architecture: std::env::consts::ARCH.to_owned(),
        isa_features: isa_features(),
        cores,
        gpu: identity.gpu.clone(),
        driver: identity.driver.clone(),
        runtime: identity.name.clone(),
        runtime_version: identity.version.clone(),
        threads: identity.threads,
        governor: governor(Path::new("/sys/devices/system/cpu")),
        placement,
        switches: identity.switches.clone(),
    }
}

/// Cores that the operating system shows to the calling thread.
pub fn cores() -> u32 {
    std::thread::available_parallelism()
        .map_or(1, |cores| u32::try_from(cores.get()).unwrap_or(u32::MAX))
}

/// Bytes of quantized tensors that an agent keeps in memory: a quarter of what this process may
/// use, so that the model that is measured has room beside them, and `most` at the most.
///
/// `most` where the platform does not tell its memory.
pub fn tensor_budget_bytes(most: u64) -> u64 {
    memory_bytes().map_or(most, |memory| most.min(memory / 4))
}

/// Bytes of hidden states that an agent keeps in memory: an eighth of what this process may use,
/// beside the tensors' quarter, and `most` at the most.
///
/// `most` where the platform does not tell its memory.
pub fn prefix_budget_bytes(most: u64) -> u64 {
    memory_bytes().map_or(most, |memory| most.min(memory / 8))
}

/// The machine's memory in bytes, or what a control group leaves of it.
fn memory_bytes() -> Option<u64> {
    let ram = MemoryRefreshKind::nothing().with_ram();
    let system = System::new_with_specifics(RefreshKind::nothing().with_memory(ram)).ok()?;
    let limit = system.cgroup_limits().map(|limits| limits.total_memory);
    [Some(system.total_memory()), limit]
        .into_iter()
        .flatten()
        .filter(|&bytes| bytes > 0)
        .min()
}

/// The host's name, or `unnamed` where the platform tells none.
pub fn host_name() -> String {
    System::host_name()
        .ok()
        .filter(|name| !name.is_empty())
        .unwrap_or_else(|| "unnamed".to_owned())
}

/// The processor's own name. Cores of several kinds are all named; a board that names itself is
/// added, since ARM cores carry the name of their design and not of the chip that they are in.
fn cpu_model() -> String {
    let cores = RefreshKind::nothing().with_cpu(CpuRefreshKind::nothing());
    let system = System::new_with_specifics(cores).ok();
    let brands: Vec<String> = system
        .iter()
        .flat_map(|system| system.cpus())
        .map(|core| {
            core.brand()
                .split_whitespace()
                .collect::<Vec<_>>()
                .join(" ")
        })
        .collect();
    describe(
        &brands,
        board(Path::new("/proc/device-tree/model")).as_deref(),
    )
}

fn describe(brands: &[String], board: Option<&str>) -> String {
    let kinds: BTreeSet<&str> = brands
        .iter()
        .map(String::as_str)
        .filter(|brand| !brand.is_empty())
        .collect();
    let name = if kinds.is_empty() {
        format!("unnamed {} processor", std::env::consts::ARCH)
    } else {
        kinds.into_iter().collect::<Vec<_>>().join(" + ")
    };
    match board {
        Some(board) => format!("{name}, {board}"),
        None => name,
    }
}

/// The board's name from the device tree, which ends in a zero byte.
fn board(model: &Path) -> Option<String> {
    let text = std::fs::read_to_string(model).ok()?;
    let name = text.trim_matches(|end: char| end == '\0' || end.is_whitespace());
    (!name.is_empty()).then(|| name.to_owned())
}

fn governor(cpus: &Path) -> Option<String> {
    let text = std::fs::read_to_string(cpus.join("cpu0/cpufreq/scaling_governor")).ok()?;
    let name = text.trim();
    (!name.is_empty()).then(|| name.to_owned())
}

macro_rules! detected {
    ($detect:ident: $($feature:tt),+ $(,)?) => {
        [$(($feature, std::arch::$detect!($feature))),+]
            .into_iter()
            .filter_map(|(name, present)| present.then(|| name.to_owned()))
            .collect::<BTreeSet<_>>()
            .into_iter()
            .collect()
    };
}

/// The instruction set features that kernels of matrix products choose by, sorted.
#[cfg(target_arch = "x86_64")]
fn isa_features() -> Vec<String> {
    let vector: Vec<String> = detected!(is_x86_feature_detected:
        "sse3", "ssse3", "sse4.1", "sse4.2", "avx", "avx2", "fma", "f16c", "avxvnni",
        "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512vbmi", "avx512vnni", "avx512bf16",
        "avx512fp16",
    );
    // The names of the matrix extensions sort before those of the vector ones.
    matrix_extensions().into_iter().chain(vector).collect()
}

/// The matrix extensions, by leaf 7 of CPUID: the standard library does not name them yet on its
/// stable channel.
#[cfg(target_arch = "x86_64")]
fn matrix_extensions() -> Vec<String> {
    let flags = std::arch::x86_64::__cpuid_count(7, 0).edx;
    [("amx-bf16", 22), ("amx-int8", 25), ("amx-tile", 24)]
        .into_iter()
        .filter(|(_, bit)| flags & (1 << bit) != 0)
        .map(|(name, _)| name.to_owned())
        .collect()
}

/// The instruction set features that kernels of matrix products choose by, sorted.
#[cfg(target_arch = "aarch64")]
fn isa_features() -> Vec<String> {
    detected!(is_aarch64_feature_detected:
        "neon", "fp16", "fhm", "dotprod", "i8mm", "bf16", "sve", "sve2",
    )
}

/// On other architectures kernels do not choose at run time.
#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn isa_features() -> Vec<String> {
    Vec::new()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bitfront_model::NumericsClass;

    use super::*;

    fn identity() -> RuntimeIdentity {
        RuntimeIdentity {
            name: "scripted".to_owned(),
            version: "1".to_owned(),
            numerics_class: NumericsClass("scripted/1".to_owned()),
            threads: 3,
            switches: [("SWITCH".to_owned(), "on".to_owned())].into(),
            gpu: None,
            driver: None,
        }
    }

    #[test]
    fn a_profile_is_stable_and_carries_the_runtime() {
        let profile = detect(&identity(), &CoreChoice::Automatic);
        assert_eq!(
            profile.digest(),
            detect(&identity(), &CoreChoice::Automatic).digest()
        );
        assert_eq!(
            (profile.runtime.as_str(), profile.runtime_version.as_str()),
            ("scripted", "1")
        );
        assert_eq!(profile.threads, 3);
        assert_eq!(profile.switches["SWITCH"], "on");
        assert!(!profile.cpu_model.is_empty() && profile.cores > 0);
        assert!(profile.isa_features.is_sorted());
    }

    #[cfg(all(target_os = "linux", target_arch = "x86_64"))]
    #[test]
    fn features_agree_with_what_the_kernel_lists() {
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap();
        let flags: BTreeSet<&str> = cpuinfo
            .lines()
            .find_map(|line| line.strip_prefix("flags"))
            .unwrap()
            .split_whitespace()
            .collect();
        for feature in [
            "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "amx-bf16", "amx-int8", "amx-tile",
        ] {
            let detected = isa_features().iter().any(|name| name == feature);
            let listed = flags.contains(feature.replace('-', "_").as_str());
            assert_eq!(detected, listed, "{feature}");
        }
    }

    #[test]
    fn the_tensors_of_an_agent_leave_most_of_the_memory() {
        let memory = memory_bytes().unwrap();
        assert!(memory > 64 << 20, "{memory}");
        assert_eq!(tensor_budget_bytes(u64::MAX), memory / 4);
        assert_eq!(tensor_budget_bytes(1 << 20), 1 << 20);
        assert_eq!(prefix_budget_bytes(u64::MAX), memory / 8);
        assert_eq!(prefix_budget_bytes(1 << 20), 1 << 20);
    }

    #[test]
    fn processors_are_named_as_far_as_the_platform_tells() {
        let brands = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let unnamed = format!("unnamed {} processor", std::env::consts::ARCH);
        for (given, board, expected) in [
            (brands(&["Ryzen 9", "Ryzen 9"]), None, "Ryzen 9"),
            (
                brands(&["Cortex-A76", "Cortex-A55"]),
                None,
                "Cortex-A55 + Cortex-A76",
            ),
            (
                brands(&["Cortex-A72"]),
                Some("Raspberry Pi 4"),
                "Cortex-A72, Raspberry Pi 4",
            ),
            (brands(&["", ""]), None, unnamed.as_str()),
            (brands(&[]), None, unnamed.as_str()),
        ] {
            assert_eq!(describe(&given, board), expected);
        }
    }

    #[test]
    fn files_of_the_platform_are_read_as_they_are_written() {
        let folder = tempfile::tempdir().unwrap();
        let model = folder.path().join("model");
        assert_eq!(board(&model), None);
        std::fs::write(&model, "Raspberry Pi 4 Model B\0").unwrap();
        assert_eq!(board(&model).as_deref(), Some("Raspberry Pi 4 Model B"));

        assert_eq!(governor(folder.path()), None);
        let frequency = folder.path().join("cpu0/cpufreq");
        std::fs::create_dir_all(&frequency).unwrap();
        std::fs::write(frequency.join("scaling_governor"), "performance\n").unwrap();
        assert_eq!(governor(folder.path()).as_deref(), Some("performance"));
    }
}
