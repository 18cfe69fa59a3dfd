//! Which cores measure: as many as the engine has threads, one of each physical core first, fast
//! ones first.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Which cores the measuring threads are held to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoreChoice {
    /// As many as the engine has threads, the best ones first.
    #[default]
    Automatic,
    /// Just these, in this order.
    Named(Vec<u32>),
    /// The operating system chooses anew at any moment; every latency is marked for it.
    Any,
}

/// Why threads cannot be held to the cores that were named.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CoresError {
    /// The text is no list of cores.
    #[error(
        "`{text}` is no list of cores: `{part}` is neither a number nor a range; write 2,3 or \
         0-3, or `any` to let the operating system choose"
    )]
    Malformed {
        /// What was given.
        text: String,
        /// The part at fault.
        part: String,
    },
    /// A core is named twice.
    #[error("core {core} is named twice; name each core once")]
    Twice {
        /// The core.
        core: u32,
    },
    /// A core is not there, or not for this process.
    #[error("core {core} is not there for this process, which may use {}", list(.there))]
    Absent {
        /// The core.
        core: u32,
        /// Those that there are.
        there: Vec<u32>,
    },
    /// More threads than cores would take turns on them, and no figure would mean anything.
    #[error(
        "the runtime computes with {threads} threads and {named} core(s) are named; name {threads} \
         cores, or start with as many threads as cores (CANDLE_NUM_THREADS={named} \
         RAYON_NUM_THREADS={named})"
    )]
    TooFew {
        /// The engine's threads.
        threads: u32,
        /// How many cores were named.
        named: usize,
    },
    /// The platform or its administrator does not let threads be held to cores.
    #[error("threads cannot be held to cores here: {reason}; leave the cores to the system")]
    Unsupported {
        /// Why.
        reason: String,
    },
}

/// Core numbers for people.
pub(crate) fn list(cores: &[u32]) -> String {
    let numbers: Vec<String> = cores.iter().map(ToString::to_string).collect();
    match numbers.len() {
        1 => format!("core {}", numbers[0]),
        _ => format!("cores {}", numbers.join(", ")),
    }
}

impl FromStr for CoreChoice {
    type Err = CoresError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "any" {
            return Ok(Self::Any);
        }
        let mut cores = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let range = first
                .trim()
                .parse::<u16>()
                .ok()
                .zip(last.trim().parse().ok());
            let Some((first, last)) = range.filter(|(first, last)| first <= last) else {
                return Err(CoresError::Malformed {
                    text: text.to_owned(),
                    part: part.to_owned(),
                });
            };
            cores.extend((first..=last).map(u32::from));
        }
        let mut seen = BTreeSet::new();
        match cores.iter().find(|&&core| !seen.insert(core)) {
            Some(&core) => Err(CoresError::Twice { core }),
            None => Ok(Self::Named(cores)),
        }
    }
}

/// One core, as far as choosing goes.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Core {
    number: u32,
    /// The lowest thread of its physical core.
    physical: u32,
    /// How many allowed threads of the same physical core come before it.
    rank: usize,
    /// How fast it is beside the others, and the unit's name.
    speed: Option<(u64, &'static str)>,
}

/// The cores that this process may use, best first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cores(Vec<Core>);

impl Cores {
    /// Reads what `cpus` (`/sys/devices/system/cpu`) says of the `allowed` ones.
    ///
    /// One thread of every physical core comes before any second one, and fast ones before slow
    /// ones. Among equals the highest number comes first, since the first core serves most of the
    /// interrupts.
    pub(crate) fn read(cpus: &Path, allowed: &[u32]) -> Self {
        let mut allowed = allowed.to_vec();
        allowed.sort_unstable();
        let physical: Vec<u32> = allowed.iter().map(|&core| physical(cpus, core)).collect();
        let mut cores: Vec<Core> = (allowed.iter().enumerate())
            .map(|(index, &number)| Core {
                number,
                physical: physical[index],
                rank: physical[..index]
                    .iter()
                    .filter(|&&other| other == physical[index])
                    .count(),
                speed: speed(cpus, number),
            })
            .collect();
        cores.sort_by_key(|core| {
            let speed = core.speed.map_or(0, |(speed, _)| speed);
            (core.rank, Reverse(speed), Reverse(core.number))
        });
        Self(cores)
    }

    /// The numbers of all of them, in order.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        let mut numbers: Vec<u32> = self.0.iter().map(|core| core.number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// The cores for an engine with so many threads: all of them where there are fewer.
    pub(crate) fn best(&self, threads: u32) -> Vec<u32> {
        let numbers = self.0.iter().map(|core| core.number);
        numbers.take(threads.max(1) as usize).collect()
    }

    /// Checks cores that somebody named.
    pub(crate) fn check(&self, named: &[u32], threads: u32) -> Result<(), CoresError> {
        let there = self.numbers();
        if let Some(&core) = named.iter().find(|core| !there.contains(core)) {
            return Err(CoresError::Absent { core, there });
        }
        if named.len() < threads as usize {
            let named = named.len();
            return Err(CoresError::TooFew { threads, named });
        }
        Ok(())
    }

    /// How the chosen ones lie, without their numbers: devices that differ in nothing else are
    /// interchangeable. Names the kinds where the device has several: speeds within a tenth of the
    /// fastest are one kind, as candle has it too.
    pub(crate) fn placement(&self, chosen: &[u32]) -> String {
        let chosen = || (self.0.iter()).filter(|core| chosen.contains(&core.number));
        let physical: BTreeSet<u32> = chosen().map(|core| core.physical).collect();
        let count = |count: usize, noun: &str| {
            let plural = if count == 1 { "" } else { "s" };
            format!("{count} {noun}{plural}")
        };
        let threads = chosen().count();
        let cores = count(physical.len(), "core");
        let mut placement = match threads == physical.len() {
            true => cores,
            false => format!("{} of {cores}", count(threads, "thread")),
        };
        if self.is_of_several_kinds() {
            let kinds: BTreeSet<_> = chosen().filter_map(|core| core.speed).collect();
            let kinds = kinds.iter().map(|(speed, unit)| format!("{unit} {speed}"));
            placement += &format!(", {}", kinds.collect::<Vec<_>>().join(" + "));
        }
        placement
    }

    fn is_of_several_kinds(&self) -> bool {
        let speeds = || self.0.iter().filter_map(|core| Some(core.speed?.0));
        match (speeds().min(), speeds().max()) {
            (Some(least), Some(most)) => least * 10 < most * 9,
            _ => false,
        }
    }
}

/// The lowest thread of the core's physical core; itself where the platform does not tell.
fn physical(cpus: &Path, core: u32) -> u32 {
    let topology = cpus.join(format!("cpu{core}/topology"));
    // The first name came with Linux 5.3, the second is the older one.
    ["core_cpus_list", "thread_siblings_list"]
        .into_iter()
        .find_map(|name| {
            let text = std::fs::read_to_string(topology.join(name)).ok()?;
            let first = text.trim().split([',', '-']).next()?;
            first.parse().ok()
        })
        .unwrap_or(core)
}

/// The scheduler's own estimate where there is one, or else the highest clock.
fn speed(cpus: &Path, core: u32) -> Option<(u64, &'static str)> {
    let number = |name: &str| {
        let path = cpus.join(format!("cpu{core}/{name}"));
        let text = std::fs::read_to_string(path).ok()?;
        text.trim().parse::<u64>().ok()
    };
    let capacity = number("cpu_capacity").map(|capacity| (capacity, "capacity"));
    capacity.or_else(|| Some((number("cpufreq/cpuinfo_max_freq")? / 1000, "MHz")))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    /// A tree with, for each core, the list of its physical core and a file that tells its speed.
    fn tree(cores: &[(&str, Option<(&str, &str)>)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (core, (siblings, speed)) in cores.iter().enumerate() {
            let topology = folder.path().join(format!("cpu{core}/topology"));
            std::fs::create_dir_all(&topology).unwrap();
            std::fs::write(topology.join("core_cpus_list"), format!("{siblings}\n")).unwrap();
            if let Some((name, value)) = speed {
                let path = folder.path().join(format!("cpu{core}/{name}"));
                std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                std::fs::write(path, format!("{value}\n")).unwrap();
            }
        }
        folder
    }

    #[test]
    fn physical_cores_come_first_and_fast_ones_before_slow_ones() {
        let capacity = |value| Some(("cpu_capacity", value));
        let clock = |value| Some(("cpufreq/cpuinfo_max_freq", value));
        type Row<'a> = (&'a str, tempfile::TempDir, &'a [u32], &'a [u32], &'a str);
        let rows: &[Row<'_>] = &[
            (
                "two threads a core",
                tree(&[("0,2", None), ("1,3", None), ("0,2", None), ("1,3", None)]),
                &[0, 1, 2, 3],
                &[1, 0, 3, 2],
                "2 cores",
            ),
            (
                "the first thread of a core is not allowed",
                tree(&[("0-1", None), ("0-1", None), ("2-3", None), ("2-3", None)]),
                &[1, 2, 3],
                &[2, 1, 3],
                "2 cores",
            ),
            (
                "big and little",
                tree(&[
                    ("0", capacity("400")),
                    ("1", capacity("400")),
                    ("2", capacity("1024")),
                    ("3", capacity("1000")),
                ]),
                &[0, 1, 2, 3],
                &[2, 3, 1, 0],
                "2 cores, capacity 1000 + capacity 1024",
            ),
            (
                "fast cores with two threads, slow ones with one",
                tree(&[
                    ("0-1", clock("5000000")),
                    ("0-1", clock("5000000")),
                    ("2", clock("4000000")),
                ]),
                &[0, 1, 2],
                &[0, 2, 1],
                "2 cores, MHz 4000 + MHz 5000",
            ),
            (
                "one kind within a tenth",
                tree(&[("0", clock("5000000")), ("1", clock("5200000"))]),
                &[0, 1],
                &[1, 0],
                "2 cores",
            ),
            (
                "nothing is told",
                tree(&[]),
                &[0, 1, 5],
                &[5, 1, 0],
                "2 cores",
            ),
        ];
        let mut wrong = Vec::new();
        for (name, folder, allowed, expected, placement) in rows {
            let cores = Cores::read(folder.path(), allowed);
            let all = cores.best(99);
            let found = cores.placement(&cores.best(2));
            if all != *expected || found != *placement {
                wrong.push(format!("{name}: {all:?} {found}"));
            }
            assert_eq!(cores.best(1), expected[..1], "{name}");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    #[test]
    fn two_threads_of_one_core_are_another_placement() {
        let folder = tree(&[("0,2", None), ("1,3", None), ("0,2", None), ("1,3", None)]);
        let cores = Cores::read(folder.path(), &[0, 1, 2, 3]);
        assert_eq!(cores.placement(&[0, 2]), "2 threads of 1 core");
        assert_eq!(cores.placement(&[0, 1]), cores.placement(&[3, 2]));
        assert_eq!(cores.placement(&[3]), "1 core");
    }

    #[test]
    fn lists_of_cores_are_read_and_bad_ones_are_named() {
        let named = |cores: &[u32]| Ok(CoreChoice::Named(cores.to_vec()));
        assert_eq!("2,3".parse(), named(&[2, 3]));
        assert_eq!("5, 0-2".parse(), named(&[5, 0, 1, 2]));
        assert_eq!("any".parse(), Ok(CoreChoice::Any));
        for (text, told) in [
            ("", "``"),
            ("2,x", "`x`"),
            ("3-1", "`3-1`"),
            ("-1", "`-1`"),
            ("0-99999999", "`0-99999999`"),
            ("1,0-1", "core 1 is named twice"),
        ] {
            let error = text.parse::<CoreChoice>().unwrap_err().to_string();
            assert!(error.contains(told), "{text}: {error}");
        }
    }

    #[test]
    fn a_core_that_is_not_there_is_named_with_those_that_are() {
        let folder = tempfile::tempdir().unwrap();
        let cores = Cores::read(folder.path(), &[0, 1]);
        assert_eq!(cores.check(&[1], 1), Ok(()));
        let error = cores.check(&[1, 9], 1).unwrap_err().to_string();
        assert!(
            error.contains("core 9") && error.contains("cores 0, 1"),
            "{error}"
        );
        let error = cores.check(&[1], 2).unwrap_err().to_string();
        assert!(
            error.contains("2 threads") && error.contains("1 core"),
            "{error}"
        );
    }
}
