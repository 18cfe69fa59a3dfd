use bitfront_model::{Digest, Evidence, Placing, Plan, Precision};

use super::*;
use crate::fixtures;

/// What one device measured.
pub(in crate::query) fn figure<T>(value: T) -> Figure<T> {
    Figure {
        measurement: 1,
        value,
        evidence: Evidence {
            executed: Vec::new(),
            imatrix_digest: Some(Digest::of("imatrix")),
            environment: Default::default(),
            cold: None,
            energy: None,
            duration_ns: 1,
        },
        device: "one".to_owned(),
        measured_at_ms: 1,
    }
}

fn quality(kld: f64) -> Figure<Quality> {
    figure(Quality {
        kld,
        kld_standard_error: kld / 100.0,
        kld_windows: vec![kld; 8],
        perplexity: 10.0,
        reference_perplexity: 10.0,
        same_top_rate: 0.9,
        same_top_windows: Vec::new(),
        positions: 512,
        stopped: None,
        rescored: Vec::new(),
    })
}

/// A point with its divergence before and after it was confirmed, and no times.
pub(in crate::query) fn confirmed(candidate: i64, searched: f64, fresh: f64) -> FrontPoint {
    FrontPoint {
        search: 1,
        candidate,
        baseline: None,
        plan: Plan::uniform(&fixtures::spec(), Precision::Q4K).unwrap(),
        size_bytes: 1,
        bits_per_weight: 4.5,
        on_front: true,
        is_knee: false,
        within_limits: true,
        executed_as_planned: true,
        quality: Some(quality(fresh)),
        latency: None,
        first_latency: None,
        infeasible: None,
        placing: Placing::default(),
        was_on_front: true,
        confirmation: Some(Confirmation {
            searched_quality: Some(quality(searched)),
            searched_latency: None,
            differs: false,
            rescoring: None,
            repeatability: Vec::new(),
        }),
        unconfirmed: None,
        believed: Vec::new(),
    }
}

#[test]
fn what_an_easier_text_changes_for_every_plan_marks_none_of_them() {
    let mut points: Vec<_> = (1..=9)
        .map(|number| {
            let searched = 0.01 * number as f64;
            // One plan looked a third better than it is; the text is easier by a quarter for all.
            let unlucky = if number == 4 { 1.5 } else { 1.0 };
            confirmed(number, searched, 0.75 * unlucky * searched)
        })
        .collect();
    mark_qualities(&mut points);
    let marked = points.iter().filter(|point| {
        let confirmation = point.confirmation.as_ref().unwrap();
        confirmation.differs
    });
    let marked: Vec<_> = marked.map(|point| point.candidate).collect();
    assert_eq!(marked, [4]);
    mark_qualities(&mut []);
}
