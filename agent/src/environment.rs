//! What the device was like while it measured.

use bitfront_model::Environment;
use sysinfo::System;

use crate::pinning::Pinning;

/// Readings from before a measurement; [`Readings::finish`] adds those from after it.
#[derive(Debug, Clone)]
pub(crate) struct Readings {
    load_average: Option<f64>,
    frequency_mhz: Option<f64>,
}

impl Readings {
    /// Reads what must be known before the measurement changes it.
    pub(crate) fn before() -> Self {
        Self {
            load_average: load_average(),
            frequency_mhz: frequency_mhz(),
        }
    }

    /// Completes the readings after the measurement.
    pub(crate) fn finish(self, host: &str, pinning: &Pinning) -> Environment {
        Environment {
            host: host.to_owned(),
            agent_version: env!("CARGO_PKG_VERSION").to_owned(),
            load_average: self.load_average,
            frequency_mhz: self.frequency_mhz,
            peak_resident_bytes: peak_resident_bytes(),
            pinned_cores: pinning.cores().to_vec(),
            not_pinned: pinning.reason().map(ToOwned::to_owned),
            ..Environment::default()
        }
    }
}

/// Windows has no load average; the one that could be made up there would start at zero.
fn load_average() -> Option<f64> {
    cfg!(unix)
        .then(|| System::load_average().ok())
        .flatten()
        .map(|load| load.one)
}

/// The clock of the first core, from the governor's own file or else from the processor's list.
fn frequency_mhz() -> Option<f64> {
    let governed = "/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq";
    let kilohertz = std::fs::read_to_string(governed)
        .ok()
        .and_then(|text| text.trim().parse::<f64>().ok());
    kilohertz.map(|kilohertz| kilohertz / 1e3).or_else(|| {
        let listed = std::fs::read_to_string("/proc/cpuinfo").ok()?;
        field(&listed, "cpu MHz")?.parse().ok()
    })
}

/// Peak resident memory of this process, in bytes, where the platform tells.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let kibibytes = field(&status, "VmHWM")?.strip_suffix("kB")?.trim();
    kibibytes.parse::<u64>().ok()?.checked_mul(1024)
}

/// The value of the first `name : value` line.
fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines().find_map(|line| {
        let (left, right) = line.split_once(':')?;
        (left.trim() == name).then(|| right.trim())
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "VmHWMx:\t1 kB\nVmHWM:\t  5120 kB\ncpu MHz\t\t: 2596.120\n";
        assert_eq!(field(text, "VmHWM"), Some("5120 kB"));
        assert_eq!(field(text, "cpu MHz"), Some("2596.120"));
        assert_eq!(field(text, "VmRSS"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn linux_tells_load_and_peak_memory() {
        let environment = Readings::before().finish("host", &Pinning::Free("unasked".to_owned()));
        assert_eq!(environment.host, "host");
        assert_eq!(environment.not_pinned.as_deref(), Some("unasked"));
        assert!(environment.load_average.unwrap() >= 0.0);
        assert!(environment.peak_resident_bytes.unwrap() > 1 << 20);
    }
}
