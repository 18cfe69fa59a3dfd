//! The one place that writes to stdout and stderr: stdout is data, stderr is talk.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context as _;
use bitfront_model::SPANS;
use tracing_subscriber::filter::{FilterExt as _, FilterFn, LevelFilter};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::{FormatTime as _, SystemTime};
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{Layer as _, fmt, registry};

use crate::config::LogFormat;
use crate::problem;
use crate::telemetry::Listener;

/// Columns where there is no terminal.
const UNBOUNDED: usize = 300;

/// Writes what the verbs have to say. Cheap to clone; every clone speaks to the same streams.
#[derive(Clone)]
pub(crate) struct Printer {
    quiet: bool,
    /// Where a progress bar lives, lines of talk are printed above it.
    bars: Arc<indicatif::MultiProgress>,
    /// What its talk is about, where several things are talked about at once.
    about: Option<Arc<str>>,
    /// Every line on stderr is an object in JSON, from when the log is started with it.
    is_json: Arc<AtomicBool>,
}

impl Printer {
    /// A printer; a quiet one only passes on data and errors.
    pub(crate) fn new(quiet: bool) -> Self {
        Self {
            quiet,
            bars: Arc::default(),
            about: None,
            is_json: Arc::default(),
        }
    }

    /// The same, but every line of talk begins with what it is about.
    pub(crate) fn about(&self, name: &str) -> Self {
        Self {
            about: Some(name.into()),
            ..self.clone()
        }
    }

    /// A line of talk as it is written.
    pub(crate) fn worded(&self, text: impl Display) -> String {
        match &self.about {
            Some(name) => format!("{name}: {text}"),
            None => text.to_string(),
        }
    }

    /// Writes data to stdout. A reader that has gone away is not an error: `| head` is common.
    pub(crate) fn data(&self, text: impl Display) -> anyhow::Result<()> {
        let mut stdout = io::stdout().lock();
        match write!(stdout, "{text}").and_then(|()| stdout.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            other => other.context("cannot write to the standard output"),
        }
    }

    /// Writes one line of talk to stderr.
    pub(crate) fn say(&self, text: impl Display) {
        if !self.quiet {
            self.talk("INFO", &self.worded(text), None);
        }
    }

    /// Writes a failure to stderr as one line, and what to do about it as another.
    pub(crate) fn error(&self, error: &anyhow::Error) {
        let hint = problem::hint_of(error);
        self.talk("ERROR", &format!("error: {error:#}"), hint);
    }

    fn talk(&self, level: &str, text: &str, hint: Option<&str>) {
        if self.is_json.load(Ordering::Relaxed) {
            return self.line(&object(level, text, hint));
        }
        self.line(text);
        if let Some(hint) = hint {
            self.line(&format!("hint: {hint}"));
        }
    }

    /// The place for progress bars; none where nobody would see them.
    pub(crate) fn bars(&self) -> Option<Arc<indicatif::MultiProgress>> {
        (!self.quiet && io::stderr().is_terminal()).then(|| self.bars.clone())
    }

    /// Whether talk is suppressed.
    pub(crate) fn is_quiet(&self) -> bool {
        self.quiet
    }

    /// Whether data goes to somebody's eyes, so that colour and plots make sense.
    pub(crate) fn is_seen(&self) -> bool {
        io::stdout().is_terminal()
    }

    /// Columns of the terminal that data goes to; plenty where it is none, so that nothing is
    /// broken into lines for nobody.
    pub(crate) fn width(&self) -> usize {
        let terminal = comfy_table::Table::new().width().map(usize::from);
        terminal.filter(|_| self.is_seen()).unwrap_or(UNBOUNDED)
    }

    fn line(&self, text: &str) {
        self.bars.suspend(|| {
            // Nobody is left to be told when stderr itself is gone.
            let _ = writeln!(io::stderr().lock(), "{text}");
        });
    }
}

/// What is logged where nobody says: warnings, and what an agent is about to do that takes long.
const USUAL_LOG: &str = "off,bitfront=warn,bitfront_agent::worker=info";
/// The same for those who want no talk.
const QUIET_LOG: &str = "off,bitfront=error";
/// The same for programs, which pick out what they want.
const USUAL_LOG_OF_PROGRAMS: &str = "off,bitfront=info";

/// A line of talk as the log writes its own.
fn object(level: &str, text: &str, hint: Option<&str>) -> String {
    let mut timestamp = String::new();
    // Nothing else than a full memory keeps anybody from writing into a string.
    let _ = SystemTime.format_time(&mut Writer::new(&mut timestamp));
    let mut object = serde_json::json!({
        "timestamp": timestamp,
        "level": level,
        "message": text,
        "target": "bitfront",
    });
    if let Some(hint) = hint {
        object["hint"] = hint.into();
    }
    object.to_string()
}

impl Printer {
    /// Sends the log to stderr: as talk where nobody says, whole where `BITFRONT_LOG` filters it.
    /// Spans go to whoever else listens, where somebody does.
    pub(crate) fn start_log(
        &self,
        filter: Option<&str>,
        format: LogFormat,
        other: Option<Listener>,
    ) -> anyhow::Result<()> {
        let is_json = format == LogFormat::Json;
        self.is_json.store(is_json, Ordering::Relaxed);
        let usual = match (self.quiet, format) {
            (true, _) => QUIET_LOG,
            (false, LogFormat::Text) => USUAL_LOG,
            (false, LogFormat::Json) => USUAL_LOG_OF_PROGRAMS,
        };
        let filtered = tracing_subscriber::EnvFilter::try_new(filter.unwrap_or(usual));
        let filtered = filtered.map_err(|error| {
            let filter = filter.unwrap_or(usual);
            problem::Problem::usage(format!("BITFRONT_LOG=`{filter}` is not a filter: {error}"))
                .with_hint("for example BITFRONT_LOG=info or BITFRONT_LOG=bitfront_agent=debug")
        })?;
        // Whether anybody listens to spans makes no difference to the log.
        let no_spans = FilterFn::new(|metadata| metadata.target() != SPANS);
        let filtered = filtered.and(no_spans.with_max_level_hint(LevelFilter::TRACE));
        let printer = self.clone();
        let log = fmt::layer()
            .with_writer(move || LogLine(printer.clone()))
            .with_ansi(!is_json && io::stderr().is_terminal());
        let log = match filter {
            // What an event says of itself stands beside its message, and what it happened in, as
            // the agent's name, within `span`.
            _ if is_json => log
                .json()
                .flatten_event(true)
                .with_span_list(false)
                .with_filter(filtered)
                .boxed(),
            Some(_) => log.with_filter(filtered).boxed(),
            None => log
                .with_target(false)
                .without_time()
                .compact()
                .with_filter(filtered)
                .boxed(),
        };
        let listeners: Vec<_> = other.into_iter().chain([log]).collect();
        registry().with(listeners).init();
        Ok(())
    }
}

/// Takes the log line by line, above a progress bar where there is one.
struct LogLine(Printer);

impl io::Write for LogLine {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.0.line(String::from_utf8_lossy(line).trim_end());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
