//! What an agent and its worker say to each other, and the worker's side of it.
//!
//! Each message is one line of JSON: model words are read and written so already, where they are
//! stored, and a line can be read by people. The worker is asked on its standard input and answers
//! on its standard output; whatever else it has to say, it says on its standard error. While a
//! figure is taken neither says anything.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::mpsc;

use bitfront_model::{Assignment, Question};
use bitfront_runtime::{Runtime, RuntimeError};
use serde::{Deserialize, Serialize};

use super::measuring::{Measuring, Settings};
use super::{Answered, Facts, Found};
use crate::pinning::MEASURING_THREAD;

/// What a worker is asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    /// Comes first, and once.
    Start(Settings),
    /// One assignment, or several timings of one subject that are taken in turns.
    Measure(Vec<Assignment>),
    Answer(Question),
}

/// What a worker says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Said {
    Started(Box<Facts>),
    /// Why it cannot measure on this device.
    CannotStart(String),
    /// What it is about to do.
    Progress(String),
    Measured(Vec<Found>),
    Answered(Box<Answered>),
}

/// A line that can be sent.
pub(super) fn line(message: &impl Serialize) -> io::Result<String> {
    let mut line = serde_json::to_string(message)?;
    line.push('\n');
    Ok(line)
}

/// The life of a worker: measures what it is asked on `input` and answers on `output`, until the
/// input ends. The runtime is made on a thread of the name that measuring threads have.
///
/// The input ends when the agent does, however that ends. Whoever calls this then ends the process,
/// also amid a measurement: nobody waits for it any more, and the next agent's would suffer.
///
/// # Errors
///
/// The input cannot be read, or is no agent's.
pub fn work(
    runtime: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError> + Send + 'static,
    input: impl BufRead,
    output: impl Write + Send + 'static,
) -> io::Result<()> {
    be_ended_before_the_agent();
    let mut asked = input.lines().map(|line| {
        serde_json::from_str::<Asked>(&line?)
            .map_err(|error| io::Error::other(format!("this is no question of an agent: {error}")))
    });
    let settings = match asked.next() {
        Some(Ok(Asked::Start(settings))) => settings,
        Some(Ok(_)) => return Err(io::Error::other("the agent does not say how to measure")),
        Some(Err(error)) => return Err(error),
        None => return Ok(()),
    };
    let (jobs, queue) = mpsc::channel();
    std::thread::Builder::new()
        .name(MEASURING_THREAD.to_owned())
        .spawn(move || {
            let _ends_the_process = EndsTheProcess;
            serve(runtime, &settings, &queue, output);
        })?;
    for asked in asked {
        if jobs.send(asked?).is_err() {
            break;
        }
    }
    end_what_it_started();
    Ok(())
}

/// Ends the process with its thread, which the main one does not watch: it waits for the input.
struct EndsTheProcess;

impl Drop for EndsTheProcess {
    fn drop(&mut self) {
        // What a panic had to say is on the standard error already, and the main thread holds nothing
        // that must be put away.
        #[allow(clippy::disallowed_methods)]
        std::process::exit(if std::thread::panicking() { 101 } else { 0 });
    }
}

fn serve(
    runtime: impl FnOnce() -> Result<Box<dyn Runtime>, RuntimeError>,
    settings: &Settings,
    queue: &mpsc::Receiver<Asked>,
    mut output: impl Write,
) {
    let mut say = |said: &Said| {
        let line = line(said)?;
        output.write_all(line.as_bytes())?;
        output.flush()
    };
    let mut measuring = match Measuring::start(runtime, settings) {
        Ok((measuring, facts)) => {
            if say(&Said::Started(Box::new(facts))).is_err() {
                return;
            }
            measuring
        }
        Err(error) => {
            // Where nobody hears it, there is no agent any more; so with all that follows.
            let _ = say(&Said::CannotStart(error.to_string()));
            return;
        }
    };
    while let Ok(asked) = queue.recv() {
        let mut progress = |line: &str| drop(say(&Said::Progress(line.to_owned())));
        let said = match asked {
            Asked::Start(_) => continue,
            Asked::Measure(assignments) => {
                Said::Measured(measuring.measure(&assignments, &mut progress))
            }
            Asked::Answer(question) => {
                Said::Answered(Box::new(measuring.answer(&question, &mut progress)))
            }
        };
        if say(&said).is_err() {
            return;
        }
    }
}

/// Where memory runs out the system ends this process rather than the agent; and a cold start, which
/// asks for the same, rather than this one. Where it cannot be asked it chooses by itself.
fn be_ended_before_the_agent() {
    let path = Path::new("/proc/self/oom_score_adj");
    // proc(5): 1000 is the most; raising the own one takes no privilege. The file is never made.
    if let Ok(mut file) = std::fs::OpenOptions::new().write(true).open(path)
        && let Err(error) = file.write_all(b"500")
    {
        tracing::debug!("the system was not asked to end this process first: {error}");
    }
}

/// Ends what this process started, such as a cold start, with it: the agent makes a worker the
/// leader of a group of processes.
fn end_what_it_started() {
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getpgrp, getpid, kill_process_group};
        if getpgrp() == getpid()
            && let Err(error) = kill_process_group(getpgrp(), Signal::KILL)
        {
            tracing::debug!("what the worker started may go on: {error}");
        }
    }
}
