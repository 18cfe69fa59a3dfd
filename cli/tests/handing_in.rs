//! Files that two hand in to a coordinator at once.
#![cfg(feature = "demo")]
#![allow(clippy::unwrap_used)]

mod support;

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bitfront_model::Digest;
use support::{bitfront, demo};

/// A process that ends with the test, and its lines for people.
struct Background(Child, BufReader<std::process::ChildStderr>);

impl Background {
    fn start(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let stderr = child.stderr.take().unwrap();
        Self(child, BufReader::new(stderr))
    }

    /// The next line with these words.
    fn line_with(&mut self, words: &str) -> String {
        loop {
            let mut line = String::new();
            let read = self.1.read_line(&mut line).unwrap();
            assert_ne!(read, 0, "it ended before it said `{words}`");
            if line.contains(words) {
                return line;
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn who_else_hands_a_file_in_at_this_moment_is_waited_for() {
    let (command, data) = bitfront(["serve", "--listen", "127.0.0.1:0"]).command();
    let mut coordinator = Background::start(command);
    let line = coordinator.line_with("listening on ");
    let url = line.trim().strip_prefix("listening on ").unwrap();

    // Another connection has brought half of the weights, and has not ended.
    let model = demo().join("model");
    let weights = fs::read(model.join("model.safetensors")).unwrap();
    let (half, rest) = weights.split_at(weights.len() / 2);
    let blobs = data.path().join("blobs");
    fs::create_dir_all(&blobs).unwrap();
    let digest = Digest::of(&weights);
    let mut other = File::create(blobs.join(format!("{digest}.partial"))).unwrap();
    other.lock().unwrap();
    other.write_all(half).unwrap();

    let arguments = [
        "model",
        "add",
        model.to_str().unwrap(),
        "--coordinator",
        url,
    ];
    let (mut command, _data) = bitfront(arguments).command();
    command.stdout(Stdio::null());
    let mut adding = Background::start(command);
    adding.line_with("model.safetensors");
    // Long enough for several tries.
    std::thread::sleep(Duration::from_millis(1500));
    other.write_all(rest).unwrap();
    drop(other);

    let mut said = String::new();
    adding.1.read_to_string(&mut said).unwrap();
    assert!(adding.0.wait().unwrap().success(), "{said}");
    assert_eq!(fs::read(blobs.join(digest.to_string())).unwrap(), weights);
}
