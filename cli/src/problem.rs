//! What a failure says to the user and to the shell.

/// How the program ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ExitStatus {
    /// What was asked for was done.
    Success,
    /// It was not, and why was said.
    Failure,
    /// The request itself cannot be meant: a flag, a value, an environment variable.
    Usage,
    /// The question was answered with nothing: no such search, no plan within the limits.
    NothingFound,
    /// The coordinator could not be reached.
    Unreachable,
    /// `check` found that something got worse.
    Worse,
    /// The user interrupted.
    Interrupted,
}

macro_rules! exit_codes {
    ($more:literal) => {
        concat!(
            "\
Exit codes:
  0    done
  1    failed; the reason is on stderr
  2    the command line or the environment cannot be meant like this
  3    nothing found: no such search, model or measured candidate, no plan within the limits
  4    the coordinator cannot be reached
",
            $more,
            "  130  interrupted"
        )
    };
}

/// The exit codes of most verbs, as their `--help` shows them.
pub(crate) const EXIT_CODES: &str = exit_codes!("");

/// The same with the one of `check`.
pub(crate) const ALL_EXIT_CODES: &str = exit_codes!(
    "  5    `check`: something got worse; with nothing that both searches measured it ends with 3\n"
);

impl From<ExitStatus> for std::process::ExitCode {
    fn from(status: ExitStatus) -> Self {
        Self::from(match status {
            ExitStatus::Success => 0,
            ExitStatus::Failure => 1,
            ExitStatus::Usage => 2,
            ExitStatus::NothingFound => 3,
            ExitStatus::Unreachable => 4,
            ExitStatus::Worse => 5,
            ExitStatus::Interrupted => 130,
        })
    }
}

/// A failure whose exit code is not plain 1, or that knows what to do next.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Problem {
    message: String,
    hint: Option<String>,
    status: ExitStatus,
}

impl Problem {
    /// A failure with its exit status.
    pub(crate) fn new(status: ExitStatus, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            hint: None,
            status,
        }
    }

    /// Something was typed that cannot be meant.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Usage, message)
    }

    /// There is no answer.
    pub(crate) fn nothing_found(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::NothingFound, message)
    }

    /// It failed, and there is something to do about it.
    pub(crate) fn failure(message: impl Into<String>) -> Self {
        Self::new(ExitStatus::Failure, message)
    }

    /// Says what to do next.
    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }
}

/// The exit status of a failure.
pub(crate) fn status_of(error: &anyhow::Error) -> ExitStatus {
    find(error).map_or(ExitStatus::Failure, |problem| problem.status)
}

/// What to do about a failure, where something is known.
pub(crate) fn hint_of(error: &anyhow::Error) -> Option<&str> {
    find(error)?.hint.as_deref()
}

fn find(error: &anyhow::Error) -> Option<&Problem> {
    error.chain().find_map(|cause| cause.downcast_ref())
}
