//! Where a model is: under a path, or downloaded by its name first.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use bitfront_weights::{Hub, HubModel};

use crate::printer::Printer;
use crate::problem::Problem;

/// A model that was typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Located {
    /// From the root, so that an agent finds it from wherever it was started.
    pub(crate) path: PathBuf,
    /// What it is called, where its path does not say.
    pub(crate) name: Option<String>,
}

impl Located {
    /// Whether it was downloaded: no other machine has it under its path.
    pub(crate) fn is_downloaded(&self) -> bool {
        self.name.is_some()
    }
}

/// Understands a path or the name of a model, and downloads what is named. Blocks.
pub(crate) fn locate(typed: &Path, hub: &Hub, printer: &Printer) -> anyhow::Result<Located> {
    let name = typed.to_str().filter(|text| HubModel::is_meant(text));
    let Some(text) = name else {
        let path = std::path::absolute(typed)
            .with_context(|| format!("cannot resolve `{}`", typed.display()))?;
        return Ok(Located { path, name: None });
    };
    let model: HubModel = text
        .parse()
        .map_err(|error| Problem::usage(format!("{error}")))?;
    let path = hub.download(&model, &mut |line| printer.say(line))?;
    Ok(Located {
        path,
        name: Some(model.name().to_owned()),
    })
}
