//! What goes on while a test does something else, and what it logs meanwhile.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use serde_json::Value;

use super::{Bitfront, bitfront};

/// A process that ends with the test, and the file that its log goes to.
pub(crate) struct Background(Child, pub(crate) PathBuf);

impl Background {
    pub(crate) fn start(run: Bitfront, log: PathBuf) -> Self {
        let (mut command, data) = run.command();
        // It ends with the test, which has a folder of its own for what is kept.
        drop(data);
        let child = command.stderr(File::create(&log).unwrap()).spawn();
        Self(child.unwrap(), log)
    }

    /// What was logged, each line an object.
    pub(crate) fn lines(&self) -> Vec<Value> {
        let log = fs::read_to_string(&self.1).unwrap();
        // The last line may be on its way.
        let whole = log.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let object = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        whole.lines().map(object).collect()
    }

    /// The first line whose message begins like this.
    pub(crate) fn line(&self, start: &str) -> Value {
        let begun = Instant::now();
        loop {
            let found = self
                .lines()
                .into_iter()
                .find(|line| message(line).starts_with(start));
            match found {
                Some(line) => return line,
                None => assert!(begun.elapsed() < Duration::from_secs(30), "no `{start}`"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Asks it to end; gives back how long that took.
    pub(crate) fn stop(&mut self) -> Duration {
        let asked = Instant::now();
        let terminate = ["-TERM".to_owned(), self.0.id().to_string()];
        let status = Command::new("kill").args(terminate).status();
        assert!(status.unwrap().success());
        assert_eq!(self.0.wait().unwrap().code(), Some(0));
        asked.elapsed()
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub(crate) fn message(line: &Value) -> &str {
    line["message"].as_str().unwrap_or_default()
}

/// A run with a log for programs, over the files of a folder.
pub(crate) fn logging<S: AsRef<OsStr>>(
    arguments: impl IntoIterator<Item = S>,
    data: &Path,
) -> Bitfront {
    bitfront(arguments)
        .in_data_dir(data)
        .env("BITFRONT_LOG", "debug")
        .env("BITFRONT_LOG_FORMAT", "json")
}
