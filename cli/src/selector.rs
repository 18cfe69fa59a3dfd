//! Devices named by what they are: `arch=x86_64,isa=avx512_vnni`.

use std::fmt;

use bitfront_model::{Device, HardwareProfile};

use crate::problem::Problem;

/// What `--device` was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Selector {
    /// A device's name.
    Name(String),
    /// All of these must hold of a device.
    Kind(Vec<Condition>),
}

/// One thing that must hold of a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
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
        match self {
            Self::Name(name) => write!(formatter, "`{name}`"),
            Self::Kind(conditions) => {
                let conditions: Vec<_> = conditions.iter().map(Condition::to_string).collect();
                write!(formatter, "`{}`", conditions.join(","))
            }
        }
    }
}

impl Selector {
    /// Understands a name, or conditions behind which each has an equals sign. A known device of
    /// exactly that name is that device whatever its name looks like.
    pub(crate) fn parse(text: &str, known: &[Device]) -> Result<Self, Problem> {
        let is_known = known.iter().any(|it| it.registration.device == text);
        if is_known || !text.contains('=') {
            return Ok(Self::Name(text.to_owned()));
        }
        let conditions = text.split(',').map(|part| condition(text, part));
        Ok(Self::Kind(conditions.collect::<Result<_, _>>()?))
    }

    /// Whether a device is meant.
    pub(crate) fn fits(&self, device: &Device) -> bool {
        let registration = &device.registration;
        match self {
            Self::Name(name) => registration.device == *name,
            Self::Kind(conditions) => conditions.iter().all(|it| {
                holds(
                    it,
                    &registration.hardware_profile,
                    &registration.numerics_class.0,
                )
            }),
        }
    }
}

fn condition(text: &str, part: &str) -> Result<Condition, Problem> {
    let wrong = |why: String| Problem::usage(format!("--device: `{text}`: {why}"));
    let (name, wanted) = part
        .split_once('=')
        .ok_or_else(|| wrong(format!("`{part}` has no equals sign")))?;
    let (name, wanted) = (name.trim(), wanted.trim());
    let mut all = Property::ALL.into_iter();
    let found = all.find(|&(known, _)| known == name);
    let Some((_, property)) = found else {
        let known = Property::ALL.map(|(known, _)| known).join(", ");
        return Err(wrong(format!(
            "a device has no `{name}`; known are {known}"
        )));
    };
    if wanted.is_empty() {
        return Err(wrong(format!("`{name}` is empty")));
    }
    if matches!(property, Property::Cores | Property::Threads) && wanted.parse::<u32>().is_err() {
        return Err(wrong(format!("`{wanted}` is no number of {name}")));
    }
    Ok(Condition {
        property,
        wanted: wanted.to_owned(),
    })
}

fn holds(condition: &Condition, profile: &HardwareProfile, class: &str) -> bool {
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
        Property::Class => class == wanted,
        Property::Profile => profile.digest().to_string().starts_with(wanted),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing;

    fn selects(text: &str) -> bool {
        let device = testing::device("board", 4);
        Selector::parse(text, &[]).unwrap().fits(&device)
    }

    #[test]
    fn a_device_is_named_by_what_it_is() {
        let profile = testing::device("board", 4).registration.hardware_profile;
        let feature = profile.isa_features[0].clone();
        let part = profile.cpu_model.to_uppercase();
        for text in [
            "board".to_owned(),
            format!("arch={},cores=4", profile.cpu_architecture),
            format!("isa={feature}"),
            format!("cpu={part}"),
            format!("profile={}", profile.digest().short()),
            "class=candle".to_owned(),
            format!("threads={}", profile.threads),
        ] {
            assert!(selects(&text), "{text}");
        }
        for text in ["desk", "cores=5", "isa=none", "gpu=H200", "arch=x,cores=4"] {
            assert!(!selects(text), "{text}");
        }
    }

    #[test]
    fn a_name_counts_whatever_it_looks_like() {
        let device = testing::device("arch=x86_64", 4);
        let selector = Selector::parse("arch=x86_64", std::slice::from_ref(&device)).unwrap();
        assert_eq!(selector, Selector::Name("arch=x86_64".to_owned()));
    }

    #[test]
    fn a_condition_that_means_nothing_is_refused() {
        for (text, reason) in [
            ("arch=x86_64,fast", "`fast` has no equals sign"),
            (
                "colour=red",
                "a device has no `colour`; known are arch, isa",
            ),
            ("gpu=", "`gpu` is empty"),
            ("cores=many", "`many` is no number of cores"),
        ] {
            let error = Selector::parse(text, &[]).unwrap_err().to_string();
            assert!(error.contains(reason), "{error}");
        }
    }
}
