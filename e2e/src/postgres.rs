//! A Postgres server of a test's own, which can be killed and started again.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A server in a folder of its own, on a Unix socket there. Dropping it kills it.
pub struct Postgres {
    folder: tempfile::TempDir,
    programs: PathBuf,
}

/// The user that runs the server where this is root, by whom it refuses to be run.
const USER: &str = "postgres";

impl Postgres {
    /// Makes a server and starts it.
    pub fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = Self {
            programs: programs(),
            folder,
        };
        if is_root() {
            run(Command::new("chown").arg(USER).arg(server.folder.path()));
        }
        let data = server.data();
        let mut initdb = server.program("initdb");
        initdb.args([
            "--auth=trust",
            "--username=postgres",
            "--encoding=UTF8",
            "--no-sync",
        ]);
        run(initdb.arg("--pgdata").arg(data));
        server.start_again();
        server
    }

    /// Starts it after it was killed; what was committed is there.
    pub fn start_again(&self) {
        let socket = self.folder.path().to_str().unwrap();
        let options = format!("-c listen_addresses='' -c unix_socket_directories='{socket}'");
        let mut start = self.program("pg_ctl");
        start.args(["start", "--wait", "--silent", "--options", &options]);
        start.arg("--log").arg(self.folder.path().join("log"));
        run(start.arg("--pgdata").arg(self.data()));
    }

    /// Ends it as a power cut would end the server's processes: what was not committed is lost.
    pub fn kill(&self) {
        let mut stop = self.program("pg_ctl");
        stop.args(["stop", "--mode=immediate", "--silent"]);
        // One that does not run cannot be killed.
        let _ = stop.arg("--pgdata").arg(self.data()).output();
    }

    /// The URL of its first database.
    pub fn url(&self) -> String {
        let folder = self.folder.path().to_str().unwrap().replace('/', "%2F");
        format!("postgres://postgres@{folder}/postgres")
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn program(&self, name: &str) -> Command {
        let program = self.programs.join(name);
        let mut command = match is_root() {
            true => {
                let mut command = Command::new("runuser");
                command.args(["-u", USER, "--"]).arg(program);
                command
            }
            false => Command::new(program),
        };
        // A folder that the server's user may be in.
        command.current_dir(self.folder.path());
        command
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.kill();
    }
}

fn is_root() -> bool {
    let user = Command::new("id").arg("-u").output().unwrap();
    user.stdout.trim_ascii() == b"0"
}

/// Where the newest server's programs are: on the PATH, or where Debian puts them.
fn programs() -> PathBuf {
    let on_path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<_> = std::env::split_paths(&on_path).collect();
    let debian = std::fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten();
    let mut versions: Vec<_> = debian.flatten().map(|it| it.path().join("bin")).collect();
    versions.sort();
    folders.extend(versions.into_iter().rev());
    let mut found = folders.into_iter().filter(|it| it.join("initdb").exists());
    let folder = found
        .next()
        .expect("install Postgres (Debian: apt-get install postgresql)");
    // A link elsewhere does not find the files beside the program.
    let real = std::fs::canonicalize(folder.join("initdb")).unwrap();
    real.parent().map(Path::to_owned).unwrap()
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{command:?}: {said}");
}
