use std::collections::BTreeMap;

use bitfront_model::fleet::share;
use bitfront_model::{Digest, FleetPick, Limits, Objective, Outcome, Report, SearchRequest};

use super::{FleetQuestion, fleet};
use crate::error::ServiceError;
use crate::fixtures;
use crate::leasing::HandOut;
use crate::query;
use crate::testing::{Bench, folder};

fn request(device: &str, evaluations: u64) -> SearchRequest {
    SearchRequest {
        budget: fixtures::evaluations(evaluations),
        device: Some(device.to_owned()),
        ..fixtures::request()
    }
}

async fn ask(
    bench: &Bench,
    devices: &[&str],
    limits: Limits,
    predict: bool,
) -> Result<FleetPick, ServiceError> {
    let devices: Vec<_> = devices.iter().map(|&name| name.to_owned()).collect();
    let question = FleetQuestion {
        model: "tiny",
        devices: &devices,
        limits,
        by: "decode",
        predict,
    };
    fleet(&bench.world, &question).await
}

async fn refused(bench: &Bench, devices: &[&str]) -> String {
    let asked = ask(bench, devices, Limits::default(), false).await;
    asked.unwrap_err().to_string()
}

/// A device with another processor than the fixtures'.
async fn register(bench: &Bench, name: &str, processor: &str) -> i64 {
    let mut device = fixtures::registration(name);
    device.hardware_profile.cpu_model = processor.to_owned();
    bench.register_as(device).await.unwrap()
}

/// Measures for a device until its search wants nothing more. How long a plan takes is drawn from
/// its digest and the device, so that what is fast on one device says nothing of another.
async fn serve(bench: &Bench, device: i64, search: i64) {
    let times = |hand_out: &HandOut, report: &mut Report| {
        let Outcome::Latency { workloads } = &mut report.measurement.outcome else {
            return;
        };
        let plan = hand_out.assignment.plan.digest();
        let drawn = Digest::of(format!("{device} {plan}")).to_string();
        let drawn = u32::from_str_radix(&drawn[..4], 16).unwrap();
        for latency in workloads {
            latency.paired = None;
            latency.median_ns = 1000.0 + f64::from(drawn);
            latency.interval.low = latency.median_ns - 1.0;
            latency.interval.high = latency.median_ns + 1.0;
        }
    };
    bench.serve_with(device, search, usize::MAX, times).await;
}

/// The decode step and the divergence of every measured plan of a search.
async fn measured(bench: &Bench, search: i64) -> BTreeMap<Digest, (f64, f64)> {
    let front = query::front(&bench.world, search, None).await.unwrap();
    let points = front.points.iter();
    points
        .filter_map(|point| Some((point.plan.digest(), (point.decode_ns()?, point.kld()?))))
        .collect()
}

#[tokio::test]
async fn the_plan_with_the_least_worst_regret_is_picked_within_the_limits() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut searches = Vec::new();
    for (name, processor) in [("one", "One 1"), ("two", "Two 2"), ("three", "Three 3")] {
        let device = register(&bench, name, processor).await;
        let search = bench.submit(request(name, 9)).await;
        serve(&bench, device, search).await;
        searches.push(search);
    }
    let mut by_search = Vec::new();
    for &search in &searches {
        by_search.push(measured(&bench, search).await);
    }
    let mut divergences: Vec<_> = by_search[0].values().map(|(_, kld)| *kld).collect();
    divergences.sort_by(f64::total_cmp);
    let median = divergences[divergences.len() / 2];
    for max_kld in [None, Some(median)] {
        let limits = Limits {
            max_kld,
            ..Limits::default()
        };
        let keeps = |kld: f64| max_kld.is_none_or(|most| kld <= most);
        // Counted again from the fronts, plan by plan.
        let own = by_search.iter().map(|plans| {
            let within = plans.values().filter(|(_, kld)| keeps(*kld));
            within.map(|(time, _)| *time).fold(f64::INFINITY, f64::min)
        });
        let own: Vec<_> = own.collect();
        let everywhere: Vec<_> = by_search[0]
            .keys()
            .filter(|plan| {
                let there = |plans: &BTreeMap<Digest, (f64, f64)>| {
                    plans.get(plan).is_some_and(|(_, kld)| keeps(*kld))
                };
                by_search.iter().all(there)
            })
            .collect();
        let worst = |plan: &Digest| {
            let shares = by_search.iter().zip(&own);
            shares
                .map(|(plans, own)| share(plans[plan].0, *own))
                .fold(0.0, f64::max)
        };
        let least = everywhere.iter().map(|plan| worst(plan));
        let least = least.fold(f64::INFINITY, f64::min);

        let pick = ask(&bench, &[], limits, false).await.unwrap();
        assert_eq!(pick.compared, everywhere.len() as u64);
        assert!((worst(&pick.plan.digest()) - least).abs() < 1e-12);
        let regrets: Vec<_> = pick
            .regrets
            .iter()
            .map(|regret| regret.share(Objective::Decode))
            .collect();
        assert_eq!(regrets.len(), 3);
        assert!(regrets.is_sorted_by(|a, b| a >= b), "{regrets:?}");
        assert!((regrets[0] - least).abs() < 1e-12, "{regrets:?}");
        assert!(least > 0.0, "times that agree would show nothing");
        for regret in &pick.regrets {
            let place = searches.iter().position(|&it| it == regret.fleet.search);
            assert_eq!(regret.own.decode_ns, own[place.unwrap()]);
            let name = ["one", "two", "three"][place.unwrap()];
            assert_eq!(regret.devices, [name]);
        }
    }
    // Of two of them only what these two measured counts.
    let pick = ask(&bench, &["one", "three"], Limits::default(), false).await;
    let pick = pick.unwrap();
    let mut devices: Vec<_> = pick.regrets.iter().flat_map(|it| &it.devices).collect();
    devices.sort();
    assert_eq!(devices, ["one", "three"]);
    bench.stop().await;
}

#[tokio::test]
async fn what_is_believed_takes_in_plans_that_were_measured_on_one_device_alone() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    let mut plans = Vec::new();
    for (name, processor) in [("one", "One 1"), ("two", "Two 2")] {
        let device = register(&bench, name, processor).await;
        let alone = SearchRequest {
            seed: device.unsigned_abs(),
            ..request(name, 16)
        };
        let search = bench.submit(alone).await;
        serve(&bench, device, search).await;
        plans.push(measured(&bench, search).await);
    }
    let [one, two] = plans.as_slice() else {
        panic!("two searches");
    };
    let both = one.keys().filter(|plan| two.contains_key(*plan)).count();
    let either = one.len() + two.len() - both;
    assert!(both < either, "both measured the same plans");
    let measured = ask(&bench, &[], Limits::default(), false).await.unwrap();
    assert_eq!(measured.compared, both as u64);
    assert!(
        measured
            .regrets
            .iter()
            .all(|it| it.fleet.candidate.is_some())
    );
    let predicted = ask(&bench, &[], Limits::default(), true).await.unwrap();
    assert!(predicted.is_predicted);
    assert!(predicted.compared > both as u64, "{}", predicted.compared);
    bench.stop().await;
}

#[tokio::test]
async fn a_fleet_that_cannot_be_compared_is_refused_with_what_to_do() {
    let folder = folder();
    let bench = Bench::in_folder(folder.path()).await;
    assert!(
        refused(&bench, &[])
            .await
            .starts_with("nothing is stored for model `tiny`")
    );
    let one = register(&bench, "one", "One 1").await;
    let first = bench.submit(request("one", 3)).await;
    let message = refused(&bench, &[]).await;
    assert_eq!(
        message,
        format!("no candidate of search {first} is measured yet")
    );
    serve(&bench, one, first).await;
    let message = refused(&bench, &[]).await;
    assert!(
        message.contains("one hardware profile only (One 1"),
        "{message}"
    );
    register(&bench, "two", "Two 2").await;
    let message = refused(&bench, &["one", "two"]).await;
    let there = format!("--device two --start-from {first}");
    assert!(
        message.contains("not measured on `two` (Two 2"),
        "{message}"
    );
    assert!(message.contains(&there), "{message}");
    assert!(refused(&bench, &["two"]).await.contains(&there));
    let message = refused(&bench, &["one", "four"]).await;
    assert!(
        message.starts_with("there is no device `four`"),
        "{message}"
    );
    let two = register(&bench, "two", "Two 2").await;
    let second = bench.submit(request("two", 3)).await;
    serve(&bench, two, second).await;
    let nothing = Limits {
        max_kld: Some(1e-9),
        ..Limits::default()
    };
    let message = ask(&bench, &[], nothing, false)
        .await
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("model `tiny` on "), "{message}");
    assert!(
        message.contains("none of 3 measured plans keeps KLD"),
        "{message}"
    );
    bench.stop().await;
}
