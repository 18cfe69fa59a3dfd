//! Nights of simulated devices whose truth is known: how often a device that never changed raises
//! an alarm, and how often one that became slower does. `NIGHTS` says how many pairs of nights there
//! are of each kind, `NIGHT_SEED` by which seed.

use bitfront_model::{FrontPoint, Latency, Overall, Plan, Precision, Verdict, Watched, Workload};
use fastrand::Rng;

use super::figures::{Night, moved};
use super::overall::overall;
use crate::fixtures;
use crate::histories::tests::given;
use crate::query::repeatability::tests::{DECODE, OWN, normal, timing, twice};
use crate::query::repeatability::widen;

/// Plans that both nights measure and confirm.
const PLANS: u32 = 24;

/// Leases with other candidates, of whose timings the anchor's time counts alone.
const OTHERS: u32 = 12;

/// Pairs of nights of each kind.
fn pairs() -> u32 {
    given("NIGHTS", 200) as u32
}

/// What the times of a device differ by although nothing changed: standard deviations, as shares.
#[derive(Clone, Copy)]
struct Device {
    name: &'static str,
    /// All times of one night together.
    night: f64,
    /// All times of a lease together.
    moment: f64,
    /// A ratio from one timing to the next, beyond what a timing knows of itself.
    repeat: f64,
}

/// What a device that never changed or became slower is said to have done, as shares of the nights.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Told {
    worse: f64,
    better: f64,
}

/// A plan of its own for every number.
fn plan(number: u32) -> Plan {
    let spec = fixtures::spec();
    let precisions = (0..spec.layers.len()).map(|layer| match number >> layer & 1 {
        0 => Precision::Q4K,
        _ => Precision::Q8_0,
    });
    Plan::new(&spec, precisions.collect()).unwrap()
}

/// The timings of four plans together, the first of which has this number.
fn lease(
    device: Device,
    of_night: f64,
    random: &mut Rng,
    first: u32,
    slower: &impl Fn(u32) -> f64,
) -> Vec<Latency> {
    let moment = (of_night + device.moment * normal(random)).exp();
    // Half of what a ratio differs by is the anchor's, for all plans of the lease.
    let each = device.repeat / std::f64::consts::SQRT_2;
    let of_anchor = slower(u32::MAX) * (each * normal(random)).exp();
    let anchor = (1e6 * f64::from(DECODE.steps()) * moment * of_anchor) as u64;
    let timings = (first..first + 4).map(|number| {
        // What a timing knows of itself, as `timing` says, and what it does not.
        let apart = each.hypot(OWN) * normal(random);
        let truth = 1.0 + f64::from(number) / 10.0;
        let ratio = truth * slower(number) / of_anchor * apart.exp();
        let mut timing = timing(ratio, "anchor");
        timing.paired.as_mut().unwrap().anchor_samples_ns = vec![anchor; 6];
        timing
    });
    timings.collect()
}

/// A search of one night in which a plan takes `slower` times its usual time.
fn night(device: Device, random: &mut Rng, slower: impl Fn(u32) -> f64) -> Vec<FrontPoint> {
    let of_night = device.night * normal(random);
    let mut points = Vec::new();
    for first in (0..PLANS + 4 * OTHERS).step_by(4) {
        let mut lease = || lease(device, of_night, random, first, &slower);
        let is_shared = first < PLANS;
        let searched = lease();
        let fresh = if is_shared { lease() } else { searched.clone() };
        let counted = if is_shared { 4 } else { 1 };
        for ((number, searched), fresh) in (first..).zip(searched).zip(fresh).take(counted) {
            let mut point = twice(i64::from(number), searched, fresh);
            point.plan = plan(number);
            if !is_shared {
                point.confirmation = None;
            }
            points.push(point);
        }
    }
    widen(&mut points, &[DECODE]);
    points
}

/// What is said of decode after two nights.
fn said(before: &[FrontPoint], after: &[FrontPoint]) -> Overall {
    let workloads: [Workload; 1] = [DECODE];
    let (then, now) = (Night::of(before, &workloads), Night::of(after, &workloads));
    let points = moved((before, &then), (after, &now), true);
    overall(Watched::Time(DECODE), &points, (1, &then, 2, &now))
}

/// What is said over many pairs of nights, the second of which is slower.
fn told(device: Device, slower: impl Fn(u32) -> f64) -> Told {
    let mut random = Rng::with_seed(given("NIGHT_SEED", 4));
    let (mut worse, mut better) = (0, 0);
    for _ in 0..pairs() {
        let before = night(device, &mut random, |_| 1.0);
        let after = night(device, &mut random, &slower);
        match said(&before, &after).verdict {
            Verdict::Worse => worse += 1,
            Verdict::Better => better += 1,
            Verdict::Unchanged => {}
            Verdict::Unknown => panic!("enough is measured"),
        }
    }
    let share = |count: u32| f64::from(count) / f64::from(pairs());
    Told {
        worse: share(worse),
        better: share(better),
    }
}

const QUIET: Device = Device {
    name: "quiet",
    night: 0.003,
    moment: 0.003,
    repeat: 0.003,
};

const USUAL: Device = Device {
    name: "usual",
    night: 0.01,
    moment: 0.01,
    repeat: 0.011,
};

const RESTLESS: Device = Device {
    name: "restless",
    night: 0.03,
    moment: 0.03,
    repeat: 0.02,
};

#[test]
fn undisturbed_nights_raise_no_alarm_and_slower_ones_do() {
    // By device: the least shares of nights that must be found slower where the device is slower by
    // 2 % and by 6 %.
    let rows = [
        (QUIET, 0.7, 1.0),
        (
            Device {
                night: 0.0,
                ..USUAL
            },
            0.0,
            0.7,
        ),
        (USUAL, 0.0, 0.6),
        (RESTLESS, 0.0, 0.0),
    ];
    for (device, least_of_two, least_of_six) in rows {
        let [none, two, six] = [1.0, 1.02, 1.06].map(|slower| told(device, |_| slower));
        println!(
            "{} (nights apart by {:.1} %): of {} nights {:.1} % slower and {:.1} % faster \
             although nothing changed; by 2 %: {:.1} %; by 6 %: {:.1} %",
            device.name,
            device.night * 100.0,
            pairs(),
            none.worse * 100.0,
            none.better * 100.0,
            two.worse * 100.0,
            six.worse * 100.0,
        );
        assert!(none.worse <= 0.02, "{}: {none:?}", device.name);
        assert!(none.better <= 0.02, "{}: {none:?}", device.name);
        assert!(two.worse >= least_of_two, "{}: {two:?}", device.name);
        assert!(six.worse >= least_of_six, "{}: {six:?}", device.name);
        assert!(six.better == 0.0, "{}: {six:?}", device.name);
    }
}

#[test]
fn a_kernel_of_some_plans_that_became_slower_is_noticed_although_the_median_stays() {
    let some = |number: u32| if number < 6 { 1.3 } else { 1.0 };
    let found = told(USUAL, some);
    println!(
        "6 of {PLANS} plans slower by 30 %: found in {:.1} %",
        found.worse * 100.0
    );
    assert!(found.worse > 0.95, "{found:?}");
    let mut random = Rng::with_seed(1);
    let before = night(QUIET, &mut random, |_| 1.0);
    let after = night(QUIET, &mut random, some);
    let said = said(&before, &after);
    assert_eq!((said.verdict, said.worse), (Verdict::Worse, 6));
    let ratio = said.ratio.unwrap();
    assert!((ratio.value - 1.0).abs() < 0.01, "{ratio:?}");
}

/// The median is right however the moments of either night lay.
#[test]
fn the_change_is_found_as_large_as_it_is_and_its_interval_holds_it() {
    let mut random = Rng::with_seed(2);
    let (mut held, mut sum) = (0, 0.0);
    for _ in 0..pairs() {
        let before = night(USUAL, &mut random, |_| 1.0);
        let after = night(USUAL, &mut random, |_| 1.06);
        let ratio = said(&before, &after).ratio.unwrap();
        held += u32::from(ratio.interval.low <= 1.06 && 1.06 <= ratio.interval.high);
        sum += ratio.value.ln();
    }
    let (held, mean) = (
        f64::from(held) / f64::from(pairs()),
        (sum / f64::from(pairs())).exp(),
    );
    println!(
        "an interval of 98 % holds the change in {:.1} % of the nights",
        held * 100.0
    );
    assert!(held > 0.95, "{held}");
    assert!((mean - 1.06).abs() < 0.002, "{mean}");
}

#[test]
fn of_figures_that_a_front_was_chosen_by_only_baselines_count() {
    let mut random = Rng::with_seed(3);
    let [mut before, after] = [1.0, 1.0].map(|slower| night(QUIET, &mut random, |_| slower));
    for point in &mut before {
        point.confirmation = None;
    }
    assert_eq!(said(&before, &after).plans, 0);
    for point in &mut before[..9] {
        point.baseline = Some("Q4_K_M".to_owned());
    }
    let said = said(&before, &after);
    assert_eq!((said.plans, said.verdict), (9, Verdict::Unchanged));
}

#[test]
fn of_few_plans_and_few_timings_nothing_is_said() {
    let mut random = Rng::with_seed(3);
    let [mut before, mut after] = [1.0, 1.3].map(|slower| night(QUIET, &mut random, |_| slower));
    let few: Vec<_> = before[..6].to_vec();
    // What is missing is told, and no figure.
    let unknown = |said: Overall, why: &str| {
        assert_eq!(said.verdict, Verdict::Unknown);
        assert!(
            said.ratio.is_none() && said.reason.contains(why),
            "{}",
            said.reason
        );
    };
    before.truncate(PLANS as usize);
    after.truncate(PLANS as usize);
    let many = said(&before, &after);
    assert_eq!(many.verdict, Verdict::Worse);
    unknown(said(&few, &after), "search 1 has 4 timings");
    after.truncate(12);
    before.retain(|point| point.candidate < 3 || point.candidate >= 12);
    unknown(
        said(&before, &after),
        "both measured 3 of the same plans, and 7",
    );
    after.clear();
    unknown(said(&before, &after), "search 2 has 0 timings");
    // Timed alone, as by agents of other versions.
    for point in &mut before {
        point.latency.as_mut().unwrap().value[0].paired = None;
    }
    let again = before.clone();
    let alone = said(&before, &again);
    assert_eq!((alone.plans, alone.verdict), (0, Verdict::Unknown));
}
