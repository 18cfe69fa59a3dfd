//! The cold start of a plan, in a process of its own.
//!
//! What a plan takes shows only where nothing else is: an allocator keeps what earlier plans gave
//! up, and a process's peak never falls. So the figures are taken by a [`Program`] that is started
//! for one plan. It reads a [`Question`] from its standard input, loads the plan and has it say its
//! first token, and writes the answer to its standard output, both as JSON; [`answer`] is all that
//! such a program does. It inherits environment, working directory and, on Linux, the cores of the
//! thread that starts it.

mod process;

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitfront_model::{Cold, ColdStart, Digest};
use serde::{Deserialize, Serialize};

use crate::RuntimeIdentity;
use crate::tensor_store::TensorKey;

/// The longest that a cold start may take by default.
const USUAL_LIMIT: Duration = Duration::from_secs(600);

/// An executable that answers a [`Question`] with [`answer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// The executable.
    pub path: PathBuf,
    /// What it is started with.
    pub arguments: Vec<String>,
    /// It is ended where it has not answered by then.
    pub limit: Duration,
}

impl Program {
    /// An executable that is started with these arguments and has ten minutes to answer.
    pub fn new(path: PathBuf, arguments: &[&str]) -> Self {
        Self {
            path,
            arguments: arguments.iter().map(|&word| word.to_owned()).collect(),
            limit: USUAL_LIMIT,
        }
    }
}

/// All that a process needs to load one plan and have it say its first token.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Question {
    /// What the asking process executes with; a process that would execute otherwise refuses.
    pub(crate) identity: RuntimeIdentity,
    /// The model file. Whoever asks has read it: its weights are not read once more, since all
    /// that was read of a mapped file counts as resident.
    pub(crate) model_path: PathBuf,
    /// The digest of its content.
    pub(crate) model: Digest,
    /// Where quantized tensors are found.
    pub(crate) tensor_directory: PathBuf,
    /// The tensors of the plan, in the canonical order of layers.
    pub(crate) tensors: Vec<TensorKey>,
    /// The prompts, sequence after sequence.
    pub(crate) prompts: Vec<u32>,
    /// How many prompts there are.
    pub(crate) batch: u32,
    /// Where the files are found in which the platform tells of itself.
    pub(crate) root: PathBuf,
}

/// What a process has to say.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "answer")]
enum Answer {
    Measured(Cold),
    Failed { reason: String },
}

/// Answers a question as it was read from the standard input; what is returned belongs on the
/// standard output. Whatever goes wrong is an answer too.
pub fn answer(question: &str) -> String {
    let found = serde_json::from_str::<Question>(question)
        .map_err(|error| format!("what was asked is no question of a cold start: {error}"))
        .and_then(|question| {
            crate::candle::cold_start(&question).map_err(|error| error.to_string())
        });
    let answer = match found {
        Ok(cold) => Answer::Measured(cold),
        Err(reason) => Answer::Failed { reason },
    };
    // Numbers and text can always be written as JSON; an empty answer is no answer.
    serde_json::to_string(&answer).unwrap_or_default()
}

/// Has a program answer a question; without a program, or with one that does not answer, there are
/// no figures, and the reason is told.
pub(crate) fn ask(program: Option<&Program>, question: &Question, temporary: &Path) -> ColdStart {
    let answered = program
        .ok_or_else(|| {
            "no program is known here that loads one plan in a process of its own".to_owned()
        })
        .and_then(|program| {
            let question = serde_json::to_vec(question).map_err(|error| error.to_string())?;
            let said = process::run(program, &question, temporary)?;
            serde_json::from_slice(&said).map_err(|_| {
                let said = String::from_utf8_lossy(&said);
                let shown = program.path.display();
                format!("`{shown}` answered `{}`", process::shortened(&said))
            })
        });
    match answered {
        Ok(Answer::Measured(cold)) => ColdStart::Measured(cold),
        Ok(Answer::Failed { reason }) | Err(reason) => ColdStart::NotMeasured { reason },
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use bitfront_model::NumericsClass;

    use super::*;

    fn question() -> Question {
        Question {
            identity: RuntimeIdentity {
                name: "candle".to_owned(),
                version: "0".to_owned(),
                numerics_class: NumericsClass("candle/0/cpu/none".to_owned()),
                threads: 1,
                switches: BTreeMap::new(),
                gpu: None,
                driver: None,
            },
            model_path: PathBuf::from("/nowhere"),
            model: Digest::of("model"),
            tensor_directory: PathBuf::from("/nowhere"),
            tensors: Vec::new(),
            prompts: vec![1, 2],
            batch: 2,
            root: PathBuf::from("/"),
        }
    }

    fn reason(start: ColdStart) -> String {
        start.not_measured().unwrap().to_owned()
    }

    #[test]
    fn a_question_reads_back_and_anything_else_is_answered_with_what_is_wrong() {
        let written = serde_json::to_string(&question()).unwrap();
        assert_eq!(
            serde_json::from_str::<Question>(&written).unwrap(),
            question()
        );
        for (asked, told) in [
            ("", "no question"),
            ("{\"model\": 1}", "no question"),
            (written.as_str(), "other than"),
        ] {
            let answer = answer(asked);
            let Answer::Failed { reason } = serde_json::from_str(&answer).unwrap() else {
                panic!("{answer}")
            };
            assert!(reason.contains(told), "{reason}");
        }
    }

    #[test]
    fn without_a_program_nothing_is_measured_and_the_reason_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let told = reason(ask(None, &question(), folder.path()));
        assert!(told.contains("no program is known"), "{told}");
        let missing = Program::new(folder.path().join("missing"), &[]);
        let told = reason(ask(Some(&missing), &question(), folder.path()));
        assert!(
            told.contains("cannot start") && told.contains("missing"),
            "{told}"
        );
    }

    #[cfg(unix)]
    #[test]
    fn a_process_that_does_not_answer_says_how_it_ended() {
        let folder = tempfile::tempdir().unwrap();
        let told = |script: &str, limit: Duration| {
            let program = Program {
                limit,
                ..Program::new(PathBuf::from("/bin/sh"), &["-c", script])
            };
            reason(ask(Some(&program), &question(), folder.path()))
        };
        let patient = Duration::from_secs(60);
        let killed = told("echo first >&2; kill -9 $$", patient);
        assert!(
            killed.contains("ended from outside") && killed.contains("more memory"),
            "{killed}"
        );
        let stopped = told("kill -15 $$", patient);
        assert!(
            stopped.contains("failed") && stopped.contains("said nothing"),
            "{stopped}"
        );
        let aborted = told(
            "echo memory allocation of 8 bytes failed >&2; kill -6 $$",
            patient,
        );
        assert!(aborted.contains("memory allocation of 8"), "{aborted}");
        let failed = told("echo first >&2; echo the disk is full >&2; exit 3", patient);
        assert!(
            failed.contains("3") && failed.contains("the disk is full"),
            "{failed}"
        );
        let babbling = told("echo hello", patient);
        assert!(babbling.contains("answered `hello`"), "{babbling}");
        let silent = told("true", patient);
        assert!(silent.contains("answered ``"), "{silent}");
        let begun = std::time::Instant::now();
        let late = told("exec sleep 60", Duration::from_millis(50));
        assert!(late.contains("within 50ms"), "{late}");
        assert!(
            begun.elapsed() < Duration::from_secs(30),
            "it was not ended"
        );
        // What it was asked is all on its input.
        let asked = told("cat", patient);
        assert!(asked.contains("identity"), "{asked}");
    }
}
