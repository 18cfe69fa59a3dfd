//! What `bitfront devices NAME` shows: how long every product takes, and what is not worth
//! searching for.

use bitfront_model::{
    DeviceProbe, Interval, Precision, Probe, ProbedDevice, ProductTime, QuestionStanding, Shape,
};

use crate::figures::{self, three_digits};
use crate::listing::{Cell, Column, Listing};

/// What is said beside the table: what is missing from it, and why precisions left.
pub(super) fn talk(device: &ProbedDevice) -> Vec<String> {
    let registration = &device.device.registration;
    let name = &registration.device;
    if device.probes.is_empty() {
        return vec![match registration.can_probe {
            true => format!(
                "device `{name}` was never probed: the next search that is bound to it does that \
                 first, so start one with `bitfront run` or `bitfront submit`"
            ),
            false => format!(
                "device `{name}` was never probed, since its agent ({}) does not understand \
                 probes: start it with this version of bitfront",
                registration.agent_version
            ),
        }];
    }
    let mut lines = Vec::new();
    for probe in &device.probes {
        let number = probe.probe;
        match &probe.standing {
            QuestionStanding::Pending => lines.push(format!("probe {number} is not done yet")),
            QuestionStanding::Failed { reason } => lines.push(format!(
                "probe {number} was given up, and searches go on without it: {reason}"
            )),
            QuestionStanding::Done(answer) => lines.push(about(probe, answer)),
        }
    }
    lines
}

fn about(probe: &DeviceProbe, answer: &Probe) -> String {
    format!(
        "probe {}: products with {} and {} rows of activations, timed in {}; {} of {} leave the \
         space of a search over all precisions",
        probe.probe,
        probe.question.few_rows,
        probe.question.many_rows,
        figures::nanoseconds(answer.duration_ns as f64),
        probe.excluded.len(),
        answer.products.len(),
    )
}

/// A row for every product.
pub(super) fn listing(device: &ProbedDevice) -> Listing {
    let mut listing = Listing::new(&[
        Column::for_programs("probe"),
        Column::text("shape", "shape").for_people(),
        Column::for_programs("rows"),
        Column::for_programs("columns"),
        Column::text("precision", "precision"),
        Column::number("bytes", "size"),
        Column::number("few_rows", "few rows").for_people(),
        Column::for_programs("few_activation_rows"),
        Column::for_programs("few_rows_ns"),
        Column::for_programs("few_rows_low_ns"),
        Column::for_programs("few_rows_high_ns"),
        Column::number("many_rows", "many rows").for_people(),
        Column::for_programs("many_activation_rows"),
        Column::for_programs("many_rows_ns"),
        Column::for_programs("many_rows_low_ns"),
        Column::for_programs("many_rows_high_ns"),
        Column::for_programs("few_rows_ratio"),
        Column::for_programs("few_rows_ratio_low"),
        Column::for_programs("few_rows_ratio_high"),
        Column::for_programs("many_rows_ratio"),
        Column::for_programs("many_rows_ratio_low"),
        Column::for_programs("many_rows_ratio_high"),
        Column::for_programs("noisy"),
        Column::for_programs("replaced_by"),
        Column::text("left_the_space", "left the space"),
    ]);
    for probe in &device.probes {
        if let QuestionStanding::Done(answer) = &probe.standing {
            for product in &answer.products {
                let row = row(probe, product.shape, product.precision, product.times());
                listing.row(row);
            }
        }
    }
    listing
}

fn row(
    probe: &DeviceProbe,
    shape: Shape,
    precision: Precision,
    times: Option<(&ProductTime, &ProductTime)>,
) -> Vec<Cell> {
    let bytes = precision.bytes(shape.rows, shape.columns);
    let excluded = probe
        .excluded
        .iter()
        .find(|it| it.shape == shape && it.precision == precision);
    let (few_rows, many_rows) = times.unzip();
    let noisy = times.map(|(few_rows, many_rows)| few_rows.noisy || many_rows.noisy);
    let by = excluded.map(|it| {
        let names = it.by.iter().map(|precision| precision.name());
        names.collect::<Vec<_>>().join(" ")
    });
    let mut cells = vec![
        Cell::plain(probe.probe),
        Cell::people(shape.to_string()),
        Cell::plain(shape.rows),
        Cell::plain(shape.columns),
        Cell::plain(precision.name()),
        bytes.map_or_else(Cell::empty, |bytes| Cell::new(figures::bytes(bytes), bytes)),
    ];
    let question = &probe.question;
    for (rows, product) in [
        (question.few_rows, few_rows),
        (question.many_rows, many_rows),
    ] {
        let [text, figures @ ..] = time(product);
        cells.extend([text, Cell::plain(rows)]);
        cells.extend(figures);
    }
    cells.extend(ratio(few_rows));
    cells.extend(ratio(many_rows));
    cells.push(noisy.into());
    cells.push(by.into());
    cells.push(match excluded {
        Some(excluded) => Cell::plain(excluded.reason.as_str()),
        None => Cell::new("", serde_json::Value::Null),
    });
    cells
}

/// A time for people with the error of its ratio to the anchor, and as figure, lower and upper end
/// for programs.
fn time(time: Option<&ProductTime>) -> [Cell; 4] {
    let Some(time) = time else {
        return [(); 4].map(|()| Cell::empty());
    };
    let Interval { low, high, .. } = time.interval;
    // The anchor's own error is common to all products of a shape, which are compared without it.
    let half = (time.ratio_interval.high - time.ratio_interval.low) / 2.0 / time.ratio * 100.0;
    let noisy = if time.noisy { ", noisy" } else { "" };
    let text = format!(
        "{} ±{} %{noisy}",
        figures::nanoseconds(time.median_ns),
        three_digits(half)
    );
    let [median, low, high] = [time.median_ns, low, high].map(Cell::plain);
    [Cell::people(text), median, low, high]
}

/// A time through the anchor's: figure, lower and upper end.
fn ratio(time: Option<&ProductTime>) -> [Cell; 3] {
    let figures = time.map(|time| {
        (
            time.ratio,
            time.ratio_interval.low,
            time.ratio_interval.high,
        )
    });
    match figures {
        Some((ratio, low, high)) => [ratio, low, high].map(Cell::plain),
        None => [(); 3].map(|()| Cell::empty()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::{
        Device, DeviceState, Environment, Exclusion, NumericsClass, ProbeQuestion, Product,
        ProductResult, Registration,
    };

    use super::*;
    use crate::args::Format;
    use crate::testing::{NOON_MS, hardware};

    fn device(probes: Vec<DeviceProbe>, can_probe: bool) -> ProbedDevice {
        ProbedDevice {
            device: Device {
                device_id: 1,
                registration: Registration {
                    device: "laptop".into(),
                    hardware_profile: hardware(),
                    numerics_class: NumericsClass("candle/0.11.0/cpu/avx2".into()),
                    precisions: vec![Precision::Q8_0, Precision::Q4K],
                    agent_version: "0.1.0".into(),
                    can_probe,
                    can_score_swaps: can_probe,
                },
                first_seen_ms: NOON_MS,
                last_seen_ms: NOON_MS,
                measurements: 0,
                state: DeviceState::Present,
                agent: None,
                coordinator: None,
                held: Vec::new(),
                noise: None,
            },
            probes,
        }
    }

    fn product(precision: Precision, few_rows: f64, noisy: bool) -> Product {
        let time = |median_ns: f64| {
            let around = |value: f64| Interval {
                low: value * 0.98,
                high: value * 1.02,
                confidence: 0.95,
            };
            ProductTime {
                median_ns,
                interval: around(median_ns),
                ratio: 1.0,
                ratio_interval: around(1.0),
                samples_ns: vec![median_ns as u64],
                warm_up_ns: 1,
                noisy,
            }
        };
        Product {
            shape: shape(),
            precision,
            result: ProductResult::Timed {
                few_rows: time(few_rows),
                many_rows: time(100.0 * few_rows),
            },
        }
    }

    fn shape() -> Shape {
        Shape {
            rows: 512,
            columns: 256,
        }
    }

    fn probe(standing: QuestionStanding<Probe>) -> DeviceProbe {
        DeviceProbe {
            probe: 3,
            question: ProbeQuestion {
                shapes: vec![shape()],
                precisions: vec![Precision::Q8_0, Precision::Q5_0, Precision::Q4K],
                few_rows: 1,
                many_rows: 128,
            },
            standing,
            excluded: vec![Exclusion {
                shape: shape(),
                precision: Precision::Q5_0,
                by: vec![Precision::Q5K],
                reason: "q5_k is no larger, no less accurate, and no slower".into(),
            }],
        }
    }

    #[test]
    fn a_product_is_a_row_and_what_left_says_why() {
        let mut products = vec![
            product(Precision::Q8_0, 20_500.0, false),
            product(Precision::Q5_0, 91_000.0, true),
        ];
        products.push(Product {
            result: ProductResult::Infeasible {
                reason: "no kernel".into(),
            },
            ..product(Precision::Q4K, 1.0, false)
        });
        let probed = device(
            vec![probe(QuestionStanding::Done(Box::new(Probe {
                products,
                environment: Environment::default(),
                duration_ns: 2_100_000_000,
            })))],
            true,
        );
        insta::assert_snapshot!(listing(&probed).render(Format::Table, 140).unwrap());
        insta::assert_snapshot!(listing(&probed).render(Format::Csv, 140).unwrap());
        insta::assert_snapshot!(talk(&probed).join("\n"));
    }

    #[test]
    fn a_device_without_a_probe_says_so_and_what_to_do() {
        let never = talk(&device(Vec::new(), true)).join("");
        assert!(never.contains("`laptop` was never probed") && never.contains("bitfront run"));
        let old = talk(&device(Vec::new(), false)).join("");
        assert!(
            old.contains("0.1.0") && old.contains("this version"),
            "{old}"
        );
        let waiting = talk(&device(vec![probe(QuestionStanding::Pending)], true)).join("");
        assert!(waiting.contains("probe 3 is not done yet"), "{waiting}");
        let reason = "no memory".into();
        let failed = talk(&device(
            vec![probe(QuestionStanding::Failed { reason })],
            true,
        ))
        .join("");
        assert!(
            failed.contains("given up") && failed.contains("no memory"),
            "{failed}"
        );
    }
}
