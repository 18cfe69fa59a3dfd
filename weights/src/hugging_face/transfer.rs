//! The bytes of one file, over HTTP.
//!
//! hf-hub has this too, and it is not used: it sends the token on to whichever host the Hub redirects
//! to, takes names of files in the cache from an answer that nobody has checked, and waits for ever for
//! a host that has stopped amid an answer.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

/// How long a host may take to be there, and to send anything at all.
const PATIENCE: Duration = Duration::from_secs(60);

/// Hosts that send on to each other, at the most.
const MOST_REDIRECTS: usize = 8;

/// Asks the Hub for files.
pub(super) struct Transfer {
    agent: Agent,
    token: Option<String>,
}

/// What the Hub says of a file.
pub(super) struct Said {
    pub(super) commit: String,
    /// The SHA-256 of a large file, and otherwise what git has for a small one.
    pub(super) etag: String,
    pub(super) size_bytes: u64,
}

/// Why a file does not come.
#[derive(Debug)]
pub(super) enum Failure {
    /// The connection, or somebody on the way.
    Connection(String),
    Status(StatusCode),
    /// An answer lacks what it must have.
    Lacking(&'static str),
}

impl Transfer {
    pub(super) fn new(token: Option<String>) -> Self {
        let agent = Agent::config_builder()
            .timeout_connect(Some(PATIENCE))
            .timeout_recv_response(Some(PATIENCE))
            .timeout_per_read(Some(PATIENCE))
            .http_status_as_error(false)
            // Followed here, since what the Hub says of a file is in the answer that sends on.
            .max_redirects(0)
            .max_redirects_will_error(false)
            .build();
        Self {
            agent: Agent::new_with_config(agent),
            token,
        }
    }

    /// What the Hub says of a file.
    pub(super) fn ask(&self, url: &str) -> Result<Said, Failure> {
        let mut said = [const { None }; 2];
        let answer = self.get(url, "bytes=0-0", |answer| {
            let names = ["x-repo-commit", "x-linked-etag"];
            for (said, name) in said.iter_mut().zip(names) {
                *said = said.take().or_else(|| header(answer, name));
            }
            if said[1].is_none() && !answer.status().is_redirection() {
                said[1] = header(answer, "etag");
            }
        })?;
        let [commit, etag] = said;
        let range = header(&answer, "content-range");
        let size = range.and_then(|range| range.rsplit_once('/')?.1.parse().ok());
        Ok(Said {
            commit: commit.ok_or(Failure::Lacking("no commit"))?,
            etag: etag.ok_or(Failure::Lacking("no name of the content"))?,
            size_bytes: size.ok_or(Failure::Lacking("no size"))?,
        })
    }

    /// The bytes of a file from an offset on.
    pub(super) fn bytes(&self, url: &str, offset: u64) -> Result<impl Read + use<>, Failure> {
        let answer = self.get(url, &format!("bytes={offset}-"), |_| {})?;
        match answer.status() {
            StatusCode::PARTIAL_CONTENT => Ok(answer.into_body().into_reader()),
            StatusCode::OK if offset == 0 => Ok(answer.into_body().into_reader()),
            _ => Err(Failure::Lacking("no part of the file that was asked for")),
        }
    }

    /// The last answer on the way, and a look at each that comes from the Hub itself.
    fn get(
        &self,
        url: &str,
        range: &str,
        mut look: impl FnMut(&Response<Body>),
    ) -> Result<Response<Body>, Failure> {
        let hub: Uri = url.parse().map_err(|_| Failure::Lacking("no address"))?;
        let mut at = hub.clone();
        for _ in 0..MOST_REDIRECTS {
            let is_hub = (at.scheme(), at.authority()) == (hub.scheme(), hub.authority());
            let mut request = self.agent.get(&at).header("range", range);
            if let Some(token) = self.token.as_ref().filter(|_| is_hub) {
                request = request.header("authorization", format!("Bearer {token}"));
            }
            let answer = request.call();
            let answer = answer.map_err(|error| Failure::Connection(error.to_string()))?;
            if is_hub {
                look(&answer);
            }
            match answer.status() {
                status if status.is_success() => return Ok(answer),
                status if status.is_redirection() => {
                    let to = header(&answer, "location").and_then(|to| joined(&at, &to));
                    at = to.ok_or(Failure::Lacking("no address that it sends on to"))?;
                }
                status => return Err(Failure::Status(status)),
            }
        }
        Err(Failure::Lacking("no end of addresses"))
    }
}

fn header(answer: &Response<Body>, name: &str) -> Option<String> {
    let value = answer.headers().get(name)?.to_str().ok()?;
    Some(value.trim_matches('"').to_owned())
}

/// Where an answer sends on to: a whole address, or a path on the same host.
fn joined(at: &Uri, to: &str) -> Option<Uri> {
    let to: Uri = to.parse().ok()?;
    if to.authority().is_some() {
        return Some(to);
    }
    let mut parts = at.clone().into_parts();
    parts.path_and_query = to.into_parts().path_and_query;
    Uri::from_parts(parts).ok()
}

/// Copies all bytes that come.
///
/// # Errors
///
/// Of the connection, and of the disk.
pub(super) fn copy(from: &mut impl Read, to: &mut impl io::Write) -> Result<(), Copying> {
    let mut bytes = vec![0; 1 << 16];
    loop {
        let read = match from.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(Copying::Connection(error)),
        };
        to.write_all(&bytes[..read]).map_err(Copying::Disk)?;
    }
}

/// Which side of a copy failed.
pub(super) enum Copying {
    Connection(io::Error),
    Disk(io::Error),
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_path_stays_on_its_host_and_an_address_leaves_it() {
        let at: Uri = "https://hub/a/b?c".parse().unwrap();
        let to = |to| joined(&at, to).map(|uri| uri.to_string());
        assert_eq!(to("/d?e").as_deref(), Some("https://hub/d?e"));
        assert_eq!(to("https://store/d").as_deref(), Some("https://store/d"));
        assert_eq!(to("https://exa mple"), None);
    }
}
