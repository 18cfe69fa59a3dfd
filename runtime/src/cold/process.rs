//! One process from its question to its answer.
//!
//! Question and answer are files and not pipes: a pipe that nobody reads would hold up whoever
//! writes into it, and no other thread is there to look at the time.

use std::fs::File;
use std::io::{Read as _, Seek as _, Write as _};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use super::Program;

/// Between two looks whether the process has ended: rare enough to take no time from it.
const BETWEEN_LOOKS: Duration = Duration::from_millis(10);

/// The most that is read of what a process says.
const MOST_SAID: u64 = 1 << 20;

/// Characters of what a process said that are shown.
const MOST_SHOWN: usize = 200;

/// Starts the program, and returns what it says on its standard output once it has ended well.
/// Files lie in `folder` meanwhile and have no name there.
///
/// # Errors
///
/// Why there is no answer, for people.
pub(super) fn run(program: &Program, question: &[u8], folder: &Path) -> Result<Vec<u8>, String> {
    let shown = program.path.display();
    let file = |content: &[u8]| written(folder, content);
    let no_file = |error| format!("cannot keep what `{shown}` is asked and says: {error}");
    let input = file(question).map_err(no_file)?;
    let (mut output, mut talk) = (file(&[]).map_err(no_file)?, file(&[]).map_err(no_file)?);
    let mut child = Command::new(&program.path)
        .args(&program.arguments)
        .stdin(Stdio::from(input))
        .stdout(Stdio::from(output.try_clone().map_err(no_file)?))
        .stderr(Stdio::from(talk.try_clone().map_err(no_file)?))
        .spawn()
        .map_err(|error| format!("cannot start `{shown}`: {error}"))?;
    let status = wait(&mut child, program.limit)
        .map_err(|error| {
            // It may have ended by itself; in any case nobody asks for it any more.
            let _ = child.kill().and_then(|()| child.wait());
            format!("cannot wait for `{shown}`: {error}")
        })?
        .ok_or_else(|| format!("`{shown}` did not answer within {:?}", program.limit))?;
    if status.success() {
        return said(&mut output).map_err(no_file);
    }
    let talk = said(&mut talk).map_err(no_file)?;
    let talk = String::from_utf8_lossy(&talk);
    let last = talk.lines().rfind(|line| !line.trim().is_empty());
    Err(match last {
        _ if is_killed(status) => format!(
            "the process of the plan was ended from outside ({status}), as one is that takes more \
             memory than there is"
        ),
        Some(last) => format!("`{shown}` failed ({status}): {}", shortened(last)),
        None => format!("`{shown}` failed ({status}) and said nothing"),
    })
}

/// True for the signal that the system ends processes with where memory runs out.
fn is_killed(status: ExitStatus) -> bool {
    #[cfg(unix)]
    return std::os::unix::process::ExitStatusExt::signal(&status) == Some(9);
    #[cfg(not(unix))]
    return status.code().is_none();
}

/// The beginning of what was said.
pub(super) fn shortened(said: &str) -> String {
    let said = said.trim();
    match said.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}…", &said[..end]),
        None => said.to_owned(),
    }
}

fn written(folder: &Path, content: &[u8]) -> std::io::Result<File> {
    let mut file = tempfile::tempfile_in(folder)?;
    file.write_all(content)?;
    file.rewind()?;
    Ok(file)
}

fn said(file: &mut File) -> std::io::Result<Vec<u8>> {
    let mut said = Vec::new();
    file.rewind()?;
    file.take(MOST_SAID).read_to_end(&mut said)?;
    Ok(said)
}

/// How a process ended; none where it had to be ended since its time was over.
fn wait(child: &mut Child, limit: Duration) -> std::io::Result<Option<ExitStatus>> {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if begun.elapsed() >= limit {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(BETWEEN_LOOKS);
    }
}
