//! The real binary, as a process that can be killed.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Builds `bitfront` as this test was built and tells where it is. Cargo tells the path of a binary
/// only to tests of its own package, and an old one in the target folder would test nothing.
#[allow(clippy::disallowed_methods)]
pub fn binary() -> PathBuf {
    let mut build = Command::new(env!("CARGO"));
    build
        .args(["build", "--package=bitfront-cli", "--bin=bitfront"])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(root());
    if !cfg!(debug_assertions) {
        build.arg("--release");
    }
    // Those that tell a test of its package are no news to others: a build script that looks at one
    // of them would run again, and all that hangs on it be compiled anew, here and in the next
    // build by hand.
    for (name, _) in std::env::vars_os() {
        let starts = |prefix| name.to_string_lossy().starts_with(prefix);
        if starts("CARGO_PKG_") || starts("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    let output = build.stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "bitfront cannot be built");
    let artifacts = String::from_utf8(output.stdout).unwrap();
    let executable = artifacts
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|artifact| artifact["target"]["name"] == "bitfront")
        .find_map(|artifact| Some(PathBuf::from(artifact["executable"].as_str()?)));
    executable.expect("cargo tells no path of bitfront")
}

/// The root of the workspace.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()
}

/// A process whose stderr is read all along. Dropping it kills it.
pub struct Process {
    child: Child,
    stderr: Arc<Mutex<Vec<String>>>,
}

impl Process {
    /// Starts a program that keeps all its files in `data_dir`.
    pub fn start(
        program: &Path,
        data_dir: &Path,
        arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
    ) -> Self {
        let mut child = command(program, data_dir, arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stderr = Arc::new(Mutex::new(Vec::new()));
        let pipe = BufReader::new(child.stderr.take().unwrap());
        let lines = stderr.clone();
        std::thread::spawn(move || {
            for line in pipe.lines().map_while(Result::ok) {
                let mut lines = lines.lock().unwrap_or_else(PoisonError::into_inner);
                lines.push(line);
            }
        });
        Self { child, stderr }
    }

    /// Waits for a line that starts like this and gives back the rest of it.
    pub fn line(&mut self, start: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let lines = self.stderr();
            if let Some(rest) = lines.lines().find_map(|line| line.strip_prefix(start)) {
                return rest.to_owned();
            }
            let alive = self.ended().is_none();
            assert!(
                alive && Instant::now() < deadline,
                "no line `{start}…` in:\n{lines}"
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Everything that it said on stderr.
    pub fn stderr(&self) -> String {
        let lines = self.stderr.lock().unwrap_or_else(PoisonError::into_inner);
        lines.join("\n")
    }

    /// Its number.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// How it ended, where it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Kills it with SIGKILL, which no program can notice.
    pub fn kill(mut self) {
        self.end();
    }

    /// Stops it where it stands, with SIGSTOP, which no program can notice.
    pub fn pause(&self) {
        self.signal("STOP");
    }

    /// Lets it go on after a pause.
    pub fn go_on(&self) {
        self.signal("CONT");
    }

    fn signal(&self, name: &str) {
        // One that has ended is told nothing.
        let process = self.child.id().to_string();
        let _ = Command::new("kill")
            .args([&format!("-{name}"), &process])
            .output();
    }

    /// Kills it with SIGKILL and collects it; it can be asked what it said.
    pub fn end(&mut self) {
        // It may have ended by itself; then there is nothing to kill, only to collect.
        let _ = self.child.kill();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.end();
    }
}

/// Runs a program to its end and gives back its stdout; fails with its stderr where it fails.
pub fn output(
    program: &Path,
    data_dir: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> String {
    let output = command(program, data_dir, arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {stderr}", output.status);
    String::from_utf8(output.stdout).unwrap()
}

/// Runs a program to its end, which is a failure, and gives back its stderr.
pub fn refusal(
    program: &Path,
    data_dir: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> String {
    let output = command(program, data_dir, arguments).output().unwrap();
    assert!(!output.status.success(), "it should have been refused");
    String::from_utf8(output.stderr).unwrap()
}

fn command(
    program: &Path,
    data_dir: &Path,
    arguments: impl IntoIterator<Item = impl AsRef<OsStr>>,
) -> Command {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("BITFRONT_DATA_DIR", data_dir)
        // Tests run side by side: none has cores of its own, and none waits for the others.
        .env("BITFRONT_CORES", "any")
        .env("BITFRONT_CALM_WAIT", "0s")
        .env("BITFRONT_LOG", "warn,bitfront=info")
        .env_remove("BITFRONT_COORDINATOR")
        .env_remove("BITFRONT_CA")
        .env_remove("BITFRONT_DATABASE")
        .env_remove("BITFRONT_TOKEN")
        // For the tests alone: the program refuses what it does not know.
        .env_remove("BITFRONT_TEST_POSTGRES");
    command
}
