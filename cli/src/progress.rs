//! Follows a search and shows how far it is: a bar on a terminal, a line now and then elsewhere.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use bitfront_model::{Front, FrontPoint, Limits, SearchState, SearchStatus};
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinSet;
use tokio_stream::{Stream, StreamExt as _};

use crate::beliefs;
use crate::client::Client;
use crate::figures::{self, span};
use crate::printer::Printer;
use crate::settings::USUAL_MAX_KLD;
use crate::siblings;
use crate::view::{FrontView as _, PointView as _, usual_order};

/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);
/// How often a line is written where there is no bar.
const LINE: Duration = Duration::from_secs(10);
/// The best plan is looked for at most this often; a large front less often.
const LOOK: Duration = Duration::from_secs(2);

/// How following ended.
pub(crate) enum Ending {
    /// The search has ended.
    Ended(Box<SearchStatus>),
    /// The user interrupted; the search has not ended.
    Interrupted,
    /// The time to follow it is over; the search has not ended.
    Paused,
}

/// Follows a search until it ends, the user interrupts, or it has been active for `most`
/// altogether.
pub(crate) async fn follow(
    mut client: Client,
    search: i64,
    most: Option<Duration>,
    printer: &Printer,
) -> anyhow::Result<Ending> {
    let mut updates = Box::pin(client.watch(search).await?);
    let mut display = Display::new(printer);
    let mut ticks = tokio::time::interval(TICK);
    let interrupted = crate::signals::interrupted();
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            update = next(&mut updates) => match update? {
                Some(status) if status.state.has_ended() => {
                    display.finish(&status);
                    return Ok(Ending::Ended(Box::new(status)));
                }
                Some(status) => display.update(status),
                // The coordinator closed the stream, as it does when it is about to stop.
                None => {
                    let status = client.get(search).await?;
                    if status.state.has_ended() {
                        display.finish(&status);
                        return Ok(Ending::Ended(Box::new(status)));
                    }
                    updates = Box::pin(client.watch(search).await?);
                    display.update(status);
                    tokio::time::sleep(TICK).await;
                }
            },
            _ = ticks.tick() => {
                if most.is_some_and(|most| display.active() >= most) {
                    display.clear();
                    return Ok(Ending::Paused);
                }
                if display.wants_best() {
                    let asked = Instant::now();
                    let front = client.front(search, None).await?;
                    display.best(&front, asked.elapsed());
                }
                display.tick();
            }
            () = &mut interrupted => {
                display.clear();
                return Ok(Ending::Interrupted);
            }
        }
    }
}

/// Follows several searches of one coordinator, each under the name of its device, until every one
/// has ended or the user interrupts. How following ended, in their order.
pub(crate) async fn follow_all(
    client: &Client,
    searches: &[(String, i64)],
    printer: &Printer,
) -> anyhow::Result<Vec<Ending>> {
    let mut followed = JoinSet::new();
    for (place, (device, search)) in searches.iter().enumerate() {
        let (client, search, printer) = (client.clone(), *search, printer.about(device));
        followed.spawn(async move {
            let ending = follow(client, search, None, &printer).await;
            ending.map(|ending| (place, ending))
        });
    }
    let mut endings = BTreeMap::new();
    while let Some(joined) = followed.join_next().await {
        let (place, ending) = joined??;
        endings.insert(place, ending);
    }
    Ok(endings.into_values().collect())
}

async fn next(
    updates: &mut (impl Stream<Item = anyhow::Result<SearchStatus>> + Unpin),
) -> anyhow::Result<Option<SearchStatus>> {
    updates.next().await.transpose()
}

/// What is shown of a search.
struct Display<'a> {
    printer: &'a Printer,
    bar: Option<ProgressBar>,
    status: Option<(SearchStatus, Instant)>,
    best: Option<String>,
    looked: Instant,
    look_every: Duration,
    lined: Option<Instant>,
    /// Candidates before the latest check that was said.
    checked: Option<u64>,
}

impl<'a> Display<'a> {
    fn new(printer: &'a Printer) -> Self {
        let bar = printer.bars().map(|bars| {
            let style = ProgressStyle::with_template("{spinner} {bar:24.cyan/black} {msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
            bars.add(ProgressBar::new(1000).with_style(style.progress_chars("━━╌")))
        });
        Self {
            printer,
            bar,
            status: None,
            best: None,
            looked: Instant::now(),
            look_every: LOOK,
            lined: None,
            checked: None,
        }
    }

    /// Every status tells all checks, or none right after the coordinator started anew; of a search
    /// that is followed from its middle the last one is new.
    fn update(&mut self, status: SearchStatus) {
        let latest = status.trust.last().map(|check| check.candidates);
        let said = self.checked.or(match &self.status {
            Some(_) => Some(0),
            None => latest.map(|latest| latest.saturating_sub(1)),
        });
        for check in &status.trust {
            if said.is_none_or(|said| check.candidates > said) {
                self.printer.say(beliefs::check(check));
            }
        }
        self.checked = self.checked.max(latest);
        self.status = Some((status, Instant::now()));
    }

    /// Active time: what the coordinator said last, and what has passed since. Preparing does not
    /// count, so it begins with the first that is said.
    fn active(&self) -> Duration {
        match &self.status {
            Some((status, at))
                if status.state == SearchState::Running && !status.active.is_zero() =>
            {
                status.active + at.elapsed()
            }
            Some((status, _)) => status.active,
            None => Duration::ZERO,
        }
    }

    fn wants_best(&self) -> bool {
        let running = self.status.as_ref().is_some_and(|it| it.0.evaluated > 0);
        running && !self.printer.is_quiet() && self.looked.elapsed() >= self.look_every
    }

    fn best(&mut self, front: &Front, took: Duration) {
        self.looked = Instant::now();
        self.look_every = LOOK.max(took * 20);
        let mut limits = front.status.request.limits;
        if limits == Limits::default() {
            limits.max_kld = Some(USUAL_MAX_KLD);
        }
        self.best = front.best_within(&limits, usual_order(&limits)).map(brief);
    }

    fn tick(&mut self) {
        let Some((status, _)) = &self.status else {
            return;
        };
        let (share, left) = left(status, self.active());
        let text = line(status, self.best.as_deref(), &left);
        if let Some(bar) = &self.bar {
            bar.set_position((share.clamp(0.0, 1.0) * 1000.0) as u64);
            bar.set_message(self.printer.worded(text));
            bar.tick();
        } else if self.lined.is_none_or(|at| at.elapsed() >= LINE) {
            self.lined = Some(Instant::now());
            self.printer.say(text);
        }
    }

    fn finish(&mut self, status: &SearchStatus) {
        self.clear();
        self.printer.say(format_args!(
            "search {} is {}: {}; {}, {} on the front, {} of searching",
            status.search,
            status.state,
            status.reason,
            figures::count(status.evaluated, "candidate"),
            status.front_size,
            span(status.active)
        ));
        if let Some(learned) = siblings::learned(&status.shared) {
            self.printer.say(learned);
        }
    }

    fn clear(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// The share of the budget that is used up, and what is left of it, for people.
fn left(status: &SearchStatus, active: Duration) -> (f64, String) {
    let budget = status.request.budget;
    let by_time = budget.time.map(|time| {
        let left = time.saturating_sub(active);
        let share = active.as_secs_f64() / time.as_secs_f64();
        (share, format!("{} left", span(left)))
    });
    let by_count = budget.evaluations.map(|most| {
        let left = most.saturating_sub(status.evaluated);
        let share = status.evaluated as f64 / most.max(1) as f64;
        (share, format!("{left} to go"))
    });
    match (by_time, by_count) {
        (Some(time), Some(count)) if count.0 > time.0 => count,
        (Some(time), _) => time,
        (None, Some(count)) => count,
        (None, None) => (0.0, "no end set".to_owned()),
    }
}

fn line(status: &SearchStatus, best: Option<&str>, left: &str) -> String {
    if status.evaluated == 0 {
        let reason = match status.reason.as_str() {
            "" => "preparing",
            reason => reason,
        };
        return format!("{}: {reason} · {left}", status.state);
    }
    let mut parts = Vec::new();
    // A search that waits says for what, or it would seem to hang.
    if !status.reason.is_empty() {
        parts.push(status.reason.clone());
    }
    parts.push(figures::count(status.evaluated, "candidate"));
    parts.extend(siblings::learned(&status.shared));
    parts.push(format!("front {}", status.front_size));
    if let Some(best) = best {
        parts.push(format!("best {best}"));
    }
    parts.push(left.to_owned());
    parts.join(" · ")
}

fn brief(point: &FrontPoint) -> String {
    let kld = point.kld().map(figures::three_digits).unwrap_or_default();
    let name = point.name();
    format!("{name}: {} at KLD {kld}", figures::bytes(point.size_bytes))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::SharedPlans;

    use super::*;
    use crate::testing;

    #[test]
    fn a_line_says_how_far_it_is() {
        let mut status = testing::front().status;
        status.state = SearchState::Running;
        status.reason.clear();
        let (share, left) = left(&status, Duration::from_secs(60));
        assert!((share - 60.0 / 90.0).abs() < 1e-9);
        assert_eq!(left, "30s left");
        assert_eq!(
            line(&status, Some("#7: 3.00 MB at KLD 0.0090"), &left),
            format!(
                "{} candidates · front {} · best #7: 3.00 MB at KLD 0.0090 · 30s left",
                status.evaluated, status.front_size
            )
        );
        status.reason = "waiting for its device (Example CPU)".into();
        let waiting = line(&status, None, &left);
        assert!(
            waiting.starts_with("waiting for its device (Example CPU) · "),
            "{waiting}"
        );
        assert!(waiting.contains(" candidates · "), "{waiting}");
        status.shared = SharedPlans {
            plans: 120,
            searches: vec![3, 4],
        };
        let learned = line(&status, None, &left);
        let told = " candidates · learned from 120 plans of searches 3, 4 · front ";
        assert!(learned.contains(told), "{learned}");
        status.evaluated = 0;
        status.reason = "waiting for a device".into();
        assert_eq!(
            line(&status, None, &left),
            "running: waiting for a device · 30s left"
        );
    }

    #[test]
    fn the_tighter_budget_counts() {
        let mut status = testing::front().status;
        status.request.budget.evaluations = Some(status.evaluated * 2);
        let (share, text) = left(&status, Duration::from_secs(9));
        assert_eq!(share, 0.5);
        assert_eq!(text, format!("{} to go", status.evaluated));
    }
}
