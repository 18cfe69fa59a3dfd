//! `bitfront front`: what a search measured.

use bitfront_model::{
    ColdStart, Difference, Differences, Energy, Front, FrontPoint, Latency, Objective, Placing,
};

use crate::args::{Format, FrontArguments};
use crate::confirmation;
use crate::deviations;
use crate::disturbances::{self, Disturbances};
use crate::drift;
use crate::ending::{self, Kept};
use crate::explain::{self, numbered};
use crate::figures::{self, bytes, kld, moment, percent, three_digits};
use crate::listing::{Cell, Column, Listing};
use crate::plot::terminal;
use crate::problem::ExitStatus;
use crate::report::Summary;
use crate::settings::USUAL_MAX_KLD;
use crate::siblings;
use crate::view::{PointView as _, time};

use super::session::{Agent, Session};

/// Shows it as a listing and, for people, in words.
pub(super) async fn front(typed: FrontArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let mut connection = session.connect(Agent::NotNeeded).await?;
    let front = connection
        .client
        .believed_front(typed.search, typed.device)
        .await?;
    connection.close().await?;
    let which = match (typed.all, typed.all_classes) {
        (true, _) => Which::All,
        (false, true) => Which::Classes,
        (false, false) => Which::Shown,
    };
    session.list(&listing(&front, which, typed.explain), typed.listing)?;
    if typed.listing.format == Format::Table {
        if typed.plot {
            draw(&front, &session)?;
        }
        if typed.explain {
            session.printer.data(reasons(&front, which))?;
        }
        session.printer.data(conclusion(&front, USUAL_MAX_KLD))?;
    }
    Ok(ExitStatus::Success)
}

/// Draws the scatter plot.
pub(super) fn draw(front: &Front, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let columns = printer.width().clamp(60, 100);
    match terminal::draw(front, columns, 30, printer.is_seen()) {
        Some(plot) => printer.data(format_args!("\n{plot}\n")),
        None => Ok(()),
    }
}

/// Which candidates are listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Which {
    /// What the front shows, and the baselines.
    Shown,
    /// Also what cannot be told apart from something that is shown.
    Classes,
    /// Every candidate.
    All,
}

impl Which {
    /// From small to large.
    fn of(self, front: &Front) -> Vec<&FrontPoint> {
        let any_confirmed = confirmation::any(front);
        let listed = |point: &&FrontPoint| {
            // What was on the front by the search's own figures and left it when it was confirmed
            // stays in sight.
            let left = any_confirmed && point.was_on_front && point.placing.class_of.is_none();
            let shown = point.on_front || left || point.baseline.is_some();
            match self {
                Self::Shown => shown,
                Self::Classes => shown || point.placing.class_of.is_some(),
                Self::All => true,
            }
        };
        let mut points: Vec<_> = front.points.iter().filter(listed).collect();
        points.sort_by_key(|point| (point.size_bytes, point.candidate));
        points
    }
}

/// Candidates from small to large; with the reason for each place where programs ask for it.
pub(super) fn listing(front: &Front, which: Which, explained: bool) -> Listing {
    let mut columns = columns();
    if explained {
        columns.push(Column::for_programs("why"));
    }
    let mut listing = Listing::new(&columns);
    add(&mut listing, front, which, explained);
    listing
}

/// What several fronts show, one after the other: for programs, which tell them apart by the
/// search.
pub(super) fn listing_of_all(fronts: &[Front]) -> Listing {
    let mut listing = Listing::new(&columns());
    for front in fronts {
        add(&mut listing, front, Which::Shown, false);
    }
    listing
}

fn add(listing: &mut Listing, front: &Front, which: Which, explained: bool) {
    let context = Context::of(front);
    for point in which.of(front) {
        let mut cells = row(point, &context);
        if explained {
            cells.push(Cell::plain(explain::why(front, point)));
        }
        listing.row(cells);
    }
}

/// Why each listed candidate is on the front or not, one a line.
fn reasons(front: &Front, which: Which) -> String {
    let context = Context::of(front);
    which
        .of(front)
        .into_iter()
        .map(|point| {
            format!(
                "{:1} {} ({}): {}\n",
                mark(point, &context),
                numbered(point),
                bytes(point.size_bytes),
                explain::why(front, point)
            )
        })
        .collect()
}

fn columns() -> Vec<Column> {
    vec![
        Column::text("mark", "").for_people(),
        Column::text("plan", "plan").for_people(),
        Column::for_programs("search"),
        Column::for_programs("candidate"),
        Column::for_programs("baseline"),
        Column::number("size_bytes", "size"),
        Column::number("bits_per_weight", "bits"),
        Column::number("kld", "KLD ± error"),
        Column::for_programs("kld_standard_error"),
        Column::for_programs("perplexity"),
        Column::for_programs("perplexity_ratio"),
        Column::number("same_top_rate", "same top"),
        Column::number("decode_ns", "decode [≥ 95 %]"),
        Column::for_programs("decode_low_ns"),
        Column::for_programs("decode_high_ns"),
        Column::for_programs("decode_confidence"),
        Column::for_programs("decode_samples"),
        Column::number("prefill_ns", "prefill"),
        Column::for_programs("prefill_low_ns"),
        Column::for_programs("prefill_high_ns"),
        Column::for_programs("prefill_confidence"),
        Column::for_programs("prefill_samples"),
        Column::for_programs("timings"),
        Column::for_programs("first_decode_ns"),
        Column::for_programs("first_prefill_ns"),
        Column::for_programs("latency_marks"),
        Column::for_programs("load_ns"),
        Column::for_programs("first_token_ns"),
        Column::for_programs("first_token_prompt"),
        Column::for_programs("first_token_batch"),
        Column::for_programs("memory_before_bytes"),
        Column::for_programs("peak_memory_bytes"),
        Column::for_programs("weight_bytes"),
        Column::for_programs("cold_start_not_measured"),
        Column::for_programs("joules_per_token"),
        Column::for_programs("energy_not_measured"),
        Column::for_programs("on_front"),
        Column::for_programs("is_knee"),
        Column::for_programs("within_limits"),
        Column::for_programs("executed_as_planned"),
        Column::for_programs("infeasible"),
        Column::for_programs("was_on_front"),
        Column::for_programs("confirmed"),
        Column::for_programs("searched_kld"),
        Column::for_programs("searched_decode_ns"),
        Column::for_programs("searched_prefill_ns"),
        Column::for_programs("decode_repeatability"),
        Column::for_programs("differs"),
        Column::for_programs("rescored_windows"),
        Column::for_programs("rescored_ratio"),
        Column::for_programs("rescored_ratio_low"),
        Column::for_programs("rescored_ratio_high"),
        Column::for_programs("deviates"),
        Column::for_programs("unconfirmed"),
        Column::for_programs("scored_windows"),
        Column::for_programs("stopped_behind"),
        Column::for_programs("plan_digest"),
        Column::for_programs("device"),
        Column::for_programs("quality_device"),
        Column::for_programs("searched_quality_device"),
        Column::for_programs("measured_at"),
        Column::for_programs("class"),
        Column::for_programs("class_of"),
        Column::for_programs("beats"),
        Column::for_programs("next_smaller"),
        Column::for_programs("next_smaller_kld"),
        Column::for_programs("next_smaller_kld_low"),
        Column::for_programs("next_smaller_kld_high"),
        Column::for_programs("against"),
        Column::for_programs("against_size_ratio"),
        Column::for_programs("against_kld"),
        Column::for_programs("against_kld_standard_error"),
        Column::for_programs("against_kld_low"),
        Column::for_programs("against_kld_high"),
        Column::for_programs("against_decode_ratio"),
        Column::for_programs("against_decode_ratio_low"),
        Column::for_programs("against_decode_ratio_high"),
        Column::for_programs("against_prefill_ratio"),
        Column::for_programs("against_prefill_ratio_low"),
        Column::for_programs("against_prefill_ratio_high"),
        Column::for_programs("kld_smoothed"),
        Column::for_programs("kld_deviation"),
        Column::for_programs("kld_scatter"),
        Column::for_programs("decode_smoothed_ns"),
        Column::for_programs("decode_deviation_ns"),
        Column::for_programs("decode_scatter_ns"),
        Column::for_programs("prefill_smoothed_ns"),
        Column::for_programs("prefill_deviation_ns"),
        Column::for_programs("prefill_scatter_ns"),
    ]
}

/// What a point's marks depend on beside the point.
struct Context {
    /// Points of the front have fresh figures, so it counts which have none.
    any_confirmed: bool,
    disturbances: Disturbances,
}

impl Context {
    fn of(front: &Front) -> Self {
        Self {
            any_confirmed: confirmation::any(front),
            disturbances: Disturbances::of(front),
        }
    }
}

fn row(point: &FrontPoint, context: &Context) -> Vec<Cell> {
    let quality = point.quality.as_ref().map(|figure| &figure.value);
    let kld_cell = match (&point.infeasible, quality) {
        (Some(_), _) => Cell::people("infeasible"),
        (None, Some(quality)) => {
            let was = confirmation::searched_kld(point).map_or_else(String::new, |searched| {
                format!(", was {}", three_digits(searched))
            });
            let scored =
                figures::scored(quality).map_or_else(String::new, |scored| format!(" {scored}"));
            Cell::new(kld(quality) + &was + &scored, quality.kld)
        }
        (None, None) => Cell::empty(),
    };
    let ratio = quality.map(|quality| quality.perplexity / quality.reference_perplexity);
    let number = |value: Option<f64>| Cell::from(value);
    let median = |latency: Option<&Latency>| {
        latency.map_or_else(Cell::empty, |latency| {
            Cell::new(figures::latency(latency), latency.median_ns)
        })
    };
    let low = |latency: Option<&Latency>| number(latency.map(|it| it.interval.low));
    let high = |latency: Option<&Latency>| number(latency.map(|it| it.interval.high));
    let confidence = |latency: Option<&Latency>| number(latency.map(|it| it.interval.confidence));
    let samples = |latency: Option<&Latency>| Cell::from(latency.map(|it| it.samples_ns.len()));
    let (decode, prefill) = (point.decode(), point.prefill());
    let latency = point.latency.as_ref();
    let start = latency.and_then(|figure| figure.evidence.cold.as_ref());
    let cold = start.and_then(ColdStart::measured);
    let (joules, not_measured) = match latency.and_then(|figure| figure.evidence.energy.as_ref()) {
        Some(Energy::Measured {
            joules_per_token, ..
        }) => (Some(*joules_per_token), None),
        Some(Energy::NotMeasured { reason }) => (None, Some(reason.clone())),
        None => (None, None),
    };
    let rescoring = deviations::rescoring(point);
    let first = point.first_latency.as_ref();
    let confirmation = point.confirmation.as_ref();
    let searched = confirmation.and_then(|it| it.searched_quality.as_ref());
    let mut cells = vec![
        Cell::people(marks(point, context)),
        Cell::people(numbered(point)),
        Cell::plain(point.search),
        Cell::plain(point.candidate),
        Cell::from(point.baseline.clone()),
        Cell::new(bytes(point.size_bytes), point.size_bytes),
        Cell::new(
            format!("{:.2}", point.bits_per_weight),
            point.bits_per_weight,
        ),
        kld_cell,
        number(quality.map(|quality| quality.kld_standard_error)),
        number(quality.map(|quality| quality.perplexity)),
        number(ratio),
        quality.map_or_else(Cell::empty, |quality| {
            Cell::new(percent(quality.same_top_rate), quality.same_top_rate)
        }),
        median(decode),
        low(decode),
        high(decode),
        confidence(decode),
        samples(decode),
        prefill.map_or_else(Cell::empty, |latency| {
            Cell::new(figures::nanoseconds(latency.median_ns), latency.median_ns)
        }),
        low(prefill),
        high(prefill),
        confidence(prefill),
        samples(prefill),
        Cell::from(confirmation::searched_latency(point).map(|_| 1 + usize::from(first.is_some()))),
        number(first.and_then(|first| confirmation::median_ns(first, true))),
        number(first.and_then(|first| confirmation::median_ns(first, false))),
        Cell::from(disturbances::names(point)),
        Cell::from(cold.map(|cold| cold.load_ns)),
        Cell::from(cold.map(|cold| cold.first_token_ns)),
        Cell::from(cold.map(|cold| cold.prompt_tokens)),
        Cell::from(cold.map(|cold| cold.batch)),
        Cell::from(cold.and_then(|cold| cold.memory_before_bytes)),
        Cell::from(cold.and_then(|cold| cold.peak_memory_bytes)),
        Cell::from(cold.map(|cold| cold.weight_bytes)),
        Cell::from(start.and_then(ColdStart::not_measured).map(str::to_owned)),
        Cell::from(joules),
        Cell::from(not_measured),
        Cell::plain(point.on_front),
        Cell::plain(point.is_knee),
        Cell::plain(point.within_limits),
        Cell::plain(point.executed_as_planned),
        Cell::from(point.infeasible.clone()),
        Cell::plain(point.was_on_front),
        Cell::plain(point.confirmation.is_some()),
        number(confirmation::searched_kld(point)),
        number(confirmation::searched_ns(point, true)),
        number(confirmation::searched_ns(point, false)),
        number(confirmation::decode_repeatability(point)),
        Cell::plain(confirmation::differs(point)),
        Cell::from(rescoring.map(|it| it.windows)),
        number(rescoring.map(|it| it.ratio)),
        number(rescoring.and_then(|it| Some(it.interval?.low))),
        number(rescoring.and_then(|it| Some(it.interval?.high))),
        Cell::plain(deviations::deviates(point)),
        Cell::from(point.unconfirmed.clone()),
        Cell::from(quality.map(|quality| quality.kld_windows.len())),
        Cell::from(
            quality
                .and_then(|quality| quality.stopped)
                .map(|it| it.behind),
        ),
        Cell::plain(point.plan.digest().to_string()),
        Cell::from(latency.map(|figure| figure.device.clone())),
        Cell::from(point.quality.as_ref().map(|figure| figure.device.clone())),
        Cell::from(searched.map(|figure| figure.device.clone())),
        Cell::from(latency.map(|figure| moment(time(figure.measured_at_ms)))),
    ];
    cells.extend(placing(&point.placing));
    for figure in [Objective::Kld, Objective::Decode, Objective::Prefill] {
        let mut believed = point.believed.iter();
        let believed = believed.find(|believed| believed.figure == figure);
        cells.extend([
            number(believed.map(|believed| believed.value)),
            number(believed.map(|believed| believed.deviation)),
            number(believed.map(|believed| believed.scatter)),
        ]);
    }
    cells
}

/// The place of a point for programs. Differences are this point's less those of the other one,
/// ratios this point's over the other one's.
fn placing(placing: &Placing) -> Vec<Cell> {
    let (gain, against) = (placing.gain.as_ref(), placing.against.as_ref());
    let gained =
        |figure: fn(&Difference) -> f64| Cell::from(gain.map(|gain| figure(&gain.differences.kld)));
    let of = |figure: fn(&Differences) -> Option<f64>| {
        Cell::from(against.and_then(|against| figure(&against.differences)))
    };
    vec![
        Cell::plain(placing.class.clone()),
        Cell::from(placing.class_of),
        Cell::plain(placing.beats),
        Cell::from(gain.map(|gain| gain.candidate)),
        gained(|found| found.mean),
        gained(|found| found.interval.low),
        gained(|found| found.interval.high),
        Cell::from(against.map(|against| against.candidate)),
        of(|found| Some(found.size_ratio)),
        of(|found| Some(found.kld.mean)),
        of(|found| Some(found.kld.standard_error)),
        of(|found| Some(found.kld.interval.low)),
        of(|found| Some(found.kld.interval.high)),
        of(|found| Some(found.decode?.value)),
        of(|found| Some(found.decode?.interval.low)),
        of(|found| Some(found.decode?.interval.high)),
        of(|found| Some(found.prefill?.value)),
        of(|found| Some(found.prefill?.interval.low)),
        of(|found| Some(found.prefill?.interval.high)),
    ]
}

/// The mark, and how many more stand behind a point that is shown.
fn marks(point: &FrontPoint, context: &Context) -> String {
    let mark = mark(point, context);
    match point.placing.class.len() {
        0 => mark,
        more => format!("{mark}+{more}"),
    }
}

fn mark(point: &FrontPoint, context: &Context) -> String {
    let place = match (point.is_knee, point.on_front, point.placing.class_of) {
        (true, ..) => "★",
        (false, true, _) => "●",
        (false, false, Some(_)) => "○",
        (false, false, None) => "",
    };
    let doubt = if confirmation::differs(point) {
        "!"
    } else if context.any_confirmed && confirmation::is_unconfirmed(point) {
        "?"
    } else {
        ""
    };
    let disturbed = match context.disturbances.sets_apart(point) {
        true => "~",
        false => "",
    };
    let deviates = match deviations::deviates(point) {
        true => "≠",
        false => "",
    };
    format!("{place}{doubt}{deviates}{disturbed}")
}

/// What the marks mean, as far as they occur.
fn legend(front: &Front) -> String {
    let mut legend = String::from("● on the front, ★ its knee");
    let classes = front.points.iter();
    let mut classes = classes.filter(|point| !point.placing.class.is_empty());
    if classes.next().is_some() {
        legend += "; +N: so many more, none of them smaller, cannot be told apart from it \
                   (--all-classes lists them)\n○ cannot be told apart from one on the front that \
                   is no larger";
    }
    let workloads = front.status.request.workloads.iter();
    for line in workloads.filter_map(|&workload| figures::batch(workload)) {
        legend += &format!("\n{line}");
    }
    legend + "\n" + &Disturbances::of(front).legend() + &deviations::legend(front)
}

/// What scoring in stages saved; none where no candidate was given up.
fn stages(front: &Front) -> Option<String> {
    let qualities = || {
        // Of confirmed points the search's own scoring counts.
        front.points.iter().filter_map(|point| {
            let confirmation = point.confirmation.as_ref();
            let searched = confirmation.and_then(|it| it.searched_quality.as_ref());
            Some(&searched.or(point.quality.as_ref())?.value)
        })
    };
    let stopped = qualities().filter(|quality| quality.stopped.is_some());
    let stopped = stopped.count();
    if stopped == 0 {
        return None;
    }
    let scored: usize = qualities().map(|quality| quality.kld_windows.len()).sum();
    let all = front.status.request.subject.data.evaluation_windows as usize * qualities().count();
    Some(format!(
        "{stopped} of {} candidates {} given up early, no better than another that is no \
         larger and no slower: {} of all windows were scored",
        qualities().count(),
        if stopped == 1 { "was" } else { "were" },
        percent(scored as f64 / all as f64)
    ))
}

/// The answer in words: the knee, and the best plans under a divergence.
pub(super) fn conclusion(front: &Front, max_kld: f64) -> String {
    let summary = Summary::new(front, max_kld);
    let mut text = legend(front) + &ending::told(&front.status);
    if let Some(stale) = &front.stale {
        text += &format!("{}\n", drift::stale(stale));
    }
    if let Some(line) = siblings::learned(&front.status.shared) {
        text += &format!("{line}\n");
    }
    if let Some(line) = confirmation::conclusion(front) {
        text += &format!("{line}\n");
    }
    if let Some(line) = stages(front) {
        text += &format!("{line}\n");
    }
    let line = |point: &FrontPoint| {
        let mut figures = vec![
            bytes(point.size_bytes),
            format!("{:.2} bits per weight", point.bits_per_weight),
        ];
        if let Some(quality) = &point.quality {
            figures.push(format!("KLD {}", kld(&quality.value)));
        }
        if let Some(decode) = point.decode() {
            figures.push(format!("{} a token", figures::latency(decode)));
        }
        format!("{} ({})", point.name(), figures.join(", "))
    };
    if let Some(knee) = summary.knee {
        text += &format!("knee: {}\n", line(knee));
    }
    match ending::kept(front) {
        Some(Kept::Best(point)) => text += &format!("best within the limits: {}\n", line(point)),
        Some(Kept::Nothing(shortfall)) => text += &format!("within the limits: {shortfall}\n"),
        None => {}
    }
    match summary.smallest {
        Some(smallest) => {
            text += &format!("smallest with KLD ≤ {max_kld}: {}\n", line(smallest));
            if let Some((share, preset)) = summary.saving() {
                text += &format!(
                    "  {} smaller than {preset}, the smallest preset that is as good\n",
                    percent(share)
                );
            }
        }
        None => text += &format!("no plan keeps KLD ≤ {max_kld}\n"),
    }
    if let Some(fastest) = summary.fastest {
        text += &format!("fastest with KLD ≤ {max_kld}: {}\n", line(fastest));
    }
    text
}

#[cfg(test)]
mod tests;
