//! `bitfront devices`: lists the devices that have served, or shows the probes of one.

use bitfront_model::{Device, HeldTask, TimingNoise, Work};

use crate::args::DevicesArguments;
use crate::figures::{moment, percent};
use crate::listing::{Cell, Column, Listing};
use crate::problem::ExitStatus;
use crate::request::names;
use crate::view::time;

use super::probes;
use super::session::{Agent, Session};

/// Lists them, or shows one.
pub(super) async fn devices(
    typed: DevicesArguments,
    session: Session,
) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    if let Some(name) = typed.name {
        let device = connection.client.device(name).await?;
        connection.close().await?;
        for line in probes::talk(&device) {
            session.printer.say(line);
        }
        session.list(&probes::listing(&device), typed.listing)?;
        return Ok(ExitStatus::Success);
    }
    let devices = connection.client.devices().await?;
    connection.close().await?;
    session.list(&listing(&devices), typed.listing)?;
    Ok(ExitStatus::Success)
}

fn listing(devices: &[Device]) -> Listing {
    let mut listing = Listing::new(&[
        Column::text("device", "device"),
        Column::text("state", "state"),
        Column::for_programs("serving"),
        Column::text("last_seen", "last seen"),
        Column::for_programs("first_seen"),
        Column::text("measures", "measures").for_people(),
        Column::for_programs("tasks"),
        Column::for_programs("task_kind"),
        Column::for_programs("task_purpose"),
        Column::for_programs("task_search"),
        Column::for_programs("task_candidate"),
        Column::for_programs("task_question"),
        Column::for_programs("task_since"),
        Column::number("timing_noise", "noise"),
        Column::for_programs("timing_noise_timings"),
        Column::for_programs("timing_noise_workload"),
        Column::for_programs("timing_noise_anchor"),
        Column::text("hardware", "hardware"),
        Column::for_programs("hardware_profile"),
        Column::text("numerics_class", "numerics class"),
        Column::for_programs("precisions"),
        Column::text("agent_version", "agent"),
        Column::for_programs("runtime"),
        Column::for_programs("runtime_version"),
        Column::for_programs("driver"),
        Column::for_programs("agent"),
        Column::for_programs("coordinator"),
        Column::number("measurements", "measurements"),
    ]);
    for device in devices {
        let registration = &device.registration;
        let profile = &registration.hardware_profile;
        let mut row = vec![
            Cell::plain(registration.device.as_str()),
            Cell::plain(device.state.name()),
            Cell::plain(device.serves()),
            Cell::plain(moment(time(device.last_seen_ms))),
            Cell::plain(moment(time(device.first_seen_ms))),
        ];
        row.extend(held(&device.held));
        row.extend(noise(device.noise.as_ref()));
        row.extend([
            Cell::plain(profile.summary()),
            Cell::plain(profile.digest().to_string()),
            Cell::plain(registration.numerics_class.to_string()),
            Cell::plain(names(registration.precisions.iter().copied())),
            Cell::plain(registration.agent_version.as_str()),
            Cell::plain(profile.runtime.as_str()),
            Cell::plain(profile.runtime_version.as_str()),
            profile.driver.clone().into(),
            device.agent.clone().into(),
            device.coordinator.clone().into(),
            Cell::plain(device.measurements),
        ]);
        listing.row(row);
    }
    listing
}

/// What a device measures: the first of the tasks that it holds, and how many they are.
fn held(tasks: &[HeldTask]) -> [Cell; 8] {
    let first = tasks.first();
    let since = first.map(|held| moment(time(held.since_ms)));
    let told = first.zip(since.as_ref()).map(|(held, since)| {
        let more = match tasks.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let what = match held.work {
            Work::Candidate {
                search,
                candidate,
                kind,
                purpose,
            } => format!("{kind} of candidate {candidate}{more} in search {search} ({purpose})"),
            Work::Question { kind, .. } => format!("{kind}{more}"),
        };
        format!("{what}, since {since}")
    });
    let (kind, purpose, search, candidate, question) = match first.map(|held| held.work) {
        Some(Work::Candidate {
            search,
            candidate,
            kind,
            purpose,
        }) => (
            Some(kind.name()),
            Some(purpose.name()),
            Some(search),
            Some(candidate),
            None,
        ),
        Some(Work::Question { question, kind }) => {
            (Some(kind.name()), None, None, None, Some(question))
        }
        None => (None, None, None, None, None),
    };
    [
        told.map_or_else(Cell::empty, Cell::people),
        Cell::plain(tasks.len() as u64),
        kind.into(),
        purpose.into(),
        search.into(),
        candidate.into(),
        question.into(),
        since.into(),
    ]
}

/// How evenly it times, as a share of the time.
fn noise(noise: Option<&TimingNoise>) -> [Cell; 4] {
    [
        noise.map_or_else(Cell::empty, |noise| {
            Cell::new(percent(noise.deviation), noise.deviation)
        }),
        noise.map(|noise| noise.timings).into(),
        noise.map(|noise| noise.workload.to_string()).into(),
        noise.map(|noise| noise.anchor.to_string()).into(),
    ]
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::{
        DeviceState, Digest, NumericsClass, Precision, QuestionKind, Registration, TaskKind,
        TaskPurpose,
    };

    use super::*;
    use crate::args::Format;
    use crate::testing::{NOON_MS, hardware};

    fn device(name: &str, state: DeviceState, held: Vec<HeldTask>) -> Device {
        Device {
            device_id: 1,
            registration: Registration {
                device: name.into(),
                hardware_profile: hardware(),
                numerics_class: NumericsClass("candle/0.11.0/cpu/avx2".into()),
                precisions: vec![Precision::Q8_0, Precision::Q4K],
                agent_version: "0.1.0".into(),
                can_probe: true,
                can_score_swaps: true,
            },
            first_seen_ms: NOON_MS,
            last_seen_ms: NOON_MS + 1000,
            measurements: 12,
            state,
            agent: None,
            coordinator: None,
            held,
            noise: None,
        }
    }

    #[test]
    fn a_device_is_a_row_with_what_it_does_and_how_evenly_it_times() {
        let timing = |candidate| HeldTask {
            work: Work::Candidate {
                search: 3,
                candidate,
                kind: TaskKind::Latency,
                purpose: TaskPurpose::Search,
            },
            since_ms: NOON_MS + 500,
        };
        let busy = Device {
            agent: Some("4f2a".into()),
            coordinator: Some("10.0.0.1:7311".into()),
            noise: Some(TimingNoise {
                deviation: 0.0123,
                timings: 32,
                anchor: Digest::of("anchor"),
                workload: "decode@64x16".parse().unwrap(),
            }),
            ..device("laptop", DeviceState::Present, vec![timing(41), timing(42)])
        };
        let asked = HeldTask {
            work: Work::Question {
                question: 2,
                kind: QuestionKind::Probe,
            },
            since_ms: NOON_MS,
        };
        let devices = [
            busy,
            device("board", DeviceState::Silent, vec![asked]),
            device("desk", DeviceState::Away, Vec::new()),
        ];
        let listing = listing(&devices);
        insta::assert_snapshot!(listing.render(Format::Table, 180).unwrap());
        insta::assert_snapshot!(listing.render(Format::Csv, 180).unwrap());
    }
}
