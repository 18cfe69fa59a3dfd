//! What candle executes depends on the processor and on environment variables; both are read here
//! once, and nowhere else.

use std::collections::BTreeMap;
#[cfg(target_arch = "x86_64")]
use std::sync::OnceLock;

use bitfront_model::NumericsClass;

use crate::RuntimeError;

/// The version of candle that is compiled in; a test compares it with `Cargo.lock`.
pub const CANDLE_VERSION: &str = "0.11.1";

/// Variables that replace every quantized matrix by a float one.
const REFUSED: [&str; 2] = ["CANDLE_DEQUANTIZE_ALL", "CANDLE_DEQUANTIZE_ALL_F16"];

/// Variables that change which kernels run, on how many threads, or where.
const RECORDED: [&str; 7] = [
    "MISTRALRS_FORCE_AVX2",
    "MISTRALRS_FORCE_AVXVNNI",
    "CANDLE_NUM_THREADS",
    "RAYON_NUM_THREADS",
    "CANDLE_CPU_MASK",
    "CANDLE_CPU_AFFINITY",
    "CANDLE_BARRIER_POOL_SPIN_LIMIT",
];

/// A variable that makes cuBLAS multiply `f32` in `tf32`, of which ten bits of each factor count.
const NARROWED: &str = "NVIDIA_TF32_OVERRIDE";

/// Variables that change how work reaches a CUDA device, or how it is computed there.
const RECORDED_ON_ACCELERATORS: [&str; 4] = [
    "CUBLAS_WORKSPACE_CONFIG",
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_LAUNCH_BLOCKING",
    NARROWED,
];

/// How environment variables are read; tests pass their own.
pub(crate) type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// Refuses to start where a plan would not be executed as it says.
pub(crate) fn refuse(lookup: Lookup<'_>) -> Result<(), RuntimeError> {
    for name in REFUSED {
        // The same test as candle's: anything but empty and `0` switches it on.
        if let Some(value) = lookup(name).filter(|value| !value.is_empty() && value != "0") {
            return Err(RuntimeError::Switch {
                name: name.to_owned(),
                value,
            });
        }
    }
    Ok(())
}

/// The same for what an accelerator's libraries read.
pub(crate) fn refuse_on_accelerators(lookup: Lookup<'_>) -> Result<(), RuntimeError> {
    match lookup(NARROWED).filter(|value| value != "0") {
        Some(value) => Err(RuntimeError::NarrowingSwitch {
            name: NARROWED.to_owned(),
            value,
        }),
        None => Ok(()),
    }
}

/// The variables that are set, with their values.
pub(crate) fn recorded(lookup: Lookup<'_>) -> BTreeMap<String, String> {
    found(&RECORDED, lookup)
}

/// The same of those that matter on an accelerator alone.
pub(crate) fn recorded_on_accelerators(lookup: Lookup<'_>) -> BTreeMap<String, String> {
    found(&RECORDED_ON_ACCELERATORS, lookup)
}

fn found(names: &[&str], lookup: Lookup<'_>) -> BTreeMap<String, String> {
    let set = names
        .iter()
        .filter_map(|&name| Some((name.to_owned(), lookup(name)?)));
    set.collect()
}

/// `candle/0.11.1/cpu/<kernel family>`.
pub(crate) fn numerics_class(lookup: Lookup<'_>) -> NumericsClass {
    NumericsClass(format!(
        "candle/{CANDLE_VERSION}/cpu/{}",
        kernel_family(lookup)
    ))
}

/// The kernels that candle picks, by the rules of its `repack_x86::level`, `amx_available` and
/// `cpu::features`: packed 512-bit integer kernels (with matrix extensions or without), packed
/// 256-bit ones, plain vector kernels, or none.
#[cfg(target_arch = "x86_64")]
fn kernel_family(lookup: Lookup<'_>) -> String {
    let (force_avx2, force_vnni) = forced(lookup);
    let avx2 = is_x86_feature_detected!("avx2");
    let packed = if packs_with_wide_vectors(lookup) {
        match has_matrix_extensions() {
            true => "avx512vnni-amx",
            false => "avx512vnni",
        }
    } else if !force_avx2 && (force_vnni || is_x86_feature_detected!("avxvnni")) && avx2 {
        "avxvnni"
    } else if avx2 && is_x86_feature_detected!("fma") {
        "avx2"
    } else {
        return "portable".to_owned();
    };
    packed.to_owned()
}

/// Whether candle is told to do without the widest vectors, or to do with AVX-VNNI.
#[cfg(target_arch = "x86_64")]
fn forced(lookup: Lookup<'_>) -> (bool, bool) {
    let forced = |name| lookup(name).as_deref() == Some("1");
    (
        forced("MISTRALRS_FORCE_AVX2"),
        forced("MISTRALRS_FORCE_AVXVNNI"),
    )
}

#[cfg(target_arch = "x86_64")]
fn packs_with_wide_vectors(lookup: Lookup<'_>) -> bool {
    forced(lookup) == (false, false)
        && is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vnni")
}

/// Whether candle packs matrices for AVX-512 VNNI in this process, with what its kernels are
/// compiled for.
#[cfg(target_arch = "x86_64")]
pub(super) fn packs_wide() -> bool {
    // candle asks once as well.
    static PACKS: OnceLock<bool> = OnceLock::new();
    *PACKS.get_or_init(|| {
        packs_with_wide_vectors(&super::environment) && is_x86_feature_detected!("avx512bw")
    })
}

/// Leaf 7 of CPUID, bits 24 (AMX-TILE) and 25 (AMX-INT8): what candle asks on Linux.
#[cfg(target_arch = "x86_64")]
fn has_matrix_extensions() -> bool {
    let flags = core::arch::x86_64::__cpuid_count(7, 0).edx;
    cfg!(target_os = "linux") && flags & (1 << 24) != 0 && flags & (1 << 25) != 0
}

#[cfg(target_arch = "aarch64")]
fn kernel_family(_: Lookup<'_>) -> String {
    use std::arch::is_aarch64_feature_detected as detected;
    match (detected!("i8mm"), detected!("dotprod")) {
        (true, true) => "neon-dotprod-i8mm",
        (false, true) => "neon-dotprod",
        _ => "neon",
    }
    .to_owned()
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn kernel_family(_: Lookup<'_>) -> String {
    format!("{}-portable", std::env::consts::ARCH)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_switch_that_replaces_matrices_is_refused_and_says_how_to_go_on() {
        for name in REFUSED {
            let set = |asked: &str| (asked == name).then(|| "1".to_owned());
            let message = refuse(&set).unwrap_err().to_string();
            assert!(
                message.contains(name) && message.contains("unset"),
                "{message}"
            );
            let off = |asked: &str| (asked == name).then(|| "0".to_owned());
            assert!(refuse(&off).is_ok());
        }
        assert!(refuse(&|_| None).is_ok());
    }

    #[test]
    fn kernel_switches_are_recorded() {
        let set = |asked: &str| (asked == "MISTRALRS_FORCE_AVX2").then(|| "1".to_owned());
        assert_eq!(
            recorded(&set),
            BTreeMap::from([("MISTRALRS_FORCE_AVX2".to_owned(), "1".to_owned())])
        );
    }

    #[test]
    fn a_switch_that_narrows_f32_is_refused_where_it_acts() {
        let set =
            |value: &'static str| move |asked: &str| (asked == NARROWED).then(|| value.to_owned());
        let message = refuse_on_accelerators(&set("1")).unwrap_err().to_string();
        assert!(
            message.contains(NARROWED) && message.contains("unset"),
            "{message}"
        );
        assert!(refuse_on_accelerators(&set("0")).is_ok());
        assert!(refuse(&set("1")).is_ok());
        assert_eq!(recorded_on_accelerators(&set("0")).len(), 1);
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn a_forced_kernel_level_is_another_numerics_class() {
        let set = |asked: &str| (asked == "MISTRALRS_FORCE_AVX2").then(|| "1".to_owned());
        let forced = numerics_class(&set);
        assert!(
            forced.0.ends_with("avx2") || forced.0.ends_with("portable"),
            "{forced}"
        );
    }

    #[test]
    fn the_version_is_the_one_that_is_compiled_in() {
        let lock = include_str!("../../../Cargo.lock");
        let entry = format!("name = \"candle-core\"\nversion = \"{CANDLE_VERSION}\"");
        assert!(lock.replace("\r\n", "\n").contains(&entry));
    }
}
