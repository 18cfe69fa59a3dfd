//! `bitfront devices`: lists the devices that have served, or shows the probes of one.

use bitfront_model::Device;

use crate::args::DevicesArguments;
use crate::figures::moment;
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
        Column::text("serving", "serving"),
        Column::text("hardware", "hardware"),
        Column::for_programs("hardware_profile"),
        Column::text("numerics_class", "numerics class"),
        Column::for_programs("precisions"),
        Column::text("agent_version", "agent"),
        Column::number("measurements", "measurements"),
        Column::for_programs("first_seen"),
        Column::text("last_seen", "last seen"),
    ]);
    for device in devices {
        let registration = &device.registration;
        let profile = &registration.hardware_profile;
        listing.row(vec![
            Cell::plain(registration.device.as_str()),
            Cell::new(if device.serving { "yes" } else { "no" }, device.serving),
            Cell::plain(profile.summary()),
            Cell::plain(profile.digest().to_string()),
            Cell::plain(registration.numerics_class.to_string()),
            Cell::plain(names(registration.precisions.iter().copied())),
            Cell::plain(registration.agent_version.as_str()),
            Cell::plain(device.measurements),
            Cell::plain(moment(time(device.first_seen_ms))),
            Cell::plain(moment(time(device.last_seen_ms))),
        ]);
    }
    listing
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::{NumericsClass, Precision, Registration};

    use super::*;
    use crate::args::Format;
    use crate::testing::{NOON_MS, hardware};

    #[test]
    fn a_device_is_a_row() {
        let device = Device {
            device_id: 1,
            registration: Registration {
                device: "laptop".into(),
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
            serving: true,
        };
        let listing = listing(&[device]);
        insta::assert_snapshot!(listing.render(Format::Table, 140).unwrap());
        insta::assert_snapshot!(listing.render(Format::Csv, 140).unwrap());
    }
}
