//! Access tokens, as clients show them.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use tonic::metadata::{Ascii, MetadataValue};
use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::trace;

/// What the holder of an access token shows; never shown to people.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret as it was made, with whatever white space stands around it.
    ///
    /// # Errors
    ///
    /// [`NoSecret`] where the text cannot be one, so that nothing else is sent in its place.
    pub fn new(text: &str) -> Result<Self, NoSecret> {
        let text = text.trim();
        let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
        match text.starts_with(PREFIX) && text.bytes().all(is_plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(NoSecret),
        }
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("(not shown)")
    }
}

/// How every secret of an access token begins, for people and for scanners of leaked ones.
pub const PREFIX: &str = "bitfront_";

/// The text is no secret of an access token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("no access token: one begins with `{PREFIX}` and is made by `bitfront token add`")]
pub struct NoSecret;

/// Where a client has its access token from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TokenSource {
    /// It was told.
    Told(Secret),
    /// It is read from a file for every call, so that another one counts at once.
    File(PathBuf),
}

/// A file with an access token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenFileError {
    /// It cannot be read.
    #[error("cannot read the access token in `{}`: {reason}", file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// What the system says.
        reason: io::Error,
    },
    /// Others may read it.
    #[error(
        "others than its owner may read the access token in `{file}` (mode {mode:03o}): run \
         `chmod 600 {file}`, and revoke the token where somebody else may have seen it",
        file = file.display()
    )]
    Exposed {
        /// The file.
        file: PathBuf,
        /// Who may do what with it.
        mode: u32,
    },
    /// Something else is in it.
    #[error("`{}` holds {reason}", file.display())]
    Other {
        /// The file.
        file: PathBuf,
        /// What it is not.
        reason: NoSecret,
    },
}

impl TokenSource {
    /// The access token as it is now.
    ///
    /// # Errors
    ///
    /// [`TokenFileError`].
    pub fn secret(&self) -> Result<Secret, TokenFileError> {
        match self {
            Self::Told(secret) => Ok(secret.clone()),
            Self::File(file) => read(file),
        }
    }
}

fn read(file: &Path) -> Result<Secret, TokenFileError> {
    let unreadable = |reason| TokenFileError::Unreadable {
        file: file.to_owned(),
        reason,
    };
    let text = std::fs::read_to_string(file).map_err(unreadable)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::MetadataExt as _;
        let metadata = std::fs::metadata(file).map_err(unreadable)?;
        let mode = metadata.mode() & 0o777;
        if is_exposed(metadata.uid(), mode) {
            return Err(TokenFileError::Exposed {
                file: file.to_owned(),
                mode,
            });
        }
    }
    Secret::new(&text).map_err(|reason| TokenFileError::Other {
        file: file.to_owned(),
        reason,
    })
}

/// Whether others than those whom it was given to may read a file.
///
/// A file of root's may be read by its group: that is how Kubernetes (`fsGroup`) and systemd
/// (`LoadCredential`, where the group's bits are those of an access list) hand one to a process of
/// another user. Postgres's programs go by the same rule for private keys (`be-secure-common.c`).
#[cfg(unix)]
fn is_exposed(owner: u32, mode: u32) -> bool {
    const ROOT: u32 = 0;
    let others = if owner == ROOT { 0o037 } else { 0o077 };
    mode & others != 0
}

/// Shows the access token with every call, where there is one, and names the span that it is made
/// in.
#[derive(Debug, Clone)]
pub struct Bearer(pub(super) Option<TokenSource>);

impl Interceptor for Bearer {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        if let Some(source) = &self.0 {
            let unusable = |error: &dyn fmt::Display| Status::unauthenticated(error.to_string());
            let Secret(text) = source.secret().map_err(|error| unusable(&error))?;
            let value = format!("Bearer {text}").parse::<MetadataValue<Ascii>>();
            let mut value = value.map_err(|_| unusable(&NoSecret))?;
            value.set_sensitive(true);
            request.metadata_mut().insert("authorization", value);
        }
        trace::tell(request.metadata_mut().as_mut());
        Ok(request)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[cfg(unix)]
    #[test]
    fn the_group_may_read_what_root_has_given_it_and_nothing_else() {
        let rows = [
            (0, 0o400, false),
            (0, 0o440, false),
            (0, 0o640, false),
            (0, 0o660, true),
            (0, 0o444, true),
            (1000, 0o600, false),
            (1000, 0o400, false),
            (1000, 0o640, true),
            (1000, 0o440, true),
            (1000, 0o604, true),
        ];
        for (owner, mode, exposed) in rows {
            assert_eq!(is_exposed(owner, mode), exposed, "{owner} {mode:03o}");
        }
    }

    #[test]
    fn a_secret_is_read_where_nobody_else_can_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let source = TokenSource::File(file.clone());
        let error = || source.secret().unwrap_err().to_string();
        assert!(error().starts_with("cannot read the access token in `"));

        std::fs::write(&file, "bitfront_read_0123\n").unwrap();
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt as _;
            for mode in [0o644, 0o660, 0o604] {
                let permissions = std::fs::Permissions::from_mode(mode);
                std::fs::set_permissions(&file, permissions).unwrap();
                let repair = format!("chmod 600 {}", file.display());
                assert!(error().contains(&repair), "{}", error());
            }
            let permissions = std::fs::Permissions::from_mode(0o600);
            std::fs::set_permissions(&file, permissions).unwrap();
        }
        let mut bearer = Bearer(Some(source.clone()));
        let shown = bearer.call(Request::new(())).unwrap();
        let shown = shown.metadata().get("authorization").unwrap();
        assert_eq!(shown.as_bytes(), b"Bearer bitfront_read_0123");
        assert_eq!(format!("{shown:?}"), "Sensitive");
        let told = TokenSource::Told(Secret::new("bitfront_read_0123").unwrap());
        assert!(!format!("{told:?}").contains("0123"));

        for other in ["", "password", "bitfront_\nx", "bitfront_ü"] {
            std::fs::write(&file, other).unwrap();
            assert!(error().contains("holds no access token"), "{}", error());
        }
    }
}
