//! One request for several devices: a search each, which learn from each other.

use bitfront_model::{Device, SearchRequest};

use crate::problem::Problem;

/// The requests of the searches to start: one for every device that was named, or the only one.
pub(crate) fn requests(request: &SearchRequest, devices: &[String]) -> Vec<SearchRequest> {
    let for_device = |device: Option<String>| SearchRequest {
        device,
        ..request.clone()
    };
    match devices {
        [] => vec![for_device(None)],
        devices => devices.iter().cloned().map(Some).map(for_device).collect(),
    }
}

/// Refuses devices of which one is not known, or two are one: looked at before the first search is
/// started, so that none of them is started alone.
pub(crate) fn check(devices: &[String], known: &[Device]) -> Result<(), Problem> {
    let find = |name: &String| known.iter().find(|it| it.registration.device == *name);
    let unknown: Vec<_> = devices.iter().filter(|name| find(name).is_none()).collect();
    if !unknown.is_empty() {
        let quoted: Vec<_> = unknown.iter().map(|name| format!("`{name}`")).collect();
        let names: Vec<_> = known
            .iter()
            .map(|device| device.registration.device.as_str())
            .collect();
        let names = match names.is_empty() {
            true => "none has registered yet".to_owned(),
            false => format!("known are {}", names.join(", ")),
        };
        return Err(Problem::usage(format!(
            "--device: there is no device {}; {names}",
            quoted.join(", ")
        )));
    }
    let found: Vec<_> = devices.iter().filter_map(find).collect();
    for (place, device) in found.iter().enumerate() {
        let profile = &device.registration.hardware_profile;
        let is_twin = |other: &&&Device| other.registration.hardware_profile == *profile;
        if let Some(twin) = found[..place].iter().find(is_twin) {
            return Err(Problem::usage(format!(
                "--device: `{}` and `{}` are the same hardware ({})",
                twin.registration.device,
                device.registration.device,
                profile.summary()
            ))
            .with_hint("name one of them: both serve its search, and its front holds for both"));
        }
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::{NumericsClass, Precision, Registration};

    use super::*;
    use crate::problem::hint_of;
    use crate::testing;

    fn device(name: &str, cores: u32) -> Device {
        let mut hardware_profile = testing::hardware();
        hardware_profile.cores = cores;
        Device {
            device_id: 1,
            registration: Registration {
                device: name.to_owned(),
                hardware_profile,
                numerics_class: NumericsClass("candle".to_owned()),
                precisions: Precision::ALL.to_vec(),
                agent_version: "test".to_owned(),
                can_probe: true,
                can_score_swaps: true,
            },
            first_seen_ms: 0,
            last_seen_ms: 0,
            measurements: 0,
            serving: true,
        }
    }

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn every_device_gets_the_same_request() {
        let request = testing::request();
        assert_eq!(requests(&request, &[]), std::slice::from_ref(&request));
        let several = requests(&request, &names(&["one", "two"]));
        let devices: Vec<_> = several.iter().map(|it| it.device.as_deref()).collect();
        assert_eq!(devices, [Some("one"), Some("two")]);
        assert!(several.iter().all(|it| SearchRequest {
            device: None,
            ..it.clone()
        } == request));
    }

    #[test]
    fn devices_that_cannot_be_meant_are_refused_together() {
        let known = [device("one", 2), device("two", 4), device("three", 2)];
        assert!(check(&names(&["two", "three"]), &known).is_ok());
        let unknown = check(&names(&["one", "four", "five"]), &known).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "--device: there is no device `four`, `five`; known are one, two, three"
        );
        let none = check(&names(&["one"]), &[]).unwrap_err();
        assert!(none.to_string().ends_with("none has registered yet"));
        let twins = check(&names(&["one", "two", "three"]), &known).unwrap_err();
        let message = twins.to_string();
        assert!(
            message.starts_with("--device: `one` and `three` are the same hardware ("),
            "{message}"
        );
        assert!(hint_of(&twins.into()).unwrap().contains("both serve"));
    }
}
