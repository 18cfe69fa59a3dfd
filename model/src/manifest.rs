//! What the files of a subject hold, byte by byte, so that a device that has none of them can get
//! them and knows that it got the right ones.

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{Digest, FileUrl};

/// A file's bytes, known by their SHA-256 digest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Blob {
    /// SHA-256 of the bytes.
    pub digest: Digest,
    /// How many there are.
    pub size_bytes: u64,
}

/// The plain name of a file: letters, digits, `.`, `_` and `-` of ASCII, at most 200 of them, and
/// no `.` at its beginning. It can stand in any folder and leads to no other.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

/// The text is no plain name of a file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{}` is no plain name of a file: at most {most} letters, digits, `.`, `_` and `-` of ASCII are \
     expected, with no `.` at the beginning", .0.escape_debug(), most = FileName::MOST_BYTES
)]
pub struct InvalidFileName(pub String);

impl FileName {
    /// The longest name.
    pub const MOST_BYTES: usize = 200;

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FileName {
    type Err = InvalidFileName;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
        let length = (1..=Self::MOST_BYTES).contains(&text.len());
        match length && !text.starts_with('.') && text.bytes().all(plain) {
            true => Ok(Self(text.to_owned())),
            false => Err(InvalidFileName(
                text.chars().take(Self::MOST_BYTES).collect(),
            )),
        }
    }
}

impl TryFrom<String> for FileName {
    type Error = InvalidFileName;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<FileName> for String {
    fn from(name: FileName) -> Self {
        name.0
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.0)
    }
}

/// Where a file lies, seen from a path that a subject names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// It is what lies under the path.
    Itself,
    /// In the folder that lies there.
    Inside(FileName),
    /// In the same folder: what is read of a tokenizer beside its own file.
    Beside(FileName),
}

/// A file of a subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ManifestFile {
    /// A path that the subject names.
    pub path: String,
    /// Where the file lies from there.
    pub place: Place,
    /// What it holds.
    pub blob: Blob,
    /// Where whoever may read it finds it too, should it be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub url: Option<FileUrl>,
}

impl ManifestFile {
    /// Where the file is, if its path stands for what is at a URL.
    pub fn url_from(&self, url: &FileUrl) -> FileUrl {
        match &self.place {
            Place::Itself => url.clone(),
            Place::Inside(name) => url.inside(name),
            Place::Beside(name) => url.beside(name),
        }
    }

    /// Where it lies on a machine on which the subject's paths mean something.
    pub fn whereabouts(&self) -> PathBuf {
        let path = Path::new(&self.path);
        match &self.place {
            Place::Itself => path.to_owned(),
            Place::Inside(name) => path.join(name.as_str()),
            Place::Beside(name) => path.with_file_name(name.as_str()),
        }
    }
}

/// The files of a subject with what they hold. Empty in requests from before there were any: their
/// files are found under their paths alone.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Manifest {
    /// One entry for every file that is read, grouped by path.
    pub files: Vec<ManifestFile>,
}

/// A manifest cannot be that of a subject.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// No model has so many files.
    #[error("names {0} files; at most {most} are possible", most = Manifest::MOST_FILES)]
    TooMany(usize),
    /// One place has two files.
    #[error("names a file twice, of the path `{0}`")]
    Twice(String),
    /// A path is a file and a folder.
    #[error("names the path `{0}` as a file and as a folder")]
    FileAndFolder(String),
}

impl Manifest {
    /// More files than any model has.
    pub const MOST_FILES: usize = 10_000;

    /// The files of a path that the subject names.
    pub fn at<'a>(&'a self, path: &'a str) -> impl Iterator<Item = &'a ManifestFile> + Clone {
        self.files.iter().filter(move |file| file.path == path)
    }

    /// Whether it can be that of a subject.
    ///
    /// # Errors
    ///
    /// Two files have one place, a path is both file and folder, or there are too many.
    pub fn check(&self) -> Result<(), ManifestError> {
        if self.files.len() > Self::MOST_FILES {
            return Err(ManifestError::TooMany(self.files.len()));
        }
        let mut places = HashSet::new();
        let (mut folders, mut others) = (HashSet::new(), HashSet::new());
        for ManifestFile { path, place, .. } in &self.files {
            if !places.insert((path, place)) {
                return Err(ManifestError::Twice(path.clone()));
            }
            match place {
                Place::Inside(_) => folders.insert(path),
                Place::Itself | Place::Beside(_) => others.insert(path),
            };
        }
        match folders.intersection(&others).next() {
            Some(path) => Err(ManifestError::FileAndFolder((*path).clone())),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_no_other_folder() {
        for name in ["config.json", "model-00001-of-00002.safetensors", "A_b-c.1"] {
            assert_eq!(name.parse::<FileName>().unwrap().as_str(), name);
        }
        let long = "a".repeat(201);
        for name in [
            "", ".", "..", ".hidden", "a/b", "../a", "a\\b", "C:a", "a\0", "ä", "a b", &long,
        ] {
            assert!(name.parse::<FileName>().is_err(), "{name}");
            let json = serde_json::to_string(name).unwrap();
            assert!(serde_json::from_str::<FileName>(&json).is_err(), "{name}");
        }
    }

    #[test]
    fn a_file_reads_back_with_its_url_and_one_from_before_there_were_any_without() {
        let before = format!(
            r#"{{"path":"/text","place":"itself","blob":{{"digest":"{}","size_bytes":5}}}}"#,
            Digest::of("bytes")
        );
        let mut file: ManifestFile = serde_json::from_str(&before).unwrap();
        assert_eq!(file.url, None);
        assert_eq!(serde_json::to_string(&file).unwrap(), before);
        file.url = Some("s3://bucket/text".parse().unwrap());
        let json = serde_json::to_string(&file).unwrap();
        assert_eq!(serde_json::from_str::<ManifestFile>(&json).unwrap(), file);
        let signed = json.replace("s3://", "https://me:secret@");
        assert!(serde_json::from_str::<ManifestFile>(&signed).is_err());
    }

    #[test]
    fn files_of_a_path_are_near_its_url() {
        let url: FileUrl = "s3://bucket/tiny/own.json".parse().unwrap();
        let name: FileName = "config.json".parse().unwrap();
        let at = |place: Place| {
            let file = ManifestFile {
                path: "/anywhere".to_owned(),
                place,
                blob: Blob {
                    digest: Digest::of("bytes"),
                    size_bytes: 5,
                },
                url: None,
            };
            file.url_from(&url).to_string()
        };
        assert_eq!(at(Place::Itself), "s3://bucket/tiny/own.json");
        let inside = at(Place::Inside(name.clone()));
        assert_eq!(inside, "s3://bucket/tiny/own.json/config.json");
        assert_eq!(at(Place::Beside(name)), "s3://bucket/tiny/config.json");
    }

    #[test]
    fn what_no_subject_can_have_is_refused() {
        let blob = Blob {
            digest: Digest::of("bytes"),
            size_bytes: 5,
        };
        let file = |path: &str, place: &Place| ManifestFile {
            path: path.to_owned(),
            place: place.clone(),
            blob,
            url: None,
        };
        let inside = Place::Inside("config.json".parse().unwrap());
        let sound = Manifest {
            files: vec![file("/model", &inside), file("/text", &Place::Itself)],
        };
        assert_eq!(sound.check(), Ok(()));
        assert_eq!(sound.at("/model").count(), 1);
        let twice = Manifest {
            files: vec![file("/model", &inside), file("/model", &inside)],
        };
        assert_eq!(twice.check(), Err(ManifestError::Twice("/model".into())));
        let both = Manifest {
            files: vec![file("/model", &inside), file("/model", &Place::Itself)],
        };
        let expected = ManifestError::FileAndFolder("/model".into());
        assert_eq!(both.check(), Err(expected));
        let many = Manifest {
            files: vec![file("/model", &inside); Manifest::MOST_FILES + 1],
        };
        assert_eq!(many.check(), Err(ManifestError::TooMany(10_001)));
    }
}
