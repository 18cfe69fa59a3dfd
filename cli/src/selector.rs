//! Devices as they are typed: by a name, or by what they are.

use std::fmt;

use bitfront_model::{Device, Selector};

use crate::problem::Problem;

/// What `--device` was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Chosen {
    /// A device's name.
    Name(String),
    /// What it is.
    Kind(Selector),
}

impl fmt::Display for Chosen {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => write!(formatter, "`{name}`"),
            Self::Kind(selector) => write!(formatter, "`{selector}`"),
        }
    }
}

impl Chosen {
    /// Understands a name, or conditions behind which each has an equals sign. A known device of
    /// exactly that name is that device whatever its name looks like.
    pub(crate) fn parse(text: &str, known: &[Device]) -> Result<Self, Problem> {
        let is_known = known.iter().any(|it| it.registration.device == text);
        if is_known || !text.contains('=') {
            return Ok(Self::Name(text.to_owned()));
        }
        let selector = text.parse::<Selector>();
        let selector = selector.map_err(|error| Problem::usage(format!("--device: {error}")))?;
        Ok(Self::Kind(selector))
    }

    /// Whether a device is meant.
    pub(crate) fn fits(&self, device: &Device) -> bool {
        let registration = &device.registration;
        match self {
            Self::Name(name) => registration.device == *name,
            Self::Kind(selector) => {
                selector.fits(&registration.hardware_profile, &registration.numerics_class)
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_device_is_named_or_told_by_what_it_is() {
        let device = testing::device("board", 4);
        let fits = |text: &str| Chosen::parse(text, &[]).unwrap().fits(&device);
        assert!(fits("board") && fits("cores=4"));
        assert!(!fits("desk") && !fits("cores=5"));
    }

    #[test]
    fn a_name_counts_whatever_it_looks_like() {
        let device = testing::device("arch=x86_64", 4);
        let chosen = Chosen::parse("arch=x86_64", std::slice::from_ref(&device)).unwrap();
        assert_eq!(chosen, Chosen::Name("arch=x86_64".to_owned()));
    }

    #[test]
    fn a_condition_that_means_nothing_is_refused_with_its_option() {
        let error = Chosen::parse("colour=red", &[]).unwrap_err().to_string();
        assert!(
            error.starts_with("--device: `colour=red`: a device has no"),
            "{error}"
        );
    }
}
