//! The agent's side of a worker in a process of its own.

use std::collections::VecDeque;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bitfront_model::{Assignment, Question};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, timeout};
use tracing::Span;

use super::expected::{Expected, Step, is_whole};
use super::measuring::Settings;
use super::pipe::{Asked, Said, line};
use super::{Answered, Crash, Facts, Found, tell};
use crate::AgentError;
use crate::backoff::Backoff;
use crate::spans;

/// The longest that a worker may measure without a word by default. A word is what it is about to
/// do, so this bounds the longest single step: a candidate, the reference of a model and a text.
const USUAL_LIMIT: Duration = Duration::from_secs(3600);

/// Between two looks at a worker's memory: rare enough to take no time from it.
const BETWEEN_LOOKS: Duration = Duration::from_millis(200);

/// Between two looks at the clock, where nothing else is looked at.
const BETWEEN_BEATS: Duration = Duration::from_secs(1);

/// Lines of what a worker said that are kept to explain its end.
const LAST_LINES: usize = 5;

/// Characters of each that are shown.
const MOST_SHOWN: usize = 300;

/// How long what a worker has said may take to come out once it has ended.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// An executable that [`work`](super::work)s, and what it may take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerProgram {
    /// The executable.
    pub path: PathBuf,
    /// What it is started with.
    pub arguments: Vec<String>,
    /// It is ended where it has measured for so long without a word.
    pub limit: Duration,
    /// It is ended where it has more bytes than these in memory, on Linux; none for no bound.
    pub memory_bytes: Option<u64>,
}

impl WorkerProgram {
    /// An executable that is started with these arguments, has an hour for a task and no bound on
    /// its memory.
    pub fn new(path: PathBuf, arguments: Vec<String>) -> Self {
        Self {
            path,
            arguments,
            limit: USUAL_LIMIT,
            memory_bytes: None,
        }
    }
}

/// A worker that is started again where it ends.
pub(crate) struct Process {
    program: WorkerProgram,
    settings: Settings,
    pub(super) facts: Facts,
    running: Option<Running>,
    expected: Expected,
    /// Before it is started again.
    backoff: Backoff,
}

impl Process {
    /// Starts a worker.
    ///
    /// # Errors
    ///
    /// It cannot be started, or says why it cannot measure.
    pub(crate) async fn start(
        program: WorkerProgram,
        settings: Settings,
        backoff: Backoff,
    ) -> Result<Self, AgentError> {
        if program.memory_bytes.is_some() && !cfg!(target_os = "linux") {
            return Err(AgentError::WorkerCannotStart(
                "the memory of a worker can be bounded on Linux alone".to_owned(),
            ));
        }
        let started = Running::start(&program, &settings).await;
        let (running, facts) = started.map_err(|Crash(why)| AgentError::WorkerCannotStart(why))?;
        facts.pinning.keep_off();
        Ok(Self {
            program,
            settings,
            facts,
            running: Some(running),
            expected: Expected::default(),
            backoff,
        })
    }

    /// Starts a worker again where it has ended, as often as it takes.
    pub(super) async fn ready(&mut self) {
        if let Some(running) = &mut self.running {
            match running.ended() {
                None => return,
                Some(how) => tracing::warn!("the worker has ended between two tasks ({how})"),
            }
            self.running = None;
        }
        self.expected.forget();
        loop {
            let pause = self.backoff.pause();
            tracing::info!("the worker is started again in {pause:?}");
            sleep(pause).await;
            // A process has the cores of whoever starts it, and those of the agent's own threads
            // are not the ones to choose from.
            self.facts.pinning.release();
            match Running::start(&self.program, &self.settings).await {
                Ok((running, facts)) => {
                    self.running = Some(running);
                    self.facts = facts;
                    self.facts.pinning.keep_off();
                    return;
                }
                Err(Crash(why)) => tracing::error!("the worker cannot be started: {why}"),
            }
        }
    }

    pub(super) async fn measure(
        &mut self,
        assignments: Vec<Assignment>,
    ) -> Result<Vec<Found>, Crash> {
        let number = assignments.len();
        let step = Step::of(&assignments);
        match self.ask(Asked::Measure(assignments), step).await? {
            Said::Measured(found) if found.len() == number => Ok(found),
            other => Err(self.confused(&other).await),
        }
    }

    pub(super) async fn answer(&mut self, question: Question) -> Result<Answered, Crash> {
        match self.ask(Asked::Answer(question), None).await? {
            Said::Answered(answered) => Ok(*answered),
            other => Err(self.confused(&other).await),
        }
    }

    /// Asks something, which may be a step of which others were alike.
    async fn ask(&mut self, asked: Asked, step: Option<Step>) -> Result<Said, Crash> {
        // One that has ended since it was last looked at did not do so over this task.
        self.ready().await;
        let Some(running) = &mut self.running else {
            return Err(Crash("there is no worker".to_owned()));
        };
        let most = self.program.limit;
        let limit = step.map_or(most, |step| self.expected.limit(step, most));
        let begun = Instant::now();
        match running.exchange(&asked, &self.program, limit).await {
            Ok(said) => {
                self.backoff.reset();
                if let (Some(step), Said::Measured(found)) = (step, &said)
                    && is_whole(found)
                {
                    self.expected.learn(step, begun.elapsed());
                }
                Ok(said)
            }
            Err(cause) => Err(self.end(cause).await),
        }
    }

    async fn end(&mut self, cause: Cause) -> Crash {
        match self.running.take() {
            Some(running) => running.end(cause).await,
            None => Crash("there is no worker".to_owned()),
        }
    }

    /// A worker that answers something else is of no more use.
    async fn confused(&mut self, said: &Said) -> Crash {
        let said: String = format!("{said:?}").chars().take(MOST_SHOWN).collect();
        self.end(Cause::Confused(said)).await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.facts.pinning.release();
    }
}

/// Why a worker is no more.
enum Cause {
    /// It ended, or closed its end of the pipe, which it does nowhere else.
    Ended,
    /// It measured for longer than this without a word.
    Late(Duration),
    TooLarge {
        resident_bytes: u64,
        most_bytes: u64,
    },
    /// It answered something else.
    Confused(String),
}

/// A worker that runs. Dropping it ends it.
struct Running {
    child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    /// The last lines of its standard error.
    talk: Arc<Mutex<VecDeque<String>>>,
    listening: JoinHandle<()>,
}

impl Running {
    async fn start(program: &WorkerProgram, settings: &Settings) -> Result<(Self, Facts), Crash> {
        let shown = program.path.display();
        let cannot = |error| Crash(format!("cannot start `{shown}`: {error}"));
        let mut command = Command::new(&program.path);
        command
            .args(&program.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        // What it starts is ended with it, and a key that interrupts the agent does not reach it.
        #[cfg(unix)]
        command.process_group(0);
        let mut child = command.spawn().map_err(cannot)?;
        let (Some(input), Some(output), Some(error)) =
            (child.stdin.take(), child.stdout.take(), child.stderr.take())
        else {
            return Err(Crash(format!("`{shown}` has no pipes")));
        };
        let talk = Arc::default();
        let mut running = Self {
            child,
            input,
            output: BufReader::new(output).lines(),
            listening: tokio::spawn(listen(BufReader::new(error).lines(), Arc::clone(&talk))),
            talk,
        };
        let asked = Asked::Start(settings.clone());
        match running.exchange(&asked, program, program.limit).await {
            Ok(Said::Started(facts)) => Ok((running, *facts)),
            Ok(Said::CannotStart(why)) => Err(Crash(why)),
            Ok(other) => Err(running.end(Cause::Confused(format!("{other:?}"))).await),
            Err(cause) => Err(running.end(cause).await),
        }
    }

    /// How it ended, where it has.
    fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(None) => None,
            Ok(Some(status)) => Some(status.to_string()),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Asks, and waits for the answer for as long as the limits allow.
    ///
    /// Time is counted by looks, so that what the agent was paused for does not count: the worker
    /// was most often paused with it.
    async fn exchange(
        &mut self,
        asked: &Asked,
        program: &WorkerProgram,
        limit: Duration,
    ) -> Result<Said, Cause> {
        let line = line(asked).map_err(|error| Cause::Confused(error.to_string()))?;
        let written = self.input.write_all(line.as_bytes()).await;
        if written.is_err() || self.input.flush().await.is_err() {
            return Err(Cause::Ended);
        }
        let (mut silent, mut looked) = (Duration::ZERO, Instant::now());
        // What was said last is under way until the next word.
        let mut _step = Span::none();
        let between = match program.memory_bytes {
            Some(_) => BETWEEN_LOOKS,
            None => BETWEEN_BEATS,
        };
        let mut looks = interval(between);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                line = self.output.next_line() => match line {
                    Ok(Some(line)) => match serde_json::from_str(&line) {
                        Ok(Said::Progress(line)) => {
                            tell(&line);
                            _step = spans::step(&line);
                            silent = Duration::ZERO;
                        }
                        Ok(said) => return Ok(said),
                        // Something in the engine talks where only we should.
                        Err(_) => note(&self.talk, line),
                    },
                    Ok(None) | Err(_) => return Err(Cause::Ended),
                },
                _ = looks.tick() => {
                    silent += looked.elapsed().min(2 * between);
                    looked = Instant::now();
                    if silent >= limit {
                        return Err(Cause::Late(limit));
                    }
                    if let Some(most_bytes) = program.memory_bytes
                        && let Some(resident_bytes) = self.child.id().and_then(resident_bytes)
                        && resident_bytes > most_bytes
                    {
                        return Err(Cause::TooLarge { resident_bytes, most_bytes });
                    }
                }
            }
        }
    }

    /// Ends it, and says why it had to end and what it said last.
    async fn end(mut self, cause: Cause) -> Crash {
        let by_itself = match cause {
            // The end of the pipe comes a moment before that of the process.
            Cause::Ended => timeout(LAST_WORDS, self.child.wait()).await.ok(),
            _ => None,
        };
        self.kill();
        let status = match by_itself {
            Some(status) => status,
            None => self.child.wait().await,
        };
        // What it started may hold its standard error open.
        if timeout(LAST_WORDS, &mut self.listening).await.is_err() {
            self.listening.abort();
        }
        let how = match cause {
            Cause::Ended => format!("ended amid the task ({})", described(status)),
            Cause::Late(limit) => format!(
                "was ended, since it said nothing for {limit:?}, the most that a step of a task may \
                 take (--task-limit, or twenty times what others like it took)"
            ),
            Cause::TooLarge {
                resident_bytes,
                most_bytes,
            } => format!(
                "was ended, since it had {resident_bytes} bytes in memory, more than the \
                 {most_bytes} that it may have (--worker-memory)"
            ),
            Cause::Confused(said) => format!("answered something else and was ended: {said}"),
        };
        let talk = self.talk.lock().unwrap_or_else(PoisonError::into_inner);
        let words = match talk.is_empty() {
            true => "it had said nothing".to_owned(),
            false => {
                let lines: Vec<_> = talk.iter().map(String::as_str).collect();
                format!("it had said last: {}", lines.join(" | "))
            }
        };
        Crash(format!("the worker {how}; {words}"))
    }

    /// Ends it with all that it started.
    fn kill(&mut self) {
        #[cfg(target_os = "linux")]
        if let Some(id) = self.child.id().and_then(|id| i32::try_from(id).ok())
            && let Some(group) = rustix::process::Pid::from_raw(id)
        {
            use rustix::process::{Signal, kill_process_group};
            // It may have ended by itself.
            let _ = kill_process_group(group, Signal::KILL);
        }
        let _ = self.child.start_kill();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.kill();
    }
}

/// How a process ended, for people.
fn described(status: std::io::Result<ExitStatus>) -> String {
    let status = match status {
        Ok(status) => status,
        Err(error) => return error.to_string(),
    };
    #[cfg(unix)]
    if std::os::unix::process::ExitStatusExt::signal(&status) == Some(9) {
        return format!("{status}, as the system ends one where memory runs out");
    }
    status.to_string()
}

/// Passes on what a worker says on its standard error, and keeps the last of it.
async fn listen(
    mut lines: Lines<BufReader<tokio::process::ChildStderr>>,
    talk: Arc<Mutex<VecDeque<String>>>,
) {
    while let Ok(Some(line)) = lines.next_line().await {
        // Its log is written as the agent's is. Nobody is left to be told where that is gone.
        let _ = writeln!(std::io::stderr().lock(), "{line}");
        note(&talk, line);
    }
}

fn note(talk: &Mutex<VecDeque<String>>, line: String) {
    if line.trim().is_empty() {
        return;
    }
    let mut talk = talk.lock().unwrap_or_else(PoisonError::into_inner);
    // What a panic is about comes first, and what comes after it is where it was.
    let is_panic = |line: &str| line.starts_with("thread ") && line.contains(" panicked at ");
    if is_panic(&line) {
        talk.clear();
    } else if talk.len() == LAST_LINES {
        if talk.front().is_some_and(|line| is_panic(line)) {
            return;
        }
        talk.pop_front();
    }
    // What a kernel prints may be anything, and not every database stores a zero.
    let shown = line.chars().filter(|it| !it.is_control());
    talk.push_back(shown.take(MOST_SHOWN).collect());
}

/// Bytes of a process that are in memory now, where the platform tells.
fn resident_bytes(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kibibytes.checked_mul(1024)
}
