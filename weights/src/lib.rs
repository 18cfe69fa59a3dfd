//! Files by content: what a subject's files hold, and where their bytes are kept.
//!
//! - [`contents`]: from the paths of a subject to the digests of what lies there;
//! - [`hugging_face`]: models of the Hugging Face Hub by name;
//! - [`remote`]: models and texts by URL, from object stores and web servers;
//! - [`folder`]: a folder of blobs, which are there whole and checked, or in part.
//!
//! A blob is a file's bytes, known by their SHA-256 digest. The digest in hexadecimal is the only
//! name that a blob has on a disk, so nothing that another machine says becomes a path.

pub mod contents;
pub mod folder;
pub mod hugging_face;
pub mod remote;

use std::time::Duration;

pub use contents::ContentsError;
pub use folder::{BlobError, BlobFolder, Receiving, is_blob};
pub use hugging_face::{Hub, HubError, HubModel};
pub use remote::{DownloadError, Downloads, Remote, RemoteError};

/// How often in a row a file is gone on with after its download broke.
pub const RESUMPTIONS: u32 = 4;

/// Before the first of them; doubled with each.
pub(crate) const FIRST_PAUSE: Duration = Duration::from_millis(300);
