//! Files by content.

use bitfront_model::{Blob, Manifest, ManifestFile, Place};

use super::{ConvertError, message, messages, present, word};
use crate::v1;
use crate::v1::manifest_file::Place as WirePlace;

impl TryFrom<v1::Blob> for Blob {
    type Error = ConvertError;

    fn try_from(wire: v1::Blob) -> Result<Self, Self::Error> {
        Ok(Self {
            digest: word("digest", &wire.digest)?,
            size_bytes: wire.size_bytes,
        })
    }
}

impl From<Blob> for v1::Blob {
    fn from(blob: Blob) -> Self {
        Self {
            digest: blob.digest.to_string(),
            size_bytes: blob.size_bytes,
        }
    }
}

impl TryFrom<v1::ManifestFile> for ManifestFile {
    type Error = ConvertError;

    fn try_from(wire: v1::ManifestFile) -> Result<Self, Self::Error> {
        Ok(Self {
            place: match present("place", wire.place)? {
                WirePlace::Itself(_) => Place::Itself,
                WirePlace::Inside(name) => Place::Inside(word("inside", &name)?),
                WirePlace::Beside(name) => Place::Beside(word("beside", &name)?),
            },
            blob: message("blob", wire.blob)?,
            url: wire.url.map(|url| word("url", &url)).transpose()?,
            path: wire.path,
        })
    }
}

impl From<&ManifestFile> for v1::ManifestFile {
    fn from(file: &ManifestFile) -> Self {
        let place = match &file.place {
            Place::Itself => WirePlace::Itself(true),
            Place::Inside(name) => WirePlace::Inside(name.to_string()),
            Place::Beside(name) => WirePlace::Beside(name.to_string()),
        };
        Self {
            path: file.path.clone(),
            place: Some(place),
            blob: Some(file.blob.into()),
            url: file.url.as_ref().map(ToString::to_string),
        }
    }
}

/// Reads the manifest of a subject.
pub(crate) fn manifest(wire: Vec<v1::ManifestFile>) -> Result<Manifest, ConvertError> {
    let files = messages("manifest", wire)?;
    Ok(Manifest { files })
}
