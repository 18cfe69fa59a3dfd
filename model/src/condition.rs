//! What a device was like around a timing, and what that makes of the figures.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::UnknownName;

/// A reason to trust a figure less: it was taken all the same, and says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mark {
    /// Others used the cores that measured.
    Busy,
    /// The processor lowered its clock, against heat or power, while it measured.
    Throttled,
    /// A sensor was at or above its trip point.
    Hot,
    /// The device ran on its battery.
    OnBattery,
    /// The measuring threads were not held to fixed cores.
    NotPinned,
    /// The other threads of the agent had no cores of their own.
    CoresShared,
}

impl Mark {
    /// Every mark, in order.
    pub const ALL: [Self; 6] = [
        Self::Busy,
        Self::Throttled,
        Self::Hot,
        Self::OnBattery,
        Self::NotPinned,
        Self::CoresShared,
    ];

    /// The mark's name on the wire, in JSON and in listings.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Throttled => "throttled",
            Self::Hot => "hot",
            Self::OnBattery => "on_battery",
            Self::NotPinned => "not_pinned",
            Self::CoresShared => "cores_shared",
        }
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.name())
    }
}

impl FromStr for Mark {
    type Err = UnknownName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let found = Self::ALL.into_iter().find(|mark| mark.name() == text);
        found.ok_or_else(|| UnknownName {
            what: "mark",
            name: text.to_owned(),
            known: Self::ALL.map(Self::name).join(", "),
        })
    }
}

/// What the sensors of a device said at one moment. What the platform does not tell is absent.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// Time that others than the measuring threads used on the cores that measure, in cores: 0.2
    /// is a fifth of one. Over a short while before a timing, over all of it after.
    pub busy_cores: Option<f64>,
    /// Time in which the hypervisor gave these cores to other guests, in cores.
    pub stolen_cores: Option<f64>,
    /// The cores that measure, by number; empty where none are held.
    pub cores: Vec<CoreCondition>,
    /// The sensor that is nearest to its trip point, or else the warmest.
    pub heat: Option<Heat>,
    /// Whether the device runs on its battery.
    pub on_battery: Option<bool>,
}

/// What one core said.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct CoreCondition {
    /// Its number.
    pub core: u32,
    /// Its clock, in MHz.
    pub frequency_mhz: Option<f64>,
    /// How often it lowered its clock against heat since the system started, alone or with its
    /// package.
    pub throttles: Option<u64>,
}

/// What one temperature sensor said.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Heat {
    /// The sensor's own name.
    pub sensor: String,
    /// Its temperature in °C.
    pub celsius: f64,
    /// The lowest temperature in °C at which the system slows down against it.
    pub trip_celsius: Option<f64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_has_one_name_everywhere() {
        for mark in Mark::ALL {
            assert_eq!(mark.name().parse(), Ok(mark));
            let json = serde_json::to_value(mark).expect("a mark is JSON");
            assert_eq!(json, mark.name());
        }
        let wrong = "tired".parse::<Mark>().expect_err("no such mark");
        assert!(wrong.to_string().contains("on_battery"), "{wrong}");
    }
}
