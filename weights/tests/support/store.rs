//! An object store on this machine, over plain HTTP: files with tags and ranges, as a web server has
//! them, and lists, as S3 has them. It does as badly as a test wants it to.

use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard};

use bitfront_model::Digest;

/// The store, which is served until the test ends.
#[derive(Clone)]
pub struct Store {
    /// Such as `http://127.0.0.1:1234`.
    pub url: String,
    state: Arc<Mutex<State>>,
}

/// What it has, and how it behaves.
pub struct State {
    /// Bytes by path, such as `/bucket/model/config.json`.
    pub files: BTreeMap<String, Vec<u8>>,
    /// When all of them were written.
    pub modified: &'static str,
    /// Without, nothing tells one content from another but the time.
    pub has_tags: bool,
    /// Without, a part is answered with the whole.
    pub has_ranges: bool,
    /// Without, a file that has changed is sent as if that had been asked for.
    pub has_conditions: bool,
    /// The next transfers break off after so many bytes.
    pub cuts: VecDeque<usize>,
    /// What is at a path once the next transfer has broken off.
    pub change: Option<(String, Vec<u8>)>,
    /// Who may read; others may not.
    pub reader: Option<String>,
    /// What it was asked for.
    pub seen: Vec<Asked>,
}

/// A request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked {
    pub method: String,
    /// With what follows a `?`.
    pub path: String,
    pub range: String,
    pub condition: String,
    pub authorization: String,
}

impl Store {
    /// Serves nothing yet, as well as it can.
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let store = Self {
            url: format!("http://{}", listener.local_addr().unwrap()),
            state: Arc::new(Mutex::new(State {
                files: BTreeMap::new(),
                modified: "Thu, 01 Jan 2026 00:00:00 GMT",
                has_tags: true,
                has_ranges: true,
                has_conditions: true,
                cuts: VecDeque::new(),
                change: None,
                reader: None,
                seen: Vec::new(),
            })),
        };
        let served = store.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                // Whoever asked may have gone away.
                let _ = served.answer(connection);
            }
        });
        store
    }

    /// What it has, and how it behaves.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// Has a file from now on.
    pub fn put(&self, path: &str, bytes: impl Into<Vec<u8>>) {
        self.state().files.insert(path.to_owned(), bytes.into());
    }

    /// What it was asked for since this was asked last: methods, paths and ranges.
    pub fn seen(&self) -> Vec<String> {
        let seen = std::mem::take(&mut self.state().seen);
        let lines = seen
            .iter()
            .map(|it| format!("{} {} {}", it.method, it.path, it.range));
        lines.map(|line| line.trim_end().to_owned()).collect()
    }

    fn answer(&self, mut connection: TcpStream) -> std::io::Result<()> {
        let asked = read(&connection)?;
        if asked.method.is_empty() {
            return Ok(());
        }
        let mut state = self.state();
        state.seen.push(asked.clone());
        let is_reader = |reader: &String| asked.authorization.contains(reader.as_str());
        if !state.reader.as_ref().is_none_or(is_reader) {
            return say(&mut connection, "403 Forbidden", "", b"<Error/>");
        }
        if let Some((bucket, query)) = asked.path.split_once('?') {
            let list = list(&state, bucket, query);
            return say(&mut connection, "200 OK", "", list.as_bytes());
        }
        let Some(bytes) = state.files.get(&asked.path).cloned() else {
            return say(&mut connection, "404 Not Found", "", b"<Error/>");
        };
        let tag = format!("\"{}\"", Digest::of(&bytes));
        let is_other = !asked.condition.is_empty() && asked.condition != tag;
        if state.has_conditions && is_other {
            return say(&mut connection, "412 Precondition Failed", "", b"");
        }
        let mut headers = format!("Last-Modified: {}\r\n", state.modified);
        if state.has_tags {
            headers += &format!("ETag: {tag}\r\n");
        }
        let first = asked.range.strip_prefix("bytes=");
        let first = first.and_then(|range| range.split('-').next()?.parse::<usize>().ok());
        let (status, first) = match first.filter(|_| state.has_ranges) {
            Some(first) => {
                let last = bytes.len() - 1;
                headers += &format!("Content-Range: bytes {first}-{last}/{}\r\n", bytes.len());
                ("206 Partial Content", first)
            }
            None => ("200 OK", 0),
        };
        let body = &bytes[first..];
        if asked.method == "HEAD" {
            let head = head("200 OK", &headers, body.len());
            return connection.write_all(head.as_bytes());
        }
        let Some(cut) = state.cuts.pop_front() else {
            return say(&mut connection, status, &headers, body);
        };
        if let Some((path, bytes)) = state.change.take() {
            state.files.insert(path, bytes);
        }
        connection.write_all(head(status, &headers, body.len()).as_bytes())?;
        connection.write_all(&body[..cut.min(body.len())])
    }
}

/// The files of a folder of a bucket, as S3 lists them.
fn list(state: &State, bucket: &str, query: &str) -> String {
    let prefix = query
        .split('&')
        .find_map(|part| part.strip_prefix("prefix="));
    let prefix = prefix.unwrap_or_default().replace("%2F", "/");
    let files = state.files.iter().filter_map(|(path, bytes)| {
        let key = path.strip_prefix(bucket)?.strip_prefix('/')?;
        let is_inside = !key.strip_prefix(&prefix)?.contains('/');
        is_inside.then(|| {
            format!(
                "<Contents><Key>{key}</Key><LastModified>2026-01-01T00:00:00.000Z</LastModified>\
                 <ETag>\"{}\"</ETag><Size>{}</Size></Contents>",
                Digest::of(bytes),
                bytes.len()
            )
        })
    });
    let files: String = files.collect();
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?><ListBucketResult><Prefix>{prefix}</Prefix>\
         <IsTruncated>false</IsTruncated>{files}</ListBucketResult>"
    )
}

fn read(connection: &TcpStream) -> std::io::Result<Asked> {
    let mut lines = BufReader::new(connection).lines();
    let first = lines.next().unwrap_or_else(|| Ok(String::new()))?;
    let mut words = first.split(' ').map(str::to_owned);
    let mut asked = Asked {
        method: words.next().unwrap_or_default(),
        path: words.next().unwrap_or_default(),
        ..Asked::default()
    };
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(": ") else {
            break;
        };
        let field = match name.to_ascii_lowercase().as_str() {
            "range" => &mut asked.range,
            "if-match" => &mut asked.condition,
            "authorization" => &mut asked.authorization,
            _ => continue,
        };
        value.clone_into(field);
    }
    Ok(asked)
}

fn head(status: &str, headers: &str, length: usize) -> String {
    format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n")
}

fn say(
    connection: &mut TcpStream,
    status: &str,
    headers: &str,
    body: &[u8],
) -> std::io::Result<()> {
    connection.write_all(head(status, headers, body.len()).as_bytes())?;
    connection.write_all(body)
}
