//! One request for several devices: a search each, which learn from each other.

use std::collections::BTreeMap;
use std::time::Duration;

use bitfront_model::{Device, Joint, SearchRequest, Selector};

use crate::problem::Problem;
use crate::selector::Chosen;

/// The requests of the searches to start: one for every device that was named, or the only one.
/// Devices with a limit of their own on the time of a decode step have it in place of the common
/// one.
pub(crate) fn requests(
    request: &SearchRequest,
    devices: &[String],
    max_decode: &BTreeMap<String, Duration>,
) -> Result<Vec<SearchRequest>, Problem> {
    if let Some(stranger) = max_decode.keys().find(|name| !devices.contains(name)) {
        return Err(Problem::usage(format!(
            "--max-latency: `{stranger}` is none of the devices that are searched for; name it with \
             --device too"
        )));
    }
    let for_device = |device: Option<&String>| {
        let mut request = SearchRequest {
            device: device.cloned(),
            ..request.clone()
        };
        if let Some(&most) = device.and_then(|device| max_decode.get(device)) {
            request.limits.max_decode = Some(most);
        }
        request
    };
    Ok(match devices {
        [] => vec![for_device(None)],
        devices => devices.iter().map(|it| for_device(Some(it))).collect(),
    })
}

/// The names of the devices that are meant, one for every hardware profile of those that fit a
/// selector: one that serves where there is one, and of those the one that was heard from last.
/// Looked at before the first search is started, so that none of them is started alone.
pub(crate) fn named(typed: &[String], known: &[Device]) -> Result<Vec<String>, Problem> {
    let selectors = chosen(typed, known)?;
    let none_fits = |selector: &&Chosen| !known.iter().any(|device| selector.fits(device));
    let missing: Vec<_> = selectors.iter().filter(none_fits).collect();
    if !missing.is_empty() {
        let missing: Vec<_> = missing.iter().map(ToString::to_string).collect();
        return Err(Problem::usage(format!(
            "--device: there is no device {}; {}",
            missing.join(", "),
            known_names(known)
        )));
    }
    let mut names: Vec<String> = Vec::new();
    for selector in &selectors {
        if let Chosen::Name(name) = selector {
            names.push(name.clone());
        }
    }
    check(&names, known)?;
    for selector in selectors {
        let mut fitting: Vec<_> = known.iter().filter(|it| selector.fits(it)).collect();
        fitting.sort_by_key(|device| (!device.serves(), -device.last_seen_ms));
        for device in fitting {
            if !has_profile_of(&names, device, known) {
                names.push(device.registration.device.clone());
            }
        }
    }
    Ok(names)
}

fn chosen(typed: &[String], known: &[Device]) -> Result<Vec<Chosen>, Problem> {
    let chosen = typed.iter().map(|text| Chosen::parse(text, known));
    chosen.collect()
}

/// What later devices join, under a key that is minted for it; none where all devices have names.
pub(crate) fn joint(
    typed: &[String],
    known: &[Device],
    request: &SearchRequest,
) -> Result<Option<Joint>, Problem> {
    let kinds = chosen(typed, known)?.into_iter();
    let kinds = kinds.filter_map(|chosen| match chosen {
        Chosen::Kind(selector) => Some(selector),
        Chosen::Name(_) => None,
    });
    let selectors: Vec<Selector> = kinds.collect();
    Ok((!selectors.is_empty()).then(|| Joint {
        key: uuid::Uuid::new_v4().to_string(),
        selectors,
        max_decode: request.limits.max_decode,
        profile: None,
    }))
}

fn known_names(known: &[Device]) -> String {
    let names: Vec<_> = known
        .iter()
        .map(|device| device.registration.device.as_str())
        .collect();
    match names.is_empty() {
        true => "none has registered yet".to_owned(),
        false => format!("known are {}", names.join(", ")),
    }
}

/// Whether one of the named devices is the same hardware.
fn has_profile_of(names: &[String], device: &Device, known: &[Device]) -> bool {
    let profile = &device.registration.hardware_profile;
    let mut named = known
        .iter()
        .filter(|it| names.contains(&it.registration.device));
    named.any(|it| it.registration.hardware_profile == *profile)
}

/// Refuses devices of which two are one.
fn check(devices: &[String], known: &[Device]) -> Result<(), Problem> {
    let find = |name: &String| known.iter().find(|it| it.registration.device == *name);
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
    use bitfront_model::DeviceState;

    use super::*;
    use crate::problem::hint_of;
    use crate::testing::{self, device};

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn every_device_gets_the_same_request_but_for_a_limit_of_its_own() {
        let request = testing::request();
        let no_limits = BTreeMap::new();
        let alone = requests(&request, &[], &no_limits).unwrap();
        assert_eq!(alone, std::slice::from_ref(&request));
        let limits = BTreeMap::from([("two".to_owned(), Duration::from_millis(8))]);
        let several = requests(&request, &names(&["one", "two"]), &limits).unwrap();
        let devices: Vec<_> = several.iter().map(|it| it.device.as_deref()).collect();
        assert_eq!(devices, [Some("one"), Some("two")]);
        let most: Vec<_> = several.iter().map(|it| it.limits.max_decode).collect();
        assert_eq!(
            most,
            [request.limits.max_decode, Some(Duration::from_millis(8))]
        );
        assert!(several.iter().all(|it| SearchRequest {
            device: None,
            limits: request.limits,
            ..it.clone()
        } == request));
        let stranger = requests(&request, &names(&["one"]), &limits).unwrap_err();
        let stranger = stranger.to_string();
        assert!(
            stranger.starts_with("--max-latency: `two` is none of"),
            "{stranger}"
        );
    }

    #[test]
    fn devices_that_cannot_be_meant_are_refused_together() {
        let known = [device("one", 2), device("two", 4), device("three", 2)];
        let named_as = |typed: &[&str]| named(&names(typed), &known);
        assert_eq!(named_as(&["two", "three"]).unwrap(), ["two", "three"]);
        let unknown = named_as(&["one", "four", "cores=9"]).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "--device: there is no device `four`, `cores=9`; known are one, two, three"
        );
        let none = named(&names(&["one"]), &[]).unwrap_err();
        assert!(none.to_string().ends_with("none has registered yet"));
        let twins = named_as(&["one", "two", "three"]).unwrap_err();
        let message = twins.to_string();
        assert!(
            message.starts_with("--device: `one` and `three` are the same hardware ("),
            "{message}"
        );
        assert!(hint_of(&twins.into()).unwrap().contains("both serve"));
    }

    #[test]
    fn later_devices_join_what_was_started_for_kinds_of_devices() {
        let known = [device("one", 2), device("two", 4)];
        let mut request = testing::request();
        request.limits.max_decode = Some(Duration::from_millis(8));
        let limited = request.clone();
        let joint = |typed: &[&str]| joint(&names(typed), &known, &limited).unwrap();
        assert_eq!(joint(&["one", "two"]), None);
        let kinds = joint(&["one", "cores=4", "cores=8"]).unwrap();
        let selectors: Vec<_> = kinds.selectors.iter().map(Selector::to_string).collect();
        assert_eq!(selectors, ["cores=4", "cores=8"]);
        assert_eq!(kinds.max_decode, Some(Duration::from_millis(8)));
        assert_ne!(joint(&["cores=4"]).unwrap().key, kinds.key);
        request.joint = Some(kinds);
        let all = requests(&request, &names(&["one", "two"]), &BTreeMap::new()).unwrap();
        assert!(all.iter().all(|it| it.joint == request.joint));
    }

    #[test]
    fn a_kind_of_device_is_one_device_a_hardware_profile() {
        let mut known = [device("one", 2), device("two", 4), device("three", 2)];
        let all = format!("arch={}", testing::hardware().cpu_architecture);
        // The first two are as good as each other; the one that serves is taken.
        known[0].state = DeviceState::Silent;
        assert_eq!(named(&names(&[&all]), &known).unwrap(), ["two", "three"]);
        let beside = named(&names(&["one", &all]), &known).unwrap();
        assert_eq!(
            beside,
            ["one", "two"],
            "a device that is named stands for its hardware"
        );
    }
}
