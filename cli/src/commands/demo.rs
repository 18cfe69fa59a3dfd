//! `bitfront demo`: the whole job on a small model that is part of this program.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use bitfront_model::{
    Budget, EarlyStop, Front, Grouping, HardwareProfile, Limits, Objective, Prior, SearchRequest,
    SearchState, SearchStatus, StrategyName, Subject, Workload,
};
use bitfront_runtime::RuntimeError;
use tokio::sync::oneshot;

use crate::args::{DemoArguments, Format, ListingArguments};
use crate::client::Client;
use crate::figures::{bytes, span};
use crate::local::{self, Local, Place};
use crate::problem::{ExitStatus, Problem};
use crate::progress::{self, Ending};
use crate::report::Summary;
use crate::settings::{Coordinator, ImatrixChoice, SearchSettings, USUAL_MAX_KLD, duration};
use crate::signals::interrupted;
use crate::view::PointView as _;
use crate::{confirmation, durable, report, request};

use super::export::{Exported, Target};
use super::front::{Which, conclusion, draw, listing};
use super::session::Session;
use super::submit;

/// The model and its texts, as they are in the folder `demo` of the sources.
const FILES: [(&str, &[u8]); 6] = [
    (
        "rustdoc-llama/config.json",
        include_bytes!("../../../demo/model/config.json"),
    ),
    (
        "rustdoc-llama/model.safetensors",
        include_bytes!("../../../demo/model/model.safetensors"),
    ),
    (
        "rustdoc-llama/tokenizer.json",
        include_bytes!("../../../demo/model/tokenizer.json"),
    ),
    (
        "rustdoc-llama/tokenizer_config.json",
        include_bytes!("../../../demo/model/tokenizer_config.json"),
    ),
    (
        "calibration.txt",
        include_bytes!("../../../demo/calibration.txt"),
    ),
    (
        "evaluation.txt",
        include_bytes!("../../../demo/evaluation.txt"),
    ),
];

/// The model's name, which its folder gives it.
const MODEL: &str = "rustdoc-llama";

/// Windows that the demo measures quality on: enough to tell plans apart, few enough to try many.
const WINDOWS: u32 = 16;
/// Windows that activation statistics come from.
const CALIBRATION_WINDOWS: u32 = 60;

/// What is timed. The prompt is short because a prefill is the longest thing to time and no
/// objective of the demo.
const WORKLOADS: [Workload; 2] = [
    Workload::Prefill {
        tokens: 64,
        batch: 1,
    },
    Workload::Decode {
        context: 64,
        tokens: 16,
        batch: 1,
    },
];

/// Searches, shows, and writes what came out.
pub(super) async fn demo(typed: DemoArguments, session: Session) -> anyhow::Result<ExitStatus> {
    let started = Instant::now();
    let budget = duration("--budget", &typed.budget)?;
    if !session.is_embedded() {
        let asked = match &session.coordinator {
            Coordinator::Remote(url) => url.as_str(),
            Coordinator::OneOf(_) | Coordinator::Embedded => "several others",
        };
        return Err(Problem::usage(format!(
            "the demo runs on a coordinator of its own, not on {asked}"
        ))
        .with_hint("`bitfront run` searches a model of yours there")
        .into());
    }
    let session = session.measuring_on(typed.accelerator)?;
    let folder = request::absolute(&typed.directory)?;
    extract(&folder)?;
    let wanted = settings(&folder, budget);
    let (request, _) = submit::read(wanted, &session).await?;
    let announced = confirmation::announcement(&request.subject.data);
    session.printer.say(announced);
    let place = Place {
        database: folder.join("bitfront.sqlite").into(),
        cache: folder.join("cache"),
        spool: folder.join("spool"),
        blobs: folder.join("blobs"),
        weights: folder.join("weights"),
        remote: session.config.remote.clone(),
        measuring: session.config.measuring.clone(),
    };
    let here = prepare(&request.subject, &place, &session).await?;
    let mut local = Local::start(&place, true).await?;
    let mut client = local.client().await?;
    let (search, until) = start_or_go_on(&mut client, &request, &here, budget, &session).await?;
    let ending = tokio::select! {
        ending = progress::follow(client.clone(), search, until, &session.printer) => ending?,
        failure = local.failure() => return Err(failure),
    };
    let front = client.front(search, None).await?;
    local.stop().await?;
    if !front
        .points
        .iter()
        .any(|point| point.keeps(&Limits::default()))
    {
        return match ending {
            Ending::Interrupted => Ok(ExitStatus::Interrupted),
            Ending::Ended(status) if status.state == SearchState::Failed => {
                super::watch::status_of(&status)
            }
            Ending::Ended(_) | Ending::Paused => Err(Problem::failure(format!(
                "nothing was measured in the {} that the search was given",
                span(budget)
            ))
            .with_hint("run it again to go on from here, or give it a longer --budget")
            .into()),
        };
    }
    show(&front, &session)?;
    write(front, &folder, &session).await?;
    session.printer.say(format_args!(
        "{} altogether; run it again to go on from here",
        span(started.elapsed())
    ));
    match ending {
        Ending::Interrupted => Ok(ExitStatus::Interrupted),
        Ending::Paused => Ok(ExitStatus::Success),
        Ending::Ended(status) => super::watch::status_of(&status),
    }
}

/// Puts the model and its texts where a runtime can read them.
fn extract(folder: &Path) -> anyhow::Result<()> {
    let model = folder.join(MODEL);
    std::fs::create_dir_all(&model)
        .with_context(|| format!("cannot create `{}`", model.display()))?;
    for (name, content) in FILES {
        let path = folder.join(name);
        let same = std::fs::read(&path).is_ok_and(|found| found == content);
        if !same {
            durable::write(&path, content)?;
        }
    }
    Ok(())
}

/// Does what an agent would do before its first measurement, here where it can be announced. It is
/// done once: the agent finds the results in its cache. Returns what this machine is to the agent.
async fn prepare(
    subject: &Subject,
    place: &Place,
    session: &Session,
) -> anyhow::Result<HardwareProfile> {
    let (subject, cache) = (subject.clone(), place.cache.clone());
    let cores = local::cores(&place.measuring)?;
    let accelerator = local::accelerator(&place.measuring)?;
    let printer = session.printer.clone();
    let (told, prepared) = oneshot::channel();
    let prepare = move || -> Result<HardwareProfile, RuntimeError> {
        let mut runtime = local::runtime(cache, accelerator)?;
        let here = bitfront_agent::hardware::detect(&runtime.identity(), &cores);
        runtime
            .open(&subject, &mut |line| printer.say(line))
            .map(|()| here)
    };
    // The engine's threads are made here and measure later.
    std::thread::Builder::new()
        .name(bitfront_agent::MEASURING_THREAD.to_owned())
        .spawn(move || drop(told.send(prepare())))
        .context("no thread can be started")?;
    tokio::select! {
        prepared = prepared => Ok(prepared.context("the preparation ended early")??),
        // The computation cannot be stopped, but the program can.
        () = interrupted() => Err(Problem::new(ExitStatus::Interrupted, "interrupted").into()),
    }
}

fn settings(folder: &Path, budget: Duration) -> SearchSettings {
    SearchSettings {
        model: folder.join(MODEL),
        data: folder.join("evaluation.txt"),
        calibration: Some(folder.join("calibration.txt")),
        tokenizer: None,
        budget: Budget {
            evaluations: None,
            time: Some(budget),
        },
        early_stop: EarlyStop::default(),
        start_from: None,
        objectives: vec![Objective::Kld, Objective::Decode, Objective::Size],
        limits: Limits::default(),
        precisions: None,
        grouping: Grouping::Tensor,
        strategy: StrategyName::Surrogate,
        seed: 0,
        staged: true,
        retimings: true,
        prior: Prior::Swaps,
        imatrix: ImatrixChoice::Calibration,
        context: None,
        windows: WINDOWS,
        calibration_windows: CALIBRATION_WINDOWS,
        workloads: Some(WORKLOADS.to_vec()),
        devices: Vec::new(),
        max_decode: Default::default(),
        // What it asks depends on nothing else that its folder may hold.
        shares: false,
    }
}

/// The stored searches for what is asked for, the latest first; their budgets may differ.
fn alike<'a>(stored: &'a [SearchStatus], request: &SearchRequest) -> Vec<&'a SearchStatus> {
    let is_alike = |status: &&SearchStatus| {
        let mut stored = status.request.clone();
        stored.budget = request.budget;
        stored == *request
    };
    let mut alike: Vec<_> = stored.iter().filter(is_alike).collect();
    alike.sort_by_key(|status| std::cmp::Reverse(status.search));
    alike
}

/// True where a search can go on on this machine: one that is bound to other hardware, or to this
/// with another engine or governor, would wait for a device that never comes.
fn can_go_on(status: &SearchStatus, here: &HardwareProfile) -> bool {
    status
        .hardware_profile
        .is_none_or(|bound| bound == here.digest())
}

/// Starts a search, or goes on with the one that is stored; its number, and the active time at
/// which this run of the demo is over where that is before the search is.
async fn start_or_go_on(
    client: &mut Client,
    request: &SearchRequest,
    here: &HardwareProfile,
    budget: Duration,
    session: &Session,
) -> anyhow::Result<(i64, Option<Duration>)> {
    let printer = &session.printer;
    let stored = client.list().await?;
    let alike = alike(&stored, request);
    let latest = alike.iter().find(|status| can_go_on(status, here));
    if latest.is_none()
        && let Some(status) = alike.first()
    {
        printer.say(format_args!(
            "search {} was measured on another hardware profile ({}) than this machine is now \
             ({}): starting a new one",
            status.search,
            status.hardware_summary,
            here.summary()
        ));
    }
    let Some(status) = latest else {
        let search = client.submit(request).await?;
        printer.say(format_args!(
            "searching {} for {}: {} layers, precisions {}",
            request.spec.name,
            span(budget),
            request.spec.layers.len(),
            request::names(request.precisions.iter().copied())
        ));
        return Ok((search, None));
    };
    let search = status.search;
    if status.state.has_ended() {
        let more = Budget {
            evaluations: None,
            time: Some(budget),
        };
        client.extend(search, more).await?;
        printer.say(format_args!(
            "going on with search {search} for another {}: {} candidates so far",
            span(budget),
            status.evaluated
        ));
        return Ok((search, None));
    }
    let stored = status.request.budget.time.unwrap_or(budget);
    let left = stored.saturating_sub(status.active);
    printer.say(format_args!(
        "going on with search {search}, which was interrupted: {} candidates so far, {} left",
        status.evaluated,
        span(left.min(budget))
    ));
    Ok((search, (left > budget).then(|| status.active + budget)))
}

fn show(front: &Front, session: &Session) -> anyhow::Result<()> {
    let form = ListingArguments {
        format: Format::Table,
    };
    session.list(&listing(front, Which::Shown, false), form)?;
    draw(front, session)?;
    session.printer.data(conclusion(front, USUAL_MAX_KLD))
}

/// Writes the report and the chosen plan: the smallest under the usual divergence, else the knee.
async fn write(front: Front, folder: &Path, session: &Session) -> anyhow::Result<()> {
    let printer = &session.printer;
    let wrote = |path: &Path| {
        let size = std::fs::metadata(path).map_or(0, |found| found.len());
        printer.say(format_args!("wrote {} ({})", path.display(), bytes(size)));
    };
    let page = folder.join("report.html");
    durable::write(&page, report::html(&front, USUAL_MAX_KLD)?.as_bytes())?;
    wrote(&page);
    let Some(point) = Summary::new(&front, USUAL_MAX_KLD).chosen() else {
        return Ok(());
    };
    let exported = Exported::of_point(&front, point);
    let plan = folder.join("best.plan.json");
    durable::write(&plan, exported.plan_file()?.as_bytes())?;
    wrote(&plan);
    let gguf = folder.join("best.gguf");
    let target = Target {
        to: gguf.clone(),
        pre: None,
        model: Some(folder.join(MODEL)),
        tokenizer: None,
        imatrix: None,
        cache: folder.join("cache"),
    };
    let talker = printer.clone();
    tokio::task::spawn_blocking(move || exported.write_gguf(&target, &mut |line| talker.say(line)))
        .await??;
    wrote(&gguf);
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::testing;

    #[test]
    fn a_search_goes_on_only_where_its_device_is() {
        let mut status = testing::front().status;
        let here = testing::hardware();
        let mut moved = here.clone();
        moved.governor = Some("powersave".to_owned());
        assert!(can_go_on(&status, &here));
        assert!(!can_go_on(&status, &moved));
        status.hardware_profile = None;
        assert!(can_go_on(&status, &moved), "it is not bound yet");

        let mut wanted = status.request.clone();
        wanted.budget.evaluations = Some(1);
        let later = SearchStatus {
            search: status.search + 1,
            ..status.clone()
        };
        let stored = [status, later];
        let found = alike(&stored, &wanted);
        assert_eq!(found, [&stored[1], &stored[0]]);
        wanted.seed += 1;
        assert!(alike(&stored, &wanted).is_empty());
    }

    #[test]
    fn extracting_again_mends_what_was_changed() {
        let folder = tempfile::tempdir().unwrap();
        extract(folder.path()).unwrap();
        let path = folder.path().join("evaluation.txt");
        std::fs::write(&path, "other").unwrap();
        extract(folder.path()).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), FILES[5].1);
    }
}
