#![allow(clippy::unwrap_used)]

use bitfront_model::{Cold, Mark};

use super::*;
use crate::testing::front;

#[test]
fn the_table_marks_front_knee_and_baselines() {
    let front = front();
    let table = listing(&front, Which::Shown, false)
        .render(Format::Table, 100)
        .unwrap();
    insta::assert_snapshot!(table + &conclusion(&front, 0.01));
}

#[test]
fn fronts_of_several_devices_are_told_apart_by_their_searches() {
    let mut fronts = [front(), front()];
    for point in &mut fronts[1].points {
        point.search = 2;
    }
    let json = listing_of_all(&fronts).render(Format::Json, 0).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let of = |search: i64| rows.iter().filter(|row| row["search"] == search).count();
    assert!(of(1) > 1);
    assert_eq!((of(1), of(1) + of(2)), (of(2), rows.len()));
}

#[test]
fn what_was_learned_from_siblings_stands_below() {
    let mut front = front();
    front.status.shared = bitfront_model::SharedPlans {
        plans: 120,
        searches: vec![3, 4],
    };
    let text = conclusion(&front, 0.01);
    assert!(
        text.contains("\nlearned from 120 plans of searches 3, 4\n"),
        "{text}"
    );
}

#[test]
fn a_stale_front_says_so() {
    let mut front = front();
    assert!(!conclusion(&front, 0.01).contains("stale"));
    front.stale = crate::testing::drift().stale();
    let text = conclusion(&front, 0.01);
    let line = "\nstale: measured since by search 2: decode@64x16 6.1 % slower";
    assert!(text.contains(line), "{text}");
}

#[test]
fn a_disturbed_timing_is_marked_and_named() {
    let mut front = front();
    let point = front.points.iter_mut().find(|point| point.is_knee).unwrap();
    let candidate = point.candidate;
    let latency = point.latency.as_mut().unwrap();
    latency.evidence.environment.marks = vec![Mark::Busy, Mark::Throttled];
    let listing = listing(&front, Which::Shown, false);
    let table = listing.render(Format::Table, 100).unwrap() + &conclusion(&front, 0.01);
    assert!(table.contains("★~"), "{table}");
    let legend = "~ timed under a disturbance: others used the cores that measure (1 timing), \
                  the processor was throttled (1 timing)\n";
    assert!(table.contains(legend), "{table}");
    let json = listing.render(Format::Json, 0).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let row = rows
        .iter()
        .find(|row| row["candidate"] == candidate)
        .unwrap();
    assert_eq!(row["latency_marks"], "busy, throttled");
}

#[test]
fn a_device_that_computes_something_else_is_marked_and_named() {
    let mut front = front();
    crate::testing::confirm(&mut front);
    let mut confirmed = front.points.iter_mut().filter(|it| it.on_front);
    let mut of_front = |ratio| {
        let point = confirmed.find(|point| point.confirmation.is_some());
        let point = point.unwrap();
        crate::testing::rescore(point, "other", ratio);
        point.candidate
    };
    let (deviating, honest) = (of_front(1.5), of_front(1.0));
    let listing = listing(&front, Which::Shown, true);
    let table = listing.render(Format::Table, 140).unwrap() + &conclusion(&front, 0.01);
    assert_eq!(
        table.matches('≠').count(),
        2,
        "the point and the sentence: {table}"
    );
    assert!(table.contains("`other` gets 1.50 times"), "{table}");
    assert!(table.contains("divergences of `laptop`"), "{table}");
    let json = listing.render(Format::Json, 0).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let row = |candidate| {
        rows.iter()
            .find(|row| row["candidate"] == candidate)
            .unwrap()
    };
    let (deviating, honest) = (row(deviating), row(honest));
    for (name, expected) in [
        ("rescored_windows", serde_json::json!(4)),
        ("rescored_ratio", serde_json::json!(1.5)),
        ("deviates", serde_json::json!(true)),
        ("quality_device", serde_json::json!("other")),
        ("searched_quality_device", serde_json::json!("laptop")),
    ] {
        assert_eq!(deviating[name], expected, "{name}");
    }
    assert!(
        deviating["why"]
            .as_str()
            .unwrap()
            .contains("gets 1.50 times what")
    );
    assert_eq!(honest["deviates"], false);
    assert!(!honest["why"].as_str().unwrap().contains('≠'));
}

#[test]
fn what_was_taken_beside_a_timing_is_told_to_programs() {
    let mut front = front();
    let point = front.points.iter_mut().find(|point| point.is_knee).unwrap();
    let candidate = point.candidate;
    let evidence = &mut point.latency.as_mut().unwrap().evidence;
    evidence.cold = Some(ColdStart::Measured(Cold {
        load_ns: 7,
        prompt_tokens: 128,
        batch: 4,
        first_token_ns: 9,
        memory_before_bytes: Some(10),
        peak_memory_bytes: Some(11),
        weight_bytes: 12,
    }));
    let row = |front: &Front| {
        let json = listing(front, Which::Shown, false).render(Format::Json, 0);
        let rows: Vec<serde_json::Value> = serde_json::from_str(&json.unwrap()).unwrap();
        let row = rows.into_iter().find(|row| row["candidate"] == candidate);
        row.unwrap()
    };
    evidence.energy = Some(Energy::NotMeasured {
        reason: "no counter".to_owned(),
    });
    let found = row(&front);
    for (name, expected) in [
        ("load_ns", 7),
        ("first_token_ns", 9),
        ("first_token_prompt", 128),
        ("first_token_batch", 4),
        ("memory_before_bytes", 10),
        ("peak_memory_bytes", 11),
        ("weight_bytes", 12),
    ] {
        assert_eq!(found[name], expected, "{name}");
    }
    assert!(found["cold_start_not_measured"].is_null() && found["joules_per_token"].is_null());
    assert_eq!(found["energy_not_measured"], "no counter");
    let point = front.points.iter_mut().find(|point| point.is_knee).unwrap();
    point.latency.as_mut().unwrap().evidence.energy = Some(Energy::Measured {
        source: "rapl:package-0".to_owned(),
        joules_per_token: 0.25,
        idle_watts: 1.0,
        joules: 2.0,
        duration_ns: 3,
        tokens: 4,
    });
    point.latency.as_mut().unwrap().evidence.cold = Some(ColdStart::NotMeasured {
        reason: "no memory".to_owned(),
    });
    assert_eq!(row(&front)["joules_per_token"], 0.25);
    assert_eq!(row(&front)["cold_start_not_measured"], "no memory");
    assert!(row(&front)["peak_memory_bytes"].is_null());
}

#[test]
fn fresh_figures_stand_beside_what_they_replaced() {
    let mut front = front();
    crate::testing::confirm(&mut front);
    let table = listing(&front, Which::Shown, false)
        .render(Format::Table, 120)
        .unwrap();
    insta::assert_snapshot!(table + &conclusion(&front, 0.01));
    let json = listing(&front, Which::All, false)
        .render(Format::Json, 100)
        .unwrap();
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = rows.as_array().unwrap();
    let confirmed = rows.iter().find(|row| row["confirmed"] == true).unwrap();
    let change = confirmed["kld"].as_f64().unwrap() / confirmed["searched_kld"].as_f64().unwrap();
    assert!((change - 1.02).abs() < 1e-9, "{change}");
}

#[test]
fn a_plan_that_was_given_up_says_after_how_many_windows_and_behind_whom() {
    let mut front = front();
    assert!(!conclusion(&front, 0.01).contains("given up"));
    let behind = front.points[0].candidate;
    let point = front.points.last_mut().unwrap();
    let candidate = point.candidate;
    (point.on_front, point.is_knee) = (false, false);
    let quality = &mut point.quality.as_mut().unwrap().value;
    quality.kld_windows.truncate(4);
    quality.stopped = Some(bitfront_model::Stopped {
        windows: 16,
        behind,
    });
    let table = listing(&front, Which::All, true);
    let people = table.render(Format::Table, 140).unwrap();
    assert!(people.contains("(4 of 16 windows)"), "{people}");
    let rows = table.render(Format::Json, 140).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&rows).unwrap();
    let row = rows.iter().find(|row| row["candidate"] == candidate);
    let row = row.unwrap();
    assert_eq!(
        (&row["scored_windows"], &row["stopped_behind"]),
        (&4.into(), &behind.into())
    );
    let why = row["why"].as_str().unwrap();
    assert!(why.starts_with("given up after 4 of 16 windows"), "{why}");
    assert!(why.contains(&format!("#{behind}")), "{why}");
    let told = conclusion(&front, 0.01);
    let candidates = front.points.len();
    assert!(
        told.contains(&format!("1 of {candidates} candidates was given up")),
        "{told}"
    );
}

#[test]
fn programs_get_every_figure() {
    let csv = listing(&front(), Which::All, false)
        .render(Format::Csv, 100)
        .unwrap();
    assert_eq!(csv.lines().count(), front().points.len() + 1);
    insta::assert_snapshot!(csv.lines().take(2).collect::<Vec<_>>().join("\n"));
}

/// A front on which one plan stands for two others, one of them a baseline.
fn with_a_class() -> (Front, i64, [i64; 2]) {
    let mut front = front();
    let position = |found: Option<usize>| found.unwrap();
    let mut points = front.points.iter();
    let shown = position(points.position(|point| point.on_front && !point.is_knee));
    let off = |baseline: bool| {
        let mut points = front.points.iter();
        points.position(|point| !point.on_front && point.baseline.is_some() == baseline)
    };
    let members = [position(off(true)), position(off(false))];
    let numbers = members.map(|member| front.points[member].candidate);
    let number = front.points[shown].candidate;
    front.points[shown].placing.class = numbers.to_vec();
    for member in members {
        front.points[member].placing.class_of = Some(number);
    }
    (front, number, numbers)
}

#[test]
fn classes_are_marked_listed_on_request_and_always_told_to_programs() {
    let (front, number, members) = with_a_class();
    let table = |which| {
        let listing = listing(&front, which, false);
        listing.render(Format::Table, 120).unwrap()
    };
    let (few, more) = (table(Which::Shown), table(Which::Classes));
    for table in [&few, &more] {
        assert_eq!(table.matches("●+2").count(), 1, "{table}");
    }
    assert_eq!(few.matches('○').count(), 1, "the baseline: {few}");
    assert_eq!(more.matches('○').count(), 2, "{more}");
    let legend = legend(&front);
    assert!(legend.contains("+N") && legend.contains("--all-classes"));
    assert!(legend.contains('○'), "{legend}");
    assert!(!super::legend(&crate::testing::front()).contains('○'));

    let json = listing(&front, Which::Shown, false);
    let json = json.render(Format::Json, 100).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    let row = rows.iter().find(|row| row["candidate"] == number).unwrap();
    assert_eq!(row["class"], serde_json::json!(members));
    assert_eq!(row.get("why"), None);
}

#[test]
fn every_listed_plan_is_explained_to_people_and_programs() {
    let (front, number, [baseline, member]) = with_a_class();
    let text = reasons(&front, Which::Shown);
    assert_eq!(text.lines().count(), Which::Shown.of(&front).len());
    let line = |number: i64| {
        let mut lines = text.lines();
        let name = format!("#{number} ");
        let is_about = |line: &&str| {
            let after_mark: String = line.chars().skip(2).collect();
            after_mark.starts_with(&name)
        };
        lines.find(is_about).map(str::to_owned)
    };
    let shown = line(number).unwrap();
    assert!(
        shown.starts_with("● ") && shown.contains("smallest of 3 that cannot be told apart: "),
        "{shown}"
    );
    assert!(line(baseline).unwrap().starts_with("○ "));
    assert_eq!(line(member), None);
    let json = listing(&front, Which::Classes, true);
    let json = json.render(Format::Json, 100).unwrap();
    let rows: Vec<serde_json::Value> = serde_json::from_str(&json).unwrap();
    assert!(rows.iter().all(|row| row["why"].is_string()));
    assert!(rows.iter().any(|row| row["class_of"] == number));
}

#[test]
fn an_infeasible_candidate_says_so() {
    let mut front = front();
    let point = &mut front.points[0];
    point.quality = None;
    point.latency = None;
    point.infeasible = Some("not enough memory".into());
    let json = listing(&front, Which::All, false)
        .render(Format::Json, 100)
        .unwrap();
    assert!(json.contains("not enough memory"));
    let table = listing(&front, Which::All, false)
        .render(Format::Table, 100)
        .unwrap();
    assert!(table.contains("infeasible"));
}

#[test]
fn an_interval_that_holds_less_is_marked() {
    let mut front = front();
    let figure = front.points[0].latency.as_mut().unwrap();
    for latency in &mut figure.value {
        latency.samples_ns.truncate(4);
        latency.interval.confidence = 0.875;
    }
    let table = listing(&front, Which::All, false)
        .render(Format::Table, 140)
        .unwrap();
    assert_eq!(table.matches(": 87.5 %]").count(), 1, "{table}");
    let json = listing(&front, Which::All, false)
        .render(Format::Json, 100)
        .unwrap();
    let rows: serde_json::Value = serde_json::from_str(&json).unwrap();
    let candidate = front.points[0].candidate;
    let rows = rows.as_array().unwrap();
    let row = rows.iter().find(|row| row["candidate"] == candidate);
    for workload in ["decode", "prefill"] {
        let of = |what: &str| row.unwrap()[format!("{workload}_{what}")].clone();
        assert_eq!((of("confidence"), of("samples")), (0.875.into(), 4.into()));
    }
}

#[test]
fn an_unreachable_divergence_is_said() {
    assert!(conclusion(&front(), 1e-9).contains("no plan keeps KLD ≤ 0.000000001"));
}
