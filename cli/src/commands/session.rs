//! What every verb is given, and how it comes by a coordinator.

use std::path::PathBuf;

use bitfront_weights::Downloads;

use crate::args::ListingArguments;
use crate::client::{Access, Client};
use crate::config::Config;
use crate::listing::Listing;
use crate::locate::Locator;
use crate::printer::Printer;
use crate::settings::Coordinator;

#[cfg(feature = "local")]
use crate::args::AcceleratorArguments;
#[cfg(feature = "local")]
use crate::local::{self, Local, Place};
use crate::problem::Problem;

/// What every verb is given.
pub(super) struct Session {
    pub(super) coordinator: Coordinator,
    pub(super) access: Access,
    pub(super) config: Config,
    pub(super) printer: Printer,
}

/// A coordinator that can be asked, for as long as this lives.
pub(super) struct Connection {
    pub(super) client: Client,
    #[cfg(feature = "local")]
    local: Option<Local>,
}

/// Whether an embedded coordinator needs somebody who measures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Agent {
    /// The verb only asks and tells.
    NotNeeded,
    /// The verb waits for measurements.
    Needed,
}

impl Session {
    /// What every verb is given.
    pub(super) fn new(
        coordinator: Coordinator,
        access: Access,
        config: Config,
        printer: Printer,
    ) -> Self {
        Self {
            coordinator,
            access,
            config,
            printer,
        }
    }

    /// Connects to the coordinator; an embedded one is started first.
    #[cfg(feature = "local")]
    pub(super) async fn connect(&self, agent: Agent) -> anyhow::Result<Connection> {
        match &self.coordinator {
            Coordinator::Remote(url) => Ok(Connection {
                client: Client::connect(url, &self.access).await?,
                local: None,
            }),
            Coordinator::OneOf(_) => Err(several()),
            Coordinator::Embedded => {
                let place = Place::new(&self.config);
                let local = Local::start(&place, agent == Agent::Needed).await?;
                Ok(Connection {
                    client: local.client().await?,
                    local: Some(local),
                })
            }
        }
    }

    /// Connects to the coordinator.
    #[cfg(not(feature = "local"))]
    pub(super) async fn connect(&self, _agent: Agent) -> anyhow::Result<Connection> {
        match &self.coordinator {
            Coordinator::Remote(url) => Ok(Connection {
                client: Client::connect(url, &self.access).await?,
            }),
            Coordinator::OneOf(_) => Err(several()),
            Coordinator::Embedded => Err(Problem::usage(
                "this build of bitfront is a client only and has no coordinator of its own",
            )
            .with_hint("name one with --coordinator http://host:7311")
            .into()),
        }
    }

    /// The same session, whose agent measures on the accelerator that was typed, where one was.
    #[cfg(feature = "local")]
    pub(super) fn measuring_on(mut self, typed: AcceleratorArguments) -> Result<Self, Problem> {
        let Some(name) = typed.accelerator else {
            return Ok(self);
        };
        if let Coordinator::Remote(url) = &self.coordinator {
            return Err(Problem::usage(format!(
                "--accelerator: it is agents of {url} that measure, and none of this process"
            ))
            .with_hint("give it to `bitfront agent` on the machine that has the accelerator"));
        }
        self.config.measuring.accelerator = Some(name);
        local::accelerator(&self.config.measuring)?;
        Ok(self)
    }

    /// True where the coordinator of this session lives in this process.
    pub(super) fn is_embedded(&self) -> bool {
        self.coordinator == Coordinator::Embedded
    }

    /// Who finds models and texts, and downloads those that are elsewhere.
    pub(super) fn locator(&self) -> Locator {
        let config = &self.config;
        let folder = config.data_dir.join("downloads");
        Locator {
            hub: config.hub.clone(),
            downloads: Downloads::new(config.remote.clone(), folder),
            printer: self.printer.clone(),
        }
    }

    /// Where quantized tensors and the like are kept on this machine.
    pub(super) fn cache_dir(&self) -> PathBuf {
        self.config.data_dir.join("cache")
    }

    /// Where files that were fetched are kept on this machine.
    #[cfg(feature = "local")]
    pub(super) fn weights_dir(&self) -> PathBuf {
        self.config.data_dir.join("weights")
    }

    /// Writes a listing in the form that was asked for.
    pub(super) fn list(&self, listing: &Listing, typed: ListingArguments) -> anyhow::Result<()> {
        self.printer
            .data(listing.render(typed.format, self.printer.width())?)
    }
}

/// What a verb is told that asks one coordinator.
fn several() -> anyhow::Error {
    Problem::usage("--coordinator: only an agent takes several").into()
}

impl Connection {
    /// Stops what was started for this connection, after it has put away what it holds; the
    /// failure that ended it early, if one did.
    #[cfg(feature = "local")]
    pub(super) async fn close(self) -> anyhow::Result<()> {
        match self.local {
            Some(local) => local.stop().await,
            None => Ok(()),
        }
    }

    /// Nothing was started for this connection.
    #[cfg(not(feature = "local"))]
    pub(super) async fn close(self) -> anyhow::Result<()> {
        Ok(())
    }

    /// Waits until something that was started for this connection fails; for ever otherwise.
    #[cfg(feature = "local")]
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        match &mut self.local {
            Some(local) => local.failure().await,
            None => std::future::pending().await,
        }
    }

    /// Nothing was started for this connection, so nothing of it fails.
    #[cfg(not(feature = "local"))]
    pub(super) async fn failure(&mut self) -> anyhow::Error {
        std::future::pending().await
    }
}
