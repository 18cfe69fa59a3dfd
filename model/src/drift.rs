//! What moved between two searches over one model and text on one device, such as those of two
//! nights: a new driver, a new runtime, a board that gets too warm.

use std::fmt;
use std::str::FromStr;

use crate::{HardwareProfile, Interval, Ratio, UnknownName, Workload};

/// What two searches say of the same plans, the later one against the earlier one.
#[derive(Debug, Clone, PartialEq)]
pub struct Drift {
    /// The search whose figures are held against the other one's.
    pub before: i64,
    /// The search that measured the same plans again.
    pub after: i64,
    /// One line about the hardware of `before`, for people.
    pub hardware_before: String,
    /// The same of `after`.
    pub hardware_after: String,
    /// In what the hardware profiles of the two differ; empty where it is one.
    pub profile: Vec<ProfileChange>,
    /// The plans that both measured alike, in the order in which `before` asked for them.
    pub points: Vec<Moved>,
    /// What the plans say together: of the divergence, then of every workload.
    pub overall: Vec<Overall>,
    /// Plans that `before` measured and that cannot be executed any more.
    pub infeasible: Vec<NowInfeasible>,
    /// Candidates of `after` on its front whose plan `before` did not have on its own.
    pub entered: Vec<i64>,
    /// Candidates of `before` on its front whose plan `after` measured and does not have on its own.
    pub left: Vec<i64>,
    /// Plans on the front of `before` that `after` did not measure.
    pub missing: u64,
    /// Hypervolumes of the fronts that the two steered by, both against the reference point of
    /// `before`. None where their objectives are not the same, or there is no such point.
    pub hypervolumes: Option<Hypervolumes>,
}

impl Drift {
    /// The front of `before` is not what the device does any more.
    pub fn is_stale(&self) -> bool {
        self.is_worse() || self.overall.iter().any(|it| it.verdict == Verdict::Better)
    }

    /// Something got worse: a figure, or a plan cannot be executed any more.
    pub fn is_worse(&self) -> bool {
        let worse = |it: &Overall| it.verdict == Verdict::Worse;
        !self.infeasible.is_empty() || self.overall.iter().any(worse)
    }

    /// Enough was measured by both to say something of a figure.
    pub fn says_anything(&self) -> bool {
        let said = |it: &Overall| it.verdict != Verdict::Unknown;
        !self.infeasible.is_empty() || self.overall.iter().any(said)
    }

    /// What is to be said of the front of `before`; nothing where it is not stale.
    pub fn stale(&self) -> Option<Stale> {
        let moved = |it: &&Overall| matches!(it.verdict, Verdict::Worse | Verdict::Better);
        self.is_stale().then(|| Stale {
            search: self.after,
            moved: self.overall.iter().filter(moved).cloned().collect(),
            infeasible: self.infeasible.len() as u64,
        })
    }
}

/// A field of a hardware profile that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileChange {
    /// Which one, in words: `runtime version`.
    pub field: String,
    /// Its value before, `none` where there was none.
    pub before: String,
    /// Its value after.
    pub after: String,
}

impl ProfileChange {
    /// The fields in which two profiles differ, in the order of the profile.
    pub fn between(before: &HardwareProfile, after: &HardwareProfile) -> Vec<Self> {
        let (before, after) = (fields(before), fields(after));
        let pairs = before.into_iter().zip(after);
        pairs
            .filter(|(before, after)| before != after)
            .map(|((field, before), (_, after))| Self {
                field: field.to_owned(),
                before,
                after,
            })
            .collect()
    }
}

/// Every field of a profile in words.
fn fields(profile: &HardwareProfile) -> [(&'static str, String); 12] {
    let HardwareProfile {
        cpu_model,
        cpu_architecture,
        isa_features,
        cores,
        gpu,
        driver,
        runtime,
        runtime_version,
        threads,
        governor,
        placement,
        switches,
    } = profile;
    let none = || "none".to_owned();
    let optional = |value: &Option<String>| value.clone().unwrap_or_else(none);
    let listed = |values: Vec<String>| match values.is_empty() {
        true => none(),
        false => values.join(","),
    };
    let switches = switches
        .iter()
        .map(|(name, value)| format!("{name}={value}"));
    [
        ("processor", cpu_model.clone()),
        ("architecture", cpu_architecture.clone()),
        ("instruction sets", listed(isa_features.clone())),
        ("cores", cores.to_string()),
        ("accelerator", optional(gpu)),
        ("driver", optional(driver)),
        ("runtime", runtime.clone()),
        ("runtime version", runtime_version.clone()),
        ("threads", threads.to_string()),
        ("governor", optional(governor)),
        ("placement", optional(placement)),
        ("switches", listed(switches.collect())),
    ]
}

/// A figure of which two searches may say something else.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Watched {
    /// The divergence.
    Kld,
    /// The time of a workload.
    Time(Workload),
}

impl fmt::Display for Watched {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kld => formatter.pad("kld"),
            Self::Time(workload) => workload.fmt(formatter),
        }
    }
}

impl FromStr for Watched {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "kld" => Ok(Self::Kld),
            workload => workload.parse().map(Self::Time),
        }
    }
}

/// What became of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Slower, or of greater loss, beyond the noise.
    Worse,
    /// Faster, or of less loss, beyond the noise.
    Better,
    /// It did not move beyond the noise.
    Unchanged,
    /// Too little was measured to say.
    Unknown,
}

impl Verdict {
    /// Every verdict.
    pub const ALL: [Self; 4] = [Self::Worse, Self::Better, Self::Unchanged, Self::Unknown];

    /// The name used in every interface.
    pub fn name(self) -> &'static str {
        match self {
            Self::Worse => "worse",
            Self::Better => "better",
            Self::Unchanged => "unchanged",
            Self::Unknown => "unknown",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Verdict {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|verdict| verdict.name() == text);
        found.ok_or_else(|| UnknownName {
            what: "verdict",
            name: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// A plan that both searches measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Moved {
    /// The candidate that it is in the earlier search.
    pub before: i64,
    /// The candidate that it is in the later one.
    pub after: i64,
    /// The names of the baselines that it is, where it is one.
    pub baseline: Option<String>,
    /// Exact bytes of all weights.
    pub size_bytes: u64,
    /// Its figures that can be compared: the divergence where both measured it, and times.
    pub changes: Vec<Change>,
}

/// One figure of one plan, in nats or nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Change {
    /// Which figure.
    pub figure: Watched,
    /// What it was.
    pub before: f64,
    /// Where it was, with what one search of the device differs by from another.
    pub before_interval: Interval,
    /// What it is.
    pub after: f64,
    /// Where it is, likewise.
    pub after_interval: Interval,
    /// After over before.
    pub ratio: Ratio,
    /// Worse or better where the two differ beyond both intervals; never unknown.
    pub verdict: Verdict,
}

/// One figure over all plans that both searches measured alike.
#[derive(Debug, Clone, PartialEq)]
pub struct Overall {
    /// Which figure.
    pub figure: Watched,
    /// Plans that it is taken from.
    pub plans: u64,
    /// The median over the plans of after over before; none where the verdict is unknown.
    pub ratio: Option<Ratio>,
    /// Plans that are worse, each by itself.
    pub worse: u64,
    /// Plans that are better, each by itself.
    pub better: u64,
    /// What became of the figure: by the median, or by more single plans than chance explains.
    pub verdict: Verdict,
    /// Why it is unknown; empty otherwise.
    pub reason: String,
}

/// A plan that was measured before and cannot be executed after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NowInfeasible {
    /// The candidate that it is in the earlier search.
    pub before: i64,
    /// The candidate that it is in the later one.
    pub after: i64,
    /// Why it cannot be executed.
    pub reason: String,
}

/// Hypervolumes against one reference point.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hypervolumes {
    /// Of the earlier search.
    pub before: f64,
    /// Of the later one.
    pub after: f64,
}

/// A front is not what the device does any more.
#[derive(Debug, Clone, PartialEq)]
pub struct Stale {
    /// The search that was started from it and found that.
    pub search: i64,
    /// What moved; empty where it is only that plans cannot be executed any more.
    pub moved: Vec<Overall>,
    /// Plans that cannot be executed any more.
    pub infeasible: u64,
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn profile() -> HardwareProfile {
        HardwareProfile {
            cpu_model: "Example CPU".to_owned(),
            cpu_architecture: "x86_64".to_owned(),
            isa_features: Vec::new(),
            cores: 4,
            gpu: None,
            driver: Some("535.1".to_owned()),
            runtime: "candle".to_owned(),
            runtime_version: "1".to_owned(),
            threads: 2,
            governor: None,
            placement: None,
            switches: BTreeMap::new(),
        }
    }

    #[test]
    fn what_changed_of_a_profile_is_named_with_both_sides() {
        assert!(ProfileChange::between(&profile(), &profile()).is_empty());
        let mut after = profile();
        after.driver = Some("550.2".to_owned());
        after.governor = Some("powersave".to_owned());
        after.switches.insert("CANDLE_X".to_owned(), "1".to_owned());
        let changes = ProfileChange::between(&profile(), &after);
        let told: Vec<_> = changes
            .iter()
            .map(|it| format!("{}: {} → {}", it.field, it.before, it.after))
            .collect();
        assert_eq!(
            told,
            [
                "driver: 535.1 → 550.2",
                "governor: none → powersave",
                "switches: none → CANDLE_X=1"
            ]
        );
        // Every field counts, as it does in the digest.
        assert_ne!(profile().digest(), after.digest());
    }

    #[test]
    fn figures_and_verdicts_read_back() {
        for name in ["kld", "decode@64x16", "prefill@128b4"] {
            assert_eq!(name.parse::<Watched>().unwrap().to_string(), name);
        }
        assert!("beauty".parse::<Watched>().is_err());
        for verdict in Verdict::ALL {
            assert_eq!(verdict.to_string().parse(), Ok(verdict));
        }
        let unknown = "slow".parse::<Verdict>().unwrap_err().to_string();
        assert!(unknown.contains("`slow`") && unknown.contains("worse, better"));
    }

    #[test]
    fn a_front_is_stale_where_something_moved_or_cannot_be_executed() {
        let overall = |verdict| Overall {
            figure: Watched::Kld,
            plans: 9,
            ratio: None,
            worse: 0,
            better: 0,
            verdict,
            reason: String::new(),
        };
        let mut drift = Drift {
            before: 1,
            after: 2,
            hardware_before: String::new(),
            hardware_after: String::new(),
            profile: Vec::new(),
            points: Vec::new(),
            overall: Vec::new(),
            infeasible: Vec::new(),
            entered: Vec::new(),
            left: Vec::new(),
            missing: 0,
            hypervolumes: None,
        };
        // What it says, whether it is stale, whether something got worse.
        let rows = [
            (Verdict::Unknown, [false, false, false]),
            (Verdict::Unchanged, [true, false, false]),
            (Verdict::Better, [true, true, false]),
            (Verdict::Worse, [true, true, true]),
        ];
        for (verdict, expected) in rows {
            drift.overall = vec![overall(Verdict::Unknown), overall(verdict)];
            let found = [drift.says_anything(), drift.is_stale(), drift.is_worse()];
            assert_eq!(found, expected, "{verdict}");
            let stale = drift.stale();
            assert_eq!(stale.map(|it| it.moved.len()), expected[1].then_some(1));
        }
        drift.overall.clear();
        drift.infeasible.push(NowInfeasible {
            before: 3,
            after: 9,
            reason: "no memory".to_owned(),
        });
        assert!(drift.says_anything() && drift.is_stale() && drift.is_worse());
    }
}
