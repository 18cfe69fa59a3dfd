//! Messages that were tampered with on their way: whoever reads one refuses it or takes it, and
//! what was taken can be sent on.

use bitfront_model::*;
use bitfront_proto::v1;
use prost::Message;

use super::messages::{
    evidence, latencies, placing, plan, point, profile, quality, registration, request, spec,
    status,
};

#[path = "../../../fuzz/mod.rs"]
mod tampered;

/// Tampers with messages that are read as a `T`, and sends on what was taken.
fn fuzz<W, T>(target: &str, sound: &[W])
where
    W: Message + Default + for<'a> From<&'a T>,
    T: TryFrom<W>,
    T::Error: std::fmt::Debug,
{
    fuzz_reading(target, sound, |value: &T| {
        T::try_from(W::from(value)).unwrap();
    });
}

fn fuzz_reading<W, T>(target: &str, sound: &[W], taken: impl Fn(&T))
where
    W: Message + Default,
    T: TryFrom<W>,
{
    let sound: Vec<_> = sound.iter().map(Message::encode_to_vec).collect();
    tampered::fuzz(target, &sound, |input| {
        let wire = W::decode(input).ok();
        let read = wire.and_then(|wire| T::try_from(wire).ok());
        read.as_ref().inspect(|value| taken(value)).is_some()
    });
}

#[test]
fn fuzz_requests() {
    fuzz::<v1::SearchRequest, SearchRequest>("search request", &[(&request()).into()]);
}

#[test]
fn fuzz_registrations() {
    fuzz::<v1::RegisterRequest, Registration>("registration", &[(&registration()).into()]);
}

#[test]
fn fuzz_reports() {
    let outcomes = [
        Outcome::Quality(quality()),
        Outcome::Latency {
            workloads: latencies(),
        },
        Outcome::Infeasible {
            reason: "no kernel".to_owned(),
        },
    ];
    let reports = outcomes.map(|outcome| {
        v1::ReportRequest::from(&Report {
            token: LeaseToken { task: 4, epoch: 2 },
            idempotency_key: "key".to_owned(),
            plan_digest: plan().digest(),
            measurement: Measurement {
                outcome,
                evidence: evidence(),
            },
        })
    });
    fuzz::<v1::ReportRequest, Report>("report", &reports);
}

#[test]
fn fuzz_assignments() {
    let assignment = Assignment {
        purpose: TaskPurpose::Search,
        token: LeaseToken { task: 4, epoch: 2 },
        search: 1,
        candidate: 6,
        kind: TaskKind::Quality,
        subject: request().subject,
        plan: plan(),
        workloads: request().workloads,
        anchor: None,
        rival: Some(Rival {
            candidate: 5,
            kld_windows: vec![0.25, 0.5],
        }),
        lease_time: std::time::Duration::from_secs(30),
    };
    let sound = [v1::Assignment::of(&assignment, &spec())];
    fuzz_reading("assignment", &sound, |_: &Assignment| ());
}

#[test]
fn fuzz_fronts() {
    let front = Front {
        status: status(),
        points: vec![
            point(),
            FrontPoint {
                placing: placing(),
                ..point()
            },
        ],
        hardware_profile: Some(profile()),
        stale: None,
    };
    fuzz::<v1::FrontResponse, Front>("front", &[(&front).into()]);
}
