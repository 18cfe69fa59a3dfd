//! Runs the real binary in an environment of its own.

#![allow(dead_code, clippy::unwrap_used)]

pub(crate) mod background;

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

/// A run of the binary that is being prepared.
pub(crate) struct Bitfront {
    command: Command,
    /// The user's data directory of this run, unless it shares another's.
    data: TempDir,
}

/// What a run came to.
pub(crate) struct Run {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Prepares a run with nothing of the tester's own environment that counts.
pub(crate) fn bitfront<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Bitfront {
    let data = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitfront"));
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if name.starts_with("BITFRONT_") || name.starts_with("OTEL_") {
            command.env_remove(&*name);
        }
    }
    command
        .args(arguments)
        .env("COLUMNS", "100")
        .env("BITFRONT_DATA_DIR", data.path())
        // Tests run side by side: none has cores of its own, and none waits for the others.
        .env("BITFRONT_CORES", "any")
        .env("BITFRONT_CALM_WAIT", "0s")
        .stdin(Stdio::null());
    Bitfront { command, data }
}

impl Bitfront {
    /// Sets an environment variable.
    pub(crate) fn env(mut self, name: &str, value: impl AsRef<OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Shares a data directory with other runs.
    pub(crate) fn in_data_dir(self, folder: &Path) -> Self {
        self.env("BITFRONT_DATA_DIR", folder)
    }

    /// Runs it to its end.
    pub(crate) fn finish(mut self) -> Run {
        let output = self.command.output().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Run {
            code: output.status.code(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// The command itself, for what goes on while a test does something else.
    pub(crate) fn command(self) -> (Command, TempDir) {
        (self.command, self.data)
    }
}

/// The folder with the demo model and its texts.
pub(crate) fn demo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../demo")
}

/// A copy of the demo model in a folder that a test may spoil.
pub(crate) fn model_copy() -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(demo().join("model")).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), folder.path().join(file.file_name())).unwrap();
    }
    folder
}
