//! Devices by what they are: `arch=x86_64,isa=avx512_vnni`.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::{Digest, HardwareProfile, NumericsClass};

/// What a device is, in place of its name: conditions that must all hold.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Selector {
    conditions: Vec<Condition>,
}

/// One thing that must hold of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Condition {
    property: Property,
    wanted: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Property {
    Architecture,
    Isa,
    Processor,
    Accelerator,
    Cores,
    Threads,
    Class,
    Profile,
}

impl Property {
    const ALL: [(&str, Self); 8] = [
        ("arch", Self::Architecture),
        ("isa", Self::Isa),
        ("cpu", Self::Processor),
        ("gpu", Self::Accelerator),
        ("cores", Self::Cores),
        ("threads", Self::Threads),
        ("class", Self::Class),
        ("profile", Self::Profile),
    ];

    fn name(self) -> &'static str {
        let mut all = Self::ALL.into_iter();
        all.find(|&(_, property)| property == self)
            .map_or("", |(name, _)| name)
    }
}

impl fmt::Display for Condition {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}={}", self.property.name(), self.wanted)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let conditions: Vec<_> = self.conditions.iter().map(Condition::to_string).collect();
        formatter.pad(&conditions.join(","))
    }
}

/// Conditions that mean nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}`: {problem}")]
pub struct SelectorError {
    /// All that was written.
    pub text: String,
    /// What is wrong with it.
    pub problem: String,
}

impl FromStr for Selector {
    type Err = SelectorError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let conditions = text.split(',').map(|part| {
            condition(part).map_err(|problem| SelectorError {
                text: text.to_owned(),
                problem,
            })
        });
        Ok(Self {
            conditions: conditions.collect::<Result<_, _>>()?,
        })
    }
}

impl TryFrom<String> for Selector {
    type Error = SelectorError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Selector> for String {
    fn from(selector: Selector) -> Self {
        selector.to_string()
    }
}

fn condition(part: &str) -> Result<Condition, String> {
    let (name, wanted) = part
        .split_once('=')
        .ok_or_else(|| format!("`{part}` has no equals sign"))?;
    let (name, wanted) = (name.trim(), wanted.trim());
    let mut all = Property::ALL.into_iter();
    let found = all.find(|&(known, _)| known == name);
    let Some((_, property)) = found else {
        let known = Property::ALL.map(|(known, _)| known).join(", ");
        return Err(format!("a device has no `{name}`; known are {known}"));
    };
    if wanted.is_empty() {
        return Err(format!("`{name}` is empty"));
    }
    if matches!(property, Property::Cores | Property::Threads) && wanted.parse::<u32>().is_err() {
        return Err(format!("`{wanted}` is no number of {name}"));
    }
    Ok(Condition {
        property,
        wanted: wanted.to_owned(),
    })
}

impl Selector {
    /// Whether devices of a hardware profile and numerics class are meant.
    pub fn fits(&self, profile: &HardwareProfile, class: &NumericsClass) -> bool {
        self.conditions.iter().all(|it| holds(it, profile, class))
    }
}

fn holds(condition: &Condition, profile: &HardwareProfile, class: &NumericsClass) -> bool {
    let wanted = condition.wanted.as_str();
    // Names of processors are long and written in many ways, so a part of one is enough.
    let names = |name: &str| name.to_lowercase().contains(&wanted.to_lowercase());
    match condition.property {
        Property::Architecture => profile.cpu_architecture == wanted,
        Property::Isa => profile.isa_features.iter().any(|feature| feature == wanted),
        Property::Processor => names(&profile.cpu_model),
        Property::Accelerator => profile.gpu.as_deref().is_some_and(names),
        Property::Cores => profile.cores.to_string() == wanted,
        Property::Threads => profile.threads.to_string() == wanted,
        Property::Class => class.0 == wanted,
        Property::Profile => profile.digest().to_string().starts_with(wanted),
    }
}

/// The searches that were started together for devices by what they are, one a hardware profile. A
/// hardware profile that comes later and fits joins them by a search of its own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joint {
    /// Minted when they were started, and the same for all of them.
    pub key: String,
    /// What their devices are: at least one of these fits.
    pub selectors: Vec<Selector>,
    /// The limit on the time of a decode step on a device that joins: the one that is common to all.
    pub max_decode: Option<Duration>,
    /// Which of their hardware profiles this one is for, whichever device brings it: that of its
    /// device when it was submitted. None before, and in requests from before it was noted.
    #[serde(default)]
    pub profile: Option<Digest>,
}

impl Joint {
    /// Whether a device is meant.
    pub fn fits(&self, profile: &HardwareProfile, class: &NumericsClass) -> bool {
        self.selectors.iter().any(|it| it.fits(profile, class))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn profile() -> HardwareProfile {
        HardwareProfile {
            cpu_model: "Example CPU".to_owned(),
            cpu_architecture: "x86_64".to_owned(),
            isa_features: vec!["avx2".to_owned(), "fma".to_owned()],
            cores: 4,
            gpu: None,
            driver: None,
            runtime: "candle".to_owned(),
            runtime_version: "1".to_owned(),
            threads: 2,
            governor: None,
            placement: None,
            switches: [].into(),
        }
    }

    #[test]
    fn a_device_is_meant_by_what_it_is() {
        let (profile, class) = (profile(), NumericsClass("candle".to_owned()));
        let fits = |text: &str| text.parse::<Selector>().unwrap().fits(&profile, &class);
        let digest = format!("profile={}", profile.digest().short());
        for text in [
            "arch=x86_64, cores=4",
            "isa=fma",
            "cpu=EXAMPLE",
            digest.as_str(),
            "class=candle",
            "threads=2",
        ] {
            assert!(fits(text), "{text}");
        }
        for text in ["cores=5", "isa=none", "gpu=H200", "arch=x,cores=4"] {
            assert!(!fits(text), "{text}");
        }
        let joint = Joint {
            key: String::new(),
            selectors: ["cores=5", "isa=fma"]
                .map(|text| text.parse().unwrap())
                .to_vec(),
            max_decode: None,
            profile: None,
        };
        assert!(joint.fits(&profile, &class), "one selector is enough");
    }

    #[test]
    fn conditions_read_back_and_those_that_mean_nothing_are_refused() {
        let selector: Selector = "arch=x86_64 ,isa=avx2".parse().unwrap();
        let stored = serde_json::to_string(&selector).unwrap();
        assert_eq!(stored, r#""arch=x86_64,isa=avx2""#);
        assert_eq!(serde_json::from_str::<Selector>(&stored).unwrap(), selector);
        for (text, reason) in [
            ("arch=x86_64,fast", "`fast` has no equals sign"),
            (
                "colour=red",
                "a device has no `colour`; known are arch, isa",
            ),
            ("gpu=", "`gpu` is empty"),
            ("cores=many", "`many` is no number of cores"),
        ] {
            let error = text.parse::<Selector>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{error}");
        }
    }
}
