//! From the paths of a subject to what lies there.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use bitfront_model::{Blob, Digest, FileName, ImatrixSource, ManifestFile, Place, Subject};
use serde::Deserialize;

/// What is read of a model's folder beside its weights, as far as it is there.
pub(crate) const BESIDE_WEIGHTS: [&str; 4] = [
    "config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "chat_template.jinja",
];

/// What is read in the folder of a tokenizer that replaces a model's own, as far as it is there.
pub(crate) const BESIDE_TOKENIZER: [&str; 2] = ["tokenizer_config.json", "chat_template.jinja"];

/// The weights of a folder that has them in one file.
pub(crate) const WEIGHTS: &str = "model.safetensors";

/// Says which files have the weights of a folder that has them in several.
pub(crate) const INDEX: &str = "model.safetensors.index.json";

const READ_BYTES: usize = 1 << 20;

/// What lies under a path cannot be told.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// A file cannot be read.
    #[error("cannot read `{}`: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The index of a model's weights is none.
    #[error("`{}` is no index of weights: {reason}", path.display())]
    Index {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

impl ContentsError {
    fn io(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }
}

/// The files of a model: one, or those of a folder that are read.
///
/// Reads all of them once, to name them by content: SHA-256 takes about half a second for a gigabyte
/// on a core that has instructions for it.
///
/// # Errors
///
/// A file is not there or cannot be read.
pub fn of_model(path: &str) -> Result<Vec<ManifestFile>, ContentsError> {
    let folder = Path::new(path);
    if !folder.is_dir() {
        return Ok(vec![file(path, Place::Itself)?]);
    }
    let mut names = there(folder, &BESIDE_WEIGHTS);
    // As whoever opens the model chooses: one file counts before an index.
    if folder.join(WEIGHTS).exists() {
        names.push(plain(WEIGHTS));
    } else {
        names.push(plain(INDEX));
        names.extend(shards(&folder.join(INDEX))?);
    }
    names
        .into_iter()
        .map(|name| file(path, Place::Inside(name)))
        .collect()
}

/// The files of a subject that are not its model: texts, tokenizer and imatrix.
///
/// # Errors
///
/// As [`of_model`].
pub fn of_the_rest(subject: &Subject) -> Result<Vec<ManifestFile>, ContentsError> {
    let mut files = Vec::new();
    if let Some(tokenizer) = &subject.model.tokenizer_path {
        files.push(file(tokenizer, Place::Itself)?);
        let folder = Path::new(tokenizer).parent().unwrap_or(Path::new("."));
        for name in there(folder, &BESIDE_TOKENIZER) {
            files.push(file(tokenizer, Place::Beside(name))?);
        }
    }
    let mut alone = vec![&subject.data.evaluation_path];
    alone.extend(&subject.data.calibration_path);
    if let ImatrixSource::File { path, .. } = &subject.imatrix {
        alone.push(path);
    }
    for path in alone {
        // One text may be both.
        if !files.iter().any(|known| &known.path == path) {
            files.push(file(path, Place::Itself)?);
        }
    }
    Ok(files)
}

/// Names a file of a subject by content.
fn file(path: &str, place: Place) -> Result<ManifestFile, ContentsError> {
    let mut file = ManifestFile {
        path: path.to_owned(),
        place,
        blob: Blob {
            digest: Digest::of([]),
            size_bytes: 0,
        },
        url: None,
    };
    file.blob = of_file(&file.whereabouts())?;
    Ok(file)
}

/// What a file holds.
pub(crate) fn of_file(path: &Path) -> Result<Blob, ContentsError> {
    let mut file = File::open(path).map_err(ContentsError::io(path))?;
    let mut digest = Digest::stream();
    let mut size_bytes = 0;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        let read = file.read(&mut buffer).map_err(ContentsError::io(path))?;
        if read == 0 {
            break;
        }
        digest.add(&buffer[..read]);
        size_bytes += read as u64;
    }
    let digest = digest.finish();
    Ok(Blob { digest, size_bytes })
}

fn there(folder: &Path, names: &[&str]) -> Vec<FileName> {
    let there = names.iter().filter(|&&name| folder.join(name).exists());
    there.map(|name| plain(name)).collect()
}

/// What a file is called in a folder of links: as where it comes from, since the end of the name says
/// how a text is read and the beginning what a model is called; where that is no plain name, by its
/// end alone.
pub fn own_name(path: &str) -> FileName {
    let name = path.rsplit(['/', '\\']).next().unwrap_or_default();
    let end = Path::new(name).extension().and_then(|end| end.to_str());
    let by_its_end = || format!("file.{}", end.unwrap_or("bin")).parse();
    let own = name.parse().or_else(|_| by_its_end());
    own.unwrap_or_else(|_| plain("file"))
}

/// A name of this file's own constants.
pub(crate) fn plain(name: &str) -> FileName {
    name.parse().expect("it is a plain name")
}

#[derive(Deserialize)]
struct Index {
    weight_map: std::collections::BTreeMap<String, FileName>,
}

/// The files that an index names, each once.
pub(crate) fn shards(index: &Path) -> Result<Vec<FileName>, ContentsError> {
    let text = std::fs::read_to_string(index).map_err(ContentsError::io(index))?;
    let read: Index = serde_json::from_str(&text).map_err(|error| ContentsError::Index {
        path: index.to_owned(),
        reason: error.to_string(),
    })?;
    let mut names: Vec<_> = read.weight_map.into_values().collect();
    names.sort();
    names.dedup();
    Ok(names)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bitfront_model::{DataSpec, Manifest, ModelSource};

    use super::*;

    fn places(files: &[ManifestFile]) -> Vec<String> {
        let named = files.iter().map(|file| match &file.place {
            Place::Itself => file.path.clone(),
            Place::Inside(name) => format!("inside {name}"),
            Place::Beside(name) => format!("beside {name}"),
        });
        named.collect()
    }

    #[test]
    fn of_a_folder_what_is_read_counts_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        let write =
            |name: &str, text: &str| std::fs::write(folder.path().join(name), text).unwrap();
        for name in [
            "config.json",
            "tokenizer.json",
            "README.md",
            "a.safetensors",
        ] {
            write(name, name);
        }
        write("b.safetensors", "the second");
        let index =
            r#"{"weight_map": {"x": "b.safetensors", "y": "a.safetensors", "z": "b.safetensors"}}"#;
        write(INDEX, index);
        let files = of_model(path).unwrap();
        let inside = [
            "config.json",
            "tokenizer.json",
            INDEX,
            "a.safetensors",
            "b.safetensors",
        ];
        assert_eq!(places(&files), inside.map(|name| format!("inside {name}")));
        let blob = Blob {
            digest: Digest::of("the second"),
            size_bytes: 10,
        };
        assert_eq!(files[4].blob, blob);
        assert_eq!(files[4].whereabouts(), folder.path().join("b.safetensors"));
        assert_eq!(Manifest { files }.check(), Ok(()));

        write(WEIGHTS, "all of them");
        let files = of_model(path).unwrap();
        let inside = ["config.json", "tokenizer.json", WEIGHTS];
        assert_eq!(places(&files), inside.map(|name| format!("inside {name}")));
    }

    #[test]
    fn a_file_keeps_a_plain_name_and_the_end_of_any_other() {
        let cases = [
            ("/models/tiny.gguf", "tiny.gguf"),
            ("C:\\models\\tiny.gguf", "tiny.gguf"),
            ("/texts/größe.jsonl", "file.jsonl"),
            ("/texts/größe", "file.bin"),
            ("/texts/a.größe", "file"),
            ("/texts/..", "file.bin"),
            ("", "file.bin"),
        ];
        for (path, name) in cases {
            assert_eq!(own_name(path).as_str(), name, "{path}");
        }
    }

    #[test]
    fn an_index_leads_to_no_other_folder() {
        let folder = tempfile::tempdir().unwrap();
        let index = r#"{"weight_map": {"x": "../secret"}}"#;
        std::fs::write(folder.path().join(INDEX), index).unwrap();
        let error = of_model(folder.path().to_str().unwrap()).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains(INDEX) && error.contains("../secret"),
            "{error}"
        );
    }

    #[test]
    fn the_rest_of_a_subject_is_every_path_once() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, name).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let text = path("text.jsonl");
        let (tokenizer, _) = (path("own.json"), path("tokenizer_config.json"));
        let digest = Digest::of("any");
        let mut subject = Subject {
            model: ModelSource {
                path: "/nowhere".to_owned(),
                tokenizer_path: Some(tokenizer.clone()),
                digest,
            },
            data: DataSpec {
                evaluation_path: text.clone(),
                calibration_path: Some(text.clone()),
                context: 64,
                evaluation_windows: 2,
                calibration_windows: 2,
                evaluation_digest: digest,
                calibration_digest: digest,
                held_back: None,
            },
            imatrix: ImatrixSource::Calibration,
            manifest: Manifest::default(),
        };
        let files = of_the_rest(&subject).unwrap();
        let expected = [&tokenizer, "beside tokenizer_config.json", &text];
        assert_eq!(places(&files), expected);
        assert_eq!(Manifest { files }.check(), Ok(()));

        subject.data.calibration_path = Some("/nowhere/text".to_owned());
        let error = of_the_rest(&subject).unwrap_err().to_string();
        assert!(error.contains("/nowhere/text"), "{error}");
    }
}
