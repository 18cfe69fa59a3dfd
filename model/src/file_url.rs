//! Where a file can be read by whoever may, without a coordinator: its URL.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::FileName;

/// What the URL of a file begins with, as far as it is known how to read it.
pub const SCHEMES: [&str; 10] = [
    "s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "http", "https",
];

/// Those in which a name before `@` is that of a container and no user's.
const CONTAINERS: [&str; 3] = ["az", "abfs", "abfss"];

/// The URL of a file, or of a folder that has some, in an object store or on a web server.
///
/// It says where the bytes are and never by which right they are read: it is stored with its search
/// and shown to everybody, so a user, a password and a query, which is where signatures are, are
/// refused.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileUrl(String);

/// The text is no URL of a file. What may be secret is not shown.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidFileUrl {
    /// It has not the form.
    #[error(
        "`{}` is no URL of a file: SCHEME://PLACE/NAME is expected, at most {most} bytes without \
         spaces", .0.escape_debug(), most = FileUrl::MOST_BYTES
    )]
    Form(String),
    /// Nobody knows how to read it.
    #[error(
        "`{}`: files are read by {}, and not by `{}`", url.escape_debug(), SCHEMES.join(", "),
        scheme.escape_debug()
    )]
    Scheme {
        /// The URL.
        url: String,
        /// What it begins with.
        scheme: String,
    },
    /// It says who reads it.
    #[error(
        "the URL `{}` came with a user or a password, and would be stored and shown with them: name \
         it without, and set credentials in the environment of whoever reads it", .0.escape_debug()
    )]
    Credentials(String),
    /// It may be signed.
    #[error(
        "the URL `{}` came with a `?` or a `#`: a signature there would be stored and shown, and would \
         expire. Name it without, and set credentials in the environment of whoever reads it, or \
         download the file and give its path", .0.escape_debug()
    )]
    Query(String),
}

impl FileUrl {
    /// The longest URL.
    pub const MOST_BYTES: usize = 2000;

    /// The URL as text, which ends with no `/`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The last part of it, as it is written there.
    pub fn name(&self) -> &str {
        let end = self.0.rfind('/').expect("it has a scheme and a name");
        &self.0[end + 1..]
    }

    /// A file in the folder that this is the URL of.
    pub fn inside(&self, name: &FileName) -> Self {
        Self(format!("{}/{name}", self.0))
    }

    /// A file in the folder in which this one is.
    pub fn beside(&self, name: &FileName) -> Self {
        let end = self.0.rfind('/').expect("it has a scheme and a name");
        Self(format!("{}/{name}", &self.0[..end]))
    }
}

impl FromStr for FileUrl {
    type Err = InvalidFileUrl;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // Before a part that may be secret is found nothing of the text is shown.
        let plain = text.split(['?', '#']).next().unwrap_or_default();
        let Some((scheme, rest)) = plain.split_once("://") else {
            return Err(InvalidFileUrl::Form(shortened(plain)));
        };
        let (place, name) = rest.split_once('/').unwrap_or((rest, ""));
        let (user, host) = match place.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, place),
        };
        let is_cut = plain.len() < text.len();
        let has_port = host.rsplit_once(':').is_none_or(|(_, port)| {
            host.ends_with(']') || port.bytes().all(|byte| byte.is_ascii_digit())
        });
        // What looks like a host may be the beginning of a password with `/`, `?` or `#` in it.
        let shown = match has_port && (rest.contains('/') || !is_cut) {
            true => shortened(&format!("{scheme}://{host}/{name}")),
            false => format!("{scheme}://"),
        };
        let is_user = |user: &str| !CONTAINERS.contains(&scheme) || user.contains(':');
        if !has_port || user.is_some_and(is_user) {
            return Err(InvalidFileUrl::Credentials(shown));
        }
        if is_cut {
            return Err(InvalidFileUrl::Query(shown));
        }
        if !SCHEMES.contains(&scheme) {
            let scheme = scheme.to_owned();
            return Err(InvalidFileUrl::Scheme { url: shown, scheme });
        }
        let odd = |character: char| character.is_whitespace() || character.is_control();
        let url = plain.trim_end_matches('/');
        let is_whole = !host.is_empty() && !name.trim_matches('/').is_empty();
        match is_whole && url.len() <= Self::MOST_BYTES && !url.contains(odd) {
            true => Ok(Self(url.to_owned())),
            false => Err(InvalidFileUrl::Form(shown)),
        }
    }
}

/// So much of a text as belongs into a message.
fn shortened(text: &str) -> String {
    text.chars().take(200).collect()
}

impl TryFrom<String> for FileUrl {
    type Error = InvalidFileUrl;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FileUrl> for String {
    fn from(url: FileUrl) -> Self {
        url.0
    }
}

impl fmt::Display for FileUrl {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_a_file_and_others_near_it() {
        for (text, name) in [
            ("s3://bucket/models/tiny/", "tiny"),
            ("gs://bucket/a@b.gguf", "a@b.gguf"),
            (
                "abfss://container@account.dfs.core.windows.net/x.gguf",
                "x.gguf",
            ),
            ("https://host:8080/größe%20a.jsonl", "größe%20a.jsonl"),
        ] {
            let url: FileUrl = text.parse().unwrap();
            assert_eq!(url.as_str(), text.trim_end_matches('/'));
            assert_eq!(url.name(), name);
            let json = serde_json::to_string(&url).unwrap();
            assert_eq!(serde_json::from_str::<FileUrl>(&json).unwrap(), url);
        }
        let url: FileUrl = "s3://bucket/models/tiny".parse().unwrap();
        let name = "config.json".parse().unwrap();
        assert_eq!(
            url.inside(&name).as_str(),
            "s3://bucket/models/tiny/config.json"
        );
        assert_eq!(url.beside(&name).as_str(), "s3://bucket/models/config.json");
    }

    #[test]
    fn what_is_no_url_or_may_be_secret_is_refused_and_no_secret_is_shown() {
        let long = format!("s3://bucket/{}", "a".repeat(2000));
        let cases = [
            ("/models/tiny", "is no URL of a file"),
            ("s3://bucket", "is no URL of a file"),
            ("s3://bucket//", "is no URL of a file"),
            ("s3:///name", "is no URL of a file"),
            ("s3://bucket/a b", "is no URL of a file"),
            ("s3://bucket/a\nb", "is no URL of a file"),
            (&long, "is no URL of a file"),
            ("ftp://host/x", "and not by `ftp`"),
            ("S3://host/x", "and not by `S3`"),
            ("https://secret@host/x", "`https://host/x` came with a user"),
            (
                "s3://me:secret@bucket/x",
                "`s3://bucket/x` came with a user",
            ),
            ("ftp://me:secret@host/x", "`ftp://host/x` came with a user"),
            (
                "az://box:secret@account/x",
                "`az://account/x` came with a user",
            ),
            (
                "https://host/x?sig=secret",
                "`https://host/x` came with a `?`",
            ),
            (
                "https://me:secret@host/x?a#b",
                "`https://host/x` came with a user",
            ),
            ("s3://bucket/x#=secret", "`s3://bucket/x` came with a `?`"),
            ("s3://me:secret?secret@bucket/x", "`s3://` came with a user"),
            ("s3://me:secret/secret@bucket/x", "`s3://` came with a user"),
            ("s3://me:1?secret@bucket/x", "`s3://` came with a `?`"),
            ("name?x", "is no URL of a file"),
        ];
        let mut wrong = Vec::new();
        for (text, expected) in cases {
            let error = text.parse::<FileUrl>().unwrap_err().to_string();
            let is_secret = text.contains("secret@") || text.contains("=secret");
            if !error.contains(expected) || (is_secret && error.contains("secret")) {
                wrong.push(format!("{text}: {error}"));
            }
            let json = serde_json::to_string(text).unwrap();
            assert!(serde_json::from_str::<FileUrl>(&json).is_err(), "{text}");
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }
}
