//! What the Hub has, and the bytes of one file of it, over HTTP.
//!
//! hf-hub has this too, and it is not used: it sends the token on to whichever host the Hub redirects
//! to, takes names of files in the cache from an answer that nobody has checked, and waits for ever for
//! a host that does not answer or has stopped amid an answer.

use std::io::{self, Read};
use std::time::Duration;

use ureq::http::{Response, StatusCode, Uri};
use ureq::{Agent, Body};

/// How long a host may take to be there, and to send anything at all.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Most bytes of an answer that is no file: the names of some hundred thousand files.
const MOST_ANSWERED: u64 = 64 << 20;

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
    pub(super) fn new(token: Option<String>, patience: Duration) -> Self {
        let agent = Agent::config_builder()
            .user_agent(concat!("bitfront/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(patience))
            .timeout_recv_response(Some(patience))
            .timeout_per_read(Some(patience))
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

    /// An answer that is no file.
    pub(super) fn answer(&self, url: &str) -> Result<Vec<u8>, Failure> {
        let answer = self.get(url, None, |_| {})?;
        let body = answer.into_body().into_with_config().limit(MOST_ANSWERED);
        let read = body.read_to_vec();
        read.map_err(|error| Failure::Connection(error.to_string()))
    }

    /// What the Hub says of a file.
    pub(super) fn ask(&self, url: &str) -> Result<Said, Failure> {
        let mut said = [const { None }; 2];
        let answer = self.get(url, Some("bytes=0-0"), |answer| {
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
        let answer = self.get(url, Some(&format!("bytes={offset}-")), |_| {})?;
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
        range: Option<&str>,
        mut look: impl FnMut(&Response<Body>),
    ) -> Result<Response<Body>, Failure> {
        let hub: Uri = url.parse().map_err(|_| Failure::Lacking("no address"))?;
        let mut at = hub.clone();
        for _ in 0..MOST_REDIRECTS {
            let is_hub = (at.scheme(), at.authority()) == (hub.scheme(), hub.authority());
            let mut request = self.agent.get(&at);
            if let Some(range) = range {
                request = request.header("range", range);
            }
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
    use std::io::Write as _;
    use std::net::TcpListener;

    use super::*;

    /// A host that takes a connection, says something and then nothing more; the connection is kept.
    fn silent_after(said: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!(
            "http://{}/api/models/acme/tiny",
            listener.local_addr().unwrap()
        );
        std::thread::spawn(move || {
            let mut connection = listener.accept().unwrap().0;
            connection.write_all(said.as_bytes()).unwrap();
            std::thread::sleep(Duration::from_secs(60));
        });
        url
    }

    #[test]
    fn a_host_that_stops_is_not_waited_for() {
        let transfer = Transfer::new(None, Duration::from_millis(200));
        let amid = "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{";
        for said in ["", "HTTP/1.1 200 OK\r\n", amid] {
            let begun = std::time::Instant::now();
            let failure = transfer.answer(&silent_after(said)).unwrap_err();
            assert!(matches!(failure, Failure::Connection(_)), "{failure:?}");
            assert!(begun.elapsed() < Duration::from_secs(20), "{said:?}");
        }
    }

    #[test]
    fn a_path_stays_on_its_host_and_an_address_leaves_it() {
        let at: Uri = "https://hub/a/b?c".parse().unwrap();
        let to = |to| joined(&at, to).map(|uri| uri.to_string());
        assert_eq!(to("/d?e").as_deref(), Some("https://hub/d?e"));
        assert_eq!(to("https://store/d").as_deref(), Some("https://store/d"));
        assert_eq!(to("https://exa mple"), None);
    }
}
