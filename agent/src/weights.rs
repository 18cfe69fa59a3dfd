//! What must be on the device before a task can be measured.
//!
//! A subject names its files by the paths under which the submitter saw them and by the digests of
//! what they hold. [`resolve`] turns that into paths on this device. Today the paths must be the
//! same on every device; fetching a file by its digest belongs here, and nothing else has to know.

use std::io;
use std::path::PathBuf;

use bitfront_model::{Digest, ImatrixSource, Subject};

/// A file that a task needs is not here.
#[derive(Debug, thiserror::Error)]
pub enum WeightsError {
    /// Nothing lies under the path.
    #[error(
        "this device has no {what} at `{}`{}; copy it there, or run the agent where it is",
        path.display(), wanted(*digest)
    )]
    Missing {
        /// What the file is for.
        what: &'static str,
        /// Where it was looked for.
        path: PathBuf,
        /// The digest of what it must hold, where the subject tells.
        digest: Option<Digest>,
    },
    /// The path cannot be read.
    #[error("the {what} at `{}` cannot be read: {source}", path.display())]
    Unreadable {
        /// What the file is for.
        what: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

fn wanted(digest: Option<Digest>) -> String {
    digest.map_or_else(String::new, |digest| {
        format!(" (the search needs the one with digest {digest})")
    })
}

/// The subject with the paths under which its files lie on this device.
///
/// Every file is there. Whether it holds what the search was submitted with is told by
/// [`Runtime::open`](bitfront_runtime::Runtime::open), which reads it: the digests of model and
/// text are of what is understood of them, not of their bytes.
pub fn resolve(subject: &Subject) -> Result<Subject, WeightsError> {
    let Subject {
        model,
        data,
        imatrix,
    } = subject;
    there("model", &model.path, Some(model.digest))?;
    if let Some(path) = &model.tokenizer_path {
        there("tokenizer", path, None)?;
    }
    let evaluation = Some(data.evaluation_digest);
    there("evaluation text", &data.evaluation_path, evaluation)?;
    if let Some(path) = &data.calibration_path {
        there("calibration text", path, Some(data.calibration_digest))?;
    }
    if let ImatrixSource::File { path, digest } = imatrix {
        there("imatrix", path, Some(*digest))?;
    }
    Ok(subject.clone())
}

fn there(what: &'static str, path: &str, digest: Option<Digest>) -> Result<(), WeightsError> {
    let path = PathBuf::from(path);
    match path.try_exists() {
        Ok(true) => Ok(()),
        Ok(false) => Err(WeightsError::Missing { what, path, digest }),
        Err(source) => Err(WeightsError::Unreadable { what, path, source }),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::path::Path;

    use bitfront_model::{DataSpec, HeldBack, ModelSource};

    use super::*;

    fn subject(folder: &Path) -> Subject {
        let path = |name: &str| {
            let path = folder.join(name);
            std::fs::write(&path, name).unwrap();
            path.to_str().unwrap().to_owned()
        };
        Subject {
            model: ModelSource {
                path: path("model.gguf"),
                tokenizer_path: Some(path("tokenizer.json")),
                digest: Digest::of("the model"),
            },
            data: DataSpec {
                evaluation_path: path("evaluation.txt"),
                calibration_path: Some(path("calibration.txt")),
                context: 64,
                evaluation_windows: 2,
                calibration_windows: 2,
                evaluation_digest: Digest::of("evaluation"),
                calibration_digest: Digest::of("calibration"),
                held_back: Some(HeldBack {
                    windows: 2,
                    digest: Digest::of("held back"),
                }),
            },
            imatrix: ImatrixSource::File {
                path: path("model.imatrix"),
                digest: Digest::of("model.imatrix"),
            },
        }
    }

    #[test]
    fn a_missing_file_is_named_with_what_it_is_for() {
        let folder = tempfile::tempdir().unwrap();
        let subject = subject(folder.path());
        assert_eq!(resolve(&subject).unwrap(), subject);
        for (name, what, digest) in [
            (
                "model.gguf",
                "model",
                Some(Digest::of("the model").to_string()),
            ),
            ("tokenizer.json", "tokenizer", None),
            ("evaluation.txt", "evaluation text", None),
            ("calibration.txt", "calibration text", None),
            ("model.imatrix", "imatrix", None),
        ] {
            let path = folder.path().join(name);
            let aside = folder.path().join("aside");
            std::fs::rename(&path, &aside).unwrap();
            let message = resolve(&subject).unwrap_err().to_string();
            std::fs::rename(&aside, &path).unwrap();
            let named = message.contains(&format!("no {what} at `{}`", path.display()));
            assert!(named, "{name}: {message}");
            if let Some(digest) = digest {
                assert!(message.contains(&digest), "{name}: {message}");
            }
        }
    }
}
