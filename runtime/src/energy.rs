//! Energy, from the counters that the processor itself keeps (RAPL, through Linux's powercap).
//!
//! A counter counts everything in its package. What the idle device draws is measured just before
//! and subtracted, so the figure is what the plan adds.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bitfront_model::Energy;

use crate::RuntimeError;

/// The counters of all processor packages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Counters(Vec<Counter>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Counter {
    name: String,
    path: PathBuf,
    /// The counter starts again at 0 after this many microjoules.
    range: u64,
}

impl Counters {
    /// The counters under `root`, which is `/` but in tests.
    ///
    /// # Errors
    ///
    /// Why there are none, for people.
    pub(crate) fn find(root: &Path) -> Result<Self, String> {
        let folder = root.join("sys/class/powercap");
        let zones = fs::read_dir(&folder).into_iter().flatten();
        let mut zones: Vec<_> = zones.filter_map(|zone| Some(zone.ok()?.path())).collect();
        zones.sort();
        let mut counters = Vec::new();
        for zone in zones {
            // Zones of one package, such as its cores, are part of it, and the one of the whole
            // system counts the packages again.
            let number = zone.file_name().and_then(|name| name.to_str());
            let number = number.and_then(|name| name.strip_prefix("intel-rapl:"));
            let name = fs::read_to_string(zone.join("name")).unwrap_or_default();
            let name = name.trim();
            if number.is_none_or(|number| number.contains(':')) || !name.starts_with("package") {
                continue;
            }
            counters.push(Counter {
                name: format!("rapl:{name}"),
                path: zone.join("energy_uj"),
                range: number_in(&zone.join("max_energy_range_uj"))?,
            });
        }
        match counters.is_empty() {
            true => Err("the platform has no RAPL counter (/sys/class/powercap)".to_owned()),
            false => Ok(Self(counters)),
        }
    }

    fn read(&self) -> Result<Vec<u64>, String> {
        self.0
            .iter()
            .map(|counter| number_in(&counter.path))
            .collect()
    }

    /// Joules between two readings, between which no counter went round more than once.
    fn joules(&self, before: &[u64], after: &[u64]) -> f64 {
        let readings = before.iter().zip(after).zip(&self.0);
        let microjoules = readings.map(|((&before, &after), counter)| match after >= before {
            true => after - before,
            false => counter.range.saturating_sub(before).saturating_add(after),
        });
        microjoules.sum::<u64>() as f64 / 1e6
    }

    fn source(&self) -> String {
        let names: Vec<_> = self.0.iter().map(|counter| counter.name.as_str()).collect();
        names.join(" + ")
    }
}

fn number_in(path: &Path) -> Result<u64, String> {
    let shown = path.display();
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        std::io::ErrorKind::PermissionDenied => format!(
            "`{shown}` may be read by the administrator alone; let the agent's user read it"
        ),
        _ => format!("cannot read `{shown}`: {error}"),
    })?;
    let number = text.trim();
    number
        .parse()
        .map_err(|_| format!("`{shown}` holds `{number}` and no number"))
}

/// The energy of a token: `idle` waits and says for how long, `work` works and says for how long
/// and on how many tokens.
///
/// # Errors
///
/// Those of `work`. A counter that cannot be read is a reason not to have measured.
pub(crate) fn measure(
    root: &Path,
    idle: &mut dyn FnMut() -> Duration,
    work: &mut dyn FnMut() -> Result<(Duration, u64), RuntimeError>,
) -> Result<Energy, RuntimeError> {
    let not_measured = |reason| Ok(Energy::NotMeasured { reason });
    let counters = match Counters::find(root) {
        Ok(counters) => counters,
        Err(reason) => return not_measured(reason),
    };
    let mut readings = Vec::with_capacity(3);
    let mut read = || counters.read().map(|reading| readings.push(reading));
    if let Err(reason) = read() {
        return not_measured(reason);
    }
    let idle_time = idle();
    if let Err(reason) = read() {
        return not_measured(reason);
    }
    let (duration, tokens) = work()?;
    if let Err(reason) = read() {
        return not_measured(reason);
    }
    if idle_time.is_zero() || duration.is_zero() || tokens == 0 {
        return not_measured("no time passed by the clock of this device".to_owned());
    }
    let idle_watts = counters.joules(&readings[0], &readings[1]) / idle_time.as_secs_f64();
    let joules = counters.joules(&readings[1], &readings[2]);
    Ok(Energy::Measured {
        source: counters.source(),
        joules_per_token: (joules - idle_watts * duration.as_secs_f64()) / tokens as f64,
        idle_watts,
        joules,
        duration_ns: u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX),
        tokens,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Two packages, with a zone inside of one and a zone around both.
    fn device() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (zone, name, range) in [
            ("intel-rapl:0", "package-0", "10000000"),
            ("intel-rapl:0:0", "core", "10000000"),
            ("intel-rapl:1", "package-1", "10000000"),
            ("intel-rapl:2", "psys", "10000000"),
        ] {
            let folder = root.path().join("sys/class/powercap").join(zone);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("name"), format!("{name}\n")).unwrap();
            fs::write(folder.join("max_energy_range_uj"), format!("{range}\n")).unwrap();
            fs::write(folder.join("energy_uj"), "123\n").unwrap();
        }
        root
    }

    fn count(root: &tempfile::TempDir, readings: [u64; 2]) {
        for (package, reading) in readings.into_iter().enumerate() {
            let zone = format!("sys/class/powercap/intel-rapl:{package}/energy_uj");
            fs::write(root.path().join(zone), format!("{reading}\n")).unwrap();
        }
    }

    fn reason(energy: Energy) -> String {
        match energy {
            Energy::NotMeasured { reason } => reason,
            measured => panic!("{measured:?}"),
        }
    }

    #[test]
    fn what_the_idle_device_draws_is_subtracted_and_counters_go_round() {
        let root = device();
        count(&root, [9_000_000, 0]);
        let energy = measure(
            root.path(),
            &mut || {
                // 3 J in 2 s, while the first counter goes round.
                count(&root, [1_000_000, 1_000_000]);
                Duration::from_secs(2)
            },
            &mut || {
                // 8 J in 4 s, of which the idle device drew 6.
                count(&root, [6_000_000, 4_000_000]);
                Ok((Duration::from_secs(4), 10))
            },
        );
        let expected = Energy::Measured {
            source: "rapl:package-0 + rapl:package-1".to_owned(),
            joules_per_token: 0.2,
            idle_watts: 1.5,
            joules: 8.0,
            duration_ns: 4_000_000_000,
            tokens: 10,
        };
        assert_eq!(energy.unwrap(), expected);
    }

    #[test]
    fn without_a_counter_nothing_is_measured_and_the_reason_is_told() {
        let never = &mut || -> Duration { panic!("nothing is waited for") };
        let unused = &mut || -> Result<(Duration, u64), RuntimeError> { panic!("nothing is run") };
        let root = tempfile::tempdir().unwrap();
        let told = reason(measure(root.path(), never, unused).unwrap());
        assert!(told.contains("no RAPL counter"), "{told}");

        let root = device();
        let zone = root.path().join("sys/class/powercap/intel-rapl:1");
        fs::write(zone.join("energy_uj"), "much\n").unwrap();
        let told = reason(measure(root.path(), never, unused).unwrap());
        assert!(
            told.contains("intel-rapl:1/energy_uj` holds `much`"),
            "{told}"
        );
        fs::remove_file(zone.join("energy_uj")).unwrap();
        let told = reason(measure(root.path(), never, unused).unwrap());
        assert!(told.contains("cannot read"), "{told}");
        fs::remove_file(zone.join("max_energy_range_uj")).unwrap();
        let told = reason(measure(root.path(), never, unused).unwrap());
        assert!(told.contains("max_energy_range_uj"), "{told}");
    }

    #[test]
    fn a_counter_that_goes_away_meanwhile_is_no_figure() {
        let root = device();
        let zone = root
            .path()
            .join("sys/class/powercap/intel-rapl:0/energy_uj");
        let energy = measure(
            root.path(),
            &mut || {
                fs::remove_file(&zone).unwrap();
                Duration::from_secs(1)
            },
            &mut || Ok((Duration::from_secs(1), 1)),
        );
        assert!(reason(energy.unwrap()).contains("intel-rapl:0"));
        let still = measure(device().path(), &mut || Duration::ZERO, &mut || {
            Ok((Duration::from_secs(1), 1))
        });
        assert!(reason(still.unwrap()).contains("no time passed"));
    }
}
