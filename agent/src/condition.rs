//! What the device is like around a timing: the sensors and counters that its platform has.
//!
//! Everything is read from files under one root, so that a test can say what they hold. What the
//! platform does not tell is absent and never guessed.

use std::fs;
use std::path::{Path, PathBuf};

use bitfront_model::{Condition, CoreCondition, Heat, Mark};

use crate::pinning::{MEASURING_THREAD, Pinning};

/// Time that others may use on the measuring cores, in cores: a fifth of one.
pub(crate) const MOST_BUSY_CORES: f64 = 0.2;

/// The sensors that matter for an agent's timings.
#[derive(Debug, Clone)]
pub(crate) struct Sensors {
    root: PathBuf,
    /// The cores that measure; all of them where none are held.
    cores: Vec<u32>,
    /// How the names of the engine's threads begin.
    engine: String,
}

/// What the kernel has counted so far, in its own units of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticks {
    /// Cores that are counted.
    cores: u64,
    /// All time of these cores.
    total: u64,
    /// Time in which they worked for anybody here.
    used: u64,
    /// Time in which the hypervisor let other guests have them.
    stolen: u64,
    /// Time that the measuring threads used.
    own: u64,
}

impl Sensors {
    /// The sensors under `root`, which is `/` but in tests, for an engine whose threads' names
    /// begin with `engine`.
    pub(crate) fn new(root: &Path, pinning: &Pinning, engine: &str) -> Self {
        let mut cores = pinning.cores().to_vec();
        cores.sort_unstable();
        Self {
            root: root.to_owned(),
            cores,
            engine: format!("{engine}-"),
        }
    }

    /// What the kernel has counted so far; none where it counts otherwise.
    pub(crate) fn ticks(&self) -> Option<Ticks> {
        let text = self.text("proc/stat")?;
        let mut ticks = Ticks {
            cores: 0,
            total: 0,
            used: 0,
            stolen: 0,
            own: self.own_ticks(),
        };
        for line in text.lines() {
            let mut fields = line.split_whitespace();
            let number = fields.next().and_then(|name| name.strip_prefix("cpu"));
            let Some(number) = number.and_then(|number| number.parse().ok()) else {
                continue;
            };
            if !self.cores.is_empty() && !self.cores.contains(&number) {
                continue;
            }
            // user nice system idle iowait irq softirq steal; the guests' are part of the first.
            let fields: Vec<u64> = fields
                .take(8)
                .map_while(|field| field.parse().ok())
                .collect();
            let [user, nice, system, _, _, interrupt, soft, stolen] = fields[..] else {
                return None;
            };
            ticks.cores += 1;
            ticks.total += fields.iter().sum::<u64>();
            ticks.used += user + nice + system + interrupt + soft;
            ticks.stolen += stolen;
        }
        (ticks.cores > 0).then_some(ticks)
    }

    /// Load average over one minute, over the whole device.
    pub(crate) fn load_average(&self) -> Option<f64> {
        let text = self.text("proc/loadavg")?;
        text.split_whitespace().next()?.parse().ok()
    }

    /// What the sensors say now, and what the kernel counted since `since`.
    pub(crate) fn read(&self, since: Option<Ticks>) -> Condition {
        let used = since.zip(self.ticks()).and_then(|(since, now)| {
            let total = now.total.checked_sub(since.total)?;
            let used = now.used.saturating_sub(since.used);
            let others = used.saturating_sub(now.own.saturating_sub(since.own));
            let stolen = now.stolen.saturating_sub(since.stolen);
            let in_cores = |ticks: u64| ticks as f64 * now.cores as f64 / total as f64;
            (total > 0).then(|| (in_cores(others), in_cores(stolen)))
        });
        Condition {
            busy_cores: used.map(|(busy, _)| busy),
            stolen_cores: used.map(|(_, stolen)| stolen),
            cores: self.cores.iter().map(|&core| self.core(core)).collect(),
            heat: self.heat(),
            on_battery: self.on_battery(),
        }
    }

    /// Time that the measuring thread and its engine's have used. Others of this process count as
    /// others: they disturb a timing as much.
    fn own_ticks(&self) -> u64 {
        let tasks = self.entries("proc/self/task");
        let ticks = tasks.into_iter().filter_map(|task| {
            let name = fs::read_to_string(task.join("comm")).ok()?;
            let name = name.trim();
            if name != MEASURING_THREAD && !name.starts_with(&self.engine) {
                return None;
            }
            let stat = fs::read_to_string(task.join("stat")).ok()?;
            // The name in the second field may hold anything, but nothing after it holds a bracket.
            let (_, fields) = stat.rsplit_once(')')?;
            let mut fields = fields.split_whitespace().skip(11);
            let user: u64 = fields.next()?.parse().ok()?;
            let system: u64 = fields.next()?.parse().ok()?;
            Some(user + system)
        });
        ticks.sum()
    }

    fn core(&self, core: u32) -> CoreCondition {
        let folder = format!("sys/devices/system/cpu/cpu{core}");
        let throttled = |name: &str| self.number(&format!("{folder}/thermal_throttle/{name}"));
        let (alone, package) = (
            throttled("core_throttle_count"),
            throttled("package_throttle_count"),
        );
        let throttles = match (alone, package) {
            (None, None) => None,
            (alone, package) => Some(alone.unwrap_or(0.0) as u64 + package.unwrap_or(0.0) as u64),
        };
        let governed = self.number(&format!("{folder}/cpufreq/scaling_cur_freq"));
        CoreCondition {
            core,
            frequency_mhz: governed
                .map(|kilohertz| kilohertz / 1e3)
                .or_else(|| self.listed_frequency(core)),
            throttles,
        }
    }

    /// The clock of a core in the processor's own list, which some virtual machines have alone.
    fn listed_frequency(&self, core: u32) -> Option<f64> {
        let text = self.text("proc/cpuinfo")?;
        let mut fields = text.lines().filter_map(|line| line.split_once(':'));
        fields
            .find(|(name, value)| name.trim() == "processor" && value.trim().parse() == Ok(core))?;
        let mut fields = fields.take_while(|(name, _)| name.trim() != "processor");
        let (_, value) = fields.find(|(name, _)| name.trim() == "cpu MHz")?;
        value.trim().parse().ok()
    }

    /// The sensor that is nearest to its trip point, or else the warmest.
    fn heat(&self) -> Option<Heat> {
        let zones = self.entries("sys/class/thermal").into_iter();
        let heats = zones.filter_map(|zone| {
            let number = |name: &str| number(&zone.join(name)).map(|thousandths| thousandths / 1e3);
            let celsius = number("temp")?;
            let trips = (0..16).filter_map(|trip| {
                let kind = fs::read_to_string(zone.join(format!("trip_point_{trip}_type"))).ok()?;
                // At an active one a fan starts, which costs no speed.
                let slows = ["passive", "hot", "critical"].contains(&kind.trim());
                let celsius = number(&format!("trip_point_{trip}_temp"))?;
                (slows && celsius > 0.0).then_some(celsius)
            });
            Some(Heat {
                sensor: fs::read_to_string(zone.join("type"))
                    .map_or_else(|_| String::new(), |name| name.trim().to_owned()),
                celsius,
                trip_celsius: trips.min_by(f64::total_cmp),
            })
        });
        let below = |heat: &Heat| heat.trip_celsius.map(|trip| trip - heat.celsius);
        heats.min_by(|one, other| match (below(one), below(other)) {
            (Some(one), Some(other)) => one.total_cmp(&other),
            (None, None) => other.celsius.total_cmp(&one.celsius),
            (one, other) => other.is_some().cmp(&one.is_some()),
        })
    }

    /// Whether no mains supply is there that could feed the device, or a battery empties.
    fn on_battery(&self) -> Option<bool> {
        let (mut mains, mut discharging) = (None, None);
        for supply in self.entries("sys/class/power_supply") {
            let text = |name: &str| fs::read_to_string(supply.join(name)).unwrap_or_default();
            match text("type").trim() {
                "Mains" => mains = Some(mains.unwrap_or(false) || text("online").trim() == "1"),
                "Battery" => {
                    let empties = text("status").trim() == "Discharging";
                    discharging = Some(discharging.unwrap_or(false) || empties);
                }
                _ => {}
            }
        }
        mains.map(|online: bool| !online).or(discharging)
    }

    fn text(&self, path: &str) -> Option<String> {
        fs::read_to_string(self.root.join(path)).ok()
    }

    fn number(&self, path: &str) -> Option<f64> {
        number(&self.root.join(path))
    }

    /// What a folder holds, in order.
    fn entries(&self, folder: &str) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.root.join(folder)).into_iter().flatten();
        let mut paths: Vec<_> = entries
            .filter_map(|entry| Some(entry.ok()?.path()))
            .collect();
        paths.sort();
        paths
    }
}

fn number(path: &Path) -> Option<f64> {
    let text = fs::read_to_string(path).ok()?;
    text.trim()
        .parse()
        .ok()
        .filter(|number: &f64| number.is_finite())
}

/// True where others used more of the measuring cores than a timing can bear.
pub(crate) fn is_busy(condition: &Condition) -> bool {
    let others = condition.busy_cores.unwrap_or(0.0) + condition.stolen_cores.unwrap_or(0.0);
    others > MOST_BUSY_CORES
}

/// What the conditions around a timing make of its figures.
pub(crate) fn marks(before: &Condition, after: &Condition, pinning: &Pinning) -> Vec<Mark> {
    let either = |found: fn(&Condition) -> bool| found(before) || found(after);
    let throttled = before
        .cores
        .iter()
        .zip(&after.cores)
        .any(|(before, after)| {
            (before.throttles.zip(after.throttles)).is_some_and(|(before, after)| after > before)
        });
    let hot = |condition: &Condition| {
        let heat = condition.heat.as_ref();
        heat.is_some_and(|heat| heat.trip_celsius.is_some_and(|trip| heat.celsius >= trip))
    };
    let found = [
        (either(is_busy), Mark::Busy),
        (throttled, Mark::Throttled),
        (either(hot), Mark::Hot),
        (either(|it| it.on_battery == Some(true)), Mark::OnBattery),
    ];
    let found = found
        .into_iter()
        .filter_map(|(is, mark)| is.then_some(mark));
    found.chain(pinning.mark()).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// Files of a made-up device.
    pub(crate) struct Device(tempfile::TempDir);

    impl Device {
        pub(crate) fn new(files: &[(&str, &str)]) -> Self {
            let device = Self(tempfile::tempdir().unwrap());
            for (path, content) in files {
                device.write(path, content);
            }
            device
        }

        pub(crate) fn write(&self, path: &str, content: &str) {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, format!("{content}\n")).unwrap();
        }

        /// Two cores of which the second measures, so many ticks of each kind since the start.
        pub(crate) fn ticks(&self, idle: u64, used: u64, stolen: u64, own: u64) {
            self.write(
                "proc/stat",
                &format!(
                    "cpu 9 9 9 9 9 9 9 9 0 0\ncpu0 900 0 0 5 0 0 0 0 0 0\n\
                     cpu1 {used} 0 0 {idle} 0 0 0 {stolen} 0 0\nintr 5 0 0"
                ),
            );
            let fields = "R 1 1 1 0 -1 4194304 99 0 0 0";
            self.write("proc/self/task/1/comm", "tokio-rt");
            self.write(
                "proc/self/task/1/stat",
                &format!("1 (a) b) {fields} 500 500"),
            );
            self.write("proc/self/task/2/comm", "measure");
            self.write(
                "proc/self/task/2/stat",
                &format!("2 (measure) {fields} {own} 0"),
            );
        }

        pub(crate) fn sensors(&self) -> Sensors {
            Sensors::new(self.0.path(), &Pinning::held_for_test(&[1], &[0]), "candle")
        }
    }

    #[test]
    fn what_others_use_on_the_measuring_core_counts_and_nothing_else() {
        let device = Device::new(&[]);
        device.ticks(100, 50, 0, 20);
        let sensors = device.sensors();
        let since = sensors.ticks();
        // 100 ticks: 60 used, 40 of them by the measuring thread, 10 by another guest.
        device.ticks(130, 110, 10, 60);
        let condition = sensors.read(since);
        assert_eq!(condition.busy_cores, Some(0.2));
        assert_eq!(condition.stolen_cores, Some(0.1));
        assert!(is_busy(&condition));
        // The kernel counts the threads by other moments than the cores.
        device.ticks(160, 120, 10, 90);
        assert_eq!(sensors.read(since).busy_cores, Some(0.0));
        // No time has passed, or the counters began anew: nothing is known.
        assert_eq!(sensors.read(sensors.ticks()).busy_cores, None);
        device.ticks(1, 1, 0, 0);
        assert_eq!(sensors.read(since).busy_cores, None);
    }

    #[test]
    fn sensors_are_read_as_the_kernel_writes_them() {
        let device = Device::new(&[
            ("proc/loadavg", "1.25 0.76 1.29 3/194 6122"),
            (
                "sys/devices/system/cpu/cpu1/thermal_throttle/core_throttle_count",
                "3",
            ),
            (
                "sys/devices/system/cpu/cpu1/thermal_throttle/package_throttle_count",
                "4",
            ),
            (
                "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq",
                "2600500",
            ),
            ("sys/class/thermal/thermal_zone0/type", "acpitz"),
            ("sys/class/thermal/thermal_zone0/temp", "90000"),
            ("sys/class/thermal/thermal_zone1/type", "x86_pkg_temp"),
            ("sys/class/thermal/thermal_zone1/temp", "61500"),
            (
                "sys/class/thermal/thermal_zone1/trip_point_0_type",
                "active",
            ),
            ("sys/class/thermal/thermal_zone1/trip_point_0_temp", "50000"),
            (
                "sys/class/thermal/thermal_zone1/trip_point_1_type",
                "passive",
            ),
            ("sys/class/thermal/thermal_zone1/trip_point_1_temp", "95000"),
            ("sys/class/power_supply/AC/type", "Mains"),
            ("sys/class/power_supply/AC/online", "0"),
        ]);
        let found = device.sensors().read(None);
        assert_eq!(device.sensors().load_average(), Some(1.25));
        let expected = Condition {
            busy_cores: None,
            stolen_cores: None,
            cores: vec![CoreCondition {
                core: 1,
                frequency_mhz: Some(2600.5),
                throttles: Some(7),
            }],
            heat: Some(Heat {
                sensor: "x86_pkg_temp".to_owned(),
                celsius: 61.5,
                trip_celsius: Some(95.0),
            }),
            on_battery: Some(true),
        };
        assert_eq!(found, expected);
    }

    #[test]
    fn a_platform_that_tells_nothing_leaves_everything_open() {
        let device = Device::new(&[]);
        let sensors = device.sensors();
        assert_eq!(sensors.ticks(), None);
        let silent = CoreCondition {
            core: 1,
            ..CoreCondition::default()
        };
        let expected = Condition {
            cores: vec![silent],
            ..Condition::default()
        };
        assert_eq!(sensors.read(None), expected);
        // The clock is also in the processor's list, by core.
        let listed = "processor : 0\ncpu MHz\t: 1.0\n\nprocessor : 1\ncpu MHz\t: 2.5\n";
        device.write("proc/cpuinfo", listed);
        assert_eq!(sensors.read(None).cores[0].frequency_mhz, Some(2.5));
        device.write("proc/stat", "cpu1 1 2 3");
        assert_eq!(sensors.ticks(), None);
    }

    #[test]
    fn each_condition_has_its_mark() {
        let calm = Condition {
            busy_cores: Some(0.05),
            stolen_cores: Some(0.0),
            cores: vec![CoreCondition {
                core: 1,
                throttles: Some(7),
                ..CoreCondition::default()
            }],
            heat: Some(Heat {
                sensor: "x86_pkg_temp".to_owned(),
                celsius: 60.0,
                trip_celsius: Some(95.0),
            }),
            on_battery: Some(false),
        };
        let but = |change: fn(&mut Condition)| {
            let mut changed = calm.clone();
            change(&mut changed);
            changed
        };
        let held = Pinning::held_for_test(&[1], &[0]);
        let rows = [
            (but(|_| {}), vec![]),
            (but(|it| it.busy_cores = Some(0.3)), vec![Mark::Busy]),
            (but(|it| it.stolen_cores = Some(0.3)), vec![Mark::Busy]),
            (
                but(|it| it.cores[0].throttles = Some(8)),
                vec![Mark::Throttled],
            ),
            (but(|it| it.cores[0].throttles = None), vec![]),
            (
                but(|it| it.heat.as_mut().unwrap().celsius = 95.0),
                vec![Mark::Hot],
            ),
            (but(|it| it.on_battery = Some(true)), vec![Mark::OnBattery]),
        ];
        for (after, expected) in rows {
            assert_eq!(marks(&calm, &after, &held), expected, "{after:?}");
        }
        assert_eq!(
            marks(&calm, &calm, &Pinning::Free("unasked".to_owned())),
            [Mark::NotPinned]
        );
        assert_eq!(
            marks(&calm, &calm, &Pinning::held_for_test(&[1], &[])),
            [Mark::CoresShared]
        );
    }
}
