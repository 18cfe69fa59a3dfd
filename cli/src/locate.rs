//! Where a file is: under a path, or downloaded first, by the name of a model or by a URL.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bitfront_model::{FileUrl, ManifestFile};
use bitfront_weights::remote::{self, Typed};
use bitfront_weights::{Downloads, Hub, HubModel};

use crate::printer::Printer;
use crate::problem::Problem;
use crate::settings::{ImatrixChoice, SearchSettings};

/// A file, or the folder of a model, that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    /// From the root, so that an agent finds it from wherever it was started.
    pub(crate) path: PathBuf,
    /// What it is called, where its path does not say.
    pub(crate) name: Option<String>,
    origin: Origin,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// It is on this machine, and perhaps on others.
    Here,
    Hub,
    Url(FileUrl),
}

impl Located {
    /// What is under a path, which is meant from the root.
    pub(crate) fn here(path: PathBuf) -> Self {
        Self {
            path,
            name: None,
            origin: Origin::Here,
        }
    }

    /// Whether no other machine has it under its path, or can read it from where it came.
    pub(crate) fn is_for_this_machine(&self) -> bool {
        self.origin == Origin::Hub
    }

    /// Says of the files of its path where others can read them too.
    pub(crate) fn tell_urls<'a>(&self, files: impl IntoIterator<Item = &'a mut ManifestFile>) {
        if let Origin::Url(url) = &self.origin {
            let own = files.into_iter();
            for file in own.filter(|file| Path::new(&file.path) == self.path) {
                file.url = Some(file.url_from(url));
            }
        }
    }
}

/// The files of a search.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) model: Located,
    pub(crate) data: Located,
    pub(crate) calibration: Option<Located>,
    pub(crate) tokenizer: Option<Located>,
    pub(crate) imatrix: Option<Located>,
}

impl Files {
    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Located> {
        let Self {
            model,
            data,
            calibration,
            tokenizer,
            imatrix,
        } = self;
        let others = [calibration, tokenizer, imatrix].into_iter().flatten();
        [model, data].into_iter().chain(others)
    }
}

/// Finds what was typed, and downloads what is elsewhere.
pub(crate) struct Locator {
    pub(crate) hub: Hub,
    pub(crate) downloads: Downloads,
    pub(crate) printer: Printer,
}

impl Locator {
    /// All files that a search is to read.
    pub(crate) async fn files(&self, settings: &SearchSettings) -> anyhow::Result<Files> {
        let SearchSettings {
            model,
            data,
            calibration,
            tokenizer,
            imatrix,
            ..
        } = settings;
        let imatrix = match imatrix {
            ImatrixChoice::File(path) => Some(path),
            ImatrixChoice::None | ImatrixChoice::Calibration => None,
        };
        Ok(Files {
            model: self.model(model).await?,
            data: self.file(data).await?,
            calibration: match calibration {
                Some(path) => Some(self.file(path).await?),
                None => None,
            },
            tokenizer: match tokenizer {
                Some(path) => Some(self.tokenizer(path).await?),
                None => None,
            },
            imatrix: match imatrix {
                Some(path) => Some(self.file(path).await?),
                None => None,
            },
        })
    }

    /// A model under a path, by its name at the Hub, or by its URL.
    pub(crate) async fn model(&self, typed: &Path) -> anyhow::Result<Located> {
        if let Some(text) = typed.to_str().filter(|text| HubModel::is_meant(text)) {
            return self.named(text).await;
        }
        let url = match understood(typed)? {
            Typed::Path(path) => return Ok(Located::here(path)),
            Typed::Url(url) => url,
        };
        let path = self.downloads.model(&url, &self.progress()).await?;
        Ok(Located {
            path,
            name: Some(url.name().trim_end_matches(".gguf").to_owned()),
            origin: Origin::Url(url),
        })
    }

    async fn named(&self, text: &str) -> anyhow::Result<Located> {
        let model: HubModel = text
            .parse()
            .map_err(|error| Problem::usage(format!("{error}")))?;
        let name = Some(model.name().to_owned());
        let (hub, printer) = (self.hub.clone(), self.printer.clone());
        let downloaded = tokio::task::spawn_blocking(move || {
            hub.download(&model, &mut |line| printer.say(line))
        });
        Ok(Located {
            path: downloaded.await??,
            name,
            origin: Origin::Hub,
        })
    }

    /// Any other file, under a path or by its URL.
    pub(crate) async fn file(&self, typed: &Path) -> anyhow::Result<Located> {
        let url = match understood(typed)? {
            Typed::Path(path) => return Ok(Located::here(path)),
            Typed::Url(url) => url,
        };
        let path = self.downloads.file(&url, &self.progress()).await?;
        Ok(downloaded(path, url))
    }

    /// A tokenizer under a path or by its URL, with what is read beside it.
    pub(crate) async fn tokenizer(&self, typed: &Path) -> anyhow::Result<Located> {
        let url = match understood(typed)? {
            Typed::Path(path) => return Ok(Located::here(path)),
            Typed::Url(url) => url,
        };
        let path = self.downloads.tokenizer(&url, &self.progress()).await?;
        Ok(downloaded(path, url))
    }

    fn progress(&self) -> impl Fn(&str) + Sync {
        |line: &str| self.printer.say(line)
    }
}

fn downloaded(path: PathBuf, url: FileUrl) -> Located {
    Located {
        path,
        name: None,
        origin: Origin::Url(url),
    }
}

/// A path from the root, or a URL.
fn understood(typed: &Path) -> anyhow::Result<Typed> {
    let path = match typed.to_str().filter(|text| remote::is_url(text)) {
        Some(text) => match remote::typed(text) {
            Ok(Typed::Path(path)) => path,
            Ok(url) => return Ok(url),
            Err(error) => return Err(Problem::usage(format!("{error}")).into()),
        },
        None => typed.to_owned(),
    };
    let path = std::path::absolute(&path);
    let path = path.with_context(|| format!("cannot resolve `{}`", typed.display()))?;
    Ok(Typed::Path(path))
}
